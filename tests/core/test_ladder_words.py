"""Each fault on the way to the hub has its sentence in both languages, whatever the evidence holds."""

from __future__ import annotations

import pytest

from edge_agent.core.ladder_words import WORDS, say
from edge_agent.core.messages import Fault


def test_every_fault_has_its_own_sentence():
    assert set(WORDS) == set(Fault)
    assert len({said.en for said in WORDS.values()}) == len({said.id for said in WORDS.values()})
    assert len({said.en for said in WORDS.values()}) == len(Fault)


@pytest.mark.parametrize("fault", Fault)
def test_it_says_what_is_seen_what_that_means_and_what_to_do(fault):
    said = WORDS[fault]
    for text in (said.id, said.en):
        assert text.count("{seen}") == 1
        assert text.count(". ") + text.endswith(".") >= 3
        assert len(text) < 360
    assert said.id != said.en


def test_evidence_stands_in_brackets_and_never_breaks_a_line():
    said = say(Fault.NO_CARRIER, "eth0: no link\n\x1b[2J{seen}" + "x" * 500)
    assert "(eth0: no link" in said.en
    assert "\n" not in said.en
    assert "\x1b" not in said.id
    assert "()" not in say(Fault.NO_CARRIER, "").en
