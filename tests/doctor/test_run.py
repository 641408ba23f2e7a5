"""All checks side by side: one that breaks, hangs or cannot be loaded is a fault of its own, and costs the others nothing."""

from __future__ import annotations

import socket
import sys
import threading
import types

import pytest

from edge_agent.clock import SystemClock
from edge_agent.doctor import run
from edge_agent.doctor.check import Check, State, warning, well
from edge_agent.doctor.run import (
    MODULES,
    Report,
    agent_beside,
    badness,
    examine,
    load,
    run_program,
    unit_properties,
)
from edge_agent.status import StatusServer
from tests.doctor.test_check import REMEDY
from tests.support.patience import patient
from tests.support.patient import PASSWORD, SoundBox


@pytest.fixture
def box(tmp_path) -> SoundBox:
    return SoundBox(tmp_path)


def check(key: str, ask, group: str = "board") -> Check:
    return Check(key=key, group=group, ask=ask)


def fine(patient):
    return [well("a.fine", "good")]


def states(report: Report) -> dict[str, State]:
    return {answer.result.key: answer.result.state for answer in report.answers}


# ---- asking ----


def test_a_check_that_breaks_is_a_fault_with_its_name_and_without_what_it_read(box):
    def broken(patient):
        raise ValueError(PASSWORD)

    report = examine(box.patient(), [check("a.broken", broken), check("a.fine", fine)])
    assert states(report) == {"a.broken": State.FAULT, "a.fine": State.OK}
    assert report.state is State.FAULT
    (answer,) = [a.result for a in report.answers if a.result.key == "a.broken"]
    assert answer.seen.startswith("the check itself broke: ValueError in broken, line")
    assert PASSWORD not in repr(report)


def test_a_check_that_hangs_is_a_fault_with_its_name(box):
    forever = threading.Event()
    checks = [check("a.hangs", lambda _: [forever.wait()]), check("a.fine", fine)]
    report = examine(box.patient(within_s=4.0), checks)
    forever.set()
    assert states(report) == {"a.hangs": State.FAULT, "a.fine": State.OK}
    assert "no answer within 4 s" in repr(report)


def test_one_that_has_much_to_load_and_is_late_is_a_warning(box):
    forever = threading.Event()

    def waits(patient):
        forever.wait()
        return []

    late = Check(key="a.late", group="board", ask=waits, slow=True)
    report = examine(box.patient(within_s=0.5), [late])
    forever.set()
    assert states(report) == {"a.late": State.WARNING}


def test_checks_do_not_wait_for_each_other(box):
    # Each waits for the other: one after the other they would never end.
    meeting = threading.Barrier(2, timeout=patient(20))
    checks = [check(f"a.{n}", lambda _: [well(str(meeting.wait()), "met")]) for n in range(2)]
    assert set(states(examine(box.patient(within_s=patient(20)), checks))) == {"0", "1"}


def test_answers_come_group_by_group_the_worst_first(box):
    checks = [
        check("h.fine", lambda _: [well("h.fine", "x")], "hub"),
        check("b.fine", lambda _: [well("b.fine", "x")], "board"),
        check("b.odd", lambda _: [warning("b.odd", "x", REMEDY)], "board"),
        check("n.none", lambda _: [], "board"),
        check("o.other", lambda _: [well("o.other", "x")], "other"),
    ]
    report = examine(box.patient(), checks)
    assert [a.result.key for a in report.answers] == ["b.odd", "b.fine", "h.fine", "o.other"]
    assert report.state is State.WARNING
    assert [badness(state) for state in State] == [0, 1, 2]


def test_the_time_counts_from_the_beginning_of_the_command(box):
    seen: list[float] = []

    def looks(patient):
        seen.append(patient.left_s())
        return fine(patient)

    now = box.patient().clock.now()
    report = examine(box.patient(within_s=100.0, began_at=now - 60.0), [check("a.fine", looks)])
    assert 0 < seen[0] <= 40.0
    assert report.took_s >= 60.0


def test_after_a_slow_start_the_checks_have_their_time_all_the_same(box, monkeypatch):
    least_s = patient(run._LEAST_S)
    monkeypatch.setattr(run, "_LEAST_S", least_s)
    seen: list[float] = []
    meeting = threading.Event()

    def late(patient):
        seen.append(patient.left_s())
        meeting.wait(20)
        return fine(patient)

    def lets_go(_):
        meeting.set()
        return [well("a.other", "good")]

    began = box.patient().clock.now() - 3600.0
    checks = [check("a.fine", late), check("a.other", lets_go)]
    report = examine(box.patient(within_s=60.0, began_at=began), checks)
    assert set(states(report).values()) == {State.OK}
    assert 0 < seen[0] <= least_s


def test_nothing_asked_is_well(box):
    assert examine(box.patient(), []).state is State.OK


# ---- loading ----


