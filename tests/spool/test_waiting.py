"""What waits for the disk: in order, within bounds whatever its rank, and the price of one more never grows."""

import itertools
import math

import pytest

from edge_agent.core.messages import Purge, Rank
from edge_agent.spool.owed import Owed
from edge_agent.spool.values import Gap, Mark, Row, Stamp
from edge_agent.spool.waiting import (
    AUDIT_BYTES,
    AUDIT_RECORDS,
    BATCH_S,
    QUEUE_BYTES,
    QUEUE_RECORDS,
    STATE_RECORDS,
    Batch,
    End,
    Idle,
    PurgeJob,
    Queue,
)


class Hand:
    """A clock that stands."""

    boot = "boot-1"

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at

    def trusted(self) -> bool:
        return True


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def queue(clock: Hand) -> Queue:
    return Queue(clock)


def row(n: int, rank: Rank = Rank.STATE, *, size: int = 20, camera: str | None = None) -> Row:
    stamp = Stamp(boot="boot-1", at=float(n), wall_s=float(n), trusted=True)
    return Row(kind="k", rank=rank, stamp=stamp, data=b"x" * size, camera=camera)


def batch(queue: Queue) -> Batch:
    job = queue.take(owing_at=math.inf, wake_at=-math.inf)
    assert isinstance(job, Batch), job
    return job


def batches(queue: Queue, clock: Hand) -> list[Batch]:
    """All that waits."""
    out = []
    clock.at += BATCH_S
    while isinstance(job := queue.take(owing_at=math.inf, wake_at=-math.inf), Batch):
        out.append(job)
        clock.at += BATCH_S
    return out


def rows_of(found: list[Batch]) -> list[Row]:
    return [row for each in found for row in each.rows]


def shed_of(found: list[Batch]) -> dict[Rank, int]:
    counts: dict[Rank, int] = {}
    for each in found:
        for (rank, _), gap in each.shed.items():
            counts[rank] = counts.get(rank, 0) + gap.count
    return counts


def test_what_waits_leaves_in_the_order_in_which_it_came(queue: Queue, clock: Hand):
    ranks = itertools.cycle([Rank.STATE, Rank.AUDIT, Rank.METRIC, Rank.PICTURE, Rank.AUDIT])
    for n in range(1_200):
        queue.put(row(n, next(ranks)))
    out = rows_of(batches(queue, clock))
    assert [each.stamp.at for each in out] == list(range(1_200))


