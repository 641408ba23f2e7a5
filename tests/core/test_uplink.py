"""The link's mind: what is settled, what is sent when, and how ten thousand boxes come back."""

from __future__ import annotations

import functools
import json
import math
from collections import deque
from collections.abc import Callable, Set

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.core import lanes as lanes_of
from edge_agent.core import ledger, pace, retry, suspects, window, wire
from edge_agent.core import uplink as module
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
        self.is_suspended = False
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
        if self.is_suspended:
            assert not seqs_of(message), "a record left a suspended box"
        if "/snapshot/" in message.topic:
            assert message.picture_of in self.open, "a picture of a closed camera was sent"
        assert send.ticket not in self.flying
        assert len(self.flying) < min(window.MAX_IN_FLIGHT, self.link_up.receive_maximum)
        flying = sum(wire.size(other) for other in self.flying.values())
        assert not flying or flying + wire.size(message) <= window.MAX_FLIGHT_BYTES
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

    def rest(self) -> None:
        """Until a suspended box has left."""
        for _ in range(100):
            if self.link_up is None:
                self.tell(LinkDown(key=None, detail="closed"))
                return
            self.work()
            self.pass_time(1.0)
        raise AssertionError("it does not leave")

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
        self.is_suspended = False
        self.do(self.uplink.resume(self.at))
        self.uplink.obey(self.at, window_s=None, backfill_bytes_per_s=None)
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
CODES = (0, 0, 0, 0, 0, 0x10, 0x80, 0x87, 0x95, 0x97, 0x99)


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
            ticket, code = self._ticket(n // 10), CODES[n % len(CODES)]
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
        self.street.is_suspended = True
        self.street.do(self.street.uplink.suspend(self.street.at))

    def policy_is_heard(self, n: int) -> None:
        self.street.uplink.obey(
            self.street.at,
            window_s=(None, 10.0, 3600.0)[n % 3],
            backfill_bytes_per_s=(None, 1000.0, 1e9)[n // 3 % 3],
        )

    def hub_is_busy(self, n: int) -> None:
        if self.link in (Link.CONNECTING, Link.UP):
            before = self.street.at
            self.street.lose(LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="", patient=True))
            retry_at = self.street.uplink.status().retry_at
            assert retry_at is not None
            assert retry_at >= before + 10.0

    def resumed(self, n: int) -> None:
        self.street.is_suspended = False
        self.street.do(self.street.uplink.resume(self.street.at))

    def all_at_once(self, n: int) -> None:
        self.street.do(self.street.uplink.sync_now(self.street.at))

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


COMMON = [
    "records",
    "picture",
    "gates",
    "journal_answers",
    "journal_answers",
    "connected",
    "broker_answers",
    "broker_answers",
    "broker_answers_all",
    "arrives_without_an_answer",
    "shutter_was_closed",
    "hub_acknowledges",
    "time_passes",
]
RARE = [
    "press",
    "state_changes",
    "journal_has_no_time",
    "something_odd_is_heard",
    "lost",
    "suspended",
    "resumed",
    "policy_is_heard",
    "hub_is_busy",
    "all_at_once",
    "journal_is_made_anew",
]
STEPS = st.lists(
    st.tuples(st.sampled_from(COMMON * 3 + RARE), st.integers(0, 10_000)), min_size=30, max_size=120
)


@pytest.mark.parametrize("mode", list(Settlement))
@settings(max_examples=100)
@given(steps=STEPS)
@example(
    steps=[
        *[("records", 0)] * 27,
        ("journal_answers", 2),
        ("broker_answers", 49),
        ("time_passes", 41),
    ]
)
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


# ---- connecting ----


def test_a_fresh_box_connects_within_two_seconds_and_tells_its_will_and_birth() -> None:
    street = Street(chance=lambda: 0.999)
    street.commit()
    street.do(street.uplink.start(street.at))
    commands = street.pass_time(2.0)
    assert [type(command) for command in commands] == [Connect]
    connect = commands[0]
    assert isinstance(connect, Connect)
    assert json.loads(connect.will.payload)["state"] == "offline"
    born = json.loads(connect.birth.payload)
    assert born["state"] == "online"
    assert born["epoch"] == "epoch-1"
    assert connect.will.retain
    assert connect.birth.retain


@pytest.mark.parametrize(
    ("chance", "failures", "delays"),
    [
        (1.0, 4, [120.0, 225.0, 225.0, 225.0]),
        (0.5, 4, [60.0, 112.5, 112.5, 112.5]),
        (0.0, 2, [0.0, 0.0]),
    ],
)
def test_the_first_retry_is_spread_over_the_window_and_then_doubles(
    chance: float, failures: int, delays: list[float]
) -> None:
    street = Street(chance=lambda: chance)
    street.commit()
    street.connect()
    seen = []
    for _ in range(failures):
        street.lose()
        retry_at = street.uplink.status().retry_at
        assert retry_at is not None
        seen.append(retry_at - street.at)
        street.pass_time(retry_at - street.at)
        assert street.uplink.status().link is Link.CONNECTING
    assert seen == delays


def test_only_a_stable_spell_makes_the_next_loss_a_first_one() -> None:
    street = Street(chance=lambda: 1.0)
    street.commit()
    street.connect()
    street.lose()
    street.pass_time(120)
    street.go_up()
    street.pass_time(retry.STABLE_S - 1)
    street.lose()
    assert street.uplink.status().retry_at == street.at + retry.CAP * retry.WINDOW_S
    street.pass_time(retry.CAP * retry.WINDOW_S)
    street.go_up()
    street.pass_time(retry.STABLE_S)
    street.lose()
    assert street.uplink.status().retry_at == street.at + 120


@pytest.mark.parametrize(("loopback", "local"), [(True, False), (False, True)])
def test_what_troubles_no_hub_is_retried_within_five_seconds(loopback: bool, local: bool) -> None:
    street = Street(loopback=loopback, chance=lambda: 1.0)
    street.commit()
    street.connect()
    for _ in range(5):
        street.lose(LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="no route", local=local))
        assert street.uplink.status().retry_at == street.at + retry.LOCAL_S
        street.pass_time(retry.LOCAL_S)


def test_a_link_that_hung_up_for_a_press_comes_back_at_once_and_is_no_fault_of_the_hub() -> None:
    """The record of the press goes out on the new connection, however often that happened before."""
    street = Street(chance=lambda: 1.0)
    street.commit()
    street.connect()
    street.lose()  # once for real: the next real loss would wait for longer
    street.connect()
    hung_up = LinkDown(key=None, detail="hung up", by_press=True)
    for _ in range(5):
        street.put(rank=Rank.AUDIT)
        street.commit()
        before = street.connects
        street.lose(hung_up)
        assert street.uplink.status().retry_at == street.at
        assert street.uplink.deadline() <= street.at
        assert street.uplink.findings() == frozenset()
        street.pass_time(0.0)
        assert street.connects == before + 1
        street.go_up()
        assert [fetch.audit for fetch in street.fetches][:1] == [True]
    street.lose()
    assert street.uplink.status().retry_at == street.at + retry.CAP * retry.WINDOW_S


def test_a_press_does_not_bring_back_a_link_that_was_to_stay_away() -> None:
    hung_up = LinkDown(key=None, detail="hung up", by_press=True)
    street = Street()
    street.connect()
    street.do(street.uplink.suspend(street.at))
    street.rest()
    street.tell(hung_up)
    assert street.uplink.status().link is Link.SUSPENDED
    stopped = Street()
    stopped.connect()
    stopped.do(stopped.uplink.stop(stopped.at))
    stopped.tell(hung_up)
    assert stopped.uplink.status().link is Link.OFF


def test_a_thousand_boxes_that_lost_one_hub_come_back_spread_over_its_window() -> None:
    per_second = [0] * 121
    for number in range(1000):
        street = Street(chance=lambda share=number / 1000: share)  # type: ignore[misc]
        street.connect()
        street.lose()
        retry_at = street.uplink.status().retry_at
        assert retry_at is not None
        per_second[int(retry_at - street.at)] += 1
    assert max(per_second) <= 9  # a thousand over 120 s


def test_a_loss_is_a_finding_until_the_link_is_back() -> None:
    street = Street()
    street.connect()
    street.lose(LinkDown(key=FindingKey.HUB_TLS, detail="certificate expired"))
    (trouble,) = street.uplink.findings()
    assert (trouble.key, trouble.detail) == (FindingKey.HUB_TLS, "certificate expired")
    assert street.uplink.status().cause == "certificate expired"
    street.connect()
    assert street.uplink.findings() == frozenset()
    assert street.uplink.status().cause == ""


def test_a_late_word_of_an_old_failure_does_no_harm() -> None:
    street = Street()
    street.commit()
    street.connect()
    street.lose()
    street.pass_time(60)
    street.do(street.uplink.on(GONE, street.at))  # of the connection before
    assert street.uplink.status().link is Link.WAITING
    street.go_up()
    assert street.uplink.status().link is Link.UP


def test_words_that_do_not_concern_the_link_change_nothing() -> None:
    street = Street()
    assert street.tell(Tick()) == []
    assert street.tell(GONE) == []
    street.do(street.uplink.on(up(), street.at))
    assert street.uplink.status().link is Link.OFF
    assert street.uplink.deadline() == math.inf
    assert street.do(street.uplink.resume(street.at)) == []


def test_stopping_says_farewell_once() -> None:
    street = Street()
    street.connect()
    (farewell,) = street.do(street.uplink.stop(street.at))
    assert isinstance(farewell, Disconnect)
    assert json.loads(farewell.farewell.payload)["state"] == "offline"
    assert street.do(street.uplink.stop(street.at)) == []
    street.tell(LinkDown(key=None, detail="closed"))
    assert street.uplink.deadline() == math.inf


