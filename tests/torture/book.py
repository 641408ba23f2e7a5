"""What was accepted, and whether all of it is still there: the proof kept outside, and the reader that holds a journal to it.

What counts, for each trial:
- *accepted*: records whose seq a `Committed(durable=True)` covered, told on a pipe before the blow fell.
- *lost*: accepted, not settled, and neither readable to the bit nor named by a tombstone; or a seq that will be given twice.
- *reordered*: read twice, or out of the order in which they were put.
- *refused*: the journal was not open on its disk within ten seconds.
- *shown*: pictures that a purge had destroyed, as it said, and that can be read again.
- *remains*: pictures of which a purge had said so, and of which bytes still lie in a file of the journal.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from edge_agent.clock import SystemClock
from edge_agent.core.messages import (
    Committed,
    Died,
    Event,
    Fetch,
    Fetched,
    FindingKey,
    JournalTrouble,
    Lane,
    Rank,
    Stored,
)
from edge_agent.core.settings import Journal
from edge_agent.spool import Spool, check
from tests.support.patience import patient
from tests.torture.things import CAMERAS, LIFE, pictures_in, thing

START_S: Final = 10.0  # the agent starts within this, whatever lies there
_PATIENCE_S: Final = patient(20.0)
# Tombstones come before the records of their batch: of a batch at the edge of what is settled they may be gone already.
BATCH: Final = 60
E = TypeVar("E")


class Proof:
    """What one life of the writer told before it ended."""

    def __init__(self) -> None:
        self.epochs: list[str] = []
        self.kept: dict[str, int] = {}  # per epoch, the highest seq on disk
        self.opened_at: int | None = None  # the last seq when it was opened, on disk
        self.settling: dict[str, int] = {}
        self.purging: list[tuple[int, int]] = []  # numbers
        self.purged: list[tuple[int, int]] = []
        self.memory = False
        self.died = ""
        self.ended = False

    def hear(self, line: str) -> None:
        """Take one whole line."""
        word, *rest = line.split()
        match word:
            case "open" | "kept":
                epoch, seq = rest[0], int(rest[1])
                if epoch not in self.kept:
                    self.epochs.append(epoch)
                if self.opened_at is None:
                    self.opened_at = seq
                self.kept[epoch] = max(seq, self.kept.get(epoch, 0))
            case "settling":
                self.settling[rest[0]] = max(int(rest[1]), self.settling.get(rest[0], 0))
            case "purging":
                self.purging.append((int(rest[0]), int(rest[1])))
            case "purged":
                self.purged.append((int(rest[0]), int(rest[1])))
            case "memory":
                self.memory = True
            case "died":
                self.died = line
            case "end":
                self.ended = True
            case _:
                msg = f"the writer told {line!r}"
                raise ValueError(msg)


@dataclass
class Tally:
    """All trials of one kind."""

    trials: int = 0
    accepted: int = 0
    lost: int = 0
    reordered: int = 0
    refused: int = 0
    shown: int = 0
    remains: int = 0
    worst_start_s: float = 0.0
    skipped: str = ""  # why there are none
    told: list[str] = field(
        default_factory=list
    )  # each thing that went wrong, with what repeats it

    @property
    def good(self) -> bool:
        """Whether the journal kept its promises."""
        counts = (self.lost, self.reordered, self.refused, self.shown, self.remains)
        return not any(counts) and not self.told

    def add(self, other: Tally, what: str) -> None:
        """One more trial; *what* says how to repeat it."""
        self.trials += 1
        for name in ("accepted", "lost", "reordered", "refused", "shown", "remains"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.worst_start_s = max(self.worst_start_s, other.worst_start_s)
        self.told += [f"{what}: {fault}" for fault in other.told]


class StuckError(Exception):
    """A journal that does not answer, or that died."""


class Desk:
    """A journal opened by the real agent's part, everything it posts, and ways to ask it. A context manager."""

    def __init__(self, folder: Path, *, clock=None, quota_bytes: int = 100_000_000, **more) -> None:
        self.folder = folder
        self.clock = clock or SystemClock()
        self.events: list[Event] = []
        self._came = threading.Condition()
        settings = Journal(
            folder=str(folder), **{"quota_bytes": quota_bytes, "disk_floor_bytes": 0, **more}
        )
        self._real = SystemClock()
        self._began = self._real.now()
        self.spool = Spool(settings, clock=self.clock, post=self._post, presses=lambda: 0)

    def __enter__(self) -> Desk:
        self.spool.__enter__()
        self.start_s = self._real.now() - self._began
        try:
            self.wait(Committed)
        except StuckError:
            self.spool.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.close()
        self.spool._thread.join(_PATIENCE_S)  # a slow disk takes longer than the agent would wait

    def _post(self, event: Event) -> None:
        with self._came:
            self.events.append(event)
            self._came.notify_all()

    def wait(
        self, kind: type[E], where: Callable[[E], bool] = lambda _: True, *, since: int = 0
    ) -> E:
        """The first event of *kind* that was or will be posted, from the *since*-th on."""

        def found() -> E | None:
            events = self.events[since:]
            return next((e for e in events if isinstance(e, kind) and where(e)), None)

        def over() -> bool:
            return found() is not None or any(isinstance(e, Died) for e in self.events)

        with self._came:
            self._came.wait_for(over, _PATIENCE_S)
            event = found()
            if event is None:
                died = [each.detail for each in self.events if isinstance(each, Died)]
                msg = f"the journal does not answer: {died or 'no ' + kind.__name__}"
                raise StuckError(msg)
        return event

    def last(self, kind: type[E]) -> E:
        return next(e for e in reversed(self.events) if isinstance(e, kind))

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def ask(self, **more) -> Fetched:
        basis = {"lane": Lane.LIVE, "after": 0, "upto": None, "limit": 10**6, "limit_bytes": 10**9}
        question = Fetch(**{**basis, **more})
        self.spool.fetch(question)
        return self.wait(Fetched, lambda event: event.fetch is question)

    def read(self, **more) -> list[Stored]:
        """Everything of one selection, page by page."""
        out: list[Stored] = []
        while True:
            got = self.ask(**{**more, "after": out[-1].seq if out else 0})
            out += got.records
            if got.end or not got.records:
                return out

    def everything(self) -> list[Stored]:
        """All that can be read, in order of seq. Pictures first: a damaged one leaves a tombstone."""
        parts = [*(self.read(camera=name) for name in CAMERAS), self.read(), self.read(audit=True)]
        return sorted(itertools.chain(*parts), key=lambda stored: stored.seq)


