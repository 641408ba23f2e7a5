"""What looks after a store in the background: finds what is wrong, and disturbs nothing."""

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.core.messages import Committed, FindingKey, JournalTrouble, Rank
from edge_agent.spool import check
from edge_agent.spool.files import FILE, connect
from edge_agent.spool.rescue import prepare
from edge_agent.spool.room import Limits
from edge_agent.spool.schema import PAGE, key_of
from edge_agent.spool.store import Store
from edge_agent.spool.values import Row, Stamp
from tests.support.desk import Desk, declared, jpeg, numbers, released
from tests.support.head import tell

STAMP = Stamp(boot="b", at=1.0, wall_s=1.0, trusted=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def filled(folder: Path) -> str:
    with Desk(folder) as desk:
        for n in range(1_000):
            desk.keep(desk.note(n))
            if n % 100 == 0:
                desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
        desk.alarm()
        return desk.epoch


def alter(folder: Path, *statements: str) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_record_that_is_not_whole_is_found_without_being_asked_for(folder: Path):
    epoch = filled(folder)
    alter(folder, f"UPDATE record SET data = x'7b7d' WHERE key = {key_of(1, 500)}")
    picture = sorted((folder / "pictures").iterdir())[3]
    picture.write_bytes(picture.read_bytes()[::-1])
    with Desk(folder) as desk:
        desk.clock.skip(11)
        found: set[int] = set()
        for _ in range(300):
            desk.alarm()
            desk.clock.skip(0.1)  # the next step is due, however fast the alarms go
            found = declared(desk.read(audit=True))
            if len(found) == 2:
                break
        assert len(found) == 2
        assert 500 in found
        assert (desk.epoch, desk.all(JournalTrouble)) == (epoch, [])
    assert check(str(folder)) == ()


def test_a_damaged_page_is_found_without_being_asked_for(folder: Path):
    epoch = filled(folder)
    size = (folder / FILE).stat().st_size
    with (folder / FILE).open("r+b") as file:
        file.seek(size // PAGE // 2 * PAGE)
        file.write(b"\xff" * 200)
    with Desk(folder) as desk:
        assert desk.all(JournalTrouble) == [], "nobody has met it yet"
        desk.clock.skip(11)
        desk.ask()
        trouble = desk.wait(JournalTrouble)
        assert trouble.key is FindingKey.JOURNAL_BROKEN
        desk.alarm()
        assert desk.epoch != epoch
        assert desk.last(Committed).durable
        assert len(desk.read()) > 900
        told = [s for s in desk.read(audit=True) if s.kind == "journal.damaged"]
        assert json.loads(told[0].data)["epoch"] == epoch
    assert check(str(folder)) == ()


def test_an_index_that_does_not_know_all_pictures_is_damage(folder: Path):
    """A purge finds its pictures by it."""
    filled(folder)
    sql = "UPDATE sqlite_schema SET sql = replace(sql, '{}', '{}') WHERE name = 'picture_by_time'"
    alter(folder, "PRAGMA writable_schema = ON", sql.format(">= 4", "< -4"))
    alter(folder, "REINDEX")
    alter(folder, "PRAGMA writable_schema = ON", sql.format("< -4", ">= 4"))
    with Desk(folder) as desk:
        desk.clock.skip(11)
        desk.ask()
        trouble = desk.wait(JournalTrouble)
        assert trouble.key is FindingKey.JOURNAL_BROKEN
        desk.alarm()
        assert len(desk.read(camera="gate")) == 10
    assert check(str(folder)) == ()


def picture(n: int) -> Row:
    return Row(
        kind="snapshot",
        rank=Rank.PICTURE,
        stamp=STAMP,
        data=b"{}",
        camera="gate",
        jpeg=jpeg(n, 3_000),
    )


@pytest.fixture
def quick() -> Iterator[Path]:
    """A place where a sync costs nothing, if there is one."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as home:
        yield Path(home) / "journal"


def test_no_file_that_comes_into_use_meanwhile_is_taken_for_a_stranger(quick: Path):
    folder = quick
    prepare(folder)
    limits = Limits(folder=folder, quota_bytes=50_000_000)
    store = Store(connect(str(folder / FILE)), limits, lambda: STAMP)
    for n in range(0, 1_000, 100):
        store.write([picture(n + m) for m in range(100)])
    store.close()
    store = Store(connect(str(folder / FILE)), limits, lambda: STAMP)
    number, low = 1_000, 1
    more = True
    while more:  # between any two steps some go, and others come into their files
        more = store.look_around()
        store.write([picture(number), picture(number + 1)], settled=[(low, low + 1)])
        number, low = number + 2, low + 2
    store.close()
    assert check(str(folder)) == ()


def test_looking_around_ends_and_begins_again_only_with_the_next_start(folder: Path):
    filled(folder)
    limits = Limits(folder=folder, quota_bytes=50_000_000)
    store = Store(connect(str(folder / FILE)), limits, lambda: STAMP)
    steps = 0
    while store.look_around():
        steps += 1
    assert 10 < steps < 100
    assert not store.look_around()
    store.close()


def test_memory_needs_no_looking_after():
    store = Store(connect(":memory:"), Limits(folder=None, quota_bytes=4_000_000), lambda: STAMP)
    store.write([picture(1)])
    assert not store.look_around()
    store.close()


def test_check_reads_a_whole_journal(folder: Path):
    filled(folder)
    assert check(str(folder)) == ()
    with Desk(folder) as desk:
        assert numbers(desk.read()) == list(range(1_000))
    tell(folder / FILE, held="[]")
    assert "lost count" in "\n".join(check(str(folder)))
    alter(folder, "DROP TABLE spare")
    assert "not all of one" in check(str(folder))[0]


def varint(number: int) -> bytes:
    """As SQLite writes a key."""
    out = bytearray([number & 0x7F])
    while number := number >> 7:
        out.insert(0, number & 0x7F | 0x80)
    return bytes(out)


def test_a_record_in_the_wrong_place_is_damage_and_not_declared_for_ever(folder: Path):
    """A flipped bit in its key: a walk comes by it, a search never does."""
    epoch = filled(folder)
    raw = bytearray((folder / FILE).read_bytes())
    wanted = next(key for seq in range(600, 700) if raw.count(key := varint(key_of(1, seq))) == 1)
    raw[raw.find(wanted) + len(wanted) - 2] ^= 0x04  # five hundred seqs away, among its neighbours
    (folder / FILE).write_bytes(raw)
    with Desk(folder) as desk:
        for _ in range(3):
            desk.read()
        desk.alarm()
        assert desk.epoch != epoch
        assert desk.last(JournalTrouble).key is FindingKey.JOURNAL_BROKEN
        stones = [s for s in desk.read(audit=True) if s.kind == "journal.thinned"]
        assert len(stones) <= 1
        assert len(desk.read()) > 990
    assert check(str(folder)) == ()
