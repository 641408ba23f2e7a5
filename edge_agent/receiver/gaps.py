"""The gap report: what of each box and camera the hub does not have, why, and for which minutes.

Promises: what is missing without a word from the box is told apart from what the box declared as gone and from what residents took
back; a minute is given in wall time, and marked where no clock vouched for it. Reads the hub's database only, beside a running hub.
Not its job: getting it back (the watermark asks for what is missing), the minutes that no camera was meant to cover.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.core import wire
from edge_agent.core.messages import Json, Rank
from edge_agent.receiver.ranges import Ranges
from edge_agent.receiver.store import DATABASE, of_file

if TYPE_CHECKING:
    from rich.console import Group

MISSING: Final = "missing"  # neither came nor was declared: still on its way, or lost
BEFORE: Final = "before"  # the box had let it go when the hub first heard of it
WITHDRAWN: Final = "withdrawn"  # residents took it back
_DECLARED: Final = {"journal.thinned": "thinned", "privacy.purged": "purged"}
_MINUTE_S: Final = 60.0
_LATEST_S: Final = 253_402_300_799.0  # the end of the year 9999
SHOWN: Final = 12  # rows of a box; the JSON has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Records that the hub does not have. `camera` None: of several, or it cannot be known.

    From minute `first` to minute `last`, both included (Unix seconds of their beginnings); None where nothing says when.
    `count` None = not known.
    """

    what: str
    camera: str | None
    count: int | None
    first: float | None
    last: float | None
    trusted: bool

    @property
    def minutes(self) -> int:
        """How many minutes it touches."""
        if self.first is None or self.last is None:
            return 0
        return round((self.last - self.first) / _MINUTE_S) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxGaps:
    """Of one box; `missing` counts what was neither received nor declared."""

    box: str
    missing: int
    spans: tuple[Span, ...]


def report(folder: Path) -> tuple[BoxGaps, ...]:
    """Of every box that the hub in *folder* knows. `OSError` or `sqlite3.Error` if it is no hub's folder."""
    path = folder / DATABASE
    if not path.is_file():
        msg = f"{path} is not there: --folder names the folder of a receiver that has run"
        raise FileNotFoundError(msg)
    with (
        of_file(path),
        contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as sql,
    ):
        sql.execute("BEGIN")  # one state of things, whatever a running hub commits meanwhile
        boxes = [row[0] for row in sql.execute("SELECT box FROM box UNION SELECT box FROM record")]
        return tuple(_Report(sql, box).made() for box in boxes)


