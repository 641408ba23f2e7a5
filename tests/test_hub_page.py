"""docs/hub.md for those who build a hub: what it shows works, as it stands on the page."""

from __future__ import annotations

import json
import re
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.core import ledger
from edge_agent.core.messages import Rank
from edge_agent.provision import identity
from edge_agent.provision.hub import Sound, authorities, certificate
from edge_agent.tls import Pair
from tests.support.broker import (
    MOSQUITTO,
    await_port,
    free_port,
    mosquitto,
    needs_mosquitto,
    wait_for,
)
from tests.support.local_ca import Authority, now_s
from tests.support.patience import patient
from tests.test_receiver import NAME, Box

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "hub.md").read_text()
HUB50 = DOCS / "examples/hub50.py"
OTHER = NAME.replace("box-1", "box-2")
GRANTED, DENIED = 0, 0x87
NOBODY = 0x10  # taken, and nobody subscribed


def shown(name: str) -> str:
    """A block of the page, by the comment before it."""
    found = re.findall(rf"<!-- {name} -->\n```\w*\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1, name
    return str(found[0])


# ---- mosquitto ----


class Line:
    """A client with a certificate of its own, as any box or hub has; what it hears, and what the broker says to it."""

    def __init__(
        self, port: int, folder: Path, authority: Authority, name: str, client_id: str = ""
    ) -> None:
        pair = authority.pair(name)
        path = folder / f"{name.replace('/', '-')}.pem"
        path.write_bytes(pair.certificate + pair.key)
        tls = ssl.create_default_context(cadata=authority.pem.decode())
        tls.load_cert_chain(path)
        self.heard: list[str] = []
        self._up = threading.Event()
        self._answers: dict[int, int] = {}
        self._granted: set[int] = set()
        self.breaks = 0
        self.max_packet: object = None
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        self.client.tls_set_context(tls)
        self.client.on_connect = lambda _c, _u, _f, _code, told: self._came_up(told)
        self.client.on_disconnect = lambda *_: self._broke()
        self.client.on_publish = lambda _c, _u, mid, code, _p: self._answers.update(
            {mid: code.value}
        )
        self.client.on_subscribe = lambda _c, _u, mid, _codes, _p: self._granted.add(mid)
        self.client.on_message = lambda _c, _u, message: self.heard.append(message.topic)
        self.client.connect("localhost", port)
        self.client.loop_start()
        assert self._up.wait(patient(10.0))

    def _came_up(self, told: object) -> None:
        self.max_packet = getattr(told, "MaximumPacketSize", None)
        self._up.set()

    def _broke(self) -> None:
        self.breaks += 1

    def publish(self, topic: str) -> int:
        """The reason code of its PUBACK."""
        mid = self.client.publish(topic, b"{}", qos=1).mid
        wait_for(lambda: mid in self._answers, f"an answer to {topic}")
        return self._answers[mid]

    def subscribe(self, topic: str) -> None:
        """Back when the broker has answered, whatever it said."""
        _, mid = self.client.subscribe(topic, qos=1)
        assert mid is not None
        wait_for(lambda: mid in self._granted, f"an answer to {topic}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def as_on_the_page(folder: Path, authority: Authority) -> Iterator[int]:
    """A mosquitto with exactly the page's two files, but for the folders that they name and the port."""
    assert MOSQUITTO is not None
    folder.mkdir()
    port = free_port()
    server = authority.pair("localhost")
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "server.pem").write_bytes(server.certificate)
    (folder / "server.key").write_bytes(server.key)
    config = shown("mosquitto.conf")
    for was, now in (
        ("/etc/mosquitto/", f"{folder}/"),
        ("/var/lib/mosquitto/", f"{folder}/"),
        ("listener 8883", f"listener {port} 127.0.0.1"),
    ):
        assert was in config
        config = config.replace(was, now)
    (folder / "acl").write_text(shown("acl"))
    # As root mosquitto would become another user, who may not read this folder.
    (folder / "mosquitto.conf").write_text(f"user root\n{config}")
    with (folder / "log").open("wb") as log:
        broker = subprocess.Popen([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stderr=log)
    try:
        await_port(port, broker)
        yield port
    finally:
        broker.terminate()
        broker.wait(patient(10.0))


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_the_pages_mosquitto_lets_no_box_speak_or_listen_for_another(tmp_path: Path) -> None:
    authority = Authority()
    with ExitStack() as stack:
        port = stack.enter_context(as_on_the_page(tmp_path / "mosquitto", authority))

        def line(name: str) -> Line:
            return stack.enter_context(closing(Line(port, tmp_path, authority, name)))

        box, hub = line(NAME.removeprefix("cctv/v1/")), line("hub")
        hub.subscribe("cctv/v1/#")
        ours = ("presence", "camera/gate", "live", "history", "reply", "echo")
        pictures = ("snapshot/live/gate", "snapshot/history/gate")
        for leaf in (*ours, *pictures):
            assert box.publish(f"{NAME}/{leaf}") == GRANTED
            assert box.publish(f"{OTHER}/{leaf}") == DENIED
        # What is the hub's to say no box says, not even about itself.
        for leaf in ("ack", "policy", "command"):
            assert box.publish(f"{NAME}/{leaf}") == DENIED
            assert box.publish(f"{OTHER}/{leaf}") == DENIED
        assert box.publish("cctv/v1/kuningan/rw-03/rt-02/live") == DENIED
        wait_for(lambda: len(hub.heard) == len((*ours, *pictures)), "the hub hears the box")
        assert all(topic.startswith(f"{NAME}/") for topic in hub.heard)
        box.subscribe(f"{NAME}/echo")
        assert box.publish(f"{NAME}/echo") == GRANTED
        wait_for(lambda: f"{NAME}/echo" in box.heard, "the box hears itself")

        for leaf in ("ack", "policy", "command", "snapshot/live/gate"):
            box.subscribe(f"{OTHER}/{leaf}")
        box.subscribe("cctv/v1/#")
        box.subscribe(f"{NAME}/ack")
        for of in (OTHER, NAME):  # what reached the box last shows that the rest never will
            for leaf in ("policy", "command", "ack"):
                assert hub.publish(f"{of}/{leaf}") in (GRANTED, NOBODY)
        assert hub.publish(f"{NAME}/live") == DENIED
        wait_for(lambda: f"{NAME}/ack" in box.heard, "the box hears its own")
        assert all(topic.startswith(f"{NAME}/") for topic in box.heard)


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_the_pages_mosquitto_lets_no_box_throw_another_off_or_flood_the_hub(tmp_path: Path) -> None:
    authority = Authority()
    with ExitStack() as stack:
        port = stack.enter_context(as_on_the_page(tmp_path / "mosquitto", authority))

        def line(name: str) -> Line:
            made = Line(port, tmp_path, authority, name, client_id="kuningan-rw-03-rt-02-box-1")
            return stack.enter_context(closing(made))

        box = line(NAME.removeprefix("cctv/v1/"))
        other = line(OTHER.removeprefix("cctv/v1/"))
        assert other.publish(f"{OTHER}/live") in (GRANTED, NOBODY)
        # The broker throws the older one off before it lets the newer one in: it would have been by now.
        assert box.publish(f"{NAME}/live") in (GRANTED, NOBODY)
        assert (box.breaks, other.breaks) == (0, 0)
        assert box.max_packet == 4 * 1024 * 1024


class ByHand(Authority):
    """What the page's own commands made in *folder*, for the box of `place`."""

    def __init__(self, folder: Path, place: str) -> None:
        self._folder, self._names = folder, {place: "box", "localhost": "server", "hub": "hub"}

    @property
    def pem(self) -> bytes:
        return b"".join((self._folder / f"{name}-ca.pem").read_bytes() for name in ("boxes", "hub"))

    def pair(
        self,
        name: str = "",
        *,
        begin_s: float | None = None,
        end_s: float | None = None,
        hosts: tuple[str, ...] = (),
    ) -> Pair:
        del begin_s, end_s, hosts  # as the page has them
        path = self._folder / self._names[name]
        certificate, key = (path.with_suffix(end).read_bytes() for end in (".pem", ".key"))
        return Pair(name=name, certificate=certificate, key=key)


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_what_the_page_signs_the_box_takes_and_the_pages_mosquitto_lets_in(tmp_path: Path) -> None:
    folder, place = tmp_path / "authority", NAME.removeprefix("cctv/v1/")
    folder.mkdir()
    key = identity.key_in(folder)
    identity.request(folder, key, place)
    commands = shown("authorities").replace("hub.kota.example", "localhost") + shown("sign")
    done = subprocess.run(
        ["bash", "-eu", "-c", commands], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"CN = {place}" in done.stdout or f"CN={place}" in done.stdout
    assert "box.pem: OK" in done.stdout

    made = (folder / "box.pem").read_bytes()
    taken = certificate(made, "hub/box.pem", key.public_key(), wall_s=now_s())
    assert isinstance(taken, Sound), taken
    # A box's own may not pass for a broker, nor sign another.
    (leaf,) = x509.load_pem_x509_certificates(made)
    uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    ca = authorities((folder / "hub-ca.pem").read_bytes(), "hub/hub-ca.pem", wall_s=now_s())
    assert isinstance(ca, Sound), ca

    by_hand = ByHand(folder, place)
    with ExitStack() as stack:
        port = stack.enter_context(as_on_the_page(tmp_path / "mosquitto", by_hand))
        box, hub = (
            stack.enter_context(closing(Line(port, tmp_path, by_hand, name)))
            for name in (place, "hub")
        )
        hub.subscribe("cctv/v1/#")
        assert box.publish(f"{NAME}/live") == GRANTED
        assert box.publish(f"{OTHER}/live") == DENIED
        wait_for(lambda: hub.heard == [f"{NAME}/live"], "the hub hears the box")


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_the_pages_mosquitto_lets_nobody_in_without_its_certificate(tmp_path: Path) -> None:
    authority, stranger = Authority(), Authority("Orang lain")
    with as_on_the_page(tmp_path / "mosquitto", authority) as port:
        nobody = ssl.create_default_context(cadata=authority.pem.decode())
        forged = stranger.pair("hub")
        path = tmp_path / "forged.pem"
        path.write_bytes(forged.certificate + forged.key)
        other = ssl.create_default_context(cadata=authority.pem.decode())
        other.load_cert_chain(path)
        for tls in (nobody, other):
            client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
            client.tls_set_context(tls)
            codes: list[int] = []
            client.on_connect = lambda _c, _u, _f, code, _p, codes=codes: codes.append(code.value)
            gone = threading.Event()
            client.on_disconnect = lambda *_, gone=gone: gone.set()
            try:
                client.connect("localhost", port)
                client.loop_start()
                assert gone.wait(patient(10.0))
            except (ssl.SSLError, ConnectionError):  # its goodbye may come as a reset
                pass
            finally:
                client.loop_stop()
            assert 0 not in codes


# ---- a hub in fifty lines ----


def test_it_has_fifty_lines() -> None:
    text = HUB50.read_text()
    code = [line for line in text.splitlines()[1:] if line.strip() and not line.startswith("#")]
    assert len(code) <= 50


@contextmanager
def hub50(port: int, database: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, str(HUB50), "127.0.0.1", str(port), str(database)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        assert process.poll() is None, "it ended by itself"
    finally:
        process.kill()
        _, said = process.communicate(timeout=patient(10.0))
    assert not said


def kept(database: Path, query: str = "SELECT epoch, seq FROM record") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as sql:
        return sql.execute(query).fetchall()


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_the_hub_in_fifty_lines_reaches_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the broker took while no hub was there comes again when it is missed: sooner here than for a real box.
    monkeypatch.setattr(ledger, "MISSING_S", 3.0)
    database = tmp_path / "hub50.sqlite"
    with mosquitto(tmp_path / "broker") as broker, Box(broker.port) as box:
        box.open("gate")

        def fill(at: float) -> None:
            for _ in range(120):
                box.outbox.put()
            for step in range(5):
                box.outbox.picture("gate", at=at + step)
            box.outbox.put(
                "journal.thinned",
                rank=Rank.AUDIT,
                data=json.dumps(
                    {"ranges": [[box.outbox.last_seq - 1, box.outbox.last_seq]]}
                ).encode(),
            )
            for seq in (
                box.outbox.last_seq - 2,
                box.outbox.last_seq - 1,
            ):  # gone before they were sent
                del box.outbox.kept[seq], box.outbox.accepted[box.outbox.epoch, seq]
            # One that moved along from a journal that was made anew: it says nothing of this one.
            moved = json.dumps({"epoch": "before", "ranges": [[1, 1_000]]}).encode()
            box.outbox.put("journal.thinned", rank=Rank.AUDIT, data=moved)
            box.tell(box.outbox.committed())

        # Some is sent to a hub that dies at once; the rest and all of the next to one that comes later.
        with hub50(broker.port, database):
            fill(10.0)
            box.until(lambda: len(box.outbox.settled) > 20, "it begins")
        fill(20.0)
        with hub50(broker.port, database):
            box.until(box.settled, "complete")
        assert sorted(kept(database)) == sorted(box.outbox.accepted)
        assert kept(database, "SELECT last FROM span") == [(box.outbox.last_seq,)]
        assert kept(database, "SELECT COUNT(picture) FROM record") == [(6,)]


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({"boot": "boot-1", "from_s": 102.0, "window_s": 2.0}, [100.0, 101.0]),
        ({"boot": "boot-1", "newest_s": 1.5}, [100.0, 101.0]),
    ],
)
def test_the_hub_in_fifty_lines_destroys_what_is_taken_back(
    tmp_path: Path, asked: dict[str, object], left: list[float]
) -> None:
    database = tmp_path / "hub50.sqlite"
    with (
        mosquitto(tmp_path / "broker") as broker,
        hub50(broker.port, database),
        Box(broker.port) as box,
    ):
        box.open("gate")
        for at in (100.0, 101.0, 102.0, 103.0):
            box.outbox.picture("gate", at=at)
        box.tell(box.outbox.committed())
        box.until(box.settled, "pictures")
        box.withdraw(at=104.0, **asked)  # type: ignore[arg-type]
        box.outbox.picture("gate", at=102.5)  # it had waited
        box.tell(box.outbox.committed())
        box.until(box.settled, "one more")
    query = "SELECT mono FROM record WHERE picture NOT NULL ORDER BY mono"
    assert [at for (at,) in kept(database, query)] == left


def test_the_pages_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    from edge_agent.receiver import main

    with pytest.raises(SystemExit):
        main(["--help"])
    offered = capsys.readouterr().out
    for option in re.findall(r"edge-agent hub[^`\n]*?(--[a-z]+)", PAGE):
        assert option in offered
