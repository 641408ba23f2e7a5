"""The same card in QEMU's Raspberry Pi 3 B: its SD host, its 54 pins, its USB network, its own device tree from the card. By hand: minutes.

It has no clock chip, so it wakes in the past; no pin can be driven from outside, so the switch reads as it lies: private.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.image.nbd import Card
from tests.image.street import READY, UP, Running, Street
from tests.image.vm import Kit, Machine, take_from_card


class Pi3(Machine):
    """As QEMU knows it. Arming its watchdog resets QEMU at once, so that driver stays out."""

    board: tuple[str, ...] = ("-machine", "raspi3b")
    words = f"{Machine.words} module_blacklist=bcm2835_wdt"

    def devices(self, kit: Kit, card: Path | None) -> tuple[str, ...]:
        return (
            *("-dtb", str(kit.folder / "pi.dtb")),
            *("-blockdev", f"driver=nbd,node-name=card,server.type=unix,server.path={card}"),
            *("-device", "sd-card,drive=card"),
            *("-netdev", "user,id=net", "-device", "usb-net,netdev=net,id=nic"),
        )


@pytest.mark.skipif("IMAGE_LONG" not in os.environ, reason="make image-test: some minutes more")
def test_the_card_starts_a_pi_3(box_street: Street, tmp_path: Path):
    here = box_street
    card = here.flashed()
    tree = here.kit.folder / "pi.dtb"
    tree.write_bytes(take_from_card(card, "bcm2837-rpi-3-b.dtb", tmp_path))
    # The radio hangs on the one serial line that QEMU gives us, and would leave no terminal for the test's shell.
    without = ("fdtput", "-r", str(tree), "/soc/serial@7e201000/bluetooth")
    subprocess.run(without, check=True, timeout=60)
    with (
        Card(card, tmp_path / "nbd") as disk,
        Pi3(here.kit, tmp_path / "pi", card=disk.address, log=here.console) as machine,
    ):
        machine.shell(1800)
        machine.until(READY, 1800)
        machine.run(UP, 600, good=False)
        box = Running(machine, disk)
        here.say(f"raspi3b: up at {machine.uptime_s():.0f} s of uptime")
        assert machine.run("systemctl --failed --no-legend --plain") == ""
        assert machine.run("systemctl is-active edge-agent").strip() == "active"
        chips = machine.run("cat /sys/class/gpio/gpiochip*/label || ls /sys/bus/gpio/devices")
        assert re.search(r"bcm2835|gpiochip0", chips)
        assert "no GPIO chip" not in machine.run("journalctl -u edge-agent --no-pager")
        private = box.status()["private"]
        assert isinstance(private, dict)
        assert private["on"] is True
    assert "BELUM SELESAI: hub/box.pem" in here.on_card(card, "RESULT.txt")
