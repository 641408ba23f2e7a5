"""A journal's writer in a process of its own, to be killed, and a disk that loses power.

As a program it fills a journal and tells on stdout what was accepted, so that the proof lies outside of what is killed:
    python tests/support/powercut.py FOLDER LIFE
Lines: `open EPOCH LAST_SEQ`, `kept SEQ`, `settling UPTO`.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.patience import patient

ROOT = Path(__file__).resolve().parents[2]
OPENED_S = patient(20.0)


class Child:
    """A writer in a process of its own, from start to kill, and what it tells: *hear* is called with each whole line.

    *opened* says whether the journal is open by now, as far as it was told.
    """

    def __init__(
        self, command: list[str], hear: Callable[[str], None], opened: Callable[[], bool]
    ) -> None:
        self._hear_line, self._opened = hear, opened
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1
        )
        assert self.process.stdout is not None
        self._told = self.process.stdout

    def listen(self, seconds: float, clock) -> None:
        """Hear what it tells for so long after it opened the journal."""
        until = None
        while until is None or clock.now() < until:
            left = OPENED_S if until is None else max(0.0, until - clock.now())
            ready, _, _ = select.select([self._told], [], [], left)
            if not ready:
                assert until is not None, f"the writer did not open its journal in {OPENED_S:g} s"
                return
            line = self._told.readline()
            if not line:
                return
            self._hear(line)
            if until is None and self._opened():
                until = clock.now() + seconds

    def hear_one(self) -> None:
        """Wait for one line; EOFError if there are no more."""
        line = self._told.readline()
        if not line:
            raise EOFError("the writer ended by itself")
        self._hear(line)

    def stop(self) -> None:
        """Freeze it where it is."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def kill(self) -> None:
        """kill -9, then hear what was told before."""
        self.process.kill()
        self.drain()

    def drain(self) -> None:
        """Hear what is told until it ends."""
        for line in self._told:
            self._hear(line)
        self._told.close()
        self.process.wait()

    def _hear(self, line: str) -> None:
        if line.endswith("\n"):
            self._hear_line(line)


class Life(Child):
    """One run of this file's writer, and what it told."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.epoch = ""
        self.first_seq = 0
        self.kept = 0
        self.settling = 0
        command = [sys.executable, str(Path(__file__)), str(folder), str(number)]
        super().__init__(command, self._note, lambda: bool(self.epoch))

    def _note(self, line: str) -> None:
        word, *rest = line.split()
        if word == "open":
            self.epoch, self.first_seq = rest[0], int(rest[1]) + 1
        elif word == "kept":
            self.kept = max(self.kept, int(rest[0]))
        elif word == "settling":
            self.settling = max(self.settling, int(rest[0]))


def why_no_loop() -> str:
    """Why a file system on a loop device cannot be had here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root to mount a loop device"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def make_image(path: Path, *, megabytes: int) -> None:
    """An ext4 file system in a file."""
    with path.open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(path)], check=True, capture_output=True)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """The file system in *image*; mounting replays its journal, as after a power cut."""
    at.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(at)], check=True, capture_output=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True, capture_output=True)


def fill(path: Path, *, leave: int) -> None:
    """Fill up *path*'s file system with a file, but for *leave* bytes or so."""
    left = shutil.disk_usage(path.parent).free - leave
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while left > 0:
            left -= file.write(bytes(min(left, 100_000)))


def why_no_tmpfs() -> str:
    """Why a small file system in memory cannot be had here; empty if it can."""
    return "" if os.geteuid() == 0 else "needs root to mount a tmpfs"


@contextmanager
def tmpfs(at: Path, *, megabytes: int) -> Iterator[Path]:
    """A small file system of its own; skips nothing: raises CalledProcessError where mounting is forbidden."""
    at.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(at)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True, capture_output=True)


def remount(at: Path, mode: str) -> None:
    """Make the file system at *at* read-only ("ro") or writable again ("rw")."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(at)], check=True, capture_output=True)


def main(folder: str, life: int) -> None:
    """Write until killed: state records as fast as they are committed, an alarm now and then, settling behind."""
    from edge_agent.clock import SystemClock
    from edge_agent.core.messages import Committed, Event, Json, Rank, Record, Settle
    from edge_agent.core.settings import Journal
    from edge_agent.spool import Spool

    clock = SystemClock()
    room = threading.Semaphore(200)
    opened: list[Committed] = []
    spool: Spool

    def post(event: Event) -> None:
        if not isinstance(event, Committed):
            return
        if not opened:
            opened.append(event)
            print("open", event.epoch, event.last_seq, flush=True)
            told[0] = event.last_seq
            return
        print("kept", event.last_seq, flush=True)
        for _ in range(event.last_seq - told[0]):
            room.release()
        told[0] = event.last_seq
        upto = event.last_seq - 300
        if upto > 0 and event.last_seq % 7 == 0:
            print("settling", upto, flush=True)
            spool.settle(Settle(epoch=event.epoch, ranges=((1, upto),)))

    told = [0]
    settings = Journal(folder=folder, quota_bytes=100_000_000, disk_floor_bytes=0)
    with Spool(settings, clock=clock, post=post, presses=lambda: 0) as spool:
        for n in range(10**9):
            room.acquire()
            rank = Rank.AUDIT if n % 37 == 36 else Rank.STATE
            data: dict[str, Json] = {"life": life, "n": n, "fill": "x" * (n % 500)}
            kind = "gate.changed" if rank is Rank.AUDIT else "test.kept"
            spool.keep(Record(kind=kind, rank=rank, at=clock.now(), data=data))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
