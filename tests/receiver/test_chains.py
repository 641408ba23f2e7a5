"""The audit chain at the hub: a history that was changed is said, and an honest one is not, in whatever order it comes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import wire
from edge_agent.core.messages import Json
from edge_agent.receiver.chains import GENESIS, Chains
from edge_agent.receiver.ranges import Ranges
from tests.support.contract import IDENTITY, chained

BOX = wire.prefix(IDENTITY)


def arrived(stored: Any) -> wire.Arrived:
    """As it comes over the wire."""
    found = wire.arrived_batch(f"[{wire.event(IDENTITY, stored)}]".encode(), BOX)
    assert not isinstance(found, wire.Fault)
    return found[0]


def link(
    number: int, previous: str, *, seq: int | None = None, epoch: str = "9f2c", **more: Any
) -> wire.Arrived:
    seq = number * 10 if seq is None else seq
    chain: dict[str, Json] = {
        "epoch": epoch,
        "n": number,
        "previous": previous,
        "seq": str(seq),
        **more,
    }
    data: dict[str, Json] = {"before": "held", "after": "open", "score": 2.31}
    return arrived(chained(seq, "gate.changed", data, chain))


def hash_of(record: wire.Arrived) -> str:
    found: str = json.loads(record.data)["chain"]["hash"]
    return found


def honest(length: int) -> list[wire.Arrived]:
    chain, previous = [], GENESIS
    for number in range(1, length + 1):
        chain.append(link(number, previous))
        previous = hash_of(chain[-1])
    return chain


HONEST = honest(12)


def breaks(*records: wire.Arrived, kept: Ranges | None = None) -> tuple[str, ...]:
    chains = Chains()
    for record in records:
        chains.take(record)
    return chains.breaks({"9f2c": kept or Ranges()})


def changed(record: wire.Arrived, **data: Any) -> wire.Arrived:
    return dataclasses.replace(
        record, data=json.dumps({**json.loads(record.data), **data}, separators=(",", ":"))
    )


@given(st.permutations([*range(12), 3, 4, 5]))
def test_an_honest_chain_holds_in_any_order_and_twice(order: list[int]) -> None:
    assert breaks(*(HONEST[place] for place in order)) == ()


def test_a_chain_that_the_hub_knows_from_the_middle_on_holds() -> None:
    assert breaks(*honest(6)[3:]) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda one: changed(one, after="held"),
        lambda one: dataclasses.replace(one, at=one.at + 1),
        lambda one: dataclasses.replace(one, camera="bridge"),
        lambda one: dataclasses.replace(one, boot="other"),
        lambda one: dataclasses.replace(one, kind="gate.opened"),
    ],
)
def test_an_entry_that_was_changed_does_not_hold(change: Any) -> None:
    one, two, three = honest(3)
    assert breaks(one, change(two), three) == ("entry 2 of 9f2c: its hash does not hold",)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_history_written_anew_does_not_fit(order: tuple[int, ...]) -> None:
    one, two, _ = honest(3)
    anew = link(3, hash_of(link(2, hash_of(one), note="rewritten")))
    told = [(one, two, anew)[place] for place in order]
    assert breaks(*told) == ("entry 3 of 9f2c: does not follow the one before it",)


def test_two_entries_with_one_name_are_said() -> None:
    one, two = honest(2)
    assert breaks(one, two, link(2, hash_of(one), note="another")) == (
        "entry 2 of 9f2c: came with two contents",
    )


def test_a_first_entry_has_nothing_before_it() -> None:
    assert breaks(link(1, "5" * 64)) == ("entry 1 of 9f2c: is the first, and names one before it",)


def test_a_hole_is_said_once_all_around_it_has_come() -> None:
    one, two, three, four = honest(4)
    waiting, whole = Ranges(), Ranges()
    for ranges in (waiting, whole):
        ranges.add(10, 10)
        ranges.add(40, 40)
    assert breaks(one, four, kept=waiting) == ()  # seqs 11 to 39 are under way
    whole.add(11, 39)
    assert breaks(one, four, kept=whole) == ("entries 2 to 3 of 9f2c: never came",)
    assert breaks(one, two, three, four, kept=whole) == ()


@pytest.mark.parametrize("first", [True, False])
def test_what_an_entry_says_of_another_journals_end_must_be_so(first: bool) -> None:
    *_, end = honest(3)
    told = {"epoch": "9f2c", "n": 3, "hash": hash_of(end)}
    good = link(1, GENESIS, epoch="new", seq=100, before=told)
    bad = link(1, GENESIS, epoch="new", seq=100, before={**told, "hash": "0" * 64})
    assert breaks(*((end, good) if first else (good, end))) == ()
    assert len(breaks(*((end, bad) if first else (bad, end)))) == 1


@pytest.mark.parametrize(
    "chain", [{}, {"epoch": "9f2c", "n": 0, "hash": "", "previous": ""}, {"epoch": 1, "n": "x"}]
)
def test_a_chain_that_cannot_be_read_is_said(chain: object) -> None:
    assert breaks(changed(honest(1)[0], chain=chain)) == (
        "record 9f2c-10: its chain cannot be read",
    )


@pytest.mark.parametrize("data", ["[]", '"x"', '{"chain":[]}', '{"a":{"chain":{"n":1}}}'])
def test_other_records_are_none_of_its_business(data: str) -> None:
    assert breaks(dataclasses.replace(honest(1)[0], data=data)) == ()


def test_the_breaks_said_are_bounded() -> None:
    assert len(breaks(*(changed(one, after="x") for one in honest(60)))) == 20
