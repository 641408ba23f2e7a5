"""Has the doctor examine this box when the hub asks for it: `edge-agent doctor --json`, in a process of its own.

Promises: the agent loads nothing for it and waits for nothing; one examination at a time, what is asked meanwhile is one more; the
newest question is answered, by what the doctor said or by why it said nothing; no doctor outlives the agent.
Threads: one of its own. Not its job: what is asked of the box (doctor/), what of it goes to the hub (core/report.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Event, Examine, Examined, Json
from edge_agent.part import Errands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DOCTOR: Final = (sys.executable, "-m", "edge_agent", "doctor", "--json", "--config")
# It takes five seconds at most; on the slowest board, with all cores busy, loading alone can take ten times that.
_WITHIN_S: Final = 120.0
_NICE: Final = 10  # below the cameras
_LEAVE_S: Final = 5.0
_OURS: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "JOURNAL_STREAM"})


class Examiner:
    """Entering starts its thread; leaving ends an examination. `examine` may be called from any thread and never blocks."""

    def __init__(
        self,
        config_file: Path | None,
        *,
        post: Callable[[Event], None],
        doctor: Sequence[str] = _DOCTOR,
        within_s: float = _WITHIN_S,
    ) -> None:
        """*config_file*: the agent's own; None: it runs on none, and there is nothing that a doctor could read.

        *doctor*: the program and its words, to which the file is added.
        """
        self._config_file = config_file
        self._post = post
        self._doctor = tuple(doctor)
        self._within_s = within_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._leaving = False
        self._errands = Errands("examiner", self._examine, join=_newest, post=post)

    def __enter__(self) -> Examiner:
        self._errands.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._leaving = True
            if self._process is not None:
                self._process.kill()
        self._errands.leave()

    def examine(self, command: Examine) -> None:
        """Examine as soon as the examination before is over; answered by `Examined`, once for the newest of those who wait."""
        self._errands.ask(command)

    def _examine(self, command: Examine) -> None:
        told, why = self._ask()
        self._post(Examined(number=command.number, told=told, why=why))

    def _ask(self) -> tuple[Mapping[str, Json], str]:
        """What the doctor said, and why it said nothing."""
        if self._config_file is None:
            return {}, "this agent runs on no configuration file"
        try:
            process = self._begin([*self._doctor, str(self._config_file)])
        except OSError as error:  # no memory, no process left, the program gone beneath us
            return {}, f"the doctor cannot be started: {error.strerror or error}"
        if process is None:
            return {}, "the agent is ending"
        try:
            out, err = process.communicate(timeout=self._within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            # One that hangs in a card that died cannot even be killed: it is left behind.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_LEAVE_S)
            return {}, f"the doctor did not end within {self._within_s:g} s"
        finally:
            with self._lock:
                self._process = None
        with contextlib.suppress(ValueError, RecursionError):
            told = json.loads(out)
            if isinstance(told, dict):
                return told, ""
        return {}, f"the doctor ended with {process.returncode}: {_last_line(err)}"

    def _begin(self, words: list[str]) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._leaving:
                return None
            # What it says goes through pipes alone: not into the agent's log, nor to its service manager.
            environment = {name: value for name, value in os.environ.items() if name not in _OURS}
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICE)
            # It loads a decoder. If memory runs out for that, it goes, and nobody else.
            with contextlib.suppress(OSError):
                Path(f"/proc/{self._process.pid}/oom_score_adj").write_text("900", encoding="ascii")
            return self._process


def _newest(_: Examine, later: Examine) -> Examine:
    return later


def _last_line(err: bytes) -> str:
    lines = err.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    # What an exception says may repeat what a camera or a file said, a secret too; its name does not.
    return last.partition(":")[0] if b"Traceback (most recent call last)" in err else last
