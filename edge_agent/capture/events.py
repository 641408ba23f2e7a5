"""What recorders tell of lost video: Hikvision's alertStream and Dahua's eventManager, over HTTP, one connection a recorder.

Promises: a change is posted, not each repetition, and at most one a second for a camera, whatever a hostile recorder sends; at
most 128 KiB of a stream are kept and 8 MiB a minute read; no redirect is followed; after a refused login the recorder is left
alone for 15 minutes; no password gets into a log, an error or another host.
What is told may be wrong in both directions: recorders repeat, forget and restart. The core takes it for suspicion only.
Threads: one a recorder, which waits for the network; leaving cuts its connection.
Not its job: pictures (http.py), what suspicion is worth (core/diagnosis.py), loading a decoder: nothing here may.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.auth
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from edge_agent.capture.probe import Login, Trouble, chain_of, network_trouble
from edge_agent.core.messages import Cause, Died, Event, VideoLossTold
from edge_agent.core.recorder import Channel, Maker, channel_of

if TYPE_CHECKING:
    from edge_agent.clock import Clock
    from edge_agent.core.settings import Camera, Run, SecretRef

_CONNECT_S: Final = 4.0
# From the first byte of a question to the last of the answer's head; a head can drip for ever otherwise.
HEAD_S: Final = 8.0
# Heartbeats come every 10 s or more often. Some recorders send none: those are asked anew now and then, which costs little.
SILENT_S: Final = 90.0
BACKOFF_MAX_S: Final = 60.0
GOOD_FOR_S: Final = 60.0
LOCKED_OUT_S: Final = 15 * 60.0
# Hikvision repeats a loss while it lasts, and sends "inactive" as its heartbeat, for channel 1, whatever that shows: so only
# silence ends a loss there. After a new connection this holds for Dahua as well, whose "Stop" may have been missed.
OVER_S: Final = 60.0
CHANGE_S: Final = 1.0
KEEP_BYTES: Final = 64 * 1024
# Smart events carry pictures of some 200 kB; ten of them in a minute are still a street.
FLOOD_BYTES: Final = 8 << 20
FLOOD_S: Final = 60.0
_READ_COSTS_BYTES: Final = 512  # a byte at a time costs the processor as much as this
_PIECE_BYTES: Final = 16 * 1024
_CHANNEL_MAX: Final = 256

log = logging.getLogger("edge_agent")


# ---- what a stream says ----


@dataclass(frozen=True, slots=True)
class Said:
    """A recorder's word on one channel (from 1)."""

    channel: int
    lost: bool


_ALERT: Final = b"<EventNotificationAlert"
_ALERT_END: Final = b"</EventNotificationAlert>"
_TYPE: Final = re.compile(rb"<eventType>\s*videoloss\s*<", re.IGNORECASE)
_ACTIVE: Final = re.compile(rb"<eventState>\s*active\s*<", re.IGNORECASE)
# A recorder's network cameras are "dynamic" channels.
_CHANNEL: Final = re.compile(rb"<(?:dyn)?channelID>\s*(\d{1,5})\s*<", re.IGNORECASE)
_DAHUA: Final = re.compile(rb"Code=VideoLoss;\s*action=(Start|Stop|Pulse);\s*index=(\d{1,5})(?=\D)")
_DAHUA_MAX: Final = 80


class Ears:
    """Finds events in the bytes of one connection, wherever parts begin and end. Bounded whatever is fed."""

    def __init__(self, maker: Maker) -> None:
        self._find = self._hikvision if maker is Maker.HIKVISION else self._dahua
        self._kept = bytearray()
        self._searched = 0  # up to here no end of an alert can begin

    def hear(self, data: bytes) -> Iterator[Said]:
        """Events that *data* completes, in order."""
        self._kept += data
        yield from self._find()

    def _hikvision(self) -> Iterator[Said]:
        while (end := self._kept.find(_ALERT_END, self._searched)) >= 0:
            alert = bytes(self._kept[max(0, end - KEEP_BYTES) : end])
            del self._kept[: end + len(_ALERT_END)]
            self._searched = 0
            text = alert[max(0, alert.rfind(_ALERT)) :]
            channel = _CHANNEL.search(text)
            if channel and _TYPE.search(text) and _ACTIVE.search(text):
                yield from _said(int(channel[1]), lost=True)
        if len(self._kept) > 2 * KEEP_BYTES:  # not each time: that would copy it for each byte
            del self._kept[:-KEEP_BYTES]
        self._searched = max(0, len(self._kept) - len(_ALERT_END))

    def _dahua(self) -> Iterator[Said]:
        after = 0
        for found in _DAHUA.finditer(bytes(self._kept)):
            after = found.end()
            if found[1] != b"Pulse":
                yield from _said(int(found[2]) + 1, lost=found[1] == b"Start")
        # What may be the beginning of an event stays; the rest was looked at.
        del self._kept[: max(after, len(self._kept) - _DAHUA_MAX)]


