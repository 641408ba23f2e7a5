"""Pictures for the demo and the tests: three streets and a room. Sources, licences and credit: LICENCES.md beside this file.

The streets are photographs (Land Transport Authority, Singapore); the room is drawn (tests/support/room.py), nobody's home.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """One fixed camera. `stream`: pictures close enough in time to follow one another; all lights match `commission`."""

    name: str
    commission: tuple[Path, ...]
    stream: tuple[Path, ...]
    dusk: tuple[Path, ...]
    night: tuple[Path, ...]
    room_under_text: tuple[Path, ...]  # the room as this camera's encoder would label it


def _folder() -> Path:
    return Path(str(files(__name__)))


def _numbered(folder: str, stem: str, *numbers: int) -> tuple[Path, ...]:
    return tuple(_folder() / folder / f"{stem}-{n:02}.jpg" for n in numbers)


def _street(name: str) -> Street:
    return Street(
        name=name,
        commission=_numbered(name, "day", 1, 2, 3, 4, 5),
        # Taken within an hour: more than that apart, sunlight changes most of the picture at once, which no camera shows
        # from one picture to the next, and which rightly counts as a jump.
        stream=(*_numbered(name, "day", 4, 5), *_numbered(name, "dusk", 1)),
        dusk=_numbered(name, "dusk", 1, 2),
        night=_numbered(name, "night", 1, 2, 3),
        room_under_text=_numbered("room", f"{name}-text", 1, 2, 3),
    )


STREETS: Final = tuple(_street(name) for name in ("lta-3702", "lta-8702", "lta-9704"))
ROOM: Final = _numbered("room", "evening", 1, 2, 3, 4, 5, 6)
ROOM_INFRARED: Final = _numbered("room", "infrared", 1, 2)
