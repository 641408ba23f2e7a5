"""One SQLite database of records, on disk or in memory: writing, room, settling, purging, reading, checking.

Promises: each write is one transaction, synced before it returns; room is made before it is taken, and what went for it is
declared in the same transaction; a record that belongs into the audit chain and its entry there are one write; no statement on
the way of a record walks over all of them (`QUERIES`, tested).
Not its job: threads, and what to do when the disk fails: `TROUBLE` is raised, and the store is then of no further use.
"""

from __future__ import annotations

import json
import math
import secrets
import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
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
    Stored,
)
from edge_agent.spool.chain import (
    PRUNED_AT_ONCE,
    ROW_BYTES,
    SHARE,
    Break,
    Chain,
    Check,
    Past,
    Place,
    chained,
    read_entry,
    read_state,
)
from edge_agent.spool.values import (
    MAX_SEQ,
    Gap,
    Mark,
    Range,
    Row,
    Stamp,
    checksum,
    end_of_cover,
    mark_of,
    row_of,
    thinned,
)

FILE: Final = "journal.db"
ASIDE: Final = f"{FILE}.damaged-"

# ---- one step of work: what an AUDIT record may have to wait for ----
SETTLE_RECORDS: Final = 500
SETTLE_BYTES: Final = 4_000_000
THIN_PICTURES: Final = 129  # odd: every second goes, the first and the last stay
THIN_RECORDS: Final = 256
VACUUM_PAGES: Final = 256
VACUUM_ABOVE_PAGES: Final = 4_096  # 16 MB of free pages are kept for what comes next
WIPE_PAGES: Final = (
    4_096  # free pages that a purge cuts off: pictures settled lately left their bytes there
)
YOUNG_S: Final = 600.0  # the longest time that a press reaches back (settings.Privacy.purge_s)
# A fact: from when on the pictures of each boot were destroyed last.
_REACHED: Final = "purge.reached"

APPLICATION: Final = 0x4A524E4C  # "JRNL" in the file's header: whose file this is
_VERSION: Final = 1
_PAGE: Final = 4_096
_CHAIN_BYTES: Final = 1_400  # what the chain adds to a record and, with its entry, to the trail
_LARGEST_WRITE: Final = 2_250_000  # twice a batch of 1 MB, and the pages of the trees
PICTURES: Final = (
    16  # shelves from here on hold one camera's pictures; below, the shelf is the rank
)

_SCHEMA: Final = """
-- One row: the name of this store, the highest seq ever given, how many records there are, how often it was opened,
-- and the end of its audit chain (chain.Chain.state).
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    trail TEXT NOT NULL
) STRICT;
-- The audit trail: what is deleted here only from its oldest end, and outlives the records that it is about.
CREATE TABLE audit (
    place INTEGER PRIMARY KEY, -- in the order in which they came, whichever chain each is of
    entry BLOB NOT NULL,       -- chain.canonical
    hash TEXT NOT NULL         -- its SHA-256
) STRICT;
-- Small things that others ask to be kept over restarts.
CREATE TABLE fact (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
-- Names that repeat in every record.
CREATE TABLE boot (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE camera (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE record (
    seq INTEGER PRIMARY KEY,
    shelf INTEGER NOT NULL,   -- the rank, or 16 + camera for a picture
    kind TEXT NOT NULL,
    camera INTEGER,
    boot INTEGER NOT NULL,
    at REAL NOT NULL,         -- seconds since that boot
    wall_s REAL NOT NULL,     -- Unix time, a label
    trusted INTEGER NOT NULL, -- 1 = the clock was vouched for
    bytes INTEGER NOT NULL,   -- of the picture, 0 without one
    crc INTEGER NOT NULL,     -- values.checksum
    data BLOB NOT NULL        -- JSON
) STRICT;
CREATE INDEX record_by_shelf ON record (shelf);
CREATE INDEX picture_by_time ON record (boot, at) WHERE shelf >= 16;
-- Apart from `record`, so that walking records touches no picture, and pictures may one day live elsewhere.
CREATE TABLE jpeg (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
"""
_TABLES: Final = frozenset({"store", "fact", "boot", "camera", "record", "jpeg", "audit"})

