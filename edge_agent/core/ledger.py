"""What the broker has taken and the hub has not acknowledged yet, and what the hub said last.

Promises:
- Only a watermark settles: what it covers, once, and nothing beyond it.
- What the hub still lacks half a minute after the broker took it is named once, to be sent again; if the hub says nothing at all,
  a batch of the oldest is named, ever more rarely, so that a hub which lost its memory is noticed.
- It names nothing that it was told to forget (settled, purged, thinned).
- What it costs goes with the number of messages and of holes, not of records: seqs that follow each other are one run.
Time is an argument. Not its job: whose epoch a watermark is of, and what may not be believed of it (uplink.py).
"""

from __future__ import annotations

import bisect
import math
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edge_agent.core.wire import Watermark

MISSING_S: Final = 30.0  # PUBACKed so long ago and still missing at the hub
SILENT_S: Final = 60.0
PROBE_S: Final = 900.0  # the longest pause between two probes of a silent hub
PROBE_RECORDS: Final = 200


class _Run(NamedTuple):
    """Seqs `first` to `last`, both inclusive, that one PUBACK answered for."""

    first: int
    last: int
    at: float
    size: float  # bytes of what is left of it, taken as evenly spread

    def part(self, first: int, last: int) -> _Run:
        """What of it lies in there."""
        share = (last - first + 1) / (self.last - self.first + 1)
        return _Run(first, last, self.at, self.size * share)


class Ledger:
    """What awaits the hub's word on this connection. Owner thread only."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []  # rising, disjoint
        self._count = 0
        self._bytes = 0.0
        self._mark: Watermark | None = None
        self._probe_at = math.inf
        self._probe_gap_s = SILENT_S
        self._check_at = math.inf
        self.silent = False

    def __len__(self) -> int:
        return self._count

    def __contains__(self, seq: int) -> bool:
        return self.touches(seq, seq)

    def touches(self, first: int, last: int) -> bool:
        """Whether any of these awaits the hub's word."""
        place = self._place(first)
        return place < len(self._runs) and self._runs[place].first <= last

    @property
    def bytes(self) -> int:
        """Of all that awaits it; of a message that is settled in part, that part by number."""
        return round(self._bytes)

    @property
    def upto(self) -> int:
        """Everything up to here is settled, without a hole."""
        if self._mark is None:
            return 0
        return self._mark.missing[0][0] - 1 if self._mark.missing else self._mark.upto

    def forget(self, seqs: Iterable[int]) -> None:
        """These are settled, gone or to be sent again."""
        if self._runs:
            self._forget(compact(sorted(set(seqs))))

    def new_connection(self) -> None:
        """Everything unsettled is sent again, so nothing is awaited."""
        self._forget([(run.first, run.last) for run in self._runs])

    def new_epoch(self) -> None:
        """Nothing of what was said before holds."""
        self.new_connection()
        self._mark = None

    def broker_has(self, seqs: Sequence[int], size: int, at: float) -> None:
        """A PUBACK came for these, *size* bytes in all; unless the hub was faster, its word is awaited from now on."""
        for first, last in compact(sorted(set(seqs))):
            run = _Run(first, last, at, size * (last - first + 1) / len(seqs))
            fresh = [run] if self._mark is None else _beyond(run, self._mark)
            if fresh and not self._runs:
                self._progress(at)
            self._replace(first, last, fresh)

    def hub_says(self, mark: Watermark, at: float) -> tuple[tuple[int, int], ...]:
        """Take a watermark of our own epoch; returns the ranges that can be settled now."""
        if mark == self._mark:
            return ()
        ranges = _complement(mark, self.upto) + mark.also
        moved = self._mark is None or mark.upto > self._mark.upto
        self._mark = mark
        before = self._count
        self._forget(ranges)
        if self._runs and (self._count < before or moved):
            self._progress(at)
        return ranges

    def missing(self, at: float) -> tuple[int, ...]:
        """What the hub still lacks although the broker took it long ago; forgotten here, to be sent again."""
        if at < self._check_at:
            return ()
        self._check_at = at + MISSING_S / 3
        if self._mark is None:
            return ()
        highest = self._mark.highest
        ranges = [
            (run.first, min(run.last, highest))
            for run in self._runs
            if at - run.at >= MISSING_S and run.first <= highest
        ]
        self._forget(ranges)
        return tuple(_seqs(ranges))

    def probe(self, at: float) -> tuple[int, ...]:
        """If the hub is silent for too long: a batch of the oldest, to be sent again; ever more rarely."""
        if at < self._probe_at:
            return ()
        self.silent = True
        self._probe_gap_s = min(self._probe_gap_s * 2, PROBE_S)
        self._probe_at = at + self._probe_gap_s
        return tuple(islice(_seqs((run.first, run.last) for run in self._runs), PROBE_RECORDS))

    def deadline(self) -> float:
        """When `missing` or `probe` may have something."""
        return min(self._probe_at, self._check_at)

    def _progress(self, at: float) -> None:
        self.silent = False
        self._probe_gap_s = SILENT_S
        self._probe_at = at + SILENT_S
        self._check_at = min(self._check_at, at + MISSING_S)

    # ---- the runs ----

    def _forget(self, ranges: Iterable[tuple[int, int]]) -> None:
        for first, last in ranges:
            self._replace(first, last, [])
        if not self._runs:
            self._bytes = 0.0  # what rounding left
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
            self._count += sign * sum(run.last - run.first + 1 for run in runs)
            self._bytes += sign * sum(run.size for run in runs)


def _last(run: _Run) -> int:
    return run.last


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
