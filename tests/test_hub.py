"""The link to the hub against brokers that behave, refuse, lie, hang and hang up."""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import queue
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import hub
from edge_agent.clock import Clock, SystemClock
from edge_agent.core import wire
from edge_agent.core.messages import (
    Connect,
    Delivered,
    Died,
    Disconnect,
    Event,
    FindingKey,
    HubMessage,
    LinkDown,
    LinkUp,
    Message,
    NotSent,
    Send,
)
from edge_agent.core.settings import Hub, Identity, SecretRef, Tls, is_loopback
from edge_agent.hub import HubLink
from edge_agent.pairs import Pairs
from edge_agent.shutter import Shutter
from edge_agent.tls import Pair
from tests.support.broker import free_port, iotcore, mosquitto, needs_mosquitto, wait_for
from tests.support.patience import patient
from tests.support.thin_line import ThinLine

IDENTITY = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")
PREFIX = wire.prefix(IDENTITY)
pytestmark = [pytest.mark.broker, pytest.mark.enable_socket]


def presence(online: bool) -> Message:
    return wire.presence(
        IDENTITY,
        online=online,
        boot="b",
        version="1",
        simulated=True,
        epoch="e",
        oldest_seq=None,
    )


CONNECT = Connect(will=presence(False), birth=presence(True))


def pairs(tls: Tls) -> Pairs:
    """As the app has them, with the files of a test."""
    folder = Path(tls.ca_file).parent / "pairs"
    return Pairs(tls, str(folder), secret=lambda ref: Path(ref.file or "").read_text())


@dataclass
class Witness:
    """Pairs, and what the link told them."""

    pairs: Pairs
    heard: list[tuple[str, str]]

    def offer(self) -> Pair:
        return self.pairs.offer()

    def worked(self, pair: Pair) -> None:
        self.heard.append(("worked", pair.name))

    def refused(self, pair: Pair) -> None:
        self.heard.append(("refused", pair.name))


class Told(SystemClock):
    """The kernel's clock, set wrong by so much, and vouched for or not."""

    def __init__(self, *, offset_s: float = 0.0, is_trusted: bool = False) -> None:
        super().__init__()
        self.offset_s = offset_s
        self.is_trusted = is_trusted

    def wall(self) -> float:
        return super().wall() + self.offset_s

    def trusted(self) -> bool:
        return self.is_trusted


class Story:
    """A link and what it said."""

    def __init__(
        self,
        port: int,
        tls: Tls | None = None,
        host: str = "127.0.0.1",
        clock: Clock | None = None,
    ) -> None:
        self.shutter = Shutter()
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.link = HubLink(
            Hub(host=host, port=port, tls=tls),
            IDENTITY,
            shutter=self.shutter,
            post=self.events.put,
            clock=clock or SystemClock(),
            credentials=None if tls is None else pairs(tls),
        )

    def next(self, within_s: float = 20.0) -> Event:
        return self.events.get(timeout=patient(within_s))

    def send(self, ticket: int, leaf: str = "live", **more: object) -> None:
        message = Message(topic=f"{PREFIX}/{leaf}", payload=b"[]", **more)  # type: ignore[arg-type]
        self.link.send(Send(ticket=ticket, message=message))


@contextmanager
def story(
    port: int, tls: Tls | None = None, host: str = "127.0.0.1", clock: Clock | None = None
) -> Iterator[Story]:
    found = Story(port, tls, host, clock)
    with found.link:
        yield found


# ---- a broker that does as it is told ----


@dataclass
class Script:
    """What the scripted broker answers. None = nothing at all."""

    connack: bytes | None = b"\x20\x03\x00\x00\x00"
    suback: int | None = 0
    puback: Callable[[str], int | None] = lambda topic: 0
    after_up: bytes = b""  # sent behind the PUBACK of the birth
    hang_up_after_connect: bool = False
    raw_greeting: bytes = b""
    seen: list[tuple[int, bytes]] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)  # a connection is over


def connack(code: int, *properties: bytes) -> bytes:
    tail = b"".join(properties)
    body = bytes([0, code, len(tail)]) + tail
    return bytes([0x20, len(body)]) + body


def publish(topic: str, payload: bytes, retain: bool = False) -> bytes:
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + b"\x00" + payload
    length, head = len(body), bytearray([0x31 if retain else 0x30])
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


