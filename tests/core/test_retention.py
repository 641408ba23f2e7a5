"""What goes when the journal is full, judged by a plain model that holds every record and tries every choice."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import retention
from edge_agent.core.messages import Rank
from edge_agent.core.retention import (
    BREAK_S,
    DAY_S,
    GAP_MOST,
    GAP_STRAINED,
    METRIC_GAP_S,
    NEAR_S,
    Item,
    Look,
    Marks,
    Retention,
    Track,
)

CAMERAS = ("gate", "alley", "river")
METRICS = Track(Rank.METRIC, None)
SLIGHTLY = 1 + 1e-6  # what adding up floats in another order may differ by


def pictures(camera: str) -> Track:
    return Track(Rank.PICTURE, camera)


@dataclass
class Store:
    """Holds every record, does what it is told, and judges each choice."""

    held: dict[Track, list[Item]] = field(default_factory=dict)
    gone: list[Item] = field(default_factory=list)
    settled_some: bool = False  # what was covered is then known to the product alone; also once an end of a break went
    seq: int = 0
    now: float = 0.0
    boot: int = 0
    retention: Retention = field(default_factory=Retention)
    marks: Marks = field(default_factory=Marks)
    boots: dict[str, float] = field(default_factory=dict)
    newest_s: float = 0.0
    chosen: list[int] = field(default_factory=list)

    # -- what comes --

    def put(self, track: Track, *, size: int = 100) -> None:
        boot = f"boot-{self.boot}"
        near = begins = False
        if track.camera is not None:
            near, begins = self.marks.picture(track.camera, boot, self.now)
        self.seq += 1
        item = Item(self.seq, boot, self.now, size, near, begins)
        self.held.setdefault(track, []).append(item)
        self.retention.add(track, item)
        self.newest_s = max(self.newest_s, self.at_s(item))

    def at_s(self, item: Item) -> float:
        return self.boots.setdefault(item.boot, self.newest_s) + item.at

    def event(self, camera: str) -> None:
        boot = f"boot-{self.boot}"
        since = self.marks.event(camera, boot, self.now)
        row = self.held.get(pictures(camera), [])
        row[:] = [
            replace(item, near=True) if item.boot == boot and item.at >= since else item
            for item in row
        ]

    def reboot(self) -> None:
        """The box starts again: its clock begins at nought, and what is known of the records is read again."""
        self.boot += 1
        self.now = 20.0
        self.marks = Marks()
        self.reopen()

    def reopen(self) -> None:
        """All is read again: how long each boot ran, then one track after the other."""
        items = sorted(
            (item for row in self.held.values() for item in row), key=lambda item: item.seq
        )
        self.boots, self.newest_s = {}, 0.0
        for item in items:
            self.newest_s = max(self.newest_s, self.at_s(item))
        begins = [*self.boots.values(), self.newest_s]
        lengths = (later - earlier for earlier, later in itertools.pairwise(begins))
        self.retention = Retention(zip(self.boots, lengths, strict=True))
        for track, row in self.held.items():
            for item in row:
                self.retention.add(track, item)

    def settle(self, low: int, high: int) -> None:
        self.settled_some = True
        for track, row in self.held.items():
            self.held[track] = [item for item in row if not low <= item.seq <= high]
            self.retention.forget(track, low, high)

    # -- thinning, as the journal does it --

    def free(self, size: int) -> int:
        """Give up at least *size* bytes if there are so many; how many were."""
        freed = 0
        for _ in range(20 * (self.seq + 10)):
            if freed >= size:
                return freed
            look = self.retention.look()
            if look is None:
                assert not any(self.held.values()), "it gave up with something left to give"
                return freed
            row = self.held[look.track]
            items = [item for item in row if look.low <= item.seq <= look.high]
            victims = set(self.retention.choose(look, items, size - freed))
            assert victims <= {item.seq for item in items}
            self.judge(look, victims)
            went = [item for item in row if item.seq in victims]
            freed += sum(item.size for item in went)
            self.gone += went
            if any(
                a.seq in victims or b.seq in victims for a, b in itertools.pairwise(row) if b.begins
            ):
                self.settled_some = True
            self.chosen += sorted(victims)
            self.held[look.track] = [item for item in row if item.seq not in victims]
        raise AssertionError("it goes round in circles")

    # -- what a choice must keep to --

    def gaps(self, track: Track) -> Iterator[tuple[Item, float, bool]]:
        """Each record between two others, the gap that giving it up would leave, and whether it stays longest."""
        row = self.held[track]
        for before, item, after in zip(row, row[1:], row[2:], strict=False):
            stays = item.near or item.begins or after.begins
            yield item, self.at_s(after) - self.at_s(before), stays

    def even_s(self, track: Track) -> float:
        row = self.held[track]
        pairs = itertools.pairwise(row)
        covered = sum(self.at_s(b) - self.at_s(a) for a, b in pairs if not b.begins)
        return covered / max(1, len(row) - 1)

    def judge(self, look: Look, victims: set[int]) -> None:
        if not victims:
            return
        assert look.track.rank in {Rank.METRIC, Rank.PICTURE}
        row = self.held[look.track]
        if len(row) > 2:
            assert not victims & {row[0].seq, row[-1].seq}, "first and last stay"
        if self.settled_some:
            return
        if look.track.rank is Rank.PICTURE:
            for _, gap, _ in self.gaps(METRICS) if METRICS in self.held else ():
                assert gap > METRIC_GAP_S / SLIGHTLY, "metrics go before pictures"
            self.judge_picture(look.track, victims)
        elif any(len(self.held[track]) > 2 for track in self.held if track.rank is Rank.PICTURE):
            assert self.longest_made(look.track, victims) <= METRIC_GAP_S * SLIGHTLY

    def longest_made(self, track: Track, victims: set[int]) -> float:
        left = [item for item in self.held[track] if item.seq not in victims]
        seqs = [item.seq for item in self.held[track]]
        made = (
            self.at_s(b) - self.at_s(a)
            for a, b in itertools.pairwise(left)
            if seqs.index(b.seq) - seqs.index(a.seq) > 1
        )
        return max(made, default=0.0)

    def judge_picture(self, track: Track, victims: set[int]) -> None:
        even_s = self.even_s(track)
        choices = list(self.gaps(track))
        if not choices:
            return
        least = min(gap for _, gap, _ in choices)
        if least <= GAP_MOST * even_s / SLIGHTLY and not all(stays for *_, stays in choices):
            plain = min((gap for _, gap, stays in choices if not stays), default=math.inf)
            if min(plain / GAP_MOST, least / GAP_STRAINED) <= even_s / SLIGHTLY:
                most = GAP_MOST * even_s * SLIGHTLY
                assert self.longest_made(track, victims) <= most, "a gap over twice the even one"
        if any(stays for item, _, stays in choices if item.seq in victims):
            plain = min((gap for _, gap, stays in choices if not stays), default=math.inf)
            assert plain > GAP_STRAINED * even_s / SLIGHTLY, "another could have gone"
        cameras = [t for t in self.held if t.rank is Rank.PICTURE and len(self.held[t]) > 2]
        if track in cameras:
            assert self.density(track) * SLIGHTLY >= max(map(self.density, cameras)), "unfair"

    def density(self, track: Track) -> float:
        row = self.held[track]
        covered = self.even_s(track) * max(1, len(row) - 1)
        day = min(max(0.0, self.at_s(row[-1]) - (self.newest_s - DAY_S)), covered)
        return len(row) / max(1.0, covered + (retention.DAY_WEIGHT - 1) * day)


# Summaries of three records as well: what happens between two of them then happens all the time.
BLOCKS = st.sampled_from([3, 64])


@contextmanager
def blocks(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "BLOCK", size)
        yield


def play(store: Store, what: str, camera: int, number: int) -> None:
    """One thing that happens on the street or in the box."""
    match what:
        case "pictures":
            for _ in range(number):
                store.now += (10.0, 60.0, 61.5)[camera]
                store.put(pictures(CAMERAS[camera]), size=50 + number)
        case "seldom":
            for _ in range(number):
                store.now += 3_500.0
                store.put(pictures(CAMERAS[camera]))
        case "together":
            for _ in range(number):
                store.now += 60.0
                for name in CAMERAS:
                    store.put(pictures(name))
        case "metrics":
            for _ in range(number):
                store.now += 300.0
                store.put(METRICS, size=30)
        case "event":
            store.event(CAMERAS[camera])
        case "dark":
            store.now += number * 600.0
        case "reboot":
            store.reboot()
        case "settle":
            low = store.seq * number // 60
            store.settle(low, low + 10 * number * camera)
        case _:
            store.free(number * 60)


THINGS = st.tuples(
    st.sampled_from(
        [
            "pictures",
            "together",
            "seldom",
            "metrics",
            "event",
            "event",
            "dark",
            "reboot",
            "thin",
            "thin",
        ]
    ),
    st.integers(0, 2),
    st.integers(1, 40),
)
OR_SETTLED = st.one_of(THINGS, st.tuples(st.just("settle"), st.integers(0, 2), st.integers(1, 40)))


def played(things: list[tuple[str, int, int]]) -> Store:
    store = Store()
    for thing in things:
        play(store, *thing)
    return store


@settings(max_examples=150, deadline=None)
@given(st.lists(THINGS, min_size=3, max_size=25), BLOCKS)
def test_whatever_happens_each_choice_is_the_one_that_was_promised(things, size):
    with blocks(size):
        store = played(things)
        store.free(store.seq * 40)


@settings(max_examples=100, deadline=None)
@given(st.lists(OR_SETTLED, min_size=3, max_size=25), BLOCKS)
def test_what_the_hub_takes_meanwhile_confuses_nothing(things, size):
    with blocks(size):
        store = played(things)
        held = sum(item.size for row in store.held.values() for item in row)
        assert store.free(held + 1) == held, "all of it, when there is no other way, then an end"
        assert store.retention.look() is None


@settings(max_examples=30, deadline=None)
@given(st.lists(OR_SETTLED, min_size=3, max_size=20), BLOCKS)
def test_the_same_street_is_thinned_the_same_way(things, size):
    with blocks(size):
        assert played(things).chosen == played(things).chosen


@settings(max_examples=60, deadline=None)
@given(st.lists(OR_SETTLED, min_size=3, max_size=20), st.integers(1, 5_000), BLOCKS)
def test_as_much_is_freed_as_was_asked_for_and_hardly_more(things, asked, size):
    with blocks(size):
        store = played(things)
        held = [item.size for row in store.held.values() for item in row]
        freed = store.free(asked)
    assert min(asked, sum(held)) <= freed < asked + max(held, default=0) + 1


def outage(days: int, room: int, *, period_s: float = 600.0, events_every: int = 0) -> Store:
    """Three cameras for so many days, with room for so many pictures of each."""
    store = Store()
    store.settled_some = True  # judging each choice by trying all is too slow here
    for n in range(int(days * DAY_S / period_s)):
        store.now += period_s
        for name in CAMERAS:
            store.put(pictures(name), size=1)
            if events_every and n % events_every == 0:
                store.event(name)
        over = sum(map(len, store.held.values())) - room * len(CAMERAS)
        if over > 0:
            store.free(over + room // 50)
    return store


def spacings(store: Store, track: Track) -> list[tuple[float, float]]:
    """(when, how long) of each gap between pictures kept."""
    row = store.held[track]
    return [(b.at, b.at - a.at) for a, b in itertools.pairwise(row)]


@pytest.mark.parametrize("events_every", [0, 100, 20])
@pytest.mark.parametrize("days", [4, 9, 14, 21, 33])
def test_a_long_outage_stays_covered_from_end_to_end(days, events_every):
    store = outage(days, 300, events_every=events_every)
    for name in CAMERAS:
        row = store.held[pictures(name)]
        assert (row[0].seq - 1) // 3 == 0, "the very first picture is still there"
        even_s = (row[-1].at - row[0].at) / len(row)
        longest = max(gap for _, gap in spacings(store, pictures(name)))
        assert longest <= 2.0 * even_s


def test_the_limit_is_the_promise():
    """The other tests judge by these."""
    assert 1.0 < retention.GAP < GAP_STRAINED < GAP_MOST <= 2.0


@pytest.mark.parametrize("days", [9, 17, 26, 30])
def test_the_last_day_is_denser_than_what_is_older(days):
    store = outage(days, 300)
    for name in CAMERAS:
        gaps = spacings(store, pictures(name))
        young = sum(at > store.now - DAY_S for at, _ in gaps)
        assert young >= 50, "of 144; evenly it would be 300 over the days"
        assert max(gap for at, gap in gaps if at > store.now - DAY_S / 8) == 600.0, "every one"


def test_pictures_near_events_outlive_a_month():
    store = outage(30, 400, events_every=100)
    kept = sum(item.near for row in store.held.values() for item in row)
    lost = sum(item.near for item in store.gone)
    assert kept >= 3 * 43
    # Only where giving up any other would have left a gap over what is allowed.
    assert lost <= kept / 20
    others = sum(len(row) for row in store.held.values()) - kept
    assert others / (3 * 30 * 144 - kept - lost) < 0.15, "of the others one in ten is left"


def test_a_camera_with_endless_events_does_not_eat_the_others():
    store = Store()
    store.settled_some = True
    for n in range(3_000):
        store.now += 60.0
        store.event("gate")  # a gate that flaps: everything is near an event
        for name in CAMERAS:
            store.put(pictures(name), size=1)
        if n > 600:
            store.free(3)
    counts = [len(store.held[pictures(name)]) for name in CAMERAS]
    assert max(counts) <= 1.1 * min(counts)


def test_a_camera_that_takes_six_times_as_many_gives_them_first():
    store = Store()
    store.settled_some = True
    for n in range(6_000):
        store.now += 10.0
        store.put(pictures("gate"), size=1)
        if n % 6 == 0:
            store.put(pictures("alley"), size=1)
        if n > 2_000:
            store.free(1 + (n % 6 == 0))
    gate, alley = (len(store.held[pictures(name)]) for name in ("gate", "alley"))
    assert alley == pytest.approx(1_000, abs=30), "the one that takes few has nothing to give"
    assert gate >= alley


def test_metrics_are_thinned_to_one_an_hour_before_the_first_picture_goes():
    store = Store()
    for _ in range(400):
        store.now += 60.0
        store.put(METRICS, size=10)
        store.put(pictures("gate"), size=10)
    store.free(3_000)
    assert len(store.held[pictures("gate")]) == 400
    store.free(1_200)
    assert len(store.held[pictures("gate")]) < 400
    assert 6 <= len(store.held[METRICS]) <= 20
    assert max(gap for _, gap in spacings(store, METRICS)) <= METRIC_GAP_S


def test_what_the_hub_has_taken_need_not_be_covered_any_more():
    store = Store()
    for _ in range(800):
        store.now += 60.0
        store.put(pictures("gate"), size=1)
    store.free(600)
    store.settle(1, 600)
    left = len(store.held[pictures("gate")])
    store.free(left // 3)
    row = store.held[pictures("gate")]
    even_s = (row[-1].at - row[0].at) / len(row)
    assert max(gap for _, gap in spacings(store, pictures("gate"))) <= 2.0 * even_s


def test_a_time_that_goes_back_a_little_does_no_harm():
    store = Store()
    for n in range(600):
        store.now += (90.0, 60.0, -30.0)[n % 3]
        store.put(pictures("gate"), size=1)
    store.settled_some = True
    assert store.free(500) >= 500
    kept = sorted(item.at for item in store.held[pictures("gate")])
    gaps = [b - a for a, b in itertools.pairwise(kept)]
    assert max(gaps) <= 2.2 * (kept[-1] - kept[0]) / len(kept)


def test_a_night_without_pictures_is_not_made_longer():
    store = Store()
    for _ in range(2):
        for _ in range(200):
            store.now += 60.0
            store.put(pictures("gate"), size=1)
        store.now += 3 * BREAK_S
    ends = [store.held[pictures("gate")][place].seq for place in (0, 199, 200, 399)]
    store.free(370)
    assert set(ends) <= {item.seq for item in store.held[pictures("gate")]}


def test_time_that_the_box_was_off_counts_for_nothing_and_order_is_that_of_boots():
    store = Store()
    for boot in range(6):
        for _ in range(60):
            store.now += 60.0
            store.put(pictures("gate"), size=1)
        if boot < 5:
            store.reboot()
    store.free(300)
    kept = store.held[pictures("gate")]
    assert len({item.boot for item in kept}) == 6, "each boot had its hour, and keeps of it"


def test_summaries_stay_small():
    tracemalloc.start()
    it = Retention()
    for n in range(100_000):
        it.add(pictures(CAMERAS[n % 3]), Item(n + 1, "boot", 20.0 * n, 1_000))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_500_000, "15 bytes a picture: a million take 15 MB at the most"


# ---- marks ----


def test_pictures_before_and_after_an_event_of_their_camera_are_near_it():
    marks = Marks()
    assert marks.event("gate", "boot", 1_000.0) == 1_000.0 - NEAR_S
    marks.picture("gate", "boot", 1_000.0)
    assert marks.picture("gate", "boot", 1_000.0 + NEAR_S) == (True, False)
    assert marks.picture("gate", "boot", 1_001.0 + NEAR_S) == (False, False)
    assert marks.picture("alley", "boot", 1_001.0) == (False, True)
    assert marks.picture("gate", "next boot", 1_001.0) == (False, True)


def test_an_event_told_late_does_not_hide_the_one_after_it():
    marks = Marks()
    marks.event("gate", "boot", 1_000.0)
    assert marks.event("gate", "boot", 500.0) == 500.0 - NEAR_S
    assert marks.picture("gate", "boot", 1_001.0)[0] is True


def test_the_first_picture_after_a_start_or_a_long_dark_begins_a_span():
    marks = Marks()
    assert marks.picture("gate", "boot", 0.0) == (False, True), "nothing is known of before"
    assert marks.picture("gate", "boot", BREAK_S) == (False, False)
    assert marks.picture("gate", "boot", 2 * BREAK_S + 1) == (False, True)
