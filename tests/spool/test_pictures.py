"""Pictures in files: kept to the bit, used again only when nobody needs them, and gone when they are meant to be gone."""

import errno
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.core.messages import Committed, FindingKey, JournalTrouble, Purge, Purged
from edge_agent.spool import check
from edge_agent.spool.files import FILE
from edge_agent.spool.pictures import BLOCK, Folder, Memory, Place, make_folder, room_for
from edge_agent.spool.schema import PICTURES, key_of
from edge_agent.spool.values import Held, picture_sum
from tests.support.desk import Desk, declared, jpeg, raw_of, released
from tests.support.head import tell

POOL = 200_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_folder(tmp_path)
    return tmp_path / "pictures"


@pytest.fixture
def files(place: Path) -> Iterator[Folder]:
    pictures = Folder(place, last=0, spare=[], pool_bytes=POOL)
    yield pictures
    pictures.close()


def give_up(files: Folder, *places: Place) -> None:
    files.retire(places)
    files.committed()


def pictures_of(folder: Path) -> list[Path]:
    return sorted((folder / "pictures").iterdir(), key=lambda path: int(path.name))


# ---- one folder ----


def test_a_file_given_up_is_used_again_and_nothing_of_it_is_left(files: Folder, place: Path):
    (first,) = files.write([jpeg(1, 20_000)])
    give_up(files, first)
    (second,) = files.write([jpeg(2, 17_000)])
    assert second == first == Place(1, 5 * BLOCK)
    assert files.read(second.file, 17_000) == jpeg(2, 17_000)
    raw = (place / "1").read_bytes()
    assert raw == jpeg(2, 17_000) + bytes(5 * BLOCK - 17_000)


def test_a_file_is_not_used_again_before_the_commit_that_gives_it_up(files: Folder):
    (first,) = files.write([jpeg(1)])
    files.retire([first])
    (second,) = files.write([jpeg(2)])
    assert second.file != first.file
    assert files.read(first.file, 20_000) == jpeg(1)
    assert files.spare_bytes == first.room


def test_a_much_longer_file_is_not_used_for_a_small_picture(files: Folder):
    large, small = files.write([jpeg(1, 100_000), jpeg(2, 1_000)])
    give_up(files, large, small)
    (again,) = files.write([jpeg(3, 60_000)])
    assert again.file not in (large.file, small.file)
    (fits,) = files.write([jpeg(4, 95_000)])
    assert fits == large


def test_what_is_kept_to_be_used_again_is_bounded_and_told_when_it_is_gone(
    files: Folder, place: Path
):
    places = files.write([jpeg(n) for n in range(50)])
    give_up(files, *places)
    kept = POOL // room_for(20_000)
    assert len(list(place.iterdir())) == kept
    assert files.spare_bytes <= POOL
    assert files.gone() == [], "the folder is not synced: a power cut may bring them back"
    files.write([jpeg(99, 60_000)])
    assert files.gone() == [it.file for it in places[: 50 - kept]]
    assert files.gone() == []


def test_a_file_with_a_second_name_is_left_alone(files: Folder, place: Path):
    (first,) = files.write([jpeg(1)])
    os.link(place / "1", place / "saved")
    give_up(files, first)
    (second,) = files.write([jpeg(2)])
    assert second.file != first.file
    assert (place / "saved").read_bytes().startswith(jpeg(1))


def missing(path: Path) -> None:
    path.unlink()


