"""The journal's files: making them, moving damaged ones aside, reading what can still be read of those.

Promises: the folder is 0700 and the files 0600; at most one damaged store lies aside; a salvaged record is one whose checksum
holds, so that damage never makes up a record.
Not its job: deciding when a store is damaged.
"""

from __future__ import annotations

import heapq
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge_agent.core.messages import Json, Rank
from edge_agent.spool.chain import Entry, Past, digest, past_of, read_entry
from edge_agent.spool.files import (
    ASIDE,
    ASIDE_PICTURES,
    FILE,
    TROUBLE,
    Connector,
    DamagedError,
    as_text,
    remove,
    size_of,
    sync,
)
from edge_agent.spool.peek import Peek, UnreadableError
from edge_agent.spool.pictures import FOLDER, make_folder
from edge_agent.spool.schema import APPLICATION, PICTURES, RANGE, Raw, key_of
from edge_agent.spool.shelves import Names, read_held, read_row
from edge_agent.spool.store import Store
from edge_agent.spool.values import MAX_SEQ, Held, Row, row_of

_DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


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


def move_aside(folder: Path) -> Path:
    """Rename the store, its log and its pictures; what was moved aside before goes, so that at most one lies there.

    The pictures go first: if the power fails in between, the next start finds the store damaged still, and its pictures under the
    number that it is then given.
    """
    number = 1
    found = sorted(folder.glob(f"{ASIDE}*"))
    names = {path.name for path in found}
    for old in found:
        digits, _, rest = old.name.removeprefix(ASIDE).partition("-")
        given = int(digits) if digits.isdecimal() else 0
        if f"-{rest}" == ASIDE_PICTURES and f"{ASIDE}{digits}" not in names:
            number = max(number, given)
            continue
        number = max(number, given + 1)
        remove(old)
    aside = folder / f"{ASIDE}{number}"
    _move_pictures(folder / FOLDER, Path(f"{aside}{ASIDE_PICTURES}"))
    for suffix in ("-wal", "-journal"):  # SQLite finds a log by the name of its file
        with suppress(FileNotFoundError):
            (folder / f"{FILE}{suffix}").rename(f"{aside}{suffix}")
    remove(folder / f"{FILE}-shm")
    (folder / FILE).rename(aside)
    sync(folder)
    return aside


def _move_pictures(pictures: Path, aside: Path) -> None:
    if not aside.is_dir():
        with suppress(FileNotFoundError):
            pictures.rename(aside)
        return
    for path in pictures.iterdir():
        path.rename(aside / path.name)
    pictures.rmdir()


_LOT: Final = 500  # entries a transaction


def adopt_trail(aside: Path, store: Store, spent: Callable[[], bool]) -> int:
    """Bring *store* the audit trail of the damaged one, as far as its entries are whole; how many they are.

    Its next entry names the end of the old chain, so that what could not be brought is seen to be missing.
    """
    try:
        old = Peek(aside, application=APPLICATION)
    except UnreadableError:
        return 0
    saved = 0
    with old:
        past = past_of(old.epoch, old.state)
        lot: list[tuple[bytes, str]] = []
        last: Entry | None = None
        for _, text, told in old.entries():
            if spent():
                break
            if digest(text) == told:
                lot.append((text, told))
                last = read_entry(text) or last
            if len(lot) >= _LOT:
                store.adopt(lot, past)
                saved, lot = saved + len(lot), []
        if past.end is None and last is not None:
            past = Past(end=last.place)
        store.adopt(lot, past)
    return saved + len(lot)


