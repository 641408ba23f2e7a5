"""Commands over real parts: a city's client, a real broker, the agent with its journal, a camera and a switch on mock pins."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.app import App, Pins
from edge_agent.clock import SystemClock
from edge_agent.config import load
from edge_agent.core.messages import Command, Json, Keep, Lamp, SetPeriod, ShowLamps
from edge_agent.core.settings import Privacy, Settings, SwitchKind
from edge_agent.receiver import sign
from edge_agent.simulate import Street
from tests.support.broker import mosquitto, needs_mosquitto
from tests.support.rig import await_that, stays_so
from tests.test_app import clip_box, running

pytestmark = [
    pytest.mark.broker,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
    needs_mosquitto,
]

BOX = "cctv/v1/kuningan/03/05/box-1"


class TrustedClock(SystemClock):
    """As on a box with NTP: this machine's clock may have nobody to vouch for it."""

    def trusted(self) -> bool:
        return True


class City:
    """The hub's client that gives orders and hears replies."""

    def __init__(self, port: int) -> None:
        self.key = OKPKey.generate_key("Ed25519")
        self.replies: list[dict[str, Any]] = []
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="city", protocol=MQTTv5)
        self._client.on_message = lambda _c, _u, message: self._heard(message)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"{BOX}/reply", qos=1)
        self._client.loop_start()

    def _heard(self, message: MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        self.replies.append({**json.loads(message.payload), "correlation": correlation})

    def token(self, number: int, name: str, **arguments: Any) -> bytes:
        claims: dict[str, Json] = {
            "v": 1,
            "kind": "command",
            "aud": "cctv/v1/kuningan",
            "number": number,
            "name": name,
            "expires": SystemClock().wall() + 600.0,
            "arguments": arguments,
        }
        return sign(claims, self.key.as_pem(private=True))

    def publish(self, token: bytes, *, retain: bool = False) -> None:
        """With correlation data of its own."""
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = token[-8:]
        self._client.publish(
            f"{BOX}/command", token, qos=1, retain=retain, properties=properties
        ).wait_for_publish(10)

    def ask(self, token: bytes) -> dict[str, Any]:
        """Publish it; the reply."""
        before = len(self.replies)
        self.publish(token)
        await_that("a reply", lambda: len(self.replies) > before, within_s=15)
        reply = self.replies[-1]
        assert reply.pop("correlation") == token[-8:]
        return reply

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Life:
    """One run of the agent: what it was commanded to do, once it was done."""

    done: list[Command] = field(default_factory=list)

    def kinds(self) -> list[str]:
        return [c.record.kind for c in self.done if isinstance(c, Keep)]

    def data(self, kind: str) -> dict[str, Any]:
        return [
            dict(c.record.data) for c in self.done if isinstance(c, Keep) and c.record.kind == kind
        ][-1]

    def lamp(self) -> Lamp:
        return [c.lamp for c in self.done if isinstance(c, ShowLamps)][-1]


@contextlib.contextmanager
def life(settings: Settings, wiring: Street, config: Path | None = None) -> Iterator[Life]:
    now = Life()
    app = App(
        settings,
        pins=Pins(factory=wiring.factory),
        clock=TrustedClock(),
        watch=now.done.append,
        config_file=config,
    )
    with running(app):
        yield now


def test_each_command_is_obeyed_once_and_answered_over_a_real_broker(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        box = clip_box(tmp_path, hub_port=broker.port)
        city = City(broker.port)
        key_file = tmp_path / "hub.pem"
        key_file.write_bytes(city.key.as_pem(private=False))
        settings = load(str(box.config))
        settings = replace(
            settings,
            hub=replace(settings.hub, order_key_file=str(key_file)),
            privacy=Privacy(switch=SwitchKind.LATCHING),
        )
        wiring = Street(settings.privacy)
        try:
            with life(settings, wiring, box.config) as now:
                await_that("an open gate", lambda: box.gates() == {"mawar": "open"}, within_s=40)
                _a_live_box(city, now, lambda: box.gates()["mawar"] == "open")
                _a_private_box(city, now, wiring)
            _after_a_restart(city, settings, wiring)
        finally:
            city.close()


def _a_live_box(city: City, now: Life, is_open: Any) -> None:
    done = {"v": 1, "result": "done", "why": ""}
    assert city.ask(city.token(10, "burst", period_s=1, minutes=1)) == {**done, "number": 10}
    fast = SetPeriod(camera="mawar", period_s=1.0)
    await_that("faster pictures", lambda: fast in now.done, within_s=20)
    kinds = now.kinds()
    assert kinds.index("command.accepted") < kinds.index("command.done")
    assert city.ask(city.token(11, "locate", seconds=300)) == {**done, "number": 11}
    await_that("the lamps", lambda: now.lamp() is Lamp.LOCATE, within_s=5)
    assert city.ask(city.token(12, "sync-now")) == {**done, "number": 12}
    report = city.token(13, "report")
    assert city.ask(report) == city.ask(report) == {**done, "number": 13}
    assert now.kinds().count("box.report") == 1
    await_that("the doctor's word", lambda: "box.doctor" in now.kinds(), within_s=60)
    assert now.data("box.doctor")["state"] in {"ok", "warning", "fault"}
    assert city.ask(city.token(14, "reverify", cameras=["mawar"])) == {**done, "number": 14}
    assert now.kinds().count("gate.changed") >= 2
    await_that("an open gate", is_open, within_s=40)
    refused = city.ask(city.token(15, "burst", period_s=0.1, minutes=1))
    assert (refused["result"], refused["number"]) == ("refused", 15)
    assert refused["why"] == "command.arguments.period_s: needs a number from 1 to 3600"
    assert "10" in city.ask(city.token(10, "report"))["why"]


def _a_private_box(city: City, now: Life, wiring: Street) -> None:
    wiring.press()
    await_that("private", lambda: now.lamp() is Lamp.PRIVATE, within_s=5)
    await_that("and the lamps show it", lambda: wiring.lamps() == (True, False), within_s=5)
    for token in (
        city.token(20, "locate", seconds=60),
        city.token(20, "burst", period_s=1, minutes=1),
        city.token(20, "privacy-off"),
        city.token(20, "open"),
    ):
        assert city.ask(token)["result"] == "refused"
    assert city.ask(city.token(20, "reverify"))["result"] == "done"
    stays_so("dark", lambda: wiring.lamps() == (True, False), for_s=2)


def _after_a_restart(city: City, settings: Settings, wiring: Street) -> None:
    """A retained command waits for the agent, and what was obeyed before is not obeyed again."""
    kept = city.token(21, "report")
    before = len(city.replies)
    city.publish(kept, retain=True)
    with life(settings, wiring) as now:
        await_that("a reply", lambda: len(city.replies) > before, within_s=20)
        assert city.replies[-1]["result"] == "refused"
        assert "retain" in city.replies[-1]["why"]
        again = city.ask(city.token(13, "report"))
        assert again == {"v": 1, "number": 13, "result": "done", "why": ""}
        assert "command.accepted" not in now.kinds()
        assert "box.report" not in now.kinds()
        assert city.ask(kept)["result"] == "done"
        assert now.kinds().count("box.report") == 1
