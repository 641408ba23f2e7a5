"""The FAT partition that a person fills in on any laptop: what lies on it by our names, and the two files written back.

Promises: reading never raises, whatever lies there, and is bounded; names are taken as Windows leaves them (any case, `.txt`
behind them); what looks like a mistyped name is told. Only RESULT.txt and box.csr are ever written, whole as far as FAT can,
while the partition is writable for that moment alone; a card that takes no writes costs the answer, nothing else.
FAT knows no rights and no atomic rename: after a cut RESULT.txt may be torn or gone, and is then written again at the next start.
Not its job: what the files mean.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent import whole
from edge_agent.core.card import Fault
from edge_agent.core.words import Sentence

BOX: Final = "box.toml"
NETWORK: Final = "network.toml"
KEYS: Final = "authorized_keys"
CA: Final = "hub/hub-ca.pem"
ORDERS: Final = "hub/hub-orders.pem"
CERTIFICATE: Final = "hub/box.pem"
SECRETS: Final = "secrets/"

RESULT: Final = "RESULT.txt"
REQUEST: Final = "box.csr"

_FILE_MAX_BYTES: Final = 1_000_000
_SECRETS_MAX: Final = 100  # 32 cameras, and room for what a person leaves lying about
_LISTED_MAX: Final = 1_000
_HUB: Final = ("hub-ca.pem", "hub-orders.pem", "box.pem")
_NOTICES: Final = frozenset({"readme.txt", RESULT.lower(), REQUEST, "result.new", "box.new"})
_SECRET: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,99}")
_MOUNT_S: Final = 30.0

_TOO_LARGE: Final = Sentence("lebih dari 1 MB", "more than 1 MB")
_NO_FILE: Final = Sentence("bukan berkas", "not a file")
_ANOTHER: Final = Sentence("taruh berkas yang benar", "put the right file there")
_WORN: Final = Sentence(
    "salin isinya ke kartu baru: kartu ini mungkin rusak",
    "copy it to another card: this one may be dying",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What lay on the card. `files`: our name -> bytes; `strays`: names that look like one of ours and are not."""

    files: Mapping[str, bytes]
    faults: tuple[Fault, ...] = ()
    strays: tuple[Sentence, ...] = ()

    @property
    def blank(self) -> bool:
        """No card of ours: the partition is not there, or holds nothing that a person would have filled in."""
        return not self.files and not self.faults

    def digest(self, salt: str) -> str:
        """Changes whenever anything read does, or *salt*."""
        told = hashlib.sha256(salt.encode())
        for name, raw in sorted(self.files.items()):
            told.update(f"\0{name}\0{len(raw)}\0".encode("utf-8", "surrogateescape") + raw)
        for text in (*(fault.where for fault in self.faults), *(s.en for s in self.strays)):
            told.update(f"\0{text}\0".encode("utf-8", "surrogateescape"))
        return told.hexdigest()


def secret_names(name: str) -> tuple[str, ...]:
    """The names by which box.toml may mean the file *name*: as it is, in small letters, without the `.txt` of Notepad."""
    small = name.lower()
    names = [name, small, *(one[:-4] for one in (name, small) if one.lower().endswith(".txt"))]
    return tuple(dict.fromkeys(one for one in names if one))


class Card:
    """The partition, mounted at *folder*. One owner; blocks for the card only."""

    def __init__(
        self,
        folder: Path,
        *,
        locked: Callable[[Path], bool] | None = None,
        remount: Callable[[Path, str], None] | None = None,
    ) -> None:
        """*locked*: whether it is mounted read-only; *remount* makes it "rw" or "ro" (OSError)."""
        self._folder = folder
        self._locked = locked or _is_locked
        self._remount = remount or _remount

    def read(self) -> Contents:
        """Everything by our names."""
        reading = _Reading()
        reading.folder(self._folder, (BOX, NETWORK, KEYS), "")
        top = _listed(self._folder)
        reading.folder(self._folder / top.get("hub", "hub"), _HUB, "hub/")
        reading.secrets(self._folder / top.get("secrets", "secrets"))
        return Contents(
            files=reading.files, faults=tuple(reading.faults), strays=tuple(reading.told)
        )

    def write(self, files: Mapping[str, bytes]) -> str:
        """Put *files* (RESULT.txt, box.csr) where they differ from what is there; why not, "" = they are there now."""
        stale = {name: raw for name, raw in files.items() if not self._holds(name, raw)}
        if not stale:
            return ""
        try:
            with self._writable():
                for name, raw in stale.items():
                    self._put(name, raw)
        except OSError as error:
            return f"{self._folder}: {error.strerror or error}"
        return ""

    # ---- inside ----

    def _holds(self, name: str, raw: bytes) -> bool:
        try:
            return _content(self._folder / name) == raw
        except (OSError, _NotOurs):
            return False

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        if not self._locked(self._folder):
            yield
            return
        self._remount(self._folder, "rw")
        try:
            yield
        finally:
            self._remount(self._folder, "ro")

    def _put(self, name: str, raw: bytes) -> None:
        """No rights are asked for: FAT has none, and refuses to be asked."""
        beside = self._folder / f"{Path(name).stem}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(beside, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        whole.sync_folder(self._folder)


