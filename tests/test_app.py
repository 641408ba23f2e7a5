"""The composition root with all its real parts: how a box starts, what it does without pins, and how it ends."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import baselines
from edge_agent.app import App, Pins
from edge_agent.clock import SystemClock
from edge_agent.commission import commission_from_files
from edge_agent.config import load
from edge_agent.core.settings import MeasuredLoop, Privacy, Run, SwitchKind
from edge_agent.press_note import NOTE
from edge_agent.simulate import Street
from edge_agent.spool import Holdings, Spool
from edge_agent.vision import References
from tests.support.broker import free_port, mosquitto, needs_mosquitto
from tests.support.film import Film, film, stills, street
from tests.support.patience import patient
from tests.support.rig import Box, CameraOf, await_that, command, committed, ended, stays_so
from tests.support.wired import Wired

# The hub link and the snapshot cameras of these boxes are on loopback, and mostly nobody is there.
pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(600)]

NO_PINS = Pins(factory=None, why_none="this machine has no GPIO chip")


@contextlib.contextmanager
def running(app: App) -> Iterator[list[int]]:
    """*app* in a thread of its own; the list gets its exit code."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(app.run()))
    thread.start()
    try:
        yield codes
    finally:
        app.stop()
        thread.join(patient(20.0))
        assert not thread.is_alive(), "the agent did not stop"


@contextlib.contextmanager
def doorbell() -> Iterator[tuple[int, list[str]]]:
    """A port where a camera would be, and who came to it."""
    visitors: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def watch() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, who = door.accept()
                    visitors.append(str(who))
                    line.close()

        threading.Thread(target=watch, daemon=True).start()
        yield door.getsockname()[1], visitors
        door.shutdown(socket.SHUT_RDWR)


def all_who_came(port: int, visitors: list[str]) -> int:
    """How many came, those included who stand before the door while its keeper is held up: they are let in in order."""
    with socket.create_connection(("127.0.0.1", port)) as last:
        own = str(last.getsockname())
        await_that("its own visit", lambda: own in visitors, within_s=10)
    return len(visitors)


def clip_box(folder: Path, *, hub_port: int | None = None) -> Box:
    """A box with one camera, which plays a film of a street."""
    pictures = folder / "pictures"
    shown = stills(film(street(0), Film(width=640, height=360)), pictures, count=12, apart_s=0.5)
    camera = CameraOf(id="mawar", kind="clip", source=f'path = "{pictures}"', period_s=2.0)
    box = Box(folder=folder / "box", hub_port=hub_port or free_port(), cameras=[camera])
    assert isinstance(commission_from_files(shown, box.views, "mawar"), References)
    return box


# ---- the configuration ----


def test_a_bad_configuration_ends_it_with_the_words_of_check(tmp_path: Path) -> None:
    camera = CameraOf(id="mawar", kind="rtsp", source='url = "rtsp://camera.local/1"')
    box = Box(folder=tmp_path, hub_port=1883, cameras=[camera, camera], more="[journl]\n")
    ran = ended(box.command("run"))
    checked = ended(command("check", str(box.config)))
    assert (ran.returncode, checked.returncode) == (2, 1)
    assert ran.stdout == ""
    assert ran.stderr == checked.stdout
    for word in ("camera.local", "mawar", "journl", "journal"):
        assert word in ran.stderr
    assert not box.journal.exists(), "it began to work on a configuration that is not sound"


def test_a_configuration_that_is_not_there_ends_it_with_a_word(tmp_path: Path) -> None:
    ran = ended(command("run", "--config", str(tmp_path / "box.toml")))
    assert ran.returncode == 2
    assert str(tmp_path / "box.toml") in ran.stderr
    assert "Traceback" not in ran.stderr


# ---- privacy ----


def test_without_pins_no_camera_is_ever_asked_for_anything(tmp_path: Path) -> None:
    with doorbell() as (port, visitors):
        cameras = [
            CameraOf(id="mawar", kind="rtsp", source=f'url = "rtsp://127.0.0.1:{port}/1"'),
            CameraOf(id="melati", kind="http", source=f'url = "http://127.0.0.1:{port}/p.jpg"'),
        ]
        box = Box(folder=tmp_path, hub_port=free_port(), cameras=cameras, switch="latching")
        with running(App(load(str(box.config)), pins=NO_PINS)):
            await_that("a status", box.status, within_s=10)
            # The switch's own rule lets a box go live after 3 s; give it three times as long to get it wrong.
            stays_so("private", lambda: set(box.gates().values()) == {"private"}, for_s=9)
            assert (None, "privacy_unreadable") in box.findings()
            assert visitors == []


