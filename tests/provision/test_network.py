"""network.toml: every fault at once, and files that the system's own programs take."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config import ConfigError
from edge_agent.core.settings import Identity
from edge_agent.provision import network
from tests.support.filled_card import NETWORK_TOML

SHIPPED = Path(__file__).parents[2] / "image-build/card/network.toml"


def read(text: str) -> network.Network:
    return network.read(text, "network.toml")


def faults(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def test_nothing_at_all_is_the_wired_socket_by_dhcp():
    assert read("") == network.Network()
    assert read("[wired]\naddress = 'dhcp'") == network.Network()
    (text,) = network.networkd(network.Network()).values()
    assert "DHCP=yes" in text
    assert network.supplicant(network.Network()) == {}
    assert network.timesyncd(network.Network()) == {}


def test_the_file_on_the_card_is_sound_as_it_is_and_with_every_remark_in_use():
    text = SHIPPED.read_text()
    assert read(text) == network.Network()
    whole = read(text.replace("\n#:", "\n").replace('address = "dhcp"  #', "#", 1))
    assert whole.wifi is not None
    assert whole.cameras is not None
    assert whole.wired.address is not None
    assert whole.time_servers


def test_all_that_it_may_say():
    found = read(NETWORK_TOML)
    wired = network.networkd(found)["20-edge-agent-wired.network"]
    for line in ("Address=192.168.1.50/24", "Gateway=192.168.1.1", "DNS=192.168.1.1", "DHCP=no"):
        assert f"\n{line}\n" in wired
    cameras = network.networkd(found)["10-edge-agent-cameras.network"]
    assert "\nName=eth1\n" in cameras
    assert "Gateway" not in cameras
    assert "[DHCP" not in cameras
    by_mac = read(NETWORK_TOML.replace('interface = "eth1"', 'mac = "B8:27:EB:01:02:03"'))
    assert "MACAddress=B8:27:EB:01:02:03" in "".join(network.networkd(by_mac).values())


def test_the_wifi_password_goes_on_only_as_the_key_made_of_it():
    """The example of IEEE 802.11i, annex H.4."""
    text = '[wifi]\nssid = "IEEE"\npassword = "password"'
    (made,) = network.supplicant(read(text)).values()
    assert "psk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e" in made
    assert "ssid=49454545" in made
    assert "country=ID" in made
    assert '"' not in made
    assert "password" not in made
    ready = "0A" * 32
    (made,) = network.supplicant(read(f'[wifi]\nssid = "é"\npassword = "{ready}"')).values()
    assert f"psk={ready.lower()}" in made


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[wired]\naddress = "192.168.1.5"', "its length is missing"),
        ('[wired]\naddress = "192.168.1.5/33"\ngateway = "192.168.1.1"', "wired.address"),
        ('[wired]\naddress = "192.168.1.0/24"\ngateway = "192.168.1.1"', "the whole network"),
        ('[wired]\naddress = "192.168.1.255/24"\ngateway = "192.168.1.1"', "the whole network"),
        ('[wired]\naddress = "127.0.0.1/8"\ngateway = "127.0.0.2"', "no machine can have"),
        ('[wired]\naddress = "192.168.1.5/24"', "wired.gateway"),
        ('[wired]\naddress = "192.168.1.5/24"\ngateway = "192.168.2.1"', "wired.gateway"),
        ('[wired]\naddress = "192.168.1.5/24"\ngateway = "192.168.1.5"', "wired.gateway"),
        ('[wired]\naddress = "192.168.1.5/24"\ngateway = "router"', "wired.gateway"),
        ('[wired]\ngateway = "192.168.1.1"', '"dhcp" brings them along'),
        ('[wired]\naddress="10.0.0.2/8"\ngateway="10.0.0.1"\ndns=["x y"]', "wired.dns"),
        ('[wired]\naddress="10.0.0.2/8"\ngateway="10.0.0.1"\ndns=["dns.x"]', "wired.dns"),
        ('[wired]\naddress="10.0.0.2/8"\ngateway="10.0.0.1"\ndns=["fe80::1%eth0"]', "wired.dns"),
        ("[wired]\naddress = 5", "wired.address"),
        ("wired = 5", "a table: [wired]"),
        ("wifi = 5", "a table: [wifi]"),
        ('[wifi]\nssid = "x"', "wifi.password"),
        ('[wifi]\npassword = "12345678"', "wifi.ssid"),
        ('[wifi]\nssid = "éééééééééééééééééé"\npassword = "12345678"', "32 bytes"),
        ('[wifi]\nssid = "x"\npassword = "12345678"\ncountry = "id"', "wifi.country"),
        ('[cameras]\naddress = "192.168.64.1"', "cameras.address"),
        ('[cameras]\ninterface = "eth1"', "cameras.address"),
        ('[cameras]\naddress = "10.0.0.1/8"\ninterface = "eth0"', "another socket"),
        ('[cameras]\naddress = "10.0.0.1/8"\ninterface = "eth1\\nx"', "cameras.interface"),
        ('[cameras]\naddress = "10.0.0.1/8"\nmac = "b8:27"', "cameras.mac"),
        ('[time]\nservers = "ntp.x"', "time.servers"),
        ('[time]\nservers = ["ntp x"]', "time.servers"),
        ('[time]\nservers = ["1.2.3"]', "time.servers"),
        ('[time]\nservers = ["a","b","c","d","e","f"]', "6 of them"),
        ("[tme]", "did you mean time?"),
        ("[wired", "not TOML"),
        ("a = " + "[" * 3000, "hundreds deep"),
    ],
)
def test_each_slip_is_named(text, told):
    assert told in faults(text)


def test_cameras_share_no_network_with_the_way_out():
    assert "network of its own" in faults(NETWORK_TOML.replace("192.168.64.1/24", "192.168.1.9/25"))


def test_all_faults_come_at_once_and_never_a_password():
    said = faults(
        '[wired]\naddrs = "dhcp"\n[wifi]\nssid = ""\npassword = "geheim\\t"\npwd = "geheim"\n'
    )
    for place in ("wired.addrs", "wifi.ssid", "wifi.password", "wifi.pwd"):
        assert place in said
    assert "geheim" not in said


@given(st.text(max_size=60), st.text(max_size=40))
def test_whatever_a_name_or_a_server_holds_no_line_is_smuggled_into_a_file(ssid, server):
    def quoted(text: str) -> str:
        return '"' + "".join(f"\\U{ord(mark):08x}" for mark in text) + '"'

    try:
        found = read(
            f'[wifi]\nssid = {quoted(ssid)}\npassword = "12345678"\n[time]\nservers = [{quoted(server)}]'
        )
    except ConfigError:
        return
    (made,) = network.supplicant(found).values()
    assert made.count("\n") == 8
    (made,) = network.timesyncd(found).values()
    assert made.count("\n") == 2


def test_the_host_name_is_a_name():
    def named(kelurahan: str, box: str) -> str:
        return network.host_name(Identity(kelurahan=kelurahan, rw="03", rt="05", box=box))

    assert named("kuningan", "box-1") == "kuningan-03-05-box-1"
    assert named("k" * 48, "b" * 48).endswith("b" * 48)
    assert len(named("k" * 48, "b" * 48)) <= 63
    assert named("-", "-") == "03-05"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_timesyncd_takes_its_drop_in(tmp_path):
    """systemd's own reader of configuration shows the file back."""
    folder = tmp_path / "etc/systemd/timesyncd.conf.d"
    folder.mkdir(parents=True)
    for name, text in network.timesyncd(read(NETWORK_TOML)).items():
        (folder / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", f"--root={tmp_path}", "cat-config", "systemd/timesyncd.conf"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "NTP=ntp.example.org" in done.stdout
