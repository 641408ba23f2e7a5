"""Moments as people write them."""

import pytest

from edge_agent.asked_time import parse

NOW = 1_800_014_400.0  # 2027-01-15 12:00 UTC


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90min", NOW - 5_400),
        ("2h ago", NOW - 7_200),
        (" 3d ", NOW - 259_200),
        ("1w", NOW - 604_800),
        ("999999w", 0.0),
        ("2027-01-15T10:00Z", NOW - 7_200),
        ("2027-01-15T17:00+07:00", NOW - 7_200),
    ],
)
def test_a_moment_is_a_date_or_how_long_ago(text: str, meant: float):
    assert parse("--since", text, NOW) == meant


@pytest.mark.parametrize("text", ["", "yesterday", "2027-13-01", "3 fortnights", "0001-01-01"])
def test_what_is_none_is_named_with_what_to_write(text: str):
    with pytest.raises(ValueError, match=r"--since .*: write 2026-11-20"):
        parse("--since", text, NOW)