def test_the_same_box_asks_its_cameras_once_its_switch_reads_live(tmp_path: Path) -> None:
    # So that the silence above is known to come from the missing pins.
    with doorbell() as (port, visitors):
        cameras = [
            CameraOf(id="mawar", kind="rtsp", source=f'url = "rtsp://127.0.0.1:{port}/1"'),
            CameraOf(id="melati", kind="http", source=f'url = "http://127.0.0.1:{port}/p.jpg"'),
        ]
        box = Box(folder=tmp_path, hub_port=free_port(), cameras=cameras, switch="latching")
        settings = load(str(box.config))
        wiring = Street(settings.privacy)
        with running(App(settings, pins=Pins(factory=wiring.factory))):
            await_that("both cameras asked", lambda: len(visitors) >= 2, within_s=15)
            wiring.press()
            await_that("private", lambda: set(box.gates().values()) == {"private"}, within_s=5)
            asked = all_who_came(port, visitors)
            stays_so("silence", lambda: len(visitors) <= asked, for_s=4)


def test_a_press_destroys_what_waits_and_a_released_switch_starts_from_nothing(
    tmp_path: Path,
) -> None:
    box = clip_box(tmp_path)
    settings = load(str(box.config))
    settings = replace(settings, privacy=Privacy(switch=SwitchKind.LATCHING))
    wiring = Street(settings.privacy)

    def kept() -> int | None:
        last, pictures = committed(box.journal, tmp_path / "desk")
        return pictures if last else None  # None: copied at a bad moment

    with running(App(settings, pins=Pins(factory=wiring.factory))):
        await_that("an open gate", lambda: box.gates() == {"mawar": "open"}, within_s=40)
        await_that("pictures that wait", lambda: (kept() or 0) >= 2, within_s=20)
        wiring.press()
        await_that("private", lambda: box.gates() == {"mawar": "private"}, within_s=5)
        await_that("nothing that waits", lambda: kept() == 0, within_s=5)
        stays_so("dark", lambda: wiring.lamps() == (True, False) and not kept(), for_s=4)
        wiring.release()

        def kept_while_held() -> list[int]:
            """Looked at between two looks at the gate: a test that is held up in between must not blame the proven camera."""
            looks = (box.gates(), kept(), box.gates())
            held = looks[0] == looks[2] == {"mawar": "held"}
            return [looks[1]] if held and isinstance(looks[1], int) else []

        found = await_that("held first", kept_while_held, within_s=20, every_s=0.05)
        assert found == [0], "a picture before its camera was proven again"
    assert not list(tmp_path.rglob("*owed*")), "a note of a purge that is done"


class _SlowCard(Spool):
    """Opens while somebody at the switch does something, and takes its time to close."""

    at_open: Callable[[], None] = staticmethod(lambda: None)
    at_close: Callable[[], None] = staticmethod(lambda: None)

    def __enter__(self) -> Self:
        self.at_open()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__(*_)
        self.at_close()


@pytest.mark.parametrize("when", ["at_open", "at_close"])
def test_a_press_is_seen_while_the_card_keeps_the_start_or_the_end_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    box = clip_box(tmp_path)
    settings = load(str(box.config))
    settings = replace(settings, privacy=Privacy(switch=SwitchKind.LATCHING))
    wiring = Street(settings.privacy)
    note = Path(settings.status_socket).parent / NOTE
    seen: list[bool] = []

    def touch() -> None:
        await_that("a look at the switch", lambda: _noted(note, "live_at") > 0.0, within_s=5)
        wiring.press()
        wiring.release()
        await_that("the note of it", lambda: _noted(note, "pressed") is True, within_s=5)
        seen.append(True)

    monkeypatch.setattr(_SlowCard, when, staticmethod(touch))
    monkeypatch.setattr("edge_agent.app.Spool", _SlowCard)
    with running(App(settings, pins=Pins(factory=wiring.factory))):
        await_that("a status", box.status, within_s=20)
    assert seen == [True]


