"""A first night survives a restart, and no text costs more than a night."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.nights import TEXT_MAX, Night, dump, load

NIGHT = Night(ohm=118.8, commissioned_s=1.79e9)


def test_what_was_written_is_read_back():
    known = {"gate": NIGHT, "river": Night(ohm=104.2, commissioned_s=0.0)}
    assert load(dump(known)) == known
    assert load(dump({})) == {}


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b"\xff",
        b"[1]",
        b"{",
        b'{"gate": 118.8}',
        b'{"gate": [118.8]}',
        b'{"gate": ["118.8", 1]}',
        b'{"gate": [true, 1]}',
        b'{"gate": [118.8, false]}',
        b'{"gate": [-1, 1]}',
        b'{"gate": [NaN, 1]}',
        b'{"gate": [118.8, Infinity]}',
        json.dumps({"gate": [10**400, 1]}).encode(),
        b"[" * 100_000,
        b" " * (TEXT_MAX + 1),
    ],
)
def test_what_makes_no_sense_is_left_out(text):
    assert load(text) == {}


def test_one_night_that_makes_no_sense_costs_no_other():
    assert load(b'{"gate": "x", "river": [118.8, 1790000000.0]}') == {"river": NIGHT}


@given(st.binary(max_size=80))
def test_no_text_stops_the_box(text):
    assert isinstance(load(text), dict)
