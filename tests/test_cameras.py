"""The supervisor with real workers on real cameras: what reaches the agent, and what harms whom."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from edge_agent import views, vision
from edge_agent.cameras import Cameras
from edge_agent.capture import freshness, probe
from edge_agent.capture import rtsp as rtsp_reader
from edge_agent.clock import SystemClock
from edge_agent.core.messages import Cause, Learn, LimitPictures, PictureTaken
from edge_agent.core.settings import Camera, CameraKind, SecretRef
from edge_agent.device import Device
from edge_agent.shutter import Shutter
from tests.support import clips, evil_servers
from tests.support.broker import wait_for
from tests.support.evil_servers import black_hole, evil
from tests.support.http_camera import http_camera
from tests.support.patience import patient
from tests.support.rtsp_camera import rtsp_server
from tests.support.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_agent.clock import Clock

pytestmark = [pytest.mark.cameras, pytest.mark.enable_socket]

USER: Final = "viewer"
PASSWORD: Final = (
    "p@ss/w0rd 1%"  # each of these characters breaks a URL that is put together carelessly
)
SECRET: Final = SecretRef(file="/nowhere/camera-password")
# What the reader itself takes for fresh, and a moment for server, network, decoder and a machine that also runs other tests.
LATENCY_S: Final = 2.5
# Whoever waits for a camera that does not answer waits so long at the least (READ_TIMEOUT_S, and DEADLINE_S of the probe). A healthy
# camera that gave pictures sooner than that has waited for nobody, however busy the machine is.
HELD_UP_S: Final = 4.0


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clips that the cameras show."""
    folder = tmp_path_factory.mktemp("clips")
    clips.make(folder / "main.h264")
    clips.make(folder / "main.h265")
    clips.make(folder / "sub.h264", width=320, height=240, frames=50)
    clips.make(folder / "huge.h265", width=8192, height=4320, frames=1)
    return folder


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher(SystemClock())
    yield watcher
    watcher.check()


@contextlib.contextmanager
def running(
    watcher: Watcher,
    *cameras: Camera,
    secret: str = PASSWORD,
    shutter: Shutter | None = None,
    forget: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
) -> Iterator[Cameras]:
    shutter = shutter or Shutter()
    with Cameras(
        cameras,
        views_folder="/nonexistent",
        secret=lambda _: secret,
        post=watcher.post,
        shutter=shutter,
        clock=clock or SystemClock(),
        forget=forget,
    ) as parts:
        parts.start(press=shutter.presses)
        yield parts
    # Closing waits for the thread that kills them as long as an agent may take to end; that thread may be held up for longer.
    wait_for(lambda: workers() == [], "the workers' end")


def camera(
    name: str, kind: CameraKind, source: str, *, login: bool = False, period_s: float = 1.0
) -> Camera:
    return Camera(
        id=name,
        name=name,
        kind=kind,
        source=source,
        username=USER if login else None,
        password=SECRET if login else None,
        period_s=period_s,
    )


def rtsp(name: str, url: str, *, login: bool = False) -> Camera:
    return camera(name, CameraKind.RTSP, url, login=login)


def http(name: str, port: int) -> Camera:
    return camera(name, CameraKind.HTTP, f"http://127.0.0.1:{port}/snapshot.jpg")


def clip(name: str, folder: Path, period_s: float = 0.5) -> Camera:
    return camera(name, CameraKind.CLIP, str(folder), period_s=period_s)


def jpeg(number: int = 1, width: int = 640, height: int = 360) -> bytes:
    return bytes(cv2.imencode(".jpg", clips.frame(number, width, height))[1].tobytes())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
    return folder


def wait_for_pictures(
    watcher: Watcher, *names: str, after: int, count: int = 1, within_s: float = 20
) -> None:
    watcher.wait(
        lambda: all(len(watcher.pictures(n, after=after)) >= count for n in names),
        within_s=within_s,
    )


