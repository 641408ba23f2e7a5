"""Bytes or arrays in, the small grey picture out: everything later looks at 320x240 grey levels.

Promises: a JPEG's size is read from its header before it is decoded, so no picture takes more memory than `MAX_PIXELS`
allow; damaged, cut short or absurd ones give None, and nothing raises.
Not its job: saying what a picture shows (describe.py and on).
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias, TypeGuard

import cv2
import numpy as np
import numpy.typing as npt

# One picture each few seconds needs no second thread, and OpenCV's pool would spin beside the decoders.
cv2.setNumThreads(1)

Grey: TypeAlias = npt.NDArray[np.uint8]

WIDTH: Final = 320
HEIGHT: Final = 240

MIN_SIDE: Final = 48
MAX_SIDE: Final = 8192
MAX_PIXELS: Final = 16_000_000  # a 12 megapixel camera fits; a 16k x 16k bomb of 33 kB does not
MAX_JPEG_BYTES: Final = 16_000_000


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


def is_small_grey(grey: object) -> TypeGuard[Grey]:
    """Whether *grey* is what `scaled_grey` gives."""
    return isinstance(grey, np.ndarray) and grey.dtype == np.uint8 and grey.shape == (HEIGHT, WIDTH)
