"""One picture's edges against one light of the references: how well they agree in place, and where else they would.

Promises: the score is the least of its parts, so no strength makes up for a weakness; a fixed camera must match in place,
and what is found elsewhere is said to be elsewhere. The limits and how they were found: docs/design/view.md.
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

TILE_SPREADS: Final = 2.5
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
        weight = by_tile(np.abs(held) ** 2)
        self._structured: Mask = weight > TILE_WEIGHT
        self._norm = float(np.sqrt(weight.sum()))

    def match(self, described: Complexes, spectrum: Complexes) -> Match:
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
        tiles, cells, share = int(agreeing.sum()), cells_of(agreeing), self._share(agreeing)
        score = min(z / LIMIT_EDGE_Z, share / LIMIT_SHARE, cells / LIMIT_CELLS, ncc / LIMIT_NCC)
        score = max(score, 0.0)
        if score < 1.0:
            moved = self._elsewhere(window, padded, score)
            if moved is not None:
                return Match(score, z, tiles, cells, ncc, moved[0], moved[1], elsewhere=True)
        return Match(score, z, tiles, cells, ncc, here.dx, here.dy, elsewhere=False)

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


def spectrum_of(described: Complexes) -> Complexes:
    """The Fourier transform that `Template.match` wants beside the picture itself."""
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
