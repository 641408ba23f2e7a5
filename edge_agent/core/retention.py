"""What to give up when the journal is full: which pictures of a long outage go, so that those left still cover all of it.

Promises:
- METRIC goes before PICTURE, and PICTURE before anything of rank STATE or AUDIT, of which this module never names one.
- A camera gives only while it holds most for the time it covers, so that all thin out alike, each picture period its own.
- No gap made here is longer than `GAP_MOST` times the even spacing of what its camera holds, as long as any choice allows that.
- Near an event, at the ends of a span, and of the last day, pictures stay as long as others can go (docs/design/retention.md).
- Bounded: one summary for up to `BLOCK` records; a choice costs the logarithm of their number, but for the last day's.
Age is box time: seconds that the box ran, summed over its boots in the order in which they came. Wall time is never asked.
Pure. Not its job: reading and deleting records, declaring what went (spool/stones.py).
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from edge_agent.core.messages import Rank

DAY_S: Final = 86_400.0  # the last day: what somebody asks for when the box is back
# A loop is believed after 10 s, a gate opens after 8 to 20 s of proof, a work order is written within 10 s: what led to an event
# and what came of it lie within two minutes, which at one picture a minute is two before and two after.
NEAR_S: Final = 120.0
BREAK_S: Final = 3_600.0  # no picture for longer was no coverage: another span begins
METRIC_GAP_S: Final = 3_600.0  # pictures go before metrics are sparser than that
BLOCK: Final = 64  # records in one summary: some 30,000 summaries for a million records

# A gap up to GAP times the even spacing may be made while pictures near events and of the last day are spared. Thinned evenly, the
# old ones are then ln 4 / GAP of all that is held: 77 %, and 23 % are left for the others. Beyond GAP_STRAINED, which leaves room
# for more to come in lighter pictures, others go after all; GAP_MOST is what the first halving of an even row makes.
GAP: Final = 1.8
GAP_STRAINED: Final = 1.9
GAP_MOST: Final = 2.0
_ROUNDING: Final = 1.0 + 1e-9
_HALVE: Final = 1.25  # of the smallest gap that giving one up leaves: every second goes, though their times waver
DAY_WEIGHT: Final = 8.0  # between cameras, an hour of the last day counts for so many


class Track(NamedTuple):
    """What is thinned together: the pictures of one camera, or all metrics."""

    rank: Rank
    camera: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """One record of a track. *near*: an event lies within `NEAR_S`; *begins*: the first after a break or a start."""

    seq: int
    boot: str
    at: float
    size: int
    near: bool = False
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Read the records of *track* from *low* to *high* (seqs, inclusive) and hand them to `Retention.choose`."""

    track: Track
    low: int
    high: int
    target_s: float  # no gap longer than this is made
    near_too: bool


class _Zone(Enum):
    OLD = "old"
    DAY = "day"
    ALL = "all"


class _Tier(NamedTuple):
    zone: _Zone
    limit: float  # times the even spacing
    near_too: bool


# What a camera gives up, first things first.
_TIERS: Final = (
    _Tier(_Zone.OLD, GAP, near_too=False),
    _Tier(_Zone.DAY, GAP, near_too=False),
    _Tier(_Zone.OLD, GAP_STRAINED, near_too=False),
    _Tier(_Zone.DAY, GAP_STRAINED, near_too=False),
    _Tier(_Zone.ALL, GAP_STRAINED, near_too=True),
    _Tier(_Zone.OLD, GAP_MOST, near_too=False),
    _Tier(_Zone.DAY, GAP_MOST, near_too=False),
    _Tier(_Zone.ALL, math.inf, near_too=True),
)


class _Block:
    """A run of one track's records. Costs: the shortest gap that giving one up would leave; they may be too low, never too high."""

    __slots__ = (
        "begins",
        "count",
        "cover_s",
        "every",
        "first",
        "from_s",
        "last",
        "live",
        "old",
        "plain",
        "to_s",
    )

    def __init__(self, seq: int, at_s: float, *, begins: bool) -> None:
        self.first = self.last = seq
        self.from_s = self.to_s = at_s
        self.count = 0
        self.cover_s = 0.0  # of the time that its track covers
        self.begins = begins
        self.plain = self.every = math.inf  # without and with what stays longest
        self.old = False
        self.live = True


class _Point(NamedTuple):
    at_s: float
    stays: bool  # near an event or at an end of a span


