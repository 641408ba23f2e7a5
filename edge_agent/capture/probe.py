"""Why does a camera not answer? One question to an RTSP camera, with an answer for a technician.

FFmpeg only ever says "no"; so each connection begins with one DESCRIBE of our own, bounded in time and bytes. What does
not pass it (a wrong password, a redirect, an answer that announces two gigabytes) never reaches FFmpeg.
Promises: `describe` returns within its deadline and reads at most 128 KiB; its words never hold a password.
Not its job: reading video; HTTP, which requests speaks.
"""

import errno
import hashlib
import re
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from edge_agent import told_time
from edge_agent.clock import Clock
from edge_agent.core.messages import Cause

DEADLINE_S: Final = 4.0
_ANSWER_MAX_BYTES: Final = 64 * 1024
_RTSP_PORT: Final = 554
_UNREACHABLE: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


class Trouble(Exception):  # noqa: N818 - no error of ours
    """No fresh picture, and why: expected, and turned into a `CameraLost` in one place (watch.py)."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who we are for a camera."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a camera says of its stream before it sends any of it."""

    codec: str  # h264, h265, mjpeg; "" = it does not say
    told_s: float | None  # the Date of its answer, Unix time


def chain_of(fault: BaseException) -> Iterator[BaseException]:
    """*fault* and what lies beneath it, as far as the libraries tell; some keep it as an argument or a "reason"."""
    link: BaseException | None = fault
    for _ in range(12):
        if link is None:
            return
        yield link
        # A `reason` may be a word (ssl) as well as the error beneath (urllib3).
        beneath = (getattr(link, "reason", None), *link.args, link.__cause__, link.__context__)
        link = next((inner for inner in beneath if isinstance(inner, BaseException)), None)


def network_trouble(fault: OSError) -> Trouble:
    """What an operating-system error of a connection means."""
    if isinstance(fault, TimeoutError):
        return Trouble(Cause.NO_ANSWER, "no answer in time")
    if isinstance(fault, ConnectionRefusedError):
        return Trouble(Cause.REFUSED, "the address answers, but nothing listens on this port")
    if isinstance(fault, socket.gaierror):
        return Trouble(Cause.UNREACHABLE, "its name is not known; write its address instead")
    if fault.errno in _UNREACHABLE:
        return Trouble(
            Cause.UNREACHABLE, "no way to this address: no cable, no power or a wrong address"
        )
    return Trouble(Cause.NONSENSE, "the connection was cut before an answer")


def describe(url: str, login: Login | None, clock: Clock) -> Offer:
    """Ask *url* for its description: what it offers, if that is video that can be read; raises `Trouble` if not. Blocks <= 4 s."""
    parts = urlsplit(url)
    deadline = clock.now() + DEADLINE_S
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or _RTSP_PORT), DEADLINE_S
        ) as line:
            talk = _Talk(line, url, deadline, clock)
            code, head, body = talk.ask(None)
            if code == 401 and login:
                code, head, body = talk.ask(_authorization(head, url, login))
    except OSError as fault:
        raise network_trouble(fault) from fault
    _judge(code, login)
    return Offer(codec=_check_offer(body), told_s=told_time.of_head(head))


def _judge(code: int, login: Login | None) -> None:
    match code:
        case 200:
            return
        case 401 | 403:
            tried = (
                "refused this user name and password" if login else "wants a user name and password"
            )
            raise Trouble(Cause.UNAUTHORISED, f"it {tried} (RTSP {code})")
        case 404 | 454 | 410:
            raise Trouble(Cause.NOT_FOUND, f"it knows no stream of this path (RTSP {code})")
        case code if 300 <= code < 400:
            raise Trouble(Cause.REDIRECTED, f"it points to another address (RTSP {code})")
        case code if 400 <= code < 600:
            raise Trouble(Cause.REFUSED, f"it refuses (RTSP {code})")
        case _:
            raise Trouble(Cause.NONSENSE, f"it answers with RTSP code {code}")


_CODECS: Final = {"H264": "h264", "H265": "h265", "JPEG": "mjpeg"}


