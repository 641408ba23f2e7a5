"""Time as the box knows it: seconds since boot, wall time, and whether anything vouches for the wall time.

Promise: `now()` never jumps and counts suspend; `trusted()` is true only if the kernel says that its clock is synchronised.
The only module that may ask the operating system for the time.
Not its job: deciding what an untrusted time means (core), remembering the floor over restarts (spool).
"""

import ctypes
import time
from pathlib import Path
from typing import Final, Protocol

# adjtimex(2) returns TIME_ERROR while no time service has disciplined the clock, whichever service that is.
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 256  # struct timex is 208 bytes on 64 bit; the rest is room
# systemd-timesyncd makes this file when it has set the clock; /run is empty after each boot.
_TIMESYNC: Final = Path("/run/systemd/timesync/synchronized")


class Clock(Protocol):
    """Where time comes from."""

    @property
    def boot(self) -> str:
        """Name of this boot, new after each restart of the box."""
        ...

    def now(self) -> float:
        """Seconds since boot."""
        ...

    def wall(self) -> float:
        """Unix time in seconds; a label, never an order."""
        ...

    def trusted(self) -> bool:
        """Whether a time source vouches for `wall()`."""
        ...


class SystemClock:
    """The kernel's clocks. Any thread; never blocks."""

    def __init__(self, timesync: Path = _TIMESYNC) -> None:
        self._timesync = timesync
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        self._libc = ctypes.CDLL(None, use_errno=True)

    @property
    def boot(self) -> str:
        """The kernel's boot id."""
        return self._boot

    def now(self) -> float:
        """Seconds since boot, suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Unix time."""
        return time.time()

    def trusted(self) -> bool:
        """Ask the kernel (adjtimex, read only); where the unit's sandbox forbids that, ask systemd; else the answer is no."""
        timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: change nothing
        state = int(self._libc.adjtimex(timex))
        if state < 0:
            return self._timesync.exists()
        return state < _TIME_ERROR


class FlooredClock:
    """Another clock whose wall time, while nothing vouches for it, is never before what the box last knew.

    A box without a battery starts in 1970, or at its image's date: below the floor its labels would lie by years for nothing.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._floor = (0.0, 0.0)  # wall time, and when in this boot it was set

    def set_floor(self, wall_s: float) -> None:
        """What was vouched for last, by this boot or one before (Unix time). Any thread."""
        self._floor = (wall_s, self._clock.now())

    @property
    def boot(self) -> str:
        """Name of this boot."""
        return self._clock.boot

    def now(self) -> float:
        """Seconds since boot."""
        return self._clock.now()

    def wall(self) -> float:
        """Unix time; from the floor on if nothing vouches for it."""
        wall_s = self._clock.wall()
        floor_s, since = self._floor
        if wall_s >= floor_s or self._clock.trusted():
            return wall_s
        return floor_s + (self._clock.now() - since)

    def trusted(self) -> bool:
        """Whether a time source vouches for `wall()`."""
        return self._clock.trusted()
