"""One box's switch, relay, lamps and buzzer in simulated time: the product's sensors on mock pins, the product's core behind them.

Nothing is waited for: a round of the sensors comes when the last one wanted it, an edge brings one at once, as the thread's
own loop does; the core takes each event in the moment it is posted, unless the test holds it up.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_agent.core.agent import About, Agent
from edge_agent.core.messages import (
    Beep,
    ClockRead,
    Command,
    Event,
    FindingKey,
    Keep,
    Memory,
    OpenShutter,
    PowerCameras,
    PressKept,
    Record,
    Remember,
    Remembered,
    ShowLamps,
    StartCameras,
    StopCameras,
    SwitchRead,
    Tick,
)
from edge_agent.core.settings import Electrics, Privacy, Relay, SwitchKind
from edge_agent.press_note import PressNote
from edge_agent.sensors import Sensors
from edge_agent.sensors.rounds import _ROUND_MIN_S
from edge_agent.shutter import Shutter
from edge_agent.simulate import SimulatedClock, Street
from tests.support.play import GATE, settings

NOON_S = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 5 * 3600  # 12:00 in Semarang

# All that docs/wiring.md knows: a latching switch, K1 with its feedback, the buzzer.
FULL = Privacy(switch=SwitchKind.LATCHING, relay=Relay.FORCE_OFF, feedback_pin=19, buzzer_pin=24)


class _Woken(Sensors):
    """Sensors without their thread, that tell who drives them when an edge woke it."""

    on_wake: Callable[[], None] = staticmethod(lambda: None)

    def _wake_up(self) -> None:
        super()._wake_up()
        self.on_wake()


@dataclass
class SwitchBox:
    """Starts like a box that was just switched on."""

    privacy: Privacy = FULL
    remembered: Mapping[Memory, bytes] = field(default_factory=dict)
    hand: Callable[[Street], None] = lambda street: (
        None
    )  # done to the street before the agent starts
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    shutter: Shutter = field(default_factory=Shutter)
    busy: bool = False  # the core hears nothing, its events wait
    card_works: bool = True
    runtime: Path | None = None  # the folder that outlives the process; None = there is none

    def __post_init__(self) -> None:
        self.street = Street(self.privacy, now=self.clock.now)
        self.hand(self.street)
        self.kept: dict[Memory, bytes] = dict(self.remembered)
        self.commands: list[Command] = []
        self.records: list[Record] = []
        self.reads: list[SwitchRead] = []
        self.started: int | None = (
            None  # the press on which the cameras were last started; None = stopped
        )
        self.watch: Callable[[], None] = lambda: None  # called after each round and each event
        self._waiting: list[Event] = []
        self._begin()

    def _begin(self) -> None:
        chosen = replace(settings(cameras=(GATE,)), privacy=self.privacy, runs=())
        self.note = None
        if self.runtime is not None:
            self.note = PressNote(self.runtime, boot=self.clock.boot)
        self.sensors = _Woken(
            self.privacy,
            (),
            Electrics(),
            factory=self.street.factory,
            why_no_factory="",
            shutter=self.shutter,
            post=self._post,
            clock=self.clock,
            note=self.note,
            edges_alive=lambda: True,
        )
        self.sensors.on_wake = self._woken
        self.agent = Agent(
            chosen,
            About(version="1.0", boot=self.clock.boot),
            random=lambda: 0.5,
            at=self.clock.at,
            clock=ClockRead(wall_s=NOON_S, trusted=True, source="test"),
            remembered=self.kept,
            earlier=None if self.note is None else self.note.earlier,
        )
        self._next_at = self.clock.at
        self._perform(self.agent.start(at=self.clock.at))

    def restart(self, *, boot: str | None = None) -> None:
        """The agent's process ended and comes again: what it drove is let go, what it knew is on the card.

        *boot*: the box itself was started again, and what lay in memory is gone.
        """
        self.sensors._close()
        if boot is not None:
            self.clock.boot = boot
            if self.runtime is not None:
                shutil.rmtree(self.runtime)
                self.runtime.mkdir()
        self.shutter, self.started, self._waiting = Shutter(), None, []
        self._begin()

    # -- time --

    def wait(self, seconds: float) -> None:
        """So much time passes, with every round and every deadline in it."""
        end = self.clock.at + seconds
        while True:
            # A deadline that is over was answered by a Tick already, or by the event of this very moment.
            tick_at = max(self.agent.deadline(at=self.clock.at), self.clock.at + 0.001)
            due = self._next_at if self.busy else min(self._next_at, tick_at)
            if due > end:
                break
            self.clock.at = max(self.clock.at, due)
            if self._next_at <= self.clock.at:
                self.round()
            if not self.busy and tick_at <= self.clock.at:
                self._take(Tick())
        self.clock.at = end

    def round(self) -> None:
        """One round of the sensors, now."""
        wait_s = self.sensors._round()
        self._next_at = self.clock.at + max(wait_s, 0.0)
        self.sensors._wake.clear()
        self.watch()

    def _woken(self) -> None:
        self._next_at = min(self._next_at, self.clock.at + _ROUND_MIN_S)

    # -- the core --

    def hear(self) -> None:
        """The core is idle again, and takes what waited."""
        self.busy = False
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self._take(event)

    def _post(self, event: Event) -> None:
        if isinstance(event, SwitchRead):
            self.reads.append(event)
        if self.busy:
            self._waiting.append(event)
        else:
            self._take(event)

    def _take(self, event: Event) -> None:
        self._perform(self.agent.handle(event, at=self.clock.at))
        self.watch()

    def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            self.commands.append(command)
            match command:
                case OpenShutter(cameras=cameras, press=press):
                    self.shutter.open_for(cameras, press=press)
                case ShowLamps(lamp=lamp, press=press):
                    self.sensors.show(lamp, press=press)
                    self._woken()
                case Beep(sound=sound):
                    self.sensors.beep(sound)
                    self._woken()
                case PowerCameras(on=on, press=press):
                    self.sensors.power(on=on, press=press)
                    self._woken()
                case StartCameras(press=press):
                    self.started = press
                    if self.note is not None:
                        self.note.live_again(press)
                case StopCameras():
                    self.started = None
                case Keep(record=record):
                    self.records.append(record)
                case Remember(memory=memory, value=value):
                    if self.card_works:
                        self.kept[memory] = value
                    self._take(Remembered(memory=memory, value=value, durable=self.card_works))
                case PressKept(press=press):
                    if self.note is not None:
                        self.note.kept(press)
                case _:
                    pass

    # -- what can be seen --

    def is_live(self) -> bool:
        """Whether the core has the cameras running, and no press has come since."""
        return self.started is not None and self.started == self.shutter.presses

    def findings(self) -> dict[FindingKey, str]:
        """The open findings of the box, and their detail."""
        found: dict[FindingKey, str] = {}
        for record in self.records:
            if record.kind == "finding.opened":
                evidence = record.data.get("evidence") or record.data
                assert isinstance(evidence, dict)
                found[FindingKey(str(record.data["key"]))] = str(evidence.get("detail", ""))
            elif record.kind == "finding.closed":
                found.pop(FindingKey(str(record.data["key"])), None)
        return found
