"""What one released picture each 5 s costs, beside others that do the same, and whether a sick camera delays a healthy one.

    python -m tests.bench.capture [--seconds 60] [--cameras 1,4,8] [--quick] [--json]

Cameras are 1080p25 H.264 at 4 Mbit/s from Debian's gst-rtsp-server, or JPEG snapshots with digest login from lighttpd; what
they cost is not counted. Counted is all user and system time, and PSS, of:
- agent, http: `edge-agent run` with its capture worker, doing all of its job: view check, gate, journal, MQTT to a real
  mosquitto with `edge-agent hub` behind it (these two are not counted);
- ffmpeg_keyframes, ffmpeg_full: one ffmpeg a camera that writes a JPEG each 5 s, decoding key pictures only, or all;
- motion: Debian's motion, one process, detection paused, snapshot_interval 5.
Each is warm before it is measured, and is counted by the pictures it delivered as well. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import cv2
import numpy as np

from edge_agent.cameras import Cameras
from edge_agent.clock import SystemClock
from edge_agent.commission import commission_from_files
from edge_agent.config import read_secret
from edge_agent.core.messages import PictureTaken
from edge_agent.core.settings import Camera, CameraKind
from edge_agent.shutter import Shutter
from edge_agent.vision import References
from tests.support import clips
from tests.support.broker import mosquitto
from tests.support.evil_servers import black_hole, evil, never_answers
from tests.support.film import CACHE, Film, film, stills, street
from tests.support.http_camera import http_camera
from tests.support.measure import MB, Cost, Meter, rss_bytes
from tests.support.rig import Box, CameraOf, Process, await_that, command, repeating
from tests.support.rtsp_camera import RtspServer, rtsp_server
from tests.support.watcher import Watcher

PERIOD_S: Final = 5.0
STREETS: Final = 3
# As a street camera is usually set: 4 Mbit/s, a key picture each 2 s.
FILM: Final = Film(seconds=12, gop=50, kbit_s=4000, preset="veryfast")
LOGIN: Final = ("agent", "snapshots 7 & 8")
WARM_S: Final = 10.0
HEALTHY_PERIOD_S: Final = 1.0
CLIP: Final = (640, 360, 8)  # of the camera with its frame number in each picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One way at one number of cameras."""

    cost: Cost
    pictures: int
    expected: float
    load: float
    agent_rss_bytes: int = 0
    worker_pss_bytes: int = 0

    def as_json(self, cameras: int) -> dict[str, float]:
        cpu, pss = self.cost.cpu_s_per_min, self.cost.pss_bytes / MB
        return {
            "cpu_s_per_min": round(cpu, 2),
            "pss_mb": round(pss, 1),
            "cpu_s_per_min_per_camera": round(cpu / cameras, 2),
            "pss_mb_per_camera": round(pss / cameras, 1),
            "pictures": self.pictures,
            "pictures_expected": round(self.expected, 1),
            "load_average": round(self.load, 2),
        }


@dataclass(frozen=True, slots=True)
class Round:
    """Where and for how long; `urls` are the RTSP cameras."""

    folder: Path
    seconds: float
    urls: Sequence[str]

    def measure(self, pids: Sequence[int], count: Callable[[], int]) -> Measured:
        """Watch these for the length of the round; *count* gives the pictures delivered so far."""
        before = count()
        began = time.monotonic()
        with Meter(pids) as meter:
            time.sleep(self.seconds)
            took_s = time.monotonic() - began
        return Measured(
            cost=meter.cost(took_s),
            pictures=count() - before,
            expected=len(self.urls) * took_s / PERIOD_S,
            load=os.getloadavg()[0],
        )


Way: TypeAlias = Callable[[Round], Measured]


# ---- the agent ----


def agent(this: Round) -> Measured:
    """`edge-agent run` on RTSP cameras."""
    cameras = [
        CameraOf(id=f"camera-{number}", kind="rtsp", source=f'url = "{url}"', period_s=PERIOD_S)
        for number, url in enumerate(this.urls)
    ]
    return _agent(this, cameras)


