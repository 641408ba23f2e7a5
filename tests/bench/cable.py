"""Does a broken run become the right state, and a whole one none? Every table of the wiring page, weather, and what it costs.

    python -m tests.bench.cable [--json] [--days 18] [--installations 20] [--moments 200] [--cpu-seconds 20]

- rows: each row of the tables of loop states, decisions, switch faults, lamps and board faults, driven through the product's own
  sensors and gpiozero on the simulated electrics, bit by bit over the mock SPI port. What a row needs beyond the sensors is
  asked of the core's `Loop` and `Switch`.
- weather: the electrics' own model of a run, rounded to whole counts, goes straight to the core's `Loop`: bit by bit, millions
  of readings would take hours. One reading each nine seconds, in two kinds of installation.
- relocation, shorts, lengths: the same way, at any hour of a day.
- from cut to held and to the work order: board, whole agent and a journal on disk, cut at many moments of the board's period,
  in simulated time; without any other sign than the pair, so the agent waits for a picture that may only be late.
- processor: real time, in this process, from /proc/self/stat, simulated parts included. Two figures: the port moving whole
  words, as the kernel's driver does (the kernel's own share of a transfer is not in it), and bit by bit in Python.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from edge_agent.clock import SystemClock
from edge_agent.core.agent import About, Agent
from edge_agent.core.cable import (
    Baseline,
    Change,
    Loop,
    LoopState,
    Sample,
    Step,
    commission,
    ohm_of_counts,
)
from edge_agent.core.messages import (
    BaselineRead,
    ClockRead,
    Command,
    Event,
    Keep,
    Lamp,
    LoopMeasured,
    Record,
    Remember,
    SwitchRead,
)
from edge_agent.core.privacy import Switch
from edge_agent.core.settings import (
    Electrics,
    Journal,
    LoopOpenPolicy,
    MeasuredLoop,
    Privacy,
    Run,
    SwitchKind,
)
from edge_agent.sensors import Sensors
from edge_agent.sensors.board import PERIOD_S
from edge_agent.shutter import Shutter
from edge_agent.simulate import Bus, Dice, Fet, InputBoard, Pair, SimulatedClock, Sky, Street
from edge_agent.spool import Spool
from tests.support.build import opened, picture
from tests.support.play import GATE, settings
from tests.support.wired import Wired

DAY_S: Final = 86_400.0


def run_of(camera: str, channel: int, length_m: float, **more) -> Run:
    return Run(
        camera=camera,
        cable="cat5e-outdoor",
        length_m=length_m,
        loop=MeasuredLoop(channel=channel),
        **more,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: what was expected of it and what came."""

    table: str
    name: str
    expected: str
    got: str

    @property
    def right(self) -> bool:
        return self.expected == self.got


# ---- rows: states of a loop, and faults of the board ----


def wired(*, commissioned: bool = True, **more) -> Wired:
    """Two runs, so that one can be told from all."""
    bench = Wired((run_of("gate", 0, 50, **more), run_of("bridge", 1, 50, **more)))
    if commissioned:
        for camera in bench.loops:
            bench.commission(camera)
        bench.read(6)
    return bench


def creep(bench: Wired, *, ohm: float) -> None:
    for step in range(1, 101):
        bench.street.pair("gate").corroded_ohm = ohm * step / 100
        bench.read()


def twelve_volts(bench: Wired) -> None:
    """1.1 A through a fusible resistor of 1 W: after the first moments it is gone."""
    bench.street.pair("gate").foreign_volts = 12.0
    bench.read()
    assert bench.measured("gate").ohm is None, "12 V on the pair passed the self-test"
    bench.street.pair("gate").foreign_volts = None
    bench.street.pair("gate").cut_at_m = 0.0


def stuck(bench: Wired, **parts) -> None:
    for name, value in parts.items():
        setattr(bench.street.board, name, value)


def spoil(bench: Wired, **pair) -> None:
    for name, value in pair.items():
        setattr(bench.street.pair("gate"), name, value)


