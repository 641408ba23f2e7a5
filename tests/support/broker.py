"""Real MQTT brokers for tests: Debian's mosquitto as a child process, and iotcore, which brings its own.

Both listen on a free loopback port, are awaited until they answer, and are ended by their own process id.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.support.patience import patient

MOSQUITTO: Final = shutil.which("mosquitto") or (
    "/usr/sbin/mosquitto" if Path("/usr/sbin/mosquitto").exists() else None
)
needs_mosquitto: Final = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)"
)
START_S: Final = 10.0


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(there: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Wait until *there*; what does not come about in time has failed."""
    deadline = time.monotonic() + patient(within_s)
    while not there():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def await_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until somebody listens on *port*; a *process* that ended has failed."""
    deadline = time.monotonic() + patient(START_S)
    while True:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"broker ended with {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"broker does not listen on {port}")
        time.sleep(0.02)


class Mosquitto:
    """One mosquitto on its own port, folder and configuration; `kill` is kill -9, `start` brings it back."""

    def __init__(
        self, folder: Path, config: str = "", *, anonymous: bool = True, verbose: bool = True
    ) -> None:
        """*verbose*: a line in `log` for each packet, which a bench does without."""
        self.folder = folder
        self.verbose = verbose
        self.port = free_port()
        self.config = config
        self.anonymous = anonymous
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "mosquitto.log"

    def start(self) -> Mosquitto:
        """Listening when this returns."""
        assert MOSQUITTO is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "mosquitto.conf"
        path.write_text(
            f"user root\nlistener {self.port} 127.0.0.1\n"
            f"allow_anonymous {str(self.anonymous).lower()}\n{self.config}\n"
        )
        with self.log.open("ab") as log:
            words = [MOSQUITTO, *(["-v"] if self.verbose else []), "-c", str(path)]
            self.process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        await_port(self.port, self.process)
        return self

    def kill(self) -> None:
        """As the power would: no goodbye, nothing written."""
        self._end(kill=True)

    def stop(self) -> None:
        """In good order."""
        self._end(kill=False)

    def _end(self, *, kill: bool) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        process.wait(patient(10))


@contextmanager
def mosquitto(folder: Path, config: str = "", *, verbose: bool = True) -> Iterator[Mosquitto]:
    """A mosquitto for one test."""
    broker = Mosquitto(folder, config, verbose=verbose)
    try:
        yield broker.start()
    finally:
        broker.kill()


_IOTCORE_CONFIG: Final = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
    [v5.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = 4000000
    max_inflight_count = 100
    dynamic_filters = true
"""


@contextmanager
def iotcore(folder: Path) -> Iterator[int]:
    """The embedded broker (rumqttd); gives its port. Without a file of settings it speaks MQTT 3.1.1 only."""
    from iotcore import Broker

    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "rumqttd.toml"
    config.write_text(_IOTCORE_CONFIG.format(port=port))
    broker = Broker(config_path=str(config))
    broker.start(patient(START_S))
    try:
        yield port
    finally:
        broker.stop()
