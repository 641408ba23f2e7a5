"""Power cuts: a real ext4 on a loop device, the writer frozen, the image copied, the copy mounted (which replays ext4's journal).

What was only in the page cache is not in the copy. Every third card is full to 99 %: the journal then lives on with what it has.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from edge_agent.clock import SystemClock
from tests.support import powercut
from tests.torture.book import Proof, Tally, verify
from tests.torture.kill import life, until_kept
from tests.torture.writer import Task

CUTS: Final = 10  # of one card
MEGABYTES: Final = 64
BALLAST: Final = "somebody-elses-log"


def run(trials: int, seed: str, home: Path) -> Tally:
    """So many cuts; none, with the reason, where no loop device can be mounted."""
    tally = Tally(skipped=powercut.why_no_loop())
    while not tally.skipped and tally.trials < trials:
        with tempfile.TemporaryDirectory(dir=home) as place:
            try:
                _card(tally, min(CUTS, trials - tally.trials), seed, Path(place))
            except subprocess.CalledProcessError as error:
                tally.skipped = f"mounting is forbidden here: {error.stderr!r}"
    return tally


def _card(tally: Tally, cuts: int, seed: str, home: Path) -> None:
    """The life of one card: cut, looked at, written on, cut again."""
    clock, proofs = SystemClock(), list[Proof]()
    rng = random.Random(f"{seed} cut {tally.trials}")
    full = tally.trials // CUTS % 3 == 2
    quota = rng.choice([6_000_000, 20_000_000])
    image = home / "card-0"
    powercut.make_image(image, megabytes=MEGABYTES)
    for number in range(1, cuts + 1):
        what = f"{seed} cut {tally.trials}{' full' if full else ''}"
        with ExitStack() as stack:
            disk = stack.enter_context(powercut.mounted(image, home / f"at-{number}"))
            if full and number == 2:  # the journal is there; now the rest of the card fills up
                powercut.fill(disk / BALLAST, leave=shutil.disk_usage(disk).total // 100)
            task = Task(folder=str(disk / "journal"), life=number, seed=what, quota_bytes=quota)
            proofs.append(Proof())
            child = life(task, proofs[-1])
            stack.callback(child.kill)
            child.listen(rng.choice([0.0, 0.2, 0.5, 0.9]) * rng.random(), clock)
            if not tally.accepted and number == cuts:
                until_kept(child, proofs[-1])
            child.stop()
            after = home / f"card-{number}"
            shutil.copyfile(image, after)  # what had reached the card when the light went out
        image.unlink()
        image = after
        with powercut.mounted(image, home / f"after-{number}") as disk:
            tally.add(verify(disk / "journal", proofs, quota_bytes=quota), what)
