"""Whether a journal is sound, and what becomes of each fault that it has.

Promise: changes nothing. Not its job: finding faults (edge_agent/spool), mending them (the agent, when it starts or meets them).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edge_agent.spool import check_beside

_ASIDE: Final = (
    "the agent moves the store aside when it meets this or starts again, begins a new one and saves what is whole"
    " (systemctl restart edge-agent)"
)
_LEFT_OUT: Final = (
    "left out when it is sent, deleted, and declared to the hub as a tombstone (reason damaged)"
)
# What follows a fault, by how it begins; the first that fits.
_THEN: Final = (
    (re.compile(r"structure:|the store's count:|record \d+ lies beyond"), _ASIDE),
    (
        re.compile(r"there are \d+ records on shelf"),
        "costs nothing but a count; the store is looked after as it is",
    ),
    (re.compile(r"record \d+: not as it was"), _LEFT_OUT),
    (re.compile(r"record \d+: its file"), _LEFT_OUT),
    (
        re.compile(r".*: a picture without its record\Z"),
        "nobody will ever send it: the agent deletes it after its next start",
    ),
    (
        re.compile(r"audit trail:"),
        "cannot be mended: edge-agent audit names it, the hub's copies tell what is missing",
    ),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong where, and what happens with it."""

    what: str
    then: str


def faults(folder: str, scratch: str | None) -> tuple[Fault, ...]:
    """Every fault of the journal in *folder*; `UnreadableError` if it cannot be read."""
    return tuple(Fault(what, _then(what)) for what in check_beside(folder, scratch))


def _then(what: str) -> str:
    return next((then for begins, then in _THEN if begins.match(what)), _ASIDE)
