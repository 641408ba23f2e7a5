"""A large store that was damaged: the agent runs again in time, and the rest comes over beside its work."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.core.messages import (
    Committed,
    FindingKey,
    JournalTrouble,
    Json,
    Purge,
    Purged,
    Rank,
)
from edge_agent.simulate import Fault
from edge_agent.spool import check
from edge_agent.spool.aside import Job, next_aside
from edge_agent.spool.files import FILE
from edge_agent.spool.rescue import move_aside, prepare
from edge_agent.spool.schema import PAGE
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


def hurt(folder: Path, page_of: str, change: Callable[[bytearray], None]) -> None:
    """*change* what lies on the first page of that name."""
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA user_version = 99")
        sql = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        ((page,),) = connection.execute(sql, (page_of,)).fetchall()
    connection.close()
    with (folder / FILE).open("r+b") as file:
        file.seek((page - 1) * PAGE)
        raw = bytearray(file.read(PAGE))
        change(raw)
        file.seek((page - 1) * PAGE)
        file.write(raw)


def blank(page: bytearray) -> None:
    page[:] = bytes(PAGE)


def saved(folder: Path) -> tuple[list[str], dict[str, Json]]:
    """Of a store of few records: the notes that came over, and what is told of that."""
    with Desk(folder) as desk:
        audit = desk.read(audit=True)
        told = [json.loads(s.data) for s in audit if s.kind == "journal.damaged"]
        notes = [s for s in desk.read() if s.kind == "test.note"]
        return [str(n) for n in numbers(notes)], told[-1]


@pytest.mark.parametrize(("source", "target"), [(2, 5), (5, 2)])
def test_a_page_that_is_named_twice_brings_nothing_twice_and_costs_no_other(
    folder: Path, source: int, target: int
):
    with Desk(folder) as desk:
        desk.keep(*(desk.note(n) for n in range(100)))
        desk.alarm()

    def cross(page: bytearray) -> None:
        assert page[0] == 5, "a root with pages below it"
        count = int.from_bytes(page[3:5], "big")
        cells = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n], "big") for n in range(count)]
        at, to = cells[source], cells[target]
        page[to : to + 4] = page[at : at + 4]

    hurt(folder, "record", cross)
    notes, told = saved(folder)
    assert len(notes) == len(set(notes))
    missing = [n for n in range(100) if str(n) not in notes]
    assert 0 < len(missing) < 20, "one page"
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert not told["complete"]


@pytest.mark.parametrize("where", ["store", "epoch"])
def test_what_does_not_tell_how_much_it_held_is_not_called_complete(folder: Path, where: str):
    with Desk(folder) as desk:
        desk.keep(*(desk.note(n) for n in range(100)))
        desk.alarm()
    hurt(folder, where, blank)
    if where == "epoch":
        hurt(folder, "epoch_again", blank)
    notes, told = saved(folder)
    assert sorted(map(int, notes)) == list(range(100))
    assert (told["salvaged"], told["lost"], told["complete"]) == (101, 0, False)


def test_records_that_have_lost_the_name_of_their_boot_are_lost_and_not_complete(folder: Path):
    with Desk(folder) as desk:
        desk.keep(*(desk.note(n) for n in range(100)))
        desk.alarm()
    hurt(folder, "boot", blank)
    hurt(folder, "boot_again", blank)
    notes, told = saved(folder)
    assert notes == []
    assert (told["salvaged"], told["lost"], told["complete"]) == (0, 101, False)


def test_a_page_that_cannot_be_read_is_not_called_complete(folder: Path):
    with Desk(folder) as desk:
        desk.keep(*(desk.note(n) for n in range(100)))
        desk.alarm()

    def cut(page: bytearray) -> None:
        at = int.from_bytes(page[12:14], "big")
        page[at : at + 4] = bytes(4)

    hurt(folder, "record", cut)
    notes, told = saved(folder)
    assert 50 < len(notes) < 100
    assert (told["lost"], told["complete"]) == (0, False)


def to_version_3(file: Path) -> None:
    """As it was before rows had checksums."""
    with sqlite3.connect(file) as connection:
        connection.executescript(
            """
            ALTER TABLE store RENAME TO store_4;
            CREATE TABLE store (
                id INTEGER PRIMARY KEY CHECK (id = 1), epoch TEXT NOT NULL, last_seq INTEGER NOT NULL,
                last_file INTEGER NOT NULL, opened INTEGER NOT NULL, trail TEXT NOT NULL, held TEXT NOT NULL
            ) STRICT;
            INSERT INTO store SELECT 1, name, last_seq, last_file, opened, trail, held FROM store_4, epoch;
            DROP TABLE store_4;
            DROP TABLE epoch;
            DROP INDEX boot_again;
            DROP INDEX camera_again;
            ALTER TABLE boot DROP COLUMN sum;
            ALTER TABLE camera DROP COLUMN sum;
            ALTER TABLE spare DROP COLUMN sum;
            PRAGMA user_version = 3;
            """
        )
    connection.close()


def test_a_store_of_the_version_before_is_told_to_be_one_and_all_of_it_comes_over(folder: Path):
    with Desk(folder) as desk:
        for n in range(50):
            desk.keep(desk.note(n, rank=Rank.AUDIT if n % 2 else Rank.STATE))
        for n in range(5):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
        desk.alarm()
        epoch = desk.epoch
    to_version_3(folder / FILE)
    with Desk(folder) as desk:
        assert "a journal of version 3" in desk.last(JournalTrouble).detail
        told = next(s for s in desk.read(audit=True) if s.kind == "journal.damaged")
        notes = [s for s in desk.everything() if s.kind == "test.note"]
        assert sorted(map(int, map(str, numbers(notes)))) == list(range(50))
        assert [s.jpeg for s in desk.read(camera="gate")] == [jpeg(n) for n in range(5)]
        found = json.loads(told.data)
        assert (found["epoch"], found["salvaged"], found["complete"]) == (epoch, 56, True)
    assert check(str(folder)) == ()
