"""What is left of a street after a long outage. `python -m tests.bench.outage [--json] [--days 90] [--folder DIR] [--seed N]`

Eight cameras, one picture a minute each, bursts of events, metrics, a power cut every ten days or so, and no hub: everything goes through
a real `Spool` on a real file system, as fast as it takes it, under a simulated clock. Then the hub comes back: all is read through
`Fetch`, and what was kept and what was declared are held against what was put in.

Scaled down 15 times, all but the records: pictures of 3 to 4 kB (one block of the file system) stand for 45 to 60 kB, and 133 MB
for 2 GB. Records and tombstones are of their real size, and so weigh 15 times as much as on a box.
Prints a table and, as its last line, JSON: `kept_01` [records of class 0 and 1 read back, put in], `largest_gap_over_ideal` (of any camera,
from the outage's first minute to its last; ideal is the whole time over the pictures kept), `declared_equals_thinned` (the minutes that
tombstones name are, camera by camera, exactly those that lost a picture), `bytes_max` (largest use seen, by the journal's own word and by
adding up its files).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_agent.core.gate import Cause, Gate, Released
from edge_agent.core.messages import (
    Committed,
    Event,
    Fetch,
    Fetched,
    JournalTrouble,
    Json,
    Lane,
    Rank,
    Record,
    Stored,
)
from edge_agent.core.settings import Journal
from edge_agent.spool import Spool
from tests.support.build import picture

DAY_MIN: Final = 1_440
SCALE: Final = 15
QUOTA: Final = 2_000_000_000 // SCALE
CAMERAS: Final = tuple(f"camera-{n}" for n in range(1, 9))
BURSTS_A_DAY: Final = 1.0  # of each camera
METRICS_MIN: Final = 5
TOGETHER_MIN: Final = 15  # minutes put before the journal is waited for
CUT_EVERY_DAYS: Final = 10.3
OFF_S: Final = 240.0  # how long a power cut lasts
ANSWER_S: Final = 120.0

Minutes = set[tuple[str, int]]  # boot and minute of it


class BoxClock:
    """A clock of many boots, moved by hand."""

    def __init__(self) -> None:
        self.boots = 0
        self.began_s = 0.0  # of this boot, since the beginning of the outage
        self.at = 30.0

    @property
    def boot(self) -> str:
        return f"boot-{self.boots}"

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1_800_000_000.0 + self.began_s + self.at

    def trusted(self) -> bool:
        return True

    def cut(self) -> None:
        """Off, and on again after a while."""
        self.began_s += self.at + OFF_S - 30.0
        self.boots += 1
        self.at = 30.0


@dataclass
class Street:
    """What was put in, as plain sets."""

    pictures: dict[str, list[tuple[str, float, float]]] = field(
        default_factory=lambda: {name: [] for name in CAMERAS}
    )  # camera: boot, at, seconds since the beginning
    events: set[int] = field(default_factory=set)  # of class 0 and 1, by number
    metrics: int = 0


class Box:
    """A spool over its restarts."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self.folder = folder
        self.clock = BoxClock()
        self.quota_bytes = quota_bytes
        self.bytes_max = 0
        self.troubles: list[JournalTrouble] = []
        self._came = threading.Condition()
        self._answers: list[Fetched] = []
        self._spool = self._start()

    def _start(self) -> Spool:
        settings = Journal(
            folder=str(self.folder), quota_bytes=self.quota_bytes, disk_floor_bytes=0
        )
        spool = Spool(settings, clock=self.clock, post=self._post, presses=lambda: 0)
        return spool.__enter__()

    def _post(self, event: Event) -> None:
        with self._came:
            if isinstance(event, Committed):
                self.bytes_max = max(self.bytes_max, event.used_bytes)
                if not event.durable:
                    sys.exit("the journal went into memory: the disk does not work")
            elif isinstance(event, Fetched):
                self._answers.append(event)
            elif isinstance(event, JournalTrouble) and event.key is not None:
                self.troubles.append(event)
            self._came.notify_all()

    def keep(self, record: Record) -> None:
        self._spool.keep(record)

    def keep_picture(self, shown: Released) -> None:
        self._spool.keep_picture(shown)

    def fetch(self, fetch: Fetch) -> Fetched:
        """The answer; whatever was due before is committed by then."""
        with self._came:
            self._answers.clear()
            self._spool.fetch(fetch)
            if not self._came.wait_for(lambda: bool(self._answers), ANSWER_S):
                sys.exit("the journal does not answer")
            return self._answers[0]

    def caught_up(self) -> None:
        """Wait until all that was put in so far is committed."""
        self.clock.at += 2.0  # a batch is due a second after its first record
        self.fetch(
            Fetch(lane=Lane.AUDIT, after=2**62, upto=None, limit=1, limit_bytes=1, audit=True)
        )
        self.clock.at -= 2.0

    def look_at_files(self) -> None:
        """What it takes, by its files."""
        self.bytes_max = max(self.bytes_max, sum(_sizes(self.folder)))

    def restart(self) -> None:
        self._spool.close()
        self.clock.cut()
        self._spool = self._start()

    def close(self) -> None:
        self._spool.close()

    def everything(self) -> Iterator[Stored]:
        """All that a hub would get, lane by lane."""
        for camera, audit in ((None, True), (None, False), *((name, False) for name in CAMERAS)):
            after, end = 0, False
            while not end:
                page = self.fetch(
                    Fetch(
                        lane=Lane.HISTORY,
                        after=after,
                        upto=None,
                        limit=200,
                        limit_bytes=4_000_000,
                        camera=camera,
                        audit=audit,
                    )
                )
                yield from page.records
                after = page.records[-1].seq if page.records else after
                end = page.end


