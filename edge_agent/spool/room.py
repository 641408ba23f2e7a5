"""How much a store may take: by its quota, by what has to stay free on the disk, and by what is kept back for records that matter most.

Promises: an eighth of the quota is never taken by METRIC or PICTURE, so that AUDIT and STATE have room however long an outage
has filled the rest; the answer counts the database with its log, pictures in whole blocks, and what lies aside.
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
from edge_agent.spool.chain import chained
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much room a store has. `folder` None: it lives in memory, where even AUDIT goes before memory does."""

    folder: Path | None
    quota_bytes: int
    floor_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Need:
    """What some rows take at the most."""

    table: int
    files: int
    low: bool  # METRIC or PICTURE are among them

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Need:
        """Of these."""
        table = sum(len(row.data) + 160 for row in rows)
        table += sum(len(row.data) + _CHAIN_BYTES for row in rows if chained(row))
        files = sum(room_for(row.picture_bytes) for row in rows)
        low = any(row.rank > Rank.STATE for row in rows)
        return cls(table * 5 // 4 + _TREE_BYTES, files + files // SLACK, low)


class Room:
    """Counts for one store. `files`, `aside` and `spare` are told by it: bytes of pictures, of what lies aside, of files in reserve."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits) -> None:
        self._c = connection
        self._limits = limits
        quota = limits.quota_bytes
        self.log_pages = max(16, min(LOG_BYTES, quota // 32) // PAGE)
        self.slack = quota // 512
        self.pool_bytes = min(POOL_BYTES, quota // 64)
        # The log outgrows its checkpoint by what one transaction writes: a batch, and zeros over what went for it.
        self.log_bytes = self.log_pages * PAGE + self.slack + _LARGEST_WRITE
        self._most = max(0, quota - self.log_bytes - self.pool_bytes)
        self._reserve = quota // RESERVE
        self.files = 0
        self.aside = 0
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
        left = most - used * PAGE - self.files - self.aside - need.table - need.files
        folder = self._limits.folder
        if folder is None:
            return -left
        log_growth = max(0, self.log_bytes - log)
        growth = shutil.disk_usage(folder).free - self._limits.floor_bytes - log_growth
        takes = max(0, need.table - free * PAGE) + need.files
        return -min(left, max(0, growth) + self.spare - takes)

    def used(self, *, log: int) -> int:
        """Bytes taken in all."""
        return self.pages()[0] * PAGE + log + self.files + self.spare + self.aside
