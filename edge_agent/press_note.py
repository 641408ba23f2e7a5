"""The note of a press that the card does not have yet: what one life of the agent leaves to the next within a boot.

A press closes the shutter, which ends with the process; the purge, the withdrawal and a button's leave follow when the core has
heard of it and the card has it. Should the process end in between, this note says so, and since when (docs/privacy.md).
It says until when the switch was surely live besides, for a press that comes while no process runs; and of spells that are over, but
not on the card (it may be dead for weeks), when they were, so that nothing of the time since is destroyed for them.

Promises: it lies in the runtime folder, in memory alone (tmpfs), so that it outlives the process, not the boot, and waits for
no card; it is written over in place, within one page: a kill leaves the old or the new, and a full folder has room for it. It is held
open, so that a press needs no file handle; should it be gone, or not take a press, each look tries again until it does.
What cannot be read, or is not whole, reads as a press; with no such folder nothing is noted and all goes on.
Threads: `look` is the sensor thread's, never the pin library's (rounds.py); `kept` and `live_again` any.
Not its job: what follows from it (core/switch_desk.py).
"""

from __future__ import annotations

import json
import math
import os
import weakref
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from edge_agent.core.switch_memory import EarlierLife

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTE: Final = "press.json"
NOTE_S: Final = 1.0  # until when the switch was live, if nothing else is to be noted: a folder on a card is spared by that
_BYTES: Final = 2048  # of one page, which the kernel fills or leaves
_OVER: Final = 16  # spells; of more, the oldest two are told as one
_UNKNOWN: Final = EarlierLife(live_at=0.0, pressed=True)
_UNREAD: Final = EarlierLife(live_at=0.0, pressed=True, unread=True)
# A pipe or a link that somebody put there must neither hold the start nor lead elsewhere.
_FLAGS: Final = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class PressNote:
    """What is noted in *folder*, by an earlier life in this boot and by this one."""

    def __init__(self, folder: Path, *, boot: str) -> None:
        """Reads what lies there, and takes it over."""
        self._path = folder / NOTE
        self._boot = boot
        boot_before, left, self.trouble = _found(self._path)  # `trouble`: why it cannot be read
        # Whether the agent, and not the box, was started again. What lies in memory is of this boot, read or unread.
        self.restarted = boot_before == boot or (
            boot_before is None and in_memory(folder) is not False
        )
        if boot_before not in {boot, None}:
            # A folder that outlived its boot: the press in it counts, its time says nothing.
            left = _UNKNOWN if left is not None and (left.pressed or left.over) else None
        # What an earlier life in this boot left; None = there was none, or it is not known.
        self.earlier = left
        self._live_at = 0.0 if left is None else left.live_at
        self._pending = left is not None and left.pressed
        # Spells that are over, with the press that each came back from.
        self._over = [(*spell, 0) for spell in (() if left is None else left.over)]
        self._presses = 0
        self._kept: int | None = None
        self._again: int | None = None
        self._handle: int | None = None
        # Not by a `close`: a look of a thread that is late must not write to what has this number by then.
        self._let_go: Callable[[], object] = lambda: None
        self._noted: EarlierLife | None = None  # None = it has to be written
        self._write()

    def look(self, *, presses: int, live_at: float | None) -> None:
        """There were so many presses by now, and the switch was live at *live_at* (None = it is not, or nobody looked).

        Sensor thread; never raises, waits for no card.
        """
        if presses != self._presses:
            self._presses, self._pending = presses, True
        self._obey()
        if live_at is not None:
            if self._pending and self._again == presses:
                self._over.append((self._live_at, live_at, presses))
                if len(self._over) > _OVER:
                    (first, *_), (_, *last) = self._over[:2]
                    self._over[:2] = [(first, last[0], presses)]
                self._pending = False
            if not self._pending:
                self._live_at = live_at
        if self._is_due():
            self._write()

    def kept(self, press: int) -> None:
        """All that follows from the presses up to number *press* is on the card. Any thread; the next look notes it."""
        self._kept = press

    def live_again(self, press: int) -> None:
        """The box is live again by right, and no press came after number *press*. Any thread; the next look notes it."""
        self._again = press

    def _obey(self) -> None:
        kept = self._kept
        if kept is not None:
            self._over = [spell for spell in self._over if spell[2] > kept]
            self._pending = self._pending and kept != self._presses

    # -- the file --

    def _is_due(self) -> bool:
        if self._noted is None:
            return True
        noted, wanted = self._noted, self._wanted()
        if (noted.pressed, noted.over) != (wanted.pressed, wanted.over):
            return True
        if noted.pressed:
            # The whole of it stands here: somebody who cleans up the folder must not take it along.
            return not self._lies_there()
        return abs(noted.live_at - wanted.live_at) >= NOTE_S

    def _wanted(self) -> EarlierLife:
        over = tuple((since, until) for since, until, _ in self._over)
        return EarlierLife(live_at=self._live_at, pressed=self._pending, over=over)

    def _write(self) -> None:
        wanted = self._wanted()
        body = {
            "boot": self._boot,
            "live_at": wanted.live_at,
            "pressed": wanted.pressed,
            "over": wanted.over,
        }
        text = json.dumps(body).encode()
        raw = b"%08x %s" % (zlib.crc32(text), text)
        self._noted = None
        with suppress(OSError):  # no such folder, for one: the next look tries again
            handle = self._opened()
            try:
                os.pwrite(handle, raw.ljust(_BYTES), 0)
            except OSError:
                os.ftruncate(handle, 0)  # no room for it: then nothing, which reads as a press
                raise
            self._noted = wanted

    def _opened(self) -> int:
        """What is held, unless it is not what a life after this one would find there."""
        if self._handle is None or not self._lies_there():
            flags = os.O_WRONLY | os.O_CREAT | _FLAGS
            try:
                handle = os.open(self._path, flags, 0o600)
            except (
                PermissionError
            ):  # another user's: as long as it lies there, it says what is not so any more
                self._path.unlink()
                handle = os.open(self._path, flags, 0o600)
            self._let_go()
            closing = weakref.finalize(self, os.close, handle)
            closing.atexit = False
            self._handle, self._let_go = handle, closing
        return self._handle

    def _lies_there(self) -> bool:
        if self._handle is None:
            return False
        try:
            there = self._path.lstat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._handle))


