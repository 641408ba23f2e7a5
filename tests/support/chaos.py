"""A faulty line between a box and its broker: MQTT packets pass whole, but for one fault at a time, at a border between two packets.

What a network, a router that forgets, or a broker on its worst day can do to a connection: cut it, swallow it, close half of it,
carry it at a crawl, hold it, lose or double a packet, put garbage in between. Each fault strikes once, where it was armed for; but one that
hangs up at a message does so each time that a record of it comes, until it is told to relent.
Not its job: the broker (broker.py), what the box makes of it (tests/chaos.py), a thin line that is otherwise well (thin_line.py).
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Final

PUBLISH: Final = 3
PUBACK: Final = 4
SLOW_BYTES_PER_S: Final = (2_000, 40_000)
SLOW_PACKETS: Final = 6
SLOW_CHUNK: Final = 256
SLOW_MOST_S: Final = 0.5  # of one packet
DELAY_S: Final = (0.02, 0.2)
GARBAGE_BYTES: Final = 400
_RESET: Final = struct.pack("ii", 1, 0)


class Way(Enum):
    """Which way packets go."""

    UP = "up"  # from the box to the broker
    DOWN = "down"


class Kind(Enum):
    """What goes wrong."""

    CUT = "cut"  # both ends are reset, or closed
    BLACKHOLE = "blackhole"  # both ways: taken, and never passed on; nobody hears of it
    ONE_WAY = "one_way"  # the same, of one way only
    HALF_CLOSE = "half_close"  # this way is closed; the other is as before
    SLOW = "slow"  # the next packets crawl
    DELAY = "delay"
    LOSE_PUBACK = "lose_puback"
    LOSE_PUBLISH = "lose_publish"
    DOUBLE_PUBACK = "double_puback"
    DOUBLE_PUBLISH = "double_publish"
    GARBAGE = "garbage"
    HANGS_UP = "hangs_up"  # at a message that carries this record, again and again


# By this a record of a storm is known from all others, in whatever message it comes.
_MARK: Final = re.compile(rb'"n":\d{2,}\}')
_OF_TYPE: Final = {
    Kind.HANGS_UP: PUBLISH,
    Kind.LOSE_PUBACK: PUBACK,
    Kind.DOUBLE_PUBACK: PUBACK,
    Kind.LOSE_PUBLISH: PUBLISH,
    Kind.DOUBLE_PUBLISH: PUBLISH,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`after`: so many packets that it could strike pass first. `in_greeting`: they are counted on a new connection."""

    kind: Kind
    way: Way
    after: int
    in_greeting: bool
    seed: int  # how long, how slow, which bytes

    def fits(self, way: Way, packet: bytes) -> bool:
        """Whether it could strike this packet."""
        if self.kind is Kind.HANGS_UP and _MARK.search(packet) is None:
            return False
        return way is self.way and _OF_TYPE.get(self.kind, packet[0] >> 4) == packet[0] >> 4


def draw(chance: random.Random) -> Fault:
    """Any fault, anywhere."""
    kind = chance.choice(tuple(Kind))
    way = Way.DOWN if kind in (Kind.LOSE_PUBACK, Kind.DOUBLE_PUBACK) else chance.choice(tuple(Way))
    in_greeting = chance.random() < 0.25
    if kind is Kind.HANGS_UP:  # no record comes in the greeting
        way, in_greeting = Way.UP, False
    # In the greeting: CONNECT, SUBSCRIBE, birth; CONNACK, SUBACK, the retained watermark, the PUBACK of the birth.
    after = chance.randrange(4) if in_greeting else chance.randrange(12)
    return Fault(kind, way, after, in_greeting, chance.randrange(2**32))


class Packets:
    """Cuts one direction of an MQTT connection into its packets."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are whole now, each with its head. AssertionError if that is no MQTT."""
        self._held += data
        found = []
        while (size := self._size()) is not None and size <= len(self._held):
            found.append(bytes(self._held[:size]))
            del self._held[:size]
        return found

    def _size(self) -> int | None:
        """Of the first packet, its head included; None while that cannot be known."""
        size = 0
        for place, digit in enumerate(self._held[1:5]):
            size |= (digit & 127) << 7 * place
            if not digit & 128:
                return size + place + 2
        assert len(self._held) < 5, "this is no MQTT"
        return None


@dataclass(eq=False)
class _Line:
    """One connection; each way has its thread."""

    box: socket.socket
    broker: socket.socket
    number: int
    black: set[Way] = field(default_factory=set)
    slow: dict[Way, tuple[float, int]] = field(default_factory=dict)  # bytes a second, packets left
    ends: int = 0

    def sink(self, way: Way) -> socket.socket:
        return self.broker if way is Way.UP else self.box

    def source(self, way: Way) -> socket.socket:
        return self.box if way is Way.UP else self.broker


