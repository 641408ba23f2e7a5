"""How large a picture may be: what the hub's broker takes in one packet, told at each connection and remembered over restarts.

Promises: once a limit is known, pictures are made to fit it before they are kept, over outages and restarts too; a broker that
takes more, or anything, lifts it. One that announced no limit and then refused a message for its size gets pictures of three quarters
of that, and again of what it refuses next. What was kept before the limit was known stays as it is, and is reported by the uplink.
Not its job: making them smaller (capture/shrink.py), waiting with what is too large (uplink.py).
"""

from __future__ import annotations

from typing import Final

from edge_agent.core.messages import Command, Level, LimitPictures, LinkUp, Memory, Remember, Say

# Topic, properties and data of a picture take about 1.2 kB; sealing adds up to 400 bytes, and 16 for each 64 kB.
BESIDE_BYTES: Final = 3_000
SEAL_SHARE: Final = 1 / 2_000
REFUSED_SHARE: Final = 0.75  # all that is known of the limit is that it is less
LEAST_BYTES: Final = 1_000  # below this there is no picture left to speak of


class Fitting:
    """The limit in force. Owned by the agent."""

    def __init__(self, remembered: bytes | None) -> None:
        self._packet_bytes = self._announced = _load(remembered)
        self._refused: int | None = None

    def start(self) -> list[Command]:
        """What the cameras must know from the first picture on."""
        return [] if self._packet_bytes is None else [self._limit(self._packet_bytes)]

    def up(self, event: LinkUp) -> list[Command]:
        """A connection: the limit that its broker announced."""
        self._announced = event.maximum_packet_bytes
        return self._settle()

    def refused(self, packet_bytes: int | None) -> list[Command]:
        """The smallest packet that was too large although none was announced to be; None = there is none any more."""
        if packet_bytes == self._refused:
            return []
        self._refused = packet_bytes
        return self._settle()

    def _settle(self) -> list[Command]:
        limits = [] if self._announced is None else [self._announced]
        if self._refused is not None:
            limits.append(int(self._refused * REFUSED_SHARE))
        packet_bytes = min(limits, default=None)
        if packet_bytes == self._packet_bytes:
            return []
        self._packet_bytes = packet_bytes
        limit = self._limit(packet_bytes)
        said = "none" if limit.max_bytes is None else str(limit.max_bytes)
        return [
            limit,
            Remember(memory=Memory.PACKET, value=str(packet_bytes or "").encode()),
            Say(level=Level.INFO, text=f"largest picture that the hub takes bytes={said}"),
        ]

    @staticmethod
    def _limit(packet_bytes: int | None) -> LimitPictures:
        if packet_bytes is None:
            return LimitPictures(max_bytes=None)
        room = int((packet_bytes - BESIDE_BYTES) * (1 - SEAL_SHARE))
        return LimitPictures(max_bytes=max(LEAST_BYTES, room))


def _load(remembered: bytes | None) -> int | None:
    """A limit as `Fitting` remembered it; None = none, or not to be read."""
    text = (remembered or b"").decode("ascii", "replace")
    # MQTT 5: a four-byte number.
    return int(text) if text.isascii() and text.isdecimal() and 0 < len(text) <= 10 else None