def test_a_module_that_cannot_be_loaded_costs_its_own_checks_only(monkeypatch):
    class Damaged(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise ImportError("libopencv_core.so: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "edge_agent.doctor.hub_checks", Damaged("damaged"))
    checks, faults = load(("board", "hub_checks"))
    assert {found.group for found in checks} == {"board"}
    (fault,) = faults
    assert (fault.group, fault.result.key, fault.result.state) == (
        "hub",
        "doctor.hub_checks",
        State.FAULT,
    )


def test_all_keys_are_there_once_and_at_least_thirty():
    checks, faults = load()
    assert faults == ()
    keys = [key for found in checks for key in (found.key, *found.also)]
    assert len(keys) == len(set(keys)), sorted(keys)
    assert len(keys) >= 30
    assert {found.group for found in checks} <= set(run.GROUPS)


def test_a_sound_box_has_no_false_alarm(box):
    # What lies around the box is asked about elsewhere.
    own = [check for check in load(MODULES[:7])[0] if check.key != "commission.view"]
    report = examine(box.patient(within_s=30), own)
    bad = [a.result for a in report.answers if a.result.state is not State.OK]
    # The unit is not started: so the box is as a technician has it before the first start.
    assert [result.key for result in bad] == ["service.unit"]


# ---- the service beside us ----


def test_an_agent_that_answers_is_heard(tmp_path):
    path = str(tmp_path / "s")
    with StatusServer(path, lambda: b'{"box": "box-7"}'):
        agent = agent_beside(path, lambda command: None)
    assert agent.running
    assert agent.status == {"box": "box-7"}


def test_no_socket_and_no_unit_is_no_agent(tmp_path):
    agent = agent_beside(str(tmp_path / "s"), lambda command: None)
    assert not agent.running
    assert agent.status is None
    assert "not running" in agent.why_silent


def test_a_socket_that_was_left_over_is_no_agent(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    assert not agent_beside(str(tmp_path / "s"), lambda command: None).running


@pytest.mark.parametrize("state", ["activating", "active"])
def test_a_unit_that_is_about_to_start_owns_its_pins_already(box, state):
    box.unit["ActiveState"] = state
    assert agent_beside(str(box.folder / "none"), box.program).running


@pytest.mark.parametrize(("job", "running"), [("", False), ("0", False), ("412", True)])
def test_a_unit_that_waits_for_others_at_boot_owns_its_pins_already(box, job, running):
    box.unit["Job"] = job
    assert agent_beside(str(box.folder / "none"), box.program).running is running


def test_an_agent_that_hangs_is_still_an_agent(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_STATUS_S", 0.2)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen(1)
        agent = agent_beside(str(tmp_path / "s"), lambda command: None)
    assert agent.running
    assert agent.status is None
    assert "hangs" in agent.why_silent


def test_a_unit_that_is_not_there_has_no_properties(box):
    assert unit_properties(box.program)["User"] == "edge-agent"
    box.unit = {"LoadState": "not-found", "User": ""}
    assert unit_properties(box.program) == {}
    box.has_systemd = False
    assert unit_properties(box.program) == {}


def test_a_program_that_is_not_there_fails_or_hangs_says_nothing(monkeypatch):
    assert run_program(("echo", "word")) == "word\n"
    assert run_program(("false",)) is None
    assert run_program(("edge-agent-no-such-program",)) is None
    monkeypatch.setattr(run, "_PROGRAM_S", 0.2)
    assert run_program(("sleep", "60")) is None


def test_a_program_is_run_once_however_many_ask(monkeypatch):
    ran: list[tuple[str, ...]] = []

    def once(command: tuple[str, ...]) -> str | None:
        ran.append(command)
        return None if command == ("fails",) else " ".join(command)

    monkeypatch.setattr(run, "run_program", once)
    asked = run.Asked()
    assert [asked(("a", "b")) for _ in range(3)] == ["a b"] * 3
    assert [asked(("fails",)) for _ in range(3)] == [None] * 3
    assert ran == [("a", "b"), ("fails",)]


def test_a_program_that_hangs_holds_up_nobody_who_asks_another(monkeypatch):
    hung, begun = threading.Event(), threading.Event()

    def some(command: tuple[str, ...]) -> str | None:
        if command == ("hangs",):
            begun.set()
            hung.wait(20)
        return "word"

    monkeypatch.setattr(run, "run_program", some)
    asked = run.Asked()
    waiting = threading.Thread(target=asked, args=(("hangs",),))
    waiting.start()
    assert begun.wait(20)
    assert asked(("echo",)) == "word"
    assert waiting.is_alive()
    hung.set()
    waiting.join(20)


def test_the_clock_is_the_patients(box):
    assert isinstance(box.patient().clock, SystemClock)
    assert examine(box.patient(), [check("a.fine", fine)]).took_s >= 0
