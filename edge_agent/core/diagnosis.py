"""What broke: loop, video, current, link, power and the recorder's word joined into one cause per camera or box.

Promises: one cause at a time for a camera, or for the box; each with what was read and since when, and nothing about how sure
anybody is; "cannot tell" is an answer, and lists what to measure, in order. A cause that rests on the cable's own wires stands
within 10 s of the cut. It changes only for one that lasts, and ends only after half a minute of health, so nothing flaps.
What a recorder says of video loss may add suspicion; its silence clears none.
Not its job: a loop's own states (cable.py), what to bring and to whom it is said (work_order.py), holding a gate (watch.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from edge_agent.core.cable import (
    NIGHT_OHM,
    TOGETHER_S,
    Change,
    LoopState,
    LoopView,
    opened_together,
)
from edge_agent.core.messages import (
    CameraLost,
    Line,
    LineRead,
    NicRead,
    PictureTaken,
    VideoLossTold,
)
from edge_agent.core.messages import (
    Cause as VideoCause,
)
from edge_agent.core.settings import CABLES, Run, SparePair

# A cause that the wires themselves tell: long enough for the second sign (current, link) to be read as well.
FIRM_S: Final = 2.0
# One that waits for a picture that may still come: longer than a camera that is looked at once a second needs.
OPEN_S: Final = 7.0
# Nothing but a missing picture: a camera or a recorder that starts anew is back within a minute, and is no work order.
RESTART_S: Final = 60.0
# Well again only after so long.
HEAL_S: Final = 30.0
# What comes and goes with wind, sun and rain is not mended by a calm minute.
WEAR_HEAL_S: Final = 600.0
# Nor is what came back so soon after it was well: a loose joint would be a new work order each minute.
RELAPSE_S: Final = 3600.0
# A picture taken this long after the loop opened was not on its way before.
AFTER_S: Final = 2.0
# A cable that spoils this many frames in five minutes is on its way out; a healthy one spoils none.
CRC_ERRORS: Final = 20
CRC_WINDOW_S: Final = 300.0
LINK_DROPS: Final = 4  # within the same window: a loose plug, not a camera that restarts


class Kind(Enum):
    """What the wires of a run carry, and with it which signs there can be."""

    BALUN = "balun"  # picture and 12 V on pairs of one network cable
    COAX = "coax"  # picture on coax, 12 V beside it
    POE = "poe"  # network and power on the same pairs
    NETWORK = "network"  # network on two pairs, the camera powered where it hangs


def kind_of(run: Run, *, recorder: bool) -> Kind:
    """Of a run; *recorder* = other cameras are read at the same address, so pictures come through one."""
    if CABLES.get(run.cable) is SparePair.POE:
        return Kind.POE
    if run.cable.startswith("rg"):
        return Kind.COAX
    by_wire = run.current_channel is not None or run.video_pin is not None
    if run.interface is not None and not by_wire:
        return Kind.NETWORK
    return Kind.BALUN if by_wire or run.alarm_pin is not None or recorder else Kind.NETWORK


class Cause(Enum):
    """What broke."""

    CABLE_CUT = "cable_cut"  # cut, or pulled out at an end: the wires do not tell which
    CAMERA_UNPLUGGED = "camera_unplugged"  # its housing was opened, then the plug was out
    CAMERA_TAKEN = "camera_taken"  # gives a picture while its own cable is not whole
    CABLE_SHORT = "cable_short"
    OTHER_LENGTH = "other_length"  # hangs on a run of another length
    PAIR_BROKEN = "pair_broken"  # only the supervised pair; the picture never broke
    CORRODED = "corroded"
    DAMP = "damp"
    LOOSE = "loose"
    HOUSING_OPEN = "housing_open"
    NO_CAMERA_POWER = "no_camera_power"
    CAMERA_DEAD = "camera_dead"  # powered and connected, but no picture
    PORT_DEAD = "port_dead"  # the picture reaches the recorder's socket
    LOST_PAIR = "lost_pair"
    CANNOT_TELL = "cannot_tell"
    # of the box
    CONDUIT_CUT = "conduit_cut"
    POWER_DEAD = "power_dead"
    RECORDER_DEAD = "recorder_dead"
    BOARD_FAULT = "board_fault"


class Sign(Enum):
    """What was read. work_order.py has a sentence for each."""

    LOOP_OPEN = "loop_open"
    LOOP_SHORT = "loop_short"  # value: metres
    LOOP_SHORTER = "loop_shorter"  # value: metres
    LOOP_LONGER = "loop_longer"  # value: metres
    LOOP_LEAKS = "loop_leaks"  # value: ohm
    LOOP_HIGH = "loop_high"  # value: ohm
    LOOP_HOUSING = "loop_housing"
    LOOP_NOISY = "loop_noisy"
    LOOP_NIGHTS = "loop_nights"  # value: ohm above the first night
    LOOP_NORMAL = "loop_normal"
    LOOP_UNREADABLE = "loop_unreadable"  # value: why
    LOOP_AFTER_HOUSING = "loop_after_housing"
    LOOP_TOGETHER = "loop_together"  # value: cameras
    VIDEO_LOST = "video_lost"  # value: cause
    VIDEO_BACK = "video_back"
    VIDEO_GOES_ON = "video_goes_on"
    WIRE_SILENT = "wire_silent"
    WIRE_PICTURE = "wire_picture"
    ALARM = "alarm"
    TOLD = "told"  # value: why
    NO_CURRENT = "no_current"  # value: mA
    CURRENT = "current"  # value: mA
    POWER_GONE = "power_gone"
    POWER_THERE = "power_there"
    LINK_DOWN = "link_down"
    LINK_UP = "link_up"
    LINK_SLOW = "link_slow"  # value: "1000 -> 100"
    LINK_ERRORS = "link_errors"  # value: count
    LINK_DROPS = "link_drops"  # value: count
    ALL_LOST = "all_lost"  # value: cameras
    OTHERS_FINE = "others_fine"  # value: count


class Measure(Enum):
    """What to measure where the box cannot tell, in words in work_order.py."""

    MONITOR = "monitor"  # is the picture on the recorder's own screen
    SWAP_PORT = "swap_port"
    PORT_LIGHT = "port_light"
    VOLTS_AT_CAMERA = "volts_at_camera"
    LOOP_OHM = "loop_ohm"
    CABLE_TESTER = "cable_tester"
    TEST_MONITOR = "test_monitor"


@dataclass(frozen=True, slots=True)
class Seen:
    """One reading behind a cause. `value` is for people: a number, names, a reason."""

    sign: Sign
    since: float
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One cause. `subject` is the camera's id, or what of the box it is about (then with a colon, as no id has)."""

    subject: str
    cause: Cause
    since: float  # the earliest sign
    cameras: tuple[str, ...]
    seen: tuple[Seen, ...]
    measure: tuple[Measure, ...] = ()
    at_m: float | None = None  # a short, at most so far from the box
    length_m: float | None = None  # what hangs there now
    wait_s: float = field(default=FIRM_S, compare=False)  # how long it must last to be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Something that is so, or is not, since when."""

    on: bool
    since: float
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptoms:
    """All that is known of a camera and its run now; None = nothing is fitted that could tell, or it is not readable."""

    camera: str
    kind: Kind
    loop: LoopView | None = None
    video: Level | None = None  # fresh pictures; value = why not
    picture_at: float | None = None  # when the last one was taken
    gap_at: float | None = None  # when pictures last stopped
    electrical: bool = True  # a loss that a broken wire could cause (a refused password is none)
    wire: Level | None = None  # a picture signal on the wire
    alarm: Level | None = None
    told: Level | None = None
    current: Level | None = None  # draws power
    link: Level | None = None
    slow: Level | None = None  # value "1000 -> 100"
    errors: Level | None = None
    drops: Level | None = None
    power: Level | None = None  # 12 V at the box
    others_fine: int = 0  # cameras read at the same address that give pictures
    companions: tuple[str, ...] = ()  # whose loops opened at the same moment
    known: Cause | None = None  # of the order that was open before a restart


