"""What runs, and on what."""

from __future__ import annotations

import sys

import pytest

from edge_agent import __version__
from edge_agent.doctor.check import State
from tests.support.patient import SoundBox


@pytest.fixture
def box(tmp_path) -> SoundBox:
    return SoundBox(tmp_path)


def test_the_versions_are_told(box):
    assert __version__ in box.one("agent.version").seen
    assert "image edge-agent 1.2.3" in box.one("image.version").seen


def test_an_agent_of_another_version_has_to_be_restarted(box):
    box.run_agent(version=__version__)
    assert box.one("agent.version").state is State.OK
    box.run_agent(version="0.0.9")
    result = box.one("agent.version")
    assert result.state is State.WARNING
    assert "0.0.9 runs" in result.seen


def test_a_debian_that_was_upgraded_beneath_the_agent_is_told(box, monkeypatch):
    link = box.root / "usr/bin/python3"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"python3.{sys.version_info.minor}")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert box.one("agent.version").state is State.OK
    link.unlink()
    link.symlink_to("python3.99")
    result = box.one("agent.version")
    assert result.state is State.WARNING
    assert "the system's own is Python 3.99" in result.seen
    assert "make install" in result.remedy.id
    monkeypatch.setattr(
        sys, "base_prefix", "/opt/python"
    )  # somebody's own: Debian's has no say in it
    assert box.one("agent.version").state is State.OK


@pytest.mark.parametrize(
    ("release", "state"),
    [
        ('ID=debian\nVERSION_ID="13"\n', "ok"),
        ("ID=raspbian\nID_LIKE=debian\nVERSION_ID='12'\n", "ok"),
        ('ID=debian\nVERSION_ID="11"\n', "warning"),
        ("ID=alpine\nVERSION_ID=3.20\n", "warning"),
    ],
)
def test_a_system_that_was_not_tried_is_told(box, release, state):
    box.put("etc/os-release", release)
    assert box.one("image.version").state.value == state


def test_a_system_that_does_not_say_is_left_out(box):
    box.take("etc/os-release")
    assert box.ask("image.version") == []
