"""The supervised pair: continuity drops at the first doubt, a work order waits until it is sure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.cable import (
    CLOSED_FOR_S,
    OPEN_FOR_S,
    Loop,
    LoopState,
    metres_to_bring,
)
from edge_agent.core.messages import FindingKey, LoopRead
from edge_agent.core.settings import Run

RUN = Run(camera="gate", cable="cat5e-outdoor", length_m=50.0, place="pole 3", loop_pin=20)


def read(closed: bool | None, why: str = "") -> LoopRead:
    return LoopRead(camera="gate", closed=closed, why=why)


def normal_loop() -> Loop:
    loop = Loop(RUN, at=0.0)
    assert loop.read(read(True), at=0.0) is False
    return loop


def test_the_first_open_reading_breaks_continuity_and_forbids_video():
    loop = normal_loop()
    assert loop.read(read(False), at=1.0) is True
    assert loop.forbids
    assert loop.view(at=1.0).finding is None


def test_a_work_order_needs_the_loop_to_stay_open():
    loop = normal_loop()
    loop.read(read(False), at=1.0)
    due = loop.deadline(at=1.0)
    assert due == 1.0 + OPEN_FOR_S
    assert loop.view(at=due - 0.01).finding is None
    view = loop.view(at=due)
    assert (view.finding, view.since, view.state) == (FindingKey.CABLE_OPEN, 1.0, LoopState.OPEN)
    assert loop.deadline(at=due) is None


def test_repair_ends_the_work_order_but_breaks_continuity_again():
    loop = normal_loop()
    loop.read(read(False), at=1.0)
    loop.view(at=5.0)
    assert loop.read(read(True), at=6.0) is True
    assert not loop.forbids
    assert loop.view(at=6.0 + CLOSED_FOR_S - 0.1).finding is FindingKey.CABLE_OPEN
    assert loop.view(at=6.0 + CLOSED_FOR_S).finding is None


def test_a_pin_that_cannot_be_read_breaks_continuity_and_is_named():
    loop = normal_loop()
    assert loop.read(read(None, "GPIO20 busy"), at=1.0) is True
    view = loop.view(at=1.0)
    assert (view.finding, view.why) == (FindingKey.CABLE_UNREADABLE, "GPIO20 busy")
    assert not loop.forbids
    assert loop.read(read(False), at=2.0) is True


def test_a_pin_that_fails_while_the_pair_is_open_mends_no_cable():
    loop = normal_loop()
    loop.read(read(False), at=1.0)
    loop.view(at=5.0)
    assert loop.read(read(None, "GPIO20 busy"), at=6.0) is True
    assert loop.forbids
    assert loop.view(at=60.0).finding is FindingKey.CABLE_OPEN
    loop.read(read(True), at=61.0)
    assert not loop.forbids


def test_the_same_reading_again_is_no_news():
    loop = normal_loop()
    loop.read(read(False), at=1.0)
    assert loop.read(read(False), at=2.0) is False
    assert loop.view(at=2.6).since == 1.0


@pytest.mark.parametrize(
    ("length_m", "bring"), [(50.0, 55), (1.0, 5), (45.0, 50), (100.0, 110), (46.0, 55)]
)
def test_metres_have_slack_and_come_in_fives(length_m: float, bring: int):
    assert metres_to_bring(length_m) == bring


@given(st.floats(0.5, 500.0))
def test_the_technician_never_comes_with_too_short_a_cable(length_m: float):
    bring = metres_to_bring(length_m)
    assert length_m <= bring < length_m * 1.1 + 5.01
    assert bring % 5 == 0


def test_the_evidence_is_what_a_work_order_needs():
    loop = normal_loop()
    evidence = loop.evidence()
    assert (evidence["bring_m"], evidence["place"], evidence["loop"]) == (55, "pole 3", "normal")


@given(st.lists(st.sampled_from([True, False, None]), max_size=40))
def test_every_departure_from_normal_is_told_at_once(readings):
    loop = Loop(RUN, at=0.0)
    before: bool | None = None
    cut = False
    for at, closed in enumerate(readings):
        broke = loop.read(read(closed), at=float(at))
        if closed is not True and closed != before:
            assert broke
        cut = cut if closed is None else not closed
        assert loop.forbids == cut
        before = closed
