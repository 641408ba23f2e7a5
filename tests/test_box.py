"""The box's own health from fake sysfs trees and this very machine; systemd's side of the socket played by the test."""

from __future__ import annotations

import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from edge_agent import box
from edge_agent.box import (
    Box,
    Mount,
    Watchdog,
    block_device,
    card_wear,
    card_written_bytes,
    config_refused,
    cpu_celsius,
    inodes_free_percent,
    mount_of,
    notify,
    throttled,
    under_voltage,
)
from edge_agent.clock import SystemClock
from edge_agent.core.messages import BoxRead, ClockRead, Died, Event
from edge_agent.simulate import SimulatedClock
from tests.support.patience import patient


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
                lambda: any(isinstance(e, kind) for e in self.events), patient(timeout)
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


# ---- slowed down ----


@pytest.mark.parametrize(
    ("bits", "slow"),
    [
        ("0\n", False),
        ("2\n", True),
        ("4\n", True),
        ("8\n", True),
        ("50005\n", True),
        ("50000\n", False),  # since boot, but not now
        ("1\n", False),  # under-voltage has a sensor of its own
        ("throttled\n", None),
        ("", None),
    ],
)
def test_the_firmwares_word_on_throttling(tmp_path, bits, slow):
    folder = tmp_path / "devices/platform/soc/soc:firmware"
    folder.mkdir(parents=True)
    (folder / "get_throttled").write_text(bits)
    assert throttled(tmp_path) is slow
    assert throttled(tmp_path / "nowhere") is None


# ---- the card ----

MOUNTS = """\
/dev/mmcblk0p2 / ext4 rw,noatime 0 0
proc /proc proc rw 0 0
/dev/mmcblk0p3 /var/lib/edge-agent ext4 {options} 0 0
/dev/sda1 /var/lib/edge-agent/my\\040disk ext4 rw 0 0
tmpfs /run tmpfs rw,nosuid 0 0
"""


@pytest.mark.parametrize(
    ("folder", "mount"),
    [
        ("/var/lib/edge-agent/journal", Mount("/dev/mmcblk0p3", read_only=True)),
        ("/var/lib/edge-agent-2", Mount("/dev/mmcblk0p2", read_only=False)),
        ("/var/lib/edge-agent/my disk/journal", Mount("/dev/sda1", read_only=False)),
        ("/run/edge-agent", Mount("tmpfs", read_only=False)),
    ],
)
def test_a_folder_is_found_on_its_file_system(tmp_path, folder, mount):
    tree(tmp_path, mounts=MOUNTS.format(options="ro,relatime,errors=remount-ro"))
    assert mount_of(folder, tmp_path) == mount


def test_an_option_that_only_sounds_like_it_is_not_read_only(tmp_path):
    tree(tmp_path, mounts=MOUNTS.format(options="rw,errors=remount-ro"))
    found = mount_of("/var/lib/edge-agent", tmp_path)
    assert found is not None
    assert found.read_only is False


def test_what_is_mounted_over_another_covers_it(tmp_path):
    tree(tmp_path, mounts="/dev/a / ext4 rw 0 0\n/dev/b / ext4 ro 0 0\n")
    assert mount_of("/x", tmp_path) == Mount("/dev/b", read_only=True)


@pytest.mark.parametrize("text", [None, "", "nonsense\n", "a b c\n"])
def test_mounts_that_cannot_be_read_say_nothing(tmp_path, text):
    if text is not None:
        tree(tmp_path, mounts=text)
    assert mount_of("/x", tmp_path) is None


def test_a_partition_leads_to_its_disk(tmp_path):
    (tmp_path / "block/mmcblk0/mmcblk0p2").mkdir(parents=True)
    (tmp_path / "block/sda/sda1").mkdir(parents=True)
    assert block_device("/dev/mmcblk0p2", tmp_path) == "mmcblk0"
    assert block_device("/dev/sda", tmp_path) == "sda"
    assert block_device("/dev/root", tmp_path) is None
    assert block_device("tmpfs", tmp_path) is None
    assert block_device("/dev/sda1", tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("life_time", "pre_eol", "wear"),
    [
        ("0x02 0x01\n", "0x01\n", (20, False)),
        ("0x01 0x0b\n", "0x02\n", (110, True)),
        ("0x00 0x00\n", "0x00\n", (None, None)),
        ("0x09 0x00\n", "0x03\n", (90, True)),
        ("worn\n", "yes\n", (None, None)),
    ],
)
def test_an_emmc_tells_how_worn_it_is(tmp_path, life_time, pre_eol, wear):
    folder = tmp_path / "block/mmcblk0/device"
    folder.mkdir(parents=True)
    (folder / "life_time").write_text(life_time)
    (folder / "pre_eol_info").write_text(pre_eol)
    assert card_wear("mmcblk0", tmp_path) == wear


def test_an_sd_card_does_not_tell(tmp_path):
    (tmp_path / "block/mmcblk0").mkdir(parents=True)
    assert card_wear("mmcblk0", tmp_path) == (None, None)
    assert card_wear(None, tmp_path) == (None, None)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("  4421 1204 350046 2520 9183 8041 291432 10211 0 9120 12731\n", 291432 * 512),
        ("1 2 3\n", None),
        ("a b c d e f g\n", None),
        (None, None),
    ],
)
def test_sectors_written_since_boot(tmp_path, text, written):
    if text is not None:
        tree(tmp_path, block__mmcblk0__stat=text)
    assert card_written_bytes("mmcblk0", tmp_path) == written


def test_inodes_of_this_machine_and_of_none(tmp_path):
    share = inodes_free_percent(str(tmp_path))
    assert share is None or 0 < share <= 100
    assert inodes_free_percent(str(tmp_path / "nowhere")) is None


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
    tree(
        tmp_path,
        proc__mounts=f"/dev/mmcblk0p2 {tmp_path} ext4 ro 0 0\n",
        block__mmcblk0__stat="1 2 3 4 5 6 1000 8 9 10 11\n",
        block__mmcblk0__mmcblk0p2__partition="2\n",
        block__mmcblk0__device__life_time="0x0a 0x02\n",
        block__mmcblk0__device__pre_eol_info="0x02\n",
    )
    box = Box(
        str(tmp_path),
        post=mailbox.post,
        clock=SystemClock(),
        sysfs=tmp_path,
        proc=tmp_path / "proc",
    )
    with box:
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
    assert (read.read_only, read.throttled) == (True, None)
    assert (read.card_written_bytes, read.card_worn_percent, read.card_ending) == (
        512_000,
        100,
        True,
    )
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
        receiver.settimeout(patient(5.0))
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


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"trouble": []}', ""),
        (b'{"trouble": ["box.toml", "network.toml"]}', "box.toml, network.toml"),
        (b"", None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 50_000, None),
    ],
)
def test_what_was_made_of_the_card_is_read_along(tmp_path, raw, told):
    record = tmp_path / "provisioned.json"
    assert config_refused(record) is None  # a box without a card of ours
    assert config_refused(None) is None
    record.write_bytes(raw)
    assert config_refused(record) == told
