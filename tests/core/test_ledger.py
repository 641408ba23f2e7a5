"""What awaits the hub's word: settled once, asked for once, and never what is gone."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.core.ledger import (
    GAP_MOST_S,
    LACKS_FROM,
    MISSING_S,
    PROBE_RECORDS,
    PROBE_S,
    SILENT_S,
    Ledger,
    compact,
)
from edge_agent.core.wire import Watermark


def mark(upto: int, missing: tuple[tuple[int, int], ...] = (), **more: object) -> Watermark:
    return Watermark(epoch="e", upto=upto, missing=missing, **more)  # type: ignore[arg-type]


def covers(mark: Watermark, seq: int) -> bool:
    """Whether the hub has accounted for *seq*: the contract's words, one seq at a time."""
    if seq > mark.upto:
        return any(first <= seq <= last for first, last in mark.also)
    return not any(first <= seq <= last for first, last in mark.missing)


def test_a_word_settles_what_it_covers_once() -> None:
    ledger = Ledger()
    ledger.broker_has((1, 2, 3), 60, 0.0)
    assert (len(ledger), ledger.fresh_bytes, ledger.upto) == (3, 60, 0)
    assert ledger.hub_says(mark(3, ((2, 2),)), 1.0) == ((1, 1), (3, 3))
    assert (len(ledger), ledger.fresh_bytes, ledger.upto) == (1, 20, 1)
    assert 2 in ledger
    assert ledger.hub_says(mark(3, ((2, 2),)), 2.0) == ()
    assert ledger.hub_says(mark(3), 3.0) == ((2, 3),)
    assert (len(ledger), ledger.fresh_bytes, ledger.upto) == (0, 0, 3)


def test_a_late_puback_for_what_is_settled_waits_for_nothing() -> None:
    ledger = Ledger()
    ledger.hub_says(mark(5, also=((7, 7),)), 0.0)
    ledger.broker_has((4, 6, 7), 3, 1.0)
    assert [seq for seq in range(9) if seq in ledger] == [6]


def test_a_second_puback_for_one_record_counts_once() -> None:
    ledger = Ledger()
    ledger.broker_has((1,), 10, 0.0)
    ledger.broker_has((1,), 12, 1.0)
    assert (len(ledger), ledger.fresh_bytes) == (1, 12)


def test_what_is_missing_for_half_a_minute_is_named_once() -> None:
    ledger = Ledger()
    ledger.broker_has((1, 2, 3), 3, 0.0)
    assert ledger.missing(MISSING_S) == ()  # no word at all yet: that is silence, not a gap
    ledger.hub_says(mark(2, ((1, 1),)), 1.0)
    assert ledger.missing(1.0) == ()
    assert ledger.missing(MISSING_S * 2) == (1,)
    assert ledger.missing(MISSING_S * 9) == ()
    assert len(ledger) == 1


def test_a_silent_hub_is_probed_ever_more_rarely_and_any_progress_ends_that() -> None:
    ledger = Ledger()
    ledger.broker_has(range(1, 500), 499, 0.0)
    at, gaps = 0.0, []
    for _ in range(8):
        due = ledger.deadline()
        while due <= at or not ledger.probe(due):
            due = max(due, at) + 1.0
        gaps.append(due - at)
        at = due
    assert gaps[0] == SILENT_S
    assert gaps[-1] == PROBE_S
    assert ledger.silent
    assert len(ledger.probe(at + PROBE_S)) == PROBE_RECORDS
    ledger.hub_says(mark(10), at)
    assert not ledger.silent


def test_a_new_connection_awaits_nothing_and_a_new_epoch_knows_nothing() -> None:
    ledger = Ledger()
    ledger.hub_says(mark(3), 0.0)
    ledger.broker_has((4,), 1, 0.0)
    ledger.new_connection()
    assert (len(ledger), ledger.upto, ledger.deadline()) == (0, 3, math.inf)
    ledger.new_epoch()
    assert ledger.upto == 0


RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=6)


def disjoint(found: list[tuple[int, int]], above: int, upto: int) -> tuple[tuple[int, int], ...]:
    seqs = sorted({s for a, n in found for s in range(a, a + n + 1) if above < s <= upto})
    return compact(seqs)


@given(st.integers(0, 60), RANGES, RANGES, st.sets(st.integers(1, 80)))
def test_what_is_settled_is_exactly_what_the_word_covers(
    upto: int, lost: list[tuple[int, int]], beyond: list[tuple[int, int]], had: set[int]
) -> None:
    word = mark(upto, disjoint(lost, 0, upto), also=disjoint(beyond, upto, 80))
    ledger = Ledger()
    ledger.broker_has(sorted(had), len(had), 0.0)
    settled = {s for low, high in ledger.hub_says(word, 1.0) for s in range(low, high + 1)}
    assert settled == {seq for seq in range(1, 81) if covers(word, seq)}
    assert {seq for seq in had if seq in ledger} == had - settled


