"""A thin line between a box and its broker, on loopback: so many bytes a second go up, and each byte of a picture is seen.

The box's socket meets what a router with a short queue would be: packets of 1400 bytes, a window of a few kB, and nobody who
takes more than the line carries. So what a box has handed to its kernel waits there, and shows here if it still comes.
A byte counts as gone at the moment it is taken from the box's connection, which may be up to a window later than it left.
Not its job: the broker (broker.py), what is within a picture.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Final

CHUNK_BYTES: Final = 1024
WINDOW_BYTES: Final = 8 * 1024  # the kernel keeps twice that for its own needs
SEGMENT_BYTES: Final = 1400
_PUBLISH: Final = 3
# A name longer than any topic here, so that a stream that is no MQTT is noticed.
_TOPIC_MAX: Final = 512


class Packets:
    """Reads one direction of an MQTT connection as it comes, and tells which bytes belong to a picture's message."""

    def __init__(self) -> None:
        self._head = bytearray()  # of the packet that is being read: type, length, topic
        self._left = 0  # bytes of its body still to come
        self._is_picture = False
        self.pictures = 0  # whole ones

    def feed(self, data: bytes) -> int:
        """How many of these bytes are of pictures, behind the topic of their message: properties and payload."""
        found = at = 0
        while at < len(data):
            if self._left:
                took = min(self._left, len(data) - at)
                self._left -= took
                at += took
                found += took if self._is_picture else 0
                self.pictures += self._is_picture and not self._left
                continue
            self._head.append(data[at])
            at += 1
            self._read_head()
        return found

    def _read_head(self) -> None:
        length = self._length()
        if length is None:
            return
        size, begin = length
        if self._head[0] >> 4 != _PUBLISH:
            self._body(size, begin, is_picture=False)
            return
        if len(self._head) < begin + 2:
            return
        named = int.from_bytes(self._head[begin : begin + 2], "big")
        assert named <= _TOPIC_MAX, "this is no MQTT"
        if len(self._head) < begin + 2 + named:
            return
        topic = self._head[begin + 2 : begin + 2 + named]
        self._body(size - 2 - named, begin + 2 + named, is_picture=b"/snapshot/" in topic)

    def _length(self) -> tuple[int, int] | None:
        """The body's size and where it begins; None while that cannot be known."""
        size = 0
        for place, digit in enumerate(self._head[1:5]):
            size |= (digit & 127) << 7 * place
            if not digit & 128:
                return size, place + 2
        return None

    def _body(self, size: int, begin: int, *, is_picture: bool) -> None:
        assert len(self._head) == begin
        self._head.clear()
        self._left, self._is_picture = size, is_picture


class ThinLine:
    """Listens on `port`. A context manager; its methods may be called from any thread."""

    def __init__(self, broker_port: int, *, bytes_per_s: float, plain: bool = True) -> None:
        """*plain*: what passes is MQTT as it is; else it is encrypted, and no picture can be told from the rest."""
        self._plain = plain
        self._broker_port = broker_port
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._cut = False
        self._closed = threading.Event()
        self._flows = threading.Event()
        self._flows.set()
        self._ends: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._picture_at = float("-inf")
        self.up_bytes = 0
        self.picture_bytes = 0
        self.connections = 0
        self.ended = 0  # connections that the box has left, read to their end
        self._server = socket.socket()
        # Inherited by each connection, and told to the other end when it connects.
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
        self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(("127.0.0.1", 0))
        self._server.listen()
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> ThinLine:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._flows.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._hang_up()
        for thread in self._threads:
            thread.join(5.0)

    def picture_at(self) -> float:
        """When the last byte of a picture came (time.monotonic); minus infinity before the first."""
        with self._lock:
            return self._picture_at

    def cut(self) -> None:
        """From now on nobody gets through."""
        with self._lock:
            self._cut = True
        self._hang_up()

    def mend(self) -> None:
        """The line is whole again."""
        with self._lock:
            self._cut = False

    def stall(self) -> None:
        """From now on nothing more is taken from the box."""
        self._flows.clear()

    def flow(self) -> None:
        """And now it is again."""
        self._flows.set()

    # -- inside --

    def _start(self, *work: object) -> None:
        target, *arguments = work
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, name="thin-line", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                box, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                cut = self._cut
            if cut:
                box.close()
                continue
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker_port), timeout=5.0)
            except OSError:
                box.close()
                continue
            broker.settimeout(None)
            self.connections += 1
            with self._lock:
                self._ends |= {box, broker}
            self._start(self._up, box, broker)
            self._start(self._down, box, broker)

    def _up(self, box: socket.socket, broker: socket.socket) -> None:
        packets = Packets() if self._plain else None
        free_at = time.monotonic()  # when the line has carried what it took
        try:
            while data := self._take(box):
                now = time.monotonic()
                pictures = 0 if packets is None else packets.feed(data)
                with self._lock:
                    self.up_bytes += len(data)
                    if pictures:
                        self.picture_bytes += pictures
                        self._picture_at = now
                free_at = max(free_at, now) + len(data) / self._bytes_per_s
                self._closed.wait(max(0.0, free_at - time.monotonic()))
                broker.sendall(data)
        except OSError:
            pass  # reset by one of them, or hung up here
        finally:
            self.ended += 1
            self._end(box, broker)

    def _take(self, box: socket.socket) -> bytes:
        self._flows.wait()
        return box.recv(CHUNK_BYTES)

    def _down(self, box: socket.socket, broker: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := broker.recv(65_536):
                box.sendall(data)
        # Only downwards: what the box has sent is still to be read to its end.
        with contextlib.suppress(OSError):
            box.shutdown(socket.SHUT_WR)

    def _end(self, *ends: socket.socket) -> None:
        with self._lock:
            self._ends -= set(ends)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _hang_up(self) -> None:
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
