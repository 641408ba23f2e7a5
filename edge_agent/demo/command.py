"""The command itself: its options, the two minutes, the summary and the exit code.

Promises: the terminal is left as it was found, whatever happens; after Ctrl-C nothing that was begun still runs.
Not its job: the story (acts.py).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from edge_agent.core.messages import Json
from edge_agent.demo.acts import ACTS, Outcome, perform, taken_at_home
from edge_agent.demo.evidence import What, labels_in
from edge_agent.demo.pictures import shipped
from edge_agent.demo.stage import NotPlayed, Stage
from edge_agent.demo.view import COLUMNS_MIN, ROWS_MIN, Lines, LiveBoard, Silent, View

EXIT_RIGHT: Final = 0
EXIT_WRONG: Final = 1
EXIT_NOT_PLAYED: Final = 2

_FILE_COLUMNS: Final = 120
_PAUSE_S: Final = 3.5  # a caption is read in so long, and again an outcome


class _Options(argparse.Namespace):
    fast: bool
    json: bool
    keep: Path | None


def _options(argv: list[str]) -> _Options:
    parser = argparse.ArgumentParser(
        prog="edge-agent demo",
        description=(
            "Plays a street with three cameras, a box and a hub on this machine, in about two and a half minutes: a cut cable, "
            "a camera that is taken home, a suspension, an outage, the privacy switch. The agent, its capture, its view check, "
            "its journal and its link are the real ones; the street is made of pictures. Nothing listens beyond loopback."
        ),
        epilog="Exit codes: 0 every act came out right; 1 an act did not; 2 it could not be played.",
    )
    parser.add_argument("--fast", action="store_true", help="no pauses for reading")
    parser.add_argument(
        "--json", action="store_true", help="show nothing; the last line is a summary in JSON"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="leave journal, what the hub received and the log in this new or empty folder",
    )
    return parser.parse_args(argv, namespace=_Options())


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was taken, what came to the hub, and what never left. None = this kernel does not count readings."""

    taken: int | None
    taken_at_home: int | None
    released: int
    arrived: int
    home_at_hub: int
    records: int
    duplicates: int
    seconds: float

    @property
    def never_left(self) -> int | None:
        """Pictures that were taken, and never came to the hub."""
        return None if self.taken is None else self.taken - self.arrived


def main(argv: list[str]) -> int:
    """Play it; the exit code."""
    options = _options(argv)
    # A file or a pipe has no width of its own.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_COLUMNS)
    fault = _unusable(options.keep)
    if fault:
        sys.stderr.write(f"edge-agent demo: {fault}\n")
        return EXIT_NOT_PLAYED
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Stage(shipped(), keep=options.keep) as stage:
            with _view(options, console, stage) as view:
                stage.view = view
                outcomes = perform(
                    ACTS, stage, pause_s=0.0 if options.fast or options.json else _PAUSE_S
                )
                stage.view = None
            tally = _tally(stage)
    except (OSError, NotPlayed) as trouble:
        sys.stderr.write(f"edge-agent demo: not played: {trouble}\n")
        return EXIT_NOT_PLAYED
    if options.json:
        sys.stdout.write(json.dumps(to_json(outcomes, tally)) + "\n")
    else:
        console.print(summary(outcomes, tally, keep=options.keep))
    return EXIT_RIGHT if all(outcome.ok for outcome in outcomes) else EXIT_WRONG


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo as Ctrl-C does: everything is closed on the way out."""
    del number, frame
    raise KeyboardInterrupt


def _unusable(keep: Path | None) -> str:
    """Why *keep* cannot be used; "" if it can."""
    if keep is None or not keep.exists():
        return ""
    if not keep.is_dir():
        return f"--keep {keep}: is no folder"
    return f"--keep {keep}: is not empty; name a new folder" if any(keep.iterdir()) else ""


def _view(options: _Options, console: Console, stage: Stage) -> View:
    if options.json:
        return Silent()
    large = console.width >= COLUMNS_MIN and console.height >= ROWS_MIN
    if console.is_terminal and not console.is_dumb_terminal and large:
        return LiveBoard(console, stage.board)
    return Lines(console)


def _tally(stage: Stage) -> Tally:
    taken = stage.films.taken()
    labels = [label for picture in stage.city.pictures() for label in labels_in(picture.jpeg)]
    return Tally(
        taken=None if taken is None else len(taken),
        taken_at_home=taken_at_home(stage),
        released=len(stage.kept()),
        arrived=sum(stage.city.pictures_of(camera) for camera in stage.cameras),
        home_at_hub=sum(label.what == What.HOME.value for label in labels),
        records=len(stage.city.records()),
        duplicates=stage.city.duplicates(),
        seconds=round(stage.elapsed_s(), 1),
    )


def to_json(outcomes: Sequence[Outcome], tally: Tally) -> dict[str, Json]:
    """The summary for a machine; `ok` is what the exit code says."""
    return {
        "ok": all(outcome.ok for outcome in outcomes),
        "seconds": tally.seconds,
        "acts": [
            {
                "number": outcome.number,
                "name": outcome.name,
                "ok": outcome.ok,
                "why": outcome.why,
                "seconds": outcome.took_s,
                "checks": [
                    {"claim": check.claim, "ok": check.ok, "seen": check.seen}
                    for check in outcome.checks
                ],
            }
            for outcome in outcomes
        ],
        "hub": {
            "records": tally.records,
            "pictures": tally.arrived,
            "duplicates_dropped": tally.duplicates,
            "pictures_of_a_home": tally.home_at_hub,
        },
        "never_left": {
            "pictures": tally.never_left,
            "of_a_home": tally.taken_at_home,
        },
        "pictures_taken": tally.taken,
        "pictures_released": tally.released,
    }


def summary(outcomes: Sequence[Outcome], tally: Tally, *, keep: Path | None) -> Panel:
    """The summary for a person."""
    acts = Table.grid(padding=(0, 2, 0, 0))
    for outcome in outcomes:
        word = "[bold green]ok[/]" if outcome.ok else "[bold red]failed[/]"
        acts.add_row(f"{outcome.number}", outcome.name, word, f"[dim]{outcome.took_s:.0f} s[/]")
        for check in outcome.checks:
            acts.add_row(
                "",
                f"[dim]{check.claim}[/]",
                "" if check.ok else "[red]no[/]",
                f"[dim]{check.seen}[/]",
            )
        if outcome.why:
            acts.add_row("", f"[red]{outcome.why}[/]")
    acts.add_row()
    acts.add_row(
        "", f"The hub has {tally.records} records, {tally.arrived} pictures of streets among them."
    )
    if tally.taken is not None:
        acts.add_row(
            "",
            f"The cameras took {tally.taken} pictures; {tally.never_left} of them never left the box.",
        )
    room = (
        ""
        if tally.taken_at_home is None
        else f"Of {tally.taken_at_home} pictures of a living room, "
    )
    acts.add_row("", f"{room}[b]{tally.home_at_hub}[/b] came to the hub.")
    if keep is not None:
        acts.add_row("", f"Journal, log and what the hub received: {keep}")
    right = all(outcome.ok for outcome in outcomes)
    title = "every act came out right" if right else "NOT every act came out right"
    style = "green" if right else "red"
    return Panel(
        acts, title=f"[b]{title}[/b]", border_style=style, subtitle=f"{tally.seconds:.0f} s"
    )
