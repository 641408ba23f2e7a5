"""What proves an act: labels that travel inside each picture, and checks on what the hub and the journal really hold.

Promises: a label survives every byte-true copy of its picture, so it is found again in any file, database pages included;
a received picture is also compared by its pixels with all that was ever shown, in case a label was lost or forged on
the way; whatever cannot be recognised counts as a leak, not as fine.
Not its job: playing the street (stage.py), deciding when to look (acts.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.vision import Grey, scaled_grey_from_jpeg

_START: Final = b"\xff\xd8"
_COMMENT: Final = b"\xff\xfe"
# Ends with a mark of its own, so that half a label, cut by the end of a database page, is no label.
_LABEL: Final = re.compile(rb"\[edge-agent demo: ([a-z0-9-]+) ([a-z]+) reel=(\d+) picture=(\d+)\]")
# Mean difference of grey, 0..255, as measured: one picture coded anew at quality 50 differs by 1.3, two streets, or a street and
# a room, by 39 at the least.
_SAME_GREY: Final = 5.0


class What(Enum):
    """What a camera was shown."""

    STREET = "street"
    HOME = "home"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Label:
    """Name of one picture put before one camera. A reel is all that was put there at once."""

    camera: str
    what: str
    reel: int
    picture: int


@dataclass(frozen=True, slots=True)
class Check:
    """One fact that an act stands or falls by."""

    claim: str
    ok: bool
    seen: str


def labelled(jpeg: bytes, label: Label) -> bytes:
    """*jpeg* with *label* as its first comment; the picture itself stays as it is. ValueError if it is no JPEG."""
    if not jpeg.startswith(_START):
        raise ValueError("not a JPEG")
    text = (
        f"[edge-agent demo: {label.camera} {label.what} reel={label.reel} picture={label.picture}]"
    )
    comment = text.encode()
    return _START + _COMMENT + (len(comment) + 2).to_bytes(2) + comment + jpeg[2:]


def labels_in(data: bytes) -> list[Label]:
    """Every label within *data*, whatever it is."""
    return [
        Label(
            camera=found[1].decode(),
            what=found[2].decode(),
            reel=int(found[3]),
            picture=int(found[4]),
        )
        for found in _LABEL.finditer(data)
    ]


def labels_under(folder: Path) -> Counter[Label]:
    """Every label in every file below *folder*. A file that goes while it is read (a log of SQLite) holds none."""
    found: Counter[Label] = Counter()
    for path in sorted(folder.rglob("*")):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        found.update(labels_in(data))
    return found


class Gallery:
    """Every picture that was ever put before a camera, as small grey pictures."""

    def __init__(self) -> None:
        self._shown: list[tuple[str, What, Grey]] = []

    def add(self, camera: str, what: What, jpegs: Iterable[bytes]) -> None:
        """These were put before *camera*. ValueError if one is no picture."""
        for jpeg in jpegs:
            grey = scaled_grey_from_jpeg(jpeg)
            if grey is None:
                raise ValueError("not a picture")
            self._shown.append((camera, what, grey))

    def recognise(self, jpeg: bytes) -> frozenset[tuple[str, What]]:
        """Whose pictures *jpeg* could be one of, by its pixels alone; empty = nothing that was ever shown."""
        grey = scaled_grey_from_jpeg(jpeg)
        if grey is None:
            return frozenset()
        return frozenset(
            (camera, what)
            for camera, what, shown in self._shown
            if _difference(grey, shown) <= _SAME_GREY
        )


def _difference(one: Grey, other: Grey) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One picture as the hub keeps it. `at` is the box's own time of taking it, in seconds since boot."""

    camera: str
    seq: int
    lane: str
    at: float
    jpeg: bytes


def leaks(received: Iterable[Received], gallery: Gallery) -> list[str]:
    """Each picture at the hub that is not, by label and by pixels, a street picture of its own camera; and why."""
    found = []
    for picture in received:
        why = _why_leak(picture, gallery)
        if why:
            found.append(f"{picture.camera} seq {picture.seq}: {why}")
    return found


def _why_leak(picture: Received, gallery: Gallery) -> str:
    labels = labels_in(picture.jpeg)
    if any(label.what != What.STREET.value for label in labels):
        return "it is labelled as taken in a home"
    if [label.camera for label in labels] != [picture.camera]:
        return "its label is not that of its camera"
    seen = gallery.recognise(picture.jpeg)
    if any(what is not What.STREET for _, what in seen):
        return "its pixels show a home"
    if (picture.camera, What.STREET) not in seen:
        return "its pixels show nothing that was put before its camera"
    return ""


def no_leak(received: Sequence[Received], gallery: Gallery) -> Check:
    """Nothing but street pictures of the right camera is at the hub. No pictures at all prove nothing: not ok."""
    found = leaks(received, gallery)
    seen = f"{len(received)} pictures at the hub, {len(found)} of them no street of their camera"
    return Check(
        "nothing but the street is at the hub",
        bool(received) and not found,
        "; ".join([seen, *found[:3]]),
    )


def no_home_on_disk(folder: Path, what: str) -> Check:
    """No file below *folder* holds a picture that was taken in a home."""
    homes = sum(n for label, n in labels_under(folder).items() if label.what != What.STREET.value)
    return Check(f"no picture of a home is in {what}", homes == 0, f"{homes} found")


def gone_from_disk(folder: Path, reels: frozenset[int], *, before: int) -> Check:
    """Pictures of *reels*, of which *before* were found in the journal's files earlier, are in none of them now."""
    left = sum(n for label, n in labels_under(folder).items() if label.reel in reels)
    return Check(
        "unsent pictures of the last minute are gone from the disk",
        before > 0 and left == 0,
        f"{before} were there, {left} are left",
    )


def nothing_taken_between(
    received: Sequence[Received], camera: str, begin: float, end: float
) -> Check:
    """The hub has no picture of *camera* taken between *begin* and *end* (seconds since boot)."""
    late = [
        picture.seq for picture in received if picture.camera == camera and begin < picture.at < end
    ]
    return Check(
        f"no picture of {camera} was released in these {end - begin:.0f} s",
        not late,
        f"{len(late)} found",
    )


def backlog_arrived(received: Iterable[Received], waited: Sequence[tuple[str, float]]) -> Check:
    """Each picture that waited, as (camera, taken at), is at the hub exactly once; what the outage held back, as history.

    The last of them may have reached the journal only when the line was back; then it is news, and rightly so.
    """
    # Milliseconds are what the contract carries.
    wanted = {(camera, f"{at:.3f}") for camera, at in waited}
    came = [(p.camera, f"{p.at:.3f}", p.lane) for p in received]
    lanes = Counter(lane for camera, at, lane in came if (camera, at) in wanted)
    counts = Counter((camera, at) for camera, at, _ in came)
    missing = sum(not counts[name] for name in wanted)
    twice = sum(counts[name] > 1 for name in wanted)
    return Check(
        "each picture that waited arrived once, as history",
        lanes["history"] > 0 and not missing and not twice,
        f"{len(wanted)} waited: {lanes['history']} came as history, {lanes['live']} as news, "
        f"{missing} are missing, {twice} are there twice",
    )


def others_went_on(before: Mapping[str, int], after: Mapping[str, int], except_for: str) -> Check:
    """Every camera but one has more pictures at the hub than before."""
    stuck = [name for name in before if name != except_for and after.get(name, 0) <= before[name]]
    return Check(
        "the other cameras went on",
        len(before) > 1 and not stuck,
        "no new picture of " + ", ".join(stuck) if stuck else "each sent new pictures",
    )
