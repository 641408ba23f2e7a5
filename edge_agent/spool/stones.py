"""Tombstones of what was thinned: what each says, and how several become one.

Promises: a stone names every seq that is gone and no other, and per track every minute that lost a record and no other; joining
stones loses nothing of that; what a stone takes grows with what is left between the gone, not with what is gone.
Pure. Not its job: which stones there are (thinning.py), which records go (core/retention.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from edge_agent.core.messages import Rank
from edge_agent.core.retention import Track
from edge_agent.spool.values import Mark, Range, Row, Stamp, merged, minute_of

KIND: Final = "journal.thinned"
_RANKS: Final = {rank.name.lower(): rank for rank in Rank}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one track lost: how many records, and in which minutes of which boot."""

    count: int
    minutes: Mapping[str, list[Range]]

    @classmethod
    def of(cls, marks: Iterable[Mark]) -> Self:
        """These."""
        minutes: dict[str, list[Range]] = {}
        count = 0
        for mark in marks:
            minute = minute_of(mark.at)
            minutes.setdefault(mark.boot, []).append((minute, minute))
            count += 1
        return cls(count=count, minutes={boot: merged(found) for boot, found in minutes.items()})

    def join(self, other: Share) -> Share:
        """Both. No record is in two of them."""
        boots = {**self.minutes, **other.minutes}
        minutes = {
            boot: merged([*self.minutes.get(boot, ()), *other.minutes.get(boot, ())])
            for boot in boots
        }
        return Share(count=self.count + other.count, minutes=minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stone:
    """What is gone between two moments. `ranges` holds the seqs of the stones that it replaces too; `count` does not count them."""

    reason: str
    ranges: list[Range]
    first: Mark
    last: Mark
    shares: Mapping[Track, Share] = field(default_factory=dict)

    @classmethod
    def of(cls, reason: str, track: Track, marks: list[Mark]) -> Self:
        """Of records of one track, in the order in which they came; at least one."""
        return cls(
            reason=reason,
            ranges=merged((mark.seq, mark.seq) for mark in marks if mark.seq is not None),
            first=marks[0],
            last=marks[-1],
            shares={track: Share.of(marks)},
        )

    @property
    def weight(self) -> int:
        """About how many bytes it takes as a record."""
        minutes = (len(found) for share in self.shares.values() for found in share.minutes.values())
        return 400 + 16 * len(self.ranges) + 90 * len(self.shares) + 12 * sum(minutes)

    def standing_for(self, seq: int) -> Stone:
        """The same, to be written in place of the tombstone *seq*, which is then gone too."""
        return replace(self, ranges=merged([*self.ranges, (seq, seq)]))

    def join(self, other: Stone) -> Stone:
        """One for both."""
        shares = dict(self.shares)
        for track, share in other.shares.items():
            shares[track] = shares[track].join(share) if track in shares else share
        return Stone(
            reason=self.reason,
            ranges=merged([*self.ranges, *other.ranges]),
            first=min(self.first, other.first, key=_order),
            last=max(self.last, other.last, key=_order),
            shares=shares,
        )

    def row(self, stamp: Stamp, epoch: str) -> Row:
        """The record that declares it, made at *stamp*. *epoch*: of its seqs, should it move to another store."""
        ranks = {track.rank for track in self.shares}
        cameras = {track.camera for track in self.shares}
        body = {
            "reason": self.reason,
            "rank": ranks.pop().name.lower() if len(ranks) == 1 else None,
            "camera": cameras.pop() if len(cameras) == 1 else None,
            "count": sum(share.count for share in self.shares.values()),
            "epoch": epoch,
            "ranges": self.ranges,
            **_moment("from", self.first),
            **_moment("to", self.last),
            "tracks": [
                {
                    "rank": track.rank.name.lower(),
                    "camera": track.camera,
                    "count": share.count,
                    "minutes": share.minutes,
                }
                for track, share in self.shares.items()
            ],
        }
        # Not by `values.dump`, which looks at every number: a stone is rewritten often, and all of them are finite.
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
        return Row(kind=KIND, rank=Rank.AUDIT, stamp=stamp, data=text.encode("ascii"))

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """As `row` wrote it; None if it is something else, which is then left as it is."""
        try:
            body = json.loads(data)
            return cls(
                reason=body["reason"],
                ranges=_ranges(body["ranges"]),
                first=_mark(body, "from"),
                last=_mark(body, "to"),
                shares={
                    Track(_RANKS[each["rank"]], each["camera"]): Share(
                        count=each["count"],
                        minutes={boot: _ranges(found) for boot, found in each["minutes"].items()},
                    )
                    for each in body["tracks"]
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def _order(mark: Mark) -> tuple[int, float]:
    return (-1 if mark.seq is None else mark.seq, mark.at)


def _moment(name: str, mark: Mark) -> dict[str, object]:
    return {
        f"{name}_seq": mark.seq,
        f"{name}_boot": mark.boot,
        f"{name}_at": _finite(mark.at),
        f"{name}_wall_s": round(_finite(mark.wall_s), 3),
    }


def _finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def _mark(body: Mapping[str, object], name: str) -> Mark:
    boot, at, wall_s = (body[f"{name}_{part}"] for part in ("boot", "at", "wall_s"))
    seq = body[f"{name}_seq"]
    if not isinstance(boot, str) or not isinstance(at, int | float):
        raise TypeError(name)
    if not isinstance(wall_s, int | float) or not isinstance(seq, int | None):
        raise TypeError(name)
    return Mark(seq, boot, at, wall_s)


def _ranges(found: Iterable[tuple[int, int]]) -> list[Range]:
    return [(int(low), int(high)) for low, high in found]
