"""`edge-agent hub`: a reference receiver for those who build the city's side, and the hub of the demo and the tests.

Promises: a record is acknowledged only after it is committed to disk; the same record twice is kept once, by
(box, epoch, seq); a picture that was withdrawn is destroyed, and is not kept if it arrives later or again; names of files
come from checked words only, whatever a topic says.
One receiver for all boxes of a broker; two at one broker would contradict each other's watermarks.
Not its job: a portal, many thousand boxes on one machine, deciding on orders.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import json
import math
import os
import queue
import sqlite3
import ssl
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent import whole
from edge_agent.clock import Clock, SystemClock
from edge_agent.core import wire
from edge_agent.core.messages import Json
from edge_agent.seal import Opener, SealError
from edge_agent.stick import Import, StickError, exports_in, picture_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.table import Table

ALL: Final = f"{wire.ROOT}/#"
MAX_RANGES: Final = 200
ACK_S: Final = 1.0  # a watermark a second for each box that sends ...
ACK_RECORDS: Final = 1_000  # ... or sooner, so that a box draining its backlog is never held up
TAKE_MESSAGES: Final = 200
TAKE_S: Final = 0.2
ROUND_S: Final = 0.5
STOP_S: Final = 10.0
WAITING_MESSAGES: Final = 500
IMPORT_MESSAGES: Final = 64  # a transaction; pictures are among them
ONCE_S: Final = 5.0
WITHDRAW: Final = "privacy.withdraw"
_LONGEST_S: Final = 1e12  # no boot lasts so long

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


class Ranges:
    """A set of whole numbers from 1 up, kept as disjoint inclusive ranges."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    @property
    def highest(self) -> int:
        """The greatest number in it; 0 if it is empty."""
        return self._lasts[-1] if self._lasts else 0

    def add(self, first: int, last: int) -> None:
        """Put in all from *first* to *last*."""
        first = max(first, 1)
        if last < first:
            return
        low = bisect.bisect_left(self._lasts, first - 1)
        high = bisect.bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def gaps(self, limit: int) -> list[tuple[int, int]]:
        """The first *limit* ranges that are missing below `highest`."""
        found = []
        before = 0
        for first, last in zip(self._firsts, self._lasts, strict=True):
            if first > before + 1:
                found.append((before + 1, first - 1))
                if len(found) == limit:
                    break
            before = last
        return found

    def missing(self) -> int:
        """How many are missing below `highest`."""
        kept = sum(last - first + 1 for first, last in zip(self._firsts, self._lasts, strict=True))
        return self.highest - kept

    def around(self, number: int) -> tuple[int, int] | None:
        """The range that *number* lies in; None if it is missing."""
        place = bisect.bisect_right(self._firsts, number) - 1
        if place < 0 or number > self._lasts[place]:
            return None
        return self._firsts[place], self._lasts[place]

    def mark(self, limit: int) -> tuple[int, list[tuple[int, int]]]:
        """A watermark of bounded size: with more than *limit* gaps it ends before the next one."""
        gaps = self.gaps(limit + 1)
        if len(gaps) <= limit:
            return self.highest, gaps
        return gaps[limit][0] - 1, gaps[:limit]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSummary:
    """The retained state of a camera, as it came."""

    id: str
    state: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxSummary:
    """What the hub has of a box."""

    box: str
    online: bool
    simulated: bool
    version: str
    epoch: str | None
    records: int
    pictures: int
    upto: int
    missing: int
    kinds: tuple[tuple[str, int], ...]
    cameras: tuple[CameraSummary, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the hub has of all boxes."""

    connected: bool
    boxes: tuple[BoxSummary, ...] = ()
    duplicates: int = 0
    withdrawn: int = 0
    faults: int = 0
    last_fault: str = ""
    failure: str = ""  # why the receiver gave up; "" = it did not

    @property
    def complete(self) -> bool:
        """Nothing is missing and everything could be read."""
        return not self.faults and not self.failure and not any(box.missing for box in self.boxes)


@dataclass(slots=True)
class _Box:
    """A box as it is now; the disk has the same."""

    epoch: str | None = None
    online: bool = False
    simulated: bool = False
    version: str = ""
    records: int = 0
    pictures: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    cameras: dict[str, Json] = field(default_factory=dict)
    unacked: int = 0
    fresh: set[int] = field(default_factory=set)  # seqs that came since they were last acknowledged
    acked_at: float = -1e9
    ack_due: bool = False


@dataclass(frozen=True, slots=True)
class _Came:
    """One PUBLISH."""

    topic: str
    payload: bytes
    properties: tuple[tuple[str, str], ...]


_Key: TypeAlias = "tuple[str, str]"  # box, epoch


class Receiver:
    """Subscribes, commits, acknowledges. `start`, `stop`, `summary`: any thread."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        folder: Path,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        opener: Opener | None = None,
        on_change: Callable[[Summary], None] | None = None,
    ) -> None:
        """*folder* is made if it is not there; *on_change* is called from the receiver's thread and must not block.

        Without *opener* sealed pictures are kept as they came, as `.age` files.
        """
        self._opener = opener
        self._host = host
        self._port = port
        self._folder = folder
        self._clock = clock
        self._on_change = on_change
        self._came: queue.Queue[_Came | None] = queue.Queue(WAITING_MESSAGES)
        self._connected = threading.Event()
        self._ever_connected = False
        self._stopping = threading.Event()
        self._stopped = False
        self._changed_at = clock.now()
        self._lock = threading.Lock()
        self._summary = Summary(connected=False)

        self._boxes: dict[str, _Box] = {}
        self._ranges: dict[_Key, Ranges] = {}
        self._duplicates = self._faults = self._withdrawn = 0
        self._last_fault = ""
        self._failure = ""
        self._sql: sqlite3.Connection | None = None
        self._client: Client | None = self._new_client(tls)
        self._thread = threading.Thread(target=self._work, name="receiver", daemon=True)

    def __enter__(self) -> Receiver:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Open the folder and begin; keeps trying to connect. `OSError` or `sqlite3.Error` if the folder is unusable."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sql = _open(self._folder / "hub.sqlite")
        self._recall(self._sql)
        self._tell()
        self._thread.start()
        if self._client is not None:
            self._client.connect_async(self._host, self._port, keepalive=30, clean_start=True)
            self._client.loop_start()

    def stop(self) -> None:
        """Commit and acknowledge what has come, then close. Twice is harmless; blocks for some seconds at most."""
        if self._stopped:
            return
        self._stopped = True
        if self._thread.is_alive():
            self._came.put(None)
            self._thread.join(STOP_S)
        self._stopping.set()
        client, self._client = self._client, None  # with its last name its inner sockets are closed
        if client is not None:
            client.disconnect()
            client.loop_stop()
            client.on_connect = client.on_disconnect = client.on_message = None
        if self._sql is not None and not self._thread.is_alive():
            self._sql.close()

    def take_in(self, folder: Path) -> list[Imported]:
        """In place of `start`: commit every export in *folder* as if it had come over the wire, as history; no broker is asked.

        `StickError` if there is none; what is damaged in one is counted as a fault. OSError, `sqlite3.Error`: our own folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sql = _open(self._folder / "hub.sqlite")
        self._recall(self._sql)
        imported = [self._import(self._sql, path) for path in exports_in(folder)]
        self._tell()
        return imported

    def _import(self, sql: sqlite3.Connection, folder: Path) -> Imported:
        found = Import(folder)
        try:
            manifest = found.manifest
            key, duplicates = (manifest.box, manifest.epoch), self._duplicates
            known = self._boxes.setdefault(manifest.box, _Box(epoch=manifest.epoch))
            known.simulated = known.simulated or manifest.simulated
            before = known.records
            came: list[_Came] = []
            for one in found.messages():
                came.append(_Came(one.topic, one.payload, one.properties))
                if len(came) >= IMPORT_MESSAGES:
                    self._commit(sql, came)
                    came = []
            self._commit(sql, came)
            if manifest.oldest_seq is not None and manifest.oldest_seq > 1:
                with sql:  # as a birth would tell
                    self._gone(sql, key, [(1, manifest.oldest_seq - 1)])
        finally:
            found.close()
        for why in found.faults:
            self._fault(folder.name, why)
        return Imported(
            box=manifest.box,
            epoch=manifest.epoch,
            new=known.records - before,
            duplicates=self._duplicates - duplicates,
            missing=self._ranges.setdefault(key, Ranges()).missing(),
            simulated=manifest.simulated,
            finished=manifest.finished,
        )

    def order(self, box: str, leaf: str, token: bytes) -> None:
        """Publish a signed order to *box* (its topic prefix): `policy` is retained, `command` is not."""
        if self._client is not None:
            self._client.publish(f"{box}/{leaf}", token, qos=1, retain=leaf == "policy")

    def summary(self) -> Summary:
        """What has been committed so far."""
        with self._lock:
            return self._summary

    @property
    def ever_connected(self) -> bool:
        """Whether the broker accepted us at least once."""
        return self._ever_connected

    def wait_stopped(self, within_s: float) -> bool:
        """Wait until the receiver has given up, at most *within_s*; whether it has."""
        return self._stopping.wait(within_s)

    def quiet_for(self) -> float:
        """Seconds since something new was committed (or since the start)."""
        return self._clock.now() - self._changed_at

    # ---- the library's thread ----

    def _new_client(self, tls: ssl.SSLContext | None) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"hub-{os.urandom(6).hex()}", protocol=MQTTv5
        )
        client.reconnect_delay_set(1, 5)  # one receiver, beside its broker: nobody to be polite to
        if tls is not None:
            client.tls_set_context(tls)
        client.on_connect = lambda found, _u, _f, code, _p: self._on_connect(found, code.value)
        client.on_disconnect = lambda _c, _u, _f, _code, _p: self._connected.clear()
        client.on_message = lambda _c, _u, message: self._on_message(message)
        return client

    def _on_connect(self, client: Client, code: int) -> None:
        if code == 0:
            client.subscribe(ALL, options=SubscribeOptions(qos=1, noLocal=True))
            self._connected.set()
            self._ever_connected = True

    def _on_message(self, message: MQTTMessage) -> None:
        """Queue it; a full queue holds up the broker, which is what flow control is for."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        found: object = getattr(message.properties, "UserProperty", [])
        pairs = found if isinstance(found, list) else []
        properties = tuple((str(name), str(value)) for name, value in pairs)
        came = _Came(topic, bytes(message.payload), properties)
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._came.put(came, timeout=ROUND_S)
                return

    # ---- own thread ----

    def _work(self) -> None:
        try:
            if self._sql is not None:
                self._serve(self._sql)
        except Exception as error:  # noqa: BLE001 - the thread's top: what was not committed is not acknowledged
            self._failure = f"{type(error).__name__}: {error}"
            self._stopping.set()
            if self._client is not None:
                self._client.disconnect()  # the broker is to tell boxes that nobody listens any more
            self._tell()

    def _serve(self, sql: sqlite3.Connection) -> None:
        was_connected = False
        while True:
            came, ended = self._take()
            if came:
                self._commit(sql, came)
            if self._connected.is_set() and not was_connected:
                for (
                    box
                ) in self._boxes.values():  # a broker that lost its memory lost the watermarks too
                    box.ack_due = box.epoch is not None
            changed = bool(came) or self._connected.is_set() != was_connected
            was_connected = self._connected.is_set()
            self._acknowledge(all_now=ended)
            if changed:
                self._tell()
            if ended:
                return

    def _take(self) -> tuple[list[_Came], bool]:
        """What has come, as many as one commit is good for; and whether that was all."""
        came: list[_Came] = []
        with contextlib.suppress(queue.Empty):
            item = self._came.get(timeout=TAKE_S)
            while item is not None:
                came.append(item)
                if len(came) >= TAKE_MESSAGES:
                    return came, False
                item = self._came.get_nowait()
            return came, True
        return came, False

    def _commit(self, sql: sqlite3.Connection, came: Sequence[_Came]) -> None:
        """One transaction. Pictures are written and destroyed before its end: if it fails, all of it comes again."""
        with sql:
            for message in came:
                self._receive(sql, message)

    def _receive(self, sql: sqlite3.Connection, came: _Came) -> None:
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
                pass  # our own words, and replies

    def _presence(
        self, sql: sqlite3.Connection, box: str, told: wire.Presence | wire.Fault
    ) -> None:
        if isinstance(told, wire.Fault):
            self._fault(box, told.why)
            return
        known = self._boxes.setdefault(box, _Box())
        known.online, known.simulated, known.version = told.online, told.simulated, told.version
        if told.epoch is not None and told.epoch != known.epoch:
            known.epoch = told.epoch
            known.fresh.clear()
        if told.online and told.epoch is not None:
            known.ack_due, known.acked_at = True, -1e9  # it waits for our word
            if told.oldest_seq is not None and told.oldest_seq > 1:
                self._gone(sql, (box, told.epoch), [(1, told.oldest_seq - 1)])
        sql.execute(
            "INSERT OR REPLACE INTO box VALUES (?, ?, ?, ?, ?, ?)",
            (box, known.epoch, told.online, told.simulated, told.version, self._clock.wall()),
        )

    def _camera(self, sql: sqlite3.Connection, box: str, camera: str, payload: bytes) -> None:
        state = wire.arrived_camera(payload)
        if isinstance(state, wire.Fault):
            self._fault(f"{box}/camera/{camera}", state.why)
            return
        self._boxes.setdefault(box, _Box()).cameras[camera] = state
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
        key = (box, record.epoch)
        known = self._boxes.setdefault(box, _Box())
        known.epoch = known.epoch or record.epoch
        known.ack_due = True
        known.unacked += 1
        if record.epoch == known.epoch:
            known.fresh.add(record.seq)  # also if it came before: the box has not heard that
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
            self._duplicates += 1
            if path is not None and path.endswith(".jpg"):
                # It may have come before anybody here knew the identity that opens it.
                where = "box = ? AND epoch = ? AND seq = ? AND picture LIKE '%.age'"
                sealed = f"UPDATE record SET picture = ? WHERE {where}"  # noqa: S608 - constants alone
                sql.execute(sealed, (path, box, record.epoch, record.seq))
            return
        known.records += 1
        known.pictures += path is not None
        self._withdrawn += path is None and record.jpeg is not None
        known.kinds[record.kind] = known.kinds.get(record.kind, 0) + 1
        self._ranges.setdefault(key, Ranges()).add(record.seq, record.seq)
        self._gone(sql, key, wire.accounted_for(record))
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
        _write_whole(self._folder / relative, picture)
        return str(relative)

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
        self._withdrawn += changed
        self._boxes[box].pictures -= changed
        # Every file that no row names goes: these, and what a crash left, whole or half, before its row was committed.
        # One walk for all of them, as a box that has run for a month has some hundred thousand files here.
        named = "SELECT picture FROM record WHERE box = ? AND picture NOT NULL"
        kept = {path for (path,) in sql.execute(named, (box,))}
        folder = self._folder.joinpath("pictures", *box.split("/")[2:])
        for path in folder.glob("*/*/*"):
            if str(path.relative_to(self._folder)) not in kept:
                path.unlink(missing_ok=True)

    def _gone(self, sql: sqlite3.Connection, key: _Key, ranges: Iterable[tuple[int, int]]) -> None:
        for first, last in ranges:
            self._ranges.setdefault(key, Ranges()).add(first, last)
            # Each birth says "nothing below n" with a higher n: one row for that, not one for each birth.
            inside = "DELETE FROM gone WHERE box = ? AND epoch = ? AND first >= ? AND first <= ? AND last <= ?"
            sql.execute(inside, (*key, first, last, last))
            sql.execute("INSERT INTO gone VALUES (?, ?, ?, ?)", (*key, first, last))

    def _fault(self, place: str, why: str) -> None:
        self._faults += 1
        self._last_fault = f"{place[:200]}: {why}"

    # ---- the watermark ----

    def _acknowledge(self, *, all_now: bool) -> None:
        """Publish what each box waits for: after the commit, never before."""
        client = self._client
        if client is None or not self._connected.is_set():
            return
        now = self._clock.now()
        for name, box in self._boxes.items():
            soon = all_now or box.unacked >= ACK_RECORDS or now - box.acked_at >= ACK_S
            if not box.ack_due or box.epoch is None or not soon:
                continue
            mark = self._mark(name, box, box.epoch)
            payload = wire.watermark(mark)
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = wire.JSON_CONTENT
            client.publish(f"{name}/ack", payload, qos=1, retain=True, properties=properties)
            box.ack_due, box.unacked, box.acked_at = bool(box.fresh), 0, now

    def _mark(self, name: str, box: _Box, epoch: str) -> wire.Watermark:
        """A watermark of bounded size.

        Pictures of a camera that is held wait on the box between what has come: more gaps than a watermark has room for.
        What came beyond those is named by itself, or the box would keep it and fall silent; the rest of it in the next.
        """
        ranges = self._ranges.setdefault((name, epoch), Ranges())
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

    def _recall(self, sql: sqlite3.Connection) -> None:
        """Read back what an earlier run committed."""
        for box, epoch, online, simulated, version, _ in sql.execute("SELECT * FROM box"):
            self._boxes[box] = _Box(
                epoch=epoch, online=bool(online), simulated=bool(simulated), version=version
            )
        islands = (
            "SELECT box, epoch, MIN(seq), MAX(seq) FROM (SELECT box, epoch, seq, seq - ROW_NUMBER() OVER "
            "(PARTITION BY box, epoch ORDER BY seq) AS island FROM record) GROUP BY box, epoch, island "
            "UNION ALL SELECT box, epoch, first, last FROM gone"
        )
        for box, epoch, first, last in sql.execute(islands):
            self._ranges.setdefault((box, epoch), Ranges()).add(first, last)
        counts = (
            "SELECT box, kind, COUNT(*), COUNT(picture), MAX(epoch) FROM record GROUP BY box, kind"
        )
        for box, kind, records, pictures, epoch in sql.execute(counts):
            known = self._boxes.setdefault(box, _Box(epoch=epoch))
            known.kinds[kind] = records
            known.records += records
            known.pictures += pictures
        for box, camera, state, _ in sql.execute("SELECT * FROM camera"):
            self._boxes.setdefault(box, _Box()).cameras[camera] = json.loads(state)

    def _tell(self) -> None:
        before = self._summary
        summary = Summary(
            connected=self._connected.is_set(),
            boxes=tuple(self._box_summary(name, box) for name, box in sorted(self._boxes.items())),
            duplicates=self._duplicates,
            withdrawn=self._withdrawn,
            faults=self._faults,
            last_fault=self._last_fault,
            failure=self._failure,
        )
        with self._lock:
            self._summary = summary
        if summary != before:
            self._changed_at = self._clock.now()
            if self._on_change is not None:
                self._on_change(summary)

    def _box_summary(self, name: str, box: _Box) -> BoxSummary:
        ranges = self._ranges.get((name, box.epoch or ""), Ranges())
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
                CameraSummary(id=id_, state=state) for id_, state in sorted(box.cameras.items())
            ),
        )