class Scripted:
    """One connection at a time, on loopback."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.server = socket.create_server(("127.0.0.1", 0))
        # Inherited by each connection: how much a stalled broker swallows must not hang on the machine's own limits.
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.port: int = self.server.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()
        self.peer: socket.socket | None = None

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.peer, _ = self.server.accept()
                with self.peer, suppress(OSError, EOFError):
                    self._serve(self.peer)
                self.script.ended.set()

    def _serve(self, peer: socket.socket) -> None:
        script = self.script
        while True:
            kind, body = self._packet(peer)
            script.seen.append((kind, body))
            if kind >> 4 == 1:
                if script.raw_greeting:
                    peer.sendall(script.raw_greeting)
                if script.hang_up_after_connect:
                    peer.close()
                    return
                if script.connack is not None:
                    peer.sendall(script.connack)
            elif kind >> 4 == 8 and script.suback is not None:
                codes = bytes([script.suback] * 3)
                peer.sendall(bytes([0x90, 3 + len(codes)]) + body[:2] + b"\x00" + codes)
            elif kind >> 4 == 3:
                self._published(peer, body)
            elif kind >> 4 == 12:
                peer.sendall(b"\xd0\x00")

    def _published(self, peer: socket.socket, body: bytes) -> None:
        size = struct.unpack(">H", body[:2])[0]
        topic = body[2 : 2 + size].decode()
        self.script.topics.append(topic)  # as written: "" stands for an alias
        code = self.script.puback(topic)
        if code is None:
            return
        mid = body[2 + size : 4 + size]
        peer.sendall(b"\x40\x03" + mid + bytes([code]))
        if topic.endswith("presence") and self.script.after_up:
            peer.sendall(self.script.after_up)

    @staticmethod
    def _packet(peer: socket.socket) -> tuple[int, bytes]:
        def take(count: int) -> bytes:
            found = b""
            while len(found) < count:
                part = peer.recv(count - len(found))
                if not part:
                    raise EOFError
                found += part
            return found

        kind, length, shift = take(1)[0], 0, 0
        while True:
            digit = take(1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if not digit & 128:
                return kind, take(length)

    def close(self) -> None:
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        if self.peer is not None:
            with suppress(OSError):
                self.peer.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)


@contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    broker = Scripted(script)
    try:
        yield broker
    finally:
        broker.close()


def down(script: Script) -> LinkDown:
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkDown)
        return event


@pytest.mark.parametrize(
    ("code", "key"),
    [
        (0x80, FindingKey.HUB_REFUSED_CLIENT),
        (0x84, FindingKey.HUB_REFUSED_VERSION),
        (0x85, FindingKey.HUB_REFUSED_CLIENT),
        (0x86, FindingKey.HUB_REFUSED_CLIENT),
        (0x87, FindingKey.HUB_REFUSED_CLIENT),
        (0x88, FindingKey.HUB_UNREACHABLE),
        (0x89, FindingKey.HUB_UNREACHABLE),
        (0x8A, FindingKey.HUB_REFUSED_CLIENT),
        (0x90, FindingKey.HUB_REFUSED_TOPIC),
        (0x97, FindingKey.HUB_UNREACHABLE),
        (0x9F, FindingKey.HUB_UNREACHABLE),
    ],
)
def test_each_refusal_is_its_own_finding(code: int, key: FindingKey) -> None:
    event = down(Script(connack=connack(code)))
    assert event.key is key
    assert f"0x{code:02X}" in event.detail


def test_a_port_that_closes_at_once_is_not_taken_for_a_hub() -> None:
    event = down(Script(hang_up_after_connect=True))
    assert event.key is FindingKey.HUB_UNREACHABLE
    assert "lost" in event.detail


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x02\x00\x01",  # a CONNACK of MQTT 3.1.1: unacceptable protocol version
        b"\x20\xff\xff\xff\xff\xff",
        b"\x00" * 50,
        b"\x20\x00",
        bytes(range(256)),
        b"\x20\x06\x00\x00\x03\xff\x00\x00",  # a CONNACK with a property that does not exist
        b"\x20\x08\x00\x00\x05\x26\xff\xff\x00\x00",  # a string longer than the packet
        b"\x20\x01\x00",
    ],
)
def test_garbage_for_a_greeting_ends_in_a_finding(greeting: bytes) -> None:
    event = down(Script(connack=None, raw_greeting=greeting, hang_up_after_connect=True))
    assert event.key in (FindingKey.HUB_REFUSED_VERSION, FindingKey.HUB_UNREACHABLE)


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.hub.GREETING_S", 0.2)
    event = down(Script(connack=None))
    assert event.key is FindingKey.HUB_UNREACHABLE
    assert "says nothing" in event.detail


def test_limits_and_refused_topics_are_passed_on() -> None:
    limits = connack(0, b"\x21\x00\x01", b"\x27\x00\x00\x10\x00")
    with (
        scripted(Script(connack=limits, suback=0x87)) as broker,
        story(broker.port) as told,
    ):
        told.link.connect(CONNECT)
        event = told.next()
        assert event == LinkUp(
            receive_maximum=1,
            maximum_packet_bytes=4096,
            simulated_peer=True,
            refused=tuple(f"{PREFIX}/{leaf}" for leaf in ("ack", "policy", "command")),
        )


def test_a_refused_birth_is_told_with_the_other_refused_topics() -> None:
    script = Script(puback=lambda topic: 0x87 if topic.endswith("presence") else 0)
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkUp)
        assert event.refused == (f"{PREFIX}/presence",)


@pytest.mark.parametrize("code", [0x00, 0x10, 0x80, 0x87, 0x97, 0x99])
def test_the_brokers_answer_for_a_message_is_passed_on(code: int) -> None:
    script = Script(puback=lambda topic: code if topic.endswith("live") else 0)
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.send(7)
        assert told.next() == Delivered(ticket=7, code=code)


def test_a_server_that_says_goodbye_gives_its_reason() -> None:
    with (
        scripted(Script(after_up=b"\xe0\x02\x8e\x00")) as broker,
        story(broker.port) as told,
    ):
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_REFUSED_CLIENT
        assert "same name" in event.detail


@pytest.mark.parametrize("code", [0x80, 0x87])
def test_a_server_that_hangs_up_at_what_it_does_not_allow_refuses_that_and_not_the_box(
    code: int,
) -> None:
    goodbye = bytes((0xE0, 2, code, 0))
    with scripted(Script(after_up=goodbye)) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_REFUSED_TOPIC


def test_the_hubs_words_come_after_link_up_and_only_those_that_are_ours() -> None:
    words = (
        publish(f"{PREFIX}/ack", b"{}", retain=True)
        + publish("somebody/else", b"x")
        + publish(f"{PREFIX}/policy", b"p" * (300 * 1024))
        + publish(f"{PREFIX}/policy", b"signed")
    )
    with scripted(Script(after_up=words)) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        assert told.next() == HubMessage(leaf="ack", payload=b"{}", retained=True)
        assert told.next() == HubMessage(leaf="policy", payload=b"signed", retained=False)


@pytest.mark.parametrize("length", [hub.HANG_UP_BYTES + 1, 268_435_455])
def test_a_packet_that_would_take_too_much_memory_is_not_read(length: int) -> None:
    left, head = length, bytearray([0x30])
    while left:
        left, digit = divmod(left, 128)
        head.append(digit | (0x80 if left else 0))
    with (
        scripted(Script(after_up=bytes(head) + b"x" * 100_000)) as broker,
        story(broker.port) as told,
    ):
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert str(hub.HANG_UP_BYTES) in event.detail
        assert not event.patient


def qos(level: int, frame: bytes) -> bytes:
    """A PUBLISH of `publish`, without payload, with this QoS and a packet id."""
    size = struct.unpack(">H", frame[2:4])[0]
    body = frame[2 : 4 + size] + b"\x00\x07" + frame[4 + size :]
    return bytes([frame[0] | level << 1, len(body)]) + body


def test_what_would_be_kept_for_a_broker_that_never_releases_it_is_not_taken() -> None:
    words = qos(2, publish(f"{PREFIX}/ack", b""))
    with scripted(Script(after_up=words)) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_REFUSED_VERSION
        assert "QoS 2" in event.detail


def test_a_flood_before_the_link_is_up_takes_no_more_memory_than_it_may() -> None:
    flood = publish(f"{PREFIX}/policy", b"p" * 100_000) * 100
    script = Script(connack=connack(0) + flood)
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.link.disconnect(Disconnect(farewell=presence(False)))
        kept = list(iter(told.next, LinkDown(key=None, detail="closed")))
    assert sum(len(event.payload) for event in kept if isinstance(event, HubMessage)) in range(
        1, hub.HANG_UP_BYTES
    )


def test_a_broker_that_sends_and_never_reads_is_hung_up_on() -> None:
    class Deaf(Scripted):
        def _published(self, peer: socket.socket, body: bytes) -> None:
            super()._published(peer, body)
            word = qos(1, publish(f"{PREFIX}/ack", b""))
            while True:  # until the box hangs up
                peer.sendall(word * 10_000)

    broker = Deaf(Script())
    try:
        with story(broker.port) as told:
            told.link.connect(CONNECT)
            found = next(event for event in iter(told.next, None) if isinstance(event, LinkDown))
            assert "answers" in found.detail
    finally:
        broker.close()


# ---- a hub that cannot serve us now ----


PATIENT = [0x88, 0x89, 0x97, 0x9C, 0x9D, 0x9F]


@pytest.mark.parametrize("code", [*PATIENT, 0x80, 0x85, 0x87])
def test_a_hub_that_cannot_serve_us_now_is_told_from_one_that_refuses(code: int) -> None:
    assert down(Script(connack=connack(code))).patient == (code in PATIENT)


@pytest.mark.parametrize(
    "code", [*PATIENT[1:], 0x96, 0x8B, 0x82, 0x8D]
)  # 0x88 is for a CONNACK only
def test_so_is_one_that_closes_the_connection(code: int) -> None:
    with (
        scripted(Script(after_up=bytes([0xE0, 2, code, 0]))) as broker,
        story(broker.port) as told,
    ):
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.patient == (code in {*PATIENT, 0x96})
        assert f"0x{code:02X}" in event.detail


@pytest.mark.parametrize("code", [0x9C, 0x9D])
@pytest.mark.parametrize("greeting", [True, False])
def test_another_server_is_named_in_the_finding_and_not_followed(code: int, greeting: bool) -> None:
    with scripted(Script()) as elsewhere:
        name = f"127.0.0.1:{elsewhere.port}\n\x1b[2J".encode()
        told_so = b"\x1c" + struct.pack(">H", len(name)) + name
        why = b"\x1f\x00\x04busy"
        properties = told_so + why
        if greeting:
            script = Script(connack=connack(code, properties))
        else:
            body = bytes([code, len(properties)]) + properties
            script = Script(after_up=bytes([0xE0, len(body)]) + body)
        with scripted(script) as broker, story(broker.port) as told:
            told.link.connect(CONNECT)
            event = told.next()
            if not greeting:
                assert isinstance(event, LinkUp)
                event = told.next()
            assert isinstance(event, LinkDown)
            assert f"other server: 127.0.0.1:{elsewhere.port}" in event.detail
            assert "busy" in event.detail
            assert event.detail.isprintable()
            told.link.connect(CONNECT)
            told.next()
        assert elsewhere.script.seen == []


# ---- topics written once ----


def aliased(most: int) -> tuple[Script, list[tuple[str, int | None]]]:
    """Three rounds on two streams and a retained state, to a broker that takes so many aliases; what it was written."""
    script = Script(connack=connack(0, b"\x22" + struct.pack(">H", most)) if most else connack(0))
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        for ticket, leaf in enumerate(["live", "history", "camera/gate"] * 3):
            told.send(ticket, leaf, retain=leaf == "camera/gate")
            assert told.next() == Delivered(ticket=ticket, code=0)
    found = []
    for kind, body in script.seen:
        if kind >> 4 == 3:
            size = struct.unpack(">H", body[:2])[0]
            properties = body[5 + size : 5 + size + body[4 + size]]
            alias = properties.find(b"\x23")
            number = (
                None if alias < 0 else struct.unpack(">H", properties[alias + 1 : alias + 3])[0]
            )
            found.append((body[2 : 2 + size].decode().removeprefix(f"{PREFIX}/"), number))
    return script, found[1:]  # without the birth


def test_topics_that_come_again_are_written_once() -> None:
    _, written = aliased(10)
    assert written == [
        ("live", 1),
        ("history", 2),
        ("camera/gate", None),
        *[("", 1), ("", 2), ("camera/gate", None)] * 2,
    ]


def test_never_more_aliases_than_the_broker_takes() -> None:
    _, written = aliased(1)
    assert written[:2] == [("live", 1), ("history", None)]
    assert written[3:5] == [("", 1), ("history", None)]
    assert all(number is None for _, number in aliased(0)[1])


def test_a_new_connection_knows_no_alias_of_the_old() -> None:
    script = Script(connack=connack(0, b"\x22\x00\x0a"))
    with scripted(script) as broker, story(broker.port) as told:
        for ticket in range(2):
            told.link.connect(CONNECT)
            assert isinstance(told.next(), LinkUp)
            told.send(ticket)
            assert told.next() == Delivered(ticket=ticket, code=0)
    assert [topic for topic in script.topics if topic.endswith("live")] == [f"{PREFIX}/live"] * 2


@pytest.mark.parametrize("kind", [pytest.param("mosquitto", marks=needs_mosquitto), "iotcore"])
def test_both_brokers_deliver_what_was_sent_by_alias_under_its_own_topic(
    kind: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        if kind == "mosquitto":
            port = stack.enter_context(mosquitto(tmp_path)).port
        else:
            port = stack.enter_context(iotcore(tmp_path))
        heard: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        stack.enter_context(subscriber(port, f"{PREFIX}/#", heard))
        told = stack.enter_context(story(port))
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        sent = []
        for ticket in range(40):
            leaf = ("live", "history", "snapshot/live/gate", "snapshot/history/gate")[ticket % 4]
            payload = b"[%d]" % ticket
            message = Message(topic=f"{PREFIX}/{leaf}", payload=payload)
            told.link.send(Send(ticket=ticket, message=message))
            assert told.next() == Delivered(ticket=ticket, code=0)
            sent.append((message.topic, payload))
        came: list[tuple[str, bytes]] = []
        while len(came) < len(sent):
            topic, payload = heard.get(timeout=patient(20.0))
            if not topic.endswith("presence"):
                came.append((topic, payload))
        assert sorted(came) == sorted(sent)


@contextmanager
def subscriber(
    port: int, topics: str, heard: queue.SimpleQueue[tuple[str, bytes]]
) -> Iterator[Client]:
    """Somebody at the hub's side who listens."""
    there = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_message = lambda _c, _u, message: heard.put((message.topic, bytes(message.payload)))
    client.on_subscribe = lambda *_: there.set()
    client.connect("127.0.0.1", port)
    client.subscribe(topics, qos=1)
    client.loop_start()
    try:
        assert there.wait(patient(20.0))
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_picture_leaves_only_while_the_shutter_is_open() -> None:
    script = Script()
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.send(1, "snapshot/live/gate", picture_of="gate")
        assert told.next() == NotSent(ticket=1)
        told.shutter.open_for(frozenset({"gate"}), press=0)
        told.send(2, "snapshot/live/gate", picture_of="gate")
        assert told.next() == Delivered(ticket=2, code=0)
        told.shutter.press()
        told.send(3, "snapshot/live/gate", picture_of="gate")
        assert told.next() == NotSent(ticket=3)
    assert [topic for topic in script.topics if "snapshot" in topic] == [
        f"{PREFIX}/snapshot/live/gate"
    ]


