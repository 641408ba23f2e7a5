"""What a camera learns of its lights, and what it can never be led to learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import demo_pictures, vision
from edge_agent.core.messages import SceneReading
from edge_agent.core.scene import is_match
from edge_agent.vision import Eye, Grey, Light, References, Refusal
from edge_agent.vision.learn import (
    EVERY_S,
    PICTURES,
    SPAN_MAX_S,
    SPAN_S,
    Learnt,
    Lesson,
)
from edge_agent.vision.match import NEAR_PX
from tests.support.lamp import lamplit, seen_from, weakest_lamp

STREETS = demo_pictures.STREETS
TAUGHT = (0, 1)  # these show enough by lamplight; of the third too little is left
ROOM = 4  # learnt lights beside the approved ones


@cache
def source(path: str) -> Grey:
    found = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    assert found is not None
    return np.asarray(found, dtype=np.uint8)


def seen(path: object, dx: float = 0.0, dy: float = 0.0, zoom: float = 1.0) -> Grey:
    return seen_from(source(str(path)), dx, dy, zoom=zoom)


@cache
def approved(street: int) -> References:
    built = vision.build({"day": [seen(path) for path in STREETS[street].commission]})
    assert isinstance(built, References), built
    return built


def with_light(references: References, learnt: Learnt) -> References:
    old = [light for light in references.lights if light is not learnt.replaces]
    lights = (*old, learnt.light)
    return dataclasses.replace(
        references, lights=lights, learnt=len(lights) - len(references.approved)
    )


@cache
def weak_lamp(street: int) -> float:
    return weakest_lamp(approved(street), [seen(path) for path in STREETS[street].night])


def night(street: int, number: int, radius: float) -> Grey:
    paths = STREETS[street].night
    return lamplit(seen(paths[number % len(paths)]), radius, seed=number)


@dataclasses.dataclass
class School:
    """A camera that is always permitted to learn: more than the agent ever allows."""

    references: References

    def __post_init__(self) -> None:
        self.at = 1000.0
        self.refused: list[str] = []
        self.lights = 0
        self._begin()

    def _begin(self) -> None:
        self.eye = Eye(self.references)
        self.eye.read(np.zeros((vision.HEIGHT, vision.WIDTH), np.uint8))
        self.lesson = Lesson(self.references)

    def show(self, grey: Grey, every_s: float = EVERY_S / 2) -> SceneReading:
        """One picture and, as far as the lesson is concerned, another one just like it."""
        # Nothing here is a jump: the pictures of a test are minutes apart, a camera's are seconds apart.
        reading = dataclasses.replace(self.eye.read(grey), change=0.1)
        for _ in range(2):
            self.at += every_s
            self.lesson.see(grey, reading, at=self.at)
        if self.lesson.complete:
            learnt = self.lesson.learnt(room=ROOM)
            if isinstance(learnt, Learnt):
                self.references = with_light(self.references, learnt)
                self.lights += 1
                self._begin()
            else:
                self.refused.append(learnt.why)
                self.lesson = Lesson(self.references)
        return reading


def is_part_of(light: Light, anchor: Light) -> bool:
    """Whether *light* is *anchor* with whole parts left out, and nothing else."""
    for y in range(0, vision.HEIGHT, vision.HEIGHT // vision.TILES_Y):
        for x in range(0, vision.WIDTH, vision.WIDTH // vision.TILES_X):
            part = np.s_[
                y : y + vision.HEIGHT // vision.TILES_Y, x : x + vision.WIDTH // vision.TILES_X
            ]
            mine, others = (np.stack([m.re[part], m.im[part]]) for m in (light, anchor))
            if mine.any() and not np.array_equal(mine, others):
                return False
    return True


# ---- what is learnt ----


@pytest.mark.parametrize("street", TAUGHT)
def test_a_street_by_lamplight_is_told_better_after_a_lesson(street: int) -> None:
    radius = weak_lamp(street)
    school = School(approved(street))
    before = [school.eye.read(night(street, n, radius)).score for n in range(90, 96)]
    shown = 0
    while not school.lights:
        school.show(night(street, shown, radius))
        shown += 1
        assert shown < 4 * PICTURES, school.refused
    after = [school.eye.read(night(street, n, radius)).score for n in range(90, 96)]
    assert np.median(after) > np.median(before) + 0.1
    light = school.references.lights[-1]
    assert light.name == "learnt-1"
    assert light.frames >= PICTURES
    assert is_part_of(light, school.references.lights[0])
    assert not is_part_of(school.references.lights[0], light), "nothing was left out"
    day = school.eye.read(seen(STREETS[street].commission[0]))
    assert day.score == Eye(approved(street)).read(seen(STREETS[street].commission[0])).score


def test_a_light_that_shows_too_little_is_not_kept() -> None:
    found = lesson_of(approved(2), lambda n: night(2, n, weak_lamp(2)))
    assert isinstance(found, Refusal)
    assert "too little" in found.why


def test_a_light_that_is_known_well_teaches_nothing() -> None:
    school = School(approved(0))
    for n in range(3 * PICTURES):
        school.show(seen(STREETS[0].commission[n % 5]))
    assert (school.lights, school.refused) == (0, [])


def a_reading(score: float = 1.4, **change: object) -> SceneReading:
    reading = SceneReading(
        view="v", unusable=None, score=score, z=4.0, tiles=12, cells=6, ncc=0.2, dx=0.0, dy=0.0, elsewhere=False,
        light_known=True, sharpness=1.0, mean_grey=40.0, dark_share=0.5, blown_share=0.0, change=0.1, same_bits=1,
    )  # fmt: skip
    return dataclasses.replace(reading, **change)  # type: ignore[arg-type]


def gathered(readings: list[tuple[float, SceneReading]]) -> Lesson:
    """A lesson after (seconds, reading) pairs, all of one real picture."""
    lesson = Lesson(approved(0))
    grey, at = night(0, 0, weak_lamp(0)), 1000.0
    for seconds, reading in readings:
        at += seconds
        lesson.see(grey, reading, at=at)
    return lesson


WEAK = a_reading()
UNSURE = a_reading(0.8)
FULL = [(EVERY_S / 2, WEAK)] * (2 * PICTURES + 4)


def test_a_lesson_takes_its_time_and_its_pictures() -> None:
    lesson, grey, at = Lesson(approved(0)), night(0, 0, weak_lamp(0)), 0.0
    while not lesson.complete:
        at += 5.0
        lesson.see(grey, WEAK, at=at)
    assert max(SPAN_S, (PICTURES - 1) * EVERY_S) <= at <= 1.2 * SPAN_S


def test_doubtful_pictures_between_do_not_count_but_spoil_nothing() -> None:
    assert gathered(FULL).complete
    doubts = [step for pair in FULL for step in (pair, pair, (5.0, UNSURE))]
    assert gathered(doubts * 2).complete
    only_before_doubt = [step for pair in FULL * 3 for step in ((60.0, WEAK), (5.0, UNSURE))]
    lesson = gathered(only_before_doubt)
    assert not lesson.complete
    assert isinstance(lesson.learnt(room=ROOM), Refusal)


def test_a_covered_view_is_not_taken_for_a_light() -> None:
    behind_a_lorry = [(seconds, a_reading(covered_share=0.4)) for seconds, _ in FULL]
    assert not gathered(behind_a_lorry).complete
    assert gathered([*behind_a_lorry, *FULL]).complete


@pytest.mark.parametrize(
    "end",
    [
        a_reading(0.2),
        a_reading(0.8, elsewhere=True),
        a_reading(change=0.9),
        a_reading(change=float("nan")),
    ],
)
def test_a_stranger_a_move_or_a_jump_ends_the_lesson(end: SceneReading) -> None:
    almost = FULL[: 2 * PICTURES - 1]
    assert not gathered(almost).complete
    assert gathered([*almost, *FULL[:4]]).complete
    lesson = gathered([*almost, (5.0, end), *FULL[:4]])
    assert not lesson.complete
    assert gathered([*almost, (5.0, end), *FULL]).complete, "it may begin anew"


def test_what_takes_too_long_or_goes_back_in_time_begins_anew() -> None:
    slow = [(SPAN_MAX_S / PICTURES + 20.0, WEAK), (5.0, WEAK)] * (3 * PICTURES)
    assert not gathered(slow).complete
    assert not gathered([*FULL[: 2 * PICTURES - 1], (-500.0, WEAK), *FULL[:4]]).complete


def test_the_second_picture_must_come_soon() -> None:
    assert not gathered([(61.0, WEAK)] * 50).complete


def test_with_no_room_for_it_nothing_is_learnt() -> None:
    found = gathered(FULL).learnt(room=0)
    assert isinstance(found, Refusal)
    assert "room" in found.why


def lesson_of(references: References, pictures: Callable[[int], Grey]) -> Learnt | Refusal:
    """The lesson of *pictures*, whatever they score."""
    lesson, at = Lesson(references), 0.0
    for number in range(3 * PICTURES):
        at += EVERY_S / 2
        lesson.see(pictures(number), WEAK, at=at)
        if lesson.complete:
            break
    return lesson.learnt(room=ROOM)


def test_pictures_of_a_room_teach_nothing_even_if_every_one_passed_for_a_match() -> None:
    rooms = demo_pictures.ROOM + demo_pictures.ROOM_INFRARED
    for street in range(len(STREETS)):
        own = STREETS[street].room_under_text
        for paths in (rooms, own):
            found = lesson_of(approved(street), lambda n, p=paths: seen(p[n % len(p)]))  # type: ignore[misc]
            assert isinstance(found, Refusal)
            found = lesson_of(
                approved(street),
                lambda n, s=street: seen(STREETS[s - 1].night[n % 3]),  # type: ignore[misc]
            )
            assert isinstance(found, Refusal)


def test_the_oldest_of_its_kind_makes_room() -> None:
    radius = weak_lamp(0)
    found = lesson_of(approved(0), lambda n: night(0, n, radius))
    assert isinstance(found, Learnt)
    assert found.replaces is None
    others = [
        dataclasses.replace(approved(0).lights[0], name=f"learnt-{n}", mean_grey=grey)
        for n, grey in ((3, 200.0), (7, found.light.mean_grey + 5.0), (5, 10.0), (4, 90.0))
    ]
    full = dataclasses.replace(
        approved(0), lights=(*approved(0).lights, *others), learnt=len(others)
    )
    again = lesson_of(full, lambda n: night(0, n, radius))
    assert isinstance(again, Learnt)
    assert again.replaces is others[1]
    assert (again.of, again.light.name) == ("day", "learnt-8")


def test_what_was_learnt_is_not_learnt_again() -> None:
    radius = weak_lamp(0)
    found = lesson_of(approved(0), lambda n: night(0, n, radius))
    assert isinstance(found, Learnt)
    again = lesson_of(with_light(approved(0), found), lambda n: night(0, n + 40, radius))
    assert isinstance(again, Refusal)
    assert "nothing is new" in again.why


# ---- what it can never be led to ----


STAY = PICTURES + 4  # long enough for a first light


@dataclasses.dataclass(frozen=True)
class Drift:
    """A way from the street in small steps, by weak light, after a while on it: how far each picture has come, 0 to 1."""

    kind: str
    street: int
    steps: int
    dim: float  # 0 = as the weakest lamp that matches, 1 = full light

    def pictures(self) -> Iterator[tuple[float, Grey]]:
        radius = weak_lamp(self.street) + self.dim
        for number in range(self.steps):
            far = max(0, number - STAY) / (self.steps - 1 - STAY)
            yield far, lamplit(self._seen(far, number), radius, seed=number)

    def _seen(self, far: float, number: int) -> Grey:
        nights = STREETS[self.street].night
        path = nights[number % len(nights)]
        match self.kind:
            case "pan":
                return seen(path, dx=20.0 * far)
            case "tilt":
                return seen(path, dy=-16.0 * far)
            case "zoom":
                return seen(path, zoom=1.0 + 0.4 * far)
            case _:
                room = seen(demo_pictures.ROOM[number % 3])
                blend = (1.0 - far) * seen(path).astype(np.float32) + far * room
                return np.asarray(blend, dtype=np.uint8)


# From here on it is no more the commissioned view, as a person would say: 6 % of the width, a fifth larger, mostly a room.
GONE = {"pan": 0.5, "tilt": 0.7, "zoom": 0.6, "fade": 0.85}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", sorted(GONE))
@settings(max_examples=2)  # each is an hour of a camera, and seconds of ours
@given(
    street=st.sampled_from(TAUGHT),
    steps=st.integers(STAY + 30, STAY + 60),
    dim=st.sampled_from([0.0, 0.002]),
)
def test_no_slow_drift_walks_to_another_view(
    kind: str, street: int, steps: int, dim: float
) -> None:
    drift = Drift(kind, street, steps, dim)
    anchor = approved(drift.street)
    school = School(anchor)
    for far, grey in drift.pictures():
        reading = school.show(grey)
        if far >= GONE[drift.kind]:
            assert not is_match(reading), (far, reading)
        if is_match(reading):
            assert max(abs(reading.dx), abs(reading.dy)) <= NEAR_PX + 1.0, reading
    assert school.lights > 0, "nothing was learnt, so nothing was tried"
    for light in school.references.lights[len(anchor.approved) :]:
        assert is_part_of(light, anchor.lights[0])
        rooms = [seen(p) for p in (*demo_pictures.ROOM, *STREETS[drift.street].room_under_text)]
        strangers = [*rooms, *(seen(p) for p in STREETS[drift.street - 1].commission)]
        for stranger in strangers:
            assert not is_match(school.eye.read(stranger))
    assert school.references.anchor == anchor.anchor
