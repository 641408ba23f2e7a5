"""Cameras on their worst day: servers that lie, drip, flood, hang up, or never answer. Each is a function of one connection.

Used as `with evil(never_answers) as port:`. They run as threads of the test; what they feed is what a hostile or broken
device can feed, so the reader under test must stay bounded in time and memory whatever they do.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import struct
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Behaviour: TypeAlias = "Callable[[socket.socket, threading.Event], None]"


@contextlib.contextmanager
def evil(behaviour: Behaviour) -> Iterator[int]:
    """Serve *behaviour* on a free loopback port, a thread per connection, until the block ends."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    lines: list[socket.socket] = []

    def accept() -> None:
        while not over.is_set():
            try:
                line, _ = listener.accept()
            except OSError:
                return
            lines.append(line)
            threading.Thread(target=serve, args=(line,), daemon=True).start()

    def serve(line: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), line:
            behaviour(line, over)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.close()
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose connections are never accepted: the kernel completes them, and nobody is there."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener.getsockname()[1]


def question(line: socket.socket) -> str:
    """The next request's head."""
    text = b""
    while b"\r\n\r\n" not in text:
        data = line.recv(4096)
        if not data:
            raise ValueError("hung up")
        text += data
    return text.decode("latin-1")


# ---- either protocol ----


def never_answers(line: socket.socket, over: threading.Event) -> None:
    over.wait()


def garbage(line: socket.socket, over: threading.Event) -> None:
    question(line)
    line.sendall(bytes(range(256)) * 64 + b"\r\n\r\n")


def hangs_up(line: socket.socket, over: threading.Event) -> None:
    question(line)


def endless_header(line: socket.socket, over: threading.Event) -> None:
    head = question(line)
    line.sendall(b"RTSP/1.0 200 OK\r\n" if "RTSP" in head else b"HTTP/1.1 200 OK\r\n")
    while not over.is_set():
        line.sendall(b"X-Filler: " + b"a" * 1000 + b"\r\n")


def dripping_header(line: socket.socket, over: threading.Event) -> None:
    head = question(line)
    line.sendall(
        b"RTSP/1.0 200 OK\r\nX-Filler: " if "RTSP" in head else b"HTTP/1.1 200 OK\r\nX-Filler: "
    )
    while not over.wait(0.5):
        line.sendall(b"a")


# ---- HTTP ----


def answers(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> Behaviour:
    """Always the same answer."""

    def behave(line: socket.socket, over: threading.Event) -> None:
        while True:
            question(line)
            size = len(body) if length is None else length
            head = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers]
            line.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
            if size != len(body):
                return

    return behave


def hangs_up_on_reuse(body: bytes) -> Behaviour:
    """A good answer to the first question on each line; the second crosses with its goodbye."""

    def behave(line: socket.socket, over: threading.Event) -> None:
        question(line)
        line.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        question(line)

    return behave


def floods_body(line: socket.socket, over: threading.Event) -> None:
    """200 MB that begin like a picture, without saying how long."""
    question(line)
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8")
    for _ in range(200):
        line.sendall(bytes(1 << 20))


def dripping_body(line: socket.socket, over: threading.Event) -> None:
    question(line)
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n\xff\xd8")
    while not over.wait(0.5):
        line.sendall(b"a")


def enlarged(jpeg: bytes, side: int) -> bytes:
    """*jpeg* with a header that claims side x side pixels."""
    at = re.search(rb"\xff[\xc0\xc2]..\x08", jpeg, re.DOTALL)
    assert at is not None
    return jpeg[: at.end()] + struct.pack(">HH", side, side) + jpeg[at.end() + 4 :]


# ---- RTSP ----

_SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\na=control:trackID=0\r\n"
)


def rtsp_status(code: int, *headers: str) -> Behaviour:
    """The same status to each question."""

    def behave(line: socket.socket, over: threading.Event) -> None:
        while True:
            _reply(line, question(line), code, headers)

    return behave


def huge_length(line: socket.socket, over: threading.Event) -> None:
    """Announces 2 GB and sends them as fast as they are taken."""
    _reply(line, question(line), 200, ("Content-Length: 2000000000",))
    while not over.is_set():
        line.sendall(bytes(1 << 20))


def rtsp_stream(units: list[bytes], after_play: Behaviour) -> Behaviour:
    """A camera that does all as it should, up to and including PLAY; *units* are a key picture's parts."""
    return partial(_rtsp_stream, units, after_play)


def _rtsp_stream(
    units: list[bytes], after_play: Behaviour, line: socket.socket, over: threading.Event
) -> None:
    sets = ",".join(base64.b64encode(u).decode() for u in units if u[0] & 0x1F in {7, 8})
    while True:
        asked = question(line)
        word = asked.split(" ", 1)[0]
        if word == "DESCRIBE":
            body = _SDP.format(sets=sets)
            kind = "Content-Type: application/sdp"
            _reply(line, asked, 200, (kind, f"Content-Length: {len(body)}"), body)
        elif word == "SETUP":
            way = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
            _reply(line, asked, 200, ("Session: 1", way))
        elif word == "PLAY":
            _reply(line, asked, 200, ("Session: 1",))
            after_play(line, over)
            return
        else:
            _reply(line, asked, 200, ("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN",))


def one_picture_then_silence(units: list[bytes]) -> Behaviour:
    """One key picture a minute, at most."""

    def behave(line: socket.socket, over: threading.Event) -> None:
        number = 0
        while True:
            for unit in units:
                for piece in _pieces(unit):
                    last = unit is units[-1] and piece[1]
                    rtp = struct.pack(
                        ">BBHII",
                        0x80,
                        96 | (0x80 if last else 0),
                        number & 0xFFFF,
                        number // 1000 * 5_400_000,
                        1,
                    )
                    number += 1
                    data = rtp + piece[0]
                    line.sendall(b"$\x00" + struct.pack(">H", len(data)) + data)
            if over.wait(60):
                return

    return behave


def _pieces(unit: bytes) -> list[tuple[bytes, bool]]:
    """RTP payloads of one NAL unit (RFC 6184, FU-A when it is long), and whether each is its last."""
    if len(unit) <= 1400:
        return [(unit, True)]
    parts = [unit[at : at + 1398] for at in range(1, len(unit), 1398)]
    made = []
    for index, part in enumerate(parts):
        flags = (0x80 if index == 0 else 0) | (0x40 if index == len(parts) - 1 else 0)
        made.append(
            (bytes([unit[0] & 0xE0 | 28, flags | unit[0] & 0x1F]) + part, index == len(parts) - 1)
        )
    return made


def key_picture_units(clip: bytes) -> list[bytes]:
    """The NAL units of the first picture of an H.264 clip."""
    units = [u for u in re.split(rb"\x00\x00\x00?\x01", clip[:2_000_000]) if u]
    ends = [at for at, u in enumerate(units) if u[0] & 0x1F == 9]  # access unit delimiters
    return [u for u in units[ends[0] + 1 : ends[1]] if u[0] & 0x1F in {5, 7, 8}]


def _reply(
    line: socket.socket, asked: str, code: int, headers: tuple[str, ...] = (), body: str = ""
) -> None:
    number = re.search(r"CSeq: *(\d+)", asked, re.IGNORECASE)
    head = [f"RTSP/1.0 {code} So", f"CSeq: {number[1] if number else 0}", *headers]
    line.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
