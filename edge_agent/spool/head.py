"""What all of a store depends on: its one row, the names that its records share, and the list of files that are to be destroyed.

Each row has a checksum of its own. Of each name there are two copies, the table's and the index's beside it, on pages apart: were a
name lost or altered, no record of that boot or camera could be told to be whole.
Promises: what is given is what was written, or it is `DamagedError`; `names_left` never raises and gives each name of which
either copy is whole, and no other, but those of a store of version 3 as they stand there: it had neither checksums nor copies, and
the checksum of each record is of its names too.
Not its job: what becomes of a store whose head is damaged (journal.py), pages (peek.py).
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge_agent.spool.files import TROUBLE, DamagedError
from edge_agent.spool.values import MAX_SEQ

_NAMES: Final = {
    table: (
        f"SELECT id, name, sum FROM {table} NOT INDEXED ORDER BY id",  # noqa: S608 - constants alone
        f"SELECT id, name, sum FROM {table} INDEXED BY {table}_again",  # noqa: S608 - constants alone
    )
    for table in ("epoch", "boot", "camera")
}
NAME: Final = {table: f"INSERT INTO {table} VALUES (?, ?, ?)" for table in _NAMES}  # noqa: S608 - constants alone
SPARE: Final = "INSERT OR REPLACE INTO spare VALUES (?, ?, ?)"
_READ: Final = "SELECT id, last_seq, last_file, opened, trail, held, sum FROM store"
_WRITE: Final = "UPDATE store SET last_seq = ?, last_file = ?, opened = ?, trail = ?, held = ?, sum = ?"  # fmt: skip
_READ_3: Final = "SELECT epoch, last_seq, last_file, opened, trail, held FROM store"
_COLUMNS: Final = "SELECT name FROM pragma_table_info(?)"
_COLUMNS_3: Final = {
    "store": ["id", "epoch", "last_seq", "last_file", "opened", "trail", "held"],
    "boot": ["id", "name"],
    "camera": ["id", "name"],
}
_BEGIN: Final = "INSERT INTO store VALUES (1, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Head:
    """The row of `store`."""

    last_seq: int = 0
    last_file: int = 0
    opened: int = 0
    trail: str = ""
    held: str = "{}"

    def _row(self) -> tuple[int, int, int, str, str, int]:
        told = (self.last_seq, self.last_file, self.opened, self.trail, self.held)
        return (*told, zlib.crc32(repr(told).encode()))

    def begin(self, c: sqlite3.Connection) -> None:
        """Write it into a new store."""
        c.execute(_BEGIN, self._row())

    def write(self, c: sqlite3.Connection) -> None:
        """Write it in place of what was there."""
        c.execute(_WRITE, self._row())

    @classmethod
    def of(cls, values: Sequence[object]) -> Head | None:
        """*values*: as they stand in the table, without its first column; None if no store wrote that."""
        match values:
            case [int(seq), int(file), int(opened), str(trail), str(held), int(total)]:
                head = cls(seq, file, opened, trail, held)
                likely = 0 <= seq <= MAX_SEQ and file >= 0
                return head if likely and head._row()[-1] == total else None
            case _:
                return None


def read_head(c: sqlite3.Connection) -> Head:
    """The one row of a store; `DamagedError` if it is not as it was written."""
    rows = c.execute(_READ).fetchmany(2)
    head = Head.of(rows[0][1:]) if len(rows) == 1 and rows[0][0] == 1 else None
    if head is None:
        raise DamagedError("its own row is not as it was written")
    return head


def name_sum(table: str, number: int, name: str) -> int:
    """The checksum of one name, by which it does not pass for another's either."""
    return zlib.crc32(repr((table, number, name)).encode())


def whole_names(table: str, rows: Iterable[Sequence[object]]) -> dict[int, str]:
    """Those of *rows* (number, name, checksum) that are as they were written."""
    found: dict[int, str] = {}
    for row in rows:
        match row:
            case [int(number), str(name), int(total)] if total == name_sum(table, number, name):
                found[number] = name
            case _:
                pass
    return found


def read_names(c: sqlite3.Connection, table: str) -> dict[int, str]:
    """All names of a table; `DamagedError` if a row of either copy is not as it was written, or not there."""
    copies = [c.execute(sql).fetchall() for sql in _NAMES[table]]
    names, again = (whole_names(table, rows) for rows in copies)
    if names != again or any(len(rows) != len(names) for rows in copies):
        msg = f"a name in {table} is not as it was written"
        raise DamagedError(msg)
    return names


def names_left(c: sqlite3.Connection, table: str) -> dict[int, str]:
    """The names of a damaged store, by whichever copy is whole."""
    if table == "epoch" and _is_of_version_3(c, "store"):
        rows = _rows_left(c, _READ_3)
        return dict(enumerate((row[0] for row in rows[:1] if isinstance(row[0], str)), 1))
    if _is_of_version_3(c, table):
        rows = _rows_left(c, f"SELECT id, name FROM {table}")  # noqa: S608 - a name of ours
        return {
            row[0]: row[1] for row in rows if isinstance(row[0], int) and isinstance(row[1], str)
        }
    found: dict[int, str] = {}
    for sql in _NAMES[table]:
        found |= whole_names(table, _rows_left(c, sql))
    return dict(sorted(found.items()))


def head_left(c: sqlite3.Connection) -> Head:
    """The row of a damaged store, or of one of version 3; `DamagedError` if there is none that can be believed, or `TROUBLE`."""
    if not _is_of_version_3(c, "store"):
        return read_head(c)
    match _rows_left(c, _READ_3):
        case [(str(), int(seq), int(file), int(opened), str(trail), str(held))] if (
            0 <= seq <= MAX_SEQ and file >= 0
        ):
            return Head(seq, file, opened, trail, held)
        case _:
            raise DamagedError("its own row is not as it was written")


def _is_of_version_3(c: sqlite3.Connection, table: str) -> bool:
    return [name for (name,) in _rows_left(c, _COLUMNS, table)] == _COLUMNS_3.get(table, ())


def _rows_left(c: sqlite3.Connection, sql: str, *values: str) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    with suppress(*TROUBLE):
        for row in c.execute(sql, values):
            rows.append(row)  # noqa: PERF402 - what came before an error counts
    return rows


def spare_row(file: int, room: int) -> tuple[int, int, int]:
    """A file that holds no picture, as the store lists it."""
    return file, room, zlib.crc32(repr((file, room)).encode())


def read_spare(c: sqlite3.Connection) -> list[int]:
    """All files of which no byte is to be kept; `DamagedError` if a row is not as it was written."""
    files: list[int] = []
    for row in c.execute("SELECT file, room, sum FROM spare"):
        match row:
            case [int(file), int(room), int()] if row == spare_row(file, room):
                files.append(file)
            case _:
                raise DamagedError("its list of spare files is not as it was written")
    return files
