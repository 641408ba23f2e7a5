"""What the tortured journal is filled with: things that can be told apart, checked to the bit, and found again in raw files.

Promise: a thing's number decides all of it, so that who reads need not have been there when it was put. Numbers grow with the
order of putting, over all lives of a journal.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_agent.core.gate import Cause, Gate, Released
from edge_agent.core.messages import Json, Rank, Record
from tests.support.build import picture as taken

LIFE: Final = 1_000_000  # thing n of a life has the number LIFE * life + n
CAMERAS: Final = ("gate", "alley", "river")
MARK: Final = b"#torture"  # what a picture's every block begins with, before its number
BLOCK: Final = 512  # a sector: none of a picture's is without its mark
_MARKED: Final = re.compile(re.escape(MARK) + rb"(\d{12})")


@dataclass(frozen=True, slots=True)
class Thing:
    """One record or picture."""

    number: int
    rank: Rank
    camera: str | None
    fill: str = ""
    jpeg: bytes | None = field(default=None, repr=False)

    def record(self, at: float) -> Record:
        """For `Spool.keep`."""
        data: dict[str, Json] = {"n": self.number, "fill": self.fill}
        kind = "gate.changed" if self.rank is Rank.AUDIT else "test.kept"
        return Record(kind=kind, rank=self.rank, at=at, data=data, camera=self.camera)

    def released(self, at: float) -> Released:
        """For `Spool.keep_picture`: gone through a real gate."""
        assert self.camera is not None
        assert self.jpeg is not None
        gate = Gate(self.camera, at=0)
        gate.move(Cause.SIGNAL_BACK, at=at)
        gate.move(Cause.PROVEN, at=at)
        shown = taken(camera=self.camera, taken_at=at, jpeg=self.jpeg)
        gate.offer(shown, matches=True, wanted=True, at=at)
        after = taken(camera=self.camera, taken_at=at + 1)
        out = gate.offer(after, matches=True, wanted=True, at=at + 1)
        assert out is not None
        return out


def thing(number: int) -> Thing:
    """The thing of that number."""
    rng = random.Random(number)
    kind = rng.choices(["state", "metric", "audit", "picture"], weights=[50, 20, 5, 25])[0]
    if kind != "picture":
        rank = {"state": Rank.STATE, "metric": Rank.METRIC, "audit": Rank.AUDIT}[kind]
        camera = rng.choice([None, *CAMERAS])
        return Thing(number, rank, camera, fill="x" * rng.choice([0, 90, 400, 2_500]))
    size = rng.choice([600, 3_000, 9_000, 30_000])
    return Thing(number, Rank.PICTURE, rng.choice(CAMERAS), jpeg=_jpeg(number, size, rng))


def _jpeg(number: int, size: int, rng: random.Random) -> bytes:
    """No real picture, but as hard to compress as one."""
    head = b"%s%012d" % (MARK, number)
    blocks = (head + rng.randbytes(BLOCK - len(head)) for _ in range(0, size, BLOCK))
    return b"".join(blocks)[:size]


def pictures_in(files: Iterable[Path]) -> set[int]:
    """The numbers of all pictures of which a piece lies in *files*, readable for the journal or not."""
    found: set[int] = set()
    for path in files:
        if path.is_file():
            found |= {int(match[1]) for match in _MARKED.finditer(path.read_bytes())}
    return found
