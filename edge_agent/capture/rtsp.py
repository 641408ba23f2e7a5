"""RTSP cameras: follow the stream's packets, decode only the key picture that is due.

Promises: a shot is decoded from the very packet that arrived after it was due, at most 2 s old by the stream's own clock, on
a connection without a break; nothing over 16 megapixels is decoded; no call blocks longer than 5 s to open, 4 s to read.
How: FFmpeg (inside OpenCV) demultiplexes without decoding, over TCP; the wanted key picture is decoded from a file in memory.
That costs a seventh of decoding everything, and sees packet times (docs/design/cameras.md).
Not its job: why a camera does not answer (probe.py), what age means (freshness.py).
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent import vision
from edge_agent.capture import probe
from edge_agent.capture.freshness import READ_TIMEOUT_S, Freshness
from edge_agent.capture.probe import Login, Trouble
from edge_agent.capture.watch import Changed, Pace, Shot, Slot, refuse_large
from edge_agent.clock import Clock
from edge_agent.core.messages import Cause

_OPEN_TIMEOUT_MS: Final = 5000
_AGE_MAX_S: Final = 2.0
_STALE_FOR_S: Final = (
    15.0  # so long nothing but old pictures: a new connection begins with an empty buffer
)
_KEY_WAIT_S: Final = 30.0  # "smart" codecs stretch key pictures to 12 s and more
_RATE_EVERY_S: Final = 60.0
_KEY_PICTURE_MAX_BYTES: Final = 8 * 1024 * 1024
_ASK_AFTER_S: Final = 0.5  # who is just going down still accepts, then resets: asked a moment later, the answer is clear
_JPEG_QUALITY: Final = 85
_CODECS: Final = {
    "h264": "h264",
    "avc1": "h264",
    "hevc": "h265",
    "hev1": "h265",
    "mjpg": "mjpeg",
    "jpeg": "mjpeg",
}


def encode(picture: NDArray[np.uint8]) -> bytes:
    """*picture* (BGR) as JPEG."""
    good, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not good:
        raise Trouble(Cause.NOT_A_PICTURE, "the picture could not be encoded")
    return jpeg.tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a stream is like."""

    codec: str
    width: int
    height: int
    gop_s: float  # between key pictures; 0 = no two came while it was watched
    watched_s: float


class Rtsp:
    """One RTSP stream. Its camera's thread only."""

    backoff = True

    def __init__(self, url: str, login: Login | None, clock: Clock) -> None:
        self._url = url
        self._login = login
        self._clock = clock
        parts = urlsplit(url)
        self.host: str | None = f"{parts.hostname}:{parts.port or 554}"

    def shots(self, pace: Pace, slot: Slot) -> Iterator[Shot]:
        """See `Source`."""
        with slot.login():
            probe.describe(self._url, self._login, self._clock)
        pace.step()
        stream = _Stream(self._url_with_login(), self._clock, pace)
        try:
            yield from stream.shots()
        except Trouble as trouble:
            stream.close()
            if trouble.cause is Cause.STALLED:  # the camera itself may know better why
                pace.rest(_ASK_AFTER_S)
                with slot.login():
                    probe.describe(self._url, self._login, self._clock)
            raise
        finally:
            stream.close()

    def figures(self, pace: Pace, *, end: float) -> Iterator[Figures]:
        """What the stream is like, from packets alone: nothing is decoded. Once as soon as it flows, once as it is known by *end* (boot seconds).

        After a `describe` that went well. Raises `Trouble`.
        """
        stream = _Stream(self._url_with_login(), self._clock, pace)
        try:
            yield from stream.figures(end)
        finally:
            stream.close()

    def _url_with_login(self) -> str:
        if self._login is None:
            return self._url
        parts = urlsplit(self._url)
        who = f"{quote(self._login.username, safe='')}:{quote(self._login.password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc}"))


# One picture is decoded at a time: eight at once held 15 MiB of frames each. Whoever waited this long goes ahead all the
# same, so that no camera delays another by more.
_DARKROOM: Final = threading.Lock()
_DARKROOM_WAIT_S: Final = 0.1


