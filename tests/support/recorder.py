"""A recorder that tells events over HTTP with a digest login, on loopback, as far as a stream of parts goes."""

from __future__ import annotations

import hashlib
import queue
import re
import socket
import threading
from dataclasses import dataclass, field

from tests.support.evil_servers import Behaviour, question

REALM = "DVR"
NONCE = "5dcc5a3f"


def alert(kind: str, state: str, channel: int, tag: str = "channelID") -> bytes:
    """One of Hikvision's alerts, as a part of its stream."""
    xml = (
        '<EventNotificationAlert version="2.0" xmlns="http://www.isapi.org/ver20/XMLSchema">\r\n'
        f"<ipAddress>10.0.0.9</ipAddress>\r\n<{tag}>{channel}</{tag}>\r\n<dateTime>2026-11-21T10:00:00+07:00</dateTime>\r\n"
        f"<activePostCount>1</activePostCount>\r\n<eventType>{kind}</eventType>\r\n<eventState>{state}</eventState>\r\n"
        f"<eventDescription>{kind} alarm</eventDescription>\r\n</EventNotificationAlert>"
    )
    return part(xml.encode(), "application/xml")


def part(body: bytes, kind: str = "text/plain") -> bytes:
    """One part of a multipart stream."""
    head = f"--boundary\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n"


@dataclass
class Recorder:
    """Feed `stream` with bytes; None ends the connection. `behave` serves one connection (see evil_servers)."""

    user: str = "agent"
    password: str = "hunter2-rahasia"
    chunked: bool = False
    stream: queue.Queue[bytes | None] = field(default_factory=queue.Queue)
    asked: list[str] = field(default_factory=list)  # heads of all questions
    let_in: threading.Event = field(default_factory=threading.Event)

    def behave(self, line: socket.socket, over: threading.Event) -> None:
        while True:
            head = question(line)
            self.asked.append(head)
            if self._is_known(head):
                break
            challenge = f'WWW-Authenticate: Digest qop="auth", realm="{REALM}", nonce="{NONCE}"'
            # A body without end comes with it, on some: nobody may wait for it.
            line.sendall(
                f"HTTP/1.1 401 Unauthorized\r\n{challenge}\r\nContent-Length: 9999\r\n\r\n<ht".encode()
            )
        coding = "Transfer-Encoding: chunked\r\n" if self.chunked else "Connection: close\r\n"
        kind = "Content-Type: multipart/mixed; boundary=boundary\r\n"
        line.sendall(f"HTTP/1.1 200 OK\r\n{kind}{coding}\r\n".encode())
        self.let_in.set()
        while not over.is_set():
            try:
                data = self.stream.get(timeout=0.05)
            except queue.Empty:
                continue
            if data is None:
                return
            line.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def _is_known(self, head: str) -> bool:
        said = dict(re.findall(r'(\w+)="?([^",]+)"?', head.partition("Authorization: Digest ")[2]))
        if not said:
            return False
        who = _md5(f"{self.user}:{REALM}:{self.password}")
        what = _md5(f"GET:{said['uri']}")
        return str(said["response"]) == _md5(
            f"{who}:{NONCE}:{said['nc']}:{said['cnonce']}:auth:{what}"
        )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def fixed(head: str, body: bytes = b"") -> Behaviour:
    """The same answer to whatever is asked, then the end."""

    def behave(line: socket.socket, over: threading.Event) -> None:
        question(line)
        line.sendall(head.encode() + b"\r\n\r\n" + body)

    return behave
