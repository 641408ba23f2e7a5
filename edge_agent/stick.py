"""An export on a stick: what lies where, written so that it may be pulled at any moment, and read as a stranger's.

In the export's folder: `manifest.json` (whose, of when, what for); `records/CLASS-FIRST-LAST-nCOUNT.json`, each a lot: a JSON batch of
CloudEvents as on the wire; `pictures/CAMERA/DAY/HOUR/` with the pictures of such a lot, named as the hub names them; and
`SHA256SUMS`, as sha256sum writes and checks it: the pictures of a lot, then its batch. A lot counts once its batch stands there.
Promises: what is listed was synced and read back first; a stick that was pulled, is full or forgets loses lots that are then
written again, never one that is counted; names are plain on FAT and exFAT too, without links or permissions; whatever lies on a
foreign stick, reading it follows no link, leaves its folder nowhere and takes bounded memory.
Not its job: what may leave the box (edge_agent/export), what the hub does with it (edge_agent/receiver).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeGuard, cast

from edge_agent import whole
from edge_agent.core import wire
from edge_agent.core.messages import Json

MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
KIND: Final = "edge-agent export"
VERSION: Final = 1
MAX_PICTURE_BYTES: Final = 32_000_000  # no camera sends more; a stranger's file may not cost memory
_MAX_MANIFEST_BYTES: Final = 4_000_000
_MAX_LOT_FILES: Final = 10_000
_PIECE: Final = 1_000_000

_LINE: Final = re.compile(
    r"([0-9a-f]{64})  ((?:records|pictures)(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,119}){1,4})\n\Z"
)
_LOT: Final = re.compile(
    r"records/(audit|state|metric|pictures-[a-z0-9-]{1,48})-([0-9]{15})-([0-9]{15})-n([0-9]{1,7})\.json\Z"
)
_PICTURE: Final = re.compile(r"pictures/.*-([0-9]{1,15})\.(?:jpg|age)\Z")

# What the kernel says of a stick that was pulled, or that dies.
_GONE: Final = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.EREMOTEIO}
)


class StickError(Exception):
    """The stick, or what lies on it, is not what it should be; `str()` tells a person what and what to do."""


class ForgetfulError(StickError):
    """What was written and synced reads back as something else."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, and the hash of what is in it."""

    name: str  # below the export's folder
    sha256: str


@dataclass(frozen=True, slots=True)
class Lot:
    """A batch and the pictures that belong to its records."""

    batch: Entry
    pictures: tuple[Entry, ...] = ()

    @property
    def shelf(self) -> str:
        """audit, state, metric, or pictures-CAMERA."""
        return self._parts()[0]

    @property
    def span(self) -> tuple[int, int]:
        """First and last seq that it accounts for."""
        parts = self._parts()
        return int(parts[1]), int(parts[2])

    @property
    def records(self) -> int:
        """How many records are in it."""
        return int(self._parts()[3])

    def _parts(self) -> tuple[str, ...]:
        found = _LOT.fullmatch(self.batch.name)
        if found is None:
            raise ValueError(self.batch.name)
        return found.groups()

    @property
    def complete(self) -> bool:
        """Whether a picture is listed for each record that has one."""
        return len(self.pictures) == (self.records if self.shelf.startswith("pictures-") else 0)

    def picture_of(self, seq: int) -> Entry | None:
        """The file with the picture of record *seq*."""
        for entry in self.pictures:
            found = _PICTURE.fullmatch(entry.name)
            if found is not None and int(found[1]) == seq:
                return entry
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a hub needs of a manifest, checked."""

    box: str  # the box's topic prefix, which is the `source` of its records
    epoch: str
    oldest_seq: int | None  # the box kept nothing below this
    simulated: bool
    finished: bool


def lot_name(shelf: str, first: int, last: int, records: int) -> str:
    """The batch that accounts for *first* to *last* of *shelf*, and holds so many of them."""
    return f"records/{shelf}-{first:015}-{last:015}-n{records}.json"


def picture_file(time: str, epoch: str, seq: int) -> tuple[str, str]:
    """The day, and the name without its ending, of the picture of record *seq* that is labelled *time* (RFC 3339, UTC)."""
    day, clock = time.split("T")
    return day, f"{clock[:8].replace(':', '')}-{epoch[:16]}-{seq}"


def picture_name(camera: str, time: str, epoch: str, seq: int, *, sealed: bool) -> str:
    """Where that picture lies on a stick: by hours, as a folder on FAT has room for some 16,000 such names."""
    day, stem = picture_file(time, epoch, seq)
    return f"pictures/{camera}/{day}/{stem[:2]}/{stem}.{'age' if sealed else 'jpg'}"


def trouble(error: OSError, what: str) -> str:
    """What an error of the stick means for a person; *what*: the file or folder."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return f"{what}: the stick is full"
        case errno.EROFS:
            return f"{what}: the stick can only be read: its lock switch, or a fault on it (check it: fsck), or it was pulled"
        case errno.EACCES | errno.EPERM:
            return f"{what}: may not be written: run this as root, and see how the stick is mounted"
        case number if number in _GONE:
            return f"{what}: the stick does not answer any more: was it pulled? ({error.strerror})"
        case _:
            return f"{what}: {error.strerror or error}"