def move(bench: Wired, *, at_m: float) -> None:
    bench.street.pull_plug("gate")
    bench.read(4)
    bench.street.plug_in("gate", at_m=at_m)


def damp_at_start(bench: Wired) -> None:
    bench.restart("gate")
    spoil(bench, damp_ohm=7_000.0)


def swap(bench: Wired) -> None:
    """Two cameras change places: both pairs are whole, of the same length and plug."""
    for camera in bench.loops:
        bench.street.pull_plug(camera)
    bench.read(4)
    for camera in bench.loops:
        bench.street.plug_in(camera)


Spoil = Callable[[Wired], object]
STATES: Final[tuple[tuple[str, LoopState, Spoil], ...]] = (
    ("SENSOR_FAULT", LoopState.SENSOR_FAULT, lambda b: stuck(b, fet=Fet.DEAD)),
    ("OPEN", LoopState.OPEN, lambda b: b.street.cut_run("gate", at_m=20)),
    ("SHORT", LoopState.SHORT, lambda b: b.street.short_run("gate", at_m=20)),
    ("SHORTER", LoopState.SHORTER, lambda b: move(b, at_m=35)),
    ("NORMAL", LoopState.NORMAL, lambda b: None),
    ("HIGH_R", LoopState.HIGH_R, lambda b: spoil(b, corroded_ohm=6.0)),
    ("TAMPER", LoopState.TAMPER, lambda b: spoil(b, tamper_open=True)),
)
FAULTS: Final[tuple[tuple[str, LoopState, Spoil], ...]] = (
    ("A or B cut", LoopState.OPEN, lambda b: b.street.cut_run("gate", at_m=33)),
    ("plug pulled", LoopState.OPEN, lambda b: b.street.pull_plug("gate")),
    ("fusible resistor blown", LoopState.OPEN, lambda b: b.street.cut_run("gate", at_m=0)),
    ("crushed at the box", LoopState.SHORT, lambda b: b.street.short_run("gate", at_m=0)),
    ("crushed at 20 m", LoopState.SHORT, lambda b: b.street.short_run("gate", at_m=20)),
    ("crushed at 50 m", LoopState.SHORT, lambda b: b.street.short_run("gate", at_m=50)),
    ("A to earth", LoopState.SHORT, lambda b: spoil(b, foreign_volts=0.0)),
    ("A to 12 V", LoopState.OPEN, twelve_volts),
    ("moved to a 5 m cable", LoopState.SHORTER, lambda b: move(b, at_m=5)),
    ("camera into the NVR, plug left behind", LoopState.NORMAL, lambda b: None),
    ("swapped with another port", LoopState.NORMAL, swap),
    ("tamper wire cut", LoopState.TAMPER, lambda b: spoil(b, tamper_open=True)),
    (
        "tamper wire shorted",
        LoopState.NORMAL,
        lambda b: spoil(b, tamper_shorted=True, tamper_open=True),
    ),
    ("excitation transistor dead", LoopState.SENSOR_FAULT, lambda b: stuck(b, fet=Fet.DEAD)),
    ("Rref open on one", LoopState.SHORT, lambda b: spoil(b, rref_open=True)),
    ("excitation transistor stuck on", LoopState.SENSOR_FAULT, lambda b: stuck(b, fet=Fet.STUCK)),
    ("MISO stuck high", LoopState.SENSOR_FAULT, lambda b: stuck(b, bus=Bus.STUCK_HIGH)),
    ("MISO stuck low", LoopState.SENSOR_FAULT, lambda b: stuck(b, bus=Bus.STUCK_LOW)),
    ("SPI off", LoopState.SENSOR_FAULT, lambda b: stuck(b, bus=Bus.GONE)),
    ("ADC dead", LoopState.SENSOR_FAULT, lambda b: stuck(b, dead_chips={0})),
    ("damp, 10 kohm", LoopState.NORMAL, lambda b: spoil(b, damp_ohm=10_000.0)),
    # 7.8 kohm is the edge of the band; a loop that was normal may leave it by 0.5 ohm more.
    ("damp, 5 kohm", LoopState.SHORTER, lambda b: spoil(b, damp_ohm=5_000.0)),
    ("damp, 7 kohm, found at the start", LoopState.SHORTER, damp_at_start),
    ("slow corrosion, +10 ohm", LoopState.HIGH_R, lambda b: creep(b, ohm=10.0)),
)


