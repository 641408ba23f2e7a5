"""`edge-agent audit`: what was open when, on real journals, told by real agents, read as a person at the box would."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_agent.audit import main
from edge_agent.audit.notice import CAUSES, ENDS, GAPS
from edge_agent.audit.story import End, Story
from edge_agent.core import gate as gates
from edge_agent.core.gate import Cause, Gate, Released
from edge_agent.core.messages import (
    Committed,
    Event,
    Json,
    Keep,
    KeepPicture,
    Purge,
    Rank,
    Record,
)
from edge_agent.core.settings import Journal
from edge_agent.simulate import SimulatedClock
from edge_agent.spool import Spool
from edge_agent.spool.chain import Chain
from edge_agent.spool.files import FILE
from edge_agent.spool.schema import PAGE
from edge_agent.spool.values import Stamp
from tests.support import build
from tests.support.patience import patient
from tests.support.play import LIVE, PRESSED, Play
from tests.support.rig import command

NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC


def released(at: float) -> Released:
    """A picture that went through a real gate."""
    gate = Gate("gate", at=0)
    gate.move(Cause.SIGNAL_BACK, at=at)
    gate.move(Cause.PROVEN, at=at)
    gate.offer(build.picture(taken_at=at), matches=True, wanted=True, at=at)
    out = gate.offer(build.picture(taken_at=at + 1), matches=True, wanted=True, at=at + 1)
    assert out is not None
    return out


class Box:
    """A journal over several lives of an agent, on a clock that the test moves; `told` asks the command."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.clock = SimulatedClock(at=100.0, wall_s=NOON, is_trusted=True, boot="boot-1")
        self._capsys = capsys
        self._came = threading.Condition()
        self._committed = 0
        self._put = 0

    def _post(self, event: Event) -> None:
        if isinstance(event, Committed):
            with self._came:
                self._committed = event.last_seq
                self._came.notify_all()

    def run(self, *records: Record | Released, crash: bool = False) -> None:
        """One life: what it keeps, and its end, in good order unless it is to *crash*."""
        with self.life() as spool:
            self.start(spool)
            for record in records:
                self.keep(spool, record)
            if not crash:
                self.keep(spool, self.record("agent.stopped"))

    def life(self) -> Spool:
        settings = Journal(folder=str(self.folder), quota_bytes=50_000_000, disk_floor_bytes=0)
        return Spool(settings, clock=self.clock, post=self._post, presses=lambda: 0)

    def start(self, spool: Spool) -> None:
        with self._came:
            self._put = self._committed
        self.keep(spool, self.gate("closed", "private", "privacy on"))
        started = {"version": "1.0", "hub": "hub.example:8883"}
        self.keep(spool, self.record("agent.started", **started))

    def keep(self, spool: Spool, what: Record | Released) -> None:
        """Keep it and wait until it is committed, so that the clock may go on."""
        if isinstance(what, Released):
            spool.keep_picture(what)
            self.keep(spool, self.record("test.flush"))
            self._put += 1
            return
        self._put += 1
        spool.keep(what)
        with self._came:
            assert self._came.wait_for(lambda: self._committed >= self._put, patient(15.0))

    def wait(self, seconds: float) -> None:
        self.clock.at += seconds
        self.clock.wall_s += seconds

    def cut_power(self, off_s: float) -> None:
        self.clock.wall_s += off_s
        self.clock.at = 10.0
        self.clock.boot = f"{self.clock.boot}'"

    # -- records --

    def record(self, kind: str, camera: str | None = None, **data: Json) -> Record:
        return Record(kind=kind, rank=Rank.AUDIT, at=self.clock.at, camera=camera, data=data)

    def gate(self, before: str, after: str, cause: str, **data: Json) -> Record:
        told: dict[str, Json] = {"before": before, "after": after, "cause": cause, **data}
        return self.record("gate.changed", "gate", **told)

    def opened(self) -> Record:
        return self.gate("held", "open", "proven", score=2.31, matches=5, needed=5, dx=1.2, dy=0.4)

    def closed(self, pictures: int) -> Record:
        return self.gate("open", "held", "foreign view", score=0.12, released=pictures)

    # -- asking --

    def told(self, *words: str, since: str = "1d", code: int = 0) -> str:
        asked = ["--journal", str(self.folder), "--since", since, *words]
        assert main(asked, clock=self.clock) == code
        shown = self._capsys.readouterr()
        return shown.out if code < 2 else shown.err

    def json(self, *words: str, **more) -> Any:
        return json.loads(self.told("--json", *words, **more))

    def openings(self, **more) -> Any:
        cameras = {camera["id"]: camera["open"] for camera in self.json(**more)["cameras"]}
        return cameras.get("gate", [])


