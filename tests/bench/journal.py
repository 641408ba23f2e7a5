"""How fast the journal takes and gives, and what it costs the flash. `python -m tests.bench.journal [--json] [--folder DIR] [--part PART]`

Everything goes through a real `Spool` on a real file system. Bytes written are what the block device was given, with records
deleted as they are settled, as on a box whose hub answers: as root on an ext4 of its own on a loop device (its pages and its journal
are counted then), else what the kernel counts for this process (/proc/self/io, write_bytes), which is less.
Beside it, in the same run, a mosquitto that keeps what it acknowledged (tests/support/peer_broker.py); its cost grows with what waits.
Prints a table with what is aimed at and whether it is reached and, as its last line, JSON. `--part` (several times, if wanted)
measures that part alone, with nothing before it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.core.gate import Cause, Gate, Released
from edge_agent.core.messages import (
    Committed,
    Event,
    Fetch,
    Fetched,
    Lane,
    Rank,
    Record,
    Settle,
)
from edge_agent.core.settings import Journal
from edge_agent.spool import Spool
from tests.support import peer_broker, powercut
from tests.support.build import picture

RECORD_BYTES = 300
PICTURE_BYTES = 60_000
APART_S = 7.0  # between two pictures of eight cameras at one a minute


class Clock(SystemClock):
    """Runs, and can be moved on."""

    skipped_s = 0.0

    def now(self) -> float:
        """Seconds since this boot, and what was skipped."""
        return super().now() + self.skipped_s


CLOCK = Clock()


class Bench:
    """A spool and what it last said."""

    def __init__(self, folder: Path) -> None:
        self._came = threading.Condition()
        self.committed: Committed | None = None
        self._fetched: list[Fetched] = []
        settings = Journal(folder=str(folder), quota_bytes=4_000_000_000, disk_floor_bytes=0)
        self.spool = Spool(settings, clock=CLOCK, post=self._post, presses=lambda: 0)

    def _post(self, event: Event) -> None:
        with self._came:
            if isinstance(event, Committed):
                self.committed = event
            elif isinstance(event, Fetched):
                self._fetched.append(event)
            self._came.notify_all()

    @property
    def last_seq(self) -> int:
        return self.committed.last_seq if self.committed else 0

    def reached(self, seq: int) -> None:
        """Wait until *seq* is committed."""
        self.until(lambda: self.last_seq >= seq)

    def until(self, done: Callable[[], bool]) -> None:
        with self._came:
            if not self._came.wait_for(done, 120):
                sys.exit("the journal does not answer")

    def fetch(self, after: int) -> Fetched:
        self._fetched.clear()
        self.spool.fetch(
            Fetch(lane=Lane.LIVE, after=after, upto=None, limit=200, limit_bytes=256_000)
        )
        self.until(lambda: bool(self._fetched))
        return self._fetched[0]


@contextmanager
def bench(base: Path | None) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(dir=base) as folder:
        it = Bench(Path(folder) / "journal")
        with it.spool:
            it.until(lambda: it.committed is not None)
            yield it


def record(rank: Rank = Rank.STATE) -> Record:
    fill = "x" * (RECORD_BYTES - len('{"fill":""}'))
    return Record(kind="bench.note", rank=rank, at=CLOCK.now(), data={"fill": fill})


def released(rng: random.Random) -> Released:
    at = CLOCK.now()
    gate = Gate("gate", at=0)
    gate.move(Cause.SIGNAL_BACK, at=at)
    gate.move(Cause.PROVEN, at=at)
    shown = picture(taken_at=at, jpeg=rng.randbytes(PICTURE_BYTES))
    gate.offer(shown, matches=True, wanted=True, at=at)
    out = gate.offer(picture(taken_at=at + 1), matches=True, wanted=True, at=at)
    assert out is not None
    return out


def ingest_each(it: Bench, count: int) -> float:
    """Records per second, each committed before the next comes."""
    started = CLOCK.now()
    for _ in range(count):
        upto = it.last_seq + 1
        it.spool.keep(record(Rank.AUDIT))
        it.reached(upto)
    return count / (CLOCK.now() - started)


def ingest_group(it: Bench, count: int) -> float:
    """Records per second as fast as they are taken, at most a thousand waiting."""
    first = it.last_seq
    started = CLOCK.now()
    for n in range(1, count + 1):
        it.spool.keep(record())
        if n % 500 == 0:
            it.reached(first + n - 1_000)
    it.reached(first + count)
    return count / (CLOCK.now() - started)


def read(it: Bench) -> float:
    """Records per second in pages of 200, everything but pictures."""
    count, after = 0, 0
    started = CLOCK.now()
    while True:
        page = it.fetch(after)
        count += len(page.records)
        if page.end:
            return count / (CLOCK.now() - started)
        after = page.records[-1].seq


def resident() -> float:
    """Memory of this process, in MB."""
    gc.collect()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0]) / 1_000
    sys.exit("/proc/self/status tells no VmRSS here")


def start_with(folder: Path, count: int) -> float:
    """Seconds until a journal with *count* records waiting is open."""
    it = Bench(folder)
    with it.spool:
        ingest_group(it, count)
    it = Bench(folder)
    started = CLOCK.now()
    with it.spool:
        it.until(lambda: it.committed is not None)
        took = CLOCK.now() - started
        assert it.committed is not None
        assert it.committed.depth == count
    return took


def backlog(it: Bench, rng: random.Random, size: int) -> float:
    """By how many MB this process grows while *size* bytes of pictures come to wait."""
    before = 0.0
    count = size // PICTURE_BYTES
    for n in range(count):
        it.spool.keep_picture(released(rng))
        if n % 20 == 19:
            it.reached(n - 20)
        if n == 200:  # what it takes to work at all
            before = resident()
    it.reached(count)
    return resident() - before


class Flash:
    """Where bytes are counted."""

    def __init__(self, folder: Path, device: str | None) -> None:
        self.folder = folder
        self._device = device

    def written(self) -> int:
        """Bytes that were caused to be written so far."""
        if self._device is not None:
            subprocess.run(["sync", "-f", str(self.folder)], check=True)
            fields = Path(f"/sys/block/{self._device}/stat").read_text(encoding="ascii").split()
            return int(fields[6]) * 512
        for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(": ")
            if name == "write_bytes":
                return int(value)
        sys.exit("/proc/self/io tells no write_bytes here")


@contextmanager
def flash(base: Path | None) -> Iterator[Flash]:
    """An ext4 of its own if that can be had."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=base)))
        if powercut.why_no_loop():
            yield Flash(home, None)
            return
        powercut.make_image(home / "card", megabytes=1_000)
        try:
            at = stack.enter_context(powercut.mounted(home / "card", home / "at"))
        except subprocess.CalledProcessError:
            yield Flash(home, None)
            return
        yield Flash(at, _loop_of(at))


