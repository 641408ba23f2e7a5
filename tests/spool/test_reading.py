"""The check beside an agent: what is certain is told before what may pass, and both doors say the same of a trail's end."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.core.messages import Rank
from edge_agent.spool import check as check_alone
from edge_agent.spool import check_beside, read_trail, reading
from edge_agent.spool.files import FILE
from edge_agent.spool.schema import key_of
from tests.support.desk import Desk, jpeg, released
from tests.support.head import tell

DAMAGED = "record 2: not as it was put in (checksum, name or picture)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    with Desk(folder) as desk:
        desk.keep(*(desk.note(n) for n in range(5)))
        desk.spool.keep_picture(released("gate", 900.0, jpeg(1)))
        desk.keep(desk.note(rank=Rank.AUDIT, kind="gate.changed", camera="gate"))
        desk.alarm()
    return folder


def damage(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        connection.execute("UPDATE record SET data = x'5b' WHERE key = ?", (key_of(1, 2),))


def stray(folder: Path) -> tuple[Path, str]:
    path = folder / "pictures" / "999999"
    path.write_bytes(b"x")
    return path, f"{path}: a picture without its record"


def at_each_pause(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> list[float]:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        do()

    monkeypatch.setattr(reading, "_pause", pause)
    return pauses


def test_what_is_certain_is_told_before_any_pause(folder, monkeypatch):
    damage(folder)
    _, told = stray(folder)
    order: list[object] = []
    at_each_pause(monkeypatch, lambda: order.append("a pause"))
    assert check_beside(str(folder), certain=order.append) == (DAMAGED, told)
    assert order == [(DAMAGED,), "a pause", "a pause", "a pause"]


def test_a_file_that_may_be_on_its_way_is_waited_for_and_is_never_certain(folder, monkeypatch):
    path, _ = stray(folder)
    certain: list[object] = []
    pauses = at_each_pause(monkeypatch, lambda: path.unlink() if len(pauses) == 3 else None)
    assert check_beside(str(folder), certain=certain.append) == ()
    assert (len(pauses), certain) == (3, [])


def test_what_one_look_alone_shows_is_neither_told_nor_waited_for(folder, monkeypatch):
    sound = folder.with_name("sound")
    shutil.copytree(folder, sound)
    damage(folder)
    looks: list[str] = []

    def check(place: str, pictures: Path) -> tuple[str, ...]:
        looks.append(place)
        if len(looks) == 1:
            return check_alone(place, pictures)
        return check_alone(str(sound))

    monkeypatch.setattr(reading, "check", check)
    certain: list[object] = []
    pauses = at_each_pause(monkeypatch, lambda: None)
    assert check_beside(str(folder), certain=certain.append) == ()
    assert (len(looks), pauses, certain) == (2, [], [])


@pytest.mark.parametrize("said", [{"trail": ""}, {"trail": "{"}, {"trail": "", "last_seq": 0}])
def test_both_doors_name_the_same_break_where_a_store_lost_its_word_on_the_end(folder, said):
    tell(folder / FILE, **said)
    breaks = [found.why for found in read_trail(str(folder), lambda: lambda _: None).breaks]
    assert breaks
    trail = [fault for fault in check_beside(str(folder)) if fault.startswith("audit trail:")]
    assert trail == [f"audit trail: {why}" for why in breaks]


def test_both_doors_find_no_break_before_the_first_record(tmp_path):
    folder = tmp_path / "begun"
    with Desk(folder):
        shutil.copytree(folder, tmp_path / "cut")
    cut = str(tmp_path / "cut")
    assert read_trail(cut, lambda: lambda _: None).breaks == ()
    assert check_beside(cut) == ()
