"""The read-only door to a journal's audit trail and to its check, for a command beside the agent or without one.

Promises: changes nothing and waits for nobody, but a few seconds for a picture that may just be on its way to the card; what it
gives is of one moment, or it says that it could not get that; every place where the chain does not hold, and every page that
cannot be read, is named.
Not its job: what the entries mean (edge_agent/audit), records (holdings.py).
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.spool.chain import Break, Check, Entry, State
from edge_agent.spool.files import FILE
from edge_agent.spool.patrol import STRAY, check
from edge_agent.spool.peek import Peek, UnreadableError
from edge_agent.spool.pictures import FOLDER
from edge_agent.spool.schema import APPLICATION

# A checkpoint under the reader comes once in some hundred pictures; a whole trail is read in a second or a few.
_TRIES: Final = 5
# A new picture's file is there before the commit that names it, and a worn card takes its time to sync: so such a file is looked for
# again after seconds. A record's file is given to another only after the commit that ends the record: two looks at once show that.
_PAUSES_S: Final = (0.2, 0.6, 1.5)
_pause: Final = threading.Event().wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What a look at a journal found."""

    path: str
    epoch: str
    state: State | None  # the chain's end, as the store has it
    count: int  # entries
    breaks: tuple[Break, ...]
    faults: tuple[str, ...]  # pages that cannot be read
    first: Entry | None


def read_trail(folder: str, begin: Callable[[], Callable[[Entry], None]]) -> Trail:
    """Hand every entry, oldest first, to what *begin* gives, and tell how the chain stands; `UnreadableError` if there is none.

    *begin* is called again if it has to start over, as the files changed under it. A trail that was read whole and holds is of one
    moment, whatever happened meanwhile: its hashes prove that.
    """
    path = Path(folder) / FILE
    for _ in range(_TRIES - 1):
        trail, unchanged = _read(path, begin())
        if unchanged or not (trail.breaks or trail.faults):
            return trail
    return _read(path, begin())[0]


def _read(path: Path, take: Callable[[Entry], None]) -> tuple[Trail, bool]:
    with Peek(path, application=APPLICATION) as peek:
        walk = Check()
        breaks: list[Break] = []
        for found in walk.entries(peek.entries()):
            if isinstance(found, Break):
                breaks.append(found)
            else:
                take(found)
        breaks += walk.end(peek.epoch, peek.state)
        trail = Trail(
            path=str(path),
            epoch=peek.epoch,
            state=peek.state,
            count=walk.count,
            breaks=tuple(breaks),
            faults=tuple(peek.faults),
            first=walk.first,
        )
        return trail, peek.unchanged()


def check_beside(
    folder: str,
    scratch: str | None = None,
    *,
    certain: Callable[[tuple[str, ...]], object] = lambda _: None,
) -> tuple[str, ...]:
    """Every fault of the journal in *folder*, as `check` finds them, while an agent may use it. `UnreadableError` if it cannot be read.

    SQLite would recover and change what is not its own, so it is given a copy of the records, of one moment; pictures are read
    where they lie. They change meanwhile: so what was found is looked for in further copies, and told if it is there each time.
    *scratch*: where the copies are put, usually the system's own place; it needs room for the records, not for the pictures.
    *certain*: for who cannot wait; it is given what two looks showed, if they did, before the pauses for what may pass.
    """
    found = _check_copy(Path(folder), scratch)
    if not all(map(_may_pass, found)):
        found = _still(found, folder, scratch)
    sure = tuple(fault for fault in found if not _may_pass(fault))
    if sure:
        certain(sure)
    strays = tuple(fault for fault in found if _may_pass(fault))
    for pause_s in _PAUSES_S:
        if not strays:
            break
        _pause(pause_s)
        strays = _still(strays, folder, scratch)
    return *sure, *strays


def _may_pass(fault: str) -> bool:
    """Whether it may be no more than a picture on its way to the card."""
    return fault.endswith(STRAY)


def _still(found: tuple[str, ...], folder: str, scratch: str | None) -> tuple[str, ...]:
    """Those of *found* that a new look shows, too."""
    again = frozenset(_check_copy(Path(folder), scratch))
    return tuple(fault for fault in found if fault in again)


def _check_copy(folder: Path, scratch: str | None) -> tuple[str, ...]:
    try:
        with tempfile.TemporaryDirectory(prefix="journal-check-", dir=scratch) as place:
            _copy(folder, Path(place))
            return tuple(
                fault.replace(place, str(folder)) for fault in check(place, folder / FOLDER)
            )
    except FileNotFoundError as error:
        there = (folder / FILE).exists()
        msg = f"{error.filename}: not there" if there else f"{folder / FILE}: there is no journal"
        raise UnreadableError(msg) from error
    except OSError as error:
        msg = f"{error.filename or folder}: {error.strerror or error}"
        raise UnreadableError(msg) from error


def _copy(folder: Path, place: Path) -> None:
    """Database and log, of one moment: the log alone grows until a checkpoint changes the database, and begins anew after that."""
    source, log = folder / FILE, folder / f"{FILE}-wal"
    for _ in range(_TRIES):
        before = _stamp(source), _head(log)
        shutil.copyfile(source, place / FILE)
        (place / log.name).unlink(missing_ok=True)
        if log.exists():
            shutil.copyfile(log, place / log.name)
        if before == (_stamp(source), _head(log)):
            return
    msg = f"{source}: changes faster than it can be copied; try again, or stop the agent"
    raise UnreadableError(msg)


def _stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_size, about.st_ino


def _head(log: Path) -> bytes:
    """What names this life of a log."""
    try:
        with log.open("rb") as file:
            return file.read(32)
    except FileNotFoundError:
        return b""
