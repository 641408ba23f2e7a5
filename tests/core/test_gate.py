"""The gate's table, and what no sequence of events may ever bring about."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import gate as gates
from edge_agent.core.gate import BRACKET_S, DOUBT_S, TABLE, Cause, Gate, Moved, Released, State
from tests.support.build import STREET, picture

# What leads to an open gate comes often, or hardly any life would ever see one.
ANY_CAUSE = st.sampled_from([Cause.SIGNAL_BACK, Cause.PROVEN] * 5 + list(Cause))


def opened(*, at: float = 0.0) -> Gate:
    gate = Gate("gate", at=at)
    gate.move(Cause.SIGNAL_BACK, at=at)
    gate.move(Cause.PROVEN, at=at)
    return gate


def test_the_table_is_full():
    assert set(TABLE) == {(state, cause) for state in State for cause in Cause}


def test_only_proof_opens_and_only_from_held():
    opening = {
        (s, c) for (s, c), after in TABLE.items() if after is State.OPEN and s is not State.OPEN
    }
    assert opening == {(State.HELD, Cause.PROVEN)}


def test_an_open_gate_bears_nothing_but_proof_and_doubt():
    assert {c for c in Cause if TABLE[State.OPEN, c] is State.OPEN} == {Cause.PROVEN, Cause.DOUBT}


def test_a_picture_shown_to_a_gate_that_is_not_open_never_leaves():
    gate = Gate("gate", at=0.0)
    gate.move(Cause.SIGNAL_BACK, at=1.0)
    gate.offer(picture(taken_at=1.0), matches=True, wanted=True, at=1.0)
    gate.move(Cause.PROVEN, at=2.0)
    assert gate.offer(picture(taken_at=3.0), matches=True, wanted=True, at=3.0) is None


def test_only_the_switch_ends_private():
    assert {c for c in Cause if TABLE[State.PRIVATE, c] is not State.PRIVATE} == {Cause.PRIVACY_OFF}


def test_privacy_wins_from_every_state():
    assert {TABLE[state, Cause.PRIVACY_ON] for state in State} == {State.PRIVATE}


def test_after_privacy_every_camera_proves_itself_again():
    assert TABLE[State.PRIVATE, Cause.PRIVACY_OFF] is State.CLOSED


def test_it_starts_closed_and_remembers_nothing():
    gate = Gate("gate", at=5.0)
    assert (gate.state, gate.cause, gate.since) == (State.CLOSED, None, 5.0)
    assert gate.waiting_from is None
    assert gate.doubt_expires_at() is None


def test_the_table_in_force_is_the_one_that_is_written_down():
    assert gates._rows() == TABLE


def test_nobody_else_makes_a_released_picture():
    with pytest.raises(PermissionError, match=r"^a Released picture is made by a Gate alone$"):
        Released(object(), picture(), {})


def test_a_released_picture_does_not_print_itself():
    gate = opened()
    gate.offer(picture(taken_at=1.0, jpeg=b"street"), matches=True, wanted=True, at=1.0)
    released = gate.offer(picture(taken_at=3.0), matches=True, wanted=True, at=3.0)
    assert released is not None
    assert "street" not in repr(released)
    assert released.jpeg == b"street"
    assert released.data()["closing_score"] == 2.0


def test_a_released_picture_carries_its_own_facts_and_what_proved_it():
    gate = opened()
    shown = replace(STREET, score=1.23456, tiles=31, dx=1.26, dy=-0.34, view="view-7")
    waits = replace(
        picture(camera="gate", generation=4, taken_at=1.0, reading=shown, width=640, height=360),
        age_s=0.1234,
    )
    gate.offer(waits, matches=True, wanted=True, at=1.0)
    closing = picture(generation=4, taken_at=3.0, reading=replace(STREET, score=1.98765))
    released = gate.offer(closing, matches=True, wanted=True, at=3.0)
    assert released is not None
    assert (released.camera, released.generation, released.taken_at) == ("gate", 4, 1.0)
    assert released.data() == {
        "score": 1.23,
        "tiles": 31,
        "dx": 1.3,
        "dy": -0.3,
        "closing_score": 1.99,
        "view": "view-7",
        "width": 640,
        "height": 360,
        "age_s": 0.12,
    }


def test_a_picture_waits_for_the_next_match():
    gate = opened()
    assert gate.offer(picture(taken_at=1.0), matches=True, wanted=True, at=1.0) is None
    released = gate.offer(picture(taken_at=3.0), matches=True, wanted=True, at=3.0)
    assert released is not None
    assert released.taken_at == 1.0


def test_a_picture_that_is_not_wanted_closes_a_bracket_but_never_leaves():
    gate = opened()
    gate.offer(picture(taken_at=1.0), matches=True, wanted=True, at=1.0)
    assert gate.offer(picture(taken_at=3.0), matches=True, wanted=False, at=3.0) is not None
    assert gate.offer(picture(taken_at=5.0), matches=True, wanted=True, at=5.0) is None


def test_a_doubtful_picture_between_two_matches_destroys_the_one_that_waits():
    gate = opened()
    gate.offer(picture(taken_at=1.0), matches=True, wanted=True, at=1.0)
    assert gate.offer(picture(taken_at=3.0), matches=False, wanted=True, at=3.0) is None
    assert gate.offer(picture(taken_at=5.0), matches=True, wanted=True, at=5.0) is None


@pytest.mark.parametrize("cause", [c for c in Cause if TABLE[State.OPEN, c] is not State.OPEN])
def test_a_break_destroys_what_waits(cause: Cause):
    gate = opened()
    gate.offer(picture(taken_at=1.0), matches=True, wanted=True, at=1.0)
    gate.move(cause, at=2.0)
    assert gate.waiting_from is None  # at once, not when the gate opens again
    for again in (Cause.PRIVACY_OFF, Cause.SIGNAL_BACK, Cause.PROVEN):
        gate.move(again, at=2.5)
    assert gate.is_open
    assert gate.offer(picture(taken_at=3.0), matches=True, wanted=True, at=3.0) is None


def test_doubt_alone_destroys_nothing_and_its_picture_does():
    gate = opened()
    gate.offer(picture(taken_at=1.0), matches=True, wanted=True, at=1.0)
    gate.move(Cause.DOUBT, at=2.0)
    assert gate.waiting_from == 1.0
    gate.offer(picture(taken_at=2.0), matches=False, wanted=True, at=2.0)
    assert gate.waiting_from is None


@pytest.mark.parametrize("later_s", [0.0, 0.5, BRACKET_S])
def test_a_bracket_closes_within_its_time(later_s):
    gate = opened()
    gate.offer(picture(taken_at=1.0), matches=True, wanted=True, at=1.0)
    at = 1.0 + later_s
    assert gate.offer(picture(taken_at=at), matches=True, wanted=True, at=at) is not None


def test_what_was_taken_before_the_gate_opened_never_leaves():
    for taken_at, waits_from in ((9.9, None), (10.0, 10.0)):
        gate = opened(at=10.0)
        gate.offer(picture(taken_at=taken_at), matches=True, wanted=True, at=11.0)
        assert gate.waiting_from == waits_from


def test_a_picture_is_not_proven_by_another_connection_or_much_later():
    gate = opened()
    gate.offer(picture(taken_at=1.0, generation=1), matches=True, wanted=True, at=1.0)
    assert (
        gate.offer(picture(taken_at=2.0, generation=2), matches=True, wanted=True, at=2.0) is None
    )
    late = 2.0 + BRACKET_S + 0.1
    assert (
        gate.offer(picture(taken_at=late, generation=2), matches=True, wanted=True, at=late) is None
    )
    soon = late + BRACKET_S
    assert gate.offer(picture(taken_at=soon, generation=2), matches=True, wanted=True, at=soon)


def test_time_running_backwards_proves_nothing():
    gate = opened()
    gate.offer(picture(taken_at=9.0), matches=True, wanted=True, at=9.0)
    assert gate.offer(picture(taken_at=8.0), matches=True, wanted=True, at=9.5) is None


def test_anothers_picture_is_refused():
    gate = opened()
    gate.offer(picture(taken_at=1.0), matches=True, wanted=True, at=1.0)
    assert (
        gate.offer(picture(camera="other", taken_at=2.0), matches=True, wanted=True, at=2.0) is None
    )
    assert gate.offer(picture(taken_at=3.0), matches=True, wanted=True, at=3.0) is None


def test_doubt_has_an_end():
    gate = opened(at=10.0)
    assert gate.doubt_expires_at() == 10.0 + DOUBT_S
    gate.offer(picture(taken_at=50.0), matches=True, wanted=True, at=50.0)
    gate.offer(picture(taken_at=60.0), matches=False, wanted=True, at=60.0)
    assert gate.doubt_expires_at() == 50.0 + DOUBT_S
    assert gate.move(Cause.DOUBT, at=90.0) is None
    assert gate.doubt_expires_at() == 50.0 + DOUBT_S  # doubting is no match
    moved = gate.move(Cause.DOUBT_EXPIRED, at=170.0)
    assert moved == Moved(State.OPEN, State.HELD, Cause.DOUBT_EXPIRED, 170.0)
    assert (gate.since, gate.cause) == (170.0, Cause.DOUBT_EXPIRED)
    assert gate.doubt_expires_at() is None


def test_a_break_while_nothing_moves_still_says_why():
    gate = Gate("gate", at=0.0)
    gate.move(Cause.SIGNAL_BACK, at=1.0)
    assert gate.move(Cause.FOREIGN, at=2.0) is None
    assert gate.cause is Cause.FOREIGN
    assert gate.since == 1.0


@given(st.lists(st.tuples(ANY_CAUSE, st.booleans(), st.booleans()), max_size=60))
def test_no_sequence_releases_a_picture_that_was_not_bracketed_by_matches(steps):
    """Follow every picture by hand: it and its successor matched, with nothing but an open gate between."""
    gate = Gate("gate", at=0.0)
    previous_good = None
    for number, (cause, matches, wanted) in enumerate(steps):
        at = float(number)
        before = gate.state
        gate.move(cause, at=at)
        if gate.state is not State.OPEN or before is not State.OPEN or cause is Cause.BROKEN:
            previous_good = None
        shown = picture(taken_at=at)
        released = gate.offer(shown, matches=matches, wanted=wanted, at=at)
        good = gate.state is State.OPEN and matches
        if released is not None:
            assert previous_good is not None
            assert released.taken_at == previous_good
            assert good
        previous_good = at if good and wanted else None


@given(st.lists(ANY_CAUSE, max_size=80))
def test_no_sequence_opens_a_gate_without_proof_after_the_last_break(causes):
    gate = Gate("gate", at=0.0)
    proven = False
    seen = False
    private = False
    for at, cause in enumerate(causes):
        gate.move(cause, at=float(at))
        private = (private or cause is Cause.PRIVACY_ON) and cause is not Cause.PRIVACY_OFF
        if cause in {Cause.SIGNAL_LOST, Cause.PRIVACY_ON}:
            seen = False
        if cause is Cause.SIGNAL_BACK and not private:
            seen = True
        if cause is Cause.PROVEN:
            proven = proven or (seen and not private)
        elif cause is not Cause.DOUBT:
            proven = False
        assert gate.is_open == proven
        assert (gate.state is State.PRIVATE) == private
