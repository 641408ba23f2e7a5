"""What waits and goes next: lanes of their own, pictures of an event first, nothing twice."""

from __future__ import annotations

import pytest

from edge_agent.core.lanes import (
    AROUND_EVENT,
    BATCH_RECORDS,
    MAX_SPANS,
    NOBODY_S,
    PAGE_RECORDS,
    PICTURES_AT_ONCE,
    RETRY_S,
    Lanes,
)
from edge_agent.core.ledger import Ledger
from edge_agent.core.messages import Fetch, Fetched, Lane, Message, Rank, Stored
from edge_agent.core.pace import Pace
from edge_agent.core.settings import Identity
from edge_agent.core.suspects import CONVICT_S, UNPROVEN_S
from edge_agent.core.window import Parcel
from tests.support.outbox import Outbox

IDENTITY = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")


class Yard:
    """Lanes between a journal and a link that takes what it is given."""

    def __init__(self, *cameras: str) -> None:
        self.ledger = Ledger()
        self.pace = Pace()
        self.lanes = Lanes(IDENTITY, self.ledger, self.pace)
        self.outbox = Outbox()
        self.lanes.set_open(frozenset(cameras))
        self.at = 100.0

    def begin(self) -> None:
        """A connection comes up on what the journal has now."""
        self.lanes.new_epoch(self.outbox.epoch, self.outbox.last_seq)
        self.lanes.new_connection(None)

    def ask(self, lane: Lane) -> Fetch | None:
        return self.lanes.next_fetch(lane, self.at)

    def answer(self, fetch: Fetch | None) -> None:
        assert fetch is not None
        self.lanes.fetched(self.outbox.fetch(fetch), self.at, up=True)

    def take(self, lane: Lane) -> list[Parcel]:
        found = []
        while self.lanes.first(lane) is not None:
            found.append(self.lanes.take(lane))
        return found

    def drain(self, lane: Lane) -> list[int]:
        """All of a lane, delivered and settled as it goes."""
        seqs: list[int] = []
        while (fetch := self.ask(lane)) is not None:
            self.answer(fetch)
            for parcel in self.take(lane):
                seqs += parcel.seqs
                assert self.lanes.landed(parcel)
                self.lanes.arrived(parcel)
                for seq in parcel.seqs:
                    del self.outbox.kept[seq]
        return seqs


def test_class_0_of_now_does_not_wait_for_class_0_of_the_outage() -> None:
    yard = Yard()
    for _ in range(5):
        yard.outbox.put(rank=Rank.AUDIT)
    yard.begin()
    fresh = yard.outbox.put(rank=Rank.AUDIT)
    yard.lanes.committed(fresh.seq)
    assert yard.drain(Lane.AUDIT) == [6]
    assert yard.drain(Lane.AUDIT_HISTORY) == [1, 2, 3, 4, 5]
    assert yard.ask(Lane.AUDIT_HISTORY) is None


def test_pictures_around_an_event_of_their_camera_come_before_all_others() -> None:
    yard = Yard("bridge", "gate")
    event_at = 4 * AROUND_EVENT
    for number in range(1, 8 * AROUND_EVENT):
        if number == event_at:
            yard.outbox.put("gate.changed", rank=Rank.AUDIT, camera="gate")
        elif number == event_at + 1:
            yard.outbox.put("box.metrics")  # of no camera: no event
        else:
            yard.outbox.picture("gate" if number % 2 else "bridge", size=10)
    yard.begin()
    yard.drain(Lane.AUDIT_HISTORY)
    came = yard.drain(Lane.HISTORY_PICTURES)
    around = range(event_at - AROUND_EVENT, event_at + AROUND_EVENT + 1)
    first = came[: AROUND_EVENT - 2]
    assert all(seq in around and seq % 2 for seq in first)
    rest = came[AROUND_EVENT + 2 :]
    assert not any(seq in around and seq % 2 for seq in rest)
    assert sorted(came) == sorted(set(came))
    assert len(came) == 8 * AROUND_EVENT - 3


def test_the_newest_event_comes_first_and_neighbours_are_one() -> None:
    yard = Yard("gate")
    events = (10, 20, 30, 5 * AROUND_EVENT)
    for number in range(1, 6 * AROUND_EVENT):
        if number in events:
            yard.outbox.put("finding.opened", rank=Rank.STATE, camera="gate")
        else:
            yard.outbox.picture("gate", size=10)
    yard.begin()
    yard.drain(Lane.HISTORY)
    came = yard.drain(Lane.HISTORY_PICTURES)
    assert came[0] == 4 * AROUND_EVENT
    assert came[2 * AROUND_EVENT - 1] == 1
    assert len(came) == len(set(came)) == 6 * AROUND_EVENT - 1 - len(events)


