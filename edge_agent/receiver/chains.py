"""The audit chain as a hub sees it: whether what a box tells today fits what it told before (docs/wire.md, "The audit chain").

Promises: an entry whose own hash does not hold, two entries with one name, a `previous`, `before` or `pruned` that names another
hash than the one that came, and a hole that stays although everything about it has come are each said, once; the order in which
entries come, and that they come twice, makes no difference. Never raises, whatever a box wrote.
Pure. Not its job: the box's own copy of the trail (spool/chain.py), judging who did it (docs/audit.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edge_agent.core import wire
from edge_agent.core.messages import Json
from edge_agent.receiver.ranges import Ranges

GENESIS: Final = "0" * 64
MAX_BREAKS: Final = (
    20  # said; a chain that is broken in more places is no better told by more of them
)
MARK: Final = '"chain":{'  # stands in the text of every record of a chain


@dataclass(frozen=True, slots=True)
class _Link:
    """What is kept of an entry: enough to hold the next one against it."""

    hash: str
    previous: str
    epoch: str  # of the record that brought it, whose seqs say what is still under way
    seq: int


@dataclass(slots=True)
class _Chain:
    """One epoch."""

    links: dict[int, _Link] = field(default_factory=dict)
    have: Ranges = field(default_factory=Ranges)


class Chains:
    """The chains of one box."""

    def __init__(self) -> None:
        self._chains: dict[str, _Chain] = {}
        self._named: dict[
            tuple[str, int], str
        ] = {}  # what entries say of others that have not come
        self._breaks: dict[str, None] = {}  # in the order in which they were found

    def take(self, record: wire.Arrived) -> None:
        """A record of the box; what has no chain is none of ours."""
        if MARK not in record.data:
            return
        data: Json = json.loads(record.data)
        if not isinstance(data, dict) or not isinstance(data.get("chain"), dict):
            return
        told = _read(record, data)
        if told is None:
            self._break(f"record {record.epoch}-{record.seq}: its chain cannot be read")
            return
        epoch, number, link, sound = told
        name = f"entry {number} of {epoch}"
        if not sound:
            self._break(f"{name}: its hash does not hold")
            return
        self._put(epoch, number, link, name)
        chain = data["chain"]
        for other in ("before", "pruned"):
            self._mention(chain.get(other) if isinstance(chain, dict) else None, f"{name}: {other}")

    def breaks(self, kept: Mapping[str, Ranges]) -> tuple[str, ...]:
        """Where the chains do not hold; *kept*: the seqs accounted for, of each epoch of the journal."""
        holes = (
            hole for epoch, chain in self._chains.items() for hole in _holes(epoch, chain, kept)
        )
        return tuple(dict.fromkeys([*self._breaks, *holes]))[:MAX_BREAKS]

    def _put(self, epoch: str, number: int, link: _Link, name: str) -> None:
        chain = self._chains.setdefault(epoch, _Chain())
        known = chain.links.get(number)
        if known is not None:
            if known.hash != link.hash:
                self._break(f"{name}: came with two contents")
            return
        chain.links[number] = link
        chain.have.add(number, number)
        before, after = chain.links.get(number - 1), chain.links.get(number + 1)
        if number == 1 and link.previous != GENESIS:
            self._break(f"{name}: is the first, and names one before it")
        if before is not None and link.previous != before.hash:
            self._break(f"{name}: does not follow the one before it")
        if after is not None and after.previous != link.hash:
            self._break(f"entry {number + 1} of {epoch}: does not follow the one before it")
        named = self._named.pop((epoch, number), link.hash)
        if named != link.hash:
            self._break(f"{name}: is not the one that a later entry names")

    def _mention(self, place: Json, where: str) -> None:
        """An entry names another one by its hash."""
        if not isinstance(place, dict):
            return
        match place.get("epoch"), place.get("n"), place.get("hash"):
            case str(epoch), int(number), str(named):
                pass
            case _:
                return  # nothing came before it
        chain = self._chains.get(epoch)
        known = None if chain is None else chain.links.get(number)
        if known is None:
            self._named[epoch, number] = named
        elif known.hash != named:
            self._break(f"{where} is not the entry that came")

    def _break(self, what: str) -> None:
        if len(self._breaks) < MAX_BREAKS:
            self._breaks[what] = None


def _holes(epoch: str, chain: _Chain, kept: Mapping[str, Ranges]) -> list[str]:
    """Entries between two that came, although every seq between those two is accounted for."""
    found = []
    for first, last in chain.have.gaps(MAX_BREAKS):
        if first == 1:
            continue  # the hub came later, or the box had dropped them
        low, high = chain.links[first - 1], chain.links[last + 1]
        ranges = kept.get(low.epoch)
        around = None if ranges is None or low.epoch != high.epoch else ranges.around(low.seq)
        if around is not None and around[1] >= high.seq > low.seq:
            found.append(f"entries {first} to {last} of {epoch}: never came")
    return found


def _read(record: wire.Arrived, data: Mapping[str, Json]) -> tuple[str, int, _Link, bool] | None:
    """Epoch, number and link of an entry, and whether its own hash holds."""
    chain = data["chain"]
    if not isinstance(chain, dict):
        return None
    match chain.get("epoch"), chain.get("n"), chain.get("hash"), chain.get("previous"):
        case str(epoch), int(number), str(told), str(previous) if number >= 1:
            pass
        case _:
            return None
    entry: Json = {
        "type": wire.TYPE_PREFIX + record.kind,
        "subject": record.camera,
        "boot": record.boot,
        "mono": wire.mono(record.at),
        "data": {key: value for key, value in data.items() if key != "chain"},
        "chain": {key: value for key, value in chain.items() if key != "hash"},
    }
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    link = _Link(hash=told, previous=previous, epoch=record.epoch, seq=record.seq)
    return epoch, number, link, hashlib.sha256(text.encode()).hexdigest() == told
