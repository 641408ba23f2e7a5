"""The board: what a Pi's files say, and what each says wrong."""

from __future__ import annotations

import pytest

from edge_agent.doctor.board import is_pi
from edge_agent.doctor.check import State
from tests.support.patient import SoundBox

NO_PINS = '[identity]\nkelurahan="a"\nrw="1"\nrt="1"\nbox="b"\n[hub]\nhost="127.0.0.1"\n[privacy]\nswitch="none"\n'
KEYS = (
    "board.model",
    "board.kernel",
    "board.memory",
    "board.temperature",
    "board.voltage",
    "board.throttled",
    "board.watchdog",
    "board.rtc",
)


@pytest.fixture
def box(tmp_path) -> SoundBox:
    return SoundBox(tmp_path)


def test_a_sound_pi_is_well(box):
    assert [box.one(key).state for key in KEYS] == [State.OK] * len(KEYS)
    assert "Pi 4 Model B" in box.one("board.model").seen
    assert "6.12.25" in box.one("board.kernel").seen


@pytest.mark.parametrize(
    ("name", "text", "key", "told"),
    [
        ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0", "board.model", ("warning", "not supported yet")),
        ("proc/device-tree/model", "Orange Pi Zero\0", "board.model", ("warning", "Orange Pi")),
        ("proc/sys/kernel/osrelease", "5.10.0-9-arm64", "board.kernel", ("warning", "older than 6.1")),
        ("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 50000 kB\n", "board.memory", ("fault", "95 % used")),
        ("proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 300000 kB\n", "board.memory", ("warning", "limit 90 %")),
        ("sys/class/thermal/thermal_zone0/temp", "86000", "board.temperature", ("fault", "86 C")),
        ("sys/class/thermal/thermal_zone0/temp", "75000", "board.temperature", ("warning", "75 C")),
        ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1", "board.voltage", ("fault", "below 4.63 V")),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005", "board.throttled", ("warning", "slowed")),
        ("boot/firmware/config.txt", "dtoverlay=i2c-rtc,ds3231 # the blue one", "board.rtc", ("fault", "there is none")),
        ("sys/class/rtc/rtc0/since_epoch", "946684800\n", "board.rtc", ("warning", "before 2025")),
        ("sys/class/rtc/rtc0/since_epoch", "1795000000\n", "board.rtc", ("ok", "rtc0")),
    ],
)  # fmt: skip
def test_what_the_board_says_wrong_is_named(box, name, text, key, told):
    box.put(name, text)
    result = box.one(key)
    assert result.state.value == told[0]
    assert told[1] in result.seen


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sys/class/thermal/thermal_zone0/temp", "board.temperature"),
        ("sys/class/hwmon/hwmon1/name", "board.voltage"),
        ("dev/watchdog0", "board.watchdog"),
    ],
)
def test_a_sensor_that_is_gone_is_not_taken_for_well(box, name, key):
    box.take(name)
    assert box.one(key).state is State.WARNING


def test_a_remedy_names_what_this_system_can_do(box):
    box.take("dev/watchdog0")
    assert "dtparam=watchdog=on" in box.one("board.watchdog").remedy.en
    box.debian_kernel()
    remedy = box.one("board.watchdog").remedy
    assert "bcm2835_wdt" in remedy.en
    assert "bcm2835_wdt" in remedy.id
    assert "dtparam" not in remedy.en + remedy.id


def test_a_clock_module_that_this_kernel_cannot_take_is_no_broken_one(box):
    box.debian_kernel()
    box.put("boot/firmware/config.txt", "dtoverlay=i2c-rtc,ds3231\n")
    result = box.one("board.rtc")
    assert result.state is State.WARNING
    assert "takes no overlay" in result.seen


def test_a_watchdog_that_nobody_feeds_is_told(box):
    said = {"systemctl": "RuntimeWatchdogUSec=0\n"}
    result = box.one("board.watchdog", program=lambda command: said.get(command[0]))
    assert result.state is State.WARNING
    assert "does not feed" in result.seen


def test_a_developers_machine_without_pins_gets_no_false_alarm(box):
    for name in ("proc/device-tree/model", "dev/watchdog0", "sys/class/thermal/thermal_zone0/temp"):
        box.take(name)
    box.take("sys/class/hwmon/hwmon1/name")
    box.write(NO_PINS)
    found = [result for key in KEYS for result in box.ask(key)]
    assert {result.state for result in found} == {State.OK}
    assert not is_pi(box.root)


def test_the_limit_of_heat_is_the_configurations(box):
    box.write(box.text + "\n[health]\ncpu_celsius_max = 45\n")
    assert box.one("board.temperature").state is State.FAULT
