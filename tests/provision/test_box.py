"""What the agent will run on: slips of the hand within box.toml, hub/ and secrets/. The whole way: test_steps.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.config import read_secret
from tests.support.filled_card import BOX_TOML, FilledCard
from tests.support.local_ca import pem_of


@pytest.fixture
def box(tmp_path: Path) -> FilledCard:
    return FilledCard(tmp_path)


@pytest.mark.parametrize("name", ["camera.txt", "CAMERA", "Camera.TXT"])
def test_a_secret_is_found_under_the_name_windows_gave_it(box, name):
    (box.folder / "secrets/camera").unlink()
    box.put(f"secrets/{name}", "kata-sandi".encode("utf-16"))
    box.start()
    password = box.settings().cameras[0].password
    assert password is not None
    assert read_secret(password) == "kata-sandi"


def test_a_systemd_credential_is_looked_for_among_the_secrets(box):
    box.edit("box.toml", 'password_file = "secrets/camera"', 'password_credential = "nvr"')
    box.start()
    assert "there is no secrets/nvr on the card" in box.result
    assert "camera[0].password_credential" in box.result
    box.put("secrets/nvr", "kata-sandi")
    box.start()
    assert (box.config / "secrets/nvr").read_text() == "kata-sandi\n"
    assert "secrets/camera is not used" in box.result


def test_a_bad_secret_counts_only_if_box_toml_wants_it(box):
    box.put("secrets/Thumbs.db", b"\x00\xff" * 40)
    box.put("secrets/old", b"a\nb\n")
    box.start()
    assert box.settings().cameras
    box.put("secrets/camera", b"one\ntwo\n")
    box.edit("box.toml", "box-1", "box-2")
    box.start()
    assert box.settings().identity.box == "box-1"
    assert "secrets/camera: not one line of text" in box.result


def test_a_private_key_in_the_citys_files_is_told_and_goes_nowhere(box):
    box.start()
    key = pem_of(ec.generate_private_key(ec.SECP256R1()))
    box.put("hub/hub-ca.pem", (box.folder / "hub/hub-ca.pem").read_bytes() + key)
    box.start()
    assert "hub/hub-ca.pem: holds a private key" in box.result
    assert not box.secrets_shown()
    for path in box.config.rglob("*"):
        if path.is_file() and path.name != "box.key":
            assert b"PRIVATE" not in path.read_bytes(), path


def test_a_file_that_is_bad_in_itself_is_told_once(box):
    box.put("hub/hub-ca.pem", "no certificate")
    box.start()
    english = box.result.split("WHAT THE BOX")[1]
    assert english.count("hub-ca.pem") == 1
    assert "not a PEM certificate" in english


def test_a_box_that_needs_no_certificate_asks_for_none(box):
    head = BOX_TOML.index("host =")
    tail = BOX_TOML.index("[[camera]]")
    box.put("box.toml", f'{BOX_TOML[:head]}host = "127.0.0.1"\n\n{BOX_TOML[tail:]}')
    assert box.start() == 0
    assert "hub/box.pem" not in box.result
    assert not (box.folder / "box.csr").exists()


def test_without_a_box_toml_the_last_one_stays_and_that_is_told(box):
    box.start()
    (box.folder / "box.toml").unlink()
    assert box.start() == 1
    assert box.settings().identity.box == "box-1"
    assert "box.toml: no such file on the card" in box.result


def test_half_a_character_in_a_text_of_notepad_is_a_fault_and_no_crash(box):
    box.put("box.toml", b"\xff\xfe" + "a = 'x'\n".encode("utf-16-le") + b"\x00\xdc")
    assert box.start() == 1
    assert "not UTF-8 text" in box.result
