"""What is looked for on the way to the hub, when, and what it means."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.ladder import (
    FAR_FIRST_S,
    FAR_FIRST_SPREAD_S,
    FAR_S,
    GRACE_S,
    NEAR_LATER_S,
    NEAR_S,
    Ladder,
    Way,
)
from edge_agent.core.messages import (
    Climb,
    Fault,
    FindingKey,
    LadderClimbed,
    Record,
    Rung,
    Step,
)

UNREACHABLE = {FindingKey.HUB_UNREACHABLE: "no answer"}
DOWN = Way(up=False, suspended=False, troubles=UNREACHABLE)
UP = Way(up=True, suspended=False, troubles={})
SUSPENDED = Way(up=False, suspended=True, troubles={})


def down(troubles: Mapping[FindingKey, str]) -> Way:
    return Way(up=False, suspended=False, troubles=troubles)


def holds(*rungs: Rung) -> tuple[Step, ...]:
    return tuple(Step(rung=rung, holds=True, seen="well") for rung in rungs)


def fails(rung: Rung, fault: Fault, seen: str = "seen") -> Step:
    return Step(rung=rung, holds=False, seen=seen, fault=fault)


NEAR = holds(Rung.INTERFACE, Rung.ADDRESS, Rung.GATEWAY, Rung.NAME)


def ladder(chance: float = 0.5) -> Ladder:
    return Ladder(random=lambda: chance)


def climbs(of: Ladder, way: Way, until_s: float, begin_s: float = 0.0) -> list[tuple[float, bool]]:
    """When it looks, and how far, asked at each deadline."""
    found = []
    of.timed(way, at=begin_s)
    while (at := of.deadline()) <= until_s:
        found += [(at, news.far) for news in of.timed(way, at=at) if isinstance(news, Climb)]
    return found


def looked(
    of: Ladder, *steps: Step, way: Way = DOWN, at: float = 20.0, far: bool = False
) -> list[Record]:
    of.timed(way, at=0.0)
    of.climbed(LadderClimbed(steps=steps, far=far))
    return [news for news in of.timed(way, at=at) if isinstance(news, Record)]


# ---- when ----


def test_nothing_is_looked_for_while_the_link_is_up_or_the_city_has_suspended_the_box():
    for way in (UP, SUSPENDED):
        of = ladder()
        assert of.timed(way, at=0.0) == []
        assert of.deadline() == float("inf")


def test_a_break_is_looked_at_after_some_seconds_then_each_minute_then_rarely():
    found = climbs(ladder(), DOWN, 3600.0)
    assert found[0] == (GRACE_S, False)
    times = [at for at, _ in found]
    gaps = [later - at for at, later in itertools.pairwise(times)]
    assert max(gaps) <= NEAR_LATER_S
    assert min(gaps) > 1.0
    assert len([at for at in times if at < 600]) <= 600 / NEAR_S + 2


@given(st.floats(0, 1, exclude_max=True))
def test_the_hub_is_bothered_late_rarely_and_not_by_all_at_once(chance):
    found = [at for at, far in climbs(ladder(chance), DOWN, 86_400.0) if far]
    assert FAR_FIRST_S <= found[0] <= FAR_FIRST_S + FAR_FIRST_SPREAD_S
    assert all(later - at >= FAR_S for at, later in itertools.pairwise(found))
    assert len(found) <= 86_400 / FAR_S + 1


def test_a_link_that_came_back_ends_the_search_and_the_next_break_begins_a_new_one():
    of = ladder()
    climbs(of, DOWN, 100.0)
    of.timed(UP, at=101.0)
    assert of.deadline() == float("inf")
    of.climbed(LadderClimbed(steps=(fails(Rung.NAME, Fault.NAME_UNKNOWN),), far=False))
    assert of.timed(UP, at=102.0) == []  # an answer that came too late
    of.timed(DOWN, at=200.0)
    assert of.deadline() == 200.0 + GRACE_S


# ---- what it means ----


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.UNKNOWN])
def test_the_lowest_rung_that_does_not_hold_is_named_with_evidence_and_remedy(fault):
    of = ladder()
    steps = (*holds(Rung.INTERFACE), fails(Rung.ADDRESS, fault, "eth0: 1"), *holds(Rung.NAME))
    (record,) = looked(of, *steps, fails(Rung.NAME, Fault.NAME_UNKNOWN))
    assert record.kind == "link.diagnosis"
    assert (record.data["rung"], record.data["fault"]) == ("address", fault.value)
    assert record.data["seen"] == "eth0: 1"
    assert of.diagnosis is not None
    for text in (of.diagnosis.said.id, of.diagnosis.said.en):
        assert "(eth0: 1)" in text
        assert "{" not in text


def test_before_anybody_has_looked_nothing_is_said():
    fresh = ladder()
    assert fresh.timed(DOWN, at=0.0) == []
    assert fresh.diagnosis is None
    assert fresh.status(at=1.0) is None


def test_unknown_is_an_answer():
    of = ladder()
    (record,) = looked(of, *NEAR)
    assert (record.data["rung"], record.data["fault"]) == (None, "unknown")
    assert record.data["seen"] == "no answer"


def test_a_rung_that_cannot_be_told_is_not_called_broken():
    of = ladder()
    doubt = Step(rung=Rung.GATEWAY, holds=None, seen="cannot be told")
    (record,) = looked(of, doubt, fails(Rung.NAME, Fault.NAME_SERVER_SILENT))
    assert record.data["fault"] == "name_server_silent"


@pytest.mark.parametrize(
    ("key", "rung", "fault"),
    [
        (FindingKey.HUB_REFUSED_VERSION, "mqtt", "not_mqtt"),
        (FindingKey.HUB_REFUSED_CLIENT, "authorisation", "not_allowed"),
    ],
)
def test_what_the_hub_itself_said_counts_where_all_rungs_below_hold(key, rung, fault):
    (record,) = looked(ladder(), *NEAR, way=down({key: "0x87"}))
    assert (record.data["rung"], record.data["fault"], record.data["seen"]) == (rung, fault, "0x87")
    lower = looked(ladder(), fails(Rung.NAME, Fault.NAME_UNKNOWN), way=down({key: "0x87"}))
    assert lower[0].data["rung"] == "name"


@pytest.mark.parametrize(
    ("key", "rung"),
    [(FindingKey.HUB_SILENT, "hub"), (FindingKey.HUB_REFUSED_TOPIC, "authorisation")],
)
def test_a_link_that_is_up_can_be_wrong_at_the_top_only_and_needs_no_look(key, rung):
    of = ladder()
    way = Way(up=True, suspended=False, troubles={key: "x"})
    (record,) = of.timed(way, at=5.0)
    assert isinstance(record, Record)
    assert record.data["rung"] == rung
    assert of.deadline() == float("inf")


def test_what_was_seen_of_the_hub_is_kept_between_the_rare_looks_at_it():
    of = ladder()
    looked(of, *NEAR, fails(Rung.TCP, Fault.NOBODY_LISTENS), far=True)
    assert of.diagnosis is not None
    assert looked(of, *NEAR, at=80.0) == []
    assert of.diagnosis.fault is Fault.NOBODY_LISTENS
    (record,) = looked(of, fails(Rung.INTERFACE, Fault.NO_CARRIER), at=140.0)
    assert record.data["fault"] == "no_carrier"
    assert record.data["before"] == "nobody_listens"


def test_only_a_change_is_recorded_and_so_is_its_end():
    of = ladder()
    assert len(looked(of, fails(Rung.NAME, Fault.NAME_UNKNOWN, "a"), at=20.0)) == 1
    assert looked(of, fails(Rung.NAME, Fault.NAME_UNKNOWN, "b"), at=80.0) == []
    (record,) = of.timed(UP, at=120.0)
    assert isinstance(record, Record)
    assert (record.data["fault"], record.data["before"]) == (None, "name_unknown")
    assert record.data["lasted_s"] == 100.0
    assert of.diagnosis is None


def test_a_suspension_is_never_shown_as_broken_nor_what_was_broken_as_suspended():
    of = ladder()
    looked(of, fails(Rung.NAME, Fault.NAME_UNKNOWN))
    (record,) = of.timed(Way(up=False, suspended=True, troubles=UNREACHABLE), at=50.0)
    assert isinstance(record, Record)
    assert (record.data["fault"], record.data["suspended"]) == (None, True)
    assert of.status(at=51.0) is None
    of.timed(DOWN, at=60.0)  # resumed, and the line is still dead
    assert of.deadline() == 60.0 + GRACE_S
    assert of.diagnosis is None


def test_the_daily_sign_of_life_of_a_suspended_box_is_no_diagnosis():
    """It connects for a moment, and nobody acknowledges: the city wants it so."""
    of = ladder()
    way = Way(up=True, suspended=True, troubles={FindingKey.HUB_SILENT: "9 records await its word"})
    assert of.timed(way, at=5.0) == []
    assert of.diagnosis is None


def test_status_names_every_rung_that_was_tried():
    of = ladder()
    looked(of, *NEAR, fails(Rung.TCP, Fault.NO_ANSWER), far=True)
    status = of.status(at=30.0)
    assert isinstance(status, dict)
    assert status["fault"] == "no_answer"
    assert status["since_s"] == 10.0
    assert [step["rung"] for step in status["steps"]] == [
        "interface",
        "address",
        "gateway",
        "name",
        "tcp",
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([UP, DOWN, SUSPENDED]),
            st.sampled_from([None, *(fails(Rung.NAME, fault) for fault in Fault), *NEAR]),
            st.booleans(),
            st.floats(0.1, 2000),
        ),
        max_size=30,
    )
)
def test_whatever_happens_a_suspended_or_working_link_is_never_called_broken(story):
    of, at = ladder(), 0.0
    for way, step, far, passes_s in story:
        at += passes_s
        if step is not None:
            of.climbed(LadderClimbed(steps=(step,), far=far))
        news = of.timed(way, at=at)
        if way is not DOWN:
            assert of.diagnosis is None
            assert not any(isinstance(one, Climb) for one in news)
            assert of.deadline() == float("inf")
        else:
            assert of.deadline() > at


def test_what_a_rare_look_saw_is_over_once_the_hub_itself_has_spoken():
    of = ladder()
    looked(of, *NEAR, fails(Rung.TCP, Fault.NOBODY_LISTENS), far=True)
    (record,) = of.timed(down({FindingKey.HUB_REFUSED_CLIENT: "0x87"}), at=25.0)
    assert isinstance(record, Record)
    assert (record.data["fault"], record.data["before"]) == ("not_allowed", "nobody_listens")
    # That it is for our certificate is what the look knows better.
    of = ladder()
    looked(of, *NEAR, *holds(Rung.TCP), fails(Rung.TLS, Fault.OWN_EXPIRED), far=True)
    assert of.timed(down({FindingKey.HUB_REFUSED_CLIENT: "gone"}), at=25.0) == []