class _Report:
    """Of one box."""

    def __init__(self, sql: sqlite3.Connection, box: str) -> None:
        self._sql = sql
        self._box = box
        # What a boot's seconds are in wall time, by the best that was ever said of them.
        self._offsets: dict[str, tuple[bool, float]] = {}
        moments = "SELECT boot, at, time, trusted FROM record WHERE box = ? ORDER BY trusted"
        for boot, at, time, trusted in sql.execute(moments, (box,)):
            wall = _unix(time)
            if wall is not None:
                self._offsets[boot] = bool(trusted), wall - at

    def made(self) -> BoxGaps:
        spans: list[Span] = []
        missing = 0
        epochs = "SELECT epoch FROM record WHERE box = ? UNION SELECT epoch FROM gone WHERE box = ?"
        for (epoch,) in self._sql.execute(epochs, (self._box, self._box)).fetchall():
            records, gone = Ranges(), Ranges()
            for (seq,) in self._rows("SELECT seq FROM record WHERE box = ? AND epoch = ?", epoch):
                records.add(seq, seq)
            told = "SELECT first, last FROM gone WHERE box = ? AND epoch = ?"
            ends = list(self._rows(told, epoch))
            declared, tombstones = self._tombstones(epoch)
            for first, last in ends:
                gone.add(first, last)
            spans += tombstones
            spans += self._before(records, gone, declared)
            for first, last in _together(records, gone).gaps(10**6):
                missing += last - first + 1
                spans.append(self._missing(epoch, first, last))
        spans += self._withdrawn()
        return BoxGaps(box=self._box, missing=missing, spans=tuple(sorted(spans, key=_order)))

    def _rows(self, query: str, epoch: str) -> Iterator[tuple[int, ...]]:
        return iter(self._sql.execute(query, (self._box, epoch)))

    def _tombstones(self, epoch: str) -> tuple[Ranges, list[Span]]:
        """What the box declared: the seqs, and the spans of those tombstones that no later one has taken in."""
        query = (
            "SELECT seq, kind, data FROM record"
            " WHERE box = ? AND epoch = ? AND kind IN ('journal.thinned', 'privacy.purged')"
        )
        declared, told = Ranges(), []
        for seq, kind, text in self._sql.execute(query, (self._box, epoch)):
            data: Json = json.loads(text)
            if isinstance(data, dict):
                told.append((seq, _DECLARED[kind], data))
                if data.get("epoch") not in (None, epoch):
                    continue  # it moved here from a journal before this one: its seqs are of that
                for first, last in _pairs(data.get("ranges")):
                    declared.add(first, last)
        spans = [
            span
            for seq, what, data in told
            if seq not in declared
            for span in self._spans_of(what, data)
            if span.count != 0  # a press that found nothing to purge
        ]
        return declared, spans

    def _spans_of(self, what: str, data: dict[str, Json]) -> Iterator[Span]:
        tracks = data.get("tracks")
        if isinstance(tracks, list):
            for track in tracks:
                if isinstance(track, dict):
                    yield from self._track(what, track)
            return
        first = self._moment(data.get("from_boot"), data.get("from_at"))
        last = self._moment(data.get("to_boot"), data.get("to_at"))
        camera, count = data.get("camera"), data.get("count")
        yield Span(
            what=what,
            camera=camera if isinstance(camera, str) else None,
            count=count if isinstance(count, int) else None,
            first=first[1],
            last=last[1],
            trusted=first[0] and last[0],
        )

    def _track(self, what: str, track: dict[str, Json]) -> Iterator[Span]:
        """A camera of a tombstone that tells minute by minute: the boot's own minutes."""
        minutes, camera, count = track.get("minutes"), track.get("camera"), track.get("count")
        runs = [
            (boot, first, last)
            for boot, pairs in (minutes.items() if isinstance(minutes, dict) else ())
            for first, last in _pairs(pairs)
        ]
        for boot, first, last in runs or [(None, 0, 0)]:
            trusted, begin = self._moment(boot, first * _MINUTE_S)
            yield Span(
                what=what,
                camera=camera if isinstance(camera, str) else None,
                # Told of the whole track: with several runs nobody knows how many of it lie in each.
                count=count if isinstance(count, int) and len(runs) <= 1 else None,
                first=begin,
                last=self._moment(boot, last * _MINUTE_S)[1],
                trusted=trusted,
            )

    def _before(self, records: Ranges, gone: Ranges, declared: Ranges) -> list[Span]:
        start = gone.around(1)
        if start is None:
            return []
        rest = _together(records, declared)
        rest.add(start[1] + 1, start[1] + 1)
        count = sum(last - first + 1 for first, last in rest.gaps(10**6) if last <= start[1])
        if not count:
            return []
        return [Span(what=BEFORE, camera=None, count=count, first=None, last=None, trusted=False)]

    def _missing(self, epoch: str, first: int, last: int) -> Span:
        """Between the record before and the one after."""
        ends = []
        for query in (
            "SELECT boot, at FROM record WHERE box = ? AND epoch = ? AND seq < ? ORDER BY seq DESC LIMIT 1",
            "SELECT boot, at FROM record WHERE box = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT 1",
        ):
            border = first if "<" in query else last
            boot, at = self._sql.execute(query, (self._box, epoch, border)).fetchone() or (
                None,
                None,
            )
            ends.append(self._moment(boot, at))
        (trusted, begin), (also, end) = ends
        return Span(
            what=MISSING,
            camera=None,
            count=last - first + 1,
            first=begin,
            last=end,
            trusted=trusted and also,
        )

    def _withdrawn(self) -> Iterator[Span]:
        query = (
            "SELECT camera, boot, at FROM record"
            " WHERE box = ? AND rank = ? AND picture IS NULL ORDER BY camera, time, seq"
        )
        run: Span | None = None
        for camera, boot, at in self._sql.execute(query, (self._box, int(Rank.PICTURE))):
            trusted, minute = self._moment(boot, at)
            joins = (
                run is not None
                and (run.camera, run.trusted) == (camera, trusted)
                and None not in (run.first, run.last, minute)
                and 0 <= (minute or 0) - (run.last or 0) <= _MINUTE_S
            )
            if run is not None and not joins:
                yield run
            yet = run if joins and run is not None else None
            run = Span(
                what=WITHDRAWN,
                camera=camera,
                count=1 + ((yet.count or 0) if yet is not None else 0),
                first=minute if yet is None else yet.first,
                last=minute,
                trusted=trusted,
            )
        if run is not None:
            yield run

    def _moment(self, boot: Json, at: Json) -> tuple[bool, float | None]:
        """Whether a clock vouched for it, and the minute in wall time."""
        if (
            not isinstance(boot, str)
            or not isinstance(at, int | float)
            or boot not in self._offsets
        ):
            return False, None
        trusted, offset = self._offsets[boot]
        moment = offset + at
        if not 0.0 <= moment <= _LATEST_S:
            return False, None  # no such minute, whatever a box wrote
        return trusted, moment // _MINUTE_S * _MINUTE_S