@given(st.sets(st.integers(1, 50)))
def test_ranges_hold_the_same_numbers(seqs: set[int]) -> None:
    ranges = compact(sorted(seqs))
    assert {s for low, high in ranges for s in range(low, high + 1)} == seqs
    assert all(b[0] > a[1] + 1 for a, b in pairwise(ranges))


def test_what_is_never_acknowledged_is_named_ever_more_rarely_and_counts_as_lacking() -> None:
    ledger = Ledger()
    ledger.broker_has((1, 2, 3), 3, 0.0)
    ledger.hub_says(mark(3, ((2, 2),)), 1.0)
    at, gaps = 0.0, []
    for sent in range(1, 20):
        assert (ledger.lacking == 1) == (sent > LACKS_FROM)
        due = max(ledger.deadline(), at)
        named = ledger.missing(due) + ledger.overdue(due, 10)
        while not named:
            due = max(ledger.deadline(), due + 1.0)
            named = ledger.missing(due) + ledger.overdue(due, 10)
        assert named == (2,)
        gaps.append(due - at)
        at = due
        ledger.broker_has((2,), 1, at)
    assert gaps == sorted(gaps)
    assert gaps[0] <= MISSING_S * 2
    assert gaps[-1] == pytest.approx(GAP_MOST_S, abs=60.0)
    assert not ledger.silent, "a hub that lacks one record is not silent"
    ledger.hub_says(mark(3), at)
    assert (len(ledger), ledger.lacking, ledger.deadline()) == (0, 0, math.inf)


def holes(count: int) -> Ledger:
    """A ledger in which so many records were sent twice in vain, the last at second 0."""
    ledger = Ledger()
    ledger.broker_has(range(1, count + 1), count, -MISSING_S)
    ledger.hub_says(mark(count, ((1, count),)), -MISSING_S)
    named = ledger.missing(0.0)
    ledger.broker_has(named, count, 0.0)
    assert len(named) == len(ledger) == count
    return ledger


def test_what_was_sent_twice_in_vain_holds_up_nothing_and_keeps_its_turn_over_connections() -> None:
    ledger = holes(5)
    assert (ledger.fresh, ledger.fresh_bytes, len(ledger)) == (0, 0, 5)
    ledger.broker_has((6, 7), 2, 1.0)
    assert (ledger.fresh, ledger.fresh_bytes) == (2, 2)
    ledger.new_connection()
    assert [seq for seq in range(9) if seq in ledger] == [1, 2, 3, 4, 5]
    assert ledger.overdue(100.0, 2) == (1, 2)
    assert ledger.overdue(100.0, 2) == (3, 4)


def test_while_it_is_not_their_turn_they_are_not_named_but_lacking_and_an_order_hurries_them() -> (
    None
):
    ledger = holes(5)
    assert not ledger.is_overdue(2 * MISSING_S - 1)
    assert ledger.lacking == 0
    assert ledger.is_overdue(2 * MISSING_S)
    assert ledger.overdue(2 * MISSING_S, 0) == ()
    assert ledger.lacking == 5
    assert 2 * MISSING_S < ledger.deadline() < math.inf
    again = holes(3)
    again.hurry(1.0)
    assert again.is_overdue(1.0)
    assert again.overdue(1.0, 10) == (1, 2, 3)


@pytest.mark.parametrize("gone", ["settled", "forgotten", "epoch"])
def test_what_is_gone_while_it_is_sent_again_is_not_lacking(gone: str) -> None:
    ledger, at = holes(3), 0.0
    for _ in range(LACKS_FROM):
        at = max(at + 1.0, ledger.deadline())
        named = ledger.overdue(at, 10)
        if not named:
            continue
        if ledger.lacking < 3:
            ledger.broker_has(named, 3, at)
    assert ledger.lacking == 3
    if gone == "settled":
        ledger.hub_says(mark(9), at)
    elif gone == "forgotten":
        ledger.forget(range(1, 4))
    else:
        ledger.new_epoch()
    assert (ledger.lacking, len(ledger)) == (0, 0)
    ledger.broker_has((10, 11), 2, at)
    assert ledger.fresh == 2


