"""Commissioning: nothing is adopted without a person's word, and nothing that is no steady street is adopted at all."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent import commission, demo_pictures, foreign, views, vision
from edge_agent.clock import SystemClock
from edge_agent.commission import Burst, Desk, NoPictures, main
from edge_agent.core.messages import CameraLost, Cause, Died, PictureTaken, Tick
from edge_agent.core.settings import Camera, CameraKind, Privacy, SwitchKind
from edge_agent.device import Device
from edge_agent.foreign import Stranger
from edge_agent.inbox import Inbox
from edge_agent.simulate import Street
from edge_agent.status import StatusServer
from edge_agent.vision import References, Refusal
from edge_agent.vision.describe import describe
from tests.support import build, play, room
from tests.support.patience import patient

STREET = demo_pictures.STREETS[0]


def _read(*paths: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)


BURST = _read(*STREET.commission)
OTHER = _read(*demo_pictures.STREETS[1].commission)
NIGHT = _read(*STREET.night)
OTHER_NIGHT = _read(*demo_pictures.STREETS[1].night)
POLE_CAMERA = Device(codec="h264", width=1920, height=1080, mac="00:12:31:aa:bb:cc")
NOW_S = 1_800_000_000.0


def _stranger(jpeg: bytes, name: str) -> Stranger:
    grey = vision.scaled_grey_from_jpeg(jpeg)
    assert grey is not None
    return Stranger(name=name, described=describe(grey)[0])


ROOM = _stranger(_read(*STREET.room_under_text)[0], "room 1")


class Pole:
    """A technician at the pole: what the camera shows, what the person answers, what was said to them."""

    def __init__(
        self,
        tmp_path: Path,
        *,
        shows: tuple[bytes, ...] | NoPictures = BURST,
        answers: str = "gate",
    ) -> None:
        self.strangers: Iterable[Stranger] = (ROOM,)
        self.owner = "secretary of RT 05"
        self.device = POLE_CAMERA
        self.wall_s = NOW_S
        self.views = tmp_path / "views"
        self.file = tmp_path / "box.toml"
        self.file.write_text(
            f"""
