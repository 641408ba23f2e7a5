"""Whether the city has suspended this box now, whatever its clock says.

The box knows one thing of the time for certain: that it is later than the last moment that something vouched for (a trusted clock,
the date on which a policy was signed), by as many seconds as it has been running since. That bound is kept over restarts; the time
for which the box was off counts as nothing.

Promises:
- With a trusted clock a suspension lasts exactly until its date, however long the box was off.
- Without one it never ends before its date, and it ends after its date by no more than the box was off or knew no time at all; the
  daily sign of life (uplink.py) ends even that, as the hub's newest policy is heard in it.
- What an untrusted clock shows, too early or too late, moves nothing.
Time is an argument. Not its job: what follows from it (agent.py), reading policies (wire.py).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import ClockRead, Command, Memory, Remember

if TYPE_CHECKING:
    from edge_agent.core.wire import Policy

# A power cut costs so much of the count at the most; the card takes a small write as often, only while a date lies ahead.
SAVE_S: Final = 600.0
NEWS_S: Final = (
    60.0  # a trusted clock that says so much else than the count is news, and kept at once
)
_LATEST_S: Final = 253_402_300_799.0  # the end of the year 9999


class Suspension:
    """The date of the policy in force against what is known of the time. Owner thread only."""

    def __init__(self, remembered: bytes | None, clock: ClockRead, *, at: float) -> None:
        """*remembered*: the last `Remember` of `Memory.FLOOR`, as far as the card still has it."""
        self._policy: Policy | None = None
        # It was `_floor_s` (Unix time) or later at `_floor_at` (boot seconds).
        self._floor_s, self._floor_at = _read(remembered), at
        self._trusted = False
        self._save_at = at
        self._on = False  # when it was last asked what is to be kept
        self.clock_read(clock, at=at)

    def clock_read(self, clock: ClockRead, *, at: float) -> None:
        """A reading of the clock; only a trusted one says anything."""
        self._trusted = clock.trusted
        if clock.trusted:
            if abs(clock.wall_s - self._known(at=at)) > NEWS_S:
                self._save_at = at
            self._floor_s, self._floor_at = clock.wall_s, at

    def obey(self, policy: Policy, *, at: float) -> None:
        """This policy is in force from now on; the hub has vouched for the moment at which it was signed."""
        self._policy = policy
        if not self._trusted and policy.issued is not None:
            self._floor_s, self._floor_at = max(self._known(at=at), policy.issued), at
        self._save_at = at
        self._on = self.is_on(at=at)

    def is_on(self, *, at: float) -> bool:
        """Whether the city wants no traffic of this box now."""
        return at < self._ends_at()

    def saving(self, *, at: float) -> list[Command]:
        """What is to be kept on the card now."""
        was_on, self._on = self._on, self.is_on(at=at)
        # Its end is kept too, or a restart without a clock would bring it back.
        due = at >= self._save_at if self._on else was_on
        if not due:
            return []
        self._save_at = at + SAVE_S
        value = json.dumps({"v": 1, "wall_s": round(self._known(at=at), 1)}).encode()
        return [Remember(memory=Memory.FLOOR, value=value)]

    def deadline(self, *, at: float) -> float:
        """When it ends, or something is to be kept."""
        return min(self._ends_at(), self._save_at) if self.is_on(at=at) else math.inf

    def _ends_at(self) -> float:
        """In boot seconds, as far as is known; never too early."""
        until = None if self._policy is None else self._policy.suspended_until
        return -math.inf if until is None else self._floor_at + (until - self._floor_s)

    def _known(self, *, at: float) -> float:
        return self._floor_s + (at - self._floor_at)


def _read(remembered: bytes | None) -> float:
    """The bound that was kept; 0 = none, or not readable."""
    try:
        body: object = json.loads(remembered or b"{}")
    except (ValueError, RecursionError):
        return 0.0
    found = body.get("wall_s") if isinstance(body, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return 0.0
    return float(found) if 0 <= found <= _LATEST_S else 0.0
