"""What a mosquitto pays to keep what it acknowledged: the named peer of the journal's bench.

With `autosave_on_changes true` and `autosave_interval 1` it writes its whole database after each change, which is the only setting
that keeps nearly all of what it acknowledged through a kill (the defaults keep none). A subscriber with a session of its own is away,
so that every message waits, as records wait for a hub.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.broker import MOSQUITTO, free_port, wait_for

WINDOW = 20
WEEK_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Peer:
    """What it took."""

    ingest_per_s: float
    written_per_byte: float


def measure(base: Path | None, *, count: int, size: int) -> Peer | None:
    """*count* messages of *size* bytes, at QoS 1, each acknowledged; None where no mosquitto is installed."""
    if MOSQUITTO is None:
        return None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        port = free_port()
        config = Path(folder) / "mosquitto.conf"
        config.write_text(
            f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n"
            f"persistence true\npersistence_location {folder}/\n"
            "autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 0\n"
        )
        process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: _listens(process.pid, port), "mosquitto listens")
            return _fill(process.pid, port, count=count, size=size)
        finally:
            process.kill()
            process.wait(10)


def _listens(pid: int, port: int) -> bool:
    return any(
        there.status == psutil.CONN_LISTEN and there.laddr.port == port
        for there in psutil.Process(pid).net_connections("tcp")
    )


def _fill(pid: int, port: int, *, count: int, size: int) -> Peer:
    away = _client("away", port)
    away.subscribe("peer/#", qos=1)
    time.sleep(1.0)  # for the SUBACK
    away.disconnect()
    away.loop_stop()
    here = _client("here", port)
    room = threading.Semaphore(WINDOW)
    here.on_publish = lambda *_: room.release()
    before = psutil.Process(pid).io_counters().write_bytes
    began = time.perf_counter()
    for _ in range(count):
        room.acquire()
        here.publish("peer/live", b"x" * size, qos=1)
    for _ in range(WINDOW):
        room.acquire()
    took_s = time.perf_counter() - began
    written = psutil.Process(pid).io_counters().write_bytes - before
    here.disconnect()
    here.loop_stop()
    return Peer(count / took_s, written / (count * size))


def _client(name: str, port: int) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv5)
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = WEEK_S
    client.connect("127.0.0.1", port, clean_start=True, properties=session)
    client.loop_start()
    wait_for(client.is_connected, f"{name} is connected")
    return client
