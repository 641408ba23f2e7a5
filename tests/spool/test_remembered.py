"""What the journal's word that something is remembered says of the records before it: on a full disk, a bad one and a slow one."""

import itertools
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.messages import Event, JournalTrouble, Memory, Rank, Remembered
from edge_agent.simulate import Fault
from edge_agent.spool.files import FILE
from tests.spool.test_ballast import QUOTA, card, drain, fill_with_alarms
from tests.support.desk import Desk

PLENTY = 10**9
KEYS = (Memory.SWITCH, Memory.COMMANDS)


def alarms_on(folder: Path) -> set[object]:
    """Which alarms a power cut would leave now."""
    with TemporaryDirectory() as copy:
        for path in folder.glob(f"{FILE}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy)
        with closing(sqlite3.connect(Path(copy) / FILE)) as disk:
            rows = disk.execute("SELECT data FROM record WHERE kind = 'test.alarm'").fetchall()
    return {json.loads(data)["n"] for (data,) in rows}


class Telling(Desk):
    """Each value names how many alarms were put in before it; at each word on it the disk is looked at."""

    def __init__(self, folder: Path, **more) -> None:
        super().__init__(folder, **more)
        self.put = 0
        self.newest: dict[Memory, bytes] = {}
        self.untrue: list[str] = []

    def __enter__(self) -> "Telling":
        super().__enter__()
        return self

    def _post(self, event: Event) -> None:
        if isinstance(event, Remembered) and event.durable:
            missing = set(range(int(event.value.split()[-1]))) - alarms_on(self.folder)
            if missing:
                self.untrue.append(f"{event}: {len(missing)} of the alarms before it are missing")
        super()._post(event)

    def records(self, count: int, rank: Rank) -> None:
        for _ in range(count):
            is_alarm = rank is Rank.AUDIT
            kind = "test.alarm" if is_alarm else "test.note"
            self.keep(self.note(self.put, rank=rank, kind=kind, camera=None))
            self.put += is_alarm

    def remember(self, key: Memory) -> None:
        self.newest[key] = f"{len(self.events)} {self.put}".encode()
        self.spool.remember(key, self.newest[key])

    def settled(self) -> bool:
        told = {(e.memory, e.value) for e in self.all(Remembered) if e.durable}
        return told >= set(self.newest.items())


class Room:
    """How much the file system says it has."""

    def __init__(self) -> None:
        self.free = PLENTY


@contextmanager
def room() -> Iterator[Room]:
    room, real = Room(), shutil.disk_usage
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=room.free))
        yield room


Step = Callable[[Telling, Room], None]


def later(desk: Telling, seconds: float) -> None:
    desk.clock.skip(seconds)
    desk.ask(limit=1)


def pile_up(desk: Telling, count: int, key: Memory) -> None:
    """All of it comes while a commit hangs."""
    desk.disk.go.clear()
    desk.records(count, Rank.STATE)
    desk.records(1, Rank.AUDIT)
    desk.remember(key)
    desk.disk.go.set()


STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda count, rank: lambda desk, _: desk.records(count, rank),
        st.integers(1, 60),
        st.sampled_from([Rank.AUDIT, Rank.STATE]),
    ),
    st.builds(lambda key: lambda desk, _: desk.remember(key), st.sampled_from(KEYS)),
    st.builds(
        lambda count, key: lambda desk, _: pile_up(desk, count, key),
        st.integers(0, 700),
        st.sampled_from(KEYS),
    ),
    st.builds(
        lambda free: lambda _, room: setattr(room, "free", free),
        st.sampled_from([0, 0, 20_000, PLENTY]),
    ),
    st.builds(
        lambda seconds: lambda desk, _: later(desk, seconds), st.sampled_from([0.0, 1.0, 3.0, 31.0])
    ),
    st.builds(
        lambda fault, times: lambda desk, _: desk.disk.fail(fault, times),
        st.sampled_from([Fault.LOST, Fault.LANDED]),
        st.integers(1, 9),
    ),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_what_is_said_to_be_remembered_for_good_is_said_so_of_all_that_came_before_it(
    steps: list[Step],
):
    with TemporaryDirectory() as folder, room() as disk, Telling(Path(folder)) as desk:
        for step in steps:
            step(desk, disk)
        later(desk, 0.0)
        disk.free, desk.disk.times = PLENTY, 0
        for _ in range(100):
            if desk.settled():
                break
            later(desk, 31.0)
        assert desk.settled(), "said at last, once there is room"
        assert desk.untrue == []


