"""The switch, the loops and the lamps on gpiozero's pins: what the secretary's hand does, and every way a pin can fail."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from gpiozero import BadPinFactory, DigitalInputDevice, GPIOPinInUse
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import SystemClock
from edge_agent.core.messages import (
    Died,
    Event,
    Lamp,
    Line,
    LineRead,
    LoopMeasured,
    LoopRead,
    SwitchRead,
)
from edge_agent.core.settings import DigitalLoop, Electrics, MeasuredLoop, Privacy, Run, SwitchKind
from edge_agent.core.switch_memory import EarlierLife
from edge_agent.press_note import NOTE, PressNote
from edge_agent.sensors import Sensors, edges_alive, lit, owners_of
from edge_agent.sensors.lamps import TEST_S, lit_in_test
from edge_agent.shutter import Shutter
from edge_agent.simulate import SimulatedClock, Street
from tests.support.mailbox import Mailbox
from tests.support.patience import patient
from tests.support.rig import await_that

CLOCK = SystemClock()
PRIVACY = Privacy(switch=SwitchKind.LATCHING)
RUNS = (
    Run(camera="gate", cable="cat5e-outdoor", length_m=50, loop=DigitalLoop(pin=5)),
    Run(camera="bridge", cable="rg59", length_m=20),
)


@dataclass
class Bench:
    """Sensors without their thread: each `round` is one turn of it, `at` later."""

    privacy: Privacy = PRIVACY
    runs: tuple[Run, ...] = RUNS
    alive: bool = True
    told: list[Event] = field(default_factory=list)
    shutter: Shutter = field(default_factory=Shutter)
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    note: PressNote | None = None

    def __post_init__(self) -> None:
        self.street = Street(self.privacy, self.runs, now=self.clock.now)
        self.sensors = self.make(self.street.factory, "")
        self.clock.at += TEST_S  # the lamps have been tested

    def make(self, factory: object, why: str) -> Sensors:
        return Sensors(
            self.privacy,
            self.runs,
            Electrics(),
            factory=factory,
            why_no_factory=why,
            shutter=self.shutter,
            post=self.told.append,
            clock=self.clock,
            note=self.note,
            edges_alive=lambda: self.alive,
        )

    def show(self, lamp: Lamp) -> None:
        """As the core does: with the newest press it has heard of."""
        self.sensors.show(lamp, press=self.shutter.presses)

    def round(self, *, later: float = 0.1) -> list[Event]:
        self.clock.at += later
        before = len(self.told)
        self.sensors._round()
        return self.told[before:]

    def switch(self) -> SwitchRead:
        return [event for event in self.told if isinstance(event, SwitchRead)][-1]

    def loop(self) -> LoopRead:
        return [event for event in self.told if isinstance(event, LoopRead)][-1]

    def is_live(self) -> bool:
        told = self.switch()
        return told.nc_closed is True and told.no_closed is False


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---- the switch ----


def test_a_live_switch_is_told_once_and_then_each_second(bench):
    first = bench.round()
    assert first[0] == SwitchRead(nc_closed=True, no_closed=False, press=0)
    told = [event for _ in range(50) for event in bench.round() if isinstance(event, SwitchRead)]
    assert 4 <= len(told) <= 5
    assert bench.shutter.presses == 0


def test_a_press_closes_the_shutter_before_anybody_is_told(bench):
    bench.round()
    closed_before: list[bool] = []
    bench.shutter.open_for(frozenset({"gate"}), press=0)
    bench.sensors._post = lambda event: closed_before.append(not bench.shutter.allows("gate"))
    bench.street.press()
    bench.round()
    assert closed_before
    assert all(closed_before)


def test_the_edge_itself_closes_the_shutter_without_a_round(bench):
    bench.round()
    bench.shutter.open_for(frozenset({"gate"}), press=0)
    bench.street.press()
    assert not bench.shutter.allows("gate")


@pytest.mark.parametrize("wire", ["nc", "no"])
def test_an_edge_of_either_wire_closes_the_shutter_alone(bench, wire):
    bench.round()
    bench.shutter.open_for(frozenset({"gate"}), press=0)
    if wire == "nc":
        bench.street.cut_switch_wire("nc")
    else:
        bench.street.short_switch_wire("no")
    assert not bench.shutter.allows("gate")


def test_a_missed_edge_is_found_by_polling(bench):
    bench.round()
    nc, _ = bench.sensors._switch._contacts
    nc._device.when_deactivated = None  # the library's thread is dead or slow
    bench.street.cut_switch_wire("nc")
    assert bench.shutter.presses == 0
    bench.round()
    assert bench.shutter.presses == 1
    assert bench.switch() == SwitchRead(nc_closed=False, no_closed=False, press=1)


def test_a_press_shorter_than_a_round_is_told_by_its_number(bench):
    bench.round()
    bench.street.press()
    bench.street.release()
    (event,) = bench.round()
    assert isinstance(event, SwitchRead)
    assert bench.is_live()
    assert event.press == bench.shutter.presses > 0


def test_a_press_between_count_and_levels_voids_the_reading(bench):
    """The hand is faster than the reading: the count that goes out is the older one, so it opens nothing."""
    bench.round(later=0)
    nc, no = bench.sensors._switch._contacts

    class Late:
        def on(self, at: float) -> bool | None:
            bench.shutter.press()
            on: bool | None = no.on(at)
            return on

        why = ""

    bench.sensors._switch._contacts = (nc, Late())
    (event,) = bench.round(later=1.0)
    bench.shutter.open_for(frozenset({"gate"}), press=event.press)
    assert not bench.shutter.allows("gate")


def test_holding_the_switch_presses_once(bench):
    bench.round()
    bench.street.press()
    bench.round()
    presses = bench.shutter.presses
    for _ in range(20):
        bench.round()
    assert bench.shutter.presses == presses


# The table of docs/wiring.md: what the two contacts say, by the fault of their wires and the switch's position.
LIVE, PRIVATE = (True, False), (False, True)
BOTH_OPEN, BOTH_CLOSED = (False, False), (True, True)
WIRES = {
    "none": (LIVE, PRIVATE),
    "NC wire cut": (BOTH_OPEN, PRIVATE),
    "plug pulled": (BOTH_OPEN, BOTH_OPEN),
    "NC pair shorted": (LIVE, BOTH_CLOSED),  # latent: found at the next press
    "NO wire cut": (LIVE, BOTH_OPEN),  # latent
    "NO pair shorted": (BOTH_CLOSED, PRIVATE),
    "all crushed together": (BOTH_CLOSED, BOTH_CLOSED),
    # The only one that two contacts cannot tell: hence the keyed plug and the press test after each installation.
    "NC and NO swapped": (PRIVATE, LIVE),
}


@pytest.mark.parametrize("fault", WIRES)
@pytest.mark.parametrize("pressed", [False, True])
def test_every_single_wire_fault_ends_as_the_truth_table_says(bench, fault, pressed):
    bench.round()
    if pressed:
        bench.street.press()
    match fault:
        case "NC wire cut":
            bench.street.cut_switch_wire("nc")
        case "plug pulled":
            bench.street.cut_switch_wire()
        case "NC pair shorted":
            bench.street.short_switch_wire("nc")
        case "NO wire cut":
            bench.street.cut_switch_wire("no")
        case "NO pair shorted":
            bench.street.short_switch_wire("no")
        case "all crushed together":
            bench.street.short_switch_wire("nc")
            bench.street.short_switch_wire("no")
        case "NC and NO swapped":
            bench.street.swap_switch_wires()
        case _:
            pass
    bench.round()
    told = bench.switch()
    expected = WIRES[fault][pressed]
    assert (told.nc_closed, told.no_closed) == expected
    # Whatever was pressed, or is not live now, closed the shutter.
    assert (bench.shutter.presses > 0) is (pressed or expected != LIVE)


@given(
    st.lists(
        st.sampled_from(["press", "release", "cut", "mend", "busy", "free", "round"]), max_size=25
    )
)
def test_live_is_only_ever_told_when_the_switch_is_live(steps):
    """Whatever happens to the street: a reading told as live has both contacts right, and its number is no older press."""
    bench = Bench()
    busy = False
    bench.round()
    for step in steps:
        match step:
            case "press":
                bench.street.press()
            case "release":
                bench.street.release()
            case "cut":
                bench.street.cut_switch_wire("nc")
            case "mend":
                bench.street.mend_switch_wire()
            case "busy":
                busy = True
                bench.street.break_pin(17, OSError("GPIO busy"))
            case "free":
                busy = False
                bench.street.mend_pin(17)
            case _:
                pass
        bench.round(later=31.0)
        street_live = not busy and not bench.street._is_pressed and not bench.street._cut
        assert bench.is_live() is street_live
        assert bench.switch().press == bench.shutter.presses
        assert bench.street.lamps() == (True, False), "the core has said nothing"


def test_no_switch_fitted_reads_as_live_and_opens_no_pin():
    bench = Bench(privacy=Privacy(switch=SwitchKind.NONE))
    bench.round()
    assert bench.switch() == SwitchRead(nc_closed=True, no_closed=False, press=0)
    assert bench.shutter.presses == 0
    assert not [pin for pin in bench.street.factory.pins if pin.name in {"GPIO17", "GPIO27"}]


# ---- pins that fail ----


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (RuntimeError("GPIO busy"), "another program"),
        (GPIOPinInUse("pin GPIO17 is already in use"), "twice"),
        (BadPinFactory("Unable to load any default pin factory!"), "no pin library"),
        (PermissionError(13, "Permission denied"), "group gpio"),
        (FileNotFoundError(2, "No such file", ".lgd-nfy0"), "LG_WD"),
        (AttributeError("'NoneType' object has no attribute 'state'"), "AttributeError"),
    ],
)
def test_a_pin_that_cannot_be_opened_is_private_and_says_why(bench, trouble, words):
    bench.street.break_pin(17, trouble)
    bench.round()
    event = bench.switch()
    assert event.nc_closed is None
    assert event.no_closed is False
    assert "GPIO17" in event.why
    assert words in event.why
    assert bench.shutter.presses == 1


def test_who_holds_a_busy_pin_is_named_if_the_kernel_tells(bench):
    bench.street.break_pin(17, RuntimeError("GPIO busy"), owner="gpio-fan")
    bench.street.break_pin(27, RuntimeError("GPIO busy"))
    bench.round()
    nc, no = bench.switch().why.split("; ")
    assert 'another program holds this pin (it calls itself "gpio-fan"): stop it' in nc
    assert "gpioinfo shows which" in no


def test_a_pin_is_tried_again_after_half_a_minute_not_before(bench):
    bench.street.break_pin(17, RuntimeError("GPIO busy"))
    bench.round()
    bench.street.mend_pin(17)
    bench.round(later=29)
    assert bench.switch().nc_closed is None
    bench.round(later=2)
    assert bench.is_live()
    assert bench.switch().why == ""


def test_a_pin_lost_while_reading_presses(bench):
    bench.round()
    bench.street.break_pin(27, OSError(5, "Input/output error"))
    bench.round()
    assert bench.switch().no_closed is None
    assert bench.shutter.presses == 1


def test_a_pin_lost_while_reading_is_let_go_and_not_believed_before_it_was_opened_anew(bench):
    bench.round()
    bench.street.break_pin(27, OSError(5, "Input/output error"))
    bench.round()
    bench.street.mend_pin(27)
    bench.round(later=29)
    assert not bench.is_live()
    bench.round(later=2)
    assert bench.is_live()


def test_a_pin_held_twice_in_this_process_is_named(bench):
    other = bench.make(bench.street.factory, "")
    bench.round()
    other._round()
    assert bench.switch().nc_closed is None
    assert "used twice" in bench.switch().why


def test_with_no_driver_all_is_unknown_and_the_round_goes_on(bench):
    bench.sensors = bench.make(None, "the pin library lgpio is not installed")
    bench.round()
    assert bench.switch().nc_closed is bench.switch().no_closed is None
    assert "lgpio is not installed" in bench.switch().why
    assert bench.loop() == LoopRead(
        camera="gate", closed=None, why="GPIO5: the pin library lgpio is not installed"
    )
    assert bench.shutter.presses == 1
    assert bench.street.lamps() == (False, False)


# ---- loops ----


def test_a_loop_is_told_on_change_and_each_five_seconds(bench):
    bench.round()
    assert bench.loop() == LoopRead(camera="gate", closed=True)
    told = [event for _ in range(100) for event in bench.round() if isinstance(event, LoopRead)]
    assert len(told) in {1, 2}
    bench.street.cut_run("gate")
    assert LoopRead(camera="gate", closed=False) in bench.round()
    bench.street.mend_run("gate")
    assert LoopRead(camera="gate", closed=True) in bench.round()
    assert bench.shutter.presses == 0


def test_a_loop_pin_that_fails_is_unknown_and_leaves_the_switch_alone(bench):
    bench.street.break_pin(5, RuntimeError("GPIO busy"))
    bench.round()
    assert bench.loop().closed is None
    assert "GPIO5" in bench.loop().why
    assert bench.is_live()


def test_a_run_without_a_loop_is_never_told(bench):
    for _ in range(10):
        bench.round(later=6)
    assert {event.camera for event in bench.told if isinstance(event, LoopRead)} == {"gate"}


# ---- lamps ----


def shown(lamp: Lamp, seconds: float = 12.0, step: float = 0.05) -> list[tuple[bool, bool]]:
    return [lit(lamp, 500.0 + step * (n + 0.5))[:2] for n in range(int(seconds / step))]


def test_the_lamps_follow_the_printed_card():
    assert set(shown(Lamp.PRIVATE)) == {(True, False)}
    assert sum(live for _, live in shown(Lamp.LIVE)) == 4 * 2  # 0.1 s in each 3 s
    assert not any(private for private, _ in shown(Lamp.LIVE))
    assert set(shown(Lamp.VERIFYING)) == {(True, False), (False, True)}
    assert sum(live for _, live in shown(Lamp.HELD)) == 6 * 4
    assert all(private for private, _ in shown(Lamp.WIRING_FAULT))
    assert any(live for _, live in shown(Lamp.WIRING_FAULT))
    assert not any(live for _, live in shown(Lamp.SUSPENDED))
    assert len({tuple(shown(lamp)) for lamp in Lamp}) == len(Lamp)


@pytest.mark.parametrize("lamp", list(Lamp))
def test_no_lamp_flashes_more_than_three_times_in_any_second(lamp):
    for which in (0, 1):
        states = [state[which] for state in shown(lamp, seconds=20, step=0.01)]
        rises = [
            n
            for n, (before, after) in enumerate(itertools.pairwise(states))
            if after and not before
        ]
        assert all(rises[n + 3] - rises[n] > 100 for n in range(len(rises) - 3))


@given(st.sampled_from(list(Lamp)), st.floats(0, 1e7))
def test_a_lamp_stays_as_long_as_was_said(lamp, at):
    private, live, stays_s = lit(lamp, at)
    assert 0 < stays_s <= 3
    if stays_s > 1e-6:  # a float's grain
        assert lit(lamp, at + stays_s * 0.99)[:2] == (private, live)


def test_the_private_lamp_is_lit_at_once_whatever_the_core_says(bench):
    bench.show(Lamp.LIVE)
    bench.round()
    assert bench.street.lamps()[0] is False
    bench.street.press()
    bench.round()
    assert bench.street.lamps() == (True, False)
    bench.show(Lamp.VERIFYING)
    bench.round()
    assert bench.street.lamps() == (True, False)


def test_the_lamps_are_tested_left_right_both_and_then_tell_the_truth(bench):
    bench.clock.at += 10
    bench.sensors = bench.make(bench.street.factory, "")
    seen: list[tuple[bool, bool]] = []
    began = bench.clock.at
    while bench.clock.at < began + TEST_S:
        bench.round(later=0.05)
        if not seen or seen[-1] != bench.street.lamps():
            seen.append(bench.street.lamps())
    assert seen == [(True, False), (False, True), (True, True), (False, False), (True, False)]
    bench.round(later=5)
    assert bench.street.lamps() == (True, False)


def test_the_test_of_the_lamps_flashes_no_more_than_three_times_a_second():
    for which in (0, 1):
        lit_now = [lit_in_test(step / 100)[which] for step in range(int(TEST_S * 100))]
        rises = sum(after and not before for before, after in itertools.pairwise([False, *lit_now]))
        assert 1 <= rises <= 3 * TEST_S


def test_what_the_core_showed_before_a_press_is_void_even_if_the_switch_is_live_again(bench):
    bench.round()
    bench.show(Lamp.LIVE)
    bench.street.press()
    bench.street.release()
    bench.round()
    assert bench.is_live()
    assert bench.street.lamps() == (True, False)
    bench.show(Lamp.VERIFYING)
    shown = {bench.street.lamps() for _ in range(20) if bench.round() is not None}
    assert shown == {(True, False), (False, True)}


@pytest.mark.parametrize("what", ["contacts", "relay"])
def test_a_word_of_the_core_never_shows_live_against_the_switch_or_the_relay(what):
    """Even one that rests on the newest press."""
    bench = Bench(privacy=replace(PRIVACY, feedback_pin=19))
    for _ in range(3):
        bench.round()
    bench.show(Lamp.VERIFYING)
    assert {bench.street.lamps() for _ in range(20) if bench.round() is not None} != {(True, False)}
    if what == "contacts":
        bench.street.press()
    else:
        bench.street.relay.coil_broken = True
        bench.street.settle()
    bench.round()
    bench.show(Lamp.VERIFYING)
    shown = {bench.street.lamps() for _ in range(20) if bench.round() is not None}
    assert shown == {(True, False)}


def test_a_wiring_fault_stays_shown_whatever_was_pressed(bench):
    bench.show(Lamp.WIRING_FAULT)
    bench.street.cut_switch_wire()
    shown = {bench.street.lamps() for _ in range(40) if bench.round(later=0.05) is not None}
    assert shown == {(True, False), (True, True)}


def test_before_the_core_spoke_the_private_lamp_is_lit(bench):
    bench.round()
    assert bench.street.lamps() == (True, False)


def test_a_lamp_that_cannot_be_lit_is_told_and_stops_nothing(bench):
    bench.street.break_pin(22, RuntimeError("GPIO busy"))
    bench.round()
    bench.round()
    assert bench.is_live()
    assert "lamp on GPIO22" in bench.switch().undriven
    bench.street.mend_pin(22)
    bench.round(later=31)
    bench.round()
    assert bench.switch().undriven == ""


def test_a_box_without_lamps_needs_none():
    bench = Bench(
        privacy=Privacy(switch=SwitchKind.LATCHING, lamp_private_pin=None, lamp_live_pin=None)
    )
    bench.round()
    assert bench.is_live()
    assert bench.street.lamps() == (False, False)


# ---- the thread ----


def running(street: Street, mailbox: Mailbox, shutter: Shutter, edges_alive=edges_alive) -> Sensors:
    return Sensors(
        PRIVACY,
        RUNS,
        Electrics(),
        factory=street.factory,
        why_no_factory="",
        shutter=shutter,
        post=mailbox.post,
        clock=CLOCK,
        edges_alive=edges_alive,
    )


def is_live(event: Event) -> bool:
    return isinstance(event, SwitchRead) and event.nc_closed is True and event.no_closed is False


def test_the_thread_tells_a_press_and_darkens_the_lamps_at_the_end():
    street, mailbox, shutter = Street(PRIVACY, RUNS), Mailbox(), Shutter()
    with running(street, mailbox, shutter) as sensors:
        sensors._lamps_tested_at = 0.0  # long ago, for a round under way too
        mailbox.wait_for(is_live)
        before = sensors.progress()
        street.press()
        assert shutter.presses > 0
        mailbox.wait_for(lambda event: isinstance(event, SwitchRead) and event.no_closed is True)
        assert street.lamps()[0]
        # The word goes out in the middle of a round.
        await_that("the end of a round", lambda: sensors.progress() > before, within_s=20)
    assert street.lamps() == (False, False)
    assert not sensors._thread.is_alive()


WIRED = (
    *RUNS,
    Run(
        camera="pole",
        cable="cat5e-outdoor",
        length_m=30,
        loop=MeasuredLoop(channel=1),
        current_channel=3,
        video_pin=20,
    ),
)
BOARD = Electrics(power_pin=12, door_channel=7)


def of(line: Line, camera: str | None) -> Callable[[Event], bool]:
    return lambda event: (
        isinstance(event, LineRead) and (event.line, event.camera) == (line, camera)
    )


def all_of_it(street: Street, mailbox: Mailbox, shutter: Shutter) -> Sensors:
    return Sensors(
        PRIVACY,
        WIRED,
        BOARD,
        factory=street.factory,
        why_no_factory="",
        shutter=shutter,
        post=mailbox.post,
        clock=CLOCK,
    )


def test_all_that_is_wired_is_told_and_let_go_at_the_end():
    street, mailbox = Street(PRIVACY, WIRED, BOARD, bit_by_bit=False), Mailbox()
    with all_of_it(street, mailbox, Shutter()) as sensors:
        mailbox.wait_for(is_live)
        mailbox.wait_for(lambda event: event == LoopRead(camera="gate", closed=True))
        told = mailbox.wait_for(lambda event: isinstance(event, LoopMeasured))
        assert isinstance(told, LoopMeasured)
        assert told.ohm == pytest.approx(9.4 + 100 + 30 * 0.1876, abs=0.2)
        for line, camera in (
            (Line.VIDEO, "pole"),
            (Line.POWER, None),
            (Line.CURRENT, "pole"),
            (Line.DOOR, None),
        ):
            read = mailbox.wait_for(of(line, camera))
            assert isinstance(read, LineRead)
            assert read.why == ""
    assert not sensors._thread.is_alive()
    assert not sensors._board._part.running
    with DigitalInputDevice(20, pin_factory=street.factory):
        pass  # it was given back


def test_a_transfer_that_never_returns_stops_the_progress_but_not_the_look_at_the_switch():
    street, mailbox, shutter = Street(PRIVACY, WIRED, BOARD), Mailbox(), Shutter()
    hangs, go_on = threading.Event(), threading.Event()

    def hang() -> float:
        hangs.set()
        go_on.wait(30)
        return 0.0

    street.board.now, street.board.hum = hang, 1.0
    with all_of_it(street, mailbox, shutter) as sensors:
        assert hangs.wait(20)
        mailbox.wait_for(is_live, count=2)
        stuck_at = sensors.progress()
        street.press()
        mailbox.wait_for(lambda event: isinstance(event, SwitchRead) and event.no_closed is True)
        assert sensors.progress() == stuck_at, "the watchdog would not see that the board hangs"
        go_on.set()


def test_a_callback_that_raises_ends_the_librarys_thread_and_the_process_closed():
    """lgpio calls back from one thread, and an exception there ends it for good, without a word."""
    street, mailbox = Street(PRIVACY, RUNS), Mailbox()
    raised: list[Exception] = []

    class Brittle(Shutter):
        def press(self) -> int:
            if threading.current_thread() is library:
                msg = "in a callback"
                raise ZeroDivisionError(msg)
            return super().press()

    def edges() -> None:
        try:
            street.press()
        except ZeroDivisionError as error:
            raised.append(error)

    shutter, library = Brittle(), threading.Thread(target=edges)
    begun = threading.Event()  # a thread that is just beginning is not alive yet

    def alive() -> bool:
        return not begun.is_set() or library.is_alive()

    with running(street, mailbox, shutter, edges_alive=alive):
        mailbox.wait_for(is_live)
        shutter.open_for(frozenset({"gate"}), press=shutter.presses)
        library.start()
        begun.set()
        died = mailbox.wait_for(lambda event: isinstance(event, Died))
        assert raised
        assert not shutter.allows("gate")
    assert died == Died(part="gpio edges", detail="the pin library's edge thread has ended")


def test_once_nobody_looks_at_the_switch_nothing_may_leave():
    street, mailbox, shutter = Street(PRIVACY, RUNS), Mailbox(), Shutter()
    with running(street, mailbox, shutter):
        mailbox.wait_for(is_live)
        shutter.open_for(frozenset({"gate"}), press=shutter.presses)
        assert shutter.allows("gate")
    assert not shutter.allows("gate")


def test_a_dead_edge_thread_ends_the_process_closed():
    street, shutter = Street(PRIVACY, RUNS), Shutter()
    alive = [True]
    presses_when_told = []

    class Noting(Mailbox):
        def post(self, event: Event) -> None:
            if isinstance(event, Died):
                presses_when_told.append(shutter.presses)
            super().post(event)

    mailbox = Noting()
    with running(street, mailbox, shutter, edges_alive=lambda: alive[0]) as sensors:
        mailbox.wait_for(is_live)
        alive[0] = False
        died = mailbox.wait_for(lambda event: isinstance(event, Died))
        sensors._thread.join(patient(5))
        assert not sensors._thread.is_alive(), "it goes on although it has said that it died"
    assert died == Died(part="gpio edges", detail="the pin library's edge thread has ended")
    assert presses_when_told == [1]
    assert sum(isinstance(event, Died) for event in mailbox.events) == 1


def test_a_surprise_in_the_thread_is_told_and_closes():
    def broken() -> bool:
        raise ZeroDivisionError

    street, mailbox, shutter = Street(PRIVACY, RUNS), Mailbox(), Shutter()
    with running(street, mailbox, shutter, edges_alive=broken):
        died = mailbox.wait_for(lambda event: isinstance(event, Died))
    assert died == Died(part="sensors", detail="ZeroDivisionError: ")
    assert shutter.presses > 0


def test_a_storm_of_edges_does_not_eat_the_processor():
    street, mailbox, shutter = Street(PRIVACY, RUNS), Mailbox(), Shutter()
    rounds = 0

    def one_more_round() -> bool:
        nonlocal rounds
        rounds += 1
        return True

    with running(street, mailbox, shutter, edges_alive=one_more_round) as sensors:
        mailbox.wait_for(is_live)
        began, first = CLOCK.now(), rounds
        while CLOCK.now() - began < 0.3:
            street.cut_run("gate")
            street.mend_run("gate")
        counted, took_s = rounds - first, CLOCK.now() - began  # in this order
        assert counted < took_s / 0.01 * 2
        assert sensors.progress() > 0


def test_leaving_before_or_twice_is_harmless():
    street, mailbox = Street(PRIVACY, RUNS), Mailbox()
    sensors = running(street, mailbox, Shutter())
    sensors.__exit__(None, None, None)
    with running(street, mailbox, Shutter()) as second:
        pass
    second.__exit__(None, None, None)


def test_the_edge_thread_is_looked_for_where_the_library_keeps_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "lgpio", raising=False)
    assert edges_alive()
    library = types.ModuleType("lgpio")
    monkeypatch.setitem(sys.modules, "lgpio", library)
    assert edges_alive()
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    monkeypatch.setattr(library, "_notify_thread", ended, raising=False)
    assert not edges_alive()


# ---- the real driver, in a process of its own: importing lgpio has effects that cannot be undone ----

SCRIPT = """
import pathlib, sys
from edge_agent.sensors import real_factory
factory, why = real_factory(pathlib.Path(sys.argv[1]))
print(type(factory).__name__, why, sep="|")
if factory is not None:
    from gpiozero import DigitalInputDevice
    with DigitalInputDevice(17, pull_up=True, pin_factory=factory) as device:
        print("chip", factory.chip, "closed", bool(device.value))