@pytest.fixture
def box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Box:
    return Box(tmp_path / "journal", capsys)


def utc(text: str) -> dict[str, object]:
    return {"earliest": text, "latest": text, "corrected": False}


def plain(when: dict[str, object]) -> dict[str, object]:
    return {name: when[name] for name in ("earliest", "latest", "corrected")}


# ---- what was open when ----


def test_a_gate_was_open_from_its_proof_to_what_closed_it(box: Box):
    with box.life() as spool:
        box.start(spool)
        box.wait(60)
        box.keep(spool, box.opened())
        box.wait(300)
        box.keep(spool, box.closed(pictures=30))
        box.wait(60)
        (opening,) = box.openings()
        assert plain(opening["since"]) == utc("2027-01-15T12:01:00Z")
        assert plain(opening["until"]) == utc("2027-01-15T12:06:00Z")
        assert (opening["how"], opening["pictures"]) == ("gate", 30)
        assert opening["opened_by"]["score"] == 2.31
        assert opening["closed_by"]["cause"] == "foreign view"
        text = box.told()
    assert "chain  OK, 4 entries" in text
    assert "opened by: proven; score 2.31, matches 5, needed 5, dx 1.2, dy 0.4" in text
    assert "ended: the gate closed: foreign view; score 0.12" in text
    assert "30 pictures released" in text


def test_only_what_overlaps_the_time_asked_for_is_told(box: Box):
    with box.life() as spool:
        box.start(spool)
        for pictures in (1, 2, 3):
            box.wait(3_600)
            box.keep(spool, box.opened())
            box.wait(600)
            box.keep(spool, box.closed(pictures))
        box.wait(60)

        def counts(since: str, *words: str) -> list[int]:
            cameras = box.json(*words, since=since)["cameras"]
            return [opening["pictures"] for camera in cameras for opening in camera["open"]]

        assert counts("1d") == [1, 2, 3]
        assert counts("2h") == [2, 3]
        assert counts("5min") == [3], "it was open then, if it had opened before"
        assert counts("50s") == []
        assert counts("1d", "--until", "2h") == [1]
        assert counts("2027-01-15T14:00Z", "--until", "2027-01-15T15:00Z") == [2]
        assert counts("50s", "--camera", "gate") == []


def test_a_power_cut_leaves_a_bound_and_a_count_and_never_a_closed_gate(box: Box):
    with box.life() as spool:
        box.start(spool)
        box.wait(60)
        box.keep(spool, box.opened())
        for _ in range(3):
            box.wait(10)
            box.keep(spool, released(box.clock.at))
    (still,) = box.openings()
    assert (still["how"], still["pictures"]) == ("still", 3)
    box.cut_power(7_200)
    box.run(crash=True)
    (lost,) = box.openings()
    assert (lost["how"], lost["pictures"]) == ("lost", 3)
    assert plain(lost["until"]) == utc("2027-01-15T12:01:30Z"), "the last sign of life"
    assert lost["closed_by"] is None
    gap = box.json(since="3h")["not_on_record"][-1]
    assert gap == {"since": "2027-01-15T12:01:30Z", "until": "2027-01-15T14:01:30Z", "why": "lost"}
    text = box.told()
    assert "the agent ended without a word (power cut or fault)" in text


def test_an_agent_that_was_stopped_closes_what_was_open_and_says_so(box: Box):
    box.run(box.opened(), released(box.clock.at), released(box.clock.at))
    box.wait(1_800)
    box.run()
    (opening,) = box.openings()
    assert (opening["how"], opening["pictures"]) == ("stopped", 2)
    gaps = box.json()["not_on_record"]
    assert [gap["why"] for gap in gaps] == ["before", "stopped"]
    assert "the agent was stopped" in box.told()
    assert [run["stopped"] for run in box.json()["runs"]] == [True, True]


def test_a_restart_within_one_boot_is_told_from_the_gate_that_starts_closed(box: Box):
    box.run(box.opened(), crash=True)
    box.wait(30)
    box.run(box.opened(), box.closed(5))
    assert [opening["how"] for opening in box.openings()] == ["lost", "gate"]


