"""How fast a press of the privacy switch makes the line dark, and whether anything slips by: a thousand presses.

    python -m tests.bench.privacy --json [--presses 1000] [--seed 1]

Eight cameras run, and a line of 2 Mbit/s drains a backlog of pictures to a real mosquitto, with `edge-agent hub` behind it that
commits and acknowledges. Real: the whole `App` (sensors on mock pins, shutter, core, journal with fsync, link), broker, hub.
Driven, as real ones would take 17 s a press to prove their views again:
- the cameras: pictures of real streets (1280x720), with the readings that the real view check gives of them, are posted at
  the periods that the core asks for. They do not stop by themselves at a press, as the real ones do, but when the core says so;
- the clock: between a press that was looked at and right before the next one it runs up to 48 times as fast (as fast as core
  and sensor thread keep up with it), and the sensor thread reads so much oftener. From 0.05 s before a press until after the
  last byte both are the real ones, and what is measured never is anything but real time;
- the line (tests/support/thin_line.py): a proxy that takes 250 kB a second from the box, through a window of a few kB.

to_dark_ms: from right before the pin's first edge to the last byte of a picture that the line took from the box, be it before
the switch is released (0.2 s at the earliest) or in the 8 s of the box's clock after that, in which no gate can open; 0 = none
came. It counts bytes when they are read at the far end of the line's window, up to 30 ms after they left. Four presses in five
come 0 to 0.5 s after pictures flow again (one takes 0.4 s on the line); one in five at any moment since the release, proofs and all.
leaked_pictures: pictures that a subscriber at the broker got whole, and that were taken between a press and 3 s after its release.
left_in_journal: pictures that were taken within the purge window (60 s) before a press, or until 3 s after its release, and of
which there is anything: a row in a copy of the journal's database, or a mark in the bytes of any file of its folder (each picture
says at its beginning and at its end when it was taken). Looked at from 0.2 s after the press on, for 3 s at the most until all
are gone, and once more, as patiently, what was taken before any gate can open again.
blocked: the same, with the core's loop held for 5 s from 0 to 0.5 s before the press on (for a tenth as many presses, in addition).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias

import cv2
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import app as product
from edge_agent.clock import SystemClock
from edge_agent.commission import commission_from_files
from edge_agent.core import wire
from edge_agent.core.messages import (
    CameraOpened,
    Command,
    Event,
    KeepPicture,
    OpenShutter,
    PictureTaken,
    SceneReading,
)
from edge_agent.core.privacy import LIVE_AFTER_S
from edge_agent.core.scene import SPAN_S
from edge_agent.core.settings import (
    Camera,
    CameraKind,
    Health,
    Hub,
    Identity,
    Journal,
    Privacy,
    Settings,
    SwitchKind,
)
from edge_agent.demo_pictures import STREETS
from edge_agent.sensors import rounds
from edge_agent.sensors.rounds import POLL_S
from edge_agent.simulate import Street
from edge_agent.vision import Eye, References, scaled_grey_from_jpeg
from tests.support.broker import Mosquitto
from tests.support.rig import Process, await_that, command
from tests.support.thin_line import ThinLine

LINE_BYTES_PER_S: Final = 250_000  # 2 Mbit/s
CAMERAS: Final = 8
PERIOD_S: Final = 5.0
PURGE_S: Final = 60.0
FAST: Final = 48.0
AHEAD_S: Final = 1.5  # the sensor thread tells each second; 3 s are silence to the core
CORE_THREAD: Final = "box"
SENSOR_THREAD: Final = "sensors"
DWELL_S: Final = 0.2  # six times as long as 99 of 100 presses take
HAND_S: Final = 1.0  # of the box's clock: then a press is no loose wire
FLOW_S: Final = 0.5  # a picture takes 0.4 s on the line
SEE_TO_S: Final = 3.0  # the journal sees to a purge within that, or pictures were left
REAL_S: Final = 0.05  # the clock is the real one so long before a press
BLOCK_S: Final = 5.0
ANY_MOMENT: Final = 0.2
ANY_S: Final = 18.0  # of the box's clock; gates open 12 s after a release
# Of the box's clock: no gate opens sooner after a release than 3 s and the proof of a view, whoever else needs the processor.
CLOSED_S: Final = 8.0
SURELY_CLOSED_S: Final = LIVE_AFTER_S + SPAN_S
BACKLOG_LOW: Final = 30  # pictures
BACKLOG_HIGH: Final = 120
PATIENCE_S: Final = 90.0
COPIES: Final = 20  # looks at the database until two are alike
# On the wire `mono` is rounded.
ROUNDING_S: Final = 0.002


# ---- what is driven ----


class QuickClock:
    """The box's clock, whose speed can be changed. Any thread.

    While it is quick it waits for the box: it is never more than `AHEAD_S` ahead of what the core or the sensor thread was told
    last. Else a machine that is busy with others would make the one look silent to the other.
    """

    def __init__(self) -> None:
        self._real = SystemClock()
        self._from = (time.monotonic(), self._real.now(), 1.0)
        self._wall_s = self._real.wall() - self._real.now()
        self._told = dict.fromkeys((CORE_THREAD, SENSOR_THREAD), math.inf)  # not yet there

    @property
    def boot(self) -> str:
        return self._real.boot

    def run_at(self, speed: float) -> None:
        self._from = (time.monotonic(), self.now(), speed)

    def now(self) -> float:
        began, at, speed = self._from
        now = at + (time.monotonic() - began) * speed
        if speed != 1.0:
            now = max(at, min(now, min(self._told.values()) + AHEAD_S))
        asks = threading.current_thread().name
        if asks in self._told:
            self._told[asks] = now
        return now

    def wall(self) -> float:
        return self._wall_s + self.now()

    def trusted(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Still:
    """One picture, and what the real view check reads from it."""

    jpeg: bytes
    reading: SceneReading


def stills(views: Path) -> dict[str, list[Still]]:
    """What each camera will show, after it was commissioned the product's way."""
    shown: dict[str, list[Still]] = {}
    for number in range(CAMERAS):
        street = STREETS[number % len(STREETS)]
        name = f"camera-{number + 1}"
        references = commission_from_files(street.commission, views, name)
        assert isinstance(references, References), references
        eye = Eye(references)
        jpegs = [_enlarged(path) for path in street.stream]
        reads = [[eye.read(scaled_grey_from_jpeg(jpeg)) for jpeg in jpegs] for _ in range(2)]
        shown[name] = [Still(jpeg, read) for jpeg, read in zip(jpegs, reads[1], strict=True)]
    return shown


