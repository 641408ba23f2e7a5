"""The city's side of the demo: the product's own receiver, somebody who gives orders, and a look into the files it keeps.

Promises: what the acts are judged by is read from the receiver's database and picture files, not from what the receiver or
the box say of themselves; an order is signed with the key whose public half the box was given.
Threads: any; a look takes milliseconds, and only after the receiver has committed something new.
Not its job: judging (evidence.py), committing and acknowledging (edge_agent/receiver).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paho.mqtt import publish
from paho.mqtt.client import MQTTv5

from edge_agent.clock import Clock
from edge_agent.core import wire
from edge_agent.core.messages import Json, Rank
from edge_agent.core.settings import Identity
from edge_agent.demo.evidence import Received
from edge_agent.demo.facts import Facts
from edge_agent.receiver import BoxSummary, Receiver, Summary, sign

if TYPE_CHECKING:
    from types import TracebackType

_LOOPBACK: Final = "127.0.0.1"
_ORDER_S: Final = 10
_ORDER_STANDS: Final = frozenset({"work_order.opened", "work_order.updated", "work_order.reminded"})
_RECORDS: Final = "SELECT epoch, seq, kind, rank, camera, lane, at, time, received, data, picture FROM record ORDER BY seq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One record as the hub's database has it; `picture` is where its picture lies, None if it has none (any more)."""

    seq: int
    kind: str
    rank: int
    camera: str | None
    lane: str
    at: float
    made_wall_s: float
    received_wall_s: float
    data: Facts
    picture: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """What a technician is sent out with."""

    camera: str
    metres: float
    bring: tuple[str, ...]
    text: str


