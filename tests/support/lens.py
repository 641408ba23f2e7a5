"""What stands between a street and its pictures: sensor noise, rain, a lorry, dusk, a hand that turns the camera.

Pictures in, pictures out, BGR at full size, driven by a seeded generator. `Lens.shot` is the camera itself: noise and flicker
of exposure on top, then a real JPEG, decoded again by the product's own way, so that no two pictures are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from edge_agent import vision
from tests.support import room
from tests.support.story import Shot

Picture = np.ndarray
_POOL = 6


class Lens:
    """One camera's sensor and encoder. *shake_px*: of the full picture, as a pole in the wind gives."""

    def __init__(self, seed: int, *, shake_px: float = 0.5) -> None:
        self.random = np.random.default_rng(seed)
        self._shake_px = shake_px

    def shot(self, picture: Picture, of: str) -> Shot:
        dx, dy = self.random.normal(0.0, self._shake_px, 2)
        shaken = shifted(picture, float(dx), float(dy)).astype(np.float32)
        gain = self.random.normal(1.0, 0.02)
        noise = self.random.normal(0.0, 2.0, picture.shape)
        jpeg = room.jpeg(np.clip(shaken * gain + noise, 0, 255).astype(np.uint8))
        return Shot(of, vision.scaled_grey_from_jpeg(jpeg), jpeg)

    def live(
        self, scene: Picture | Sequence[Picture] | Callable[[int], Picture], of: str
    ) -> Iterator[Shot]:
        """Pictures without end: of one scene, of several in turn, or of the n-th moment of one that changes.

        No two in a row are equal. A scene that does not change is made noisy `_POOL` times: noise costs more than reading.
        """
        if callable(scene):
            n = 0
            while True:
                yield self.shot(scene(n), of)
                n += 1
        several = [scene] * _POOL if isinstance(scene, np.ndarray) else [*scene, *scene]
        pool = [self.shot(picture, of) for picture in several]
        yield from cycle(pool)


def load(path: Path) -> Picture:
    return room.colour(path)


def shifted(picture: Picture, dx: float, dy: float) -> Picture:
    """The view displaced, right and down positive; what comes into view repeats the border."""
    return warped(picture, dx=dx, dy=dy)


def warped(
    picture: Picture, *, dx: float = 0.0, dy: float = 0.0, angle_deg: float = 0.0, zoom: float = 1.0
) -> Picture:
    """Turned clockwise and enlarged about the centre, then displaced."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -angle_deg, zoom)
    matrix[:, 2] += np.array((dx, dy))
    return np.asarray(
        cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101),
        dtype=np.uint8,
    )


def faded(before: Picture, after: Picture, share: float) -> Picture:
    """On the way from one light to another: *share* 0 is before, 1 is after."""
    return np.asarray(cv2.addWeighted(before, 1.0 - share, after, share, 0.0), dtype=np.uint8)


def infrared(picture: Picture, *, seed: int = 0) -> Picture:
    """As an infrared night picture: grey, brightest in the middle, noisy, foliage and walls lit by the camera's own lamp."""
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    lamp = np.exp(-(((xs / width - 0.5) / 0.5) ** 2 + ((ys / height - 0.55) / 0.5) ** 2))
    noise = np.random.default_rng(seed).normal(0.0, 4.0, grey.shape)
    seen = np.clip(grey * (0.55 + 0.6 * lamp) + 12.0 + noise, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(seen, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def panned(street: Picture, beyond: Picture, share: float) -> Picture:
    """The camera turned to the right by *share* of its width: the street leaves to the left, *beyond* comes in."""
    width = street.shape[1]
    wide = np.concatenate([street, beyond[:, :width]], axis=1)
    at = round(min(max(share, 0.0), 1.0) * width)
    return np.ascontiguousarray(wide[:, at : at + width])


def with_lorry(picture: Picture, *, share: float, at: float = 0.5, seed: int = 0) -> Picture:
    """A lorry close to the lens: a side wall with planks and letters over *share* of the width, its middle *at*."""
    out = picture.copy()
    height, width = out.shape[:2]
    left = round((at - share / 2) * width)
    right, top, bottom = left + round(share * width), round(0.2 * height), round(0.95 * height)
    if right <= 0 or left >= width:
        return out
    cv2.rectangle(out, (left, top), (right, bottom), (60, 90, 150), -1)
    random = np.random.default_rng(seed)
    for y in range(top, bottom, max(8, height // 24)):
        shade = int(random.integers(40, 110))
        cv2.line(out, (left, y), (right, y), (shade, shade, shade), 2)
    cv2.putText(out, "SEMBAKO JAYA", (left + 20, (top + bottom) // 2), 0, 2.0, (230, 230, 230), 4)
    return out


def rained(
    picture: Picture, n: int, *, drops: int = 14, streaks: int = 160, seed: int = 0
) -> Picture:
    """The n-th picture of heavy rain: the drops on the glass stay and blur what is behind them, the streaks fall anew."""
    height, width = picture.shape[:2]
    out = cv2.addWeighted(picture, 0.8, np.full_like(picture, 150), 0.2, 0.0)
    on_glass = np.random.default_rng(seed)
    blurred = cv2.GaussianBlur(out, (0, 0), width / 60)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(drops):
        centre = (int(on_glass.integers(0, width)), int(on_glass.integers(0, height)))
        cv2.circle(mask, centre, int(on_glass.integers(width // 45, width // 16)), 255, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), 3.0)[..., None].astype(np.float32) / 255.0
    out = (out * (1.0 - soft) + blurred * soft).astype(np.uint8)
    falling = np.random.default_rng((seed, n))
    layer = np.zeros_like(out)
    for _ in range(streaks):
        x, y = int(falling.integers(0, width)), int(falling.integers(0, height))
        long = int(falling.integers(height // 20, height // 8))
        cv2.line(layer, (x, y), (x - long // 6, y + long), (190, 190, 190), 1, cv2.LINE_AA)
    return np.asarray(cv2.addWeighted(out, 1.0, layer, 0.5, 0.0), dtype=np.uint8)
