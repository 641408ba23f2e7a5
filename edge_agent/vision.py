"""One picture -> what it says about the commissioned view. OpenCV and numpy only.

Promises: `Eye.read` never raises, whatever array it is given; a picture that cannot be judged says why; a view that was
never commissioned never scores. What is compared is the direction of edges in place, not brightness, so day, dusk and
infrared of one street agree, and another street or a room does not. On-screen text travels with a camera when it is taken
home, so it is found at commissioning and counts for nothing; the share of the view that must agree holds even if some is
missed. References are maps of edge directions: no photograph is kept, and nobody in one can be recognised.
The steps, their figures and how the limits were found: docs/design/view.md.
Not its job: time, verdicts (core/scene.py), files (views.py), fetching pictures (capture.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.core.messages import SceneReading, Unusable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# One picture each few seconds needs no second thread, and OpenCV's pool would spin beside the decoders.
cv2.setNumThreads(1)

Grey: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float32]
Complexes: TypeAlias = npt.NDArray[np.complex64]

WIDTH: Final = 320
HEIGHT: Final = 240

# ---- pictures that nobody sends ----

MIN_SIDE: Final = 48
MAX_SIDE: Final = 8192
MAX_PIXELS: Final = 16_000_000  # a 12 megapixel camera fits; a 16k x 16k bomb of 33 kB does not
MAX_JPEG_BYTES: Final = 16_000_000

# ---- limits; each part of the score is divided by its own (docs/design/view.md) ----

LIMIT_EDGE_Z: Final = 2.5
LIMIT_SHARE: Final = 0.34
LIMIT_CELLS: Final = 3
LIMIT_NCC: Final = 0.10

NEAR_PX: Final = 4  # a bolted camera shakes by about 1 % of the width; more is a camera that moved
BACKGROUND_X: Final = 64
BACKGROUND_Y: Final = 48
OWN_PX: Final = 12  # around a true peak neighbours are high too: they are no background
ELSEWHERE_Z: Final = 6.0  # foreign rooms and streets reach that somewhere now and then, but never with a quarter of the tiles
ELSEWHERE_SHARE: Final = 0.25

TILES_X: Final = 8
TILES_Y: Final = 6
CELLS: Final = 3
TILE_WEIGHT: Final = 30.0  # of 400 at most: below, a tile holds sky or bare asphalt and can neither agree nor disagree
TILE_SPREADS: Final = 2.5
_OFF_SHIFTS: Final = tuple(
    (round(r * np.cos(a)), round(r * np.sin(a)))
    for r, n in ((9, 6), (14, 10), (20, 14))
    for a in np.linspace(0.0, 2.0 * np.pi, n, endpoint=False)
)
_PAD: Final = 20 + BACKGROUND_X  # the farthest off-shift around the farthest displaced peak

# ---- what a picture must have to say anything ----

DARK_MEAN: Final = 28.0  # rooms with the lights off: 19..27; the darkest lit street at night: 37
DARK_GREY: Final = 20
BLOWN_GREY: Final = 245
BLOWN_SHARE: Final = 0.6
EDGE_FLOOR: Final = 4.0  # grey levels per pixel; below it is noise and codec ringing
STRUCTURE_MIN: Final = (
    0.08  # share of the picture above the floor: streets have 0.16 and more, a covered lens 0.03
)

# ---- on-screen text ----

TOP_STRIP: Final = 0.13  # clock, name and logo: nearly every recorder writes there
BORDER_PX: Final = 6
# Text is drawn: black beside white within 3 pixels (grey levels of difference), dense in an 11 x 11 neighbourhood, where a
# roof against the sky is a line. A wider search (80 levels) finds a few letters more, and masks so many fences and windows
# that strangers come closer to a match than they do with those letters missed (docs/design/view.md).
TEXT_CONTRAST: Final = 120
TEXT_DENSITY: Final = 0.35
OSD_MAX_SHARE: Final = 0.5  # more than this masked and the view is refused

# ---- commissioning ----

MIN_TILES: Final = 20
MIN_CELLS: Final = 7
# At night lamps show a part of the view only. Beside a sound light less will do, as a match needs no fewer tiles for it.
MIN_TILES_BESIDE: Final = 12
MIN_CELLS_BESIDE: Final = 5
MAX_TILE_SHARE: Final = 0.4  # of all weight in one tile
MIN_STEADY: Final = 0.38  # of the edges that keep their place: 0.6 and more even over hours, 0.36 if it is two places in turn
COHERENT: Final = 0.6  # an edge that is there, in one direction, in less than that share of a burst: a leaf, a car, a person

NOISE_GREY: Final = 12.0  # change of a pixel of the 80 x 60 picture that is no noise
_CHANGE_SIZE: Final = (80, 60)


def jpeg_size(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height as the JPEG's header says, without decoding; None if this is no JPEG."""
    if not jpeg.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF:
            return None
        marker = jpeg[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", jpeg, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if at + 9 > len(jpeg):
                return None
            height, width = struct.unpack_from(">HH", jpeg, at + 5)
            return width, height
        if marker == 0xDA or length < 2:  # scan data before any frame header
            return None
        at += 2 + length
    return None


def _sane_size(width: int, height: int) -> bool:
    return (
        min(width, height) >= MIN_SIDE
        and max(width, height) <= MAX_SIDE
        and width * height <= MAX_PIXELS
    )


def scaled_grey_from_jpeg(jpeg: bytes) -> Grey | None:
    """Decode *jpeg* to the small grey picture; None if it is damaged, cut short, no JPEG or of a size nobody sends.

    Any thread. Memory is bounded before decoding: the size is read from the header first.
    """
    if len(jpeg) > MAX_JPEG_BYTES:
        return None
    size = jpeg_size(jpeg)
    if size is None or not _sane_size(*size):
        return None
    # Some cameras pad with zeros; a picture that does not end in the end marker was cut on the way.
    if not jpeg.rstrip(b"\x00").endswith(b"\xff\xd9"):
        return None
    try:
        decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), _decode_flags(*size))
    except cv2.error:
        return None
    return None if decoded is None else scaled_grey(decoded)


