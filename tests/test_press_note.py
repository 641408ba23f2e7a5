"""The note of a press: it outlives the process, waits for no card, and in doubt it is a press."""

import os
from pathlib import Path

import pytest

from edge_agent.core.messages import Memory
from edge_agent.core.settings import Privacy, SwitchKind
from edge_agent.core.switch_memory import EarlierLife, Kept, dump, load
from edge_agent.press_note import NOTE, PressNote
from tests.support.switchbox import FULL, SwitchBox

IN_DOUBT = EarlierLife(live_at=0.0, pressed=True)
MOMENTARY = Privacy(switch=SwitchKind.MOMENTARY)


def left_in(folder: Path, boot: str = "a") -> EarlierLife | None:
    return PressNote(folder, boot=boot).earlier


def test_the_first_life_of_a_boot_finds_nothing_and_the_next_what_it_left(tmp_path: Path):
    note = PressNote(tmp_path, boot="a")
    assert (note.earlier, note.restarted) == (None, False)
    note.look(presses=0, live_at=12.5)
    after = PressNote(tmp_path, boot="a")
    assert (after.earlier, after.restarted) == (EarlierLife(live_at=12.5, pressed=False), True)


def test_a_press_stays_until_the_card_has_that_very_press_and_over_lives_that_add_nothing(
    tmp_path: Path,
):
    note = PressNote(tmp_path, boot="a")
    note.look(presses=0, live_at=10.0)
    note.look(presses=1, live_at=None)
    note.look(
        presses=2, live_at=20.0
    )  # released again: surely live is only what came before the press
    undone = EarlierLife(live_at=10.0, pressed=True)
    assert left_in(tmp_path) == undone
    note.kept(1)
    note.look(presses=2, live_at=21.0)
    assert left_in(tmp_path) == undone
    after = PressNote(tmp_path, boot="a")
    after.look(presses=0, live_at=30.0)
    assert left_in(tmp_path) == undone
    after.kept(0)
    after.look(presses=0, live_at=31.0)
    assert left_in(tmp_path) == EarlierLife(live_at=31.0, pressed=False)
    after.look(presses=1, live_at=32.0)
    assert left_in(tmp_path) == EarlierLife(live_at=31.0, pressed=True)


def test_a_folder_that_outlived_its_boot_keeps_the_press_but_not_its_time(tmp_path: Path):
    note = PressNote(tmp_path, boot="a")
    note.look(presses=0, live_at=10.0)
    assert left_in(tmp_path, "b") is None
    PressNote(tmp_path, boot="a").look(presses=1, live_at=None)
    again = PressNote(tmp_path, boot="b")
    assert (again.earlier, again.restarted) == (IN_DOUBT, False)


def _sound(folder: Path) -> bytes:
    PressNote(folder, boot="a").look(presses=0, live_at=10.0)
    return (folder / NOTE).read_bytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: b"",
        lambda raw: raw[:20],
        lambda raw: raw.replace(b"10.0", b"99.0"),
        lambda raw: raw.replace(b"false", b"0    "),
        lambda raw: b"\x00" * 4096,
        lambda raw: b"\xff" * 100_000,
    ],
)
def test_a_damaged_note_is_a_press_and_is_mended(tmp_path: Path, spoil):
    (tmp_path / NOTE).write_bytes(spoil(_sound(tmp_path)))
    note = PressNote(tmp_path, boot="a")
    assert (note.earlier, note.restarted) == (IN_DOUBT, True)
    assert left_in(tmp_path) == IN_DOUBT
    note.kept(0)
    note.look(presses=0, live_at=40.0)
    assert left_in(tmp_path) == EarlierLife(live_at=40.0, pressed=False)


@pytest.mark.parametrize("what", ["pipe", "link", "folder"])
def test_what_is_no_file_is_a_press_and_holds_nobody_up(tmp_path: Path, what: str):
    path = tmp_path / NOTE
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(_sound(tmp_path))
    path.unlink()
    {
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(elsewhere),
        "folder": path.mkdir,
    }[what]()
    before = elsewhere.read_bytes()
    note = PressNote(tmp_path, boot="a")
    assert note.earlier == IN_DOUBT
    note.look(presses=1, live_at=None)
    assert left_in(tmp_path) == IN_DOUBT
    assert elsewhere.read_bytes() == before