class _Series:
    """One track: its blocks in order."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.count = 0
        self.cover_s = 0.0
        self._ripe: list[tuple[float, int, _Block]] = []  # old blocks by cost; some outdated
        self._tail: tuple[_Point, ...] = ()  # the last two records

    @property
    def even_s(self) -> float:
        """The spacing it had if its records lay evenly."""
        return self.cover_s / max(1, self.count - 1)

    def add(self, seq: int, at_s: float, *, near: bool, begins: bool) -> None:
        """The next record."""
        gap = 0.0 if begins or not self._tail else at_s - self._tail[-1].at_s
        self._settle_tail(at_s, begins=begins)
        blocks = self.blocks
        if not blocks or blocks[-1].count >= BLOCK:
            blocks.append(_Block(seq, at_s, begins=begins))
        block = blocks[-1]
        block.last, block.to_s = seq, at_s
        block.count += 1
        block.cover_s += gap
        self.count += 1
        self.cover_s += gap
        self._tail = (*self._tail[-1:], _Point(at_s, near or begins))

    def _settle_tail(self, at_s: float, *, begins: bool) -> None:
        """What giving up the youngest record costs, now that the one after it is known."""
        if len(self._tail) < 2:
            return
        before, last = self._tail
        block, gap = self.blocks[-1], at_s - before.at_s
        block.every = min(block.every, gap)
        if not (last.stays or begins):
            block.plain = min(block.plain, gap)

    def cheapest(self, zone: _Zone, young_s: float, *, near_too: bool) -> _Block | None:
        """The block of *zone* where giving one up leaves the shortest gap; of two the older."""
        border = bisect_left(self.blocks, young_s, key=lambda block: block.to_s)
        if zone is _Zone.OLD:
            return self._ripest(border)
        among = self.blocks[border:] if zone is _Zone.DAY else self.blocks
        if near_too:
            return min(among, key=lambda block: block.every, default=None)
        return min(among, key=lambda block: block.plain, default=None)

    def _ripest(self, border: int) -> _Block | None:
        for block in reversed(self.blocks[:border]):
            if block.old:
                break
            block.old = True
            self._push(block)
        ripe = self._ripe
        while ripe:
            cost, _, block = ripe[0]
            if block.live and block.plain == cost:
                return block
            heapq.heappop(ripe)
        return None

    def _push(self, block: _Block) -> None:
        if len(self._ripe) > 4 * len(self.blocks) + BLOCK:
            found = [each for each in self.blocks if each.old and each.plain < math.inf]
            self._ripe = [(each.plain, each.first, each) for each in found]
            heapq.heapify(self._ripe)
        elif block.plain < math.inf:
            heapq.heappush(self._ripe, (block.plain, block.first, block))

    def around(self, index: int) -> tuple[float | None, float | None, bool]:
        """When the records before and after a block were, and whether the one after it begins a span."""
        blocks = self.blocks
        before = blocks[index - 1].to_s if index > 0 else None
        if index + 1 == len(blocks):
            return before, None, False
        return before, blocks[index + 1].from_s, blocks[index + 1].begins

    def find(self, seq: int) -> int:
        """Index of the first block that ends at or after *seq*."""
        return bisect_left(self.blocks, seq, key=lambda block: block.last)

    def replace(self, index: int, run: _Run) -> None:
        """What is left of a block."""
        block = self.blocks[index]
        self.count += len(run.seqs) - block.count
        if not run.seqs:
            self._remove(index)
            return
        block.count = len(run.seqs)
        block.first, block.last = run.seqs[0], run.seqs[-1]
        block.from_s, block.to_s = run.at_s[0], run.at_s[-1]
        block.begins = run.begins[0]
        block.plain, block.every = run.costs()
        if index + 1 == len(self.blocks):
            stays = (run.stays(place) for place in range(len(run.seqs)))
            self._tail = tuple(map(_Point, run.at_s, stays))[-2:]
        if not block.old:
            return
        if index > 0 and self.blocks[index - 1].count + block.count <= BLOCK:
            self._join(index)
        else:
            self._push(block)

    def _remove(self, index: int) -> None:
        """Nothing is left of it; the time stays covered by its neighbours."""
        block = self.blocks.pop(index)
        block.live = False
        if self.blocks:
            self.blocks[min(index, len(self.blocks) - 1)].cover_s += block.cover_s
        else:
            self.cover_s = 0.0
        if index == len(self.blocks):
            self._tail = tuple(_Point(each.to_s, stays=True) for each in self.blocks[-1:])

    def _join(self, index: int) -> None:
        """Make one of a block and the one before it."""
        block = self.blocks.pop(index)
        into = self.blocks[index - 1]
        block.live = False
        into.last, into.to_s = block.last, block.to_s
        into.count += block.count
        into.cover_s += block.cover_s
        into.plain, into.every = min(into.plain, block.plain), min(into.every, block.every)
        self._push(into)

    def forget(self, low: int, high: int) -> None:
        """Records *low* to *high* are gone, and not for want of room: what they covered is no longer to be covered."""
        at = self.find(low)
        while at < len(self.blocks) and self.blocks[at].first <= high:
            block = self.blocks[at]
            if low <= block.first and block.last <= high:
                self.count -= block.count
                self.cover_s -= block.cover_s
                block.cover_s = 0.0
                self._remove(at)
                continue
            block.plain = block.every = 0.0  # looked at before any other
            self._push(block)
            at += 1


class _Run:
    """Records of one block with what lies around them, and what of them may go."""

    def __init__(self, at_s: list[float], items: Sequence[Item]) -> None:
        self.at_s = at_s
        self.seqs = [item.seq for item in items]
        self.sizes = [item.size for item in items]
        self.near = [item.near for item in items]
        self.begins = [item.begins for item in items]
        self.before: float | None = None
        self.after: float | None = None
        self.after_begins = False

    def lie(self, around: tuple[float | None, float | None, bool]) -> None:
        """Note what is around them."""
        self.before, self.after, self.after_begins = around

    def stays(self, place: int) -> bool:
        """Whether it goes after others only."""
        last = place + 1 == len(self.seqs)
        ends = self.after_begins if last else self.begins[place + 1]
        return self.near[place] or self.begins[place] or ends

    def _next(self, place: int) -> float | None:
        return self.at_s[place + 1] if place + 1 < len(self.seqs) else self.after

    def costs(self) -> tuple[float, float]:
        """The shortest gap that giving up one of them would leave: of those that do not stay, of all."""
        plain = every = math.inf
        before = self.before
        for place, at_s in enumerate(self.at_s):
            after = self._next(place)
            if before is not None and after is not None:
                gap = after - before
                every = min(every, gap)
                plain = plain if self.stays(place) else min(plain, gap)
            before = at_s
        return plain, every

    def thin(self, look: Look, size: int) -> list[int]:
        """Places to give up, oldest first, until *size* is freed: as many as leave no gap over the target."""
        out: list[int] = []
        before = self.before
        for place, at_s in enumerate(self.at_s):
            after = self._next(place)
            inner = before is not None and after is not None
            free = size > 0 and (look.near_too or not self.stays(place))
            if free and inner and (after or 0.0) - (before or 0.0) <= look.target_s:
                out.append(place)
                size -= self.sizes[place]
            else:
                before = at_s
        return out

    def without(self, places: Iterable[int]) -> _Run:
        """The others."""
        gone = set(places)
        left = _Run.__new__(_Run)
        keep = [place for place in range(len(self.seqs)) if place not in gone]
        left.at_s = [self.at_s[place] for place in keep]
        left.seqs = [self.seqs[place] for place in keep]
        left.sizes = [self.sizes[place] for place in keep]
        left.near = [self.near[place] for place in keep]
        left.begins = [self.begins[place] for place in keep]
        left.before, left.after, left.after_begins = self.before, self.after, self.after_begins
        return left


class Retention:
    """What is held of each track, in summaries, and what to give up next. One thread."""

    def __init__(self, boots: Iterable[tuple[str, float]] = ()) -> None:
        """*boots*: those so far in the order in which they came, and for how many seconds each ran."""
        self._series: dict[Track, _Series] = {}
        self._boots: dict[str, float] = {}  # box time at which each began
        self._now_s = 0.0  # of the youngest record of all
        for boot, length_s in boots:
            self._boots[boot] = self._now_s
            self._now_s += max(0.0, length_s)

    def add(self, track: Track, item: Item) -> None:
        """Take note of a record that is now held; those of one track in order of seq."""
        series = self._series.setdefault(track, _Series())
        at_s = self._at_s(item)
        if series.blocks:
            at_s = max(at_s, series.blocks[-1].to_s)
        self._now_s = max(self._now_s, at_s)
        series.add(item.seq, at_s, near=item.near, begins=item.begins)

    def _at_s(self, item: Item) -> float:
        return self._boots.setdefault(item.boot, self._now_s) + max(0.0, item.at)

    def forget(self, track: Track, low: int, high: int) -> None:
        """Its records from *low* to *high* are gone, and not by `choose`: settled, purged or damaged."""
        if track in self._series:
            self._series[track].forget(low, high)

    def look(self) -> Look | None:
        """Where to look next; None: nothing is left to give up."""
        metrics = [track for track in self._series if track.rank is Rank.METRIC]
        pictures = [track for track in self._series if track.rank is Rank.PICTURE]
        for track in metrics:
            look = self._sparser(track, METRIC_GAP_S)
            if look is not None:
                return look
        look = self._densest(pictures)
        if look is not None:
            return look
        for track in metrics:
            look = self._sparser(track, math.inf)
            if look is not None:
                return look
        return self._last(metrics) or self._last(pictures)

    def _sparser(self, track: Track, most_s: float) -> Look | None:
        """Halve the densest part of *track*, though no gap may be longer than *most_s*."""
        series = self._series[track]
        block = series.cheapest(_Zone.ALL, self._now_s, near_too=True)
        if block is None or not block.every <= most_s or block.every == math.inf:
            return None
        target_s = min(most_s, block.every * _HALVE)
        return Look(track, block.first, block.last, target_s, near_too=True)

    def _densest(self, tracks: Iterable[Track]) -> Look | None:
        """Of the camera that holds most for its time; the last day counts for more."""
        held = [track for track in tracks if self._series[track].count > 2]
        for track in sorted(held, key=self._density, reverse=True):
            for tier in _TIERS:
                look = self._by(tier, track)
                if look is not None:
                    return look
        return None

    def _density(self, track: Track) -> float:
        series = self._series[track]
        last_s = series.blocks[-1].to_s
        day_s = min(max(0.0, last_s - (self._now_s - DAY_S)), series.cover_s)
        return series.count / max(1.0, series.cover_s + (DAY_WEIGHT - 1) * day_s)

    def _by(self, tier: _Tier, track: Track) -> Look | None:
        series = self._series[track]
        block = series.cheapest(tier.zone, self._now_s - DAY_S, near_too=tier.near_too)
        if block is None:
            return None
        cost_s = block.every if tier.near_too else block.plain
        most_s = tier.limit * series.even_s * _ROUNDING
        if not cost_s <= most_s or cost_s == math.inf:
            return None
        # As far as it may in one step: halved, and halved again, pictures would have to lie in powers of two, and when the last of
        # them has been halved the longest gap is twice the even spacing, with none to spare for events and the last day.
        target_s = min(most_s, cost_s * _HALVE) if tier.near_too else most_s
        return Look(track, block.first, block.last, target_s, near_too=tier.near_too)

    def _last(self, tracks: Iterable[Track]) -> Look | None:
        """No more than first and last are left anywhere: the oldest goes."""
        held = [track for track in tracks if self._series[track].blocks]
        if not held:
            return None
        track = min(held, key=lambda each: self._series[each].blocks[0].first)
        block = self._series[track].blocks[0]
        return Look(track, block.first, block.last, -1.0, near_too=True)

    def choose(self, look: Look, items: Sequence[Item], size: int) -> list[int]:
        """Which of *items*, all there are of `look`'s, to give up so that about *size* bytes are freed; takes note that they go.

        Empty: it was not as it was thought to be, and the next `look` is another.
        """
        series = self._series[look.track]
        index = series.find(look.low)
        run = _Run(self._rising(items), items)
        run.lie(series.around(index))
        places = [0] if look.target_s < 0 and items else run.thin(look, size)
        series.replace(index, run.without(places))
        return [run.seqs[place] for place in places]

    def _rising(self, items: Iterable[Item]) -> list[float]:
        out: list[float] = []
        for item in items:
            at_s = self._at_s(item)
            out.append(max(at_s, out[-1]) if out else at_s)
        return out


class Marks:
    """Which pictures stay longest: those near an event of their camera, and the first after a break or a start. One thread."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[str, float]] = {}
        self._pictures: dict[str, tuple[str, float]] = {}

    def event(self, camera: str, boot: str, at: float) -> float:
        """Something happened; pictures of that camera and boot taken since the time returned are near it."""
        known = self._events.get(camera)
        if known is None or known[0] != boot or known[1] < at:
            self._events[camera] = (boot, at)
        return at - NEAR_S

    def picture(self, camera: str, boot: str, at: float) -> tuple[bool, bool]:
        """Whether it is near what happened before, and whether it begins a span."""
        event, before = self._events.get(camera), self._pictures.get(camera)
        self._pictures[camera] = (boot, at)
        near = event is not None and event[0] == boot and abs(at - event[1]) <= NEAR_S
        # After a start nobody knows for how long the box was off.
        begins = before is None or before[0] != boot or at - before[1] > BREAK_S
        return near, begins
