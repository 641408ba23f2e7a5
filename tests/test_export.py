"""`edge-agent journal`, as a technician uses it, on real journals beside a real writer, and what a hub makes of the stick."""

from __future__ import annotations

import hashlib
import json
import os
import random  # noqa: TID251 - seeded: the same each time
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyrage
import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.clock import SystemClock
from edge_agent.core import wire
from edge_agent.core.messages import CorrectTimes, Purge, Purged, Rank, Stored
from edge_agent.core.settings import Identity
from edge_agent.export import main
from edge_agent.export.checking import Fault, faults
from edge_agent.export.leave import Leave, Pictures
from edge_agent.export.run import LOT_PICTURES, Asked, Export, Outcome
from edge_agent.receiver import Receiver
from edge_agent.receiver import main as hub_main
from edge_agent.seal import Sealer
from edge_agent.spool import Holdings
from edge_agent.spool.files import FILE
from edge_agent.spool.schema import PAGE
from edge_agent.status import NoAnswer, StatusServer
from edge_agent.stick import MANIFEST, SUMS, Import, Stick
from tests.support import powercut
from tests.support.broker import iotcore, wait_for
from tests.support.desk import Desk, HandClock, jpeg, released
from tests.support.patience import patient

IDENTITY = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")
NAME = wire.prefix(IDENTITY)
HOME = pyrage.x25519.Identity.generate()
SEALER = Sealer(str(HOME.to_public()))
PURGE_S = 60


class Street:
    """A box whose journal fills up, an agent that answers as it is told to, and a technician with a stick."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.place = place
        self.folder = place / "journal"
        self.stick = place / "stick"
        self.stick.mkdir()
        self.clock = HandClock()
        self.gates = {"gate": "open", "alley": "open"}
        self.private = False
        self._capsys = capsys
        self.config = place / "box.toml"
        self.config.write_text(
            f"""
            identity = {{ kelurahan = "kuningan", rw = "rw-03", rt = "rt-02", box = "box-1" }}
            hub = {{ host = "127.0.0.1" }}
            privacy = {{ switch = "none", purge_s = {PURGE_S} }}
            journal = {{ folder = "{self.folder}", quota_mb = 50, disk_floor_mb = 50 }}
            paths = {{ status_socket = "{place / "s"}" }}
            """
        )
        (place / "identity").write_text(f"{HOME}\n")

    def status(self) -> bytes:
        cameras = [{"id": camera, "gate": gate} for camera, gate in self.gates.items()]
        word = {"private": {"on": self.private}, "cameras": cameras, "simulated": False}
        return json.dumps(word).encode()

    @contextmanager
    def agent(self, **settings) -> Iterator[Desk]:
        with (
            Desk(self.folder, clock=self.clock, **{"seal": SEALER.seal, **settings}) as desk,
            StatusServer(str(self.place / "s"), self.status),
        ):
            yield desk

    def fill(self, desk: Desk, count: int = 300, size: int = 3_000) -> list[Stored]:
        """Records of each class, and pictures of two cameras that no press can reach any more; all that there is now."""
        for n in range(count):
            camera = "gate" if n % 2 else None
            desk.keep(desk.note(n, rank=Rank.STATE if n % 3 else Rank.METRIC, camera=camera))
            if n % 4 == 0:
                name = "alley" if n % 8 else "gate"
                desk.spool.keep_picture(released(name, self.clock.now(), jpeg(n, size)))
        desk.alarm()
        self.clock.skip(PURGE_S + 5)
        return desk.everything()

    # -- asking --

    def journal(self, *words: str, code: int = 0) -> str:
        try:
            got = main([*words, "--config", str(self.config)], clock=self.clock)
        except SystemExit as left:
            got = int(str(left.code))
        shown = self._capsys.readouterr()
        assert got == code, shown
        return shown.out if code < 2 else shown.err

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.journal(*words, "--json", code=code))

    def export(self, *words: str, code: int = 0) -> Any:
        return self.json("export", str(self.stick), "--same-disk", *words, code=code)

    def imported(self, *, code: int = 0, stick: Path | None = None) -> Any:
        words = [
            "--import",
            str(stick or self.stick),
            "--folder",
            str(self.place / "hub"),
            "--json",
        ]
        assert hub_main([*words, "--identity", str(self.place / "identity")]) == code
        return json.loads(self._capsys.readouterr().out)

    # -- looking --

    @property
    def written(self) -> Path:
        """The one export on the stick."""
        (folder,) = self.stick.iterdir()
        return folder

    def files(self, ending: str) -> list[str]:
        return sorted(path.name for path in self.stick.rglob(f"*{ending}"))

    def at_hub(self) -> dict[int, tuple[object, ...]]:
        """Every record that the hub has, with its picture's bytes."""
        with closing(sqlite3.connect(self.place / "hub" / "hub.sqlite")) as sql:
            sql_text = (
                "SELECT seq, kind, rank, camera, boot, at, time, trusted, data, picture FROM record"
            )
            rows = sql.execute(sql_text).fetchall()
        hub = self.place / "hub"
        return {
            seq: (*rest, json.loads(data), None if path is None else (hub / path).read_bytes())
            for seq, *rest, data, path in rows
        }


