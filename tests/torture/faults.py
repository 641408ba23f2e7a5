"""Calls that fail: fsync with EIO (once, for a while, now and then, for good), writes with EIO or ENOSPC, injected by strace.

After a failed fsync the kernel holds pages for written that never were: the cards that are then looked at forget those pages, whatever
later syncs say. A journal that tries again as if nothing had happened loses what it had acknowledged.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Final

from tests.torture import trace
from tests.torture.book import Tally
from tests.torture.points import PLAIN, cards

POINTS: Final = 10  # looked at in each run that met faults


def run(trials: int, seed: str, home: Path) -> Tally:
    """So many cards of runs that met faults; none, with the reason, where nothing can be traced."""
    tally = Tally(skipped=trace.why_no_strace())
    while not tally.skipped and tally.trials < trials:
        what = f"{seed} faults {tally.trials}"
        with tempfile.TemporaryDirectory(dir=PLAIN) as place:
            fault = _fault(random.Random(f"{what} fault"))
            cards(tally, min(POINTS, trials - tally.trials), what, Path(place), fault)
    return tally


def _fault(rng: random.Random) -> str:
    """What fails, and when: the n-th call, all from it on, some, or each so many."""
    calls, error = rng.choice(
        [("fsync,fdatasync", "EIO")] * 4 + [("pwrite64", "EIO"), ("pwrite64", "ENOSPC")]
    )
    first = rng.randint(1, 60 if "sync" in calls else 400)
    when = rng.choice(["{0}", "{0}", "{0}+", "{0}..{1}", "{0}+{2}"])
    return f"{calls}:error={error}:when={when.format(first, first + rng.randint(1, 20), rng.randint(2, 30))}"
