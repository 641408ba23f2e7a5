"""The command line of `edge-agent doctor`.

Exit codes: 0 no fault (warnings are told, and do not count); 1 at least one fault; 2 not done (usage, no right to read the
configuration, `--lamps` while the agent runs, a bundle that cannot be written).
Not its job: asking (run.py), how the answers look (page.py).
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from edge_agent.clock import Clock, SystemClock
from edge_agent.config import ConfigError, load
from edge_agent.core.settings import Settings
from edge_agent.doctor import bundle, page
from edge_agent.doctor.check import Patient, State
from edge_agent.doctor.hardware import LAMPS_S, pins, wants_pins
from edge_agent.doctor.people import Service
from edge_agent.doctor.run import Asked, agent_beside, examine

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_WELL: Final = 0
EXIT_FAULTS: Final = 1
EXIT_NOT_DONE: Final = 2

_LOADING_MAX_S: Final = 30.0  # a process that is older did other things before
DEFAULT_CONFIG: Final = "/etc/edge-agent/box.toml"


class _Options(argparse.Namespace):
    config: Path
    json: bool
    lamps: bool
    bundle: Path | None
    lang: str | None


def main(argv: Sequence[str]) -> int:
    """`edge-agent doctor`; the exit code."""
    options = _parser().parse_args(argv, namespace=_Options())
    why_not = _unreadable(options.config)
    if why_not:
        return _not_done(why_not)
    patient = admit(options.config)
    if options.lamps:
        if patient.agent.running:
            return _not_done(
                "the lamps are the running agent's: sudo systemctl stop edge-agent, then again, then start it"
            )
        patient = replace(patient, lamps=True, within_s=patient.within_s + LAMPS_S)
    report = examine(patient)
    if options.json:
        print(json.dumps(page.as_json(report, patient), ensure_ascii=False))
    else:
        Console().print(page.render(report, patient, language=options.lang))
    if options.bundle is not None:
        # After the answers: a stick that is not there must not cost them.
        try:
            bundle.write(options.bundle, report, patient)
        except OSError as error:
            return _not_done(f"{options.bundle}: {error.strerror or error}")
        if not options.json:
            print(f"\n{options.bundle}: written; it holds no picture and no secret")
    return EXIT_FAULTS if report.state is State.FAULT else EXIT_WELL


def admit(config_file: Path) -> Patient:
    """This box, ready to be examined: its configuration, the agent beside us, and, unless that owns them, its pins."""
    clock = SystemClock()
    settings: Settings | None
    try:
        settings = load(str(config_file))
    except ConfigError:
        settings = None
    program = Asked()
    agent = agent_beside(None if settings is None else settings.status_socket, program)
    patient = Patient(
        settings=settings,
        config_file=config_file,
        clock=clock,
        agent=agent,
        program=program,
        began_at=began_at(clock),
    )
    if settings is None or not wants_pins(settings):
        return patient
    # Before any thread: loading the pin library moves the process for a moment. Opening the chip claims none of its lines.
    from edge_agent.sensors import owners_of, real_factory  # noqa: PLC0415

    factory, why = real_factory()
    owners = owners_of(factory, (pin for _, pin in pins(settings)))
    return replace(patient, factory=factory, why_no_factory=why, owners=owners)


def began_at(clock: Clock) -> float:
    """When this process began, boot seconds: who waits for the answer waits for its loading, too. Now, if that cannot be told."""
    now = clock.now()
    with suppress(OSError, ValueError, IndexError):
        # The name of the program, in brackets, may hold anything; the 20th value behind it is the start in ticks.
        behind = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
        began = int(behind[19]) / os.sysconf("SC_CLK_TCK")
        if 0 <= now - began < _LOADING_MAX_S:
            return began
    return now


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent doctor",
        description="Examine this box: what is wrong, and what to do. Beside the running agent, or alone before it starts.",
        epilog="exit codes: 0 no fault (warnings do not count); 1 at least one fault; 2 not done",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(DEFAULT_CONFIG),
        metavar="FILE",
        help=f"usually {DEFAULT_CONFIG}",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--lamps",
        action="store_true",
        help="light each lamp in turn, for somebody who looks; only while the agent is stopped",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE",
        help="also write a tar.gz for a support desk: no secrets, no pictures",
    )
    parser.add_argument(
        "--lang", choices=("id", "en"), help="remedies in one language; both, if nothing is said"
    )
    return parser


def _unreadable(config_file: Path) -> str:
    """Why a configuration that is there may not be read; one that is missing or wrong is an answer, not a reason to stop."""
    try:
        there = config_file.exists()
    except OSError:
        there = True
    service = (
        Service.of(Path("/"), {}) if config_file.parent == Path(DEFAULT_CONFIG).parent else None
    )
    # On an installed box the journal and the views are the service's alone: half an examination would be false alarms.
    stranger = service is not None and os.geteuid() not in {0, service.uid}
    if there and (stranger or not os.access(config_file, os.R_OK)):
        return f"you may not read all of what {config_file} names: run it with sudo"
    return ""


def _not_done(why: str) -> int:
    Console(stderr=True).print(Text(f"edge-agent doctor: {why}"), soft_wrap=True)
    return EXIT_NOT_DONE