def _noted(note: Path, what: str) -> float:
    try:
        found: float = json.loads(note.read_bytes()[9:])[what]
    except (OSError, ValueError):
        return 0.0
    return found


def test_a_note_of_the_switch_that_cannot_be_read_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = clip_box(tmp_path)
    settings = load(str(box.config))
    note = Path(settings.status_socket).parent / NOTE
    note.write_bytes(b"spoilt")
    with caplog.at_level("WARNING"), running(App(settings, pins=NO_PINS)):
        await_that("a status", box.status, within_s=20)
    (said,) = [text for text in caplog.messages if "note of the switch" in text]
    assert str(note) in said
    assert "it is damaged" in said


# ---- starting ----


def test_it_starts_without_hub_and_answers_on_its_status_socket(tmp_path: Path) -> None:
    box = clip_box(tmp_path)
    try:
        box.run()
        status = await_that("a status", box.status, within_s=10)
        assert status["box"] == "kuningan/03/05/box-1"
        box.await_open(within_s=40)
        asked = ended(command("status", "--json", "--socket", str(box.socket)))
        assert asked.returncode == 1, "there are findings: no hub, no switch"
        assert json.loads(asked.stdout)["cameras"][0]["gate"] == "open"
    finally:
        box.end()


def test_it_starts_on_a_ruined_journal_and_says_so(tmp_path: Path) -> None:
    box = clip_box(tmp_path)
    box.journal.mkdir()
    (box.journal / "journal.db").write_bytes(b"no journal at all " * 500)
    try:
        box.run()
        box.await_open(within_s=40)
        assert (None, "journal_broken") in box.findings()
        await_that(
            "new records", lambda: committed(box.journal, tmp_path / "copy")[0] > 3, within_s=10
        )
    finally:
        box.end()


# ---- the cable ----


def test_a_cut_run_is_held_and_one_work_order_that_outlives_the_process(tmp_path: Path) -> None:
    box = clip_box(tmp_path)
    run = Run(
        camera="mawar",
        cable="cat5e-outdoor",
        length_m=50,
        place="tiang 3",
        loop=MeasuredLoop(channel=0),
    )
    folder = str(tmp_path / "runs")
    settings = replace(load(str(box.config)), runs=(run,), baselines_folder=folder)
    baselines.save(folder, Wired((run,), bit_by_bit=False).commission("mawar"))
    wiring = Street(settings.privacy, settings.runs, bit_by_bit=False)

    def orders() -> list[dict[str, object]]:
        found = (box.status() or {}).get("orders")
        return found if isinstance(found, list) else []

    with running(App(settings, pins=Pins(factory=wiring.factory))):
        await_that("an open gate", lambda: box.gates() == {"mawar": "open"}, within_s=40)
        assert box.findings() <= {(None, "hub_unreachable"), (None, "privacy_no_switch")}
        wiring.cut_run("mawar", at_m=20)
        await_that("held", lambda: box.gates() == {"mawar": "held"}, within_s=5)
        (order,) = await_that("a work order", orders, within_s=20)
    assert ("mawar", "cable_open") not in box.findings(), "nobody answers any more"
    with running(App(settings, pins=Pins(factory=wiring.factory))):
        await_that(
            "its finding again", lambda: ("mawar", "cable_open") in box.findings(), within_s=20
        )
        (after,) = await_that("its work order again", orders, within_s=20)
        assert after["order"] == order["order"]
        assert after["bring"] == order["bring"]
        assert "55 m of outdoor Cat5e cable" in str(after["bring"])
        assert box.gates()["mawar"] != "open"


# ---- ending ----


