"""Which policy of the hub is in force: the newest one, however many come.

Promises:
- A policy is newer by its number alone; the one that was told before means nothing new, an older one nothing at all.
- Each one that is put into force may cost records of class 0 and a write to the card, so `BURST` may follow each other at once, and one
  each `EVERY_S` after that; of those that wait meanwhile the newest counts. Whoever stole the hub's key wears out no card with them.
- No number lies above tomorrow's Unix time in milliseconds, as far as something vouches for the clock: or one policy with the highest of
  all numbers would be the last for ever, also for a city that has a new key.
Time is an argument. Not its job: signatures (orders.py), what a policy says (wire.py), what follows from it (agent.py).
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Final

from edge_agent.core.commands import AHEAD_S

if TYPE_CHECKING:
    from edge_agent.core.wire import Policy

BURST: Final = 10
EVERY_S: Final = 60.0


class Heard(Enum):
    """What a policy is to those before it."""

    NEW = "new"
    AGAIN = "again"
    OLD = "old"


class Policies:
    """Owned by the agent."""

    def __init__(self) -> None:
        self.in_force: Policy | None = None
        self._waits: tuple[Policy, bytes] | None = None
        self._next_at = -math.inf

    def hear(self, policy: Policy, claims: bytes) -> Heard:
        """Take one that is sound; `due` says when it is to be obeyed."""
        newest = self.in_force if self._waits is None else self._waits[0]
        if policy == newest:
            return Heard.AGAIN
        if newest is not None and policy.number <= newest.number:
            return Heard.OLD
        self._waits = (policy, claims)
        return Heard.NEW

    def due(self, *, at: float) -> bytes | None:
        """The claims of the policy that has come into force just now, as `in_force`; None = nothing has changed."""
        if self._waits is None or at < self._next_at:
            return None
        self.in_force, claims = self._waits
        self._waits = None
        self._next_at = max(self._next_at, at - BURST * EVERY_S) + EVERY_S
        return claims

    def deadline(self) -> float:
        """When `due` has something, in boot seconds."""
        return math.inf if self._waits is None else self._next_at


def too_high(number: int, *, wall_s: float | None) -> str:
    """Why no hub gives this number at *wall_s*, a trusted Unix time; "" = it may be, or nobody can tell."""
    if wall_s is None:
        return ""
    most = round((wall_s + AHEAD_S) * 1000)
    if number <= most:
        return ""
    return f"policy.number: above {most}, the Unix time in ms of tomorrow; take it from the clock"
