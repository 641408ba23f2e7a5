"""What waits in the journal and goes next, lane by lane: what to fetch, what to pack together, what to try again.

Promises:
- Each record is in at most one parcel at a time; what was fetched and did not arrive is fetched again.
- A picture is fetched and packed only while its camera is among the open ones; one that waits here is dropped the moment its camera
  closes, and fetched again when it opens.
- Of the history's pictures, those around an event of their camera (a record of class 0 or 1) come first; cameras take turns.
- Live pictures are never later than about `LATE_S`: where more are made than the line carries, those that wait longer become history.
- What was refused, is too large, or ends connections is kept, in bounded number, and never blocks another lane.
- What is too large is learnt, too, where the broker announces no limit: batches shrink by half, and nothing as large as what was not
  taken is sent, but for two such records now and then (`REFUSED_S`, doubling to a day), to hear whether that holds: the smallest, and
  each in its turn. What is smaller than `LEARN_FROM_BYTES`, or than what was taken since, teaches nothing and is tried as well.
- One fetch per lane is under way; memory holds what the fetches under way bring and about a window's worth, and no more.
Time is an argument. Not its job: whether there is room (window.py), what an answer means, when history may go (uplink.py).
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from edge_agent.core import wire
from edge_agent.core.messages import Fetch, Fetched, Lane, Message, Purged, Rank, Stored
from edge_agent.core.suspects import CONVICT_S, UNPROVEN_S, Suspects
from edge_agent.core.window import Parcel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from edge_agent.core.ledger import Ledger
    from edge_agent.core.pace import Pace
    from edge_agent.core.settings import Identity

BATCH_RECORDS: Final = 400
# Of one fetch: a few messages, as each answer costs the agent a round, however much is in it.
PAGE_RECORDS: Final = 1_600
PAGE_BYTES: Final = 750_000
PICTURES_AT_ONCE: Final = 4
PICTURES_BYTES: Final = 500_000
MAX_PARKED: Final = 5_000
RETRY_S: Final = (
    1.0  # the shutter closed before the core knew, the link is going, the journal had no time
)
NOBODY_S: Final = 60.0
REFUSED_S: Final = 900.0
REFUSED_MOST_S: Final = 86_400.0
# A limit is learnt from nothing smaller: a broker that errs about one small record shall not keep the box from sending all others.
LEARN_FROM_BYTES: Final = 4_000
# So many records before and after an event are taken for "around it": about five minutes of four cameras and their metrics. The
# journal is in order of seq, and thinning leaves the numbers in place, so this holds for a sparse stretch as well.
AROUND_EVENT: Final = 150
MAX_SPANS: Final = 50  # per camera; the oldest give way, and come in their turn

# A burst of several cameras is more than a thin line carries, for as long as a flood lasts. A street as it was five minutes ago is no news.
LATE_S: Final = 30.0

# A line that comes and goes convicts the innocent, too, and an alarm must not pay for that with a quarter of an hour: as long as a
# convict would be kept for no more than this, one of class 0 is kept for a fifteenth of it.
AUDIT_FIRST_S: Final = 4 * CONVICT_S

PICTURE_LANES: Final = (Lane.LIVE_PICTURES, Lane.HISTORY_PICTURES)
_LIVE_LANES: Final = (Lane.AUDIT, Lane.LIVE, Lane.LIVE_PICTURES)
_RECORD_LANES: Final = (Lane.LIVE, Lane.HISTORY)
_AUDIT_LANES: Final = (Lane.AUDIT, Lane.AUDIT_HISTORY)


@dataclass(slots=True)
class _Queue:
    """One stream of records in order of seq: a lane, or one camera's share of a picture lane."""

    after: int = 0
    more: bool = False
    blocked_until: float = -math.inf
    # Blocked because nobody listened: the hub's word ends that, but not more than once in a while.
    nobody: bool = False
    woken_at: float = -math.inf
    spans: list[tuple[int, int]] = field(default_factory=list)  # of seqs, inclusive: to come first


@dataclass(slots=True)
class _Lane:
    """What a lane is doing besides its queues."""

    fetch: Fetch | None = None
    fetch_seen: int = 0  # last_seq when it was asked
    of_span: bool = False  # it asked for a span that comes first, not for what is next
    void: bool = False  # the answer is of no use any more
    ready: deque[Parcel] = field(default_factory=deque)


