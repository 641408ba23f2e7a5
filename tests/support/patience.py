"""How long a test waits for what is sure to come.

A wait ends as soon as the thing is there; its limit only tells a hang from a machine that is busy with others. How fast things are is
measured in tests/bench/, never here.
"""

from typing import Final

_BUSY: Final = 5.0  # a test machine with five times as much to do


def patient(within_s: float) -> float:
    """The limit for what takes up to *within_s* on a machine that has nothing else to do; seconds."""
    return within_s * _BUSY
