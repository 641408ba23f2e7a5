"""One SQLite database of records, on disk or in memory, and the pictures beside it: writing, settling, purging, reading.

Promises: each write is one transaction, synced before it returns, pictures before the rows that name them; room is made before it
is taken, and what went for it is declared in the same transaction; a record that belongs into the audit chain and its entry there
are one write.
Not its job: threads, and what to do when the disk fails: `TROUBLE` is raised, and the store is then of no further use.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from edge_agent.core.messages import (
    Committed,
    Fetch,
    Fetched,
    Json,
    Purge,
    Purged,
    Rank,
)
from edge_agent.spool.answer import Answer
from edge_agent.spool.aside import SALVAGE, Aside, Job, dump_jobs, read_jobs
from edge_agent.spool.chain import (
    PRUNED_AT_ONCE,
    ROW_BYTES,
    SHARE,
    Chain,
    Past,
    Place,
    chained,
    read_entry,
)
from edge_agent.spool.files import (
    FILE,
    TROUBLE,
    BrimfulError,
    DamagedError,
    as_text,
    sense,
    size_of,
    sync,
)
from edge_agent.spool.head import (
    NAME,
    SPARE,
    Head,
    name_sum,
    read_head,
    read_names,
    read_spare,
    spare_row,
)
from edge_agent.spool.log import cut_short
from edge_agent.spool.patrol import Patrol, Sweep
from edge_agent.spool.pictures import FOLDER, Folder, Memory, Pictures
from edge_agent.spool.pictures import Place as FilePlace
from edge_agent.spool.room import Limits, Need, Room
from edge_agent.spool.schema import (
    APPLICATION,
    DELETE,
    NEWEST_FIRST,
    NEWEST_PICTURE,
    NTH,
    PAGE,
    PICTURES,
    SCHEMA,
    SEQ_MASK,
    TABLES,
    TO_DELETE,
    TO_PRUNE,
    TO_PURGE,
    VERSION,
    YOUNGEST,
    key_of,
)
from edge_agent.spool.shelves import LOOK_EACH, Names, Shelves, read_held
from edge_agent.spool.thinning import Thinning
from edge_agent.spool.values import (
    MAX_SEQ,
    Gap,
    Mark,
    Range,
    Row,
    Stamp,
    checksum,
    checksum_of_names,
    mark_of,
    row_of,
    thinned,
)

# ---- one step of work: what an AUDIT record may have to wait for ----
SETTLE_RECORDS: Final = 2_000
SETTLE_PICTURES: Final = 64
THIN_RECORDS: Final = 256
PURGE_MISSES: Final = (
    20  # older pictures of a camera in a row: behind them are none that a purge means
)
VACUUM_PAGES: Final = 128
VACUUM_ABOVE_PAGES: Final = 4_096  # 4 MB of free pages are kept for what comes next

_RECORDS: Final = (int(Rank.AUDIT), int(Rank.STATE), int(Rank.METRIC))  # shelves without pictures

# A fact of the store's own: from when on the pictures of each boot were destroyed last.
_REACHED: Final = "purge.reached"
_OWN: Final = frozenset({_REACHED, SALVAGE})

_T = TypeVar("_T")
_Span: TypeAlias = tuple[int, float, float]  # of one boot's pictures: its number, from, to
_Meant: TypeAlias = tuple[
    int, int, float, float, int
]  # by a purge: seq, boot, at, wall time, shelf


class Store:
    """One database. The thread that opened it; every method but `close` may raise `TROUBLE`.

    After that only `close`, `epoch`, `aimed`, `outcome` and `past` may be used: whether a commit that failed has reached the
    disk all the same is known only by opening the store again.
    """

    def __init__(
        self, connection: sqlite3.Connection, limits: Limits, now: Callable[[], Stamp]
    ) -> None:
        self._c = connection
        self._limits = limits
        self._now = now
        self.durable = limits.folder is not None
        self.aimed: int | None = None  # last seq of a deed whose end is not known
        self.outcome: object = None  # and what it would have returned
        self.pulse: Callable[[], None] = (
            _nothing  # called within what may take long, as a sign of life
        )
        self.full = False  # STATE was thinned, or there was no room for what came
        self.brimful = False  # the disk itself had no room even for AUDIT
        self._room = Room(connection, limits)
        self._trail_bytes = limits.quota_bytes // SHARE
        self._pictures: Pictures = Memory()
        self._changed = False  # the present transaction has changed what `store` tells
        with sense():
            self._head = self._open()  # as read, or as last written
        try:
            with sense():
                self._load()
        except BaseException:
            self._close_pictures()
            raise
        self._inode = self._inode_now()

    # -- opening --

    def _open(self) -> Head:
        c = self._c
        # No second process, and no shared-memory file, which a failing card turns into a deadly SIGBUS.
        c.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        c.execute("PRAGMA temp_store = MEMORY")
        c.execute("PRAGMA trusted_schema = OFF")
        c.execute("PRAGMA cell_size_check = ON")
        c.text_factory = as_text
        fresh = self._is_fresh()
        if self._limits.folder is not None:
            self._begin_log(self._limits.folder)  # before anything is written to it
        if fresh:
            c.execute(f"PRAGMA page_size = {PAGE}")
            c.execute("PRAGMA auto_vacuum = INCREMENTAL")
        (mode,) = c.execute("PRAGMA journal_mode = WAL").fetchone()
        if self.durable and mode != "wal":
            msg = f"the file system allows no write-ahead log, only {mode}"
            raise OSError(msg)
        c.execute("PRAGMA synchronous = FULL")
        c.execute("PRAGMA secure_delete = FAST").fetchall()
        c.execute(f"PRAGMA wal_autocheckpoint = {self._room.log_pages}").fetchall()
        c.execute(f"PRAGMA journal_size_limit = {self._room.log_bytes}").fetchall()
        c.execute("BEGIN IMMEDIATE")
        if fresh:
            self._create()
        # A write, synced: a disk that only reads shows itself here and not with the first alarm.
        head = read_head(c)
        head = replace(head, opened=head.opened + 1)
        head.write(c)
        c.execute("COMMIT")
        if self._limits.folder is not None:
            sync(self._limits.folder)  # SQLite has done so, and would not have told of a failure
        return head

    def _begin_log(self, folder: Path) -> None:
        """Bring in what an earlier life left in its log and begin it anew; raises `DamagedError` if not all of it can be read.

        Frames that a crash left would otherwise lie behind those to come, and look like damage at the next opening.
        """
        _, whole, _ = self._c.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if cut_short(folder / f"{FILE}-wal", max(0, whole)):
            raise DamagedError("its log is damaged before its end")
        try:
            self._c.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise  # a full disk keeps its log: nothing is lost by that

    def _is_fresh(self) -> bool:
        """Whether the file is empty; raises `DamagedError` if it is not ours. Changes nothing."""
        tables = {name for (name,) in self._c.execute("SELECT name FROM sqlite_master")}
        (application,) = self._c.execute("PRAGMA application_id").fetchone()
        if not tables and application == 0:
            return True
        (version,) = self._c.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise DamagedError("another program's database")
        if version != VERSION:
            msg = f"a journal of version {version}; this agent knows {VERSION}"
            raise DamagedError(msg)
        if not tables >= TABLES:
            raise DamagedError("tables are missing")
        return False

    def _create(self) -> None:
        script = "\n".join(line for line in SCHEMA.splitlines() if not line.startswith("--"))
        for statement in script.split(";\n"):
            self._c.execute(statement)
        self._c.execute(f"PRAGMA application_id = {APPLICATION}")
        self._c.execute(f"PRAGMA user_version = {VERSION}")
        Head().begin(self._c)
        self._name("epoch", {}, secrets.token_hex(16))

    def _name(self, table: str, names: dict[int, str], name: str) -> int:
        """Give *name* a number, in the table and in *names*, which holds all that the table does."""
        number = max(names, default=0) + 1
        self._c.execute(NAME[table], (number, name, name_sum(table, number, name)))
        names[number] = name
        return number

    def _load(self) -> None:
        head = self._head
        epochs = read_names(self._c, "epoch")
        if len(epochs) != 1:
            raise DamagedError("it has lost its name")
        (self.epoch,) = epochs.values()
        self.last_seq = self.found_seq = head.last_seq  # the latter: when it was opened
        self._chain = Chain(self.epoch, head.trail)
        self._past = self._chain.past()  # as committed
        self._held = read_held(head.held)  # per shelf: records, bytes of their files
        self._cameras = read_names(self._c, "camera")
        self._boots = read_names(self._c, "boot")
        names = Names(epoch=self.epoch, cameras=self._cameras, boots=self._boots)
        self._camera_ids = {name: number for number, name in self._cameras.items()}
        self._boot_ids = {name: number for number, name in self._boots.items()}
        reason = "no_room" if self.durable else "no_disk"
        self._thinning = Thinning(
            self._c, self._cameras, self._boots, epoch=self.epoch, reason=reason
        )
        facts: dict[str, bytes] = dict(self._c.execute("SELECT key, value FROM fact"))
        self.facts = _others_facts(facts)
        self._lying = Aside(self._limits.folder, facts.get(SALVAGE))
        self._shelves = Shelves(self._c, names, self._read_picture)
        if self._shelves.newest({*_RECORDS, *self._held}) > self.last_seq:
            raise DamagedError("records beyond the last seq")
        self._open_pictures(head.last_file)  # which destroys what it says was never accepted
        self._note_aside()
        self._note_files()
        self._sweep: Sweep | None = None
        if self._limits.folder is not None and isinstance(self._pictures, Folder):
            self._sweep = Sweep(self._c, self._pictures, self._lying.folders())
        self._patrol: Patrol | None = None
        if self.durable:
            self._patrol = Patrol(self._c, self._shelves, upto=self.last_seq)

    def _read_picture(self, file: int, size: int) -> bytes | None:
        return self._pictures.read(file, size)

    def _open_pictures(self, last: int) -> None:
        folder = self._limits.folder
        if folder is None:
            return
        spare = read_spare(self._c)
        pool = self._room.pool_bytes
        self._pictures = Folder(folder / FOLDER, last=last, spare=spare, pool_bytes=pool)

    def _inode_now(self) -> int:
        folder = self._limits.folder
        return 0 if folder is None else (folder / FILE).stat().st_ino

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What is still to be brought over from damaged stores; the first is gone on with."""
        return self._lying.jobs

    def finish_purge(self) -> None:
        """Destroy what a purge left aside when the power went."""
        self._lying.finish_purge(self.pulse)

    def _forget_aside(self) -> None:
        """What is still to be read stays."""
        self._lying.forget(self.pulse)
        self._note_aside()

    def _note_aside(self) -> None:
        self._room.aside, self._room.reading = self._lying.sizes()

    # -- one transaction --

    def _transact(self, body: Callable[[], _T], *, purging: bool = False) -> _T:
        if self._inode_now() != self._inode:
            msg = f"{FILE} was taken away while in use"
            raise OSError(msg)
        before = self.last_seq
        self._changed = False
        self._c.execute("BEGIN IMMEDIATE")
        outcome = body()
        if self._changed or self.last_seq > before:
            self._tell_store()
        if self.last_seq > before:
            self.aimed, self.outcome = self.last_seq, outcome
        self._c.execute("COMMIT")
        self._pictures.committed(keep=purging)
        self.aimed = self.outcome = None
        self._past = self._chain.past()
        self._note_files()
        return outcome

    def _tell_store(self) -> None:
        """What is known of the whole, as it will be after this commit."""
        self._chain.live(self._now())
        done = [(file,) for file in (*self._pictures.took(), *self._pictures.gone())]
        if done:
            self._c.executemany("DELETE FROM spare WHERE file = ?", done)
        held = json.dumps(self._held, separators=(",", ":"))
        told = (self._head.opened, self._chain.state(), held)
        self._head = Head(self.last_seq, self._pictures.last, *told)
        self._head.write(self._c)

    def _note_files(self) -> None:
        self._room.files = sum(size for _, size in self._held.values())
        self._room.spare = self._pictures.spare_bytes

    def write(
        self,
        rows: Sequence[Row],
        *,
        facts: Mapping[str, bytes] | None = None,
        settled: Sequence[Range] = (),
        due: bool = True,
        moved: bool = False,
        void: Callable[[Row], bool] | None = None,
        refused: list[Row] | None = None,
    ) -> list[Range]:
        """Keep *rows* in this order, and *facts*. What is left of *settled*.

        Of those a bounded part is deleted, but while there is room and it is not *due*, that waits.
        *moved*: they come from another store, whose audit trail has them already.
        *void*: of which rows no byte may reach the disk; asked at the last moment before any does.
        *refused*: gets those at the end of *rows* for which the disk itself has no room; None: they are written as long as it goes.
        """

        def body() -> list[Range]:
            left = list(settled)
            if settled and (due or self._short(Need.of(rows)) > 0):
                left = self._settle(settled)
            # This may take long, for a store that lies aside.
            kept = self._make_room(rows, refused, salvaged=moved and bool(self.jobs))
            self._insert([row for row in kept if void is None or not void(row)], moved=moved)
            if facts:
                self._keep_facts(facts)
            return left

        left = self._transact(body)
        if facts and SALVAGE in facts:
            self._lying.note_done()
        return left

    def inherit(self, facts: Mapping[str, bytes], boots: Iterable[str]) -> None:
        """Take over what another store remembered, and the order of its *boots*, before any of their records comes."""

        def body() -> None:
            for name in boots:
                self._boot_id(name)
            self._keep_facts(facts)

        self._transact(body)
        self.facts |= _others_facts(facts)

    def _keep_facts(self, facts: Mapping[str, bytes]) -> None:
        self._c.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())
        if SALVAGE in facts:
            self._lying.jobs = read_jobs(facts[SALVAGE]) or ()
            self._note_aside()

    def harden(self) -> None:
        """Bring everything in the write-ahead log into the file, synced, and empty the log."""
        busy, _, _ = self._c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise OSError("the write-ahead log could not be emptied: the store is in use")
        if self._limits.folder is not None:
            # SQLite cuts it off without a sync: a power cut would bring back what was wiped.
            sync(self._limits.folder / f"{FILE}-wal")

    def close(self) -> None:
        """Let go of the files. What was not committed is not kept, and nobody was told that it was."""
        with suppress(*TROUBLE):
            self._c.rollback()
        with suppress(*TROUBLE):
            self._c.close()
        self._close_pictures()

    def _close_pictures(self) -> None:
        if isinstance(self._pictures, Folder):
            with suppress(OSError):
                self._pictures.close()

    # -- inserting --

    def _insert(self, rows: Sequence[Row], *, moved: bool = False) -> None:
        places = self._place(rows)
        records: list[tuple[object, ...]] = []
        came: list[tuple[int, int, Row, int, int]] = []
        for given, place in zip(rows, places, strict=True):
            self.last_seq += 1
            row = given if moved else self._audited(given)
            seq, stamp, shelf = self.last_seq, row.stamp, int(row.rank)
            camera = self._camera_id(row.camera)
            picture = row.picture()
            size, total = picture or (0, None)
            file, room = (None, None) if place is None else (place.file, place.room)
            if picture is not None:
                shelf = PICTURES + (camera or 0)
            about = checksum_of_names(row.kind, row.camera, stamp.boot)
            crc = checksum(seq, stamp.at, row.data, picture, about=about)
            when = (self._boot_id(stamp.boot), stamp.at, stamp.wall_s, int(stamp.trusted))
            told = (row.kind, camera, *when, crc, size, total, file, room)
            records.append((key_of(shelf, seq), *told, row.data))
            came.append((seq, shelf, row, when[0], room or len(row.data)))
            self._count(shelf, 1, room or 0)
        self._c.executemany("INSERT INTO record VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", records)
        for one in came:
            self._thinning.kept(*one)

    def _place(self, rows: Sequence[Row]) -> list[FilePlace | None]:
        """Where the picture of each row now is."""
        jpegs = [row.jpeg for row in rows if row.jpeg is not None]
        held = [row.held for row in rows if row.held is not None]
        written = iter(self._pictures.write(jpegs) if jpegs else ())
        adopted = iter(self._pictures.adopt(held) if held else ())
        out: list[FilePlace | None] = []
        for row in rows:
            if row.jpeg is not None:
                out.append(next(written))
            else:
                out.append(None if row.held is None else next(adopted))
        return out

    def _count(self, shelf: int, records: int, size: int) -> None:
        count, held = self._held.get(shelf, (0, 0))
        self._held[shelf] = (count + records, held + size)
        if self._held[shelf][0] <= 0:
            del self._held[shelf]
        self._room.files += size
        self._changed = True

    # -- the audit trail --

    def _audited(self, row: Row) -> Row:
        """The row as it is kept: with its chain, if it belongs into it."""
        if row.jpeg is not None and row.camera is not None:
            self._chain.count(row.camera, row.stamp)
        if not chained(row):
            return row
        linked = self._chain.link(row, self.last_seq, pruned=self._prune())
        entry = (linked.entry, linked.hash)
        self._c.execute("INSERT INTO audit (entry, hash) VALUES (?, ?)", entry)
        return linked.row

    def _prune(self) -> Place | None:
        """Drop some of the oldest entries if the trail has outgrown its share; the youngest of those dropped."""
        if self._chain.bytes <= self._trail_bytes:
            return None
        pruned: Place | None = None
        for place, entry, told in self._c.execute(TO_PRUNE, (PRUNED_AT_ONCE,)).fetchall():
            if self._chain.bytes <= self._trail_bytes:
                break
            self._c.execute("DELETE FROM audit WHERE place = ?", (place,))
            self._chain.bytes -= len(entry) + ROW_BYTES
            read = read_entry(entry)
            pruned = pruned if read is None else Place(read.place.epoch, read.place.n, told)
        return pruned

    def past(self) -> Past:
        """What a store that goes on from here has to name in its first entry; may be asked after `TROUBLE` too."""
        return self._past

    def follow(self, past: Past) -> None:
        """The next entry comes after *past*, the end of another store. Kept with the next write."""
        self._chain.follow(past)
        self._past = self._chain.past()

    def adopt(
        self,
        entries: Iterable[tuple[bytes, str]],
        past: Past,
        facts: Mapping[str, bytes] | None = None,
    ) -> None:
        """Take over another store's trail, as it is, behind what there is; the next entry comes after *past*. *facts* are kept with it."""

        def body() -> None:
            self._chain.follow(past)
            for entry, told in entries:
                self._c.execute("INSERT INTO audit (entry, hash) VALUES (?, ?)", (entry, told))
                self._chain.bytes += len(entry) + ROW_BYTES
            self._head = replace(self._head, trail=self._chain.state())
            self._head.write(self._c)
            if facts:
                self._keep_facts(facts)

        self._transact(body)

    def adopt_from(self, ring: Store) -> None:
        """Take over the trail of the store in memory, but for what an earlier attempt has brought already."""
        youngest = (read_entry(entry) for (entry,) in self._c.execute(YOUNGEST, (1_000,)))
        here = {entry.place.n for entry in youngest if entry and entry.place.epoch == ring.epoch}
        found = ring.trail()
        missing = [
            (entry, told)
            for _, entry, told in found
            if (read := read_entry(entry)) is not None and read.place.n not in here
        ]
        past = ring.past()
        if missing:
            self.adopt(missing, past)
        elif not here:
            # It has none: all that it knows of an end is of the store before it, and this may be the one that took its place.
            self.adopt((), replace(past, end=self.past().end or past.end))

    def trail(self) -> list[tuple[int, bytes, str]]:
        """(place, text, hash) of every entry, oldest first: for a store of bounded size."""
        return self._c.execute("SELECT place, entry, hash FROM audit ORDER BY place").fetchall()

    def _camera_id(self, name: str | None) -> int | None:
        if name is None:
            return None
        if name not in self._camera_ids:
            self._camera_ids[name] = self._name("camera", self._cameras, name)
        return self._camera_ids[name]

    def _boot_id(self, name: str) -> int:
        if name not in self._boot_ids:
            self._boot_ids[name] = self._name("boot", self._boots, name)
        return self._boot_ids[name]

    # -- room --

    def _short(self, need: Need) -> int:
        """How many bytes are missing."""
        self._room.spare = self._pictures.spare_bytes
        return self._room.short(need, log=self._log_bytes())

    def _log_bytes(self) -> int:
        folder = self._limits.folder
        return 0 if folder is None else size_of(folder / f"{FILE}-wal")

    def _make_room(
        self, rows: Sequence[Row], refused: list[Row] | None, *, salvaged: bool
    ) -> list[Row]:
        """What to write: tombstones for what had to go, then as many of *rows* as fit; AUDIT always does, unless it is *refused*."""
        need = Need.of(rows, moved=salvaged)
        if not rows:
            return []  # whether there is room, only a record shows
        if self._short(need) <= 0:
            self.brimful = False
            return list(rows)
        self._forget_aside()
        self._thin(need)
        kept = list(rows)
        if self._short(need) > 0:
            kept = [row for row in rows if row.rank <= Rank.STATE]
            self._refuse(row for row in rows if row.rank > Rank.STATE)
            need = Need.of(kept, moved=salvaged)
        self.full = len(kept) < len(rows)
        if kept and self._short(need) > 0:
            self.full = True
            self._drop((Rank.STATE,) if self.durable else (Rank.STATE, Rank.AUDIT), need)
        if refused is not None:
            fits = len(kept)
            while fits and self._room.beyond(Need.of(kept[:fits])) > 0:
                fits //= 2
            refused += kept[fits:]
            kept = kept[:fits]
            self.brimful = bool(refused)
        return [*self._tombstones(), *kept]

    def fit(self) -> bool:
        """Thin a little of what may be thinned, with nothing more to come, and declare it; False: within the limits, or nothing is left."""
        need = Need.of(())

        def body() -> bool:
            left = THIN_RECORDS
            while left > 0 and (short := self._short(need)) > 0:
                found = self._thinning.next(list(self._held), short)
                if found is None:
                    break
                shelf, seqs = found
                left -= len(seqs) * (1 if shelf < PICTURES else THIN_RECORDS // SETTLE_PICTURES)
                for seq in seqs:
                    self._delete_upto(shelf, seq, seq)
            self._insert(self._tombstones())
            return left < THIN_RECORDS

        if self._short(need) > 0:
            self._forget_aside()
        return self._transact(body) or self.tidy()

    def _tombstones(self) -> list[Row]:
        """Of all that went; they have to be the next records written."""
        return self._thinning.declare(
            last_seq=self.last_seq,
            stamp=self._now(),
            delete=self._delete_stone,
        )

    def _delete_stone(self, seq: int) -> None:
        self._delete_upto(int(Rank.AUDIT), seq, seq)

    def _refuse(self, rows: Iterable[Row]) -> None:
        """These came and found no room."""
        for row in rows:
            camera = row.camera if row.rank is Rank.PICTURE else None
            self._thinning.went(row.rank, camera, [mark_of(row)])

    def _thin(self, need: Need) -> None:
        """Delete what may be thinned until there is room and some more, or none of it is left."""
        while (short := self._short(need) + self._room.slack) > 0:
            found = self._thinning.next(list(self._held), short)
            if found is None:
                return
            shelf, seqs = found
            for seq in seqs:
                self._delete_upto(shelf, seq, seq)

    def _drop(self, ranks: Sequence[Rank], need: Need) -> None:
        """Delete records of *ranks*, the first of these first, oldest first, until there is room or none is left."""
        for rank in ranks:
            while self._short(need) > 0:
                marks = [mark for mark, _ in self._shelves.span(int(rank), 0, THIN_RECORDS)]
                if not marks:
                    break
                self._delete(int(rank), marks)
                self._thinning.went(rank, None, marks)

    # -- deleting --

    def _delete(self, shelf: int, marks: Iterable[Mark]) -> None:
        for mark in marks:
            if mark.seq is not None:
                self._delete_upto(shelf, mark.seq, mark.seq)

    def _delete_upto(self, shelf: int, low: int, high: int) -> int:
        """Delete *low* to *high* of a shelf, and say how many; their files are given up with this commit."""
        bounds = (key_of(shelf, low), key_of(shelf, high))
        places: list[FilePlace] = []
        if shelf >= PICTURES:
            for _, file, room in self._c.execute(TO_DELETE, (*bounds, -1)):
                if isinstance(file, int) and isinstance(room, int):
                    places.append(FilePlace(file, room))
        gone = self._c.execute(DELETE, bounds).rowcount
        if not gone:
            return 0
        self._count(shelf, -gone, -sum(place.room for place in places))
        self._thinning.deleted(shelf, low, high)
        if places:
            self._pictures.retire(places)
            self._c.executemany(SPARE, [spare_row(place.file, place.room) for place in places])
        return gone

    # -- settling and purging --

    def _settle(self, ranges: Sequence[Range]) -> list[Range]:
        """Delete the beginning of *ranges*, a bounded amount; what is left."""
        records = SETTLE_RECORDS
        left = deque(ranges)
        for _ in range(SETTLE_RECORDS):
            if not left or records <= 0:
                break
            low, high = left.popleft()
            upto = self._step(low, high, records)
            for shelf in list(self._held):
                gone = self._delete_upto(shelf, low, upto)
                records -= gone * (1 if shelf < PICTURES else SETTLE_RECORDS // SETTLE_PICTURES)
            if upto < high:
                left.appendleft((upto + 1, high))
        return list(left)

    def _step(self, low: int, high: int, records: int) -> int:
        """How far from *low* up to *high* one step goes that deletes at most *records*, or a few pictures, of a shelf."""
        upto = high
        for shelf in self._held:
            most = records if shelf < PICTURES else SETTLE_PICTURES
            if upto - low >= most:
                bounds = (key_of(shelf, low), key_of(shelf, upto), most - 1)
                last = self._c.execute(NTH, bounds).fetchone()
                upto = upto if last is None else last[0] & SEQ_MASK
        return upto

    def purge(
        self, command: Purge, boot: str, dropped: Sequence[Row], *, until_at: float
    ) -> Purged:
        """Destroy the pictures of *boot* from `since_at` to *until_at*; with `earlier_s` the ends of the boots before it too.

        *dropped* went before they were written.
        """

        def body() -> Purged:
            mine = self._boot_ids.get(boot, math.inf)
            earlier = sorted(number for number in self._boots if number < mine)
            spans = self._reach(command, boot, until_at, earlier)
            found = self._meant(spans, newest=mine)
            gap = Gap.of(Mark(seq, self._boots[of], at, wall_s) for seq, of, at, wall_s, _ in found)
            for row in dropped:
                gap.add(mark_of(row))
            for seq, *_, shelf in found:  # where it lies, whatever its column `camera` says
                self._delete_upto(shelf, seq, seq)
            cameras = {self._cameras.get(row[4] - PICTURES) for row in found}
            cameras |= {row.camera for row in dropped}
            names = tuple(sorted(name for name in cameras if name is not None))
            facts: dict[str, Json] = {
                "reason": command.reason,
                "since_at": command.since_at,
                "cameras": names,
                "unwritten": len(dropped),
            }
            before: str | None = None
            if command.earlier_s is not None:
                facts["earlier_s"] = command.earlier_s
                before = self._boots[earlier[-1]] if earlier else None
            stone = gap.tombstone("privacy.purged", self._now(), facts, epoch=self.epoch)
            self._insert([stone])
            if self.jobs:  # what lies aside goes next; should the power go before, none of it comes
                self._keep_facts({SALVAGE: dump_jobs(self._lying.without_pictures())})
            return Purged(seqs=tuple(sorted(gap.seqs)), cameras=names, earlier_boot=before)

        purged = self._transact(body, purging=True)
        self.aimed, self.outcome = self.last_seq, purged  # should the wiping fail: the deed is done
        self.wipe()
        self.aimed = self.outcome = None
        return purged

    def _reach(
        self, command: Purge, boot: str, until_at: float, earlier: Sequence[int]
    ) -> list[_Span]:
        """Which pictures *command* means, given *boot*'s number and those of the boots before it; noted as destroyed.

        Of a boot before, the last `earlier_s` up to its newest picture, unless a purge in it or since had its end
        already: else each start with the switch pressed would eat that much more of what waits from an outage.
        """
        told = self._c.execute("SELECT value FROM fact WHERE key = ?", (_REACHED,)).fetchone()
        before = {} if told is None else _read_reached(told[0])
        reached = {boot: command.since_at}
        mine = self._boot_ids.get(boot)
        spans = [] if mine is None else [(mine, command.since_at, until_at)]
        for number in earlier:
            name = self._boots[number]
            (newest,) = self._c.execute(NEWEST_PICTURE, (number,)).fetchone()
            if newest is None:
                continue
            if name in before:
                reached[name] = before[name]
            if command.earlier_s is not None and newest >= before.get(name, -math.inf):
                reached[name] = newest - command.earlier_s
                spans.append((number, reached[name], math.inf))
        self._keep_facts({_REACHED: json.dumps(reached).encode()})
        return sorted(spans)

    def _meant(self, spans: Sequence[_Span], *, newest: float) -> list[_Meant]:
        """The pictures of *spans*, oldest first. Those of boot *newest* are looked for on their shelves too: an index in which a bit
        is flipped does not find them all, and a picture that a purge misses is shown when the switch is released."""
        found: dict[tuple[int, int], _Meant] = {
            (row[4], row[0]): row for span in spans for row in self._c.execute(TO_PURGE, span)
        }
        shelves = [shelf for shelf in self._held if shelf >= PICTURES]
        for boot, since, until in [span for span in spans if span[0] == newest]:
            for shelf in shelves:
                bounds = key_of(shelf, 0), key_of(shelf, SEQ_MASK)
                missed = 0
                for row in self._c.execute(NEWEST_FIRST, bounds):
                    if row[1] == boot and since <= row[2] <= until:
                        found[shelf, row[0]] = row
                        missed = 0
                    elif row[1] != boot or row[2] < since:
                        missed += 1  # they lie in order of time, but for what damage made of a row
                    if missed > PURGE_MISSES:
                        break
        return sorted(found.values(), key=_when)

    def wipe(self) -> None:
        """Leave no bytes of deleted pictures where they are easily found: files that hold none any more, what lies aside."""
        self._pictures.destroy(self.pulse)
        self._room.spare = self._pictures.spare_bytes
        if self._sweep is not None:
            while self._sweep.step():
                self.pulse()
            self._sweep = None
        if self.durable:
            self.harden()
        self._lying.destroy(self.pulse)
        self._note_aside()

    # -- reading --

    def fetch(self, fetch: Fetch, hidden: Sequence[Range], spent: Callable[[], bool]) -> Fetched:
        """Answer *fetch* without what lies in *hidden*; cut short (`end` false) once *spent* says so.

        A record that fails its checksum, or whose picture does, is left out, deleted and declared.
        """
        answer = Answer(
            fetch,
            self._shelves,
            held=self._held,
            camera=self._camera_ids.get(fetch.camera or ""),
            last_seq=self.last_seq,
            hidden=hidden,
        )
        end = answer.run(spent)
        if answer.damaged:
            self.declare_damaged(answer.damaged)
            end = False  # they took places of the walk, so it may have ended before the records did
        return Fetched(fetch=fetch, records=tuple(answer.records), end=end)

    def declare_damaged(self, damaged: Sequence[tuple[int, Mark]]) -> None:
        """Delete these (shelf, record), which are not as they were put in, and say so."""

        def body() -> None:
            for shelf, mark in damaged:
                seq = mark.seq or 0
                if not self._delete_upto(shelf, seq, seq):
                    # It is not where its key says: found by a walk, and never by a search. It would be declared for ever.
                    raise DamagedError("a record lies in the wrong place")
            gap = Gap.of(mark for _, mark in damaged)
            now, epoch = self._now(), self.epoch
            stone = thinned(gap, now, epoch=epoch, rank=None, camera=None, reason="damaged")
            self._insert([stone])

        self._transact(body)

    def pour_into(
        self,
        other: Store,
        *,
        records: int,
        size: int,
        look: Callable[[], None] | None = None,
    ) -> None:
        """Move everything into *other*, where it gets a new seq, in batches of *records* or about *size* bytes.

        *look* is called before each batch is read, and may write to both; what it raises ends this there.
        An error leaves each record in at least one of the two; `BrimfulError` if the disk under *other* has no room for all.
        """
        while self._held:
            if look is not None:
                look()
            upto, taken = 0, 0
            rows: list[Row] = []
            seqs: list[int] = []
            lots = self._shelves.lots(
                list(self._held), after=0, upto=MAX_SEQ, limit=records, each=LOOK_EACH
            )
            for raw in self._shelves.whole(lots):
                if len(rows) >= records or (rows and taken + raw[9] > size):
                    break
                upto, taken = raw[0], taken + raw[9]
                stored = self._shelves.stored(raw)
                if stored is not None:
                    rows.append(row_of(stored))
                    seqs.append(raw[0])
            if not upto:
                return
            refused: list[Row] = []
            other.write(rows, moved=True, refused=refused)
            if refused:
                first = next(seq for seq, row in zip(seqs, rows, strict=True) if row is refused[0])
                self.write((), settled=((0, first - 1),))
                raise BrimfulError(ENOSPC, os.strerror(ENOSPC))
            self.write((), settled=((0, upto),))

    # -- the rest --

    def first_seq(self) -> int:
        """The lowest seq that is here; the next to be given if there is none."""
        oldest = self._shelves.oldest(self._held)
        return self.last_seq + 1 if oldest is None else oldest[0]

    def committed(self) -> Committed:
        """What there is now."""
        oldest = self._shelves.oldest(self._held)
        this_boot = self._boot_ids.get(self._now().boot)
        return Committed(
            epoch=self.epoch,
            last_seq=self.last_seq,
            depth=sum(count for count, _ in self._held.values()),
            oldest_seq=None if oldest is None else oldest[0],
            oldest_at=None if oldest is None or oldest[1] != this_boot else oldest[2],
            oldest_wall_s=None if oldest is None else oldest[3],
            used_bytes=self._room.used(log=self._log_bytes()),
            durable=self.durable,
        )

    def tidy(self) -> bool:
        """Give a bounded number of free pages back to the file system; whether there are more to give."""
        if self.full and self._short(Need.of(())) < -self._room.slack:
            self.full = False
        if self._room.pages()[1] <= VACUUM_ABOVE_PAGES:
            return False
        # As a script: SQLite frees one page a step, and `execute` takes one step of a statement without columns.
        self._c.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        if self._room.pages()[1] <= VACUUM_ABOVE_PAGES and self.durable:
            self.harden()  # only now does the file get shorter
        return True

    def look_around(self) -> bool:
        """A small step of the check of all that lies here, a few milliseconds; whether there is more to look at.

        Files that nobody knows of are deleted, records that are not whole declared; `TROUBLE` if the database is damaged.
        """
        if self._sweep is not None:
            with sense():
                more = self._sweep.step()
            if more:
                return True
            self._room.aside += self._sweep.aside_bytes
            self._sweep = None
        if self._patrol is None:
            return False
        pictures = [count for shelf, (count, _) in self._held.items() if shelf >= PICTURES]
        with sense():
            damaged = self._patrol.step(sum(pictures))
        if damaged:
            self.declare_damaged(damaged)
        if self._patrol.done:
            self._patrol = None
        return self._patrol is not None


def _when(row: _Meant) -> tuple[int, float, int]:
    return row[1], row[2], row[0]


def _others_facts(facts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Without the store's own."""
    return {key: value for key, value in facts.items() if key not in _OWN}


def _read_reached(told: bytes) -> dict[str, float]:
    """By boot; what damage made of it is left out, and costs some pictures more at the most."""
    with suppress(ValueError):
        found: object = json.loads(told)
        if isinstance(found, dict):
            return {boot: since for boot, since in found.items() if isinstance(since, float)}
    return {}


def _nothing() -> None:
    """Nobody listens."""