class _Stream:
    """An open connection."""

    def __init__(self, url: str, clock: Clock, pace: Pace) -> None:
        self._clock = clock
        self._pace = pace
        self._freshness = Freshness()
        self._rate = _Rate()
        self._waiting_since = self._fresh_at = clock.now()
        self.silent = True
        self._video = cv2.VideoCapture(
            url,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_TIMEOUT_S * 1000),
                cv2.CAP_PROP_N_THREADS, 1,
                cv2.CAP_PROP_FORMAT, -1,  # packets, not pictures
            ],
        )  # fmt: skip
        if not self._video.isOpened():
            raise Trouble(Cause.NONSENSE, "it describes its stream well, but no video follows")
        self.size = (
            int(self._video.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(self._video.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        self.codec = self._codec()
        refuse_large(*self.size)
        good, extra = self._video.retrieve(
            flag=int(self._video.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX))
        )
        self._extra = extra.tobytes() if good else b""

    def close(self) -> None:
        """End the connection; idempotent. The thread that reads only: from any other it would crash."""
        self._video.release()

    def shots(self) -> Iterator[Shot]:
        """The pictures that were due, until something breaks."""
        self._waiting_since = self._fresh_at = self._clock.now()
        while True:
            at, key = self._next_packet()
            if not self._pace.due(at):
                self._waiting_since = at
            elif key and self._freshness.settled():
                if self._fresh(at):
                    yield self._shot(at)
                    self._pace.taken(at)
                    self._waiting_since = self._fresh_at = self._clock.now()
            elif at - self._waiting_since > _KEY_WAIT_S + 2 * self._freshness.gop_s:
                waited_s = at - self._waiting_since
                raise Trouble(Cause.STALLED, f"no key picture for {waited_s:.0f} s")

    def figures(self, end: float) -> Iterator[Figures]:
        """See `Rtsp.figures`."""
        first_at = at = self._next_packet()[0]
        yield self._figures(0.0)
        while not self._freshness.gop_s and at < end:
            at = self._next_packet()[0]
        yield self._figures(at - first_at)

    def _figures(self, watched_s: float) -> Figures:
        width, height = self.size
        return Figures(
            codec=self.codec,
            width=width,
            height=height,
            gop_s=self._freshness.gop_s,
            watched_s=watched_s,
        )

    def _next_packet(self) -> tuple[float, bool]:
        """When the next packet arrived, and whether it begins a picture that needs no other."""
        self._pace.step()
        if not self._video.grab():
            after = "after its description" if self.silent else "in the middle"
            raise Trouble(Cause.STALLED, f"the stream ended {after}")
        self.silent = False
        at = self._clock.now()
        key = self._video.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) != 0
        stamp_s = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if broken := self._freshness.arrived(at=at, stamp_s=stamp_s, key=key):
            raise Trouble(Cause.STALLED, broken)
        if self._rate.wants(at, key=key):
            packet = self._video.retrieve()[1]
            self._rate.add(packet.size)
        return at, key

    def _fresh(self, at: float) -> bool:
        """Whether the key picture of *at* is from now. Raises `Trouble` if none was for long."""
        if self._freshness.age_s <= _AGE_MAX_S:
            return True
        if at - max(self._fresh_at, self._waiting_since) > _STALE_FOR_S:
            late_s = self._freshness.age_s
            raise Trouble(Cause.STALE, f"its pictures arrive {late_s:.0f} s late")
        return False

    def _codec(self) -> str:
        name = (
            int(self._video.get(cv2.CAP_PROP_FOURCC))
            .to_bytes(4, "little")
            .decode("latin-1")
            .lower()
        )
        if name not in _CODECS:
            raise Trouble(
                Cause.NONSENSE,
                "its video is coded in a way nobody here reads; set it to H.264 or H.265",
            )
        return _CODECS[name]

    def _shot(self, at: float) -> Shot:
        alone = _DARKROOM.acquire(timeout=_DARKROOM_WAIT_S)
        try:
            return self._develop(at)
        finally:
            if alone:
                _DARKROOM.release()

    def _develop(self, at: float) -> Shot:
        age_s = self._freshness.age_s
        good, packet = self._video.retrieve()
        if not good or packet.size > _KEY_PICTURE_MAX_BYTES:
            raise Trouble(Cause.NOT_A_PICTURE, "a key picture could not be taken from the stream")
        picture = self._decode(packet.tobytes())
        height, width = picture.shape[:2]
        if (width, height) != self.size:
            raise Changed
        grey = vision.scaled_grey(picture)
        if grey is None:
            raise Trouble(Cause.NOT_A_PICTURE, f"a picture of {width} x {height} pixels")
        return Shot(
            jpeg=encode(picture),
            grey=grey,
            taken_at=at - age_s,
            age_s=age_s,
            codec=self.codec,
            width=width,
            height=height,
            gop_s=self._freshness.gop_s,
            bytes_per_s=self._rate.bytes_per_s,
        )

    def _decode(self, packet: bytes) -> NDArray[np.uint8]:
        """The picture in *packet*. OpenCV decodes files only, so it gets one that never touches a disk."""
        self._pace.step()
        memory = os.memfd_create("key-picture", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(memory), "wb") as file:
                file.write(self._extra + packet)
            still = cv2.VideoCapture(
                f"/proc/self/fd/{memory}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]
            )
            try:
                if still.isOpened():
                    refuse_large(
                        int(still.get(cv2.CAP_PROP_FRAME_WIDTH)),
                        int(still.get(cv2.CAP_PROP_FRAME_HEIGHT)),
                    )
                good, picture = still.read()
            finally:
                still.release()
        finally:
            os.close(memory)
        if not good or picture.dtype != np.uint8:
            raise Trouble(Cause.NOT_A_PICTURE, "a key picture could not be decoded")
        return np.asarray(picture, np.uint8)


class _Rate:
    """Bytes per second, measured on one group of pictures a minute: looking at each packet would cost what we save."""

    def __init__(self) -> None:
        self.bytes_per_s = 0.0
        self._bytes = 0
        self._since: float | None = None
        self._next_at = 0.0

    def wants(self, at: float, *, key: bool) -> bool:
        """Whether this packet belongs to the group that is measured."""
        if key:
            if self._since is not None and at > self._since:
                self.bytes_per_s = self._bytes / (at - self._since)
                self._next_at = at + _RATE_EVERY_S
            self._since = at if at >= self._next_at else None
            self._bytes = 0
        return self._since is not None

    def add(self, size_bytes: int) -> None:
        """This packet was so large."""
        self._bytes += size_bytes
