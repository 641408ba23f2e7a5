"""The worker process: takes its orders from stdin, gives what it sees to stdout, and can be killed at any moment.

Promises: it ends when its parent ends or closes stdin; its memory is capped; it can leave no core dump, so that no picture
which was never released gets into one; it says once a second that it lives and how long each camera's step takes.
Not its job: staying alive. Whatever surprises a camera's thread ends the process; its supervisor starts another.
"""

import faulthandler
import os
import queue
import secrets
import sys
import threading
import traceback
from typing import Final

import cv2

from edge_agent.capture.clip import Clip
from edge_agent.capture.confined import confine
from edge_agent.capture.http import Guillotine, Http
from edge_agent.capture.pipe import (
    Assignment,
    Beat,
    CameraJob,
    NewLimit,
    NewPeriod,
    Permit,
    Said,
    pack,
    parse_assignment,
    parse_order,
)
from edge_agent.capture.probe import Login
from edge_agent.capture.rtsp import Rtsp
from edge_agent.capture.v4l2 import V4l2
from edge_agent.capture.watch import Hosts, Source, Watch
from edge_agent.clock import Clock, SystemClock
from edge_agent.core.settings import CameraKind

_BEAT_S: Final = 1.0


def main() -> int:
    """Run until stdin closes or a thread fails. Exit code 0 or 1."""
    faulthandler.enable(all_threads=True)  # names the thread that a decoder crashed
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not land between messages
    assignment = parse_assignment(sys.stdin.buffer.readline())
    confine(assignment)
    cv2.setNumThreads(1)
    return _Worker(assignment, out, SystemClock()).run()


class _Worker:
    """The cameras of this process and its voice."""

    def __init__(self, assignment: Assignment, out: int, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._speaking = threading.Lock()
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._guillotine = Guillotine(clock)
        hosts = Hosts()
        self._watches = {
            job.id: Watch(
                job,
                self._source(job),
                views_folder=assignment.views_folder,
                say=self._say,
                failed=self._failed,
                clock=clock,
                jitter=secrets.SystemRandom().random,
                hosts=hosts,
            )
            for job in assignment.cameras
        }

    def run(self) -> int:
        """Watch all cameras until told otherwise."""
        threading.Thread(target=self._obey, name="orders", daemon=True).start()
        for watch in self._watches.values():
            watch.start()
        while True:
            self._beat()
            self._guillotine.fall()
            try:
                return self._ended.get(timeout=_BEAT_S)
            except queue.Empty:
                continue

    def _source(self, job: CameraJob) -> Source:
        login = Login(username=job.username, password=job.password or "") if job.username else None
        match job.kind:
            case CameraKind.RTSP:
                return Rtsp(job.source, login, self._clock)
            case CameraKind.HTTP:
                return Http(job.source, login, self._clock, self._guillotine)
            case CameraKind.V4L2:
                return V4l2(job.source, self._clock)
            case CameraKind.CLIP:
                return Clip(job.source, self._clock)

    def _obey(self) -> None:
        for line in sys.stdin.buffer:
            order = parse_order(line)
            watch = self._watches[order.camera]
            match order:
                case NewPeriod():
                    watch.pace.change(order.period_s)
                case NewLimit():
                    watch.max_bytes = order.max_bytes
                case Permit():
                    watch.learner.permit(order)
        self._ended.put(0)

    def _failed(self, what: str) -> None:
        sys.stderr.write(f"failed camera={what}\n")
        traceback.print_exc()
        self._ended.put(1)

    def _beat(self) -> None:
        now = self._clock.now()
        steps = {name: watch.pace.step_since for name, watch in self._watches.items()}
        self._say(
            Beat(
                busy_s={name: now - since for name, since in steps.items() if since is not None},
                threads={name: watch.thread.ident or 0 for name, watch in self._watches.items()},
            )
        )

    def _say(self, said: Said) -> None:
        data = memoryview(pack(said))
        try:
            with self._speaking:
                while data:
                    data = data[os.write(self._out, data) :]
        except BrokenPipeError:
            os._exit(0)  # nobody listens any more


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a thread inside FFmpeg would hold up a polite end