LAST_PICTURE = 19  # of twenty
SMALL_PICTURE = 8_000
SIOCOUTQNSD = 0x894B  # linux/sockios.h


def assert_all_that_waited_came_back(events: list[Event]) -> None:
    """How many pictures the kernel had taken before the line was stuck is its own affair: all behind them come back, in order."""
    tickets = [event.ticket for event in events if isinstance(event, NotSent)]
    assert len(tickets) == len(events)
    assert len(tickets) >= 2
    assert tickets == list(range(tickets[0], LAST_PICTURE + 1))


@dataclass
class Stuck:
    """A link to a broker that stopped reading after its first picture, until `go_on`."""

    told: Story
    script: Script
    go_on: threading.Event

    def pictures_read(self) -> int:
        """Let the broker read all that comes, to the connection's end; how many whole pictures it has had."""
        self.go_on.set()
        assert self.script.ended.wait(patient(20.0))
        return len([topic for topic in self.script.topics if "snapshot" in topic])


@contextmanager
def stalled() -> Iterator[Stuck]:
    stall, go_on = threading.Event(), threading.Event()

    def slow(topic: str) -> int | None:
        if "snapshot" not in topic:
            return 0
        if not stall.is_set():
            stall.set()
            go_on.wait(patient(60.0))
        return None  # an answer to a socket that was closed would end the kernel's own sending

    script = Script(puback=slow)
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.shutter.open_for(frozenset({"gate"}), press=0)
        picture(told, 0, 2000)
        assert stall.wait(patient(20.0))
        wait_for(lambda: told.link._pictures, "the link knows of it too")
        yield Stuck(told, script, go_on)
        go_on.set()