def http(this: Round) -> Measured:
    """`edge-agent run` on as many snapshot cameras."""
    with contextlib.ExitStack() as stack:
        cameras = []
        for number in range(len(this.urls)):
            jpegs = _stills(number)
            folder = this.folder / f"http-{number}"
            shown = stack.enter_context(
                http_camera(folder, jpegs[0].read_bytes(), user=LOGIN[0], password=LOGIN[1])
            )
            pictures = [path.read_bytes() for path in jpegs]

            def turn(
                step: int,
                show: Callable[[bytes], None] = shown.show,
                these: list[bytes] = pictures,
            ) -> None:
                show(these[step % len(these)])

            stack.enter_context(repeating(1.0, turn))
            source = f'url = "{shown.url}"'
            cameras.append(
                CameraOf(
                    id=f"camera-{number}",
                    kind="http",
                    source=source,
                    login=LOGIN,
                    period_s=PERIOD_S,
                )
            )
        return _agent(this, cameras)


def _agent(this: Round, cameras: Sequence[CameraOf]) -> Measured:
    with mosquitto(this.folder / "broker") as broker, contextlib.ExitStack() as stack:
        box = Box(folder=this.folder / "box", hub_port=broker.port, cameras=cameras)
        stack.callback(box.end)
        for number, camera in enumerate(cameras):
            assert isinstance(
                commission_from_files(_stills(number), box.views, camera.id), References
            )
        kept = this.folder / "hub"
        words = command("hub", "--port", str(broker.port), "--folder", str(kept), "--json")
        hub = Process(words, this.folder / "hub.log")
        stack.callback(hub.kill)
        process = box.run()
        box.await_open(within_s=120)

        def delivered() -> int:
            return len(list(kept.rglob("*.jpg")))

        await_that("pictures at the hub", lambda: delivered() >= len(cameras), within_s=60)
        time.sleep(WARM_S / 2)
        before = delivered()
        with Meter([process.pid]) as meter:
            began = time.monotonic()
            highest_rss = 0
            while (left_s := began + this.seconds - time.monotonic()) > 0:
                time.sleep(min(left_s, 5.0))
                highest_rss = max(highest_rss, rss_bytes(process.pid))
            took_s = time.monotonic() - began
        pictures = delivered() - before
        highest = dict(meter.highest)
        own = highest.pop(process.pid)
        print(f"    agent alone: PSS {own / MB:.1f} MB, RSS {highest_rss / MB:.1f} MB")
        return Measured(
            cost=meter.cost(took_s),
            pictures=pictures,
            expected=len(cameras) * took_s / PERIOD_S,
            load=os.getloadavg()[0],
            agent_rss_bytes=highest_rss,
            worker_pss_bytes=max(highest.values(), default=0),
        )


# ---- the others ----


def ffmpeg_keyframes(this: Round) -> Measured:
    """One ffmpeg a camera that decodes key pictures only."""
    return _ffmpeg(this, "-skip_frame", "nokey")


def ffmpeg_full(this: Round) -> Measured:
    """One ffmpeg a camera that decodes everything."""
    return _ffmpeg(this)


def _ffmpeg(this: Round, *how: str) -> Measured:
    with contextlib.ExitStack() as stack:
        pids = []
        for number, url in enumerate(this.urls):
            folder = this.folder / f"pictures-{number}"
            folder.mkdir()
            # One thread each: as fast here as the default, and 8 MB smaller.
            words = [
                "ffmpeg", "-nostdin", "-loglevel", "error", "-threads", "1", "-rtsp_transport", "tcp", *how,
                *("-i", url, "-vf", f"fps=1/{PERIOD_S:.0f}", "-q:v", "3", str(folder / "%06d.jpg")),
            ]  # fmt: skip
            process = Process(words, this.folder / f"ffmpeg-{number}.log")
            stack.callback(process.kill)
            pids.append(process.pid)
        return _warm_and_measure(this, pids)


def motion(this: Round) -> Measured:
    """Debian's motion with detection paused: snapshots are all it makes."""
    cameras = []
    for number, url in enumerate(this.urls):
        path = this.folder / f"camera-{number}.conf"
        (this.folder / f"pictures-{number}").mkdir()
        path.write_text(
            f"camera_id {number + 1}\nnetcam_url {url}\nnetcam_params rtsp_transport=tcp\n"
            f"target_dir {this.folder}/pictures-{number}\n"
        )
        cameras.append(f"camera {path}")
    config = this.folder / "motion.conf"
    config.write_text(
        "daemon off\nsetup_mode off\nlog_level 3\nwebcontrol_port 0\nwidth 1920\nheight 1080\n"
        f"framerate 2\npause on\nsnapshot_interval {PERIOD_S:.0f}\npicture_output off\nmovie_output off\n"
        "snapshot_filename %Y%m%d%H%M%S-%q\n" + "\n".join(cameras) + "\n"
    )
    process = Process(["motion", "-n", "-c", str(config)], this.folder / "motion.log")
    try:
        return _warm_and_measure(this, [process.pid])
    finally:
        process.kill()


