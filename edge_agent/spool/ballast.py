"""A file that holds nothing but room on the disk, and is given up when that is full, so that a journal can still be opened and drained.

Opening a store is a write, and so is deleting from it: on a disk without a free byte neither is possible, and nobody comes to a box
to make room by hand.
Promises: its blocks are really there, asked of the file system in one call and not written; it is made where there is room for it
twice over, and tried once in `MAKE_EACH_S` at the most; where it cannot be made (a card that only reads, no such call) there is none.
Not its job: what may be written while it is gone (room.py), noticing that the disk is full.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_agent.spool.files import sync

BALLAST: Final = "journal.ballast"
MAKE_EACH_S: Final = 600.0  # a file system without that call writes all of it: not again and again
_BLOCK: Final = 512  # what `st_blocks` counts in
_SCARCE_BYTES: Final = 262_144  # with less than this free, a full disk may show itself as any error
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Ballast:
    """One for a journal's folder: *size* bytes, or none at present. Writer thread; never raises."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self._folder = folder
        self._path = folder / BALLAST
        self._tried_at = -math.inf

    @property
    def bytes(self) -> int:
        """What of it is there: blocks that giving it up makes free."""
        with suppress(OSError):
            about = self._path.lstat()
            if stat.S_ISREG(about.st_mode):
                return min(about.st_size, about.st_blocks * _BLOCK)
        return 0

    def keep(self, *, floor: int, at: float) -> None:
        """Make it if it is not there, whole, and the disk has room for two above its *floor*. *at*: seconds since boot."""
        if self.bytes >= self.size or at < self._tried_at + MAKE_EACH_S:
            return
        with suppress(OSError):
            if shutil.disk_usage(self._folder).free + self.bytes >= floor + 2 * self.size:
                self._tried_at = at
                self._make()

    def _make(self) -> None:
        self._path.unlink(missing_ok=True)  # a piece of one, or what a copy made of it
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.size)
        except OSError:
            self._path.unlink()
            raise
        finally:
            os.close(descriptor)

    def give_way(self, error: BaseException) -> bool:
        """Give it up if *error* is what a full disk brings; whether there is more room now."""
        freed = self.bytes
        if not freed or not self._is_full(error):
            return False
        try:
            self._path.unlink()
            sync(self._folder)  # only then are its blocks anybody's
        except OSError:
            return False
        return True

    def _is_full(self, error: BaseException) -> bool:
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_FULL:
            return True
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        # A log that cannot be begun is "unable to open", a sync that finds no block an input/output error.
        with suppress(OSError):
            return shutil.disk_usage(self._folder).free < _SCARCE_BYTES
        return False