def _open(path: Path) -> sqlite3.Connection:
    sql = sqlite3.connect(path, check_same_thread=False)  # opened by `start`, used by one thread
    sql.execute("PRAGMA journal_mode = WAL").fetchall()
    sql.execute("PRAGMA synchronous = FULL").fetchall()
    sql.executescript(_SCHEMA)
    return sql


def _write_whole(path: Path, content: bytes) -> None:
    """The file is there with all of *content*, or not at all; on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    whole.sync_folder(path.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Which pictures of a boot are asked back: from `first` to `last`, or (`first` None) the last `length_s` that came."""

    boot: str
    first: float | None = None
    last: float = math.inf
    length_s: float = 0.0


def withdrawal(record: wire.Arrived) -> Withdrawal | None:
    """What a record of kind `privacy.withdraw` asks for; None if that cannot be read."""
    match json.loads(record.data):
        case {"boot": str(boot), "from_s": int() | float() as since} if _is_moment(since):
            # What was taken after the record was made was released after that press; a boot before its own is over.
            last = record.at if boot == record.boot else math.inf
            return Withdrawal(boot=boot, first=float(since), last=last)
        case {"boot": str(boot), "newest_s": int() | float() as length} if _is_moment(length):
            return Withdrawal(boot=boot, length_s=max(0.0, float(length)))
        case _:
            return None


