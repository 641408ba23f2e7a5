"""The switch: whatever is not plainly live is private."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import FindingKey, SwitchRead
from edge_agent.core.privacy import (
    BREAKS,
    HAND_S,
    LIVE_AFTER_S,
    LOOSE,
    NO_POWER,
    REST_S,
    SILENT_AFTER_S,
    STILL_POWER,
    WITHIN_S,
    Switch,
    is_live,
)
from edge_agent.core.settings import Privacy, Relay, SwitchKind

PLAIN = Privacy(switch=SwitchKind.LATCHING)
CONTACT = st.sampled_from([True, False, None])


def read(nc: bool | None, no: bool | None, press: int = 0, why: str = "") -> SwitchRead:
    return SwitchRead(nc_closed=nc, no_closed=no, press=press, why=why)


def latching(privacy: Privacy = PLAIN) -> Switch:
    return Switch(privacy, at=0.0)


def held_live(switch: Switch, *, since: float, until: float, press: int = 0) -> None:
    at = since
    while at <= until:
        switch.read(read(True, False, press), at=at)
        at += 0.5


def touched(switch: Switch) -> bool:
    return switch.touched


def found(switch: Switch) -> bool:
    return switch.found


def live_switch() -> Switch:
    switch = latching()
    held_live(switch, since=0.0, until=LIVE_AFTER_S)
    assert not switch.view(at=LIVE_AFTER_S).private
    return switch


@pytest.mark.parametrize("nc", [True, False, None])
@pytest.mark.parametrize("no", [True, False, None])
def test_one_pattern_of_nine_is_live(nc: bool | None, no: bool | None):
    assert is_live(nc, no) == (nc is True and no is False)


def test_the_box_starts_private_and_becomes_live_after_three_seconds_of_the_live_pattern():
    switch = latching()
    assert switch.view(at=0.0).private
    held_live(switch, since=0.0, until=2.5)
    assert switch.view(at=2.9).private
    assert switch.deadline(at=2.9) == pytest.approx(LIVE_AFTER_S)
    assert not switch.view(at=3.0).private


@pytest.mark.parametrize(
    ("nc", "no"),
    [(a, b) for a in (True, False, None) for b in (True, False, None) if not is_live(a, b)],
)
def test_anything_else_is_private_at_once_and_for_three_more_seconds(
    nc: bool | None, no: bool | None
):
    switch = live_switch()
    assert switch.read(read(nc, no), at=10.0).private
    switch.read(read(True, False), at=10.1)
    assert switch.view(at=13.0).private
    switch.read(read(True, False), at=13.0)
    assert not switch.view(at=13.1).private


def test_a_press_that_only_the_sensor_thread_saw_still_restarts_the_three_seconds():
    switch = live_switch()
    at = LIVE_AFTER_S + 0.5
    assert switch.read(read(True, False, press=1), at=at).private
    held_live(switch, since=at + 0.5, until=at + LIVE_AFTER_S, press=1)
    assert not switch.view(at=at + LIVE_AFTER_S).private


def test_a_silence_that_nobody_asked_about_still_restarts_the_three_seconds():
    switch = live_switch()
    at = LIVE_AFTER_S + SILENT_AFTER_S
    assert switch.read(read(True, False), at=at).private
    assert switch.view(at=at + LIVE_AFTER_S - 0.1).private


def test_silence_of_the_sensors_is_private():
    switch = live_switch()
    heard_at = LIVE_AFTER_S
    due = switch.deadline(at=heard_at + 1.0)
    view = switch.view(at=due)
    assert view.private
    assert view.fault is FindingKey.PRIVACY_UNREADABLE
    assert due == pytest.approx(heard_at + SILENT_AFTER_S, abs=0.1)


@pytest.mark.parametrize(("both", "why"), [(True, "both closed"), (False, "both open")])
def test_both_contacts_alike_is_a_wiring_fault_after_half_a_second(both: bool, why: str):
    switch = live_switch()
    assert switch.read(read(both, both), at=10.0).fault is None
    assert switch.deadline(at=10.0) == 10.5
    view = switch.read(read(both, both), at=10.5)
    assert (view.fault, view.why) == (FindingKey.PRIVACY_WIRING, why)
    assert switch.read(read(False, True), at=10.6).fault is None


def test_a_pin_that_cannot_be_read_is_named():
    view = latching().read(read(None, False, why="GPIO17 busy"), at=1.0)
    assert (view.private, view.fault, view.why) == (
        True,
        FindingKey.PRIVACY_UNREADABLE,
        "GPIO17 busy",
    )


def test_since_tells_when_it_became_private():
    switch = live_switch()
    switch.read(read(False, True), at=20.0)
    assert switch.read(read(False, True), at=25.0).since == 20.0


def test_the_deadline_is_never_in_the_past():
    switch = latching()
    for at in (0.0, 1.0, 50.0, 5000.0):
        assert switch.deadline(at=at) > at


@given(
    st.lists(
        # Mostly live and soon, or hardly any life would ever become live.
        st.one_of(
            st.tuples(st.just(True), st.just(False), st.just(0), st.floats(0.5, 2.9)),
            st.tuples(st.just(True), st.just(False), st.integers(0, 1), st.floats(0.5, 3.5)),
            st.tuples(CONTACT, CONTACT, st.integers(0, 3), st.floats(0.01, 4.0)),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_live_is_only_ever_three_seconds_of_live_readings_with_one_count_of_presses(steps):
    switch = latching()
    at = 0.0
    unbroken_since: float | None = None
    press_before = 0
    heard_at = 0.0
    for nc, no, press, gap_s in steps:
        at += gap_s
        if at >= heard_at + SILENT_AFTER_S:
            unbroken_since = None
        if not is_live(nc, no):
            unbroken_since = None
        elif unbroken_since is None or press != press_before:
            unbroken_since = at
        press_before, heard_at = press, at
        view = switch.read(read(nc, no, press), at=at)
        if not view.private:
            assert unbroken_since is not None
            assert at >= unbroken_since + LIVE_AFTER_S


# ---- who moved it ----


def test_a_press_is_told_from_a_wire_and_from_a_relay():
    switch = live_switch()
    assert not touched(switch)
    assert not found(switch)
    switch.read(read(False, False), at=10.0)
    assert not touched(switch), "both open: a cut wire, or the travel of the button"
    assert found(switch)
    switch.read(read(False, True), at=10.1)
    assert touched(switch)
    switch.read(read(None, True), at=10.2)
    assert not touched(switch)


def test_an_edge_that_only_the_sensors_saw_is_a_hand():
    switch = live_switch()
    switch.read(read(True, False, press=1), at=4.0)
    assert touched(switch)
    switch.read(read(True, False, press=1), at=4.5)
    assert not touched(switch)
    started = latching()
    started.read(read(True, False, press=5), at=0.0)
    assert not touched(started), "edges from before the first reading are nobody's"


def test_a_press_test_is_a_whole_way_from_live_to_pressed():
    switch = latching()
    switch.read(read(False, True), at=0.0)
    assert switch.tests == 0, "pressed at the start: it was not seen to move"
    switch.read(read(True, False), at=1.0)
    switch.read(read(False, False), at=1.05)
    assert switch.tests == 0
    switch.read(read(False, True), at=1.1)
    switch.read(read(False, True), at=1.2)
    assert switch.tests == 1
    switch.read(read(False, False), at=1.3)
    switch.read(read(False, True), at=1.4)
    assert switch.tests == 1


def test_each_way_down_is_a_press_test_of_its_own():
    switch = latching()
    for number in range(3):
        switch.read(read(True, False), at=number + 0.0)
        switch.read(read(False, True), at=number + 0.5)
    assert switch.tests == 3


def test_nothing_is_found_before_anything_was_read():
    switch = latching()
    switch.view(at=10.0)
    assert not found(switch)
    switch.read(read(True, False), at=11.0)
    assert not found(switch)
    switch.view(at=11.0 + SILENT_AFTER_S)
    assert found(switch), "it was read, and is not any more"


# ---- the relay and its feedback ----

OURS = Privacy(switch=SwitchKind.LATCHING, relay=Relay.FORCE_OFF, feedback_pin=19)
BLOCK = Privacy(switch=SwitchKind.LATCHING, feedback_pin=19)
BLIND = Privacy(switch=SwitchKind.LATCHING, relay=Relay.PUMP)


def with_power(powered: bool | None, *, live: bool = True, press: int = 0) -> SwitchRead:
    return SwitchRead(nc_closed=live, no_closed=not live, press=press, powered=powered)


def tell(switch: Switch, event: SwitchRead, *, since: float, until: float) -> None:
    at = since
    while at <= until:
        switch.read(event, at=at)
        at += 0.5


def powered_switch(privacy: Privacy = OURS) -> Switch:
    """Live since 3.5 s."""
    switch = latching(privacy)
    tell(switch, with_power(False), since=0.0, until=3.0)
    switch.read(with_power(True), at=3.5)
    assert not switch.view(at=3.5).private
    return switch


def test_power_is_given_after_three_seconds_of_live_contacts_and_live_follows_the_feedback():
    switch = latching(OURS)
    tell(switch, with_power(False), since=0.0, until=2.5)
    assert switch.view(at=2.99).power is None, "a restart alone cuts nobody's power"
    view = switch.view(at=3.0)
    assert (view.power, view.private, view.fault) == (True, True, None)
    switch.read(with_power(False), at=3.5)
    assert switch.deadline(at=3.5) == 4.0
    view = switch.view(at=3.99)
    assert (view.private, view.fault) == (True, None)
    view = switch.view(at=4.0)
    assert (view.power, view.private, view.fault) == (True, True, FindingKey.PRIVACY_RELAY)
    assert view.why == NO_POWER
    view = switch.read(with_power(True), at=4.5)
    assert (view.power, view.private, view.fault) == (True, False, None)


def test_a_relay_that_drops_is_private_at_once_and_live_only_three_seconds_later():
    switch = powered_switch()
    view = switch.read(with_power(False), at=10.0 - 4.0)
    assert (view.private, view.power) == (True, True)
    view = switch.read(with_power(True), at=6.5)
    assert view.private
    tell(switch, with_power(True), since=7.0, until=8.5)
    assert switch.view(at=8.99).private
    assert switch.deadline(at=8.5) == 9.0
    assert not switch.view(at=9.0).private


def test_a_relay_that_drops_is_nobodys_press():
    switch = powered_switch()
    switch.read(with_power(False, press=1), at=6.0)
    assert not touched(switch)
    switch.read(with_power(False, press=2, live=False), at=6.1)
    assert touched(switch)


def test_a_relay_that_never_comes_back_is_named():
    switch = powered_switch()
    tell(switch, with_power(False), since=6.0, until=7.0)
    assert switch.view(at=7.0).fault is FindingKey.PRIVACY_RELAY


def test_power_goes_with_the_press_and_a_relay_that_keeps_it_is_named():
    switch = powered_switch()
    view = switch.read(with_power(True, live=False, press=1), at=6.0)
    assert (view.power, view.private, view.fault) == (False, True, None)
    assert switch.deadline(at=6.0) == 7.0
    view = switch.view(at=7.0)
    assert (view.fault, view.why) == (FindingKey.PRIVACY_RELAY, STILL_POWER)
    assert switch.read(with_power(False, live=False, press=1), at=7.1).fault is None


@pytest.mark.parametrize("event", [with_power(True, live=False), with_power(None)])
def test_what_argues_against_live_at_the_start_cuts_the_power(event: SwitchRead):
    switch = latching(OURS)
    assert switch.view(at=0.0).power is None
    switch.read(replace(event, no_closed=True), at=0.0)
    assert switch.view(at=0.0).power is False


def test_a_silence_at_the_start_cuts_the_power():
    switch = latching(OURS)
    assert switch.view(at=SILENT_AFTER_S).power is False


def test_a_press_that_only_the_sensors_saw_cuts_the_power_until_three_seconds_are_over():
    switch = powered_switch()
    assert switch.read(with_power(True, press=1), at=6.0).power is False
    tell(switch, with_power(True, press=1), since=6.5, until=9.0)
    assert switch.view(at=9.0).power is True


def test_a_feedback_that_cannot_be_read_is_private_and_named():
    switch = powered_switch()
    view = switch.read(
        SwitchRead(nc_closed=True, no_closed=False, press=0, why="GPIO19 busy"), at=6.0
    )
    assert (view.private, view.fault, view.why) == (
        True,
        FindingKey.PRIVACY_UNREADABLE,
        "GPIO19 busy",
    )
    assert switch.read(with_power(None), at=6.5).why == "relay feedback"


def test_a_wiring_fault_is_told_before_the_relay():
    switch = powered_switch()
    both = SwitchRead(nc_closed=True, no_closed=True, press=1, powered=True)
    tell(switch, both, since=6.0, until=8.0)
    assert switch.view(at=8.0).fault is FindingKey.PRIVACY_WIRING


def test_without_a_relay_of_ours_nothing_is_said_of_power():
    for privacy in (PLAIN, BLOCK):
        switch = latching(privacy)
        assert switch.view(at=0.0).power is None
        tell(switch, with_power(True), since=0.0, until=3.0)
        view = switch.view(at=3.0)
        assert (view.power, view.private) == (None, False)
        assert switch.read(with_power(True, live=False), at=3.5).power is None


def test_swapped_pairs_never_go_live():
    """Pressed, the contacts read live; the third block has the relay off."""
    switch = latching(BLOCK)
    tell(switch, with_power(False), since=0.0, until=60.0)
    view = switch.view(at=60.0)
    assert (view.private, view.fault, view.why) == (True, FindingKey.PRIVACY_RELAY, NO_POWER)
    # Released, they read pressed, and the relay has its power.
    view = switch.read(with_power(True, live=False, press=2), at=60.5)
    assert (view.private, view.fault) == (True, None)
    view = switch.view(at=61.5)
    assert (view.fault, view.why) == (FindingKey.PRIVACY_RELAY, STILL_POWER)


def test_private_by_a_cut_wire_leaves_the_switchs_own_relay_alone():
    switch = powered_switch(BLOCK)
    cut = SwitchRead(nc_closed=False, no_closed=False, press=1, powered=True)
    tell(switch, cut, since=6.0, until=60.0)
    assert switch.view(at=60.0).fault is FindingKey.PRIVACY_WIRING
    unread = SwitchRead(nc_closed=None, no_closed=False, press=1, powered=True)
    assert switch.read(unread, at=60.5).fault is FindingKey.PRIVACY_UNREADABLE


def test_a_relay_that_says_nothing_of_itself_is_taken_at_its_word():
    switch = latching(BLIND)
    tell(switch, read(True, False), since=0.0, until=3.0)
    view = switch.view(at=3.0)
    assert (view.power, view.private) == (True, False)
    tell(switch, read(False, True), since=3.5, until=60.0)
    view = switch.view(at=60.0)
    assert (view.power, view.fault) == (False, None)


def test_a_box_that_keeps_the_cameras_powered_says_so_always():
    keeps = replace(OURS, cut_power=False)
    switch = latching(keeps)
    assert switch.view(at=0.0).power is True
    view = switch.read(with_power(True, live=False), at=0.5)
    assert view.power is True
    assert switch.view(at=60.0).power is True
    tell(switch, with_power(True, live=False), since=60.0, until=62.0)
    assert switch.view(at=62.0).fault is None


# ---- the button behind the same door ----


def test_a_button_is_read_behind_the_same_door():
    privacy = Privacy(switch=SwitchKind.MOMENTARY)
    switch = Switch(privacy, at=0.0, granted=True)
    up = SwitchRead(nc_closed=True, no_closed=None, press=0)
    assert switch.button is not None
    assert not found(switch)
    switch.read(up, at=0.0)
    switch.button.confirm(durable=True)
    tell(switch, up, since=0.5, until=3.0)
    assert not switch.view(at=3.0).private
    view = switch.view(at=3.0 + SILENT_AFTER_S)
    assert (view.private, view.fault) == (True, FindingKey.PRIVACY_UNREADABLE)
    tell(switch, up, since=6.5, until=20.0)
    assert switch.view(at=20.0).private, "nobody knows what was pressed in between"
    assert found(switch)
    down = replace(up, nc_closed=False, press=1)
    tell(switch, down, since=20.5, until=50.5)
    assert switch.view(at=50.5).fault is FindingKey.PRIVACY_JAMMED
    assert switch.tests == 1
    assert Switch(privacy, at=0.0).found, "nothing is remembered: private until somebody asks"


def test_a_button_that_cannot_be_read_is_named():
    switch = Switch(Privacy(switch=SwitchKind.MOMENTARY), at=0.0)
    view = switch.read(
        SwitchRead(nc_closed=None, no_closed=None, press=0, why="GPIO17 busy"), at=0.0
    )
    assert (view.fault, view.why) == (FindingKey.PRIVACY_UNREADABLE, "GPIO17 busy")
    view = switch.read(SwitchRead(nc_closed=True, no_closed=None, press=0), at=1.0)
    assert view.fault is None


# ---- a loose wire ----


class Wire:
    """A latching switch in time, told as the sensors tell it."""

    def __init__(self, privacy: Privacy = PLAIN) -> None:
        self.switch = latching(privacy)
        self.at = 0.0
        self.spells = 0  # how often it went private
        self.press = 0

    def tell(self, event: SwitchRead) -> None:
        was = self.switch.view(at=self.at).private
        now = self.switch.read(replace(event, read_at=self.at), at=self.at).private
        self.spells += now and not was

    def lives(self, seconds: float) -> None:
        """The live position, read every tenth of a second."""
        self.stays(seconds, nc=True, no=False)

    def stays(self, seconds: float, *, nc: bool | None, no: bool | None) -> None:
        until = round(self.at + seconds, 6)
        while self.at < until:
            self.at = round(min(until, self.at + 0.1), 6)
            self.tell(read(nc, no, self.press))

    def breaks(self, seconds: float, nc: bool | None = False, no: bool | None = True) -> None:
        self.press += 1
        self.tell(read(nc, no, self.press))
        self.stays(seconds, nc=nc, no=no)
        self.press += 1
        self.tell(read(True, False, self.press))

    def is_private(self) -> bool:
        return self.switch.view(at=self.at).private

    @property
    def fault(self) -> tuple[FindingKey | None, str]:
        view = self.switch.view(at=self.at)
        return view.fault, view.why


BLIP = 0.05
OF_NO_HAND: list[tuple[float, bool | None, bool | None]] = [
    (BLIP, False, True),
    (3.0, False, False),
    (3.0, True, True),
    (20.0, None, False),
]


@pytest.mark.parametrize(("seconds", "nc", "no"), OF_NO_HAND)
def test_a_wire_that_comes_and_goes_is_named_and_has_to_lie_still_for_longer(
    seconds: float, nc: bool | None, no: bool | None
):
    wire = Wire()
    wire.lives(6.0)
    for _ in range(90):
        wire.breaks(seconds, nc, no)
        wire.lives(6.5)
    assert wire.spells == BREAKS
    assert wire.fault == (FindingKey.PRIVACY_WIRING, LOOSE)
    assert wire.is_private()
    wire.lives(REST_S - 6.7)
    assert wire.is_private()
    assert wire.switch.deadline(at=wire.at) <= wire.at + 0.3
    wire.lives(0.3)
    assert not wire.is_private()
    assert wire.switch.view(at=wire.at).fault is None


def test_one_break_more_within_the_time_brings_it_back_and_long_after_none_does():
    wire = Wire()
    for _ in range(BREAKS):
        wire.lives(6.0)
        wire.breaks(BLIP)
    wire.lives(REST_S + 1.0)
    assert not wire.is_private()
    wire.breaks(BLIP)
    wire.lives(6.0)
    assert wire.is_private()
    wire.lives(WITHIN_S)
    wire.breaks(BLIP)
    wire.lives(LIVE_AFTER_S + 0.2)
    assert not wire.is_private()


def test_a_break_too_short_for_any_look_counts_too():
    wire = Wire()
    for _ in range(BREAKS):
        wire.lives(6.0)
        wire.press += 2
        wire.tell(read(True, False, wire.press))
    wire.lives(6.0)
    assert wire.fault == (FindingKey.PRIVACY_WIRING, LOOSE)


def test_a_hand_may_press_as_often_as_it_likes():
    wire = Wire()
    for _ in range(4 * BREAKS):
        wire.lives(LIVE_AFTER_S + 0.2)
        assert not wire.is_private()
        wire.breaks(HAND_S + 0.1)
    assert wire.fault == (None, "")


def test_a_press_that_a_busy_core_hears_of_together_with_its_end_is_a_hands():
    wire = Wire()
    for _ in range(2 * BREAKS):
        wire.lives(LIVE_AFTER_S + 0.2)
        assert not wire.is_private()
        at = wire.at + 2.0
        for read_at, event in ((wire.at, read(False, True, 1)), (at, read(True, False, 2))):
            wire.switch.read(replace(event, read_at=read_at), at=at)
        wire.at = at


def test_the_bounces_of_one_press_are_one_break_at_the_most():
    wire = Wire()
    wire.lives(6.0)
    for _ in range(3 * BREAKS):
        wire.breaks(0.01)
        wire.at += 0.02
    wire.lives(LIVE_AFTER_S + 0.2)
    assert not wire.is_private()


def test_a_silence_of_the_sensors_is_no_wires():
    wire = Wire()
    for _ in range(2 * BREAKS):
        wire.lives(LIVE_AFTER_S + 0.2)
        assert not wire.is_private()
        wire.at += SILENT_AFTER_S + 1.0
        wire.tell(read(True, False, wire.press))