def test_a_broker_that_answers_nothing_more_is_left_for_a_new_connection() -> None:
    street = Street()
    street.put()
    street.commit()
    street.connect()
    street.answer_fetch()
    while street.fetches:
        street.answer_fetch()
    assert street.flying
    commands = street.pass_time(window.WEDGED_S + 2)
    assert [type(command) for command in commands] == [Disconnect]
    assert street.uplink.status().link is Link.CLOSING
    assert street.uplink.deadline() == math.inf
    street.do(street.uplink.on(up(), street.at))
    assert street.uplink.status().link is Link.CLOSING
    street.tell(LinkDown(key=None, detail="closed"))
    assert street.uplink.status().link is Link.WAITING
    assert "no answer" in street.uplink.status().cause
    assert [trouble.key for trouble in street.uplink.findings()] == [FindingKey.HUB_UNREACHABLE]
    street.connect()
    assert street.uplink.findings() == frozenset()


def test_one_lost_answer_among_many_is_noticed_too() -> None:
    street = Street()
    street.connect()
    for number in range(20):
        message = wire.camera_state(IDENTITY, f"c-{number}", {})
        street.do(street.uplink.publish_state(message, street.at))
    left: list[Command] = []
    began = street.at
    for ticket in list(street.flying)[1:]:
        left += street.pass_time(20)
        if left:
            break
        street.deliver(ticket)
    assert [type(command) for command in left] == [Disconnect]
    assert window.UNANSWERED_S <= street.at - began <= window.UNANSWERED_S + 30


# ---- suspended ----


def suspended_street(chance: float = 0.5, **more: object) -> Street:
    """A street that has said that it is suspended, and left."""
    street = Street(chance=lambda: chance, **more)  # type: ignore[arg-type]
    street.show("gate")
    street.put(5)
    street.commit()
    street.connect()
    street.do(street.uplink.suspend(street.at))
    street.rest()
    assert street.uplink.status().link is Link.SUSPENDED
    return street


def test_a_suspended_box_tells_its_cameras_states_and_leaves_and_sends_nothing_else() -> None:
    street = Street()
    street.show("gate")
    street.put(5)
    street.commit()
    street.connect()
    assert street.do(street.uplink.suspend(street.at)) == []
    message = wire.camera_state(IDENTITY, "gate", {"suspended": True})
    street.do(street.uplink.publish_state(message, street.at))
    street.put(rank=Rank.AUDIT)
    street.commit()
    street.work()
    assert street.sent == [message]
    assert street.uplink.status().link is Link.UP
    commands = street.pass_time(2.0)
    assert [type(command) for command in commands] == [Disconnect]
    street.tell(LinkDown(key=None, detail="closed"))
    assert street.uplink.status().link is Link.SUSPENDED
    assert street.uplink.findings() == frozenset()
    assert len(street.outbox.kept) == 6


def test_a_broker_that_does_not_answer_for_the_last_words_is_left_all_the_same() -> None:
    street = Street()
    street.connect()
    street.do(street.uplink.suspend(street.at))
    street.do(street.uplink.publish_state(wire.camera_state(IDENTITY, "g", {}), street.at))
    assert street.pass_time(module.FAREWELL_S - 1) == []
    commands = street.pass_time(1.0)
    assert [type(command) for command in commands] == [Disconnect]


@pytest.mark.parametrize("chance", [0.001, 0.3, 0.999])
def test_a_suspended_box_gives_a_sign_of_life_once_a_day_at_its_own_time(chance: float) -> None:
    street = suspended_street(chance)
    began, moments = street.at, []
    while street.at < began + 10 * module.DAY_S:
        before = street.connects
        street.pass_time(60.0)
        if street.connects > before:
            moments.append(street.at)
            street.go_up()
            left = street.pass_time(module.LISTEN_S)
            assert [type(command) for command in left] == [Disconnect]
            street.lose(LinkDown(key=None, detail="closed"))
    assert len(moments) == 10
    due = [began + (n + chance) * module.DAY_S for n in range(10)]
    assert max(abs(moment - when) for moment, when in zip(moments, due, strict=True)) < 120
    assert not street.sent
    assert len(street.outbox.kept) == 5


def test_in_a_sign_of_life_what_the_hub_has_is_settled() -> None:
    street = suspended_street()
    street.pass_time(module.DAY_S)
    street.go_up()
    street.hub.update(("epoch-1", seq) for seq in range(1, 4))
    street.acknowledge()
    assert set(street.outbox.kept) == {4, 5}
    assert not any(isinstance(command, Fetch) for command in street.pass_time(5.0))


def test_a_suspension_that_is_lifted_in_a_sign_of_life_is_over_at_once() -> None:
    street = suspended_street()
    street.pass_time(module.DAY_S)
    street.go_up()
    street.do(street.uplink.resume(street.at))
    street.pass_time(module.ACK_WAIT_S)
    street.work()
    street.acknowledge()
    assert not street.outbox.kept
    assert street.uplink.status().link is Link.UP
    assert street.pass_time(600.0) == []


def test_a_dead_line_in_a_suspension_is_no_finding_and_tried_a_few_times_a_day_only() -> None:
    street = suspended_street()
    began, tries = street.at, 0
    while street.at < began + 5 * module.DAY_S:
        before = street.connects
        street.pass_time(10.0)
        if street.connects > before:
            tries += 1
            street.lose()
            assert street.uplink.findings() == frozenset()
    assert tries == 5 * module.SIGN_TRIES


@pytest.mark.parametrize(("loopback", "window_s"), [(False, 120.0), (True, 5.0)])
def test_the_end_of_a_suspension_is_heard_by_all_so_they_come_back_spread(
    loopback: bool, window_s: float
) -> None:
    street = suspended_street(1.0, loopback=loopback)
    street.do(street.uplink.resume(street.at))
    assert street.uplink.status().retry_at == street.at + window_s
    street.do(street.uplink.resume(street.at))
    assert street.uplink.status().retry_at == street.at + window_s


def test_a_box_suspended_before_its_start_gives_its_sign_of_life_too() -> None:
    street = Street()
    street.do(street.uplink.suspend(street.at))
    assert street.pass_time(2 * module.DAY_S) == []
    street.do(street.uplink.start(street.at))
    commands = street.pass_time(module.DAY_S)
    assert [type(command) for command in commands] == [Connect]
    street.lose(LinkDown(key=None, detail="closed"))
    street.do(street.uplink.resume(street.at))


def test_a_suspension_that_ends_before_the_start_connects_nothing() -> None:
    street = Street()
    street.do(street.uplink.suspend(street.at))
    street.do(street.uplink.resume(street.at))
    assert street.pass_time(1000) == []


def test_a_suspension_heard_twice_and_while_the_link_comes_up_is_told_on_that_link() -> None:
    street = Street()
    street.do(street.uplink.start(street.at))
    street.pass_time(2.0)
    assert street.uplink.status().link is Link.CONNECTING
    street.do(street.uplink.suspend(street.at))
    street.do(street.uplink.suspend(street.at))
    street.go_up()
    street.rest()
    assert street.uplink.status().link is Link.SUSPENDED
    waiting = Street()
    waiting.connect()
    waiting.lose()
    waiting.do(waiting.uplink.suspend(waiting.at))
    assert waiting.uplink.status().link is Link.SUSPENDED


def test_a_journal_made_anew_while_suspended_is_told_and_not_read() -> None:
    street = suspended_street()
    street.pass_time(module.DAY_S)
    street.go_up()
    street.outbox.new_epoch("epoch-2")
    street.put()
    commands = street.commit()
    assert [json.loads(c.message.payload)["epoch"] for c in commands if isinstance(c, Send)] == [
        "epoch-2"
    ]
    assert not any(isinstance(command, Fetch) for command in commands)


# ---- lanes ----


def lanes(commands: list[Command]) -> list[Lane]:
    return [command.lane for command in commands if isinstance(command, Fetch)]


def test_lanes_are_asked_in_their_order_and_history_waits_for_the_hubs_word() -> None:
    street = Street()
    street.show("gate")
    street.put(500)
    street.commit()
    first = street.connect()
    assert lanes(first) == [Lane.AUDIT, Lane.LIVE, Lane.LIVE_PICTURES]
    later = street.acknowledge(Watermark(epoch="epoch-1", upto=0))
    assert lanes(later) == [Lane.AUDIT_HISTORY, Lane.HISTORY, Lane.HISTORY_PICTURES]


def test_what_the_hub_has_already_is_not_sent_again() -> None:
    street = Street()
    street.put(500)
    street.commit()
    street.hub.update(("epoch-1", seq) for seq in range(1, 401))
    street.connect()
    street.acknowledge()
    street.work()
    carried = [seq for message in street.sent for _, seq in seqs_of(message)]
    assert carried == list(range(401, 501))


def test_a_hub_without_a_word_is_waited_for_two_seconds_only() -> None:
    street = Street()
    street.put(500)
    street.commit()
    street.connect()
    street.work()
    assert not street.sent
    street.pass_time(module.ACK_WAIT_S)
    street.work()
    assert sum(len(seqs_of(message)) for message in street.sent) == 500


def test_live_news_goes_before_the_backlog_and_never_waits_for_much_of_it() -> None:
    street = Street()
    street.put(3000, data=b'{"text":"' + b"x" * 1000 + b'"}')
    street.commit()
    street.connect()
    street.acknowledge(Watermark(epoch="epoch-1", upto=0))
    for _ in range(30):
        if street.fetches:
            street.answer_fetch()
    behind = sum(wire.size(message) for message in street.flying.values())
    assert 20_000 < behind <= pace.START_BYTES
    street.put(rank=Rank.STATE)
    street.commit()
    street.answer_fetch() if street.fetches[0].lane is Lane.LIVE else None
    while any(fetch.lane is Lane.LIVE for fetch in street.fetches):
        street.answer_fetch()
    assert street.sent[-1].topic.endswith("/live")
    assert seqs_of(street.sent[-1]) == [("epoch-1", 3001)]


