"""What the parts of the journal hand to each other: rows, gaps, tombstones, ranges of seqs.

Promise: pure; a tombstone names every seq that is gone, and no other.
Not its job: disk, threads.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeAlias

from edge_agent.core.messages import Json, Rank, Stored

# A store keeps a seq in 48 bits, beside its shelf: at a thousand records a second that lasts 8,900 years.
MAX_SEQ: Final = 2**48 - 1

Range: TypeAlias = tuple[int, int]  # of seqs, both inclusive

_PLACE: Final = struct.Struct("<qd")
_PICTURE: Final = struct.Struct("<qq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """When something was, by both clocks."""

    boot: str
    at: float  # seconds since that boot
    wall_s: float  # Unix time
    trusted: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A picture in a file of another store, to be taken over as it is."""

    path: Path
    size: int
    sum: int
    room: int  # how long the file is


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A record with everything but its seq. A picture comes as bytes, or in a file that is `held` already."""

    kind: str
    rank: Rank
    stamp: Stamp
    data: bytes
    camera: str | None = None
    jpeg: bytes | None = field(default=None, repr=False)
    held: Held | None = None
    press: int | None = None  # of a picture not yet written: void if a press came after this number

    @property
    def size(self) -> int:
        """Bytes it takes, roughly: in memory, or where its picture is `held`."""
        return len(self.data) + self.picture_bytes + 200

    @property
    def picture_bytes(self) -> int:
        """Of its picture, wherever that is; 0 without one."""
        return len(self.jpeg or b"") if self.held is None else self.held.room

    def picture(self) -> tuple[int, int] | None:
        """Length and checksum of its picture."""
        if self.held is not None:
            return self.held.size, self.held.sum
        return None if self.jpeg is None else (len(self.jpeg), picture_sum(self.jpeg))


def picture_sum(jpeg: bytes) -> int:
    """A picture's own checksum: apart from its record's, so that a record can be told to be whole without reading its picture."""
    return zlib.crc32(jpeg)


def checksum(
    seq: int, at: float, data: bytes, picture: tuple[int, int] | None, *, about: int
) -> int:
    """Of a record: no flipped bit, and no row that came to lie elsewhere, passes. *about*: what `checksum_of_names` gives.

    *picture*: length and checksum of its picture. Wall time is left out: it is a label that may be corrected later.
    Raises `struct.error` for numbers that no row can have.
    """
    start = zlib.crc32(_PLACE.pack(seq, at), about)
    if picture is not None:
        start = zlib.crc32(_PICTURE.pack(*picture), start)
    return zlib.crc32(data, start)


@lru_cache(maxsize=512)
def checksum_of_names(kind: str, camera: str | None, boot: str) -> int:
    """What is the same in record after record, and so is summed once."""
    return zlib.crc32(repr((kind, camera, boot)).encode())


@dataclass(frozen=True, slots=True)
class Mark:
    """One record that is gone; no seq = it never got one."""

    seq: int | None
    boot: str
    at: float
    wall_s: float


def minute_of(at: float) -> int:
    """The minute of its boot that *at* lies in. By the boot's own clock: wall time may be corrected after a minute was declared."""
    return int(at // 60) if math.isfinite(at) else 0


def row_of(stored: Stored) -> Row:
    """The same record, to be given another seq."""
    return Row(
        kind=stored.kind,
        rank=stored.rank,
        stamp=Stamp(boot=stored.boot, at=stored.at, wall_s=stored.wall_s, trusted=stored.trusted),
        data=stored.data,
        camera=stored.camera,
        jpeg=stored.jpeg,
    )


def mark_of(row: Row) -> Mark:
    """For a row that was never written."""
    return Mark(None, row.stamp.boot, row.stamp.at, row.stamp.wall_s)


@dataclass(slots=True)
class Gap:
    """Records that are gone, told together; grows by a few bytes a record and keeps no picture."""

    count: int = 0
    seqs: list[int] = field(default_factory=list)
    first: Mark | None = None
    last: Mark | None = None
    minutes: dict[str, list[Range]] = field(default_factory=dict)  # of each boot

    def add(self, mark: Mark) -> None:
        """One more, later than those before."""
        self.count += 1
        self.first = self.first or mark
        self.last = mark
        minutes, minute = self.minutes.setdefault(mark.boot, []), minute_of(mark.at)
        low, high = minutes.pop() if minutes else (minute, minute)
        if not low <= minute <= high + 1:
            minutes.append((low, high))
            low = high = minute
        minutes.append((low, max(high, minute)))
        if mark.seq is not None:
            self.seqs.append(mark.seq)

    def joined(self, later: Gap) -> Gap:
        """This one and a *later* one, told as one."""
        minutes = {boot: [*found] for boot, found in self.minutes.items()}
        for boot, found in later.minutes.items():
            minutes[boot] = [*minutes.get(boot, ()), *found]
        return Gap(
            count=self.count + later.count,
            seqs=[*self.seqs, *later.seqs],
            first=self.first or later.first,
            last=later.last or self.last,
            minutes=minutes,
        )

    @classmethod
    def of(cls, marks: Iterable[Mark]) -> Gap:
        """All of *marks*."""
        gap = cls()
        for mark in marks:
            gap.add(mark)
        return gap

    def tombstone(
        self, kind: str, stamp: Stamp, facts: Mapping[str, Json], *, epoch: str | None
    ) -> Row:
        """The record that declares it, made at *stamp*. *epoch*: of its seqs, should it move to another store; None: it has none."""
        ranges = merged((seq, seq) for seq in self.seqs)
        data: dict[str, Json] = {
            **facts,
            "count": self.count,
            "epoch": epoch,
            "ranges": [[low, high] for low, high in ranges],
            "from_seq": ranges[0][0] if ranges else None,
            "to_seq": ranges[-1][1] if ranges else None,
        }
        for name, mark in (("from", self.first), ("to", self.last)):
            if mark is not None:
                wall_s = round(mark.wall_s, 3)
                data |= {
                    f"{name}_boot": mark.boot,
                    f"{name}_at": mark.at,
                    f"{name}_wall_s": wall_s,
                }
        return Row(kind=kind, rank=Rank.AUDIT, stamp=stamp, data=dump(data))


def thinned(
    gap: Gap,
    stamp: Stamp,
    *,
    epoch: str | None,
    rank: Rank | None,
    camera: str | None,
    reason: str,
) -> Row:
    """The tombstone of records that were dropped for want of something; *epoch*: of their seqs, None if they never got any."""
    about: dict[str, Json] = {
        "rank": None if rank is None else rank.name.lower(),
        "camera": camera,
    }
    minutes: dict[str, Json] = {
        boot: [[*each] for each in merged(found)] for boot, found in gap.minutes.items()
    }
    tracks: list[Json] = [{**about, "count": gap.count, "minutes": minutes}]
    facts = {"reason": reason, **about, "tracks": tracks}
    return gap.tombstone("journal.thinned", stamp, facts, epoch=epoch)


def dump(value: Json) -> bytes:
    """As JSON text; what JSON cannot say (NaN, infinity) becomes null."""
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False).encode("ascii")


def _plain(value: Json) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value]


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Sorted, joined where they touch, empty ones left out."""
    out: list[Range] = []
    for low, high in sorted(ranges):
        if low > high:
            continue
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def end_of_cover(ranges: Sequence[Range], seq: int) -> int | None:
    """Last seq of the range that holds *seq*; None if none does. *ranges* as `merged` makes them."""
    at = bisect_right(ranges, (seq, MAX_SEQ)) - 1
    return ranges[at][1] if at >= 0 and ranges[at][1] >= seq else None
