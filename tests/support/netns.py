"""A box, a router and a hub in network namespaces of their own: real cables to pull, real kernels to ask.

`python -m tests.support.netns router` is the router's side: name server, hub port. `... climb` tries the ladder from the box's side.
Needs root and namespaces; `needs_netns` skips with the reason otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.patience import patient

ROUTER, BOX, HUB = "10.77.0.1", "10.77.0.2", "203.0.113.9"
ROUTER_6, BOX_6, HUB_6 = "fd77::1", "fd77::2", "2001:db8:9::9"
NAME = "hub.test"
ROOT = Path(__file__).parents[2]
_IP = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")


# What `ip netns` makes, and a folder of ours, go again where this machine had neither.
_PLACES = [path for path in (Path("/run/netns"), Path("/etc/netns")) if not path.exists()]


def _tidy() -> None:
    for path in _PLACES:
        if not path.is_dir() or any(path.iterdir()):
            continue  # another street's is in it
        # Laid over itself by `ip`, which Path.is_mount cannot see.
        subprocess.run(["umount", str(path)], capture_output=True, check=False)
        with suppress(OSError):
            path.rmdir()


def _why_not() -> str:
    if _IP is None:
        return "ip is not installed (apt-get install iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    done = subprocess.run(
        [_IP, "netns", "add", f"probe{os.getpid()}"], capture_output=True, check=False
    )
    if done.returncode:
        return f"no network namespaces here: {done.stderr.decode().strip()}"
    subprocess.run([_IP, "netns", "del", f"probe{os.getpid()}"], check=False)
    _tidy()
    return ""


_REASON = _why_not()
needs_netns = pytest.mark.skipif(bool(_REASON), reason=_REASON)


def _ip(*words: str) -> None:
    assert _IP is not None
    done = subprocess.run([_IP, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class Street:
    """Two namespaces and the cable between them."""

    def __init__(self, tag: str) -> None:
        self.box, self.router = f"ea-box-{tag}", f"ea-rt-{tag}"
        self.etc = Path("/etc/netns") / self.box

    def lay(self) -> None:
        for name in (self.box, self.router):
            _ip("netns", "add", name)
            self.at(name, "link", "set", "lo", "up")
        _ip(
            "link",
            "add",
            "up0",
            "netns",
            self.box,
            "type",
            "veth",
            "peer",
            "dn0",
            "netns",
            self.router,
        )
        self.at(self.router, "link", "set", "dn0", "up")
        self.at(self.box, "link", "set", "up0", "up")
        for address in (f"{ROUTER}/24", f"{HUB}/32"):
            self.at(self.router, "addr", "add", address, "dev", "dn0")
        for address in (f"{ROUTER_6}/64", f"{HUB_6}/128"):
            self.at(self.router, "addr", "add", address, "dev", "dn0", "nodad")
        self.name_servers(ROUTER)

    def at(self, name: str, *words: str) -> None:
        """`ip` within a namespace."""
        _ip("-n", name, *words)

    def address(self, address: str = f"{BOX}/24", *, gateway: str = ROUTER) -> None:
        more = ("nodad",) if ":" in address else ()
        self.at(self.box, "addr", "add", address, "dev", "up0", *more)
        if gateway:
            six = ("-6",) if ":" in gateway else ()
            self.at(self.box, *six, "route", "add", "default", "via", gateway)

    def name_servers(self, *servers: str, within_s: int = 1) -> None:
        self.etc.mkdir(parents=True, exist_ok=True)
        text = f"options timeout:{within_s} attempts:1\n" + "".join(
            f"nameserver {one}\n" for one in servers
        )
        (self.etc / "resolv.conf").write_text(text)

    def clear(self) -> None:
        for name in (self.box, self.router):
            subprocess.run([str(_IP), "netns", "del", name], capture_output=True, check=False)
        shutil.rmtree(self.etc, ignore_errors=True)
        _tidy()

    @contextmanager
    def served(self, *, port: int | None = 8883, knows: str = "") -> Iterator[None]:
        """The router's name server, and the hub's port behind it."""
        command = [
            str(_IP),
            "netns",
            "exec",
            self.router,
            sys.executable,
            "-m",
            "tests.support.netns",
        ]
        process = subprocess.Popen(
            [*command, "router", str(port or 0), knows],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        with process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == b"ready\n"
            try:
                yield
            finally:
                process.stdin.close()
                process.wait(patient(10.0))

    def climb(
        self, host: str = HUB, *, far: bool = True, patience: float = 1.0
    ) -> list[dict[str, object]]:
        """The ladder's steps as the box sees them. *patience*: the ladder's own, more where somebody is sure to answer."""
        done = subprocess.run(
            [
                *(str(_IP), "netns", "exec", self.box),
                *(sys.executable, "-m", "tests.support.netns", "climb"),
                *(host, str(int(far)), str(patience)),
            ],
            capture_output=True,
            cwd=ROOT,
            timeout=patient(100.0),
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        found: list[dict[str, object]] = json.loads(done.stdout)
        return found


@contextmanager
def street(tag: str) -> Iterator[Street]:
    """Laid, without an address on the box's side."""
    made = Street(f"{os.getpid()}{tag}")
    made.clear()
    try:
        made.lay()
        yield made
    finally:
        made.clear()


# ---- within the namespaces ----


def _answer(query: bytes, knows: str) -> bytes:
    end = query.index(b"\0", 12) + 5
    name, place = [], 12
    while query[place]:
        name.append(query[place + 1 : place + 1 + query[place]].decode())
        place += 1 + query[place]
    asked = struct.unpack(">H", query[end - 4 : end - 2])[0]
    known = ".".join(name).lower() == knows
    records = b""
    if known and asked == 1:
        records = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(HUB)
    flags = 0x8180 if known else 0x8183
    return query[:2] + struct.pack(">5H", flags, 1, bool(records), 0, 0) + query[12:end] + records


def _router(port: int, knows: str) -> None:
    with ExitStack() as stack:
        if knows:
            names = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            names.bind((ROUTER, 53))

            def serve() -> None:
                with suppress(OSError):
                    while True:
                        query, asker = names.recvfrom(1500)
                        names.sendto(_answer(query, knows), asker)

            threading.Thread(target=serve, daemon=True).start()
        if port:
            stack.enter_context(socket.create_server(("", port)))
            stack.enter_context(socket.create_server(("::", port), family=socket.AF_INET6))
        print("ready", flush=True)
        sys.stdin.read()


def _climb(host: str, *, far: bool, patience: float) -> None:
    from edge_agent.clock import SystemClock
    from edge_agent.core.messages import Climb
    from edge_agent.core.settings import Hub
    from edge_agent.ladder import Ladder

    settings = Hub(host=host, port=8883, tls=None)
    ladder = Ladder(
        settings, (), pair=None, post=lambda _: None, clock=SystemClock(), patience=patience
    )
    steps = ladder.steps(Climb(far=far))
    print(
        json.dumps(
            [
                {
                    "rung": step.rung.value,
                    "holds": step.holds,
                    "seen": step.seen,
                    "fault": step.fault.value if step.fault else None,
                }
                for step in steps
            ]
        )
    )


if __name__ == "__main__":
    if sys.argv[1] == "router":
        _router(int(sys.argv[2]), sys.argv[3])
    else:
        _climb(sys.argv[2], far=sys.argv[3] == "1", patience=float(sys.argv[4]))
