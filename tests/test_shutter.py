"""The shutter: a press always wins, even one that the owner has not heard of yet."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.shutter import Shutter


def test_it_starts_closed():
    assert not Shutter().allows("gate")


def test_it_opens_for_named_cameras_only():
    shutter = Shutter()
    shutter.open_for(frozenset({"gate"}), press=shutter.presses)
    assert shutter.allows("gate")
    assert not shutter.allows("river")


def test_an_order_to_open_that_rests_on_an_older_count_is_void():
    shutter = Shutter()
    known = shutter.presses
    shutter.press()
    shutter.open_for(frozenset({"gate"}), press=known)
    assert not shutter.allows("gate")


def test_presses_from_many_threads_leave_it_closed():
    shutter = Shutter()
    shutter.open_for(frozenset({"gate"}), press=0)
    threads = [threading.Thread(target=shutter.press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not shutter.allows("gate")
    shutter.open_for(frozenset({"gate"}), press=shutter.presses)
    assert shutter.allows("gate")


def test_a_press_wakes_whoever_asked_for_it_once_it_is_closed():
    shutter = Shutter()
    allowed: list[bool] = []
    shutter.wakes(lambda: allowed.append(shutter.allows("gate")))
    shutter.wakes(lambda: allowed.append(shutter.allows("gate")))
    shutter.open_for(frozenset({"gate"}), press=0)
    shutter.press()
    assert allowed == [False, False]


def test_a_waker_that_fails_harms_neither_the_press_nor_the_others():
    shutter = Shutter()
    woken: list[int] = []

    def broken() -> None:
        raise ZeroDivisionError

    shutter.wakes(broken)
    shutter.wakes(lambda: woken.append(shutter.presses))
    assert shutter.press() == 1
    assert woken == [1]


@given(st.lists(st.sampled_from(["press", "see", "open"]), max_size=40))
def test_open_means_no_press_since_the_count_was_read(steps):
    shutter = Shutter()
    seen = 0
    pressed_since_seen = False
    is_open = False
    for step in steps:
        if step == "press":
            shutter.press()
            pressed_since_seen, is_open = True, False
        elif step == "see":
            seen, pressed_since_seen = shutter.presses, False
        else:
            shutter.open_for(frozenset({"gate"}), press=seen)
            is_open = not pressed_since_seen
        assert shutter.allows("gate") == is_open
