"""Who made the recorder behind a camera's address, and where it tells its video-loss events.

Promise: an address that no maker's pattern fits gives None, never a guess.
Not its job: asking (capture/events.py), what an event is worth (diagnosis.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Maker(Enum):
    """Whose dialect of events is spoken."""

    HIKVISION = "hikvision"
    DAHUA = "dahua"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One camera as its recorder (or the camera itself) counts it."""

    maker: Maker
    url: str  # where all channels of this host tell their events
    number: int  # from 1


# Paths as the makers document them; 201 = channel 2, main stream; Dahua's channel is a query.
_PATHS: Final = (
    (
        Maker.HIKVISION,
        re.compile(
            r"/(?:ISAPI/(?:Streaming|ContentMgmt/StreamingProxy)|Streaming)/channels/(\d{1,3})\d\d\b",
            re.IGNORECASE,
        ),
    ),
    (
        Maker.DAHUA,
        re.compile(r"/cgi-bin/snapshot\.cgi\?(?:\S*&)?channel=(\d{1,3})\b", re.IGNORECASE),
    ),
    (
        Maker.DAHUA,
        re.compile(r"/cam/realmonitor\?(?:\S*&)?channel=(\d{1,3})\b", re.IGNORECASE),
    ),
)
_EVENTS: Final = {
    Maker.HIKVISION: "/ISAPI/Event/notification/alertStream",
    # A heartbeat every 5 s, so that a recorder that died is told from a quiet one.
    Maker.DAHUA: "/cgi-bin/eventManager.cgi?action=attach&codes=[VideoLoss]&heartbeat=5",
}
_SOURCE: Final = re.compile(
    r"(rtsp|https?)://(\[[0-9A-Fa-f:.]+\]|[0-9.]+)(:\d{1,5})?(/\S*)", re.ASCII
)


def channel_of(source: str) -> Channel | None:
    """What is known of the camera read at *source* (RTSP or HTTP URL); None = its path is of no known maker.

    A stream's port says nothing about where HTTP is spoken, so events are asked for at port 80 then.
    """
    found = _SOURCE.fullmatch(source)
    if found is None:
        return None
    scheme, host, port, path = found.groups()
    for maker, pattern in _PATHS:
        numbered = pattern.match(path)
        if numbered is not None and int(numbered[1]) > 0:
            base = f"http://{host}" if scheme == "rtsp" else f"{scheme}://{host}{port or ''}"
            return Channel(maker=maker, url=base + _EVENTS[maker], number=int(numbered[1]))
    return None


_AUTHORITY: Final = re.compile(
    r"[a-z]+://(?:[^/?#@]*@)?(\[[0-9A-Fa-f:.]+\]|[^/?#:@]+)", re.IGNORECASE
)


def host_of(source: str) -> str:
    """The host that a camera is read at, without port; "" = none (a device or a file of the box itself)."""
    found = _AUTHORITY.match(source)
    return "" if found is None else found[1].lower()
