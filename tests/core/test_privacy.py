"""The switch: whatever is not plainly live is private."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import FindingKey, SwitchRead
from edge_agent.core.privacy import LIVE_AFTER_S, SILENT_AFTER_S, Switch, is_live

CONTACT = st.sampled_from([True, False, None])


def read(nc: bool | None, no: bool | None, press: int = 0, why: str = "") -> SwitchRead:
    return SwitchRead(nc_closed=nc, no_closed=no, press=press, why=why)


def held_live(switch: Switch, *, since: float, until: float, press: int = 0) -> None:
    at = since
    while at <= until:
        switch.read(read(True, False, press), at=at)
        at += 0.5


def live_switch() -> Switch:
    switch = Switch(at=0.0)
    held_live(switch, since=0.0, until=LIVE_AFTER_S)
    assert not switch.view(at=LIVE_AFTER_S).private
    return switch


@pytest.mark.parametrize("nc", [True, False, None])
@pytest.mark.parametrize("no", [True, False, None])
def test_one_pattern_of_nine_is_live(nc: bool | None, no: bool | None):
    assert is_live(nc, no) == (nc is True and no is False)


def test_the_box_starts_private_and_becomes_live_after_three_seconds_of_the_live_pattern():
    switch = Switch(at=0.0)
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
    due = switch.deadline(at=heard_at)
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
    view = Switch(at=0.0).read(read(None, False, why="GPIO17 busy"), at=1.0)
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
    switch = Switch(at=0.0)
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
    switch = Switch(at=0.0)
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
