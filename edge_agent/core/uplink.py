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

import bisect
import heapq
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
SLOWEST_BYTES_PER_S: Final = 4_000  # a line slower than this is a broken one

# ---- how much at once ----
MAX_IN_FLIGHT: Final = 20
MAX_FLIGHT_BYTES: Final = 1_000_000
# At 1 Mbit/s this is a second of the line; at 8 Mbit/s and 100 ms round trip it still fills the line.
MAX_HISTORY_BYTES: Final = 128_000
SLOTS_FOR_NEWS: Final = 4
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
ACK_WAIT_FROM: Final = (
    200  # for fewer records than one batch the wait costs more than sending them twice
)
NOBODY_S: Final = 60.0
REFUSED_S: Final = 900.0
MISSING_S: Final = 30.0  # PUBACKed so long ago and still missing at the hub
SILENT_S: Final = 60.0
MAX_PARKED: Final = 5_000

NOT_SENT_S: Final = 1.0  # the shutter closed before the core knew, or the link is going

NOBODY: Final = 0x10
FIRST_FAILURE: Final = 0x80
PAYLOAD_INVALID: Final = 0x99

PICTURE_LANES: Final = (Lane.LIVE_PICTURES, Lane.HISTORY_PICTURES)
BACKLOG: Final = (Lane.AGAIN, Lane.HISTORY, Lane.HISTORY_PICTURES)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parcel:
    """A message made of records: waiting for room, or in flight. `sizes` = (seq, bytes) of each record within."""

    message: Message
    size: int
    lane: Lane
    camera: str  # whose queue of that lane it came from; "" = the lane has one queue
    epoch: str
    sizes: tuple[tuple[int, int], ...]

    @property
    def seqs(self) -> tuple[int, ...]:
        """What it carries."""
        return tuple(seq for seq, _ in self.sizes)


@dataclass(slots=True, kw_only=True)
class _Batch:
    """Records on their way into one message."""

    leaf: str
    texts: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    used: int = 0

    def is_full(self, size: int, limit: int) -> bool:
        """Whether *size* more bytes are too much."""
        return len(self.texts) >= BATCH_RECORDS or self.used + size > limit

    def add(self, seq: int, text: str, size: int) -> None:
        """One more record."""
        self.texts.append(text)
        self.sizes.append((seq, size))
        self.used += size


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    """A message handed to the link; `parcel` None = a retained state or a reply."""

    parcel: _Parcel | None
    topic: str
    size: int
    sent_at: float


@dataclass(slots=True)
class _Queue:
    """One stream of records in order of seq: a lane, or one camera's share of a picture lane."""

    after: int = 0
    more: bool = False
    blocked_until: float = -math.inf
    nobody: bool = False  # blocked because nobody listened: any word of the hub ends that


@dataclass(slots=True)
class _LaneState:
    """What a lane is doing besides its queues."""

    fetch: Fetch | None = None
    fetch_seen: int = 0  # last_seq when it was asked
    void: bool = False  # the answer is of no use any more
    ready: deque[_Parcel] = field(default_factory=deque)


