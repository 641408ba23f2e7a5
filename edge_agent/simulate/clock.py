"""Time that only its owner moves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SimulatedClock:
    """Time that only its owner moves. Unlike a real one it can stand still, run on by years, and lose its trust."""

    at: float = 1000.0  # seconds since boot
    wall_s: float = 1_700_000_000.0
    is_trusted: bool = False
    boot: str = "boot"

    def now(self) -> float:
        """Seconds since boot."""
        return self.at

    def wall(self) -> float:
        """Unix time."""
        return self.wall_s

    def trusted(self) -> bool:
        """Whether anything vouches for it."""
        return self.is_trusted
