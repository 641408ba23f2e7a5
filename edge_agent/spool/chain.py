"""The audit chain: which records decide what was visible, and how each is tied to the one before it by a hash.

Promises: an entry is one JSON text, the same whoever makes it (keys sorted, no spaces, ASCII), and its hash is the SHA-256 of
exactly that text; the text holds the hash before it, so that none can be changed, dropped, added or moved unseen as long as one
later hash is known; what the hub receives of a record is enough to make its entry again (docs/wire.md has the ten lines).
Pure. Not its job: tables (store.py), finding entries in a file (peek.py), what they mean (edge_agent/audit).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, cast

from edge_agent.core import wire
from edge_agent.core.messages import Json, Rank
from edge_agent.spool.values import Row, Stamp

GENESIS: Final = "0" * 64  # `previous` of the first entry of a chain

# What decides what was visible, and what became of it; of rank AUDIT, so that findings are those of cable, switch and view alone.
# Room made in the journal (`journal.thinned`) does not decide it.
_FAMILIES: Final = ("gate.", "privacy.", "view.", "hub.", "agent.", "journal.damaged", "finding.")
_AGENT: Final = "agent."  # whatever its rank: without the starts and stops nobody knows for which time the trail speaks

# Sixteenth part of the journal's quota: 125 MB of the usual 2 GB. An entry takes 700 bytes, so that is 178,000 entries, or 445 a
# day for 400 days: eight cameras whose gates open and close 13 times a day, each with a finding that comes and goes.
SHARE: Final = 16
PRUNED_AT_ONCE: Final = 8  # of the oldest, for each new one, until the share is kept again
ROW_BYTES: Final = 48  # what an entry takes beside its text: hash, row and its part of the tree

Body: TypeAlias = dict[str, Json]


def chained(row: Row) -> bool:
    """Whether *row* belongs into the chain."""
    return row.kind.startswith(_FAMILIES if row.rank is Rank.AUDIT else _AGENT)


def canonical(value: Json) -> bytes:
    """The one text of *value*."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(entry: bytes) -> str:
    """Its hash, as 64 hexadecimal digits."""
    return hashlib.sha256(entry).hexdigest()


@dataclass(frozen=True, slots=True)
class Place:
    """An entry's name: the *n*-th of the chain of *epoch*, with its hash."""

    epoch: str
    n: int
    hash: str

    def json(self) -> Body:
        """As it stands in an entry."""
        return {"epoch": self.epoch, "n": self.n, "hash": self.hash}


@dataclass(frozen=True, slots=True)
class Tally:
    """Pictures of one camera that were kept since its gate last changed; times are `mono` texts."""

    count: int
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known of the time before: the end of the chain, the last commit, pictures that no entry counts."""

    end: Place | None = None
    life: Body | None = None  # boot, mono, time, trusted
    pictures: Mapping[str, Tally] | None = None

    def json(self) -> Body:
        """As `before` in an entry: unknown members are left out."""
        out: Body = {} if self.end is None else self.end.json()
        out |= self.life or {}
        if self.pictures:
            out["pictures"] = {
                camera: [tally.count, tally.first, tally.last]
                for camera, tally in self.pictures.items()
            }
        return out


@dataclass(frozen=True, slots=True)
class Linked:
    """A row with its chain in it, and the entry that it is in the trail."""

    row: Row
    entry: bytes
    hash: str


class Chain:
    """The end of one store's chain, and what its next entry has to tell. *state*: what `state` gave at the last commit."""

    def __init__(self, epoch: str, state: str = "") -> None:
        known = _known(state)
        self._epoch = epoch
        self._n = known.n
        self._hash = known.hash
        self.bytes = known.bytes  # of all entries held, those of other chains too
        self._life = known.life
        self._pictures = dict(known.pictures)
        self._follows = known.follows
        # The first entry after each opening tells what was before.
        self._before: Past | None = self.past()

    def past(self) -> Past:
        """What a store that goes on from here has to name."""
        end = self._follows
        if end is None and self._n:
            end = Place(self._epoch, self._n, self._hash)
        return Past(end=end, life=self._life, pictures=dict(self._pictures))

    def follow(self, past: Past) -> None:
        """The next entry comes after *past*, which another chain holds."""
        self._follows = past.end
        self._life = past.life or self._life
        self._pictures = dict(past.pictures or {})
        self._before = self.past()

    def link(self, row: Row, seq: int, *, pruned: Place | None) -> Linked:
        """Tie *row*, which is to be record *seq*, to the end. *pruned*: the youngest of those that made room for it."""
        chain: Body = {
            "epoch": self._epoch,
            "seq": str(seq),
            "n": self._n + 1,
            "previous": self._hash,
            "time": wire.rfc3339(row.stamp.wall_s),
            "trusted": row.stamp.trusted,
        }
        if self._before is not None:
            chain["before"] = self._before.json()
        if pruned is not None:
            chain["pruned"] = pruned.json()
        data: Body = json.loads(row.data)
        entry = canonical(
            {
                "type": wire.TYPE_PREFIX + row.kind,
                "subject": row.camera,
                "boot": row.stamp.boot,
                "mono": wire.mono(row.stamp.at),
                "data": data,
                "chain": chain,
            }
        )
        self._n, self._hash = self._n + 1, digest(entry)
        self._before = self._follows = None
        self.bytes += len(entry) + ROW_BYTES
        if row.kind == "gate.changed" and row.camera is not None:
            self._pictures.pop(row.camera, None)
        told = canonical({**data, "chain": {**chain, "hash": self._hash}})
        return Linked(replace(row, data=told), entry, self._hash)

    def count(self, camera: str, stamp: Stamp) -> None:
        """A picture was kept."""
        mono = wire.mono(stamp.at)
        tally = self._pictures.get(camera)
        self._pictures[camera] = Tally(
            1 if tally is None else tally.count + 1, mono if tally is None else tally.first, mono
        )

    def live(self, stamp: Stamp) -> None:
        """The store commits at *stamp*: so long the agent was alive."""
        self._life = {
            "boot": stamp.boot,
            "mono": wire.mono(stamp.at),
            "time": wire.rfc3339(stamp.wall_s),
            "trusted": stamp.trusted,
        }

    def state(self) -> str:
        """To be kept with each commit."""
        told: Body = {"n": self._n, "hash": self._hash, "bytes": self.bytes, "life": self._life}
        told["pictures"] = {
            camera: [tally.count, tally.first, tally.last]
            for camera, tally in self._pictures.items()
        }
        told["follows"] = None if self._follows is None else self._follows.json()
        return canonical(told).decode()


