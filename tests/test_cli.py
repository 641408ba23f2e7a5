"""The command line as a person meets it: help, slips of the finger, exit codes."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

from edge_agent import __version__, cli
from tests.support.patience import patient
from tests.support.rig import command, ended


def run(*words: str) -> int:
    """The exit code, whichever way the command chose to leave."""
    try:
        return cli.main(list(words))
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else -1


def test_no_command_leaves_a_core_dump() -> None:
    """It would hold pictures that no gate released."""
    asked = (
        "import resource, edge_agent.cli as cli\n"
        "cli.main(['--version'])\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
    )
    subprocess.run([sys.executable, "-c", asked], check=True, timeout=patient(30.0))


def test_without_a_command_it_shows_the_commands_and_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    for name in cli.COMMANDS:
        assert re.search(rf"^  {name} ", shown.err, re.MULTILINE), name


@pytest.mark.parametrize("word", ["-h", "--help", "help"])
def test_help_goes_to_standard_output_and_is_well(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert all(name in shown.out for name in cli.COMMANDS)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edge-agent {__version__}\n"


@pytest.mark.parametrize("word", ["statsu", "--config", "run/../x", ""])
def test_an_unknown_command_is_named_beside_the_known_ones(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert repr(word) in shown.err.splitlines()[0]
    assert "commission" in shown.err


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_each_command_tells_its_options_and_exit_codes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: edge-agent {name}")
    assert "exit code" in shown.lower(), "it does not tell its exit codes"


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_a_command_with_an_option_it_does_not_know_is_not_done(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("stats",) if name == "journal" else ("something",)
    assert run(name, *words, "--no-such-option") == 2
    assert "--no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize("interrupted", ["check"])
def test_ctrl_c_ends_a_command_as_a_shell_expects(
    interrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(argv: list[str]) -> int:
        raise KeyboardInterrupt

    module, function, _ = cli.COMMANDS[interrupted]
    monkeypatch.setattr(importlib.import_module(module), function, pressed)
    assert cli.main([interrupted]) == 130


def test_it_runs_as_a_module_and_answers_in_time() -> None:
    # Each command loads only what it needs; help loads next to nothing.
    done = ended(command("--help"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: edge-agent COMMAND")


def test_its_exit_codes_reach_the_shell() -> None:
    assert ended(command("check", "/nowhere/box.toml")).returncode == 2
    assert ended(command("status", "--socket", "/nowhere/status.sock")).returncode == 2
    assert ended(command("nonsense")).returncode == 2
