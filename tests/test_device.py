"""Which camera is it? What the box cannot see never counts as different."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.device import ARP_TABLE, Device, difference, is_mac, mac_of

POLE = Device(codec="h264", width=1920, height=1080, mac="00:12:31:aa:bb:cc")
HEADER = "IP address       HW type     Flags       HW address            Mask     Device\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "arp"
    path.write_text(
        HEADER + "192.168.1.64     0x1         0x2         00:12:31:AA:BB:CC     *        eth0\n"
        "192.168.1.65     0x1         0x0         00:00:00:00:00:00     *        eth0\n"
        "192.168.1.66     0x1         0x2         00:00:00:00:00:00     *        eth0\n"
        "192.168.1.67     0x20        0x2         00:12:31:aa:bb:cd     *        ib0\n"
        "192.168.1.68     0x1         0x2         00:12:31:aa:bb:01     *        eth0\n"
        "192.168.1.68     0x1         0x2         00:12:31:aa:bb:02     *        wlan0\n"
        "192.168.1.69     0x1         0x6         00:12:31:aa:bb:69     *        eth0\n"
        "192.168.1.69     0x1         0x2         00:12:31:aa:bb:69     *        wlan0\n"
        "192.168.1.70     0x1         what        00:12:31:aa:bb:70     *        eth0\n"
        "192.168.1.71     0x1         0x2         not-an-address        *        eth0\n"
        "192.168.1.72     0x1\n"
        "\n"
    )
    return path


def test_an_address_on_the_wire_is_known(table):
    assert mac_of("192.168.1.64", table) == "00:12:31:aa:bb:cc"
    assert mac_of("192.168.1.69", table) == "00:12:31:aa:bb:69"


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("192.168.1.65", "nobody answered"),
        ("192.168.1.66", "no address at all"),
        ("192.168.1.67", "not Ethernet"),
        ("192.168.1.68", "two machines claim it"),
        ("192.168.1.70", "flags that are no number"),
        ("192.168.1.71", "no hardware address"),
        ("192.168.1.72", "a row cut short"),
        ("192.168.1.6", "the beginning of other addresses"),
        ("10.9.8.7", "behind a router"),
        ("camera.local", "a name is never looked up"),
        ("fe80::1", "not in that table"),
        ("", "no host: a local device"),
    ],
)
def test_what_is_not_known_is_empty(table, host, why):
    assert mac_of(host, table) == "", why


def test_a_table_that_cannot_be_read_knows_nothing(tmp_path):
    assert mac_of("192.168.1.64", tmp_path / "absent") == ""
    assert mac_of("192.168.1.64", tmp_path) == ""
    (tmp_path / "junk").write_bytes(b"\xff\x00\xfe" * 1000)
    assert mac_of("192.168.1.64", tmp_path / "junk") == ""


def test_the_kernels_own_table_is_read_as_it_stands():
    """The real file keeps the fake honest: each complete row in it is found, or claimed twice."""
    if not ARP_TABLE.exists():
        pytest.skip("this kernel has no such table")
    first, *rows = ARP_TABLE.read_text().splitlines()
    assert first.split()[:2] == ["IP", "address"]
    complete = [
        row.split() for row in rows if row.split()[1] == "0x1" and int(row.split()[2], 16) & 2
    ]
    for row in complete:
        claims = {other[3].lower() for other in complete if other[0] == row[0]}
        assert mac_of(row[0]) == (claims.pop() if len(claims) == 1 else "")


def test_the_same_camera_differs_in_nothing():
    assert difference(POLE, POLE) == ""
    assert (
        difference(POLE, Device(codec="H264", width=1920, height=1080, mac=POLE.mac.upper())) == ""
    )


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Device(codec="h265"), "codec h265 instead of h264"),
        (Device(width=1280, height=720), "picture 1280x720 instead of 1920x1080"),
        (
            Device(mac="00:12:31:aa:bb:cd"),
            "hardware address 00:12:31:aa:bb:cd instead of 00:12:31:aa:bb:cc",
        ),
    ],
)
def test_what_differs_is_named_from_both_sides(seen, words):
    assert difference(POLE, seen) == words
    assert difference(seen, POLE)


def test_everything_that_differs_is_named_at_once():
    found = difference(POLE, Device(codec="jpeg", width=640, height=480, mac="02:00:00:00:00:01"))
    assert found.count("instead of") == 3


@given(
    fields=st.sets(st.sampled_from(["codec", "width", "height", "mac"])),
    swap=st.booleans(),
)
def test_what_is_not_known_on_one_side_never_counts_as_different(fields, swap):
    unknown = {"codec": "", "width": 0, "height": 0, "mac": ""}
    known = {"codec": "h264", "width": 1920, "height": 1080, "mac": POLE.mac}
    partly = Device(**(known | {name: unknown[name] for name in fields}))
    assert (difference(partly, POLE) if swap else difference(POLE, partly)) == ""


@pytest.mark.parametrize(
    "text", ["", "00:12:31:aa:bb", "00:12:31:AA:bb:cc", "00-12-31-aa-bb-cc", "x" * 17]
)
def test_only_what_is_written_like_one_is_a_hardware_address(text):
    assert is_mac(POLE.mac)
    assert not is_mac(text)
