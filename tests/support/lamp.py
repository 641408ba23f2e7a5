"""A street by the light of its lamps: a picture of the day, bright around a few places and dark elsewhere, with sensor noise."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_agent import vision
from edge_agent.vision import Eye, Grey, References

LAMPS = ((0.12, 0.3), (0.2, 0.85), (0.5, 0.55), (0.82, 0.3), (0.85, 0.85))


def lamplit(grey: Grey, radius: float, *, seed: int) -> Grey:
    """*grey* as five lamps show it; *radius* in parts of the picture: 0.5 is all of it, 0.05 five spots."""
    height, width = grey.shape
    y, x = np.mgrid[0:height, 0:width]
    light = np.zeros(grey.shape)
    for across, down in LAMPS:
        far = (x / width - across) ** 2 + (y / height - down) ** 2
        light = np.maximum(light, np.exp(-far / (2 * radius * radius)))
    haze = 20.0  # what a sensor shows where there is no light
    noise = np.random.default_rng(seed).normal(0.0, 2.0, grey.shape)
    return np.clip(haze + 0.9 * grey * light + noise, 0, 255).astype(np.uint8)


def weakest_lamp(references: References, greys: Sequence[Grey]) -> float:
    """The radius by which *greys* still match, but only just: the light that is worth a lesson."""
    eye, dark, lit = Eye(references), 0.03, 0.3
    for _ in range(8):
        middle = (dark + lit) / 2
        shown = [eye.read(lamplit(grey, middle, seed=n)) for n, grey in enumerate(greys)]
        if min(reading.score for reading in shown) >= 1.15:
            lit = middle
        else:
            dark = middle
    return lit


def seen_from(source: Grey, dx: float, dy: float, *, zoom: float = 1.0) -> Grey:
    """The small picture of a camera that looks (dx, dy) small pixels aside of the middle of *source*, larger by *zoom*.

    *source* is wider than what is seen of it, so that a camera that turns sees more street and no black border.
    """
    height, width = source.shape
    part = 0.8
    scale = part / zoom * width / vision.WIDTH
    move = np.array(
        [
            [scale, 0.0, width / 2 - scale * (vision.WIDTH / 2 - dx)],
            [0.0, scale, height / 2 - scale * (vision.HEIGHT / 2 - dy)],
        ]
    )
    flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    size = (vision.WIDTH, vision.HEIGHT)
    return np.asarray(cv2.warpAffine(source, move, size, flags=flags), dtype=np.uint8)
