"""Files that are whole or absent. Power cuts at every disk call: tests/test_views.py, through the same function."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent import whole


def test_what_is_written_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "gate.view"
    whole.write(path, b"one")
    assert path.read_bytes() == b"one"
    whole.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert [file.name for file in path.parent.iterdir()] == ["gate.view"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_each_replacement_has_a_stamp_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "gate.view"
    assert whole.stamp(path) is None
    whole.write(path, b"one")
    before = whole.stamp(path)
    whole.write(path, b"two")
    assert before is not None
    assert whole.stamp(path) != before


@pytest.mark.parametrize("refuses", ["fsync", "open"])
def test_a_disk_that_refuses_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    path = tmp_path / "gate.view"
    whole.write(path, b"one")

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, refuses, full)
        with pytest.raises(OSError, match="No space"):
            whole.write(path, b"two")
    assert path.read_bytes() == b"one"
    assert [file.name for file in tmp_path.iterdir()] == ["gate.view"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    """A technician commissions as root, before the service ever ran: it must be able to read all of it."""
    state = tmp_path / "edge-agent"
    state.mkdir()
    os.chown(state, 4242, 4343)
    path = state / "views" / "gate.view"
    whole.write(path, b"one")
    for made in (path, path.parent):
        assert (made.stat().st_uid, made.stat().st_gid) == (4242, 4343)


def test_a_folder_that_is_made_lasts_as_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    honest = whole.sync_folder

    def noted(folder: Path) -> None:
        synced.append(folder)
        honest(folder)

    monkeypatch.setattr(whole, "sync_folder", noted)
    whole.write(tmp_path / "a" / "b" / "file", b"one")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
