"""The note of a press: it outlives the process, waits for no card, and in doubt it is a press."""

import os
import resource
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edge_agent.core.messages import Memory, Purge
from edge_agent.core.settings import Privacy, SwitchKind
from edge_agent.core.switch_memory import EarlierLife, Kept, dump, load
from edge_agent.press_note import NOTE, PressNote, in_memory
from tests.support.switchbox import FULL, SwitchBox

IN_DOUBT = EarlierLife(live_at=0.0, pressed=True)
UNREAD = EarlierLife(live_at=0.0, pressed=True, unread=True)
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


def whole(text: bytes) -> bytes:
    return b"%08x %s" % (zlib.crc32(text), text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: b"",
        lambda raw: raw[:20],
        lambda raw: raw.replace(b"10.0", b"99.0"),
        lambda raw: raw.replace(b"false", b"0    "),
        lambda raw: b"\x00" * 4096,
        lambda raw: b"\xff" * 100_000,
        lambda raw: whole(b'{"boot": "a", "live_at": 1.0, "pressed": false}'),
        lambda raw: whole(
            b'{"boot": "a", "live_at": 1.0, "pressed": false, "over": [[1.0, 2.0], [1.0]]}'
        ),
        lambda raw: whole(b'{"boot": "a", "live_at": 1.0, "pressed": false, "over": [[1.0, NaN]]}'),
    ],
)
def test_a_damaged_note_is_a_press_and_is_mended(tmp_path: Path, spoil):
    (tmp_path / NOTE).write_bytes(spoil(_sound(tmp_path)))
    note = PressNote(tmp_path, boot="a")
    assert (note.earlier, note.trouble) == (UNREAD, "it is damaged")
    assert left_in(tmp_path) == IN_DOUBT
    note.kept(0)
    note.look(presses=0, live_at=40.0)
    assert left_in(tmp_path) == EarlierLife(live_at=40.0, pressed=False)


@pytest.mark.parametrize(("memory", "restarted"), [(True, True), (None, True), (False, False)])
def test_a_damaged_note_is_of_this_boot_unless_its_folder_outlives_it(
    tmp_path: Path, monkeypatch, memory: bool | None, restarted: bool
):
    monkeypatch.setattr("edge_agent.press_note.in_memory", lambda _: memory)
    (tmp_path / NOTE).write_bytes(b"")
    assert PressNote(tmp_path, boot="a").restarted is restarted
    assert PressNote(tmp_path, boot="a").restarted is True, "this life's own"


def test_what_lies_in_memory_is_told_from_what_lies_on_a_card():
    assert in_memory(Path("/dev/shm")) in {True, None}
    assert in_memory(Path("/proc")) is False
    assert in_memory(Path("/no such folder")) is None


def test_a_spell_that_is_over_is_told_with_its_end_until_the_card_has_it(tmp_path: Path):
    note = PressNote(tmp_path, boot="a")
    note.look(presses=0, live_at=10.0)
    note.look(presses=1, live_at=None)
    note.look(presses=1, live_at=12.0)
    note.live_again(0)
    note.look(presses=1, live_at=14.0)
    assert left_in(tmp_path) == EarlierLife(live_at=10.0, pressed=True), "the leave is void"
    note.live_again(1)
    note.look(presses=1, live_at=16.0)
    note.look(presses=1, live_at=5000.0)
    over: tuple[tuple[float, float], ...] = ((10.0, 16.0),)
    assert left_in(tmp_path) == EarlierLife(live_at=5000.0, pressed=False, over=over)
    note.look(presses=2, live_at=None)
    assert left_in(tmp_path) == EarlierLife(live_at=5000.0, pressed=True, over=over)
    after = PressNote(tmp_path, boot="a")
    after.look(presses=0, live_at=5010.0)
    after.live_again(0)
    after.look(presses=0, live_at=5020.0)
    after.look(presses=1, live_at=None)
    over += ((5000.0, 5020.0),)
    assert left_in(tmp_path) == EarlierLife(live_at=5020.0, pressed=True, over=over)
    after.kept(0)
    after.look(presses=1, live_at=None)
    assert left_in(tmp_path) == EarlierLife(live_at=5020.0, pressed=True)
    # In a folder that outlived its boot, these moments say nothing.
    after.live_again(1)
    after.look(presses=1, live_at=5030.0)
    assert left_in(tmp_path, "b") == IN_DOUBT


def test_of_many_spells_the_oldest_are_told_as_one_and_all_fits_a_page(tmp_path: Path):
    note = PressNote(tmp_path, boot="0" * 36)
    for n in range(100):
        note.look(presses=n, live_at=123456.123456789 + n)
        note.look(presses=n + 1, live_at=None)
        note.live_again(n + 1)
        note.look(presses=n + 1, live_at=123456.623456789 + n)
    after = PressNote(tmp_path, boot="0" * 36)
    assert after.earlier is not None
    assert not after.earlier.pressed
    over = after.earlier.over
    assert 10 <= len(over) <= 20
    assert (over[0][0], over[-1][1]) == (123456.123456789, 123456.623456789 + 99)
    assert [later - earlier for _, earlier, later in [(0, *spell) for spell in over[1:]]] == [
        pytest.approx(0.5)
    ] * (len(over) - 1)
    assert (tmp_path / NOTE).stat().st_size <= 4096


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
    assert note.earlier == UNREAD
    assert note.trouble
    note.look(presses=1, live_at=None)
    again = left_in(tmp_path)
    assert again is not None
    assert (again.pressed, again.live_at) == (True, 0.0)
    assert elsewhere.read_bytes() == before


