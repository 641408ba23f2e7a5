"""Keeps the capture workers at work: starts them, reads what they say, kills what hangs.

Promises: every camera of the box is read by a worker process, never by this one; a worker that says nothing for 12 s, or has
a camera that blocks as long, is killed and replaced, and a camera that did it twice in 10 minutes gets a worker of its
own, so that it can harm nobody else. Generations grow for as long as the agent lives; a picture is posted only while its
generation is the open one, never after it was lost and never after `stop`. Nothing here blocks on a camera.
A press stops them without a word from the core: nothing that is heard after it is posted, and the supervising thread, which
the shutter wakes, kills the workers; they run again only by a `start` that rests on the newest press.
Not its job: reading cameras (capture/), judging pictures, deciding when cameras run (core).
"""

import contextlib
import dataclasses
import logging
import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import IO, Final
from urllib.parse import quote

from edge_agent.capture.pipe import (
    Assignment,
    Beat,
    CameraJob,
    Garbled,
    NewLimit,
    NewPeriod,
    Order,
    Permit,
    Said,
    Unpacker,
    assignment_line,
    order_line,
)
from edge_agent.clock import Clock
from edge_agent.core.messages import (
    CameraLost,
    CameraOpened,
    Cause,
    Died,
    Event,
    Learn,
    LessonEnded,
    LimitPictures,
    PictureTaken,
)
from edge_agent.core.settings import Camera, SecretRef
from edge_agent.shutter import Shutter

_log = logging.getLogger(__name__)
_CHANCE: Final = secrets.SystemRandom()

# A struck worker is to be replaced, and its cameras back, within 20 s; connecting anew takes 4 s.
SILENT_MAX_S: Final = 12.0
# Before its first word it loads OpenCV: at power-on, from a slow card, beside everything else that starts, that alone takes more
# than the above, and a worker that is killed for it never comes up.
_FIRST_WORD_MAX_S: Final = 60.0
BLOCKED_MAX_S: Final = (
    12.0  # the longest honest step: 5 s to open and twice 4 s to read are steps of their own
)
OFFENCES_MAX: Final = 2
OFFENCES_WITHIN_S: Final = 600.0
# After a worker ended, its innocent cameras have so long to come back before they are called lost: a finding per camera
# for a pause of two seconds would send a technician to healthy cameras. No picture is posted meanwhile.
_RETURN_S: Final = 10.0
_RESTART_MAX_S: Final = 60.0
_STEADY_S: Final = 60.0  # a worker that lived so long is started anew without a pause
_LATE_MAX_S: Final = 5.0  # a picture that waited longer in a pipe is not news
# The slowest honest picture is an HTTP answer that took 8 s. A worker that dates a picture further back, or ahead, would
# hide it from the purge that follows a press.
_AGE_MAX_S: Final = 10.0
_TURN_S: Final = 0.5
_READ_BYTES: Final = 1 << 20
_STDERR_KEPT_BYTES: Final = 16 * 1024
ENVIRONMENT: Final = {
    # cv2 otherwise holds one lock for the whole process while it opens a camera: a dead one stops the others.
    "OPENCV_FFMPEG_IS_THREAD_SAFE": "1",
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_transport;tcp|analyzeduration;200000",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # FFmpeg would print addresses with passwords
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "3",
    # One arena, so that threads use each other's memory again: with two, 8 cameras took 98 MiB, so 83. Without a bound
    # 16 cameras reserve 1.7 GB of address space.
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Planes of a frame go back to the system at once, else each thread keeps its largest: 8 cameras took 152 MiB, so 71.
    # The price is fresh pages for each picture: about a fifth more CPU.
    "MALLOC_MMAP_THRESHOLD_": "393216",
    "MALLOC_TRIM_THRESHOLD_": "1048576",
}