# ---- reading ----


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a store says of its chain's end."""

    n: int = 0
    hash: str = GENESIS
    bytes: int = 0
    life: Body | None = None
    pictures: Mapping[str, Tally]
    follows: Place | None = None


def read_state(text: str) -> State | None:
    """What `Chain.state` gave; None if it is not that."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    body = cast("Body", found)
    n, last, size = body.get("n"), body.get("hash"), body.get("bytes")
    if not _is_count(n) or not isinstance(last, str) or not _is_count(size):
        return None
    life = body.get("life")
    return State(
        n=cast("int", n),
        hash=last,
        bytes=cast("int", size),
        life=cast("Body", life) if isinstance(life, dict) else None,
        pictures=read_pictures(body.get("pictures")),
        follows=_place(body.get("follows")),
    )


def past_of(epoch: str | None, state: State | None) -> Past:
    """What a store left behind that is of no more use."""
    if state is None:
        return Past()
    end = state.follows
    if end is None and epoch and state.n:
        end = Place(epoch, state.n, state.hash)
    return Past(end=end, life=state.life, pictures=state.pictures)


def _known(state: str) -> State:
    return (read_state(state) if state else None) or State(pictures={})


def read_pictures(found: object) -> dict[str, Tally]:
    """The tallies in an entry's `before`, or in a store's state."""
    told = cast("Body", found) if isinstance(found, dict) else {}
    tallies = ((camera, _tally(value)) for camera, value in told.items())
    return {camera: tally for camera, tally in tallies if tally is not None}


def _tally(found: object) -> Tally | None:
    match found:
        case [int(count), str(first), str(last)]:
            return Tally(count, first, last)
        case _:
            return None


def _place(found: object) -> Place | None:
    match found:
        case {"epoch": str(epoch), "n": int(n), "hash": str(last)}:
            return Place(epoch, n, last)
        case _:
            return None


def _is_count(found: object) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and found >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the trail, read and found whole."""

    place: Place
    previous: str
    seq: str
    kind: str
    camera: str | None
    boot: str
    at: float  # seconds since that boot
    time: str  # wall time as known then (RFC 3339, UTC)
    trusted: bool
    data: Body
    before: (
        Body | None
    )  # set in the first entry after an opening of the store, or after another chain
    pruned: Place | None

    @property
    def follows(self) -> Place | None:
        """The entry of another chain, or of this one before a restart, that it says it comes after."""
        return _place(self.before)


@dataclass(frozen=True, slots=True)
class Break:
    """Where the chain does not hold, for a person. `row`: the place in the table, None = its end."""

    row: int | None
    why: str


