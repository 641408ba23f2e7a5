"""One camera's readings over time -> is this still the commissioned view?

Promises: `Verdict.MATCH` is said only on a reading that matches itself, after enough matching readings over enough seconds,
none of them moved or foreign, all taken since the last break in continuity; never on the strength of a reading that cannot
tell, and never because time passed. Foreign and moved are said on the first reading that shows them: closing early costs a
picture, closing late costs a family its privacy. Anything that is not a finite number is "cannot tell".
A view that lies beyond the limits below is moved however well it scores, and one that lies within them is never foreign.
Findings come and go after `SETTLE` readings; what nobody need hurry for comes after it lasted, so one lorry is no work order.
Not its job: holding pictures (gate.py), reading them (vision.py), words (words.py). Pure; owner thread only.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Final, TypeAlias

from edge_agent.core.messages import FindingKey, SceneReading, Unusable

# Below this share of a match, in a light that the references know, the picture contradicts the view: every room of the
# development set is below (docs/design/view.md). Between the two lies the band of glare, rain, defocus and half-covered
# views: held as well, but nobody is sent out for a camera that was taken away.
FOREIGN_BELOW: Final = 0.45

# Five of seven over about eight seconds: a vehicle passes, a room does not look like a street five times.
MATCHES: Final = 5
WINDOW: Final = 7
SPAN_S: Final = 7.5  # five pictures 2 s apart, less the jitter of a stream: asked for 8 s, half the views needed a sixth

# After something foreign or moved the camera is known to have been in somebody's hands, and may still be: about three times
# the evidence. With a picture each `VERIFY_PERIOD_S` that is 24 s, which leaves half of the minute in which a camera back on
# its pole shall be released. Breaks do not shorten it: pulling the plug is what happens when a camera is carried about.
WARY_MATCHES: Final = 10
WARY_WINDOW: Final = 12
WARY_SPAN_S: Final = 20.0

# Readings kept for the proof: enough for five a second under the longer rule.
_KEPT: Final = 128

# How often to look while a view is being verified; the rules above are reached in 12 s and 24 s.
VERIFY_PERIOD_S: Final = 2.0

# No reading for so long, and what was proven before is no longer "just now", whatever the connection says.
GAP_VOIDS_S: Final = 600.0

# Share of pixels that changed at once, brightness and contrast set aside. A lorry close by covers about half.
JUMP_SHARE: Final = 0.6

# A live sensor makes noise: equal bits twice can be a snapshot asked for too early, three times is no live picture.
FROZEN_BITS: Final = 3
# Re-encoded stills differ in their bits. A street at night may rest for an hour or two; four hours without a moth, a car
# or a change of light is a still.
STILL_SHARE: Final = 0.0005
STILL_FOR_S: Final = 4 * 3600.0

# Relative to the references. The own view reads 0.87 to 1.05 by day, dusk and night; blurred by 2.5 pixels of the small
# picture, under 0.55.
BLURRED_BELOW: Final = 0.55

# Beyond these it is no longer the view that somebody approved: what enters at the edges may be a yard or a window. A bolted
# camera's own pictures, years apart, lie within 2.2 pixels, 1.2 degrees and 3.1 % (docs/design/view.md); measuring errs by as much.
MOVED_PX: Final = 4.0
MOVED_DEG: Final = 2.0
MOVED_ZOOM: Final = 0.04

# Within those but beyond these, for long: a mount that gives way. The middle of the last readings decides, not one gust.
NUDGED_PX: Final = 2.5
NUDGED_DEG: Final = 1.25
NUDGED_ZOOM: Final = 0.025
_LATELY: Final = 9

# Share of the parts known in this light of which nothing is seen. Traffic and shadows: 0.15, a covered half: 0.4 and more.
COVERED_SHARE: Final = 0.35

# So many seconds and readings before anybody is told of a nudge, or of a cover: a lorry unloads, a market stall is put away, and
# dusk, which hides what no lamp shows before it is night, is over within the hour.
NUDGED_FOR_S: Final = 1200.0
COVERED_FOR_S: Final = 3600.0
LASTING: Final = 12

# Readings in a row (readings that say nothing left out) for a finding to come, and to go.
SETTLE: Final = 3

# Readings and seconds for a finding to come, where that is not `SETTLE` at once. What a file or a device says is no measurement:
# no need to look three times.
_AT_ONCE: Final = (SETTLE, 0.0)
_COMES_AFTER: Final = {
    FindingKey.VIEW_NOT_COMMISSIONED: (1, 0.0),
    FindingKey.VIEW_FILE_DAMAGED: (1, 0.0),
    FindingKey.VIEW_OTHER_DEVICE: (1, 0.0),
    FindingKey.VIEW_NUDGED: (LASTING, NUDGED_FOR_S),
    FindingKey.VIEW_PARTLY_COVERED: (LASTING, COVERED_FOR_S),
}

# Size of the scaled picture that `dx` and `dy` count in.
SCALED_WIDTH: Final = 320


class Verdict(Enum):
    """What can be said about the view."""

    MATCH = "match"
    MOVED = "moved"
    FOREIGN = "foreign"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewFinding:
    """Something wrong with the view, with the numbers that say so; `since_at` = its first reading."""

    key: FindingKey
    since_at: float
    evidence: tuple[tuple[str, float | str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one more reading led to.

    `verdict` is the sustained one; `single` is this reading taken alone (for bracketing a picture between two matches).
    `jump`: the picture changed nearly everywhere at once, continuity is in doubt. `matches` of `needed`, over `span_s`
    of `needed_span_s` seconds, is how far the proof has come. `dx`, `dy` are set if `single` is MOVED.
    """

    verdict: Verdict
    single: Verdict
    jump: bool
    wary: bool
    matches: int
    needed: int
    span_s: float
    needed_span_s: float
    score: float
    dx: float
    dy: float


