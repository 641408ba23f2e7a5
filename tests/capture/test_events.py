"""Recorders that tell of lost video: what is believed of them, and how little they can do to us."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture import events
from edge_agent.capture.events import CHANGE_S, KEEP_BYTES, OVER_S, Ears, Events, Said
from edge_agent.clock import SystemClock
from edge_agent.core.messages import Died, Event, VideoLossTold
from edge_agent.core.recorder import Maker
from edge_agent.core.settings import Camera, CameraKind, Run, SecretRef
from edge_agent.inbox import Inbox
from edge_agent.simulate import SimulatedClock
from tests.support import evil_servers
from tests.support.evil_servers import Behaviour, black_hole, evil
from tests.support.recorder import Recorder, alert, fixed, part

SECRET = "hunter2-rahasia"
WAIT_S = 20.0
HEARTBEAT = alert("videoloss", "inactive", 1)
DAHUA_BEAT = part(b"Heartbeat")

served = pytest.mark.enable_socket


def heard(maker: Maker, *pieces: bytes) -> list[Said]:
    ears = Ears(maker)
    return [said for piece in pieces for said in ears.hear(piece)]


# ---- the streams themselves ----


@pytest.mark.parametrize("tag", ["channelID", "dynChannelID"])
def test_hikvisions_loss_is_heard(tag):
    assert heard(Maker.HIKVISION, alert("videoloss", "active", 3, tag)) == [Said(3, lost=True)]


@pytest.mark.parametrize(
    "stream",
    [
        HEARTBEAT,
        alert("VMD", "active", 3),
        alert("videolossx", "active", 3),
        alert("videoloss", "active", 0),
        alert("videoloss", "active", 257),
        alert("videoloss", "active", 3).replace(b"channelID", b"channel"),
        b"</EventNotificationAlert>",
        b"<eventType>videoloss</eventType><eventState>active</eventState><channelID>3</channelID>",
    ],
)
def test_hikvisions_other_words_are_not(stream):
    assert heard(Maker.HIKVISION, stream) == []


def test_hikvisions_heartbeat_never_says_that_all_is_well():
    stream = alert("videoloss", "active", 1) + HEARTBEAT * 3
    assert heard(Maker.HIKVISION, stream) == [Said(1, lost=True)]


def test_pictures_between_the_alerts_are_passed_over():
    jpeg = part(b"\xff\xd8" + bytes(range(256)) * 800, "image/jpeg")
    stream = jpeg + alert("videoloss", "active", 2) + jpeg + alert("videoloss", "active", 4)
    assert [said.channel for said in heard(Maker.HIKVISION, stream)] == [2, 4]


def test_an_alert_that_never_ends_hides_no_later_one():
    endless = b"<EventNotificationAlert>" + b"x" * (3 * KEEP_BYTES)
    assert heard(Maker.HIKVISION, endless, alert("videoloss", "active", 2)) == [Said(2, lost=True)]


def test_dahuas_start_and_stop_are_heard():
    stream = part(b"Code=VideoLoss;action=Start;index=1\n") + DAHUA_BEAT
    stream += part(b"Code=VideoLoss;action=Stop;index=1;data={}\n")
    assert heard(Maker.DAHUA, stream) == [Said(2, lost=True), Said(2, lost=False)]


@pytest.mark.parametrize(
    "stream",
    [
        b"Code=VideoMotion;action=Start;index=1\n",
        b"Code=VideoLoss;action=Pulse;index=1\n",
        b"Code=VideoLoss;action=Start;index=999\n",
        b"Code=VideoLoss;action=Start;index=12",  # more digits may come
        DAHUA_BEAT,
    ],
)
def test_dahuas_other_words_are_not(stream):
    assert heard(Maker.DAHUA, stream) == []


STREAMS = {
    Maker.HIKVISION: HEARTBEAT + alert("videoloss", "active", 3) + HEARTBEAT,
    Maker.DAHUA: DAHUA_BEAT + part(b"Code=VideoLoss;action=Start;index=2\n") + DAHUA_BEAT,
}


@given(maker=st.sampled_from(Maker), cuts=st.lists(st.integers(0, 1200), max_size=12))
def test_it_does_not_matter_where_the_stream_is_cut(maker, cuts):
    stream = STREAMS[maker]
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(at)]
    assert heard(maker, *pieces) == [Said(3, lost=True)]


@given(maker=st.sampled_from(Maker), pieces=st.lists(st.binary(max_size=300), max_size=40))
def test_garbage_is_bounded_and_harmless(maker, pieces):
    ears = Ears(maker)
    for piece in (*pieces, bytes(3 * KEEP_BYTES), b"<EventNotificationAlert" * 20_000):
        assert not [said for said in ears.hear(piece) if said.channel > 256]
        assert len(ears._kept) <= 2 * KEEP_BYTES


# ---- what is posted ----


class Street:
    """One camera on channel 3 in simulated time."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.clock = SimulatedClock()
        self.told: list[Event] = []
        mouth = events._Mouth("gate", "why")
        self.mouths = events.Mouths(self.told.append, {3: (mouth,)})
        self.mouths.connected(self.clock.at)

    def after(self, seconds: float, *said: Said) -> list[bool]:
        self.clock.at += seconds
        for one in said:
            self.mouths.say(one, self.maker, at=self.clock.at)
        self.mouths.tell(at=self.clock.at)
        return [event.lost for event in self.told if isinstance(event, VideoLossTold)]


