"""Sentences for people: complete, in both languages, and never broken by what a camera or hub sends along."""

from __future__ import annotations

import re
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import words
from edge_agent.core.gate import State
from edge_agent.core.messages import FindingKey, Json
from edge_agent.core.settings import CABLES
from edge_agent.core.words import Sentence, notice, say

CABLE: dict[str, Json] = {
    "camera": "Gang Mawar",
    "place": "tiang 3",
    "length_m": 50.0,
    "bring_m": 55,
    "cable": "cat5e-outdoor",
    "loop": "open",
    "detail": "",
}


def test_each_finding_has_its_words_in_both_languages():
    assert set(words.WORDS) == set(FindingKey)
    for key, sentence in words.WORDS.items():
        assert sentence.id != sentence.en, key
        fields = [
            {name for _, name, _, _ in Formatter().parse(text) if name}
            for text in (sentence.id, sentence.en)
        ]
        assert fields[0] == fields[1], key


@pytest.mark.parametrize("key", list(FindingKey))
def test_a_sentence_says_what_was_seen_what_it_means_and_what_to_do(key):
    said = say(key, CABLE)
    for text in (said.id, said.en):
        assert len(re.findall(r"[.:;](?= |$)", text)) >= 3, text
        assert 60 < len(text) < 420, text
        assert text.endswith(".")
        assert "  " not in text
        assert "{" not in text
        assert " ." not in text


@pytest.mark.parametrize(
    "key", [key for key in FindingKey if key.name.startswith(("CAMERA_", "VIEW_", "CABLE_"))]
)
def test_what_concerns_a_camera_names_it(key):
    said = say(key, CABLE)
    assert "Gang Mawar" in said.id
    assert "Gang Mawar" in said.en


def test_a_cut_cable_is_told_once_and_its_list_stands_in_the_work_order():
    said = say(FindingKey.CABLE_OPEN, CABLE)
    assert said.id == (
        "Kabel ke Gang Mawar di tiang 3 putus atau tercabut. Gambarnya ditahan, kecuali aturan kotak lain. "
        "Apa yang dibawa dan dikerjakan ada di perintah kerjanya. "
        "Jangan bawa pulang kamera; biarkan di tempatnya, kami yang datang."
    )
    assert said.en == (
        "The cable to Gang Mawar at tiang 3 is cut or unplugged. Its pictures are held unless the box is set otherwise. "
        "What to bring and do stands in its work order. "
        "Do not take the camera home; leave it, we come."
    )


def test_where_a_short_lies_and_how_long_the_cable_is_now_stand_in_the_sentence():
    assert "shorted (≤ 20.4 m)." in say(FindingKey.CABLE_SHORT, {"short_at_m": 20.4}).en
    assert "commissioned (5.8 m):" in say(FindingKey.CABLE_OTHER_LENGTH, {"length_now_m": 5.8}).en


def test_what_to_bring_for_a_run_begins_with_the_cable():
    items = words.bring("cat5e-outdoor", "55", end_plug=True)
    assert [item.en for item in items] == [
        "55 m of outdoor Cat5e cable",
        "RJ45 plugs",
        "a pair of video baluns",
        "1 end plug for the supervised pair",
        "a crimping tool",
        "a cable tester",
        "a ladder",
    ]
    assert items[0].id == "55 m kabel Cat5e luar ruang"
    bare = words.bring("rg59", "", end_plug=False)
    assert bare[0].en == "RG59 coaxial cable (measure first)"
    assert not any("end plug" in item.en for item in bare)
    assert words.bring("", "", end_plug=False)[0].en == "cable of the same kind (measure first)"


@pytest.mark.parametrize("cable", list(CABLES))
def test_each_cable_that_a_box_may_have_has_a_name_and_plugs(cable):
    items = words.bring(cable, "55", end_plug=False)
    assert cable not in items[0].id
    assert any(re.search(r"konektor (RJ45|BNC)", item.id) for item in items)
    assert any(re.search(r"(RJ45|BNC) plugs", item.en) for item in items)


def test_a_cable_of_an_unknown_kind_is_named_as_it_is():
    items = words.bring("cat5e", "55", end_plug=False)
    assert [item.en for item in items[:2]] == ["55 m of cat5e", "plugs for it"]