COLUMNS: Final = "seq, shelf, kind, camera, boot, at, wall_s, trusted, bytes, crc, data"
# The statements below are put together from constants alone.
_SELECT: Final = f"SELECT {COLUMNS} FROM record"  # noqa: S608
_BOUNDS: Final = "seq > :after AND seq <= :upto"
_ON_SHELF: Final = f"{_SELECT} WHERE shelf = :shelf AND {_BOUNDS} ORDER BY seq LIMIT :limit"
# Two walks along the index, merged as they go: no sorting, however many records wait.
_OTHERS: Final = (
    f"{_SELECT} WHERE shelf = 1 AND {_BOUNDS} UNION ALL {_SELECT} WHERE shelf = 3 AND {_BOUNDS}"
    " ORDER BY seq LIMIT :limit"
)
_BY_SEQ: Final = f"{_SELECT} WHERE seq = ?"
_OLDEST: Final = f"{_SELECT} WHERE seq > 0 ORDER BY seq LIMIT ?"
_TO_SETTLE: Final = "SELECT seq, bytes FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
_TO_PURGE: Final = (
    "SELECT seq, boot, at, wall_s, camera FROM record"
    " WHERE shelf >= 16 AND boot = ? AND at BETWEEN ? AND ? ORDER BY at, seq"
)
_NEWEST: Final = "SELECT max(at) FROM record WHERE shelf >= 16 AND boot = ?"
_TO_THIN: Final = "SELECT seq, boot, at, wall_s, bytes FROM record WHERE shelf = ? AND seq > ? ORDER BY seq LIMIT ?"
_TO_PRUNE: Final = "SELECT place, entry, hash FROM audit WHERE place > 0 ORDER BY place LIMIT ?"
_YOUNGEST: Final = "SELECT entry FROM audit WHERE place > 0 ORDER BY place DESC LIMIT ?"
QUERIES: Final[Mapping[str, tuple[str, Mapping[str, int] | Sequence[int]]]] = {
    "audit or one camera": (_ON_SHELF, {"shelf": 0, "after": 0, "upto": 1, "limit": 1}),
    "others": (_OTHERS, {"after": 0, "upto": 1, "limit": 1}),
    "by seq": (_BY_SEQ, (1,)),
    "oldest": (_OLDEST, (1,)),
    "settle": (_TO_SETTLE, (1, 2, 1)),
    "purge": (_TO_PURGE, (1, 1, 2)),
    "newest picture of a boot": (_NEWEST, (1,)),
    "thin": (_TO_THIN, (0, 0, 1)),
    "prune": (_TO_PRUNE, (1,)),
    "youngest entries": (_YOUNGEST, (1,)),
}

TROUBLE: Final = (sqlite3.Error, OSError)

_T = TypeVar("_T")
_Span: TypeAlias = tuple[int, float, float]  # of one boot's pictures: its number, from, to
Raw: TypeAlias = tuple[int, int, str, int | None, int, float, float, int, int, int, bytes]
Connector: TypeAlias = Callable[[str], sqlite3.Connection]


class DamagedError(Exception):
    """The file is no journal of ours, or not a whole one."""


