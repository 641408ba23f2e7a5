"""Snapshot cameras: ask over HTTP for one JPEG when it is due.

Promises: at most 16 MiB are read and 8 s are spent on one answer, however slowly it drips, headers included; no redirect is
followed; a picture is passed on only if it is whole (length, first and last marker) and not larger than any street camera's;
digest and basic, whichever the camera asks for.
Not its job: when to ask (watch.py), other pictures than JPEG: no camera sends them.
"""

import re
import socket
import threading
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.auth
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from edge_agent import vision
from edge_agent.capture.pipe import PICTURE_MAX_BYTES
from edge_agent.capture.probe import Login, Trouble, chain_of, network_trouble
from edge_agent.capture.watch import Changed, Pace, Shot, Slot, refuse_large
from edge_agent.clock import Clock
from edge_agent.core.messages import Cause

_DEADLINE_S: Final = 8.0
_CONNECT_S: Final = 4.0
_READ_S: Final = 5.0


class Guillotine:
    """Cuts connections that outlive their deadline: requests cannot bound a header that drips. Any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[int, tuple[float, socket.socket | None]] = {}

    def begin(self) -> None:
        """The calling thread starts a request."""
        with self._lock:
            self._open[threading.get_ident()] = (self._clock.now() + _DEADLINE_S, None)

    def note(self, line: socket.socket) -> None:
        """The calling thread's request goes over *line*."""
        with self._lock:
            if mine := self._open.get(threading.get_ident()):
                self._open[threading.get_ident()] = (mine[0], line)

    def end(self) -> bool:
        """The calling thread's request is over; whether it was cut."""
        with self._lock:
            until, _ = self._open.pop(threading.get_ident())
            return self._clock.now() > until

    def fall(self) -> None:
        """Cut what is overdue; called once a second. A shutdown from outside is safe, unlike a close."""
        now = self._clock.now()
        with self._lock:
            overdue = [line for until, line in self._open.values() if line and now > until]
        for line in overdue:
            try:
                socket.socket.shutdown(
                    line, socket.SHUT_RDWR
                )  # not TLS's own, which is not safe here
            except OSError:
                continue  # it ended by itself meanwhile


class Http:
    """One snapshot address. Its camera's thread only."""

    backoff = True

    def __init__(self, url: str, login: Login | None, clock: Clock, guillotine: Guillotine) -> None:
        self._url = url
        self._login = login
        self._clock = clock
        self._guillotine = guillotine
        self._answered = False  # whether this session has had a whole answer
        parts = urlsplit(url)
        self.host: str | None = (
            f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        )

    def shots(self, pace: Pace, slot: Slot) -> Iterator[Shot]:
        """See `Source`."""
        size: tuple[int, int] | None = None
        self._answered = False
        with requests.Session() as session:
            session.trust_env = False  # no proxy and no netrc between a box and its cameras
            session.headers["Accept-Encoding"] = "identity"  # a picture is packed already; no bombs
            session.mount("http://", _Adapter(self._guillotine))
            session.mount("https://", _Adapter(self._guillotine))
            while True:
                with slot.turn():
                    asked_at = self._clock.now()
                    jpeg = self._fetch(session)
                shot = _look(jpeg, asked_at, self._clock.now() - asked_at, pace.period_s)
                if size not in {None, (shot.width, shot.height)}:
                    raise Changed
                size = (shot.width, shot.height)
                yield shot
                pace.taken(asked_at)
                pace.wait_until_due()

    def _fetch(self, session: requests.Session) -> bytes:
        """The body of one whole answer. Raises `Trouble`."""
        trouble: Trouble | None = None
        body = b""
        self._guillotine.begin()
        try:
            body = self._exchange(session)
        except Trouble as found:
            trouble = found
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as fault:
            trouble = _network(fault)  # the original names the address and its query
        finally:
            cut = self._guillotine.end()
        if cut:
            trouble = Trouble(
                Cause.NO_ANSWER, f"its answer was not complete after {_DEADLINE_S:.0f} s"
            )
        if trouble:
            raise trouble
        return body

    def _exchange(self, session: requests.Session) -> bytes:
        answer = self._ask(session)
        if answer.status_code == 401 and self._login and session.auth is None:
            session.auth = _auth(answer.headers.get("WWW-Authenticate", ""), self._login)
            answer.close()
            answer = self._ask(session)
        with answer:
            _judge(answer, self._login)
            body = self._body(answer)
        self._answered = True
        return body

    def _ask(self, session: requests.Session) -> requests.Response:
        try:
            return self._get(session)
        except requests.exceptions.ConnectionError as fault:
            if not self._answered or not _hung_up(fault):
                raise
        # Cameras close a connection that rests for some 5 s, which is just how often they are asked: a question that
        # crosses with the goodbye was never heard, and is asked again, once, on a new line.
        session.close()
        return self._get(session)

    def _get(self, session: requests.Session) -> requests.Response:
        return session.get(
            self._url, stream=True, timeout=(_CONNECT_S, _READ_S), allow_redirects=False
        )

    @staticmethod
    def _body(answer: requests.Response) -> bytes:
        announced = answer.headers.get("Content-Length", "")
        _refuse_bytes(int(announced) if re.fullmatch(r"\d{1,18}", announced) else 0)
        body = bytearray()
        try:
            for piece in answer.iter_content(64 * 1024):
                body += piece
                _refuse_bytes(len(body))
        except requests.exceptions.ChunkedEncodingError:  # fewer bytes than announced
            raise Trouble(
                Cause.NOT_A_PICTURE, f"its picture breaks off after {len(body)} bytes"
            ) from None
        return bytes(body)


