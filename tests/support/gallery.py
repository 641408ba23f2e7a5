"""Streets, rooms and strangers for stories by the thousand: from a set of real pictures, or from the pictures of the repo.

Everything is a small grey picture with a name, made when first wanted. `Street.own` holds no picture that the street was
commissioned from. `under_text` are strangers under this camera's own on-screen text, the incident itself: those of the set,
and as many more as its text masks and rooms allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge_agent import commission, demo_pictures, vision
from tests.support.scene_set import SceneSet, commission_from, light_of, site

ROOMS_UNDER_TEXT = 12  # of each street, beside those of the set


@dataclass(frozen=True)
class Base:
    """One picture that others are varied from."""

    name: str
    load: Callable[[], vision.Grey | None] = field(compare=False)


@dataclass(frozen=True)
class Street:
    """One fixed camera. `references`: by how it was commissioned, "day_only" and "day_night"."""

    name: str
    references: Mapping[str, vision.References]
    own: Mapping[str, tuple[Base, ...]]  # by light
    under_text: tuple[Base, ...]
    strangers: tuple[Base, ...]  # other streets, other cameras of the set


@dataclass(frozen=True)
class Gallery:
    streets: tuple[Street, ...]
    rooms: Mapping[str, tuple[Base, ...]]  # by light: day, ir, night
    notes: tuple[str, ...]


# ---- a set of real pictures ----


def of_set(pictures: SceneSet) -> Gallery:
    """Every camera of the set that can be commissioned by day; what cannot is named in `notes`."""

    def base(file: str) -> Base:
        return Base(file, lambda: pictures.grey(file))

    notes = [f"cannot be read: {file}" for file in pictures.unreadable]
    rooms: dict[str, tuple[Base, ...]] = {}
    for light in sorted({p.condition for p in pictures.of_kind("indoor")}):
        files = [p.file for p in pictures.of_kind("indoor") if p.condition == light]
        rooms[light] = tuple(base(f) for f in files if pictures.grey(f) is not None)
    streets = []
    for camera in sorted(pictures.refs):
        made = {}
        for name, day_only in (("day_only", True), ("day_night", False)):
            found, refused = commission_from(pictures, camera, day_only=day_only)
            notes += [f"{camera}: {name}: {why}" for why in refused]
            if found is not None:
                made[name] = found
        own: dict[str, tuple[Base, ...]] = {}
        for picture in pictures.own(camera):
            if (
                picture.file not in pictures.refs[camera]
                and pictures.grey(picture.file) is not None
            ):
                own[picture.condition] = (*own.get(picture.condition, ()), base(picture.file))
        if len(made) == 2 and own:
            strangers = _strangers(pictures, camera)
            text = _under_text(pictures, camera)
            streets.append(Street(camera, made, own, text, tuple(base(file) for file in strangers)))
    return Gallery(tuple(streets), rooms, tuple(dict.fromkeys(notes)))


def _strangers(pictures: SceneSet, camera: str) -> list[str]:
    return [
        p.file
        for p in pictures.of_kind("street", "camera")
        if not (p.camera and site(p.camera) == site(camera)) and pictures.grey(p.file) is not None
    ]


def _under_text(pictures: SceneSet, camera: str) -> tuple[Base, ...]:
    given = [p.file for p in pictures.of_kind("osdindoor", "osdstreet", camera=camera)]
    found = [
        Base(f, lambda f=f: pictures.grey(f))  # type: ignore[misc]
        for f in given
        if pictures.grey(f) is not None
    ]
    mask = pictures.text_of(camera)
    rooms = pictures.of_kind("indoor")
    own = [p.file for p in pictures.own(camera)]
    if mask is not None and own and rooms:
        step = max(1, len(rooms) // ROOMS_UNDER_TEXT)
        for n, room in enumerate(rooms[::step][:ROOMS_UNDER_TEXT]):
            street = own[n % len(own)]
            name = f"{room.file} under the text of {street}"
            found.append(
                Base(
                    name,
                    lambda room=room.file, street=street: _composed(  # type: ignore[misc]
                        pictures.data(room), pictures.data(street), mask
                    ),
                )
            )
    return tuple(found)


def _composed(room: bytes, street: bytes, mask: np.ndarray) -> vision.Grey | None:
    """The room as the encoder of the street's camera would label it."""
    inside = cv2.imdecode(np.frombuffer(room, np.uint8), cv2.IMREAD_COLOR) if room else None
    outside = cv2.imdecode(np.frombuffer(street, np.uint8), cv2.IMREAD_COLOR) if street else None
    if inside is None or outside is None:
        return None
    height, width = outside.shape[:2]
    inside = cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA)
    text = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return vision.scaled_grey(np.where((text > 127)[..., None], outside, inside).astype(np.uint8))


# ---- the pictures of the repo ----


def of_repo() -> Gallery:
    """The demo's streets and its drawn room."""

    def base(path: Path) -> Base:
        name = f"{path.parent.name}/{path.stem}"
        return Base(name, lambda: vision.scaled_grey_from_jpeg(path.read_bytes()))

    streets = []
    for street in demo_pictures.STREETS:
        others = [s for s in demo_pictures.STREETS if s is not street]
        strangers = [p for s in others for p in (*s.commission, *s.dusk, *s.night)]
        own: dict[str, list[Base]] = {}
        for path in (*street.commission[3:], *street.dusk, *street.night[2:]):
            own.setdefault(light_of(path.name), []).append(base(path))
        streets.append(
            Street(
                street.name,
                _commissioned(street),
                {light: tuple(bases) for light, bases in own.items()},
                tuple(base(p) for p in street.room_under_text),
                tuple(base(p) for p in strangers),
            )
        )
    rooms = {
        "day": tuple(base(p) for p in demo_pictures.ROOM),
        "ir": tuple(base(p) for p in demo_pictures.ROOM_INFRARED),
        "night": tuple(_dimmed(base(p)) for p in demo_pictures.ROOM[:3]),
    }
    return Gallery(tuple(streets), rooms, ())


def _commissioned(street: demo_pictures.Street) -> dict[str, vision.References]:
    by_day = commission.references_from(
        [p.read_bytes() for p in street.commission[:3]], light="day"
    )
    assert isinstance(by_day, vision.References), by_day
    both = commission.references_from(
        [p.read_bytes() for p in street.night[:2]], light="night", beside=by_day
    )
    assert isinstance(both, vision.References), both
    return {"day_only": by_day, "day_night": both}


def _dimmed(base: Base) -> Base:
    """The lights are off."""

    def load() -> vision.Grey | None:
        lit = base.load()
        return None if lit is None else (lit * 0.25).astype(np.uint8)

    return Base(f"{base.name}, lights off", load)