"""

# As much of lgpio as gpiozero uses, over lines that the test describes: {chip: label}; every line reads low.
FAKE_LGPIO = """
import os, threading
class error(Exception): pass
BOTH_EDGES, RISING_EDGE, FALLING_EDGE = 3, 1, 2
SET_PULL_NONE, SET_PULL_UP, SET_PULL_DOWN = 128, 32, 64
LABELS = {{labels}}
_notify_thread = threading.Thread(target=lambda: None)
_modes = {}
def gpiochip_open(chip):
    if LABELS[chip] == "denied": raise error("Permission denied")
    return chip
def gpiochip_close(handle): return 0
def gpio_get_chip_info(handle): return [0, 54, "gpiochip", LABELS[handle]]
def gpio_get_line_info(handle, gpio):
    # As on boards whose device tree names the header's lines after a Pi's; they lie elsewhere on the chip.
    highest = 37 if "short" in LABELS[handle] else 54
    name = f"GPIO{gpio - 20}" if "named" in LABELS[handle] and 22 <= gpio <= highest else ""
    return [0, gpio, 0, name, "gpio-fan" if gpio == OWNED else ""]
OWNED = {{owned}}
def _free(gpio):
    if gpio == OWNED: raise error("'GPIO busy'")
def spi_open(port, device, baud, flags):
    if not {{spi}}: raise error("'can not open SPI device'")
    return device
