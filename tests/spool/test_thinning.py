"""A store that is thinned: what is gone, what is said of it, and what that takes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import wire
from edge_agent.core.messages import Fetch, Lane, Purge, Rank, Stored
from edge_agent.core.retention import NEAR_S
from edge_agent.spool import thinning
from edge_agent.spool.files import connect
from edge_agent.spool.room import Limits
from edge_agent.spool.schema import key_of
from edge_agent.spool.store import Store
from edge_agent.spool.thinning import QUERIES
from edge_agent.spool.values import Row, Stamp
from tests.support.desk import declared
from tests.support.play import IDENTITY

CAMERAS = ("gate", "alley", "river")
QUOTA = 3_500_000  # some 170 pictures of one block each


def row(kind: str, rank: Rank, stamp: Stamp, camera: str | None, jpeg: bytes | None = None) -> Row:
    return Row(kind=kind, rank=rank, stamp=stamp, data=b'{"n":1}', camera=camera, jpeg=jpeg)


@dataclass
class Hub:
    """What a hub has been told."""

    seqs: set[int] = field(default_factory=set)  # committed
    gone: set[int] = field(default_factory=set)
    minutes: set[tuple[str, str, int]] = field(default_factory=set)

    def take(self, records: list[Stored]) -> None:
        for stored in records:
            self.seqs.add(stored.seq)
            if stored.kind == "journal.thinned":
                body = json.loads(stored.data)
                for low, high in body["ranges"]:
                    self.gone |= set(range(low, high + 1))
                for track in body["tracks"]:
                    if track["rank"] == "picture":
                        self.minutes |= {
                            (track["camera"], boot, minute)
                            for boot, ranges in track["minutes"].items()
                            for low, high in ranges
                            for minute in range(low, high + 1)
                        }


@dataclass
class Box:
    """A store and all that was ever put into it."""

    folder: Path | None = None
    quota: int = QUOTA
    now: float = 100.0
    boot: int = 0
    pictures: dict[int, tuple[str, str, float]] = field(default_factory=dict)  # seq: camera, when
    hub: Hub = field(default_factory=Hub)

    def __post_init__(self) -> None:
        self.store = self.open()

    def open(self) -> Store:
        path = ":memory:"
        if self.folder is not None:
            (self.folder / "pictures").mkdir(parents=True, exist_ok=True)
            path = str(self.folder / "journal.db")
        limits = Limits(folder=self.folder, quota_bytes=self.quota)
        return Store(connect(path), limits, self.stamp)

    def stamp(self, at: float | None = None) -> Stamp:
        at = self.now if at is None else at
        return Stamp(boot=f"boot-{self.boot}", at=at, wall_s=1e9 + at, trusted=True)

    def note(self, kind: str, rank: Rank, camera: str | None = None) -> None:
        self.store.write([row(kind, rank, self.stamp(), camera)])

    def minute(self, number: int = 1) -> None:
        for _ in range(number):
            self.now += 60.0
            stamp = self.stamp()
            shown = [row("snapshot", Rank.PICTURE, stamp, name, bytes(3_000)) for name in CAMERAS]
            self.store.write(shown)
            for n, name in enumerate(reversed(CAMERAS)):
                self.pictures[self.store.last_seq - n] = (name, stamp.boot, stamp.at)

    def held(self) -> list[Stored]:
        out: list[Stored] = []
        for camera, audit in ((None, True), (None, False), *((name, False) for name in CAMERAS)):
            fetch = Fetch(
                lane=Lane.LIVE,
                after=0,
                upto=None,
                limit=10**6,
                limit_bytes=10**9,
                camera=camera,
                audit=audit,
            )
            out += self.store.fetch(fetch, (), lambda: False).records
        return out

    def settle(self, low: int, high: int) -> None:
        """The hub has committed everything, and acknowledges some of it."""
        self.hub.take(self.held())
        left = self.store.write((), settled=((low, high),))
        while left:
            left = self.store.write((), settled=left)

    def reboot(self) -> None:
        self.boot += 1
        self.now = 30.0

    def judge(self) -> None:
        """Nothing is lost, nothing is told as gone that is here, and the minutes are right to the minute."""
        held = self.held()
        before = set(self.hub.seqs)
        self.hub.take(held)
        here = {stored.seq for stored in held}
        assert not here & self.hub.gone
        assert here | before | self.hub.gone == set(range(1, self.store.last_seq + 1))
        missing = set(self.pictures) - here - (before - self.hub.gone)
        lost = {self.pictures[seq] for seq in missing}
        assert {(c, boot, int(at // 60)) for c, boot, at in lost} <= self.hub.minutes
        gone = {self.pictures[seq] for seq in self.pictures if seq in self.hub.gone}
        assert self.hub.minutes == {(c, boot, int(at // 60)) for c, boot, at in gone}


@pytest.fixture(scope="module", params=[8, 1_024], autouse=True)
def band(request: pytest.FixtureRequest) -> Iterator[None]:
    """Bands so short that they are joined all the time as well."""
    patch = pytest.MonkeyPatch()
    patch.setattr(thinning, "BAND", request.param)
    patch.setattr(thinning, "SMALL", 1_200 if request.param == 8 else thinning.SMALL)
    yield
    patch.undo()


THINGS = st.lists(
    st.tuples(
        st.sampled_from(["minutes", "minutes", "minutes", "metrics", "event", "settle", "reboot"]),
        st.integers(0, 100),
        st.integers(1, 40),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(THINGS)
def test_what_is_gone_is_declared_and_nothing_else_whatever_happens(things):
    box = Box()
    box.minute(55)
    for what, where, number in things:
        match what:
            case "minutes":
                box.minute(number)
            case "metrics":
                for _ in range(number):
                    box.note("box.metrics", Rank.METRIC)
            case "event":
                box.note("gate.changed", Rank.AUDIT, CAMERAS[number % 3])
            case "settle":
                low = box.store.last_seq * where // 100
                box.settle(low, low + 3 * number)
            case _:
                box.reboot()
    box.judge()
    box.store.close()


def test_tombstones_take_as_little_as_what_is_left():
    box = Box()
    box.minute(900)
    stones = [stored for stored in box.held() if stored.kind == "journal.thinned"]
    kept = sum(stored.jpeg is not None for stored in box.held())
    assert kept > 100
    assert sum(len(stored.data) for stored in stones) < 60 * kept + 1_500 * len(stones)
    assert len(stones) < 40, "small neighbours have become one"
    box.judge()
    box.store.close()


def test_a_restart_changes_nothing_of_what_is_kept_or_declared(tmp_path: Path):
    box = Box(tmp_path / "journal")
    box.minute(70)
    box.note("gate.changed", Rank.AUDIT, "gate")
    near = box.now
    for _ in range(3):
        box.store.close()
        box.store = box.open()
        box.reboot()
        box.minute(70)
    box.judge()
    boots = {stored.boot for stored in box.held() if stored.jpeg}
    assert boots == {"boot-0", "boot-1", "boot-2", "boot-3"}
    gate = [stored.at for stored in box.held() if stored.camera == "gate" and stored.jpeg]
    assert near in gate, "what was near an event still is, after three restarts"
    box.store.close()


@pytest.mark.parametrize("kind", ["gate.changed", "finding.raised"])
def test_pictures_on_both_sides_of_an_event_outlive_the_others(kind):
    box = Box()
    box.minute(20)
    box.note(kind, Rank.AUDIT, "gate")
    at = box.now
    box.minute(300)
    gate = [stored.at for stored in box.held() if stored.jpeg and stored.camera == "gate"]
    alley = [stored.at for stored in box.held() if stored.jpeg and stored.camera == "alley"]
    # All five, but for the moments when whatever is left lies evenly: then the longest gap counts for more.
    assert sum(abs(when - at) <= NEAR_S for when in gate) >= 3
    assert sum(abs(when - at) <= NEAR_S for when in alley) <= 1
    box.store.close()


def test_a_tombstone_is_no_event():
    box = Box()
    box.minute(100)
    assert any(stored.kind == "journal.thinned" for stored in box.held())
    box.note("journal.reopened", Rank.AUDIT, "gate")
    sql = "SELECT count(*) FROM mark WHERE why & 1"
    (marked,) = box.store._c.execute(sql).fetchone()
    assert marked == 0
    box.store.close()


def _arrived(stored: Stored) -> wire.Arrived:
    """As a hub reads it."""
    message = wire.batch(IDENTITY, wire.LIVE, [wire.event(IDENTITY, stored)])
    arrived = wire.arrived_batch(message.payload, wire.prefix(IDENTITY))
    assert not isinstance(arrived, wire.Fault)
    return arrived[0]


def test_tombstones_that_move_to_another_store_declare_nothing_of_that(tmp_path: Path):
    """The seqs that they name are others there: a hub that took them for gone would have the box delete what it never got."""
    ring, disk = Box(), Box(tmp_path)
    ring.minute(100)
    purge = Purge(since_at=ring.now, reason="switch")
    ring.store.purge(purge, "boot-0", (), until_at=math.inf)
    stones = [stored for stored in ring.held() if stored.kind in wire.TOMBSTONES]
    assert {stored.kind for stored in stones} == wire.TOMBSTONES
    assert all(wire.accounted_for(_arrived(stored)) for stored in stones)
    ring.store.pour_into(disk.store, records=50, size=10**6)
    moved = [stored for stored in disk.held() if stored.kind in wire.TOMBSTONES]
    foreign = [s for s in moved if json.loads(s.data)["epoch"] == ring.store.epoch]
    assert [stored.data for stored in foreign] == [stored.data for stored in stones]
    assert not [stored for stored in foreign if wire.accounted_for(_arrived(stored))]
    ring.store.close()
    disk.store.close()


def test_a_tombstone_that_was_altered_is_not_repeated(tmp_path: Path):
    box = Box(tmp_path)
    box.minute(100)
    low, seq = box.store._c.execute("SELECT low, seq FROM stone ORDER BY low").fetchone()
    key = key_of(int(Rank.AUDIT), seq)
    (data,) = box.store._c.execute("SELECT data FROM record WHERE key = ?", (key,)).fetchone()
    lie = json.dumps({**json.loads(data), "ranges": [[1, 3]]}).encode()
    box.store._c.execute("UPDATE record SET data = ? WHERE key = ?", (lie, key))
    box.minute(60)
    (again,) = box.store._c.execute("SELECT seq FROM stone WHERE low = ?", (low,)).fetchone()
    assert again > seq, "more went there"
    assert {1, 2, 3} <= {stored.seq for stored in box.held()}, "the first of each camera stays"
    told = [stored for stored in box.held() if stored.kind == "journal.thinned"]
    assert not declared(told) & {1, 2, 3}
    (damaged,) = (s for s in told if json.loads(s.data)["reason"] == "damaged")
    assert declared([damaged]) == {seq}
    box.store.close()


def test_a_press_leaves_no_marks_behind():
    box = Box()
    box.minute(3)
    box.note("gate.changed", Rank.AUDIT, "gate")
    box.store.purge(Purge(since_at=0.0, reason="switch"), "boot-0", (), until_at=math.inf)
    (marked,) = box.store._c.execute("SELECT count(*) FROM mark").fetchone()
    assert marked == 0
    box.store.close()


@pytest.mark.parametrize("name", QUERIES)
def test_no_statement_of_thinning_walks_over_all_records(name):
    box = Box(quota=10**9)
    sql, values = QUERIES[name]
    plan = box.store._c.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    assert plan
    assert not [line for *_, line in plan if line.startswith("SCAN")], plan
    box.store.close()
