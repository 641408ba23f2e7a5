"""The journal's door and its writer thread, and what to do when the disk fails.

Promises: public methods are for any thread and never wait for the disk (entering and closing do, for a bounded time); one
thread owns the database; an error is answered by closing the store, opening it again and doing the work once more, and
failing that by keeping records in memory, said so, until the disk can be written again.
Not its job: rows and pages (store.py), order and bounds of what waits (waiting.py).
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from edge_agent.core.gate import Released
from edge_agent.core.messages import (
    CorrectTimes,
    Died,
    Event,
    Fetch,
    FindingKey,
    JournalTrouble,
    Json,
    Memory,
    Purge,
    Purged,
    Rank,
    Record,
    Remembered,
    Settle,
)
from edge_agent.spool.aside import (
    SALVAGE,
    Job,
    dump_jobs,
    forget_note,
    next_aside,
    read_note,
    write_note,
)
from edge_agent.spool.ballast import Ballast
from edge_agent.spool.chain import Past
from edge_agent.spool.files import (
    FILE,
    TROUBLE,
    BrimfulError,
    Connector,
    DamagedError,
    connect,
    why,
)
from edge_agent.spool.owed import Notes, Owed
from edge_agent.spool.parked import PARKED, Parked
from edge_agent.spool.place import PLACE, place_of, said_beside, say_beside
from edge_agent.spool.rescue import (
    Salvage,
    discard,
    is_damage,
    move_aside,
    prepare,
    unfinished,
)
from edge_agent.spool.room import Limits, ballast_bytes
from edge_agent.spool.store import SETTLE_RECORDS, Store
from edge_agent.spool.times import FACT, Times
from edge_agent.spool.values import Range, Row, Stamp, dump, merged, thinned
from edge_agent.spool.waiting import (
    BATCH_BYTES,
    BATCH_RECORDS,
    CUT_RECORDS,
    IDLE_S,
    QUEUE_RECORDS,
    Batch,
    End,
    Idle,
    PurgeJob,
    Queue,
    SettleMore,
    without_picture,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_agent.clock import Clock
    from edge_agent.core.settings import Identity, Journal

RING_BYTES: Final = 16_000_000  # in memory, while there is no disk
RETRY_S: Final = 30.0
HOLD_S: Final = 2.0  # between two tries of a disk that has no room for records; and for the purge of a press to come
PUT_OFFS: Final = 5  # times that: a core that has said nothing by then is not only busy
READ_S: Final = (
    0.025  # a fetch is cut short after this, so that an alarm never waits long for a reader
)
REPORT_S: Final = 1.0  # under load, `Committed` is posted so often and not for each batch
REPURGE_MOST_S: Final = 3_600.0  # each attempt may leave a record
RETOLD_S: Final = 600.0  # a disk that stumbles again and again is told of once in so long
OPEN_S: Final = 10.0  # the agent starts after this, whatever the disk does
SALVAGE_S: Final = 8.0
SALVAGE_TRAIL_S: Final = 4.0  # of these, at the most
SALVAGE_RECORDS: Final = 5_000  # a transaction: nobody waits for less than all of it
SALVAGE_BYTES: Final = 8 * BATCH_BYTES  # the same with pictures, in a store that is large enough
CLOSE_S: Final = 5.0
# Looking at all that lies here, once after each opening: a step of a few milliseconds, then a pause, so that it takes minutes and a
# few percent of one core.
LOOK_AFTER_S: Final = 10.0
LOOK_PAUSE_S: Final = 0.05
# Giving free pages back to the file system moves what still waits to the front of the file. Somebody who drains the journal makes
# more of them free all the time, and would have to wait for it: so as long as he reads, a step (128 kB) each so often is enough.
TIDY_PAUSE_S: Final = 1.0

_T = TypeVar("_T")


class _PressedError(Exception):
    """The switch was pressed while the journal goes back to its disk."""


class Spool:
    """The journal. A context manager; every method may be called from any thread.

    Entering returns when the store is open, or after `OPEN_S`; leaving writes what waits and closes, within `CLOSE_S`.
    *presses* counts those of the privacy switch so far, and never blocks. *runtime_folder* is in memory and outlives the
    process: a purge that is under way is noted there. *connector* opens the store's file; a test passes one whose disk fails.
    """

    def __init__(
        self,
        settings: Journal,
        *,
        clock: Clock,
        post: Callable[[Event], None],
        presses: Callable[[], int],
        runtime_folder: Path | None = None,
        connector: Connector = connect,
        seal: Callable[[bytes], bytes] | None = None,
        identity: Identity | None = None,
    ) -> None:
        """*seal* makes of a picture what may touch the card; None = the picture itself.

        *identity*: under which everything goes out: what lies here of another one is parked. None = whatever lies here is ours.
        """
        self._seal = seal
        self._place = b"" if identity is None else place_of(identity)
        self._parked = Parked(Path(settings.folder))
        self._waiting = ""  # what is parked, for a person
        self._settings = settings
        self._clock = clock
        self._post = post
        self._presses = presses
        self._connector = connector
        self._queue = Queue(clock)
        self._ballast = Ballast(Path(settings.folder), ballast_bytes(settings.quota_bytes))
        self._notes = Notes(Path(settings.folder), runtime_folder)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._opened = threading.Event()
        self._facts_lock = threading.Lock()
        self._facts: dict[str, bytes] = {}  # the newest value of each
        self._answered = 0  # of the presses: those before the newest purge; its caller's
        # From here on: the writer thread's own.
        self._store: Store | None = None
        self._owed: list[Range] = []  # settled, not yet deleted
        self._owing_at = math.inf
        # Pictures that a press overtook, for the tombstone of its purge.
        self._void: deque[Row] = deque(maxlen=QUEUE_RECORDS)
        self._unkept: set[str] = set()  # facts that were told to be in memory alone
        self._begun: list[Owed] = []  # purges that memory has done, and the disk owes
        # Purges that the disk has done while it came back, with its epoch: told when it is back, however often that fails before.
        self._redeemed: dict[Owed, tuple[str, Purged]] = {}
        self._done_now: set[Owed] = set()  # of these, by the disk that is coming back
        self._joined = False  # that disk has all of the trail in memory
        self._put_off = 0  # how often in a row going back was put off for the purge of a press
        self._waited_for = 0  # how many presses there were when that was too often
        self._said = JournalTrouble(key=None, detail="", parked="")
        self._damage = ""  # a store was damaged in this run
        self._harm: str | None = None  # why the store that is being opened is to be replaced
        self._met: str | None = None  # the same, of the next one to be opened
        self._unreached: list[Owed] = []  # done here, but not yet in all that is parked
        self._beyond = ""  # why
        self._repurge_at, self._repurge_s = math.inf, RETRY_S / 2
        self._rest: Salvage | None = None  # of a damaged store, not yet brought over
        self._rest_at = -math.inf  # when to go on with it
        self._tried: set[str] = set()  # damaged stores that this process has opened
        self._retry_at = math.inf
        self._look_at = math.inf
        self._read_at = self._tidied_at = -math.inf
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

    def keep_picture(self, picture: Released, *, press: int = 0) -> None:
        """Take a picture that its gate released; TypeError for anything else.

        It is not written if a press comes after number *press* before it is.
        """
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
                jpeg=picture.jpeg if self._seal is None else self._seal(picture.jpeg),
                press=press,
            )
        )

    def fetch(self, fetch: Fetch) -> None:
        """Ask; answered by `Fetched`, which may hold fewer than asked for and says whether there are more."""
        self._queue.fetch(fetch)

    def settle(self, settle: Settle) -> None:
        """The hub has these: no later fetch shows them, and soon they are deleted. Those of another epoch: ignored."""
        self._queue.settle(settle)

    def purge(self, purge: Purge) -> None:
        """Destroy these pictures and all that wait to be written, before anything else; answered by `Purged`."""
        answered = self._presses()  # asked first: it means all that was taken before any of these
        owed = Owed(purge, self._clock.boot, self._clock.now())
        self._notes.owe(owed)
        self._answered = answered
        self._queue.purge(owed)

    def correct(self, command: CorrectTimes) -> None:
        """What this boot stamped while nothing vouched for its clock is labelled anew from now on, whenever it is fetched."""
        with self._facts_lock:
            times = Times.load(self._facts.get(FACT))
        self._keep_fact(FACT, times.knowing(self._clock.boot, command.boot_wall_s).dump())

    def remember(self, memory: Memory, value: bytes) -> None:
        """Keep *value* over restarts, in place of what was kept there before; answered by `Remembered` for the newest."""
        self._keep_fact(memory.value, value)

    def _keep_fact(self, key: str, value: bytes) -> None:
        with self._facts_lock:
            self._facts[key] = value
        self._queue.fact(key, value)

    def recall(self, memory: Memory) -> bytes | None:
        """What was last remembered there; None also if the store could not be opened when the spool was entered."""
        with self._facts_lock:
            return self._facts.get(memory.value)

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
        # Asked first: a clock that is set in between must not vouch for a label from before that.
        trusted = self._clock.trusted()
        now = self._clock.now()
        when = now if at is None else at
        return Stamp(
            boot=self._clock.boot,
            at=when,
            wall_s=self._clock.wall() - (now - when),
            trusted=trusted,
        )

    # -- the writer thread --

    def _run(self) -> None:
        try:
            owed_before = self._load_owed()
            self._store = self._start()
            self._report(force=True)
            for owed in owed_before:  # by an earlier run: before anything is offered
                self._purge(PurgeJob(owed, ()))
            self._opened.set()
            while self._turn():
                pass
        except Exception as error:  # noqa: BLE001 - a thread's top: what nobody foresaw ends the agent
            self._post(Died(part="journal", detail=f"{type(error).__name__}: {why(error)}"))
        finally:
            self._opened.set()
            self._drop_rest()
            self._parked.let_go()
            if self._store is not None:
                self._store.close()

    def _start(self) -> Store:
        try:
            return self._open_disk(None)
        except TROUBLE as error:
            return self._open_memory(error, None)

    def _load_owed(self) -> tuple[Owed, ...]:
        return self._notes.load(boot=self._clock.boot, at=self._clock.now())

    @property
    def _open(self) -> Store:
        """The store in use; there is one from `_start` on."""
        if self._store is None:
            raise RuntimeError("the journal is not open")
        return self._store

    def _turn(self) -> bool:
        """Do one thing; False at the end."""
        owing_at = self._owing_at if self._owed else math.inf
        job = self._queue.take(owing_at=owing_at, wake_at=self._wake_at())
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

    def _wake_at(self) -> float:
        """When there is something to do that nobody asks for."""
        if self._fits_parked():
            return -math.inf
        rest_at = math.inf if self._rest is None else self._rest_at
        return min(self._clock.now() + IDLE_S, self._retry_at, self._look_at, rest_at)

    def _write(self, batch: Batch) -> None:
        """Commit *batch*; an empty one deletes some of what was settled."""
        self._note_settles()
        epoch, owed = self._open.epoch, self._owed
        reason = "no_room" if self._open.brimful else "slow_disk"
        late = [
            thinned(gap, self._stamp(), epoch=None, rank=rank, camera=camera, reason=reason)
            for (rank, camera), gap in batch.shed.items()
        ]
        # Deleted along with what is written, most of it costs no page of its own; an alarm does not wait for that.
        empty = not late and not batch.rows
        due = empty or (not batch.urgent and self._clock.now() >= self._owing_at)
        void: list[Row] = []
        refused: list[Row] = []

        def work(store: Store) -> list[Range]:
            void.clear()
            refused.clear()

            def overtaken(row: Row) -> bool:
                gone = _overtaken(row, self._presses())
                if gone:
                    void.append(row)
                return gone

            # Asked before room is made for it, and again by the store right before its picture's file is written.
            rows = [*late, *(row for row in batch.rows if not overtaken(row))]
            settled = owed if store.epoch == epoch else []
            return store.write(
                rows,
                facts=batch.facts,
                settled=settled,
                due=due,
                void=overtaken,
                # Tombstones alone are few, and the last that is said: they have what is kept back.
                refused=refused if batch.rows else None,
            )

        left = self._do(work)
        self._void.extend(map(without_picture, void))
        if refused:
            self._hold(batch, late, refused)
        if self._open.epoch == epoch:
            self._owed = left
        for event in self._remembered(batch.facts, in_turn=batch.in_turn and not refused):
            self._post(event)
        for event in self._remembered({} if refused else batch.ahead):
            self._post(event)
        self._say_full()
        self._report(force=batch.urgent)

    def _hold(self, batch: Batch, late: Sequence[Row], refused: Sequence[Row]) -> None:
        """The disk is full to the brim: those at the end of *batch*, and of the tombstones before it, wait until the hub took some."""
        left = {id(row) for row in refused}
        shed = [told for told, row in zip(batch.shed.items(), late, strict=True) if id(row) in left]
        rows = refused[len(shed) :]
        ahead = {**batch.ahead, **batch.facts}
        self._queue.put_back(rows, dict(shed), until=self._clock.now() + HOLD_S, ahead=ahead)

    def _remembered(self, facts: Mapping[str, bytes], *, in_turn: bool = True) -> list[Remembered]:
        """The answers for what was just written; a value that is not the newest any more gets none."""
        durable = self._open.durable
        self._unkept = self._unkept - facts.keys() if durable else self._unkept | facts.keys()
        with self._facts_lock:
            newest = {key: value for key, value in facts.items() if self._facts[key] == value}
        return [
            Remembered(
                memory=Memory(key),
                value=value,
                durable=durable and in_turn,
                ahead=durable and not in_turn,
            )
            for key, value in newest.items()
            if key != FACT  # the journal's own
        ]

    def _note_settles(self) -> None:
        settles, due_at = self._queue.take_settles()
        if not settles:
            return
        # A hub's watermark begins at 1; what is gone already is not to be counted as much to do.
        first = self._do(lambda store: store.first_seq())
        store = self._open
        ranges = [
            (max(first, low), min(high, store.last_seq))
            for settle in settles
            if settle.epoch == store.epoch
            for low, high in settle.ranges
        ]
        if ranges:
            self._owing_at = min(self._owing_at, due_at) if self._owed else due_at
            self._owed = merged([*self._owed, *ranges])
            if sum(high - low + 1 for low, high in self._owed) >= SETTLE_RECORDS:
                self._owing_at = -math.inf  # a lot as large as one step takes

    def _answer(self, fetch: Fetch) -> None:
        self._note_settles()
        self._read_at = self._clock.now()
        until = self._read_at + READ_S

        def spent() -> bool:
            return self._clock.now() >= until

        epoch = self._open.epoch
        found = self._do(lambda store: store.fetch(fetch, self._owed, spent))
        if self._open.epoch != epoch:
            self._report(force=True)  # first the epoch, then seqs of it
        if not all(stored.trusted for stored in found.records):
            with self._facts_lock:
                times = Times.load(self._facts.get(FACT))
            found = replace(found, records=tuple(map(times.corrected, found.records)))
        self._post(found)

    def _purge(self, job: PurgeJob) -> None:
        owed = job.owed
        dropped = (*self._void, *job.dropped)
        self._void.clear()
        purged = self._do(lambda store: self._destroy(store, owed, dropped))
        if self._open.durable and self._purge_parked(owed):
            self._notes.done(owed)
        else:
            self._begun.append(owed)
            self._notes.keep()
        self._post(purged)
        self._report(force=True)

    def _destroy(self, store: Store, owed: Owed, dropped: tuple[Row, ...]) -> Purged:
        purged = store.purge(owed.command, owed.boot, dropped, until_at=owed.until_at)
        if self._rest is not None:
            self._rest.without_pictures()
        return purged

    def _purge_parked(self, owed: Owed) -> bool:
        """Whether nothing of it is left in stores of other places either; if it is, that is tried again and again."""
        quota = self._settings.quota_bytes
        self._unreached = [other for other in self._unreached if other != owed]
        try:
            self._parked.purge(owed.command, owed.boot, owed.until_at, self._open_at, quota=quota)
        except OSError as error:
            self._unreached.append(owed)
            self._repurge_s = min(2 * self._repurge_s, REPURGE_MOST_S)
            self._repurge_at = self._clock.now() + self._repurge_s
            self._beyond = f"{self._settings.folder}: {why(error)}; pictures to be purged are still in {PARKED}"
            self._say(FindingKey.JOURNAL_BROKEN, self._beyond)
            return False
        if not self._unreached:
            self._repurge_s = RETRY_S / 2
        return True

    def _purge_parked_again(self) -> None:
        if not self._unreached or self._clock.now() < self._repurge_at or not self._open.durable:
            return
        for owed in tuple(self._unreached):
            if self._purge_parked(owed):
                self._notes.done(owed)
        self._say(None, "")

    def _idle(self) -> None:
        if self._clock.now() >= self._retry_at:
            self._mend()
            return
        if self._rest is not None and self._clock.now() >= self._rest_at:
            self._bring_more(self._rest)
            return
        if self._fits_parked():
            self._parked.fit(self._open_at)
            if not self._parked.over:
                self._tell_parked()
            return
        self._purge_parked_again()
        self._tidy()
        self._keep_ballast()
        if self._clock.now() >= self._look_at:
            more = self._do(lambda store: store.look_around())
            self._look_at = self._clock.now() + LOOK_PAUSE_S if more else math.inf
        self._say_full()

    def _fits_parked(self) -> bool:
        """Whether parked stores are to be thinned now; without a disk that waits."""
        return self._parked.over and self._open.durable

    def _tidy(self) -> None:
        now = self._clock.now()
        is_read = now < self._read_at + TIDY_PAUSE_S
        if is_read and now < self._tidied_at + TIDY_PAUSE_S:
            return
        self._tidied_at = now
        while self._do(lambda store: store.tidy()) and not is_read and not self._queue.busy():
            self._report(force=False)

    def _keep_ballast(self) -> None:
        if self._open.durable:
            self._ballast.keep(floor=self._settings.disk_floor_bytes, at=self._clock.now())

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
        except (DamagedError, *TROUBLE) as error:
            if not self._open.durable:
                raise  # memory has no bad sectors: a fault of ours
            return self._recover(work, self._open, error)

    def _recover(self, work: Callable[[Store], _T], broken: Store, error: Exception) -> _T:
        error.with_traceback(None)  # its frames may hold cursors, and these the old file, locked
        broken.close()
        self._ballast.give_way(error)
        try:
            fresh = self._open_disk(why(error) if is_damage(error) else None)
            if fresh.epoch != broken.epoch:
                self._owed = []
            try:
                outcome = self._redo(work, broken, fresh)
            except (DamagedError, *TROUBLE):
                fresh.close()
                raise
        except (DamagedError, *TROUBLE) as again:
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
        landed = broken.aimed is not None and fresh.found_seq >= broken.aimed
        if landed and fresh.epoch == broken.epoch:
            if isinstance(broken.outcome, Purged):
                fresh.wipe()
            else:
                fresh.harden()
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
        """The store on disk; a damaged one, which it is if *damage* says so, is replaced. Raises `TROUBLE` if the disk cannot be written."""
        folder = Path(self._settings.folder)
        self._harm = damage
        try:
            store = self._open_or_make_room(folder)
        except DamagedError as error:  # in what was just begun, too: the disk is to blame
            raise OSError(why(error)) from error
        with self._facts_lock:
            facts = {**store.facts, **self._facts}
            if FACT in facts:
                # What was learnt without this store goes beside what it knows of earlier boots.
                known = Times.load(store.facts.get(FACT))
                facts[FACT] = known.joined(Times.load(self._facts.get(FACT))).dump()
            self._facts = facts
        self._look_at = self._clock.now() + LOOK_AFTER_S
        self._ballast.keep(floor=self._settings.disk_floor_bytes, at=self._clock.now())
        return store

    def _open_or_make_room(self, folder: Path) -> Store:
        try:
            return self._open_ours(folder)
        except TROUBLE as error:
            if not self._ballast.give_way(error):
                raise
        # A store that was begun in place of a damaged one is gone on with: `_harm` is not said of it.
        return self._open_ours(folder)

    def _open_ours(self, folder: Path) -> Store:
        """The store of this place: one of another place makes room for it, and stays parked until the box is there again."""
        if not self._place:
            return self._open_any(folder)
        self._parked.go_on()
        while True:
            free = not read_note(folder) and not self._parked.bring_back(self._place)
            if free and self._parked.is_beginning():
                # Said before there is a store: one that was only just begun is not taken for another place's.
                say_beside(folder, self._place)
            store = self._open_any(folder)
            told = store.facts.get(PLACE) or said_beside(folder)
            if told in {b"", self._place}:
                break
            self._drop_rest()
            try:
                self._hand_on(store)  # of two that left, the later one knows
            finally:
                store.close()
            self._parked.leave(told)
        try:
            self._take_over(store, folder)
        except BaseException:
            store.close()
            raise
        return store

    def _open_any(self, folder: Path) -> Store:
        if self._harm is None and (store := self._try_file(folder)) is not None:
            try:
                self._go_on(store, -math.inf)
            except BaseException as error:
                store.close()
                if not is_damage(error):
                    raise
                self._harm = why(error)
            else:
                return store
        return self._replace(folder, self._harm or "")

    def _take_over(self, store: Store, folder: Path) -> None:
        """Make *store* the one of this place, with what the box itself has to remember; what is parked is to keep within its share."""
        if store.facts.get(PLACE) != self._place:
            store.inherit({PLACE: self._place}, ())
        if said_beside(folder) != self._place:
            say_beside(folder, self._place)
        self._hand_on(store)
        self._parked.plan(self._settings.quota_bytes // 2)
        self._tell_parked()

    def _hand_on(self, store: Store) -> None:
        """What the box knew when it left its last place; after this nothing waits for a next store any more."""
        handed = self._parked.handed_on()
        if FACT in handed:  # each knows of boots of its own
            times = Times.load(store.facts.get(FACT)).joined(Times.load(handed[FACT]))
            handed[FACT] = times.dump()
        if handed:
            store.inherit(handed, ())
        self._parked.settle()

    def _tell_parked(self) -> None:
        self._waiting = self._parked.waiting()
        self._say(self._said.key, self._said.detail)

    def _try_file(self, folder: Path) -> Store | None:
        """The store in *folder*; None if what lies there is damaged or not ours, with the reason in `_harm`."""
        jobs = read_note(folder)
        if jobs and not os.path.lexists(folder / jobs[0].aside):
            move_aside(folder, jobs)  # the power went before all of it was moved
        try:
            store = self._open_or_begin(folder)
        except (DamagedError, *TROUBLE) as error:
            if not is_damage(error):
                raise
            if not jobs:
                self._harm = why(error)
                return None
            discard(folder)  # cut off when it was begun: nothing was accepted in it
            store = self._open_or_begin(folder)
        self._begin(store, folder, jobs)
        return store

    def _open_or_begin(self, folder: Path) -> Store:
        prepare(folder)
        return self._open_file(folder)

    def _begin(self, store: Store, folder: Path, jobs: tuple[Job, ...]) -> None:
        """Let *store*, which is new, know what is to be brought over."""
        try:
            if jobs and not store.jobs:
                store.write((), facts={SALVAGE: dump_jobs(jobs)})
            forget_note(folder)
        except BaseException:
            store.close()
            raise

    def _open_file(self, folder: Path) -> Store:
        quota = self._settings.quota_bytes
        return self._open_at(folder, max(quota // 2, quota - self._parked.bytes()))

    def _open_at(self, folder: Path, quota: int) -> Store:
        connection = self._connector(str(folder / FILE))
        limits = Limits(
            folder=folder,
            quota_bytes=quota,
            floor_bytes=self._settings.disk_floor_bytes,
            ballast=self._ballast if folder == Path(self._settings.folder) else None,
        )
        try:
            store = Store(connection, limits, self._stamp)
        except BaseException:
            with suppress(*TROUBLE):
                connection.close()
            raise
        store.pulse = self._queue.pulse
        return store

    def _replace(self, folder: Path, damage: str) -> Store:
        """Move the damaged store aside, begin a new one, bring over what can be read in time.

        From the note on, whatever ends this is gone on with when the disk is back, or at the next start.
        """
        self._drop_rest()
        jobs = (Job(aside=next_aside(folder), why=damage), *unfinished(folder))
        write_note(folder, jobs)
        self._harm = None
        self._damage = f"the store was damaged ({damage}) and moved to {folder / jobs[0].aside}; have the card replaced"
        move_aside(folder, jobs)
        store = self._open_or_begin(folder)
        self._begin(store, folder, jobs)
        try:
            self._go_on(store, self._clock.now() + SALVAGE_S)
        except BaseException:
            store.close()
            raise
        return store

    def _go_on(self, store: Store, until: float) -> None:
        """Take up what *store* has still to bring over from a damaged one: until then now, the rest when nothing else is to be done."""
        self._drop_rest()
        if not store.jobs:
            return
        store.finish_purge()
        if (first := store.jobs[0]).aside not in self._tried:
            # Noted before it is opened: what lies there may be what ends the agent. What fails and does not end it is no such try.
            self._tried.add(first.aside)
            first = replace(first, tries=first.tries + 1)
            store.write((), facts={SALVAGE: dump_jobs([first, *store.jobs[1:]])})
        old = Salvage(Path(self._settings.folder), store.jobs, self._connector)
        try:
            self._bring_first(store, old, until)
        except BaseException:
            old.close()
            raise
        told = old.told()
        self._damage = (
            f"the store was damaged ({old.job.why}) and moved to {old.path}; {told['salvaged']} records were saved"
            f"{' so far' if store.jobs else ''}; have the card replaced"
        )
        self._say(FindingKey.JOURNAL_BROKEN, self._damage)
        if store.jobs and store.jobs[0].aside == old.job.aside:
            self._rest = old
            return
        old.close()
        self._take_next(store)

    def _take_next(self, store: Store) -> None:
        self._drop_rest()
        if store.jobs:
            self._rest = Salvage(Path(self._settings.folder), store.jobs, self._connector)

    def _bring_first(self, store: Store, old: Salvage, until: float) -> None:
        """The trail, then records until *until*, and tell."""
        if not old.job.trailed:
            half = self._clock.now() + SALVAGE_TRAIL_S
            old.bring_trail(store, lambda: self._clock.now() >= half)
        more = True
        while more and self._clock.now() < until:
            rows = old.lot(SALVAGE_RECORDS, self._lot_bytes)
            more = bool(rows)
            if more:
                store.write(rows, facts=old.here, moved=True)
        if not old.job.told:
            old.told_of()
            told = self._told_of(old, all_of_it=not more)
            note = self._note("journal.damaged", {"why": old.job.why, **told})
            store.write([note], facts=old.here if more else old.over)

    @property
    def _lot_bytes(self) -> int:
        return max(BATCH_BYTES, min(SALVAGE_BYTES, self._settings.quota_bytes // 64))

    def _told_of(self, old: Salvage, *, all_of_it: bool) -> dict[str, Json]:
        return {
            **old.told(),
            "trail": old.job.entries,
            "complete": all_of_it and old.complete,
        }

    def _bring_more(self, rest: Salvage) -> None:
        """A little more of what the damaged store held."""
        rows = rest.lot(CUT_RECORDS, self._lot_bytes)

        def work(store: Store) -> None:
            if self._rest is not rest or not store.durable:
                return  # the store was opened anew, and knows itself how far it is; or there is none
            if rows:
                store.write(rows, facts=rest.here, moved=True)
            else:
                told = self._told_of(rest, all_of_it=True)
                store.write([self._note("journal.salvaged", told)], facts=rest.over)

        self._do(work)
        if not rows and self._rest is rest:
            self._drop_rest()
            self._do(self._take_next)
        elif self._rest is not rest:
            # A disk that fails at each lot is left in peace meanwhile.
            self._rest_at = self._clock.now() + RETRY_S
        self._report(force=False)

    def _drop_rest(self) -> None:
        if self._rest is not None:
            self._rest.close()
            self._rest = None

    def _open_memory(self, error: Exception, past: Past | None) -> Store:
        """Go on without a disk, and say so; the audit chain goes on from *past*, where that is known."""
        self._drop_rest()
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
        owed = "; pictures to be purged are still on it" if self._notes.owing else ""
        return (
            f"{path}: {why(error)}; records are kept in memory until it can be written"
            f" (check owner, free space and the card){owed}"
        )

    def _mend(self) -> None:
        """Back from memory to the disk, if it can be written again."""
        if self._awaits_purge():
            self._wait_for_purge()
            return
        self._retry_at = self._clock.now() + RETRY_S
        disk: Store | None = None
        damage, self._met = self._met, None
        self._joined = False
        self._done_now.clear()
        try:
            disk = self._open_disk(damage)
            facts = self._move_to(disk)
        except (_PressedError, DamagedError, *TROUBLE) as error:
            self._go_back(disk, error)
            return
        self._open.close()
        self._store = disk
        self._owed = []
        self._begun.clear()
        self._retry_at = math.inf
        self._say(None, "")
        self._report(force=True)  # first the epoch, then seqs of it
        for epoch, purged in self._redeemed.values():
            # Of a store that has been replaced since, the seqs mean nothing; that an earlier boot lost its end does.
            self._post(purged if epoch == disk.epoch else replace(purged, seqs=()))
        self._redeemed.clear()
        for answer in self._remembered(facts):
            self._post(answer)

    def _go_back(self, disk: Store | None, error: Exception) -> None:
        """Stay in memory: *disk* was not to be had, or not yet."""
        self._drop_rest()  # what is in memory takes over nothing from the disk
        if disk is not None:
            disk.close()
            self._met = why(error) if is_damage(error) else None
            if not isinstance(error, BrimfulError):
                self._ballast.give_way(error)  # for the next try
            if self._joined:  # what it has taken over already lies before what is to come
                self._open.follow(disk.past())
        if isinstance(error, _PressedError):
            self._wait_for_purge()
        else:
            self._say(FindingKey.JOURNAL_BROKEN, self._broken(error))

    def _awaits_purge(self) -> bool:
        """Whether the switch was pressed and what that press means is not said yet: the core may be busy."""
        return self._presses() > max(self._answered, self._waited_for)

    def _wait_for_purge(self) -> None:
        """Going back to the disk is put off for a moment, but not for ever: no purge follows what a wire's noise presses."""
        self._put_off += 1
        if self._put_off >= PUT_OFFS:
            self._put_off, self._waited_for = 0, self._presses()
        self._retry_at = self._clock.now() + HOLD_S

    def _move_to(self, disk: Store) -> dict[str, bytes]:
        """Bring the disk what it was owed: the audit trail, purges, facts, then records. Which facts are to be told of.

        `_PressedError`: the purge of a press is to come first.
        """
        self._join(disk)
        self._redeem(disk)
        with self._facts_lock:
            facts = dict(self._facts)
        disk.write((), facts=facts)
        self._pour(disk)
        told = self._unkept - self._queue.behind()  # the others are, when it is their turn
        return {key: value for key, value in facts.items() if key in told}

    def _join(self, disk: Store) -> None:
        disk.adopt_from(self._open)
        self._joined = True

    def _pour(self, disk: Store) -> None:
        """The records, lot by lot: this takes long, and nobody looks at the queue meanwhile. So purges have a turn before each lot."""

        def look() -> None:
            if self._awaits_purge():  # seen sooner than its purge comes
                raise _PressedError
            self._redeem(disk)

        self._open.pour_into(disk, records=BATCH_RECORDS, size=BATCH_BYTES, look=look)
        self._redeem(disk)  # for the last lot

    def _redeem(self, disk: Store) -> None:
        """Do what is owed, of which some may have come just now: on the disk, where the lot before may lie, then in memory.

        In memory too unless it had its turn there: else what it means would come to the disk behind it. There all pictures are of
        this boot, and no purge of another boot means them.
        """
        for owed in self._load_owed():
            done = self._redeemed.get(owed, ("",))[0] == disk.epoch
            if owed in self._done_now or (done and owed in self._unreached):
                continue  # its note stays, or some of what is parked has it still: tried again when the disk is back
            self._redeemed[owed] = (
                disk.epoch,
                self._joint(owed, disk, self._destroy(disk, owed, ())),
            )
            self._done_now.add(owed)
            told: Purged | None = None
            if owed.boot == self._clock.boot and owed not in self._begun:
                self._open.follow(disk.past())
                self._joined = False
                told = self._open.purge(owed.command, owed.boot, (), until_at=owed.until_at)
            if self._purge_parked(owed):
                self._notes.done(owed)
            if told is not None:
                self._post(told)
                self._join(disk)

    def _joint(self, owed: Owed, disk: Store, purged: Purged) -> Purged:
        """*purged*, and what this store had destroyed for it at a try before."""
        epoch, before = self._redeemed.get(owed, ("", purged))
        return replace(
            purged,
            seqs=tuple(sorted({*purged.seqs, *(before.seqs if epoch == disk.epoch else ())})),
            cameras=tuple(sorted({*purged.cameras, *before.cameras})),
            earlier_boot=purged.earlier_boot or before.earlier_boot,
        )

    def _say_full(self) -> None:
        store = self._open
        if not store.durable:
            return
        if store.brimful:
            detail = (
                f"{self._settings.folder}: the disk is full; what comes waits in memory until the hub has taken some"
                " of what lies here, or somebody makes room"
            )
            self._say(FindingKey.JOURNAL_FULL, detail)
        elif store.full:
            detail = (
                f"{self._settings.folder}: no room within {self._settings.quota_bytes} bytes and with"
                f" {self._settings.disk_floor_bytes} bytes left free; state records or new pictures are dropped"
            )
            self._say(FindingKey.JOURNAL_FULL, detail)
        elif self._said.key is FindingKey.JOURNAL_FULL:
            self._say(None, "")

    def _say(self, key: FindingKey | None, detail: str) -> None:
        """Post a change of trouble, or of what is parked. Damage stays said: a card that lied is not mended by a new file."""
        kept = self._damage or (self._beyond if self._unreached else "")
        if key is None and kept:
            key, detail = FindingKey.JOURNAL_BROKEN, kept
        trouble = JournalTrouble(key=key, detail=detail, parked=self._waiting)
        if trouble != self._said:
            self._said = trouble
            self._post(trouble)


def _overtaken(row: Row, presses: int) -> bool:
    """Whether the switch was pressed since this picture was released."""
    return row.press is not None and row.press < presses