def spi_xfer(handle, data): return 3, bytes([0, *divmod(1810 + 100 * handle, 256)])
def spi_close(handle): return 0
def gpio_claim_input(handle, gpio, flags=0): _free(gpio); _modes[gpio] = flags
gpio_claim_output = gpio_claim_input
def gpio_claim_alert(handle, gpio, edges, flags=0): _free(gpio); _modes[gpio] = flags
def gpio_free(handle, gpio): _modes.pop(gpio, None)
def gpio_get_mode(handle, gpio): return _modes.get(gpio, 0)
def gpio_set_debounce_micros(handle, gpio, micros): return 0
def gpio_read(handle, gpio): return gpio == HIGH
HIGH = {{high}}
class callback:
    def __init__(self, handle, gpio, edge=0, func=None): pass
    def cancel(self): pass
"""


def driver(
    tmp_path: Path,
    labels: dict[int, str],
    *,
    lgpio: str | None = FAKE_LGPIO,
    script: str = SCRIPT,
    owned: int | None = None,
    high: int | None = None,
    spi: bool = False,
    **env: str,
) -> list[str]:
    """What `real_factory` says in a process that has these chips; *lgpio* None = the real library."""
    devices = tmp_path / "dev"
    devices.mkdir()
    for chip in labels:
        (devices / f"gpiochip{chip}").touch()
    path = [str(Path(__file__).parents[1])]
    if lgpio is not None:
        (tmp_path / "fake").mkdir()
        for mark, value in (("labels", labels), ("owned", owned), ("high", high), ("spi", spi)):
            lgpio = lgpio.replace("{{" + mark + "}}", repr(value))
        (tmp_path / "fake" / "lgpio.py").write_text(lgpio)
        path.insert(0, str(tmp_path / "fake"))
    done = subprocess.run(
        [sys.executable, "-c", script, str(devices)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **env},
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Fallback" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("labels", "chip"),
    [
        ({0: "pinctrl-bcm2711", 1: "raspberrypi-exp-gpio"}, 0),
        ({0: "gpio-brcmstb@107d508500", 4: "pinctrl-rp1", 11: "x"}, 4),
        ({0: "pinctrl-rp1", 10: "gpio-brcmstb@107d508500"}, 0),
        ({0: "denied", 1: "pinctrl-bcm2835"}, 1),
    ],
)
def test_the_header_is_found_by_its_label(tmp_path, labels, chip):
    assert driver(tmp_path, labels) == ["HeaderFactory|", f"chip {chip} closed True"]


def test_the_header_tells_its_label_and_who_holds_a_pin_without_claiming_any(tmp_path):
    script = """
