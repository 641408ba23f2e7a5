"""The input board and the loops, measured by the product's own code on simulated electrics, or by the agent's word."""

from __future__ import annotations

import pytest

from edge_agent.doctor.check import State
from edge_agent.simulate import Bus, Fet
from tests.support.patient import SoundBox


@pytest.fixture
def box(tmp_path) -> SoundBox:
    return SoundBox(tmp_path)


def test_a_whole_loop_is_well_with_its_counts(box):
    assert box.one("adc.self-test").state is State.OK
    result = box.one("loop.counts")
    assert (result.state, result.about) == (State.OK, "gate")
    assert "channel 0: 18" in result.seen  # some 1810 counts: 118.8 ohm
    assert result.seen.endswith("ohm: normal")
    assert "250 mA" in box.one("camera.current").seen


def test_the_excitation_is_off_afterwards(box):
    box.one("adc.self-test")
    pin = box.factory.pin(25)
    assert pin.state  # active low, or given back to its pull-up


@pytest.mark.parametrize(
    ("fet", "bus", "seen"),
    [
        (Fet.DEAD, Bus.WORKS, "nothing on any channel"),
        (Fet.STUCK, Bus.WORKS, "with the excitation off"),
        (Fet.WORKS, Bus.STUCK_HIGH, "with the excitation off"),
        (Fet.WORKS, Bus.STUCK_LOW, "nothing on any channel"),
        (Fet.WORKS, Bus.GONE, "the SPI port cannot be opened"),
    ],
)
def test_a_sick_board_is_a_fault_of_the_box_not_of_a_cable(box, fet, bus, seen):
    box.street.board.fet, box.street.board.bus = fet, bus
    found = box.ask("adc.self-test")
    assert any(seen in result.seen for result in found)
    assert {result.state for result in found} == {State.FAULT}
    assert box.ask("loop.counts") == []


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ({"cut_at_m": 20.0}, "open"),
        ({"short_at_m": 10.0}, "short"),
        ({"plug_at_m": 5.0}, "shorter"),
        ({"tamper_open": True}, "tamper"),
    ],
)
def test_a_loop_that_is_not_as_commissioned_is_named(box, spoil, word):
    pair = box.street.pair("gate")
    for name, value in spoil.items():
        setattr(pair, name, value)
    result = box.one("loop.counts")
    assert result.state is State.FAULT
    assert f"{word}, 50 m" in result.seen


def test_a_loop_that_was_never_commissioned_still_tells_open(box):
    (box.config.parent / "state/runs/gate.run").unlink()
    assert "not commissioned" in box.one("loop.counts").seen
    box.street.pair("gate").cut_at_m = 20.0
    assert box.one("loop.counts").state is State.FAULT


def test_a_camera_that_draws_nothing_is_told(box):
    box.street.board.draws[0].fed = False
    assert box.one("camera.current").state is State.WARNING


def test_a_digital_loop_is_read_and_given_back(tmp_path):
    box = SoundBox(tmp_path)
    box.edit("loop_channel = 0", "loop_pin = 5")
    pin = box.factory.pin(5)
    pin.ground(closed=True)
    assert box.one("loop.state").seen == "GPIO5: closed"
    pin.ground(closed=False)
    assert box.one("loop.state").state is State.FAULT
    pin.trouble = RuntimeError("GPIO busy")
    assert "another program" in box.one("loop.state").seen
    box.factory = None
    assert box.ask("loop.state") == []


def test_beside_the_agent_its_word_is_taken_and_nothing_measured(box):
    box.run_agent()
    box.street.board.bus = Bus.GONE
    assert box.one("adc.self-test").state is State.OK
    assert box.one("loop.state").seen == "the agent says: normal"
    assert box.ask("loop.counts") == []


@pytest.mark.parametrize(
    ("cable", "state"), [("open", "fault"), ("unknown", "warning"), ("no loop", "ok")]
)
def test_what_the_agent_says_of_a_cable(box, cable, state):
    box.run_agent(cameras=[{"id": "gate", "cable": cable}, {"id": "other", "cable": "open"}])
    assert box.one("loop.state").state.value == state


def test_a_board_that_the_agent_cannot_read_is_told(box):
    box.run_agent(findings=[{"key": "cable_unreadable", "id": "papan", "en": "board"}])
    assert box.one("adc.self-test").remedy.en == "board"
    box.status = None
    assert box.ask("adc.self-test") == []
    assert box.ask("loop.state") == []


def test_without_loops_nothing_is_asked(box):
    start, end = box.text.index("[[run]]"), box.text.index("[privacy]")
    box.write(box.text[:start] + box.text[end:])
    assert box.ask("adc.self-test") == []
    box.write("nonsense")
    assert box.ask("adc.self-test") == []
    assert box.ask("loop.state") == []
