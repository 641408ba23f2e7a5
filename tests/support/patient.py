"""A whole box in a folder, for the doctor: a Pi's files, an installed service, a sound configuration, mock pins. All well; spoil it at will.

The service's user has the test's own group and another number than the test: so rights count for it whoever runs the tests.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_agent import baselines
from edge_agent.clock import SystemClock
from edge_agent.config import ConfigError, load
from edge_agent.core.settings import Settings
from edge_agent.doctor.check import Agent, Patient, Result, State
from edge_agent.doctor.run import load as load_checks
from edge_agent.simulate import Street
from tests.support import build, patience

SERVICE_UID = 4242
PASSWORD = "rahasia-Gang-Mawar-88"

CONFIG = """\
[identity]
kelurahan = "kuningan"
rw = "03"
rt = "05"
box = "box-7"

[hub]
host = "127.0.0.1"

[[camera]]
id = "gate"
name = "Gang Mawar, simpang pos ronda"
kind = "rtsp"
url = "rtsp://127.0.0.1:1/Streaming/Channels/101"
username = "pengawas"
password_file = "camera.password"

[[run]]
camera = "gate"
cable = "cat5e-outdoor"
length_m = 50
place = "depan rumah Pak Slamet"
loop_channel = 0
current_channel = 0

[privacy]
switch = "latching"
feedback_pin = 19
relay = "force_off"

[journal]
folder = "state/journal"

