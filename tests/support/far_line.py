"""A line from a box to its hub with a real rate and a real way: a network namespace, `tc tbf`, and packets that take their time.

The box lives in a namespace of its own. Its only way out is a TUN device, shaped by the kernel (`tbf`) to the line's rate; what comes
out of that is carried to the hub's side by a thread here, each packet `way_s` later, and back. So TCP, TLS and MQTT meet the round
trip and the queue of a thin line, and nothing but IP packets is touched (the kernel's own `netem` is missing on many machines).
Upwards the line has its rate; downwards only the way.
Needs root, namespaces, TUN and tc: `why_not()` says what is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import struct
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

NAME: Final = "hub.test"
WAY_S: Final = 0.05  # one way: a round trip of 100 ms
QUEUE_S: Final = 0.3  # what the modem in front of the line holds before it drops
BURST_BYTES: Final = 3_200
MTU: Final = 1500
_TUN: Final = Path("/dev/net/tun")
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_TCP: Final = 6
_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"
_IP, _TC = (shutil.which(name, path=_PATH) for name in ("ip", "tc"))


def why_not() -> str:
    """What keeps such a line from being laid here; "" if nothing does."""
    if _IP is None or _TC is None:
        return "ip and tc are not installed (apt-get install iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not _TUN.exists():
        return f"{_TUN} is missing"
    try:
        with FarLine(bits_per_s=1_000_000):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no shaped line here: {error}"


@dataclass(frozen=True, slots=True)
class Carried:
    """Bytes of IP packets that came out at the other end so far. `fresh`: without what TCP had sent before."""

    up: int
    fresh: int
    down: int


class FarLine:
    """A context manager. The hub's side is this machine, at `hub`; `within` prefixes a command that is to run on the box's side."""

    _count = 0

    def __init__(self, *, bits_per_s: int, way_s: float = WAY_S) -> None:
        FarLine._count += 1
        number = FarLine._count
        self._bits_per_s = bits_per_s
        self._way_s = way_s
        self._space = f"ea-box-{os.getpid()}-{number}"
        # Of the block for benchmarks (RFC 2544); one pair of addresses for each line.
        self.hub, self._box = (f"198.18.{number % 250}.{host}" for host in (1, 2))
        self._near, self._far = (f"ea{os.getpid() % 100_000}{end}{number}" for end in "bh")
        self._stack = contextlib.ExitStack()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._carried = Carried(0, 0, 0)
        self._highest: dict[bytes, int] = {}  # connection -> the seq behind its newest byte

    @property
    def within(self) -> tuple[str, ...]:
        return (str(_IP), "netns", "exec", self._space)

    def carried(self) -> Carried:
        """Any thread."""
        with self._lock:
            return self._carried

    def __enter__(self) -> FarLine:
        with contextlib.ExitStack() as stack:
            self._lay(stack)
            thread = threading.Thread(target=self._carry, name="far-line", daemon=True)
            thread.start()
            stack.callback(thread.join, 5.0)
            stack.callback(self._over.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    # -- inside --

    def _lay(self, stack: contextlib.ExitStack) -> None:
        self._near_fd, self._far_fd = (_tun(name, stack) for name in (self._near, self._far))
        _run(_IP, "netns", "add", self._space)
        stack.callback(_run, _IP, "netns", "del", self._space)
        etc = Path("/etc/netns") / self._space
        etc.mkdir(parents=True)
        stack.callback(shutil.rmtree, etc, ignore_errors=True)
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.hub} {NAME}\n")
        _run(_IP, "link", "set", self._near, "netns", self._space)
        inside = (_IP, "-n", self._space)
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "addr", "add", f"{self._box}/30", "dev", self._near)
        _run(*inside, "link", "set", self._near, "up", "mtu", str(MTU))
        _run(*inside, "route", "add", "default", "dev", self._near)
        shape = ("rate", f"{self._bits_per_s}bit", "burst", str(BURST_BYTES))
        queue = ("latency", f"{QUEUE_S * 1000:.0f}ms")
        # fmt: off
        _run(_IP, "netns", "exec", self._space, str(_TC), "qdisc", "add", "dev", self._near, "root", "tbf", *shape, *queue)
        # fmt: on
        _run(_IP, "addr", "add", f"{self.hub}/30", "dev", self._far)
        _run(_IP, "link", "set", self._far, "up", "mtu", str(MTU))

    def _carry(self) -> None:
        """Each packet comes out `way_s` after it went in, in order."""
        to = {self._near_fd: self._far_fd, self._far_fd: self._near_fd}
        under_way: deque[tuple[float, int, bytes]] = deque()
        while not self._over.is_set():
            left_s = under_way[0][0] - time.monotonic() if under_way else 0.2
            ready, _, _ = select.select(list(to), [], [], max(0.0, min(left_s, 0.2)))
            for fd in ready:
                with contextlib.suppress(BlockingIOError):
                    while packet := os.read(fd, 65_536):
                        under_way.append((time.monotonic() + self._way_s, fd, packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, fd, packet = under_way.popleft()
                with contextlib.suppress(OSError):  # the other side is down
                    os.write(to[fd], packet)
                    self._count_in(packet, up=fd == self._near_fd)

    def _count_in(self, packet: bytes, *, up: bool) -> None:
        seen = self._carried
        fresh = len(packet) if up and self._is_fresh(packet) else 0
        with self._lock:
            if up:
                self._carried = Carried(seen.up + len(packet), seen.fresh + fresh, seen.down)
            else:
                self._carried = Carried(seen.up, seen.fresh, seen.down + len(packet))

    def _is_fresh(self, packet: bytes) -> bool:
        """Whether it is not a TCP segment whose last byte was here before. Segments without bytes (acknowledgements) are fresh."""
        if packet[0] >> 4 != 4 or packet[9] != _TCP:
            return True
        head = (packet[0] & 15) * 4
        begin = head + (packet[head + 12] >> 4) * 4
        connection = packet[12:20] + packet[head : head + 4]
        if len(packet) == begin:
            return True
        end = int.from_bytes(packet[head + 4 : head + 8], "big") + len(packet) - begin
        highest = self._highest.get(connection)
        if highest is not None and not 0 < (end - highest) % 2**32 < 2**31:
            return False
        self._highest[connection] = end % 2**32
        return True


def _tun(name: str, stack: contextlib.ExitStack) -> int:
    fd = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    stack.callback(os.close, fd)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
    return fd


def _run(*words: str | None) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
