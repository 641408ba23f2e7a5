"""Room: an eighth is kept back for what matters most, and nothing grows beyond what was set."""

from pathlib import Path

import pytest

from edge_agent.core.messages import Committed, JournalTrouble, Rank
from edge_agent.spool.room import RESERVE, Need
from edge_agent.spool.values import Row, Stamp
from tests.support.desk import Desk, declared, jpeg, released

QUOTA = 24_000_000
STAMP = Stamp(boot="b", at=1.0, wall_s=1.0, trusted=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_pictures_and_metrics_never_take_what_is_kept_back(folder: Path):
    with Desk(folder, quota_bytes=QUOTA) as desk:
        for n in range(450):  # 27 MB
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n, 60_000)))
            desk.keep(desk.note("x" * 1_000, rank=Rank.METRIC))
            if n % 15 == 14:
                desk.alarm()
                assert desk.bytes_on_disk() <= QUOTA - QUOTA // RESERVE
        held = len(desk.read(camera="gate"))
        assert held > 200
        before = declared(desk.everything())
        for n in range(400):  # 2.4 MB of what is kept back
            desk.keep(desk.note("x" * 6_000, rank=Rank.STATE))
            if n % 40 == 39:
                desk.alarm()
        assert len(desk.read(camera="gate")) == held, "there was room for all of it"
        assert declared(desk.everything()) == before
        assert desk.bytes_on_disk() <= QUOTA
        assert desk.all(JournalTrouble) == []


def test_what_is_told_to_be_used_is_what_is_used(folder: Path):
    with Desk(folder, quota_bytes=QUOTA) as desk:
        for n in range(50):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n, 60_000)))
        desk.alarm()
        desk.settle((1, 30))
        desk.deleted(depth=21)
        told = desk.last(Committed).used_bytes
        assert told == pytest.approx(desk.bytes_on_disk(), rel=0.02)


def row(rank: Rank, **more) -> Row:
    return Row(kind="k", rank=rank, stamp=STAMP, data=b"x" * 300, **more)


def test_what_rows_need_is_never_too_little():
    assert Need.of([]).files == 0
    assert not Need.of([row(Rank.STATE), row(Rank.AUDIT)]).low
    assert Need.of([row(Rank.STATE), row(Rank.METRIC)]).low
    need = Need.of([row(Rank.PICTURE, jpeg=b"x" * 4_097)])
    assert need.low
    assert need.files >= 2 * 4_096
    assert Need.of([row(Rank.STATE)] * 50).table >= 50 * 360
