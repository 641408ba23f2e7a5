"""What the audit trail tells: which gate was open from when to when, what opened and closed it, and for which time nobody knows.

Promises: a gate counts as open from the entry that opened it to the one that closed it, or to the last sign of life of an agent that
ended without a word; time in which no agent ran, or whose entries are gone, is never taken for closed; a wall time that nothing
vouched for is corrected where the same boot later had a trusted one, and given as bounds otherwise.
Pure. Not its job: reading the journal (spool), showing (command.py, notice.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from math import isfinite
from typing import Final, TypeAlias, cast

from edge_agent.core.messages import Json
from edge_agent.spool import Entry, State

Body: TypeAlias = Mapping[str, Json]

# A running agent commits something at least each `health.report_s`, 300 s by default: twice that and a minute.
QUIET_S: Final = 660.0

_LAST_S: Final = 253_402_214_400.0  # the last day that can be shown in any time zone
_OPEN: Final = "open"
_UNKNOWN: Final = "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When something was, as it was stamped. `index` counts entries; `after` is the last trusted wall time before it."""

    boot: str
    at: float
    wall_s: float
    trusted: bool
    index: int
    after: float | None


@dataclass(frozen=True, slots=True)
class When:
    """A moment in wall time: somewhere from *earliest* to *latest*, in Unix seconds."""

    earliest: float
    latest: float
    corrected: bool  # it was stamped by a clock that nothing vouched for then

    @property
    def known(self) -> bool:
        """Whether it is one moment."""
        return self.earliest == self.latest


class End(Enum):
    """How an opening ended."""

    GATE = "the gate closed"
    STOPPED = "the agent was stopped"
    LOST = "the agent ended without a word"
    STILL = "still open at the last sign of life"


@dataclass(slots=True, kw_only=True)
class Opening:
    """A gate that was open. `pictures`: how many were released into the journal; None = not known."""

    camera: str
    opened: Moment
    why: Body
    closed: Moment | None = None
    how: End = End.STILL
    closing: Body = field(default_factory=dict)
    pictures: int | None = None


@dataclass(slots=True, kw_only=True)
class Run:
    """One life of the agent."""

    started: Moment
    version: str
    hub: str | None
    ended: Moment | None = None  # the last sign of life, if nothing said that it stopped
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Anything else that the trail tells."""

    kind: str
    camera: str | None
    when: Moment
    data: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Time of which the trail says nothing."""

    since: float
    until: float
    why: str  # a key of `notice.GAPS`