def _is_moment(value: float) -> bool:
    return not isinstance(value, bool) and abs(value) < _LONGEST_S


# ---- orders, for tests and the demo ----


def sign(claims: Json, private_key_pem: bytes) -> bytes:
    """Claims as a compact JWS, signed with an Ed25519 key, as a box expects a policy or a command."""
    from joserfc import jws  # noqa: PLC0415 - heavy, and only a hub that gives orders needs it
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    key = OKPKey.import_key(private_key_pem)
    text = json.dumps(claims, separators=(",", ":"))
    return jws.serialize_compact({"alg": "Ed25519"}, text, key, algorithms=["Ed25519"]).encode()


# ---- the command ----


def main(argv: list[str]) -> int:
    """`edge-agent hub`. Exit code: 0 complete; 1 something is missing or unreadable; 2 not started or never connected."""
    options = _options(argv)
    try:
        tls = _tls(options)
        opener = Opener(options.identity) if options.identity is not None else None
        receiver = Receiver(
            host=options.host,
            port=options.port,
            folder=options.folder,
            clock=SystemClock(),
            tls=tls,
            opener=opener,
        )
        if options.import_from is not None:
            return _import(receiver, options.import_from, as_json=options.json)
        receiver.start()
    except (OSError, sqlite3.Error, ValueError, SealError, StickError) as error:
        print(f"edge-agent hub: {error}", file=sys.stderr)
        return 2
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _show(receiver, options)
    finally:
        receiver.stop()
    summary = receiver.summary()
    if options.once is not None:
        _print(summary, as_json=options.json)
    if summary.failure:
        print(f"edge-agent hub: gave up: {summary.failure}", file=sys.stderr)
    if not receiver.ever_connected:
        print(
            f"edge-agent hub: no broker answered at {options.host}:{options.port}", file=sys.stderr
        )
        return 2
    return 0 if summary.complete else 1