import pathlib, sys
from edge_agent.sensors import owners_of, real_factory
factory, _ = real_factory(pathlib.Path(sys.argv[1]))
print(factory.label, owners_of(factory, (17, 27)), sys.modules["lgpio"]._modes)
"""
    (line,) = driver(tmp_path, {0: "pinctrl-bcm2711"}, script=script, owned=17)
    assert line == "pinctrl-bcm2711 {17: 'gpio-fan'} {}"


def test_pins_without_a_library_or_without_a_word_on_owners_have_none(bench):
    assert owners_of(None, (17,)) == {}
    bench.street.break_pin(27, RuntimeError("GPIO busy"), owner="gpio-fan")
    assert owners_of(bench.street.factory, (17, 27)) == {27: "gpio-fan"}


def test_no_chip_of_a_known_header_is_a_reason_not_a_guess(tmp_path):
    (line,) = driver(tmp_path, {0: "sunxi-pinctrl"})
    assert line.startswith("NoneType|no GPIO chip of a known header")
    assert "gpiochip0 (sunxi-pinctrl)" in line


def test_no_right_to_the_chips_names_the_group(tmp_path):
    (line,) = driver(tmp_path, {0: "denied", 1: "denied"})
    assert "group gpio" in line


def test_a_library_that_is_missing_is_named(tmp_path):
    missing = "raise ModuleNotFoundError(\"No module named 'lgpio'\", name='lgpio')"
    (line,) = driver(tmp_path, {0: "pinctrl-rp1"}, lgpio=missing)
    assert line == "NoneType|the pin library lgpio is not installed: pip install 'edge-agent[box]'"


def test_a_machine_without_chips_never_loads_the_library(tmp_path):
    (line,) = driver(tmp_path, {}, lgpio="raise SystemExit('loaded')")
    assert line == "NoneType|this machine has no GPIO chip"


def test_the_real_library_with_a_chip_that_cannot_be_opened(tmp_path):
    """Chip 250 stands in the test's folder of devices only, so the library finds nothing behind it."""
    (line,) = driver(tmp_path, {250: ""}, lgpio=None, LG_WD=str(tmp_path))
    assert line.startswith("NoneType|")
    assert "gpiochip250 (" in line or "not installed" in line


