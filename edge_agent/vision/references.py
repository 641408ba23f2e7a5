"""What a camera was commissioned to see: maps of edge directions, one a kind of light, and how they are made. Pure.

Promises: only edges that keep their place count, on-screen text never does, and a view with too little to go by is refused
with what to do about it. A map holds directions in 15 steps where something stayed put: no photograph, nobody in it.
Not its job: files (views.py), asking a person (commission.py), comparing (match.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.core.messages import Unusable
from edge_agent.device import Device
from edge_agent.vision.describe import (
    TILES_X,
    TILES_Y,
    Complexes,
    Mask,
    by_tile,
    cells_of,
    crispness,
    describe,
    frame_mask,
    unusable_of,
)
from edge_agent.vision.picture import HEIGHT, WIDTH
from edge_agent.vision.text import OSD_MAX_SHARE, on_screen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_agent.vision.picture import Grey

LEVELS: Final = 7
TILE_WEIGHT: Final = 30.0  # of 400 at most: below, a tile holds sky or bare asphalt and can neither agree nor disagree

MIN_TILES: Final = 20
MIN_CELLS: Final = 7
# At night lamps show a part of the view only. Beside a sound light less will do, as a match needs no fewer tiles for it.
MIN_TILES_BESIDE: Final = 12
MIN_CELLS_BESIDE: Final = 5
TEXT_TILE_SHARE: Final = 0.25  # of what counts of a tile: said to hold text
MAX_TILE_SHARE: Final = 0.4  # of all weight in one tile
MIN_STEADY: Final = 0.38  # of the edges that keep their place: 0.6 and more even over hours, 0.36 if it is two places in turn
COHERENT: Final = 0.6  # an edge that is there, in one direction, in less than that share of a burst: a leaf, a car, a person


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Light:
    """The view in one kind of light. `re`, `im`: edge direction times steadiness, -7..7 (4 bits are enough)."""

    name: str
    re: npt.NDArray[np.int8]
    im: npt.NDArray[np.int8]
    mean_grey: float
    crispness: float
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class References:
    """What a camera was commissioned to see. `counts`: pixels that count as evidence (False = text, strip, border).

    `anchor` digests what a person approved: mask, lights, device, owner and time. `view` digests that and what was learnt
    since; they are equal while nothing was.
    """

    counts: Mask
    lights: tuple[Light, ...]
    learnt: int = (
        0  # so many of the lights, the last ones, were learnt in service and approved by nobody
    )
    device: Device | None = None
    owner: str = ""  # who approved the view
    commissioned_wall_s: float = 0.0  # Unix time; 0 = not known
    anchor: str = field(init=False)
    view: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(np.packbits(self.counts).tobytes())
        device = dataclasses.astuple(self.device) if self.device is not None else None
        digest.update(repr((device, self.owner, self.commissioned_wall_s)).encode())
        _digest_lights(digest, self.approved)
        object.__setattr__(self, "anchor", digest.hexdigest())
        _digest_lights(digest, self.lights[len(self.approved) :])
        object.__setattr__(self, "view", digest.hexdigest())

    @property
    def approved(self) -> tuple[Light, ...]:
        """The lights that a person approved; the others were learnt beside them."""
        return self.lights[: len(self.lights) - self.learnt]


def _digest_lights(digest: hashlib._Hash, lights: tuple[Light, ...]) -> None:
    for light in lights:
        digest.update(repr((light.name, light.mean_grey, light.crispness, light.frames)).encode())
        digest.update(light.re.tobytes())
        digest.update(light.im.tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What a commissioned view has to go by, for the person who commissions it."""

    tiles: int
    cells: int
    steady: float
    masked_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why these pictures make no reference, and what to do; `structure` if it came so far."""

    why: str
    structure: Structure | None = None


def build(
    frames_by_light: Mapping[str, Sequence[Grey | None]], *, text: Mask | None = None
) -> References | Refusal:
    """References from small grey pictures of one view, by kind of light ("day", "night"). Pure.

    *text*: what a person named as on-screen text, beside what is found.

    One picture a light works; a burst is better: what moves in it loses weight. One light at least must have structure
    all over; others may have less.
    """
    kept = {name: [f for f in frames if f is not None] for name, frames in frames_by_light.items()}
    if not kept or not all(kept.values()):
        return Refusal(why="no usable picture: look at the camera's own finding first")
    for frames in kept.values():
        for frame in frames:
            unusable = unusable_of(frame, describe(frame)[1], frame_mask())
            if unusable is not None:
                return Refusal(why=_UNUSABLE_WORDS[unusable])
    counts = _without_text(frame_mask(), kept.values(), text)
    lights = [light_from(name, frames, counts) for name, frames in kept.items()]
    structures = [structure_with(light, kept[light.name], counts) for light in lights]
    beside = any(s.tiles >= MIN_TILES and s.cells >= MIN_CELLS for s in structures)
    for light, structure in zip(lights, structures, strict=True):
        why = _weakness(structure, light, beside=beside)
        if why:
            return Refusal(why=f"{light.name}: {why}", structure=structure)
    return References(counts=counts, lights=tuple(lights))


def add_light(
    references: References,
    name: str,
    frames: Sequence[Grey | None],
    *,
    text: Mask | None = None,
) -> References | Refusal:
    """*references* with one more (or a renewed) kind of light; what is text in the new light counts in none. Pure.

    What was learnt since is left out: it was learnt under another mask.
    """
    kept = [f for f in frames if f is not None]
    alone = build({name: kept})
    if isinstance(alone, Refusal) and alone.structure is None:
        return alone
    counts = _without_text(references.counts, [kept] if kept else [], text)
    old = [masked(light, counts) for light in references.approved if light.name != name]
    new = light_from(name, kept, counts)
    why = _weakness(structure_with(new, kept, counts), new, beside=bool(old))
    if why:
        return Refusal(why=f"{name}: {why}", structure=structure_with(new, kept, counts))
    return dataclasses.replace(references, counts=counts, lights=(*old, new), learnt=0)


def _without_text(counts: Mask, bursts: Iterable[Sequence[Grey]], named: Mask | None) -> Mask:
    left = counts.copy()
    for frames in bursts:
        left &= ~on_screen(frames)
    return left if named is None else left & ~named


def masked(light: Light, counts: Mask) -> Light:
    """*light* without what *counts* leaves out."""
    return dataclasses.replace(
        light, re=np.where(counts, light.re, np.int8(0)), im=np.where(counts, light.im, np.int8(0))
    )


def tile_map(references: References) -> str:
    """Six lines of eight: '#' edges to go by, 't' a quarter or more is on-screen text, '+' both, '.' neither."""
    held = np.max([by_tile(np.abs(map_of(light)) ** 2) for light in references.lights], axis=0)
    left = by_tile(frame_mask().astype(np.float32))
    text = by_tile((frame_mask() & ~references.counts).astype(np.float32))
    kinds = (held > TILE_WEIGHT) + 2 * (text > TEXT_TILE_SHARE * np.maximum(left, 1.0))
    return "\n".join("".join(".#t+"[kind] for kind in row) for row in kinds.tolist())


def masked_boxes(references: References) -> tuple[tuple[int, int, int, int], ...]:
    """Where text was found or named: boxes x, y, width, height in per cent of the picture, the largest first."""
    text = (frame_mask() & ~references.counts).astype(np.uint8)
    found = cv2.connectedComponentsWithStats(text, connectivity=8)[2][1:]
    boxes = sorted(found.tolist(), key=lambda box: -box[cv2.CC_STAT_AREA])
    return tuple(
        (
            round(100 * x / WIDTH),
            round(100 * y / HEIGHT),
            max(round(100 * width / WIDTH), 1),
            max(round(100 * height / HEIGHT), 1),
        )
        for x, y, width, height, _ in boxes
    )


def structure_of(references: References) -> tuple[Structure, ...]:
    """What each light of *references* has to go by (steadiness is known only while building: 1.0)."""
    return tuple(structure_with(light, (), references.counts) for light in references.lights)


_UNUSABLE_WORDS: Final = {
    Unusable.DARK: "the picture is too dark to see the view: come back by day, or switch the lamp on",
    Unusable.BLOWN: "most of the picture is over-exposed: turn the camera away from the light, or shade it",
    Unusable.COVERED: "there is next to no structure in the picture: uncover or clean the lens, or focus it",
    Unusable.NOT_A_PICTURE: "that is not a picture of a usual size",
}


def light_from(name: str, frames: Sequence[Grey], counts: Mask) -> Light:
    """The map of a burst: an edge counts as far as it kept its direction. One frame works."""
    described = np.stack([describe(f)[0] for f in frames])
    mean = described.mean(axis=0)
    magnitude = np.abs(described)
    when_there = magnitude.sum(axis=0) / np.maximum((magnitude > 0).sum(axis=0), 1)
    steady = np.abs(mean) >= COHERENT * np.maximum(when_there, 1e-6)
    held = np.where(steady & counts, mean, 0)
    where = np.abs(held) > 0.2
    crisp = float(np.median([crispness(f, where) for f in frames]))
    return Light(
        name=name,
        re=np.rint(held.real * LEVELS).astype(np.int8),
        im=np.rint(held.imag * LEVELS).astype(np.int8),
        mean_grey=round(float(np.mean([f.mean() for f in frames])), 2),
        crispness=round(crisp, 4),
        frames=len(frames),
    )


def map_of(light: Light) -> Complexes:
    """The map as complex numbers, double angle, magnitude 0..1."""
    return ((light.re.astype(np.float32) + 1j * light.im.astype(np.float32)) / LEVELS).astype(
        np.complex64
    )


def structure_with(light: Light, frames: Sequence[Grey], counts: Mask) -> Structure:
    """What *light*, made of *frames*, has to go by; without frames its steadiness is taken as 1."""
    held = map_of(light)
    weight = by_tile(np.abs(held) ** 2)
    tiles = weight > TILE_WEIGHT
    effort = sum(float(np.abs(describe(f)[0])[counts].sum()) for f in frames) / max(len(frames), 1)
    return Structure(
        tiles=int(tiles.sum()),
        cells=cells_of(tiles),
        steady=min(float(np.abs(held).sum()) / effort, 1.0) if effort > 0 else 1.0,
        masked_share=round(1.0 - float(counts.sum()) / float(frame_mask().sum()), 3),
    )


def _weakness(structure: Structure, light: Light, *, beside: bool) -> str | None:
    min_tiles = MIN_TILES_BESIDE if beside else MIN_TILES
    min_cells = MIN_CELLS_BESIDE if beside else MIN_CELLS
    weight = by_tile(np.abs(map_of(light)) ** 2)
    if structure.masked_share > OSD_MAX_SHARE:
        return "half of the picture is text or glare: remove on-screen text in the camera's menu, or re-aim"
    if structure.steady < MIN_STEADY:
        return "the view moves while it is recorded: fix the camera, stop pan and zoom, wait until traffic has passed"
    if structure.tiles < min_tiles:
        return (
            f"only {structure.tiles} of {TILES_X * TILES_Y} parts of the picture hold fixed edges, {min_tiles} are "
            "needed: aim lower, so that kerbs, walls, poles and roofs fill the picture and not sky, leaves or bare road"
        )
    if structure.cells < min_cells:
        return (
            f"fixed edges lie in {structure.cells} of 9 parts of the picture only, {min_cells} are needed: turn the "
            "camera so that buildings, kerbs or poles lie on all sides"
        )
    if float(weight.max()) > MAX_TILE_SHARE * float(weight.sum()):
        return "nearly all fixed edges are in one spot: turn the camera so that more of the street is seen"
    return None