_WEAR: Final = (Cause.CORRODED, Cause.DAMP, Cause.LOOSE, Cause.LOST_PAIR)

# ---- one camera ----


def diagnose(symptoms: Symptoms) -> Diagnosis | None:
    """The one cause that fits, or None if nothing is broken that a technician could mend. Pure."""
    return _by_loop(symptoms) or _by_video(symptoms) or _by_wear(symptoms)


def _by_loop(s: Symptoms) -> Diagnosis | None:
    """The loop is not normal: it decides, whatever the rest says."""
    loop = s.loop
    if loop is None:
        return None
    if loop.state in (LoopState.SHORTER, LoopState.HIGH_R):
        return _by_ohm(s, loop)
    if loop.state is LoopState.OPEN:
        return _open(s, loop)
    if loop.state is LoopState.SHORT:
        seen = Seen(Sign.LOOP_SHORT, loop.since, _metres(loop.short_at_m))
        return replace(_unless_taken(s, loop, Cause.CABLE_SHORT, seen), at_m=loop.short_at_m)
    if loop.state is LoopState.TAMPER:
        return _unless_taken(s, loop, Cause.HOUSING_OPEN, Seen(Sign.LOOP_HOUSING, loop.since))
    return None


def _unless_taken(s: Symptoms, loop: LoopView, cause: Cause, *seen: Seen) -> Diagnosis:
    """*cause*, unless pictures came back while it lasts: then they come from somewhere else."""
    back = _back_since(s, loop)
    if back is None:
        return _said(s, cause, *seen)
    return _said(s, Cause.CAMERA_TAKEN, *seen, Seen(Sign.VIDEO_BACK, back))


