"""When to connect, what to send next, and when a record may be forgotten.

Promises:
- A record is settled only on the hub's watermark for its own epoch (or, in `broker` mode, on a PUBACK that says success).
- Fresh news is never behind the backlog: lanes are served in the order of `Lane`, and history may fill only a small part
  of the window, so that even on a thin line a live record waits for about a second of it.
- A picture is fetched and handed on only while its camera is among the open ones; one that waits here is dropped the
  moment its camera closes, and fetched again when it opens.
- At most `MAX_IN_FLIGHT` messages (less if the broker says so) and about 1 MB are unanswered; one fetch per lane.
- What the hub refuses is kept, reported and tried again slowly; it never blocks anything else.
- Thousands of boxes that lost one hub come back spread over its window, not all at once.
Time is an argument, chance too. Commands are carried out in the order given (a `Settle` before the `Fetch` behind it).
Not its job: sockets (hub.py), payloads (wire.py), whether a gate is open (gate.py), words for findings (words.py).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from edge_agent.core import wire
from edge_agent.core.messages import (
    Command,
    Committed,
    Connect,
    Delivered,
    Disconnect,
    Event,
    Fetch,
    Fetched,
    FindingKey,
    Lane,
    LinkDown,
    LinkUp,
    Message,
    NotSent,
    Purged,
    Rank,
    Send,
    Settle,
    Stored,
)
from edge_agent.core.settings import Identity, Settlement
from edge_agent.core.wire import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# ---- connecting (UPLINK.md 4b: the first retry decides whether a hub drowns, not the cap) ----
WINDOW_S: Final = 120.0  # 10,000 boxes over 120 s stay below 100 handshakes a second
CAP_S: Final = 300.0
START_S: Final = 2.0  # boots are spread by themselves
LOCAL_S: Final = 5.0  # a cable out beside the box, or a broker on it, troubles no hub
STABLE_S: Final = 900.0
STABLE_LOCAL_S: Final = 60.0
WEDGED_S: Final = 60.0  # nothing answered for so long while something waits for an answer
UNANSWERED_S: Final = 300.0  # one message without an answer although others get theirs

# ---- how much at once ----
MAX_IN_FLIGHT: Final = 20
MAX_FLIGHT_BYTES: Final = 1_000_000
# At 1 Mbit/s this is a second of the line; at 8 Mbit/s and 100 ms round trip it still fills the line.
MAX_HISTORY_BYTES: Final = 128_000
BATCH_RECORDS: Final = 200
BATCH_BYTES: Final = 60_000
PICTURES_AT_ONCE: Final = 4
PICTURES_BYTES: Final = 500_000
HISTORY_AWAITS_RECORDS: Final = 5_000
HISTORY_AWAITS_BYTES: Final = 32_000_000
LIVE_AWAITS_RECORDS: Final = 20_000
LIVE_AWAITS_BYTES: Final = 64_000_000

# ---- how long to wait ----
ACK_WAIT_S: Final = 2.0  # the retained watermark comes right behind the subscription
ACK_WAIT_FROM: Final = 200  # for fewer records than one batch the wait costs more than sending them twice
NOBODY_S: Final = 60.0
REFUSED_S: Final = 900.0
MISSING_S: Final = 30.0  # PUBACKed so long ago and still missing at the hub
SILENT_S: Final = 60.0
FETCH_S: Final = 60.0
MAX_PARKED: Final = 5_000

NOBODY: Final = 0x10
FIRST_FAILURE: Final = 0x80
PAYLOAD_INVALID: Final = 0x99


class Link(Enum):
    """Where the connection stands."""

    OFF = "off"  # not started, or stopped
    WAITING = "waiting"  # until the next attempt
    CONNECTING = "connecting"
    UP = "up"
    CLOSING = "closing"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A finding the link has now; at most one per key."""

    key: FindingKey
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the link looks like now, for people and tests."""

    link: Link
    since: float
    cause: str  # why it is not up; "" if it is
    retry_at: float | None
    lanes: tuple[Lane, ...]  # those with something to send
    in_flight: int
    in_flight_bytes: int
    awaiting: int  # answered by the broker, not yet by the hub
    parked: int  # refused or too large; kept, tried again slowly
    last_delivered_at: float | None
    settled_upto: int
    ignored: str  # why the last watermark was not obeyed; "" if none was ignored


@dataclass(slots=True, kw_only=True)
class _Ready:
    """A message made and waiting for room."""

    message: Message
    size: int
    lane: Lane
    epoch: str
    sizes: tuple[tuple[int, int], ...]  # (seq, bytes) of each record within
    solo: bool = False


@dataclass(slots=True, kw_only=True)
class _Flight:
    """A message handed to the link; `ready` None = a retained state."""

    ready: _Ready | None
    topic: str
    size: int
    sent_at: float


@dataclass(slots=True)
class _Queue:
    """One stream of records in order of seq: a lane, or one camera's share of a picture lane."""

    after: int = 0
    more: bool = False

    def back_to(self, seq: int) -> None:
        """Fetch again from *seq* on."""
        self.after = min(self.after, seq - 1)
        self.more = True


