"""Boxes for the doctor to examine: a broker with TLS, cameras and an authority that are real, and any number of boxes beside them.

A box is a folder that stands in for / (proc, sys, dev, etc, boot of a Raspberry Pi 4), a box.toml with its files, a journal that the
product's own spool wrote, views and baselines that were commissioned, pins with everything wired to them, and a clock that can be moved.
What is done to a box is done to its files, wires or neighbours; the doctor is not told. Not its job: the faults (tests/bench/doctor.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from edge_agent import __version__, baselines
from edge_agent.clock import SystemClock
from edge_agent.commission import commission_from_files
from edge_agent.config import ConfigError, load
from edge_agent.core.agent import About
from edge_agent.core.agent import Agent as Core
from edge_agent.core.cable import Baseline
from edge_agent.core.messages import ClockRead, Json, Memory
from edge_agent.core.settings import MeasuredLoop, Settings
from edge_agent.demo_pictures import STREETS
from edge_agent.doctor.check import Agent, Patient
from edge_agent.doctor.hardware import pins
from edge_agent.sensors import owners_of
from edge_agent.simulate import Street
from edge_agent.tls import Pair
from edge_agent.vision import References
from tests.support import clips
from tests.support.broker import MOSQUITTO, await_port, free_port
from tests.support.desk import Desk, HandClock
from tests.support.http_camera import http_camera
from tests.support.local_ca import Authority
from tests.support.rtsp_camera import RtspServer, rtsp_server

NAME: Final = "kuningan/03/05/box-1"
LOGIN: Final = ("agent", "ward 7 & 8")
LENGTH_M: Final = 50.0
_PAGE: Final = Path(__file__).parents[2] / "docs/hub.md"
_UNIT: Final = """[Service]
User=edge-agent
Environment=LG_WD=/run/edge-agent
RuntimeDirectory=edge-agent
"""
_FILES: Final[Mapping[str, str]] = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
    "proc/device-tree/__overrides__/spi": "",
    "proc/device-tree/__symbols__/gpio": "/soc/gpio@7e200000\0",
    "proc/sys/kernel/osrelease": "6.12.25+rpt-rpi-v8\n",
    "proc/meminfo": "MemTotal:        3884000 kB\nMemFree:         2000000 kB\nMemAvailable:    3000000 kB\n",
    "proc/mounts": "/dev/mmcblk0p4 / ext4 rw,noatime 0 0\n",
    "sys/block/mmcblk0/mmcblk0p4/partition": "4\n",
    "sys/block/mmcblk0/stat": "1 0 8 0 900 0 200000 0 0 0 0\n",
    "sys/block/mmcblk0/device/life_time": "0x01 0x02\n",
    "sys/block/mmcblk0/device/pre_eol_info": "0x01\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51500\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "sys/class/net/eth0/carrier": "1\n",
    "sys/class/rtc/rtc0/since_epoch": "1795000000\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    "sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs": "N\n",
    "boot/firmware/config.txt": "dtparam=spi=on\ndtparam=watchdog=on\ndtparam=strict_gpiod\ndtoverlay=i2c-rtc,ds3231\n",
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "etc/resolv.conf": "nameserver 127.0.0.1\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nedge-agent:x:990:990::/nonexistent:/usr/sbin/nologin\n",
    "dev/gpiochip0": "",
    "dev/spidev0.0": "",
    "dev/spidev0.1": "",
    "dev/watchdog0": "",
}


class WardClock:
    """The machine's own, moved on or back, and vouched for or not."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self.boot = self._real.boot
        self.ahead_s = 0.0
        self.is_trusted = True

    def now(self) -> float:
        return self._real.now()

    def wall(self) -> float:
        return self._real.wall() + self.ahead_s

    def trusted(self) -> bool:
        return self.is_trusted


@dataclass(kw_only=True)
class Ward:
    """What all boxes share."""

    folder: Path
    authority: Authority
    hub_port: int
    rtsp_url: str  # without its mount
    http_url: str
    orders: bytes
    _admitted: int = 0

    def admit(self) -> Box:
        """A box that is well."""
        self._admitted += 1
        folder = self.folder / f"box-{self._admitted}"
        shutil.copytree(self.folder / "model", folder)
        return Box(ward=self, folder=folder)