@pytest.mark.parametrize("rank", [Rank.AUDIT, Rank.STATE])
def test_small_pictures_of_the_outage_never_push_its_records_back(rank: Rank) -> None:
    street = Street()
    street.show("gate")
    street.put(2000, rank=rank, data=b'{"text":"' + b"x" * 300 + b'"}')
    for _ in range(600):
        street.outbox.picture("gate", size=4000)
    street.commit()
    street.connect()
    street.acknowledge(Watermark(epoch="epoch-1", upto=0))
    while not {("epoch-1", seq) for seq in range(1, 2001)} <= street.hub:
        # The journal is quicker than the line, so there is always something to choose from.
        while street.fetches:
            street.answer_fetch()
        street.pass_time(0.01)
        street.deliver(next(iter(street.flying)))
    pictures = [message for message in street.sent if message.picture_of]
    # While a line is new there is more room than records were fetched for; after that they fill what becomes free.
    assert len(pictures) < 60


class Flood:
    """A burst in a flood: four pictures of 60 kB a second, on a line of 1 Mbit/s that they fill twice over."""

    BYTES_PER_S = 125_000
    WAY_S = 0.1

    def __init__(self, street: Street) -> None:
        self.street = street
        self._next_at = self._line_free_at = street.at
        self._on_the_line: deque[tuple[float, int]] = deque()
        self._handed: set[int] = set()

    def pass_on(self) -> list[Message]:
        """A twentieth of a second; what arrived in it."""
        street = self.street
        if street.at >= self._next_at:
            for camera in "abcd":
                street.outbox.picture(camera, size=60_000, at=street.at)
            street.commit()
            self._next_at += 1.0
        while street.fetches:
            street.answer_fetch()
        for ticket in sorted(street.flying.keys() - self._handed):
            self._handed.add(ticket)
            seconds = wire.size(street.flying[ticket]) / self.BYTES_PER_S
            self._line_free_at = max(self._line_free_at, street.at) + seconds
            self._on_the_line.append((self._line_free_at + self.WAY_S, ticket))
        came = []
        while self._on_the_line and self._on_the_line[0][0] <= street.at:
            ticket = self._on_the_line.popleft()[1]
            came.append(street.flying[ticket])
            street.deliver(ticket)
        street.acknowledge()
        street.pass_time(0.05)
        return came


def flooded_street(**backlog: object) -> Street:
    """Four open cameras, and a backlog of 2,000 records if *backlog* says of what kind."""
    street = Street()
    street.show("a", "b", "c", "d")
    if backlog:
        street.put(2_000, **backlog)
    street.commit()
    street.connect()
    street.acknowledge(Watermark(epoch="epoch-1", upto=0))
    return street


def test_where_cameras_make_more_than_the_line_carries_what_is_called_live_is_live() -> None:
    """Nothing is lost by it, only the order changes."""
    street, lags = flooded_street(), list[float]()
    flood, begun = Flood(street), street.at
    while street.at < begun + 150.0:
        at = street.at
        for message in flood.pass_on():
            if "/live/" in message.topic:
                (named,) = seqs_of(message)
                lags.append(at - street.outbox.accepted[named].at)
    assert max(lags) < lanes_of.LATE_S + 10.0
    assert min(lags[-100:]) < 5.0
    assert len(lags) > 200
    street.heal()
    assert not street.outbox.kept


def test_class_0_of_the_outage_is_through_soon_on_a_line_full_of_live_pictures() -> None:
    street = flooded_street(rank=Rank.AUDIT, data=b'{"text":"' + b"x" * 300 + b'"}')
    backlog = {("epoch-1", seq) for seq in range(1, 2_001)}
    flood, begun = Flood(street), street.at
    pictures = records = 0
    while not backlog <= street.hub:
        assert street.at < begun + 60.0, "class 0 stands behind pictures that never end"
        for message in flood.pass_on():
            pictures += len(message.payload) if message.picture_of else 0
            records += 0 if message.picture_of else len(message.payload)
    alone_s = records / Flood.BYTES_PER_S
    assert street.at - begun < 1.5 * alone_s
    assert pictures < records / 2
    while street.at < begun + 60.0:
        pictures += sum(len(message.payload) for message in flood.pass_on())
    assert pictures > 0.7 * 60.0 * Flood.BYTES_PER_S - records, "they have the line again"


def test_the_backlog_leaves_places_in_the_window_for_news() -> None:
    street = Street()
    street.show("a", "b", "c")
    for number in range(60):
        street.outbox.picture("abc"[number % 3], size=10)
    street.commit()
    street.connect()
    street.acknowledge(Watermark(epoch="epoch-1", upto=0))
    for _ in range(20):
        if street.fetches:
            street.answer_fetch()
    assert len(street.flying) == window.MAX_IN_FLIGHT - window.SLOTS_FOR_NEWS


def test_cameras_take_turns() -> None:
    street = Street()
    street.show("a", "b", "c")
    street.commit()
    street.connect()
    street.work()
    for number in range(30):
        street.outbox.picture("aaaaabbbcc"[number % 10], size=400_000, at=street.at)
    street.sent.clear()
    street.commit()
    street.work()
    order = [message.topic[-1] for message in street.sent]
    assert order[:3] == ["a", "b", "c"]
    assert sorted(order) == sorted("aaaaabbbcc" * 3)


@pytest.mark.parametrize("again", [False, True])
def test_what_was_read_before_a_press_is_void_although_the_camera_is_open_when_it_comes(
    again: bool,
) -> None:
    street = Street(Settlement.WATERMARK)
    street.commit()
    street.show("gate")
    street.connect()
    street.work()
    street.outbox.picture("gate")
    street.commit()
    if again:  # the hub lacks it, long after the broker took it
        street.work()
        street.acknowledge(Watermark(epoch="epoch-1", upto=1, missing=((1, 1),)))
        street.pass_time(ledger.MISSING_S * 2)
    (fetch,) = [fetch for fetch in street.fetches if again or fetch.camera == "gate"]
    assert (fetch.lane is Lane.AGAIN) is again
    late = street.outbox.fetch(fetch)  # read by a disk that hangs; told much later
    assert late.records
    sent = len(street.sent)
    street.show()
    street.pass_time(3)
    street.show("gate")
    street.fetches.remove(fetch)
    street.tell(late)
    assert len(street.sent) == sent
    assert street.fetches, "what was spared is read again"
    street.work()
    assert len(street.sent) == sent + 1


def test_records_before_this_connection_are_history_and_the_later_ones_live() -> None:
    street = Street(Settlement.BROKER)
    street.put(2, rank=Rank.AUDIT)
    street.commit()
    street.connect()
    street.put(2, rank=Rank.AUDIT)
    street.commit()
    street.work()
    assert [(message.topic.split("/")[-1], len(seqs_of(message))) for message in street.sent] == [
        ("live", 2),
        ("history", 2),
    ]
    assert not street.outbox.kept


def test_batches_are_bounded_in_records_and_bytes() -> None:
    street = Street(Settlement.BROKER)
    street.put(450)
    street.put(40, data=json.dumps({"x": "y" * 5000}).encode())
    street.commit()
    street.connect()
    street.work()
    for message in street.sent:
        assert len(seqs_of(message)) <= lanes_of.BATCH_RECORDS
        assert len(message.payload) <= pace.PARCEL_MOST_BYTES + 100


def test_a_slow_hub_holds_up_history_but_not_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY_AWAITS_RECORDS", 300)
    street = Street()
    street.put(2000)
    street.commit()
    street.connect()
    street.pass_time(module.ACK_WAIT_S)
    street.work()
    assert 300 <= street.uplink.status().awaiting <= 300 + lanes_of.PAGE_RECORDS
    street.put(rank=Rank.STATE)
    street.commit()
    street.work()
    assert seqs_of(street.sent[-1]) == [("epoch-1", 2001)]
    street.acknowledge()
    street.work()
    assert street.uplink.status().awaiting >= 300
    monkeypatch.setattr(module, "LIVE_AWAITS_RECORDS", 100)
    street.sent.clear()
    street.put(rank=Rank.STATE)
    street.commit()
    street.work()
    assert street.sent == []


# ---- states ----


def test_the_newest_state_of_a_camera_goes_first_and_again_after_a_reconnect() -> None:
    street = Street()
    street.put(5)
    for number in range(3):
        message = wire.camera_state(IDENTITY, "gate", {"n": number})
        street.do(street.uplink.publish_state(message, street.at))
    street.commit()
    commands = street.connect()
    assert isinstance(commands[0], Send)
    assert json.loads(commands[0].message.payload)["n"] == 2
    street.lose()
    again = street.connect()
    assert isinstance(again[0], Send)
    assert again[0].message == commands[0].message


def test_a_state_that_is_refused_is_tried_again_slowly() -> None:
    street = Street()
    street.connect()
    message = wire.camera_state(IDENTITY, "gate", {})
    (send,) = street.do(street.uplink.publish_state(message, street.at))
    assert isinstance(send, Send)
    street.deliver(send.ticket, 0x87)
    (trouble,) = street.uplink.findings()
    assert trouble.key is FindingKey.HUB_REFUSED_TOPIC
    assert trouble.detail == f"{NAME}/camera/gate: reason 0x87"
    assert street.pass_time(lanes_of.REFUSED_S - 1) == []
    (again,) = street.pass_time(1)
    assert isinstance(again, Send)
    street.deliver(again.ticket)
    assert street.uplink.findings() == frozenset()