def picture(told: Story, ticket: int, size: int) -> None:
    message = Message(topic=f"{PREFIX}/snapshot/live/gate", payload=b"p" * size, picture_of="gate")
    told.link.send(Send(ticket=ticket, message=message))


def is_here(told: Story) -> tuple[bool, int]:
    """Whether the library holds part of a message, and how many bytes of it all the kernel has not brought to the other end."""
    client = told.link._client
    found = None if client is None else client.socket()
    if client is None or not isinstance(found, socket.socket):
        return False, 0
    return client.want_write(), struct.unpack("i", fcntl.ioctl(found, termios.TIOCOUTQ, b"\0" * 4))[
        0
    ]


@contextmanager
def stuck_with_pictures() -> Iterator[Stuck]:
    """The broker does not read the second of twenty pictures; one is half way out, the others wait behind it."""
    with stalled() as stuck:
        for ticket in range(1, LAST_PICTURE + 1):
            picture(stuck.told, ticket, 2_000_000)
        looks = iter(range(2000))
        quiet = 0  # looks in a row at which part of a picture was still here: the kernel's buffers are full
        while quiet < 30:
            assert next(looks, None) is not None
            quiet = quiet + 1 if is_here(stuck.told)[0] else 0
            threading.Event().wait(0.01)
        yield stuck


