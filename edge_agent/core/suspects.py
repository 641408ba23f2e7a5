"""Which message it is at which the other end hangs up, or falls silent, each time: a broker, or something on the way to it.

Promises:
- What was unanswered at two losses in a row flies alone from then on, no bulk and no other record of less than class 0 beside it;
  only what is lost alone is convicted. So an innocent message that shared a window with a guilty one is sent, and one bad line
  blames nothing that was not there each time.
- A convict is guilty if something else was answered since it was first lost: then it is tried again after a quarter of an hour, and
  after twice as long each time that this is so again, up to a day. As long as nothing is answered it may be the line: it waits until
  something is, or for a minute of a connection, so that others are tried, and is not named.
- If it is guilty, and so is another, and nothing as large as the two was answered, it is their size that is not taken; then whatever
  is larger than all that was answered flies alone from its first time on.
- It remembers of losses what was under way at the last one, and what no answer has cleared since.
Time is no matter here. Not its job: what becomes of a convict (lanes.py), what counts as a loss (uplink.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.core.ledger import lies_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.core.window import Parcel

SUSPECT_FROM: Final = 2  # losses in a row; the next one, alone, convicts
UNPROVEN_S: Final = 60.0
CONVICT_S: Final = 900.0
CONVICT_MOST_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Keep *parcel* away for *wait_s*; `too_large`: it is for its size, like all that is as large; not `guilty`: it may be the line."""

    parcel: Parcel
    wait_s: float
    guilty: bool
    too_large: bool


@dataclass(slots=True, kw_only=True)
class _Case:
    """What is held against one record."""

    losses: int = 0  # in a row, with it under way
    since: int  # how many answers had come when it was first lost, or last convicted
    times: int = 0  # found guilty
    size: int = 0  # of its message, if it is kept away as a convict


class Suspects:
    """What was lost, by seq of one epoch. Owner thread only."""

    def __init__(self) -> None:
        self._cases: dict[int, _Case] = {}
        self._answers = 0
        self._begun = 0  # of those, before this connection
        self._largest = 0  # answered, since something as large was found guilty all the same
        self._too_large: int | None = None  # the smallest that was found guilty for its size

    def __bool__(self) -> bool:
        """Whether anything may be to fly alone."""
        return bool(self._cases) or self._too_large is not None

    @property
    def convicts(self) -> tuple[int, int, int] | None:
        """How many records are kept away as guilty, the first one's seq and the bytes of its message; None = none."""
        guilty = [seq for seq, case in self._cases.items() if case.times and case.size]
        if not guilty:
            return None
        seq = min(guilty)
        return len(guilty), seq, self._cases[seq].size

    def flies_alone(self, parcel: Parcel) -> bool:
        """Whether nothing else may be under way with it."""
        if self._too_large is not None and parcel.size > self._largest:
            return True
        known = self._cases.keys() & parcel.seqs
        return any(self._cases[seq].losses >= SUSPECT_FROM for seq in known)

    def suspected(self, first: int, last: int) -> frozenset[int]:
        """Those of seq *first* to *last* that are to fly alone for what they did, not for their size."""
        return frozenset(
            seq
            for seq, case in self._cases.items()
            if first <= seq <= last and case.losses >= SUSPECT_FROM
        )

    def answered(self, parcel: Parcel) -> None:
        """The broker said something to it, whatever that was."""
        self._answers += 1
        self._largest = max(self._largest, parcel.size)
        if self._too_large is not None and parcel.size >= self._too_large:
            self._too_large = None
        if self._cases:
            self.forget(parcel.seqs)

    def forget(self, seqs: Iterable[int]) -> None:
        """These are gone, settled, above suspicion, or somebody else keeps them from here on."""
        for seq in self._cases.keys() & seqs:
            del self._cases[seq]

    def settled(self, ranges: Sequence[tuple[int, int]]) -> None:
        """The hub has these (rising), though no answer said so."""
        self.forget([seq for seq in self._cases if lies_in(seq, ranges)])

    def lost(self, parcels: Sequence[Parcel], *, beside: bool = False) -> Verdict | None:
        """The connection is gone; the way broke with these unanswered, and *beside* them what is no record."""
        begun, self._begun = self._begun, self._answers
        if len(parcels) == 1 and not beside and self.flies_alone(parcels[0]):
            return self._convict(parcels[0], begun)
        if parcels:
            there = {seq for parcel in parcels for seq in parcel.seqs}
            self._cases = {
                seq: case
                for seq, case in self._cases.items()
                if case.losses >= SUSPECT_FROM or seq in there
            }
            for seq in there:
                case = self._cases.setdefault(seq, _Case(since=self._answers))
                case.losses += 1
        return None

    def _convict(self, parcel: Parcel, begun: int) -> Verdict:
        cases = [self._cases.setdefault(seq, _Case(since=begun)) for seq in parcel.seqs]
        others = [
            case.size
            for seq, case in self._cases.items()
            if case.times and case.size and seq not in parcel.seqs
        ]
        if self._too_large is not None:
            others.append(self._too_large)
        guilty = all(self._answers > case.since for case in cases)
        least = min((parcel.size, *others))
        too_large = guilty and bool(others) and 0 < self._largest < least
        if too_large:
            self._too_large = least
        elif guilty and parcel.size <= self._largest:
            self._largest = 0  # that was long ago, or it is not the size
        times = max(case.times for case in cases) + guilty
        for case in cases:
            case.losses = max(case.losses, SUSPECT_FROM)
            case.since, case.times = self._answers, times
            case.size = 0 if too_large else parcel.size
        known_s = min(CONVICT_S * 2.0 ** min(times - 1, 20), CONVICT_MOST_S)
        return Verdict(
            parcel=parcel,
            wait_s=known_s if times else UNPROVEN_S,
            guilty=times > 0,
            too_large=too_large,
        )
