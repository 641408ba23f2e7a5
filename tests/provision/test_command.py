"""`edge-agent provision` as a person or the unit runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import cli
from edge_agent.provision import command
from tests.support.filled_card import FilledCard


@pytest.fixture
def box(tmp_path: Path) -> FilledCard:
    return FilledCard(tmp_path)


def run(box: FilledCard, *more: str) -> int:
    umask = os.umask(0o077)  # a unit may have any
    try:
        return cli.main(
            [
                *("provision", "--card", str(box.folder), "--config", str(box.config)),
                *("--group", "root", "--networkd", str(box.places.networkd), *more),
            ]
        )
    finally:
        os.umask(umask)


def test_a_first_card_and_then_the_citys_answer(box, capsys):
    assert run(box) == 1
    assert "part=box.toml in_use=taken faults=0" in capsys.readouterr().err
    box.put("hub/box.pem", box.sign())
    assert run(box) == 0
    assert (box.root / "networkd/20-edge-agent-wired.network").stat().st_mode & 0o777 == 0o644
    assert (box.config / "now/box.toml").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("how", ["below", "beside", "linked"])
def test_paths_may_be_told_from_where_one_stands(box, monkeypatch, capsys, how):
    """`provision --card card --config config` in a try-out is no reason to call each file of the card one of somewhere else."""
    here = box.root / "here"
    here.mkdir()
    (here / "config").symlink_to(box.config)
    folders = {
        "below": (box.root, box.folder.relative_to(box.root), box.config.relative_to(box.root)),
        "beside": (here, Path("..", box.folder.name), Path("..", box.config.name)),
        "linked": (here, Path("..", box.folder.name), Path("config")),
    }
    where, box.folder, box.config = folders[how]
    monkeypatch.chdir(where)
    assert run(box) == 1, "the city has not answered yet: no other fault"
    assert "part=box.toml in_use=taken faults=0" in capsys.readouterr().err
    box.put("hub/box.pem", box.sign())
    assert run(box) == 0
    assert box.settings().cameras


def test_a_ring_of_links_is_no_card_and_no_crash(box, capsys):
    (box.root / "ring").symlink_to("ring")
    box.folder = box.root / "ring"
    assert run(box) == 1
    assert "no card of ours" in capsys.readouterr().err


def test_no_card_keeps_everything(box, capsys):
    run(box)
    for path in sorted(box.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert run(box) == 1
    assert "no card of ours" in capsys.readouterr().err
    assert box.settings().cameras


def test_a_configuration_by_hand_is_a_clear_refusal(box, capsys):
    (box.config / "box.toml").write_text("by hand")
    assert run(box) == 2
    assert "was written by hand" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_a_clear_refusal(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    box = FilledCard(tmp_path)
    box.config.rmdir()
    box.config = tmp_path / "file" / "etc"
    assert run(box) == 2
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_group_that_is_not_there_is_a_clear_refusal(box, capsys):
    umask = os.umask(0o022)
    os.umask(umask)
    code = command.main(
        ["--card", str(box.folder), "--config", str(box.config), "--group", "no-such-group"]
    )
    os.umask(umask)
    assert code == 2
    assert "there is no group no-such-group" in capsys.readouterr().err


def test_the_lamp_needs_pins_and_says_so(tmp_path):
    """In a process of its own: loading the real pins changes a process for good."""
    if any(Path("/dev").glob("gpiochip*")):
        pytest.skip("this machine has pins")
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "provision", "--lamp", "--config", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "this machine has no GPIO chip\n"


def test_no_password_is_said_or_shown(box, capsys):
    run(box)
    assert "kata-sandi" not in capsys.readouterr().err
    assert not box.secrets_shown()


# ---- the units ----

UNITS = Path(__file__).parents[2] / "systemd"
PROGRAM = "/opt/edge-agent/bin/edge-agent "


@pytest.mark.parametrize(
    ("name", "tenths"), [("edge-agent-provision", 15), ("edge-agent-unconfigured", 10)]
)
def test_systemd_accepts_the_units_and_little_is_left_open(tmp_path, name, tenths):
    unit = tmp_path / f"{name}.service"
    unit.write_text((UNITS / unit.name).read_text().replace(PROGRAM, "/bin/true "))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [line for line in verified.stderr.splitlines() if unit.name in line] == []
    secured = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={tenths}", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert secured.returncode == 0, secured.stdout[-200:]


@pytest.mark.parametrize("name", ["edge-agent-provision", "edge-agent-unconfigured"])
def test_the_units_call_the_command_as_it_is(name):
    text = (UNITS / f"{name}.service").read_text().replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    words = line.removeprefix(f"ExecStart={PROGRAM}").split()
    assert words[0] == "provision"
    options = command._parser().parse_args(words[1:])
    assert options.config == Path("/etc/edge-agent")
    assert options.lamp == (name == "edge-agent-unconfigured")
    if not options.lamp:
        assert options.card == Path("/boot/firmware")
        assert None not in (options.networkd, options.wifi, options.timesyncd, options.ssh)
        assert options.data == Path("/data")
        assert options.host_name