def state_rows() -> Iterator[Row]:
    table = "4 states"
    bench = wired(commissioned=False)
    bench.read(10)
    yield Row(table, "UNKNOWN, not commissioned", "unknown", bench.view("gate").state.value)
    baseline = bench.commission("gate")
    bench.read(2)
    yield Row(table, "UNKNOWN, two readings", "unknown", bench.view("gate").state.value)
    assert isinstance(baseline, Baseline)
    bench.read()
    yield Row(table, "NORMAL with the third", "normal", bench.view("gate").state.value)
    yield from driven(table, STATES)
    bench = wired()
    spoil(bench, loose_ohm=4.5)
    bench.read(140)
    yield Row(table, "NOISY", "True", str(bench.view("gate").noisy))


def driven(table: str, rows: tuple[tuple[str, LoopState, Spoil], ...]) -> Iterator[Row]:
    for name, state, do in rows:
        bench = wired()
        do(bench)
        bench.read(7)
        yield Row(table, name, state.value, bench.view("gate").state.value)
        if state is not LoopState.SENSOR_FAULT and "swapped" not in name:
            other = bench.view("bridge").state.value
            yield Row(table, f"{name}: the other run", "normal", other)


def fault_rows() -> Iterator[Row]:
    table = "11 faults"
    yield from driven(table, FAULTS)
    for at_m in (0, 20, 50):
        bench = wired()
        bench.street.short_run("gate", at_m=at_m)
        bench.read(4)
        short_at_m = bench.view("gate").short_at_m
        near = short_at_m is not None and abs(short_at_m - at_m) <= 2
        yield Row(
            table,
            f"crushed at {at_m} m: distance",
            "within 2 m",
            "within 2 m" if near else f"{short_at_m}",
        )
    bench = wired()
    creep(bench, ohm=10.0)
    change = bench.view("gate").change
    yield Row(
        table,
        "slow corrosion is told from another cable",
        "drift",
        change.value if change else "none",
    )
    bench = wired()
    move(bench, at_m=90)
    bench.read(4)
    change = bench.view("gate").change
    yield Row(
        table, "a longer cable is told from corrosion", "step", change.value if change else "none"
    )


# ---- rows: what a state may do ----


def decision_rows() -> Iterator[Row]:
    """As far as the loop has a say: whether it holds the video, breaks continuity, or vouches for it."""

    def row(
        name: str, bench: Wired, expected: tuple[bool, ...], *, unbroken: bool, epoch: int
    ) -> Row:
        loop = bench.loops["gate"]
        got = (loop.forbids(video_unbroken=unbroken), loop.epoch != epoch, loop.strict)
        return Row("4 decisions", name, words(expected), words(got))

    def words(said: tuple[bool, ...]) -> str:
        names = ("held", "continuity broken", "vouches for nothing")
        return ", ".join(name for name, yes in zip(names, said, strict=True) if yes) or "publish"

    bench = wired()
    epoch = bench.loops["gate"].epoch
    bench.read(20)
    yield row("NORMAL, epoch unchanged", bench, (False, False, False), unbroken=True, epoch=epoch)
    bench.street.cut_run("gate")
    bench.read(1)
    bench.street.mend_run("gate")
    bench.read(8)
    yield row("NORMAL, epoch changed", bench, (False, True, False), unbroken=True, epoch=epoch)
    for name, state, do in STATES:
        if state in (LoopState.NORMAL, LoopState.SENSOR_FAULT):
            continue
        for policy in LoopOpenPolicy:
            bench = wired(loop_open_policy=policy)
            epoch = bench.loops["gate"].epoch
            do(bench)
            bench.read(4)
            said = (True, True, True)
            title = f"{name}, {policy.value}"
            yield row(f"{title}, video had a gap", bench, said, unbroken=False, epoch=epoch)
            forgiven = policy is LoopOpenPolicy.SCENE_STRICT and state in (
                LoopState.OPEN,
                LoopState.SHORT,
                LoopState.HIGH_R,
            )
            said = (not forgiven, True, True)
            yield row(f"{title}, never interrupted", bench, said, unbroken=True, epoch=epoch)
    bench = wired()
    epoch = bench.loops["gate"].epoch
    stuck(bench, bus=Bus.GONE)
    bench.read(4)
    yield row("SENSOR_FAULT, gap", bench, (False, True, True), unbroken=False, epoch=epoch)
    bench = wired(commissioned=False)
    bench.read(4)
    yield row("UNKNOWN, gap", bench, (False, False, True), unbroken=False, epoch=0)


