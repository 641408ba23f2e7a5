"""A capture dongle as drivers have it: four buffers that fill while nobody reads, each with the moment at which it was filled."""

from __future__ import annotations

import itertools
from collections import deque
from typing import cast

import cv2
import numpy as np
import pytest

from edge_agent.capture import v4l2
from edge_agent.capture.probe import Trouble
from edge_agent.capture.watch import Pace, Slot
from edge_agent.core.messages import Cause

BUFFERS = 4


class Bench:
    """A clock that only the dongle and the pauses move."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.boot = "boot"

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at

    def trusted(self) -> bool:
        return False


class Dongle:
    """What OpenCV gives of a device: it fills its buffers in time with its camera, and the oldest is read first."""

    def __init__(self, bench: Bench, *, rate: float, lag_s: float = 0.0) -> None:
        self._bench = bench
        self._every_s = 1 / rate
        self._lag_s = lag_s
        self._next_s = bench.at
        self._filled: deque[float] = deque()
        self.shown_s = 0.0
        self.lag_grows_s = 0.0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def set(self, *_: object) -> bool:
        return True

    def release(self) -> None:
        pass

    def grab(self) -> bool:
        self._fill()
        if not self._filled:
            self._bench.at = self._next_s
            self._fill()
        self.shown_s = self._filled.popleft()
        self._lag_s += self.lag_grows_s
        return True

    def get(self, _: int) -> float:
        return (self.shown_s - self._lag_s) * 1000

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)

    def _fill(self) -> None:
        while self._next_s <= self._bench.at:
            # A driver without a free buffer drops the picture.
            if len(self._filled) < BUFFERS:
                self._filled.append(self._next_s)
            self._next_s += self._every_s


class Due(Pace):
    """Pauses that are over at once, for everybody but the clock."""

    def __init__(self, period_s: float, bench: Bench) -> None:
        super().__init__(period_s, bench)
        self._bench = bench

    def wait_until_due(self) -> None:
        self._bench.at += self.period_s


@pytest.mark.parametrize("rate", [10.0, 25.0, 30.0, 60.0])
@pytest.mark.parametrize("period_s", [1.0, 2.0, 3.0, 5.0, 10.0, 300.0])
def test_after_each_pause_the_picture_is_of_now(monkeypatch, rate, period_s):
    """The usual pause of ten seconds is longer than any that a live stream may have."""
    bench = Bench()
    dongle = Dongle(bench, rate=rate)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: dongle)
    monkeypatch.setattr(v4l2, "_check_signal", lambda _: None)
    camera = v4l2.V4l2("/dev/video0", bench)
    for shot in itertools.islice(camera.shots(Due(period_s, bench), cast("Slot", None)), 6):
        assert bench.at - dongle.shown_s <= 0.5, "a buffer that waited"
        assert abs(shot.taken_at - dongle.shown_s) <= 0.1
        assert 0 <= shot.age_s <= 0.5


def test_a_dongle_that_falls_behind_for_ever_is_lost(monkeypatch):
    bench = Bench()
    dongle = Dongle(bench, rate=25.0)
    dongle.lag_grows_s = 0.1
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: dongle)
    monkeypatch.setattr(v4l2, "_check_signal", lambda _: None)
    camera = v4l2.V4l2("/dev/video0", bench)
    with pytest.raises(Trouble) as told:
        list(itertools.islice(camera.shots(Due(10.0, bench), cast("Slot", None)), 6))
    assert told.value.cause is Cause.STALE