def _together(one: Ranges, other: Ranges) -> Ranges:
    both = Ranges()
    for ranges in (one, other):
        for first, last in ranges:
            both.add(first, last)
    return both


def _pairs(found: Json) -> Iterator[tuple[int, int]]:
    for pair in found if isinstance(found, list) else ():
        match pair:
            case [int(first), int(last)]:
                yield first, last
            case _:
                pass


def _unix(time: str) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None


def _order(span: Span) -> tuple[str, float, str]:
    return span.camera or "", span.first or 0.0, span.what


# ---- telling ----


def to_json(found: Iterable[BoxGaps]) -> dict[str, Json]:
    """For machines; keys are stable. Times are Unix seconds."""
    return {
        "boxes": [
            {
                "box": box.box,
                "missing": box.missing,
                "spans": [
                    {
                        "what": span.what,
                        "camera": span.camera,
                        "count": span.count,
                        "from": span.first,
                        "to": span.last,
                        "minutes": span.minutes,
                        "trusted": span.trusted,
                    }
                    for span in box.spans
                ],
            }
            for box in found
        ]
    }


def table(found: Iterable[BoxGaps]) -> Group:
    """For a person."""
    from rich import box as borders  # noqa: PLC0415 - a terminal only
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    parts: list[Table | Text] = []
    for box in found:
        name = box.box.removeprefix(f"{wire.ROOT}/")
        if not box.spans:
            parts.append(Text(f"{name}: nothing is missing, nothing was thinned or taken back"))
            continue
        told = Table(title=name, title_justify="left", expand=False, box=borders.SIMPLE_HEAD)
        for column in ("camera", "what", "records", "minutes", "from", "to"):
            right = column in ("records", "minutes")
            told.add_column(
                column,
                justify="right" if right else "left",
                no_wrap=column != "camera",
            )
        for span in box.spans[:SHOWN]:
            told.add_row(
                span.camera or "-",
                span.what,
                "?" if span.count is None else str(span.count),
                str(span.minutes or "?"),
                _when(span.first, trusted=span.trusted),
                _when(span.last, trusted=span.trusted, after=span.first),
            )
        if len(box.spans) > SHOWN:
            told.caption = f"and {len(box.spans) - SHOWN} more: --json has all"
        parts.append(told)
    return Group(*parts or [Text("no box has been heard of yet")])


def _when(minute: float | None, *, trusted: bool, after: float | None = None) -> str:
    """In UTC; without the day if that is the same as that of *after*."""
    if minute is None:
        return "?"
    moment = datetime.fromtimestamp(minute, UTC)
    same = after is not None and datetime.fromtimestamp(after, UTC).date() == moment.date()
    text = moment.strftime("%H:%MZ" if same else "%Y-%m-%d %H:%MZ")
    return text if trusted else f"{text} ?"
