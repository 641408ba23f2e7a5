"""The contacts beside switch and loops: each with its own idea of "on", told raw, as news and every five seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from gpiozero import BadPinFactory

from edge_agent.core.messages import Event, Line, LineRead
from edge_agent.core.settings import Electrics, Privacy, Run, SwitchKind
from edge_agent.sensors.lines import Lines, Teller
from edge_agent.simulate import Street

ELECTRICS = Electrics(power_pin=12, mains_pin=6, shutdown_pin=5, service_pin=18)
RUNS = (
    Run(camera="gate", cable="rg59-power", length_m=50, video_pin=20, alarm_pin=21),
    Run(camera="bridge", cable="rg59-power", length_m=20, video_pin=26),
    Run(camera="bare", cable="rg59-power", length_m=20),
)
CALM = {
    (Line.VIDEO, "gate"): True,
    (Line.VIDEO, "bridge"): True,
    (Line.NVR_ALARM, "gate"): False,
    (Line.POWER, None): True,
    (Line.MAINS_LOST, None): False,
    (Line.SHUTDOWN, None): False,
    (Line.SERVICE, None): False,
}


@dataclass
class Bench:
    told: list[Event] = field(default_factory=list)
    at: float = 100.0

    def __post_init__(self) -> None:
        self.street = Street(Privacy(switch=SwitchKind.NONE), RUNS, ELECTRICS)
        self.lines = self.make(self.street.factory, "")

    def make(self, factory: object, why: str) -> Lines:
        return Lines(RUNS, ELECTRICS, factory=factory, why_no_factory=why, post=self.told.append)

    def round(self, *, later: float = 0.1) -> list[LineRead]:
        self.at += later
        before = len(self.told)
        self.lines.round(self.at)
        return [event for event in self.told[before:] if isinstance(event, LineRead)]


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.lines.close()


def test_a_calm_street_is_told_once_and_again_each_five_seconds(bench):
    first = bench.round()
    assert {(event.line, event.camera): event.on for event in first} == CALM
    assert all(event.value is None and event.why == "" for event in first)
    told = [event for _ in range(100) for event in bench.round()]
    assert len(told) in {len(CALM), 2 * len(CALM)}


@pytest.mark.parametrize(("line", "camera"), list(CALM))
def test_each_line_is_told_at_the_next_round_when_it_turns_and_when_it_turns_back(
    bench, line, camera
):
    bench.round()
    calm = CALM[line, camera]
    for on in (not calm, calm):
        bench.street.set_line(line, camera, on=on)
        assert bench.round() == [LineRead(line=line, camera=camera, on=on)]
        assert bench.round() == []


@pytest.mark.parametrize(
    ("line", "camera", "pin", "reads"),
    [
        (Line.VIDEO, "gate", 20, False),
        (Line.NVR_ALARM, "gate", 21, False),
        (Line.POWER, None, 12, False),
        (Line.MAINS_LOST, None, 6, False),
        (Line.SHUTDOWN, None, 5, False),
        (Line.SERVICE, None, 18, False),
    ],
)
def test_a_wire_that_fell_off_reads_as_nothing_there(bench, line, camera, pin, reads):
    """The pin's own pull decides then: no picture, no power, but no alarm, no button and no orderly end either."""
    bench.street._pin(pin).grounded = None
    told = {(event.line, event.camera): event.on for event in bench.round()}
    assert told[line, camera] is reads


def test_a_busy_pin_spoils_its_own_line_only_and_is_tried_again(bench):
    bench.street.break_pin(20, RuntimeError("GPIO busy"), owner="lcd")
    told = {(event.line, event.camera): event for event in bench.round()}
    video = told[Line.VIDEO, "gate"]
    assert video.on is video.value is None
    assert video.why.startswith("GPIO20: another program holds this pin")
    assert '"lcd"' in video.why
    assert told[Line.VIDEO, "bridge"].on is True
    bench.street.mend_pin(20)
    bench.round(later=29)
    assert bench.told[-1] != LineRead(line=Line.VIDEO, camera="gate", on=True)
    assert LineRead(line=Line.VIDEO, camera="gate", on=True) in bench.round(later=2)


def test_a_pin_that_fails_while_being_read_is_told_once(bench):
    bench.round()
    bench.street.break_pin(6, OSError(5, "Input/output error"))
    (event,) = bench.round()
    assert (event.line, event.on) == (Line.MAINS_LOST, None)
    assert bench.round() == []


def test_without_a_driver_every_line_says_why():
    bench = Bench()
    bench.lines = bench.make(None, "no pin library")
    told = bench.round()
    assert {(event.line, event.camera) for event in told} == set(CALM)
    assert all(event.on is None and "no pin library" in event.why for event in told)


def test_a_fault_that_changes_its_reason_is_news(bench):
    bench.street.break_pin(6, OSError("one"))
    bench.round()
    bench.street.break_pin(6, BadPinFactory("two"))
    told = [event for event in bench.round(later=31) if event.line is Line.MAINS_LOST]
    assert "no pin library" in told[0].why


def test_a_value_that_only_ripples_is_no_news():
    told: list[Event] = []
    teller = Teller(told.append)

    def tell(value: float | None, at: float, why: str = "") -> None:
        event = LineRead(line=Line.CURRENT, camera="gate", on=None, value=value, why=why)
        teller.tell(event, at=at, near=5.0)

    for step in range(40):
        tell(250.0 + 2.4 * (-1) ** step, 100 + step / 10)
    assert len(told) == 1
    tell(246.0, 104.4)  # as far from the last as before, but more than 5 from the one that was told
    assert len(told) == 2
    tell(0.0, 104.5)
    assert len(told) == 3
    tell(None, 104.6, why="gone")
    tell(None, 104.7, why="gone")
    assert len(told) == 4
    tell(None, 109.6, why="gone")
    assert len(told) == 5


def test_one_alarm_contact_tells_for_all_cameras_of_its_recorder():
    runs = tuple(
        Run(camera=camera, cable="rg59-power", length_m=50, alarm_pin=21)
        for camera in ("gate", "bridge")
    )
    street = Street(Privacy(switch=SwitchKind.NONE), runs)
    told: list[Event] = []
    lines = Lines(runs, Electrics(), factory=street.factory, why_no_factory="", post=told.append)
    lines.round(0.0)
    street.set_line(Line.NVR_ALARM, "bridge", on=True)
    lines.round(1.0)
    lines.close()
    assert told == [
        LineRead(line=Line.NVR_ALARM, camera=camera, on=on)
        for on in (False, True)
        for camera in ("gate", "bridge")
    ]
