"""One look at each camera for the doctor: `python -m edge_agent.capture.look END`, a process of its own, since what cameras send kills decoders.

It takes an assignment on stdin as the worker does, and says on stdout, a line of JSON each, what it learns of a camera as soon as it does:
`{camera, begun: {}}` before it is asked anything, `{camera, answers: {codec, told_s}}`, `{camera, figures: {codec, width, height, gop_s, watched_s}}`, `{camera, trouble: {cause, detail}}`.
Promises: confined as the worker is; no password is tried twice at a host that refused one; of RTSP no picture is decoded; a picture that
HTTP or V4L2 gives is measured and forgotten, in this process; it ends at END (boot seconds), whatever still hangs.
Not its job: what is a fault (doctor), names (the supervisor's settings).
"""

import dataclasses
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping

import cv2

from edge_agent.capture import probe
from edge_agent.capture.confined import confine
from edge_agent.capture.http import Guillotine, Http
from edge_agent.capture.pipe import CameraJob, parse_assignment
from edge_agent.capture.probe import Login, Trouble
from edge_agent.capture.rtsp import Figures, Rtsp
from edge_agent.capture.v4l2 import V4l2
from edge_agent.capture.watch import Hosts, Pace, Slot, Source
from edge_agent.clock import Clock, SystemClock
from edge_agent.core.messages import Cause
from edge_agent.core.settings import CameraKind


def main() -> int:
    """Look at all, until all are known or the time is up; exit code 0."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not land between lines
    end = float(sys.argv[1])
    assignment = parse_assignment(sys.stdin.buffer.readline())
    confine(assignment)
    cv2.setNumThreads(1)
    looker = _Looker(SystemClock(), end, out)
    over: queue.SimpleQueue[None] = queue.SimpleQueue()
    for job in assignment.cameras:
        threading.Thread(target=looker.look, args=(job, over), name=job.id, daemon=True).start()
    for _ in assignment.cameras:
        try:
            over.get(timeout=looker.left_s())
        except queue.Empty:
            break
    return 0


class _Looker:
    """All cameras of one look; a thread each."""

    def __init__(self, clock: Clock, end: float, out: int) -> None:
        self._clock = clock
        self._end = end
        self._out = out
        self._speaking = threading.Lock()
        self._hosts = Hosts()
        self._guillotine = Guillotine(clock)

    def left_s(self) -> float:
        """Until the end."""
        return max(0.0, self._end - self._clock.now())

    def look(self, job: CameraJob, over: "queue.SimpleQueue[None]") -> None:
        """One camera, from its first answer to its figures."""
        pace = Pace(job.period_s, self._clock)
        pace.begin()
        self._say(job.id, "begun", {})
        try:
            self._learn(job, pace)
        except Trouble as trouble:
            told = {"cause": trouble.cause.value, "detail": trouble.detail}
            self._say(job.id, "trouble", told)
        except Exception as error:  # noqa: BLE001 - the top of a thread: the library's surprise is the camera's trouble
            told = {"cause": Cause.CRASHES.value, "detail": type(error).__name__}
            self._say(job.id, "trouble", told)
        over.put(None)

    def _learn(self, job: CameraJob, pace: Pace) -> None:
        login = Login(username=job.username, password=job.password or "") if job.username else None
        match job.kind:
            case CameraKind.RTSP:
                camera = Rtsp(job.source, login, self._clock)
                with self._slot(camera, pace).login():
                    offer = probe.describe(job.source, login, self._clock)
                self._say(job.id, "answers", dataclasses.asdict(offer))
                for figures in camera.figures(pace, end=self._end - 0.1):
                    self._tell(job, figures)
            case CameraKind.HTTP:
                self._shot(job, Http(job.source, login, self._clock, self._guillotine), pace)
            case CameraKind.V4L2:
                self._shot(job, V4l2(job.source, self._clock), pace)
            case CameraKind.CLIP:
                pass  # a file in place of a camera

    def _shot(self, job: CameraJob, source: Source, pace: Pace) -> None:
        began = self._clock.now()
        shot = next(source.shots(pace, self._slot(source, pace)))
        figures = Figures(
            codec=shot.codec,
            width=shot.width,
            height=shot.height,
            gop_s=0.0,
            watched_s=self._clock.now() - began,
        )
        self._tell(job, figures)

    def _slot(self, source: Source, pace: Pace) -> Slot:
        return Slot(self._hosts.of(source), pace, self._clock)

    def _tell(self, job: CameraJob, figures: Figures) -> None:
        self._say(job.id, "figures", dataclasses.asdict(figures))

    def _say(self, camera: str, what: str, told: Mapping[str, object]) -> None:
        line = json.dumps({"camera": camera, what: told}).encode() + b"\n"
        with self._speaking:
            os.write(self._out, line)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a thread inside FFmpeg would hold up a polite end
