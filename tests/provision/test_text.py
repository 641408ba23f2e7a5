"""Files from any editor."""

from __future__ import annotations

import pytest

from edge_agent.core.card import Fault
from edge_agent.provision.text import text_of


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_whatever_notepad_made_of_it_the_text_is_the_same(encoding, end):
    raw = f"a = 1{end}é = 2{end}".encode(encoding)
    if encoding in {"utf-16-le", "utf-16-be"}:
        raw = "\ufeff".encode(encoding) + raw
    assert text_of(raw, "box.toml") == "a = 1\né = 2\n"


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"ok\nname = \xe9\n", 2),  # a Windows code page
        (b"a\0=\0", 1),  # UTF-16 without its mark
        (b"\xff\xfea", None),  # half a character
        (b"\xff\xfe\x00\xd8", None),
        (b"PK\x03\x04\0", 1),
    ],
)
def test_what_is_no_text_is_told_with_its_line(raw, line):
    fault = text_of(raw, "box.toml")
    assert isinstance(fault, Fault)
    assert (fault.where, fault.line) == ("box.toml", line)
