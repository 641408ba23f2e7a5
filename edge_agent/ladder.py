"""Tries the rungs on the way to the hub, from the box's own plug up to the hub's TLS, and tells what was seen.

Promises: each try has a time limit, a name server that hangs holds nothing but a thread of its own, no program is started and
nothing is sent but the first bytes of a connection; one climb at a time, about a minute at the most; what this machine does not
say is None, never a guess. IPv4 and IPv6.
Threads: one of its own, and one more while a name is looked up. Not its job: when to look and what it means (core/ladder.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import queue
import socket
import ssl
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Climb, Event, Fault, LadderClimbed, Rung, Step
from edge_agent.core.settings import is_loopback
from edge_agent.part import Errands
from edge_agent.tls import Context, Pair, client_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_agent.clock import Clock
    from edge_agent.core.settings import Hub, Run

GATEWAY_S: Final = 5.0  # the kernel gives up on a silent neighbour after three
NAME_S: Final = 8.0
NAME_SERVER_S: Final = 2.0
NAME_SERVERS_MAX: Final = 3
TCP_S: Final = 5.0
TLS_S: Final = 8.0
ALERT_S: Final = 3.0  # TLS 1.3 refuses a client only after the handshake
ADDRESSES_MAX: Final = 4

_SIOCGIFADDR: Final = 0x8915
_UP, _REJECT = 0x1, 0x200  # RTF_UP, RTF_REJECT of linux/route.h
_COMPLETE: Final = 0x2  # ATF_COM of linux/if_arp.h: the neighbour has answered
_DOMAIN_PORT: Final = 53  # most routers listen there; a refusal is an answer as well
_NO_NEIGHBOUR: Final = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN})
_SERVER_FAILURE: Final = 2
_RCODES: Final = {0: "no address", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}
_WRONG_DATE: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_WRONG_NAME: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH

_Address = tuple[int, tuple[object, ...]]  # family, and what connect() takes


def _both(earlier: Climb, later: Climb) -> Climb:
    return Climb(far=earlier.far or later.far)


@dataclass(frozen=True, slots=True)
class _Gateway:
    interface: str
    address: str  # "" = the line itself is the way (PPP)


class Ladder:
    """Entering starts its thread. `climb` may be called from any thread and never blocks."""

    def __init__(
        self,
        settings: Hub,
        runs: Sequence[Run],
        *,
        pair: Callable[[], Pair] | None,
        post: Callable[[Event], None],
        clock: Clock,
        passed_s: float = 0.0,
        root: Path = Path("/"),
        patience: float = 1.0,
    ) -> None:
        """*pair* gives what this box shows the hub, None = plain TCP; *root* is where /proc, /sys and /etc are.

        *patience* scales the time limits of names, TCP and TLS, for somebody who stands there and waits.
        *passed_s*: Unix time that was vouched for by an earlier boot; the link refuses by it, so this look must too.
        """
        self._settings = settings
        # What leads to a camera leads to no hub.
        self._apart = frozenset(run.interface for run in runs if run.interface is not None)
        self._pair = pair
        self._post = post
        self._clock = clock
        self._passed_s = passed_s
        self._root = root
        self._patience = patience
        self._looking_up: threading.Thread | None = None
        self._errands = Errands("ladder", self._climb, join=_both, post=post)

    def __enter__(self) -> Ladder:
        self._errands.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._errands.leave()

    def climb(self, command: Climb) -> None:
        """Look as soon as the look before is over; answered by `LadderClimbed`. What is asked meanwhile is one look."""
        self._errands.ask(command)

    def _climb(self, command: Climb) -> None:
        steps: list[Step] = []
        # A machine that lets us not even ask, or answers in words of its own: unknown, and no reason to fall.
        with contextlib.suppress(OSError, ValueError):
            steps = self.steps(command)
        self._post(LadderClimbed(steps=tuple(steps), far=command.far))

    def steps(self, command: Climb) -> list[Step]:
        """Try the rungs from the lowest up, as far as they hold. Blocks for about a minute at most."""
        return list(self.each(far=command.far))

    def each(self, *, far: bool) -> Iterator[Step]:
        """As `steps`, each as soon as it is known."""
        for step in self._each(far=far):
            yield step
            if step.holds is False:
                return

    def _each(self, *, far: bool) -> Iterator[Step]:
        host = self._settings.host
        addresses: list[_Address] = []
        if not is_loopback(host):
            names, step = self._interfaces()
            yield step
            yield self._address(names)
            yield self._gateway()
        if _literal(host) is None:
            addresses, step = self._name()
            yield step
        elif far:
            addresses = _resolved(host, self._settings.port)
        if far:
            yield from self._hub(addresses)

    # ---- interface, address, gateway ----

    def _interfaces(self) -> tuple[list[str], Step]:
        """Those that may lead to the hub, and whether one of them has a link."""
        folder = self._root / "sys" / "class" / "net"
        ways = {gateway.interface for gateway in self._gateways()}
        names = [
            path.name
            for path in _listed(folder)
            if path.name in ways or path.name not in self._apart | {"lo"}
        ]
        names = [name for name in names if name in ways] or names
        if not names:
            seen = "none but the box's own loopback"
            return [], _fails(Rung.INTERFACE, seen, Fault.NO_INTERFACE)
        links = {name: _link(folder / name) for name in names}
        seen = ", ".join(f"{name}: {word}" for name, (_, word) in links.items())
        linked = [name for name, (up, _) in links.items() if up]
        if linked:
            return linked, _holds(Rung.INTERFACE, seen)
        if any(up is None for up, _ in links.values()):
            return names, _unknown(Rung.INTERFACE, seen)
        return [], _fails(Rung.INTERFACE, seen, Fault.NO_CARRIER)

    def _address(self, names: list[str]) -> Step:
        found = [f"{name} {address}" for name in names for address in self._addresses(name)]
        if found:
            return _holds(Rung.ADDRESS, ", ".join(found))
        return _fails(Rung.ADDRESS, f"{', '.join(names)}: none", Fault.NO_ADDRESS)

    def _addresses(self, name: str) -> Iterator[str]:
        """Addresses that lead beyond the next plug."""
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
        ):
            answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", os.fsencode(name)[:15]))
            address = ipaddress.IPv4Address(answer[20:24])
            if not address.is_link_local:  # what a box gives itself when no router answers
                yield str(address)
        for words in _table(self._root / "proc" / "net" / "if_inet6"):
            if len(words) == 6 and words[5] == name and words[3] == "00":  # global scope
                yield str(ipaddress.IPv6Address(int(words[0], 16)))

    def _gateway(self) -> Step:
        gateways = self._gateways()
        if not gateways:
            literal = _literal(self._settings.host)
            if literal is not None and _routed(literal):
                return _holds(Rung.GATEWAY, f"{literal} is on the box's own network")
            return _fails(Rung.GATEWAY, "no default route", Fault.NO_ROUTE)
        answers = [(gateway, self._answers(gateway)) for gateway in gateways]
        seen = ", ".join(
            f"{gateway.interface} {gateway.address or 'direct'}: {_WORDS[answer]}"
            for gateway, answer in answers
        )
        if any(answer for _, answer in answers):
            return _holds(Rung.GATEWAY, seen)
        if any(answer is None for _, answer in answers):
            return _unknown(Rung.GATEWAY, seen)
        return _fails(Rung.GATEWAY, seen, Fault.GATEWAY_SILENT)

    def _gateways(self) -> list[_Gateway]:
        found = []
        for words in _table(self._root / "proc" / "net" / "route", skip=1):
            if len(words) < 8 or words[1] != "0" * 8 or words[7] != "0" * 8:
                continue
            if int(words[3], 16) & (_UP | _REJECT) != _UP:
                continue
            address = ipaddress.IPv4Address(int(words[2], 16).to_bytes(4, "little"))
            found.append(_Gateway(words[0], "" if address == _ANY else str(address)))
        for words in _table(self._root / "proc" / "net" / "ipv6_route"):
            if len(words) < 10 or words[0] != "0" * 32 or words[1] != "00" or words[9] == "lo":
                continue
            if int(words[8], 16) & (_UP | _REJECT) != _UP:
                continue
            six = ipaddress.IPv6Address(int(words[4], 16))
            found.append(_Gateway(words[9], "" if int(six) == 0 else str(six)))
        return list(dict.fromkeys(found))

    def _answers(self, gateway: _Gateway) -> bool | None:
        """Whether the router is there. A refusal comes from it as well; only a neighbour that is silent is not."""
        if not gateway.address:
            return None
        address = ipaddress.ip_address(gateway.address)
        target: tuple[object, ...] = (str(address), _DOMAIN_PORT)
        if address.version == 6:
            with contextlib.suppress(OSError):
                target = (*target, 0, socket.if_nametoindex(gateway.interface))
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        line, error = _dial(family, target, GATEWAY_S)
        if line is not None:
            line.close()
        if error in (0, errno.ECONNREFUSED):
            return True
        if error in _NO_NEIGHBOUR:
            return False
        return True if self._is_neighbour(gateway.address) else None

    def _is_neighbour(self, address: str) -> bool:
        return any(
            len(words) >= 4 and words[0] == address and int(words[2], 16) & _COMPLETE
            for words in _table(self._root / "proc" / "net" / "arp", skip=1)
        )

    # ---- the hub's name ----

    def _name(self) -> tuple[list[_Address], Step]:
        host = self._settings.host
        if self._looking_up is not None and self._looking_up.is_alive():
            seen = f"{host}: the look-up before this one still hangs"
            return [], _fails(Rung.NAME, seen, Fault.NAME_SERVER_SILENT)
        box: queue.SimpleQueue[list[_Address] | OSError] = queue.SimpleQueue()
        self._looking_up = threading.Thread(
            target=_look_up, args=(host, self._settings.port, box), name="name", daemon=True
        )
        self._looking_up.start()
        try:
            answer = box.get(timeout=NAME_S * self._patience)
        except queue.Empty:
            answer = TimeoutError(f"no answer within {NAME_S * self._patience:.0f} s")
        if isinstance(answer, list):
            shown = ", ".join(sorted({str(target[0]) for _, target in answer}))
            return answer, _holds(Rung.NAME, f"{host}: {shown}")
        return [], self._no_name(answer)

    def _no_name(self, error: OSError) -> Step:
        """Who was asked, and what each says."""
        host = self._settings.host
        servers = [
            words[1]
            for words in _table(self._root / "etc" / "resolv.conf")
            if len(words) >= 2 and words[0] == "nameserver"
        ]
        if not servers:
            seen = f"{host}: no name server is set"
            return _fails(Rung.NAME, seen, Fault.NO_NAME_SERVER)
        within_s = NAME_SERVER_S * self._patience
        codes = {
            server: _ask_name_server(server, host, within_s)
            for server in servers[:NAME_SERVERS_MAX]
        }
        said = ", ".join(
            f"{server}: {'no answer' if code is None else _RCODES.get(code, f'code {code}')}"
            for server, code in codes.items()
        )
        seen = f"{host}: {_line(error)}; {said}"
        # A server that fails has nobody to ask itself: for the box that is silence.
        if all(code is None or code == _SERVER_FAILURE for code in codes.values()):
            return _fails(Rung.NAME, seen, Fault.NAME_SERVER_SILENT)
        return _fails(Rung.NAME, seen, Fault.NAME_UNKNOWN)

    # ---- the hub itself ----

    def _hub(self, addresses: list[_Address]) -> Iterator[Step]:
        line, step = self._tcp(addresses)
        yield step
        if line is None:
            return
        with line:
            if self._settings.tls is not None and self._pair is not None:
                yield self._tls(line, self._settings.tls.ca_file, self._pair)

    def _tcp(self, addresses: list[_Address]) -> tuple[socket.socket | None, Step]:
        port = self._settings.port
        tried: dict[str, int] = {}
        for family, target in addresses[:ADDRESSES_MAX]:
            line, error = _dial(family, target, TCP_S * self._patience)
            if line is not None:
                return line, _holds(Rung.TCP, f"{target[0]} port {port} takes connections")
            tried[str(target[0])] = error
        seen = ", ".join(
            f"{address} port {port}: {_reason(code)}" for address, code in tried.items()
        )
        if errno.ECONNREFUSED in tried.values():
            return None, _fails(Rung.TCP, seen, Fault.NOBODY_LISTENS)
        if errno.ETIMEDOUT in tried.values() or not tried:
            return None, _fails(Rung.TCP, seen, Fault.NO_ANSWER)
        return None, _fails(Rung.TCP, seen, Fault.NO_WAY)

    def _tls(self, line: socket.socket, ca_file: str, own: Callable[[], Pair]) -> Step:
        try:
            pair = own()
            context = client_context(ca_file, pair, clock=self._clock, passed_s=self._passed_s)
        except Exception as error:  # noqa: BLE001 - any reader of files and of foreign encodings
            return _fails(Rung.TLS, _line(error), Fault.OWN_UNUSABLE)
        line.settimeout(TLS_S * self._patience)
        try:
            with context.wrap_socket(line, server_hostname=self._settings.host) as wrapped:
                wrapped.settimeout(ALERT_S * self._patience)
                with contextlib.suppress(TimeoutError):  # it waits for our word: accepted
                    wrapped.recv(1)
                return _holds(Rung.TLS, f"{wrapped.version()}{self._doubt(context)}")
        except TimeoutError:
            return _fails(
                Rung.TLS, f"no word within {TLS_S * self._patience:.1f} s", Fault.TLS_SILENT
            )
        except ssl.SSLCertVerificationError as error:
            return self._not_the_hub(error)
        except OSError as error:
            return self._not_us(error, pair)
        finally:
            context.close_last()

    def _not_the_hub(self, error: ssl.SSLCertVerificationError) -> Step:
        said = error.verify_message
        if error.verify_code in _WRONG_DATE:
            vouched = "" if self._clock.trusted() else ", and nothing vouches for the box's clock"
            return _fails(Rung.TLS, f"{said}{vouched}", Fault.HUB_DATES)
        fault = Fault.HUB_OTHER_NAME if error.verify_code in _WRONG_NAME else Fault.HUB_UNKNOWN
        return _fails(Rung.TLS, said, fault)

    def _not_us(self, error: OSError, pair: Pair) -> Step:
        said = _line(error)
        if "alert" not in said.lower():
            return _fails(Rung.TLS, said, Fault.NOT_TLS)
        end_s = pair.leaf.not_valid_after_utc.timestamp()
        ended = self._clock.trusted() and end_s < self._clock.wall()
        if ended or "certificate expired" in said:
            return _fails(Rung.TLS, said, Fault.OWN_EXPIRED)
        return _fails(Rung.TLS, said, Fault.OWN_REFUSED)

    @staticmethod
    def _doubt(context: Context) -> str:
        return ", dates excused: nothing vouches for the box's clock" if context.doubtful else ""


_ANY: Final = ipaddress.IPv4Address(0)
_WORDS: Final = {True: "answers", False: "does not answer", None: "cannot be told"}


def _holds(rung: Rung, seen: str) -> Step:
    return Step(rung=rung, holds=True, seen=seen)


def _unknown(rung: Rung, seen: str) -> Step:
    return Step(rung=rung, holds=None, seen=seen)


def _fails(rung: Rung, seen: str, fault: Fault) -> Step:
    return Step(rung=rung, holds=False, seen=seen, fault=fault)


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _table(path: Path, *, skip: int = 0) -> Iterator[list[str]]:
    """The words of each line; nothing if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines()[skip:]:
        yield line.split()