# ---- rows: the switch and the lamps ----

# (fault, with the switch live, with it pressed): decoded state and finding, as the table has them.
SWITCH: Final = (
    ("none", "LIVE", "PRIVATE"),
    ("NC wire cut", "PRIVATE, both open", "PRIVATE"),
    ("plug pulled, both cut", "PRIVATE, both open", "PRIVATE, both open"),
    ("NC pair shorted", "LIVE", "PRIVATE, both closed"),
    ("NO wire cut", "LIVE", "PRIVATE, both open"),
    ("NO pair shorted", "PRIVATE, both closed", "PRIVATE"),
    ("all crushed together", "PRIVATE, both closed", "PRIVATE, both closed"),
    ("NC and NO swapped", "PRIVATE", "LIVE"),
)


@dataclass
class Switched:
    """The sensors without their thread, and the core's switch behind them."""

    clock: SimulatedClock = field(default_factory=SimulatedClock)

    def __post_init__(self) -> None:
        privacy = Privacy(switch=SwitchKind.LATCHING)
        self.street = Street(privacy)
        self.switch = Switch(privacy, at=self.clock.at)
        self.sensors = Sensors(
            privacy,
            (),
            Electrics(),
            factory=self.street.factory,
            why_no_factory="",
            shutter=Shutter(),
            post=self._post,
            clock=self.clock,
            edges_alive=lambda: True,
        )

    def _post(self, event: Event) -> None:
        if isinstance(event, SwitchRead):
            self.switch.read(event, at=self.clock.at)

    def rounds(self, seconds: float, *, step_s: float = 0.1) -> None:
        for _ in range(round(seconds / step_s)):
            self.clock.at += step_s
            self.sensors._round()

    def says(self) -> str:
        view = self.switch.view(at=self.clock.at)
        fault = f", {view.why}" if view.fault is not None else ""
        return ("PRIVATE" if view.private else "LIVE") + fault


def switch_rows() -> Iterator[Row]:
    for fault, live, pressed in SWITCH:
        for press, expected in ((False, live), (True, pressed)):
            bench = Switched()
            bench.rounds(5)
            if press:
                bench.street.press()
            spoil_switch(bench.street, fault)
            bench.rounds(4)
            position = "private" if press else "live"
            yield Row("7 switch", f"{fault}, S1 = {position}", expected, bench.says())


def spoil_switch(street: Street, fault: str) -> None:
    match fault:
        case "NC wire cut":
            street.cut_switch_wire("nc")
        case "plug pulled, both cut":
            street.cut_switch_wire()
        case "NC pair shorted":
            street.short_switch_wire("nc")
        case "NO wire cut":
            street.cut_switch_wire("no")
        case "NO pair shorted":
            street.short_switch_wire("no")
        case "all crushed together":
            street.short_switch_wire("nc")
            street.short_switch_wire("no")
        case "NC and NO swapped":
            street.swap_switch_wires()
        case _:
            pass