WHERE = """
import os, pathlib, sys
from edge_agent.sensors import real_factory
_, why = real_factory(pathlib.Path(sys.argv[1]))
print(os.getcwd(), os.environ.get("LG_WD", ""), why, sep="|")
print(*os.listdir("."))
print(*os.listdir(os.environ["LG_WD"]))
"""


@pytest.mark.parametrize("folder", ["", "/proc", "/nowhere", "here"])
def test_the_real_library_gets_a_folder_it_can_write_to_and_the_process_stays_where_it_is(
    tmp_path, folder
):
    pytest.importorskip("lgpio")
    there, made = tmp_path / "there", tmp_path / "made"
    there.mkdir()
    made.mkdir()
    told, here, pipes = driver(
        tmp_path,
        {250: ""},
        lgpio=None,
        script=WHERE,
        TMPDIR=str(made),
        LG_WD=str(there) if folder == "here" else folder,
        RUNTIME_DIRECTORY="",
    )
    cwd, chosen, why = told.split("|")
    assert cwd == str(tmp_path)
    assert "gpiochip250 (" in why
    assert ".lgd-nfy" not in here
    assert ".lgd-nfy" in pipes
    assert Path(chosen).parent == made if folder != "here" else Path(chosen) == there
    assert not list(made.iterdir()), "its private folder outlives it"