def _warm_and_measure(this: Round, pids: Sequence[int]) -> Measured:
    def delivered() -> int:
        found = this.folder.glob("pictures-*/*.jpg")
        return sum(not path.is_symlink() for path in found)

    def from_each() -> bool:
        folders = list(this.folder.glob("pictures-*"))
        return all(any(folder.glob("*.jpg")) for folder in folders)

    with contextlib.suppress(AssertionError):  # what it does not deliver is told by its count
        await_that("a picture of each camera", from_each, within_s=60)
    time.sleep(WARM_S)
    return this.measure(pids, delivered)


WAYS: Final[dict[str, Way]] = {
    "agent": agent,
    "http": http,
    "ffmpeg_keyframes": ffmpeg_keyframes,
    "ffmpeg_full": ffmpeg_full,
    "motion": motion,
}
PEERS: Final = ("ffmpeg_keyframes", "ffmpeg_full", "motion")


# ---- a healthy camera among sick ones ----


@dataclass(frozen=True, slots=True)
class Delay:
    """Of each picture: from the moment its frame was sent to the moment the agent had it; and the longest pause."""

    ages_s: Sequence[float]
    longest_gap_s: float


def healthy_delay(seconds: float) -> tuple[Delay, Delay]:
    """A healthy camera alone, then beside a dead one, two black holes, one that never answers and one that is stopped."""
    CACHE.mkdir(mode=0o700, exist_ok=True)
    width, height, clip_s = CLIP
    clip = CACHE / f"barcode-{width}x{height}-{clip_s}s.h264"
    if not clip.exists():
        clips.make(clip, width=width, height=height, frames=clip_s * clips.FPS)
    with contextlib.ExitStack() as stack:
        healthy = stack.enter_context(rtsp_server({"/main": clip}))
        alone = _watch(healthy, [], seconds)
        stopped = stack.enter_context(rtsp_server({"/main": clip}))
        holes = [stack.enter_context(black_hole()) for _ in range(2)]
        mute = stack.enter_context(evil(never_answers))
        sick = [
            _camera("dead", "rtsp://127.0.0.1:1/main"),
            *(_camera(f"hole-{port}", f"rtsp://127.0.0.1:{port}/main") for port in holes),
            _camera("mute", f"rtsp://127.0.0.1:{mute}/main"),
            _camera("hole-http", f"http://127.0.0.1:{holes[0]}/picture", kind=CameraKind.HTTP),
            _camera("stopped", stopped.url("/main")),
        ]
        among = _watch(healthy, sick, seconds, stop=stopped)
        stopped.go_on()
    return alone, among


def _camera(name: str, url: str, *, kind: CameraKind = CameraKind.RTSP) -> Camera:
    return Camera(id=name, name=name, kind=kind, source=url, period_s=HEALTHY_PERIOD_S)