# (lamp, share of time that blue is lit, share that white is, flashes of white in six seconds)
LAMPS: Final = (
    (Lamp.PRIVATE, 1.0, 0.0, 0),
    (Lamp.LIVE, 0.0, 0.1 / 3, 2),
    (Lamp.VERIFYING, 0.5, 0.5, 6),
    (Lamp.HELD, 0.0, 0.1, 6),
    (Lamp.WIRING_FAULT, 1.0, 0.1, 6),
)


def lamp_rows() -> Iterator[Row]:
    for lamp, blue, white, flashes in LAMPS:
        bench = Switched()
        # Where white is dark in all patterns, and off their edges, which a step would else hit by chance.
        bench.clock.at = 1200.4505
        bench.sensors.show(lamp, press=0)
        seen = []
        for _ in range(240):
            bench.rounds(0.025, step_s=0.025)
            seen.append(bench.street.lamps())
        rises = sum(after[1] and not before[1] for before, after in pairwise(seen))
        got = (statistics.fmean(b for b, _ in seen), statistics.fmean(w for _, w in seen))
        near = abs(got[0] - blue) < 0.02 and abs(got[1] - white) < 0.02 and rises == flashes
        name = "as the card says"
        yield Row("7 lamps", lamp.value, name, name if near else f"{got}, {rises} flashes")


# ---- weather ----


@dataclass
class Installation:
    """One run with parts of its own, under a sky of its own, commissioned at some hour of its first day."""

    dice: Dice
    length_m: float
    bits: int

    def __post_init__(self) -> None:
        loop = MeasuredLoop(channel=0)
        self.run = Run(camera="gate", cable="cat5e-outdoor", length_m=self.length_m, loop=loop)
        self.electrics = InputBoard(bits=self.bits, dice=self.dice)
        self._eol_ohm = 100 * (1 + 0.01 * self._even())
        self._rref_ohm = 150 * (1 + 0.001 * self._even())
        self.pair = Pair(
            length_m=self.length_m,
            eol_ohm=self._eol_ohm,
            rref_ohm=self._rref_ohm,
            ohm_per_m=0.1876 * (1 + 0.03 * self._even()),
        )
        self.electrics.pairs[0] = self.pair
        self._at = 0.0
        self.loop = Loop(self.run, at=0.0)

    def _even(self) -> float:
        return 2 * self.dice() - 1

    def weather(self, celsius: float) -> None:
        """Copper as warm as that; the plug's resistor with it, the board's in its box half as much. 25 ppm each."""
        self.pair.celsius = celsius
        self.pair.eol_ohm = self._eol_ohm * (1 + 25e-6 * (celsius - 25))
        self.pair.rref_ohm = self._rref_ohm * (1 + 25e-6 * (celsius - 25) / 2)

    def measure(self) -> LoopMeasured:
        """One conversion stands for sixteen: noisier, and rounded to a whole count."""
        counts = self.electrics.convert(0, 0, excited=True)
        ohm = ohm_of_counts(counts, rref_ohm=150, bits=self.bits)
        return LoopMeasured(camera="gate", ohm=ohm, spread_ohm=0.1, counts=counts)

    def commission(self) -> None:
        samples = {}
        for step in Step:
            self.pair.short_at_m = 0.0 if step is Step.ZERO else None
            self.pair.plug_at_m = self.length_m if step is Step.BASE else 0.0
            samples[step] = Sample(ohm=self.measure().ohm, spread_ohm=0.1)
        typed_m = self.length_m * (1 + 0.03 * self._even())
        baseline = commission(
            self.run,
            samples,
            length_m=typed_m,
            bits=self.bits,
            wall_s=0.0,
            trusted=False,
            owner="bench",
        )
        assert isinstance(baseline, Baseline), baseline
        self.loop.commissioned(BaselineRead(camera="gate", baseline=baseline), at=self._at)

    def read(self, count: int = 1, *, later: float = PERIOD_S, wall_s: float | None = None) -> None:
        for _ in range(count):
            self._at += later
            self.loop.read(self.measure(), at=self._at, wall_s=wall_s)

    def view(self):
        return self.loop.view(at=self._at)

    def well(self) -> bool:
        return self.loop.state is LoopState.NORMAL and self.loop.doubt_since is None