def test_the_units_runtime_folder_is_taken_before_a_private_one(tmp_path):
    pytest.importorskip("lgpio")
    runtime = tmp_path / "run"
    runtime.mkdir()
    told, *_ = driver(
        tmp_path,
        {250: ""},
        lgpio=None,
        script=WHERE,
        LG_WD="",
        RUNTIME_DIRECTORY=f"{runtime}:/run/other",
    )
    assert told.split("|")[1] == str(runtime)


def test_another_board_is_known_by_the_names_of_its_lines(tmp_path):
    """GPIO17 is line 37 there; line 17 is something else."""
    labels = {0: "r-pinctrl", 1: "named-pinctrl"}
    assert driver(tmp_path, labels, high=37) == ["HeaderFactory|", "chip 1 closed False"]


def test_a_pi_is_taken_before_a_board_with_names(tmp_path):
    labels = {0: "named-pinctrl", 1: "pinctrl-rp1"}
    assert driver(tmp_path, labels) == ["HeaderFactory|", "chip 1 closed True"]


def test_a_shorter_header_gives_the_pins_that_it_names_and_no_others(tmp_path):
    """Its highest is GPIO17. Line 18 of that chip is there, too, but nobody knows where it leads."""
    labels = {0: "short-named-pinctrl", 1: "r-pinctrl"}
    assert driver(tmp_path, labels, high=37) == ["HeaderFactory|", "chip 0 closed False"]


