"""The composition root and the loop: builds all parts, takes events, does what the agent commands.

Promises: parts are entered on one ExitStack and close in reverse order; one thread, the caller's, owns the agent's state;
`perform` never waits for the network or a camera; a surprise in any part ends the process with exit code 1, and the agent
starts again closed. Exit codes: 0 stopped in good order; 1 a part failed; 2 the configuration is not sound.
Not its job: deciding anything (core/agent.py).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random  # noqa: TID251 - handed on from here, and from nowhere else
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent import __version__
from edge_agent.baselines import BaselineWatch
from edge_agent.box import Box, Watchdog, clock_read, notify
from edge_agent.cameras import Cameras
from edge_agent.clock import Clock, FlooredClock, SystemClock
from edge_agent.config import ConfigError, load, read_secret
from edge_agent.core.agent import About, Agent
from edge_agent.core.messages import (
    Beep,
    Climb,
    Command,
    Connect,
    CorrectTimes,
    Disconnect,
    Examine,
    Fetch,
    Keep,
    KeepPicture,
    Learn,
    Level,
    LimitPictures,
    Memory,
    OpenShutter,
    PowerCameras,
    PressKept,
    Purge,
    Remember,
    Say,
    Send,
    SetPeriod,
    Settle,
    ShowLamps,
    StartCameras,
    Stop,
    StopCameras,
    Verify,
)
from edge_agent.core.settings import Hub, Settings
from edge_agent.core.walltime import floor_of
from edge_agent.examiner import Examiner
from edge_agent.hub import HubLink
from edge_agent.inbox import Inbox
from edge_agent.ladder import Ladder
from edge_agent.network import Network
from edge_agent.orders import Orders
from edge_agent.pairs import Pairs
from edge_agent.press_note import NOTE, PressNote
from edge_agent.renewal import Renewal
from edge_agent.sensors import Sensors, real_factory
from edge_agent.shutter import Shutter
from edge_agent.spool import Spool
from edge_agent.status import StatusServer

if TYPE_CHECKING:
    from gpiozero.pins import Factory

DEFAULT_CONFIG: Final = "/etc/edge-agent/box.toml"
SLOW_S: Final = 1.0  # a command that takes longer holds everything up: worth a line
STATUS_EVERY_S: Final = 0.5  # people and `status --watch` look no faster
# A thread that wakes up (for a press, for an answer of the hub) takes its turn after this; Python's own 5 ms add up along a chain of
# four threads.
TURN_S: Final = 0.001

log = logging.getLogger("edge_agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """Where pins come from; `factory` None = nowhere, and why."""

    factory: Factory | None
    why_none: str = ""


class App:
    """One running box. `run` blocks; `stop` may be called from any thread or a signal handler."""

    def __init__(
        self,
        settings: Settings,
        *,
        pins: Pins,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        watch: Callable[[Command], None] | None = None,
        config_file: Path | None = None,
        provisioned: Path | None = None,
    ) -> None:
        """*watch* sees each command after it was done (the demo's left-hand side); *provisioned*: what was made of the card.

        *config_file*: where *settings* came from, for the doctor; None: they came from no file.
        """
        self._settings = settings
        self._pins = pins
        self._clock = FlooredClock(SystemClock() if clock is None else clock)
        self._chance = chance
        self._watch = watch
        self._config_file = config_file
        self._provisioned = provisioned
        self._shutter = Shutter()
        self._inbox = Inbox(self._clock, lambda: self._shutter.presses)
        self._turned_at = self._clock.now()
        self._snapshot = b"{}"
        self._snapshot_at = -STATUS_EVERY_S
        self._headline = ""
        self._failed = False

    def stop(self) -> None:
        """End `run` in good order."""
        self._inbox.close()

    def snapshot(self) -> bytes:
        """The latest status as JSON. Any thread."""
        return self._snapshot

    def run(self) -> int:
        """Build, loop, close; the exit code."""
        sys.setswitchinterval(TURN_S)
        with ExitStack() as stack:
            self._build(stack)
            self._loop()
            notify("STOPPING=1")
            for command in self._agent.stop(at=self._clock.now()):
                self._perform(command)
        return 1 if self._failed else 0

    # -- inside --

    def _build(self, stack: ExitStack) -> None:
        settings, clock, post = self._settings, self._clock, self._inbox.post
        runtime_folder = Path(settings.status_socket).parent
        self._note = PressNote(runtime_folder, boot=clock.boot)
        if self._note.trouble:
            log.warning(
                "note of the switch unreadable path=%s why=%s, so it counts as a press",
                runtime_folder / NOTE,
                self._note.trouble,
            )
        # Before the card, which may take its time: from here on a press is seen; and until all else has ended.
        self._sensors = stack.enter_context(
            Sensors(
                settings.privacy,
                settings.runs,
                settings.electrics,
                factory=self._pins.factory,
                why_no_factory=self._pins.why_none,
                shutter=self._shutter,
                post=post,
                clock=clock,
                note=self._note,
            )
        )
        self._spool = stack.enter_context(
            Spool(
                settings.journal,
                clock=clock,
                post=post,
                presses=lambda: self._shutter.presses,
                runtime_folder=runtime_folder,
                seal=_sealing(settings.hub),
                identity=settings.identity,
            )
        )
        self._orders = Orders(settings.hub.order_key_file)
        remembered = {memory: self._spool.recall(memory) for memory in Memory}
        remembered[Memory.POLICY] = self._orders.own(remembered[Memory.POLICY])
        passed_s = floor_of(remembered[Memory.CLOCK])
        clock.set_floor(passed_s)
        self._agent = Agent(
            settings,
            About(version=__version__, boot=clock.boot),
            random=self._chance,
            at=clock.now(),
            clock=clock_read(clock),
            remembered={memory: kept for memory, kept in remembered.items() if kept is not None},
            earlier=self._note.earlier,
        )
        renewal: Renewal | None = None
        if settings.hub.tls is not None:
            pairs = Pairs(settings.hub.tls, settings.pairs_folder, secret=read_secret)
            renewal = stack.enter_context(
                Renewal(
                    # A made-up street asks no real hub for anything.
                    replace(settings.hub, renew_url=None) if settings.simulated else settings.hub,
                    pairs,
                    post=post,
                    clock=clock,
                    chance=self._chance,
                    passed_s=passed_s,
                )
            )
        self._link = stack.enter_context(
            HubLink(
                settings.hub,
                settings.identity,
                shutter=self._shutter,
                post=post,
                clock=clock,
                credentials=renewal,
                simulated=settings.simulated,
                passed_s=passed_s,
            )
        )
        self._ladder = stack.enter_context(
            Ladder(
                settings.hub,
                settings.runs,
                pair=None if renewal is None else renewal.offer,
                post=post,
                clock=clock,
                passed_s=passed_s,
            )
        )
        self._cameras = stack.enter_context(
            Cameras(
                settings.cameras,
                views_folder=settings.views_folder,
                secret=read_secret,
                shutter=self._shutter,
                post=post,
                clock=clock,
                forget=self._inbox.forget_pictures,
            )
        )
        stack.enter_context(
            BaselineWatch(settings.runs, settings.electrics, settings.baselines_folder, post=post)
        )
        stack.enter_context(Network(settings.runs, post=post, clock=clock))
        if any(run.nvr_events for run in settings.runs):
            # Imported here: it brings requests, 5 MB that most boxes never use.
            from edge_agent.capture.events import Events  # noqa: PLC0415

            stack.enter_context(
                Events(
                    settings.cameras,
                    settings.runs,
                    secret=read_secret,
                    post=post,
                    clock=clock,
                    jitter=self._chance,
                )
            )
        self._examiner = stack.enter_context(Examiner(self._config_file, post=post))
        self._box = stack.enter_context(
            Box(settings.journal.folder, post=post, clock=clock, provisioned=self._provisioned)
        )
        stack.enter_context(StatusServer(settings.status_socket, self.snapshot))
        self._watchdog = stack.enter_context(
            Watchdog(
                {
                    "loop": lambda: self._turned_at,
                    "journal": self._spool.progress,
                    "link": self._link.progress,
                    "cameras": self._cameras.progress,
                    "sensors": self._sensors.progress,
                },
                clock=clock,
            )
        )

    def _loop(self) -> None:
        commands = self._agent.start(at=self._clock.now())
        notify("READY=1")
        while True:
            for command in commands:
                self._perform(command)
                if isinstance(command, Stop):
                    return
            now = self._clock.now()
            self._turned_at = now
            self._publish_status(now)
            # The loop turns at least once a second, so that its own progress can be told from a hang.
            until = min(self._agent.deadline(at=now), now + 1.0)
            event = self._inbox.take(until=until)
            if event is None:
                return
            commands = self._agent.handle(event, at=self._clock.now())

    def _publish_status(self, now: float) -> None:
        if now - self._snapshot_at < STATUS_EVERY_S:
            return
        self._snapshot_at = now
        headline = self._agent.headline()
        if headline != self._headline:
            self._headline = headline
            notify(f"STATUS={headline}")
        self._snapshot = json.dumps(self._agent.status(at=now), ensure_ascii=False).encode()

    def _perform(self, command: Command) -> None:
        began = self._clock.now()
        self._do(command)
        took_s = self._clock.now() - began
        if took_s > SLOW_S:
            log.warning("slow command=%s took_s=%.1f", type(command).__name__, took_s)
        if self._watch is not None:
            self._watch(command)

    def _do(self, command: Command) -> None:  # noqa: C901, PLR0915 - one flat table
        match command:
            case OpenShutter():
                self._shutter.open_for(command.cameras, press=command.press)
            case StopCameras():
                self._cameras.stop()
                self._inbox.forget_pictures()
            case StartCameras():
                self._cameras.start(press=command.press)
                self._note.live_again(command.press)
            case SetPeriod():
                self._cameras.set_period(command.camera, command.period_s)
            case LimitPictures():
                self._cameras.limit(command)
            case Learn():
                self._cameras.learn(command)
            case Keep():
                self._spool.keep(command.record)
            case KeepPicture():
                self._spool.keep_picture(command.picture, press=command.press)
            case Fetch():
                self._spool.fetch(command)
            case Settle():
                self._spool.settle(command)
            case Purge():
                self._spool.purge(command)
            case PressKept():
                self._note.kept(command.press)
            case CorrectTimes():
                self._spool.correct(command)
            case Remember(memory=Memory.POLICY):
                self._spool.remember(command.memory, self._orders.bound(command.value))
            case Remember():
                self._spool.remember(command.memory, command.value)
            case Connect():
                self._link.connect(command)
            case Disconnect():
                self._link.disconnect(command)
            case Send():
                self._link.send(command)
            case Climb():
                self._ladder.climb(command)
            case Examine():
                self._examiner.examine(command)
            case Verify():
                self._inbox.post(self._orders.verify(command.message))
            case ShowLamps():
                self._sensors.show(command.lamp, press=command.press)
            case Beep():
                self._sensors.beep(command.sound)
            case PowerCameras():
                self._sensors.power(on=command.on, press=command.press)
            case Say():
                _say(command)
            case Stop():
                self._failed = command.failed


def _sealing(hub: Hub) -> Callable[[bytes], bytes] | None:
    if hub.recipient is None:
        return None
    # Imported here: 2 MB that a box without it never uses.
    from edge_agent.seal import Sealer  # noqa: PLC0415

    return Sealer(hub.recipient).seal


def _say(command: Say) -> None:
    levels = {
        Level.INFO: logging.INFO,
        Level.WARNING: logging.WARNING,
        Level.ERROR: logging.ERROR,
    }
    # One line, whatever a camera or a broker put into its answer: nobody forges a line of this log.
    log.log(levels[command.level], "%s", " ".join(command.text.split()))


class _JournaldFormatter(logging.Formatter):
    """systemd's journal stamps time and name by itself and reads the priority from a prefix (sd-daemon(3))."""

    _PRIORITY: Final = {logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

    def format(self, record: logging.LogRecord) -> str:
        """One line, with its priority."""
        return f"<{self._PRIORITY.get(record.levelno, 7)}>{super().format(record)}"


def set_up_log() -> None:
    """Log lines go to standard error: for journald if that is who reads it, for a person otherwise."""
    handler = logging.StreamHandler()
    for_journald = "JOURNAL_STREAM" in os.environ
    handler.setFormatter(
        _JournaldFormatter("%(message)s")
        if for_journald
        else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    logging.getLogger().addHandler(handler)  # libraries too speak through it, from warning on
    log.setLevel(logging.INFO)


def run(argv: list[str]) -> int:
    """`edge-agent run`: the service."""
    parser = argparse.ArgumentParser(
        prog="edge-agent run",
        description="The service: reads the cameras, guards the gate, keeps and sends.",
        epilog="Exit codes: 0 stopped in good order; 1 a part failed; 2 the configuration is not sound.",
    )
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="default: %(default)s")
    options = parser.parse_args(argv)
    try:
        settings = load(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the same text as `edge-agent check`
        return 2
    set_up_log()
    factory, why_none = real_factory()
    app = App(
        settings,
        pins=Pins(factory=factory, why_none=why_none),
        config_file=Path(options.config),
        provisioned=Path(options.config).with_name("provisioned.json"),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: app.stop())
    return app.run()
