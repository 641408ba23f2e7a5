"""The inbox: order is kept, edges are never dropped, of pictures the newest wins."""

import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import SystemClock
from edge_agent.core.messages import (
    Event,
    HubMessage,
    LoopRead,
    PictureTaken,
    SwitchRead,
    Tick,
)
from edge_agent.inbox import WORDS_BYTES, Inbox
from tests.support.build import opened, picture


def read(press: int) -> SwitchRead:
    return SwitchRead(nc_closed=True, no_closed=False, press=press)


def drain(inbox: Inbox) -> list[object]:
    out: list[object] = []
    while not isinstance(event := inbox.take(until=0.0), Tick):
        out.append(event)
    return out


def test_events_come_out_in_order_and_a_newer_picture_replaces_the_one_that_waits():
    inbox = Inbox(SystemClock())
    first, second, other = picture(taken_at=1.0), picture(taken_at=2.0), picture(camera="b")
    for event in (read(1), first, read(2), other, second, read(3)):
        inbox.post(event)
    assert drain(inbox) == [read(1), read(2), other, second, read(3)]


@pytest.mark.parametrize(
    "news", [opened(generation=2), read(9), LoopRead(camera="gate", closed=False)]
)
def test_a_picture_never_overtakes_what_happened_before_it(news: Event):
    inbox = Inbox(SystemClock())
    old, new = picture(generation=1), picture(generation=2, taken_at=2.0)
    for event in (old, read(1), news, new):
        inbox.post(event)
    assert drain(inbox) == [read(1), news, new]


@given(st.lists(st.sampled_from(["a", "b", 1, 2, 3]), max_size=30))
def test_what_comes_out_is_what_went_in_without_the_pictures_that_were_replaced(steps):
    inbox = Inbox(SystemClock())
    went_in = [
        picture(camera=step, taken_at=float(at)) if isinstance(step, str) else read(step)
        for at, step in enumerate(steps)
    ]
    newest = {event.camera: event for event in went_in if isinstance(event, PictureTaken)}
    for event in went_in:
        inbox.post(event)
    assert drain(inbox) == [
        event
        for event in went_in
        if not isinstance(event, PictureTaken) or event is newest[event.camera]
    ]


def test_a_passed_deadline_is_a_tick():
    inbox = Inbox(SystemClock())
    assert inbox.take(until=0.0) == Tick()


def test_waiting_ends_with_a_post_from_another_thread():
    clock = SystemClock()
    inbox = Inbox(clock)
    thread = threading.Thread(target=inbox.post, args=(read(1),))
    thread.start()
    assert inbox.take(until=clock.now() + 10) == read(1)
    thread.join()


def test_privacy_forgets_the_pictures_and_nothing_else():
    inbox = Inbox(SystemClock())
    for event in (picture(), read(1), picture(camera="b")):
        inbox.post(event)
    inbox.forget_pictures()
    assert drain(inbox) == [read(1)]
    inbox.post(picture(taken_at=9.0))
    assert len(drain(inbox)) == 1


class Hand:
    """The one at the switch: says how often it was pressed."""

    presses = 0


def test_a_picture_that_waited_at_a_press_is_never_taken():
    hand = Hand()
    inbox = Inbox(SystemClock(), lambda: hand.presses)
    inbox.post(picture())
    inbox.post(picture(camera="b"))
    hand.presses = 1
    assert drain(inbox) == [], "nobody has told the core yet"
    inbox.post(picture(taken_at=2.0))
    inbox.post(read(1))
    assert [type(event) for event in drain(inbox)] == [PictureTaken, SwitchRead]


def test_at_a_press_the_pictures_are_gone_from_memory_however_busy_the_taker_is():
    hand = Hand()
    inbox = Inbox(SystemClock(), lambda: hand.presses)
    waits = picture(jpeg=b"\xff\xd8" + bytes(50_000))
    ours = sys.getrefcount(waits)
    inbox.post(waits)
    inbox.post(read(0))
    assert sys.getrefcount(waits) > ours
    hand.presses = 1
    inbox.post(read(1))  # the switch's own word; nothing is taken
    assert sys.getrefcount(waits) == ours
    assert drain(inbox) == [read(0), read(1)]


def test_a_press_while_the_taker_waits_takes_the_picture_that_wakes_it():
    clock, hand = SystemClock(), Hand()
    inbox = Inbox(clock, lambda: hand.presses)

    def street() -> None:
        with inbox._ready:  # so that the taker sees both at once
            inbox.post(picture())
            hand.presses = 1
        inbox.post(read(1))

    thread = threading.Thread(target=street)
    thread.start()
    assert inbox.take(until=clock.now() + 10) == read(1)
    thread.join()


@given(st.lists(st.sampled_from(["a", "b", 1, "press", "take"]), max_size=30))
def test_nothing_taken_was_there_before_the_last_press(steps):
    hand = Hand()
    inbox = Inbox(SystemClock(), lambda: hand.presses)
    for at, step in enumerate(steps):
        if step == "press":
            hand.presses += 1
        elif step == "take":
            event = inbox.take(until=0.0)
            if isinstance(event, PictureTaken):
                assert "press" not in steps[int(event.taken_at) : at]
        elif isinstance(step, str):
            inbox.post(picture(camera=step, taken_at=float(at)))
        else:
            inbox.post(read(step))
    told = [event for event in drain(inbox) if isinstance(event, SwitchRead)]
    assert len(told) <= steps.count(1)


def test_closing_wakes_the_taker_and_later_posts_are_ignored():
    clock = SystemClock()
    inbox = Inbox(clock)
    thread = threading.Thread(target=inbox.close)
    thread.start()
    assert inbox.take(until=clock.now() + 10) is None
    thread.join()
    inbox.post(read(1))
    assert inbox.take(until=0.0) is None


@pytest.mark.parametrize("line", range(1, 9))
def test_a_signal_that_closes_it_between_any_two_steps_of_the_taker_is_no_fault(line: int):
    """A signal handler runs in the owner thread, between two of its lines; here a tracer does."""
    inbox = Inbox(SystemClock())
    inbox.post(read(1))
    steps = 0

    def step(*_: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == line:
            inbox.close()
        return step

    before = sys.gettrace()
    sys.settrace(lambda frame, *_: step if frame.f_code is Inbox.take.__code__ else None)
    try:
        taken = inbox.take(until=0.0)
    finally:
        sys.settrace(before)
    assert taken in (None, read(1))
    inbox.close()
    assert inbox.take(until=0.0) is None


def word(leaf: str, payload: bytes = b"x") -> HubMessage:
    return HubMessage(leaf=leaf, payload=payload, retained=False)


@pytest.mark.parametrize("payload", [b"", b"x" * 1000, b"x" * 200_000])
def test_a_flood_of_orders_takes_no_more_memory_than_it_may(payload: bytes):
    inbox = Inbox(SystemClock())
    for number in range(5_000):
        inbox.post(word(("command", "policy")[number % 2], payload))
        inbox.post(word("ack", payload))
    inbox.post(read(1))
    came = drain(inbox)
    assert came[-1] == read(1), "what the box itself saw is never dropped"
    held = [event for event in came if isinstance(event, HubMessage)]
    assert sum(len(event.payload) for event in held) <= WORDS_BYTES
    assert 0 < len(held) < 5_000
    inbox.post(word("command", payload))
    assert drain(inbox) == [word("command", payload)], "what was taken makes room"
