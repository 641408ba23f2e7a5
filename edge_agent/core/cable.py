"""What the supervised pair of a camera's run says: how it was commissioned, and its state over time.

Promises: the first reading that is not normal breaks continuity at once; a state needs three readings and a way back more, so
a bounce is no work order; video is held from the first doubtful reading until the pair has read normal for 3 s, and coming
back to normal restores no trust; what cannot be read is never taken for normal; a baseline exists whole, or not at all.
Thresholds, numbers and the reasons for them: docs/design/cable.md.
Not its job: what broke (diagnosis.py joins the loop with video, current, link and power), what a picture shows (scene.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from edge_agent.core.messages import BaselineRead, FindingKey, Json, LoopMeasured, LoopRead
from edge_agent.core.settings import LoopOpenPolicy, MeasuredLoop, Run

# ---- thresholds (docs/design/cable.md, "States") ----

OPEN_OHM: Final = 1000.0
# Between a bare short (r_zero) and a plug (r_plug) the limit lies a little below the middle: about 55 ohm.
SHORT_SHARE: Final = 0.45
# Copper warms by 12 % from 24 to 60 degrees C; a loop that got shorter than that is another cable.
SHORTER_OHM: Final = 1.5
SHORTER_SHARE: Final = 0.15
HIGH_OHM: Final = 2.5
HIGH_SHARE: Final = 0.30
TAMPER_WITHIN_OHM: Final = 30.0
# The band of a normal loop is so much wider to leave than to come back into.
HYSTERESIS_OHM: Final = 0.5
ENTER_READINGS: Final = 3
AMONG_READINGS: Final = 5  # a contact that chatters is open, though no three readings in a row are
RETURN_READINGS: Final = 6  # 3 s at 2 Hz: a splice that is being twisted together is not mended yet
OPEN_FOR_S: Final = 1.5  # the same two for a digital loop, which tells changes
CLOSED_FOR_S: Final = 3.0
SILENT_S: Final = 10.0  # a board that tells nothing for so long is as good as dead
NOISY_OHM: Final = 0.8
NOISY_WINDOW_S: Final = 60.0
NOISY_READINGS: Final = 20
CALM_OHM: Final = 0.6  # the flag falls below this only, or it would come and go with each gust
CHATTER: Final = 4  # so many departures from normal within the window are a loose contact too
# In half a second the sun changes nothing: a jump of 1.5 ohm (8 m of Cat5e) is another cable or a joint that gave way.
JUMP_OHM: Final = 1.5
NIGHT_FROM_H: Final = (
    3.0  # from three to five the conductor is as warm as the air, 24 +- 2 degrees C
)
NIGHT_TO_H: Final = 5.0
LOCAL_S: Final = 7 * 3600  # Java keeps UTC+7, without summer time
NIGHT_EVERY_S: Final = 10.0
NIGHT_READINGS: Final = 60  # ten minutes' worth: enough for a median
NIGHT_OHM: Final = 0.6
TOGETHER_S: Final = 5.0  # loops that open within this opened together

# ---- error budget, ohm (docs/design/cable.md, "How far off") ----

_READING_OHM: Final = 0.27  # root of the sum of squares of everything but copper
_COPPER_SHARE: Final = 0.07  # copper between 22 and 60 degrees C, around its middle

# What is cut off at both ends, led up the pole and spoilt by the first try; cable is sold in steps of 5 m.
SLACK: Final = 0.10
STEP_M: Final = 5


def metres_to_bring(length_m: float) -> int:
    """Length of the run with slack, rounded up to what is sold."""
    # Rounded to the centimetre first: 50 m * 1.1 is a hair over 55 in binary, and must not become 60.
    return math.ceil(round(length_m * (1 + SLACK), 2) / STEP_M) * STEP_M


# ---- equations ----


def ohm_of_counts(counts: float, *, rref_ohm: float, bits: int) -> float:
    """Resistance at the terminals: R = Rref * c / (2^n - c). Full scale is an open circuit: infinite."""
    full = 1 << bits
    if counts >= full - 1:
        return math.inf
    return rref_ohm * max(0.0, counts) / (full - counts)


def counts_of_ohm(ohm: float, *, rref_ohm: float, bits: int) -> float:
    """What the converter shows for *ohm*: the inverse of `ohm_of_counts`, at most full scale."""
    full = 1 << bits
    if math.isinf(ohm):
        return full - 1.0
    return min(full - 1.0, full * ohm / (ohm + rref_ohm))


# ---- commissioning ----


@dataclass(frozen=True, slots=True)
class _Copper:
    """Loop resistance of a type of cable, ohm per metre of run at 20 degrees C, in plain copper."""

    thinnest: float
    thickest: float


# Cat5e is AWG 24 (0.1876), Cat6 mostly AWG 23; the two-core alarm wire beside an RG59 is sold from 0.22 to 0.5 mm2.
_CAT5E: Final = _Copper(0.19, 0.18)
_CAT6: Final = _Copper(0.19, 0.13)
_PAIR: Final = _Copper(0.16, 0.065)
_COPPER: Final[Mapping[str, _Copper]] = {
    "cat5e-outdoor": _CAT5E,
    "cat6-outdoor": _CAT6,
    "rg59-pair": _PAIR,
}
# A conductor at 10 degrees C reads 4 % less than at 20, one at 70 20 % more; a typed length may be 5 % off.
_COOLEST: Final = 0.96 * 0.95
_HOTTEST: Final = 1.20 * 1.05
# Copper-clad aluminium: 40 % more by one source, twice as much by another.
_CLAD: Final = 2.0
# Joints and the second contact of a plug; it decides on a run of a few metres only.
_JOINTS_OHM: Final = 0.3
SERIES_OHM: Final = 9.4  # two fusible resistors of 4.7 ohm in each loop of the board
_ZERO_OHM: Final = (5.0, 15.0)
_EOL_SHARE: Final = 0.10  # far wider than a 1 % part, far narrower than the next value on the shelf
QUIET_OHM: Final = 0.5
LENGTH_MAX_M: Final = 500.0
_LENGTH_SHARE: Final = 0.10


class Step(Enum):
    """The three readings of a commissioning, in order."""

    ZERO = "zero"  # a jumper across the terminals
    PLUG = "plug"  # the camera's own plug at the terminals
    BASE = "base"  # the plug in its place at the camera


_STEP_WORDS: Final[Mapping[Step, str]] = {
    Step.ZERO: "jumper across the terminals",
    Step.PLUG: "plug at the terminals",
    Step.BASE: "plug at the camera",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading at commissioning. *ohm* None or infinite = nothing there."""

    ohm: float | None
    spread_ohm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a step should read."""

    step: Step
    ohm: tuple[float, float]
    counts: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A run as it was commissioned: three readings, and the length a person measured."""

    camera: str
    cable: str
    length_m: float
    r_zero_ohm: float
    r_plug_ohm: float
    r_base_ohm: float
    rref_ohm: float
    bits: int
    eol_ohm: float
    tamper_ohm: float | None
    wall_s: float  # Unix time, a label only
    trusted: bool
    owner: str  # who commissioned it

    @property
    def copper_ohm(self) -> float:
        """Of the cable alone."""
        return self.r_base_ohm - self.r_plug_ohm

    @property
    def ohm_per_m(self) -> float:
        """Of loop, per metre of run."""
        return self.copper_ohm / self.length_m

    @property
    def clad(self) -> bool:
        """Reads like copper-clad aluminium: it breaks sooner, and must be replaced by plain copper."""
        return _COPPER[self.cable].thinnest * _HOTTEST < self.ohm_per_m

    @property
    def short_ohm(self) -> float:
        """Below this it is a short."""
        return self.r_zero_ohm + SHORT_SHARE * (self.r_plug_ohm - self.r_zero_ohm)

    @property
    def low_ohm(self) -> float:
        """Below this the run is shorter than commissioned."""
        return self.r_base_ohm - max(SHORTER_OHM, SHORTER_SHARE * self.copper_ohm)

    @property
    def high_ohm(self) -> float:
        """Above this something is in the way, or the run is longer."""
        return self.r_base_ohm + max(HIGH_OHM, HIGH_SHARE * self.copper_ohm)

    def length_at(self, ohm: float) -> tuple[float, float]:
        """Length of run that reads *ohm* with the plug at its end, and how far off that may be, in metres."""
        copper = max(0.0, ohm - self.r_plug_ohm)
        off_ohm = math.hypot(_READING_OHM, _COPPER_SHARE * copper)
        return copper / self.ohm_per_m, off_ohm / self.ohm_per_m

    def short_at_m(self, ohm: float) -> float:
        """A short that reads *ohm* lies at most so far from the box: its own contact adds resistance."""
        return min(self.length_m, max(0.0, ohm - self.r_zero_ohm) / self.ohm_per_m)