def _by_ohm(s: Symptoms, loop: LoopView) -> Diagnosis:
    """The pair is closed, but by something else than was commissioned."""
    shorter = loop.state is LoopState.SHORTER
    if loop.change is Change.UNSEEN and s.known in _WEAR:
        # The box was off, and this run was wearing out before: more of the same, not another cable.
        sign = Sign.LOOP_LEAKS if shorter else Sign.LOOP_HIGH
        return _said(s, s.known, Seen(sign, loop.since, _ohm(loop)))
    if shorter and loop.change is Change.DRIFT:
        return _said(s, Cause.DAMP, Seen(Sign.LOOP_LEAKS, loop.since, _ohm(loop)))
    if shorter or loop.change in (Change.STEP, Change.UNSEEN):
        return _other_length(s, loop, Sign.LOOP_SHORTER if shorter else Sign.LOOP_LONGER)
    noisy = [Seen(Sign.LOOP_NOISY, loop.since)] if loop.noisy else []
    cause = Cause.LOOSE if loop.noisy else Cause.CORRODED
    return _said(s, cause, Seen(Sign.LOOP_HIGH, loop.since, _ohm(loop)), *noisy)


def _open(s: Symptoms, loop: LoopView) -> Diagnosis:
    seen = [Seen(Sign.LOOP_OPEN, loop.since)]
    if s.companions:
        seen.append(Seen(Sign.LOOP_TOGETHER, loop.since, ", ".join(s.companions)))
    if _back_since(s, loop) is not None:
        return _unless_taken(s, loop, Cause.CABLE_CUT, *seen)
    if loop.noisy:
        # It opened and closed four times within the minute: open is how a loose contact happens to stand.
        return _said(s, Cause.LOOSE, *seen, Seen(Sign.LOOP_NOISY, loop.since))
    if _goes_on(s, loop):
        return _said(s, Cause.PAIR_BROKEN, *seen, Seen(Sign.VIDEO_GOES_ON, loop.since))
    if s.kind is Kind.NETWORK and s.link is not None and s.link.on:
        return _said(s, Cause.PAIR_BROKEN, *seen, Seen(Sign.LINK_UP, s.link.since))
    if loop.was is LoopState.TAMPER:
        seen.append(Seen(Sign.LOOP_AFTER_HOUSING, loop.since))
        return _said(s, Cause.CAMERA_UNPLUGGED, *seen)
    # Without a second sign the picture may only be late: it is waited for.
    second = (s.video, s.wire, s.current, s.link)
    alone = all(level is None or level.on for level in second)
    return replace(_said(s, Cause.CABLE_CUT, *seen), wait_s=OPEN_S if alone else FIRM_S)


def _goes_on(s: Symptoms, loop: LoopView) -> bool:
    """Pictures that were taken after the pair opened still come over this cable."""
    if s.video is None or not s.video.on or s.picture_at is None or _no_picture(s):
        return False
    return s.picture_at >= loop.since + AFTER_S


def _no_picture(s: Symptoms) -> bool:
    """What the recorder shows in place of a lost picture looks fresh from here; these know better."""
    silent = s.wire is not None and not s.wire.on
    alarm = s.alarm is not None and s.alarm.on
    told = s.told is not None and s.told.on
    return silent or alarm or told


def _other_length(s: Symptoms, loop: LoopView, sign: Sign) -> Diagnosis:
    back = _back_since(s, loop)
    off = "" if loop.length_off_m is None else f" ± {loop.length_off_m:.0f}"
    seen = [Seen(sign, loop.since, f"{_metres(loop.length_m)}{off}")]
    if back is not None:
        seen.append(Seen(Sign.VIDEO_BACK, back))
    return replace(_said(s, Cause.OTHER_LENGTH, *seen), length_m=loop.length_m)


def _back_since(s: Symptoms, loop: LoopView) -> float | None:
    """Since when pictures come again, after a gap, over a cable that is not whole."""
    if s.video is None or not s.video.on or s.gap_at is None or s.picture_at is None:
        return None
    if _no_picture(s):
        return None
    # The picture may stop a moment before the loop's next reading.
    began = loop.since - TOGETHER_S
    return s.video.since if s.gap_at >= began and s.picture_at >= s.gap_at else None


def _by_video(s: Symptoms) -> Diagnosis | None:
    """No picture, while the loop is whole or not there."""
    if not _lost(s):
        return None
    return _by_wire(s) if s.kind in (Kind.BALUN, Kind.COAX) else _by_link(s)


