"""Checks of the input board and the supervised loops: the board's self-test, raw counts, what each loop reads.

While the agent runs, its own word on each cable is taken. Alone, the product's own board takes a few readings, with its pulse
of 50 ms each; the same code as always decides what they mean.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from edge_agent import baselines
from edge_agent.core.cable import OPEN_OHM, Loop, LoopState
from edge_agent.core.messages import BaselineRead, Event, Line, LineRead, LoopMeasured
from edge_agent.core.settings import DigitalLoop, MeasuredLoop, Run, Settings
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, fault, warning, well
from edge_agent.doctor.hardware import wants_adc
from edge_agent.doctor.service import finding_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_GROUP: Final = "loops"
_READINGS: Final = 4  # a state is entered after three that agree
_WELL: Final = {LoopState.NORMAL.value, "no loop"}

_REMEDY_BOARD: Final = Sentence(
    "Papan masukan gagal uji diri: ini gangguan kotak, bukan kabel jalan. Periksa apakah papan masukan duduk rapat, dan terminalnya; "
    "bila tetap gagal, ganti papannya.",
    "The input board fails its self-test: a fault of the box, not of a cable outside. See that it sits tight, and its terminals; if "
    "it stays so, replace the board.",
)
_REMEDY_LOOP: Final = Sentence(
    "Kabel pengawas terbaca putus, korsleting atau lain dari saat didaftarkan. Periksa terminal di kotak dan steker di kamera; bawa "
    "kabel sepanjang yang tertulis, konektor dan satu steker ujung.",
    "The supervised pair reads as cut, shorted or other than commissioned. Check the terminals in the box and the plug at the "
    "camera; bring cable of the length told here, connectors and one end plug.",
)
_REMEDY_CURRENT: Final = Sentence(
    "Kamera hampir tidak memakai arus: dayanya putus atau kameranya mati. Periksa sekring 12 V dan steker daya; bawa catu daya cadangan.",
    "The camera draws next to no current: its power is cut, or it is dead. Check the 12 V fuse and its power plug; bring a spare "
    "supply.",
)


def _board(patient: Patient) -> list[Result]:
    settings = patient.settings
    if settings is None or not any(wants_adc(settings)):
        return []
    if patient.agent.running:
        return _told(patient)
    nodes = zip(wants_adc(settings), ("dev/spidev0.0", "dev/spidev0.1"), strict=True)
    if patient.factory is None or any(
        wanted and not (patient.root / node).exists() for wanted, node in nodes
    ):
        return []  # gpio.chip or spi.device says why
    return _measure(settings, patient)


def _told(patient: Patient) -> list[Result]:
    if patient.agent.status is None:
        return []
    blind = finding_of(patient, "cable_unreadable") or finding_of(patient, "box_lines_unreadable")
    if blind is not None:
        return [fault("adc.self-test", "the agent cannot read the board", blind)]
    return [well("adc.self-test", "the agent reads the board; raw counts only while it is stopped")]


def _measure(settings: Settings, patient: Patient) -> list[Result]:
    from edge_agent.sensors import Board  # noqa: PLC0415 - it brings the pin library

    told: list[Event] = []
    board = Board(
        settings.runs,
        settings.electrics,
        factory=patient.factory,
        why_no_factory=patient.why_no_factory,
        post=told.append,
        clock=patient.clock,
    )
    try:
        for _ in range(_READINGS):
            board.read()
    finally:
        board.close()
    measured = [event for event in told if isinstance(event, LoopMeasured)]
    lines = [event for event in told if isinstance(event, LineRead)]
    return [
        *_self_test(measured, lines),
        *_loops(settings, measured, patient),
        *_currents(settings, lines),
    ]


def _self_test(measured: Sequence[LoopMeasured], lines: Sequence[LineRead]) -> list[Result]:
    key = "adc.self-test"
    cameras: dict[str, set[str]] = {}
    for why, camera in [(e.why, e.camera) for e in measured] + [(e.why, e.camera) for e in lines]:
        if why:
            cameras.setdefault(why, set()).add(camera or "box")
    if not cameras:
        return [well(key, "silent with the excitation off, and answers with it on")]
    return [
        fault(key, why, _REMEDY_BOARD, about=", ".join(sorted(where)))
        for why, where in cameras.items()
    ]


def _loops(settings: Settings, measured: Sequence[LoopMeasured], patient: Patient) -> list[Result]:
    results = []
    for run in settings.runs:
        events = [event for event in measured if event.camera == run.camera and not event.why]
        if isinstance(run.loop, MeasuredLoop) and events:
            results.append(_judge(run, run.loop, events, settings, patient))
    return results


def _judge(
    run: Run,
    loop: MeasuredLoop,
    events: Sequence[LoopMeasured],
    settings: Settings,
    patient: Patient,
) -> Result:
    key, last, at = "loop.counts", events[-1], patient.clock.now()
    known = baselines.load(settings.baselines_folder, run, settings.electrics)
    ohm = math.inf if last.ohm is None else last.ohm
    seen = f"channel {loop.channel}: {last.counts:.0f} counts, {_ohm(ohm)}"
    if known is None or isinstance(known, baselines.BaselineFault):
        if ohm > OPEN_OHM:
            return fault(key, f"{seen}: open, {run.length_m:g} m", _REMEDY_LOOP, about=run.camera)
        return well(key, f"{seen}, not commissioned", about=run.camera)
    judge = Loop(run, at=at)
    judge.commissioned(BaselineRead(camera=run.camera, baseline=known), at=at)
    for event in events:
        judge.read(event, at=at)
    state = judge.view(at=at).state
    if state is LoopState.NORMAL:
        return well(key, f"{seen}: normal", about=run.camera)
    return fault(key, f"{seen}: {state.value}, {run.length_m:g} m", _REMEDY_LOOP, about=run.camera)


def _ohm(ohm: float) -> str:
    return "an open circuit" if math.isinf(ohm) else f"{ohm:.1f} ohm"


def _currents(settings: Settings, lines: Sequence[LineRead]) -> list[Result]:
    key, results = "camera.current", []
    for run in settings.runs:
        values = [
            event.value
            for event in lines
            if event.line is Line.CURRENT and event.camera == run.camera and event.value is not None
        ]
        if run.current_channel is None or not values:
            continue
        seen = f"channel {run.current_channel}: {values[-1]:.0f} mA (at least {run.current_min_ma:.0f})"
        if values[-1] >= run.current_min_ma:
            results.append(well(key, seen, about=run.camera))
        else:
            results.append(warning(key, seen, _REMEDY_CURRENT, about=run.camera))
    return results


def _contacts(patient: Patient) -> list[Result]:
    """Loops that only say closed or open; beside the agent, its word on all cables."""
    key, settings = "loop.state", patient.settings
    if settings is None:
        return []
    if patient.agent.running:
        return _cables(settings, patient)
    if patient.factory is None:
        return []  # gpio.chip says why
    return [
        _contact(key, run, run.loop, patient)
        for run in settings.runs
        if isinstance(run.loop, DigitalLoop)
    ]


def _contact(key: str, run: Run, loop: DigitalLoop, patient: Patient) -> Result:
    from edge_agent.sensors.pins import Input  # noqa: PLC0415 - it brings the pin library

    contact = Input(loop.pin, patient.factory, patient.why_no_factory)
    try:
        closed = contact.on(patient.clock.now())
    finally:
        contact.close()
    if closed is None:
        return fault(key, contact.why, _REMEDY_BOARD, about=run.camera)
    if closed:
        return well(key, f"GPIO{loop.pin}: closed", about=run.camera)
    return fault(key, f"GPIO{loop.pin}: open, {run.length_m:g} m", _REMEDY_LOOP, about=run.camera)


def _cables(settings: Settings, patient: Patient) -> list[Result]:
    key = "loop.state"
    fitted = {run.camera for run in settings.runs if run.loop is not None}
    cameras = (patient.agent.status or {}).get("cameras")
    results = []
    for camera in cameras if isinstance(cameras, list) else ():
        if not isinstance(camera, dict) or camera.get("id") not in fitted:
            continue
        name, cable = str(camera.get("id")), str(camera.get("cable"))
        if cable in _WELL:
            results.append(well(key, f"the agent says: {cable}", about=name))
        elif cable == LoopState.UNKNOWN.value:
            results.append(
                warning(key, "the agent says: not known", _REMEDY_COMMISSION, about=name)
            )
        else:
            results.append(fault(key, f"the agent says: {cable}", _REMEDY_LOOP, about=name))
    return results


_REMEDY_COMMISSION: Final = Sentence(
    "Kabel ini belum dikenal. Daftarkan di kotak dengan edge-agent commission NAMA --run, lalu tunggu beberapa detik.",
    "This cable is not known yet. Commission it at the box with edge-agent commission NAME --run, then wait some seconds.",
)

CHECKS: Final = (
    Check(key="adc.self-test", group=_GROUP, ask=_board, also=("loop.counts", "camera.current")),
    Check(key="loop.state", group=_GROUP, ask=_contacts),
)
