"""What the hub keeps: records in SQLite, pictures as files by camera and day, and what follows from them in memory.

Promises: a message is on disk when `commit` returns, or all of its batch comes again; the same record twice is kept once; a
withdrawn picture is destroyed, and is not kept if it arrives later or again; names of files come from checked words only;
nobody but owner and group reads a picture; a folder has one store at a time, as a second would not know what the first committed.
Used by one thread. Not its job: the broker (service.py), what a person sees (table.py, gaps.py).
"""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_agent import whole
from edge_agent.clock import Clock
from edge_agent.core import wire
from edge_agent.core.messages import Json, Rank
from edge_agent.receiver.asked_back import WITHDRAW, withdrawal
from edge_agent.receiver.chains import MARK, Chains
from edge_agent.receiver.news import News
from edge_agent.receiver.ranges import Ranges
from edge_agent.receiver.summary import BoxSummary, CameraSummary
from edge_agent.seal import Opener, SealError
from edge_agent.stick import Import, exports_in, picture_file

DATABASE: Final = "hub.sqlite"
LOCK: Final = "hub.lock"
MAX_RANGES: Final = 200
IMPORT_MESSAGES: Final = 64  # a transaction; pictures are among them

_FILE_MODE: Final = 0o640

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS record (
  box TEXT NOT NULL,        -- the box's topic prefix
  epoch TEXT NOT NULL, seq INTEGER NOT NULL,
  kind TEXT NOT NULL, rank INTEGER NOT NULL, camera TEXT,
  boot TEXT NOT NULL, at REAL NOT NULL,           -- the box's boot id and seconds since that boot
  time TEXT NOT NULL, trusted INTEGER NOT NULL,   -- its wall time, and whether anything vouched for it
  lane TEXT NOT NULL, received REAL NOT NULL,     -- live or history; our own Unix time
  data TEXT NOT NULL, picture TEXT,               -- JSON; path of the picture below the folder
  PRIMARY KEY (box, epoch, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gone (          -- seqs that will never come: thinned, purged, before our time
  box TEXT NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY (box, epoch, first, last)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS picture_by_time ON record (box, boot, at) WHERE rank = 2;
CREATE TABLE IF NOT EXISTS withdrawal (    -- pictures taken then, both ends included, must not be kept
  box TEXT NOT NULL, boot TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL, -- seconds since that boot
  by_end INTEGER NOT NULL,                 -- 1 = reckoned from the newest picture that had come
  PRIMARY KEY (box, boot, first, last)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS box (
  box TEXT PRIMARY KEY, epoch TEXT, online INTEGER NOT NULL, simulated INTEGER NOT NULL, version TEXT NOT NULL,
  seen REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS camera (
  box TEXT NOT NULL, camera TEXT NOT NULL, state TEXT NOT NULL, received REAL NOT NULL,
  PRIMARY KEY (box, camera)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Came:
    """One PUBLISH. `retained`: the broker had kept it; it says nothing about when it was sent."""

    topic: str
    payload: bytes
    properties: tuple[tuple[str, str], ...]
    retained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an export brought. `missing`: of its epoch, below the highest seq that the hub has."""

    box: str
    epoch: str
    new: int
    duplicates: int
    missing: int
    simulated: bool
    finished: bool  # the box had written all that was asked for


@dataclass(slots=True)
class Box:
    """A box as it is now; the disk has the same."""

    epoch: str | None = None
    online: bool = False
    simulated: bool = False
    version: str = ""
    since: float | None = None
    heard: float | None = None
    records: int = 0
    pictures: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    cameras: dict[str, Json] = field(default_factory=dict)
    pictures_of: dict[str, int] = field(default_factory=dict)
    chains: Chains = field(default_factory=Chains)
    news: News = field(default_factory=News)
    kept: dict[str, Ranges] = field(default_factory=dict)  # by epoch: the seqs accounted for
    unacked: int = 0
    fresh: set[int] = field(default_factory=set)  # seqs that came since they were last acknowledged
    acked_at: float = -1e9

    def ranges(self, epoch: str) -> Ranges:
        """The seqs of *epoch* that came or were declared as gone; to be added to."""
        return self.kept.setdefault(epoch, Ranges())


class Store:
    """One folder. Everything raises `OSError` or `sqlite3.Error` if the disk does not take it."""

    def __init__(self, folder: Path, clock: Clock, opener: Opener | None = None) -> None:
        """*folder* is made if it is not there, and what an earlier run committed is read back.

        Without *opener* sealed pictures are kept as they came, as `.age` files.
        """
        self._folder = folder
        self._clock = clock
        self._opener = opener
        self.boxes: dict[str, Box] = {}
        self.ack_due: set[str] = set()  # the boxes that wait for a watermark
        # What is said of a box is made anew only when something came of it: a commit of 200 messages among 10,000 boxes
        # must not cost 10,000 summaries.
        self._said: dict[str, BoxSummary] = {}
        self._touched: set[str] = set()
        self._all: tuple[BoxSummary, ...] = ()
        self.duplicates = self.faults = self.withdrawn = 0
        self.last_fault = ""
        try:
            whole.make_folder(folder)
        except FileExistsError as error:
            msg = f"--folder {folder}: {error.filename} is a file; it needs a folder, which is made if it is not there"
            raise NotADirectoryError(msg) from error
        self._lock = _locked(folder)
        try:
            with of_file(folder / DATABASE):
                self._sql = _open(folder / DATABASE)
                self._recall(self._sql)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Let go of the folder. Once."""
        self._sql.close()
        os.close(self._lock)

    def commit(self, came: Sequence[Came]) -> None:
        """One transaction. Pictures are written and destroyed before its end: if it fails, all of it comes again."""
        with of_file(self._folder / DATABASE), self._sql as sql:
            for message in came:
                self._receive(sql, message)

    def take_in(self, folder: Path) -> list[Imported]:
        """Commit every export in *folder* as if it had come over the wire, as history.

        `StickError` if there is none; what is damaged in one is counted as a fault.
        """
        return [self._import(path) for path in exports_in(folder)]

    def _import(self, folder: Path) -> Imported:
        found = Import(folder)
        try:
            manifest = found.manifest
            duplicates = self.duplicates
            known = self._box(manifest.box)
            known.epoch = known.epoch or manifest.epoch
            known.simulated = known.simulated or manifest.simulated
            before = known.records
            came: list[Came] = []
            for one in found.messages():
                came.append(Came(one.topic, one.payload, one.properties))
                if len(came) >= IMPORT_MESSAGES:
                    self.commit(came)
                    came = []
            self.commit(came)
            if manifest.oldest_seq is not None and manifest.oldest_seq > 1:
                with self._sql as sql:  # as a birth would tell
                    self._gone(sql, manifest.box, manifest.epoch, [(1, manifest.oldest_seq - 1)])
        finally:
            found.close()
        for why in found.faults:
            self._fault(folder.name, why)
        return Imported(
            box=manifest.box,
            epoch=manifest.epoch,
            new=known.records - before,
            duplicates=self.duplicates - duplicates,
            missing=known.ranges(manifest.epoch).missing(),
            simulated=manifest.simulated,
            finished=manifest.finished,
        )

    # ---- messages ----

    def _receive(self, sql: sqlite3.Connection, came: Came) -> None:
        found = wire.address(came.topic)
        if found is None:
            self._fault(came.topic, "not a topic of this contract")
            return
        box = wire.prefix(found.identity)
        match found.leaf:
            case "presence":
                self._presence(sql, box, wire.arrived_presence(came.payload))
            case "camera":
                self._camera(sql, box, found.camera or "", came.payload)
            case "live" | "history":
                self._records(sql, found, wire.arrived_batch(came.payload, box))
            case "snapshot":
                picture = wire.arrived_snapshot(came.properties, came.payload, box)
                if isinstance(picture, wire.Arrived) and picture.camera != found.camera:
                    picture = wire.Fault("snapshot.subject: not the camera of the topic")
                self._records(
                    sql, found, picture if isinstance(picture, wire.Fault) else (picture,)
                )
            case _:
                return  # our own words, replies, and what a box says to itself
        if box in self.boxes and not came.retained:
            self._box(box).heard = self._clock.wall()

    def _box(self, name: str) -> Box:
        """The box, to be changed."""
        self._touched.add(name)
        return self.boxes.setdefault(name, Box())

    def _presence(
        self, sql: sqlite3.Connection, box: str, told: wire.Presence | wire.Fault
    ) -> None:
        if isinstance(told, wire.Fault):
            self._fault(box, told.why)
            return
        known = self._box(box)
        if known.since is None or known.online != told.online:
            known.since = self._clock.wall()
        known.online, known.simulated, known.version = told.online, told.simulated, told.version
        if told.epoch is not None and told.epoch != known.epoch:
            known.epoch = told.epoch
            known.fresh.clear()
        if told.online and told.epoch is not None:
            self.ack_due.add(box)
            known.acked_at = -1e9  # it waits for our word
            if told.oldest_seq is not None and told.oldest_seq > 1:
                self._gone(sql, box, told.epoch, [(1, told.oldest_seq - 1)])
        sql.execute(
            "INSERT OR REPLACE INTO box VALUES (?, ?, ?, ?, ?, ?)",
            (box, known.epoch, told.online, told.simulated, told.version, known.since),
        )

    def _camera(self, sql: sqlite3.Connection, box: str, camera: str, payload: bytes) -> None:
        state = wire.arrived_camera(payload)
        if isinstance(state, wire.Fault):
            self._fault(f"{box}/camera/{camera}", state.why)
            return
        self._box(box).cameras[camera] = state
        sql.execute(
            "INSERT OR REPLACE INTO camera VALUES (?, ?, ?, ?)",
            (box, camera, payload.decode(), self._clock.wall()),
        )

    def _records(
        self,
        sql: sqlite3.Connection,
        address: wire.Address,
        arrived: tuple[wire.Arrived, ...] | wire.Fault,
    ) -> None:
        box = wire.prefix(address.identity)
        if isinstance(arrived, wire.Fault):
            self._fault(f"{box}/{address.leaf}", arrived.why)
            return
        for record in arrived:
            self._record(sql, address, box, record)

    def _record(
        self, sql: sqlite3.Connection, address: wire.Address, box: str, record: wire.Arrived
    ) -> None:
        known = self._box(box)
        known.epoch = known.epoch or record.epoch
        self.ack_due.add(box)
        known.unacked += 1
        if record.epoch == known.epoch:
            known.fresh.add(record.seq)  # also if it came before: the box has not heard that
        if record.jpeg is not None:
            came = "SELECT picture FROM record WHERE box = ? AND epoch = ? AND seq = ?"
            before = sql.execute(came, (box, record.epoch, record.seq)).fetchone()
            if before is not None:
                self._picture_again(sql, box, record, before[0])
                return
        path = self._keep_picture(sql, address, record)
        inserted = sql.execute(
            "INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(box, record.epoch, record.seq, record.kind, int(record.rank), record.camera),
                *(record.boot, record.at, record.time, record.trusted, address.lane),
                *(self._clock.wall(), record.data, path),
            ),
        ).rowcount
        if not inserted:
            self.duplicates += 1
            return
        known.records += 1
        if path is not None and record.camera is not None:
            known.pictures += 1
            known.pictures_of[record.camera] = known.pictures_of.get(record.camera, 0) + 1
        self.withdrawn += path is None and record.jpeg is not None
        known.kinds[record.kind] = known.kinds.get(record.kind, 0) + 1
        known.ranges(record.epoch).add(record.seq, record.seq)
        known.chains.take(record)
        known.news.take(record)
        self._gone(sql, box, record.epoch, wire.accounted_for(record))
        if record.kind == WITHDRAW:
            self._withdraw(sql, box, record)

    def _keep_picture(
        self, sql: sqlite3.Connection, address: wire.Address, record: wire.Arrived
    ) -> str | None:
        """Write the picture, whole or not at all; its path below the folder. None: no picture, or a withdrawn one."""
        if record.jpeg is None or record.camera is None:
            return None
        identity = address.identity
        moment = (wire.prefix(identity), record.boot, record.at)
        asked_back = (
            "SELECT 1 FROM withdrawal WHERE box = ? AND boot = ? AND ? BETWEEN first AND last"
        )
        if sql.execute(asked_back, moment).fetchone() is not None:
            return None
        # Each part has been checked (wire.address, wire.arrived_snapshot): letters, digits and '-', no dots, no slashes.
        day, stem = picture_file(record.time, record.epoch, record.seq)
        relative = Path(
            "pictures",
            *(identity.kelurahan, identity.rw, identity.rt, identity.box, record.camera, day),
            f"{stem}.jpg",
        )
        picture = self._opened(record.jpeg)
        if wire.is_sealed(picture):
            relative = relative.with_suffix(".age")
        whole.write(self._folder / relative, picture)
        return str(relative)

    def _picture_again(
        self, sql: sqlite3.Connection, box: str, record: wire.Arrived, path: str | None
    ) -> None:
        """One that is kept as *path*, or was withdrawn: the first to come counts, whatever its label says by now."""
        self.duplicates += 1
        if path is None or not path.endswith(".age"):
            return
        # It may have come before anybody here knew the identity that opens it.
        picture = self._opened(record.jpeg or b"")
        if not wire.is_sealed(picture):
            opened = Path(path).with_suffix(".jpg")
            whole.write(self._folder / opened, picture)
            named = "UPDATE record SET picture = ? WHERE box = ? AND epoch = ? AND seq = ?"
            sql.execute(named, (str(opened), box, record.epoch, record.seq))

    def _opened(self, picture: bytes) -> bytes:
        """The picture itself, if it can be had; sealed it is kept all the same: another identity may open it later."""
        if self._opener is None or not wire.is_sealed(picture):
            return picture
        try:
            return self._opener.open(picture)
        except SealError as error:
            self._fault("a sealed picture", str(error))
            return picture

    def _withdraw(self, sql: sqlite3.Connection, box: str, record: wire.Arrived) -> None:
        """A press reached back: destroy what was taken then, whether it has come or not yet."""
        asked = withdrawal(record)
        if asked is None:
            self._fault(box, "a withdrawal that cannot be read; no picture was destroyed")
            return
        first, last = asked.first, asked.last
        if first is None:
            # Asked again, it means the same: what came since had waited on the box, which spared it.
            before = "SELECT last FROM withdrawal WHERE box = ? AND boot = ? AND by_end"
            newest = "SELECT MAX(at) FROM record WHERE box = ? AND boot = ? AND rank = 2"
            of_boot = (box, asked.boot)
            (end,) = (
                sql.execute(before, of_boot).fetchone() or sql.execute(newest, of_boot).fetchone()
            )
            if end is None:
                return  # nothing of that boot ever came
            first, last = end - asked.length_s, end
        window = (box, asked.boot, first, last)
        by_end = asked.first is None
        sql.execute("INSERT OR IGNORE INTO withdrawal VALUES (?, ?, ?, ?, ?)", (*window, by_end))
        changed = sql.execute(
            "UPDATE record SET picture = NULL"
            " WHERE box = ? AND boot = ? AND rank = 2 AND at BETWEEN ? AND ? AND picture NOT NULL",
            window,
        ).rowcount
        self.withdrawn += changed
        known = self.boxes[box]
        known.pictures -= changed
        left = (
            "SELECT camera, COUNT(picture) FROM record WHERE box = ? AND rank = 2 GROUP BY camera"
        )
        known.pictures_of = dict(sql.execute(left, (box,)).fetchall())
        # Every file that no row names goes: these, and what a crash left, whole or half, before its row was committed.
        # One walk for all of them, as a box that has run for a month has some hundred thousand files here.
        named = "SELECT picture FROM record WHERE box = ? AND picture NOT NULL"
        kept = {path for (path,) in sql.execute(named, (box,))}
        folder = self._folder.joinpath("pictures", *box.split("/")[2:])
        emptied = set()
        for path in folder.glob("*/*/*"):
            if str(path.relative_to(self._folder)) not in kept:
                path.unlink(missing_ok=True)
                emptied.add(path.parent)
        for day in emptied:  # or a power cut brings back what was taken back
            whole.sync_folder(day)

    def _gone(
        self, sql: sqlite3.Connection, box: str, epoch: str, ranges: Iterable[tuple[int, int]]
    ) -> None:
        kept = self._box(box).ranges(epoch)
        for first, last in ranges:
            kept.add(first, last)
            # Each birth says "nothing below n" with a higher n: one row for that, not one for each birth.
            inside = "DELETE FROM gone WHERE box = ? AND epoch = ? AND first >= ? AND first <= ? AND last <= ?"
            sql.execute(inside, (box, epoch, first, last, last))
            sql.execute("INSERT INTO gone VALUES (?, ?, ?, ?)", (box, epoch, first, last))

    def _fault(self, place: str, why: str) -> None:
        self.faults += 1
        self.last_fault = f"{place[:200]}: {why}"

    # ---- the watermark ----

    def mark(self, name: str, epoch: str) -> wire.Watermark:
        """What to tell box *name*: a watermark of bounded size. What it names is not named again.

        Pictures of a camera that is held wait on the box between what has come: more gaps than a watermark has room for.
        What came beyond those is named by itself, or the box would keep it and fall silent; the rest of it in the next.
        """
        box = self.boxes[name]
        ranges = box.ranges(epoch)
        upto, missing = ranges.mark(MAX_RANGES)
        also: list[tuple[int, int]] = []
        left = sorted(box.fresh)
        place = bisect.bisect_right(left, upto)
        while place < len(left) and len(also) < wire.MAX_MISSING:
            first, last = ranges.around(left[place]) or (left[place], left[place])
            also.append((max(first, upto + 1), last))
            place = bisect.bisect_right(left, last)
        box.fresh = set(left[place:])
        return wire.Watermark(epoch=epoch, upto=upto, missing=tuple(missing), also=tuple(also))

    # ---- what is known ----

    def summaries(self) -> tuple[BoxSummary, ...]:
        """All boxes, in the order of their names. A box of which nothing came since has the summary that it had."""
        if self._touched:
            self._said |= {name: self._summary(name, self.boxes[name]) for name in self._touched}
            self._touched = set()
            self._all = tuple(said for _, said in sorted(self._said.items()))
        return self._all

    def _summary(self, name: str, box: Box) -> BoxSummary:
        ranges = box.kept.get(box.epoch or "", Ranges())
        return BoxSummary(
            box=name,
            online=box.online,
            simulated=box.simulated,
            version=box.version,
            epoch=box.epoch,
            records=box.records,
            pictures=box.pictures,
            upto=ranges.highest,
            missing=ranges.missing(),
            kinds=tuple(sorted(box.kinds.items())),
            cameras=tuple(
                CameraSummary(id=id_, state=state, pictures=box.pictures_of.get(id_, 0))
                for id_, state in sorted(box.cameras.items())
            ),
            since=box.since,
            heard=box.heard,
            orders=box.news.orders,
            findings=box.news.findings,
            breaks=box.chains.breaks(box.kept),
        )

    def _recall(self, sql: sqlite3.Connection) -> None:
        """Read back what an earlier run committed: box by box, or a database that memory does not hold is read from disk thrice."""
        for box, epoch, online, simulated, version, seen in sql.execute("SELECT * FROM box"):
            self.boxes[box] = Box(
                epoch=epoch,
                online=bool(online),
                simulated=bool(simulated),
                version=version,
                since=seen,
            )
        for name in _names(sql):
            self._recall_box(sql, name, self.boxes.setdefault(name, Box()))
        for name, epoch, first, last in sql.execute("SELECT * FROM gone"):
            self._box(name).ranges(epoch).add(first, last)
        for name, camera, state, _ in sql.execute("SELECT * FROM camera"):
            self._box(name).cameras[camera] = json.loads(state)
        self._touched.update(self.boxes)

    def _recall_box(self, sql: sqlite3.Connection, name: str, known: Box) -> None:
        islands = (
            "SELECT epoch, MIN(seq), MAX(seq) FROM (SELECT epoch, seq, seq - ROW_NUMBER() OVER "
            "(PARTITION BY epoch ORDER BY seq) AS island FROM record WHERE box = ?) GROUP BY epoch, island"
        )
        for epoch, first, last in sql.execute(islands, (name,)):
            known.ranges(epoch).add(first, last)
        counts = (
            "SELECT kind, camera, COUNT(*), COUNT(picture), MAX(epoch), MAX(received) FROM record"
            " WHERE box = ? GROUP BY kind, camera"
        )
        for kind, camera, records, pictures, epoch, received in sql.execute(counts, (name,)):
            known.epoch = known.epoch or epoch
            known.kinds[kind] = known.kinds.get(kind, 0) + records
            known.records += records
            known.pictures += pictures
            known.heard = max(known.heard or 0.0, received)
            if pictures:
                known.pictures_of[camera] = known.pictures_of.get(camera, 0) + pictures
        # Epochs in the order in which they came, as `News` reckons.
        told = (
            "SELECT epoch, seq, kind, rank, camera, boot, at, time, trusted, data FROM record"
            " WHERE box = ? AND (kind LIKE 'finding.%' OR kind LIKE 'work!_order.%' ESCAPE '!'"
            " OR kind = 'agent.started' OR instr(data, ?)) ORDER BY received, seq"
        )
        for epoch, seq, kind, rank, camera, boot, at, time, trusted, data in sql.execute(
            told, (name, MARK)
        ):
            record = wire.Arrived(
                epoch=epoch,
                seq=seq,
                kind=kind,
                rank=Rank(rank),
                camera=camera,
                boot=boot,
                at=at,
                time=time,
                trusted=bool(trusted),
                data=data,
            )
            known.chains.take(record)
            known.news.take(record)


def _names(sql: sqlite3.Connection) -> Iterator[str]:
    """The boxes that records are kept of: one look-up each, not one walk over all records."""
    after = "SELECT box FROM record WHERE box > ? ORDER BY box LIMIT 1"
    found = sql.execute(after, ("",)).fetchone()
    while found is not None:
        (name,) = found
        yield name
        found = sql.execute(after, (name,)).fetchone()


@contextlib.contextmanager
def of_file(path: Path) -> Iterator[None]:
    """The library names no file: what it says is said of *path*, with what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:  # the disk, a right, or tables that are not ours
        msg = (
            f"{path}: {error}; it needs room, the right to write there, and to be a receiver's own"
        )
        raise sqlite3.OperationalError(msg) from error
    except sqlite3.Error as error:
        msg = f"{path}: {error}; restore it from a copy, or name another --folder"
        raise sqlite3.DatabaseError(msg) from error


def _open(path: Path) -> sqlite3.Connection:
    sql = sqlite3.connect(path, check_same_thread=False)  # opened by `start`, used by one thread
    there = {name for (name,) in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if (
        there and "record" not in there
    ):  # before a table of ours is put into what is somebody else's
        sql.close()
        msg = "is another program's database"
        raise sqlite3.DatabaseError(msg)
    sql.execute("PRAGMA journal_mode = WAL").fetchall()
    sql.execute("PRAGMA synchronous = FULL").fetchall()
    sql.executescript(_SCHEMA)
    return sql


def _locked(folder: Path) -> int:
    """*folder* for us alone, until what this returns is closed; the kernel does that for a process that is killed."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        msg = f"{folder}: another receiver works in this folder; stop it, or name another --folder"
        raise BlockingIOError(msg) from None
    return lock
