"""Fills a journal, in a process of its own, and tells on stdout what was accepted. `python -m tests.torture.writer TASK`

TASK is the JSON of a `Task`. Lines: `open EPOCH LAST_SEQ`, `kept EPOCH SEQ` (on disk), `settling EPOCH UPTO`, `purging FIRST LAST`
and `purged FIRST LAST` (numbers of things: the pictures among them; told once it is done on the disk), `memory`, `died WHY`,
`end NUMBER`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections import deque
from dataclasses import asdict, dataclass

from edge_agent.clock import SystemClock
from edge_agent.core.messages import (
    Committed,
    Died,
    Event,
    Fetch,
    Fetched,
    Lane,
    Purge,
    Purged,
    Rank,
    Settle,
)
from edge_agent.core.settings import Journal
from edge_agent.spool import Spool
from edge_agent.spool.waiting import BATCH_RECORDS
from tests.torture.things import CAMERAS, LIFE, thing

LOT = 40  # things put before the writer asks a question and waits: the journal's queue never has to shed


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one life of the writer is to do."""

    folder: str
    life: int
    seed: str
    lots: int = 10**6  # so many, then close in good order
    quota_bytes: int = 100_000_000
    behind: int = 300  # the hub acknowledges all but so many; 0 = never
    purges: float = 0.05  # after so large a share of the lots the privacy switch is pressed

    def text(self) -> str:
        """As the program's argument."""
        return json.dumps(asdict(self))


class QuickClock:
    """Seconds pass as they do, and more of them at once when the writer says so."""

    def __init__(self, boot: str) -> None:
        self._real = SystemClock()
        self._skipped = 0.0
        self.boot = boot
        self.wall_at_boot = 1_800_000_000.0
        self.is_trusted = True

    def now(self) -> float:
        return self._real.now() + self._skipped

    def wall(self) -> float:
        return self.wall_at_boot + self.now()

    def trusted(self) -> bool:
        return self.is_trusted

    def skip(self, seconds: float) -> None:
        self._skipped += seconds


class Writer:
    """One life."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rng = random.Random(task.seed)
        self._clock = QuickClock(f"life-{task.life}")
        self._answered = threading.Semaphore(0)
        self._committed: Committed | None = None
        settings = Journal(folder=task.folder, quota_bytes=task.quota_bytes, disk_floor_bytes=0)
        self._spool = Spool(settings, clock=self._clock, post=self._post, presses=lambda: 0)
        self._number = task.life * LIFE
        self._pictures: list[tuple[int, float]] = []  # number, taken at: those of this life
        self._pressed: deque[tuple[int, int]] = deque()  # asked to destroy
        self._destroyed: list[tuple[int, int]] = []  # answered, perhaps from memory alone

    def run(self) -> None:
        with self._spool:
            for lot in range(self._task.lots):
                self._put_lot()
                self._hub_answers(lot)
                if self._rng.random() < self._task.purges:
                    self._press()
        tell("end", self._number)

    def _put_lot(self) -> None:
        for _ in range(LOT):
            self._number += 1
            it, at = thing(self._number), self._clock.now()
            if it.rank is Rank.PICTURE:
                self._pictures.append((it.number, at))
                self._spool.keep_picture(it.released(at))
            else:
                self._spool.keep(it.record(at))
        camera = self._rng.choice([None, *CAMERAS])
        audit = camera is None and self._rng.random() < 0.5
        question = Fetch(
            lane=Lane.LIVE, after=0, upto=None, limit=20, limit_bytes=10**6, camera=camera,
            audit=audit,
        )  # fmt: skip
        self._spool.fetch(question)
        self._wait()

    def _hub_answers(self, lot: int) -> None:
        """What the hub has is settled; time passes, so that it is deleted, or a failed disk tried again."""
        last = self._committed
        if last is not None and not last.durable:
            self._clock.skip(31)
        elif last is not None and self._task.behind and lot % 3 == 2:
            upto = last.last_seq - self._task.behind
            if upto > 0:
                tell("settling", last.epoch, upto)
                self._spool.settle(Settle(epoch=last.epoch, ranges=((1, upto),)))
            self._clock.skip(6)

    def _press(self) -> None:
        """The privacy switch: the last few pictures are to be destroyed, those not yet written among them."""
        if not self._pictures:
            return
        back = self._rng.randint(1, min(30, len(self._pictures)))
        first, since = self._pictures[-back]
        # Whatever waits in the queue goes too, however old: less than a batch, as the last question was answered behind it.
        tell("purging", min(first, self._number - BATCH_RECORDS + 1), self._number)
        self._pressed.append((first, self._number))
        self._spool.purge(Purge(since_at=since, reason="privacy"))
        self._wait()

    def _wait(self) -> None:
        if not self._answered.acquire(timeout=60):
            tell("died", "the journal does not answer")
            sys.exit(1)

    def _post(self, event: Event) -> None:
        match event:
            case Committed():
                self._told(event)
            case Fetched():
                self._answered.release()
            case Purged() if (
                self._pressed
            ):  # a second answer says that the disk is done with it too
                self._destroyed.append(self._pressed.popleft())
                self._answered.release()
            case Died():
                tell("died", event.detail)
            case _:
                pass

    def _told(self, event: Committed) -> None:
        first, self._committed = self._committed is None, event
        if not event.durable:
            tell("memory")
        elif first:
            tell("open", event.epoch, event.last_seq)
        else:
            tell("kept", event.epoch, event.last_seq)
        while event.durable and self._destroyed:
            tell("purged", *self._destroyed.pop())


def tell(*words: object) -> None:
    """One line, in one write: whole or not at all."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


if __name__ == "__main__":
    Writer(Task(**json.loads(sys.argv[1]))).run()
