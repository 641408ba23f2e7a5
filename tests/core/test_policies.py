"""Which policy is in force, however many come."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.policies import BURST, EVERY_S, Heard, Policies, too_high
from edge_agent.core.wire import Policy


def policy(number: int, until: float | None = None) -> Policy:
    return Policy(number=number, suspended_until=until, reason_id="", reason_en="")


def claims(number: int) -> bytes:
    return b"%d" % number


def test_a_higher_number_counts_at_once_the_same_again_and_lower_ones_change_nothing() -> None:
    policies = Policies()
    assert policies.hear(policy(5), claims(5)) is Heard.NEW
    assert policies.due(at=1.0) == claims(5)
    assert policies.in_force == policy(5)
    assert policies.hear(policy(5), claims(5)) is Heard.AGAIN
    assert policies.hear(policy(4), claims(4)) is Heard.OLD
    assert policies.hear(policy(5, 9.0), claims(5)) is Heard.OLD, "another one of the same number"
    assert policies.due(at=1e6) is None
    assert policies.deadline() == math.inf


def test_a_flood_is_put_into_force_slowly_and_its_last_word_counts() -> None:
    policies = Policies()
    done = []
    for number in range(1, 1001):
        assert policies.hear(policy(number), claims(number)) is Heard.NEW
        done += [policies.due(at=0.0)]
    assert len([found for found in done if found is not None]) == BURST + 1
    assert policies.hear(policy(999), claims(999)) is Heard.OLD, "a newer one waits"
    assert policies.hear(policy(1000), claims(1000)) is Heard.AGAIN
    assert policies.due(at=policies.deadline() - 0.001) is None
    assert policies.due(at=policies.deadline()) == claims(1000)
    assert policies.in_force == policy(1000)


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=200))
def test_never_more_than_a_burst_and_one_a_minute_in_any_span(gaps: list[float]) -> None:
    policies, at, came = Policies(), 0.0, []
    for number, gap in enumerate(gaps, start=1):
        at += gap
        policies.hear(policy(number), claims(number))
        if policies.due(at=at) is not None:
            came.append(at)
    for place, begin in enumerate(came):
        for count, end in enumerate(came[place:], start=1):
            assert count <= BURST + 1 + (end - begin) / EVERY_S
    at = max(at, policies.deadline()) if policies.deadline() < math.inf else at
    policies.due(at=at)
    assert policies.in_force == policy(len(gaps)), "the newest is obeyed in the end"


def test_no_number_uses_up_all_numbers_as_far_as_a_clock_can_tell() -> None:
    now_s = 1.8e9
    assert too_high(12, wall_s=now_s) == ""
    assert too_high(round(now_s * 1000), wall_s=now_s) == ""
    assert "policy.number" in too_high(round((now_s + 86_401) * 1000), wall_s=now_s)
    assert "policy.number" in too_high(2**63 - 1, wall_s=now_s)
    assert too_high(2**63 - 1, wall_s=None) == "", "nobody can tell"
