"""The read-only door to a journal's audit trail, for a command beside the agent or without one.

Promises: changes nothing and waits for nobody; what it gives is of one moment, or it says that it could not get that; every
place where the chain does not hold, and every page that cannot be read, is named.
Not its job: what the entries mean (edge_agent/audit).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.spool.chain import Break, Check, Entry, State
from edge_agent.spool.peek import Peek
from edge_agent.spool.store import APPLICATION, FILE

# A checkpoint under the reader comes once in some hundred pictures; a whole trail is read in a second or a few.
_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What a look at a journal found."""

    path: str
    epoch: str
    state: State | None  # the chain's end, as the store has it
    count: int  # entries
    breaks: tuple[Break, ...]
    faults: tuple[str, ...]  # pages that cannot be read
    first: Entry | None


def read_trail(folder: str, begin: Callable[[], Callable[[Entry], None]]) -> Trail:
    """Hand every entry, oldest first, to what *begin* gives, and tell how the chain stands; `UnreadableError` if there is none.

    *begin* is called again if it has to start over, as the files changed under it. A trail that was read whole and holds is of one
    moment, whatever happened meanwhile: its hashes prove that.
    """
    path = Path(folder) / FILE
    for _ in range(_TRIES - 1):
        trail, unchanged = _read(path, begin())
        if unchanged or not (trail.breaks or trail.faults):
            return trail
    return _read(path, begin())[0]


def _read(path: Path, take: Callable[[Entry], None]) -> tuple[Trail, bool]:
    with Peek(path, application=APPLICATION) as peek:
        walk = Check()
        breaks: list[Break] = []
        for found in walk.entries(peek.entries()):
            if isinstance(found, Break):
                breaks.append(found)
            else:
                take(found)
        breaks += walk.end(peek.epoch, peek.state)
        trail = Trail(
            path=str(path),
            epoch=peek.epoch,
            state=peek.state,
            count=walk.count,
            breaks=tuple(breaks),
            faults=tuple(peek.faults),
            first=walk.first,
        )
        return trail, peek.unchanged()