KINDS: Final = ((12, 50.0), (10, 20.0))


def weather(days: int, installations: int, every_s: float) -> dict[str, list[int]]:
    """[false, readings] by kind of installation; false: any reading after which the loop was not plainly normal."""
    counted = {f"{bits} bit, {length:g} m": [0, 0] for bits, length in KINDS}
    for number in range(installations):
        # Every kind of this number lies under the same sky.
        dice = Dice(1000 + number)
        begin_s = 6 * 3600 + dice() * 11 * 3600
        sky = Sky(dice, at_s=begin_s - 6 * 3600)
        for _ in range(360):
            sky.later(60)
        here = {
            name: Installation(Dice(number * 10 + place), length, bits)
            for place, (name, (bits, length)) in enumerate(zip(counted, KINDS, strict=True))
        }
        for one in here.values():
            one.weather(sky.celsius)
            one.commission()
            one.read(6)
        for step in range(round(days * DAY_S / every_s)):
            celsius = sky.later(every_s)
            wall_s = begin_s + step * every_s - 7 * 3600  # the core knows Java's offset
            for name, one in here.items():
                one.weather(celsius)
                one.read(later=every_s, wall_s=wall_s)
                counted[name][0] += not one.well()
                counted[name][1] += 1
        for name, one in here.items():
            view = one.view()
            if view.finding is not None:
                print(f"  false finding: {name}, installation {number}: {view.finding.value}")
                counted[name][0] += 1
    return counted


def at_some_hour(seed: int, length_m: float, bits: int = 12) -> Installation:
    """Commissioned at one temperature, now at another, both as they occur by day."""
    dice = Dice(seed)
    one = Installation(dice, length_m, bits)
    one.weather(26 + 22 * dice())
    one.commission()
    one.read(6)
    one.weather(23 + 37 * dice())
    one.read(6)
    return one


def relocated(installations: int) -> tuple[list[int], list[float]]:
    """[flagged, total] for a 50 m camera that comes back on 0 to 35 m, and how far off the estimated lengths are."""
    flagged, total, errors = 0, 0, []
    for number in range(installations):
        for to_m in range(36):
            one = at_some_hour(5000 + 100 * number + to_m, 50.0)
            one.pair.plug_at_m = None
            one.read(5)
            one.pair.plug_at_m = float(to_m)
            one.read(6)
            view = one.view()
            total += 1
            held = one.loop.forbids(video_unbroken=True) and one.loop.forbids(video_unbroken=False)
            if view.state is LoopState.SHORTER and view.change is Change.STEP and held:
                flagged += 1
            if view.length_m is not None:
                errors.append(abs(view.length_m - to_m))
    return [flagged, total], errors


def shorts(installations: int) -> list[float]:
    """How far off the told distances are, for shorts at 0 to 50 m of a 50 m run."""
    errors = []
    for number in range(installations):
        for at_m in range(0, 51, 2):
            one = at_some_hour(9000 + 100 * number + at_m, 50.0)
            one.pair.short_at_m = float(at_m)
            one.read(4)
            told_m = one.view().short_at_m
            errors.append(math.inf if told_m is None else abs(told_m - at_m))
    return errors


# ---- from cut to held, and to the work order ----


