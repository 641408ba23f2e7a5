"""The demo's stage: a whole box, unchanged, and a whole hub, on one machine, with every wait bounded.

Promises: the box is `App` as on a pole, with its own worker process, journal and link; only what it senses is simulated,
and it says so (`simulated`), so that no real hub would take its pictures; nothing listens beyond loopback; leaving ends every
process and thread that was begun here, in reverse order, and removes what was not asked to be kept.
Threads: the box has one, the caller's plays the acts; `board` may be called from any.
Not its job: the story (acts.py), judging (evidence.py), drawing (view.py).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from joserfc.jwk import OKPKey

from edge_agent.app import App, Pins
from edge_agent.clock import SystemClock
from edge_agent.commission import commission_from_files
from edge_agent.core.messages import Command, KeepPicture, Level, OpenShutter, Say
from edge_agent.core.settings import (
    Camera,
    CameraKind,
    DigitalLoop,
    Health,
    Hub,
    Identity,
    Journal,
    Privacy,
    Run,
    Settings,
    SwitchKind,
)
from edge_agent.demo.city import City
from edge_agent.demo.evidence import What, labels_in
from edge_agent.demo.facts import Facts
from edge_agent.demo.lens import Lens
from edge_agent.demo.street import Broker, Films, Line, Shipped, Shown
from edge_agent.demo.view import Board, CameraNow, Thumb, View
from edge_agent.simulate import Street
from edge_agent.vision import Refusal

if TYPE_CHECKING:
    from types import TracebackType

IDENTITY: Final = Identity(kelurahan="kuningan", rw="03", rt="05", box="demo-box")
# What a technician would have written into box.toml for these cameras.
CABLES_M: Final = (50.0, 35.0, 80.0)
PLACES: Final = ("pole in front of house 12", "pole at the bridge", "wall of the RT hall")
LOOP_PINS: Final = (5, 6, 13)
# Often enough that something happens in two minutes; a street would be served well by one each 10 s.
PERIOD_S: Final = 2.0
PURGE_S: Final = 60.0

# Of several findings, the one that tells the story.
_TELLING: Final = ("view_foreign", "cable_camera_taken", "cable_open", "hub_unreachable")
_LOOK_S: Final = 0.1
_END_S: Final = 20.0


class NotPlayed(Exception):  # noqa: N818 - the stage cannot be set; the reason is for a person
    """Something that the demo needs is not there."""


class ActFailed(Exception):  # noqa: N818 - an outcome of the play, not a fault of the program
    """Something that was awaited did not come."""

    def __init__(self, awaited: str, seen: str, waited_s: float) -> None:
        super().__init__(f"waited {waited_s:.0f} s until {awaited}; seen: {seen}")


@dataclass(slots=True)
class Log:
    """What the box did, as the watcher of its commands saw it. Guarded by the stage's condition."""

    kept: list[tuple[str, float]] = field(default_factory=list)  # camera, taken_at
    opened: list[tuple[float, frozenset[str]]] = field(default_factory=list)


