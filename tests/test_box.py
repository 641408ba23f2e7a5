"""The box's own health from fake sysfs trees and this very machine; systemd's side of the socket played by the test."""

from __future__ import annotations

import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from edge_agent import box
from edge_agent.box import Box, Watchdog, cpu_celsius, notify, under_voltage
from edge_agent.clock import SystemClock
from edge_agent.core.messages import BoxRead, ClockRead, Died, Event
from edge_agent.simulate import SimulatedClock


@pytest.fixture(autouse=True)
def no_systemd(monkeypatch):
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


def tree(root: Path, **files: str) -> Path:
    """A sysfs of a few files; "__" in a name stands for "/"."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


class Mailbox:
    def __init__(self) -> None:
        self._come = threading.Condition()
        self.events: list[Event] = []

    def post(self, event: Event) -> None:
        with self._come:
            self.events.append(event)
            self._come.notify_all()

    def wait_for(self, kind: type[Event], timeout: float = 10.0) -> None:
        with self._come:
            assert self._come.wait_for(
                lambda: any(isinstance(e, kind) for e in self.events), timeout
            )


# ---- health ----


def test_a_pis_temperature_and_supply(tmp_path):
    tree(
        tmp_path,
        class__thermal__thermal_zone0__type="cpu-thermal\n",
        class__thermal__thermal_zone0__temp="61322\n",
        class__hwmon__hwmon0__name="cpu_thermal\n",
        class__hwmon__hwmon3__name="rpi_volt\n",
        class__hwmon__hwmon3__in0_lcrit_alarm="1\n",
    )
    assert cpu_celsius(tmp_path) == 61.322
    assert under_voltage(tmp_path) is True


def test_a_sound_supply_is_not_an_unknown_one(tmp_path):
    tree(
        tmp_path,
        class__hwmon__hwmon1__name="rpi_volt\n",
        class__hwmon__hwmon1__in0_lcrit_alarm="0\n",
    )
    assert under_voltage(tmp_path) is False


@pytest.mark.parametrize(
    "files",
    [
        {},
        {
            "class__thermal__thermal_zone0__type": "acpitz\n",
            "class__thermal__thermal_zone0__temp": "27800\n",
        },
        {"class__thermal__thermal_zone0__type": "cpu-thermal\n"},
        {
            "class__thermal__thermal_zone0__type": "cpu-thermal\n",
            "class__thermal__thermal_zone0__temp": "0\n",
        },
        {
            "class__thermal__thermal_zone0__type": "cpu-thermal\n",
            "class__thermal__thermal_zone0__temp": "-274000\n",
        },
        {
            "class__thermal__thermal_zone0__type": "cpu-thermal\n",
            "class__thermal__thermal_zone0__temp": "warm\n",
        },
        {
            "class__thermal__thermal_zone0__type": "cpu-thermal\n",
            "class__thermal__thermal_zone0__temp": "\xb0",
        },
    ],
)
def test_what_the_machine_does_not_say_is_unknown(tmp_path, files):
    assert cpu_celsius(tree(tmp_path, **files)) is None


@pytest.mark.parametrize("text", ["", "2\n", "yes\n"])
def test_a_supply_alarm_that_makes_no_sense_is_unknown(tmp_path, text):
    tree(
        tmp_path,
        class__hwmon__hwmon1__name="rpi_volt\n",
        class__hwmon__hwmon1__in0_lcrit_alarm=text,
    )
    assert under_voltage(tmp_path) is None
    (tmp_path / "class/hwmon/hwmon1/in0_lcrit_alarm").unlink()
    assert under_voltage(tmp_path) is None


def test_the_second_zone_counts_if_the_first_is_another_thing(tmp_path):
    tree(
        tmp_path,
        class__thermal__thermal_zone0__type="gpu-thermal\n",
        class__thermal__thermal_zone0__temp="90000\n",
        class__thermal__thermal_zone1__type="cpu-thermal\n",
        class__thermal__thermal_zone1__temp="50000\n",
    )
    assert cpu_celsius(tmp_path) == 50.0


def test_this_machine_is_read(tmp_path):
    mailbox = Mailbox()
    tree(
        tmp_path,
        class__thermal__thermal_zone0__type="cpu-thermal\n",
        class__thermal__thermal_zone0__temp="40000\n",
    )
    with Box(str(tmp_path), post=mailbox.post, clock=SystemClock(), sysfs=tmp_path):
        mailbox.wait_for(ClockRead)
        mailbox.wait_for(BoxRead)
    read = next(event for event in mailbox.events if isinstance(event, BoxRead))
    assert isinstance(mailbox.events[0], ClockRead)
    assert 0 <= read.cpu_percent <= 100
    assert read.cpu_celsius == 40.0
    assert read.under_voltage is None
    assert 0 < read.memory_used_percent <= 100
    stat = os.statvfs(tmp_path)
    assert read.disk_free_bytes is not None
    assert abs(read.disk_free_bytes - stat.f_bavail * stat.f_frsize) < 1_000_000_000
    assert read.agent_rss_bytes > 1_000_000
    assert read.uptime_s > 0
    assert min(read.net_sent_bytes, read.net_received_bytes) >= 0


def test_a_journal_folder_that_is_not_there_is_unknown_not_a_crash(tmp_path):
    mailbox = Mailbox()
    with Box(str(tmp_path / "gone"), post=mailbox.post, clock=SystemClock(), sysfs=tmp_path):
        mailbox.wait_for(BoxRead)
    read = next(event for event in mailbox.events if isinstance(event, BoxRead))
    assert read.disk_free_bytes is read.disk_used_percent is None


@pytest.mark.parametrize(
    ("trusted", "words"), [(True, "kernel: synchronised"), (False, "kernel: not synchronised")]
)
def test_the_clock_is_told_at_once_with_who_vouches_for_it(tmp_path, trusted, words):
    mailbox = Mailbox()
    with Box(
        str(tmp_path), post=mailbox.post, clock=SimulatedClock(is_trusted=trusted), sysfs=tmp_path
    ):
        mailbox.wait_for(ClockRead)
    assert mailbox.events[0] == ClockRead(wall_s=1_700_000_000.0, trusted=trusted, source=words)


def test_a_surprise_ends_the_agent_not_just_the_thread(tmp_path):
    class Broken(SimulatedClock):
        def wall(self) -> float:
            raise ZeroDivisionError

    mailbox = Mailbox()
    with Box(str(tmp_path), post=mailbox.post, clock=Broken(), sysfs=tmp_path):
        mailbox.wait_for(Died)
    assert mailbox.events == [Died(part="box", detail="ZeroDivisionError: ")]


def test_leaving_before_entering_or_twice_is_harmless(tmp_path):
    part = Box(str(tmp_path), post=Mailbox().post, clock=SimulatedClock())
    part.__exit__(None, None, None)
    with Watchdog({}, clock=SimulatedClock()) as watchdog:
        pass
    watchdog.__exit__(None, None, None)


# ---- systemd ----


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    """systemd's end of the socket."""
    name = (
        str(tmp_path / "notify") if request.param == "path" else f"@edge-agent-test-{os.getpid()}"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield receiver


def test_systemd_hears(systemd):
    assert notify("READY=1")
    assert systemd.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens(monkeypatch, tmp_path):
    assert not notify("READY=1")
    for address in ("vsock:2:1", "relative", str(tmp_path / "gone"), "/" + "x" * 300):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert not notify("READY=1")


def test_the_watchdog_is_fed_while_all_parts_move(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    clock = SimulatedClock()
    with Watchdog({"loop": clock.now, "journal": clock.now}, clock=clock):
        assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize("part", ["loop", "journal", "link", "cameras", "sensors", "another"])
def test_one_part_that_hangs_starves_the_watchdog(systemd, caplog, part):
    clock = SimulatedClock()
    parts = dict.fromkeys(("loop", "journal", "link", "cameras", "sensors"), clock.now)
    parts[part] = lambda: 1000.0
    watchdog = Watchdog(parts, clock=clock)
    watchdog._look()
    assert systemd.recv(100) == b"WATCHDOG=1"
    clock.at += box.LIMITS_S.get(part, 45.0) + 0.1
    with caplog.at_level(logging.INFO, logger="edge_agent"):
        watchdog._look()
        watchdog._look()
    assert systemd.recv(100) == f"STATUS=hung: {part}".encode()
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)
    assert len(caplog.records) == 1  # once, not at each look
    parts[part] = clock.now
    watchdog._parts.update(parts)
    watchdog._look()
    assert [systemd.recv(100) for _ in range(2)] == [b"WATCHDOG=1", b"STATUS="]


@pytest.mark.parametrize(
    ("micros", "pid", "asked"),
    [
        ("", None, False),
        ("0", None, False),
        ("x", None, False),
        ("60000000", None, True),
        ("60000000", "1", False),
    ],
)
def test_the_watchdog_runs_only_if_this_process_was_asked(systemd, monkeypatch, micros, pid, asked):
    monkeypatch.setenv("WATCHDOG_USEC", micros)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    with Watchdog({}, clock=SimulatedClock()) as watchdog:
        assert (watchdog._thread.ident is not None) is asked