def declared(records: Iterable[Stored]) -> set[int]:
    """Every seq that the tombstones among *records* name; one that came over from another epoch names none of this."""
    gone: set[int] = set()
    for stored in records:
        data = json.loads(stored.data) if b'"ranges"' in stored.data else {}
        own = data.get("epoch") in (None, stored.epoch)
        if own and stored.rank is Rank.AUDIT and isinstance(data.get("ranges"), list):
            for low, high in data["ranges"]:
                gone |= set(range(low, high + 1))
    return gone


def number_of(stored: Stored) -> int | None:
    """Which thing it is, if it is one of the writer's and came back to the bit; -1 if it did not; None if it is the spool's."""
    if stored.jpeg is not None:
        told = stored.jpeg[8:20]
        number = int(told) if told.isdigit() else -1
    elif stored.kind in ("gate.changed", "test.kept"):
        number = json.loads(stored.data)["n"]
    else:
        return None
    it = thing(number)
    if stored.jpeg is not None:
        return number if (it.jpeg, it.camera) == (stored.jpeg, stored.camera) else -1
    same = (it.rank, it.camera, it.fill)
    return number if same == (stored.rank, stored.camera, json.loads(stored.data)["fill"]) else -1


def verify(folder: Path, proofs: Sequence[Proof], *, quota_bytes: int = 100_000_000) -> Tally:
    """Open what is left in *folder*, read it all, and hold it to what was told by all lives of it."""
    try:
        return _verify(folder, proofs, quota_bytes)
    except StuckError as error:
        return Tally(refused=1, told=[str(error)])


