"""Starts tests/support/rtsp_server.py as a child process and speaks to it."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support import clips
from tests.support.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SCRIPT: Final = Path(__file__).with_name("rtsp_server.py")
_PYTHON: Final = "/usr/bin/python3"  # Debian's, since gi comes with it


class RtspServer:
    """A running server. Commands are those of rtsp_server.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = 0
        self._started_at: dict[str, float] = {}
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            word, *rest = line.split()
            if word == "t0":
                self._started_at[rest[0]] = float(rest[1])
            else:
                self._answers.put(line.strip())

    def wait_until_ready(self) -> None:
        word, port = self._answers.get(timeout=patient(20.0)).split()
        assert word == "ready"
        self.port = int(port)

    def tell(self, command: str) -> None:
        """Have *command* carried out."""
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        assert self._answers.get(timeout=patient(10.0)) == f"ok {command}"

    def stop(self) -> None:
        """Go silent without closing anything, like a camera that hangs."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `stop`."""
        self.process.send_signal(signal.SIGCONT)

    def url(self, mount: str) -> str:
        return f"rtsp://127.0.0.1:{self.port}{mount}"

    def age_s(self, mount: str, frame_number: int, at: float, frames: int = 200) -> float:
        """How old the picture with this frame number was *at* (seconds since boot): the truth, -half .. +half a clip."""
        length_s = frames / clips.FPS
        shown_at = self._started_at[mount] + frame_number / clips.FPS
        return (at - shown_at + length_s / 2) % length_s - length_s / 2


@contextlib.contextmanager
def rtsp_server(
    mounts: Mapping[str, Path],
    *,
    user: str | None = None,
    password: str = "",
    basic: bool = False,
    port: int = 0,
    shared: bool = False,
) -> Iterator[RtspServer]:
    """Serve *mounts* on loopback; ended by its own process id.

    *shared*: one encoder for all viewers, as in a camera. Else each viewer has its own, and waits for its first key picture.
    """
    wanted = {
        "port": port, "shared": shared, "user": user, "password": password, "basic": basic,
        "mounts": {path: str(clip) for path, clip in mounts.items()},
    }  # fmt: skip
    process = subprocess.Popen(
        [_PYTHON, str(_SCRIPT), json.dumps(wanted)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        server = RtspServer(process)
        server.wait_until_ready()
        yield server
    finally:
        process.kill()
        process.wait(patient(10.0))
        for pipe in (process.stdin, process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
