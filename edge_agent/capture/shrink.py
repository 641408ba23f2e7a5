"""A picture made to fit what the hub takes: first a coarser JPEG, then a smaller one.

Promise: the result is never larger than the picture it was made of, and shows the same moment; a picture that fits is passed on as
it is, byte for byte. A limit that nothing can meet gives the smallest that was tried: the hub then hears of it as too large.
Not its job: knowing the limit (core/fitting.py), judging the view: that is done on the picture as it came.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

# Down to here blocks hide no more than a small number plate; below, fewer pixels keep more than coarser ones.
_QUALITIES: Final = (75, 60, 45)
_SCALES: Final = (1.0, 0.75, 0.5, 0.35, 0.25)


def fit(jpeg: bytes, max_bytes: int) -> bytes:
    """*jpeg* in at most *max_bytes*, as far as that can be had."""
    if len(jpeg) <= max_bytes:
        return jpeg
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return jpeg
    best = jpeg
    for scale in _SCALES:
        scaled = picture
        if scale < 1.0:
            scaled = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for quality in _QUALITIES:
            good, found = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if good and len(found) < len(best):
                best = found.tobytes()
            if len(best) <= max_bytes:
                return best
    return best
