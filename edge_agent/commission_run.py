"""`edge-agent commission CAMERA --run`: three readings of a run's supervised loop, taken at the box with a technician.

Promises: what each reading should be is shown before it is taken; readings go through the same board as in service; nonsense
is refused with the reason, all reasons at once; nothing is stored before the technician typed the camera's name, and then whole
or not at all. A plug whose housing switch cannot be seen is refused while it is still in the hand.
The agent must be stopped meanwhile: the input board's excitation has one master. Stopped, no picture leaves the box.
Not its job: what is nonsense (core/cable.py), the file (baselines.py), the camera's view (commission.py).
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from edge_agent import baselines
from edge_agent.core.cable import (
    LENGTH_MAX_M,
    OPEN_OHM,
    TAMPER_WITHIN_OHM,
    Baseline,
    Expected,
    Sample,
    Step,
    commission,
    expected,
    metres_to_bring,
)
from edge_agent.core.messages import Event, LoopMeasured
from edge_agent.core.settings import CABLES, Electrics, MeasuredLoop, Run, Settings, SparePair
from edge_agent.network import NotTested, PairTested, cable_test
from edge_agent.sensors import Board, real_factory
from edge_agent.sensors.board import PERIOD_S

if TYPE_CHECKING:
    from types import TracebackType

    from gpiozero import Factory

    from edge_agent.clock import Clock

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_NOT_DONE: Final = 2

# Over two seconds: gusts, a hand that still lets go of the plug, hum that beats with the mains.
READINGS: Final = 5
TRIES: Final = (
    3  # of an answer that makes no sense; then the technician looks something up and starts anew
)
STOP_AGENT: Final = "sudo systemctl stop edge-agent"
START_AGENT: Final = "sudo systemctl start edge-agent"

_LENGTH: Final = re.compile(r"(\d{1,4})(?:[.,](\d{1,2}))?\s*m?", re.IGNORECASE)
_OWNER: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,60}")
# Less than half a metre of the thickest pair: no number to divide by.
COPPER_MIN_OHM: Final = 0.03
_YES: Final = frozenset({"y", "yes", "ya", "ok"})
_AGAIN: Final = frozenset({"r", "again", "ulang"})

Say: TypeAlias = Callable[[str], None]
Ask: TypeAlias = Callable[[str], str]


class Meter(Protocol):
    """Where readings of one loop come from; a context manager that holds the board."""

    def __enter__(self) -> Meter: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def read(self) -> LoopMeasured:
        """One reading; takes half a second."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where the dialogue happens: what is said, how a person is asked ("" = nothing was typed, or nobody is there)."""

    say: Say
    ask: Ask


