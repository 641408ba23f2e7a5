"""The journal: what the box accepted waits here, over outages and power cuts, until the hub has it for good.

Promises (docs/design/journal.md has each with its checker and its test):
- Accepted means kept: a `Committed` with `durable` true is posted only after SQLite has synced those records to disk.
- `(epoch, seq)` names one record for ever: `seq` only grows, `epoch` is new with every new store.
- Deleted is only what was settled, purged, or thinned for want of room; thinning and purging leave a tombstone.
- Bounded by `quota_bytes` and `disk_floor_bytes`, looked at before writing. Records of rank AUDIT are never thinned.
- No caller waits for the disk. It always starts: with a damaged store moved aside, or in memory until the disk is mended.
- Pictures come in as `Released` only, and a purge reaches the queue, the store, its log and what was moved aside.
Not its job: what to send when (core/uplink.py), which pictures matter (a later core/retention.py), sealing, topics.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import sqlite3
import threading
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeAlias, TypeVar, cast

from edge_agent.core.gate import Released
from edge_agent.core.messages import (
    Committed,
    Died,
    Event,
    Fetch,
    Fetched,
    FindingKey,
    JournalTrouble,
    Json,
    Purge,
    Purged,
    Rank,
    Record,
    Settle,
    Stored,
)

if TYPE_CHECKING:
    from types import TracebackType

    from edge_agent.clock import Clock
    from edge_agent.core.settings import Journal

# ---- group commit (measured: one commit per record is 70 times slower and writes 10 times as much) ----
BATCH_RECORDS: Final = 50
BATCH_BYTES: Final = 1_000_000  # what a slow card (10 MB/s) syncs in 0.1 s
BATCH_S: Final = 1.0  # what a power cut may take: accepted is only what was committed
REPORT_S: Final = 1.0  # under load, `Committed` is posted so often and not for each batch

# ---- waiting for the disk ----
QUEUE_BYTES: Final = 8_000_000  # seven rounds of eight cameras
QUEUE_RECORDS: Final = 2_000
RING_BYTES: Final = 16_000_000  # in memory, while there is no disk
RETRY_S: Final = 30.0
RETOLD_S: Final = 600.0  # a disk that stumbles again and again is told of once in so long
OPEN_S: Final = 10.0  # the agent starts after this, whatever the disk does
SALVAGE_S: Final = 8.0
CLOSE_S: Final = 5.0
IDLE_S: Final = 5.0  # an idle writer shows the watchdog that it lives

# ---- one step of work: what an AUDIT record may have to wait for ----
READ_S: Final = 0.025
SETTLE_RECORDS: Final = 500
SETTLE_BYTES: Final = 4_000_000
THIN_PICTURES: Final = 129  # odd: every second goes, the first and the last stay
THIN_RECORDS: Final = 256
VACUUM_PAGES: Final = 256
VACUUM_ABOVE_PAGES: Final = 4_096  # 16 MB of free pages are kept for what comes next
WIPE_PAGES: Final = (
    4_096  # free pages a purge cuts off, since pictures settled lately left their bytes there
)
YOUNG_S: Final = 600.0  # the longest time that a press reaches back (settings.Privacy.purge_s)

# ---- the journal ----


class Spool:
    """The journal. A context manager; every method may be called from any thread, and none waits for the disk.

    Entering waits until the store is open, or `OPEN_S`; leaving writes what waits and closes, within `CLOSE_S`.
    *connector* opens the store's file; tests pass one whose disk fails.
    """

    def __init__(
        self,
        settings: Journal,
        *,
        clock: Clock,
        post: Callable[[Event], None],
        connector: Connector = connect,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._post = post
        self._connector = connector
        self._queue = Queue(clock)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._opened = threading.Event()
        self._facts_lock = threading.Lock()
        self._facts: dict[str, bytes] = {}
        # From here on: the writer thread's own.
        self._store: Store
        self._owed: list[Range] = []  # settled, not yet deleted
        self._purges_owed: list[PurgeJob] = []  # not yet done on the disk
        self._said: JournalTrouble | None = None
        self._damage = (
            ""  # a store was damaged in this run: worth a new card, however well things go now
        )
        self._retry_at = math.inf
        self._reported_at = -math.inf
        self._retold_at = -math.inf

    def __enter__(self) -> Self:
        """Start the writer; returns when the store is open, or after `OPEN_S`."""
        self._thread.start()
        self._opened.wait(OPEN_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def keep(self, record: Record) -> None:
        """Take *record*; a `Committed` says when it is on disk. ValueError for a picture: see `keep_picture`."""
        if record.rank is Rank.PICTURE:
            raise ValueError("a picture comes in through keep_picture, as the gate released it")
        self._put(record.kind, record.rank, record.camera, record.at, record.data, None)

    def keep_picture(self, picture: Released) -> None:
        """Take a picture that its gate released; TypeError for anything else."""
        if type(picture) is not Released:
            raise TypeError(f"only a Released picture may be kept, not {type(picture).__name__}")
        self._put(
            "snapshot",
            Rank.PICTURE,
            picture.camera,
            picture.taken_at,
            {"generation": picture.generation, **picture.data()},
            picture.jpeg,
        )

    def fetch(self, fetch: Fetch) -> None:
        """Ask; answered by `Fetched`, which may hold fewer than asked for and says whether there are more."""
        self._queue.fetch(fetch)

    def settle(self, settle: Settle) -> None:
        """The hub has these: they are not fetched any more, and deleted within seconds. Of another epoch: ignored."""
        self._queue.settle(settle)

    def purge(self, purge: Purge) -> None:
        """Destroy these pictures, before anything else; answered by `Purged`."""
        self._queue.purge(purge)

    def remember(self, key: str, value: bytes) -> None:
        """Keep *value* over restarts, in place of what was kept as *key* before."""
        with self._facts_lock:
            self._facts[key] = value
        self._queue.fact(key, value)

    def recall(self, key: str) -> bytes | None:
        """What was remembered last as *key*; None also if the store could not be opened when the spool was entered."""
        with self._facts_lock:
            return self._facts.get(key)

    def progress(self) -> float:
        """When the writer last came round, in seconds since boot; older than about 30 s means that the disk hangs."""
        return self._queue.turned_at

    def close(self) -> None:
        """Write what waits, settle what can be, let go of the file. Waits for `CLOSE_S` at the most; twice is harmless."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def _put(
        self,
        kind: str,
        rank: Rank,
        camera: str | None,
        at: float,
        data: Mapping[str, Json],
        jpeg: bytes | None,
    ) -> None:
        stamp = self._stamp(at)
        self._queue.put(
            Row(
                kind=kind,
                rank=rank,
                camera=camera,
                boot=stamp.boot,
                at=at,
                wall_s=stamp.wall_s,
                trusted=stamp.trusted,
                data=dump(data),
                jpeg=jpeg,
            )
        )

    def _stamp(self, at: float | None = None) -> Stamp:
        now = self._clock.now()
        when = now if at is None else at
        return Stamp(
            boot=self._clock.boot,
            at=when,
            wall_s=self._clock.wall() - (now - when),
            trusted=self._clock.trusted(),
        )

    # -- the writer thread --

    def _run(self) -> None:
        try:
            self._open()
            self._opened.set()
            while self._turn():
                pass
        except Exception as error:  # noqa: BLE001 - a thread's top: what nobody foresaw ends the agent
            self._post(Died(part="journal", detail=f"{type(error).__name__}: {why(error)}"))
        finally:
            self._opened.set()
            if hasattr(self, "_store"):
                self._store.close()

    def _open(self) -> None:
        try:
            self._store = self._open_disk(None)
        except TROUBLE as error:
            self._to_memory(error)
        self._report(force=True)

    def _turn(self) -> bool:
        """Do one thing; False at the end."""
        wake_at = min(self._clock.now() + IDLE_S, self._retry_at)
        job = self._queue.take(owing=bool(self._owed), wake_at=wake_at)
        match job:
            case End():
                return False
            case PurgeJob():
                self._purge(job)
            case Batch():
                self._write(job)
            case Fetch():
                self._answer(job)
            case Owed():
                self._write(Batch(rows=(), shed=(), facts={}, urgent=False))
            case Idle():
                self._idle()
        return True

    def _write(self, batch: Batch) -> None:
        self._note_settles()
        owed = [] if batch.urgent else self._owed

        def work(store: Store) -> list[Range]:
            rows = [*store.declare(batch.shed, "slow_disk"), *batch.rows]
            settled = owed if store is before else ()
            return store.write(rows, facts=batch.facts, settled=settled)

        before = self._store
        left = self._do(work)
        if not batch.urgent and self._store is before:
            self._owed = left
        self._say_full()
        self._report(force=batch.urgent)

    def _note_settles(self) -> None:
        ranges = [
            (max(0, low), min(high, self._store.last_seq))
            for settle in self._queue.take_settles()
            if settle.epoch == self._store.epoch
            for low, high in settle.ranges
        ]
        if ranges:
            self._owed = merged([*self._owed, *ranges])

    def _answer(self, fetch: Fetch) -> None:
        self._note_settles()
        until = self._clock.now() + READ_S
        fetched = self._do(
            lambda store: store.fetch(
                fetch,
                self._owed,
                lambda: self._clock.now() >= until,
            )
        )
        self._post(fetched)

    def _purge(self, job: PurgeJob) -> None:
        purged = self._do(
            lambda store: store.purge(job.command, self._clock.boot, job.dropped),
        )
        if not self._store.durable:
            self._purges_owed.append(job)
        self._post(purged)
        self._report(force=True)

    def _idle(self) -> None:
        if self._clock.now() >= self._retry_at:
            self._mend()
        elif self._do(lambda store: store.tidy()):
            self._report(force=False)

    def _report(self, *, force: bool) -> None:
        now = self._clock.now()
        if force or now >= self._reported_at + REPORT_S or not self._queue.busy():
            self._reported_at = now
            self._post(self._do(lambda store: store.committed()))

    # -- trouble --

    def _do(self, work: Callable[[Store], T]) -> T:
        """Do *work* on the store; if that fails, once more on the store opened afresh, and if that fails, in memory."""
        try:
            return work(self._store)
        except TROUBLE as error:
            if not self._store.durable:
                raise  # memory has no bad sectors: this is a fault of ours
            return self._recover(work, error)

    def _recover(self, work: Callable[[Store], T], error: Exception) -> T:
        broken = self._store
        broken.close()
        self._owed = []  # the hub says it again
        try:
            fresh = self._open_disk(why(error) if is_damage(error) else None)
            try:
                outcome = self._redo(work, broken, fresh)
            except TROUBLE:
                fresh.close()
                raise
        except TROUBLE as again:
            self._to_memory(again)
            return work(self._store)
        self._store = fresh
        self._tell_stumble(error)
        return outcome

    def _redo(self, work: Callable[[Store], T], broken: Store, fresh: Store) -> T:
        """The commit whose end was not known: done, if the store says so and everything in it can be synced; else again."""
        landed = broken.aimed is not None and fresh.last_seq >= broken.aimed
        if landed and fresh.epoch == broken.epoch:
            fresh.harden()
            return cast("T", broken.outcome)
        return work(fresh)

    def _tell_stumble(self, error: Exception) -> None:
        """A disk that failed and then did not is a disk that will fail."""
        now = self._clock.now()
        if now < self._retold_at + RETOLD_S or self._damage:
            return
        self._retold_at = now
        self._put("journal.reopened", Rank.AUDIT, None, now, {"why": why(error)}, None)

    def _open_disk(self, damage: str | None) -> Store:
        """The store on disk, whatever it takes; raises `TROUBLE` if the disk cannot be written."""
        folder = Path(self._settings.folder)
        try:
            if damage is not None:
                raise DamagedError(damage)
            prepare_folder(folder)
            store = self._open_file(folder)
        except (DamagedError, sqlite3.DatabaseError) as error:
            if not is_damage(error):
                raise
            store = self._replace(folder, why(error))
        with self._facts_lock:
            self._facts = {**store.facts, **self._facts}
        return store

    def _open_file(self, folder: Path) -> Store:
        connection = self._connector(str(folder / FILE))
        limits = Limits(
            folder=folder,
            quota_bytes=self._settings.quota_bytes,
            floor_bytes=self._settings.disk_floor_bytes,
        )
        try:
            return Store(connection, limits, self._stamp)
        except BaseException:
            with suppress(*TROUBLE):
                connection.close()
            raise

    def _replace(self, folder: Path, damage: str) -> Store:
        """Move the damaged store aside, begin a new one, bring over what can be read."""
        aside = move_aside(folder)
        prepare_folder(folder)
        store = self._open_file(folder)
        deadline = self._clock.now() + SALVAGE_S
        try:
            told = self._salvage(aside, store, lambda: self._clock.now() >= deadline)
            data: dict[str, Json] = {"why": damage, "aside": aside.name, **told}
            stamp = self._stamp()
            row = Row(
                kind="journal.damaged",
                rank=Rank.AUDIT,
                camera=None,
                boot=stamp.boot,
                at=stamp.at,
                wall_s=stamp.wall_s,
                trusted=stamp.trusted,
                data=dump(data),
            )
            store.write([row], facts={}, settled=())
        except TROUBLE:
            store.close()
            raise
        self._damage = (
            f"the store was damaged ({damage}); it was moved to {aside}, {told['salvaged']} records were saved:"
            " replace the card"
        )
        self._say(FindingKey.JOURNAL_BROKEN, self._damage)
        return store

    def _salvage(self, aside: Path, store: Store, spent: Callable[[], bool]) -> dict[str, Json]:
        saved = 0
        rows: list[Row] = []
        if not aside.is_file() or aside.is_symlink():
            return {"salvaged": 0, "lost": 0, "complete": True, "epoch": None, "last_seq": None}
        with Salvage(aside, self._connector, spent) as old:
            store.write((), facts=old.facts, settled=())
            store.facts.update(old.facts)
            for row in old.rows():
                rows.append(row)
                if len(rows) >= BATCH_RECORDS or sum(row.size for row in rows) >= BATCH_BYTES:
                    store.write(rows, facts={}, settled=())
                    saved, rows = saved + len(rows), []
            store.write(rows, facts={}, settled=())
            return {
                "salvaged": saved + len(rows),
                "lost": old.lost,
                "complete": not spent(),
                "epoch": old.epoch,
                "last_seq": old.last_seq,
            }

    def _to_memory(self, error: Exception) -> None:
        limits = Limits(folder=None, quota_bytes=RING_BYTES, floor_bytes=0)
        self._store = Store(connect(":memory:"), limits, self._stamp)
        self._owed = []
        self._retry_at = self._clock.now() + RETRY_S
        self._say(FindingKey.JOURNAL_BROKEN, self._broken(error))

    def _broken(self, error: Exception) -> str:
        return (
            f"{Path(self._settings.folder) / FILE}: {why(error)}; records are kept in memory until it can be written"
            " (check owner, free space and the card)"
        )

    def _mend(self) -> None:
        """Back from memory to the disk, if it can be written again."""
        memory = self._store
        self._retry_at = self._clock.now() + RETRY_S
        try:
            disk = self._open_disk(None)
        except TROUBLE as error:
            self._say(FindingKey.JOURNAL_BROKEN, self._broken(error))
            return
        try:
            while self._purges_owed:
                job = self._purges_owed[0]
                purged = disk.purge(job.command, self._clock.boot, ())
                self._purges_owed.pop(0)
                self._post(purged)
            with self._facts_lock:
                facts = dict(self._facts)
            disk.write((), facts=facts, settled=())
            memory.pour_into(disk)
        except TROUBLE as error:
            disk.close()
            self._say(FindingKey.JOURNAL_BROKEN, self._broken(error))
            return
        memory.close()
        self._store = disk
        self._owed = []
        self._retry_at = math.inf
        self._say(None, "")
        self._report(force=True)

    def _say_full(self) -> None:
        if not self._store.durable:
            return
        if self._store.full:
            detail = (
                f"{self._settings.folder}: no room left within {self._settings.quota_bytes} bytes and a floor of"
                f" {self._settings.disk_floor_bytes} bytes free; state records or new pictures are being dropped"
            )
            self._say(FindingKey.JOURNAL_FULL, detail)
        elif self._said is not None and self._said.key is FindingKey.JOURNAL_FULL:
            self._say(None, "")

    def _say(self, key: FindingKey | None, detail: str) -> None:
        """Post a change of trouble. Damage stays said: a card that lied once is not mended by a new file."""
        if key is None and self._damage:
            key, detail = FindingKey.JOURNAL_BROKEN, self._damage
        trouble = JournalTrouble(key=key, detail=detail)
        if trouble != (self._said or JournalTrouble(key=None, detail="")):
            self._said = trouble
            self._post(trouble)


