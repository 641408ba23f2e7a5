"""A box as a process of its own, started, watched and ended as on a street: for tests and benchmarks.

Everything here is ended by its own process id, and says what it last said when it did not come up.
Not its job: the broker (broker.py), cameras (rtsp_camera.py, http_camera.py), clips (film.py), judging what happened.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.support.patience import patient

T = TypeVar("T")


def await_that(
    what: str, look: Callable[[], T | None], *, within_s: float, every_s: float = 0.1
) -> T:
    """What *look* gives as soon as that is anything (not None, False or empty); AssertionError with *what* if never."""
    within_s = patient(within_s)
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(every_s)


def stays_so(what: str, look: Callable[[], bool], *, for_s: float, every_s: float = 0.1) -> None:
    """AssertionError with *what* as soon as *look* is not true within *for_s*."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert look(), f"no more: {what}"
        time.sleep(every_s)


def command(*words: str) -> list[str]:
    """`edge-agent ...`, as this Python has it."""
    return [sys.executable, "-m", "edge_agent", *words]


def ended(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit code."""
    return subprocess.run(
        list(words), check=False, capture_output=True, text=True, timeout=patient(60.0)
    )


class Process:
    """A child with its words in a file. `kill` is kill -9."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self.child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # a Ctrl-C at the tests is theirs alone
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    def words(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def kill(self) -> None:
        """As a power cut would; waits for its end. Also of a process that is stopped or gone."""
        self.child.kill()
        self.child.wait(patient(10.0))

    def terminate(self, *, within_s: float = 15.0) -> int:
        """In good order; the exit code."""
        self.child.terminate()
        try:
            return self.child.wait(patient(within_s))
        finally:
            self.kill()

    def pause(self) -> None:
        """SIGSTOP: there, and silent."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.send_signal(signal.SIGCONT)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOf:
    """A [[camera]] of a box.toml. `source`: the line that says where, such as `url = "..."`."""

    id: str
    kind: str
    source: str
    login: tuple[str, str] | None = None
    period_s: float = 5.0


@dataclass(kw_only=True)
class Box:
    """One box in *folder*: its configuration, its journal, its views, and the agent while it runs."""

    folder: Path
    hub_port: int
    cameras: Sequence[CameraOf] = ()
    switch: str = "none"  # a machine without pins has no switch that could be read
    name: str = "box-1"
    settle: str = "watermark"
    more: str = ""  # further TOML
    agent: Process | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for camera in self.cameras:
            if camera.login is not None:
                secret = self.folder / f"{camera.id}.password"
                secret.write_text(camera.login[1])
                secret.chmod(0o640)
        self.config.write_text(self._toml())

    @property
    def config(self) -> Path:
        return self.folder / "box.toml"

    @property
    def views(self) -> Path:
        return self.folder / "views"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def socket(self) -> Path:
        return self.folder / "status.sock"

    def command(self, *words: str) -> list[str]:
        """`edge-agent ...` with this box's configuration."""
        return command(*words, "--config", str(self.config))

    def run(self) -> Process:
        """Start the agent; it may take a moment until it answers."""
        self.agent = Process(self.command("run"), self.folder / "agent.log")
        return self.agent

    def status(self) -> Mapping[str, object] | None:
        """What the agent says of itself; None while it does not."""
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(patient(5.0))
                line.connect(str(self.socket))
                answer = b"".join(iter(lambda: line.recv(65536), b""))
            found = json.loads(answer)
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "cameras" in found else None

    def gates(self) -> dict[str, str]:
        """The state of each camera's gate; empty while nobody answers."""
        status = self.status() or {}
        return {camera["id"]: camera["gate"] for camera in _list(status.get("cameras"))}

    def findings(self) -> set[tuple[str | None, str]]:
        """What is wrong now, as (camera, key)."""
        status = self.status() or {}
        return {(found["camera"], found["key"]) for found in _list(status.get("findings"))}

    def await_open(self, *cameras: str, within_s: float = 60.0) -> None:
        """Until the gates of these (of all) cameras are open."""
        wanted = set(cameras or (camera.id for camera in self.cameras))

        def look() -> bool:
            self._assert_alive()
            gates = self.gates()
            return all(gates.get(camera) == "open" for camera in wanted)

        try:
            await_that("open gates", look, within_s=within_s)
        except AssertionError as error:
            words = self.agent.words() if self.agent else ""
            raise AssertionError(f"{error}; {self.gates()} {self.findings()}\n{words}") from error

    def _assert_alive(self) -> None:
        assert self.agent is not None
        assert self.agent.child.poll() is None, f"the agent ended: {self.agent.words()}"

    def end(self) -> None:
        """Kill the agent if it runs."""
        if self.agent is not None:
            self.agent.kill()

    def _toml(self) -> str:
        lines = [
            *(
                "[identity]",
                'kelurahan = "kuningan"',
                'rw = "03"',
                'rt = "05"',
                f'box = "{self.name}"',
            ),
            *(
                "[hub]",
                'host = "127.0.0.1"',
                f"port = {self.hub_port}",
                f'settle = "{self.settle}"',
            ),
            *("[privacy]", f'switch = "{self.switch}"'),
            *("[journal]", f'folder = "{self.journal}"', "quota_mb = 500", "disk_floor_mb = 50"),
            *("[paths]", f'views_folder = "{self.views}"', f'status_socket = "{self.socket}"'),
        ]
        for camera in self.cameras:
            lines += [
                "[[camera]]",
                f'id = "{camera.id}"',
                f'name = "{camera.id}"',
                f'kind = "{camera.kind}"',
            ]
            lines += [camera.source, f"period_s = {camera.period_s}"]
            if camera.login is not None:
                lines += [
                    f'username = "{camera.login[0]}"',
                    f'password_file = "{camera.id}.password"',
                ]
        return "\n".join([*lines, self.more, ""])


def committed(journal: Path, scratch: Path) -> tuple[int, int]:
    """From the journal's files as they lie on the disk: the highest seq committed so far, and how many pictures.

    The agent keeps its store to itself while it runs, so this reads a copy; a copy taken at a bad moment says (0, 0). So is one
    during which a file changed: an old database beside a new log would show what is gone.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        paths = [
            path
            for path in journal.glob("journal.db*")
            if path.is_file() and not path.name.endswith("-shm")
        ]
        before = [_changed_at(path) for path in paths]
        for path in paths:
            shutil.copy(path, scratch)
        if before != [_changed_at(path) for path in paths]:
            return 0, 0
        with contextlib.closing(sqlite3.connect(scratch / "journal.db")) as store:
            (last,) = store.execute("SELECT last_seq FROM store").fetchone()
            (pictures,) = store.execute(
                "SELECT COUNT(*) FROM record WHERE key >> 48 >= 16"
            ).fetchone()
    except (OSError, sqlite3.Error, TypeError):
        return 0, 0
    return int(last), int(pictures)


def _changed_at(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_size


@contextlib.contextmanager
def repeating(every_s: float, turn: Callable[[int], None]) -> Iterator[None]:
    """Call *turn* with 0, 1, 2 ... from a thread of its own until the block ends."""
    over = threading.Event()

    def run() -> None:
        number = 0
        while not over.is_set():
            turn(number)
            number += 1
            over.wait(every_s)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _list(found: object) -> list[dict[str, str]]:
    return found if isinstance(found, list) else []