@pytest.mark.parametrize(
    "key", [FindingKey.CABLE_OPEN, FindingKey.CABLE_CAMERA_TAKEN, FindingKey.VIEW_FOREIGN]
)
def test_nobody_is_left_to_take_a_camera_home(key):
    said = say(key, CABLE)
    assert "Jangan bawa pulang kamera" in said.id
    assert "Do not take the camera home" in said.en


def test_a_detail_stands_in_brackets():
    said = say(FindingKey.HUB_UNREACHABLE, {"detail": "connection refused"})
    assert said.en.startswith("The city's hub cannot be reached (connection refused). ")
    assert say(FindingKey.HUB_UNREACHABLE, {}).en.startswith("The city's hub cannot be reached. ")
    said = say(FindingKey.ORDER_REFUSED, {"leaf": "policy", "why": "expired"})
    assert "was refused (policy) (expired)." in said.en
    assert "(81.5 °C)" in say(FindingKey.BOX_HOT, {"celsius": 81.5}).id
    assert "(900 MB)" in say(FindingKey.BOX_DISK_LOW, {"free_mb": 900}).en
    assert "(93 %)" in say(FindingKey.BOX_MEMORY_LOW, {"used_percent": 93}).en
    assert "(3.5 %)" in say(FindingKey.BOX_INODES_LOW, {"free_percent": 3.5}).en
    assert "(90 %)" in say(FindingKey.BOX_CARD_WORN, {"worn_percent": 90}).en
    assert "is covered (40 %)." in say(FindingKey.VIEW_PARTLY_COVERED, {"percent_covered": 40}).en


def test_what_came_from_outside_is_cut_and_tamed():
    said = say(
        FindingKey.CAMERA_NONSENSE,
        {"camera": "Gate", "detail": "\x1b[31m{camera}\r\n" + "x" * 1000},
    )
    assert "\x1b" not in said.en
    assert "\n" not in said.en
    assert "{camera}" in said.en
    assert len(said.en) < 600


@pytest.mark.parametrize(
    ("evidence", "indonesian", "english"),
    [
        (
            {"dx_px": -18.2, "dy_px": -12.4, "percent_of_width": 6.9, "angle_deg": 2.1},
            "18 px ke kiri, 12 px ke atas (7 % lebar gambar), berputar 2° searah jarum jam",
            "18 px left, 12 px up (7 % of the width), turned 2° clockwise",
        ),
        (
            {"dx_px": 9.6, "dy_px": 0.4, "percent_of_width": 3.0, "angle_deg": -0.9},
            "10 px ke kanan (3 % lebar gambar)",
            "10 px right (3 % of the width)",
        ),
        (
            {"dx_px": 0.1, "dy_px": 5, "percent_of_width": 1.6, "zoom_percent": 8.4},
            "5 px ke bawah (2 % lebar gambar), 8 % lebih besar",
            "5 px down (2 % of the width), 8 % larger",
        ),
        (
            {"dx_px": 0.0, "dy_px": 0.0, "angle_deg": -1.0, "zoom_percent": -2},
            "berputar 1° berlawanan jarum jam, 2 % lebih kecil",
            "turned 1° anticlockwise, 2 % smaller",
        ),
        (
            {"dx_px": 0.1, "dy_px": 1.2, "percent_of_width": 0.4, "angle_deg": -2.9},
            "1 px ke bawah, berputar 3° berlawanan jarum jam",
            "1 px down, turned 3° anticlockwise",
        ),
        (
            {"dx_px": "left", "dy_px": True, "angle_deg": float("nan")},
            "entah ke mana",
            "somewhere else",
        ),
        (
            {"dx_px": float("inf"), "dy_px": 10**400, "zoom_percent": 1.9},
            "entah ke mana",
            "somewhere else",
        ),
    ],
)
def test_a_shift_is_told_as_a_viewer_sees_it(evidence, indonesian, english):
    assert words.shift(evidence) == Sentence(indonesian, english)
    for key in (FindingKey.VIEW_MOVED, FindingKey.VIEW_NUDGED):
        assert f" {indonesian}. " in say(key, evidence).id
        assert f" {english}. " in say(key, evidence).en


