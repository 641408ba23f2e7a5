"""Torture of the journal: `python -m tests.torture [--form tiny|short|long] [--seed S] [--only KIND] [--json]`

    tiny     a few of each: what every run of the tests does (tests/test_torture.py)
    short    200 kills, 200 power cuts, 2,000 crash points, 200 of the others: a quarter of an hour
    long     five times that: more than an hour
Each trial fills a journal in a process of its own, hurts it, starts the journal on what is left, reads all of it, and holds it to
what had been acknowledged on a pipe before. `docs/benchmarks.md` says what is counted. Prints a table and what went wrong; the last
line is JSON by kind of trial. Exit code 1 if anything was lost, doubled, refused, or shown after it was purged; 2 for wrong words.

The same seed hurts the same way; when a kill or a cut falls is a matter of the machine, crash points and damage repeat.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

from tests.torture import cut, damage, faults, full, kill, points
from tests.torture.book import Tally

KINDS: Final[Mapping[str, Callable[[int, str, Path], Tally]]] = {
    "kill": kill.run,
    "cut": cut.run,
    "points": points.run,
    "faults": faults.run,
    "full": full.run,
    "damage": damage.run,
}
FORMS: Final[Mapping[str, tuple[int, ...]]] = {  # trials of each kind, in that order
    "tiny": (6, 4, 60, 20, 2, 26),
    "short": (200, 200, 2_000, 200, 50, 200),
    "long": (1_000, 1_000, 10_000, 1_000, 200, 1_000),
}
_COLUMNS: Final = ("trials", "accepted", "lost", "reordered", "refused", "shown", "remains")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description="Torture the journal."
    )
    parser.add_argument("--form", choices=FORMS, default="short", help="how many trials")
    parser.add_argument("--seed", default="1", help="of everything that is random")
    parser.add_argument("--only", choices=KINDS, action="append", help="this kind; more than once")
    parser.add_argument(
        "--folder", type=Path, help="where journals are made: on the kind of disk that is meant"
    )
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    words = parser.parse_args()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(dir=words.folder) as home:
        for (kind, run), trials in zip(KINDS.items(), FORMS[words.form], strict=True):
            if words.only is None or kind in words.only:
                if not words.json:
                    print(f"{kind}: {trials} trials ...", file=sys.stderr, flush=True)
                tallies[kind] = run(trials, words.seed, Path(home))
    if not words.json:
        print(table(tallies))
    print(json.dumps({kind: numbers(tally) for kind, tally in tallies.items()}))
    sys.exit(0 if all(tally.good for tally in tallies.values()) else 1)


def numbers(tally: Tally) -> dict[str, object]:
    """What is counted; for a kind that could not run, why."""
    out: dict[str, object] = {
        each.name: getattr(tally, each.name) for each in fields(tally) if each.name != "told"
    }
    out["worst_start_s"] = round(tally.worst_start_s, 3)
    out["load_average"] = round(os.getloadavg()[0], 1)
    if not tally.skipped:
        del out["skipped"]
    return out


def table(tallies: Mapping[str, Tally]) -> str:
    """For a person; below it what went wrong, each with what repeats it."""
    lines = ["kind    " + "".join(f"{name:>11}" for name in (*_COLUMNS, "start s"))]
    for kind, tally in tallies.items():
        cells = [str(getattr(tally, name)) for name in _COLUMNS] + [f"{tally.worst_start_s:.3f}"]
        lines.append(f"{kind:<8}" + "".join(f"{cell:>11}" for cell in cells))
        if tally.skipped:
            lines.append(f"        not run: {tally.skipped}")
    for tally in tallies.values():
        lines += [f"! {fault}" for fault in tally.told[:40]]
        if len(tally.told) > 40:
            lines.append(f"! and {len(tally.told) - 40} more")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
