"""Damage, and then the power goes too: at every step of bringing a damaged store over, and nothing is lost, doubled or untold."""

import json
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.core.messages import (
    Committed,
    Event,
    FindingKey,
    JournalTrouble,
    Json,
    Purge,
    Purged,
    Rank,
    Record,
    Stored,
)
from edge_agent.simulate import Fault
from edge_agent.spool import check
from edge_agent.spool.aside import TRIES, Aside, Job, dump_jobs, read_jobs, read_note
from edge_agent.spool.files import ASIDE, FILE
from edge_agent.spool.rescue import Salvage
from edge_agent.spool.schema import VERSION
from edge_agent.spool.store import Store
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
    for name in (f"{ASIDE}1", f"{ASIDE}2", f"{ASIDE}2-wal", f"{ASIDE}x"):
        (home / name).touch()
    (home / f"{ASIDE}2-pictures").mkdir()
    lying = Aside(home, b"no longer what was written")
    assert [job.aside for job in lying.jobs] == [f"{ASIDE}2", f"{ASIDE}1"]
    assert not any(job.pictures for job in lying.jobs)
