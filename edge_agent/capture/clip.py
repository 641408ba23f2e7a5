"""Clips: a video file, a picture, or a folder of pictures in place of a camera, for the demo and for tests.

Promises: a folder is read afresh for each picture (sorted names, round and round), so whoever changes it plays the street;
an empty or missing folder is a camera without a signal. JPEG files are passed on to the byte.
Not its job: being safe against hostile files; whoever can write here owns the box.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_agent import vision
from edge_agent.capture.probe import Trouble
from edge_agent.capture.rtsp import encode
from edge_agent.capture.watch import Changed, Pace, Shot, Slot, refuse_large
from edge_agent.clock import Clock
from edge_agent.core.messages import Cause

_STILLS: Final = {".jpg", ".jpeg", ".png"}


class Clip:
    """One clip. Its camera's thread only."""

    host: str | None = None
    backoff = False

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = Path(path)
        self._clock = clock
        self._last = (
            ""  # name of the picture shown last, over losses too: a folder goes on where it was
        )

    def shots(self, pace: Pace, slot: Slot) -> Iterator[Shot]:
        """See `Source`."""
        del slot
        size: tuple[int, int] | None = None
        for jpeg in self._pictures():
            shot = self._shot(jpeg)
            if size not in {None, (shot.width, shot.height)}:
                raise Changed
            size = (shot.width, shot.height)
            yield shot
            pace.taken(shot.taken_at)
            pace.wait_until_due()

    def _pictures(self) -> Iterator[bytes]:
        if self._path.is_file() and self._path.suffix.lower() not in _STILLS:
            yield from self._frames()
        while True:
            yield self._still(self._next())

    def _next(self) -> Path:
        if self._path.is_file():
            return self._path
        try:
            found = sorted(p for p in self._path.iterdir() if p.suffix.lower() in _STILLS)
        except OSError as fault:
            raise Trouble(Cause.NO_DEVICE, f"{self._path}: {fault.strerror}") from fault
        if not found:
            raise Trouble(Cause.NO_DEVICE, f"{self._path}: no pictures")
        chosen = next((p for p in found if p.name > self._last), found[0])
        self._last = chosen.name
        return chosen

    def _still(self, path: Path) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as fault:
            raise Trouble(Cause.NO_DEVICE, f"{path}: {fault.strerror}") from fault
        if data.startswith(b"\xff\xd8"):
            return data
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if picture is None:
            raise Trouble(Cause.NOT_A_PICTURE, f"{path}: no picture")
        return encode(np.asarray(picture, np.uint8))

    def _frames(self) -> Iterator[bytes]:
        while True:
            video = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            seen = 0
            try:
                while (read := video.read())[0]:
                    seen += 1
                    yield encode(np.asarray(read[1], np.uint8))
            finally:
                video.release()
            if not seen:
                raise Trouble(Cause.NOT_A_PICTURE, f"{self._path}: no video")

    def _shot(self, jpeg: bytes) -> Shot:
        size = vision.jpeg_size(jpeg)
        if size is None:
            raise Trouble(Cause.NOT_A_PICTURE, f"{self._path}: no picture")
        refuse_large(*size)
        grey = vision.scaled_grey_from_jpeg(jpeg)
        if grey is None:
            raise Trouble(Cause.NOT_A_PICTURE, f"{self._path}: a damaged picture")
        return Shot(
            jpeg=jpeg,
            grey=grey,
            taken_at=self._clock.now(),
            age_s=0.0,
            codec="clip",
            width=size[0],
            height=size[1],
        )