def test_a_pin_without_a_line_of_its_name_is_refused(tmp_path):
    script = BUSY.replace("Input(17,", "Input(18,")
    said, _ = driver(tmp_path, {0: "short-named-pinctrl"}, script=script)
    assert "None GPIO18: " in said
    assert "no line of this board's GPIO chip (short-named-pinctrl) is named GPIO18" in said


def test_of_two_chips_with_names_the_header_is_the_one_with_more(tmp_path):
    labels = {0: "short-named-pinctrl", 1: "named-pinctrl"}
    assert driver(tmp_path, labels, high=37)[1] == "chip 1 closed False"


BUSY = """
import pathlib, sys
from edge_agent.sensors import real_factory
from edge_agent.sensors.adc import Chip, Unreadable
from edge_agent.sensors.pins import Input
factory, why = real_factory(pathlib.Path(sys.argv[1]))
pin = Input(17, factory, why)
print(pin.on(0.0), pin.why)
try:
    Chip(0, 12, factory, why).counts(0)
except Unreadable as reason:
    print(reason)
"""


@pytest.mark.parametrize(("label", "line"), [("pinctrl-rp1", 17), ("named-pinctrl", 37)])
def test_who_holds_a_pin_is_named_as_the_kernel_knows_it(tmp_path, label, line):
    said, _ = driver(tmp_path, {0: label}, script=BUSY, owned=line)
    assert said.startswith("None GPIO17: another program holds this pin")
    assert 'it calls itself "gpio-fan"' in said


