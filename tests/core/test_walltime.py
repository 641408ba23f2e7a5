"""Labels of time: corrected once, on record, and never an order."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.core.messages import (
    ClockRead,
    CorrectTimes,
    FindingKey,
    Keep,
    Memory,
    Remember,
)
from edge_agent.core.walltime import FLOOR_EVERY_S, GRACE_S, STEP_S, WallTime, floor_of

NOW_S = 1_800_000_000.0


def read(wall_s: float, *, trusted: bool) -> ClockRead:
    return ClockRead(wall_s=wall_s, trusted=trusted, source="test")


def did(commands, kind):
    return [command for command in commands if isinstance(command, kind)]


def test_a_box_that_starts_in_1970_is_put_right_by_one_number_and_says_so():
    time = WallTime(read(3.0, trusted=False), boot="b1", at=3.0)
    assert time.read(read(10.0, trusted=False), at=10.0) == []
    out = time.read(read(NOW_S, trusted=True), at=50.0)
    assert did(out, CorrectTimes) == [CorrectTimes(boot_wall_s=NOW_S - 50.0)]
    (kept,) = did(out, Keep)
    assert kept.record.kind == "clock.corrected"
    assert kept.record.data["offset_s"] == NOW_S - 50.0
    assert kept.record.data["boot"] == "b1"
    assert time.wall(at=60.0) == NOW_S + 10.0


def test_a_clock_that_was_right_from_the_start_puts_nothing_on_record():
    time = WallTime(read(NOW_S, trusted=True), boot="b1", at=5.0)
    out = time.read(read(NOW_S + 1, trusted=True), at=6.0)
    # An earlier process of this boot may have died before it could say it.
    assert did(out, CorrectTimes) == [CorrectTimes(boot_wall_s=NOW_S - 5.0)]
    assert did(out, Keep) == []
    assert did(time.read(read(NOW_S + 11, trusted=True), at=16.0), CorrectTimes) == []


@pytest.mark.parametrize("years", [-10, 10])
def test_a_trusted_clock_that_jumps_is_corrected_and_on_record(years):
    time = WallTime(read(NOW_S, trusted=True), boot="b1", at=0.0)
    time.read(read(NOW_S, trusted=True), at=0.0)
    jump_s = years * 31_556_952.0
    out = time.read(read(NOW_S + 10 + jump_s, trusted=True), at=10.0)
    (kept,) = did(out, Keep)
    assert kept.record.data["offset_s"] == pytest.approx(jump_s)
    # And back.
    out = time.read(read(NOW_S + 20, trusted=True), at=20.0)
    assert did(out, CorrectTimes)[0].boot_wall_s == pytest.approx(NOW_S)


@pytest.mark.parametrize("step_s", [1.0, -1.0])  # a leap second, or a clock that is slewed
def test_a_leap_second_corrects_nothing(step_s):
    time = WallTime(read(NOW_S, trusted=True), boot="b1", at=0.0)
    time.read(read(NOW_S, trusted=True), at=0.0)
    assert abs(step_s) < STEP_S
    assert did(time.read(read(NOW_S + 10 + step_s, trusted=True), at=10.0), CorrectTimes) == []


def test_trust_lost_and_found_again_is_corrected_even_without_a_step():
    time = WallTime(read(NOW_S, trusted=True), boot="b1", at=0.0)
    time.read(read(NOW_S, trusted=True), at=0.0)
    time.read(read(NOW_S + 10, trusted=False), at=10.0)
    assert not time.trusted
    assert did(time.read(read(NOW_S + 20, trusted=True), at=20.0), CorrectTimes)


def test_suspend_counts_as_time_of_the_boot():
    time = WallTime(read(NOW_S, trusted=True), boot="b1", at=0.0)
    time.read(read(NOW_S, trusted=True), at=0.0)
    # Both clocks went on while the machine slept.
    assert did(time.read(read(NOW_S + 90_000, trusted=True), at=90_000.0), Keep) == []


def test_the_floor_is_remembered_every_ten_minutes_and_only_if_vouched_for():
    time = WallTime(read(5.0, trusted=False), boot="b1", at=5.0)
    assert did(time.read(read(9.0, trusted=False), at=9.0), Remember) == []
    (kept,) = did(time.read(read(NOW_S, trusted=True), at=20.0), Remember)
    assert kept.memory is Memory.CLOCK
    assert floor_of(kept.value) == NOW_S
    assert did(time.read(read(NOW_S + 300, trusted=True), at=320.0), Remember) == []
    later = 20.0 + FLOOR_EVERY_S
    (kept,) = did(time.read(read(NOW_S + FLOOR_EVERY_S, trusted=True), at=later), Remember)
    assert floor_of(kept.value) == NOW_S + FLOOR_EVERY_S


@pytest.mark.parametrize(
    "kept",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"3",
        b'{"floor_s": true}',
        b'{"floor_s": -1}',
        b'{"floor_s": NaN}',
        b'{"floor_s": 1e300}',
        b'{"floor_s": "1"}',
    ],
)
def test_a_floor_that_cannot_be_read_is_none(kept):
    assert floor_of(kept) == 0.0


def test_an_untrusted_clock_is_a_finding_after_ten_minutes_of_this_process():
    time = WallTime(read(5.0, trusted=False), boot="b1", at=100.0)
    assert time.findings(at=100.0 + GRACE_S) == {}
    assert set(time.findings(at=101.0 + GRACE_S)) == {FindingKey.CLOCK_UNTRUSTED}
    time.read(read(NOW_S, trusted=True), at=800.0)
    assert time.findings(at=9_000.0) == {}


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 1e6), st.floats(allow_nan=True, allow_infinity=True), st.booleans()
        ),
        max_size=30,
    )
)
@example([(0.5, -math.inf, False), (0.5, 5.0, True)])
@example([(0.5, math.nan, False), (0.5, 5.0, True)])
def test_no_clock_makes_it_raise_and_the_last_correction_agrees_with_the_last_trusted_reading(
    steps,
):
    time = WallTime(read(0.0, trusted=False), boot="b", at=0.0)
    at, last, corrected = 0.0, None, None
    for wait_s, wall_s, trusted in steps:
        at += wait_s
        for command in time.read(read(wall_s, trusted=trusted), at=at):
            if isinstance(command, CorrectTimes):
                corrected = command.boot_wall_s
            if isinstance(command, Keep):
                json.dumps(dict(command.record.data), allow_nan=False)
        if trusted and 0.0 < wall_s < 253_402_300_799.0:
            last = wall_s - at
    assert (corrected is None) == (last is None)
    if last is not None and corrected is not None:
        # Slewing in steps below STEP_S may add up; each is too small to be worth a word.
        assert abs(corrected - last) < STEP_S * len(steps)