[paths]
views_folder = "state/views"
baselines_folder = "state/runs"
pairs_folder = "state/pairs"
status_socket = "run/status.sock"
"""

TREE = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
    "proc/device-tree/__overrides__/spi": "",
    "proc/device-tree/__symbols__/gpio": "/soc/gpio@7e200000\0",
    "proc/sys/kernel/osrelease": "6.12.25+rpt-rpi-v8\n",
    "proc/meminfo": "MemTotal:        3882592 kB\nMemFree:  90000 kB\nMemAvailable:    2900000 kB\n",
    "proc/loadavg": "0.10 0.20 0.30 1/200 999\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "52000\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    "sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs": "N\n",
    "boot/firmware/config.txt": "arm_64bit=1\ndtparam=spi=on\ndtparam=strict_gpiod\nenable_uart=0\n",
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
    "IMAGE_ID=edge-agent\nIMAGE_VERSION=1.2.3\n",
    "dev/gpiochip0": "",
    "dev/spidev0.0": "",
    "dev/spidev0.1": "",
    "dev/watchdog0": "",
}

UNIT = {
    "LoadState": "loaded",
    "ActiveState": "inactive",
    "SubState": "dead",
    "Result": "success",
    "NRestarts": "0",
    "UnitFileState": "enabled",
    "WatchdogUSec": "1min",
    "Environment": "LG_WD=/run/edge-agent GPIOZERO_PIN_FACTORY=lgpio",
    "RuntimeDirectory": "edge-agent",
    "User": "edge-agent",
    "SupplementaryGroups": "gpio spi video",
    "MemoryCurrent": "88000000",
}


@dataclass
class SoundBox:
    """A box below *folder*. `text` is its configuration, `unit` what systemd says, `log` what journalctl prints."""

    folder: Path
    text: str = CONFIG
    unit: dict[str, str] = field(default_factory=lambda: dict(UNIT))
    log: str = ""
    failed: str = ""
    cat: str = "[Service]\nLoadCredential=secret:/etc/edge-agent/secrets\n"
    has_systemd: bool = True
    status: dict[str, object] | None = None  # what the running agent says

    def __post_init__(self) -> None:
        for name, text in TREE.items():
            self.put(name, text)
        gid = os.getgid()
        self.put(
            "etc/passwd", f"root:x:0:0::/root:/bin/sh\nedge-agent:x:{SERVICE_UID}:{gid}::/:/\n"
        )
        self.put("etc/group", "root:x:0:\n")
        for name in ("dev/gpiochip0", "dev/spidev0.0", "dev/spidev0.1"):
            (self.root / name).chmod(0o660)
        self.config.parent.mkdir(parents=True)
        self.write(self.text)
        self.secret.write_text(PASSWORD + "\n")
        self.secret.chmod(0o640)
        for name in ("state/journal", "state/views", "state/runs", "state/pairs", "run"):
            path = self.config.parent / name
            path.mkdir(parents=True)
            path.chmod(0o770)
        # Not the test's own file mask.
        baselines.save(self.config.parent / "state/runs", build.BASELINE)
        self.street = Street(*self._wired(), bit_by_bit=False)
        self.factory: Any = self.street.factory
        self.why_no_factory = ""
        self.owners: dict[int, str] = {}

    def _wired(self):
        settings = self.settings()
        assert settings is not None
        return settings.privacy, settings.runs, settings.electrics

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def config(self) -> Path:
        return self.folder / "etc-edge-agent/box.toml"

    @property
    def secret(self) -> Path:
        return self.config.with_name("camera.password")

    def put(self, name: str, text: str) -> Path:
        """A file of the box."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def take(self, name: str) -> None:
        """That file is gone."""
        (self.root / name).unlink()

    def debian_kernel(self) -> None:
        """As with Debian 12's own kernel and device trees, in the card image too: no parameters, no overlays, no choice for pins."""
        self.take("proc/device-tree/__overrides__/spi")
        self.take("proc/device-tree/__symbols__/gpio")
        for name in ("__overrides__", "__symbols__"):
            (self.root / "proc/device-tree" / name).rmdir()
        self.take("sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs")
        self.put("proc/sys/kernel/osrelease", "6.1.0-28-arm64\n")

    def write(self, text: str) -> None:
        """The configuration."""
        self.config.write_text(text)
        self.config.chmod(0o640)

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.write(text.replace(old, new))

    def settings(self) -> Settings | None:
        try:
            return load(str(self.config))
        except ConfigError:
            return None

    def program(self, command: tuple[str, ...]) -> str | None:
        """systemctl and journalctl."""
        if not self.has_systemd:
            return None
        match command:
            case ("systemctl", "show", "edge-agent.service", _):
                return "".join(f"{name}={value}\n" for name, value in self.unit.items())
            case ("systemctl", "show", _):
                return "RuntimeWatchdogUSec=15s\n"
            case ("systemctl", "cat", _):
                return self.cat
            case ("systemctl", "list-units", *_):
                return self.failed
            case ("systemctl", "--version"):
                return "systemd 252\n"
            case ("journalctl", *_):
                return self.log
            case _:
                return None

    def run_agent(self, **status: object) -> None:
        """The agent runs and says this."""
        self.unit |= {"ActiveState": "active", "SubState": "running"}
        self.status = {
            "box": "box-7",
            "private": {"on": False, "fault": None, "last_press_test_age_s": 86_400.0},
            "cameras": [{"id": "gate", "cable": "normal"}],
            "findings": [],
            **status,
        }

    def patient(self, **changes: Any) -> Patient:
        running = self.unit.get("ActiveState") == "active"
        made = Patient(
            settings=self.settings(),
            config_file=self.config,
            clock=SystemClock(),
            root=self.root,
            agent=Agent(running=running, status=self.status),
            factory=self.factory,
            why_no_factory=self.why_no_factory,
            owners=self.owners,
            program=self.program,
            within_s=patience.patient(4.5),
        )
        return replace(made, **changes)

    def ask(self, key: str, **changes: Any) -> list[Result]:
        """The results that bear *key*, asked of the check that may give it."""
        return [
            result
            for check in load_checks(_MODULES)[0]
            if key in {check.key, *check.also}
            for result in check.ask(self.patient(**changes))
            if result.key == key
        ]

    def one(self, key: str, **changes: Any) -> Result:
        """The one result that bears *key*."""
        (result,) = self.ask(key, **changes)
        assert (result.remedy is None) == (result.state is State.OK), result
        return result


# Those that look at the box itself.
_MODULES = ("versions", "service", "board", "header", "switch", "loops", "files")
