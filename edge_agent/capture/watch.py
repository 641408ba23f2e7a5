"""One camera's thread: take pictures when they are due, read them, say what changed, try again after trouble.

Promises: a camera is called open only with its first fresh picture in hand; lost is said once per loss, and again only when
the cause changes; pictures come with the number of their own connection; after a refused login a host is left alone for
15 minutes, since cameras lock accounts; at most one request at a time goes to a host (and one more to its ailing cameras,
so that a dead channel of a recorder does not hold up the others).
Not its job: ways to get a picture (rtsp.py and its kin), ending a thread that hangs (the supervisor kills the process).
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from edge_agent import views, vision
from edge_agent.capture.learner import Learner
from edge_agent.capture.pipe import CameraJob, Said
from edge_agent.capture.probe import Trouble
from edge_agent.capture.shrink import fit
from edge_agent.clock import Clock
from edge_agent.core.messages import CameraLost, CameraOpened, Cause, PictureTaken, SceneReading
from edge_agent.device import Device, difference, mac_of
from edge_agent.vision import Eye, Grey, References

_BACKOFF_MAX_S: Final = 60.0
_GOOD_FOR_S: Final = 60.0  # so much good video makes the next trouble a first one
# Key pictures come in a beat of their own. When it equals the period, jitter of milliseconds would skip every other one.
_EARLY_MAX_S: Final = 0.25
_EARLY_SHARE: Final = 0.1
_LOCKED_OUT_S: Final = 15 * 60.0
_NOT_ASKED: Final = (
    "its host refused a login; it is left alone for 15 minutes, lest it locks the account"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One fresh picture, as a source gives it."""

    jpeg: bytes
    grey: Grey  # the same picture, small, for vision
    taken_at: float
    age_s: float
    codec: str
    width: int
    height: int
    gop_s: float = 0.0
    bytes_per_s: float = 0.0


def refuse_large(width: int, height: int) -> None:
    """Raise `Trouble` for a picture that no street camera sends: 33 kB of it can take 1.6 GB to decode."""
    if width * height > vision.MAX_PIXELS:
        raise Trouble(
            Cause.TOO_LARGE, f"{width} x {height} pixels; set the camera to 4096 x 3072 or less"
        )


class Changed(Exception):  # noqa: N818 - not an error
    """The stream goes on, but as another one (size or codec): connect anew; everything proven is void."""


class Source(Protocol):
    """A way to get pictures of one camera."""

    @property
    def host(self) -> str | None:
        """Whom it asks (address and port), or None for what is on the box."""
        ...

    @property
    def backoff(self) -> bool:
        """Whether trying again costs anybody anything."""
        ...

    def shots(self, pace: "Pace", slot: "Slot") -> Iterator[Shot]:
        """Pictures of one unbroken connection, each fresh and taken when due. Raises `Trouble` or `Changed`."""
        ...


class Pace:
    """When the next picture is due. The camera's thread waits; any thread may change the period."""

    def __init__(self, period_s: float, clock: Clock) -> None:
        self._clock = clock
        self._period_s = period_s
        self._due_at = clock.now()
        self._last_at: float | None = None
        self._changed = threading.Condition()
        self.step_since: float | None = None

    @property
    def period_s(self) -> float:
        """The period now in force."""
        return self._period_s

    def step(self) -> None:
        """A new step of the thread begins: whatever blocks from here on is watched."""
        self.step_since = self._clock.now()

    def due(self, at: float) -> bool:
        """Whether what arrives *at* was waited for."""
        return at >= self._due_at - min(_EARLY_MAX_S, _EARLY_SHARE * self._period_s)

    def taken(self, at: float) -> None:
        """A picture was taken; the next one is a period later, and none is made up for."""
        with self._changed:
            self._last_at = at
            self._due_at += self._period_s
            if self._due_at <= at:
                self._due_at = at + self._period_s

    def begin(self) -> None:
        """A new connection: its first picture is due at once."""
        with self._changed:
            self._due_at = self._clock.now()

    def change(self, period_s: float) -> None:
        """Use another period from now on. Any thread."""
        with self._changed:
            self._period_s = period_s
            if self._last_at is not None:
                self._due_at = self._last_at + period_s
            self._changed.notify_all()

    def wait_until_due(self) -> None:
        """Sleep until a picture is due."""
        self.step_since = None
        with self._changed:
            while (left_s := self._due_at - self._clock.now()) > 0:
                self._changed.wait(left_s)
        self.step()

    def rest(self, seconds: float) -> None:
        """Sleep, unwatched."""
        self.step_since = None
        until = self._clock.now() + seconds
        with self._changed:
            while (left_s := until - self._clock.now()) > 0:
                self._changed.wait(left_s)
        self.step()