class _Reading:
    """One pass over the card."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.told: list[Sentence] = []

    def folder(self, folder: Path, wanted: tuple[str, ...], below: str) -> None:
        """The files *wanted*, or the same with `.txt` behind the name; what else looks like one of them is told."""
        listed = _listed(folder)
        for name in wanted:
            actual = listed.get(name) or listed.get(f"{name}.txt")
            if actual is not None:
                self._take(folder / actual, f"{below}{name}")
        for small, name in listed.items():
            self._doubt(small, name, listed, wanted, below)

    def secrets(self, folder: Path) -> None:
        """Each file in *folder*."""
        names = [name for small, name in _listed(folder).items() if small not in _NOTICES]
        for name in names[:_SECRETS_MAX]:
            if _SECRET.fullmatch(name):
                self._take(folder / name, f"{SECRETS}{name}")
            elif not name.startswith("."):
                shown = f"{SECRETS}{name}"
                self.told.append(
                    Sentence(
                        f"{shown} tidak dibaca: pakai huruf, angka, titik, '-' dan '_' saja untuk namanya",
                        f"{shown} is not read: name it with letters, digits, '.', '-' and '_' only",
                    )
                )

    def _doubt(
        self, small: str, name: str, listed: Mapping[str, str], wanted: tuple[str, ...], below: str
    ) -> None:
        bare = small.removesuffix(".txt")
        taken = small in wanted or (bare in wanted and bare not in listed)
        if taken or small in _NOTICES or small.startswith("."):
            return
        folders = () if below else ("hub", "secrets")
        near = difflib.get_close_matches(bare, (*wanted, *folders), n=1, cutoff=0.75)
        if not near and not below:
            return  # the firmware's files are not our business
        if small in folders:
            return
        meant = f"{below}{near[0]}?" if near else ""
        self.told.append(
            Sentence(
                f"{below}{name} tidak dibaca{f': maksudnya {meant}' if meant else ''}",
                f"{below}{name} is not read{f': did you mean {meant}' if meant else ''}",
            )
        )

    def _take(self, path: Path, name: str) -> None:
        try:
            self.files[name] = _content(path)
        except _NotOurs as why:
            self.faults.append(Fault(where=name, said=why.said, remedy=_ANOTHER))
        except OSError as error:
            said = Sentence(
                f"tidak dapat dibaca ({error.strerror})", f"cannot be read ({error.strerror})"
            )
            self.faults.append(Fault(where=name, said=said, remedy=_WORN))


class _NotOurs(Exception):  # noqa: N818 - never leaves this module
    """Why something is no file of ours."""

    def __init__(self, said: Sentence) -> None:
        super().__init__(said.en)
        self.said = said


def _content(path: Path) -> bytes:
    """OSError, _NotOurs. Never waits: a pipe that somebody made there is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _NotOurs(_NO_FILE)
        raw = file.read(_FILE_MAX_BYTES + 1)
    if len(raw) > _FILE_MAX_BYTES:
        raise _NotOurs(_TOO_LARGE)
    return raw


def _listed(folder: Path) -> dict[str, str]:
    """Name in small letters -> name; empty if there is no such folder."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names alone
    except OSError:
        return {}
    return {name.lower(): name for name in names[:_LISTED_MAX]}


def _is_locked(folder: Path) -> bool:
    """Whether *folder* is a mount of its own that takes no writes; a folder for a try-out is neither."""
    try:
        return folder.is_mount() and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _remount(folder: Path, how: str) -> None:
    # What is mounted, and not what /etc/fstab says: that names a partition by its id, for which mount would look among devices
    # that the unit's sandbox hides; and as the line says nofail, not finding it would count as done.
    try:
        done = subprocess.run(
            ["/bin/mount", "--options-source=mtab", "-o", f"remount,{how}", str(folder)],
            capture_output=True,
            timeout=_MOUNT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OSError(0, f"mount -o remount,{how}: no end after {_MOUNT_S:g} s") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[:200]
        raise OSError(0, f"mount -o remount,{how}: {said}")
