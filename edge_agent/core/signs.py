"""What the box shows and says to whoever stands before it: one pattern of the lamps, and few sounds.

Promises: a pattern is said again whenever the count of presses changed, as it is void then; two short beeps only when pictures
go out again after a hand had ended that; three short beeps for a fault of the switch at most once an hour, by day, and only
with a clock that something vouches for; never a sound for what is held, suspended or checked. "Locate" replaces the patterns in
which blue is dark, and no other; private, a fault of the switch and suspended end it.
Not its job: which pattern it is (agent.py), what it looks like (sensors), the beep that answers a press (switch_desk.py).
"""

from __future__ import annotations

import math
from typing import Final

from edge_agent.core.messages import Beep, Command, Lamp, ShowLamps, Sound

FAULT_EVERY_S: Final = 3600.0
# Semarang lives by UTC+7, without summer time: a constant, as a box that was told a wrong zone would wake a street.
LOCAL_S: Final = 7 * 3600.0
DAY_FROM_H: Final = 7
DAY_UNTIL_H: Final = 19
# Whoever looks for the box sees white only where white may be seen anyway; "verifying" goes by itself within a minute.
_REPLACED_BY_LOCATE: Final = frozenset({Lamp.LIVE, Lamp.HELD})
_ENDS_LOCATE: Final = frozenset({Lamp.PRIVATE, Lamp.WIRING_FAULT, Lamp.SUSPENDED})


class Signs:
    """Owned by the agent."""

    def __init__(self) -> None:
        self._shown: ShowLamps | None = None
        self._announce = False  # a hand had made it private, and live was not said since
        self._fault_said_at: float | None = None
        self._locate_until: float | None = None

    def locate(self, *, until_at: float) -> None:
        """Somebody looks for the box until *until_at*; `show` says what follows."""
        self._locate_until = until_at

    def deadline(self) -> float | None:
        """When `show` is due again."""
        return self._locate_until

    def show(
        self, lamp: Lamp, *, press: int, by_hand: bool, wall_s: float | None, at: float
    ) -> list[Command]:
        """Show *lamp* while there are *press* presses. *by_hand*: a person keeps the box private now.

        *wall_s*: Unix time if anything vouches for it.
        """
        out: list[Command] = []
        shown = ShowLamps(lamp=self._seen(lamp, at), press=press)
        if shown != self._shown:
            self._shown = shown
            out.append(shown)
        self._announce = self._announce or by_hand
        if lamp is Lamp.LIVE and self._announce:
            self._announce = False
            out.append(Beep(sound=Sound.LIVE))
        if lamp is Lamp.WIRING_FAULT and _by_day(wall_s) and self._may_complain(at):
            self._fault_said_at = at
            out.append(Beep(sound=Sound.FAULT))
        return out

    def _seen(self, lamp: Lamp, at: float) -> Lamp:
        until_at = self._locate_until
        if until_at is None or at >= until_at or lamp in _ENDS_LOCATE:
            self._locate_until = None
            return lamp
        return Lamp.LOCATE if lamp in _REPLACED_BY_LOCATE else lamp

    def _may_complain(self, at: float) -> bool:
        return self._fault_said_at is None or at >= self._fault_said_at + FAULT_EVERY_S


def _by_day(wall_s: float | None) -> bool:
    if wall_s is None or not math.isfinite(wall_s):
        return False
    hour = (wall_s + LOCAL_S) % 86_400 / 3600
    return DAY_FROM_H <= hour < DAY_UNTIL_H