class Stick:
    """The folder of one export, open: what is done here goes to this very stick, even if another is mounted in its place.

    A context manager. OSError where the stick does not work (`trouble` says it for a person).
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        """*write*: make the folder if it is not there, and let nobody else write meanwhile (`StickError` if somebody does)."""
        self._path = folder
        self.torn = (
            False  # the list holds what it should not; known once `lots` was walked to its end
        )
        if write:
            with suppress(FileExistsError):
                folder.mkdir()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        self._folder = os.open(folder, flags)
        if not write:
            return
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._folder)
            msg = f"{folder}: another export is writing there"
            raise StickError(msg) from None
        whole.sync_folder(folder.parent)

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        os.close(self._folder)

    @property
    def free_bytes(self) -> int:
        """What is free on the stick."""
        found = os.fstatvfs(self._folder)
        return found.f_bavail * found.f_frsize

    # -- writing --

    def write_whole(self, name: str, content: bytes) -> None:
        """Replace a file of the export's own folder, whole or not at all; synced."""
        beside = f"{name}.new"
        self._put(beside, content)
        os.replace(beside, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)

    def read(self, name: str, limit: int) -> bytes:
        """A file, of *limit* bytes at the most; `StickError` if it is longer, or no file."""
        content = self._load(name, limit)
        if len(content) > limit:
            msg = f"{self._path / name}: longer than {limit} bytes"
            raise StickError(msg)
        return content

    def keep(
        self,
        pictures: Iterable[tuple[str, bytes]],
        batch: Callable[[], tuple[str, bytes] | None],
        may: Callable[[], bool],
    ) -> Lot | None:
        """Write a lot: sync it, read it back, list it. None: *may* said no before it was listed, and all of it is deleted again.

        *batch* is asked for when all *pictures* are written; None = there is no lot. Whatever goes wrong, none of it is counted; `ForgetfulError` if
        something reads back as something else.
        """
        written: list[Entry] = []
        try:
            for name, content in pictures:
                written.append(Entry(name, _hash(content)))
                self._put(name, content, sync=False)
            last = batch()
            if last is not None:
                written.append(Entry(last[0], _hash(last[1])))
                self._put(*last, sync=False)
                self._settle_down(written)
            wanted = last is not None and may()
        except BaseException:
            self._take_back(written)
            raise
        if not wanted:
            self._take_back(written)
            return None
        self._list(written)
        return Lot(written[-1], tuple(written[:-1]))

    def _settle_down(self, written: Sequence[Entry]) -> None:
        """Sync all of it, with the folders, and read it back from the stick itself."""
        for entry in written:
            with self._opened(entry.name, os.O_RDONLY) as descriptor:
                os.fsync(descriptor)
        folders = {parent for entry in written for parent in _parents(entry.name)}
        for folder in sorted(folders):
            with self._opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                os.fsync(descriptor)
        os.fsync(self._folder)
        for entry in written:
            if not self.whole(entry):
                msg = (
                    f"{self._path / entry.name}: the stick does not give back what was written to it;"
                    " use another"
                )
                raise ForgetfulError(msg)

    def whole(self, entry: Entry) -> bool:
        """Whether the file is there, and is what its hash says. Read from the stick, not from memory."""
        digest = hashlib.sha256()
        try:
            with self._opened(entry.name, os.O_RDONLY) as descriptor:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                while piece := os.read(descriptor, _PIECE):
                    digest.update(piece)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        return digest.hexdigest() == entry.sha256

    def _take_back(self, written: Sequence[Entry]) -> None:
        for entry in written:
            with suppress(OSError):
                os.unlink(entry.name, dir_fd=self._folder)

    def _list(self, written: Sequence[Entry]) -> None:
        text = "".join(f"{entry.sha256}  {entry.name}\n" for entry in written)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with self._opened(SUMS, flags) as descriptor:
            _write(descriptor, text.encode())
            os.fsync(descriptor)
        os.fsync(self._folder)

    def _put(self, name: str, content: bytes, *, sync: bool = True) -> None:
        for parent in _parents(name):
            with suppress(FileExistsError):
                os.mkdir(parent, dir_fd=self._folder)
        with self._opened(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
            _write(descriptor, content)
            if sync:
                os.fsync(descriptor)
            else:
                # Writing begins now, for all before the first is waited for.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    # -- reading --

    def lots(self) -> Iterator[Lot]:
        """What is listed, lot by lot; lines that are none, or belong to no batch, are passed over, and `torn` is set."""
        pictures: list[Entry] = []
        self.torn = False
        for line in self._lines():
            found = _LINE.fullmatch(line)
            if found is None or len(pictures) > _MAX_LOT_FILES:
                pictures, self.torn = [], True
                continue
            entry = Entry(found[2], found[1])
            if _LOT.fullmatch(entry.name):
                yield Lot(entry, tuple(pictures))
                pictures = []
            elif _PICTURE.fullmatch(entry.name):
                pictures.append(entry)
            else:
                self.torn = True
        self.torn = self.torn or bool(pictures)

    def _lines(self) -> Iterator[str]:
        try:
            with (
                self._opened(SUMS, os.O_RDONLY) as descriptor,
                os.fdopen(
                    descriptor, "r", encoding="ascii", errors="replace", closefd=False
                ) as file,
            ):
                while line := file.readline(1_000):
                    yield line
        except FileNotFoundError:
            return

    def mended(self, lots: Sequence[Lot]) -> None:
        """List *lots* and nothing else."""
        entries = [entry for lot in lots for entry in (*lot.pictures, lot.batch)]
        text = "".join(f"{entry.sha256}  {entry.name}\n" for entry in entries)
        self.write_whole(SUMS, text.encode())

    def drop_unlisted(self, listed: Callable[[str, int], bool]) -> int:
        """Delete what a run that was cut off left behind: pictures and batches for which *listed* (shelf, seq) says no."""
        gone = 0
        for top in ("pictures", "records"):
            with suppress(FileNotFoundError):
                for folder, _, names, at in os.fwalk(top, dir_fd=self._folder):
                    for name in names:
                        if not _is_listed(f"{folder}/{name}", listed):
                            os.unlink(name, dir_fd=at)
                            gone += 1
        return gone

    def sums_sha256(self) -> str:
        """The hash of the list itself."""
        digest = hashlib.sha256()
        for line in self._lines():
            digest.update(line.encode())
        return digest.hexdigest()

    def manifest(self) -> dict[str, Json] | None:
        """The manifest as it is; None if there is none. `StickError` if it is damaged, or something else."""
        try:
            found: object = json.loads(self.read(MANIFEST, _MAX_MANIFEST_BYTES))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            msg = f"{self._path / MANIFEST}: damaged ({str(error)[:80]})"
            raise StickError(msg) from error
        if not isinstance(found, dict) or found.get("kind") != KIND:
            msg = f"{self._path / MANIFEST}: not of an export"
            raise StickError(msg)
        if found.get("v") != VERSION:
            msg = f"{self._path / MANIFEST}: of version {str(found.get('v'))[:20]}; this one knows {VERSION}"
            raise StickError(msg)
        return cast("dict[str, Json]", found)

    # -- files, one folder at a time, following no link --

    def _load(self, name: str, limit: int) -> bytes:
        parts = bytearray()
        with self._opened(name, os.O_RDONLY) as descriptor:
            while len(parts) <= limit and (piece := os.read(descriptor, _PIECE)):
                parts += piece
        return bytes(parts)

    @contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        *folders, last = name.split("/")
        at = os.dup(self._folder)
        try:
            for folder in folders:
                inner = os.open(
                    folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at
                )
                os.close(at)
                at = inner
            more = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(last, flags | more, 0o644, dir_fd=at)
        finally:
            os.close(at)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as the box would have sent it: topic, payload, user properties."""

    topic: str
    payload: bytes = field(repr=False)
    properties: tuple[tuple[str, str], ...] = ()


class Import:
    """An export read as a stranger's: each lot is checked against its hashes first. `StickError` if it is no export at all."""

    def __init__(self, folder: Path) -> None:
        try:
            self._stick = Stick(folder, write=False)
        except OSError as error:
            msg = f"{folder}: {error.strerror or error}"
            raise StickError(msg) from error
        self._path = folder
        self.manifest = self._read_manifest()
        self.faults: list[str] = []

    def close(self) -> None:
        """Let go of the folder."""
        self._stick.__exit__()

    def _read_manifest(self) -> Manifest:
        body = self._stick.manifest()
        if body is None:
            msg = f"{self._path}: holds no export (there is no {MANIFEST})"
            raise StickError(msg)
        box, epoch, oldest = body.get("box"), body.get("epoch"), body.get("oldest_seq")
        if not isinstance(box, str) or wire.address(f"{box}/{wire.HISTORY}") is None:
            msg = f"{self._path / MANIFEST}: box: not a box's topic prefix"
            raise StickError(msg)
        if not wire.is_epoch(epoch) or not (oldest is None or _is_seq(oldest)):
            msg = f"{self._path / MANIFEST}: epoch or oldest_seq: damaged"
            raise StickError(msg)
        return Manifest(
            box=box,
            epoch=epoch,
            oldest_seq=oldest,
            simulated=body.get("simulated") is True,
            finished=body.get("finished") is True,
        )

    def messages(self) -> Iterator[Arrival]:
        """Everything in it, as it would have come over the wire; what is damaged or missing is left out and noted in `faults`."""
        lots = 0
        for lot in self._stick.lots():
            lots += 1
            damaged = [entry for entry in (lot.batch, *lot.pictures) if not self._whole(entry)]
            if damaged or not lot.complete:
                names = ", ".join(entry.name for entry in damaged[:3]) or lot.batch.name
                self.faults.append(
                    f"{self._path}: damaged or missing: {names}; that lot was left out: export it again"
                )
                continue
            try:
                if lot.shelf.startswith("pictures-"):
                    yield from self._pictures(lot)
                else:
                    payload = self._stick.read(lot.batch.name, wire.MAX_BATCH_BYTES)
                    yield Arrival(f"{self.manifest.box}/{wire.HISTORY}", payload)
            except (OSError, StickError, ValueError, RecursionError) as error:
                self.faults.append(f"{self._path / lot.batch.name}: {str(error)[:200]}")
        if self._stick.torn or not lots:
            why = "lists nothing" if not lots else "is damaged in part"
            self.faults.append(f"{self._path / SUMS}: {why}; export it again")

    def _whole(self, entry: Entry) -> bool:
        try:
            return self._stick.whole(entry)
        except OSError:
            return False

    def _pictures(self, lot: Lot) -> Iterator[Arrival]:
        found: object = json.loads(self._stick.read(lot.batch.name, wire.MAX_BATCH_BYTES))
        for event in found if isinstance(found, list) else []:
            seq = event.get("seq") if isinstance(event, dict) else None
            entry = lot.picture_of(int(seq)) if isinstance(seq, str) and seq.isdecimal() else None
            if entry is None:
                self.faults.append(f"{self._path / lot.batch.name}: a record without its picture")
                continue
            picture = self._stick.read(entry.name, MAX_PICTURE_BYTES)
            camera = str(event.get("subject"))
            topic = f"{self.manifest.box}/snapshot/{wire.HISTORY}/{camera}"
            yield Arrival(topic, picture, _properties(event))


def exports_in(folder: Path) -> list[Path]:
    """The exports in *folder*: itself, or those of a stick. `StickError` if there is none."""
    if (folder / MANIFEST).is_file():
        return [folder]
    try:
        found = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    except OSError:
        found = []
    if not found:
        msg = f"{folder}: holds no export (no {MANIFEST} here or one folder below)"
        raise StickError(msg)
    return found


def _is_listed(name: str, listed: Callable[[str, int], bool]) -> bool:
    batch, picture = _LOT.fullmatch(name), _PICTURE.fullmatch(name)
    if batch is not None:
        return listed(batch[1], int(batch[3]))
    return picture is not None and listed(f"pictures-{name.split('/')[1]}", int(picture[1]))


def _is_seq(found: object) -> TypeGuard[int]:
    return isinstance(found, int) and not isinstance(found, bool) and 0 < found <= wire.MAX_SEQ


def _properties(event: dict[str, object]) -> tuple[tuple[str, str], ...]:
    """A record's attributes as they stand beside a picture on the wire."""
    body = {name: value for name, value in event.items() if name not in {"data", "datacontenttype"}}
    words = {True: "true", False: "false"}
    plain = [
        (name, words[value] if isinstance(value, bool) else str(value))
        for name, value in body.items()
    ]
    return (*plain, ("meta", json.dumps(event.get("data"), separators=(",", ":"))))


def _parents(name: str) -> list[str]:
    """Every folder above a name, the outermost first."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