class Large(NamedTuple):
    """A record that is too large."""

    size: int
    camera: str  # whose picture it is; "" = none


@dataclass(slots=True, kw_only=True)
class _Batch:
    """Records on their way into one message."""

    leaf: str
    suspected: bool = False
    texts: list[str] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)


class Lanes:
    """Everything that is not under way yet. Owner thread only."""

    def __init__(self, identity: Identity, ledger: Ledger, pace: Pace) -> None:
        self._identity = identity
        self._ledger = ledger
        self._pace = pace
        self._epoch = ""
        self._boundary = 0  # the newest record when the connection came up
        self._pictures_from = 0  # pictures up to here are history: the same, or later
        self._last_seq = 0
        self._announced: int | None = None
        self._max_packet: int | None = None  # announced or learnt
        self.refused_bytes: int | None = None  # no message as large as this is taken; learnt
        self._batch_most: float = math.inf
        self._ask_at = math.inf  # when to try whether that still holds
        self._ask_gap_s = REFUSED_S
        self._refused_at = -math.inf
        self._tried: set[int] = set()  # to hear whether the limit still holds
        self._taken = 0  # the largest of those that was, on this connection
        self.suspects = Suspects()
        self._unproven: set[int] = set()  # convicts that are perhaps the line's fault
        # Convicts of class 0: tried in their own lane, which waits for nobody's turn.
        self._urgent: set[int] = set()
        self._lanes = {lane: _Lane() for lane in Lane}
        # A queue per lane ("" as camera), and per camera in the lanes of pictures.
        self._queues: dict[tuple[Lane, str], _Queue] = {}
        self._turn: dict[Lane, str] = {}  # the camera served last, per picture lane
        self._open: frozenset[str] = frozenset()
        self._busy: set[int] = set()  # in a parcel of this epoch: waiting for room, or in flight
        self._again: set[int] = set()
        self._alone: set[int] = set()  # refused once: each in a message of its own
        self._parked: dict[int, float] = {}  # seq -> when to try it again, alone
        self._closed_again: dict[str, set[int]] = {}  # wanted again, but their camera is closed
        self.too_large: dict[int, Large] = {}  # those that were not tried for longest first

    # ---- what happens around ----

    def new_connection(self, max_packet: int | None) -> None:
        """It came up: what is kept now is history, what comes later is live; all of it is fetched."""
        if max_packet != self._announced:
            self._announced = max_packet
            self._ask_gap_s = REFUSED_S
            self._unlearn()
            self._again.clear()  # they are fetched in their turn
        self._taken = 0
        self._boundary = self._pictures_from = self._last_seq
        # What is larger than announced is fetched, and found so, again.
        self.too_large = self._learnt()
        self.restart()

    def spare(self, at: float, backlog_at: float) -> None:
        """What is perhaps the line's fault lets the others go first, when the backlog's turn has come at *backlog_at*."""
        for seq in self._unproven & self._parked.keys():
            self._parked[seq] = (at if seq in self._urgent else backlog_at) + UNPROVEN_S

    def restart(self) -> None:
        """Begin each queue from its start."""
        self._queues.clear()
        for lane in (Lane.AUDIT, Lane.LIVE, Lane.AUDIT_HISTORY, Lane.HISTORY):
            self._queue(lane, "").more = True
        for camera in self._open:
            for lane in PICTURE_LANES:
                self._queue(lane, camera).more = True

    def forget_connection(self) -> None:
        """What was under way is not any more; everything unsettled will be fetched again."""
        self.pause()
        self._busy.clear()

    def pause(self) -> None:
        """Nothing that waits here shall leave; what is in flight may still be answered."""
        self._queues.clear()
        self._again.clear()
        self._closed_again.clear()
        for state in self._lanes.values():
            for parcel in state.ready:
                self._busy.difference_update(parcel.seqs)
            state.ready.clear()
            state.void = state.fetch is not None

    def new_epoch(self, epoch: str, last_seq: int) -> None:
        """The journal was made anew (or is known for the first time): its numbers have nothing to do with the old."""
        self._epoch, self._last_seq = epoch, last_seq
        self._boundary = self._pictures_from = last_seq
        self._parked.clear()
        self._alone.clear()
        self.too_large.clear()
        self._tried.clear()
        self._unproven.clear()
        self._urgent.clear()
        self.suspects = Suspects()
        self.forget_connection()

    def committed(self, last_seq: int) -> None:
        """The journal has records up to this one now."""
        if last_seq > self._last_seq:
            for (lane, camera), queue in self._queues.items():
                if lane in _LIVE_LANES:
                    queue.more = queue.more or not camera or camera in self._open
        self._last_seq = last_seq

    def set_open(self, cameras: frozenset[str]) -> None:
        """Pictures of exactly these may be fetched and sent."""
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

    def _void_fetches(self, closed: frozenset[str]) -> None:
        """An answer that is under way may hold what the press destroys, and come when the camera is open again."""
        for lane in PICTURE_LANES:
            state = self._lanes[lane]
            if state.fetch is not None and state.fetch.camera in closed:
                state.void = True
        again = self._lanes[Lane.AGAIN]
        again.void = again.void or again.fetch is not None

    def purged(self, event: Purged) -> None:
        """These are gone from the journal, so they are gone here."""
        gone = set(event.seqs)
        self._drop_ready(lambda parcel: not gone.isdisjoint(parcel.seqs))
        self._again -= gone
        self._forget(gone)
        for waiting in self._closed_again.values():
            waiting.difference_update(gone)

    def _forget(self, gone: set[int]) -> None:
        """The journal has them no more."""
        self._alone -= gone
        self.suspects.forget(gone)
        self._tried -= gone
        for seq in gone:
            self._parked.pop(seq, None)
            self.too_large.pop(seq, None)

    def send_again(self, seqs: Iterable[int], at: float) -> bool:
        """The hub lacks these; and what was refused long ago is due as well. Whether there is any of it."""
        if at >= self._ask_at:
            self._ask(at)
        due = [seq for seq, moment in self._parked.items() if moment <= at]
        for seq in due:
            del self._parked[seq]
        urgent = self._urgent.intersection(due)
        if urgent:
            self._urgent -= urgent
            self._rewind(Lane.AUDIT_HISTORY, "", min(urgent))
        self._again.update(seq for seq in due if seq not in urgent)
        self._again.update(seqs)
        return bool(self._again or urgent)

    def hub_lives(self, at: float) -> None:
        """The hub said something, so somebody listens: what paused because nobody did goes on, though not with each word."""
        for queue in self._queues.values():
            if queue.nobody and at - queue.woken_at >= NOBODY_S:
                queue.nobody, queue.blocked_until, queue.woken_at = False, -math.inf, at

    # ---- what to fetch ----

    def end_pauses(self, at: float) -> None:
        """What was refused, or had nobody to listen, is tried again now."""
        for queue in self._queues.values():
            queue.blocked_until, queue.nobody = -math.inf, False
        self._parked = dict.fromkeys(self._parked, at)
        if self._ask_at < math.inf:
            self._ask_at = at
        self.send_again((), at)

    def next_fetch(self, lane: Lane, at: float) -> Fetch | None:
        """What this lane wants of the journal now; it counts as asked for from here on."""
        state = self._lanes[lane]
        if state.fetch is not None or not self._epoch or self._has_enough(lane):
            return None
        fetch = self._fetch_again() if lane is Lane.AGAIN else self._fetch(state, lane, at)
        if fetch is not None:
            state.fetch, state.fetch_seen, state.void = fetch, self._last_seq, False
        return fetch

    def _has_enough(self, lane: Lane) -> bool:
        """Whether what waits in here keeps the line busy until the journal has answered: a commit may hold it up for a moment."""
        ready = self._lanes[lane].ready
        if lane in _RECORD_LANES:
            return sum(parcel.size for parcel in ready) >= self._pace.window
        return bool(ready)

    def _fetch(self, state: _Lane, lane: Lane, at: float) -> Fetch | None:
        camera = self._next_camera(lane, at)
        if lane in PICTURE_LANES and not camera:
            return None
        queue = self._queue(lane, camera)
        if not queue.more or at < queue.blocked_until:
            return None
        after, upto = queue.after, None if lane in _LIVE_LANES else self._begin_of_live(lane)
        state.of_span = bool(queue.spans)
        if queue.spans:
            first, upto = queue.spans[-1]
            after = first - 1
        elif upto is not None and after >= upto:
            queue.more = False
            return None
        pictures = lane in PICTURE_LANES
        return Fetch(
            lane=lane,
            after=after,
            upto=upto,
            limit=PICTURES_AT_ONCE if pictures else PAGE_RECORDS,
            limit_bytes=PICTURES_BYTES if pictures else PAGE_BYTES,
            camera=camera or None,
            audit=lane in _AUDIT_LANES,
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

    def _next_camera(self, lane: Lane, at: float) -> str:
        """Whose turn it is in a lane of pictures; "" for other lanes, or if nobody has any."""
        if lane not in PICTURE_LANES:
            return ""
        waiting = sorted(
            camera
            for camera in self._open
            if (queue := self._queue(lane, camera)).more and at >= queue.blocked_until
        )
        waiting = [camera for camera in waiting if self._queue(lane, camera).spans] or waiting
        last = self._turn.get(lane, "")
        camera = next((name for name in waiting if name > last), waiting[0] if waiting else "")
        if camera:
            self._turn[lane] = camera
        return camera

    def _queue(self, lane: Lane, camera: str) -> _Queue:
        after = self._begin_of_live(lane) if lane in _LIVE_LANES else 0
        return self._queues.setdefault((lane, camera), _Queue(after=after))

    def _begin_of_live(self, lane: Lane) -> int:
        return self._pictures_from if lane in PICTURE_LANES else self._boundary

    # ---- what the journal answers ----

    def fetched(self, event: Fetched, at: float, *, up: bool) -> None:
        """Pack what came; *up*: there is a connection that it is for."""
        lane, state = event.fetch.lane, self._lanes[event.fetch.lane]
        if state.fetch != event.fetch:
            return
        state.fetch = None
        if state.void or not up:
            state.void = False
            return
        camera = event.fetch.camera or ""
        if lane is Lane.AGAIN:
            self._fetched_again(event, at)
        elif lane in PICTURE_LANES and camera not in self._open:
            self._queue(lane, camera).more = True  # for when it opens again
        elif lane is Lane.LIVE_PICTURES and _is_late(event, at):
            self._overtake()
        else:
            self._advance(state, self._queue(lane, camera), event, at)
            if lane in (Lane.AUDIT_HISTORY, Lane.HISTORY):
                self._note_events(event.records)
            self._pack(lane, camera, self._fresh(event.records))

    def _overtake(self) -> None:
        """What waits of live pictures is history from now on, so that the next ones go at once."""
        self._pictures_from = self._last_seq
        for camera in [camera for lane, camera in self._queues if lane is Lane.LIVE_PICTURES]:
            live, history = (self._queue(lane, camera) for lane in PICTURE_LANES)
            history.after, history.more = min(history.after, live.after), True
            live.after, live.more = self._pictures_from, False
        behind = self._lanes[Lane.HISTORY_PICTURES]
        behind.void = behind.fetch is not None  # it was asked where history began no later

    def _advance(self, state: _Lane, queue: _Queue, event: Fetched, at: float) -> None:
        """Where its queue goes on after this answer."""
        if not event.records and not event.end:  # the journal ran out of time, not of records
            queue.blocked_until = max(queue.blocked_until, at + RETRY_S)
        if state.of_span:
            self._take_span(queue, event)
            return
        if event.records:
            queue.after = max(queue.after, event.records[-1].seq)
        if event.end:
            queue.more = self._last_seq > state.fetch_seen and event.fetch.lane in _LIVE_LANES

    def _take_span(self, queue: _Queue, event: Fetched) -> None:
        """What is left of the span that comes first. What lies before it keeps its turn."""
        asked = (event.fetch.after + 1, event.fetch.upto)
        if asked not in queue.spans:
            return  # a newer event has widened it; what was sent already is not fresh
        queue.spans.remove(asked)
        if not event.end:
            first = event.records[-1].seq + 1 if event.records else asked[0]
            queue.spans.append((first, event.fetch.upto or 0))

    def _note_events(self, records: Sequence[Stored]) -> None:
        """Pictures around what happened at a camera come before its other ones."""
        for stored in records:
            if stored.camera is None or stored.rank > Rank.STATE:
                continue
            first = max(1, stored.seq - AROUND_EVENT)
            span = (first, min(stored.seq + AROUND_EVENT, self._boundary))
            spans = self._queue(Lane.HISTORY_PICTURES, stored.camera).spans
            if spans and spans[-1][0] <= span[0] <= spans[-1][1] + 1:
                spans[-1] = (spans[-1][0], max(span[1], spans[-1][1]))
            else:
                spans.append(span)
                del spans[:-MAX_SPANS]

    def _fetched_again(self, event: Fetched, at: float) -> None:
        asked = set(event.fetch.seqs)
        got = {stored.seq for stored in event.records}
        if not event.end and got:  # cut by bytes: what lies behind the last was not looked at
            asked = {seq for seq in asked if seq <= max(got)}
        elif not event.end:
            self._parked.update(dict.fromkeys(asked, at + RETRY_S))
            self._again -= asked
            return
        self._again -= asked
        gone = asked - got
        was_tried = not gone.isdisjoint(self.too_large)
        self._ledger.forget(gone)  # purged or thinned since; a tombstone says so to the hub
        self._forget(gone)
        if was_tried:  # and said nothing of the limit
            self._ask_gap_s /= 2
            self._ask(at)
        for stored in event.records:
            if stored.seq in self._busy or stored.epoch != self._epoch:
                continue
            if stored.jpeg is not None and stored.camera not in self._open:
                self._closed_again.setdefault(stored.camera or "", set()).add(stored.seq)
            else:
                self._pack(Lane.AGAIN, "", [stored])

    def _fresh(self, records: Sequence[Stored]) -> Sequence[Stored]:
        """Those not under way, answered or refused already (a queue that went back fetches such again)."""
        own = [stored for stored in records if stored.epoch == self._epoch]
        seqs = [stored.seq for stored in own]
        known = self._busy.intersection(seqs)
        for refused in (self._parked, self.too_large):
            known |= refused.keys() & seqs
        if seqs and self._ledger.touches(seqs[0], seqs[-1]):
            known.update(seq for seq in seqs if seq in self._ledger)
        return [stored for stored in own if stored.seq not in known] if known else own

    # ---- making messages ----

    def _pack(self, lane: Lane, camera: str, records: Sequence[Stored]) -> None:
        """Turn records into parcels of bounded size, in order; only one camera's lane and what is asked for again have pictures."""
        pictures = [stored for stored in records if stored.jpeg is not None]
        for stored in pictures:
            leaf = wire.LIVE if stored.seq > self._pictures_from else wire.HISTORY
            message = wire.snapshot(self._identity, leaf, stored)
            if not self._is_too_large(stored.seq, wire.size(message), camera=stored.camera or ""):
                self._add(lane, camera, message, (stored.seq,))
        if len(pictures) < len(records):
            others = [stored for stored in records if stored.jpeg is None]
            for batch in self._batches(others if pictures else records):
                message = wire.batch(self._identity, batch.leaf, batch.texts)
                self._add(lane, camera, message, batch.seqs)

    def _batches(self, records: Sequence[Stored]) -> Iterator[_Batch]:
        """A change between live and history begins a new one, and what was refused once has one of its own.

        Suspects go with suspects alone: nothing is convicted for the company that it was packed with.
        """
        overhead = self._batch_overhead()
        limit = self._batch_bytes(overhead)
        suspects = self.suspects.suspected(records[0].seq, records[-1].seq) if records else ()
        batch, used = _Batch(leaf=wire.LIVE), 0
        for stored, text in zip(records, wire.events(self._identity, records), strict=True):
            seq = stored.seq
            size = (len(text) if text.isascii() else len(text.encode())) + 1
            if self._is_too_large(seq, size + overhead):
                continue
            leaf = wire.LIVE if seq > self._boundary else wire.HISTORY
            alone, suspected = seq in self._alone, seq in suspects
            full = used + size > limit or len(batch.seqs) >= BATCH_RECORDS
            other = leaf is not batch.leaf or suspected is not batch.suspected
            if batch.seqs and (full or alone or other):
                yield batch
                batch, used = _Batch(leaf=leaf), 0
            batch.leaf, batch.suspected = leaf, suspected
            batch.texts.append(text)
            batch.seqs.append(seq)
            used += size
            if alone:
                yield batch
                batch, used = _Batch(leaf=leaf), 0
        if batch.seqs:
            yield batch

    def _add(self, lane: Lane, camera: str, message: Message, seqs: Sequence[int]) -> None:
        self._lanes[lane].ready.append(
            Parcel(
                message=message,
                size=wire.size(message),
                lane=lane,
                camera=camera,
                epoch=self._epoch,
                seqs=tuple(seqs),
            )
        )
        self._busy.update(seqs)

    def _batch_overhead(self) -> int:
        return wire.size(wire.batch(self._identity, wire.HISTORY, ()))

    def _batch_bytes(self, overhead: int) -> int:
        most = self._batch_most if self._max_packet is None else self._max_packet
        return int(min(self._pace.parcel_bytes, self._batch_most - overhead, most - overhead))

    def _is_too_large(self, seq: int, size: int, *, camera: str = "") -> bool:
        if self._max_packet is None or size <= self._max_packet:
            return False
        if seq in self._tried and self._may_fit(size):
            return False
        self.suspects.forget((seq,))
        self._alone.discard(seq)
        if len(self.too_large) < MAX_PARKED:
            self.too_large[seq] = Large(size, camera)
        return True

    # ---- a limit that the broker did not announce ----

    def refuse(self, parcel: Parcel, at: float) -> None:
        """It is too large for the other end, which had not said so: records go in smaller batches, and a single one waits."""
        if self._ask_at == math.inf and at - self._refused_at >= REFUSED_MOST_S:
            self._ask_gap_s = REFUSED_S  # another story than the last time
        self._refused_at = at
        self._ask_at = min(self._ask_at, at + self._ask_gap_s)
        if len(parcel.seqs) > 1:
            self._batch_most = min(self._batch_most, parcel.size // 2)
            self.put_back(parcel, -math.inf)
            return
        (seq,), size = parcel.seqs, parcel.size
        if size >= LEARN_FROM_BYTES and size > self._taken and self._may_fit(size):
            self.refused_bytes = min(size, self.refused_bytes or size)
            self._limit()
        self._forget({seq})
        if len(self.too_large) < MAX_PARKED:
            self.too_large[seq] = Large(size, parcel.message.picture_of or "")
        else:
            self.park(parcel, at + REFUSED_S)

    def _may_fit(self, size: int) -> bool:
        """As far as was announced."""
        return self._announced is None or size <= self._announced

    def _learnt(self) -> dict[int, Large]:
        """What is too large by experience alone."""
        return {seq: each for seq, each in self.too_large.items() if self._may_fit(each.size)}

    def _ask(self, at: float) -> None:
        """Try some of what was not taken; with none left that could tell, the limit is forgotten until it is met again."""
        self._ask_gap_s = min(2 * self._ask_gap_s, REFUSED_MOST_S)
        learnt = self._learnt()
        small = [seq for seq, each in learnt.items() if each.size < LEARN_FROM_BYTES]
        large = [
            seq
            for seq, each in learnt.items()
            if each.size >= LEARN_FROM_BYTES and (not each.camera or each.camera in self._open)
        ]
        if not large:
            self._unlearn()
            self._alone.update(small)
            return
        self._ask_at = at + self._ask_gap_s
        self._batch_most = math.inf
        # One that is refused for another reason than its size shall not speak for all others for ever.
        smallest = min(large, key=lambda seq: learnt[seq].size)
        self._tried = {smallest, large[0], *small[:BATCH_RECORDS]}
        self._alone |= self._tried
        self._again |= self._tried

    def _unlearn(self) -> None:
        self._again.update(self._learnt())
        self.too_large = {s: e for s, e in self.too_large.items() if not self._may_fit(e.size)}
        self.refused_bytes, self._batch_most, self._ask_at = None, math.inf, math.inf
        self._tried.clear()
        self._limit()

    def _limit(self) -> None:
        limits = [self._announced] if self._announced is not None else []
        if self.refused_bytes is not None:
            limits.append(self.refused_bytes - 1)
        self._max_packet = min(limits, default=None)

    # ---- what leaves, and what comes back ----

    def first(self, lane: Lane) -> Parcel | None:
        """The parcel that waits for room in this lane."""
        ready = self._lanes[lane].ready
        return ready[0] if ready else None

    def take(self, lane: Lane) -> Parcel:
        """That parcel leaves."""
        return self._lanes[lane].ready.popleft()

    def landed(self, parcel: Parcel) -> bool:
        """It is under way no more; whether it is of the journal that there is now."""
        if parcel.epoch != self._epoch:
            return False
        self._busy.difference_update(parcel.seqs)
        return True

    def blame(self, unanswered: Sequence[Parcel], at: float, *, beside: bool) -> None:
        """The connection broke with these under way; what it always breaks at stays away for a while. *beside*: with others, too."""
        ours = [each for each in unanswered if each.epoch == self._epoch]
        verdict = self.suspects.lost(ours, beside=beside or len(ours) < len(unanswered))
        if verdict is None:
            return
        if verdict.too_large:
            self.refuse(verdict.parcel, at)
        else:
            wait_s = verdict.wait_s
            if verdict.parcel.lane in _AUDIT_LANES:
                self._urgent.update(verdict.parcel.seqs)
                if verdict.guilty and wait_s <= AUDIT_FIRST_S:
                    wait_s /= CONVICT_S / UNPROVEN_S
            self.park(verdict.parcel, at + wait_s, alone=True)
            if not verdict.guilty:
                self._unproven.update(verdict.parcel.seqs)

    def answered(self, parcel: Parcel, at: float) -> None:
        """The broker said something to it, so the way carries: what was kept away lest it did not is tried now."""
        self.suspects.answered(parcel)
        if self._unproven:
            self._parked.update(dict.fromkeys(self._unproven & self._parked.keys(), at))
            self._unproven.clear()
            self.send_again((), at)

    def arrived(self, parcel: Parcel) -> None:
        """The broker took it: none of it is under suspicion any more."""
        self._alone.difference_update(parcel.seqs)
        for seq in self._parked.keys() & parcel.seqs:
            del self._parked[seq]
        if self.too_large.pop(parcel.seqs[0], None) is None:
            return
        self._tried.discard(parcel.seqs[0])
        if parcel.size >= LEARN_FROM_BYTES:
            self._taken = max(self._taken, parcel.size)
            self._unlearn()

    def put_back(self, parcel: Parcel, until: float, *, nobody: bool = False) -> None:
        """Not delivered: its queue goes back to it and pauses, so that nothing is tried in a tight loop."""
        if parcel.lane is Lane.AGAIN:
            self.park(parcel, until)
            return
        queue = self._go_back(parcel)
        queue.blocked_until = max(queue.blocked_until, until)
        queue.nobody = nobody
        self._drop_ready(
            lambda waiting: waiting.lane is parcel.lane and waiting.camera == parcel.camera
        )

    def _go_back(self, parcel: Parcel) -> _Queue:
        """Its queue starts again from it; an answer that is under way for that queue is of no use any more."""
        return self._rewind(parcel.lane, parcel.camera, parcel.seqs[0])

    def _rewind(self, lane: Lane, camera: str, seq: int) -> _Queue:
        queue = self._queue(lane, camera)
        queue.after = min(queue.after, seq - 1)
        queue.more = True
        state = self._lanes[lane]
        if state.fetch is not None and (state.fetch.camera or "") == camera:
            state.void = True
        return queue

    def park(self, parcel: Parcel, until: float, *, alone: bool = False) -> None:
        """These are tried again later, out of turn, so that their queue goes on. No room for them: it waits instead."""
        if len(self._parked) + len(parcel.seqs) > MAX_PARKED:
            if parcel.lane is not Lane.AGAIN:
                self.put_back(parcel, until)
            return
        self._parked.update(dict.fromkeys(parcel.seqs, until))
        if alone:
            self._alone.update(parcel.seqs)

    def _drop_ready(self, unwanted: Callable[[Parcel], bool]) -> None:
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

    # ---- for people ----

    def wants(self, lane: Lane, *, at: float = math.inf) -> bool:
        """Whether it has something to send, as far as is known; with *at*, that could go then."""
        state = self._lanes[lane]
        if state.ready or state.fetch is not None or (lane is Lane.AGAIN and self._again):
            return True
        return any(
            queue.more and at >= queue.blocked_until and (not camera or camera in self._open)
            for (of, camera), queue in self._queues.items()
            if of is lane
        )

    def at_rest(self, at: float) -> bool:
        """Whether nothing of the backlog could go now: what nobody waits for may."""
        backlog = (Lane.AGAIN, Lane.HISTORY, Lane.HISTORY_PICTURES)
        return not any(self.wants(lane, at=at) for lane in backlog)

    @property
    def parked(self) -> int:
        """Refused or too large; kept."""
        return len(self._parked) + len(self.too_large)

    @property
    def under_way(self) -> int:
        """Records that wait for room or for an answer."""
        return len(self._busy)

    def deadlines(self) -> list[float]:
        """When something that waits may be tried again."""
        due = [self._ask_at, *(queue.blocked_until for queue in self._queues.values())]
        return [*due, min(self._parked.values())] if self._parked else due


def _is_late(event: Fetched, at: float) -> bool:
    """Whether these pictures of now have waited for long, and others wait behind them."""
    return not event.end and bool(event.records) and at - event.records[0].at > LATE_S
