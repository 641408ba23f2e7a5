"""Whether the city's suspension holds, with clocks that lie, jump, or know nothing."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import ClockRead, Command, Memory, Remember
from edge_agent.core.suspension import NEWS_S, SAVE_S, Suspension
from edge_agent.core.wire import Policy

NOW = 1_800_000_000.0
DAY = 86_400.0


def clock(wall_s: float, trusted: bool = True) -> ClockRead:
    return ClockRead(wall_s=wall_s, trusted=trusted, source="test")


def policy(until: float | None, issued: float | None = None) -> Policy:
    return Policy(number=1, suspended_until=until, reason_id="", reason_en="", issued=issued)


def kept(commands: list[Command]) -> bytes | None:
    values = [c.value for c in commands if isinstance(c, Remember) and c.memory is Memory.FLOOR]
    return values[-1] if values else None


NONE = clock(0.0, trusted=False)


def test_with_a_trusted_clock_it_lasts_until_its_date() -> None:
    one = Suspension(None, clock(NOW), at=100.0)
    assert not one.is_on(at=100.0)
    assert one.deadline(at=100.0) == math.inf
    one.obey(policy(NOW + DAY), at=100.0)
    assert one.is_on(at=100.0)
    assert one.deadline(at=100.0) == 100.0
    one.saving(at=100.0)
    assert one.deadline(at=100.0) == 100.0 + SAVE_S
    assert one.is_on(at=99.0 + DAY)
    one.saving(at=99.9 + DAY)
    assert one.deadline(at=99.9 + DAY) == 100.0 + DAY
    assert not one.is_on(at=100.0 + DAY)
    assert kept(one.saving(at=100.0 + DAY)) is not None
    assert one.saving(at=100.0 + DAY) == []
    one.obey(policy(None), at=100.0)
    assert not one.is_on(at=100.0)


@pytest.mark.parametrize("wall_s", [0.0, NOW - 100 * DAY, NOW + 5000 * DAY])
def test_an_untrusted_clock_moves_nothing(wall_s: float) -> None:
    one = Suspension(None, clock(NOW), at=0.0)
    one.obey(policy(NOW + DAY), at=0.0)
    for hour in range(24):
        one.clock_read(clock(wall_s, trusted=False), at=hour * 3600.0)
        assert one.is_on(at=hour * 3600.0)
    assert not one.is_on(at=DAY)


def test_a_trusted_clock_that_was_corrected_is_believed() -> None:
    one = Suspension(None, clock(NOW + 50 * DAY), at=0.0)
    one.obey(policy(NOW + DAY), at=0.0)
    assert not one.is_on(at=0.0)
    one.clock_read(clock(NOW), at=60.0)
    assert one.is_on(at=60.0)


def test_the_count_goes_on_over_restarts_without_a_clock() -> None:
    """Ten restarts a day without a network: it ends when it has run for as long as was left."""
    one = Suspension(None, clock(NOW), at=0.0)
    one.obey(policy(NOW + DAY), at=0.0)
    saved = kept(one.saving(at=0.0))
    ran = 0.0
    while True:
        one = Suspension(saved, NONE, at=50.0)
        one.obey(policy(NOW + DAY), at=50.0)
        for minute in range(144):
            if not one.is_on(at=50.0 + minute * 60.0):
                break
            saved = kept(one.saving(at=50.0 + minute * 60.0)) or saved
        if not one.is_on(at=50.0 + minute * 60.0):
            ran += minute * 60.0
            break
        ran += 144 * 60.0
    assert DAY <= ran <= DAY + 11 * SAVE_S


def test_a_box_that_never_knew_the_time_holds_until_the_hub_says_otherwise() -> None:
    one = Suspension(None, NONE, at=0.0)
    one.obey(policy(NOW), at=0.0)
    assert one.is_on(at=3000 * DAY)
    one.obey(policy(None), at=3000 * DAY)
    assert not one.is_on(at=3000 * DAY)


def test_the_date_of_signing_bounds_it_for_a_box_without_a_clock() -> None:
    one = Suspension(None, NONE, at=10.0)
    one.obey(policy(NOW + DAY, issued=NOW), at=10.0)
    assert one.is_on(at=9.0 + DAY)
    assert not one.is_on(at=11.0 + DAY)
    trusting = Suspension(None, clock(NOW), at=10.0)
    trusting.obey(policy(NOW + DAY, issued=NOW + 2 * DAY), at=10.0)  # a hub whose clock is ahead
    assert trusting.is_on(at=10.0)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"wall_s":"x"}',
        b'{"wall_s":true}',
        b'{"wall_s":-5}',
        b'{"wall_s":1e300}',
        b'{"wall_s":NaN}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_memory_is_none(value: bytes) -> None:
    one = Suspension(value, NONE, at=0.0)
    one.obey(policy(NOW), at=0.0)
    assert one.is_on(at=0.0)
    assert kept(one.saving(at=5.0)) == json.dumps({"v": 1, "wall_s": 5.0}).encode()


def test_one_that_is_over_does_not_come_back_with_a_restart_without_a_clock() -> None:
    one = Suspension(None, clock(NOW), at=0.0)
    one.obey(policy(NOW + DAY), at=0.0)
    one.saving(at=0.0)
    later = Suspension(kept(one.saving(at=DAY + 1.0)), NONE, at=5.0)
    later.obey(policy(NOW + DAY), at=5.0)
    assert not later.is_on(at=5.0)


def test_it_is_kept_every_ten_minutes_and_only_while_a_date_lies_ahead() -> None:
    one = Suspension(None, clock(NOW), at=0.0)
    assert one.saving(at=0.0) == []
    one.obey(policy(NOW + DAY), at=0.0)
    saves = [at for at in range(0, int(DAY), 10) if one.saving(at=float(at))]
    assert saves == list(range(0, int(DAY), int(SAVE_S)))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["run", "off", "trusted", "lies"]),
        st.floats(0.0, 20_000.0),
        st.floats(-9e8, 9e8),
    ),
    max_size=60,
)


@given(steps=STEPS, until=st.floats(NOW, NOW + 300_000.0), first=st.booleans())
def test_it_never_ends_early_and_never_outlasts_what_the_box_could_not_know(
    steps: list[tuple[str, float, float]], until: float, first: bool
) -> None:
    """Against a world that knows the time: cut at any moment, off for any while, with any clock."""
    world, at, saved, blind_s = NOW, 0.0, None, 0.0
    one = Suspension(None, clock(world) if first else NONE, at=at)
    one.obey(policy(until, issued=NOW), at=at)
    for name, seconds, offset in steps:
        if name == "run":
            for _ in range(int(seconds / 60.0)):
                world, at = world + 60.0, at + 60.0
                saved = kept(one.saving(at=at)) or saved
        elif name == "off":
            saved = kept(one.saving(at=at)) or saved
            world, at = world + seconds, 7.0
            blind_s += seconds + SAVE_S
            one = Suspension(saved, clock(world + offset, trusted=False), at=at)
            one.obey(policy(until, issued=NOW), at=at)
        elif name == "trusted":
            one.clock_read(clock(world), at=at)
            blind_s = NEWS_S
        else:
            one.clock_read(clock(world + offset, trusted=False), at=at)
        if world < until - 1:
            assert one.is_on(at=at), "it ended before its date"
        if world > until + blind_s + 1:
            assert not one.is_on(at=at), "it outlasted its date"
