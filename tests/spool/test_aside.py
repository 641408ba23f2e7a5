"""Damage, and then the power goes too: at every step of bringing a damaged store over, and nothing is lost, doubled or untold."""

import errno
import json
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from edge_agent.core.messages import (
    Committed,
    Event,
    Fetched,
    FindingKey,
    JournalTrouble,
    Json,
    Purge,
    Purged,
    Rank,
    Record,
    Stored,
)
from edge_agent.simulate import Disk, Fault
from edge_agent.spool import check
from edge_agent.spool.aside import (
    NOTE,
    TRIES,
    Aside,
    Job,
    dump_jobs,
    read_jobs,
    read_note,
    write_note,
)
from edge_agent.spool.ballast import BALLAST
from edge_agent.spool.files import ASIDE, FILE, DamagedError
from edge_agent.spool.rescue import Salvage, prepare
from edge_agent.spool.schema import PAGE, VERSION
from edge_agent.spool.store import Store
from edge_agent.spool.values import Row
from tests.support.desk import Desk, declared, jpeg, numbers, raw_of, released
from tests.support.patience import patient

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # SystemExit stands for a kill

RECORDS = 40
PICTURES = 8


@pytest.fixture
def home() -> Iterator[Path]:
    """A place where a sync costs nothing, if there is one."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as found:
        yield Path(found)


def break_(folder: Path) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def gate_moved(desk: Desk, n: int) -> Record:
    data: dict[str, Json] = {"n": n, "from": "held", "to": "open"}
    return Record(
        kind="gate.changed", rank=Rank.AUDIT, at=desk.clock.now(), camera="gate", data=data
    )


@pytest.fixture
def damaged(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A damaged store of a few records, half of them in the trail too, and pictures; small lots."""
    folder = home / "damaged"
    with Desk(folder) as desk:
        for n in range(RECORDS):
            desk.keep(gate_moved(desk, n) if n % 2 else desk.note(n))
        for n in range(PICTURES):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n, 5_000)))
        desk.alarm()
    break_(folder)
    small_lots(monkeypatch, 9)
    return folder


def small_lots(monkeypatch: pytest.MonkeyPatch, records: int) -> None:
    monkeypatch.setattr("edge_agent.spool.rescue._LOT", records)
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_RECORDS", records)
    monkeypatch.setattr("edge_agent.spool.journal.CUT_RECORDS", records)


def told(records: list[Stored], kind: str) -> list[dict[str, Json]]:
    return [json.loads(stored.data) for stored in records if stored.kind == kind]


def until_it_is_over(desk: Desk, ends: int | None = None) -> list[Stored]:
    """Wait until nothing is left to be brought over, or so much has come to its end, on a disk that is asked again now and then."""
    while True:
        since = len(desk.events)
        found = desk.read(audit=True)
        begun = told(found, "journal.damaged")
        most = sum(not item["complete"] for item in begun) if ends is None else ends
        if begun and len(told(found, "journal.salvaged")) >= most:
            return found
        desk.clock.skip(31)
        desk.ask(limit=1)  # something to wake up for
        desk.wait(Committed, since=since)


def all_is_here(desk: Desk) -> None:
    audit = until_it_is_over(desk)
    assert len(told(audit, "journal.damaged")) == 1
    last = [*told(audit, "journal.damaged"), *told(audit, "journal.salvaged")][-1]
    assert (last["complete"], last["lost"]) == (True, 0)
    assert last["salvaged"] == RECORDS + PICTURES + 1
    records = [s for s in desk.everything() if s.kind in ("test.note", "gate.changed")]
    assert sorted(map(int, map(str, numbers(records)))) == list(range(RECORDS))
    assert [s.jpeg for s in desk.read(camera="gate")] == [jpeg(n, 5_000) for n in range(PICTURES)]
    assert desk.last(Committed).durable