LOST = Said(3, lost=True)
BACK = Said(3, lost=False)


def test_a_loss_is_posted_once_however_often_it_is_repeated():
    street = Street(Maker.HIKVISION)
    for _ in range(50):
        street.after(1, LOST)
    assert street.after(1) == [True]


def test_hikvisions_loss_ends_with_silence():
    street = Street(Maker.HIKVISION)
    street.after(1, LOST)
    assert street.after(OVER_S - 1) == [True]
    assert street.after(2) == [True, False]


def test_dahuas_loss_lasts_until_it_is_said_to_end():
    street = Street(Maker.DAHUA)
    street.after(1, LOST)
    assert street.after(10 * OVER_S) == [True]
    assert street.after(1, BACK) == [True, False]


def test_a_missed_end_does_not_last_for_ever():
    street = Street(Maker.DAHUA)
    street.after(1, LOST)
    street.after(100)
    street.mouths.connected(street.clock.at)
    assert street.after(OVER_S - 1) == [True]
    assert street.after(2) == [True, False]


def test_a_recorder_that_flaps_a_thousand_times_a_second_is_told_once_a_second():
    street = Street(Maker.DAHUA)
    for number in range(3000):
        street.after(0.001, LOST if number % 2 else BACK)
    assert len(street.told) <= 3 / CHANGE_S + 1


def test_another_channel_is_nobodys():
    street = Street(Maker.DAHUA)
    assert street.after(1, Said(4, lost=True)) == []


# ---- real connections ----


def _camera(name: str, port: int, *, channel: int = 3, maker: str = "hikvision") -> Camera:
    path = {
        "hikvision": f"/ISAPI/Streaming/channels/{channel}01/picture",
        "dahua": f"/cgi-bin/snapshot.cgi?channel={channel}",
    }[maker]
    return Camera(
        id=name,
        name=name,
        kind=CameraKind.HTTP,
        source=f"http://127.0.0.1:{port}{path}",
        username="agent",
        password=SecretRef(credential="camera"),
    )


def _run(name: str, *, nvr_events: bool = True) -> Run:
    return Run(camera=name, cable="rg59", length_m=50.0, nvr_events=nvr_events)


@dataclass
class Ear:
    """Listens, with time of its own where a test needs to see pauses."""

    secret: str = SECRET
    clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.inbox = Inbox(self.clock)

    @contextmanager
    def listens(self, *cameras: Camera) -> Iterator[Events]:
        with Events(
            cameras,
            tuple(_run(camera.id) for camera in cameras),
            secret=lambda _: self.secret,
            post=self.inbox.post,
            clock=self.clock,
            jitter=lambda: 0.01,
        ) as listener:
            yield listener

    def next(self) -> Event | None:
        return self.inbox.take(until=self.clock.now() + WAIT_S)

    def silent(self) -> bool:
        return not isinstance(self.inbox.take(until=self.clock.now()), VideoLossTold | Died)


@served
@pytest.mark.parametrize("chunked", [False, True])
def test_a_loss_reaches_the_agent_over_a_digest_login(chunked):
    recorder, ear = Recorder(chunked=chunked), Ear()
    with evil(recorder.behave) as port, ear.listens(_camera("gate", port)):
        recorder.stream.put(HEARTBEAT)
        recorder.stream.put(alert("videoloss", "active", 3))
        assert ear.next() == VideoLossTold(camera="gate", lost=True, why="hikvision, channel 3")
    assert "GET /ISAPI/Event/notification/alertStream" in recorder.asked[0]
    assert SECRET not in "".join(recorder.asked)


