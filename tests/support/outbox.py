"""A journal that lives in memory and keeps the real one's contract: fetch by lane, settle by epoch and range, purge.

It counts what it was told, so that a test can say that nothing was settled which nobody allowed.
"""

from __future__ import annotations

from edge_agent.core.messages import Committed, Fetch, Fetched, Purged, Rank, Settle, Stored
from edge_agent.seal import Sealer


class Outbox:
    """Records in order of seq. `page` bounds an answer, as the real journal's time limit does."""

    def __init__(self, epoch: str = "epoch-1", page: int = 1000) -> None:
        self.epoch = epoch
        self.page = page
        self.last_seq = 0
        self.kept: dict[int, Stored] = {}
        self.accepted: dict[tuple[str, int], Stored] = {}
        self.settled: set[int] = set()
        self.gone: set[int] = set()

    def put(
        self,
        kind: str = "box.metrics",
        *,
        rank: Rank = Rank.METRIC,
        camera: str | None = None,
        jpeg: bytes | None = None,
        data: bytes = b'{"n":1}',
        at: float = 1.0,
    ) -> Stored:
        self.last_seq += 1
        stored = Stored(
            epoch=self.epoch,
            seq=self.last_seq,
            kind=kind,
            rank=Rank.PICTURE if jpeg is not None else rank,
            camera=camera,
            boot="boot-1",
            at=at,
            wall_s=1_700_000_000.0 + at,
            trusted=True,
            data=data,
            jpeg=jpeg,
        )
        self.kept[stored.seq] = stored
        self.accepted[(self.epoch, stored.seq)] = stored
        return stored

    def picture(
        self, camera: str, *, size: int = 2000, at: float = 1.0, sealer: Sealer | None = None
    ) -> Stored:
        jpeg = b"\xff\xd8" + b"p" * size
        sealed = jpeg if sealer is None else sealer.seal(jpeg)
        return self.put("snapshot.taken", camera=camera, jpeg=sealed, at=at)

    def committed(self) -> Committed:
        return Committed(
            epoch=self.epoch,
            last_seq=self.last_seq,
            depth=len(self.kept),
            oldest_seq=min(self.kept, default=None),
            oldest_at=None,
            oldest_wall_s=None,
            used_bytes=0,
            durable=True,
        )

    def fetch(self, fetch: Fetch) -> Fetched:
        wanted = [stored for stored in self.kept.values() if _fits(fetch, stored)]
        records: list[Stored] = []
        size = 0
        for stored in wanted[: min(fetch.limit, self.page)]:
            size += len(stored.data) + len(stored.jpeg or b"")
            if records and size > fetch.limit_bytes:
                break
            records.append(stored)
        return Fetched(fetch=fetch, records=tuple(records), end=len(records) == len(wanted))

    def settle(self, settle: Settle) -> None:
        if settle.epoch != self.epoch:
            return
        for low, high in settle.ranges:
            for seq in [seq for seq in self.kept if low <= seq <= high]:
                del self.kept[seq]
                self.settled.add(seq)

    def purge(self, since_at: float) -> Purged:
        doomed = [s for s in self.kept.values() if s.jpeg is not None and s.at >= since_at]
        for stored in doomed:
            del self.kept[stored.seq]
            self.gone.add(stored.seq)
        return Purged(
            seqs=tuple(stored.seq for stored in doomed),
            cameras=tuple(sorted({stored.camera or "" for stored in doomed})),
        )

    def new_epoch(self, epoch: str) -> None:
        """The store was lost and made anew."""
        self.epoch, self.last_seq = epoch, 0
        self.kept.clear()
        self.settled.clear()
        self.gone.clear()


def _fits(fetch: Fetch, stored: Stored) -> bool:
    if fetch.seqs:
        return stored.seq in fetch.seqs
    if stored.seq <= fetch.after or (fetch.upto is not None and stored.seq > fetch.upto):
        return False
    if fetch.camera is not None:
        return stored.jpeg is not None and stored.camera == fetch.camera
    return stored.jpeg is None and (stored.rank is Rank.AUDIT) == fetch.audit
