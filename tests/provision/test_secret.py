"""Passwords as people type them."""

from __future__ import annotations

import pytest

from edge_agent.core.card import Fault
from edge_agent.provision.secret import read


@pytest.mark.parametrize(
    "raw",
    [b"pa ss\xc3\xa9", b"\xef\xbb\xbfpa ss\xc3\xa9\r\n\r\n", "pa ssé\r\n".encode("utf-16")],
)
def test_one_line_whatever_the_editor_added(raw):
    assert read(raw, "secrets/x") == "pa ssé\n".encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"one\ntwo",
        b"a\x07b",
        b"\xff",
        b"x" * 1001,
        b"-----BEGIN PRIVATE KEY-----\nsssss",
    ],
)
def test_anything_else_is_told_and_not_shown(raw):
    fault = read(raw, "secrets/x")
    assert isinstance(fault, Fault)
    assert "sssss" not in str(fault)
    assert "two" not in str(fault)