@pytest.mark.parametrize("key", [FindingKey.VIEW_FILE_DAMAGED, FindingKey.VIEW_OTHER_DEVICE])
def test_what_differs_from_the_commissioning_is_named(key):
    said = say(key, {"camera": "Gang Mawar", "detail": "its digest is wrong"})
    assert "(its digest is wrong). " in said.id
    assert "(its digest is wrong). " in said.en
    assert "edge-agent commission" in say(key, {}).en


SHIFT_FIELDS = ["dx_px", "dy_px", "percent_of_width", "angle_deg", "zoom_percent"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.sampled_from(list(FindingKey)),
    st.dictionaries(
        st.sampled_from(
            [*words._FALLBACK, *words._BRACKETS, *SHIFT_FIELDS, "detail", "length_m", "x"]
        ),
        JSON,
    ),
)
def test_no_evidence_breaks_a_sentence(key, evidence):
    said = say(key, evidence)
    for text in (said.id, said.en):
        assert text.isprintable()
        assert len(text) < 420 + 6 * words.DETAIL_MAX


# ---- notices ----


def test_residents_come_first_then_the_city_then_the_truth():
    faults = [FindingKey.CAMERA_NO_ANSWER]
    assert notice(gate="private", suspended=True, findings=faults) == Sentence(
        "Kamera dimatikan warga", "Switched off by residents"
    )
    assert notice(gate="closed", suspended=True, findings=faults) == words.SUSPENDED
    assert notice(gate="open", suspended=True, findings=[]) == words.SUSPENDED
    assert notice(gate="open", suspended=False, findings=[FindingKey.VIEW_BLURRED]) == words.LIVE
    assert notice(gate="closed", suspended=False, findings=faults) == words.FAULT
    assert notice(gate="held", suspended=False, findings=[FindingKey.CABLE_OPEN]) == words.FAULT
    assert notice(gate="held", suspended=False, findings=[FindingKey.VIEW_FOREIGN]) == words.HELD
    assert (
        notice(gate="held", suspended=False, findings=[FindingKey.CABLE_CAMERA_TAKEN]) == words.HELD
    )
    assert notice(gate="held", suspended=False, findings=[]) == words.CHECKING


@pytest.mark.parametrize(
    ("until_s", "day_id", "day_en"),
    [
        (1_798_736_400.0, "31 Desember 2026", "31 December 2026"),  # midnight in Semarang
        (1_798_736_401.0, "1 Januari 2027", "1 January 2027"),
        (0.0, "1 Januari 1970", "1 January 1970"),
        (253_402_300_799.0, "31 Desember 9999", "31 December 9999"),
    ],
)
def test_a_suspension_names_its_last_day_and_its_reason(until_s: float, day_id: str, day_en: str):
    bare = words.suspended_until(until_s, Sentence("", ""))
    assert bare == Sentence(
        f"Siaran dihentikan sementara oleh kota sampai {day_id}",
        f"Suspended by the city until {day_en}",
    )
    said = words.suspended_until(until_s, Sentence("Anggaran habis", "No budget"))
    assert said == Sentence(f"{bare.id}: Anggaran habis", f"{bare.en}: No budget")
    assert notice(gate="held", suspended=True, findings=[], city=said) == said
    assert notice(gate="private", suspended=True, findings=[], city=said) == words.PRIVATE
    assert notice(gate="open", suspended=False, findings=[], city=said) == words.LIVE


@given(st.sampled_from(State), st.booleans(), st.lists(st.sampled_from(FindingKey), max_size=5))
def test_live_is_only_said_of_an_open_gate_and_every_state_has_a_reason(gate, suspended, findings):
    said = notice(gate=gate.value, suspended=suspended, findings=findings)
    assert said.id
    assert said.en
    if said == words.LIVE:
        assert gate is State.OPEN
        assert not suspended
    if said == words.SUSPENDED:
        assert suspended
    if said == words.FAULT:
        assert findings


def test_the_public_never_reads_what_was_seen_in_a_home():
    for said in (
        words.PRIVATE,
        words.SUSPENDED,
        words.LIVE,
        words.CHECKING,
        words.HELD,
        words.FAULT,
        words.OUTAGE,
    ):
        assert not re.search(r"rumah|home|kabel|cable|password", f"{said.id} {said.en}")
