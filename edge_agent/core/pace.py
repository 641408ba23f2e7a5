"""How much bulk (backlog and pictures) may be under way, so that news never queues behind more than a tenth of a second of it.

The line is measured, not configured: each PUBACK tells how long the way there and back takes, and how many bytes arrived while a
message was on it. What may be unanswered is what the line carries in its own time plus `QUEUE_S`: enough to keep it busy, too
little to build a queue. A line or a hub that gets slower answers later, so the measured rate falls, and the window with it, in one
round trip. A faster one is found by trying: for a quarter of the time a quarter more is under way, and what arrives sooner for that
counts. Without that a broker whose answers wait for each other (mosquitto's do, by TCP's own rule for small packets, a way there and
back) would hold the window wherever it began, as the time that they wait looks like the line's.

Promises:
- The window stays from `LEAST_BYTES` to `MOST_BYTES`; one message may always be under way, whatever its size.
- On a line of 1 to 8 Mbit/s and 100 ms, bulk keeps it busy and adds about `QUEUE_S` to the way of news.
- With a limit from the hub, bulk of any span of t seconds is at most limit x (t + `BURST_S`) and one message.
Time is an argument. Not its job: which message goes next (uplink.py), what must wait for the hub's word (ledger.py).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

QUEUE_S: Final = 0.1
# On a thin line less keeps it as busy, and an alarm waits for less: for 0.12 s at the worst where it was 0.18 s. Not less still: before
# a broker whose answers wait for each other 1 Mbit/s would be used to 79 % with 0.07 s, to 90 % with a gain of 1.1 (tests/core/test_pace.py).
THIN_BYTES_PER_S: Final = 300_000
THIN_QUEUE_S: Final = 0.09
THIN_GAIN: Final = 1.15
LEAST_BYTES: Final = 8_000
START_BYTES: Final = 32_000  # until the line is known
MOST_BYTES: Final = 750_000
PARCEL_LEAST_BYTES: Final = 4_000
PARCEL_MOST_BYTES: Final = 187_500
# A parcel is at most so much of the window, so that there is always another one on the line behind it.
PARCELS: Final = 4
# The best of so many measurements counts: four windows full.
MEASURES: Final = 4 * PARCELS
# Of each so many answers the first few see a window that is larger by so much (BBR's probing, for the same reason).
PROBE_ANSWERS: Final = PARCELS
PROBE_GAIN: Final = 1.25
# With the window at its least and still so many late answers, the way itself has become longer.
RELEARN: Final = 16
BURST_S: Final = 1.0
_LEAST_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Stamp:
    """The state of the line when a message was handed over; it goes with the message and comes back with its answer."""

    at: float
    size: int
    since: float  # from when on bytes are counted for this message
    arrived: int  # bytes answered until then
    filled: bool  # there was enough under way to say how fast the line is


class Pace:
    """The measured line and the hub's limit. Owner thread only."""

    def __init__(self) -> None:
        self._limit: float | None = None
        self._free_at = -math.inf
        self.new_connection()

    def new_connection(self) -> None:
        """Another way, perhaps: measure anew. The hub's limit stays."""
        self._base_s = math.inf
        self._rates: deque[float] = deque(maxlen=MEASURES)
        self._late: list[float] = []
        self._arrived = 0
        self._answers = 0
        self._since = -math.inf  # the last answer, or when something was sent into an empty line

    # ---- the hub's limit ----

    def limit(self, bytes_per_s: float | None, at: float) -> None:
        """What the hub allows for the backlog from now on, > 0; None = as much as the line carries."""
        if bytes_per_s != self._limit:
            self._limit, self._free_at = bytes_per_s, at

    def spend(self, size: int, at: float) -> None:
        """So many bytes of backlog leave now."""
        if self._limit is not None:
            self._free_at = max(self._free_at, at - BURST_S) + size / self._limit

    @property
    def free_at(self) -> float:
        """When the hub's limit allows the next message of the backlog."""
        return self._free_at if self._limit is not None else -math.inf

    # ---- the line ----

    @property
    def bytes_per_s(self) -> float | None:
        """What the line carries, as far as it was measured on this connection."""
        return max(self._rates) if self._rates else None

    @property
    def window(self) -> int:
        """Bytes of bulk that may be unanswered."""
        rate = self.bytes_per_s
        if rate is None:
            return START_BYTES
        # A long way needs some more, as answers come in lumps of a parcel.
        thin = rate < THIN_BYTES_PER_S
        queue_s = THIN_QUEUE_S if thin else QUEUE_S
        room = rate * (self._base_s + max(queue_s, self._base_s / 2))
        if self._answers % MEASURES < PROBE_ANSWERS:
            room *= THIN_GAIN if thin else PROBE_GAIN
        return int(min(max(room, LEAST_BYTES), MOST_BYTES))

    def has_room(self, bulk: int, size: int) -> bool:
        """Whether a message of *size* bytes may follow *bulk* bytes that are unanswered; to the nearest, or windows of a few never grow."""
        return not bulk or bulk + size // 2 <= self.window

    @property
    def parcel_bytes(self) -> int:
        """How large a message made of several records may be."""
        size = self.window / PARCELS
        if self._limit is not None:
            size = min(size, self._limit * BURST_S)
        return int(min(max(size, PARCEL_LEAST_BYTES), PARCEL_MOST_BYTES))

    def sent(self, size: int, flying: int, at: float) -> Stamp:
        """A message of *size* bytes is handed over, with *flying* bytes of others unanswered before it."""
        if not flying:
            self._since = at
        return Stamp(
            at=at,
            size=size,
            since=self._since,
            arrived=self._arrived,
            filled=flying + size >= self.window / 2,
        )

    def answered(self, stamp: Stamp, at: float) -> None:
        """Its PUBACK came, with whatever code: the broker has read it."""
        took_s = max(at - stamp.at, _LEAST_S)
        self._base_s = min(self._base_s, took_s)
        self._answers += 1
        self._arrived += stamp.size
        self._since = at
        rate = (self._arrived - stamp.arrived) / max(at - stamp.since, _LEAST_S)
        # With little under way the rate says how much there was to send, not what the line carries.
        if stamp.filled or rate > (self.bytes_per_s or math.inf):
            self._rates.append(rate)
            self._relearn(took_s)

    def _relearn(self, took_s: float) -> None:
        if self.window > LEAST_BYTES:
            self._late.clear()
            return
        self._late.append(took_s)
        if len(self._late) >= RELEARN:
            self._base_s = min(self._late)
            self._late.clear()
