"""The privacy switch as a state over time: private unless proven live.

Promises: it starts private; any reading but "NC closed and NO open" is private at once, without debounce; live only after
3 s of nothing but that pattern. Nothing but the switch's own readings can lead to live.
Source of the pattern, the 3 s and the 0.5 s: WIRING in docs/privacy.md (antivalent contacts, every single fault ends private).
Not its job: reading pins (sensors.py), closing the shutter in the meantime (sensors.py does, before this hears of it).
"""

from dataclasses import dataclass
from typing import Final

from edge_agent.core.messages import FindingKey, SwitchRead

LIVE_AFTER_S: Final = 3.0  # longer than any bounce, and than a hand that hesitates
ODD_AFTER_S: Final = 0.5  # both contacts alike for longer than the travel of a mushroom button
SILENT_AFTER_S: Final = 3.0  # the sensor thread reports each second: silence is "unreadable"


def is_live(nc_closed: bool | None, no_closed: bool | None) -> bool:  # noqa: FBT001 - two contacts, in their order
    """Whether this one reading of the contacts is the live pattern; anything unknown is not."""
    return nc_closed is True and no_closed is False


@dataclass(frozen=True, slots=True)
class SwitchView:
    """What the switch says now."""

    private: bool
    since: float
    press: int  # count of presses that this rests on
    fault: FindingKey | None
    why: str


class Switch:
    """Decodes readings. Owned by the agent."""

    def __init__(self, *, at: float) -> None:
        self._live_since: float | None = None
        self._odd_since: float | None = None
        self._heard_at = at
        self._press = 0
        self._last: SwitchRead | None = None
        self._private_since: float | None = at
        self._changed_at = at

    def read(self, event: SwitchRead, *, at: float) -> SwitchView:
        """Take a reading."""
        self.view(at=at)  # a silence that nobody asked about still counts
        if is_live(event.nc_closed, event.no_closed):
            # A press that the sensor thread saw and we did not still restarts the 3 s.
            if self._live_since is None or event.press != self._press:
                self._live_since = at
            self._odd_since = None
        else:
            self._live_since = None
            alike = event.nc_closed is not None and event.nc_closed == event.no_closed
            if not alike:
                self._odd_since = None
            elif self._odd_since is None:
                self._odd_since = at
        self._press = event.press
        self._heard_at = at
        self._last = event
        return self.view(at=at)

    def view(self, *, at: float) -> SwitchView:
        """State at *at*; also to be asked when nothing was read."""
        silent = at >= self._heard_at + SILENT_AFTER_S
        if silent:
            self._live_since = None
        # Compared with the very sum that `deadline` gives, or rounding would ask again and again at that instant.
        private = self._live_since is None or at < self._live_since + LIVE_AFTER_S
        if private != (self._private_since is not None):
            self._private_since = at if private else None
            self._changed_at = at
        fault, why = self._fault(silent=silent, at=at)
        return SwitchView(private, self._changed_at, self._press, fault, why)

    def deadline(self, *, at: float) -> float:
        """When `view` may next change without a reading."""
        if self._live_since is not None and self._private_since is not None:
            return self._live_since + LIVE_AFTER_S
        due = [self._heard_at + SILENT_AFTER_S]
        if self._odd_since is not None:
            due.append(self._odd_since + ODD_AFTER_S)
        return min((moment for moment in due if moment > at), default=at + SILENT_AFTER_S)

    def _fault(self, *, silent: bool, at: float) -> tuple[FindingKey | None, str]:
        if silent:
            return FindingKey.PRIVACY_UNREADABLE, "no reading for 3 s"
        last = self._last
        if last is None:
            return None, ""
        if last.nc_closed is None or last.no_closed is None:
            return FindingKey.PRIVACY_UNREADABLE, last.why
        if self._odd_since is not None and at >= self._odd_since + ODD_AFTER_S:
            return FindingKey.PRIVACY_WIRING, "both closed" if last.nc_closed else "both open"
        return None, ""
