"""The pictures of a store: a file each beside the database, or in memory for a store that lives there.

A file is written and synced before the row that names it is committed, and given up only when the row is gone; the table
`spare` knows every file that holds no picture, so that none is ever looked for. A file given up is used again in place: its blocks
are there already, so that a sync writes the picture and nothing of the file system's own (docs/decisions/0004).
Promises: `write` returns when its pictures are on the disk; a file that a committed row names is never written; what is
missing, short or unreadable is None and no exception; nothing that is no regular file of ours is opened or followed.
Not its job: which row names which file, checksums, when to give one up (store.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EIO, EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO
from pathlib import Path
from typing import Final, Protocol

from edge_agent.spool.values import Held

FOLDER: Final = "pictures"
BLOCK: Final = 4_096  # what a file system gives: files are a whole number of these long
SLACK: Final = (
    8  # a file up to an eighth longer than the picture needs is used for it; zeros fill it up
)
_AT_ONCE: Final = 32  # files open while they are overwritten
_MISSES: Final = 512  # a kill leaves files with the next numbers; more than a batch holds

# Said by a picture that cannot be read, whatever else works: it is lost, and declared.
_LOST: Final = frozenset({ENOENT, EIO, ELOOP, EISDIR, ENOTDIR, ENXIO})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture lies: the file's number, and how long that file is."""

    file: int
    room: int


