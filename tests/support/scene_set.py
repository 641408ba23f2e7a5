"""A folder of real pictures for the view check, as its README lays it out: cameras, rooms, streets, tampered views.

Promises: what is missing or damaged is named in `notes` or reads as None, and never stops a measurement; nothing about one
particular set is known here, only the layout (kinds and conditions from folder and file names, owners from manifest.csv).
Not its job: reading what a picture shows.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from edge_agent import commission, vision

BESIDE_THE_REPO = Path(__file__).parents[2].parent / "shared" / "scenes" / "dev"

LATER_FROM = 51
FOREIGN_TAMPER = ("osdindoor", "osdstreet")
MOVED = ("realmoved", "shift10", "shift25", "rot10", "zoom25", "flip180", "mirror", "coverfull")
SMALL = ("shift03", "rot03", "zoom08", "realnudge")
OTHER = ("blur", "coverhalf", "realcover", "slate")
_STEM = re.compile(r"(?P<kind>.+?)-(?P<number>\d+)$")
_MADE_FROM = re.compile(r"cameras/\S+?\.jpe?g")


@dataclass(frozen=True)
class Picture:
    file: str  # path within the set
    camera: str  # "" = nobody's
    condition: str
    kind: str  # camera, indoor, street, or the kind of tampering
    made_from: str  # the picture that a synthetic one was made from, if the manifest says so

    @property
    def number(self) -> int:
        found = _STEM.match(Path(self.file).stem)
        return int(found["number"]) if found else 0


@dataclass(frozen=True)
class SceneSet:
    """Everything of one folder. `refs`: files to commission from, by camera."""

    folder: Path
    pictures: tuple[Picture, ...]
    refs: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    _greys: dict[str, vision.Grey | None] = field(default_factory=dict)

    def data(self, file: str) -> bytes:
        """The picture's bytes; none if it is not there."""
        try:
            return (self.folder / file).read_bytes()
        except OSError:
            return b""

    def grey(self, file: str) -> vision.Grey | None:
        """The small grey picture, as the product decodes it; None if it cannot be read."""
        if file not in self._greys:
            self._greys[file] = vision.scaled_grey_from_jpeg(self.data(file))
        return self._greys[file]

    def text_of(self, camera: str) -> np.ndarray | None:
        """Where the set says that on-screen text lies: an aid for measuring, which the product never sees."""
        path = self.folder / "masks" / f"{camera}.png"
        if not path.is_file():
            return None
        found: np.ndarray | None = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        return found

    @cached_property
    def unreadable(self) -> tuple[str, ...]:
        """Pictures that the product cannot read: they count as held."""
        return tuple(p.file for p in self.pictures if self.grey(p.file) is None)

    def own(self, camera: str) -> list[Picture]:
        """The frames of *camera*, later years left out."""
        return [
            p
            for p in self.pictures
            if p.kind == "camera" and p.camera == camera and p.number < LATER_FROM
        ]

    def of_kind(self, *kinds: str, camera: str | None = None) -> list[Picture]:
        return [p for p in self.pictures if p.kind in kinds and camera in (None, p.camera)]


class NoSetError(Exception):
    """The folder is not laid out as a set of pictures; the message says what is missing."""


def _row(row: dict[str, str]) -> Picture | None:
    file = row.get("file") or ""
    top, _, name = file.partition("/")
    stem = _STEM.match(Path(name).stem)
    camera, condition = row.get("camera") or "", row.get("condition") or ""
    source = row.get("source") or ""
    if top == "cameras" and stem:
        return Picture(file, Path(name).parts[0], stem["kind"], "camera", "")
    if top in ("indoor", "street"):
        return Picture(file, camera, condition or "day", top, "")
    if top == "tamper" and stem:
        named = _MADE_FROM.search(source) if source.startswith("synthetic") else None
        return Picture(file, camera, condition, stem["kind"], named[0] if named else "")
    return None


def read_set(folder: Path) -> SceneSet:
    """The set at *folder*; NoSetError if manifest or refs.csv are missing."""
    notes = []
    try:
        with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        with (folder / "refs.csv").open(encoding="utf-8", newline="") as file:
            refs = {
                row.get("camera") or "": tuple(
                    value for name, value in row.items() if (name or "").startswith("ref") and value
                )
                for row in csv.DictReader(file)
            }
    except OSError as error:
        msg = f"{folder}: no set of pictures (its README names manifest.csv and refs.csv): {error}"
        raise NoSetError(msg) from error
    pictures = []
    for row in rows:
        picture = _row(row)
        if picture is None:
            notes.append(f"not of a known kind, left out: {row.get('file')}")
        else:
            pictures.append(picture)
    return SceneSet(folder, tuple(pictures), refs, tuple(notes))


def site(camera: str) -> str:
    """Two recordings of one pole (lta21-2702, lta26-2702) are no strangers to each other."""
    return camera.rsplit("-", 1)[-1]


def light_of(file: str) -> str:
    return Path(file).stem.split("-")[0]


def commission_from(
    pictures: SceneSet, camera: str, *, day_only: bool
) -> tuple[vision.References | None, list[str]]:
    """References made the product's way, light by light, day first, and what was refused on the way.

    A light that is refused beside a sound one leaves the sound one in force, as at the box. None = nothing to go by.
    """
    by_light: dict[str, list[bytes]] = defaultdict(list)
    for file in pictures.refs.get(camera, ()):
        if not day_only or light_of(file) == "day":
            by_light[light_of(file)].append(pictures.data(file))
    found: vision.References | None = None
    refused = [] if by_light else ["no reference frame is named for it"]
    for light in sorted(by_light, key=lambda name: (name != "day", name)):
        made = commission.references_from(by_light[light], light=light, beside=found)
        if isinstance(made, vision.Refusal):
            refused.append(f"{light}: {made.why}")
        else:
            found = made
    return found, refused
