"""The demo comes out right as a process of its own; and each of its checks fails on planted evidence."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from edge_agent.clock import SystemClock
from edge_agent.core.messages import Json
from edge_agent.demo import acts
from edge_agent.demo.acts import Act, Outcome, perform
from edge_agent.demo.command import EXIT_NOT_PLAYED, Tally, main, to_json
from edge_agent.demo.evidence import (
    Check,
    Gallery,
    Label,
    Received,
    What,
    backlog_arrived,
    gone_from_disk,
    labelled,
    labels_in,
    labels_under,
    no_home_on_disk,
    no_leak,
    nothing_taken_between,
    others_went_on,
)
from edge_agent.demo.facts import Facts
from edge_agent.demo.lens import Lens
from edge_agent.demo.pictures import shipped
from edge_agent.demo.stage import ActFailed, Stage
from edge_agent.demo.street import Films
from edge_agent.demo.view import half_blocks
from tests.support.patience import patient

HERO = "gang-mawar"
OTHER = "jalan-melati"
PICTURES = shipped()
STREET = PICTURES.streets[HERO][0]
ROOM = PICTURES.rooms[0]


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    hung = Gallery()
    for camera, film in PICTURES.streets.items():
        hung.add(camera, What.STREET, film)
    hung.add(HERO, What.HOME, (*PICTURES.rooms, *PICTURES.rooms_with_text))
    return hung


def label(camera: str = HERO, what: What = What.STREET, reel: int = 1) -> Label:
    return Label(camera=camera, what=what.value, reel=reel, picture=1)


def received(
    jpeg: bytes, *, camera: str = HERO, seq: int = 1, at: float = 10.0, lane: str = "live"
) -> Received:
    return Received(camera=camera, seq=seq, lane=lane, at=at, jpeg=jpeg)


# ---- the whole of it, as a person starts it ----


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "edge_agent", "demo", *options]


# The acts wait, and judge, by what a person is to see on a machine of his own. How fast that is is no affair of a test.
UNHURRIED = """
import sys
from edge_agent.cli import main
from edge_agent.demo import acts
from tests.support.patience import patient
for name in ("START", "PROVE", "BACK", "SOON", "ARRIVE", "AT_ONCE", "DARK", "NEWS", "SUSPENDED"):
    setattr(acts, f"_{name}_S", patient(getattr(acts, f"_{name}_S")))
