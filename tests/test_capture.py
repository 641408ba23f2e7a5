"""The worker's parts by themselves: what they say to the supervisor, how they tell age, what they ask a silent camera."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import demo_pictures, views, vision
from edge_agent.capture import http, probe
from edge_agent.capture.freshness import Freshness
from edge_agent.capture.pipe import (
    HEAD_MAX_BYTES,
    PICTURE_MAX_BYTES,
    Assignment,
    Beat,
    CameraJob,
    Garbled,
    NewPeriod,
    Permit,
    Said,
    Unpacker,
    assignment_line,
    order_line,
    pack,
    parse_assignment,
    parse_order,
)
from edge_agent.capture.probe import Login, Trouble
from edge_agent.capture.watch import Changed, Hosts, Pace, Shot, Slot, Watch
from edge_agent.clock import SystemClock
from edge_agent.core.messages import (
    CameraLost,
    CameraOpened,
    Cause,
    LessonEnded,
    PictureTaken,
    SceneReading,
    Unusable,
)
from edge_agent.core.settings import CameraKind
from edge_agent.device import Device
from tests.support import evil_servers
from tests.support.evil_servers import evil, question
from tests.support.lamp import lamplit, weakest_lamp
from tests.support.patience import patient

# ---- the pipe ----

READING: Final = SceneReading(
    view="abc", unusable=None, score=1.25, z=4.0, tiles=30, cells=8, ncc=0.3, dx=-1.0, dy=2.0, elsewhere=False,
    light_known=True, sharpness=0.9, mean_grey=100.0, dark_share=0.1, blown_share=0.0, change=0.02, same_bits=1,
)  # fmt: skip
PICTURE: Final = PictureTaken(
    camera="gate", generation=3, taken_at=12.5, age_s=0.25, width=640, height=360, codec="h264", gop_s=2.0,
    bytes_per_s=5000.0, reading=READING, jpeg=b"\xff\xd8picture\xff\xd9",
)  # fmt: skip
SAID: Final = (
    CameraOpened(camera="gate", generation=3, codec="h265", width=1920, height=1080),
    PICTURE,
    dataclasses.replace(PICTURE, reading=dataclasses.replace(READING, unusable=Unusable.DARK)),
    dataclasses.replace(PICTURE, shrunk_from=90_000),
    Beat(busy_s={"gate": 0.25}, threads={"gate": 140_000_000_000_000}),
    CameraLost(camera="gate", generation=3, cause=Cause.NO_ANSWER, detail="no answer in time"),
    LessonEnded(
        camera="gate",
        generation=3,
        permit=2,
        light="learnt-1",
        of="day",
        replaced="learnt-4",
        anchor="a" * 64,
        frames=20,
        span_s=1200.5,
        score=1.5,
        gain=0.25,
        dx=0.5,
        dy=-1.0,
        parts=20,
        parts_of=38,
        mean_grey=44.0,
    ),
    LessonEnded(camera="gate", generation=3, permit=3, why="nothing is new in this light"),
)


@given(cuts=st.lists(st.integers(1, 200), max_size=30))
def test_what_a_worker_says_arrives_unchanged_however_the_pipe_cuts_it(cuts: list[int]) -> None:
    data = b"".join(pack(said) for said in SAID)
    unpacker = Unpacker()
    heard = []
    for cut in [*cuts, len(data)]:
        heard += list(unpacker.feed(data[:cut]))
        data = data[cut:]
    assert tuple(heard) == SAID


@given(st.binary(max_size=300), st.integers(0, len(SAID) - 1), st.integers(0, 400))
def test_a_worker_that_a_camera_took_over_can_say_nothing_but_sound_values(
    noise: bytes, which: int, at: int
) -> None:
    good = pack(SAID[which])
    spoilt = good[:at] + noise + good[at + len(noise) :]
    try:
        heard = list(Unpacker().feed(spoilt + good))
    except Garbled:
        return
    for said in heard:
        pack(said)  # as sound as what this side makes itself


@pytest.mark.parametrize(
    "change",
    [
        {"taken_at": float("nan")},
        {"age_s": float("inf")},
        {"age_s": 10**400},
        {"generation": "3"},
        {"generation": True},
        {"width": 1 << 70},
        {"camera": "g" * 501},
        {"reading": None},
        {"reading": {"view": "abc"}},
        {"say": "released"},
    ],
)
def test_a_picture_with_a_senseless_value_is_garbled(change: dict[str, object]) -> None:
    message = pack(PICTURE)
    head_bytes, picture_bytes = struct.unpack_from(">II", message)
    head = json.loads(message[8 : 8 + head_bytes]) | change
    text = json.dumps(head).encode()
    spoilt = struct.pack(">II", len(text), picture_bytes) + text + PICTURE.jpeg
    with pytest.raises(Garbled):
        list(Unpacker().feed(spoilt))


@pytest.mark.parametrize("sizes", [(HEAD_MAX_BYTES + 1, 0), (2, PICTURE_MAX_BYTES + 1)])
def test_a_message_without_bounds_is_refused_before_it_is_read(sizes: tuple[int, int]) -> None:
    with pytest.raises(Garbled):
        list(Unpacker().feed(struct.pack(">II", *sizes)))


def test_a_picture_that_is_no_jpeg_is_garbled() -> None:
    with pytest.raises(Garbled):
        list(Unpacker().feed(pack(dataclasses.replace(PICTURE, jpeg=b"<html>"))))


def test_orders_arrive_as_they_were_given() -> None:
    job = CameraJob(
        id="gate",
        kind=CameraKind.RTSP,
        source="rtsp://192.0.2.1/x",
        username="u",
        password="p\n\"'%é",
        period_s=5.0,
    )
    assignment = Assignment(parent_pid=7, views_folder="/v", cameras=(job,))
    line = assignment_line(assignment)
    assert line.count(b"\n") == 1
    assert parse_assignment(line) == assignment
    assert "p\n" not in repr(assignment)
    for order in (
        NewPeriod(camera="gate", period_s=1.5),
        Permit(camera="gate", connection=3, number=7),
        Permit(camera="gate", connection=0, number=None),
    ):
        assert order_line(order).count(b"\n") == 1
        assert parse_order(order_line(order)) == order


def test_reasons_of_any_length_pass_cut_short() -> None:
    long = "x" * 5000
    reading = dataclasses.replace(READING, fault=long, other_device=long)
    ended = LessonEnded(camera="gate", generation=3, permit=3, why=long)
    heard = [*Unpacker().feed(pack(dataclasses.replace(PICTURE, reading=reading)) + pack(ended))]
    assert isinstance(heard[0], PictureTaken)
    assert heard[0].reading.fault == heard[0].reading.other_device == "x" * 500
    assert isinstance(heard[1], LessonEnded)
    assert heard[1].why == "x" * 500


# ---- age ----


def feed(freshness: Freshness, packets: list[tuple[float, float]], gop: int = 25) -> str | None:
    """(arrival, stamp) pairs, every *gop*-th a key picture; the first break."""
    for number, (at, stamp_s) in enumerate(packets):
        if broken := freshness.arrived(at=at, stamp_s=stamp_s, key=number % gop == 0):
            return broken
    return None


def steady(
    seconds: float, *, start: float = 100.0, fps: int = 25, rate: float = 1.0
) -> list[tuple[float, float]]:
    return [(start + n / fps, n / fps * rate) for n in range(int(seconds * fps))]


def test_a_steady_stream_is_fresh_and_its_key_pictures_are_timed() -> None:
    freshness = Freshness()
    assert feed(freshness, steady(0.9)) is None
    assert not freshness.settled()
    freshness = Freshness()
    assert feed(freshness, steady(5)) is None
    assert freshness.settled()
    assert freshness.age_s < 0.01
    assert freshness.gop_s == pytest.approx(1.0)


@given(held_s=st.floats(2.1, 8.0))
def test_pictures_that_waited_in_a_buffer_are_never_taken_for_fresh(held_s: float) -> None:
    """A recorder sends what it kept, faster than it was filmed; only then comes the present."""
    freshness = Freshness()
    kept = [(100.0 + n * 0.002, n / 25) for n in range(int(held_s * 25))]
    for number, (at, stamp_s) in enumerate(kept):
        assert freshness.arrived(at=at, stamp_s=stamp_s, key=number % 25 == 0) is None
        true_age_s = held_s - stamp_s
        if true_age_s > 0.5:
            assert not freshness.settled()


@given(late_s=st.floats(0.5, 1.9))
def test_a_reader_that_falls_behind_knows_by_how_much(late_s: float) -> None:
    freshness = Freshness()
    packets = steady(10)
    packets += [(at + 10 + late_s, stamp_s + 10) for at, stamp_s in steady(2)]
    assert feed(freshness, packets) is None
    assert freshness.age_s == pytest.approx(late_s, abs=0.05)


@pytest.mark.parametrize("rate", [1 - 150e-6, 1 + 150e-6])
def test_a_camera_whose_crystal_drifts_stays_fresh_all_day(rate: float) -> None:
    freshness = Freshness()
    assert feed(freshness, steady(86_400, fps=1, rate=rate), gop=2) is None
    assert freshness.age_s < 0.1


def test_a_lag_that_creeps_in_is_seen() -> None:
    freshness = Freshness()
    packets = [
        (at + n * 0.0002, stamp) for n, (at, stamp) in enumerate(steady(400))
    ]  # 2 s within 400 s
    assert feed(freshness, packets) is None
    assert freshness.age_s > 1.5


@pytest.mark.parametrize(
    ("gap_s", "stamp_gap_s", "broken"),
    [
        (0.04, 0.04, False),
        (2.5, 2.5, False),
        (3.1, 3.1, True),  # one group of pictures and two seconds
        (0.04, 2.5, True),  # the camera's clock was set
        (0.04, -1.5, True),
        (0.04, -0.2, False),  # pictures out of order
    ],
)
def test_a_pause_or_a_jump_breaks_continuity(
    gap_s: float, stamp_gap_s: float, broken: bool
) -> None:
    freshness = Freshness()
    packets = steady(5)
    at, stamp_s = packets[-1]
    assert feed(freshness, packets) is None
    found = freshness.arrived(at=at + gap_s, stamp_s=stamp_s + stamp_gap_s, key=False)
    assert (found is not None) is broken


# ---- pace ----


class StandingClock(SystemClock):
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1000.0

    def now(self) -> float:
        return self.at


def test_pictures_keep_their_beat_and_none_is_made_up_for() -> None:
    clock = StandingClock()
    pace = Pace(5.0, clock)
    taken = []
    for key_picture_at in range(1000, 1060, 2):
        if pace.due(float(key_picture_at)):
            pace.taken(float(key_picture_at))
            taken.append(key_picture_at - 1000)
    assert taken[:6] == [0, 6, 10, 16, 20, 26]
    pace.taken(5000.0)
    assert not pace.due(5004.7)
    assert pace.due(5005.0)


def test_a_shorter_period_counts_from_the_last_picture() -> None:
    pace = Pace(300.0, StandingClock())
    pace.taken(1000.0)
    pace.change(2.0)
    assert not pace.due(1001.7)
    assert pace.due(1002.0)


def test_key_pictures_that_come_in_the_beat_of_the_period_are_all_taken() -> None:
    pace = Pace(1.0, StandingClock())
    arrivals = [
        1000.0 + n + jitter
        for n, jitter in enumerate([0.01, 0.0, 0.02, -0.01, 0.0, 0.01, -0.02] * 20)
    ]
    taken = 0
    for at in arrivals:
        if pace.due(at):
            pace.taken(at)
            taken += 1
    assert taken == len(arrivals)


# ---- the probe ----


def offers(sdp: str) -> evil_servers.Behaviour:
    body = f"v=0\r\n{sdp}"
    return evil_servers.rtsp_status(200, f"Content-Length: {len(body)}\r\n\r\n{body}")


@pytest.mark.enable_socket
@pytest.mark.cameras
@pytest.mark.parametrize(
    ("sdp", "words"),
    [
        ("m=audio 0 RTP/AVP 0\r\n", "no video"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP9/90000\r\n", "VP9"),
        ("", "no video"),
    ],
)
def test_a_camera_that_offers_nothing_we_can_read_is_named_before_ffmpeg_sees_it(
    sdp: str, words: str
) -> None:
    with evil(offers(sdp)) as port, pytest.raises(Trouble, match=words) as told:
        probe.describe(f"rtsp://127.0.0.1:{port}/x", None, SystemClock())
    assert told.value.cause is Cause.NONSENSE


@pytest.mark.enable_socket
@pytest.mark.cameras
@pytest.mark.parametrize("algorithm", ["", "algorithm=MD5, ", "algorithm=SHA-256, "])
@pytest.mark.parametrize("qop", ["", 'qop="auth", '])
def test_digest_answers_are_those_of_rfc_7616(algorithm: str, qop: str) -> None:
    seen: list[str] = []

    def checks(line: socket.socket, over: threading.Event) -> None:
        while True:
            asked = question(line)
            seen.append(asked)
            number = re.findall(r"CSeq: (\d+)", asked)[0]
            if "Authorization" in asked:
                body = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
                line.sendall(
                    f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
                )
            else:
                head = f'WWW-Authenticate: Digest {algorithm}{qop}realm="street, 3", nonce="n0"'
                line.sendall(f"RTSP/1.0 401 No\r\nCSeq: {number}\r\n{head}\r\n\r\n".encode())

    with evil(checks) as port:
        url = f"rtsp://127.0.0.1:{port}/x"
        probe.describe(url, Login(username="u", password="p"), SystemClock())
    said = dict(re.findall(r'(\w+)="?([^",\r]+)"?', seen[1].split("Authorization: Digest ")[1]))
    name = "sha256" if "SHA" in algorithm else "md5"

    def hashed(text: str) -> str:
        return hashlib.new(name, text.encode()).hexdigest()

    middle = f"n0:{said['nc']}:{said['cnonce']}:auth" if qop else "n0"
    expected = hashed(f"{hashed('u:street, 3:p')}:{middle}:{hashed(f'DESCRIBE:{url}')}")
    assert said["response"] == expected


@pytest.mark.enable_socket
@pytest.mark.cameras
def test_a_login_of_a_kind_nobody_speaks_is_said_so() -> None:
    kerberos = evil_servers.rtsp_status(401, "WWW-Authenticate: Negotiate")
    with evil(kerberos) as port, pytest.raises(Trouble) as told:
        probe.describe(
            f"rtsp://127.0.0.1:{port}/x", Login(username="u", password="p"), SystemClock()
        )
    assert told.value.cause is Cause.UNAUTHORISED


def test_errors_of_the_network_are_told_apart() -> None:
    import errno

    found = {
        probe.network_trouble(fault).cause
        for fault in (
            OSError(errno.EHOSTUNREACH, "x"),
            OSError(errno.ENETUNREACH, "x"),
            socket.gaierror(),
        )
    }
    assert found == {Cause.UNREACHABLE}
    assert probe.network_trouble(TimeoutError()).cause is Cause.NO_ANSWER
    assert probe.network_trouble(ConnectionResetError()).cause is Cause.NONSENSE


@pytest.mark.parametrize(
    "beneath", [ssl.SSLError("x"), ssl.SSLEOFError(8, "EOF occurred"), ssl.SSLError(1, "[SSL] x")]
)
def test_a_secure_camera_that_hangs_up_is_told_in_words(beneath: ssl.SSLError) -> None:
    """Its `reason` is a word or nothing, where urllib3's is the error beneath."""
    outer = requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(None, "/", beneath))  # type: ignore[arg-type]
    beneath.reason = "UNEXPECTED_EOF"
    assert http._network(outer).cause is Cause.NONSENSE
    assert not http._hung_up(outer)