def connect(path: str) -> sqlite3.Connection:
    """Open *path* for a thread that says itself where a transaction begins and ends."""
    return sqlite3.connect(path, timeout=1.0, isolation_level=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much room a store has. `folder` None: it lives in memory, where even AUDIT goes before memory does."""

    folder: Path | None
    quota_bytes: int
    floor_bytes: int = 0


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
        self.full = False  # STATE was thinned, or there was no room for what came
        self._pictures: dict[int, int] | None = None  # how many on each shelf; None = to be counted
        self._thinned_upto: dict[int, int] = {}  # per shelf: how far this pass of thinning came
        log_pages = max(16, min(1_000, limits.quota_bytes // 32 // _PAGE))
        self._slack_pages = limits.quota_bytes // 512 // _PAGE
        # The log outgrows its checkpoint by what one transaction writes: a batch, and zeros over what went for it.
        self._log_room = (log_pages + self._slack_pages) * _PAGE + _LARGEST_WRITE
        self._limit_pages = max(0, limits.quota_bytes - self._log_room) // _PAGE
        self._trail_bytes = limits.quota_bytes // SHARE
        self._open(log_pages)
        self._load()
        self._inode = self._inode_now()

    # -- opening --

    def _open(self, log_pages: int) -> None:
        c = self._c
        # No second process, and no shared-memory file, which a failing card turns into a deadly SIGBUS.
        c.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        c.execute("PRAGMA temp_store = MEMORY")
        c.execute("PRAGMA trusted_schema = OFF")
        c.execute("PRAGMA cell_size_check = ON")
        c.text_factory = _text
        fresh = self._is_fresh()
        if fresh:
            c.execute("PRAGMA auto_vacuum = INCREMENTAL")
        (mode,) = c.execute("PRAGMA journal_mode = WAL").fetchone()
        if self.durable and mode != "wal":
            msg = f"the file system allows no write-ahead log, only {mode}"
            raise OSError(msg)
        c.execute("PRAGMA synchronous = FULL")
        c.execute("PRAGMA secure_delete = FAST").fetchall()
        c.execute(f"PRAGMA wal_autocheckpoint = {log_pages}").fetchall()
        c.execute(f"PRAGMA journal_size_limit = {self._log_room}").fetchall()
        c.execute("BEGIN IMMEDIATE")
        if fresh:
            self._create()
        # A write, synced: a disk that only reads shows itself here and not with the first alarm.
        c.execute("UPDATE store SET opened = opened + 1")
        c.execute("COMMIT")

    def _is_fresh(self) -> bool:
        """Whether the file is empty; raises `DamagedError` if it is not ours. Changes nothing."""
        tables = {name for (name,) in self._c.execute("SELECT name FROM sqlite_master")}
        (application,) = self._c.execute("PRAGMA application_id").fetchone()
        if not tables and application == 0:
            return True
        (version,) = self._c.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise DamagedError("another program's database")
        if version != _VERSION:
            msg = f"a journal of version {version}; this agent knows {_VERSION}"
            raise DamagedError(msg)
        if not tables >= _TABLES:
            raise DamagedError("tables are missing")
        return False

    def _create(self) -> None:
        for statement in _SCHEMA.split(";"):
            self._c.execute(statement)
        self._c.execute(f"PRAGMA application_id = {APPLICATION}")
        self._c.execute(f"PRAGMA user_version = {_VERSION}")
        self._c.execute("INSERT INTO store VALUES (1, ?, 0, 0, 0, '')", (secrets.token_hex(16),))

    def _load(self) -> None:
        row = self._c.execute("SELECT epoch, last_seq, depth, trail FROM store").fetchone()
        if row is None:
            raise DamagedError("it has lost its name")
        self.epoch, self.last_seq, self._depth = str(row[0]), int(row[1]), int(row[2])
        self._chain = Chain(self.epoch, str(row[3]))
        self._past = self._chain.past()  # as committed
        (highest,) = self._c.execute("SELECT max(seq) FROM record").fetchone()
        if highest is not None and highest > self.last_seq:
            raise DamagedError("records beyond the last seq")
        self._cameras: dict[int, str] = dict(self._c.execute("SELECT id, name FROM camera"))
        self._boots: dict[int, str] = dict(self._c.execute("SELECT id, name FROM boot"))
        self._names = Names(epoch=self.epoch, cameras=self._cameras, boots=self._boots)
        self._camera_ids = {name: number for number, name in self._cameras.items()}
        self._boot_ids = {name: number for number, name in self._boots.items()}
        kept: dict[str, bytes] = dict(self._c.execute("SELECT key, value FROM fact"))
        self.facts = {key: value for key, value in kept.items() if key != _REACHED}
        self._aside_bytes = sum(_size(path) for path in self._aside())

    def _inode_now(self) -> int:
        folder = self._limits.folder
        return 0 if folder is None else (folder / FILE).stat().st_ino

    def _aside(self) -> list[Path]:
        folder = self._limits.folder
        return [] if folder is None else sorted(folder.glob(f"{ASIDE}*"))

    def _forget_aside(self) -> None:
        for path in self._aside():
            remove(path)
        self._aside_bytes = 0

    # -- one transaction --

    def _transact(self, body: Callable[[], _T]) -> _T:
        if self._inode_now() != self._inode:
            msg = f"{FILE} was taken away while in use"
            raise OSError(msg)
        before = (self.last_seq, self._depth)
        self._c.execute("BEGIN IMMEDIATE")
        outcome = body()
        if (self.last_seq, self._depth) != before:
            self._chain.live(self._now())
            told = (self.last_seq, self._depth, self._chain.state())
            self._c.execute("UPDATE store SET last_seq = ?, depth = ?, trail = ?", told)
        if self.last_seq > before[0]:
            self.aimed, self.outcome = self.last_seq, outcome
        self._c.execute("COMMIT")
        self.aimed = self.outcome = None
        self._past = self._chain.past()
        return outcome

    def write(
        self,
        rows: Sequence[Row],
        *,
        facts: Mapping[str, bytes] | None = None,
        settled: Sequence[Range] = (),
        moved: bool = False,
    ) -> list[Range]:
        """Keep *rows* in this order, and *facts*. What is left of *settled*.

        Of those a bounded part is deleted, but while there is room and something to write, that waits.
        *moved*: they come from another store, whose audit trail has them already.
        """

        def body() -> list[Range]:
            left = list(settled)
            if settled and (not rows or _pages_for(rows) > self._room_pages()):
                left = self._settle(settled)
            self._insert(self._make_room(rows), moved=moved)
            if facts:
                self._c.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())
            return left

        return self._transact(body)

    def harden(self) -> None:
        """Bring everything in the write-ahead log into the file, synced, and empty the log."""
        busy, _, _ = self._c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise OSError("the write-ahead log could not be emptied: the store is in use")

    def close(self) -> None:
        """Let go of the file. What was not committed is not kept, and nobody was told that it was."""
        with suppress(*TROUBLE):
            self._c.rollback()
        with suppress(*TROUBLE):
            self._c.close()

    # -- inserting --

    def _insert(self, rows: Sequence[Row], *, moved: bool = False) -> None:
        records: list[tuple[object, ...]] = []
        pictures: list[tuple[int, bytes]] = []
        for given in rows:
            self.last_seq += 1
            row = given if moved else self._audited(given)
            seq, stamp, shelf = self.last_seq, row.stamp, int(row.rank)
            camera = self._camera_id(row.camera)
            if row.jpeg is not None:
                shelf = PICTURES + (camera or 0)
                pictures.append((seq, row.jpeg))
                if self._pictures is not None:
                    self._pictures[shelf] = self._pictures.get(shelf, 0) + 1
            when = (self._boot_id(stamp.boot), stamp.at, stamp.wall_s, int(stamp.trusted))
            size = len(row.jpeg or b"")
            records.append((seq, shelf, row.kind, camera, *when, size, row.crc(seq), row.data))
        self._c.executemany("INSERT INTO record VALUES (?,?,?,?,?,?,?,?,?,?,?)", records)
        self._c.executemany("INSERT INTO jpeg VALUES (?,?)", pictures)
        self._depth += len(records)

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
        for place, entry, told in self._c.execute(_TO_PRUNE, (PRUNED_AT_ONCE,)).fetchall():
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

    def adopt(self, entries: Iterable[tuple[bytes, str]], past: Past) -> None:
        """Take over another store's trail, as it is, behind what there is; the next entry comes after *past*."""

        def body() -> None:
            self._chain.follow(past)
            for entry, told in entries:
                self._c.execute("INSERT INTO audit (entry, hash) VALUES (?, ?)", (entry, told))
                self._chain.bytes += len(entry) + ROW_BYTES
            self._c.execute("UPDATE store SET trail = ?", (self._chain.state(),))

        self._transact(body)

    def adopt_from(self, ring: Store) -> None:
        """Take over the trail of the store in memory, but for what an earlier attempt has brought already."""
        youngest = (read_entry(entry) for (entry,) in self._c.execute(_YOUNGEST, (1_000,)))
        here = {entry.place.n for entry in youngest if entry and entry.place.epoch == ring.epoch}
        found = ring.trail()
        missing = [
            (entry, told)
            for _, entry, told in found
            if (read := read_entry(entry)) is not None and read.place.n not in here
        ]
        if missing or not here:
            self.adopt(missing, ring.past())

    def trail(self) -> list[tuple[int, bytes, str]]:
        """(place, text, hash) of every entry, oldest first: for a store of bounded size."""
        return self._c.execute("SELECT place, entry, hash FROM audit ORDER BY place").fetchall()

    def _camera_id(self, name: str | None) -> int | None:
        if name is None:
            return None
        if name not in self._camera_ids:
            added = self._c.execute("INSERT INTO camera (name) VALUES (?)", (name,)).lastrowid or 0
            self._camera_ids[name], self._cameras[added] = added, name
        return self._camera_ids[name]

    def _boot_id(self, name: str) -> int:
        if name not in self._boot_ids:
            added = self._c.execute("INSERT INTO boot (name) VALUES (?)", (name,)).lastrowid or 0
            self._boot_ids[name], self._boots[added] = added, name
        return self._boot_ids[name]

    # -- room --

    def _pages(self) -> tuple[int, int]:
        """(pages in use, pages free within the file)."""
        (count,) = self._c.execute("PRAGMA page_count").fetchone()
        (free,) = self._c.execute("PRAGMA freelist_count").fetchone()
        return count - free, free

    def _room_pages(self) -> int:
        """How many pages may still be taken, by quota and by the floor of free disk.

        Below the floor the file does not grow; it lives on with what it has.
        """
        used, free = self._pages()
        by_quota = self._limit_pages - used - self._aside_bytes // _PAGE
        folder = self._limits.folder
        if folder is None:
            return by_quota
        log_growth = max(0, self._log_room - _size(folder / f"{FILE}-wal"))
        growth = shutil.disk_usage(folder).free - self._limits.floor_bytes - log_growth
        return min(by_quota, free + max(0, growth) // _PAGE)

    def _make_room(self, rows: Sequence[Row]) -> list[Row]:
        """What to write: tombstones for what had to go, then as many of *rows* as fit; AUDIT always does."""
        need = _pages_for(rows)
        if not rows or need <= self._room_pages():
            return list(rows)
        self._forget_aside()
        tombstones = self._thin((Rank.METRIC, Rank.PICTURE), need + self._slack_pages)
        kept = list(rows)
        if need > self._room_pages():
            kept = [row for row in rows if row.rank <= Rank.STATE]
            dropped = [row for row in rows if row.rank > Rank.STATE]
            tombstones += self._refused(dropped)
            need = _pages_for(kept)
        self.full = len(kept) < len(rows)
        if kept and need > self._room_pages():
            self.full = True
            ranks = (Rank.STATE,) if self.durable else (Rank.STATE, Rank.AUDIT)
            tombstones += self._thin(ranks, need)
        return tombstones + kept

    def _refused(self, rows: Sequence[Row]) -> list[Row]:
        """Tombstones for what came and found no room."""
        gaps: dict[tuple[Rank, str | None], Gap] = {}
        for row in rows:
            camera = row.camera if row.rank is Rank.PICTURE else None
            gaps.setdefault((row.rank, camera), Gap()).add(mark_of(row))
        return [self._thinned(gap, rank, camera) for (rank, camera), gap in gaps.items()]

    def _thinned(self, gap: Gap, rank: Rank | None, camera: str | None) -> Row:
        reason = "no_room" if self.durable else "no_disk"
        return thinned(gap, self._now(), rank=rank, camera=camera, reason=reason)

    def _thin(self, ranks: Sequence[Rank], pages: int) -> list[Row]:
        """Delete records of *ranks*, the first of these first, until *pages* are free or none is left."""
        tombstones: list[Row] = []
        for rank in ranks:
            while (short := pages - self._room_pages()) > 0:
                camera, marks = self._victims(rank, short)
                if not marks:
                    break
                self._delete(marks)
                tombstones.append(self._thinned(Gap.of(marks), rank, camera))
        return tombstones

    def _victims(self, rank: Rank, pages: int) -> tuple[str | None, list[Mark]]:
        """The next few records of *rank* to go; pictures: every second of a span, from the camera that has most.

        A pass goes from a camera's oldest to its newest and then starts over, so that all of it is thinned evenly.
        """
        if rank is not Rank.PICTURE:
            return None, [mark for mark, _ in self._span(int(rank), 0, THIN_RECORDS)]
        counts = self._picture_counts()
        shelf = max(counts, key=lambda key: counts[key], default=None)
        if shelf is None:
            return None, []
        camera = self._cameras.get(shelf - PICTURES)
        if counts[shelf] < 3:  # nothing is left to halve anywhere
            return camera, [mark for mark, _ in self._span(shelf, 0, 1)]
        span = self._span(shelf, self._thinned_upto.get(shelf, 0), THIN_PICTURES)
        if len(span) < 3:
            span = self._span(shelf, 0, THIN_PICTURES)
        victims: list[Mark] = []
        for mark, size in span[1:-1:2]:
            if pages <= 0:
                break
            victims.append(mark)
            pages -= size // _PAGE
        self._thinned_upto[shelf] = victims[-1].seq or 0
        return camera, victims

    def _picture_counts(self) -> dict[int, int]:
        """Walks over all pictures, but once only and not before the store is full."""
        if self._pictures is None:
            sql = "SELECT shelf, count(*) FROM record WHERE shelf >= 16 GROUP BY shelf"
            self._pictures = dict(self._c.execute(sql))
        return self._pictures

    def _span(self, shelf: int, after: int, limit: int) -> list[tuple[Mark, int]]:
        """The next *limit* records of a shelf, each with the bytes of its picture."""
        return [
            (Mark(seq, self._boots.get(boot, ""), at, wall_s), size)
            for seq, boot, at, wall_s, size in self._c.execute(_TO_THIN, (shelf, after, limit))
        ]

    def _delete(self, marks: Sequence[Mark]) -> None:
        """Delete these; their bytes too if a press may still reach back to them."""
        now = self._now()
        young = any(mark.boot == now.boot and mark.at > now.at - YOUNG_S for mark in marks)
        counts = self._pictures
        if young:
            self._c.execute("PRAGMA secure_delete = ON").fetchall()
        for mark in marks:
            if mark.seq is not None:
                self._forget_count(mark.seq, counts)
                self._delete_range(mark.seq, mark.seq)
        self._pictures = counts
        if young:
            self._c.execute("PRAGMA secure_delete = FAST").fetchall()

    def _forget_count(self, seq: int, counts: dict[int, int] | None) -> None:
        if counts is not None:
            row = self._c.execute("SELECT shelf FROM record WHERE seq = ?", (seq,)).fetchone()
            if row is not None and row[0] in counts:
                counts[row[0]] -= 1
                if not counts[row[0]]:
                    del counts[row[0]]

    def _delete_range(self, low: int, high: int) -> None:
        bounds = (low, high)
        self._depth -= self._c.execute(
            "DELETE FROM record WHERE seq BETWEEN ? AND ?", bounds
        ).rowcount
        if self._c.execute("DELETE FROM jpeg WHERE seq BETWEEN ? AND ?", bounds).rowcount:
            self._pictures = None

    # -- settling and purging --

    def _settle(self, ranges: Sequence[Range]) -> list[Range]:
        """Delete the beginning of *ranges*, a bounded amount; what is left."""
        records, size = SETTLE_RECORDS, SETTLE_BYTES
        left = deque(ranges)
        for _ in range(SETTLE_RECORDS):
            if not left or records <= 0 or size <= 0:
                break
            low, high = left.popleft()
            upto = high
            found = self._c.execute(_TO_SETTLE, (low, high, records)).fetchall()
            for seq, held in found:
                records, size = records - 1, size - held
                if records <= 0 or size <= 0:
                    upto = seq
                    break
            if found:
                self._delete_range(low, upto)
            if upto < high:
                left.appendleft((upto + 1, high))
        return list(left)

    def purge(
        self, command: Purge, boot: str, dropped: Sequence[Row], *, until_at: float
    ) -> Purged:
        """Destroy the pictures of *boot* from `since_at` to *until_at*; with `earlier_s` the ends of the boots before it too.

        *dropped* went before they were written.
        """

        def body() -> Purged:
            self._c.execute("PRAGMA secure_delete = ON").fetchall()
            mine = self._boot_ids.get(boot, math.inf)
            earlier = sorted(number for number in self._boots if number < mine)
            spans = self._reach(command, boot, until_at, earlier)
            found = [row for span in spans for row in self._c.execute(_TO_PURGE, span).fetchall()]
            gap = Gap.of(Mark(seq, self._boots[of], at, wall_s) for seq, of, at, wall_s, _ in found)
            for row in dropped:
                gap.add(mark_of(row))
            for seq in gap.seqs:
                self._delete_range(seq, seq)
            cameras = {self._cameras.get(row[4]) for row in found} | {row.camera for row in dropped}
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
            self._insert([gap.tombstone("privacy.purged", self._now(), facts)])
            return Purged(seqs=tuple(sorted(gap.seqs)), cameras=names, earlier_boot=before)

        purged = self._transact(body)
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
            (newest,) = self._c.execute(_NEWEST, (number,)).fetchone()
            if newest is None:
                continue
            if name in before:
                reached[name] = before[name]
            if command.earlier_s is not None and newest >= before.get(name, -math.inf):
                reached[name] = newest - command.earlier_s
                spans.append((number, reached[name], math.inf))
        value = json.dumps(reached).encode()
        self._c.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (_REACHED, value))
        return sorted(spans)

    def wipe(self) -> None:
        """Leave no bytes of deleted pictures where they are easily found: free pages, the log, what lies aside."""
        self._give_back(WIPE_PAGES)
        self._c.execute("PRAGMA secure_delete = FAST").fetchall()
        if self.durable:
            self.harden()
        self._forget_aside()

    # -- reading --

    def fetch(self, fetch: Fetch, hidden: Sequence[Range], spent: Callable[[], bool]) -> Fetched:
        """Answer *fetch* without what lies in *hidden*; cut short (`end` false) once *spent* says so.

        A record that fails its checksum is left out, deleted and declared.
        """
        records: list[Stored] = []
        damaged: list[Mark] = []
        taken, end = 0, True
        with closing(self._walk(fetch, hidden)) as walk:
            for raw in walk:
                size = raw[8] + len(raw[10])
                full = len(records) >= fetch.limit or taken + size > fetch.limit_bytes
                if records and (full or spent()):
                    end = False
                    break
                stored = read_stored(self._c, raw, self._names)
                if stored is None:
                    damaged.append(Mark(raw[0], self._boots.get(raw[4], ""), raw[5], raw[6]))
                    continue
                records.append(stored)
                taken += size
        if damaged:
            self._transact(lambda: self._declare_damaged(damaged))
        return Fetched(fetch=fetch, records=tuple(records), end=end)

    def _walk(self, fetch: Fetch, hidden: Sequence[Range]) -> Generator[Raw, None, None]:
        """The rows asked for, in order of seq; at least one more than `limit`, if there is one."""
        upto = self.last_seq if fetch.upto is None else max(0, min(self.last_seq, fetch.upto))
        if fetch.seqs:
            for seq in sorted(set(fetch.seqs)):
                if fetch.after < seq <= upto and end_of_cover(hidden, seq) is None:
                    yield from self._c.execute(_BY_SEQ, (seq,))
            return
        after: int | None = min(max(0, fetch.after), MAX_SEQ)
        limit = min(max(1, fetch.limit), MAX_SEQ - 1) + 1
        while after is not None:
            bounds = {"after": after, "upto": upto, "limit": limit}
            after = None
            for raw in self._c.execute(*self._selection(fetch, bounds)):
                after = end_of_cover(hidden, raw[0])
                if after is not None:
                    break
                yield raw

    def _selection(self, fetch: Fetch, bounds: dict[str, int]) -> tuple[str, dict[str, int]]:
        if fetch.camera is not None:
            camera = self._camera_ids.get(fetch.camera)
            shelf = -1 if camera is None else PICTURES + camera
            return _ON_SHELF, {**bounds, "shelf": shelf}
        if fetch.audit:
            return _ON_SHELF, {**bounds, "shelf": int(Rank.AUDIT)}
        return _OTHERS, bounds

    def _declare_damaged(self, marks: Sequence[Mark]) -> None:
        self._delete(marks)
        row = thinned(Gap.of(marks), self._now(), rank=None, camera=None, reason="damaged")
        self._insert([row])

    def pour_into(self, other: Store, *, records: int, size: int) -> None:
        """Move everything into *other*, where it gets a new seq, in batches of *records* or about *size* bytes.

        An error leaves each record in at least one of the two.
        """
        while True:
            upto, taken = 0, 0
            rows: list[Row] = []
            for raw in self._c.execute(_OLDEST, (records,)).fetchall():
                if rows and taken + raw[8] > size:
                    break
                upto, taken = raw[0], taken + raw[8]
                stored = read_stored(self._c, raw, self._names)
                if stored is not None:
                    rows.append(row_of(stored))
            if not upto:
                return
            other.write(rows, moved=True)
            self.write((), settled=((0, upto),))

    # -- the rest --

    def committed(self) -> Committed:
        """What there is now."""
        oldest = self._c.execute(_OLDEST, (1,)).fetchone()
        this_boot = self._boot_ids.get(self._now().boot)
        folder = self._limits.folder
        log = 0 if folder is None else _size(folder / f"{FILE}-wal")
        return Committed(
            epoch=self.epoch,
            last_seq=self.last_seq,
            depth=self._depth,
            oldest_seq=None if oldest is None else oldest[0],
            oldest_at=None if oldest is None or oldest[4] != this_boot else oldest[5],
            oldest_wall_s=None if oldest is None else oldest[6],
            used_bytes=self._pages()[0] * _PAGE + log + self._aside_bytes,
            durable=self.durable,
        )

    def tidy(self) -> bool:
        """Give a bounded number of free pages back to the file system; whether there are more to give."""
        if self.full and self._room_pages() > _pages_for(()) + self._slack_pages:
            self.full = False
        if self._pages()[1] <= VACUUM_ABOVE_PAGES:
            return False
        self._give_back(VACUUM_PAGES)
        if self._pages()[1] <= VACUUM_ABOVE_PAGES and self.durable:
            self.harden()  # only now does the file get shorter
        return True

    def _give_back(self, pages: int) -> None:
        # As a script: SQLite frees one page a step, and `execute` takes one step of a statement without columns.
        self._c.executescript(f"PRAGMA incremental_vacuum({pages})")


def _text(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _read_reached(told: bytes) -> dict[str, float]:
    """By boot; what damage made of it is left out, and costs some pictures more at the most."""
    with suppress(ValueError):
        found: object = json.loads(told)
        if isinstance(found, dict):
            return {boot: since for boot, since in found.items() if isinstance(since, float)}
    return {}


_RANKS: Final = {int(rank): rank for rank in Rank if rank is not Rank.PICTURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the small numbers in a record stand for, and the store that they belong to."""

    epoch: str
    cameras: Mapping[int, str]
    boots: Mapping[int, str]


def read_stored(c: sqlite3.Connection, raw: Raw, names: Names) -> Stored | None:
    """The record as it was put in; None if it no longer is."""
    seq, shelf, kind, camera_id, boot_id, at, wall_s, trusted, _, crc, data = raw
    try:
        jpeg: bytes | None = None
        if shelf >= PICTURES:
            (jpeg,) = c.execute("SELECT bytes FROM jpeg WHERE seq = ?", (seq,)).fetchone()
        camera = None if camera_id is None else names.cameras[camera_id]
        boot = names.boots[boot_id]
        if checksum((seq, kind, camera, boot, at), data, jpeg) != crc:
            return None
        return Stored(
            epoch=names.epoch,
            seq=seq,
            kind=kind,
            rank=Rank.PICTURE if shelf >= PICTURES else _RANKS[shelf],
            camera=camera,
            boot=boot,
            at=at,
            wall_s=float(wall_s),
            trusted=bool(trusted),
            data=data,
            jpeg=jpeg,
        )
    except (KeyError, TypeError, ValueError):
        return None


def _pages_for(rows: Sequence[Row]) -> int:
    """Pages that *rows* take at the most: whole pages for pictures, small records packed, and what the trees need."""
    small = sum(len(row.data) + 160 for row in rows)
    small += sum(len(row.data) + _CHAIN_BYTES for row in rows if chained(row))
    large = sum(len(row.jpeg) // (_PAGE - 64) + 2 for row in rows if row.jpeg is not None)
    return small * 5 // 4 // _PAGE + large + 12


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def remove(path: Path) -> None:
    """Delete a file or a folder, whichever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---- checking ----


def check(folder: str) -> tuple[str, ...]:
    """Every fault of the journal in *folder*, against its invariants; reads all of it: minutes for gigabytes.

    For a command line, while no agent uses that journal. Changes no record.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return (f"{path}: there is no journal",)
    connection = connect(str(path))
    connection.text_factory = _text
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION:
            return (f"{path}: another program's database",)
        return (
            *_structure_faults(connection),
            *_record_faults(connection),
            *_trail_faults(connection),
        )
    except TROUBLE as error:
        return (f"{path}: {why(error)}",)
    finally:
        connection.close()


def _structure_faults(c: sqlite3.Connection) -> Iterator[str]:
    for (line,) in c.execute("PRAGMA quick_check"):
        if line != "ok":
            yield f"structure: {line}"
    last_seq, depth = c.execute("SELECT last_seq, depth FROM store").fetchone()
    count, highest = c.execute("SELECT count(*), coalesce(max(seq), 0) FROM record").fetchone()
    if highest > last_seq:
        yield f"record {highest} lies beyond the last seq given, {last_seq}"
    if count != depth:
        yield f"there are {count} records, the store says {depth}"
    for (seq,) in c.execute("SELECT seq FROM jpeg WHERE seq NOT IN (SELECT seq FROM record)"):
        yield f"record {seq}: a picture without its record"


def _record_faults(c: sqlite3.Connection) -> Iterator[str]:
    cameras = dict(c.execute("SELECT id, name FROM camera"))
    boots = dict(c.execute("SELECT id, name FROM boot"))
    names = Names(epoch="", cameras=cameras, boots=boots)
    for raw in c.execute(f"{_SELECT} ORDER BY seq"):
        if read_stored(c, raw, names) is None:
            yield f"record {raw[0]}: not as it was put in (checksum, name or picture)"


def _trail_faults(c: sqlite3.Connection) -> Iterator[str]:
    walk = Check()
    rows = c.execute("SELECT place, entry, hash FROM audit ORDER BY place")
    breaks = [found for found in walk.entries(rows) if isinstance(found, Break)]
    epoch, state = c.execute("SELECT epoch, trail FROM store").fetchone()
    if state:
        breaks += walk.end(epoch, read_state(state))
    for found in breaks:
        yield f"audit trail: {found.why}"


def why(error: BaseException) -> str:
    """An error in one line, with SQLite's own name for it."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if isinstance(name, str) else str(error)