def short(path: Path) -> None:
    os.truncate(path, 5_000)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def altered(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[10_000] ^= 8
    path.write_bytes(raw)


LOST = [missing, short, a_folder, a_link, a_pipe]


@pytest.mark.parametrize("spoil", LOST)
def test_what_is_no_file_of_ours_is_no_picture(
    files: Folder, place: Path, spoil: Callable[[Path], None]
):
    (it,) = files.write([jpeg(1)])
    spoil(place / "1")
    assert files.read(it.file, 20_000) is None
    give_up(files, it)
    (other,) = files.write([jpeg(2)])
    assert other.file != it.file, "and it is not written to either"
    assert files.read(other.file, 20_000) == jpeg(2)


def test_memory_keeps_and_forgets():
    pictures = Memory()
    first, second = pictures.write([jpeg(1), jpeg(2, 50)])
    assert pictures.read(first.file, 20_000) == jpeg(1)
    pictures.retire([first])
    pictures.committed()
    pictures.destroy(lambda: None)
    assert pictures.read(first.file, 20_000) is None
    assert pictures.read(second.file, 50) == jpeg(2, 50)
    assert (pictures.gone(), pictures.took(), pictures.spare_bytes) == ([], [], 0)


def test_a_place_that_is_no_folder_is_said(tmp_path: Path):
    (tmp_path / "pictures").touch()
    with pytest.raises(NotADirectoryError, match="not a folder"):
        make_folder(tmp_path)


class Album(RuleBasedStateMachine):
    """Files beside a table that is committed or, at any moment, thrown back to its last commit."""

    @initialize()
    def begin(self) -> None:
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.home = tempfile.TemporaryDirectory(dir=place)
        make_folder(Path(self.home.name))
        self.path = Path(self.home.name) / "pictures"
        self.count = 0
        # As the tables say: files with pictures, spare ones, the highest number; committed, and in the open transaction.
        self.live: dict[int, tuple[Place, bytes]] = {}
        self.spare: set[int] = set()
        self.last = 0
        self.begun: tuple[dict[int, tuple[Place, bytes]], set[int]] | None = None
        self.files = Folder(self.path, last=0, spare=[], pool_bytes=60_000)

    def teardown(self) -> None:
        if hasattr(self, "files"):
            self.files.close()
            self.home.cleanup()

    def now(self) -> tuple[dict[int, tuple[Place, bytes]], set[int]]:
        if self.begun is None:
            self.begun = (dict(self.live), set(self.spare))
        return self.begun

    @rule(sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=6))
    def write(self, sizes: list[int]) -> None:
        live, _ = self.now()
        jpegs = []
        for size in sizes:
            self.count += 1
            jpegs.append(jpeg(self.count, max(4, size)))
        for place, data in zip(self.files.write(jpegs), jpegs, strict=True):
            assert place.file not in self.live, "a file that a committed row names was written"
            assert place.file not in live
            live[place.file] = (place, data)

    @rule(which=st.sets(st.integers(0, 20), max_size=6))
    def give_up(self, which: set[int]) -> None:
        live, spare = self.now()
        gone = [file for n, file in enumerate(sorted(self.live)) if n in which and file in live]
        self.files.retire([live.pop(file)[0] for file in gone])
        spare.update(gone)

    @precondition(lambda self: self.begun is not None)
    @rule()
    def commit(self) -> None:
        self.live, self.spare = self.now()
        self.spare -= {*self.files.took(), *self.files.gone()}
        self.begun, self.last = None, self.files.last
        self.files.committed()

    @rule()
    def power_goes(self) -> None:
        self.files.close()
        self.begun = None
        self.files = Folder(self.path, last=self.last, spare=sorted(self.spare), pool_bytes=60_000)
        there = {int(path.name) for path in self.path.iterdir()}
        assert there == set(self.live), "what was given up or never accepted is gone at once"

    @precondition(lambda self: self.begun is None)
    @rule()
    def destroy(self) -> None:
        self.files.destroy(lambda: None)
        there = {int(path.name) for path in self.path.iterdir()}
        assert there == set(self.live)

    @invariant()
    def what_is_committed_is_there_to_the_bit(self) -> None:
        if hasattr(self, "files"):
            for place, data in self.live.values():
                assert self.files.read(place.file, len(data)) == data


TestAlbum = Album.TestCase
TestAlbum.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)
TestAlbum = pytest.mark.timeout(600)(TestAlbum)


def test_files_of_another_store_are_taken_over_without_copying(
    files: Folder, place: Path, tmp_path: Path
):
    old = tmp_path / "old"
    old.write_bytes(jpeg(1) + bytes(480))
    held = Held(old, 20_000, picture_sum(jpeg(1)), 20_480)
    gone = Held(tmp_path / "not there", 5, 5, 4_096)
    first, second = files.adopt([held, gone])
    assert (place / str(first.file)).stat().st_ino == old.stat().st_ino
    assert files.read(first.file, 20_000) == jpeg(1)
    assert files.read(second.file, 5) is None, "lost, and told when it is read"


def test_files_are_moved_where_there_are_no_second_names(
    files: Folder, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links on this file system")

    monkeypatch.setattr(os, "link", no_links)
    old = tmp_path / "old"
    old.write_bytes(jpeg(1))
    (it,) = files.adopt([Held(old, 20_000, picture_sum(jpeg(1)), 20_000)])
    assert files.read(it.file, 20_000) == jpeg(1)
    assert not old.exists()


# ---- a journal with them ----


@pytest.mark.parametrize("spoil", [*LOST, altered])
def test_a_picture_that_was_lost_or_altered_is_declared(
    folder: Path, spoil: Callable[[Path], None]
):
    with Desk(folder) as desk:
        for n in range(3):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
        desk.alarm()
        path = next(path for path in pictures_of(folder) if jpeg(1) in path.read_bytes())
        spoil(path)
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(0), jpeg(2)]
        assert declared(desk.everything()) == {2}
        assert desk.all(JournalTrouble) == []
        desk.spool.keep_picture(released("gate", 910.0, jpeg(3)))
        desk.alarm()
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(0), jpeg(2), jpeg(3)]


