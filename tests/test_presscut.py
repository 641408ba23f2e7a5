"""The power goes at a random moment around a press: nothing of the purge window is left, and the box comes back private.

Each cut is a life of a real core, journal and switch (mock pins) on an ext4 file system of its own, frozen, its image copied and
mounted anew, as a card is after a power cut. `make cut-privacy N=100` makes more cuts than CI does.
At the end the process alone ends, before its core has heard of the press, and comes again in the same boot.
"""

import json
import os
import random  # noqa: TID251 - seeded: the same moments each time
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.core.messages import Json
from edge_agent.press_note import NOTE, _found
from edge_agent.spool import check
from tests.support import powercut
from tests.support.presscut import PATIENCE_S, PURGE_S, Box, Life, Shown, marks
from tests.support.rig import await_that

CUTS = int(os.environ.get("PRIVACY_CUTS", "10"))


@dataclass(frozen=True)
class Found:
    """What a journal holds: pictures by its rows, and by whatever lies in its files; other records."""

    rows: frozenset[Shown]
    pieces: frozenset[Shown]
    records: tuple[tuple[str, str, dict[str, Json]], ...]  # kind, boot, data

    def told(self, kind: str, boot: str) -> list[dict[str, Json]]:
        return [data for found, of, data in self.records if (found, of) == (kind, boot)]


def look(disk: Path, desk: Path) -> Found:
    """Everything on *disk*; its journal is read from a copy on *desk*, so that nothing is changed by looking."""
    files = [path for path in disk.rglob("*") if path.is_file()]
    pieces = frozenset().union(*(marks(path.read_bytes()) for path in files))
    shutil.rmtree(desk, ignore_errors=True)
    shutil.copytree(disk / "journal", desk)
    with closing(sqlite3.connect(desk / "journal.db")) as sql:
        # A picture's shelf is 16 + camera: the key's bits from the 49th on.
        pictures = sql.execute("SELECT file, bytes FROM record WHERE key >= 16 << 48").fetchall()
        records = sql.execute(
            "SELECT kind, name, data FROM record JOIN boot ON boot = boot.id WHERE key < 16 << 48"
        ).fetchall()
    files_of_rows = [
        ((desk / "pictures" / str(file)).read_bytes(), size) for file, size in pictures
    ]
    rows = [marks(raw[:size]) for raw, size in files_of_rows]
    assert all(len(row) == 1 for row in rows), "a picture that is not whole"
    told = tuple((kind, boot, json.loads(data)) for kind, boot, data in records)
    return Found(frozenset().union(*rows), pieces, told)


def restart_pressed(journal: Path) -> None:
    """The power is back, and the switch still pressed."""
    clock = SystemClock()
    until = clock.now() + PATIENCE_S
    with Box(journal, "boot-2", pressed=True) as box:
        while not box.purged:
            assert clock.now() < until, box.agent.status(at=box.clock.now())
            box.turn(box.clock.now() + 0.05)
        status = json.loads(json.dumps(box.agent.status(at=box.clock.now())))
        assert status["private"]["on"] is True
        assert {camera["gate"] for camera in status["cameras"]} == {"private"}
        assert box.open == frozenset()


def one_cut(folder: Path, press_after_s: float, cut_after_s: float) -> str:
    """Returns how far the press had come."""
    clock = SystemClock()
    folder.mkdir()
    card, copy = folder / "card", folder / "copy"
    powercut.make_image(card, megabytes=40)
    with ExitStack() as cleanup:
        try:
            disk = cleanup.enter_context(powercut.mounted(card, folder / "at"))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"mounting is forbidden here: {error.stderr!r}")
        life = Life(disk / "journal", press_after_s)
        cleanup.callback(life.kill)
        life.listen(cut_after_s, clock)
        life.stop()
        shutil.copyfile(card, copy)  # what had reached the disk when the light went out
    with powercut.mounted(copy, folder / "after") as disk:
        before = look(disk, folder / "desk")
        assert before.rows, "nothing had been accepted"
        if life.pressed_at is not None:
            late = {at for _, at in before.pieces if at > life.pressed_at}
            assert not late, "written although taken after the press"
        purged = bool(before.told("privacy.purged", "boot-1"))
        if purged:
            assert life.pressed_at is not None
            assert max(at for _, at in before.rows) < life.pressed_at - PURGE_S
        if life.purged:
            assert purged, "it was told, and the disk does not know"
            assert before.pieces == before.rows, "pieces of what was purged lie about"
        restart_pressed(disk / "journal")
        after = look(disk, folder / "desk")
        newest = max(at for _, at in before.rows)
        spared = {(camera, at) for camera, at in before.rows if purged or at < newest - PURGE_S}
        assert spared, "the story has no picture old enough to stay"
        assert after.rows == spared
        assert after.pieces == spared, "a purged picture can be read"
        assert after.told("privacy.purged", "boot-2")
        asked = after.told("privacy.withdraw", "boot-2")
        assert {"boot": "boot-1", "newest_s": PURGE_S} in [
            {key: data[key] for key in ("boot", "newest_s") if key in data} for data in asked
        ]
        assert check(str(disk / "journal")) == ()
    shutil.rmtree(folder)
    if not purged:
        return "before the purge" if life.pressed_at is None else "pressed, and the purge to come"
    return "purged and wiped" if life.purged else "purged, and not yet wiped"


