"""What a small grey picture is made of: edge directions, their strength, and whether it says anything at all.

Directions are compared, not brightness: day, dusk and infrared of one street agree. Pure functions.
Not its job: comparing with references (match.py).
"""

from __future__ import annotations

from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.core.messages import Unusable
from edge_agent.vision.picture import HEIGHT, WIDTH, Grey

Mask: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float32]
Complexes: TypeAlias = npt.NDArray[np.complex64]

TILES_X: Final = 8
TILES_Y: Final = 6
CELLS: Final = 3

DARK_MEAN: Final = 28.0  # rooms with the lights off: 19..27; the darkest lit street at night: 37
DARK_GREY: Final = 20
BLOWN_GREY: Final = 245
BLOWN_SHARE: Final = 0.6
EDGE_FLOOR: Final = 4.0  # grey levels per pixel; below it is noise and codec ringing
STRUCTURE_MIN: Final = (
    0.08  # share of the picture above the floor: streets have 0.16 and more, a covered lens 0.03
)

TOP_STRIP: Final = 0.13  # clock, name and logo: nearly every recorder writes there
BORDER_PX: Final = 6


def describe(grey: Grey) -> tuple[Complexes, Floats]:
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


def crispness(grey: Grey, where: Mask) -> float:
    """Fine detail against coarse detail at the edges *where*; 0 if there is none."""
    if not where.any():
        return 0.0
    full = grey.astype(np.float32)
    fine = cv2.GaussianBlur(full, (0, 0), 1.0)
    coarse = cv2.GaussianBlur(fine, (0, 0), 4.0)
    return float(
        np.abs(full - fine)[where].sum() / max(float(np.abs(fine - coarse)[where].sum()), 1.0)
    )


def frame_mask() -> Mask:
    """Pixels that no camera's references count: top strip and borders."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[int(HEIGHT * TOP_STRIP) : -BORDER_PX, BORDER_PX:-BORDER_PX] = True
    return mask


def by_tile(values: Floats) -> Floats:
    """Sums of a full-size plane over the 8 x 6 tiles, shape (6, 8)."""
    return np.asarray(
        values.reshape(TILES_Y, HEIGHT // TILES_Y, TILES_X, WIDTH // TILES_X).sum((1, 3)),
        dtype=np.float32,
    )


def cells_of(tiles: Mask) -> int:
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


def unusable_of(grey: Grey, strength: Floats, counts: Mask) -> Unusable | None:
    """Why *grey* says nothing about any view; None = it can be judged. *strength* from `describe`, *counts*: which pixels."""
    if float(grey.mean()) < DARK_MEAN:
        return Unusable.DARK
    if float((grey >= BLOWN_GREY).mean()) > BLOWN_SHARE:
        return Unusable.BLOWN
    if int((strength > EDGE_FLOOR)[counts].sum()) < STRUCTURE_MIN * max(int(counts.sum()), 1):
        return Unusable.COVERED
    return None
