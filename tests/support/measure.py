"""What processes cost: CPU seconds and memory of a process and all it started, from /proc.

PSS counts a page that n processes share as 1/n for each, so that the sum over processes is what the box has to have.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil

MB: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Over one stretch of time. Memory is the highest of its samples."""

    seconds: float
    cpu_s: float
    pss_bytes: int

    @property
    def cpu_s_per_min(self) -> float:
        return self.cpu_s * 60 / self.seconds


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants that live now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def cpu_s(pids: Sequence[int]) -> float:
    """User and system time of these processes and theirs, those that ended and were waited for included."""
    total = 0.0
    for process in (one for pid in pids for one in family(pid)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def pss_bytes(pid: int) -> int:
    """Of one process; 0 if it is gone."""
    return _rollup(pid, "Pss:")


def rss_bytes(pid: int) -> int:
    """Of one process; 0 if it is gone."""
    return _rollup(pid, "Rss:")


def _rollup(pid: int, word: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith(word):
                return int(line.split()[1]) * 1024
    return 0


@dataclass
class Meter:
    """`with Meter(pids) as meter:` ... then `meter.cost(seconds)`. Looks at memory every *every_s*."""

    pids: Sequence[int]
    every_s: float = 5.0
    highest: dict[int, int] = field(default_factory=dict, init=False)
    _together: int = field(default=0, init=False)
    _cpu_s: float = field(default=0.0, init=False)

    def __enter__(self) -> Meter:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._look()
        self._cpu_s = -cpu_s(self.pids)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cpu_s += cpu_s(self.pids)
        self._over.set()
        self._thread.join()
        self._look()

    def cost(self, seconds: float) -> Cost:
        return Cost(seconds=seconds, cpu_s=self._cpu_s, pss_bytes=self._together)

    def _run(self) -> None:
        while not self._over.wait(self.every_s):
            self._look()

    def _look(self) -> None:
        now = {process.pid: pss_bytes(process.pid) for pid in self.pids for process in family(pid)}
        for pid, pss in now.items():
            self.highest[pid] = max(self.highest.get(pid, 0), pss)
        self._together = max(self._together, sum(now.values()))
