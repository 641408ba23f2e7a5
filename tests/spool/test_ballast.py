"""A full disk never keeps a journal from being opened and drained, and the room that sees to that is asked for seldom."""

import errno
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from edge_agent.core.messages import Committed, FindingKey, JournalTrouble, Json, Rank, Record
from edge_agent.simulate import Fault
from edge_agent.spool import check
from edge_agent.spool.ballast import BALLAST, MAKE_EACH_S, Ballast
from edge_agent.spool.files import BrimfulError
from edge_agent.spool.store import Store
from tests.support import powercut
from tests.support.desk import Desk, HandClock, declared, jpeg, released

SIZE = 1_048_576
QUOTA = 10_000_000
LOST = OSError(errno.EIO, "Input/output error")
FULL = OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def card(tmp_path: Path, megabytes: int) -> Iterator[Path]:
    """A small ext4 of its own."""
    if reason := powercut.why_no_loop():
        pytest.skip(reason)
    image = tmp_path / "image"
    powercut.make_image(image, megabytes=megabytes)
    # Nothing is reserved for root: full is full for the test as for the agent, which is not root.
    subprocess.run(["tune2fs", "-m", "0", str(image)], check=True, capture_output=True)
    with ExitStack() as stack:
        try:
            at = stack.enter_context(powercut.mounted(image, tmp_path / "card"))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"mounting is forbidden here: {error.stderr!r}")
        yield at


