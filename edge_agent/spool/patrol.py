"""Looking after a store: in small steps beside its work, and all at once for a technician.

Promises: a step takes a few milliseconds and leaves no statement open; a file that no row names is deleted, and nothing else is;
a record that is not whole is named, and a database that is not whole is `DamagedError` or SQLite's own error.
Not its job: when to take a step, and what becomes of what is found.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from edge_agent.spool.chain import Break, Check
from edge_agent.spool.files import FILE, TROUBLE, DamagedError, as_text, connect, remove, why
from edge_agent.spool.head import names_left, read_head, read_names, read_spare
from edge_agent.spool.peek import chain_end
from edge_agent.spool.pictures import FOLDER, Folder, read_picture
from edge_agent.spool.schema import (
    APPLICATION,
    COUNTED,
    ENTRIES,
    FILES,
    LOT,
    PAGE,
    PICTURES,
    SEQ_MASK,
    SHELF_BITS,
    TABLES,
    VERSION,
    Raw,
    key_of,
)
from edge_agent.spool.shelves import OUT_OF_ORDER, Names, Shelves, read_held
from edge_agent.spool.values import Mark

_ROWS: Final = 200  # a step: a millisecond or two
_PICTURES: Final = 2  # a step: 120 kB from a card
_FILES: Final = 200
STRAY: Final = "a picture without its record"
# SQLite checks all in one go, in which no alarm is written: 0.4 s from a card. Beyond that, reading each record has to do.
_QUICK_BYTES: Final = 16_000_000


class Sweep:
    """Deletes files in the folder of pictures that no row names, and in those of stores that lie aside what was saved of them.

    `aside_bytes`: what is left of the latter.
    """

    def __init__(self, c: sqlite3.Connection, pictures: Folder, aside: Sequence[Path]) -> None:
        self._c = c
        self._pictures = pictures
        self._aside = aside
        self.aside_bytes = 0
        self._steps = self._walk()

    def step(self) -> bool:
        """Do a little; False at the end."""
        return next(self._steps, False)

    def _walk(self) -> Iterator[bool]:
        upto = self._pictures.last
        known = self._pictures.watch(upto)
        after = key_of(PICTURES, 0)
        more = True
        while more:  # what comes into use meanwhile has a higher number, or `watch` sees it
            rows = self._c.execute(FILES, (after, _ROWS)).fetchall()
            more = len(rows) == _ROWS
            for key, file in rows:
                if (
                    key <= after
                ):  # then a file may seem a stranger's only because its record is not found
                    raise DamagedError(OUT_OF_ORDER)
                if isinstance(file, int) and 0 < file <= upto:
                    known[file >> 3] |= 1 << (file & 7)
                after = key
            yield True
        looked = self._pictures.strangers(known, upto)
        while any([*islice(looked, _FILES)]):
            yield True
        self._pictures.unwatch()
        for folder in self._aside:
            yield from self._spare(folder)

    def _spare(self, folder: Path) -> Iterator[bool]:
        if not folder.is_dir():
            return
        with os.scandir(folder) as found:
            for number, entry in enumerate(found, 1):
                about = entry.stat(follow_symlinks=False)
                if about.st_nlink > 1:  # the new store has it under a name of its own
                    remove(Path(entry.path))
                else:
                    self.aside_bytes += about.st_size
                if number % _FILES == 0:
                    yield True


class Patrol:
    """Reads everything once: each record against its checksum, each picture against its own, the trail, the tree. `done` at the end.

    *upto*: the last seq; what is written later was not read from a card that may have forgotten it.
    """

    def __init__(self, c: sqlite3.Connection, shelves: Shelves, *, upto: int) -> None:
        self._c = c
        self._shelves = shelves
        self._upto = upto
        self._after = 0
        self._place = 0
        self._records = True
        self.done = False

    def step(self, pictures: int) -> list[tuple[int, Mark]]:
        """A little more; (shelf, record) of those that are not whole. *pictures*: how many records with one there are now."""
        if self._records:
            return self._some_records()
        rows = self._c.execute(ENTRIES, (self._place, _ROWS)).fetchall()
        if len(rows) == _ROWS:
            self._place = rows[-1][0]
            return []
        self._whole(pictures)
        self.done = True
        return []

    def _some_records(self) -> list[tuple[int, Mark]]:
        many = self._after < key_of(PICTURES, 0)
        rows: list[Raw] = self._c.execute(
            LOT, (self._after, _ROWS if many else _PICTURES)
        ).fetchall()
        damaged = []
        for raw in rows:
            key = key_of(raw[1], raw[0])
            if key <= self._after:
                raise DamagedError(OUT_OF_ORDER)
            self._after = key
            if raw[0] > self._upto:
                self._after = key_of(raw[1], SEQ_MASK)  # on to the next shelf
                break
            if self._shelves.stored(raw) is None:
                damaged.append((raw[1], self._shelves.names.mark(raw)))
            if many and raw[1] >= PICTURES:
                break  # no more than one picture with the records
        self._records = bool(rows)
        return damaged

    def _whole(self, pictures: int) -> None:
        """What reading record by record does not show. A purge finds its pictures by the index: it must know all of them."""
        (counted,) = self._c.execute(COUNTED).fetchone()
        if counted != pictures:
            msg = f"of {pictures} pictures the index knows {counted}"
            raise DamagedError(msg)
        (pages,) = self._c.execute("PRAGMA page_count").fetchone()
        if pages * PAGE > _QUICK_BYTES:
            return
        for (line,) in self._c.execute("PRAGMA quick_check(1)").fetchall():
            if line != "ok":
                raise DamagedError(str(line))


# ---- all at once ----


def check(folder: str, pictures: Path | None = None) -> tuple[str, ...]:
    """Every fault of the journal in *folder*, against its invariants; reads all of it: minutes for gigabytes.

    For a command line, while no agent uses that journal; or of a copy (reading.py) whose *pictures* lie where they were.
    Changes no record.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return (f"{path}: there is no journal",)
    connection = connect(str(path))
    connection.text_factory = as_text
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION:
            return (f"{path}: another program's database",)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if version != VERSION or not found >= TABLES:
            return (f"{path}: a journal of version {version}, or not all of one",)
        return (
            *_head_faults(connection),
            *_structure_faults(connection),
            *_picture_faults(connection, pictures or Path(folder) / FOLDER),
            *_trail_faults(connection),
        )
    except TROUBLE as error:
        return (f"{path}: {why(error)}",)
    finally:
        connection.close()


