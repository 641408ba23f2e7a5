"""Each camera on its own: is it there, does it let us in, what does it send, how often a key picture, and does it know the time.

Promises: while the agent runs its word is taken, and no camera is asked for video beside it, nor anything at all while private; no password
is tried twice, and none is ever shown; no picture is kept, no decoder is loaded in this process:
capture/look.py has one of its own, which never runs as root where the service's user is there.
Not its job: what the agent makes of the pictures (status.py), the loops (board.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edge_agent import told_time
from edge_agent.cameras import ENVIRONMENT
from edge_agent.capture.pipe import Assignment, CameraJob, assignment_line
from edge_agent.config import SecretError, read_secret
from edge_agent.core import words
from edge_agent.core.health import SIGNAL_KEYS
from edge_agent.core.messages import Cause
from edge_agent.core.settings import Camera, CameraKind
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, State

_MARGIN_S: Final = 0.4  # the page and the other checks want a part of the time, too
_LINE_MAX_BYTES: Final = 4096
_LINES_MAX: Final = 1000
_WEAK_BYTES: Final = 1_200_000_000  # boards of 1 GB: Pi 3 and the small Pi 4
_GOP_MAX_S: Final = 10.0  # each picture waits for a key picture
_SKEW_S: Final = 60.0
_CLOCK_S: Final = 0.2  # a question about the time is over so long before the rest
_FAIR_S: Final = 1.0  # any camera that is well has answered by then
_HTTP_PORT: Final = 80
_USER: Final = "edge-agent"

# Which question failed, by why.
_KEYS: Final[Mapping[Cause, str]] = {
    Cause.NO_ANSWER: "camera.reach",
    Cause.REFUSED: "camera.reach",
    Cause.UNREACHABLE: "camera.reach",
    Cause.NO_DEVICE: "camera.device",
    Cause.UNAUTHORISED: "camera.login",
    Cause.NOT_FOUND: "camera.path",
    Cause.REDIRECTED: "camera.path",
    Cause.NONSENSE: "camera.speaks",
    Cause.NOT_A_PICTURE: "camera.video",
    Cause.TOO_LARGE: "camera.video",
    Cause.STALLED: "camera.video",
    Cause.STALE: "camera.video",
    Cause.CRASHES: "camera.video",
}

_H265: Final = Sentence(
    "Kamera mengirim H.265, yang berat untuk kotak berpapan 1 GB ini. Atur kamera ke H.264, 1920x1080 atau kurang.",
    "The camera sends H.265, which is much for this box with its 1 GB board. Set the camera to H.264, 1920x1080 or less.",
)
_GOP: Final = Sentence(
    "Kamera terlalu jarang mengirim gambar kunci, jadi gambar datang terlambat. Matikan mode pintar (H.264+/H.265+) dan atur jarak gambar "
    "kunci (I-frame interval) ke 2 detik.",
    "The camera sends key pictures too rarely, so pictures come late. Switch off its smart mode (H.264+/H.265+) and set the I-frame "
    "interval to 2 seconds.",
)
_NOT_MEASURED: Final = Sentence(
    "Video kamera tidak sempat diukur. Jalankan sekali lagi; bila agen berjalan, edge-agent status memperlihatkannya.",
    "There was no time to measure this camera's video. Run it once more; while the agent runs, edge-agent status shows it.",
)
_CLOCK: Final = Sentence(
    "Jam kamera salah, jadi waktu yang tertulis di gambarnya menyesatkan. Atur jam kamera ke server waktu (NTP) dan zona waktunya ke "
    "WIB (UTC+7) di halaman pengaturannya.",
    "The camera's clock is wrong, so the time written into its picture misleads. Set its clock to a time server (NTP), and its time zone "
    "to WIB (UTC+7), on its settings page.",
)
_PASSWORD: Final = Sentence(
    "Kata sandi kamera ini tidak dapat dibaca dari berkas yang disebut di box.toml. Jalankan edge-agent check untuk melihat sebabnya.",
    "This camera's password cannot be read from the file named in box.toml. Run edge-agent check to see why.",
)
_SILENT: Final = Sentence(
    "Agen berjalan tetapi tidak menjawab, dan kamera adalah miliknya. Tunggu dua menit atau jalankan: sudo systemctl restart edge-agent.",
    "The agent runs but does not answer, and the cameras are its own. Wait two minutes, or run: sudo systemctl restart edge-agent.",
)


_RESTART: Final = Sentence(
    "Jalankan: sudo systemctl restart edge-agent.", "Run: sudo systemctl restart edge-agent."
)


@dataclass(slots=True)
class _Learnt:
    """What is known of one camera."""

    answers: Mapping[str, object] = field(default_factory=dict)
    figures: Mapping[str, object] = field(default_factory=dict)
    trouble: Mapping[str, object] = field(default_factory=dict)
    ahead_s: float | None = None  # its clock against the box's
    begun_at: float | None = None  # boot seconds at which the child turned to it


def _ask(patient: Patient) -> list[Result]:
    """All cameras, side by side."""
    if patient.settings is None or not patient.settings.cameras:
        return []
    cameras = patient.settings.cameras
    status = patient.agent.status
    if status is None and patient.agent.running:
        seen = patient.agent.why_silent[:200] or "the agent gives no word"
        return [_result("camera.reach", State.WARNING, c.id, seen, _SILENT) for c in cameras]
    if status is not None and _private(status):
        return [result for camera in cameras for result in _of_status(patient, camera, status)]
    clocks = _Clocks(patient, cameras)
    if status is None:
        results, ahead_s = _looked_at(patient, cameras)
    else:
        results = [result for camera in cameras for result in _of_status(patient, camera, status)]
        ahead_s = {}
    return results + clocks.results(ahead_s)


def _private(status: Mapping[str, object]) -> bool:
    """Also where it does not say."""
    return _table(status.get("private")).get("on") is not False


# ---- the agent's word ----


def _of_status(patient: Patient, camera: Camera, status: Mapping[str, object]) -> list[Result]:
    told = next((o for o in _items(status.get("cameras")) if o.get("id") == camera.id), None)
    if told is None:
        seen = "the agent does not know it: box.toml was changed since it started"
        return [_result("camera.reach", State.WARNING, camera.id, seen, _RESTART)]
    if told.get("fresh_video") is True:
        return _fresh(patient, camera, told)
    detail = str(told.get("signal_detail"))[:160]
    for finding in _items(status.get("findings")):
        cause = _cause(str(finding.get("key")).removeprefix("camera_"))
        if finding.get("camera") == camera.id and cause is not None:
            remedy = Sentence(str(finding.get("id")), str(finding.get("en")))
            seen = f"the agent says: {detail}"
            return [_result(_KEYS[cause], State.FAULT, camera.id, seen, remedy)]
    why = "private" if _private(status) else "no finding"
    seen = f"not asked beside the agent, which says: {detail} ({why})"
    return [_result("camera.reach", State.OK, camera.id, seen)]


def _fresh(patient: Patient, camera: Camera, told: Mapping[str, object]) -> list[Result]:
    results = [_result("camera.reach", State.OK, camera.id, "the agent has fresh video")]
    found = re.match(r"(\w+) (\d+)x(\d+)", str(told.get("signal_detail")))
    if found:
        results.append(_video(patient, camera, found[1], int(found[2]), int(found[3])))
    if gop_s := _number(told.get("gop_s")):
        results.append(_gop(camera, gop_s))
    return results


# ---- our own look ----


def _looked_at(
    patient: Patient, cameras: Sequence[Camera]
) -> tuple[list[Result], dict[str, float]]:
    """No agent has them: a child of ours asks each once. Also how far ahead of the box's those clocks are that were told of."""
    results: list[Result] = []
    jobs: list[CameraJob] = []
    for camera in cameras:
        missing = _missing(patient, camera)
        if missing is not None:
            results.append(missing)
            continue
        try:
            jobs.append(_job(camera))
        except SecretError as error:
            seen = str(error)[:300]
            results.append(_result("camera.login", State.FAULT, camera.id, seen, _PASSWORD))
    learnt = {job.id: _Learnt() for job in jobs if job.kind is not CameraKind.CLIP}
    if learnt:
        _listen([job for job in jobs if job.id in learnt], learnt, patient)
    ahead_s: dict[str, float] = {}
    for camera in cameras:
        if camera.id in learnt:
            of = learnt[camera.id]
            results += _judge(patient, camera, of)
            if of.ahead_s is not None:
                ahead_s[camera.id] = of.ahead_s
    return results, ahead_s


