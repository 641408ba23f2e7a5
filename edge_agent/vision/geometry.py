"""How the commissioned view lies in a picture: displaced, turned, enlarged by how much, and which parts of it are hidden.

Promises: a placement is told only if enough parts of the picture, spread over it, agree on one; a stranger has none.
Not its job: whether it is the view (match.py says so in place, core/scene.py over time). Pure functions of arrays.

Two steps, both by correlating edge directions. Coarse, at a quarter of the size: the whole map, turned and enlarged in steps,
at all displacements. Fine, at half the size: each part of the map by itself, near where the coarse step put it; one map of the
plane is fitted through the places found, and parts that do not go along lose their say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.describe import TILES_X, TILES_Y, Complexes, Floats, Mask, by_tile, cells_of
from edge_agent.vision.picture import HEIGHT, WIDTH
from edge_agent.vision.references import MIN_TILES, TILE_WEIGHT, map_of

if TYPE_CHECKING:
    from edge_agent.vision.references import Light

Plane: TypeAlias = npt.NDArray[np.float64]

# A step must leave the corners of the picture within the reach of the fine step: 1.5 degrees are 5 pixels there.
_ANGLES: Final = (-6.0, -3.0, 0.0, 3.0, 6.0)
_ZOOMS: Final = (0.905, 0.95, 1.0, 1.05, 1.105)
_COARSE: Final = 4
_COARSE_W: Final = WIDTH // _COARSE
_COARSE_H: Final = HEIGHT // _COARSE
_COARSE_X: Final = 16  # coarse pixels: +-64 x 48 of the scaled picture, as far as match.py looks
_COARSE_Y: Final = 12

_FINE: Final = 2
_FINE_W: Final = WIDTH // _FINE
_FINE_H: Final = HEIGHT // _FINE
_TILE_W: Final = _FINE_W // TILES_X
_TILE_H: Final = _FINE_H // TILES_Y
_REACH: Final = 6  # fine pixels
_SIDE: Final = 2 * _REACH + 1
_FFT: Final = 32  # holds a tile and its reach on both sides

# A part has a say if its best place stands out from the others near it by so many of their spreads.
_STANDS_OUT: Final = 2.5
_TOLERANCES: Final = (
    12.0,
    8.0,
    5.0,
    3.0,
    2.0,
    1.5,
    1.5,
)  # fine pixels; what lies farther off the fit has no say
_MIN_PARTS: Final = 4
_FITS: Final = 2
_SETTLED: Final = 0.5  # fine pixels: a step that moves nothing farther needs no other look; most pictures of a bolted camera

# Of a part whose place shows less than this share of its edges' weight nothing is seen. What covers a lens covers parts side by
# side; traffic and shadows take them here and there (docs/design/view.md).
_NO_SIGN: Final = 0.1

PLACED_SHARE: Final = 0.20
PLACED_CELLS: Final = 4
PLACED_NCC: Final = 0.20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """Where the view is; all but `placed` is a mere guess unless it is True.

    `dx`, `dy`: displacement of what belongs at the picture's centre, pixels of the scaled picture, right and down positive;
    `angle_deg`: what is seen is turned clockwise; `zoom` above 1: things look larger. `covered_share`: of the parts that the
    references know, those side by side of which nothing is seen.
    """

    placed: bool
    dx: float = 0.0
    dy: float = 0.0
    angle_deg: float = 0.0
    zoom: float = 1.0
    covered_share: float = 0.0
    hidden: Mask = field(default_factory=lambda: np.zeros((TILES_Y, TILES_X), np.bool_))  # those
    support: float = 0.0  # the least of the parts of the proof, each divided by its own limit; placed = 1 and more


NOT_PLACED: Final = Placement(placed=False)


@dataclass(frozen=True, slots=True)
class Guess:
    """The best coarse place: a map of the plane about the centre (x -> turn x + shift) and how far it stands out."""

    turn: Plane
    shift: Plane
    height: float


class Ruler:
    """One light of the references, made ready for measuring."""

    def __init__(self, light: Light) -> None:
        held = _pair(map_of(light))
        self._coarse = _guess_spectra(_shrunk(held, _COARSE))
        fine = _shrunk(held, _FINE)
        self._spectra = _tile_spectra(fine)
        energy = (fine**2).sum(axis=2)
        self._norm = np.sqrt(np.maximum(_tile_sums(energy), 1e-6))
        # Where the edges of each part lie: the middle of a tile may be bare road.
        self._x = _tile_sums(energy * _COLUMNS) / self._norm**2
        self._y = _tile_sums(energy * _ROWS) / self._norm**2
        self._structured: Mask = by_tile(np.abs(map_of(light)) ** 2) > TILE_WEIGHT

    def guess(self, edges: Floats) -> Guess:
        """Where the whole map fits *edges* (from `edges_of`) best. About 2 ms."""
        spectrum = np.fft.rfft2(_shrunk(edges, _COARSE // _FINE).transpose(2, 0, 1))
        products = (self._coarse * spectrum).sum(axis=1)
        planes = np.fft.irfft2(products, s=(_COARSE_H, _COARSE_W))
        rows, columns = np.arange(-_COARSE_Y, _COARSE_Y + 1), np.arange(-_COARSE_X, _COARSE_X + 1)
        windows = planes[:, rows[:, None], columns[None, :]]
        which, row, column = np.unravel_index(int(windows.argmax()), windows.shape)
        angle, zoom = _GUESSES[int(which)]
        return Guess(
            turn=_turn(angle, zoom),
            shift=np.array([column - _COARSE_X, row - _COARSE_Y], np.float64) * (_COARSE / _FINE),
            height=float(windows[which, row, column] / max(float(planes[which].std()), 1e-9)),
        )

    def measure(self, edges: Floats, guess: Guess) -> Placement:
        """Where the parts of the map lie in *edges*, starting from *guess*. About 3 ms."""
        turn, shift = guess.turn, guess.shift
        for _ in range(_FITS):
            surfaces, warped = self._surfaces(edges, turn, shift)
            step = self._fit(surfaces)
            if step is None:
                return NOT_PLACED
            turn, shift = turn @ (np.eye(2) + step[0]), shift + turn @ step[1]
            if _farthest(*step) < _SETTLED:
                return self._placement(surfaces, warped, turn, shift)
        return self._placement(*self._surfaces(edges, turn, shift), turn, shift)

    def _placement(self, surfaces: Floats, warped: Floats, turn: Plane, shift: Plane) -> Placement:
        flat = surfaces.reshape(TILES_Y, TILES_X, -1)
        middle = surfaces[:, :, _REACH - 1 : _REACH + 2, _REACH - 1 : _REACH + 2].max(axis=(2, 3))
        above = (middle - flat.mean(axis=2)) / (flat.std(axis=2) + 1e-6)
        visible = self._structured & self._inside(turn, shift)
        agreeing = visible & (above > _STANDS_OUT) & (middle >= flat.max(axis=2))
        share = float(agreeing.sum()) / max(int(visible.sum()), MIN_TILES)
        at = surfaces[:, :, _REACH, _REACH]
        hidden = visible & (at < _NO_SIGN * self._norm**2)
        lengths = float(np.sqrt((self._norm**2).sum() * (warped**2).sum()))
        ncc = float(at.sum()) / max(lengths, 1e-6)
        support = min(share / PLACED_SHARE, cells_of(agreeing) / PLACED_CELLS, ncc / PLACED_NCC)
        # A picture of other proportions than the scaled one is squeezed, and with it a turn: its two sides differ by the
        # squeeze squared. Their product does not know it, nor does the determinant.
        sine = math.sqrt(max(-float(turn[0, 1] * turn[1, 0]), 0.0))
        cosine = float(turn[0, 0] + turn[1, 1]) / 2
        return Placement(
            placed=support >= 1.0,
            dx=float(shift[0]) * _FINE,
            dy=float(shift[1]) * _FINE,
            angle_deg=math.degrees(math.atan2(math.copysign(sine, turn[1, 0]), cosine)),
            zoom=math.sqrt(max(float(np.linalg.det(turn)), 0.0)),
            covered_share=_largest(hidden) / max(int(visible.sum()), 1),
            hidden=hidden,
            support=support,
        )

    def _inside(self, turn: Plane, shift: Plane) -> Mask:
        """Parts that lie within the picture."""
        x = turn[0, 0] * self._x + turn[0, 1] * self._y + shift[0]
        y = turn[1, 0] * self._x + turn[1, 1] * self._y + shift[1]
        return np.asarray(
            (np.abs(x) < (_FINE_W - _TILE_W) / 2) & (np.abs(y) < (_FINE_H - _TILE_H) / 2)
        )

    def _surfaces(self, edges: Floats, turn: Plane, shift: Plane) -> tuple[Floats, Floats]:
        """How well each part agrees at displacements around *turn* and *shift*, and *edges* as seen through them."""
        offset = _MIDDLE + shift - turn @ _MIDDLE
        straight = cv2.warpAffine(
            edges,
            np.column_stack([turn, offset]),
            (_FINE_W, _FINE_H),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        warped = _directions_turned(
            np.asarray(straight, dtype=np.float32),
            -math.atan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]),
        )
        r = _REACH
        around = cv2.copyMakeBorder(warped, r, r, r, r, cv2.BORDER_CONSTANT, value=(0.0, 0.0))
        windows = np.zeros((TILES_Y, TILES_X, 2, _FFT, _FFT), np.float32)
        windows[..., : _TILE_H + 2 * r, : _TILE_W + 2 * r] = (
            np.lib.stride_tricks.sliding_window_view(
                around, (_TILE_H + 2 * r, _TILE_W + 2 * r), axis=(0, 1)
            )[::_TILE_H, ::_TILE_W]
        )
        planes = np.fft.irfft2((np.fft.rfft2(windows) * self._spectra).sum(axis=2), s=(_FFT, _FFT))
        return np.ascontiguousarray(planes[:, :, :_SIDE, :_SIDE], dtype=np.float32), warped

    def _fit(self, surfaces: Floats) -> tuple[Plane, Plane] | None:
        """The small turn and shift (fine pixels) that most parts agree on; None if too few have a say."""
        dx, dy, height = _tops(surfaces)
        say = np.where(self._structured, height / self._norm, 0.0).ravel()
        having = say > 0
        if int(having.sum()) < _MIN_PARTS:
            return None
        x, y, say = self._x.ravel()[having], self._y.ravel()[having], say[having]
        moved = np.concatenate([dx.ravel()[having], dy.ravel()[having]])
        nil, one = np.zeros_like(x), np.ones_like(x)
        # Columns: zoom, the turn's two sides, shift.
        equations = np.vstack(
            [np.column_stack([x, -y, nil, one, nil]), np.column_stack([y, nil, x, nil, one])]
        )
        weight = say
        found = np.zeros(5)
        for tolerance in _TOLERANCES:
            both = np.concatenate([weight, weight])[:, None]
            found = np.linalg.solve(
                equations.T @ (equations * both) + _STIFFNESS * float(say.mean()),
                equations.T @ (moved * both[:, 0]),
            )
            rest = moved - equations @ found
            off = np.hypot(rest[: len(x)], rest[len(x) :])
            weight = say * np.maximum(1.0 - (off / tolerance) ** 2, 0.0) ** 2
        zoom, upper, lower = found[:3]
        return np.array([[zoom, -upper], [lower, zoom]]), found[3:]


def edges_of(described: Complexes) -> Floats:
    """What `Ruler` measures in: a described picture (masked) at half the size."""
    return _shrunk(_pair(described), _FINE)


def _pair(values: Complexes) -> Floats:
    return np.ascontiguousarray(np.stack([values.real, values.imag], axis=2), dtype=np.float32)


def _shrunk(pair: Floats, by: int) -> Floats:
    size = (pair.shape[1] // by, pair.shape[0] // by)
    return np.asarray(cv2.resize(pair, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _turn(angle_deg: float, zoom: float) -> Plane:
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return zoom * np.array([[cosine, -sine], [sine, cosine]])


def _farthest(turn: Plane, shift: Plane) -> float:
    """How far the corners of the picture move at most, in fine pixels."""
    corners = np.array([[-1.0, -1.0, 1.0, 1.0], [-1.0, 1.0, -1.0, 1.0]]) * _MIDDLE[:, None]
    return float(np.hypot(*(turn @ corners + shift[:, None])).max())


def _directions_turned(pair: Floats, radians: float) -> Floats:
    """Directions are kept as double angles: they turn twice as far as the picture."""
    cosine, sine = math.cos(2 * radians), math.sin(2 * radians)
    return np.asarray(
        cv2.transform(pair, np.array([[cosine, -sine], [sine, cosine]])), dtype=np.float32
    )


def _guess_spectra(coarse: Floats) -> npt.NDArray[np.complex64]:
    """The map at each angle and zoom of `_GUESSES`, scaled to one length, as its conjugate spectrum."""
    middle = np.array([(_COARSE_W - 1) / 2, (_COARSE_H - 1) / 2])
    turned = np.empty((len(_GUESSES), 2, _COARSE_H, _COARSE_W), np.float32)
    for number, (angle, zoom) in enumerate(_GUESSES):
        turn = _turn(angle, zoom)
        seen = cv2.warpAffine(
            coarse, np.column_stack([turn, middle - turn @ middle]), (_COARSE_W, _COARSE_H)
        )
        seen = _directions_turned(np.asarray(seen, dtype=np.float32), math.radians(angle))
        turned[number] = seen.transpose(2, 0, 1)
    turned /= np.maximum(np.sqrt((turned**2).sum(axis=(1, 2, 3), keepdims=True)), 1e-6)
    return np.conj(np.fft.rfft2(turned)).astype(np.complex64)


def _tile_spectra(fine: Floats) -> npt.NDArray[np.complex64]:
    tiles = np.zeros((TILES_Y, TILES_X, 2, _FFT, _FFT), np.float32)
    tiles[..., :_TILE_H, :_TILE_W] = fine.reshape(TILES_Y, _TILE_H, TILES_X, _TILE_W, 2).transpose(
        0, 2, 4, 1, 3
    )
    return np.conj(np.fft.rfft2(tiles)).astype(np.complex64)


def _tile_sums(fine: Floats) -> Floats:
    return np.asarray(
        fine.reshape(TILES_Y, _TILE_H, TILES_X, _TILE_W).sum(axis=(1, 3)), dtype=np.float32
    )


def _tops(surfaces: Floats) -> tuple[Floats, Floats, Floats]:
    """Where each part agrees best (with fractions, fine pixels from no displacement), and how well; 0 = no say."""
    flat = surfaces.reshape(TILES_Y, TILES_X, -1)
    row, column = np.divmod(flat.argmax(axis=2), _SIDE)
    height = flat.max(axis=2)
    stands_out = height - flat.mean(axis=2) > _STANDS_OUT * (flat.std(axis=2) + 1e-6)
    within = (row > 0) & (row < _SIDE - 1) & (column > 0) & (column < _SIDE - 1)
    y, x = np.clip(row, 1, _SIDE - 2), np.clip(column, 1, _SIDE - 2)
    tile_y, tile_x = np.indices((TILES_Y, TILES_X))
    dx = _fractions(*(surfaces[tile_y, tile_x, y, x + step] for step in (-1, 0, 1)))
    dy = _fractions(*(surfaces[tile_y, tile_x, y + step, x] for step in (-1, 0, 1)))
    return (
        np.asarray(x - _REACH + dx, dtype=np.float32),
        np.asarray(y - _REACH + dy, dtype=np.float32),
        np.asarray(np.where(stands_out & within, height, 0.0), dtype=np.float32),
    )


def _largest(tiles: Mask) -> int:
    """How many of *tiles* hang together, corners counted."""
    _, _, parts, _ = cv2.connectedComponentsWithStats(tiles.astype(np.uint8), connectivity=8)
    return int(parts[1:, cv2.CC_STAT_AREA].max(initial=0))


def _fractions(before: Floats, top: Floats, after: Floats) -> Floats:
    """Where between pixels the tops of parabolas through three values lie, -0.5..0.5."""
    bend = np.minimum(before - 2.0 * top + after, -1e-9)
    return np.asarray(np.clip(0.5 * (before - after) / bend, -0.5, 0.5), dtype=np.float32)


_GUESSES: Final = tuple((angle, zoom) for angle in _ANGLES for zoom in _ZOOMS)
_MIDDLE: Final = np.array([(_FINE_W - 1) / 2, (_FINE_H - 1) / 2])
_COLUMNS: Final = (np.arange(_FINE_W, dtype=np.float32) - np.float32((_FINE_W - 1) / 2))[None, :]
_ROWS: Final = (np.arange(_FINE_H, dtype=np.float32) - np.float32((_FINE_H - 1) / 2))[:, None]
# Where a scene's edges tell nothing of the zoom, there is none; where they tell one side of a turn only, both are alike.
_STIFFNESS: Final = np.array(
    [
        [100.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 600.0, -500.0, 0.0, 0.0],
        [0.0, -500.0, 600.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.01, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.01],
    ]
)