class Doomed(Desk):
    """One whose disk meets a fault at its *step*-th commit, if it comes to that before there are *depth* records."""

    def __init__(self, folder: Path, *, step: int, fault: Fault, depth: int) -> None:
        super().__init__(folder)
        self.reached = False
        self._over = threading.Event()
        self._step, self._fault, self._depth = step, fault, depth
        self.disk.before = self._meet

    def _meet(self) -> None:
        self._step -= 1
        if self._step == 0:
            self.reached = True
            self.disk.fail(self._fault)
            self._over.set()

    def _post(self, event: Event) -> None:
        super()._post(event)
        if isinstance(event, Committed) and event.depth >= self._depth:
            self._over.set()

    def die(self) -> None:
        """Start and end, whether the writer lives through it or not."""
        self.spool.__enter__()
        assert self._over.wait(patient(15))
        self.spool.close()
        self.spool._thread.join(patient(15))
        assert not self.spool._thread.is_alive()


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize("fault", [Fault.DEAD, Fault.DEAD_AFTER, Fault.LOST, Fault.LANDED])
def test_whichever_commit_is_the_last_before_the_power_goes_or_the_disk_fails(
    home: Path,
    damaged: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    *,
    at_start: bool,
):
    if not at_start:
        monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    depth = RECORDS + PICTURES + 2 + (not at_start)
    reached, step = True, 0
    while reached:
        step += 1
        folder = home / "copy"
        shutil.copytree(damaged, folder)
        doomed = Doomed(folder, step=step, fault=fault, depth=depth)
        if fault in (Fault.LOST, Fault.LANDED):
            with doomed:
                all_is_here(doomed)
                trouble = doomed.last(JournalTrouble)
                assert trouble.key is FindingKey.JOURNAL_BROKEN
                assert "have the card replaced" in trouble.detail
        else:
            doomed.die()
            with Desk(folder) as desk:
                all_is_here(desk)
        reached = doomed.reached
        assert check(str(folder)) == ()
        shutil.rmtree(folder)
    assert step > 12


