"""K1, the relay of the cameras' power: its coil behind the switch's third block and the agent's transistor, its guided contacts.

Promises: as on a box, the coil pulls only while 12 V reach it through block 3 *and* Q2: in mode A a transistor that HIGH opens,
in mode B one that a charge pump keeps shut, which pulses charge and time empties. Its contacts are guided: while one that
feeds the cameras is welded, the one that says "off" cannot close.
Not its job: pins and their bounces (street.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge_agent.core.settings import Relay

# A pulse adds one; ten a second hold it near 5, and it takes 0.6 s from there to where the transistor lets go.
_PUMP_TAU_S: Final = 0.5
_PUMP_HOLDS: Final = 1.5  # more than one pulse: a stray edge powers nothing


@dataclass
class PowerRelay:
    """To be spoilt at will: the fields are the parts' states."""

    mode: Relay
    now: Callable[[], float]
    block_3_closed: bool = True  # the switch's third block, by the hand alone
    block_3_shorted: bool = False  # or its contact welded
    coil_broken: bool = False  # or its fuse, or the 12 V gone
    welded: bool = False  # one of the contacts that feed the cameras
    _high: bool = False
    _charge: float = 0.0
    _charged_at: float = 0.0

    def drive(self, *, high: bool) -> None:
        """The level of the agent's pin, its pull-down included."""
        if high and not self._high:
            self._charge = self._charge_now() + 1.0
            self._charged_at = self.now()
        self._high = high

    def _charge_now(self) -> float:
        return self._charge * math.exp((self._charged_at - self.now()) / _PUMP_TAU_S)

    def _transistor(self) -> bool:
        match self.mode:
            case Relay.NONE:
                return True
            case Relay.FORCE_OFF:
                return not self._high
            case Relay.PUMP:
                return self._charge_now() >= _PUMP_HOLDS

    @property
    def powers(self) -> bool:
        """Whether the cameras have power."""
        pulled = (
            (self.block_3_closed or self.block_3_shorted)
            and not self.coil_broken
            and self._transistor()
        )
        return pulled or self.welded
