"""Switch, relay and lamps: read alone, or by the agent's word; never driven but on request."""

from __future__ import annotations

import pytest

from edge_agent.doctor import switch
from edge_agent.doctor.check import State
from tests.support.patient import SoundBox


@pytest.fixture
def box(tmp_path) -> SoundBox:
    return SoundBox(tmp_path)


def levels(box) -> dict[int, tuple[str, object]]:
    return {
        number: (pin.function, pin.state)
        for number, pin in ((n, box.factory.pin(n)) for n in (16, 17, 19, 22, 23, 27))
    }


def test_a_live_switch_with_power_is_well(box):
    before = levels(box)
    assert box.one("switch.contacts").seen == "NC closed, NO open: live"
    assert box.one("switch.relay").state is State.OK
    assert box.one("switch.fitted").seen == "latching"
    assert levels(box) == before  # nothing was driven, all was given back


def test_a_pressed_switch_is_no_fault(box):
    box.street.press()
    box.street.settle()
    assert "private" in box.one("switch.contacts").seen
    assert "no power, as the switch" in box.one("switch.relay").seen


def test_a_cut_wire_of_the_switch_is_found(box):
    box.street.cut_switch_wire("nc")
    result = box.one("switch.contacts")
    assert result.state is State.FAULT
    assert "are both open" in result.seen


def test_crushed_wires_of_the_switch_are_found(box):
    box.street.short_switch_wire()
    assert "are both closed" in box.one("switch.contacts").seen


def test_swapped_wires_are_found_by_the_relay(box):
    box.street.press()
    box.street.settle()
    box.street.swap_switch_wires()
    assert "no power, and the switch is live" in box.one("switch.relay").seen


def test_a_relay_that_does_not_let_go_is_found(box):
    box.street.press()
    box.street.short_feedback_wire()
    box.street.settle()
    contact = box.factory.pin(19)
    contact.ground(closed=False)  # HIGH: it says powered for ever
    assert "power, and the switch is private" in box.one("switch.relay").seen


def test_a_pump_that_nobody_drives_gives_no_power(box):
    box.edit('relay = "force_off"', 'relay = "pump"')
    box.factory.pin(19).ground(closed=True)
    assert box.one("switch.relay").state is State.OK
    box.factory.pin(19).ground(closed=False)
    assert box.one("switch.relay").state is State.FAULT


def test_a_switch_that_cannot_be_read_says_who_has_it(box):
    box.factory.owners[17] = "gpio-button"
    box.factory.pin(17).trouble = RuntimeError("GPIO busy")
    result = box.one("switch.contacts")
    assert result.state is State.FAULT
    assert "gpio-button" in result.seen


def test_a_feedback_that_cannot_be_read_is_a_fault_of_the_relay(box):
    box.factory.pin(19).trouble = RuntimeError("GPIO busy")
    assert box.one("switch.contacts").state is State.OK
    assert "GPIO19" in box.one("switch.relay").seen


def test_without_a_feedback_nothing_is_said_of_the_relay(box):
    box.edit("feedback_pin = 19\n", "")
    assert box.ask("switch.relay") == []


def test_a_button_that_is_down_is_told(box):
    box.edit('switch = "latching"', 'switch = "momentary"')
    assert "not pressed" in box.one("switch.contacts").seen
    box.factory.pin(17).ground(closed=False)
    assert box.one("switch.contacts").state is State.WARNING


def test_a_box_without_a_switch_is_told_and_not_read(box):
    box.edit('switch = "latching"', 'switch = "none"')
    box.edit('feedback_pin = 19\nrelay = "force_off"\n', "")
    assert box.one("switch.fitted").state is State.WARNING
    assert box.ask("switch.contacts") == []


# ---- beside the agent ----


def test_beside_the_agent_its_word_is_taken_and_no_pin_touched(box):
    box.run_agent()
    for number in (17, 27, 19):
        box.factory.pin(number).trouble = AssertionError("somebody touched a pin of the agent's")
    assert box.one("switch.contacts").seen == "the agent reads it: live"
    assert box.one("switch.relay").state is State.OK
    assert "1 days ago" in box.one("switch.press-test").seen
    assert box.one("switch.lamps").state is State.OK


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ("privacy_wiring", "switch.contacts"),
        ("privacy_unreadable", "switch.contacts"),
        ("privacy_relay", "switch.relay"),
    ],
)
def test_what_the_agent_finds_wrong_is_told_with_its_words(box, wrong, key):
    said = {"key": wrong, "camera": None, "id": "Kabel tombol salah.", "en": "Wires."}
    box.run_agent(private={"on": True, "fault": wrong}, findings=[said])
    result = box.one(key)
    assert result.state is State.FAULT
    assert result.remedy.id == "Kabel tombol salah."


def test_a_press_test_that_is_overdue_is_told(box):
    box.run_agent(findings=[{"key": "privacy_press_test", "id": "x", "en": "y"}])
    assert box.one("switch.press-test").state is State.WARNING


def test_lamps_that_the_agent_cannot_drive_are_told(box):
    box.run_agent(findings=[{"key": "privacy_undriven", "id": "lampu", "en": "lamp"}])
    assert box.one("switch.lamps").remedy.en == "lamp"


def test_an_agent_that_says_nothing_is_asked_for_no_pin(box):
    box.run_agent()
    box.status = None
    assert box.ask("switch.contacts") == []
    assert box.ask("switch.lamps") == []


# ---- lamps ----


def test_each_lamp_is_lit_in_turn_and_only_on_request(box, monkeypatch):
    monkeypatch.setattr(switch, "LAMP_S", 0.01)
    assert box.ask("switch.lamps") == []
    box.edit("[privacy]", "[privacy]\nbuzzer_pin = 24")
    pins = [box.factory.pin(number) for number in (23, 22, 24)]
    for pin in pins:
        pin.clear_states()
    found = box.ask("switch.lamps", lamps=True)
    assert [result.about for result in found] == ["lamp of private", "lamp of live", "buzzer"]
    assert {result.state for result in found} == {State.OK}
    for pin in pins:
        assert True in [state.state for state in pin.states]
        assert pin.function == "input"  # given back


def test_a_lamp_that_cannot_be_driven_is_named(box, monkeypatch):
    monkeypatch.setattr(switch, "LAMP_S", 0.01)
    box.factory.pin(23).trouble = RuntimeError("GPIO busy")
    found = {result.about: result for result in box.ask("switch.lamps", lamps=True)}
    assert found["lamp of private"].state is State.FAULT
    assert found["lamp of live"].state is State.OK
    box.factory = None
    assert {result.state for result in box.ask("switch.lamps", lamps=True)} == {State.FAULT}
