"""The last look before a picture leaves: may this camera's pictures be sent right now?

Promises: `press` closes it for all cameras before it returns, from any thread, without a lock; only the owner thread can
open it, and only with the count of presses that its decision rests on, so that a press in between always wins.
It starts closed. Whoever has to act on a press besides (the capture workers' supervisor) is woken by it, after it is closed:
the pin library's one thread presses too, and whatever a waker does wrong must neither hold nor end that thread.
Not its job: knowing why.
"""

import contextlib
import itertools
from collections.abc import Callable


class Shutter:
    """Shared between the sensor thread (press), the owner thread (open) and the hub link (allows)."""

    def __init__(self) -> None:
        self._counter = itertools.count(1)  # next() is atomic in CPython
        self._presses = 0
        self._opened: tuple[int, frozenset[str]] = (-1, frozenset())
        self._wakers: tuple[Callable[[], None], ...] = ()

    @property
    def presses(self) -> int:
        """How often it was pressed so far."""
        return self._presses

    def press(self) -> int:
        """Close for all cameras at once, then wake; returns the new count of presses. Any thread; never blocks, never raises."""
        press = self._presses = next(self._counter)
        for wake in self._wakers:
            with contextlib.suppress(
                Exception
            ):  # a waker's fault must not end the pin library's thread
                wake()
        return press

    def wakes(self, wake: Callable[[], None]) -> None:
        """Call *wake* after each press, in the thread that presses: it must return at once. To be said before threads start."""
        self._wakers = (*self._wakers, wake)

    def open_for(self, cameras: frozenset[str], *, press: int) -> None:
        """Pictures of exactly these *cameras* may leave, unless a press came after number *press*. Owner thread only."""
        self._opened = (press, cameras)

    def allows(self, camera: str) -> bool:
        """Whether a picture of *camera* may leave now. Any thread; never blocks."""
        press, cameras = self._opened
        return press == self._presses and camera in cameras
