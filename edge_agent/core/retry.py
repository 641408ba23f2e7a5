"""When to try the hub again: ten thousand boxes that lost it together shall come back spread, each as soon as that allows.

Promises:
- The first retry is uniform over the hub's window and the spread then doubles, up to `CAP` windows: what a hub is spared by, and how
  fast all are back, follow from its window alone (tests/bench/herd.py).
- Only a connection that held for a while makes the next loss a first one: accepting and throwing out is no success.
- What troubles no hub (a fault on the box's own side, a broker on the same machine) is tried again within `LOCAL_S`.
- A hub that asks for patience (busy, over quota, moved) is left alone for a whole window at the least, wherever it stands.
Chance is an argument. Not its job: connecting, and what a failure means (uplink.py, hub.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_S: Final = 120.0  # 10,000 boxes over 120 s stay below 100 handshakes a second
# Of the window, at the most: after an outage of any length 99 % of a herd are back within 2.2 times what the hub needs at the
# least (tests/bench/herd.py), and the hub sets the pace by its window alone.
CAP: Final = 1.875
START_S: Final = 2.0  # boots are spread by themselves
LOCAL_S: Final = 5.0  # a cable out beside the box, or a broker on it, troubles no hub
STABLE_S: Final = 900.0
STABLE_LOCAL_S: Final = 60.0


class Retry:
    """How long to wait. Owner thread only; *random* gives numbers from 0 up to 1."""

    def __init__(self, *, loopback: bool, random: Callable[[], float], window_s: float) -> None:
        """*loopback*: the broker is on this box, so patience serves nobody, unless the broker asks for it."""
        self._loopback = loopback
        self._random = random
        self._attempts = 0  # failures since the last stable spell
        self.window_s = window_s  # the hub's, in seconds

    def start_s(self) -> float:
        """Before the first attempt of a process."""
        return self._random() * START_S

    def again_s(self, *, local: bool, patient: bool = False) -> float:
        """After a failure; `patient`: the hub said that it cannot serve us now."""
        if patient:
            return self.window_s + self._random() * self._next_spread_s()
        if local or self._loopback:
            return self._random() * LOCAL_S
        return self._random() * self._next_spread_s()

    def together_s(self) -> float:
        """Before what a whole city starts at the same word, or on the same occasion."""
        return self._random() * (LOCAL_S if self._loopback else self.window_s)

    def was_up(self, for_s: float) -> None:
        """A connection ended that had held for so long: long enough shows that the hub is well."""
        if for_s >= (STABLE_LOCAL_S if self._loopback else STABLE_S):
            self._attempts = 0

    def _next_spread_s(self) -> float:
        # The window is the least spread that spares the hub; doubling starts from it, not from a second.
        spread_s = self.window_s * min(CAP, 2.0 ** min(self._attempts, 20))
        self._attempts += 1
        return spread_s