def test_a_state_too_large_for_the_broker_is_a_finding() -> None:
    street = Street()
    street.connect(up(packet=200))
    message = wire.camera_state(IDENTITY, "gate", {"x": "y" * 500})
    assert street.do(street.uplink.publish_state(message, street.at)) == []
    (trouble,) = street.uplink.findings()
    assert trouble.key is FindingKey.HUB_REFUSED_TOPIC
    assert "at most 200" in trouble.detail


def test_states_wait_for_room_in_the_window() -> None:
    street = Street()
    street.connect(up(receive_maximum=1))
    for camera in ("a", "b"):
        message = wire.camera_state(IDENTITY, camera, {})
        street.do(street.uplink.publish_state(message, street.at))
    assert len(street.flying) == 1
    street.deliver(next(iter(street.flying)))
    assert [message.topic[-1] for message in street.sent] == ["a", "b"]


def test_a_state_that_did_not_leave_is_sent_again_and_a_reply_is_not() -> None:
    street = Street()
    reply = wire.reply(IDENTITY, correlation=b"1", number=1, result="done")
    assert street.do(street.uplink.send_reply(reply, street.at)) == []
    street.connect()
    message = wire.camera_state(IDENTITY, "gate", {})
    street.do(street.uplink.publish_state(message, street.at))
    street.do(street.uplink.send_reply(reply, street.at))
    for ticket in tuple(street.flying):
        del street.flying[ticket]
        street.tell(NotSent(ticket=ticket))
    commands = street.pass_time(lanes_of.RETRY_S)
    assert [c.message for c in commands if isinstance(c, Send)] == [message]


def test_an_empty_journal_is_told_as_such() -> None:
    street = Street()
    street.commit()
    street.do(street.uplink.start(street.at))
    (connect,) = street.pass_time(2.0)
    assert isinstance(connect, Connect)
    assert json.loads(connect.birth.payload)["oldest_seq"] is None
    assert json.loads(connect.birth.payload)["epoch"] == "epoch-1"


def test_after_a_loss_that_a_city_shares_the_backlog_waits_for_its_turn_and_news_does_not() -> None:
    street = Street(Settlement.BROKER)
    street.put(500)
    street.put(3, rank=Rank.AUDIT)
    street.commit()
    street.connect()
    street.lose()
    street.connect()
    backfill_at = street.uplink.status().backfill_at
    assert backfill_at == street.at + 60.0
    street.put(2, rank=Rank.STATE)
    street.commit()
    street.work()
    carried = {seq for message in street.sent for _, seq in seqs_of(message)}
    assert carried == {501, 502, 503, 504, 505}
    street.pass_time(60.0)
    street.work()
    assert not street.outbox.kept
    assert street.uplink.status().backfill_at is None


@pytest.mark.parametrize(
    "loss",
    [
        LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="cable out", local=True),
        LinkDown(key=None, detail="hung up", by_press=True),
    ],
)
def test_a_loss_of_this_box_alone_makes_no_backlog_wait(loss: LinkDown) -> None:
    street = Street()
    street.put(500)
    street.commit()
    street.connect()
    street.lose(loss)
    street.connect()
    assert street.uplink.status().backfill_at is None


def test_the_hubs_rate_holds_the_backlog_and_not_the_news() -> None:
    street = Street(Settlement.BROKER)
    street.uplink.obey(street.at, window_s=None, backfill_bytes_per_s=1000.0)
    street.put(600)
    street.commit()
    street.connect()
    began = street.at
    street.work()
    first = sum(map(wire.size, street.sent))
    assert 0 < first < 10_000
    street.put(rank=Rank.AUDIT)
    street.commit()
    street.work()
    assert seqs_of(street.sent[-1]) == [("epoch-1", 601)]
    while street.outbox.kept:
        street.pass_time(1.0)
        street.work()
    size = sum(map(wire.size, street.sent))
    assert 0.9 <= size / (1000.0 * (street.at - began)) <= 1.1


def test_a_journal_known_only_after_the_birth_is_told_to_the_hub() -> None:
    street = Street()
    street.connect()
    street.put(3)
    commands = street.commit()
    births = [c.message for c in commands if isinstance(c, Send)]
    assert json.loads(births[0].payload)["epoch"] == "epoch-1"
    street.work()
    assert [message.topic.split("/")[-1] for message in street.sent] == ["presence", "history"]


def test_a_journal_made_anew_while_the_birth_was_under_way_is_told_to_the_hub() -> None:
    """Or the hub would answer for the old one for as long as this connection lives."""
    street = Street()
    street.put(3)
    street.commit()
    street.do(street.uplink.start(street.at))
    commands = street.pass_time(60)
    birth = next(c.birth for c in commands if isinstance(c, Connect))
    assert json.loads(birth.payload)["epoch"] == "epoch-1"
    street.outbox.new_epoch("epoch-2")
    street.commit()
    street.go_up()
    told = [message for message in street.sent if message.topic == birth.topic]
    assert [json.loads(message.payload)["epoch"] for message in told] == ["epoch-2"]


# ---- refusals ----


def waiting_street(mode: Settlement = Settlement.BROKER, **more: object) -> Street:
    street = Street(mode)
    street.put(3, **more)
    street.commit()
    street.connect()
    while street.fetches:
        street.answer_fetch()
    return street


@pytest.mark.parametrize("mode", list(Settlement))
def test_when_nobody_listens_nothing_is_forgotten_and_it_is_tried_each_minute(
    mode: Settlement,
) -> None:
    street = waiting_street(mode)
    (ticket,) = street.flying
    street.deliver(ticket, 0x10, arrives=False)
    assert len(street.outbox.kept) == 3
    assert [trouble.key for trouble in street.uplink.findings()] == [FindingKey.HUB_NOBODY_LISTENS]
    assert not any(isinstance(c, Fetch) for c in street.pass_time(lanes_of.NOBODY_S - 1))
    street.pass_time(1)
    street.work()
    assert street.uplink.findings() == frozenset()
    assert len(street.sent) == 2


def test_any_word_of_the_hub_ends_the_pause_because_nobody_listened() -> None:
    street = waiting_street(Settlement.WATERMARK)
    (ticket,) = street.flying
    street.deliver(ticket, 0x10, arrives=False)
    street.acknowledge(Watermark(epoch="epoch-1", upto=0))
    assert street.fetches


@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x90, 0x97])
def test_a_refused_topic_is_kept_and_tried_again_after_a_quarter_of_an_hour(code: int) -> None:
    street = waiting_street()
    (ticket,) = street.flying
    street.deliver(ticket, code, arrives=False)
    assert len(street.outbox.kept) == 3
    (trouble,) = street.uplink.findings()
    assert trouble.key is FindingKey.HUB_REFUSED_TOPIC
    assert f"0x{code:02X}" in trouble.detail
    assert street.pass_time(lanes_of.REFUSED_S - 1) == []
    street.put(rank=Rank.AUDIT)
    street.commit()
    street.work()  # another lane is not held up by it
    assert len(street.outbox.kept) == 3
    street.pass_time(1)
    street.work()
    assert not street.outbox.kept
    assert street.uplink.findings() == frozenset()


def test_replies_wait_for_room_and_go_before_records_but_not_over_to_the_next_connection() -> None:
    street = Street()
    street.put(3)
    street.commit()
    street.connect(up(receive_maximum=1))
    street.work()
    street.put(3)
    street.commit()
    while not street.flying:
        street.answer_fetch()
    (busy,) = street.flying
    for number in (1, 2, 3):
        reply = wire.reply(IDENTITY, correlation=None, number=number, result="done")
        assert street.do(street.uplink.send_reply(reply, street.at)) == []
    for number in (1, 2):
        street.deliver(busy)
        (busy,) = street.flying
        assert json.loads(street.flying[busy].payload)["number"] == number
    street.lose()
    street.connect()
    street.work()
    numbers = [json.loads(m.payload)["number"] for m in street.sent if m.topic.endswith("/reply")]
    assert numbers == [1, 2]


@pytest.mark.parametrize("code", [0x10, 0x87, 0x99])
def test_a_hub_that_wants_everything_now_ends_each_pause(code: int) -> None:
    street = waiting_street()
    (ticket,) = street.flying
    street.deliver(ticket, code, arrives=False)
    assert street.pass_time(1) == []
    street.do(street.uplink.sync_now(street.at))
    street.work()
    assert not street.outbox.kept
    assert street.uplink.findings() == frozenset()


def test_a_hub_that_wants_everything_now_gets_a_refused_state_too_and_no_wait_for_its_word() -> (
    None
):
    street = Street()
    street.put(lanes_of.BATCH_RECORDS * 2)
    street.commit()
    message = wire.camera_state(IDENTITY, "gate", {"state": 1})
    street.do(street.uplink.publish_state(message, street.at))
    street.connect()
    ticket = next(t for t, sent in street.flying.items() if sent.topic == message.topic)
    street.deliver(ticket, 0x87)
    assert not [fetch for fetch in street.fetches if fetch.lane is Lane.HISTORY]
    street.do(street.uplink.sync_now(street.at))
    assert [fetch for fetch in street.fetches if fetch.lane is Lane.HISTORY]
    assert [sent.topic for sent in street.flying.values()] == [message.topic]


def test_what_is_wanted_now_waits_for_a_link_and_for_the_end_of_a_suspension() -> None:
    street = Street()
    street.put(3)
    street.commit()
    assert street.do(street.uplink.sync_now(street.at)) == []
    street.connect()
    street.do(street.uplink.suspend(street.at))
    assert street.do(street.uplink.sync_now(street.at)) == []