class Model:
    """The same by one entry a record: seq -> (PUBACK at, bytes); of records that were sent again: how often."""

    def __init__(self) -> None:
        self.answered: dict[int, tuple[float, float]] = {}
        self.times: dict[int, int] = {}
        self.mark: Watermark | None = None
        self.probe_at = self.check_at = math.inf
        self.gap_s = SILENT_S
        self.silent = False

    @property
    def fresh(self) -> set[int]:
        return {seq for seq in self.answered if not self.times.get(seq)}

    def gone(self, seqs: set[int]) -> None:
        for seq in seqs:
            self.times.pop(seq, None)
        self.forget(seqs)

    def forget(self, seqs: set[int]) -> None:
        for seq in seqs:
            self.answered.pop(seq, None)
        if not self.fresh:
            self.probe_at = self.check_at = math.inf
            self.silent = False

    def progress(self, at: float) -> None:
        self.silent, self.gap_s, self.probe_at = False, SILENT_S, at + SILENT_S
        self.check_at = min(self.check_at, at + MISSING_S)

    def broker_has(self, seqs: set[int], size: int, at: float) -> None:
        for seq in sorted(seqs):
            if self.mark is not None and covers(self.mark, seq):
                self.gone({seq})
                continue
            if not self.fresh and not self.times.get(seq):
                self.progress(at)
            self.answered[seq] = (at, size / len(seqs))

    def hub_says(self, word: Watermark, at: float) -> None:
        if word == self.mark:
            return
        moved = self.mark is None or word.upto > self.mark.upto
        self.mark = word
        settled = {seq for seq in self.answered if covers(word, seq)}
        self.gone(settled | {seq for seq in self.times if covers(word, seq)})
        if self.fresh and (settled or moved):
            self.progress(at)

    def missing(self, at: float) -> tuple[int, ...]:
        if at < self.check_at:
            return ()
        self.check_at = at + MISSING_S / 3
        word = self.mark
        if word is None:
            return ()
        lost = [
            seq
            for seq, (since, _) in self.answered.items()
            if at - since >= MISSING_S and seq <= word.highest and seq in self.fresh
        ]
        return self.name(lost)

    def overdue(self, at: float) -> tuple[int, ...]:
        if self.mark is None:
            return ()
        lost = [
            seq
            for seq, (since, _) in self.answered.items()
            if (times := self.times.get(seq, 0))
            and at >= since + MISSING_S * 2**times
            and seq <= self.mark.highest
        ]
        return self.name(lost)

    def name(self, lost: list[int]) -> tuple[int, ...]:
        for seq in lost:
            self.times[seq] = self.times.get(seq, 0) + 1
        self.forget(set(lost))
        return tuple(sorted(lost))

    def probe(self, at: float) -> tuple[int, ...]:
        if at < self.probe_at:
            return ()
        self.silent = True
        self.gap_s = min(self.gap_s * 2, PROBE_S)
        self.probe_at = at + self.gap_s
        return tuple(sorted(self.fresh)[:PROBE_RECORDS])


SEQS = st.integers(1, 60)
SPANS = st.tuples(SEQS, st.integers(0, 25)).map(lambda span: set(range(span[0], sum(span) + 1)))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("broker"), st.sets(SEQS, min_size=1) | SPANS),
        st.tuples(st.just("forget"), st.sets(SEQS) | SPANS),
        st.tuples(st.just("hub"), st.tuples(st.integers(0, 60), RANGES, RANGES)),
        st.tuples(st.just("time"), st.sampled_from([0.5, 9.0, MISSING_S, SILENT_S, PROBE_S])),
        st.tuples(st.just("connection"), st.none()),
    ),
    max_size=25,
)


@given(STEPS)
@example(
    [  # answered for twice, after it was sent again
        ("broker", {1}),
        ("hub", (0, [], [(2, 0)])),
        ("time", 30.0),
        ("broker", {1}),
        ("broker", {1}),
    ]
)
def test_runs_of_seqs_are_the_same_as_an_entry_for_each(steps: list[tuple[str, Any]]) -> None:
    ledger, model = Ledger(), Model()
    at = 0.0
    for number, (name, given_) in enumerate(steps):
        if name == "broker":
            ledger.broker_has(tuple(sorted(given_)), 10 * len(given_), at)
            model.broker_has(given_, 10 * len(given_), at)
        elif name == "forget":
            ledger.forget(given_)
            model.gone(given_)
        elif name == "hub":
            upto, lost, beyond = given_
            word = mark(upto, disjoint(lost, 0, upto), also=disjoint(beyond, upto, 90))
            ledger.hub_says(word, at)
            model.hub_says(word, at)
        elif name == "time":
            at += given_
            assert ledger.missing(at) == model.missing(at), number
            assert ledger.probe(at) == model.probe(at), number
            assert ledger.overdue(at, 10_000) == model.overdue(at), number
        else:
            ledger.new_connection()
            model.forget(model.fresh)
        assert {seq for seq in range(100) if seq in ledger} == set(model.answered)
        assert len(ledger) == len(model.answered)
        assert ledger.fresh_bytes == pytest.approx(
            sum(model.answered[seq][1] for seq in model.fresh), abs=0.5
        )
        assert ledger.fresh == len(model.fresh)
        assert ledger.silent == model.silent
        assert min(ledger._probe_at, ledger._check_at) == min(model.probe_at, model.check_at)


@given(st.sets(SEQS), SEQS, st.integers(0, 9))
def test_a_span_touches_what_waits_within_it(seqs: set[int], first: int, more: int) -> None:
    ledger = Ledger()
    ledger.broker_has(sorted(seqs), len(seqs), 0.0)
    span = range(first, first + more + 1)
    assert ledger.touches(first, first + more) == (not seqs.isdisjoint(span))
