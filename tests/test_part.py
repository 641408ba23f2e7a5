"""A part's thread: begun once, left in time, and never ending in silence."""

import threading

from edge_agent.core.messages import Died
from edge_agent.part import Part
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
