"""`edge-agent journal stats | check | export`: for a technician at the box, or with its card in a reader.

Promises: reads the journal and changes nothing in it, beside a running agent or without one.
Exit codes of stats: 0 shown; 1 shown, and part of it cannot be read; 2 not shown. Of check: 0 sound; 1 faults; 2 cannot be read.
Of export: 0 all that was asked for is on the stick and was read back; 1 something is not, and which; 2 not begun.
Not its job: what lies where on a stick (stick.py), which pictures may leave (leave.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import syslog
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from edge_agent import asked_time, status
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import ConfigError, load
from edge_agent.core.messages import Json
from edge_agent.core.settings import Identity, Settings
from edge_agent.export import checking, stats
from edge_agent.export.leave import Leave, Pictures
from edge_agent.export.run import Asked, Export, Outcome
from edge_agent.spool import Holdings, ReplacedError, UnreadableError
from edge_agent.stick import StickError

EXIT_WELL: Final = 0
EXIT_FAULTS: Final = 1
EXIT_NOT_DONE: Final = 2

DEFAULT_CONFIG: Final = "/etc/edge-agent/box.toml"


class _Refused(Exception):  # noqa: N818 - a usage that is told and not done
    """Why; for a person."""


class _Options(argparse.Namespace):
    what: str
    config: str
    folder: str | None
    json: bool
    scratch: str | None
    target: Path
    since: str | None
    camera: str | None
    pictures: str
    same_disk: bool


def main(argv: Sequence[str], clock: Clock | None = None) -> int:
    """`edge-agent journal`; the exit code."""
    options = _parser().parse_args(argv, namespace=_Options())
    commands = {"stats": _stats, "check": _check, "export": _export}
    try:
        return commands[options.what](options, clock or SystemClock())
    except (_Refused, UnreadableError, ReplacedError, ConfigError, StickError) as why:
        hint = "" if os.geteuid() == 0 or "ermission" not in str(why) else "; run it as root (sudo)"
        print(f"edge-agent journal {options.what}: {why}{hint}", file=sys.stderr)
    except BrokenPipeError:  # "| head" has enough; what it did not read was not told
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
    return EXIT_NOT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent journal",
        description="What waits on this box for the hub. Run it as root; the agent may run on.",
        epilog="Exit codes: 0 done and well; 1 done, and something is wrong or missing; 2 not done.",
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="stats | check | export")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", default=DEFAULT_CONFIG, help="default: %(default)s")
    common.add_argument(
        "--folder", metavar="DIR", help="this journal: a card of another box in a reader"
    )
    common.add_argument("--json", action="store_true", help="one JSON object")
    commands.add_parser(
        "stats",
        parents=[common],
        help="what lies there",
        description="What lies in the journal, from when to when, what had to go, and how much room there is.",
        epilog="Exit codes: 0 shown; 1 shown, and part of it cannot be read; 2 not shown.",
    )
    check = commands.add_parser(
        "check",
        parents=[common],
        help="whether it is sound",
        description="Read all of the journal against its checksums: minutes for gigabytes. Changes nothing.",
        epilog="Exit codes: 0 sound; 1 faults, each with what happens with it; 2 cannot be read.",
    )
    check.add_argument(
        "--scratch",
        metavar="DIR",
        help="where to put a copy of the records (not of the pictures) while it is read; default: the system's own place",
    )
    _add_export(
        commands.add_parser(
            "export",
            parents=[common],
            help="take it to the hub on a stick",
            description="Write what the journal still holds to a stick, for `edge-agent hub --import`. Nothing is deleted on the box. "
            "Run the same again to go on after the stick was pulled or full.",
            epilog="TIME: 2026-11-20, 2026-11-20T18:00, 90min, 2h or 3d ago. "
            "Exit codes: 0 all that was asked for is on the stick and was read back; 1 something is not, and which; 2 not begun.",
        )
    )
    return parser


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="FOLDER", help="where the stick is mounted")
    parser.add_argument(
        "--since", metavar="TIME", help="from then on; what has no trusted time always"
    )
    parser.add_argument("--camera", metavar="ID", help="this camera's, and the box's own records")
    parser.add_argument(
        "--pictures",
        choices=[one.value for one in Pictures],
        default=Pictures.SEALED.value,
        help="which of those that may leave; all: plain ones too, which whoever finds the stick can look at (default: %(default)s)",
    )
    parser.add_argument(
        "--same-disk",
        action="store_true",
        help="FOLDER may lie on the journal's own disk, which that fills",
    )


# ---- stats and check ----


def _settings(options: _Options) -> Settings | None:
    """The configuration; None if only a folder was given and there is none."""
    if options.folder is not None and options.config == DEFAULT_CONFIG:
        return None
    return load(options.config)


def _journal(options: _Options, settings: Settings | None) -> str:
    if options.folder is not None:
        return options.folder
    return "" if settings is None else settings.journal.folder


def _stats(options: _Options, _: Clock) -> int:
    settings = _settings(options)
    limits = None if settings is None else settings.journal
    found = stats.look(_journal(options, settings), limits)
    if options.json:
        print(json.dumps(stats.to_json(found)), flush=True)
    else:
        console = Console()
        for part in stats.render(found):
            console.print(part, soft_wrap=isinstance(part, str), highlight=False)
    return EXIT_FAULTS if found.faults else EXIT_WELL


def _check(options: _Options, _: Clock) -> int:
    folder = _journal(options, _settings(options))
    found = checking.faults(folder, options.scratch)
    if options.json:
        told: list[Json] = [{"what": fault.what, "then": fault.then} for fault in found]
        print(json.dumps({"folder": folder, "sound": not found, "faults": told}), flush=True)
        return EXIT_FAULTS if found else EXIT_WELL
    for fault in found:
        print(f"! {_plain(fault.what)}\n  {fault.then}")
    print(f"journal {folder}: {f'{len(found)} faults' if found else 'sound'}", flush=True)
    return EXIT_FAULTS if found else EXIT_WELL


# ---- export ----


def _export(options: _Options, clock: Clock) -> int:
    settings = load(options.config)
    if options.folder is not None:
        settings = replace(settings, journal=replace(settings.journal, folder=options.folder))
    asked = _asked(options, clock.wall())
    with Holdings(settings.journal.folder) as holdings:
        known = {shelf.camera for shelf in holdings.shelves()}
        known |= {camera.id for camera in settings.cameras}
        if asked.camera is not None and asked.camera not in known:
            names = ", ".join(sorted(name for name in known if name is not None)) or "none"
            msg = f"--camera {asked.camera!r}: neither the configuration nor the journal knows it; known: {names}"
            raise _Refused(msg)
        _look_at(options.target, Path(settings.journal.folder), same_disk=options.same_disk)
        identity = _identity(holdings, settings)
        leave = Leave(
            lambda: status.fetch(settings.status_socket),
            wanted=asked.pictures,
            purge_s=settings.privacy.purge_s,
            clock=clock,
            elsewhere="" if identity == settings.identity else "/".join(astuple(identity)),
        )
        progress = _Progress(sum(shelf.records for shelf in holdings.shelves()))
        export = Export(
            holdings,
            identity,
            asked=asked,
            leave=leave,
            clock=clock,
            tell=progress.tell,
        )
        try:
            outcome = export.run(options.target)
        finally:
            progress.end()
    _note(outcome, asked)
    _show(outcome, as_json=options.json)
    return EXIT_WELL if outcome.whole else EXIT_FAULTS


def _identity(holdings: Holdings, settings: Settings) -> Identity:
    """Under which the records were made: that of the store, whatever box.toml says by now."""
    found = holdings.identity(settings.identity)
    if found is None:
        msg = "of which place these records are cannot be read any more: they would reach the hub under another's name"
        raise _Refused(msg)
    return found


def _asked(options: _Options, now: float) -> Asked:
    try:
        since_s = None if options.since is None else asked_time.parse("--since", options.since, now)
    except ValueError as why:
        raise _Refused(str(why)) from None
    return Asked(
        since_text=options.since,
        since_s=since_s,
        camera=options.camera,
        pictures=Pictures(options.pictures),
    )


def _look_at(target: Path, journal: Path, *, same_disk: bool) -> None:
    """Whether *target* can be a stick; `_Refused` with what to do if not."""
    if not target.is_dir():
        msg = f"{target}: no such folder: is the stick mounted? (lsblk shows it; mount /dev/sda1 /mnt)"
        raise _Refused(msg)
    real, own = target.resolve(), journal.resolve()
    if real == own or own in real.parents:
        msg = f"{target}: lies in the journal itself; name the folder where the stick is mounted"
        raise _Refused(msg)
    if not same_disk and real.stat().st_dev == own.stat().st_dev:
        msg = (
            f"{target}: lies on the same disk as the journal: is the stick mounted? (lsblk shows where);"
            " with --same-disk it is written there all the same"
        )
        raise _Refused(msg)


class _Progress:
    """One line on a terminal, written anew after each lot."""

    def __init__(self, records: int) -> None:
        self._records = records
        self._shown = False

    def tell(self, outcome: Outcome) -> None:
        """How far it is."""
        if sys.stderr.isatty():
            self._shown = True
            line = f"{outcome.records} of about {self._records} records, {outcome.pictures} of them pictures"
            print(f"\r{line}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._shown:
            print(file=sys.stderr)


def _note(outcome: Outcome, asked: Asked) -> None:
    """One line in the system's log, so that the box itself remembers that records left it, and through whom."""
    text = (
        f"journal export to {outcome.folder}: {outcome.records} records, {outcome.pictures} pictures"
        f" ({asked.pictures.value}), by {outcome.by}: {outcome.failure or 'finished'}"
    )
    syslog.openlog("edge-agent", 0, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_NOTICE, _plain(text))


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_to_json(outcome)), flush=True)
        return
    console = Console()
    for line in _lines(outcome):
        console.print(Text(_plain(line)), soft_wrap=True)


