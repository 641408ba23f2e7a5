"""When the next certificate is asked for, which pair is offered meanwhile, and when a person is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import CertificateRead, FindingKey
from edge_agent.core.renewal import (
    ASKED_MAX_S,
    ASKED_MIN_S,
    DAY_S,
    FIRST_S,
    PATIENT_S,
    REFUSALS,
    TURNED_DOWN,
    URGENT_S,
    Fate,
    Life,
    Plan,
    Slot,
    Trial,
    judge,
)

BEGIN = 1_800_000_000.0
LIFE = Life(begin_s=BEGIN, end_s=BEGIN + 400 * DAY_S)
LATE = FIRST_S + 1


def plan(chance: float = 0.5) -> Plan:
    return Plan(at=0.0, random=lambda: chance)


def wants(of: Plan, at: float, wall_s: float | None, passed_s: float = 0.0) -> bool:
    return of.wants(LIFE, at=at, wall_s=wall_s, passed_s=passed_s)


# ---- when ----


@given(st.floats(0, 1, exclude_max=True))
def test_it_is_asked_for_at_half_life_and_not_by_all_on_one_day(chance):
    due = LIFE.due_s(chance)
    assert BEGIN + 200 * DAY_S <= due <= BEGIN + 220 * DAY_S
    of = plan(chance)
    assert of.due_s(LIFE) == due
    assert not wants(of, LATE, due - 1)
    assert wants(of, LATE, due)


def test_half_a_life_is_left_for_an_outage():
    assert LIFE.end_s - LIFE.due_s(1.0) >= 180 * DAY_S


def test_boxes_that_start_together_do_not_ask_together():
    assert not wants(plan(0.9), 0.8 * FIRST_S, LIFE.end_s)
    assert wants(plan(0.1), 0.8 * FIRST_S, LIFE.end_s)


def test_a_clock_that_nothing_vouches_for_asks_only_for_what_has_surely_passed():
    of = plan()
    assert not wants(of, LATE, None)
    assert not wants(of, LATE, None, passed_s=of.due_s(LIFE) - 1)
    assert wants(of, LATE, None, passed_s=of.due_s(LIFE))


def test_a_hub_that_refuses_the_pair_is_reason_enough_whatever_the_clock_says():
    of = plan()
    for _ in range(TURNED_DOWN - 1):
        of.refused()
        assert not wants(of, LATE, None)  # a hub that drowns hangs up on everybody
    of.refused()
    assert wants(of, LATE, None)
    assert wants(of, LATE, BEGIN + DAY_S)
    of.welcome()
    assert not wants(of, LATE, None)


@given(st.floats(0, 1), st.integers(1, 60), st.booleans())
def test_after_a_failure_it_is_tried_again_ever_more_rarely_but_for_ever(chance, times, urgent):
    of = plan(chance)
    wall_s = LIFE.end_s + 1 if urgent else LIFE.end_s - 1
    first_s, cap_s = URGENT_S if urgent else PATIENT_S
    at = 0.0
    for count in range(times):
        of.failed(LIFE, at=at, wall_s=wall_s)
        most_s = min(cap_s, first_s * 2**count)
        assert not wants(of, at + 0.49 * most_s, wall_s)
        assert wants(of, at + most_s, wall_s)
        at += most_s


@pytest.mark.parametrize(
    ("asked", "waits"),
    [(0.0, ASKED_MIN_S), (600.0, 600.0), (1e12, ASKED_MAX_S), (float("nan"), ASKED_MAX_S)],
)
def test_an_endpoint_may_ask_for_patience_but_not_for_ever(asked, waits):
    of = plan()
    of.asked_to_wait(asked, at=1000.0)
    assert not wants(of, 1000.0 + waits - 1, LIFE.end_s)
    assert wants(of, 1000.0 + waits, LIFE.end_s)


def test_a_new_certificate_that_is_refused_at_once_is_not_replaced_every_minute():
    of = plan()
    of.done(at=LATE)
    for _ in range(TURNED_DOWN):
        of.refused()
    assert not wants(of, LATE + 60, None)
    assert wants(of, LATE + 3600, None)


# ---- which pair ----


@pytest.mark.parametrize(("welcomed", "most"), [(False, 30), (True, 500)])
def test_a_hub_that_turns_the_box_down_for_months_costs_its_authority_few_signatures(
    welcomed, most
):
    made = plan()
    signed, at = 0, 0.0
    while at < 14 * DAY_S:
        at += 600.0
        made.refused()
        if wants(made, at, None):
            made.done(at=at)
            signed += 1
            if welcomed:
                made.welcome()
    assert most / 4 < signed <= most


def test_the_new_pair_is_tried_first_and_kept_once_it_worked():
    trial = Trial()
    assert trial.offer(Slot.CONFIGURED, trial=False) is Slot.CONFIGURED
    assert trial.offer(Slot.CONFIGURED, trial=True) is Slot.TRIAL
    assert trial.worked(Slot.TRIAL) is Fate.KEEP


def test_a_new_pair_that_is_refused_takes_turns_with_the_old_one_and_is_dropped_in_the_end():
    trial = Trial()
    for _ in range(REFUSALS):
        assert trial.offer(Slot.RENEWED, trial=True) is Slot.TRIAL
        trial.refused(Slot.TRIAL)
        assert trial.offer(Slot.RENEWED, trial=True) is Slot.RENEWED
        trial.refused(Slot.RENEWED)
    assert trial.offer(Slot.RENEWED, trial=True) is Slot.TRIAL
    trial.refused(Slot.TRIAL)
    assert trial.worked(Slot.RENEWED) is Fate.DROP
    assert trial.worked(Slot.RENEWED) is Fate.WAIT


def test_one_refusal_is_no_proof():
    trial = Trial()
    trial.refused(Slot.TRIAL)
    assert trial.worked(Slot.CONFIGURED) is Fate.WAIT
    assert trial.offer(Slot.CONFIGURED, trial=True) is Slot.TRIAL


@given(st.lists(st.booleans(), max_size=40), st.booleans(), st.booleans())
def test_whatever_happens_a_pair_that_works_is_offered_within_two_dials(past, old_works, new_works):
    trial = Trial()
    for ok in past:
        slot = trial.offer(Slot.RENEWED, trial=True)
        if not ok:
            trial.refused(slot)
        elif trial.worked(slot) is not Fate.WAIT:
            trial = Trial()
    good = {Slot.RENEWED: old_works, Slot.TRIAL: new_works}
    for _ in range(2):
        slot = trial.offer(Slot.RENEWED, trial=True)
        if good[slot]:
            return
        trial.refused(slot)
    assert not old_works
    assert not new_works


# ---- whom to tell ----


def read(*, end_s: float, trouble: str = "", renews: bool = True) -> CertificateRead:
    return CertificateRead(
        slot="configured",
        begin_s=0.0,
        end_s=end_s,
        due_s=0.0,
        renews=renews,
        waiting=False,
        trouble=trouble,
    )


@pytest.mark.parametrize(
    ("left_days", "trouble", "renews", "key"),
    [
        (31, "refused", True, None),
        (29, "refused", True, FindingKey.CERTIFICATE_EXPIRES),
        (29, "", True, None),  # it is being renewed
        (29, "", False, FindingKey.CERTIFICATE_EXPIRES),
        (0, "", True, FindingKey.CERTIFICATE_EXPIRED),
        (-100, "refused", False, FindingKey.CERTIFICATE_EXPIRED),
    ],
)
def test_a_person_is_told_when_a_person_is_needed(left_days, trouble, renews, key):
    wall_s = BEGIN
    found = judge(
        read(end_s=wall_s + left_days * DAY_S, trouble=trouble, renews=renews), wall_s=wall_s
    )
    assert set(found) == ({key} if key else set())


def test_a_clock_that_nothing_vouches_for_alarms_nobody():
    assert judge(read(end_s=1.0), wall_s=None) == {}
    assert judge(None, wall_s=BEGIN) == {}


def test_the_last_day_is_called_one_day():
    found = judge(read(end_s=BEGIN + 60, renews=False), wall_s=BEGIN)
    assert found[FindingKey.CERTIFICATE_EXPIRES]["in_days"] == 1
