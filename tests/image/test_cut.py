"""The plug is pulled at random moments, on a card that loses what was not flushed; the box comes back clean and has lost nothing.

One box, one card, cut after cut, as on a pole. What was accepted is told from outside: the journal's own last number, as the agent said it
before the cut, and what the hub has. Between cuts a technician does to the card what technicians do.
`IMAGE_CUTS=100` for as many; `IMAGE_SEED=2` for other moments.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.image.conftest import CUTS, SEED, InService
from tests.image.street import (
    LIVE,
    LOOP_CLOSED,
    LOOP_OPEN,
    PRESSED,
    READY,
    UP,
    WIRED,
    Running,
    Street,
)
from tests.image.vm import Ended

SEQ = rb'"last_seq": (\d+)'
WRITING_S = 15.0
# Written where nothing is to stay.
MARKS = "/etc/mark /opt/edge-agent/mark /var/lib/mark /srv/mark"
# What is special about the start after which cut.
WITHOUT_NETWORK, WITH_A_BROKEN_FILE, WITH_A_KEY = range(3)


@dataclass(frozen=True)
class Cut:
    """One cut and the start after it."""

    unsure: int  # sectors that were not flushed
    lost: int  # of those, gone
    accepted: int  # the journal's last number, as said before the cut
    epoch: str
    state: str  # systemd's
    healed: str  # what the kernel and e2fsck had to say of the data partition
    last: int  # the journal's last number after the start
    missing: tuple[int, ...]  # neither at the hub, nor declared, nor in the journal
    pressed: bool  # at the cut and all through the start
    lit: int  # how often the live lamp came on during the start
    up_s: float


def declared(here: Street, epoch: str) -> set[int]:
    """The numbers that tombstones at the hub declare as gone. What the box merely no longer offers is not among them."""
    rows = here.city.ask(
        "SELECT data FROM record WHERE epoch = ? AND kind IN ('journal.thinned', 'privacy.purged')",
        epoch,
    )
    ranges = [pair for (data,) in rows for pair in json.loads(str(data))["ranges"]]
    return {seq for low, high in ranges for seq in range(low, high + 1)}


def work(box: Running, chance: Random, for_s: float, *, hold: bool = False) -> tuple[int, bool]:
    """A busy street for some seconds: the last number that the journal said, and whether the switch is left pressed (*hold*: it is)."""
    pressed = False
    accepted = 0
    box.machine.begin("PYTHONUNBUFFERED=1 edge-agent status --json --watch")
    # The street begins when somebody looks: what was accepted before the first word could not be told.
    until = time.monotonic() + 180
    while not accepted:
        if time.monotonic() > until:
            raise Ended("edge-agent status --watch says no number")
        said = box.machine.heard(SEQ, 1.0)
        accepted = max([accepted, *(int(found[1]) for found in said)])
    left = for_s
    while left > 0:
        # The last of these pauses ends with the cut: before, while or after what was just done is written.
        pause = chance.uniform(0.0, 2.0)
        left -= pause
        pressed = chance.random() < 0.5 or (hold and left <= 0)
        box.machine.drive(PRESSED if pressed else LIVE)
        box.machine.drive(LOOP_OPEN if chance.random() < 0.3 else LOOP_CLOSED)
        said = box.machine.heard(SEQ, pause)
        accepted = max([accepted, *(int(found[1]) for found in said)])
    return accepted, pressed


def login(box: Running, key: Path) -> str:
    """What root's shell said over SSH, with that key; or why not."""
    done = subprocess.run(
        [
            *("ssh", "-i", str(key), "-p", str(box.machine.ssh_port), "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "ConnectTimeout=60", "root@127.0.0.1", "echo logged in as $(id -un)"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    return done.stdout + done.stderr


def alone(box: Running) -> str:
    """A start without a network: the agent is up, the lamps obey the switch. What somebody saw who stood there."""
    box.machine.until(READY, 600)
    seen = [f"link: {box.machine.run('cat /sys/class/net/eth0/operstate')}"]
    for _ in range(2):
        box.machine.drive(PRESSED)
        box.await_lamps((True, False))
        seen.append("private")
        box.machine.drive(LIVE)
        # Whatever the camera's state: the light that says "watching" moves, and the other one rests meanwhile.
        until = time.monotonic() + 60
        while (False, True) not in (looks := box.lamps(40, 0.07)):
            assert time.monotonic() < until, f"lamps (private, live): {looks}"
        seen.append("not private")
    box.machine.drive(PRESSED)
    box.await_lamps((True, False))
    return "; ".join(seen)


class Lit:
    """How often the live lamp came on, by somebody who looks all the time."""

    def __init__(self, box: Running) -> None:
        self.times = 0
        self._on = False
        self._box = box

    def look(self) -> bool:
        # "Live" is told by a blink of a tenth of a second.
        for _ in range(10):
            was, self._on = self._on, self._box.lit()
            self.times += self._on and not was
            time.sleep(0.01)
        return True


@dataclass(frozen=True)
class Chain:
    """All cuts of one box, and what was seen on the starts that were special."""

    cuts: tuple[Cut, ...]
    told: Mapping[str, str]


@pytest.fixture(scope="module")
def chain(
    box_street: Street, in_service: InService, tmp_path_factory: pytest.TempPathFactory
) -> Chain:
    here, city = box_street, box_street.city
    chance = Random(SEED)
    keys = tmp_path_factory.mktemp("keys")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / "key"], check=True)
    cuts: list[Cut] = []
    told: dict[str, str] = {}
    with here.thawed(in_service.frozen, network=True) as box:
        toml = here.on_card(box.card, "box.toml")
        box.machine.run(f"touch {MARKS}")
        accepted, pressed = work(box, chance, chance.uniform(6, 15))
        unsure, lost = here.cut(box, chance, while_writing_s=WRITING_S)
        card = here.kept(box.card)
    for number in range(CUTS):
        if number == WITH_A_BROKEN_FILE:
            here.fill(card, {"box.toml": toml.replace("length_m = 50", 'length_m = "lima puluh"')})
        if number == WITH_A_KEY:
            here.fill(card, {"box.toml": toml, "authorized_keys": (keys / "key.pub").read_bytes()})
        starts = len(city.records("agent.started"))
        levels = {**WIRED, **(PRESSED if pressed else LIVE)}
        with here.started(card, levels=levels, network=number != WITHOUT_NETWORK) as box:
            lit = Lit(box)
            box.machine.shell()
            if number == 0:
                told["marks"] = box.machine.run(f"ls {MARKS} 2>/dev/null", good=False)
            if number == WITHOUT_NETWORK:
                told["alone"] = alone(box)
                pressed = False  # now it is, but it was others who looked
                box.machine.plug(network=True)
            city.until(
                lambda: lit.look() and len(city.records("agent.started")) > starts,  # noqa: B023
                "its start, at the hub",
                900,
            )
            if pressed:
                box.await_lamps((True, False))
            state = box.machine.run(UP, 300, good=False)
            state += box.machine.run("systemctl --failed --no-legend --plain")
            up_s = box.machine.uptime_s()
            holds = json.loads(box.machine.run("python3 /dev/edge-test/holds.py"))
            assert holds["whole"] == "ok"
            there = {seq for epoch, seq in city.committed() if epoch == holds["epoch"]}
            there |= set(holds["kept"])
            there |= {*holds["declared"], *declared(here, str(holds["epoch"]))}
            cuts.append(
                Cut(
                    unsure=unsure,
                    lost=lost,
                    accepted=accepted,
                    epoch=str(holds["epoch"]),
                    state=state.strip(),
                    healed=box.machine.run(
                        "journalctl -b -u edge-data --no-pager -o cat", good=False
                    ),
                    last=int(holds["last"]),
                    missing=tuple(sorted(set(range(1, accepted + 1)) - there)),
                    pressed=pressed,
                    lit=lit.times,
                    up_s=up_s,
                )
            )
            here.say(f"cut {number + 1}: {cuts[-1]}", box)
            if number == WITH_A_BROKEN_FILE:
                told["broken"] = box.machine.run("cat /boot/firmware/RESULT.txt")
                told["ran on"] = box.machine.run("cat /etc/edge-agent/box.toml")
                told["no ssh"] = box.machine.run("systemctl is-active ssh", good=False)
            if number == WITH_A_KEY:
                told["ssh"] = box.machine.run(
                    "systemctl is-active ssh; ss -H -ltn; nft list set inet edge opened", good=False
                )
                told["ssh"] += login(box, keys / "key")
            accepted, pressed = work(
                box, chance, chance.uniform(3, 12), hold=number + 1 == WITH_A_BROKEN_FILE
            )
            # A card is at rest nearly all the time; every third cut comes then, the others in the midst of a write.
            rests = number % 3 == 1
            unsure, lost = here.cut(box, chance, while_writing_s=0.0 if rests else WRITING_S)
    return Chain(tuple(cuts), told)


def test_after_each_cut_the_box_comes_up_clean(chain: Chain):
    assert len(chain.cuts) == CUTS
    assert {cut.state for cut in chain.cuts} == {"running"}


def test_what_is_written_to_the_root_does_not_outlive_a_restart(chain: Chain):
    assert chain.told["marks"] == ""


def test_nothing_that_was_accepted_is_lost(chain: Chain):
    for cut in chain.cuts:
        assert cut.missing == (), cut
        assert cut.last >= cut.accepted, cut
    assert len({cut.epoch for cut in chain.cuts}) == 1, "the journal had to be made anew"


def test_the_cuts_did_lose_something(chain: Chain):
    """Else they would prove nothing: sectors that were written and not flushed, and records that were accepted."""
    assert sum(cut.lost for cut in chain.cuts) > 0
    assert all(cut.accepted > 0 for cut in chain.cuts)


@pytest.mark.skipif(CUTS <= WITH_A_BROKEN_FILE, reason="fewer cuts than that")
def test_a_switch_that_was_pressed_at_the_cut_is_private_from_the_start(chain: Chain):
    assert any(cut.pressed for cut in chain.cuts)
    # Once: the lamps' own test (docs/wiring.md, section 4).
    assert all(cut.lit <= 1 for cut in chain.cuts if cut.pressed)


@pytest.mark.skipif(CUTS <= WITHOUT_NETWORK, reason="fewer cuts than that")
def test_a_box_that_starts_without_a_network_obeys_the_switch(chain: Chain):
    assert "link: up" not in chain.told["alone"]
    assert chain.told["alone"].count("not private") == 2


@pytest.mark.skipif(CUTS <= WITH_A_BROKEN_FILE, reason="fewer cuts than that")
def test_a_broken_box_toml_is_told_on_the_card_and_the_last_good_one_stays_in_use(chain: Chain):
    assert "length_m" in chain.told["broken"]
    assert "box.toml" in chain.told["broken"]
    assert "SEMUA DITERIMA" not in chain.told["broken"]
    assert "length_m = 50" in chain.told["ran on"]


@pytest.mark.skipif(CUTS <= WITH_A_KEY, reason="fewer cuts than that")
def test_ssh_is_there_with_authorized_keys_and_not_without(chain: Chain):
    assert chain.told["no ssh"].split() == ["inactive"]
    assert chain.told["ssh"].split()[0] == "active"
    assert ":22" in chain.told["ssh"]
    assert "logged in as root" in chain.told["ssh"], chain.told["ssh"]
