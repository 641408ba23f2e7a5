"""What the supervised pair of a camera's run says, over time (first form: closed or open).

Promises: the first reading that is not "closed" breaks continuity at once; the finding (and with it the work order) needs the
state to last, so that a bounce of a relay is no work order; coming back to normal restores no trust.
From an open reading to the next closed one, video is held whatever it shows: in December 2024 the camera streamed, its 50 m
cable did not.
Not its job: what a picture shows (scene.py), the words of a work order (words.py).
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from edge_agent.core.messages import FindingKey, Json, LoopRead
from edge_agent.core.settings import Run

# Three readings at the 2 Hz of WIRING's plan: a technician is not called for a contact that bounced.
OPEN_FOR_S: Final = 1.5
CLOSED_FOR_S: Final = 3.0
# What is cut off at both ends, led up the pole and spoilt by the first try; cable is sold in steps of 5 m.
SLACK: Final = 0.10
STEP_M: Final = 5


class LoopState(Enum):
    """Of the supervised pair."""

    UNKNOWN = "unknown"  # not read yet, or not readable
    NORMAL = "normal"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class LoopView:
    """What the loop says now."""

    state: LoopState
    since: float
    finding: FindingKey | None
    why: str


def metres_to_bring(length_m: float) -> int:
    """Length of the run with slack, rounded up to what is sold."""
    # Rounded to the centimetre first: 50 m * 1.1 is a hair over 55 in binary, and must not become 60.
    return math.ceil(round(length_m * (1 + SLACK), 2) / STEP_M) * STEP_M


class Loop:
    """One run's loop. Owned by the agent."""

    def __init__(self, run: Run, *, at: float) -> None:
        self.run = run
        self._state = LoopState.UNKNOWN
        self._since = at
        self._cut = False  # open, and not read as closed since
        self._reported = False
        self._why = ""

    @property
    def state(self) -> LoopState:
        """Of the last reading."""
        return self._state

    @property
    def forbids(self) -> bool:
        """Video is held, whatever it shows. A pin that fails while the pair is open mends no cable."""
        return self._cut

    def read(self, event: LoopRead, *, at: float) -> bool:
        """Take a reading; True if it breaks continuity (it was normal, or not known, and is not normal now)."""
        if event.closed is None:
            after = LoopState.UNKNOWN
        else:
            after = LoopState.NORMAL if event.closed else LoopState.OPEN
        before, self._why = self._state, event.why
        if after is before:
            return False
        self._state, self._since = after, at
        if after is not LoopState.UNKNOWN:
            self._cut = after is LoopState.OPEN
        return after is not LoopState.NORMAL or before is LoopState.OPEN

    def view(self, *, at: float) -> LoopView:
        """State and finding at *at*."""
        if self._state is LoopState.OPEN and at >= self._since + OPEN_FOR_S:
            self._reported = True
        elif self._state is LoopState.NORMAL and at >= self._since + CLOSED_FOR_S:
            self._reported = False
        finding = FindingKey.CABLE_OPEN if self._reported else None
        if finding is None and self._state is LoopState.UNKNOWN and self._why:
            finding = FindingKey.CABLE_UNREADABLE
        return LoopView(self._state, self._since, finding, self._why)

    def evidence(self) -> dict[str, Json]:
        """What a work order needs beside the finding."""
        return {
            "loop": self._state.value,
            "length_m": self.run.length_m,
            "bring_m": metres_to_bring(self.run.length_m),
            "cable": self.run.cable,
            "place": self.run.place,
        }

    def deadline(self, *, at: float) -> float | None:
        """When `view` may next change without a reading."""
        lasting = {LoopState.OPEN: OPEN_FOR_S, LoopState.NORMAL: CLOSED_FOR_S}.get(self._state)
        if lasting is None or at >= self._since + lasting:
            return None
        return self._since + lasting
