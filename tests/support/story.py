"""One camera's story, frame by frame, in simulated time: what happens to it, what it shows, and what left the box.

    story = Story(references, loop=True)
    story.box_starts()
    story.camera_connects()
    story.shows(street, seconds=60)
    story.signal_is_lost()
    story.shows(room, seconds=300)
    assert story.left_of("room") == []

The agent's core is the real one, told of everything as the shell tells it; pictures are read by the real `vision.Eye`, one
of them a connection, as in the capture worker; pictures come at the pace that the agent asks for. `Shot.of` says what a
picture shows and never reaches the agent. Times are seconds since the story began, power cuts included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent import vision
from edge_agent.core.messages import (
    CameraLost,
    Cause,
    FindingKey,
    Keep,
    KeepPicture,
    LoopRead,
    PictureTaken,
    Record,
    SceneReading,
    SetPeriod,
    SwitchRead,
    Tick,
)
from tests.support.build import opened
from tests.support.build import picture as taken
from tests.support.play import GATE, LIVE, RUN, Play, settings

WIDTH, HEIGHT = 1920, 1080
# The box reads its switch more often; a switch that is silent for 3 s counts as pressed.
SWITCH_EVERY_S = 2.5
FIRST_PICTURE_S = 2.0  # before the agent asked for any pace


@dataclass(frozen=True)
class Shot:
    """One picture of a camera. `of`: what it shows, for the story alone."""

    of: str
    grey: vision.Grey | None
    jpeg: bytes


class Reader(Protocol):
    """What reads the pictures of one connection, in turn."""

    def read(self, shot: Shot) -> SceneReading: ...


class Eyes:
    """The real thing."""

    def __init__(self, references: vision.References | None) -> None:
        self._eye = vision.Eye(references)

    def read(self, shot: Shot) -> SceneReading:
        return self._eye.read(shot.grey)


@dataclass(frozen=True)
class Left:
    """A picture that the agent put into the journal for the hub."""

    of: str
    at: float
    taken_at: float


class Story:
    """One box with one camera. *loop*: whether its run has a supervised pair."""

    def __init__(
        self,
        references: vision.References | None = None,
        *,
        loop: bool,
        reader: Callable[[], Reader] | None = None,
        jitter: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._new_reader = reader or (lambda: Eyes(references))
        self._loop = loop
        self._jitter = jitter  # of the time between two pictures, as a factor
        self._began_at = 0.0  # of the box's present life
        self._play: Play | None = None
        self._seen_commands = 0
        self._asked_s = FIRST_PICTURE_S
        self._generation = 0
        self._reader = self._new_reader()
        self._size = (WIDTH, HEIGHT)
        self._shown: dict[bytes, str] = {}
        self.left: list[Left] = []
        self.records: list[Record] = []
        self.readings: list[tuple[str, SceneReading]] = []

    @property
    def now(self) -> float:
        return self._began_at + (self._play.now if self._play else 0.0)

    @property
    def has_loop(self) -> bool:
        return self._loop

    # ---- what happens ----

    def box_starts(self) -> None:
        """Power on; the privacy switch in its live position; the camera is not there yet."""
        run = (RUN,) if self._loop else ()
        self._play = Play.begin(replace(settings(cameras=(GATE,)), runs=run))
        self._seen_commands, self._generation, self._asked_s = 0, 0, FIRST_PICTURE_S
        self._play.go_live()
        self._collect()

    def power_is_cut(self, *, off_s: float = 30.0) -> None:
        """Everything in memory is gone; what was on its way into the journal was written (that is the spool's promise)."""
        self._began_at = self.now + off_s
        self.box_starts()

    def camera_connects(self, *, width: int = WIDTH, height: int = HEIGHT) -> None:
        """A new connection stands; its first picture is yet to come."""
        self._generation += 1
        self._size = (width, height)
        self._reader = self._new_reader()
        event = opened(generation=self._generation)
        self._post(replace(event, width=width, height=height))

    def signal_is_lost(self, cause: Cause = Cause.NO_ANSWER) -> None:
        self._post(
            CameraLost(
                camera="gate", generation=self._generation, cause=cause, detail="no answer in 5 s"
            )
        )

    def size_changes(self, width: int, height: int) -> None:
        """The pictures of this very connection are of another size from now on."""
        self._size = (width, height)

    def loop_reads(self, *, closed: bool | None) -> None:
        if self._loop:
            self._post(LoopRead(camera="gate", closed=closed))

    def switch_reads(self, read: SwitchRead, *, seconds: float) -> None:
        """Time passes with the privacy switch in another position."""
        self._playing.wait(seconds, switch=read)
        self._collect()

    def passes(self, seconds: float) -> None:
        """Time passes without a picture."""
        play = self._playing
        end = play.now + seconds
        while play.now < end:
            step = min(end, play.now + SWITCH_EVERY_S)
            while (due := play.agent.deadline(at=play.now)) < step:
                play.now = max(due, play.now + 0.001)
                play.post(Tick())
            play.now = step
            play.post(LIVE)
        self._collect()

    def shows(
        self,
        shots: Iterator[Shot],
        *,
        seconds: float,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        """The camera gives *shots*, one as often as the agent asks, for *seconds* or *until*; whether *until* came true."""
        end = self.now + seconds
        while self.now < end:
            self.passes(min(self._asked_s * self._jitter(), max(end - self.now, 0.01)))
            self._picture(next(shots))
            if until is not None and until():
                return True
        return False

    def shows_one(self, shot: Shot) -> None:
        """One picture, at once."""
        self._picture(shot)

    # ---- what came of it ----

    def left_of(self, *kinds: str, since: float = -1.0) -> list[Left]:
        """Pictures of *kinds* that left, put into the journal later than *since*."""
        return [left for left in self.left if left.of in kinds and left.at > since]

    def came_and_went(self, key: FindingKey, *, since: float = 0.0) -> list[str]:
        """The records of a finding, in order: "opened" and "closed"."""
        return [
            record.kind.removeprefix("finding.")
            for record in self.records
            if record.data.get("key") == key.value and record.at >= since
        ]

    def stands(self, key: FindingKey) -> bool:
        """Whether a finding is open now, in this life of the box."""
        return self.came_and_went(key)[-1:] == ["opened"]

    def gate_moves(self) -> list[str]:
        """Each change of the gate as it is told to the hub: "held -> open: proven"."""
        return [
            f"{record.data['before']} -> {record.data['after']}: {record.data['cause']}"
            for record in self.records
            if record.kind == "gate.changed"
        ]

    def verdict_counts(self) -> Counter[str]:
        """How many pictures of each kind matched by themselves, for a failing test's message."""
        return Counter(f"{of} score>=1: {reading.score >= 1.0}" for of, reading in self.readings)

    # ---- inside ----

    @property
    def _playing(self) -> Play:
        assert self._play is not None, "the box has not started"
        return self._play

    def _picture(self, shot: Shot) -> None:
        reading = self._reader.read(shot)
        self.readings.append((shot.of, reading))
        known = self._shown.setdefault(shot.jpeg, shot.of)
        assert known == shot.of, "one picture cannot show two things"
        width, height = self._size
        event: PictureTaken = taken(
            generation=self._generation,
            taken_at=self._playing.now,
            reading=reading,
            jpeg=shot.jpeg,
            width=width,
            height=height,
        )
        self._post(event)

    def _post(self, event: CameraLost | LoopRead | PictureTaken | object) -> None:
        self._playing.post(event)  # type: ignore[arg-type]
        self._collect()

    def _collect(self) -> None:
        done = self._playing.done
        for at, command in done[self._seen_commands :]:
            if isinstance(command, KeepPicture):
                picture = command.picture
                self.left.append(
                    Left(
                        self._shown[picture.jpeg],
                        self._began_at + at,
                        self._began_at + picture.taken_at,
                    )
                )
            elif isinstance(command, SetPeriod):
                self._asked_s = command.period_s
            elif isinstance(command, Keep):
                record = command.record
                self.records.append(replace(record, at=self._began_at + record.at))
        self._seen_commands = len(done)