def _lines(outcome: Outcome) -> list[str]:
    lines = [str(outcome.folder)]
    if outcome.checked:
        again = (
            f"; {outcome.redone} lots were not whole and are written again"
            if outcome.redone
            else ""
        )
        lines.append(f"there before: {outcome.checked} files, checked{again}")
    lines.append(
        f"written now: {outcome.records} records, {outcome.pictures} of them pictures; each file was read back and is whole"
    )
    lines += [f"  {name}: {_total(told)}" for name, told in outcome.totals.items()]
    if outcome.fresh:
        cameras = ", ".join(sorted(outcome.fresh))
        lines.append(
            f"newest pictures of {cameras}: a press could still destroy them; run it again later"
        )
    lines += [
        f"! pictures of {camera} stay on the box: {why}"
        for camera, why in sorted(outcome.stayed.items())
    ]
    if outcome.went:
        lines.append(f"{outcome.went} pictures went meanwhile: settled, thinned or purged")
    if outcome.damaged:
        lines.append(
            f"! {outcome.damaged} records are not whole in the journal: edge-agent journal check"
        )
    lines += [f"! {fault}" for fault in outcome.faults]
    if outcome.failure:
        lines.append(f"! NOT FINISHED: {outcome.failure}")
    else:
        lines.append(
            "finished. Unmount the stick before you pull it; at the hub: edge-agent hub --import FOLDER"
        )
    return lines


def _total(told: Json) -> str:
    return f"{told['records']} records in all" if isinstance(told, Mapping) else ""


def _to_json(outcome: Outcome) -> dict[str, Json]:
    return {
        "folder": str(outcome.folder),
        "finished": not outcome.failure,
        "whole": outcome.whole,
        "failure": outcome.failure,
        "records": outcome.records,
        "pictures": outcome.pictures,
        "checked": outcome.checked,
        "redone": outcome.redone,
        "damaged": outcome.damaged,
        "went": outcome.went,
        "fresh": sorted(outcome.fresh),
        "stayed": dict(outcome.stayed),
        "faults": list(outcome.faults),
        "lots": outcome.totals,
    }


def _plain(line: str) -> str:
    """Nothing that a terminal would obey."""
    return "".join(mark if mark.isprintable() else " " for mark in line)
