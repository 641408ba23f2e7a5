"""What is kept of the switch survives a restart, and damage never gives leave."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.switch_memory import TEXT_MAX, Kept, dump, load

KEPT = Kept(number=7, live=True, tested_s=1_800_000_000, counted_from_s=1_790_000_000)


@pytest.mark.parametrize("kept", [KEPT, Kept(), Kept(live=False), Kept(number=2**53)])
def test_what_was_written_is_read_back(kept: Kept):
    assert load(dump(kept)) == kept


def changed(**members: object) -> bytes:
    return json.dumps({**json.loads(dump(KEPT)), **members}).encode()


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"true",
        dump(KEPT)[:-2],
        changed(v=2),
        changed(live=1),
        changed(live="true"),
        changed(number=True),
        changed(number=-1),
        changed(number=2**53 + 1),
        changed(number=None),
        changed(tested_s=True),
        changed(tested_s=-1),
        changed(tested_s=1.5),
        changed(tested_s=10**13),
        changed(counted_from_s=False),
        changed(counted_from_s=-1),
        changed(more=1),
        b"[" * 900,
        dump(KEPT) + b" " * TEXT_MAX,
    ],
)
def test_damage_gives_no_leave_and_no_press(text: bytes | None):
    assert load(text) == Kept()


@given(st.integers(0, 200), st.integers(0, 255))
def test_one_damaged_byte_never_makes_leave_out_of_private(place: int, byte: int):
    text = bytearray(dump(Kept(number=7, live=False, tested_s=1_800_000_000)))
    text[place % len(text)] = byte
    assert load(bytes(text)).live is not True


@given(st.binary(max_size=80))
def test_no_text_stops_the_box(text: bytes):
    assert load(text) == Kept()