[paths]
views_folder = "{self.views}"
[identity]
kelurahan = "kuningan"
rw = "03"
rt = "05"
box = "box-1"
[hub]
host = "127.0.0.1"
[[camera]]
id = "gate"
name = "Gate"
kind = "clip"
path = "{tmp_path}"
[[camera]]
id = "bridge"
kind = "clip"
path = "{tmp_path}"
[privacy]
switch = "latching"
"""
        )
        self.shows = shows
        self.answers = answers
        self.asked: list[str] = []
        self.said: list[str] = []
        self.wanted: list[int] = []
        self.is_private = False
        self.is_pressed_meanwhile = False

    def __call__(self, *argv: str) -> int:
        desk = Desk(
            say=self.said.append,
            ask=self._ask,
            source=self._source,
            strangers=lambda: self.strangers,
            wall_s=lambda: self.wall_s,
            private=lambda _: "pressed" if self.is_private else "",
        )
        return main([*argv, "--config", str(self.file)], desk=desk)

    def _ask(self, question: str) -> str:
        self.asked.append(question)
        return self.owner if question.startswith("Who approves") else self.answers

    def _source(self, camera, pictures):
        self.wanted.append(pictures)
        self.is_private = self.is_private or self.is_pressed_meanwhile
        if isinstance(self.shows, NoPictures):
            return self.shows
        return Burst(pictures=self.shows, device=self.device)

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    def loaded(self, camera: str = "gate"):
        return views.load(self.views, camera)


@pytest.fixture
def pole(tmp_path) -> Pole:
    return Pole(tmp_path)


# ---- recording ----


def test_a_street_is_saved_once_its_name_was_typed(pole):
    assert pole("gate") == 0
    assert isinstance(pole.loaded(), References)
    assert pole.wanted == [20]
    assert len(pole.asked) == 2
    assert "no home" in pole.asked[1]
    assert "of 48 parts" in pole.text
    assert "#" in pole.text
    assert pole.loaded("bridge") is None


def test_a_press_while_the_pictures_are_taken_keeps_them_off_the_disk(pole):
    pole.is_pressed_meanwhile = True
    assert pole("gate") == 1
    assert "privacy switch" in pole.text
    assert pole.loaded() is None


@pytest.mark.parametrize(
    "argv", [("gate",), ("gate", "--yes"), ("gate", "--check"), ("gate", "--light", "night")]
)
def test_no_camera_is_opened_while_the_switch_is_private(pole, argv):
    assert pole("gate") == 0
    before, pole.wanted = pole.loaded(), []
    pole.is_private = True
    assert pole(*argv) == 1
    assert "privacy switch" in pole.text
    assert pole.wanted == []
    assert pole.loaded().view == before.view
    assert pole("--list") in (0, 1)


@pytest.mark.parametrize(
    ("status", "private"),
    [
        ({"private": {"on": True}}, True),
        ({"private": {"on": False}}, False),
        ({"private": {}}, True),
        ({"private": None}, True),
        ({"cameras": []}, True),
    ],
)
def test_the_running_agent_is_asked_for_the_switch(tmp_path, status, private):
    path = str(tmp_path / "s.sock")
    chosen = replace(play.settings(), status_socket=path)

    def never() -> tuple[None, str]:
        raise AssertionError("the pins are the agent's")

    with StatusServer(path, lambda: json.dumps(status).encode()):
        assert bool(commission._why_private(chosen, never)) is private


@pytest.mark.parametrize("kind", [SwitchKind.LATCHING, SwitchKind.MOMENTARY])
def test_where_no_agent_runs_the_contacts_are_asked_and_given_back(tmp_path, kind):
    privacy = Privacy(switch=kind)
    chosen = replace(play.settings(), status_socket=str(tmp_path / "s.sock"), privacy=privacy)
    street = Street(privacy)

    def why() -> str:
        return commission._why_private(chosen, lambda: (street.factory, ""))

    assert why() == ""
    street.press()
    assert "contacts say so" in why()
    street.release()
    assert why() == ""
    street.break_pin(17, RuntimeError("GPIO busy"))
    assert "GPIO17" in why()
    assert "no GPIO chip" in commission._why_private(chosen, lambda: (None, "no GPIO chip"))


def test_without_a_switch_no_pin_is_asked(tmp_path):
    chosen = replace(play.settings(switch=SwitchKind.NONE), status_socket=str(tmp_path / "s"))
    assert commission._why_private(chosen, lambda: (None, "no GPIO chip")) == ""


@pytest.mark.parametrize("answer", ["", "y", "yes", "GATE", "bridge"])
def test_any_other_answer_changes_nothing(pole, answer):
    pole.answers = answer
    assert pole("gate") == 1
    assert pole.loaded() is None
    assert "nothing was changed" in pole.text


def test_yes_on_the_command_line_is_a_persons_word_too(pole):
    pole.answers = ""
    assert pole("gate", "--yes", "--pictures", "5") == 0
    assert pole.asked == []
    assert pole.wanted == [5]
    assert isinstance(pole.loaded(), References)


def test_no_picture_is_stored_or_shown(pole, tmp_path):
    pole("gate", "--yes")
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"\xff\xd8\xff" not in path.read_bytes()
    assert sorted(p.name for p in pole.views.iterdir()) == ["gate.view"]


def test_commissioning_again_replaces_the_day_and_says_how_alike_it_is(pole):
    pole("gate", "--yes")
    pole.shows = OTHER
    assert pole("gate", "--yes") == 0
    assert "0 of 5 pictures match" in pole.text
    loaded = pole.loaded()
    assert isinstance(loaded, References)
    assert vision.Eye(loaded).read(vision.scaled_grey_from_jpeg(OTHER[0])).score >= 1.0
    assert vision.Eye(loaded).read(vision.scaled_grey_from_jpeg(BURST[0])).score < 0.45


def test_a_night_is_added_beside_the_day(pole):
    pole("gate", "--yes")
    pole.shows = NIGHT
    assert pole("gate", "--yes", "--light", "night") == 0
    loaded = pole.loaded()
    assert isinstance(loaded, References)
    assert [light.name for light in loaded.lights] == ["day", "night"]


def test_a_night_alone_is_refused(pole):
    pole.shows = NIGHT
    assert pole("gate", "--yes", "--light", "night") == 1
    assert "by day first" in pole.text
    assert pole.wanted == []


def test_damaged_references_are_named_and_replaced(pole):
    pole.views.mkdir()
    (pole.views / "gate.view").write_bytes(b"junk")
    assert pole("gate", "--yes") == 0
    assert "will be replaced" in pole.text
    assert isinstance(pole.loaded(), References)


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _colour(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def _panning() -> tuple[bytes, ...]:
    wide = room.colour(STREET.commission[0])
    return tuple(
        _jpeg(np.ascontiguousarray(cv2.resize(wide[40:300, x : x + 420], (640, 360))))
        for x in range(0, 210, 21)
    )


def _sky() -> tuple[bytes, ...]:
    random = np.random.default_rng(5)
    sky = np.tile(np.linspace(240, 150, 360)[:, None, None], (1, 640, 3))
    return tuple(
        _jpeg(np.clip(sky + random.normal(0, 2, sky.shape), 0, 255).astype(np.uint8))
        for _ in range(6)
    )


@pytest.mark.parametrize(
    ("shows", "word"),
    [
        (_panning(), "view"),
        (_sky(), "structure"),
        ((BURST[0],) * 6, "same picture"),
        ((*BURST[:3], *OTHER[:3]), "view"),
        ((b"<html>", b"", BURST[0]), "damaged"),
        ((_jpeg(np.zeros((360, 640, 3), np.uint8)),) * 5, "dark"),
    ],
    ids=["panning", "sky", "frozen", "two places", "damaged", "night without lamps"],
)
def test_what_is_no_steady_street_is_refused_and_nothing_is_saved(pole, shows, word):
    pole.shows = shows
    assert pole("gate", "--yes") == 1
    assert "refused" in pole.text
    assert word in pole.said[-1]
    assert pole.loaded() is None


def test_a_camera_without_pictures_says_why(pole):
    pole.shows = NoPictures(why="no answer from 192.168.1.64")
    assert pole("gate", "--yes") == 2
    assert "no answer from 192.168.1.64" in pole.text


def test_a_disk_that_refuses_is_told(pole):
    pole.views.write_text("a file where the folder should be")
    assert pole("gate", "--yes") == 2
    assert "not done" in pole.said[-1]


# ---- a person's word, the device, the text ----


def test_who_approved_when_and_which_device_are_kept(pole):
    pole("gate")
    loaded = pole.loaded()
    assert (loaded.owner, loaded.commissioned_wall_s) == ("secretary of RT 05", NOW_S)
    assert loaded.device == POLE_CAMERA
    pole.wall_s = 0.0
    pole("gate", "--owner", "  technician,\tcity  office ")
    assert pole.loaded().owner == "technician, city office"
    assert pole.loaded().commissioned_wall_s == 0.0
    assert len(pole.asked) == 3  # the owner was not asked for again


def test_with_yes_the_rt_stands_for_it(pole):
    pole("gate", "--yes")
    assert pole.loaded().owner == "RT 05 RW 03 kuningan"


@pytest.mark.parametrize("owner", ["", "  ", "x" * 81, "\x1b[2J"])
def test_without_a_name_nothing_is_adopted(pole, owner):
    pole.owner = owner
    assert pole("gate") == 1
    assert "nobody was named" in pole.text
    assert pole.loaded() is None


def test_text_that_a_person_names_never_counts_in_any_light(pole):
    assert pole("gate", "--yes") == 0
    before = pole.loaded()
    assert before.counts[120:144, 32:96].any()
    assert pole("gate", "--yes", "--text", "10,50,20,10", "--text", "60.1,70,0.1,5") == 0
    after = pole.loaded()
    assert not after.counts[120:144, 32:96].any()
    assert not after.counts[168:180, 192:193].any()
    assert not after.lights[0].re[120:144, 32:96].any()
    assert (after.counts[:120] == before.counts[:120]).all()
    pole.shows = NIGHT
    pole("gate", "--yes", "--light", "night", "--text", "80,80,10,10")
    night = pole.loaded()
    assert len(night.lights) == 2
    assert not night.counts[120:144, 32:96].any()
    assert not night.counts[192:216, 256:288].any()


def test_the_text_that_was_found_is_shown(pole):
    pole("gate", "--yes", "--text", "25,50,50,17")
    (line,) = [line for line in pole.said if line.startswith("left out as on-screen text")]
    assert "25,50,50,17" in line
    (tiles,) = [line for line in pole.said if set(line) <= set("#t+.\n")]
    assert tiles.splitlines()[3][2:6] == "tttt"


def test_so_much_text_that_nothing_is_left_is_refused(pole):
    assert pole("gate", "--yes", "--text", "0,0,100,70") == 1
    assert "text or glare" in pole.text
    assert pole.loaded() is None


# ---- strangers ----


def test_a_view_that_a_strange_place_would_match_is_refused(pole):
    """The bank holds a map of that very street: whoever else has such a view, it must not pass for this one."""
    pole.strangers = (ROOM, _stranger(_read(*STREET.stream)[0], "street 7"), ROOM)
    assert pole("gate", "--yes") == 1
    assert "street 7" in pole.said[-1]
    assert "--text" in pole.said[-1]
    assert pole.loaded() is None


def test_the_bank_that_is_shipped_lets_real_streets_pass_and_is_all_looked_at(pole):
    pole.strangers = tuple(foreign.maps())
    assert pole("gate", "--yes") == 0
    (line,) = [line for line in pole.said if line.startswith("nearest of strange rooms")]
    assert float(line.split(": ")[1].split()[0]) < commission.STRANGER_MAX


def test_a_bank_that_is_damaged_is_no_reason_to_adopt(pole):
    pole.strangers = foreign.maps(b"junk")
    assert pole("gate", "--yes") == 2
    assert "install the agent again" in pole.said[-1]
    assert pole.loaded() is None


def _symmetric(jpeg: bytes) -> bytes:
    """Left and right alike, as an alley seen along its middle."""
    picture = _colour(jpeg)
    half = picture[:, : picture.shape[1] // 2]
    return _jpeg(np.concatenate([half, half[:, ::-1]], axis=1))


def _repeating(jpeg: bytes) -> bytes:
    """The same quarter four times, as a row of equal houses."""
    picture = _colour(jpeg)
    quarter = picture[:, picture.shape[1] // 3 :][:, : picture.shape[1] // 4]
    return _jpeg(np.concatenate([quarter] * 4, axis=1))


@pytest.mark.parametrize(
    ("made", "word"), [(_symmetric, "its own mirror image"), (_repeating, "itself shifted by 25%")]
)
def test_a_view_that_would_match_itself_displaced_is_refused(pole, made, word):
    pole.shows = tuple(made(jpeg) for jpeg in BURST)
    assert pole("gate", "--yes") == 1
    assert f"refused: {word} reaches" in pole.said[-1]
    assert pole.loaded() is None


def test_another_camera_that_shows_the_same_is_refused_unless_it_is_meant(pole):
    assert pole("gate", "--yes") == 0
    assert pole("bridge", "--yes") == 1
    assert "camera gate of this box shows nearly the same" in pole.said[-1]
    assert pole.loaded("bridge") is None
    assert pole("bridge", "--yes", "--same-as", "gate") == 0
    assert isinstance(pole.loaded("bridge"), References)


def test_another_camera_that_shows_something_else_is_no_hindrance(pole):
    assert pole("gate", "--yes") == 0
    pole.shows = OTHER
    assert pole("bridge", "--yes") == 0
    assert any(line.startswith("nearest of camera gate") for line in pole.said)


def test_a_camera_whose_file_is_damaged_or_that_left_the_box_is_not_compared(pole):
    pole("gate", "--yes")
    views.save(pole.views, "old-one", pole.loaded())
    (pole.views / "gate.view").write_bytes(b"junk")
    assert pole("bridge", "--yes") == 0


@pytest.mark.parametrize("other", ["gate", "nowhere", "../x"])
def test_same_as_what_is_no_other_camera_is_not_done(pole, other):
    assert pole("gate", "--yes", "--same-as", other) == 2
    assert pole.wanted == []


# ---- other lights are tied to the view ----


def test_a_light_that_shows_too_little_of_the_day_wants_a_word_at_the_terminal(pole):
    pole("gate", "--yes")
    day = pole.loaded()
    pole.shows = OTHER_NIGHT
    pole.answers = ""
    assert pole("gate", "--yes", "--light", "night") == 1
    assert "answer at the terminal" in pole.said[-1]
    assert pole.loaded().view == day.view
    pole.answers = "gate"
    assert pole("gate", "--light", "night") == 0
    assert "Only you can tell" in pole.text
    assert [light.name for light in pole.loaded().lights] == ["day", "night"]


def test_a_camera_that_was_moved_since_the_day_gets_no_night(pole):
    pole("gate", "--yes")
    pole.shows = tuple(_jpeg(np.roll(_colour(jpeg), 64, axis=1)) for jpeg in BURST)
    assert pole("gate", "--light", "dusk") == 1
    assert "not where it lay by day" in pole.said[-1]
    assert [light.name for light in pole.loaded().lights] == ["day"]


def test_another_device_gets_no_night_but_may_be_commissioned_anew(pole):
    pole("gate", "--yes")
    pole.device = Device(codec="h265", width=1920, height=1080, mac="00:12:31:aa:bb:cd")
    pole.shows = NIGHT
    assert pole("gate", "--light", "night") == 1
    assert "codec h265 instead of h264" in pole.said[-1]
    pole.shows = BURST
    assert pole("gate", "--yes") == 0
    assert "another device: hardware address" in pole.text
    assert pole.loaded().device == pole.device


def test_what_was_learnt_is_void_once_a_light_is_added(pole):
    pole("gate", "--yes")
    approved = pole.loaded()
    learnt = replace(approved.lights[0], name="learnt-1", mean_grey=50.0, frames=7)
    views.save_learnt(pole.views, "gate", approved.anchor, (learnt,))
    assert pole.loaded().learnt == 1
    pole("--list")
    assert "learnt-1 (7, learnt)" in pole.text
    pole.shows = NIGHT
    assert pole("gate", "--yes", "--light", "night") == 0
    assert [light.name for light in pole.loaded().lights] == ["day", "night"]


# ---- check, list, forget ----


def test_check_tells_another_device_apart(pole):
    pole("gate", "--yes")
    assert pole("gate", "--check") == 0
    pole.device = Device(codec="h264", width=1920, height=1080)
    assert pole("gate", "--check") == 0
    pole.device = Device(codec="h264", width=1280, height=720)
    assert pole("gate", "--check") == 1
    assert "1280x720 instead of 1920x1080" in pole.text


def test_list_says_who_when_and_which_device(pole):
    pole("gate", "--owner", "secretary, RT 05")
    pole.wall_s = NOW_S + 3.5 * 86_400
    pole("--list")
    line = next(line for line in pole.said if line.startswith("gate: view"))
    assert "commissioned on 2027-01-15, 3 days ago, by secretary, RT 05" in line
    assert "h264 1920x1080, hardware address 00:12:31:aa:bb:cc" in line
    pole.wall_s = 0.0
    pole("--list")
    assert "commissioned on 2027-01-15 by secretary" in pole.said[-2]
    commission.commission_from_files(STREET.commission, pole.views, "gate")
    pole("--list")
    assert "commissioned at a time not known by nobody named; not known" in pole.said[-2]


def test_list_says_when_what_was_learnt_counts_for_nothing(pole):
    pole("gate", "--yes")
    (pole.views / "gate.learnt").write_bytes(b"junk")
    pole("--list")
    assert "counts for nothing" in pole.text


def test_a_folder_that_cannot_be_listed_is_told(pole, monkeypatch):
    def refused(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(views, "listing", refused)
    assert pole("--list") == 2
    assert "Permission denied" in pole.text


def test_a_camera_that_left_the_configuration_can_be_forgotten(pole):
    pole("gate", "--yes")
    views.save(pole.views, "old-one", pole.loaded())
    assert pole("old-one", "--forget", "--yes") == 0
    assert pole.loaded("old-one") is None
    assert pole("old-one", "--forget", "--yes") == 2
    assert pole("../gate", "--forget", "--yes") == 2


def test_check_says_match_for_the_street_and_not_for_a_room(pole):
    pole("gate", "--yes")
    pole.shows = _read(*STREET.stream, *STREET.dusk)
    assert pole("gate", "--check") == 0
    pole.shows = _read(*STREET.room_under_text)
    assert pole("gate", "--check") == 1
    assert "foreign: 3" in pole.text
    pole.shows = NoPictures(why="refused")
    assert pole("gate", "--check") == 2


def test_check_without_references_is_not_done(pole):
    assert pole("gate", "--check") == 2
    assert "never commissioned" in pole.text
    pole.views.mkdir()
    (pole.views / "gate.view").write_bytes(b"junk")
    assert pole("gate", "--check") == 2
    assert "not a reference file" in pole.text


def test_list_names_every_camera_and_is_well_only_if_all_are(pole):
    pole("gate", "--yes")
    assert pole("--list") == 1
    assert "bridge: not commissioned" in pole.text
    pole.shows = OTHER
    pole("bridge", "--yes")
    views.save(pole.views, "old-one", pole.loaded())
    pole.said.clear()
    assert pole("--list") == 0
    assert "gate: view" in pole.text
    assert "old-one: view" in pole.text
    assert "no such camera" in pole.text
    (pole.views / "gate.view").write_bytes(b"junk")
    assert pole("--list") == 1
    assert "gate: " in pole.text


def test_forget_wants_the_name_too(pole):
    pole("gate", "--yes")
    pole.answers = "no"
    assert pole("gate", "--forget") == 1
    assert isinstance(pole.loaded(), References)
    pole.answers = "gate"
    assert pole("gate", "--forget") == 0
    assert pole.loaded() is None
    assert pole("gate", "--forget", "--yes") == 1


def test_forgetting_where_the_disk_refuses_is_told(pole):
    (pole.views / "gate.view").mkdir(parents=True)
    assert pole("gate", "--forget", "--yes") == 2


# ---- the command line ----


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["gate", "--pictures", "4"],
        ["gate", "--pictures", "61"],
        ["gate", "--pictures", "x"],
        ["gate", "--light", "fog"],
        ["gate", "--list", "--forget"],
        ["gate", "--owner", " "],
        ["gate", "--owner", "x" * 81],
        ["gate", "--text", "1,2,3"],
        ["gate", "--text", "1,2,3,x"],
        ["gate", "--text", "nan,2,3,4"],
        ["gate", "--text", "1,nan,3,4"],
        ["gate", "--text", "1,2,nan,4"],
        ["gate", "--text", "1,2,3,nan"],
        ["gate", "--text", "-1,2,3,4"],
        ["gate", "--text", "1,2,0,4"],
        ["gate", "--text", "90,2,11,4"],
    ],
)
def test_wrong_usage_is_not_done(pole, argv, capsys):
    assert pole(*argv) == 2
    assert "usage" in capsys.readouterr().err


def test_help_is_done(pole, capsys):
    assert pole("--help") == 0
    assert "exit codes" in capsys.readouterr().out


def test_an_unknown_camera_and_a_faulty_file_are_not_done(pole):
    assert pole("gat") == 2
    assert "gate, bridge" in pole.text
    pole.file.write_text("nonsense = ")
    assert pole("gate") == 2


def test_with_nobody_at_the_terminal_nothing_is_approved(pole, monkeypatch, tmp_path):
    with (tmp_path / "nobody").open("w+") as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert commission._terminal(SystemClock()).ask("Type gate: ") == ""


def test_a_person_at_the_terminal_is_asked_there(monkeypatch, capsys):
    ours, theirs = pty.openpty()
    os.write(ours, b"gate\n")
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        desk = commission._terminal(SystemClock())
        assert desk.ask("Type gate: ") == "gate"
        desk.say("thank you")
    os.close(ours)
    assert capsys.readouterr().out == "Type gate: thank you\n"


# ---- taking pictures ----


def _collected(*events, until_s: float = 0.0, pictures: int = 2):
    clock = SystemClock()
    inbox = Inbox(clock)
    posted = list(events)
    said: list[str] = []

    class Fed(Inbox):
        def take(self, *, until):
            return posted.pop(0) if posted else Tick()

    del inbox
    return commission._collect(
        Fed(clock), pictures, until=clock.now() + until_s, say=said.append
    ), said


def _taken(jpeg: bytes, generation: int = 1) -> PictureTaken:
    return build.picture(jpeg=jpeg, generation=generation)


def _burst(*jpegs: bytes) -> Burst:
    return Burst(pictures=jpegs, device=Device(codec="h264", width=1920, height=1080))


def _lost(detail: str = "") -> CameraLost:
    return CameraLost(camera="gate", generation=1, cause=Cause.STALLED, detail=detail)


def test_pictures_of_one_connection_make_a_burst():
    burst, said = _collected(build.opened(), _taken(b"1"), _taken(b"2"))
    assert burst == _burst(b"1", b"2")
    assert said == ["picture 1 of 2", "picture 2 of 2"]


def test_a_connection_that_broke_starts_the_burst_anew():
    burst, _ = _collected(_taken(b"1"), _taken(b"2", generation=2), _taken(b"3", generation=2))
    assert burst == _burst(b"2", b"3")
    burst, said = _collected(_taken(b"1"), _lost("no frame for 10 s"), _taken(b"2"), _taken(b"3"))
    assert burst == _burst(b"2", b"3")
    assert "no frame for 10 s" in said[1]


def test_too_few_pictures_in_time_say_what_happened():
    burst, _ = _collected(_taken(b"1"))
    assert burst == NoPictures(why="1 of 2 pictures in time; it sent nothing")
    burst, _ = _collected(_lost())
    assert isinstance(burst, NoPictures)
    assert "stalled" in burst.why


def test_a_capture_that_died_is_told():
    burst, _ = _collected(Died(part="cameras", detail="boom"))
    assert burst == NoPictures(why="the capture stopped: boom")
    burst, _ = _collected(None)
    assert isinstance(burst, NoPictures)


def test_a_clip_is_recorded_through_the_real_capture(tmp_path, monkeypatch):
    """The worker process and all: five pictures of a folder that plays a street."""
    for n, path in enumerate(STREET.commission):
        (tmp_path / f"{n}.jpg").write_bytes(path.read_bytes())
    monkeypatch.setattr(commission, "BURST_S", 5.0)
    camera = Camera(id="gate", name="Gate", kind=CameraKind.CLIP, source=str(tmp_path))
    said: list[str] = []
    burst = commission.take_burst(camera, 5, say=said.append, clock=SystemClock())
    assert not isinstance(burst, NoPictures), said
    # Of pictures that wait the newest wins: whoever is held up here misses one, and gets the next round's.
    assert len(burst.pictures) == 5
    assert set(burst.pictures) <= set(BURST)
    assert burst.device == Device(codec="clip", width=640, height=360)
    assert isinstance(commission.references_from(burst.pictures, light="day"), References)


class UsbCamera:
    """A capture device that another program streams from, as its driver answers: whoever asks is told, and nobody else gets a stream.

    What is drawn is the kernel's part alone, in the worker process: OpenCV, the worker, the supervisor and the dialogue are the real ones.
    """

    _NODE = "/dev/video977"
    _DRIVER = """import errno, fcntl, os, sys