def as_at_hub(stored: Stored) -> tuple[object, ...]:
    picture = None if stored.jpeg is None else pyrage.decrypt(stored.jpeg, [HOME])
    at = float(wire.mono(stored.at))
    place = (stored.kind, int(stored.rank), stored.camera, stored.boot, at)
    return (*place, wire.rfc3339(stored.wall_s), stored.trusted, json.loads(stored.data), picture)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def street(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Street:
    return Street(tmp_path, capsys)


# ---- stats ----


def test_beside_the_agent_a_technician_sees_what_waits(street: Street):
    with street.agent() as desk:
        all_of_it = street.fill(desk)
        told = street.json("stats")
        text = street.journal("stats")
    counts = {one["what"]: one["records"] for one in told["waiting"]}
    wanted: dict[str, int] = {}
    for stored in all_of_it:
        name = f"pictures-{stored.camera}" if stored.jpeg else stored.rank.name.lower()
        wanted[name] = wanted.get(name, 0) + 1
    assert counts == wanted
    assert told["records"] == len(all_of_it) == told["last_seq"]
    assert (told["oldest_seq"], told["settled_upto"]) == (1, 0)
    assert (told["quota_bytes"], told["reserve_bytes"]) == (50_000_000, 6_250_000)
    assert told["floor_bytes"] == 50_000_000
    audit = next(one for one in told["waiting"] if one["what"] == "audit")
    last = all_of_it[-1]
    assert audit["newest"] == {
        "seq": last.seq,
        "boot": last.boot,
        "mono": last.at,
        "time": wire.rfc3339(last.wall_s),
        "trusted": True,
    }
    assert f"epoch   {all_of_it[0].epoch}" in text
    assert "6.2 MB of it are kept for audit and state" in text
    assert "pictures-gate" in text


def test_what_is_settled_and_what_had_to_go_is_told(street: Street):
    with street.agent() as desk:
        street.fill(desk)
        desk.spool.purge(Purge(since_at=street.clock.now() - 1_000, reason="privacy"))
        purged = desk.wait(Purged)
        desk.settle((1, 50))
        depth = len([s for s in desk.everything() if s.seq > 50])
        desk.deleted(depth)
        told = street.json("stats")
    assert told["settled_upto"] >= 50
    assert told["gone"] == [
        {"why": "privacy.purged privacy", "tombstones": 1, "records": len(purged.seqs)}
    ]
    assert "told by 1 tombstones" in street.journal("stats"), "without the agent too"


def test_a_time_that_nobody_vouches_for_is_said_to_be_that_until_it_is_corrected(street: Street):
    street.clock.is_trusted = False
    with street.agent() as desk:
        street.fill(desk)
        assert "not trusted" in street.journal("stats")
        desk.spool.correct(CorrectTimes(boot_wall_s=1_700_000_000.0))
        desk.alarm()
        assert "not trusted" not in street.journal("stats")
        (metric,) = (one for one in street.json("stats")["waiting"] if one["what"] == "metric")
    assert metric["oldest"]["time"].startswith("2023-11-14T22:")


def test_a_damaged_store_that_lies_aside_is_told(street: Street):
    with street.agent() as desk:
        street.fill(desk, 20)
    (street.folder / FILE).write_bytes(b"no database" * 1_000)
    (street.folder / f"{FILE}-wal").unlink(missing_ok=True)
    with street.agent():
        assert f"{FILE}.damaged-1" in [one["name"] for one in street.json("stats")["aside"]]
        assert "of a damaged store" in street.journal("stats")


def test_stats_without_a_journal_say_so(street: Street):
    assert "there is no journal" in street.journal("stats", code=2)
    assert "there is no journal" in street.journal("check", code=2)
    assert "there is no journal" in street.journal("export", str(street.stick), code=2)
    street.folder.mkdir()
    (street.folder / FILE).write_bytes(b"no database" * 1_000)
    assert "not a database" in street.journal("stats", code=2)


def test_a_page_that_cannot_be_read_is_told_and_the_rest_is_shown(street: Street):
    with street.agent() as desk:
        street.fill(desk)
    _ruin_a_record_page(street.folder)
    told = street.json("stats", code=1)
    assert any("of the record table is damaged" in fault for fault in told["faults"])
    assert "edge-agent journal check says more" in street.journal("stats", code=1)


def test_a_journal_in_a_card_reader_needs_no_configuration(street: Street):
    with street.agent() as desk:
        street.fill(desk, 20)
    main(["stats", "--folder", str(street.folder), "--json"], clock=street.clock)
    told = json.loads(street._capsys.readouterr().out)
    assert told["quota_bytes"] is None
    assert told["records"] > 20


def _ruin_a_record_page(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE)) as sql:  # also brings the log into the file
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        found = (
            sql.execute("SELECT pageno FROM dbstat WHERE name = 'record' AND pagetype = 'leaf'")
            if _has_dbstat(sql)
            else [(_leaf_by_hand(folder),)]
        )
        (page,) = next(iter(found))
    with (folder / FILE).open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(bytes(PAGE))


