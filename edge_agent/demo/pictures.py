"""Who plays whom: the pictures that are shipped (edge_agent/demo_pictures), as the demo's cameras show them.

Not its job: hanging them before a camera (street.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edge_agent.demo.street import Shipped
from edge_agent.demo_pictures import ROOM, STREETS

# The first is the one whose cable breaks.
CAMERAS: Final = ("gang-mawar", "jalan-melati", "balai-rt")


def shipped() -> Shipped:
    """Read them. OSError if the package is not whole."""
    cast = dict(zip(CAMERAS, STREETS, strict=True))
    return Shipped(
        streets={camera: _read(street.stream) for camera, street in cast.items()},
        commissioning={camera: _read(street.commission) for camera, street in cast.items()},
        rooms=_read(ROOM),
        rooms_with_text=_read(cast[CAMERAS[0]].room_under_text),
    )


def _read(paths: Iterable[Path]) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)
