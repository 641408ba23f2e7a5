"""The release gate of one camera: the only maker of pictures that may leave the box.

Laws:
1. Everything that moves a gate stands in `TABLE`, state x cause; the drawing in docs/design/gate.md is made from it.
2. It starts closed. No stored state, command or message from afar opens it; only `Cause.PROVEN` leads to open.
3. A picture is released only if it matched by itself, was taken while the gate was open, and the next picture of the same
   connection matches too, within `BRACKET_S`; until then it waits in memory, and anything else in between destroys it.
4. "Cannot tell" keeps an open gate open for `DOUBT_S` at the most after the last match, and never opens one.
5. `Released` cannot be made elsewhere: its constructor wants a key that only this module holds.
Not its job: judging pictures (scene.py), knowing why a signal went (agent.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from edge_agent.core.messages import Json, PictureTaken, SceneReading

# A picture and the match that follows it: long enough for the slowest usual period (30 s) and a retry; short enough
# that a camera cannot be carried off and bolted back in between (SCENES.md section 4.2 step 8: 60 s).
BRACKET_S: Final = 60.0
# "Cannot tell" under unbroken signal and loop: a lorry, a cloudburst, a glare. Beyond that, proof is asked for again.
DOUBT_S: Final = 120.0


class State(Enum):
    """Of a gate."""

    CLOSED = "closed"  # no signal, or nothing seen since the last break
    HELD = "held"  # pictures come, and are not proven to show the view
    OPEN = "open"
    PRIVATE = "private"


class Cause(Enum):
    """What may move a gate."""

    SIGNAL_BACK = "signal back"  # first picture of a connection
    SIGNAL_LOST = "signal lost"
    BROKEN = "continuity broken"  # new connection, other size or codec, loop event, other references, jump
    PROVEN = "proven"  # sustained positive match since the last break
    DOUBT = "cannot tell"
    DOUBT_EXPIRED = "cannot tell for too long"
    MOVED = "view moved"
    FOREIGN = "foreign view"
    LOOP_FORBIDS = (
        "loop not normal"  # video while the loop says cut: held whatever the picture shows
    )
    PRIVACY_ON = "privacy on"
    PRIVACY_OFF = "privacy off"


def _rows() -> dict[tuple[State, Cause], State]:
    closed, held, opened, private = State.CLOSED, State.HELD, State.OPEN, State.PRIVATE
    order = (closed, held, opened, private)
    column = {
        #                        closed   held    open    private
        Cause.SIGNAL_BACK: (held, held, held, private),
        Cause.SIGNAL_LOST: (closed, closed, closed, private),
        Cause.BROKEN: (closed, held, held, private),
        Cause.PROVEN: (closed, opened, opened, private),
        Cause.DOUBT: (closed, held, opened, private),
        Cause.DOUBT_EXPIRED: (closed, held, held, private),
        Cause.MOVED: (closed, held, held, private),
        Cause.FOREIGN: (closed, held, held, private),
        Cause.LOOP_FORBIDS: (closed, held, held, private),
        Cause.PRIVACY_ON: (private, private, private, private),
        Cause.PRIVACY_OFF: (closed, held, held, closed),
    }
    return {
        (before, cause): after
        for cause, afters in column.items()
        for before, after in zip(order, afters, strict=True)
    }


TABLE: Final[Mapping[tuple[State, Cause], State]] = _rows()


def table_markdown() -> str:
    """The table as it stands in docs/design/gate.md."""
    head = "| cause | " + " | ".join(state.value for state in State) + " |"
    rule = "|---" * (len(State) + 1) + "|"
    rows = [
        f"| {cause.value} | " + " | ".join(TABLE[state, cause].value for state in State) + " |"
        for cause in Cause
    ]
    return "\n".join((head, rule, *rows))


_KEY: Final = object()


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Released:
    """A picture that was proven to show the commissioned street. Only a `Gate` can make one."""

    camera: str
    jpeg: bytes
    taken_at: float
    generation: int
    evidence: Mapping[str, Json]

    def __init__(self, key: object, picture: PictureTaken, evidence: Mapping[str, Json]) -> None:
        """Refuse everyone but this module's gate."""
        if key is not _KEY:
            msg = "a Released picture is made by a Gate alone"
            raise PermissionError(msg)
        object.__setattr__(self, "camera", picture.camera)
        object.__setattr__(self, "jpeg", picture.jpeg)
        object.__setattr__(self, "taken_at", picture.taken_at)
        object.__setattr__(self, "generation", picture.generation)
        object.__setattr__(self, "evidence", dict(evidence))

    def __repr__(self) -> str:
        """Never the picture itself."""
        return f"Released(camera={self.camera!r}, taken_at={self.taken_at}, bytes={len(self.jpeg)})"

    def data(self) -> Mapping[str, Json]:
        """What is told of it beside its bytes."""
        return self.evidence


