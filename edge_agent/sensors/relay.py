"""K1, the relay that powers the cameras: driven by the core's leave and the hand's position, and asked what it really does.

Promises of `CameraPower`, which drives it:
- it lets power through only while the contacts are in their live position *now* and the core's last leave rests on the newest
  press: a press takes the power within one round, however busy the core is. Without `cut_power` it always lets it through.
- FORCE_OFF (mode A): HIGH forces the cameras off. An agent that is dead, or whose pin was taken, leaves them to the switch's
  own third block: the 10 kohm pull-down says "not forced". So it is until the core's first word too, as long as nothing was
  pressed: a restart of the agent alone need not send sixteen cameras through theirs.
- PUMP (mode B): the pin is toggled ten times a second while power is let through, and is still otherwise, so whatever hangs or
  ends the sensor thread ends the power within about a second.
- a pin that cannot be driven is told in `why`, with what it means for the cameras' power, and stops nothing.
Promises of `Feedback`, which reads K1's guided contact (LOW = the cameras are off):
- "powered" is said only after 0.1 s of HIGH without an edge: a contact that bounces while K1 comes on says "off" as long.
- once "powered" was said, the next edge or look that says otherwise, or cannot be read, presses the shutter. Before it was
  said, nobody could have gone live on it, so K1 coming on, bouncing as it may, is no press and voids no leave.
Threads: `leave` and the pin library's edges come from others; all else is the sensor thread's.
Not its job: whether what K1 says agrees with the switch (core/privacy.py), the contacts (switch.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_agent.core.settings import Privacy, Relay
from edge_agent.sensors.pins import Input, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpiozero import Factory

    from edge_agent.shutter import Shutter

SETTLE_S: Final = 0.1  # a relay's contact bounces for some ms, at most 20
PUMP_HALF_S: Final = (
    0.05  # high and low: ten pulses a second; without them the pump is empty in about a second
)


class CameraPower:
    """Drives K1, as far as it is wired to the box."""

    def __init__(self, privacy: Privacy, factory: Factory | None, *, shutter: Shutter) -> None:
        self._relay = privacy.relay
        self._cuts = privacy.cut_power
        self._shutter = shutter
        pin = None if privacy.relay is Relay.NONE else privacy.relay_pin
        self._output = Output(pin, factory, what="relay")
        # The press that the core's leave rests on; None = no leave.
        self._left: int | None = shutter.presses if privacy.relay is Relay.FORCE_OFF else None
        self._high = False
        self._turn_at = float("-inf")

    def leave(self, *, on: bool, press: int) -> None:
        """The core gives leave for power, void once a press came after number *press*, or takes it back. Any thread."""
        self._left = press if on else None

    @property
    def why(self) -> str:
        """Why it cannot be driven, and what that means; "" = it can, or is not fitted."""
        if not self._output.why:
            return ""
        meaning = (
            "the cameras have no power until it can be driven"
            if self._relay is Relay.PUMP
            else "the switch alone now cuts the cameras' power"
        )
        return f"{self._output.why}; {meaning}"

    def round(self, at: float, *, contacts_live: bool) -> float:
        """Drive it; for how many seconds that may stay so."""
        allowed = not self._cuts or (contacts_live and self._left == self._shutter.presses)
        match self._relay:
            case Relay.NONE:
                return float("inf")
            case Relay.FORCE_OFF:
                self._output.drive(on=not allowed, at=at)
                return float("inf")
            case Relay.PUMP:
                return self._pump(at, allowed=allowed)

    def _pump(self, at: float, *, allowed: bool) -> float:
        if not allowed:
            self._high = False
            self._output.drive(on=False, at=at)
            return float("inf")
        if at >= self._turn_at:
            self._high = not self._high
            self._turn_at = at + PUMP_HALF_S
            self._output.drive(on=self._high, at=at)
        return self._turn_at - at

    def close(self) -> None:
        """Leave it to the switch (mode A) or without power (mode B), and the pin given back; harmless when called twice."""
        self._output.close()


class Feedback:
    """Reads whether the cameras have power, by K1's own word."""

    def __init__(
        self,
        pin: int,
        factory: Factory | None,
        why_no_factory: str,
        *,
        shutter: Shutter,
        wake: Callable[[], None],
    ) -> None:
        self._shutter = shutter
        self._wake = wake
        self._input = Input(pin, factory, why_no_factory, woken=self._edge)
        self._edges = 0
        self._edges_seen = 0
        self._high_since: float | None = None
        self._said_powered = False

    @property
    def why(self) -> str:
        """Why it cannot be read; "" = it can."""
        return self._input.why

    def _edge(self) -> None:
        """The pin library's thread. After "powered" was said, any edge began with one to "off"."""
        self._edges += 1
        if self._said_powered:
            self._shutter.press()
        self._wake()

    def look(self, at: float) -> bool | None:
        """Whether the cameras have power; None = cannot be read. Presses the shutter if that was said, and is so no more."""
        powered = self._powered(at)
        if powered and not self._said_powered:
            # From here on an edge presses. One between the look above and this line did not: hence a second look.
            self._said_powered = True
            powered = self._powered(at)
        elif self._said_powered and not powered:
            self._shutter.press()
        self._said_powered = powered is True
        return powered

    def _powered(self, at: float) -> bool | None:
        edges = self._edges
        off = self._input.on(at)
        if off is not False:
            self._high_since = None
        elif self._high_since is None or edges != self._edges_seen:
            self._high_since = at
        self._edges_seen = edges
        if off is None:
            return None
        return self._high_since is not None and at - self._high_since >= SETTLE_S

    def close(self) -> None:
        """Give the pin back; harmless when called twice."""
        self._input.close()