def _lost(s: Symptoms) -> bool:
    """Something says that the picture is gone; nothing can say that it is not."""
    gone = s.video is not None and not s.video.on and s.electrical
    unpowered = s.current is not None and not s.current.on
    unlinked = s.link is not None and not s.link.on
    return gone or unpowered or unlinked or _no_picture(s)


def _by_wire(s: Symptoms) -> Diagnosis:
    whole = s.loop is not None and s.loop.state is LoopState.NORMAL
    if s.current is not None and not s.current.on:
        # The end plug sits in the camera's plug: a loop that is whole says that this one is in its place.
        return _said(s, Cause.NO_CAMERA_POWER if whole else Cause.CABLE_CUT)
    if s.wire is not None and s.wire.on:
        return replace(_said(s, Cause.PORT_DEAD), wait_s=RESTART_S)
    if s.current is not None and s.wire is not None:
        return replace(_said(s, Cause.CAMERA_DEAD), wait_s=RESTART_S)
    powered = s.current is not None
    measure = [Measure.MONITOR, Measure.SWAP_PORT]
    measure += [] if powered else [Measure.VOLTS_AT_CAMERA]
    measure += [] if whole else [Measure.CABLE_TESTER]
    measure.append(Measure.TEST_MONITOR)
    return _cannot_tell(s, measure)


def _by_link(s: Symptoms) -> Diagnosis:
    whole = s.loop is not None and s.loop.state is LoopState.NORMAL
    if s.link is not None and s.link.on:
        return replace(_said(s, Cause.CAMERA_DEAD), wait_s=RESTART_S)
    if s.link is not None and whole:
        return replace(_said(s, Cause.NO_CAMERA_POWER), wait_s=OPEN_S)
    if s.link is not None and s.kind is Kind.POE:
        # Power and picture share the cable: whatever is dead, it is this run that must be walked.
        return replace(_said(s, Cause.CABLE_CUT), wait_s=OPEN_S)
    measure = [Measure.PORT_LIGHT]
    measure += [Measure.VOLTS_AT_CAMERA] if s.kind is Kind.NETWORK else []
    measure += [] if whole else [Measure.CABLE_TESTER]
    measure.append(Measure.TEST_MONITOR)
    return _cannot_tell(s, measure)


def _cannot_tell(s: Symptoms, measure: Sequence[Measure]) -> Diagnosis:
    first = [Measure.LOOP_OHM] if s.loop is not None and s.loop.state in _BLIND else []
    told = _said(s, Cause.CANNOT_TELL)
    return replace(told, measure=(*measure[:1], *first, *measure[1:]), wait_s=RESTART_S)


_BLIND: Final = frozenset({LoopState.UNKNOWN, LoopState.SENSOR_FAULT})


def _by_wear(s: Symptoms) -> Diagnosis | None:
    """Pictures come, but the cable is going."""
    if s.slow is not None and s.slow.on:
        return _said(s, Cause.LOST_PAIR, Seen(Sign.LINK_SLOW, s.slow.since, s.slow.value))
    if s.errors is not None and s.errors.on:
        return _said(s, Cause.LOOSE, Seen(Sign.LINK_ERRORS, s.errors.since, s.errors.value))
    if s.drops is not None and s.drops.on:
        return _said(s, Cause.LOOSE, Seen(Sign.LINK_DROPS, s.drops.since, s.drops.value))
    loop = s.loop
    if loop is None or loop.state in _BLIND:
        return None
    if loop.noisy:
        return _said(s, Cause.LOOSE, Seen(Sign.LOOP_NOISY, loop.since))
    if loop.night_rise_ohm is not None and loop.night_rise_ohm > NIGHT_OHM:
        value = f"{loop.night_rise_ohm:.1f}"
        return _said(s, Cause.CORRODED, Seen(Sign.LOOP_NIGHTS, loop.since, value))
    return None


def _said(s: Symptoms, cause: Cause, *first: Seen) -> Diagnosis:
    """*cause* with all that was read; what it rests on comes first, and is the least to be cut off by a small screen."""
    known = {seen.sign for seen in first}
    if Sign.VIDEO_BACK in known or Sign.VIDEO_GOES_ON in known:
        known |= {Sign.VIDEO_LOST}
    rest = [seen for seen in _signs(s) if seen.sign not in known]
    # What is as it should be began long before.
    bad = [seen.since for seen in (*first, *rest) if seen.sign not in _GOOD]
    since = min(bad, default=0.0)
    seen = (*first, *sorted(rest, key=lambda seen: seen.sign in _GOOD))
    return Diagnosis(subject=s.camera, cause=cause, since=since, cameras=(s.camera,), seen=seen)