def _head_faults(c: sqlite3.Connection) -> Iterator[str]:
    parts: list[Callable[[sqlite3.Connection], object]] = [read_spare]
    parts += [partial(read_names, table=table) for table in ("epoch", "boot", "camera")]
    for read in parts:
        try:
            read(c)
        except DamagedError as error:
            yield f"store: {error}"


def _structure_faults(c: sqlite3.Connection) -> Iterator[str]:
    for (line,) in c.execute("PRAGMA quick_check"):
        if line != "ok":
            yield f"structure: {line}"
    try:
        head = read_head(c)
        told = read_held(head.held)
    except DamagedError as error:
        yield f"store: {error}"
        return
    sql = f"SELECT coalesce(max(key & {SEQ_MASK}), 0) FROM record"  # noqa: S608 - constants alone
    (highest,) = c.execute(sql).fetchone()
    if highest > head.last_seq:
        yield f"record {highest} lies beyond the last seq given, {head.last_seq}"
    sql = f"SELECT key >> {SHELF_BITS}, count(*), coalesce(sum(room), 0) FROM record GROUP BY 1"  # noqa: S608
    found = {shelf: (count, size) for shelf, count, size in c.execute(sql)}
    for shelf in sorted(told.keys() | found.keys()):
        there, counted = found.get(shelf, (0, 0)), told.get(shelf, (0, 0))
        if there != counted:
            yield (
                f"there are {there[0]} records on shelf {shelf} with {there[1]} bytes of files,"
                f" the store says {counted[0]} with {counted[1]}"
            )


def _picture_faults(c: sqlite3.Connection, folder: Path) -> Iterator[str]:
    """Each record with its picture, and each file with its record."""
    names = Names(epoch="", cameras=names_left(c, "camera"), boots=names_left(c, "boot"))
    known = {str(file) for (file,) in c.execute("SELECT file FROM spare")}
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        shelves = Shelves(c, names, lambda file, size: read_picture(descriptor, file, size))
        for raw in c.execute(LOT, (0, -1)):
            if shelves.stored(raw) is None:
                yield f"record {raw[0]}: not as it was put in (checksum, name or picture)"
            if raw[11] is not None:
                if str(raw[11]) in known:
                    yield f"record {raw[0]}: its file {raw[11]} is also another's, or spare"
                known.add(str(raw[11]))
    finally:
        os.close(descriptor)
    for path in sorted(folder.iterdir()):
        if path.name not in known:
            yield f"{path}: {STRAY}"


def _trail_faults(c: sqlite3.Connection) -> Iterator[str]:
    walk = Check()
    rows = c.execute("SELECT place, entry, hash FROM audit ORDER BY place")
    breaks = [found for found in walk.entries(rows) if isinstance(found, Break)]
    with suppress(DamagedError):  # told above
        end = chain_end(read_head(c))
        breaks += walk.end(names_left(c, "epoch").get(1, ""), end)
    for found in breaks:
        yield f"audit trail: {found.why}"
