"""A spool with everything that it posts, and short ways to ask it; a clock moved by hand, and things to fill it with."""

import itertools
import json
import random
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from edge_agent.clock import SystemClock
from edge_agent.core.gate import Cause, Gate, Released
from edge_agent.core.messages import (
    Committed,
    Died,
    Event,
    Fetch,
    Fetched,
    Json,
    Lane,
    Rank,
    Record,
    Settle,
    Stored,
)
from edge_agent.core.settings import Identity, Journal
from edge_agent.simulate import Disk
from edge_agent.spool import Spool
from tests.support.build import picture as taken
from tests.support.patience import patient

ROOM = 50_000_000
E = TypeVar("E")


class HandClock:
    """Runs as the real one does, and can be moved on by hand."""

    def __init__(self, boot: str = "boot-1") -> None:
        self._real = SystemClock()
        self._start = self._real.now()
        self._skipped = 0.0
        self.step_s = 0.0  # how far each look at it moves it on
        self.boot = boot
        self.wall_at_boot = 1_800_000_000.0
        self.is_trusted = True

    def now(self) -> float:
        self._skipped += self.step_s
        return 1_000.0 + self._real.now() - self._start + self._skipped

    def wall(self) -> float:
        return self.wall_at_boot + self.now()

    def trusted(self) -> bool:
        return self.is_trusted

    def skip(self, seconds: float) -> None:
        self._skipped += seconds


class StillClock(HandClock):
    """Moves by hand alone: nothing is due before its time, however slow the machine is."""

    def now(self) -> float:
        return 1_000.0 + self._skipped


class Desk:
    """A spool with everything that it posts, and short ways to ask it."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: HandClock | None = None,
        disk: Disk | None = None,
        runtime: Path | None = None,
        seal: Callable[[bytes], bytes] | None = None,
        identity: Identity | None = None,
        **settings,
    ) -> None:
        self.folder = folder
        self.clock = clock or HandClock()
        self.disk = disk or Disk()
        self.events: list[Event] = []
        self.presses = 0
        self._came = threading.Condition()
        limits = {"quota_bytes": ROOM, "disk_floor_bytes": 0, **settings}
        self.spool = Spool(
            Journal(folder=str(folder), **limits),
            clock=self.clock,
            post=self._post,
            presses=lambda: self.presses,
            runtime_folder=runtime,
            connector=self.disk.connect,
            seal=seal,
            identity=identity,
        )

    def __enter__(self) -> "Desk":
        self.spool.__enter__()
        self.wait(Committed)
        return self

    def __exit__(self, *_) -> None:
        self.disk.go.set()
        self.spool.close()
        self.spool._thread.join(patient(15))  # a slow disk takes longer than the agent would wait
        assert not [event for event in self.events if isinstance(event, Died)]

    def _post(self, event: Event) -> None:
        with self._came:
            self.events.append(event)
            self._came.notify_all()

    def wait(
        self, kind: type[E], where: Callable[[E], bool] = lambda _: True, *, since: int = 0
    ) -> E:
        """The first event of *kind* that was or will be posted, from the *since*-th on."""

        def found() -> E | None:
            events = self.events[since:]
            return next((e for e in events if isinstance(e, kind) and where(e)), None)

        with self._came:
            event = self._came.wait_for(found, patient(15))
            assert event, f"no {kind.__name__} came, only {self.events[since:]!r:.2000}"
            return event

    def last(self, kind: type[E]) -> E:
        return next(e for e in reversed(self.events) if isinstance(e, kind))

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    # -- putting --

    def note(self, n: Json = 0, *, rank: Rank = Rank.STATE, kind: str = "test.note", **more):
        return Record(kind=kind, rank=rank, at=self.clock.now(), data={"n": n}, **more)

    def keep(self, *records: Record) -> None:
        for record in records:
            self.spool.keep(record)

    def alarm(self) -> int:
        """Keep an AUDIT record and wait until it, and all before it, is committed; returns the last seq."""
        nonce = f"alarm {len(self.events)}"
        self.spool.keep(self.note(nonce, rank=Rank.AUDIT, kind="test.alarm"))
        while True:
            since = len(self.events)
            found = [s for s in self.read(audit=True) if s.kind == "test.alarm"]
            if found and numbers(found)[-1] == nonce:
                return self.last(Committed).last_seq
            self.wait(Committed, since=since)

    def settle(self, *ranges: tuple[int, int], epoch: str | None = None) -> None:
        self.settled_at = len(self.events)
        self.spool.settle(Settle(epoch=epoch or self.epoch, ranges=ranges))

    def deleted(self, depth: int) -> None:
        """Wait until so many records are left after the settling."""
        self.clock.skip(6)
        self.spool.fetch(self.question(limit=1))  # something to wake up for
        self.wait(Committed, lambda event: event.depth == depth, since=self.settled_at)

    # -- asking --

    @property
    def epoch(self) -> str:
        return self.last(Committed).epoch

    def question(self, **more) -> Fetch:
        basis = {"lane": Lane.LIVE, "after": 0, "upto": None, "limit": 10**6, "limit_bytes": 10**9}
        return Fetch(**{**basis, **more})

    def ask(self, **more) -> Fetched:
        question = self.question(**more)
        self.spool.fetch(question)
        return self.wait(Fetched, lambda event: event.fetch is question)

    def read(self, **more) -> list[Stored]:
        """Everything of one selection, page by page."""
        out: list[Stored] = []
        while True:
            got = self.ask(**{**more, "after": out[-1].seq if out else more.get("after", 0)})
            out += got.records
            if got.end:
                return out

    def everything(self, cameras=("gate", "alley")) -> list[Stored]:
        parts = [self.read(audit=True), self.read(), *(self.read(camera=name) for name in cameras)]
        return sorted(itertools.chain(*parts), key=lambda stored: stored.seq)

    def bytes_on_disk(self) -> int:
        """What the files take; one with two names counts once."""
        found = []
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # gone meanwhile: it takes nothing
                found.append(path.lstat())
        return sum(
            {
                about.st_ino: about.st_size for about in found if not stat.S_ISDIR(about.st_mode)
            }.values()
        )


def released(camera: str, at: float, jpeg: bytes) -> Released:
    """A picture that went through a real gate."""
    gate = Gate(camera, at=0)
    gate.move(Cause.SIGNAL_BACK, at=at)
    gate.move(Cause.PROVEN, at=at)
    gate.offer(taken(camera=camera, taken_at=at, jpeg=jpeg), matches=True, wanted=True, at=at)
    closing = taken(camera=camera, taken_at=at + 1)
    out = gate.offer(closing, matches=True, wanted=True, at=at + 1)
    assert out is not None
    return out


def jpeg(n: int, size: int = 20_000) -> bytes:
    """No real picture, but as hard to compress as one, and easy to find again."""
    return b"\xff\xd8" + random.Random(n).randbytes(size - 4) + b"\xff\xd9"


def raw_of(folder: Path) -> bytes:
    """Every byte of every file of a journal."""
    found = []
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError, IsADirectoryError):  # gone meanwhile: it holds nothing
            found.append(path.read_bytes())
    return b"".join(found)


def numbers(records: list[Stored]) -> list[object]:
    return [json.loads(stored.data)["n"] for stored in records]


def declared(records: list[Stored], kind: str = "journal.thinned") -> set[int]:
    """Every seq that the tombstones among *records* name."""
    gone: set[int] = set()
    for stored in records:
        if stored.kind == kind:
            for low, high in json.loads(stored.data)["ranges"]:
                gone |= set(range(low, high + 1))
    return gone
