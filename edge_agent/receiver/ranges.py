"""Whole numbers as disjoint inclusive ranges: which seqs of a box are accounted for, and what is missing between them.

Promises: whatever was added is in it, nothing else is; a watermark of bounded size never claims what is missing.
Not its job: the disk (store.py).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator


class Ranges:
    """A set of whole numbers from 1 up, kept as disjoint inclusive ranges."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    @property
    def highest(self) -> int:
        """The greatest number in it; 0 if it is empty."""
        return self._lasts[-1] if self._lasts else 0

    def add(self, first: int, last: int) -> None:
        """Put in all from *first* to *last*."""
        first = max(first, 1)
        if last < first:
            return
        low = bisect.bisect_left(self._lasts, first - 1)
        high = bisect.bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def gaps(self, limit: int) -> list[tuple[int, int]]:
        """The first *limit* ranges that are missing below `highest`."""
        found = []
        before = 0
        for first, last in zip(self._firsts, self._lasts, strict=True):
            if first > before + 1:
                found.append((before + 1, first - 1))
                if len(found) == limit:
                    break
            before = last
        return found

    def missing(self) -> int:
        """How many are missing below `highest`."""
        kept = sum(last - first + 1 for first, last in zip(self._firsts, self._lasts, strict=True))
        return self.highest - kept

    def around(self, number: int) -> tuple[int, int] | None:
        """The range that *number* lies in; None if it is missing."""
        place = bisect.bisect_right(self._firsts, number) - 1
        if place < 0 or number > self._lasts[place]:
            return None
        return self._firsts[place], self._lasts[place]

    def mark(self, limit: int) -> tuple[int, list[tuple[int, int]]]:
        """A watermark of bounded size: with more than *limit* gaps it ends before the next one."""
        gaps = self.gaps(limit + 1)
        if len(gaps) <= limit:
            return self.highest, gaps
        return gaps[limit][0] - 1, gaps[:limit]

    def __contains__(self, number: int) -> bool:
        """Whether *number* is in it."""
        return self.around(number) is not None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Its ranges, rising."""
        return iter(list(zip(self._firsts, self._lasts, strict=True)))
