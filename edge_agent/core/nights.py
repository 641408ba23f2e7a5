"""Each loop's first night after its commissioning, kept over restarts: the mark that slow corrosion is measured from.

Promise: `load` gives what `dump` gave, or nothing; text that is not ours costs one night, never the agent.
Not its job: measuring nights (cable.py), writing to disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TEXT_MAX: Final = 100_000
_OHM_MAX: Final = 1e6
_WALL_MAX: Final = 1e12


@dataclass(frozen=True, slots=True)
class Night:
    """A night's median, and the commissioning that it belongs to: another one starts another first night."""

    ohm: float
    commissioned_s: float  # Unix time, a name only


def dump(nights: Mapping[str, Night]) -> bytes:
    """*nights* by camera, as text."""
    body = {camera: [night.ohm, night.commissioned_s] for camera, night in nights.items()}
    return json.dumps(body, sort_keys=True).encode()


def load(text: bytes | None) -> dict[str, Night]:
    """Back from `dump`; whatever makes no sense is left out."""
    try:
        body: object = json.loads(text or b"{}") if len(text or b"") <= TEXT_MAX else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(body, dict):
        return {}
    found = {str(camera): _night(value) for camera, value in body.items()}
    return {camera: night for camera, night in found.items() if night is not None}


def _night(value: object) -> Night | None:
    match value:
        case [int() | float() as ohm, int() | float() as commissioned_s] if not (
            isinstance(ohm, bool) or isinstance(commissioned_s, bool)
        ):
            known = 0 < ohm < _OHM_MAX and abs(commissioned_s) < _WALL_MAX
            return Night(float(ohm), float(commissioned_s)) if known else None
        case _:
            return None
