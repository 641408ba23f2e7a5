"""The privacy switch as a state over time: private unless proven live.

Promises: it starts private; anything but the live pattern is private at once, without debounce; live only after 3 s of nothing
but that pattern under one count of presses and, where the relay tells of itself, only while it says that the cameras have
power. Nothing but the switch's own readings can lead to live. Contacts that leave and take the live position again and again as no
hand does (a loose wire) have to rest for longer: live and private by turns would be as many purges, records and starts of cameras.
Source of the pattern, the 3 s and the 0.5 s: docs/privacy.md (antivalent contacts, every single fault ends private).
Not its job: reading pins (sensors), closing the shutter in the meantime (sensors do, before this hears of it), what follows
from private (switch_desk.py), the momentary button's own rules (button.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from edge_agent.core.button import Button
from edge_agent.core.messages import FindingKey, SwitchRead
from edge_agent.core.settings import Privacy, Relay, SwitchKind

LIVE_AFTER_S: Final = 3.0  # longer than any bounce, and than a hand that hesitates
ODD_AFTER_S: Final = 0.5  # both contacts alike for longer than the travel of a mushroom button
SILENT_AFTER_S: Final = 3.0  # the sensor thread reports each second: silence is "unreadable"
# A break of the live position is no hand's if it shows no plain press, or is over sooner than anybody could release a switch again.
HAND_S: Final = 0.2
BREAKS: Final = 5  # so many of them
WITHIN_S: Final = 600.0  # within so long are a loose wire
REST_S: Final = 60.0  # that is to lie still for so long
RELAY_AFTER_S: Final = 1.0  # a relay moves within 0.1 s; a pump's capacitor takes up to a second

LOOSE: Final = "comes and goes"
NO_POWER: Final = "live contacts, no power"
STILL_POWER: Final = "private, but still power"


def is_live(nc_closed: bool | None, no_closed: bool | None) -> bool:  # noqa: FBT001 - two contacts, in their order
    """Whether this one reading of the contacts is the live pattern; anything unknown is not."""
    return nc_closed is True and no_closed is False


class _Contacts(Protocol):
    """What is read of the hand: two latching contacts, or a button."""

    touched: bool
    tests: int

    @property
    def promising(self) -> bool: ...  # nothing argues against live
    @property
    def pressed(self) -> bool: ...  # plainly pressed now
    def read(self, event: SwitchRead, *, at: float) -> None: ...
    def lost(self, *, at: float) -> None: ...
    def ready(self, *, at: float) -> bool: ...
    def fault(self, *, at: float) -> tuple[FindingKey, str] | None: ...
    def deadlines(self) -> tuple[float, ...]: ...


class Latching:
    """Decodes NC and NO of a latching switch; `SwitchKind.NONE` reads as one that is never pressed. Owned by `Switch`."""

    def __init__(self) -> None:
        self._live_since: float | None = None
        self._odd_since: float | None = None
        self._odd = ""  # how the contacts are alike
        self._unread: str | None = None  # why a contact cannot be read
        self._last: SwitchRead | None = None
        self._was_up = False
        self._broken_at: float | None = None  # when a live position that counted was left
        self._plain = False  # and plainly pressed since
        self._breaks: deque[float] = deque(maxlen=BREAKS)  # no hand's
        self._loose = False
        self._unpowered_at: float | None = None  # when K1 last said that the cameras have no power
        self.touched = False  # the last reading is of a person's hand: pressed, or a press that only the sensors saw
        self.tests = 0  # presses seen so far that ended a live position

    @property
    def promising(self) -> bool:
        """Whether nothing argues against live."""
        return self._last is None or self._live_since is not None

    @property
    def pressed(self) -> bool:
        """Whether it is plainly pressed now: no cut, no short."""
        last = self._last
        return last is not None and last.nc_closed is False and last.no_closed is True

    def read(self, event: SwitchRead, *, at: float) -> None:
        """Take a reading."""
        self._settle(at=at)
        if event.powered is False:
            self._unpowered_at = at
        anew = self._last is None or event.press != self._last.press
        self._last = event
        known = event.nc_closed is not None and event.no_closed is not None
        self._unread = None if known else event.why
        if is_live(event.nc_closed, event.no_closed):
            self.touched = anew and self._live_since is not None
            # A press that the sensor thread saw and we did not still restarts the 3 s.
            if self._live_since is None or anew:
                self._count_break(event, at=at)
                self._live_since = at
            self._odd_since, self._was_up = None, True
            return
        if self._rested(LIVE_AFTER_S, at=at):
            self._broken_at, self._plain = _read_at(event, at), False
        self._live_since, self.touched = None, self.pressed
        self._plain = self._plain or self.pressed
        if self.pressed and self._was_up:
            self.tests += 1
            self._was_up = False
        if not known or event.nc_closed is not event.no_closed:
            self._odd_since = None
        elif self._odd_since is None:
            self._odd_since = at
        self._odd = "both closed" if event.nc_closed else "both open"

    def lost(self, *, at: float) -> None:
        """Nobody reads it."""
        self._settle(at=at)
        self._live_since = self._broken_at = None

    def ready(self, *, at: float) -> bool:
        """Whether the contacts say live now."""
        return self._rested(self._rest_s, at=at)

    def _settle(self, *, at: float) -> None:
        """A loose wire that has lain still for long enough counts as mended."""
        self._loose = self._loose and not self._rested(REST_S, at=at)

    @property
    def _rest_s(self) -> float:
        return REST_S if self._loose else LIVE_AFTER_S

    def _rested(self, seconds: float, *, at: float) -> bool:
        return self._live_since is not None and at >= self._live_since + seconds

    def _count_break(self, event: SwitchRead, *, at: float) -> None:
        """The live position begins anew; what ended the one before, which need not have been seen?"""
        if self._live_since is not None:
            # Unless it was K1 that dropped, which is counted as a press too: another fault, with a finding of its own.
            relay = self._unpowered_at is not None and at < self._unpowered_at + RELAY_AFTER_S
            ours = self._rested(LIVE_AFTER_S, at=at) and not relay
        elif self._broken_at is not None:
            ours = not self._plain or _read_at(event, at) < self._broken_at + HAND_S
        else:
            ours = False
        self._broken_at = None
        if not ours:
            return
        self._breaks.append(at)
        if len(self._breaks) == BREAKS and at < self._breaks[0] + WITHIN_S:
            self._loose = True

    def fault(self, *, at: float) -> tuple[FindingKey, str] | None:
        """What is wrong with the contacts."""
        if self._unread is not None:
            return FindingKey.PRIVACY_UNREADABLE, self._unread
        # Compared with the very sum that `deadlines` gives, or rounding would ask again and again at that instant.
        if self._odd_since is not None and at >= self._odd_since + ODD_AFTER_S:
            return FindingKey.PRIVACY_WIRING, self._odd
        if self._loose and not self._rested(REST_S, at=at):
            return FindingKey.PRIVACY_WIRING, LOOSE
        return None

    def deadlines(self) -> tuple[float, ...]:
        """When something may change without a reading."""
        due: tuple[float, ...] = ()
        if self._live_since is not None:
            due = (self._live_since + self._rest_s,)
        return due if self._odd_since is None else (self._odd_since + ODD_AFTER_S,)


def _read_at(event: SwitchRead, at: float) -> float:
    """A busy loop hears press and release in one moment."""
    return at if event.read_at is None else min(event.read_at, at)


@dataclass(frozen=True, slots=True)
class SwitchView:
    """What the switch says now. `power`: whether the relay may power the cameras; None = leave it as it is."""

    private: bool
    since: float
    press: int  # count of presses that this rests on
    fault: FindingKey | None
    why: str
    power: bool | None = None


class Switch:
    """Decodes readings. Owned by the agent."""

    def __init__(self, privacy: Privacy, *, at: float, granted: bool = False) -> None:
        """*granted*: a momentary button had leave for live when the box last ran."""
        self.button: Button | None = None
        if privacy.switch is SwitchKind.MOMENTARY:
            self.button = Button(granted=granted, at=at)
        self._contacts: _Contacts = self.button or Latching()
        self._relay = privacy.relay
        self._cuts = privacy.cut_power
        self._asked_back = privacy.feedback_pin is not None  # whether the relay tells of itself
        self._heard_at = at
        self._press = 0
        self._last: SwitchRead | None = None
        self._decided = False
        self._private_since: float | None = at
        self._changed_at = at
        self._dropped_at: float | None = None  # when the relay last ended live
        self._wanted: bool | None = None  # of the cameras' power; None = either will do
        self._astray_since: float | None = None  # the relay is not as it should be

    @property
    def tests(self) -> int:
        """Presses seen so far."""
        return self._contacts.tests

    @property
    def touched(self) -> bool:
        """Whether the last reading is of a person's hand; a relay that drops is counted as a press too, and is none."""
        return self._contacts.touched and (self._contacts.pressed or self._agreed)

    @property
    def found(self) -> bool:
        """Whether something read, or remembered, argues against live: more than that it is not proven yet."""
        return not self._contacts.promising

    def read(self, event: SwitchRead, *, at: float) -> SwitchView:
        """Take a reading."""
        self.view(at=at)  # a silence that nobody asked about still counts
        self._contacts.read(event, at=at)
        self._press = event.press
        self._heard_at = at
        self._last = event
        return self.view(at=at)

    def view(self, *, at: float) -> SwitchView:
        """State at *at*; also to be asked when nothing was read."""
        silent = at >= self._heard_at + SILENT_AFTER_S
        if silent and self._last is not None:
            self._contacts.lost(at=at)
        ready = self._contacts.ready(at=at)
        if ready and not self._agreed and self._private_since is None:
            self._dropped_at = (
                at  # else a loose coil would say live and private by turns, each with its records
            )
        private = not (ready and self._agreed) or (
            self._dropped_at is not None and at < self._dropped_at + LIVE_AFTER_S
        )
        if private != (self._private_since is not None):
            self._private_since = at if private else None
            self._changed_at = at
        self._decided = self._decided or ready or silent or not self._contacts.promising
        power = self._power(ready=ready)
        self._watch_relay(power=power, ready=ready, at=at)
        fault, why = self._fault(silent=silent, at=at)
        return SwitchView(private, self._changed_at, self._press, fault, why, power)

    def deadline(self, *, at: float) -> float:
        """When `view` may next change without a reading."""
        due = [self._heard_at + SILENT_AFTER_S, *self._contacts.deadlines()]
        if self._dropped_at is not None:
            due.append(self._dropped_at + LIVE_AFTER_S)
        if self._astray_since is not None:
            due.append(self._astray_since + RELAY_AFTER_S)
        return min((moment for moment in due if moment > at), default=at + SILENT_AFTER_S)

    # -- the relay --

    @property
    def _powered(self) -> bool | None:
        return self._last.powered if self._last is not None else None

    @property
    def _agreed(self) -> bool:
        return not self._asked_back or self._powered is True

    def _power(self, *, ready: bool) -> bool | None:
        if self._relay is Relay.NONE:
            return None
        if not self._cuts or ready:
            return True
        # Right after the start the cameras keep their power until something argues against live: a restart of the agent
        # alone need not send sixteen cameras through theirs.
        return False if self._decided else None

    def _watch_relay(self, *, power: bool | None, ready: bool, at: float) -> None:
        """Since when the relay has not been as it should."""
        wanted: bool | None = (
            None  # nobody's business, e.g. private in software with the switch's own block closed
        )
        if ready:
            wanted = True
        elif power is False or (self._relay is Relay.NONE and self._contacts.pressed):
            wanted = False
        if not self._asked_back or wanted is None or self._powered is wanted:
            self._astray_since = None
        elif self._astray_since is None or wanted is not self._wanted:
            self._astray_since = at
        self._wanted = wanted

    def _fault(self, *, silent: bool, at: float) -> tuple[FindingKey | None, str]:
        if silent:
            return FindingKey.PRIVACY_UNREADABLE, "no reading for 3 s"
        if self._last is None:
            return None, ""
        found = self._contacts.fault(at=at)
        if found is not None:
            return found
        if self._asked_back and self._powered is None:
            return FindingKey.PRIVACY_UNREADABLE, self._last.why or "relay feedback"
        if self._astray_since is not None and at >= self._astray_since + RELAY_AFTER_S:
            return FindingKey.PRIVACY_RELAY, STILL_POWER if self._powered else NO_POWER
        return None, ""
