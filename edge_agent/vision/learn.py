"""What of the approved view can be seen in another light: learnt from pictures that match, without learning another view.

Promises:
- a learnt light holds no evidence of its own. It is the map of one approved light, with those parts (tiles) left out that
  cannot be seen in the new light. So what matches by it agrees, in place, with what a person approved; whatever is shown,
  for how long and in how small steps, there is no other view that it could be walked to;
- of the pictures of a lesson only the sum of their edges is kept, in memory; a single one that does not match adds nothing,
  and one that is moved, foreign or a jump ends the lesson;
- a lesson whose mean does not itself match the approved light in place teaches nothing.
Why not the new light's own edges, what this costs and what it cannot do: docs/design/lights.md.
Not its job: when a camera may learn (core/learning.py), files (views.py).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_agent.core.gate import BRACKET_S
from edge_agent.core.scene import COVERED_SHARE, JUMP_SHARE, Verdict, verdict_of
from edge_agent.vision.describe import (
    TILES_X,
    TILES_Y,
    Complexes,
    Floats,
    Mask,
    by_tile,
    cells_of,
    crispness,
    describe,
)
from edge_agent.vision.match import Match, Template, spectrum_of
from edge_agent.vision.picture import HEIGHT, WIDTH, Grey
from edge_agent.vision.references import (
    MIN_CELLS_BESIDE,
    TILE_WEIGHT,
    Light,
    References,
    Refusal,
    map_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.core.messages import SceneReading

PICTURES: Final = 20
EVERY_S: Final = 60.0
SPAN_S: Final = 20 * 60.0
# Older pictures are of another light: what is not complete by then begins anew.
SPAN_MAX_S: Final = 60 * 60.0
# The own view mostly scores 2.3 and more in a light that it is told well by; what scores less than this is worth a lesson.
WEAK_BELOW: Final = 1.8
# A part of the picture is seen in the new light if its edges run along those of the map: correlation of that part alone.
SEEN_NCC: Final = 0.15
# Fewer parts left, and some stranger would find enough to agree with among them, were they chosen to please it.
MIN_PARTS: Final = 16
# By so many parts at least must a light differ from every one that is known, and so much better must the lesson match with it.
NEW_PARTS: Final = 4
GAIN_MIN: Final = 0.15

_TILE_Y: Final = HEIGHT // TILES_Y
_TILE_X: Final = WIDTH // TILES_X


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """A light that is worth keeping, and the numbers behind it. `replaces`: the learnt light that makes room; None = none."""

    light: Light
    of: str
    replaces: Light | None
    score: float
    gain: float
    dx: float
    dy: float
    parts: int
    parts_of: int
    span_s: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """One picture's edges on their way into the sum."""

    described: Complexes
    crispness: float
    mean_grey: float
    at: float


class Lesson:
    """The pictures of one unbroken stretch. One thread; about 1.3 MB while there are any."""

    def __init__(self, references: References) -> None:
        self.references = references
        self._known = _where(references.approved)
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._sum: Complexes | None = None
        self._waiting: _Seen | None = None
        self._times: list[float] = []
        self._crispness: list[float] = []
        self._greys: list[float] = []

    @property
    def complete(self) -> bool:
        """Whether there are enough pictures over enough time."""
        return len(self._times) >= PICTURES and self._times[-1] - self._times[0] >= SPAN_S

    def see(self, grey: Grey, reading: SceneReading, *, at: float) -> None:
        """One more picture, as it was read. It counts once the next one matches too; those in between are passed over."""
        waiting, self._waiting = self._waiting, None
        verdict = verdict_of(reading)
        if verdict in (Verdict.MOVED, Verdict.FOREIGN) or not reading.change < JUMP_SHARE:
            self.forget()
        if self._times and not 0.0 <= at - self._times[0] <= SPAN_MAX_S:
            self.forget()
            waiting = None
        if verdict is not Verdict.MATCH:
            return
        if waiting is not None and self._enrolable(waiting, at):
            self._enrol(waiting)
        last_at = self._times[-1] if self._times else None
        if _is_worth(reading) and (last_at is None or at - last_at >= EVERY_S):
            self._waiting = self._seen(grey, at)

    def learnt(self, *, room: int) -> Learnt | Refusal:
        """The light that these pictures show. *room*: how many learnt lights there may be. Some 10 ms a light known."""
        if self._sum is None:
            return Refusal(why="no picture was seen")
        if room < 1:
            return Refusal(why="as many lights were commissioned as there is room for")
        mean = np.asarray(self._sum / len(self._times), dtype=np.complex64)
        match, anchor = self._place(mean)
        if match.score < 1.0 or match.elsewhere:
            return Refusal(why="what is seen in this light does not match the commissioned view")
        parts = _seen_parts(mean, anchor, round(match.dx), round(match.dy)) & _parts(anchor)
        if int(parts.sum()) < MIN_PARTS or cells_of(parts) < MIN_CELLS_BESIDE:
            return Refusal(why="too little of the commissioned view can be seen in this light")
        light = _only(
            anchor,
            parts,
            name=self._name(),
            mean_grey=round(float(np.mean(self._greys)), 2),
            crispness=round(median(self._crispness), 4),
            frames=len(self._times),
        )
        if any(_akin(light, known) for known in self.references.lights):
            return Refusal(why="nothing is new in this light")
        gain = _against(Template(light), mean).score - match.score
        if gain < GAIN_MIN:
            return Refusal(why="the view would be told no better in this light")
        return Learnt(
            light=light,
            of=anchor.name,
            replaces=self._makes_room(light, room),
            score=match.score,
            gain=gain,
            dx=match.dx,
            dy=match.dy,
            parts=int(parts.sum()),
            parts_of=int(_parts(anchor).sum()),
            span_s=self._times[-1] - self._times[0],
        )

    # -- inside --

    def _seen(self, grey: Grey, at: float) -> _Seen:
        described = np.where(self.references.counts, describe(grey)[0], np.complex64(0))
        # Sharpness is told at the edges that are there: what this light hides would read as noise.
        there = self._known & (np.abs(described) > 0.2)
        return _Seen(described, crispness(grey, there), float(grey.mean()), at)

    @staticmethod
    def _enrolable(waiting: _Seen, at: float) -> bool:
        return 0.0 <= at - waiting.at <= BRACKET_S

    def _enrol(self, seen: _Seen) -> None:
        self._sum = seen.described if self._sum is None else self._sum + seen.described
        self._times.append(seen.at)
        self._crispness.append(seen.crispness)
        self._greys.append(seen.mean_grey)

    def _place(self, mean: Complexes) -> tuple[Match, Light]:
        """How the mean lies on what a person approved: on the light it matches best. Never on a learnt one."""
        matches = [(_against(Template(light), mean), light) for light in self.references.approved]
        return max(matches, key=lambda found: (found[0].score, not found[0].elsewhere))

    def _name(self) -> str:
        numbers = [0]
        for light in self.references.lights:
            stem, _, number = light.name.partition("-")
            if stem == "learnt" and number.isdecimal():
                numbers.append(int(number))
        return f"learnt-{max(numbers) + 1}"

    def _makes_room(self, light: Light, room: int) -> Light | None:
        """When all places are taken, the learnt light nearest in brightness: most likely the same light, some time ago."""
        learnt = self.references.lights[len(self.references.approved) :]
        if len(learnt) < room:
            return None
        return min(learnt, key=lambda known: abs(known.mean_grey - light.mean_grey))


