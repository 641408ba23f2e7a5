"""The measures measure: what they count can go wrong, and then they say so."""

from __future__ import annotations

import builtins
import csv
import io
import json
import socket
import struct
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent import vision
from edge_agent.core.messages import Purge, Purged
from edge_agent.demo_pictures import ROOM, ROOM_INFRARED, STREETS
from edge_agent.doctor.check import Patient
from edge_agent.doctor.run import Report, examine
from tests.bench import doctor, episodes, journal, outage, privacy, scenes, uplink
from tests.support import bridge, far_line, gallery, lens, room
from tests.support.broker import needs_mosquitto, wait_for
from tests.support.desk import Desk, jpeg, released
from tests.support.displacement import displacement
from tests.support.patience import patient
from tests.support.peers import CameraHealth, PerceptualHash
from tests.support.scene_set import NoSetError, read_set
from tests.support.thin_line import Packets, ThinLine
from tests.support.ward import clinic

pytestmark = pytest.mark.timeout(
    240
)  # hundreds of pictures each, read for real: slow beside other work

STREET, OTHER = STREETS[0], STREETS[1]


class Set:
    """A set of pictures laid out as the README says, being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: list[dict[str, str]] = []
        self._refs: list[tuple[str, ...]] = []

    def put(self, file: str, jpeg: bytes, *, camera: str = "", light: str = "day", of: str = ""):
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
        source = f"synthetic of {of} (on-screen text kept in place)" if of else "somewhere"
        self._rows.append({"file": file, "camera": camera, "condition": light, "source": source})

    def refs(self, camera: str, *files: str) -> None:
        self._refs.append((camera, *files))

    def done(self) -> Path:
        with (self.folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["file", "camera", "condition", "source"])
            writer.writeheader()
            writer.writerows(self._rows)
        with (self.folder / "refs.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("camera", "ref1", "ref2", "ref3"), *self._refs])
        return self.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streets, one of them never commissioned at night, a camera that is refused, a room; and a picture cut short."""
    made = Set(tmp_path_factory.mktemp("set"))
    for n, street in enumerate((STREET, OTHER)):
        at = f"cameras/{street.name}"
        for i in (1, 4):
            made.put(
                f"{at}/day-{i:02}.jpg", street.commission[i - 1].read_bytes(), camera=street.name
            )
        made.put(
            f"{at}/day-51.jpg", street.commission[4].read_bytes(), camera=street.name
        )  # of another year
        for i in (1, 3):
            made.put(
                f"{at}/night-{i:02}.jpg",
                street.night[i - 1].read_bytes(),
                camera=street.name,
                light="night",
            )
        lights = ("day-01", "night-01") if n == 0 else ("day-01",)
        made.refs(street.name, *(f"{at}/{light}.jpg" for light in lights))
    made.put(f"cameras/{STREET.name}/rain-01.jpg", STREET.commission[3].read_bytes()[:5000])
    made.put("cameras/blank-9/day-01.jpg", room.jpeg(lens.load(ROOM[0]) // 60), camera="blank-9")
    made.refs("blank-9", "cameras/blank-9/day-01.jpg", "cameras/blank-9/day-99.jpg")
    for i, path in enumerate((ROOM[0], ROOM_INFRARED[0]), start=1):
        made.put(f"indoor/{i:03}.jpg", path.read_bytes(), light=("day", "ir")[i - 1])
    made.put("street/001.jpg", STREETS[2].commission[0].read_bytes(), camera="far-77")
    for i, path in enumerate(STREET.room_under_text, start=1):
        made.put(f"tamper/osdindoor-{i:02}.jpg", path.read_bytes(), camera=STREET.name)
    own = lens.load(STREET.commission[3])
    width, height = own.shape[1], own.shape[0]
    of = f"cameras/{STREET.name}/day-04.jpg"
    for kind, picture in (
        ("shift03", lens.warped(own, dx=0.03 * width, dy=0.01 * height)),
        ("rot03", lens.warped(own, angle_deg=-3.0)),
        ("zoom08", lens.warped(own, zoom=1.08)),
        ("shift25", lens.warped(own, dx=-0.25 * width)),
        ("mirror", own[:, ::-1]),
    ):
        made.put(f"tamper/{kind}-01.jpg", room.jpeg(picture), camera=STREET.name, of=of)
    made.put(
        "tamper/realnudge-01.jpg",
        room.jpeg(lens.warped(own, dx=4.0, dy=2.0)),
        camera=STREET.name,
    )
    return made.done()


def measured(folder: Path, *arguments: str) -> dict[str, object]:
    said: list[str] = []
    assert scenes.main([str(folder), "--json", *arguments], said.append) == 0
    found = json.loads(said[-1])
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, object]:
    return measured(folder)


def test_strangers_are_counted_for_each_camera_and_both_ways_of_commissioning(found):
    # First street: 5 of the other camera, 1 of the refused one, 2 rooms, 1 street, 3 rooms under its text. Second: 6 + 1 + 2 + 1.
    assert found["foreign"] == [0, 2 * (12 + 10)]
    assert found["moved"] == [0, 4]
    assert set(found["apart"]["day_night"]["foreign"]) == {
        "camera",
        "indoor.day",
        "indoor.ir",
        "osdindoor",
        "street",
    }


def test_friends_are_counted_by_condition_and_later_apart_from_them(found):
    same = found["same"]
    assert same["day_only"]["day"] == [0, 2]
    assert same["day_only"]["later"] == [0, 2]
    assert same["day_night"]["night"][1] == 3  # what is named as a reference is never asked
    assert same["day_only"]["night"][1] == 3


def test_a_picture_that_cannot_be_read_is_held_and_named(found):
    assert found["unreadable"] == [f"cameras/{STREET.name}/rain-01.jpg"]
    assert found["same"]["day_night"]["rain"] == [1, 1]


def test_a_camera_that_is_refused_is_named_with_the_reason(found):
    assert set(found["refused"]["day_only"]) == {"blank-9"}
    assert found["refused"]["day_only"]["blank-9"]


def test_the_truth_of_a_small_move_is_what_was_done_to_the_picture(folder):
    pictures = read_set(folder)
    truth = scenes.Truth(pictures)
    shift, turn, zoom, nudge = (
        truth.of(pictures.of_kind(kind)[0]) for kind in ("shift03", "rot03", "zoom08", "realnudge")
    )
    assert shift is not None
    assert (shift.dx, shift.dy) == pytest.approx((9.6, 2.4), abs=0.2)
    assert turn is not None
    assert turn.angle_deg == pytest.approx(-3.0, abs=0.1)
    assert (turn.dx, turn.dy) == pytest.approx((0.0, 0.0), abs=0.3)
    assert zoom is not None
    assert zoom.zoom == pytest.approx(1.08, abs=0.003)
    assert nudge is not None  # found without being told what it was made from
    assert (nudge.dx, nudge.dy) == pytest.approx((2.0, 2.0 * 240 / 360), abs=0.2)


def test_pictures_of_two_places_have_no_displacement():
    street, stranger = (path.read_bytes() for path in (STREET.commission[0], ROOM[0]))
    assert displacement(street, stranger) is None
    assert displacement(street, b"") is None


def test_text_that_stays_is_no_proof_that_the_view_stayed():
    # Fog: of the view itself next to nothing can be made out, and the lettering is as sharp as ever.
    fog = [np.full((360, 640, 3), grey, np.uint8) for grey in (140, 150)]
    for picture in fog:
        for y in (30, 60, 90):
            cv2.putText(picture, "KUNINGAN RT 07 GAPURA 2026", (20, y), 0, 0.8, (0, 0, 0), 2)
    before, after = (room.jpeg(picture) for picture in fog)
    text = np.zeros((360, 640), np.uint8)
    text[:110] = 255
    assert displacement(before, after) is not None
    assert displacement(before, after, text) is None


def test_a_wrong_shift_counts_as_wrong(folder):
    pictures = read_set(folder)
    picture = pictures.of_kind("shift03")[0]
    truth = scenes.Truth(pictures).of(picture)
    assert truth is not None
    read = next(
        r.reading for r in scenes.measure(pictures, day_only=True).results if r.picture is picture
    )
    exact = replace(read, placed=True, dx=truth.dx, dy=truth.dy, angle_deg=truth.angle_deg)
    assert scenes.is_right(exact, truth)
    assert not scenes.is_right(replace(exact, placed=False, elsewhere=False), truth)
    assert not scenes.is_right(replace(exact, dx=truth.dx + 2.5), truth)
    assert not scenes.is_right(replace(exact, dy=truth.dy - 2.5), truth)
    assert not scenes.is_right(replace(exact, angle_deg=truth.angle_deg + 1.5), truth)
    assert not scenes.is_right(exact, None)


def test_a_street_sold_as_a_room_is_counted_as_released(tmp_path):
    made = Set(tmp_path)
    at = f"cameras/{STREET.name}/day-01.jpg"
    made.put(at, STREET.commission[0].read_bytes(), camera=STREET.name)
    made.put("indoor/001.jpg", STREET.commission[3].read_bytes())
    made.refs(STREET.name, at)
    assert measured(made.done(), "--no-peers")["foreign"] == [2, 2]


def test_the_peers_are_measured_on_the_same_pictures_at_two_limits(found):
    for name in ("camera-health", "imagehash"):
        peer = found["peers"][name]
        assert peer["foreign"][1] == found["foreign"][1]
        assert peer["moved"][1] == found["moved"][1]
        assert {k: v[1] for k, v in peer["same"]["day_night"].items()} == {
            k: v[1] for k, v in found["same"]["day_night"].items()
        }
        assert peer["at_no_false_accept"]["foreign"][0] == 0
        assert peer["reference_bytes"] in (8, 32 * 32 * 4)


def test_camera_health_is_asked_as_its_own_check_asks():
    from camera_health import check
    from PIL import Image

    peer = CameraHealth()
    references = [path.read_bytes() for path in STREET.commission[:2]]
    looked = [seen for jpeg in references if (seen := peer.look(jpeg))]
    for path in (*STREET.commission, *STREET.night, *OTHER.commission, *ROOM):
        seen = peer.look(path.read_bytes())
        assert seen is not None
        own = [check(Image.open(path), reference=Image.open(r)) for r in STREET.commission[:2]]
        likest = max(c.metrics["scene_correlation"] for c in own)
        assert peer.likeness(replace(seen, well=True), looked) == pytest.approx(likest, abs=1e-6)
        says = any(not c.has("tampering") and c.ok for c in own)
        assert (peer.likeness(seen, looked) >= peer.default_limit) is says
    assert peer.look(b"\xff\xd8 not a picture") is None


def test_the_perceptual_hash_of_a_picture_is_likest_itself():
    peer = PerceptualHash()
    seen, other = (peer.look(path.read_bytes()) for path in (STREET.commission[0], ROOM[0]))
    assert seen is not None
    assert other is not None
    assert peer.likeness(seen, [other, seen]) == 0.0
    assert peer.likeness(other, [seen]) < peer.default_limit
    assert peer.look(b"") is None


def test_a_folder_that_is_no_set_is_a_clear_error(tmp_path, capsys):
    with pytest.raises(NoSetError, match=r"manifest\.csv"):
        read_set(tmp_path)
    assert scenes.main([str(tmp_path)]) == 2
    assert "nothing measured" in capsys.readouterr().err
    assert episodes.main([str(tmp_path)]) == 2


# ---- episodes ----


def play(shown: gallery.Gallery, count: int, seed: int) -> list[episodes.Outcome]:
    outcomes, same = episodes.run(shown, episodes=count, seed=seed, progress=lambda outcome: None)
    assert same[0] == same[1] > 0
    return outcomes


def test_thirty_cameras_taken_home_show_nothing_but_their_own_street():
    outcomes = play(gallery.of_repo(), 30, seed=3)
    assert [o for o in outcomes if o.leaked] == []
    assert sum(o.foreign_frames for o in outcomes) > 1000
    by_day = [o for o in outcomes if o.light == "day" and not o.off_aim]
    assert by_day
    assert [o for o in by_day if o.back_s is None or o.back_s > 60.0] == []


def test_an_episode_is_decided_by_its_seed_alone():
    shown = gallery.of_repo()
    assert play(shown, 2, seed=5) == play(shown, 2, seed=5)
    assert play(shown, 2, seed=5) != play(shown, 2, seed=6)


def test_a_leak_would_be_seen():
    """A stranger that is the very street: the agent releases it, and the episodes count it."""
    shown = gallery.of_repo()
    street = shown.streets[0]
    twins = tuple(gallery.Base(f"twin of {base.name}", base.load) for base in street.own["day"])
    fooled = replace(street, under_text=(), strangers=())
    outcomes = play(gallery.Gallery((fooled,), {"day": twins}, ()), 8, seed=1)
    found = episodes.summary(outcomes, [1, 1], seed=1)
    leaked = found["leaked_frames"]
    assert isinstance(leaked, int)
    assert leaked > 0
    assert found["leaks"]


def test_the_episodes_command_plays_a_set_and_ends_in_one_object(folder):
    said: list[str] = []
    assert episodes.main([str(folder), "--episodes", "3", "--seed", "1"], said.append) == 0
    found = json.loads(said[-1])
    assert (found["episodes"], found["leaked_frames"]) == (3, 0)
    assert {"back_to_release_s_p50", "back_to_release_s_p95", "never_released"} <= set(found)


def test_times_are_summed_up_apart_from_those_that_never_came():
    assert episodes.percentile([], 50) is None
    assert episodes.percentile([12.0], 95) == 12.0
    assert episodes.percentile([10.0, 20.0, 30.0], 50) == 20.0


def test_rooms_under_own_text_are_made_where_a_set_has_masks(folder, tmp_path):
    made = Set(tmp_path)
    at = f"cameras/{STREET.name}/day-0{{}}.jpg"
    for i in (1, 4):
        made.put(at.format(i), STREET.commission[i - 1].read_bytes(), camera=STREET.name)
    made.put("indoor/001.jpg", ROOM[0].read_bytes())
    made.refs(STREET.name, at.format(1))
    mask = np.zeros((360, 640), np.uint8)
    mask[0:180] = 255
    (tmp_path / "masks").mkdir()
    assert cv2.imwrite(str(tmp_path / "masks" / f"{STREET.name}.png"), mask)
    shown = gallery.of_set(read_set(made.done()))
    composed = shown.streets[0].under_text[0].load()
    street, inside = (
        vision.scaled_grey_from_jpeg(p.read_bytes()) for p in (STREET.commission[0], ROOM[0])
    )
    assert composed is not None
    assert street is not None
    assert inside is not None
    assert np.abs(composed[:110].astype(int) - street[:110]).mean() < 3.0
    assert np.abs(composed[130:].astype(int) - inside[130:]).mean() < 3.0


def test_the_outage_command_fills_a_journal_and_judges_what_is_left(tmp_path):
    said: list[str] = []
    arguments = ["--days", "0.4", "--quota", "12000000", "--folder", str(tmp_path)]
    assert outage.main(arguments, said.append) == 0
    found = json.loads(said[-1])
    assert list(found) == [
        "kept_01",
        "largest_gap_over_ideal",
        "declared_equals_thinned",
        "bytes_max",
    ]
    assert found["kept_01"][0] == found["kept_01"][1]
    assert 1.0 <= found["largest_gap_over_ideal"] <= 2.0
    assert found["declared_equals_thinned"] is True
    assert 6_000_000 < found["bytes_max"] <= 12_000_000


def test_the_outage_judge_sees_a_gap_and_a_minute_that_nobody_declared():
    street, found = outage.Street(), outage.Found()
    name = outage.CAMERAS[0]
    street.pictures[name] = [("boot-0", 60.0 * n, 60.0 * n) for n in range(101)]
    found.kept[name] = set(range(0, 101, 2))
    found.declared[name] = {("boot-0", n) for n in range(1, 101, 2)}
    judged = outage.judge(street, found, name)
    assert judged.declared_right
    assert judged.gap_over_ideal == pytest.approx(2 * 51 / 100)
    found.kept[name] -= {50}
    assert not outage.judge(street, found, name).declared_right
    assert outage.judge(street, found, name).gap_over_ideal == pytest.approx(4 * 50 / 100)
    found.declared[name] |= {("boot-0", 50), ("boot-1", 1)}
    assert not outage.judge(street, found, name).declared_right, "one too many"
    found.kept[name] -= {0, 2, 4, 6, 8}
    assert outage.judge(street, found, name).longest_s == 600.0, "the beginning counts too"


# ---- the privacy switch ----


def mqtt(topic: str, payload: bytes) -> bytes:
    """A PUBLISH at QoS 1 without properties."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + b"\x00\x01\x00" + payload
    head, length = bytearray([0x32]), len(body)
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1024, 100_000])
def test_the_line_knows_the_bytes_of_pictures_however_they_are_cut_into_pieces(piece):
    parts = [
        (mqtt("cctv/v1/a/b/c/d/live", b"x" * 300), 0),
        (mqtt("cctv/v1/a/b/c/d/snapshot/live/gate", b"y" * 20_000), 20_003),
        (b"\xc0\x00", 0),
        (mqtt("cctv/v1/a/b/c/d/snapshot/history/gate", b""), 3),
        (mqtt("cctv/v1/a/b/c/d/camera/snapshot", b"z" * 200), 0),
    ]
    stream = b"".join(part for part, _ in parts)
    packets = Packets()
    found = [packets.feed(stream[at : at + piece]) for at in range(0, len(stream), piece)]
    assert sum(found) == sum(expected for _, expected in parts)
    assert packets.pictures == 2


@pytest.mark.enable_socket
@pytest.mark.parametrize("reset", [False, True])
def test_what_a_kernel_holds_comes_out_unless_the_connection_is_reset(reset):
    """The line would see the bytes that a link without a reset lets go."""
    message = mqtt("cctv/v1/a/b/c/d/snapshot/live/gate", b"p" * 60_000)
    with (
        socket.create_server(("127.0.0.1", 0)) as broker,
        ThinLine(broker.getsockname()[1], bytes_per_s=1e6) as line,
    ):
        line.stall()
        with socket.create_connection(("127.0.0.1", line.port)) as box:
            box.sendall(message)
            if reset:
                box.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.flow()
        wait_for(lambda: line.ended == 1, "the line saw the end of it")
        assert line.connections == 1
        assert (line.picture_bytes == 60_003) is not reset
        assert line.picture_at() > 0 or not line.picture_bytes


def test_a_picture_of_a_private_moment_at_the_broker_counts_as_leaked():
    press = privacy.Press(
        edge_at=100.0,
        dark_until=110.0,
        to_dark_ms=12.0,
        under_way=True,
        kept=7,
        left=0,
        purged_ms=1000.0,
        blocked=False,
    )
    held = replace(press, edge_at=200.0, dark_until=210.0, to_dark_ms=40.0, left=2, blocked=True)
    arrivals = [
        privacy.Arrival("gate", boot, mono)
        for boot, mono in (
            ("now", 99.9),
            ("now", 104.0),
            ("now", 110.1),
            ("now", 209.0),
            ("before", 104.0),
        )
    ]
    outcome = privacy.Outcome(presses=[press, held], arrivals=arrivals, boot="now")
    assert privacy.summary(outcome) == {
        "presses": 1,
        "to_dark_ms": {"p50": 12.0, "p99": 12.0, "max": 12.0},
        "leaked_pictures": 1,
        "left_in_journal": 0,
        "blocked": {
            "to_dark_ms": {"p50": 40.0, "p99": 40.0, "max": 40.0},
            "leaked_pictures": 1,
            "left_in_journal": 2,
        },
    }
    assert "1 presses, 1 while pictures were on the line" in privacy.table(outcome)
    assert "left in the journal 2 of 7" in privacy.table(outcome)


def test_a_picture_is_found_by_either_of_its_ends_in_any_file_of_the_journal(tmp_path):
    """A purge that drops the row and leaves a page of the picture is seen."""
    picture = privacy.marked(STREET.commission[0].read_bytes(), "camera-3", 61.25)
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) is not None
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "1").write_bytes(bytes(4_096) + picture[4_096:] + bytes(1_000))
    assert privacy.bytes_in(tmp_path) == {("camera-3", 61.25)}
    (pictures / "1").write_bytes(picture[:4_096] + bytes(4_096))
    assert privacy.bytes_in(tmp_path) == {("camera-3", 61.25)}
    (pictures / "1").write_bytes(bytes(len(picture)))
    assert privacy.bytes_in(tmp_path) == set()
    (tmp_path / "journal.db-wal").write_bytes(b"<camera-" + picture)
    assert privacy.bytes_in(tmp_path) == {("camera-3", 61.25)}


def test_a_purge_between_two_files_of_the_journal_shows_no_picture_that_is_gone(
    tmp_path, monkeypatch
):
    """Database and log copied one after the other are of two moments: together they show what no moment had."""
    folder, opened = tmp_path / "journal", set[str]()
    with Desk(folder) as desk:
        desk.spool.keep_picture(released("gate", 900.0, jpeg(0)))
        desk.alarm()
        desk.spool.purge(Purge(since_at=990.0, reason="privacy"))  # no picture is meant
        desk.wait(Purged)
        desk.spool.keep_picture(released("gate", 901.0, jpeg(1)))
        desk.alarm()
        before = privacy.rows_in(folder, tmp_path / "copy", "boot-1")
        assert before == {("gate", 900.0), ("gate", 901.0)}, "one in the database, one in its log"
        own = io.open

        def opening(file, *words, **names):
            if isinstance(file, (str, Path)) and Path(file).parent == folder:
                since = len(desk.events)
                opened.add(Path(file).name)
                if opened == {"journal.db", "journal.db-wal"}:
                    opened.add("purged")
                    desk.spool.purge(Purge(since_at=0.0, reason="privacy"))
                    desk.wait(Purged, since=since)
            return own(file, *words, **names)

        for module in (io, builtins):
            monkeypatch.setattr(module, "open", opening)
        assert privacy.rows_in(folder, tmp_path / "copy", "boot-1") == set()
        assert "purged" in opened


def test_a_quick_clock_waits_for_the_box_and_never_goes_back():
    clock = privacy.QuickClock()
    told: list[float] = []
    for name in (privacy.CORE_THREAD, privacy.SENSOR_THREAD):
        thread = threading.Thread(target=lambda: told.append(clock.now()), name=name)
        thread.start()
        thread.join()
    clock.run_at(1e9)
    assert clock.now() == min(told) + privacy.AHEAD_S
    clock.run_at(1.0)
    assert clock.now() >= min(told) + privacy.AHEAD_S


def test_a_thousand_presses_unless_told_otherwise(monkeypatch, capsys):
    asked: list[tuple[int, int]] = []

    def run(presses: int, blocked: int, **_: object) -> privacy.Outcome:
        asked.append((presses, blocked))
        return privacy.Outcome()

    monkeypatch.setattr(privacy, "run", run)
    assert privacy.main(["--json"]) == 1, "no press met a picture on the line"
    assert asked == [(1000, 100)]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["presses"] == 0


def test_percentiles_are_of_the_presses_themselves():
    assert privacy.percentile([], 99) is None
    times = [float(number) for number in range(1, 201)]
    assert privacy.percentile(times, 50) == 100.0
    assert privacy.percentile(times, 99) == 198.0
    assert privacy.percentile([5.0], 99) == 5.0


@pytest.mark.broker
@pytest.mark.enable_socket
@needs_mosquitto
def test_presses_in_the_short_form_find_pictures_before_and_none_after(tmp_path, monkeypatch):
    """The mechanics: gates open, pictures reach the broker and the journal, and go; how fast is the bench's own affair."""
    monkeypatch.setattr(privacy, "SEE_TO_S", patient(privacy.SEE_TO_S))
    with privacy.Rig(tmp_path, seed=1) as rig:
        rig.flow()
        wait_for(lambda: rig.subscriber.pictures, "a whole picture at the broker")
        since = rig.clock.now() - privacy.PURGE_S
        wait_for(lambda: rig.pictures(since), "pictures that are seen while they are there")
        presses = [rig.one(blocked=False), rig.one(blocked=True)]
        assert presses[0].kept > 0
        assert [press.left for press in presses] == [0, 0]
        rig.flow()
        rig.outcome.arrivals = list(rig.subscriber.pictures)
        assert rig.outcome.leaked() == []
        assert rig.line.picture_bytes > 0


# ---- the doctor ----


def test_the_doctors_catalogue_has_forty_faults_of_all_groups():
    assert len(doctor.CATALOGUE) == 40
    assert len({fault.what for fault in doctor.CATALOGUE}) == 40
    groups = {fault.key.split(".")[0] for fault in doctor.CATALOGUE}
    assert {
        "spi",
        "gpio",
        "switch",
        "board",
        "files",
        "camera",
        "journal",
        "clock",
        "hub",
    } <= groups


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands at a box waits 4.5 s; a machine that does much beside may need longer, and what is cut off then is an alarm."""

    def unhurried(asked: Patient) -> Report:
        return examine(replace(asked, within_s=patient(asked.within_s)))

    monkeypatch.setattr(doctor, "examine", unhurried)


@pytest.mark.broker
@pytest.mark.cameras
@pytest.mark.enable_socket
@pytest.mark.usefixtures("unhurried")
@needs_mosquitto
def test_the_doctor_in_the_short_form_finds_what_is_wrong_and_nothing_else():
    said: list[str] = []
    assert doctor.main(["--only", "hub", "--json"], said.append) == 0
    found = json.loads(said[-1])
    assert set(found) == {"found", "seconds", "false_alarms"}
    assert found["found"][0] == found["found"][1] >= 5
    assert found["false_alarms"] == 0


@pytest.mark.broker
@pytest.mark.enable_socket
@pytest.mark.usefixtures("unhurried")
@needs_mosquitto
def test_a_doctor_that_misses_or_cries_wolf_is_caught(tmp_path):
    """Cameras that are not there: a false alarm on a box that is said to be well, and no fault of the supply."""
    with clinic(tmp_path / "ward") as made:
        well = doctor.examined(made.admit(), None)
        assert {alarm.split(":")[0] for alarm in well.alarms} == {"camera.reach"}
        quiet = doctor.Fault(what="nothing", key="board.voltage", do=lambda box, stack: None)
        missed = doctor.examined(made.admit(), quiet)
        assert not missed.found
    assert doctor.summary([missed], [well]) == {
        "found": [0, 1],
        "seconds": round(max(missed.took_s, well.took_s), 2),
        "false_alarms": 4,
    }


# ---- the uplink ----


def segment(seq: int, payload: bytes, *, port: int = 4000) -> bytes:
    """An IP packet with a TCP segment, as far as anybody looks at it."""
    ip = b"\x45\x00\x00\x00\x00\x00\x00\x00\x40\x06\x00\x00" + b"\x0a\x00\x00\x01\x0a\x00\x00\x02"
    head = struct.pack(">HHIIBBHHH", port, 8883, seq, 0, 5 << 4, 0x10, 1000, 0, 0)
    return ip + head + payload


def test_what_tcp_sends_again_is_no_use_of_a_line():
    line = far_line.FarLine(bits_per_s=1_000_000)
    packets = [
        (segment(2**32 - 100, b"x" * 200), True),  # over the end of the numbers
        (segment(100, b""), True),
        (segment(100, b"y" * 50), True),
        (segment(2**32 - 100, b"x" * 200), False),
        (segment(100, b"y" * 50, port=4001), True),
        (segment(150, b"z"), True),
        (segment(100, b"y" * 50), False),
        (b"\x60" + bytes(60), True),  # IPv6
    ]
    assert [line._is_fresh(packet) for packet, _ in packets] == [fresh for _, fresh in packets]
    for packet, _ in packets:
        line._count_in(packet, up=True)
    line._count_in(b"\x45" + bytes(39), up=False)
    carried = line.carried()
    assert carried.up == sum(len(packet) for packet, _ in packets)
    assert carried.fresh < carried.up
    assert carried.down == 40


def test_the_share_of_news_that_is_late_is_told_by_rank():
    assert uplink.percentile([], 99) is None
    assert uplink.percentile([0.3], 99) == 0.3
    assert uplink.percentile([float(n) for n in range(200)], 99) == 197.0


@pytest.mark.broker
@pytest.mark.enable_socket
@needs_mosquitto
def test_the_bridge_delivers_all_that_it_kept(tmp_path):
    assert bridge.drained_per_s(tmp_path, count=2_000, size=300) > 0


@pytest.mark.broker
@pytest.mark.enable_socket
@needs_mosquitto
def test_the_uplink_in_the_short_form_has_every_figure(tmp_path):
    """The mechanics, on a line where one can be laid; how fast and how full is the bench's own affair."""
    said: list[str] = []
    short = ["--backlog", "20000", "--seconds", "20", "--rounds", "1", "--folder", str(tmp_path)]
    assert uplink.main(short, said.append) == 0
    found = json.loads(said[-1])
    assert list(found) == [
        "catchup_per_s",
        "peer_bridge_per_s",
        "link_use",
        "class0_s_p99",
        "live_s_p99",
        "rss_growth_mb",
        "bytes_per_record",
        "bytes_idle_hour",
    ]
    assert found["catchup_per_s"] > 0
    assert found["peer_bridge_per_s"] > 0
    on_a_line = [value for key, value in found.items() if not key.endswith("per_s")]
    if far_line.why_not():
        assert set(on_a_line) == {None}
        return
    assert None not in on_a_line
    assert set(found["link_use"]) == {"1mbit", "8mbit"}
    # A queue that is full at the start may run empty; and whoever counts may be held up before he begins. Bits for bytes would be 8.
    assert 0 < found["link_use"]["1mbit"] < 4
    assert found["bytes_per_record"] > uplink.RECORD_BYTES
    assert found["class0_s_p99"] > far_line.WAY_S, "nothing is faster than the way"


def test_a_part_of_the_journals_bench_runs_alone_and_says_whether_its_aim_is_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    command = ["journal", "--short", "--part", "each", "--part", "read", "--folder", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    journal.main()
    *table, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)
    assert set(figures) == {"ingest_each_per_s", "read_per_s"}
    assert all(value > 0 for value in figures.values())
    reached = "reached" if figures["read_per_s"] >= 100_000 else "not reached"
    assert table[-1].endswith(f"  {reached}")


@pytest.mark.parametrize(
    ("value", "aims", "verdict"),
    [
        (15_000.0, {"at_least": 15_000}, "reached"),
        (14_999.0, {"at_least": 15_000}, "not reached"),
        (3.0, {"at_most": 3}, "reached"),
        (3.01, {"at_most": 3}, "not reached"),
        (3.01, {}, ""),
    ],
)
def test_what_misses_its_aim_is_told_to(value: float, aims: dict[str, float], verdict: str):
    figure = journal.Figure(("group", "one"), "one", value, "s", digits=2, **aims)
    assert figure.verdict()[1] == verdict
    assert journal.as_json([figure], ["peer"]) == {"peer": None, "group": {"one": value}}
