"""Files that are whole or absent: written beside, synced, moved into place, the folder synced.

Promises: `write` leaves the old file or the new one, never a part, and the new one is on disk on return; what root writes for
the service belongs to whom its folder belongs, so that a technician's file can be read by the agent, which is not root.
Not its job: what is in a file, and whether it is sound (views.py, baselines.py).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, TypeAlias

from edge_agent.core.settings import CAMERA_ID

Stamp: TypeAlias = tuple[int, int, int] | None

# The group may read, as the service's own user does; nobody else needs to.
_FILE_MODE: Final = 0o640
_FOLDER_MODE: Final = 0o750


def file_of(folder: Path | str, camera_id: str, suffix: str) -> Path:
    """The file of *camera_id* in *folder*. ValueError for an id that is no camera id (and so never a path)."""
    if not re.fullmatch(CAMERA_ID, camera_id):
        msg = f"not a camera id: {camera_id!r} (a-z, 0-9 and '-', at most 48 characters)"
        raise ValueError(msg)
    return Path(folder) / f"{camera_id}{suffix}"


def stamp(path: Path) -> Stamp:
    """Changes whenever the file is replaced, and costs one stat; None = no file (or none that can be seen)."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def write(path: Path, raw: bytes, *, mode: int = _FILE_MODE) -> None:
    """Replace *path* by *raw*, whole or not at all; makes its folder. OSError if the disk refuses."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(beside, flags, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was added to or removed from *folder* last. OSError if the disk refuses."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """As `mkdir -p`; on disk on return. What root makes belongs to whom the folder above it belongs. OSError if the disk refuses."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    if os.geteuid() == 0:
        owner = folder.parent.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
    sync_folder(folder.parent)  # or what is in it would go with it