def test_trouble_with_the_disk_in_the_middle_of_an_opening_does_not_end_it(box: Box):
    with box.life() as spool:
        box.start(spool)
        box.keep(spool, box.opened())
    box.wait(5)
    with box.life() as spool:  # the journal is opened again, and no agent starts
        box.keep(spool, box.record("finding.opened", key="journal_broken"))
        box.wait(5)
        box.keep(spool, box.closed(7))
    (opening,) = box.openings()
    assert (opening["how"], opening["pictures"]) == ("gate", 7)


def test_time_after_the_last_sign_of_life_is_not_on_record(box: Box):
    box.run(box.opened(), crash=True)
    box.wait(300)
    assert [gap["why"] for gap in box.json(since="1min")["not_on_record"]] == []
    box.wait(3_600)
    data = box.json(since="30min")
    assert [gap["why"] for gap in data["not_on_record"]] == ["after"]
    text = box.told(since="30min")
    assert "nothing newer is on record" in text
    assert "not open at any time that is on record" in text


def test_a_clock_that_was_not_trusted_is_corrected_when_the_boot_learns_the_time(box: Box):
    true_wall_s = box.clock.wall_s
    box.clock.is_trusted, box.clock.wall_s = False, 1_700_000_000.0
    with box.life() as spool:
        box.start(spool)
        box.wait(60)
        box.keep(spool, box.opened())
        box.wait(60)
        box.keep(spool, box.closed(1))
        box.wait(60)
        here, box.clock.boot = box.clock.boot, "of whoever reads the card elsewhere"
        (opening,) = box.openings()
        assert opening["since"]["earliest"] != opening["since"]["latest"]
        box.clock.boot = here
        box.clock.is_trusted, box.clock.wall_s = True, true_wall_s + 180
        box.keep(spool, box.record("hub.resumed"))
        (opening,) = box.openings()
    assert opening["since"]["earliest"] == opening["since"]["latest"] == "2027-01-15T12:01:00Z"
    assert opening["since"]["corrected"]
    assert "(corrected)" in box.told()


def test_on_the_box_itself_its_own_seconds_since_boot_are_sure(box: Box):
    """Nobody ever vouched for its clock; what was an hour ago is an hour ago."""
    box.clock.is_trusted = False
    with box.life() as spool:
        box.start(spool)
        box.keep(spool, box.opened())
        box.clock.at += 7_200
        box.clock.wall_s = NOON + 100_000  # set by hand meanwhile
        box.keep(spool, box.closed(4))
        box.wait(1_800)
        (opening,) = box.openings(since="3h")
        assert opening["until"]["latest"] == "2027-01-16T15:46:40Z"
        assert opening["since"]["latest"] == "2027-01-16T13:46:40Z"
        assert opening["since"]["corrected"]
        assert box.openings(since="20min") == []


def test_a_clock_that_never_learns_the_time_gives_bounds(box: Box):
    box.run()
    box.cut_power(600)
    box.clock.is_trusted, wall_s = False, box.clock.wall_s
    box.clock.wall_s = 0.0
    box.run(box.opened(), box.closed(2))
    box.clock.is_trusted, box.clock.wall_s = True, wall_s + 600
    box.cut_power(600)
    box.run()
    (opening,) = box.openings()
    assert plain(opening["since"]) == {
        "earliest": "2027-01-15T12:00:00Z",
        "latest": "2027-01-15T12:30:00Z",
        "corrected": True,
    }
    assert "by a clock not trusted; surely after 2027-01-15" in box.told()
    whys = [gap["why"] for gap in box.json()["not_on_record"]]
    assert whys[-1] == "clock", "it covers nothing for certain"


def test_a_clock_that_fell_behind_the_journal_is_said_and_hides_nothing_silently(box: Box):
    """After a power cut without a clock chip or network: the command must not look as if nothing had been open."""
    box.run(box.opened(), box.closed(2))
    assert not box.json()["clock_behind"]
    box.clock.is_trusted, box.clock.wall_s = False, 300.0
    text = box.told()
    assert "the journal knows of 2027-01-15" in text
    assert "date -s" in text
    assert "the journal knows of 2027-01-15" in box.told("--notice")
    assert box.json()["clock_behind"]
    assert "this clock says 1970-01-01" in box.told(since="2027-01-15", code=2)