def _import(receiver: Receiver, folder: Path, *, as_json: bool) -> int:
    """Take in what a technician brought on a stick, and say what came of it."""
    try:
        imported = receiver.take_in(folder)
    finally:
        receiver.stop()
    summary = receiver.summary()
    if as_json:
        told: list[Json] = [
            {
                "box": one.box,
                "epoch": one.epoch,
                "new": one.new,
                "duplicates": one.duplicates,
                "missing": one.missing,
                "simulated": one.simulated,
                "finished": one.finished,
            }
            for one in imported
        ]
        body: dict[str, Json] = {
            "imported": told,
            "faults": summary.faults,
            "last_fault": summary.last_fault,
        }
        print(json.dumps(body), flush=True)
    else:
        for one in imported:
            simulated = " SIMULATED" if one.simulated else ""
            rest = "" if one.finished else "; the box was not done writing"
            print(
                f"{one.box}{simulated}, epoch {one.epoch[:8]}: {one.new} new records, {one.duplicates} known already,"
                f" {one.missing} missing{rest}"
            )
        if summary.faults:
            print(f"! {summary.faults} could not be read, the last: {summary.last_fault}")
    return 1 if summary.faults or any(one.missing for one in imported) else 0


class _Options(argparse.Namespace):
    host: str
    port: int
    folder: Path
    ca: str | None
    cert: str | None
    key: str | None
    identity: Path | None
    once: float | None
    import_from: Path | None
    json: bool


