"""How soon a box is of use: seconds from exec of `edge-agent run` to its first record on disk and its first picture released.

    python -m tests.bench.start [--rounds 5] [--json]

A real box: one RTSP camera (1080p25 H.264, digest login, a key picture each 2 s) that has been serving its recorder for a
while, its view commissioned, nobody at the hub. The recorder is an ffmpeg that copies the stream: without another viewer the
server of these tests answers each DESCRIBE only after the next key picture, up to 2 s later, as no camera does. The switch is "none": with a switch the secretary's 3 s rule is the same.
- first record: seen in a copy of the journal's files, so it had been committed; looked for each 20 ms;
- first picture: as the agent's own status tells when the gate let it go (it says so to 0.1 s).
Each round begins with an empty journal. The last line is one JSON object with the worst of all rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from edge_agent.commission import commission_from_files
from edge_agent.vision import References
from tests.support.broker import free_port
from tests.support.film import Film, film, stills, street
from tests.support.rig import Box, CameraOf, await_that, committed
from tests.support.rtsp_camera import rtsp_server

if TYPE_CHECKING:
    from collections.abc import Iterator

FILM: Final = Film(seconds=12, gop=50, preset="veryfast")
LOGIN: Final = ("agent", "start 7 & 8")
PERIOD_S: Final = 5.0


@contextlib.contextmanager
def recorder(url: str) -> Iterator[None]:
    """A recorder that watches all the time."""
    viewer = subprocess.Popen(
        [
            "ffmpeg",
            "-nostdin",
            "-loglevel",
            "quiet",
            "-rtsp_transport",
            "tcp",
            "-i",
            url,
            "-c",
            "copy",
            "-f",
            "null",
            "-",
        ],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        viewer.kill()
        viewer.wait(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start."""

    first_record_s: float
    gate_open_s: float
    first_picture_s: float


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def start(box: Box, scratch: Path) -> Start:
    """Start *box*, look, kill it."""
    began = _now()
    box.run()
    try:
        await_that(
            "a record", lambda: committed(box.journal, scratch)[0] > 0, within_s=30, every_s=0.02
        )
        record_s = _now() - began
        box.await_open(within_s=60)
        open_s = _now() - began
        released = await_that("a picture", lambda: _released_at(box), within_s=60, every_s=0.2)
        await_that("it in the journal", lambda: committed(box.journal, scratch)[1] > 0, within_s=10)
    finally:
        box.end()
    return Start(first_record_s=record_s, gate_open_s=open_s, first_picture_s=released - began)


def _released_at(box: Box) -> float | None:
    status = box.status() or {}
    cameras, at = status.get("cameras"), status.get("at")
    if not isinstance(cameras, list) or not isinstance(at, float):
        return None
    age_s = cameras[0]["last_released_age_s"]
    return None if age_s is None else at - float(age_s)


def main() -> int:
    """Exit code 0 once everything was measured, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.start", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--json", action="store_true", help="kept for scripts; the last line is JSON in any case"
    )
    options = parser.parse_args()
    clip = film(street(0), FILM)
    starts = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-start-") as name,
        rtsp_server({"/main": clip}, user=LOGIN[0], password=LOGIN[1], shared=True) as server,
        recorder(f"rtsp://{LOGIN[0]}:{quote(LOGIN[1], safe='')}@127.0.0.1:{server.port}/main"),
    ):
        folder = Path(name)
        seen = stills(clip, folder / "stills", count=12)
        for number in range(int(options.rounds)):
            source = f'url = "{server.url("/main")}"'
            camera = CameraOf(
                id="mawar", kind="rtsp", source=source, login=LOGIN, period_s=PERIOD_S
            )
            box = Box(folder=folder / f"box-{number}", hub_port=free_port(), cameras=[camera])
            assert isinstance(commission_from_files(seen, box.views, "mawar"), References)
            one = start(box, folder / "copy")
            starts.append(one)
            print(
                f"first record {one.first_record_s:5.2f} s   gate open {one.gate_open_s:6.2f} s"
                f"   first picture {one.first_picture_s:6.2f} s   load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    print(
        json.dumps(
            {
                "first_record_s": round(max(one.first_record_s for one in starts), 2),
                "first_picture_s": round(max(one.first_picture_s for one in starts), 2),
                "first_record_s_median": round(
                    statistics.median(one.first_record_s for one in starts), 2
                ),
                "first_picture_s_median": round(
                    statistics.median(one.first_picture_s for one in starts), 2
                ),
                "gate_open_s_median": round(
                    statistics.median(one.gate_open_s for one in starts), 2
                ),
                "rounds": len(starts),
                "load_average": [round(load, 2) for load in os.getloadavg()],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
