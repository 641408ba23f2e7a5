"""Interfaces of the box: what sysfs says and does not say, and a cable test that never cuts the box off."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.core.messages import Died, Event, NicRead
from edge_agent.core.settings import Hub, Identity, Privacy, Run, Settings, SwitchKind
from edge_agent.inbox import Inbox
from edge_agent.network import (
    REPEAT_S,
    Network,
    NotTested,
    PairTested,
    cable_test,
    nic_read,
    uplinks,
)
from edge_agent.simulate import SimulatedClock

RUN = Run(camera="gate", cable="cat5e-outdoor", length_m=50.0, interface="eth1")


class Kernel:
    """A tree like /sys and /proc, as the kernel of a box shows it."""

    def __init__(self, root: Path) -> None:
        self.sys = root / "sys"
        self.proc = root / "proc"
        (self.proc / "net").mkdir(parents=True)
        self.routes("eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0")
        self.nic()

    def nic(self, name: str = "eth1", **files: str) -> None:
        """The files of one interface; "" = reading it fails, as it does with EINVAL while the interface is switched off."""
        usual = {"carrier": "1", "speed": "1000", "carrier_down_count": "3", "rx_crc_errors": "7"}
        folder = self.sys / "class/net" / name
        (folder / "statistics").mkdir(parents=True, exist_ok=True)
        for file, text in (usual | files).items():
            path = folder / ("statistics" if file.startswith("rx") else "") / file
            path.unlink(missing_ok=True)
            if text:
                path.write_text(text + "\n")

    def routes(self, *lines: str, six: str = "") -> None:
        head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"
        (self.proc / "net/route").write_text("\n".join((head, *lines)) + "\n")
        (self.proc / "net/ipv6_route").write_text(six)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


# ---- readings ----


def test_a_healthy_link(kernel):
    assert nic_read("eth1", kernel.sys) == NicRead(
        interface="eth1", carrier=True, speed_mbit=1000, carrier_downs=3, crc_errors=7
    )


@pytest.mark.parametrize(
    ("files", "carrier", "speed"),
    [
        ({"carrier": "0", "speed": "1000"}, False, None),
        ({"carrier": "0", "speed": "-1"}, False, None),
        ({"carrier": "1", "speed": "-1"}, True, None),
        ({"carrier": "1", "speed": "4294967295"}, True, None),
        ({"carrier": "1", "speed": "100"}, True, 100),
        ({"carrier": "1", "speed": ""}, True, None),
        ({"carrier": "", "speed": ""}, None, None),
        ({"carrier": "yes", "speed": "9" * 5000}, None, None),
    ],
)
def test_what_is_not_known_is_none(kernel, files, carrier, speed):
    kernel.nic(**files)
    found = nic_read("eth1", kernel.sys)
    assert (found.carrier, found.speed_mbit) == (carrier, speed)


def test_an_interface_that_went_says_nothing(kernel):
    assert nic_read("eth9", kernel.sys) == NicRead(
        interface="eth9", carrier=None, speed_mbit=None, carrier_downs=None, crc_errors=None
    )


@pytest.mark.parametrize("text", ["", "-1", "x", "9" * 30])
def test_counters_that_make_no_sense_are_none(kernel, text):
    kernel.nic(carrier_down_count=text, rx_crc_errors=text)
    found = nic_read("eth1", kernel.sys)
    assert (found.carrier_downs, found.crc_errors) == (None, None)


def test_this_machines_own_loopback_can_be_read():
    assert nic_read("lo").carrier is True


def test_changes_are_told_at_once_and_the_rest_now_and_then(kernel):
    told: list[Event] = []
    clock = SimulatedClock()
    network = Network((RUN,), post=told.append, clock=clock, sysfs=kernel.sys)
    network.look()
    clock.at += 2
    network.look()
    assert len(told) == 1
    kernel.nic(carrier="0")
    clock.at += 2
    network.look()
    assert isinstance(told[1], NicRead)
    assert told[1].carrier is False
    clock.at += REPEAT_S
    network.look()
    assert told[2] == told[1]


def test_the_thread_tells_the_first_reading(kernel):
    clock = SystemClock()
    inbox = Inbox(clock)
    with Network((RUN,), post=inbox.post, clock=clock, sysfs=kernel.sys):
        event = inbox.take(until=clock.now() + 20)
    assert isinstance(event, NicRead)


def test_without_interfaces_there_is_no_thread(kernel):
    bare = Run(camera="gate", cable="rg59", length_m=9.0)
    with Network((bare,), post=lambda _: None, clock=SystemClock(), sysfs=kernel.sys) as network:
        assert not network._part.running


def test_a_surprise_in_its_thread_is_told(kernel):
    class Broken(SystemClock):
        def now(self) -> float:
            raise RuntimeError("no clock")

    inbox = Inbox(SystemClock())
    with Network((RUN,), post=inbox.post, clock=Broken(), sysfs=kernel.sys):
        event = inbox.take(until=SystemClock().now() + 20)
    assert event == Died(part="network", detail="RuntimeError: no clock")


# ---- the cable test ----


def _settings(host: str = "hub.example.org") -> Settings:
    return Settings(
        identity=Identity(kelurahan="k", rw="1", rt="2", box="b"),
        hub=Hub(host=host, port=8883, tls=None),
        privacy=Privacy(switch=SwitchKind.NONE),
        runs=(RUN,),
    )


def _ethtool(folder: Path, says: str, code: int = 0) -> str:
    """A program in ethtool's place that notes how it was called."""
    program = folder / "ethtool"
    program.write_text(
        f"#!/bin/sh\necho \"$@\" >> {folder}/called\ncat <<'END'\n{says}\nEND\nexit {code}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_results_with_distances(kernel, tmp_path):
    says = """Cable test started for device eth1.
Cable test completed for device eth1.
Pair A code OK
Pair B code Open Circuit
Pair B, fault length: 25.00m
Pair C code Short within Pair
Pair C, fault length: 0.80m
Pair D code Impedance mismatch"""
    found = cable_test("eth1", _settings(), proc=kernel.proc, ethtool=_ethtool(tmp_path, says))
    assert found == (
        PairTested(pair="A", result="OK"),
        PairTested(pair="B", result="Open Circuit", fault_m=25.0),
        PairTested(pair="C", result="Short within Pair", fault_m=0.8),
        PairTested(pair="D", result="Impedance mismatch"),
    )
    assert (tmp_path / "called").read_text() == "--cable-test eth1\n"


def test_an_older_ethtools_words_are_known_too(kernel, tmp_path):
    says = "Pair: Pair A, result: Open Circuit\nPair: Pair A, fault length: 106.60m"
    found = cable_test("eth1", _settings(), proc=kernel.proc, ethtool=_ethtool(tmp_path, says))
    assert found == (PairTested(pair="A", result="Open Circuit", fault_m=106.6),)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("netlink error: PHY driver does not support cable testing", "cannot test cables"),
        ("netlink error: Operation not supported", "cannot test cables"),
        ("netlink error: Operation not permitted", "sudo"),
        ("netlink error: No such device", "no such interface"),
        ("\x1b[2Jsomething else", "ended with 1: [2Jsomething else"),
        ("", "said nothing"),
    ],
)
def test_a_chip_that_cannot_says_so(kernel, tmp_path, says, words):
    found = cable_test("eth1", _settings(), proc=kernel.proc, ethtool=_ethtool(tmp_path, says, 1))
    assert isinstance(found, NotTested)
    assert words in found.why
    assert found.why.isprintable()


