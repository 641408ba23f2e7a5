"""What the two lamps show for each word of the core, as printed on the secretary's card, and their test at boot.

Promise: told apart by place and rhythm before colour; never above three flashes a second.
Not its job: driving a pin (pins.py), deciding which pattern is shown (core/privacy.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Lamp

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class _Pattern:
    """When each lamp is lit within a period: windows of seconds."""

    period_s: float
    private: tuple[tuple[float, float], ...] = ()
    live: tuple[tuple[float, float], ...] = ()


_STEADY: Final = ((0.0, 1.0),)
_BLIP: Final = ((0.0, 0.1),)
_DOUBLE: Final = ((0.0, 0.1), (0.3, 0.4))
_QUICK: Final = ((0.0, 0.2),)
# A steady "live" lamp is not used: it could be a dead agent.
_PATTERNS: Final[Mapping[Lamp, _Pattern]] = {
    Lamp.PRIVATE: _Pattern(1.0, private=_STEADY),
    Lamp.LIVE: _Pattern(3.0, live=_BLIP),
    Lamp.VERIFYING: _Pattern(1.0, private=((0.0, 0.5),), live=((0.5, 1.0),)),
    Lamp.HELD: _Pattern(2.0, live=_DOUBLE),
    Lamp.WIRING_FAULT: _Pattern(2.0, private=((0.0, 2.0),), live=_DOUBLE),
    Lamp.SUSPENDED: _Pattern(3.0, private=_BLIP),  # dark for the public, but by the city's word
    Lamp.LOCATE: _Pattern(
        0.5, live=_QUICK
    ),  # blue stays dark, as in the two patterns that it replaces
}


TEST_S: Final = 2.0
_TEST: Final = _Pattern(
    TEST_S, private=((0.0, 0.6), (1.2, 1.8)), live=((0.6, 1.8),)
)  # left, right, both, none: a lamp that is dead or lit for ever is seen by whoever stands there


def lit_in_test(since_s: float) -> tuple[bool, bool, float]:
    """As `lit`, for the test of the lamps, so many seconds after its beginning; it ends at `TEST_S`."""
    return _lit(_TEST, min(since_s, TEST_S))


_UNCONFIGURED: Final = _Pattern(
    2.0, private=((0.0, 1.0),), live=((0.0, 1.0),)
)  # both together and slowly: in turn would be "verifying", steady would be "private"


def lit_unconfigured(at: float) -> tuple[bool, bool, float]:
    """As `lit`, for a box that has no configuration, and so no agent (docs/wiring.md, docs/provisioning.md)."""
    return _lit(_UNCONFIGURED, at % _UNCONFIGURED.period_s)


def lit(lamp: Lamp, at: float) -> tuple[bool, bool, float]:
    """Whether the private and the live lamp are lit at *at*, and for how many seconds that stays so."""
    pattern = _PATTERNS[lamp]
    return _lit(pattern, at % pattern.period_s)


def _lit(pattern: _Pattern, phase_s: float) -> tuple[bool, bool, float]:
    private, live = (
        any(start <= phase_s < end for start, end in windows)
        for windows in (pattern.private, pattern.live)
    )
    edges = [
        edge for window in (*pattern.private, *pattern.live) for edge in window if edge > phase_s
    ]
    return private, live, min([*edges, pattern.period_s]) - phase_s