class Chaos:
    """Listens on `port`. A context manager; its methods may be called from any thread."""

    def __init__(self, broker_port: int, *, now: Callable[[], float] = time.monotonic) -> None:
        """*now*: by what clock `struck_at` is told."""
        self._broker_port = broker_port
        self._now = now
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._lines: set[_Line] = set()
        self._threads: list[threading.Thread] = []
        self._fault: Fault | None = None
        self._left = 0
        self._from_line = 0
        self._poison: bytes | None = None
        self.struck: list[Fault] = []
        self.struck_at = 0.0  # the last of them
        self.connections = 0
        self.packets = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> Chaos:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._cut_all()
        for thread in self._threads:
            thread.join(5.0)

    def arm(self, fault: Fault) -> None:
        """It will strike once; a fault of the greeting needs a new connection, so the present one is cut."""
        with self._lock:
            self._fault, self._left = fault, fault.after
            self._from_line = self.connections + 1 if fault.in_greeting else 0
        if fault.in_greeting:
            self._cut_all()

    @property
    def armed(self) -> bool:
        """Whether the fault has not struck yet."""
        with self._lock:
            return self._fault is not None

    @property
    def hangs_up(self) -> bool:
        """Whether there is a message that does not get through."""
        with self._lock:
            return self._poison is not None

    def relent(self) -> None:
        """It gets through from now on."""
        with self._lock:
            self._poison = None

    # -- inside --

    def _start(self, *work: object) -> None:
        target, *arguments = work
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, name="chaos", daemon=True)
        # Of a thousand connections the threads of those that are over need not be kept.
        self._threads = [other for other in self._threads if other.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                box, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker_port), timeout=5.0)
            except OSError:
                box.close()
                continue
            broker.settimeout(None)
            for end in (box, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                line = _Line(box, broker, self.connections)
                self._lines.add(line)
            self._start(self._carry, line, Way.UP)
            self._start(self._carry, line, Way.DOWN)

    def _carry(self, line: _Line, way: Way) -> None:
        packets = Packets()
        try:
            while data := line.source(way).recv(65_536):
                for packet in packets.feed(data):
                    self._pass(line, way, packet)
        except OSError:
            pass  # reset by one of them, or cut here
        finally:
            # A hole tells nobody that one end is gone; the box's own end is closed in any case once the box has left.
            if way not in line.black:
                with contextlib.suppress(OSError):
                    line.sink(way).shutdown(socket.SHUT_WR)
            self._end(line, both=way is Way.UP and Way.DOWN in line.black)

    def _end(self, line: _Line, *, both: bool) -> None:
        with self._lock:
            line.ends += 2 if both else 1
            if line.ends < 2:
                return
            self._lines.discard(line)
        for end in (line.box, line.broker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _pass(self, line: _Line, way: Way, packet: bytes) -> None:
        fault = self._due(line, way, packet)
        with self._lock:
            poisoned = self._poison is not None and way is Way.UP and self._poison in packet
        if poisoned:
            self._cut(line, reset=False)
            return
        if fault is None:
            self._forward(line, way, packet)
            return
        chance = random.Random(fault.seed)
        match fault.kind:
            case Kind.CUT:
                self._cut(line, reset=chance.random() < 0.5)
            case Kind.HALF_CLOSE:
                line.sink(way).shutdown(socket.SHUT_WR)
                line.black.add(way)
            case Kind.SLOW:
                line.slow[way] = (chance.uniform(*SLOW_BYTES_PER_S), SLOW_PACKETS)
                self._forward(line, way, packet)
            case Kind.DELAY:
                self._closed.wait(chance.uniform(*DELAY_S))
                self._forward(line, way, packet)
            case (
                Kind.LOSE_PUBACK | Kind.LOSE_PUBLISH | Kind.HANGS_UP | Kind.BLACKHOLE | Kind.ONE_WAY
            ):
                pass
            case Kind.DOUBLE_PUBACK | Kind.DOUBLE_PUBLISH:
                self._forward(line, way, packet * 2)
            case Kind.GARBAGE:
                noise = chance.randbytes(chance.randrange(1, GARBAGE_BYTES))
                self._forward(line, way, noise + packet)

    def _due(self, line: _Line, way: Way, packet: bytes) -> Fault | None:
        with self._lock:
            self.packets += 1
            fault = self._fault
            if fault is None or line.number < self._from_line or not fault.fits(way, packet):
                return None
            if self._left:
                self._left -= 1
                return None
            self._fault = None
            # With the lock held: whoever sees that it struck finds the hole there, the other way's thread too.
            if fault.kind is Kind.BLACKHOLE:
                line.black |= {Way.UP, Way.DOWN}
            elif fault.kind is Kind.ONE_WAY:
                line.black.add(way)
            if fault.kind is Kind.HANGS_UP and (mark := _MARK.search(packet)) is not None:
                self._poison = mark.group()
            self.struck.append(fault)
            self.struck_at = self._now()
            return fault

    def _forward(self, line: _Line, way: Way, data: bytes) -> None:
        if way in line.black:
            return
        rate, left = line.slow.get(way, (0.0, 0))
        if not left:
            line.sink(way).sendall(data)
            return
        line.slow[way] = (rate, left - 1)
        rate = max(rate, len(data) / SLOW_MOST_S)
        for begin in range(0, len(data), SLOW_CHUNK):
            piece = data[begin : begin + SLOW_CHUNK]
            self._closed.wait(len(piece) / rate)
            line.sink(way).sendall(piece)

    def _cut(self, line: _Line, *, reset: bool) -> None:
        for end in (line.box, line.broker):
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)

    def _cut_all(self) -> None:
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            self._cut(line, reset=False)