@dataclass(slots=True)
class _LaneState:
    """What a lane is doing besides its queues."""

    fetch: Fetch | None = None
    fetch_at: float = 0.0
    fetch_seen: int = 0  # last_seq when it was asked
    void: bool = False  # the answer is of no use any more
    ready: deque[_Ready] = field(default_factory=deque)
    blocked_until: float = -math.inf


@dataclass(slots=True)
class _Awaited:
    """A record the broker has and the hub has not acknowledged."""

    answered_at: float
    size: int


class Uplink:
    """The link's mind. Owner thread only; never blocks; each method returns what is to be done, in order."""

    def __init__(
        self,
        identity: Identity,
        *,
        settle: Settlement,
        loopback: bool,
        boot: str,
        version: str,
        simulated: bool,
        random: Callable[[], float],
        window_s: float = WINDOW_S,
    ) -> None:
        """*random* gives numbers from 0 up to 1; *loopback*: the broker is on this box, so patience serves nobody."""
        self._identity = identity
        self._settle = settle
        self._loopback = loopback
        self._boot = boot
        self._version = version
        self._simulated = simulated
        self._random = random
        self._window_s = window_s

        self._link = Link.OFF
        self._since = 0.0
        self._cause = "not started"
        self._retry_at = math.inf
        self._attempts = 0  # failures since the last stable spell
        self._wanted = False
        self._resume_at = math.inf
        self._suspended = False
        self._up_at = 0.0
        self._max_in_flight = MAX_IN_FLIGHT
        self._max_packet: int | None = None
        self._ack_by = -math.inf  # history waits for the watermark until then

        self._epoch = ""
        self._last_seq = 0
        self._oldest_seq: int | None = None
        self._depth = 0
        self._boundary = 0

        self._lanes = {lane: _LaneState() for lane in Lane}
        self._queues = {lane: _Queue() for lane in (Lane.AUDIT, Lane.LIVE, Lane.HISTORY)}
        self._pictures: dict[tuple[Lane, str], _Queue] = {}
        self._turn: dict[Lane, str] = {}  # the camera served last, per picture lane
        self._open: frozenset[str] = frozenset()
        self._again: set[int] = set()
        self._parked: dict[int, float] = {}  # seq -> when to try it again, alone
        self._held_again: dict[str, set[int]] = {}  # pictures asked for again while their camera is closed

        self._ticket = 0
        self._flight: dict[int, _Flight] = {}
        self._flight_bytes = 0
        self._answered_at = -math.inf
        self._last_delivered_at: float | None = None
        self._states: dict[str, Message] = {}
        self._unsent: dict[str, float] = {}  # topic -> not before

        self._awaiting: dict[int, _Awaited] = {}
        self._awaiting_bytes = 0
        self._mark: Watermark | None = None
        self._settled_upto = 0
        self._progress_at = -math.inf
        self._probe_after_s = SILENT_S
        self._ignored = ""
        self._troubles: dict[FindingKey, str] = {}
        self._too_large: set[int] = set()

    # ---- what the agent tells ----

    def start(self, at: float) -> list[Command]:
        """Want a connection from now on; the first attempt comes within `START_S`."""
        self._wanted = True
        if not self._suspended:
            self._wait(at, self._random() * START_S, "starting")
        return []

    def stop(self, at: float) -> list[Command]:
        """Say farewell and stay away (the process ends)."""
        self._wanted = False
        return self._leave(at, Link.OFF, "stopped")

    def suspend(self, at: float, *, until_at: float | None = None) -> list[Command]:
        """The city wants no traffic: say farewell and stay away until `resume`, or until *until_at* (boot seconds)."""
        self._suspended = True
        self._resume_at = math.inf if until_at is None else until_at
        return self._leave(at, Link.SUSPENDED, "suspended by the city")

    def resume(self, at: float) -> list[Command]:
        """The suspension is over; thousands of others hear it too, so come back spread over the window."""
        if not self._suspended:
            return []
        self._suspended = False
        self._resume_at = math.inf
        if self._wanted and self._link is Link.SUSPENDED:
            self._wait(at, self._random() * self._first_window_s(), "suspension ended")
        return []

    def set_open_cameras(self, cameras: frozenset[str], at: float) -> list[Command]:
        """Pictures of exactly these may be fetched and sent; those of others that wait here are dropped at once."""
        closed, opened = self._open - cameras, cameras - self._open
        self._open = cameras
        if closed:
            self._drop_ready(lambda ready: ready.message.picture_of in closed)
        for camera in opened:
            for lane in (Lane.LIVE_PICTURES, Lane.HISTORY_PICTURES):
                self._picture_queue(lane, camera).more = True
            self._again |= self._held_again.pop(camera, set())
        return self._pump(at)

    def publish_state(self, message: Message, at: float) -> list[Command]:
        """Retained: the newest message of a topic wins, goes out before anything else, and again after a reconnect."""
        self._states[message.topic] = message
        self._unsent[message.topic] = at
        return self._pump(at)

    def send_reply(self, message: Message, at: float) -> list[Command]:
        """A reply to a command: at once if the link is up, else never (the hub asks again)."""
        if self._link is not Link.UP:
            return []
        return [self._send(None, message, wire.size(message), at)]

    def on(self, event: Event | Watermark, at: float) -> list[Command]:
        """Take what happened; events of no concern to the link do nothing."""
        if isinstance(event, LinkUp | LinkDown):
            self._on_link(event, at)
        elif isinstance(event, Delivered):
            return self._on_delivered(event, at) + self._pump(at)
        elif isinstance(event, NotSent):
            self._on_not_sent(event)
        elif isinstance(event, Committed):
            self._on_committed(event, at)
        elif isinstance(event, Fetched):
            self._on_fetched(event, at)
        elif isinstance(event, Purged):
            self._on_purged(event)
        elif isinstance(event, Watermark):
            return self._on_watermark(event, at) + self._pump(at)
        else:
            return []
        return self._pump(at)

    def tick(self, at: float) -> list[Command]:
        """Do what is due; call it when `deadline` has passed (oftener does no harm)."""
        if self._suspended and at >= self._resume_at:
            self.resume(at)
        if self._link is Link.WAITING and at >= self._retry_at:
            return self._connect(at)
        if self._link is Link.UP:
            why = self._wedged(at)
            if why:
                return self._leave(at, Link.CLOSING, why)
            self._retry_parked(at)
            self._watch_silence(at)
        return self._pump(at)

    def deadline(self) -> float:
        """When `tick` is next needed, in boot seconds; infinite = only on an event."""
        due = [self._resume_at]
        if self._link is Link.WAITING:
            due.append(self._retry_at)
        if self._link is Link.UP:
            due += self._deadlines_up()
        return min(due)

    def status(self) -> Status:
        """What the link looks like now."""
        return Status(
            link=self._link,
            since=self._since,
            cause=self._cause,
            retry_at=self._retry_at if self._link is Link.WAITING else None,
            lanes=tuple(lane for lane in Lane if self._wants(lane)),
            in_flight=len(self._flight),
            in_flight_bytes=self._flight_bytes,
            awaiting=len(self._awaiting),
            parked=len(self._parked) + len(self._too_large),
            last_delivered_at=self._last_delivered_at,
            settled_upto=self._settled_upto,
            ignored=self._ignored,
        )

    def findings(self) -> frozenset[Trouble]:
        """What is wrong with the link now."""
        return frozenset(Trouble(key=key, detail=why) for key, why in self._troubles.items())