def _watch(
    healthy: RtspServer, sick: Sequence[Camera], seconds: float, *, stop: RtspServer | None = None
) -> Delay:
    clock = SystemClock()
    watcher = Watcher(clock)
    cameras = (_camera("healthy", healthy.url("/main")), *sick)
    with (
        tempfile.TemporaryDirectory() as views,
        Cameras(
            cameras,
            views_folder=views,
            secret=read_secret,
            post=watcher.post,
            shutter=Shutter(),
            clock=clock,
        ) as all_of_them,
    ):
        all_of_them.start(press=0)
        await_that("the healthy camera", lambda: watcher.pictures("healthy"), within_s=30)
        if stop is not None:
            await_that("the other", lambda: watcher.pictures("stopped"), within_s=30)
            stop.stop()
        first = len(watcher.events)
        time.sleep(seconds)
        last = len(watcher.events)
    came = [
        (at, event)
        for at, event in watcher.events[first:last]
        if isinstance(event, PictureTaken) and event.camera == "healthy"
    ]
    ages = []
    for at, event in came:
        picture = cv2.imdecode(np.frombuffer(event.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        number = clips.frame_number(np.asarray(picture, np.uint8))
        assert number is not None, "a picture without its number"
        ages.append(healthy.age_s("/main", number, at, frames=CLIP[2] * clips.FPS))
    times = [at for at, _ in came]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return Delay(ages, max(gaps, default=seconds))


def _delay_json(alone: Delay, among: Delay) -> dict[str, float]:
    """How much later than usual the latest picture was, or how much longer than its period one stayed out."""
    usual = statistics.median(alone.ages_s)

    def worst(delay: Delay) -> float:
        late = max(delay.ages_s) - usual
        return round(max(late, delay.longest_gap_s - HEALTHY_PERIOD_S, 0.0), 3)

    return {
        "healthy_delay_s_max": worst(among),
        "healthy_alone_delay_s_max": worst(alone),
        "healthy_age_s_median": round(usual, 3),
        "healthy_pictures": len(among.ages_s),
    }


# ---- all of it ----


@contextlib.contextmanager
def _streets(count: int) -> Iterator[list[str]]:
    """*count* cameras, each with a clock of its own; they start apart, as cameras do."""
    mounts = {f"/{number}": film(street(number % STREETS), FILM) for number in range(count)}
    with rtsp_server(mounts) as server:
        yield [server.url(mount) for mount in mounts]


def _stills(number: int) -> list[Path]:
    clip = film(street(number % STREETS), FILM)
    folder = CACHE / f"stills-{clip.stem}"
    found = sorted(folder.glob("*.jpg"))
    return found if len(found) == 12 else stills(clip, folder, count=12)


def run(counts: Sequence[int], seconds: float, ways: Sequence[str]) -> dict[str, object]:
    """Every way at every count, then the sick cameras; prints as it goes."""
    for number in range(STREETS):
        _stills(number)
    results: dict[str, dict[str, dict[str, float]]] = {way: {} for way in ways}
    most: Measured | None = None
    head = f"{'':18}{'cameras':>8}{'CPU s/min':>11}{'a camera':>10}{'PSS MB':>9}{'pictures':>14}{'load':>7}"
    print(head)
    for count in counts:
        with _streets(count) as urls:
            for way in ways:
                folder = Path(tempfile.mkdtemp(prefix=f"bench-{way}-"))
                try:
                    measured = WAYS[way](Round(folder, seconds, urls))
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                results[way][str(count)] = row = measured.as_json(count)
                most = measured if way == "agent" else most
                print(
                    f"{way:18}{count:8}{row['cpu_s_per_min']:11.2f}{row['cpu_s_per_min_per_camera']:10.2f}"
                    f"{row['pss_mb']:9.1f}{row['pictures']:7.0f} of {row['pictures_expected']:4.0f}{measured.load:7.1f}",
                    flush=True,
                )
    alone, among = healthy_delay(seconds)
    found: dict[str, object] = {way: results[way] for way in ways if way not in PEERS}
    found["peers"] = {way: results[way] for way in ways if way in PEERS}
    found |= _delay_json(alone, among)
    if most is not None:
        found["agent_rss_mb"] = round(most.agent_rss_bytes / MB, 1)
        found["worker_pss_mb"] = round(most.worker_pss_bytes / MB, 1)
    return found | {
        "seconds": seconds,
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def main() -> int:
    """Exit code 0 once everything was measured, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.capture", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each round")
    parser.add_argument(
        "--cameras", default="1,4,8", help="how many at a time (default: %(default)s)"
    )
    parser.add_argument("--ways", default=",".join(WAYS), help="default: %(default)s")
    parser.add_argument(
        "--quick", action="store_true", help="15 s, 1 and 2 cameras: does it work at all"
    )
    parser.add_argument(
        "--json", action="store_true", help="kept for scripts; the last line is JSON in any case"
    )
    options = parser.parse_args()
    ways = str(options.ways).split(",")
    if "motion" in ways and shutil.which("motion") is None:
        print("motion is not installed (apt-get install motion): left out", file=sys.stderr)
        ways.remove("motion")
    counts = [1, 2] if options.quick else [int(word) for word in str(options.cameras).split(",")]
    seconds = 15.0 if options.quick else float(options.seconds)
    found = run(counts, seconds, ways)
    for key in (
        "healthy_delay_s_max",
        "healthy_alone_delay_s_max",
        "agent_rss_mb",
        "worker_pss_mb",
    ):
        print(f"{key:28}{found.get(key)}")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
