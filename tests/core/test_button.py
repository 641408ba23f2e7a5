"""The momentary button: a touch is private at once; only a long press of its own may ask for live again."""

import pytest

from edge_agent.core.button import BOUNCE_S, JAMMED_S, Button
from edge_agent.core.messages import FindingKey, SwitchRead


class Finger:
    """Presses a button as the sensors tell it: each change with its edges counted, and the level again each second."""

    def __init__(self, *, granted: bool = False, bounces: int = 0) -> None:
        self.button = Button(granted=granted, at=0.0)
        self.at = 0.0
        self.press = 0
        self.bounces = bounces
        self.level: bool | None = True

    def tell(self, closed: bool | None, *, after_s: float = 0.0) -> None:
        self.at += after_s
        self.level = closed
        self.button.read(SwitchRead(nc_closed=closed, no_closed=None, press=self.press), at=self.at)

    def moves(self, *, closed: bool) -> None:
        for _ in range(self.bounces):
            self.press += 1
            self.tell(closed)
            self.press += 1
            self.tell(not closed, after_s=0.01)
            self.at += 0.01
        self.press += 1
        self.tell(closed)

    def stays(self, seconds: float) -> None:
        whole = int(seconds)
        for _ in range(whole):
            self.tell(self.level, after_s=1.0)
        self.at += seconds - whole

    def presses(self, seconds: float) -> None:
        self.moves(closed=False)
        self.stays(seconds)
        self.moves(closed=True)

    def says_live(self) -> bool:
        return self.button.ready(at=self.at)

    def touched(self) -> bool:
        return self.button.touched

    def pressed(self) -> bool:
        return self.button.pressed

    def granted(self) -> bool:
        return self.button.granted


def started(*, granted: bool = True, confirmed: bool = True, bounces: int = 0) -> Finger:
    finger = Finger(granted=granted, bounces=bounces)
    finger.tell(True)
    if granted:
        finger.button.confirm(durable=confirmed)
    finger.stays(3.0)
    return finger


def asked(*, rest_s: float = 2.0, pressed_s: float = 3.2, bounces: int = 0) -> Finger:
    finger = started(granted=False, bounces=bounces)
    finger.presses(0.2)
    finger.stays(rest_s)
    finger.presses(pressed_s)
    finger.stays(3.0)
    finger.button.ready(at=finger.at)
    return finger


def test_leave_from_before_the_restart_counts_only_when_the_card_confirmed_it():
    assert started().says_live()
    assert not started(confirmed=False).says_live()
    assert not started(granted=False).says_live()
    unanswered = Finger(granted=True)
    unanswered.tell(True)
    unanswered.stays(10.0)
    assert not unanswered.says_live()
    assert unanswered.granted()
    unanswered.button.confirm(durable=True)
    assert unanswered.says_live()


def test_confirmed_leave_needs_three_seconds_of_a_closed_contact():
    finger = Finger(granted=True)
    finger.tell(True)
    finger.button.confirm(durable=True)
    finger.at += 2.99
    assert not finger.says_live()
    assert finger.button.deadlines() == (3.0,)
    finger.at = 3.0
    assert finger.says_live()


def test_before_any_reading_it_is_not_live_and_waits_for_nothing():
    button = Button(granted=True, at=0.0)
    button.confirm(durable=True)
    assert not button.ready(at=100.0)
    assert not button.pressed
    assert button.deadlines() == ()


def test_what_was_confirmed_without_leave_is_no_leave():
    finger = started(granted=False)
    finger.button.confirm(durable=True)
    assert not finger.granted()
    assert not finger.says_live()


@pytest.mark.parametrize("what", ["open", "edge", "unreadable", "silence"])
def test_any_touch_or_doubt_takes_leave_back_at_once_and_for_good(what: str):
    finger = started()
    assert finger.says_live()
    if what == "open":
        finger.moves(closed=False)
    elif what == "edge":
        finger.press += 1
        finger.tell(True)
    elif what == "unreadable":
        finger.tell(None)
    else:
        finger.button.lost(at=finger.at)
    assert not finger.says_live()
    assert not finger.granted()
    assert not finger.button.promising
    finger.tell(True)
    finger.stays(60.0)
    finger.button.confirm(durable=True)
    assert not finger.says_live()


