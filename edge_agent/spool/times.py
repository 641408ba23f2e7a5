"""When earlier boots began, as found out later: what corrects the labels of records made before the clock was vouched for.

Promises: one number for each boot corrects all of its records at once, so nothing is written anew; a label that was vouched
for is never touched; damaged memory corrects nothing. Bounded: the newest boots only.
Not its job: deciding what is right (core/walltime.py), keeping (journal.py).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.core.messages import Stored

# A box that restarts ten times a day and has no uplink for a month; 60 bytes each.
BOOTS: Final = 300
FACT: Final = "times"  # under what name they are kept


@dataclass(frozen=True, slots=True)
class Times:
    """Unix time of each boot's second 0, oldest entry first."""

    base_s: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, kept: bytes | None) -> Times:
        """As `dump` wrote it; nothing from what cannot be read."""
        try:
            body: object = json.loads(kept or b"{}")
        except ValueError:
            return cls()
        if not isinstance(body, dict):
            return cls()
        return cls(
            {
                boot: float(base_s)
                for boot, base_s in body.items()
                if isinstance(base_s, int | float)
                and not isinstance(base_s, bool)
                and math.isfinite(base_s)
            }
        )

    def dump(self) -> bytes:
        """As bytes to be kept."""
        return json.dumps(dict(self.base_s), separators=(",", ":")).encode()

    def knowing(self, boot: str, base_s: float) -> Times:
        """These, and that *boot* began at *base_s*."""
        others = [(name, known) for name, known in self.base_s.items() if name != boot]
        return Times(dict([*others, (boot, base_s)][-BOOTS:]))

    def joined(self, newer: Times) -> Times:
        """These, and what *newer* knows, which is right where both know a boot."""
        others = [(boot, known) for boot, known in self.base_s.items() if boot not in newer.base_s]
        return Times(dict([*others, *newer.base_s.items()][-BOOTS:]))

    def corrected(self, stored: Stored) -> Stored:
        """*stored* with the label that its boot's beginning gives it, if nothing vouched for the one it has."""
        base_s = None if stored.trusted else self.base_s.get(stored.boot)
        if base_s is None:
            return stored
        return stored._replace(wall_s=base_s + stored.at, trusted=True)
