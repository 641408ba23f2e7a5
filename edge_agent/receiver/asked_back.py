"""What a press asks back: which pictures of a boot a record of kind `privacy.withdraw` means.

Promises: never raises, whatever a box wrote; None for what cannot be read, which the hub then says.
Not its job: destroying them (store.py).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final

from edge_agent.core import wire

WITHDRAW: Final = "privacy.withdraw"
_LONGEST_S: Final = 1e12  # no boot lasts so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Which pictures of a boot are asked back: from `first` to `last`, or (`first` None) the last `length_s` that came."""

    boot: str
    first: float | None = None
    last: float = math.inf
    length_s: float = 0.0


def withdrawal(record: wire.Arrived) -> Withdrawal | None:
    """What a record of kind `privacy.withdraw` asks for; None if that cannot be read."""
    match json.loads(record.data):
        case {"boot": str(boot), "from_s": int() | float() as since} if _is_moment(since):
            # What was taken after the record was made was released after that press; a boot before its own is over.
            last = record.at if boot == record.boot else math.inf
            return Withdrawal(boot=boot, first=float(since), last=last)
        case {"boot": str(boot), "newest_s": int() | float() as length} if _is_moment(length):
            return Withdrawal(boot=boot, length_s=max(0.0, float(length)))
        case _:
            return None


def _is_moment(value: float) -> bool:
    return not isinstance(value, bool) and abs(value) < _LONGEST_S
