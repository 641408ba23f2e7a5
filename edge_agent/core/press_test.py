"""How long ago the privacy switch was last pressed: contacts that stick or weld are found by pressing, and only so.

Promises: a press counts from the moment it was made, also where the clock is set later in the same life; without any press
the days count from the first start with a clock that something vouches for; without such a clock nothing is judged; a press
that lies more than a day ahead of the clock is not believed, and the days count anew.
Not its job: what is a press (privacy.py), writing to disk, sentences.
"""

from __future__ import annotations

import math
from typing import Final

DAY_S: Final = 86_400.0
# The card on the box asks for one a month; half a month of grace.
OVERDUE_S: Final = 45 * DAY_S
# Presses closer than this are one test: a contact that chatters must not wear the card.
APART_S: Final = 60.0
_WALL_MAX: Final = 1e12  # as in switch_memory.py: what is kept must be readable again


class PressTest:
    """Owned by the desk. Times kept are whole Unix seconds."""

    def __init__(self, *, tested_s: int | None, counted_from_s: int | None) -> None:
        self.tested_s = tested_s
        self.counted_from_s = counted_from_s
        self._pressed_at: float | None = None  # a press that has no wall time yet

    def pressed(self, *, at: float) -> None:
        """Somebody pressed it."""
        self._pressed_at = at

    def settle(self, wall_s: float | None, *, at: float) -> bool:
        """Take what *wall_s*, Unix time at *at*, tells; None = nothing vouches for it. Whether a press test is overdue."""
        if wall_s is None or not (math.isfinite(wall_s) and 0 <= wall_s <= _WALL_MAX):
            return False
        if self._pressed_at is not None:
            pressed_s = max(0, round(wall_s - (at - self._pressed_at)))
            if self.tested_s is None or abs(pressed_s - self.tested_s) >= APART_S:
                self.tested_s = pressed_s
            self._pressed_at = None
        if self.tested_s is not None and self.tested_s > wall_s + DAY_S:
            self.tested_s = None  # noted by a clock that was far ahead: when it was is not known
            self.counted_from_s = None
        if self.counted_from_s is None or self.counted_from_s > wall_s + DAY_S:
            self.counted_from_s = round(wall_s)
        last_s = self.counted_from_s if self.tested_s is None else self.tested_s
        return wall_s - last_s >= OVERDUE_S

    def age_s(self, wall_s: float | None) -> float | None:
        """How long ago it was pressed; None = never, or not known."""
        if wall_s is None or self.tested_s is None:
            return None
        return round(max(0.0, wall_s - self.tested_s), 1)
