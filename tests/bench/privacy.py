"""How fast a press of the privacy switch makes the line dark, and whether anything slips by: presses by the hundred.

    python -m tests.bench.privacy [--presses 300] [--seed 1] [--json]

Eight cameras run, and a line of 2 Mbit/s drains a backlog of pictures to a real mosquitto, with `edge-agent hub` behind it that
commits and acknowledges. Real: the whole `App` (sensors on mock pins, shutter, core, journal with fsync, link), broker, hub.
Driven, as real ones would take 17 s a press to prove their views again:
- the cameras: pictures of real streets (1280x720), with the readings that the real view check gives of them, are posted at
  the periods that the core asks for. They do not stop by themselves at a press, as the real ones do, but when the core says so;
- the clock: from a release until all gates are open and pictures flow it runs six times as fast. From before a press until
  after the last byte it is the real one, and what is measured never is anything else;
- the line (tests/support/thin_line.py): a proxy that takes 250 kB a second from the box, through a window of a few kB.

to_dark_ms: from right before the pin's first edge to the last byte of a picture that the line took from the box before the
switch was released again, a second or more later; 0 = none came. It counts bytes when they are read at the far end of the line's
window, up to 30 ms after they left. Four presses in five come 0 to 2 s after pictures flow again; one in five at any moment
since the release, proofs and all.
leaked_pictures: pictures that a subscriber at the broker got whole, and that were taken between a press and 3 s after its release.
left_in_journal: pictures in a copy of the journal's files, a second or more after the press, that were taken within the purge
window (60 s) before it, or since.
blocked: the same, with the core's loop held for 5 s from 0 to 0.5 s before the press on (for a tenth as many presses, in addition).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final

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
    OpenShutter,
    PictureTaken,
    SceneReading,
)
from edge_agent.core.privacy import LIVE_AFTER_S
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
from edge_agent.simulate import Street
from edge_agent.vision import Eye, References, scaled_grey_from_jpeg
from tests.support.broker import Mosquitto
from tests.support.rig import Process, await_that, command
from tests.support.thin_line import ThinLine

LINE_BYTES_PER_S: Final = 250_000  # 2 Mbit/s
CAMERAS: Final = 8
PERIOD_S: Final = 5.0
PURGE_S: Final = 60.0
FAST: Final = 6.0  # a sensor thread that reads ten times a second must not look silent for 3 s
DWELL_S: Final = 1.0
FLOW_S: Final = 2.0
BLOCK_S: Final = 5.0
ANY_MOMENT: Final = 0.2
BACKLOG_LOW: Final = 40  # pictures
BACKLOG_HIGH: Final = 200
PATIENCE_S: Final = 90.0
# On the wire `mono` is rounded.
ROUNDING_S: Final = 0.002


# ---- what is driven ----


class QuickClock:
    """The box's clock, whose speed can be changed; it never jumps. Any thread."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self._from = (time.monotonic(), self._real.now(), 1.0)
        self._wall_s = self._real.wall() - self._real.now()

    @property
    def boot(self) -> str:
        return self._real.boot

    @property
    def speed(self) -> float:
        return self._from[2]

    def run_at(self, speed: float) -> None:
        self._from = (time.monotonic(), self.now(), speed)

    def now(self) -> float:
        began, at, speed = self._from
        return at + (time.monotonic() - began) * speed

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
        rounds = [[eye.read(scaled_grey_from_jpeg(jpeg)) for jpeg in jpegs] for _ in range(2)]
        shown[name] = [Still(jpeg, read) for jpeg, read in zip(jpegs, rounds[1], strict=True)]
    return shown