# ---- the view: lessons, devices, files ----

STREET: Final = demo_pictures.STREETS[0]
BY_LAMP_EVERY_S: Final = 60.0


def small(path: Path) -> vision.Grey:
    found = vision.scaled_grey_from_jpeg(path.read_bytes())
    assert found is not None
    return found


@cache
def lamp() -> float:
    built = vision.build({"day": [small(path) for path in STREET.commission]})
    assert isinstance(built, vision.References)
    return weakest_lamp(built, [small(STREET.night[0])])


def by_lamp(number: int) -> vision.Grey:
    """The street by its lamps: still told for what it is, but weakly."""
    return lamplit(small(STREET.night[0]), lamp(), seed=number)


def commissioned(folder: Path, device: Device | None = None) -> vision.References:
    built = vision.build({"day": [small(path) for path in STREET.commission]})
    assert isinstance(built, vision.References)
    built = dataclasses.replace(built, device=device)
    views.save(folder, "gate", built)
    return built


Step: TypeAlias = "vision.Grey | Callable[[], None] | type[Changed]"


class Script:
    """A camera that shows what it is told, a picture each `BY_LAMP_EVERY_S` of its own time; a call is made in between."""

    host: str | None = None
    backoff = False

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = iter(steps)
        self._at = 5000.0
        self.over = threading.Event()

    def shots(self, pace: Pace, slot: Slot) -> Iterator[Shot]:
        for step in self._steps:
            if step is Changed:
                raise Changed
            if callable(step):
                step()
                continue
            self._at += BY_LAMP_EVERY_S
            yield Shot(
                jpeg=b"\xff\xd8", grey=step, taken_at=self._at, age_s=0.1, codec="h264", width=640,
                height=360,
            )  # fmt: skip
        self.over.set()
        threading.Event().wait()  # a camera's thread knows no end but its process's