@dataclass(kw_only=True)
class Box:
    """One box. Change any of it, then `patient`. `beside`: the agent runs; else it is stopped, and no unit is installed."""

    ward: Ward
    folder: Path
    clock: WardClock = field(default_factory=WardClock)
    beside: bool = False
    silent: str = ""  # why the running agent gives no word
    street: Street | None = None
    spoil: Callable[[Street], None] = lambda street: None
    spoil_status: Callable[[dict[str, Json]], None] = lambda status: None
    lines: dict[str, str] = field(default_factory=dict)  # of box.toml, changed: old -> new
    unit: str = _UNIT
    owners: dict[int, str] = field(default_factory=dict)
    no_factory: str = ""

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def config(self) -> Path:
        return self.folder / "box.toml"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def write(self, name: str, text: str) -> None:
        """A file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def say(self, old: str, new: str) -> None:
        """Change box.toml."""
        text = self.config.read_text()
        assert old in text, old
        self.config.write_text(text.replace(old, new))

    def show(self, pair: Pair) -> None:
        """The box's certificate and key."""
        (self.folder / "box.pem").write_bytes(pair.certificate)
        (self.folder / "box.key").write_bytes(pair.key)

    def patient(self) -> Patient:
        """As `admit` of the product's command makes one, of this folder in place of the machine."""
        try:
            settings: Settings | None = load(str(self.config))
        except ConfigError:
            settings = None
        patient = Patient(
            settings=settings,
            config_file=self.config,
            clock=self.clock,
            root=self.root,
            agent=self._agent(settings),
            program=self._program if self.beside else lambda _: None,
        )
        if settings is None:
            return patient
        street = Street(settings.privacy, settings.runs, settings.electrics, bit_by_bit=False)
        self.spoil(street)
        held = [pin for _, pin in pins(settings)]
        wiring = street.factory
        wiring.owners.update({pin: "lg" for pin in held if self.beside} | self.owners)
        factory = None if self.no_factory else street.factory
        return replace(
            patient,
            factory=factory,
            why_no_factory=self.no_factory,
            owners=owners_of(factory, held),
        )

    def _agent(self, settings: Settings | None) -> Agent:
        if not self.beside or settings is None:
            return Agent()
        if self.silent:
            return Agent(running=True, why_silent=self.silent)
        status = well_status(settings, self.clock)
        self.spoil_status(status)
        return Agent(running=True, status=status)

    def _program(self, command: tuple[str, ...]) -> str | None:
        """systemd, as it answers of this unit."""
        match command:
            case ("systemctl", "show", "edge-agent.service", *_):
                return (
                    "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nNRestarts=0\n"
                    "UnitFileState=enabled\nWatchdogUSec=2min\nSupplementaryGroups=gpio spi video\n"
                    + "".join(f"{line}\n" for line in self.unit.splitlines() if "=" in line)
                )
            case ("systemctl", "show", *_):
                return "RuntimeWatchdogUSec=15s\n"
            case ("systemctl", "cat", *_):
                return self.unit
            case ("systemctl", "list-units", *_):
                return ""
            case _:
                return None


def well_status(settings: Settings, clock: WardClock) -> dict[str, Json]:
    """What the product's core says of itself at its start, with the values of a box on which all is well."""
    core = Core(
        settings,
        About(version=__version__, boot=clock.boot),
        random=lambda: 0.5,
        at=clock.now(),
        clock=ClockRead(wall_s=clock.wall(), trusted=True, source="kernel: synchronised"),
        remembered={},
    )
    status = core.status(at=clock.now())
    status["findings"] = []
    _set(status["private"], on=False, fault=None, switch="live", last_press_test_age_s=86_400.0)
    _set(status["journal"], depth=3, oldest_age_s=2.0, used_bytes=4_000_000, durable=True)
    _set(status["uplink"], state="up", detail="", since_s=3_600.0, diagnosis=None)
    assert isinstance(status["cameras"], list)
    for camera in status["cameras"]:
        _set(
            camera, gate="open", link=True, session=True, fresh_video=True, right_scene=True, cable="normal",
            signal_detail="h264 640x360", gop_s=2.0,
        )  # fmt: skip
    return status


