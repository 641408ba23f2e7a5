"""Whether a write-ahead log was damaged, which SQLite does not tell: it takes the log for ended where a frame is not whole.

What then follows would be lost without a word, and its seqs given a second time. A power cut leaves no such log: each transaction is
synced before the next one begins, so that only the last may be in pieces, and a store begins a new log each time it is opened.
Promises: reads the heads of the frames alone (sqlite.org/fileformat2.html), and changes nothing.
Not its job: what is in the frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_HEADER: Final = 32
_FRAME: Final = 24
_MAGICS: Final = {0x377F0682: "<", 0x377F0683: ">"}  # with the order of bytes in its checksums


def cut_short(path: Path, whole: int) -> bool:
    """Whether the log at *path* held a transaction, synced, behind the *whole* frames that SQLite found. Raises OSError."""
    try:
        log = path.open("rb")
    except FileNotFoundError:
        return False
    with log:
        head = log.read(_HEADER)
        if len(log.read(_FRAME)) < _FRAME:
            return False  # there is no frame, whatever its head says
        if not _is_whole(head):
            return True  # it is synced before there are frames
        ended = False  # a transaction that is not among the whole ones
        for number, ends in _frames(log, head):
            if number >= whole:
                if ended:
                    return True
                ended = ends
    return False


def _frames(log: BinaryIO, head: bytes) -> Iterator[tuple[int, bool]]:
    """(number, whether a transaction ends with it) of every frame of this log, leaving out those of its earlier lives."""
    (page,) = struct.unpack(">8xI20x", head)
    number = 0
    while True:
        log.seek(_HEADER + number * (_FRAME + page))
        frame = log.read(_FRAME)
        if len(frame) < _FRAME:
            return
        if frame[8:16] == head[16:24]:
            yield number, any(frame[4:8])
        number += 1


def _is_whole(head: bytes) -> bool:
    """Whether the log's first line is as SQLite wrote it."""
    order = _MAGICS.get(int.from_bytes(head[:4], "big"))
    if order is None:
        return False
    one = two = 0
    for first, second in struct.iter_unpack(f"{order}2I", head[:24]):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return struct.unpack(">2I", head[24:]) == (one, two)
