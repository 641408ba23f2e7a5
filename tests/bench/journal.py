"""How fast the journal takes and gives, and what it costs the flash. `python -m tests.bench.journal [--json] [--folder DIR]`

Everything goes through a real `Spool` on a real file system. Bytes written are what the kernel counts for this process
(/proc/self/io, write_bytes), with records deleted as they are settled, as on a box whose hub answers.
Prints a table and, as its last line, JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from tests.support.build import picture

RECORD_BYTES = 300
PICTURE_BYTES = 60_000
CLOCK = SystemClock()


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


def written() -> int:
    """Bytes this process has caused to be written to the device."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(": ")
        if name == "write_bytes":
            return int(value)
    sys.exit("/proc/self/io tells no write_bytes here")


def written_per_byte(it: Bench, put: Callable[[], int], count: int) -> float:
    """Device bytes per payload byte; all but the last 1,000 records (or 100 pictures) are settled and deleted."""
    payload, since = 0, written()
    for n in range(count):
        size = put()
        payload += size
        behind = 100 if size > 10_000 else 1_000
        if n % 50 == 49:
            upto = it.last_seq
            assert it.committed is not None
            it.spool.settle(Settle(epoch=it.committed.epoch, ranges=((1, max(0, upto - behind)),)))
        if n % 20 == 19 and size > 10_000:
            it.reached(it.last_seq + 1)
    it.spool.close()
    return (written() - since) / payload


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the last line only")
    parser.add_argument("--folder", type=Path, help="where to write; the place for temporary files")
    parser.add_argument("--short", action="store_true", help="a tenth of everything")
    given = parser.parse_args()
    scale = 1 if given.short else 10
    rng = random.Random(1)
    with bench(given.folder) as it:
        each = ingest_each(it, 100 * scale)
        group = ingest_group(it, 10_000 * scale)
        reading = read(it)
    with bench(given.folder) as it:

        def put_record() -> int:
            it.spool.keep(record())
            it.reached(puts[0] - 1_000)
            puts[0] += 1
            return RECORD_BYTES

        puts = [0]
        records = written_per_byte(it, put_record, 6_000 * scale)
    with bench(given.folder) as it:

        def put_picture() -> int:
            it.spool.keep_picture(released(rng))
            return PICTURE_BYTES

        snapshots = written_per_byte(it, put_picture, 150 * scale)
    figures = {
        "ingest_each_per_s": round(each),
        "ingest_group_per_s": round(group),
        "read_per_s": round(reading),
        "written_per_byte": {"records": round(records, 2), "snapshots": round(snapshots, 2)},
    }
    if not given.json:
        rows = [
            ("taken, one commit each", f"{each:,.0f} records/s"),
            ("taken, in groups", f"{group:,.0f} records/s"),
            ("read, pages of 200", f"{reading:,.0f} records/s"),
            (f"written for {RECORD_BYTES} B records", f"{records:.2f} bytes a byte"),
            (f"written for {PICTURE_BYTES} B pictures", f"{snapshots:.2f} bytes a byte"),
        ]
        for name, value in rows:
            sys.stdout.write(f"{name:<32} {value:>24}\n")
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
