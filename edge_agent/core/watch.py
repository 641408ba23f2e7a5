"""One camera as the agent knows it: its signal, its loop, its scene and its gate, in one place and one order.

Promises: a new connection, another picture size or codec, other references, a loop event or a jump in the picture void all
proof before the picture that shows it is judged; a picture is offered to the gate only after everything else had its say.
Not its job: judging a picture (scene.py), the gate's rules (gate.py), what is said to whom (agent.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from edge_agent.core import gate as gates
from edge_agent.core import words
from edge_agent.core.cable import Loop, LoopState, metres_to_bring
from edge_agent.core.gate import Gate, Released
from edge_agent.core.health import SIGNAL_KEYS, Findings
from edge_agent.core.learning import Learning
from edge_agent.core.messages import (
    CameraLost,
    CameraOpened,
    Cause,
    Command,
    FindingKey,
    Json,
    Keep,
    KeepPicture,
    LessonEnded,
    Level,
    LoopRead,
    PictureTaken,
    Rank,
    Record,
    Say,
    SceneReading,
    SetPeriod,
)
from edge_agent.core.scene import VERIFY_PERIOD_S, Judgement, Scene, Verdict
from edge_agent.core.settings import Camera, Run

# A camera that has been held for minutes (dark, taken away) is looked at less often: decoding costs the box.
PATIENT_AFTER_S: Final = 300.0
PATIENT_PERIOD_S: Final = 5.0
# The closing match must come within gate.BRACKET_S, with room for a missed one.
CHECK_PERIOD_MAX_S: Final = 20.0
# While suspended by the city the street stays covered, sparsely.
SUSPENDED_PERIOD_S: Final = 60.0

VIEW_KEYS: Final = frozenset(key for key in FindingKey if key.name.startswith("VIEW_"))
# These stay until the view is proven again, whatever is seen, or not seen, in between.
_PERSISTENT_VIEW_KEYS: Final = frozenset({FindingKey.VIEW_FOREIGN, FindingKey.VIEW_MOVED})
_NO_LINK: Final = frozenset({Cause.NO_ANSWER, Cause.UNREACHABLE, Cause.NO_DEVICE})
_VERDICT_CAUSES: Final = {
    Verdict.MATCH: gates.Cause.PROVEN,
    Verdict.MOVED: gates.Cause.MOVED,
    Verdict.FOREIGN: gates.Cause.FOREIGN,
    Verdict.CANNOT_TELL: gates.Cause.DOUBT,
}


@dataclass(frozen=True, slots=True)
class Signal:
    """What is known of the video."""

    link: bool | None = None  # something answers at its address; None = not tried
    session: bool = False  # connected
    fresh: bool = False  # a fresh picture arrived on this connection
    detail: str = "not started"
    last_picture_at: float | None = None


class Watch:
    """Everything about one camera. Owned by the agent."""

    def __init__(self, camera: Camera, run: Run | None, findings: Findings, *, at: float) -> None:
        self.camera = camera
        self.gate = Gate(camera.id, at=at)
        self.loop = Loop(run, at=at) if run is not None and run.loop_pin is not None else None
        self.signal = Signal()
        self.last_released_at: float | None = None
        self._run = run
        self._findings = findings
        self._scene = Scene()
        self._stream: tuple[int, int, int, str] | None = None  # generation, width, height, codec
        self._view: str | None = None
        self._broken_at = at
        self._loop_open_generation: int | None = None
        self._period_s: float | None = None
        self._kept_at: float | None = None
        self._turn_at = at  # when the next picture is due to be kept
        self._suspended = False
        self._judgement: Judgement | None = None
        self._reading: SceneReading | None = None  # that the judgement is of
        self._learning = Learning(camera.id)
        self._why_nothing_learnt = ""
        # What was released since the gate opened: how many pictures, the first and the last one's time.
        self._shown = 0
        self._shown_from: float | None = None
        self._shown_to: float | None = None

    # -- events --

    def opened(self, event: CameraOpened, *, at: float) -> list[Command]:
        """A connection stands: nothing proven before holds."""
        out = self._broken(at=at)
        self._stream = (event.generation, event.width, event.height, event.codec)
        self.signal = Signal(
            link=True, session=True, detail=f"{event.codec} {event.width}x{event.height}"
        )
        return out

    def lost(self, event: CameraLost, *, at: float) -> list[Command]:
        """No fresh picture any more, and why."""
        key = SIGNAL_KEYS[event.cause]
        news = self._findings.set_only(
            {key: {"detail": event.detail}},
            frozenset(SIGNAL_KEYS.values()),
            at=at,
            camera=self.camera.id,
        )
        out: list[Command] = [Keep(record=record) for record in news]
        if news:
            text = f"camera lost id={self.camera.id} cause={event.cause.value} {event.detail}"
            out.append(Say(level=Level.WARNING, text=text))
        self.signal = Signal(link=event.cause not in _NO_LINK, detail=event.detail)
        self._scene.broken(at)
        passing = VIEW_KEYS - _PERSISTENT_VIEW_KEYS
        gone = self._findings.set_only({}, passing, at=at, camera=self.camera.id)
        out += [Keep(record=record) for record in gone]
        out += self._move(gates.Cause.SIGNAL_LOST, at=at)
        self._judgement = self._reading = None  # what moves the gate next rests on none of it
        return out

    def picture(self, event: PictureTaken, *, at: float) -> list[Command]:
        """A fresh picture: judge it, move the gate, and release what it proves."""
        out: list[Command] = []
        stream = (event.generation, event.width, event.height, event.codec)
        if stream != self._stream or event.reading.view != self._view:
            out += self._broken(at=at)
            self._stream, self._view = stream, event.reading.view
        if not self.signal.fresh:
            out += self._back(at=at)
        self.signal = Signal(
            link=True,
            session=True,
            fresh=True,
            detail=f"{event.codec} {event.width}x{event.height}",
            last_picture_at=event.taken_at,
        )
        if self.loop is not None and self.loop.forbids:
            return out + self._held_by_loop(event, at=at)
        self._judgement = judged = self._scene.read(
            event.reading, at=at, generation=event.generation
        )
        self._reading = event.reading
        if judged.jump:
            # The scene voids its proof by itself; the gate hears of it before it hears what the picture shows.
            out += self._move(gates.Cause.BROKEN, at=at)
        out += self._view_findings(at=at)
        out += self._move(_VERDICT_CAUSES[judged.verdict], at=at)
        return out + self._offer(event, matches=judged.single is Verdict.MATCH, at=at)

    def _offer(self, event: PictureTaken, *, matches: bool, at: float) -> list[Command]:
        # Turns are counted from turn to turn, not from picture to picture: with a key picture each 2 s, one each 5 s comes
        # after 6 s and 4 s by turns. Half a second of grace: none shall miss its turn by a hair.
        wanted_s = self._wanted_s()
        turn_at = event.taken_at
        if self._kept_at is not None:
            turn_at = min(self._turn_at, self._kept_at + wanted_s)
        wanted = event.taken_at >= turn_at - 0.5
        released = self.gate.offer(event, matches=matches, wanted=wanted, at=at)
        if self.gate.waiting_from == event.taken_at:
            self._kept_at = event.taken_at
            late = turn_at + wanted_s <= event.taken_at  # what was missed is not made up for
            self._turn_at = (event.taken_at if late else turn_at) + wanted_s
        return self._release(released, at=at) + self._pace(at=at)

    def loop_read(self, event: LoopRead, *, at: float) -> list[Command]:
        """The supervised pair was read."""
        if self.loop is None:
            return []
        out: list[Command] = []
        if self.loop.read(event, at=at):
            out += self._broken(at=at)
            if self.loop.state is LoopState.OPEN:
                generation = self._stream[0] if self._stream is not None else None
                self._loop_open_generation = generation
            if self.loop.forbids:
                out += self._move(gates.Cause.LOOP_FORBIDS, at=at)
        return out + self.timed(at=at)

    def private(self, *, on: bool, at: float) -> list[Command]:
        """The switch moved."""
        self._scene.broken(at)
        self.signal = Signal(detail="private" if on else "starting")
        self._stream = None
        if on:
            gone = self._findings.set_only(
                {}, VIEW_KEYS | frozenset(SIGNAL_KEYS.values()), at=at, camera=self.camera.id
            )
        else:
            gone = []
        cause = gates.Cause.PRIVACY_ON if on else gates.Cause.PRIVACY_OFF
        out: list[Command] = [Keep(record=record) for record in gone]
        out += self._move(cause, at=at)
        self._judgement = self._reading = None  # what moves the gate next rests on none of it
        return out

    def lesson_ended(self, event: LessonEnded, *, at: float) -> list[Command]:
        """The worker learnt a light, or found that there is none to learn."""
        if not self._learning.told(event, at=at):
            return []
        if not event.light:
            if event.why == self._why_nothing_learnt:
                return []
            self._why_nothing_learnt = event.why
            text = f"no light learnt id={self.camera.id} why={event.why}"
            return [Say(level=Level.INFO, text=text)]
        self._why_nothing_learnt = ""
        data: dict[str, Json] = {
            "light": event.light,
            "of": event.of,
            "replaced": event.replaced or None,
            "anchor": event.anchor,
            "frames": event.frames,
            "span_s": round(event.span_s, 1),
            "score": round(event.score, 2),
            "gain": round(event.gain, 2),
            "dx": round(event.dx, 1),
            "dy": round(event.dy, 1),
            "parts": event.parts,
            "parts_of": event.parts_of,
            "mean_grey": round(event.mean_grey, 1),
        }
        record = Record(
            kind="view.learnt", rank=Rank.AUDIT, at=at, camera=self.camera.id, data=data
        )
        text = f"light learnt id={self.camera.id} light={event.light} of={event.of}"
        return [Keep(record=record), Say(level=Level.INFO, text=text)]

    def suspend(self, *, on: bool, at: float) -> list[Command]:
        """The city suspended the box, or lets it work again."""
        self._suspended = on
        return self._pace(at=at)

    def timed(self, *, at: float) -> list[Command]:
        """What time alone brings."""
        out: list[Command] = []
        expires_at = self.gate.doubt_expires_at()
        if expires_at is not None and at >= expires_at:
            self._scene.broken(at)
            out += self._move(gates.Cause.DOUBT_EXPIRED, at=at)
        if self.loop is not None:
            view = self.loop.view(at=at)
            metres = str(metres_to_bring(self.loop.run.length_m))
            items = words.bring(self.loop.run.cable, metres, end_plug=True)
            told = {"detail": view.why, "bring": [item.en for item in items]}
            wanted = {view.finding: self.loop.evidence() | told}
            out += self._cable({key: said for key, said in wanted.items() if key}, at=at)
        out += self._learning.tend(self._teachable, at=at)
        return out + self._pace(at=at)

    def deadline(self, *, at: float) -> float:
        """When `timed` has something to do."""
        due = [self.gate.doubt_expires_at()]
        if self.loop is not None:
            due.append(self.loop.deadline(at=at))
        return min((moment for moment in due if moment is not None), default=float("inf"))

    @property
    def cable(self) -> str:
        """State of the run in one word."""
        return self.loop.state.value if self.loop is not None else "no loop"

    @property
    def right_scene(self) -> bool | None:
        """Whether the view is proven now; None = cannot tell."""
        if self.gate.is_open:
            return True
        has = self._findings.has
        wrong = any(has(key, self.camera.id) for key in _PERSISTENT_VIEW_KEYS)
        return False if wrong else None

    @property
    def _shown_since_open(self) -> bool:
        return self.last_released_at is not None and self.last_released_at >= self.gate.since

    # -- inside --

    @property
    def _teachable(self) -> int | None:
        """The connection that may be learnt from. What a finding says of the view now is not to be learnt as a light."""
        if self._stream is None or not self.gate.is_open:
            return None
        flawed = any(self._findings.has(key, self.camera.id) for key in VIEW_KEYS)
        return None if flawed else self._stream[0]

    def _wanted_s(self) -> float:
        if self._suspended:
            return max(self.camera.period_s, SUSPENDED_PERIOD_S)
        return self.camera.period_s

    def _pace(self, *, at: float) -> list[Command]:
        """Ask for pictures as often as the gate needs them; a command only on change."""
        if self.gate.is_open and self._shown_since_open:
            period_s = min(self._wanted_s(), CHECK_PERIOD_MAX_S)
        elif self.gate.is_open:
            period_s = VERIFY_PERIOD_S  # the street has been dark: close the first bracket soon
        elif at - max(self._broken_at, self.gate.since) < PATIENT_AFTER_S:
            period_s = VERIFY_PERIOD_S
        else:
            period_s = PATIENT_PERIOD_S
        if period_s == self._period_s:
            return []
        self._period_s = period_s
        return [SetPeriod(camera=self.camera.id, period_s=period_s)]

    def _broken(self, *, at: float) -> list[Command]:
        self._scene.broken(at)
        self._judgement = self._reading = None
        self._broken_at = at
        self._kept_at = None
        return self._move(gates.Cause.BROKEN, at=at)

    def _back(self, *, at: float) -> list[Command]:
        """First fresh picture of a connection."""
        gone = self._findings.set_only(
            {}, frozenset(SIGNAL_KEYS.values()), at=at, camera=self.camera.id
        )
        out: list[Command] = [Keep(record=record) for record in gone]
        text = f"camera back id={self.camera.id} fresh video, view to be proven"
        out.append(Say(level=Level.INFO, text=text))
        return out + self._move(gates.Cause.SIGNAL_BACK, at=at)

    def _held_by_loop(self, event: PictureTaken, *, at: float) -> list[Command]:
        """Video while the loop is open: held without a look at the picture."""
        out = self._move(gates.Cause.LOOP_FORBIDS, at=at)
        if event.generation != self._loop_open_generation:
            # The video came back on a new connection while its cable is still cut: the camera hangs elsewhere.
            record = self._findings.raise_(
                FindingKey.CABLE_CAMERA_TAKEN,
                at=at,
                camera=self.camera.id,
                evidence={"loop": "open", "place": self._run.place if self._run else ""},
            )
            if record is not None:
                out += [
                    Keep(record=record),
                    Say(
                        level=Level.WARNING,
                        text=f"camera held id={self.camera.id} video came back while its cable reads open",
                    ),
                ]
        return out + self._pace(at=at)

    def _view_findings(self, *, at: float) -> list[Command]:
        wanted: dict[FindingKey, dict[str, Json]] = {
            finding.key: dict(finding.evidence) for finding in self._scene.findings
        }
        proven = self._judgement is not None and self._judgement.verdict is Verdict.MATCH
        for key in _PERSISTENT_VIEW_KEYS:
            if proven:
                wanted.pop(key, None)
            elif self._findings.has(key, self.camera.id):
                wanted.setdefault(key, {})
        return self._tell(self._findings.set_only(wanted, VIEW_KEYS, at=at, camera=self.camera.id))

    def _tell(self, news: list[Record]) -> list[Command]:
        """Each finding that came or went is a record and a line."""
        out: list[Command] = []
        for record in news:
            came = record.kind == "finding.opened"
            text = f"{record.kind} id={self.camera.id} key={record.data['key']}"
            out.append(Keep(record=record))
            out.append(Say(level=Level.WARNING if came else Level.INFO, text=text))
        return out

    def _cable(self, wanted: dict[FindingKey, dict[str, Json]], *, at: float) -> list[Command]:
        among = frozenset({FindingKey.CABLE_OPEN, FindingKey.CABLE_UNREADABLE})
        return self._tell(self._findings.set_only(wanted, among, at=at, camera=self.camera.id))

    def _move(self, cause: gates.Cause, *, at: float) -> list[Command]:
        opened_at = self.gate.since
        moved = self.gate.move(cause, at=at)
        if moved is None:
            return self._pace(at=at)
        out: list[Command] = []
        if moved.after is gates.State.OPEN:
            record = self._findings.clear(
                FindingKey.CABLE_CAMERA_TAKEN, at=at, camera=self.camera.id
            )
            out += [Keep(record=record)] if record is not None else []
        data: dict[str, Json] = {
            "before": moved.before.value,
            "after": moved.after.value,
            "cause": cause.value,
            "view": self._view or None,
            **self._evidence(),
        }
        if moved.before is gates.State.OPEN:
            data |= self._account(opened_at, at=at)
        text = (
            f"gate {moved.before.value} -> {moved.after.value} id={self.camera.id}"
            f" cause={cause.value.replace(' ', '-')}"
        )
        out += [
            Keep(
                record=Record(
                    kind="gate.changed",
                    rank=Rank.AUDIT,
                    at=at,
                    camera=self.camera.id,
                    data=data,
                )
            ),
            Say(level=Level.INFO, text=text),
        ]
        return out + self._pace(at=at)

    def _evidence(self) -> dict[str, Json]:
        """The numbers behind the last judgement, for the audit."""
        judged, reading = self._judgement, self._reading
        if judged is None or reading is None:
            return {}
        return {
            "verdict": judged.verdict.value,
            "score": _rounded(judged.score, 2),
            "matches": judged.matches,
            "needed": judged.needed,
            "dx": _rounded(reading.dx, 1),
            "dy": _rounded(reading.dy, 1),
        }

    def _account(self, opened_at: float, *, at: float) -> dict[str, Json]:
        """What was shown while the gate was open, as a breach notice needs it; times of taking, in seconds since boot."""
        account: dict[str, Json] = {
            "open_s": round(at - opened_at, 1),
            "released": self._shown,
            "first_taken_at": _rounded(self._shown_from, 3),
            "last_taken_at": _rounded(self._shown_to, 3),
        }
        self._shown, self._shown_from, self._shown_to = 0, None, None
        return account

    def _release(self, released: Released | None, *, at: float) -> list[Command]:
        if released is None:
            return []
        self.last_released_at = at
        self._shown += 1
        self._shown_to = released.taken_at
        if self._shown_from is None:
            self._shown_from = released.taken_at
        return [KeepPicture(picture=released)]


def _rounded(number: float | None, digits: int) -> float | None:
    """*number* as JSON can hold it."""
    return None if number is None or not math.isfinite(number) else round(number, digits)
