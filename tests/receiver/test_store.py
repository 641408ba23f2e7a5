"""What the hub keeps: a restart changes nothing of what it says."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.core import wire
from edge_agent.core.messages import Json, Message, Rank, Stored
from edge_agent.core.settings import Identity
from edge_agent.receiver import main
from edge_agent.receiver.store import Box, Came, Store
from edge_agent.receiver.summary import BoxSummary
from tests.support.contract import IDENTITY, two_links


def came(message: Message, *, retained: bool = False) -> Came:
    return Came(message.topic, message.payload, message.properties, retained)


def stored(seq: int, kind: str, data: Json, *, camera: str | None = None) -> Stored:
    picture = kind == "snapshot"
    return Stored(
        epoch="9f2c",
        seq=seq,
        kind=kind,
        rank=Rank.PICTURE if picture else Rank.AUDIT,
        camera=camera,
        boot="b",
        at=float(seq),
        wall_s=1_795_255_200.0 + seq,
        trusted=True,
        data=json.dumps(data).encode(),
        jpeg=b"\xff\xd8" if picture else None,
    )


def records(*found: Stored) -> Came:
    return came(wire.batch(IDENTITY, wire.LIVE, [wire.event(IDENTITY, one) for one in found]))


def presence(*, online: bool, identity: Identity = IDENTITY) -> Message:
    return wire.presence(
        identity,
        online=online,
        boot="b",
        version="0",
        simulated=False,
        epoch="9f2c",
        oldest_seq=None,
    )


def test_a_restart_changes_nothing_of_what_is_said(tmp_path: Path) -> None:
    first, second = two_links()
    told = json.loads(second.data)
    forged = second._replace(data=json.dumps({**told, "after": "closed"}).encode())
    store = Store(tmp_path, SystemClock())
    store.commit(
        [
            came(presence(online=True)),
            records(
                stored(1, "agent.started", {}),
                stored(2, "work_order.opened", {"order": "w", "revision": 1, "cameras": ["gate"]}),
                stored(3, "finding.opened", {"key": "signal_lost", "en": "x"}, camera="gate"),
                stored(4, "finding.opened", {"key": "disk_full", "en": "y"}),
                stored(5, "finding.closed", {"key": "disk_full"}),
                first,
                forged,
            ),
            came(wire.snapshot(IDENTITY, wire.LIVE, stored(6, "snapshot", {}, camera="gate"))),
        ]
    )
    (before,) = store.summaries()
    store.close()
    assert [order.order for order in before.orders] == ["w"]
    assert [finding.key for finding in before.findings] == ["signal_lost"]
    assert before.breaks == ("entry 2 of 9f2c: its hash does not hold",)
    again = Store(tmp_path, SystemClock())
    (after,) = again.summaries()
    again.close()
    # When it was last heard of is known to the last record, not to the last presence.
    assert dataclasses.replace(after, heard=before.heard) == before
    assert after.heard is not None


def test_an_age_of_presence_is_that_of_the_state_and_not_of_its_last_telling(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path, SystemClock())
    store.commit([came(presence(online=True), retained=True)])
    (first,) = store.summaries()
    assert first.heard is None  # the broker may have kept it for a year
    store.commit([came(presence(online=True))])
    (again,) = store.summaries()
    assert again.since == first.since
    assert again.heard is not None
    store.commit([came(presence(online=False))])
    (gone,) = store.summaries()
    assert first.since is not None
    assert gone.since is not None
    assert gone.since > first.since
    store.close()


BOX = wire.prefix(IDENTITY)


def picture(seq: int, *, wall_s: float = 0.0, jpeg: bytes = b"\xff\xd8") -> Came:
    one = stored(seq, "snapshot", {}, camera="gate")
    one = one._replace(wall_s=one.wall_s + wall_s, jpeg=jpeg)
    return came(wire.snapshot(IDENTITY, wire.HISTORY, one))


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "pictures").rglob("*") if path.is_file()]


def test_what_one_box_writes_never_ends_the_hub_of_all(tmp_path: Path) -> None:
    store = Store(tmp_path, SystemClock())
    order: Json = {"order": "w", "revision": 1, "since_s": 0}
    text = wire.event(IDENTITY, stored(1, "work_order.opened", order))
    store.commit(
        [
            Came(f"{BOX}/live", f"[{text}]".replace('"since_s": 0', hostile).encode(), ())
            for hostile in (f'"since_s":1{"0" * 400}', '"since_s":-1e999')
        ]
    )
    assert store.faults == 2
    chain = '{"chain":{"epoch":"9f2c","n":1,"hash":"0","previous":"0"},"x":'
    event = wire.event(IDENTITY, stored(2, "gate.changed", {})).rpartition('"data":')[0]
    depths = range(100, 1_000)  # the recursion limit lies elsewhere in each reader
    for depth in depths:
        nested = f'[{event}"data":{chain}{"[" * depth}{"]" * depth}}}}}]'
        store.commit([Came(f"{BOX}/live", nested.encode(), ())])
    assert store.faults == 2 + len(depths)
    assert store.summaries() == ()
    store.close()


def test_a_picture_that_comes_again_with_another_label_is_kept_once_and_as_it_was(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path, SystemClock())
    store.commit([picture(1)])
    (kept,) = files(tmp_path)
    # The box learnt meanwhile that its clock was wrong; and one that nobody can trust any more writes another picture.
    store.commit([picture(1, wall_s=90_000.0), picture(1, jpeg=b"\xff\xd8other")])
    assert files(tmp_path) == [kept]
    assert kept.read_bytes() == b"\xff\xd8"
    assert store.duplicates == 2
    back = stored(2, "privacy.withdraw", {"boot": "b", "from_s": 0.5, "window_s": 1.0})
    store.commit([records(back)])
    assert files(tmp_path) == []
    moved = stored(1, "snapshot", {}, camera="gate")._replace(at=7.0)  # outside the window
    store.commit([came(wire.snapshot(IDENTITY, wire.HISTORY, moved))])
    assert files(tmp_path) == []
    store.close()


def test_nobody_but_owner_and_group_reads_a_picture(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(tmp_path / "hub", SystemClock())
        store.commit([picture(1)])
        store.close()
    finally:
        os.umask(before)
    found = [tmp_path / "hub", *(tmp_path / "hub" / "pictures").rglob("*")]
    assert len(found) == 8
    for path in found:
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640)


def test_a_folder_has_one_receiver_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Store(tmp_path, SystemClock())
    assert main(["--folder", str(tmp_path), "--once", "1"]) == 2
    assert "another receiver" in capsys.readouterr().err
    assert main(["--folder", str(tmp_path), "--gaps"]) == 0  # reads beside a running one
    first.close()
    Store(tmp_path, SystemClock()).close()


def test_a_commit_among_ten_thousand_boxes_sums_up_only_those_that_it_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [
        Identity(kelurahan="k", rw=f"rw-{n // 100}", rt=f"rt-{n % 100}", box="box-1")
        for n in range(10_000)
    ]
    store = Store(tmp_path, SystemClock())
    store.commit([came(presence(online=True, identity=one)) for one in boxes])
    made: list[str] = []
    honest = store._summary

    def counted(name: str, box: Box) -> BoxSummary:
        made.append(name)
        return honest(name, box)

    monkeypatch.setattr(store, "_summary", counted)
    before = store.summaries()
    assert len(made) == len(before) == len(boxes)
    made.clear()
    assert store.summaries() is before
    touched = boxes[5_000]
    store.commit([came(presence(online=False, identity=touched))])
    after = store.summaries()
    assert made == [wire.prefix(touched)]
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old is not new]
    assert [(old.online, new.online) for old, new in changed] == [(True, False)]
    assert store.ack_due == {wire.prefix(one) for one in boxes}
    store.close()


def test_each_box_gets_its_own_back_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path, SystemClock())
    for number in range(1, 6):
        identity = dataclasses.replace(IDENTITY, box=f"box-{number}")
        found = [stored(seq, "box.metrics", {}) for seq in range(number, 3 * number, 2)]
        events = [wire.event(identity, one) for one in found]
        store.commit([came(wire.batch(identity, wire.HISTORY, events))])
    before = store.summaries()
    store.close()
    again = Store(tmp_path, SystemClock())
    after = again.summaries()
    again.close()
    assert [(box.records, box.upto, box.missing) for box in before] == [
        *((1, 1, 0), (2, 4, 2), (3, 7, 4), (4, 10, 6), (5, 13, 8)),
    ]
    told = [dataclasses.replace(box, heard=None) for box in after]
    assert told == [dataclasses.replace(box, heard=None) for box in before]


def damaged(path: Path) -> None:
    path.write_bytes(b"no database at all, but longer than a header " * 9)


def foreign(path: Path) -> None:
    sql = sqlite3.connect(path)
    sql.execute("CREATE TABLE invoice (number)")
    sql.commit()
    sql.close()


def alike(path: Path) -> None:
    sql = sqlite3.connect(path)
    sql.execute("CREATE TABLE record (title, band)")
    sql.commit()
    sql.close()


@pytest.mark.parametrize("made", [damaged, foreign, alike])
def test_a_database_that_is_none_of_ours_is_named_and_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: Callable[[Path], None]
) -> None:
    path = tmp_path / "hub.sqlite"
    made(path)
    for more in (["--once", "1"], ["--gaps"]):
        assert main(["--folder", str(tmp_path), *more]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"edge-agent hub: {path}: ")
        assert "restore it" in said or "a receiver's own" in said
    if made is foreign:
        sql = sqlite3.connect(path)
        assert sql.execute("SELECT name FROM sqlite_master").fetchall() == [("invoice",)]
        sql.close()


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_file_in_place_of_the_folder_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert main(["--folder", str(file / below), "--once", "1"]) == 2
    assert f"{file} is a file; it needs a folder" in capsys.readouterr().err


def test_a_disk_that_takes_no_more_is_named_with_its_place(tmp_path: Path) -> None:
    store = Store(tmp_path, SystemClock())
    store._sql.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError, match=str(tmp_path / "hub.sqlite")):
        store.commit([came(presence(online=True))])
    store.close()
