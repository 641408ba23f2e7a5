"""The privacy switch and K1's feedback as one reading: contacts, power, and the number of the press it rests on.

What is *live*, here and in core/privacy.py: the contacts are in their live position (latching: NC closed and NO open; momentary:
NC closed) and, where a feedback pin is fitted, K1 says "powered". Whatever is not live presses the shutter when it begins.
The way up, with a relay that the agent drives, and so off while private by the agent's own doing:
1. contacts live for 3 s (core) -> 2. leave for power (core) -> 3. K1 comes on and says so within a second -> 4. live (core).
A reading at 1 and 2 is told with `powered` False and is not live, but presses nothing: only the *end* of live contacts, the end
of "powered", and every edge of a contact press. K1 coming on ends neither, so 3 voids neither the 3 s nor the leave.
The way down is one step: contacts that end, or K1 that says "off" while the contacts are live (its coil, its 12 V, the third
block of a switch whose pairs were swapped), press at once, the first by its edge and at the latest by the next look.

Promises: the count of presses is taken before the levels are read: a press in between makes the reading void, not the press
forgotten; a pin that cannot be read is None with a reason, never a default.
Not its job: how long live must last, which patterns are wiring faults (core/privacy.py), driving the relay (relay.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import SwitchRead
from edge_agent.core.settings import Privacy, SwitchKind
from edge_agent.sensors.pins import Input
from edge_agent.sensors.relay import Feedback

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpiozero import Factory

    from edge_agent.shutter import Shutter

_CONTACTS: Final = {SwitchKind.LATCHING: 2, SwitchKind.MOMENTARY: 1, SwitchKind.NONE: 0}


def contacts_alone(
    privacy: Privacy, factory: Factory | None, why_no_factory: str, *, at: float
) -> tuple[bool | None, bool | None, str]:
    """NC, NO and why one cannot be read, by one look where no agent reads them; the pins are given back.

    Of a momentary button NO is None, and so are both where no switch is fitted.
    """
    closed: list[bool | None] = []
    whys = []
    for pin in (privacy.nc_pin, privacy.no_pin)[: _CONTACTS[privacy.switch]]:
        contact = Input(pin, factory, why_no_factory)
        closed.append(contact.on(at))
        whys.append(contact.why)
        contact.close()
    nc_closed, no_closed = [*closed, None, None][:2]
    return nc_closed, no_closed, "; ".join(why for why in whys if why)


class Switch:
    """Reads what is fitted of NC, NO and feedback. The sensor thread's, but for the edges, which press and *wake*."""

    def __init__(
        self,
        privacy: Privacy,
        factory: Factory | None,
        why_no_factory: str,
        *,
        shutter: Shutter,
        wake: Callable[[], None],
    ) -> None:
        self._shutter = shutter
        self._wake = wake
        self._contacts = tuple(
            Input(pin, factory, why_no_factory, woken=self._edge)
            for pin in (privacy.nc_pin, privacy.no_pin)[: _CONTACTS[privacy.switch]]
        )
        # How a contact reads that is not there; without any switch nothing stands in the way of live.
        self._absent = (True, None if privacy.switch is SwitchKind.MOMENTARY else False)
        self._feedback: Feedback | None = None
        if privacy.feedback_pin is not None:
            self._feedback = Feedback(
                privacy.feedback_pin, factory, why_no_factory, shutter=shutter, wake=wake
            )
        self._were_live = True  # so that the first reading that is not live presses
        self.contacts_live = False  # by the last look, contacts alone
        self.live = False  # by the last look, feedback included

    def _edge(self) -> None:
        """The pin library's thread: an edge of a contact, up or down, is never a moment to send in. Must not raise."""
        self._shutter.press()
        self._wake()

    def look(self, at: float) -> SwitchRead:
        """Read it all, and press if it is live no more."""
        press = self._shutter.presses
        closed: tuple[bool | None, ...] = tuple(contact.on(at) for contact in self._contacts)
        nc_closed, no_closed = closed + self._absent[len(closed) :]
        # Compared by identity: False is "open", None is "not fitted" only where no NO contact is.
        self.contacts_live = nc_closed is True and no_closed is self._absent[1]
        if self._were_live and not self.contacts_live:
            press = self._shutter.press()
        self._were_live = self.contacts_live
        powered = None if self._feedback is None else self._feedback.look(at)
        self.live = self.contacts_live and (self._feedback is None or powered is True)
        whys = [contact.why for contact in self._contacts]
        if self._feedback is not None:
            whys.append(self._feedback.why)
        return SwitchRead(
            nc_closed=nc_closed,
            no_closed=no_closed,
            press=press,
            why="; ".join(why for why in whys if why),
            powered=powered,
        )

    def close(self) -> None:
        """Give the pins back; harmless when called twice."""
        for contact in self._contacts:
            contact.close()
        if self._feedback is not None:
            self._feedback.close()