def test_one_poisoned_record_does_not_hold_up_the_others() -> None:
    street = waiting_street()
    (ticket,) = street.flying
    street.deliver(ticket, 0x99, arrives=False)
    street.put()
    street.commit()
    street.work()
    assert set(street.outbox.kept) == {1, 2, 3}
    assert street.uplink.status().parked == 3
    street.pass_time(lanes_of.REFUSED_S)
    street.answer_fetch()
    alone = [seqs_of(message) for message in street.flying.values()]
    assert alone == [[("epoch-1", 1)], [("epoch-1", 2)], [("epoch-1", 3)]]
    first, second, third = street.flying
    street.deliver(first)
    street.deliver(second, 0x99, arrives=False)
    street.deliver(third)
    assert set(street.outbox.kept) == {2}
    assert street.uplink.status().parked == 1


def test_with_no_room_for_more_poison_its_lane_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_of, "MAX_PARKED", 2)
    street = waiting_street()
    (ticket,) = street.flying
    street.deliver(ticket, 0x99, arrives=False)
    assert street.uplink.status().parked == 0
    assert street.pass_time(lanes_of.REFUSED_S - 1) == []
    street.pass_time(1)
    street.work()
    assert not street.outbox.kept


def test_what_is_too_large_for_the_broker_is_kept_reported_and_in_nobodys_way() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.put(data=json.dumps({"x": "y" * 5000}).encode())
    street.outbox.picture("gate", size=10_000)
    street.put()
    street.commit()
    street.connect(up(packet=3000))
    street.work()
    assert set(street.outbox.kept) == {1, 2}
    (trouble,) = street.uplink.findings()
    assert trouble.key is FindingKey.HUB_TOO_LARGE
    assert "2 kept" in trouble.detail
    assert street.uplink.status().parked == 2
    street.lose()
    street.connect()
    street.work()
    assert not street.outbox.kept
    assert street.uplink.findings() == frozenset()


def test_topics_that_may_not_be_read_are_a_finding() -> None:
    street = Street()
    street.connect(up(refused=(f"{NAME}/ack",)))
    (trouble,) = street.uplink.findings()
    assert trouble.key is FindingKey.HUB_REFUSED_TOPIC
    assert f"{NAME}/ack" in trouble.detail


def test_going_back_for_one_does_not_send_the_others_twice() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.commit()
    street.connect()
    street.work()
    for _ in range(4):
        street.outbox.picture("gate", size=1000)
    street.commit()
    while street.fetches:
        street.answer_fetch()
    first = next(iter(street.flying))
    del street.flying[first]
    street.tell(NotSent(ticket=first))
    street.pass_time(lanes_of.RETRY_S)
    while street.fetches:
        street.answer_fetch()
    carried = [seq for message in street.sent for _, seq in seqs_of(message)]
    assert carried == [1, 2, 3, 4, 1]


def test_what_falls_due_while_the_link_is_down_is_tried_when_it_is_back() -> None:
    street = waiting_street()
    (ticket,) = street.flying
    street.deliver(ticket, 0x99, arrives=False)
    street.lose()
    street.pass_time(lanes_of.REFUSED_S * 2)
    street.go_up()
    street.work()
    assert len(street.outbox.kept) == 3
    street.pass_time(1)
    street.work()
    assert not street.outbox.kept


# ---- too large, though nobody said what is ----


def refuse_above(street: Street, payload: int) -> int:
    """Answer as mosquitto's message_size_limit does, until nothing is under way; how often it had to."""
    refused = 0
    for _ in range(10_000):
        if street.fetches:
            street.answer_fetch()
        elif street.flying:
            ticket, message = next(iter(street.flying.items()))
            too_large = len(message.payload) > payload
            refused += too_large
            street.deliver(ticket, 0x95 if too_large else 0, arrives=not too_large)
        else:
            return refused
    raise AssertionError("it never comes to rest")


@pytest.mark.parametrize("mode", list(Settlement))
def test_a_limit_that_was_not_announced_is_found_out_and_costs_no_connection(
    mode: Settlement,
) -> None:
    street = Street(mode)
    street.show("gate")
    street.put(600, data=json.dumps({"x": "y" * 300}).encode())
    for size in (30_000, 40_000, 2_000, 35_000):
        street.outbox.picture("gate", size=size)
    street.put(rank=Rank.AUDIT)
    street.commit()
    street.connect()
    street.pass_time(module.ACK_WAIT_S)
    refused = refuse_above(street, 3_500)
    street.acknowledge()
    assert set(street.outbox.kept) == {601, 602, 604}
    assert refused <= 40, "batches halve, they do not creep"
    (trouble,) = street.uplink.findings()
    assert trouble.key is FindingKey.HUB_TOO_LARGE
    assert trouble.detail.startswith("3 kept; seq 601: 30")
    limit = street.uplink.refused_bytes
    assert limit is not None
    assert 30_000 < limit < 40_000
    street.outbox.picture("gate", size=50_000)
    street.commit()
    assert refuse_above(street, 3_500) == 0, "nothing as large is tried again soon"
    # The smallest is tried now and then, over connections too.
    street.lose()
    street.connect()
    street.pass_time(module.ACK_WAIT_S)
    assert refuse_above(street, 3_500) <= 1
    before = len(street.sent)
    for _ in range(5 * 24 * 4):
        street.pass_time(900.0)
        refuse_above(street, 3_500)
    assert len(street.sent) - before <= 2 * 7 + 5, "the smallest, and one by turns"
    # The city raises its limit: the one that is tried brings all others after it.
    street.pass_time(2 * lanes_of.REFUSED_MOST_S)
    street.work()
    street.acknowledge()
    assert not street.outbox.kept
    assert street.uplink.findings() == frozenset()
    assert street.uplink.refused_bytes is None


def test_a_hub_that_wants_everything_now_is_asked_at_once_whether_its_limit_holds() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.outbox.picture("gate", size=30_000)
    street.commit()
    street.connect()
    assert refuse_above(street, 3_500) == 1
    assert refuse_above(street, 3_500) == 0
    street.do(street.uplink.sync_now(street.at))
    street.work()
    assert not street.outbox.kept


def test_what_was_too_large_and_is_gone_limits_nothing_for_long() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.outbox.picture("gate", size=30_000, at=street.at)
    street.commit()
    street.connect()
    assert refuse_above(street, 3_500) == 1
    street.tell(street.outbox.purge(0.0))
    assert street.uplink.findings() == frozenset()
    street.pass_time(lanes_of.REFUSED_S)
    assert street.uplink.refused_bytes is None


def test_a_broker_that_errs_about_one_small_record_gets_all_others() -> None:
    street = waiting_street(data=b'{"n":1}')
    while street.flying:
        ticket, message = next(iter(street.flying.items()))
        errs = ("epoch-1", 1) in seqs_of(message)
        street.deliver(ticket, 0x95 if errs else 0, arrives=not errs)
        while street.fetches:
            street.answer_fetch()
    street.put(20)
    street.commit()
    street.work()
    assert set(street.outbox.kept) == {1}
    assert street.uplink.refused_bytes is None


def refuse(street: Street, unwanted: Callable[[Message], bool]) -> None:
    """Answer everything there is; what is unwanted, as too large."""
    for _ in range(10_000):
        if street.fetches:
            street.answer_fetch()
        elif street.flying:
            ticket, message = next(iter(street.flying.items()))
            no = unwanted(message)
            street.deliver(ticket, 0x95 if no else 0, arrives=not no)
        else:
            return
    raise AssertionError("it never comes to rest")


def days(street: Street, count: float, unwanted: Callable[[Message], bool]) -> None:
    for _ in range(round(count * 24)):
        street.pass_time(3_600.0)
        refuse(street, unwanted)


def carries(*seqs: int) -> Callable[[Message], bool]:
    return lambda message: not set(seqs).isdisjoint(seq for _, seq in seqs_of(message))


@pytest.mark.parametrize("poison", [10, 5_000])
def test_one_record_that_is_always_called_too_large_does_not_speak_for_the_others(
    poison: int,
) -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.put(data=json.dumps({"bad": "x" * poison}).encode())
    street.put(rank=Rank.AUDIT, data=json.dumps({"alarm": "y" * 100}).encode())
    for size in (30_000, 40_000):
        street.outbox.picture("gate", size=size)
    street.commit()
    street.connect()
    refuse(street, lambda message: bool(seqs_of(message)))
    assert set(street.outbox.kept) == {1, 2, 3, 4}
    days(street, 7, carries(1))
    assert set(street.outbox.kept) == {1}
    street.outbox.picture("gate", size=50_000)
    street.commit()
    days(street, 3, carries(1))
    assert set(street.outbox.kept) == {1}, "nor about what comes later"


@pytest.mark.parametrize("gone", ["thinned", "closed"])
def test_what_cannot_be_tried_does_not_cost_a_day_each(gone: str) -> None:
    street = Street(Settlement.BROKER)
    street.show("gate", "bridge")
    for number in range(40):
        street.outbox.picture("gate", size=30_000 + number)
    last = street.outbox.picture("bridge", size=50_000).seq
    street.commit()
    street.connect()
    refuse_above(street, 20_000)
    days(street, 10, lambda message: len(message.payload) > 20_000)
    assert len(street.outbox.kept) == 41
    if gone == "closed":
        street.show("bridge")
    else:  # of which nobody tells
        for seq in [seq for seq in street.outbox.kept if seq != last]:
            del street.outbox.kept[seq]
            street.outbox.gone.add(seq)
    days(street, 1, lambda _: False)
    assert last not in street.outbox.kept
    assert street.uplink.refused_bytes is None


def test_a_limit_of_closed_cameras_pictures_alone_holds_for_nobody_else() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.outbox.picture("gate", size=30_000)
    street.commit()
    street.connect()
    refuse_above(street, 20_000)
    assert street.uplink.refused_bytes is not None
    street.show("bridge")
    days(street, 1, lambda _: False)
    assert street.uplink.refused_bytes is None