def _enlarged(path: Path) -> bytes:
    small = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert small is not None
    large = cv2.resize(small, (1280, 720), interpolation=cv2.INTER_CUBIC)
    _, jpeg = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return jpeg.tobytes()


Shown: TypeAlias = tuple[str, float]  # camera, when it was taken
_MARK: Final = re.compile(rb"<(camera-\d+) at (\d+\.\d{6})>")


def marked(jpeg: bytes, camera: str, at: float) -> bytes:
    """The picture, which says at both ends whose it is: in a comment of its own, and behind its last byte."""
    mark = b"<%s at %.6f>" % (camera.encode(), at)
    comment = b"\xff\xfe" + (len(mark) + 2).to_bytes(2, "big") + mark
    return jpeg[:2] + comment + jpeg[2:] + mark


def marks(raw: bytes) -> Iterator[Shown]:
    """Every picture of which an end lies in *raw*, perhaps twice."""
    # Looked for by its first bytes alone: an expression takes ten times as long over pictures.
    at = raw.find(b"<camera-")
    while at >= 0:
        if found := _MARK.match(raw, at):
            yield found[1].decode(), float(found[2])
        at = raw.find(b"<camera-", at + 1)


class DrivenCameras:
    """In place of the agent's own: the same methods, and pictures at the same pace, without workers and without decoding."""

    shown: dict[str, list[Still]]  # set once, before an App is built

    def __init__(
        self,
        cameras: tuple[Camera, ...],
        *,
        post: Callable[[Event], None],
        clock: QuickClock,
        **_: object,
    ) -> None:
        self._post = post
        self._clock = clock
        self._periods = {camera.id: camera.period_s for camera in cameras}
        self._due: dict[str, float] = {}
        self._count = 0
        self._generation = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="driven-cameras", daemon=True)

    def __enter__(self) -> DrivenCameras:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5.0)

    def start(self, **_: object) -> None:
        with self._lock:
            if self._due:
                return
            self._generation += 1
            now = self._clock.now()
            for number, camera in enumerate(self._periods):
                self._post(
                    CameraOpened(
                        camera=camera,
                        generation=self._generation,
                        codec="h264",
                        width=1280,
                        height=720,
                    )
                )
                self._due[camera] = now + 0.5 + 0.1 * number

    def stop(self) -> None:
        with self._lock:
            self._due.clear()

    def set_period(self, camera: str, period_s: float) -> None:
        with self._lock:
            self._periods[camera] = period_s
            if camera in self._due:
                self._due[camera] = min(self._due[camera], self._clock.now() + period_s)

    def learn(self, wanted: object) -> None:
        """No lesson is played here."""

    def progress(self) -> float:
        return self._clock.now()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            with self._lock:
                now = self._clock.now()
                for camera, due in self._due.items():
                    if now >= due:
                        self._due[camera] = max(due + self._periods[camera], now)
                        self._take(camera, now)

    def _take(self, camera: str, now: float) -> None:
        self._count += 1
        of = self.shown[camera]
        still = of[self._count % len(of)]
        age_s = 0.1
        self._post(
            PictureTaken(
                camera=camera,
                generation=self._generation,
                taken_at=now - age_s,
                age_s=age_s,
                width=1280,
                height=720,
                codec="h264",
                gop_s=2.0,
                bytes_per_s=500_000.0,
                reading=replace(still.reading, same_bits=1),
                jpeg=marked(still.jpeg, camera, now - age_s),
            )
        )