def _enlarged(path: Path) -> bytes:
    small = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert small is not None
    large = cv2.resize(small, (1280, 720), interpolation=cv2.INTER_CUBIC)
    _, jpeg = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return jpeg.tobytes()


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
        while not self._over.wait(0.02):
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
                jpeg=still.jpeg,
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
        self.pictures.append(Arrival(levels[-1], told["boot"], float(told["mono"])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """One press, from the edge to the moment the switch could be live again (the box's clock)."""

    edge_at: float
    dark_until: float
    to_dark_ms: float
    under_way: bool  # pictures were on the line when it came
    left: int
    purged_ms: float  # until the journal's files were seen without them
    told_ms: float | None = (
        None  # until its record was at the broker; None = not before the release
    )
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


def pictures_in(journal: Path, scratch: Path, *, boot: str, since: float) -> tuple[int, int] | None:
    """From a copy of the journal's files: pictures of *boot* taken at or after *since*, and all others; None = a bad moment."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    query = (
        "SELECT COALESCE(SUM(boot.name = ? AND record.at >= ?), 0), COUNT(*)"
        " FROM record JOIN boot ON boot.id = record.boot WHERE key >= 16 << 48"
    )
    try:
        for path in journal.glob("journal.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, scratch)
        with contextlib.closing(sqlite3.connect(scratch / "journal.db")) as store:
            within, total = store.execute(query, (boot, since)).fetchone()
    except (OSError, sqlite3.Error):
        return None
    return int(within), int(total) - int(within)


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
        thread = threading.Thread(target=self._run_box, name="box", daemon=True)
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
        self.clock.run_at(FAST)
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

    def outage(self) -> None:
        """No line until enough pictures wait that no press will purge any more."""
        self.outages += 1
        self.line.cut()
        self.clock.run_at(FAST)
        await_that("a backlog", lambda: self.backlog() >= BACKLOG_HIGH, within_s=300.0, every_s=1.0)
        self.line.mend()

    def backlog(self) -> int:
        since = self.clock.now() - PURGE_S
        found = self.pictures(since)
        return -1 if found is None else found[1]

    def pictures(self, since: float) -> tuple[int, int] | None:
        return pictures_in(self.journal, self.folder / "copy", boot=self.clock.boot, since=since)

    def one(self, *, blocked: bool) -> Press:
        """A press at some moment, and the release after it."""
        if self._chance.random() < ANY_MOMENT:
            time.sleep(self._chance.random() * 3.0)
        else:
            self.flow()
            self.clock.run_at(1.0)
            time.sleep(self._chance.random() * FLOW_S)
        self.clock.run_at(1.0)
        held_at = time.monotonic()
        if blocked:
            self._hold()
            held_at = time.monotonic()
            time.sleep(self._chance.random() * 0.5)
        under_way = time.monotonic() - self.line.picture_at() < 0.05
        pressed, edge_at = time.monotonic(), self.clock.now()
        self.street.press()
        time.sleep(DWELL_S)
        if blocked:
            time.sleep(max(0.0, held_at + BLOCK_S - time.monotonic()))
            self._let_go()
        left, purged_at = self._left(edge_at - PURGE_S)
        last = self.line.picture_at()
        told = [at for mono, at in self.subscriber.told if mono >= edge_at - ROUNDING_S]
        press = Press(
            edge_at=edge_at,
            dark_until=self.clock.now() + LIVE_AFTER_S,
            to_dark_ms=round(max(0.0, last - pressed) * 1000, 1),
            under_way=under_way,
            left=left,
            purged_ms=round((purged_at - pressed) * 1000, 1),
            told_ms=round((min(told) - pressed) * 1000, 1) if told else None,
            blocked=blocked,
        )
        self.street.release()
        self.clock.run_at(FAST)
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

    def _left(self, since: float) -> tuple[int, float]:
        """Pictures of the window still in the journal's files once it had 3 s to see to it, and when it was looked."""
        patient_until = time.monotonic() + 3.0
        while True:
            found = self.pictures(since)
            now = time.monotonic()
            if found is not None and (found[0] == 0 or now > patient_until):
                return found[0], now
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
            if number % 10 == 0 or press.left or press.to_dark_ms > 100.0:
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
            f"  their record at the broker: p50 {percentile(told, 50)} ms, p99 {percentile(told, 99)} ms; of {len(cut) - len(told)} not before the release",
            f"  leaked {len(part.leaked())} of {len(part.arrivals)} pictures at the broker",
            f"  left in the journal {sum(press.left for press in part.presses)}, its files seen without them after at most {max(purged):.0f} ms",
        ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Exit code 0 once everything was measured, whatever the figures; 1 if no press met a picture on the line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.privacy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--presses", type=int, default=300, help="default: %(default)s")
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