@served
def test_cameras_of_one_recorder_share_a_connection():
    recorder, ear = Recorder(), Ear()
    with evil(recorder.behave) as port:
        cameras = [_camera(f"c{n}", port, channel=n, maker="dahua") for n in (1, 2, 3)]
        with ear.listens(*cameras):
            recorder.stream.put(part(b"Code=VideoLoss;action=Start;index=1\n"))
            assert ear.next() == VideoLossTold(camera="c2", lost=True, why="dahua, channel 2")
            assert recorder.let_in.is_set()
            assert len(recorder.asked) <= 3
    assert "codes=[VideoLoss]" in recorder.asked[0].replace("%5B", "[").replace("%5D", "]")


@served
def test_a_connection_that_ends_is_made_anew():
    recorder, ear = Recorder(), Ear()
    with evil(recorder.behave) as port, ear.listens(_camera("gate", port)):
        recorder.stream.put(None)
        recorder.stream.put(alert("videoloss", "active", 3))
        assert isinstance(ear.next(), VideoLossTold)


@served
def test_a_recorder_nobody_asked_for_is_left_alone():
    recorder = Recorder()
    with evil(recorder.behave) as port:
        camera = _camera("gate", port)
        with Events(
            (camera,),
            (_run("gate", nvr_events=False),),
            secret=lambda _: SECRET,
            post=lambda _: None,
            clock=SystemClock(),
            jitter=lambda: 0.0,
        ) as listener:
            assert listener._listeners == []
    assert recorder.asked == []


class _Log(logging.Handler):
    """What was logged, and a way to wait for the first line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.first = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.first.set()

    def wait_for(self, words: str) -> None:
        """Until a line says *words*."""
        while True:
            self.first.clear()
            if any(words in line for line in self.lines):
                return
            assert self.first.wait(WAIT_S), self.lines


@pytest.fixture
def said() -> Iterator[_Log]:
    handler = _Log()
    events.log.addHandler(handler)
    yield handler
    events.log.removeHandler(handler)


def _redirect(line: socket.socket, over: threading.Event) -> None:
    evil_servers.answers("302 Found", b"", "Location: http://127.0.0.1:1/steal")(line, over)


TROUBLES: list[tuple[Behaviour, str]] = [
    (_redirect, "points to another address"),
    (fixed("HTTP/1.1 404 Not Found"), "knows no events"),
    (fixed("HTTP/1.1 403 Forbidden"), "refused this user name"),
    (fixed("HTTP/1.1 503 Busy"), "refuses (HTTP 503)"),
    (fixed("HTTP/1.1 401 U\r\nWWW-Authenticate: Negotiate"), "neither digest nor basic"),
    (fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"zz\r\n"), "not in HTTP"),
    (fixed("HTTP/1.1 200 OK", b""), "ended the stream"),
    (evil_servers.garbage, "not in HTTP"),
    (evil_servers.hangs_up, "hung up"),
    (evil_servers.endless_header, "not in HTTP"),
]


@served
@pytest.mark.parametrize(("behaviour", "words"), TROUBLES)
def test_a_recorder_on_its_worst_day_is_said_and_costs_nothing(said, behaviour, words):
    ear = Ear()
    with evil(behaviour) as port, ear.listens(_camera("gate", port)):
        assert said.first.wait(WAIT_S)
        assert ear.silent()
    assert words in said.lines[0]
    assert SECRET not in "".join(said.lines)


def _self_signed(folder: Path) -> ssl.SSLContext:
    """What a recorder shows that speaks https out of the box."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DVR")])
    day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, day, day.replace(year=2046))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "dvr.pem").write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "dvr.pem")
    return context


