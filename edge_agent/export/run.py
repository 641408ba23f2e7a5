"""An export: everything that the journal still holds and that may leave, onto a stick, in lots that each count or do not.

Promises: changes nothing in the journal and settles nothing; what an earlier run left on the stick is checked against its hashes
and gone on from; each lot is synced and read back before it is listed; memory is bounded by a lot. What stays on the box is said,
with the reason.
Not its job: the form on the stick (stick.py), which pictures may leave (leave.py), words for a terminal (command.py).
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.core import wire
from edge_agent.core.messages import Json, Rank, Stored
from edge_agent.core.settings import Identity
from edge_agent.export.leave import Leave, Pictures
from edge_agent.spool import Found, Holdings, ReplacedError, Shelf, UnreadableError
from edge_agent.stick import (
    KIND,
    MANIFEST,
    VERSION,
    Lot,
    Stick,
    StickError,
    lot_name,
    picture_name,
    trouble,
)

LOT_RECORDS: Final = 1_000
LOT_BYTES: Final = 1_000_000  # of data; with their heads well below what a hub reads as one batch
LOT_PICTURES: Final = 64
_ROUNDS: Final = 3  # what comes in meanwhile is taken along, but a busy box is never done
_RUNS: Final = 100  # remembered in the manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person wants on the stick. `since_text`: as it was written; `since_s`: Unix time."""

    since_text: str | None = None
    since_s: float | None = None
    camera: str | None = None
    pictures: Pictures = Pictures.SEALED

    def json(self) -> dict[str, Json]:
        """For the manifest."""
        return {
            "since": self.since_text,
            "since_s": self.since_s,
            "camera": self.camera,
            "pictures": self.pictures.value,
        }


