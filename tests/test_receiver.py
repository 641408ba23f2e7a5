"""The reference receiver and the link, against real brokers: everything once, nothing unacknowledged lost."""

from __future__ import annotations

import json
import math
import queue
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import publish
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.clock import SystemClock
from edge_agent.core import lanes, ledger, uplink, wire
from edge_agent.core.messages import (
    Command,
    Connect,
    Disconnect,
    Event,
    Fetch,
    HubMessage,
    Json,
    Rank,
    Send,
    Settle,
)
from edge_agent.core.settings import Hub, Identity, Settlement
from edge_agent.core.uplink import Link, Uplink
from edge_agent.hub import HubLink
from edge_agent.receiver import (
    MAX_RANGES,
    Ranges,
    Receiver,
    Summary,
    Withdrawal,
    main,
    to_json,
    withdrawal,
)
from edge_agent.seal import Opener, Sealer
from edge_agent.shutter import Shutter
from tests.support.broker import Mosquitto, iotcore, mosquitto, needs_mosquitto, wait_for
from tests.support.outbox import Outbox
from tests.support.patience import patient

IDENTITY = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")
NAME = wire.prefix(IDENTITY)
WAIT_S = patient(30.0)


class Box:
    """The product's uplink and link around a journal in memory; the test's thread is the owner thread."""

    def __init__(self, port: int, settle: Settlement = Settlement.WATERMARK) -> None:
        self.clock = SystemClock()
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.shutter = Shutter()
        self.outbox = Outbox()
        self.uplink = Uplink(
            IDENTITY,
            settle=settle,
            loopback=True,
            boot="boot-1",
            version="0",
            simulated=True,
            random=lambda: 0.05,
        )
        self.link = HubLink(
            Hub(host="127.0.0.1", port=port, tls=None),
            IDENTITY,
            shutter=self.shutter,
            post=self.events.put,
            clock=self.clock,
            credentials=None,
            simulated=True,
        )
        self.seen: list[Event] = []

    def __enter__(self) -> Box:
        self.link.__enter__()
        self.tell(self.outbox.committed())
        self.perform(self.uplink.start(self.clock.now()))
        return self

    def __exit__(self, *why: object) -> None:
        self.perform(self.uplink.stop(self.clock.now()))
        self.link.close()

    def tell(self, event: Event) -> None:
        at = self.clock.now()
        self.seen.append(event)
        if isinstance(event, HubMessage):
            mark = wire.ack(event.payload)
            if isinstance(mark, wire.Watermark):
                self.perform(self.uplink.on(mark, at))
            return
        self.perform(self.uplink.on(event, at))

    def perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Fetch():
                    self.events.put(self.outbox.fetch(command))
                case Settle():
                    self.outbox.settle(command)
                case Connect():
                    self.link.connect(command)
                case Disconnect():
                    self.link.disconnect(command)
                case Send():
                    self.link.send(command)
                case _:
                    raise AssertionError(command)

    def open(self, *cameras: str) -> None:
        self.shutter.open_for(frozenset(cameras), press=self.shutter.presses)
        self.perform(self.uplink.set_open_cameras(frozenset(cameras), self.clock.now()))

    def until(self, there: Callable[[], object], what: str) -> None:
        """Run the loop until *there*; a story that does not get there in time has failed."""
        deadline = self.clock.now() + WAIT_S
        while not there():
            assert self.clock.now() < deadline, f"{what}: {self.uplink.status()}"
            try:
                self.tell(self.events.get(timeout=0.05))
            except queue.Empty:
                if self.clock.now() >= self.uplink.deadline():
                    self.perform(self.uplink.tick(self.clock.now()))

    def settled(self) -> bool:
        return not self.outbox.kept

    def withdraw(self, *, at: float, **data: Json) -> None:
        """Ask pictures back, and wait until the hub has heard it."""
        self.outbox.put("privacy.withdraw", rank=Rank.AUDIT, data=json.dumps(data).encode(), at=at)
        self.tell(self.outbox.committed())
        self.until(self.settled, "the withdrawal")


@contextmanager
def receiver(port: int, folder: Path, opener: Opener | None = None) -> Iterator[Receiver]:
    with Receiver(
        host="127.0.0.1", port=port, folder=folder, clock=SystemClock(), opener=opener
    ) as found:
        yield found


