"""What was handed to the link and is not answered yet: how much fits, and when patience ends.

Promises:
- Never more messages than the broker and `MAX_IN_FLIGHT` allow, and about 1 MB; but one of any size always fits into an empty window.
- Bulk takes at most what the pace allows, and leaves `SLOTS_FOR_NEWS` places free.
- What is suspected of ending connections (suspects.py) leaves only into an empty window; beside it goes nothing but class 0 and
  camera states, which are a few bytes and shall not wait for a verdict.
- A broker that answers nothing for a minute, or one message not at all, is noticed (MQTT never resends on a living connection),
  but nobody is called stuck while a thin line may still be carrying the message.
Not its job: what goes next (uplink.py), what an answer means (uplink.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Lane, Message
from edge_agent.core.pace import Pace, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_IN_FLIGHT: Final = 20
MAX_FLIGHT_BYTES: Final = 1_000_000
SLOTS_FOR_NEWS: Final = 4
WEDGED_S: Final = 60.0  # nothing answered for so long while something waits for an answer
UNANSWERED_S: Final = 300.0  # one message without an answer although others get theirs
SLOWEST_BYTES_PER_S: Final = 4_000  # a line slower than this is a broken one

# What waits for the sake of news: the backlog, and pictures, which take long on a thin line.
BACKLOG: Final = (Lane.AGAIN, Lane.AUDIT_HISTORY, Lane.HISTORY, Lane.HISTORY_PICTURES)
BULK: Final = (*BACKLOG, Lane.LIVE_PICTURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A message made of records: waiting for room, or in flight. `seqs` = what it carries, rising."""

    message: Message
    size: int
    lane: Lane
    camera: str  # whose queue of that lane it came from; "" = the lane has one queue
    epoch: str
    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A message handed to the link; `parcel` None = a retained state or a reply."""

    parcel: Parcel | None
    topic: str
    stamp: Stamp


class Window:
    """Messages in flight, by ticket. Owner thread only."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._ticket = 0
        self._flights: dict[int, Flight] = {}
        self._most = MAX_IN_FLIGHT
        self._answered_at = -math.inf
        self._lone = 0  # the ticket of what is to be the only one in flight
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._flights)

    def open(self, receive_maximum: int, at: float) -> None:
        """A new connection, on which nothing is under way."""
        self.forget()
        self._most = max(1, min(MAX_IN_FLIGHT, receive_maximum))
        self._answered_at = at

    def forget(self) -> None:
        """The connection is gone, and with it whatever was under way."""
        self._flights.clear()
        self.bytes = 0

    def has_room(self, lane: Lane | None, size: int) -> bool:
        """Whether a message of *size* bytes may leave now; *lane* None = a retained state."""
        if len(self._flights) >= self._most:
            return False
        if self._lone in self._flights and lane not in (Lane.AUDIT, None):
            return False
        if lane in BULK:
            bulk = sum(self._bulk())
            if not self._pace.has_room(bulk, size):
                return False
            if bulk and len(self._flights) >= self._most - SLOTS_FOR_NEWS:
                return False
        return not self._flights or self.bytes + size <= MAX_FLIGHT_BYTES

    def _bulk(self) -> Iterator[int]:
        for flight in self._flights.values():
            if flight.parcel is not None and flight.parcel.lane in BULK:
                yield flight.stamp.size

    @property
    def parcels(self) -> list[Parcel]:
        """What waits for an answer, oldest first; states and replies aside."""
        return [each.parcel for each in self._flights.values() if each.parcel is not None]

    def take_off(
        self, parcel: Parcel | None, topic: str, size: int, at: float, *, alone: bool = False
    ) -> int:
        """It is handed over now; the ticket by which its answer will be known. *alone*: no bulk follows until that comes."""
        if not self._flights:
            self._answered_at = at
        self._ticket += 1
        if alone:
            self._lone = self._ticket
        stamp = self._pace.sent(size, self.bytes, at)
        self._flights[self._ticket] = Flight(parcel=parcel, topic=topic, stamp=stamp)
        self.bytes += size
        return self._ticket

    def answered(self, ticket: int, at: float) -> Flight | None:
        """The broker answered for it; None if it belongs to a connection that is gone."""
        flight = self.back(ticket)
        if flight is not None:
            self._answered_at = at
            self._pace.answered(flight.stamp, at)
        return flight

    def back(self, ticket: int) -> Flight | None:
        """It did not leave at all; None as above."""
        flight = self._flights.pop(ticket, None)
        if flight is not None:
            self.bytes -= flight.stamp.size
        return flight

    def wedged(self, at: float) -> str:
        """Why this connection is of no use any more; "" if it is."""
        if not self._flights or at < self.wedged_at():
            return ""
        oldest = next(iter(self._flights.values()))
        return f"no answer from the broker for {oldest.topic} since {at - oldest.stamp.at:.0f} s"

    def wedged_at(self) -> float:
        """When patience ends: answers come in order, so the oldest message says how long the next one may take."""
        if not self._flights:
            return math.inf
        oldest = next(iter(self._flights.values())).stamp
        on_the_line_s = oldest.size / SLOWEST_BYTES_PER_S
        # What flies alone is the oldest, has the line to itself, and holds up what is not class 0.
        patience_s = WEDGED_S if self._lone in self._flights else UNANSWERED_S
        return min(self._answered_at + WEDGED_S, oldest.at + patience_s) + on_the_line_s
