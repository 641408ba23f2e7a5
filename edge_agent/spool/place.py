"""Of which place a store is: the one under whose topics its records go out.

Promises: it is said twice, by a fact in the store and by a file beside it, so that one damaged page does not make a store everybody's.
Not its job: what follows when it is another place than the box's (parked.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from edge_agent import whole
from edge_agent.core.settings import Identity

PLACE: Final = "store.place"
PLACE_FILE: Final = "journal.place"
_LEVEL: Final = r"([a-z0-9-]{1,48})"
_NAME: Final = re.compile("_".join([_LEVEL] * 4))  # no level holds a "_"
_BYTES_MAX: Final = 1_000


def place_of(identity: Identity) -> bytes:
    """As a store says it."""
    return f"{identity.kelurahan}_{identity.rw}_{identity.rt}_{identity.box}".encode()


def identity_of(place: bytes) -> Identity | None:
    """What a store said; None: it cannot be read any more."""
    found = _NAME.fullmatch(place.decode("ascii", "replace"))
    if found is None:
        return None
    kelurahan, rw, rt, box = found.groups()
    return Identity(kelurahan=kelurahan, rw=rw, rt=rt, box=box)


def said_beside(folder: Path) -> bytes:
    """The place of the store in *folder* by the file beside it; empty: nothing is said."""
    try:
        return (folder / PLACE_FILE).read_bytes()[:_BYTES_MAX].strip()
    except OSError:
        return b""


def say_beside(folder: Path, place: bytes) -> None:
    """Name the place of the store in *folder* beside it. OSError."""
    whole.write(folder / PLACE_FILE, place)
