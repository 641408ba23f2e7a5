"""What a journal holds, read beside an agent that uses it or without one: for a technician's look and for an export.

Promises: changes nothing, takes no lock and waits for nobody; every record that is given is whole, by its own checksums, with
the wall time that is known by now; what cannot be read is named or counted, never made up; memory is bounded by the log and
one lot, not by the store.
What is read is of one moment per lot: if the files changed under the reader, the lot is read again.
Not its job: pages (peek.py), what may leave the box (edge_agent/export).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edge_agent.core.messages import Memory, Rank, Stored
from edge_agent.core.settings import Identity
from edge_agent.spool.files import ASIDE, FILE, DamagedError, size_of
from edge_agent.spool.peek import Peek, UnreadableError, Value
from edge_agent.spool.pictures import FOLDER, read_picture
from edge_agent.spool.place import PLACE, identity_of, said_beside
from edge_agent.spool.schema import APPLICATION, PICTURES, SEQ_MASK, SHELF_BITS, Raw, key_of
from edge_agent.spool.shelves import Names, read_held, read_row
from edge_agent.spool.times import FACT, Times
from edge_agent.spool.values import picture_sum

_TRIES: Final = (
    5  # a checkpoint comes once in some thousand records; a lot is read in a fraction of a second
)
_CACHED_BYTES: Final = 200  # what a row takes in memory beside its data


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One class of records without pictures, or the pictures of one camera, and how much lies there by the store's own count."""

    number: int
    rank: Rank
    camera: str | None  # of pictures
    records: int
    file_bytes: int

    @property
    def name(self) -> str:
        """For a person and for names of files: audit, state, metric, or pictures-CAMERA."""
        return f"pictures-{self.camera}" if self.rank is Rank.PICTURE else self.rank.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A record as it lies there. `stored` None: it is not as it was put in. A picture's bytes are asked for apart."""

    shelf: int
    seq: int
    stored: Stored | None
    file: int | None
    size: int
    sum: int | None


class ReplacedError(Exception):
    """Another store lies there now: the agent has moved the one that was read aside."""


