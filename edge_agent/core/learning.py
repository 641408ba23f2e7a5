"""When one camera may learn what its view looks like in another light: under unbroken continuity, and seldom.

Promises:
- a permit lasts from one moment at which the gate is open and the view is without a finding to the end of that; whatever
  ends it (a new connection, a loop event, privacy, doubt that lasted, a moved or foreign view, other references, a restart)
  ends the permit, and no later one has its number;
- after a light was kept an hour passes before the next lesson, and a camera keeps four lights a day at most;
- what a worker says of a lesson is taken once, and of the last permit only: also just after it ended, since a light may have
  been kept at that moment.
Not its job: pictures and maps (vision/learn.py), whether the gate is open (watch.py).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from edge_agent.core.messages import Command, Learn, LessonEnded

# Each light that is kept closes the gate for some ten seconds, as other references do: the view is proven anew.
PAUSE_S: Final = 3600.0
LIGHTS_A_DAY: Final = 4
_DAY_S: Final = 24 * 3600.0


class Learning:
    """The permits of one camera. Owned by the agent."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._given = 0  # permits so far: the number of the last one
        self._answered = 0  # the last one of which a lesson was told
        self._generation: int | None = None  # that the permit in force is for; None = none is
        self._kept: deque[float] = deque(maxlen=LIGHTS_A_DAY)

    def tend(self, generation: int | None, *, at: float) -> list[Command]:
        """Give or withdraw: *generation* is the connection whose view is proven now, None if there is none. On change only."""
        wanted = generation if self._may(at) else None
        if wanted == self._generation:
            return []
        self._generation = wanted
        if wanted is None:
            return [Learn(camera=self._camera, generation=0, permit=None)]
        self._given += 1
        return [Learn(camera=self._camera, generation=wanted, permit=self._given)]

    def told(self, event: LessonEnded, *, at: float) -> bool:
        """A lesson ended; whether that is to be believed. With it its permit ended too: `tend` gives the next one."""
        if event.permit != self._given or event.permit == self._answered:
            return False
        self._answered, self._generation = event.permit, None
        if event.light:
            self._kept.append(at)
        return True

    def _may(self, at: float) -> bool:
        if self._kept and at - self._kept[-1] < PAUSE_S:
            return False
        return len(self._kept) < LIGHTS_A_DAY or at - self._kept[0] >= _DAY_S
