"""What the journal's writer has not done yet.

Promises: any thread may add, and none waits for the disk; records leave in the order in which they came; a purge goes before
everything else and takes every picture out of here at once; what waits is bounded, and what is dropped for that is declared.
Not its job: disk.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from edge_agent.core.messages import Fetch, Rank, Settle
from edge_agent.spool.owed import Owed
from edge_agent.spool.values import Gap, Row, mark_of

if TYPE_CHECKING:
    from edge_agent.clock import Clock

# ---- group commit: one commit a record is dozens of times slower and writes ten times as much (tests/bench/journal.py) ----
BATCH_RECORDS: Final = 50
CUT_RECORDS: Final = 500  # what came while the disk was busy goes along: it has waited already
BATCH_BYTES: Final = 1_000_000  # what a slow card (10 MB/s) syncs in 0.1 s
BATCH_S: Final = 0.5  # what a power cut may take; accepted is only what was committed
SETTLE_S: Final = 5.0  # deleting in larger lots spares the flash; nothing that waits to be deleted is shown any more

QUEUE_BYTES: Final = 8_000_000  # seven rounds of eight cameras
QUEUE_RECORDS: Final = 2_000
_DROP_TO: Final = (
    7 / 8
)  # more than needed, so that not every record that comes walks over all that wait
IDLE_S: Final = 5.0  # an idle writer comes round so often, which shows the watchdog that it lives

Shed: TypeAlias = dict[tuple[Rank, str | None], Gap]  # by rank and, for pictures, camera


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One commit."""

    rows: tuple[Row, ...] = ()
    shed: Shed = field(default_factory=dict)  # dropped since the last batch
    facts: Mapping[str, bytes] = field(default_factory=dict)
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class PurgeJob:
    """Destroy pictures; `dropped` never reached the store."""

    owed: Owed
    dropped: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class SettleMore:
    """Some of what was settled is still to be deleted."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing waits."""


@dataclass(frozen=True, slots=True)
class End:
    """Closed, and all is done."""


Job: TypeAlias = Batch | PurgeJob | Fetch | SettleMore | Idle | End