def watched(folder: Path, steps: Callable[[Watch], Iterable[Step]]) -> list[Said]:
    """Everything that one camera's thread said of *steps*."""
    said: list[Said] = []
    failed: list[str] = []
    watches: list[Watch] = []
    job = CameraJob(
        id="gate", kind=CameraKind.CLIP, source="x", username=None, password=None, period_s=5.0
    )
    source = Script(step for watch in watches for step in steps(watch))
    watches.append(
        Watch(
            job,
            source,
            views_folder=str(folder),
            say=said.append,
            failed=failed.append,
            clock=SystemClock(),
            jitter=lambda: 0.0,
            hosts=Hosts(),
        )
    )
    watches[0].start()
    assert source.over.wait(patient(50.0)), (failed, said[-3:])
    return said


def permit(connection: int, number: int | None) -> Permit:
    return Permit(camera="gate", connection=connection, number=number)


def lessons(said: list[Said]) -> list[LessonEnded]:
    return [event for event in said if isinstance(event, LessonEnded)]


def seen(said: list[Said]) -> list[SceneReading]:
    return [event.reading for event in said if isinstance(event, PictureTaken)]


LESSON: Final = 24  # pictures that are enough for one


def test_a_permitted_camera_learns_a_light_and_reads_the_next_picture_with_it(
    tmp_path: Path,
) -> None:
    anchor = commissioned(tmp_path)

    def steps(watch: Watch) -> Iterator[Step]:
        watch.learner.permit(permit(1, 7))
        yield from (by_lamp(n) for n in range(2 * LESSON))

    said = watched(tmp_path, steps)
    (ended,) = lessons(said)
    assert (ended.camera, ended.generation, ended.permit, ended.why) == ("gate", 1, 7, "")
    assert (ended.light, ended.of, ended.anchor) == ("learnt-1", "day", anchor.anchor)
    assert ended.parts < ended.parts_of
    assert ended.span_s >= 1200.0
    now = views.load(tmp_path, "gate")
    assert isinstance(now, vision.References)
    assert [light.name for light in now.lights] == ["day", "learnt-1"]
    told_at = said.index(ended)
    assert {r.view for r in seen(said[:told_at])} == {anchor.view}
    assert {r.view for r in seen(said[told_at:])} == {now.view}
    assert now.view != anchor.view
    before = [r.score for r in seen(said[:told_at])]
    after = [r.score for r in seen(said[told_at:])]
    assert sum(after) / len(after) > sum(before) / len(before) + 0.1
    approved = views.load_approved(tmp_path, "gate")
    assert isinstance(approved, vision.References)
    assert approved.anchor == anchor.anchor