def test_a_limit_that_comes_back_after_quiet_days_is_asked_for_as_soon_as_the_first() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    for limit_for in (5, 0):
        street.outbox.picture("gate", size=30_000)
        street.commit()
        if street.connects == 0:
            street.connect()
        assert refuse_above(street, 20_000) == 1
        days(street, limit_for, lambda message: len(message.payload) > 20_000)
        street.pass_time(lanes_of.REFUSED_S if not limit_for else 86_400.0)
        street.work()
        assert not street.outbox.kept
        days(street, 2, lambda _: False)


# ---- what ends connections ----


EVERYTHING = frozenset(range(1, 10_000))


def carry(street: Street, poison: Set[int]) -> bool:
    """Everything arrives, up to a message that carries poison: there somebody hangs up. Whether the link is still there."""
    for _ in range(10_000):
        if street.fetches:
            street.answer_fetch()
        elif street.flying:
            ticket, message = next(iter(street.flying.items()))
            if poison & {seq for _, seq in seqs_of(message)}:
                street.lose()
                return False
            street.deliver(ticket)
        else:
            if street.mode is Settlement.WATERMARK:
                street.acknowledge()
            return True
    raise AssertionError("it never comes to rest")


def live_with(street: Street, poison: Set[int], seconds: float, *, news_s: float = 3_600.0) -> None:
    """So long, with a record each hour, or as often as *news_s* says."""
    began = street.at
    for half_minute in range(int(seconds / 30.0)):
        street.pass_time(began + 30.0 * (half_minute + 1) - street.at)
        if half_minute % (news_s // 30.0) == 0:
            street.put()
            street.commit()
        if street.uplink.status().link is Link.CONNECTING:
            street.go_up()
        if street.uplink.status().link is Link.UP:
            carry(street, poison)


@pytest.mark.parametrize("lane", list(Lane))
def test_a_message_at_which_somebody_hangs_up_is_named_kept_and_in_nobodys_way(lane: Lane) -> None:
    street = Street()
    street.show("gate")
    street.put(5)
    fresh = lane in (Lane.AUDIT, Lane.LIVE, Lane.LIVE_PICTURES)
    if fresh:
        street.commit()
        street.connect()
        carry(street, set())
    if lane in (Lane.LIVE_PICTURES, Lane.HISTORY_PICTURES):
        guilty = street.outbox.picture("gate", size=50_000, at=street.at).seq
    else:
        rank = Rank.AUDIT if lane in (Lane.AUDIT, Lane.AUDIT_HISTORY) else Rank.STATE
        guilty = street.outbox.put(rank=rank).seq
    for _ in range(20):
        street.outbox.picture("gate", size=2_000, at=street.at)
        street.put(rank=Rank.AUDIT)
        street.put()
    street.commit()
    if lane is Lane.AGAIN:  # it came through once, and the hub lost it
        street.connect()
        street.pass_time(module.ACK_WAIT_S)
        street.work()
        never(street, {guilty})
    elif not fresh:
        street.connect()
    live_with(street, {guilty}, 2 * 3_600.0)
    assert {guilty} <= set(street.outbox.kept) <= {guilty, street.outbox.last_seq}
    (trouble,) = [t for t in street.uplink.findings() if t.key is not FindingKey.HUB_UNREACHABLE]
    assert trouble.key is FindingKey.HUB_HANGS_UP
    assert trouble.detail.startswith(f"1 kept; seq {guilty}: ")
    before = street.connects
    live_with(street, {guilty}, 10 * 86_400.0)
    assert street.connects - before <= 7 + 10, "once a day in the end"
    live_with(street, set(), 2 * 86_400.0)
    assert not street.outbox.kept
    assert street.uplink.findings() == frozenset()


@pytest.mark.parametrize("step", [2_000, -2_000])
def test_what_is_cut_for_its_size_is_found_out_and_costs_few_connections(step: int) -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.put(300)
    sizes = range(50_000, 90_000, 2_000)[:: 1 if step > 0 else -1]
    big = {street.outbox.picture("gate", size=size).seq for size in sizes}
    for _ in range(20):
        street.outbox.picture("gate", size=3_000)
    street.commit()
    street.connect()
    live_with(street, big, 2 * 3_600.0, news_s=60.0)
    assert set(street.outbox.kept) == big
    few = 1 + 3 + 3 + 4  # two tell enough; one is tried again, ever more rarely
    assert street.connects <= few + (len(big) if step < 0 else 0)
    assert FindingKey.HUB_TOO_LARGE in {t.key for t in street.uplink.findings()}
    assert street.uplink.refused_bytes is not None


def test_a_line_that_breaks_each_time_blames_nobody_for_long() -> None:
    """Nothing gets through for a day; then all does, within the shortest time that anybody is kept away."""
    street = Street(Settlement.BROKER)
    street.put(300)
    street.put(5, rank=Rank.AUDIT)
    street.commit()
    street.connect()
    live_with(street, EVERYTHING, 86_400.0)
    assert len(street.outbox.kept) == 305 + 24
    live_with(street, set(), suspects.CONVICT_S + 300.0)
    assert not street.outbox.kept
    assert street.uplink.findings() == frozenset()


def test_a_broker_that_never_answers_one_message_is_the_same() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    guilty = street.outbox.picture("gate", size=50_000).seq
    for _ in range(5):
        street.outbox.picture("gate", size=2_000)
    street.commit()
    street.connect()
    for _ in range(200):
        for command in street.pass_time(20.0):
            if isinstance(command, Disconnect):
                street.tell(LinkDown(key=None, detail="closed"))
        if street.uplink.status().link is Link.CONNECTING:
            street.go_up()
        while street.fetches:
            street.answer_fetch()
        for ticket, message in list(street.flying.items()):
            if guilty not in {seq for _, seq in seqs_of(message)}:
                street.deliver(ticket)
    assert set(street.outbox.kept) == {guilty}
    assert FindingKey.HUB_HANGS_UP in {trouble.key for trouble in street.uplink.findings()}


@pytest.mark.parametrize(
    "event",
    [
        LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="no route", local=True),
        LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="busy", patient=True),
        LinkDown(key=FindingKey.HUB_REFUSED_CLIENT, detail="taken over"),
        LinkDown(key=FindingKey.HUB_TLS, detail="its dates"),
        GONE,
    ],
    ids=lambda event: event.detail,
)
def test_an_alarm_is_not_blamed_for_an_outage_that_says_nothing_about_it(event: LinkDown) -> None:
    street = Street(Settlement.BROKER)
    street.put(5)
    street.commit()
    street.connect()
    street.work()
    alarm = street.outbox.put(rank=Rank.AUDIT).seq
    street.commit()
    for _ in range(20):
        while street.fetches:
            street.answer_fetch()
        street.lose(event)
        street.connect()
        assert FindingKey.HUB_HANGS_UP not in {trouble.key for trouble in street.uplink.findings()}
    street.pass_time(suspects.UNPROVEN_S + 1.0)  # nothing else is there
    street.work()
    assert alarm not in street.outbox.kept
    again = street.outbox.put(rank=Rank.AUDIT).seq
    street.commit()
    for _ in range(4):
        while street.fetches:
            street.answer_fetch()
        street.lose(event)
        street.connect()
    street.put()
    street.commit()
    street.work()
    assert again not in street.outbox.kept, "whatever is answered says that the way is well"


@pytest.mark.parametrize(("news_s", "way_s"), [(0.4, 0.6), (1.0, 1.2)])
def test_a_suspect_of_the_backlog_leaves_however_often_news_comes(
    news_s: float, way_s: float
) -> None:
    street = Street(Settlement.BROKER)
    street.put(80)
    street.commit()
    street.connect()
    street.lose()
    for _ in range(2):
        street.connect()
        while street.fetches:
            street.answer_fetch()
        assert street.flying
        street.lose()
    street.connect()
    since: dict[int, float] = {}
    for tenth in range(3_000):
        street.pass_time(0.1)
        if tenth % round(news_s * 10) == 0:
            street.put()
            street.commit()
        for _ in range(3):
            while street.fetches:
                street.answer_fetch()
            for ticket in street.flying:
                since.setdefault(ticket, street.at)
            for ticket in [t for t in street.flying if street.at - since[t] >= way_s - 1e-6]:
                street.deliver(ticket)
    assert min(street.outbox.kept) > 80


def test_class_0_and_camera_states_pass_a_suspect_that_gets_no_answer() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    guilty = street.outbox.picture("gate", size=50_000).seq
    street.commit()
    street.connect()
    street.lose()
    for _ in range(2):
        street.connect()
        while street.fetches:
            street.answer_fetch()
        street.lose()
    street.connect()
    street.pass_time(120.0)
    while street.fetches:
        street.answer_fetch()
    (stuck,) = street.flying
    assert [seq for _, seq in seqs_of(street.flying[stuck])] == [guilty]
    alarm = street.outbox.put(rank=Rank.AUDIT).seq
    street.put()
    street.commit()
    state = wire.camera_state(IDENTITY, "gate", {"state": 1})
    street.do(street.uplink.publish_state(state, street.at))
    while street.fetches:
        street.answer_fetch()
    beside = [message for ticket, message in street.flying.items() if ticket != stuck]
    assert state in beside
    assert [seq for message in beside for _, seq in seqs_of(message)] == [alarm]


def test_a_press_blames_no_picture() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.outbox.picture("gate", size=50_000)
    street.commit()
    street.connect()
    for _ in range(10):
        while street.fetches:
            street.answer_fetch()
        assert street.flying
        street.lose(LinkDown(key=None, detail="hung up", by_press=True))
        street.pass_time(1.0)
        street.go_up()
    assert street.uplink.findings() == frozenset()
    carry(street, set())
    assert not street.outbox.kept


