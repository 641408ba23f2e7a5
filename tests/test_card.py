"""The secretary's card: its lamps and sounds are those of the program, and the PDF is one page made from the HTML beside it."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edge_agent.core.button import ASK_S, JAMMED_S
from edge_agent.core.messages import Lamp, Sound
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