def test_presses_purges_and_suspensions_are_told_in_order(box: Box):
    with box.life() as spool:
        box.start(spool)
        box.keep(spool, box.record("hub.suspended", until_s=NOON + 86_400))
        box.keep(spool, box.record("privacy.on", why="pressed"))
        box.keep(spool, box.record("privacy.withdraw", boot="b", from_s=-48.0, window_s=60.0))
        box.keep(
            spool, box.record("privacy.refused", leaf="command", key="privacy.purge_s", refused=3)
        )
        box._put += 1  # the purge's own record
        spool.purge(Purge(since_at=0.0, reason="privacy"))
        box.keep(spool, box.record("finding.opened", "gate", key="view_foreign", en="Not it."))
        kinds = [happening["kind"] for happening in box.json()["happenings"]]
        assert kinds == [
            *("hub.suspended", "privacy.on", "privacy.withdraw", "privacy.refused"),
            *("privacy.purged", "finding.opened"),
        ]
        text = box.told()
    for words in (
        *("suspended by the city", "private (why pressed)", "(window_s 60.0)", "view_foreign"),
        "a request from afar to change privacy was refused (key privacy.purge_s, leaf command, refused 3)",
    ):
        assert words in text


# ---- a real agent's own records ----


def test_what_a_real_agent_did_is_told_as_it_was(box: Box, tmp_path: Path):
    """A street, a press, and the camera in a living room: the agent's own records and no others."""
    play = Play.begin()
    play.go_live()
    play.post(build.opened())

    def look(reading, seconds: int) -> None:
        for _ in range(seconds):
            play.wait(1.0, switch=LIVE)
            play.post(build.picture(taken_at=play.now, reading=reading))

    look(build.STREET, 40)
    look(build.LIVING_ROOM, 10)
    look(build.STREET, 40)
    play.post(PRESSED)
    for command_ in play.agent.stop(at=play.now):
        play.done.append((play.now, command_))
    shown = len(play.released)
    assert shown > 4
    with box.life() as spool:
        for at, done in play.done:
            box.wait(at + 100.0 - box.clock.at)
            if isinstance(done, Keep):
                spool.keep(done.record)
            elif isinstance(done, KeepPicture):
                spool.keep_picture(done.picture)
    data = box.json()
    assert data["chain"]["holds"]
    (camera,) = [camera for camera in data["cameras"] if camera["id"] == "gate"]
    first, second = camera["open"]
    assert first["pictures"] + second["pictures"] == shown
    assert first["opened_by"]["cause"] == second["opened_by"]["cause"] == "proven"
    assert first["opened_by"]["score"] >= 1
    assert first["how"] == second["how"] == "gate"
    assert second["closed_by"]["cause"] == "privacy on"
    assert "privacy.on" in [happening["kind"] for happening in data["happenings"]]
    assert data["runs"][-1]["stopped"]
    assert data["hub"] == "127.0.0.1:1883"


# ---- the chain ----


def tampered(box: Box, sql: str) -> None:
    with closing(sqlite3.connect(box.folder / FILE)) as connection:
        connection.execute(sql)
        connection.commit()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM audit WHERE place = 3", "should: missing 3"),
        ("DELETE FROM audit WHERE place = 1", "is missing: nothing was pruned"),
        ("DELETE FROM audit WHERE place = 5", "the store ends"),
        ("UPDATE audit SET hash = '00' WHERE place = 2", "entry 2 of epoch"),
        ("UPDATE audit SET entry = x'7b7d' WHERE place = 2", "cannot be read: changed"),
        (
            "UPDATE audit SET entry = CAST(replace(CAST(entry AS TEXT), '2.31', '2.41') AS BLOB)",
            "entry 3 of epoch",
        ),
        ("UPDATE store SET trail = ''", "cannot be read"),
    ],
)
def test_a_trail_that_was_touched_is_named_where_it_was(box: Box, sql: str, said: str):
    box.run(box.opened(), box.closed(3))
    tampered(box, sql)
    text = box.told(code=1)
    assert "chain  BROKEN" in text
    assert any(said in line for line in text.splitlines() if line.startswith("! ")), text
    assert not box.json(code=1)["chain"]["holds"]
    notice = box.told("--notice", code=1)
    assert "THE CHAIN DOES NOT HOLD" in notice
    assert "RANTAI CATATAN TIDAK UTUH" in notice


# ---- the notice ----


