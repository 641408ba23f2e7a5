"""Bad input, from the picture's bytes to what leaves the box: held, with the finding that fits, and never an exception."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent import demo_pictures, vision
from edge_agent.core.messages import FindingKey, SceneReading
from tests.support.build import opened, picture
from tests.support.play import GATE, LIVE, Play, settings

STREETS = demo_pictures.STREETS
KEY = FindingKey


def colours(path: Path) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def jpeg(pixels: np.ndarray) -> bytes:
    ok, raw = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert ok
    return bytes(raw)


def filled(value: tuple[int, int, int]) -> Callable[[Path], Iterator[bytes]]:
    """The same picture in one colour, again and again."""

    def make(_: Path) -> Iterator[bytes]:
        return cycle([jpeg(np.full((480, 640, 3), value, np.uint8))])

    return make


def half_lost(
    colour: tuple[int, int, int], *, upper: bool = False
) -> Callable[[Path], Iterator[bytes]]:
    """What a decoder leaves when half of a picture's data is missing; the other half goes on living."""

    def make(path: Path) -> Iterator[bytes]:
        noise = np.random.default_rng(1)
        while True:
            pixels = colours(path).astype(np.int16)
            pixels += noise.integers(-3, 4, pixels.shape, dtype=np.int16)
            half = pixels.shape[0] // 2
            pixels[:half] = np.where(upper, colour, pixels[:half])
            pixels[half:] = np.where(upper, pixels[half:], colour)
            yield jpeg(np.clip(pixels, 0, 255).astype(np.uint8))

    return make


def animated_card(_: Path) -> Iterator[bytes]:
    """Colour bars, a grid, and a clock hand that turns."""
    step = 0
    while True:
        card = np.zeros((480, 640, 3), np.uint8)
        for bar in range(8):
            card[:, bar * 80 : bar * 80 + 80] = [255 * (bar >> bit & 1) for bit in range(3)]
        card[::40] = 255
        card[:, ::40] = 255
        cv2.circle(card, (320, 240), 150, (128, 128, 128), -1)
        angle = step * np.pi / 6
        end = (320 + int(140 * np.cos(angle)), 240 + int(140 * np.sin(angle)))
        cv2.line(card, (320, 240), end, (0, 0, 0), 8)
        step += 1
        yield jpeg(card)


