"""kill -9 at random moments, lives of one journal one after another. The page cache survives; what is in memory does not."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from edge_agent.clock import SystemClock
from tests.support import powercut
from tests.torture.book import Proof, Tally, verify
from tests.torture.writer import Task

LIVES = 10  # of one journal


def life(task: Task, proof: Proof, *wrapper: str) -> powercut.Child:
    """A writer that does *task*, under the program *wrapper* if there is one; what it tells goes into *proof*."""
    command = [*wrapper, sys.executable, "-m", "tests.torture.writer", task.text()]
    return powercut.Child(command, proof.hear, lambda: bool(proof.epochs or proof.memory))


def until_kept(child: powercut.Child, proof: Proof) -> None:
    """Hear it until something was accepted: on a slow disk each moment drawn may come too soon for that."""
    while max(proof.kept.values(), default=0) <= (proof.opened_at or 0):
        child.hear_one()


def run(trials: int, seed: str, home: Path) -> Tally:
    """So many kills."""
    tally, clock = Tally(), SystemClock()
    while tally.trials < trials:
        proofs: list[Proof] = []
        rng = random.Random(f"{seed} kill {tally.trials}")
        quota = rng.choice([6_000_000, 20_000_000, 100_000_000])
        with tempfile.TemporaryDirectory(dir=home) as place:
            folder = Path(place) / "journal"
            for number in range(1, 1 + min(LIVES, trials - tally.trials)):
                what = f"{seed} kill {tally.trials}"
                task = Task(folder=str(folder), life=number, seed=what, quota_bytes=quota)
                proofs.append(Proof())
                child = life(task, proofs[-1])
                child.listen(rng.choice([0.0, 0.05, 0.2, 0.6]) * rng.random(), clock)
                if not tally.accepted and tally.trials + 1 == trials:
                    until_kept(child, proofs[-1])
                child.kill()
                tally.add(verify(folder, proofs, quota_bytes=quota), what)
    return tally
