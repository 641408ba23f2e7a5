"""The measured line: kept busy, without a queue for news to stand in; and the hub's limit."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import pytest

from edge_agent.core.pace import (
    BURST_S,
    LEAST_BYTES,
    MOST_BYTES,
    PARCEL_LEAST_BYTES,
    PARCEL_MOST_BYTES,
    PROBE_GAIN,
    QUEUE_S,
    START_BYTES,
    Pace,
    Stamp,
)


@dataclass
class Line:
    """A line of so many bytes a second with one queue, and a hub behind it that takes `hub_s` for each message.

    Bulk is always there to send; the clock jumps from event to event.
    """

    bytes_per_s: float
    way_s: float  # there and back
    hub_s: float = 0.0
    lumps: bool = False  # an answer waits until the one before has been confirmed (TCP's rule for small packets)
    pace: Pace = field(default_factory=Pace)
    at: float = 0.0
    flying: int = 0
    carried: int = 0
    free_at: float = 0.0  # when the line has sent all that was given to it
    hub_free_at: float = 0.0
    lump_at: float = -math.inf  # when the last lump of answers left the hub
    answers: list[tuple[float, int, Stamp]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)  # what news would have stood behind

    def send(self, size: int) -> None:
        stamp = self.pace.sent(size, self.flying, self.at)
        self.flying += size
        self.free_at = max(self.free_at, self.at) + size / self.bytes_per_s
        there = self.free_at + self.way_s / 2
        self.hub_free_at = max(self.hub_free_at, there) + self.hub_s
        leaves = self.hub_free_at
        if self.lumps:
            if leaves > self.lump_at:
                self.lump_at = max(leaves, self.lump_at + self.way_s)
            leaves = self.lump_at
        answer = leaves + self.way_s / 2
        heapq.heappush(self.answers, (answer, len(self.waits), stamp))
        self.waits.append(max(0.0, self.free_at - self.at))

    def run(self, until: float) -> None:
        while self.at < until:
            size = self.pace.parcel_bytes
            while self.pace.has_room(self.flying, size):
                self.send(size)
                size = self.pace.parcel_bytes
            self.at, _, stamp = heapq.heappop(self.answers)
            self.flying -= stamp.size
            self.carried += stamp.size
            self.pace.answered(stamp, self.at)

    def greet(self) -> None:
        """The camera states, which are small."""
        self.send(500)
        self.at, _, stamp = heapq.heappop(self.answers)
        self.flying -= stamp.size
        self.pace.answered(stamp, self.at)


@pytest.mark.parametrize(
    ("mbit", "way_s", "least_use"),
    [
        (1, 0.1, 0.97),
        (8, 0.1, 0.97),
        (1, 0.02, 0.97),
        (0.25, 0.3, 0.95),
        (8, 0.6, 0.95),
        (50, 0.03, 0.95),
    ],
)
def test_the_line_is_busy_and_news_never_stands_behind_much(
    mbit: float, way_s: float, least_use: float
) -> None:
    line = Line(mbit * 125_000, way_s)
    line.greet()
    line.run(10.0)  # learnt by then
    began, carried = line.at, line.carried
    line.waits.clear()
    line.run(70.0)
    use = (line.carried - carried) / (line.at - began) / line.bytes_per_s
    assert use >= least_use
    waits = sorted(line.waits)
    queue_s = max(QUEUE_S, way_s / 2)
    probing_s = (PROBE_GAIN - 1) * (way_s + queue_s)
    allowed_s = queue_s + LEAST_BYTES / line.bytes_per_s
    assert waits[int(0.99 * len(waits))] <= allowed_s * 1.25 + probing_s


def test_on_a_thin_line_an_alarm_waits_for_less() -> None:
    line = Line(125_000, 0.1)
    line.greet()
    line.run(10.0)
    line.waits.clear()
    line.run(70.0)
    assert sorted(line.waits)[int(0.99 * len(line.waits))] <= 0.13


@pytest.mark.parametrize("mbit", [0.5, 1, 2, 8, 20])
def test_answers_that_wait_for_each_other_do_not_hold_the_window_where_it_began(
    mbit: float,
) -> None:
    line = Line(mbit * 125_000, 0.1, lumps=True)
    line.greet()
    line.run(20.0)
    began, carried = line.at, line.carried
    line.waits.clear()
    line.run(80.0)
    assert (line.carried - carried) / (line.at - began) >= 0.95 * line.bytes_per_s
    assert sorted(line.waits)[int(0.99 * len(line.waits))] <= 0.3


def test_a_line_that_becomes_slower_or_faster_is_found_within_seconds() -> None:
    line = Line(1_000_000.0, 0.1)
    line.greet()
    line.run(10.0)
    fast = line.pace.window
    line.bytes_per_s = 125_000.0
    line.run(20.0)
    assert line.pace.window < fast / 5
    line.bytes_per_s = 1_000_000.0
    line.run(30.0)
    assert line.pace.window > fast * 0.8


def test_a_hub_that_answers_slowly_is_not_pressed() -> None:
    line = Line(1_000_000.0, 0.1)
    line.greet()
    line.run(10.0)
    assert line.pace.window > 150_000
    line.hub_s = 1.0
    line.run(60.0)
    assert line.pace.window <= 4 * LEAST_BYTES


def test_a_way_that_has_become_longer_for_good_is_learnt() -> None:
    line = Line(1_000_000.0, 0.02)
    line.greet()
    line.run(10.0)
    line.way_s = 1.0
    line.run(60.0)
    began, carried = line.at, line.carried
    line.run(120.0)
    assert (line.carried - carried) / (line.at - began) >= 0.5 * line.bytes_per_s


def test_bounds_hold_whatever_is_measured() -> None:
    pace = Pace()
    assert pace.window == START_BYTES
    assert pace.bytes_per_s is None
    pace.answered(pace.sent(10**9, 0, 1.0), 1.0)
    assert pace.window == MOST_BYTES
    assert pace.parcel_bytes == PARCEL_MOST_BYTES
    pace.new_connection()
    for _ in range(40):
        pace.answered(pace.sent(100, LEAST_BYTES, 10.0), 1000.0)
    assert LEAST_BYTES <= pace.window <= MOST_BYTES
    assert pace.parcel_bytes >= PARCEL_LEAST_BYTES


def test_little_traffic_says_nothing_against_the_line() -> None:
    line = Line(1_000_000.0, 0.1)
    line.greet()
    line.run(10.0)
    line.flying, line.answers = 0, []
    before = line.pace.window
    for number in range(100):
        at = 100.0 + number
        line.pace.answered(line.pace.sent(300, 0, at), at + 0.1)
    assert line.pace.window == pytest.approx(before, rel=0.01)


@pytest.mark.parametrize("limit", [1_000.0, 50_000.0])
def test_the_hubs_limit_holds_over_any_span(limit: float) -> None:
    pace = Pace()
    pace.limit(limit, 0.0)
    at, left = 0.0, []
    while at < 600.0:
        at = max(at, pace.free_at)
        size = pace.parcel_bytes
        pace.spend(size, at)
        left.append((at, size))
    for first in range(0, len(left), 7):
        span = [
            (when, size) for when, size in left if left[first][0] <= when <= left[first][0] + 60
        ]
        assert sum(size for _, size in span) <= limit * (60 + BURST_S) + PARCEL_MOST_BYTES
    assert sum(size for _, size in left) >= 0.95 * limit * 600.0


def test_no_limit_means_none_and_a_new_one_holds_at_once() -> None:
    pace = Pace()
    pace.spend(10**9, 5.0)
    assert pace.free_at < 0
    pace.limit(1000.0, 10.0)
    pace.spend(5_000, 10.0)
    pace.limit(1000.0, 11.0)  # the same word again changes nothing
    assert pace.free_at == pytest.approx(15.0)
    pace.limit(None, 12.0)
    assert pace.free_at < 0