def _link(folder: Path) -> tuple[bool | None, str]:
    """Whether an interface has a link, and the word for it."""
    try:
        return (
            (True, "link")
            if (folder / "carrier").read_text().strip() == "1"
            else (False, "no link")
        )
    except OSError as error:
        # EINVAL: the kernel has no number for an interface that is switched off.
        return (False, "switched off") if error.errno == errno.EINVAL else (None, "unknown")


def _routed(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the kernel knows a way; nothing is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    line, _ = _dial(family, (str(address), _DOMAIN_PORT), GATEWAY_S, socket.SOCK_DGRAM)
    if line is not None:
        line.close()
    return line is not None


def _dial(
    family: int, target: tuple[object, ...], timeout_s: float, kind: int = socket.SOCK_STREAM
) -> tuple[socket.socket | None, int]:
    """A connection and 0, or None and the errno; ETIMEDOUT if our own patience ends first."""
    try:
        line = socket.socket(family, kind)
    except OSError as error:  # a kernel without IPv6
        return None, error.errno or errno.EIO
    line.settimeout(timeout_s)
    try:
        line.connect(target)
    except OSError as error:
        line.close()
        ours = isinstance(error, TimeoutError)
        return None, errno.ETIMEDOUT if ours else error.errno or errno.EIO
    return line, 0


def _reason(code: int) -> str:
    return os.strerror(code).lower()


def _resolved(host: str, port: int) -> list[_Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, target) for family, _, _, _, target in found]


def _look_up(host: str, port: int, box: queue.SimpleQueue[list[_Address] | OSError]) -> None:
    """In a thread of its own: nobody can end a resolver that hangs."""
    try:
        box.put(_resolved(host, port))
    except OSError as error:
        box.put(error)
    except UnicodeError as error:
        box.put(OSError(str(error)))


def _ask_name_server(server: str, host: str, within_s: float) -> int | None:
    """What *server* itself says to a question for *host*: a response code, or None = not a word."""
    number = os.urandom(2)
    with contextlib.suppress(OSError, ValueError):
        address = ipaddress.ip_address(server.partition("%")[0])
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(within_s)
            asking.connect((server, _DOMAIN_PORT))
            labels = (bytes([len(part)]) + part for part in host.encode("ascii").split(b"."))
            head = number + struct.pack(">5H", 0x0100, 1, 0, 0, 0)
            asking.send(head + b"".join(labels) + b"\0\0\1\0\1")
            answer = asking.recv(1500)
            return answer[3] & 0x0F if len(answer) >= 12 and answer[:2] == number else None
    return None


def _line(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "".join(mark if mark.isprintable() else " " for mark in text)[:200]
