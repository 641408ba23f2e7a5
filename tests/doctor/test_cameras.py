"""Each camera on its own: real ones, real impostors, and the word of an agent that has them."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.clock import SystemClock
from edge_agent.core.messages import Json
from edge_agent.core.settings import Camera, CameraKind, SecretRef
from edge_agent.doctor import cameras as module
from edge_agent.doctor.cameras import CHECKS
from edge_agent.doctor.check import Agent, Patient, Result, State
from tests.support import patience
from tests.support.broker import free_port, needs_mosquitto
from tests.support.evil_servers import answers, evil, hangs_up, never_answers, question, rtsp_status
from tests.support.ward import LOGIN, Box, Ward, ward

pytestmark = [
    needs_mosquitto,
    pytest.mark.cameras,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
]


USUAL_S = Patient(settings=None, config_file=Path(), clock=SystemClock()).within_s


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(tmp_path_factory.mktemp("ward")) as made:
        yield made


@pytest.fixture
def box(street: Ward) -> Box:
    return street.admit()


def asked(of: Patient) -> list[Result]:
    (check,) = CHECKS
    if (
        of.within_s == USUAL_S
    ):  # for a machine that is busy with others; the decoder has to be loaded
        of = replace(of, within_s=patience.patient(USUAL_S))
    results = check.ask(of)
    assert {result.key for result in results} <= {check.key, *check.also}
    for result in results:
        assert (result.remedy is None) is (result.state is State.OK), result
        assert LOGIN[1] not in f"{result}"
    return results


def found(of: Patient, camera: str) -> dict[str, Result]:
    return {result.key: result for result in asked(of) if result.about == camera}


def wrong(results: Sequence[Result]) -> set[tuple[str | None, str, State]]:
    return {(r.about, r.key, r.state) for r in results if r.state is not State.OK}


def of_cameras(box: Box, *cameras: Camera) -> Patient:
    patient = box.patient()
    assert patient.settings is not None
    return replace(patient, settings=replace(patient.settings, cameras=cameras))


def rtsp(name: str, url: str, box: Box, secret: str = "camera") -> Camera:
    return Camera(
        id=name,
        name=name,
        kind=CameraKind.RTSP,
        source=url,
        username=LOGIN[0],
        password=SecretRef(file=str(box.folder / secret)),
    )


def test_two_cameras_that_are_well(box):
    results = asked(box.patient())
    assert wrong(results) == set()
    gate = {r.key: r.seen for r in results if r.about == "gate"}
    assert gate["camera.video"] == "h264 640x360"
    assert "key picture" in gate["camera.keyframes"] or "no two" in gate["camera.keyframes"]
    assert {"camera.reach", "camera.login", "camera.clock"} <= set(gate)
    assert {r.key: r.seen for r in results if r.about == "post"}["camera.video"] == "jpeg 640x360"


def test_no_decoder_is_loaded_in_the_doctors_own_process():
    program = (
        "import sys, edge_agent.doctor.cameras\n"
        "assert not {'cv2', 'numpy'} & set(sys.modules), 'a decoder was loaded'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_each_camera_is_judged_by_itself(box, street):
    with evil(never_answers) as mute, evil(rtsp_status(200)) as nonsense:
        results = asked(
            of_cameras(
                box,
                rtsp("well", f"{street.rtsp_url}/main", box),
                rtsp("path", f"{street.rtsp_url}/other", box),
                rtsp("mute", f"rtsp://127.0.0.1:{mute}/main", box),
                rtsp("shut", f"rtsp://127.0.0.1:{free_port()}/main", box),
                rtsp("odd", f"rtsp://127.0.0.1:{nonsense}/main", box),
            )
        )
    assert wrong(results) == {
        ("path", "camera.path", State.FAULT),
        ("mute", "camera.reach", State.FAULT),
        ("shut", "camera.reach", State.FAULT),
        ("odd", "camera.speaks", State.FAULT),
    }


def test_a_wrong_password_is_tried_once_for_all_channels_of_a_recorder(box):
    asked_with: list[str] = []

    def recorder(line: Any, over: threading.Event) -> None:
        while not over.is_set():
            head = question(line)
            if "Authorization" in head:
                asked_with.append(head)
            number = head.split("CSeq: ", 1)[1].split("\r\n", 1)[0]
            challenge = 'WWW-Authenticate: Digest realm="nvr", nonce="a1"'
            line.sendall(f"RTSP/1.0 401 No\r\nCSeq: {number}\r\n{challenge}\r\n\r\n".encode())

    with evil(recorder) as port:
        channels = [rtsp(f"c{n}", f"rtsp://127.0.0.1:{port}/{n}", box) for n in range(6)]
        results = asked(of_cameras(box, *channels))
    assert len(asked_with) == 1
    assert wrong(results) == {(f"c{n}", "camera.login", State.FAULT) for n in range(6)}


def test_a_password_that_cannot_be_read(box, street):
    camera = rtsp("gate", f"{street.rtsp_url}/main", box, secret="gone")
    (result,) = asked(of_cameras(box, camera))
    assert (result.key, result.state) == ("camera.login", State.FAULT)


def test_h265_on_a_small_board(box, street):
    patient = of_cameras(box, rtsp("gate", f"{street.rtsp_url}/heavy", box))
    assert wrong(asked(patient)) == set()
    box.write("proc/meminfo", "MemTotal: 945000 kB\n")
    assert wrong(asked(patient)) == {("gate", "camera.codec", State.WARNING)}


def test_a_capture_device_below_a_root_that_stands_in(box):
    camera = Camera(id="usb", name="Balai", kind=CameraKind.V4L2, source="/dev/video7")
    (result,) = asked(of_cameras(box, camera))
    assert (result.key, result.state) == ("camera.device", State.FAULT)
    box.write("dev/video7", "")
    (result,) = asked(of_cameras(box, camera))
    assert (result.key, result.state) == ("camera.device", State.OK)


def test_a_device_of_this_machine_is_asked_by_the_child(box):
    """/dev/null is there, and is no capture device."""
    camera = Camera(id="usb", name="Balai", kind=CameraKind.V4L2, source="/dev/null")
    (result,) = asked(replace(of_cameras(box, camera), root=Path("/")))
    assert (result.key, result.state) == ("camera.device", State.FAULT)


def test_a_recording_is_there_or_not(box, tmp_path):
    camera = Camera(id="clip", name="Rekaman", kind=CameraKind.CLIP, source=str(tmp_path / "x"))
    assert wrong(asked(of_cameras(box, camera))) == {("clip", "camera.device", State.FAULT)}
    (tmp_path / "x").mkdir()
    assert wrong(asked(of_cameras(box, camera))) == set()


@pytest.mark.parametrize("behaviour", [hangs_up, answers("500 Oops")])
def test_a_snapshot_camera_that_misbehaves(box, behaviour):
    with evil(behaviour) as port:
        camera = Camera(
            id="post", name="Pos", kind=CameraKind.HTTP, source=f"http://127.0.0.1:{port}/p"
        )
        (key,) = {key for _, key, _ in wrong(asked(of_cameras(box, camera)))}
    assert key in {"camera.speaks", "camera.reach"}


def test_a_camera_whose_clock_is_wrong_is_told_only_by_a_clock_that_is_right(box):
    old = answers("200 OK", b"x", "Date: Sat, 03 Feb 2001 03:04:05 GMT")
    with evil(old) as port:
        box.say(box.ward.http_url, f"http://127.0.0.1:{port}/picture")
        box.beside = True
        results = asked(box.patient())
        assert wrong(results) == {("post", "camera.clock", State.WARNING)}
        box.clock.is_trusted = False
        assert wrong(asked(box.patient())) == set()


# ---- beside the agent ----


def spoilt(box: Box, **values: Json) -> Patient:
    def change(status: dict[str, Json]) -> None:
        cameras = status["cameras"]
        assert isinstance(cameras, list)
        assert isinstance(cameras[0], dict)
        cameras[0].update(values)

    box.beside, box.spoil_status = True, change
    return box.patient()


def test_the_agents_own_figures_are_taken(box):
    gate = found(spoilt(box, signal_detail="h265 1920x1080", gop_s=4.0), "gate")
    assert gate["camera.video"].seen == "h265 1920x1080"
    assert gate["camera.keyframes"].seen == "a key picture every 4.0 s"
    gate = found(spoilt(box, gop_s=12.0), "gate")
    assert gate["camera.keyframes"].state is State.WARNING
    gate = found(spoilt(box, signal_detail="odd", gop_s=None), "gate")
    assert set(gate) == {"camera.reach"}


def test_the_agents_finding_is_the_answer(box):
    def refused(status: dict[str, Json]) -> None:
        status["findings"] = [
            {"key": "camera_unauthorised", "camera": "gate", "id": "Salah sandi.", "en": "Wrong."},
            {"key": "view_moved", "camera": "gate", "id": "x", "en": "x"},
        ]
        cameras = status["cameras"]
        assert isinstance(cameras, list)
        assert isinstance(cameras[0], dict)
        cameras[0].update(fresh_video=False, signal_detail="refused")

    box.beside, box.spoil_status = True, refused
    (result,) = found(box.patient(), "gate").values()
    assert (result.key, result.state) == ("camera.login", State.FAULT)
    assert result.remedy is not None
    assert result.remedy.id == "Salah sandi."


def test_while_private_no_camera_is_asked_anything(box):
    came: list[str] = []

    def notes(line: Any, over: threading.Event) -> None:
        came.append(question(line))

    def private(status: dict[str, Json]) -> None:
        status["private"] = {"on": True}
        cameras = status["cameras"]
        assert isinstance(cameras, list)
        for camera in cameras:
            assert isinstance(camera, dict)
            camera.update(fresh_video=False, session=False)

    with evil(notes) as port:
        box.say(box.ward.http_url, f"http://127.0.0.1:{port}/picture")
        box.beside, box.spoil_status = True, private
        results = asked(box.patient())
    assert wrong(results) == set()
    assert came == []
    assert all("private" in result.seen for result in results)


def test_an_agent_that_gives_no_word_keeps_its_cameras(box):
    patient = replace(box.patient(), agent=Agent(running=True, why_silent="it hangs"))
    assert wrong(asked(patient)) == {
        (name, "camera.reach", State.WARNING) for name in ("gate", "post")
    }


def test_a_camera_that_the_agent_does_not_know(box):
    box.beside = True
    status = dict(box.patient().agent.status or {})
    patient = replace(box.patient(), agent=Agent(running=True, status={**status, "cameras": "odd"}))
    assert {key for _, key, _ in wrong(asked(patient))} == {"camera.reach"}


# ---- the child ----


def test_what_cameras_send_is_read_as_the_services_user(box, monkeypatch):
    """Here as the user that we are: which groups it has is the machine's own word."""
    monkeypatch.setattr(module, "_USER", pwd.getpwuid(os.getuid()).pw_name)
    user, group, groups = module._servant()
    if os.geteuid() == 0:
        assert (user, group) == (os.getuid(), pwd.getpwuid(os.getuid()).pw_gid)
        assert groups is not None
        assert group in groups
    else:
        assert (user, group, groups) == (None, None, None)
    assert wrong(asked(box.patient())) == set()
    monkeypatch.setattr(module, "_USER", "nobody-of-this-name")
    assert module._servant() == (None, None, None)


