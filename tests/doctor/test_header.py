"""The pin header: library, chip, rights, SPI, who else holds a pin."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edge_agent.doctor.check import State
from tests.support.patient import SERVICE_UID, SoundBox

KEYS = (
    "gpio.library",
    "gpio.chip",
    "gpio.notify",
    "gpio.lg-wd",
    "gpio.rights",
    "spi.device",
    "gpio.strict",
    "gpio.busy",
    "gpio.conflict",
)


@pytest.fixture
def box(tmp_path, monkeypatch) -> SoundBox:
    installed(tmp_path, monkeypatch, "0.2.2.0")
    return SoundBox(tmp_path)


def installed(tmp_path, monkeypatch, version: str) -> None:
    """As if this lgpio were what pip had put there."""
    folder = tmp_path / f"site-{version}"
    info = folder / f"lgpio-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lgpio\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(folder))


def test_a_sound_header_is_well(box):
    assert {key: box.one(key).state for key in KEYS} == dict.fromkeys(KEYS, State.OK)


def test_a_box_without_wires_is_asked_nothing(box):
    start = box.text.index("[[run]]")
    box.write(box.text[:start] + '[privacy]\nswitch = "none"\n')
    box.factory, box.why_no_factory = None, "this machine has no GPIO chip"
    assert [result for key in KEYS for result in box.ask(key)] == []


def test_the_empty_stub_of_the_library_is_found(box, tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch, "0.0.0.2")
    result = box.one("gpio.library")
    assert result.state is State.FAULT
    assert "stub" in result.seen


def test_a_library_that_is_missing_is_one_fault_not_three(box, monkeypatch):
    box.factory, box.why_no_factory = None, "the pin library lgpio is not installed: pip install"
    monkeypatch.setattr(sys, "path", [])
    assert box.one("gpio.library").seen == "lgpio is not installed"
    for key in ("gpio.chip", "gpio.notify", "gpio.busy", "switch.contacts", "adc.self-test"):
        assert box.ask(key) == []


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("no right to open the GPIO chips: the service's user must be in the group gpio", "may not use"),
        ("no GPIO chip of a known header (...); seen: gpiochip0 (pinctrl-other)", "not found"),
        ("this machine has no GPIO chip", "not found"),
    ],
)  # fmt: skip
def test_a_chip_that_cannot_be_had_says_why(box, why, remedy):
    box.factory, box.why_no_factory = None, why
    result = box.one("gpio.chip")
    assert result.seen == why
    assert remedy in result.remedy.en


def test_the_chips_label_is_shown(box):
    box.factory.label = "pinctrl-bcm2711"
    assert "pinctrl-bcm2711" in box.one("gpio.chip").seen


def test_a_dead_edge_thread_of_the_library_is_a_fault():
    # In a process of its own: what sits in sys.modules must not reach other tests.
    program = """
import sys, threading, types, pathlib, tempfile
from tests.support.patient import SoundBox
library = types.ModuleType("lgpio")
library._notify_thread = threading.Thread(target=lambda: None)
library._notify_thread.start(); library._notify_thread.join()
sys.modules["lgpio"] = library
print(SoundBox(pathlib.Path(tempfile.mkdtemp())).one("gpio.notify").state.value)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "fault", done.stderr


@pytest.mark.parametrize(
    ("environment", "state", "seen"),
    [
        ("GPIOZERO_PIN_FACTORY=lgpio", "warning", "no LG_WD"),
        ("LG_WD=/run/elsewhere", "fault", "no such folder"),
        ("LG_WD=/run/theirs", "fault", "may not write"),
        ("LG_WD=/run/ours", "ok", "/run/ours"),
    ],
)
def test_the_librarys_folder_must_be_the_services(box, environment, state, seen):
    (box.root / "run/theirs").mkdir(parents=True)
    (box.root / "run/theirs").chmod(0o700)
    (box.root / "run/ours").mkdir()
    (box.root / "run/ours").chmod(0o770)
    box.unit["Environment"] = environment
    result = box.one("gpio.lg-wd")
    assert result.state.value == state
    assert seen in result.seen


def test_a_node_that_the_service_may_not_open_is_named(box):
    (box.root / "dev/gpiochip0").chmod(0o600)
    result = box.one("gpio.rights")
    assert result.state is State.FAULT
    assert "edge-agent may not use /dev/gpiochip0 (mode 0600" in result.seen
    (box.root / "dev/spidev0.1").chmod(0o600)
    assert "/dev/spidev0.1" in box.one("spi.device").seen


def test_where_there_is_no_service_we_ourselves_are_asked_about(box):
    box.put("etc/passwd", f"somebody:x:{SERVICE_UID}:1::/:/bin/sh\n")
    assert "this user may use" in box.one("gpio.rights").seen