def test_the_notice_has_the_laws_facts_in_both_languages_and_asks_for_the_rest(box: Box):
    box.run(
        box.opened(),
        box.closed(30),
        box.record("privacy.on", why="pressed"),
        box.record("privacy.withdraw", boot="b", newest_s=60.0),
    )
    text = box.told("--notice", "--camera", "gate")
    indonesian, english = text.split("FACTS FOR A NOTICE")
    for words in (
        *("Pasal 46", "3 x 24 jam", "30 gambar dilepas", "hub.example:8883"),
        *(
            "bukan pandangan yang terdaftar",
            "kotak menjadi privat (why pressed)",
            "(newest_s 60.0)",
        ),
        *("Rantai catatan utuh: 7 catatan", "Siapa dan apa yang terlihat", "score 2.31"),
    ):
        assert words in indonesian, words
    for words in (
        *("article 46", "3 x 24 hours", "30 released into the journal", "hub.example:8883"),
        *("foreign view", "the box became private (why pressed)", "(newest_s 60.0)"),
        *("The chain holds: 7 entries", "Who and what can be seen", "score 2.31"),
    ):
        assert words in english, words


def test_a_notice_of_a_quiet_time_claims_nothing(box: Box):
    box.run()
    text = box.told("--notice", since="2d")
    assert "No gate was open in the time asked for, by what is on record." in text
    assert "not on record" in text
    assert "Neither private, nor destruction" in text


def test_pictures_that_nobody_counted_are_not_known_and_never_none(box: Box):
    box.run(box.opened(), box.gate("open", "held", "cannot tell"))
    assert box.openings()[0]["pictures"] is None
    assert "pictures not known" in box.told()
    assert "pictures released: not known" in box.told("--notice")


def test_everything_that_can_be_said_has_its_words():
    assert set(CAUSES) == {cause.value for cause in gates.Cause}
    assert set(ENDS) == {end.value for end in End}
    assert set(GAPS) == {"before", "stopped", "lost", "after", "clock"}


# ---- asking ----


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--since TIME is needed"),
        (("--since", "yesterday"), "--since 'yesterday': write 2026-11-20"),
        (("--since", "2027-13-01"), "--since '2027-13-01'"),
        (("--since", "2h", "--until", "3h"), "--since must be before --until"),
        (("--since", "2100-01-01"), "--since must be before"),
        (("--since", "2100-01-01", "--until", "2101-01-01"), "--since must be before"),
        (("--since", "1d", "--camera", "gat"), "known: gate"),
        (("--since", "1d", "--json", "--notice"), "not both"),
        (("--since", "1d", "--journal", "/nowhere"), "there is no journal"),
    ],
)
def test_a_slip_is_named_with_its_remedy(
    box: Box, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
):
    box.run(box.opened())
    asked = ["--journal", str(box.folder), *words]
    assert main(asked, clock=box.clock) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err


def test_what_is_no_journal_is_named(box: Box, tmp_path: Path):
    box.folder.mkdir()
    (box.folder / FILE).write_text("a shopping list\n" * 500)
    assert "not a database" in box.told(code=2)
    (box.folder / FILE).unlink()
    with closing(sqlite3.connect(box.folder / FILE)) as connection:
        connection.execute("PRAGMA application_id = 7")
        connection.execute("CREATE TABLE wedding (guest TEXT)")
    assert "another program's database" in box.told(code=2)
    (box.folder / FILE).unlink()
    (box.folder / FILE).mkdir()
    assert "not a file" in box.told(code=2)
    (box.folder / FILE).rmdir()
    (box.folder / FILE).symlink_to("/etc/passwd")
    assert box.told(code=2)