def test_a_folder_without_room_leaves_what_reads_as_a_press(tmp_path: Path, monkeypatch):
    note = PressNote(tmp_path, boot="a")
    note.look(presses=0, live_at=10.0)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.press_note.os.pwrite", full)
        note.look(presses=1, live_at=None)
    assert left_in(tmp_path) == UNREAD


@contextmanager
def no_more_files() -> Iterator[None]:
    """What is open stays so; nothing can be opened any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_press_needs_no_file_handle(tmp_path: Path):
    note = PressNote(tmp_path, boot="a")
    note.look(presses=0, live_at=10.0)
    with no_more_files():
        note.look(presses=1, live_at=None)
    assert left_in(tmp_path) == EarlierLife(live_at=10.0, pressed=True)


def test_what_could_not_be_written_is_written_by_the_first_look_that_can(
    tmp_path: Path, monkeypatch
):
    note = PressNote(tmp_path, boot="a")
    note.look(presses=0, live_at=10.0)

    def refused(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.press_note.os.pwrite", refused)
        patch.setattr("edge_agent.press_note.os.ftruncate", refused)
        note.look(presses=1, live_at=None)
    assert b'"pressed": false' in (tmp_path / NOTE).read_bytes(), "the old one stands"
    note.look(presses=1, live_at=11.0)
    assert left_in(tmp_path) == EarlierLife(live_at=10.0, pressed=True)


@pytest.mark.parametrize("gone", ["before the press", "after the press"])
@pytest.mark.parametrize("what", ["folder", "note", "another's note"])
def test_a_press_is_noted_again_where_a_life_after_this_one_will_look(
    tmp_path: Path, gone: str, what: str
):
    folder = tmp_path / "run"
    folder.mkdir()
    note = PressNote(folder, boot="a")
    note.look(presses=0, live_at=10.0)

    def clean_up() -> None:
        if what == "folder":
            folder.rename(tmp_path / "moved away")
            note.look(presses=1, live_at=None)
            folder.mkdir()
        elif what == "note":
            (folder / NOTE).unlink()
        else:
            (folder / "new").write_bytes(_sound(tmp_path))
            (folder / "new").rename(folder / NOTE)

    if gone == "before the press":
        clean_up()
    note.look(presses=1, live_at=None)
    if gone == "after the press":
        clean_up()
    note.look(presses=1, live_at=20.0)
    assert left_in(folder) == EarlierLife(live_at=10.0, pressed=True)
    note.kept(1)
    note.look(presses=1, live_at=30.0)
    assert left_in(folder) == EarlierLife(live_at=30.0, pressed=False)


def test_while_nothing_happens_it_is_written_once_a_second_and_a_press_says_the_last_look(
    tmp_path: Path, monkeypatch
):
    writes = []
    real = os.pwrite

    def counted(handle: int, raw: bytes, offset: int) -> int:
        writes.append(raw)
        return real(handle, raw, offset)

    monkeypatch.setattr("edge_agent.press_note.os.pwrite", counted)
    note = PressNote(tmp_path, boot="a")
    for n in range(601):
        note.look(presses=0, live_at=100.0 + 0.1 * n)
    assert 60 <= len(writes) <= 62
    note.look(presses=0, live_at=160.5)
    note.look(presses=1, live_at=None)
    assert left_in(tmp_path) == EarlierLife(live_at=160.5, pressed=True)


def test_notes_that_are_gone_hold_no_files_open(tmp_path: Path):
    def held() -> int:
        count = 0
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # another thread's, closed meanwhile
                count += str(entry.readlink()).startswith(str(tmp_path))
        return count

    PressNote(tmp_path, boot="a")
    before = held()
    for _ in range(5):
        PressNote(tmp_path, boot="a")
    note = PressNote(tmp_path, boot="a")
    for n in range(1, 6):
        (tmp_path / NOTE).unlink()
        note.look(presses=n, live_at=None)
    assert held() == before + 1


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


def test_a_dead_card_lets_no_restart_reach_beyond_the_spell_that_it_did_not_take(tmp_path: Path):
    box = SwitchBox(FULL, runtime=tmp_path, card_works=False)
    box.wait(100)
    pressed_at = box.clock.at
    box.street.press()
    box.wait(2)
    box.street.release()
    box.wait(10)
    assert box.is_live()
    live_at = box.clock.at
    box.wait(1800)
    for _ in range(3):
        box.records.clear()
        box.commands.clear()
        box.restart()
        box.wait(10)
        assert box.is_live()
        asked = [record for record in box.records if record.kind == "privacy.withdraw"]
        assert asked, "the hub may not have heard of it yet"
        for record in asked:
            from_s = record.data["from_s"]
            assert isinstance(from_s, float)
            assert pressed_at - 61.0 <= from_s <= pressed_at - 60.0
            assert pressed_at <= record.at <= live_at
        assert not [command for command in box.commands if isinstance(command, Purge)]
        box.wait(600)
    box.card_works = True
    box.restart()
    box.wait(70)
    box.records.clear()
    box.restart()
    box.wait(10)
    assert not [record for record in box.records if record.kind == "privacy.withdraw"]
