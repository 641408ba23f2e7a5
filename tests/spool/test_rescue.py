"""A large store that was damaged: the agent runs again in time, and the rest comes over beside its work."""

import json
import sqlite3
from pathlib import Path

import pytest

from edge_agent.core.messages import (
    Committed,
    FindingKey,
    JournalTrouble,
    Purge,
    Purged,
    Rank,
)
from edge_agent.simulate import Fault
from edge_agent.spool import check
from edge_agent.spool.aside import Job
from edge_agent.spool.files import FILE
from edge_agent.spool.rescue import move_aside, next_aside, prepare
from tests.support.desk import Desk, HandClock, jpeg, numbers, raw_of, released


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """2,000 records and 20 pictures, and no time at all to bring them over at start; the epoch that they had."""
    with Desk(folder) as desk:
        for n in range(2_000):
            desk.keep(desk.note(n))
            if n % 100 == 0:
                desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
            if n % 500 == 499:
                desk.alarm()
        epoch = desk.epoch
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    return epoch


def test_what_could_not_be_saved_in_time_comes_over_later(folder: Path, damaged: str):
    with Desk(folder) as desk:
        desk.wait(Committed, lambda event: event.depth >= 2_026)  # with both that tell of it
        assert sorted(map(int, map(str, numbers(desk.read())))) == list(range(2_000))
        assert [s.jpeg for s in desk.read(camera="gate")] == [jpeg(n) for n in range(0, 2_000, 100)]
        told = {s.kind: json.loads(s.data) for s in desk.read(audit=True)}
        assert not told["journal.damaged"]["complete"]
        assert told["journal.salvaged"]["epoch"] == damaged
        assert told["journal.salvaged"]["salvaged"] == 2_024
        assert told["journal.salvaged"]["lost"] == 0
    assert check(str(folder)) == ()


def test_a_boot_whose_records_come_over_late_is_still_one_before_this(folder: Path, damaged: str):
    with Desk(folder, clock=HandClock("boot-2")) as desk:
        desk.wait(Committed, lambda event: event.depth >= 2_026)
        desk.spool.purge(Purge(since_at=0.0, reason="privacy", earlier_s=250.0))
        purged = desk.wait(Purged)
        assert purged.earlier_boot == "boot-1"
        left = [s.jpeg for s in desk.read(camera="gate")]
        assert left == [jpeg(n) for n in range(0, 1_700, 100)]
        assert len(purged.seqs) == 3
    assert check(str(folder)) == ()


def test_an_alarm_does_not_wait_for_what_comes_over(folder: Path, damaged: str):
    with Desk(folder) as desk:
        desk.keep(desk.note("fresh", rank=Rank.AUDIT))
        desk.wait(Committed, lambda event: event.depth >= 2_027)
        fresh = next(s.seq for s in desk.read(audit=True) if b"fresh" in s.data)
        assert fresh < 1_500, "it came in between"


def test_a_purge_destroys_what_has_not_come_over_yet(folder: Path, damaged: str):
    with Desk(folder) as desk:
        desk.spool.purge(Purge(since_at=0.0, reason="privacy"))
        desk.wait(Purged)
        raw = raw_of(folder)
        assert not [n for n in range(0, 2_000, 100) if jpeg(n)[5_000:5_040] in raw]
        desk.wait(Committed, lambda event: event.depth >= 2_000)
        assert desk.read(camera="gate") == []


def test_pictures_moved_aside_without_their_store_find_it_again(folder: Path):
    """The power failed between the two renames."""
    prepare(folder)
    (folder / FILE).write_bytes(b"damaged")
    (folder / "pictures" / "7").write_bytes(jpeg(7))
    (folder / "pictures").rename(folder / f"{FILE}.damaged-4-pictures")
    (folder / "pictures").mkdir()
    assert next_aside(folder) == f"{FILE}.damaged-4"
    move_aside(folder, [Job(aside=next_aside(folder), why="")])
    assert (folder / f"{FILE}.damaged-4-pictures" / "7").read_bytes() == jpeg(7)
    prepare(folder)
    (folder / FILE).write_bytes(b"damaged again")
    assert next_aside(folder) == f"{FILE}.damaged-5"
    move_aside(folder, [Job(aside=next_aside(folder), why="")])
    assert not list(folder.glob("*damaged-4*")), "one at most lies aside"


def test_a_store_cut_off_at_its_beginning_is_not_taken_for_a_new_one(folder: Path):
    with Desk(folder) as desk:
        desk.spool.keep_picture(released("gate", 900.0, jpeg(0)))
        desk.alarm()
    (folder / FILE).write_bytes(b"")
    with Desk(folder) as desk:
        assert desk.wait(JournalTrouble).key is FindingKey.JOURNAL_BROKEN
        desk.alarm()
        assert [s.kind for s in desk.everything()] == ["journal.damaged", "test.alarm"]
    assert check(str(folder)) == ()


def test_a_disk_that_fails_while_pictures_come_over_ends_nothing(folder: Path, damaged: str):
    desk = Desk(folder)
    pictures = 0

    def fail_at_the_first_picture() -> None:
        nonlocal pictures
        if not pictures and any((folder / "pictures").iterdir()):
            pictures += 1
            desk.disk.broken = True
            desk.disk.fail(Fault.LOST)

    desk.disk.before = fail_at_the_first_picture
    with desk:
        desk.wait(Committed, lambda event: not event.durable)
        desk.alarm()
        assert pictures
        assert desk.read(camera="gate") == []
        aside = folder / f"{FILE}.damaged-1-pictures"
        assert {path.read_bytes()[:20_000] for path in aside.iterdir()} == {
            jpeg(n) for n in range(0, 2_000, 100)
        }, "for a technician"