@dataclass
class Cut:
    """A whole box in simulated time: board, agent and a journal on this disk; its camera shows its street until the cut."""

    folder: Path

    def __post_init__(self) -> None:
        self.run = run_of("gate", 0, 50, place="pole 3")
        self.bench = Wired((self.run,), bit_by_bit=False)
        baseline = self.bench.commission("gate")
        self.clock = self.bench.clock
        self.told: list[Event] = []
        chosen = settings(switch=SwitchKind.NONE, cameras=(GATE,))
        journal = Journal(folder=str(self.folder), disk_floor_bytes=1_000_000)
        self.spool = Spool(journal, clock=self.clock, post=self.told.append, presses=lambda: 0)
        self.spool.__enter__()
        self.agent = Agent(
            replace(chosen, runs=(self.run,)),
            About(version="bench", boot=self.clock.boot),
            random=lambda: 0.5,
            at=self.clock.at,
            clock=ClockRead(wall_s=self.clock.wall(), trusted=False, source="bench"),
        )
        self.kept: list[Record] = []
        self.done(self.agent.start(at=self.clock.at))
        self.post(BaselineRead(camera="gate", baseline=baseline))
        self._shown_at = -math.inf
        self._read = len(self.bench.told)

    def close(self) -> None:
        self.spool.__exit__(None, None, None)

    def post(self, event: Event) -> None:
        self.done(self.agent.handle(event, at=self.clock.at))

    def done(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Keep():
                    self.spool.keep(command.record)
                    self.kept.append(command.record)
                case Remember():
                    self.spool.remember(command.memory, command.value)
                case _:
                    pass

    def turn(self, *, video: bool) -> None:
        """One reading of the board and what the rest of a box tells meanwhile."""
        self.bench.read()
        for _, event in self.bench.told[self._read :]:
            self.post(event)
        self._read = len(self.bench.told)
        self.post(SwitchRead(nc_closed=True, no_closed=False, press=0))
        if video and self.clock.at >= self._shown_at + 2:
            if self._shown_at < 0:
                self.post(opened())
            self._shown_at = self.clock.at
            self.post(picture(taken_at=self.clock.at))

    @property
    def gate(self) -> str:
        cameras = self.agent.status(at=self.clock.at)["cameras"]
        assert isinstance(cameras, list)
        (camera,) = cameras
        assert isinstance(camera, dict)
        return str(camera["gate"])

    def ordered(self) -> bool:
        """Whether the work order was handed to the journal."""
        return any(record.kind == "work_order.opened" for record in self.kept)

    def journalled(self) -> int:
        """Work orders that can be read back from the journal's file once it is closed."""
        with contextlib.closing(sqlite3.connect(self.folder / "journal.db")) as sql:
            query = "SELECT COUNT(*) FROM record WHERE kind = 'work_order.opened'"
            (count,) = sql.execute(query).fetchone()
        return int(count)


def cut_to_held(moments: int) -> tuple[float, float]:
    """The longest from cut to the gate held, and to the work order in the journal, the cut falling at any moment of the
    board's period. Simulated time, as the agent decides it: what the disk takes to sync stands in the journal's own bench."""
    held, ordered = [], []
    for moment in range(moments):
        with tempfile.TemporaryDirectory() as where:
            box = Cut(Path(where))
            try:
                while box.gate != "open":
                    box.turn(video=True)
                cut_at = box.clock.at + moment / moments * PERIOD_S
                box.bench.plan(cut_at, partial(box.bench.street.cut_run, "gate", at_m=20))
                while box.gate == "open":
                    box.turn(video=False)
                held.append(box.clock.at - cut_at)
                while not box.ordered():
                    box.turn(video=False)
                ordered.append(box.clock.at - cut_at)
            finally:
                box.close()
            assert box.journalled() == 1, "the work order is not in the journal"
    return max(held), max(ordered)


# ---- what it costs ----


def cpu_ticks() -> int:
    words = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_percent: float  # of one core
    gap_ms: float  # the longest between two looks at the switch


def cost(seconds: float, *, loops: int, bit_by_bit: bool) -> Cost:
    """Sensors with switch, eight lines and so many measured loops with a current channel each, in real time."""
    runs = tuple(
        run_of(f"c{n}", n, 50, current_channel=n, video_pin=(20, 21, 26)[n] if n < 3 else None)
        for n in range(loops)
    )
    electrics = Electrics(power_pin=12, mains_pin=6, shutdown_pin=5, service_pin=18)
    privacy = Privacy(switch=SwitchKind.LATCHING)
    street = Street(privacy, runs, electrics, bit_by_bit=bit_by_bit)
    clock = SystemClock()
    looks: list[float] = []

    def alive() -> bool:
        looks.append(clock.now())
        return True

    with Sensors(
        privacy,
        runs,
        electrics,
        factory=street.factory,
        why_no_factory="",
        shutter=Shutter(),
        post=lambda event: None,
        clock=clock,
        edges_alive=alive,
    ):
        threading.Event().wait(1.0)  # opening the pins is no running cost
        looks.clear()
        began, ticks = clock.now(), cpu_ticks()
        threading.Event().wait(seconds)
        used_s = (cpu_ticks() - ticks) / os.sysconf("SC_CLK_TCK")
        took_s = clock.now() - began
    return Cost(
        100 * used_s / took_s, 1000 * max(after - before for before, after in pairwise(looks))
    )


# ---- all of it ----


def main() -> int:
    """Exit code 0 once everything was measured, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cable", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--days", type=int, default=18, help="default: %(default)s")
    parser.add_argument("--installations", type=int, default=20, help="default: %(default)s")
    parser.add_argument(
        "--every-seconds",
        type=float,
        default=9.0,
        help="of the weather, one reading; above 10 the core would call the board silent; default: %(default)s",
    )
    parser.add_argument(
        "--moments",
        type=int,
        default=200,
        help="of the board's period at which the run is cut; default: %(default)s",
    )
    parser.add_argument("--cpu-seconds", type=float, default=20.0, help="default: %(default)s")
    parser.add_argument(
        "--json", action="store_true", help="kept for scripts; the last line is JSON in any case"
    )
    options = parser.parse_args()
    costs = {
        name: cost(options.cpu_seconds, loops=loops, bit_by_bit=bits)
        for name, loops, bits in (
            ("polling only", 0, False),
            ("8 loops, whole words", 8, False),
            ("8 loops, bit by bit in Python", 8, True),
        )
    }
    for name, one in costs.items():
        print(
            f"{name:32s} {one.cpu_percent:5.2f} % of a core, switch looked at each {one.gap_ms:.0f} ms or sooner"
        )
    rows = [
        row
        for table in (state_rows, decision_rows, fault_rows, switch_rows, lamp_rows)
        for row in table()
    ]
    for row in rows:
        if not row.right:
            print(f"WRONG {row.table}: {row.name}: expected {row.expected}, got {row.got}")
    print(f"rows: {sum(row.right for row in rows)} of {len(rows)}")
    print(
        "not driven: block 3 and K1 of the switch table (no input is configured for them), the buzzer"
    )
    held_s, order_s = cut_to_held(options.moments)
    moved, length_errors = relocated(options.installations)
    short_errors = shorts(options.installations)
    print(f"relocated to 0-35 m: {moved[0]} of {moved[1]} flagged")
    print(
        "weather: the run's model feeds the core's Loop directly, not through the port", flush=True
    )
    by_kind = weather(options.days, options.installations, options.every_seconds)
    for name, (false, readings) in by_kind.items():
        print(f"  {name}: {false} false of {readings}")
    print(
        json.dumps(
            {
                "rows": [sum(row.right for row in rows), len(rows)],
                "false_states": [
                    sum(false for false, _ in by_kind.values()),
                    sum(readings for _, readings in by_kind.values()),
                ],
                "relocated": moved,
                "short_error_m": _errors(short_errors),
                "length_error_m": _errors(length_errors),
                "cut_to_held_s": round(held_s, 3),
                "cut_to_order_s": round(order_s, 3),
                "cpu_percent": round(costs["8 loops, whole words"].cpu_percent, 2),
                "cpu_percent_bit_by_bit": round(
                    costs["8 loops, bit by bit in Python"].cpu_percent, 2
                ),
                "cpu_percent_polling": round(costs["polling only"].cpu_percent, 2),
                "switch_gap_ms": {name: round(one.gap_ms, 1) for name, one in costs.items()},
                "load_average": [round(load, 2) for load in os.getloadavg()],
            }
        )
    )
    return 0


def _errors(errors: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(errors), 2), "max": round(max(errors), 2)}


if __name__ == "__main__":
    sys.exit(main())