def test_a_storm_of_events_takes_no_more_memory_than_it_may_and_loses_no_picture() -> None:
    yard = Yard("gate")
    for number in range(3 * MAX_SPANS * AROUND_EVENT):
        if number % (2 * AROUND_EVENT + 10) == 0:
            yard.outbox.put("finding.opened", rank=Rank.STATE, camera="gate")
        elif number % 50 == 0:
            yard.outbox.picture("gate", size=10)
        else:
            yard.outbox.last_seq += 1  # thinned since
    pictures = sum(stored.jpeg is not None for stored in yard.outbox.kept.values())
    yard.begin()
    yard.drain(Lane.HISTORY)
    came = yard.drain(Lane.HISTORY_PICTURES)
    assert len(came) == len(set(came)) == pictures


def test_an_event_that_is_heard_of_while_its_pictures_are_on_their_way_sends_none_twice() -> None:
    yard = Yard("gate")
    pictures = 2 * AROUND_EVENT
    for number in range(pictures + 2):
        if number in (0, 20):
            yard.outbox.put("finding.opened", rank=Rank.STATE, camera="gate")
        else:
            yard.outbox.picture("gate", size=10)
    yard.begin()
    first = yard.ask(Lane.HISTORY)
    assert first is not None
    whole = yard.outbox.fetch(first)
    yard.lanes.fetched(Fetched(fetch=first, records=whole.records[:1], end=False), yard.at, up=True)
    yard.take(Lane.HISTORY)
    asked = yard.ask(Lane.HISTORY_PICTURES)
    yard.answer(yard.ask(Lane.HISTORY))  # the second event, which widens what comes first
    yard.answer(asked)
    came = [seq for parcel in yard.take(Lane.HISTORY_PICTURES) for seq in parcel.seqs]
    assert len(came) == PICTURES_AT_ONCE
    came += yard.drain(Lane.HISTORY_PICTURES)
    assert len(came) == len(set(came)) == pictures


def test_a_journal_that_had_no_time_for_a_span_is_asked_for_it_again() -> None:
    yard = Yard("gate")
    yard.outbox.put("finding.opened", rank=Rank.STATE, camera="gate")
    yard.outbox.picture("gate", size=10)
    yard.begin()
    yard.drain(Lane.HISTORY)
    fetch = yard.ask(Lane.HISTORY_PICTURES)
    assert fetch is not None
    yard.lanes.fetched(Fetched(fetch=fetch, records=(), end=False), yard.at, up=True)
    assert yard.ask(Lane.HISTORY_PICTURES) is None
    yard.at += RETRY_S
    assert yard.drain(Lane.HISTORY_PICTURES) == [2]


def test_the_hubs_word_wakes_what_nobody_listened_to_but_not_with_each_word() -> None:
    yard = Yard()
    for _ in range(3):
        yard.outbox.put()
    yard.begin()
    tries = 0
    for second in range(120):
        yard.at = 100.0 + second
        fetch = yard.ask(Lane.HISTORY)
        if fetch is not None:
            tries += 1
            yard.answer(fetch)
            (parcel,) = yard.take(Lane.HISTORY)
            yard.lanes.landed(parcel)
            yard.lanes.put_back(parcel, yard.at + NOBODY_S, nobody=True)
        yard.lanes.hub_lives(yard.at)  # it acknowledges other records each second
    assert tries <= 2 * 120 / NOBODY_S + 1


def test_the_hubs_word_does_not_lift_a_refusal() -> None:
    yard = Yard()
    yard.outbox.put()
    yard.begin()
    for nobody in (True, False):
        yard.at += NOBODY_S
        yard.answer(yard.ask(Lane.HISTORY))
        (parcel,) = yard.take(Lane.HISTORY)
        yard.lanes.landed(parcel)
        yard.lanes.put_back(parcel, yard.at + (NOBODY_S if nobody else 900.0), nobody=nobody)
    yard.lanes.hub_lives(yard.at + NOBODY_S)
    yard.at += NOBODY_S
    assert yard.ask(Lane.HISTORY) is None


