"""Which camera this is, as far as the box can see: its stream's parameters and its hardware address on the wire.

Promises: nothing is asked of the network and nothing waits: the kernel's neighbour table is read as it stands; what is not
known never counts as different, so a camera is never held for what the box could not see.
Not its job: deciding what a difference means (core/gate.py), storing it (views.py).

A camera behind a recorder or a router shows that machine's address or none: then only the stream's parameters tell.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ARP_TABLE: Final = Path("/proc/net/arp")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NO_MAC: Final = "00:00:00:00:00:00"
_ETHERNET: Final = "0x1"
_COMPLETE: Final = 0x2  # ATF_COM: somebody answered for that address
_MAX_TABLE_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A camera as its stream and the wire show it. "" or 0 = not known."""

    codec: str = ""
    width: int = 0
    height: int = 0
    mac: str = ""  # aa:bb:cc:dd:ee:ff


def difference(commissioned: Device, seen: Device) -> str:
    """What differs, in a few words for a technician; "" if nothing does, or nothing that is known on both sides."""
    found = []
    if commissioned.mac and seen.mac and commissioned.mac.lower() != seen.mac.lower():
        found.append(f"hardware address {seen.mac} instead of {commissioned.mac}")
    if commissioned.codec and seen.codec and commissioned.codec.lower() != seen.codec.lower():
        found.append(f"codec {seen.codec} instead of {commissioned.codec}")
    sizes = [(d.width, d.height) for d in (commissioned, seen)]
    if all(min(size) > 0 for size in sizes) and sizes[0] != sizes[1]:
        found.append(
            f"picture {seen.width}x{seen.height} instead of {commissioned.width}x{commissioned.height}"
        )
    return ", ".join(found)


def mac_of(host: str, table: Path = ARP_TABLE) -> str:
    """The hardware address that answered last for *host*; "" if it is not known. Never blocks, never raises.

    *host* must be an IPv4 address: a name could stand for another machine by the time it is looked up again, so it is not
    known. Nor is an address that is incomplete, not on the box's own wire, or claimed by two machines.
    """
    try:
        address = str(ipaddress.IPv4Address(host))
        with table.open(encoding="ascii", errors="replace") as file:
            lines = file.read(_MAX_TABLE_BYTES).splitlines()
    except (ValueError, OSError):
        return ""
    answers = {mac for line in lines[1:] if (mac := _answer(line.split(), address))}
    return answers.pop() if len(answers) == 1 else ""


def is_mac(text: str) -> bool:
    """Whether *text* is a hardware address as `mac_of` writes it."""
    return _MAC.fullmatch(text) is not None


def _answer(row: list[str], address: str) -> str:
    """The hardware address in one row of the table, if it is a complete answer for *address*."""
    if len(row) < 4 or row[0] != address or row[1] != _ETHERNET:
        return ""
    try:
        flags = int(row[2], 16)
    except ValueError:
        return ""
    mac = row[3].lower()
    return mac if flags & _COMPLETE and is_mac(mac) and mac != _NO_MAC else ""
