"""A box with a real core, journal, inbox and pins, whose pictures say in their bytes when they were taken: to lose its power.

As a program it goes live, takes pictures as fast as it can and presses its switch, and tells on stdout, outside of what is lost:
    python -m tests.support.presscut FOLDER PRESS_AFTER_S
Lines: `live`, `pressing AT`, `pressed AT`, `purged`. Cameras and hub are left out: pictures come as a worker posts them.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.core.agent import About, Agent
from edge_agent.core.messages import (
    Beep,
    ClockRead,
    Command,
    Committed,
    Event,
    Fetch,
    Keep,
    KeepPicture,
    OpenShutter,
    PowerCameras,
    PressKept,
    Purge,
    Purged,
    Remember,
    Settle,
    ShowLamps,
    StartCameras,
    StopCameras,
    SwitchRead,
)
from edge_agent.core.settings import Camera, CameraKind, Electrics, Journal, Settings
from edge_agent.inbox import Inbox
from edge_agent.press_note import PressNote
from edge_agent.sensors import Sensors
from edge_agent.shutter import Shutter
from edge_agent.simulate import Street
from edge_agent.spool import Spool
from tests.support import build
from tests.support.play import settings

ROOT = Path(__file__).resolve().parents[2]
PURGE_S = 60.0
PATIENCE_S = 150.0  # a wedge is meant, not a disk that is busy with others
_MARK = re.compile(rb"<([a-z]+) at (\d+\.\d{6})>")
Shown = tuple[str, float]  # camera, when it was taken


def marked(camera: str, at: float) -> bytes:
    """A picture that any page of it tells."""
    return b"\xff\xd8" + b"<%s at %.6f>" % (camera.encode(), at) * 250 + b"\xff\xd9"


def marks(raw: bytes) -> set[Shown]:
    """Every picture of which a piece lies in *raw*."""
    return {(name.decode(), float(at)) for name, at in _MARK.findall(raw)}


class LeapClock(SystemClock):
    """Runs as the real one does, and can be moved on."""

    def __init__(self, boot: str) -> None:
        super().__init__()
        self._boot = boot
        self._began = super().now()
        self._leapt = 0.0

    @property
    def boot(self) -> str:
        return self._boot

    def now(self) -> float:
        return 10.0 + super().now() - self._began + self._leapt

    def leap(self, seconds: float) -> None:
        self._leapt += seconds


class Box:
    """One life of a box on *folder*; the thread that built it owns the core. A context manager."""

    def __init__(
        self,
        folder: Path,
        boot: str,
        *,
        pressed: bool = False,
        runtime: Path | None = None,
        from_s: float = 10.0,
    ) -> None:
        """*runtime*: the folder that outlives the process, not the boot. *from_s*: when in this boot the life begins."""
        self.clock = LeapClock(boot)
        self.clock.leap(from_s - self.clock.now())
        self.note = PressNote(runtime or folder / "no such folder", boot=boot)
        self.shutter = Shutter()
        self.inbox = Inbox(self.clock, lambda: self.shutter.presses)
        self.settings = _settings(folder)
        self.street = Street(self.settings.privacy)
        if pressed:
            self.street.press()
        self.open: frozenset[str] = frozenset()
        self.purged: list[Purged] = []
        self._kept_at: dict[str, list[float]] = {}
        self.kept = self.committed = 0  # records given to the journal; last seq on the disk
        self.spool = Spool(
            self.settings.journal,
            clock=self.clock,
            post=self.inbox.post,
            presses=lambda: self.shutter.presses,
            runtime_folder=runtime,
        )
        self.sensors = Sensors(
            self.settings.privacy,
            (),
            Electrics(),
            factory=self.street.factory,
            why_no_factory="",
            shutter=self.shutter,
            post=self.inbox.post,
            clock=self.clock,
            note=self.note,
        )

    def __enter__(self) -> Box:
        self.spool.__enter__()
        self.sensors.__enter__()
        self.agent = Agent(
            self.settings,
            About(version="1.0", boot=self.clock.boot),
            random=lambda: 0.5,
            at=self.clock.now(),
            clock=ClockRead(wall_s=1_800_000_000.0, trusted=True, source="test"),
            earlier=self.note.earlier,
        )
        self._done(self.agent.start(at=self.clock.now()))
        return self

    def __exit__(self, *_: object) -> None:
        self.sensors.__exit__(None, None, None)
        self.spool.close()

    def turn(self, until: float) -> None:
        """Take one event, or wait until then."""
        event = self.inbox.take(until=min(until, self.agent.deadline(at=self.clock.now())))
        if event is not None:
            self.tell(event)

    def tell(self, event: Event) -> None:
        if isinstance(event, Purged):
            self.purged.append(event)
        if isinstance(event, Committed) and event.durable:
            self.committed = event.last_seq
        self._done(self.agent.handle(event, at=self.clock.now()))

    def _done(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case OpenShutter():
                    self.shutter.open_for(command.cameras, press=command.press)
                    self.open = command.cameras
                case StopCameras():
                    self.inbox.forget_pictures()
                case StartCameras():
                    self.note.live_again(command.press)
                    for camera in self.settings.cameras:
                        self.inbox.post(build.opened(camera=camera.id))
                case KeepPicture():
                    self.kept += 1
                    self._kept_at.setdefault(command.picture.camera, []).append(
                        command.picture.taken_at
                    )
                    self.spool.keep_picture(command.picture, press=command.press)
                case Keep():
                    self.kept += 1
                    self.spool.keep(command.record)
                case Purge():
                    self.spool.purge(command)
                case PressKept():
                    self.note.kept(command.press)
                case Remember():
                    self.spool.remember(command.memory, command.value)
                case Fetch():
                    self.spool.fetch(command)
                case Settle():
                    self.spool.settle(command)
                case ShowLamps():
                    self.sensors.show(command.lamp, press=command.press)
                case Beep():
                    self.sensors.beep(command.sound)
                case PowerCameras():
                    self.sensors.power(on=command.on, press=command.press)
                case _:
                    pass  # no camera, no hub, nobody to talk to

    def take_pictures(self) -> None:
        """One of each camera, as it matches its view."""
        for camera in self.settings.cameras:
            at = round(self.clock.now(), 6)
            self.inbox.post(
                build.picture(camera=camera.id, taken_at=at, jpeg=marked(camera.id, at))
            )

    def _span_s(self, camera: str) -> float:
        """Between the oldest and the newest picture kept of it."""
        times = self._kept_at.get(camera, [0.0])
        return times[-1] - times[0]

    def go_live(self, *, for_s: float) -> None:
        """Let time fly until all gates are open and the pictures kept of each camera span so much, with pictures all the time."""
        cameras = frozenset(camera.id for camera in self.settings.cameras)
        # By what was kept, not by the clock: on a busy machine gates close again meanwhile, as pictures come too late.
        while self.open != cameras or min(self._span_s(each) for each in cameras) < for_s:
            self.clock.leap(1.6)
            read = SwitchRead(nc_closed=True, no_closed=False, press=self.shutter.presses)
            self.inbox.post(read)
            self.take_pictures()
            now = self.clock.now()
            for _ in range(8):
                self.turn(now)
            assert now < 2_000.0, self.agent.status(at=now)
            # More than so many waiting for a slow disk, and the journal would drop the oldest pictures: those that are to stay.
            self._await_disk(self.kept - 100)
        self._await_disk(self.kept)

    def _await_disk(self, owed: int) -> None:
        """Until so many records are on the disk; pictures go on coming, few enough for any disk."""
        picture_at = self.clock.now()
        while self.committed < owed:
            if self.clock.now() >= picture_at:
                self.take_pictures()
                picture_at = self.clock.now() + 0.5
            self.turn(self.clock.now() + 0.1)
            assert self.clock.now() < 3_000.0, f"{self.committed} of {owed} records are on the disk"


def _settings(folder: Path) -> Settings:
    cameras = [
        Camera(
            id=name, name=name, kind=CameraKind.RTSP, source=f"rtsp://10.0.0.{n}/1", period_s=0.01
        )
        for n, name in enumerate(("gate", "river"), start=1)
    ]
    chosen = settings(cameras=cameras)
    privacy = replace(chosen.privacy, purge_s=PURGE_S)
    journal = Journal(folder=str(folder), quota_bytes=100_000_000, disk_floor_bytes=0)
    return replace(chosen, runs=(), privacy=privacy, journal=journal)


class Life:
    """One run of the program, from start to the cut, and what it told."""

    def __init__(self, folder: Path, press_after_s: float) -> None:
        self.live = self.purged = False
        self.pressed_at: float | None = None
        words = ["-m", "tests.support.presscut", str(folder), str(press_after_s)]
        self.process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.process.stdout is not None
        self._told = self.process.stdout

    def listen(self, seconds: float, clock: SystemClock) -> None:
        """Hear what it tells for so long after it went live."""
        until = None
        while until is None or clock.now() < until:
            left = PATIENCE_S if until is None else max(0.0, until - clock.now())
            ready, _, _ = select.select([self._told], [], [], left)
            if not ready:
                assert until is not None, (
                    f"nothing was told for {PATIENCE_S:g} s before it went live"
                )
                return
            line = self._told.readline()
            assert line, f"it ended by itself: {self.process.wait(10)}"
            self._hear(line)
            if until is None and self.live:
                until = clock.now() + seconds

    def stop(self) -> None:
        """Freeze it where it is: when this returns, no thread of it is on its way to the disk any more."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def kill(self) -> None:
        """kill -9, then hear what was told before."""
        self.process.kill()
        for line in self._told:
            if line.endswith("\n"):
                self._hear(line)
        self._told.close()
        self.process.wait()

    def _hear(self, line: str) -> None:
        word, *rest = line.split()
        self.live = self.live or word == "live"
        self.purged = self.purged or word == "purged"
        if word == "pressed":
            self.pressed_at = float(rest[0])


def main(folder: str, press_after_s: float) -> None:
    """Live for a while, then pressed, until killed."""
    with Box(Path(folder), "boot-1") as box:
        box.go_live(for_s=100.0)
        print("live", flush=True)

        def press() -> None:
            threading.Event().wait(press_after_s)
            box.street.press()
            print(f"pressed {box.clock.now()}", flush=True)

        threading.Thread(target=press, daemon=True).start()
        told = False
        while True:
            box.take_pictures()
            box.turn(box.clock.now() + 0.05)
            for _ in range(10):
                box.turn(box.clock.now())
            if box.purged and not told:
                told = True
                print("purged", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
