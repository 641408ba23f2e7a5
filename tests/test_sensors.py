"""The switch, the loops and the lamps on gpiozero's pins: what the secretary's hand does, and every way a pin can fail."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gpiozero import BadPinFactory, GPIOPinInUse
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import SystemClock
from edge_agent.core.messages import Died, Event, Lamp, LoopRead, SwitchRead
from edge_agent.core.settings import Privacy, Run, SwitchKind
from edge_agent.sensors import Sensors, edges_alive, lit
from edge_agent.shutter import Shutter
from edge_agent.simulate import SimulatedClock, Street

CLOCK = SystemClock()
PRIVACY = Privacy(switch=SwitchKind.LATCHING)
RUNS = (
    Run(camera="gate", cable="cat5e-outdoor", length_m=50, loop_pin=5),
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

    def __post_init__(self) -> None:
        self.street = Street(self.privacy, self.runs)
        self.sensors = self.make(self.street.factory, "")

    def make(self, factory: object, why: str) -> Sensors:
        return Sensors(
            self.privacy,
            self.runs,
            factory=factory,
            why_no_factory=why,
            shutter=self.shutter,
            post=self.told.append,
            clock=self.clock,
            edges_alive=lambda: self.alive,
        )

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
    nc, _ = bench.sensors._switch
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
    nc, no = bench.sensors._switch

    class Late:
        def closed(self, at: float) -> bool | None:
            bench.shutter.press()
            closed: bool | None = no.closed(at)
            return closed

        why = ""

    bench.sensors._switch = (nc, Late())
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


@pytest.mark.parametrize(
    ("pressed", "cut", "short", "live"),
    [
        (False, (), None, True),
        (False, ("nc",), None, False),
        (False, ("nc", "no"), None, False),
        (False, ("no",), None, True),  # latent: found at the next press
        (False, (), "nc", True),  # latent
        (False, (), "no", False),
        (True, (), None, False),
        (True, ("nc",), None, False),
        (True, ("no",), None, False),
        (True, ("nc", "no"), None, False),
        (True, (), "nc", False),
        (True, (), "no", False),
    ],
)
def test_every_single_wire_fault_ends_as_the_truth_table_says(bench, pressed, cut, short, live):
    bench.round()
    if pressed:
        bench.street.press()
    if cut:
        bench.street.cut_switch_wire(*cut)
    if short:
        bench.street.short_switch_wire(short)
    bench.round()
    assert bench.is_live() is live
    assert (bench.shutter.presses > 0) is not live


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
        assert bench.street.lamps() == (
            (False, False) if street_live and bench.sensors._lamp is Lamp.LIVE else (True, False)
        )


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
    bench.street.open_loop("gate")
    assert LoopRead(camera="gate", closed=False) in bench.round()
    bench.street.close_loop("gate")
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
    bench.sensors.show(Lamp.LIVE)
    bench.round()
    assert bench.street.lamps()[0] is False
    bench.street.press()
    bench.round()
    assert bench.street.lamps() == (True, False)
    bench.sensors.show(Lamp.VERIFYING)
    bench.round()
    assert bench.street.lamps() == (True, False)


def test_before_the_core_spoke_the_private_lamp_is_lit(bench):
    bench.round()
    assert bench.street.lamps() == (True, False)


def test_a_lamp_that_cannot_be_lit_is_told_and_stops_nothing(bench):
    bench.street.break_pin(22, RuntimeError("GPIO busy"))
    bench.round()
    bench.round()
    assert bench.is_live()
    assert "lamp on GPIO22" in bench.switch().why
    bench.street.mend_pin(22)
    bench.round(later=31)
    bench.round()
    assert bench.switch().why == ""


def test_a_box_without_lamps_needs_none():
    bench = Bench(
        privacy=Privacy(switch=SwitchKind.LATCHING, lamp_private_pin=None, lamp_live_pin=None)
    )
    bench.round()
    assert bench.is_live()
    assert bench.street.lamps() == (False, False)


# ---- the thread ----


class Mailbox:
    """Where the thread posts; the test waits for what it wants."""

    def __init__(self) -> None:
        self._come = threading.Condition()
        self.events: list[Event] = []

    def post(self, event: Event) -> None:
        with self._come:
            self.events.append(event)
            self._come.notify_all()

    def wait_for(self, wanted, timeout: float = 5.0) -> Event:
        with self._come:
            assert self._come.wait_for(
                lambda: any(wanted(event) for event in self.events), timeout
            ), self.events
            return next(event for event in self.events if wanted(event))


def running(street: Street, mailbox: Mailbox, shutter: Shutter, edges_alive=edges_alive) -> Sensors:
    return Sensors(
        PRIVACY,
        RUNS,
        factory=street.factory,
        why_no_factory="",
        shutter=shutter,
        post=mailbox.post,
        clock=CLOCK,
        edges_alive=edges_alive,
    )


def is_live(event: Event) -> bool:
    return isinstance(event, SwitchRead) and event.nc_closed is True and event.no_closed is False


def test_the_thread_tells_a_press_within_a_tenth_of_a_second_and_darkens_the_lamps_at_the_end():
    street, mailbox, shutter = Street(PRIVACY, RUNS), Mailbox(), Shutter()
    with running(street, mailbox, shutter) as sensors:
        mailbox.wait_for(is_live)
        began = CLOCK.now()
        before = sensors.progress()
        street.press()
        assert shutter.presses > 0
        mailbox.wait_for(lambda event: isinstance(event, SwitchRead) and event.no_closed is True)
        assert CLOCK.now() - began < 1.0  # a busy test machine; the bench measures the real figure
        assert sensors.progress() > before
        assert street.lamps()[0]
    assert street.lamps() == (False, False)
    assert not sensors._thread.is_alive()


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
        sensors._thread.join(5)
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
            street.open_loop("gate")
            street.close_loop("gate")
        assert rounds - first < 0.3 / 0.01 * 2
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
def gpio_claim_input(handle, gpio, flags=0): _modes[gpio] = flags
gpio_claim_output = gpio_claim_input
def gpio_claim_alert(handle, gpio, edges, flags=0): _modes[gpio] = flags
def gpio_free(handle, gpio): _modes.pop(gpio, None)
def gpio_get_mode(handle, gpio): return _modes.get(gpio, 0)
def gpio_set_debounce_micros(handle, gpio, micros): return 0
def gpio_read(handle, gpio): return 0
class callback:
    def __init__(self, handle, gpio, edge=0, func=None): pass
    def cancel(self): pass
"""


def driver(
    tmp_path: Path, labels: dict[int, str], *, lgpio: str | None = FAKE_LGPIO, **env: str
) -> list[str]:
    """What `real_factory` says in a process that has these chips; *lgpio* None = the real library."""
    devices = tmp_path / "dev"
    devices.mkdir()
    for chip in labels:
        (devices / f"gpiochip{chip}").touch()
    path = [str(Path(__file__).parents[1])]
    if lgpio is not None:
        (tmp_path / "fake").mkdir()
        (tmp_path / "fake" / "lgpio.py").write_text(lgpio.replace("{{labels}}", repr(labels)))
        path.insert(0, str(tmp_path / "fake"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(devices)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **env},
        capture_output=True,
        text=True,
        timeout=30,
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


def test_the_real_library_without_a_folder_to_write_to(tmp_path):
    (line,) = driver(tmp_path, {0: ""}, lgpio=None, LG_WD="/proc")
    assert "LG_WD" in line or "not installed" in line