def _refuse_bytes(count: int) -> None:
    if count > PICTURE_MAX_BYTES:
        raise Trouble(Cause.TOO_LARGE, f"a picture of more than {PICTURE_MAX_BYTES >> 20} MiB")


def _auth(challenge: str, login: Login) -> requests.auth.AuthBase:
    if "digest" in challenge.lower():
        return requests.auth.HTTPDigestAuth(login.username, login.password)
    if "basic" in challenge.lower():
        return requests.auth.HTTPBasicAuth(login.username, login.password)
    raise Trouble(
        Cause.UNAUTHORISED, "it asks for a kind of login that is neither digest nor basic"
    )


def _judge(answer: requests.Response, login: Login | None) -> None:
    match answer.status_code:
        case 200:
            return
        case 401 | 403 as code:
            tried = (
                "refused this user name and password" if login else "wants a user name and password"
            )
            raise Trouble(Cause.UNAUTHORISED, f"it {tried} (HTTP {code})")
        case 404 | 410 as code:
            raise Trouble(Cause.NOT_FOUND, f"it knows no picture of this path (HTTP {code})")
        case code if 300 <= code < 400:
            raise Trouble(Cause.REDIRECTED, f"it points to another address (HTTP {code})")
        case code if 400 <= code < 600:
            raise Trouble(Cause.REFUSED, f"it refuses (HTTP {code})")
        case code:
            raise Trouble(Cause.NONSENSE, f"it answers with HTTP code {code}")


def _hung_up(fault: Exception) -> bool:
    """Whether the other side closed the line instead of answering."""
    kinds = ConnectionResetError | BrokenPipeError  # http.client's RemoteDisconnected is one
    return any(isinstance(link, kinds) for link in chain_of(fault))


def _network(fault: Exception) -> Trouble:
    """What went wrong below HTTP; the operating system's own error lies somewhere in the chain."""
    for link in chain_of(fault):
        if isinstance(link, urllib3.exceptions.NameResolutionError):
            return network_trouble(socket.gaierror())
        if isinstance(link, OSError) and (link.errno or isinstance(link, TimeoutError)):
            return network_trouble(link)
    if isinstance(fault, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return Trouble(Cause.NO_ANSWER, "no answer in time")
    if isinstance(fault, requests.exceptions.SSLError):
        return Trouble(
            Cause.NONSENSE, "its certificate is not known here; use http on the camera network"
        )
    return Trouble(Cause.NONSENSE, "it answers, but not in HTTP, or it hung up in the middle")


def _look(jpeg: bytes, taken_at: float, age_s: float, period_s: float) -> Shot:
    """A shot from an answer's bytes, checked from the cheap to the dear."""
    if not jpeg.startswith(b"\xff\xd8"):
        raise Trouble(Cause.NOT_A_PICTURE, f"it sends {_kind(jpeg)} instead of a JPEG")
    # Some cameras pad their pictures; a cut one lacks the end marker.
    if not jpeg.rstrip(b"\0\r\n").endswith(b"\xff\xd9"):
        raise Trouble(Cause.NOT_A_PICTURE, "its picture breaks off in the middle")
    size = vision.jpeg_size(jpeg)
    if size is None:
        raise Trouble(Cause.NOT_A_PICTURE, "its picture has no size")
    width, height = size
    refuse_large(width, height)
    grey = vision.scaled_grey_from_jpeg(jpeg)
    if grey is None:
        raise Trouble(Cause.NOT_A_PICTURE, "its picture cannot be decoded")
    return Shot(
        jpeg=jpeg,
        grey=grey,
        taken_at=taken_at,
        age_s=age_s,
        codec="jpeg",
        width=width,
        height=height,
        bytes_per_s=len(jpeg) / period_s,
    )


def _kind(body: bytes) -> str:
    start = body[:200].lstrip().lower()
    if not start:
        return "nothing"
    return "a web page" if start.startswith((b"<!doctype", b"<html", b"<?xml")) else "something"


class _Adapter(requests.adapters.HTTPAdapter):
    """requests' own adapter, but each connection is shown to the guillotine before a byte is exchanged."""

    def __init__(self, guillotine: Guillotine) -> None:
        self._guillotine = guillotine
        super().__init__(max_retries=0)

    def init_poolmanager(self, *_: object, **__: object) -> None:
        """See requests."""
        guillotine = self._guillotine

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                line = super()._new_conn()
                guillotine.note(line)
                return line

            def request(self, *args: object, **kwargs: object) -> None:
                if self.sock is not None:
                    guillotine.note(self.sock)
                super().request(*args, **kwargs)  # type: ignore[arg-type]

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                line = super()._new_conn()
                guillotine.note(line)
                return line

            def request(self, *args: object, **kwargs: object) -> None:
                if self.sock is not None:
                    guillotine.note(self.sock)
                super().request(*args, **kwargs)  # type: ignore[arg-type]

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain  # type: ignore[mutable-override] # urllib3 documents it as the place for one's own

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure  # type: ignore[mutable-override] # likewise

        manager = urllib3.PoolManager(num_pools=1, maxsize=1)
        manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
        self.poolmanager = manager
