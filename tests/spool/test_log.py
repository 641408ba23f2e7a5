"""A log that was damaged in its middle is told from one that a power cut left."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.core.messages import Committed, JournalTrouble
from edge_agent.spool.log import cut_short
from edge_agent.spool.schema import PAGE
from tests.support.desk import Desk

FRAME = 24 + PAGE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store that was killed: four transactions of its own are in its log alone."""
    with Desk(tmp_path / "used") as desk:
        for _ in range(4):
            desk.alarm()
        shutil.copytree(tmp_path / "used", tmp_path / "killed")
    return tmp_path / "killed"


def log_of(folder: Path) -> Path:
    return folder / "journal.db-wal"


def frames(folder: Path) -> list[bool]:
    """Of each frame whether a transaction ends with it."""
    raw = log_of(folder).read_bytes()
    ends = [raw[at : at + 16] for at in range(32, len(raw), FRAME)]
    return [any(head[4:8]) for head in ends if head[8:16] == raw[16:24]]


def flip(folder: Path, at: int) -> None:
    raw = bytearray(log_of(folder).read_bytes())
    raw[at] ^= 1
    log_of(folder).write_bytes(raw)


def in_a_page(folder: Path) -> None:
    flip(folder, 32 + 24 + 500)


def in_the_salt_of_a_frame(folder: Path) -> None:
    flip(folder, 32 + 9)


def in_the_first_line(folder: Path) -> None:
    flip(folder, 17)


@pytest.mark.parametrize("hurt", [in_a_page, in_the_salt_of_a_frame, in_the_first_line])
def test_damage_before_the_last_transaction_is_a_new_epoch_and_said(
    folder: Path, hurt: Callable[[Path], None]
):
    hurt(folder)
    with Desk(folder) as desk:
        trouble = desk.wait(JournalTrouble)
        assert "log" in trouble.detail
        assert "journal.damaged" in {stored.kind for stored in desk.read(audit=True)}
    with Desk(folder) as desk:
        assert desk.all(JournalTrouble) == [], "told once"


def test_a_last_transaction_in_pieces_is_what_a_power_cut_leaves(folder: Path):
    ends = [number for number, end in enumerate(frames(folder)) if end]
    flip(folder, 32 + (ends[-2] + 1) * FRAME + 500)
    with Desk(folder) as desk:
        assert desk.all(JournalTrouble) == []
        before = desk.last(Committed).last_seq
        assert desk.alarm() == before + 1


def test_each_opening_begins_a_new_log(folder: Path):
    assert len(frames(folder)) > 5
    with Desk(folder):
        assert sum(frames(folder)) == 1, "the opening's own transaction"
        kept = shutil.copytree(folder, folder.parent / "again")
    with Desk(kept) as desk:
        assert desk.all(JournalTrouble) == []
    assert not cut_short(log_of(folder), 0), "closed in good order there is none"


def test_a_whole_log_is_whole_and_its_earlier_lives_do_not_count(folder: Path, tmp_path: Path):
    log = log_of(folder)
    whole = len(frames(folder))
    assert not cut_short(log, whole)
    assert cut_short(log, 0), "if SQLite found nothing in it"
    assert not cut_short(tmp_path / "none", 0)
    log.write_bytes(log.read_bytes()[:32])
    assert not cut_short(log, 0)
