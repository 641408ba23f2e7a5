"""The contacts and levels beside switch and loops, debounced: what bounces, chatters or comes from a dead converter is no news.

Promises: a line's new state is told once it has lasted (`LASTS_S`), and not sooner; one that cannot be read is told at once, as
unknown, and never as "off". All camera currents at nothing at the same time are the converter's fault or the supply's, so each
of them is then unknown: eight cameras are never called dead because one chip is.
Not its job: reading pins (sensors), what a line means for a camera (diagnosis.py), switch and loops (privacy.py, cable.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from edge_agent.core.messages import Line, LineRead

# (until it is on, until it is off): sensors look ten times a second, a contact settles within 0.1 s. What sends somebody, or
# speaks for a supply that comes and goes, ends only after it has really ended; cameras need a minute to start.
LASTS_S: Final[Mapping[Line, tuple[float, float]]] = {
    Line.VIDEO: (0.5, 0.5),
    Line.NVR_ALARM: (0.5, 0.5),
    Line.POWER: (0.5, 0.5),
    Line.DOOR: (0.5, 5.0),
    Line.MAINS_LOST: (1.0, 60.0),
    Line.SHUTDOWN: (1.0, 60.0),
    Line.SERVICE: (0.2, 0.5),
}
# Below this nothing flows; a camera that hangs or starts still takes tens of mA.
NOTHING_MA: Final = 1.0
ALL_ZERO: Final = "all camera currents read zero at once: the second ADC, or the 12 V supply"


@dataclass(slots=True)
class _Contact:
    """What a line said last, since when, and what was told of it."""

    said: LineRead
    since: float
    told: LineRead | None = None


class Lines:
    """All lines of one box. Owned by the agent."""

    def __init__(self) -> None:
        self._contacts: dict[tuple[Line, str | None], _Contact] = {}
        self._currents: dict[str, LineRead] = {}

    def read(self, event: LineRead, *, at: float) -> list[LineRead]:
        """Take a reading; what may be believed of it, and of lines it throws doubt on."""
        if event.line is Line.CURRENT:
            return self._current(event)
        key = (event.line, event.camera)
        contact = self._contacts.get(key)
        if contact is None or contact.said.on is not event.on:
            told = None if contact is None else contact.told
            self._contacts[key] = _Contact(event, at, told)
        else:
            contact.said = event
        return self.timed(at=at)

    def timed(self, *, at: float) -> list[LineRead]:
        """What has lasted by now."""
        news = []
        for contact in self._contacts.values():
            if contact.said != contact.told and at >= self._due(contact):
                contact.told = contact.said
                news.append(contact.said)
        return news

    def deadline(self) -> float:
        """When `timed` has something to tell."""
        waiting = (contact for contact in self._contacts.values() if contact.said != contact.told)
        return min((self._due(contact) for contact in waiting), default=float("inf"))

    def on(self, line: Line) -> bool:
        """Whether this line of the box's own was told to be on."""
        contact = self._contacts.get((line, None))
        return contact is not None and contact.told is not None and contact.told.on is True

    @property
    def faults(self) -> tuple[str, ...]:
        """Why lines cannot be read, each reason once."""
        told = [contact.told for contact in self._contacts.values() if contact.told is not None]
        blind = [event.why for event in told if event.on is None]
        blind += [event.why for event in self._currents.values() if event.value is None]
        blind += [ALL_ZERO] if self._all_zero else []
        return tuple(dict.fromkeys(why for why in blind if why))

    # -- inside --

    @staticmethod
    def _due(contact: _Contact) -> float:
        on = contact.said.on
        same = contact.told is not None and contact.told.on is on
        if on is None or same:
            return contact.since
        until_on_s, until_off_s = LASTS_S[contact.said.line]
        return contact.since + (until_on_s if on else until_off_s)

    @property
    def _all_zero(self) -> bool:
        values = [event.value for event in self._currents.values()]
        return len(values) > 1 and all(
            value is not None and abs(value) < NOTHING_MA for value in values
        )

    def _current(self, event: LineRead) -> list[LineRead]:
        if event.camera is None:
            return []
        doubted = self._all_zero
        self._currents[event.camera] = event
        if self._all_zero:
            return [
                replace(current, on=None, value=None, why=ALL_ZERO)
                for current in self._currents.values()
            ]
        return list(self._currents.values()) if doubted else [event]
