"""The journal beside a plain model, whatever happens and in whatever order: put, settle, thin, purge, crash, damage, clock jumps."""

import itertools
import json
import random  # noqa: TID251 - seeded: the same each time
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from edge_agent.core.messages import Committed, Purge, Purged, Rank, Settle, Stored
from edge_agent.spool import check
from tests.torture import damage
from tests.torture.book import Desk, declared, number_of
from tests.torture.things import pictures_in, thing
from tests.torture.writer import QuickClock

KIND = "journal.thinned"
YEAR_S = 365.25 * 86_400


# Whole blocks. A flipped bit may give a record another key: what looks through the store in the background finds that, no reader does.
# Nor is anything of ours left to be held to where the database is gone. tests/torture/damage.py has all of them.
BLOCKS = (
    damage.zeros_in_the_database,
    damage.blocks_of_zeros,
    damage.blocks_of_nonsense,
    damage.first_page_gone,
    damage.cut_off,
    damage.end_of_the_database_gone,
    damage.pictures_gone,
)


class Model(RuleBasedStateMachine):
    """What must hold of a journal after each step.

    Each seq of the present epoch is held, or was settled, or stands in a tombstone, and never two of these but held and settled (a
    crash may bring back what the hub had). A seq names one thing for ever. Order is that of putting. AUDIT is there until it is settled.
    """

    @initialize()
    def begin(self) -> None:
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where a sync costs nothing
        self.home = tempfile.TemporaryDirectory(dir=place)
        self.folders = itertools.count(1)
        self.folder = Path(self.home.name) / "0"
        self.clock = QuickClock("boot-1")
        self.quota = 50_000_000
        self.number = 0
        self.audits: set[int] = set()  # numbers that must be there
        self.pictures: list[tuple[int, float]] = []  # of this boot: number, taken at
        self.purged: set[int] = set()  # numbers
        self.hurt = self.emptied = False  # files were damaged; the database to its last byte
        self.forget()
        self.open()

    def forget(self) -> None:
        """Another epoch: its seqs begin anew."""
        self.names: dict[int, int | None] = {}  # what each seq was seen to be
        self.settled: set[int] = set()
        self.declared: set[int] = set()

    def open(self) -> None:
        self.desk = Desk(self.folder, clock=self.clock, quota_bytes=self.quota)
        self.desk.__enter__()
        self.epoch = self.desk.last(Committed).epoch

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.desk.spool.close()
            self.home.cleanup()

    @rule(count=st.integers(1, 40))
    def put(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            it, at = thing(self.number), self.clock.now()
            if it.rank is Rank.PICTURE:
                self.desk.spool.keep_picture(it.released(at))
                self.pictures.append((it.number, at))
            else:
                self.desk.spool.keep(it.record(at))
            if it.rank is Rank.AUDIT:
                self.audits.add(it.number)
        self.settle_down()

    def settle_down(self) -> None:
        """Let the writer come to an end of what it has to do: a question is answered after what is due."""
        self.clock.skip(1.1)
        self.desk.ask(limit=1)

    @rule(
        ranges=st.lists(st.tuples(st.integers(-3, 900), st.integers(-3, 900)), max_size=4),
        deleted=st.booleans(),
    )
    def settle(self, ranges: list[tuple[int, int]], deleted: bool) -> None:
        last = self.desk.last(Committed).last_seq
        self.desk.spool.settle(Settle(epoch=self.epoch, ranges=(*ranges, (last + 5, 10**25))))
        for low, high in ranges:
            self.settled |= set(range(max(1, low), min(high, last) + 1))
        gone = {self.names.get(seq) for seq in self.settled}
        self.audits -= {number for number in gone if number is not None}
        self.desk.ask(limit=1)  # what comes later is not meant
        if deleted:
            self.clock.skip(6)
            self.settle_down()

    @rule()
    def a_watermark_of_another_epoch(self) -> None:
        self.desk.spool.settle(Settle(epoch="f" * 32, ranges=((1, 10**9),)))
        self.clock.skip(6)
        self.settle_down()

    @rule(quota=st.sampled_from([2_500_000, 4_000_000, 50_000_000]))
    def another_quota(self, quota: int) -> None:
        self.desk.spool.close()
        assert self.hurt or check(str(self.folder)) == ()
        self.quota = quota
        self.open()

    @rule(reboot=st.booleans())
    def crash(self, reboot: bool) -> None:
        """What a kill leaves: the files as they are. What was deleted a moment ago may be back."""
        self.move()
        if reboot:
            self.clock.boot = f"boot-{self.folder.name}"
            self.pictures.clear()
        self.open()

    def move(self) -> None:
        copy = Path(self.home.name) / str(next(self.folders))
        shutil.copytree(self.folder, copy)
        self.desk.spool.close()
        shutil.rmtree(self.folder)
        self.folder = copy

    @rule(years=st.sampled_from([-60, -10, 10]), trusted=st.booleans())
    def the_wall_clock_jumps(self, years: int, trusted: bool) -> None:
        self.clock.wall_at_boot += years * YEAR_S
        self.clock.is_trusted = trusted
        self.settle_down()

    @precondition(lambda self: self.pictures)
    @rule(back=st.integers(1, 30), waiting=st.integers(0, 5))
    def purge(self, back: int, waiting: int) -> None:
        first, since = self.pictures[-min(back, len(self.pictures))]
        meant = {number for number, _ in self.pictures if number >= first}
        for _ in range(waiting):  # not written yet
            self.number += 1
            it, at = thing(self.number), self.clock.now()
            if it.rank is Rank.PICTURE:
                self.desk.spool.keep_picture(it.released(at))
                meant.add(it.number)
            else:
                self.desk.spool.keep(it.record(at))
                self.audits |= {it.number} if it.rank is Rank.AUDIT else set()
        events = len(self.desk.events)
        self.desk.spool.purge(Purge(since_at=since, reason="privacy"))
        self.desk.wait(Purged, since=events)
        self.purged |= meant
        left = meant & pictures_in(self.folder.rglob("*"))
        assert not left, f"bytes of purged pictures are still there: {left}"
        self.settle_down()

    @rule(which=st.integers(0, 10**6), seed=st.integers(0, 10**6))
    def damage(self, which: int, seed: int) -> None:
        """Closed in good order, hurt, opened: what is gone is declared, and all the rest goes on."""
        hurt = BLOCKS[which % len(BLOCKS)]
        self.desk.spool.close()
        hurt(self.folder, random.Random(seed))
        # Less than a page is as good as a new file: nothing in it tells of more.
        self.emptied = (self.folder / damage.FILE).stat().st_size < damage.BLOCK
        self.hurt, known = True, self.epoch
        self.open()
        self.epoch = known  # if it is another one by now, `read` finds out

    def read(self) -> list[Stored]:
        """All there is. Damage may be met at any step after it was done, and is declared by the next reading."""
        records = self.desk.everything()
        while self.hurt and records != (again := self.desk.everything()):
            records = again
        epoch = records[-1].epoch if records else self.desk.last(Committed).epoch
        if epoch != self.epoch:
            assert self.hurt, "another epoch, and nothing was damaged"
            told = "journal.damaged" in {stored.kind for stored in records}
            assert told or self.emptied, "a new epoch, and nobody was told why"
            self.epoch = epoch
            self.forget()
            self.audits &= {number for stored in records if (number := number_of(stored))}
        return records

    @invariant()
    def all_is_accounted_for(self) -> None:
        if not hasattr(self, "desk"):
            return
        records = self.read()
        assert {stored.epoch for stored in records} <= {self.epoch}
        held = {stored.seq: number_of(stored) for stored in records}
        assert -1 not in held.values(), "not to the bit"
        for seq, number in held.items():
            assert self.names.setdefault(seq, number) == number, "a seq that was given twice"
        now_declared = declared(records)
        self.declared |= now_declared
        assert not now_declared & held.keys(), "declared, and there"
        numbers = [number for number in held.values() if number is not None]
        if not self.hurt:  # what is salvaged comes back records first
            assert numbers == sorted(set(numbers)), "out of order, or twice"
        assert len(numbers) == len(set(numbers)), "twice"
        opened = self.desk.last(Committed)  # of an earlier epoch, if damage was met while reading
        last = max([opened.last_seq if opened.epoch == self.epoch else 0, *held])
        missing = set(range(1, last + 1)) - held.keys() - self.settled - self.declared
        assert not missing, f"gone without a word: {sorted(missing)[:10]}"
        assert not self.declared - set(range(1, last + 1)), "declared, and never given"
        lost = {self.names.get(seq) for seq in self.declared} if self.hurt else set()
        assert self.audits <= {*numbers, *lost}, "AUDIT is never thinned"
        assert not self.purged & set(numbers), "purged, and shown"
        for stored in records:
            if stored.kind == KIND:
                assert json.loads(stored.data)["count"] >= 0


TestModel = Model.TestCase
TestModel.settings = hypothesis_settings(
    max_examples=25, stateful_step_count=20, deadline=None, derandomize=True
)
TestModel = pytest.mark.timeout(600)(TestModel)
