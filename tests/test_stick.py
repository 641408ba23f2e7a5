"""The form of an export: written so that it may be pulled, read as a stranger's. A stick that forgets is a folder that lies."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from edge_agent.core import wire
from edge_agent.core.messages import Rank, Stored
from edge_agent.core.settings import Identity
from edge_agent.stick import (
    MANIFEST,
    SUMS,
    Arrival,
    ForgetfulError,
    Import,
    Stick,
    StickError,
    exports_in,
    lot_name,
    picture_file,
    picture_name,
    trouble,
)

IDENTITY = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")
BOX = wire.prefix(IDENTITY)
EPOCH = "0123456789abcdef0123456789abcdef"
TIME = "2027-01-15T08:00:30.000Z"


def record(seq: int, *, camera: str | None = None, rank: Rank = Rank.STATE) -> Stored:
    return Stored(
        epoch=EPOCH,
        seq=seq,
        kind="test.note",
        rank=rank,
        camera=camera,
        boot="boot-1",
        at=float(seq),
        wall_s=1_800_000_000.0 + seq,
        trusted=True,
        data=b'{"n":1}',
    )


def batch(*records: Stored) -> bytes:
    return f"[{','.join(wire.event(IDENTITY, one) for one in records)}]".encode()


def pictures(*seqs: int) -> list[tuple[str, bytes]]:
    return [
        (picture_name("gate", TIME, EPOCH, seq, sealed=False), b"\xff\xd8%d" % seq) for seq in seqs
    ]


def manifest(**more: object) -> bytes:
    body = {"kind": "edge-agent export", "v": 1, "box": BOX, "epoch": EPOCH, "oldest_seq": 1}
    return json.dumps({**body, **more}).encode()


def yes() -> bool:
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export of two lots: three records, two pictures."""
    folder = tmp_path / "export"
    with Stick(folder, write=True) as stick:
        stick.write_whole(MANIFEST, manifest())
        name = lot_name("state", 1, 3, 3)
        assert stick.keep([], lambda: (name, batch(record(1), record(2), record(3))), yes)
        lot = batch(*(record(seq, camera="gate", rank=Rank.PICTURE) for seq in (4, 5)))
        name = lot_name("pictures-gate", 4, 5, 2)
        assert stick.keep(pictures(4, 5), lambda: (name, lot), yes)
    return folder


def read(folder: Path) -> tuple[list[Arrival], list[str]]:
    source = Import(folder)
    try:
        return list(source.messages()), source.faults
    finally:
        source.close()


# ---- writing ----


def test_what_was_kept_is_listed_and_read_back_as_it_was(folder: Path):
    with Stick(folder, write=False) as stick:
        first, second = stick.lots()
    assert (first.shelf, first.span, first.records, first.complete) == ("state", (1, 3), 3, True)
    assert (second.shelf, second.span, len(second.pictures)) == ("pictures-gate", (4, 5), 2)
    arrivals, faults = read(folder)
    assert faults == []
    assert [one.topic for one in arrivals] == [
        f"{BOX}/history",
        *[f"{BOX}/snapshot/history/gate"] * 2,
    ]
    assert [one.payload for one in arrivals[1:]] == [b"\xff\xd84", b"\xff\xd85"]


def test_a_lot_that_may_not_stay_leaves_nothing(folder: Path):
    with Stick(folder, write=True) as stick:
        before = sorted(path for path in folder.rglob("*") if path.is_file())
        kept = stick.keep(
            pictures(6, 7), lambda: (lot_name("pictures-gate", 6, 7, 2), b"[]"), lambda: False
        )
        assert kept is None
        assert stick.keep(pictures(6), lambda: None, yes) is None
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before


class Forgetful(Stick):
    """A stick that says it has written, and gives back something else."""

    def _settle_down(self, written) -> None:
        (self._path / written[0].name).write_bytes(b"\0" * 10)
        super()._settle_down(written)


def test_a_stick_that_forgets_is_found_out_before_anything_counts(folder: Path):
    with Forgetful(folder, write=True) as stick:
        with pytest.raises(ForgetfulError, match="does not give back what was written"):
            stick.keep(pictures(6), lambda: (lot_name("pictures-gate", 6, 6, 1), b"[]"), yes)
        assert [lot.span for lot in stick.lots()] == [(1, 3), (4, 5)]


def test_a_stick_that_is_swapped_meanwhile_gets_nothing(folder: Path, tmp_path: Path):
    with Stick(folder, write=True) as stick:
        folder.rename(tmp_path / "the stick")
        folder.mkdir()
        assert stick.keep([], lambda: (lot_name("state", 6, 6, 1), batch(record(6))), yes)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EROFS, "can only be read"),
        (errno.EIO, "was it pulled?"),
        (errno.ENODEV, "was it pulled?"),
        (errno.EACCES, "run this as root"),
        (errno.EINVAL, "Invalid argument"),
    ],
)
def test_each_error_of_a_stick_is_told_for_a_person(number: int, told: str):
    assert told in trouble(OSError(number, os.strerror(number)), "/mnt")


