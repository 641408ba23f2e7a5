"""The box's own network interfaces that lead to one camera each: link, speed, and what the kernel counts about them.

Promises: what this machine does not say is None, never a guess and never a fault; a reading costs a few files of sysfs and no
network; the cable test, which breaks the link, runs only when a technician asks for it, and never on the way to the hub.
Threads: one, which sleeps and reads. `cable_test` blocks for some seconds in the caller's.
Not its job: what a reading means (core/diagnosis.py). Behind a switch the box sees its own cable only.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Event, NicRead
from edge_agent.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_agent.clock import Clock
    from edge_agent.core.settings import Run, Settings

EVERY_S: Final = 2.0
REPEAT_S: Final = 10.0  # told again without news, so that a restarted core is not blind
_COUNT_MAX: Final = 2**63


class Network:
    """Posts a reading of each configured interface on change and every ten seconds. Entering starts its thread, if there are any."""

    def __init__(
        self,
        runs: tuple[Run, ...],
        *,
        post: Callable[[Event], None],
        clock: Clock,
        sysfs: Path = Path("/sys"),
    ) -> None:
        self._interfaces = tuple(run.interface for run in runs if run.interface is not None)
        self._post = post
        self._clock = clock
        self._sysfs = sysfs
        self._told: dict[str, tuple[NicRead, float]] = {}
        self._part = Part("network", self._run, post=post)

    def __enter__(self) -> Network:
        if self._interfaces:
            self._part.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._part.leave()

    def _run(self) -> None:
        self.look()
        while not self._part.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Read all, post what is news."""
        at = self._clock.now()
        for interface in self._interfaces:
            event = nic_read(interface, self._sysfs)
            told = self._told.get(interface)
            if told is None or told[0] != event or at - told[1] >= REPEAT_S:
                self._told[interface] = (event, at)
                self._post(event)


def nic_read(interface: str, sysfs: Path = Path("/sys")) -> NicRead:
    """One reading. An interface that is switched off or gone says nothing about its cable: None, not "no link"."""
    folder = sysfs / "class" / "net" / interface
    # EINVAL while it is switched off; the kernel has no number for that.
    carrier = {0: False, 1: True}.get(_number(folder / "carrier", -1))
    # -1 or 4294967295 = not known (virtual, or autonegotiation under way); what a dead link once had is no speed.
    speed = _number(folder / "speed", -1)
    downs = _number(folder / "carrier_down_count", -1)
    errors = _number(folder / "statistics" / "rx_crc_errors", -1)
    return NicRead(
        interface=interface,
        carrier=carrier,
        speed_mbit=speed if carrier and 0 < speed < 2**31 else None,
        carrier_downs=downs if downs >= 0 else None,
        crc_errors=errors if errors >= 0 else None,
    )


def _number(path: Path, otherwise: int) -> int:
    try:
        number = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return otherwise
    return number if -_COUNT_MAX < number < _COUNT_MAX else otherwise


# ---- the cable test ----

