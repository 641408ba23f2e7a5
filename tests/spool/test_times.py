"""One number per boot puts its labels right, and no more than that."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import Committed, CorrectTimes, Rank, Stored
from edge_agent.spool.times import BOOTS, Times
from tests.support.desk import Desk, HandClock


def stored(*, boot: str = "b1", at: float = 50.0, trusted: bool = False) -> Stored:
    return Stored(
        epoch="e",
        seq=1,
        kind="k",
        rank=Rank.STATE,
        camera=None,
        boot=boot,
        at=at,
        wall_s=7.0,
        trusted=trusted,
        data=b"{}",
    )


def test_a_label_that_nothing_vouched_for_is_put_right_once_the_boot_is_known():
    times = Times().knowing("b1", 1_800_000_000.0)
    right = times.corrected(stored())
    assert (right.wall_s, right.trusted) == (1_800_000_050.0, True)
    assert times.corrected(stored(boot="b2")) == stored(boot="b2")
    assert times.corrected(stored(trusted=True)) == stored(trusted=True)


@given(st.dictionaries(st.text(max_size=40), st.floats(-1e12, 1e12), max_size=20))
def test_what_is_kept_is_read_back(bases):
    assert Times.load(Times(bases).dump()) == Times(bases)


def test_only_the_newest_boots_are_kept_and_a_boot_said_again_counts_as_new():
    times = Times()
    for number in range(BOOTS):
        times = times.knowing(f"b{number}", float(number))
    times = times.knowing("b0", 5.0).knowing("new", 6.0)
    assert len(times.base_s) == BOOTS
    assert "b1" not in times.base_s
    assert (times.base_s["b0"], times.base_s["new"]) == (5.0, 6.0)


@pytest.mark.parametrize(
    "kept", [None, b"", b"\xff", b"[]", b'{"b": true}', b'{"b": NaN}', b'{"b": "1"}']
)
def test_damaged_memory_corrects_nothing(kept):
    assert Times.load(kept).corrected(stored(boot="b")) == stored(boot="b")


def test_of_two_memories_the_newer_is_right_and_neither_is_forgotten():
    old = Times().knowing("b1", 100.0).knowing("b2", 200.0)
    joined = old.joined(Times().knowing("b2", 250.0).knowing("b3", 300.0))
    assert list(joined.base_s.items()) == [("b1", 100.0), ("b2", 250.0), ("b3", 300.0)]
    many = Times({f"old-{n}": 1.0 for n in range(BOOTS)}).joined(Times().knowing("new", 2.0))
    assert len(many.base_s) == BOOTS
    assert "new" in many.base_s


def test_what_was_learnt_without_the_disk_does_not_replace_what_the_disk_knows(tmp_path: Path):
    clock = HandClock("boot-1")
    clock.is_trusted, clock.wall_at_boot = False, 0.0
    with Desk(tmp_path / "journal", clock=clock) as desk:
        desk.keep(desk.note(1))
        desk.spool.correct(CorrectTimes(boot_wall_s=1_700_000_000.0))
        desk.alarm()
    desk = Desk(tmp_path / "journal", clock=HandClock("boot-2"))
    desk.disk.broken = True
    with desk:
        assert not desk.last(Committed).durable
        desk.spool.correct(CorrectTimes(boot_wall_s=1_800_000_000.0))
        desk.alarm()
        desk.disk.broken = False
        desk.clock.skip(31)
        desk.ask()
        desk.wait(Committed, lambda event: event.durable)
    for boot in ("boot-2", "boot-3"):
        with Desk(tmp_path / "journal", clock=HandClock(boot)) as desk:
            (first,) = (stored for stored in desk.read() if stored.boot == "boot-1")
            assert (first.wall_s, first.trusted) == (1_700_000_000.0 + first.at, True)


class SetWhileRead(HandClock):
    """Set by a time server right after its wall time was read."""

    def wall(self) -> float:
        wall_s = super().wall()
        self.is_trusted, self.wall_at_boot = True, 1_800_000_000.0
        return wall_s


def test_a_clock_set_in_the_middle_does_not_vouch_for_the_time_before_it(tmp_path: Path):
    clock = SetWhileRead()
    clock.is_trusted, clock.wall_at_boot = False, 0.0
    with Desk(tmp_path / "journal", clock=clock) as desk:
        clock.is_trusted, clock.wall_at_boot = False, 0.0
        desk.keep(desk.note(1))
        desk.alarm()
        (found,) = desk.read()
        assert (found.trusted, found.wall_s < 10_000) == (False, True)
