"""Counts every picture that the demo's cameras read: what was taken, so that what never left can be counted too.

Promise: `taken()` holds each reading of a file, in order, from the first `watch` of its folder on; nothing is guessed.
It asks the kernel (inotify), not the agent: the agent is what is being watched. Where the kernel says no, `taken` is None.
Not its job: what a picture shows (evidence.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

_CLOSED_UNWRITTEN: Final = 0x10  # IN_CLOSE_NOWRITE: read to its end and closed
_OVERFLOW: Final = 0x4000  # IN_Q_OVERFLOW: the kernel gave up counting
_HEAD: Final = struct.Struct("iIII")  # struct inotify_event, without its name
_READ_BYTES: Final = 64 * 1024


class Lens:
    """A context manager with a thread of its own. `watch` and `taken` may be called from any thread."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._broken = self._fd < 0
        self._lock = threading.Lock()
        self._folders: dict[int, Path] = {}
        self._taken: list[Path] = []
        self._end_in, self._end_out = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="lens", daemon=True)

    def __enter__(self) -> Lens:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._end_out)
        self._thread.join()
        os.close(self._end_in)
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    def watch(self, folder: Path) -> None:
        """Count what is read in *folder* from now on."""
        with self._lock:
            number = -1
            if self._fd >= 0:
                number = int(
                    self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _CLOSED_UNWRITTEN)
                )
            if number < 0:
                self._broken = True
            else:
                self._folders[number] = folder

    def taken(self) -> tuple[Path, ...] | None:
        """Each file read so far, once per reading; None if the kernel could not count them all."""
        with self._lock:
            self._fetch()
            return None if self._broken else tuple(self._taken)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._end_in, selectors.EVENT_READ)
            if self._fd >= 0:
                selector.register(self._fd, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._end_in:
                        return
                    with self._lock:
                        self._fetch()

    def _fetch(self) -> None:
        """What the kernel has counted by now; the thread may be held up while somebody asks. With the lock held."""
        with contextlib.suppress(BlockingIOError):
            while self._fd >= 0:
                self._note(os.read(self._fd, _READ_BYTES))

    def _note(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, what, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            if what & _OVERFLOW:
                self._broken = True
            elif name and number in self._folders:
                self._taken.append(self._folders[number] / name)