class Queue:
    """Any thread adds; only the writer takes.

    Beyond `QUEUE_BYTES` or `QUEUE_RECORDS` the oldest METRIC goes, then the oldest PICTURE; AUDIT and STATE stay.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready = threading.Condition()
        self._rows: deque[Row] = deque()
        self._bytes = 0
        self._alarms = 0  # AUDIT records among the rows
        self._shed: Shed = {}
        self._facts: dict[str, bytes] = {}
        self._purges: deque[PurgeJob] = deque()
        self._fetches: deque[Fetch] = deque()
        self._settles: list[Settle] = []
        self._since: float | None = None  # when the first of the present batch came
        self._settle_at = math.inf
        self._closing = False
        self.turned_at = clock.now()

    def put(self, row: Row) -> None:
        """Add a record."""
        with self._ready:
            if self._closing:
                return
            self._rows.append(row)
            self._bytes += row.size
            self._alarms += row.rank is Rank.AUDIT
            self._begin()
            if self._over():
                self._drop(Rank.METRIC)
                self._drop(Rank.PICTURE)
            self._ready.notify()

    def fact(self, key: str, value: bytes) -> None:
        """Add something to remember."""
        with self._ready:
            self._facts[key] = value
            self._begin()
            self._ready.notify()

    def fetch(self, fetch: Fetch) -> None:
        """Add a question."""
        with self._ready:
            if not self._closing:
                self._fetches.append(fetch)
                self._ready.notify()

    def settle(self, settle: Settle) -> None:
        """Add what the hub has."""
        with self._ready:
            self._settles.append(settle)
            self._settle_at = min(self._settle_at, self._clock.now() + SETTLE_S)
            self._ready.notify()

    def purge(self, owed: Owed) -> None:
        """Drop every picture from what waits, however old, now; the writer does the rest next."""
        with self._ready:
            kept, dropped = deque[Row](), list[Row]()
            for row in self._rows:
                (dropped if row.rank is Rank.PICTURE else kept).append(row)
            self._rows = kept
            self._bytes -= sum(row.size for row in dropped)
            self._purges.append(PurgeJob(owed, tuple(map(without_picture, dropped))))
            self._ready.notify()

    def close(self) -> None:
        """Take no more; what waits is still done."""
        with self._ready:
            self._closing = True
            self._fetches.clear()
            self._ready.notify()

    def take_settles(self) -> tuple[list[Settle], float]:
        """Everything settled since the last time, and when deleting it is due. Writer thread."""
        with self._ready:
            settles, self._settles = self._settles, []
            due_at, self._settle_at = self._settle_at, math.inf
            return settles, due_at

    def pulse(self) -> None:
        """The writer is within something long, and getting on. Writer thread."""
        self.turned_at = self._clock.now()

    def busy(self) -> bool:
        """Whether a batch is due right now."""
        with self._ready:
            return self._due(self._clock.now())

    def take(self, *, owing_at: float, wake_at: float) -> Job:
        """Wait for the next thing to do; `Idle` at *wake_at* at the latest. Writer thread.

        *owing_at*: when to go on deleting what was settled; infinite if none of it is left.
        """
        with self._ready:
            while True:
                now = self.turned_at = self._clock.now()
                owing_at = min(owing_at, self._settle_at)
                job = self._next(now, owing_at)
                if job is not None:
                    return job
                if now >= wake_at:
                    return Idle()
                batch_at = math.inf if self._since is None else self._since + BATCH_S
                self._ready.wait(max(0.0, min(wake_at, owing_at, batch_at, now + IDLE_S) - now))

    def _next(self, now: float, owing_at: float) -> Job | None:
        if self._purges:
            return self._purges.popleft()
        if self._due(now):
            return self._cut()
        if self._fetches:
            return self._fetches.popleft()
        if now >= owing_at or (self._closing and owing_at < math.inf):
            return SettleMore()
        return End() if self._closing else None

    def _begin(self) -> None:
        if self._since is None:
            self._since = self._clock.now()

    def _due(self, now: float) -> bool:
        if self._since is None:
            return False
        enough = len(self._rows) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES
        urgent = self._alarms > 0 or bool(self._facts) or self._closing
        return enough or urgent or now >= self._since + BATCH_S

    def _cut(self) -> Batch:
        """The next batch. An alarm takes what came before it along: order is never changed."""
        rows: list[Row] = []
        size, alarms = 0, 0
        urgent = self._alarms > 0 or bool(self._facts)
        while self._rows and len(rows) < CUT_RECORDS:
            if rows and size + self._rows[0].size > BATCH_BYTES:
                break
            rows.append(self._rows.popleft())
            size += rows[-1].size
            alarms += rows[-1].rank is Rank.AUDIT
        self._bytes -= size
        self._alarms -= alarms
        self._since = self._clock.now() if self._rows else None
        shed, self._shed = self._shed, {}
        facts, self._facts = self._facts, {}
        return Batch(rows=tuple(rows), shed=shed, facts=facts, urgent=urgent)

    def _over(self) -> bool:
        return self._bytes > QUEUE_BYTES or len(self._rows) > QUEUE_RECORDS

    def _drop(self, rank: Rank) -> None:
        """Drop the oldest of *rank* until there is some room again: the disk is too slow."""
        rows, self._rows = self._rows, deque()
        waiting = len(rows)
        for row in rows:
            over = self._bytes > QUEUE_BYTES * _DROP_TO or waiting > QUEUE_RECORDS * _DROP_TO
            if row.rank is not rank or not over:
                self._rows.append(row)
                continue
            waiting -= 1
            self._bytes -= row.size
            camera = row.camera if rank is Rank.PICTURE else None
            self._shed.setdefault((rank, camera), Gap()).add(mark_of(row))


def without_picture(row: Row) -> Row:
    """What a tombstone has to know of a picture that is never written."""
    return Row(kind=row.kind, rank=row.rank, stamp=row.stamp, data=b"", camera=row.camera)