@dataclass(slots=True)
class Outcome:
    """What came of it. `failure`: it ended early, for this reason; "" = all was written that may leave."""

    folder: Path
    by: str = ""  # who ran it
    records: int = 0  # this run; pictures are records too
    pictures: int = 0
    checked: int = 0  # files of earlier runs that are whole
    redone: int = 0  # lots of earlier runs that are not
    damaged: int = 0  # records in the journal that are not as they were put in
    went: int = 0  # gone from the journal while it was read
    fresh: set[str] = field(
        default_factory=set
    )  # cameras whose newest pictures are too young to leave
    stayed: dict[str, str] = field(default_factory=dict)  # camera: why
    faults: list[str] = field(default_factory=list)
    failure: str = ""
    totals: dict[str, Json] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Nothing that was asked for stays behind, but what is too young."""
        return not (self.failure or self.damaged or self.stayed or self.faults)


class Export:
    """One run. *tell* is called after each lot."""

    def __init__(
        self,
        holdings: Holdings,
        identity: Identity,
        *,
        asked: Asked,
        leave: Leave,
        clock: Clock,
        tell: Callable[[Outcome], None],
    ) -> None:
        self._holdings = holdings
        self._identity = identity
        self._asked = asked
        self._leave = leave
        self._clock = clock
        self._tell = tell
        self._lots: list[Lot] = []

    def name(self) -> str:
        """The folder of this box and epoch on any stick."""
        who = self._identity
        return f"{who.kelurahan}-{who.rw}-{who.rt}-{who.box}-{self._holdings.epoch[:8]}"

    def run(self, target: Path) -> Outcome:
        """Write below *target*. `StickError` if it cannot begin; what stops it later is the outcome's `failure`."""
        folder = target / self.name()
        outcome = Outcome(folder, by=_who())
        try:
            with Stick(folder, write=True) as stick:
                self._run(stick, outcome)
        except OSError as error:
            msg = trouble(error, str(folder))
            raise StickError(msg) from error
        return outcome

    def _run(self, stick: Stick, outcome: Outcome) -> None:
        manifest = self._begin(stick)
        self._take_up(stick, outcome)
        self._write_manifest(stick, manifest, outcome, ended=None)
        try:
            self._rounds(stick, outcome)
        except OSError as error:
            outcome.failure = f"{trouble(error, str(outcome.folder))}; {_free(stick)}"
        except (StickError, ReplacedError, UnreadableError, KeyboardInterrupt) as why:
            outcome.failure = str(why) or "stopped"
        outcome.faults = self._holdings.all_faults()
        try:
            self._write_manifest(stick, manifest, outcome, ended=outcome.failure or "finished")
        except OSError as error:
            outcome.failure = outcome.failure or trouble(error, str(outcome.folder))

    # -- the manifest --

    def _begin(self, stick: Stick) -> dict[str, Json]:
        """A new manifest, or the one that is there, if it is of the same box and was asked for the same."""
        source = wire.prefix(self._identity)
        asked = self._asked.json()
        try:
            found = stick.manifest()
        except StickError:
            found = None  # damaged: what is listed has hashes of its own
        if found is None:
            return {"box": source, "epoch": self._holdings.epoch, "asked": asked, "runs": []}
        if found.get("box") != source or found.get("epoch") != self._holdings.epoch:
            msg = f"{self.name()}: holds the export of another box or epoch; use another stick, or move that folder"
            raise StickError(msg)
        before = found.get("asked")
        if not isinstance(before, dict) or _words(before) != _words(asked):
            options = (
                _words(before) if isinstance(before, dict) else ""
            ) or "neither --since nor --camera"
            msg = f"{self.name()}: was begun with {options}; go on with the same, or move that folder away"
            raise StickError(msg)
        since_s = before.get("since_s")
        self._asked = Asked(
            since_text=self._asked.since_text,
            since_s=float(since_s) if isinstance(since_s, int | float) else None,
            camera=self._asked.camera,
            pictures=self._asked.pictures,
        )
        return {**found, "asked": self._asked.json()}

    def _write_manifest(
        self, stick: Stick, manifest: dict[str, Json], outcome: Outcome, *, ended: str | None
    ) -> None:
        before = manifest.get("runs")
        runs = list(cast("list[Json]", before))[-_RUNS:] if isinstance(before, list) else []
        outcome.totals = self._totals()
        run: dict[str, Json] = {
            "by": outcome.by,
            "on": os.uname().nodename,
            "at": wire.rfc3339(self._clock.wall()),
            "clock_trusted": self._clock.trusted(),
            "boot": self._clock.boot,
            "agent": __version__,
            "records": outcome.records,
            "pictures": outcome.pictures,
            "ended": ended,
        }
        body: dict[str, Json] = {
            "kind": KIND,
            "v": VERSION,
            **manifest,
            "oldest_seq": self._holdings.oldest_seq(),
            "last_seq": self._holdings.last_seq,
            "simulated": self._leave.word().simulated,
            "finished": ended == "finished",
            "lots": outcome.totals,
            "left_on_the_box": {
                "newest_pictures_of": sorted(outcome.fresh),
                "damaged": outcome.damaged,
                "cameras": dict(outcome.stayed),
            },
            "sums_sha256": stick.sums_sha256(),
            "runs": [*runs, run],
        }
        stick.write_whole(MANIFEST, f"{json.dumps(body, indent=1)}\n".encode())

    def _totals(self) -> dict[str, Json]:
        totals: dict[str, tuple[int, int, int]] = {}
        for lot in self._lots:
            first, last = lot.span
            one = totals.setdefault(lot.shelf, (0, first, last))
            totals[lot.shelf] = (one[0] + lot.records, min(one[1], first), max(one[2], last))
        return {
            shelf: {"records": records, "accounts_for": [first, last]}
            for shelf, (records, first, last) in totals.items()
        }

    # -- what is there already --

    def _take_up(self, stick: Stick, outcome: Outcome) -> None:
        """Check what earlier runs wrote; what is not whole is written again, what was never listed goes."""
        whole: set[str] = set()
        for lot in stick.lots():
            entries = (*lot.pictures, lot.batch)
            twice = lot.batch.name in whole
            if twice or not lot.complete or not all(stick.whole(entry) for entry in entries):
                outcome.redone += 1
                continue
            whole.add(lot.batch.name)
            self._lots.append(_slim(lot))
            outcome.checked += len(entries)
        if outcome.redone or stick.torn:
            lots = {lot.batch.name: lot for lot in stick.lots() if lot.complete}
            stick.mended([lot for name, lot in lots.items() if name in whole])
        spans = {lot.shelf: self._covered(lot.shelf) for lot in self._lots}
        stick.drop_unlisted(
            lambda shelf, seq: any(low <= seq <= high for low, high in spans.get(shelf, ()))
        )

    def _covered(self, shelf: str) -> list[tuple[int, int]]:
        """Spans of seqs that are on the stick, in order, joined where they touch."""
        out: list[tuple[int, int]] = []
        for low, high in sorted(lot.span for lot in self._lots if lot.shelf == shelf):
            if out and low <= out[-1][1] + 1:
                out[-1] = (out[-1][0], max(out[-1][1], high))
            else:
                out.append((low, high))
        return out

    def _gaps(self, shelf: str) -> Iterator[tuple[int, int]]:
        """(after, upto) of what is not."""
        after = 0
        for low, high in [*self._covered(shelf), (self._holdings.last_seq + 1, 0)]:
            if low > after + 1:
                yield after, low - 1
            after = high

    # -- writing --

    def _rounds(self, stick: Stick, outcome: Outcome) -> None:
        for _ in range(_ROUNDS):
            upto = self._holdings.last_seq
            for shelf in self._holdings.shelves():
                self._shelf(stick, outcome, shelf)
            self._holdings.refresh()
            if self._holdings.last_seq == upto:
                return

    def _shelf(self, stick: Stick, outcome: Outcome, shelf: Shelf) -> None:
        camera = shelf.camera
        if camera is not None:
            if self._asked.camera not in {None, camera}:
                return
            if self._asked.pictures is Pictures.NONE:
                return
            why = self._leave.why_camera_stays(camera)
            outcome.stayed.pop(camera, None)
            if why:
                outcome.stayed[camera] = why
                return
        for gap in list(self._gaps(shelf.name)):
            if not self._fill(stick, outcome, shelf, *gap):
                return

    def _fill(self, stick: Stick, outcome: Outcome, shelf: Shelf, after: int, upto: int) -> bool:
        """Write what lies between; whether there may be more of this shelf."""
        while lot := self._lot(shelf, after, upto):
            packed = _Packed(self, outcome, lot, after)
            if not self._keep(stick, outcome, shelf, packed):
                return False
            after = packed.upto
            self._tell(outcome)
        return True

    def _lot(self, shelf: Shelf, after: int, upto: int) -> list[Found]:
        records = LOT_RECORDS if shelf.rank is not Rank.PICTURE else LOT_PICTURES
        return self._holdings.lot(
            shelf.number, after=after, upto=upto, records=records, size=LOT_BYTES
        )

    def _keep(self, stick: Stick, outcome: Outcome, shelf: Shelf, packed: _Packed) -> bool:
        """Write one lot; whether there may be more of this shelf."""
        kept = stick.keep(
            packed.pictures() if shelf.rank is Rank.PICTURE else packed.records(),
            lambda: packed.batch(shelf.name),
            lambda: shelf.camera is None or not self._leave.why_camera_stays(shelf.camera),
        )
        if kept is not None:
            self._lots.append(_slim(kept))
            outcome.records += kept.records
            outcome.pictures += len(kept.pictures)
        elif not packed.empty:
            why = "its gate closed, or the switch was pressed, meanwhile"
            outcome.stayed[shelf.camera or ""] = why
            return False
        return not packed.stopped

    def is_wanted(self, stored: Stored) -> bool:
        """Whether the record was asked for. One whose time nobody vouches for always is: it may be of any."""
        asked = self._asked
        if asked.camera is not None and stored.camera not in {None, asked.camera}:
            return False
        return asked.since_s is None or not stored.trusted or stored.wall_s >= asked.since_s

    def event(self, stored: Stored) -> str:
        """As it goes over the wire."""
        return wire.event(self._identity, stored)

    def why_stays(self, camera: str | None, picture: bytes, outcome: Outcome) -> bool:
        """Whether this picture has to stay as it is; the reason is noted."""
        why = self._leave.why_plain_stays(picture)
        if why:
            outcome.stayed[camera or ""] = why
        return bool(why)

    def is_fresh(self, stored: Stored) -> bool:
        """Whether a press could still reach it."""
        return self._leave.is_fresh(stored)

    def picture_of(self, found: Found, outcome: Outcome) -> bytes | None:
        """Its picture; None if it is gone since, or damaged, which is counted."""
        picture = self._holdings.picture(found)
        if picture is None:
            if self._holdings.still_there(found):
                outcome.damaged += 1
            else:
                outcome.went += 1
        return picture


