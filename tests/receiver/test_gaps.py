"""The gap report: each way in which the hub can be without a record, told apart, with its minutes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from edge_agent.clock import SystemClock
from edge_agent.core import wire
from edge_agent.core.messages import Json, Rank, Stored
from edge_agent.receiver import gaps, main
from edge_agent.receiver.store import Came, Store
from tests.support.contract import IDENTITY

T0 = datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp()
BOX = wire.prefix(IDENTITY)


class Hub:
    """A store that is told things, without a broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder, SystemClock())

    def record(
        self,
        seq: int,
        at: float,
        kind: str = "box.metrics",
        data: Json = None,
        *,
        camera: str | None = None,
        trusted: bool = True,
        epoch: str = "e1",
    ) -> None:
        stored = Stored(
            epoch=epoch,
            seq=seq,
            kind=kind,
            rank=Rank.PICTURE if camera else Rank.METRIC,
            camera=camera,
            boot="b1" if trusted else "b0",
            at=at,
            wall_s=T0 + at,
            trusted=trusted,
            data=json.dumps({} if data is None else data).encode(),
            jpeg=b"\xff\xd8" if camera else None,
        )
        if camera:
            message = wire.snapshot(IDENTITY, wire.LIVE, stored)
        else:
            message = wire.batch(IDENTITY, wire.LIVE, [wire.event(IDENTITY, stored)])
        self.store.commit([Came(message.topic, message.payload, message.properties)])

    def born(self, oldest_seq: int) -> None:
        message = wire.presence(
            IDENTITY,
            online=True,
            boot="b1",
            version="0",
            simulated=False,
            epoch="e1",
            oldest_seq=oldest_seq,
        )
        self.store.commit([Came(message.topic, message.payload, ())])

    def told(self) -> gaps.BoxGaps:
        (found,) = gaps.report(self.folder)
        return found


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "hub")


def minute(number: float) -> float:
    return T0 + number * 60


def test_a_box_without_gaps_has_none(hub: Hub) -> None:
    hub.record(1, 0)
    hub.record(2, 60)
    assert hub.told() == gaps.BoxGaps(box=BOX, missing=0, spans=())


def test_what_is_missing_lies_between_its_neighbours(hub: Hub) -> None:
    hub.record(1, 30)
    hub.record(5, 400)
    (span,) = hub.told().spans
    assert (span.what, span.count, span.first, span.last) == ("missing", 3, minute(0), minute(6))
    assert span.trusted
    assert span.minutes == 7
    assert hub.told().missing == 3


def test_at_the_beginning_nobody_knows_since_when(hub: Hub) -> None:
    hub.record(3, 30)
    (span,) = hub.told().spans
    assert (span.count, span.first, span.minutes) == (2, None, 0)


def test_what_the_box_declared_is_no_loss(hub: Hub) -> None:
    hub.record(1, 0)
    tombstone: Json = {
        "reason": "no_room",
        "camera": "gate",
        "count": 2,
        "ranges": [[2, 3]],
        "from_boot": "b1",
        "from_at": 61.0,
        "to_boot": "b1",
        "to_at": 130.0,
    }
    hub.record(4, 200, "journal.thinned", tombstone)
    told = hub.told()
    (span,) = told.spans
    assert (told.missing, span.what, span.camera, span.count) == (0, "thinned", "gate", 2)
    assert (span.first, span.last, span.minutes) == (minute(1), minute(2), 2)


def test_a_tombstone_that_another_took_in_is_not_told_twice(hub: Hub) -> None:
    hub.record(3, 0, "journal.thinned", {"count": 2, "ranges": [[1, 2]]})
    hub.record(5, 0, "journal.thinned", {"count": 3, "ranges": [[1, 4]]})
    hub.record(6, 0, "privacy.purged", {"count": 0, "ranges": []})
    assert [(span.what, span.count) for span in hub.told().spans] == [("thinned", 3)]


def test_a_tombstone_of_the_journal_before_accounts_for_nothing_of_this_one(hub: Hub) -> None:
    hub.born(oldest_seq=5)
    moved: Json = {"count": 9, "epoch": "e0", "ranges": [[1, 9]]}
    hub.record(5, 0, "journal.thinned", moved)
    hub.record(10, 0)
    told = hub.told()
    found = sorted((span.what, span.count) for span in told.spans)
    assert found == [("before", 4), ("missing", 4), ("thinned", 9)]
    assert told.missing == 4