def verdict_of(reading: SceneReading) -> Verdict:
    """What *reading* says taken alone. Pure; total: any reading gets an answer, and nonsense gets CANNOT_TELL."""
    if not reading.view or reading.fault or reading.other_device:
        return Verdict.CANNOT_TELL
    if reading.unusable is not None or reading.same_bits >= FROZEN_BITS:
        return Verdict.CANNOT_TELL
    if not math.isfinite(reading.score):
        return Verdict.CANNOT_TELL
    return _where_placed(reading) if reading.placed else _by_score(reading)


def _where_placed(reading: SceneReading) -> Verdict:
    lie = _Lie.of(reading)
    if not lie.is_finite:
        return Verdict.CANNOT_TELL
    if lie.beyond(MOVED_PX, MOVED_DEG, MOVED_ZOOM):
        return Verdict.MOVED
    return Verdict.MATCH if reading.score >= 1.0 else Verdict.CANNOT_TELL


def _by_score(reading: SceneReading) -> Verdict:
    if reading.elsewhere:
        return Verdict.MOVED
    if reading.score >= 1.0:
        return Verdict.MATCH
    if reading.score < FOREIGN_BELOW and reading.light_known:
        return Verdict.FOREIGN
    return Verdict.CANNOT_TELL


def is_match(reading: SceneReading) -> bool:
    """Whether *reading* alone matches; a picture leaves only between two such readings."""
    return verdict_of(reading) is Verdict.MATCH


@dataclass(frozen=True, slots=True)
class _Lie:
    """How a view lies in a picture, as in `SceneReading`."""

    dx: float
    dy: float
    angle_deg: float
    zoom: float

    @classmethod
    def of(cls, reading: SceneReading) -> _Lie:
        return cls(reading.dx, reading.dy, reading.angle_deg, reading.zoom)

    @classmethod
    def middle(cls, lies: Collection[_Lie]) -> _Lie:
        return cls(
            median(lie.dx for lie in lies),
            median(lie.dy for lie in lies),
            median(lie.angle_deg for lie in lies),
            median(lie.zoom for lie in lies),
        )

    @property
    def is_finite(self) -> bool:
        return all(map(math.isfinite, (self.dx, self.dy, self.angle_deg, self.zoom)))

    def beyond(self, pixels: float, degrees: float, zoom: float) -> bool:
        return (
            math.hypot(self.dx, self.dy) > pixels
            or abs(self.angle_deg) > degrees
            or abs(self.zoom - 1.0) > zoom
        )


@dataclass(slots=True)
class _Standing:
    """One finding on its way in or out."""

    seen: int = 0
    unseen: int = 0
    first_at: float = 0.0
    finding: ViewFinding | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """So many matches among so many readings, over so many seconds; of more readings the same share."""

    matches: int
    window: int
    span_s: float