@contextlib.contextmanager
def driven(shown: dict[str, list[Still]]) -> Iterator[None]:
    """While the agent is built, its cameras are these."""
    DrivenCameras.shown = shown
    names = vars(product)
    own = names["Cameras"]
    names["Cameras"] = DrivenCameras
    try:
        yield
    finally:
        names["Cameras"] = own


# ---- what is measured ----


@dataclass(frozen=True, slots=True)
class Arrival:
    """A whole picture at the broker."""

    camera: str
    boot: str
    mono: float
    history: bool = False  # of the backlog


class Subscriber:
    """At the broker itself, beside the hub: notes every picture, and when a press was told. A context manager."""

    def __init__(self, port: int) -> None:
        self.pictures: list[Arrival] = []
        self.told: list[tuple[float, float]] = []  # `mono` of a press, and when it was heard of
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="beside", protocol=MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("cctv/v1/#", qos=1)
        self._client.on_message = lambda _c, _u, message: self._note(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _note(self, message: MQTTMessage) -> None:
        levels = message.topic.split("/")
        if levels[-1] in {wire.LIVE, wire.HISTORY}:
            now = time.monotonic()
            self.told += [
                (float(event["mono"]), now)
                for event in json.loads(message.payload)
                if event["type"].endswith("privacy.on")
            ]
        if "snapshot" not in levels:
            return
        told = dict(getattr(message.properties, "UserProperty"))  # noqa: B009 - untyped in the library
        history = levels[-2] == wire.HISTORY
        self.pictures.append(Arrival(levels[-1], told["boot"], float(told["mono"]), history))


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """One press, from the edge to the moment the switch could be live again (the box's clock)."""

    edge_at: float
    dark_until: float
    to_dark_ms: float
    under_way: bool  # pictures were on the line when it came
    kept: int  # pictures of the purge window that the journal had been given
    left: int  # of those, or of any later ones
    purged_ms: float  # until the journal's files were seen without them
    told_ms: float | None = None  # until its record was at the broker; None = not while it was dark
    blocked: bool


@dataclass(kw_only=True)
class Outcome:
    """All presses, and what the broker got."""

    presses: list[Press] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    boot: str = ""

    def of(self, *, blocked: bool) -> Outcome:
        """Only these."""
        chosen = [press for press in self.presses if press.blocked is blocked]
        return Outcome(presses=chosen, arrivals=self.arrivals, boot=self.boot)

    def leaked(self) -> list[Arrival]:
        """Pictures at the broker that were taken while the switch said private."""
        return [
            one
            for one in self.arrivals
            if one.boot == self.boot
            and any(
                press.edge_at + ROUNDING_S < one.mono < press.dark_until - ROUNDING_S
                for press in self.presses
            )
        ]

    def json(self) -> dict[str, object]:
        """The keys of the last line, but for `blocked` and the number."""
        times = [press.to_dark_ms for press in self.presses]
        return {
            "to_dark_ms": {
                "p50": percentile(times, 50),
                "p99": percentile(times, 99),
                "max": max(times, default=None),
            },
            "leaked_pictures": len(self.leaked()),
            "left_in_journal": sum(press.left for press in self.presses),
        }


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The least value that so many percent of all do not exceed."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1).__int__()]


def rows_in(journal: Path, scratch: Path, boot: str) -> set[Shown] | None:
    """From a copy of the journal's database: its pictures of *boot*; None = a bad moment."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    query = (
        "SELECT camera.name, record.at FROM record JOIN boot ON boot.id = record.boot"
        " JOIN camera ON camera.id = record.camera WHERE key >= 16 << 48 AND boot.name = ?"
    )
    try:
        files = _standing(journal)
        if files is None:
            return None
        for name, raw in files.items():
            (scratch / name).write_bytes(raw)
        with contextlib.closing(sqlite3.connect(scratch / "journal.db")) as store:
            return {(str(name), round(float(at), 6)) for name, at in store.execute(query, (boot,))}
    except (OSError, sqlite3.Error):
        return None


def _standing(journal: Path) -> dict[str, bytes] | None:
    """Database and log as they were at one moment; None = they are written all the time.

    Read one after the other with a checkpoint between them, the two are of different moments: put together they show rows that are
    deleted, and pages of other rows in their place. Read twice and the same each time, both stood still between the two reads.
    """
    before = _database(journal)
    for _ in range(COPIES):
        after = _database(journal)
        if after == before:
            return after
        before = after
    return None


def _database(journal: Path) -> dict[str, bytes]:
    names = ("journal.db", "journal.db-wal")
    return {name: (journal / name).read_bytes() for name in names if (journal / name).exists()}


def bytes_in(journal: Path) -> set[Shown]:
    """Every picture of which there is an end in any file of the journal's folder."""
    found: set[Shown] = set()
    for path in journal.rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # deleted since; a folder
            found |= set(marks(path.read_bytes()))
    return found


# ---- the street ----


class Rig:
    """Broker, hub, line and one whole box within this process. A context manager."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self._chance = random.Random(seed)
        self._stack = contextlib.ExitStack()
        self._news = threading.Condition()
        self._open: frozenset[str] = frozenset()
        self._result: int | None = None
        self._block = threading.Event()
        self._blocked = threading.Event()
        self._go = threading.Event()
        self._pause_s: float | None = 0.0
        self._kept: deque[float] = deque(maxlen=10_000)
        self.clock = QuickClock()
        self.outcome = Outcome(boot=self.clock.boot)
        self.outages = 0

    def __enter__(self) -> Rig:
        with contextlib.ExitStack() as stack:
            self._set_up(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._go.set()
        self._stack.close()

    def _set_up(self, stack: contextlib.ExitStack) -> None:
        stack.callback(self._run_at, 1.0)
        broker = Mosquitto(self.folder / "broker").start()
        stack.callback(broker.kill)
        hub_folder = self.folder / "hub"
        hub_folder.mkdir()
        words = command("hub", "--port", str(broker.port), "--json", "--folder", str(hub_folder))
        hub = Process(words, hub_folder / "hub.log")
        stack.callback(hub.kill)
        self.subscriber = stack.enter_context(Subscriber(broker.port))
        self.line = stack.enter_context(ThinLine(broker.port, bytes_per_s=LINE_BYTES_PER_S))
        settings = self._settings()
        self.journal = Path(settings.journal.folder)
        self.street = Street(settings.privacy)
        self.cameras = frozenset(camera.id for camera in settings.cameras)
        stack.enter_context(driven(stills(Path(settings.views_folder))))
        self.app = product.App(
            settings,
            pins=product.Pins(factory=self.street.factory),
            clock=self.clock,
            chance=self._chance.random,
            watch=self._watched,
        )
        thread = threading.Thread(target=self._run_box, name=CORE_THREAD, daemon=True)
        thread.start()
        stack.callback(thread.join, 20.0)
        stack.callback(self.app.stop)

    def _settings(self) -> Settings:
        return Settings(
            identity=Identity(kelurahan="kuningan", rw="03", rt="05", box="bench-box"),
            hub=Hub(host="127.0.0.1", port=self.line.port, tls=None),
            privacy=Privacy(switch=SwitchKind.LATCHING, purge_s=PURGE_S),
            cameras=tuple(
                Camera(
                    id=f"camera-{number + 1}",
                    name=f"Camera {number + 1}",
                    kind=CameraKind.HTTP,
                    source="http://127.0.0.1:9/driven",
                    period_s=PERIOD_S,
                )
                for number in range(CAMERAS)
            ),
            journal=Journal(
                folder=str(self.folder / "journal"),
                quota_bytes=500_000_000,
                disk_floor_bytes=1_000_000,
            ),
            health=Health(
                disk_free_min_bytes=1_000_000, memory_used_max_percent=99.9, cpu_celsius_max=110.0
            ),
            baselines_folder=str(self.folder / "runs"),
            views_folder=str(self.folder / "views"),
            status_socket=str(self.folder / "status.sock"),
            simulated=True,
        )

    def _run_box(self) -> None:
        try:
            self._result = self.app.run()
        finally:
            self._result = 1 if self._result is None else self._result
            with self._news:
                self._news.notify_all()

    def _watched(self, command: Command) -> None:
        """The core's own thread, after each command."""
        if isinstance(command, KeepPicture):
            self._kept.append(command.picture.taken_at)
        if isinstance(command, OpenShutter):
            with self._news:
                self._open = command.cameras
                self._news.notify_all()
        if self._block.is_set():
            self._blocked.set()
            self._go.wait()

    # -- what is done to it --

    def flow(self) -> None:
        """Until all gates are open and a picture is on the line. Quick."""
        self._run_at(FAST)
        began = time.monotonic()
        with self._news:
            come = self._news.wait_for(
                lambda: self._open == self.cameras or self._result is not None, PATIENCE_S
            )
        seen = self.app.snapshot().decode()
        assert come, f"gates do not open: {seen}"
        assert self._result is None, f"the agent ended: {seen}"
        await_that(
            "pictures on the line",
            lambda: self.line.picture_at() > began,
            within_s=PATIENCE_S,
            every_s=0.01,
        )

    def _run_at(self, speed: float) -> None:
        """Box's clock, and its sensor thread with it: else it would look silent to a core whose seconds are so short."""
        vars(rounds)["POLL_S"] = POLL_S / speed
        self.clock.run_at(speed)

    def outage(self) -> None:
        """No line until enough pictures wait that no press will purge any more."""
        self.outages += 1
        self.line.cut()
        self._run_at(FAST)
        await_that("a backlog", lambda: self.backlog() >= BACKLOG_HIGH, within_s=300.0, every_s=0.2)
        self.line.mend()

    def backlog(self) -> int:
        """Pictures in the journal that are too old for the next press."""
        since = self.clock.now() - PURGE_S
        rows = rows_in(self.journal, self.folder / "copy", self.clock.boot)
        return -1 if rows is None else sum(at < since for _, at in rows)

    def pictures(self, since: float, before: float = math.inf) -> set[Shown] | None:
        """Of which there is a row or a byte in the journal's folder, taken in that time; None = a bad moment."""
        rows = rows_in(self.journal, self.folder / "copy", self.clock.boot)
        if rows is None:
            return None
        return {one for one in rows | bytes_in(self.journal) if since <= one[1] < before}

    def one(self, *, blocked: bool) -> Press:
        """A press at some moment, and the release after it."""
        if self._pause_s is not None:
            time.sleep(self._pause_s)
        else:
            self.flow()
            time.sleep(self._chance.random() * FLOW_S)
        self._run_at(1.0)
        time.sleep(REAL_S)
        held_at = time.monotonic()
        if blocked:
            self._hold()
            held_at = time.monotonic()
            time.sleep(self._chance.random() * 0.5)
        under_way = time.monotonic() - self.line.picture_at() < 0.05
        pressed, edge_at = time.monotonic(), self.clock.now()
        self.street.press()
        kept = sum(at >= edge_at - PURGE_S for at in tuple(self._kept))
        self._kept.clear()  # what the next press will find no more
        time.sleep(DWELL_S)
        if blocked:
            time.sleep(max(0.0, held_at + BLOCK_S - time.monotonic()))
            self._let_go()
        left, purged_at = self._left(edge_at - PURGE_S)
        last = self.line.picture_at()
        self._run_at(FAST)
        time.sleep(HAND_S / FAST)
        released_at = self.clock.now()
        self.street.release()
        any_moment = self._chance.random() < ANY_MOMENT
        pause_s = self._chance.random() * ANY_S / FAST if any_moment else None
        closed_s = CLOSED_S / FAST
        watched_s = closed_s if pause_s is None else min(closed_s, pause_s)
        self._pause_s = None if pause_s is None else pause_s - watched_s
        time.sleep(watched_s)
        later = self.line.picture_at()
        if self.clock.now() < released_at + SURELY_CLOSED_S:
            last = later
        # A slow disk may hold up the very write that the purge waits for, so that the first look came before either.
        back, _ = self._left(edge_at - PURGE_S, released_at + LIVE_AFTER_S)
        told = [at for mono, at in self.subscriber.told if mono >= edge_at - ROUNDING_S]
        press = Press(
            edge_at=edge_at,
            dark_until=released_at + LIVE_AFTER_S,
            to_dark_ms=round(max(0.0, last - pressed) * 1000, 1),
            under_way=under_way,
            kept=kept,
            left=len(left | back),
            purged_ms=round((purged_at - pressed) * 1000, 1),
            told_ms=round((min(told) - pressed) * 1000, 1) if told else None,
            blocked=blocked,
        )
        self.outcome.presses.append(press)
        return press

    def _hold(self) -> None:
        self._blocked.clear()
        self._go.clear()
        self._block.set()
        assert self._blocked.wait(10.0), "the core does nothing that could be held"

    def _let_go(self) -> None:
        self._block.clear()
        self._go.set()

    def _left(self, since: float, before: float = math.inf) -> tuple[set[Shown], float]:
        """Pictures of the window of which there still is anything once the journal had 3 s to see to it, and when it was looked.

        AssertionError if the journal gives no moment to look at it.
        """
        patient_until = time.monotonic() + SEE_TO_S
        while True:
            found = self.pictures(since, before)
            now = time.monotonic()
            if found is not None and (not found or now > patient_until):
                return found, now
            unseen = "nothing is known of what is left: the journal's files never stood still, or cannot be read"
            assert found is not None or now < patient_until + PATIENCE_S, unseen
            time.sleep(0.05)


def run(
    presses: int,
    blocked: int,
    *,
    seed: int,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
    backlog: bool = True,
) -> Outcome:
    """So many presses, then so many with the core held; *backlog*: behind outages that leave one."""
    with Rig(folder, seed) as rig:
        for number in range(presses + blocked):
            if backlog and number % 5 == 0 and rig.backlog() < BACKLOG_LOW:
                rig.flow()
                rig.outage()
            press = rig.one(blocked=number >= presses)
            held = ", core held" if press.blocked else ""
            if number % 50 == 0 or press.left or press.to_dark_ms > 100.0:
                say(
                    f"press {number + 1:4}  dark after {press.to_dark_ms:6.1f} ms"
                    f"  purged by {press.purged_ms:6.0f} ms  left {press.left}{held}"
                )
        rig.flow()  # what a press left in some buffer would come now
        time.sleep(2.0)
        rig.outcome.arrivals = list(rig.subscriber.pictures)
        say(
            f"{rig.outages} outages, {rig.line.connections} connections,"
            f" {rig.line.picture_bytes / 1e6:.1f} MB of pictures over the line"
        )
        return rig.outcome


def summary(outcome: Outcome) -> dict[str, object]:
    """The last line."""
    plain, held = outcome.of(blocked=False), outcome.of(blocked=True)
    return {"presses": len(plain.presses), **plain.json(), "blocked": held.json()}


def table(outcome: Outcome) -> str:
    """The same for people, and how much it rests on."""
    lines = []
    for name, part in (
        ("as it runs", outcome.of(blocked=False)),
        ("core held for 5 s", outcome.of(blocked=True)),
    ):
        if not part.presses:
            continue
        cut = [press for press in part.presses if press.under_way]
        on_line = [press.to_dark_ms for press in cut]
        told = [press.told_ms for press in cut if press.told_ms is not None]
        times = [press.to_dark_ms for press in part.presses]
        purged = [press.purged_ms for press in part.presses]
        lines += [
            f"{name}: {len(times)} presses, {len(on_line)} while pictures were on the line",
            f"  dark after   p50 {percentile(times, 50)} ms, p99 {percentile(times, 99)} ms, at most {max(times)} ms",
            f"  of those with pictures on the line: p50 {percentile(on_line, 50)} ms, p99 {percentile(on_line, 99)} ms",
            f"  their record at the broker: p50 {percentile(told, 50)} ms, p99 {percentile(told, 99)} ms; of {len(cut) - len(told)} not while it was dark",
            f"  leaked {len(part.leaked())} of {len(part.arrivals)} pictures at the broker ({sum(one.history for one in part.arrivals)} from the backlog)",
            f"  left in the journal {sum(press.left for press in part.presses)} of {sum(press.kept for press in part.presses)}, its files seen without them after at most {max(purged):.0f} ms",
        ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Exit code 0 once everything was measured, whatever the figures; 1 if no press met a picture on the line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.privacy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--presses", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument(
        "--json", action="store_true", help="kept for scripts; the last line is JSON in any case"
    )
    options = parser.parse_args(argv)
    presses = int(options.presses)
    with tempfile.TemporaryDirectory(prefix="bench-privacy-") as name:
        outcome = run(
            presses, max(1, presses // 10), seed=int(options.seed), folder=Path(name), say=say
        )
    say(table(outcome))
    say(f"load average {os.getloadavg()[0]:.1f}")
    say(json.dumps(summary(outcome)))
    return 0 if any(press.under_way for press in outcome.presses) else 1


if __name__ == "__main__":
    sys.exit(main())
