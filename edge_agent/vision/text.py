"""On-screen text and logos: drawn by the encoder, they travel home with the camera and are never evidence. Pure.

How far the search reaches, and why not farther: docs/design/view.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.vision.describe import Mask
    from edge_agent.vision.picture import Grey

# Text is drawn: black beside white within 3 pixels (grey levels of difference), dense in an 11 x 11 neighbourhood, where a
# roof against the sky is a line. A wider search (80 levels) finds a few letters more, and masks so many fences and windows
# that strangers come closer to a match than they do with those letters missed (docs/design/view.md).
TEXT_CONTRAST: Final = 120
TEXT_DENSITY: Final = 0.35
# In the picture at hand the search is wider: what it takes for text merely has no say in whether all of the view is there.
LETTERED_CONTRAST: Final = 100
OSD_MAX_SHARE: Final = 0.5  # more than this masked and the view is refused


def _drawn(grey: Grey, contrast: int) -> Mask:
    """Where the picture is drawn rather than seen: dense edges of so much contrast."""
    span = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    dense = cv2.boxFilter((span >= contrast).astype(np.float32), -1, (11, 11)) > TEXT_DENSITY
    return np.asarray(dense, dtype=np.bool_)


def _grown(drawn: Mask) -> Mask:
    """*drawn* with the gaps between letters closed, and a rim of six pixels."""
    joined = cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return np.asarray(cv2.dilate(joined, np.ones((13, 13), np.uint8)) > 0, dtype=np.bool_)


def on_screen(frames: Sequence[Grey]) -> Mask:
    """Text and logos in pictures of one light: drawn, and in the same place in nearly all of them."""
    often = np.mean([_drawn(f, TEXT_CONTRAST) for f in frames], axis=0) >= 0.8
    return _grown(np.asarray(often, dtype=np.bool_))


def lettered(grey: Grey) -> Mask:
    """What may be text in one picture: text of which commissioning knows nothing must be in it to count for anything."""
    return _grown(_drawn(grey, LETTERED_CONTRAST))