class Stage:
    """Everything that is set up, and what can be done to it. A context manager."""

    def __init__(self, shipped: Shipped, *, keep: Path | None) -> None:
        self._shipped = shipped
        self._keep = keep
        self._stack = ExitStack()
        self._news = threading.Condition()
        self._result: int | None = None
        self._surprise = ""
        self._ready = False
        self._presence = ""
        self.log = Log()
        self.clock = SystemClock()
        self.began = self.clock.now()
        self.view: View | None = None
        self.cameras = tuple(shipped.streets)

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self._set_up(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    # ---- setting up ----

    def _set_up(self, stack: ExitStack) -> None:
        # Its name is short on purpose: the status socket's path must fit into 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="edge-agent-demo-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        lasting = self.folder if self._keep is None else self._keep
        lasting.mkdir(parents=True, exist_ok=True)
        self.journal_folder = lasting / "journal"
        stack.enter_context(_log_to(lasting / "edge-agent.log"))
        broker = stack.enter_context(Broker(self.folder))
        self.line = stack.enter_context(Line(broker.port))
        key = OKPKey.generate_key("Ed25519")
        key_file = self.folder / "hub-orders.pem"
        key_file.write_bytes(key.as_pem(private=False))
        self.settings = self._settings(str(key_file))
        lens = stack.enter_context(Lens())
        self.films = Films(self.folder / "cameras", self.cameras, lens)
        self.street = Street(self.settings.privacy, self.settings.runs)
        self._commission()
        self.city = stack.enter_context(
            City(
                port=broker.port,
                folder=lasting / "hub",
                identity=IDENTITY,
                key_pem=key.as_pem(private=True),
                changed=self._hub_changed,
                clock=self.clock,
            )
        )
        for camera in self.cameras:
            self.back_on_pole(camera)
        self._app = App(
            self.settings,
            pins=Pins(factory=self.street.factory),
            clock=self.clock,
            watch=self._watched,
        )
        thread = threading.Thread(target=self._run_box, name="box", daemon=True)
        thread.start()
        stack.callback(self._end_box, thread)
        self._ready = True

    def _settings(self, key_file: str) -> Settings:
        return Settings(
            identity=IDENTITY,
            hub=Hub(host="127.0.0.1", port=self.line.port, tls=None, order_key_file=key_file),
            privacy=Privacy(switch=SwitchKind.LATCHING, purge_s=PURGE_S),
            cameras=tuple(
                Camera(
                    id=camera,
                    name=camera.replace("-", " ").title(),
                    kind=CameraKind.CLIP,
                    source=str(self.folder / "cameras" / camera),
                    period_s=PERIOD_S,
                )
                for camera in self.cameras
            ),
            runs=tuple(
                Run(
                    camera=camera,
                    cable="cat5e-outdoor",
                    length_m=length_m,
                    place=place,
                    loop=DigitalLoop(pin=pin),
                )
                for camera, length_m, place, pin in zip(
                    self.cameras, CABLES_M, PLACES, LOOP_PINS, strict=False
                )
            ),
            # The demo must run where little room is left, and must not call that a fault of the street.
            journal=Journal(
                folder=str(self.journal_folder), quota_bytes=50_000_000, disk_floor_bytes=1_000_000
            ),
            health=Health(
                disk_free_min_bytes=1_000_000, memory_used_max_percent=99.9, cpu_celsius_max=110.0
            ),
            baselines_folder=str(self.folder / "runs"),
            views_folder=str(self.folder / "views"),
            status_socket=str(self.folder / "status.sock"),
            simulated=True,
        )

    def _commission(self) -> None:
        """As a technician does at the pole, from recorded pictures."""
        burst = self.folder / "commissioning"
        burst.mkdir()
        for camera, jpegs in self._shipped.commissioning.items():
            paths = [burst / f"{camera}-{number:02d}.jpg" for number in range(len(jpegs))]
            for path, jpeg in zip(paths, jpegs, strict=True):
                path.write_bytes(jpeg)
            built = commission_from_files(paths, self.settings.views_folder, camera)
            if isinstance(built, Refusal):
                msg = f"{camera} cannot be commissioned from its pictures: {built.why}"
                raise NotPlayed(msg)

    def _run_box(self) -> None:
        try:
            self._result = self._app.run()
        except Exception as surprise:  # noqa: BLE001 - a thread's top: every wait ends with this text
            self._surprise = f"{type(surprise).__name__}: {surprise}"
            self._result = 1
        self._notify()

    def _end_box(self, thread: threading.Thread) -> None:
        self._app.stop()
        thread.join(_END_S)

    def _watched(self, command: Command) -> None:
        """The box's thread tells what it did."""
        with self._news:
            match command:
                case KeepPicture():
                    self.log.kept.append((command.picture.camera, command.picture.taken_at))
                case OpenShutter():
                    self.log.opened.append((self.clock.now(), command.cameras))
                case _:
                    pass
            self._news.notify_all()
        if isinstance(command, Say) and self.view is not None:
            mark = "" if command.level is Level.INFO else "! "
            self.view.say(self.elapsed_s(), "box", mark + command.text)

    def _hub_changed(self) -> None:
        """The receiver's thread tells that it committed something."""
        presence = self.city.presence()
        if presence != self._presence:
            self._presence = presence
            self.tell("hub", f"the box is {presence}")
        self._notify()

    def _notify(self) -> None:
        with self._news:
            self._news.notify_all()

    # ---- telling and waiting ----

    def elapsed_s(self) -> float:
        """Seconds into the demo."""
        return self.clock.now() - self.began

    def tell(self, who: str, text: str) -> None:
        """To whoever looks."""
        if self.view is not None:
            self.view.say(self.elapsed_s(), who, text)

    def until(self, awaited: str, seen: Callable[[], tuple[bool, str]], *, within_s: float) -> None:
        """Wait until *seen* says so, at most *within_s*; ActFailed says what was seen last. The acts' thread only."""
        began = self.clock.now()
        if self.view is not None:
            self.view.waiting(awaited)
        while True:
            # Asked before looking: news that come while looking must not be slept over.
            done, what = seen()
            waited_s = self.clock.now() - began
            if done:
                break
            if self._result is not None:
                raise ActFailed(
                    awaited, f"the agent ended by itself: {self._surprise or what}", waited_s
                )
            if waited_s >= within_s:
                raise ActFailed(awaited, what, waited_s)
            with self._news:
                self._news.wait(_LOOK_S)
        if self.view is not None:
            self.view.waiting("")

    def read(self, seconds: float) -> None:
        """Leave a person time to read; a box that ends meanwhile ends the pause."""
        until = self.clock.now() + seconds
        with self._news:
            while (left_s := until - self.clock.now()) > 0 and self._result is None:
                self._news.wait(left_s)

    # ---- what can be done ----

    def back_on_pole(self, camera: str) -> int:
        """The camera shows its street; the number of the reel."""
        return self.films.show(camera, What.STREET, self._shipped.streets[camera], "its street")

    def take_home(self, camera: str) -> None:
        """The camera shows a living room."""
        self.films.show(camera, What.HOME, self._shipped.rooms, "a living room")

    def take_home_with_text(self, camera: str) -> None:
        """A living room under the camera's own on-screen text."""
        self.films.show(
            camera,
            What.HOME,
            self._shipped.rooms_with_text,
            "a living room, own text on screen",
        )

    # ---- what can be seen ----

    def status(self) -> Facts:
        """What the box says of itself."""
        return Facts.parse(self._app.snapshot() if self._ready else b"{}")

    def camera(self, camera: str) -> Facts:
        """What the box says of one camera."""
        return next(
            (entry for entry in self.status()["cameras"].items() if entry["id"].text() == camera),
            Facts(None),
        )

    def waiting(self) -> int:
        """Records in the journal that the hub has not acknowledged."""
        uplink = self.status()["uplink"]
        return max(0, int(uplink["last_seq"].number() - uplink["settled_upto"].number()))

    def kept(self, *, since: int = 0) -> list[tuple[str, float]]:
        """Pictures that were released into the journal, from number *since* on."""
        with self._news:
            return self.log.kept[since:]

    def shut_at(self, *, since: float) -> float | None:
        """When the shutter was first closed for all cameras after *since*; None if it was not."""
        with self._news:
            return next(
                (at for at, cameras in self.log.opened if at >= since and not cameras), None
            )

    def opened_at(self, camera: str, *, since: float) -> float | None:
        """When the shutter was first opened for *camera* after *since*; None if it was not."""
        with self._news:
            return next(
                (at for at, cameras in self.log.opened if at >= since and camera in cameras), None
            )

    def was_open(self, camera: str, *, since: float) -> bool:
        """Whether the shutter was opened for *camera* at any time after *since*."""
        return self.opened_at(camera, since=since) is not None

    def board(self) -> Board | None:
        """All there is to see. Any thread."""
        if not self._ready:
            return None
        status, city = self.status(), self.city
        uplink = status["uplink"]
        private = status["private"]["on"].truth()
        cameras = tuple(self._camera_now(entry) for entry in status["cameras"].items())
        return Board(
            elapsed_s=self.elapsed_s(),
            switch="PRIVATE" if private else "released",
            lamps=self.street.lamps(),
            link=" ".join(filter(None, (uplink["state"].text(), uplink["detail"].text()))),
            waiting=self.waiting(),
            journal_bytes=int(status["journal"]["used_bytes"].number()),
            cameras=cameras,
            hub_online=city.presence(),
            hub_records=len(city.records()),
            hub_pictures=sum(city.pictures_of(name) for name in self.cameras),
            findings=self._worst_finding(status),
            work_orders=city.work_orders(),
            taken=self._taken_thumb(),
            received=self._received_thumb(),
        )

    def _worst_finding(self, status: Facts) -> tuple[str, ...]:
        """The one finding that says most about the first camera, in the product's own words; a board has room for one."""
        found = {
            finding["key"].text(): finding["en"].text()
            for finding in status["findings"].items()
            if finding["camera"].text() in {"", self.cameras[0]}
        }
        first = next((key for key in _TELLING if key in found), next(iter(found), None))
        return () if first is None else (found[first],)

    def _camera_now(self, entry: Facts) -> CameraNow:
        name = entry["id"].text()
        state = self.city.camera_state(name)
        return CameraNow(
            id=name,
            before=self.films.before(name),
            gate=entry["gate"].text(),
            why=entry["why"].text(),
            cable=entry["cable"].text(),
            released_age_s=entry["last_released_age_s"].maybe_number(),
            at_hub=self.city.pictures_of(name),
            hub_gate=state["gate"].text(),
            notice=state["notice"]["en"].text(),
        )

    def _taken_thumb(self) -> Thumb:
        hero = self.cameras[0]
        if self.camera(hero)["gate"].text() == "private":
            return Thumb(line=f"{hero} is switched off", grey=None)
        shown = [one for one in self.films.taken() or () if one.label.camera == hero]
        grey = shown[-1].grey if shown and not self.films.is_dark(hero) else None
        return Thumb(line=f"{hero} looks at: {self.films.before(hero)}", grey=grey)

    def _received_thumb(self) -> Thumb:
        hero = self.cameras[0]
        newest = self.city.newest(hero)
        if newest is None:
            return Thumb(line=f"the hub has no picture of {hero}", grey=None)
        labels = labels_in(newest.jpeg)
        shown: Shown | None = self.films.of(labels[0]) if labels else None
        age_s = self.clock.now() - newest.at
        return Thumb(
            line=f"newest of {hero} at the hub, taken {age_s:.0f} s ago",
            grey=shown.grey if shown else None,
        )


class _log_to(logging.FileHandler):  # noqa: N801 - used like a function
    """All log lines of this process, libraries' too, go to a file, and not onto the screen that the view draws."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))

    def __enter__(self) -> None:
        agent = logging.getLogger("edge_agent")
        self._before = agent.level
        agent.setLevel(logging.INFO)
        logging.getLogger().addHandler(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger().removeHandler(self)
        logging.getLogger("edge_agent").setLevel(self._before)
        self.close()
