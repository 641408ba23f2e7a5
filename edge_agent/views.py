"""The commissioned references on disk: one file a camera, whole or absent, checked before it is believed.

Promises: `save` leaves the old file or the new one, never a part; `load` gives exactly what was saved or a `ViewFault` that
says why not, and never raises for what a disk can do; a file of another version, camera or size is a fault, not a guess.
A file holds maps of edge directions, at most `MAX_FILE_BYTES`, and no photograph.
File: a line of magic and version, a line with the SHA-256 of all that follows, a line of JSON, then the arrays, deflated.
Not its job: making references (vision.py), asking a person (commission.py), holding the gate when there are none (gate.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, cast

import numpy as np

from edge_agent.core.settings import CAMERA_ID
from edge_agent.vision import HEIGHT, LEVELS, WIDTH, Light, References

MAGIC: Final = b"edge-agent view 1\n"
MAX_FILE_BYTES: Final = 200_000
MAX_LIGHTS: Final = 6
SUFFIX: Final = ".view"
_PLANE: Final = WIDTH * HEIGHT
_COUNTS_BYTES: Final = _PLANE // 8
_CAMERA_ID: Final = re.compile(CAMERA_ID)
_LIGHT_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,23}")

Stamp: TypeAlias = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewFault:
    """References that cannot be used: the camera stays held until it is commissioned again."""

    camera: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file in the folder, as `listing` found it."""

    camera: str
    references: References | ViewFault
    size_bytes: int
    saved_wall_s: float


class _Damaged(Exception):  # noqa: N818 - never leaves this module
    """What is wrong with the bytes."""


def path_of(folder: Path | str, camera_id: str) -> Path:
    """Where the references of *camera_id* lie. ValueError for an id that is no camera id (and so never a path)."""
    if not _CAMERA_ID.fullmatch(camera_id):
        msg = f"not a camera id: {camera_id!r} (a-z, 0-9 and '-', at most 48 characters)"
        raise ValueError(msg)
    return Path(folder) / f"{camera_id}{SUFFIX}"


def stamp(folder: Path | str, camera_id: str) -> Stamp:
    """Changes whenever the file is replaced, and costs one stat; None = no file (or none that can be seen)."""
    try:
        found = path_of(folder, camera_id).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def load(folder: Path | str, camera_id: str) -> References | ViewFault | None:
    """The references of *camera_id*; None = never commissioned; a fault if there is a file but no trust in it."""
    path = path_of(folder, camera_id)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        return _decode(raw, camera_id)
    except FileNotFoundError:
        return None
    except OSError as error:
        return ViewFault(camera=camera_id, why=f"{path}: cannot be read: {error.strerror or error}")
    except _Damaged as damage:
        return ViewFault(camera=camera_id, why=f"{path}: {damage}")


