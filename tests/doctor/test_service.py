"""The service: its unit, its watchdog, its answer, its own findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.doctor.check import Agent, State
from edge_agent.doctor.service import finding_of
from tests.support.patient import SoundBox

FINDING = {
    "key": "cable_open",
    "camera": "gate",
    "since_s": 600.0,
    "id": "Kabel putus.",
    "en": "Cut.",
}


@pytest.fixture
def box(tmp_path) -> SoundBox:
    found = SoundBox(tmp_path)
    found.run_agent()
    return found


def test_a_running_service_is_well(box):
    for key in ("service.unit", "service.watchdog", "service.others", "service.answers"):
        assert box.one(key).state is State.OK
    assert "nothing wrong" in box.one("service.findings").seen


@pytest.mark.parametrize(
    ("unit", "state", "seen"),
    [
        ({"ActiveState": "failed", "Result": "exit-code"}, "fault", "exit-code"),
        ({"ActiveState": "inactive"}, "fault", "inactive"),
        ({"UnitFileState": "disabled"}, "fault", "after a power cut"),
        ({"UnitFileState": "masked"}, "fault", "after a power cut"),
        ({"NRestarts": "7"}, "warning", "7 times"),
    ],
)
def test_a_unit_that_is_not_as_it_should_be_is_named(box, unit, state, seen):
    box.unit |= unit
    result = box.one("service.unit")
    assert result.state.value == state
    assert seen in result.seen


def test_a_unit_without_a_watchdog_is_a_fault(box):
    box.unit["WatchdogUSec"] = "0"
    assert box.one("service.watchdog").state is State.FAULT


def test_other_units_that_failed_are_named(box):
    box.failed = (
        "ssh.service loaded failed failed OpenBSD\nedge-agent.service loaded failed failed\n"
    )
    result = box.one("service.others")
    assert result.state is State.WARNING
    assert "ssh.service" in result.seen
    assert "edge-agent" not in result.seen


def test_an_installed_box_without_its_unit_is_a_fault_and_a_tried_one_is_not(box):
    box.unit = {"LoadState": "not-found"}
    assert box.ask("service.unit") == []
    installed = box.ask("service.unit", config_file=Path("/etc/edge-agent/box.toml"))
    assert [result.state for result in installed] == [State.FAULT]
    box.has_systemd = False
    assert box.ask("service.unit", config_file=Path("/etc/edge-agent/box.toml")) == []


def test_an_agent_that_runs_and_says_nothing_is_a_fault(box):
    box.status = None
    assert box.one("service.answers").state is State.FAULT
    assert box.ask("service.answers", agent=Agent()) == []


def test_what_the_agent_found_is_told_with_its_own_words(box):
    box.run_agent(findings=[FINDING])
    result = box.one("service.findings")
    assert (result.state, result.about) == (State.WARNING, "gate")
    assert result.seen == "cable_open, for 10 min"
    assert result.remedy.id == "Kabel putus."
    assert finding_of(box.patient(), "cable_open") == result.remedy
    assert finding_of(box.patient(), "cable_short") is None


def test_what_the_switchs_checks_tell_is_told_once(box):
    box.run_agent(findings=[FINDING | {"key": "privacy_wiring", "camera": None}])
    assert box.one("service.findings").state is State.OK
    assert "1 findings" in box.one("service.answers").seen


@pytest.mark.parametrize("odd", [None, "many", {"a": 1}, [1, None, "x"]])
def test_an_agent_of_another_version_does_not_break_the_doctor(box, odd):
    box.run_agent(findings=odd)
    assert box.one("service.findings").state is State.OK
