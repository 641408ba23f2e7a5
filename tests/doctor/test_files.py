"""The files of a box: configuration, secrets, folders, what was commissioned."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent import demo_pictures, views, vision
from edge_agent.doctor.check import State
from edge_agent.vision import References
from tests.support.patient import PASSWORD, SoundBox

TLS = 'ca_file = "ca.pem"\ncertificate_file = "box.pem"\nkey_file = "box.key"\n'


@pytest.fixture
def box(tmp_path) -> SoundBox:
    return SoundBox(tmp_path)


@pytest.fixture(scope="module")
def references() -> References:
    street = demo_pictures.STREETS[0]
    pictures = [vision.scaled_grey_from_jpeg(path.read_bytes()) for path in street.commission]
    built = vision.build({"day": pictures})
    assert isinstance(built, References)
    return built


# ---- configuration ----


def test_a_sound_configuration_is_well(box):
    assert box.one("config.sound").seen == "1 cameras, 1 runs"
    assert box.one("files.config").state is State.OK


def test_every_fault_of_the_configuration_is_named_and_no_value_shown(box):
    box.write(
        box.text.replace('kind = "rtsp"', f'kind = "{PASSWORD}"').replace(
            "length_m = 50", "length_m = -3"
        )
    )
    found = box.ask("config.sound")
    assert len(found) == 2
    assert {result.state for result in found} == {State.FAULT}
    said = " ".join(result.seen for result in found)
    assert "camera[0].kind (line" in said
    assert "run[0].length_m (line" in said
    assert PASSWORD not in said


@pytest.mark.parametrize(
    "text", ["[identity]\nrahasia-88 = 1\n", 'rahasia-88 = "x"\n', '[[camera]]\n"rahasia-88" = 3\n']
)
def test_a_key_that_is_not_known_is_not_repeated(box, text):
    box.write(text)
    said = " ".join(result.seen for result in box.ask("config.sound"))
    assert "a key that is not known" in said
    assert "rahasia" not in said


def test_a_configuration_that_is_missing_or_no_toml_is_one_fault(box):
    box.write("hub = [")
    assert "line 1" in box.one("config.sound").seen
    box.config.unlink()
    assert box.one("config.sound").seen == f"{box.config}: no such file"
    assert box.ask("files.config") == []
    box.config.write_bytes(b"\xff" + PASSWORD.encode())
    assert "not UTF-8" in box.one("config.sound").seen
    assert PASSWORD not in box.one("config.sound").seen


def test_a_configuration_that_the_service_may_not_read_is_a_fault(box):
    box.config.chmod(0o600)
    assert "edge-agent may not read it" in box.one("files.config").seen
    box.config.chmod(0o644)
    assert box.one("files.config").state is State.WARNING


# ---- secrets ----


def test_a_password_that_is_kept_is_well(box):
    result = box.one("files.secrets")
    assert result.state is State.OK
    assert "1 secrets" in result.seen


def test_a_password_that_every_user_may_open_is_a_fault(box):
    box.secret.chmod(0o644)
    # The configuration refuses it too, so it is found by the document alone.
    assert box.settings() is None
    result = box.one("files.secrets")
    assert (result.state, result.about) == (State.FAULT, "camera[0].password_file")
    assert "mode 0644" in result.seen


def test_a_password_that_the_service_may_not_read_is_a_fault(box):
    box.secret.chmod(0o600)
    result = box.one("files.secrets")
    assert (result.state, result.about) == (State.FAULT, "password of gate")


def test_a_password_file_that_went_since_is_a_fault(box):
    patient = box.patient()
    box.secret.unlink()
    assert "no such file" in box.one("files.secrets", settings=patient.settings).seen


def test_a_secret_typed_in_a_files_place_is_not_repeated(box):
    box.edit('"camera.password"', f'"{PASSWORD}"')
    assert PASSWORD not in repr(box.ask("files.secrets")) + repr(box.ask("config.sound"))


@pytest.mark.parametrize(
    ("cat", "lies", "mode", "seen"),
    [
        ("LoadCredential=secret:/etc/edge-agent/secrets\n", "secrets/cam", 0o600, None),
        ("LoadCredential=secret:/etc/edge-agent/secrets\n", "secrets/cam", 0o604, "mode 0604"),
        ("LoadCredential=secret:/etc/edge-agent/secrets\n", "secrets/other", 0o600, "no such file"),
        ("LoadCredential=cam:/etc/edge-agent/one\n", "one", 0o600, None),
        ("[Service]\n", "secrets/cam", 0o600, "no LoadCredential"),
    ],
)
def test_a_credential_is_looked_for_where_the_unit_says(box, cat, lies, mode, seen):
    box.edit('password_file = "camera.password"', 'password_credential = "cam"')
    box.cat = cat
    box.put(f"etc/edge-agent/{lies}", PASSWORD).chmod(mode)
    result = box.one("files.secrets")
    assert result.state is (State.OK if seen is None else State.FAULT)
    assert (seen or "") in result.seen


def test_without_systemd_a_credential_is_nobodys_fault(box):
    box.edit('password_file = "camera.password"', 'password_credential = "cam"')
    box.has_systemd = False
    result = box.one("files.secrets")
    assert result.state is State.OK
    assert result.seen.startswith(
        "0 secrets, none open to others; 1 more"
    )  # nothing is claimed of it


def test_without_systemd_a_credential_in_its_usual_place_is_looked_at(box):
    box.edit('password_file = "camera.password"', 'password_credential = "cam"')
    box.has_systemd = False
    path = box.put("etc/edge-agent/secrets/cam", PASSWORD)
    path.chmod(0o644)
    assert box.one("files.secrets").state is State.FAULT
    path.chmod(0o600)
    assert box.one("files.secrets").seen == "1 secrets, none open to others"


def test_the_hubs_key_and_renewed_keys_are_looked_at(box):
    for name, label in (
        ("ca.pem", "CERTIFICATE"),
        ("box.pem", "CERTIFICATE"),
        ("box.key", "PRIVATE KEY"),
    ):
        path = box.config.with_name(name)
        path.write_text(f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
        path.chmod(0o640)
    box.edit('host = "127.0.0.1"\n', 'host = "127.0.0.1"\n' + TLS)
    renewed = box.config.parent / "state/pairs/new.key"
    renewed.write_text("key")
    renewed.chmod(0o640)
    assert "2 secrets" in box.one("files.secrets").seen
    renewed.chmod(0o644)
    assert box.one("files.secrets").about == "renewed key new.key"
    renewed.unlink()
    box.config.with_name("box.key").chmod(0o600)
    assert box.one("files.secrets").about == "the hub's key"


# ---- folders ----


def test_the_services_folders_are_well(box):
    assert box.one("files.folders").state is State.OK


def test_a_folder_that_the_service_may_not_write_is_named(box):
    (box.config.parent / "state/views").chmod(0o700)
    result = box.one("files.folders")
    assert (result.state, result.about) == (State.FAULT, "views")


def test_a_file_in_a_folders_place_is_named(box):
    folder = box.config.parent / "state/pairs"
    folder.rmdir()
    folder.write_text("")
    assert "no folder lies there" in box.one("files.folders").seen


def test_a_folder_that_is_still_to_be_made_is_judged_by_the_one_above(box):
    (box.config.parent / "state/journal").rmdir()
    above = box.config.parent / "state"
    above.chmod(0o770)
    assert box.one("files.folders").state is State.OK
    above.chmod(0o700)
    assert "not there, and in" in box.one("files.folders").seen


def test_the_folders_that_systemd_makes_need_not_be_there(box):
    box.edit('"state/journal"', '"/var/lib/edge-agent/journal"')
    assert box.one("files.folders").state is State.OK


@pytest.mark.parametrize(
    ("memory", "state"), [(True, State.OK), (None, State.OK), (False, State.WARNING)]
)
def test_a_runtime_folder_that_is_not_in_memory_is_a_warning_and_stops_nothing(
    box, monkeypatch, memory: bool | None, state: State
):
    monkeypatch.setattr("edge_agent.doctor.files.in_memory", lambda folder: memory)
    assert box.one("files.folders").state is State.OK, "a copy of a box lies anywhere"
    result = box.one("files.folders", root=Path("/"))
    assert (result.state, "tmpfs" in result.seen) == (state, state is State.WARNING)


# ---- commissioned ----


def test_a_commissioned_camera_is_well(box, references):
    folder = box.config.parent / "state/views"
    assert box.one("commission.view").seen == "never commissioned"
    path = views.save(folder, "gate", references)
    assert box.one("commission.view").state is State.OK
    path.write_bytes(path.read_bytes()[:-9])
    result = box.one("commission.view")
    assert (result.state, result.about) == (State.FAULT, "gate")
    assert "commission gate" in result.remedy.en


def test_a_commissioned_run_is_well(box):
    assert "50 m, 118.8 ohm" in box.one("commission.run").seen
    path = box.config.parent / "state/runs/gate.run"
    path.write_text("{}")
    assert box.one("commission.run").state is State.FAULT
    path.unlink()
    assert box.one("commission.run").state is State.WARNING


def test_without_a_configuration_nothing_is_asked_of_it(box):
    box.write("nonsense")
    for key in ("files.folders", "commission.view", "commission.run"):
        assert box.ask(key) == []