def expected(loop: MeasuredLoop, *, cable: str, length_m: float, bits: int) -> tuple[Expected, ...]:
    """What each step should read, to be shown before it is taken."""
    copper = _COPPER[cable]
    eol = (
        SERIES_OHM + loop.eol_ohm * (1 - _EOL_SHARE),
        SERIES_OHM + loop.eol_ohm * (1 + _EOL_SHARE),
    )
    base = (
        eol[0] + copper.thickest * _COOLEST * length_m,
        eol[1] + copper.thinnest * _HOTTEST * _CLAD * length_m + _JOINTS_OHM,
    )
    return tuple(
        Expected(
            step=step, ohm=(low, high), counts=(_counts(low, loop, bits), _counts(high, loop, bits))
        )
        for step, (low, high) in ((Step.ZERO, _ZERO_OHM), (Step.PLUG, eol), (Step.BASE, base))
    )


def _counts(ohm: float, loop: MeasuredLoop, bits: int) -> int:
    return round(counts_of_ohm(ohm, rref_ohm=loop.rref_ohm, bits=bits))


def commission(
    run: Run,
    samples: Mapping[Step, Sample],
    *,
    length_m: float,
    bits: int,
    wall_s: float,
    trusted: bool,
    owner: str,
) -> Baseline | tuple[str, ...]:
    """A baseline from the three readings and the typed length, or every reason against it in words."""
    if not isinstance(run.loop, MeasuredLoop) or run.cable not in _COPPER:
        return (
            (
                f"The run of {run.camera} has no measured loop (cable {run.cable}): nothing to commission."
                " Fit one and name it in box.toml, or leave this run as it is."
            ),
        )
    refusals = [*_length_refusals(run, length_m), *_sample_refusals(samples)]
    if refusals:
        return tuple(refusals)
    zero, plug, base = (samples[step].ohm or 0.0 for step in Step)
    refusals = _order_refusals(zero, plug, base, run.loop) or [
        *_zero_refusals(zero),
        *_plug_refusals(plug - zero, run.loop),
        *_copper_refusals(base - plug, run.cable, length_m, run.loop),
    ]
    if refusals:
        return tuple(refusals)
    return Baseline(
        camera=run.camera,
        cable=run.cable,
        length_m=length_m,
        r_zero_ohm=zero,
        r_plug_ohm=plug,
        r_base_ohm=base,
        rref_ohm=run.loop.rref_ohm,
        bits=bits,
        eol_ohm=run.loop.eol_ohm,
        tamper_ohm=run.loop.tamper_ohm,
        wall_s=wall_s,
        trusted=trusted,
        owner=owner,
    )