class Cameras:
    """All cameras of the box. A context manager; `start` ... `progress` may be called by any thread and never block."""

    def __init__(
        self,
        cameras: tuple[Camera, ...],
        *,
        views_folder: str,
        secret: Callable[[SecretRef], str],
        post: Callable[[Event], None],
        shutter: Shutter,
        clock: Clock,
        forget: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = _CHANCE.random,
    ) -> None:
        """*forget* is called when a press has stopped the cameras, to destroy posted pictures that wait; it must not block."""
        self._views_folder = views_folder
        self._secret = secret
        self._post = post
        self._clock = clock
        self._jitter = jitter
        self._lock = (
            threading.Lock()
        )  # guards all below; held for microseconds, never while waiting
        self._cameras = {camera.id: _Camera(camera) for camera in cameras}
        self._groups: list[_Group] = []
        self._dying: list[_Worker] = []
        self._max_bytes: int | None = None
        self._shutter = shutter
        self._forget = forget
        self._running = False
        self._press = 0  # what the last `start` rests on
        self._closed = False
        self._turned_at = clock.now()
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)
        shutter.wakes(self._pressed)

    def __enter__(self) -> "Cameras":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, *, press: int) -> None:
        """Open all cameras; every one begins with a new generation. Idempotent. Nothing, if a press came after number *press*."""
        with self._lock:
            if self._closed or press != self._shutter.presses or self._may_run():
                return
            self._halt()
            # A press from here on finds it running, and wakes; one before it is found by the turn that follows.
            self._press, self._running = press, True
            together = [c for c in self._cameras.values() if not c.alone]
            alone = [[c] for c in self._cameras.values() if c.alone]
            self._groups = [_Group(cameras) for cameras in [together, *alone] if cameras]
        self._wake()

    def stop(self) -> None:
        """Close all cameras at once: kill the workers, forget what they sent. Nothing is posted after this. Idempotent."""
        with self._lock:
            self._halt()
        self._wake()

    def _may_run(self) -> bool:
        """Whether they run, and no press came since they were started."""
        return self._running and self._press == self._shutter.presses

    def _halt(self) -> None:
        """With the lock held."""
        self._running = False
        for worker in [group.worker for group in self._groups if group.worker]:
            worker.kill()
            self._dying.append(worker)
        self._groups = []
        for camera in self._cameras.values():
            camera.forget()

    def _pressed(self) -> None:
        """In the thread that presses: no lock, no wait. A storm of presses writes no more once the workers are killed."""
        if self._running:
            self._wake()

    def close(self) -> None:
        """Stop for good and wait for the workers' end. Idempotent."""
        self.stop()
        with self._lock:
            self._closed = True
        self._wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5.0)

    def set_period(self, camera: str, period_s: float) -> None:
        """Take a picture of *camera* each *period_s* seconds from now on, over stops and restarts too."""
        with self._lock:
            self._cameras[camera].period_s = period_s
            self._order(NewPeriod(camera=camera, period_s=period_s))
        self._wake()

    def limit(self, wanted: LimitPictures) -> None:
        """Make every picture fit from now on, over stops and restarts too."""
        with self._lock:
            self._max_bytes = wanted.max_bytes
            for camera in self._cameras:
                self._order(NewLimit(camera=camera, max_bytes=wanted.max_bytes))
        self._wake()

    def learn(self, wanted: Learn) -> None:
        """Let a camera learn a light from one connection, or no more. A connection that ended meanwhile cannot be learnt from."""
        with self._lock:
            camera = self._cameras[wanted.camera]
            if wanted.permit is None or camera.connection is None:
                self._order(Permit(camera=camera.id, connection=0, number=None))
            elif wanted.generation == camera.generation:
                self._order(
                    Permit(camera=camera.id, connection=camera.connection, number=wanted.permit)
                )
        self._wake()

    def _order(self, order: Order) -> None:
        """For the worker of its camera, if there is one. With the lock held."""
        for worker in [group.worker for group in self._groups if group.worker]:
            if order.camera in worker.cameras:
                worker.orders += order_line(order)

    def progress(self) -> float:
        """When the supervising thread last turned (seconds since boot): for the watchdog."""
        return self._turned_at

    # ---- the supervising thread ----

    def _wake(self) -> None:
        with contextlib.suppress(
            BlockingIOError, OSError
        ):  # full: it is awake anyway; closed: it has ended
            os.write(self._wake_out, b"!")

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as surprise:  # noqa: BLE001 - a thread's top
            self._post(Died(part="cameras", detail=f"{type(surprise).__name__}: {surprise}"))
        finally:
            self.stop()
            for worker in self._dying:
                worker.process.wait()
                self._discard(worker)
            self._selector.close()
            os.close(self._wake_in)

    def _turn(self) -> bool:
        self._turned_at = self._clock.now()
        for key, _ in self._selector.select(_TURN_S):
            if key.fd == self._wake_in:
                os.read(self._wake_in, 4096)
            elif not self._heed():
                key.data()
        self._heed()
        with self._lock:
            if self._closed:
                return False
            groups = list(self._groups)
        self._reap()
        for group in groups:
            if group.worker is None and self._clock.now() >= group.start_at:
                self._spawn(group)
            elif group.worker is not None:
                self._supervise(group, group.worker)
        self._miss()
        return True

    def _heed(self) -> bool:
        """Stop if a press came since the start; whether that was so."""
        with self._lock:
            if not self._running or self._may_run():
                return False
            self._halt()
        self._forget()
        return True

    def _spawn(self, group: "_Group") -> None:
        jobs = [job for camera in group.cameras if (job := self._job(camera))]
        if not jobs:
            group.start_at = self._clock.now() + _RESTART_MAX_S
            return
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent.capture"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=inherited | ENVIRONMENT,
            )
        except OSError as fault:
            self._after(group, frozenset(), f"no worker can be started: {fault.strerror}")
            return
        assignment = Assignment(
            parent_pid=os.getpid(), views_folder=self._views_folder, cameras=tuple(jobs)
        )
        worker = _Worker(process, assignment, self._clock.now())
        self._selector.register(worker.stdout, selectors.EVENT_READ, partial(self._hear, worker))
        self._selector.register(
            worker.stderr, selectors.EVENT_READ, partial(self._overhear, worker)
        )
        with self._lock:
            if group in self._groups:
                group.worker = worker
            else:  # stopped meanwhile
                worker.kill()
                self._dying.append(worker)
            worker.hand_over()

    def _job(self, camera: "_Camera") -> CameraJob | None:
        wanted = camera.wanted
        try:
            password = self._secret(wanted.password) if wanted.password else None
        except Exception as fault:  # noqa: BLE001 - what it raises is the reader's own; its words are safe
            with self._lock:
                self._lose(camera, Cause.UNAUTHORISED, f"its password cannot be read: {fault}")
            return None
        return CameraJob(
            id=wanted.id,
            kind=wanted.kind,
            source=wanted.source,
            username=wanted.username,
            password=password,
            period_s=camera.period_s,
            max_bytes=self._max_bytes,
        )

    def _hear(self, worker: "_Worker") -> None:
        data = worker.read(worker.stdout)
        if data is None:
            return
        if not data:
            self._selector.unregister(worker.stdout)
            worker.kill()  # it may live on, but has nothing to say
            return
        try:
            for said in worker.unpacker.feed(data):
                self._heard(worker, said)
        except Garbled as fault:
            worker.blame = f"the capture worker sent {fault}"
            worker.kill()

    def _overhear(self, worker: "_Worker") -> None:
        if not worker.overhear():
            self._selector.unregister(worker.stderr)

    def _heard(self, worker: "_Worker", said: Said) -> None:
        now = self._clock.now()
        worker.heard_at = now
        if isinstance(said, Beat):
            worker.beat = said
            return
        if said.camera not in worker.cameras:
            msg = f"news of camera {said.camera[:60]!r}, which is not its own"
            raise Garbled(msg)
        camera = self._cameras[said.camera]
        # Under the lock, so that nothing can be posted after `stop` returned; nor after a press, whoever heard of it yet.
        with self._lock:
            if not self._may_run() or worker.killed:
                return
            self._pass_on(camera, said, now)

    def _pass_on(
        self,
        camera: "_Camera",
        said: CameraOpened | CameraLost | PictureTaken | LessonEnded,
        now: float,
    ) -> None:
        """Post what is of the open connection, under the agent's own count. With the lock held."""
        match said:
            case CameraOpened():
                camera.open(said.generation)
                self._post(dataclasses.replace(said, generation=camera.generation))
            case PictureTaken():
                late_s = now - said.taken_at - said.age_s
                is_news = late_s <= _LATE_MAX_S and 0 <= now - said.taken_at <= _AGE_MAX_S
                if camera.connection == said.generation and is_news:
                    self._post(dataclasses.replace(said, generation=camera.generation))
            case LessonEnded():
                if camera.connection == said.generation:
                    self._post(dataclasses.replace(said, generation=camera.generation))
            case CameraLost():
                self._lose(camera, said.cause, said.detail)

    def _lose(self, camera: "_Camera", cause: Cause, detail: str) -> None:
        """Say that *camera* is lost, unless that was said. With the lock held."""
        if self._may_run() and camera.lose(cause):
            self._post(
                CameraLost(
                    camera=camera.id, generation=camera.generation, cause=cause, detail=detail
                )
            )

    def _supervise(self, group: "_Group", worker: "_Worker") -> None:
        """Pass on orders, kill what hangs, see to what ended."""
        with self._lock:
            worker.hand_over()
        now = self._clock.now()
        silent_max_s = SILENT_MAX_S if worker.heard_at > worker.born_at else _FIRST_WORD_MAX_S
        if not worker.killed and now - worker.heard_at > silent_max_s:
            worker.blame = f"the capture worker was silent for {silent_max_s:.0f} s"
            worker.kill()
        blocked = {name for name, busy_s in worker.beat.busy_s.items() if busy_s > BLOCKED_MAX_S}
        if not worker.killed and blocked:
            worker.guilty = frozenset(blocked & worker.cameras)
            worker.blame = f"its stream blocked the decoder for more than {BLOCKED_MAX_S:.0f} s"
            worker.kill()
        code = worker.process.poll()
        with self._lock:
            if (
                code is None or group not in self._groups
            ):  # alive, or stopped meanwhile: not a fault
                return
        worker.overhear()
        self._discard(worker)
        group.worker = None
        group.lived(now - worker.born_at)
        guilty = worker.guilty or worker.culprits()
        blame = worker.blame or f"the decoder ended with {_ending(code)}"
        _log.warning(
            "capture worker ended code=%s guilty=%s why=%s said=%s",
            code, ",".join(sorted(guilty)) or "unknown", blame, worker.last_words(),
        )  # fmt: skip
        if guilty:
            self._after(group, guilty, blame)
        elif worker.beat.threads:
            self._unexplained(group, blame)
        else:  # it never got as far as its cameras: not their doing
            self._after(group, frozenset(), blame)

    def _after(self, group: "_Group", guilty: frozenset[str], blame: str) -> None:
        """What the end of its worker means for each camera of *group*."""
        now = self._clock.now()
        group.start_at = now + self._jitter() * group.pause_s()
        with self._lock:
            for camera in list(group.cameras):
                if camera.id in guilty:
                    camera.offended(now)
                    self._lose(camera, Cause.CRASHES, blame)
                    if camera.repeats(now):
                        self._part(group, camera)
                else:
                    camera.interrupted(back_by=now + _RETURN_S)

    def _unexplained(self, group: "_Group", blame: str) -> None:
        """Nobody is known to be guilty. Twice so, and the cameras go apart: the next time tells."""
        now = self._clock.now()
        alone = len(group.cameras) == 1
        often = group.unexplained(now)
        self._after(group, frozenset({group.cameras[0].id} if alone and often else ()), blame)
        if often:
            with self._lock:
                for camera in list(group.cameras)[1:]:
                    self._part(group, camera)

    def _part(self, group: "_Group", camera: "_Camera") -> None:
        """Give *camera* a worker of its own from now on. With the lock held."""
        camera.alone = True
        if len(group.cameras) > 1 and group in self._groups:
            group.cameras.remove(camera)
            self._groups.append(_Group([camera], start_at=group.start_at))

    def _miss(self) -> None:
        """Call lost what did not come back after its worker ended."""
        now = self._clock.now()
        with self._lock:
            for camera in self._cameras.values():
                if camera.back_by is not None and now > camera.back_by:
                    self._lose(
                        camera, Cause.STALLED, "no picture since its reader was started anew"
                    )

    def _reap(self) -> None:
        with self._lock:
            ended = [worker for worker in self._dying if worker.process.poll() is not None]
            self._dying = [worker for worker in self._dying if worker not in ended]
        for worker in ended:
            self._discard(worker)

    def _discard(self, worker: "_Worker") -> None:
        for pipe in (worker.stdout, worker.stderr):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(pipe)
        worker.close()