def test_a_child_that_never_speaks_is_ended_in_time(box, monkeypatch, tmp_path):
    script = tmp_path / "child"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    results = asked(replace(box.patient(), within_s=1.0))
    # It never began: that is no word against a camera.
    assert {(key, state) for _, key, state in wrong(results)} == {("camera.reach", State.WARNING)}


def test_a_child_that_a_driver_holds_after_it_was_killed_costs_no_answer(box, monkeypatch):
    children: list[subprocess.Popen[bytes]] = []

    class Held(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            words = self.args if isinstance(self.args, list) else []
            if timeout is None or "edge_agent.capture.look" not in words:
                return super().wait(timeout)
            children.append(self)
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess, "Popen", Held)
    results = asked(box.patient())
    for child in children:
        child.wait()
    assert children
    assert wrong(results) == set()


@pytest.mark.parametrize(
    ("within_s", "state"),
    [(1.2, State.WARNING), (10.0, State.FAULT)],  # 0.4 s of it are kept for the page
)
def test_a_camera_is_silent_only_if_it_had_time_to_answer(
    box, monkeypatch, tmp_path, within_s, state
):
    begun = "".join(f'{{"camera": "{name}", "begun": {{}}}}\n' for name in ("gate", "post"))
    (tmp_path / "lines").write_text(begun)
    script = tmp_path / "child"
    script.write_text(f"#!/bin/sh\ncat {tmp_path / 'lines'}\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    results = asked(replace(box.patient(), within_s=within_s))
    assert {(key, found) for _, key, found in wrong(results)} == {("camera.reach", state)}


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[1, 2]",
        '{"camera": 7, "figures": {"codec": "h264"}}',
        '{"camera": "gate", "figures": 3}',
        '{"camera": "gate", "answers": {"told_s": 1e400}, "figures": {"width": true}}',
        '{"camera": "gate", "trouble": {"cause": "odd", "detail": 5}}',
        "x" * 100_000,
    ],
)
def test_whatever_a_child_says_the_doctor_answers(box, monkeypatch, tmp_path, line):
    (tmp_path / "line").write_text(f"{line}\n")
    script = tmp_path / "child"
    script.write_text(f"#!/bin/sh\ncat {tmp_path / 'line'}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert {result.about for result in asked(box.patient())} >= {"gate", "post"}