def _said(channel: int, *, lost: bool) -> Iterator[Said]:
    if 0 < channel <= _CHANNEL_MAX:
        yield Said(channel, lost)


# ---- what is posted of it ----


@dataclass(slots=True)
class _Mouth:
    """One camera: what was posted of it and what the recorder says now."""

    camera: str
    why: str
    lost: bool = False
    said_at: float = 0.0
    told: bool = False
    told_at: float = float("-inf")
    fading: bool = False  # whether silence ends a loss


@dataclass(slots=True)
class Mouths:
    """The cameras of one recorder by channel. One thread."""

    post: Callable[[Event], None]
    by_channel: Mapping[int, tuple[_Mouth, ...]] = field(default_factory=dict)

    def connected(self, at: float) -> None:
        """A new connection: what was lost before must be said again, or ends."""
        for mouth in self._all():
            mouth.said_at, mouth.fading = at, True

    def say(self, said: Said, maker: Maker, *, at: float) -> None:
        """A recorder's word."""
        for mouth in self.by_channel.get(said.channel, ()):
            mouth.lost, mouth.said_at = said.lost, at
            mouth.fading = maker is Maker.HIKVISION

    def tell(self, *, at: float) -> None:
        """Post what changed; called after each piece of the stream, so a heartbeat is enough to end a loss."""
        for mouth in self._all():
            if mouth.lost and mouth.fading and at >= mouth.said_at + OVER_S:
                mouth.lost = False
            if mouth.lost != mouth.told and at >= mouth.told_at + CHANGE_S:
                mouth.told, mouth.told_at = mouth.lost, at
                why = mouth.why if mouth.lost else ""
                self.post(VideoLossTold(camera=mouth.camera, lost=mouth.lost, why=why))

    def _all(self) -> Iterator[_Mouth]:
        for mouths in self.by_channel.values():
            yield from mouths


# ---- one recorder ----


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder:
    maker: Maker
    url: str
    username: str
    password: SecretRef | None
    cameras: Mapping[int, tuple[str, ...]]

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


def _recorders(cameras: tuple[Camera, ...], runs: tuple[Run, ...]) -> tuple[_Recorder, ...]:
    """The recorders that are to be asked; cameras of one recorder and one login share a connection."""
    wanted = {run.camera for run in runs if run.nvr_events}
    groups: dict[tuple[str, str], list[tuple[Camera, Channel]]] = {}
    for camera in cameras:
        channel = channel_of(camera.source) if camera.id in wanted else None
        if channel is not None:
            groups.setdefault((channel.url, camera.username or ""), []).append((camera, channel))
    return tuple(
        _Recorder(
            maker=members[0][1].maker,
            url=url,
            username=username,
            password=members[0][0].password,
            cameras={
                number: tuple(camera.id for camera, channel in members if channel.number == number)
                for number in sorted({channel.number for _, channel in members})
            },
        )
        for (url, username), members in groups.items()
    )


