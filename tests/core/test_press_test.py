"""The monthly press: whether it is overdue, whatever the clock does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.press_test import DAY_S, OVERDUE_S, PressTest
from edge_agent.core.switch_memory import Kept, dump, load

NOW_S = 1_800_000_000


def fresh() -> PressTest:
    return PressTest(tested_s=None, counted_from_s=None)


def kept(test: PressTest) -> tuple[int | None, int | None]:
    return test.tested_s, test.counted_from_s


def test_without_any_press_the_days_count_from_the_first_trusted_clock():
    test = fresh()
    assert not test.settle(None, at=0.0)
    assert kept(test) == (None, None)
    assert not test.settle(float(NOW_S), at=10.0)
    assert kept(test) == (None, NOW_S)
    assert not test.settle(NOW_S + OVERDUE_S - 1, at=20.0)
    assert test.settle(NOW_S + OVERDUE_S, at=30.0)
    assert kept(test) == (None, NOW_S)
    assert test.age_s(float(NOW_S)) is None


def test_a_press_starts_the_days_anew_and_has_an_age():
    test = fresh()
    test.settle(float(NOW_S), at=0.0)
    test.pressed(at=OVERDUE_S)
    assert not test.settle(NOW_S + OVERDUE_S, at=OVERDUE_S)
    assert test.tested_s == NOW_S + OVERDUE_S
    assert test.age_s(NOW_S + OVERDUE_S + 5.04) == 5.0
    assert test.age_s(NOW_S + OVERDUE_S - 5.0) == 0.0
    assert test.age_s(None) is None
    assert test.settle(NOW_S + 2 * OVERDUE_S, at=2 * OVERDUE_S)


def test_a_press_before_the_clock_was_set_counts_from_its_own_moment():
    test = fresh()
    test.pressed(at=100.0)
    test.settle(None, at=150.0)
    assert kept(test) == (None, None)
    test.settle(float(NOW_S), at=400.0)
    assert kept(test) == (NOW_S - 300, NOW_S)


def test_a_contact_that_chatters_is_one_test_a_minute():
    test = PressTest(tested_s=NOW_S, counted_from_s=NOW_S)
    test.pressed(at=59.0)
    test.settle(NOW_S + 59.0, at=59.0)
    assert test.tested_s == NOW_S
    test.settle(NOW_S + 90.0, at=90.0)
    assert test.tested_s == NOW_S, "that press has been dealt with"
    test.pressed(at=91.0)
    test.settle(NOW_S + 91.0, at=91.0)
    assert test.tested_s == NOW_S + 91


def test_a_press_from_the_future_is_not_believed():
    ahead = PressTest(tested_s=NOW_S + 100_000, counted_from_s=NOW_S - 10)
    assert not ahead.settle(float(NOW_S), at=0.0)
    assert (ahead.tested_s, ahead.counted_from_s) == (None, NOW_S)
    within_a_day = PressTest(tested_s=NOW_S + 80_000, counted_from_s=NOW_S - 10)
    within_a_day.settle(float(NOW_S), at=0.0)
    assert within_a_day.tested_s == NOW_S + 80_000
    counted = PressTest(tested_s=None, counted_from_s=NOW_S + 100_000)
    counted.settle(float(NOW_S), at=0.0)
    assert counted.counted_from_s == NOW_S


def test_exactly_a_day_ahead_is_still_believed():
    test = PressTest(tested_s=NOW_S + int(DAY_S), counted_from_s=NOW_S + int(DAY_S))
    test.settle(float(NOW_S), at=0.0)
    assert (test.tested_s, test.counted_from_s) == (NOW_S + DAY_S, NOW_S + DAY_S)


def test_a_press_before_the_year_1970_is_at_its_beginning():
    test = fresh()
    test.pressed(at=0.0)
    test.settle(10.0, at=100.0)
    assert test.tested_s == 0


@pytest.mark.parametrize("wall_s", [math.nan, math.inf, -math.inf, -1.0, 1.1e12])
def test_a_clock_gone_wild_judges_nothing(wall_s: float):
    test = PressTest(tested_s=1, counted_from_s=1)
    test.pressed(at=0.0)
    assert not test.settle(wall_s, at=1.0)
    assert (test.tested_s, test.counted_from_s) == (1, 1)


@given(st.lists(st.tuples(st.none() | st.floats(), st.booleans()), max_size=20))
def test_whatever_the_clock_does_it_never_raises_and_can_be_kept(steps):
    test = fresh()
    for number, (wall_s, pressed) in enumerate(steps):
        if pressed:
            test.pressed(at=float(number))
        test.settle(wall_s, at=float(number))
        whole = Kept(tested_s=test.tested_s, counted_from_s=test.counted_from_s)
        assert load(dump(whole)) == whole