def test_a_missing_program_says_so(kernel, tmp_path, monkeypatch):
    found = cable_test("eth1", _settings(), proc=kernel.proc, ethtool=str(tmp_path / "none"))
    assert isinstance(found, NotTested)
    assert "No such file" in found.why
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    found = cable_test("eth1", _settings(), proc=kernel.proc)
    assert isinstance(found, NotTested)
    assert "apt install ethtool" in found.why


def test_a_test_that_never_ends_is_ended(kernel, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_agent.network.TEST_S", 0.1)
    program = tmp_path / "ethtool"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    found = cable_test("eth1", _settings(), proc=kernel.proc, ethtool=str(program))
    assert isinstance(found, NotTested)
    assert "no result" in found.why


@pytest.mark.parametrize(
    ("interface", "host", "routes", "words"),
    [
        ("eth0", "hub.example.org", (), "no [[run]]"),
        ("--help", "hub.example.org", (), "no name of an interface"),
        ("eth1", "hub.example.org", ("eth1 00000000 010200C0 0003 0 0 0 00000000 0 0 0",), "hub"),
        # 10.0.5.0/24 on eth1, and the hub is 10.0.5.9
        ("eth1", "10.0.5.9", ("eth1 0005000A 00000000 0001 0 0 0 00FFFFFF 0 0 0",), "hub"),
        ("eth1", "10.0.5.9", ("eth1 nonsense",), "cannot be seen"),
    ],
)
def test_the_way_to_the_hub_is_never_tested(kernel, interface, host, routes, words):
    folder = kernel.proc.parent
    kernel.routes("eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0", *routes)
    program = _ethtool(folder, "Pair A code OK")
    found = cable_test(interface, _settings(host), proc=kernel.proc, ethtool=program)
    assert isinstance(found, NotTested)
    assert words in found.why
    assert not (folder / "called").exists()


def test_without_a_route_table_nothing_is_tested(kernel, tmp_path):
    (kernel.proc / "net/route").unlink()
    found = cable_test(
        "eth1", _settings(), proc=kernel.proc, ethtool=_ethtool(tmp_path, "Pair A code OK")
    )
    assert isinstance(found, NotTested)
    assert "cannot be seen" in found.why


def test_a_way_by_ipv6_is_a_way_too(kernel):
    zero, net = "0" * 32, "fd000000000000000000000000000000"
    kernel.routes(
        six=f"{zero} 00 {zero} 00 {zero} 0 0 0 0 eth2\n{net} 40 {zero} 00 {zero} 0 0 0 0 eth1\n"
        f"{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
    )
    assert uplinks("hub.example.org", kernel.proc) == {"eth2"}
    assert uplinks("fd00::5", kernel.proc) == {"eth1", "eth2"}


def test_a_hub_on_the_box_itself_takes_no_interface(kernel):
    assert uplinks("127.0.0.1", kernel.proc) == {"eth0"}


def test_this_machines_own_routes_can_be_read():
    assert "lo" not in uplinks("192.0.2.1")
