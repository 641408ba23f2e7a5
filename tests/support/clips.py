"""Short clips for the stand-in cameras: a street-like moving pattern with its frame number as a barcode in each picture.

The barcode tells the *true* age of every picture that a client gets, whatever its transport claims.
Clips are elementary streams with access unit delimiters, made by Debian's ffmpeg, kept for the test session.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FPS: Final = 25
_BITS: Final = 12  # frame number, then as many again inverted: a check against reading rubbish


def frame(number: int, width: int, height: int, *, seed: int = 7) -> NDArray[np.uint8]:
    """One grey picture: blurred noise as walls and trees, a few boxes that move, the barcode on top."""
    still = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8), np.uint8)
    picture = cv2.resize(still, (width, height), interpolation=cv2.INTER_CUBIC)
    for lane in range(3):
        x = int((number * (3 + lane) + lane * 97) % (width - 40))
        y = height // 2 + lane * height // 8
        cv2.rectangle(picture, (x, y), (x + 36, y + 20), 30 + 90 * lane, -1)
    cell = width // (2 * _BITS)
    for bit in range(2 * _BITS):
        on = (number >> (bit % _BITS)) & 1
        value = 235 if on ^ (bit >= _BITS) else 20
        picture[: height // 12, bit * cell : (bit + 1) * cell] = value
    return np.asarray(picture, np.uint8)


def frame_number(picture: NDArray[np.uint8]) -> int | None:
    """The barcode of *picture* (grey or BGR); None if it cannot be read."""
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    height, width = grey.shape
    cell = width // (2 * _BITS)
    band = grey[height // 48 : height // 16]
    bits = [
        band[:, int((bit + 0.3) * cell) : int((bit + 0.7) * cell)].mean() > 128
        for bit in range(2 * _BITS)
    ]
    number = sum(1 << at for at in range(_BITS) if bits[at])
    inverse = sum(1 << at for at in range(_BITS) if not bits[_BITS + at])
    return number if number == inverse else None


def make(
    path: Path,
    *,
    width: int = 640,
    height: int = 360,
    frames: int = 8 * FPS,
    gop: int = FPS,
    seed: int = 7,
) -> Path:
    """Encode a clip to *path*, whose suffix (.h264 or .h265) says how. 200 frames make 8 s."""
    aud = "aud=1:repeat-headers=1"
    if path.suffix == ".h264":
        coder = [
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-x264-params",
            f"{aud}:scenecut=0:bframes=0",
        ]
    else:
        quiet = f"{aud}:scenecut=0:bframes=0:log-level=error:keyint={gop}:min-keyint={gop}:pools=1:frame-threads=1"
        coder = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", quiet]
    command = [
        "ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}",
        "-r", str(FPS), "-i", "-", "-pix_fmt", "yuv420p", *coder, "-g", str(gop), "-keyint_min", str(gop),
        "-f", "h264" if path.suffix == ".h264" else "hevc", str(path),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE) as coder_process:
        assert coder_process.stdin
        for number in range(frames):
            coder_process.stdin.write(frame(number, width, height, seed=seed).tobytes())
        coder_process.stdin.close()
        assert coder_process.wait(120) == 0
    return path
