"""One camera as the agent knows it: its signal, its loop, its scene and its gate, in one place and one order.

Promises: a new connection, another picture size or codec, other references, a loop event or a jump in the picture void all
proof before the picture that shows it is judged; a picture is offered to the gate only after everything else had its say;
over a pair that is not whole nothing passes, unless the box is set to let through what never broke and matches throughout;
where no pair vouches for the camera it has to prove more. A camera that comes and goes is one news.
Not its job: judging a picture (scene.py), the gate's rules (gate.py), what is said to whom (agent.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from edge_agent.core import gate as gates
from edge_agent.core.cable import NOISY_WINDOW_S, Loop, LoopState, LoopView
from edge_agent.core.gate import Gate, Released
from edge_agent.core.health import SIGNAL_KEYS, Findings, Flaps
from edge_agent.core.learning import Learning
from edge_agent.core.messages import (
    BaselineRead,
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
    LoopMeasured,
    LoopRead,
    PictureTaken,
    Rank,
    Record,
    Say,
    SceneReading,
    SetPeriod,
)
from edge_agent.core.nights import Night
from edge_agent.core.scene import VERIFY_PERIOD_S, Judgement, Scene, Verdict
from edge_agent.core.settings import Camera, Run

# A camera that has been held for minutes (dark, taken away) is looked at less often: decoding costs the box.
PATIENT_AFTER_S: Final = 300.0
PATIENT_PERIOD_S: Final = 5.0
# The closing match must come within gate.BRACKET_S, with room for a missed one.
CHECK_PERIOD_MAX_S: Final = 20.0
# While suspended by the city the street stays covered, sparsely, unless the city says how often.
SUSPENDED_PERIOD_S: Final = 600.0

VIEW_KEYS: Final = frozenset(key for key in FindingKey if key.name.startswith("VIEW_"))
CABLE_KEYS: Final = frozenset(
    key
    for key in FindingKey
    if key.name.startswith("CABLE_") and key is not FindingKey.CABLE_CAMERA_TAKEN
)
_SIGNAL_KEYS: Final = frozenset({*SIGNAL_KEYS.values(), FindingKey.CAMERA_FLAPPING})
# These stay until the view is proven again, whatever is seen, or not seen, in between.
_PERSISTENT_VIEW_KEYS: Final = frozenset({FindingKey.VIEW_FOREIGN, FindingKey.VIEW_MOVED})
_NO_LINK: Final = frozenset({Cause.NO_ANSWER, Cause.UNREACHABLE, Cause.NO_DEVICE})
# Video that comes back over one of these comes from somewhere else. Another length has a finding of its own.
_NOT_WHOLE: Final = frozenset(
    {LoopState.OPEN, LoopState.SHORT, LoopState.TAMPER, LoopState.SENSOR_FAULT}
)
# The picture may stop a moment before the loop's next reading says why.
_BEFORE_S: Final = 5.0
_VERDICT_CAUSES: Final = {
    Verdict.MATCH: gates.Cause.PROVEN,
    Verdict.MOVED: gates.Cause.MOVED,
    Verdict.FOREIGN: gates.Cause.FOREIGN,
    Verdict.CANNOT_TELL: gates.Cause.DOUBT,
}


@dataclass(frozen=True, slots=True)
class Burst:
    """Pictures oftener than usual, for a while."""

    period_s: float
    until_at: float


@dataclass(frozen=True, slots=True)
class Signal:
    """What is known of the video."""

    link: bool | None = None  # something answers at its address; None = not tried
    session: bool = False  # connected
    fresh: bool = False  # a fresh picture arrived on this connection
    detail: str = "not started"
    last_picture_at: float | None = None
    gop_s: float = 0.0  # between key pictures; 0 = not known, or there are none


class Watch:
    """Everything about one camera. Owned by the agent."""

    def __init__(
        self,
        camera: Camera,
        run: Run | None,
        findings: Findings,
        *,
        at: float,
        night: Night | None = None,
    ) -> None:
        """*night*: what `night` gave before a restart."""
        self.camera = camera
        self.gate = Gate(camera.id, at=at)
        self.loop = Loop(run, at=at) if run is not None and run.loop is not None else None
        self.signal = Signal()
        self.last_released_at: float | None = None
        self._findings = findings
        self._scene = Scene()
        self._stream: tuple[int, int, int, str] | None = None  # generation, width, height, codec
        self._view: str | None = None
        self._broken_at = at
        self._known_night = night
        self._commissioned_s: float | None = None
        self._gap_at = at  # when pictures last stopped coming over this run, or were not this run's
        self._doubt_at: float | None = None  # the loop's doubt that `_doubt_generation` belongs to
        self._doubt_generation: int | None = None
        self._cable_key: FindingKey | None = None
        self._cable_anew = (
            False  # whether the finding's reason may be another, though its key is not
        )
        self._pair_read = LoopState.UNKNOWN  # what the last reading of the pair alone said
        self._departed_to = (
            LoopState.UNKNOWN
        )  # and the last one that was not normal after one that was
        self._cable_flaps = Flaps()
        self._flaps = Flaps()
        self._lost: CameraLost | None = None
        self._was_lost = False  # since the view was last proven
        self._period_s: float | None = None
        self._kept_at: float | None = None
        self._turn_at = at  # when the next picture is due to be kept
        self._suspended = False
        self._city_period_s: float | None = None
        self._burst: Burst | None = None
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
        out = self.interrupted(at=at) + self._broken(at=at)
        self._stream = (event.generation, event.width, event.height, event.codec)
        self.signal = Signal(
            link=True, session=True, detail=f"{event.codec} {event.width}x{event.height}"
        )
        return out

    def lost(self, event: CameraLost, *, at: float) -> list[Command]:
        """No fresh picture any more, and why."""
        if self._lost is None:
            self._flaps.lost(at=at)
        self._lost, self._was_lost = event, True
        out = self.interrupted(at=at) + self._signal_findings(at=at)
        self.signal = Signal(link=event.cause not in _NO_LINK, detail=event.detail)
        self._scene.broken(at)
        passing = VIEW_KEYS - _PERSISTENT_VIEW_KEYS
        gone = self._findings.set_only({}, passing, at=at, camera=self.camera.id)
        out += [Keep(record=record) for record in gone]
        out += self._move(gates.Cause.SIGNAL_LOST, at=at)
        self._judgement = self._reading = None  # what moves the gate next rests on none of it
        return out

    def picture(self, event: PictureTaken, *, at: float, press: int) -> list[Command]:
        """A fresh picture: judge it, move the gate, and release what it proves, while there are *press* presses."""
        out: list[Command] = []
        stream = (event.generation, event.width, event.height, event.codec)
        if stream != self._stream or event.reading.view != self._view:
            out += self.interrupted(at=at) if stream != self._stream else []
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
            gop_s=event.gop_s,
        )
        if self._loop_forbids:
            return out + self._held_by_loop(event, at=at)
        self._judgement = judged = self._scene.read(
            event.reading, at=at, generation=event.generation, strict=self._strict
        )
        self._reading = event.reading
        if self._loop_doubts and judged.single is not Verdict.MATCH:
            # Over a pair that is not whole each picture has to show the view, or it may be another camera's.
            out += self.interrupted(at=at)
        if judged.jump:
            # The scene voids its proof by itself; the gate hears of it before it hears what the picture shows.
            out += self._move(gates.Cause.BROKEN, at=at)
        if judged.verdict is Verdict.MATCH:
            self._was_lost = False
        out += self._view_findings(at=at)
        if self._findings.has(FindingKey.VIEW_FROZEN, self.camera.id):
            # Asked too fast, a camera gives the same picture again; it must not stay dark for that.
            self._burst = None
        out += self._move(_VERDICT_CAUSES[judged.verdict], at=at)
        matches = judged.single is Verdict.MATCH
        return out + self._offer(event, matches=matches, at=at, press=press)

    def _offer(self, event: PictureTaken, *, matches: bool, at: float, press: int) -> list[Command]:
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
        return self._release(released, at=at, press=press) + self._pace(at=at)

    def loop_read(
        self, event: LoopRead | LoopMeasured, *, at: float, wall_s: float | None = None
    ) -> list[Command]:
        """The supervised pair was read. *wall_s*: Unix time, if and only if something vouches for it."""
        if self.loop is None:
            return []
        broke = self.loop.read(event, at=at, wall_s=wall_s)
        return self._loop_news(self.loop, broke=broke, at=at) + self.timed(at=at)

    def baseline_read(self, event: BaselineRead, *, at: float) -> list[Command]:
        """What was commissioned for the supervised pair, or why that is not known."""
        if self.loop is None:
            return []
        broke = self.loop.commissioned(event, at=at)
        if event.baseline is not None:
            self._commissioned_s = event.baseline.wall_s
            known = self._known_night
            if known is not None and known.commissioned_s == self._commissioned_s:
                self.loop.night_ohm = known.ohm
            self._known_night = None
        self._cable_anew = True
        return self._loop_news(self.loop, broke=broke, at=at) + self.timed(at=at)

    def interrupted(self, *, at: float) -> list[Command]:
        """The picture stopped, or was another's: what comes after it over a pair that is not whole is held."""
        self._gap_at = at
        return self._move(gates.Cause.LOOP_FORBIDS, at=at) if self._loop_forbids else []

    def private(self, *, on: bool, at: float) -> list[Command]:
        """The switch moved."""
        self._scene.broken(at)
        self.signal = Signal(detail="private" if on else "starting")
        self._stream = None
        self._gap_at = at
        self._lost, self._flaps = None, Flaps()
        self._burst = None
        if on:
            gone = self._findings.set_only(
                {}, VIEW_KEYS | _SIGNAL_KEYS, at=at, camera=self.camera.id
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

    def suspend(self, *, on: bool, at: float, period_s: float | None = None) -> list[Command]:
        """The city suspended the box, or lets it work again; and wants no picture more often than *period_s*, if it says so."""
        self._suspended, self._city_period_s = on, period_s
        if on:
            self._burst = None
        return self._pace(at=at)

    def hurry(self, burst: Burst, *, at: float) -> list[Command]:
        """Pictures as often as *burst* says, never less often than usual; private, suspended or frozen ends it. No gate moves."""
        self._burst = burst
        return self._pace(at=at)

    def reverify(self, *, at: float) -> list[Command]:
        """Continuity counts as broken: the camera proves itself again, and over a pair that is not whole it stays held."""
        return self.interrupted(at=at) + self._broken(at=at)

    def timed(self, *, at: float) -> list[Command]:
        """What time alone brings."""
        out: list[Command] = []
        expires_at = self.gate.doubt_expires_at()
        if expires_at is not None and at >= expires_at:
            self._scene.broken(at)
            out += self._move(gates.Cause.DOUBT_EXPIRED, at=at)
        out += self._loop_timed(at=at)
        calm_at = self._flaps.deadline()
        if calm_at is not None and at >= calm_at:
            self._flaps.timed(at=at)
            out += self._signal_findings(at=at)
        if self._burst is not None and at >= self._burst.until_at:
            self._burst = None
        out += self._learning.tend(self._teachable, at=at)
        return out + self._pace(at=at)

    def deadline(self, *, at: float) -> float:
        """When `timed` has something to do."""
        due = [
            self.gate.doubt_expires_at(),
            self._flaps.deadline(),
            self._cable_flaps.deadline(),
            None if self._burst is None else self._burst.until_at,
        ]
        if self.loop is not None:
            due.append(self.loop.deadline(at=at))
        return min((moment for moment in due if moment is not None), default=float("inf"))

    @property
    def cable(self) -> str:
        """State of the run in one word."""
        return self.loop.state.value if self.loop is not None else "no loop"

    @property
    def signal_word(self) -> str:
        """The signal in one word."""
        has = self._findings.has
        if has(FindingKey.CAMERA_FLAPPING, self.camera.id):
            return "flapping"
        if not self.signal.fresh:
            return "lost"
        if has(FindingKey.VIEW_FROZEN, self.camera.id):
            return "frozen"
        return "dark" if has(FindingKey.VIEW_DARK, self.camera.id) else "fresh"

    @property
    def night(self) -> Night | None:
        """The loop's first night after its commissioning, to be kept over restarts."""
        if self.loop is None or self.loop.night_ohm is None or self._commissioned_s is None:
            return self._known_night
        return Night(self.loop.night_ohm, self._commissioned_s)

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
        if self._burst is not None and not self._suspended:
            return min(self.camera.period_s, self._burst.period_s)
        city_s = self._city_period_s
        if city_s is None:
            city_s = SUSPENDED_PERIOD_S if self._suspended else 0.0
        return max(self.camera.period_s, city_s)  # a policy can only ask for less

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
        self._lost = None
        out = self._signal_findings(at=at)
        if self._flaps.since is None:
            text = f"camera back id={self.camera.id} fresh video, view to be proven"
            out.append(Say(level=Level.INFO, text=text))
        return out + self._move(gates.Cause.SIGNAL_BACK, at=at)

    def _signal_findings(self, *, at: float) -> list[Command]:
        """Why no picture comes, said once; of a camera that comes and goes, only that it does."""
        lost, wanted = self._lost, dict[FindingKey, dict[str, Json]]()
        if self._flaps.since is not None:
            wanted[FindingKey.CAMERA_FLAPPING] = {"detail": lost.detail if lost is not None else ""}
        elif lost is not None:
            wanted[SIGNAL_KEYS[lost.cause]] = {"detail": lost.detail}
        news = self._findings.set_only(wanted, _SIGNAL_KEYS, at=at, camera=self.camera.id)
        out: list[Command] = [Keep(record=record) for record in news]
        if news and wanted:
            why = "flapping" if self._flaps.since is not None or lost is None else lost.cause.value
            detail = lost.detail if lost is not None else ""
            text = f"camera lost id={self.camera.id} cause={why} {detail}".rstrip()
            out.append(Say(level=Level.WARNING, text=text))
        return out

    # -- the supervised pair --

    @property
    def _loop_doubts(self) -> bool:
        return self.loop is not None and self.loop.doubt_since is not None

    @property
    def _loop_forbids(self) -> bool:
        if self.loop is None or self.loop.doubt_since is None:
            return False
        unbroken = self._gap_at < self.loop.doubt_since - _BEFORE_S
        return self.loop.forbids(video_unbroken=unbroken)

    @property
    def _strict(self) -> bool:
        """Whether nothing but the picture says that the camera hangs where it was commissioned.

        Without a pair that is so after each loss; at the start of the box, when all cameras begin anew, the usual rule holds.
        """
        return self._was_lost if self.loop is None else self.loop.strict

    def _loop_timed(self, *, at: float) -> list[Command]:
        if self.loop is None:
            return []
        calm_at, due = self._cable_flaps.deadline(), self.loop.deadline(at=at)
        if (due is None or due > at) and (calm_at is None or calm_at > at):
            return []
        self._cable_flaps.timed(at=at)
        return self._loop_news(self.loop, broke=self.loop.timed(at=at), at=at)

    def _loop_news(self, loop: Loop, *, broke: bool, at: float) -> list[Command]:
        """What follows from the pair's new state."""
        if loop.doubt_since != self._doubt_at:
            self._doubt_at = loop.doubt_since
            self._doubt_generation = self._stream[0] if self._stream is not None else None
        out = self._broken(at=at) if broke else []
        if self._loop_forbids:
            out += self._move(gates.Cause.LOOP_FORBIDS, at=at)
        if self._pair_read is LoopState.NORMAL and loop.last is not LoopState.NORMAL:
            self._cable_flaps.lost(at=at)
            self._departed_to = loop.last
        self._pair_read = loop.last
        view = loop.view(at=at)
        key = self._steadied(view, at=at)
        if key is self._cable_key and not self._cable_anew:
            return out
        self._cable_key, self._cable_anew = key, False
        wanted = {key: loop.evidence() | {"detail": view.why}} if key is not None else {}
        if loop.state is LoopState.SENSOR_FAULT and loop.doubt_since is not None:
            # A board that fails mends no cable: what was found before still stands.
            wanted |= {f.key: {} for f in self._findings.of(self.camera.id) if f.key in CABLE_KEYS}
        news = self._findings.set_only(wanted, CABLE_KEYS, at=at, camera=self.camera.id)
        return out + self._tell(news)

    def _steadied(self, view: LoopView, *, at: float) -> FindingKey | None:
        """A contact that opens and closes, or a board that answers now and then, is one finding, however it happens to stand.

        Also where each time is too short for a finding of its own: the gate closes all the same, and somebody must be told why.
        """
        flaps = self._cable_flaps.since is not None
        if view.finding is FindingKey.CABLE_OPEN:
            chatters = view.noisy or (flaps and at < view.since + NOISY_WINDOW_S)
            return FindingKey.CABLE_LOOSE if chatters else FindingKey.CABLE_OPEN
        if view.finding is not None or not flaps:
            return view.finding
        if self._cable_key is None:
            blind = self._departed_to is LoopState.SENSOR_FAULT
            return FindingKey.CABLE_UNREADABLE if blind else FindingKey.CABLE_LOOSE
        opened = self._cable_key is FindingKey.CABLE_OPEN
        return FindingKey.CABLE_LOOSE if opened else self._cable_key

    def _held_by_loop(self, event: PictureTaken, *, at: float) -> list[Command]:
        """Video while the pair is not whole: held without a look at the picture."""
        out = self._move(gates.Cause.LOOP_FORBIDS, at=at)
        loop = self.loop
        elsewhere = event.generation != self._doubt_generation
        if loop is not None and elsewhere and loop.state in _NOT_WHOLE:
            # The video came back on a new connection while its cable is still cut: the camera hangs elsewhere.
            record = self._findings.raise_(
                FindingKey.CABLE_CAMERA_TAKEN,
                at=at,
                camera=self.camera.id,
                evidence={"loop": loop.state.value, "place": loop.run.place},
            )
            if record is not None:
                text = (
                    f"camera held id={self.camera.id} video came back while its cable is not whole"
                )
                out += [Keep(record=record), Say(level=Level.WARNING, text=text)]
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

    def _release(self, released: Released | None, *, at: float, press: int) -> list[Command]:
        if released is None:
            return []
        self.last_released_at = at
        self._shown += 1
        self._shown_to = released.taken_at
        if self._shown_from is None:
            self._shown_from = released.taken_at
        return [KeepPicture(picture=released, press=press)]


def _rounded(number: float | None, digits: int) -> float | None:
    """*number* as JSON can hold it."""
    return None if number is None or not math.isfinite(number) else round(number, digits)