@pytest.mark.parametrize(
    ("rank", "bounds"),
    [
        (Rank.METRIC, (QUEUE_RECORDS, QUEUE_BYTES)),
        (Rank.PICTURE, (QUEUE_RECORDS, QUEUE_BYTES)),
        (Rank.STATE, (STATE_RECORDS, QUEUE_BYTES)),
        (Rank.AUDIT, (AUDIT_RECORDS, AUDIT_BYTES)),
    ],
)
@pytest.mark.parametrize("length", [10, 20_000])
def test_every_rank_is_bounded_and_what_went_is_declared(
    queue: Queue, clock: Hand, rank: Rank, bounds: tuple[int, int], length: int
):
    records, size = bounds
    fits = min(records, size // row(0, rank, size=length).size)
    count = fits + 777
    for n in range(count):
        queue.put(row(n, rank, size=length))
    found = batches(queue, clock)
    assert [each.stamp.at for each in rows_of(found)] == list(range(777, count)), "the oldest went"
    assert shed_of(found) == {rank: 777}


def test_what_matters_least_goes_first(queue: Queue, clock: Hand):
    for n in range(QUEUE_RECORDS // 2):
        for rank in Rank:
            queue.put(row(n, rank))
    for n in range(QUEUE_RECORDS, STATE_RECORDS + QUEUE_RECORDS):
        queue.put(row(n, Rank.STATE))
    found = batches(queue, clock)
    assert {each.rank for each in rows_of(found)} == {Rank.AUDIT, Rank.STATE}
    audits = [each for each in rows_of(found) if each.rank is Rank.AUDIT]
    assert len(audits) == QUEUE_RECORDS // 2
    shed = shed_of(found)
    assert shed[Rank.METRIC] == shed[Rank.PICTURE] == QUEUE_RECORDS // 2
    kept = len(rows_of(found)) - len(audits)
    assert shed[Rank.STATE] + kept == QUEUE_RECORDS // 2 + STATE_RECORDS
    assert len(rows_of(found)) == STATE_RECORDS


def test_one_more_never_looks_at_all_that_wait(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    """Counted, not timed: each row's length is asked for once as it comes and once as it goes."""
    asked = itertools.count()

    class Counted(Row):
        @property
        def size(self) -> int:
            next(asked)
            return 200

    stamp = Stamp(boot="boot-1", at=1.0, wall_s=1.0, trusted=True)
    total = 3 * STATE_RECORDS
    for _ in range(total):
        queue.put(Counted(kind="k", rank=Rank.STATE, stamp=stamp, data=b""))
    assert total <= next(asked) <= 2 * total


def test_what_is_put_back_comes_first_again_once_it_is_time(queue: Queue, clock: Hand):
    for n in range(5):
        queue.put(row(n, Rank.AUDIT))
    taken = batch(queue)
    queue.put(row(5, Rank.AUDIT))
    queue.put_back(taken.rows[2:], {}, until=clock.at + 10)
    assert isinstance(queue.take(owing_at=math.inf, wake_at=-math.inf), Idle)
    queue.fact("key", b"value")
    only = batch(queue)
    assert (only.rows, dict(only.facts)) == ((), {"key": b"value"}), "a fact need not wait"
    assert isinstance(queue.take(owing_at=math.inf, wake_at=-math.inf), Idle)
    clock.at += 10
    assert [each.stamp.at for each in batch(queue).rows] == [2, 3, 4, 5]


@pytest.mark.parametrize("size", [20, 20_000], ids=["many", "long"])
def test_what_is_to_be_remembered_is_written_with_the_last_record_before_it_and_not_sooner(
    queue: Queue, clock: Hand, size: int
):
    for n in range(700):
        queue.put(row(n, Rank.AUDIT, size=size))
    queue.fact("key", b"value")
    found: list[Batch] = []
    while not found or not found[-1].facts:
        queue.put(row(1_000, Rank.AUDIT, size=size))  # what comes later keeps it from nothing
        found.append(batch(queue))
        assert found[-1].urgent
    before = [each.stamp.at for each in rows_of(found)]
    assert before[:700] == list(range(700))
    assert len(rows_of(found[:-1])) < 700 <= len(before)
    assert dict(found[-1].facts) == {"key": b"value"}
    assert all(not each.facts for each in batches(queue, clock))


def test_what_the_disk_took_ahead_of_records_is_told_again_with_them(queue: Queue, clock: Hand):
    for n in range(5):
        queue.put(row(n, Rank.AUDIT))
    queue.fact("early", b"value")
    queue.fact("changed", b"old")
    taken = batch(queue)
    assert taken.in_turn
    queue.put_back(taken.rows[2:], {}, until=clock.at + 10, ahead=taken.facts)
    queue.fact("late", b"value")
    queue.fact("changed", b"new")
    held = batch(queue)
    assert (held.in_turn, held.rows) == (False, ())
    assert dict(held.facts) == {"late": b"value", "changed": b"new"}
    assert isinstance(queue.take(owing_at=math.inf, wake_at=-math.inf), Idle), "no spinning"
    clock.at += 10
    again = batch(queue)
    assert [each.stamp.at for each in again.rows] == [2, 3, 4]
    assert (again.in_turn, dict(again.facts)) == (True, {}), "nothing is written twice"
    assert dict(again.ahead) == {"early": b"value", "late": b"value", "changed": b"new"}
    queue.put_back(again.rows, {}, until=clock.at, ahead=again.ahead)
    assert dict(batch(queue).ahead) == dict(again.ahead), "and so each time it is refused"
    assert batches(queue, clock) == []


def test_behind_what_is_dropped_on_the_way_out_nothing_is_in_its_turn(queue: Queue):
    queue.put(row(1, Rank.AUDIT))
    queue.fact("early", b"value")
    taken = batch(queue)
    queue.close()
    queue.fact("late", b"value")
    queue.put_back(taken.rows, {}, until=math.inf, ahead=taken.facts)
    last = batch(queue)
    assert (last.in_turn, dict(last.ahead)) == (False, {})
    assert dict(last.facts) == {"late": b"value"}
    assert [(key, gap.count) for key, gap in last.shed.items()] == [((Rank.AUDIT, None), 1)]
    assert isinstance(queue.take(owing_at=math.inf, wake_at=-math.inf), End)


def test_what_is_to_be_remembered_alone_is_written_at_once_and_once(queue: Queue):
    queue.fact("key", b"old")
    queue.fact("key", b"value")
    assert dict(batch(queue).facts) == {"key": b"value"}
    assert isinstance(queue.take(owing_at=math.inf, wake_at=-math.inf), Idle)


def test_a_picture_that_the_disk_refused_goes_with_a_purge_that_came_meanwhile(
    queue: Queue, clock: Hand
):
    for n in range(3):
        queue.put(row(n, Rank.AUDIT))
        queue.put(row(10 + n, Rank.PICTURE, camera="gate"))
    taken = batch(queue)
    queue.put(row(20, Rank.PICTURE, camera="alley"))
    # Nobody pressed: the switch could not be read any more, so that no count of presses voids it.
    queue.purge(Owed(Purge(since_at=0.0, reason="privacy"), "boot-1", clock.at))
    queue.put_back(taken.rows[2:], {}, until=clock.at + 10)
    job = queue.take(owing_at=math.inf, wake_at=-math.inf)
    assert isinstance(job, PurgeJob)
    assert [each.stamp.at for each in job.dropped] == [11, 12, 20]
    assert all(each.data == b"" for each in job.dropped)
    clock.at += 10
    assert [each.stamp.at for each in rows_of(batches(queue, clock))] == [1, 2]


def test_tombstones_that_were_put_back_are_told_with_later_ones(queue: Queue, clock: Hand):
    early = Gap.of([Mark(None, "boot-1", 60.0 * n, 60.0 * n) for n in range(3)])
    for n in range(QUEUE_RECORDS + 4):
        queue.put(row(1_000 + n, Rank.METRIC))
    queue.put_back((), {(Rank.METRIC, None): early}, until=clock.at)
    (gap,) = [gap for each in batches(queue, clock) for gap in each.shed.values()]
    assert gap.count == 3 + 4
    assert gap.first is not None
    assert gap.last is not None
    assert (gap.first.at, gap.last.at) == (0.0, 1_003.0)
    assert gap.minutes["boot-1"] == [(0, 2), (16, 16)]


def test_on_the_way_out_what_the_disk_refuses_is_told_last(queue: Queue, clock: Hand):
    for n in range(700):
        queue.put(row(n, Rank.AUDIT))
    queue.put_back(batch(queue).rows, {}, until=clock.at + 10)
    queue.close()
    refused = batch(queue)
    assert refused.rows, "one more try"
    queue.put_back(refused.rows, refused.shed, until=clock.at + 10)
    last = batch(queue)
    assert last.rows == ()
    assert shed_of([last]) == {Rank.AUDIT: 700}
    assert isinstance(queue.take(owing_at=math.inf, wake_at=-math.inf), End)


def test_months_of_what_was_dropped_take_no_more_memory_than_their_breaks():
    gap = Gap.of(Mark(None, "b", 60.0 * n, 0.0) for n in range(5_000) if n % 1_000 != 999)
    assert gap.minutes["b"] == [(n, n + 998) for n in range(0, 5_000, 1_000)]
    gap.add(Mark(None, "b", 0.0, 0.0))
    assert gap.minutes["b"][-1] == (0, 0), "out of order is told too"
