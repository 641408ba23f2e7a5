"""One box's life in the virtual machine: card flashed, filled in as a technician does, started, signed, commissioned; then in service.

Every start is the image's own, from the initrd on; only the kernel's first seconds, before any device is looked for, are lived
once (`Street.early`) and gone on from. What was reached is kept frozen with its card and its hub, so that each test begins there.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.image.hub import HOST, City
from tests.image.nbd import Card
from tests.image.vm import Kit, Machine, blank_card, copied, on_card, put_on_card, take_from_card

CAMERA: Final = "gang-mawar"
NC, NO, LOOP, VIDEO = 17, 27, 5, 20
LAMP_PRIVATE, LAMP_LIVE, RELAY = 23, 22, 16
LIVE: Final[Mapping[int, bool]] = {NC: False, NO: True}
PRESSED: Final[Mapping[int, bool]] = {NC: True, NO: False}
LOOP_CLOSED: Final[Mapping[int, bool]] = {LOOP: False}
LOOP_OPEN: Final[Mapping[int, bool]] = {LOOP: True}
WIRED: Final = {**LIVE, **LOOP_CLOSED, VIDEO: True}

HERE: Final = Path(__file__).resolve().parent
SITE: Final = "/opt/edge-agent/lib/python3*/site-packages"
PICTURES: Final = HERE.parents[1] / "edge_agent/demo_pictures"
# Waits until no job is left, asks nothing meanwhile; says how it came out.
UP: Final = "systemctl is-system-running --wait"
# The shell's own test first: the agent makes its socket before it says READY.
READY: Final = "[ -S /run/edge-agent/status.sock ] && systemctl is-active edge-agent"
# As a laptop's editor leaves it: CRLF.
BOX_TOML: Final = """\
[identity]
kelurahan = "kuningan"
rw = "rw-03"
rt = "rt-05"
box = "box-1"

[hub]
host = "HOST"
port = PORT
ca_file = "hub/hub-ca.pem"
certificate_file = "hub/box.pem"
key_file = "box.key"

[[camera]]
id = "gang-mawar"
name = "Gang Mawar"
kind = "v4l2"
device = "/dev/video0"
period_s = 2

[[run]]
camera = "gang-mawar"
cable = "rg59-pair"
length_m = 50
place = "tiang listrik depan rumah 12"
loop_pin = 5
video_pin = 20

[privacy]
switch = "latching"
nc_pin = 17
no_pin = 27
lamp_private_pin = 23
lamp_live_pin = 22
relay = "force_off"
relay_pin = 16
cut_power = false
"""
# The clock chip of this board tells the time; nothing vouches for it, here as on a box without internet.
NETWORK_TOML: Final = f"""\
[wired]
address = "dhcp"

