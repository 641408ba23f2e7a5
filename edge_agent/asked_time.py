"""A moment as a person writes it on the command line: a date, a date with a time, or how long ago.

Not its job: showing times.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_AGO: Final = re.compile(r"(\d{1,6})\s*(s|min|m|h|d|w)(?:\s+ago)?", re.IGNORECASE)
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse(option: str, text: str, now: float) -> float:
    """Unix time; *now* likewise. ValueError, with what to write, names the *option*."""
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return max(0.0, now - int(ago[1]) * _SECONDS[ago[2].lower()])
    try:
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError):
        msg = f"{option} {text!r}: write 2026-11-20, 2026-11-20T18:00, 90min, 2h or 3d"
        raise ValueError(msg) from None