def _missing(patient: Patient, camera: Camera) -> Result | None:
    """What is on the box is there, or not; None: to be asked."""
    if camera.kind not in {CameraKind.V4L2, CameraKind.CLIP}:
        return None
    path = Path(camera.source)
    if camera.kind is CameraKind.V4L2:
        path = patient.root / camera.source.lstrip("/")
    if not path.exists():
        return _trouble(camera, Cause.NO_DEVICE, f"{camera.source} is not there")
    if camera.kind is CameraKind.V4L2 and patient.root == Path("/"):
        return None
    return _result("camera.device", State.OK, camera.id, f"{camera.source} is there")


def _job(camera: Camera) -> CameraJob:
    """SecretError if its password cannot be had."""
    return CameraJob(
        id=camera.id,
        kind=camera.kind,
        source=camera.source,
        username=camera.username,
        password=None if camera.password is None else read_secret(camera.password),
        period_s=camera.period_s,
    )


def _listen(jobs: Sequence[CameraJob], learnt: Mapping[str, _Learnt], patient: Patient) -> None:
    """Start the child, note what it says, and end it in time."""
    end = patient.clock.now() + patient.left_s() - _MARGIN_S
    user, group, groups = _servant()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
    child = subprocess.Popen(
        [sys.executable, "-m", "edge_agent.capture.look", f"{end - 0.1:.3f}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=inherited | ENVIRONMENT,
        user=user,
        group=group,
        extra_groups=groups,
    )
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(child, lines), name="look", daemon=True)
    reader.start()
    assignment = Assignment(parent_pid=os.getpid(), views_folder="", cameras=tuple(jobs))
    try:
        assert child.stdin  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(assignment_line(assignment))
        _note(lines, learnt, patient, end)
    finally:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the grip of a driver: not for us
            child.wait(1)