@dataclass(frozen=True, slots=True)
class Moved:
    """A gate changed its state."""

    before: State
    after: State
    cause: Cause
    at: float


def _evidence(picture: PictureTaken, closing: SceneReading) -> dict[str, Json]:
    reading = picture.reading
    return {
        "score": round(reading.score, 2),
        "tiles": reading.tiles,
        "dx": round(reading.dx, 1),
        "dy": round(reading.dy, 1),
        "closing_score": round(closing.score, 2),
        "view": reading.view,
        "width": picture.width,
        "height": picture.height,
        "age_s": round(picture.age_s, 2),
        **({"shrunk_from": picture.shrunk_from} if picture.shrunk_from else {}),
    }


class Gate:
    """One camera's gate. Owned by the agent; no other thread touches it."""

    def __init__(self, camera: str, *, at: float) -> None:
        self._camera = camera
        self._state = State.CLOSED
        self._cause: Cause | None = None
        self._since = at
        self._waiting: PictureTaken | None = None
        self._matched_at: float | None = None

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def cause(self) -> Cause | None:
        """What moved it there; None since the start."""
        return self._cause

    @property
    def since(self) -> float:
        """When it moved there."""
        return self._since

    @property
    def is_open(self) -> bool:
        """Whether pictures may leave."""
        return self._state is State.OPEN

    @property
    def waiting_from(self) -> float | None:
        """When the picture was taken that waits for its closing match; None = none waits."""
        return None if self._waiting is None else self._waiting.taken_at

    def move(self, cause: Cause, *, at: float) -> Moved | None:
        """Apply *cause*; what waits in memory is destroyed unless the gate stays open. None = no change of state."""
        before = self._state
        after = TABLE[before, cause]
        if after is not State.OPEN:
            self._waiting = None
            self._matched_at = None
        if cause is Cause.PROVEN and after is State.OPEN:
            self._matched_at = at
        if after is before:
            if after is not State.OPEN:
                self._cause = cause
            return None
        self._state, self._cause, self._since = after, cause, at
        return Moved(before, after, cause, at)

    def offer(
        self, picture: PictureTaken, *, matches: bool, wanted: bool, at: float
    ) -> Released | None:
        """Show it the next picture of its camera; returns the one before if this match proves it.

        *matches* is the verdict on this very picture. Only a *wanted* picture (its camera's period has passed) waits
        to be released itself; the others serve as the closing match alone.
        """
        waited, self._waiting = self._waiting, None
        if self._state is not State.OPEN or picture.camera != self._camera or not matches:
            return None
        self._matched_at = at
        if (
            wanted and picture.taken_at >= self._since
        ):  # not the one that opened it: it was taken before
            self._waiting = picture
        if waited is None or waited.generation != picture.generation:
            return None
        if not 0 <= picture.taken_at - waited.taken_at <= BRACKET_S:
            return None
        return Released(_KEY, waited, _evidence(waited, picture.reading))

    def doubt_expires_at(self) -> float | None:
        """When an open gate has gone without a match for too long; None unless open."""
        if self._state is not State.OPEN or self._matched_at is None:
            return None
        return self._matched_at + DOUBT_S
