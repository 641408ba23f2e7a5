"""A little of each kind of torture in every run of the tests (`make torture` is the real thing), and whether the torturers would notice.

A trial that cannot fail proves nothing: the last tests take a promise away from the journal and want that to be found.
"""

import random  # noqa: TID251 - seeded: the same each time
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.core.messages import Committed, Rank
from edge_agent.spool.journal import OPEN_S
from tests.support.patience import patient
from tests.torture import cut, damage, faults, full, kill, points, trace
from tests.torture.__main__ import FORMS, KINDS, numbers, table
from tests.torture.book import START_S, Desk, Proof, Tally, declared, verify
from tests.torture.card import Card, pick_up, put_down
from tests.torture.things import thing
from tests.torture.trace import Op

TRIALS = dict(zip(KINDS, FORMS["tiny"], strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "part", [kill, cut, points, faults, full, damage], ids=lambda part: part.__name__
)
def test_the_journal_stands_it(part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # How soon it is open is for `make torture` on a machine of its own to say; here, that it ever is.
    for place in ("torture.book", "torture.full"):
        monkeypatch.setattr(f"tests.{place}.START_S", patient(START_S))
    monkeypatch.setattr("edge_agent.spool.journal.OPEN_S", patient(OPEN_S))
    kind = part.__name__.rpartition(".")[2]
    tally = part.run(TRIALS[kind], "ci", tmp_path)
    if tally.skipped:
        pytest.skip(tally.skipped)
    assert tally.trials == TRIALS[kind]
    assert tally.accepted
    assert tally.good, table({kind: tally})
    assert tally.worst_start_s < patient(START_S)


def filled(folder: Path, count: int) -> Proof:
    """A journal with so many things, and what its writer would have told."""
    proof = Proof()
    with Desk(folder) as desk:
        for number in range(1, count + 1):
            it = thing(number)
            if it.rank is Rank.PICTURE:
                desk.spool.keep_picture(it.released(float(number)))
            else:
                desk.spool.keep(it.record(float(number)))
            if number % 40 == 0:
                desk.ask(limit=1)
    with Desk(folder) as desk:
        last = desk.everything()[-1]
    proof.hear(f"open {last.epoch} 0")
    proof.hear(f"kept {last.epoch} {last.seq}")
    return proof


def drop_a_record(folder: Path) -> None:
    with sqlite3.connect(folder / "journal.db") as connection:
        found = connection.execute("SELECT rowid FROM record ORDER BY rowid LIMIT 1 OFFSET 30")
        connection.execute("DELETE FROM record WHERE rowid = ?", found.fetchone())
    connection.close()


def change_a_record(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b'"fill":"xxxx', b'"fill":"yyyy'))


def begin_anew(folder: Path) -> None:
    (folder / "journal.db").unlink()


@pytest.mark.parametrize("hurt", [drop_a_record, change_a_record, begin_anew])
def test_a_loss_is_noticed(tmp_path: Path, hurt: Callable[[Path], None]):
    proof = filled(tmp_path / "journal", 200)
    whole = verify(tmp_path / "journal", [proof])
    assert (whole.accepted, whole.good) == (200, True), whole
    hurt(tmp_path / "journal")
    tally = verify(tmp_path / "journal", [proof])
    assert not tally.good
    assert "!" in table({"kill": tally})
    assert numbers(tally)["lost"] == tally.lost


def test_what_was_said_to_be_destroyed_and_is_there_is_noticed(tmp_path: Path):
    proof = filled(tmp_path / "journal", 100)
    proof.hear("purging 40 60")
    assert verify(tmp_path / "journal", [proof]).good
    proof.hear("purged 40 60")
    tally = verify(tmp_path / "journal", [proof])
    assert tally.shown == tally.remains > 0
    assert not tally.good


def test_a_schema_that_is_no_text_is_damage_like_any_other(tmp_path: Path):
    """SQLite quotes it in its message, and Python cannot decode that."""
    folder = tmp_path / "journal"
    proof = filled(folder, 50)
    path = folder / "journal.db"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE record", b"CREATE TABLE rec\xcdrd"))
    with Desk(folder) as desk:
        assert desk.last(Committed).epoch not in proof.kept
        assert "journal.damaged" in {stored.kind for stored in desk.read(audit=True)}


def test_a_tombstone_that_came_over_does_not_declare_seqs_of_the_new_epoch(tmp_path: Path):
    folder = tmp_path / "journal"
    with Desk(folder, quota_bytes=2_500_000) as desk:
        for number in range(1, 1_001):
            it = thing(number)
            if it.rank is Rank.PICTURE:
                desk.spool.keep_picture(it.released(float(number)))
            else:
                desk.spool.keep(it.record(float(number)))
            if number % 40 == 0:
                desk.ask(limit=1)
        assert declared(desk.everything())
    with sqlite3.connect(folder / "journal.db") as connection:
        connection.execute("PRAGMA user_version = 99")  # whole, and not to be used as it is
    connection.close()
    with Desk(folder) as desk:
        records = desk.everything()
    assert not declared(records) & {stored.seq for stored in records}


def ops(*steps: tuple[str, int, str, bytes]) -> list[Op]:
    return [Op(what, node, path, data=data) for what, node, path, data in steps]


def left(steps: list[Op], *, in_order: bool) -> set[tuple[tuple[str, bytes | None], ...]]:
    """Everything that a cut after these steps was seen to leave."""
    found = set()
    for seed in range(300):
        card = Card({"old": b"o" * 1_024})
        for step in steps:
            card.do(step, in_order=in_order)
        found.add(tuple(card.cut(random.Random(seed), in_order=in_order).items()))
    return found


def test_a_card_keeps_what_was_synced_and_nothing_else_for_certain():
    old = Card({"old": b""}).nodes()["old"]
    written = ops(("write", old, "", b"n" * 1_024))
    seen = {dict(each)["old"] for each in left(written, in_order=True)}
    assert {b"o" * 1_024, b"n" * 1_024, b"n" * 512 + b"o" * 512, b"o" * 512 + b"n" * 512} == seen
    synced = left([*written, *ops(("sync", old, "", b""))], in_order=True)
    assert {dict(each)["old"] for each in synced} == {b"n" * 1_024}


def test_a_sync_that_failed_is_not_made_good_by_the_next():
    old = Card({"old": b""}).nodes()["old"]
    steps = ops(
        ("write", old, "", b"n" * 1_024), ("failed-sync", old, "", b""), ("sync", old, "", b"")
    )
    assert b"o" * 1_024 in {dict(each)["old"] for each in left(steps, in_order=True)}


def test_a_new_name_is_certain_only_when_its_folder_is_synced():
    made = ops(("make", 9, "new", b""), ("write", 9, "", b"n"), ("sync", 9, "", b""))
    assert {"new" in dict(each) for each in left(made, in_order=False)} == {True, False}
    assert {"new" in dict(each) for each in left(made, in_order=True)} == {True}
    folder = [*made, *ops(("sync-folder", 0, "", b""))]
    assert {"new" in dict(each) for each in left(folder, in_order=False)} == {True}


def test_what_a_program_did_to_a_folder_is_read_from_its_trace(tmp_path: Path):
    reason = trace.why_no_strace()
    if reason:
        pytest.skip(reason)
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    before = pick_up(folder)
    script = """
import os, shutil, sys, threading
os.chdir(sys.argv[1])
here = os.getcwd()
def work():
    os.mkdir(f"{here}/in")
    f = os.open(f"{here}/in/a", os.O_RDWR | os.O_CREAT)
    os.write(f, b"abc"); os.lseek(f, 1, 0); os.write(f, b"X"); os.pwrite(f, b"end", 10); os.fsync(f)
    os.write(1, b"told\\n")
    os.ftruncate(f, 12)
    os.rename(f"{here}/in/a", f"{here}/b")
    os.pwrite(f, b"Y", 0)
    os.unlink(f"{here}/old")
    os.close(f)
    shutil.rmtree(f"{here}/in")
t = threading.Thread(target=work); t.start(); t.join()
"""
    out = tmp_path / "trace"
    command = [*trace.wrapper(out), sys.executable, "-c", script, str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    card = Card(before)
    told = []
    for op in trace.read(out, folder, card.nodes()):
        card.do(op, in_order=True)
        told += [op.data] if op.what == "told" else []
    assert told == [b"told\n"]
    everything = {tuple(card.cut(random.Random(seed), in_order=True).items()) for seed in range(99)}
    assert tuple(pick_up(folder).items()) in everything
    put_down(dict(next(iter(everything))), tmp_path / "again")
    assert pick_up(tmp_path / "again") in [dict(each) for each in everything]


def test_a_tally_is_good_only_without_any_fault():
    assert Tally().good
    for fault in ("lost", "reordered", "refused", "shown", "remains"):
        tally = Tally()
        setattr(tally, fault, 1)
        assert not tally.good
    assert not Tally(told=["something"]).good