class Story:
    """Takes the entries one by one, oldest first. Keeps only what may overlap the time from *since* on."""

    def __init__(self, since: float) -> None:
        self._since = since
        self.openings: list[Opening] = []
        self.happenings: list[Happening] = []
        self.runs: list[Run] = []
        self.cameras: set[str] = set()
        self._open: dict[str, Opening] = {}
        self._uncounted: list[Opening] = []
        self._count = 0
        self._known_s: float | None = None
        self._anchors: list[tuple[int, float]] = []  # first trusted moment after untrusted ones
        self._was_trusted = True
        self._offsets: dict[str, float] = {}  # wall time less time since boot, of each boot
        self._before: tuple[Moment, Moment | None] | None = None  # an opening of the journal
        self._counts: dict[str, int | None] = {}  # pictures before it that no entry counts
        self._last: Entry | None = None

    # -- taking --

    def take(self, entry: Entry) -> None:
        """The next entry."""
        if self._last is not None and _same(self._last, entry):
            return  # a commit that failed, and was there all the same
        self._last = entry
        when = self._stamp(entry.boot, entry.at, entry.time, trusted=entry.trusted)
        if entry.before is not None:
            self._reopened(entry.before, when)
        match entry.kind:
            case "gate.changed":
                self._gate(entry, when)
            case "agent.started":
                self._started(entry, when)
            case "agent.stopped":
                self._ended(when, stopped=True)
            case _:
                self.happenings.append(
                    Happening(kind=entry.kind, camera=entry.camera, when=when, data=entry.data)
                )
        if entry.camera is not None:
            self.cameras.add(entry.camera)
        self._forget()

    def finish(self, state: State | None, *, boot: str, boot_wall_s: float) -> None:
        """No more entries: what the store says of its last commit, and of pictures that no entry counts yet.

        *boot* is the present one, which began at *boot_wall_s* by the present clock: the seconds since then are sure.
        """
        self._offsets.setdefault(boot, boot_wall_s)
        if state is None:
            return
        life = self._life(cast("Body", state.life or {}))
        counts = {camera: tally.count for camera, tally in state.pictures.items()}
        self._tell_counts(counts)
        for camera, opening in self._open.items():
            opening.pictures = counts.get(camera, 0)
            opening.closed = life
        if self.runs and self.runs[-1].ended is None:
            self.runs[-1].ended = life

    def _stamp(self, boot: str, at: float, time: str, *, trusted: bool) -> Moment:
        wall_s = _unix(time)
        self._count += 1
        if trusted:
            self._offsets.setdefault(boot, wall_s - at)
            if not self._was_trusted:
                self._anchors.append((self._count, wall_s))
            self._known_s = wall_s
        self._was_trusted = trusted
        return Moment(
            boot=boot,
            at=at,
            wall_s=wall_s,
            trusted=trusted,
            index=self._count,
            after=self._known_s,
        )

    def _life(self, told: Body) -> Moment | None:
        match told:
            case {
                "boot": str(boot),
                "mono": str(mono),
                "time": str(time),
                "trusted": bool(trusted),
            }:
                return self._stamp(boot, _seconds(mono), time, trusted=trusted)
            case _:
                return None

    def _reopened(self, before: Body, when: Moment) -> None:
        """The journal was opened: by a new run, if `agent.started` follows, or by the same after trouble with its disk."""
        self._before = (when, self._life(before))
        pictures = before.get("pictures")
        told = cast("Body", pictures) if isinstance(pictures, dict) else {}
        counts = {camera: _count(tally) for camera, tally in told.items()}
        self._tell_counts({camera: count for camera, count in counts.items() if count is not None})
        self._counts = counts

    def _tell_counts(self, counts: Mapping[str, int | None]) -> None:
        for opening in self._uncounted:
            opening.pictures = counts.get(opening.camera, 0)
        self._uncounted = []

    def _gate(self, entry: Entry, when: Moment) -> None:
        camera, data = entry.camera or _UNKNOWN, entry.data
        opening = self._open.get(camera)
        if opening is not None and data.get("before") != _OPEN:
            # A gate starts closed: there was a new start between.
            self._lost()
            opening = None
        if data.get("after") == _OPEN:
            if opening is None:
                opening = Opening(camera=camera, opened=when, why=data)
                self._open[camera] = opening
                self.openings.append(opening)
            return
        if opening is not None:
            del self._open[camera]
            released = data.get("released")
            opening.closed, opening.how, opening.closing = when, End.GATE, data
            opening.pictures = released if isinstance(released, int) else None

    def _started(self, entry: Entry, when: Moment) -> None:
        self._lost()
        first = self._before[0] if self._before is not None else when
        version, hub = entry.data.get("version"), entry.data.get("hub")
        told = hub if isinstance(hub, str) else None
        self.runs.append(Run(started=first, version=str(version), hub=told))

    def _lost(self) -> None:
        """The run before this one is over, whether it said so or not."""
        life = self._before[1] if self._before is not None else None
        counts = self._counts if self._before is not None else {}
        for camera, opening in self._open.items():
            opening.closed, opening.how = life, End.LOST
            opening.pictures = None if life is None else counts.get(camera, 0)
        self._open = {}
        if self.runs and self.runs[-1].ended is None:
            self.runs[-1].ended = life or self.runs[-1].started

    def _ended(self, when: Moment, *, stopped: bool) -> None:
        for opening in self._open.values():
            opening.closed, opening.how = when, End.STOPPED
            self._uncounted.append(opening)
        self._open = {}
        if self.runs:
            self.runs[-1].ended, self.runs[-1].stopped = when, stopped

    def _forget(self) -> None:
        """Let go of what is over for certain before the time that was asked for."""
        while len(self.happenings) > 1 and self._over(self.happenings[0].when):
            del self.happenings[0]
        while self.openings and self.openings[0].closed and self._over(self.openings[0].closed):
            del self.openings[0]
        while len(self.runs) > 1 and self.runs[0].ended and self._over(self.runs[0].ended):
            del self.runs[0]

    def _over(self, moment: Moment) -> bool:
        return moment.trusted and moment.wall_s < self._since

    # -- asking, once finished --

    @property
    def known_s(self) -> float | None:
        """The last wall time that a trusted clock gave; None if there is none."""
        return self._known_s

    def wall(self, moment: Moment, *, now: float) -> When:
        """*moment* in wall time, as far as the trail tells."""
        if moment.trusted:
            return When(moment.wall_s, moment.wall_s, corrected=False)
        offset = self._offsets.get(moment.boot)
        if offset is not None:
            wall_s = min(max(offset + moment.at, 0.0), _LAST_S)
            return When(wall_s, wall_s, corrected=True)
        at = bisect_right(self._anchors, (moment.index, float("inf")))
        latest = self._anchors[at][1] if at < len(self._anchors) else now
        earliest = moment.after if moment.after is not None else 0.0
        return When(min(earliest, latest), latest, corrected=True)

    def gaps(self, since: float, until: float, *, now: float) -> list[Gap]:
        """What of the time from *since* to *until* no run covers; a run whose time is not known covers nothing for certain."""
        out: list[Gap] = []
        uncertain: list[tuple[float, float]] = []
        at, why, running = since, "before", False
        for run in self.runs:
            began = self.wall(run.started, now=now)
            ended = self.wall(run.ended or run.started, now=now)
            if not (began.known and ended.known):
                uncertain.append((began.earliest, ended.latest))
                continue
            if began.latest > at:
                out.append(Gap(since=at, until=min(began.latest, until), why=why))
            at = max(at, ended.earliest)
            why, running = ("stopped" if run.stopped else "lost"), not run.stopped
            if at >= until:
                break
        last = running and self.runs[-1].stopped is False
        if at < until and not (last and until - at <= QUIET_S):
            out.append(Gap(since=at, until=until, why="after" if last else why))
        return [_doubted(gap, uncertain) for gap in out if gap.until - gap.since >= 1.0]


def _doubted(gap: Gap, uncertain: list[tuple[float, float]]) -> Gap:
    """The gap, or that a run whose clock was not trusted may lie in it."""
    doubted = any(first < gap.until and last > gap.since for first, last in uncertain)
    return replace(gap, why="clock") if doubted else gap


def _same(one: Entry, other: Entry) -> bool:
    return one.place.epoch != other.place.epoch and (
        (one.boot, one.at, one.kind, one.camera, one.data)
        == (other.boot, other.at, other.kind, other.camera, other.data)
    )


def _count(tally: Json) -> int | None:
    match tally:
        case [int(count), *_]:
            return count
        case _:
            return None


def _seconds(mono: str) -> float:
    try:
        found = float(mono)
    except ValueError:
        return 0.0
    return found if isfinite(found) else 0.0


def _unix(time: str) -> float:
    try:
        return min(max(datetime.fromisoformat(time).timestamp(), 0.0), _LAST_S)
    except (ValueError, OverflowError):
        return 0.0
