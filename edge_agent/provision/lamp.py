"""The two lamps while the box has no configuration to run on: both at once, slowly, on the pins that docs/wiring.md names.

Promises: it drives nothing but the two lamps; it ends, and gives the pins back, as soon as there is a configuration.
Not its job: any pattern of a box that runs (sensors, by the agent's word).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from edge_agent.core.settings import Privacy, SwitchKind
from edge_agent.sensors.lamps import lit_unconfigured
from edge_agent.sensors.pins import Output

if TYPE_CHECKING:
    import threading

    from gpiozero import Factory

    from edge_agent.clock import Clock

_USUAL: Final = Privacy(switch=SwitchKind.LATCHING)
_LOOK_S: Final = 1.0  # after a configuration


def show(
    factory: Factory,
    *,
    clock: Clock,
    stop: threading.Event,
    configured: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Blink until *stop*, or until there is something to run on; whether both lamps could be driven to the last."""
    private = Output(_USUAL.lamp_private_pin, factory)
    live = Output(_USUAL.lamp_live_pin, factory)
    told = ""
    try:
        while not stop.is_set() and not configured():
            at = clock.now()
            on_private, on_live, for_s = lit_unconfigured(at)
            private.drive(on=on_private, at=at)
            live.drive(on=on_live, at=at)
            why = private.why or live.why
            if why and why != told:
                say(why)
            told = why
            stop.wait(min(for_s, _LOOK_S))
    finally:
        private.close()
        live.close()
    return not told