class Events:
    """Listens to the recorders of all runs with `nvr_events`. Entering starts a thread for each."""

    def __init__(
        self,
        cameras: tuple[Camera, ...],
        runs: tuple[Run, ...],
        *,
        secret: Callable[[SecretRef], str],
        post: Callable[[Event], None],
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """*secret* reads a password; *jitter* gives a share of each pause, 0 to 1."""
        self._listeners = [
            _Listener(recorder, secret=secret, post=post, clock=clock, jitter=jitter)
            for recorder in _recorders(cameras, runs)
        ]

    def __enter__(self) -> Events:
        for listener in self._listeners:
            listener.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.stop()
        for listener in self._listeners:
            if listener.thread.ident is not None:
                listener.thread.join(timeout=5)


class _Listener:
    """One recorder, for as long as the agent lives."""

    def __init__(
        self,
        recorder: _Recorder,
        *,
        secret: Callable[[SecretRef], str],
        post: Callable[[Event], None],
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._recorder = recorder
        self._secret = secret
        self._post = post
        self._clock = clock
        self._jitter = jitter
        self._mouths = Mouths(
            post,
            {
                number: tuple(
                    _Mouth(camera, f"{recorder.maker.value}, channel {number}") for camera in ids
                )
                for number, ids in recorder.cameras.items()
            },
        )
        self._tries = 0
        self._said = ""  # what was last logged: once per change
        self._stop = threading.Event()
        self._line = _Line()
        self.thread = threading.Thread(
            target=self._run, name=f"events {recorder.host}", daemon=True
        )

    def stop(self) -> None:
        """End it; any thread."""
        self._stop.set()
        self._line.cut()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._stop.wait(self._connection())
        except Exception as error:  # noqa: BLE001 - the top of a thread: nothing may end it in silence
            # Its words could hold an address with a query; its kind is enough to find it.
            self._post(Died(part="recorder events", detail=type(error).__name__))

    def _connection(self) -> float:
        """One connection from its first question to its end; how long to leave the recorder alone then."""
        began_at: float | None = None
        trouble = Trouble(Cause.STALLED, "it ended the stream")
        try:
            with self._open() as answer:
                began_at = self._clock.now()
                self._log("")
                self._mouths.connected(began_at)
                self._listen(answer)
        except Trouble as found:
            trouble = found
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as fault:
            trouble = _network(fault)  # the original names the address
        finally:
            self._line.end()
        if self._stop.is_set():
            return 0.0
        self._log(trouble.detail)
        if began_at is not None and self._clock.now() >= began_at + GOOD_FOR_S:
            self._tries = 0
        if trouble.cause in {Cause.UNAUTHORISED, Cause.NOT_FOUND}:
            return LOCKED_OUT_S
        self._tries = min(self._tries + 1, 10)
        return self._jitter() * min(BACKOFF_MAX_S, 2.0**self._tries)

    def _log(self, trouble: str) -> None:
        if trouble == self._said:
            return
        self._said = trouble
        if trouble:
            log.warning("recorder events lost host=%s: %s", self._recorder.host, trouble)
        else:
            log.info("recorder events heard host=%s", self._recorder.host)

    @contextlib.contextmanager
    def _open(self) -> Iterator[requests.Response]:
        """The answer's head is good; its body is the stream. Raises `Trouble` and what requests raises."""
        login = self._login()
        self._line.begin()
        if self._stop.is_set():  # looked at after `begin`, which forgets a cut
            raise Trouble(Cause.STALLED, "the agent ends")
        cutter = threading.Timer(HEAD_S, self._line.cut)
        cutter.daemon = True
        cutter.start()
        with requests.Session() as session:
            session.trust_env = False  # no proxy and no netrc between a box and its recorder
            session.headers["Accept-Encoding"] = "identity"
            session.mount("http://", _Adapter(self._line))
            session.mount("https://", _Adapter(self._line))
            try:
                answer = self._ask(session)
                if answer.status_code == 401:
                    challenge = answer.headers.get("WWW-Authenticate", "")
                    answer.close()
                    session.auth = _auth(challenge, login)
                    answer = self._ask(session)
            finally:
                cutter.cancel()
            with answer:
                _judge(answer.status_code)
                yield answer

    def _login(self) -> Login:
        reference = self._recorder.password
        try:
            password = self._secret(reference) if reference is not None else ""
        except Exception as fault:  # noqa: BLE001 - what it raises is the reader's own; its words are safe
            raise Trouble(Cause.STALLED, f"its password cannot be read: {fault}") from None
        return Login(username=self._recorder.username, password=password)

    def _ask(self, session: requests.Session) -> requests.Response:
        return session.get(
            self._recorder.url,
            stream=True,
            timeout=(_CONNECT_S, SILENT_S),
            allow_redirects=False,
        )

    def _listen(self, answer: requests.Response) -> None:
        """Until the stream ends. Raises `Trouble` for a flood."""
        ears = Ears(self._recorder.maker)
        window_at, read_bytes = self._clock.now(), 0
        while not self._stop.is_set():
            # What has come, at once: `iter_content` would wait until a piece is full.
            data = answer.raw.read1(_PIECE_BYTES, decode_content=False)
            if not data:
                return
            now = self._clock.now()
            for said in ears.hear(data):
                self._mouths.say(said, self._recorder.maker, at=now)
            self._mouths.tell(at=now)
            if now >= window_at + FLOOD_S:
                window_at, read_bytes = now, 0
            read_bytes += max(len(data), _READ_COSTS_BYTES)
            if read_bytes > FLOOD_BYTES:
                raise Trouble(
                    Cause.TOO_LARGE, f"it sends more than {FLOOD_BYTES >> 20} MiB in a minute"
                )


def _auth(challenge: str, login: Login) -> requests.auth.AuthBase:
    if not login.username:
        raise Trouble(Cause.UNAUTHORISED, "it wants a user name and password")
    if "digest" in challenge.lower():
        return requests.auth.HTTPDigestAuth(login.username, login.password)
    if "basic" in challenge.lower():
        return requests.auth.HTTPBasicAuth(login.username, login.password)
    raise Trouble(
        Cause.UNAUTHORISED, "it asks for a kind of login that is neither digest nor basic"
    )


def _judge(code: int) -> None:
    match code:
        case 200:
            return
        case 401 | 403:
            raise Trouble(
                Cause.UNAUTHORISED,
                f"it refused this user name and password (HTTP {code}); it is left alone for 15 minutes",
            )
        case 404 | 410:
            raise Trouble(Cause.NOT_FOUND, f"it knows no events of this kind (HTTP {code})")
        case code if 300 <= code < 400:
            raise Trouble(Cause.REDIRECTED, f"it points to another address (HTTP {code})")
        case _:
            raise Trouble(Cause.REFUSED, f"it refuses (HTTP {code})")


def _network(fault: BaseException) -> Trouble:
    """What went wrong below HTTP, without the words of the original."""
    if isinstance(fault, requests.exceptions.SSLError):
        return Trouble(
            Cause.NONSENSE, "its certificate is not known here; use http on the camera network"
        )
    for link in chain_of(fault):
        if isinstance(link, OSError) and (link.errno or isinstance(link, TimeoutError)):
            return network_trouble(link)
    if isinstance(fault, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return Trouble(Cause.NO_ANSWER, "nothing in time")
    return Trouble(Cause.NONSENSE, "it answers, but not in HTTP, or it hung up in the middle")


class _Line:
    """The connection under way, so that another thread can cut it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    def begin(self) -> None:
        """A new connection is going to be made."""
        with self._lock:
            self._cut = False

    def note(self, line: socket.socket) -> None:
        """It goes over *line*. Cut at once if it was cut before it came to be."""
        with self._lock:
            self._socket = line
            cut = self._cut
        if cut:
            self.cut()

    def end(self) -> None:
        """Over: nothing to cut any more."""
        with self._lock:
            self._socket = None

    def cut(self) -> None:
        """End it: whoever reads gets the end at once. A shutdown from outside is safe, unlike a close."""
        with self._lock:
            line, self._cut = self._socket, True
        if line is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(
                    line, socket.SHUT_RDWR
                )  # not TLS's own, which is not safe here


class _Adapter(requests.adapters.HTTPAdapter):
    """requests' own adapter, but connections can be cut, and nobody reads the body that comes with a refusal."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        super().__init__(max_retries=0)

    def init_poolmanager(self, *_: object, **__: object) -> None:
        """See requests."""
        noted = self._line

        class Answer(http.client.HTTPResponse):
            def _read_and_discard_trailer(self) -> None:
                """Nothing: lines after the last chunk may never end, are counted by nobody, and no answer of ours is reused."""

        class Plain(HTTPConnection):
            response_class = Answer  # type: ignore[mutable-override] # as http.client documents it

            def _new_conn(self) -> socket.socket:
                line = super()._new_conn()
                noted.note(line)
                return line

        class Secure(HTTPSConnection):
            response_class = Answer  # type: ignore[mutable-override] # as http.client documents it

            def connect(self) -> None:
                super().connect()  # the plain socket below has become another object by now
                if self.sock is not None:
                    noted.note(self.sock)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain  # type: ignore[mutable-override] # urllib3 documents it as the place for one's own

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure  # type: ignore[mutable-override] # likewise

        manager = urllib3.PoolManager(num_pools=1, maxsize=1)
        manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
        self.poolmanager = manager

    def build_response(
        self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse
    ) -> requests.Response:
        """See requests. Its digest login reads the whole body of a 401 first, which may never end."""
        answer = super().build_response(req, resp)
        if answer.status_code == 401:
            resp.close()
            answer.raw = urllib3.HTTPResponse(body=io.BytesIO(), status=401, preload_content=False)
        return answer