def _decode_flags(width: int, height: int) -> int:
    reduced = {
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    }
    for factor, flag in reduced.items():
        if width >= factor * WIDTH and height >= factor * HEIGHT:
            return int(flag | cv2.IMREAD_IGNORE_ORIENTATION)
    return int(cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)


def scaled_grey(picture: object) -> Grey | None:
    """The small grey picture of a BGR or grey array; None if it is no picture (type, shape, size). Never raises."""
    if (
        not isinstance(picture, np.ndarray)
        or picture.dtype != np.uint8
        or picture.ndim not in {2, 3}
    ):
        return None
    height, width = picture.shape[:2]
    if not _sane_size(width, height) or picture.shape[2:] not in {(), (1,), (3,)}:
        return None
    pixels = np.asarray(picture, dtype=np.uint8)
    try:
        grey = (
            cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
            if picture.shape[2:] == (3,)
            else pixels.reshape(height, width)
        )
        small = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    except cv2.error:
        return None
    return np.ascontiguousarray(small, dtype=np.uint8)


# ---- describing a picture ----


def _describe(grey: Grey) -> tuple[Complexes, Floats]:
    """Edge direction as a double angle times a weight of 0..1, and edge strength in grey levels per pixel.

    Doubling the angle makes bright-to-dark equal dark-to-bright (headlights, foliage under infrared); the weight is
    relative to the strength nearby, so a floodlit wall does not outvote a dim kerb.
    """
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.2)
    gx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.25)
    gy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.25)
    power = gx * gx + gy * gy
    strength = np.sqrt(power)
    nearby = np.sqrt(cv2.GaussianBlur(power, (0, 0), 12.0))
    weight = np.minimum(strength / (nearby + 3.0), 2.0) / 2.0
    weight[strength <= EDGE_FLOOR] = 0.0
    unit = weight / np.maximum(power, 1e-6)
    described = np.empty(grey.shape, np.complex64)
    described.real = (gx * gx - gy * gy) * unit
    described.imag = 2.0 * gx * gy * unit
    return described, strength.astype(np.float32)


def _crispness(grey: Grey, where: Mask) -> float:
    """Fine detail against coarse detail at the edges *where*; 0 if there is none."""
    if not where.any():
        return 0.0
    full = grey.astype(np.float32)
    fine = cv2.GaussianBlur(full, (0, 0), 1.0)
    coarse = cv2.GaussianBlur(fine, (0, 0), 4.0)
    return float(
        np.abs(full - fine)[where].sum() / max(float(np.abs(fine - coarse)[where].sum()), 1.0)
    )


def _drawn(grey: Grey) -> Mask:
    """Where the picture is drawn rather than seen: dense edges of full contrast."""
    span = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    dense = cv2.boxFilter((span >= TEXT_CONTRAST).astype(np.float32), -1, (11, 11)) > TEXT_DENSITY
    return np.asarray(dense, dtype=np.bool_)


