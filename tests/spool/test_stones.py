"""Tombstones: what several say is what one says that replaces them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import Rank
from edge_agent.core.retention import Track
from edge_agent.spool.stones import KIND, Stone
from edge_agent.spool.values import Gap, Mark, Row, Stamp, minute_of, thinned

NOW = Stamp(boot="boot-9", at=5.0, wall_s=1_800_000_000.0, trusted=True)
GATE, ALLEY = Track(Rank.PICTURE, "gate"), Track(Rank.PICTURE, "alley")
METRICS = Track(Rank.METRIC, None)

Gone = tuple[Track, Mark]


def mark(seq: int | None, *, boot: int = 1, at: float | None = None) -> Mark:
    at = 10.0 * (seq or 0) if at is None else at
    return Mark(seq, f"boot-{boot}", at, 1_700_000_000.0 + at)


def stone(*gone: Gone) -> Stone:
    stones = [Stone.of("no_room", track, [each]) for track, each in gone]
    out = stones[0]
    for each in stones[1:]:
        out = out.join(each)
    return out


def told(row: Row) -> dict[str, object]:
    body = json.loads(row.data)
    assert isinstance(body, dict)
    return body


def seqs(stones: Sequence[Stone]) -> set[int]:
    return {seq for each in stones for low, high in each.ranges for seq in range(low, high + 1)}


def minutes(stones: Sequence[Stone]) -> set[tuple[Track, str, int]]:
    return {
        (track, boot, minute)
        for each in stones
        for track, share in each.shares.items()
        for boot, ranges in share.minutes.items()
        for low, high in ranges
        for minute in range(low, high + 1)
    }


GONE = st.lists(
    st.tuples(
        st.sampled_from([GATE, ALLEY, METRICS]),
        st.builds(
            mark,
            st.one_of(st.none(), st.integers(1, 500)),
            boot=st.integers(1, 3),
            at=st.floats(0, 10_000),
        ),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda one: one[1].seq if one[1].seq is not None else id(one),
)


@given(GONE, st.integers(0, 40))
def test_joined_they_say_what_they_said_apart(gone, cut):
    parts = [each for each in (gone[:cut], gone[cut:]) if each]
    apart = [stone(*each) for each in parts]
    joined = stone(*gone)
    assert joined.join(apart[0]).ranges == joined.ranges
    assert seqs([joined]) == seqs(apart) == {each.seq for _, each in gone if each.seq is not None}
    assert minutes([joined]) == minutes(apart)
    assert minutes([joined]) == {(t, each.boot, minute_of(each.at)) for t, each in gone}
    counted = sum(share.count for share in joined.shares.values())
    assert counted == len(gone)


@given(GONE)
def test_it_is_read_as_it_was_written(gone):
    before = stone(*gone)
    after = Stone.read(before.row(NOW, "e").data)
    assert after is not None
    assert after.row(NOW, "e") == before.row(NOW, "e")
    assert (after.ranges, minutes([after])) == (before.ranges, minutes([before]))


def test_what_it_tells_a_hub():
    whole = stone((GATE, mark(3)), (GATE, mark(5)), (ALLEY, mark(4))).standing_for(9)
    row = whole.row(NOW, "e")
    assert (row.kind, row.rank, row.camera) == (KIND, Rank.AUDIT, None)
    assert told(row) == {
        "reason": "no_room",
        "rank": "picture",
        "camera": None,
        "count": 3,
        "epoch": "e",
        "ranges": [[3, 5], [9, 9]],
        "from_seq": 3,
        "from_boot": "boot-1",
        "from_at": 30.0,
        "from_wall_s": 1_700_000_030.0,
        "to_seq": 5,
        "to_boot": "boot-1",
        "to_at": 50.0,
        "to_wall_s": 1_700_000_050.0,
        "tracks": [
            {"rank": "picture", "camera": "gate", "count": 2, "minutes": {"boot-1": [[0, 0]]}},
            {"rank": "picture", "camera": "alley", "count": 1, "minutes": {"boot-1": [[0, 0]]}},
        ],
    }


def test_a_time_that_is_no_number_is_still_declared():
    lost = Mark(7, "boot-1", math.nan, math.inf)
    again = Stone.read(Stone.of("no_room", GATE, [lost]).row(NOW, "e").data)
    assert again is not None
    assert minutes([again]) == {(GATE, "boot-1", 0)}


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b'{"reason":"no_room","ranges":[[1,1]]}', b"\xff", b"{"],
)
def test_another_tombstone_is_left_as_it_is(data):
    assert Stone.read(data) is None


@pytest.mark.parametrize("key", ["from_at", "to_wall_s", "from_boot", "to_seq"])
def test_a_moment_of_another_kind_makes_it_another_tombstone(key):
    body = told(stone((GATE, mark(3))).row(NOW, "e")) | {key: ["?"]}
    assert Stone.read(json.dumps(body).encode()) is None


def test_it_takes_as_much_as_is_left_between_the_gone_not_as_what_is_gone():
    kept = {97 * n * n % 19_997 for n in range(1, 201)}  # here and there
    gone = [(GATE, mark(seq, at=60.0 * seq)) for seq in range(1, 20_000) if seq not in kept]
    whole = Stone.of("no_room", GATE, [each for _, each in gone])
    size = len(whole.row(NOW, "e").data)
    assert size < 30 * len(kept) + 500
    assert 0.7 * size < whole.weight < 1.5 * size


def test_what_never_reached_the_disk_is_declared_by_the_minute_too():
    gap = Gap.of(mark(None, at=at) for at in (10.0, 50.0, 70.0, 300.0))
    row = thinned(gap, NOW, epoch=None, rank=Rank.PICTURE, camera="gate", reason="slow_disk")
    again = Stone.read(row.data)
    assert told(row)["tracks"] == [
        {"rank": "picture", "camera": "gate", "count": 4, "minutes": {"boot-1": [[0, 1], [5, 5]]}}
    ]
    assert again is not None, "one form for all tombstones"
    assert minutes([again]) == {(GATE, "boot-1", n) for n in (0, 1, 5)}