@served
def test_a_certificate_that_nobody_knows_is_said(said, tmp_path):
    context = _self_signed(tmp_path)
    recorder = Recorder()

    def behave(line: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(line, server_side=True) as safe:
            recorder.behave(safe, over)

    with evil(behave) as port:
        camera = _camera("gate", port)
        camera = replace(camera, source=camera.source.replace("http:", "https:"))
        with Ear().listens(camera):
            assert said.first.wait(WAIT_S)
    assert "certificate is not known" in said.lines[0]
    assert recorder.asked == []


@served
def test_nobody_there_is_said(said):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Ear().listens(_camera("gate", port)):
        assert said.first.wait(WAIT_S)
    assert "nothing listens" in said.lines[0]


@served
def test_a_recorder_that_accepts_and_is_silent_is_cut(said, monkeypatch):
    monkeypatch.setattr(events, "HEAD_S", 0.2)
    with black_hole() as port, Ear().listens(_camera("gate", port)):
        assert said.first.wait(WAIT_S)
    assert said.lines


@served
def test_a_head_that_drips_is_cut(said, monkeypatch):
    monkeypatch.setattr(events, "HEAD_S", 0.3)
    with evil(evil_servers.dripping_header) as port, Ear().listens(_camera("gate", port)):
        assert said.first.wait(WAIT_S)
    assert said.lines


@served
def test_a_stream_that_falls_silent_is_left(said, monkeypatch):
    monkeypatch.setattr(events, "SILENT_S", 0.2)
    recorder = Recorder()
    with evil(recorder.behave) as port, Ear().listens(_camera("gate", port)):
        assert recorder.let_in.wait(WAIT_S)
        said.wait_for("lost")


@served
@pytest.mark.parametrize("piece", [bytes(1 << 16), b"a"])
def test_a_flood_is_cut_off_whether_in_floods_or_in_drops(said, piece, monkeypatch):
    monkeypatch.setattr(events, "FLOOD_BYTES", 200_000)

    def floods(line: socket.socket, over: threading.Event) -> None:
        evil_servers.question(line)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not over.is_set():
            line.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))

    with evil(floods) as port, Ear().listens(_camera("gate", port)):
        said.wait_for("in a minute")


@served
def test_lines_after_the_end_of_a_stream_are_not_waited_for(said):
    def trails(line: socket.socket, over: threading.Event) -> None:
        evil_servers.question(line)
        line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        while not over.is_set():
            line.sendall(b"a: b\r\n" * 1000)

    with evil(trails) as port, Ear().listens(_camera("gate", port)):
        said.wait_for("it ended the stream")


@served
def test_a_wrong_password_is_tried_once_and_then_left_for_a_quarter_of_an_hour(said, monkeypatch):
    pauses: list[float] = []
    rested = threading.Event()

    def wait(listener: events._Listener) -> float:
        pauses.append(connection(listener))
        rested.set()
        return pauses[-1]

    connection = events._Listener._connection
    monkeypatch.setattr(events._Listener, "_connection", wait)
    recorder = Recorder()
    ear = Ear(secret="wrong-geheim")
    with evil(recorder.behave) as port, ear.listens(_camera("gate", port)):
        assert rested.wait(WAIT_S)
    assert pauses[0] == 15 * 60
    assert sum("Authorization" in head for head in recorder.asked) == 1
    assert "refused this user name" in said.lines[0]
    assert "geheim" not in "".join((*said.lines, *recorder.asked))


@served
def test_a_password_that_cannot_be_read_asks_nobody(said):
    recorder = Recorder()

    def unreadable(_: SecretRef) -> str:
        raise OSError("credential 'camera': no such file")

    with (
        evil(recorder.behave) as port,
        Events(
            (_camera("gate", port),),
            (_run("gate"),),
            secret=unreadable,
            post=lambda _: None,
            clock=SystemClock(),
            jitter=lambda: 1.0,
        ),
    ):
        assert said.first.wait(WAIT_S)
    assert "password cannot be read" in said.lines[0]
    assert recorder.asked == []


@served
def test_leaving_does_not_wait_for_a_silent_recorder():
    recorder = Recorder()
    ear = Ear()
    with evil(recorder.behave) as port:
        with ear.listens(_camera("gate", port)) as listener:
            assert recorder.let_in.wait(WAIT_S)
        (one,) = listener._listeners
        assert not one.thread.is_alive()


@served
def test_a_surprise_ends_in_a_word_of_its_kind_only(monkeypatch):
    def surprise(_: object, __: float) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(events.Mouths, "connected", surprise)
    recorder, ear = Recorder(), Ear()
    with evil(recorder.behave) as port, ear.listens(_camera("gate", port)):
        assert ear.next() == Died(part="recorder events", detail="RuntimeError")


def test_listening_loads_no_decoder():
    code = (
        "import edge_agent.capture.events, sys\n"
        "assert not {'cv2', 'numpy'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