class Holdings:
    """The journal in a folder, as it is now; a context manager. Raises `UnreadableError` if there is none to be read."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._peek = self._open()
        self._pictures = -1
        with suppress(OSError):  # without it no picture can be read, and each is told of
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            self._pictures = os.open(self._folder / FOLDER, flags)
        self.epoch = self._peek.epoch
        self.faults: list[str] = []  # pages that could not be read, each once
        self._learn()

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Let go of the files."""
        self._peek.__exit__()
        if self._pictures >= 0:
            os.close(self._pictures)

    def _open(self) -> Peek:
        path = self._folder / FILE
        told = ""
        for _ in range(_TRIES):
            peek = Peek(path, application=APPLICATION)
            if peek.epoch and peek.unchanged():
                return peek
            told = "; ".join(peek.faults) or "the files change faster than they can be read"
            peek.__exit__()
        msg = f"{path}: the journal's own row cannot be read ({told})"
        raise UnreadableError(msg)

    def refresh(self) -> None:
        """Look anew. `ReplacedError` if it is another store's file by now."""
        fresh = self._open()
        self._note_faults()
        self._peek.__exit__()
        self._peek = fresh
        if fresh.epoch != self.epoch:
            msg = f"{self._folder / FILE}: the agent has begun a new store meanwhile; ask again"
            raise ReplacedError(msg)
        self._learn()

    def _learn(self) -> None:
        """What is small: names, times, counts."""
        peek = self._peek
        self._names = Names(
            epoch=self.epoch, cameras=peek.names("camera"), boots=peek.names("boot")
        )
        self._times = Times.load(peek.facts().get(FACT))
        self.last_seq = self._newest() if peek.last_seq is None else peek.last_seq
        self._note_faults()

    def _newest(self) -> int:
        """The highest seq that lies here, for a store that has lost count."""
        lasts = (
            next(self._rows(shelf.number, 0, SEQ_MASK, newest_first=True), None)
            for shelf in self.shelves()
        )
        return max((found.seq for found in lasts if found is not None), default=0)

    def _note_faults(self) -> None:
        self.faults += [fault for fault in self._peek.faults if fault not in self.faults]

    def all_faults(self) -> list[str]:
        """What could not be read so far."""
        self._note_faults()
        return list(self.faults)

    def remembered(self, memory: Memory) -> bytes | None:
        """What the agent keeps there over restarts."""
        return self._peek.facts().get(memory.value)

    def identity(self, ours: Identity) -> Identity | None:
        """Under which its records go out: *ours* if the store says nothing; None: what it says cannot be read any more."""
        told = self._peek.facts().get(PLACE) or said_beside(self._folder)
        return identity_of(told) if told else ours

    # -- what there is --

    def shelves(self) -> list[Shelf]:
        """All that hold something: classes first, then cameras by name. Where the count is lost, all that might."""
        ranks = {int(rank): rank for rank in Rank if rank is not Rank.PICTURE}
        cameras = self._names.cameras
        try:
            held = read_held(self._peek.held)
        except DamagedError:
            told = "the store has lost count of what it holds"
            self.faults += [told] if told not in self.faults else []
            held = dict.fromkeys([*ranks, *(PICTURES + number for number in cameras)], (0, 0))
        found = [
            Shelf(
                number=number,
                rank=ranks.get(number, Rank.PICTURE),
                camera=None if number in ranks else cameras.get(number - PICTURES, "unknown"),
                records=count,
                file_bytes=size,
            )
            for number, (count, size) in held.items()
            if number in ranks or number >= PICTURES
        ]
        return sorted(found, key=lambda shelf: (shelf.number >= PICTURES, shelf.name, shelf.number))

    def ends(self, shelf: int) -> tuple[Stored, Stored] | None:
        """The oldest and the newest record of a shelf that are whole, without their pictures."""
        ends = []
        for newest_first in (False, True):
            rows = self._rows(shelf, 0, SEQ_MASK, newest_first=newest_first)
            stored = (found.stored for found in rows)
            end = next((one for one in stored if one is not None), None)
            if end is None:
                return None
            ends.append(end)
        return ends[0], ends[1]

    def oldest_seq(self) -> int | None:
        """Nothing below this is here; None: nothing is here at all."""
        firsts = (next(self._rows(shelf.number, 0, SEQ_MASK), None) for shelf in self.shelves())
        return min((found.seq for found in firsts if found is not None), default=None)

    def audit_records(self) -> Iterator[Stored]:
        """Every record of class AUDIT, in order: among them all that declare what is gone."""
        for found in self._rows(int(Rank.AUDIT), 0, SEQ_MASK):
            if found.stored is not None:
                yield found.stored

    def bytes_used(self) -> dict[str, int]:
        """What the journal takes of the disk, by what for."""
        files = sum(shelf.file_bytes for shelf in self.shelves())
        rooms = (values[1] for _, values in self._peek.rows("spare") if len(values) > 1)
        spare = sum(room for room in rooms if isinstance(room, int))
        return {
            "records": size_of(self._folder / FILE) + size_of(self._folder / f"{FILE}-wal"),
            "pictures": files,
            "spare_files": spare,
            "aside": sum(size for _, size in self.aside()),
        }

    def aside(self) -> list[tuple[str, int]]:
        """Damaged stores that were moved aside: name and bytes of each file or folder."""
        out = []
        for path in sorted(self._folder.glob(f"{ASIDE}*")):
            found = path.lstat()
            size = found.st_size
            if stat.S_ISDIR(found.st_mode):
                size = sum(size_of(one) for one in path.iterdir())
            out.append((path.name, size))
        return out

    # -- reading --

    def lot(self, shelf: int, *, after: int, upto: int, records: int, size: int) -> list[Found]:
        """The next records of a shelf in order of seq, *after* < seq <= *upto*: at most *records*, and about *size* bytes of data.

        Empty: there are no more.
        """
        out: list[Found] = []
        for _ in range(_TRIES):
            out, taken = [], 0
            for found in self._rows(shelf, after + 1, upto):
                out.append(found)
                taken += _CACHED_BYTES + (0 if found.stored is None else len(found.stored.data))
                if len(out) >= records or taken >= size:
                    break
            if self._peek.unchanged():
                break
            self.refresh()
        self._note_faults()
        return out

    def picture(self, found: Found) -> bytes | None:
        """Its bytes, as they were put in; None if they are not to be had (any more)."""
        if found.file is None or self._pictures < 0:
            return None
        try:
            jpeg = read_picture(self._pictures, found.file, found.size)
        except OSError:
            return None
        return jpeg if jpeg is not None and picture_sum(jpeg) == found.sum else None

    def still_there(self, found: Found) -> bool:
        """Whether the record lies there yet: looked at anew, as it may have been settled, thinned or purged since."""
        if not self._is_there(found):  # an earlier look anew has shown it: where one goes, many go
            return False
        self.refresh()
        return self._is_there(found)

    def _is_there(self, found: Found) -> bool:
        return next(self._rows(found.shelf, found.seq, found.seq), None) is not None

    def _rows(
        self, shelf: int, low: int, high: int, *, newest_first: bool = False
    ) -> Iterator[Found]:
        bounds = {"low": key_of(shelf, low), "high": key_of(shelf, min(high, SEQ_MASK))}
        for key, values in self._peek.rows("record", **bounds, newest_first=newest_first):
            raw = _raw(key, values)
            stored = None if raw is None else read_row(raw, self._names)
            yield Found(
                shelf=shelf,
                seq=key & SEQ_MASK,
                stored=None if stored is None else self._times.corrected(stored),
                file=None if raw is None else raw[11],
                size=0 if raw is None else raw[9],
                sum=None if raw is None else raw[10],
            )


def _raw(key: int, values: list[Value]) -> Raw | None:
    """A row of the record table as SQLite would give it; None if it is none."""
    match values:
        case [
            _,
            str(kind),
            int() | None as camera,
            int(boot),
            int() | float() as at,
            int() | float() as wall_s,
            int(trusted),
            int(crc),
            int(size),
            int() | None as total,
            int() | None as file,
            int() | None as room,
            bytes(data),
        ]:
            # A REAL column keeps a whole number as an integer, to save space.
            when = (float(at), float(wall_s), trusted)
            picture = (size, total, file, room)
            place = (key & SEQ_MASK, key >> SHELF_BITS, kind, camera, boot)
            return (*place, *when, crc, *picture, data)
        case _:
            return None