def test_a_folder_without_room_leaves_what_reads_as_a_press(tmp_path: Path, monkeypatch):
    note = PressNote(tmp_path, boot="a")
    note.look(presses=0, live_at=10.0)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.press_note.os.pwrite", full)
        note.look(presses=1, live_at=None)
    assert left_in(tmp_path) == IN_DOUBT


def test_it_is_written_in_place_and_within_a_page(tmp_path: Path):
    note = PressNote(tmp_path, boot="0" * 36)
    before = (tmp_path / NOTE).stat()
    note.look(presses=1, live_at=None)
    note.kept(1)
    note.look(presses=1, live_at=123456789.123456789)
    after = (tmp_path / NOTE).stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert after.st_size <= 4096
    assert after.st_mode & 0o777 == 0o600


def test_without_a_folder_nothing_is_noted_and_nothing_fails(tmp_path: Path):
    for _ in range(2):
        note = PressNote(tmp_path / "none", boot="a")
        assert (note.earlier, note.restarted) == (None, False)
        note.look(presses=1, live_at=None)
        note.kept(1)
        note.look(presses=1, live_at=5.0)


# ---- with the product's sensors and core ----


def button(tmp_path: Path) -> SwitchBox:
    kept = {Memory.SWITCH: dump(Kept(live=True))}
    box = SwitchBox(MOMENTARY, remembered=kept, runtime=tmp_path)
    box.wait(6)
    assert box.is_live()
    return box


def test_a_touch_of_a_button_that_a_hung_core_never_heard_keeps_it_private_after_the_watchdog(
    tmp_path: Path,
):
    box = button(tmp_path)
    pressed_at = box.clock.at
    box.busy = True
    box.street.press()
    box.wait(0.5)
    box.street.release()
    box.wait(5)
    assert load(box.kept[Memory.SWITCH]).live is True
    box.busy = False
    box.records.clear()
    box.restart()
    box.wait(60)
    assert not box.is_live()
    assert "privacy.on" in [record.kind for record in box.records]
    (asked,) = [r.data["from_s"] for r in box.records if r.kind == "privacy.withdraw"]
    assert isinstance(asked, float)
    assert pressed_at - 61.0 <= asked <= pressed_at - 60.0
    box.restart()
    box.wait(60)
    assert not box.is_live()


def test_a_touch_that_the_card_did_not_take_is_not_forgotten_either(tmp_path: Path):
    box = button(tmp_path)
    box.card_works = False
    box.street.press()
    box.wait(0.5)
    box.street.release()
    box.wait(5)
    box.card_works = True
    assert load(box.kept[Memory.SWITCH]).live is True
    box.restart()
    box.wait(60)
    assert not box.is_live()


def test_a_restart_that_nobody_pressed_before_changes_nothing(tmp_path: Path):
    box = button(tmp_path)
    box.records.clear()
    box.restart()
    box.wait(6)
    assert box.is_live()
    assert not [r for r in box.records if r.kind in {"privacy.on", "privacy.withdraw"}]


def test_a_press_that_was_done_is_not_done_again_after_a_restart(tmp_path: Path):
    box = SwitchBox(FULL, runtime=tmp_path)
    box.wait(10)
    box.street.press()
    box.wait(1)
    box.street.release()
    box.wait(10)
    assert box.is_live()
    box.records.clear()
    box.restart()
    box.wait(10)
    assert box.is_live()
    assert not [r for r in box.records if r.kind in {"privacy.on", "privacy.withdraw"}]


def test_a_power_cut_takes_the_note_along(tmp_path: Path):
    box = button(tmp_path)
    box.busy = True
    box.street.press()
    box.street.release()
    box.wait(1)
    box.busy = False
    box.restart(boot="next")
    assert box.note is not None
    assert box.note.earlier is None
