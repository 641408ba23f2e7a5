"""A small disk that somebody else fills up while the journal is in use: kill -9, start on the full disk, make room, start again."""

from __future__ import annotations

import random
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from edge_agent.clock import SystemClock
from edge_agent.core.messages import Committed
from tests.support import powercut
from tests.torture.book import START_S, Desk, Proof, StuckError, Tally, broken, verify
from tests.torture.kill import life
from tests.torture.writer import Task

MEGABYTES: Final = 24
BALLAST: Final = "somebody-elses-log"


def run(trials: int, seed: str, home: Path) -> Tally:
    """So many full disks; none, with the reason, where nothing can be mounted."""
    tally = Tally(skipped=powercut.why_no_tmpfs())
    while not tally.skipped and tally.trials < trials:
        what = f"{seed} full {tally.trials}"
        with tempfile.TemporaryDirectory(dir=home) as place:
            try:
                with powercut.tmpfs(Path(place) / "card", megabytes=MEGABYTES) as card:
                    tally.add(_disk(card, what), what)
            except subprocess.CalledProcessError as error:
                tally.skipped = f"mounting is forbidden here: {error.stderr!r}"
    return tally


def _disk(card: Path, what: str) -> Tally:
    rng, clock = random.Random(what), SystemClock()
    folder, proofs = card / "journal", list[Proof]()
    left = rng.choice([0, 4_096, 100_000, 1_000_000, 4_000_000])
    for number in (1, 2):
        # More than there is: the quota does not help.
        task = Task(folder=str(folder), life=number, seed=f"{what} {number}", quota_bytes=10**9)
        proofs.append(Proof())
        child = life(task, proofs[-1])
        child.listen(0.4 * rng.random(), clock)
        if number == 1:
            powercut.fill(card / BALLAST, leave=left)
            child.listen(0.3 * rng.random(), clock)
        child.kill()
    refused, start_s, why = True, 0.0, list[str]()
    try:
        with Desk(folder, quota_bytes=10**9) as desk:
            refused = desk.start_s > START_S or not (desk.last(Committed).durable or broken(desk))
            start_s = desk.start_s
    except StuckError as error:
        why.append(f"on the full disk: {error}")
    (card / BALLAST).unlink()
    out = verify(folder, proofs, quota_bytes=10**9)
    out.accepted += max(proofs[0].kept.values(), default=0)  # of both lives
    out.refused += refused
    out.told += why
    out.worst_start_s = max(out.worst_start_s, start_s)
    return out
