"""`edge-agent provision`: takes over what a person wrote on the card; with `--lamp`, shows that there is nothing to run on.

Not its job: what is done, and in which order (steps.py).
"""

from __future__ import annotations

import argparse
import grp
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_agent.clock import SystemClock
from edge_agent.provision.card import BOX, Card
from edge_agent.provision.keep import NotOurs
from edge_agent.provision.steps import NOT_DONE, Places, Provision, make_folder

_CARD: Final = "/boot/firmware"
_CONFIG: Final = "/etc/edge-agent"
_UMASK: Final = 0o022  # each file is made with the rights it needs, none with more
_EXITS: Final = (
    "exit codes: 0 everything on the card is in use; 1 something on the card is wrong, and RESULT.txt on it says what;"
    " 2 not done: wrong usage, a configuration written by hand, or storage that takes no writes"
)


def main(argv: Sequence[str]) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(argv)
    if options.lamp:
        return _lamp(options.config)
    os.umask(_UMASK)
    places = Places(
        config=options.config,
        networkd=options.networkd,
        wifi=options.wifi,
        timesyncd=options.timesyncd,
        ssh=options.ssh,
        data=options.data,
    )
    try:
        make_folder(options.config, _group(options.group))
        return Provision(
            Card(options.card),
            places,
            clock=SystemClock(),
            say=_say,
            name_host=socket.sethostname if options.host_name else None,
        ).run()
    except NotOurs as found:
        _say(
            f"{found} was written by hand: this box is not run from its card; move it away to change that"
        )
    except OSError as error:
        _say(f"{options.config}: {error.strerror or error}")
    except LookupError:
        _say(f"there is no group {options.group}: systemd-sysusers makes it")
    return NOT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent provision",
        description="Takes over box.toml, network.toml, hub/, secrets/ and authorized_keys from the card, part by part,"
        " and writes RESULT.txt and box.csr back to it.",
        epilog=_EXITS,
    )
    add = parser.add_argument
    add("--card", type=_path, default=Path(_CARD), help="the FAT partition; default: %(default)s")
    add("--config", type=_path, default=Path(_CONFIG), help="what is kept; default: %(default)s")
    add("--group", default="edge-agent", help="who may read it, as root; default: %(default)s")
    add("--networkd", type=_path, metavar="DIR", help="where .network files go")
    add("--wifi", type=_path, metavar="DIR", help="where wpa_supplicant's file goes")
    add("--timesyncd", type=_path, metavar="DIR", help="where the drop-in of timesyncd goes")
    add("--ssh", type=_path, metavar="DIR", help="where authorized_keys goes")
    add(
        "--data",
        type=_path,
        metavar="DIR",
        help="the partition below CONFIG; if it is not mounted, CONFIG is lost with the power and no certificate is asked for",
    )
    add("--host-name", action="store_true", help="give the system the name of the box")
    add("--lamp", action="store_true", help="blink both lamps until there is a configuration")
    return parser


def _path(text: str) -> Path:
    """Where *text* leads from here, whole: what box.toml names is compared with it, and the agent's reader gives whole paths alone."""
    return Path(
        os.path.realpath(text)
    )  # unlike Path.resolve, never an error: a ring of links is a card that is not there


def _group(name: str) -> int | None:
    """LookupError."""
    return grp.getgrnam(name).gr_gid if os.geteuid() == 0 else None


def _lamp(config: Path) -> int:
    # Imported here: the pins are no business of a box that is being configured.
    from edge_agent.provision.lamp import show  # noqa: PLC0415
    from edge_agent.sensors import real_factory  # noqa: PLC0415

    factory, why = real_factory()
    if factory is None:
        _say(why)
        return NOT_DONE
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    box = config / BOX
    return (
        0 if show(factory, clock=SystemClock(), stop=stop, configured=box.exists, say=_say) else 1
    )


def _say(text: str) -> None:
    """One line, whatever a card put into it."""
    sys.stderr.write(" ".join(text.split()) + "\n")
