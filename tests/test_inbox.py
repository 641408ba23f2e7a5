"""The inbox: order is kept, edges are never dropped, of pictures the newest wins."""

import threading

from edge_agent.clock import SystemClock
from edge_agent.core.messages import SwitchRead, Tick
from edge_agent.inbox import Inbox
from tests.support.build import opened, picture


def read(press: int) -> SwitchRead:
    return SwitchRead(nc_closed=True, no_closed=False, press=press)


def drain(inbox: Inbox) -> list[object]:
    out: list[object] = []
    while not isinstance(event := inbox.take(until=0.0), Tick):
        out.append(event)
    return out


def test_events_come_out_in_order_and_a_newer_picture_replaces_the_one_that_waits():
    inbox = Inbox(SystemClock())
    first, second, other = picture(taken_at=1.0), picture(taken_at=2.0), picture(camera="b")
    for event in (read(1), first, read(2), other, second, read(3)):
        inbox.post(event)
    assert drain(inbox) == [read(1), second, read(2), other, read(3)]


def test_a_picture_never_overtakes_the_news_of_its_connection():
    inbox = Inbox(SystemClock())
    old, news, new = picture(generation=1), opened(generation=2), picture(generation=2)
    for event in (old, read(1), news, new):
        inbox.post(event)
    assert drain(inbox) == [read(1), news, new]


def test_a_passed_deadline_is_a_tick():
    inbox = Inbox(SystemClock())
    assert inbox.take(until=0.0) == Tick()


def test_waiting_ends_with_a_post_from_another_thread():
    clock = SystemClock()
    inbox = Inbox(clock)
    thread = threading.Thread(target=inbox.post, args=(read(1),))
    thread.start()
    assert inbox.take(until=clock.now() + 10) == read(1)
    thread.join()


def test_privacy_forgets_the_pictures_and_nothing_else():
    inbox = Inbox(SystemClock())
    for event in (picture(), read(1), picture(camera="b")):
        inbox.post(event)
    inbox.forget_pictures()
    assert drain(inbox) == [read(1)]
    inbox.post(picture(taken_at=9.0))
    assert len(drain(inbox)) == 1


def test_closing_wakes_the_taker_and_later_posts_are_ignored():
    clock = SystemClock()
    inbox = Inbox(clock)
    thread = threading.Thread(target=inbox.close)
    thread.start()
    assert inbox.take(until=clock.now() + 10) is None
    thread.join()
    inbox.post(read(1))
    assert inbox.take(until=0.0) is None