def _servant() -> tuple[int | None, int | None, list[int] | None]:
    """As whom the child runs: root gives what cameras send to the service's user, as systemd does. Nobody else can, nor has to."""
    try:
        found = pwd.getpwnam(_USER)
    except KeyError:
        return None, None, None
    if os.geteuid() != 0:
        return None, None, None
    return found.pw_uid, found.pw_gid, os.getgrouplist(_USER, found.pw_gid)


def _read(child: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    """What the child says, line by line and bounded: a camera may have taken it over. Ends with an empty line."""
    with contextlib.suppress(OSError, ValueError):
        assert child.stdout  # noqa: S101 - a pipe was asked for
        with child.stdout as said:
            for _ in range(_LINES_MAX):
                line = said.readline(_LINE_MAX_BYTES)
                if not line:
                    break
                lines.put(line)
    lines.put(b"")


def _note(
    lines: queue.SimpleQueue[bytes], learnt: Mapping[str, _Learnt], patient: Patient, end: float
) -> None:
    while True:
        try:
            line = lines.get(timeout=max(0.0, end - patient.clock.now()))
        except queue.Empty:
            return
        if not line:
            return
        with contextlib.suppress(ValueError):
            told = _table(json.loads(line))
            of = learnt.get(str(told.get("camera")))
            if of is not None:
                of.answers = _table(told.get("answers")) or of.answers
                if "begun" in told:
                    of.begun_at = patient.clock.now()
                told_s = _number(_table(told.get("answers")).get("told_s"))
                of.ahead_s = of.ahead_s if told_s is None else told_s - patient.clock.wall()
                of.figures = _table(told.get("figures")) or of.figures
                of.trouble = _table(told.get("trouble")) or of.trouble


def _judge(patient: Patient, camera: Camera, learnt: _Learnt) -> list[Result]:
    cause = _cause(str(learnt.trouble.get("cause")))
    detail = str(learnt.trouble.get("detail") or "")[:200]
    if not (learnt.answers or learnt.figures or cause):
        # A slow board may need all the time to load the decoder: that says nothing of a camera that was hardly asked.
        begun_at = learnt.begun_at
        if begun_at is None or patient.clock.now() - begun_at < _FAIR_S:
            seen = "not asked: the look at the cameras did not begin in time"
            return [_result("camera.reach", State.WARNING, camera.id, seen, _NOT_MEASURED)]
        cause, detail = Cause.NO_ANSWER, "no answer in time"
    results = []
    if cause is None or learnt.answers:
        results.append(_result("camera.reach", State.OK, camera.id, "answers at its address"))
        who = "lets us in with its password" if camera.username else "lets everybody in"
        results.append(_result("camera.login", State.OK, camera.id, who))
    if cause is not None:
        return [*results, _trouble(camera, cause, detail)]
    return results + _figures(patient, camera, learnt)


def _figures(patient: Patient, camera: Camera, learnt: _Learnt) -> list[Result]:
    told = learnt.figures
    codec = str(told.get("codec") or learnt.answers.get("codec") or "")[:20]
    width, height = _number(told.get("width")) or 0, _number(told.get("height")) or 0
    results = [_video(patient, camera, codec, int(width), int(height))] if told else []
    if camera.kind is not CameraKind.RTSP:
        return results
    gop_s, watched_s = _number(told.get("gop_s")) or 0.0, _number(told.get("watched_s")) or 0.0
    if gop_s:
        return [*results, _gop(camera, gop_s)]
    if not told:
        seen = "not measured: its video did not begin in time"
        return [_result("camera.keyframes", State.WARNING, camera.id, seen, _NOT_MEASURED)]
    watched = f"the {watched_s:.1f} s that it was watched" if watched_s else "the time there was"
    seen = f"no two within {watched}"
    return [*results, _result("camera.keyframes", State.OK, camera.id, seen)]


# ---- judging ----


def _video(patient: Patient, camera: Camera, codec: str, width: int, height: int) -> Result:
    seen = f"{codec} {width}x{height}"
    memory = _memory_bytes(patient.root)
    if codec == "h265" and memory is not None and memory < _WEAK_BYTES:
        return _result("camera.codec", State.WARNING, camera.id, seen, _H265)
    return _result("camera.video", State.OK, camera.id, seen)


def _gop(camera: Camera, gop_s: float) -> Result:
    seen = f"a key picture every {gop_s:.1f} s"
    if gop_s > _GOP_MAX_S:
        return _result("camera.keyframes", State.WARNING, camera.id, seen, _GOP)
    return _result("camera.keyframes", State.OK, camera.id, seen)


def _trouble(camera: Camera, cause: Cause, detail: str) -> Result:
    said = words.say(SIGNAL_KEYS[cause], {"camera": camera.name, "detail": detail})
    return _result(_KEYS[cause], State.FAULT, camera.id, detail or cause.value, said)


class _Clocks:
    """What time the cameras say it is; asked without a password, all at once, from the moment this is made."""

    def __init__(self, patient: Patient, cameras: Sequence[Camera]) -> None:
        self._patient = patient
        self._cameras = [c for c in cameras if c.kind in {CameraKind.RTSP, CameraKind.HTTP}]
        self._end = patient.clock.now() + patient.left_s() - _MARGIN_S - _CLOCK_S
        self._came: queue.SimpleQueue[tuple[str, float | None]] = queue.SimpleQueue()
        for camera in self._cameras:
            threading.Thread(
                target=self._one, args=(camera,), name=f"clock {camera.id}", daemon=True
            ).start()

    def _one(self, camera: Camera) -> None:
        parts = urlsplit(camera.source)
        port = parts.port if camera.kind is CameraKind.HTTP else None
        ahead_s: float | None = None
        with contextlib.suppress(OSError, ValueError):
            clock = self._patient.clock
            host = parts.hostname or ""
            told_s = told_time.of_camera(host, port or _HTTP_PORT, end=self._end, clock=clock)
            ahead_s = None if told_s is None else told_s - clock.wall()
        self._came.put((camera.id, ahead_s))

    def results(self, also_s: Mapping[str, float]) -> list[Result]:
        """One for each that told; *also_s*: what is known from elsewhere. Waits for those that are still asked, in time."""
        clock = self._patient.clock
        ahead_s = dict(also_s)
        for _ in self._cameras:
            try:
                left_s = self._end + _CLOCK_S - clock.now()
                name, told = self._came.get(timeout=max(0.0, left_s))
            except queue.Empty:
                break
            if told is not None:
                ahead_s[name] = told
        return [self._judge(c, ahead_s[c.id]) for c in self._cameras if c.id in ahead_s]

    def _judge(self, camera: Camera, ahead_s: float) -> Result:
        seen = f"its clock is {ahead_s:+.0f} s from the box's"
        if not self._patient.clock.trusted():
            seen += ", which nothing vouches for"
            return _result("camera.clock", State.OK, camera.id, seen)
        if abs(ahead_s) > _SKEW_S:
            return _result("camera.clock", State.WARNING, camera.id, seen, _CLOCK)
        return _result("camera.clock", State.OK, camera.id, seen)


# ---- small things ----


def _result(
    key: str, state: State, camera: str, seen: str, remedy: Sentence | None = None
) -> Result:
    return Result(key=key, state=state, about=camera, seen=seen, remedy=remedy)


def _memory_bytes(root: Path) -> int | None:
    try:
        text = (root / "proc" / "meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^MemTotal: +(\d{1,12}) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _cause(name: str) -> Cause | None:
    try:
        return Cause(name)
    except ValueError:
        return None


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e11 else None


CHECKS: Final[tuple[Check, ...]] = (
    Check(
        key="camera.reach",
        group="cameras",
        ask=_ask,
        also=(
            *sorted({*_KEYS.values()} - {"camera.reach"}),
            "camera.codec",
            "camera.keyframes",
            "camera.clock",
        ),
        slow=True,  # a child that loads the decoder; a camera that keeps it waiting is told by name before the end
    ),
)