# ---- what the hub never acknowledges ----


def never(street: Street, lost: set[int]) -> None:
    """The hub has everything but these, and says so."""
    street.hub -= {(street.outbox.epoch, seq) for seq in lost}
    street.acknowledge()


def test_what_the_hub_never_acknowledges_costs_a_bounded_amount_a_day_and_is_reported() -> None:
    street = Street()
    street.show("gate")
    lost = {street.outbox.picture("gate", size=50_000).seq for _ in range(50)}
    street.put(5)
    street.commit()
    street.connect()
    days = []
    for _ in range(4):
        street.sent.clear()
        for minute in range(24 * 60):
            street.pass_time(60.0)
            if minute % 60 == 0:
                street.put()
                street.commit()
            street.work()
            never(street, lost)
        days.append(sum(wire.size(message) for message in street.sent))
    assert set(street.outbox.kept) == lost
    assert days[0] < 15 * 50 * 52_000
    assert max(days[1:]) < 2.5 * 50 * 52_000
    (trouble,) = street.uplink.findings()
    assert trouble.key is FindingKey.HUB_LACKS
    assert trouble.detail == "50 kept; complete at the hub up to 0"
    street.sent.clear()
    for _ in range(10):
        street.lose()
        street.connect()
        street.work()
        never(street, lost)
    assert len(street.sent) <= 50, "a new connection is no reason to send them again"
    # The city has mended its receiver.
    street.do(street.uplink.sync_now(street.at))
    for _ in range(10):
        street.pass_time(15.0)
        street.work()
        street.acknowledge()
    assert not street.outbox.kept
    assert street.uplink.findings() == frozenset()


def test_an_alarm_that_the_hub_lost_twice_goes_again_on_a_line_whose_pictures_never_end() -> None:
    street = Street()
    street.show("gate")
    street.put(3)
    street.commit()
    street.connect()
    street.pass_time(5.0)
    street.work()
    street.acknowledge()
    alarm = street.outbox.put(rank=Rank.AUDIT).seq
    for _ in range(50):
        street.outbox.picture("gate", size=20_000, at=street.at)
    street.commit()
    lost = 2
    for step in range(360):
        street.pass_time(10.0)
        for _ in range(2):
            street.outbox.picture("gate", size=20_000, at=street.at)
        street.commit()
        for _ in range(2):
            while street.fetches:
                street.answer_fetch()
            ticket, message = next(iter(street.flying.items()))
            loses = lost > 0 and carries(alarm)(message)
            lost -= loses
            street.deliver(ticket, arrives=not loses)
        if step % 3 == 0:
            street.acknowledge()
    assert alarm not in street.outbox.kept
    assert len(street.outbox.kept) > 10, "the line was never idle"


def test_the_backlog_drains_past_what_the_hub_never_acknowledges() -> None:
    """A line that carries two pictures a second, and 200 holes before 1,000 pictures of the outage."""
    street = Street()
    street.show("gate")
    lost = {street.outbox.picture("gate", size=20_000).seq for _ in range(200)}
    for _ in range(1_000):
        street.outbox.picture("gate", size=20_000)
    street.commit()
    street.connect()
    for second in range(900):
        street.pass_time(1.0)
        for _ in range(2):
            while street.fetches:
                street.answer_fetch()
            if street.flying:
                street.deliver(next(iter(street.flying)))
        if second % 3 == 0:
            never(street, lost)
        if second == 400:
            assert FindingKey.HUB_LACKS in {t.key for t in street.uplink.findings()}
    never(street, lost)
    assert set(street.outbox.kept) == lost
    assert FindingKey.HUB_SILENT not in {trouble.key for trouble in street.uplink.findings()}


# ---- the hub's word ----


def test_a_puback_alone_settles_nothing_by_the_watermark() -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    assert len(street.outbox.kept) == 3
    assert street.uplink.status().awaiting == 3
    street.acknowledge()
    assert not street.outbox.kept
    assert street.uplink.status().awaiting == 0
    assert street.uplink.status().settled_upto == 3


def test_what_the_hub_did_not_acknowledge_goes_again_after_a_reconnect() -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    street.hub.clear()
    street.lose()
    street.sent.clear()
    street.connect()
    street.work()
    assert [len(seqs_of(message)) for message in street.sent] == [3]


def test_a_watermark_faster_than_the_puback_leaves_nothing_to_wait_for() -> None:
    street = waiting_street(Settlement.WATERMARK)
    (ticket, message) = next(iter(street.flying.items()))
    street.arrive(message)
    street.acknowledge()
    street.deliver(ticket)
    assert street.uplink.status().awaiting == 0


@pytest.mark.parametrize(
    ("mark", "why"),
    [
        (Watermark(epoch="other", upto=3), "of epoch other"),
        (Watermark(epoch="epoch-1", upto=4), "up to 4"),
    ],
)
def test_a_word_that_cannot_be_ours_is_ignored_and_noted(mark: Watermark, why: str) -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    assert not any(isinstance(c, Settle) for c in street.tell(mark))
    assert why in street.uplink.status().ignored
    street.acknowledge()
    assert street.uplink.status().ignored == ""


def test_a_box_that_settles_by_the_broker_ignores_watermarks() -> None:
    street = waiting_street()
    assert street.tell(Watermark(epoch="epoch-1", upto=3)) == []
    assert "broker" in street.uplink.status().ignored


def test_the_same_word_twice_settles_once_and_holes_stay() -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    street.hub.discard(("epoch-1", 2))
    (settle,) = street.acknowledge()
    assert settle == Settle(epoch="epoch-1", ranges=((1, 1), (3, 3)))
    assert street.acknowledge() == []
    assert street.uplink.status().settled_upto == 1


def test_pictures_that_are_held_for_long_never_stop_what_lies_between_them() -> None:
    """More gaps than a watermark has room for: what came beyond them is named by itself."""
    street = Street()
    for _ in range(300):
        street.outbox.picture("gate")  # held since the outage
        street.put(1)
    street.commit()
    street.connect()
    street.pass_time(module.ACK_WAIT_S)
    street.work()
    came = sorted(seq for _, seq in street.hub)
    assert len(came) == 300
    street.acknowledge(
        Watermark(
            epoch="epoch-1",
            upto=200,
            missing=tuple((seq, seq) for seq in range(1, 200, 2)),
            also=tuple((seq, seq) for seq in came if seq > 200),
        )
    )
    assert all(stored.jpeg is not None for stored in street.outbox.kept.values())
    assert street.uplink.status().awaiting == 0
    street.pass_time(ledger.SILENT_S + ledger.MISSING_S)
    assert street.uplink.findings() == frozenset()
    street.show("gate")
    street.work()
    street.acknowledge()
    assert not street.outbox.kept


def test_what_the_hub_still_lacks_after_half_a_minute_is_sent_again() -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    street.hub.discard(("epoch-1", 2))
    street.acknowledge()
    street.sent.clear()
    street.pass_time(ledger.MISSING_S - 1)
    street.work()
    assert street.sent == []
    street.pass_time(ledger.MISSING_S / 3 + 1)
    street.work()
    assert [seqs_of(message) for message in street.sent] == [[("epoch-1", 2)]]
    street.acknowledge()
    assert not street.outbox.kept


def test_what_is_gone_from_the_journal_is_not_asked_for_for_ever() -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    street.hub.discard(("epoch-1", 2))
    street.acknowledge()
    del street.outbox.kept[2]
    street.pass_time(100)
    street.work()
    assert street.uplink.status().awaiting == 0
    assert not any(isinstance(c, Fetch) for c in street.pass_time(1000))


def test_a_silent_hub_is_a_finding_and_is_probed_ever_more_rarely() -> None:
    street = Street()
    street.put(450)
    street.commit()
    street.connect()
    street.pass_time(module.ACK_WAIT_S)
    street.work()
    street.sent.clear()
    probes = []
    for _ in range(40):
        street.pass_time(60)
        street.work()
        if street.sent:
            probes.append(sum(len(seqs_of(message)) for message in street.sent))
            street.sent.clear()
            assert [t.key for t in street.uplink.findings()] == [FindingKey.HUB_SILENT]
    assert 4 <= len(probes) <= 6
    assert set(probes) == {ledger.PROBE_RECORDS}
    street.tell(Watermark(epoch="another", upto=7))
    assert "ignored: of epoch another" in next(iter(street.uplink.findings())).detail
    street.acknowledge()
    assert street.uplink.findings() == frozenset()
    assert not street.outbox.kept


def test_progress_of_the_hub_ends_its_silence() -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    street.pass_time(ledger.SILENT_S)
    assert [t.key for t in street.uplink.findings()] == [FindingKey.HUB_SILENT]
    street.tell(Watermark(epoch="epoch-1", upto=0))  # it lives, but moved nothing
    street.hub.clear()
    street.hub.add(("epoch-1", 1))
    street.acknowledge()
    assert street.uplink.findings() == frozenset()


def test_a_new_journal_voids_what_the_hub_said_of_the_old() -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    street.acknowledge()
    street.lose()
    street.outbox.new_epoch("epoch-2")
    street.put(3)
    street.commit()
    assert street.uplink.status().settled_upto == 0
    street.connect()
    street.work()
    street.acknowledge()
    assert not street.outbox.kept


def test_an_answer_for_the_old_journal_settles_by_its_own_name() -> None:
    street = waiting_street()
    (ticket,) = street.flying
    street.outbox.new_epoch("epoch-2")
    street.commit()
    (settle, *_) = street.deliver(ticket)
    assert settle == Settle(epoch="epoch-1", ranges=((1, 3),))