def read_entry(text: bytes) -> Entry | None:
    """An entry out of its text; None if it is none. Whether its hash holds is not looked at beyond computing it."""
    try:
        found: object = json.loads(text)
        if not isinstance(found, dict) or not isinstance(found["chain"], dict):
            return None
        chain, before, camera = found["chain"], found["chain"].get("before"), found["subject"]
        kind, data = found["type"], found["data"]
        texts = (chain["epoch"], chain["previous"], chain["seq"], chain["time"], kind)
        if not all(isinstance(value, str) for value in (*texts, found["boot"], found["mono"])):
            return None
        well = isinstance(data, dict) and isinstance(chain["trusted"], bool)
        well = well and _is_count(chain["n"]) and (camera is None or isinstance(camera, str))
        at = float(found["mono"])
        well = well and math.isfinite(at)  # no agent says "nan", and nothing can be ordered by it
        if not well or not (before is None or isinstance(before, dict)):
            return None
        return Entry(
            place=Place(chain["epoch"], chain["n"], digest(text)),
            previous=chain["previous"],
            seq=chain["seq"],
            kind=kind.removeprefix(wire.TYPE_PREFIX),
            camera=camera,
            boot=found["boot"],
            at=at,
            time=chain["time"],
            trusted=chain["trusted"],
            data=data,
            before=before,
            pruned=_place(chain.get("pruned")),
        )
    except (KeyError, ValueError, RecursionError):
        return None


class Check:
    """Walks over a trail from its oldest entry and finds each place where it does not hold."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Entry | None = None
        self._heads: dict[str, Place] = {}  # last entry seen of each chain
        self._last: Place | None = None
        self._pruned: Place | None = None
        self._blind = 0  # rows just before that could not be read
        self._headless: Entry | None = (
            None  # it stands behind another chain, and what its own had before is not here
        )

    def entries(self, rows: Iterable[tuple[int, bytes, str]]) -> Iterator[Entry | Break]:
        """Each row (place in the table, text, hash) as an entry; a break comes before the entry where it shows."""
        for row, text, told in rows:
            self.count += 1
            entry = read_entry(text)
            if entry is None:
                yield Break(row, "it cannot be read: changed, or damaged")
                self._blind += 1
                continue
            name = f"entry {entry.place.n} of epoch {entry.place.epoch}"
            if entry.place.hash != told:
                yield Break(row, f"{name} was changed: its SHA-256 is not the one kept with it")
            why = self._unlinked(entry)
            if why:
                yield Break(row, f"{name} {why}")
            self._last = self._heads[entry.place.epoch] = replace(entry.place, hash=told)
            self._pruned = entry.pruned or self._pruned
            yield entry

    def end(self, epoch: str, state: State | None) -> Iterator[Break]:
        """What only the whole shows: whether its beginning and its end are there."""
        if state is None:
            yield Break(None, "the store's word on the end of its chain cannot be read")
        else:
            own = Place(epoch, state.n, state.hash)
            head = self._heads.get(epoch)
            if state.n and head is not None and head != own and not self._blind:
                yield Break(
                    None,
                    f"the store ends its chain with {_name(own)}, the trail with {_name(head)}",
                )
                return
            end = past_of(epoch, state).end
            if end != self._last and not self._blind:
                yield Break(
                    None, f"the store ends with {_name(end)}, the trail with {_name(self._last)}"
                )
        headless = self._headless
        if headless is not None and self._pruned is None:
            yield Break(None, f"what its own chain had before {_name(headless.place)} is missing")
        first = self.first
        if first is None or (self._pruned is None and first.place.n == 1 and not first.follows):
            return
        named = first.follows
        if first.place.n > 1 and named is None:
            named = Place(first.place.epoch, first.place.n - 1, first.previous)
        if named != self._pruned:
            pruned = (
                "nothing was pruned"
                if self._pruned is None
                else f"pruned up to {_name(self._pruned)}"
            )
            yield Break(None, f"what comes before {_name(first.place)} is missing: {pruned}")

    def _unlinked(self, entry: Entry) -> str:
        """Why *entry* does not follow on what was before it; empty if it does."""
        blind, self._blind = self._blind, 0
        head = self._heads.get(entry.place.epoch)
        if self.first is None:
            self.first = entry
            return (
                ""
                if entry.place.n > 1 or entry.previous == GENESIS
                else "names one before the first"
            )
        if head is not None and entry.place.n != head.n + 1 + blind:
            return _gap(head.n + 1, entry.place.n)
        if blind:
            return ""
        if head is None and entry.place.n > 1:
            self._headless = self._headless or entry
        wanted = GENESIS if head is None else head.hash
        if entry.previous != wanted and (head is not None or entry.place.n == 1):
            return f"names {entry.previous} as the hash before it, which is {wanted}"
        expected = entry.follows or head
        if expected is None and entry.place.n == 1:
            return ""  # it began in memory, when there was no disk to look what had been
        if expected != self._last:
            return f"says that it follows {_name(expected)}, and stands after {_name(self._last)}"
        return ""


def _gap(wanted: int, found: int) -> str:
    if found < wanted:
        return f"stands where entry {wanted} should: moved, or there twice"
    missing = str(wanted) if found == wanted + 1 else f"{wanted} to {found - 1}"
    return f"stands where entry {wanted} should: missing {missing}"


def _name(place: Place | None) -> str:
    return "nothing" if place is None else f"entry {place.n} of epoch {place.epoch}"
