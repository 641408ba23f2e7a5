"""A card as a technician fills it in, and the box that it is put into: folders in place of partitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from edge_agent.config import load
from edge_agent.core.settings import Settings
from edge_agent.provision.card import Card
from edge_agent.provision.steps import Places, Provision
from tests.support.local_ca import Authority, pem

CITY = Authority()
ORDERS_PEM = (
    ed25519.Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)
SHELL_KEY = (
    ed25519.Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    .decode()
)
BOX_TOML = """\
[identity]
kelurahan = "kuningan"
rw = "rw-03"
rt = "rt-05"
box = "box-1"

[hub]
host = "hub.example.org"
ca_file = "hub/hub-ca.pem"
certificate_file = "hub/box.pem"
key_file = "box.key"
order_key_file = "hub/hub-orders.pem"

[[camera]]
id = "gate"
kind = "rtsp"
url = "rtsp://192.168.1.64/x"
username = "agent"
password_file = "secrets/camera"

[privacy]
switch = "latching"
"""
NETWORK_TOML = """\
[wired]
address = "192.168.1.50/24"
gateway = "192.168.1.1"
dns = ["192.168.1.1"]

[wifi]
ssid = "RT 05"
password = "sangat rahasia"
country = "ID"

[cameras]
interface = "eth1"
address = "192.168.64.1/24"

[time]
servers = ["ntp.example.org"]
"""


@dataclass
class FakeClock:
    """As the box has it when the card is read: nothing vouches for it, unless a test says so."""

    wall_s: float = 86_400.0
    vouched: bool = False
    boot: str = "boot"

    def now(self) -> float:
        return 5.0

    def wall(self) -> float:
        return self.wall_s

    def trusted(self) -> bool:
        return self.vouched


@dataclass
class FilledCard:
    """The card, the box's folders, and what was said. `root` is made."""

    root: Path
    clock: FakeClock = field(default_factory=FakeClock)
    said: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.root / "firmware"
        self.config = self.root / "etc"
        self.places = Places(
            config=self.config,
            networkd=self.root / "networkd",
            wifi=self.root / "wifi",
            timesyncd=self.root / "timesyncd",
            ssh=self.root / "ssh",
        )
        self.config.mkdir(parents=True)
        (self.folder / "hub").mkdir(parents=True)
        (self.folder / "secrets").mkdir()
        self.put("hub/hub-ca.pem", CITY.pem)
        self.put("hub/hub-orders.pem", ORDERS_PEM)
        self.put("secrets/camera", "kata-sandi\r\n")
        self.put("box.toml", BOX_TOML)
        self.put("network.toml", NETWORK_TOML)

    def put(self, name: str, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(raw)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        self.put(name, text.replace(old, new))

    def start(
        self,
        *,
        locked: Callable[[Path], bool] | None = None,
        remount: Callable[[Path, str], None] | None = None,
    ) -> int:
        """The box starts with this card in it."""
        return Provision(
            Card(self.folder, locked=locked, remount=remount),
            self.places,
            clock=self.clock,
            say=self.said.append,
            name_host=self.hosts.append,
        ).run()

    # ---- what came of it ----

    @property
    def result(self) -> str:
        return (self.folder / "RESULT.txt").read_bytes().decode("utf-8-sig")

    def settings(self) -> Settings:
        """What the agent would run on."""
        return load(str(self.config / "box.toml"))

    def request(self) -> x509.CertificateSigningRequest:
        return x509.load_pem_x509_csr((self.folder / "box.csr").read_bytes())

    def sign(self, *, begin_s: float | None = None, end_s: float | None = None) -> bytes:
        """The city signs box.csr."""
        request = self.request()
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        name = str(request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        return pem(CITY.issue(name, key, begin_s=begin_s, end_s=end_s))

    def secrets_shown(self) -> bool:
        """Whether anything said or written for people holds a secret of this card."""
        told = "\n".join(self.said)
        if (self.folder / "RESULT.txt").is_file():
            told += self.result
        return any(secret in told for secret in ("kata-sandi", "sangat rahasia", "PRIVATE KEY"))
