"""A running agent listens on nothing: what the kernel says of its own sockets, and of those of its capture workers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from edge_agent.commission import commission_from_files
from edge_agent.vision import References
from tests.support.broker import free_port, mosquitto, needs_mosquitto
from tests.support.film import Film, film, stills, street
from tests.support.measure import family
from tests.support.rig import Box, CameraOf, await_that

pytestmark = [pytest.mark.broker, pytest.mark.enable_socket, pytest.mark.timeout(600)]

LISTEN = "0A"


def inodes(pid: int) -> set[str]:
    """Of the sockets that a process holds; none if it has ended."""
    found = set()
    entries: list[Path] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    for entry in entries:
        with suppress(FileNotFoundError, ProcessLookupError):  # closed meanwhile
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.add(target.removeprefix("socket:[").removesuffix("]"))
    return found


def open_doors(pids: Iterable[int]) -> list[str]:
    """Where these processes take words from strangers: TCP that listens, UDP that is bound and has no peer."""
    found = []
    for pid in pids:
        own = inodes(pid)
        for table in ("tcp", "tcp6", "udp", "udp6"):
            text = ""
            # Without IPv6 there is no such table; a process that has ended has none at all.
            with suppress(FileNotFoundError, ProcessLookupError):
                text = Path(f"/proc/{pid}/net/{table}").read_text()
            for line in text.splitlines()[1:]:
                words = line.split()
                local, peer, state, inode = words[1], words[2], words[3], words[9]
                if inode not in own:
                    continue
                peerless = int(peer.rpartition(":")[2], 16) == 0
                if (state == LISTEN) if table.startswith("tcp") else peerless:
                    found.append(f"{table} {local} of {pid}")
    return found


def test_a_door_would_be_seen() -> None:
    me = os.getpid()
    before = set(open_doors([me]))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        number = server.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", number))):
            assert set(open_doors([me])) - before == {f"tcp 0100007F:{number:04X} of {me}"}
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        number = server.getsockname()[1]
        assert set(open_doors([me])) - before == {f"udp 0100007F:{number:04X} of {me}"}
        server.connect(("127.0.0.1", 9))
        assert set(open_doors([me])) <= before
    if socket.has_ipv6:
        with suppress(OSError), closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            assert any(door.startswith("tcp6 ") for door in open_doors([me]))


@needs_mosquitto
def test_a_running_agent_listens_on_nothing(tmp_path: Path) -> None:
    pictures = tmp_path / "street"
    found = stills(film(street(2), Film(width=1280, height=720)), pictures, count=12, apart_s=0.5)
    # One camera that gives pictures, and one that is not there: looking for it must open no door either.
    cameras = [
        CameraOf(id="mawar", kind="clip", source=f'path = "{pictures}"', period_s=2.0),
        CameraOf(id="melati", kind="rtsp", source=f'url = "rtsp://127.0.0.1:{free_port()}/1"'),
    ]
    with mosquitto(tmp_path / "broker") as broker:
        box = Box(folder=tmp_path / "box", hub_port=broker.port, cameras=cameras)
        assert isinstance(commission_from_files(found, box.views, "mawar"), References)
        try:
            agent = box.run()
            box.await_open("mawar", within_s=90)
            pids = await_that(
                "the agent and its capture worker",
                lambda: pids if len(pids := [each.pid for each in family(agent.pid)]) > 1 else None,
                within_s=30,
            )
            peers = Path(f"/proc/{agent.pid}/net/tcp")
            connected = f":{broker.port:04X} 01"
            await_that("its hub", lambda: connected in peers.read_text(), within_s=60)
            assert any(inodes(pid) for pid in pids), "there were sockets to look at"
            assert open_doors(pids) == []
        finally:
            box.end()
