"""What is in flight: how much fits, and when patience ends."""

from __future__ import annotations

import math

import pytest

from edge_agent.core.messages import Lane, Message
from edge_agent.core.pace import START_BYTES, Pace
from edge_agent.core.window import (
    BULK,
    MAX_FLIGHT_BYTES,
    MAX_IN_FLIGHT,
    SLOTS_FOR_NEWS,
    SLOWEST_BYTES_PER_S,
    UNANSWERED_S,
    WEDGED_S,
    Parcel,
    Window,
)


def parcel(lane: Lane, size: int = 100) -> Parcel:
    message = Message(topic=lane.value, payload=b"")
    return Parcel(message=message, size=size, lane=lane, camera="", epoch="e", seqs=(1, 2))


def window(receive_maximum: int = 100) -> Window:
    found = Window(Pace())
    found.open(receive_maximum, 0.0)
    return found


def fill(found: Window, lane: Lane, size: int = 100) -> int:
    count = 0
    while found.has_room(lane, size):
        found.take_off(parcel(lane, size), lane.value, size, 0.0)
        count += 1
    return count


@pytest.mark.parametrize("lane", list(Lane))
def test_bulk_leaves_places_for_news(lane: Lane) -> None:
    found = window()
    taken = fill(found, lane)
    assert taken == (MAX_IN_FLIGHT - SLOTS_FOR_NEWS if lane in BULK else MAX_IN_FLIGHT)
    assert found.has_room(Lane.AUDIT, 100) == (lane in BULK)


@pytest.mark.parametrize("lane", list(Lane))
def test_bulk_fills_the_line_and_no_more(lane: Lane) -> None:
    found = window()
    fill(found, lane, 8_000)
    assert (found.bytes <= START_BYTES + 4_000) == (lane in BULK)
    assert found.bytes <= MAX_FLIGHT_BYTES
    assert found.has_room(None, 1000) == (lane in BULK)


@pytest.mark.parametrize("lane", [*Lane, None])
def test_one_message_of_any_size_fits_into_an_empty_window(lane: Lane | None) -> None:
    found = window(1)
    assert found.has_room(lane, 50_000_000)
    ticket = found.take_off(None, "t", 50_000_000, 0.0)
    assert not found.has_room(lane, 1)
    flight = found.answered(ticket, 1.0)
    assert flight is not None
    assert flight.topic == "t"
    assert (len(found), found.bytes) == (0, 0)
    assert found.answered(ticket, 1.0) is None
    assert found.back(ticket) is None


def test_the_brokers_receive_maximum_is_obeyed_even_if_it_is_nonsense() -> None:
    assert fill(window(3), Lane.LIVE) == 3
    assert fill(window(0), Lane.LIVE) == 1
    assert fill(window(65_535), Lane.LIVE) == MAX_IN_FLIGHT


def test_patience_ends_after_a_minute_of_silence_and_counts_what_the_line_needs() -> None:
    found = window()
    assert found.wedged_at() == math.inf
    assert found.wedged(1e9) == ""
    found.take_off(None, "slow", SLOWEST_BYTES_PER_S * 30, 10.0)
    assert found.wedged_at() == 10.0 + WEDGED_S + 30.0
    assert found.wedged(99.0) == ""
    assert "slow since 90 s" in found.wedged(100.0)
    found.forget()
    assert found.wedged_at() == math.inf


def test_one_message_that_is_never_answered_is_noticed_among_others() -> None:
    found = window()
    found.take_off(None, "lost", 0, 0.0)
    for second in range(0, int(UNANSWERED_S), 20):
        assert found.wedged(float(second)) == ""
        ticket = found.take_off(None, "other", 0, float(second))
        found.answered(ticket, float(second) + 0.1)
    assert "lost" in found.wedged(UNANSWERED_S)


def test_what_flies_alone_lets_only_class_0_and_states_pass_until_its_answer() -> None:
    found = window()
    ticket = found.take_off(parcel(Lane.LIVE), "live", 100, 0.0, alone=True)
    assert [lane for lane in (*Lane, None) if found.has_room(lane, 1)] == [Lane.AUDIT, None]
    assert found.parcels == [parcel(Lane.LIVE)]
    for lane in (Lane.AUDIT, None):  # which may pass, and change nothing for the others
        beside = found.take_off(None if lane is None else parcel(lane), "t", 1, 0.5)
        assert not found.has_room(Lane.LIVE, 1)
        found.answered(beside, 40.0)
    assert found.wedged_at() == pytest.approx(WEDGED_S, abs=1.0), "their answers are not its own"
    found.answered(ticket, 1.0)
    for lane in (Lane.AUDIT, None, Lane.LIVE):
        assert found.has_room(lane, 1)
        found.take_off(None if lane is None else parcel(lane), "t", 1, 1.0)
    assert [each.lane for each in found.parcels] == [Lane.AUDIT, Lane.LIVE], "oldest first"
    found.take_off(parcel(Lane.LIVE), "live", 1, 1.0, alone=True)
    found.open(20, 2.0)
    assert found.has_room(None, 1), "a new connection is not held up by the old one"