_PLAIN: Final = _Rule(MATCHES, WINDOW, SPAN_S)
_WARY: Final = _Rule(WARY_MATCHES, WARY_WINDOW, WARY_SPAN_S)


@dataclass(frozen=True, slots=True)
class _Proof:
    rule: _Rule
    matches: int
    span_s: float
    proven: bool


class Scene:
    """The view of one camera over time. Starts with nothing proven."""

    def __init__(self) -> None:
        self._generation: int | None = None
        self._view = ""
        self._last_at: float | None = None
        self._window: deque[tuple[float, Verdict]] = deque(maxlen=_KEPT)
        self._wary = False
        self._strict = False
        self._still_since: float | None = None
        self._moved: deque[SceneReading] = deque(maxlen=SETTLE)
        self._placed: deque[SceneReading] = deque(maxlen=_LATELY)
        self._standing = {key: _Standing() for key in _WATCHED}

    @property
    def findings(self) -> tuple[ViewFinding, ...]:
        """What stands now, in a fixed order."""
        return tuple(s.finding for s in self._standing.values() if s.finding is not None)

    def broken(self, at: float) -> None:
        """Void all proof: a new connection, a loop event, privacy, anything after which the camera may be another.

        Findings and wariness stay: both are about what was last seen, and only new readings can take them away.
        """
        self._window.clear()
        self._still_since = None
        self._last_at = at

    def read(
        self, reading: SceneReading, *, at: float, generation: int, strict: bool = False
    ) -> Judgement:
        """Take one more reading, made at *at* on connection *generation*. A straggler of an older connection counts for nothing.

        *strict*: nothing else vouches for the camera's place, so it proves its view by the longer rule.
        """
        self._strict = strict
        single = verdict_of(reading)
        if self._generation is not None and generation < self._generation:
            return self._judgement(Verdict.CANNOT_TELL, Verdict.CANNOT_TELL, reading)
        self._void_if_discontinuous(reading, at=at, generation=generation)
        self._last_at = at
        if single in {Verdict.FOREIGN, Verdict.MOVED}:
            self._wary = True
        self._window.append((at, single))
        verdict = single
        if single is Verdict.MATCH and not self._proof().proven:
            verdict = Verdict.CANNOT_TELL
        judgement = self._judgement(verdict, single, reading)
        if verdict is Verdict.MATCH:
            self._wary = False
        self._watch(reading, single, at=at)
        return judgement

    def _void_if_discontinuous(self, reading: SceneReading, *, at: float, generation: int) -> None:
        last = self._last_at
        if (
            generation != self._generation
            or reading.view != self._view
            or _jumped(reading)
            or (last is not None and not 0 <= at - last <= GAP_VOIDS_S)
        ):
            self.broken(at)
        if reading.view != self._view:  # what was found against other references is no longer found
            self._standing = {key: _Standing() for key in _WATCHED}
            self._moved.clear()
            self._placed.clear()
        self._generation, self._view = generation, reading.view

    def _proof(self) -> _Proof:
        """What the rule in force makes of the newest readings: as many as it wants, and no fewer than it wants seconds."""
        rule = _WARY if self._wary or self._strict else _PLAIN
        looked_at: list[tuple[float, Verdict]] = []
        for at, verdict in reversed(self._window):
            if len(looked_at) >= rule.window and looked_at[0][0] - looked_at[-1][0] >= rule.span_s:
                break
            looked_at.append((at, verdict))
        times = [at for at, verdict in looked_at if verdict is Verdict.MATCH]
        span_s = times[0] - times[-1] if times else 0.0
        spoiled = any(v in {Verdict.FOREIGN, Verdict.MOVED} for _, v in looked_at)
        enough = (
            len(times) >= rule.matches and len(times) * rule.window >= len(looked_at) * rule.matches
        )
        return _Proof(
            rule, len(times), span_s, proven=enough and span_s >= rule.span_s and not spoiled
        )

    def _judgement(self, verdict: Verdict, single: Verdict, reading: SceneReading) -> Judgement:
        proof = self._proof()
        moved = single is Verdict.MOVED
        return Judgement(
            verdict=verdict,
            single=single,
            jump=_jumped(reading),
            wary=self._wary,
            matches=proof.matches,
            needed=proof.rule.matches,
            span_s=proof.span_s,
            needed_span_s=proof.rule.span_s,
            score=reading.score,
            dx=reading.dx if moved else 0.0,
            dy=reading.dy if moved else 0.0,
        )

    # ---- findings ----

    def _watch(self, reading: SceneReading, single: Verdict, *, at: float) -> None:
        if single is Verdict.MOVED:
            self._moved.append(reading)
        elif reading.placed and single in (Verdict.MATCH, Verdict.CANNOT_TELL):
            self._placed.append(reading)
        still_s = self._still_for(reading, at=at)
        signs = _signs(reading, single, still_s=still_s) | self._lasting_signs(reading, single)
        for key, standing in self._standing.items():
            sign = signs.get(key)
            if sign is not None:
                self._settle(key, standing, reading, present=sign, at=at, still_s=still_s)

    def _lasting_signs(self, reading: SceneReading, single: Verdict) -> dict[FindingKey, bool]:
        """Signs that rest on the last few readings."""
        signs: dict[FindingKey, bool] = {}
        if single in (Verdict.MOVED, Verdict.FOREIGN):
            signs[FindingKey.VIEW_NUDGED] = False
        elif single is Verdict.MATCH and reading.placed:
            signs[FindingKey.VIEW_NUDGED] = self._lately().beyond(
                NUDGED_PX, NUDGED_DEG, NUDGED_ZOOM
            )
        if reading.unusable is Unusable.COVERED:
            signs[FindingKey.VIEW_PARTLY_COVERED] = False
        elif reading.placed and single in (Verdict.MATCH, Verdict.CANNOT_TELL):
            signs[FindingKey.VIEW_PARTLY_COVERED] = self._covered_lately() >= COVERED_SHARE
        if self._standing[FindingKey.VIEW_PARTLY_COVERED].finding is not None:
            signs[FindingKey.VIEW_UNSURE] = False  # it has its reason
        return signs

    def _lately(self) -> _Lie:
        return _Lie.middle([_Lie.of(reading) for reading in self._placed])

    def _covered_lately(self) -> float:
        return median(reading.covered_share for reading in self._placed)

    def _settle(
        self,
        key: FindingKey,
        standing: _Standing,
        reading: SceneReading,
        *,
        present: bool,
        at: float,
        still_s: float,
    ) -> None:
        if present:
            standing.first_at = at if standing.seen == 0 else standing.first_at
            standing.seen, standing.unseen = standing.seen + 1, 0
            readings, seconds = _COMES_AFTER.get(key, _AT_ONCE)
            settled = standing.seen >= readings and at - standing.first_at >= seconds
            if settled and standing.finding is None:
                evidence = self._evidence(key, reading, still_s=still_s)
                standing.finding = ViewFinding(
                    key=key, since_at=standing.first_at, evidence=evidence
                )
            return
        standing.unseen += 1
        readings = min(_COMES_AFTER.get(key, _AT_ONCE)[0], SETTLE)
        if standing.finding is None or standing.unseen >= readings:
            standing.seen, standing.finding = 0, None

    def _still_for(self, reading: SceneReading, *, at: float) -> float:
        if not reading.change <= STILL_SHARE:
            self._still_since = None
        elif self._still_since is None:
            self._still_since = at
        return 0.0 if self._still_since is None else at - self._still_since

    def _evidence(
        self, key: FindingKey, reading: SceneReading, *, still_s: float
    ) -> tuple[tuple[str, float | str], ...]:
        if key is FindingKey.VIEW_FILE_DAMAGED:
            return (("detail", reading.fault),)
        if key is FindingKey.VIEW_OTHER_DEVICE:
            return (("detail", reading.other_device),)
        return tuple(
            (name, round(value, 3))
            for name, value in self._numbers(key, reading, still_s)
            if math.isfinite(value)
        )

    def _numbers(self, key: FindingKey, reading: SceneReading, still_s: float) -> _Numbers:
        if key is FindingKey.VIEW_MOVED:
            placed = [_Lie.of(moved) for moved in self._moved if moved.placed]
            if placed:
                return _lie_numbers(_Lie.middle(placed))
            return _lie_numbers(_Lie.middle([_Lie.of(moved) for moved in self._moved]))[:3]
        if key is FindingKey.VIEW_NUDGED:
            return _lie_numbers(self._lately())
        if key is FindingKey.VIEW_PARTLY_COVERED:
            return (("percent_covered", round(100 * self._covered_lately())),)
        return _numbers(key, reading, still_s)