class _Camera:
    """What is known of one camera. Guarded by the supervisor's lock."""

    def __init__(self, wanted: Camera) -> None:
        self.wanted = wanted
        self.id = wanted.id
        self.period_s = wanted.period_s
        self.generation = 0
        self.connection: int | None = None  # the worker's own count; None = not open
        self.back_by: float | None = None
        self.alone = False
        self._told: Cause | None = None
        self._offences: deque[float] = deque(maxlen=OFFENCES_MAX)

    def open(self, connection: int) -> None:
        self.generation += 1
        self.connection = connection
        self.back_by = None
        self._told = None

    def lose(self, cause: Cause) -> bool:
        """Whether that is news."""
        news = self._told is not cause
        self.forget()
        self._told = cause
        return news

    def interrupted(self, *, back_by: float) -> None:
        self.connection = None
        if self._told is None and self.back_by is None:  # falling again wins no time
            self.back_by = back_by

    def forget(self) -> None:
        self.connection = None
        self.back_by = None
        self._told = None

    def offended(self, now: float) -> None:
        self._offences.append(now)

    def repeats(self, now: float) -> bool:
        return len(self._offences) == OFFENCES_MAX and now - self._offences[0] <= OFFENCES_WITHIN_S


class _Group:
    """Cameras that share a worker, and that worker while it runs. Supervising thread; `worker` under the lock."""

    def __init__(self, cameras: list[_Camera], *, start_at: float = 0.0) -> None:
        self.cameras = cameras
        self.worker: _Worker | None = None
        self.start_at = start_at
        self._falls = 0
        self._unexplained: deque[float] = deque(maxlen=OFFENCES_MAX)

    def lived(self, seconds: float) -> None:
        """Its worker ended after so long."""
        self._falls = 0 if seconds >= _STEADY_S else self._falls + 1

    def pause_s(self) -> float:
        """How long to wait, at most, before the next worker: not at all after the first fall."""
        return min(_RESTART_MAX_S, 2.0 ** (self._falls - 2)) if self._falls > 1 else 0.0

    def unexplained(self, now: float) -> bool:
        """Note an end that nobody is known to be guilty of; whether that happens too often."""
        self._unexplained.append(now)
        often = len(self._unexplained) == OFFENCES_MAX
        return often and now - self._unexplained[0] <= OFFENCES_WITHIN_S