def _length_refusals(run: Run, length_m: float) -> list[str]:
    if not 0 < length_m <= LENGTH_MAX_M:
        return [
            f"A length of {length_m:g} m is impossible: measure the cable; above 0 and at most {LENGTH_MAX_M:g} m."
        ]
    if abs(length_m - run.length_m) > _LENGTH_SHARE * run.length_m:
        return [
            (
                f"You measured {length_m:g} m, box.toml says {run.length_m:g} m: one of them is wrong, and a technician would"
                " come with the wrong length. Measure again, or correct length_m in box.toml."
            )
        ]
    return []


def _sample_refusals(samples: Mapping[Step, Sample]) -> list[str]:
    refusals = []
    for step in Step:
        sample = samples.get(step)
        what = _STEP_WORDS[step]
        if sample is None or sample.ohm is None or math.isnan(sample.ohm):
            refusals.append(f"There is no reading for the {what}: take it again.")
        elif sample.ohm > OPEN_OHM:
            refusals.append(
                f"The {what} reads as an open circuit: tighten both screws and see that it is plugged in, then read again."
            )
        elif not sample.spread_ohm <= QUIET_OHM:
            refusals.append(
                f"The {what} is too noisy ({sample.spread_ohm:.2f} ohm, at most {QUIET_OHM} ohm): a loose terminal, or the"
                " cable lies beside a mains cable. Tighten or move it, then read again."
            )
    return refusals


