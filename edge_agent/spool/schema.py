"""The tables of a store, where a record lies in them, and every statement that walks.

Promise: no statement here walks over all records, but those of the background check (`QUERIES`, tested).
Not its job: running them (store.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

APPLICATION: Final = 0x4A524E4C  # "JRNL" in the file's header: whose file this is
VERSION: Final = 4
# Small pages: what each commit touches beside its records costs a quarter of what it costs with SQLite's usual 4,096
# (docs/decisions/0004-pictures-in-files-used-again.md has the figures).
PAGE: Final = 1_024

SHELF_BITS: Final = 48
SEQ_MASK: Final = (1 << SHELF_BITS) - 1
PICTURES: Final = 16  # the shelf of a record is its rank, or 16 + camera for a picture

SCHEMA: Final = """
-- One row: the highest seq ever given, the highest number ever given to a picture's file, how often it was opened, the end
-- of its audit chain (chain.Chain.state), what lies on each shelf: {shelf: [records, bytes of their files]}, and a checksum of
-- all that (head.py). It changes with each commit, so that all of this costs one page.
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_seq INTEGER NOT NULL,
    last_file INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    trail TEXT NOT NULL,
    held TEXT NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
-- The audit trail: what is deleted here only from its oldest end, and outlives the records that it is about.
CREATE TABLE audit (
    place INTEGER PRIMARY KEY, -- in the order in which they came, whichever chain each is of
    entry BLOB NOT NULL,       -- chain.canonical
    hash TEXT NOT NULL         -- its SHA-256
) STRICT;
-- Small things that others ask to be kept over restarts.
CREATE TABLE fact (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
-- Names: this store's own, and those that repeat in every record. Each has its checksum; the index is its second copy (head.py).
CREATE TABLE epoch (id INTEGER PRIMARY KEY, name TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX epoch_again ON epoch (name, sum);
CREATE TABLE boot (id INTEGER PRIMARY KEY, name TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX boot_again ON boot (name, sum);
CREATE TABLE camera (id INTEGER PRIMARY KEY, name TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX camera_again ON camera (name, sum);
-- One tree: the shelf in front of the seq keeps each selection together and in order, without an index to be written too.
CREATE TABLE record (
    key INTEGER PRIMARY KEY,  -- shelf << 48 | seq; the shelf is the rank, or 16 + camera for a picture
    kind TEXT NOT NULL,
    camera INTEGER,
    boot INTEGER NOT NULL,
    at REAL NOT NULL,         -- seconds since that boot
    wall_s REAL NOT NULL,     -- Unix time, a label
    trusted INTEGER NOT NULL, -- 1 = the clock was vouched for
    crc INTEGER NOT NULL,     -- values.checksum
    bytes INTEGER NOT NULL,   -- of the picture, 0 without one
    sum INTEGER,              -- of the picture: CRC-32
    file INTEGER,             -- its number (pictures.py)
    room INTEGER,             -- how long that file is
    data BLOB NOT NULL        -- JSON
) STRICT;
-- What a purge looks for; 4503599627370496 is 16 << 48.
CREATE INDEX picture_by_time ON record (boot, at) WHERE key >= 4503599627370496;
-- Files that hold no picture any more, or none yet: to be used again, or deleted and then forgotten.
-- What stands here is destroyed, so that each row has its checksum (head.py).
CREATE TABLE spare (file INTEGER PRIMARY KEY, room INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
-- Pictures that are thinned last, and why: 1 near an event of their camera, 2 the first after a break or a start, 3 both (thinning.py).
CREATE TABLE mark (key INTEGER PRIMARY KEY, why INTEGER NOT NULL) STRICT;
-- Tombstones of what was thinned: of which seqs each speaks, its own seq (the hub may have it already), about its length.
CREATE TABLE stone (
    low INTEGER PRIMARY KEY,
    high INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    weight INTEGER NOT NULL
) STRICT;
"""
TABLES: Final = frozenset(
    {"store", "fact", "epoch", "boot", "camera", "record", "audit", "spare", "mark", "stone"}
)

Raw: TypeAlias = tuple[
    int,
    int,
    str,
    int | None,
    int,
    float,
    float,
    int,
    int,
    int,
    int | None,
    int | None,
    int | None,
    bytes,
]
Plain: TypeAlias = tuple[
    int, int, str, int | None, int, float, float, int, int, bytes
]  # of a record without a picture
COLUMNS: Final = f"key & {SEQ_MASK}, key >> {SHELF_BITS}, kind, camera, boot, at, wall_s, trusted, crc, bytes, sum, file, room, data"
PLAIN_COLUMNS: Final = (
    f"key & {SEQ_MASK}, key >> {SHELF_BITS}, kind, camera, boot, at, wall_s, trusted, crc, data"
)
# The statements below are put together from constants alone.
SELECT: Final = f"SELECT {COLUMNS} FROM record"  # noqa: S608
BY_KEY: Final = f"{SELECT} WHERE key = ?"
RANGE: Final = f"{SELECT} WHERE key > ? AND key <= ? ORDER BY key LIMIT ?"
PLAIN_RANGE: Final = (
    f"SELECT {PLAIN_COLUMNS} FROM record WHERE key > ? AND key <= ? ORDER BY key LIMIT ?"  # noqa: S608
)
OLDEST: Final = f"SELECT key & {SEQ_MASK}, boot, at, wall_s FROM record WHERE key > ? AND key < ? ORDER BY key LIMIT 1"  # noqa: S608
NEWEST: Final = (
    f"SELECT key & {SEQ_MASK} FROM record WHERE key > ? AND key < ? ORDER BY key DESC LIMIT 1"  # noqa: S608
)
# In a tree with a flipped bit, a search may begin before the key that it is given, and SQLite looks at the upper bound alone from there
# on. So what deletes has the lower bound a second time, in a form that is no part of the search.
DELETE: Final = "DELETE FROM record WHERE key BETWEEN ?1 AND ?2 AND +key >= ?1"
TO_DELETE: Final = "SELECT key, file, room FROM record WHERE key BETWEEN ?1 AND ?2 AND +key >= ?1 ORDER BY key LIMIT ?3"
NTH: Final = "SELECT key FROM record WHERE key BETWEEN ?1 AND ?2 AND +key >= ?1 ORDER BY key LIMIT 1 OFFSET ?3"
_OF_PURGE: Final = f"SELECT key & {SEQ_MASK}, boot, at, wall_s, key >> {SHELF_BITS} FROM record"  # noqa: S608
TO_PURGE: Final = (
    f"{_OF_PURGE} WHERE key >= {PICTURES << SHELF_BITS} AND boot = ? AND at BETWEEN ? AND ?"
)
NEWEST_FIRST: Final = f"{_OF_PURGE} WHERE key > ? AND key <= ? ORDER BY key DESC"
NEWEST_PICTURE: Final = (
    f"SELECT max(at) FROM record WHERE key >= {PICTURES << SHELF_BITS} AND boot = ?"  # noqa: S608
)
TO_THIN: Final = f"SELECT key & {SEQ_MASK}, boot, at, wall_s, room FROM record WHERE key > ? AND key <= ? ORDER BY key LIMIT ?"  # noqa: S608
TO_PRUNE: Final = "SELECT place, entry, hash FROM audit WHERE place > 0 ORDER BY place LIMIT ?"
YOUNGEST: Final = "SELECT entry FROM audit WHERE place > 0 ORDER BY place DESC LIMIT ?"
FILES: Final = "SELECT key, file FROM record WHERE key > ? ORDER BY key LIMIT ?"
ENTRIES: Final = "SELECT place, entry, hash FROM audit WHERE place > ? ORDER BY place LIMIT ?"
LOT: Final = f"{SELECT} WHERE key > ? ORDER BY key LIMIT ?"
COUNTED: Final = (
    "SELECT count(*) FROM record INDEXED BY picture_by_time WHERE key >= 4503599627370496"
)
QUERIES: Final[Mapping[str, tuple[str, Sequence[int]]]] = {
    "by key": (BY_KEY, (1,)),
    "one shelf": (RANGE, (0, 1, 1)),
    "one shelf without pictures": (PLAIN_RANGE, (0, 1, 1)),
    "oldest": (OLDEST, (0, 1)),
    "newest": (NEWEST, (0, 1)),
    "delete": (DELETE, (1, 2)),
    "to delete": (TO_DELETE, (1, 2, 1)),
    "the last of a step": (NTH, (1, 2, 1)),
    "purge": (TO_PURGE, (1, 1, 2)),
    "newest first": (NEWEST_FIRST, (0, 1)),
    "newest picture of a boot": (NEWEST_PICTURE, (1,)),
    "thin": (TO_THIN, (0, 1, 1)),
    "prune": (TO_PRUNE, (1,)),
    "youngest entries": (YOUNGEST, (1,)),
    "all, in lots": (LOT, (0, 1)),
    "files, in lots": (FILES, (0, 1)),
    "entries, in lots": (ENTRIES, (0, 1)),
}


def key_of(shelf: int, seq: int) -> int:
    """Where record *seq* lies, if it is on *shelf*."""
    return shelf << SHELF_BITS | seq
