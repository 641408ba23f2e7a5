"""What time somebody else says it is: a camera, by ONVIF or by the date of its answer; the hub, by the date of its HTTPS answer.

Promises: one question and one answer on a connection of its own, without a password; at most 16 KiB are read and nothing is waited for
beyond the deadline; whatever the bytes, the answer is a Unix time or None.
Not its job: whether that is far off (doctor).
"""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from edge_agent.clock import Clock
    from edge_agent.tls import Context

_ANSWER_MAX_BYTES: Final = 16 * 1024
# The one question that every ONVIF device answers to everybody (ONVIF Core, 8.3.5: access class PRE_AUTH).
_ONVIF: Final = (
    '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>'
    '<GetSystemDateAndTime xmlns="http://www.onvif.org/ver10/device/wsdl"/></s:Body></s:Envelope>'
)
_UTC: Final = re.compile(r"<(?:\w+:)?UTCDateTime\b.*?</(?:\w+:)?UTCDateTime>", re.DOTALL)
_DATE: Final = re.compile(r"^Date: *([^\r\n]{1,60})", re.MULTILINE | re.IGNORECASE)
_PARTS: Final = ("Year", "Month", "Day", "Hour", "Minute", "Second")


def of_camera(host: str, port: int, *, end: float, clock: Clock) -> float | None:
    """The clock of the camera at *host*: its word by ONVIF, else the date of its HTTP answer. Blocks until *end* (boot seconds) at most."""
    body = _ONVIF.encode()
    question = (
        f"POST /onvif/device_service HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: application/soap+xml; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    try:
        with socket.create_connection((host, port), max(0.05, end - clock.now())) as line:
            answer = _ask(line, question, end=end, clock=clock)
    except OSError:
        return None
    return of_onvif(answer) or of_head(answer)


def of_hub(url: str, context: Context, *, end: float, clock: Clock) -> float | None:
    """The clock of the HTTPS server at *url*, whatever else it answers. Blocks until *end* (boot seconds) at most.

    OSError: why there is no answer.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    question = (
        f"HEAD {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    ).encode()
    left_s = max(0.05, end - clock.now())
    with socket.create_connection((host, parts.port or 443), left_s) as line:
        try:
            with context.wrap_socket(line, server_hostname=host) as wrapped:
                return of_head(_ask(wrapped, question, end=end, clock=clock, body=False))
        finally:
            context.close_last()


def of_onvif(answer: str) -> float | None:
    """The UTC in an answer to GetSystemDateAndTime."""
    told = _UTC.search(answer)
    if told is None:
        return None
    numbers = [
        re.search(rf"<(?:\w+:)?{part}>\s*(\d{{1,4}})\s*</", told[0], re.IGNORECASE)
        for part in _PARTS
    ]
    try:
        year, month, day, hour, minute, second = (int(one[1]) for one in numbers if one)
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp()
    except ValueError:
        return None


def of_head(answer: str) -> float | None:
    """The Date of an answer in HTTP or RTSP."""
    told = _DATE.search(answer)
    if told is None:
        return None
    try:
        when = parsedate_to_datetime(told[1].strip())
        return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _ask(
    line: socket.socket, question: bytes, *, end: float, clock: Clock, body: bool = True
) -> str:
    line.settimeout(max(0.05, end - clock.now()))
    line.sendall(question)
    answer = bytearray()
    while len(answer) < _ANSWER_MAX_BYTES and not _whole(answer, body=body):
        left_s = end - clock.now()
        if left_s <= 0:
            break
        line.settimeout(left_s)
        try:
            data = line.recv(4096)
        except OSError:  # late, or cut after its last byte: what came may do
            break
        if not data:
            break
        answer += data
    return answer[:_ANSWER_MAX_BYTES].decode("utf-8", "replace")


def _whole(answer: bytearray, *, body: bool) -> bool:
    """Whether all that was announced has come: not everybody hangs up when asked to."""
    head, end, rest = bytes(answer).partition(b"\r\n\r\n")
    if end and not body:
        return True
    length = re.search(rb"^Content-Length: *(\d{1,9})\s*$", head, re.MULTILINE | re.IGNORECASE)
    return bool(end) and length is not None and len(rest) >= int(length[1])
