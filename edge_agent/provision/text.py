"""Text as laptops write it: UTF-8 with or without a mark, UTF-16 of Notepad, any line ends.

Not its job: what the text says.
"""

from __future__ import annotations

import codecs
from typing import Final

from edge_agent.core.card import Fault
from edge_agent.core.words import Sentence

_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text_of(raw: bytes, where: str) -> str | Fault:
    """The text with plain line ends, or why there is none. Never shows content."""
    wide = raw.startswith(_WIDE)
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = None if wide else raw[: error.start].count(b"\n") + 1
        return _not_text(where, line)
    if "\0" in text:  # UTF-16 without its mark, or no text at all
        return _not_text(where, text[: text.index("\0")].count("\n") + 1)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_text(where: str, line: int | None) -> Fault:
    return Fault(
        where=where,
        line=line,
        said=Sentence("bukan teks UTF-8", "not UTF-8 text"),
        remedy=Sentence(
            'di Notepad: Simpan sebagai, Encoding "UTF-8"', 'in Notepad: Save as, encoding "UTF-8"'
        ),
    )
