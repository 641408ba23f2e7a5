"""The link's mind: when to connect, what to send next, and when a record may be forgotten.

Promises:
- A record is settled only on the hub's watermark for its own epoch (or, in `broker` mode, on a PUBACK that says success).
- Fresh news is never behind the backlog: lanes are served in the order of `Lane`, class 0 first, and bulk may fill only as much of
  the line as the pace allows (pace.py), so that even on a thin line a live record waits for a tenth of a second of it.
- A picture is handed on only while its camera is among the open ones (lanes.py).
- At most `MAX_IN_FLIGHT` messages (less if the broker says so) and about 1 MB are unanswered; one fetch per lane.
- What the hub refuses, never acknowledges, or hangs up at is kept, reported and tried again slowly; it never blocks anything else.
- Thousands of boxes that lost one hub come back spread over its window, and start on their backlog spread over it once more; their
  news goes at once.
- Suspended by the city, it says so (camera states), leaves, and then comes back for a moment once a day, at a time that is its own:
  to tell that it is there, and to hear whether the city has changed its mind. No record and no picture leaves.
Time is an argument, chance too. Commands are carried out in the order given (a `Settle` before the `Fetch` behind it).
Invariants and their tests: docs/design/uplink.md. Not its job: sockets (hub.py), payloads (wire.py), whether a gate is open
(gate.py), whether the city's suspension is over (suspension.py), words for findings (words.py).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from edge_agent.core import wire
from edge_agent.core.lanes import (
    BATCH_RECORDS,
    NOBODY_S,
    PICTURE_LANES,
    REFUSED_S,
    RETRY_S,
    Lanes,
)
from edge_agent.core.ledger import SMALL_BYTES, Ledger, compact
from edge_agent.core.messages import (
    Command,
    Committed,
    Connect,
    Delivered,
    Disconnect,
    Event,
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
)
from edge_agent.core.pace import Pace
from edge_agent.core.retry import WINDOW_S, Retry
from edge_agent.core.settings import Identity, Settlement
from edge_agent.core.window import BACKLOG, Parcel, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge_agent.core.wire import Watermark

HISTORY_AWAITS_RECORDS: Final = 15_000
HISTORY_AWAITS_BYTES: Final = 32_000_000
LIVE_AWAITS_RECORDS: Final = 30_000
LIVE_AWAITS_BYTES: Final = 64_000_000

# ---- how long to wait ----
ACK_WAIT_S: Final = 2.0  # the retained watermark comes right behind the subscription
BESIDE_RECORDS: Final = (
    20  # of what the hub lacked twice, each ten seconds beside a backlog that may never end
)
ACK_WAIT_FROM: Final = (
    200  # for fewer records than one batch the wait costs more than sending them twice
)

SUSPECT_WAITS_S: Final = 2.0  # for an empty window, before all but class 0 lets it have one

# ---- suspended ----
DAY_S: Final = 86_400.0
SAY_S: Final = 1.0  # until the agent has put its new state into words
LISTEN_S: Final = (
    10.0  # retained words come right behind the subscription; a signature takes a moment
)
FAREWELL_S: Final = 60.0  # so long the broker may take for the camera states
SIGN_TRIES: Final = 3  # a line that is dead in a suspension is not news: the next day will do

NOBODY: Final = 0x10
FIRST_FAILURE: Final = 0x80
TOO_LARGE: Final = 0x95
PAYLOAD_INVALID: Final = 0x99

_BEFORE_PICTURES: Final = (Lane.AUDIT, Lane.LIVE, Lane.AUDIT_HISTORY)
# Held by the hub's pace and the stagger; class 0 of the outage is not.
_PACED: Final = (Lane.AGAIN, Lane.HISTORY, Lane.HISTORY_PICTURES)


_SMALL_AGAIN: Final = (
    *_BEFORE_PICTURES,
    Lane.AGAIN,
    *(lane for lane in Lane if lane not in (*_BEFORE_PICTURES, Lane.AGAIN)),
)

# Losses that a message may be to blame for; a name that was taken over, or a certificate, is no message's fault.
_BLAMING: Final = (
    FindingKey.HUB_UNREACHABLE,
    FindingKey.HUB_REFUSED_TOPIC,
    FindingKey.HUB_REFUSED_VERSION,
)


class Link(Enum):
    """Where the connection stands."""

    OFF = "off"  # not started, or stopped
    WAITING = "waiting"  # until the next attempt
    CONNECTING = "connecting"
    UP = "up"
    CLOSING = "closing"
    SUSPENDED = "suspended"  # between two signs of life


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
    retry_at: float | None  # while suspended: the next sign of life
    lanes: tuple[Lane, ...]  # those with something to send
    in_flight: int
    in_flight_bytes: int
    awaiting: int  # answered by the broker, not yet by the hub
    parked: int  # refused or too large; kept, tried again slowly
    last_delivered_at: float | None
    settled_upto: int
    ignored: str  # why the last watermark was not obeyed; "" if none was ignored
    bytes_per_s: float | None  # what the line carries, as measured on this connection
    backfill_at: float | None  # when the backlog begins, if it still waits for its turn in the city


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
        self._boot = boot
        self._version = version
        self._simulated = simulated
        self._random = random
        self._retry = Retry(loopback=loopback, random=random, window_s=window_s)
        self._pace = Pace()
        self._window = Window(self._pace)
        self._ledger = Ledger()
        self._lanes = Lanes(identity, self._ledger, self._pace)

        self._link = Link.OFF
        self._since = 0.0
        self._cause = "not started"
        self._retry_at = math.inf
        self._wanted = False
        self._up_at = 0.0
        self._max_packet: int | None = None
        self._ack_by = -math.inf  # the backlog waits for the watermark until then
        self._herd = False  # the next connection follows a loss that thousands may share
        self._backfill_at = -math.inf

        self._suspended = False
        self._sign_at = math.inf  # the next attempt at a sign of life
        self._next_day_at = math.inf
        self._tries = 0
        self._leave_from = math.inf  # said and heard, or out of patience (`_leave_by`)
        self._leave_by = math.inf

        self._epoch = ""
        self._born_as = ""  # the epoch that the birth of this connection told
        self._last_seq = 0
        self._oldest_seq: int | None = None
        self._depth = 0

        self._last_delivered_at: float | None = None
        self._states: dict[str, Message] = {}
        self._unsent: dict[str, float] = {}  # topic -> not before
        self._replies: deque[Message] = deque()  # few: commands.py bounds them

        self._ignored = ""
        self._suspect_from = math.inf  # since when one waits for an empty window
        self._down: Trouble | None = None
        self._refused: dict[str, str] = {}  # topic -> why
        self._nobody: set[str] = set()  # topics nobody subscribed to
        # Deadlines before this have been served, as far as there was room.
        self._ticked_at = -math.inf
        self._pumped_at = -math.inf

    # ---- what the agent tells ----

    def start(self, at: float) -> list[Command]:
        """Want a connection from now on; the first attempt comes within `START_S`, or as a sign of life within a day."""
        self._wanted = True
        if self._suspended:
            self._rest(at)
        else:
            self._wait(at, self._retry.start_s(), "starting")
        return []

    def stop(self, at: float) -> list[Command]:
        """Say farewell and stay away (the process ends)."""
        self._wanted = False
        return self._leave(at, Link.OFF, "stopped")

    def suspend(self, at: float) -> list[Command]:
        """The city wants no traffic: tell the camera states once more, leave, and stay away but for a sign of life a day."""
        if self._suspended:
            return []
        self._suspended = True
        self._next_day_at = at + self._random() * DAY_S
        self._tries = SIGN_TRIES
        self._lanes.pause()
        if self._link is Link.UP:
            self._say_and_hear(at, SAY_S)
        elif self._link is Link.WAITING:
            self._rest(at)
        return self._pump(at)

    def resume(self, at: float) -> list[Command]:
        """The suspension is over; thousands of others hear it too, so come back spread over the window."""
        if not self._suspended:
            return []
        self._suspended = False
        if self._link is Link.UP:  # heard in a sign of life, whose time was this box's own
            self._begin(at)
        elif self._wanted and self._link is Link.SUSPENDED:
            self._herd = True
            self._wait(at, self._retry.together_s(), "suspension ended")
        return self._pump(at)

    def obey(
        self, at: float, *, window_s: float | None, backfill_bytes_per_s: float | None
    ) -> None:
        """What the hub's policy says of the pace; None = as if it had said nothing."""
        self._pumped_at = -math.inf
        self._retry.window_s = WINDOW_S if window_s is None else window_s
        self._pace.limit(backfill_bytes_per_s, at)

    def set_open_cameras(self, cameras: frozenset[str], at: float) -> list[Command]:
        """Pictures of exactly these may be fetched and sent; those of others that wait here are dropped at once."""
        self._lanes.set_open(cameras)
        return self._pump(at)

    @property
    def refused_bytes(self) -> int | None:
        """No message as large as this is taken, as far as the box had to find out by itself."""
        return self._lanes.refused_bytes

    def publish_state(self, message: Message, at: float) -> list[Command]:
        """Retained: the newest message of a topic wins, goes out before anything else, and again after a reconnect."""
        self._states[message.topic] = message
        self._unsent[message.topic] = at
        return self._pump(at)

    def send_reply(self, message: Message, at: float) -> list[Command]:
        """A reply to a command: next on this connection, or never (the hub asks again)."""
        if self._link is not Link.UP:
            return []
        self._replies.append(message)
        return self._pump(at)

    def sync_now(self, at: float) -> list[Command]:
        """The hub wants what waits: no pause holds it up any longer (nobody listened, refused, not its turn); the hub's rate does."""
        if not self._sends_records:
            return []
        self._ack_by = self._backfill_at = -math.inf
        self._unsent = dict.fromkeys(self._unsent, at)
        self._lanes.end_pauses(at)
        self._ledger.hurry(at)
        return self._pump(at)

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
            self._lanes.fetched(event, at, up=self._sends_records)
        elif isinstance(event, Purged):
            self._lanes.purged(event)
            self._ledger.forget(event.seqs)
        elif isinstance(event, wire.Watermark):
            return self._on_watermark(event, at) + self._pump(at)
        else:
            return []
        return self._pump(at)

    def tick(self, at: float) -> list[Command]:
        """Do what is due; call it when `deadline` has passed (oftener does no harm)."""
        self._ticked_at = at
        if self._link is Link.WAITING and at >= self._retry_at:
            return self._connect(at)
        if self._link is Link.SUSPENDED and self._wanted and at >= self._sign_at:
            return self._sign_of_life(at)
        return self._tick_up(at) if self._link is Link.UP else []

    def _tick_up(self, at: float) -> list[Command]:
        if self._is_said(at):
            return self._leave(at, Link.SUSPENDED, "suspended by the city")
        why = self._window.wedged(at)
        if why:
            self._down = Trouble(key=FindingKey.HUB_UNREACHABLE, detail=why)
            return self._leave(at, Link.CLOSING, why, lost=True)
        lacking = (*self._ledger.missing(at), *self._ledger.probe(at))
        if self._ledger.is_overdue(at):
            in_turn, free = at >= self._backfill_at, self._lanes.at_rest(at)
            most = BATCH_RECORDS if free else BESIDE_RECORDS
            lacking += self._ledger.overdue(at, most if in_turn else 0, small=not free)
        again = self._lanes.send_again(lacking, at)
        # The agent ticks behind each event, which has been seen to already.
        return self._pump(at) if again or at != self._pumped_at else []

    def deadline(self) -> float:
        """When `tick` is next needed, in boot seconds; infinite = only on an event."""
        if self._link is Link.UP:
            due = self._deadlines_up()
            return min((moment for moment in due if moment > self._ticked_at), default=math.inf)
        if self._link is Link.SUSPENDED and self._wanted:
            return self._sign_at
        return self._retry_at if self._link is Link.WAITING else math.inf

    def status(self) -> Status:
        """What the link looks like now."""
        retry = {Link.WAITING: self._retry_at, Link.SUSPENDED: self._sign_at}.get(self._link)
        waits = self._link is Link.UP and self._backfill_at > self._ticked_at
        return Status(
            link=self._link,
            since=self._since,
            cause=self._cause,
            retry_at=retry,
            lanes=tuple(lane for lane in Lane if self._lanes.wants(lane)),
            in_flight=len(self._window),
            in_flight_bytes=self._window.bytes,
            awaiting=len(self._ledger),
            parked=self._lanes.parked,
            last_delivered_at=self._last_delivered_at,
            settled_upto=self._ledger.upto,
            ignored=self._ignored,
            bytes_per_s=self._pace.bytes_per_s,
            backfill_at=self._backfill_at if waits else None,
        )

    def findings(self) -> frozenset[Trouble]:
        """What is wrong with the link now. While the city wants no traffic a line that carries none is no fault."""
        found = [] if self._down is None or self._suspended else [self._down]
        if self._refused:
            found.append(
                Trouble(key=FindingKey.HUB_REFUSED_TOPIC, detail=_listed(self._refused.items()))
            )
        if self._nobody:
            found.append(
                Trouble(key=FindingKey.HUB_NOBODY_LISTENS, detail=", ".join(sorted(self._nobody)))
            )
        if self._lanes.too_large:
            seq, (size, _) = next(iter(self._lanes.too_large.items()))
            detail = f"{len(self._lanes.too_large)} kept; seq {seq}: {size} bytes, "
            known = self._max_packet is not None and size > self._max_packet
            detail += f"at most {self._max_packet}" if known else "not taken"
            found.append(Trouble(key=FindingKey.HUB_TOO_LARGE, detail=detail))
        if (convicts := self._lanes.suspects.convicts) is not None:
            count, seq, size = convicts
            detail = f"{count} kept; seq {seq}: {size} bytes"
            found.append(Trouble(key=FindingKey.HUB_HANGS_UP, detail=detail))
        if self._ledger.lacking:
            detail = f"{self._ledger.lacking} kept; complete at the hub up to {self._ledger.upto}"
            found.append(Trouble(key=FindingKey.HUB_LACKS, detail=detail))
        if self._ledger.silent:
            detail = (
                f"{self._ledger.fresh} records await its word, settled up to {self._ledger.upto}"
            )
            if self._ignored:
                detail += f"; its last word was ignored: {self._ignored}"
            found.append(Trouble(key=FindingKey.HUB_SILENT, detail=detail))
        return frozenset(found)

    # ---- the connection ----

    @property
    def _sends_records(self) -> bool:
        return self._link is Link.UP and not self._suspended

    def _wait(self, at: float, delay_s: float, cause: str) -> None:
        self._link, self._since, self._cause = Link.WAITING, at, cause
        self._retry_at = at + delay_s

    def _connect(self, at: float) -> list[Command]:
        self._link, self._since = Link.CONNECTING, at
        self._born_as = self._epoch
        return [Connect(will=self._presence(online=False), birth=self._presence(online=True))]

    def _leave(self, at: float, link: Link, cause: str, *, lost: bool = False) -> list[Command]:
        """Close in good order, if there is anything to close. *lost*: it is of no use any more."""
        was = self._link
        self._link, self._since, self._cause = link, at, cause
        if link is Link.SUSPENDED:
            self._rest(at)
        self._forget_connection(at, lost=lost)
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
            self._failed(event, at, self._cause)
        elif (event.key is not None or event.by_press) and self._link in (Link.UP, Link.CONNECTING):
            self._note_spell(at, self._link)
            self._forget_connection(at, lost=self._link is Link.UP and _may_be_a_message(event))
            if event.key is not None:
                self._down = Trouble(key=event.key, detail=event.detail)
            self._failed(event, at, event.detail)

    def _failed(self, event: LinkDown, at: float, cause: str) -> None:
        """There is no connection any more, and nobody wanted that."""
        if event.by_press:
            # The record of the press shall not wait. No herd: boxes are not pressed together, nor more than once in 3 s.
            delay_s = 0.0
        else:
            delay_s = self._retry.again_s(local=event.local, patient=event.patient)
            self._herd = not event.local
        if self._suspended:
            self._tries -= 1
            self._rest(at)
            if self._tries > 0:
                self._sign_at = min(self._sign_at, at + delay_s)
        else:
            self._wait(at, delay_s, cause)

    def _up(self, event: LinkUp, at: float) -> None:
        self._link, self._since, self._cause, self._up_at = Link.UP, at, "", at
        self._ticked_at = -math.inf  # what fell due while there was no link is due now
        self._forget_connection(at)
        self._down = None
        self._pace.new_connection()
        self._window.open(event.receive_maximum, at)
        self._max_packet = event.maximum_packet_bytes
        self._refused = dict.fromkeys(
            event.refused, "the hub does not let this box subscribe to it"
        )
        self._nobody.clear()
        birth = self._presence(online=True)
        self._states.pop(birth.topic, None)  # the birth has just said it
        # But not of a journal that was opened, or made anew, while the link came up.
        if self._born_as != self._epoch:
            self._states[birth.topic] = birth
        self._unsent = dict.fromkeys(self._states, at)
        if self._suspended:
            self._say_and_hear(at, LISTEN_S)
        else:
            self._begin(at)

    def _begin(self, at: float) -> None:
        """Records go from here on: news at once, the backlog when its turn in the city comes."""
        self._lanes.new_connection(self._max_packet)
        self._ack_by = at + ACK_WAIT_S if self._settle is Settlement.WATERMARK else -math.inf
        staggered = self._herd and self._depth > ACK_WAIT_FROM
        self._backfill_at = at + self._retry.together_s() if staggered else -math.inf
        self._herd = False
        self._lanes.spare(at, max(at, self._backfill_at))

    def _forget_connection(self, at: float, *, lost: bool = False) -> None:
        """What was under way is not any more; everything unsettled will be fetched again. *lost*: somebody is to blame."""
        unanswered = self._window.parcels if lost else []
        beside = len(self._window) > len(unanswered)
        self._replies.clear()
        self._window.forget()
        self._ledger.new_connection()
        self._lanes.forget_connection()
        self._lanes.blame(unanswered, at, beside=beside)

    def _note_spell(self, at: float, link: Link) -> None:
        if link is Link.UP:
            self._retry.was_up(at - self._up_at)

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

    def _deadlines_up(self) -> list[float]:
        due = [*self._unsent.values(), self._window.wedged_at()]
        if self._suspended:
            return [*due, self._leave_from, self._leave_by]
        due += [self._ack_by, self._backfill_at, self._pace.free_at, self._ledger.deadline()]
        return due + self._lanes.deadlines()

    # ---- suspended ----

    def _rest(self, at: float) -> None:
        """No connection until the next sign of life."""
        self._link, self._since, self._cause = Link.SUSPENDED, at, "suspended by the city"
        self._turn_day(at)
        self._sign_at = self._next_day_at

    def _sign_of_life(self, at: float) -> list[Command]:
        self._turn_day(at)
        return self._connect(at)

    def _turn_day(self, at: float) -> None:
        """The day's moment has come, or went by in a connection; the next one is a day later, at the same time of this box."""
        if at >= self._next_day_at:
            self._next_day_at += DAY_S * (1 + (at - self._next_day_at) // DAY_S)
            self._tries = SIGN_TRIES

    def _say_and_hear(self, at: float, listen_s: float) -> None:
        """Tell how things are, wait for what the city has to say, then leave."""
        self._leave_from, self._leave_by = at + listen_s, at + FAREWELL_S

    def _is_said(self, at: float) -> bool:
        if not self._suspended or at < self._leave_from:
            return False
        quiet = not self._window and all(moment > at for moment in self._unsent.values())
        return quiet or at >= self._leave_by

    # ---- what the journal says ----

    def _on_committed(self, event: Committed, at: float) -> None:
        if event.epoch != self._epoch:
            self._epoch, self._oldest_seq = event.epoch, event.oldest_seq
            self._lanes.new_epoch(event.epoch, event.last_seq)
            self._ledger.new_epoch()
            if self._link is Link.UP:
                birth = self._presence(online=True)
                self._states[birth.topic], self._unsent[birth.topic] = birth, at
                if not self._suspended:
                    self._lanes.restart()
        self._lanes.committed(event.last_seq)
        self._last_seq, self._depth = event.last_seq, event.depth
        self._oldest_seq = event.oldest_seq

    # ---- sending, in order of lanes ----

    def _pump(self, at: float) -> list[Command]:
        """Hand on whatever there is room for, and fetch what comes next."""
        if self._link is not Link.UP:
            return []
        self._pumped_at = at
        commands = [*self._send_replies(at), *self._send_states(at)]
        if self._suspended:
            return commands
        held = self._is_held(at)
        again = self._lanes.first(Lane.AGAIN)
        # Pictures may come for as long as they like: an alarm that the hub has lost does not wait for that.
        for lane in _SMALL_AGAIN if again is not None and again.size < SMALL_BYTES else Lane:
            if held and lane is not Lane.AUDIT and not self._flies_alone(self._lanes.first(lane)):
                continue
            commands += self._serve(lane, at)
            waits_for_its_turn = lane in _PACED and at < self._pace.free_at
            if self._lanes.first(lane) is not None and not waits_for_its_turn:
                break  # what comes later may not take the room that this one waits for
        return commands

    def _is_held(self, at: float) -> bool:
        """Whether a suspect has waited for an empty window for so long that others must let it have one."""
        waits = bool(self._lanes.suspects) and any(
            self._flies_alone(self._lanes.first(lane))
            for lane in Lane
            if lane not in _PACED or at >= self._pace.free_at
        )
        self._suspect_from = min(self._suspect_from, at) if waits else math.inf
        return at - self._suspect_from >= SUSPECT_WAITS_S

    def _serve(self, lane: Lane, at: float) -> list[Command]:
        commands: list[Command] = []
        while (parcel := self._lanes.first(lane)) is not None and self._may_send(parcel, at):
            self._lanes.take(lane)
            if lane in _PACED:
                self._pace.spend(parcel.size, at)
            commands.append(self._send(parcel, parcel.message, parcel.size, at))
        fetch = self._lanes.next_fetch(lane, at) if self._may_fetch(lane, at) else None
        return commands if fetch is None else [*commands, fetch]

    def _may_send(self, parcel: Parcel, at: float) -> bool:
        if parcel.lane in _PACED and at < self._pace.free_at:
            return False
        if self._flies_alone(parcel) and self._window:
            return False
        return self._window.has_room(parcel.lane, parcel.size)

    def _flies_alone(self, parcel: Parcel | None) -> bool:
        suspects = self._lanes.suspects
        return bool(suspects) and parcel is not None and suspects.flies_alone(parcel)

    def _send_replies(self, at: float) -> list[Command]:
        commands: list[Command] = []
        while self._replies and self._window.has_room(None, wire.size(self._replies[0])):
            message = self._replies.popleft()
            commands.append(self._send(None, message, wire.size(message), at))
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
            if not self._window.has_room(None, size):
                break
            del self._unsent[topic]
            commands.append(self._send(None, message, size, at))
        return commands

    def _send(self, parcel: Parcel | None, message: Message, size: int, at: float) -> Send:
        alone = self._flies_alone(parcel)
        ticket = self._window.take_off(parcel, message.topic, size, at, alone=alone)
        return Send(ticket=ticket, message=message)

    def _may_fetch(self, lane: Lane, at: float) -> bool:
        """Whether the hub leaves room for more of this lane, and it is its time."""
        if lane in _PACED and at < self._backfill_at:
            return False
        if self._settle is Settlement.BROKER:
            return True
        records = self._ledger.fresh + self._lanes.under_way
        size = self._ledger.fresh_bytes + self._window.bytes
        if at < self._ack_by and (lane in PICTURE_LANES or self._depth > ACK_WAIT_FROM):
            # What the hub has already need not be sent twice; what is new since the connection cannot be there.
            return lane not in BACKLOG
        if lane in (Lane.HISTORY, Lane.HISTORY_PICTURES):
            return records < HISTORY_AWAITS_RECORDS and size < HISTORY_AWAITS_BYTES
        return lane is Lane.AGAIN or (records < LIVE_AWAITS_RECORDS and size < LIVE_AWAITS_BYTES)

    # ---- what became of it ----

    def _on_delivered(self, event: Delivered, at: float) -> list[Command]:
        flight = self._window.answered(event.ticket, at)
        if flight is None:
            return []
        topic, parcel, code = flight.topic, flight.parcel, event.code
        self._note_code(topic, code, of_record=parcel is not None)
        if parcel is None:
            if code >= FIRST_FAILURE and topic in self._states:
                self._unsent.setdefault(topic, at + REFUSED_S)
            return []
        current = self._lanes.landed(parcel)
        if current:
            self._lanes.answered(parcel, at)
        if code < FIRST_FAILURE and code != NOBODY:
            return self._on_success(parcel, topic, at, current=current)
        if current:
            self._keep_for_later(parcel, code, at)
        return []

    def _note_code(self, topic: str, code: int, *, of_record: bool) -> None:
        if code >= FIRST_FAILURE:
            if not (of_record and code == TOO_LARGE):  # which says nothing of the topic
                self._refused[topic] = f"reason 0x{code:02X}"
            return
        self._refused.pop(topic, None)
        if code == NOBODY and of_record:
            self._nobody.add(topic)

    def _keep_for_later(self, parcel: Parcel, code: int, at: float) -> None:
        if code == TOO_LARGE:
            self._lanes.refuse(parcel, at)
        elif code == PAYLOAD_INVALID:
            self._lanes.park(parcel, at + REFUSED_S, alone=True)
        elif code == NOBODY:
            self._lanes.put_back(parcel, at + NOBODY_S, nobody=True)
        else:
            self._lanes.put_back(parcel, at + REFUSED_S)

    def _on_success(self, parcel: Parcel, topic: str, at: float, *, current: bool) -> list[Command]:
        self._last_delivered_at = at
        self._nobody.discard(topic)
        if current:
            self._lanes.arrived(parcel)
        if self._settle is Settlement.BROKER:
            return [Settle(epoch=parcel.epoch, ranges=compact(parcel.seqs))]
        if current:
            self._ledger.broker_has(parcel.seqs, parcel.size, at)
        return []

    def _on_not_sent(self, event: NotSent, at: float) -> None:
        flight = self._window.back(event.ticket)
        if flight is None:
            return
        if flight.parcel is not None:
            if self._lanes.landed(flight.parcel):
                self._lanes.put_back(flight.parcel, at + RETRY_S)
        elif flight.topic in self._states:
            self._unsent.setdefault(flight.topic, at + RETRY_S)

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
        self._lanes.hub_lives(at)
        if self._ignored:
            return []
        ranges = self._ledger.hub_says(mark, at)
        if self._lanes.suspects:
            self._lanes.suspects.settled(ranges)
        return [Settle(epoch=self._epoch, ranges=ranges)] if ranges else []


def _may_be_a_message(event: LinkDown) -> bool:
    """Whether something that was under way may be why; not where the cause is known to be another one."""
    return event.key in _BLAMING and not (event.by_press or event.local or event.patient)


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{topic}: {why}" for topic, why in sorted(pairs))