def _order_refusals(zero: float, plug: float, base: float, loop: MeasuredLoop) -> list[str]:
    """Readings in an impossible order; nothing else about them is worth saying then."""
    numbers = f"({zero:.1f}, {plug:.1f}, {base:.1f} ohm)"
    if plug < zero + 0.2 * loop.eol_ohm:
        return [
            (
                f"Jumper and plug at the terminals are in an impossible order {numbers}: the jumper must read about"
                f" {loop.eol_ohm:g} ohm less than the plug. Were they swapped, or was the jumper left in? Read both again."
            )
        ]
    if base < zero + SHORT_SHARE * (plug - zero):
        return [
            f"With the plug at the camera the pair reads as a short {numbers}: its wires touch. Mend the cable first."
        ]
    if base < plug:
        return [
            (
                f"Plug at the terminals and plug at the camera are in an impossible order {numbers}: the cable cannot take"
                " resistance away. Were they swapped? Read both again."
            )
        ]
    return []


def _zero_refusals(zero: float) -> list[str]:
    low, high = _ZERO_OHM
    if low <= zero <= high:
        return []
    why = (
        "the fusible resistors are bridged or missing, so nothing protects the board"
        if zero < low
        else "a fusible resistor, the jumper or a terminal is bad"
    )
    return [
        f"The jumper across the terminals reads {zero:.1f} ohm, not {low:g} to {high:g}: {why}."
    ]


def _plug_refusals(eol: float, loop: MeasuredLoop) -> list[str]:
    if abs(eol - loop.eol_ohm) <= _EOL_SHARE * loop.eol_ohm:
        return []
    if (
        loop.tamper_ohm is not None
        and abs(eol - loop.eol_ohm - loop.tamper_ohm) < TAMPER_WITHIN_OHM
    ):
        return [
            f"The plug reads {eol:.1f} ohm: its housing switch is open. Close the housing, then read again."
        ]
    return [
        (
            f"The plug reads {eol:.1f} ohm, box.toml says eol_ohm = {loop.eol_ohm:g}: a wrong resistor, a bad contact or the wrong"
            " plug. Take the right plug, or correct eol_ohm."
        )
    ]


def _copper_refusals(copper: float, cable: str, length_m: float, loop: MeasuredLoop) -> list[str]:
    bounds = _COPPER[cable]
    low = bounds.thickest * _COOLEST * length_m - _JOINTS_OHM
    high = bounds.thinnest * _HOTTEST * _CLAD * length_m + _JOINTS_OHM
    if low <= copper <= high:
        return []
    if loop.tamper_ohm is not None and abs(copper - loop.tamper_ohm) < TAMPER_WITHIN_OHM:
        return [
            (
                f"With the plug at the camera there are {copper:.1f} ohm more than at the terminals: its housing is open."
                " Close it, then read again."
            )
        ]
    why = (
        "the cable is shorter than typed, thicker than its type, or the plug is not at its end"
        if copper < low
        else "even copper-clad aluminium has less: the cable is longer than typed, or a joint is bad"
    )
    return [
        (
            f"{copper:.2f} ohm of wire for {length_m:g} m of {cable} is {copper / length_m:.3f} ohm per metre, impossible for"
            f" copper or copper-clad aluminium ({max(0.0, low):.2f} to {high:.2f} ohm): {why}. Measure the length again."
        )
    ]


# ---- states ----


class LoopState(Enum):
    """Of the supervised pair."""

    UNKNOWN = "unknown"  # not commissioned, or not read often enough since the start
    SENSOR_FAULT = (
        "sensor fault"  # the board failed its self-test or tells nothing: a fault of the box
    )
    OPEN = "open"
    SHORT = "short"
    SHORTER = "shorter"
    NORMAL = "normal"
    HIGH_R = "high resistance"
    TAMPER = "tamper"


class Change(Enum):
    """How a resistance left its band."""

    STEP = "step"  # after the pair was open or shorted: another cable may hang there
    UNSEEN = "unseen"  # nobody looked: at the start, or after a blind spell
    JUMP = "jump"  # between two readings, never open: a joint gave way
    DRIFT = "drift"  # slowly: corrosion, or water


_OTHER_CABLE: Final = frozenset({Change.STEP, Change.UNSEEN})

