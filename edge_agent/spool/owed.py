"""Purges that the disk has not done yet, noted so that no restart forgets them.

Promises: `owe` notes a purge in the runtime folder before it returns, in memory alone (tmpfs), so that it outlives a kill and
waits for no card; `keep` notes it beside the store, whole and synced, as soon as the disk takes a file at all; `load` gives what
any note still holds, and a note that cannot be understood means every picture.
Not its job: purging. And a card that takes neither the purge nor the note, followed by a power cut, is beyond it: then
the switch alone remembers, and it is asked again at the start (docs/design/journal.md).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent import whole
from edge_agent.core.messages import Purge

NOTE: Final = "purge-owed.json"


@dataclass(frozen=True, slots=True)
class Owed:
    """A purge, and of which boot. Pictures taken after `until_at` were released after that press: it does not mean them."""

    command: Purge
    boot: str
    until_at: float


class Notes:
    """What is owed. Any thread may owe; the rest is the writer's."""

    def __init__(self, folder: Path, runtime: Path | None) -> None:
        """*folder*: the journal's. *runtime*: gone with the power, and never slow; None = there is none."""
        self._lock = threading.Lock()
        self._owed: list[Owed] = []
        self._folder = folder
        self._runtime = runtime
        self._every: Owed | None = None

    @property
    def owing(self) -> bool:
        """Whether any purge is still to be done."""
        return bool(self._owed)

    def owe(self, owed: Owed) -> None:
        """Note *owed* before anything is done about it. Any thread; never waits for the card."""
        with self._lock:
            self._owed.append(owed)
            self._note()

    def keep(self) -> None:
        """Note beside the store what it still refuses, if the disk takes that; nothing if nothing is owed. Writer thread."""
        with self._lock, suppress(OSError):
            if self._owed:
                whole.write(self._folder / NOTE, _dump(self._owed))

    def done(self, owed: Owed) -> None:
        """The disk has done it. Writer thread."""
        with self._lock:
            self._owed = [other for other in self._owed if other != owed]
            self._note()
            path = self._folder / NOTE
            if not path.exists():
                return
            with suppress(OSError):  # obeyed again at the next start: what it means is gone already
                if self._owed:
                    whole.write(path, _dump(self._owed))
                else:
                    path.unlink()
                    whole.sync_folder(self._folder)

    def load(self, *, boot: str, at: float) -> tuple[Owed, ...]:
        """Everything owed, by this run or one before it. Writer thread; *boot* and *at*: now."""
        with self._lock:
            for folder in (self._folder, self._runtime):
                with suppress(OSError):  # no note; or the disk's own trouble, told by the store
                    raw = b"[]" if folder is None else (folder / NOTE).read_bytes()
                    try:
                        found = list(_read(raw))
                    except ValueError:
                        found = [self._whatever(boot, at)]
                    self._owed += [owed for owed in found if owed not in self._owed]
            return tuple(self._owed)

    def _whatever(self, boot: str, at: float) -> Owed:
        """What a note means that nobody can read: every picture until it was first met, and none that came since then."""
        if self._every is None:
            command = Purge(since_at=-math.inf, reason="privacy", earlier_s=math.inf)
            self._every = Owed(command, boot, at)
        return self._every

    def _note(self) -> None:
        """In the runtime folder; not synced, as only the process may end while this lies there."""
        if self._runtime is None:
            return
        path = self._runtime / NOTE
        with suppress(OSError):
            if not self._owed:
                path.unlink(missing_ok=True)
                return
            beside = path.with_suffix(".new")
            beside.write_bytes(_dump(self._owed))
            beside.replace(path)


def _dump(owed: list[Owed]) -> bytes:
    told = [
        {
            "boot": item.boot,
            "since_at": item.command.since_at,
            "until_at": item.until_at,
            "earlier_s": item.command.earlier_s,
            "reason": item.command.reason,
        }
        for item in owed
    ]
    return json.dumps(told).encode()


def _read(raw: bytes) -> Iterator[Owed]:
    """What a note says; ValueError if it is not whole."""
    told: object = json.loads(raw)
    for item in told if isinstance(told, list) else [None]:
        match item:
            case {
                "boot": str(boot),
                "since_at": int() | float() as since_at,
                "until_at": int() | float() as until_at,
                "earlier_s": (None | int() | float()) as earlier_s,
                "reason": str(reason),
            }:
                command = Purge(since_at=since_at, reason=reason, earlier_s=earlier_s)
                yield Owed(command, boot, until_at)
            case _:
                raise ValueError("not a purge")