class Slot:
    """A camera's turn at its host: one request at a time for the healthy, one for the ailing."""

    def __init__(self, host: "_Host", pace: Pace, clock: Clock) -> None:
        self._host = host
        self._pace = pace
        self._clock = clock
        self.ailing = False

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, unwatched (another camera's step is not ours), and hold it.

        Raises `Trouble` if the host refused a login meanwhile.
        """
        lock = self._host.ailing if self.ailing else self._host.healthy
        self._pace.step_since = None
        with lock, self._heeding_refusals():
            self._pace.step()
            yield

    @contextlib.contextmanager
    def login(self) -> Iterator[None]:
        """A turn only as long as the host has let nobody in: eight wrong passwords at once lock an account."""
        with self.turn():
            if not self._host.proved:
                yield
                self._host.proved = True
                return
        with self._heeding_refusals():
            yield

    @contextlib.contextmanager
    def _heeding_refusals(self) -> Iterator[None]:
        # Noted before the turn is given back: the next in line must not ask too.
        if self._clock.now() < self._host.locked_until:
            raise Trouble(Cause.UNAUTHORISED, _NOT_ASKED)
        try:
            yield
        except Trouble as trouble:
            if trouble.cause is Cause.UNAUTHORISED:
                self._host.proved = False
                self._host.locked_until = self._clock.now() + _LOCKED_OUT_S
            raise


class _Host:
    def __init__(self) -> None:
        self.healthy = threading.Lock()
        self.ailing = threading.Lock()
        self.proved = False
        self.locked_until = 0.0


class Hosts:
    """What is shared between the cameras of one recorder. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosts: dict[str | None, _Host] = {}

    def of(self, source: Source) -> _Host:
        """The host of *source*; what is on the box is shared with nobody."""
        if source.host is None:
            return _Host()
        with self._lock:
            return self._hosts.setdefault(source.host, _Host())


class Watch:
    """A camera, watched for as long as the process lives."""

    def __init__(
        self,
        job: CameraJob,
        source: Source,
        *,
        views_folder: str,
        say: Callable[[Said], None],
        failed: Callable[[str], None],
        clock: Clock,
        jitter: Callable[[], float],
        hosts: Hosts,
    ) -> None:
        self.pace = Pace(job.period_s, clock)
        self.max_bytes = job.max_bytes  # any thread may change it
        self._job = job
        self._source = source
        self._view = _View(views_folder, job.id)
        self.learner = Learner(views_folder, job.id)
        self._say = say
        self._failed = failed
        self._clock = clock
        self._jitter = jitter
        self._host = hosts.of(source)
        self._slot = Slot(self._host, self.pace, clock)
        self._connection = 0
        self._told: Cause | None = None
        self._tries = 0
        self.thread = threading.Thread(target=self._run, name=f"camera {job.id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def _run(self) -> None:
        try:
            while True:
                self._connect()
        except Exception as surprise:  # a thread's top: the supervisor starts the process anew
            self._failed(f"{self._job.id}: {type(surprise).__name__}")
            raise

    def _connect(self) -> None:
        """One connection from its first question to its end, and the pause after it."""
        self._pace_login()
        self.pace.begin()
        self.pace.step()
        began_at: float | None = None
        try:
            for shot in self._source.shots(self.pace, self._slot):
                if began_at is None:
                    began_at = self._clock.now()
                    self._opened(shot)
                self._taken(shot)
                if self._clock.now() - began_at >= _GOOD_FOR_S:
                    self._tries = 0
        except Changed:
            pass
        except Trouble as trouble:
            self._lost(trouble)
        self.pace.rest(self._pause_s())

    def _pace_login(self) -> None:
        left_s = self._host.locked_until - self._clock.now()
        if left_s > 0:
            self._lost(Trouble(Cause.UNAUTHORISED, _NOT_ASKED))
            self.pace.rest(left_s)

    def _pause_s(self) -> float:
        if not self._source.backoff:
            return min(self.pace.period_s, 1.0)
        ceiling_s = min(_BACKOFF_MAX_S, 2.0**self._tries)
        self._tries = min(self._tries + 1, 6)
        return self._jitter() * ceiling_s

    def _opened(self, shot: Shot) -> None:
        self._connection += 1
        self._told = None
        self._slot.ailing = False
        self._view.begin(self._device(shot))
        self._say(
            CameraOpened(
                camera=self._job.id,
                generation=self._connection,
                codec=shot.codec,
                width=shot.width,
                height=shot.height,
            )
        )

    def _device(self, shot: Shot) -> Device:
        """What the connection shows of the camera. Just answered, so its address is known if it is on the box's own wire."""
        host = (self._source.host or "").rpartition(":")[0]
        return Device(
            codec=shot.codec, width=shot.width, height=shot.height, mac=mac_of(host) if host else ""
        )

    def _taken(self, shot: Shot) -> None:
        reading = self._view.read(shot.grey)
        limit = self.max_bytes
        jpeg = shot.jpeg if limit is None else fit(shot.jpeg, limit)
        self._say(
            PictureTaken(
                camera=self._job.id,
                generation=self._connection,
                taken_at=shot.taken_at,
                age_s=shot.age_s,
                width=shot.width,
                height=shot.height,
                codec=shot.codec,
                gop_s=shot.gop_s,
                bytes_per_s=shot.bytes_per_s,
                reading=reading,
                jpeg=jpeg,
                shrunk_from=0 if jpeg is shot.jpeg else len(shot.jpeg),
            )
        )
        ended = self.learner.saw(
            shot.grey,
            reading,
            self._view.references,
            connection=self._connection,
            at=shot.taken_at,
        )
        if ended is not None:
            self._say(ended)

    def _lost(self, trouble: Trouble) -> None:
        self._slot.ailing = True
        if self._told is trouble.cause:
            return
        self._told = trouble.cause
        self._say(
            CameraLost(
                camera=self._job.id,
                generation=self._connection,
                cause=trouble.cause,
                detail=trouble.detail,
            )
        )


class _View:
    """The commissioned view of one camera, read again when somebody commissioned it anew, or a light was learnt."""

    def __init__(self, folder: str, camera: str) -> None:
        self._folder = folder
        self._camera = camera
        self._device = Device()
        self._eye: Eye | None = None
        self._load()

    def begin(self, device: Device) -> None:
        """Forget the picture before: it is of another connection, maybe of another *device*."""
        self._device = device
        self._eye = None

    def read(self, grey: Grey) -> SceneReading:
        """What the next picture says, against the references as they are on disk now."""
        if views.stamp(self._folder, self._camera) != self._stamp:
            self._load()
        if self._eye is None:
            self._eye = Eye(self.references)
        return dataclasses.replace(
            self._eye.read(grey), fault=self._fault, other_device=self._other_device()
        )

    def _other_device(self) -> str:
        approved = self.references.device if self.references is not None else None
        return "" if approved is None else difference(approved, self._device)

    def _load(self) -> None:
        # The stamp first: what is replaced while it is read is read again.
        self._stamp = views.stamp(self._folder, self._camera)
        self._eye = None
        loaded = views.load(self._folder, self._camera)
        # A view that cannot be read counts as not commissioned, with its fault: the gate stays closed.
        self.references = loaded if isinstance(loaded, References) else None
        self._fault = loaded.why if isinstance(loaded, views.ViewFault) else ""
