"""What the broker has taken and the hub has not acknowledged yet, and what the hub said last.

Promises:
- Only a watermark settles: what it covers, once, and nothing beyond it.
- What the hub still lacks half a minute after the broker took it is named once, to be sent again. What it lacks even then (it cannot
  read it, say) is named when asked for, each time after twice as long, up to a day, over connections too: so what a hub never takes
  costs a bounded amount a day, and from the third time on it counts as lacking.
- If the hub says nothing at all, a batch of the oldest is named, ever more rarely, so that a hub which lost its memory is noticed.
- It names nothing that it was told to forget (settled, purged, thinned).
- What it costs goes with the number of messages and of holes, not of records: seqs that follow each other are one run.
Time is an argument. Not its job: whose epoch a watermark is of, and what may not be believed of it (uplink.py).
"""

from __future__ import annotations

import bisect
import math
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edge_agent.core.wire import Watermark

MISSING_S: Final = 30.0  # PUBACKed so long ago and still missing at the hub
SILENT_S: Final = 60.0
PROBE_S: Final = 900.0  # the longest pause between two probes of a silent hub
PROBE_RECORDS: Final = 200
GAP_MOST_S: Final = 86_400.0
SMALL_BYTES: Final = 4_000
LACKS_FROM: Final = 3  # sent again so often, and still missing: no accident any more


class _Run(NamedTuple):
    """Seqs `first` to `last`, both inclusive, that one PUBACK answered for."""

    first: int
    last: int
    at: float
    size: float  # bytes of what is left of it, taken as evenly spread
    times: int = 0  # how often it was sent again before that

    def part(self, first: int, last: int) -> _Run:
        """What of it lies in there."""
        share = (last - first + 1) / (self.last - self.first + 1)
        return _Run(first, last, self.at, self.size * share, self.times)

    @property
    def is_small(self) -> bool:
        """Whether it is of records, not of pictures."""
        return self.size < SMALL_BYTES * (self.last - self.first + 1)

    @property
    def due(self) -> float:
        """When it is to be sent again, if the hub lacks it still."""
        return self.at + min(MISSING_S * 2.0 ** min(self.times, 20), GAP_MOST_S)


class _Sum:
    """Of some runs."""

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0.0

    def add(self, run: _Run, sign: int) -> None:
        self.records += sign * (run.last - run.first + 1)
        # Without any left: what rounding left.
        self.bytes = self.bytes + sign * run.size if self.records else 0.0


