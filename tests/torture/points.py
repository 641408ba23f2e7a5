"""Crash points: one traced run of the writer, and thousands of cards as a power cut at any of its steps may have left them.

With *inject*, the run itself meets faults (of fsync, say), and the cards are those of a kernel that forgot what it could not write.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.torture import trace
from tests.torture.book import Proof, Tally, verify
from tests.torture.card import Card, pick_up, put_down
from tests.torture.kill import life
from tests.torture.trace import Op
from tests.torture.writer import Task

POINTS: Final = 250  # from one trace
LOTS: Final = 25
QUOTAS: Final = (4_000_000, 100_000_000)
PLAIN: Final = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # where a sync costs nothing


def run(trials: int, seed: str, home: Path) -> Tally:
    """So many crash points; none, with the reason, where nothing can be traced. *home* is not used: memory is faster."""
    tally = Tally(skipped=trace.why_no_strace())
    while not tally.skipped and tally.trials < trials:
        what = f"{seed} points {tally.trials}"
        with tempfile.TemporaryDirectory(dir=PLAIN) as place:
            cards(tally, min(POINTS, trials - tally.trials), what, Path(place))
    return tally


def cards(tally: Tally, count: int, what: str, home: Path, *inject: str) -> None:
    """Trace two lives of one journal, the second on what the first left, and cut the power *count* times in the second."""
    rng = random.Random(what)
    folder = home / "journal"
    quota = rng.choice(QUOTAS)
    first = rng.random() < 0.5
    proofs: list[Proof] = []
    if not first:
        task = Task(folder=str(folder), life=1, seed=f"{what} 1", quota_bytes=quota, lots=8)
        proofs.append(Proof())
        child = life(task, proofs[-1])
        child.drain()
    before = pick_up(folder)
    task = Task(
        folder=str(folder),
        life=2,
        seed=f"{what} 2",
        quota_bytes=quota,
        lots=LOTS,
        behind=150,
        purges=0.2,
    )
    told = Proof()
    child = life(task, told, *trace.wrapper(home / "trace", *inject))
    child.drain()
    if not told.ended:
        tally.told.append(f"{what}: the writer did not come to its end: {told.died}")
    ops = list(trace.read(home / "trace", folder, Card(before).nodes()))
    (home / "trace").unlink()
    _cut_at(tally, sorted(_points(ops, count, rng)), ops, what, (home, before, proofs, quota))


def _points(ops: Sequence[Op], count: int, rng: random.Random) -> list[int]:
    """Before which steps the power goes: half of them before a sync or right after it, when most is at stake."""
    syncs = [
        number + after for number, op in enumerate(ops) if "sync" in op.what for after in (0, 1)
    ]
    at_syncs = [rng.choice(syncs) for _ in range(count // 2)]
    return at_syncs + [rng.randint(0, len(ops)) for _ in range(count - len(at_syncs))]


def _cut_at(
    tally: Tally,
    points: Sequence[int],
    ops: Sequence[Op],
    what: str,
    setting: tuple[Path, dict[str, bytes | None], list[Proof], int],
) -> None:
    home, before, proofs, quota = setting
    rng = random.Random(f"{what} cuts")
    in_order = rng.random() < 0.5
    card, proof, done, told = Card(before), Proof(), 0, b""
    for number, point in enumerate(points):
        for op in ops[done:point]:
            card.do(op, in_order=in_order)
            if op.what == "told":
                *lines, told = (told + op.data).split(b"\n")
                for line in lines:
                    proof.hear(line.decode())
        done = point
        with tempfile.TemporaryDirectory(dir=home) as place:
            folder = Path(place) / "journal"
            put_down(card.cut(rng, in_order=in_order), folder)
            name = f"{what}, card {number} at step {point} of {len(ops)}"
            tally.add(verify(folder, [*proofs, proof], quota_bytes=quota), name)