@pytest.mark.parametrize("wrong", [permit(2, 7), permit(0, None), None])
def test_without_a_permit_for_this_connection_nothing_is_learnt(
    tmp_path: Path, wrong: Permit | None
) -> None:
    commissioned(tmp_path)

    def steps(watch: Watch) -> Iterator[Step]:
        if wrong is not None:
            watch.learner.permit(wrong)
        yield from (by_lamp(n) for n in range(LESSON))

    assert lessons(watched(tmp_path, steps)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["gate.view"]


Break: TypeAlias = "Callable[[Watch, Path], Iterable[Step]]"


def withdrawn(watch: Watch, folder: Path) -> Iterator[Step]:
    del folder
    watch.learner.permit(permit(0, None))
    yield by_lamp(0)
    watch.learner.permit(permit(1, 8))


def permitted_anew(watch: Watch, folder: Path) -> Iterator[Step]:
    del folder
    watch.learner.permit(permit(1, 8))
    yield by_lamp(0)


def connected_anew(watch: Watch, folder: Path) -> Iterator[Step]:
    del folder
    yield Changed
    yield by_lamp(0)  # the permit of the connection before is none for this one
    watch.learner.permit(permit(2, 8))


def commissioned_anew(watch: Watch, folder: Path) -> Iterator[Step]:
    del watch
    commissioned(folder, Device(codec="h264"))
    yield by_lamp(0)


def a_room(watch: Watch, folder: Path) -> Iterator[Step]:
    del watch, folder
    yield small(demo_pictures.ROOM[0])
    yield by_lamp(0)


@pytest.mark.parametrize(
    "broken", [withdrawn, permitted_anew, connected_anew, commissioned_anew, a_room]
)
def test_every_break_empties_the_lesson(tmp_path: Path, broken: Break) -> None:
    commissioned(tmp_path)
    almost = LESSON - 6

    def steps(watch: Watch) -> Iterator[Step]:
        watch.learner.permit(permit(1, 7))
        yield from (by_lamp(n) for n in range(almost))
        yield from broken(watch, tmp_path)
        yield from (by_lamp(n) for n in range(almost))
        assert not (tmp_path / "gate.learnt").exists()
        yield from (by_lamp(n) for n in range(LESSON - almost))

    said = watched(tmp_path, steps)
    assert [event.light for event in lessons(said)] == ["learnt-1"]


def test_a_disk_that_refuses_is_told_once_a_permit_and_the_camera_goes_on(tmp_path: Path) -> None:
    anchor = commissioned(tmp_path)
    (tmp_path / f".gate.learnt.{os.getpid()}.new").mkdir()  # where the file would be made

    def steps(watch: Watch) -> Iterator[Step]:
        for number in (7, 8):
            watch.learner.permit(permit(1, number))
            yield from (by_lamp(n) for n in range(2 * LESSON))

    said = watched(tmp_path, steps)
    assert [(event.permit, event.light) for event in lessons(said)] == [(7, ""), (8, "")]
    assert all("cannot be kept" in event.why for event in lessons(said))
    assert len(seen(said)) == 4 * LESSON
    assert seen(said)[-1].view == anchor.view


def test_a_camera_of_another_make_is_told_from_the_one_that_was_commissioned(
    tmp_path: Path,
) -> None:
    commissioned(tmp_path, Device(codec="h265", width=640, height=360))

    def steps(watch: Watch) -> Iterator[Step]:
        del watch
        yield by_lamp(0)
        commissioned(tmp_path, Device(codec="h264", width=640, height=360, mac="02:00:00:00:00:01"))
        yield by_lamp(1)
        commissioned(tmp_path, Device(codec="h264", width=1920, height=1080))
        yield by_lamp(2)

    other, same, size = seen(watched(tmp_path, steps))
    assert other.other_device == "codec h264 instead of h265"
    assert same.other_device == ""
    assert size.other_device == "picture 640x360 instead of 1920x1080"


def test_a_damaged_view_is_told_with_every_reading_until_it_is_whole(tmp_path: Path) -> None:
    anchor = commissioned(tmp_path)
    whole = (tmp_path / "gate.view").read_bytes()

    def steps(watch: Watch) -> Iterator[Step]:
        del watch
        yield by_lamp(0)
        (tmp_path / "gate.view").write_bytes(whole[:-9])
        yield by_lamp(1)
        (tmp_path / "gate.view").unlink()
        yield by_lamp(2)
        (tmp_path / "gate.view").write_bytes(whole)
        yield by_lamp(3)

    good, damaged, gone, again = seen(watched(tmp_path, steps))
    assert (good.fault, again.fault, gone.fault) == ("", "", "")
    assert "gate.view" in damaged.fault
    assert "damaged" in damaged.fault
    assert (damaged.view, gone.view) == ("", "")
    assert again.view == good.view == anchor.view