class Ledger:
    """What awaits the hub's word: of this connection, and what it lacks since an earlier one. Owner thread only."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []  # rising, disjoint
        self._fresh = _Sum()  # of runs that were sent once
        self._held = _Sum()  # of runs that were sent again; they hold up nothing
        self._lacking = 0  # of those, from the third time on
        self._resent: dict[int, int] = {}  # named, and not with the broker yet: how often by then
        self._resent_lacking = 0  # of those, from the third time on
        self._behind = 0  # due to be sent again before that, but it is not their turn
        self._mark: Watermark | None = None
        self._probe_at = math.inf
        self._probe_gap_s = SILENT_S
        self._check_at = math.inf
        self._overdue_at = math.inf
        self.silent = False

    def __len__(self) -> int:
        return self._fresh.records + self._held.records

    def __contains__(self, seq: int) -> bool:
        return self.touches(seq, seq)

    def touches(self, first: int, last: int) -> bool:
        """Whether any of these awaits the hub's word."""
        place = self._place(first)
        return place < len(self._runs) and self._runs[place].first <= last

    @property
    def fresh(self) -> int:
        """Records that were sent once: what there may not be too many of."""
        return self._fresh.records

    @property
    def fresh_bytes(self) -> int:
        """Their bytes; of a message that is settled in part, that part by number."""
        return round(self._fresh.bytes)

    @property
    def lacking(self) -> int:
        """Records that were sent again `LACKS_FROM` times, or would have been by now, and are still not at the hub."""
        return self._lacking + self._resent_lacking + self._behind

    @property
    def upto(self) -> int:
        """Everything up to here is settled, without a hole."""
        if self._mark is None:
            return 0
        return self._mark.missing[0][0] - 1 if self._mark.missing else self._mark.upto

    def forget(self, seqs: Iterable[int]) -> None:
        """These are settled or gone."""
        if not (self._runs or self._resent):
            return
        gone = sorted(set(seqs))
        for seq in gone:
            self._times(seq)
        self._forget(compact(gone))

    def new_connection(self) -> None:
        """Everything unsettled is sent again, but for what the hub lacked although it was: that keeps its turn."""
        self._forget([(run.first, run.last) for run in self._runs if not run.times])

    def new_epoch(self) -> None:
        """Nothing of what was said before holds."""
        self._resent.clear()
        self._resent_lacking = 0
        self._forget([(run.first, run.last) for run in self._runs])
        self._mark = None

    def broker_has(self, seqs: Sequence[int], size: int, at: float) -> None:
        """A PUBACK came for these, *size* bytes in all; unless the hub was faster, its word is awaited from now on."""
        whole = compact(sorted(set(seqs)))
        again = self._resent or self._held.records
        for first, last, times in self._by_times(whole) if again else _once(whole):
            run = _Run(first, last, at, size * (last - first + 1) / len(seqs), times)
            fresh = [run] if self._mark is None else _beyond(run, self._mark)
            if fresh and times:
                self._overdue_at = min(self._overdue_at, run.due)
            elif fresh and not self._fresh.records:
                self._progress(at)
            self._replace(first, last, fresh)

    def _by_times(self, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
        """Cut where they were sent again more or less often."""
        for times, seqs in groupby(_seqs(ranges), key=self._times_by_now):
            for first, last in compact(list(seqs)):
                yield first, last, times

    def _times_by_now(self, seq: int) -> int:
        """As `_times`, and of what is with the broker already and is answered for once more."""
        if seq in self._resent:
            return self._times(seq)
        return self._runs[self._place(seq)].times if seq in self else 0

    def _times(self, seq: int) -> int:
        """How often *seq* was sent again; from here on it is not on its way any more."""
        times = self._resent.pop(seq, 0)
        self._resent_lacking -= times >= LACKS_FROM
        return times

    def hub_says(self, mark: Watermark, at: float) -> tuple[tuple[int, int], ...]:
        """Take a watermark of our own epoch; returns the ranges that can be settled now."""
        if mark == self._mark:
            return ()
        ranges = _complement(mark, self.upto) + mark.also
        moved = self._mark is None or mark.upto > self._mark.upto
        self._mark = mark
        before = len(self)
        self._forget(ranges)
        for seq in [seq for seq in self._resent if lies_in(seq, ranges)]:
            self._times(seq)
        if self._fresh.records and (len(self) < before or moved):
            self._progress(at)
        return ranges

    def missing(self, at: float) -> tuple[int, ...]:
        """What the hub still lacks although the broker took it long ago, sent once so far; to be sent again."""
        if at < self._check_at:
            return ()
        self._check_at = at + MISSING_S / 3
        return self._name((run for run in self._runs if not run.times and at >= run.due), math.inf)

    def is_overdue(self, at: float) -> bool:
        """Whether `overdue` may have something."""
        return at >= self._overdue_at

    def overdue(self, at: float, most: int, *, small: bool = False) -> tuple[int, ...]:
        """The same of what was sent again before; *most* of it, as nobody waits for that. *small*: but no pictures."""
        due_now = (run for run in self._runs if run.times and at >= run.due)
        named = self._name((run for run in due_now if not small or run.is_small), most)
        held = [run for run in self._runs if run.times]
        due = min((run.due for run in held), default=math.inf)
        highest = 0 if self._mark is None else self._mark.highest
        self._behind = sum(
            run.last - run.first + 1
            for run in held
            if run.times < LACKS_FROM and at >= run.due and run.first <= highest
        )
        self._overdue_at = max(due, at + MISSING_S / 3) if self._held.records else math.inf
        return named

    def hurry(self, at: float) -> None:
        """What was sent again before is due now."""
        self._runs = [run._replace(at=-math.inf) if run.times else run for run in self._runs]
        if self._held.records:
            self._overdue_at = at

    def _name(self, runs: Iterable[_Run], most: float) -> tuple[int, ...]:
        """Those of *runs* that the hub lacks; forgotten here, but for how often."""
        if self._mark is None:
            return ()
        highest, named = self._mark.highest, 0
        ranges = []
        for run in runs:
            if run.first > highest or named >= most:
                break  # they rise
            last = int(min(run.last, highest, run.first + most - named - 1))
            named += last - run.first + 1
            ranges.append((run.first, last))
            self._resent.update(dict.fromkeys(range(run.first, last + 1), run.times + 1))
            if run.times + 1 >= LACKS_FROM:
                self._resent_lacking += last - run.first + 1
        self._forget(ranges)
        return tuple(_seqs(ranges))

    def probe(self, at: float) -> tuple[int, ...]:
        """If the hub is silent for too long: a batch of the oldest, to be sent again; ever more rarely."""
        if at < self._probe_at:
            return ()
        self.silent = True
        self._probe_gap_s = min(self._probe_gap_s * 2, PROBE_S)
        self._probe_at = at + self._probe_gap_s
        fresh = ((run.first, run.last) for run in self._runs if not run.times)
        return tuple(islice(_seqs(fresh), PROBE_RECORDS))

    def deadline(self) -> float:
        """When `missing`, `overdue` or `probe` may have something."""
        return min(self._probe_at, self._check_at, self._overdue_at)

    def _progress(self, at: float) -> None:
        self.silent = False
        self._probe_gap_s = SILENT_S
        self._probe_at = at + SILENT_S
        self._check_at = min(self._check_at, at + MISSING_S)

    # ---- the runs ----

    def _forget(self, ranges: Iterable[tuple[int, int]]) -> None:
        for first, last in ranges:
            self._replace(first, last, [])
        if not self._held.records:
            self._overdue_at, self._behind = math.inf, 0
        if not self._fresh.records:
            self._probe_at = self._check_at = math.inf
            self.silent = False

    def _place(self, seq: int) -> int:
        """Where the first run lies that ends at *seq* or later."""
        return bisect.bisect_left(self._runs, seq, key=_last)

    def _replace(self, first: int, last: int, fresh: Sequence[_Run]) -> None:
        """What is kept of *first* to *last* is *fresh* from now on."""
        low = high = self._place(first)
        while high < len(self._runs) and self._runs[high].first <= last:
            high += 1
        old = self._runs[low:high]
        before = [old[0].part(old[0].first, first - 1)] if old and old[0].first < first else []
        after = [old[-1].part(last + 1, old[-1].last)] if old and old[-1].last > last else []
        new = [*before, *fresh, *after]
        self._runs[low:high] = new
        for runs, sign in ((old, -1), (new, 1)):
            for run in runs:
                (self._held if run.times else self._fresh).add(run, sign)
                if run.times >= LACKS_FROM:
                    self._lacking += sign * (run.last - run.first + 1)


def _last(run: _Run) -> int:
    return run.last


def _once(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    return ((first, last, 0) for first, last in ranges)


def lies_in(seq: int, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether one of the rising *ranges* has it."""
    place = bisect.bisect_right(ranges, seq, key=_first)
    return place > 0 and seq <= ranges[place - 1][1]


def _first(span: tuple[int, int]) -> int:
    return span[0]


def _seqs(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, last + 1)


def _beyond(run: _Run, mark: Watermark) -> list[_Run]:
    """What of *run* the hub has not accounted for."""
    if run.first > mark.highest:
        return [run]
    left: list[_Run] = []
    first = run.first
    for low, high in (*_complement(mark, run.first - 1), *mark.also):
        if low > run.last:
            break
        if low > first:
            left.append(run.part(first, low - 1))
        first = max(first, high + 1)
    if first <= run.last:
        left.append(run.part(first, run.last))
    return left


def compact(seqs: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Rising seqs, each once, as inclusive ranges."""
    if seqs and seqs[-1] - seqs[0] == len(seqs) - 1:
        return ((seqs[0], seqs[-1]),)
    ranges: list[tuple[int, int]] = []
    for seq in seqs:
        if ranges and seq == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return tuple(ranges)


def _complement(mark: Watermark, floor: int) -> tuple[tuple[int, int], ...]:
    """What *mark* covers above *floor*, as inclusive ranges."""
    ranges = []
    first = floor + 1
    for lost_first, lost_last in mark.missing:
        if lost_first > first:
            ranges.append((first, lost_first - 1))
        first = max(first, lost_last + 1)
    if first <= mark.upto:
        ranges.append((first, mark.upto))
    return tuple(ranges)