def in_memory(folder: Path) -> bool | None:
    """Whether *folder* is gone when the box goes off; None = that cannot be told."""
    try:
        device = folder.stat().st_dev
        with open("/proc/self/mountinfo", encoding="utf-8") as table:  # noqa: PTH123 - no path of ours
            lines = [line.split() for line in table]
    except (OSError, UnicodeError):
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}"
    # proc(5): the third field is the device, the first after the dash the kind.
    kinds = {line[line.index("-") + 1] for line in lines if line[2] == wanted and "-" in line}
    return bool(kinds & {"tmpfs", "ramfs"}) if kinds else None


def _found(path: Path) -> tuple[str | None, EarlierLife | None, str]:
    """The boot in which something was noted (None = not known), what, and why it cannot be read; ("", None, "") = nothing ever was."""
    why = "it is damaged"
    raw = b""
    try:
        handle = os.open(path, os.O_RDONLY | _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return "", None, ""
    except OSError as error:
        why = str(error.strerror)
    else:
        try:
            raw = os.read(handle, 2 * _BYTES)
        except OSError as error:
            why = str(error.strerror)
        finally:
            os.close(handle)
    read = _read(raw)
    if read is None:
        # Another's, or no file at all: out of the way, or this life could note nothing.
        with suppress(OSError):
            path.unlink()
        return None, _UNREAD, why
    return *read, ""


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
        case {
            "boot": str(boot),
            "live_at": float(live_at),
            "pressed": bool(pressed),
            "over": list(over),
        } if _is_moment(live_at):
            spells = tuple(spell for item in over for spell in _spell(item))
            if len(spells) == len(over):
                return boot, EarlierLife(live_at=live_at, pressed=pressed, over=spells)
    return None


def _spell(item: object) -> list[tuple[float, float]]:
    match item:
        case [float(since), float(until)] if _is_moment(since) and _is_moment(until):
            return [(since, until)]
        case _:
            return []


def _is_moment(at: float) -> bool:
    return math.isfinite(at) and at >= 0
