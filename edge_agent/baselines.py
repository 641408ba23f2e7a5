"""The commissioned baselines of the loops on disk: one small file a camera, whole or absent, checked before it is believed.

Promises: `save` leaves the old file or the new one, never a part; `load` gives exactly what was saved, for the run as box.toml
describes it now, or a `BaselineFault` that says why not and what to do; it never raises for what a disk can do.
File: one JSON object with its version, the SHA-256 of the baseline's own text, and the baseline.
Threads: `BaselineWatch` has one, which sleeps and looks at names and dates of files.
Not its job: making baselines (commission_run.py), judging readings by them (core/cable.py).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from edge_agent import whole
from edge_agent.core.cable import LENGTH_MAX_M, Baseline
from edge_agent.core.messages import BaselineRead, Event
from edge_agent.core.settings import CABLES, Electrics, MeasuredLoop, Run
from edge_agent.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION: Final = 1
MAX_FILE_BYTES: Final = 4096
SUFFIX: Final = ".run"
LOOK_S: Final = 2.0
# The technician's typed length may be so far from box.toml's (core/cable.py refuses more); farther apart, one of them is another run.
_LENGTH_SHARE: Final = 0.10
_OHM_MAX: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFault:
    """A baseline that cannot be used: the loop says nothing until it is commissioned again. `why` is for a technician."""

    camera: str
    why: str


class _Damaged(Exception):  # noqa: N818 - never leaves this module
    """What is wrong with the bytes."""


def path_of(folder: Path | str, camera_id: str) -> Path:
    """Where the baseline of *camera_id* lies. ValueError for an id that is no camera id (and so never a path)."""
    return whole.file_of(folder, camera_id, SUFFIX)


def stamp(folder: Path | str, camera_id: str) -> whole.Stamp:
    """Changes whenever the file is replaced, and costs one stat; None = no file (or none that can be seen)."""
    return whole.stamp(path_of(folder, camera_id))


def load(folder: Path | str, run: Run, electrics: Electrics) -> Baseline | BaselineFault | None:
    """The baseline of *run*; None = never commissioned; a fault if there is a file but no trust in it."""
    path = path_of(folder, run.camera)
    again = f"; at the box: edge-agent commission {run.camera} --run"
    try:
        with path.open("rb") as file:
            baseline = _decode(file.read(MAX_FILE_BYTES + 1))
    except FileNotFoundError:
        return None
    except OSError as error:
        why = f"{path}: cannot be read: {error.strerror or error}"
        return BaselineFault(camera=run.camera, why=why)
    except _Damaged as damage:
        return BaselineFault(camera=run.camera, why=f"{path}: {damage}{again}")
    other = _differs(baseline, run, electrics)
    return BaselineFault(camera=run.camera, why=f"{path}: {other}{again}") if other else baseline


def read(folder: Path | str, run: Run, electrics: Electrics) -> BaselineRead:
    """`load` as the event that the core takes."""
    known = load(folder, run, electrics)
    if isinstance(known, BaselineFault):
        return BaselineRead(camera=run.camera, baseline=None, why=known.why)
    why = "" if known is not None else "never commissioned"
    return BaselineRead(camera=run.camera, baseline=known, why=why)


def save(folder: Path | str, baseline: Baseline) -> Path:
    """Write whole or not at all, and be on disk on return. OSError if the disk refuses; ValueError for what `load` would not take."""
    path = path_of(folder, baseline.camera)
    raw = _encode(baseline)
    try:
        _decode(raw)
    except _Damaged as damage:
        msg = f"this baseline cannot be used: {damage}"
        raise ValueError(msg) from None
    whole.write(path, raw)
    return path


class BaselineWatch:
    """Posts the baseline of each measured loop at the start and whenever its file changes. Entering starts its thread."""

    def __init__(
        self,
        runs: tuple[Run, ...],
        electrics: Electrics,
        folder: str,
        *,
        post: Callable[[Event], None],
    ) -> None:
        self._runs = tuple(run for run in runs if isinstance(run.loop, MeasuredLoop))
        self._electrics = electrics
        self._folder = folder
        self._post = post
        self._stamps: dict[str, whole.Stamp] = {}
        self._part = Part("baselines", self._run, post=post)

    def __enter__(self) -> BaselineWatch:
        self.look()  # before the first reading of a loop can be told
        if self._runs:
            self._part.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._part.leave()

    def look(self) -> None:
        """Post what is new. Reads a file only when its stamp changed."""
        for run in self._runs:
            now = stamp(
                self._folder, run.camera
            )  # before reading: a file replaced meanwhile is read once more
            if run.camera not in self._stamps or self._stamps[run.camera] != now:
                self._stamps[run.camera] = now
                self._post(read(self._folder, run, self._electrics))

    def _run(self) -> None:
        while not self._part.wait(LOOK_S):
            self.look()


def _differs(baseline: Baseline, run: Run, electrics: Electrics) -> str:
    """What box.toml says of the run since, that makes the readings of then worthless; "" = nothing."""
    if not isinstance(run.loop, MeasuredLoop):
        return "made for a measured loop, but box.toml has none for this run any more"
    pairs = (
        ("camera", baseline.camera, run.camera),
        ("cable", baseline.cable, run.cable),
        ("rref_ohm", baseline.rref_ohm, run.loop.rref_ohm),
        ("eol_ohm", baseline.eol_ohm, run.loop.eol_ohm),
        ("tamper_ohm", baseline.tamper_ohm, run.loop.tamper_ohm),
        ("bits of the ADC", baseline.bits, electrics.adc_bits),
    )
    for key, then, now in pairs:
        if then != now:
            return f"commissioned with {key} {_word(then)}, box.toml now says {_word(now)}"
    if abs(baseline.length_m - run.length_m) > _LENGTH_SHARE * run.length_m:
        return f"commissioned with {baseline.length_m:g} m of cable, box.toml now says {run.length_m:g} m"
    return ""


def _word(value: str | float | None) -> str:
    if value is None:
        return "not fitted"
    return value if isinstance(value, str) else f"{value:g}"


# ---- the format ----


def _encode(baseline: Baseline) -> bytes:
    body = asdict(baseline)
    whole = {"edge_agent_baseline": VERSION, "sha256": _digest(body), "baseline": body}
    return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()


def _digest(body: Mapping[str, object]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _decode(raw: bytes) -> Baseline:
    if len(raw) > MAX_FILE_BYTES:
        raise _Damaged("larger than any baseline: not one of ours")
    try:
        whole: object = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _Damaged("empty, damaged or not a baseline") from error
    if not isinstance(whole, dict) or "edge_agent_baseline" not in whole:
        raise _Damaged("not a baseline")
    if whole["edge_agent_baseline"] != VERSION:
        raise _Damaged("made by another version of the agent")
    body = whole.get("baseline")
    if not isinstance(body, dict) or whole.get("sha256") != _digest(body):
        raise _Damaged("damaged: its checksum does not fit")
    return _baseline(cast("dict[str, object]", body))


# One entry a field of Baseline; bounds are what a commissioning can have let through.
_NUMBERS: Final[Mapping[str, tuple[float, float]]] = {
    "length_m": (0.0, LENGTH_MAX_M),
    "r_zero_ohm": (0.0, _OHM_MAX),
    "r_plug_ohm": (0.0, _OHM_MAX),
    "r_base_ohm": (0.0, _OHM_MAX),
    "rref_ohm": (0.0, _OHM_MAX),
    "eol_ohm": (0.0, _OHM_MAX),
    "tamper_ohm": (0.0, _OHM_MAX),
    "wall_s": (-math.inf, math.inf),
}


def _baseline(body: dict[str, object]) -> Baseline:
    """The checksum says that we wrote it; this, that it makes sense all the same (a file from a hand, or from a fault of ours)."""
    if set(body) != {field.name for field in fields(Baseline)}:
        raise _Damaged("its fields are not those of a baseline")
    tamper = body["tamper_ohm"]
    number = {
        name: _number(body[name], bounds)
        for name, bounds in _NUMBERS.items()
        if not (name == "tamper_ohm" and tamper is None)
    }
    camera, cable, owner = (_text(body[name]) for name in ("camera", "cable", "owner"))
    bits, trusted = body["bits"], body["trusted"]
    in_order = number["r_zero_ohm"] < number["r_plug_ohm"] < number["r_base_ohm"]
    sound = isinstance(bits, int) and bits in {10, 12} and isinstance(trusted, bool)
    if not sound or cable not in CABLES or not in_order:
        raise _Damaged("its values make no sense")
    return Baseline(
        camera=camera,
        cable=cable,
        length_m=number["length_m"],
        r_zero_ohm=number["r_zero_ohm"],
        r_plug_ohm=number["r_plug_ohm"],
        r_base_ohm=number["r_base_ohm"],
        rref_ohm=number["rref_ohm"],
        bits=10 if bits == 10 else 12,
        eol_ohm=number["eol_ohm"],
        tamper_ohm=number.get("tamper_ohm"),
        wall_s=number["wall_s"],
        trusted=trusted is True,
        owner=owner,
    )


def _number(value: object, bounds: tuple[float, float]) -> float:
    low, high = bounds
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low < value <= high:
        return float(value)
    raise _Damaged("a number in it makes no sense")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise _Damaged("a word in it makes no sense")