def _jumped(reading: SceneReading) -> bool:
    return not reading.change < JUMP_SHARE  # not a number counts as a jump


def _signs(reading: SceneReading, single: Verdict, *, still_s: float) -> dict[FindingKey, bool]:
    """For each finding that this reading says something about: is it there?"""
    key = FindingKey
    signs = {
        key.VIEW_NOT_COMMISSIONED: not reading.view and not reading.fault,
        key.VIEW_FILE_DAMAGED: bool(reading.fault),
        key.VIEW_OTHER_DEVICE: bool(reading.other_device),
    }
    if not reading.view:
        return signs
    frozen = reading.same_bits >= FROZEN_BITS or still_s >= STILL_FOR_S
    signs |= {
        key.VIEW_DARK: reading.unusable is Unusable.DARK,
        key.VIEW_COVERED: reading.unusable is Unusable.COVERED,
        # What cannot be judged for a reason of its own gets that reason, and not "unsure" beside it.
        key.VIEW_UNSURE: single is Verdict.CANNOT_TELL
        and not (frozen or reading.other_device or reading.fault)
        and reading.unusable not in (Unusable.DARK, Unusable.COVERED),
    }
    if reading.unusable is not Unusable.NOT_A_PICTURE:
        signs[key.VIEW_FROZEN] = frozen
    if single in (Verdict.MATCH, Verdict.FOREIGN, Verdict.MOVED):
        signs[key.VIEW_FOREIGN] = single is Verdict.FOREIGN
        signs[key.VIEW_MOVED] = single is Verdict.MOVED
    if reading.unusable is None and single in (Verdict.MATCH, Verdict.CANNOT_TELL):
        # Another scene has a sharpness of its own: only of this view, or perhaps this view, can it be said.
        signs[key.VIEW_BLURRED] = reading.sharpness < BLURRED_BELOW
    return signs