BUSY, real, really_open = {busy!r}, fcntl.ioctl, os.open
def opened(path, *how, **more):
    return really_open({path!r} if path == {node!r} else path, *how, **more)
def ioctl(device, request, argument=0, *rest):
    if os.readlink(f"/proc/self/fd/{{device}}") != {path!r}:
        return real(device, request, argument, *rest)
    if request in (0x80045626, 0xC050561A):  # which input, and its state: all is well
        return bytes(4)
    if request == 0xC0145608:  # buffers
        if BUSY:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return argument
    raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
if "edge_agent.capture" in sys.orig_argv:
    fcntl.ioctl, os.open = ioctl, opened
"""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, busy: bool) -> None:
        device = folder / "video0"
        device.touch()
        (folder / "sitecustomize.py").write_text(
            self._DRIVER.format(node=self._NODE, path=str(device), busy=busy)
        )
        monkeypatch.setenv("PYTHONPATH", str(folder))
        self.file = folder / "box.toml"
        self.socket = folder / "status"
        self.file.write_text(
            f"""
[paths]
views_folder = "{folder}/views"
status_socket = "{self.socket}"
[identity]
kelurahan = "kuningan"
rw = "03"
rt = "05"
box = "box-1"
[hub]
host = "127.0.0.1"
[[camera]]
id = "gate"
kind = "v4l2"
device = "{self._NODE}"
[privacy]
switch = "latching"
"""
        )

    def commission(self, *argv: str) -> int:
        return main(["gate", *argv, "--config", str(self.file)])


LIVE = json.dumps({"private": {"on": False}}).encode()


def test_a_usb_camera_that_the_agent_holds_is_told_at_once_with_the_commands_that_free_it(
    tmp_path, monkeypatch, capsys
):
    camera = UsbCamera(tmp_path, monkeypatch, busy=True)
    with StatusServer(str(camera.socket), lambda: LIVE):
        assert camera.commission() == commission.EXIT_NOT_DONE
    said = capsys.readouterr().out
    assert "/dev/video977 is in use by another program" in said
    assert "sudo systemctl stop edge-agent" in said
    assert "sudo systemctl start edge-agent" in said
    assert "waiting for it" not in said, "nobody lets go of it by waiting"
    assert "does not run" not in said


def test_a_usb_camera_that_is_broken_is_not_called_busy_and_the_stopped_agent_is_not_forgotten(
    tmp_path, monkeypatch, capsys
):
    # Within that a worker starts, and finds out.
    monkeypatch.setattr(commission, "PATIENCE_S", patient(2.0))
    monkeypatch.setattr(commission, "BURST_S", 1.0)
    camera = UsbCamera(tmp_path, monkeypatch, busy=False)
    street = Street(Privacy(switch=SwitchKind.LATCHING))
    monkeypatch.setattr("edge_agent.sensors.real_factory", lambda: (street.factory, ""))
    assert camera.commission("--pictures", "5") == commission.EXIT_NOT_DONE
    said = capsys.readouterr().out
    assert "gives no stream" in said
    assert "in use" not in said
    assert "The agent does not run. Start it again" in said
    street.press()
    assert camera.commission() == commission.EXIT_REFUSED
    said = capsys.readouterr().out
    assert "privacy switch" in said
    assert "picture" not in said
    assert "The agent does not run. Start it again" in said


# ---- from files ----


def test_recorded_pictures_are_commissioned_without_asking(tmp_path):
    found = commission.commission_from_files(STREET.commission, tmp_path, "gate")
    assert isinstance(found, References)
    loaded = views.load(tmp_path, "gate")
    assert isinstance(loaded, References)
    assert loaded.view == found.view
    both = commission.commission_from_files(STREET.night, tmp_path, "gate", light="night")
    assert isinstance(both, References)
    assert [light.name for light in both.lights] == ["day", "night"]


def test_one_recorded_picture_is_enough(tmp_path):
    assert isinstance(
        commission.commission_from_files(STREET.commission[:1], tmp_path, "gate"), References
    )


def test_recorded_pictures_that_show_no_street_are_refused(tmp_path):
    (tmp_path / "black.jpg").write_bytes(_jpeg(np.zeros((360, 640, 3), np.uint8)))
    assert isinstance(
        commission.commission_from_files([tmp_path / "black.jpg"], tmp_path, "gate"), Refusal
    )
    assert views.load(tmp_path, "gate") is None
    assert isinstance(commission.commission_from_files([], tmp_path, "gate"), Refusal)