class City:
    """A context manager; the receiver runs in this process, on threads of its own."""

    def __init__(
        self,
        *,
        port: int,
        folder: Path,
        identity: Identity,
        key_pem: bytes,
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        """*changed* is called, from the receiver's thread, whenever it has committed something."""
        self.folder = folder
        self._port = port
        self._identity = identity
        self._key_pem = key_pem
        self._changed = changed
        self._orders = 0
        self._lock = threading.Lock()
        self._stale = True
        self._kept: tuple[Kept, ...] = ()
        self._receiver = Receiver(
            host=_LOOPBACK, port=port, folder=folder, clock=clock, on_change=self._on_change
        )

    def __enter__(self) -> City:
        self._receiver.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._receiver.stop()

    def _on_change(self, summary: Summary) -> None:
        del summary
        with self._lock:
            self._stale = True
        self._changed()

    # ---- orders ----

    def suspend(self, *, now_wall_s: float, until_wall_s: float) -> None:
        """Publish a signed, retained policy: no traffic from this box until then. OSError if the broker is away."""
        self._orders += 1
        claims: Json = {
            "v": 1,
            "kind": "policy",
            "aud": wire.prefix(self._identity),
            "number": self._orders,
            "suspended_until": until_wall_s,
            "issued": now_wall_s,  # a box whose clock nothing vouches for counts from here
            "reason_id": "peragaan",
            "reason_en": "demonstration",
        }
        publish.single(
            wire.topic(self._identity, "policy"),
            sign(claims, self._key_pem),
            qos=1,
            retain=True,
            hostname=_LOOPBACK,
            port=self._port,
            keepalive=_ORDER_S,
            client_id="city-orders",
            protocol=MQTTv5,
        )

    # ---- what it has ----

    def records(self) -> tuple[Kept, ...]:
        """Every record committed so far, in order of seq."""
        self._look()
        return self._kept

    def pictures(self) -> tuple[Received, ...]:
        """Every picture that the hub has now, with its bytes as they lie in its files."""
        found = (_received(kept) for kept in self.records())
        return tuple(picture for picture in found if picture is not None)

    def pictures_of(self, camera: str) -> int:
        """How many pictures of *camera* ever came; withdrawn ones count, so the number only grows."""
        return sum(kept.camera == camera and kept.rank == Rank.PICTURE for kept in self.records())

    def newest(self, camera: str) -> Received | None:
        """The newest picture of *camera* that is still there."""
        found = (_received(kept) for kept in reversed(self.records()) if kept.camera == camera)
        return next((picture for picture in found if picture is not None), None)

    def slowest_news_s(self, *, since: float) -> float | None:
        """Longest way from making to committing, of what was made after *since* (boot seconds); None if nothing was."""
        ways = [
            kept.received_wall_s - kept.made_wall_s for kept in self.records() if kept.at >= since
        ]
        return max(ways, default=None)

    def work_order(self, camera: str) -> WorkOrder | None:
        """The newest work order for the cable of *camera*."""
        orders = [
            kept for kept in self.records() if kept.camera == camera and kept.kind in _ORDER_STANDS
        ]
        return _work_order(orders[-1]) if orders else None

    def work_orders(self) -> tuple[str, ...]:
        """What is to be mended now, in words."""
        broken: dict[str, Kept] = {}
        for kept in self.records():
            order = kept.data["order"].text()
            if kept.kind in _ORDER_STANDS:
                broken[order] = kept
            elif kept.kind == "work_order.closed":
                broken.pop(order, None)
        return tuple(_work_order(kept).text for kept in broken.values())

    # ---- what the box says of itself ----

    def _box(self) -> BoxSummary | None:
        wanted = wire.prefix(self._identity)
        return next((box for box in self._receiver.summary().boxes if box.box == wanted), None)

    def presence(self) -> str:
        """Online, offline, or not heard of yet."""
        box = self._box()
        if box is None:
            return "not heard of yet"
        return "online" if box.online else "offline"

    def is_online(self) -> tuple[bool, str]:
        """Whether the box said that it is there."""
        return self.presence() == "online", f"the hub calls it {self.presence()}"

    def is_offline(self) -> tuple[bool, str]:
        """Whether the box said farewell."""
        return self.presence() == "offline", f"the hub calls it {self.presence()}"

    def says_simulated(self) -> bool:
        """Whether the box says that its street is not real."""
        box = self._box()
        return box is not None and box.simulated

    def camera_state(self, camera: str) -> Facts:
        """The retained state of *camera*, as the box published it."""
        box = self._box()
        states = {} if box is None else {entry.id: entry.state for entry in box.cameras}
        return Facts(states.get(camera))

    def duplicates(self) -> int:
        """How often a record came that was there already, and was kept once."""
        return self._receiver.summary().duplicates

    # ---- the database ----

    def _look(self) -> None:
        """Read what was committed since the last look."""
        with self._lock:
            if not self._stale:
                return
            self._stale = False
            # Read only: the receiver alone writes, and a look must never hold it up (WAL).
            sql = sqlite3.connect(f"{(self.folder / 'hub.sqlite').as_uri()}?mode=ro", uri=True)
            try:
                rows = sql.execute(_RECORDS).fetchall()
            finally:
                sql.close()
            self._kept = tuple(
                Kept(
                    seq=seq,
                    kind=kind,
                    rank=rank,
                    camera=camera,
                    lane=lane,
                    at=at,
                    made_wall_s=datetime.fromisoformat(time).timestamp(),
                    received_wall_s=received,
                    data=Facts.parse(data),
                    picture=None if picture is None else self.folder / picture,
                )
                for _, seq, kind, rank, camera, lane, at, time, received, data, picture in rows
            )


def _received(kept: Kept) -> Received | None:
    """Its picture; None if it has none, or if that was withdrawn since the look."""
    if kept.picture is None or kept.camera is None:
        return None
    try:
        jpeg = kept.picture.read_bytes()
    except FileNotFoundError:
        return None
    return Received(camera=kept.camera, seq=kept.seq, lane=kept.lane, at=kept.at, jpeg=jpeg)


def _work_order(kept: Kept) -> WorkOrder:
    bring = tuple(item.text() for item in kept.data["bring"]["en"].items())
    place, cause = kept.data["place"].text(), kept.data["cause"].text().replace("_", " ")
    return WorkOrder(
        camera=kept.camera or "",
        metres=kept.data["bring_m"].number(),
        bring=bring,
        text=f"{kept.camera or 'box'}, {place}: {cause}; bring {', '.join(bring)}",
    )