def test_pressed_at_the_start_takes_leave_back():
    finger = Finger(granted=True)
    finger.tell(False)
    assert not finger.granted()
    counted = Finger(granted=True)
    counted.press = 1  # an edge that came before the first reading
    counted.tell(True)
    assert not counted.granted()


def test_who_is_touching():
    finger = started()
    assert not finger.touched()
    finger.moves(closed=False)
    assert finger.touched()
    assert finger.pressed()
    assert finger.button.tests == 1
    finger.tell(False, after_s=1.0)
    assert finger.touched()
    assert finger.button.tests == 1
    finger.moves(closed=True)
    assert not finger.pressed()
    finger.tell(True, after_s=1.0)
    assert not finger.touched()
    finger.tell(None)
    assert not finger.touched()


def test_a_press_before_the_first_reading_is_no_press_that_was_seen():
    finger = Finger()
    finger.tell(False)
    assert finger.button.tests == 0


@pytest.mark.parametrize("bounces", [0, 3])
def test_a_long_press_asks_and_three_closed_seconds_grant(bounces: int):
    finger = asked(bounces=bounces)
    assert finger.granted()
    assert not finger.says_live(), "the card has not said so"
    finger.button.confirm(durable=True)
    assert finger.says_live()


def test_leave_comes_three_seconds_after_the_release_and_not_before():
    finger = started(granted=False)
    finger.presses(4.0)
    finger.stays(2.0)
    finger.at += 0.9
    finger.button.ready(at=finger.at)
    assert not finger.granted()
    finger.at += 0.11
    finger.button.ready(at=finger.at)
    assert finger.granted()


def test_a_card_that_could_not_keep_the_leave_makes_it_void():
    finger = asked()
    finger.button.confirm(durable=False)
    assert not finger.granted()
    finger.stays(60.0)
    assert not finger.says_live()
    assert not finger.granted(), "the same long press does not ask twice"


@pytest.mark.parametrize(
    ("rest_s", "pressed_s", "counts"),
    [
        (2.0, 3.2, True),
        (2.0, 2.2, False),
        (0.4, 4.0, False),
        (1.0, 3.0, True),
        (2.0, 29.0, True),
        (2.0, 30.5, False),
    ],
)
def test_how_long_a_press_must_be_and_how_long_it_must_rest_before(
    rest_s: float, pressed_s: float, counts: bool
):
    assert asked(rest_s=rest_s, pressed_s=pressed_s).granted() is counts


def test_the_press_that_made_it_private_never_asks():
    finger = started()
    finger.presses(5.0)
    finger.stays(10.0)
    assert not finger.says_live()
    assert not finger.granted()
    finger.presses(5.0)
    finger.stays(3.0)
    finger.button.ready(at=finger.at)
    assert finger.granted(), "the next one does"


def test_an_edge_within_the_long_press_spoils_it():
    finger = started(granted=False)
    finger.moves(closed=False)
    finger.stays(4.0)
    finger.press += 1
    finger.tell(False)
    finger.stays(4.0)
    finger.moves(closed=True)
    finger.stays(5.0)
    finger.button.ready(at=finger.at)
    assert not finger.granted()


def test_a_contact_that_flutters_before_the_long_press_spoils_it():
    finger = started(granted=False)
    for _ in range(20):
        finger.moves(closed=False)
        finger.at += 0.05
        finger.moves(closed=True)
        finger.at += 0.05
    finger.presses(4.0)
    finger.stays(5.0)
    finger.button.ready(at=finger.at)
    assert not finger.granted()


def test_a_contact_that_flutters_at_the_release_spoils_it():
    finger = started(granted=False)
    finger.presses(4.0)
    for _ in range(20):
        finger.at += 0.05
        finger.moves(closed=False)
        finger.at += 0.05
        finger.moves(closed=True)
    finger.stays(5.0)
    finger.button.ready(at=finger.at)
    assert not finger.granted()


