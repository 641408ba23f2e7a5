"""The last look before a picture leaves: may this camera's pictures be sent right now?

Promises: `press` closes it for all cameras before it returns, from any thread, without a lock; only the owner thread can
open it, and only with the count of presses that its decision rests on, so that a press in between always wins.
It starts closed. Not its job: knowing why.
"""

import itertools


class Shutter:
    """Shared between the sensor thread (press), the owner thread (open) and the hub link (allows)."""

    def __init__(self) -> None:
        self._counter = itertools.count(1)  # next() is atomic in CPython
        self._presses = 0
        self._opened: tuple[int, frozenset[str]] = (-1, frozenset())

    @property
    def presses(self) -> int:
        """How often it was pressed so far."""
        return self._presses

    def press(self) -> int:
        """Close for all cameras at once; returns the new count of presses."""
        self._presses = next(self._counter)
        return self._presses

    def open_for(self, cameras: frozenset[str], *, press: int) -> None:
        """Pictures of exactly these *cameras* may leave, unless a press came after number *press*. Owner thread only."""
        self._opened = (press, cameras)

    def allows(self, camera: str) -> bool:
        """Whether a picture of *camera* may leave now. Any thread; never blocks."""
        press, cameras = self._opened
        return press == self._presses and camera in cameras