class BoardMeter:
    """The product's own input board, with this one loop on it."""

    def __init__(
        self,
        run: Run,
        electrics: Electrics,
        clock: Clock,
        *,
        pins: Callable[[], tuple[Factory | None, str]] = real_factory,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._camera = run.camera
        factory, why = pins()
        self._told: list[Event] = []
        self._wait = pause or threading.Event().wait
        self._board = Board(
            (run,),
            electrics,
            factory=factory,
            why_no_factory=why,
            post=self._told.append,
            clock=clock,
            pause=pause,
        )

    def __enter__(self) -> BoardMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def read(self) -> LoopMeasured:
        """See `Meter`."""
        self._told.clear()
        self._board.read()
        self._wait(PERIOD_S)
        return next(event for event in self._told if isinstance(event, LoopMeasured))


class _End(Exception):  # noqa: N818 - never leaves this module
    """The dialogue is over: what to say, and the exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def main(
    camera_id: str,
    settings: Settings,
    desk: Desk,
    *,
    clock: Clock,
    meter: Callable[[Run, Electrics], Meter] | None = None,
) -> int:
    """Commission the run of *camera_id*: 0 stored; 1 refused, or not approved; 2 not done (no loop, no board, nobody there, disk)."""
    try:
        run, loop = _run_of(camera_id, settings)
        held = (
            meter(run, settings.electrics) if meter else BoardMeter(run, settings.electrics, clock)
        )
        with held as reading:
            baseline = _Dialogue(
                run, loop, electrics=settings.electrics, desk=desk, meter=reading, clock=clock
            ).take()
        _approve(baseline, settings, desk)
        path = baselines.save(settings.baselines_folder, baseline)
    except _End as end:
        desk.say(end.text)
        return end.code
    except (OSError, ValueError) as error:
        desk.say(f"not done: {error}")
        return EXIT_NOT_DONE
    desk.say(f"saved {path}")
    desk.say(f"Now start the agent again: {START_AGENT}")
    desk.say(f"If the camera was touched, its view too: edge-agent commission {camera_id}")
    return EXIT_DONE


def chip_test(
    camera_id: str,
    settings: Settings,
    desk: Desk,
    *,
    test: Callable[[str, Settings], tuple[PairTested, ...] | NotTested] = cable_test,
) -> int:
    """Have the network chip test the run of *camera_id*: 0 all pairs whole; 1 a pair is not, or not approved; 2 not done."""
    try:
        run = _any_run_of(camera_id, settings)
    except _End as end:
        desk.say(end.text)
        return end.code
    if run.interface is None:
        desk.say(
            f"not done: {camera_id}: box.toml names no interface of this box that leads to this camera alone"
        )
        return EXIT_NOT_DONE
    question = f"The link of {run.interface} goes down for some seconds.\nType {camera_id} to test its cable: "
    if desk.ask(question).strip() != camera_id:
        desk.say("not approved: nothing was done")
        return EXIT_REFUSED
    tested = test(run.interface, settings)
    if isinstance(tested, NotTested):
        desk.say(f"not done: {tested.why}")
        return EXIT_NOT_DONE
    for pair in tested:
        where = "" if pair.fault_m is None else f", {pair.fault_m:g} m from the box"
        desk.say(f"pair {pair.pair}: {pair.result}{where}")
    return EXIT_DONE if all(pair.result == "OK" for pair in tested) else EXIT_REFUSED


def _any_run_of(camera_id: str, settings: Settings) -> Run:
    run = next((run for run in settings.runs if run.camera == camera_id), None)
    if run is None:
        known = ", ".join(run.camera for run in settings.runs) or "none"
        text = f"not done: box.toml has no [[run]] for {camera_id!r}; there are: {known}"
        raise _End(text, EXIT_NOT_DONE)
    return run


def _run_of(camera_id: str, settings: Settings) -> tuple[Run, MeasuredLoop]:
    run = _any_run_of(camera_id, settings)
    if isinstance(run.loop, MeasuredLoop):
        return run, run.loop
    if run.loop is not None:
        why = "its loop is a contact that is open or closed: there is nothing to measure, and nothing to commission"
    elif CABLES[run.cable] is SparePair.POE:
        why = f"a {run.cable} run must never get a loop: a PoE source may put 48 V on any pair"
    else:
        why = "no loop is fitted; if there is one, write loop_channel into box.toml"
    text = f"not done: {camera_id}: {why}"
    raise _End(text, EXIT_NOT_DONE)


class _Dialogue:
    """One technician at one box."""

    def __init__(
        self,
        run: Run,
        loop: MeasuredLoop,
        *,
        electrics: Electrics,
        desk: Desk,
        meter: Meter,
        clock: Clock,
    ) -> None:
        self._run = run
        self._loop = loop
        self._bits = electrics.adc_bits
        self._desk = desk
        self._meter = meter
        self._clock = clock
        self._owner = ""
        self._length_m = run.length_m
        self._samples: dict[Step, Sample] = {}

    def take(self) -> Baseline:
        """All questions and readings; a sound baseline, or `_End`."""
        run = self._run
        self._first_look()
        place = f", {run.place}" if run.place else ""
        self._desk.say(
            f"{run.camera}{place}: {run.length_m:g} m of {run.cable}, channel {self._loop.channel}"
        )
        self._ask_owner()
        self._ask_cable()
        self._ask_length()
        zero, plug, base = expected(
            self._loop, cable=run.cable, length_m=self._length_m, bits=self._bits
        )
        self._step(1, zero)
        self._step(2, plug)
        if self._loop.tamper_ohm is not None:
            self._housing(self._loop.tamper_ohm)
        return self._step(3, base)

    def _judge(self) -> Baseline | Sequence[str]:
        """What comes of the readings so far, with ideal ones in place of those not yet taken; or what is wrong with them."""
        zero, plug, base = expected(
            self._loop, cable=self._run.cable, length_m=self._length_m, bits=self._bits
        )
        zero_ohm = self._ohm(Step.ZERO, fmean(zero.ohm))
        plug_ohm = self._ohm(Step.PLUG, zero_ohm + self._loop.eol_ohm)
        base_ohm = plug_ohm + fmean(base.ohm) - fmean(plug.ohm)
        ideal = {
            step: Sample(ohm=ohm, spread_ohm=0.0)
            for step, ohm in zip(Step, (zero_ohm, plug_ohm, base_ohm), strict=True)
        }
        found = commission(
            self._run,
            ideal | self._samples,
            length_m=self._length_m,
            bits=self._bits,
            wall_s=self._clock.wall(),
            trusted=self._clock.trusted(),
            owner=self._owner,
        )
        if isinstance(found, Baseline) and found.copper_ohm < COPPER_MIN_OHM:
            return (
                (
                    "The plug at the camera reads no more than at the terminals: nothing to measure a length by."
                    " Is it on the cable's far end?"
                ),
            )
        return found

    def _ohm(self, step: Step, ideal: float) -> float:
        sample = self._samples.get(step)
        return ideal if sample is None or sample.ohm is None else sample.ohm

    # -- questions --

    def _first_look(self) -> None:
        """Whether the board can be read at all, before anybody climbs a pole."""
        why = self._meter.read().why
        if not why:
            return
        hint = ""
        if "another program holds" in why:
            hint = (
                f"\nThe agent holds the input board. Stop it for these minutes: {STOP_AGENT}"
                f"\nWhile it is stopped no picture leaves the box. Afterwards: {START_AGENT}"
            )
        elif "excitation off" in why:
            hint = "\nOr there is a foreign voltage on this pair: take the cable off its terminals, and try again."
        text = f"not done: the input board cannot be read: {why}{hint}"
        raise _End(text, EXIT_NOT_DONE)

    def _answer(self, question: str) -> str:
        """What was typed. Enter alone is asked again; a technician who went away, or a script, ends it."""
        for _ in range(TRIES):
            typed = self._desk.ask(question).strip()
            if typed.lower() in {"q", "quit", "batal"}:
                raise _End("ended: nothing was changed", EXIT_REFUSED)
            if typed:
                return typed
        raise _End("not done: nothing was typed; this needs a person at the box", EXIT_NOT_DONE)

    def _ask_owner(self) -> None:
        for _ in range(TRIES):
            self._owner = self._answer("Who measures this (name or initials; q ends at any time)? ")
            if _OWNER.fullmatch(self._owner):
                return
            self._desk.say("1 to 60 characters that can be printed")
        raise _End("not done: no name", EXIT_NOT_DONE)

    def _ask_cable(self) -> None:
        cable = self._run.cable
        typed = self._answer(
            f"What does the sheath say? Type y if it is {cable}, else what it is: "
        )
        if typed.lower() in _YES or typed.lower() == cable:
            return
        known = ", ".join(sorted(CABLES))
        text = (
            f"refused: box.toml says {cable}. Correct it first ({known}):"
            " the next technician is told to bring what stands there."
        )
        raise _End(text, EXIT_REFUSED)

    def _ask_length(self) -> None:
        for _ in range(TRIES):
            typed = self._answer("Length of the cable as measured, in metres: ")
            number = _LENGTH.fullmatch(typed)
            if number is None:
                self._desk.say(
                    f"{typed[:20]!r} is no length: type metres, like 50 or 47.5;"
                    f" above 0 and at most {LENGTH_MAX_M:g}"
                )
                continue
            self._length_m = float(f"{number[1]}.{number[2] or 0}")
            judged = self._judge()
            if isinstance(judged, Baseline):
                return
            self._desk.say(judged[0])  # what else is wrong follows from it
        raise _End("not done: no length that fits; measure it, and start again", EXIT_NOT_DONE)

    # -- readings --

    def _step(self, number: int, step: Expected) -> Baseline:
        """Read until it makes sense; the technician may end it instead."""
        low, high = step.counts
        self._desk.say(f"\nStep {number} of 3. {_TODO[step.step]}")
        self._desk.say(
            f"  expected: {low} to {high} counts ({step.ohm[0]:.0f} to {step.ohm[1]:.0f} ohm)"
        )
        self._confirm("  Type y when it is done: ")
        while True:
            self._samples[step.step] = self._read()
            judged = self._judge()
            if isinstance(judged, Baseline):
                return judged
            for why in judged:
                self._desk.say(f"  refused: {why}")
            self._desk.say(f"  {_LOOK_AT[step.step]}")
            self._again()

    def _again(self) -> None:
        if self._answer("  Type r to read again, q to end: ").lower() not in _AGAIN:
            raise _End("ended: nothing was changed", EXIT_REFUSED)

    def _housing(self, tamper_ohm: float) -> None:
        """The switch in the plug's housing, while the plug is in the hand: shorted, it would never tell."""
        closed = self._ohm(Step.PLUG, 0.0)
        self._desk.say(
            f"\nThe plug's housing: open it; it must read about {tamper_ohm:g} ohm more."
        )
        self._confirm("  Type y when it is open: ")
        while True:
            opened = self._read().ohm
            if opened is not None and abs(opened - closed - tamper_ohm) <= TAMPER_WITHIN_OHM:
                break
            self._desk.say(
                "  refused: its switch is not seen: its wires are crushed or cut, or another resistor is fitted."
                " Take another plug; one without a switch needs tamper_ohm = false in box.toml."
            )
            self._again()
        self._confirm("  Close it, then type y: ")

    def _confirm(self, question: str) -> None:
        for _ in range(TRIES):
            if self._answer(question).lower() in _YES:
                return
        raise _End("not done: nobody said y", EXIT_NOT_DONE)

    def _read(self) -> Sample:
        """The mean of some readings, and how much they stray, within and among them."""
        readings = [self._meter.read() for _ in range(READINGS)]
        why = next((reading.why for reading in readings if reading.ohm is None), "")
        ohms = [reading.ohm for reading in readings if reading.ohm is not None]
        counts = fmean(reading.counts for reading in readings)
        if why:
            self._desk.say(f"  read: nothing: {why}")
            return Sample(ohm=None, spread_ohm=0.0)
        if any(ohm > OPEN_OHM for ohm in ohms):
            self._desk.say(f"  read: {counts:.0f} counts, open")
            return Sample(ohm=math.inf, spread_ohm=0.0)
        within = fmean(reading.spread_ohm**2 for reading in readings)
        sample = Sample(ohm=fmean(ohms), spread_ohm=math.sqrt(within + pvariance(ohms)))
        self._desk.say(
            f"  read: {counts:.0f} counts, {sample.ohm:.1f} ohm, stray {sample.spread_ohm:.2f} ohm"
        )
        return sample


_TODO: Final[Mapping[Step, str]] = {
    Step.ZERO: "At the box: take the cable off its terminals A and B, and put a short wire across them.",
    Step.PLUG: "At the box: take the short wire off. Put the camera's own plug across A and B, its housing closed.",
    Step.BASE: "Put the cable back on A and B, and at the pole the plug onto the cable, mated with the camera.",
}
_LOOK_AT: Final[Mapping[Step, str]] = {
    Step.ZERO: "Tighten both screws; is it the right pair of terminals, is the cable off?",
    Step.PLUG: "Is it the plug of this camera, its housing closed, the short wire off?",
    Step.BASE: "Is the plug mated, is the length right, do the wires of the pair touch anything?",
}


def _approve(baseline: Baseline, settings: Settings, desk: Desk) -> None:
    """Show what will be stored, and have it approved by name."""
    for line in _summary(baseline):
        desk.say(line)
    run = next(run for run in settings.runs if run.camera == baseline.camera)
    before = baselines.load(settings.baselines_folder, run, settings.electrics)
    if isinstance(before, Baseline):
        change = baseline.r_base_ohm - before.r_base_ohm
        desk.say(f"before: {before.r_base_ohm:.1f} ohm ({change:+.1f}), by {before.owner}")
    question = f"Type {baseline.camera} to store this: "
    if desk.ask(question).strip() != baseline.camera:
        raise _End("not approved: nothing was changed", EXIT_REFUSED)


def _summary(baseline: Baseline) -> Sequence[str]:
    lines = [
        "",
        f"wire: {baseline.copper_ohm:.2f} ohm for {baseline.length_m:g} m, {baseline.ohm_per_m:.3f} ohm per metre",
        f"normal from {baseline.low_ohm:.1f} to {baseline.high_ohm:.1f} ohm; a short below {baseline.short_ohm:.0f}, cut above {OPEN_OHM:.0f}",
        f"if it breaks, a technician is told to bring {metres_to_bring(baseline.length_m)} m of {baseline.cable}",
    ]
    if baseline.clad:
        lines.append(
            "This is copper-clad aluminium: it breaks sooner. When it is replaced, take plain copper and commission again."
        )
    return lines
