"""Whether the journal keeps what it is given: real stores, damaged for real, on disks that are full, read-only or worn."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.core.settings import Hub, Identity, Journal, Privacy, Settings, SwitchKind
from edge_agent.doctor import journal
from edge_agent.doctor.check import Agent, Patient, Result, State
from edge_agent.doctor.journal import CHECKS
from tests.support.desk import Desk, HandClock, jpeg, released
from tests.support.patience import patient as patience

STATUS = {
    "journal": {"depth": 12, "oldest_age_s": 30.0, "durable": True},
    "uplink": {"state": "up"},
    "suspended": False,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Desk(tmp_path / "journal") as desk:
        for number in range(200):
            desk.keep(desk.note(number))
        desk.spool.keep_picture(released("gate", 900.0, jpeg(1)))
        desk.alarm()
    return tmp_path / "journal"


def patient(folder: Path, **limits: int) -> Patient:
    kept = Journal(
        folder=str(folder), **{"quota_bytes": 50_000_000, "disk_floor_bytes": 1_000_000, **limits}
    )
    of = Settings(
        identity=Identity(kelurahan="kuningan", rw="03", rt="05", box="box-1"),
        hub=Hub(host="127.0.0.1", port=1883, tls=None),
        privacy=Privacy(switch=SwitchKind.NONE),
        journal=kept,
    )
    of = replace(of, health=replace(of.health, disk_free_min_bytes=2_000_000))
    root = folder.parent / "root"
    return Patient(settings=of, config_file=Path("/nowhere"), clock=HandClock(), root=root)


def asked(of: Patient) -> dict[str, Result]:
    known = {key for check in CHECKS for key in (check.key, *check.also)}
    found = {result.key: result for check in CHECKS for result in check.ask(of)}
    assert set(found) <= known
    for result in found.values():
        assert (result.remedy is None) is (result.state is State.OK), result
    return found


def wrong(of: Patient) -> dict[str, State]:
    return {key: result.state for key, result in asked(of).items() if result.state is not State.OK}


def beside(of: Patient, **changed: object) -> Patient:
    told: Mapping[str, object] = {**STATUS, **changed}
    return replace(of, agent=Agent(running=True, status=told))


def test_a_store_that_is_whole_on_a_disk_that_writes(folder):
    found = asked(patient(folder))
    assert {result.state for result in found.values()} == {State.OK}
    assert found["journal.integrity"].seen.startswith("whole: 20")
    assert "5 writes" in found["journal.sync"].seen


def test_a_card_too_slow_for_the_whole_check_is_no_fault(folder, monkeypatch):
    slow = threading.Event()
    rest = folder.with_name("rest")
    rest.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rest))

    def waits(_: str, scratch: str, **_named: object) -> tuple[str, ...]:
        (Path(scratch) / "journal.db").write_bytes(b"a copy of the records")
        slow.wait(60)
        return ()

    monkeypatch.setattr(journal, "check_beside", waits)
    found = asked(replace(patient(folder), within_s=5.0))["journal.integrity"]
    slow.set()
    assert list(rest.iterdir()) == []  # nothing of it is left where others may look
    assert found.state is State.OK
    assert "the audit trail holds" in found.seen
    assert "journal check" in found.seen


def test_a_damaged_record_is_a_fault_however_little_time_a_stray_file_leaves(folder):
    """The whole check waits 2.3 s for a file that may be a picture on its way; what else is wrong is known before."""
    with closing(sqlite3.connect(folder / "journal.db")) as connection, connection:
        first = "(SELECT min(key) FROM record)"
        connection.execute(f"UPDATE record SET data = x'5b' WHERE key = {first}")
    (folder / "pictures" / "999999").write_bytes(b"x")
    (check,) = (check for check in CHECKS if check.key == "journal.integrity")
    of = replace(patient(folder), within_s=2.5)
    # The time limits are the real ones: a machine that stood still for 1.3 s may need another go.
    found = next(
        (result for _ in range(5) for result in check.ask(of) if result.state is State.FAULT), None
    )
    assert found is not None, "a damaged journal was called sound"
    assert "not as it was put in" in found.seen


def test_a_lasting_stray_file_is_a_fault_where_there_is_time_for_it(folder):
    (folder / "pictures" / "999999").write_bytes(b"x")
    found = asked(replace(patient(folder), within_s=patience(20.0)))["journal.integrity"]
    assert (found.state, "without its record" in found.seen) == (State.FAULT, True)


def test_looking_leaves_nothing_behind_and_changes_nothing(folder):
    def everything() -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    before = everything()
    asked(patient(folder))
    assert everything() == before


def test_it_is_looked_at_beside_a_store_that_is_in_use(tmp_path):
    with Desk(tmp_path / "journal") as desk:
        for number in range(50):
            desk.keep(desk.note(number))
        assert wrong(patient(tmp_path / "journal")) == {}


def test_a_box_that_has_no_journal_yet(tmp_path):
    found = asked(patient(tmp_path / "not/yet"))
    assert {result.state for result in found.values()} == {State.OK}
    assert "none yet" in found["journal.integrity"].seen


def test_a_damaged_store_is_named(folder):
    path = folder / "journal.db"
    with path.open("r+b") as file:
        for at in range(4096, path.stat().st_size - 4096, 8192):
            file.seek(at + 100)
            file.write(b"\xff" * 2000)
    assert wrong(patient(folder)) == {"journal.integrity": State.FAULT}


def test_a_store_that_is_none_is_named(folder):
    (folder / "journal.db").write_bytes(b"something else" * 1000)
    assert wrong(patient(folder)) == {"journal.integrity": State.FAULT}


def test_a_picture_that_is_gone_is_named(folder):
    for path in (folder / "pictures").iterdir():
        path.write_bytes(path.read_bytes()[::-1])
    assert wrong(patient(folder)) == {"journal.integrity": State.FAULT}


def test_of_a_large_store_the_trail_is_read_and_that_is_said(folder, monkeypatch):
    monkeypatch.setattr(journal, "_WHOLE_BYTES", 1000)
    found = asked(patient(folder))["journal.integrity"]
    assert (found.state, "large: the audit trail holds" in found.seen) == (State.OK, True)


def test_a_large_store_is_not_read_for_ever(tmp_path, monkeypatch):
    with Desk(tmp_path / "journal") as desk:
        for number in range(20):
            desk.keep(replace(desk.note(number), kind="gate.changed", rank=0, camera="gate"))
    monkeypatch.setattr(journal, "_WHOLE_BYTES", 1000)
    of = patient(tmp_path / "journal")
    assert isinstance(of.clock, HandClock)
    of.clock.step_s = 1.0  # each look at it takes a second
    found = next(iter(CHECKS)).ask(of)[0]
    assert (found.state, "edge-agent journal check" in found.seen) == (State.OK, True)


def test_a_store_in_memory_is_the_agents_word(folder):
    lost = {"journal": {"depth": 1, "oldest_age_s": None, "durable": False}}
    assert wrong(beside(patient(folder), **lost)) == {"journal.durable": State.FAULT}
    assert asked(beside(patient(folder)))["journal.durable"].state is State.OK


def test_a_backlog_counts_only_while_the_hub_is_there(folder):
    old = {"journal": {"depth": 900, "oldest_age_s": 3 * 86_400.0, "durable": True}}
    of = patient(folder)
    assert wrong(beside(of, **old)) == {"journal.backlog": State.WARNING}
    assert wrong(beside(of, **old, uplink={"state": "waiting"})) == {}
    assert wrong(beside(of, **old, suspended=True)) == {}


def test_stores_that_lie_aside(folder):
    (folder / "journal.db.damaged-1").write_bytes(b"x")
    (folder / "journal.db.damaged-1-pictures").mkdir()
    found = asked(patient(folder))["journal.aside"]
    assert (found.state, found.seen[:8]) == (State.WARNING, "1 damage")


def test_a_full_disk_and_one_that_will_be(folder):
    free = os.statvfs(folder)
    bytes_free = free.f_bavail * free.f_frsize
    assert wrong(patient(folder, disk_floor_bytes=2 * bytes_free))["journal.space"] is State.FAULT
    of = patient(folder)
    assert of.settings is not None
    health = replace(of.settings.health, disk_free_min_bytes=2 * bytes_free)
    of = replace(of, settings=replace(of.settings, health=health))
    assert wrong(of) == {"journal.space": State.WARNING}


def test_a_quota_that_no_disk_holds(folder):
    assert wrong(patient(folder, quota_bytes=10**15)) == {"journal.quota": State.WARNING}


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_file_system_that_became_read_only(folder):
    of = patient(folder)
    write(of.root, "proc/mounts", "/dev/mmcblk0p4 / ext4 ro,noatime 0 0\n")
    assert wrong(of) == {"journal.read-only": State.FAULT}


def test_a_card_that_takes_seconds_to_write(folder):
    of = patient(folder)
    assert isinstance(of.clock, HandClock)
    of.clock.step_s = 0.7
    (sync,) = (check for check in CHECKS if check.key == "journal.sync")
    assert sync.ask(of)[0].state is State.WARNING


def test_a_folder_that_cannot_be_written_is_said(folder):
    """Nobody may make files in /proc/self, not even root, and it is no journal of ours."""
    of = patient(Path("/proc/self"))
    found = {r.key: r for check in CHECKS if check.key == "journal.sync" for r in check.ask(of)}
    assert found["journal.sync"].state is not State.OK


@pytest.mark.parametrize(
    ("told", "spare", "state"),
    [
        ("0x02 0x01", "0x01", State.OK),
        ("0x08 0x01", "0x01", State.WARNING),
        ("0x01 0x01", "0x02", State.FAULT),
        ("0x0b 0x01", "0x01", State.FAULT),
        ("", "", State.OK),
    ],
)
def test_what_the_card_says_of_its_own_end(folder, told, spare, state):
    of = patient(folder)
    write(of.root, "proc/mounts", "/dev/mmcblk0p4 / ext4 rw 0 0\n")
    write(of.root, "sys/block/mmcblk0/mmcblk0p4/partition", "4\n")
    write(of.root, "sys/block/mmcblk0/device/life_time", told)
    write(of.root, "sys/block/mmcblk0/device/pre_eol_info", spare)
    assert asked(of)["journal.wear"].state is state


def test_without_a_configuration_it_says_nothing():
    of = Patient(settings=None, config_file=Path("/nowhere"), clock=HandClock())
    assert asked(of) == {}