_GOOD: Final = frozenset(
    {
        Sign.LOOP_NORMAL,
        Sign.VIDEO_GOES_ON,
        Sign.WIRE_PICTURE,
        Sign.CURRENT,
        Sign.POWER_THERE,
        Sign.LINK_UP,
        Sign.OTHERS_FINE,
    }
)


def _signs(s: Symptoms) -> list[Seen]:
    """Each thing that is fitted, as it reads."""
    seen: list[Seen] = []
    pairs = (
        (s.current, Sign.CURRENT, Sign.NO_CURRENT),
        (s.wire, Sign.WIRE_PICTURE, Sign.WIRE_SILENT),
        (s.link, Sign.LINK_UP, Sign.LINK_DOWN),
        (s.video, None, Sign.VIDEO_LOST),
        (s.alarm, Sign.ALARM, None),
        (s.told, Sign.TOLD, None),
        (s.power, Sign.POWER_THERE, Sign.POWER_GONE),
    )
    for level, on, off in pairs:
        sign = None if level is None else on if level.on else off
        if level is not None and sign is not None:
            seen.append(Seen(sign, level.since, level.value))
    if s.loop is not None and s.loop.state is LoopState.NORMAL:
        seen.append(Seen(Sign.LOOP_NORMAL, s.loop.since, _ohm(s.loop)))
    if s.loop is not None and s.loop.state is LoopState.SENSOR_FAULT:
        seen.append(Seen(Sign.LOOP_UNREADABLE, s.loop.since, s.loop.why))
    if s.others_fine:
        seen.append(Seen(Sign.OTHERS_FINE, 0.0, str(s.others_fine)))
    return seen


def _metres(metres: float | None) -> str:
    return "?" if metres is None else f"{metres:.0f}"


def _ohm(loop: LoopView) -> str:
    if loop.ohm is None or loop.base_ohm is None:
        return ""
    return f"{loop.ohm:.1f} / {loop.base_ohm:.1f}"


# ---- all of them, over time ----


