"""The secretary's card: its lamps and sounds are those of the program; the PDF is one page that any printer prints whole, made
from the HTML beside it."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edge_agent.core.button import ASK_S, JAMMED_S
from edge_agent.core.messages import Lamp, Sound
from edge_agent.core.settings import Privacy, SwitchKind
from edge_agent.sensors.buzzer import _PATTERNS
from edge_agent.sensors.lamps import lit

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "kartu-sekretaris-rt.html"
PRINTED = DOCS / "kartu-sekretaris-rt.pdf"
XHTML = "{http://www.w3.org/1999/xhtml}"
UNITS_PER_S = 10  # of the drawn rhythms
BEFORE_S = 0.4  # a drawing begins so long before its pattern, or a blip would stick to the edge
WIDTH = 40
A4_POINTS = (595, 842)
WHITE_MM = 5.0  # what printers need at an edge, the worst of them
POINTS_PER_MM = 72 / 25.4
STROKE_MM = 1.0  # half of the thickest line drawn


@cache
def card() -> ET.Element:
    return ET.fromstring(PAGE.read_text(encoding="utf-8"))


def words(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def drawings() -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(lamp, side) -> from and to, in units, of each time that it is drawn as lit."""
    found = {}
    for drawing in card().iter(f"{XHTML}svg"):
        if lamp := drawing.get("data-lamp"):
            assert drawing.get("viewBox", "").startswith(f"0 0 {WIDTH} ")
            found[lamp, drawing.get("data-side", "")] = [
                (float(rect.get("x", "")), float(rect.get("x", "")) + float(rect.get("width", "")))
                for rect in drawing.iter(f"{XHTML}rect")
            ]
    return found


def rows() -> dict[str, str]:
    """lamp -> what the card says of it."""
    told = {}
    for row in card().iter(f"{XHTML}tr"):
        lamps = {lamp for drawing in row.iter(f"{XHTML}svg") if (lamp := drawing.get("data-lamp"))}
        if lamps:
            (lamp,) = lamps
            told[lamp] = words(list(row)[-1])
    return told


@pytest.mark.parametrize("lamp", Lamp)
def test_each_rhythm_is_drawn_as_the_lamps_show_it(lamp):
    drawn = drawings()
    for step in range(WIDTH * 10):
        unit = step / 10 + 0.05  # between the edges, where rounding decides nothing
        private, live, _ = lit(lamp, unit / UNITS_PER_S - BEFORE_S)
        for side, shown in (("left", private), ("right", live)):
            here = any(start <= unit < end for start, end in drawn[lamp.value, side])
            assert here == shown, f"{side} lamp at {unit / UNITS_PER_S - BEFORE_S:.3f} s"


def test_each_pattern_has_one_row_with_words_and_no_row_is_of_a_pattern_that_is_gone():
    assert set(rows()) == {lamp.value for lamp in Lamp}
    assert len(set(rows().values())) == len(Lamp)
    assert set(drawings()) == {(lamp.value, side) for lamp in Lamp for side in ("left", "right")}


def test_a_lamp_that_is_ever_lit_in_a_row_is_pictured_as_lit():
    for row in card().iter(f"{XHTML}tr"):
        for cell in list(row)[:2]:
            pictures = [use.get("href", "") for use in cell.iter(f"{XHTML}use")]
            lit_ever = any(True for _ in cell.iter(f"{XHTML}rect"))
            shown = [name for name in pictures if name in {"#biru-nyala", "#putih-nyala", "#mati"}]
            assert [name != "#mati" for name in shown] == [lit_ever][: len(shown)]


def test_the_sounds_are_those_of_the_buzzer():
    """ "panjang sekali", "pendek dua kali", "pendek tiga kali": as long and as often as the buzzer sounds."""
    often = {1: "sekali", 2: "dua kali", 3: "tiga kali"}
    text = words(card()).lower()
    for sound in Sound:
        beeps = _PATTERNS[sound][::2]
        length = "panjang" if min(beeps) > 0.4 else "pendek"
        assert f"bunyi {length} {often[len(beeps)]}" in text, sound


def test_a_sound_is_promised_only_where_there_is_a_buzzer():
    assert Privacy(switch=SwitchKind.LATCHING).buzzer_pin is None
    for paragraph in card().iter(f"{XHTML}p"):
        if "bunyi" in (told := words(paragraph).lower()):
            assert "(bila ada bel)" in told
    assert "bunyi: bila ada bel" in words(next(card().iter(f"{XHTML}table")))


def test_no_pattern_is_dark_for_as_long_as_a_dead_box():
    assert "Keduanya gelap lebih dari 10 detik" in words(card())
    for lamp in Lamp:
        for tenth in range(200):
            start = tenth / 10
            assert any(any(lit(lamp, start + later / 20)[:2]) for later in range(200)), lamp


def test_a_momentary_button_is_held_for_longer_than_it_needs_and_for_less_than_jams_it():
    assert "(hitung sampai lima), lalu lepas" in words(card())
    assert ASK_S < 5 < JAMMED_S


def test_the_card_loads_nothing_and_asks_for_nothing():
    text = PAGE.read_text(encoding="utf-8").replace("http://www.w3.org/1999/xhtml", "")
    for way in ("http:", "https:", "//", "url(", "@import", "<script", "<link", "<img", "<iframe"):
        assert way not in text, f"{way} in {PAGE.name}"