def test_pictures_settled_make_room_for_others_in_their_files(folder: Path):
    with Desk(folder) as desk:
        for n in range(40):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
            upto = desk.alarm()
            desk.settle((1, upto))
            desk.deleted(depth=0)
        assert len(pictures_of(folder)) <= 2
    assert check(str(folder)) == ()


def test_what_was_never_accepted_or_given_up_is_gone_before_anybody_asks(folder: Path):
    """As a kill leaves it: files whose row was not committed, and files whose row went before they did."""
    with Desk(folder) as desk:
        for n in range(4):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
        desk.alarm()
        desk.settle((1, 2))
        desk.deleted(depth=3)
        spare = [path.name for path in pictures_of(folder) if int(path.name) <= 2]
    (folder / "pictures" / "5").write_bytes(jpeg(50))
    (folder / "pictures" / "7").write_bytes(jpeg(51))
    assert spare == ["1", "2"]
    with Desk(folder) as desk:
        assert [path.name for path in pictures_of(folder)] == ["3", "4"]
        assert len(desk.read(camera="gate")) == 2
        desk.spool.keep_picture(released("gate", 905.0, jpeg(5)))
        desk.alarm()
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(2), jpeg(3), jpeg(5)]
    assert check(str(folder)) == ()


def orphan(folder: Path) -> None:
    """A file that no table knows: somebody put an older copy of the store beside newer pictures."""
    tell(folder / FILE, last_file=600)
    (folder / "pictures" / "550").write_bytes(jpeg(99))
    (folder / "pictures" / "notes").write_text("not ours", encoding="ascii")


def test_a_purge_destroys_files_that_nobody_knows_of(folder: Path):
    with Desk(folder) as desk:
        desk.spool.keep_picture(released("gate", 900.0, jpeg(0)))
        desk.alarm()
    orphan(folder)
    with Desk(folder) as desk:
        desk.spool.purge(Purge(since_at=950.0, reason="privacy"))
        assert desk.wait(Purged).seqs == ()
        assert jpeg(99)[5_000:5_040] not in raw_of(folder)
        assert (folder / "pictures" / "notes").exists()
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(0)]


def test_a_purge_reaches_a_picture_whose_camera_was_damaged(folder: Path):
    with Desk(folder) as desk:
        for n in range(3):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
        desk.alarm()
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("UPDATE record SET camera = 3 WHERE bytes AND at = 901")
    connection.close()
    with Desk(folder) as desk:
        desk.spool.purge(Purge(since_at=900.5, reason="privacy"))
        assert desk.wait(Purged).seqs == (2, 3)
        assert jpeg(1)[5_000:5_040] not in raw_of(folder)
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(0)]
    assert check(str(folder)) == ()


def test_a_purge_reaches_a_picture_that_the_index_does_not_know(folder: Path):
    """A flipped bit in the index hides a picture from a search by time; the record itself is whole."""
    with Desk(folder) as desk:
        for n in range(40):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
        desk.alarm()
        seqs = {stored.at: stored.seq for stored in desk.read(camera="gate")}
    hidden = (920.0, 937.0)
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("UPDATE record SET at = 5 WHERE bytes AND at IN (?, ?)", hidden)
        connection.execute("PRAGMA writable_schema = ON")
        index = "FROM sqlite_master WHERE name = 'picture_by_time'"
        (row,) = connection.execute(f"SELECT * {index}").fetchall()
        connection.execute(f"DELETE {index}")
    connection.close()
    with sqlite3.connect(folder / FILE) as connection:
        for at in hidden:
            key = key_of(PICTURES + 1, seqs[at])
            connection.execute("UPDATE record SET at = ? WHERE key = ?", (at, key))
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
    connection.close()
    with Desk(folder) as desk:
        assert len(desk.read(camera="gate")) == 40, "the records are whole"
        desk.spool.purge(Purge(since_at=910.0, reason="privacy"))
        # Under whichever seqs: SQLite may find the index damaged when it deletes, and then the store is brought over first.
        assert len(desk.wait(Purged).seqs) == 30
        assert not [n for n in range(10, 40) if jpeg(n)[5_000:5_040] in raw_of(folder)]
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(n) for n in range(10)]


def test_a_purge_overwrites_more_than_is_kept_to_be_used_again(folder: Path):
    with Desk(folder, quota_bytes=64 * POOL) as desk:  # the pool is a 64th
        for n in range(20):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
        desk.alarm()
        # Whoever has a file open sees what becomes of it when its name is gone.
        opened = [path.open("rb", buffering=0) for path in pictures_of(folder)]
        desk.spool.purge(Purge(since_at=0.0, reason="privacy"))
        desk.wait(Purged)
        left = [file.read() for file in opened]
        for file in opened:
            file.close()
    assert len(left) == 20
    assert not any(any(content) for content in left)