def test_names_places_and_the_hub_come_from_the_configuration(
    box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    box.run(box.opened(), box.closed(1))
    file = tmp_path / "box.toml"
    file.write_text(
        f"""
[identity]
kelurahan = "kuningan"
rw = "03"
rt = "05"
box = "box-1"
[hub]
host = "127.0.0.1"
[privacy]
switch = "none"
[journal]
folder = "{box.folder}"
[[camera]]
id = "gate"
name = "Gapura"
kind = "rtsp"
url = "rtsp://10.0.0.9/1"
[[camera]]
id = "river"
name = "Sungai"
kind = "rtsp"
url = "rtsp://10.0.0.8/1"
[[run]]
camera = "gate"
cable = "rg59"
length_m = 50
place = "pole 3"
"""
    )
    assert main(["--since", "1d", "--config", str(file)], clock=box.clock) == 0
    text = capsys.readouterr().out
    assert "camera gate (Gapura, pole 3)" in text
    assert "camera river (Sungai)\n  not open at any time that is on record" in text
    assert main(["--since", "1d", "--config", "/nowhere.toml"], clock=box.clock) == 2
    assert "/nowhere.toml" in capsys.readouterr().err


def test_nothing_in_the_journal_can_speak_to_the_terminal(box: Box):
    box.run(box.record("finding.opened", "gate", key="\x1b[2Jgone\nchain  OK"))
    text = box.told()
    assert "\x1b" not in text
    assert sum(line.startswith("chain") for line in text.splitlines()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"mono": "nan"},
        {"mono": "1e999"},
        {"mono": "nan", "trusted": False},
        {"subject": "\ud800gate"},
        {"type": "cctv.v1.\udfff"},
        {"time": "9999-12-31T23:59:59Z"},
        {"time": "0001-01-01T00:00:00+14:00"},
        {"data": {"after": ["open"], "before": 5, "cause": {}}},
        {"before": {"epoch": 1, "boot": "b", "mono": "nan", "time": "x", "trusted": False}},
    ],
    ids=str,
)
@pytest.mark.parametrize("words", [(), ("--json",), ("--notice",)], ids=" ".join)
def test_an_entry_with_senseless_values_is_told_and_never_a_traceback(
    box: Box, change: dict[str, Json], words: tuple[str, ...]
):
    """The hash fits: whoever wrote it could compute that."""
    box.run(box.opened(), box.closed(3))
    with closing(sqlite3.connect(box.folder / FILE)) as connection:
        (text,) = connection.execute("SELECT entry FROM audit WHERE place = 3").fetchone()
        entry = json.loads(text)
        for name, value in change.items():
            (entry if name in entry else entry["chain"])[name] = value
        text = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        told = hashlib.sha256(text).hexdigest()
        connection.execute("UPDATE audit SET entry = ?, hash = ? WHERE place = 3", (text, told))
        connection.commit()
    box.told(*words, code=1).encode()


def test_pages_that_name_each_other_are_damage_and_not_walked_for_ever(box: Box):
    with box.life() as spool:
        box.start(spool)
        for _ in range(100):
            box.keep(spool, box.opened())
    with closing(sqlite3.connect(box.folder / FILE)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'audit'"
        ).fetchone()
    raw = bytearray((box.folder / FILE).read_bytes())
    at = (root - 1) * PAGE
    assert raw[at] == 5, "an interior page"
    cells = 100  # all name the page itself: twelve levels deep, that is 10^24 pages
    raw[at + 3 : at + 5] = cells.to_bytes(2, "big")
    raw[at + 8 : at + 12] = root.to_bytes(4, "big")
    raw[at + 12 : at + 12 + 2 * cells] = (900).to_bytes(2, "big") * cells
    raw[at + 900 : at + 905] = root.to_bytes(4, "big") + b"\1"
    (box.folder / FILE).write_bytes(raw)
    assert f"page {root} of the audit table is damaged" in box.told(code=1)


def test_it_runs_as_a_command_while_an_agent_holds_the_journal(box: Box):
    box.clock.wall_s = 1_700_000_000.0
    with box.life() as spool:
        box.start(spool)
        box.keep(spool, box.opened())
        done = subprocess.run(
            command("audit", "--journal", str(box.folder), "--since", "2023-11-14T00:00Z"),
            capture_output=True,
            text=True,
            timeout=patient(60.0),
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "still open at the last sign of life" in done.stdout


def test_a_reader_that_has_enough_ends_it_without_a_traceback(box: Box):
    box.clock.wall_s = 1_700_000_000.0
    box.run(box.opened(), box.closed(1))
    asked = command("audit", "--journal", str(box.folder), "--since", "2023-11-14T00:00Z")
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert (process.wait(timeout=patient(60.0)), said) == (2, b"")


def test_a_long_trail_is_not_kept_in_memory(box: Box):
    """What is over before the time asked for is let go of as it is read."""
    story = Story(since=NOON)
    chain = Chain("e")
    spans: list[Callable[[], Record]] = [box.opened, lambda: box.closed(1)]
    from edge_agent.spool.chain import read_entry
    from edge_agent.spool.values import Row, dump

    for n in range(2_000):
        record = spans[n % 2]()
        stamp = Stamp(boot="b", at=float(n), wall_s=NOON - 10_000 + n, trusted=True)
        row = Row(
            kind=record.kind, rank=Rank.AUDIT, stamp=stamp, data=dump(record.data), camera="gate"
        )
        entry = read_entry(chain.link(row, n, pruned=None).entry)
        assert entry is not None
        story.take(entry)
        assert len(story.openings) <= 2
