"""The configuration kept on the data partition: each as a folder of its own, and one link that says which is in use.

    /etc/edge-agent/now       -> kept/3f9c…   in use
    /etc/edge-agent/before    -> kept/81aa…   the one in use before
    /etc/edge-agent/box.toml  -> now/box.toml, likewise hub, secrets
    /etc/edge-agent/box.key                   the box's key, the same under all of them

Promises: a folder bears the hash of what is in it and is never changed once it has its name, so that a cut at any moment leaves
the old configuration or the new one in use, each whole; one that the card damaged later is not used, but the one before it if
that is fit to be, and otherwise none: then the agent finds nothing to run on.
Not its job: what is in a configuration (box.py), whether an older one is fit (steps.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edge_agent import whole
from edge_agent.provision.identity import KEY

NOW: Final = "now"
_BEFORE: Final = "before"
_KEPT: Final = "kept"
_STAGED: Final = ".new"
_SHOWN: Final = ("secrets", "hub", "box.toml")  # box.toml last: with it the agent may start
_NAME_LENGTH: Final = 24


class NotOurs(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """A person wrote this configuration by hand; it is not overwritten."""


class Kept:
    """All configurations in *folder* (/etc/edge-agent). One owner. Every method may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all = folder / _KEPT

    def check_ours(self) -> None:
        """NotOurs if something lies where a link of ours belongs."""
        for name in (NOW, _BEFORE, *_SHOWN):
            path = self._folder / name
            if os.path.lexists(path) and not path.is_symlink():
                raise NotOurs(str(path))

    def heal(self, fit: Callable[[Path], bool]) -> Path | None:
        """The configuration in use, whole; if the card damaged it, the one before it, if that is *fit*; None = none, and none is
        shown to the agent. Sweeps up after a cut."""
        if self._all.is_dir():
            shutil.rmtree(self._all / _STAGED, ignore_errors=True)
        now = self._whole(NOW)
        if now is None:
            before = self._whole(_BEFORE)
            if before is None or not fit(before):
                self.hide()  # what is damaged may well be read, and then say anything
                return None
            now = before
            self._point(NOW, f"{_KEPT}/{now.name}")
        self._show()
        return now

    def stage(self, files: Mapping[str, bytes]) -> Path:
        """A folder with *files* and a link to the key, to be looked at and then installed, or forgotten."""
        staged = self._all / _STAGED
        shutil.rmtree(staged, ignore_errors=True)
        for name, raw in files.items():
            whole.write(staged / name, raw)
        (staged / KEY).symlink_to(Path("../..", KEY))
        return staged

    def forget(self) -> None:
        """What was staged was not good."""
        shutil.rmtree(self._all / _STAGED, ignore_errors=True)

    def install(self, staged: Path) -> Path:
        """Put *staged* in use; the one in use so far is kept as the one before, every other one is removed."""
        for folder in (staged, *(path for path in staged.rglob("*") if path.is_dir())):
            whole.sync_folder(folder)
        target = self._all / _hash_of(staged)
        now = self._whole(NOW)
        if now != target:
            if target.exists():
                shutil.rmtree(target)  # damaged, or the one before: the same again lies ready
            staged.replace(target)
            whole.sync_folder(self._all)
            if now is not None:
                self._point(_BEFORE, f"{_KEPT}/{now.name}")
            self._point(NOW, f"{_KEPT}/{target.name}")
        self._show()
        self._sweep()
        return target

    def hide(self) -> None:
        """What is in use cannot be run on by this version: the agent is not to find it. `heal` shows it again."""
        path = self._folder / _SHOWN[-1]
        if path.is_symlink():
            path.unlink()
            whole.sync_folder(self._folder)

    def digest(self) -> str:
        """Names the configuration in use, if it is whole; "" = none."""
        now = self._whole(NOW)
        return "" if now is None else now.name

    # ---- inside ----

    def _whole(self, link: str) -> Path | None:
        try:
            name = Path(os.readlink(self._folder / link)).name  # noqa: PTH115 - the bare text of the link
        except OSError:
            return None
        path = self._all / name
        try:
            return path if path.is_dir() and _hash_of(path) == name else None
        except OSError:
            return None

    def _point(self, link: str, to: str) -> None:
        path = self._folder / link
        with contextlib.suppress(OSError):
            if os.readlink(path) == to:  # noqa: PTH115 - the bare text of the link
                return
        beside = self._folder / f".{link}.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(to)
        beside.replace(path)
        whole.sync_folder(self._folder)

    def _show(self) -> None:
        for name in _SHOWN:
            self._point(name, f"{NOW}/{name}")

    def _sweep(self) -> None:
        used = {path.name for link in (NOW, _BEFORE) if (path := self._whole(link)) is not None}
        for path in self._all.iterdir():
            if path.name not in used:
                shutil.rmtree(path, ignore_errors=True)


def _hash_of(folder: Path) -> str:
    """Of names and contents of all files; links do not count, as the key is another matter."""
    told = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            raw = path.read_bytes()
            told.update(f"{path.relative_to(folder)}\0{len(raw)}\0".encode() + raw)
    return told.hexdigest()[:_NAME_LENGTH]
