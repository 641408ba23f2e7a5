"""A card on its worst day, beneath a real SQLite."""

from __future__ import annotations

import sqlite3
import threading
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Fault(Enum):
    """What happens to a commit."""

    NONE = "none"
    LOST = "fails, and nothing of it is on disk"
    LANDED = "fails, and yet it is on disk: the error came after the write"
    DEAD = "the process is gone before it"
    DEAD_AFTER = "the process is gone right after it, before anyone was told"


class Disk:
    """A card on its worst day, beneath a real SQLite: commits fail before or after they landed, hang, or never return.

    `connect` is what a `Spool` takes as its connector; everything but the fault is real. `times` commits meet the fault, then
    all is well; `broken`: nothing can be opened.
    """

    def __init__(self) -> None:
        self.fault = Fault.NONE
        self.times = 0
        self.broken = False
        self.commits = 0
        self.hardened = 0  # how often the log was brought in and emptied
        self.before: Callable[[], None] = lambda: None  # done right before each commit
        self.go = threading.Event()  # cleared: commits hang until it is set
        self.go.set()
        self.hanging = threading.Event()

    def fail(self, fault: Fault, times: int = 1) -> None:
        """The next *times* commits meet *fault*."""
        self.fault, self.times = fault, times

    def connect(self, path: str) -> sqlite3.Connection:
        """A connection to the real file at *path*, on this disk."""
        if self.broken:
            raise _io_error("unable to open database file", "SQLITE_CANTOPEN")
        disk = self

        class Connection(sqlite3.Connection):
            def execute(  # type: ignore[override]  # as wide as the original, which names types of its stub alone
                self, sql: str, *parameters: Sequence[object]
            ) -> sqlite3.Cursor:
                disk.hardened += "wal_checkpoint(TRUNCATE)" in sql
                if sql != "COMMIT":
                    return super().execute(sql, *parameters)
                return disk.commit(super().execute)

        return sqlite3.connect(path, timeout=1.0, isolation_level=None, factory=Connection)

    def commit(self, execute: Callable[[str], sqlite3.Cursor]) -> sqlite3.Cursor:
        """One commit."""
        self.before()
        if not self.go.is_set():
            self.hanging.set()
            self.go.wait()
        fault = self.fault if self.times > 0 else Fault.NONE
        self.times -= 1
        if fault is Fault.LOST:
            execute("ROLLBACK")
            raise _io_error("disk I/O error", "SQLITE_IOERR_FSYNC")
        if fault is Fault.DEAD:
            raise SystemExit  # ends the thread without a word, as a kill would
        self.commits += 1
        done = execute("COMMIT")
        if fault is Fault.LANDED:
            raise _io_error("disk I/O error", "SQLITE_IOERR_FSYNC")
        if fault is Fault.DEAD_AFTER:
            raise SystemExit
        return done


def _io_error(text: str, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorname = name
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error