TEST_S: Final = 30.0
_TEXT_MAX: Final = 20_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
# ethtool's words have changed once: "Pair: Pair A, result: Open Circuit" became "Pair A code Open Circuit".
_RESULT: Final = re.compile(r"Pair ([A-D])(?: code|, result:) ([A-Za-z][A-Za-z -]{0,60})")
_LENGTH: Final = re.compile(r"Pair ([A-D]), fault length: (\d{1,5}(?:\.\d{1,4})?)m")
_REASONS: Final = (
    (
        "does not support cable testing",
        "this interface's chip cannot test cables; a Raspberry Pi's own port cannot",
    ),
    (
        "Operation not supported",
        "this interface cannot test cables; a Raspberry Pi's own port cannot",
    ),
    ("Operation not permitted", "only root may test a cable: run it with sudo"),
    ("No such device", "this machine has no such interface"),
    ("Network is down", "the interface is switched off: sudo ip link set dev NAME up"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTested:
    """One pair of a network cable. `fault_m`: how far from the box, if the chip told."""

    pair: str  # A..D
    result: str  # in ethtool's words: "OK", "Open Circuit", "Short within Pair", ...
    fault_m: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTested:
    """Why there is no result; for a technician."""

    why: str


def cable_test(
    interface: str,
    settings: Settings,
    *,
    proc: Path = Path("/proc"),
    ethtool: str | None = None,
) -> tuple[PairTested, ...] | NotTested:
    """Have the interface's chip test its cable: only on a technician's word, as it takes the link down for some seconds.

    Refused unless the interface is named by a [[run]] and is on no way to the hub. Blocks up to half a minute.
    """
    refused = _refusal(interface, settings, proc)
    if refused:
        return NotTested(why=refused)
    program = ethtool or shutil.which("ethtool", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return NotTested(why="ethtool is not installed: sudo apt install ethtool")
    try:
        done = subprocess.run(
            [program, "--cable-test", interface],
            capture_output=True,
            timeout=TEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return NotTested(why=f"no result within {TEST_S:.0f} s")
    except OSError as error:
        return NotTested(why=f"{program}: {error.strerror}")
    text = (done.stdout + done.stderr)[:_TEXT_MAX].decode("utf-8", "replace")
    return _results(text) or NotTested(why=_why(text, done.returncode))


def _refusal(interface: str, settings: Settings, proc: Path) -> str:
    """Why *interface* must not be tested; "" = it may."""
    if not _NAME.fullmatch(interface):
        return f"{interface!r} is no name of an interface"
    named = {run.interface for run in settings.runs if run.interface is not None}
    if interface not in named:
        return (
            f"no [[run]] of box.toml names {interface}; only an interface that leads to one camera may be tested"
            f" ({', '.join(sorted(named)) or 'there is none'})"
        )
    try:
        ways = uplinks(settings.hub.host, proc)
    except (OSError, ValueError) as error:
        return f"it cannot be seen which interface leads to the hub, so none is tested: {error}"
    if interface in ways:
        return f"{interface} leads to the hub: testing it would cut the box off"
    return ""


def uplinks(hub_host: str, proc: Path = Path("/proc")) -> frozenset[str]:
    """Interfaces with a default route, and the one that leads to *hub_host* if that is an address. OSError, ValueError if unknown."""
    routes = [*_routes_4(proc), *_routes_6(proc)]
    found = {interface for net, interface in routes if net.prefixlen == 0}
    try:
        hub = ipaddress.ip_address(hub_host)
    except ValueError:
        return frozenset(
            found
        )  # a name: whatever it means, it is reached by a default route or by none of ours
    ways = [(net.prefixlen, interface) for net, interface in routes if hub in net]
    longest = max((length for length, _ in ways), default=0)
    return frozenset(found | {interface for length, interface in ways if length == longest})


_Net = ipaddress.IPv4Network | ipaddress.IPv6Network


def _routes_4(proc: Path) -> Iterator[tuple[_Net, str]]:
    for line in (proc / "net" / "route").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(words[at]), "little") for at in (1, 7))
        yield ipaddress.IPv4Network((address, mask.bit_count())), words[0]


def _routes_6(proc: Path) -> Iterator[tuple[_Net, str]]:
    path = proc / "net" / "ipv6_route"
    for line in path.read_text(encoding="ascii").splitlines() if path.exists() else ():
        words = line.split()
        # The kernel's own "nowhere" routes hang on lo.
        if words[9] != "lo":
            yield ipaddress.IPv6Network((int(words[0], 16), int(words[1], 16))), words[9]


def _results(text: str) -> tuple[PairTested, ...]:
    lengths = {pair: float(metres) for pair, metres in _LENGTH.findall(text)}
    results = {pair: result.strip() for pair, result in _RESULT.findall(text)}
    return tuple(
        PairTested(pair=pair, result=result, fault_m=lengths.get(pair))
        for pair, result in sorted(results.items())
    )


def _why(text: str, code: int) -> str:
    for mark, reason in _REASONS:
        if mark in text:
            return reason
    said = " ".join(_printable(text).split())[:200]
    return f"ethtool ended with {code}: {said or 'it said nothing'}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