def test_an_spi_port_that_is_off_is_found_and_only_the_one_in_use(box):
    box.take("dev/spidev0.1")
    result = box.one("spi.device")
    assert result.seen == "no /dev/spidev0.1"
    assert result.remedy.en.startswith("The SPI port is off. Write dtparam=spi=on")
    assert box.ask("adc.self-test") == []
    box.edit("current_channel = 0\n", "")
    assert box.one("spi.device").state is State.OK


def test_where_no_dtparam_is_read_none_is_asked_for_without_a_word(box):
    box.debian_kernel()
    box.take("dev/spidev0.0")
    remedy = box.one("spi.device").remedy
    assert "takes no dtparam" in remedy.en
    assert "tidak membaca dtparam" in remedy.id
    box.put("proc/device-tree/model", "linux,dummy-virt\0")
    remedy = box.one("spi.device").remedy
    assert "this board's maker" in remedy.en
    assert "pembuat papan ini" in remedy.id


@pytest.mark.parametrize(("relay", "state"), [("force_off", "fault"), ("none", "warning")])
def test_pins_that_outlive_their_program_are_told(box, relay, state):
    box.put("sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs", "Y\n")
    box.edit('relay = "force_off"', f'relay = "{relay}"')
    assert box.one("gpio.strict").state.value == state


def test_pins_that_stay_driven_by_debians_own_kernel_need_another_remedy(box):
    box.debian_kernel()
    box.put("sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs", "Y\n")
    remedy = box.one("gpio.strict").remedy
    for said in (remedy.en, remedy.id):
        assert "pinctrl_bcm2835.persist_gpio_outputs=n" in said
        assert "cmdline.txt" in said
        assert "dtparam" not in said


def test_debians_older_kernel_has_no_option_and_lets_pins_go(box):
    box.debian_kernel()
    assert box.one("gpio.strict").state is State.OK


def test_the_makers_kernel_without_the_option_is_not_taken_for_well(box):
    box.take("sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs")
    result = box.one("gpio.strict")
    assert result.state is State.WARNING
    assert "does not say" in result.seen


def test_of_another_board_nothing_is_said_about_released_pins(box):
    box.debian_kernel()
    box.put("proc/device-tree/model", "linux,dummy-virt\0")
    assert box.ask("gpio.strict") == []


def test_a_pin_that_another_program_holds_is_named_with_its_owner(box):
    box.owners[17] = "onewire@11"
    result = box.one("gpio.busy")
    assert result.about == "GPIO17"
    assert "NC contact" in result.seen
    assert "onewire@11" in result.seen


def test_the_agents_own_pins_are_not_anothers(box):
    box.owners |= {17: "lg", 27: "lg"}
    assert [result.about for result in box.ask("gpio.busy")] == ["GPIO17", "GPIO27"]
    box.run_agent()
    assert box.one("gpio.busy").state is State.OK


@pytest.mark.parametrize(
    ("line", "about"),
    [
        ("dtoverlay=w1-gpio,gpiopin=27", "GPIO27"),
        ("gpio=17=op,dl", "GPIO17"),
        ("dtoverlay=mcp2515-can0,interrupt=5", "GPIO8"),
    ],
)
def test_a_line_that_gives_a_pin_of_ours_away_is_named(box, line, about):
    box.put("boot/firmware/config.txt", f"dtparam=spi=on\n{line}\n")
    found = box.ask("gpio.conflict")
    assert about in {result.about for result in found}
    assert all(line in result.seen for result in found)
    assert {result.state for result in found} == {State.FAULT}


def test_a_line_that_this_systems_device_tree_cannot_take_gives_no_pin_away(box):
    box.debian_kernel()
    overlay, plain = "dtoverlay=w1-gpio,gpiopin=27", "gpio=17=op,dl"
    box.put("boot/firmware/config.txt", f"dtparam=i2s=on\n{overlay}\n")
    assert box.one("gpio.conflict").state is State.OK
    box.put(
        "boot/firmware/config.txt", f"{overlay}\n{plain}\n"
    )  # this one the firmware itself obeys
    assert box.one("gpio.conflict").about == "GPIO17"


def test_a_config_txt_that_cannot_be_read_is_not_taken_for_well(box):
    box.take("boot/firmware/config.txt")
    result = box.one("gpio.conflict")
    assert result.state is State.WARNING
    assert "may not be read" in result.seen
    box.put("proc/device-tree/hat/product", "Sense HAT\0")
    assert len(box.ask("gpio.conflict")) == 2


def test_a_board_that_has_no_config_txt_is_not_asked_about_it(box):
    box.take("boot/firmware/config.txt")
    box.put("proc/device-tree/model", "linux,dummy-virt\0")
    assert box.ask("gpio.conflict") == []


def test_a_board_on_top_is_told(box):
    box.put("proc/device-tree/hat/product", "Sense HAT\0")
    box.put("proc/device-tree/hat/vendor", "Raspberry Pi\0")
    result = box.one("gpio.conflict")
    assert result.state is State.WARNING
    assert "Raspberry Pi Sense HAT" in result.seen
