"""Half a year in the dark, everything changed meanwhile, and nobody at the box: it reconnects and drains by itself.

The whole agent, a real broker that takes only the new authority's boxes, and a real endpoint for renewals.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.app import App, Pins
from edge_agent.clock import SystemClock
from edge_agent.core.settings import (
    Hub,
    Identity,
    Journal,
    Privacy,
    SecretRef,
    Settings,
    Settlement,
    SwitchKind,
    Tls,
)
from edge_agent.tls import Pair
from tests.support.broker import await_port, free_port, mosquitto, needs_mosquitto, wait_for
from tests.support.local_ca import DAY_S, Authority, Est, est, now_s
from tests.support.patience import patient

pytestmark = [
    pytest.mark.broker,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
    needs_mosquitto,
]

OLD, NEW = Authority("Kota"), Authority("Kota")  # rolled under one name: the hardest kind
NO_PINS = Pins(factory=None, why_none="this machine has no GPIO chip")


class WokeUp(SystemClock):
    """A box without a battery: its clock began anew with this boot, and nothing vouches for it until it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._began_s = super().wall()
        self.is_set = False

    def wall(self) -> float:
        return super().wall() if self.is_set else super().wall() - self._began_s

    def trusted(self) -> bool:
        return self.is_set


@contextmanager
def running(app: App) -> Iterator[Callable[[], dict[str, object]]]:
    """*app* in a thread of its own; gives its status."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(app.run()))
    thread.start()
    try:
        yield lambda: dict(json.loads(app.snapshot()))
    finally:
        app.stop()
        thread.join(patient(30.0))
        assert codes == [0]


@contextmanager
def listening(port: int) -> Iterator[queue.SimpleQueue[MQTTMessage]]:
    """Whoever is behind the broker."""
    # The broker opens one port after the other, and whoever started it waited for its first.
    await_port(port)
    heard: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
    ready = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id="hub", protocol=MQTTv5)
    client.on_message = lambda _c, _u, message: heard.put(message)
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.subscribe("cctv/#", qos=1)
    client.loop_start()
    assert ready.wait(patient(20.0))
    try:
        yield heard
    finally:
        client.loop_stop()


def box(folder: Path, own: Pair, ca: bytes, port: int, renew_url: str | None) -> Settings:
    folder.mkdir(exist_ok=True)
    for name, raw in {"ca.pem": ca, "box.pem": own.certificate, "box.key": own.key}.items():
        (folder / name).write_bytes(raw)
    (folder / "box.key").chmod(0o600)
    return Settings(
        identity=Identity(kelurahan="kuningan", rw="03", rt="05", box="box-1"),
        hub=Hub(
            host="localhost",
            port=port,
            tls=Tls(
                ca_file=str(folder / "ca.pem"),
                certificate_file=str(folder / "box.pem"),
                key=SecretRef(file=str(folder / "box.key")),
            ),
            settle=Settlement.BROKER,
            renew_url=renew_url,
        ),
        privacy=Privacy(switch=SwitchKind.NONE),
        journal=Journal(folder=str(folder / "journal"), disk_floor_bytes=50_000_000),
        pairs_folder=str(folder / "pairs"),
        status_socket=str(folder / "status.sock"),
    )


def part(status: dict[str, object], *names: str) -> object:
    """What stands at *names* in the status; None while it does not."""
    found: object = status
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


@pytest.mark.parametrize(
    "ca", [OLD.pem + NEW.pem, NEW.pem + OLD.pem], ids=["old first", "new first"]
)
def test_180_days_later_with_an_expired_certificate_a_rolled_authority_and_a_clock_at_1970(
    tmp_path: Path, ca: bytes
) -> None:
    own = OLD.pair("box-1", begin_s=now_s() - 380 * DAY_S, end_s=now_s() - 170 * DAY_S)
    hub = NEW.pair("hub", begin_s=now_s() - 20 * DAY_S, end_s=now_s() + 70 * DAY_S)
    folder = tmp_path / "box"

    # Half a year ago: no way to the hub. The journal goes on.
    settings = box(folder, own, ca, free_port(), None)
    with running(App(settings, pins=NO_PINS, clock=WokeUp(), chance=lambda: 0.0)) as status:
        wait_for(lambda: part(status(), "journal", "depth"), "records are kept", 60)

    # Today. The hub knows the new authority's boxes only, its renewals take what the old one signed.
    for name, raw in {"ca.pem": NEW.pem, "hub.pem": hub.certificate, "hub.key": hub.key}.items():
        (tmp_path / name).write_bytes(raw)
    inside = free_port()
    config = (
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/hub.pem\nkeyfile {tmp_path}/hub.key\n"
        "require_certificate true\nuse_subject_as_username true\n"
        f"listener {inside} 127.0.0.1\n"
    )
    script = Est(NEW)
    with (
        mosquitto(tmp_path / "broker", config) as broker,
        est(script, hub, tmp_path, clients=OLD.pem + NEW.pem) as url,
        listening(inside) as heard,
    ):
        settings = box(folder, own, ca, broker.port, url)
        clock = WokeUp()
        with running(App(settings, pins=NO_PINS, clock=clock, chance=lambda: 0.0)) as status:
            wait_for(lambda: part(status(), "uplink", "state") == "up", "it is connected", 120)
            wait_for(
                lambda: part(status(), "uplink", "certificate", "slot") == "renewed",
                "its certificate is a new one",
                60,
            )
            assert part(status(), "uplink", "pictures_wait_for_clock") is True
            wait_for(
                lambda: (
                    part(status(), "uplink", "in_flight") == 0
                    and part(status(), "journal", "depth") in (0, 1, 2)
                ),
                "the journal is drained",
                120,
            )
            clock.is_set = True
            wait_for(
                lambda: part(status(), "uplink", "pictures_wait_for_clock") is False,
                "no doubt is left",
                60,
            )
            assert part(status(), "uplink", "state") == "up"  # over the same connection
        kinds: set[str] = set()

        def all_told() -> bool:
            while not heard.empty():
                message = heard.get()
                if message.topic.endswith(("/live", "/history")):
                    for event in json.loads(message.payload):
                        kinds.add(event["type"].rpartition("agent.")[2])
            return {"started", "stopped"} <= kinds

        # The broker has taken it from the box, and hands it on in its own time.
        wait_for(all_told, "start and end of the box's life")
    assert len(script.requests) == 1
    assert (folder / "pairs" / "renewed.pem").stat().st_mode & 0o777 == 0o600
    assert (folder / "box.pem").read_bytes() == own.certificate  # what was configured is as it was