def files(folder: Path) -> list[Path]:
    """Everything that the hub keeps as a file of its own."""
    return [path for path in (folder / "pictures").rglob("*") if path.is_file()]


def rows(folder: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(folder / "hub.sqlite") as sql:
        found = sql.execute("SELECT epoch, seq FROM record ORDER BY epoch, seq").fetchall()
    sql.close()
    return found


@pytest.fixture(params=["mosquitto", "iotcore"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    if request.param == "iotcore":
        with iotcore(tmp_path / "broker") as found:
            yield found
    else:
        pytest.importorskip("paho")
        with mosquitto(tmp_path / "broker") as broker:
            yield broker.port


# ---- stories on real brokers ----


@pytest.mark.broker
@pytest.mark.enable_socket
def test_everything_reaches_the_hub_once_and_is_then_forgotten(port: int, tmp_path: Path) -> None:
    with receiver(port, tmp_path / "hub") as hub, Box(port) as box:
        for number in range(700):
            box.outbox.put(rank=Rank.AUDIT if number % 50 == 0 else Rank.METRIC)
        for _ in range(5):
            box.outbox.picture("gate")
        box.tell(box.outbox.committed())
        box.open("gate")
        box.until(box.settled, "history settled")
        fresh = box.outbox.put("gate.changed", rank=Rank.STATE)
        box.tell(box.outbox.committed())
        box.until(box.settled, "live settled")
        found = hub.summary().boxes[0]
        assert (found.records, found.pictures, found.missing) == (706, 5, 0)
        assert found.upto == fresh.seq
        assert hub.summary().complete
        assert hub.summary().duplicates == 0
    assert rows(tmp_path / "hub") == sorted(box.outbox.accepted)
    pictures = sorted((tmp_path / "hub" / "pictures").rglob("*.jpg"))
    assert len(pictures) == 5
    assert "kuningan/rw-03/rt-02/box-1/gate/2023-11-14" in str(pictures[0])


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_broker_killed_for_a_while_costs_nothing(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker").start()
    try:
        with receiver(broker.port, tmp_path / "hub") as hub, Box(broker.port) as box:
            box.open("gate", "bridge")
            for _ in range(400):
                box.outbox.put()
            box.outbox.picture("gate")
            box.tell(box.outbox.committed())
            box.until(lambda: box.outbox.settled, "some are settled")
            broker.kill()
            for number in range(900):
                box.outbox.put(rank=Rank.AUDIT if number % 9 == 0 else Rank.METRIC)
            box.outbox.picture("bridge")
            box.tell(box.outbox.committed())
            box.until(lambda: box.uplink.status().link is Link.WAITING, "the loss is seen")
            broker.start()
            box.until(box.settled, "all settled after the broker came back")
            wait_for(lambda: hub.summary().boxes[0].records == 1302, "the hub has all")
            assert hub.summary().boxes[0].missing == 0
            assert box.uplink.findings() == frozenset()
        assert rows(tmp_path / "hub") == sorted(box.outbox.accepted)
    finally:
        broker.kill()


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_hub_that_was_away_gets_what_it_missed_once_it_is_back(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, Box(broker.port) as box:
        with receiver(broker.port, tmp_path / "hub"):
            for _ in range(100):
                box.outbox.put()
            box.tell(box.outbox.committed())
            box.until(box.settled, "first hundred")
        box.outbox.put()
        box.tell(box.outbox.committed())
        box.until(box.uplink.findings, "nobody listens")
        assert [trouble.key.value for trouble in box.uplink.findings()] == ["hub_nobody_listens"]
        assert len(box.outbox.kept) == 1
        with receiver(broker.port, tmp_path / "hub") as hub:
            box.until(box.settled, "settled although nobody listened at first")
            assert hub.summary().boxes[0].records == 101
            assert hub.summary().duplicates == 0
        assert box.uplink.findings() == frozenset()


def more_settled_than(box: Box, count: int) -> bool:
    return len(box.outbox.settled) > count


@contextmanager
def killed_hub(port: int, folder: Path) -> Iterator[None]:
    """The command in a process of its own, listening; killed in the end."""
    command = [sys.executable, "-m", "edge_agent", "hub", "--port", str(port), "--json"]
    with (folder.parent / "told").open("w+") as told:
        process = subprocess.Popen([*command, "--folder", str(folder)], stdout=told)
        try:
            wait_for(lambda: '"connected":true' in Path(told.name).read_text(), "it listens")
            yield
            assert process.poll() is None, "it ended by itself"
        finally:
            process.kill()
            process.wait(10)


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
@pytest.mark.timeout(600)
def test_a_hub_killed_again_and_again_has_all_that_it_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the broker took while no hub was there comes again when it is missed: sooner here than for a real box.
    monkeypatch.setattr(ledger, "MISSING_S", 3.0)
    monkeypatch.setattr(lanes, "NOBODY_S", 3.0)
    monkeypatch.setattr(uplink, "NOBODY_S", 3.0)
    folder = tmp_path / "hub"
    with mosquitto(tmp_path / "broker") as broker, Box(broker.port) as box:
        box.open("gate")
        for _ in range(3):
            done = len(box.outbox.settled)
            with killed_hub(broker.port, folder):
                for _ in range(400):
                    box.outbox.put()
                for _ in range(30):
                    box.outbox.picture("gate", size=20_000)
                box.tell(box.outbox.committed())
                box.until(partial(more_settled_than, box, done), "it begins")
            committed = {seq for _, seq in rows(folder)}
            assert box.outbox.settled <= committed
        with receiver(broker.port, folder):
            box.until(box.settled, "complete")
    assert {seq for _, seq in rows(folder)} == set(range(1, 3 * 430 + 1))
    with sqlite3.connect(folder / "hub.sqlite") as sql:
        named = sql.execute("SELECT picture FROM record WHERE picture NOT NULL").fetchall()
    sql.close()
    assert len(named) == 3 * 30
    for (name,) in named:
        assert (folder / name).stat().st_size == 20_002


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_declared_gap_counts_as_accounted_for(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, tmp_path / "hub") as hub,
        Box(broker.port) as box,
    ):
        box.outbox.put()
        box.outbox.put("privacy.purged", rank=Rank.AUDIT, data=b'{"ranges":[[1,1]]}')
        del box.outbox.kept[1]
        box.tell(box.outbox.committed())
        box.until(box.settled, "settled over a declared gap")
        assert hub.summary().boxes[0].missing == 0
        assert hub.summary().boxes[0].records == 1


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_camera_that_is_held_for_long_keeps_nothing_else_on_the_box(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, tmp_path / "hub"),
        Box(broker.port) as box,
    ):
        box.until(lambda: box.uplink.status().link is Link.UP, "up")
        for _ in range(2 * MAX_RANGES):
            box.outbox.picture("gate")
            box.outbox.put()
        box.tell(box.outbox.committed())
        box.until(lambda: len(box.outbox.kept) == 2 * MAX_RANGES, "all but the pictures is settled")
        assert all(stored.jpeg is not None for stored in box.outbox.kept.values())
        box.open("gate")
        box.until(box.settled, "the pictures")


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_what_is_acknowledged_has_been_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has heard the acknowledgement finds the record in the summary, however slow this machine is."""
    acknowledged: list[int] = []
    told: list[int] = []
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, tmp_path / "hub") as hub,
        Box(broker.port) as box,
    ):
        client = hub._client
        assert client is not None
        say = client.publish

        def publish(topic: str, payload: bytes, **how: object) -> object:
            mark = wire.ack(payload)
            assert isinstance(mark, wire.Watermark)
            acknowledged.append(mark.upto)
            told.extend(found.upto for found in hub.summary().boxes)
            return say(topic, payload, **how)  # type: ignore[arg-type]

        monkeypatch.setattr(client, "publish", publish)
        monkeypatch.setattr("edge_agent.receiver.service.ACK_S", 0.0)  # each at once
        for _ in range(3):
            box.outbox.put()
            box.tell(box.outbox.committed())
            box.until(box.settled, "settled")
    assert max(acknowledged) == 3
    assert told == acknowledged


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_box_that_is_born_often_takes_no_more_room(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    births = [
        wire.presence(
            IDENTITY,
            online=True,
            boot="b",
            version="0",
            simulated=True,
            epoch="epoch-1",
            oldest_seq=oldest,
        )
        for oldest in range(2, 30)
    ]
    with mosquitto(tmp_path / "broker") as broker, receiver(broker.port, folder) as hub:
        wait_for(lambda: hub.summary().connected, "connected")
        publish.multiple(
            [(birth.topic, birth.payload, 1, True) for birth in births],
            port=broker.port,
            protocol=MQTTv5,
        )
        wait_for(lambda: [box.upto for box in hub.summary().boxes] == [28], "the last birth")
    sql = sqlite3.connect(folder / "hub.sqlite")
    assert sql.execute("SELECT first, last FROM gone").fetchall() == [(1, 28)]
    sql.close()


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_pictures_withdrawn_by_a_press_are_destroyed_at_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, folder) as hub,
        Box(broker.port) as box,
    ):
        box.open("gate", "alley")
        before, doomed = box.outbox.picture("gate", at=99.0), box.outbox.picture("gate", at=100.0)
        box.outbox.picture("alley", at=160.0)
        box.tell(box.outbox.committed())
        box.until(box.settled, "three pictures")
        whole = next((folder / "pictures").rglob(f"*-{doomed.seq}.jpg"))
        whole.with_suffix(".part").write_bytes(b"half of it, left by a power cut")
        whole.with_name("070000-epoch-1-77.jpg").write_bytes(b"whole, and its row never committed")
        box.withdraw(boot="boot-1", from_s=100.0, window_s=60.0, at=161.0)
        for at in (99.5, 100.5, 160.9, 161.5):  # the middle ones were asked back before they came
            box.outbox.picture("gate", at=at)
        box.tell(box.outbox.committed())
        box.until(box.settled, "the late ones")
        box.withdraw(boot="boot-1", from_s=100.0, window_s=60.0, at=161.0)  # again: nothing more
        assert hub.summary().withdrawn == 4
        assert hub.summary().boxes[0].pictures == 3
        assert hub.summary().complete
    left = {path.stem.rpartition("-")[2] for path in files(folder)}
    assert left == {str(before.seq), str(doomed.seq + 3), str(doomed.seq + 6)}


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_the_end_of_a_boot_whose_press_was_cut_off_is_destroyed_at_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, folder) as hub,
        Box(broker.port) as box,
    ):
        box.open("gate")
        seqs = [box.outbox.picture("gate", at=at).seq for at in (100.0, 139.9, 140.0, 200.0)]
        box.tell(box.outbox.committed())
        box.until(box.settled, "four pictures")
        box.withdraw(boot="boot-0", newest_s=60.0, at=5.0)  # of a boot that the hub never saw
        box.withdraw(boot="boot-1", newest_s=60.0, at=9.0)
        box.withdraw(boot="boot-1", newest_s=60.0, at=9.0)  # not another minute of it
        waited = box.outbox.picture("gate", at=300.0)  # from an outage: the box spared it
        again = box.outbox.picture("gate", at=150.0)
        box.tell(box.outbox.committed())
        box.until(box.settled, "what waited")
        box.withdraw(boot="boot-1", newest_s=60.0, at=12.0)  # a restart: it means the same
        assert hub.summary().withdrawn == 3
        assert hub.summary().faults == 0
    left = {path.stem.rpartition("-")[2] for path in files(folder)}
    assert left == {*map(str, seqs[:2]), str(waited.seq)}
    assert str(again.seq) not in left


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_what_was_asked_back_stays_asked_back_over_a_restart_of_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    with mosquitto(tmp_path / "broker") as broker, Box(broker.port) as box:
        box.open("gate")
        with receiver(broker.port, folder):
            box.withdraw(boot="boot-1", from_s=10.0, window_s=60.0, at=70.0)
        with receiver(broker.port, folder) as hub:
            box.outbox.picture("gate", at=20.0)
            box.tell(box.outbox.committed())
            box.until(box.settled, "the late one")
            assert hub.summary().withdrawn == 1
    assert files(folder) == []


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_press_stops_pictures_that_were_already_handed_to_the_link(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, tmp_path / "hub") as hub,
        Box(broker.port) as box,
    ):
        box.open("gate")
        box.until(lambda: box.uplink.status().link is Link.UP, "up")
        box.shutter.press()  # the core has not heard of it yet
        box.outbox.picture("gate")
        box.outbox.put()
        box.tell(box.outbox.committed())
        box.until(lambda: len(box.outbox.kept) == 1, "the record is settled, the picture kept")
        assert hub.summary().boxes[0].pictures == 0


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_by_the_brokers_word_a_record_is_forgotten_without_a_watermark(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, tmp_path / "hub"),
        Box(broker.port, Settlement.BROKER) as box,
    ):
        for _ in range(300):
            box.outbox.put()
        box.tell(box.outbox.committed())
        box.until(box.settled, "settled")


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_what_was_committed_is_known_after_a_restart(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, tmp_path / "hub") as hub,
        Box(broker.port) as box,
    ):
        box.open("gate")
        box.outbox.picture("gate")
        state = wire.camera_state(IDENTITY, "gate", {"gate": "open", "notice": {"en": "ok"}})
        box.perform(box.uplink.publish_state(state, box.clock.now()))
        for _ in range(10):
            box.outbox.put()
        box.tell(box.outbox.committed())
        box.until(lambda: box.settled() and hub.summary().boxes[0].cameras, "settled")
        before = hub.summary()
    with Receiver(
        host="127.0.0.1", port=broker.port, folder=tmp_path / "hub", clock=SystemClock()
    ) as later:
        again = later.summary().boxes[0]
    assert (again.records, again.pictures, again.upto) == (11, 1, 11)
    assert again.kinds == before.boxes[0].kinds
    assert again.cameras == before.boxes[0].cameras


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_hostile_messages_are_counted_and_harm_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    with mosquitto(tmp_path / "broker") as broker, receiver(broker.port, folder) as hub:
        wait_for(lambda: hub.summary().connected, "connected")
        sent = [
            ("live", b"\xff\xfe"),
            ("live", b"[1]"),
            ("live", b"[" * 100_000),
            ("camera/x", b"[]"),
            ("camera/x", b'{"v":1,"a":' + b"[" * 900 + b"]" * 900 + b"}"),
            ("presence", b'{"v":2}'),
            ("snapshot/live/gate", b"no attributes"),
            ("nonsense/with/levels", b""),
            ("../../../../../etc/live", b"[]"),
        ]
        publish.multiple(
            [(f"{NAME}/{leaf}", payload, 1, False) for leaf, payload in sent],
            port=broker.port,
            protocol=MQTTv5,
        )
        wait_for(lambda: hub.summary().faults == 9, "each is counted")
        with Box(broker.port) as box:
            box.outbox.put(data=b'{"why":"half a letter: \\ud800"}')
            box.tell(box.outbox.committed())
            box.until(box.settled, "an honest record")
    assert rows(folder) == [("epoch-1", 1)]
    assert not (folder / "pictures").exists()


@pytest.mark.broker
@pytest.mark.enable_socket
def test_the_command_says_what_it_has_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with iotcore(tmp_path / "broker") as port:
        code = main(
            ["--port", str(port), "--folder", str(tmp_path / "hub"), "--once", "5", "--json"]
        )
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["connected"] is True
    assert told["boxes"] == []


@pytest.mark.enable_socket
def test_the_command_says_that_no_broker_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--port", "1", "--folder", str(tmp_path / "hub"), "--once", "5"])
    told = capsys.readouterr()
    assert code == 2
    assert "not connected to 127.0.0.1:1: nobody listens there" in told.err


def test_the_command_names_what_is_wrong_with_its_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(tmp_path), "--ca", str(tmp_path / "gone.pem")]) == 2
    assert "gone.pem" in capsys.readouterr().err
    for wrong in (
        *(["--port", "99999"], ["--once", "-1"], ["--once", "nan"], ["--once", "inf"]),
        *(["--host", "nosuch..host"], ["--host", "mqtt://hub"], ["--host", ""]),
    ):
        with pytest.raises(SystemExit):
            main(["--folder", str(tmp_path), *wrong])
        assert wrong[0] in capsys.readouterr().err
    assert main(["--folder", str(tmp_path), "--cert", "x"]) == 2
    assert "--ca" in capsys.readouterr().err
    assert main(["--folder", str(tmp_path), "--host", "192.0.2.1"]) == 2
    assert "plain TCP only to this machine; add --ca" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["--folder", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


@pytest.mark.broker
@pytest.mark.enable_socket
@pytest.mark.parametrize("knows", [True, False])
def test_sealed_pictures_are_opened_with_the_identity_and_kept_sealed_without(
    knows: bool, port: int, tmp_path: Path
) -> None:
    ours, theirs = (pyrage.x25519.Identity.generate() for _ in range(2))
    file = tmp_path / "hub.age"
    file.write_text(f"{ours}\n")
    folder = tmp_path / "hub"
    with receiver(port, folder, Opener(file) if knows else None) as hub, Box(port) as box:
        for identity in (ours, theirs):
            box.outbox.picture("gate", sealer=Sealer(str(identity.to_public())))
        box.tell(box.outbox.committed())
        box.open("gate")
        box.until(box.settled, "two pictures")
        assert hub.summary().boxes[0].pictures == 2
        # What is sealed to somebody else is told, and kept all the same.
        assert hub.summary().faults == knows
    first, second = sorted((folder / "pictures").rglob("*.*"))
    assert (first.suffix, second.suffix) == (".jpg" if knows else ".age", ".age")
    assert wire.is_sealed(second.read_bytes())
    assert wire.is_sealed(first.read_bytes()) is not knows
    if knows:
        assert first.read_bytes() == b"\xff\xd8" + b"p" * 2000


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_the_same_record_twice_is_kept_once_and_a_foreign_picture_not_at_all(
    tmp_path: Path,
) -> None:
    outbox = Outbox()
    batch = wire.batch(IDENTITY, wire.LIVE, [wire.event(IDENTITY, outbox.put())])
    foreign = wire.snapshot(IDENTITY, wire.LIVE, outbox.picture("gate"))
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = list(foreign.properties)
    told: list[Summary] = []
    with (
        mosquitto(tmp_path / "broker") as broker,
        Receiver(
            host="127.0.0.1",
            port=broker.port,
            folder=tmp_path / "hub",
            clock=SystemClock(),
            on_change=told.append,
        ) as hub,
    ):
        wait_for(lambda: hub.summary().connected, "connected")
        publish.multiple(
            [(batch.topic, batch.payload, 1, False)] * 3, port=broker.port, protocol=MQTTv5
        )
        stranger = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        stranger.connect("127.0.0.1", broker.port)
        stranger.loop_start()
        topic = foreign.topic.replace("gate", "bridge")
        stranger.publish(topic, b"j", qos=1, properties=properties).wait_for_publish(10)
        stranger.disconnect()
        stranger.loop_stop()
        wait_for(lambda: hub.summary().faults == 1, "the foreign picture")
        summary = hub.summary()
        hub.order(NAME, "policy", b"token")
    assert (summary.duplicates, summary.boxes[0].records) == (2, 1)
    assert "not the camera of the topic" in summary.last_fault
    assert told[-1].faults == 1
    assert not summary.complete


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_receiver_that_cannot_write_gives_up_and_acknowledges_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, folder) as hub,
        Box(broker.port) as box,
    ):
        box.open("gate")
        box.until(lambda: box.uplink.status().link is Link.UP, "up")
        (folder / "pictures").write_text("a file where a folder should be")
        box.outbox.picture("gate")
        box.tell(box.outbox.committed())
        box.until(lambda: hub.summary().failure, "it gives up")
        assert hub.wait_stopped(0)

        def findings_after_one_more() -> object:
            box.outbox.put()
            box.tell(box.outbox.committed())
            return box.uplink.findings()

        box.until(findings_after_one_more, "the box hears that nobody listens")
        assert len(box.outbox.kept) == len(box.outbox.accepted)
    assert rows(folder) == []


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_policies_reach_the_box(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, tmp_path / "hub") as hub,
    ):
        wait_for(lambda: hub.summary().connected, "connected")
        hub.order(NAME, "policy", b"token")
        with Box(broker.port) as box:
            box.until(
                lambda: any(
                    isinstance(event, HubMessage) and event.leaf == "policy" for event in box.seen
                ),
                "policy",
            )
    (policy,) = [e for e in box.seen if isinstance(e, HubMessage) and e.leaf == "policy"]
    assert (policy.payload, policy.retained) == (b"token", True)


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_person_gets_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "hub"
    with mosquitto(tmp_path / "broker") as broker:
        with receiver(broker.port, folder), Box(broker.port) as box:
            box.open("gate")
            state: dict[str, Json] = {
                "gate": "open",
                "notice": {"id": "baik", "en": "all [bold]well\x1b[2J"},
            }
            message = wire.camera_state(IDENTITY, "gate", state)
            box.perform(box.uplink.publish_state(message, box.clock.now()))
            box.outbox.put()
            box.tell(box.outbox.committed())
            box.until(box.settled, "settled")
        arguments = ["--port", str(broker.port), "--folder", str(folder), "--once", "5"]
        assert main(arguments) == 0
        told = capsys.readouterr().out
    assert "kuningan" in told
    assert "gate" in told
    assert "[bold]" in told
    assert "\x1b[2J" not in told


def asked(data: str, boot: str = "now", at: float = 100.0) -> Withdrawal | None:
    """What a hub reads in a withdrawal that was made at *at* of *boot*."""
    return withdrawal(
        wire.Arrived(
            epoch="e",
            seq=1,
            kind="privacy.withdraw",
            rank=Rank.AUDIT,
            camera=None,
            boot=boot,
            at=at,
            time="2027-01-15T07:00:00.000Z",
            trusted=True,
            data=data,
        )
    )


def test_a_withdrawal_means_a_window_of_one_boot() -> None:
    assert asked('{"boot":"now","from_s":40.5,"window_s":60}') == Withdrawal(
        boot="now", first=40.5, last=100.0
    )
    assert asked('{"boot":"then","from_s":-3}') == Withdrawal(
        boot="then", first=-3.0, last=math.inf
    ), "that boot is over: all from then on"
    assert asked('{"boot":"then","newest_s":60}') == Withdrawal(boot="then", length_s=60.0)


@pytest.mark.parametrize(
    "data",
    [
        *("[]", "{}", "5", '{"boot":"now"}', '{"boot":5,"from_s":1}', '{"from_s":1}'),
        *('{"boot":"now","from_s":"1"}', '{"boot":"now","from_s":true}'),
        *('{"boot":"now","from_s":NaN}', '{"boot":"now","newest_s":Infinity}'),
        f'{{"boot":"now","from_s":1{"0" * 400}}}',
        '{"pictures":[{"epoch":"e","seq":"7"}]}',
    ],
)
def test_a_withdrawal_that_cannot_be_read_is_none(data: str) -> None:
    assert asked(data) is None


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_withdrawal_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    with (
        mosquitto(tmp_path / "broker") as broker,
        receiver(broker.port, folder) as hub,
        Box(broker.port) as box,
    ):
        box.open("gate")
        box.outbox.picture("gate", at=100.0)
        box.withdraw(boot="boot-1", since="yesterday", at=161.0)
        assert "withdrawal that cannot be read" in hub.summary().last_fault
        assert not hub.summary().complete
    assert len(files(folder)) == 1


# ---- ranges ----


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=30))
def test_ranges_are_a_set_of_numbers(parts: list[tuple[int, int]]) -> None:
    ranges, model = Ranges(), set[int]()
    for first, more in parts:
        ranges.add(first, first + more)
        model.update(range(first, first + more + 1))
    highest = max(model, default=0)
    gaps = {seq for low, high in ranges.gaps(1000) for seq in range(low, high + 1)}
    assert ranges.highest == highest
    assert gaps == set(range(1, highest)) - model
    assert ranges.missing() == len(gaps)


@given(st.sets(st.integers(1, 200), max_size=80), st.integers(1, 5))
def test_a_bounded_watermark_never_claims_what_is_missing(kept: set[int], limit: int) -> None:
    ranges = Ranges()
    for seq in kept:
        ranges.add(seq, seq)
    upto, missing = ranges.mark(limit)
    lost = {seq for low, high in missing for seq in range(low, high + 1)}
    assert len(missing) <= limit
    assert set(range(1, upto + 1)) - lost <= kept
    assert lost.isdisjoint(kept)


def test_a_summary_is_complete_only_without_gaps_and_faults() -> None:
    assert Summary(connected=True).complete
    assert not Summary(connected=True, faults=1).complete
    assert not Summary(connected=True, failure="disk full").complete
    assert to_json(Summary(connected=False))["boxes"] == []