def _set(table: object, **values: Json) -> None:
    assert isinstance(table, dict)
    assert set(values) <= set(table), f"the status has no {set(values) - set(table)}"
    table.update(values)


# ---- building ----


@contextlib.contextmanager
def ward(folder: Path) -> Iterator[Ward]:
    """Everything that boxes share, started, and ended by its own process ids."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = clips.make(folder / "street.h264", gop=25)
    heavy = clips.make(folder / "heavy.h265", width=320, height=180, frames=100, gop=25)
    (folder / "http").mkdir()
    jpeg = STREETS[0].commission[0].read_bytes()
    with contextlib.ExitStack() as stack:
        rtsp = stack.enter_context(
            rtsp_server(
                {"/main": clip, "/heavy": heavy}, user=LOGIN[0], password=LOGIN[1], shared=True
            )
        )
        for mount in ("/main", "/heavy"):
            stack.enter_context(viewer(rtsp.url(mount)))
        http = stack.enter_context(
            http_camera(folder / "http", jpeg, user=LOGIN[0], password=LOGIN[1])
        )
        yield stack.enter_context(clinic(folder, rtsp=rtsp, http_url=http.url))


@contextlib.contextmanager
def clinic(
    folder: Path, *, rtsp: RtspServer | None = None, http_url: str = "http://127.0.0.1:9/picture"
) -> Iterator[Ward]:
    """The same with no camera that answers: for all that is not about cameras, in a second."""
    authority = Authority()
    private = ed25519.Ed25519PrivateKey.generate()
    orders = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with broker(folder / "broker", authority) as port:
        made = Ward(
            folder=folder,
            authority=authority,
            hub_port=port,
            rtsp_url="rtsp://127.0.0.1:9" if rtsp is None else rtsp.url(""),
            http_url=http_url,
            orders=orders,
        )
        _model(folder / "model", made)
        yield made


@contextlib.contextmanager
def broker(
    folder: Path,
    authority: Authority,
    *,
    server: Pair | None = None,
    acl: Callable[[str], str] = lambda page: page,
) -> Iterator[int]:
    """mosquitto as docs/hub.md has it, on loopback; *acl* may change the page's list."""
    assert MOSQUITTO is not None
    folder.mkdir(parents=True)
    server = server or authority.pair("hub.example", hosts=("localhost",))
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "server.pem").write_bytes(server.certificate)
    (folder / "server.key").write_bytes(server.key)
    port = free_port()
    config = _shown("mosquitto.conf")
    for was, now in (
        ("/etc/mosquitto/", f"{folder}/"),
        ("/var/lib/mosquitto/", f"{folder}/"),
        ("listener 8883", f"listener {port} 127.0.0.1"),
    ):
        config = config.replace(was, now)
    (folder / "acl").write_text(acl(_shown("acl")))
    (folder / "mosquitto.conf").write_text(f"user root\n{config}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stderr=log)
    try:
        await_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(50)


def _shown(name: str) -> str:
    """A block of the page."""
    return _PAGE.read_text().split(f"<!-- {name} -->\n```\n", 1)[1].split("```", 1)[0]


@contextlib.contextmanager
def viewer(url: str) -> Iterator[None]:
    """A recorder that watches all the time, as in the field: alone, these servers answer only at the next key picture."""
    login = f"{LOGIN[0]}:{LOGIN[1].replace(' ', '%20').replace('&', '%26')}@"
    command = [
        "ffmpeg", "-nostdin", "-loglevel", "quiet", "-progress", "pipe:1", "-rtsp_transport", "tcp",
        "-i", url.replace("rtsp://", f"rtsp://{login}"), "-c", "copy", "-f", "null", "-",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            assert process.stdout.readline(), "the recorder sees the camera"
            yield
        finally:
            process.kill()


def _model(folder: Path, ward: Ward) -> None:
    """The folder that each box is a copy of; nothing in it names its own place."""
    for name, text in _FILES.items():
        path = folder / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o660 if name.startswith("dev/") else 0o644)
    # Our own group is the service's: no file has to be given to anybody.
    (folder / "root/etc/group").write_text(f"edge-agent:x:990:\ngpio:x:{os.getgid()}:edge-agent\n")
    for name in ("views", "runs", "pairs", "run"):
        (folder / name).mkdir()
        (folder / name).chmod(0o770)
    (folder / "hub-ca.pem").write_bytes(ward.authority.pem)
    (folder / "hub-orders.pem").write_bytes(ward.orders)
    pair = ward.authority.pair(NAME)
    (folder / "box.pem").write_bytes(pair.certificate)
    for name, content in (("box.key", pair.key), ("camera", LOGIN[1].encode())):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o640)
    (folder / "box.toml").write_text(_toml(ward))
    (folder / "box.toml").chmod(0o640)
    settings = load(str(folder / "box.toml"))
    for camera in settings.cameras:
        found = commission_from_files(STREETS[0].commission[:3], folder / "views", camera.id)
        assert isinstance(found, References), found
    _baselines(folder / "runs", settings)
    _journal(folder / "journal")