def _options(argv: list[str]) -> _Options:
    parser = argparse.ArgumentParser(
        prog="edge-agent hub",
        description="Receive what boxes send, commit it, acknowledge it. A reference for those who build the city's side.",
        epilog="Exit codes: 0 complete; 1 something is missing or could not be read; 2 not started or never connected.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="the MQTT 5 broker (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=0, help="default: 1883, or 8883 with --ca")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("hub"),
        help="where to keep everything (default: ./%(default)s)",
    )
    parser.add_argument("--ca", metavar="PEM", help="CA of the broker: speak TLS")
    parser.add_argument("--cert", metavar="PEM", help="client certificate of this receiver")
    parser.add_argument("--key", metavar="PEM", help="its private key")
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE",
        help="open sealed pictures with the age identity in FILE; without it they are kept as .age files",
    )
    parser.add_argument(
        "--once",
        type=float,
        nargs="?",
        const=ONCE_S,
        metavar="S",
        help=f"stop when nothing new came for S seconds (default: {ONCE_S:.0f}), and say what there is",
    )
    parser.add_argument(
        "--import",
        dest="import_from",
        type=Path,
        metavar="FOLDER",
        help="take in what `edge-agent journal export` wrote there, instead of listening; stop the receiver of the same --folder first",
    )
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    options = parser.parse_args(argv, namespace=_Options())
    if not options.port:
        options.port = 8883 if options.ca else 1883
    return options