def lose(yard: Yard, *lanes: Lane) -> list[Parcel]:
    """A connection comes up, takes what *lanes* have, and breaks."""
    yard.lanes.new_connection(None)
    flying = []
    for lane in lanes:
        yard.answer(yard.ask(lane))
        flying += yard.take(lane)
    yard.lanes.blame(flying, yard.at, beside=False)
    yard.lanes.forget_connection()
    return flying


def test_a_suspect_shares_no_message_with_others() -> None:
    yard = Yard()
    yard.outbox.put()
    yard.begin()
    lose(yard, Lane.HISTORY)
    yard.outbox.put()
    yard.lanes.committed(yard.outbox.last_seq)
    (flying,) = lose(yard, Lane.HISTORY)
    assert flying.seqs == (1, 2)
    yard.outbox.put()
    yard.lanes.committed(yard.outbox.last_seq)
    assert [parcel.seqs for parcel in lose(yard, Lane.HISTORY)] == [(1,), (2, 3)]


def test_a_convict_of_class_0_comes_back_in_a_lane_that_waits_for_nobodys_turn() -> None:
    yard = Yard()
    alarm = yard.outbox.put(rank=Rank.AUDIT).seq
    for _ in range(3):
        yard.outbox.put()
    yard.begin()
    lose(yard, Lane.AUDIT_HISTORY, Lane.HISTORY)
    lose(yard, Lane.AUDIT_HISTORY)
    lose(yard, Lane.AUDIT_HISTORY)
    yard.lanes.new_connection(None)
    yard.lanes.spare(yard.at, yard.at + 3_600.0)
    yard.answer(yard.ask(Lane.AUDIT_HISTORY))
    assert yard.lanes.first(Lane.AUDIT_HISTORY) is None, "the others first"
    assert min(yard.lanes.deadlines()) <= yard.at + UNPROVEN_S
    yard.answer(yard.ask(Lane.HISTORY))
    yard.lanes.answered(yard.lanes.take(Lane.HISTORY), yard.at)
    assert yard.ask(Lane.AGAIN) is None
    yard.answer(yard.ask(Lane.AUDIT_HISTORY))
    assert yard.lanes.take(Lane.AUDIT_HISTORY).seqs == (alarm,)


@pytest.mark.parametrize("lane", [Lane.AUDIT_HISTORY, Lane.HISTORY])
def test_on_a_line_that_comes_and_goes_an_alarm_does_not_pay_with_a_quarter_of_an_hour(
    lane: Lane,
) -> None:
    yard = Yard()
    yard.outbox.put(rank=Rank.AUDIT if lane is Lane.AUDIT_HISTORY else Rank.STATE)
    yard.begin()
    lose(yard, lane)
    lose(yard, lane)
    yard.lanes.suspects.answered(
        Parcel(
            message=Message(topic="", payload=b""),
            size=9,
            lane=lane,
            camera="",
            epoch=yard.outbox.epoch,
            seqs=(9,),
        )
    )
    lose(yard, lane)
    wait_s = UNPROVEN_S if lane is Lane.AUDIT_HISTORY else CONVICT_S
    assert min(yard.lanes.deadlines()) == yard.at + wait_s


def test_a_pause_drops_what_waits_and_keeps_what_is_in_flight() -> None:
    yard = Yard("gate")
    for _ in range(BATCH_RECORDS):
        yard.outbox.put(data=b'{"text":"' + b"x" * 500 + b'"}')
    yard.begin()
    yard.answer(yard.ask(Lane.HISTORY))
    flying = yard.lanes.take(Lane.HISTORY)
    yard.lanes.pause()
    assert yard.lanes.first(Lane.HISTORY) is None
    assert yard.lanes.under_way == len(flying.seqs)
    yard.lanes.new_connection(None)
    came = yard.drain(Lane.HISTORY)
    assert set(came).isdisjoint(flying.seqs)
    assert len(came) + len(flying.seqs) == BATCH_RECORDS


def test_an_answer_that_comes_after_the_connection_is_not_packed() -> None:
    yard = Yard()
    yard.outbox.put()
    yard.begin()
    fetch = yard.ask(Lane.HISTORY)
    assert fetch is not None
    yard.lanes.fetched(yard.outbox.fetch(fetch), yard.at, up=False)
    assert yard.lanes.first(Lane.HISTORY) is None
    assert yard.lanes.under_way == 0