def _sizes(folder: Path) -> Iterator[int]:
    with os.scandir(folder) as found:
        for entry in found:
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(Path(entry.path))
                else:
                    yield entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue


class Lens:
    """Pictures that went through a real gate; each names itself."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._noise = rng.randbytes(1 << 20)

    def jpeg(self, camera: str, number: int) -> bytes:
        start, size = self._rng.randrange(1 << 19), self._rng.randrange(3_000, 4_000)
        return f"{camera} {number} ".encode() + self._noise[start : start + size]

    def released(self, camera: str, at: float, jpeg: bytes) -> Released:
        gate = Gate(camera, at=0)
        gate.move(Cause.SIGNAL_BACK, at=at)
        gate.move(Cause.PROVEN, at=at)
        shown = picture(camera=camera, taken_at=at, jpeg=jpeg)
        gate.offer(shown, matches=True, wanted=True, at=at)
        closing = picture(camera=camera, taken_at=at + 1)
        out = gate.offer(closing, matches=True, wanted=True, at=at)
        assert out is not None
        return out


def suffer(
    box: Box, street: Street, *, days: float, rng: random.Random, say: Callable[[str], None]
) -> None:
    """The outage."""
    lens = Lens(rng)
    cut_at = CUT_EVERY_DAYS * DAY_MIN
    started = time.monotonic()
    for minute in range(int(days * DAY_MIN)):
        base = box.clock.at
        for n, camera in enumerate(CAMERAS):
            at = base + 6.0 * n + rng.uniform(0.0, 5.0)
            if rng.random() < BURSTS_A_DAY / DAY_MIN:
                burst(box, street, camera, at)
            row = street.pictures[camera]
            jpeg = lens.jpeg(camera, len(row))
            row.append((box.clock.boot, at, box.clock.began_s + at))
            box.keep_picture(lens.released(camera, at, jpeg))
        if minute % METRICS_MIN == 0:
            data: dict[str, Json] = {
                "cpu_percent": 7.5,
                "memory_available_bytes": 200_000_000,
                "fill": "x" * 250,
            }
            box.keep(Record(kind="box.metrics", rank=Rank.METRIC, at=base + 50.0, data=data))
            street.metrics += 1
        box.clock.at = base + 60.0
        if minute % TOGETHER_MIN == TOGETHER_MIN - 1:
            box.caught_up()
        if minute % DAY_MIN == DAY_MIN - 1:
            box.look_at_files()
            took = time.monotonic() - started
            say(
                f"day {minute // DAY_MIN + 1}: {took:.0f} s, {box.bytes_max / 1e6:.1f} MB at the most"
            )
        if minute >= cut_at:
            cut_at += CUT_EVERY_DAYS * DAY_MIN
            box.caught_up()
            box.restart()
    box.caught_up()


def burst(box: Box, street: Street, camera: str, at: float) -> None:
    """A loop opens, the gate holds, a work order is written; both come back."""
    story = (
        ("finding.raised", Rank.AUDIT, 0.0),
        ("gate.changed", Rank.AUDIT, 0.1),
        ("camera.lost", Rank.STATE, 2.0),
        ("order.opened", Rank.STATE, 3.0),
        ("gate.changed", Rank.AUDIT, 4.0),
    )
    for kind, rank, later in story:
        number = len(street.events)
        street.events.add(number)
        data: dict[str, Json] = {"number": number, "text": "x" * 200}
        box.keep(Record(kind=kind, rank=rank, at=at + later, camera=camera, data=data))


@dataclass
class Found:
    """What came back."""

    events: set[int] = field(default_factory=set)
    kept: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in CAMERAS})
    declared: dict[str, Minutes] = field(default_factory=lambda: {name: set() for name in CAMERAS})
    counted: int = 0  # pictures that tombstones count
    gone: set[int] = field(default_factory=set)  # seqs that tombstones name
    seqs: set[int] = field(default_factory=set)
    metrics: int = 0
    stones: int = 0
    stone_bytes: int = 0
    faults: list[str] = field(default_factory=list)


def read_back(box: Box, street: Street) -> Found:
    found = Found()
    for stored in box.everything():
        found.seqs.add(stored.seq)
        if stored.rank is Rank.PICTURE:
            take_picture(found, street, stored)
        elif stored.kind == "journal.thinned":
            take_stone(found, stored)
        elif stored.rank is Rank.METRIC:
            found.metrics += 1
        else:
            number = json.loads(stored.data).get("number")
            if isinstance(number, int):
                found.events.add(number)
    return found


def take_picture(found: Found, street: Street, stored: Stored) -> None:
    assert stored.jpeg is not None
    camera, number, _ = stored.jpeg.split(b" ", 2)
    name, place = camera.decode(), int(number)
    boot, at, _ = street.pictures[name][place]
    if (stored.camera, stored.boot, stored.at) != (name, boot, at):
        found.faults.append(f"record {stored.seq} shows another camera or time than it says")
    found.kept[name].add(place)


def take_stone(found: Found, stored: Stored) -> None:
    found.stones += 1
    found.stone_bytes += len(stored.data)
    body = json.loads(stored.data)
    for low, high in body["ranges"]:
        found.gone.update(range(low, high + 1))
    for track in body["tracks"]:
        if track["rank"] != "picture":
            continue
        found.counted += track["count"]
        for boot, ranges in track["minutes"].items():
            for low, high in ranges:
                found.declared[track["camera"]].update((boot, n) for n in range(low, high + 1))


@dataclass(frozen=True)
class Camera:
    """One camera, judged."""

    put: int
    kept: int
    gap_over_ideal: float
    longest_s: float
    day_s: float  # mean spacing of the last day
    older_s: float
    declared_right: bool


def judge(street: Street, found: Found, camera: str) -> Camera:
    row = street.pictures[camera]
    kept = sorted(found.kept[camera])
    first, last = row[0][2], row[-1][2]
    times = [row[place][2] for place in kept]
    gaps = [b - a for a, b in itertools.pairwise([first, *times, last])]
    ideal = (last - first) / max(1, len(kept))
    thinned = {
        (boot, int(at // 60))
        for place, (boot, at, _) in enumerate(row)
        if place not in found.kept[camera]
    }
    young = sum(when > last - 86_400 for when in times)
    older = len(times) - young
    return Camera(
        put=len(row),
        kept=len(kept),
        gap_over_ideal=max(gaps) / ideal,
        longest_s=max(gaps),
        day_s=min(86_400.0, last - first) / max(1, young),
        older_s=max(0.0, last - first - 86_400) / max(1, older),
        declared_right=thinned == found.declared[camera],
    )


def main(arguments: list[str] | None = None, out: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the last line only")
    parser.add_argument("--days", type=float, default=90.0)
    parser.add_argument("--folder", type=Path, help="where to write; the place for temporary files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--quota", type=int, default=QUOTA, help="bytes; 2 GB scaled down if not given"
    )
    given = parser.parse_args(arguments)

    def say(text: str) -> None:
        if not given.json:
            out(text)

    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        box = Box(Path(folder) / "journal", given.quota)
        street = Street()
        suffer(box, street, days=given.days, rng=random.Random(given.seed), say=say)
        put_s = time.monotonic() - started
        box.look_at_files()
        found = read_back(box, street)
        box.close()
    cameras = {name: judge(street, found, name) for name in CAMERAS}
    upto = max(found.seqs, default=0)
    unaccounted = upto - len(found.seqs | found.gone)
    right = all(camera.declared_right for camera in cameras.values())
    right = right and not unaccounted and not found.seqs & found.gone and not found.faults
    figures = {
        "kept_01": [len(found.events & street.events), len(street.events)],
        "largest_gap_over_ideal": round(max(each.gap_over_ideal for each in cameras.values()), 3),
        "declared_equals_thinned": right,
        "bytes_max": box.bytes_max,
    }
    for name, each in cameras.items():
        say(
            f"{name}: kept {each.kept:,} of {each.put:,}; every {each.day_s / 60:.1f} min on the last day, every"
            f" {each.older_s / 60:.1f} min before, longest gap {each.longest_s / 60:.1f} min"
            f" = {each.gap_over_ideal:.2f} x ideal; declared {'right' if each.declared_right else 'WRONG'}"
        )
    say(
        f"class 0 and 1: {figures['kept_01'][0]:,} of {figures['kept_01'][1]:,}"
        if isinstance(figures["kept_01"], list)
        else ""
    )
    say(
        f"metrics: {found.metrics:,} of {street.metrics:,}; tombstones: {found.stones:,}, {found.stone_bytes:,} bytes"
    )
    say(
        f"seqs neither held nor declared: {unaccounted}; pictures counted by tombstones: {found.counted:,}"
    )
    say(
        f"quota {given.quota:,}, used {box.bytes_max:,} at the most; put in {put_s:.0f} s, {len(box.troubles)} troubles"
    )
    for fault in found.faults[:10]:
        say(fault)
    out(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