def save(folder: Path | str, camera_id: str, references: References) -> Path:
    """Write whole or not at all, and be on disk on return. OSError if the disk refuses; ValueError if it is too large."""
    path = path_of(folder, camera_id)
    raw = _encode(references, camera_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        # 0640: the group may read, as the service's own user does; nobody else needs to.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            _give_to_owner_of(path.parent, file.fileno())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


def forget(folder: Path | str, camera_id: str) -> bool:
    """Remove the references; True if there were any. OSError if the disk refuses."""
    path = path_of(folder, camera_id)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    _sync_folder(path.parent)
    return True


def listing(folder: Path | str) -> tuple[Listed, ...]:
    """Every camera that has a file, in order of its id, each loaded and checked. OSError if the folder cannot be read."""
    found = []
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")) if Path(folder).is_dir() else ():
        camera = path.name.removesuffix(SUFFIX)
        if not _CAMERA_ID.fullmatch(camera):
            continue
        references = load(folder, camera)
        if references is not None:
            about = path.stat()
            found.append(
                Listed(
                    camera=camera,
                    references=references,
                    size_bytes=about.st_size,
                    saved_wall_s=about.st_mtime,
                )
            )
    return tuple(found)


def _give_to_owner_of(folder: Path, descriptor: int) -> None:
    """A technician commissions as root; the service, which is not root, must be able to read what was saved."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- the format ----


def _encode(references: References, camera_id: str) -> bytes:
    head = {
        "camera": camera_id,
        "view": references.view,
        "width": WIDTH,
        "height": HEIGHT,
        "lights": [
            {
                "name": light.name,
                "mean_grey": light.mean_grey,
                "crispness": light.crispness,
                "frames": light.frames,
            }
            for light in references.lights
        ],
    }
    planes = [np.packbits(references.counts).tobytes()]
    for light in references.lights:
        planes += [light.re.tobytes(), light.im.tobytes()]
    body = json.dumps(head, sort_keys=True).encode() + b"\n" + zlib.compress(b"".join(planes), 9)
    raw = MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    if len(raw) > MAX_FILE_BYTES:
        msg = (
            f"references of {camera_id} take {len(raw)} bytes, at most {MAX_FILE_BYTES} are allowed"
        )
        raise ValueError(msg)
    return raw


def _decode(raw: bytes, camera_id: str) -> References:
    if len(raw) > MAX_FILE_BYTES:
        raise _Damaged("larger than any reference: not one of ours")
    if not raw.startswith(MAGIC):
        version = raw.startswith(MAGIC[:-2])
        raise _Damaged(
            "made by another version of the agent" if version else "empty or not a reference file"
        )
    digest, _, body = raw[len(MAGIC) :].partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise _Damaged("damaged: its checksum does not fit")
    line, _, deflated = body.partition(b"\n")
    head = _head(line)
    if head.get("camera") != camera_id:
        msg = f"made for camera {head.get('camera')!r}, not for this one"
        raise _Damaged(msg)
    if (head.get("width"), head.get("height")) != (WIDTH, HEIGHT):
        raise _Damaged("made for another picture size")
    references = _references(_lights(head.get("lights")), deflated)
    if references.view != head.get("view"):
        raise _Damaged("damaged: its maps are not those it was saved with")
    return references


def _head(line: bytes) -> dict[str, object]:
    try:
        head: object = json.loads(line)
    except ValueError as error:
        raise _Damaged("damaged: its header cannot be read") from error
    if not isinstance(head, dict):
        raise _Damaged("damaged: its header is no table")
    return cast("dict[str, object]", head)


@dataclass(frozen=True, slots=True)
class _LightHead:
    name: str
    mean_grey: float
    crispness: float
    frames: int


def _lights(value: object) -> tuple[_LightHead, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_LIGHTS:
        raise _Damaged("damaged: an empty set of references")
    return tuple(_light_head(item) for item in value)


def _light_head(item: object) -> _LightHead:
    fields = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    name, frames = fields.get("name"), fields.get("frames")
    grey, crispness = fields.get("mean_grey"), fields.get("crispness")
    if (
        not isinstance(name, str)
        or not _LIGHT_NAME.fullmatch(name)
        or not isinstance(frames, int)
        or not isinstance(grey, float)
        or not 0.0 <= grey <= 255.0
        or not isinstance(crispness, float)
        or not 0.0 <= crispness <= 100.0
    ):
        raise _Damaged("damaged: a kind of light is not described as it should be")
    return _LightHead(name, grey, crispness, frames)


def _references(heads: tuple[_LightHead, ...], deflated: bytes) -> References:
    wanted = _COUNTS_BYTES + len(heads) * 2 * _PLANE
    inflate = zlib.decompressobj()
    try:
        planes = inflate.decompress(deflated, wanted + 1)
    except zlib.error as error:
        raise _Damaged("damaged: its maps cannot be unpacked") from error
    if len(planes) != wanted:
        raise _Damaged("damaged: its maps are not of the right size")
    bits = np.unpackbits(np.frombuffer(planes, np.uint8, _COUNTS_BYTES))
    counts = bits.reshape(HEIGHT, WIDTH).astype(np.bool_)
    maps = np.frombuffer(planes, np.int8, offset=_COUNTS_BYTES).reshape(
        len(heads), 2, HEIGHT, WIDTH
    )
    if bool((np.abs(maps.astype(np.int16)) > LEVELS).any()):
        raise _Damaged("damaged: its maps hold values that no map has")
    lights = tuple(
        Light(
            name=h.name,
            re=re_im[0],
            im=re_im[1],
            mean_grey=h.mean_grey,
            crispness=h.crispness,
            frames=h.frames,
        )
        for h, re_im in zip(heads, maps, strict=True)
    )
    return References(counts=counts, lights=lights)