@pytest.mark.timeout(240 + 15 * CUTS)
def test_no_power_cut_around_a_press_leaves_a_picture_that_was_to_go(tmp_path: Path):
    reason = powercut.why_no_loop()
    if reason:
        pytest.skip(reason)
    moments = random.Random(7)
    stages = Counter[str]()
    for number in range(CUTS):
        press_after_s = moments.uniform(0.05, 0.3)
        # A batch that is being written when the press comes is a second on a card of this kind, the purge another.
        cut_after_s = press_after_s + moments.choice(
            [moments.uniform(-0.05, 0.0), moments.uniform(0.0, 0.3), moments.uniform(0.3, 4.0)]
        )
        stages[one_cut(tmp_path / str(number), press_after_s, cut_after_s)] += 1
    sys.stdout.write(f"{CUTS} cuts: {dict(stages)}\n")  # -rP shows it
    assert len(stages) >= 2, "all cuts came at the same step"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("gap_s", [8.0, 67.0], ids=["soon", "later than the window"])
@pytest.mark.parametrize("when", ["unheard", "unheard and released", "while no process ran"])
def test_no_end_of_the_process_alone_leaves_a_picture_that_was_to_go(
    tmp_path: Path, gap_s: float, when: str
):
    disk, desk, runtime = tmp_path / "disk", tmp_path / "desk", tmp_path / "run"
    runtime.mkdir()
    (disk / "journal").mkdir(parents=True)

    def left() -> tuple[float, bool]:
        _, found, _ = _found(runtime / NOTE)
        return (0.0, False) if found is None else (found.live_at, found.pressed)

    with Box(disk / "journal", "boot-1", runtime=runtime) as box:
        box.go_live(for_s=100.0)
        leapt_at = box.clock.now()  # it runs as the real one does from here on
        await_that("a look at the switch", lambda: left()[0] > leapt_at, within_s=20)
        if when != "while no process ran":
            box.street.press()
            await_that("the note of the press", lambda: left()[1], within_s=20)
        pressed_at = box.clock.now()
    before = look(disk, desk)
    window = {shown for shown in before.rows if shown[1] >= pressed_at - PURGE_S}
    clock = SystemClock()
    until = clock.now() + PATIENCE_S
    pressed = when != "unheard and released"
    with Box(
        disk / "journal", "boot-1", pressed=pressed, runtime=runtime, from_s=pressed_at + gap_s
    ) as box:
        while not box.purged:
            assert clock.now() < until, box.agent.status(at=box.clock.now())
            box.turn(box.clock.now() + 0.05)
        status = json.loads(json.dumps(box.agent.status(at=box.clock.now())))
        assert status["private"]["on"] is True
        assert box.open == frozenset()
    after = look(disk, desk)
    newest = max(at for _, at in before.rows)
    assert window
    assert not window & after.rows
    assert not window & after.pieces
    # The last look before the press was within the second; what is older than its window stays.
    stays = {shown for shown in before.rows if shown[1] < leapt_at - PURGE_S}
    assert stays <= after.rows
    assert stays
    assert after.told("privacy.purged", "boot-1")
    asked = [data["from_s"] for data in after.told("privacy.withdraw", "boot-1")]
    assert asked
    assert all(isinstance(from_s, float) and from_s <= pressed_at - PURGE_S for from_s in asked)
    assert newest < pressed_at
    assert check(str(disk / "journal")) == ()
