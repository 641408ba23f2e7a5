"""The contacts and levels beside switch and loops: video present, the NVR's alarm, 12 V, UPS, service button.

Promises: every line is polled with each round (ten times a second), told on change and every five seconds; one that cannot be
read is told as such, with the reason. Levels are raw: a contact that bounces is told as often as it is seen to.
No edge of a line wakes anybody, so that one that chatters costs nothing; none of them decides within less than a second.
Not its job: debouncing and meaning (core), lines that are measured (board.py), the switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Event, Line, LineRead
from edge_agent.core.settings import Electrics, Run
from edge_agent.sensors.pins import Input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpiozero import Factory

REPEAT_S: Final = 5.0


class Teller:
    """Posts a line's reading when it is news, and every five seconds. One thread each."""

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._told: dict[tuple[Line, str | None], tuple[LineRead, float]] = {}

    def tell(self, event: LineRead, *, at: float, near: float = 0.0) -> None:
        """*near*: how far the value may stray from the one last told before that is news."""
        key = (event.line, event.camera)
        told = self._told.get(key)
        if told is None or at - told[1] >= REPEAT_S or _is_news(told[0], event, near):
            self._told[key] = (event, at)
            self._post(event)


def _is_news(told: LineRead, event: LineRead, near: float) -> bool:
    if told.value is None or event.value is None:
        return told != event
    return (told.on, told.why) != (event.on, event.why) or abs(told.value - event.value) > near


class Lines:
    """The lines on pins of their own. Sensor thread only."""

    def __init__(
        self,
        runs: tuple[Run, ...],
        electrics: Electrics,
        *,
        factory: Factory | None,
        why_no_factory: str,
        post: Callable[[Event], None],
    ) -> None:
        self._teller = Teller(post)
        fitted = tuple(_fitted(runs, electrics))
        # A recorder has one alarm contact for all of its cameras, and a pin can be opened once.
        by_pin = {
            pin: Input(pin, factory, why_no_factory, low_is_on=low_is_on)
            for _, _, pin, low_is_on in fitted
        }
        self._inputs = [(line, camera, by_pin[pin]) for line, camera, pin, _ in fitted]

    def round(self, at: float) -> None:
        """Read all, tell what is news."""
        for line, camera, pin in self._inputs:
            on = pin.on(at)  # before `why`: reading sets it
            self._teller.tell(LineRead(line=line, camera=camera, on=on, why=pin.why), at=at)

    def close(self) -> None:
        """Give all pins back."""
        for _, _, pin in self._inputs:
            pin.close()


def _fitted(
    runs: tuple[Run, ...], electrics: Electrics
) -> Iterator[tuple[Line, str | None, int, bool]]:
    """(line, camera, pin, is it on when the pin is low) for each that is fitted."""
    for run in runs:
        if run.video_pin is not None:
            # Driven by the monostable; the pull-down makes a wire that fell off read as "no video".
            yield Line.VIDEO, run.camera, run.video_pin, False
        if run.alarm_pin is not None:
            yield Line.NVR_ALARM, run.camera, run.alarm_pin, True
    for line, pin, low_is_on in (
        (Line.POWER, electrics.power_pin, True),
        (Line.MAINS_LOST, electrics.mains_pin, False),
        (Line.SHUTDOWN, electrics.shutdown_pin, False),
        (Line.SERVICE, electrics.service_pin, True),
    ):
        if pin is not None:
            yield line, None, pin, low_is_on