def _has_dbstat(sql: sqlite3.Connection) -> bool:
    with suppress(sqlite3.Error):
        sql.execute("SELECT 1 FROM dbstat LIMIT 1").fetchall()
        return True
    return False


def _leaf_by_hand(folder: Path) -> int:
    """A page whose cells hold test records: where that word first stands behind the schema."""
    raw = (folder / FILE).read_bytes()
    return raw.index(b"test.note", 20 * PAGE) // PAGE + 1


# ---- check ----


def test_a_sound_journal_is_sound_beside_a_busy_agent(street: Street):
    with street.agent() as desk:
        street.fill(desk)
        over = threading.Event()

        def busy() -> None:
            n = 0
            while not over.is_set():
                n += 1
                desk.keep(desk.note(n))
                desk.spool.keep_picture(released("gate", street.clock.now(), jpeg(n, 2_000)))
                desk.settle((1, 5 * n))
                over.wait(0.003)

        writer = threading.Thread(target=busy)
        writer.start()
        try:
            for _ in range(4):
                assert "sound" in street.journal("check")
        finally:
            over.set()
            writer.join()


def test_neither_look_changes_a_byte(street: Street):
    with street.agent() as desk:
        street.fill(desk)
        before = digests(street.folder)
        street.journal("stats")
        street.journal("check")
        street.export()
        assert digests(street.folder) == before
    before = digests(street.folder)
    street.journal("check")
    assert digests(street.folder) == before


def test_each_fault_is_named_with_its_place_and_what_becomes_of_it(street: Street):
    with street.agent() as desk:
        street.fill(desk)
    pictures = sorted((street.folder / "pictures").iterdir(), key=lambda path: int(path.name))
    pictures[0].unlink()
    raw = bytearray(pictures[1].read_bytes())
    raw[100] ^= 1
    pictures[1].write_bytes(raw)
    (street.folder / "pictures" / "999999").write_bytes(b"x")
    with closing(sqlite3.connect(street.folder / FILE)) as sql:
        wanted = dict(
            sql.execute("SELECT file, key & 281474976710655 FROM record WHERE file NOT NULL")
        )
        sql.execute(
            "UPDATE record SET wall_s = wall_s, kind = 'test.forged' WHERE key = 1 << 48 | 2"
        )
        sql.execute("UPDATE audit SET entry = x'00'")
        sql.commit()
    told = street.json("check", code=1)
    assert not told["sound"]
    then = {fault["what"]: fault["then"] for fault in told["faults"]}
    for seq in (wanted[int(pictures[0].name)], wanted[int(pictures[1].name)]):
        assert (
            "declared to the hub"
            in then[f"record {seq}: not as it was put in (checksum, name or picture)"]
        )
    stray = f"{street.folder}/pictures/999999: a picture without its record"
    assert "deletes it" in then[stray]
    assert "! record " in street.journal("check", code=1)


def test_a_ruined_database_is_a_fault_that_the_agent_mends(street: Street):
    with street.agent() as desk:
        street.fill(desk)
    _ruin_a_record_page(street.folder)
    told = street.json("check", code=1)
    assert all("saves what is whole" in fault["then"] for fault in told["faults"][:1])
    with street.agent():
        pass
    assert "sound" in street.journal("check")


def test_what_changes_between_two_looks_is_no_fault(
    street: Street, monkeypatch: pytest.MonkeyPatch
):
    looks: list[str] = []
    from edge_agent.spool import reading

    def check(place: str, pictures: Path) -> tuple[str, ...]:
        looks.append(place)
        went = ("record 9: not as it was put in (checksum, name or picture)",)
        return (f"{place}/{FILE}: ruined", *(went if len(looks) == 1 else ()))

    with street.agent():
        pass
    monkeypatch.setattr(reading, "check", check)
    (fault,) = faults(str(street.folder), None)
    assert isinstance(fault, Fault)
    assert fault.what == f"{street.folder}/{FILE}: ruined"
    assert not any(Path(place).exists() for place in looks), "the copies are gone"


def test_a_picture_on_its_way_to_a_slow_card_is_no_fault(
    street: Street, monkeypatch: pytest.MonkeyPatch
):
    """Its file is there while the card still syncs it, and no row names it before that."""
    from edge_agent.spool import reading

    with street.agent() as desk:
        street.fill(desk, 20)
        known = set((street.folder / "pictures").iterdir())
        on_the_card, looker = threading.Event(), threading.current_thread()
        sync = os.fdatasync

        def slow(descriptor: int) -> None:
            assert threading.current_thread() is looker or on_the_card.wait(patient(60.0))
            sync(descriptor)

        def pause(_: float) -> None:
            on_the_card.set()
            desk.alarm()

        monkeypatch.setattr(os, "fdatasync", slow)
        monkeypatch.setattr(reading, "_pause", pause)
        try:
            desk.spool.keep_picture(released("gate", street.clock.now(), jpeg(77)))
            wait_for(lambda: set((street.folder / "pictures").iterdir()) > known, "its file")
            assert "sound" in street.journal("check")
            assert on_the_card.is_set(), "its file was not looked at while it had no row"
        finally:
            on_the_card.set()
        stray = street.folder / "pictures" / "999999"
        stray.write_bytes(b"x")
        (fault,) = faults(str(street.folder), None)
        assert fault.what == f"{stray}: a picture without its record"


