"""The journal's files: making them, moving damaged ones aside, reading what can still be read of those.

Promises: the folder is 0700 and the files 0600; at most `LIE_MOST` damaged stores lie aside; a salvaged record is one whose checksum
holds, so that damage never makes up a record.
Not its job: deciding when a store is damaged.
"""

from __future__ import annotations

import heapq
import os
import sqlite3
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge_agent.core.messages import Json, Rank
from edge_agent.spool.aside import (
    LIE_MOST,
    SALVAGE,
    TRIES,
    Job,
    anew,
    belongs,
    dump_jobs,
    read_jobs,
    read_note,
)
from edge_agent.spool.chain import Entry, Past, digest, past_of, read_entry
from edge_agent.spool.files import (
    ASIDE,
    ASIDE_PICTURES,
    FILE,
    TROUBLE,
    Connector,
    DamagedError,
    as_text,
    connect,
    remove,
    size_of,
    sync,
)
from edge_agent.spool.head import head_left, names_left
from edge_agent.spool.peek import Peek, UnreadableError
from edge_agent.spool.pictures import FOLDER, make_folder
from edge_agent.spool.schema import APPLICATION, PICTURES, RANGE, Raw, key_of
from edge_agent.spool.shelves import Names, read_held, read_row
from edge_agent.spool.store import Store
from edge_agent.spool.values import MAX_SEQ, Held, Row, row_of

_DAMAGE_CODES: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG}
)


_LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def is_damage(error: BaseException) -> bool:
    """Whether *error* says that the file is not what it should be, rather than that the disk does not work."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, DamagedError | UnicodeDecodeError) or (
        isinstance(code, int) and code & 0xFF in _DAMAGE_CODES
    )


def prepare(folder: Path) -> None:
    """Make *folder*, the store's file and the place of its pictures if they are not there; SQLite gives its log the file's mode.

    Raises OSError, or `DamagedError` if something else lies there.
    """
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(folder.parent)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o700)
    path = folder / FILE
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise DamagedError("not a file")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    try:
        make_folder(folder)
    except NotADirectoryError as error:
        raise DamagedError(str(error)) from error
    # Its first page is synced before there is a log, and SQLite deletes a log that lies beside an empty file.
    known = size_of(folder / f"{FILE}-wal") > 0 or any((folder / FOLDER).iterdir())
    if path.stat().st_size == 0 and known:
        raise DamagedError("empty, beside a log or pictures that it must have known")
    sync(folder)


def move_aside(folder: Path, jobs: Sequence[Job]) -> None:
    """Rename the store, its log and its pictures as the first of *jobs* says, or go on with that; of what was moved aside before
    stays what the others still need, but `LIE_MOST` at the most.

    The database goes last: where that is, the rest is.
    """
    for old in folder.glob(f"{ASIDE}*"):
        if not belongs(old, jobs[:LIE_MOST]):
            remove(old)
    aside = folder / jobs[0].aside
    _move_pictures(folder / FOLDER, Path(f"{aside}{ASIDE_PICTURES}"))
    for suffix in ("-wal", "-journal"):  # SQLite finds a log by the name of its file
        with suppress(FileNotFoundError):
            (folder / f"{FILE}{suffix}").rename(f"{aside}{suffix}")
    remove(folder / f"{FILE}-shm")
    with suppress(FileNotFoundError):
        (folder / FILE).rename(aside)
    sync(folder)


def discard(folder: Path) -> None:
    """Delete the database in *folder* with its log."""
    for suffix in ("-wal", "-journal", "-shm", ""):
        remove(folder / f"{FILE}{suffix}")
    sync(folder)


def unfinished(folder: Path) -> tuple[Job, ...]:
    """What the store in *folder*, which is damaged, had still to bring over itself, as far as it can tell."""
    told: bytes | None = None
    with suppress(UnreadableError), Peek(folder / FILE, application=APPLICATION) as old:
        told = old.facts().get(SALVAGE)
    jobs = None if told is None else read_jobs(told)
    if jobs is None:  # that is not to say that there were none
        jobs = read_note(folder) or anew(folder)
    # What it does not know of another one's boots and trail comes too late: and a boot whose place in their order is not known
    # is one that a purge may not reach.
    return tuple(job if job.trailed else replace(job, trailed=True, pictures=False) for job in jobs)


def _move_pictures(pictures: Path, aside: Path) -> None:
    if not os.path.lexists(pictures):  # moved already, before the power went
        return
    if not aside.is_dir():
        pictures.rename(aside)
        return
    for path in pictures.iterdir():
        path.rename(aside / path.name)
    pictures.rmdir()


_LOT: Final = 500  # entries a transaction


class Salvage:
    """Reads a damaged store, lot by lot: records first, then pictures, in order of seq. To be closed."""

    def __init__(self, folder: Path, jobs: Sequence[Job], connector: Connector) -> None:
        """The first of *jobs* is gone on with."""
        self._job = jobs[0]
        self._group, self._seq = self._job.group, self._job.seq
        self._saved, self._lost = self._job.saved, self._job.lost
        self._nameless = self._job.nameless
        self._others = tuple(jobs[1:])
        self.path = folder / self._job.aside
        self._pictures = Path(f"{self.path}{ASIDE_PICTURES}")
        self._rows: Generator[Row, None, None] | None = None
        self.facts: dict[str, bytes] = {}
        self.epoch: str | None = None
        self.last_seq: int | None = None
        there = self.path.is_file() and not self.path.is_symlink()
        self.readable = there and self._job.tries <= TRIES
        self._c = connector(str(self.path)) if self.readable else connect(":memory:")
        self._c.text_factory = as_text
        with suppress(*TROUBLE):
            self._c.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        self._look()
        self._held: list[int] = []  # shelves on which there was anything
        self._count: int | None = None  # of all records; None: it does not tell
        with suppress(DamagedError, *TROUBLE):
            head = head_left(self._c)
            self.last_seq = head.last_seq
            held = read_held(head.held)
            self._held = list(held)
            self._count = sum(count for count, _ in held.values())
        self.epoch = names_left(self._c, "epoch").get(1)
        self._names = Names(
            epoch=self.epoch or "",
            cameras=names_left(self._c, "camera"),
            boots=names_left(self._c, "boot"),
        )
        with suppress(*TROUBLE):
            for key, value in self._c.execute("SELECT key, value FROM fact"):
                if isinstance(key, str) and isinstance(value, bytes) and key != SALVAGE:
                    self.facts[key] = value
        self._rows = self._all()
        self._given: list[Held] = []  # with the last lot

    def close(self) -> None:
        """Let go of the file."""
        if self._rows is not None:  # a statement that is not at its end keeps the file locked
            self._rows.close()
        with suppress(*TROUBLE):
            self._c.close()

    def _look(self) -> None:
        """Somebody else's lock is no damage: what it hides would count as lost."""
        try:
            self._c.execute("SELECT name FROM sqlite_master").fetchall()
        except TROUBLE as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCKED:
                self.close()
                raise

    @property
    def boots(self) -> list[str]:
        """Their names, oldest first."""
        return [name for _, name in sorted(self._names.boots.items())]

    @property
    def job(self) -> Job:
        """How far it is."""
        at = replace(self._job, group=self._group, seq=self._seq)
        return replace(at, saved=self._saved, lost=self._lost, nameless=self._nameless)

    @property
    def complete(self) -> bool:
        """Whether all that was whole in it came over; to be asked when no more does. What it does not tell is not taken for none."""
        readable = self.readable and self._job.pictures and self.epoch is not None
        return readable and not self._nameless and self._saved + self._lost == self._count

    def told_of(self) -> None:
        """`journal.damaged` is written with the next `here`."""
        self._job = replace(self._job, told=True)

    @property
    def here(self) -> dict[str, bytes]:
        """How far it is with the lot that was given last, as a fact to be kept with it."""
        return {SALVAGE: dump_jobs([self.job, *self._others])}

    @property
    def over(self) -> dict[str, bytes]:
        """That there is no more of it."""
        return {SALVAGE: dump_jobs(self._others)}

    def without_pictures(self) -> None:
        """A purge is done: none of those that have not come over does."""
        self._job = replace(self._job, pictures=False)
        self._others = tuple(replace(job, pictures=False) for job in self._others)

    def bring_trail(self, store: Store, spent: Callable[[], bool]) -> None:
        """Bring *store* the audit trail, as far as its entries are whole, and then what it remembered and the order of its boots.

        Its next entry names the end of the old chain, so that what could not be brought is seen to be missing.
        """
        with suppress(UnreadableError), Peek(self.path, application=APPLICATION) as old:
            past = past_of(old.epoch, old.state)
            lot: list[tuple[bytes, str]] = []
            last: Entry | None = None
            for place, text, told in old.entries():
                if spent():
                    break
                if digest(text) != told:
                    continue
                last = read_entry(text) or last
                if place <= self._job.entry:
                    continue
                lot.append((text, told))
                came = self._job.entries + 1
                self._job = replace(self._job, entry=place, entries=came, tries=0)
                if len(lot) >= _LOT:
                    store.adopt(lot, past, self.here)
                    lot = []
            if past.end is None and last is not None:
                past = Past(end=last.place)
            store.adopt(lot, past, self.here)
        self._job = replace(self._job, trailed=True)
        store.inherit({**self.facts, **self.here}, self.boots)

    def lot(self, records: int, size: int) -> list[Row]:
        """The next few that can be read and are whole; empty at the end. Pictures stay in their files and are not read.

        To be asked for when the lot before is committed, with `here`: its pictures have other names then, and lose these.
        """
        for held in self._given:
            with suppress(OSError):  # it has another name, and goes with the folder
                held.path.unlink()
        rows: list[Row] = []
        for row in self._rows or ():
            rows.append(row)
            size -= row.size
            if len(rows) >= records or size <= 0:
                break
        self._given = [row.held for row in rows if row.held is not None]
        self._saved += len(rows)
        self._job = replace(self._job, tries=0)
        return rows

    def told(self) -> dict[str, Json]:
        """What there was and what came of it, so far."""
        return {
            "aside": self._job.aside,
            "epoch": self.epoch,
            "last_seq": self.last_seq,
            "salvaged": self._saved,
            "lost": self._lost,
        }

    def _all(self) -> Generator[Row, None, None]:
        shelves = self._shelves()
        for group, members in enumerate((range(PICTURES), range(PICTURES, MAX_SEQ))):
            if group < self._group:
                continue
            if group > self._group:
                self._group, self._seq = group, 0
            walks = (self._raws(shelf, self._seq) for shelf in shelves if shelf in members)
            for raw in heapq.merge(*walks, key=_seq):
                if group and not self._job.pictures:
                    return
                row = self._row(raw)
                self._seq = max(self._seq, raw[0])
                if row is None:
                    self._lost += 1
                    self._nameless |= not self._is_named(raw)
                else:
                    yield row

    def _is_named(self, raw: Raw) -> bool:
        return raw[4] in self._names.boots and (raw[3] is None or raw[3] in self._names.cameras)

    def _shelves(self) -> list[int]:
        """All that may hold something."""
        shelves = {int(rank) for rank in Rank} - {int(Rank.PICTURE)}
        shelves |= {PICTURES + number for number in self._names.cameras}
        return sorted(shelves.union(self._held))

    def _row(self, raw: Raw) -> Row | None:
        stored = read_row(raw, self._names)
        if stored is None or stored.rank is not Rank.PICTURE:
            return None if stored is None else row_of(stored)
        path, size, total = self._pictures / str(raw[11]), raw[9], raw[10]
        if not isinstance(raw[11], int):  # nothing that could lead out of that folder
            return None
        try:
            about = path.lstat()
        except OSError:
            return None
        if total is None or not stat.S_ISREG(about.st_mode) or about.st_size < size:
            return None
        return replace(row_of(stored), held=Held(path, size, total, about.st_size))

    def _raws(self, shelf: int, after: int) -> Iterator[Raw]:
        """What lies on a shelf behind *after*, stepping over pages that cannot be read in ever larger strides.

        To the very end: the last seq is what a damaged store may be wrong about. Each comes once, though a page that is named twice
        is walked twice; what lies behind a wrong turn may come late.
        """
        first, stride = after, 1
        seen = _Seen()
        while after <= MAX_SEQ:
            try:
                for raw in self._c.execute(
                    RANGE, (key_of(shelf, after), key_of(shelf, MAX_SEQ), -1)
                ):
                    if raw[1] == shelf and raw[0] > first and not seen.again(raw[0]):
                        yield raw
                        after, stride = raw[0], 1
            except TROUBLE:
                after, stride = after + stride, stride * 2
            else:
                return


class _Seen:
    """Of millions of numbers, mostly near each other, which have been there."""

    def __init__(self) -> None:
        self._lots: dict[int, int] = {}

    def again(self, number: int) -> bool:
        """Whether this one has been there before."""
        lot, bit = number >> 10, 1 << (number & 1023)
        had = self._lots.get(lot, 0)
        self._lots[lot] = had | bit
        return had & bit != 0


def _seq(raw: Raw) -> int:
    return raw[0]