[time]
servers = ["{HOST}"]
"""


@dataclass
class Running:
    """A started box: its machine and the card in it."""

    machine: Machine
    disk: Card

    @property
    def card(self) -> Path:
        return self.disk.path

    def status(self) -> dict[str, object]:
        """What the agent says of itself."""
        found: dict[str, object] = json.loads(
            self.machine.run("edge-agent status --json || [ $? = 1 ]")
        )
        return found

    def last_seq(self) -> int:
        """The last number that the journal has given."""
        uplink = self.status()["uplink"]
        assert isinstance(uplink, dict)
        return int(uplink["last_seq"])

    def gate(self) -> str:
        """The camera's gate."""
        cameras = self.status()["cameras"]
        assert isinstance(cameras, list)
        return str(next(each["gate"] for each in cameras if each["id"] == CAMERA))

    def plug_camera(self) -> None:
        """A USB capture dongle with a camera at it: the kernel's own virtual video driver, looped onto itself."""
        # No scaler (ccs 0): the one of Linux 6.1 reads beyond its buffer when the sizes differ.
        self.machine.run(
            "modprobe vivid n_devs=1 node_types=0x101 num_inputs=1 input_types=2 num_outputs=1 output_types=0"
            " vid_cap_nr=0 vid_out_nr=1 ccs_cap_mode=0 ccs_out_mode=0 && udevadm settle"
        )
        # Two of one sunny minute: to the third the light jumps, and the gate closes for that, as it should.
        self.machine.run(
            f"cd {SITE}/edge_agent/demo_pictures && mkdir -p /dev/edge-test/street /dev/edge-test/home"
            " && cp lta-3702/day-0[12].jpg /dev/edge-test/street && cp room/* /dev/edge-test/home"
        )
        self.lens("street")
        self.machine.run(
            "(setsid /opt/edge-agent/bin/python3 /dev/edge-test/lens.py >/dev/edge-test/lens.log 2>&1 &)"
        )
        self.machine.until("grep -q shows /dev/edge-test/lens.log")

    def lens(self, folder: str) -> None:
        """Put another scene before the camera: a folder of /dev/edge-test."""
        self.machine.run(f"echo /dev/edge-test/{folder} >/dev/edge-test/show")

    def lamps(self, samples: int = 12, every_s: float = 0.25) -> list[tuple[bool, bool]]:
        """The private and the live lamp, as somebody sees them who stands there for some seconds."""
        seen = []
        for _ in range(samples):
            seen.append((self.machine.level(LAMP_PRIVATE), self.machine.level(LAMP_LIVE)))
            time.sleep(every_s)
        return seen

    def lit(self) -> bool:
        """Whether the lamp that says "live" is on at this moment."""
        return self.machine.level(LAMP_LIVE)

    def await_lamps(self, wanted: tuple[bool, bool], within_s: float = 60) -> None:
        """Wait until both lamps are steady as *wanted* (private, live)."""
        until = time.monotonic() + within_s
        while set(seen := self.lamps()) != {wanted}:
            assert time.monotonic() < until, f"lamps (private, live): {seen}"

    def off_the_net(self, city: City) -> None:
        """The cable is out, and the agent knows: what is the box's own trouble it tries again within seconds (core/retry.py)."""
        self.machine.plug(network=False)
        # At once, where the kernel lets a line be ended from aside; else with the next keep-alive.
        self.machine.run(f"ss -K -tn dport = :{city.port}", good=False)
        self.machine.until(f"! ss -Htn state established | grep -q :{city.port}", 200)


@dataclass(frozen=True)
class Frozen:
    """A box that stands still, with the card and the hub of that moment."""

    memory: Path
    card: Path
    hub: Path


