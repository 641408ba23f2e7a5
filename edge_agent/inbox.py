"""The one door into the agent: every thread posts here, one thread takes.

Promises: events come out in the order they went in; a newer picture of a camera replaces one that still waits, and takes its
own place at the end: it never overtakes a press, a loop or a connection that came before it. So a slow core sees fresh
pictures and memory stays bounded; of what the hub says at most `WORDS_BYTES` wait, and what comes on top of that is dropped;
everything else is never dropped. `post` never blocks. Pictures that waited when the privacy switch was pressed are never taken,
and are gone from memory with the first event after it (the switch's own), however busy the core is.
Not its job: deciding anything.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from edge_agent.clock import Clock
from edge_agent.core.messages import Event, HubMessage, PictureTaken, Tick

# A flood of words shall cost no memory; a hub repeats what it is not answered for, and its next watermark says what this one said.
WORDS_BYTES: Final = 1_000_000


class Inbox:
    """A queue with one slot per camera for pictures. Any thread may post; the owner thread takes."""

    def __init__(self, clock: Clock, presses: Callable[[], int] = lambda: 0) -> None:
        """*presses* counts those of the privacy switch so far; left out where nothing is read that could leave."""
        self._clock = clock
        self._presses = presses
        self._press = 0  # the pictures that wait came after this one
        self._ready = threading.Condition()
        self._waiting: deque[Event | str] = deque()  # a camera id stands for its newest picture
        self._pictures: dict[str, PictureTaken] = {}
        self._words_bytes = 0
        self._closed = False

    def post(self, event: Event) -> None:
        """Leave *event*. Any thread, signal handlers excepted; never blocks; ignored after `close`."""
        with self._ready:
            if self._closed:
                return
            self._obey_press()
            if isinstance(event, PictureTaken):
                if event.camera in self._pictures:
                    self._waiting.remove(event.camera)
                self._waiting.append(event.camera)
                self._pictures[event.camera] = event
            elif not isinstance(event, HubMessage):
                self._waiting.append(event)
            elif self._words_bytes + _cost(event) <= WORDS_BYTES:
                self._words_bytes += _cost(event)
                self._waiting.append(event)
            self._ready.notify()

    def take(self, *, until: float) -> Event | None:
        """Wait for the next event; a `Tick` when `until` (seconds since boot) passes; None after `close`."""
        with self._ready:
            self._obey_press()
            while not self._waiting and not self._closed:
                left_s = until - self._clock.now()
                if left_s <= 0:
                    return Tick()
                self._ready.wait(left_s)
                self._obey_press()
            if self._closed:
                self._waiting.clear()
                self._pictures.clear()
                return None
            head = self._waiting.popleft()
            if isinstance(head, HubMessage):
                self._words_bytes -= _cost(head)
            return self._pictures.pop(head) if isinstance(head, str) else head

    def forget_pictures(self) -> None:
        """Drop every picture that waits (privacy). Any thread."""
        with self._ready:
            self._forget()

    def _obey_press(self) -> None:
        presses = self._presses()
        if presses != self._press:
            self._press = presses
            self._forget()

    def _forget(self) -> None:
        self._pictures.clear()
        self._waiting = deque(item for item in self._waiting if not isinstance(item, str))

    def close(self) -> None:
        """Wake the taker with None, for good. Any thread; a signal handler too, so `take` does the clearing itself."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()


def _cost(word: HubMessage) -> int:
    """Bytes that it holds; a short one is more than its payload."""
    return len(word.payload) + len(word.correlation or b"") + len(word.response_topic or "") + 500
