"""How a report looks."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from edge_agent import __version__
from edge_agent.core.words import Sentence
from edge_agent.doctor import page
from edge_agent.doctor.check import Agent, fault, warning, well
from edge_agent.doctor.run import Answer, Report
from tests.support.patient import SoundBox

REMEDY = Sentence("Pasang kabelnya.", "Plug the cable in.")
REPORT = Report(
    answers=(
        Answer(group="board", result=well("board.model", "Raspberry Pi 4")),
        Answer(group="hub", result=fault("hub.tcp", "refused [bold]\x1b[31m", REMEDY)),
        Answer(group="hub", result=warning("hub.way", "slow", REMEDY, about="gate")),
    ),
    took_s=1.23,
)


@pytest.fixture
def box(tmp_path) -> SoundBox:
    return SoundBox(tmp_path)


def shown(patient, language: str | None = "en", report: Report = REPORT) -> str:
    text = io.StringIO()
    Console(file=text, width=100).print(page.render(report, patient, language=language))
    return text.getvalue()


def test_the_group_with_the_worst_answer_comes_first(box):
    text = shown(box.patient())
    assert text.index("hub.tcp") < text.index("hub.way") < text.index("board.model")
    assert "FAULT" in text
    assert "do: Plug the cable in." in text
    assert "hub.way [gate]: slow" in text
    assert "1 ok, 1 warning, 1 fault, in 1.2 s" in text


def test_in_indonesian_the_remedy_is_indonesian(box):
    assert "lakukan: Pasang kabelnya." in shown(box.patient(), "id")


def test_nothing_that_was_seen_commands_the_terminal(box):
    text = shown(box.patient())
    assert "\x1b" not in text
    assert "[bold]" in text  # shown as it is, not obeyed


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (Agent(), "does not run"),
        (Agent(running=True), "says nothing"),
        (Agent(running=True, status={"box": "x"}), "beside the running agent"),
    ],
)
def test_it_says_which_way_the_box_was_examined(box, agent, said):
    assert said in shown(box.patient(agent=agent))


def test_the_object_is_json_and_stable(box):
    told = json.loads(json.dumps(page.as_json(REPORT, box.patient())))
    assert told["doctor"] == __version__
    assert (told["state"], told["box"], told["took_s"]) == ("fault", "box-7", 1.23)
    assert told["counts"] == {"ok": 1, "warning": 1, "fault": 1}
    assert told["agent"] == {"running": False, "answers": False}
    assert told["results"][2] == {
        "key": "hub.way",
        "group": "hub",
        "state": "warning",
        "about": "gate",
        "seen": "slow",
        "id": "Pasang kabelnya.",
        "en": "Plug the cable in.",
    }
    assert told["results"][0]["en"] is None


def test_without_a_configuration_the_box_has_no_name(box):
    box.write("nonsense")
    assert page.as_json(REPORT, box.patient())["box"] is None
    assert "this box" in shown(box.patient())


def test_if_nothing_is_said_the_remedy_is_in_both_languages(box):
    text = shown(box.patient(), None)
    assert text.index("lakukan: Pasang kabelnya.") < text.index("do: Plug the cable in.")
    assert "Pasang" not in shown(box.patient(), "en")
    assert "Plug" not in shown(box.patient(), "id")


def test_what_is_to_be_done_for_several_lines_is_said_once_below_them(box):
    same = tuple(
        Answer(group="files", result=fault("config.sound", f"line {n}", REMEDY)) for n in (1, 2)
    )
    other = Answer(group="files", result=fault("files.config", "open", Sentence("Tutup.", "Shut.")))
    text = shown(box.patient(), report=Report(answers=(*same, other), took_s=1))
    assert text.count("Plug the cable in.") == 1
    assert (
        text.index("line 2") < text.index("Plug the cable in.") < text.index("files.config: open")
    )
    assert "Shut." in text


def test_the_last_line_names_each_fault_once(box):
    assert shown(box.patient()).rstrip().endswith("FAULT: hub.tcp")
    answers = [("hub.tcp", None), ("camera.reach", "gate"), ("hub.tcp", None)]
    faults = tuple(
        Answer(group="hub", result=fault(key, "x", REMEDY, about=about)) for key, about in answers
    )
    text = shown(box.patient(), report=Report(answers=faults, took_s=1))
    assert text.rstrip().endswith("FAULT: hub.tcp, camera.reach [gate]")
    fine = Report(answers=REPORT.answers[:1], took_s=1)
    assert "FAULT" not in shown(box.patient(), report=fine)
