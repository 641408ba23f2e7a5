"""The input board through gpiozero, down to the bits: what the loops read, what a fault of the board reads as, and its thread."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import SystemClock
from edge_agent.core.messages import Died, Event, Line, LineRead, LoopMeasured
from edge_agent.core.settings import DigitalLoop, Electrics, MeasuredLoop, Privacy, Run, SwitchKind
from edge_agent.sensors import Board
from edge_agent.simulate import Bus, Fet, SimulatedClock, Street
from tests.support.mailbox import Mailbox

PRIVACY = Privacy(switch=SwitchKind.NONE)
ELECTRICS = Electrics(door_channel=7)
RUNS = (
    Run(
        camera="gate",
        cable="cat5e-outdoor",
        length_m=50,
        loop=MeasuredLoop(channel=0),
        current_channel=0,
    ),
    Run(camera="bridge", cable="cat5e-outdoor", length_m=20, loop=MeasuredLoop(channel=5)),
    Run(camera="pump", cable="rg59-power", length_m=30, current_channel=4),
    Run(camera="link", cable="cat5e-outdoor", length_m=30, loop=DigitalLoop(pin=5)),
)
BASE_OHM = {"gate": 118.78, "bridge": 113.15}


@dataclass
class Bench:
    runs: tuple[Run, ...] = RUNS
    electrics: Electrics = ELECTRICS
    bit_by_bit: bool = True
    told: list[Event] = field(default_factory=list)
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    excited: list[tuple[float, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.street = Street(PRIVACY, self.runs, self.electrics, bit_by_bit=self.bit_by_bit)
        self.street.board.now = self.clock.now
        self.board = self.make(self.street.factory, "")

    def make(self, factory: object, why: str) -> Board:
        return Board(
            self.runs,
            self.electrics,
            factory=factory,
            why_no_factory=why,
            post=self.told.append,
            clock=self.clock,
            pause=self.pause,
        )

    def pause(self, seconds: float) -> None:
        level = not self.street.factory.pin(self.electrics.excitation_pin)._state
        self.excited.append((seconds, level))
        self.clock.at += seconds

    def read(self, *, later: float = 0.5) -> list[Event]:
        self.clock.at += later
        before = len(self.told)
        self.board.read()
        return self.told[before:]

    def loops(self, *, later: float = 0.5) -> dict[str, LoopMeasured]:
        told = self.read(later=later)
        return {event.camera: event for event in told if isinstance(event, LoopMeasured)}

    def line(self, line: Line, camera: str | None = None) -> LineRead:
        return [
            event
            for event in self.told
            if isinstance(event, LineRead) and (event.line, event.camera) == (line, camera)
        ][-1]

    def is_excited(self) -> bool:
        return not self.street.factory.pin(self.electrics.excitation_pin)._state


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.board.close()


# ---- a reading ----


@pytest.mark.parametrize("bits", [12, 10])
def test_whole_runs_read_their_copper_and_their_plug(bits):
    bench = Bench(electrics=Electrics(adc_bits=bits, door_channel=7))
    for _ in range(3):
        loops = bench.loops()
        assert set(loops) == set(BASE_OHM)
        for camera, event in loops.items():
            assert event.ohm == pytest.approx(BASE_OHM[camera], abs=0.1 if bits == 12 else 0.3)
            assert event.why == ""
            assert event.spread_ohm < (0.2 if bits == 12 else 0.4)


def test_a_reading_is_told_each_time_whether_or_not_it_changed(bench):
    assert [len(bench.loops()) for _ in range(4)] == [2, 2, 2, 2]


def test_the_excitation_is_on_for_a_reading_only_and_samples_cover_two_periods_of_the_mains(bench):
    bench.read()
    assert not bench.is_excited()
    assert all(level for _, level in bench.excited)
    settling, *steps = [seconds for seconds, _ in bench.excited]
    assert settling == pytest.approx(0.005)
    assert len(steps) == 16
    assert sum(steps) == pytest.approx(0.040)


def test_a_cut_a_short_and_another_cable(bench):
    bench.loops()
    bench.street.cut_run("gate", at_m=20)
    bench.street.short_run("bridge", at_m=12)
    loops = bench.loops()
    assert math.isinf(loops["gate"].ohm or 0)
    assert loops["gate"].spread_ohm == 0.0
    assert loops["bridge"].ohm == pytest.approx(9.4 + 12 * 0.1876, abs=0.15)
    bench.street.plug_in("gate", at_m=5)
    assert bench.loops()["gate"].ohm == pytest.approx(110.34, abs=0.1)


def test_hum_of_the_mains_cancels_and_shows_in_the_spread(bench):
    calm = bench.loops()["gate"]
    bench.street.board.hum = 40.0
    humming = bench.loops()["gate"]
    assert humming.ohm == pytest.approx(calm.ohm, abs=0.1)
    assert humming.spread_ohm > 10 * calm.spread_ohm


def test_a_loose_contact_shows_in_the_spread(bench):
    bench.street.pair("gate").loose_ohm = 6.0
    loose = bench.loops()
    assert loose["gate"].spread_ohm > 0.8
    assert loose["bridge"].spread_ohm < 0.2


@given(st.floats(0, 400), st.floats(15, 65))
def test_any_length_at_any_temperature_reads_back_within_a_tenth_of_an_ohm(length_m, celsius):
    bench = Bench(bit_by_bit=False)
    bench.street.plug_in("gate", at_m=length_m)
    bench.street.pair("gate").celsius = celsius
    assert bench.loops()["gate"].ohm == pytest.approx(bench.street.pair("gate").ohm(), abs=0.1)


# ---- faults of the board ----


def unreadable(bench: Bench, words: str) -> None:
    loops = bench.loops()
    assert set(loops) == set(BASE_OHM)
    for event in loops.values():
        assert event.ohm is None
        assert event.spread_ohm == 0.0
        assert words in event.why
    assert not bench.is_excited()


def test_a_dead_transistor_is_a_fault_of_the_board(bench):
    bench.loops()
    bench.street.board.fet = Fet.DEAD
    unreadable(bench, "nothing on any channel")
    bench.street.board.fet = Fet.WORKS
    assert bench.loops()["gate"].ohm == pytest.approx(118.78, abs=0.1)


def test_a_stuck_transistor_is_a_fault_of_the_board(bench):
    bench.street.board.fet = Fet.STUCK
    unreadable(bench, "with the excitation off")


def test_a_dead_chip_is_a_fault_of_the_board(bench):
    bench.street.board.dead_chips = {0}
    unreadable(bench, "nothing on any channel")


@pytest.mark.parametrize(
    ("bus", "words"),
    [(Bus.STUCK_HIGH, "with the excitation off"), (Bus.STUCK_LOW, "nothing on any channel")],
)
def test_a_stuck_data_line_is_a_fault_of_the_board(bench, bus, words):
    bench.street.board.bus = bus
    unreadable(bench, words)


def test_all_runs_cut_at_once_are_cut_runs(bench):
    bench.street.cut_run("gate")
    bench.street.cut_run("bridge")
    assert all(math.isinf(event.ohm or 0) for event in bench.loops().values())


def test_a_foreign_voltage_spoils_its_own_loop(bench):
    bench.street.pair("bridge").foreign_volts = 12.0
    loops = bench.loops()
    assert loops["bridge"].ohm is None
    assert "channel 5" in loops["bridge"].why
    assert loops["gate"].ohm == pytest.approx(118.78, abs=0.1)


def test_a_port_that_vanishes_in_mid_reading_leaves_no_loop_excited_and_is_tried_again(bench):
    bench.loops()
    pauses = itertools.count()

    def gone_later(seconds: float) -> None:
        if next(pauses) == 5:
            bench.street.board.bus = Bus.GONE
        bench.clock.at += seconds

    bench.board._pause = gone_later
    unreadable(bench, "the SPI port cannot be opened: set dtparam=spi=on")
    assert bench.line(Line.CURRENT, "gate").value is None
    assert bench.line(Line.DOOR).on is None
    bench.street.board.bus = Bus.WORKS
    unreadable(bench, "SPI port")  # told at each reading, tried after five seconds
    assert bench.loops(later=5)["gate"].ohm == pytest.approx(118.78, abs=0.1)
    assert bench.line(Line.CURRENT, "gate").value == pytest.approx(250, abs=1)


def test_an_excitation_pin_held_by_another_names_it_and_leaves_the_second_chip_alone(bench):
    bench.street.break_pin(25, RuntimeError("GPIO busy"), owner="fan-hat")
    loops = bench.loops()
    for event in loops.values():
        assert event.ohm is None
        assert "excitation on GPIO25: another program holds this pin" in event.why
        assert '"fan-hat"' in event.why
    assert bench.line(Line.CURRENT, "pump").value == pytest.approx(250, abs=1)
    bench.street.mend_pin(25)
    assert bench.loops(later=6)["gate"].ohm == pytest.approx(118.78, abs=0.1)


def test_an_excitation_pin_that_fails_when_switched_off_is_opened_anew(bench):
    bench.loops()
    pauses = itertools.count()

    def break_late(seconds: float) -> None:
        if next(pauses) == 16:
            bench.street.break_pin(25, OSError(5, "Input/output error"))
        bench.clock.at += seconds

    bench.board._pause = break_late
    assert bench.loops()["gate"].why == ""  # this reading was sound
    bench.board._pause = bench.pause
    assert "GPIO25" in bench.loops()["gate"].why
    bench.street.mend_pin(25)
    assert bench.loops(later=6)["gate"].why == ""


def test_a_device_closed_under_us_is_a_fault_of_one_reading(bench):
    bench.loops()
    bench.board._measured.chip._channels[0].close()
    unreadable(bench, "AttributeError")
    assert bench.loops(later=5)["gate"].why == ""


def test_without_a_driver_every_loop_and_line_says_why(bench):
    bench.board = bench.make(None, "the pin library lgpio is not installed")
    unreadable(bench, "lgpio is not installed")
    for camera in ("gate", "pump"):
        assert "lgpio is not installed" in bench.line(Line.CURRENT, camera).why
    assert bench.line(Line.DOOR).on is None


# ---- currents and the door ----


def test_the_current_is_told_in_ma_on_change_and_each_five_seconds(bench):
    bench.read()
    first = bench.line(Line.CURRENT, "pump")
    assert first.on is None
    assert first.value == pytest.approx(250, abs=1)
    told = [event for _ in range(20) for event in bench.read() if isinstance(event, LineRead)]
    # Ten seconds: each of the two cameras and the door twice.
    assert len(told) in {3, 6}
    bench.street.draw("pump").infrared = True
    assert Line.CURRENT in [event.line for event in bench.read() if isinstance(event, LineRead)]
    assert bench.line(Line.CURRENT, "pump").value == pytest.approx(430, abs=1)
    bench.street.cut_run("pump")
    bench.read()
    assert bench.line(Line.CURRENT, "pump").value == pytest.approx(0, abs=1)
    assert bench.line(Line.CURRENT, "gate").value == pytest.approx(250, abs=1)


def test_the_door_is_open_unless_its_resistor_is_seen(bench):
    bench.read()
    assert bench.line(Line.DOOR).on is False
    bench.street.board.door_open = True
    bench.read()
    door = bench.line(Line.DOOR)
    assert door.on is True
    assert door.value == pytest.approx(1.0, abs=0.01)
    assert door.why == ""
    bench.street.board.dead_chips = {1}  # as a wire shorted to ground
    bench.read()
    assert bench.line(Line.DOOR).on is True
    assert "shorted" in bench.line(Line.DOOR).why


def test_a_box_with_currents_only_never_pulses():
    bench = Bench(runs=RUNS[2:3], electrics=Electrics())
    bench.read()
    assert bench.line(Line.CURRENT, "pump").value == pytest.approx(250, abs=1)
    assert not any(level for _, level in bench.excited)
    assert not bench.loops()


# ---- the thread ----


def threaded(street: Street, mailbox: Mailbox, runs=RUNS, electrics=ELECTRICS, **more) -> Board:
    return Board(
        runs,
        electrics,
        factory=street.factory,
        why_no_factory="",
        post=mailbox.post,
        clock=SystemClock(),
        **more,
    )


def test_the_thread_reads_again_and_again_and_leaves_the_loops_unexcited():
    street, mailbox = Street(PRIVACY, RUNS, ELECTRICS, bit_by_bit=False), Mailbox()
    with threaded(street, mailbox) as board:
        before = board.progress()
        told = mailbox.wait_for(lambda event: isinstance(event, LoopMeasured), count=4)
        assert isinstance(told, LoopMeasured)
        assert told.ohm == pytest.approx(BASE_OHM[told.camera], abs=0.2)
        assert board.progress() > before
    assert not board._part.running
    assert street.factory.pin(25).state == 1
    assert street.factory.pin(25).function == "input"  # given back: the transistor's pull-up rules
    board.__exit__(None, None, None)


def test_a_surprise_in_the_thread_is_told_and_leaves_the_loops_unexcited():
    street, mailbox = Street(PRIVACY, RUNS, ELECTRICS, bit_by_bit=False), Mailbox()

    def surprise(seconds: float) -> None:
        raise ZeroDivisionError

    with threaded(street, mailbox, pause=surprise) as board:
        died = mailbox.wait_for(lambda event: isinstance(event, Died))
        board._part.leave()
        assert not board._part.running
    assert died == Died(part="input board", detail="ZeroDivisionError: ")
    assert street.factory.pin(25).state == 1


def test_with_nothing_to_measure_there_is_no_thread_and_no_pin_is_touched():
    runs = RUNS[3:]
    street, mailbox = Street(PRIVACY, runs), Mailbox()
    with threaded(street, mailbox, runs=runs, electrics=Electrics()) as board:
        assert not board._part.running
        assert board.progress() == pytest.approx(SystemClock().now(), abs=5)
    assert mailbox.events == []
    assert {pin.name for pin in street.factory.pins} == {"GPIO5"}