class Salvage:
    """Reads a damaged store, lot by lot: records first, then pictures, in order of seq. To be closed."""

    def __init__(self, path: Path, connector: Connector) -> None:
        self.name = path.name
        self._pictures = Path(f"{path}{ASIDE_PICTURES}")
        self.facts: dict[str, bytes] = {}
        self.epoch: str | None = None
        self.last_seq: int | None = None
        self.saved = 0  # records that were given out
        self.lost = 0  # records that were found and are not whole
        self._c = connector(str(path))
        self._c.text_factory = as_text
        with suppress(*TROUBLE):
            self._c.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        with suppress(*TROUBLE):
            row = self._c.execute("SELECT epoch, last_seq FROM store").fetchone()
            if row is not None and isinstance(row[1], int):
                self.epoch, self.last_seq = str(row[0]), row[1]
        self._names = Names(
            epoch=self.epoch or "",
            cameras=self._named("SELECT id, name FROM camera"),
            boots=self._named("SELECT id, name FROM boot"),
        )
        with suppress(*TROUBLE):
            for key, value in self._c.execute("SELECT key, value FROM fact"):
                if isinstance(key, str) and isinstance(value, bytes):
                    self.facts[key] = value
        self._rows = self._all()
        self._given: list[Held] = []  # with the last lot

    def close(self) -> None:
        """Let go of the file."""
        with suppress(*TROUBLE):
            self._c.close()

    @property
    def boots(self) -> list[str]:
        """Their names, oldest first."""
        return [name for _, name in sorted(self._names.boots.items())]

    def lot(self, records: int, size: int) -> list[Row]:
        """The next few that can be read and are whole; empty at the end. Pictures stay in their files and are not read.

        To be asked for when the lot before is committed: its pictures have other names then, and lose these.
        """
        for held in self._given:
            held.path.unlink(missing_ok=True)
        rows: list[Row] = []
        for row in self._rows:
            rows.append(row)
            size -= row.size
            if len(rows) >= records or size <= 0:
                break
        self.saved += len(rows)
        self._given = [row.held for row in rows if row.held is not None]
        return rows

    def told(self) -> dict[str, Json]:
        """What there was and what came of it, so far."""
        return {
            "aside": self.name,
            "epoch": self.epoch,
            "last_seq": self.last_seq,
            "salvaged": self.saved,
            "lost": self.lost,
        }

    def _named(self, sql: str) -> dict[int, str]:
        found: dict[int, str] = {}
        with suppress(*TROUBLE):
            found.update(self._c.execute(sql))
        return found

    def _all(self) -> Iterator[Row]:
        shelves = self._shelves()
        for group in (range(PICTURES), range(PICTURES, MAX_SEQ)):
            walks = (self._raws(shelf) for shelf in shelves if shelf in group)
            for raw in heapq.merge(*walks, key=_seq):
                row = self._row(raw)
                if row is None:
                    self.lost += 1
                else:
                    yield row

    def _shelves(self) -> list[int]:
        """All that may hold something."""
        shelves = {int(rank) for rank in Rank} - {int(Rank.PICTURE)}
        shelves |= {PICTURES + number for number in self._names.cameras}
        with suppress(DamagedError, TypeError, *TROUBLE):
            shelves |= read_held(*self._c.execute("SELECT held FROM store").fetchone()).keys()
        return sorted(shelves)

    def _row(self, raw: Raw) -> Row | None:
        stored = read_row(raw, self._names)
        if stored is None or stored.rank is not Rank.PICTURE:
            return None if stored is None else row_of(stored)
        path, size, total = self._pictures / str(raw[11]), raw[9], raw[10]
        try:
            about = path.lstat()
        except OSError:
            return None
        if total is None or not stat.S_ISREG(about.st_mode) or about.st_size < size:
            return None
        return replace(row_of(stored), held=Held(path, size, total, about.st_size))

    def _raws(self, shelf: int) -> Iterator[Raw]:
        """What lies on a shelf, stepping over pages that cannot be read in ever larger strides."""
        upto = MAX_SEQ if self.last_seq is None else min(self.last_seq, MAX_SEQ)
        after, stride = 0, 1
        while after <= upto:
            try:
                for raw in self._c.execute(RANGE, (key_of(shelf, after), key_of(shelf, upto), -1)):
                    yield raw
                    after, stride = raw[0], 1
            except TROUBLE:
                after, stride = after + stride, stride * 2
            else:
                return


def _seq(raw: Raw) -> int:
    return raw[0]