def fill_up(path: Path) -> None:
    """To the very last block."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        file.writelines(itertools.repeat(bytes(4_096)))


def free(at: Path) -> int:
    return shutil.disk_usage(at).free


def alarms(desk: Desk, numbers: Iterator[int], count: int) -> None:
    """Records of 12 kB that may never be thinned, and an answer after them."""
    for n in itertools.islice(numbers, count):
        data: dict[str, Json] = {"n": n, "fill": "x" * 12_000}
        desk.keep(Record(kind="test.audit", rank=Rank.AUDIT, at=float(n), data=data))
    desk.ask(limit=1, audit=True)


def told(desk: Desk) -> list[int]:
    found = [s for s in desk.read(audit=True) if s.kind == "test.audit"]
    return [json.loads(stored.data)["n"] for stored in found]


def drain(desk: Desk) -> list[int]:
    """The hub takes what it is offered until nothing is; the numbers of that."""
    taken = []
    while page := desk.ask(limit=200, audit=True).records:
        taken += [json.loads(one.data)["n"] for one in page if one.kind == "test.audit"]
        desk.settle((page[0].seq, page[-1].seq))
        desk.clock.skip(6)
        desk.ask(limit=1)
    return taken


def fill_with_alarms(desk: Desk, numbers: Iterator[int]) -> JournalTrouble:
    """Until the disk takes no more of them."""
    while not any("waits in memory" in trouble.detail for trouble in desk.all(JournalTrouble)):
        assert desk.last(Committed).durable, "nothing was kept back"
        alarms(desk, numbers, 100)
    return desk.last(JournalTrouble)


def test_a_disk_that_alarms_have_filled_is_opened_again_and_drained(tmp_path: Path):
    numbers = itertools.count()
    with card(tmp_path, 40) as at:
        folder = at / "journal"
        with Desk(folder, quota_bytes=QUOTA) as desk:
            assert fill_with_alarms(desk, numbers).key is FindingKey.JOURNAL_FULL
            assert desk.bytes_on_disk() > 2 * QUOTA, "the quota is no bound for them"
            held = told(desk)
            assert held == list(range(len(held))), "in order, and none is missing"
            assert all(event.durable for event in desk.all(Committed)), "never in memory"
        fill_up(at / "somebody-elses-log")
        with Desk(folder, clock=HandClock("boot-2"), quota_bytes=QUOTA) as desk:
            assert desk.last(Committed).durable
            assert told(desk)[: len(held)] == held
            assert drain(desk)[: len(held)] == held
            assert desk.alarm() > 0
            assert desk.last(Committed).durable
        assert check(str(folder)) == ()


def test_what_comes_on_a_full_disk_waits_and_is_kept_once_the_hub_has_taken_some(tmp_path: Path):
    numbers = itertools.count()
    with card(tmp_path, 40) as at, Desk(at / "journal", quota_bytes=QUOTA) as desk:
        fill_with_alarms(desk, numbers)
        alarms(desk, numbers, 50)
        epoch = desk.epoch
        put = next(numbers)
        assert len(told(desk)) < put
        taken = drain(desk)
        since = len(desk.events)
        desk.clock.skip(3)
        desk.alarm()
        taken += told(desk)
        assert taken == list(range(put)), "none is missing, and in order"
        assert desk.epoch == epoch
        desk.clock.skip(6)  # the writer has nothing else to do
        desk.ask(limit=1)
        desk.wait(JournalTrouble, lambda trouble: trouble.key is None, since=since)


def test_on_the_way_out_of_a_full_disk_what_waited_is_declared(tmp_path: Path):
    numbers = itertools.count()
    with card(tmp_path, 40) as at:
        with Desk(at / "journal", quota_bytes=QUOTA) as desk:
            fill_with_alarms(desk, numbers)
            alarms(desk, numbers, 50)
        with Desk(at / "journal", clock=HandClock("boot-2"), quota_bytes=QUOTA) as desk:
            held = told(desk)
            assert held == list(range(len(held)))
            stones = [s for s in desk.read(audit=True) if s.kind == "journal.thinned"]
            (stone,) = [json.loads(stone.data) for stone in stones]
            assert (stone["rank"], stone["reason"]) == ("audit", "no_room")
            assert len(held) + stone["count"] == next(numbers)


def test_a_disk_that_somebody_else_fills_costs_no_alarm_and_no_start(tmp_path: Path):
    with card(tmp_path, 40) as at:
        folder = at / "journal"
        other = at / "somebody-elses-log"
        with Desk(folder, quota_bytes=QUOTA) as desk:
            assert (folder / BALLAST).exists()
            for n in range(20):
                desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n, 60_000)))
            desk.alarm()
            fill_up(other)
            for _ in range(300):
                desk.alarm()
            assert all(event.durable for event in desk.all(Committed))
        with Desk(folder, clock=HandClock("boot-2"), quota_bytes=QUOTA) as desk:
            kept = desk.everything()
            assert sum(stored.kind == "test.alarm" for stored in kept) == 301
            pictures = sum(stored.jpeg is not None for stored in kept)
            assert pictures + len(declared(kept)) >= 20
            other.unlink()
            desk.clock.skip(MAKE_EACH_S)
            desk.alarm()
            desk.clock.skip(6)  # the writer has nothing else to do
            before = len(desk.events)
            while not (folder / BALLAST).exists():
                desk.ask(limit=1)
                assert len(desk.events) < before + 2_000
                desk.clock.skip(6)


def test_what_the_store_keeps_back_itself_does_not_make_the_ballast_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing says that the disk is full when what was in memory is refused for want of room beside it."""
    pour_into, refused = Store.pour_into, threading.Event()

    def refuse(self: Store, other: Store, **bounds) -> None:
        if not refused.is_set():
            refused.set()
            raise BrimfulError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        pour_into(self, other, **bounds)

    with Desk(tmp_path / "journal", quota_bytes=QUOTA) as desk:
        ballast = (tmp_path / "journal" / BALLAST).stat()
        monkeypatch.setattr(Store, "pour_into", refuse)
        desk.disk.broken = True
        desk.disk.fail(Fault.LOST)
        desk.alarm()
        assert not desk.last(Committed).durable
        desk.disk.broken = False
        while not desk.last(Committed).durable:
            desk.clock.skip(31)
            desk.ask(limit=1)
        assert refused.is_set()
        assert (tmp_path / "journal" / BALLAST).stat().st_ino == ballast.st_ino