def never_sent(told: Story) -> int:
    """How many bytes our kernel has not even sent. What it has sent and nobody confirmed may be at the other end: TCP takes its time."""
    client = told.link._client
    found = None if client is None else client.socket()
    assert isinstance(found, socket.socket)
    return int(struct.unpack("i", fcntl.ioctl(found, SIOCOUTQNSD, b"\0" * 4))[0])


def hand_over_until_some_wait(told: Story) -> int:
    """Small pictures, one by one, until the other end's buffer is full and some wait in our kernel's; how many.

    None of them is answered, as nobody reads.
    """
    before, handed = len(told.link._pictures), 0
    while never_sent(told) < 4 * SMALL_PICTURE:
        handed += 1
        picture(told, handed, SMALL_PICTURE)
        wanted = before + handed
        wait_for(lambda: len(told.link._pictures) == wanted, "it is handed over")  # noqa: B023
    assert not is_here(told)[0], "the library has something left: this is another test"
    return handed


def after_a_press(told: Story) -> LinkDown:
    """What the link says to it; what was not answered until then is void."""
    event = told.next()
    while not isinstance(event, LinkDown):
        assert isinstance(event, NotSent)
        event = told.next()
    assert "privacy switch" in event.detail
    assert (event.key, event.by_press) == (None, True), "a press is nobody's fault"
    return event


def test_a_press_stops_pictures_that_wait_behind_a_slow_line() -> None:
    """Of the one that is half way out nobody gets the rest, and of those behind it nothing."""
    with stuck_with_pictures() as stuck:
        stuck.told.shutter.press()
        after_a_press(stuck.told)
        assert stuck.pictures_read() == 1