class _Worker:
    """One process. Supervising thread, but for `kill` and `orders` (under the lock)."""

    def __init__(
        self, process: subprocess.Popen[bytes], assignment: Assignment, now: float
    ) -> None:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - pipes were asked for
        self.process = process
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.stderr = process.stderr
        for pipe in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(pipe.fileno(), False)
        self.cameras = frozenset(job.id for job in assignment.cameras)
        self.orders = bytearray(assignment_line(assignment))
        self.unpacker = Unpacker()
        self.born_at = self.heard_at = now
        self.beat = Beat(busy_s={}, threads={})
        self.killed = False
        self.guilty: frozenset[str] = frozenset()
        self.blame = ""
        self._stderr = bytearray()
        self._secrets = [job.password for job in assignment.cameras if job.password]

    def kill(self) -> None:
        """End it at once; idempotent. Never asks it to close anything: that crashes a decoder that is at work."""
        self.killed = True
        self.process.kill()

    def hand_over(self) -> None:
        """Pass on orders as far as the pipe takes them. Under the lock: orders cannot grow while they are written."""
        try:
            while self.orders and not self.killed:
                sent = os.write(self.stdin.fileno(), self.orders)
                del self.orders[:sent]
        except BlockingIOError:
            return  # it does not read; if that lasts, it is silent too
        except BrokenPipeError:
            self.orders.clear()

    @staticmethod
    def read(pipe: IO[bytes]) -> bytes | None:
        """What the pipe holds; empty at its end; None = nothing now."""
        try:
            return os.read(pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return None

    def overhear(self) -> bool:
        """Keep the end of what it wrote to stderr; false once there is no more to come."""
        data = self.read(self.stderr)
        self._stderr += data or b""
        del self._stderr[:-_STDERR_KEPT_BYTES]
        return data != b""

    def culprits(self) -> frozenset[str]:
        """Whose thread ended the process, by its last words."""
        text = self._stderr.decode("utf-8", "replace")
        failed = set(re.findall(r"^failed camera=([a-z0-9-]{1,48})", text, re.MULTILINE))
        crashed = {
            int(ident, 16)
            for ident in re.findall(r"^Current thread (0x[0-9a-f]{1,16})", text, re.MULTILINE)
        }
        failed |= {name for name, ident in self.beat.threads.items() if ident in crashed}
        return frozenset(failed & self.cameras)

    def last_words(self) -> str:
        """What it said last, on one line, without passwords and addresses that carry one."""
        text = self._stderr.decode("utf-8", "replace")
        for secret in self._secrets:
            for form in (secret, quote(secret, safe="")):
                text = text.replace(form, "***")
        text = re.sub(r"//[^/\s@]*@", "//***@", text)
        return " | ".join(text.split("\n")[-40:]).strip(" |")[-2000:]

    def close(self) -> None:
        """Let go of the pipes and of what was read from them."""
        self.unpacker = Unpacker()
        self._secrets = []
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