def _toml(ward: Ward) -> str:
    return f"""
[identity]
kelurahan = "kuningan"
rw = "03"
rt = "05"
box = "box-1"

[hub]
host = "localhost"
port = {ward.hub_port}
ca_file = "hub-ca.pem"
certificate_file = "box.pem"
key_file = "box.key"
order_key_file = "hub-orders.pem"

[privacy]
switch = "latching"
relay = "force_off"
feedback_pin = 19

[journal]
folder = "journal"
quota_mb = 60
disk_floor_mb = 50

[health]
disk_free_min_mb = 60

[[camera]]
id = "gate"
name = "Gapura"
kind = "rtsp"
url = "{ward.rtsp_url}/main"
username = "{LOGIN[0]}"
password_file = "camera"

[[camera]]
id = "post"
name = "Pos ronda"
kind = "http"
url = "{ward.http_url}"
username = "{LOGIN[0]}"
password_file = "camera"

[[run]]
camera = "gate"
cable = "cat5e-outdoor"
length_m = {LENGTH_M}
loop_channel = 0
current_channel = 0

[paths]
views_folder = "views"
baselines_folder = "runs"
pairs_folder = "pairs"
status_socket = "run/status.sock"
"""


def _baselines(folder: Path, settings: Settings) -> None:
    """As commissioned: the readings of this very pair."""
    (run,) = settings.runs
    assert isinstance(run.loop, MeasuredLoop)
    pair = Street(settings.privacy, settings.runs, settings.electrics).board.pairs[0]
    whole = pair.ohm()
    copper = pair.copper(LENGTH_M)
    baselines.save(
        folder,
        Baseline(
            camera=run.camera,
            cable=run.cable,
            length_m=LENGTH_M,
            r_zero_ohm=whole - copper - run.loop.eol_ohm,
            r_plug_ohm=whole - copper,
            r_base_ohm=whole,
            rref_ohm=run.loop.rref_ohm,
            bits=settings.electrics.adc_bits,
            eol_ohm=run.loop.eol_ohm,
            tamper_ohm=run.loop.tamper_ohm,
            wall_s=1_795_000_000.0,
            trusted=True,
            owner="ward",
        ),
    )


def _journal(folder: Path) -> None:
    """Some records, and the time that was vouched for last."""
    clock = HandClock()
    with Desk(folder, clock=clock) as desk:
        for number in range(300):
            desk.keep(desk.note(number))
        floor_s = SystemClock().wall() - 3_600.0
        desk.spool.remember(Memory.CLOCK, f'{{"floor_s": {floor_s}}}'.encode())
        desk.keep(desk.note(300))
    folder.chmod(0o770)


if __name__ == "__main__":  # a ward to look at by hand
    import tempfile

    with tempfile.TemporaryDirectory() as place, ward(Path(place)) as shown:
        sys.stdout.write(f"{shown.admit().config}\n")
        sys.stdin.readline()
