"""Damaged stores that lie aside, and what is still to be brought over from them.

A store is moved aside in several steps and read in many, and any of them may be the last before the power goes. So a `Job` says
how far that is: in a note beside the database until the new store is there, from then on as a fact in the new store, moved on
in the very transaction that keeps what was brought over.
Promises: what is still to be read is deleted for want of room by nobody; its pictures go with a purge, and none of them comes over
after one, wherever the power goes; what a job says is what was written, or all that may still be unread is begun anew, without
pictures.
Not its job: reading a damaged store (rescue.py), deciding when one is damaged (journal.py).
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from edge_agent import whole
from edge_agent.spool.files import ASIDE, ASIDE_PICTURES, remove, size_of
from edge_agent.spool.schema import APPLICATION, VERSION

SALVAGE: Final = "store.salvage"  # the fact
NOTE: Final = "journal.replaced"  # the file
LIE_MOST: Final = 3  # damage upon damage: so many lie aside at once, and each is a database
TRIES: Final = 5  # openings in a row at which nothing came over: then it is what ends the agent
_DONE: Final = "-done"  # an empty file: nobody reads that one any more
_NAME: Final = re.compile(re.escape(ASIDE) + r"[0-9]{1,18}")
_HEAD: Final = 72  # bytes of a database's header up to the end of what is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """How far a damaged store has been brought over. *group*, *seq*: the last record looked at; records are one group, pictures the next."""

    aside: str  # its name beside the new store
    why: str
    entry: int = 0  # the last entry of its trail that was brought over, by its place there
    entries: int = 0  # how many were
    trailed: bool = False  # no more of the trail comes, and the new store knows its facts and boots
    told: bool = False  # `journal.damaged` is written
    pictures: bool = True  # may still come; not after a purge
    group: int = 0
    seq: int = 0
    saved: int = 0
    lost: int = 0
    nameless: bool = (
        False  # some of these because their boot or camera has lost its name: they may be whole
    )
    tries: int = 0  # openings since anything came over


def dump_jobs(jobs: Iterable[Job]) -> bytes:
    """As it is kept, with its checksum."""
    text = json.dumps([asdict(job) for job in jobs], separators=(",", ":")).encode()
    return b"%08x%s" % (zlib.crc32(text), text)


def read_jobs(told: bytes) -> tuple[Job, ...] | None:
    """What `dump_jobs` gave; None if it is not that."""
    text = told[8:]
    if told[:8] != b"%08x" % zlib.crc32(text):
        return None
    with suppress(ValueError, TypeError, RecursionError):
        found: object = json.loads(text)
        jobs = tuple(Job(**item) for item in found) if isinstance(found, list) else None
        return jobs if jobs is None or all(is_aside(job.aside) for job in jobs) else None
    return None


def read_note(folder: Path) -> tuple[Job, ...]:
    """What is to be brought over into the store that is just being begun in *folder*; empty: none is. OSError."""
    try:
        return read_jobs((folder / NOTE).read_bytes()) or ()
    except FileNotFoundError:
        return ()


def write_note(folder: Path, jobs: Iterable[Job]) -> None:
    """Say it, synced. OSError."""
    whole.write(folder / NOTE, dump_jobs(jobs))


def forget_note(folder: Path) -> None:
    """The new store knows it now. Synced: were it to come back, it would be taken for the truth. OSError."""
    with suppress(FileNotFoundError):
        (folder / NOTE).unlink()
        whole.sync_folder(folder)


def anew(folder: Path) -> tuple[Job, ...]:
    """What to do where nothing tells any more what is still to be brought over: all that nobody is known to have done with, newest
    first; without pictures, as a purge may have meant them."""
    why = "how far it was brought over is not known any more"
    names = [name for name in _stores(folder) if not os.path.lexists(folder / f"{name}{_DONE}")]
    return tuple(Job(aside=name, why=why, trailed=True, pictures=False) for name in names)


def is_aside(name: str) -> bool:
    """Whether a file of this name is a database that was moved aside, and not one of what lies beside it."""
    return _NAME.fullmatch(name) is not None


def _stores(folder: Path) -> list[str]:
    """Those that lie aside, by name, newest first."""
    names = (path.name for path in folder.glob(f"{ASIDE}*"))
    return sorted(filter(is_aside, names), key=_number, reverse=True)


def _number(name: str) -> int:
    return int(name.removeprefix(ASIDE))


def next_aside(folder: Path) -> str:
    """What the next store to be moved aside is called: by a number that none there has, unless it is of pictures without a store."""
    number = 1
    names = {path.name for path in folder.glob(f"{ASIDE}*")}
    for name in names:
        digits, _, rest = name.removeprefix(ASIDE).partition("-")
        given = int(digits) if digits.isdecimal() else 0
        alone = f"-{rest}" == ASIDE_PICTURES and f"{ASIDE}{digits}" not in names
        number = max(number, given if alone else given + 1)
    return f"{ASIDE}{number}"


class Aside:
    """What lies aside beside one store, of which `jobs` say what is still to be read. *folder* None: nothing does."""

    def __init__(self, folder: Path | None, told: bytes | None) -> None:
        """*told*: the fact, as the store has it. OSError."""
        self._folder = folder
        self.jobs: tuple[Job, ...] = ()
        if folder is None:
            return
        jobs = None if told is None else read_jobs(told)
        if jobs is not None:
            self.jobs = jobs
            self.note_done()
        elif told is not None or not read_note(
            folder
        ):  # a store that is just being begun gets it from there
            self.jobs = anew(folder)

    def note_done(self) -> None:
        """Mark those of which no job speaks any more: should the store forget, they are not brought over a second time."""
        if self._folder is None:
            return
        for name in _stores(self._folder):
            done = self._folder / f"{name}{_DONE}"
            if not belongs(done, self.jobs) and not os.path.lexists(done):
                with suppress(OSError):  # at the next opening, then
                    done.touch(mode=0o600)

    def _paths(self) -> list[Path]:
        return [] if self._folder is None else sorted(self._folder.glob(f"{ASIDE}*"))

    def folders(self) -> list[Path]:
        """Where pictures of theirs lie."""
        return [path for path in self._paths() if path.is_dir() and not path.is_symlink()]

    def sizes(self) -> tuple[int, int]:
        """Bytes of the files of those that nobody reads any more, and of those that are still to be read; without pictures."""
        done = reading = 0
        for path in self._paths():
            if belongs(path, self.jobs):
                reading += size_of(path)
            else:
                done += size_of(path)
        return done, reading

    def forget(self, pulse: Callable[[], None]) -> None:
        """Delete what nobody reads any more. *pulse* is called now and then."""
        for path in self._paths():
            if not belongs(path, self.jobs):
                _delete(path, pulse)

    def destroy(self, pulse: Callable[[], None]) -> None:
        """Delete all pictures and whatever may hold any: everything but databases of which it is known that none ever did."""
        known = [job for job in self.jobs if self._holds_no_picture(job.aside)]
        for path in self._paths():
            if not belongs(path, known) or path.name.endswith(ASIDE_PICTURES):
                _delete(path, pulse)

    def finish_purge(self, pulse: Callable[[], None]) -> None:
        """Delete the pictures that a purge left when the power went."""
        for path in self._paths():
            if path.name.endswith(ASIDE_PICTURES) and belongs(path, self.jobs):
                job = next(job for job in self.jobs if belongs(path, [job]))
                if not job.pictures:
                    _delete(path, pulse)

    def without_pictures(self) -> tuple[Job, ...]:
        """The jobs once a purge is done."""
        return tuple(replace(job, pictures=False) for job in self.jobs)

    def _holds_no_picture(self, name: str) -> bool:
        """A store of this version keeps its pictures beside the database; what another one does is not known."""
        if self._folder is None:
            return False
        path = self._folder / name
        head = b""
        with suppress(OSError):  # what cannot be told may be anything
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    head = file.read(_HEAD)
        numbers = (int.from_bytes(head[60:64], "big"), int.from_bytes(head[68:72], "big"))
        return numbers == (VERSION, APPLICATION)


def belongs(path: Path, jobs: Sequence[Job]) -> bool:
    """Whether *path* belongs to one of the stores that *jobs* name."""
    return any(path.name == job.aside or path.name.startswith(f"{job.aside}-") for job in jobs)


def _delete(path: Path, pulse: Callable[[], None]) -> None:
    if path.is_dir() and not path.is_symlink():
        for file in path.iterdir():  # tens of thousands, perhaps: half a minute on a slow card
            remove(file)
            pulse()
    remove(path)