@pytest.mark.broker
@needs_mosquitto
def test_told_to_stop_it_says_farewell_and_ends_well(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        box = clip_box(tmp_path, hub_port=broker.port)
        told: list[tuple[bool, dict[str, object]]] = []

        def note(_client: Client, _user: object, message: MQTTMessage) -> None:
            told.append((message.retain, json.loads(message.payload)))

        listener = Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=MQTTv5)
        listener.on_message = note
        listener.connect("127.0.0.1", broker.port)
        listener.subscribe("cctv/v1/kuningan/03/05/box-1/presence", qos=1)
        listener.loop_start()
        try:
            agent = box.run()
            await_that("its birth", lambda: told and told[-1][1]["state"] == "online", within_s=15)
            assert agent.terminate() == 0
            await_that("its farewell", lambda: told[-1][1]["state"] == "offline", within_s=5)
            # A farewell, and not the Will that the broker publishes for the dead: the box took its leave. The broker hears of
            # that after the farewell, and says so when it gets to it.
            leave = "Received DISCONNECT from kuningan-03-05-box-1"
            await_that("its leave", lambda: leave in broker.log.read_text(), within_s=5)
        finally:
            box.end()
            listener.disconnect()
            listener.loop_stop()
        assert [what["state"] for _, what in told] == ["online", "offline"]
    assert not box.socket.exists(), "it left its socket behind"
    assert "Traceback" not in agent.words()


class _FailingClock(SystemClock):
    """A clock that is well until told; then one thread's next question ends in an error nobody foresaw."""

    def __init__(self) -> None:
        super().__init__()
        self.victim = ""

    def now(self) -> float:
        if threading.current_thread().name == self.victim:
            raise LookupError("the clock fell from the wall")
        return super().now()


@pytest.mark.parametrize("part", ["journal", "hub-link", "cameras", "sensors", "box"])
def test_a_part_that_dies_ends_the_agent_so_that_it_starts_anew_closed(
    tmp_path: Path, part: str
) -> None:
    box = clip_box(tmp_path)
    settings = load(str(box.config))
    clock = _FailingClock()
    wiring = Street(Privacy(switch=settings.privacy.switch))
    app = App(settings, pins=Pins(factory=wiring.factory), clock=clock)
    with running(app) as codes:
        await_that("life", box.status, within_s=10)
        assert not codes
        clock.victim = part
        await_that("its end", lambda: codes, within_s=20)
    assert codes == [1]
    status = json.loads(app.snapshot())
    assert status["box"] == "kuningan/03/05/box-1"


# ---- another street ----


@pytest.mark.broker
@pytest.mark.timeout(240)
@needs_mosquitto
def test_what_a_box_recorded_in_one_street_never_goes_out_under_the_name_of_another(
    tmp_path: Path,
) -> None:
    """The same camera hangs there, its view is proven, the hub is there: only the street is another."""
    box = clip_box(tmp_path)
    try:
        agent = box.run()
        box.await_open(within_s=40)
        await_that(
            "pictures that wait",
            lambda: committed(box.journal, tmp_path / "copy")[1] >= 2,
            within_s=20,
        )
        assert agent.terminate() == 0
        with Holdings(str(box.journal)) as held:
            former = held.epoch
            owed = sum(shelf.records for shelf in held.shelves())
        text = box.config.read_text()
        assert 'rt = "05"' in text
        with mosquitto(tmp_path / "broker") as broker:
            moved = text.replace('rt = "05"', 'rt = "06"')
            box.config.write_text(moved.replace(f"port = {box.hub_port}", f"port = {broker.port}"))
            heard: list[tuple[str, str]] = []

            def note(_client: Client, _user: object, message: MQTTMessage) -> None:
                told = repr(message.payload) + repr(getattr(message, "properties", None))
                heard.append((message.topic, told))

            listener = Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=MQTTv5)
            listener.on_message = note
            listener.connect("127.0.0.1", broker.port)
            listener.subscribe("cctv/#", qos=1)
            listener.loop_start()
            try:
                box.run()
                await_that(
                    "records of the new street",
                    lambda: sum("/live" in topic for topic, _ in heard) >= 3,
                    within_s=40,
                )
                await_that(
                    "a picture of the new street",
                    lambda: any("/snapshot/" in topic for topic, _ in heard),
                    within_s=60,
                )
                assert (None, "journal_parked") in box.findings()
            finally:
                box.end()
                listener.disconnect()
                listener.loop_stop()
        assert {topic.split("/")[4] for topic, _ in heard} == {"06"}
        with Holdings(str(box.journal)) as held:
            assert any(held.epoch in told for _, told in heard), "a check that can see an epoch"
        assert not [topic for topic, told in heard if former in told]
        with Holdings(str(box.journal / "parked" / f"kuningan_03_05_{box.name}")) as held:
            assert held.epoch == former
            assert sum(shelf.records for shelf in held.shelves()) == owed
    finally:
        box.end()
