"""What is kept of the privacy switch over restarts: leave for live of a momentary button, and when it was last pressed.

On the card (`Kept`), and of an earlier life within the same boot in memory besides (`EarlierLife`; press_note.py writes it).

Promise: `load` gives what `dump` gave; of text that is damaged or not ours, nothing: no leave, no press.
Not its job: what follows from it (button.py, press_test.py, switch_desk.py), writing it down.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

TEXT_MAX: Final = 1000
_WALL_MAX: Final = 1e12
_COUNT_MAX: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`number` tells one writing from the next; times are Unix seconds, None = not known."""

    number: int = 0
    live: bool | None = (
        None  # leave of a momentary button; None = not known, or another kind of switch
    )
    tested_s: int | None = None  # when it was last pressed while the box ran
    counted_from_s: int | None = None  # from when on a missing press counts


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierLife:
    """What the agent's life before this one left, in the same boot. `live_at`: when the switch was last surely live (0 = not known).

    `pressed`: a press came after that, and not all that follows from it was on the card when that life ended.
    `over`: so it was with private spells from which the box had come back, each between two moments when the switch was live.
    """

    live_at: float
    pressed: bool
    over: tuple[tuple[float, float], ...] = ()
    unread: bool = False  # what was noted cannot be read, so it counts as pressed


def dump(kept: Kept) -> bytes:
    """*kept* as text."""
    body = {
        "v": 1,
        "number": kept.number,
        "live": kept.live,
        "tested_s": kept.tested_s,
        "counted_from_s": kept.counted_from_s,
    }
    return json.dumps(body).encode()


def load(text: bytes | None) -> Kept:
    """Back from `dump`; one member that makes no sense spoils the whole: a damaged text gives no leave."""
    try:
        body: object = json.loads(text or b"") if len(text or b"") <= TEXT_MAX else None
    except (ValueError, RecursionError):
        return Kept()
    match body:
        case {
            "v": 1,
            "number": int() as number,
            "live": bool() | None as live,
            "tested_s": int() | None as tested_s,
            "counted_from_s": int() | None as counted_from_s,
            **others,
        } if not others and _is_count(number) and _is_wall(tested_s) and _is_wall(counted_from_s):
            return Kept(number=number, live=live, tested_s=tested_s, counted_from_s=counted_from_s)
        case _:
            return Kept()


def _is_count(number: int) -> bool:
    return not isinstance(number, bool) and 0 <= number <= _COUNT_MAX


def _is_wall(wall_s: int | None) -> bool:
    return wall_s is None or (not isinstance(wall_s, bool) and 0 <= wall_s <= _WALL_MAX)
