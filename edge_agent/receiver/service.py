"""The receiver at a broker: subscribes, has everything committed, and only then acknowledges.

Promises: a record is acknowledged only after it is committed to disk; what the disk does not take is not acknowledged, and the
receiver says so and leaves, so that boxes hear that nobody listens.
Three threads: whoever calls, the library's, and the one that owns the store.
Not its job: what is kept and how (store.py), deciding on orders.
"""

from __future__ import annotations

import contextlib
import queue
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.clock import Clock
from edge_agent.core import wire
from edge_agent.receiver.line import Line
from edge_agent.receiver.store import Came, Imported, Store
from edge_agent.receiver.summary import Summary
from edge_agent.seal import Opener

ALL: Final = f"{wire.ROOT}/#"
ACK_S: Final = 1.0  # a watermark a second for each box that sends ...
ACK_RECORDS: Final = 1_000  # ... or sooner, so that a box draining its backlog is never held up
TAKE_MESSAGES: Final = 200
TAKE_S: Final = 0.2
ROUND_S: Final = 0.5
STOP_S: Final = 10.0
WAITING_MESSAGES: Final = 500


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
        self._host = host
        self._port = port
        self._folder = folder
        self._clock = clock
        self._opener = opener
        self._on_change = on_change
        self._came: queue.Queue[Came | None] = queue.Queue(WAITING_MESSAGES)
        self._connected = threading.Event()
        self._ever_connected = self._told_connected = False
        self._stopping = threading.Event()
        self._stopped = False
        self._changed_at = clock.now()
        self._lock = threading.Lock()
        self._summary = Summary(connected=False)

        self._failure = ""
        self._store: Store | None = None
        self._client: Line | None = self._new_client(tls)
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
        self._store = Store(self._folder, self._clock, self._opener)
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
        if self._store is not None and not self._thread.is_alive():
            self._store.close()

    def take_in(self, folder: Path) -> list[Imported]:
        """In place of `start`: commit every export in *folder* as if it had come over the wire, as history; no broker is asked.

        `StickError` if there is none; what is damaged in one is counted as a fault. OSError, `sqlite3.Error`: our own folder.
        """
        self._store = Store(self._folder, self._clock, self._opener)
        imported = self._store.take_in(folder)
        self._tell()
        return imported

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

    def _new_client(self, tls: ssl.SSLContext | None) -> Line:
        client = Line(tls)
        client.on_connect = lambda _c, _u, _f, code, _p: self._on_connect(client, code)
        client.on_disconnect = lambda _c, _u, flags, code, _p: self._on_disconnect(
            client, code, said=flags.is_disconnect_packet_from_server
        )
        client.on_message = lambda _c, _u, message: self._on_message(message)
        return client

    def _on_connect(self, client: Line, code: ReasonCode) -> None:
        if client.answered(code.value, str(code)):
            client.subscribe(ALL, options=SubscribeOptions(qos=1, noLocal=True))
            self._connected.set()
            self._ever_connected = True

    def _on_disconnect(self, client: Line, code: ReasonCode, *, said: bool) -> None:
        if not self._failure:  # or it is we who leave
            was_up = self._connected.is_set()
            client.cut(was_up=was_up, code=code.value if said else 0, name=str(code))
        self._connected.clear()

    def _on_message(self, message: MQTTMessage) -> None:
        """Queue it; a full queue holds up the broker, which is what flow control is for."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        found: object = getattr(message.properties, "UserProperty", [])
        pairs = found if isinstance(found, list) else []
        properties = tuple((str(name), str(value)) for name, value in pairs)
        came = Came(topic, bytes(message.payload), properties, message.retain)
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._came.put(came, timeout=ROUND_S)
                return

    # ---- own thread ----

    def _work(self) -> None:
        try:
            if self._store is not None:
                self._serve(self._store)
        except Exception as error:  # noqa: BLE001 - the thread's top: what was not committed is not acknowledged
            self._failure = f"{type(error).__name__}: {error}"
            self._stopping.set()
            if self._client is not None:
                self._client.disconnect()  # the broker is to tell boxes that nobody listens any more
            self._tell()

    def _serve(self, store: Store) -> None:
        was_connected = False
        while True:
            came, ended = self._take()
            if came:
                store.commit(came)
            if self._connected.is_set() and not was_connected:
                # A broker that lost its memory lost the watermarks too.
                store.ack_due.update(store.boxes)
            changed = bool(came) or self._connected.is_set() != was_connected
            changed = changed or self._why_not() != self._summary.not_connected
            was_connected = self._connected.is_set()
            if changed:
                self._tell()  # first: whoever hears the acknowledgement may look at once
            self._acknowledge(store, all_now=ended)
            if ended:
                return

    def _take(self) -> tuple[list[Came], bool]:
        """What has come, as many as one commit is good for; and whether that was all."""
        came: list[Came] = []
        with contextlib.suppress(queue.Empty):
            item = self._came.get(timeout=TAKE_S)
            while item is not None:
                came.append(item)
                if len(came) >= TAKE_MESSAGES:
                    return came, False
                item = self._came.get_nowait()
            return came, True
        return came, False

    def _acknowledge(self, store: Store, *, all_now: bool) -> None:
        """Publish what each box waits for: after the commit, never before."""
        client = self._client
        if client is None or not self._connected.is_set():
            return
        now = self._clock.now()
        for name in sorted(store.ack_due):
            box = store.boxes[name]
            soon = all_now or box.unacked >= ACK_RECORDS or now - box.acked_at >= ACK_S
            if box.epoch is None or not soon:
                continue
            payload = wire.watermark(store.mark(name, box.epoch))
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = wire.JSON_CONTENT
            client.publish(f"{name}/ack", payload, qos=1, retain=True, properties=properties)
            box.unacked, box.acked_at = 0, now
            if not box.fresh:
                store.ack_due.discard(name)

    def _tell(self) -> None:
        store, before = self._store, self._summary
        if store is None:
            return
        summary = Summary(
            connected=self._connected.is_set(),
            boxes=store.summaries(),
            duplicates=store.duplicates,
            withdrawn=store.withdrawn,
            faults=store.faults,
            last_fault=store.last_fault,
            failure=self._failure,
            not_connected=self._why_not(),
        )
        with self._lock:
            self._summary = summary
        if summary == before:
            return
        # A line that comes and goes brings nothing; but what it brings first has its time to come.
        line = replace(before, connected=summary.connected, not_connected=summary.not_connected)
        if summary != line or (summary.connected and not self._told_connected):
            self._changed_at = self._clock.now()
        self._told_connected = self._told_connected or summary.connected
        if self._on_change is not None:
            self._on_change(summary)

    def _why_not(self) -> str:
        client = self._client
        return "" if client is None or self._connected.is_set() else client.why