# The pair is not what was commissioned. From the first such reading video is held (`Loop.forbids`).
_BROKEN: Final = frozenset(
    {LoopState.OPEN, LoopState.SHORT, LoopState.SHORTER, LoopState.HIGH_R, LoopState.TAMPER}
)
# With these, video that never broke may go on where the policy says so.
_FORGIVABLE: Final = frozenset({LoopState.OPEN, LoopState.SHORT, LoopState.HIGH_R})
# Read with the plug at the end, so their ohm compare.
_LENGTHS: Final = frozenset({LoopState.SHORTER, LoopState.NORMAL, LoopState.HIGH_R})
_BLIND: Final = frozenset({LoopState.UNKNOWN, LoopState.SENSOR_FAULT})

_FINDINGS: Final[Mapping[LoopState, FindingKey]] = {
    LoopState.SENSOR_FAULT: FindingKey.CABLE_UNREADABLE,
    LoopState.OPEN: FindingKey.CABLE_OPEN,
    LoopState.SHORT: FindingKey.CABLE_SHORT,
    LoopState.SHORTER: FindingKey.CABLE_OTHER_LENGTH,
    LoopState.TAMPER: FindingKey.CABLE_HOUSING_OPEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopView:
    """What the loop says now."""

    state: LoopState
    since: float  # first reading of this state
    finding: FindingKey | None
    why: str = ""
    noisy: bool = False
    change: Change | None = None  # for SHORTER and HIGH_R
    was: LoopState | None = None  # the fault before this one, without a normal spell in between
    ohm: float | None = None  # last finite reading
    base_ohm: float | None = None
    short_at_m: float | None = None  # SHORT: at most so far from the box
    length_m: float | None = None  # SHORTER, HIGH_R after a step: what hangs there now
    length_off_m: float | None = None  # and how far off that may be
    night_rise_ohm: float | None = None  # last night's median above the first night's


class Loop:
    """One run's loop. Owned by the agent.

    `epoch` counts breaks of continuity; `doubt_since` is when video began to be in doubt (None = it is not).
    """

    def __init__(
        self,
        run: Run,
        *,
        at: float,
        baseline: Baseline | None = None,
        night_ohm: float | None = None,
    ) -> None:
        """*night_ohm*: the median of the first night after commissioning, as `night_ohm` gave it before a restart."""
        self.run = run
        self.epoch = 0
        self.doubt_since: float | None = None
        self.night_ohm = night_ohm
        self._baseline = baseline
        self._commissioned = baseline  # the last one that could be read
        self._why_no_baseline = ""
        self._state = LoopState.UNKNOWN
        self._since = at
        self._was: LoopState | None = None
        self._last = LoopState.UNKNOWN  # what the last reading alone says
        self._last_at: float | None = None
        self._streak = 0
        self._streak_at = at
        self._recent: deque[tuple[LoopState, float]] = deque(maxlen=AMONG_READINGS)
        self._digital = False
        self._seen: set[LoopState] = set()  # broken states since video is in doubt
        self._change: Change | None = None
        self._steady: deque[float] = deque(maxlen=AMONG_READINGS)
        self._ohm: float | None = None
        self._noise = _Noise()
        self._nights = _Nights()
        self._night_rise_ohm: float | None = None
        self._why = ""

    @property
    def state(self) -> LoopState:
        """As confirmed by several readings."""
        return self._state

    @property
    def last(self) -> LoopState:
        """What the last reading alone says."""
        return self._last

    @property
    def strict(self) -> bool:
        """The loop vouches for nothing: a scene must prove itself more than usually (as where no loop is fitted)."""
        return self.doubt_since is not None or self._state is not LoopState.NORMAL

    def forbids(self, *, video_unbroken: bool) -> bool:
        """Whether video is held, whatever it shows.

        *video_unbroken*: no gap of more than 1 s and no new connection since `doubt_since`. A scene that fails a check
        is the gate's own matter. A board that fails meanwhile mends no cable.
        """
        if self.doubt_since is None:
            return False
        if self.run.loop_open_policy is not LoopOpenPolicy.SCENE_STRICT or self._seen - _FORGIVABLE:
            return True
        crept = self._seen == {LoopState.HIGH_R} and self._change is Change.DRIFT
        return not (video_unbroken or crept)

    # -- readings --

    def commissioned(self, event: BaselineRead, *, at: float) -> bool:
        """Take a baseline; True if it breaks continuity.

        A new one is a person's word and starts the loop afresh. One that cannot be read, and can be again, mends no cable.
        """
        self._why_no_baseline = event.why
        if event.baseline == self._baseline:
            return False
        self._baseline = event.baseline
        if event.baseline is not None and event.baseline != self._commissioned:
            self._commissioned = event.baseline
            self.doubt_since, self._was, self._change = None, None, None
            self._seen.clear()
            self.night_ohm = None
        self._night_rise_ohm = None
        self._nights = _Nights()
        self._noise = _Noise()
        self._steady.clear()
        self._recent.clear()
        self._state, self._since = LoopState.UNKNOWN, at
        self._last, self._streak = LoopState.UNKNOWN, 0
        self.epoch += 1
        return True

    def read(
        self, event: LoopRead | LoopMeasured, *, at: float, wall_s: float | None = None
    ) -> bool:
        """Take a reading; True if it breaks continuity. *wall_s*: Unix time, if and only if something vouches for it."""
        late = self.timed(at=at)
        self._digital = isinstance(event, LoopRead)
        self._why = event.why
        self._last_at = at
        if isinstance(event, LoopRead):
            sort = _sort_contact(closed=event.closed)
        else:
            sort = self._sort_ohm(event.ohm)
            self._keep(event, sort, at=at, wall_s=wall_s)
        broke = self._take(sort, at=at)
        self.timed(at=at)
        return broke or late

    def timed(self, *, at: float) -> bool:
        """What time alone brings; True if it breaks continuity."""
        if self._last_at is None:
            return False
        if self._digital:
            lasting = CLOSED_FOR_S if self._last is LoopState.NORMAL else OPEN_FOR_S
            first = self._state is LoopState.UNKNOWN and self.doubt_since is None
            if self._last is not self._state and (first or at >= self._streak_at + lasting):
                self._enter(self._last, since=self._streak_at)
            elif self._settles_doubt and at >= self._streak_at + lasting:
                self._settle()
            return False
        if at < self._last_at + SILENT_S or self._last is LoopState.SENSOR_FAULT:
            return False
        self._why = f"no reading for {SILENT_S:g} s"
        broke = self._take(LoopState.SENSOR_FAULT, at=self._last_at + SILENT_S)
        self._enter(LoopState.SENSOR_FAULT, since=self._last_at + SILENT_S)
        return broke

    def deadline(self, *, at: float) -> float | None:
        """When `timed` may next change something without a reading."""
        if self._last_at is None:
            return None
        if self._digital:
            if self._last is self._state and not self._settles_doubt:
                return None
            lasting = CLOSED_FOR_S if self._last is LoopState.NORMAL else OPEN_FOR_S
            due = self._streak_at + lasting
        elif self._last is LoopState.SENSOR_FAULT:
            return None
        else:
            due = self._last_at + SILENT_S
        return max(due, at)

    # -- answers --

    def view(self, *, at: float) -> LoopView:
        """State and finding after the last reading and the last `timed`."""
        length = self._length()
        base = self._baseline
        return LoopView(
            state=self._state,
            since=self._since,
            finding=self._finding(at),
            why=self._why or self._why_no_baseline,
            noisy=self._noise.noisy(at),
            change=self._change if self._state in (LoopState.SHORTER, LoopState.HIGH_R) else None,
            was=self._was,
            ohm=self._ohm,
            base_ohm=None if base is None else base.r_base_ohm,
            short_at_m=self._short_at_m(),
            length_m=None if length is None else length[0],
            length_off_m=None if length is None else length[1],
            night_rise_ohm=self._night_rise_ohm,
        )

    def evidence(self) -> dict[str, Json]:
        """What a finding needs beside its key."""
        said: dict[str, Json] = {
            "loop": self._state.value,
            "length_m": self.run.length_m,
            "bring_m": metres_to_bring(self.run.length_m),
            "cable": self.run.cable,
            "place": self.run.place,
        }
        length, short_at_m = self._length(), self._short_at_m()
        if length is not None:
            said["length_now_m"] = round(length[0], 1)
        if short_at_m is not None:
            said["short_at_m"] = round(short_at_m, 1)
        return said

    # -- inside --

    def _sort_ohm(self, ohm: float | None) -> LoopState:
        if ohm is None or math.isnan(ohm):
            return LoopState.SENSOR_FAULT
        base = self._baseline
        if base is None:
            return LoopState.UNKNOWN
        wider = HYSTERESIS_OHM if self._state is LoopState.NORMAL else 0.0
        if ohm > OPEN_OHM:
            return LoopState.OPEN
        if ohm < base.short_ohm:
            return LoopState.SHORT
        if ohm < base.low_ohm - wider:
            return LoopState.SHORTER
        if ohm <= base.high_ohm + wider:
            return LoopState.NORMAL
        tamper = base.tamper_ohm
        if tamper is not None and abs(ohm - base.r_base_ohm - tamper) <= TAMPER_WITHIN_OHM:
            return LoopState.TAMPER
        return LoopState.HIGH_R

    def _keep(
        self, event: LoopMeasured, sort: LoopState, *, at: float, wall_s: float | None
    ) -> None:
        """Numbers for the flags beside the state."""
        before = self._ohm
        if event.ohm is not None and math.isfinite(event.ohm):
            self._ohm = event.ohm
        if sort not in _LENGTHS or event.ohm is None:
            self._noise.clear()
            if sort in _BROKEN:
                self._change = Change.STEP  # whatever comes after this did not creep
            return
        if sort is not self._last:
            self._noise.anew()  # a step is no noise
        self._noise.add(event.ohm, event.spread_ohm, at=at)
        if sort is not LoopState.NORMAL:
            self._change = self._how(event.ohm, before, sort)
            return
        if self.doubt_since is None:
            self._steady.append(event.ohm)
        if self._state is LoopState.NORMAL and wall_s is not None:
            self._night(event.ohm, at=at, wall_s=wall_s)

    def _how(self, ohm: float, before: float | None, sort: LoopState) -> Change:
        """How the band was left: what was read right before decides."""
        if self._change is not None and sort in self._seen:
            moved = self._last in _BLIND and before is not None and abs(ohm - before) >= JUMP_OHM
            return Change.UNSEEN if moved else self._change
        if self._seen - _LENGTHS:
            return Change.STEP
        if not self._steady or (self._last in _BLIND and not self._seen):
            return Change.UNSEEN
        usual = sorted(self._steady)[len(self._steady) // 2]
        return Change.JUMP if abs(ohm - usual) >= JUMP_OHM else Change.DRIFT

    def _night(self, ohm: float, *, at: float, wall_s: float) -> None:
        median = self._nights.add(ohm, at=at, wall_s=wall_s)
        if median is None:
            return
        if self.night_ohm is None:
            self.night_ohm = median
        self._night_rise_ohm = median - self.night_ohm

    def _take(self, sort: LoopState, *, at: float) -> bool:
        before, self._last = self._last, sort
        if sort is before:
            self._streak += 1
        else:
            self._streak, self._streak_at = 1, at
        self._recent.append((sort, at))
        if sort in _BROKEN:
            if before is LoopState.NORMAL:
                self._noise.departed(at)
            if self.doubt_since is None:
                self.doubt_since = at
            self._seen.add(sort)
        if not self._digital:
            self._confirm(sort)
        # The first normal reading after the start is no break; any other change is.
        broke = sort is not before and (
            sort is not LoopState.NORMAL or before is not LoopState.UNKNOWN
        )
        self.epoch += broke
        return broke

    def _confirm(self, sort: LoopState) -> None:
        """Enter a state when enough readings agree."""
        if sort is LoopState.NORMAL:
            fresh = self._state is LoopState.UNKNOWN and self.doubt_since is None
            if self._streak >= (ENTER_READINGS if fresh else RETURN_READINGS):
                self._enter(sort, since=self._streak_at)
            return
        times = [at for state, at in self._recent if state is sort]
        calm = self._state in (LoopState.NORMAL, LoopState.UNKNOWN)
        if len(times) >= ENTER_READINGS and (calm or self._streak >= ENTER_READINGS):
            self._enter(sort, since=times[0] if calm else self._streak_at)

    def _enter(self, state: LoopState, *, since: float) -> None:
        if state is LoopState.NORMAL:
            self._settle()
        if state is self._state:
            return
        self._was = (
            self._state if self._state in _BROKEN and state is not LoopState.NORMAL else None
        )
        self._state, self._since = state, since

    def _settle(self) -> None:
        self.doubt_since = None
        self._seen.clear()

    @property
    def _settles_doubt(self) -> bool:
        """A bounce that was too short to become a state, and is over."""
        return self._last is LoopState.NORMAL and self.doubt_since is not None

    def _short_at_m(self) -> float | None:
        if self._state is not LoopState.SHORT or self._baseline is None or self._ohm is None:
            return None
        return self._baseline.short_at_m(self._ohm)

    def _length(self) -> tuple[float, float] | None:
        shorter = self._state is LoopState.SHORTER and self._change is not Change.DRIFT
        longer = self._state is LoopState.HIGH_R and self._change in _OTHER_CABLE
        if not (shorter or longer) or self._baseline is None or self._ohm is None:
            return None
        return self._baseline.length_at(self._ohm)

    def _finding(self, at: float) -> FindingKey | None:
        if self._state is LoopState.HIGH_R:
            other = self._change in _OTHER_CABLE
            return FindingKey.CABLE_OTHER_LENGTH if other else FindingKey.CABLE_CORRODED
        if self._state is LoopState.SHORTER and self._change is Change.DRIFT:
            return FindingKey.CABLE_CORRODED
        if self._state in _FINDINGS:
            return _FINDINGS[self._state]
        if self._baseline is None and isinstance(self.run.loop, MeasuredLoop):
            return FindingKey.CABLE_NOT_COMMISSIONED
        return FindingKey.CABLE_LOOSE if self._noise.noisy(at) else None


def _sort_contact(*, closed: bool | None) -> LoopState:
    if closed is None:
        return LoopState.SENSOR_FAULT
    return LoopState.NORMAL if closed else LoopState.OPEN


class _Noise:
    """Whether a contact is loose: the spread of a minute, or one departure after another."""

    def __init__(self) -> None:
        self._wide = False
        self._readings: deque[tuple[float, float, float]] = deque()  # at, ohm, variance within
        self._departures: deque[float] = deque(maxlen=CHATTER)

    def noisy(self, at: float) -> bool:
        """The flag."""
        many = len(self._departures) == CHATTER
        return self._wide or (many and self._departures[0] >= at - NOISY_WINDOW_S)

    def add(self, ohm: float, spread_ohm: float, *, at: float) -> None:
        """A reading of a pair that is whole."""
        self._readings.append((at, ohm, spread_ohm**2))
        while self._readings[0][0] < at - NOISY_WINDOW_S:
            self._readings.popleft()
        count = len(self._readings)
        if count >= NOISY_READINGS:
            mean = sum(ohm for _, ohm, _ in self._readings) / count
            variance = sum((ohm - mean) ** 2 + within for _, ohm, within in self._readings) / count
            self._wide = variance > (CALM_OHM if self._wide else NOISY_OHM) ** 2

    def departed(self, at: float) -> None:
        """From normal to broken."""
        self._departures.append(at)

    def anew(self) -> None:
        """Another state: what was read before does not belong to what comes after."""
        self._readings.clear()

    def clear(self) -> None:
        """Open, shorted or unreadable: nothing to be noisy."""
        self._readings.clear()
        self._wide = False


class _Nights:
    """The median of the hours in which the sun plays no part."""

    def __init__(self) -> None:
        self._ohms: list[float] = []
        self._taken_at = -math.inf

    def add(self, ohm: float, *, at: float, wall_s: float) -> float | None:
        """Take a reading; the median, once, when a night is over."""
        hour = (wall_s + LOCAL_S) % 86_400 / 3600
        if NIGHT_FROM_H <= hour < NIGHT_TO_H:
            if at >= self._taken_at + NIGHT_EVERY_S:
                self._ohms.append(ohm)
                self._taken_at = at
            return None
        ohms, self._ohms = sorted(self._ohms), []
        return ohms[len(ohms) // 2] if len(ohms) >= NIGHT_READINGS else None


# ---- several loops ----


def opened_together(views: Mapping[str, LoopView]) -> Sequence[str]:
    """The cameras whose loops opened at once, if no loop is left that did not: a conduit was cut, or the terminal board is out.

    At least two, within `TOGETHER_S`; loops that were open before do not count, nor those that cannot be read.
    One that reads anything else makes it several faults, as nobody told the box which runs share a conduit.
    """
    known = {camera: view for camera, view in views.items() if view.state not in _BLIND}
    if any(view.state is not LoopState.OPEN for view in known.values()):
        return ()
    last = max((view.since for view in known.values()), default=0.0)
    together = [camera for camera, view in known.items() if view.since >= last - TOGETHER_S]
    return tuple(sorted(together)) if len(together) >= 2 else ()
