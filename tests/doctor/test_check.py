"""What a result is, and the small files that checks read."""

from __future__ import annotations

import pytest

from edge_agent.clock import SystemClock
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Agent, Patient, State, fault, no_program, text_of, warning, well

REMEDY = Sentence("Perbaiki.", "Put it right.")


def test_what_is_not_well_comes_with_what_to_do():
    assert well("a.b", "good", about="gate").remedy is None
    assert (warning("a.b", "odd", REMEDY).state, fault("a.b", "bad", REMEDY).state) == (
        State.WARNING,
        State.FAULT,
    )
    assert fault("a.b", "bad", REMEDY).remedy is REMEDY


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"Raspberry Pi 4\0", "Raspberry Pi 4"),
        (b" 12\n", "12"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_a_small_file_is_read_whatever_is_in_it(tmp_path, raw, text):
    (tmp_path / "file").write_bytes(raw)
    assert text_of(tmp_path / "file") == text


def test_a_file_that_is_not_there_is_none(tmp_path):
    assert text_of(tmp_path / "none") is None
    assert text_of(tmp_path) is None
    assert text_of(tmp_path / "a\0") is None


def test_a_copy_of_a_box_touches_nothing_of_this_machine(tmp_path):
    patient = Patient(settings=None, config_file=tmp_path, clock=SystemClock(), root=tmp_path)
    assert patient.below("/etc/passwd") == tmp_path / "etc/passwd"
    assert patient.factory is None
    assert patient.agent == Agent()
    assert patient.program is no_program
    assert no_program(("systemctl",)) is None
