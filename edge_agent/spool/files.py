"""The journal's files by name, deleting them, and the errors that they bring.

Not its job: what is in them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

FILE: Final = "journal.db"
ASIDE: Final = f"{FILE}.damaged-"
ASIDE_PICTURES: Final = "-pictures"

# The disk, or what is on it. sqlite3 raises a UnicodeDecodeError where SQLite's message quotes bytes of a schema that are no text.
TROUBLE: Final = (sqlite3.Error, OSError, UnicodeDecodeError)
Connector: TypeAlias = Callable[[str], sqlite3.Connection]


class DamagedError(Exception):
    """The file is no journal of ours, or not a whole one."""


class BrimfulError(OSError):
    """No room beside what is kept back for opening and draining: said by the store, not by the disk."""


# What SQLite says, and Python, of numbers and texts that no store of ours has.
_NONSENSE: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_TOOBIG,
    }
)


@contextmanager
def sense() -> Iterator[None]:
    """What is read within makes sense: where it does not, that is `DamagedError`, so that no number in a file ends the agent."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if not isinstance(code, int) or code & 0xFF not in _NONSENSE:
            raise
        # Its frames may hold cursors, and these the file, locked.
        raise DamagedError(why(error)) from error.with_traceback(None)
    except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
        msg = f"what it says makes no sense ({type(error).__name__}: {error})"
        raise DamagedError(msg) from error.with_traceback(None)


def connect(path: str) -> sqlite3.Connection:
    """Open *path* for a thread that says itself where a transaction begins and ends."""
    return sqlite3.connect(path, timeout=1.0, isolation_level=None)


def as_text(text: bytes) -> str:
    """Text out of a database that may be damaged."""
    return text.decode("utf-8", "replace")


def why(error: BaseException) -> str:
    """An error in one line, with SQLite's own name for it."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if isinstance(name, str) else str(error)


def size_of(path: Path) -> int:
    """How long a file is; 0 if there is none."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Delete a file or a folder, whichever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