def test_names_hold_their_day_and_hour():
    assert picture_file(TIME, EPOCH, 7) == ("2027-01-15", "080030-0123456789abcdef-7")
    name = picture_name("gate", TIME, EPOCH, 7, sealed=True)
    assert name == "pictures/gate/2027-01-15/08/080030-0123456789abcdef-7.age"


# ---- reading what a stranger hands over ----


def test_what_is_no_export_is_said_to_be_none(tmp_path: Path, folder: Path):
    assert exports_in(folder) == [folder]
    assert exports_in(folder.parent) == [folder]
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(StickError, match="holds no export"):
            exports_in(place)
    with pytest.raises(StickError, match="there is no manifest"):
        Import(tmp_path / "empty")
    with pytest.raises(StickError, match="No such file"):
        Import(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"kind":"other"}',
        manifest(v=2),
        manifest(box="../../etc"),
        manifest(box="cctv/v1/a/b/c/../x"),
        manifest(box=None),
        manifest(epoch="../x"),
        manifest(epoch=7),
        manifest(oldest_seq=-1),
        manifest(oldest_seq=True),
        manifest(oldest_seq=2**70),
        manifest(oldest_seq="1"),
        b'{"kind":"edge-agent export","x":"' + b"x" * 5_000_000 + b'"}',
    ],
)
def test_a_damaged_or_forged_manifest_is_refused(folder: Path, body: bytes):
    (folder / MANIFEST).write_bytes(body)
    with pytest.raises(StickError, match=MANIFEST):
        Import(folder)


def test_nothing_outside_the_folder_is_read_however_it_is_named(folder: Path, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"[]")
    digest = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"  # of "[]"
    (folder / "records" / "state-000000000000007-000000000000007-n0.json").symlink_to(secret)
    (folder / "pictures" / "out").symlink_to(tmp_path)
    with (folder / SUMS).open("a") as file:
        for name in (
            "../secret",
            "/etc/passwd",
            "records/../../secret",
            "pictures/out/secret",
            "pictures/../../secret-7.jpg",
            "records/state-000000000000007-000000000000007-n0.json",
        ):
            file.write(f"{digest}  {name}\n")
    arrivals, faults = read(folder)
    assert len(arrivals) == 3, "what was whole"
    assert ["state-000000000000007" in fault for fault in faults] == [True, False]
    assert "damaged in part" in faults[1]


def test_a_list_that_is_no_file_is_told(folder: Path):
    (folder / SUMS).unlink()
    os.mkfifo(folder / SUMS)  # would block whoever opens it
    arrivals, (fault,) = read(folder)
    assert arrivals == []
    assert "lists nothing" in fault
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)
    with pytest.raises(StickError, match="damaged"):
        Import(folder)


def test_lots_that_do_not_fit_their_list_are_left_out_and_told(folder: Path):
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(lines[:1] + lines[2:]))  # one picture is not listed
    arrivals, faults = read(folder)
    assert len(arrivals) == 1
    assert len(faults) == 1
    assert "export it again" in faults[0]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"nonsense",
        b"[null, 7, {}]",
        b'[{"seq":"4"},{"seq":"x"},{"seq":null}]',
        b'[{"seq":"4","subject":"../../x","rank":[1]}]',
    ],
)
def test_a_batch_of_nonsense_breaks_nothing(folder: Path, body: bytes):
    with Stick(folder, write=True) as stick:
        name = lot_name("pictures-gate", 4, 5, 2)
        assert stick.keep(pictures(4, 5), lambda: (name, body), yes)
        stick.mended([*stick.lots()][-1:])
    arrivals, faults = read(folder)
    for one in arrivals:
        found = wire.address(one.topic)
        assert found is None or isinstance(
            wire.arrived_snapshot(one.properties, one.payload, BOX), wire.Fault
        )
    assert arrivals or faults or body == b"{}"


def test_a_list_may_be_cut_anywhere(folder: Path):
    raw = (folder / SUMS).read_bytes()
    for length in range(len(raw)):
        (folder / SUMS).write_bytes(raw[:length])
        with Stick(folder, write=False) as stick:
            lots = list(stick.lots())
            assert all(lot.complete for lot in lots)
            assert len(lots) == raw[:length].count(b".json\n")
            left_over = not raw[:length].endswith(b".json\n") and length > 0
            assert stick.torn == left_over
