"""What the journal's writer has not done yet.

Promises: any thread may add, and none waits for the disk; records leave in the order in which they came; a purge goes before
everything else and takes every picture out of here at once; what waits is bounded, of every rank, and what is dropped for that is
declared; adding takes the same short time however much waits.
Not its job: disk.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
STATE_RECORDS: Final = 10_000
AUDIT_BYTES: Final = 16_000_000  # as much as is kept without a disk
AUDIT_RECORDS: Final = 20_000
IDLE_S: Final = 5.0  # an idle writer comes round so often, which shows the watchdog that it lives

Shed: TypeAlias = dict[tuple[Rank, str | None], Gap]  # by rank and, for pictures, camera


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One commit."""

    rows: tuple[Row, ...] = ()
    shed: Shed = field(default_factory=dict)  # dropped since the last batch
    facts: Mapping[str, bytes] = field(default_factory=dict)
    in_turn: bool = True  # whether all that came before these is written, or goes along
    ahead: Mapping[str, bytes] = field(
        default_factory=dict
    )  # written already, before records that are now in
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

    Beyond `QUEUE_BYTES` or `QUEUE_RECORDS` the oldest METRIC goes, then the oldest PICTURE; beyond `QUEUE_BYTES` or
    `STATE_RECORDS` the oldest STATE; AUDIT only beyond `AUDIT_BYTES` or `AUDIT_RECORDS`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready = threading.Condition()
        # A line for each rank, in order; what all of them hold is in order of the numbers.
        self._lines: dict[Rank, deque[tuple[int, Row]]] = {rank: deque() for rank in Rank}
        self._next_number = 0
        self._first_number = 0  # one less for what is put back before all others
        self._bytes = 0
        self._shed: Shed = {}
        self._facts: dict[
            str, tuple[int, bytes]
        ] = {}  # each with the number of the next row by then
        self._ahead: dict[
            str, tuple[int, bytes]
        ] = {}  # the disk had room for these, not for the records before them
        self._purges: deque[PurgeJob] = deque()
        self._fetches: deque[Fetch] = deque()
        self._settles: list[Settle] = []
        self._since: float | None = None  # when the first of the present batch came
        self._held_until = -math.inf  # the disk has no room for records
        self._settle_at = math.inf
        self._closing = False
        self._gave_up = False  # closing, with no room for what waited
        self.turned_at = clock.now()

    def put(self, row: Row) -> None:
        """Add a record."""
        with self._ready:
            if self._closing:
                return
            self._lines[row.rank].append((self._next_number, row))
            self._next_number += 1
            self._bytes += row.size
            self._begin()
            self._bound()
            self._ready.notify()

    def put_back(
        self,
        rows: Sequence[Row],
        shed: Shed,
        *,
        until: float,
        ahead: Mapping[str, bytes] | None = None,
    ) -> None:
        """*rows*, taken last, and tombstones that were to come before them, are not written, nor any other before *until*. Writer thread.

        *ahead*: the facts that were behind them, and are on the disk now; they come once more, as `Batch.ahead`, when *rows* do.
        On the way out all that waits is dropped: its tombstones are then the last batch, and no fact is in its turn any more.
        A purge that came meanwhile takes pictures among them as if they had waited all the time.
        """
        with self._ready:
            for row in reversed(self._unpurged(rows)):
                self._first_number -= 1
                self._lines[row.rank].appendleft((self._first_number, row))
                self._bytes += row.size
            for key, gap in shed.items():
                self._shed[key] = gap.joined(self._shed[key]) if key in self._shed else gap
            for name, value in (ahead or {}).items():
                if name not in self._facts:  # a newer value
                    self._ahead[name] = (self._next_number, value)
            self._begin()
            if self._closing:
                self._gave_up = True
                self._ahead.clear()
                for rank in Rank:
                    self._drop(rank, 0, 0)
            else:
                self._held_until = until
                self._bound()

    def fact(self, key: str, value: bytes) -> None:
        """Add something to remember: on the disk no sooner than the records that were added before it, unless it has no room for them."""
        with self._ready:
            self._facts[key] = (self._next_number, value)
            self._ahead.pop(key, None)
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
            dropped = [row for _, row in self._lines[Rank.PICTURE]]
            self._lines[Rank.PICTURE].clear()
            self._bytes -= sum(row.size for row in dropped)
            self._purges.append(PurgeJob(owed, tuple(map(without_picture, dropped))))
            self._ready.notify()

    def _unpurged(self, rows: Sequence[Row]) -> Sequence[Row]:
        """*rows*; their pictures go with the purge that waits, if one does."""
        if not self._purges:
            return rows
        job = self._purges.pop()
        dropped = [without_picture(row) for row in rows if row.rank is Rank.PICTURE]
        self._purges.append(replace(job, dropped=(*dropped, *job.dropped)))
        return [row for row in rows if row.rank is not Rank.PICTURE]

    def close(self) -> None:
        """Take no more; what waits is still done."""
        with self._ready:
            self._closing = True
            self._held_until = -math.inf
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

    def behind(self) -> frozenset[str]:
        """The facts that records still wait before, or may. Writer thread."""
        with self._ready:
            return frozenset((*self._facts, *self._ahead))

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
                batch_at = max(batch_at, self._held_until)
                self._ready.wait(max(0.0, min(wake_at, owing_at, batch_at, now + IDLE_S) - now))

    def _next(self, now: float, owing_at: float) -> Job | None:
        if self._purges:
            return self._purges.popleft()
        if self._due(now):
            return self._cut(now)
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
        if now < self._held_until:
            return bool(self._facts)
        enough = self._count() >= BATCH_RECORDS or self._bytes >= BATCH_BYTES
        urgent = bool(self._lines[Rank.AUDIT] or self._facts) or self._closing
        return enough or urgent or now >= self._since + BATCH_S

    def _cut(self, now: float) -> Batch:
        """The next batch. An alarm takes what came before it along: order is never changed."""
        if now < self._held_until:
            self._ahead |= self._facts
            return Batch(facts=_take(self._facts, math.inf), in_turn=False, urgent=True)
        rows: list[Row] = []
        size = 0
        urgent = bool(self._lines[Rank.AUDIT] or self._facts)
        while len(rows) < CUT_RECORDS and (line := self._oldest()) is not None:
            if rows and size + line[0][1].size > BATCH_BYTES:
                break
            rows.append(line.popleft()[1])
            size += rows[-1].size
        self._bytes -= size
        # That a fact is on the disk says so of all that came before it.
        line = self._oldest()
        first = math.inf if line is None else line[0][0]
        facts, ahead = _take(self._facts, first), _take(self._ahead, first)
        self._since = now if self._count() or self._facts else None
        shed, self._shed = self._shed, {}
        in_turn = not self._gave_up
        return Batch(
            rows=tuple(rows), shed=shed, facts=facts, in_turn=in_turn, ahead=ahead, urgent=urgent
        )

    def _oldest(self) -> deque[tuple[int, Row]] | None:
        """The line whose first row is the oldest of all; None if nothing waits."""
        waiting = [line for line in self._lines.values() if line]
        return min(waiting, key=lambda line: line[0][0]) if waiting else None

    def _count(self) -> int:
        return sum(map(len, self._lines.values()))

    def _bound(self) -> None:
        """Drop the oldest of what matters least until the rest is within bounds: the disk is too slow, or full."""
        self._drop(Rank.METRIC, QUEUE_RECORDS, QUEUE_BYTES)
        self._drop(Rank.PICTURE, QUEUE_RECORDS, QUEUE_BYTES)
        self._drop(Rank.STATE, STATE_RECORDS, QUEUE_BYTES)
        self._drop(Rank.AUDIT, AUDIT_RECORDS, AUDIT_BYTES)

    def _drop(self, rank: Rank, records: int, size: int) -> None:
        line = self._lines[rank]
        while line and (self._bytes > size or self._count() > records):
            row = line.popleft()[1]
            self._bytes -= row.size
            camera = row.camera if rank is Rank.PICTURE else None
            self._shed.setdefault((rank, camera), Gap()).add(mark_of(row))


def _take(facts: dict[str, tuple[int, bytes]], first: float) -> dict[str, bytes]:
    """Those of *facts* that came before the row of number *first*; they are taken out."""
    taken = {key: value for key, (number, value) in facts.items() if number <= first}
    for key in taken:
        del facts[key]
    return taken


def without_picture(row: Row) -> Row:
    """What a tombstone has to know of a picture that is never written."""
    return Row(kind=row.kind, rank=row.rank, stamp=row.stamp, data=b"", camera=row.camera)