def room_for(size: int) -> int:
    """How long a new file for a picture of *size* bytes is."""
    return -(-size // BLOCK) * BLOCK


class Pictures(Protocol):
    """What a store asks of the place where its pictures are. `last`: the highest number ever given."""

    last: int

    def write(self, jpegs: Sequence[bytes]) -> list[Place]:
        """Keep these; on the disk when it returns."""

    def adopt(self, held: Sequence[Held]) -> list[Place]:
        """Take over files of another store, without copying where the file system can do that."""

    def read(self, file: int, size: int) -> bytes | None:
        """The picture; None if it is not there any more, or not all of it."""

    def retire(self, places: Sequence[Place]) -> None:
        """No row names these any more. Before the commit that says so."""

    def committed(self, *, keep: bool = False) -> None:
        """That is committed: they may be used again, or deleted. *keep*: delete none, all are to be destroyed next."""

    def gone(self) -> list[int]:
        """Files that are deleted for good, each told once."""

    def took(self) -> list[int]:
        """Spare files in use since it was asked last."""

    def destroy(self, pulse: Callable[[], None]) -> None:
        """Overwrite and delete every file that holds no picture; *pulse* is called now and then."""

    @property
    def spare_bytes(self) -> int:
        """What files without a picture take."""


class Memory:
    """Pictures of a store in memory."""

    def __init__(self) -> None:
        self.last = 0
        self._held: dict[int, bytes] = {}

    def write(self, jpegs: Sequence[bytes]) -> list[Place]:
        """Keep these."""
        places = []
        for jpeg in jpegs:
            self.last += 1
            self._held[self.last] = jpeg
            places.append(Place(self.last, room_for(len(jpeg))))
        return places

    def adopt(self, held: Sequence[Held]) -> list[Place]:
        """Nothing is salvaged into memory."""
        raise NotImplementedError

    def read(self, file: int, size: int) -> bytes | None:
        """The picture."""
        jpeg = self._held.get(file)
        return jpeg if jpeg is not None and len(jpeg) == size else None

    def retire(self, places: Sequence[Place]) -> None:
        """Forget them."""
        for place in places:
            self._held.pop(place.file, None)

    def committed(self, *, keep: bool = False) -> None:
        """There is nothing to be done later."""

    def gone(self) -> list[int]:
        """None is on a list."""
        return []

    def took(self) -> list[int]:
        """None is on a list."""
        return []

    def destroy(self, pulse: Callable[[], None]) -> None:
        """There is nothing left to be destroyed."""

    @property
    def spare_bytes(self) -> int:
        """Nothing."""
        return 0


class Folder:
    """Pictures as files in one folder, named by their numbers. OSError where the disk does not work.

    *last*: the highest number ever committed; what lies beyond it was never accepted and is destroyed now, as is everything in
    *spare*, where a transaction may have been thrown back after its files were written: whatever a purge meant to destroy before the power went is thereby gone before anybody asks. *pool_bytes*: how much is
    kept to be used again.
    """

    def __init__(self, path: Path, *, last: int, spare: Sequence[int], pool_bytes: int) -> None:
        self._path = path
        self._pool_bytes = pool_bytes
        self.last = last
        self._pool: dict[int, int] = {}  # spare files, oldest first: number, length
        self._pooled = 0
        self._retiring: list[Place] = []
        self._unsynced: list[int] = []  # deleted, but the folder is not synced since
        self._gone: list[int] = []
        self._took: list[int] = []
        self._known: bytearray | None = None
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._clear(spare)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _clear(self, spare: Sequence[int]) -> None:
        found = 0
        for at in range(0, len(spare), _AT_ONCE):
            some = spare[at : at + _AT_ONCE]
            with suppress(OSError):  # a card that refuses this may still forget them
                self._overwrite(some)
            for (
                file
            ) in some:  # lot by lot: should the watchdog end this, the next start has less to do
                found += self._unlink(file)
                self._unsynced.append(file)
        number, misses = self.last, 0
        while misses < _MISSES:
            number += 1
            with suppress(OSError):
                self._overwrite([number])
            there = self._unlink(number)
            found, misses = found + there, 0 if there else misses + 1
        if found:
            self._sync()
        self._gone, self._unsynced = [*self._gone, *self._unsynced], []

    # -- writing --

    def write(self, jpegs: Sequence[bytes]) -> list[Place]:
        """Keep these; on the disk when it returns. After an OSError this object is of no further use."""
        if not os.path.samestat(os.stat(self._path), os.fstat(self._folder)):  # noqa: PTH116 - beside fstat
            msg = f"{self._path} was taken away while in use"
            raise OSError(msg)
        places: list[Place] = []
        opened: list[int] = []
        new = 0
        try:
            for jpeg in jpegs:
                place, descriptor, made = self._take(len(jpeg))
                opened.append(descriptor)
                _fill(descriptor, jpeg, place.room)
                places.append(place)
                new += made
            self._settle_down(opened)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        if new:
            self._sync()
        return places

    def _settle_down(self, opened: Sequence[int]) -> None:
        if len(opened) > 1:
            # Writing begins for all before the first is waited for: the file system then commits its own pages once and
            # not for each file. (The advice is not needed for anything else; what is still to be written stays cached.)
            for descriptor in opened:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        for descriptor in opened:
            os.fdatasync(descriptor)

    def _take(self, size: int) -> tuple[Place, int, bool]:
        """A file for *size* bytes, open for writing, and whether it is new."""
        need = room_for(size)
        most = need + max(BLOCK, need // SLACK)
        fits = [(room, file) for file, room in self._pool.items() if need <= room <= most]
        if fits:
            room, file = min(fits)
            del self._pool[file]
            self._pooled -= room
            descriptor = self._reopen(file)
            if descriptor is not None and os.fstat(descriptor).st_size != room:
                os.close(descriptor)
                descriptor = None
            if descriptor is not None:
                self._took.append(file)
                if self._known is not None and file >> 3 < len(self._known):
                    self._known[file >> 3] |= 1 << (file & 7)
                return Place(file, room), descriptor, False
            self._unlink(file)
            self._unsynced.append(file)
        self.last += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(str(self.last), flags, 0o600, dir_fd=self._folder)
        return Place(self.last, need), descriptor, True

    def _reopen(self, file: int) -> int | None:
        """A file without a picture, if it is one and nobody else's too."""
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(str(file), flags, dir_fd=self._folder)
        except OSError as error:
            if error.errno not in _LOST:
                raise
            return None
        about = os.fstat(descriptor)
        if stat.S_ISREG(about.st_mode) and about.st_nlink == 1:
            return descriptor
        os.close(descriptor)
        return None

    def adopt(self, held: Sequence[Held]) -> list[Place]:
        """Take over files of another store: a second name for each, so that a power cut loses neither."""
        places = []
        for one in held:
            self.last += 1
            target = self._path / str(self.last)
            try:
                os.link(one.path, target, follow_symlinks=False)
            except FileNotFoundError:
                pass  # lost, and told when it is read
            except OSError:  # a file system without links
                one.path.rename(target)
            places.append(Place(self.last, one.room))
        self._sync()
        return places

    def _sync(self) -> None:
        os.fsync(self._folder)
        self._gone, self._unsynced = [*self._gone, *self._unsynced], []

    # -- reading --

    def read(self, file: int, size: int) -> bytes | None:
        """The picture; None if it is not there any more, or not all of it."""
        return read_picture(self._folder, file, size)

    # -- giving up --

    def retire(self, places: Sequence[Place]) -> None:
        """No row names these any more. Before the commit that says so."""
        self._retiring += places

    def committed(self, *, keep: bool = False) -> None:
        """That is committed: keep some to be used again, delete the others, unless all are to be destroyed next (*keep*)."""
        for place in self._retiring:
            self._pool[place.file] = place.room
            self._pooled += place.room
        self._retiring = []
        while self._pooled > self._pool_bytes and not keep:
            file = next(iter(self._pool))
            self._pooled -= self._pool.pop(file)
            self._unlink(file)
            self._unsynced.append(file)
        if len(self._unsynced) > _MISSES:
            self._sync()

    def gone(self) -> list[int]:
        """Files that are deleted for good, each told once."""
        gone, self._gone = self._gone, []
        return gone

    def took(self) -> list[int]:
        """Spare files in use since it was asked last."""
        took, self._took = self._took, []
        return took

    def destroy(self, pulse: Callable[[], None]) -> None:
        """Overwrite and delete every file that holds no picture; *pulse* is called now and then."""
        files = list(self._pool)
        for at in range(0, len(files), _AT_ONCE):
            some = files[at : at + _AT_ONCE]
            self._overwrite(some)
            for file in some:
                self._unlink(file)
                self._unsynced.append(file)
            pulse()
        self._pool, self._pooled = {}, 0
        self._sync()

    def _overwrite(self, files: Sequence[int]) -> None:
        """Zeros in place of what these hold, synced."""
        opened: list[int] = []
        try:
            for file in files:
                descriptor = self._reopen(file)
                if descriptor is not None:
                    opened.append(descriptor)
                    _fill(descriptor, b"", os.fstat(descriptor).st_size)
            self._settle_down(opened)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _unlink(self, file: int) -> bool:
        """Delete a file; whether it was there."""
        try:
            os.unlink(str(file), dir_fd=self._folder)
        except (FileNotFoundError, IsADirectoryError):
            return False
        return True

    @property
    def spare_bytes(self) -> int:
        """What files without a picture take."""
        return self._pooled + sum(place.room for place in self._retiring)

    # -- what nobody knows of --

    def watch(self, upto: int) -> bytearray:
        """A bit for each file up to *upto*, to be set for those that a row names; set from now on for those put to use."""
        self._known = bytearray(upto // 8 + 1)
        return self._known

    def unwatch(self) -> None:
        """That is over."""
        self._known = None

    def strangers(self, known: bytearray, upto: int) -> Iterator[bool]:
        """Delete every file numbered up to *upto* that is neither in *known* (a bit each) nor spare; True for each looked at.

        There are none, unless somebody put an older copy of the store beside newer files.
        """
        with os.scandir(self._path) as found:
            for entry in found:
                name = entry.name
                number = int(name) if name.isascii() and name.isdecimal() and len(name) < 19 else 0
                ours = 0 < number <= upto and str(number) == name
                if ours and not known[number >> 3] & 1 << (number & 7) and number not in self._pool:
                    self._unlink(number)
                yield True


def read_picture(folder: int, file: int, size: int) -> bytes | None:
    """The first *size* bytes of a file in the folder that is open as *folder*; None if they are not to be had."""
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(str(file), flags, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as opened:
                jpeg = opened.read(size)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _LOST:
            raise
        return None
    return jpeg if jpeg is not None and len(jpeg) == size else None


def _fill(descriptor: int, jpeg: bytes, room: int) -> None:
    """Write *jpeg* and zeros up to *room*: nothing of what the file held before is left behind its end."""
    at = 0
    for part in (jpeg, bytes(room - len(jpeg))):
        left = memoryview(part)
        while left:
            written = os.pwrite(descriptor, left, at)
            left, at = left[written:], at + written


def make_folder(folder: Path) -> None:
    """The place of pictures beside a store, closed to others. OSError if it is there and is none of ours."""
    path = folder / FOLDER
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode):
        msg = f"{path}: not a folder"
        raise NotADirectoryError(msg)
    if about.st_uid == os.geteuid():
        path.chmod(0o700)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        msg = f"{path}: may not be read and written"
        raise PermissionError(msg)