def test_a_start_that_is_killed_while_it_destroys_leaves_less_for_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    for number in range(1, 101):
        (place / str(number)).write_bytes(bytes(BLOCK))
    synced = 0
    sync = os.fdatasync

    def killed_at_the_eightieth(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 80:
            raise SystemExit
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", killed_at_the_eightieth)
    with pytest.raises(SystemExit):
        Folder(place, last=100, spare=range(1, 101), pool_bytes=POOL)
    assert len(list(place.iterdir())) == 100 - 64
    Folder(place, last=100, spare=range(1, 101), pool_bytes=POOL).close()
    assert list(place.iterdir()) == []


def test_files_that_nobody_knows_of_go_in_the_background(folder: Path):
    with Desk(folder) as desk:
        desk.spool.keep_picture(released("gate", 900.0, jpeg(0)))
        desk.alarm()
    orphan(folder)
    with Desk(folder) as desk:
        assert (folder / "pictures" / "550").exists(), "not on the way of the start"
        desk.clock.skip(11)
        for _ in range(200):
            desk.alarm()
            if not (folder / "pictures" / "550").exists():
                break
        assert not (folder / "pictures" / "550").exists()
        assert (folder / "pictures" / "notes").exists()
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(0)]


def test_a_folder_of_pictures_that_was_taken_away_costs_those_alone(folder: Path):
    with Desk(folder) as desk:
        desk.spool.keep_picture(released("gate", 900.0, jpeg(0)))
        desk.keep(desk.note(1))
        desk.alarm()
        epoch = desk.epoch
        (folder / "pictures").rename(folder.parent / "taken away")
        desk.spool.keep_picture(released("gate", 901.0, jpeg(1)))
        desk.alarm()
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(1)]
        assert declared(desk.everything()) == {1}
        assert (desk.epoch, desk.last(Committed).durable) == (epoch, True)
    assert check(str(folder)) == ()


def test_something_else_in_the_place_of_the_folder_is_moved_aside(folder: Path):
    with Desk(folder) as desk:
        desk.keep(desk.note(1))
        desk.alarm()
    (folder / "pictures").rmdir()
    (folder / "pictures").write_text("somebody's", encoding="ascii")
    with Desk(folder) as desk:
        trouble = desk.wait(JournalTrouble)
        assert trouble.key is FindingKey.JOURNAL_BROKEN
        assert "pictures: not a folder" in trouble.detail
        assert desk.last(Committed).durable
        assert [json.loads(stored.data)["n"] for stored in desk.read()] == [1]
        desk.spool.keep_picture(released("gate", 900.0, jpeg(0)))
        desk.alarm()
        assert len(desk.read(camera="gate")) == 1


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_picture_whose_sync_failed_is_written_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    """After a failed fsync the kernel may hold for written what is nowhere: the file is not trusted and not synced again."""
    real = getattr(os, call)
    synced: list[int] = []
    failing = [True]

    def fail_once(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        inside = path.is_relative_to(folder / "pictures")
        if inside and failing:
            failing.clear()
            raise OSError(errno.EIO, "Input/output error")
        if inside:
            synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    with Desk(folder) as desk:
        monkeypatch.setattr(os, call, fail_once)
        desk.spool.keep_picture(released("gate", 900.0, jpeg(0)))
        desk.alarm()
        assert not failing
        assert synced, "something was synced after the failure"
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(0)]
        kinds = [stored.kind for stored in desk.everything()]
        assert kinds.count("snapshot") == kinds.count("journal.reopened") == 1
        assert desk.last(Committed).durable
    assert check(str(folder)) == ()


def test_pictures_of_a_damaged_store_come_over_as_they_are(folder: Path):
    with Desk(folder) as desk:
        for n in range(30):
            desk.spool.keep_picture(released("gate", 900.0 + n, jpeg(n)))
        desk.alarm()
        before = {path.stat().st_ino for path in pictures_of(folder)}
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with Desk(folder) as desk:
        assert [stored.jpeg for stored in desk.read(camera="gate")] == [jpeg(n) for n in range(30)]
        assert {path.stat().st_ino for path in pictures_of(folder)} == before, "moved, not copied"
        desk.spool.purge(Purge(since_at=0.0, reason="privacy"))
        assert len(desk.wait(Purged).seqs) == 30
        raw = raw_of(folder)
        assert not [n for n in range(30) if jpeg(n)[5_000:5_040] in raw], "under neither name"
    assert check(str(folder)) == ()