def test_its_blocks_are_really_there_and_it_is_made_once(tmp_path: Path):
    with card(tmp_path, 20) as at:
        ballast = Ballast(at, SIZE)
        before = free(at)
        ballast.keep(floor=0, at=0.0)
        assert ballast.bytes == SIZE
        assert before - free(at) >= SIZE
        number = (at / BALLAST).stat().st_ino
        ballast.keep(floor=0, at=2 * MAKE_EACH_S)
        assert (at / BALLAST).stat().st_ino == number
        assert ballast.give_way(FULL)
        assert free(at) == before


def test_it_leaves_the_floor_alone_and_never_takes_the_last_room(tmp_path: Path):
    with card(tmp_path, 20) as at:
        ballast = Ballast(at, SIZE)
        ballast.keep(floor=free(at) - 2 * SIZE + 100_000, at=0.0)
        assert ballast.bytes == 0
        powercut.fill(at / "log", leave=2 * SIZE - 100_000)
        ballast.keep(floor=0, at=0.0)
        assert ballast.bytes == 0
        (at / "log").unlink()
        ballast.keep(floor=0, at=0.0)
        assert ballast.bytes == SIZE


def test_it_is_not_made_again_and_again(tmp_path: Path):
    ballast = Ballast(tmp_path, SIZE)
    ballast.keep(floor=0, at=0.0)
    assert ballast.give_way(FULL)
    ballast.keep(floor=0, at=MAKE_EACH_S - 1)
    assert ballast.bytes == 0
    ballast.keep(floor=0, at=MAKE_EACH_S)
    assert ballast.bytes == SIZE


@pytest.mark.parametrize("length", [4_096, SIZE])
def test_a_piece_of_one_or_an_empty_copy_is_replaced(tmp_path: Path, length: int):
    (tmp_path / BALLAST).touch()
    os.truncate(tmp_path / BALLAST, length)
    ballast = Ballast(tmp_path, SIZE)
    assert ballast.bytes < SIZE
    ballast.keep(floor=0, at=0.0)
    assert ballast.bytes == SIZE


def test_a_link_in_its_place_leads_nowhere(tmp_path: Path):
    (tmp_path / "precious").write_bytes(b"x" * 2 * SIZE)
    (tmp_path / BALLAST).symlink_to("precious")
    ballast = Ballast(tmp_path, SIZE)
    assert ballast.bytes == 0
    ballast.keep(floor=0, at=0.0)
    assert ballast.give_way(FULL)
    assert (tmp_path / "precious").stat().st_size == 2 * SIZE


def test_only_a_full_disk_makes_it_give_way(tmp_path: Path):
    ballast = Ballast(tmp_path, SIZE)
    assert not ballast.give_way(FULL), "there is none"
    ballast.keep(floor=0, at=0.0)
    assert not ballast.give_way(LOST)
    assert not ballast.give_way(sqlite3.OperationalError("disk I/O error"))
    assert ballast.bytes == SIZE
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert ballast.give_way(full)


def test_on_a_full_disk_any_error_may_be_one_of_it(tmp_path: Path):
    with card(tmp_path, 20) as at:
        ballast = Ballast(at, SIZE)
        ballast.keep(floor=0, at=0.0)
        fill_up(at / "log")
        assert ballast.give_way(sqlite3.OperationalError("unable to open database file"))
        assert free(at) > SIZE - 10_000


def test_where_it_cannot_be_there_is_none(tmp_path: Path):
    Ballast(tmp_path / "gone", SIZE).keep(floor=0, at=0.0)
    (tmp_path / BALLAST).mkdir()
    ballast = Ballast(tmp_path, SIZE)
    ballast.keep(floor=0, at=0.0)
    assert (ballast.bytes, ballast.give_way(FULL)) == (0, False)
    with card(tmp_path, 20) as at:
        powercut.remount(at, "ro")
        Ballast(at, SIZE).keep(floor=0, at=0.0)
        assert not (at / BALLAST).exists()
