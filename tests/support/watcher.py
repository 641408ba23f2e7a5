"""Collects what a supervisor posts, and waits for what a test expects, with a deadline instead of a sleep."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from edge_agent.core.messages import CameraLost, CameraOpened, PictureTaken
from tests.support.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.messages import Event


class Watcher:
    """`post` is handed to the part under test; any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._news = threading.Condition()
        self.events: list[tuple[float, Event]] = []

    def post(self, event: Event) -> None:
        with self._news:
            self.events.append((self._clock.now(), event))
            self._news.notify_all()

    def wait(self, done: Callable[[], bool], within_s: float) -> float:
        """Until *done*; how long that took. Fails with what came instead."""
        began_at = self._clock.now()
        within_s = patient(within_s)
        with self._news:
            while not done():
                left_s = began_at + within_s - self._clock.now()
                assert left_s > 0, (
                    f"not within {within_s} s; seen: {[e for _, e in self.events][-12:]}"
                )
                self._news.wait(min(left_s, 0.1))
        return self._clock.now() - began_at

    def of(self, camera: str, *, after: int = 0) -> list[Event]:
        """What was said of *camera*, from the *after*-th event on."""
        kinds = CameraOpened | CameraLost | PictureTaken
        return [e for _, e in self.events[after:] if isinstance(e, kinds) and e.camera == camera]

    def pictures(self, camera: str, *, after: int = 0) -> list[PictureTaken]:
        return [e for e in self.of(camera, after=after) if isinstance(e, PictureTaken)]

    def lost(self, camera: str, *, after: int = 0) -> list[CameraLost]:
        return [e for e in self.of(camera, after=after) if isinstance(e, CameraLost)]

    def opened(self, camera: str, *, after: int = 0) -> list[CameraOpened]:
        return [e for e in self.of(camera, after=after) if isinstance(e, CameraOpened)]

    def longest_gap_s(self, camera: str, *, after: int = 0) -> float:
        """The longest time between two pictures of *camera*."""
        at = [
            t for t, e in self.events[after:] if isinstance(e, PictureTaken) and e.camera == camera
        ]
        return max((b - a for a, b in itertools.pairwise(at)), default=0.0)

    def check(self) -> None:
        """What must hold whatever happened: see the promises of edge_agent/cameras.py."""
        open_now: dict[str, int | None] = {}
        newest: dict[str, int] = {}
        for _, event in self.events:
            match event:
                case CameraOpened():
                    assert event.generation > newest.get(event.camera, 0), (
                        f"generation used twice: {event}"
                    )
                    newest[event.camera] = event.generation
                    open_now[event.camera] = event.generation
                case CameraLost():
                    open_now[event.camera] = None
                case PictureTaken():
                    assert open_now.get(event.camera) == event.generation, (
                        f"picture of a lost connection: {event}"
                    )
                    assert event.age_s <= 8.0
                case _:
                    raise AssertionError(event)