def test_no_room_for_the_copy_is_said(street: Street):
    with street.agent():
        pass
    assert "not there" in street.journal("check", "--scratch", "/nowhere", code=2)


# ---- export, and what the hub makes of it ----


def test_what_waits_reaches_the_hub_on_a_stick_and_twice_counts_once(street: Street):
    with street.agent() as desk:
        all_of_it = street.fill(desk)
        told = street.export()
        assert told["whole"]
        assert told["records"] == len(all_of_it)
        assert told["pictures"] == len([s for s in all_of_it if s.jpeg])
        assert desk.everything() == all_of_it, "nothing is settled"
    (imported,) = street.imported()["imported"]
    assert imported == {
        "box": NAME,
        "epoch": all_of_it[0].epoch,
        "new": len(all_of_it),
        "duplicates": 0,
        "missing": 0,
        "simulated": False,
        "finished": True,
    }
    assert street.at_hub() == {stored.seq: as_at_hub(stored) for stored in all_of_it}
    (again,) = street.imported()["imported"]
    assert (again["new"], again["duplicates"]) == (0, len(all_of_it))


@pytest.mark.broker
@pytest.mark.enable_socket
def test_when_the_uplink_is_back_all_of_it_comes_again_and_counts_once(street: Street):
    with street.agent() as desk:
        all_of_it = street.fill(desk, 60)
        street.export()
    street.imported()
    before = street.at_hub()
    folder = street.place / "hub"
    with (
        iotcore(street.place / "broker") as port,
        Receiver(host="127.0.0.1", port=port, folder=folder, clock=SystemClock()) as hub,
    ):
        wait_for(lambda: hub.summary().connected, "connected")
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.connect("127.0.0.1", port)
        client.loop_start()
        for stored in all_of_it:
            message = wire.batch(IDENTITY, wire.HISTORY, [wire.event(IDENTITY, stored)])
            if stored.jpeg:
                message = wire.snapshot(IDENTITY, wire.HISTORY, stored)
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = list(message.properties)
            client.publish(message.topic, message.payload, qos=1, properties=properties)
        wait_for(lambda: hub.summary().duplicates == len(all_of_it), "all came again")
        client.disconnect()
        client.loop_stop()
        (box,) = hub.summary().boxes
        assert (box.records, box.missing, hub.summary().faults) == (len(all_of_it), 0, 0)
    assert street.at_hub().keys() == before.keys()


def test_on_the_stick_lies_what_goes_over_the_wire(street: Street):
    with street.agent() as desk:
        all_of_it = street.fill(desk)
        street.export()
    by_topic: dict[str, list[tuple[bytes, dict[str, str]]]] = {}
    source = Import(street.written)
    for arrival in source.messages():
        one = (arrival.payload, dict(arrival.properties))
        by_topic.setdefault(arrival.topic, []).append(one)
    source.close()
    for camera in ("gate", "alley"):
        sent = [
            wire.snapshot(IDENTITY, "history", s)
            for s in all_of_it
            if s.jpeg and s.camera == camera
        ]
        wanted = [(one.payload, dict(one.properties)) for one in sent]
        assert by_topic.pop(f"{NAME}/snapshot/history/{camera}") == wanted
    events = {wire.event(IDENTITY, stored) for stored in all_of_it if not stored.jpeg}
    (batches,) = by_topic.values()
    arrived = [
        json.dumps(event, separators=(",", ":")) for raw, _ in batches for event in json.loads(raw)
    ]
    assert sorted(arrived) == sorted(
        json.dumps(json.loads(e), separators=(",", ":")) for e in events
    )


def test_the_manifest_says_whose_and_any_computer_can_check_the_files(street: Street):
    with street.agent() as desk:
        all_of_it = street.fill(desk)
        street.export()
    manifest = json.loads((street.written / MANIFEST).read_text())
    assert (manifest["box"], manifest["epoch"]) == (NAME, all_of_it[0].epoch)
    assert manifest["finished"] is True
    (run,) = manifest["runs"]
    assert run["by"]
    assert run["at"].startswith("2027-")
    assert (
        run["records"] == len(all_of_it) == sum(lot["records"] for lot in manifest["lots"].values())
    )
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=street.written, check=False
    )
    assert done.returncode == 0
    assert (
        manifest["sums_sha256"] == hashlib.sha256((street.written / SUMS).read_bytes()).hexdigest()
    )