def test_a_press_is_heard_although_nothing_moves_on_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread sleeps until the line moves or its round is over, and neither comes: the press itself wakes it."""
    monkeypatch.setattr(hub, "ROUND_S", 1000.0)
    with stuck_with_pictures() as stuck:
        stuck.told.shutter.press()
        after_a_press(stuck.told)


def test_pictures_that_the_kernel_has_already_are_cut_off_by_a_press() -> None:
    """Handed over to the last byte, and yet here: the line is slow."""
    with stalled() as stuck:
        handed = hand_over_until_some_wait(stuck.told)
        stuck.told.shutter.press()
        after_a_press(stuck.told)
        assert stuck.pictures_read() <= handed - 2


def test_pictures_that_have_left_wholly_cost_no_connection_when_a_press_comes() -> None:
    """The broker has them, and only its answer is awaited: nothing can be called back by hanging up."""
    script = Script(puback=lambda topic: None if "snapshot" in topic else 0)
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.shutter.open_for(frozenset({"gate"}), press=0)
        picture(told, 1, 8_000)
        wait_for(lambda: any("snapshot" in topic for topic in script.topics), "it is there")
        wait_for(lambda: is_here(told) == (False, 0), "TCP knows")
        told.shutter.press()
        told.send(2)
        assert told.next() == Delivered(ticket=2, code=0)
        assert not script.ended.is_set()


def test_a_connection_that_is_given_up_sends_no_picture_on_its_own() -> None:
    """The kernel would go on for minutes after a close, and no press of the switch reaches it there."""
    with stalled() as stuck:
        handed = hand_over_until_some_wait(stuck.told)
        stuck.told.link.close()
        assert stuck.pictures_read() <= handed - 2


def test_a_picture_that_waited_through_a_press_does_not_leave_after_it() -> None:
    """Though the cameras are allowed again before the link has had time to look."""
    with stuck_with_pictures() as stuck:
        stuck.told.shutter.press()
        stuck.told.shutter.open_for(frozenset({"gate"}), press=1)
        after_a_press(stuck.told)
        assert stuck.pictures_read() == 1


def test_a_gate_that_closes_while_the_line_is_stuck_takes_its_waiting_pictures_back() -> None:
    with stuck_with_pictures() as stuck:
        told = stuck.told
        told.shutter.open_for(frozenset(), press=0)
        given_back = [told.next()]
        while given_back[-1] != NotSent(ticket=LAST_PICTURE):
            given_back.append(told.next())
        assert_all_that_waited_came_back(given_back)


def test_without_a_connection_nothing_is_sent_and_the_sender_is_told() -> None:
    with story(free_port()) as told:
        told.send(5)
        assert told.next() == NotSent(ticket=5)


def test_nobody_listening_is_told_at_once() -> None:
    with story(free_port()) as told:
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_UNREACHABLE
        assert "nobody listens" in event.detail


def test_a_name_nobody_knows_is_told_as_such(pki: Path) -> None:
    with story(8883, tls(pki), host="hub.invalid") as told:
        told.link.connect(CONNECT)
        event = told.next(60)
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_NAME_UNKNOWN
        assert "hub.invalid:8883" in event.detail


def test_an_address_out_of_reach_is_told_as_such(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.hub.DIAL_S", 0.3)
    with story(8883, tls(pki), host="192.0.2.7") as told:  # TEST-NET-1: nobody is there
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_UNREACHABLE


@pytest.mark.parametrize("count", [hub.MAX_ADDRESSES - 1, hub.MAX_ADDRESSES, 40])
def test_of_a_name_with_many_dead_addresses_no_more_are_tried_than_patience_lasts_for(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    closed = free_port()
    tried: list[object] = []

    class Counting(socket.socket):
        def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            tried.append(address)
            super().connect(address)

    monkeypatch.setattr(socket, "socket", Counting)
    with scripted(Script()) as broker, story(broker.port, host="localhost") as told:
        one = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*one, ("127.0.0.1", closed))] * count + [(*one, ("127.0.0.1", broker.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: found)
        told.link.connect(CONNECT)
        event = told.next()
    if count < hub.MAX_ADDRESSES:
        assert isinstance(event, LinkUp)
    else:
        assert isinstance(event, LinkDown)
        assert "nobody listens there" in event.detail
        assert len(tried) == hub.MAX_ADDRESSES
    # Each takes `DIAL_S` at the most, and behind them comes TLS; looking the name up may take half of the patience.
    assert (hub.MAX_ADDRESSES + 1) * hub.DIAL_S < hub.PATIENCE_S / 2


def test_dead_addresses_of_one_family_leave_the_other_its_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with scripted(Script()) as broker, story(broker.port, host="localhost") as told:
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", free_port(), 0, 0))
        four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", broker.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [six] * 20 + [four])
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)


def test_a_family_that_the_kernel_does_not_have_leaves_the_others_their_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OldKernel(socket.socket):
        def __init__(self, family: int = -1, *rest: int, **more: int | None) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", OldKernel)
    closed = free_port()
    with scripted(Script()) as broker, story(broker.port, host="localhost") as told:
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", closed, 0, 0))
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", closed))
        four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", broker.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [dead, six, four])
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)


def test_a_name_without_an_address_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [])
    with story(8883, host="localhost") as told:
        told.link.connect(CONNECT)
        event = told.next()
    assert isinstance(event, LinkDown)
    assert "the name has no address" in event.detail


@pytest.mark.parametrize(
    "error", [ConnectionResetError(errno.ECONNRESET, "x"), BrokenPipeError(errno.EPIPE, "x")]
)
@pytest.mark.parametrize("plain", [True, False])
def test_a_hub_that_hangs_up_in_the_handshake_is_a_finding_of_tls_however_it_comes(
    error: OSError, plain: bool, monkeypatch: pytest.MonkeyPatch, pki: Path
) -> None:
    """A reset that comes between two of our writes breaks the pipe of the second."""

    def struck(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(Client, "connect", struck)
    with story(8883, None if plain else tls(pki), host="localhost") as told:
        told.link.connect(CONNECT)
        event = told.next()
    assert isinstance(event, LinkDown)
    assert event.key is (FindingKey.HUB_UNREACHABLE if plain else FindingKey.HUB_TLS)


def test_a_disconnect_without_a_connection_is_answered_all_the_same() -> None:
    with story(free_port()) as told:
        told.link.disconnect(Disconnect(farewell=presence(False)))
        assert told.next() == LinkDown(key=None, detail="closed")


def test_a_disconnect_during_the_greeting_ends_it() -> None:
    with scripted(Script(suback=None)) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        wait_for(lambda: len(broker.script.seen) >= 2, "SUBSCRIBE arrived")
        told.link.disconnect(Disconnect(farewell=presence(False)))
        assert told.next() == LinkDown(key=None, detail="closed")


def test_a_reply_carries_its_correlation() -> None:
    script = Script()
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        reply = wire.reply(IDENTITY, correlation=b"question-7", number=7, result="done")
        told.link.send(Send(ticket=1, message=reply))
        assert told.next() == Delivered(ticket=1, code=0)
    assert any(b"question-7" in body for kind, body in script.seen if kind >> 4 == 3)


def test_a_surprise_ends_the_link_with_a_word(tmp_path: Path) -> None:
    class Broken(SystemClock):
        broken = False

        def now(self) -> float:
            if self.broken:
                raise OSError("no clock")
            return super().now()

    clock, events = Broken(), queue.SimpleQueue[Event]()
    link = HubLink(
        Hub(host="127.0.0.1", port=1, tls=None),
        IDENTITY,
        shutter=Shutter(),
        post=events.put,
        clock=clock,
        credentials=None,
    )
    with link:
        clock.broken = True
        event = events.get(timeout=patient(5.0))
        assert isinstance(event, Died)
        assert event.part == "hub link"


def test_plain_tcp_leaves_this_machine_never() -> None:
    with story(1883, host="192.0.2.7") as told:
        told.link.connect(CONNECT)
        event = told.next(2)
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_TLS
        assert "plain TCP" in event.detail


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_what_counts_as_this_machine(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_simulated_street_never_speaks_to_a_real_hub(tmp_path: Path) -> None:
    tls = Tls(ca_file="ca", certificate_file="cert", key=SecretRef(file="key"))
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with HubLink(
        Hub(host="192.0.2.7", port=8883, tls=tls),
        IDENTITY,
        shutter=Shutter(),
        post=events.put,
        clock=SystemClock(),
        credentials=pairs(tls),
        simulated=True,
    ) as link:
        link.connect(CONNECT)
        event = events.get(timeout=patient(2.0))
    assert isinstance(event, LinkDown)
    assert "simulated" in event.detail


def test_farewell_is_said_and_the_link_closes_in_good_order() -> None:
    script = Script()
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.link.disconnect(Disconnect(farewell=presence(False)))
        assert told.next() == LinkDown(key=None, detail="closed")
        wait_for(lambda: (0xE0, b"") in script.seen, "a plain DISCONNECT")
    assert script.topics == [f"{PREFIX}/presence"] * 2


def test_a_farewell_nobody_answers_becomes_the_will(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.hub.FAREWELL_S", 0.2)
    count = iter(range(10))
    script = Script(puback=lambda topic: 0 if next(count) == 0 else None)
    with scripted(script) as broker, story(broker.port) as told:
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.link.disconnect(Disconnect(farewell=presence(False)))
        assert told.next() == LinkDown(key=None, detail="closed")
        wait_for(lambda: any(kind == 0xE0 for kind, _ in script.seen), "DISCONNECT")
    assert next(body[0] for kind, body in script.seen if kind == 0xE0) == 0x04


def test_a_new_connection_takes_the_place_of_the_old() -> None:
    script = Script()
    with scripted(script) as broker, story(broker.port) as told:
        for _ in range(3):
            told.link.connect(CONNECT)
            assert isinstance(told.next(), LinkUp)
    assert sum(kind == 0x10 for kind, _ in script.seen) == 3


def test_closing_while_the_hub_hangs_leaves_nothing_behind() -> None:
    with scripted(Script(connack=None)) as broker:
        told = Story(broker.port)
        told.link.__enter__()
        told.link.connect(CONNECT)
        wait_for(lambda: broker.script.seen, "CONNECT arrived")
        told.link.close()
        told.link.close()
        assert not told.link._thread.is_alive(), "it was left behind"


def test_the_link_shows_life_while_it_waits() -> None:
    clock = SystemClock()
    with story(free_port()) as told:
        wait_for(lambda: clock.now() - told.link.progress() < 1.5, "life")


# ---- real TLS, real brokers ----


def _certificate(
    folder: Path,
    name: str,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    days: int = 10,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.fromtimestamp(SystemClock().wall(), dt.UTC)
    signer = issuer[1] if issuer else key
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=issuer is None,
                crl_sign=issuer is None,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(signer, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    authority = _certificate(folder, "ca", None)
    stranger = _certificate(folder, "other-ca", None)
    _certificate(folder, "server", authority)
    _certificate(folder, "box", authority)
    _certificate(folder, "expired", authority, days=-1)
    _certificate(folder, "foreign", stranger)
    return folder


@contextmanager
def tls_mosquitto(tmp_path: Path, pki: Path, server: str = "server") -> Iterator[int]:
    config = (
        f"cafile {pki}/ca.pem\ncertfile {pki}/{server}.pem\nkeyfile {pki}/{server}.key\n"
        "require_certificate true\n"
    )
    with mosquitto(tmp_path / "broker", config) as broker:
        yield broker.port


def tls(pki: Path, ca: str = "ca", box: str = "box") -> Tls:
    return Tls(
        ca_file=str(pki / f"{ca}.pem"),
        certificate_file=str(pki / f"{box}.pem"),
        key=SecretRef(file=str(pki / f"{box}.key")),
    )


@needs_mosquitto
def test_mutual_tls_with_the_right_papers(tmp_path: Path, pki: Path) -> None:
    with (
        tls_mosquitto(tmp_path, pki) as port,
        story(port, tls(pki), host="localhost") as told,
    ):
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.link.send(
            Send(ticket=1, message=Message(topic=f"{PREFIX}/live", payload=b"x" * 3_000_000))
        )
        assert isinstance(told.next(), Delivered)
        # The other way: more than one record of TLS in one read.
        big = Message(topic=f"{PREFIX}/ack", payload=b"x" * 200_000, retain=True)
        told.link.send(Send(ticket=2, message=big))
        kinds = {type(told.next()) for _ in range(2)}
        assert kinds == {HubMessage, Delivered}


@needs_mosquitto
def test_through_tls_too_a_press_cuts_off_what_the_kernel_has(tmp_path: Path, pki: Path) -> None:
    with (
        tls_mosquitto(tmp_path, pki) as port,
        ThinLine(port, bytes_per_s=10e6, plain=False) as line,
        story(line.port, tls(pki), host="localhost") as told,
    ):
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.shutter.open_for(frozenset({"gate"}), press=0)
        line.stall()
        handed = hand_over_until_some_wait(told)
        told.shutter.press()
        after_a_press(told)
        line.flow()
        wait_for(lambda: line.ended == 1, "the line saw the end of it")
        assert line.up_bytes < (handed - 1) * SMALL_PICTURE
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        told.send(99)
        assert told.next() == Delivered(ticket=99, code=16)


@needs_mosquitto
@pytest.mark.parametrize(
    ("ca", "box", "word"),
    [
        ("other-ca", "box", "not accepted"),
        ("ca", "foreign", ""),
        ("ca", "expired", ""),
        ("missing", "box", "unusable"),
        ("ca", "missing", "unusable"),
    ],
)
def test_wrong_papers_are_a_finding_of_tls(
    tmp_path: Path, pki: Path, ca: str, box: str, word: str
) -> None:
    with (
        tls_mosquitto(tmp_path, pki) as port,
        story(port, tls(pki, ca, box), host="localhost") as told,
    ):
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_TLS
        assert word in event.detail


@needs_mosquitto
def test_an_expired_certificate_of_the_hub_is_told_as_such(tmp_path: Path, pki: Path) -> None:
    with (
        tls_mosquitto(tmp_path, pki, "expired") as port,
        story(port, tls(pki), host="localhost", clock=Told(is_trusted=True)) as told,
    ):
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_TLS
        assert "expired" in event.detail


@needs_mosquitto
def test_a_hub_whose_dates_fit_no_clock_that_we_have_is_spoken_to_but_gets_no_picture(
    tmp_path: Path, pki: Path
) -> None:
    """A box that woke in 1970. Once its clock is set, the same connection carries pictures."""
    clock = Told(offset_s=-SystemClock().wall())
    with (
        tls_mosquitto(tmp_path, pki) as port,
        story(port, tls(pki), host="localhost", clock=clock) as told,
    ):
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkUp)
        assert event.doubtful
        told.shutter.open_for(frozenset({"gate"}), press=0)
        told.send(1, "live")
        assert told.next() == Delivered(ticket=1, code=0x10)
        picture(told, 2, 2000)
        assert told.next() == NotSent(ticket=2)
        clock.offset_s, clock.is_trusted = 0.0, True
        wait_for(lambda: not told.link._doubtful, "the dates were made up for")
        picture(told, 3, 2000)
        assert told.next() == Delivered(ticket=3, code=0x10)


@needs_mosquitto
def test_a_hub_that_turns_out_to_be_out_of_date_is_hung_up_on(tmp_path: Path, pki: Path) -> None:
    clock = Told(offset_s=-SystemClock().wall())
    with (
        tls_mosquitto(tmp_path, pki, "expired") as port,
        story(port, tls(pki), host="localhost", clock=clock) as told,
    ):
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkUp)
        clock.offset_s, clock.is_trusted = 0.0, True
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_TLS
        assert "expired" in event.detail


@needs_mosquitto
@pytest.mark.parametrize("refused", [True, False])
def test_the_pairs_are_told_how_it_went(tmp_path: Path, pki: Path, refused: bool) -> None:
    own = tls(pki, "ca", "stranger") if refused else tls(pki)
    if refused:
        _certificate(pki, "stranger", None)
    with (
        tls_mosquitto(tmp_path, pki) as port,
        story(port, own, host="localhost", clock=Told(is_trusted=True)) as told,
    ):
        heard: list[tuple[str, str]] = []
        made = pairs(own)
        told.link._credentials = Witness(made, heard)
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkDown if refused else LinkUp)
        assert heard == [("refused" if refused else "worked", "configured")]


@needs_mosquitto
def test_a_hub_that_we_refuse_is_not_held_against_our_pair(tmp_path: Path, pki: Path) -> None:
    with (
        tls_mosquitto(tmp_path, pki, "expired") as port,
        story(port, tls(pki), host="localhost", clock=Told(is_trusted=True)) as told,
    ):
        heard: list[tuple[str, str]] = []
        told.link._credentials = Witness(pairs(tls(pki)), heard)
        told.link.connect(CONNECT)
        assert isinstance(told.next(), LinkDown)
        assert heard == []


@needs_mosquitto
def test_a_certificate_for_another_name_is_refused(tmp_path: Path, pki: Path) -> None:
    with tls_mosquitto(tmp_path, pki) as port, story(port, tls(pki)) as told:
        told.link.connect(CONNECT)  # to 127.0.0.1; the certificate says localhost
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_TLS


@needs_mosquitto
def test_a_key_with_a_passphrase_is_a_finding_not_a_prompt(tmp_path: Path, pki: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (pki / "locked.pem").write_bytes((pki / "box.pem").read_bytes())
    (pki / "locked.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret words"),
        )
    )
    with story(free_port(), tls(pki, "ca", "locked"), host="localhost") as told:
        told.link.connect(CONNECT)
        event = told.next()
    assert isinstance(event, LinkDown)
    assert event.key is FindingKey.HUB_TLS
    assert event.local


@needs_mosquitto
def test_tls_towards_a_plain_port_is_a_finding_of_tls(tmp_path: Path, pki: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        story(broker.port, tls(pki), host="localhost") as told,
    ):
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkDown)
        assert event.key is FindingKey.HUB_TLS


@needs_mosquitto
def test_an_access_list_that_forbids_topics_is_told_topic_by_topic(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite {PREFIX}/live\ntopic read {PREFIX}/ack\n")
    with (
        mosquitto(tmp_path / "broker", f"acl_file {acl}") as broker,
        story(broker.port) as told,
    ):
        told.link.connect(CONNECT)
        event = told.next()
        assert isinstance(event, LinkUp)
        assert f"{PREFIX}/presence" in event.refused
        told.send(1, "history")
        assert told.next() == Delivered(ticket=1, code=0x87)


@needs_mosquitto
def test_without_a_goodbye_the_broker_publishes_the_will(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        watcher = Story(broker.port)
        watcher.link._leaves = {f"{PREFIX}/presence": "presence"}
        with watcher.link:
            silent = Message(topic="x/y", payload=b"", retain=False)
            other = Connect(will=silent, birth=silent)
            watcher.link._identity = Identity(kelurahan="k", rw="r", rt="r", box="watcher")
            watcher.link.connect(other)
            assert isinstance(watcher.next(), LinkUp)
            with story(broker.port) as told:
                told.link.connect(CONNECT)
                assert isinstance(told.next(), LinkUp)
                born = watcher.next()
            died = watcher.next()
    assert isinstance(born, HubMessage)
    assert isinstance(died, HubMessage)
    assert b'"online"' in born.payload
    assert b'"offline"' in died.payload


def test_tls_contexts_refuse_what_is_older_than_1_2(pki: Path) -> None:
    link = Story(1).link
    context = link._tls_context(tls(pki))
    link.close()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
