"""What a box was told in its box.toml, as frozen values.

Promise: a `Settings` that exists is sound; config.py names every fault of a file before one is built.
Not its job: reading files. Paths are absolute strings, secrets are read where they are used.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where the box stands. Each part is one MQTT topic level: a-z, 0-9, '-', at most 48 characters."""

    kelurahan: str
    rw: str
    rt: str
    box: str


class Settlement(Enum):
    """Whose word lets a record be deleted: the hub's watermark, or a broker's PUBACK."""

    WATERMARK = "watermark"
    BROKER = "broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret lies: exactly one of a file and a systemd credential name. Never the secret itself."""

    file: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Mutual TLS: PEM files."""

    ca_file: str
    certificate_file: str
    key: SecretRef


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine by its very name; nothing is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The city's MQTT side. `tls` is None only for a loopback address."""

    host: str
    port: int
    tls: Tls | None
    settle: Settlement = Settlement.WATERMARK
    order_key_file: str | None = (
        None  # the hub's public Ed25519 key (PEM); None = no order is obeyed
    )
    renew_url: str | None = (
        None  # EST endpoint without its operation (https); None = not renewed by the box
    )
    recipient: str | None = (
        None  # the hub's age recipient; None = pictures are kept and sent unsealed
    )


class CameraKind(Enum):
    """How a camera is read."""

    RTSP = "rtsp"
    HTTP = "http"
    V4L2 = "v4l2"
    CLIP = "clip"


# A topic level that is also a file name and a word on the command line.
CAMERA_ID: Final = "[a-z0-9][a-z0-9-]{0,47}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera.

    `source`: RTSP or HTTP URL without credentials; a /dev/video path for v4l2; an absolute path for clip.
    """

    id: str
    name: str
    kind: CameraKind
    source: str
    username: str | None = None
    password: SecretRef | None = None
    period_s: float = 10.0  # one picture every so many seconds


class SparePair(Enum):
    """Whether a cable type leaves a pair free for a supervised loop."""

    FREE = "free"
    NONE = "none"  # every conductor carries picture or power
    POE = "poe"  # a PoE source may put 48 V on any pair: never a loop


# Types a technician can buy; words.py names each and what to bring with it.
CABLES: Final[Mapping[str, SparePair]] = {
    "cat5e-outdoor": SparePair.FREE,  # baluns and 12 V, or 100BASE-TX with the camera powered on its pole
    "cat6-outdoor": SparePair.FREE,
    "cat5e-poe": SparePair.POE,
    "cat6-poe": SparePair.POE,
    "rg59": SparePair.NONE,
    "rg59-power": SparePair.NONE,
    "rg59-pair": SparePair.FREE,  # a two-core wire laid beside it for the loop
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitalLoop:
    """A supervised pair that only says closed or open."""

    pin: int  # BCM number, LOW = closed (through an opto-coupler)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLoop:
    """A supervised pair whose resistance is measured against a reference resistor by the first ADC."""

    channel: int  # 0..7
    rref_ohm: float = 150.0
    eol_ohm: float = 100.0  # end-of-line resistor, inside the camera-side plug
    tamper_ohm: float | None = 100.0  # added when the plug's housing is opened; None = not fitted


class LoopOpenPolicy(Enum):
    """What a loop that is not normal means for video that never broke."""

    QUARANTINE = "quarantine"  # held all the same
    SCENE_STRICT = "scene_strict"  # released as long as each check matches, with a work order


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The cable run from the box to a camera, and what is fitted to watch it (None = not fitted)."""

    camera: str
    cable: str  # one of CABLES
    length_m: float
    place: str = ""  # where the camera end is: pole, address
    gps: tuple[float, float] | None = None  # latitude, longitude in degrees
    loop: DigitalLoop | MeasuredLoop | None = None
    loop_open_policy: LoopOpenPolicy = LoopOpenPolicy.QUARANTINE
    video_pin: int | None = None  # "video present" of a sync monostable: HIGH = present
    alarm_pin: int | None = None  # alarm contact of the NVR: closed (LOW) = it reports video loss
    current_channel: int | None = None  # 0..7 on the second ADC: what the camera draws
    current_min_ma: float = 30.0  # below this a camera is off
    interface: str | None = None  # the box's own network interface that leads to this camera alone
    nvr_events: bool = False  # ask the camera's host for its video-loss events


@dataclass(frozen=True, slots=True, kw_only=True)
class Electrics:
    """What the box's own input board has beyond switch, lamps and loops (None = not fitted)."""

    adc_bits: int = 12  # 12 = MCP3208, 10 = MCP3008
    excitation_pin: int = 25  # BCM number, active low
    power_pin: int | None = None  # 12 V of the cameras present: closed (LOW) = present
    door_channel: int | None = None  # second ADC: end-of-line resistor and micro-switch of the door
    mains_pin: int | None = None  # UPS: HIGH = mains lost
    shutdown_pin: int | None = None  # UPS: HIGH = asks for a shutdown
    service_pin: int | None = None  # service button: closed (LOW) = pressed


class SwitchKind(Enum):
    """The privacy input fitted to the box."""

    LATCHING = "latching"  # NC and NO contacts on two pins
    MOMENTARY = (
        "momentary"  # one NC contact on the NC pin: press = private, hold 3 s = ask to resume
    )
    NONE = "none"  # only where the RT agreed in writing; the hub is told


class Relay(Enum):
    """How the agent drives the relay that powers the cameras (K1 in docs/wiring.md)."""

    NONE = "none"  # not fitted, or left to the switch's own third contact block
    FORCE_OFF = (
        "force_off"  # mode A: HIGH forces the cameras off; a dead agent leaves them to the switch
    )
    PUMP = "pump"  # mode B: toggled all the time, or the cameras lose their power within a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """The switch, what it drives and what a press destroys. Pins are BCM numbers; None = not fitted."""

    switch: SwitchKind
    nc_pin: int = 17
    no_pin: int = 27
    lamp_private_pin: int | None = 23
    lamp_live_pin: int | None = 22
    buzzer_pin: int | None = None  # 24 in docs/wiring.md; active high, through a driver
    relay: Relay = Relay.NONE
    relay_pin: int = 16
    feedback_pin: int | None = None  # 19 in docs/wiring.md: LOW = the relay has the cameras off
    cut_power: bool = True  # private also cuts the cameras' power, where `relay` is fitted
    purge_s: float = 60.0  # 0..600


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Where records wait and how much they may take."""

    folder: str = "/var/lib/edge-agent/journal"
    quota_bytes: int = 2_000_000_000
    disk_floor_bytes: int = 500_000_000  # never leave less free on that file system


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """When the box itself is a finding."""

    cpu_celsius_max: float = 80.0
    disk_free_min_bytes: int = 1_000_000_000
    memory_used_max_percent: float = 90.0
    report_s: float = 300.0  # one metrics record every so many seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything, cross-checked."""

    identity: Identity
    hub: Hub
    privacy: Privacy
    cameras: tuple[Camera, ...] = ()
    runs: tuple[Run, ...] = ()
    journal: Journal = field(default_factory=Journal)
    health: Health = field(default_factory=Health)
    electrics: Electrics = field(default_factory=Electrics)
    baselines_folder: str = "/var/lib/edge-agent/runs"  # commissioned baselines of the loops
    views_folder: str = "/var/lib/edge-agent/views"  # commissioned references
    pairs_folder: str = "/var/lib/edge-agent/pairs"  # renewed certificates and their keys
    status_socket: str = "/run/edge-agent/status.sock"
    simulated: bool = False  # set by the demo and `run --simulate`, never by a file