class _Packed:
    """A lot on its way: what of it was taken. It accounts for all seqs after `first` - 1 up to `upto`."""

    def __init__(self, export: Export, outcome: Outcome, lot: list[Found], after: int) -> None:
        self._export = export
        self._outcome = outcome
        self._lot = lot
        self._events: list[str] = []
        self.first = after + 1
        self.upto = after
        self.stopped = False  # what follows may not leave

    @property
    def empty(self) -> bool:
        """Whether nothing of it was to be taken."""
        return not self._events

    def records(self) -> Iterator[tuple[str, bytes]]:
        """No files; takes the records."""
        for found in self._lot:
            self.upto = found.seq
            if found.stored is None:
                self._outcome.damaged += 1
            elif self._export.is_wanted(found.stored):
                self._events.append(self._export.event(found.stored))
        yield from ()

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each picture that may leave; ends before one that may not, but begins behind it."""
        for found in self._lot:
            stored = found.stored
            if stored is None:
                self._outcome.damaged += 1
            elif self._export.is_wanted(stored):
                if self._export.is_fresh(stored):
                    self._outcome.fresh.add(stored.camera or "")
                    self.stopped = True
                    return
                picture = self._export.picture_of(found, self._outcome)
                if picture is not None:
                    if self._export.why_stays(stored.camera, picture, self._outcome):
                        if self._events:
                            return
                        self.first = found.seq + 1
                    else:
                        yield self._picture(stored, picture)
            self.upto = found.seq

    def _picture(self, stored: Stored, picture: bytes) -> tuple[str, bytes]:
        self._events.append(self._export.event(stored))
        time, sealed = wire.rfc3339(stored.wall_s), wire.is_sealed(picture)
        name = picture_name(stored.camera or "", time, stored.epoch, stored.seq, sealed=sealed)
        return name, picture

    def batch(self, shelf: str) -> tuple[str, bytes] | None:
        """The batch that goes with them; None if there is nothing to write."""
        if not self._events:
            return None
        name = lot_name(shelf, self.first, self.upto, len(self._events))
        return name, f"[{','.join(self._events)}]".encode()


def _slim(lot: Lot) -> Lot:
    """Without the names of its pictures, which the stick has: a long outage has many."""
    return Lot(lot.batch)


def _words(asked: Mapping[str, Json]) -> str:
    """The options that say what a lot passes over: a later run cannot ask for more. Pictures that stayed are not passed over."""
    return " ".join(f"--{name} {asked[name]}" for name in ("since", "camera") if asked.get(name))


def _free(stick: Stick) -> str:
    try:
        free = stick.free_bytes
    except OSError:
        return "what is listed there counts; run the same again to go on"
    return (
        f"{free / 1e6:.1f} MB are free on it; what is listed there counts;"
        " run the same again to go on"
    )


def _who() -> str:
    """Who runs this, as far as the system knows."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    through = os.environ.get("SUDO_USER", "")
    by = f"{through} (as {name})" if through else name
    return "".join(mark for mark in by if mark.isprintable())[:100]