sys.exit(main(sys.argv[1:]))
"""


def unhurried(*options: str) -> list[str]:
    return [sys.executable, "-c", UNHURRIED, "demo", *options]


def eventually(condition: Callable[[], bool], *, within_s: float = 15.0) -> bool:
    clock, pause = SystemClock(), threading.Event()
    until = clock.now() + patient(within_s)
    while not condition():
        if clock.now() > until:
            return False
        pause.wait(0.05)
    return True


@pytest.mark.broker
@pytest.mark.enable_socket
@pytest.mark.timeout(600)
def test_every_act_comes_out_right_and_no_living_room_leaves_the_box(tmp_path: Path):
    kept = tmp_path / "kept"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        unhurried("--fast", "--json", "--keep", str(kept)),
        capture_output=True,
        text=True,
        timeout=patient(110.0),
        check=False,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    summary = json.loads(done.stdout.splitlines()[-1])
    failed = json.dumps([act for act in summary["acts"] if not act["ok"]])
    assert done.returncode == 0, f"{failed}\n{done.stderr}"
    assert summary["ok"] is True
    assert [act["number"] for act in summary["acts"]] == [1, 2, 3, 4, 5, 6]
    assert all(act["checks"] for act in summary["acts"])
    assert summary["hub"]["pictures_of_a_home"] == 0
    assert summary["hub"]["pictures"] > 10
    if summary["pictures_taken"] is not None:
        assert summary["never_left"]["of_a_home"] >= 6
        assert summary["never_left"]["pictures"] > summary["never_left"]["of_a_home"]
    # Looked at once more from outside: what is kept holds street pictures, and nothing else.
    labels = labels_under(kept)
    assert labels
    assert {name.what for name in labels} == {What.STREET.value}
    assert not list(temporary.iterdir()), "the temporary folder is still there"
    assert done.stderr == ""


@pytest.mark.broker
@pytest.mark.enable_socket
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_broken_off_leaves_nothing_behind(tmp_path: Path, number: signal.Signals):
    process = subprocess.Popen(
        command("--fast"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    try:
        # The broker and the capture worker are children of its own.
        parent = psutil.Process(process.pid)
        assert eventually(lambda: len(parent.children(recursive=True)) >= 2, within_s=60.0)
        children = parent.children(recursive=True)
        process.send_signal(number)
        _, errors = process.communicate(timeout=patient(60.0))
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert eventually(lambda: not any(child.is_running() for child in children))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_not_written_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mine").write_text("mine")
    assert main(["--keep", str(tmp_path)]) == EXIT_NOT_PLAYED
    assert "is not empty" in capsys.readouterr().err
    assert main(["--keep", str(tmp_path / "mine")]) == EXIT_NOT_PLAYED
    assert "is no folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# ---- a check that cannot fail proves nothing ----


def test_street_pictures_of_their_own_camera_are_no_leak(gallery: Gallery):
    good = [received(labelled(STREET, label()))]
    assert no_leak(good, gallery).ok


@pytest.mark.parametrize(
    "planted",
    [
        received(labelled(ROOM, label(what=What.HOME))),
        received(labelled(ROOM, label())),  # a room under the label of a street
        received(ROOM),  # its label was lost
        received(STREET),
        received(labelled(STREET, label(what=What.HOME))),
        received(labelled(PICTURES.rooms_with_text[0], label())),
        received(labelled(PICTURES.streets[OTHER][0], label())),  # another camera's street
        received(labelled(STREET, label()), camera=OTHER),
        received(b"\xff\xd8 no picture"),
    ],
)
def test_a_picture_that_should_not_be_there_is_a_leak(planted: Received, gallery: Gallery):
    good = received(labelled(STREET, label()), seq=2)
    assert not no_leak([good, planted], gallery).ok


def test_no_pictures_at_all_prove_nothing(gallery: Gallery):
    assert not no_leak([], gallery).ok


def test_a_room_in_any_file_is_found(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    page = tmp_path / "deep" / "journal.db"
    page.write_bytes(b"x" * 5000 + labelled(STREET, label()) + b"y" * 5000)
    assert no_home_on_disk(tmp_path, "the journal").ok
    page.write_bytes(page.read_bytes() + labelled(ROOM, label(what=What.HOME)))
    assert not no_home_on_disk(tmp_path, "the journal").ok


def test_pictures_that_survive_a_purge_are_found(tmp_path: Path):
    (tmp_path / "journal.db-wal").write_bytes(labelled(STREET, label(reel=7)))
    assert not gone_from_disk(tmp_path, frozenset({7}), before=3).ok
    assert gone_from_disk(tmp_path, frozenset({8}), before=3).ok
    assert not gone_from_disk(tmp_path, frozenset({8}), before=0).ok, "nothing was there to purge"


def test_a_picture_taken_while_held_is_found():
    pictures = [received(STREET, at=10.0), received(STREET, at=20.0, seq=2)]
    assert nothing_taken_between(pictures, HERO, 11.0, 19.0).ok
    assert nothing_taken_between(pictures, OTHER, 0.0, 99.0).ok
    assert not nothing_taken_between(pictures, HERO, 15.0, 25.0).ok


def test_a_backlog_with_a_hole_or_a_double_is_not_whole():
    waited = [(HERO, 1.00496), (HERO, 2.0)]  # as the clock says; the contract carries milliseconds
    first, second = (
        received(STREET, at=at, seq=n, lane="history") for n, at in enumerate((1.005, 2.0))
    )
    assert backlog_arrived([first, second], waited).ok
    assert not backlog_arrived([first], waited).ok
    assert not backlog_arrived([first, second, second], waited).ok
    news = [received(STREET, at=at, seq=n) for n, at in enumerate((1.005, 2.0))]
    assert not backlog_arrived(news, waited).ok, "none of it was held back"
    assert not backlog_arrived([first], []).ok, "nothing waited"


def test_a_camera_that_suffered_with_its_neighbour_is_found():
    before = {HERO: 3, OTHER: 3, "balai-rt": 3}
    assert others_went_on(before, before | {OTHER: 4, "balai-rt": 4}, HERO).ok
    stuck = others_went_on(before, before | {OTHER: 4}, HERO)
    assert not stuck.ok
    assert "balai-rt" in stuck.seen


# ---- labels, films, the lens ----


def test_a_label_leaves_the_picture_as_it_is_and_is_found_again():
    name = Label(camera=HERO, what="street", reel=12, picture=3)
    marked = labelled(STREET, name)
    assert labels_in(marked) == [name]
    seen = Gallery()
    seen.add(HERO, What.STREET, [STREET])
    assert seen.recognise(marked) == {(HERO, What.STREET)}
    with pytest.raises(ValueError, match="JPEG"):
        labelled(b"\x89PNG", name)


def test_half_a_label_is_none():
    marked = labelled(STREET, label())
    for end in range(20, 60):
        assert labels_in(marked[:end]) in ([], [label()])
    assert labels_in(marked[:40]) == []


@pytest.fixture
def lens() -> Iterator[Lens]:
    with Lens() as counting:
        yield counting


def test_every_reading_is_counted_and_the_folder_changes_in_one_step(tmp_path: Path, lens: Lens):
    films = Films(tmp_path / "cameras", [HERO], lens)
    assert films.is_dark(HERO)
    assert list(films.path_of(HERO).iterdir()) == []
    films.show(HERO, What.STREET, PICTURES.streets[HERO], "its street")
    films.show(HERO, What.HOME, PICTURES.rooms, "a room")
    names = sorted(films.path_of(HERO).iterdir())
    assert len(names) == len(PICTURES.rooms)
    if films.taken() is None:
        pytest.skip("this kernel does not count readings")
    names[0].read_bytes()
    # inotify merges an event with an equal one that nobody has fetched yet: the first is waited for.
    assert eventually(lambda: len(films.taken() or ()) == 1)
    names[0].read_bytes()
    assert eventually(lambda: len(films.taken() or ()) == 2)
    assert {shown.label.what for shown in films.taken() or ()} == {"home"}
    films.darken(HERO, "nothing")
    assert films.is_dark(HERO)


def test_a_reading_is_counted_although_the_lens_itself_is_held_up(tmp_path: Path):
    (tmp_path / "1.jpg").write_bytes(STREET)
    held_up = Lens()  # its thread does not run yet
    held_up.watch(tmp_path)
    (tmp_path / "1.jpg").read_bytes()
    taken = held_up.taken()
    with held_up:
        pass
    assert held_up.taken() == taken
    if taken is None:
        pytest.skip("this kernel does not count readings")
    assert taken == (tmp_path / "1.jpg",)


def test_facts_that_are_not_there_are_empty():
    facts = Facts.parse(b'{"a": {"b": [1, "x", true]}, "n": null}')
    assert [item.number() for item in facts["a"]["b"].items()] == [1.0, 0.0, 0.0]
    assert facts["a"]["b"]["c"].text() == ""
    assert facts["n"].maybe_number() is None
    assert list(Facts.parse(b"no json")["x"].items()) == []


def test_a_small_picture_has_two_points_a_character():
    grey = np.zeros((240, 320), np.uint8)
    grey[:120] = 255
    drawn = half_blocks(grey).plain.splitlines()
    assert [len(line) for line in drawn] == [32] * 12


# ---- the summary ----


TALLY = Tally(
    taken=90,
    taken_at_home=12,
    released=50,
    arrived=40,
    home_at_hub=0,
    records=100,
    duplicates=1,
    seconds=99.0,
)


def outcome(*, ok: bool) -> Outcome:
    check = Check("a claim", ok, "what was seen")
    return Outcome(
        number=1, name="An act", ok=ok, why="" if ok else "why", took_s=1.0, checks=(check,)
    )


@pytest.mark.parametrize("ok", [True, False])
def test_one_act_that_failed_makes_the_whole_fail(ok: bool):
    told: dict[str, Json] = to_json([outcome(ok=True), outcome(ok=ok)], TALLY)
    assert told["ok"] is ok
    assert told["never_left"] == {"pictures": 50, "of_a_home": 12}


class _Theatre(Stage):
    """A stage on which nothing is set up: acts alone."""

    def __init__(self) -> None:
        super().__init__(PICTURES, keep=None)


def test_a_failed_act_says_what_was_awaited_and_the_next_is_played_all_the_same():
    def waits_in_vain(stage: Stage) -> list[Check]:
        stage.until("the moon rises", lambda: (False, "clouds"), within_s=0.0)
        return []

    acts = (
        Act(name="one", caption="", play=waits_in_vain),
        Act(name="two", caption="", play=lambda _: [Check("a leak", ok=False, seen="1 picture")]),
        Act(name="three", caption="", play=lambda _: [Check("fine", ok=True, seen="0")]),
    )
    one, two, three = perform(acts, _Theatre(), pause_s=0.0)
    assert not one.ok
    assert "until the moon rises; seen: clouds" in one.why
    assert not two.ok
    assert two.why == "a leak: 1 picture"
    assert three.ok


def test_a_picture_that_still_got_out_while_the_line_was_cut_is_none_that_waited():
    """It goes to the hub as news, and is not missed among those that come as history."""

    class Breaking(_Theatre):
        seen = ""

        def cut(self) -> None:
            self.log.kept.append((HERO, 1.0))

        def waiting(self) -> int:
            return 0

        def until(
            self, awaited: str, seen: Callable[[], tuple[bool, str]], *, within_s: float
        ) -> None:
            if awaited == "pictures wait in the journal":
                _, self.seen = seen()
                raise ActFailed(awaited, self.seen, within_s)

    stage = Breaking()
    vars(stage).update(line=stage, city=SimpleNamespace(is_offline=None))
    with pytest.raises(ActFailed):
        acts._outage(stage)
    assert stage.seen.startswith("0 pictures were released")


def test_a_wait_ends_as_soon_as_it_is_so():
    stage = _Theatre()
    seen = iter([(False, "not yet"), (True, "now")])
    stage.until("it is so", lambda: next(seen), within_s=10.0)
    with pytest.raises(ActFailed, match="not at all"):
        stage.until("it is so", lambda: (False, "not at all"), within_s=0.0)
