"""The journal's door and its writer thread, and what to do when the disk fails.

Promises: public methods are for any thread and never wait for the disk (entering and closing do, for a bounded time); one
thread owns the database; an error is answered by closing the store, opening it again and doing the work once more, and
failing that by keeping records in memory, said so, until the disk can be written again.
Not its job: rows and pages (store.py), order and bounds of what waits (waiting.py).
"""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from edge_agent.core.gate import Released
from edge_agent.core.messages import (
    Died,
    Event,
    Fetch,
    FindingKey,
    JournalTrouble,
    Json,
    Purge,
    Purged,
    Rank,
    Record,
    Settle,
)
from edge_agent.spool.chain import Past
from edge_agent.spool.rescue import Salvage, adopt_trail, is_damage, move_aside, prepare
from edge_agent.spool.store import (
    FILE,
    TROUBLE,
    Connector,
    DamagedError,
    Limits,
    Store,
    connect,
    why,
)
from edge_agent.spool.values import Range, Row, Stamp, dump, merged, thinned
from edge_agent.spool.waiting import (
    BATCH_BYTES,
    BATCH_RECORDS,
    IDLE_S,
    Batch,
    End,
    Idle,
    PurgeJob,
    Queue,
    SettleMore,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.clock import Clock
    from edge_agent.core.settings import Journal

RING_BYTES: Final = 16_000_000  # in memory, while there is no disk
RETRY_S: Final = 30.0
READ_S: Final = (
    0.025  # a fetch is cut short after this, so that an alarm never waits long for a reader
)
REPORT_S: Final = 1.0  # under load, `Committed` is posted so often and not for each batch
RETOLD_S: Final = 600.0  # a disk that stumbles again and again is told of once in so long
OPEN_S: Final = 10.0  # the agent starts after this, whatever the disk does
SALVAGE_S: Final = 8.0
SALVAGE_TRAIL_S: Final = 4.0  # of these, at the most
CLOSE_S: Final = 5.0

_T = TypeVar("_T")


class Spool:
    """The journal. A context manager; every method may be called from any thread.

    Entering returns when the store is open, or after `OPEN_S`; leaving writes what waits and closes, within `CLOSE_S`.
    *connector* opens the store's file; a test passes one whose disk fails.
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
        self._store: Store | None = None
        self._owed: list[Range] = []  # settled, not yet deleted
        self._owing_at = math.inf
        self._purges_owed: list[PurgeJob] = []  # not yet done on the disk
        self._said = JournalTrouble(key=None, detail="")
        self._damage = ""  # a store was damaged in this run
        self._retry_at = math.inf
        self._reported_at = -math.inf
        self._retold_at = -math.inf

    def __enter__(self) -> Self:
        """Start the writer."""
        self._thread.start()
        self._opened.wait(OPEN_S)
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # -- any thread --

    def keep(self, record: Record) -> None:
        """Take *record*; a `Committed` says when it is on disk. ValueError for a picture: that is `keep_picture`'s."""
        if record.rank is Rank.PICTURE:
            raise ValueError("a picture comes in through keep_picture, as its gate released it")
        self._put(
            Row(
                kind=record.kind,
                rank=record.rank,
                stamp=self._stamp(record.at),
                data=dump(record.data),
                camera=record.camera,
            )
        )

    def keep_picture(self, picture: Released) -> None:
        """Take a picture that its gate released; TypeError for anything else."""
        if type(picture) is not Released:
            msg = f"only a Released picture may be kept, not {type(picture).__name__}"
            raise TypeError(msg)
        self._put(
            Row(
                kind="snapshot",
                rank=Rank.PICTURE,
                stamp=self._stamp(picture.taken_at),
                data=dump({"generation": picture.generation, **picture.data()}),
                camera=picture.camera,
                jpeg=picture.jpeg,
            )
        )

    def fetch(self, fetch: Fetch) -> None:
        """Ask; answered by `Fetched`, which may hold fewer than asked for and says whether there are more."""
        self._queue.fetch(fetch)

    def settle(self, settle: Settle) -> None:
        """The hub has these: no later fetch shows them, and soon they are deleted. Those of another epoch: ignored."""
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
        """What was last remembered as *key*; None also if the store could not be opened when the spool was entered."""
        with self._facts_lock:
            return self._facts.get(key)

    def progress(self) -> float:
        """When the writer last came round, in seconds since boot: each `IDLE_S` at least, unless the disk hangs."""
        return self._queue.turned_at

    def close(self) -> None:
        """Write what waits and let go of the file. Waits for `CLOSE_S` at the most; twice is harmless."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def _put(self, row: Row) -> None:
        self._queue.put(row)

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
            self._store = self._start()
            self._opened.set()
            self._report(force=True)
            while self._turn():
                pass
        except Exception as error:  # noqa: BLE001 - a thread's top: what nobody foresaw ends the agent
            self._post(Died(part="journal", detail=f"{type(error).__name__}: {why(error)}"))
        finally:
            self._opened.set()
            if self._store is not None:
                self._store.close()

    def _start(self) -> Store:
        try:
            return self._open_disk(None)
        except TROUBLE as error:
            return self._open_memory(error, None)

    @property
    def _open(self) -> Store:
        """The store in use; there is one from `_start` on."""
        if self._store is None:
            raise RuntimeError("the journal is not open")
        return self._store

    def _turn(self) -> bool:
        """Do one thing; False at the end."""
        wake_at = min(self._clock.now() + IDLE_S, self._retry_at)
        owing_at = self._owing_at if self._owed else math.inf
        job = self._queue.take(owing_at=owing_at, wake_at=wake_at)
        match job:
            case End():
                return False
            case PurgeJob():
                self._purge(job)
            case Batch():
                self._write(job)
            case SettleMore():
                self._note_settles()
                self._owing_at = -math.inf  # once begun, go on until all is deleted
                self._write(Batch())
            case Fetch():
                self._answer(job)
            case Idle():
                self._idle()
        return True

    def _write(self, batch: Batch) -> None:
        """Commit *batch*; an empty one deletes some of what was settled."""
        self._note_settles()
        epoch, owed = self._open.epoch, self._owed
        late = [
            thinned(gap, self._stamp(), rank=rank, camera=camera, reason="slow_disk")
            for (rank, camera), gap in batch.shed.items()
        ]
        rows = [*late, *batch.rows]

        def work(store: Store) -> list[Range]:
            settled = owed if store.epoch == epoch else []
            return store.write(rows, facts=batch.facts, settled=settled)

        left = self._do(work)
        if self._open.epoch == epoch:
            self._owed = left
        self._say_full()
        self._report(force=batch.urgent)

    def _note_settles(self) -> None:
        store = self._open
        settles, due_at = self._queue.take_settles()
        ranges = [
            (max(0, low), min(high, store.last_seq))
            for settle in settles
            if settle.epoch == store.epoch
            for low, high in settle.ranges
        ]
        if ranges:
            self._owing_at = min(self._owing_at, due_at) if self._owed else due_at
            self._owed = merged([*self._owed, *ranges])

    def _answer(self, fetch: Fetch) -> None:
        self._note_settles()
        until = self._clock.now() + READ_S

        def spent() -> bool:
            return self._clock.now() >= until

        self._post(self._do(lambda store: store.fetch(fetch, self._owed, spent)))

    def _purge(self, job: PurgeJob) -> None:
        boot = self._clock.boot
        purged = self._do(lambda store: store.purge(job.command, boot, job.dropped))
        if not self._open.durable:
            self._purges_owed.append(PurgeJob(job.command, ()))
        self._post(purged)
        self._report(force=True)

    def _idle(self) -> None:
        if self._clock.now() >= self._retry_at:
            self._mend()
            return
        while self._do(lambda store: store.tidy()) and not self._queue.busy():
            self._report(force=False)
        self._say_full()

    def _report(self, *, force: bool) -> None:
        now = self._clock.now()
        if force or now >= self._reported_at + REPORT_S or not self._queue.busy():
            self._reported_at = now
            self._post(self._do(lambda store: store.committed()))

    # -- trouble --

    def _do(self, work: Callable[[Store], _T]) -> _T:
        """Do *work* on the store; if that fails, on the store opened afresh; if that fails too, in memory."""
        try:
            return work(self._open)
        except TROUBLE as error:
            if not self._open.durable:
                raise  # memory has no bad sectors: a fault of ours
            return self._recover(work, self._open, error)

    def _recover(self, work: Callable[[Store], _T], broken: Store, error: Exception) -> _T:
        broken.close()
        try:
            fresh = self._open_disk(why(error) if is_damage(error) else None)
            if fresh.epoch != broken.epoch:
                self._owed = []
            try:
                outcome = self._redo(work, broken, fresh)
            except TROUBLE:
                fresh.close()
                raise
        except TROUBLE as again:
            self._store = self._open_memory(again, broken.past())
            return work(self._store)
        self._store = fresh
        self._tell_stumble(error)
        return outcome

    def _redo(self, work: Callable[[Store], _T], broken: Store, fresh: Store) -> _T:
        """Do *work* again, unless the store shows that it is done and all of it can be synced now.

        A commit that failed may be in the log all the same, and it may lie in the page cache alone: the kernel forgets
        what it could not write. So nothing counts as kept before it was written and synced once more.
        """
        landed = broken.aimed is not None and fresh.last_seq >= broken.aimed
        if landed and fresh.epoch == broken.epoch:
            fresh.wipe()
            return cast("_T", broken.outcome)
        return work(fresh)

    def _tell_stumble(self, error: Exception) -> None:
        """A disk that failed once and then did not is one that will fail."""
        now = self._clock.now()
        if now < self._retold_at + RETOLD_S or is_damage(error):
            return
        self._retold_at = now
        self._put(self._note("journal.reopened", {"why": why(error)}))

    def _note(self, kind: str, data: Mapping[str, Json]) -> Row:
        return Row(kind=kind, rank=Rank.AUDIT, stamp=self._stamp(), data=dump(data))

    def _open_disk(self, damage: str | None) -> Store:
        """The store on disk; a damaged one is replaced. Raises `TROUBLE` if the disk cannot be written."""
        folder = Path(self._settings.folder)
        store = None if damage is not None else self._try_file(folder)
        if store is None:
            store = self._replace(folder, damage or self._damage)
        with self._facts_lock:
            self._facts = {**store.facts, **self._facts}
        return store

    def _try_file(self, folder: Path) -> Store | None:
        """The store in *folder*; None if what lies there is damaged or not ours, with the reason in `_damage`."""
        try:
            prepare(folder)
            return self._open_file(folder)
        except (DamagedError, *TROUBLE) as error:
            if not is_damage(error):
                raise
            self._damage = why(error)
            return None

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
        """Move the damaged store aside, begin a new one, bring over what can be read in time."""
        aside = move_aside(folder)
        prepare(folder)
        store = self._open_file(folder)
        try:
            told = self._salvage(aside, store)
            store.write([self._note("journal.damaged", {"why": damage, **told})])
        except TROUBLE:
            store.close()
            raise
        self._damage = (
            f"the store was damaged ({damage}) and moved to {aside}; {told['salvaged']} records were saved;"
            " have the card replaced"
        )
        self._say(FindingKey.JOURNAL_BROKEN, self._damage)
        return store

    def _salvage(self, aside: Path, store: Store) -> dict[str, Json]:
        deadline = self._clock.now() + SALVAGE_S

        def spent() -> bool:
            return self._clock.now() >= deadline

        told: dict[str, Json] = {
            "aside": aside.name,
            "salvaged": 0,
            "lost": 0,
            "trail": 0,
            "complete": False,
        }
        if not aside.is_file() or aside.is_symlink():
            return told
        half = deadline - SALVAGE_S + SALVAGE_TRAIL_S
        told["trail"] = adopt_trail(aside, store, lambda: self._clock.now() >= half)
        saved, size = 0, 0
        rows: list[Row] = []
        with Salvage(aside, self._connector, spent) as old:
            store.write((), facts=old.facts)
            store.facts |= old.facts
            for row in old.rows():
                rows.append(row)
                size += row.size
                if len(rows) >= BATCH_RECORDS or size >= BATCH_BYTES:
                    store.write(rows, moved=True)
                    saved, size, rows = saved + len(rows), 0, []
            store.write(rows, moved=True)
            found: dict[str, Json] = {"epoch": old.epoch, "last_seq": old.last_seq}
            saved += len(rows)
            return {
                **told,
                **found,
                "salvaged": saved,
                "lost": old.lost,
                "complete": not spent(),
            }

    def _open_memory(self, error: Exception, past: Past | None) -> Store:
        """Go on without a disk, and say so; the audit chain goes on from *past*, where that is known."""
        self._owed = []  # the hub says it again when this epoch is back
        self._retry_at = self._clock.now() + RETRY_S
        self._say(FindingKey.JOURNAL_BROKEN, self._broken(error))
        limits = Limits(folder=None, quota_bytes=RING_BYTES)
        ring = Store(connect(":memory:"), limits, self._stamp)
        if past is not None:
            ring.follow(past)
        return ring

    def _broken(self, error: Exception) -> str:
        path = Path(self._settings.folder) / FILE
        owed = "; pictures to be purged are still on it" if self._purges_owed else ""
        return (
            f"{path}: {why(error)}; records are kept in memory until it can be written"
            f" (check owner, free space and the card){owed}"
        )

    def _mend(self) -> None:
        """Back from memory to the disk, if it can be written again."""
        self._retry_at = self._clock.now() + RETRY_S
        try:
            disk = self._open_disk(None)
        except TROUBLE as error:
            self._say(FindingKey.JOURNAL_BROKEN, self._broken(error))
            return
        try:
            purged = self._move_to(disk)
        except TROUBLE as error:
            disk.close()
            self._open.follow(
                disk.past()
            )  # what it has taken over already lies before what is to come
            self._say(FindingKey.JOURNAL_BROKEN, self._broken(error))
            return
        self._open.close()
        self._store = disk
        self._owed = []
        self._retry_at = math.inf
        self._say(None, "")
        self._report(force=True)  # first the epoch, then seqs of it
        for event in purged:
            self._post(event)

    def _move_to(self, disk: Store) -> list[Purged]:
        """Bring the disk what it was owed: the audit trail, purges, facts, then records."""
        disk.adopt_from(self._open)
        purged: list[Purged] = []
        while self._purges_owed:
            purged.append(disk.purge(self._purges_owed[0].command, self._clock.boot, ()))
            self._purges_owed.pop(0)
        with self._facts_lock:
            facts = dict(self._facts)
        disk.write((), facts=facts)
        self._open.pour_into(disk, records=BATCH_RECORDS, size=BATCH_BYTES)
        return purged

    def _say_full(self) -> None:
        store = self._open
        if not store.durable:
            return
        if store.full:
            detail = (
                f"{self._settings.folder}: no room within {self._settings.quota_bytes} bytes and with"
                f" {self._settings.disk_floor_bytes} bytes left free; state records or new pictures are dropped"
            )
            self._say(FindingKey.JOURNAL_FULL, detail)
        elif self._said.key is FindingKey.JOURNAL_FULL:
            self._say(None, "")

    def _say(self, key: FindingKey | None, detail: str) -> None:
        """Post a change of trouble. Damage stays said: a card that lied is not mended by a new file."""
        if key is None and self._damage:
            key, detail = FindingKey.JOURNAL_BROKEN, self._damage
        trouble = JournalTrouble(key=key, detail=detail)
        if trouble != self._said:
            self._said = trouble
            self._post(trouble)
