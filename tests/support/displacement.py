"""How far a camera's view truly moved from one picture to another: registered at full size, beside the product's own way.

The product looks at edge directions on 320x240. Here SIFT features are matched between the two full-size pictures and a
turn, zoom and shift is fitted to them, so that neither method can share the other's error. On-screen text stays where it is
when a view moves: features within it are left out where a set says where it lies, and such as did not move at all if enough
others did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge_agent.vision import HEIGHT, WIDTH

MIN_AGREEING = 12
STILL_PX = 0.8
ZOOM_MIN = 0.5


@dataclass(frozen=True)
class Displacement:
    """Of the view's centre in pixels of the small picture, right and down positive; turn clockwise; features that agree."""

    dx: float
    dy: float
    angle_deg: float
    zoom: float
    agreeing: int


def _decode(jpeg: bytes) -> np.ndarray | None:
    if not jpeg:  # OpenCV raises for none, and gives None for nonsense, whatever its stubs say
        return None
    found: np.ndarray | None = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    return found


def displacement(
    before: bytes, after: bytes, text: np.ndarray | None = None
) -> Displacement | None:
    """From the JPEG *before* to the JPEG *after*; None if they are not of one size, or too little agrees to be sure.

    *text*: where on-screen text lies (white), if that is known.
    """
    first, second = _decode(before), _decode(after)
    if first is None or second is None or first.shape != second.shape:
        return None
    looked_at = np.full(first.shape, 255, np.uint8)
    if text is not None:
        looked_at[cv2.resize(text, first.shape[::-1], interpolation=cv2.INTER_NEAREST) > 127] = 0
    sift = cv2.SIFT.create(4000)
    points_1, features_1 = sift.detectAndCompute(first, looked_at)
    points_2, features_2 = sift.detectAndCompute(second, looked_at)
    if len(points_1) < 2 or len(points_2) < 2:
        return None
    pairs = [
        pair[0]
        for pair in cv2.BFMatcher().knnMatch(features_1, features_2, k=2)
        if len(pair) == 2 and pair[0].distance < 0.75 * pair[1].distance
    ]
    p = np.array([points_1[m.queryIdx].pt for m in pairs], np.float32).reshape(-1, 2)
    q = np.array([points_2[m.trainIdx].pt for m in pairs], np.float32).reshape(-1, 2)
    moving = np.hypot(*(p - q).T) > STILL_PX
    if moving.sum() >= MIN_AGREEING:
        p, q = p[moving], q[moving]
    if len(p) < MIN_AGREEING:
        return None
    fit: tuple[np.ndarray | None, np.ndarray] = cv2.estimateAffinePartial2D(
        p, q, ransacReprojThreshold=1.5
    )
    fitted, agreed = fit
    if fitted is None or int(agreed.sum()) < MIN_AGREEING or not math.isfinite(float(fitted.sum())):
        return None
    zoom = math.hypot(float(fitted[0, 0]), float(fitted[1, 0]))
    if (
        not ZOOM_MIN <= zoom <= 1 / ZOOM_MIN
    ):  # everything on one spot: what RANSAC finds between strangers
        return None
    height, width = first.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    to = fitted @ centre
    return Displacement(
        dx=float(to[0] - centre[0]) * WIDTH / width,
        dy=float(to[1] - centre[1]) * HEIGHT / height,
        angle_deg=math.degrees(math.atan2(fitted[1, 0], fitted[0, 0])),
        zoom=zoom,
        agreeing=int(agreed.sum()),
    )
