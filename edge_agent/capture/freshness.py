"""How old is what a stream just delivered? Told from arrival times and the stream's own stamps alone.

A camera's clock is not needed: the smallest difference "arrival minus stamp" of a connection belongs to its freshest
packet, and whatever lies above it is age. Measured against pictures that carry their frame number: wrong by at most 0.5 s
(docs/design/cameras.md). That holds once the connection has settled: recorders first send a burst from their buffer.
Promises: `arrived` names every break of continuity; ages are never below zero; nothing here blocks or asks a clock.
Not its job: reading streams, deciding what a break means.
"""

import math
from typing import Final

READ_TIMEOUT_S: Final = 4.0
# FFmpeg answers a read timeout with a frame as if all were well, one timeout old; so a pause this long is a break, whatever
# the spacing of key pictures.
_GAP_MAX_S: Final = READ_TIMEOUT_S * 0.95
_GAP_BEYOND_GOP_S: Final = 2.0
_BACK_MAX_S: Final = 1.0  # stamps of B-pictures go back by a few pictures
_FORWARD_MAX_S: Final = 2.0
_SETTLE_S: Final = 1.0
_FALL_S: Final = 0.1  # jitter of a quiet LAN stays below this
# The floor rises this fast, since two crystals differ by up to 100 ppm each; without it a day would look like 9 s of age.
# A reader that lags 2 s would need almost two hours to hide behind it.
_DRIFT: Final = 300e-6


class Freshness:
    """One connection's sense of time. One thread."""

    def __init__(self) -> None:
        self.gop_s = 0.0  # between the last two key pictures; 0 = not known yet
        self.age_s = 0.0  # of the newest packet
        self._first_at: float | None = None
        self._last_at = 0.0
        self._last_stamp_s = 0.0
        self._floor_s = math.inf
        self._fell_at = 0.0
        self._key_stamp_s: float | None = None

    def arrived(self, *, at: float, stamp_s: float, key: bool) -> str | None:
        """Take note of a packet; the answer, if any, says why what came before proves nothing any more."""
        if self._first_at is None:
            self._first_at = self._fell_at = self._last_at = at
        elif broken := self._break(at - self._last_at, stamp_s - self._last_stamp_s):
            return broken
        offset_s = at - stamp_s
        floor_s = self._floor_s + _DRIFT * (at - self._last_at)
        if offset_s < floor_s - _FALL_S:
            self._fell_at = at
        self._floor_s = min(floor_s, offset_s)
        self.age_s = offset_s - self._floor_s
        self._last_at, self._last_stamp_s = at, stamp_s
        if key:
            if self._key_stamp_s is not None:
                self.gop_s = max(0.0, stamp_s - self._key_stamp_s)
            self._key_stamp_s = stamp_s
        return None

    def settled(self) -> bool:
        """Whether `age_s` can be trusted: no packet was fresher than all before it for a while."""
        return self._first_at is not None and self._last_at - self._fell_at >= _SETTLE_S

    def _break(self, gap_s: float, step_s: float) -> str | None:
        allowed_s = min(_GAP_MAX_S, self.gop_s + _GAP_BEYOND_GOP_S) if self.gop_s else _GAP_MAX_S
        if gap_s > allowed_s:
            return f"no video for {gap_s:.1f} s"
        if not -_BACK_MAX_S <= step_s <= gap_s + _FORWARD_MAX_S:
            return f"the stream's own clock jumped by {step_s - gap_s:+.1f} s"
        return None
