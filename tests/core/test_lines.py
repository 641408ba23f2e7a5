"""Contacts that bounce, chatter or cannot be read, and currents that a dead chip makes zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.lines import ALL_ZERO, LASTS_S, Lines
from edge_agent.core.messages import Line, LineRead

DOOR_OPEN = LineRead(line=Line.DOOR, camera=None, on=True, value=0.9)
DOOR_SHUT = LineRead(line=Line.DOOR, camera=None, on=False, value=0.5)


def alarm(*, on: bool | None, why: str = "") -> LineRead:
    return LineRead(line=Line.NVR_ALARM, camera="gate", on=on, why=why)


def current(camera: str, ma: float | None, why: str = "") -> LineRead:
    return LineRead(line=Line.CURRENT, camera=camera, on=None, value=ma, why=why)


def test_each_line_that_is_no_measure_has_its_times():
    assert set(LASTS_S) == set(Line) - {Line.CURRENT}


@pytest.mark.parametrize("line", LASTS_S)
@pytest.mark.parametrize("on", [True, False])
def test_a_state_is_told_once_when_it_has_lasted(line, on):
    lines = Lines()
    lasts_s = LASTS_S[line][0 if on else 1]
    event = LineRead(line=line, camera=None, on=on)
    assert lines.read(event, at=10.0) == []
    assert lines.deadline() == 10.0 + lasts_s
    assert lines.timed(at=10.0 + lasts_s - 0.01) == []
    assert lines.timed(at=10.0 + lasts_s) == [event]
    assert lines.timed(at=10.0 + lasts_s) == []
    assert lines.read(event, at=10.0 + lasts_s + 5) == [], "a repetition is no news"
    assert lines.deadline() == float("inf")


def test_a_contact_that_bounces_is_told_once_and_one_that_chatters_not_at_all():
    lines = Lines()
    told = []
    at = 0.0
    for _ in range(50):
        told += lines.read(alarm(on=True), at=at)
        told += lines.read(alarm(on=False), at=at + 0.1)
        at += 0.2
    assert told == []
    assert lines.read(alarm(on=True), at=at) == []
    assert lines.timed(at=at + 0.5) == [alarm(on=True)]


def test_mains_that_come_back_for_a_moment_are_not_back():
    lines = Lines()
    lost = LineRead(line=Line.MAINS_LOST, camera=None, on=True)
    back = LineRead(line=Line.MAINS_LOST, camera=None, on=False)
    lines.read(lost, at=0.0)
    assert lines.timed(at=1.0) == [lost]
    assert lines.on(Line.MAINS_LOST)
    for at in range(10, 100, 30):
        assert lines.read(back, at=float(at)) == []
        assert lines.read(lost, at=at + 20.0) == []
    assert lines.on(Line.MAINS_LOST)
    lines.read(back, at=200.0)
    assert lines.timed(at=260.0) == [back]
    assert not lines.on(Line.MAINS_LOST)


def test_what_cannot_be_read_is_told_at_once_as_unknown_with_its_reason():
    lines = Lines()
    lines.read(alarm(on=True), at=0.0)
    lines.timed(at=1.0)
    blind = alarm(on=None, why="GPIO20 is held by pigpiod")
    assert lines.read(blind, at=2.0) == [blind]
    faults = [lines.faults]
    lines.read(alarm(on=True), at=3.0)
    faults.append(lines.faults)
    assert lines.timed(at=3.5) == [alarm(on=True)]
    faults.append(lines.faults)
    known = ("GPIO20 is held by pigpiod",)
    assert faults == [known, known, ()], "until it is known again"


def test_a_door_is_told_open_soon_and_shut_later():
    lines = Lines()
    lines.read(DOOR_OPEN, at=0.0)
    lines.timed(at=0.5)
    assert lines.on(Line.DOOR)
    lines.read(DOOR_SHUT, at=10.0)
    assert lines.on(Line.DOOR)
    lines.timed(at=15.0)
    assert not lines.on(Line.DOOR)


# ---- currents ----


def test_one_camera_without_current_is_a_camera_without_current():
    lines = Lines()
    assert lines.read(current("gate", 280.0), at=0.0) == [current("gate", 280.0)]
    assert lines.read(current("river", 280.0), at=0.0) == [current("river", 280.0)]
    assert lines.read(current("gate", 0.0), at=1.0) == [current("gate", 0.0)]
    assert lines.faults == ()


def test_all_currents_at_nothing_are_a_fault_of_the_box_until_one_flows_again():
    lines = Lines()
    for camera in ("gate", "river"):
        lines.read(current(camera, 280.0), at=0.0)
    lines.read(current("gate", 0.4), at=1.0)
    told = lines.read(current("river", 0.4), at=1.0)
    assert [(event.camera, event.value, event.why) for event in told] == [
        ("gate", None, ALL_ZERO),
        ("river", None, ALL_ZERO),
    ]
    faults = [lines.faults]
    told = lines.read(current("river", 280.0), at=2.0)
    assert {event.camera: event.value for event in told} == {"gate": 0.4, "river": 280.0}
    assert [*faults, lines.faults] == [(ALL_ZERO,), ()]


def test_the_only_camera_of_a_box_may_be_off():
    lines = Lines()
    assert lines.read(current("gate", 0.0), at=0.0) == [current("gate", 0.0)]


def test_a_chip_that_cannot_be_read_is_named_once_for_all_its_channels():
    lines = Lines()
    for camera in ("gate", "river"):
        blind = current(camera, None, "SPI0 CE1 cannot be opened")
        assert lines.read(blind, at=0.0) == [blind]
    assert lines.faults == ("SPI0 CE1 cannot be opened",)
    assert lines.read(current("", 1.0), at=0.0) != []
    assert lines.read(LineRead(line=Line.CURRENT, camera=None, on=None, value=1.0), at=0.0) == [], (
        "a current of no camera"
    )


EVENT = st.builds(
    LineRead,
    line=st.sampled_from(Line),
    camera=st.sampled_from([None, "gate", "river"]),
    on=st.sampled_from([True, False, None]),
    value=st.none() | st.floats(),
    why=st.sampled_from(["", "held by another"]),
)


@given(st.lists(st.tuples(EVENT, st.floats(0.0, 3.0)), max_size=60))
def test_no_line_flaps_faster_than_its_times_and_every_wait_ends(story):
    lines = Lines()
    at = 0.0
    last: dict[tuple[Line, str | None], tuple[bool, float]] = {}
    for event, gap_s in story:
        at += gap_s
        for told in lines.read(event, at=at):
            if told.line is Line.CURRENT or told.on is None:
                continue
            before = last.get((told.line, told.camera))
            if before is not None and before[0] is not told.on:
                assert at - before[1] >= min(LASTS_S[told.line]) - 1e-9
            last[told.line, told.camera] = (told.on, at)
        due = lines.deadline()
        assert due > at
        if due < float("inf"):
            assert lines.timed(at=due)
