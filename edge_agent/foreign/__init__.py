"""Strange rooms and streets, as maps, and how near a commissioned view comes to one of them.

Promises: a map holds the direction of edges in 16 steps and their weight in 3, at 160x120: no brightness, no colour, no
photograph, nobody in it. `maps` gives exactly what the bank's maker wrote or raises `BankDamaged`; nothing is skipped.
Made by `python -m tests.bench.foreign_bank DIR`; where the pictures came from: LICENCES.md beside this file.
Not its job: deciding what is too near (commission.py), comparing (vision/match.py).

File: a line of magic and version, a line with the SHA-256 of all that follows, a line of JSON (`names`; `gauge`: what the
maker's eye made of a drawn picture), then the maps, one byte a point, deflated: 0 (no edge) or direction * 3 + weight.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from edge_agent.vision import HEIGHT, WIDTH, Complexes, Likeness, References, map_of

MAGIC: Final = b"edge-agent foreign 1\n"
BANK: Final = "bank.bin"
MAP_WIDTH: Final = 160
MAP_HEIGHT: Final = 120
DIRECTIONS: Final = 16
WEIGHTS: Final = 3
_POINTS: Final = MAP_WIDTH * MAP_HEIGHT
_MAX_MAPS: Final = 1000
_SHIFTS: Final = (0.1, 0.25)  # of the width and the height


class BankDamaged(Exception):  # noqa: N818 - said of the file, not of a call
    """The bank that belongs to the package is missing or not what was shipped."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stranger:
    """One map of something that is not the commissioned view. `name`: what it is, for a person."""

    name: str
    described: Complexes


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The stranger that comes nearest to a view; `score` as in a reading: 1 would be a match."""

    name: str
    score: float


def maps(raw: bytes | None = None) -> Iterator[Stranger]:
    """Every map of the bank, or of *raw*, one at a time: all together would take 150 MB. BankDamaged if it is not whole."""
    names, points = _unpack(_shipped() if raw is None else raw)
    for name, symbols in zip(names, points, strict=True):
        yield Stranger(name=name, described=_described(symbols))


def strangers_of(references: References, what: str) -> Iterator[Stranger]:
    """The approved lights of another camera, as strangers; *what* names that camera for a person."""
    for light in references.approved:
        yield Stranger(name=f"{what} ({light.name})", described=map_of(light))


def displaced(references: References) -> Iterator[Stranger]:
    """The view itself, mirrored and shifted: what it would still match if it were less than a place."""
    for light in references.approved:
        held = map_of(light)
        # A mirrored edge leans the other way: with doubled angles that is the conjugate.
        yield Stranger(name="its own mirror image", described=np.conj(held[:, ::-1]))
        for share in _SHIFTS:
            for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                moved = _shifted(held, round(x * share * WIDTH), round(y * share * HEIGHT))
                yield Stranger(name=f"itself shifted by {share:.0%}", described=moved)


def nearest(references: References, strangers: Iterable[Stranger]) -> Nearest:
    """Which of *strangers* matches *references* best. About 5 ms a light and stranger; score 0 if there is none."""
    likeness = Likeness(references)
    best = Nearest(name="", score=0.0)
    for stranger in strangers:
        score = likeness.score(stranger.described)
        if score > best.score:
            best = Nearest(name=stranger.name, score=score)
    return best


def _shifted(plane: Complexes, x: int, y: int) -> Complexes:
    out = np.zeros_like(plane)
    height, width = plane.shape
    out[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = plane[
        max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)
    ]
    return out


def _shipped() -> bytes:
    try:
        return (files(__name__) / BANK).read_bytes()
    except OSError as error:
        msg = f"the bank of foreign maps cannot be read: {error}"
        raise BankDamaged(msg) from error


def _unpack(raw: bytes) -> tuple[list[str], npt.NDArray[np.uint8]]:
    digest, _, body = raw.removeprefix(MAGIC).partition(b"\n")
    if not raw.startswith(MAGIC) or hashlib.sha256(body).hexdigest().encode() != digest:
        raise BankDamaged("the bank of foreign maps is damaged: install the agent again")
    line, _, deflated = body.partition(b"\n")
    try:
        head = cast("dict[str, object]", json.loads(line))
        names = [str(name) for name in cast("list[object]", head["names"])]
        inflated = zlib.decompressobj().decompress(deflated, len(names) * _POINTS + 1)
        points = np.frombuffer(inflated, np.uint8).reshape(len(names), MAP_HEIGHT, MAP_WIDTH)
        if not names or int(points.max()) > DIRECTIONS * WEIGHTS:
            raise BankDamaged("the bank of foreign maps is empty or holds what no map has")
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        msg = f"the bank of foreign maps is not what this version can read: {error}"
        raise BankDamaged(msg) from error
    return names, points


_CODES: Final = np.arange(DIRECTIONS * WEIGHTS)
_VALUES: Final = np.append(
    np.complex64(0),
    ((_CODES % WEIGHTS + 1) / WEIGHTS * np.exp(2j * np.pi * (_CODES // WEIGHTS) / DIRECTIONS)),
).astype(np.complex64)


def _described(points: npt.NDArray[np.uint8]) -> Complexes:
    """The map at full size. Repeating points scores within 3 % of the picture itself, and so does any smoother way."""
    return np.asarray(_VALUES[points].repeat(2, axis=0).repeat(2, axis=1), dtype=np.complex64)