def _loop_of(at: Path) -> str:
    number = at.stat().st_dev
    return f"loop{os.minor(number)}"


def written_per_byte(
    base: Path | None,
    put: Callable[[Bench], int],
    *,
    count: int,
    warm: int,
    group: int,
) -> float:
    """Device bytes per payload byte in a steady state: all but the last 1,000 records (or 100 pictures) are settled and deleted.

    *warm* come first, unmeasured. So many at a time as *group* says are waited for.
    """
    with flash(base) as card:
        it = Bench(card.folder / "journal")
        with it.spool:
            it.until(lambda: it.committed is not None)
            payload, since, size = 0, 0, 0
            for n in range(warm + count):
                if n == warm:
                    it.reached(n - group)
                    since = card.written()
                size = put(it)
                payload += size if n >= warm else 0
                behind = 100 if size > 10_000 else 1_000
                if n % 50 == 49:
                    assert it.committed is not None
                    upto = max(0, it.last_seq - behind)
                    it.spool.settle(Settle(epoch=it.committed.epoch, ranges=((1, upto),)))
                if n % group == group - 1:
                    it.reached(n + 1 - (1_000 if size < 10_000 else 0))
            it.reached(warm + count)
            return (card.written() - since) / payload


def one_by_one(base: Path | None, rng: random.Random, count: int, *, warm: int) -> float:
    """The same for pictures that come so far apart that each is a commit, and the hub has each after eight more. The log is as long as it
    will be when *warm* have come.
    """
    with flash(base) as card:
        it = Bench(card.folder / "journal")
        with it.spool:
            it.until(lambda: it.committed is not None)
            assert it.committed is not None
            since = 0
            for n in range(warm + count):
                if n == warm:
                    since = card.written()
                it.spool.keep_picture(released(rng))
                CLOCK.skipped_s += APART_S
                it.spool.settle(Settle(epoch=it.committed.epoch, ranges=((1, max(0, n - 8)),)))
                it.reached(n + 1)
            return (card.written() - since) / (count * PICTURE_BYTES)


@dataclass(frozen=True)
class Figure:
    """One line of the table. `path`: where it stands in the JSON."""

    path: tuple[str, ...]
    name: str
    value: float
    unit: str
    digits: int = 0
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self) -> tuple[str, str]:
        """What is aimed at, and whether it is reached; "" where nothing is."""
        if self.at_least is not None:
            return (
                f">= {self.at_least:,g}",
                "reached" if self.value >= self.at_least else "not reached",
            )
        if self.at_most is not None:
            return (
                f"<= {self.at_most:,g}",
                "reached" if self.value <= self.at_most else "not reached",
            )
        return "", ""