def cut_short(path: Path) -> Iterator[bytes]:
    raw = path.read_bytes()
    return cycle([raw[: len(raw) * share // 10] for share in range(1, 10)])


def absurd(path: Path) -> Iterator[bytes]:
    """A size that nobody sends: a thumbnail, and nothing at all."""
    tiny = cv2.resize(colours(path), (32, 24), interpolation=cv2.INTER_AREA)
    return cycle([jpeg(tiny), b"", b"\xff\xd8\xff\xd9"])


BAD: dict[str, tuple[Callable[[Path], Iterator[bytes]], set[FindingKey]]] = {
    "truncated": (cut_short, {KEY.VIEW_UNSURE}),
    "half green": (half_lost((0, 135, 0)), {KEY.VIEW_UNSURE}),
    "half grey": (half_lost((128, 128, 128)), {KEY.VIEW_UNSURE}),
    "upper half green": (half_lost((0, 135, 0), upper=True), {KEY.VIEW_UNSURE}),
    "zero size": (absurd, {KEY.VIEW_UNSURE}),
    "black": (filled((0, 0, 0)), {KEY.VIEW_DARK, KEY.VIEW_FROZEN}),
    "white": (filled((255, 255, 255)), {KEY.VIEW_FROZEN}),
    "blue": (filled((200, 0, 0)), {KEY.VIEW_DARK, KEY.VIEW_COVERED, KEY.VIEW_FROZEN}),
    "test card": (animated_card, {KEY.VIEW_FOREIGN}),
}


@dataclass
class Box:
    """The real eye and the real agent, fed with bytes."""

    play: Play
    eye: vision.Eye

    @classmethod
    def live(cls, references: vision.References | None) -> Box:
        box = cls(Play.begin(replace(settings(cameras=(GATE,)), runs=())), vision.Eye(references))
        box.play.go_live()
        box.play.post(opened())
        return box

    def shows(self, raw: bytes) -> SceneReading:
        self.play.wait(2.0, switch=LIVE)
        reading = self.eye.read(vision.scaled_grey_from_jpeg(raw))
        self.play.post(picture(taken_at=self.play.now, reading=reading, jpeg=raw))
        return reading

    def proves(self, street: demo_pictures.Street) -> None:
        """Shows the street until it is released."""
        noise = np.random.default_rng(2)
        for path in (street.stream[0],) * 12:
            pixels = colours(path).astype(np.int16)
            pixels += noise.integers(-3, 4, pixels.shape, dtype=np.int16)
            self.shows(jpeg(np.clip(pixels, 0, 255).astype(np.uint8)))
        assert self.play.released, "the street itself is not released: the test proves nothing"

    @property
    def findings(self) -> set[FindingKey]:
        return {KEY(found["key"]) for found in self.play.status()["findings"] if found["camera"]}

    @property
    def gate(self) -> str:
        found: str = self.play.status()["cameras"][0]["gate"]
        return found


def references_of(street: demo_pictures.Street) -> vision.References:
    built = vision.build(
        {"day": [found for path in street.commission if (found := _grey(path)) is not None]}
    )
    assert isinstance(built, vision.References)
    return built


def _grey(path: Path) -> vision.Grey | None:
    return vision.scaled_grey_from_jpeg(path.read_bytes())


@pytest.mark.parametrize("street", STREETS, ids=lambda street: street.name)
@pytest.mark.parametrize("kind", BAD)
def test_bad_pictures_never_leave_nor_open_a_gate_and_are_called_what_they_are(kind, street):
    make, findings = BAD[kind]
    box = Box.live(references_of(street))
    bad = make(street.stream[0])
    sent = set()
    for _ in range(23):
        sent.add(raw := next(bad))
        box.shows(raw)
    assert box.gate == "held"
    assert box.findings & findings, box.findings
    assert not sent & set(box.play.released)


@pytest.mark.parametrize("street", STREETS[:1], ids=lambda street: street.name)
@pytest.mark.parametrize("kind", BAD)
def test_bad_pictures_under_an_open_gate_are_held_and_close_it_in_time(kind, street):
    make, findings = BAD[kind]
    box = Box.live(references_of(street))
    box.proves(street)
    before = len(box.play.released)
    bad = make(street.stream[0])
    for _ in range(70):  # 140 s: doubt lasts 120 s at the most
        box.shows(next(bad))
    assert len(box.play.released) == before
    assert box.gate == "held"
    assert box.findings & findings, box.findings


@pytest.mark.parametrize("kind", BAD)
def test_without_references_bad_pictures_are_held_too(kind):
    box = Box.live(None)
    bad = BAD[kind][0](STREETS[0].stream[0])
    for _ in range(10):
        box.shows(next(bad))
    assert box.gate == "held"
    assert not box.play.released
    assert KEY.VIEW_NOT_COMMISSIONED in box.findings


@pytest.mark.parametrize("street", STREETS, ids=lambda street: street.name)
def test_a_street_with_a_wall_in_one_colour_is_no_damaged_picture(street):
    """What holds no fixed edges may be as even as it likes: sky, fog, a white wall."""
    references = references_of(street)
    grey = _grey(street.stream[0])
    assert grey is not None
    empty = np.kron(edgeless(references), np.ones((40, 40), np.bool_))
    painted = np.where(empty, np.uint8(140), grey)
    assert vision.Eye(references).read(painted).unusable is None


def edgeless(references: vision.References) -> np.ndarray:
    """Parts of the picture without an edge to go by."""
    rows = vision.tile_map(references).split("\n")
    return np.array([[mark in ".t" for mark in row] for row in rows])