def test_names_are_plain_on_fat(street: Street):
    with street.agent() as desk:
        street.fill(desk)
        street.export()
    names = [path.relative_to(street.stick) for path in street.stick.rglob("*")]
    assert len({str(name).casefold() for name in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}", name.name), name
        assert not name.name.endswith(".")
    for path in street.stick.rglob("*"):
        assert not path.is_symlink()


def test_a_part_is_taken_by_camera_and_by_time(street: Street):
    with street.agent() as desk:
        street.fill(desk)
        street.clock.skip(7_200)
        since = street.clock.now()
        all_of_it = street.fill(desk)
        told = street.export("--since", "1h", "--camera", "gate")
    wanted = [s for s in all_of_it if s.at >= since - 1 and s.camera in {None, "gate"}]
    assert told["records"] == len(wanted)
    (imported,) = street.imported(code=1)["imported"]
    assert imported["new"] == len(wanted)
    assert (
        imported["missing"]
        == len([s for s in all_of_it if s.seq < max(w.seq for w in wanted)]) - len(wanted) + 1
    )
    other = street.journal("export", str(street.stick), "--same-disk", code=2)
    assert "was begun with --since 1h --camera gate" in other


def test_what_has_no_trusted_time_is_always_taken(street: Street):
    street.clock.is_trusted = False
    with street.agent() as desk:
        all_of_it = street.fill(desk, 40)
        assert street.export("--since", "2200-01-01")["records"] == len(all_of_it)


# ---- which pictures leave ----


def test_none_leaves_while_the_box_is_private_or_its_gate_is_not_open(street: Street):
    with street.agent() as desk:
        all_of_it = street.fill(desk)
        street.private = True
        told = street.export(code=1)
        assert told["stayed"] == {"gate": "the box is private", "alley": "the box is private"}
        assert street.files(".age") == []
        assert told["records"] == len([s for s in all_of_it if not s.jpeg]), "records always leave"
        street.private, street.gates["alley"] = False, "held"
        told = street.export(code=1)
        assert told["stayed"] == {"alley": "its gate is held"}
        assert (
            len(street.files(".age"))
            == told["pictures"]
            == len([s for s in all_of_it if s.jpeg and s.camera == "gate"])
        )
        street.gates["alley"] = "open"
        street.export()
    assert street.imported()["imported"][0]["missing"] == 0


def test_none_leaves_when_no_agent_answers(street: Street):
    with street.agent() as desk:
        street.fill(desk)
    told = street.export(code=1)
    assert (
        "nobody can say that its gate is open: the agent is not running" in told["stayed"]["gate"]
    )
    assert street.files(".age") == []
    assert told["records"] > 0
    text = street.journal("export", str(street.stick), "--same-disk", code=1)
    assert "! pictures of gate stay on the box" in text


def test_none_leaves_that_a_press_could_still_destroy(street: Street):
    with street.agent() as desk:
        street.fill(desk)
        desk.spool.keep_picture(released("gate", street.clock.now(), jpeg(77)))
        desk.alarm()
        before = street.export()
        assert before["fresh"] == ["gate"]
        street.clock.skip(PURGE_S - 10)
        assert street.export()["pictures"] == 0
        street.clock.skip(11)
        after = street.export()
        assert (after["pictures"], after["fresh"]) == (1, [])


def test_a_plain_picture_leaves_only_if_a_person_asks_for_it(street: Street):
    with street.agent(seal=None) as desk:
        street.fill(desk)
    with street.agent() as desk:
        street.fill(desk)
        all_of_it = desk.everything()
        sealed = [s for s in all_of_it if s.jpeg and wire.is_sealed(s.jpeg)]
        plain = [s for s in all_of_it if s.jpeg and not wire.is_sealed(s.jpeg)]
        told = street.export(code=1)
        assert told["pictures"] == len(sealed) == len(street.files(".age"))
        assert "not sealed" in told["stayed"]["gate"]
        assert street.files(".jpg") == []
        told = street.export("--pictures", "all")
        assert told["pictures"] == len(plain) == len(street.files(".jpg"))
    assert street.imported()["imported"][0]["missing"] == 0


def test_pictures_that_nobody_wants_stay_and_that_is_no_fault_of_the_stick(street: Street):
    with street.agent() as desk:
        street.fill(desk)
        told = street.export("--pictures", "none")
    assert told["pictures"] == 0
    assert street.files(".age") == []


FORMER = Identity(kelurahan="kuningan", rw="rw-09", rt="rt-11", box="box-1")


def test_records_of_a_former_place_leave_under_its_name_and_its_pictures_stay(street: Street):
    """Gates are open, the agent answers: but it speaks of the street where the box is now."""
    with Desk(street.folder, clock=street.clock, seal=SEALER.seal, identity=FORMER) as desk:
        street.fill(desk, count=40)
        owed = {s.seq: s for s in desk.everything() if s.rank is not Rank.PICTURE}
    parked = street.folder / "parked" / "kuningan_rw-09_rt-11_box-1"
    with street.agent(identity=IDENTITY) as desk:
        desk.alarm()
        told = street.export("--folder", str(parked), code=1)
        why = "they are of kuningan/rw-09/rt-11/box-1, where this box is not any more"
        assert told["stayed"] == {"gate": why, "alley": why}
        assert (told["pictures"], told["records"]) == (0, len(owed))
        assert street.written.name.startswith("kuningan-rw-09-rt-11-box-1-")
        street.imported(code=1)
        assert street.at_hub().keys() == owed.keys()
        with closing(sqlite3.connect(street.place / "hub" / "hub.sqlite")) as sql:
            found = sql.execute("SELECT DISTINCT box FROM record").fetchall()
        assert found == [(wire.prefix(FORMER),)]
        shutil.rmtree(street.written)
        street.export()
        assert street.written.name.startswith("kuningan-rw-03-rt-02-box-1-")


def test_records_whose_place_cannot_be_read_are_put_under_nobodys_name(street: Street):
    with Desk(street.folder, clock=street.clock, identity=FORMER) as desk:
        street.fill(desk, count=4)
    with closing(sqlite3.connect(street.folder / FILE, isolation_level=None)) as sql:
        sql.execute("UPDATE fact SET value = x'00' WHERE key = 'store.place'")
    told = street.journal("export", str(street.stick), "--same-disk", code=2)
    assert "cannot be read any more" in told
    assert list(street.stick.iterdir()) == []


def test_a_gate_that_closes_while_a_lot_is_written_takes_it_back(street: Street):
    with street.agent() as desk:
        street.fill(desk, 16 * LOT_PICTURES, size=500)
        words = iter(["open"] * 3)

        def ask() -> dict[str, object]:
            gate = next(words, "closed")
            cameras = [{"id": camera, "gate": gate} for camera in ("gate", "alley")]
            return {"private": {"on": False}, "cameras": cameras}

        outcome = run(street, ask)
    # One word for the manifest, one before the first lot of a camera, one after it; then it is closed.
    assert "gate closed" in outcome.stayed["alley"]
    assert len(street.files(".age")) == outcome.pictures == LOT_PICTURES
    listed = (street.written / SUMS).read_text()
    assert listed.count(".age") == LOT_PICTURES


def run(
    street: Street,
    ask: Callable[[], dict[str, object]] | None = None,
    *,
    tell: Callable[[Outcome], None] = lambda _: None,
    target: Path | None = None,
) -> Outcome:
    """The export without the command line."""
    leave = Leave(
        ask or (lambda: json.loads(street.status())),
        wanted=Pictures.SEALED,
        purge_s=PURGE_S,
        clock=street.clock,
    )
    with Holdings(str(street.folder)) as holdings:
        export = Export(
            holdings, IDENTITY, asked=Asked(), leave=leave, clock=street.clock, tell=tell
        )
        return export.run(target or street.stick)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"private": None, "cameras": []},
        {"private": {"on": None}, "cameras": [{"id": "gate", "gate": "open"}]},
        {"private": {"on": 0}, "cameras": [{"id": "gate", "gate": "open"}]},
        {"private": {"on": False}, "cameras": "gate"},
        {"private": {"on": False}, "cameras": [{"id": "gate"}, "gate", None]},
        {"private": {"on": False}, "cameras": [{"id": "alley", "gate": "open"}]},
    ],
)
def test_a_word_that_is_not_plainly_open_is_closed(status: dict[str, object]):
    leave = Leave(lambda: status, wanted=Pictures.ALL, purge_s=0, clock=HandClock())
    assert leave.why_camera_stays("gate")


