"""What is wrong at a box: work orders and findings out of records, in whatever order they come."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime

import pytest

from edge_agent.core import wire
from edge_agent.core.messages import Json, Rank
from edge_agent.receiver.news import News

TIME = "2026-11-21T10:00:00.000Z"
WALL_S = datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp()


def record(
    seq: int,
    kind: str,
    data: Json,
    *,
    epoch: str = "e1",
    camera: str | None = None,
    trusted: bool = True,
) -> wire.Arrived:
    return wire.Arrived(
        epoch=epoch,
        seq=seq,
        kind=kind,
        rank=Rank.AUDIT,
        camera=camera,
        boot="b",
        at=float(seq),
        time=TIME,
        trusted=trusted,
        data=json.dumps(data),
    )


def order(revision: int, kind: str = "updated", seq: int = 0, **more: Json) -> wire.Arrived:
    data: dict[str, Json] = {
        "order": "wo-7",
        "revision": revision,
        "cause": f"cause_{revision}",
        "cameras": ["gate"],
        "name": "Gerbang",
        "place": "pole 7",
        "since_s": 600.0,
        **more,
    }
    return record(seq or revision, f"work_order.{kind}", data)


def news(*records: wire.Arrived) -> News:
    found = News()
    for one in records:
        found.take(one)
    return found


def test_the_newest_revision_of_an_order_counts_in_any_order() -> None:
    told = (order(1, "opened"), order(2), order(3, "reminded"), order(3, "reminded", seq=9))
    for mixed in itertools.permutations(told):
        (found,) = news(*mixed).orders
        assert (found.revision, found.cause, found.cameras) == (3, "cause_3", ("gate",))
        assert found.since == WALL_S - 600


def test_a_closed_order_is_open_no_more_and_a_restart_closes_none() -> None:
    assert news(order(2, "closed"), order(1, "opened")).orders == ()
    assert len(news(order(1, "opened"), record(5, "agent.started", {})).orders) == 1


def test_without_a_clock_nobody_knows_since_when() -> None:
    (found,) = news(
        record(1, "work_order.opened", {"order": "a", "revision": 1}, trusted=False)
    ).orders
    assert found.since is None


def test_a_finding_is_what_was_said_of_it_last() -> None:
    opened = record(1, "finding.opened", {"key": "signal_lost", "en": "No picture."}, camera="gate")
    closed = record(2, "finding.closed", {"key": "signal_lost"}, camera="gate")
    other = record(
        3, "finding.opened", {"key": "signal_lost", "en": "No picture."}, camera="bridge"
    )
    box = record(4, "finding.opened", {"key": "disk_full", "en": "Full."})
    for mixed in itertools.permutations((opened, closed, other, box)):
        assert [(one.key, one.camera) for one in news(*mixed).findings] == [
            ("disk_full", None),
            ("signal_lost", "bridge"),
        ]


def test_a_start_voids_what_was_open_before_it() -> None:
    before = record(1, "finding.opened", {"key": "a", "en": ""})
    after = record(3, "finding.opened", {"key": "b", "en": ""})
    for mixed in itertools.permutations((before, record(2, "agent.started", {}), after)):
        assert [one.key for one in news(*mixed).findings] == ["b"]
    # In a journal that was made anew numbers begin again.
    again = record(1, "agent.started", {}, epoch="e2")
    assert news(before, after, again).findings == ()


@pytest.mark.parametrize("data", [[], "x", {}, {"order": 1, "revision": "x"}, {"order": "a"}])
def test_what_cannot_be_read_is_no_order(data: Json) -> None:
    assert news(record(1, "work_order.opened", data)).orders == ()


def test_a_day_that_no_calendar_has_is_no_time() -> None:
    odd = record(1, "work_order.opened", {"order": "a", "revision": 1, "since_s": 1})
    object.__setattr__(odd, "time", "2026-02-30T10:00:00Z")
    (found,) = news(odd).orders
    assert found.since is None
