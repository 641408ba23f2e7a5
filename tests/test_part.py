"""A part's thread: begun once, left in time, and never ending in silence."""

import threading

from edge_agent.core.messages import Died
from edge_agent.part import Errands, Part
from tests.support.mailbox import Mailbox


def test_work_goes_on_until_it_is_left():
    mailbox, turns = Mailbox(), threading.Semaphore(0)

    def work() -> None:
        while not part.wait(0.001):
            turns.release()

    part = Part("lamp", work, post=mailbox.post)
    part.start()
    for _ in range(3):
        assert turns.acquire(timeout=10)
    part.leave()
    assert not part.running
    assert mailbox.events == []


def test_leaving_cuts_a_long_wait_short():
    begun, told = threading.Event(), list[bool]()

    def work() -> None:
        begun.set()
        told.append(part.wait(3_600.0))

    part = Part("lamp", work, post=Mailbox().post)
    part.start()
    assert begun.wait(10)
    part.leave()
    assert told == [True]
    assert not part.running


def test_what_ends_the_work_is_told():
    mailbox = Mailbox()

    def work() -> None:
        raise ZeroDivisionError("of all things")

    part = Part("lamp", work, post=mailbox.post)
    part.start()
    mailbox.wait_for(lambda event: isinstance(event, Died))
    part.leave()
    assert mailbox.events == [Died(part="lamp", detail="ZeroDivisionError: of all things")]


def test_leaving_what_was_never_begun_or_was_left_before_is_harmless():
    part = Part("lamp", lambda: None, post=Mailbox().post)
    part.leave()
    part.start()
    part.leave()
    part.leave()
    assert not part.running


def test_errands_are_done_one_at_a_time_and_what_waits_becomes_one():
    mailbox, begun, go, done = (
        Mailbox(),
        threading.Semaphore(0),
        threading.Semaphore(0),
        list[int](),
    )

    def do(errand: int) -> None:
        begun.release()
        assert go.acquire(timeout=60)
        done.append(errand)

    errands = Errands("porter", do, join=lambda earlier, later: earlier + later, post=mailbox.post)
    errands.ask(1)
    errands.start()
    assert begun.acquire(timeout=60)
    for errand in (10, 200, 3_000):
        errands.ask(errand)
    go.release()
    go.release()
    assert begun.acquire(timeout=60)
    errands.leave()
    assert done == [1, 3_210]
    assert mailbox.events == []


def test_what_waits_when_errands_are_left_is_not_begun():
    mailbox, done = Mailbox(), list[int]()
    errands = Errands("porter", done.append, join=max, post=mailbox.post)
    errands.ask(1)
    errands.leave()
    errands.start()
    errands.leave()
    assert done == []
    assert mailbox.events == []


def test_an_errand_that_breaks_says_so():
    mailbox = Mailbox()

    def do(errand: int) -> None:
        raise ValueError(errand)

    errands = Errands("porter", do, join=max, post=mailbox.post)
    errands.start()
    errands.ask(7)
    mailbox.wait_for(lambda event: event == Died(part="porter", detail="ValueError: 7"))
    errands.leave()