def workers() -> list[int]:
    """The capture workers that are children of this process."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if entry.name.isdigit() and b"edge_agent.capture" in (entry / "cmdline").read_bytes():
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if stat[0] != "Z" and int(stat[1]) == os.getpid():
                    found.append(int(entry.name))
    return found


def frame_number(picture: PictureTaken) -> int:
    number = clips.frame_number(
        np.asarray(
            cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8
        )
    )
    assert number is not None, "the barcode cannot be read"
    return number


# ---- the normal day ----


def test_cameras_of_all_kinds_give_pictures_of_now(
    street: Path, pictures: Path, tmp_path: Path, watcher: Watcher
) -> None:
    mounts = {"/h264": street / "main.h264", "/h265": street / "main.h265"}
    with (
        rtsp_server(mounts, user=USER, password=PASSWORD) as server,
        http_camera(tmp_path, jpeg(77), user=USER, password=PASSWORD) as snapshot,
        running(
            watcher,
            rtsp("h264", server.url("/h264"), login=True),
            rtsp("h265", server.url("/h265"), login=True),
            camera("digest", CameraKind.HTTP, snapshot.url, login=True),
            clip("clip", pictures),
        ),
    ):
        everyone = ("h264", "h265", "digest", "clip")
        watcher.wait(lambda: all(len(watcher.pictures(c)) >= 4 for c in everyone), within_s=25)
        for name in ("h264", "h265"):
            for picture in watcher.pictures(name):
                true_s = server.age_s(
                    f"/{name}", frame_number(picture), picture.taken_at + picture.age_s
                )
                assert -0.1 <= true_s <= LATENCY_S
                assert picture.codec == name
                assert (picture.width, picture.height) == (640, 360)
                assert picture.gop_s == pytest.approx(1.0, abs=0.5)
                assert picture.bytes_per_s > 1000
                assert picture.reading.view == ""
                assert picture.reading.same_bits == 1
        assert all(p.jpeg == jpeg(77) for p in watcher.pictures("digest")), (
            "a camera's own bytes were changed"
        )
        assert [p.reading.same_bits for p in watcher.pictures("digest")][:3] == [1, 2, 3]
        assert {frame_number(p) for p in watcher.pictures("clip")} == {0, 1, 2}
        assert all(watcher.lost(name) == [] for name in everyone)
        told = repr(watcher.events)
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and process.name != str(server.process.pid):
                with contextlib.suppress(OSError):
                    told += (process / "cmdline").read_text(errors="replace")
        assert PASSWORD not in told
        assert quote(PASSWORD, safe="") not in told


def test_basic_login_works_where_a_camera_asks_for_it(
    street: Path, tmp_path: Path, watcher: Watcher
) -> None:
    with (
        rtsp_server(
            {"/a": street / "sub.h264"}, user=USER, password=PASSWORD, basic=True
        ) as server,
        http_camera(tmp_path, jpeg(), user=USER, password=PASSWORD, method="basic") as snapshot,
        running(
            watcher,
            rtsp("rtsp", server.url("/a"), login=True),
            camera("http", CameraKind.HTTP, snapshot.url, login=True),
        ),
    ):
        watcher.wait(lambda: all(watcher.pictures(c) for c in ("rtsp", "http")), within_s=15)


def test_a_new_period_holds_at_once_and_over_a_restart(pictures: Path, watcher: Watcher) -> None:
    with running(watcher, clip("clip", pictures, period_s=300.0)) as cameras:
        watcher.wait(lambda: len(watcher.pictures("clip")) == 1, within_s=10)
        cameras.set_period("clip", 0.2)
        watcher.wait(lambda: len(watcher.pictures("clip")) >= 5, within_s=5)
        cameras.stop()
        seen = len(watcher.events)
        cameras.start(press=0)
        watcher.wait(lambda: len(watcher.pictures("clip", after=seen)) >= 5, within_s=10)


def test_what_the_hub_does_not_take_is_made_smaller_at_once_and_over_a_restart(
    pictures: Path, watcher: Watcher
) -> None:
    with running(watcher, clip("clip", pictures, period_s=0.2)) as cameras:
        watcher.wait(lambda: len(watcher.pictures("clip")) > 0, within_s=10)
        whole = watcher.pictures("clip")[0]
        assert whole.shrunk_from == 0
        most = len(whole.jpeg) // 2
        cameras.limit(LimitPictures(max_bytes=most))

        def small(after: int = 0) -> bool:
            return any(
                picture.shrunk_from > most >= len(picture.jpeg)
                for picture in watcher.pictures("clip", after=after)
            )

        watcher.wait(small, within_s=10)
        cameras.stop()
        seen = len(watcher.events)
        cameras.start(press=0)
        watcher.wait(lambda: small(seen), within_s=10)
        assert all(picture.shrunk_from for picture in watcher.pictures("clip", after=seen))
        cameras.limit(LimitPictures(max_bytes=None))
        seen = len(watcher.events)
        watcher.wait(
            lambda: any(not p.shrunk_from for p in watcher.pictures("clip", after=seen)),
            within_s=10,
        )


# ---- privacy ----


def test_stop_silences_all_cameras_at_once_and_start_begins_a_new_generation(
    street: Path, pictures: Path, watcher: Watcher
) -> None:
    with (
        rtsp_server({"/a": street / "main.h264"}) as server,
        running(
            watcher, rtsp("rtsp", server.url("/a")), clip("clip", pictures, period_s=0.05)
        ) as cameras,
    ):
        for generation in (1, 2):
            seen = len(watcher.events)
            wait_for_pictures(watcher, "rtsp", "clip", after=seen)
            assert watcher.opened("rtsp")[-1].generation == generation
            cameras.stop()
            seen = len(watcher.events)
            cameras.stop()
            watcher.wait(lambda: workers() == [], within_s=5)
            assert len(watcher.events) == seen, "something was posted after stop"
            cameras.start(press=0)


def test_a_press_stops_all_cameras_without_a_word_from_the_core(
    street: Path, pictures: Path, tmp_path: Path, watcher: Watcher
) -> None:
    """The core may be busy for seconds, a camera may hang: the press alone kills, and nothing is posted from then on."""
    trap = tmp_path / "trap"
    trap.mkdir()
    os.mkfifo(trap / "0.jpg")  # reading it blocks for ever
    shutter, forgotten = Shutter(), threading.Event()
    with (
        rtsp_server({"/a": street / "main.h264"}) as server,
        black_hole() as hole,
        running(
            watcher,
            rtsp("rtsp", server.url("/a")),
            rtsp("hole", f"rtsp://127.0.0.1:{hole}/x"),
            clip("clip", pictures, period_s=0.05),
            clip("trap", trap),
            shutter=shutter,
            forget=forgotten.set,
        ) as cameras,
    ):
        wait_for_pictures(watcher, "rtsp", "clip", after=0)
        shutter.press()
        assert forgotten.wait(patient(5.0))
        seen = len(watcher.events)
        watcher.wait(lambda: workers() == [], within_s=5)
        assert not watcher.pictures("rtsp", after=seen)
        assert not watcher.pictures("clip", after=seen)
        cameras.start(press=0)  # decided before the press
        turned = cameras.progress()
        watcher.wait(lambda: cameras.progress() > turned, within_s=5)
        assert workers() == []
        cameras.start(press=1)
        wait_for_pictures(watcher, "clip", after=seen)
        assert watcher.opened("clip")[-1].generation == 2


def test_a_start_with_the_newest_press_begins_anew_before_the_old_ones_end_was_noticed(
    pictures: Path, watcher: Watcher
) -> None:
    shutter = Shutter()
    with running(watcher, clip("clip", pictures), shutter=shutter) as cameras:
        wait_for_pictures(watcher, "clip", after=0)
        (first,) = workers()
        cameras.start(press=shutter.press())
        seen = len(watcher.events)
        watcher.wait(lambda: first not in workers(), within_s=5)
        wait_for_pictures(watcher, "clip", after=seen)
        assert watcher.opened("clip")[-1].generation == 2
        cameras.start(press=shutter.presses)
        (second,) = workers()
        seen = len(watcher.events)
        wait_for_pictures(watcher, "clip", after=seen, count=2)
        assert workers() == [second], "an order that changes nothing started it anew"


def test_a_storm_of_presses_costs_a_wake_or_two_not_a_thousand(
    pictures: Path, watcher: Watcher
) -> None:
    shutter, stops = Shutter(), []
    with running(
        watcher, clip("clip", pictures), shutter=shutter, forget=lambda: stops.append(1)
    ) as cameras:
        wait_for_pictures(watcher, "clip", after=0)
        for _ in range(10_000):
            shutter.press()
        watcher.wait(lambda: workers() == [], within_s=5)
        turned = cameras.progress()
        watcher.wait(lambda: cameras.progress() > turned, within_s=5)
        assert len(stops) == 1


def test_a_worker_does_not_outlive_the_agent_nor_leave_a_core_dump(
    pictures: Path, watcher: Watcher
) -> None:
    with running(watcher, clip("clip", pictures)):
        watcher.wait(lambda: bool(watcher.pictures("clip")), within_s=10)
        (worker,) = workers()
        limits = Path(f"/proc/{worker}/limits").read_text()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        space = next(line for line in limits.splitlines() if line.startswith("Max address space"))
        assert int(space.split()[3]) <= 700 << 20


# ---- faults of cameras ----


def test_a_snapshot_camera_that_closes_resting_lines_is_not_lost(watcher: Watcher) -> None:
    with (
        evil(evil_servers.hangs_up_on_reuse(jpeg())) as closing,
        evil(evil_servers.hangs_up) as rude,
        running(watcher, http("closing", closing), http("rude", rude)),
    ):
        watcher.wait(lambda: len(watcher.pictures("closing")) >= 5, within_s=20)
        watcher.wait(lambda: bool(watcher.lost("rude")), within_s=10)
    assert watcher.lost("closing") == []
    assert len(watcher.opened("closing")) == 1
    assert watcher.lost("rude")[0].cause is Cause.NONSENSE


def test_a_camera_that_dies_is_named_and_comes_back_while_the_others_go_on(
    street: Path, pictures: Path, watcher: Watcher
) -> None:
    with (
        rtsp_server({"/b": street / "sub.h264"}) as healthy,
        running(
            watcher,
            rtsp("dying", "rtsp://127.0.0.1:1/never"),
            rtsp("healthy", healthy.url("/b")),
            clip("clip", pictures),
        ),
    ):
        watcher.wait(
            lambda: bool(watcher.lost("dying")) and bool(watcher.pictures("healthy")), within_s=15
        )
        assert [e.cause for e in watcher.lost("dying")] == [Cause.REFUSED]

    watcher.events.clear()
    with rtsp_server({"/b": street / "sub.h264"}) as healthy, contextlib.ExitStack() as stack:
        first = stack.enter_context(rtsp_server({"/a": street / "main.h264"}))
        stack.enter_context(
            running(
                watcher,
                rtsp("dying", first.url("/a")),
                rtsp("healthy", healthy.url("/b")),
                clip("clip", pictures),
            )
        )
        watcher.wait(
            lambda: all(watcher.pictures(c) for c in ("dying", "healthy", "clip")), within_s=15
        )
        first.process.send_signal(signal.SIGKILL)
        watcher.wait(lambda: bool(watcher.lost("dying")), within_s=9)
        assert watcher.lost("dying")[0].cause is Cause.REFUSED
        stack.enter_context(rtsp_server({"/a": street / "main.h264"}, port=first.port))
        watcher.wait(lambda: len(watcher.opened("dying")) == 2, within_s=20)
        assert len(watcher.lost("dying")) == 1, "one loss is said once"
        assert watcher.lost("healthy") == watcher.lost("clip") == []
        assert watcher.longest_gap_s("clip") < HELD_UP_S
        assert watcher.longest_gap_s("healthy") < HELD_UP_S


def test_a_camera_that_hangs_is_noticed_in_nine_seconds_and_never_shows_the_past(
    street: Path, pictures: Path, watcher: Watcher
) -> None:
    with (
        rtsp_server({"/a": street / "main.h264"}) as server,
        running(watcher, rtsp("hangs", server.url("/a")), clip("clip", pictures)),
    ):
        watcher.wait(lambda: len(watcher.pictures("hangs")) >= 2, within_s=15)
        server.stop()
        watcher.wait(lambda: bool(watcher.lost("hangs")), within_s=10)
        # The reader gives up, asks a moment later, and nobody answers: NO_ANSWER comes of that and of nothing slower.
        assert freshness.READ_TIMEOUT_S + rtsp_reader._ASK_AFTER_S + probe.DEADLINE_S <= 9
        assert watcher.lost("hangs")[0].cause is Cause.NO_ANSWER
        server.go_on()
        seen = len(watcher.events)
        watcher.wait(lambda: len(watcher.pictures("hangs", after=seen)) >= 2, within_s=20)
        for picture in watcher.pictures("hangs", after=seen):
            true_s = server.age_s("/a", frame_number(picture), picture.taken_at + picture.age_s)
            assert -0.1 <= true_s <= LATENCY_S + 0.5
        assert watcher.lost("clip") == []
        assert watcher.longest_gap_s("clip") < HELD_UP_S


def test_a_stalled_stream_and_a_changed_size_end_the_generation_and_a_frozen_one_shows(
    street: Path, watcher: Watcher
) -> None:
    with (
        rtsp_server({"/a": street / "main.h264"}) as server,
        running(watcher, rtsp("a", server.url("/a"))),
    ):
        watcher.wait(lambda: bool(watcher.pictures("a")), within_s=15)
        server.tell("freeze /a")
        watcher.wait(lambda: watcher.pictures("a")[-1].reading.same_bits >= 3, within_s=15)
        server.tell("go /a")
        watcher.wait(lambda: watcher.pictures("a")[-1].reading.same_bits == 1, within_s=15)
        assert len(watcher.opened("a")) == 1

        server.tell(f"switch /a {street / 'sub.h264'}")
        watcher.wait(lambda: watcher.pictures("a")[-1].width == 320, within_s=20)
        assert (watcher.opened("a")[-1].width, watcher.opened("a")[-1].height) == (320, 240)
        assert len(watcher.opened("a")) == 2

        server.tell("stall /a")
        watcher.wait(lambda: bool(watcher.lost("a")), within_s=10)
        assert watcher.lost("a")[-1].cause in {Cause.STALLED, Cause.NO_ANSWER}
        server.tell("go /a")
        watcher.wait(lambda: len(watcher.opened("a")) >= 3, within_s=25)


def test_spoilt_video_harms_nobody(street: Path, pictures: Path, watcher: Watcher) -> None:
    with (
        rtsp_server({"/a": street / "main.h264"}) as server,
        running(watcher, rtsp("spoilt", server.url("/a")), clip("clip", pictures)),
    ):
        watcher.wait(lambda: bool(watcher.pictures("spoilt")), within_s=15)
        server.tell("corrupt /a 60")
        (worker,) = workers()
        seen = len(watcher.events)
        watcher.wait(lambda: len(watcher.pictures("clip", after=seen)) >= 12, within_s=15)
        assert workers() == [worker]
        assert watcher.longest_gap_s("clip") < HELD_UP_S


def test_a_wrong_path_and_a_wrong_password_say_so(street: Path, watcher: Watcher) -> None:
    with (
        rtsp_server({"/a": street / "sub.h264"}, user=USER, password="another") as strict,
        rtsp_server({"/a": street / "sub.h264"}) as lax,
        running(
            watcher, rtsp("password", strict.url("/a"), login=True), rtsp("path", lax.url("/b"))
        ),
    ):
        watcher.wait(lambda: all(watcher.lost(c) for c in ("password", "path")), within_s=10)
        assert watcher.lost("password")[0].cause is Cause.UNAUTHORISED
        assert watcher.lost("path")[0].cause is Cause.NOT_FOUND
        assert "another" not in repr(watcher.events)


def test_a_recorder_that_refused_one_login_is_not_asked_again_by_the_other_channels(
    watcher: Watcher,
) -> None:
    asked: list[str] = []

    def refuses(line: socket.socket, over: threading.Event) -> None:
        while True:
            question = evil_servers.question(line)
            if "Authorization" in question:
                asked.append(question)
            number = question.split("CSeq: ")[1].split("\r")[0]
            line.sendall(
                f'RTSP/1.0 401 No\r\nCSeq: {number}\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n\r\n'.encode()
            )

    with evil(refuses) as port:
        channels = [
            rtsp(f"channel-{n}", f"rtsp://127.0.0.1:{port}/{n}", login=True) for n in range(8)
        ]
        with running(watcher, *channels):
            watcher.wait(lambda: all(watcher.lost(c.id) for c in channels), within_s=10)
    assert len(asked) == 1, "eight wrong logins at once would lock the account"
    assert {watcher.lost(c.id)[0].cause for c in channels} == {Cause.UNAUTHORISED}


def test_lying_cameras_are_each_named_and_none_delays_a_healthy_one(
    street: Path, pictures: Path, watcher: Watcher
) -> None:
    small = jpeg()
    units = evil_servers.key_picture_units((street / "main.h264").read_bytes())
    closes = evil_servers.rtsp_stream(units, lambda _line, _over: None)
    minute = evil_servers.rtsp_stream(units, evil_servers.one_picture_then_silence(units))
    web = {
        "html": (
            evil_servers.answers("200 OK", b"<!DOCTYPE html><p>Please log in"),
            Cause.NOT_A_PICTURE,
        ),
        "cut": (evil_servers.answers("200 OK", small[:-100]), Cause.NOT_A_PICTURE),
        "short": (
            evil_servers.answers("200 OK", small, length=len(small) + 100),
            Cause.NOT_A_PICTURE,
        ),
        "empty": (evil_servers.answers("200 OK"), Cause.NOT_A_PICTURE),
        "bomb": (
            evil_servers.answers("200 OK", evil_servers.enlarged(small, 16384)),
            Cause.TOO_LARGE,
        ),
        "flood": (evil_servers.floods_body, Cause.TOO_LARGE),
        "redirect": (
            evil_servers.answers("302 Found", b"", "Location: http://127.0.0.1:9/"),
            Cause.REDIRECTED,
        ),
        "loop": (
            evil_servers.answers("401 No", b"", 'WWW-Authenticate: Digest realm="x", nonce="y"'),
            Cause.UNAUTHORISED,
        ),
        "missing": (evil_servers.answers("404 Not Found"), Cause.NOT_FOUND),
        "busy": (evil_servers.answers("503 Busy"), Cause.REFUSED),
        "garbage": (evil_servers.garbage, Cause.NONSENSE),
        "mute": (evil_servers.never_answers, Cause.NO_ANSWER),
        "hangs-up": (evil_servers.hangs_up, Cause.NONSENSE),
        "endless": (evil_servers.endless_header, Cause.NONSENSE),
        "drip-head": (evil_servers.dripping_header, Cause.NO_ANSWER),
        "drip-body": (evil_servers.dripping_body, Cause.NO_ANSWER),
    }
    video = {
        "garbage": (evil_servers.garbage, Cause.NONSENSE),
        "mute": (evil_servers.never_answers, Cause.NO_ANSWER),
        "hangs-up": (evil_servers.hangs_up, Cause.NONSENSE),
        "endless": (evil_servers.endless_header, Cause.NONSENSE),
        "drip": (evil_servers.dripping_header, Cause.NO_ANSWER),
        "huge": (evil_servers.huge_length, Cause.NONSENSE),
        "redirect": (
            evil_servers.rtsp_status(302, "Location: rtsp://127.0.0.1:9/"),
            Cause.REDIRECTED,
        ),
        "loop": (
            evil_servers.rtsp_status(401, 'WWW-Authenticate: Digest realm="x", nonce="y"'),
            Cause.UNAUTHORISED,
        ),
        "closes": (closes, Cause.STALLED),
        "minute": (minute, Cause.STALLED),
    }
    with contextlib.ExitStack() as stack:
        cameras = [clip("clip", pictures, period_s=0.25)]
        wanted = {}
        for name, (behaviour, cause) in web.items():
            source = f"http://127.0.0.1:{stack.enter_context(evil(behaviour))}/x"
            cameras.append(camera(f"http-{name}", CameraKind.HTTP, source, login=name == "loop"))
            wanted[f"http-{name}"] = cause
        for name, (behaviour, cause) in video.items():
            source = f"rtsp://127.0.0.1:{stack.enter_context(evil(behaviour))}/x"
            cameras.append(camera(f"rtsp-{name}", CameraKind.RTSP, source, login=name == "loop"))
            wanted[f"rtsp-{name}"] = cause
        for number in range(3):
            hole = stack.enter_context(black_hole())
            cameras.append(rtsp(f"hole-{number}", f"rtsp://127.0.0.1:{hole}/x"))
            wanted[f"hole-{number}"] = Cause.NO_ANSWER
        cameras.append(
            http("fine", stack.enter_context(evil(evil_servers.answers("200 OK", small))))
        )
        cameras.append(camera("nothing", CameraKind.V4L2, "/dev/video-none"))
        cameras.append(camera("no-video", CameraKind.V4L2, "/dev/null"))
        wanted |= {"nothing": Cause.NO_DEVICE, "no-video": Cause.NO_DEVICE}
        stack.enter_context(running(watcher, *cameras))
        watcher.wait(lambda: all(watcher.lost(name) for name in wanted), within_s=20)
        (worker,) = workers()
        status = Path(f"/proc/{worker}/status").read_text()
    assert {name: watcher.lost(name)[0].cause for name in wanted} == wanted
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    assert peak_kib < 180 * 1024, "a lying camera filled the memory"
    assert watcher.lost("fine") == watcher.lost("clip") == []
    assert watcher.longest_gap_s("clip") < HELD_UP_S
    assert watcher.longest_gap_s("fine") < HELD_UP_S


def test_video_that_would_fill_the_memory_is_refused_before_it_is_decoded(
    street: Path, pictures: Path, watcher: Watcher
) -> None:
    with (
        rtsp_server({"/a": street / "huge.h265"}) as server,
        running(watcher, rtsp("huge", server.url("/a")), clip("clip", pictures)),
    ):
        watcher.wait(lambda: bool(watcher.lost("huge")), within_s=15)
        assert watcher.lost("huge")[0].cause is Cause.TOO_LARGE
        assert watcher.lost("clip") == []
        assert watcher.longest_gap_s("clip") < HELD_UP_S


# ---- faults of the worker ----


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_struck_down_is_replaced(
    street: Path, pictures: Path, watcher: Watcher, blow: signal.Signals
) -> None:
    with (
        rtsp_server({"/a": street / "main.h264"}) as server,
        running(watcher, rtsp("rtsp", server.url("/a")), clip("clip", pictures)),
    ):
        watcher.wait(lambda: all(watcher.pictures(c) for c in ("rtsp", "clip")), within_s=15)
        (worker,) = workers()
        os.kill(worker, blow)
        watcher.wait(
            lambda: all(
                watcher.opened(c)[-1].generation == 2 and watcher.pictures(c)[-1].generation == 2
                for c in ("rtsp", "clip")
            ),
            within_s=20,
        )
        assert worker not in workers()
        assert watcher.lost("clip") == [], "a pause of seconds is no work for a technician"


class MovedClock(SystemClock):
    """The kernel's, ahead by what a test says: a minute passes at once."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


