"""Thinning a store: what goes next, by what core/retention.py decides, and the tombstones that say so.

Promises: a summary of what is held is made when room is first wanted, never before; all that goes in one transaction is declared
in it; a tombstone that is still here takes in what goes beside it later, so that all of them together stay as small as what is left.
Not its job: deleting and inserting (store.py does both, in its own transaction), what to declare how (stones.py).
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edge_agent.core.messages import Rank
from edge_agent.core.retention import NEAR_S, Item, Marks, Retention, Track
from edge_agent.spool.schema import BY_KEY, PICTURES, SEQ_MASK, SHELF_BITS, key_of
from edge_agent.spool.shelves import Names, read_row
from edge_agent.spool.stones import Stone
from edge_agent.spool.values import Mark, Row, Stamp

_NEAR: Final = 1  # mark.why
_BEGINS: Final = 2

BAND: Final = 1_024  # seqs that one tombstone speaks of at first: 14 kB at the worst, with every second one gone
SMALL: Final = 4_000  # bytes, about: two neighbours shorter than this become one

_ITEMS: Final = (
    f"SELECT record.key & {SEQ_MASK}, boot, at, wall_s, coalesce(room, length(data)), coalesce(why, 0)"  # noqa: S608
    " FROM record LEFT JOIN mark ON mark.key = record.key WHERE record.key BETWEEN ? AND ? ORDER BY record.key"
)
_NEAR_BY: Final = f"SELECT key FROM record WHERE key >= {PICTURES << SHELF_BITS} AND boot = ? AND at BETWEEN ? AND ? AND camera = ?"  # noqa: S608
_RAN: Final = f"SELECT max(at) FROM record WHERE key >= {PICTURES << SHELF_BITS} AND boot = ?"  # noqa: S608
_MARK: Final = (
    "INSERT INTO mark VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET why = why | excluded.why"
)
_UNMARK: Final = "DELETE FROM mark WHERE key BETWEEN ? AND ?"
QUERIES: Final[Mapping[str, tuple[str, Sequence[int]]]] = {
    "to choose from": (_ITEMS, (1, 2)),
    "near an event": (_NEAR_BY, (1, 0, 1, 1)),
    "how long a boot ran": (_RAN, (1,)),
    "no longer marked": (_UNMARK, (1, 2)),
}


@dataclass(slots=True)
class _Band:
    """Of which seqs a tombstone speaks."""

    low: int
    high: int
    seq: int = 0  # its own; 0 = there is none
    weight: int = 0


class Thinning:
    """One store's. *cameras*, *boots*: what the small numbers in a record stand for, as the store goes on to fill them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        cameras: Mapping[int, str],
        boots: Mapping[int, str],
        *,
        epoch: str,
        reason: str,
    ) -> None:
        self._c = connection
        self._names = Names(epoch=epoch, cameras=cameras, boots=boots)
        self._cameras = cameras
        self._boots = boots
        self._reason = reason
        self._marks = Marks()
        self._plan: Retention | None = None
        self._bands: list[_Band] | None = None
        self._chosen: set[int] = set()  # not yet deleted
        self._gone: list[tuple[Track, list[Mark]]] = []  # not yet declared

    # -- what comes and goes --

    def kept(self, seq: int, shelf: int, row: Row, boot: int, size: int) -> None:
        """A record is in the table now. *size*: what it frees when it goes."""
        stamp = row.stamp
        if shelf < PICTURES and row.rank is not Rank.METRIC:
            if row.camera is not None and not row.kind.startswith("journal."):
                self._marks.event(row.camera, stamp.boot, stamp.at)
                self._mark_near(row.camera, boot, stamp.at)
            return
        near = begins = False
        if shelf >= PICTURES and row.camera is not None:
            near, begins = self._marks.picture(row.camera, stamp.boot, stamp.at)
        if near or begins:
            why = _NEAR * near + _BEGINS * begins
            self._c.execute(_MARK, (key_of(shelf, seq), why))
        if self._plan is not None:
            item = Item(seq, stamp.boot, stamp.at, size, near, begins)
            self._plan.add(self._track(shelf), item)

    def _mark_near(self, camera: str, boot: int, at: float) -> None:
        number = next((key for key, name in self._cameras.items() if name == camera), None)
        if number is None:
            return
        found = self._c.execute(_NEAR_BY, (boot, at - NEAR_S, at + NEAR_S, number)).fetchall()
        self._c.executemany(_MARK, [(key, _NEAR) for (key,) in found])

    def deleted(self, shelf: int, low: int, high: int) -> None:
        """Records *low* to *high* of a shelf are no longer in the table."""
        if shelf >= PICTURES:
            self._c.execute(_UNMARK, (key_of(shelf, low), key_of(shelf, high)))
        if low == high and low in self._chosen:
            self._chosen.discard(low)
        elif self._plan is not None and self._thinned(shelf):
            self._plan.forget(self._track(shelf), low, high)

    def _thinned(self, shelf: int) -> bool:
        return shelf >= PICTURES or shelf == int(Rank.METRIC)

    def _track(self, shelf: int) -> Track:
        if shelf >= PICTURES:
            return Track(Rank.PICTURE, self._cameras.get(shelf - PICTURES))
        return Track(Rank.METRIC, None)

    # -- what goes next --

    def next(self, shelves: Iterable[int], size: int) -> tuple[int, list[int]] | None:
        """Shelf and seqs of the next few METRIC or PICTURE records to delete, about *size* bytes; None: there are none.

        They count as gone from now on, and `declare` will tell of them. *shelves*: those that hold anything.
        """
        plan = self._plan = self._plan or self._read(shelves)
        while (look := plan.look()) is not None:
            shelf = self._shelf(look.track)
            bounds = (key_of(shelf, look.low), key_of(shelf, look.high))
            found = self._c.execute(_ITEMS, bounds).fetchall()
            items = [self._item(row) for row in found]
            seqs = plan.choose(look, items, size)
            if seqs:
                chosen = self._chosen = set(seqs)
                marks = [
                    Mark(seq, self._boots.get(boot, ""), at, wall_s)
                    for seq, boot, at, wall_s, *_ in found
                    if seq in chosen
                ]
                self._gone.append((look.track, marks))
                return shelf, seqs
        return None

    def _read(self, shelves: Iterable[int]) -> Retention:
        """Walks over all that may be thinned, but once in a run only, and not before the store is full."""
        ran = (
            (name, self._c.execute(_RAN, (boot,)).fetchone()[0])
            for boot, name in self._boots.items()
        )
        plan = Retention((name, float(length_s or 0.0)) for name, length_s in ran)
        for shelf in sorted(filter(self._thinned, shelves)):
            track = self._track(shelf)
            for row in self._c.execute(_ITEMS, (key_of(shelf, 0), key_of(shelf, SEQ_MASK))):
                plan.add(track, self._item(row))
        return plan

    def _item(self, row: tuple[int, int, float, float, int, int]) -> Item:
        seq, boot, at, _, size, why = row
        name = self._boots.get(boot, "")
        return Item(seq, name, at, size, bool(why & _NEAR), bool(why & _BEGINS))

    def _shelf(self, track: Track) -> int:
        if track.rank is not Rank.PICTURE:
            return int(track.rank)
        return PICTURES + next(
            (number for number, name in self._cameras.items() if name == track.camera), 0
        )

    def went(self, rank: Rank, camera: str | None, marks: Sequence[Mark]) -> None:
        """Other records that are gone, or never got a seq; to be declared too."""
        if marks:
            self._gone.append((Track(rank, camera), list(marks)))

    # -- tombstones --

    def declare(self, *, last_seq: int, stamp: Stamp, delete: Callable[[int], None]) -> list[Row]:
        """Tombstones of all that went since the last time, to be written as the very next records after *last_seq*.

        *delete* takes an older tombstone, by its seq, away: a new one says what it said.
        """
        if not self._gone:
            return []
        bands = self._bands = self._read_bands() if self._bands is None else self._bands
        gone, self._gone = self._gone, []
        fresh: dict[int, Stone] = {}  # by the low end of its band
        for track, marks in gone:
            for low, part in _by_band(bands, marks, last_seq).items():
                _add(fresh, low, Stone.of(self._reason, track, part))
        rows: list[Row] = []
        for band in self._rewritten(bands, fresh, delete):
            stone = fresh[band.low]
            rows.append(stone.row(stamp, self._names.epoch))
            band.seq, band.weight = last_seq + len(rows), stone.weight
            told = (band.low, band.high, band.seq, band.weight)
            self._c.execute("INSERT OR REPLACE INTO stone VALUES (?, ?, ?, ?)", told)
        return rows

    def _read_bands(self) -> list[_Band]:
        found = self._c.execute("SELECT low, high, seq, weight FROM stone ORDER BY low")
        return [_Band(*row) for row in found]

    def _rewritten(
        self, bands: list[_Band], fresh: dict[int, Stone], delete: Callable[[int], None]
    ) -> list[_Band]:
        """The bands whose tombstone is to be written anew. Brings what the old ones said into *fresh*, small neighbours as one."""
        out: dict[int, _Band] = {}
        for low in sorted(fresh):
            at = bisect_right(bands, low, key=_low) - 1
            band = bands[at]
            self._recall(band, fresh, delete)
            before = bands[at - 1] if at > 0 else None
            small = before is not None and before.weight <= SMALL
            if before is None or not small or fresh[low].weight > SMALL:
                out[low] = band
                continue
            self._recall(before, fresh, delete)
            _add(fresh, before.low, fresh.pop(low))
            before.high, before.weight = band.high, fresh[before.low].weight
            del bands[at]
            self._c.execute("DELETE FROM stone WHERE low = ?", (low,))
            out[before.low] = before
        return list(out.values())

    def _recall(self, band: _Band, fresh: dict[int, Stone], delete: Callable[[int], None]) -> None:
        """What a band's tombstone says is to be said by a new one, unless the hub has it already."""
        row = None
        if band.seq:
            key = key_of(int(Rank.AUDIT), band.seq)
            row = self._c.execute(BY_KEY, (key,)).fetchone()
        # One that is not as it was put in is not repeated, as if it were sound: it is found and declared as any record is.
        stored = None if row is None else read_row(row, self._names)
        old = None if stored is None else Stone.read(stored.data)
        if old is not None:
            delete(band.seq)
            _add(fresh, band.low, old.standing_for(band.seq))
        band.seq = 0


def _low(band: _Band) -> int:
    return band.low


def _add(fresh: dict[int, Stone], low: int, stone: Stone) -> None:
    fresh[low] = fresh[low].join(stone) if low in fresh else stone


def _by_band(bands: list[_Band], marks: Sequence[Mark], last_seq: int) -> dict[int, list[Mark]]:
    """*marks* by the low end of their band; what never got a seq would have had the next."""
    parts: dict[int, list[Mark]] = {}
    for mark in marks:
        band = _band_of(bands, last_seq + 1 if mark.seq is None else mark.seq)
        parts.setdefault(band.low, []).append(mark)
    return parts


def _band_of(bands: list[_Band], seq: int) -> _Band:
    """The band that *seq* lies in; a new one if there is none."""
    at = bisect_right(bands, seq, key=_low) - 1
    if at >= 0 and seq <= bands[at].high:
        return bands[at]
    low = seq // BAND * BAND
    high = low + BAND - 1
    if at >= 0:
        low = max(low, bands[at].high + 1)
    if at + 1 < len(bands):
        high = min(high, bands[at + 1].low - 1)
    band = _Band(low, high)
    bands.insert(at + 1, band)
    return band