@dataclass
class Street:
    """The image, the city and a folder for what comes of them."""

    image: Path
    folder: Path
    city: City
    kit: Kit
    early: Path
    log: Path
    told: list[str] = field(default_factory=list)
    _count: int = 0

    @property
    def console(self) -> Path:
        """What every machine said on its serial line, with the test's own questions and packed answers in between."""
        return self.log.with_suffix(".console")

    def say(self, text: str, box: Running | None = None) -> None:
        """A line of the log that is kept as an artefact; with a *box*, how far its life has come."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        if box is not None:
            line += f"; {box.machine.uptime_s():.0f} s of uptime, this machine has used {box.machine.cpu_s():.0f} s of processor"
        self.told.append(line)
        with self.log.open("a") as log:
            log.write(line + "\n")

    def flashed(self, files: Mapping[str, str | bytes] | None = None) -> Path:
        """A new card, with what every technician puts onto it."""
        card = blank_card(self.image, self._place() / "card.img")
        toml = BOX_TOML.replace("HOST", HOST).replace("PORT", str(self.city.port))
        self.fill(
            card,
            {
                "box.toml": toml.replace("\n", "\r\n"),
                "network.toml": NETWORK_TOML,
                "hub/hub-ca.pem": self.city.authority.pem,
                **(files or {}),
            },
        )
        return card

    def fill(self, card: Path, files: Mapping[str, str | bytes]) -> None:
        """Write onto the card's FAT partition, as on a laptop."""
        raw = {
            name: text.encode() if isinstance(text, str) else text for name, text in files.items()
        }
        put_on_card(card, raw, self.folder)

    def on_card(self, card: Path, name: str) -> str:
        """What stands in a file of the FAT partition."""
        return take_from_card(card, name, self.folder).decode("utf-8-sig")

    def is_on_card(self, card: Path, name: str) -> bool:
        """Whether that file is on the FAT partition."""
        return on_card(card, name)

    @contextmanager
    def started(
        self, card: Path, *, levels: Mapping[int, bool] = WIRED, network: bool = True
    ) -> Iterator[Running]:
        """The power comes on. Given as soon as the initrd goes on; the caller awaits what it wants."""
        place = self._place()
        with ExitStack() as stack:
            disk = stack.enter_context(Card(card, place / "nbd"))
            machine = stack.enter_context(
                Machine(
                    self.kit,
                    place,
                    card=disk.address,
                    wait=True,
                    frozen=self.early,
                    log=self.console,
                )
            )
            machine.drive(levels)
            if not network:
                machine.plug(network=False)
            machine.go()
            yield Running(machine, disk)

    def freeze(self, box: Running) -> Frozen:
        """Keep *box* as it is; it stands still from now on."""
        place = self._place()
        box.machine.freeze(place / "memory")
        copied(box.card, place / "card.img")
        self.city.pause()
        shutil.copytree(self.city.folder, place / "hub")
        self.city.go_on()
        return Frozen(place / "memory", place / "card.img", place / "hub")

    @contextmanager
    def thawed(self, frozen: Frozen, *, network: bool = False) -> Iterator[Running]:
        """Go on from there with a card of its own, and with *network* with the hub of that moment and the cable plugged in."""
        place = self._place()
        with ExitStack() as stack:
            disk = stack.enter_context(Card(copied(frozen.card, place / "card.img"), place / "nbd"))
            if network:
                self.city.pause()
                shutil.rmtree(self.city.folder)
                shutil.copytree(frozen.hub, self.city.folder)
                self.city.go_on()
            machine = stack.enter_context(
                Machine(
                    self.kit,
                    place,
                    card=disk.address,
                    wait=True,
                    frozen=frozen.memory,
                    log=self.console,
                )
            )
            box = Running(machine, disk)
            if network:
                self.plug_in(box)
            yield box
        (place / "card.img").unlink()

    def plug_in(self, box: Running, within_s: float = 180) -> None:
        """The network cable goes in; the hub hears of the box."""
        box.machine.plug(network=True)
        self.city.until(self.city.connected, "the box is at the hub", within_s)

    def cut(
        self, box: Running, chance: random.Random, *, while_writing_s: float = 0.0
    ) -> tuple[int, int]:
        """The power goes; *while_writing_s*: as soon as something is being written, but so much later at the most."""
        unsure, lost = box.disk.cut(chance, while_writing_s=while_writing_s)
        box.machine.end()
        return unsure, lost

    def kept(self, card: Path) -> Path:
        """A copy of *card* that outlives the machine it was in."""
        return copied(card, self._place() / "card.img")

    def _place(self) -> Path:
        self._count += 1
        place = self.folder / f"{self._count:02}"
        place.mkdir()
        return place


@contextmanager
def street(image: Path, folder: Path, log: Path) -> Iterator[Street]:
    """Everything up to the moment in which a kernel has started and looks for nothing yet."""
    files = {name: (HERE / name).read_bytes() for name in ("lens.py", "holds.py")}
    kit = Kit.of(image, folder / "kit", files)
    with City(folder / "city") as city:
        place = folder / "early"
        place.mkdir()
        blank = folder / "blank.img"
        blank.touch()
        with blank.open("r+b") as file:
            file.truncate(4096 << 20)
        with (
            Card(blank, place / "nbd") as disk,
            Machine(
                kit, place, card=disk.address, wait=True, log=log.with_suffix(".console")
            ) as machine,
        ):
            machine.await_waiting()
            machine.freeze(place / "memory")
        blank.unlink()
        yield Street(image, folder, city, kit, place / "memory", log)
