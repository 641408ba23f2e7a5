"""The records of a store, read: one shelf or several in order of seq, each record checked against its checksums.

Promises: changes nothing; a record or picture that is not as it was put in is None, never an exception and never made up.
Not its job: what may be shown (answer.py), reading what is damaged (rescue.py).
"""

from __future__ import annotations

import json
import sqlite3
import struct
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from edge_agent.core.messages import Rank, Stored
from edge_agent.spool.files import DamagedError
from edge_agent.spool.schema import (
    BY_KEY,
    NEWEST,
    OLDEST,
    PICTURES,
    PLAIN_RANGE,
    SEQ_MASK,
    TO_THIN,
    Plain,
    Raw,
    key_of,
)
from edge_agent.spool.values import Mark, checksum, checksum_of_names, picture_sum

LOOK_EACH: Final = 100  # records read, between two looks at the clock
OUT_OF_ORDER: Final = "records do not lie in order"

_RANKS: Final = {int(rank): rank for rank in Rank if rank is not Rank.PICTURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the small numbers in a record stand for, and the store that they belong to."""

    epoch: str
    cameras: Mapping[int, str]
    boots: Mapping[int, str]

    def mark(self, raw: Raw | Plain) -> Mark:
        """A record that is gone."""
        return Mark(raw[0], self.boots.get(raw[4], ""), raw[5], raw[6])


def read_row(raw: Raw, names: Names) -> Stored | None:
    """The record as it was put in, without its picture; None if it no longer is."""
    seq, shelf, kind, camera, boot, at, wall_s, trusted, crc, size, total, *_, data = raw
    plain = (seq, shelf, kind, camera, boot, at, wall_s, trusted, crc, data)
    return read_plain(plain, names, None if total is None else (size, total))


def read_plain(plain: Plain, names: Names, picture: tuple[int, int] | None = None) -> Stored | None:
    """As `read_row`; *picture*: length and checksum of what belongs to it."""
    seq, shelf, kind, camera_id, boot_id, at, wall_s, trusted, crc, data = plain
    try:
        camera = None if camera_id is None else names.cameras[camera_id]
        boot = names.boots[boot_id]
        about = checksum_of_names(kind, camera, boot)
        if checksum(seq, at, data, picture, about=about) != crc:
            return None
        rank = Rank.PICTURE if shelf >= PICTURES else _RANKS[shelf]
        # All that its own constructor does, which takes three times as long: a backlog is a million of them.
        wall_s, trusted = float(wall_s), trusted != 0
        fields = (names.epoch, seq, kind, rank, camera, boot, at, wall_s, trusted, data, None, True)
        return tuple.__new__(Stored, fields)
    except (KeyError, TypeError, ValueError, struct.error):
        return None


class Shelves:
    """The records behind one connection. *picture*: gives the bytes of a file, by its number and their count, or None."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        names: Names,
        picture: Callable[[int, int], bytes | None],
    ) -> None:
        self._c = connection
        self.names = names
        self._picture = picture

    def stored(self, raw: Raw) -> Stored | None:
        """The record as it was put in; None if it no longer is."""
        stored = read_row(raw, self.names)
        if stored is None or stored.rank is not Rank.PICTURE:
            return stored
        size, total, file = raw[9], raw[10], raw[11]
        jpeg = None if file is None else self._picture(file, size)
        if jpeg is None or picture_sum(jpeg) != total:
            return None
        return stored._replace(jpeg=jpeg)

    def lots(
        self, shelves: Iterable[int], *, after: int, upto: int, limit: int, each: int
    ) -> Generator[list[Plain], None, None]:
        """What lies on *shelves* in order of seq, some at a time, *each* of a shelf; at least *limit*, if there are so many.

        `DamagedError` if it turns out that they do not lie in order.
        """
        walks = [
            self._c.execute(PLAIN_RANGE, (key_of(shelf, after), key_of(shelf, upto), limit))
            for shelf in shelves
        ]
        waiting: list[list[Plain]] = [[] for _ in walks]
        last = [after] * len(walks)
        try:
            while True:
                for place, walk in enumerate(walks):
                    if not waiting[place]:
                        waiting[place] = walk.fetchmany(each)
                        last[place] = end_of_rise(waiting[place], last[place])
                ends = [rows[-1][0] for rows in waiting if rows]
                if not ends:
                    return
                # As far as all of them have been read; so at least one of them is read on.
                cuts = [bisect_right(rows, min(ends), key=_seq) for rows in waiting]
                came = [rows[:cut] for rows, cut in zip(waiting, cuts, strict=True)]
                yield came[0] if len(came) == 1 else sorted(chain.from_iterable(came), key=_seq)
                waiting = [rows[cut:] for rows, cut in zip(waiting, cuts, strict=True)]
        finally:
            for walk in walks:
                walk.close()

    def whole(self, lots: Iterable[list[Plain]]) -> Generator[Raw, None, None]:
        """Each row of *lots* with what is known of its picture."""
        for seq, shelf, *_ in chain.from_iterable(lots):
            raw = self.named((shelf,), seq)
            if raw is not None:
                yield raw

    def named(self, shelves: Iterable[int], seq: int) -> Raw | None:
        """Record *seq*, on whichever of *shelves* it lies."""
        for shelf in shelves:
            found: Raw | None = self._c.execute(BY_KEY, (key_of(shelf, seq),)).fetchone()
            if found is not None:
                return found
        return None

    def oldest(self, shelves: Iterable[int]) -> tuple[int, int, float, float] | None:
        """Seq, boot, at and wall time of the record with the lowest seq."""
        found = (self._end(OLDEST, shelf) for shelf in shelves)
        return min((row for row in found if row is not None), default=None)

    def newest(self, shelves: Iterable[int]) -> int:
        """The highest seq there is; 0 if there is none."""
        found = (self._end(NEWEST, shelf) for shelf in shelves)
        return max((row[0] for row in found if row is not None), default=0)

    def _end(self, sql: str, shelf: int) -> tuple[int, int, float, float] | None:
        row: tuple[int, int, float, float] | None = self._c.execute(
            sql, (key_of(shelf, 0), key_of(shelf + 1, 0))
        ).fetchone()
        return row

    def span(self, shelf: int, after: int, limit: int) -> list[tuple[Mark, int]]:
        """The next *limit* records of a shelf, each with what its picture's file takes."""
        bounds = (key_of(shelf, after), key_of(shelf, SEQ_MASK), limit)
        return [
            (Mark(seq, self.names.boots.get(boot, ""), at, wall_s), room or 0)
            for seq, boot, at, wall_s, room in self._c.execute(TO_THIN, bounds)
        ]


def end_of_rise(rows: Sequence[Plain | Raw], after: int) -> int:
    """The last seq of *rows* of one shelf. `DamagedError` if they do not rise from *after* on: a search in that tree misses some."""
    for row in rows:
        if row[0] <= after:
            raise DamagedError(OUT_OF_ORDER)
        after = row[0]
    return after


def _seq(raw: Plain) -> int:
    return raw[0]


def read_held(text: str) -> dict[int, tuple[int, int]]:
    """What lies on each shelf, as `store.held` tells it; `DamagedError` if it tells nothing."""
    try:
        found: object = json.loads(text)
        if not isinstance(found, dict):
            raise DamagedError("it has lost count")
        return {int(shelf): (int(count), int(size)) for shelf, (count, size) in found.items()}
    except (ValueError, TypeError) as error:
        raise DamagedError("it has lost count") from error
