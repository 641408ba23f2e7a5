"""What a fetch gets: the records it asks for, in order of seq, as many as it wants and its time allows.

Promises: changes nothing; nothing hidden is read out, nothing comes twice, and what comes first comes whatever its size; a record that is
not whole is told apart from the others and neither ends the answer nor counts as a part of it.
Not its job: what is hidden (journal.py), what becomes of a damaged record (store.py), how a row is read and checked (shelves.py).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Final

from edge_agent.core.messages import Fetch, Rank, Stored
from edge_agent.spool.schema import PICTURES, Plain, Raw
from edge_agent.spool.shelves import LOOK_EACH, Shelves, read_plain
from edge_agent.spool.values import MAX_SEQ, Mark, Range, end_of_cover

_OTHERS: Final = (int(Rank.STATE), int(Rank.METRIC))


class Answer:
    """Of one fetch: `records`, and those that are `damaged` (shelf, record), after `run`."""

    def __init__(
        self,
        fetch: Fetch,
        shelves: Shelves,
        *,
        held: Mapping[int, object],
        camera: int | None,
        last_seq: int,
        hidden: Sequence[Range],
    ) -> None:
        """*held*: the shelves that hold anything; *camera*: the number of the one asked for, None = there is none of that name."""
        self._fetch = fetch
        self._shelves = shelves
        self._held = held
        self._camera = camera
        self._upto = last_seq if fetch.upto is None else max(0, min(last_seq, fetch.upto))
        self._hidden = hidden
        self.records: list[Stored] = []
        self.damaged: list[tuple[int, Mark]] = []

    def run(self, spent: Callable[[], bool]) -> bool:
        """Read; whether that is all there is. Cut short once *spent* says so, but not before there is anything to show."""
        if self._fetch.camera is not None or self._fetch.seqs:
            return self._read_each(spent)
        return self._read_plain(spent)

    def _read_plain(self, spent: Callable[[], bool]) -> bool:
        """Records without pictures: a lot at a time, as a backlog is long."""
        records, names, taken = self.records, self._shelves.names, 0
        with closing(self._walk()) as lots:
            for lot in lots:
                if records and spent():
                    return False
                fits, taken = self._fitting(lot, taken)
                for raw in lot[:fits]:
                    stored = read_plain(raw, names)
                    if stored is None:
                        self.damaged.append((raw[1], names.mark(raw)))
                    else:
                        records.append(stored)
                if fits < len(lot):
                    return False
        return True

    def _read_each(self, spent: Callable[[], bool]) -> bool:
        """Records that may have pictures, which are read from their files: one at a time."""
        records, fetch, taken = self.records, self._fetch, 0
        with closing(self._raws()) as raws:
            for raw in raws:
                size = raw[9] + len(raw[13])
                full = len(records) >= fetch.limit or taken + size > fetch.limit_bytes
                look = raw[9] > 0 or len(records) % LOOK_EACH == 0
                if records and (full or (look and spent())):
                    return False
                stored = self._shelves.stored(raw)
                if stored is None:
                    self.damaged.append((raw[1], self._shelves.names.mark(raw)))
                    continue
                records.append(stored)
                taken += size
        return True

    def _raws(self) -> Generator[Raw, None, None]:
        """The rows asked for, in order of seq, with all that is known of their pictures."""
        if self._fetch.seqs:
            for seq in sorted(set(self._fetch.seqs)):
                wanted = self._fetch.after < seq <= self._upto
                if wanted and end_of_cover(self._hidden, seq) is None:
                    raw = self._shelves.named(self._held, seq)
                    if raw is not None:
                        yield raw
            return
        with closing(self._walk()) as lots:
            yield from self._shelves.whole(lots)

    def _walk(self) -> Generator[list[Plain], None, None]:
        """The rows asked for, in order of seq, some at a time; at least one more than `limit`, if there is one."""
        after: int | None = min(max(0, self._fetch.after), MAX_SEQ)
        limit = min(max(1, self._fetch.limit), MAX_SEQ - 1) + 1
        shelves = self._selection()
        ahead = [span for span in self._hidden if span[1] > self._fetch.after]
        while after is not None and shelves:
            found = self._shelves.lots(
                shelves, after=after, upto=self._upto, limit=limit, each=min(limit, LOOK_EACH)
            )
            after = None
            with closing(found) as lots:
                for lot in lots:
                    shown, after = _until_covered(lot, ahead)
                    yield shown
                    if after is not None:
                        break

    def _selection(self) -> list[int]:
        """The shelves asked for that hold anything."""
        wanted: tuple[int, ...] = (int(Rank.AUDIT),) if self._fetch.audit else _OTHERS
        if self._fetch.camera is not None:
            wanted = () if self._camera is None else (PICTURES + self._camera,)
        return [shelf for shelf in wanted if shelf in self._held]

    def _fitting(self, lot: Sequence[Plain], taken: int) -> tuple[int, int]:
        """How many rows of *lot* have room beside those that are there, of *taken* bytes; the first one in any case. Its bytes then."""
        fetch, count = self._fetch, len(self.records)
        sizes = [len(raw[9]) for raw in lot]
        if count + len(lot) <= fetch.limit and taken + sum(sizes) <= fetch.limit_bytes:
            return len(lot), taken + sum(sizes)
        fits = 0
        for size in sizes:
            full = count + fits >= fetch.limit or taken + size > fetch.limit_bytes
            if full and count + fits > 0:
                break
            fits, taken = fits + 1, taken + size
        return fits, taken


def _until_covered(lot: list[Plain], hidden: Sequence[Range]) -> tuple[list[Plain], int | None]:
    """The beginning of *lot*, up to the first row that lies in *hidden*, and where that ends; all of it and None if none does."""
    for place, raw in enumerate(lot if hidden else ()):
        end = end_of_cover(hidden, raw[0])
        if end is not None:
            return lot[:place], end
    return lot, None