def test_an_agent_that_does_not_answer_opens_nothing():
    def ask() -> dict[str, object]:
        raise NoAnswer("it hangs")

    leave = Leave(ask, wanted=Pictures.ALL, purge_s=0, clock=HandClock())
    assert "it hangs" in leave.why_camera_stays("gate")


# ---- a stick on its worst day ----


def test_wrong_places_are_refused_before_anything_is_written(street: Street):
    with street.agent() as desk:
        street.fill(desk, 20)
    told = street.journal("export", str(street.place / "nowhere"), code=2)
    assert "is the stick mounted?" in told
    told = street.journal("export", str(street.folder / "pictures"), "--same-disk", code=2)
    assert "lies in the journal itself" in told
    told = street.journal("export", str(street.stick), code=2)
    assert "same disk as the journal" in told
    told = street.journal("export", str(street.stick), "--same-disk", "--camera", "attic", code=2)
    assert "known: alley, gate" in told
    told = street.journal("export", str(street.stick), "--same-disk", "--since", "soon", code=2)
    assert "write 2026-11-20" in told
    assert list(street.stick.iterdir()) == []
    if os.geteuid() != 0:
        street.stick.chmod(0o500)
        assert "may not be written" in street.journal(
            "export", str(street.stick), "--same-disk", code=2
        )


@pytest.fixture
def small_stick(street: Street) -> Iterator[Path]:
    """A file system of its own, of 1 MB."""
    reason = powercut.why_no_tmpfs()
    if reason:
        pytest.skip(reason)
    with powercut.tmpfs(street.place / "small", megabytes=1) as mounted:
        yield mounted


