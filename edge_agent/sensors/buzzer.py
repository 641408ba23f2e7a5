"""What the buzzer says, as printed on the secretary's card: one long, two short, three short.

Promises: nothing waits for it: each round of the sensor thread puts it on or off and says when it wants the next;
"private" cuts off whatever sounds, and "live" is dropped unsaid, or cut off, once a press came after it was asked for.
Not its job: deciding what is said, and when it is night (core).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Sound
from edge_agent.sensors.pins import Output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpiozero import Factory

_SHORT_S: Final = 0.12
_PAUSE_S: Final = 0.15
# On, off, on ... in seconds.
_PATTERNS: Final[Mapping[Sound, tuple[float, ...]]] = {
    Sound.PRIVATE: (0.6,),
    Sound.LIVE: (_SHORT_S, _PAUSE_S, _SHORT_S),
    Sound.FAULT: (_SHORT_S, _PAUSE_S, _SHORT_S, _PAUSE_S, _SHORT_S),
}
_BETWEEN_S: Final = 0.5  # between two sounds, or three short could be heard as one and two
_WAITING_MAX: Final = 3


class Buzzer:
    """`say` may be called from any thread; `round` and `close` by the sensor thread. *pin* None = not fitted."""

    def __init__(self, pin: int | None, factory: Factory | None) -> None:
        self._fitted = pin is not None and factory is not None
        self._output = Output(pin, factory, what="buzzer")
        self._asked: deque[tuple[Sound, int]] = deque(maxlen=_WAITING_MAX)  # from other threads
        self._waiting: deque[tuple[Sound, int]] = deque(maxlen=_WAITING_MAX)
        self._says: tuple[Sound, int, float] | None = None  # what, asked at which press, since when
        self._free_at = float("-inf")

    @property
    def why(self) -> str:
        """Why it cannot be driven; "" = it can."""
        return self._output.why

    def say(self, sound: Sound, *, press: int) -> None:
        """Say it once, soon; *press*: how many presses there were when it was asked for."""
        if self._fitted:
            self._asked.append((sound, press))

    def round(self, at: float, *, press: int) -> float:
        """Put it on or off as its pattern wants, after so many presses; for how many seconds that stays so."""
        self._choose(at, press)
        on, stays_s = False, float("inf")
        if self._says is not None:
            sound, _, since = self._says
            on, stays_s = _phase(_PATTERNS[sound], at - since)
            if stays_s == float("inf"):
                self._says, self._free_at = None, at + _BETWEEN_S
        if self._says is None and self._waiting:
            stays_s = max(0.0, self._free_at - at)
        if self._fitted:
            self._output.drive(on=on, at=at)
        return stays_s

    def _choose(self, at: float, press: int) -> None:
        """Drop what is true no more; begin the next once nothing sounds, and "private" at once."""
        while self._asked:
            item = self._asked.popleft()
            if item[0] is Sound.PRIVATE:
                self._waiting.clear()
            self._waiting.append(item)
        if self._says is not None and _is_stale(*self._says[:2], press=press):
            # The next must not run on where this one stops: the two would be one tone.
            self._says, self._free_at = None, at + _BETWEEN_S
        while self._waiting:
            sound, asked = self._waiting[0]
            stale = _is_stale(sound, asked, press=press)
            if not stale:
                if sound is not Sound.PRIVATE and (self._says is not None or at < self._free_at):
                    return
                self._says = (sound, asked, at)
            self._waiting.popleft()

    def close(self) -> None:
        """Silent, and the pin given back; harmless when called twice."""
        self._output.close()


def _is_stale(sound: Sound, asked: int, *, press: int) -> bool:
    return sound is Sound.LIVE and asked != press


def _phase(pattern: tuple[float, ...], since_s: float) -> tuple[bool, float]:
    """Whether it is on so many seconds after the beginning, and for how long that stays so; inf = it is over."""
    end_s = 0.0
    for number, part_s in enumerate(pattern):
        end_s += part_s
        if since_s < end_s:
            return number % 2 == 0, end_s - since_s
    return False, float("inf")
