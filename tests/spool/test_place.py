"""Of which place a store is: said so that it is read back exactly, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.settings import Identity
from edge_agent.spool.place import PLACE_FILE, identity_of, place_of, said_beside, say_beside

LEVEL = st.text("abz09-", min_size=1, max_size=48)
IDENTITY = st.builds(Identity, kelurahan=LEVEL, rw=LEVEL, rt=LEVEL, box=LEVEL)


@given(IDENTITY, IDENTITY)
def test_a_place_is_read_back_and_no_two_places_are_said_alike(one, other):
    assert identity_of(place_of(one)) == one
    assert (place_of(one) == place_of(other)) == (one == other)


@pytest.mark.parametrize(
    "raw", [b"", b"a_b_c", b"a_b_c_d_e", b"a_b_../c_d", b"A_b_c_d", b"a_b_c_\xff"]
)
def test_what_is_no_place_is_none(raw):
    assert identity_of(raw) is None


def test_what_is_said_beside_a_store_is_read_back_and_nothing_is_said_where_nothing_is(tmp_path):
    assert said_beside(tmp_path) == b""
    say_beside(tmp_path, b"a_b_c_d")
    assert said_beside(tmp_path) == b"a_b_c_d"
    (tmp_path / PLACE_FILE).unlink()
    (tmp_path / PLACE_FILE).mkdir()
    assert said_beside(tmp_path) == b""