class SlowStart:
    """Each capture worker waits before its first line of Python, as one does whose libraries come from a slow card."""

    _WAIT: Final = """import pathlib, sys
if "edge_agent.capture" in sys.orig_argv:
    pathlib.Path({folder!r}, "held").touch()
    open(pathlib.Path({folder!r}, "gate")).close()
"""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self._folder = folder
        os.mkfifo(folder / "gate")
        (folder / "sitecustomize.py").write_text(self._WAIT.format(folder=str(folder)))
        monkeypatch.setenv("PYTHONPATH", str(folder))

    def waits(self) -> bool:
        return (self._folder / "held").exists()

    def let_begin(self) -> None:
        os.close(os.open(self._folder / "gate", os.O_WRONLY))

    def waits_anew(self) -> None:
        (self._folder / "held").unlink()


def pass_time(clock: MovedClock, cameras: Cameras, watcher: Watcher, seconds: float) -> None:
    """Until the supervisor has come round twice since: it acted on what it saw."""
    clock.ahead_s += seconds
    for _ in range(2):
        seen = cameras.progress()
        watcher.wait(lambda seen=seen: cameras.progress() > seen, within_s=10)  # type: ignore[misc]


def test_a_worker_whose_libraries_come_from_a_slow_card_is_not_killed_before_its_first_word(
    pictures: Path, tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowStart(tmp_path / "slow", monkeypatch)
    clock = MovedClock()
    with running(watcher, clip("clip", pictures), clock=clock) as cameras:
        watcher.wait(slow.waits, within_s=15)
        (worker,) = workers()
        pass_time(clock, cameras, watcher, 45)
        assert workers() == [worker], "it is killed for what its card is slow at, and never begins"
        slow.let_begin()
        watcher.wait(lambda: bool(watcher.opened("clip")), within_s=20)
        assert workers() == [worker]
        os.kill(worker, signal.SIGSTOP)  # it has spoken: from here on, silence counts sooner
        slow.waits_anew()
        pass_time(clock, cameras, watcher, 13)
        watcher.wait(slow.waits, within_s=15)
        assert worker not in workers()


def test_a_worker_that_never_says_a_first_word_is_replaced_after_a_minute(
    pictures: Path, tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowStart(tmp_path / "slow", monkeypatch)
    clock = MovedClock()
    with running(watcher, clip("clip", pictures), clock=clock) as cameras:
        watcher.wait(slow.waits, within_s=15)
        (worker,) = workers()
        slow.waits_anew()
        pass_time(clock, cameras, watcher, 61)
        watcher.wait(slow.waits, within_s=15)
        assert worker not in workers()


def test_after_a_pause_of_the_worker_no_picture_from_before_it_is_passed_off_as_now(
    street: Path, watcher: Watcher
) -> None:
    clock = SystemClock()
    with (
        rtsp_server({"/a": street / "main.h264"}) as server,
        running(watcher, rtsp("a", server.url("/a"))),
    ):
        watcher.wait(lambda: bool(watcher.pictures("a")), within_s=15)
        (worker,) = workers()
        os.kill(worker, signal.SIGSTOP)
        until = clock.now() + 6
        watcher.wait(lambda: clock.now() > until, within_s=7)
        seen = len(watcher.events)
        os.kill(worker, signal.SIGCONT)
        watcher.wait(lambda: len(watcher.pictures("a", after=seen)) >= 2, within_s=15)
        for picture in watcher.pictures("a", after=seen):
            assert -0.5 <= server.age_s("/a", frame_number(picture), picture.taken_at) <= LATENCY_S
        assert watcher.opened("a")[-1].generation == 2


def test_a_camera_that_hangs_the_reader_twice_can_harm_only_itself(
    pictures: Path, tmp_path: Path, watcher: Watcher
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    os.mkfifo(
        trap / "0.jpg"
    )  # reading it blocks for ever, as a decoder does that a stream drove mad
    with running(watcher, clip("trap", trap), clip("clip", pictures)) as cameras:
        watcher.wait(lambda: len(workers()) == 2, within_s=45)
        assert [e.cause for e in watcher.lost("trap")] == [Cause.CRASHES]
        seen = len(watcher.events)
        watcher.wait(lambda: len(watcher.pictures("clip", after=seen)) >= 16, within_s=15)
        assert watcher.longest_gap_s("clip", after=seen) <= 5.0
        assert watcher.lost("clip") == []
        cameras.stop()
        cameras.start(press=0)
        watcher.wait(lambda: len(workers()) == 2, within_s=10)


def test_a_crash_is_laid_at_the_door_of_the_camera_whose_thread_it_was(
    pictures: Path, watcher: Watcher
) -> None:
    with running(watcher, clip("good", pictures), clip("bad", pictures)):
        for generation in (1, 2):
            seen = len(watcher.events)
            wait_for_pictures(watcher, "good", "bad", after=seen, count=3)
            assert watcher.opened("good")[-1].generation == generation
            (worker,) = workers()
            newest_thread = max(int(entry.name) for entry in Path(f"/proc/{worker}/task").iterdir())
            signal_thread(worker, newest_thread, signal.SIGSEGV)
            watcher.wait(partial(gone, worker), within_s=5)
        watcher.wait(lambda: len(workers()) == 2, within_s=10)
        assert {e.cause for e in watcher.lost("bad")} == {Cause.CRASHES}
        assert watcher.lost("good") == []


def gone(worker: int) -> bool:
    return worker not in workers()


def signal_thread(process: int, thread: int, number: signal.Signals) -> None:
    import ctypes

    tgkill = 234 if os.uname().machine == "x86_64" else 131
    assert ctypes.CDLL(None).syscall(tgkill, process, thread, int(number)) == 0


# ---- views ----


LIAR: Final = """
import dataclasses, sys
from edge_agent.capture.pipe import pack, parse_assignment
from edge_agent.core.messages import CameraOpened, PictureTaken
from edge_agent.clock import SystemClock
from tests.test_capture import PICTURE
parse_assignment(sys.stdin.buffer.readline())
now = SystemClock().now()
out = sys.stdout.buffer
out.write(pack(CameraOpened(camera="gate", generation=1, codec="h264", width=640, height=360)))
for age_s in (600.0, -600.0, 0.5):
    out.write(pack(dataclasses.replace(PICTURE, camera="gate", generation=1, taken_at=now - age_s, age_s=age_s)))
out.flush()
sys.stdin.read()
"""


def test_a_worker_that_dates_a_picture_far_from_now_is_not_believed(
    pictures: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a press destroys goes by that date."""
    liar = tmp_path / "liar"
    liar.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{LIAR}'\n")
    liar.chmod(0o700)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(liar))
        with running(watcher, clip("gate", pictures)):
            watcher.wait(lambda: bool(watcher.pictures("gate")), within_s=15)
            assert [picture.age_s for picture in watcher.pictures("gate")] == [0.5]


def test_a_view_commissioned_while_the_camera_runs_is_used_from_the_next_picture_on(
    pictures: Path, tmp_path: Path, watcher: Watcher
) -> None:
    folder = tmp_path / "views"
    folder.mkdir()
    with Cameras(
        (clip("clip", pictures),),
        views_folder=str(folder),
        secret=str,
        post=watcher.post,
        shutter=Shutter(),
        clock=SystemClock(),
    ) as cameras:
        cameras.start(press=0)
        watcher.wait(lambda: bool(watcher.pictures("clip")), within_s=10)
        assert watcher.pictures("clip")[-1].reading.view == ""
        greys = [vision.scaled_grey(clips.frame(number, 640, 360)) for number in range(0, 50, 10)]
        references = vision.build({"day": greys})
        assert isinstance(references, vision.References), references
        views.save(folder, "clip", references)
        watcher.wait(
            lambda: watcher.pictures("clip")[-1].reading.view == references.view, within_s=5
        )
        watcher.wait(lambda: watcher.pictures("clip")[-1].reading.score >= 1, within_s=5)
        assert watcher.pictures("clip")[-1].reading.other_device == ""
        other = dataclasses.replace(references, device=Device(codec="h265"))
        views.save(folder, "clip", other)
        watcher.wait(lambda: watcher.pictures("clip")[-1].reading.view == other.view, within_s=5)
        assert "h265" in watcher.pictures("clip")[-1].reading.other_device
        (folder / "clip.view").write_bytes(b"edge-agent")
        watcher.wait(lambda: watcher.pictures("clip")[-1].reading.view == "", within_s=5)
        assert "clip.view" in watcher.pictures("clip")[-1].reading.fault
        assert len(watcher.opened("clip")) == 1


def test_permits_reach_the_worker_and_none_for_a_connection_that_is_gone(
    pictures: Path, watcher: Watcher
) -> None:
    with running(watcher, clip("clip", pictures, period_s=0.2)) as cameras:
        cameras.learn(Learn(camera="clip", generation=1, permit=1))  # no connection yet
        watcher.wait(lambda: bool(watcher.pictures("clip")), within_s=10)
        for order in (
            Learn(camera="clip", generation=1, permit=2),
            Learn(camera="clip", generation=9, permit=3),
            Learn(camera="clip", generation=0, permit=None),
        ):
            cameras.learn(order)
        after = len(watcher.events)
        wait_for_pictures(watcher, "clip", after=after, count=3)
        assert len(watcher.opened("clip")) == 1, "an order that it does not know ends a worker"
        cameras.stop()
        cameras.learn(Learn(camera="clip", generation=1, permit=4))


# ---- clips, and what cannot be had ----


def test_an_emptied_folder_is_a_camera_without_signal_until_it_is_filled_again(
    pictures: Path, watcher: Watcher
) -> None:
    with running(watcher, clip("clip", pictures)):
        watcher.wait(lambda: bool(watcher.pictures("clip")), within_s=10)
        aside = pictures.rename(pictures.with_name("aside"))
        watcher.wait(lambda: bool(watcher.lost("clip")), within_s=5)
        assert watcher.lost("clip")[0].cause is Cause.NO_DEVICE
        aside.rename(pictures)
        watcher.wait(lambda: len(watcher.opened("clip")) == 2, within_s=5)


def test_a_password_that_cannot_be_read_is_a_finding_and_no_reason_not_to_run(
    pictures: Path, watcher: Watcher
) -> None:
    def nothing(_: SecretRef) -> str:
        raise LookupError("secret file /nowhere/camera-password: no such file")

    locked = rtsp("locked", "rtsp://127.0.0.1:1/x", login=True)
    with Cameras(
        (locked, clip("clip", pictures)),
        views_folder="/nonexistent",
        secret=nothing,
        post=watcher.post,
        shutter=Shutter(),
        clock=SystemClock(),
    ) as cameras:
        cameras.start(press=0)
        watcher.wait(lambda: bool(watcher.pictures("clip")), within_s=10)
        assert watcher.lost("locked")[0].cause is Cause.UNAUTHORISED
        assert "/nowhere/camera-password" in watcher.lost("locked")[0].detail