@pytest.mark.parametrize("step", range(1, 4))
def test_the_power_goes_while_a_damaged_store_is_moved_aside(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    rename, left = Path.rename, step

    def cut(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == 0:
            raise SystemExit
        return rename(self, target)

    (damaged / f"{FILE}-wal").touch()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut)
        desk = Desk(damaged)
        desk.spool.__enter__()
        desk.spool.close()
    assert left == 0
    with Desk(damaged) as desk:
        all_is_here(desk)
    assert check(str(damaged)) == ()
    assert read_note(damaged) == ()


def test_the_power_goes_before_the_new_store_knows_what_to_bring_over(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing in it says that it is not just a new journal."""

    def cut(self: Store, *_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(Store, "write", cut)
        desk = Desk(damaged)
        desk.spool.__enter__()
        desk.spool.close()
    assert read_note(damaged)
    with Desk(damaged) as desk:
        all_is_here(desk)
        assert desk.last(JournalTrouble).key is FindingKey.JOURNAL_BROKEN


def test_damage_upon_damage_costs_none_of_what_was_still_to_come(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    doomed = Doomed(damaged, step=11, fault=Fault.DEAD, depth=10**6)
    doomed.die()
    break_(damaged)
    doomed = Doomed(damaged, step=11, fault=Fault.DEAD, depth=10**6)
    doomed.die()
    assert {f"{FILE}.damaged-1", f"{FILE}.damaged-2"} <= {p.name for p in damaged.iterdir()}
    with Desk(damaged) as desk:
        audit = until_it_is_over(desk, ends=2)
        records = [s for s in desk.everything() if s.kind in ("test.note", "gate.changed")]
        assert sorted(map(int, map(str, numbers(records)))) == list(range(RECORDS))
        pictures = {s.jpeg for s in desk.read(camera="gate")}
        assert pictures == {jpeg(n, 5_000) for n in range(PICTURES)}
        assert len(told(audit, "journal.damaged")) == 2
    assert check(str(damaged)) == ()


def test_no_picture_comes_over_after_a_purge_although_the_power_went_before_it_was_deleted(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    small_lots(monkeypatch, 1)

    def cut(self: Store) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(Store, "wipe", cut)
        desk = Desk(damaged)
        desk.spool.__enter__()
        desk.spool.purge(Purge(since_at=0.0, reason="privacy"))
        desk.spool._thread.join(patient(15))
        assert not desk.spool._thread.is_alive()
    assert any(jpeg(n, 5_000)[100:200] in raw_of(damaged) for n in range(PICTURES))
    with Desk(damaged) as desk:
        audit = until_it_is_over(desk, ends=1)
        assert not told(audit, "journal.salvaged")[0]["complete"]
        assert desk.read(camera="gate") == []
        records = [s for s in desk.everything() if s.kind in ("test.note", "gate.changed")]
        assert sorted(map(int, map(str, numbers(records)))) == list(range(RECORDS))
        raw = raw_of(damaged)
        assert not [n for n in range(PICTURES) if jpeg(n, 5_000)[100:200] in raw]


def test_records_outlive_a_purge_and_a_kill_but_for_a_store_that_may_hold_pictures_itself(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    with sqlite3.connect(damaged / FILE) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("DROP TABLE mark")
    connection.close()
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    small_lots(monkeypatch, 1)
    desk = Desk(damaged)
    desk.spool.__enter__()
    desk.spool.purge(Purge(since_at=0.0, reason="privacy"))
    desk.wait(Purged)
    desk.spool.close()
    raw = raw_of(damaged)
    assert not [n for n in range(PICTURES) if jpeg(n, 5_000)[100:200] in raw]
    assert len(read_note(damaged)) == 0
    with Desk(damaged) as desk:
        until_it_is_over(desk, ends=1)
        records = [s for s in desk.everything() if s.kind in ("test.note", "gate.changed")]
        assert sorted(map(int, map(str, numbers(records)))) == list(range(RECORDS))


def test_what_ends_the_agent_each_time_it_is_read_is_left_alone_and_told(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    def poison(self: Salvage, *_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(Salvage, "_shelves", poison)
        for _ in range(TRIES + 1):  # the first of them gets as far as the trail
            desk = Desk(damaged)
            desk.spool.__enter__()
            desk.spool._thread.join(patient(15))
            assert not desk.spool._thread.is_alive()
    with Desk(damaged) as desk:
        audit = until_it_is_over(desk, ends=1)
        assert not told(audit, "journal.salvaged")[0]["complete"]
        assert len(told(audit, "journal.damaged")) == 1
    with Desk(damaged) as desk:
        assert desk.all(JournalTrouble) == [], "told once"


class StubbornDisk(Disk):
    """One on which the file of that name cannot be opened, so many times."""

    def __init__(self, name: str, times: int) -> None:
        super().__init__()
        self._name = name
        self.left = times

    def connect(self, path: str) -> sqlite3.Connection:
        if path.endswith(self._name) and self.left:
            self.left -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().connect(path)


def test_the_next_one_that_cannot_be_opened_at_once_comes_later(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    Doomed(damaged, step=11, fault=Fault.DEAD, depth=10**6).die()
    break_(damaged)
    disk = StubbornDisk(f"{ASIDE}1", times=2)  # and once more when the store is opened anew for it
    with Desk(damaged, disk=disk) as desk:
        until_it_is_over(desk, ends=2)
        records = [s for s in desk.everything() if s.kind in ("test.note", "gate.changed")]
        assert sorted(map(int, map(str, numbers(records)))) == list(range(RECORDS))
        assert disk.left == 0
    assert check(str(damaged)) == ()


def full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
    return error


def corrupt() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
    return error


def test_a_disk_that_takes_no_lot_is_asked_seldom_and_costs_nothing(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    """Errors that the agent lives through are no tries of what may be what ends it."""
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    write, asked, tries = Store.write, threading.Semaphore(0), 0

    def refuse(self: Store, rows: Sequence[Row], **more) -> list[tuple[int, int]]:
        nonlocal tries
        if rows and more.get("moved"):
            tries += 1
            asked.release()
            raise full()
        return write(self, rows, **more)

    with Desk(damaged) as desk:
        with monkeypatch.context() as patched:
            patched.setattr(Store, "write", refuse)
            for n in range(2 * TRIES):
                assert asked.acquire(timeout=patient(15))
                for _ in range(5):  # and in between it has time for more
                    desk.ask(limit=1)
                assert tries == n + 1, "once in so long"
                assert desk.last(Committed).durable
                desk.clock.skip(31)
                desk.ask(limit=1)
        all_is_here(desk)


def test_what_a_mending_that_failed_began_to_read_does_not_come_into_memory(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    adopt_from, failed = Store.adopt_from, threading.Event()
    desk = Desk(damaged)

    def pull() -> None:
        if desk.spool._rest is not None and not failed.is_set():
            desk.disk.broken = True
            desk.disk.fail(Fault.LOST)

    def stumble(self: Store, ring: Store) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        adopt_from(self, ring)

    monkeypatch.setattr(Store, "adopt_from", stumble)
    desk.disk.before = pull
    with desk:
        desk.wait(Committed, lambda event: not event.durable)
        desk.disk.broken = False
        desk.clock.skip(31)
        desk.ask(limit=1)
        assert failed.wait(patient(15))
        for _ in range(20):  # something to do between what it does when nothing is to be done
            desk.ask(limit=1)
        assert not desk.last(Committed).durable
        assert desk.last(Committed).depth == 0
        all_is_here(desk)


def test_damage_that_shows_only_when_memory_is_to_be_moved_there_is_damage(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    adopt_from = Store.adopt_from
    with Desk(damaged) as desk:
        all_is_here(desk)
        bad = (damaged / FILE).stat().st_ino

        def meet(self: Store, ring: Store) -> None:
            if (damaged / FILE).stat().st_ino == bad:
                raise corrupt()
            adopt_from(self, ring)

        monkeypatch.setattr(Store, "adopt_from", meet)
        desk.disk.broken = True
        desk.disk.fail(Fault.LOST)
        desk.keep(desk.note(RECORDS))
        desk.wait(Committed, lambda event: not event.durable)
        desk.disk.broken = False
        since = len(desk.events)
        while not any(isinstance(e, Committed) and e.durable for e in desk.events[since:]):
            desk.clock.skip(31)
            desk.ask(limit=1)
            assert len(desk.events) < since + 10_000
        until_it_is_over(desk)
        records = [s for s in desk.everything() if s.kind in ("test.note", "gate.changed")]
        assert sorted(map(int, map(str, numbers(records)))) == list(range(RECORDS + 1))
    assert check(str(damaged)) == ()


def break_trail(folder: Path) -> None:
    """One bit of the last page of the trail, which the next entry goes to."""
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'audit'")
    connection.close()
    raw = bytearray((folder / FILE).read_bytes())
    at = (page[0] - 1) * size
    while raw[at] == 5:  # an inner page: on to its last child
        at = (int.from_bytes(raw[at + 8 : at + 12], "big") - 1) * size
    raw[at] ^= 0x40
    (folder / FILE).write_bytes(raw)


@pytest.mark.parametrize("step", range(5, 9))
def test_damage_to_the_new_store_before_all_has_come_over_is_damage_and_no_bad_disk(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    Doomed(damaged, step=step, fault=Fault.DEAD, depth=10**6).die()
    break_trail(damaged)
    with Desk(damaged) as desk:
        assert desk.last(Committed).durable
        assert f"{FILE}.damaged-2" in desk.last(JournalTrouble).detail
        until_it_is_over(desk, ends=2)
        records = [s for s in desk.everything() if s.kind in ("test.note", "gate.changed")]
        assert sorted(map(int, map(str, numbers(records)))) == list(range(RECORDS))
    found = check(str(damaged))
    assert not [one for one in found if not one.startswith("audit trail")], (
        "entries went with it, and are named"
    )


def test_the_ballast_that_gives_way_to_a_salvage_costs_none_of_it(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    with sqlite3.connect(damaged / FILE) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.close()
    fetch, adopt = Store.fetch, Store.adopt
    faults = [corrupt(), full()]

    def meet(self: Store, *args) -> Fetched:
        if len(faults) == 2:
            raise faults.pop(0)
        return fetch(self, *args)

    def refuse(self: Store, *args) -> None:
        if faults:
            raise faults.pop()
        adopt(self, *args)

    with Desk(damaged) as desk:
        monkeypatch.setattr(Store, "fetch", meet)
        monkeypatch.setattr(Store, "adopt", refuse)
        assert (damaged / BALLAST).exists()
        desk.ask(limit=1)
        assert not faults
        all_is_here(desk)
        assert not (damaged / f"{ASIDE}2").exists()
    assert check(str(damaged)) == ()


def test_a_card_that_does_not_let_go_of_the_old_names_ends_nothing(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    unlink = Path.unlink

    def stick(self: Path, *, missing_ok: bool = False) -> None:
        if self.parent.name.endswith("-pictures"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", stick)
        with Desk(damaged) as desk:
            all_is_here(desk)
    assert check(str(damaged)) == ()


def test_a_link_to_nowhere_in_place_of_the_pictures_is_moved_aside(home: Path):
    folder = home / "journal"
    folder.mkdir()
    (folder / "pictures").symlink_to("/nonexistent")
    with Desk(folder) as desk:
        desk.alarm()
        assert desk.last(Committed).durable
        assert (folder / f"{ASIDE}1-pictures").is_symlink()


def test_a_new_store_that_is_damaged_as_well_is_a_disk_that_does_not_work(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
):
    left = 2

    def meet(folder: Path) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise DamagedError("not as it was written")
        prepare(folder)

    monkeypatch.setattr("edge_agent.spool.journal.prepare", meet)
    with Desk(damaged) as desk:
        assert not desk.last(Committed).durable
        assert desk.last(JournalTrouble).key is FindingKey.JOURNAL_BROKEN
        all_is_here(desk)


# ---- a full journal ----


def test_damage_to_a_full_journal_costs_none_of_its_newest_pictures(home: Path):
    folder, quota = home / "journal", 24_000_000
    with Desk(folder, quota_bytes=quota) as desk:
        for n in range(900):  # 27 MB
            desk.spool.keep_picture(released("gate", 900.0 + 60 * n, jpeg(n, 30_000)))
            if n % 3 == 0:
                desk.keep(desk.note("x" * 500))
            if n % 30 == 29:
                desk.alarm()
        held = {s.at: s.jpeg for s in desk.read(camera="gate")}
        assert 300 < len(held) < 800, "it was full"
    break_(folder)
    with Desk(folder, quota_bytes=quota) as desk:
        audit = until_it_is_over(desk)
        assert int(str(told(audit, "journal.damaged")[0]["salvaged"])) > len(held)
        kept = {s.at: s.jpeg for s in desk.read(camera="gate")}
        assert kept.items() <= held.items()
        newest = sorted(held)[-len(held) // 4 :]
        assert [at for at in newest if at not in kept] == []
        assert len(kept) > len(held) * 0.98
        assert desk.bytes_on_disk() <= quota


def test_where_room_is_short_what_is_still_to_be_read_does_not_go_for_it(home: Path):
    """A smaller quota than before: it is thinned as ever, and nothing is lost unread."""
    folder = home / "journal"
    with Desk(folder) as desk:
        for n in range(600):  # 18 MB
            desk.spool.keep_picture(released("gate", 900.0 + 60 * n, jpeg(n, 30_000)))
            if n % 30 == 29:
                desk.alarm()
        held = [s.at for s in desk.read(camera="gate")]
        assert len(held) == 600
    break_(folder)
    quota = 16_000_000
    with Desk(folder, quota_bytes=quota) as desk:
        audit = until_it_is_over(desk)
        last = [*told(audit, "journal.damaged"), *told(audit, "journal.salvaged")][-1]
        assert (last["complete"], last["lost"]) == (True, 0)
        kept = {s.at for s in desk.read(camera="gate")}
        assert len(kept & set(held[-100:])) > 40, "thinned evenly, and not cut off at its end"
        everything = desk.everything()
        assert {item["reason"] for item in told(everything, "journal.thinned")} == {"no_room"}
        seqs = [s.seq for s in everything]
        assert declared(everything) == set(range(1, max(seqs) + 1)) - set(seqs)
        assert desk.bytes_on_disk() <= quota


def test_many_records_that_come_over_twice_cost_no_picture(home: Path):
    """While it is read, a damaged store is beyond the quota: its records would else have to make room for themselves."""
    folder, quota = home / "journal", 24_000_000
    with Desk(folder, quota_bytes=quota) as desk:
        for n in range(600):
            desk.spool.keep_picture(released("gate", 900.0 + 60 * n, jpeg(n, 3_000)))
            desk.keep(desk.note("x" * 18_000))
            if n % 30 == 29:
                desk.alarm()
        before = len(desk.read(camera="gate"))
        records = len(desk.read())
        assert (folder / FILE).stat().st_size > quota // 3
    break_(folder)
    with Desk(folder, quota_bytes=quota) as desk:
        until_it_is_over(desk)
        assert (len(desk.read(camera="gate")), len(desk.read())) == (before, records)
        for n in range(20):
            desk.spool.keep_picture(released("gate", 90_000.0 + 60 * n, jpeg(n, 3_000)))
        desk.alarm()
        assert desk.bytes_on_disk() <= quota, "what lies aside goes as soon as room is wanted"


# ---- what is kept of it ----


def test_a_job_is_what_was_written_or_nothing():
    jobs = (Job(aside=f"{ASIDE}3", why="torn", group=1, seq=7), Job(aside=f"{ASIDE}2", why="old"))
    whole = dump_jobs(jobs)
    assert read_jobs(whole) == jobs
    assert read_jobs(dump_jobs([])) == ()
    for at in range(len(whole)):
        assert read_jobs(whole[:at]) is None
        assert read_jobs(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]) is None
    assert read_jobs(dump_jobs([Job(aside=f"{ASIDE}1/../../box.toml", why="")])) is None


def test_where_it_is_not_known_how_far_it_was_all_is_brought_anew_but_the_pictures(home: Path):
    for name in (f"{ASIDE}1", f"{ASIDE}2", f"{ASIDE}10", f"{ASIDE}2-wal", f"{ASIDE}x"):
        (home / name).touch()
    (home / f"{ASIDE}2-pictures").mkdir()
    lying = Aside(home, b"no longer what was written")
    assert [job.aside for job in lying.jobs] == [f"{ASIDE}10", f"{ASIDE}2", f"{ASIDE}1"]
    assert not any(job.pictures for job in lying.jobs)


def test_what_is_read_to_its_end_is_not_begun_anew_and_what_is_not_is(home: Path):
    for number in (1, 2, 3):
        (home / f"{ASIDE}{number}").touch()
    jobs = [Job(aside=f"{ASIDE}2", why="torn"), Job(aside=f"{ASIDE}3", why="torn")]
    assert Aside(home, dump_jobs(jobs)).jobs == tuple(jobs)
    for told in (b"no longer what was written", None):
        names = [job.aside for job in Aside(home, told).jobs]
        assert names == [f"{ASIDE}3", f"{ASIDE}2"], "number 1 was done"
    write_note(home, jobs[:1])
    assert Aside(home, None).jobs == (), "one that is being begun is told by the note"
    (home / NOTE).write_bytes(b"torn")
    assert [job.aside for job in Aside(home, None).jobs] == [f"{ASIDE}3", f"{ASIDE}2"]


def flip_the_header(folder: Path) -> None:
    with (folder / FILE).open("r+b") as file:
        file.write(b"R")


def wipe_the_facts(folder: Path) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'fact'"
        ((page,),) = connection.execute(sql).fetchall()
    connection.close()
    with (folder / FILE).open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(bytes(PAGE))


def forget_the_fact(folder: Path) -> None:
    """One bit of its key; and of the table that page is whole."""
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("UPDATE fact SET key = 'store.salvagd' WHERE key = 'store.salvage'")
    connection.close()


@pytest.mark.parametrize("hurt", [flip_the_header, wipe_the_facts, forget_the_fact])
def test_what_is_still_to_be_read_comes_although_the_new_store_cannot_say_so_any_more(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, hurt: Callable[[Path], None]
):
    monkeypatch.setattr("edge_agent.spool.journal.SALVAGE_S", 0.0)
    Doomed(damaged, step=11, fault=Fault.DEAD, depth=10**6).die()
    with sqlite3.connect(damaged / FILE) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((before,),) = connection.execute("SELECT count(*) FROM record").fetchall()
    connection.close()
    assert 0 < before < RECORDS
    hurt(damaged)
    with Desk(damaged) as desk:
        while True:
            since = len(desk.events)
            audit = desk.read(audit=True)
            ends = [*told(audit, "journal.salvaged"), *told(audit, "journal.damaged")]
            done = [item for item in ends if item["aside"] == f"{ASIDE}1"]
            if any(item["salvaged"] == RECORDS + 1 for item in done):
                break
            desk.clock.skip(31)
            desk.ask(limit=1)
            desk.wait(Committed, since=since)
        assert not any(item["complete"] for item in done)
        records = [s for s in desk.everything() if s.kind in ("test.note", "gate.changed")]
        assert set(map(int, map(str, numbers(records)))) == set(range(RECORDS))
        if hurt is flip_the_header:
            first = told(audit, "journal.damaged")[0]
            assert (first["epoch"], first["complete"]) == (None, False)
            assert not any(item["complete"] for item in ends), "of what cannot be read nobody knows"
    with Desk(damaged) as desk:
        assert desk.all(JournalTrouble) == [], "told once"
        assert len(desk.everything()) < 2 * RECORDS