def test_an_answer_for_the_old_journal_is_not_taken_for_the_new() -> None:
    street = waiting_street(Settlement.WATERMARK)
    (ticket,) = street.flying
    street.outbox.new_epoch("epoch-2")
    street.commit()
    street.deliver(ticket)
    assert street.uplink.status().awaiting == 0


@pytest.mark.parametrize("code", [0x10, 0x87, 0x99])
def test_a_refusal_for_the_old_journal_concerns_nobody(code: int) -> None:
    street = waiting_street()
    (ticket,) = street.flying
    street.outbox.new_epoch("epoch-2")
    street.commit()
    street.deliver(ticket, code, arrives=False)
    assert street.uplink.status().parked == 0


# ---- pictures ----


def test_a_picture_waits_until_its_gate_opens_and_then_goes() -> None:
    street = Street(Settlement.BROKER)
    street.outbox.picture("gate")
    street.commit()
    street.connect()
    street.work()
    assert not street.sent
    street.show("gate")
    street.work()
    assert not street.outbox.kept


def test_pictures_that_wait_for_room_are_dropped_when_their_gate_closes_and_fetched_again() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate", "bridge")
    street.commit()
    street.connect()
    street.work()
    for number in range(8):
        street.outbox.picture("gate" if number % 2 else "bridge", size=400_000)
    street.commit()
    while street.fetches:
        street.answer_fetch()
    assert len(street.flying) == 1
    street.show("bridge")
    for ticket in list(street.flying):
        street.deliver(ticket)
    street.work()
    left = {stored.camera for stored in street.outbox.kept.values()}
    assert left == {"gate"}
    street.show("gate")
    street.work()
    assert not street.outbox.kept


def test_a_picture_fetched_while_its_gate_closes_goes_no_further() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.outbox.picture("gate")
    street.commit()
    street.connect()
    (fetch,) = [fetch for fetch in street.fetches if fetch.lane is Lane.HISTORY_PICTURES]
    street.show()
    street.work()
    assert not street.sent
    assert fetch.camera == "gate"
    street.show("gate")
    street.work()
    assert not street.outbox.kept


def test_a_purged_picture_that_waits_is_destroyed_here_too() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.commit()
    street.connect()
    street.work()
    for _ in range(4):
        street.outbox.picture("gate", size=400_000)
    street.commit()
    while street.fetches:
        street.answer_fetch()
    purged = street.outbox.purge(0.0)
    street.tell(purged)
    for ticket in list(street.flying):
        street.deliver(ticket)
    street.work()
    assert len(street.sent) == 1


def test_a_picture_asked_for_again_waits_for_its_gate() -> None:
    street = Street()
    street.show("gate")
    street.commit()
    street.connect()
    stored = street.outbox.picture("gate")
    street.commit()
    street.work()
    street.put()
    street.commit()
    street.work()
    street.hub.discard((stored.epoch, stored.seq))
    street.acknowledge()
    street.show()
    street.sent.clear()
    street.pass_time(60)
    street.work()
    assert street.sent == []
    street.show("gate")
    street.work()
    assert [seqs_of(message) for message in street.sent] == [[(stored.epoch, stored.seq)]]
    street.acknowledge()
    assert not street.outbox.kept


def test_a_picture_asked_for_again_and_purged_meanwhile_is_forgotten() -> None:
    street = Street()
    street.show("gate")
    street.commit()
    street.connect()
    stored = street.outbox.picture("gate")
    street.put()
    street.commit()
    street.work()
    street.hub.discard((stored.epoch, stored.seq))
    street.acknowledge()
    street.show()
    street.pass_time(60)
    street.work()
    street.tell(street.outbox.purge(0.0))
    street.show("gate")
    street.work()
    assert not any(fetch.lane is Lane.AGAIN for fetch in street.fetches)


def test_a_picture_whose_file_is_lost_travels_as_a_record() -> None:
    street = Street(Settlement.BROKER)
    street.show("gate")
    street.commit()
    street.connect()
    street.work()
    stored = street.outbox.picture("gate")
    street.commit()
    fetch = next(fetch for fetch in street.fetches if fetch.lane is Lane.LIVE_PICTURES)
    street.fetches.clear()
    bare = street.outbox.put("snapshot.taken", rank=Rank.PICTURE, camera="gate")
    street.tell(Fetched(fetch=fetch, records=(bare,), end=True))
    assert stored.seq < bare.seq
    assert seqs_of(street.sent[-1]) == [("epoch-1", bare.seq)]
    (ticket,) = street.flying
    street.deliver(ticket, 0x87, arrives=False)
    street.pass_time(lanes_of.REFUSED_S)
    assert [fetch.lane for fetch in street.fetches] == [Lane.LIVE_PICTURES]


def test_an_unknown_answer_of_the_journal_is_ignored() -> None:
    street = waiting_street()
    fetch = Fetch(lane=Lane.LIVE, after=77, upto=None, limit=1, limit_bytes=1)
    assert street.tell(Fetched(fetch=fetch, records=(), end=True)) == []
    assert street.tell(Purged(seqs=(), cameras=())) == []


def test_missing_ranges_are_looked_up_at_their_borders() -> None:
    mark = Watermark(epoch="e", upto=20, missing=((3, 5), (9, 9), (18, 20)))
    assert ledger._complement(mark, 0) == ((1, 2), (6, 8), (10, 17))
    assert ledger._complement(mark, 7) == ((8, 8), (10, 17))
    assert ledger.compact((1, 2, 4, 7, 8)) == ((1, 2), (4, 4), (7, 8))


# ---- what is sent again ----


def lacking_picture() -> tuple[Street, int]:
    """A street whose hub lost one picture out of two; it is wanted again, and fetched."""
    street = Street()
    street.show("gate")
    street.commit()
    street.connect()
    stored = street.outbox.picture("gate", size=400_000)
    street.put()
    street.commit()
    street.work()
    street.hub.discard((stored.epoch, stored.seq))
    street.acknowledge()
    street.sent.clear()
    street.pass_time(ledger.MISSING_S * 2)
    assert [fetch.lane for fetch in street.fetches] == [Lane.AGAIN]
    return street, stored.seq


def test_what_comes_up_in_two_lanes_at_once_is_sent_in_one() -> None:
    street = Street(Settlement.BROKER)
    street.commit()
    street.connect()
    street.work()
    for _ in range(2):
        street.put()
        street.commit()
        while street.fetches:
            street.answer_fetch()
    first, second = street.flying
    street.deliver(second, 0x99, arrives=False)
    street.deliver(first, 0x97, arrives=False)
    street.pass_time(lanes_of.REFUSED_S)
    assert [fetch.lane for fetch in street.fetches] == [Lane.LIVE, Lane.AGAIN]
    street.fetches.reverse()
    street.answer_fetch()
    street.answer_fetch()
    street.work()
    assert not street.outbox.kept
    carried = [seq for message in street.sent for _, seq in seqs_of(message)]
    assert carried == [1, 2, 2, 1]


def test_a_journal_without_time_is_asked_again_a_moment_later() -> None:
    street, seq = lacking_picture()
    fetch = street.fetches.popleft()
    assert street.tell(Fetched(fetch=fetch, records=(), end=False)) == []
    street.pass_time(lanes_of.RETRY_S)
    street.work()
    assert [seqs_of(message) for message in street.sent] == [[("epoch-1", seq)]]


def test_an_answer_cut_by_bytes_leaves_the_rest_to_be_asked_for() -> None:
    street = waiting_street(Settlement.WATERMARK)
    street.work()
    street.hub.clear()
    street.put()
    street.commit()
    street.work()
    street.hub = {("epoch-1", 4)}
    street.acknowledge()
    street.pass_time(60)
    fetch = street.fetches.popleft()
    assert fetch.seqs == (1, 2, 3)
    street.tell(Fetched(fetch=fetch, records=(street.outbox.kept[1],), end=False))
    assert street.fetches[0].seqs == (2, 3)


def test_a_picture_sent_again_that_did_not_leave_is_tried_once_more() -> None:
    street, seq = lacking_picture()
    street.answer_fetch()
    (ticket,) = street.flying
    del street.flying[ticket]
    street.tell(NotSent(ticket=ticket))
    street.tell(NotSent(ticket=ticket))
    street.pass_time(lanes_of.RETRY_S)
    street.work()
    assert seqs_of(street.sent[-1]) == [("epoch-1", seq)]


def test_with_no_room_to_park_what_was_to_be_sent_again_waits_for_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    street, seq = lacking_picture()
    street.answer_fetch()
    monkeypatch.setattr(lanes_of, "MAX_PARKED", 0)
    (ticket,) = street.flying
    street.deliver(ticket, 0x97, arrives=False)
    street.pass_time(2000)
    assert seq in street.outbox.kept
    street.lose()
    street.connect()
    street.work()
    assert seqs_of(street.sent[-1]) == [("epoch-1", seq)]


def test_a_picture_to_be_sent_again_that_waits_for_room_is_dropped_when_its_gate_closes() -> None:
    street, seq = lacking_picture()
    message = wire.camera_state(IDENTITY, "gate", {"x": "y" * 900_000})
    street.do(street.uplink.publish_state(message, street.at))
    street.answer_fetch()
    assert len(street.flying) == 1  # the state; the picture waits
    street.show()
    street.work()
    assert not any(message.picture_of for message in street.sent)
    street.show("gate")
    street.work()
    assert seqs_of(street.sent[-1]) == [("epoch-1", seq)]


def test_a_flood_of_too_large_records_takes_no_more_memory_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_of, "MAX_PARKED", 3)
    street = Street(Settlement.BROKER)
    street.put(10, data=json.dumps({"x": "y" * 5000}).encode())
    street.commit()
    street.connect(up(packet=1000))
    street.work()
    assert street.uplink.status().parked == 3
    assert len(street.outbox.kept) == 10
