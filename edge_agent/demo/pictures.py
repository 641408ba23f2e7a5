"""The photographs that are shipped with the demo (edge_agent/demo_pictures/LICENCES.md says whose they are).

Promise: a camera's film goes round without a step that looks like another scene, as a street does within two minutes.
Not its job: hanging them before a camera (street.py).
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from edge_agent.demo.street import Photographs

_FOLDER: Final = "demo_pictures"
# Who plays whom. The order of a film was chosen by what changes from one picture to the next, brightness set aside: less
# than half of the points. From 0.6 on the box would say, rightly, that the camera was swapped (core/scene.py).
_FILMS: Final = {
    "gang-mawar": ("lta-3702", ("day-01", "day-02", "day-01", "day-05")),
    "jalan-melati": ("lta-8702", ("day-01", "day-05", "day-04", "day-05")),
    "balai-rt": ("lta-9704", ("day-01", "day-02", "day-03", "day-02")),
}
_ROOMS: Final = ("evening-01", "evening-02", "evening-03", "evening-04", "evening-05", "evening-06")
_ROOMS_WITH_TEXT: Final = ("lta-3702-text-01", "lta-3702-text-02", "lta-3702-text-03")


def shipped() -> Photographs:
    """Read them. OSError if the package is not whole."""
    return Photographs(
        streets={
            camera: tuple(_read(folder, name) for name in film)
            for camera, (folder, film) in _FILMS.items()
        },
        commissioning={
            camera: tuple(_read(folder, f"day-{number:02d}") for number in range(1, 6))
            for camera, (folder, _) in _FILMS.items()
        },
        rooms=tuple(_read("room", name) for name in _ROOMS),
        rooms_with_text=tuple(_read("room", name) for name in _ROOMS_WITH_TEXT),
    )


def _read(folder: str, name: str) -> bytes:
    return (resources.files("edge_agent") / _FOLDER / folder / f"{name}.jpg").read_bytes()
