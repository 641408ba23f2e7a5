"""Back from memory to the disk: whatever is pressed meanwhile, and wherever that fails, what a purge means does not stay on the card."""

import errno
import itertools
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.core.messages import Committed, Event, Purge, Purged
from edge_agent.core.settings import Identity
from edge_agent.simulate import Disk, Fault
from edge_agent.spool import check
from edge_agent.spool.files import FILE
from edge_agent.spool.owed import NOTE
from edge_agent.spool.parked import PARKED
from tests.support.desk import Desk, HandClock, StillClock, jpeg, raw_of, released
from tests.support.patience import patient

SIZE = 3_000
LOT = 4  # records: so few pictures are several of them
SINCE = 940.0  # of a press at 1,000
OLD = (900.0, 905.0, 910.0, 915.0, 920.0)
YOUNG = (950.0, 955.0, 960.0, 965.0, 970.0)
ON_CARD = 945.0
PRESS = Purge(since_at=SINCE, reason="privacy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture(autouse=True)
def small_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.spool.journal.BATCH_RECORDS", LOT)


class TellingDesk(Desk):
    """One that does something whenever the journal has posted something."""

    heard: Callable[[Event], None] = staticmethod(lambda _: None)

    def __enter__(self) -> "TellingDesk":
        super().__enter__()
        return self

    def _post(self, event: Event) -> None:
        super()._post(event)
        self.heard(event)


def picture(desk: Desk, at: float) -> None:
    desk.spool.keep_picture(released("gate", at, jpeg(int(at), SIZE)), press=desk.presses)


def kept(desk: Desk) -> list[float]:
    return [stored.at for stored in desk.read(camera="gate")]


def seen(raw: bytes, *times: float) -> set[float]:
    """Of the pictures taken then, those of which there is anything in *raw*."""
    return {
        at
        for at in times
        if any(jpeg(int(at), SIZE)[n : n + 40] in raw for n in range(0, SIZE - 40, 500))
    }


def lose_disk(desk: Desk) -> None:
    desk.disk.broken = True
    desk.disk.fail(Fault.LOST, times=10**6)
    desk.alarm()
    assert not desk.last(Committed).durable


def fill_memory(desk: Desk) -> None:
    """The disk is lost, and pictures are taken."""
    lose_disk(desk)
    for time in (*OLD, *YOUNG):
        picture(desk, time)
    desk.alarm()


def mend(desk: Desk, *, put_off: Callable[[], None] = lambda: None) -> None:
    """It works again, and the journal finds out. *put_off*: what happens while that is put off."""
    since = len(desk.events)
    desk.disk.broken = False
    desk.disk.times = 0
    desk.clock.skip(31)
    for _ in range(10):
        desk.ask(limit=1)
        if any(isinstance(event, Committed) and event.durable for event in desk.events[since:]):
            break
        put_off()
        desk.clock.skip(2)  # put off, for a purge to come
    desk.wait(Committed, lambda event: event.durable, since=since)


def fail_mend(desk: Desk, nth: int, *, then: Callable[[], None] = lambda: None) -> bool:
    """Its *nth* commit while it comes back fails; False: there are not so many, and it is back. *then* is done at the first."""
    count, over = 0, threading.Event()

    def before() -> None:
        nonlocal count
        count += 1
        if count == 1:
            then()
        if count == nth:
            desk.disk.fail(Fault.LOST)
            over.set()

    def heard(event: Event) -> None:
        if isinstance(event, Committed) and event.durable:
            over.set()

    desk.disk.before = before
    assert isinstance(desk, TellingDesk)
    desk.heard = heard
    desk.disk.broken = False
    desk.disk.times = 0
    desk.clock.skip(31)
    desk.ask(limit=1)
    assert over.wait(patient(15))
    desk.ask(limit=1)  # answered by whatever is in use after that
    desk.disk.before = lambda: None
    return not desk.last(Committed).durable


def stones(desk: Desk) -> list[dict[str, int]]:
    return [json.loads(s.data) for s in desk.read(audit=True) if s.kind == "privacy.purged"]


@pytest.mark.parametrize("busy", [0, 1, 2, 100])
def test_a_press_at_any_commit_of_the_move_leaves_nothing_on_the_card(tmp_path: Path, busy: int):
    """*busy*: so many commits after the press the core says `Purge`, or when it is all over."""
    for at in itertools.count(1):
        if not pressed_at(tmp_path / f"{at}", at, busy):
            break
        shutil.rmtree(tmp_path / f"{at}")
    assert at > 6, "the move has so many commits"


def pressed_at(box: Path, at: int, busy: int) -> bool:
    folder = box / "journal"
    count = 0
    said: int | None = None  # with which commit the purge came
    there: list[set[float]] = []  # of the minute, on the card at each commit from the press on
    copies: list[Path] = []
    with TellingDesk(folder, clock=StillClock()) as desk:
        picture(desk, ON_CARD)
        desk.alarm()
        fill_memory(desk)
        begin = len(desk.events)

        def copy() -> None:
            if any(isinstance(event, Purged) for event in desk.events[begin:]):
                copies.append(box / f"copy-{len(copies)}")
                shutil.copytree(folder, copies[-1])

        def purge() -> None:
            nonlocal said
            said = count
            desk.spool.purge(PRESS)

        def before() -> None:
            nonlocal count
            count += 1
            if count == at:
                desk.presses += 1
            if count == at + busy:
                purge()
            if count >= at:
                there.append(seen(raw_of(folder), ON_CARD, *YOUNG))
            copy()

        def heard(event: Event) -> None:
            if isinstance(event, Purged):
                copy()

        desk.heard = heard
        desk.disk.before = before
        # A core that is busy for longer speaks once the move was put off.
        mend(desk, put_off=lambda: purge() if count >= at and said is None else None)
        desk.disk.before = lambda: None
        pressed = count >= at
        if not pressed:
            return False
        if said is None:
            purge()
        assert said is not None
        desk.wait(Purged, since=begin)
        desk.alarm()
        for later in there[1:]:
            assert later <= there[0] | {ON_CARD}, (
                f"{at}: what was not on its way stays off the card"
            )
        for earlier, later in itertools.pairwise(there[1:]):
            assert later <= earlier, f"{at}: from the press on it only gets less"
        assert not seen(raw_of(folder), ON_CARD, *YOUNG)
        left = kept(desk)
        assert set(left) <= set(OLD)
        if busy == 0:
            assert left == list(OLD), "what the purge does not mean is spared"
        gone = len(OLD) + len(YOUNG) + 1 - len(left)
        assert sum(stone["count"] for stone in stones(desk)) == gone, "declared, and once"
    assert check(str(folder)) == ()
    assert copies
    for each in copies:
        with Desk(each, clock=HandClock("boot-2")):  # the power went, and the switch is released
            assert not seen(raw_of(each), ON_CARD, *YOUNG), f"{at}: {each.name}"
    return True


@pytest.mark.parametrize("said", [True, False])
def test_a_press_just_before_the_move_has_its_purge_first_but_is_not_waited_for_long(
    folder: Path, said: bool
):
    """*said*: the core is busy, and then it says what goes; or it never does, as that was a wire's noise."""
    there: list[set[float]] = []
    with Desk(folder, clock=StillClock()) as desk:
        fill_memory(desk)
        desk.disk.before = lambda: there.append(seen(raw_of(folder), *YOUNG))
        desk.presses += 1
        desk.disk.broken = False
        desk.disk.times = 0
        desk.clock.skip(31)
        while not desk.spool._put_off:
            desk.ask(limit=1)
            assert not desk.last(Committed).durable
        if said:
            desk.spool.purge(PRESS)
            desk.wait(Purged)
        since = len(desk.events)
        for _ in range(5):
            desk.clock.skip(2)
            desk.ask(limit=1)
        desk.wait(Committed, lambda event: event.durable, since=since)
        desk.alarm()
        assert len(there) > 5
        assert kept(desk) == ([*OLD] if said else [*OLD, *YOUNG])
        assert said != any(there)


@pytest.mark.parametrize("at", range(1, 6))
def test_what_no_purge_follows_costs_the_move_a_moment_and_no_picture(folder: Path, at: int):
    """The edge of a release, a bounce or a wire's noise counts as a press, too."""
    with Desk(folder, clock=StillClock()) as desk:
        fill_memory(desk)
        count = 0

        def before() -> None:
            nonlocal count
            count += 1
            desk.presses += count == at

        desk.disk.before = before
        mend(desk)
        assert desk.presses == 1
        assert kept(desk) == [*OLD, *YOUNG]
    assert check(str(folder)) == ()


def test_what_memory_gave_up_is_told_while_its_numbers_still_mean_it(folder: Path):
    with TellingDesk(folder, clock=StillClock()) as desk:
        lose_disk(desk)
        picture(desk, OLD[0])
        picture(desk, YOUNG[0])
        desk.alarm()
        (young,) = [s.seq for s in desk.read(camera="gate") if s.at == YOUNG[0]]
        memory, since = desk.epoch, len(desk.events)
        assert not fail_mend(desk, 10**6, then=lambda: desk.spool.purge(PRESS))
        told = desk.events[since:]
        first = told.index(desk.wait(Purged, since=since))
        assert desk.wait(Purged, since=since).seqs == (young,)
        assert not any(isinstance(e, Committed) and e.epoch != memory for e in told[:first])
        assert kept(desk) == [OLD[0]]


@pytest.mark.parametrize("fault_at", range(1, 12))
def test_a_move_that_fails_anywhere_is_taken_up_with_nothing_lost_and_nothing_left(
    folder: Path, fault_at: int
):
    with TellingDesk(folder, clock=StillClock()) as desk:
        picture(desk, ON_CARD)
        desk.alarm()
        fill_memory(desk)

        def press() -> None:
            desk.presses += 1
            desk.spool.purge(PRESS)

        failed = fail_mend(desk, fault_at, then=press)
        # Released again, and taken under the new count.
        picture(desk, desk.clock.now())
        after = [desk.clock.now()]
        desk.alarm()
        if failed:
            assert not desk.last(Committed).durable
            assert kept(desk) == [*OLD, *after] or fault_at > 5, "some are on the disk by now"
            mend(desk)
            desk.alarm()
        assert kept(desk) == [*OLD, *after]
        assert not seen(raw_of(folder), ON_CARD, *YOUNG)
        assert not (folder / NOTE).exists()
        assert sum(stone["count"] for stone in stones(desk)) == len(YOUNG) + 1
        gone = [seq for event in desk.all(Purged) for seq in event.seqs]
        assert len(gone) == len(YOUNG) + 1, "each told of, once"
    assert check(str(folder)) == ()


@contextmanager
def pressed_without_disk(folder: Path) -> Iterator[TellingDesk]:
    """A boot that begins with the switch pressed and its disk away; the boot before it left a picture."""
    with Desk(folder, clock=HandClock("boot-0")) as desk:
        picture(desk, 990.0)
        desk.alarm()
    disk = Disk()
    disk.broken = True
    with TellingDesk(folder, clock=StillClock("boot-1"), disk=disk) as telling:
        telling.spool.purge(Purge(since_at=SINCE, reason="privacy", earlier_s=60.0))
        telling.wait(Purged)
        yield telling


def test_that_an_earlier_boot_lost_its_end_is_told_once_however_often_the_disk_fails(
    tmp_path: Path,
):
    failures = 0
    for nth in itertools.count(1):
        folder = tmp_path / f"{nth}" / "journal"
        folder.parent.mkdir()
        with pressed_without_disk(folder) as desk:
            picture(desk, 1_001.0)
            desk.alarm()
            failed = fail_mend(desk, nth)
            if failed:
                # The trail in memory goes on behind what the disk has of its own by now.
                desk.spool.purge(Purge(since_at=desk.clock.now(), reason="privacy"))
                desk.alarm()
                assert fail_mend(desk, 2)
                told = {event.earlier_boot for event in desk.all(Purged)}
                assert told == {None}, "not its epoch yet"
                mend(desk)
                failures += 1
            desk.alarm()
            earlier = [event for event in desk.all(Purged) if event.earlier_boot is not None]
            assert [(e.earlier_boot, e.seqs) for e in earlier] == [("boot-0", (1,))], nth
            assert kept(desk) == [1_001.0]
            # In a later outage it is no news.
            lose_disk(desk)
            mend(desk)
            desk.alarm()
            assert len([e for e in desk.all(Purged) if e.earlier_boot is not None]) == 1
        assert check(str(folder)) == ()
        if not failed:
            break
    assert failures > 3


def test_a_purge_of_a_store_that_was_replaced_since_names_none_of_its_numbers(folder: Path):
    with pressed_without_disk(folder) as desk:
        assert fail_mend(desk, 4), "after the purge on the disk"
        desk.disk.broken = True
        for path in folder.iterdir():  # another card is put in
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        mend(desk)
        desk.alarm()
        assert desk.last(Purged) == Purged(seqs=(), cameras=("gate",), earlier_boot="boot-0")


def test_two_presses_during_one_move_each_have_their_turn(folder: Path):
    count = 0
    with TellingDesk(folder, clock=StillClock()) as desk:
        none = Purge(since_at=999.0, reason="privacy")
        desk.spool.purge(none)
        desk.wait(Purged)
        fill_memory(desk)
        since = len(desk.events)
        desk.spool.purge(none)  # its entry in the trail comes before all that the disk writes next
        desk.wait(Purged, since=since)

        def before() -> None:
            nonlocal count
            count += 1
            if count in (1, 6):
                desk.presses += 1
                desk.clock.skip(1)
                at = 965.0 if count == 1 else 950.0
                desk.spool.purge(Purge(since_at=at, reason="privacy"))

        desk.disk.before = before
        mend(desk)
        desk.disk.before = lambda: None
        desk.alarm()
        assert count > 8
        assert kept(desk) == list(OLD)
        assert not seen(raw_of(folder), *YOUNG)
        assert sum(stone["count"] for stone in stones(desk)) == len(YOUNG)
    assert check(str(folder)) == ()


@pytest.mark.parametrize("boot", ["boot-0", "boot-1"])
def test_a_note_found_when_the_disk_is_back_spares_what_was_taken_after_that_press(
    folder: Path, boot: str
):
    """By a run before this one, of another boot or of this, on a disk that was not there when this run began."""
    with Desk(folder, clock=StillClock(boot)) as desk:
        picture(desk, 990.0)
        desk.alarm()
        desk.disk.fail(Fault.LOST, times=10**6)
        desk.spool.purge(Purge(since_at=SINCE, reason="privacy", earlier_s=60.0))
        desk.wait(Committed, lambda event: not event.durable)
    assert (folder / NOTE).exists()
    away = folder.rename(folder.with_name("away"))
    disk = Disk()
    disk.broken = True
    clock = StillClock("boot-1")
    clock.skip(10)
    with TellingDesk(folder, clock=clock, disk=disk) as desk:
        times = [1_005.0 + n for n in range(5)]  # within the last minute of this boot
        for time in times:
            picture(desk, time)
        desk.alarm()
        assert desk.all(Purged) == []
        shutil.rmtree(folder, ignore_errors=True)
        away.rename(folder)
        assert fail_mend(desk, 5)
        assert kept(desk) == times
        mend(desk)
        desk.alarm()
        assert kept(desk) == times
        assert not seen(raw_of(folder), 990.0)
        assert {event.earlier_boot for event in desk.all(Purged)} == {None}
        assert {seq for event in desk.all(Purged) for seq in event.seqs} == {1}
    assert check(str(folder)) == ()


def test_a_note_that_nobody_can_read_means_no_picture_that_came_since_it_was_met(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    with Desk(folder, clock=HandClock("boot-0")) as desk:
        picture(desk, 990.0)
        desk.alarm()
    (folder / NOTE).write_text("{")
    disk = Disk()
    disk.broken = True

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("edge_agent.whole.write", refuse)
    with TellingDesk(folder, clock=StillClock("boot-1"), disk=disk) as desk:
        times = []
        for _ in range(3):
            desk.clock.skip(5)
            times.append(desk.clock.now())
            picture(desk, times[-1])
            desk.alarm()
            assert fail_mend(desk, 2)
            assert kept(desk) == times
        mend(desk)
        desk.alarm()
        assert kept(desk) == times
        assert not seen(raw_of(folder), 990.0)
    assert check(str(folder)) == ()


def test_what_a_parked_store_refuses_is_not_done_anew_with_every_lot(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    here = Identity(kelurahan="kuningan", rw="rw-07", rt="rt-02", box="box-1")
    with Desk(folder, identity=replace(here, rw="rw-03"), clock=StillClock()) as desk:
        picture(desk, ON_CARD)
        desk.alarm()
    with Desk(folder, identity=here, clock=StillClock()):
        pass
    (parked,) = (folder / PARKED).iterdir()
    (parked / FILE).write_bytes(b"no database" * 1_000)

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with TellingDesk(folder, identity=here, clock=StillClock()) as desk:
        fill_memory(desk)
        desk.spool.purge(PRESS)
        desk.wait(Purged)
        with monkeypatch.context() as disk:
            disk.setattr("edge_agent.spool.parked.remove", refuse)
            assert fail_mend(desk, 5)
            assert not fail_mend(desk, 10**6)
            desk.alarm()
            assert len(stones(desk)) == 2, "in memory, and on the disk"
            assert (folder / NOTE).exists(), "still owed"
        assert kept(desk) == list(OLD)
        while (folder / NOTE).exists():
            desk.clock.skip(31)
            desk.ask(limit=1)
        assert not seen(raw_of(folder), ON_CARD, *YOUNG)
    assert check(str(folder)) == ()