def test_on_a_full_disk_the_value_comes_first_and_the_word_with_the_records(tmp_path: Path):
    """Private holds over a power cut; that the press's records do too is not said before it is so."""
    count = itertools.count()
    with card(tmp_path, 40) as at:
        folder = at / "journal"
        with Telling(folder, quota_bytes=QUOTA) as desk:
            fill_with_alarms(desk, count)
            desk.records(1, Rank.AUDIT)
            desk.remember(Memory.SWITCH)
            early = desk.wait(Remembered)
            assert (early.durable, early.ahead) == (False, True)
            assert alarms_on(folder) == set()
            copy = tmp_path / "copy"
            shutil.copytree(folder, copy)
            troubles = len(desk.all(JournalTrouble))
            for _ in range(3):
                desk.clock.skip(2.5)
                desk.ask(limit=1)
                desk.remember(Memory.CLOCK)
                desk.ask(limit=1)
            assert len(desk.all(JournalTrouble)) == troubles, "said once, not by turns"
            drain(desk)
            desk.clock.skip(3)
            desk.ask(limit=1)
            word = desk.wait(Remembered, lambda event: event.durable)
            assert (word.memory, word.value) == (Memory.SWITCH, early.value)
            assert desk.untrue == []
        with Desk(copy, quota_bytes=QUOTA) as desk:
            assert desk.spool.recall(Memory.SWITCH) == early.value


def test_on_a_full_disk_the_word_waits_for_the_last_of_many_records(tmp_path: Path):
    with room() as disk, Telling(tmp_path / "journal") as desk:
        disk.free = 0
        desk.records(700, Rank.AUDIT)
        desk.remember(Memory.SWITCH)
        desk.wait(Remembered, lambda event: event.ahead)
        disk.free = PLENTY
        later(desk, 3.0)
        desk.wait(Remembered, lambda event: event.durable)
        assert desk.untrue == []


def test_what_comes_while_the_journal_moves_back_to_the_disk_is_said_in_its_turn(tmp_path: Path):
    with Telling(tmp_path / "journal") as desk:
        desk.disk.fail(Fault.LOST, times=10**6)
        desk.remember(Memory.SWITCH)
        assert not desk.wait(Remembered).durable

        def meanwhile() -> None:
            desk.disk.before = lambda: None
            desk.records(600, Rank.AUDIT)
            desk.remember(Memory.SWITCH)

        desk.disk.before = meanwhile
        desk.disk.times = 0
        later(desk, 31.0)
        desk.wait(Remembered, lambda event: event.durable and event.value.endswith(b" 600"))
        assert desk.untrue == []


def test_what_is_dropped_on_the_way_out_of_a_full_disk_is_never_said_to_be_kept(tmp_path: Path):
    with room() as disk, Telling(tmp_path / "journal") as desk:
        desk.records(3, Rank.AUDIT)
        later(desk, 1.0)
        disk.free = 0
        desk.records(200, Rank.AUDIT)
        desk.remember(Memory.SWITCH)
        desk.wait(Remembered, lambda event: event.ahead)
        desk.remember(Memory.COMMANDS)
        desk.spool.close()
        assert not [event for event in desk.all(Remembered) if event.durable]
    with Desk(tmp_path / "journal") as desk:
        assert desk.spool.recall(Memory.SWITCH) is not None
        assert desk.spool.recall(Memory.COMMANDS) is not None
        stones = [s for s in desk.read(audit=True) if s.kind == "journal.thinned"]
        assert [json.loads(s.data)["reason"] for s in stones] == ["no_room"]
