"""The FAT partition as laptops leave it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edge_agent.provision.card import Card, secret_names


def put(folder: Path, name: str, raw: bytes = b"x") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["box.toml", "box.toml.txt", "BOX.TOML", "Box.toml.TXT"])
def test_names_are_taken_as_windows_leaves_them(tmp_path, name):
    put(tmp_path, name, b"here")
    contents = Card(tmp_path).read()
    assert contents.files == {"box.toml": b"here"}
    assert contents.strays == ()


def test_folders_too_may_be_in_capitals(tmp_path):
    put(tmp_path, "HUB/HUB-CA.PEM", b"ca")
    put(tmp_path, "Secrets/Camera.txt", b"s")
    assert Card(tmp_path).read().files == {"hub/hub-ca.pem": b"ca", "secrets/Camera.txt": b"s"}
    assert secret_names("Camera.txt") == ("Camera.txt", "camera.txt", "Camera", "camera")


def test_the_name_without_txt_goes_first(tmp_path):
    put(tmp_path, "box.toml", b"one")
    put(tmp_path, "box.toml.txt", b"two")
    contents = Card(tmp_path).read()
    assert contents.files == {"box.toml": b"one"}
    assert "box.toml.txt is not read" in contents.strays[0].en


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("boks.toml", "box.toml"),
        ("box.tml", "box.toml"),
        ("networks.toml", "network.toml"),
        ("authorised_keys", "authorized_keys"),
        ("secret", "secrets"),
        ("hub/hub_ca.pem", "hub/hub-ca.pem"),
        ("hub/city.crt", ""),
        ("secrets/kata sandi é", ""),
    ],
)
def test_what_looks_like_a_slip_of_the_hand_is_told(tmp_path, name, meant):
    put(tmp_path, name)
    (told,) = Card(tmp_path).read().strays
    assert name in told.en
    assert name in told.id
    assert meant in told.en


def test_the_firmwares_files_and_our_own_notices_are_nobodys_slip(tmp_path):
    for name in (
        *("config.txt", "cmdline.txt", "start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb"),
        *("overlays/README", "vmlinuz", "initrd.img", "README.txt", "RESULT.txt", "box.csr"),
        *("hub/README.txt", "secrets/README.txt", "System Volume Information/x", "._box.toml"),
        *(".Trashes/x", "LICENCE.broadcom", "issue.txt", "hub/._box.pem", "secrets/.DS_Store"),
    ):
        put(tmp_path, name)
    contents = Card(tmp_path).read()
    assert contents.strays == ()
    assert contents.blank


def test_no_partition_at_all_is_a_blank_card(tmp_path):
    assert Card(tmp_path / "none").read().blank


def test_what_is_no_file_of_ours_is_told_and_never_waited_for(tmp_path):
    (tmp_path / "box.toml").mkdir()
    os.mkfifo(tmp_path / "network.toml")
    put(tmp_path, "authorized_keys", b"x" * 1_000_001)
    put(tmp_path, "hub/elsewhere")
    (tmp_path / "hub/box.pem").symlink_to(tmp_path / "hub/elsewhere")
    contents = Card(tmp_path).read()
    assert contents.files == {}
    assert [fault.where for fault in contents.faults] == [
        "box.toml",
        "network.toml",
        "authorized_keys",
        "hub/box.pem",
    ]
    assert not contents.blank


def test_anything_that_changes_changes_the_digest(tmp_path):
    put(tmp_path, "box.toml", b"ab")
    seen = {Card(tmp_path).read().digest("1"), Card(tmp_path).read().digest("2")}
    put(tmp_path, "secrets/a", b"")
    seen.add(Card(tmp_path).read().digest("1"))
    put(tmp_path, "secrets/a", b"b")
    put(tmp_path, "box.toml", b"a")
    seen.add(Card(tmp_path).read().digest("1"))
    put(tmp_path, "boks.toml")
    seen.add(Card(tmp_path).read().digest("1"))
    (tmp_path / "network.toml").mkdir()
    seen.add(Card(tmp_path).read().digest("1"))
    assert len(seen) == 6
    assert Card(tmp_path).read().digest("1") == Card(tmp_path).read().digest("1")


class Partition:
    """A partition that is mounted read-only, and what was asked of it."""

    def __init__(self, folder: Path, *, refuses: str = "") -> None:
        self.asked: list[str] = []
        self.states: list[bool] = []
        self._folder = folder
        self._refuses = refuses

    def remount(self, folder: Path, how: str) -> None:
        assert folder == self._folder
        if how == self._refuses:
            raise OSError(errno.EIO, "the card is dying")
        self.asked.append(how)
        self.states.append((folder / "RESULT.txt").exists())

    def card(self) -> Card:
        return Card(self._folder, locked=lambda _: True, remount=self.remount)


def test_the_partition_is_writable_only_while_something_is_written(tmp_path):
    partition = Partition(tmp_path)
    assert partition.card().write({"RESULT.txt": b"a"}) == ""
    assert (partition.asked, partition.states) == (["rw", "ro"], [False, True])
    assert partition.card().write({"RESULT.txt": b"a"}) == ""
    assert partition.asked == ["rw", "ro"]  # it is there: nothing to write
    assert [path.name for path in tmp_path.iterdir()] == ["RESULT.txt"]


def test_a_card_that_takes_no_writes_costs_the_answer_and_is_locked_again(tmp_path, monkeypatch):
    dying = Partition(tmp_path, refuses="rw")
    assert "the card is dying" in dying.card().write({"RESULT.txt": b"a"})
    full = Partition(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        assert "No space left" in full.card().write({"RESULT.txt": b"a"})
    assert full.asked == ["rw", "ro"]
    assert not list(tmp_path.iterdir())


def test_a_partition_that_cannot_be_made_writable_is_told_with_mounts_own_reason(tmp_path):
    # The real `mount`, on what is no mount: one of this machine's own would be changed for everybody else on it.
    told = Card(tmp_path, locked=lambda _: True).write({"RESULT.txt": b"a"})
    assert told.startswith(f"{tmp_path}: ")
    assert not list(tmp_path.iterdir())
    assert Card(tmp_path).write({"RESULT.txt": b"a"}) == ""  # a folder is no mount: just written
