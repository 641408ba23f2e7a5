"""Records in a tree whose signposts are wrong: a search begins elsewhere, and what it meets there is neither deleted nor passed over in silence."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.spool.files import FILE, TROUBLE, DamagedError, connect
from edge_agent.spool.rescue import prepare
from edge_agent.spool.room import Limits
from edge_agent.spool.schema import SEQ_MASK
from edge_agent.spool.store import Store
from edge_agent.spool.values import Stamp
from tests.support.desk import Desk, declared, numbers
from tests.torture.damage import signposts

STAMP = Stamp(boot="b", at=1.0, wall_s=1.0, trusted=True)
COUNT = 300
SETTLED = (100, 180)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of 300 records on 30 leaves; the n-th has seq n."""
    folder = tmp_path_factory.mktemp("sound") / "journal"
    with Desk(folder) as desk:
        desk.keep(*(desk.note(n) for n in range(1, COUNT + 1)))
        desk.alarm()
    return folder


def misled(sound: Path, tmp_path: Path) -> Iterator[Path]:
    """The same with one bit of one signpost flipped: each of the lowest seven bits of each."""
    places = signposts((sound / FILE).read_bytes())
    assert len(places) > 20
    for number, begin in enumerate(places):
        folder = tmp_path / f"{number}"
        shutil.copytree(sound, folder)
        content = bytearray((folder / FILE).read_bytes())
        place = next(at for at in range(begin, begin + 9) if not content[at] & 0x80)
        content[place] ^= 1 << number % 7
        (folder / FILE).write_bytes(content)
        yield folder


def left(folder: Path) -> set[int]:
    """What is there, leaf by leaf, without a search."""
    with closing(sqlite3.connect(folder / FILE)) as c:
        return {seq for (seq,) in c.execute(f"SELECT key & {SEQ_MASK} FROM record")}


def test_nothing_is_deleted_but_what_was_settled(sound, tmp_path):
    wrong = 0
    for folder in misled(sound, tmp_path):
        before = left(folder)
        try:
            prepare(folder)
            limits = Limits(folder=folder, quota_bytes=10**9)
            with closing(Store(connect(str(folder / FILE)), limits, lambda: STAMP)) as store:
                rest = store.write((), settled=(SETTLED,))
                while rest:
                    rest = store.write((), settled=rest)
        except (DamagedError, *TROUBLE):
            wrong += 1
        gone = before - left(folder)
        assert gone <= set(range(SETTLED[0], SETTLED[1] + 1)), folder
    assert wrong < COUNT


def test_all_of_it_is_read_or_told(sound, tmp_path):
    for folder in misled(sound, tmp_path):
        with Desk(folder) as desk:
            epoch = desk.epoch
            desk.settle(SETTLED)
            first = desk.read(limit=7)
            desk.clock.skip(60)
            for _ in range(100):
                desk.ask(limit=1)
                desk.clock.skip(0.2)
            found = [*first, *desk.read(limit=50), *desk.read(limit=50, audit=True)]
            moved = desk.epoch != epoch
        there = set(numbers([one for one in found if one.kind == "test.note"]))
        lost = set(range(1, COUNT + 1)) - there - declared(found) - set(range(100, 181))
        assert not lost, folder
        assert not moved or any(one.kind == "journal.damaged" for one in found), folder