@dataclass(slots=True)
class _Wire:
    """What a camera's run told so far."""

    run: Run | None
    kind: Kind
    host: str
    loop: LoopView | None = None
    video: Level | None = None
    electrical: bool = True
    picture_at: float | None = None
    gap_at: float | None = None
    generation: int | None = None
    host_gone: bool = False  # nothing answers at the address
    lines: dict[Line, Level] = field(default_factory=dict)
    told: Level | None = None
    link: Level | None = None
    slow: Level | None = None
    best_mbit: int = 0
    errors: list[tuple[float, int]] = field(default_factory=list)
    drops: list[tuple[float, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Standing:
    """What is told of a subject, and what may come to be."""

    told: Diagnosis | None = None
    next: Diagnosis | None = None
    next_since: float = 0.0
    well_since: float | None = None
    known: Diagnosis | None = None  # before a restart
    ended_at: float | None = None  # when a cause was last over
    relapsed: bool = False

    @property
    def last(self) -> Diagnosis | None:
        """What has to end."""
        return self.told or self.known

    @property
    def heal_s(self) -> float:
        """How long it must be well."""
        wears = self.last is not None and self.last.cause in _WEAR
        return WEAR_HEAL_S if wears or self.relapsed else HEAL_S

    def begin(self, found: Diagnosis, *, at: float) -> None:
        """*found* stands from now on."""
        if self.told is None and self.ended_at is not None:
            self.relapsed = at < self.ended_at + RELAPSE_S
        self.told, self.next = found, None


# Nothing answers there at all: the recorder is off, or its own network cable is out.
_HOST_GONE: Final = frozenset({VideoCause.NO_ANSWER, VideoCause.UNREACHABLE})
# A broken wire cannot cause these: a matter of settings, not of a ladder.
_SETTINGS: Final = frozenset(
    {
        VideoCause.UNAUTHORISED,
        VideoCause.REDIRECTED,
        VideoCause.NONSENSE,
        VideoCause.TOO_LARGE,
        VideoCause.CRASHES,
    }
)


# A level at which no picture comes over the wire.
_PICTURE_GONE: Final = {Line.VIDEO: False, Line.NVR_ALARM: True}


class Diagnoses:
    """All causes of one box, settled. Owned by the agent."""

    def __init__(
        self, runs: Mapping[str, Run], hosts: Mapping[str, str], *, known: Sequence[Diagnosis] = ()
    ) -> None:
        """*hosts*: camera id -> address its pictures come from, for every camera of the box ("" = none of its own).

        *known*: what stood before a restart (the open work orders), so that its end is seen too.
        """
        self._wires = {
            camera: _Wire(
                run=runs.get(camera),
                kind=_kind(runs.get(camera), recorder=_shared(host, hosts)),
                host=host,
            )
            for camera, host in hosts.items()
        }
        self._by_interface = {
            run.interface: run.camera for run in runs.values() if run.interface is not None
        }
        self._power: Level | None = None
        self._mains_lost = False
        self._away = False
        self._believe_at = 0.0
        self._standings = {told.subject: _Standing(known=told) for told in known}
        for told in known:
            for seen in told.seen:
                if seen.sign is Sign.LINK_SLOW and told.subject in self._wires:
                    best = seen.value.partition(" ")[0]
                    self._wires[told.subject].best_mbit = int(best) if best.isdecimal() else 0

    # -- what was read --

    def read(
        self,
        event: CameraLost | PictureTaken | LineRead | NicRead | VideoLossTold,
        *,
        at: float,
    ) -> None:
        """Take an event; those of cameras that are not ours are none of our business."""
        if isinstance(event, LineRead):
            self._line(event, at=at)
            return
        if isinstance(event, NicRead):
            camera = self._by_interface.get(event.interface, "")
        else:
            camera = event.camera
        wire = self._wires.get(camera)
        if wire is None:
            return
        if isinstance(event, NicRead):
            _nic(wire, event, at=at)
        else:
            _pictures(wire, event, at=at)

    def loop(self, camera: str, view: LoopView) -> None:
        """What the camera's loop says now."""
        if camera in self._wires:
            self._wires[camera].loop = view

    def unwatched(self) -> None:
        """Private: cameras are stopped, and the switch may have cut their power. Only loops are believed until `watched`."""
        self._away = True
        for wire in self._wires.values():
            wire.video, wire.gap_at, wire.picture_at, wire.generation = None, None, None, None
            wire.host_gone = False

    def watched(self, *, at: float) -> None:
        """Live again. Cameras that had no power need a while to start."""
        self._away, self._believe_at = False, at + RESTART_S

    # -- what it means --

    def told(self, *, at: float) -> tuple[Diagnosis, ...]:
        """What stands, box first, after settling."""
        found, taken = self._found(at=at)
        for camera in taken - set(found):
            # What is told of it now is told of the box.
            self._standings[camera] = _Standing()
        for subject in {*self._standings, *found}:
            self._settle(subject, found.get(subject), at=at)
        standing = [stands.told for stands in self._standings.values() if stands.told is not None]
        return tuple(sorted(standing, key=lambda told: (":" not in told.subject, told.subject)))

    def well(self) -> frozenset[str]:
        """Subjects that were seen to be in order for long enough, as of the last `told`: silence is not health."""
        return frozenset(
            subject
            for subject, stands in self._standings.items()
            if stands.last is None and stands.well_since is not None
        )

    def deadline(self, *, at: float) -> float:
        """When `told` or `well` may next differ without an event."""
        due = [self._believe_at]
        for stands in self._standings.values():
            if stands.next is not None:
                due.append(stands.next_since + stands.next.wait_s)
            if stands.well_since is not None:
                due.append(stands.well_since + stands.heal_s)
        return min((moment for moment in due if moment > at), default=float("inf"))

    # -- inside --

    def _line(self, event: LineRead, *, at: float) -> None:
        if event.camera is None:
            if event.line is Line.POWER:
                self._power = _level(self._power, on=event.on, at=at)
            elif event.line is Line.MAINS_LOST:
                self._mains_lost = bool(event.on)
            return
        wire = self._wires.get(event.camera)
        if wire is None or wire.run is None:
            return
        on, value = event.on, ""
        if event.line is Line.CURRENT:
            on = None if event.value is None else event.value >= wire.run.current_min_ma
            value = "" if event.value is None else f"{event.value:.0f}"
        if event.line in _PICTURE_GONE and on is _PICTURE_GONE[event.line]:
            wire.gap_at = at
        level = _level(wire.lines.get(event.line), on=on, at=at, value=value)
        if level is None:
            wire.lines.pop(event.line, None)
        else:
            wire.lines[event.line] = level

    def _found(self, *, at: float) -> tuple[dict[str, Diagnosis], set[str]]:
        """What fits now, unsettled: the box's own causes take their cameras with them."""
        found: dict[str, Diagnosis] = {}
        taken: set[str] = set()
        beside = () if self._only_loops(at=at) else (*self._recorders(), self._supply())
        for diagnosis in (self._board(), *beside, self._conduit()):
            if diagnosis is not None:
                found[diagnosis.subject] = diagnosis
                if diagnosis.cause is not Cause.BOARD_FAULT:
                    taken |= set(diagnosis.cameras)
        for camera in self._wires:
            symptoms = self._symptoms(camera, at=at)
            only_loops = self._only_loops(at=at)
            diagnosis = _by_loop(symptoms) if only_loops else diagnose(symptoms)
            # Who took a camera away matters more than the conduit that was cut with it.
            urgent = diagnosis is not None and diagnosis.cause is Cause.CAMERA_TAKEN
            if diagnosis is not None and (camera not in taken or urgent):
                found[camera] = diagnosis
        return found, taken

    def _only_loops(self, *, at: float) -> bool:
        """Whether cameras have no power for a reason that is known, or have only just got it back."""
        return self._mains_lost or self._away or at < self._believe_at

    def _conduit(self) -> Diagnosis | None:
        views = {camera: wire.loop for camera, wire in self._wires.items() if wire.loop is not None}
        together = tuple(opened_together(views))
        if not together:
            return None
        since = min(views[camera].since for camera in together)
        seen = Seen(Sign.LOOP_TOGETHER, since, ", ".join(together))
        return _of_box("box:conduit", Cause.CONDUIT_CUT, together, seen)

    def _supply(self) -> Diagnosis | None:
        if self._power is None or self._power.on:
            return None
        since = self._power.since
        fed = {
            camera: wire
            for camera, wire in self._wires.items()
            if wire.kind in (Kind.BALUN, Kind.COAX) and wire.run is not None
        }
        # Nothing is known to hang on it; or a picture was taken since then, and it is the sensor that failed.
        if not fed or any((wire.picture_at or 0.0) >= since + AFTER_S for wire in fed.values()):
            return None
        seen = Seen(Sign.POWER_GONE, since)
        told = _of_box("box:power", Cause.POWER_DEAD, tuple(fed), seen)
        return replace(told, wait_s=OPEN_S)

    def _recorders(self) -> list[Diagnosis]:
        """Addresses with several cameras, none of which answers."""
        found = []
        for host in sorted({wire.host for wire in self._wires.values() if wire.host}):
            of_host = {camera: wire for camera, wire in self._wires.items() if wire.host == host}
            gone = [wire.video for wire in of_host.values() if wire.host_gone and wire.video]
            if len(of_host) < 2 or len(gone) < len(of_host):
                continue
            seen = Seen(Sign.ALL_LOST, min(level.since for level in gone), ", ".join(of_host))
            told = _of_box(f"recorder:{host}", Cause.RECORDER_DEAD, tuple(of_host), seen)
            found.append(replace(told, wait_s=RESTART_S))
        return found

    def _board(self) -> Diagnosis | None:
        views = {
            camera: wire.loop
            for camera, wire in self._wires.items()
            if wire.loop is not None and wire.loop.state is LoopState.SENSOR_FAULT
        }
        if not views:
            return None
        first = min(views.values(), key=lambda view: view.since)
        seen = Seen(Sign.LOOP_UNREADABLE, first.since, first.why)
        return _of_box("box:board", Cause.BOARD_FAULT, tuple(views), seen)

    def _symptoms(self, camera: str, *, at: float) -> Symptoms:
        wire = self._wires[camera]
        known = self._standings[camera].last if camera in self._standings else None
        others = [
            other
            for name, other in self._wires.items()
            if name != camera and other.host == wire.host and wire.host
        ]
        return Symptoms(
            camera=camera,
            kind=wire.kind,
            loop=wire.loop,
            video=wire.video,
            picture_at=wire.picture_at,
            gap_at=wire.gap_at,
            electrical=wire.electrical,
            wire=wire.lines.get(Line.VIDEO),
            alarm=wire.lines.get(Line.NVR_ALARM),
            told=wire.told,
            current=wire.lines.get(Line.CURRENT),
            link=wire.link,
            slow=wire.slow,
            errors=_many(wire.errors, CRC_ERRORS, at=at),
            drops=_many(wire.drops, LINK_DROPS, at=at),
            power=self._power,
            others_fine=sum(1 for other in others if other.video is not None and other.video.on),
            companions=self._companions(camera),
            known=known.cause if known is not None else None,
        )

    def _companions(self, camera: str) -> tuple[str, ...]:
        """Cameras whose loops opened at the same moment."""
        mine = self._wires[camera].loop
        if mine is None or mine.state is not LoopState.OPEN:
            return ()
        return tuple(
            other
            for other, wire in self._wires.items()
            if other != camera
            and wire.loop is not None
            and wire.loop.state is LoopState.OPEN
            and abs(wire.loop.since - mine.since) <= TOGETHER_S
        )

    def _in_order(self, subject: str, told: Diagnosis | None) -> bool:
        """Whether a subject without a cause was seen to work."""
        if subject.startswith("recorder:"):
            host = subject.partition(":")[2]
            wires = [wire for wire in self._wires.values() if wire.host == host]
            return not wires or any(_fresh(wire) for wire in wires)
        if subject == "box:power":
            return self._power is not None and self._power.on
        loops = [wire.loop.state for wire in self._wires.values() if wire.loop is not None]
        if subject == "box:conduit":
            return any(state not in (*_BLIND, LoopState.OPEN) for state in loops)
        if subject == "box:board":
            return any(state is not LoopState.UNKNOWN for state in loops)
        wire = self._wires.get(subject)
        if wire is None:
            return True  # no camera of this box any more
        return _fresh(wire) and (told is None or _whole_again(wire.loop, told))

    def _settle(self, subject: str, found: Diagnosis | None, *, at: float) -> None:
        stands = self._standings.setdefault(subject, _Standing())
        if found is None:
            stands.next = None
            in_order = self._in_order(subject, stands.last)
            if not in_order:
                stands.well_since = None
            elif stands.well_since is None:
                stands.well_since = at
            elif stands.last is not None and at >= stands.well_since + stands.heal_s:
                stands.told, stands.known, stands.ended_at = None, None, at
            return
        stands.well_since = None
        if stands.told is not None and stands.told.cause is found.cause:
            stands.next = None
            stands.told = replace(found, since=stands.told.since)
            return
        if stands.next is None or stands.next.cause is not found.cause:
            stands.next_since = at
        stands.next = found
        if at >= stands.next_since + found.wait_s:
            stands.begin(found, at=at)


def _whole_again(loop: LoopView | None, told: Diagnosis) -> bool:
    """What a loop told, a loop must take back: one that is blind says nothing."""
    if loop is None or not told.seen or not told.seen[0].sign.value.startswith("loop_"):
        return True
    if told.seen[0].sign is Sign.LOOP_NIGHTS and loop.night_rise_ohm is None:
        return False
    return loop.state not in _BLIND


def _of_box(subject: str, cause: Cause, cameras: tuple[str, ...], *seen: Seen) -> Diagnosis:
    return Diagnosis(subject=subject, cause=cause, since=seen[0].since, cameras=cameras, seen=seen)


def _shared(host: str, hosts: Mapping[str, str]) -> bool:
    return bool(host) and sum(1 for other in hosts.values() if other == host) > 1


def _kind(run: Run | None, *, recorder: bool) -> Kind:
    if run is not None:
        return kind_of(run, recorder=recorder)
    return Kind.BALUN if recorder else Kind.NETWORK


def _fresh(wire: _Wire) -> bool:
    return wire.video is not None and wire.video.on


def _level(before: Level | None, *, on: bool | None, at: float, value: str = "") -> Level | None:
    """The level now; since when it is so survives a repeated reading."""
    if on is None:
        return None
    since = before.since if before is not None and before.on is on else at
    return Level(on=on, since=since, value=value)


def _pictures(wire: _Wire, event: CameraLost | PictureTaken | VideoLossTold, *, at: float) -> None:
    if isinstance(event, CameraLost):
        wire.video = _level(wire.video, on=False, at=at, value=event.cause.value)
        wire.electrical = event.cause not in _SETTINGS
        wire.host_gone = event.cause in _HOST_GONE
        wire.gap_at = at
    elif isinstance(event, VideoLossTold):
        wire.told = _level(wire.told, on=event.lost, at=at, value=event.why)
        if event.lost:
            wire.gap_at = at
    else:
        if wire.generation is not None and event.generation != wire.generation:
            wire.gap_at, wire.video = event.taken_at, None
        wire.generation = event.generation
        wire.video = _level(wire.video, on=True, at=event.taken_at)
        wire.electrical, wire.host_gone = True, False
        wire.picture_at = event.taken_at


def _nic(wire: _Wire, event: NicRead, *, at: float) -> None:
    wire.link = _level(wire.link, on=event.carrier, at=at)
    speed = event.speed_mbit
    if event.carrier and speed is not None and speed > 0:
        wire.best_mbit = max(wire.best_mbit, speed)
        slower = speed < wire.best_mbit
        value = f"{wire.best_mbit} -> {speed}"
        wire.slow = _level(wire.slow, on=slower, at=at, value=value)
    _count(wire.errors, event.crc_errors, at=at)
    _count(wire.drops, event.carrier_downs, at=at)


def _count(counts: list[tuple[float, int]], count: int | None, *, at: float) -> None:
    """Keep what a counter said in the last window, and the last one before it."""
    if count is None:
        return
    if counts and count < counts[-1][1]:
        counts.clear()  # the interface was made anew
    if not counts or count != counts[-1][1]:
        counts.append((at, count))
    while len(counts) > 1 and counts[1][0] < at - CRC_WINDOW_S:
        counts.pop(0)


def _many(counts: Sequence[tuple[float, int]], limit: int, *, at: float) -> Level | None:
    if not counts:
        return None
    within = [entry for entry in counts if entry[0] >= at - CRC_WINDOW_S]
    grown = counts[-1][1] - counts[0][1]
    if not within or grown < limit:
        return Level(on=False, since=at)
    return Level(on=True, since=within[0][0], value=str(grown))