def test_the_print_is_one_a4_page_made_from_this_html():
    printed = PRINTED.read_bytes()
    digest = hashlib.sha256(PAGE.read_bytes()).hexdigest()
    assert printed.rstrip().endswith(f"{PAGE.name}, sha256 {digest}".encode()), "run: make card"
    assert len(re.findall(rb"/Type /Page\b(?!s)", printed)) == 1
    ((width, height),) = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert (round(float(width)), round(float(height))) == A4_POINTS
    assert len(printed) < 150_000


# ---- where the ink is ----

Matrix = tuple[float, float, float, float, float, float]
Point = tuple[float, float]
_TOKEN = re.compile(rb"<<.*?>>|<[0-9A-F]*>|/\S+|-?[\d.]+|[A-Za-z]+\*?", re.DOTALL)
_CURVES = {b"re", b"m", b"l", b"c"}


def times(one: Matrix, other: Matrix) -> Matrix:
    a, b, c, d, e, f = one
    p, q, r, s, t, u = other
    return (
        a * p + b * r,
        a * q + b * s,
        c * p + d * r,
        c * q + d * s,
        e * p + f * r + t,
        e * q + f * s + u,
    )


def as_matrix(numbers: list[float]) -> Matrix:
    a, b, c, d, e, f = numbers
    return a, b, c, d, e, f


def at(place: Point, matrix: Matrix) -> Point:
    return times((1, 0, 0, 1, *place), matrix)[4:]


def inked(printed: bytes) -> Iterator[Point]:
    """Points of the page, in points from below and from the left, so many that nothing but white lies beyond all of them.

    Knows what chromium writes, and nothing else. Clips are not looked at: what they hide counts as ink.
    """
    streams: dict[bytes, bytes] = {}
    for found in re.finditer(
        rb"\n(\d+) 0 obj\n<<((?:(?!endobj).)*?)>>\s*stream\n", printed, re.DOTALL
    ):
        length = re.search(rb"/Length (\d+)", found[2])
        assert length is not None
        raw = printed[found.end() : found.end() + int(length[1])]
        streams[found[1]] = zlib.decompress(raw) if b"/FlateDecode" in found[2] else raw
    names = dict(re.findall(rb"/(X\d+) (\d+) 0 R", printed))
    (page,) = re.findall(rb"/Contents (\d+) 0 R", printed)
    yield from drawn(
        streams[page],
        (1, 0, 0, 1, 0, 0),
        {b"/" + name: streams[number] for name, number in names.items()},
    )


def drawn(stream: bytes, matrix: Matrix, forms: dict[bytes, bytes]) -> Iterator[Point]:
    kept: list[tuple[Matrix, bool]] = []
    white = False
    path: list[Point] = []
    pad = STROKE_MM * POINTS_PER_MM
    text: Matrix = matrix
    size = 0.0
    words: list[bytes] = []
    for token in _TOKEN.findall(stream):
        if not token[:1].isalpha():
            words.append(token)
            continue
        numbers = [float(word) for word in words if word[:1] not in b"</"]
        name = words[0] if words else b""
        words = []
        if token == b"q":
            kept.append((matrix, white))
        elif token == b"Q":
            matrix, white = kept.pop()
        elif token == b"cm":
            matrix = times(as_matrix(numbers), matrix)
        elif token == b"rg":
            white = min(numbers) == 1.0
        elif token in _CURVES:
            if token == b"re":
                x, y, width, height = numbers
                numbers = [x, y, x + width, y, x, y + height, x + width, y + height]
            path += [at(place, matrix) for place in zip(numbers[::2], numbers[1::2], strict=True)]
        elif token in {b"f", b"S", b"n"}:
            if token == b"S":
                yield from (
                    (x + dx, y + dy) for x, y in path for dx in (-pad, pad) for dy in (-pad, pad)
                )
            elif token == b"f" and not white:
                yield from path
            path = []
        elif token == b"Do":
            yield from drawn(forms[name], matrix, forms)
        elif token == b"Tf":
            (size,) = numbers
        elif token == b"Tm":
            text = times(as_matrix(numbers), matrix)
        elif token == b"Td":
            text = times(as_matrix([1, 0, 0, 1, *numbers]), text)
        elif token == b"Tj":  # one letter
            yield from (at((x * size, y * size), text) for x in (0.0, 0.6) for y in (-0.25, 0.75))
        else:
            assert token in {b"gs", b"RG", b"W", b"W*", b"h", b"BT", b"ET", b"BDC", b"EMC"}, token


def white_mm(printed: bytes) -> tuple[float, float, float, float]:
    """Above, right, below, left: no ink within so many mm."""
    found = list(inked(printed))
    xs, ys = ([place[axis] for place in found] for axis in (0, 1))
    width, height = A4_POINTS
    points = (height - max(ys), width - max(xs), min(ys), min(xs))
    above, right, below, left = (each / POINTS_PER_MM for each in points)
    return above, right, below, left


def test_no_ink_lies_where_a_printer_puts_none():
    found = white_mm(PRINTED.read_bytes())
    assert min(found) >= WHITE_MM, f"white above, right, below, left: {found} mm"
    assert max(found) < 4 * WHITE_MM, "the whole of the card was seen"