SPI = """
import pathlib, sys
from edge_agent.sensors import real_factory
from edge_agent.sensors.adc import Chip
factory, why = real_factory(pathlib.Path(sys.argv[1]))
first, second = Chip(0, 12, factory, why), Chip(1, 12, factory, why)
print(first.counts(0), first.counts(5), second.counts(0))
first.close()
print(second.counts(1), first.counts(0))
"""


def test_both_chips_are_read_over_hardware_spi(tmp_path):
    said = driver(tmp_path, {0: "pinctrl-rp1"}, script=SPI, spi=True)
    assert said == ["1810 1810 1910", "1910 1810"]


def test_without_an_spi_port_nothing_is_bit_banged_in_its_stead(tmp_path):
    said = driver(tmp_path, {0: "pinctrl-bcm2711"}, script=BUSY, owned=17)[1]
    assert said.startswith("ADC 1 (SPI 0.0): the SPI port cannot be opened: set dtparam=spi=on")
    assert "can not open SPI device" in said


# ---- the note of a press ----


def noted(folder: Path) -> EarlierLife | None:
    """What a life after this one would find."""
    return PressNote(folder, boot="boot").earlier


def test_a_press_is_noted_in_the_round_that_sees_it_before_anybody_is_told(tmp_path, monkeypatch):
    bench = Bench(note=PressNote(tmp_path, boot="boot"))
    bench.round()
    quiet_at = bench.clock.at
    assert (tmp_path / NOTE).exists()
    found: list[EarlierLife | None] = []
    monkeypatch.setattr(bench.sensors, "_post", lambda event: found.append(noted(tmp_path)))
    bench.street.press()
    bench.round()
    assert found[0] == EarlierLife(live_at=quiet_at, pressed=True)


def test_no_file_is_touched_by_an_edge_nor_before_the_lamps_are_right(tmp_path):
    class Watched(PressNote):
        street: Street | None = None
        lamps: tuple[bool, bool] | None = None

        def _write(self) -> None:
            self.lamps = None if self.street is None else self.street.lamps()
            super()._write()

    note = Watched(tmp_path, boot="boot")
    bench = Bench(note=note)
    note.street = bench.street
    bench.show(Lamp.VERIFYING)
    bench.clock.at = 1010.6
    bench.round()
    assert note.lamps == (False, True)
    before = (tmp_path / NOTE).read_bytes()
    bench.street.press()
    assert bench.shutter.presses
    assert (tmp_path / NOTE).read_bytes() == before
    bench.round()
    assert (tmp_path / NOTE).read_bytes() != before
    assert note.lamps == (True, False)


def test_a_press_that_no_round_saw_is_noted_at_the_end_and_the_end_itself_is_none(tmp_path):
    for number, hand in enumerate((False, True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        bench = Bench(note=PressNote(folder, boot="boot"))
        bench.round()
        if hand:
            bench.street.press()
        bench.sensors._stop.set()
        bench.sensors._run()
        left = noted(folder)
        assert left is not None
        assert left.pressed is hand


@pytest.mark.parametrize("how", ["edges", "exception"])
def test_a_sensor_thread_that_fails_by_itself_notes_no_press(tmp_path, monkeypatch, how):
    bench = Bench(note=PressNote(tmp_path, boot="boot"))
    bench.round()
    if how == "edges":
        bench.alive = False
    else:
        monkeypatch.setattr(bench.sensors._lines, "round", lambda at: 1 / 0)
    bench.sensors._run()
    assert any(isinstance(event, Died) for event in bench.told)
    assert bench.shutter.presses
    left = noted(tmp_path)
    assert left is not None
    assert not left.pressed


def test_the_lamps_are_tested_when_the_box_starts_and_not_when_the_agent_alone_does(tmp_path):
    lit_private = []
    for boot in ("a", "a", "b"):
        bench = Bench(note=PressNote(tmp_path, boot=boot))
        bench.street.press()
        bench.clock.at -= TEST_S  # at the beginning of the test
        seen = []
        for _ in range(20):
            bench.round()
            seen.append(bench.street.lamps())
        lit_private.append(all(lamps == (True, False) for lamps in seen))
    assert lit_private == [False, True, False]
