"""The main job on real parts: cameras that nobody here wrote, a real broker, the agent and the hub as processes of their own.

Nothing in here reaches into the product: it is started as a technician starts it, watched through its status socket, through
a client of its own at the broker, and through what the hub committed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.broker import Mosquitto, needs_mosquitto
from tests.support.film import Film, film, stills, street
from tests.support.http_camera import http_camera
from tests.support.rig import Box, CameraOf, Process, RtspCamera, await_that, repeating

pytestmark = [
    pytest.mark.broker,
    pytest.mark.cameras,
    pytest.mark.enable_socket,
    pytest.mark.timeout(240),
    needs_mosquitto,
]

PERIOD_S = 4.0
LOGIN = ("agent", "gang-mawar 7 & 8")


class Listener:
    """A client beside the hub that writes down every record and picture on the wire, as (epoch, seq), with its time."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._seen: Counter[tuple[str, int]] = Counter()
        self._pictures: list[tuple[float, str, int]] = []
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("cctv/#", qos=1)
        self._client.on_message = lambda _c, _u, message: self._note(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _note(self, message: MQTTMessage) -> None:
        parts = message.topic.split("/")
        with self._lock:
            if parts[6] in {"live", "history"}:
                for event in json.loads(message.payload):
                    self._seen[event["epoch"], int(event["seq"])] += 1
            elif parts[6] == "snapshot":
                told = dict(message.properties.UserProperty)  # type: ignore[attr-defined]
                self._seen[told["epoch"], int(told["seq"])] += 1
                self._pictures.append((time.monotonic(), parts[8], int(told["seq"])))

    def seen(self) -> set[tuple[str, int]]:
        with self._lock:
            return set(self._seen)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass(frozen=True)
class AtHub:
    """A record as the hub committed it."""

    epoch: str
    seq: int
    kind: str
    camera: str | None
    boot: str
    at: float
    lane: str
    data: dict[str, object]
    picture: str | None


@dataclass
class Hub:
    """`edge-agent hub` and what it committed."""

    folder: Path
    port: int
    process: Process | None = field(default=None, init=False)

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "edge_agent", "hub", "--port", str(self.port), "--json"]
        self.process = Process([*command, "--folder", str(self.folder)], self.folder / "hub.log")

    def records(self) -> list[AtHub]:
        path = self.folder / "hub.sqlite"
        if not path.exists():
            return []
        query = "SELECT epoch, seq, kind, camera, boot, at, lane, data, picture FROM record ORDER BY epoch, seq"
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as sql:
            rows = sql.execute(query).fetchall()
        return [AtHub(*row[:7], json.loads(row[7]), row[8]) for row in rows]

    def pictures(self, camera: str | None = None) -> list[AtHub]:
        return [r for r in self.records() if r.kind == "snapshot" and camera in (None, r.camera)]


@dataclass
class Street:
    """Two RTSP cameras, a snapshot camera, a broker, a hub and a box."""

    broker: Mosquitto
    hub: Hub
    box: Box
    h264: RtspCamera
    h265: RtspCamera

    def settled(self) -> bool:
        """Whether the hub has acknowledged everything that the journal accepted."""
        status = self.box.status() or {}
        uplink = status.get("uplink")
        assert uplink is None or isinstance(uplink, dict)
        return bool(uplink) and bool(uplink["last_seq"]) and uplink["settled_upto"] == uplink["last_seq"]


@pytest.fixture(scope="module")
def street_on_real_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    folder = tmp_path_factory.mktemp("street")
    with contextlib.ExitStack() as stack:
        broker = Mosquitto(folder / "broker").start()
        stack.callback(broker.kill)
        clips = [
            film(street(0), Film(codec="h264", gop=25)),
            film(street(1), Film(codec="h265", width=1280, height=720, kbit_s=1500)),
        ]
        h264 = RtspCamera(folder, clips[0], user=LOGIN[0], password=LOGIN[1])
        stack.callback(h264.kill)
        h265 = RtspCamera(folder, clips[1])
        stack.callback(h265.kill)
        third = film(street(2), Film(width=1280, height=720))
        jpegs = [path.read_bytes() for path in stills(third, folder / "stills", count=12, apart_s=0.5)]
        snapshots = stack.enter_context(
            http_camera(folder / "http", jpegs[0], user=LOGIN[0], password=LOGIN[1])
        )
        stack.enter_context(
            repeating(0.7, lambda number: snapshots.show(jpegs[number % len(jpegs)]))
        )
        box = Box(
            folder=folder / "box",
            hub_port=broker.port,
            cameras=[
                CameraOf(id="mawar", kind="rtsp", source=f'url = "{h264.url}"', login=LOGIN, period_s=PERIOD_S),
                CameraOf(id="melati", kind="rtsp", source=f'url = "{h265.url}"', period_s=PERIOD_S),
                CameraOf(id="kenanga", kind="http", source=f'url = "{snapshots.url}"', login=LOGIN, period_s=PERIOD_S),
            ],
        )  # fmt: skip
        stack.callback(box.end)
        commission(box)
        hub = Hub(folder / "hub", broker.port)
        hub.start()
        stack.callback(lambda: hub.process and hub.process.kill())
        yield Street(broker, hub, box, h264, h265)


def commission(box: Box) -> None:
    """As a technician does it, all cameras at a time to save some."""
    at_work = [
        Process(
            box.command("commission", camera.id, "--yes", "--pictures", "5"),
            box.folder / f"commission-{camera.id}.log",
        )
        for camera in box.cameras
    ]
    for one in at_work:
        assert one.child.wait(90) == 0, one.words()