def test_a_tombstone_may_tell_minute_by_minute(hub: Hub) -> None:
    tracks: Json = [
        {"camera": "gate", "count": 9, "minutes": {"b1": [[1, 3], [7, 7]], "unknown": [[0, 0]]}},
        {"camera": "bridge", "count": 1, "minutes": {"b1": [[2, 2]]}},
        {"camera": None, "count": 4},
        "odd",
    ]
    hub.record(9, 600, "journal.thinned", {"ranges": [[1, 8]], "tracks": tracks})
    found = [(span.camera, span.count, span.first, span.minutes) for span in hub.told().spans]
    assert found == [
        (None, 4, None, 0),
        ("bridge", 1, minute(2), 1),
        ("gate", None, None, 0),
        ("gate", None, minute(1), 3),
        ("gate", None, minute(7), 1),
    ]


def test_what_was_taken_back_is_told_in_runs_of_minutes(hub: Hub) -> None:
    for seq, at in enumerate((10.0, 70.0, 130.0, 400.0), start=1):
        hub.record(seq, at, "snapshot", camera="gate")
    hub.record(5, 500, "snapshot", camera="bridge")
    hub.record(6, 600, "privacy.withdraw", {"boot": "b1", "from_s": 60.0, "window_s": 1})
    told = hub.told()
    found = [(span.camera, span.what, span.count, span.first, span.minutes) for span in told.spans]
    assert found == [
        ("bridge", "withdrawn", 1, minute(8), 1),
        ("gate", "withdrawn", 2, minute(1), 2),
        ("gate", "withdrawn", 1, minute(6), 1),
    ]
    assert told.missing == 0


def test_what_was_gone_before_the_hub_came_is_told(hub: Hub) -> None:
    hub.born(oldest_seq=11)
    hub.record(11, 0)
    hub.record(5, 0)  # it came all the same
    (span,) = hub.told().spans
    assert (span.what, span.count, hub.told().missing) == ("before", 9, 0)


def test_a_minute_that_no_clock_vouched_for_is_marked(hub: Hub) -> None:
    hub.record(1, 0, trusted=False)
    hub.record(3, 60, trusted=False)
    (span,) = hub.told().spans
    assert not span.trusted


def test_the_command_tells_it_and_ends(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.record(1, 0)
    arguments = ["--gaps", "--folder", str(hub.folder)]
    assert main(arguments) == 0
    assert "nothing is missing" in capsys.readouterr().out
    hub.record(4, 120, trusted=True)
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert "kuningan/rw-03/rt-02/box-1" in said
    assert "2026-11-21 10:00Z" in said
    assert main([*arguments, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["boxes"][0]["missing"] == 2
    assert told["boxes"][0]["spans"][0] == {
        "what": "missing",
        "camera": None,
        "count": 2,
        "from": minute(0),
        "to": minute(2),
        "minutes": 3,
        "trusted": True,
    }


def test_a_folder_of_no_hub_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gaps", "--folder", str(tmp_path)]) == 2
    assert "hub.sqlite is not there" in capsys.readouterr().err


def test_a_long_report_is_cut_for_a_person() -> None:
    span = gaps.Span(what="missing", camera=None, count=None, first=None, last=None, trusted=False)
    console = Console(width=80, record=True)
    console.print(gaps.table([gaps.BoxGaps(box=BOX, missing=40, spans=(span,) * 40)]))
    assert "and 28 more" in console.export_text()
    console.print(gaps.table([]))
    assert "no box has been heard of yet" in console.export_text()


def test_a_minute_that_no_calendar_has_is_no_minute(hub: Hub) -> None:
    data: Json = {
        "ranges": [],
        "count": 3,
        "tracks": [
            {"camera": "gate", "count": 2, "minutes": {"b1": [[10**290, 10**290]]}},
            {"camera": "gate", "count": 1, "minutes": {"b1": [[0, -(10**20)]]}},
        ],
    }
    hub.record(1, 30, "journal.thinned", data)
    moment: Json = {"boot": "b1", "from_boot": "b1", "from_at": 1e300, "count": 1, "ranges": []}
    hub.record(2, 31, "journal.thinned", moment)
    found = hub.told()
    assert {(span.first, span.last) for span in found.spans} == {
        (None, None),
        (minute(0), None),
    }
    Console(width=100).print(gaps.table([found]))
