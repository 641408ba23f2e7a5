"""How much a store may take: by its quota, by what has to stay free on the disk, and by what is kept back for records that matter most.

Promises: an eighth of the quota is never taken by METRIC or PICTURE, so that AUDIT and STATE have room however long an outage
has filled the rest; the answer counts the database with its log, pictures in whole blocks, what lies aside and the ballast; what is
written leaves the disk as much room as it takes to open the store again and to drain it.
Not its job: making room (store.py), choosing what goes.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.core.messages import Rank
from edge_agent.spool.ballast import Ballast
from edge_agent.spool.chain import chained
from edge_agent.spool.files import FILE, size_of
from edge_agent.spool.pictures import SLACK, room_for
from edge_agent.spool.schema import PAGE
from edge_agent.spool.values import Row

# Records of eight cameras for 90 days: some 2,000 a day of 500 bytes are 90 MB; the audit trail has a sixteenth of its own.
RESERVE: Final = 8
LOG_BYTES: Final = 8_000_000  # what is written and deleted again within it never reaches the file
_LARGEST_WRITE: Final = 2_250_000  # twice a batch of 1 MB, and the pages of the trees
POOL_BYTES: Final = 4_000_000  # files to be used again: the pictures of eight cameras for minutes
_CHAIN_BYTES: Final = 1_400  # what the chain adds to a record and, with its entry, to the trail
_TREE_BYTES: Final = 24 * PAGE  # what the trees need besides
_LAST_WRITE: Final = 1_250_000  # beyond the log's checkpoint: the batch that was the last one to fit, or some deletions


def _log_pages(quota: int) -> int:
    """How long the log gets before it is brought into the file."""
    return max(16, min(LOG_BYTES, quota // 32) // PAGE)


def ballast_bytes(quota: int) -> int:
    """What a store of *quota* bytes needs to be opened on a full disk and drained: the file grows by all that its log may hold at
    the moment when the disk fills up, or the log, if it has just been begun, by what it takes before it is used from its beginning
    again.
    """
    return _log_pages(quota) * PAGE + _LAST_WRITE


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much room a store has. `folder` None: it lives in memory, where even AUDIT goes before memory does. `ballast` None: it has none."""

    folder: Path | None
    quota_bytes: int
    floor_bytes: int = 0
    ballast: Ballast | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """What some rows take at the most."""

    table: int
    files: int
    low: bool  # METRIC or PICTURE are among them
    linked: int = 0  # in files that are on the disk already
    moved: bool = False  # out of a damaged store, which goes when all of it is here

    @classmethod
    def of(cls, rows: Sequence[Row], *, moved: bool = False) -> Need:
        """Of these."""
        table = sum(len(row.data) + 160 for row in rows)
        table += sum(len(row.data) + _CHAIN_BYTES for row in rows if chained(row))
        files = sum(room_for(len(row.jpeg)) for row in rows if row.jpeg is not None)
        linked = sum(row.held.room for row in rows if row.held is not None)
        low = any(row.rank > Rank.STATE for row in rows)
        return cls(table * 5 // 4 + _TREE_BYTES, files + files // SLACK, low, linked, moved)


class Room:
    """Counts for one store. `files`, `aside`, `reading` and `spare` are told by it: bytes of pictures, of what lies aside, of what lies
    there and is still to be read, of files in reserve.

    A damaged store that is still to be read is beyond the quota: what is whole in it would have to make room for what is not. But
    its pictures take room once, under whichever name.
    """

    def __init__(self, connection: sqlite3.Connection, limits: Limits) -> None:
        self._c = connection
        self._limits = limits
        quota = limits.quota_bytes
        self.log_pages = _log_pages(quota)
        self.slack = quota // 512
        self.pool_bytes = min(POOL_BYTES, quota // 64)
        # The log outgrows its checkpoint by what one transaction writes: a batch, and zeros over what went for it.
        self.log_bytes = self.log_pages * PAGE + self.slack + _LARGEST_WRITE
        self._kept_free = 0 if limits.ballast is None else limits.ballast.size
        self._most = max(0, quota - self.log_bytes - self.pool_bytes - self._kept_free)
        self._reserve = quota // RESERVE
        self.files = 0
        self.aside = 0
        self.reading = 0
        self.spare = 0

    def pages(self) -> tuple[int, int]:
        """(pages in use, pages free within the file)."""
        (count,) = self._c.execute("PRAGMA page_count").fetchone()
        (free,) = self._c.execute("PRAGMA freelist_count").fetchone()
        return count - free, free

    def short(self, need: Need, *, log: int) -> int:
        """How many bytes are missing; 0 or less if none are. *log*: how long the log is.

        Below the floor nothing grows; the store lives on with the pages and files that it has.
        """
        used, free = self.pages()
        most = self._most - (self._reserve if need.low else 0)
        left = most - used * PAGE - self.files - self.aside - need.table - need.files - need.linked
        folder = self._limits.folder
        if folder is None:
            return -left
        disk_free = shutil.disk_usage(folder).free
        takes = _takes(need, free)
        log_growth = max(0, self.log_bytes - log)
        # What is moved gives back what it takes: half of the floor is enough for so long.
        floor = self._limits.floor_bytes // (2 if need.moved else 1)
        below_floor = takes - max(0, disk_free - floor - log_growth) - self.spare
        return max(-left, below_floor, self._beyond(folder, takes, used + free, disk_free))

    def beyond(self, need: Need) -> int:
        """How many bytes the disk lacks to take even what is never thinned and to let go of it later; 0 or less if none.

        What fits into pages that are there already fits in any case.
        """
        folder = self._limits.folder
        if folder is None:
            return -self._limits.quota_bytes
        used, free = self.pages()
        disk_free = shutil.disk_usage(folder).free
        return self._beyond(folder, _takes(need, free), used + free, disk_free)

    def _beyond(self, folder: Path, takes: int, pages: int, disk_free: int) -> int:
        if takes <= 0:
            return -self._limits.quota_bytes
        # The file has still to grow by what is in the log alone; files beyond the pool go with this commit.
        owed = max(0, pages * PAGE - size_of(folder / FILE))
        free = disk_free + max(0, self.spare - self.pool_bytes) - owed
        return takes + self._kept_free - self._ballast() - free

    def used(self, *, log: int) -> int:
        """Bytes taken in all."""
        kept = log + self.files + self.spare + self.aside + self.reading + self._ballast()
        return self.pages()[0] * PAGE + kept

    def _ballast(self) -> int:
        return 0 if self._limits.ballast is None else self._limits.ballast.bytes


def _takes(need: Need, free_pages: int) -> int:
    """What the disk has to give for it."""
    return max(0, need.table - free_pages * PAGE) + need.files
