"""A box that is of another place now: what it owes the hub of the old one is not sent under the new name, and not lost."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent import whole
from edge_agent.core.messages import (
    Committed,
    FindingKey,
    JournalTrouble,
    Memory,
    Purge,
    Purged,
    Rank,
)
from edge_agent.core.settings import Identity
from edge_agent.spool import Holdings
from edge_agent.spool.files import FILE
from edge_agent.spool.parked import PARKED
from edge_agent.spool.store import Store
from tests.support.desk import ROOM, Desk, HandClock, declared, jpeg, numbers, raw_of, released

MAWAR = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-05", box="box-1")
MELATI = Identity(kelurahan="kuningan", rw="rw-07", rt="rt-02", box="box-1")
ANGGREK = Identity(kelurahan="menteng", rw="rw-01", rt="rt-01", box="box-1")
ELSEWHERE = "kuningan_rw-03_rt-05_box-1"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def at(folder: Path, identity: Identity | None, clock: HandClock, **settings) -> Desk:
    return Desk(folder, identity=identity, clock=clock, **settings)


def fill(desk: Desk, count: int = 40) -> None:
    for n in range(count):
        desk.keep(desk.note(n, rank=Rank.STATE if n % 2 else Rank.METRIC))
        if n % 4 == 0:
            desk.spool.keep_picture(released("gate", desk.clock.now(), jpeg(n, 3_000)))
    desk.alarm()


def told(desk: Desk) -> str:
    troubles = desk.all(JournalTrouble)
    return troubles[-1].parked if troubles else ""


def test_nothing_of_the_old_place_is_offered_at_the_new_one_and_all_of_it_at_the_old_one_again(
    tmp_path, clock
):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
        owed, epoch = desk.everything(), desk.epoch
        assert len(owed) == 51
        assert told(desk) == ""
    with at(tmp_path, MELATI, clock) as desk:
        assert desk.epoch != epoch
        assert desk.everything() == []
        assert told(desk) == (
            f"51 records of kuningan/rw-03/rt-05/box-1 in {tmp_path}/{PARKED}/{ELSEWHERE}"
        )
        desk.keep(desk.note("of the new street"))
        desk.alarm()
        assert [s.seq for s in desk.everything()] == [1, 2]
        newer = desk.epoch
    with at(tmp_path, MELATI, clock) as desk:  # and at the next start it is still so
        assert (desk.epoch, len(desk.everything())) == (newer, 2)
        assert "51 records" in told(desk)
    with at(tmp_path, MAWAR, clock) as desk:
        assert desk.epoch == epoch
        assert desk.everything() == owed
        assert told(desk).startswith("2 records of kuningan/rw-07/rt-02/box-1 in ")
        desk.keep(desk.note("later"))
        assert desk.alarm() == 53, "no seq is given twice"
    with at(tmp_path, MELATI, clock) as desk:
        assert numbers(desk.read()) == ["of the new street"]


def test_a_store_of_before_places_were_noted_is_of_the_place_where_it_is_found(tmp_path, clock):
    with at(tmp_path, None, clock) as desk:
        fill(desk)
        owed = desk.everything()
    with at(tmp_path, MAWAR, clock) as desk:
        assert desk.everything() == owed
        assert not (tmp_path / PARKED).exists()
    with at(tmp_path, MELATI, clock) as desk:
        assert desk.everything() == []


def test_an_empty_store_of_another_place_is_no_news(tmp_path, clock):
    with at(tmp_path, MAWAR, clock):
        pass
    with at(tmp_path, MELATI, clock) as desk:
        desk.alarm()
        assert told(desk) == ""


def test_what_the_switch_remembers_goes_along_and_no_order_of_the_old_place_does(tmp_path, clock):
    def remember(desk: Desk, memory: Memory, value: bytes) -> None:
        desk.spool.remember(memory, value)
        desk.alarm()

    with at(tmp_path, MAWAR, clock) as desk:
        remember(desk, Memory.SWITCH, b"live")
        remember(desk, Memory.SWITCH, b"private")
        remember(desk, Memory.POLICY, b"suspended")
        remember(desk, Memory.COMMANDS, b"7")
    for _ in range(2):
        with at(tmp_path, MELATI, clock) as desk:
            assert desk.spool.recall(Memory.SWITCH) == b"private"
            assert desk.spool.recall(Memory.POLICY) is None
            assert desk.spool.recall(Memory.COMMANDS) is None
    with at(tmp_path, MELATI, clock) as desk:
        remember(desk, Memory.SWITCH, b"private, by another press")
    for _ in range(2):
        with at(tmp_path, MAWAR, clock) as desk:
            assert desk.spool.recall(Memory.SWITCH) == b"private, by another press"
            assert desk.spool.recall(Memory.POLICY) == b"suspended"


def pull_the_plug(monkeypatch, step: int) -> None:
    """Whatever changes a name or the new store: the *step*-th such call, and all after it, end the thread as a kill would."""
    left = [step]

    def until_then(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def cut(*args, **more):
            left[0] -= 1
            if left[0] <= 0:
                raise SystemExit
            return real(*args, **more)

        monkeypatch.setattr(owner, name, cut)

    for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Store, "inherit")):
        until_then(owner, name)
    until_then(Store, "_create")


STEPS = 16  # more than there are, there or back: with the last the move is whole


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("then", ["the same", "the former", "a third"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_power_cut_at_any_step_of_the_move_loses_nothing_and_mixes_nothing(
    tmp_path, clock, monkeypatch, step, then
):
    """Each name that changes is a step; what was not done by then is found at the next start, whichever place that is of."""

    def cut_short(identity: Identity) -> None:
        with monkeypatch.context() as power:
            pull_the_plug(power, step)
            dying = at(tmp_path, identity, clock)
            dying.spool.__enter__()
            dying.spool.close()

    with at(tmp_path, MAWAR, clock) as desk:
        desk.spool.remember(Memory.SWITCH, b"live")
        fill(desk)
    with at(tmp_path, MELATI, clock) as desk:
        desk.keep(desk.note("of the new street"))
        desk.alarm()
        there = (desk.epoch, desk.everything())
    with at(tmp_path, MAWAR, clock) as desk:
        desk.spool.remember(Memory.SWITCH, b"private")
        desk.alarm()
        here = (desk.epoch, desk.everything())
    cut_short(MELATI)
    following = {"the same": MELATI, "the former": MAWAR, "a third": ANGGREK}[then]
    for identity in (following, MELATI, MAWAR, ANGGREK, MAWAR, MELATI):
        with at(tmp_path, identity, clock) as desk:
            assert desk.last(Committed).durable
            assert desk.spool.recall(Memory.SWITCH) == b"private"
            found = (desk.epoch, desk.everything())
            expected = {MELATI: there, MAWAR: here}.get(identity)
            assert found[1] == [] if expected is None else found == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_place_that_was_a_slip_and_a_power_cut_leave_the_former_store_in_use(
    tmp_path, clock, monkeypatch, step
):
    """No store of the wrong place is there yet: one is begun, the power goes, and box.toml is put right."""
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
        here = (desk.epoch, desk.everything())
    for _ in range(2):
        with monkeypatch.context() as power:
            pull_the_plug(power, step)
            dying = at(tmp_path, MELATI, clock)
            dying.spool.__enter__()
            dying.spool.close()
        with at(tmp_path, MAWAR, clock) as desk:
            assert (desk.epoch, desk.everything()) == here
            assert told(desk) == ""


def test_a_place_that_was_a_slip_and_a_full_disk_leave_the_former_store_in_use(
    tmp_path, clock, monkeypatch
):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
        here = (desk.epoch, desk.everything())

    create = Store._create

    def full(*_args, **_more) -> None:
        raise OSError(28, "No space left on device")

    def full_beside_memory(store: Store) -> None:
        full() if store.durable else create(store)

    for owner, name, does in ((whole, "write", full), (Store, "_create", full_beside_memory)):
        with monkeypatch.context() as disk:
            disk.setattr(owner, name, does)
            with at(tmp_path, MELATI, clock) as desk:
                assert not desk.last(Committed).durable
                assert desk.everything() == []
        with at(tmp_path, MAWAR, clock) as desk:
            assert (desk.epoch, desk.everything()) == here


def test_a_disk_that_refuses_the_move_offers_nothing_of_the_old_place(tmp_path, clock, monkeypatch):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
        owed = desk.everything()

    def refuse(path: Path, target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as disk, at(tmp_path, MELATI, clock) as desk:
        disk.setattr(Path, "rename", refuse)
    with monkeypatch.context() as disk:
        disk.setattr(Path, "rename", refuse)
        with at(tmp_path, MAWAR, clock) as desk:
            assert not desk.last(Committed).durable
            assert desk.wait(JournalTrouble).key is FindingKey.JOURNAL_BROKEN
            assert desk.everything() == []
    with at(tmp_path, MAWAR, clock) as desk:
        assert desk.everything() == owed


def test_records_made_in_memory_at_the_new_place_go_into_its_own_store(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
        owed = desk.everything()
    with at(tmp_path, MELATI, clock) as desk:
        desk.alarm()
    with at(tmp_path, MAWAR, clock) as desk:
        pass
    desk = at(tmp_path, MELATI, clock)
    desk.disk.broken = True
    with desk:
        assert not desk.last(Committed).durable
        desk.keep(desk.note("in memory"))
        desk.alarm()
        desk.disk.broken = False
        since = len(desk.events)
        clock.skip(31)
        desk.wait(Committed, lambda event: event.durable, since=since)
        assert numbers(desk.read()) == ["in memory"]
    with at(tmp_path, MAWAR, clock) as desk:
        assert desk.everything() == owed


# ---- damage ----


@pytest.mark.parametrize("left", ["both", "the fact", "the file"])
def test_what_is_saved_of_a_damaged_store_stays_its_own_places(tmp_path, clock, left):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as sql:
        if left == "the file":
            sql.execute("DELETE FROM fact")
        sql.execute("PRAGMA user_version = 9")
    if left == "the fact":
        (tmp_path / "journal.place").unlink()
    with at(tmp_path, MELATI, clock) as desk:
        assert numbers(desk.read()) == []
        assert [s.kind for s in desk.read(audit=True)] == []
        assert desk.read(camera="gate") == []
        assert "52 records of kuningan/rw-03/rt-05/box-1" in told(desk), "and one that tells of it"
    with at(tmp_path, MAWAR, clock) as desk:
        assert len(numbers(desk.read())) == 40


def test_a_store_whose_place_cannot_be_read_is_everybody_elses(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as sql:
        sql.execute("UPDATE fact SET value = x'ff2f2e2e' WHERE key = 'store.place'")
    for identity in (MELATI, MAWAR):
        with at(tmp_path, identity, clock) as desk:
            assert desk.everything() == []
            assert "51 records of unknown in " in told(desk)


# ---- pictures, and room ----


def test_a_press_at_the_new_place_reaches_the_pictures_of_the_old_one(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        early = clock.now()
        desk.spool.keep_picture(released("gate", early, jpeg(1)))
        clock.skip(300)
        late = clock.now()
        desk.spool.keep_picture(released("gate", late, jpeg(2)))
        desk.keep(desk.note("kept"))
        desk.alarm()
    with at(tmp_path, MELATI, clock) as desk:
        desk.spool.purge(Purge(since_at=late - 60, reason="privacy"))
        desk.wait(Purged)
        raw = raw_of(tmp_path)
        assert jpeg(2)[2:200] not in raw
        assert jpeg(1)[2:200] in raw
    with at(tmp_path, MAWAR, clock) as desk:
        assert len(desk.read(camera="gate")) == 1
        assert numbers(desk.read()) == ["kept"]
        assert declared(desk.read(audit=True), "privacy.purged") == {2}


def test_the_ends_of_earlier_boots_are_reached_there_too(tmp_path):
    before = HandClock("boot-1")
    with at(tmp_path, MAWAR, before) as desk:
        desk.spool.keep_picture(released("gate", before.now(), jpeg(1)))
        desk.alarm()
    with at(tmp_path, MELATI, HandClock("boot-2")) as desk:
        desk.spool.purge(Purge(since_at=0, reason="privacy", earlier_s=60))
        desk.wait(Purged)
        assert jpeg(1)[2:200] not in raw_of(tmp_path)


def test_of_a_parked_store_that_cannot_be_opened_a_press_destroys_every_picture(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        desk.spool.keep_picture(released("gate", clock.now(), jpeg(1)))
        desk.alarm()
    with at(tmp_path, MELATI, clock) as desk:
        (tmp_path / PARKED / ELSEWHERE / FILE).write_bytes(b"no database" * 1_000)
        desk.spool.purge(Purge(since_at=clock.now(), reason="privacy"))
        desk.wait(Purged)
        assert jpeg(1)[2:200] not in raw_of(tmp_path)


def test_a_press_while_the_disk_is_away_reaches_parked_pictures_when_it_is_back(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        desk.spool.keep_picture(released("gate", clock.now(), jpeg(1)))
        desk.alarm()
    with at(tmp_path, MELATI, clock):
        pass
    desk = at(tmp_path, MELATI, clock)
    desk.disk.broken = True
    with desk:
        desk.spool.purge(Purge(since_at=0, reason="privacy"))
        desk.wait(Purged)
        assert jpeg(1)[2:200] in raw_of(tmp_path), "the disk does not answer"
        desk.disk.broken = False
        since = len(desk.events)
        clock.skip(31)
        desk.wait(Committed, lambda event: event.durable, since=since)
        assert jpeg(1)[2:200] not in raw_of(tmp_path)


def test_a_damaged_parked_store_costs_the_new_place_nothing(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        desk.alarm()
    with at(tmp_path, MELATI, clock):
        pass
    (tmp_path / PARKED / ELSEWHERE / FILE).write_bytes(b"no database" * (ROOM // 16))
    with at(tmp_path, MELATI, clock) as desk:
        desk.alarm()
        assert desk.last(Committed).durable
        assert told(desk).startswith("records of kuningan/rw-03/rt-05/box-1 that cannot be counted")


def test_a_purge_that_a_parked_store_refuses_is_not_forgotten(tmp_path, clock, monkeypatch):
    with at(tmp_path, MAWAR, clock) as desk:
        desk.spool.keep_picture(released("gate", clock.now(), jpeg(1)))
        desk.alarm()
    with at(tmp_path, MELATI, clock) as desk:
        (tmp_path / PARKED / ELSEWHERE / FILE).write_bytes(b"no database" * 1_000)
        with monkeypatch.context() as disk:

            def refuse(path: Path) -> None:
                raise OSError(30, "Read-only file system", str(path))

            disk.setattr("edge_agent.spool.parked.remove", refuse)
            desk.spool.purge(Purge(since_at=0, reason="privacy"))
            desk.wait(Purged)
        assert (
            "still in parked"
            in desk.wait(JournalTrouble, lambda event: event.key is not None).detail
        )
    assert jpeg(1)[2:200] in raw_of(tmp_path)
    with at(tmp_path, MELATI, clock) as desk:
        desk.wait(Purged)
        assert jpeg(1)[2:200] not in raw_of(tmp_path)


def test_a_purge_that_one_parked_store_refuses_reaches_the_others_and_that_one_before_the_next_start(
    tmp_path, clock, monkeypatch
):
    with at(tmp_path, MAWAR, clock) as desk:
        desk.spool.keep_picture(released("gate", clock.now(), jpeg(1)))
        desk.alarm()
    with at(tmp_path, MELATI, clock) as desk:
        desk.spool.keep_picture(released("gate", clock.now() - 1_000, jpeg(3)))
        desk.spool.keep_picture(released("gate", clock.now(), jpeg(2)))
        desk.alarm()
        late = clock.now() - 500
    with at(tmp_path, ANGGREK, clock) as desk:
        first = tmp_path / PARKED / ELSEWHERE
        (first / FILE).write_bytes(b"no database" * 1_000)
        with monkeypatch.context() as disk:

            def refuse(path: Path) -> None:
                raise OSError(13, "Permission denied", str(path))

            disk.setattr("edge_agent.spool.parked.remove", refuse)
            desk.spool.purge(Purge(since_at=late, reason="privacy"))
            desk.wait(Purged)
            raw = raw_of(tmp_path)
            assert jpeg(1)[2:200] in raw
            assert jpeg(2)[2:200] not in raw
            broken = desk.wait(JournalTrouble, lambda event: event.key is not None)
            assert "still in parked" in broken.detail
        since = len(desk.events)
        clock.skip(31)
        desk.wait(JournalTrouble, lambda event: event.key is None, since=since)
        assert jpeg(1)[2:200] not in raw_of(tmp_path)
    with at(tmp_path, MELATI, clock) as desk:
        purged = [s for s in desk.read(audit=True) if s.kind == "privacy.purged"]
        assert len(purged) == 1, "those that were reached are left alone"


def test_a_purge_is_owed_while_nobody_can_say_what_is_parked(tmp_path, clock, monkeypatch):
    with at(tmp_path, MAWAR, clock) as desk:
        desk.spool.keep_picture(released("gate", clock.now(), jpeg(1)))
        desk.alarm()
    with at(tmp_path, MELATI, clock) as desk:
        scandir = os.scandir

        def refuse(path):
            if Path(path) == tmp_path / PARKED:
                raise OSError(5, "Input/output error", str(path))
            return scandir(path)

        with monkeypatch.context() as disk:
            disk.setattr(os, "scandir", refuse)
            desk.spool.purge(Purge(since_at=0, reason="privacy"))
            desk.wait(Purged)
        assert (tmp_path / "purge-owed.json").exists()
    with at(tmp_path, MELATI, clock) as desk:
        assert jpeg(1)[2:200] not in raw_of(tmp_path)
        assert not (tmp_path / "purge-owed.json").exists()


def test_where_nothing_can_be_parked_the_store_in_use_is_used_and_no_other_is(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
        here = (desk.epoch, desk.everything())
    (tmp_path / PARKED).write_bytes(b"a person's notes")
    with at(tmp_path, MAWAR, clock) as desk:
        desk.spool.purge(Purge(since_at=clock.now() + 100, reason="privacy"))
        desk.wait(Purged)
        assert desk.last(Committed).durable
    with at(tmp_path, MELATI, clock) as desk:
        assert not desk.last(Committed).durable
        assert desk.everything() == []
    with at(tmp_path, MAWAR, clock) as desk:
        assert desk.epoch == here[0]
        assert set(here[1]) <= set(desk.everything())


def test_what_a_person_put_beside_parked_stores_costs_nothing(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
    with at(tmp_path, MELATI, clock) as desk:
        desk.spool.keep_picture(released("gate", clock.now(), jpeg(1)))
        desk.alarm()
    parked = tmp_path / PARKED
    (parked / "to the journal").symlink_to(tmp_path)
    (parked / "nowhere").symlink_to(tmp_path / "nowhere")
    (parked / "a file").write_bytes(b"notes")
    (parked / "kuningan_rw-09_rt-09_box-9").mkdir()
    (parked / "empty.moving").mkdir()
    (parked / "empty.coming").mkdir()
    strange = Path(os.fsdecode(os.fsencode(parked) + b"/\xff\n"))
    strange.mkdir()
    (strange / FILE).write_bytes(b"")
    with at(tmp_path, MELATI, clock) as desk:
        assert desk.last(Committed).durable
        assert "51 records of kuningan/rw-03/rt-05/box-1" in told(desk)
        assert "records of unknown that cannot be counted in" in told(desk)
        assert told(desk).isprintable()
        assert "rw-09" not in told(desk)
        assert "empty" not in told(desk)
        desk.spool.purge(Purge(since_at=clock.now() + 100, reason="privacy"))
        desk.wait(Purged)
        assert len(desk.read(camera="gate")) == 1, "not reached through a link"


def fill_up(desk: Desk) -> None:
    for n in range(700):
        desk.spool.keep_picture(released("gate", desk.clock.now(), jpeg(n, 50_000)))
        desk.keep(desk.note(n))
        if n % 20 == 0:
            desk.alarm()  # no faster than the disk
    desk.alarm()


def test_neither_the_start_nor_a_press_waits_for_the_thinning_of_what_is_parked(
    tmp_path, clock, monkeypatch
):
    with at(tmp_path, MAWAR, clock) as desk:
        fill_up(desk)
        newest = clock.now()
    steps: list[tuple[bool, bool, bool]] = []
    fit = Store.fit
    desk = at(tmp_path, MELATI, clock)

    def watched(store: Store) -> bool:
        if not steps:
            desk.spool.purge(Purge(since_at=newest - 1e6, reason="privacy"))
        more = fit(store)
        steps.append((bool(desk.all(Committed)), bool(desk.all(Purged)), more))
        return more

    monkeypatch.setattr(Store, "fit", watched)
    with desk:
        before = desk.wait(JournalTrouble)
        desk.wait(JournalTrouble, lambda event: event.parked != before.parked)
        assert not (set((tmp_path / PARKED / ELSEWHERE / "pictures").iterdir()))
    assert steps[0] == (True, False, True), "open before, and one step is not all of it"
    assert steps[1][:2] == (True, True), "the press came next"


def test_what_is_parked_keeps_within_half_of_the_quota_and_declares_what_went(tmp_path, clock):
    def accounted(desk: Desk) -> bool:
        held = {stored.seq for stored in desk.everything()}
        gone = declared(desk.read(audit=True))
        return held | gone == set(range(1, desk.last(Committed).last_seq + 1))

    with at(tmp_path, MAWAR, clock) as desk:
        fill_up(desk)
        assert desk.bytes_on_disk() > ROOM // 2
        assert accounted(desk)
    with at(tmp_path, MELATI, clock) as desk:
        before = desk.wait(JournalTrouble)
        desk.wait(JournalTrouble, lambda event: event.parked != before.parked)  # and again as it is
        assert desk.bytes_on_disk() <= ROOM // 2
        fill_up(desk)
        assert desk.bytes_on_disk() <= ROOM
        assert accounted(desk)
    with at(tmp_path, MAWAR, clock) as desk:
        assert accounted(desk)
        assert len(numbers([s for s in desk.read() if s.kind == "test.note"])) == 700
        assert len(desk.read(camera="gate")) > 100


def test_a_parked_store_is_read_by_its_folder(tmp_path, clock):
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
    with at(tmp_path, MELATI, clock), Holdings(str(tmp_path / PARKED / ELSEWHERE)) as holdings:
        assert holdings.identity(MELATI) == MAWAR
        assert sum(shelf.records for shelf in holdings.shelves()) == 51


def test_two_stores_of_one_place_are_both_kept(tmp_path, clock):
    """A person put an old copy into the folder: nothing is written over."""
    with at(tmp_path, MAWAR, clock) as desk:
        fill(desk)
    with at(tmp_path, MELATI, clock):
        pass
    (tmp_path / PARKED / ELSEWHERE).rename(tmp_path / "away")
    with at(tmp_path, MAWAR, clock) as desk:
        desk.alarm()
    (tmp_path / "away").rename(tmp_path / PARKED / ELSEWHERE)
    with at(tmp_path, MELATI, clock) as desk:
        assert "51 records of kuningan/rw-03/rt-05/box-1" in told(desk)
        assert "1 records of kuningan/rw-03/rt-05/box-1" in told(desk)
