"""What a box.toml may say of cables and of what is wired to the box: [[run]], [sensors], and that each pin serves one purpose.

Promise: what passes here can be measured and cannot destroy the box; reasons stand in docs/wiring.md.
Not its job: whether a loop was commissioned (baselines.py), whether a pin can be opened (sensors).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from edge_agent.config.faults import PRINTABLE, Notes
from edge_agent.config.table import OUTPUT_PIN_LOWEST, PIN_HIGHEST, PINS_TAKEN, Table
from edge_agent.core.cable import (
    HIGH_OHM,
    HIGH_SHARE,
    LENGTH_MAX_M,
    OPEN_OHM,
    SERIES_OHM,
    SHORTER_OHM,
    SHORTER_SHARE,
    TAMPER_WITHIN_OHM,
    counts_of_ohm,
    expected,
)
from edge_agent.core.recorder import channel_of
from edge_agent.core.settings import (
    CABLES,
    Camera,
    DigitalLoop,
    Electrics,
    LoopOpenPolicy,
    MeasuredLoop,
    Relay,
    Run,
    Settings,
    SparePair,
    SwitchKind,
)

_CAMERA: Final = re.compile(r"[a-z0-9-]{1,48}")
_INTERFACE: Final = re.compile(r"(?!lo\Z)[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_CHANNELS: Final = (0, 7)
_ADCS: Final = {"mcp3208": 12, "mcp3008": 10}
# What a reading must be able to tell apart, in counts: fewer, and noise of one count is a camera that moved.
_COUNTS_MIN: Final = 3.0
_OHM_MIN: Final = 47.0
_OHM_MAX: Final = 1000.0
# Below 100 ohm eight shorted loops would draw more than the 3.3 V of the box can give.
_RREF_MIN: Final = 100.0
# An opened housing must not be taken for a corroded joint.
_TAMPER_MIN: Final = 2 * TAMPER_WITHIN_OHM
_MEASURED_KEYS: Final = ("rref_ohm", "eol_ohm", "tamper_ohm")
_BOTH_LOOPS: Final = ("loop_pin", "loop_channel")
# A place in Indonesia, so that a forgotten minus or a latitude in the longitude's place is seen.
_LATITUDES: Final = (-11.1, 6.1)
_LONGITUDES: Final = (94.9, 141.1)
_SPI_PINS: Final = {
    7: "the second ADC (SPI, CE1)",
    8: "the first ADC (SPI, CE0)",
    9: "the ADCs (SPI, MISO)",
    10: "the ADCs (SPI, MOSI)",
    11: "the ADCs (SPI, clock)",
}


# ---- [[run]] ----


def read_run(table: Table) -> Run:
    """One [[run]]."""
    camera = table.text(
        "camera", _CAMERA, allowed="the id of a [[camera]]", remedy="which camera this run goes to"
    )
    cable = table.choice("cable", tuple(CABLES), why="what must be bought if it breaks")
    length_m = table.number(
        "length_m",
        0.5,
        LENGTH_MAX_M,
        unit="metres",
        why="measure the run: it is what the technician must bring",
    )
    place = table.text(
        "place",
        PRINTABLE,
        allowed="text of 1 to 120 characters",
        remedy="where the camera hangs: pole, address",
        default="",
    )
    loop = _loop(table, cable)
    run = Run(
        camera=camera,
        cable=cable or "",
        length_m=length_m,
        place=place,
        gps=_gps(table),
        loop=loop,
        loop_open_policy=_open_policy(table),
        video_pin=table.pin("video_pin", what="the video-present input"),
        alarm_pin=table.pin("alarm_pin", what="the recorder's alarm contact"),
        current_channel=_current(table, cable),
        current_min_ma=_current_min(table),
        interface=_interface(table),
        nvr_events=table.switch("nvr_events", default=False),
    )
    table.close()
    return run


def _loop(table: Table, cable: str | None) -> DigitalLoop | MeasuredLoop | None:
    pin = table.pin("loop_pin", what="the loop")
    channel = _channel(table, "loop_channel", "the first ADC")
    fitted = [key for key in _BOTH_LOOPS if table.has(key)]
    if len(fitted) == 2:
        table.fault(
            "loop_pin",
            found="both loop_pin and loop_channel",
            allowed="one of them: a run has one supervised pair",
            remedy="keep loop_channel if the pair hangs on the input board, loop_pin if it hangs on an opto-coupler",
        )
    for key in fitted[:1] if cable is not None else ():
        _check_cable(table, key, cable or "")
    if "loop_channel" not in fitted:
        table.refuse(
            _MEASURED_KEYS,
            allowed="only together with loop_channel",
            remedy="delete it, or add loop_channel",
        )
        return None if pin is None else DigitalLoop(pin=pin)
    usual = MeasuredLoop(channel=0)
    loop = MeasuredLoop(
        channel=channel or 0,
        rref_ohm=table.number("rref_ohm", _RREF_MIN, _OHM_MAX, unit="ohm", default=usual.rref_ohm),
        eol_ohm=table.number(
            "eol_ohm",
            _OHM_MIN,
            _OHM_MAX,
            unit="ohm",
            default=usual.eol_ohm,
            why=f"take {usual.eol_ohm:g}: a larger one hides the few ohm of the cable (docs/wiring.md)",
        ),
        tamper_ohm=table.number_or_none(
            "tamper_ohm", _TAMPER_MIN, _OHM_MAX, unit="ohm", default=usual.tamper_ohm or 100.0
        ),
    )
    return None if channel is None else loop


def _check_cable(table: Table, key: str, cable: str) -> None:
    if CABLES[cable] is SparePair.POE:
        table.fault(
            key,
            found=f'a loop on cable = "{cable}"',
            allowed="no loop on a run with Power over Ethernet",
            remedy=f"delete {key}: a PoE source may put 48 V on any pair, also on those that look free, and would destroy the box",
        )
    elif CABLES[cable] is SparePair.NONE:
        table.fault(
            key,
            found=f'a loop on cable = "{cable}"',
            allowed="a cable with a pair to spare",
            remedy=f'delete {key}, or lay a two-core wire beside it and write cable = "rg59-pair"',
        )


def _channel(table: Table, key: str, what: str) -> int | None:
    """A channel of an ADC; None if absent or faulty."""
    if not table.has(key):
        return None
    before = len(table.notes.faults)
    number = table.whole(key, *_CHANNELS, unit=f"channel of {what}", default=0)
    return number if len(table.notes.faults) == before else None


def _open_policy(table: Table) -> LoopOpenPolicy:
    usual = LoopOpenPolicy.QUARANTINE
    if table.has("loop_open_policy") and not any(table.has(key) for key in _BOTH_LOOPS):
        table.fault(
            "loop_open_policy",
            found="a policy for a loop that is not there",
            allowed="only together with loop_channel or loop_pin",
            remedy="delete it, or name the loop",
        )
        return usual
    name = table.choice(
        "loop_open_policy", [policy.value for policy in LoopOpenPolicy], default=usual.value
    )
    return LoopOpenPolicy(name or usual.value)


def _current(table: Table, cable: str | None) -> int | None:
    channel = _channel(table, "current_channel", "the second ADC")
    if table.has("current_channel") and cable is not None and CABLES[cable] is SparePair.POE:
        table.fault(
            "current_channel",
            found=f'a current channel on cable = "{cable}"',
            allowed="a camera whose 12 V comes through a shunt of the box's input board",
            remedy="delete it: with PoE the current goes through the switch, and the box never sees it; link and speed tell instead",
        )
        return None
    return channel


def _current_min(table: Table) -> float:
    usual = Run(camera="", cable="", length_m=1).current_min_ma
    if table.has("current_min_ma") and not table.has("current_channel"):
        table.fault(
            "current_min_ma",
            found="a limit for a current that is not measured",
            allowed="only together with current_channel",
            remedy="delete it, or add current_channel",
        )
        return usual
    return table.number(
        "current_min_ma",
        5,
        600,
        unit="mA",
        default=usual,
        why="a little below what the camera draws by day; the shunt's full scale is 660 mA",
    )


def _interface(table: Table) -> str | None:
    if not table.has("interface"):
        return None
    return (
        table.text(
            "interface",
            _INTERFACE,
            allowed="the name of a network interface of this box, not lo",
            remedy="`ip link` lists them; the one that leads to this camera alone, like eth1",
        )
        or None
    )


def _gps(table: Table) -> tuple[float, float] | None:
    if not table.has("gps"):
        return None
    where = table.pair("gps")
    if (
        where is not None
        and _LATITUDES[0] <= where[0] <= _LATITUDES[1]
        and _LONGITUDES[0] <= where[1] <= _LONGITUDES[1]
    ):
        return where
    found = "no two numbers" if where is None else f"[{where[0]:g}, {where[1]:g}]"
    table.fault(
        "gps",
        found=found,
        allowed="[latitude, longitude] in degrees, a place in Indonesia",
        remedy="south is negative, latitude first: Semarang is gps = [-6.98, 110.41]",
    )
    return None


# ---- [sensors] ----


def read_electrics(table: Table) -> Electrics:
    """The whole of [sensors]; every key may be missing."""
    usual = Electrics()
    adc = table.choice("adc", tuple(_ADCS), default="mcp3208", why="what is printed on the chip")
    excitation = table.pin(
        "excitation_pin", what="the excitation transistor", default=usual.excitation_pin
    )
    electrics = Electrics(
        adc_bits=_ADCS[adc or "mcp3208"],
        excitation_pin=usual.excitation_pin if excitation is None else excitation,
        power_pin=table.pin("power_pin", what="the 12 V input"),
        door_channel=_channel(table, "door_channel", "the second ADC"),
        mains_pin=table.pin("mains_pin", what="the UPS's mains signal"),
        shutdown_pin=table.pin("shutdown_pin", what="the UPS's shutdown signal"),
        service_pin=table.pin("service_pin", what="the service button"),
    )
    table.close()
    return electrics


# ---- what must fit together ----


def check_wiring(settings: Settings, notes: Notes, *, excitation_given: bool) -> None:
    """Each pin, channel and interface once; loops that can be measured; events from recorders that tell them."""
    _check_pins(settings, notes, excitation_given=excitation_given)
    _check_channels(settings, notes)
    _check_interfaces(settings, notes)
    for index, run in enumerate(settings.runs):
        if isinstance(run.loop, MeasuredLoop) and CABLES.get(run.cable) is SparePair.FREE:
            _check_measurable(run, run.loop, f"run[{index}]", settings.electrics, notes)
        if run.nvr_events:
            _check_events(run, f"run[{index}].nvr_events", settings.cameras, notes)


def _check_measurable(
    run: Run, loop: MeasuredLoop, path: str, electrics: Electrics, notes: Notes
) -> None:
    """Resistors whose loop would read as open, or whose counts are too coarse to see a camera move."""
    bits = electrics.adc_bits
    steps = expected(loop, cable=run.cable, length_m=run.length_m, bits=bits)
    # The least copper of this cable moves the fewest counts, the most of it (clad aluminium) comes nearest to "open".
    copper = steps[2].ohm[0] - steps[1].ohm[0]
    high = steps[2].ohm[1]
    highest = high + max(HIGH_OHM, HIGH_SHARE * (high - steps[1].ohm[1]))
    if loop.tamper_ohm is not None:
        highest = max(highest, high + loop.tamper_ohm + TAMPER_WITHIN_OHM)
    base = SERIES_OHM + loop.eol_ohm + copper
    band = max(SHORTER_OHM, SHORTER_SHARE * copper)
    moved = counts_of_ohm(base, rref_ohm=loop.rref_ohm, bits=bits) - counts_of_ohm(
        base - band, rref_ohm=loop.rref_ohm, bits=bits
    )
    usual = MeasuredLoop(channel=0)
    remedy = (
        f"take eol_ohm = {usual.eol_ohm:g} and rref_ohm = {usual.rref_ohm:g}, as in docs/wiring.md"
    )
    if highest >= OPEN_OHM:
        notes.fault(
            f"{path}.eol_ohm",
            found=f"{loop.eol_ohm:g} ohm: with all that may be in series the loop reads up to {highest:.0f} ohm",
            allowed=f"less than {OPEN_OHM:g} ohm in all, which counts as cut",
            remedy=remedy,
        )
    elif moved < _COUNTS_MIN:
        finer = " or fit an MCP3208 (12 bit)" if bits < 12 else ""
        notes.fault(
            f"{path}.eol_ohm",
            found=f"{loop.eol_ohm:g} ohm against rref_ohm {loop.rref_ohm:g}: {band:.1f} ohm less cable are {moved:.1f} counts",
            allowed=f"resistors with which {band:.1f} ohm ({bits} bit) are {_COUNTS_MIN:g} counts or more",
            remedy=remedy + finer,
        )


def _check_events(run: Run, path: str, cameras: Sequence[Camera], notes: Notes) -> None:
    camera = next((camera for camera in cameras if camera.id == run.camera), None)
    if camera is None or not camera.source:
        return  # told already
    if channel_of(camera.source) is None:
        notes.fault(
            path,
            found=f'events of the camera "{run.camera}", whose address is of no maker known here',
            allowed='a camera with preset "hikvision", "hikvision-nvr" or "dahua", or a url with one of their paths',
            remedy="delete it, or read the camera through its recorder",
        )
    elif camera.username is None:
        notes.fault(
            path,
            found=f'events of the camera "{run.camera}", which has no username',
            allowed="a camera with username and password_file (or password_credential)",
            remedy="add them: recorders tell events to known users only",
        )


def _check_interfaces(settings: Settings, notes: Notes) -> None:
    first: dict[str, int] = {}
    for index, run in enumerate(settings.runs):
        if run.interface is None:
            continue
        if run.interface in first:
            notes.fault(
                f"run[{index}].interface",
                found=f"{run.interface}, as in run[{first[run.interface]}]",
                allowed="an interface that leads to one camera alone",
                remedy="delete it at both: behind a switch the box's own link tells nothing about one camera",
            )
        first.setdefault(run.interface, index)


def _check_channels(settings: Settings, notes: Notes) -> None:
    first = [
        (f"run[{index}].loop_channel", run.loop.channel)
        for index, run in enumerate(settings.runs)
        if isinstance(run.loop, MeasuredLoop)
    ]
    second = [
        *(
            (f"run[{index}].current_channel", run.current_channel)
            for index, run in enumerate(settings.runs)
        ),
        ("sensors.door_channel", settings.electrics.door_channel),
    ]
    for ordinal, used in (("first", first), ("second", second)):
        owner: dict[int, str] = {}
        for path, channel in used:
            if channel is None:
                continue
            if channel in owner:
                free = [n for n in range(_CHANNELS[1] + 1) if n not in {c for _, c in used}]
                notes.fault(
                    path,
                    found=f"channel {channel} of the {ordinal} ADC, which {owner[channel]} uses already",
                    allowed="each channel for one purpose",
                    remedy="look how it is wired"
                    + (f"; {free[0]} is free" if free else "; none is free: use a second box"),
                )
            owner.setdefault(channel, path)


def _pins(settings: Settings, *, excitation_given: bool) -> Iterator[tuple[str, int | None]]:
    """(key path, pin) in order of importance: of two on one pin, the later one is at fault."""
    privacy, electrics = settings.privacy, settings.electrics
    measured = any(isinstance(run.loop, MeasuredLoop) for run in settings.runs)
    if privacy.switch is not SwitchKind.NONE:
        yield "privacy.nc_pin", privacy.nc_pin
    if privacy.switch is SwitchKind.LATCHING:
        yield "privacy.no_pin", privacy.no_pin
    if privacy.relay is not Relay.NONE:
        yield "privacy.relay_pin", privacy.relay_pin
    yield "privacy.feedback_pin", privacy.feedback_pin
    yield "privacy.lamp_private_pin", privacy.lamp_private_pin
    yield "privacy.lamp_live_pin", privacy.lamp_live_pin
    yield "privacy.buzzer_pin", privacy.buzzer_pin
    if measured or excitation_given:
        yield "sensors.excitation_pin", electrics.excitation_pin
    yield "sensors.power_pin", electrics.power_pin
    yield "sensors.mains_pin", electrics.mains_pin
    yield "sensors.shutdown_pin", electrics.shutdown_pin
    yield "sensors.service_pin", electrics.service_pin
    for index, run in enumerate(settings.runs):
        yield f"run[{index}].loop_pin", run.loop.pin if isinstance(run.loop, DigitalLoop) else None
        yield f"run[{index}].video_pin", run.video_pin
        yield f"run[{index}].alarm_pin", run.alarm_pin


def _check_pins(settings: Settings, notes: Notes, *, excitation_given: bool) -> None:
    used = [
        (path, pin)
        for path, pin in _pins(settings, excitation_given=excitation_given)
        if pin is not None
    ]
    on_adc = settings.electrics.door_channel is not None or any(
        isinstance(run.loop, MeasuredLoop) or run.current_channel is not None
        for run in settings.runs
    )
    owner = dict(_SPI_PINS) if on_adc else {}
    taken = {*owner, *PINS_TAKEN, *(pin for _, pin in used)}
    free = next((n for n in range(OUTPUT_PIN_LOWEST, PIN_HIGHEST + 1) if n not in taken), None)
    for path, pin in used:
        if pin in owner and not _shared_alarm(path, owner[pin]):
            notes.fault(
                path,
                found=f"pin {pin}, which {owner[pin]} uses already (a pin not written down has its usual number)",
                allowed="each pin for one purpose; only alarm_pin may be the same for all cameras of one recorder",
                remedy="look how it is wired" + (f"; {free} is free" if free is not None else ""),
            )
        owner.setdefault(pin, path)


def _shared_alarm(path: str, other: str) -> bool:
    """A recorder has one alarm contact for all of its cameras."""
    return path.endswith(".alarm_pin") and other.endswith(".alarm_pin")
