"""When a camera may learn: one permit at a time, none that outlives its stretch, and seldom."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.learning import LIGHTS_A_DAY, PAUSE_S, Learning
from edge_agent.core.messages import Command, Learn, LessonEnded


def ended(permit: int, light: str = "learnt-1", why: str = "") -> LessonEnded:
    return LessonEnded(camera="gate", generation=1, permit=permit, light=light, why=why)


def permits(commands: list[Command]) -> list[int | None]:
    assert all(isinstance(c, Learn) and c.camera == "gate" for c in commands)
    return [c.permit for c in commands if isinstance(c, Learn)]


def test_a_stretch_has_one_permit_and_the_next_has_another():
    learning = Learning("gate")
    assert learning.tend(None, at=0.0) == []
    assert learning.tend(3, at=1.0) == [Learn(camera="gate", generation=3, permit=1)]
    assert learning.tend(3, at=2.0) == []
    assert permits(learning.tend(None, at=3.0)) == [None]
    assert learning.tend(None, at=4.0) == []
    assert permits(learning.tend(3, at=5.0)) == [2]
    assert learning.tend(4, at=6.0) == [Learn(camera="gate", generation=4, permit=3)]


def test_after_a_light_an_hour_passes_and_after_none_the_next_lesson_may_begin():
    learning = Learning("gate")
    learning.tend(1, at=0.0)
    assert learning.told(ended(1, light="", why="nothing is new"), at=1300.0)
    assert permits(learning.tend(1, at=1301.0)) == [2]
    assert learning.told(ended(2), at=3000.0)
    assert learning.tend(1, at=3001.0) == []
    assert learning.tend(1, at=3000.0 + PAUSE_S - 1.0) == []
    assert permits(learning.tend(1, at=3000.0 + PAUSE_S)) == [3]


def test_a_lesson_is_told_once_and_only_if_it_was_permitted():
    learning = Learning("gate")
    assert not learning.told(ended(0), at=0.0)
    assert not learning.told(ended(1), at=0.0)
    learning.tend(1, at=0.0)
    assert not learning.told(ended(2), at=1.0)
    assert learning.told(ended(1), at=1.0)
    assert not learning.told(ended(1), at=2.0)


def test_a_light_that_was_kept_just_as_the_permit_went_is_still_told():
    learning = Learning("gate")
    learning.tend(1, at=0.0)
    learning.tend(None, at=1.0)
    assert learning.told(ended(1), at=1.1)
    assert learning.tend(1, at=2.0) == []


def test_four_lights_a_day_and_the_fifth_when_the_first_is_a_day_old():
    learning = Learning("gate")
    at = 0.0
    for permit in range(1, LIGHTS_A_DAY + 1):
        assert permits(learning.tend(1, at=at)) == [permit]
        assert learning.told(ended(permit), at=at)
        at += PAUSE_S
    assert learning.tend(1, at=at) == []
    assert learning.tend(1, at=24 * 3600.0 - 1.0) == []
    assert permits(learning.tend(1, at=24 * 3600.0)) == [LIGHTS_A_DAY + 1]


STEP = st.one_of(
    st.tuples(st.just("tend"), st.sampled_from([None, 1, 2, 3])),
    st.tuples(st.just("told"), st.integers(-1, 12)),
    st.tuples(st.just("none"), st.integers(-1, 12)),
)


@given(st.lists(st.tuples(STEP, st.floats(0.0, 7200.0)), max_size=80))
def test_whatever_a_worker_says_lights_are_few_and_each_is_of_a_permit_of_its_own(steps):
    learning, at = Learning("gate"), 0.0
    given_out: list[int] = []
    believed: list[int] = []
    kept_at: list[float] = []
    in_force: int | None = None
    for (step, value), seconds in steps:
        at += seconds
        if step == "tend":
            for command in learning.tend(value, at=at):
                assert isinstance(command, Learn)
                if command.permit is not None:
                    assert command.generation == value
                    given_out.append(command.permit)
                    assert all(at - moment >= PAUSE_S for moment in kept_at)
                    assert sum(at - moment < 24 * 3600.0 for moment in kept_at) < LIGHTS_A_DAY
                in_force = command.permit
            assert value is not None or in_force is None or in_force in believed
        elif value is not None and learning.told(
            ended(value, "learnt-1" if step == "told" else ""), at=at
        ):
            assert value == given_out[-1], "an old permit"
            believed.append(value)
            kept_at += [at] if step == "told" else []
    assert given_out == list(range(1, len(given_out) + 1))
    assert sorted(set(believed)) == believed
    assert set(believed) <= set(given_out)
