"""`edge-agent hub`: the receiver as a command, its gap report, and taking in what a technician brought on a stick.

Exit codes: 0 complete; 1 something is missing, could not be read, or an audit chain does not hold; 2 not started or never connected.
Not its job: receiving (service.py), what to show (table.py, gaps.py).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import ssl
import sys
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock, SystemClock
from edge_agent.core.messages import Json
from edge_agent.core.settings import is_loopback
from edge_agent.receiver import gaps
from edge_agent.receiver.service import ROUND_S, Receiver
from edge_agent.receiver.summary import Lines, Summary, to_json
from edge_agent.receiver.table import Screen, table
from edge_agent.seal import Opener, SealError
from edge_agent.stick import StickError

ONCE_S: Final = 5.0
_LONGEST_ONCE_S: Final = 86_400.0


def main(argv: list[str]) -> int:
    """`edge-agent hub`."""
    options = _options(argv)
    clock = SystemClock()
    try:
        if options.gaps:
            return _gaps(options.folder, as_json=options.json)
        tls = _tls(options)
        opener = Opener(options.identity) if options.identity is not None else None
        receiver = Receiver(
            host=options.host,
            port=options.port,
            folder=options.folder,
            clock=clock,
            tls=tls,
            opener=opener,
        )
        if options.import_from is not None:
            return _import(receiver, options.import_from, as_json=options.json)
        receiver.start()
    except (OSError, sqlite3.Error, ValueError, SealError, StickError) as error:
        print(f"edge-agent hub: {error}", file=sys.stderr)
        return 2
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _show(receiver, options, clock)
    finally:
        receiver.stop()
    summary = receiver.summary()
    if options.once is not None:
        _print(summary, clock, as_json=options.json)
    if summary.failure:
        print(f"edge-agent hub: gave up: {summary.failure}", file=sys.stderr)
    if not receiver.ever_connected:
        why = summary.not_connected or "no answer yet"
        print(
            f"edge-agent hub: not connected to {options.host}:{options.port}: {why}",
            file=sys.stderr,
        )
        return 2
    return 0 if summary.complete and summary.intact else 1


class _Options(argparse.Namespace):
    host: str
    port: int
    folder: Path
    ca: str | None
    cert: str | None
    key: str | None
    identity: Path | None
    once: float | None
    gaps: bool
    import_from: Path | None
    json: bool


def _options(argv: list[str]) -> _Options:
    parser = argparse.ArgumentParser(
        prog="edge-agent hub",
        description="Receive what boxes send, commit it, acknowledge it. A reference for those who build the city's side.",
        epilog="Exit codes: 0 complete; 1 something is missing or could not be read, or an audit chain does not hold;"
        " 2 not started or never connected.",
    )
    parser.add_argument(
        "--host",
        type=_host,
        default="127.0.0.1",
        help="the MQTT 5 broker (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=_port, default=0, metavar="PORT", help="default: 1883, or 8883 with --ca"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("hub"),
        help="where to keep everything (default: ./%(default)s)",
    )
    parser.add_argument("--ca", metavar="PEM", help="CA of the broker: speak TLS")
    parser.add_argument("--cert", metavar="PEM", help="client certificate of this receiver")
    parser.add_argument("--key", metavar="PEM", help="its private key")
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE",
        help="open sealed pictures with the age identity in FILE; without it they are kept as .age files",
    )
    parser.add_argument(
        "--once",
        type=_seconds,
        nargs="?",
        const=ONCE_S,
        metavar="S",
        help=f"stop when nothing new came for S seconds (default: {ONCE_S:.0f}), and say what there is",
    )
    parser.add_argument(
        "--gaps",
        action="store_true",
        help="say what is missing, thinned, purged or withdrawn, for which minutes, and end; no broker is asked",
    )
    parser.add_argument(
        "--import",
        dest="import_from",
        type=Path,
        metavar="FOLDER",
        help="take in what `edge-agent journal export` wrote there, instead of listening; stop the receiver of the same --folder first",
    )
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    options = parser.parse_args(argv, namespace=_Options())
    if not options.port:
        options.port = 8883 if options.ca else 1883
    return options


def _tls(options: _Options) -> ssl.SSLContext | None:
    """What --ca, --cert and --key ask for; `ValueError` or `OSError` names what is wrong."""
    if options.ca is None:
        if options.cert or options.key:
            msg = "--cert and --key need --ca, the CA of the broker"
            raise ValueError(msg)
        if options.import_from is None and not is_loopback(options.host):
            msg = f"--host {options.host}: plain TCP only to this machine; add --ca, and --cert and --key"
            raise ValueError(msg)
        return None
    if bool(options.cert) != bool(options.key):
        msg = "--cert and --key go together"
        raise ValueError(msg)
    files = f"--ca {options.ca}"
    try:
        context = ssl.create_default_context(cafile=options.ca)
        if options.cert:
            files = f"--cert {options.cert}, --key {options.key}"
            context.load_cert_chain(options.cert, options.key)
    except OSError as error:  # the library names no file
        msg = f"{files}: {error.strerror or error}; needs PEM files that can be read"
        raise ValueError(msg) from error
    return context


def _host(text: str) -> str:
    """What can be asked for at all; whether it is there the line says."""
    try:
        sound = bool(text.encode("idna")) and not set(text) & set("/@?# ")
    except UnicodeError:  # a label that is empty or too long
        sound = False
    if not sound:
        msg = f"{text!r} is no host name and no IP address"
        raise argparse.ArgumentTypeError(msg)
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        msg = f"{text!r} is no port, from 1 to 65535"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= _LONGEST_ONCE_S:
        msg = f"{text!r} is no number of seconds, above 0 and at most {_LONGEST_ONCE_S:.0f}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _show(receiver: Receiver, options: _Options, clock: Clock) -> None:
    """Until it is told to stop, or (with --once) nothing new comes."""
    if options.once is not None:
        while receiver.quiet_for() < options.once and not receiver.wait_stopped(ROUND_S / 2):
            pass
    elif options.json:
        shown = None
        lines = Lines()
        while not receiver.wait_stopped(ROUND_S):
            summary = receiver.summary()
            if summary != shown:
                print(lines.line(summary), flush=True)
                shown = summary
    else:
        from rich.live import Live  # noqa: PLC0415 - a terminal only

        with Live(Screen(receiver.summary(), now_s=clock.wall()), refresh_per_second=2) as live:
            while not receiver.wait_stopped(ROUND_S):
                live.update(Screen(receiver.summary(), now_s=clock.wall()))


def _print(summary: Summary, clock: Clock, *, as_json: bool) -> None:
    if as_json:
        _dump(to_json(summary))
        return
    from rich.console import Console  # noqa: PLC0415

    Console().print(table(summary, now_s=clock.wall()))


def _gaps(folder: Path, *, as_json: bool) -> int:
    found = gaps.report(folder)
    if as_json:
        _dump(gaps.to_json(found))
    else:
        from rich.console import Console  # noqa: PLC0415

        Console().print(gaps.table(found))
    return 1 if any(box.missing for box in found) else 0


def _import(receiver: Receiver, folder: Path, *, as_json: bool) -> int:
    """Take in what a technician brought on a stick, and say what came of it."""
    try:
        imported = receiver.take_in(folder)
    finally:
        receiver.stop()
    summary = receiver.summary()
    if as_json:
        told: list[Json] = [
            {
                "box": one.box,
                "epoch": one.epoch,
                "new": one.new,
                "duplicates": one.duplicates,
                "missing": one.missing,
                "simulated": one.simulated,
                "finished": one.finished,
            }
            for one in imported
        ]
        _dump({"imported": told, "faults": summary.faults, "last_fault": summary.last_fault})
    else:
        for one in imported:
            simulated = " SIMULATED" if one.simulated else ""
            rest = "" if one.finished else "; the box was not done writing"
            print(
                f"{one.box}{simulated}, epoch {one.epoch[:8]}: {one.new} new records, {one.duplicates} known already,"
                f" {one.missing} missing{rest}"
            )
        if summary.faults:
            print(f"! {summary.faults} could not be read, the last: {summary.last_fault}")
    return 1 if summary.faults or any(one.missing for one in imported) else 0


def _dump(told: Json) -> None:
    print(json.dumps(told, separators=(",", ":")), flush=True)
