"""Which message it is at which the other end hangs up, or falls silent, each time: a broker, or something on the way to it.

Promises:
- What was unanswered at two losses in a row flies alone from then on, nothing else beside it; only what is lost alone is convicted.
  So an innocent message that shared a window with a guilty one is sent, and one bad line blames nothing that was not there each time.
- A convict is tried again after a quarter of an hour, then after twice as long, up to a day; never sooner doubled than something
  else was answered: as long as nothing is, it may be the line.
- If something was answered, but nothing as large as two convicts, it is their size that is not taken; then whatever is larger than
  all that was answered flies alone from its first time on.
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
CONVICT_S: Final = 900.0
CONVICT_MOST_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """*parcel* is guilty: keep it away for *wait_s*; `too_large`: it is for its size, like all that is as large."""

    parcel: Parcel
    wait_s: float
    too_large: bool


@dataclass(slots=True)
class _Convict:
    size: int
    times: int


class Suspects:
    """What was lost, by seq of one epoch. Owner thread only."""

    def __init__(self) -> None:
        self._struck: dict[int, int] = {}
        self._alone: set[int] = set()
        self._convicts: dict[int, _Convict] = {}
        self._largest = 0  # answered, since something as large was convicted all the same
        self._too_large: int | None = None  # the smallest that was convicted for its size
        self._proven = True  # something was, since the last of them

    def __bool__(self) -> bool:
        """Whether anything is to fly alone."""
        return bool(self._alone) or self._too_large is not None

    @property
    def convicts(self) -> tuple[int, int, int] | None:
        """How many records are kept away, the first one's seq and the bytes of its message; None = none."""
        if not self._convicts:
            return None
        seq = min(self._convicts)
        return len(self._convicts), seq, self._convicts[seq].size

    def flies_alone(self, parcel: Parcel) -> bool:
        """Whether nothing else may be under way with it."""
        if self._too_large is not None and parcel.size > self._largest:
            return True
        return not self._alone.isdisjoint(parcel.seqs)

    def answered(self, parcel: Parcel) -> None:
        """The broker said something to it, whatever that was."""
        self._largest = max(self._largest, parcel.size)
        self._proven = True
        if self._too_large is not None and parcel.size >= self._too_large:
            self._too_large = None
        if self._alone:
            self.forget(parcel.seqs)

    def forget(self, seqs: Iterable[int]) -> None:
        """These are gone, settled, or above suspicion."""
        for seq in seqs:
            self._struck.pop(seq, None)
            self._alone.discard(seq)
            self._convicts.pop(seq, None)

    def acquit(self, size: int) -> dict[int, int]:
        """Convicts whose messages are as large as *size*: somebody else keeps them from here on, by seq."""
        found = {seq: each.size for seq, each in self._convicts.items() if each.size >= size}
        for seq in found:
            del self._convicts[seq]  # still to fly alone
        return found

    def settled(self, ranges: Sequence[tuple[int, int]]) -> None:
        """The hub has these (rising), though no answer said so."""
        self.forget([seq for seq in self._alone if lies_in(seq, ranges)])

    def lost(self, parcels: Sequence[Parcel]) -> Verdict | None:
        """The connection broke with these unanswered."""
        if len(parcels) == 1 and self.flies_alone(parcels[0]):
            return self._convict(parcels[0])
        if parcels:
            before = self._struck
            self._struck = {
                seq: before.get(seq, 0) + 1 for parcel in parcels for seq in parcel.seqs
            }
            self._alone.update(s for s, times in self._struck.items() if times >= SUSPECT_FROM)
        return None

    def _convict(self, parcel: Parcel) -> Verdict:
        others = [each.size for seq, each in self._convicts.items() if seq not in parcel.seqs]
        if self._too_large is not None:
            others.append(self._too_large)
        least = min((parcel.size, *others))
        times = max(
            (self._convicts[s].times for s in parcel.seqs if s in self._convicts), default=0
        )
        times = max(1, times + self._proven)
        self._proven = False
        for seq in parcel.seqs:
            self._convicts[seq] = _Convict(parcel.size, times)
        too_large = bool(others) and 0 < self._largest < least
        if too_large:
            self._too_large = least
        elif parcel.size <= self._largest:
            self._largest = 0  # that was long ago, or it is not the size
        return Verdict(
            parcel=parcel,
            wait_s=min(CONVICT_S * 2.0 ** min(times - 1, 20), CONVICT_MOST_S),
            too_large=too_large,
        )
