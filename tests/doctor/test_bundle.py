"""The support bundle: readable, bounded, and never a secret or a picture in it, wherever one was put."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent import demo_pictures
from edge_agent.doctor import bundle
from edge_agent.doctor.bundle import SIZE_MAX, pack, write
from edge_agent.doctor.check import well
from edge_agent.doctor.run import Answer, Report, examine, load
from tests.doctor.test_blank import places, secrets, written
from tests.support.patient import CONFIG, PASSWORD, SoundBox

REPORT = Report(answers=(Answer(group="board", result=well("board.model", "Pi 4")),), took_s=0.1)
NAMES = [
    "README.txt",
    "doctor.json",
    "box.toml",
    "status.json",
    "unit.txt",
    "log.txt",
    "versions.json",
    "box.json",
]
# Of figures that move by themselves none has a letter before a sign.
passwords = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40).map(
    lambda text: f"Q~{text}z_"
)
EXAMPLES = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@pytest.fixture
def box(tmp_path) -> SoundBox:
    return SoundBox(tmp_path)


def unpacked(packed: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        members = tar.getmembers()
        assert all(
            member.isfile() and member.name.startswith("edge-agent-support/") for member in members
        )
        return {member.name.partition("/")[2]: _text(tar, member) for member in members}


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    assert file is not None
    return file.read().decode()


def all_of(packed: bytes) -> str:
    """Every text in the bundle, and every text within its JSON as it reads once decoded."""
    parts = unpacked(packed)
    said = list(parts.values())
    for name, text in parts.items():
        if name.endswith(".json"):
            said += _strings(json.loads(text))
    return "\n".join(said)


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (key, *_strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [str(value)]


def examined(box: SoundBox) -> Report:
    """By the checks that read the configuration and what it names."""
    own = [check for check in load(("files",))[0] if check.key != "commission.view"]
    return examine(box.patient(within_s=30), own)


# ---- what is in it ----


def test_a_person_can_read_it(box):
    box.run_agent()
    box.log = "2026-11-22T07:00:00+0700 box-7 edge-agent[412]: gate open camera=gate\n"
    parts = unpacked(pack(REPORT, box.patient()))
    assert list(parts) == NAMES
    assert json.loads(parts["doctor.json"])["results"][0]["seen"] == "Pi 4"
    assert 'box = "box-7"' in parts["box.toml"]
    assert "gate open camera=gate" in parts["log.txt"]
    assert "ActiveState=active" in parts["unit.txt"]
    assert json.loads(parts["status.json"])["cameras"] == [{"id": "gate", "cable": "normal"}]
    told = json.loads(parts["versions.json"])
    assert (told["system"]["IMAGE_VERSION"], told["board"][:14]) == ("1.2.3", "Raspberry Pi 4")
    figures = json.loads(parts["box.json"])
    assert figures["memory_kb"]["MemTotal"] == 3882592
    assert figures["disk"]["journal"]["free_bytes"] > 0
    assert all(name in parts["README.txt"] for name in NAMES[1:])


def test_it_is_made_where_nothing_can_be_asked(box, tmp_path):
    box.write("nonsense")
    box.has_systemd = False
    for path in sorted((box.root / "proc").rglob("*")):
        if path.is_file():
            path.unlink()
    parts = unpacked(pack(REPORT, box.patient(root=tmp_path / "nothing")))
    assert list(parts) == NAMES
    assert "not TOML" in parts["box.toml"]
    assert "cannot be asked" in parts["log.txt"]
    assert parts["unit.txt"] == "no unit\n"
    box.config.unlink()
    assert list(unpacked(pack(REPORT, box.patient()))) == NAMES


# ---- bounded ----


def test_it_stays_small_whatever_the_box_has_seen(box):
    noise = base64.b85encode(os.urandom(400)).decode()
    box.log = "".join(f"{n} {noise}\n" for n in range(1_000))
    box.unit["Result"] = noise * 2_000
    box.run_agent(
        findings=[{"key": noise * 3, "camera": "x", "since_s": 1.0} for _ in range(500)],
        cameras=[{"id": noise * 100} for _ in range(200)],
    )
    answers = tuple(Answer(group="hub", result=well(f"k.{n}", noise * 5)) for n in range(1_000))
    packed = pack(Report(answers=answers, took_s=1), box.patient())
    assert len(packed) < SIZE_MAX
    parts = unpacked(packed)
    assert sum(map(len, parts.values())) < SIZE_MAX
    assert len(parts["log.txt"].splitlines()) <= 500
    assert len(json.loads(parts["doctor.json"])["results"]) == 500
    assert parts["unit.txt"].endswith("(cut off here)\n")


# ---- nothing that must not leave ----


@EXAMPLES
@given(secrets, places)
def test_no_secret_that_was_put_anywhere_in_the_configuration_is_in_it(box, secret, place):
    box.log = f"cannot read {secret}: no such file; {quote(secret)}; {json.dumps(secret)}"
    box.write(
        CONFIG + written(place, secret)
    )  # an array's table, or one that is there twice: no TOML
    assert secret not in all_of(pack(examined(box), box.patient()))
    box.write(written(place, secret))
    assert secret not in all_of(pack(examined(box), box.patient()))


@EXAMPLES
@given(passwords)
def test_no_password_is_in_it_though_the_log_the_status_and_a_check_repeat_it(box, password):
    box.secret.write_text(password + "\r\n")
    box.log = f"open rtsp://pengawas:{quote(password, safe='')}@127.0.0.1/ failed\nsent {json.dumps(password)}\n{password}\n"
    box.unit["Result"] = password
    box.run_agent(
        cameras=[{"id": "gate", "signal_detail": f"401 for {password}", "name": password}],
        findings=[{"key": "camera_refused", "camera": "gate", "en": password, "id": password}],
        uplink={"detail": password, "state": "down"},
    )
    answers = (
        Answer(group="cameras", result=well("camera.login", f"sent {password}", about=password)),
    )
    said = all_of(pack(Report(answers=answers, took_s=1), box.patient()))
    assert password not in said
    assert quote(password, safe="") not in said


def test_a_password_whose_file_is_open_to_all_is_looked_for_all_the_same(box):
    settings = box.settings()
    box.secret.chmod(0o644)
    box.log = f"oops {PASSWORD}"
    assert PASSWORD not in all_of(pack(REPORT, box.patient(settings=settings)))


def test_no_byte_of_a_key_or_a_picture_is_in_it(box):
    jpeg = demo_pictures.STREETS[0].stream[0].read_bytes()
    (box.config.parent / "state/views/gate.view").write_bytes(jpeg)
    (box.config.parent / "state/journal/0001.jpg").write_bytes(jpeg)
    coded = base64.b64encode(jpeg).decode()
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"
    (box.config.parent / "state/pairs/new.key").write_text(key)
    box.log = f"picture {coded[:4000]}\n{jpeg[:2000].decode('latin-1')}\nkey {key}\n"
    packed = pack(examined(box), box.patient())
    said = all_of(packed)
    assert "MIGHAgEAMBMGByqGSM49" not in said
    assert coded[:41] not in said
    assert all(coded[n : n + 40] not in said for n in range(0, 3900, 40))
    assert b"\xff\xd8\xff" not in packed


def test_the_agents_sentences_are_left_out_as_they_name_places(box):
    box.run_agent(
        findings=[
            {
                "key": "cable_open",
                "camera": "gate",
                "since_s": 60.0,
                "id": "depan rumah Pak Slamet",
                "en": "x",
            }
        ]
    )
    report = examine(box.patient(within_s=30), load(("service",))[0])
    said = all_of(pack(report, box.patient()))
    assert "cable_open" in said
    assert "Pak Slamet" not in said


# ---- writing ----


def test_a_login_as_it_goes_over_the_wire_is_taken_out(box):
    box.run_agent()
    login = base64.b64encode(f"pengawas:{PASSWORD}".encode()).decode()
    box.log = f"2026-11-22T07:00:00+0700 box-7 edge-agent[412]: header sent: {login}.\n"
    said = unpacked(pack(REPORT, box.patient()))["log.txt"]
    assert login.rstrip("=") not in said
    assert "header sent" in said


def test_it_is_written_whole_or_not_at_all(box, tmp_path, monkeypatch):
    target = tmp_path / "support.tar.gz"
    write(target, REPORT, box.patient())
    before = target.read_bytes()
    assert list(unpacked(before)) == NAMES

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # where a disk says so at last
    with pytest.raises(OSError, match="No space left"):
        write(target, REPORT, box.patient())
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.glob("*part*")] == []


def test_a_place_that_is_not_there_is_told(box, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "no/such/folder.tar.gz", REPORT, box.patient())


def test_the_remark_names_every_part():
    assert all(name in bundle._REMARK for name in NAMES if name != "README.txt")
