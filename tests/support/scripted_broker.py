"""A broker that follows a script: it expects packets one by one, answers as written, and says what came otherwise.

One script for each connection, in their order; when they are used up it is a broker that accepts everything. Each attempt is noted
with its time, so that a test can say how long a box was patient.
Not its job: being a broker (broker.py), faults on the line (chaos.py).
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, TypeAlias

from tests.support.chaos import Packets

CONNECT: Final = 1
PUBLISH: Final = 3
SUBSCRIBE: Final = 8
PINGREQ: Final = 12
DISCONNECT: Final = 14
HOLD_S: Final = 0.02  # so long it waits for one more message, where it counts those under way


@dataclass(frozen=True, slots=True)
class Packet:
    """What came. `topic`, `payload`: of a PUBLISH; a topic written as an alias is looked up."""

    kind: int
    raw: bytes
    body: bytes
    mid: bytes = b""
    topic: str = ""
    payload: bytes = b""


Answer: TypeAlias = "Callable[[Packet], bytes]"


@dataclass(frozen=True, slots=True)
class Step:
    """Expect a packet of *kind* (a PUBLISH on a topic that ends so), and send *answer*; None = hang up."""

    kind: int
    answer: Answer | None
    leaf: str = ""

    def fits(self, packet: Packet) -> bool:
        return packet.kind == self.kind and packet.topic.endswith(self.leaf)


def _framed(head: int, body: bytes) -> bytes:
    assert len(body) < 128, "a script's own packets are short"
    return bytes([head, len(body)]) + body


def connack(code: int = 0, properties: bytes = b"") -> Answer:
    return lambda _: _framed(0x20, bytes([0, code, len(properties)]) + properties)


def suback(code: int = 0) -> Answer:
    return lambda packet: _framed(0x90, packet.body[:2] + b"\0" + bytes([code] * 3))


def puback(code: int = 0) -> Answer:
    return lambda packet: _framed(0x40, packet.mid + bytes([code]))


def goodbye(code: int) -> bytes:
    """The server's DISCONNECT."""
    return _framed(0xE0, bytes([code, 0]))


def silence(_: Packet) -> bytes:
    """No answer at all."""
    return b""


def greeting(properties: bytes = b"") -> tuple[Step, ...]:
    """What each good connection begins with."""
    return (
        Step(CONNECT, connack(0, properties)),
        Step(SUBSCRIBE, suback()),
        Step(PUBLISH, puback(), "/presence"),
    )


class ScriptedBroker:
    """Listens on `port`. A context manager; when it ends, what came otherwise than expected is an AssertionError."""

    def __init__(
        self,
        *scripts: Sequence[Step],
        now: Callable[[], float],
        judge: Callable[[Packet], int] = lambda _: 0,
        properties: bytes = b"",
        counts: bool = False,
    ) -> None:
        """*judge*: the code for each PUBLISH that no script is about; *properties*: of a CONNACK that no script is about.

        *counts*: hold back each answer for a moment, to see how many messages are under way at once.
        """
        self._scripts = list(scripts)
        self._now = now
        self._judge = judge
        self._properties = properties
        self._counts = counts
        self.attempts: list[float] = []
        self.came: list[Packet] = []
        self.wrong: list[str] = []
        self.most_under_way = 0
        self._peer: socket.socket | None = None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="scripted", daemon=True)

    def __enter__(self) -> ScriptedBroker:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for end in (self._server, self._peer):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10.0)
        if kind is None:
            assert not self.wrong, self.wrong

    def published(self, leaf: str) -> list[Packet]:
        """Those whose topic ends so."""
        return [
            found for found in self.came if found.kind == PUBLISH and found.topic.endswith(leaf)
        ]

    # -- inside --

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                self._peer = peer
                self.attempts.append(self._now())
                script = list(self._scripts.pop(0)) if self._scripts else []
                with peer, contextlib.suppress(OSError):
                    self._serve(peer, script)

    def _serve(self, peer: socket.socket, script: list[Step]) -> None:
        packets, topics = Packets(), dict[int, str]()
        waiting: list[Packet] = []
        while True:
            ready = not waiting or select.select([peer], [], [], HOLD_S)[0]
            if not ready:
                self._answer(peer, waiting.pop(0))
                continue
            data = peer.recv(65_536)
            if not data:
                return
            for raw in packets.feed(data):
                packet = _read(raw, topics)
                self.came.append(packet)
                if script and packet.kind != PINGREQ:
                    if not self._follow(peer, script.pop(0), packet):
                        return
                elif packet.kind == PUBLISH and self._counts:
                    waiting.append(packet)
                    self.most_under_way = max(self.most_under_way, len(waiting))
                else:
                    self._answer(peer, packet)

    def _follow(self, peer: socket.socket, step: Step, packet: Packet) -> bool:
        if not step.fits(packet):
            self.wrong.append(f"{packet.kind} {packet.topic!r} came, where {step} was expected")
            return False
        if step.answer is None:
            return False
        peer.sendall(step.answer(packet))
        return True

    def _answer(self, peer: socket.socket, packet: Packet) -> None:
        if packet.kind == CONNECT:
            peer.sendall(connack(0, self._properties)(packet))
        elif packet.kind == SUBSCRIBE:
            peer.sendall(suback()(packet))
        elif packet.kind == PUBLISH:
            peer.sendall(puback(self._judge(packet))(packet))
        elif packet.kind == PINGREQ:
            peer.sendall(b"\xd0\0")


def _read(raw: bytes, topics: dict[int, str]) -> Packet:
    kind = raw[0] >> 4
    begin = next(place for place in range(1, 5) if not raw[place] & 128) + 1
    body = raw[begin:]
    if kind != PUBLISH:
        return Packet(kind, raw, body)
    assert raw[0] & 6 == 2, "everything travels with QoS 1"
    size = struct.unpack(">H", body[:2])[0]
    topic = body[2 : 2 + size].decode()
    mid = body[2 + size : 4 + size]
    length, at = _number(body, 4 + size)
    properties, payload = body[at : at + length], body[at + length :]
    alias = _alias(properties)
    if alias is not None:
        topic = topics[alias] = topic or topics.get(alias, "an alias that nobody wrote out")
    return Packet(kind, raw, body, mid, topic, payload)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while True:
        digit = data[at]
        value |= (digit & 127) << shift
        at, shift = at + 1, shift + 7
        if not digit & 128:
            return value, at


def _alias(properties: bytes) -> int | None:
    """The topic alias, if there is one; knows the properties that this box writes."""
    at = 0
    while at < len(properties):
        name = properties[at]
        if name == 0x23:
            return int(struct.unpack(">H", properties[at + 1 : at + 3])[0])
        at += 1
        for _ in range({0x03: 1, 0x09: 1, 0x26: 2}[name]):  # content type, correlation, user pair
            at += 2 + int(struct.unpack(">H", properties[at : at + 2])[0])
    return None