def test_a_full_stick_counts_as_far_as_it_goes_and_the_next_run_goes_on(
    street: Street, small_stick: Path
):
    with street.agent() as desk:
        all_of_it = street.fill(desk, 1_200, size=9_000)
        told = street.json("export", str(small_stick), code=1)
        assert "the stick is full" in told["failure"]
        assert not told["finished"]
        (folder,) = small_stick.iterdir()
        assert json.loads((folder / MANIFEST).read_text())["finished"] is False
        first = street.imported(code=1, stick=small_stick)
        assert first["faults"] == 0
        assert first["imported"][0]["new"] == told["records"]
        subprocess.run(["mount", "-o", "remount,size=50m", str(small_stick)], check=True)
        more = street.json("export", str(small_stick))
        assert more["finished"]
        assert told["records"] + more["records"] == len(all_of_it)
    last = street.imported(stick=small_stick)
    assert last["imported"][0]["missing"] == 0
    assert street.at_hub() == {stored.seq: as_at_hub(stored) for stored in all_of_it}


def test_a_stick_that_turns_read_only_or_is_locked_is_told(street: Street, small_stick: Path):
    with street.agent() as desk:
        street.fill(desk, 100)
        turned = False

        def tell(_: Outcome) -> None:
            nonlocal turned
            if not turned:
                turned = True
                powercut.remount(small_stick, "ro")

        outcome = run(street, tell=tell, target=small_stick)
        assert turned
        assert "can only be read" in outcome.failure
        assert "can only be read" in street.journal("export", str(small_stick), code=2)
        powercut.remount(small_stick, "rw")
        assert street.json("export", str(small_stick))["finished"]
    assert street.imported(stick=small_stick)["imported"][0]["missing"] == 0


def test_whenever_the_stick_is_pulled_what_is_listed_is_whole_and_the_next_run_completes_it(
    street: Street,
):
    reason = powercut.why_no_loop()
    if reason:
        pytest.skip(reason)
    image = street.place / "image"
    powercut.make_image(image, megabytes=24)
    pulled: list[Path] = []

    def tell(_: Outcome) -> None:
        """What would be on the stick if it were pulled now."""
        copy = street.place / f"pulled-{len(pulled)}"
        shutil.copy(image, copy)
        pulled.append(copy)

    with street.agent() as desk:
        all_of_it = street.fill(desk, 500)
        with powercut.mounted(image, street.place / "m") as mounted:
            outcome = run(street, tell=tell, target=mounted)
            assert outcome.whole
        assert len(pulled) >= 5
        for number, copy in enumerate(pulled):
            with powercut.mounted(copy, street.place / f"m{number}") as mounted:
                for folder in mounted.glob(f"*/{MANIFEST}"):
                    source = Import(folder.parent)
                    assert list(source.messages())
                    assert source.faults == []
                    source.close()
                again = run(street, target=mounted)
                assert again.whole
                assert again.redone == 0
                folder = mounted / outcome.folder.name
                with Stick(folder, write=False) as stick:
                    held = sum(lot.records for lot in stick.lots())
                assert held == len(all_of_it)
            copy.unlink()


def test_killed_at_any_moment_it_goes_on(street: Street):
    with street.agent() as desk:
        all_of_it = street.fill(desk, 400)
        chance = random.Random(6)
        child = (
            "import sys; from edge_agent.export import main; print('go', flush=True);"
            " sys.exit(main(sys.argv[1:]))"
        )
        words = ["export", str(street.stick), "--same-disk", "--config", str(street.config)]
        root = Path(__file__).resolve().parents[1]
        for _ in range(6):
            with subprocess.Popen(
                [sys.executable, "-c", child, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(root)},
            ) as process:
                assert process.stdout is not None
                process.stdout.readline()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0.0, 0.25))
                process.send_signal(signal.SIGKILL)
        street.export()
    assert street.imported()["imported"][0]["missing"] == 0
    assert street.at_hub() == {stored.seq: as_at_hub(stored) for stored in all_of_it}


@pytest.mark.parametrize("seed", range(12))
def test_whatever_became_of_the_stick_the_next_run_mends_it(street: Street, seed: int):
    chance = random.Random(seed)
    with street.agent() as desk:
        all_of_it = street.fill(desk, 120, size=600)
        street.export()
        folder = street.written
        for _ in range(chance.randint(1, 6)):
            path = chance.choice([path for path in sorted(folder.rglob("*")) if path.is_file()])
            match chance.randrange(5):
                case 0:
                    path.unlink()
                case 1:
                    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size + 1)])
                case 2:
                    path.write_bytes(chance.randbytes(200))
                case 3:
                    raw = bytearray(path.read_bytes() or b"x")
                    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
                    path.write_bytes(raw)
                case _:
                    path.with_name("stray.jpg").write_bytes(b"x")
        told = street.export()
        assert told["whole"]
    assert street.imported()["imported"][0]["missing"] == 0
    assert street.at_hub() == {stored.seq: as_at_hub(stored) for stored in all_of_it}
    assert [name for name in street.files(".jpg") if name == "stray.jpg"] == []


def test_a_press_that_reached_back_leaves_nothing_unlisted_behind(street: Street):
    with street.agent() as desk:
        street.fill(desk)
        street.export()
        left = street.written / "pictures/gate/2027-01-15/08"
        left.mkdir(parents=True, exist_ok=True)
        cut_off = left / "080000-0123456789abcdef-99999.age"
        cut_off.write_bytes(b"of a run that was cut off")
        street.private = True
        street.export(code=1)
    assert not cut_off.exists()


