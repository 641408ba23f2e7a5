"""Analog cameras on a capture dongle (V4L2).

Promises: a shot carries a driver's stamp that is recent, never a buffer that waited; a dongle without a signal at its input
is lost, though it goes on delivering noise; one that another program streams from is told apart from one that is broken.
Traps behind this (docs/design/cameras.md): a slow reader gets the driver's oldest buffers first; a signal that is gone shows
only in the input's status; the time-outs of FFmpeg are refused by this backend, so its own comes from the environment.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from edge_agent import vision
from edge_agent.capture.freshness import Freshness
from edge_agent.capture.probe import Trouble
from edge_agent.capture.rtsp import encode
from edge_agent.capture.watch import Pace, Shot, Slot, refuse_large
from edge_agent.clock import Clock
from edge_agent.core.messages import Cause

_AGE_MAX_S: Final = 0.5
_DRAIN_MAX: Final = 160  # buffers: drivers keep 4 to 32, and then a second of fresh ones, at up to 60 a second, tells which those are
_GET_INPUT: Final = 0x80045626  # VIDIOC_G_INPUT
_ENUM_INPUT: Final = 0xC050561A  # VIDIOC_ENUMINPUT, struct v4l2_input of 80 bytes
_STATUS_AT: Final = 56
_REQUEST_BUFFERS: Final = 0xC0145608  # VIDIOC_REQBUFS, struct v4l2_requestbuffers of 20 bytes
_NO_BUFFERS: Final = struct.pack("=5I", 0, 1, 1, 0, 0)  # none, of video capture, mapped
_NO_POWER_SIGNAL_LOCK: Final = 0x1 | 0x2 | 0x100

# A driver lets everybody open a device and ask, and one program stream.
IN_USE: Final = "is in use by another program"


class V4l2:
    """One capture device. Its camera's thread only."""

    host: str | None = None
    backoff = True

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._freshness = Freshness()

    def shots(self, pace: Pace, slot: Slot) -> Iterator[Shot]:
        """See `Source`."""
        del slot
        _check_signal(self._path)
        video = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        try:
            if not video.isOpened():
                raise Trouble(Cause.NO_DEVICE, f"{self._path} {_why_closed(self._path)}")
            video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            self._freshness = Freshness()
            while True:
                yield self._shot(video, pace)
                pace.taken(self._clock.now())
                pace.wait_until_due()
        finally:
            video.release()

    def _shot(self, video: cv2.VideoCapture, pace: Pace) -> Shot:
        for _ in range(_DRAIN_MAX):
            pace.step()
            if not video.grab():
                raise Trouble(Cause.STALLED, f"{self._path} stopped delivering")
            at = self._clock.now()
            stamp_s = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if self._freshness.arrived(at=at, stamp_s=stamp_s, key=False):
                # The pause between two pictures is ours, so a break proves nothing here; but ages are told anew after it.
                self._freshness = Freshness()
                self._freshness.arrived(at=at, stamp_s=stamp_s, key=False)
            if self._freshness.settled() and self._freshness.age_s <= _AGE_MAX_S:
                break
        else:
            raise Trouble(Cause.STALE, f"{self._path} delivers old pictures only")
        _check_signal(self._path)
        good, picture = video.retrieve()
        if not good or picture is None:
            raise Trouble(Cause.NOT_A_PICTURE, f"{self._path}: a picture that cannot be decoded")
        height, width = picture.shape[:2]
        refuse_large(width, height)
        still = np.asarray(picture, np.uint8)
        grey = vision.scaled_grey(still)
        if grey is None:
            raise Trouble(Cause.NOT_A_PICTURE, f"{self._path}: a picture that cannot be read")
        return Shot(
            jpeg=encode(still),
            grey=grey,
            taken_at=at - self._freshness.age_s,
            age_s=self._freshness.age_s,
            codec="v4l2",
            width=width,
            height=height,
        )


def _check_signal(path: str) -> None:
    """Ask the driver whether its input sees a camera. Raises `Trouble` if not."""
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        raise Trouble(Cause.NO_DEVICE, f"{path}: {fault.strerror}") from fault
    try:
        asked = bytearray(80)
        asked[:4] = fcntl.ioctl(device, _GET_INPUT, bytes(4))
        fcntl.ioctl(device, _ENUM_INPUT, asked)
    except OSError as fault:
        # Every capture driver knows its inputs (the V4L2 specification makes both calls mandatory for them).
        raise Trouble(Cause.NO_DEVICE, f"{path} is no capture device: {fault.strerror}") from fault
    finally:
        os.close(device)
    (status,) = struct.unpack_from("=I", asked, _STATUS_AT)
    if status & _NO_POWER_SIGNAL_LOCK:
        raise Trouble(Cause.NO_DEVICE, f"{path}: no video signal at the input")


def _why_closed(path: str) -> str:
    """Why a device that knows its inputs gives OpenCV no stream. To ask for no buffers changes nothing, but for their owner alone."""
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        return f"cannot be opened any more: {fault.strerror}"
    try:
        fcntl.ioctl(device, _REQUEST_BUFFERS, _NO_BUFFERS)
    except OSError as fault:
        return IN_USE if fault.errno == errno.EBUSY else f"gives no stream: {fault.strerror}"
    finally:
        os.close(device)
    return "gives no stream in a format that can be read"
