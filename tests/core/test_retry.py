"""When to try again: spread for the hub's sake, quick where nobody is hurt, patient where the hub asks for it."""

from __future__ import annotations

import pytest

from edge_agent.core.retry import CAP, LOCAL_S, STABLE_LOCAL_S, STABLE_S, START_S, WINDOW_S, Retry


def retry(chance: float = 1.0, *, loopback: bool = False, window_s: float = WINDOW_S) -> Retry:
    return Retry(loopback=loopback, random=lambda: chance, window_s=window_s)


def test_the_spread_is_the_window_then_double_then_the_cap() -> None:
    one = retry()
    waits = [one.again_s(local=False) for _ in range(40)]
    assert waits[:2] == [WINDOW_S, CAP * WINDOW_S]
    assert set(waits[1:]) == {CAP * WINDOW_S}


@pytest.mark.parametrize("window_s", [10.0, 120.0, 3600.0])
def test_the_hub_sets_the_pace_by_its_window_alone(window_s: float) -> None:
    one = retry(0.5)
    one.window_s = window_s
    assert one.again_s(local=False) == window_s / 2
    assert one.together_s() == window_s / 2


@pytest.mark.parametrize("loopback", [False, True])
@pytest.mark.parametrize("local", [False, True])
def test_a_hub_that_asks_for_patience_gets_a_whole_window_wherever_it_stands(
    loopback: bool, local: bool
) -> None:
    one = retry(0.0, loopback=loopback)
    for _ in range(5):
        assert one.again_s(local=local, patient=True) == WINDOW_S
    assert retry(1.0).again_s(local=False, patient=True) == 2 * WINDOW_S


def test_what_troubles_no_hub_is_quick_and_does_not_make_the_next_loss_slower() -> None:
    one = retry()
    for _ in range(5):
        assert one.again_s(local=True) == LOCAL_S
    assert one.again_s(local=False) == WINDOW_S
    assert retry(loopback=True).again_s(local=False) == LOCAL_S
    assert retry(loopback=True).together_s() == LOCAL_S
    assert retry().start_s() == START_S


@pytest.mark.parametrize(("loopback", "stable_s"), [(False, STABLE_S), (True, STABLE_LOCAL_S)])
def test_only_a_stable_spell_makes_the_next_loss_a_first_one(
    loopback: bool, stable_s: float
) -> None:
    one = retry(loopback=loopback)
    one.again_s(local=False, patient=True)
    one.was_up(stable_s - 1)
    assert one.again_s(local=False, patient=True) == WINDOW_S * (1 + CAP)
    one.was_up(stable_s)
    assert one.again_s(local=False, patient=True) == WINDOW_S * 2
