"""`edge-agent audit`: checks the audit chain, and tells what was open when.

Promises: reads the journal and changes nothing, beside a running agent or without one; says OK, or where the chain does not hold; time
that is not on record is said to be that, and never shown as closed.
Exit codes: 0 told, and the chain holds; 1 told, and the chain is broken or part of the journal cannot be read; 2 not told (usage, no
journal, no right to read it).
Not its job: what entries mean (story.py), the journal's format (spool).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from edge_agent import asked_time
from edge_agent.audit import notice
from edge_agent.audit.story import End, Happening, Moment, Opening, Story, When
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import ConfigError, load
from edge_agent.core.messages import Json
from edge_agent.core.settings import Settings
from edge_agent.spool import Entry, Trail, UnreadableError, past_of, read_trail

EXIT_HOLDS: Final = 0
EXIT_BROKEN: Final = 1
EXIT_NOT_TOLD: Final = 2

DEFAULT_CONFIG: Final = "/etc/edge-agent/box.toml"

_NUMBERS: Final = ("verdict", "score", "matches", "needed", "dx", "dy", "view")
# `window_s`, `newest_s`: how far back the hub was asked to destroy, from the press or from the last picture that it has.
_DETAILS: Final = (
    *(
        "key",
        "why",
        "count",
        "lasted_s",
        "by_hand",
        "window_s",
        "newest_s",
        "earlier_s",
        "light",
        "cameras",
    ),
    *("leaf", "refused", "version"),
)
_DEEDS: Final = ("privacy.on", "privacy.purged", "privacy.withdraw")


class _Refused(Exception):  # noqa: N818 - a usage that is told and not done
    """Why; for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the person wants to know."""

    since: float
    until: float
    now: float
    camera: str | None
    folder: str
    settings: Settings | None  # None: only the journal's folder was given


def main(argv: Sequence[str], clock: Clock | None = None) -> int:
    """`edge-agent audit`; the exit code."""
    options = _parser().parse_args(argv)
    try:
        clock = clock or SystemClock()
        asked = _asked(options, clock.wall())
        report = _Report(asked, boot=clock.boot, boot_wall_s=asked.now - clock.now())
    except (_Refused, UnreadableError, ConfigError) as why:
        print(f"edge-agent audit: {why}", file=sys.stderr)
        return EXIT_NOT_TOLD
    try:
        _print(options, report)
    except BrokenPipeError:  # "| head" has enough; what it did not read was not told
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
        return EXIT_NOT_TOLD
    return EXIT_HOLDS if report.holds else EXIT_BROKEN


def _print(options: argparse.Namespace, report: _Report) -> None:
    if options.json:
        print(json.dumps(report.json()))
    else:
        for line in notice.lines(report.facts()) if options.notice else report.lines():
            print(_plain(line))
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent audit",
        description="Prove what was open when, from the journal's audit chain. Run it as root; the agent may run on.",
        epilog="TIME: 2026-11-20, 2026-11-20T18:00 (the box's own time; add Z or +07:00 for another), 90min, 2h or 3d ago. "
        "Exit codes: 0 told, and the chain holds; 1 told, and the chain is broken or not all can be read; 2 not told.",
    )
    parser.add_argument("--since", metavar="TIME", help="from then on (needed)")
    parser.add_argument("--until", metavar="TIME", help="up to then (default: now)")
    parser.add_argument("--camera", metavar="ID", help="this camera alone")
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument(
        "--journal",
        metavar="DIR",
        help="this journal, without a configuration: a card of another box",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--notice",
        action="store_true",
        help="the facts for a breach notice (UU 27/2022, article 46)",
    )
    return parser


def _asked(options: argparse.Namespace, now: float) -> _Asked:
    if options.json and options.notice:
        raise _Refused("--json or --notice, not both")
    if options.since is None:
        raise _Refused("--since TIME is needed, such as --since 3d or --since 2026-11-20")
    since = _time("--since", str(options.since), now)
    until = now if options.until is None else _time("--until", str(options.until), now)
    if since >= min(until, now):
        msg = f"--since must be before --until, and before now: this clock says {_label(now)}"
        raise _Refused(msg)
    settings = load(str(options.config)) if options.journal is None else None
    folder = settings.journal.folder if settings is not None else str(options.journal)
    return _Asked(
        since=since,
        until=min(until, now),
        now=now,
        camera=options.camera,
        folder=folder,
        settings=settings,
    )


def _time(option: str, text: str, now: float) -> float:
    try:
        return asked_time.parse(option, text, now)
    except ValueError as why:
        raise _Refused(str(why)) from None


class _Report:
    """What the journal says of the time asked for."""

    def __init__(self, asked: _Asked, *, boot: str, boot_wall_s: float) -> None:
        self._asked = asked
        self._story = Story(asked.since)
        self._trail: Trail = read_trail(asked.folder, self._begin)
        self._story.finish(self._trail.state, boot=boot, boot_wall_s=boot_wall_s)
        self._names = self._cameras()
        if asked.camera is not None and asked.camera not in self._names:
            known = ", ".join(sorted(self._names)) or "none"
            msg = f"--camera {asked.camera!r}: neither the configuration nor the journal knows it; known: {known}"
            raise _Refused(msg)

    def _begin(self) -> Callable[[Entry], None]:
        self._story = Story(self._asked.since)
        return self._story.take

    def _cameras(self) -> dict[str, str]:
        """What people call each camera, with its place."""
        names = {camera: camera for camera in self._story.cameras}
        settings = self._asked.settings
        if settings is not None:
            places = {run.camera: run.place for run in settings.runs}
            for camera in settings.cameras:
                place = places.get(camera.id, "")
                names[camera.id] = f"{camera.id} ({camera.name}{', ' + place if place else ''})"
        return names

    @property
    def holds(self) -> bool:
        """Whether the chain holds and all of it was read."""
        return not self._trail.breaks and not self._trail.faults

    @property
    def _late(self) -> str:
        """That the clock of this machine is behind what the journal knows, so that the newest is left out; empty if it is not."""
        known, now = self._story.known_s, self._asked.now
        if known is None or known <= now:
            return ""
        return (
            f"this clock says {_label(now)}, the journal knows of {_label(known)}: what is later than this clock is left out; "
            "set it (date -s) and ask again"
        )

    # -- what overlaps the time asked for --

    def _wall(self, moment: Moment) -> When:
        return self._story.wall(moment, now=self._asked.now)

    def _within(self, since: Moment, until: Moment | None) -> bool:
        began = self._wall(since).earliest
        ended = self._asked.now if until is None else self._wall(until).latest
        return began <= self._asked.until and ended >= self._asked.since

    def _wanted(self, camera: str | None) -> bool:
        return self._asked.camera is None or camera is None or camera == self._asked.camera

    def _openings(self, camera: str) -> list[Opening]:
        return [
            opening
            for opening in self._story.openings
            if opening.camera == camera and self._within(opening.opened, opening.closed)
        ]

    def _happenings(self) -> list[Happening]:
        return [
            happening
            for happening in self._story.happenings
            if self._wanted(happening.camera) and self._within(happening.when, happening.when)
        ]

    def _shown_cameras(self) -> list[str]:
        return [self._asked.camera] if self._asked.camera is not None else sorted(self._names)

    def _gaps(self) -> list[tuple[float, float, str]]:
        asked = self._asked
        gaps = self._story.gaps(asked.since, asked.until, now=asked.now)
        return [(gap.since, gap.until, gap.why) for gap in gaps]

    def _hub(self) -> str:
        """Where pictures were sent, by the agent's own word at its start; else by today's configuration."""
        told = sorted({run.hub for run in self._story.runs if run.hub})
        if told:
            return ", ".join(told)
        settings = self._asked.settings
        return "?" if settings is None else f"{settings.hub.host}:{settings.hub.port}"

    def _box(self) -> str:
        settings = self._asked.settings
        if settings is None:
            return self._trail.path
        who = settings.identity
        return f"{who.kelurahan}/{who.rw}/{who.rt}/{who.box}"

    def _faults(self) -> list[str]:
        trail = self._trail
        out = [f"chain broken: {found.why}" for found in trail.breaks]
        return out + [f"not readable: {fault}" for fault in trail.faults]

    # -- as text --

    def lines(self) -> Iterator[str]:
        """For a person at the box."""
        asked = self._asked
        yield f"box {self._box()}, journal {asked.folder}"
        yield f"asked  {_label(asked.since)} to {_label(asked.until)}"
        if self._late:
            yield f"! {self._late}"
        yield f"chain  {'OK' if self.holds else 'BROKEN'}, {self._trail.count} entries{self._beginning()}"
        end = self._end()
        yield f"end    epoch {end['epoch']} n {end['n']} sha256 {end['hash']}"
        for fault in self._faults():
            yield f"! {fault}"
        for camera in self._shown_cameras():
            yield ""
            yield f"camera {self._names.get(camera, camera)}"
            yield from self._camera_lines(camera)
        yield ""
        yield "not on record: whether anything was open then is not known here"
        gaps = self._gaps()
        for since, until, why in gaps:
            yield f"  {_label(since)} to {_label(until)}  {notice.GAPS[why].en}"
        if not gaps:
            yield "  nothing is missing"
        yield ""
        yield "what else happened"
        happenings = self._happenings()
        for happening in happenings:
            yield f"  {self._moment(happening.when)}  {_told(happening)}"
        if not happenings:
            yield "  nothing"

    def _beginning(self) -> str:
        first = self._trail.first
        if first is None:
            return ""
        label = first.time if first.trusted else f"{first.time} (clock not trusted)"
        return f", the oldest n {first.place.n} of {label}"

    def _end(self) -> dict[str, Json]:
        end = past_of(self._trail.epoch, self._trail.state).end
        return {"epoch": "?", "n": 0, "hash": "?"} if end is None else dict(end.json())

    def _camera_lines(self, camera: str) -> Iterator[str]:
        openings = self._openings(camera)
        for opening in openings:
            yield f"  open  {self._moment(opening.opened)} to {self._closing(opening)}, {_pictures(opening)}"
            yield f"        opened by: {opening.why.get('cause')}; {_numbers(opening.why)}"
            closing = (
                f": {opening.closing.get('cause')}; {_numbers(opening.closing)}"
                if opening.closing
                else ""
            )
            yield f"        ended: {opening.how.value}{closing}"
        if not openings:
            yield "  not open at any time that is on record"

    def _closing(self, opening: Opening) -> str:
        return "?" if opening.closed is None else self._moment(opening.closed)

    def _moment(self, moment: Moment) -> str:
        when = self._wall(moment)
        if not when.known:
            after = f"after {_label(when.earliest)} and " if when.earliest else ""
            stamped = _label(moment.wall_s)
            return f"[{stamped} by a clock not trusted; surely {after}before {_label(when.latest)}]"
        return _label(when.earliest) + (" (corrected)" if when.corrected else "")

    # -- as JSON --

    def json(self) -> dict[str, Json]:
        """For a program; times are RFC 3339 in UTC."""
        asked = self._asked
        return {
            "box": self._box(),
            "journal": asked.folder,
            "hub": self._hub(),
            "since": _utc(asked.since),
            "until": _utc(asked.until),
            "clock_behind": bool(self._late),
            "chain": {
                "holds": self.holds,
                "entries": self._trail.count,
                "end": self._end(),
                "breaks": [found.why for found in self._trail.breaks],
                "unreadable": list(self._trail.faults),
            },
            "cameras": [
                {
                    "id": camera,
                    "name": self._names.get(camera, camera),
                    "open": [self._opening_json(opening) for opening in self._openings(camera)],
                }
                for camera in self._shown_cameras()
            ],
            "not_on_record": [
                {"since": _utc(since), "until": _utc(until), "why": why}
                for since, until, why in self._gaps()
            ],
            "runs": [
                {
                    "since": self._when_json(run.started),
                    "until": self._when_json(run.ended),
                    "stopped": run.stopped,
                    "version": run.version,
                }
                for run in self._story.runs
                if self._within(run.started, run.ended)
            ],
            "happenings": [
                {
                    "kind": happening.kind,
                    "camera": happening.camera,
                    "when": self._when_json(happening.when),
                    "data": dict(happening.data),
                }
                for happening in self._happenings()
            ],
        }

    def _opening_json(self, opening: Opening) -> dict[str, Json]:
        return {
            "since": self._when_json(opening.opened),
            "until": self._when_json(opening.closed),
            "how": opening.how.name.lower(),
            "pictures": opening.pictures,
            "opened_by": dict(opening.why),
            "closed_by": dict(opening.closing) or None,
        }

    def _when_json(self, moment: Moment | None) -> dict[str, Json] | None:
        if moment is None:
            return None
        when = self._wall(moment)
        return {
            "earliest": _utc(when.earliest),
            "latest": _utc(when.latest),
            "corrected": when.corrected,
            "boot": moment.boot,
            "mono": moment.at,
        }

    # -- as the facts of a notice --

    def facts(self) -> notice.Facts:
        """For a person who writes the notice."""
        asked, end, hub = self._asked, self._end(), self._hub()
        return notice.Facts(
            box=self._box(),
            asked=f"{_label(asked.since)} - {_label(asked.until)}"
            + (f" ({self._late})" if self._late else ""),
            openings=[
                self._shown(opening, hub)
                for camera in self._shown_cameras()
                for opening in self._openings(camera)
            ],
            deeds=[
                notice.Told(kind=deed.kind, since=self._moment(deed.when), detail=_detail(deed))
                for deed in self._happenings()
                if deed.kind in _DEEDS
            ],
            gaps=[
                notice.Told(kind=why, since=_label(since), until=_label(until))
                for since, until, why in self._gaps()
            ],
            count=self._trail.count,
            epoch=str(end["epoch"]),
            n=cast("int", end["n"]),
            hash=str(end["hash"]),
            breaks=self._faults(),
        )

    def _shown(self, opening: Opening, hub: str) -> notice.Shown:
        return notice.Shown(
            camera=self._names.get(opening.camera, opening.camera),
            since=self._moment(opening.opened),
            until=self._closing(opening),
            pictures=opening.pictures,
            cause=str(opening.why.get("cause")),
            numbers=_numbers(opening.why),
            how=opening.how.value,
            closing_cause=str(opening.closing["cause"]) if "cause" in opening.closing else "",
            closing_numbers=_numbers(opening.closing) if opening.how is End.GATE else "-",
            hub=hub,
        )


# ---- small things ----


def _pictures(opening: Opening) -> str:
    return (
        "pictures not known"
        if opening.pictures is None
        else f"{opening.pictures} pictures released"
    )


def _numbers(data: Mapping[str, Json]) -> str:
    """The evidence of an entry in one line."""
    found = [f"{name} {data[name]}" for name in _NUMBERS if data.get(name) is not None]
    return ", ".join(found) or "no evidence numbers"


def _told(happening: Happening) -> str:
    known = notice.HAPPENINGS.get(happening.kind)
    where = f"{happening.camera}: " if happening.camera else ""
    return f"{where}{happening.kind if known is None else known.en}{_detail(happening)}"


def _detail(happening: Happening) -> str:
    """What of its data a person needs, in brackets."""
    data = happening.data
    parts = [f"{name} {data[name]}" for name in _DETAILS if data.get(name) not in (None, "", [])]
    return f" ({', '.join(parts)})" if parts else ""


def _label(wall_s: float) -> str:
    """In the box's own time zone."""
    return datetime.fromtimestamp(wall_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _utc(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _plain(line: str) -> str:
    """Nothing that a terminal would obey."""
    return "".join(mark if mark.isprintable() else " " for mark in line)