def _tls(options: _Options) -> ssl.SSLContext | None:
    """What --ca, --cert and --key ask for; `ValueError` or `OSError` names what is wrong."""
    if options.ca is None:
        if options.cert or options.key:
            msg = "--cert and --key need --ca, the CA of the broker"
            raise ValueError(msg)
        return None
    if bool(options.cert) != bool(options.key):
        msg = "--cert and --key go together"
        raise ValueError(msg)
    context = ssl.create_default_context(cafile=options.ca)
    if options.cert:
        context.load_cert_chain(options.cert, options.key)
    return context


def _show(receiver: Receiver, options: _Options) -> None:
    """Until it is told to stop, or (with --once) nothing new comes."""
    if options.once is not None:
        while receiver.quiet_for() < options.once and not receiver.wait_stopped(ROUND_S / 2):
            pass
    elif options.json:
        shown = None
        while not receiver.wait_stopped(ROUND_S):
            summary = receiver.summary()
            if summary != shown:
                _print(summary, as_json=True)
                shown = summary
    else:
        from rich.live import Live  # noqa: PLC0415 - a terminal only

        with Live(_table(receiver.summary()), refresh_per_second=2) as live:
            while not receiver.wait_stopped(ROUND_S):
                live.update(_table(receiver.summary()))


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(to_json(summary), separators=(",", ":")), flush=True)
        return
    from rich.console import Console  # noqa: PLC0415

    Console().print(_table(summary))


