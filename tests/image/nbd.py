"""A card behind a power switch: a disk for QEMU (NBD over a UNIX socket) that loses what was not flushed when the power goes.

A card that is cut from its power keeps every write up to the last flush that it answered. Of those after it any may be there or
not, in any order, each sector by itself. `cut` does just that.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from pathlib import Path

_SECTOR = 512
_MAGIC = b"NBDMAGICIHAVEOPT"
_OPTION_REPLY = 0x3E889045565A9
_REQUEST, _ANSWER = 0x25609513, 0x67446698
_HAS_FLAGS, _SENDS_FLUSH, _SENDS_FUA = 1, 4, 8
_EXPORT_NAME, _ABORT, _INFO, _GO = 1, 2, 6, 7
_ACK, _TOLD, _UNKNOWN = 1, 3, 0x80000001
_READ, _WRITE, _LEAVE, _FLUSH = range(4)
_INVALID = 22


class Card:
    """The disk in the file *path*, served on *address*. A context manager; the machine comes and goes, `cut` takes its power."""

    def __init__(self, path: Path, address: Path) -> None:
        self.path = path
        self.address = address
        self._file = os.open(path, os.O_RDWR)
        self._bytes = os.fstat(self._file).st_size
        self._lock = threading.Condition()
        self._before: dict[int, bytes] = {}  # unflushed sectors, as they were
        self._dead = False
        self._lines: list[socket.socket] = []
        self._served: list[threading.Thread] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(address))
        self._server.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Card:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._hang_up()
        # A write that is still under way must not meet the next card's file under this number.
        for thread in (self._thread, *self._served):
            thread.join(10)
        self.address.unlink(missing_ok=True)
        os.close(self._file)

    def cut(self, chance: random.Random, *, while_writing_s: float = 0.0) -> tuple[int, int]:
        """The power goes: from now on nothing is taken. How many sectors were unflushed, and how many of them are lost.

        *while_writing_s*: for so long it waits for the worst moment, with something written that is not flushed yet.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._before, while_writing_s)
            self._dead = True
            unsure, self._before = self._before, {}
        self._hang_up()
        kept = chance.random()  # some cards lose nearly all of it, some nearly nothing
        lost = {sector: old for sector, old in unsure.items() if chance.random() >= kept}
        for sector, old in lost.items():
            os.pwrite(self._file, old, sector * _SECTOR)
        return len(unsure), len(lost)

    # ---- the protocol: github.com/NetworkBlockDevice/nbd, doc/proto.md ----

    def _hang_up(self) -> None:
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._server.accept()
                self._lines.append(line)
                self._served.append(threading.Thread(target=self._serve, args=(line,), daemon=True))
                self._served[-1].start()

    def _serve(self, line: socket.socket) -> None:
        # A machine that ends in the middle of a word is what this is for.
        with line, contextlib.suppress(OSError, EOFError):
            if self._greet(line):
                while self._obey(line):
                    pass

    def _greet(self, line: socket.socket) -> bool:
        flags = _HAS_FLAGS | _SENDS_FLUSH | _SENDS_FUA
        line.sendall(_MAGIC + struct.pack(">H", 3))
        _all(line, 4)
        while True:
            _, option, length = struct.unpack(">8sII", _all(line, 16))
            _all(line, length)
            reply = struct.pack(">QI", _OPTION_REPLY, option)
            if option == _EXPORT_NAME:
                line.sendall(struct.pack(">QH", self._bytes, flags))
                return True
            if option in {_INFO, _GO}:
                told = struct.pack(">HQH", 0, self._bytes, flags)
                line.sendall(reply + struct.pack(">II", _TOLD, len(told)) + told)
                line.sendall(reply + struct.pack(">II", _ACK, 0))
                if option == _GO:
                    return True
            elif option == _ABORT:
                line.sendall(reply + struct.pack(">II", _ACK, 0))
                return False
            else:
                line.sendall(reply + struct.pack(">II", _UNKNOWN, 0))

    def _obey(self, line: socket.socket) -> bool:
        magic, flags, kind, handle, start, length = struct.unpack(">IHHQQI", _all(line, 28))
        if magic != _REQUEST or kind == _LEAVE:
            return False
        fault, data = 0, b""
        if kind == _READ:
            data = os.pread(self._file, length, start)
        elif kind == _WRITE:
            self._write(_all(line, length), start, through=bool(flags & 1))
        elif kind == _FLUSH:
            with self._lock:
                if self._dead:
                    return False
                self._before = {}
        else:
            fault = _INVALID
        line.sendall(struct.pack(">IIQ", _ANSWER, fault, handle) + data)
        return True

    def _write(self, data: bytes, start: int, *, through: bool) -> None:
        first, last = start // _SECTOR, (start + len(data) - 1) // _SECTOR
        with self._lock:
            if self._dead:
                raise EOFError
            if not through:
                was = os.pread(self._file, (last - first + 1) * _SECTOR, first * _SECTOR)
                for sector in range(first, last + 1):
                    at = (sector - first) * _SECTOR
                    self._before.setdefault(sector, was[at : at + _SECTOR])
            os.pwrite(self._file, data, start)
            self._lock.notify_all()
            if through:
                for sector in range(first, last + 1):
                    self._before.pop(sector, None)


def _all(line: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        more = line.recv(min(count - len(got), 1 << 20))
        if not more:
            raise EOFError
        got += more
    return bytes(got)
