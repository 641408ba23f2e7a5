"""`edge-agent doctor` as a technician types it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from edge_agent.cli import main as cli
from edge_agent.clock import SystemClock
from edge_agent.doctor import command, run
from edge_agent.doctor.check import State
from edge_agent.doctor.run import load
from edge_agent.status import StatusServer
from tests.support.patient import SoundBox

ROOT = Path(__file__).resolve().parents[2]
BARE = """\
[identity]
kelurahan = "kuningan"
rw = "03"
rt = "05"
box = "box-7"
[hub]
host = "127.0.0.1"
port = 1
[privacy]
switch = "none"
lamp_private_pin = false
lamp_live_pin = false
[journal]
folder = "journal"
disk_floor_mb = 50
[paths]
status_socket = "run/s"
views_folder = "views"
baselines_folder = "runs"
pairs_folder = "pairs"
"""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch) -> Path:
    """A developer's machine: no pins, no cameras; only the checks of the box itself, as no hub listens here."""
    monkeypatch.setattr(run, "MODULES", ("versions", "board", "header", "switch", "loops", "files"))
    monkeypatch.setattr(
        command, "examine", lambda patient: run.examine(patient, load(run.MODULES)[0])
    )
    path = tmp_path / "box.toml"
    path.write_text(BARE)
    path.chmod(0o640)
    return path


def test_a_machine_without_hardware_has_no_fault(bare, capsys):
    assert command.main(["--config", str(bare)]) == command.EXIT_WELL
    said = capsys.readouterr().out
    assert "box-7" in said
    assert "FAULT" not in said


def test_json_is_one_object_and_the_code_tells_a_fault(bare, capsys):
    assert command.main(["--config", str(bare), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] in {"ok", "warning"}
    bare.write_text(BARE + "nonsense = 1\n")
    assert command.main(["--config", str(bare), "--json"]) == command.EXIT_FAULTS
    told = json.loads(capsys.readouterr().out)
    assert [r["key"] for r in told["results"] if r["state"] == "fault"] == ["config.sound"]


def test_a_configuration_that_is_missing_is_an_answer(bare, capsys):
    assert command.main(["--config", str(bare.with_name("none.toml"))]) == command.EXIT_FAULTS
    assert "config.sound" in capsys.readouterr().out


def test_a_configuration_that_one_may_not_read_is_not_done(bare, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert command.main(["--config", str(bare)]) == command.EXIT_NOT_DONE
    assert "with sudo" in capsys.readouterr().err


def test_lamps_are_refused_while_the_agent_runs(bare, capsys):
    (bare.parent / "run").mkdir()
    with StatusServer(str(bare.parent / "run/s"), lambda: b'{"box": "box-7"}'):
        assert command.main(["--config", str(bare), "--lamps"]) == command.EXIT_NOT_DONE
        assert "systemctl stop" in capsys.readouterr().err
        assert command.main(["--config", str(bare)]) == 0
        assert "beside the running agent" in capsys.readouterr().out


def test_lamps_may_take_their_time_when_it_does_not_run(bare):
    assert command.main(["--config", str(bare), "--lamps"]) == 0


def test_a_bundle_is_written_beside_the_answers(bare, capsys, tmp_path):
    target = tmp_path / "support.tar.gz"
    assert command.main(["--config", str(bare), "--bundle", str(target)]) == 0
    assert "no secret" in capsys.readouterr().out
    with tarfile.open(target) as tar:
        assert "edge-agent-support/doctor.json" in tar.getnames()


def test_a_bundle_that_cannot_be_written_is_not_done(bare, capsys, tmp_path):
    assert command.main(["--config", str(bare), "--bundle", str(tmp_path / "no/b.tar.gz")]) == 2
    said = capsys.readouterr()
    assert "No such file" in said.err
    assert "box-7" in said.out  # the answers are there all the same
    assert not (tmp_path / "no").exists()  # a stick that is not mounted: nothing lands on the card


def test_the_loading_of_the_program_counts():
    # Of a young process, as the command is one, and told by itself; this one did other things before.
    asks = (
        "from edge_agent.doctor.command import began_at; from edge_agent.clock import SystemClock as C; c = C(); "
        "print(c.now() - began_at(c))"
    )
    clock = SystemClock()
    before = clock.now()
    told = subprocess.run([sys.executable, "-c", asks], capture_output=True, check=True, text=True)
    assert 0.02 < float(told.stdout) <= clock.now() - before + 0.02  # in ticks of 10 ms


def test_pins_are_opened_once_and_only_for_a_box_that_has_some(tmp_path, monkeypatch):
    import edge_agent.sensors

    box = SoundBox(tmp_path)
    opened: list[object] = []

    def pins() -> tuple[object, str]:
        opened.append(box.factory)
        return box.factory, ""

    monkeypatch.setattr(edge_agent.sensors, "real_factory", pins)
    box.factory.owners[17] = "someone"
    patient = command.admit(box.config)
    assert (patient.factory, patient.owners) == (box.factory, {17: "someone"})
    box.write(BARE)
    assert command.admit(box.config).factory is None
    assert len(opened) == 1


def test_it_is_a_command_of_the_agent(bare, capsys):
    assert cli(["doctor", "--config", str(bare), "--json"]) == 0
    with pytest.raises(SystemExit) as ended:
        cli(["doctor", "--help"])
    assert ended.value.code == 0
    assert "0 no fault" in capsys.readouterr().out


# ---- the page ----


def test_the_page_lists_every_check_and_no_other():
    page = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    told = re.findall(r"(?m)^\| `([a-z-]+\.[a-z-]+)` \|", page)
    checks, faults = load(run.MODULES)
    assert faults == ()
    known = {key for check in checks for key in (check.key, *check.also)}
    assert len(told) == len(set(told))
    assert set(told) == known


def test_the_page_tells_each_state_the_code_can_give():
    page = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `[a-z-]+\.[a-z-]+` \|([^|]*)\|([^|]*)\|([^|]*)\|$", page)
    assert len(rows) >= 30
    for looks, odd, wrong in rows:
        assert looks.strip()
        assert odd.strip() or wrong.strip()  # a check that cannot say anything is none
    assert all(state.value in page for state in State)