def _is_worth(reading: SceneReading) -> bool:
    """Weak, but not for something that stands before the lens: that is no light."""
    return reading.score < WEAK_BELOW and reading.covered_share < COVERED_SHARE


def _against(template: Template, mean: Complexes) -> Match:
    return template.match(mean, spectrum_of(mean))


def _where(lights: tuple[Light, ...]) -> Mask:
    return np.asarray(np.any([np.abs(map_of(light)) > 0.2 for light in lights], axis=0))


def _parts(light: Light) -> Mask:
    """The parts of the picture, 6 x 8, in which *light* has enough to go by."""
    return np.asarray(by_tile(np.abs(map_of(light)) ** 2) > TILE_WEIGHT)


def _seen_parts(mean: Complexes, anchor: Light, dx: int, dy: int) -> Mask:
    """The parts in which the edges of *mean*, which lies (dx, dy) beside *anchor*, run along those of *anchor*."""
    held = map_of(anchor)
    known = by_tile(np.abs(held) ** 2)
    best = np.max([_along(mean, held, known, x, y) for x, y in _around(dx, dy)], axis=0)
    return np.asarray(best > SEEN_NCC, dtype=np.bool_)


def _around(dx: int, dy: int) -> Iterator[tuple[int, int]]:
    """The place and its neighbours: a lens bends the corners of a picture by a pixel more than its middle."""
    return ((dx + x, dy + y) for x in (-1, 0, 1) for y in (-1, 0, 1))


def _along(mean: Complexes, held: Complexes, known: Floats, dx: int, dy: int) -> Floats:
    back = np.roll(mean, (-dy, -dx), (0, 1))
    product = by_tile(np.asarray((back * np.conj(held)).real, dtype=np.float32))
    norm = np.sqrt(by_tile(np.abs(back) ** 2) * known) + np.float32(1e-6)
    return np.asarray(product / norm, dtype=np.float32)


def _only(
    anchor: Light, parts: Mask, *, name: str, mean_grey: float, crispness: float, frames: int
) -> Light:
    """*anchor* with nothing but *parts*."""
    where = np.kron(parts, np.ones((_TILE_Y, _TILE_X), np.bool_))
    return dataclasses.replace(
        anchor,
        name=name,
        re=np.where(where, anchor.re, np.int8(0)),
        im=np.where(where, anchor.im, np.int8(0)),
        mean_grey=mean_grey,
        crispness=crispness,
        frames=frames,
    )


def _akin(light: Light, known: Light) -> bool:
    """Whether the two are one map with nearly the same parts."""
    mine, others = _parts(light), _parts(known)
    both = np.kron(mine & others, np.ones((_TILE_Y, _TILE_X), np.bool_))
    one_map = np.array_equal(light.re[both], known.re[both]) and np.array_equal(
        light.im[both], known.im[both]
    )
    return one_map and int((mine ^ others).sum()) < NEW_PARTS