def test_a_touch_after_the_long_press_takes_it_back():
    finger = started(granted=False)
    finger.presses(4.0)
    finger.stays(2.0)
    finger.presses(0.1)
    finger.stays(10.0)
    finger.button.ready(at=finger.at)
    assert not finger.granted()


def test_pressed_again_right_after_a_bounce_is_a_new_press():
    finger = started(granted=False)
    finger.presses(4.0)
    finger.at += BOUNCE_S / 2
    finger.presses(2.0)  # open again for longer than any bounce
    finger.stays(10.0)
    finger.button.ready(at=finger.at)
    assert not finger.granted()


def test_a_silence_or_an_unreadable_moment_within_the_long_press_spoils_it():
    for spoil in (lambda f: f.button.lost(at=f.at), lambda f: f.tell(None)):
        finger = started(granted=False)
        finger.moves(closed=False)
        finger.stays(2.0)
        spoil(finger)
        finger.tell(False)
        finger.stays(4.0)
        finger.moves(closed=True)
        finger.stays(5.0)
        finger.button.ready(at=finger.at)
        assert not finger.granted()


def test_a_silence_after_the_long_press_takes_it_back():
    finger = started(granted=False)
    finger.presses(4.0)
    finger.button.lost(at=finger.at)
    finger.tell(True, after_s=0.1)
    finger.stays(10.0)
    finger.button.ready(at=finger.at)
    assert not finger.granted()


def test_a_loop_that_was_busy_makes_no_long_press_of_a_short_one():
    finger = started(granted=False)
    finger.moves(closed=False)
    finger.stays(1.0)
    finger.at += 2.9  # released long before, but heard of only now
    finger.moves(closed=True)
    finger.stays(5.0)
    finger.button.ready(at=finger.at)
    assert not finger.granted()


def test_pressed_for_longer_than_anybody_presses_is_jammed():
    finger = started()
    finger.at += 0.9
    finger.moves(closed=False)
    down_at = finger.at
    assert finger.button.deadlines() == (down_at + JAMMED_S,)
    finger.press += 1
    finger.tell(False, after_s=10.0)  # an edge that changed nothing is no release
    assert finger.button.fault(at=down_at + JAMMED_S - 0.01) is None
    fault = finger.button.fault(at=down_at + JAMMED_S)
    assert fault is not None
    assert fault[0] is FindingKey.PRIVACY_JAMMED
    finger.moves(closed=True)
    assert finger.button.fault(at=finger.at + 100.0) is None
    finger.stays(10.0)
    assert not finger.granted()


def test_pressed_anew_counts_its_thirty_seconds_anew():
    finger = started()
    finger.presses(20.0)
    finger.stays(2.0)
    finger.presses(5.0)
    finger.moves(closed=False)
    finger.stays(20.0)
    assert finger.button.fault(at=finger.at) is None


def test_levels_alone_are_enough_where_the_edges_were_lost():
    finger = started()
    finger.tell(False)
    assert not finger.says_live()
    finger.stays(4.0)
    finger.tell(True)
    finger.stays(10.0)
    assert not finger.granted(), "the press that made it private"
    finger.tell(False)
    finger.stays(2.0)
    finger.tell(True)
    finger.stays(10.0)
    assert not finger.says_live()
    assert not finger.granted(), "too short"
    finger.tell(False)
    finger.stays(4.0)
    finger.tell(True)
    finger.at += 2.9
    finger.says_live()
    assert not finger.granted()
    finger.at += 0.1
    finger.says_live()
    assert finger.granted()
    assert finger.button.tests == 3


def test_after_a_moment_that_could_not_be_read_a_person_may_ask():
    finger = started()
    finger.tell(None)
    finger.tell(True, after_s=0.1)
    assert not finger.touched(), "no edge came with it"
    finger.stays(2.0)
    finger.presses(4.0)
    finger.stays(3.0)
    finger.says_live()
    assert finger.granted()