class _Ledger:
    """What the broker has and the hub has not acknowledged yet, and what the hub said last."""

    def __init__(self) -> None:
        self._answered: dict[int, tuple[float, int]] = {}  # seq -> (PUBACK at, bytes)
        self._mark: Watermark | None = None
        self._probe_at = math.inf
        self._probe_gap_s = SILENT_S
        self._check_at = math.inf
        self.bytes = 0
        self.silent = False

    def __len__(self) -> int:
        return len(self._answered)

    def __contains__(self, seq: int) -> bool:
        return seq in self._answered

    @property
    def upto(self) -> int:
        """Everything up to here is settled, without a hole."""
        if self._mark is None:
            return 0
        return self._mark.missing[0][0] - 1 if self._mark.missing else self._mark.upto

    def forget(self, seqs: Iterable[int]) -> None:
        """These are settled, gone or to be sent again."""
        for seq in seqs:
            _, size = self._answered.pop(seq, (0.0, 0))
            self.bytes -= size
        if not self._answered:
            self._probe_at = self._check_at = math.inf
            self.silent = False

    def new_connection(self) -> None:
        """Everything unsettled is sent again, so nothing is awaited."""
        self.forget(tuple(self._answered))

    def new_epoch(self) -> None:
        """Nothing of what was said before holds."""
        self.new_connection()
        self._mark = None

    def broker_has(self, sizes: Iterable[tuple[int, int]], at: float) -> None:
        """A PUBACK came for these; unless the hub was faster, its word is awaited from now on."""
        for seq, size in sizes:
            if self._mark is not None and _covers(self._mark, seq):
                continue
            if not self._answered:
                self._progress(at)
            self.bytes += size - self._answered.get(seq, (0.0, 0))[1]
            self._answered[seq] = (at, size)

    def hub_says(self, mark: Watermark, at: float) -> tuple[tuple[int, int], ...]:
        """Take a watermark of our own epoch; returns the ranges that can be settled now."""
        if mark == self._mark:
            return ()
        floor = self.upto
        moved = self._mark is None or mark.upto > self._mark.upto
        self._mark = mark
        settled = [seq for seq in self._answered if _covers(mark, seq)]
        self.forget(settled)
        if self._answered and (settled or moved):
            self._progress(at)
        return _complement(mark, floor) + mark.also

    def missing(self, at: float) -> tuple[int, ...]:
        """What the hub still lacks although the broker took it long ago; forgotten here, to be sent again."""
        if at < self._check_at:
            return ()
        self._check_at = at + MISSING_S / 3
        if self._mark is None:
            return ()
        lost = tuple(
            seq
            for seq, (answered_at, _) in self._answered.items()
            if at - answered_at >= MISSING_S and seq <= self._mark.highest
        )
        self.forget(lost)
        return lost

    def probe(self, at: float) -> tuple[int, ...]:
        """If the hub is silent for too long: a batch of the oldest, to be sent again; ever more rarely."""
        if at < self._probe_at:
            return ()
        self.silent = True
        self._probe_gap_s = min(self._probe_gap_s * 2, REFUSED_S)
        self._probe_at = at + self._probe_gap_s
        return tuple(heapq.nsmallest(BATCH_RECORDS, self._answered))

    def deadline(self) -> float:
        """When `missing` or `probe` may have something."""
        return min(self._probe_at, self._check_at)

    def _progress(self, at: float) -> None:
        self.silent = False
        self._probe_gap_s = SILENT_S
        self._probe_at = at + SILENT_S
        self._check_at = min(self._check_at, at + MISSING_S)


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
        self._born_as = ""  # the epoch that the birth of this connection told
        self._last_seq = 0
        self._oldest_seq: int | None = None
        self._depth = 0
        self._boundary = 0

        self._lanes = {lane: _LaneState() for lane in Lane}
        # A queue per lane ("" as camera), and per camera in the lanes of pictures.
        self._queues: dict[tuple[Lane, str], _Queue] = {}
        self._turn: dict[Lane, str] = {}  # the camera served last, per picture lane
        self._open: frozenset[str] = frozenset()
        self._busy: set[int] = set()  # in a parcel of this epoch: waiting for room, or in flight
        self._again: set[int] = set()
        self._alone: set[int] = set()  # refused once: each in a message of its own
        self._parked: dict[int, float] = {}  # seq -> when to try it again, alone
        self._closed_again: dict[str, set[int]] = {}  # wanted again, but their camera is closed

        self._ticket = 0
        self._flight: dict[int, _Flight] = {}
        self._flight_bytes = 0
        self._answered_at = -math.inf
        self._last_delivered_at: float | None = None
        self._states: dict[str, Message] = {}
        self._unsent: dict[str, float] = {}  # topic -> not before

        self._ledger = _Ledger()
        self._ignored = ""
        self._down: Trouble | None = None
        self._refused: dict[str, str] = {}  # topic -> why
        self._nobody: set[str] = set()  # topics nobody subscribed to
        self._too_large: dict[int, int] = {}  # seq -> bytes
        # Deadlines before this have been served, as far as there was room.
        self._ticked_at = -math.inf

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
            self._drop_ready(lambda parcel: parcel.message.picture_of in closed)
            self._void_fetches(closed)
        for camera in opened:
            for lane in PICTURE_LANES:
                queue = self._queue(lane, camera)
                queue.more, queue.blocked_until = True, -math.inf
            self._again |= self._closed_again.pop(camera, set())
        return self._pump(at)

    def _void_fetches(self, closed: frozenset[str]) -> None:
        """An answer that is under way may hold what the press destroys, and come when the camera is open again."""
        for lane in PICTURE_LANES:
            state = self._lanes[lane]
            if state.fetch is not None and state.fetch.camera in closed:
                state.void = True
        again = self._lanes[Lane.AGAIN]
        again.void = again.void or again.fetch is not None

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
            self._on_not_sent(event, at)
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
        self._ticked_at = at
        if self._suspended and at >= self._resume_at:
            self.resume(at)
        if self._link is Link.WAITING and at >= self._retry_at:
            return self._connect(at)
        if self._link is Link.UP:
            why = self._wedged(at)
            if why:
                return self._leave(at, Link.CLOSING, why)
            self._retry(at)
        return self._pump(at)

    def deadline(self) -> float:
        """When `tick` is next needed, in boot seconds; infinite = only on an event."""
        if self._link is Link.UP:
            due = [*self._deadlines_up(), self._resume_at]
            return min((moment for moment in due if moment > self._ticked_at), default=math.inf)
        return min(self._resume_at, self._retry_at if self._link is Link.WAITING else math.inf)

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
            awaiting=len(self._ledger),
            parked=len(self._parked) + len(self._too_large),
            last_delivered_at=self._last_delivered_at,
            settled_upto=self._ledger.upto,
            ignored=self._ignored,
        )

    def findings(self) -> frozenset[Trouble]:
        """What is wrong with the link now."""
        found = [] if self._down is None else [self._down]
        if self._refused:
            found.append(
                Trouble(key=FindingKey.HUB_REFUSED_TOPIC, detail=_listed(self._refused.items()))
            )
        if self._nobody:
            found.append(
                Trouble(key=FindingKey.HUB_NOBODY_LISTENS, detail=", ".join(sorted(self._nobody)))
            )
        if self._too_large:
            seq, size = next(iter(self._too_large.items()))
            detail = (
                f"{len(self._too_large)} kept; seq {seq}: {size} bytes, at most {self._max_packet}"
            )
            found.append(Trouble(key=FindingKey.HUB_TOO_LARGE, detail=detail))
        if self._ledger.silent:
            detail = (
                f"{len(self._ledger)} records await its word, settled up to {self._ledger.upto}"
            )
            found.append(Trouble(key=FindingKey.HUB_SILENT, detail=detail))
        return frozenset(found)

    # ---- the connection ----

    def _wait(self, at: float, delay_s: float, cause: str) -> None:
        self._link, self._since, self._cause = Link.WAITING, at, cause
        self._retry_at = at + delay_s

    def _connect(self, at: float) -> list[Command]:
        self._link, self._since = Link.CONNECTING, at
        self._born_as = self._epoch
        return [Connect(will=self._presence(online=False), birth=self._presence(online=True))]

    def _leave(self, at: float, link: Link, cause: str) -> list[Command]:
        """Close in good order, if there is anything to close."""
        was = self._link
        self._link, self._since, self._cause = link, at, cause
        self._forget_connection()
        if was in (Link.UP, Link.CONNECTING):
            self._note_spell(at, was)
            return [Disconnect(farewell=self._presence(online=False))]
        return []

    def _on_link(self, event: LinkUp | LinkDown, at: float) -> None:
        if isinstance(event, LinkUp):
            # WAITING: a late word of an old failure came in between; the connection is as good.
            if self._link in (Link.CONNECTING, Link.WAITING):
                self._up(event, at)
        elif self._link is Link.CLOSING:
            self._wait(at, self._retry_delay_s(local=False), self._cause)
        elif event.by_press and self._link in (Link.UP, Link.CONNECTING):
            self._note_spell(at, self._link)
            self._forget_connection()
            # The record of the press shall not wait. No herd: boxes are not pressed together, nor more than once in 3 s.
            self._wait(at, 0.0, event.detail)
        elif event.key is not None and self._link in (Link.UP, Link.CONNECTING):
            self._note_spell(at, self._link)
            self._forget_connection()
            self._down = Trouble(key=event.key, detail=event.detail)
            self._wait(at, self._retry_delay_s(local=event.local), event.detail)

    def _up(self, event: LinkUp, at: float) -> None:
        self._link, self._since, self._cause, self._up_at = Link.UP, at, "", at
        self._ticked_at = -math.inf  # what fell due while there was no link is due now
        self._forget_connection()
        self._down = None
        self._max_in_flight = max(1, min(MAX_IN_FLIGHT, event.receive_maximum))
        self._max_packet = event.maximum_packet_bytes
        self._refused = dict.fromkeys(
            event.refused, "the hub does not let this box subscribe to it"
        )
        self._nobody.clear()
        self._too_large.clear()
        self._boundary = self._last_seq
        self._ack_by = at + ACK_WAIT_S if self._settle is Settlement.WATERMARK else -math.inf
        self._answered_at = at
        birth = self._presence(online=True)
        self._states.pop(birth.topic, None)  # the birth has just said it
        # But not of a journal that was opened, or made anew, while the link came up.
        if self._born_as != self._epoch:
            self._states[birth.topic] = birth
        self._unsent = dict.fromkeys(self._states, at)
        self._restart_queues()

    def _forget_connection(self) -> None:
        """What was under way is not any more; everything unsettled will be fetched again."""
        self._flight.clear()
        self._flight_bytes = 0
        self._busy.clear()
        self._again.clear()
        self._closed_again.clear()
        self._ledger.new_connection()
        for state in self._lanes.values():
            state.ready.clear()
            state.void = state.fetch is not None

    def _restart_queues(self) -> None:
        self._queues.clear()
        for lane in (Lane.AUDIT, Lane.LIVE, Lane.HISTORY):
            self._queue(lane, "").more = True
        for camera in self._open:
            for lane in PICTURE_LANES:
                self._queue(lane, camera).more = True

    def _note_spell(self, at: float, link: Link) -> None:
        """A spell long enough shows that the hub is well, so the next loss is a new one."""
        stable_s = STABLE_LOCAL_S if self._loopback else STABLE_S
        if link is Link.UP and at - self._up_at >= stable_s:
            self._attempts = 0

    def _retry_delay_s(self, *, local: bool) -> float:
        if local or self._loopback:
            return self._random() * LOCAL_S
        # The window is the least spread that spares the hub; doubling starts from it, not from a second.
        spread_s = min(max(CAP_S, self._window_s), self._window_s * 2.0 ** min(self._attempts, 20))
        self._attempts += 1
        return self._random() * spread_s

    def _first_window_s(self) -> float:
        return LOCAL_S if self._loopback else self._window_s

    def _presence(self, *, online: bool) -> Message:
        return wire.presence(
            self._identity,
            online=online,
            boot=self._boot,
            version=self._version,
            simulated=self._simulated,
            epoch=self._epoch or None,
            oldest_seq=self._oldest_seq,
        )

    def _wedged(self, at: float) -> str:
        """Why this connection is of no use any more; "" if it is. MQTT never resends on a living connection."""
        if at < self._wedged_at():
            return ""
        oldest = next(iter(self._flight.values()))
        return f"no answer from the broker for {oldest.topic} since {at - oldest.sent_at:.0f} s"

    def _wedged_at(self) -> float:
        """When patience ends: answers come in order, so the oldest message says how long the next one may take."""
        if not self._flight:
            return math.inf
        oldest = next(iter(self._flight.values()))
        on_the_line_s = oldest.size / SLOWEST_BYTES_PER_S
        return min(self._answered_at + WEDGED_S, oldest.sent_at + UNANSWERED_S) + on_the_line_s

    def _deadlines_up(self) -> list[float]:
        due = [self._ack_by, self._ledger.deadline(), *self._unsent.values()]
        due += [queue.blocked_until for queue in self._queues.values()]
        due += [min(self._parked.values())] if self._parked else []
        return [*due, self._wedged_at()]

    # ---- what the journal says ----

    def _on_committed(self, event: Committed, at: float) -> None:
        if event.epoch != self._epoch:
            self._new_epoch(event, at)
        if event.last_seq > self._last_seq:
            for (lane, camera), queue in self._queues.items():
                if lane is not Lane.HISTORY and lane is not Lane.HISTORY_PICTURES:
                    queue.more = queue.more or not camera or camera in self._open
        self._last_seq = event.last_seq
        self._oldest_seq = event.oldest_seq
        self._depth = event.depth

    def _new_epoch(self, event: Committed, at: float) -> None:
        """The journal was made anew (or is known for the first time): its numbers have nothing to do with the old."""
        known = bool(self._epoch)
        self._epoch, self._last_seq, self._boundary = event.epoch, event.last_seq, event.last_seq
        self._oldest_seq = event.oldest_seq
        self._parked.clear()
        self._alone.clear()
        self._too_large.clear()
        self._busy.clear()
        self._again.clear()
        self._closed_again.clear()
        self._ledger.new_epoch()
        for state in self._lanes.values():
            state.ready.clear()
            state.void = state.fetch is not None
        if self._link is Link.UP:
            self._restart_queues()
            birth = self._presence(online=True)
            self._states[birth.topic], self._unsent[birth.topic] = birth, at
        elif known:
            self._queues.clear()

    def _on_fetched(self, event: Fetched, at: float) -> None:
        lane = event.fetch.lane
        state = self._lanes[lane]
        if state.fetch != event.fetch:
            return
        state.fetch = None
        if state.void or self._link is not Link.UP:
            state.void = False
            return
        if lane is Lane.AGAIN:
            self._on_fetched_again(event, at)
            return
        queue = self._queue(lane, event.fetch.camera or "")
        if lane in PICTURE_LANES and event.fetch.camera not in self._open:
            queue.more = True  # for when it opens again
            return
        if event.records:
            queue.after = max(queue.after, event.records[-1].seq)
        elif not event.end:  # the journal ran out of time, not of records
            queue.blocked_until = max(queue.blocked_until, at + NOT_SENT_S)
        if event.end:
            queue.more = self._last_seq > state.fetch_seen and self._grows(lane)
        fresh = [stored for stored in event.records if self._is_fresh(stored)]
        self._pack(lane, event.fetch.camera or "", fresh)

    def _on_fetched_again(self, event: Fetched, at: float) -> None:
        asked = set(event.fetch.seqs)
        got = {stored.seq for stored in event.records}
        if not event.end and got:  # cut by bytes: what lies behind the last was not looked at
            asked = {seq for seq in asked if seq <= max(got)}
        elif not event.end:
            self._parked.update(dict.fromkeys(asked, at + NOT_SENT_S))
            self._again -= asked
            return
        self._again -= asked
        gone = asked - got
        self._ledger.forget(gone)  # purged or thinned since; a tombstone says so to the hub
        for seq in gone:
            self._parked.pop(seq, None)
            self._alone.discard(seq)
        for stored in event.records:
            if stored.seq in self._busy or stored.epoch != self._epoch:
                continue
            if stored.jpeg is not None and stored.camera not in self._open:
                self._closed_again.setdefault(stored.camera or "", set()).add(stored.seq)
            else:
                self._pack(Lane.AGAIN, "", [stored])

    def _on_purged(self, event: Purged) -> None:
        gone = set(event.seqs)
        self._drop_ready(lambda parcel: not gone.isdisjoint(parcel.seqs))
        self._ledger.forget(gone)
        self._again -= gone
        self._alone -= gone
        for seq in gone:
            self._parked.pop(seq, None)
            self._too_large.pop(seq, None)
        for waiting in self._closed_again.values():
            waiting.difference_update(gone)

    def _is_fresh(self, stored: Stored) -> bool:
        """Not under way, answered or refused already (a queue that went back fetches such again)."""
        return (
            stored.epoch == self._epoch
            and stored.seq not in self._busy
            and stored.seq not in self._ledger
            and stored.seq not in self._parked
            and stored.seq not in self._too_large
        )

    def _grows(self, lane: Lane) -> bool:
        return lane in (Lane.AUDIT, Lane.LIVE, Lane.LIVE_PICTURES)

    # ---- making messages ----

    def _pack(self, lane: Lane, camera: str, records: Sequence[Stored]) -> None:
        """Turn records into parcels of bounded size, in order; a change between live and history starts a new one."""
        batch = _Batch(leaf=wire.LIVE)
        for stored in records:
            if stored.jpeg is not None:
                message = wire.snapshot(self._identity, self._leaf(stored.seq), stored)
                size = wire.size(message)
                if not self._is_too_large(stored.seq, size):
                    self._add(lane, camera, message, [(stored.seq, size)])
                continue
            text = wire.event(self._identity, stored)
            size = len(text.encode()) + 1
            if self._is_too_large(stored.seq, size + self._batch_overhead()):
                continue
            leaf, alone = self._leaf(stored.seq), stored.seq in self._alone
            if alone or leaf != batch.leaf or batch.is_full(size, self._batch_bytes()):
                self._add_batch(lane, camera, batch)
                batch = _Batch(leaf=leaf)
            batch.add(stored.seq, text, size)
            if alone:
                self._add_batch(lane, camera, batch)
                batch = _Batch(leaf=leaf)
        self._add_batch(lane, camera, batch)

    def _add_batch(self, lane: Lane, camera: str, batch: _Batch) -> None:
        if batch.texts:
            message = wire.batch(self._identity, batch.leaf, batch.texts)
            self._add(lane, camera, message, batch.sizes)

    def _add(
        self, lane: Lane, camera: str, message: Message, sizes: Sequence[tuple[int, int]]
    ) -> None:
        self._lanes[lane].ready.append(
            _Parcel(
                message=message,
                size=wire.size(message),
                lane=lane,
                camera=camera,
                epoch=self._epoch,
                sizes=tuple(sizes),
            )
        )
        self._busy.update(seq for seq, _ in sizes)

    def _leaf(self, seq: int) -> str:
        return wire.LIVE if seq > self._boundary else wire.HISTORY

    def _batch_overhead(self) -> int:
        return wire.size(wire.batch(self._identity, wire.HISTORY, ()))

    def _batch_bytes(self) -> int:
        if self._max_packet is None:
            return BATCH_BYTES
        return min(BATCH_BYTES, self._max_packet - self._batch_overhead())

    def _is_too_large(self, seq: int, size: int) -> bool:
        if self._max_packet is None or size <= self._max_packet:
            return False
        if len(self._too_large) < MAX_PARKED:
            self._too_large[seq] = size
        return True

    # ---- sending, in order of lanes ----

    def _pump(self, at: float) -> list[Command]:
        """Hand on whatever there is room for, and fetch what comes next."""
        if self._link is not Link.UP:
            return []
        commands = self._send_states(at)
        for lane in Lane:
            state = self._lanes[lane]
            while state.ready and self._has_room(lane, state.ready[0].size):
                parcel = state.ready.popleft()
                commands.append(self._send(parcel, parcel.message, parcel.size, at))
            fetch = self._next_fetch(lane, at)
            if fetch is not None:
                state.fetch, state.fetch_seen = fetch, self._last_seq
                state.void = False
                commands.append(fetch)
            if state.ready and lane not in BACKLOG:
                break  # what comes later may not take the room that this one waits for
        return commands

    def _send_states(self, at: float) -> list[Command]:
        commands: list[Command] = []
        for topic in [topic for topic, not_before in self._unsent.items() if not_before <= at]:
            message = self._states[topic]
            size = wire.size(message)
            if self._max_packet is not None and size > self._max_packet:
                self._refused[topic] = f"{size} bytes, at most {self._max_packet}"
                self._unsent[topic] = at + REFUSED_S
                continue
            if not self._has_room(None, size):
                break
            del self._unsent[topic]
            commands.append(self._send(None, message, size, at))
        return commands

    def _has_room(self, lane: Lane | None, size: int) -> bool:
        """Room in the window; the backlog has a small part of it, so that news never queues behind much of it."""
        if len(self._flight) >= self._max_in_flight:
            return False
        if lane in BACKLOG:
            sizes = [
                flight.size
                for flight in self._flight.values()
                if flight.parcel is not None and flight.parcel.lane in BACKLOG
            ]
            if sizes and sum(sizes) + size > MAX_HISTORY_BYTES:
                return False
            if sizes and len(self._flight) >= self._max_in_flight - SLOTS_FOR_NEWS:
                return False
        return not self._flight or self._flight_bytes + size <= MAX_FLIGHT_BYTES

    def _send(self, parcel: _Parcel | None, message: Message, size: int, at: float) -> Send:
        if not self._flight:
            self._answered_at = at
        self._ticket += 1
        self._flight[self._ticket] = _Flight(
            parcel=parcel, topic=message.topic, size=size, sent_at=at
        )
        self._flight_bytes += size
        return Send(ticket=self._ticket, message=message)

    def _next_fetch(self, lane: Lane, at: float) -> Fetch | None:
        state = self._lanes[lane]
        if (
            state.fetch is not None
            or state.ready
            or not self._epoch
            or not self._may_fetch(lane, at)
        ):
            return None
        if lane is Lane.AGAIN:
            return self._fetch_again()
        camera = self._next_camera(lane, at)
        if lane in PICTURE_LANES and not camera:
            return None
        queue = self._queue(lane, camera)
        if not queue.more or at < queue.blocked_until:
            return None
        upto = None if self._grows(lane) else self._boundary
        if upto is not None and queue.after >= upto:
            queue.more = False
            return None
        pictures = lane in PICTURE_LANES
        return Fetch(
            lane=lane,
            after=queue.after,
            upto=upto,
            limit=PICTURES_AT_ONCE if pictures else BATCH_RECORDS,
            limit_bytes=PICTURES_BYTES if pictures else BATCH_BYTES,
            camera=camera or None,
            audit=lane is Lane.AUDIT,
        )

    def _fetch_again(self) -> Fetch | None:
        if not self._again:
            return None
        seqs = tuple(heapq.nsmallest(BATCH_RECORDS, self._again))
        return Fetch(
            lane=Lane.AGAIN,
            after=0,
            upto=None,
            limit=len(seqs),
            limit_bytes=PICTURES_BYTES,
            seqs=seqs,
        )

    def _may_fetch(self, lane: Lane, at: float) -> bool:
        """Whether the hub's watermark leaves room for more of this lane."""
        if self._settle is Settlement.BROKER:
            return True
        records, size = len(self._ledger), self._ledger.bytes
        if at < self._ack_by and (lane in PICTURE_LANES or self._depth > ACK_WAIT_FROM):
            # What the hub has already need not be sent twice; what is new since the connection cannot be there.
            return self._grows(lane) and lane is not Lane.AUDIT
        if lane in (Lane.HISTORY, Lane.HISTORY_PICTURES):
            return records < HISTORY_AWAITS_RECORDS and size < HISTORY_AWAITS_BYTES
        return lane is Lane.AGAIN or (records < LIVE_AWAITS_RECORDS and size < LIVE_AWAITS_BYTES)

    def _next_camera(self, lane: Lane, at: float) -> str:
        """Whose turn it is in a lane of pictures; "" for other lanes, or if nobody has any."""
        if lane not in PICTURE_LANES:
            return ""
        waiting = sorted(
            camera
            for camera in self._open
            if (queue := self._queue(lane, camera)).more and at >= queue.blocked_until
        )
        last = self._turn.get(lane, "")
        camera = next((name for name in waiting if name > last), waiting[0] if waiting else "")
        if camera:
            self._turn[lane] = camera
        return camera

    def _queue(self, lane: Lane, camera: str) -> _Queue:
        after = self._boundary if lane in (Lane.LIVE, Lane.LIVE_PICTURES) else 0
        return self._queues.setdefault((lane, camera), _Queue(after=after))

    def _wants(self, lane: Lane) -> bool:
        state = self._lanes[lane]
        if state.ready or state.fetch is not None or (lane is Lane.AGAIN and self._again):
            return True
        return any(
            queue.more and (not camera or camera in self._open)
            for (of, camera), queue in self._queues.items()
            if of is lane
        )

    # ---- what became of it ----

    def _on_delivered(self, event: Delivered, at: float) -> list[Command]:
        flight = self._landed(event.ticket)
        if flight is None:
            return []
        self._answered_at = at
        topic, parcel, code = flight.topic, flight.parcel, event.code
        if code >= FIRST_FAILURE:
            self._refused[topic] = f"reason 0x{code:02X}"
        else:
            self._refused.pop(topic, None)
        if parcel is None:
            if code >= FIRST_FAILURE and topic in self._states:
                self._unsent.setdefault(topic, at + REFUSED_S)
            return []
        if code < FIRST_FAILURE and code != NOBODY:
            return self._on_success(parcel, topic, at)
        if code == NOBODY:
            self._nobody.add(topic)
            self._put_back(parcel, at + NOBODY_S)
            self._queue(parcel.lane, parcel.camera).nobody = True
        elif code == PAYLOAD_INVALID:
            self._park(parcel, at + REFUSED_S, alone=True)
        else:
            self._put_back(parcel, at + REFUSED_S)
        return []

    def _landed(self, ticket: int) -> _Flight | None:
        """Take a message out of flight; None if it belongs to a connection that is gone."""
        flight = self._flight.pop(ticket, None)
        if flight is None:
            return None
        self._flight_bytes -= flight.size
        if flight.parcel is not None and flight.parcel.epoch == self._epoch:
            self._busy.difference_update(flight.parcel.seqs)
        return flight

    def _on_success(self, parcel: _Parcel, topic: str, at: float) -> list[Command]:
        self._last_delivered_at = at
        self._nobody.discard(topic)
        if parcel.epoch == self._epoch:
            for seq in parcel.seqs:
                self._parked.pop(seq, None)
                self._alone.discard(seq)
        if self._settle is Settlement.BROKER:
            return [Settle(epoch=parcel.epoch, ranges=_compact(parcel.seqs))]
        if parcel.epoch == self._epoch:
            self._ledger.broker_has(parcel.sizes, at)
        return []

    def _on_not_sent(self, event: NotSent, at: float) -> None:
        flight = self._landed(event.ticket)
        if flight is None:
            return
        if flight.parcel is not None:
            self._put_back(flight.parcel, at + NOT_SENT_S)
        elif flight.topic in self._states:
            self._unsent.setdefault(flight.topic, at + NOT_SENT_S)

    def _put_back(self, parcel: _Parcel, until: float) -> None:
        """Not delivered: its queue goes back to it and pauses, so that nothing is tried in a tight loop."""
        if parcel.epoch != self._epoch:
            return
        if parcel.lane is Lane.AGAIN:
            self._park(parcel, until)
            return
        queue = self._go_back(parcel)
        queue.blocked_until = max(queue.blocked_until, until)
        self._drop_ready(
            lambda waiting: waiting.lane is parcel.lane and waiting.camera == parcel.camera
        )

    def _go_back(self, parcel: _Parcel) -> _Queue:
        """Its queue starts again from it; an answer that is under way for that queue is of no use any more."""
        queue = self._queue(parcel.lane, parcel.camera)
        queue.after = min(queue.after, parcel.seqs[0] - 1)
        queue.more = True
        state = self._lanes[parcel.lane]
        if state.fetch is not None and (state.fetch.camera or "") == parcel.camera:
            state.void = True
        return queue

    def _park(self, parcel: _Parcel, until: float, *, alone: bool = False) -> None:
        """These are tried again later, out of turn, so that their queue goes on. No room for them: it waits instead."""
        if parcel.epoch != self._epoch:
            return
        if len(self._parked) + len(parcel.seqs) > MAX_PARKED:
            if parcel.lane is not Lane.AGAIN:
                self._put_back(parcel, until)
            return
        self._parked.update(dict.fromkeys(parcel.seqs, until))
        if alone:
            self._alone.update(parcel.seqs)

    def _drop_ready(self, unwanted: Callable[[_Parcel], bool]) -> None:
        """Take back what waits for room; its queue fetches it again when it may."""
        for lane, state in self._lanes.items():
            dropped = [parcel for parcel in state.ready if unwanted(parcel)]
            if not dropped:
                continue
            state.ready = deque(parcel for parcel in state.ready if not unwanted(parcel))
            for parcel in dropped:
                self._busy.difference_update(parcel.seqs)
                if lane is Lane.AGAIN:  # only pictures are dropped from there
                    camera = parcel.message.picture_of or ""
                    self._closed_again.setdefault(camera, set()).update(parcel.seqs)
                else:
                    self._go_back(parcel)

    def _retry(self, at: float) -> None:
        """Send again what the hub lacks, what was refused long ago, and a probe if the hub is silent."""
        due = [seq for seq, moment in self._parked.items() if moment <= at]
        for seq in due:
            del self._parked[seq]
        self._again.update(due)
        self._again.update(self._ledger.missing(at))
        self._again.update(self._ledger.probe(at))

    def _on_watermark(self, mark: Watermark, at: float) -> list[Command]:
        if self._settle is not Settlement.WATERMARK:
            self._ignored = "this box settles by the broker's word"
        elif mark.epoch != self._epoch:
            self._ignored = f"of epoch {mark.epoch}, not {self._epoch}"
        elif mark.highest > self._last_seq:
            self._ignored = f"up to {mark.highest}, but the newest record is {self._last_seq}"
        else:
            self._ignored = ""
        self._ack_by = -math.inf
        for queue in self._queues.values():
            if queue.nobody:
                queue.nobody, queue.blocked_until = False, -math.inf
        if self._ignored:
            return []
        ranges = self._ledger.hub_says(mark, at)
        return [Settle(epoch=self._epoch, ranges=ranges)] if ranges else []


def _covers(mark: Watermark, seq: int) -> bool:
    """Whether the hub has accounted for *seq*."""
    if seq > mark.upto:
        place = bisect.bisect_right(mark.also, (seq, math.inf)) - 1
        return place >= 0 and seq <= mark.also[place][1]
    place = bisect.bisect_right(mark.missing, (seq, math.inf)) - 1
    return place < 0 or seq > mark.missing[place][1]


def _complement(mark: Watermark, floor: int) -> tuple[tuple[int, int], ...]:
    """What *mark* covers above *floor*, as inclusive ranges."""
    ranges = []
    first = floor + 1
    for lost_first, lost_last in mark.missing:
        if lost_first > first:
            ranges.append((first, lost_first - 1))
        first = max(first, lost_last + 1)
    if first <= mark.upto:
        ranges.append((first, mark.upto))
    return tuple(ranges)


def _compact(seqs: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Rising seqs as inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for seq in seqs:
        if ranges and seq == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return tuple(ranges)


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{topic}: {why}" for topic, why in sorted(pairs))
