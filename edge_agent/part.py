"""The thread of one part of the agent: started and left in order, and its end never goes unsaid. And one that is asked for things.

Promises: whatever ends the work before it is left is posted as `Died`, which ends the agent and has it started again, closed;
leaving cuts a wait short and takes 5 s at the most.
Not its job: what a part does with its time, and what must be put back when it ends (the part's own `finally`).
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from edge_agent.core.messages import Died, Event

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAVE_S: Final = 5.0
_Asked = TypeVar("_Asked")


class Part:
    """Runs *work* in a thread called *name*, from `start` until *work* returns, as it does soon after `leave`."""

    def __init__(
        self, name: str, work: Callable[[], None], *, post: Callable[[Event], None]
    ) -> None:
        self._name = name
        self._work = work
        self._post = post
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def running(self) -> bool:
        """Whether the work is under way."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin the work; once."""
        self._thread.start()

    def leave(self) -> None:
        """End the work, if it was begun. A thread that does not heed it is left behind; it is a daemon."""
        self._left.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=_LEAVE_S)

    def wait(self, seconds: float) -> bool:
        """For *work*: pause so long; True at once when the part is to be left."""
        return self._left.wait(seconds)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - the top of a thread: nothing may end it in silence
            self._post(Died(part=self._name, detail=f"{type(error).__name__}: {error}"))


class Errands(Generic[_Asked]):
    """Does one thing at a time for whoever asks, in a thread called *name*; what is asked for meanwhile becomes one more.

    *join* makes one of two that wait, the earlier and the later.
    """

    def __init__(
        self,
        name: str,
        do: Callable[[_Asked], None],
        *,
        join: Callable[[_Asked, _Asked], _Asked],
        post: Callable[[Event], None],
    ) -> None:
        self._do = do
        self._join = join
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._part = Part(name, self._work, post=post)

    def start(self) -> None:
        """Begin; once. What was asked for before is done now."""
        self._part.start()

    def ask(self, errand: _Asked) -> None:
        """Have it done as soon as the one before is over. Any thread; never blocks."""
        self._asked.put(errand)

    def leave(self) -> None:
        """Begin nothing more, and wait for what is under way, as `Part.leave` does."""
        self._asked.put(None)
        self._part.leave()

    def _work(self) -> None:
        while (errand := self._asked.get()) is not None:
            while not self._asked.empty():
                later = self._asked.get()
                if later is None:
                    return
                errand = self._join(errand, later)
            self._do(errand)
