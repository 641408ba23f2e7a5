"""The note of a press that the card does not have yet: what one life of the agent leaves to the next within a boot.

A press closes the shutter, which ends with the process; the purge, the withdrawal and a button's leave follow when the core has
heard of it and the card has it. Should the process end in between, this note says so, and since when (docs/privacy.md).
It says until when the switch was surely live besides, for a press that comes while no process runs.

Promises: it lies in the runtime folder, in memory alone (tmpfs), so that it outlives the process, not the boot, and waits for
no card; it is written over in place, within one page: a kill leaves the old or the new, and a full folder has room for it.
What cannot be read, or is not whole, or could not be written, reads as a press; with no such folder nothing is noted and all goes on.
Threads: `look` is the sensor thread's, never the pin library's (rounds.py); `kept` any.
Not its job: what follows from it (core/switch_desk.py).
"""

from __future__ import annotations

import json
import math
import os
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from edge_agent.core.switch_memory import EarlierLife

if TYPE_CHECKING:
    from pathlib import Path

NOTE: Final = "press.json"
_BYTES: Final = 512  # of one page, which the kernel fills or leaves
_UNKNOWN: Final = EarlierLife(live_at=0.0, pressed=True)
# A pipe or a link that somebody put there must neither hold the start nor lead elsewhere.
_FLAGS: Final = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class PressNote:
    """What is noted in *folder*, by an earlier life in this boot and by this one."""

    def __init__(self, folder: Path, *, boot: str) -> None:
        """Reads what lies there, and takes it over."""
        self._path = folder / NOTE
        self._boot = boot
        boot_before, left = _found(self._path)
        # Whether the agent, and not the box, was started again.
        self.restarted = boot_before in {boot, None}
        if not self.restarted:
            # A folder that outlived its boot: the press in it counts, its time says nothing.
            left = _UNKNOWN if left is not None and left.pressed else None
        # What an earlier life in this boot left; None = there was none, or it is not known.
        self.earlier = left
        self._live_at = 0.0 if left is None else left.live_at
        self._pending = left is not None and left.pressed
        self._presses = 0
        self._kept: int | None = None
        self._write()

    def look(self, *, presses: int, live_at: float | None) -> None:
        """There were so many presses by now, and the switch was live at *live_at* (None = it is not, or nobody looked).

        Sensor thread; never raises, waits for no card.
        """
        before = (self._pending, self._live_at)
        if presses != self._presses:
            self._presses, self._pending = presses, True
        if self._pending and self._kept == presses:
            self._pending = False
        if live_at is not None and not self._pending:
            self._live_at = live_at
        if (self._pending, self._live_at) != before:
            self._write()

    def kept(self, press: int) -> None:
        """All that follows from the presses up to number *press* is on the card. Any thread; the next look notes it."""
        self._kept = press

    # -- the file --

    def _write(self) -> None:
        body = {"boot": self._boot, "live_at": self._live_at, "pressed": self._pending}
        text = json.dumps(body).encode()
        raw = b"%08x %s" % (zlib.crc32(text), text)
        with suppress(OSError):  # no such folder
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | _FLAGS, 0o600)
            try:
                os.pwrite(handle, raw.ljust(_BYTES), 0)
            except OSError:
                os.ftruncate(handle, 0)  # no room for it: then nothing, which reads as a press
            finally:
                os.close(handle)


def _found(path: Path) -> tuple[str | None, EarlierLife | None]:
    """The boot in which something was noted (None = not known), and what; ("", None) = nothing ever was."""
    try:
        handle = os.open(path, os.O_RDONLY | _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return "", None
    except OSError:
        raw = b""
    else:
        try:
            raw = os.read(handle, 2 * _BYTES)
        except OSError:
            raw = b""
        finally:
            os.close(handle)
    read = _read(raw)
    if read is None:
        # Another's, or no file at all: out of the way, or this life could note nothing.
        with suppress(OSError):
            path.unlink()
        return None, _UNKNOWN
    return read


def _read(raw: bytes) -> tuple[str, EarlierLife] | None:
    """The boot, and what was noted in it; None = not whole."""
    told, _, text = raw.rstrip().partition(b" ")
    if told != b"%08x" % zlib.crc32(text):
        return None
    try:
        body: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match body:
        case {"boot": str(boot), "live_at": float(live_at), "pressed": bool(pressed)} if (
            math.isfinite(live_at) and live_at >= 0
        ):
            return boot, EarlierLife(live_at=live_at, pressed=pressed)
        case _:
            return None
