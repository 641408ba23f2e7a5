"""The commissioned references on disk: one file a camera, whole or absent, checked before it is believed.

Promises: `save` leaves the old file or the new one, never a part; `load` gives exactly what was saved or a `ViewFault` that
says why not, and never raises for what a disk can do; a file of another version, camera or size is a fault, not a guess.
A file holds maps of edge directions, at most `MAX_FILE_BYTES`, and no photograph.
What the service learns by itself lies in a file of its own, `{camera}.learnt`: what a person approved is never rewritten
unattended. That file names the anchor it was learnt under; under another one, or if anything is wrong with it, it counts
for nothing and the approved references stand alone.
File: a line of magic and version, a line with the SHA-256 of all that follows, a line of JSON, then the arrays, deflated.
Not its job: making references (vision), asking a person (commission.py), holding the gate when there are none (gate.py).
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias, cast

import numpy as np

from edge_agent import whole
from edge_agent.core.settings import CAMERA_ID
from edge_agent.device import Device, is_mac
from edge_agent.vision import HEIGHT, LEVELS, TILES_X, TILES_Y, WIDTH, Light, References

MAGIC: Final = b"edge-agent view 2\n"
MAGIC_LEARNT: Final = b"edge-agent learnt 1\n"
MAX_FILE_BYTES: Final = 200_000
MAX_LIGHTS: Final = 6  # approved and learnt together
MAX_OWNER: Final = 80  # characters
SUFFIX: Final = ".view"
SUFFIX_LEARNT: Final = ".learnt"
_MAX_SIDE: Final = 100_000
_MAX_CODEC: Final = 24
_MAX_WALL_S: Final = 1e11
_PLANE: Final = WIDTH * HEIGHT
_COUNTS_BYTES: Final = _PLANE // 8
_CAMERA_ID: Final = re.compile(CAMERA_ID)
_LIGHT_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,23}")

Stamp: TypeAlias = tuple[int, ...] | None


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
    learnt_why: str = ""  # why what was learnt counts for nothing


class _Damaged(Exception):  # noqa: N818 - never leaves this module
    """What is wrong with the bytes."""


def path_of(folder: Path | str, camera_id: str) -> Path:
    """Where the references of *camera_id* lie. ValueError for an id that is no camera id (and so never a path)."""
    return whole.file_of(folder, camera_id, SUFFIX)


def stamp(folder: Path | str, camera_id: str) -> Stamp:
    """Changes whenever either file is replaced, and costs two stats; None = not commissioned (or not to be seen)."""
    path = path_of(folder, camera_id)
    approved = whole.stamp(path)
    return approved and approved + (whole.stamp(_learnt_beside(path)) or ())


def load(folder: Path | str, camera_id: str) -> References | ViewFault | None:
    """The references of *camera_id*, with what was learnt since; None = never commissioned; a fault if not to be trusted.

    Whatever is wrong with what was learnt, the approved references stand: see `learnt_lights` for the reason.
    """
    approved = load_approved(folder, camera_id)
    if not isinstance(approved, References):
        return approved
    learnt = learnt_lights(folder, camera_id, approved)
    if isinstance(learnt, ViewFault) or not learnt:
        return approved
    return replace(approved, lights=approved.lights + learnt, learnt=len(learnt))


def load_approved(folder: Path | str, camera_id: str) -> References | ViewFault | None:
    """As `load`, without what was learnt: exactly what a person approved."""
    path = path_of(folder, camera_id)
    try:
        return _decode(_read(path), camera_id)
    except FileNotFoundError:
        return None
    except OSError as error:
        return ViewFault(camera=camera_id, why=f"{path}: cannot be read: {error.strerror or error}")
    except _Damaged as damage:
        return ViewFault(camera=camera_id, why=f"{path}: {damage}")


def learnt_lights(
    folder: Path | str, camera_id: str, approved: References
) -> tuple[Light, ...] | ViewFault:
    """The lights that were learnt under *approved*; empty if none were, a fault if they are not to be trusted."""
    path = _learnt_beside(path_of(folder, camera_id))
    try:
        return _decode_learnt(_read(path), camera_id, approved)
    except FileNotFoundError:
        return ()
    except OSError as error:
        return ViewFault(camera=camera_id, why=f"{path}: cannot be read: {error.strerror or error}")
    except _Damaged as damage:
        return ViewFault(camera=camera_id, why=f"{path}: {damage}")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def save(folder: Path | str, camera_id: str, references: References) -> Path:
    """Write what was approved of *references*, whole or not at all, and be on disk on return; what was learnt is void then.

    OSError if the disk refuses; ValueError if they are too large or their owner's name is.
    """
    path = path_of(folder, camera_id)
    whole.write(path, _encode(references, camera_id))
    # A power cut before this line leaves lights that name another anchor, and so count for nothing.
    _learnt_beside(path).unlink(missing_ok=True)
    return path


def save_learnt(folder: Path | str, camera_id: str, anchor: str, lights: tuple[Light, ...]) -> Path:
    """Write the lights that were learnt under the approved references with that *anchor*: all of them, whole or not at all.

    OSError if the disk refuses; ValueError if there are none, too many, or they are too large. Lights whose names are
    those of approved ones are saved, and refused when they are loaded.
    """
    path = _learnt_beside(path_of(folder, camera_id))
    if not 1 <= len(lights) < MAX_LIGHTS:
        msg = f"{len(lights)} learnt lights; 1 to {MAX_LIGHTS - 1} are possible beside an approved one"
        raise ValueError(msg)
    head: dict[str, object] = {"camera": camera_id, "anchor": anchor}
    raw = _pack(MAGIC_LEARNT, head, lights, (), camera_id)
    whole.write(path, raw)
    return path


def _learnt_beside(path: Path) -> Path:
    return path.with_suffix(SUFFIX_LEARNT)


def forget(folder: Path | str, camera_id: str) -> bool:
    """Remove the references and what was learnt; True if there were any. OSError if the disk refuses."""
    path = path_of(folder, camera_id)
    # The approved file first: without it what was learnt counts for nothing, whenever the power goes.
    gone = _unlink(path)
    if not _unlink(_learnt_beside(path)) and not gone:
        return False
    whole.sync_folder(path.parent)
    return gone


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
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
            found.append(_listed(folder, camera, path, references))
    return tuple(found)


def _listed(
    folder: Path | str, camera: str, path: Path, references: References | ViewFault
) -> Listed:
    about = path.stat()
    learnt = learnt_lights(folder, camera, references) if isinstance(references, References) else ()
    return Listed(
        camera=camera,
        references=references,
        size_bytes=about.st_size,
        saved_wall_s=about.st_mtime,
        learnt_why=learnt.why if isinstance(learnt, ViewFault) else "",
    )


# ---- the format ----


def _encode(references: References, camera_id: str) -> bytes:
    if len(references.owner) > MAX_OWNER or not references.owner.isprintable():
        msg = f"the owner's name must be at most {MAX_OWNER} printable characters"
        raise ValueError(msg)
    device = references.device
    head: dict[str, object] = {
        "camera": camera_id,
        "anchor": references.anchor,
        "owner": references.owner,
        "commissioned_wall_s": float(references.commissioned_wall_s),
        "device": None if device is None else asdict(device),
    }
    counts = (np.packbits(references.counts).tobytes(),)
    return _pack(MAGIC, head, references.approved, counts, camera_id)


def _pack(
    magic: bytes,
    head: dict[str, object],
    lights: tuple[Light, ...],
    planes: tuple[bytes, ...],
    camera_id: str,
) -> bytes:
    about = [
        {
            "name": light.name,
            "mean_grey": light.mean_grey,
            "crispness": light.crispness,
            "frames": light.frames,
        }
        for light in lights
    ]
    head = head | {"width": WIDTH, "height": HEIGHT, "lights": about}
    maps = [plane.tobytes() for light in lights for plane in (light.re, light.im)]
    deflated = zlib.compress(b"".join([*planes, *maps]), 9)
    body = json.dumps(head, sort_keys=True).encode() + b"\n" + deflated
    raw = magic + hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    if len(raw) > MAX_FILE_BYTES:
        msg = (
            f"references of {camera_id} take {len(raw)} bytes, at most {MAX_FILE_BYTES} are allowed"
        )
        raise ValueError(msg)
    return raw


def _decode(raw: bytes, camera_id: str) -> References:
    head, deflated = _unpack(MAGIC, raw, camera_id)
    owner, wall_s = head.get("owner"), head.get("commissioned_wall_s")
    if not isinstance(owner, str) or len(owner) > MAX_OWNER or not owner.isprintable():
        raise _Damaged("damaged: its owner is not described as it should be")
    if not isinstance(wall_s, float) or not 0.0 <= wall_s <= _MAX_WALL_S:
        raise _Damaged("damaged: its time is no time")
    planes = _inflate(deflated, _COUNTS_BYTES + len(_lights(head)) * 2 * _PLANE)
    bits = np.unpackbits(np.frombuffer(planes, np.uint8, _COUNTS_BYTES))
    references = References(
        counts=bits.reshape(HEIGHT, WIDTH).astype(np.bool_),
        lights=_maps(_lights(head), planes[_COUNTS_BYTES:]),
        device=_device(head.get("device")),
        owner=owner,
        commissioned_wall_s=wall_s,
    )
    if references.anchor != head.get("anchor"):
        raise _Damaged("damaged: its maps are not those it was saved with")
    return references


def _decode_learnt(raw: bytes, camera_id: str, approved: References) -> tuple[Light, ...]:
    head, deflated = _unpack(MAGIC_LEARNT, raw, camera_id)
    if head.get("anchor") != approved.anchor:
        raise _Damaged("learnt under other references than those that are approved now")
    heads = _lights(head)
    names = [light.name for light in approved.approved] + [h.name for h in heads]
    if len(names) > MAX_LIGHTS or len(set(names)) < len(names):
        raise _Damaged("too many kinds of light, or one twice")
    lights = _maps(heads, _inflate(deflated, len(heads) * 2 * _PLANE))
    if not all(any(_is_part_of(light, whole) for whole in approved.approved) for light in lights):
        raise _Damaged("it holds what nobody approved")
    return lights


def _is_part_of(light: Light, whole: Light) -> bool:
    """Whether each part of *light* is empty or that of *whole* (docs/design/lights.md, invariant 1): whoever wrote the file."""
    mine, theirs = (np.stack([map_.re, map_.im]) for map_ in (light, whole))
    shape = (2, TILES_Y, HEIGHT // TILES_Y, TILES_X, WIDTH // TILES_X)
    same = (mine == theirs).reshape(shape).all(axis=(0, 2, 4))
    empty = (mine == 0).reshape(shape).all(axis=(0, 2, 4))
    return bool((same | empty).all())


def _unpack(magic: bytes, raw: bytes, camera_id: str) -> tuple[dict[str, object], bytes]:
    """Header and packed maps of a file that is whole and of this camera."""
    if len(raw) > MAX_FILE_BYTES:
        raise _Damaged("larger than any reference: not one of ours")
    if not raw.startswith(magic):
        version = raw.startswith(magic[:-2])
        raise _Damaged(
            "made by another version of the agent" if version else "empty or not a reference file"
        )
    digest, _, body = raw[len(magic) :].partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise _Damaged("damaged: its checksum does not fit")
    line, _, deflated = body.partition(b"\n")
    head = _head(line)
    if head.get("camera") != camera_id:
        msg = f"made for camera {head.get('camera')!r}, not for this one"
        raise _Damaged(msg)
    if (head.get("width"), head.get("height")) != (WIDTH, HEIGHT):
        raise _Damaged("made for another picture size")
    return head, deflated


def _head(line: bytes) -> dict[str, object]:
    try:
        head: object = json.loads(line)
    except ValueError as error:
        raise _Damaged("damaged: its header cannot be read") from error
    if not isinstance(head, dict):
        raise _Damaged("damaged: its header is no table")
    return cast("dict[str, object]", head)


def _device(value: object) -> Device | None:
    if value is None:
        return None
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    codec, mac = fields.get("codec"), fields.get("mac")
    width, height = fields.get("width"), fields.get("height")
    if (
        not isinstance(codec, str)
        or len(codec) > _MAX_CODEC
        or not codec.isprintable()
        or not isinstance(mac, str)
        or not (mac == "" or is_mac(mac))
        or not isinstance(width, int)
        or not isinstance(height, int)
        or not 0 <= width <= _MAX_SIDE
        or not 0 <= height <= _MAX_SIDE
    ):
        raise _Damaged("damaged: its device is not described as it should be")
    return Device(codec=codec, width=width, height=height, mac=mac)


@dataclass(frozen=True, slots=True)
class _LightHead:
    name: str
    mean_grey: float
    crispness: float
    frames: int


def _lights(head: dict[str, object]) -> tuple[_LightHead, ...]:
    value = head.get("lights")
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_LIGHTS:
        raise _Damaged("damaged: an empty set of references")
    lights = tuple(_light_head(item) for item in value)
    if len({light.name for light in lights}) < len(lights):
        raise _Damaged("damaged: a kind of light is there twice")
    return lights


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


def _inflate(deflated: bytes, wanted: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        planes = inflate.decompress(deflated, wanted + 1)
    except zlib.error as error:
        raise _Damaged("damaged: its maps cannot be unpacked") from error
    if len(planes) != wanted:
        raise _Damaged("damaged: its maps are not of the right size")
    return planes


def _maps(heads: tuple[_LightHead, ...], planes: bytes) -> tuple[Light, ...]:
    maps = np.frombuffer(planes, np.int8).reshape(len(heads), 2, HEIGHT, WIDTH)
    if bool((np.abs(maps.astype(np.int16)) > LEVELS).any()):
        raise _Damaged("damaged: its maps hold values that no map has")
    return tuple(
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
