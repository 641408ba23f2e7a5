"""One file below secrets/: a password as a person typed it into an editor, as the agent will read it.

Promises: what comes out is one line without marks and line ends; nothing of it is ever shown.
Not its job: which secrets are needed (box.py).
"""

from __future__ import annotations

from typing import Final

from edge_agent.core.card import Fault
from edge_agent.core.words import Sentence
from edge_agent.provision.hub import holds_key, key_fault
from edge_agent.provision.text import text_of

_MAX: Final = 1_000  # characters; no camera takes as many
_ONE_LINE: Final = Sentence(
    "tulis kata sandi saja, satu baris, tanpa apa pun di bawahnya",
    "write the password alone, in one line, with nothing below it",
)


def read(raw: bytes, where: str) -> bytes | Fault:
    """What to keep of *raw*."""
    if holds_key(raw):
        return key_fault(where)
    text = text_of(raw, where)
    if isinstance(text, Fault):
        return text
    line = text.rstrip("\n")
    if not line:
        return Fault(where=where, said=Sentence("berkas kosong", "an empty file"), remedy=_ONE_LINE)
    if len(line) > _MAX or not line.isprintable():
        said = Sentence("bukan satu baris teks", "not one line of text")
        return Fault(where=where, said=said, remedy=_ONE_LINE)
    return line.encode() + b"\n"
