"""What becomes of each part of a card."""

from __future__ import annotations

import itertools

import pytest

from edge_agent.core.card import Fault, Part, Report, Standing, troubled, verdict
from edge_agent.core.words import Sentence

FAULT = Fault(where="x", said=Sentence("a", "b"), remedy=Sentence("c", "d"))


@pytest.mark.parametrize("part", [Part.BOX, Part.CERTIFICATE, Part.NETWORK])
@pytest.mark.parametrize(
    ("present", "faults", "in_use", "standing"),
    [
        (True, [], False, Standing.TAKEN),
        (True, [], True, Standing.TAKEN),
        (True, [FAULT], True, Standing.KEPT),
        (True, [FAULT], False, Standing.NONE),
        (False, [], True, Standing.KEPT),
        (False, [], False, Standing.NONE),
    ],
)
def test_what_is_wrong_never_takes_the_place_of_what_was_good(
    part, present, faults, in_use, standing
):
    assert verdict(part, faults=faults, present=present, in_use=in_use).standing is standing


def test_keys_for_ssh_are_never_kept_from_before():
    for faults, in_use in itertools.product(([], [FAULT]), (True, False)):
        made = verdict(Part.KEYS, faults=faults, present=False, in_use=in_use)
        assert made.standing is Standing.NONE
    assert verdict(Part.KEYS, faults=[FAULT], present=True, in_use=False).standing is Standing.TAKEN


def test_somebody_has_to_come_for_a_fault_and_for_a_box_that_cannot_work_or_send():
    def parts(*verdicts):
        return troubled(Report(place="", count=1, verdicts=verdicts))

    none = {
        part: verdict(part, faults=[], present=False, in_use=False)
        for part in (Part.BOX, Part.CERTIFICATE, Part.NETWORK, Part.KEYS)
    }
    assert parts(*none.values()) == ("box.toml", "hub/box.pem")
    kept = verdict(Part.CERTIFICATE, faults=[], present=False, in_use=True)
    assert parts(kept) == ()
    for part in Part:
        assert parts(verdict(part, faults=[FAULT], present=True, in_use=True)) == (part.value,)
