"""One picture's edges against one light of the references: how well they agree in place, and where else they would.

Promises: the score is the least of its parts, so no strength makes up for a weakness; a fixed camera must match in place,
and what is found elsewhere is said to be elsewhere. What may be text in the picture at hand, and the few parts that agree
best, are set aside before it is asked whether the rest of the view is there: text that commissioning missed is not enough.
The limits and how they were found: docs/design/view.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from edge_agent.vision.describe import TILES_X, TILES_Y, Complexes, Floats, Mask, by_tile, cells_of
from edge_agent.vision.picture import HEIGHT, WIDTH
from edge_agent.vision.references import MIN_TILES, TILE_WEIGHT, map_of

if TYPE_CHECKING:
    from edge_agent.vision.references import Light

LIMIT_EDGE_Z: Final = 2.8
LIMIT_SPREAD: Final = 0.35
LIMIT_CELLS: Final = 2.5  # three of nine, with a margin: a floodlit site by night has no more
LIMIT_NCC: Final = 0.08

NEAR_PX: Final = 4  # a bolted camera shakes by about 1 % of the width; more is a camera that moved
BACKGROUND_X: Final = 64
BACKGROUND_Y: Final = 48
OWN_PX: Final = 12  # around a true peak neighbours are high too: they are no background
ELSEWHERE_Z: Final = 6.0  # foreign rooms and streets reach that somewhere now and then, but never with a quarter of the tiles
ELSEWHERE_SHARE: Final = 0.25

TILE_SPREADS: Final = 2.5

# Spread: every small part says how far it agrees, within bounds, and no part has more say than a moderately structured one.
FINE_X: Final = 16
FINE_Y: Final = 12
DISAGREE_MOST: Final = (
    -1.0
)  # spreads: a car in a part says no more than that this part does not agree
AGREE_MOST: Final = (
    2.0  # ... and text or a window on the street, which agree perfectly, little more than a kerb
)
SAY_MOST: Final = 30.0  # of 400: sum of squares of a part's map
SAY_LEAST: Final = (
    1000.0  # of all parts: a view of which less is left to go by must agree all the better
)
SET_ASIDE: Final = 4  # best parts that count for nothing: a small name board covers as many
_PART_PX: Final = WIDTH * HEIGHT // (FINE_X * FINE_Y)
_NOISE: Final = 0.5 / _PART_PX  # keeps an empty part's spread from being zero
_OFF_SHIFTS: Final = tuple(
    (round(r * np.cos(a)), round(r * np.sin(a)))
    for r, n in ((9, 6), (14, 10), (20, 14))
    for a in np.linspace(0.0, 2.0 * np.pi, n, endpoint=False)
)
_PAD: Final = 20 + BACKGROUND_X  # the farthest off-shift around the farthest displaced peak


@dataclass(frozen=True, slots=True)
class Match:
    """How one picture agrees with one light. Fields as in `SceneReading`."""

    score: float
    z: float
    tiles: int
    cells: int
    ncc: float
    dx: float
    dy: float
    elsewhere: bool


NO_MATCH: Final = Match(0.0, 0.0, 0, 0, 0.0, 0.0, 0.0, False)  # noqa: FBT003 - a field of a value


class Template:
    """One light of the references, made ready for comparing."""

    def __init__(self, light: Light) -> None:
        held = map_of(light)
        self.light = light
        self.where: Mask = np.abs(held) > 0.2
        self._conjugate = np.conj(spectrum_of(held))
        self._pair = np.ascontiguousarray(np.stack([held.real, held.imag], axis=2))
        self._power = np.asarray(np.abs(held) ** 2, dtype=np.float32)
        weight = by_tile(self._power)
        self._structured: Mask = weight > TILE_WEIGHT
        self._norm = float(np.sqrt(weight.sum()))

    def match(
        self, described: Complexes, spectrum: Complexes, lettered: Mask | None = None
    ) -> Match:
        """Compare; *described* is masked, *spectrum* its Fourier transform, *lettered* what may be text in this picture."""
        plane = _real_inverse(self._conjugate * spectrum)
        rows = np.arange(-BACKGROUND_Y, BACKGROUND_Y + 1)
        columns = np.arange(-BACKGROUND_X, BACKGROUND_X + 1)
        window = plane[np.ix_(rows, columns)]
        here = _peak(window, _disc(NEAR_PX))
        far = window[~_disc(OWN_PX)]
        z = (here.height - float(far.max())) / max(float(far.std()), 1e-6)
        ncc = here.height / max(self._norm * float(np.sqrt((np.abs(described) ** 2).sum())), 1e-6)
        padded = _padded(described, lettered)
        own, off = self._products(padded, here)
        agreeing = self._agreeing(own, off)
        tiles, cells = int(agreeing.sum()), cells_of(agreeing)
        score = min(
            z / LIMIT_EDGE_Z,
            self._spread(own, off, lettered) / LIMIT_SPREAD,
            cells / LIMIT_CELLS,
            ncc / LIMIT_NCC,
        )
        score = max(score, 0.0)
        if score < 1.0:
            moved = self._elsewhere(window, padded, self._share(agreeing))
            if moved is not None:
                return Match(score, z, tiles, cells, ncc, moved[0], moved[1], elsewhere=True)
        return Match(score, z, tiles, cells, ncc, here.dx, here.dy, elsewhere=False)

    def _elsewhere(
        self, window: Floats, padded: Floats, share_here: float
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
        share = self._share(self._agreeing(*self._products(padded, there)))
        if share < ELSEWHERE_SHARE or share <= share_here:
            return None
        return there.dx, there.dy

    def _share(self, agreeing: Mask) -> float:
        # A light with few structured tiles must not be found on a handful of them.
        return float(agreeing.sum()) / max(int(self._structured.sum()), MIN_TILES)

    def _spread(self, own: Floats, off: Floats, lettered: Mask | None) -> float:
        """How far the view agrees all over, in spreads of its parts, without the parts that agree best."""
        power = self._power if lettered is None else np.where(lettered, 0.0, self._power)
        say = np.minimum(_small_parts(np.asarray(power, dtype=np.float32)) * _PART_PX, SAY_MOST)
        above = (own - off.mean(axis=0)) / (off.std(axis=0) + _NOISE)
        voices = (np.clip(above, DISAGREE_MOST, AGREE_MOST) * say).ravel()
        left = np.argsort(voices)[:-SET_ASIDE]
        return float(voices[left].sum()) / max(float(say.ravel()[left].sum()), SAY_LEAST)

    def _agreeing(self, own: Floats, off: Floats) -> Mask:
        """Structured tiles that agree at a peak far better than they do at shifts around it."""
        here, around = _by_coarse_tile(own), _by_coarse_tile(off)
        above = here - around.mean(axis=0) > TILE_SPREADS * (around.std(axis=0) + 1e-6)
        return np.asarray(above & self._structured, dtype=np.bool_)

    def _products(self, padded: Floats, peak: _Peak) -> tuple[Floats, Floats]:
        """What each small part agrees by at *peak*, and at each of the shifts around it."""
        own = self._product(padded, peak.x, peak.y)
        off = np.stack([self._product(padded, peak.x + x, peak.y + y) for x, y in _OFF_SHIFTS])
        return own, off

    def _product(self, padded: Floats, x: int, y: int) -> Floats:
        part = padded[_PAD + y : _PAD + y + HEIGHT, _PAD + x : _PAD + x + WIDTH]
        product = np.asarray(cv2.multiply(self._pair, part), dtype=np.float32)
        return np.asarray(_small_parts(product).sum(axis=2))


def spectrum_of(described: Complexes) -> Complexes:
    """The Fourier transform that `Template.match` wants beside the picture itself."""
    pair = np.ascontiguousarray(described).view(np.float32).reshape(HEIGHT, WIDTH, 2)
    transformed = np.asarray(cv2.dft(pair, flags=cv2.DFT_COMPLEX_OUTPUT), dtype=np.float32)
    return transformed.view(np.complex64)[:, :, 0]


def _real_inverse(spectrum: Complexes) -> Floats:
    # OpenCV's transform of single precision: a quarter of numpy's time.
    pair = spectrum.view(np.float32).reshape(HEIGHT, WIDTH, 2)
    return np.asarray(cv2.idft(pair, flags=cv2.DFT_SCALE), dtype=np.float32)[:, :, 0]


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


def _padded(described: Complexes, lettered: Mask | None) -> Floats:
    pair = np.stack([described.real, described.imag], axis=2)
    if lettered is not None:
        pair[lettered] = 0.0
    return np.asarray(
        cv2.copyMakeBorder(pair, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_CONSTANT, value=(0.0, 0.0)),
        dtype=np.float32,
    )


def _small_parts(plane: Floats) -> Floats:
    """Means of a full-size plane over the 16 x 12 small parts."""
    return np.asarray(
        cv2.resize(plane, (FINE_X, FINE_Y), interpolation=cv2.INTER_AREA), dtype=np.float32
    )


def _by_coarse_tile(parts: Floats) -> Floats:
    """Small parts, taken together to the 8 x 6 tiles; any number of planes of them."""
    down, across = FINE_Y // TILES_Y, FINE_X // TILES_X
    shape = (*parts.shape[:-2], TILES_Y, down, TILES_X, across)
    return np.asarray(parts.reshape(shape).mean(axis=(-3, -1)), dtype=np.float32)
