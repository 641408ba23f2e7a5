"""What a fetch gets, against a plain list of what was put in: asked in steps of any size, all of it comes once and in order."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import Fetch, Lane, Rank, Stored
from edge_agent.spool.files import connect
from edge_agent.spool.room import Limits
from edge_agent.spool.schema import key_of
from edge_agent.spool.store import Store
from edge_agent.spool.values import Row, Stamp, end_of_cover, merged
from tests.support.desk import declared

STAMP = Stamp(boot="b", at=1.0, wall_s=1.0, trusted=True)
KINDS: tuple[tuple[Rank, str | None], ...] = (
    (Rank.AUDIT, None),
    (Rank.STATE, None),
    (Rank.METRIC, None),
    (Rank.PICTURE, "alley"),
    (Rank.PICTURE, "gate"),
)
ROWS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 300)), max_size=60)
RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=4).map(
    lambda spans: merged((low, low + length) for low, length in spans)
)
SELECTIONS = st.sampled_from([("", True), ("", False), ("alley", False), ("gate", False)])


def kept(rows: list[tuple[tuple[Rank, str | None], int]]) -> Store:
    """In memory; the n-th of *rows* has seq n."""
    store = Store(connect(":memory:"), Limits(folder=None, quota_bytes=10**9), lambda: STAMP)
    for (rank, camera), size in rows:
        jpeg = bytes(size) if rank is Rank.PICTURE else None
        data = b"{}" + b" " * (size if jpeg is None else 0)
        store.write([Row(kind="t", rank=rank, stamp=STAMP, data=data, camera=camera, jpeg=jpeg)])
    assert store.last_seq == len(rows)
    return store


def asked(
    after: int = 0,
    *,
    limit: int = 100,
    limit_bytes: int = 10**6,
    upto: int | None = None,
    camera: str | None = None,
    audit: bool = False,
    seqs: tuple[int, ...] = (),
) -> Fetch:
    return Fetch(
        lane=Lane.LIVE,
        after=after,
        upto=upto,
        limit=limit,
        limit_bytes=limit_bytes,
        camera=camera,
        audit=audit,
        seqs=seqs,
    )


def size_of(stored: Stored) -> int:
    return len(stored.data) + len(stored.jpeg or b"")


def impatient(looks: Iterator[bool]) -> Callable[[], bool]:
    """Time that is up at the looks that say so."""
    return lambda: next(looks, False)


@given(
    rows=ROWS,
    hidden=RANGES,
    selection=SELECTIONS,
    bounds=st.tuples(st.integers(1, 7), st.integers(0, 900), st.none() | st.integers(-1, 70)),
    looks=st.lists(st.booleans(), max_size=20),
)
def test_asked_again_and_again_all_that_is_shown_comes_once_and_in_order(
    rows, hidden, selection, bounds, looks
):
    limit, limit_bytes, upto = bounds
    camera, audit = selection
    wanted = {
        (True, ""): {Rank.AUDIT},
        (False, ""): {Rank.STATE, Rank.METRIC},
    }.get((audit, camera), {Rank.PICTURE})
    model = [
        seq
        for seq, ((rank, of), _) in enumerate(rows, 1)
        if rank in wanted
        and (rank is not Rank.PICTURE or of == camera)
        and end_of_cover(hidden, seq) is None
        and (upto is None or seq <= upto)
    ]
    spent = impatient(iter(looks))
    store, got, after, end = kept(rows), [], 0, False
    while not end:
        fetch = asked(
            after,
            limit=limit,
            limit_bytes=limit_bytes,
            upto=upto,
            camera=camera or None,
            audit=audit,
        )
        found = store.fetch(fetch, hidden, spent)
        records, end = found.records, found.end
        assert len(records) <= limit
        assert len(records) < 2 or sum(map(size_of, records)) <= limit_bytes
        assert end or records, "a step that brings nothing and is not the last would be for ever"
        got += [stored.seq for stored in records]
        after = got[-1] if got else 0
    assert got == model
    store.close()


@given(rows=ROWS, hidden=RANGES, data=st.data())
def test_records_asked_for_by_number_come_as_far_as_they_are_there_and_shown(rows, hidden, data):
    seqs = tuple(data.draw(st.lists(st.integers(-1, 70), min_size=1, max_size=20)))
    after = data.draw(st.integers(0, 30))
    store = kept(rows)
    found = store.fetch(asked(after, seqs=seqs), hidden, lambda: False)
    assert [stored.seq for stored in found.records] == [
        seq
        for seq in sorted(set(seqs))
        if after < seq <= len(rows) and end_of_cover(hidden, seq) is None
    ]
    assert found.end
    store.close()


@pytest.mark.parametrize("selection", [("", True), ("", False), ("gate", False)])
@given(bad=st.sets(st.integers(1, 12), max_size=12), limit=st.integers(1, 5))
def test_what_is_damaged_is_declared_once_and_hides_nothing(selection, bad, limit):
    camera, audit = selection
    rank = Rank.PICTURE if camera else Rank.AUDIT if audit else Rank.STATE
    store = kept([((rank, camera or None), 10)] * 12)
    (shelf,) = store._held
    for seq in bad:
        store._c.execute("UPDATE record SET data = x'5b' WHERE key = ?", (key_of(shelf, seq),))
    got: list[int] = []
    for _ in range(40):
        after = got[-1] if got else 0
        fetch = asked(after, limit=limit, camera=camera or None, audit=audit, upto=12)
        found = store.fetch(fetch, (), lambda: False)
        got += [stored.seq for stored in found.records]
        if found.end:
            break
    assert got == sorted(set(range(1, 13)) - bad)
    audits = asked(12, audit=True)
    assert declared(list(store.fetch(audits, (), lambda: False).records)) == bad
    store.close()
