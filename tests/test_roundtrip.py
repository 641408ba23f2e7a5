"""A word there and back, through brokers that work, refuse, forget and pretend."""

from __future__ import annotations

import json
import select
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import roundtrip
from edge_agent.clock import SystemClock
from edge_agent.core.messages import Fault
from edge_agent.core.settings import Hub, Identity, SecretRef, Tls
from edge_agent.roundtrip import Trip
from edge_agent.tls import Context
from tests.support.broker import free_port, iotcore, mosquitto, needs_mosquitto, wait_for
from tests.support.evil_servers import evil, garbage, hangs_up, never_answers
from tests.support.local_ca import Authority, listener, server_context
from tests.support.patience import patient

pytestmark = [pytest.mark.broker, pytest.mark.enable_socket]

BOX = Identity(kelurahan="kuningan", rw="03", rt="05", box="box-1")
ECHO = "cctv/v1/kuningan/03/05/box-1/echo"


def trip(
    port: int, *, within_s: float = patient(5.0), host: str = "127.0.0.1", **more: bool
) -> Trip:
    hub = Hub(host=host, port=port, tls=None)
    return roundtrip.go(
        hub, BOX, pair=None, clock=SystemClock(), mark="a1b2", within_s=within_s, **more
    )


class Watcher:
    """Somebody else at the broker."""

    def __init__(self, port: int, *topics: str, client_id: str = "") -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self.lost = threading.Event()
        there = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        self.client.on_message = lambda _c, _u, m: self.heard.append(
            (m.topic, bytes(m.payload), m.retain)
        )
        self.client.on_disconnect = lambda *_: self.lost.set()
        self.client.on_subscribe = lambda *_: there.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        for topic in topics:
            self.client.subscribe(topic, qos=1)
        assert there.wait(10)

    def end(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[tuple[int, Watcher]]:
    with mosquitto(tmp_path) as broker:
        seen = Watcher(broker.port, "#", client_id="kuningan-03-05-box-1")
        try:
            yield broker.port, seen
        finally:
            seen.end()


@needs_mosquitto
def test_a_word_comes_back_and_the_running_agent_is_not_thrown_out(watcher):
    port, agent = watcher
    found = trip(port)
    assert (found.fault, found.seen) == (None, "taken in")
    assert found.back_s is not None
    wait_for(lambda: agent.heard, "the broker passes it on")
    ((topic, payload, retained),) = agent.heard  # this, and nothing else: no Will, no state
    assert (topic, json.loads(payload), retained) == (ECHO, {"v": 1, "mark": "a1b2"}, False)
    assert not agent.lost.is_set()


def test_it_works_with_another_broker(tmp_path):
    with iotcore(tmp_path) as port:
        assert trip(port).back_s is not None


@needs_mosquitto
def test_another_boxs_word_is_not_taken_for_ours(watcher):
    port, other = watcher

    def repeat(_client: Client, _user: object, message: object) -> None:
        pass

    other.client.on_message = repeat
    other.client.publish(ECHO, b'{"v":1,"mark":"other"}', qos=1, retain=True)
    wait_for(lambda: trip(port).back_s is not None, "its own word counts")


@needs_mosquitto
@pytest.mark.parametrize("rights", ["topic read #", "topic write #\ntopic deny #", "topic write #"])
def test_a_broker_that_forbids_the_echo_is_told_from_one_that_forbids_the_box(tmp_path, rights):
    acl = tmp_path / "acl"
    acl.write_text(f"{rights}\n")
    acl.chmod(0o600)
    with mosquitto(tmp_path / "m", f"acl_file {acl}") as broker:
        found = trip(broker.port, within_s=5.0)
    assert found.fault is None
    assert found.back_s is None
    assert found.seen


@needs_mosquitto
def test_a_broker_that_does_not_let_the_box_in(tmp_path):
    from tests.support.broker import Mosquitto

    broker = Mosquitto(tmp_path, anonymous=False)
    try:
        found = trip(broker.start().port)
    finally:
        broker.kill()
    assert found.fault is Fault.NOT_ALLOWED
    assert "0x87" in found.seen


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [(garbage, Fault.NOT_MQTT), (hangs_up, Fault.NOT_MQTT), (never_answers, Fault.NOT_MQTT)],
)
def test_what_is_no_broker_is_named_in_time(behaviour, fault):
    with evil(behaviour) as port:
        assert trip(port, within_s=0.5).fault is fault


def test_nobody_listens():
    assert trip(free_port()).fault is Fault.NOBODY_LISTENS


def test_a_simulated_street_never_reaches_a_real_hub():
    found = trip(1883, host="203.0.113.9")
    assert (found.fault, "plain TCP" in found.seen) == (Fault.UNKNOWN, True)
    tls = Tls(ca_file="/nowhere", certificate_file="/nowhere", key=SecretRef(file="/nowhere"))
    hub = Hub(host="203.0.113.9", port=8883, tls=tls)
    found = roundtrip.go(
        hub, BOX, pair=None, clock=SystemClock(), mark="a", within_s=1, simulated=True
    )
    assert (found.fault, "simulated" in found.seen) == (Fault.UNKNOWN, True)


def test_a_certificate_that_cannot_be_used_and_a_hub_that_does_not_want_it(tmp_path):
    ours, theirs = Authority(), Authority("Orang lain")
    (tmp_path / "ca.pem").write_bytes(ours.pem)
    tls = Tls(
        ca_file=str(tmp_path / "ca.pem"),
        certificate_file="/nowhere",
        key=SecretRef(file="/nowhere"),
    )

    def go(port: int, within_s: float = patient(5.0)) -> Trip:
        hub = Hub(host="localhost", port=port, tls=tls)
        pair, clock = ours.pair(), SystemClock()
        return roundtrip.go(hub, BOX, pair=pair, clock=clock, mark="a", within_s=within_s)

    with ExitStack() as stack:
        strict = server_context(ours.pair("hub"), tmp_path, clients=theirs.pem)
        assert go(stack.enter_context(listener(strict))).fault is Fault.OWN_REFUSED
        other = server_context(theirs.pair("hub"), tmp_path)
        assert go(stack.enter_context(listener(other))).fault is Fault.HUB_UNKNOWN
        mute = stack.enter_context(listener(None))
        assert go(mute, 1.0).fault is Fault.NO_ANSWER
    (tmp_path / "ca.pem").write_bytes(b"nothing of use")
    assert go(1).fault is Fault.OWN_UNUSABLE


def test_a_hub_that_has_hung_up_before_the_first_word_is_still_named(tmp_path, monkeypatch):
    """On a busy machine the refusal comes before CONNECT is written: nothing may ask the dead socket for anything."""
    ours, theirs = Authority(), Authority("Orang lain")
    (tmp_path / "ca.pem").write_bytes(ours.pem)
    shaken = Context.shaken

    def slow(context: Context, line: ssl.SSLSocket) -> None:
        shaken(context, line)
        hung_up = select.poll()
        hung_up.register(line, select.POLLHUP)
        assert hung_up.poll(20_000)

    monkeypatch.setattr(Context, "shaken", slow)
    tls = Tls(ca_file=str(tmp_path / "ca.pem"), certificate_file="", key=SecretRef(file=""))
    with listener(server_context(ours.pair("hub"), tmp_path, clients=theirs.pem)) as port:
        found = roundtrip.go(
            Hub(host="localhost", port=port, tls=tls),
            BOX,
            pair=ours.pair(),
            clock=SystemClock(),
            mark="a",
            within_s=30.0,
        )
    assert found.fault is Fault.OWN_REFUSED
    assert found.hub_end_s is not None