def _check_offer(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    if not re.search(r"^m=video ", text, re.MULTILINE):
        raise Trouble(Cause.NONSENSE, "its description offers no video")
    video = re.split(r"^m=", text.split("m=video ", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    coded = re.search(r"^a=rtpmap:\d+ ([A-Za-z0-9.-]{1,20})/", video, re.MULTILINE)
    if coded and coded[1].upper() not in _CODECS:
        raise Trouble(
            Cause.NONSENSE, f"its video is coded as {coded[1]}; set the camera to H.264 or H.265"
        )
    return _CODECS[coded[1].upper()] if coded else ""


class _Talk:
    """One connection and its numbered questions."""

    def __init__(self, line: socket.socket, url: str, deadline: float, clock: Clock) -> None:
        self._line = line
        self._url = url
        self._deadline = deadline
        self._clock = clock
        self._number = 0

    def ask(self, authorization: str | None) -> tuple[int, str, bytes]:
        """Status code, head, body."""
        self._number += 1
        lines = [
            f"DESCRIBE {self._url} RTSP/1.0",
            f"CSeq: {self._number}",
            "Accept: application/sdp",
            "User-Agent: edge-agent",
        ]
        if authorization:
            lines.append(f"Authorization: {authorization}")
        self._line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = bytearray()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            self._more(answer)
        head = answer[:end].decode("latin-1")
        status = re.match(r"RTSP/1\.\d (\d{3})\b", head)
        if not status:
            raise Trouble(Cause.NONSENSE, "it answers, but not in RTSP")
        length = re.search(r"^Content-Length: *(\d{1,12})\s*$", head, re.MULTILINE | re.IGNORECASE)
        body_bytes = int(length[1]) if length else 0
        if body_bytes > _ANSWER_MAX_BYTES:
            raise Trouble(Cause.NONSENSE, f"it announces an answer of {body_bytes} bytes")
        while len(answer) < end + 4 + body_bytes:
            self._more(answer)
        return int(status[1]), head, bytes(answer[end + 4 : end + 4 + body_bytes])

    def _more(self, answer: bytearray) -> None:
        left_s = self._deadline - self._clock.now()
        if left_s <= 0:
            raise TimeoutError
        self._line.settimeout(left_s)
        data = self._line.recv(16384)
        if not data:
            said = "in the middle of its answer" if answer else "without an answer"
            raise Trouble(Cause.NONSENSE, f"it closed the connection {said}")
        answer += data
        if len(answer) > 2 * _ANSWER_MAX_BYTES:
            raise Trouble(Cause.NONSENSE, "its answer does not end")


def _authorization(head: str, url: str, login: Login) -> str:
    """Answer to the challenge in *head* (RFC 7616; cameras also speak RFC 2069, without qop)."""
    for challenge in re.findall(
        r"^WWW-Authenticate: *(.+?)\s*$", head, re.MULTILINE | re.IGNORECASE
    ):
        if challenge.lower().startswith("digest "):
            return _digest(challenge, url, login)
    for challenge in re.findall(
        r"^WWW-Authenticate: *(.+?)\s*$", head, re.MULTILINE | re.IGNORECASE
    ):
        if challenge.lower().startswith("basic"):
            import base64  # noqa: PLC0415

            return (
                "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
            )
    raise Trouble(
        Cause.UNAUTHORISED, "it asks for a kind of login that is neither digest nor basic"
    )


def _digest(challenge: str, url: str, login: Login) -> str:
    said = {
        name.lower(): quoted or bare
        for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))', challenge)
    }
    kind = said.get("algorithm", "MD5").upper()
    if kind not in {"MD5", "SHA-256"}:
        raise Trouble(
            Cause.UNAUTHORISED, f"it asks for digest {kind[:20]}, which nobody here speaks"
        )

    def hashed(text: str) -> str:
        name = "sha256" if kind == "SHA-256" else "md5"
        return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

    realm, nonce = said.get("realm", ""), said.get("nonce", "")
    who = hashed(f"{login.username}:{realm}:{login.password}")
    what = hashed(f"DESCRIBE:{url}")
    parts = [f'username="{login.username}"', f'realm="{realm}"', f'nonce="{nonce}"', f'uri="{url}"']
    if "qop" in said:
        ours = secrets.token_hex(8)
        parts += ["qop=auth", "nc=00000001", f'cnonce="{ours}"']
        answer = hashed(f"{who}:{nonce}:00000001:{ours}:auth:{what}")
    else:
        answer = hashed(f"{who}:{nonce}:{what}")
    parts.append(f'response="{answer}"')
    if "algorithm" in said:
        parts.append(f"algorithm={said['algorithm']}")
    if "opaque" in said:
        parts.append(f'opaque="{said["opaque"]}"')
    return "Digest " + ", ".join(parts)