def _verify(folder: Path, proofs: Sequence[Proof], quota_bytes: int) -> Tally:
    out = Tally()
    newest = proofs[-1]
    epoch = next((proof.epochs[-1] for proof in reversed(proofs) if proof.epochs), None)
    kept = max((proof.kept.get(epoch, 0) for proof in proofs if epoch), default=0)
    if newest.opened_at is not None:
        out.accepted = max(0, kept - newest.opened_at)
    out.told += [f"the writer: {newest.died}"] if newest.died else []
    out.remains = len(_remains(folder, proofs))
    with Desk(folder, quota_bytes=quota_bytes) as desk:
        out.worst_start_s = desk.start_s
        opening = desk.last(Committed)
        out.refused = int(desk.start_s > START_S or not opening.durable)
        records = desk.everything()
        out.told += [
            f"{event}" for event in desk.events if isinstance(event, (Died, JournalTrouble))
        ]
        last = desk.last(Committed)
    # The one false alarm that docs/design/journal.md owns up to, and only where the disk was given up in between.
    spared = "says that it follows entry" if any(proof.memory for proof in proofs) else "\0"
    out.told += [f"check: {fault}" for fault in check(str(folder)) if spared not in fault]
    if epoch is not None and opening.epoch != epoch:
        out.lost += kept
        out.told.append(f"another epoch, {opening.epoch} instead of {epoch}")
        return out
    if last.last_seq < kept:
        out.lost += kept - last.last_seq
        out.told.append(f"seqs from {last.last_seq + 1} to {kept} would be given twice")
    settled = max((proof.settling.get(epoch, 0) for proof in proofs if epoch), default=0)
    _account(out, records, range(settled + 1, kept + 1))
    _compare(out, records, proofs, settled)
    return out


def _remains(folder: Path, proofs: Iterable[Proof]) -> set[int]:
    """Pictures that were said to be destroyed, and of which some bytes are there."""
    found = pictures_in(path for path in folder.rglob("*"))
    ranges = [purge for proof in proofs for purge in proof.purged]
    return {n for n in found if any(low <= n <= high for low, high in ranges)}


def _account(out: Tally, records: Sequence[Stored], owed: range) -> None:
    """Each seq that was accepted and not settled is held or declared."""
    seqs = {stored.seq for stored in records}
    missing = [seq for seq in owed if seq not in seqs | declared(records)]
    if missing:
        out.lost += len(missing)
        out.told.append(f"{len(missing)} accepted records are lost: {missing[:10]}")


def _compare(out: Tally, records: Sequence[Stored], proofs: Sequence[Proof], settled: int) -> None:
    """What is held is what was put, in order and once; and between two that are held nothing is missing unseen."""
    mine = [(stored.seq, number_of(stored)) for stored in records]
    held = [(seq, number) for seq, number in mine if number is not None and number >= 0]
    changed = [seq for seq, number in mine if number == -1]
    if changed:
        out.lost += len(changed)
        out.told.append(f"not as they were put: {changed[:10]}")
    purges = [purge for proof in proofs for purge in proof.purging]
    done = [purge for proof in proofs for purge in proof.purged]
    shown = [
        number
        for seq, number in held
        if any(low <= number <= high for low, high in done) and thing(number).rank is Rank.PICTURE
    ]
    if shown:
        out.shown += len(shown)
        out.told.append(f"purged, and shown again: {shown[:10]}")
    gone, told = 0, counted(records)
    for (a, first), (b, second) in itertools.pairwise(held):
        if second <= first:
            out.reordered += 1
            out.told.append(f"record {b} is thing {second}, and record {a} before it thing {first}")
        elif first // LIFE == second // LIFE and a > settled + BATCH:
            between = [n for n in range(first + 1, second) if not _purged(n, purges)]
            gone += len(between)
            audits = [n for n in between if thing(n).rank is Rank.AUDIT]
            if audits or gone > told:
                out.lost += len(audits) or gone - told
                out.told.append(
                    f"between records {a} and {b} things are missing: {between[:10]}, of which AUDIT: {audits}; {gone}"
                    f" up to there, and the tombstones count {told}"
                )
                return


def counted(records: Iterable[Stored]) -> int:
    """How many records the tombstones say are gone, with those that never got a seq, as there was no room."""
    thinned = (stored for stored in records if stored.kind == "journal.thinned")
    return sum(json.loads(stored.data)["count"] for stored in thinned)


def _purged(number: int, purges: Iterable[tuple[int, int]]) -> bool:
    """Whether it is a picture that may have been destroyed before it was written."""
    meant = any(low <= number <= high for low, high in purges)
    return meant and thing(number).rank is Rank.PICTURE


def broken(desk: Desk) -> bool:
    """Whether the journal says that it is damaged or has no disk."""
    return any(event.key is FindingKey.JOURNAL_BROKEN for event in desk.all(JournalTrouble))
