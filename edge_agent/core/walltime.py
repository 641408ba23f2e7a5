"""Wall time over boots without a clock of their own: when it may be believed, and what was stamped before it could be.

Promises: wall time is a label: nothing here orders or expires by it. Once something vouches for the clock, what this boot
stamped before is corrected by one number, the wall time of the boot's second 0, and the correction is on record. The newest
vouched-for time is remembered, so that a box that starts in 1970 labels its records no earlier than it last knew.
Not its job: asking the kernel (clock.py), keeping (spool), what is suspended until when (agent.py).
"""

from __future__ import annotations

import json
import math
from typing import Final

from edge_agent.core.messages import (
    ClockRead,
    Command,
    CorrectTimes,
    FindingKey,
    Json,
    Keep,
    Level,
    Memory,
    Rank,
    Record,
    Remember,
    Say,
)

# NTP slews what is smaller; a step of less is of no use to a person who reads a record.
STEP_S: Final = 2.0
FLOOR_EVERY_S: Final = 600.0  # one small write: 144 a day
# A clock that nothing vouches for right after boot is usual; after ten minutes it is a finding.
GRACE_S: Final = 600.0
_LATEST_S: Final = 253_402_300_799.0  # the end of the year 9999: beyond it no label can be written


def floor_of(kept: bytes | None) -> float:
    """The wall time that `Memory.CLOCK` remembers; 0.0 if it remembers none that can be read."""
    try:
        body: object = json.loads(kept or b"{}")
    except ValueError:
        return 0.0
    floor = body.get("floor_s") if isinstance(body, dict) else None
    if not isinstance(floor, int | float) or isinstance(floor, bool):
        return 0.0
    return float(floor) if 0.0 < floor < _LATEST_S else 0.0


def _bounded(wall_s: float) -> float:
    """A label that can be written, whatever a kernel said."""
    return min(max(wall_s, 0.0), _LATEST_S) if math.isfinite(wall_s) else 0.0


class WallTime:
    """The labels of one boot. Owned by the agent."""

    def __init__(self, read: ClockRead, *, boot: str, at: float) -> None:
        self._boot = boot
        self._started_at = at
        self._read = read
        self._wall_s = _bounded(read.wall_s)
        self._read_at = at
        self._base_s: float | None = None  # Unix time of the boot's second 0, as vouched for last
        self._doubted = not read.trusted  # something was stamped that nothing vouched for
        self._kept_at = -math.inf

    @property
    def trusted(self) -> bool:
        """Whether something vouched for the clock when it was last read."""
        return self._read.trusted

    def wall(self, *, at: float) -> float:
        """Unix time at *at*, as far as the last reading of the clock tells."""
        return self._wall_s + (at - self._read_at)

    def read(self, event: ClockRead, *, at: float) -> list[Command]:
        """Take a reading: what follows for records that are kept, and what is to be remembered."""
        before_s = self.wall(at=at)
        self._read, self._wall_s, self._read_at = event, _bounded(event.wall_s), at
        if not event.trusted or not 0.0 < event.wall_s < _LATEST_S:
            self._doubted = True
            return []
        return self._correct(event, before_s, at=at) + self._keep_floor(event, at=at)

    def findings(self, *, at: float) -> dict[FindingKey, dict[str, Json]]:
        """What is wrong with the clock now."""
        if self._read.trusted or at - self._started_at <= GRACE_S:
            return {}
        return {FindingKey.CLOCK_UNTRUSTED: {"source": self._read.source}}

    # -- inside --

    def _correct(self, event: ClockRead, before_s: float, *, at: float) -> list[Command]:
        was_s, self._base_s = self._base_s, event.wall_s - at
        stepped = was_s is not None and abs(self._base_s - was_s) >= STEP_S
        if was_s is not None and not stepped and not self._doubted:
            return []
        # Said at the first trusted reading of every process: an earlier one of this boot may have died before it could.
        out: list[Command] = [CorrectTimes(boot_wall_s=self._base_s)]
        if not stepped and not self._doubted:
            return out
        self._doubted = False
        offset_s = round(event.wall_s - before_s, 3)
        data: dict[str, Json] = {
            "boot": self._boot,
            "offset_s": offset_s,
            "boot_wall_s": round(self._base_s, 3),
            "source": event.source,
        }
        record = Record(kind="clock.corrected", rank=Rank.AUDIT, at=at, data=data)
        text = f"clock corrected offset_s={offset_s} source={event.source}"
        return [*out, Keep(record=record), Say(level=Level.INFO, text=text)]

    def _keep_floor(self, event: ClockRead, *, at: float) -> list[Command]:
        if at - self._kept_at < FLOOR_EVERY_S:
            return []
        self._kept_at = at
        value = json.dumps({"floor_s": round(event.wall_s)}).encode()
        return [Remember(memory=Memory.CLOCK, value=value)]