def test_messages_are_as_large_as_the_line_allows() -> None:
    yard = Yard()
    for _ in range(BATCH_RECORDS):
        yard.outbox.put(data=b'{"text":"' + b"x" * 100 + b'"}')
    yard.begin()
    yard.answer(yard.ask(Lane.HISTORY))
    sizes = [parcel.size for parcel in yard.take(Lane.HISTORY)]
    assert max(sizes) <= yard.pace.parcel_bytes + 200
    assert len(sizes) > 4


def test_the_next_page_is_fetched_while_less_than_a_window_waits() -> None:
    """The journal may be within a commit: a line that has nothing to carry meanwhile stands still."""
    yard = Yard()
    for _ in range(3 * PAGE_RECORDS):
        yard.outbox.put(data=b'"' + b"x" * 300 + b'"')
    yard.begin()
    yard.answer(yard.ask(Lane.HISTORY))
    assert yard.ask(Lane.HISTORY) is None, "more than a window waits"
    seqs: list[int] = []
    while (fetch := yard.ask(Lane.HISTORY)) is None:
        seqs += yard.lanes.take(Lane.HISTORY).seqs
    assert yard.lanes.first(Lane.HISTORY) is not None
    assert yard.ask(Lane.HISTORY) is None, "one fetch at a time"
    yard.answer(fetch)
    seqs += [seq for parcel in yard.take(Lane.HISTORY) for seq in parcel.seqs]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > PAGE_RECORDS


def test_a_record_of_another_journal_is_not_packed() -> None:
    yard = Yard()
    yard.outbox.put()
    yard.begin()
    fetch = yard.ask(Lane.HISTORY)
    assert fetch is not None
    (stored,) = yard.outbox.fetch(fetch).records
    other = Stored(
        epoch="other",
        seq=stored.seq,
        kind=stored.kind,
        rank=stored.rank,
        camera=None,
        boot=stored.boot,
        at=stored.at,
        wall_s=stored.wall_s,
        trusted=True,
        data=stored.data,
    )
    yard.lanes.fetched(Fetched(fetch=fetch, records=(other,), end=True), yard.at, up=True)
    assert yard.lanes.first(Lane.HISTORY) is None


def test_the_backlog_is_at_rest_when_all_that_may_go_has_gone() -> None:
    yard = Yard("gate")
    yard.outbox.put()
    yard.outbox.picture("gate", size=10)
    yard.outbox.picture("bridge", size=10)  # whose camera is closed
    yard.begin()
    assert not yard.lanes.at_rest(yard.at)
    yard.drain(Lane.HISTORY)
    assert not yard.lanes.at_rest(yard.at)
    fetch = yard.ask(Lane.HISTORY_PICTURES)
    assert not yard.lanes.at_rest(yard.at)
    yard.answer(fetch)
    (parcel,) = yard.take(Lane.HISTORY_PICTURES)
    assert yard.lanes.at_rest(yard.at), "what is under way is out of the way"
    yard.lanes.landed(parcel)
    yard.lanes.put_back(parcel, yard.at + NOBODY_S)
    assert yard.lanes.at_rest(yard.at), "nor does anybody wait for what was refused"
    assert not yard.lanes.at_rest(yard.at + NOBODY_S)
    again = Yard()
    again.begin()
    again.drain(Lane.HISTORY)
    again.lanes.send_again((1,), again.at)
    assert not again.lanes.at_rest(again.at)


def test_a_limit_that_was_met_ends_with_a_broker_that_announces_another() -> None:
    yard = Yard("gate")
    for size in (30_000, 50_000):
        yard.outbox.picture("gate", size=size)
    yard.begin()
    yard.answer(yard.ask(Lane.HISTORY_PICTURES))
    first, second = yard.take(Lane.HISTORY_PICTURES)
    for parcel in (first, second):
        yard.lanes.landed(parcel)
        yard.lanes.refuse(parcel, yard.at)
    assert (yard.lanes.refused_bytes, list(yard.lanes.too_large)) == (first.size, [1, 2])
    for announced, left in ((None, [1, 2]), (1_000_000, [])):
        yard.lanes.forget_connection()
        yard.lanes.new_connection(announced)
        assert list(yard.lanes.too_large) == left
    assert yard.lanes.refused_bytes is None
    assert yard.drain(Lane.HISTORY_PICTURES) == [1, 2]