_Numbers: TypeAlias = tuple[tuple[str, float], ...]


def _lie_numbers(lie: _Lie) -> _Numbers:
    return (
        ("dx_px", round(lie.dx, 1)),
        ("dy_px", round(lie.dy, 1)),
        ("percent_of_width", round(100 * math.hypot(lie.dx, lie.dy) / SCALED_WIDTH, 1)),
        ("angle_deg", round(lie.angle_deg, 1)),
        ("zoom_percent", round(100 * (lie.zoom - 1.0), 1)),
    )


def _match_numbers(reading: SceneReading) -> _Numbers:
    return (
        ("score", reading.score),
        ("z", reading.z),
        ("tiles", float(reading.tiles)),
        ("cells", float(reading.cells)),
        ("ncc", reading.ncc),
    )


def _numbers(key: FindingKey, reading: SceneReading, still_s: float) -> _Numbers:
    """The evidence for *key*, as a person or the hub may want to see it."""
    grey = ("mean_grey", reading.mean_grey)
    table: dict[FindingKey, _Numbers] = {
        FindingKey.VIEW_DARK: (grey, ("dark_share", reading.dark_share)),
        FindingKey.VIEW_COVERED: (grey,),
        FindingKey.VIEW_BLURRED: (("sharpness", reading.sharpness),),
        FindingKey.VIEW_FROZEN: (("same_pictures", float(reading.same_bits)), ("still_s", still_s)),
        FindingKey.VIEW_FOREIGN: _match_numbers(reading),
        FindingKey.VIEW_UNSURE: (*_match_numbers(reading), ("blown_share", reading.blown_share)),
    }
    return table.get(key, ())


_WATCHED: Final = (
    FindingKey.VIEW_NOT_COMMISSIONED,
    FindingKey.VIEW_FOREIGN,
    FindingKey.VIEW_MOVED,
    FindingKey.VIEW_DARK,
    FindingKey.VIEW_COVERED,
    FindingKey.VIEW_BLURRED,
    FindingKey.VIEW_FROZEN,
    FindingKey.VIEW_UNSURE,
    FindingKey.VIEW_NUDGED,
    FindingKey.VIEW_PARTLY_COVERED,
    FindingKey.VIEW_FILE_DAMAGED,
    FindingKey.VIEW_OTHER_DEVICE,
)
