"""Tell a box's story to the agent, event by event, and look at what it did."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edge_agent.core.agent import About, Agent
from edge_agent.core.messages import (
    ClockRead,
    Command,
    Committed,
    Event,
    Keep,
    KeepPicture,
    LinkUp,
    Memory,
    Record,
    Remember,
    Remembered,
    Say,
    SwitchRead,
    Tick,
)
from edge_agent.core.settings import (
    Camera,
    CameraKind,
    DigitalLoop,
    Hub,
    Identity,
    Privacy,
    Run,
    Settings,
    SwitchKind,
)
from edge_agent.core.switch_memory import EarlierLife

C = TypeVar("C")

WALL_S = 1_800_000_000.0  # January 2027

IDENTITY = Identity(kelurahan="kuningan", rw="03", rt="07", box="box-1")
GATE = Camera(
    id="gate", name="Gapura", kind=CameraKind.RTSP, source="rtsp://10.0.0.9/1", period_s=5.0
)
RIVER = Camera(
    id="river", name="Sungai", kind=CameraKind.RTSP, source="rtsp://10.0.0.8/1", period_s=5.0
)
RUN = Run(
    camera="gate", cable="cat5e-outdoor", length_m=50.0, place="pole 3", loop=DigitalLoop(pin=20)
)


def settings(
    *, switch: SwitchKind = SwitchKind.LATCHING, cameras: Sequence[Camera] = (GATE, RIVER)
) -> Settings:
    """A box with two cameras, one of them with a supervised run."""
    return Settings(
        identity=IDENTITY,
        hub=Hub(host="127.0.0.1", port=1883, tls=None),
        privacy=Privacy(switch=switch),
        cameras=tuple(cameras),
        runs=(RUN,),
    )


@dataclass
class Play:
    """Runs the agent in simulated time; `done` holds every command with its time."""

    agent: Agent
    now: float = 0.0
    done: list[tuple[float, Command]] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        chosen: Settings | None = None,
        *,
        remembered: Mapping[Memory, bytes] | None = None,
        wall_s: float = WALL_S,
        boot: str = "boot-1",
        at: float = 0.0,
        earlier: EarlierLife | None = None,
    ) -> "Play":
        """A box that has just started, or its agent alone."""
        about = About(version="1.0", boot=boot)
        clock = ClockRead(wall_s=wall_s, trusted=wall_s > 0, source="test")
        agent = Agent(
            chosen or settings(),
            about,
            random=lambda: 0.5,
            at=at,
            clock=clock,
            remembered=remembered,
            earlier=earlier,
        )
        play = cls(agent, now=at)
        play._note(agent.start(at=at))
        return play

    def _note(self, commands: Sequence[Command]) -> None:
        self.done += [(self.now, command) for command in commands]

    def post(self, *events: Event) -> list[Command]:
        """Events now; what was done about them."""
        before = len(self.done)
        for event in events:
            self._note(self.agent.handle(event, at=self.now))
        return [command for _, command in self.done[before:]]

    def wait(self, seconds: float, *, switch: SwitchRead | None = None) -> None:
        """Let time pass as the loop would: a tick at each deadline, the switch read each half second if given."""
        end = self.now + seconds
        while self.now < end:
            step = end if switch is None else min(end, self.now + 0.5)
            while (due := self.agent.deadline(at=self.now)) < step:
                self.now = max(due, self.now)
                self.post(Tick())
                if self.agent.deadline(at=self.now) <= self.now:
                    self.now += 0.001
            self.now = step
            self.post(switch if switch is not None else Tick())

    def go_live(self) -> None:
        """Read a switch in its live position for long enough."""
        self.post(ClockRead(wall_s=1_800_000_000.0, trusted=True, source="test"))
        self.wait(4.0, switch=LIVE)

    def connect_hub(self) -> None:
        """The link comes up with an empty journal."""
        self.post(
            committed(last_seq=0),
            LinkUp(receive_maximum=20, maximum_packet_bytes=None, simulated_peer=False),
        )

    def card_answers(self, *, durable: bool = True) -> list[Command]:
        """The journal has done what it was last asked to remember of the switch, or could not."""
        last = self.remembered[-1]
        return self.post(Remembered(memory=Memory.SWITCH, value=last, durable=durable))

    @property
    def remembered(self) -> list[bytes]:
        """All that was to be kept of the switch."""
        return [c.value for c in self.did(Remember) if c.memory is Memory.SWITCH]

    def status(self) -> Any:
        """The status as its reader gets it: through JSON."""
        return json.loads(json.dumps(self.agent.status(at=self.now)))

    def did(self, kind: type[C]) -> list[C]:
        """All commands of one kind so far."""
        return [command for _, command in self.done if isinstance(command, kind)]

    @property
    def records(self) -> list[Record]:
        """All records put into the journal."""
        return [c.record for _, c in self.done if isinstance(c, Keep)]

    @property
    def released(self) -> list[bytes]:
        """All pictures put into the journal."""
        return [c.picture.jpeg for _, c in self.done if isinstance(c, KeepPicture)]

    @property
    def said(self) -> list[str]:
        """All log lines."""
        return [c.text for _, c in self.done if isinstance(c, Say)]


LIVE = SwitchRead(nc_closed=True, no_closed=False, press=0)
PRESSED = SwitchRead(nc_closed=False, no_closed=True, press=1)
RELEASED = SwitchRead(nc_closed=True, no_closed=False, press=1)
UP = SwitchRead(nc_closed=True, no_closed=None, press=0)  # a momentary button
DOWN = SwitchRead(nc_closed=False, no_closed=None, press=1)


def committed(*, last_seq: int, depth: int = 0) -> Committed:
    """The journal's report."""
    return Committed(
        epoch="e1",
        last_seq=last_seq,
        depth=depth,
        oldest_seq=1 if depth else None,
        oldest_at=0.0 if depth else None,
        oldest_wall_s=None,
        used_bytes=1000,
        durable=True,
    )