def test_a_stick_of_another_box_is_left_alone(street: Street):
    with street.agent() as desk:
        street.fill(desk, 20)
        street.export()
        path = street.written / MANIFEST
        body = json.loads(path.read_text())
        path.write_text(json.dumps({**body, "box": "cctv/v1/other/rw/rt/box"}))
        before = digests(street.stick)
        told = street.journal("export", str(street.stick), "--same-disk", code=2)
        assert "of another box or epoch" in told
        assert digests(street.stick) == before


def test_two_at_one_stick_do_not_mix(street: Street):
    with street.agent() as desk:
        street.fill(desk, 20)
        street.export()
        with Stick(street.written, write=True):
            told = street.journal("export", str(street.stick), "--same-disk", code=2)
    assert "another export is writing there" in told


def test_what_comes_and_goes_meanwhile_is_taken_or_told(street: Street):
    with street.agent() as desk:
        street.fill(desk, 600)
        over = threading.Event()

        def busy() -> None:
            n = 0
            while not over.is_set():
                n += 1
                desk.keep(desk.note(n, rank=Rank.AUDIT if n % 9 == 0 else Rank.STATE))
                desk.spool.keep_picture(
                    released("gate", street.clock.now() - 1_000, jpeg(n, 2_000))
                )
                desk.settle((1, 4 * n))
                over.wait(0.002)

        writer = threading.Thread(target=busy)
        writer.start()
        try:
            for _ in range(3):
                told = street.export()
                assert told["damaged"] == 0
                assert told["faults"] == []
        finally:
            over.set()
            writer.join()
        desk.alarm()
        left = desk.everything()
        street.export()
    street.imported()
    at_hub = street.at_hub()
    for stored in left:
        assert at_hub[stored.seq] == as_at_hub(stored)


def test_a_record_that_is_not_whole_is_counted_and_left_out(street: Street):
    with street.agent() as desk:
        street.fill(desk, 40)
    with closing(sqlite3.connect(street.folder / FILE)) as sql:
        sql.execute("UPDATE record SET kind = 'test.forged' WHERE key = 1 << 48 | 3")
        sql.commit()
    told = street.export(code=1)
    assert told["damaged"] == 1
    text = street.journal("export", str(street.stick), "--same-disk", code=1)
    assert "stay on the box" in text
    assert street.imported(code=1)["faults"] == 0
    assert 3 not in street.at_hub()


def test_memory_is_bounded_by_a_lot(street: Street):
    with street.agent() as desk:
        for n in range(120):
            desk.spool.keep_picture(released("gate", street.clock.now(), jpeg(n, 250_000)))
            if n % 20 == 0:
                desk.alarm()
        desk.alarm()
        street.clock.skip(PURGE_S + 5)
        tracemalloc.start()
        outcome = run(street)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert outcome.pictures == 120
    assert peak < 6_000_000, "of 30 MB"


def test_ctrl_c_is_told_as_not_finished(street: Street):
    def tell(_: Outcome) -> None:
        raise KeyboardInterrupt

    with street.agent() as desk:
        street.fill(desk, 20)
        outcome = run(street, tell=tell)
        assert outcome.failure == "stopped"
        assert street.export()["finished"]


def test_a_store_that_is_replaced_meanwhile_is_told_and_the_next_run_takes_the_new_one(
    street: Street,
):
    with street.agent() as desk:
        street.fill(desk, 20)
    moved = False

    def tell(_: Outcome) -> None:
        nonlocal moved
        if not moved:
            moved = True
            street.folder.rename(street.place / "old journal")
            with street.agent() as desk:
                street.fill(desk, 20)

    assert "has begun a new store meanwhile" in run(street, tell=tell).failure
    with street.agent():
        assert street.export()["finished"]
    assert len(list(street.stick.iterdir())) == 2, "a folder for each epoch"
    assert len(street.imported()["imported"]) == 2


def test_help_tells_the_exit_codes(street: Street):
    for what in ("stats", "check", "export"):
        shown = street.journal(what, "--help")
        assert "Exit codes:" in shown or "codes: 0" in shown


def test_the_real_clock_will_do(street: Street):
    with street.agent() as desk:
        street.fill(desk, 20)
    assert main(["stats", "--config", str(street.config)], clock=SystemClock()) == 0


def test_what_was_taken_in_sealed_is_opened_when_the_identity_is_there(
    street: Street, capsys: pytest.CaptureFixture[str]
):
    with street.agent() as desk:
        all_of_it = street.fill(desk)
        street.export()
    words = ["--import", str(street.stick), "--folder", str(street.place / "hub"), "--json"]
    assert hub_main(words) == 0
    capsys.readouterr()
    sealed = street.at_hub()
    assert wire.is_sealed(next(s[-1] for s in sealed.values() if isinstance(s[-1], bytes)))
    again = street.imported()["imported"][0]
    assert (again["new"], again["missing"]) == (0, 0)
    assert street.at_hub() == {stored.seq: as_at_hub(stored) for stored in all_of_it}
