"""The link's mind: what is settled, what is sent when, and how ten thousand boxes come back."""

from __future__ import annotations

import functools
import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import uplink as module
from edge_agent.core import wire
from edge_agent.core.messages import (
    Command,
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
    Tick,
)
from edge_agent.core.settings import Identity, Settlement
from edge_agent.core.uplink import Link, Uplink
from edge_agent.core.wire import Watermark
from tests.support.outbox import Outbox

IDENTITY = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")
NAME = wire.prefix(IDENTITY)
GONE = LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="connection lost")


def up(receive_maximum: int = 20, packet: int | None = None, **more: object) -> LinkUp:
    return LinkUp(
        receive_maximum=receive_maximum,
        maximum_packet_bytes=packet,
        simulated_peer=True,
        **more,  # type: ignore[arg-type]
    )


@functools.lru_cache(1000)
def seqs_of(message: Message) -> list[tuple[str, int]]:
    """What a message carries, read as a hub reads it."""
    address = wire.address(message.topic)
    assert address is not None
    if address.leaf == "snapshot":
        one = wire.arrived_snapshot(message.properties, message.payload, NAME)
        assert isinstance(one, wire.Arrived)
        assert one.camera == address.camera
        return [(one.epoch, one.seq)]
    if address.leaf in ("live", "history"):
        found = wire.arrived_batch(message.payload, NAME)
        assert not isinstance(found, wire.Fault), found
        return [(record.epoch, record.seq) for record in found]
    return []


