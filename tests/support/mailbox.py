"""Where a part's thread posts, and a test waits for what it wants."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_agent.core.messages import Event
from tests.support.patience import patient


class Mailbox:
    """Keeps all that was posted."""

    def __init__(self) -> None:
        self._come = threading.Condition()
        self.events: list[Event] = []

    def post(self, event: Event) -> None:
        with self._come:
            self.events.append(event)
            self._come.notify_all()

    def wait_for(
        self, wanted: Callable[[Event], bool], *, count: int = 1, timeout: float = 20.0
    ) -> Event:
        """The last of those wanted, once there are *count* of them."""
        with self._come:
            assert self._come.wait_for(
                lambda: sum(map(wanted, self.events)) >= count, patient(timeout)
            ), self.events
            return [event for event in self.events if wanted(event)][-1]