def to_json(summary: Summary) -> dict[str, Json]:
    """A summary for machines; keys are stable."""
    boxes: list[Json] = [
        {
            "box": box.box,
            "online": box.online,
            "simulated": box.simulated,
            "version": box.version,
            "epoch": box.epoch,
            "records": box.records,
            "pictures": box.pictures,
            "upto": box.upto,
            "missing": box.missing,
            "kinds": dict(box.kinds),
            "cameras": {camera.id: camera.state for camera in box.cameras},
        }
        for box in summary.boxes
    ]
    return {
        "connected": summary.connected,
        "complete": summary.complete,
        "duplicates": summary.duplicates,
        "withdrawn": summary.withdrawn,
        "faults": summary.faults,
        "last_fault": summary.last_fault,
        "failure": summary.failure,
        "boxes": boxes,
    }


def _table(summary: Summary) -> Table:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    state = "connected" if summary.connected else "not connected to the broker"
    caption = f"{state} · {summary.duplicates} duplicates · {summary.withdrawn} withdrawn"
    if summary.faults:
        caption += f" · {summary.faults} unreadable, last: {summary.last_fault}"
    table = Table(title="hub", caption=escape(caption), expand=True)
    for column in ("box", "state", "records", "pictures", "missing", "camera", "gate", "notice"):
        table.add_column(column, overflow="fold")
    for box in summary.boxes:
        words = [
            escape(box.box.removeprefix(f"{wire.ROOT}/")),
            ("online" if box.online else "offline") + (", simulated" if box.simulated else ""),
            *map(str, (box.records, box.pictures, box.missing)),
        ]
        rows = [
            [camera.id, _word(camera.state, "gate"), _word(camera.state, "notice")]
            for camera in box.cameras
        ] or [["", "", ""]]
        for place, row in enumerate(rows):
            table.add_row(*(words if place == 0 else [""] * len(words)), *map(escape, row))
    return table


def _word(state: Json, key: str) -> str:
    """What a camera's state says under *key*, short and printable; a notice in two languages shows the English one."""
    found = state.get(key) if isinstance(state, dict) else None
    if isinstance(found, dict):
        found = found.get("en")
    text = "" if found is None else str(found)[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