class Street:
    """An uplink between a journal in memory and a hub that remembers; every command is checked as it is given."""

    def __init__(
        self,
        settle: Settlement = Settlement.WATERMARK,
        *,
        loopback: bool = False,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.mode = settle
        self.uplink = Uplink(
            IDENTITY,
            settle=settle,
            loopback=loopback,
            boot="boot-1",
            version="1.0",
            simulated=False,
            random=chance,
        )
        self.outbox = Outbox()
        self.at = 1000.0
        self.open: frozenset[str] = frozenset()
        self.link_up: LinkUp | None = None
        self.connects = 0
        self.fetches: deque[Fetch] = deque()
        self.flying: dict[int, Message] = {}
        self.hub: set[tuple[str, int]] = set()  # committed at the hub
        self.allowed: set[tuple[str, int]] = set()  # what the uplink may settle
        self.sent: list[Message] = []
        self.commands: list[Command] = []

    # -- the world --

    def do(self, commands: list[Command]) -> list[Command]:
        for command in commands:
            self.commands.append(command)
            match command:
                case Connect():
                    assert self.link_up is None, "already connected"
                    self.connects += 1
                case Disconnect():
                    self.link_up = None
                    self.flying.clear()
                case Fetch():
                    self._check_fetch(command)
                    self.fetches.append(command)
                case Send():
                    self._check_send(command)
                    self.flying[command.ticket] = command.message
                    self.sent.append(command.message)
                case Settle():
                    self._check_settle(command)
                    self.outbox.settle(command)
                case _:
                    raise AssertionError(command)
        return commands

    def _check_fetch(self, fetch: Fetch) -> None:
        assert self.link_up is not None
        outstanding = [other for other in self.fetches if other.lane is fetch.lane]
        assert not outstanding, "one fetch per lane"
        pictures = fetch.lane in (Lane.LIVE_PICTURES, Lane.HISTORY_PICTURES)
        assert pictures == (fetch.camera is not None)
        if fetch.camera is not None:
            assert fetch.camera in self.open, "a picture of a closed camera was fetched"

    def _check_send(self, send: Send) -> None:
        assert self.link_up is not None, "sent without a link"
        message = send.message
        if "/snapshot/" in message.topic:
            assert message.picture_of in self.open, "a picture of a closed camera was sent"
        assert send.ticket not in self.flying
        assert len(self.flying) < min(module.MAX_IN_FLIGHT, self.link_up.receive_maximum)
        flying = sum(wire.size(other) for other in self.flying.values())
        assert not flying or flying + wire.size(message) <= module.MAX_FLIGHT_BYTES
        packet = self.link_up.maximum_packet_bytes
        assert packet is None or wire.size(message) <= packet
        carried = {seq for other in self.flying.values() for seq in seqs_of(other)}
        assert carried.isdisjoint(seqs_of(message)), "twice in flight"

    def _check_settle(self, settle: Settle) -> None:
        assert settle.ranges
        for low, high in settle.ranges:
            assert low <= high
            for seq in self.outbox.kept:
                if low <= seq <= high and settle.epoch == self.outbox.epoch:
                    assert (settle.epoch, seq) in self.allowed, f"{seq} was settled without a word"

    # -- what may happen --

    def tell(self, event: Event | Watermark) -> list[Command]:
        return self.do(self.uplink.on(event, self.at))

    def commit(self) -> list[Command]:
        return self.tell(self.outbox.committed())

    def put(self, count: int = 1, **more: object) -> None:
        for _ in range(count):
            self.outbox.put(**more)  # type: ignore[arg-type]

    def pass_time(self, seconds: float) -> list[Command]:
        """Let time go by, asked at each deadline as the agent's loop does."""
        done: list[Command] = []
        until = self.at + seconds
        for _ in range(10_000):
            due = self.uplink.deadline()
            if due > until:
                break
            self.at = max(self.at, due)
            done += self.do(self.uplink.tick(self.at))
            assert self.uplink.deadline() > self.at, "a deadline that stays in the past"
        self.at = until
        return done

    def connect(self, link: LinkUp | None = None) -> list[Command]:
        before = self.connects
        if before == 0:
            self.do(self.uplink.start(self.at))
        self.pass_time(400.0 if self.connects == before else 0.0)
        assert self.connects > before
        return self.go_up(link)

    def go_up(self, link: LinkUp | None = None) -> list[Command]:
        self.link_up = link or up()
        return self.tell(self.link_up)

    def lose(self, event: LinkDown = GONE) -> list[Command]:
        self.link_up = None
        self.flying.clear()
        return self.tell(event)

    def show(self, *cameras: str) -> list[Command]:
        self.open = frozenset(cameras)
        return self.do(self.uplink.set_open_cameras(self.open, self.at))

    def answer_fetch(self) -> list[Command]:
        return self.tell(self.outbox.fetch(self.fetches.popleft()))

    def deliver(self, ticket: int, code: int = 0, *, arrives: bool = True) -> list[Command]:
        message = self.flying.pop(ticket)
        if arrives:
            self.arrive(message)
        if self.mode is Settlement.BROKER and code < 0x80 and code != 0x10:
            self.allowed.update(seqs_of(message))
        return self.tell(Delivered(ticket=ticket, code=code))

    def arrive(self, message: Message) -> None:
        self.hub.update(seqs_of(message))

    def mark(self) -> Watermark:
        """What an honest hub says now; what the box lost for good is accounted for by tombstones."""
        epoch = self.outbox.epoch
        had = {seq for of, seq in self.hub if of == epoch} | self.outbox.gone
        upto = max(had, default=0)
        lost = [seq for seq in range(1, upto + 1) if seq not in had]
        return Watermark(epoch=epoch, upto=upto, missing=tuple((seq, seq) for seq in lost))

    def acknowledge(self, mark: Watermark | None = None) -> list[Command]:
        found = mark or self.mark()
        if self.mode is Settlement.WATERMARK:
            self.allowed.update(self.hub)
        return self.tell(found)

    def work(self) -> None:
        """An honest world for a moment: answer everything there is."""
        for _ in range(10_000):
            if self.fetches:
                self.answer_fetch()
            elif self.flying:
                self.deliver(next(iter(self.flying)))
            else:
                return
        raise AssertionError("it never comes to rest")

    def heal(self) -> None:
        """An honest world for good; everything must come to rest, settled."""
        self.do(self.uplink.resume(self.at))
        if self.uplink.status().link is Link.CLOSING:
            self.lose(LinkDown(key=None, detail="closed"))
        for _ in range(300):
            self.commit()
            while self.uplink.status().link is Link.CONNECTING:
                self.go_up()
            self.work()
            if self.mode is Settlement.WATERMARK and self.link_up is not None:
                self.acknowledge()
                self.work()
            if not self.outbox.kept:
                return
            due = self.uplink.deadline()
            self.pass_time(max(1.0, min(due - self.at, 400.0)) if math.isfinite(due) else 60.0)


# ---- any story ----

CAMERAS = ("bridge", "gate", "market")
CODES = (0, 0, 0, 0, 0, 0x10, 0x80, 0x87, 0x97, 0x99)


class Story:
    """One step after the other; a step is a name and a number, from which it takes whatever it needs."""

    def __init__(self, mode: Settlement) -> None:
        self.street = Street(mode)
        self.old_marks: list[Watermark] = []
        self.answered: list[int] = []
        self.epochs = 1
        self.street.put(3)
        self.street.commit()
        self.street.connect()

    @property
    def link(self) -> Link:
        return self.street.uplink.status().link

    # -- the box works --

    def records(self, n: int) -> None:
        rank = (Rank.AUDIT, Rank.STATE, Rank.METRIC)[n % 3]
        self.street.put(n % 40 + 1, rank=rank)
        self.street.commit()

    def picture(self, n: int) -> None:
        size = (10, 20_000, 300_000)[n % 3]
        for number in range(n // 3 % 4 + 1):
            camera = CAMERAS[(n + number) % 3]
            self.street.outbox.picture(camera, size=size, at=self.street.at)
        self.street.commit()

    def gates(self, n: int) -> None:
        self.street.show(*(camera for bit, camera in enumerate(CAMERAS) if n >> bit & 1))

    def press(self, n: int) -> None:
        self.street.show()
        self.street.tell(self.street.outbox.purge(self.street.at - (0, 60, 10_000)[n % 3]))

    def state_changes(self, n: int) -> None:
        message = wire.camera_state(IDENTITY, CAMERAS[n % 3], {"state": n})
        self.street.do(self.street.uplink.publish_state(message, self.street.at))

    def journal_answers(self, n: int) -> None:
        for _ in range(min(n % 4 + 1, len(self.street.fetches))):
            self.street.answer_fetch()

    def journal_has_no_time(self, n: int) -> None:
        if self.street.fetches:
            fetch = self.street.fetches.popleft()
            self.street.tell(Fetched(fetch=fetch, records=(), end=False))

    # -- the line --

    def time_passes(self, n: int) -> None:
        for command in self.street.pass_time((0.1, 1.0, 2.5, 31.0, 61.0, 1000.0)[n % 6]):
            if isinstance(command, Disconnect):
                self.street.lose(LinkDown(key=None, detail="closed"))

    def connected(self, n: int) -> None:
        if self.link not in (Link.WAITING, Link.CONNECTING):
            return
        while self.link is Link.WAITING:
            self.time_passes(4)
        receive_maximum = (1, 2, 20, 65_535)[n % 4]
        self.street.go_up(up(receive_maximum, (None, 1_000_000)[n // 4 % 2]))

    def broker_answers(self, n: int) -> None:
        if self.street.flying:
            ticket, code = self._ticket(n), CODES[n // 7 % len(CODES)]
            self.answered.append(ticket)
            self.street.deliver(ticket, code, arrives=code == 0 and n % 3 > 0)

    def broker_answers_all(self, n: int) -> None:
        for ticket in tuple(self.street.flying)[: n % 20 + 1]:
            self.street.deliver(ticket)

    def arrives_without_an_answer(self, n: int) -> None:
        if self.street.flying:
            self.street.arrive(self.street.flying[self._ticket(n)])

    def shutter_was_closed(self, n: int) -> None:
        if self.street.flying:
            ticket = self._ticket(n)
            del self.street.flying[ticket]
            self.street.tell(NotSent(ticket=ticket))

    def _ticket(self, n: int) -> int:
        tickets = list(self.street.flying)
        return tickets[n % len(tickets)]

    # -- the hub --

    def hub_acknowledges(self, n: int) -> None:
        self.old_marks.append(self.street.mark())
        self.street.acknowledge()

    def something_odd_is_heard(self, n: int) -> None:
        upto = self.street.outbox.last_seq
        self.street.tell(Watermark(epoch=self.street.outbox.epoch, upto=upto + n % 1000 + 1))
        self.street.tell(Watermark(epoch="somebody-elses", upto=upto))
        if self.old_marks:
            self.street.tell(self.old_marks[n % len(self.old_marks)])
        if self.answered:
            ticket = self.answered[n % len(self.answered)]
            self.street.tell(Delivered(ticket=ticket, code=CODES[n % len(CODES)]))

    # -- days that are worse --

    def lost(self, n: int) -> None:
        if self.link in (Link.CONNECTING, Link.UP):
            self.street.lose()

    def suspended(self, n: int) -> None:
        self.street.do(self.street.uplink.suspend(self.street.at))

    def resumed(self, n: int) -> None:
        self.street.do(self.street.uplink.resume(self.street.at))

    def journal_is_made_anew(self, n: int) -> None:
        self.epochs += 1
        self.street.outbox.new_epoch(f"epoch-{self.epochs}")
        self.street.put(n % 6)
        self.street.commit()

    # -- what holds at every step --

    def check(self) -> None:
        status = self.street.uplink.status()
        assert status.in_flight == len(self.street.flying)
        assert status.in_flight_bytes == sum(map(wire.size, self.street.flying.values()))
        keys = [trouble.key for trouble in self.street.uplink.findings()]
        assert len(keys) == len(set(keys))


COMMON = (
    "records picture gates journal_answers journal_answers connected broker_answers broker_answers "
    "broker_answers_all arrives_without_an_answer shutter_was_closed hub_acknowledges time_passes"
).split()
RARE = (
    "press state_changes journal_has_no_time something_odd_is_heard lost suspended resumed "
    "journal_is_made_anew"
).split()
STEPS = st.lists(
    st.tuples(st.sampled_from(COMMON * 3 + RARE), st.integers(0, 10_000)), min_size=30, max_size=120
)


@pytest.mark.parametrize("mode", list(Settlement))
@settings(max_examples=100)
@given(steps=STEPS)
def test_whatever_happens_nothing_is_settled_without_a_word_and_nothing_is_lost(
    mode: Settlement, steps: list[tuple[str, int]]
) -> None:
    story = Story(mode)
    for name, number in steps:
        getattr(story, name)(number)
        story.check()
    story.street.show(*CAMERAS)
    story.street.heal()
    assert not story.street.outbox.kept, story.street.uplink.status()