@dataclass(frozen=True)
class Run:
    """What a run is to be: *scale* 10, or 1 for a tenth of everything."""

    base: Path | None
    scale: int
    rng: random.Random

    def each(self) -> list[Figure]:
        with bench(self.base) as it:
            found = ingest_each(it, 100 * self.scale)
        name = "taken, one commit each"
        return [Figure(("ingest_each_per_s",), name, found, "records/s")]

    def ingest(self) -> list[Figure]:
        with bench(self.base) as it:
            return [self._group(it)]

    def _group(self, it: Bench) -> Figure:
        found = ingest_group(it, 10_000 * self.scale)
        name, aim = "taken, in groups", 15_000
        return Figure(("ingest_group_per_s",), name, found, "records/s", at_least=aim)

    def read(self) -> list[Figure]:
        with bench(self.base) as it:
            self._group(it)
            found = read(it)
        name, aim = "read, pages of 200", 100_000
        return [Figure(("read_per_s",), name, found, "records/s", at_least=aim)]

    def start(self) -> list[Figure]:
        count = 100_000 * self.scale
        with tempfile.TemporaryDirectory(dir=self.base) as folder:
            found = start_with(Path(folder) / "journal", count)
        name = f"start with {count:,} records"
        return [Figure(("start_1m_s",), name, found, "s", digits=2, at_most=3)]

    def memory(self) -> list[Figure]:
        with bench(self.base) as it:
            found = backlog(it, self.rng, 200_000_000 * self.scale)
        name = f"memory, {200 * self.scale:,} MB waiting"
        return [Figure(("rss_growth_mb",), name, found, "MB more", digits=1, at_most=5)]

    def records(self) -> list[Figure]:
        def put(it: Bench) -> int:
            it.spool.keep(record())
            return RECORD_BYTES

        count = 6_000 * self.scale
        found = written_per_byte(self.base, put, count=count, warm=40_000, group=500)
        name = f"written for {RECORD_BYTES} B records"
        path = ("written_per_byte", "records")
        return [Figure(path, name, found, "bytes a byte", digits=2, at_most=3)]

    def snapshots(self) -> list[Figure]:
        def put(it: Bench) -> int:
            it.spool.keep_picture(released(self.rng))
            return PICTURE_BYTES

        count = 200 * self.scale
        found = written_per_byte(self.base, put, count=count, warm=400, group=20)
        name = f"written for {PICTURE_BYTES} B pictures"
        path = ("written_per_byte", "snapshots")
        return [Figure(path, name, found, "bytes a byte", digits=2, at_most=1.3)]

    def single(self) -> list[Figure]:
        found = one_by_one(self.base, self.rng, 50 * self.scale, warm=1_200)
        path = ("written_per_byte_one_at_a_time", "snapshots")
        unit = "bytes a byte"
        return [Figure(path, "the same, a commit each", found, unit, digits=2, at_most=1.3)]

    def peer(self) -> list[Figure]:
        count = 200 * self.scale
        beside = peer_broker.measure(self.base, count=count, size=RECORD_BYTES)
        if beside is None:
            return []
        name = f"mosquitto, {count:,} messages"
        return [
            Figure(("peer", "ingest_per_s"), name, beside.ingest_per_s, "records/s"),
            Figure(
                ("peer", "written_per_byte"),
                "mosquitto, written",
                beside.written_per_byte,
                "bytes a byte",
            ),
        ]


PARTS: dict[str, Callable[[Run], list[Figure]]] = {
    "each": Run.each,
    "ingest": Run.ingest,
    "read": Run.read,
    "start": Run.start,
    "memory": Run.memory,
    "records": Run.records,
    "snapshots": Run.snapshots,
    "single": Run.single,
    "peer": Run.peer,
}


def as_json(figures: list[Figure], parts: list[str]) -> dict[str, object]:
    """By their paths; a peer that was asked for and is not here is null."""
    out: dict[str, object] = {"peer": None} if "peer" in parts else {}
    for figure in figures:
        *groups, last = figure.path
        value = round(figure.value, figure.digits) if figure.digits else round(figure.value)
        place = out
        for group in groups:
            inner = place.get(group)
            if not isinstance(inner, dict):
                inner = place[group] = {}
            place = inner
        place[last] = value
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the last line only")
    parser.add_argument("--folder", type=Path, help="where to write; the place for temporary files")
    parser.add_argument("--short", action="store_true", help="a tenth of everything")
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="this part alone; may be given again"
    )
    given = parser.parse_args()
    run = Run(given.folder, 1 if given.short else 10, random.Random(1))
    parts: list[str] = given.part or [*PARTS]
    figures = [figure for part in parts for figure in PARTS[part](run)]
    if not given.json:
        sys.stdout.write(f"{'':<32} {'measured':>24}  {'aim':<12} \n")
        for one in figures:
            told = f"{one.value:,.{one.digits}f} {one.unit}"
            aim, verdict = one.verdict()
            sys.stdout.write(f"{one.name:<32} {told:>24}  {aim:<12} {verdict}".rstrip() + "\n")
    sys.stdout.write(json.dumps(as_json(figures, parts)) + "\n")


if __name__ == "__main__":
    main()