def _on_screen(frames: Sequence[Grey]) -> Mask:
    """Text and logos in pictures of one light: drawn, and in the same place in nearly all of them."""
    often = np.mean([_drawn(f) for f in frames], axis=0) >= 0.8
    joined = cv2.morphologyEx(often.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return np.asarray(cv2.dilate(joined, np.ones((13, 13), np.uint8)) > 0, dtype=np.bool_)


def _frame_mask() -> Mask:
    """Pixels that no camera's references count: top strip and borders."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[int(HEIGHT * TOP_STRIP) : -BORDER_PX, BORDER_PX:-BORDER_PX] = True
    return mask


def _by_tile(values: Floats) -> Floats:
    return np.asarray(
        values.reshape(TILES_Y, HEIGHT // TILES_Y, TILES_X, WIDTH // TILES_X).sum((1, 3)),
        dtype=np.float32,
    )


def _cells_of(tiles: Mask) -> int:
    """How many of the 3 x 3 parts of the picture hold one of *tiles*."""
    rows, columns = np.nonzero(tiles)
    return len(
        set(
            zip(
                (rows * CELLS // TILES_Y).tolist(),
                (columns * CELLS // TILES_X).tolist(),
                strict=True,
            )
        )
    )


# ---- references ----


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
    """What a camera was commissioned to see. `counts`: pixels that count as evidence (False = text, strip, border)."""

    counts: Mask
    lights: tuple[Light, ...]
    view: str = field(init=False)  # digest of all of it

    def __post_init__(self) -> None:
        digest = hashlib.sha256(np.packbits(self.counts).tobytes())
        for light in self.lights:
            digest.update(
                repr((light.name, light.mean_grey, light.crispness, light.frames)).encode()
            )
            digest.update(light.re.tobytes())
            digest.update(light.im.tobytes())
        object.__setattr__(self, "view", digest.hexdigest())


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


LEVELS: Final = 7


def build(frames_by_light: Mapping[str, Sequence[Grey | None]]) -> References | Refusal:
    """References from small grey pictures of one view, by kind of light ("day", "night"). Pure.

    One picture a light works; a burst is better: what moves in it loses weight. One light at least must have structure
    all over; others may have less.
    """
    kept = {name: [f for f in frames if f is not None] for name, frames in frames_by_light.items()}
    if not kept or not all(kept.values()):
        return Refusal(why="no usable picture: look at the camera's own finding first")
    for frames in kept.values():
        for frame in frames:
            unusable = _unusable(frame, _describe(frame)[1], _frame_mask())
            if unusable is not None:
                return Refusal(why=_UNUSABLE_WORDS[unusable])
    counts = _frame_mask()
    for frames in kept.values():
        counts &= ~_on_screen(frames)
    lights = [_light(name, frames, counts) for name, frames in kept.items()]
    structures = [_structure(light, kept[light.name], counts) for light in lights]
    beside = any(s.tiles >= MIN_TILES and s.cells >= MIN_CELLS for s in structures)
    for light, structure in zip(lights, structures, strict=True):
        why = _weakness(structure, light, beside=beside)
        if why:
            return Refusal(why=f"{light.name}: {why}", structure=structure)
    return References(counts=counts, lights=tuple(lights))


def add_light(
    references: References, name: str, frames: Sequence[Grey | None]
) -> References | Refusal:
    """*references* with one more (or a renewed) kind of light; what is text in the new light counts in none. Pure."""
    kept = [f for f in frames if f is not None]
    alone = build({name: kept})
    if isinstance(alone, Refusal) and alone.structure is None:
        return alone
    counts = references.counts.copy()
    if kept:
        counts &= ~_on_screen(kept)
    old = [_masked(light, counts) for light in references.lights if light.name != name]
    new = _light(name, kept, counts)
    why = _weakness(_structure(new, kept, counts), new, beside=bool(old))
    if why:
        return Refusal(why=f"{name}: {why}", structure=_structure(new, kept, counts))
    return References(counts=counts, lights=(*old, new))


def _masked(light: Light, counts: Mask) -> Light:
    return dataclasses.replace(
        light, re=np.where(counts, light.re, np.int8(0)), im=np.where(counts, light.im, np.int8(0))
    )


def tile_map(references: References) -> str:
    """Six lines of eight: '#' where a part of the picture holds edges to go by, '.' where it holds none."""
    held = np.max([_by_tile(np.abs(_map_of(light)) ** 2) for light in references.lights], axis=0)
    return "\n".join("".join("#" if tile else "." for tile in row) for row in held > TILE_WEIGHT)


def structure_of(references: References) -> tuple[Structure, ...]:
    """What each light of *references* has to go by (steadiness is known only while building: 1.0)."""
    return tuple(_structure(light, (), references.counts) for light in references.lights)


_UNUSABLE_WORDS: Final = {
    Unusable.DARK: "the picture is too dark to see the view: come back by day, or switch the lamp on",
    Unusable.BLOWN: "most of the picture is over-exposed: turn the camera away from the light, or shade it",
    Unusable.COVERED: "there is next to no structure in the picture: uncover or clean the lens, or focus it",
    Unusable.NOT_A_PICTURE: "that is not a picture of a usual size",
}


def _light(name: str, frames: Sequence[Grey], counts: Mask) -> Light:
    described = np.stack([_describe(f)[0] for f in frames])
    mean = described.mean(axis=0)
    magnitude = np.abs(described)
    when_there = magnitude.sum(axis=0) / np.maximum((magnitude > 0).sum(axis=0), 1)
    steady = np.abs(mean) >= COHERENT * np.maximum(when_there, 1e-6)
    held = np.where(steady & counts, mean, 0)
    where = np.abs(held) > 0.2
    crisp = float(np.median([_crispness(f, where) for f in frames]))
    return Light(
        name=name,
        re=np.rint(held.real * LEVELS).astype(np.int8),
        im=np.rint(held.imag * LEVELS).astype(np.int8),
        mean_grey=round(float(np.mean([f.mean() for f in frames])), 2),
        crispness=round(crisp, 4),
        frames=len(frames),
    )


def _map_of(light: Light) -> Complexes:
    return ((light.re.astype(np.float32) + 1j * light.im.astype(np.float32)) / LEVELS).astype(
        np.complex64
    )


def _structure(light: Light, frames: Sequence[Grey], counts: Mask) -> Structure:
    held = _map_of(light)
    weight = _by_tile(np.abs(held) ** 2)
    tiles = weight > TILE_WEIGHT
    effort = sum(float(np.abs(_describe(f)[0])[counts].sum()) for f in frames) / max(len(frames), 1)
    return Structure(
        tiles=int(tiles.sum()),
        cells=_cells_of(tiles),
        steady=min(float(np.abs(held).sum()) / effort, 1.0) if effort > 0 else 1.0,
        masked_share=round(1.0 - float(counts.sum()) / float(_frame_mask().sum()), 3),
    )


def _weakness(structure: Structure, light: Light, *, beside: bool) -> str | None:
    min_tiles = MIN_TILES_BESIDE if beside else MIN_TILES
    min_cells = MIN_CELLS_BESIDE if beside else MIN_CELLS
    weight = _by_tile(np.abs(_map_of(light)) ** 2)
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


# ---- reading ----


@dataclass(frozen=True, slots=True)
class _Match:
    score: float
    z: float
    tiles: int
    cells: int
    ncc: float
    dx: float
    dy: float
    elsewhere: bool


_NO_MATCH: Final = _Match(0.0, 0.0, 0, 0, 0.0, 0.0, 0.0, False)  # noqa: FBT003 - a field of a value


class _Template:
    """One light of the references, made ready for comparing."""

    def __init__(self, light: Light) -> None:
        held = _map_of(light)
        self.light = light
        self.where: Mask = np.abs(held) > 0.2
        self._conjugate = np.conj(_spectrum(held))
        self._pair = np.ascontiguousarray(np.stack([held.real, held.imag], axis=2))
        weight = _by_tile(np.abs(held) ** 2)
        self._structured: Mask = weight > TILE_WEIGHT
        self._norm = float(np.sqrt(weight.sum()))

    def match(self, described: Complexes, spectrum: Complexes) -> _Match:
        """Compare; *described* is masked, *spectrum* its Fourier transform."""
        plane = np.asarray(np.fft.ifft2(self._conjugate * spectrum).real, dtype=np.float32)
        rows = np.arange(-BACKGROUND_Y, BACKGROUND_Y + 1)
        columns = np.arange(-BACKGROUND_X, BACKGROUND_X + 1)
        window = plane[np.ix_(rows, columns)]
        near = _disc(NEAR_PX)
        here = _peak(window, near)
        far = window[~_disc(OWN_PX)]
        spread = max(float(far.std()), 1e-6)
        z = (here.height - float(far.max())) / spread
        ncc = here.height / max(self._norm * float(np.sqrt((np.abs(described) ** 2).sum())), 1e-6)
        padded = _wrapped(described)
        agreeing = self._agreeing(padded, here)
        tiles, cells, share = int(agreeing.sum()), _cells_of(agreeing), self._share(agreeing)
        score = min(z / LIMIT_EDGE_Z, share / LIMIT_SHARE, cells / LIMIT_CELLS, ncc / LIMIT_NCC)
        score = max(score, 0.0)
        if score < 1.0:
            moved = self._elsewhere(window, padded, score)
            if moved is not None:
                return _Match(score, z, tiles, cells, ncc, moved[0], moved[1], elsewhere=True)
        return _Match(score, z, tiles, cells, ncc, here.dx, here.dy, elsewhere=False)

    def _elsewhere(
        self, window: Floats, padded: Floats, score: float
    ) -> tuple[float, float] | None:
        """Where the view lies if it is clearly in the picture, but displaced."""
        there = _peak(window, ~_disc(NEAR_PX))
        around = np.ones(window.shape, np.bool_)
        row, column = there.y + BACKGROUND_Y, there.x + BACKGROUND_X
        around[
            max(row - OWN_PX, 0) : row + OWN_PX + 1, max(column - OWN_PX, 0) : column + OWN_PX + 1
        ] = False
        far = window[around & ~_disc(OWN_PX)]
        z = (there.height - float(far.mean())) / max(float(far.std()), 1e-6)
        if z < ELSEWHERE_Z:
            return None
        share = self._share(self._agreeing(padded, there))
        if share < ELSEWHERE_SHARE or share / LIMIT_SHARE <= score:
            return None
        return there.dx, there.dy

    def _share(self, agreeing: Mask) -> float:
        # A light with few structured tiles must not match on a handful of them.
        return float(agreeing.sum()) / max(int(self._structured.sum()), MIN_TILES)

    def _agreeing(self, padded: Floats, peak: _Peak) -> Mask:
        """Structured tiles that agree at *peak* far better than they do at shifts around it."""
        own = self._tile_products(padded, peak.x, peak.y)
        off = np.stack(
            [self._tile_products(padded, peak.x + x, peak.y + y) for x, y in _OFF_SHIFTS]
        )
        above = own - off.mean(axis=0) > TILE_SPREADS * (off.std(axis=0) + 1e-6)
        return np.asarray(above & self._structured, dtype=np.bool_)

    def _tile_products(self, padded: Floats, x: int, y: int) -> Floats:
        part = padded[_PAD + y : _PAD + y + HEIGHT, _PAD + x : _PAD + x + WIDTH]
        product = cv2.multiply(self._pair, part)
        return np.asarray(
            cv2.resize(product, (TILES_X, TILES_Y), interpolation=cv2.INTER_AREA).sum(axis=2),
            dtype=np.float32,
        )


def _spectrum(described: Complexes) -> Complexes:
    return np.asarray(np.fft.fft2(described), dtype=np.complex64)


@dataclass(frozen=True, slots=True)
class _Peak:
    x: int
    y: int
    dx: float  # with fractions
    dy: float
    height: float


def _disc(radius: int) -> Mask:
    """The square of *radius* around no displacement, in the window of displacements."""
    mask = np.zeros((2 * BACKGROUND_Y + 1, 2 * BACKGROUND_X + 1), np.bool_)
    mask[
        BACKGROUND_Y - radius : BACKGROUND_Y + radius + 1,
        BACKGROUND_X - radius : BACKGROUND_X + radius + 1,
    ] = True
    return mask


def _peak(window: Floats, where: Mask) -> _Peak:
    row, column = np.unravel_index(int(np.argmax(np.where(where, window, -np.inf))), window.shape)
    y, x = int(row) - BACKGROUND_Y, int(column) - BACKGROUND_X
    return _Peak(
        x,
        y,
        x + _fraction(window[int(row)], int(column)),
        y + _fraction(window[:, int(column)], int(row)),
        float(window[row, column]),
    )


def _fraction(line: Floats, at: int) -> float:
    """Where between pixels the top of a parabola through three values lies, -0.5..0.5."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, top, after = (float(v) for v in line[at - 1 : at + 2])
    bend = before - 2.0 * top + after
    return 0.0 if bend >= 0.0 else max(-0.5, min(0.5, 0.5 * (before - after) / bend))


def _wrapped(described: Complexes) -> Floats:
    pair = np.ascontiguousarray(np.stack([described.real, described.imag], axis=2))
    return np.asarray(
        cv2.copyMakeBorder(pair, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_CONSTANT, value=(0.0, 0.0)),
        dtype=np.float32,
    )


def _unusable(grey: Grey, strength: Floats, counts: Mask) -> Unusable | None:
    if float(grey.mean()) < DARK_MEAN:
        return Unusable.DARK
    if float((grey >= BLOWN_GREY).mean()) > BLOWN_SHARE:
        return Unusable.BLOWN
    if int((strength > EDGE_FLOOR)[counts].sum()) < STRUCTURE_MIN * max(int(counts.sum()), 1):
        return Unusable.COVERED
    return None


# A light counts as known if the picture is about as bright as the references made in it.
LIGHT_NEAR_GREY: Final = 40.0


class Eye:
    """Reads one camera's pictures. One thread at a time; keeps nothing but the small picture before."""

    def __init__(self, references: References | None) -> None:
        self._view = references.view if references is not None else ""
        self._counts = references.counts if references is not None else _frame_mask()
        lights = references.lights if references is not None else ()
        self._templates = tuple(_Template(light) for light in lights)
        self._before: Grey | None = None
        self._small: Floats | None = None
        self._same_bits = 0

    def read(self, grey: object) -> SceneReading:
        """What *grey* (from `scaled_grey`) says. Never raises: anything else is NOT_A_PICTURE. About 10 ms a light."""
        if not _is_small_grey(grey):
            return self._reading(
                Unusable.NOT_A_PICTURE, None, _NO_MATCH, sharpness=0.0, change=1.0, known=False
            )
        change = self._compare_with_before(grey)
        described, strength = _describe(grey)
        unusable = _unusable(grey, strength, self._counts)
        if unusable is not None or not self._templates:
            return self._reading(
                unusable, grey, _NO_MATCH, sharpness=0.0, change=change, known=False
            )
        masked = np.where(self._counts, described, np.complex64(0))
        spectrum = _spectrum(masked)
        matches = [t.match(masked, spectrum) for t in self._templates]
        best = max(range(len(matches)), key=lambda i: (matches[i].score, matches[i].elsewhere))
        displaced = [m for m in matches if m.elsewhere]
        match = displaced[0] if displaced and matches[best].score < 1.0 else matches[best]
        template = self._templates[best]
        sharpness = _crispness(grey, template.where) / max(template.light.crispness, 1e-3)
        mean = float(grey.mean())
        known = any(abs(mean - t.light.mean_grey) <= LIGHT_NEAR_GREY for t in self._templates)
        return self._reading(None, grey, match, sharpness=sharpness, change=change, known=known)

    def _compare_with_before(self, grey: Grey) -> float:
        """Share of pixels that changed beyond noise, brightness and contrast of the whole set aside."""
        self._same_bits = (
            self._same_bits + 1
            if self._before is not None and np.array_equal(self._before, grey)
            else 1
        )
        small = cv2.resize(grey, _CHANGE_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        old, self._small, self._before = self._small, small, grey.copy()
        if old is None:
            return 1.0
        gain = float(old.std()) / max(float(small.std()), 1.0)
        level = (small - small.mean()) * min(gain, 4.0) + old.mean()
        return float((np.abs(level - old) > NOISE_GREY).mean())

    def _reading(
        self,
        unusable: Unusable | None,
        grey: Grey | None,
        match: _Match,
        *,
        sharpness: float,
        change: float,
        known: bool,
    ) -> SceneReading:
        seen = grey if grey is not None else np.zeros((1, 1), np.uint8)
        return SceneReading(
            view=self._view,
            unusable=unusable,
            score=match.score,
            z=match.z,
            tiles=match.tiles,
            cells=match.cells,
            ncc=match.ncc,
            dx=match.dx,
            dy=match.dy,
            elsewhere=match.elsewhere,
            light_known=known,
            sharpness=sharpness,
            mean_grey=float(seen.mean()),
            dark_share=float((seen < DARK_GREY).mean()),
            blown_share=float((seen >= BLOWN_GREY).mean()),
            change=change,
            same_bits=self._same_bits if grey is not None else 0,
        )


def _is_small_grey(grey: object) -> TypeGuard[Grey]:
    return isinstance(grey, np.ndarray) and grey.dtype == np.uint8 and grey.shape == (HEIGHT, WIDTH)
