"""network.toml: how the box reaches its cameras and the city, as files for systemd-networkd, wpa_supplicant and timesyncd.

Promises: every fault at once, in the manner of box.toml, and never a password in one; what was judged sound gives files that
those programs take. The Wi-Fi password goes on as the key derived from it, so it stands in no second file. Without a
network.toml the wired socket asks for an address by DHCP.
Not its job: reading the card, whether anybody answers (doctor), the firewall (the image).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from edge_agent.config import ConfigError, parsed
from edge_agent.config.faults import Notes, line_numbers, show
from edge_agent.config.table import Table

if TYPE_CHECKING:
    from edge_agent.core.settings import Identity

EXAMPLE: Final = "the network.toml as it came on the card"
WIFI_SOCKET: Final = "wlan0"
_HOST_NAME_MAX: Final = 63  # a DNS label; Linux itself allows 64
_LIST_MAX: Final = 5

_ANY: Final = re.compile(r"[\x20-\x7e]{1,64}")
_SSID: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,32}")
_PASSWORD: Final = re.compile(r"[\x20-\x7e]{8,63}|[0-9a-fA-F]{64}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_SOCKET: Final = re.compile(r"(eth\d|end\d|en[a-z0-9]{1,13})")
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    re.IGNORECASE,
)

Address: TypeAlias = ipaddress.IPv4Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """A way to the city. `address` None = by DHCP."""

    address: Address | None = None
    gateway: str | None = None
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wifi:
    """A wireless way to the city: WPA2 with a password. The radios of a Pi 3 or 4 cannot do WPA3 alone (docs/provisioning.md)."""

    ssid: str
    password: str
    country: str
    uplink: Uplink


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSide:
    """A socket that leads to the cameras alone: an address of ours, and no way on."""

    match: str  # the line that finds the socket
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """All of network.toml."""

    wired: Uplink = Uplink()
    wifi: Wifi | None = None
    cameras: CameraSide | None = None
    time_servers: tuple[str, ...] = ()


def read(text: str, name: str) -> Network:
    """What *text* says; `ConfigError` names every fault."""
    document = parsed(text, name=name, example=EXAMPLE)
    notes = Notes(name=name, folder=Path("/"), lines=line_numbers(text), example=EXAMPLE)
    top = Table(document, path="", notes=notes)
    wired = top.table("wired", required=False)
    network = Network(
        wired=_uplink(wired),
        wifi=_wifi(top.table("wifi", required=False)) if top.has("wifi") else None,
        cameras=_cameras(top.table("cameras", required=False)) if top.has("cameras") else None,
        time_servers=_hosts(top.table("time", required=False), "servers", last=True),
    )
    wired.close()
    top.close()
    _check(network, notes)
    if notes.faults:
        raise ConfigError(sorted(notes.faults, key=lambda fault: fault.line or 0))
    return network


def host_name(identity: Identity) -> str:
    """What the box calls itself in its own network: a name of letters, digits and '-'."""
    name = f"{identity.kelurahan}-{identity.rw}-{identity.rt}-{identity.box}"
    return name[-_HOST_NAME_MAX:].strip("-").lower() or "edge-agent"


# ---- reading ----


def _uplink(table: Table) -> Uplink:
    given = table.text(
        "address",
        _ANY,
        allowed='"dhcp", or an address with its length such as "192.168.1.50/24"',
        remedy='usual is "dhcp"',
        default="dhcp",
    )
    if given == "dhcp" or not given:
        table.refuse(
            ("gateway", "dns"),
            allowed='only with an address of its own; "dhcp" brings them along',
            remedy="delete it, or write the address",
        )
        return Uplink()
    address = _address(table, "address", given)
    gateway = table.text(
        "gateway",
        _ANY,
        allowed="the router's address",
        remedy="the address of the router in the same network",
    )
    return Uplink(
        address=address,
        gateway=_gateway(table, gateway, address),
        dns=_hosts(table, "dns", addresses=True),
    )


def _address(table: Table, key: str, text: str) -> Address | None:
    allowed = 'an address of a machine with its length, such as "192.168.1.50/24"'
    try:
        address = ipaddress.IPv4Interface(text)
    except ValueError:
        table.fault(key, found=show(text), allowed=allowed, remedy="four numbers, '/', and 1 to 30")
        return None
    net, ip = address.network, address.ip
    why = ""
    if "/" not in text or not 1 <= net.prefixlen <= 30:
        why = 'its length is missing: for most networks write "/24" behind it'
    elif ip in {net.network_address, net.broadcast_address}:
        why = "this address means the whole network: take another last number"
    elif ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        why = "no machine can have this address"
    if why:
        table.fault(key, found=show(text), allowed=allowed, remedy=why)
        return None
    return address


def _gateway(table: Table, text: str, address: Address | None) -> str | None:
    if not text or address is None:
        return None
    allowed = f"another address within {address.network}"
    try:
        gateway = ipaddress.IPv4Address(text)
    except ValueError:
        gateway = None
    if gateway is None or gateway not in address.network or gateway == address.ip:
        table.fault(
            "gateway",
            found=show(text),
            allowed=allowed,
            remedy="the router's address, as given there",
        )
        return None
    return str(gateway)


def _hosts(
    table: Table, key: str, *, addresses: bool = False, last: bool = False
) -> tuple[str, ...]:
    """A list of addresses, or of names too."""
    found = _list(
        table, key, "addresses" if addresses else "names or addresses", addresses=addresses
    )
    if last:
        table.close()
    return found


def _list(table: Table, key: str, what: str, *, addresses: bool) -> tuple[str, ...]:
    allowed = f'up to {_LIST_MAX} {what} in brackets: ["...", "..."]'
    values = table.texts(key, allowed=allowed)
    good = []
    for text in values[:_LIST_MAX]:
        if _is_address(text) or (not addresses and _is_name(text)):
            good.append(text)
        else:
            table.fault(key, found=show(text), allowed=allowed, remedy="correct it, or delete it")
    if len(values) > _LIST_MAX:
        table.fault(key, found=f"{len(values)} of them", allowed=allowed, remedy="keep the nearest")
    return tuple(good)


def _is_name(text: str) -> bool:
    return bool(_HOST.fullmatch(text)) and not re.fullmatch(r"[\d.]+", text)


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return getattr(address, "scope_id", None) is None  # a zone is another machine's word


def _wifi(table: Table) -> Wifi:
    ssid = table.text(
        "ssid",
        _SSID,
        allowed="the network's name, 1 to 32 characters",
        remedy="as the router shows it",
    )
    if len(ssid.encode()) > 32:
        table.fault("ssid", found=show(ssid), allowed="at most 32 bytes", remedy="a shorter name")
    password = table.text(
        "password",
        _PASSWORD,
        allowed="8 to 63 letters, digits and signs (WPA2); a network without a password is not used",
        remedy="as the router shows it, in quotes; a \\ is doubled",
        shown=False,
    )
    country = table.text(
        "country",
        _COUNTRY,
        allowed="two capital letters",
        remedy='"ID" for Indonesia: it says which channels are allowed',
        default="ID",
    )
    wifi = Wifi(ssid=ssid, password=password, country=country, uplink=_uplink(table))
    table.close()
    return wifi


def _cameras(table: Table) -> CameraSide:
    socket = table.text(
        "interface",
        _SOCKET,
        allowed="the name of a wired socket, such as eth1",
        remedy="eth1 is the second one; with two alike write mac instead",
        default="eth1",
    )
    mac = table.text(
        "mac",
        _MAC,
        allowed="a hardware address, such as b8:27:eb:01:02:03",
        remedy="as printed on the adapter",
        default="",
    )
    given = table.text(
        "address",
        _ANY,
        allowed='an address with its length, such as "192.168.64.1/24"',
        remedy="the box's address in the cameras' network",
    )
    address = _address(table, "address", given) if given else None
    table.close()
    match = f"MACAddress={mac}" if mac else f"Name={socket}"
    return CameraSide(match=match, address=address or ipaddress.IPv4Interface("0.0.0.0/0"))


def _check(network: Network, notes: Notes) -> None:
    cameras = network.cameras
    if cameras is None or not cameras.address.network.prefixlen:
        return
    wifi = network.wifi.uplink if network.wifi is not None else Uplink()
    for path, uplink in (("wired", network.wired), ("wifi", wifi)):
        if uplink.address is not None and uplink.address.network.overlaps(cameras.address.network):
            notes.fault(
                "cameras.address",
                found=f"{cameras.address.network}, as in [{path}]",
                allowed="a network of its own for the cameras",
                remedy="give the cameras another network, such as 192.168.64.x",
            )
    if cameras.match == "Name=eth0":
        notes.fault(
            "cameras.interface",
            found='"eth0"',
            allowed="another socket than the first: that one leads to the city",
            remedy='write "eth1", or the adapter\'s mac',
        )


# ---- as files ----


def networkd(network: Network) -> dict[str, str]:
    """File name -> content, for systemd-networkd. The first that matches a socket rules it."""
    files = {
        # Any further socket is an uplink too: which is which must not cost the box its way out.
        "20-edge-agent-wired.network": _uplink_file("[Match]\nName=eth* en*", network.wired, 100)
    }
    if network.cameras is not None:
        files["10-edge-agent-cameras.network"] = (
            f"[Match]\n{network.cameras.match}\n\n"
            # The group is the image's firewall's: nothing is ever opened to cameras (image-build/root/etc/nftables.conf).
            "[Link]\nRequiredForOnline=no\nGroup=2\n\n"
            f"[Network]\nAddress={network.cameras.address.with_prefixlen}\n"
            "DHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nLLMNR=no\nMulticastDNS=no\n"
            "ConfigureWithoutCarrier=yes\n"
        )
    if network.wifi is not None:
        files["30-edge-agent-wifi.network"] = _uplink_file(
            f"[Match]\nName={WIFI_SOCKET}", network.wifi.uplink, 600
        )
    return files


def _uplink_file(match: str, uplink: Uplink, metric: int) -> str:
    lines = [match, "", "[Link]", "RequiredForOnline=no", "", "[Network]", "LLMNR=no"]
    lines.append("MulticastDNS=no")
    if uplink.address is None:
        lines += ["DHCP=yes", "", "[DHCPv4]", f"RouteMetric={metric}", "UseHostname=no"]
        # Two boxes from one image would else have one identity for the router.
        lines += ["ClientIdentifier=mac"]
    else:
        lines += [f"Address={uplink.address.with_prefixlen}", "DHCP=no"]
        lines += [f"DNS={address}" for address in uplink.dns]
        lines += ["", "[Route]", f"Gateway={uplink.gateway}", f"Metric={metric}"]
    return "\n".join(lines) + "\n"


def supplicant(network: Network) -> dict[str, str]:
    """File name -> content, for wpa_supplicant; name and key as hex digits, which need no quoting."""
    wifi = network.wifi
    if wifi is None:
        return {}
    key = wifi.password.lower()
    if len(key) != 64:
        made = hashlib.pbkdf2_hmac("sha1", wifi.password.encode(), wifi.ssid.encode(), 4096, 32)
        key = made.hex()  # IEEE 802.11i, annex H.4
    return {
        f"wpa_supplicant-{WIFI_SOCKET}.conf": (
            f"country={wifi.country}\n\n"
            f"network={{\n\tssid={wifi.ssid.encode().hex()}\n\tscan_ssid=1\n"
            f"\tkey_mgmt=WPA-PSK WPA-PSK-SHA256\n\tpsk={key}\n}}\n"
        )
    }


def timesyncd(network: Network) -> dict[str, str]:
    """File name -> content, for systemd-timesyncd: these before what DHCP and Debian name."""
    if not network.time_servers:
        return {}
    return {"edge-agent.conf": f"[Time]\nNTP={' '.join(network.time_servers)}\n"}
