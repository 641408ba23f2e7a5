"""The journal's files: making them, moving damaged ones aside, reading what can still be read of those.

Promises: the folder is 0700 and the files 0600; at most one damaged store lies aside; a salvaged record is one whose checksum
holds, so that damage never makes up a record.
Not its job: deciding when a store is damaged.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from edge_agent.spool.chain import Entry, Past, digest, past_of, read_entry
from edge_agent.spool.peek import Peek, UnreadableError
from edge_agent.spool.store import (
    APPLICATION,
    ASIDE,
    COLUMNS,
    FILE,
    PICTURES,
    TROUBLE,
    Connector,
    DamagedError,
    Names,
    Raw,
    Store,
    read_stored,
    remove,
)
from edge_agent.spool.values import Row, row_of

_DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_damage(error: BaseException) -> bool:
    """Whether *error* says that the file is not what it should be, rather than that the disk does not work."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, DamagedError) or (
        isinstance(code, int) and code & 0xFF in _DAMAGE_CODES
    )


def prepare(folder: Path) -> None:
    """Make *folder* and the store's file if they are not there; SQLite gives its log the file's mode.

    Raises OSError, or `DamagedError` if what lies there is no file.
    """
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(folder.parent)
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
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_aside(folder: Path) -> Path:
    """Rename the store and its log; what was moved aside before goes, so that at most one lies there."""
    number = 1
    for old in folder.glob(f"{ASIDE}*"):
        digits = old.name.removeprefix(ASIDE).partition("-")[0]
        number = max(number, int(digits) + 1 if digits.isdecimal() else 1)
        remove(old)
    aside = folder / f"{ASIDE}{number}"
    for suffix in ("-wal", "-journal"):  # SQLite finds a log by the name of its file
        with suppress(FileNotFoundError):
            (folder / f"{FILE}{suffix}").rename(f"{aside}{suffix}")
    remove(folder / f"{FILE}-shm")
    (folder / FILE).rename(aside)
    _sync(folder)
    return aside


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
    """Reads a damaged store: records first, then pictures, in order of seq, until *spent*. A context manager."""

    def __init__(self, path: Path, connector: Connector, spent: Callable[[], bool]) -> None:
        self._spent = spent
        self._path = path
        self._connector = connector
        self.facts: dict[str, bytes] = {}
        self.epoch: str | None = None
        self.last_seq: int | None = None
        self.lost = 0  # records that were found and are not whole

    def __enter__(self) -> Self:
        """Open, and read what is small."""
        self._c = self._connector(str(self._path))
        self._c.text_factory = lambda text: text.decode("utf-8", "replace")
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
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        with suppress(*TROUBLE):
            self._c.close()

    def _named(self, sql: str) -> dict[int, str]:
        found: dict[int, str] = {}
        with suppress(*TROUBLE):
            found.update(self._c.execute(sql))
        return found

    def rows(self) -> Iterator[Row]:
        """Every record that can be read and is whole."""
        for shelves in (f"shelf < {PICTURES}", f"shelf >= {PICTURES}"):
            for raw in self._raws(shelves):
                row = self._row(raw)
                if row is None:
                    self.lost += 1
                else:
                    yield row

    def _row(self, raw: Raw) -> Row | None:
        try:
            stored = read_stored(self._c, raw, self._names)
        except TROUBLE:
            return None
        return None if stored is None else row_of(stored)

    def _raws(self, shelves: str) -> Iterator[Raw]:
        """Rows of the table itself, stepping over pages that cannot be read in ever larger strides."""
        where = f"WHERE seq > ? AND {shelves} ORDER BY seq"
        sql = f"SELECT {COLUMNS} FROM record NOT INDEXED {where}"  # noqa: S608 - constants alone
        after, stride = 0, 1
        while after <= (self.last_seq or 0):
            try:
                for raw in self._c.execute(sql, (after,)):
                    if self._spent():
                        return
                    yield raw
                    after, stride = raw[0], 1
            except TROUBLE:
                after, stride = after + stride, stride * 2
            else:
                return
