"""RESULT.txt: both languages, every fault, nothing that an editor or a reader trips over."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.card import Fault, Part, Report, Standing, Verdict, verdict
from edge_agent.core.card_words import of_config, result
from edge_agent.core.words import Sentence


def fault(number: int) -> Fault:
    return Fault(
        where=f"box.toml: key{number}",
        line=number,
        said=Sentence(f"salah{number}", f"wrong{number}"),
        remedy=Sentence(f"betulkan{number}", f"mend{number}"),
        allowed=f"allowed{number}",
    )


def test_each_fault_is_told_in_both_languages_with_place_line_and_remedy():
    faults = [fault(number) for number in range(1, 6)]
    made = verdict(Part.BOX, faults=faults, present=True, in_use=True)
    text = result(Report(place="a/b/c/d", count=7, verdicts=(made,)))
    indonesian, english = text.split("=" * 96)
    for number in range(1, 6):
        for words in (f"key{number}, baris {number}: salah{number}", f"betulkan{number}"):
            assert words in indonesian
            assert words not in english
        for words in (f"key{number}, line {number}: wrong{number}", f"mend{number}"):
            assert words in english
        assert f"allowed{number}" in indonesian
        assert f"allowed{number}" in english
    assert "ke-7 di kotak ini (a/b/c/d)" in indonesian
    assert "BELUM SELESAI: box.toml." in indonesian


def test_what_is_to_know_of_a_part_stands_beside_it():
    note = Sentence("sampai besok", "until tomorrow")
    made = verdict(Part.CERTIFICATE, faults=[], present=True, in_use=False, note=note)
    text = result(Report(place="", count=1, verdicts=(made,)))
    assert "hub/box.pem      dipakai; sampai besok\r\n" in text
    assert "hub/box.pem      in use; until tomorrow\r\n" in text


def test_every_standing_of_every_part_has_words():
    seen = set()
    for part, standing in itertools.product(Part, Standing):
        if part is Part.KEYS and standing is Standing.KEPT:
            continue  # core/card.py: never
        text = result(Report(place="", count=1, verdicts=(Verdict(part=part, standing=standing),)))
        seen.add(text)
    assert len(seen) == 11


def test_a_card_that_is_all_well_says_so_first():
    made = verdict(Part.BOX, faults=[], present=True, in_use=True)
    lines = result(Report(place="", count=1, verdicts=(made,))).split("\r\n")
    assert lines[3].startswith("SEMUA DITERIMA")


@given(st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_whatever_a_card_held_the_text_is_lines_that_notepad_shows(said, allowed, notes):
    wrong = Fault(
        where="x", said=Sentence(said, said), remedy=Sentence(said, said), allowed=allowed
    )
    made = verdict(Part.NETWORK, faults=[wrong], present=True, in_use=False)
    told = tuple(Sentence(note, note) for note in notes)
    text = result(Report(place="", count=1, verdicts=(made,), notes=told))
    text.encode("utf-8")
    assert text.endswith("\r\n")
    for line in text.split("\r\n"):
        assert line.isprintable()
        assert len(line) <= 96


def test_what_the_configuration_reader_says_most_often_is_told_in_indonesian():
    cases = {
        ("nothing", 'add nc_pin = "...": name it'): ("belum diisi", 'tambahkan nc_pin = "..."'),
        ("a name that nothing here knows", "did you mean switch?"): (
            "nama ini tidak dikenal",
            "mungkin maksudnya switch",
        ),
        ("hub/hub-ca.pem: no such file", "create it, or correct the path"): (
            "hub/hub-ca.pem: berkas ini tidak ada di kartu",
            "taruh berkasnya di kartu, atau betulkan namanya",
        ),
        ('"a{1}b", but no camera has this id', 'did you mean "gate"?'): (
            '"a{1}b", tetapi tidak ada kamera dengan id ini',
            "mungkin maksudnya gate",
        ),
        ("-3", "usual is 10"): ("isinya tidak cocok: -3", "usual is 10"),
    }
    for (found, remedy), (said_id, remedy_id) in cases.items():
        said, told = of_config(found, remedy)
        assert (said.en, told.en) == (found, remedy)
        assert (said.id, told.id) == (said_id, remedy_id)
