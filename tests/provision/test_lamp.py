"""The lamps of a box that has nothing to run on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from gpiozero import DigitalOutputDevice
from gpiozero.pins.mock import MockFactory

from edge_agent.provision.lamp import show
from edge_agent.sensors.lamps import lit_unconfigured
from edge_agent.simulate import SimulatedClock


@dataclass
class Watched:
    """Waits by moving the clock; notes what the two lamps show over each wait."""

    clock: SimulatedClock
    factory: MockFactory
    waits: int
    seen: list[tuple[float, bool, bool]] = field(default_factory=list)

    def is_set(self) -> bool:
        return len(self.seen) >= self.waits

    def wait(self, timeout: float) -> bool:
        lamps = [bool(self.factory.pin(number).state) for number in (23, 22)]
        self.seen.append((round(timeout, 3), lamps[0], lamps[1]))
        self.clock.at += timeout
        return False


def watched(waits: int) -> Watched:
    return Watched(SimulatedClock(), MockFactory(), waits)


def test_both_lamps_go_together_and_slowly():
    stop = watched(6)
    said: list[str] = []
    assert show(
        stop.factory,
        clock=stop.clock,
        stop=stop,  # type: ignore[arg-type]
        configured=lambda: False,
        say=said.append,
    )
    assert {private == live for _, private, live in stop.seen} == {True}
    assert [private for _, private, _ in stop.seen[1:]] in (
        [False, True] * 2 + [False],
        [True, False] * 2 + [True],
    )
    assert said == []
    assert not stop.factory.pin(23).state
    assert not stop.factory.pin(22).state


def test_it_ends_and_gives_the_pins_back_when_there_is_a_configuration():
    factory = MockFactory()
    looked = iter([False, True])
    said: list[str] = []
    ended = show(
        factory,
        clock=SimulatedClock(),
        stop=_Never(),
        configured=lambda: next(looked),
        say=said.append,
    )
    assert ended
    assert said == []
    again = factory.pin(23)
    assert not again.state


class _Never(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return False


def test_a_lamp_that_cannot_be_driven_is_told_once_and_the_other_goes_on():
    stop = watched(5)
    said: list[str] = []
    other = DigitalOutputDevice(23, pin_factory=stop.factory)  # held by another part
    assert not show(
        stop.factory,
        clock=stop.clock,
        stop=stop,  # type: ignore[arg-type]
        configured=lambda: False,
        say=said.append,
    )
    assert len(said) == 1
    assert "GPIO23" in said[0]
    assert any(live for _, _, live in stop.seen)
    other.close()


def test_the_pattern_flashes_far_less_than_three_times_a_second_and_is_no_steady_lamp():
    at, edges = 0.0, 0
    while at < 10.0:
        private, live, for_s = lit_unconfigured(at)
        assert private == live
        assert for_s > 0.0
        at += for_s
        edges += 1
    assert 5 <= edges <= 15
