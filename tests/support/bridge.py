"""What a mosquitto bridge with a persistent queue makes of an outage: the named peer of the uplink's bench.

A broker beside the box takes messages at QoS 1 for a hub that is away, without a bound on their number, and keeps them in its
database; then the hub's broker comes up. Counted is what arrives at a subscriber there, who reads bytes and answers nothing, so that
nobody but the two brokers is measured.
"""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Final

from tests.support.broker import Mosquitto

TOPIC: Final = "cctv/v1/kuningan/03/05/bridged/history"
WINDOW: Final = 200
_MAX_S: Final = 120.0


def drained_per_s(folder: Path, *, count: int, size: int) -> float:
    """Messages a second, from the first that arrives to the last of *count*, each of *size* bytes."""
    hub = Mosquitto(folder / "hub", "max_queued_messages 0\nset_tcp_nodelay true\n", verbose=False)
    hub.config += f"persistence true\npersistence_location {folder}/hub/\n"
    near = Mosquitto(
        folder / "near",
        f"persistence true\npersistence_location {folder}/near/\n"
        "max_queued_messages 0\nlog_type error\nset_tcp_nodelay true\n"
        f"connection up\naddress 127.0.0.1:{hub.port}\ntopic # out 1\ncleansession false\n"
        "remote_clientid bridge\nlocal_clientid bridge-here\nrestart_timeout 3\nnotifications false\n"
        "bridge_protocol_version mqttv50\n",
        verbose=False,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(near.kill)
        near.start()
        _fill(near.port, count=count, size=size)
        stack.callback(hub.kill)
        hub.start()
        return _count(hub.port, count=count, size=size)


def _packet(kind: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([kind]) + digits + body


def _text(words: str) -> bytes:
    return len(words).to_bytes(2, "big") + words.encode()


def _greeted(port: int, name: str) -> socket.socket:
    """An MQTT 3.1.1 connection (its CONNACK has four bytes)."""
    line = socket.create_connection(("127.0.0.1", port), timeout=_MAX_S)
    line.sendall(_packet(0x10, _text("MQTT") + b"\x04\x02\x00\x00" + _text(name)))
    assert _exactly(line, 4) == b"\x20\x02\x00\x00"
    return line


def _exactly(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = line.recv(size - len(found))
        assert more, "the broker hung up"
        found += more
    return found


def _fill(port: int, *, count: int, size: int) -> None:
    """Each is acknowledged."""
    with _greeted(port, "box") as line:
        for begin in range(0, count, WINDOW):
            group = range(begin, min(begin + WINDOW, count))
            line.sendall(
                b"".join(
                    _packet(
                        0x32, _text(TOPIC) + (number % 65_535 + 1).to_bytes(2, "big") + b"x" * size
                    )
                    for number in group
                )
            )
            _exactly(line, 4 * len(group))


def _count(port: int, *, count: int, size: int) -> float:
    whole = len(_packet(0x30, _text(TOPIC) + b"x" * size))
    with _greeted(port, "counts") as line:
        line.sendall(_packet(0x82, b"\x00\x01" + _text("#") + b"\x00"))
        assert _exactly(line, 5)[0] == 0x90
        _exactly(line, whole)
        began, seen = time.monotonic(), whole
        while seen < count * whole:
            data = line.recv(1_000_000)
            assert data, "the hub's broker hung up"
            seen += len(data)
        return (count - 1) / (time.monotonic() - began)
