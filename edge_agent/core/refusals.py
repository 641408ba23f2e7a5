"""Orders from afar that are refused: the hub's own audit learns of it.

Promise: one record a minute at the most, with the count of those in between: whoever stole the hub's key must not be able to
flood the journal with it.
Not its job: finding out what is to be refused (wire.py, commands.py), the finding (agent.py).
"""

from __future__ import annotations

from typing import Final

from edge_agent.core.messages import Json, Rank, Record

EVERY_S: Final = 60.0


class Refusals:
    """Owned by the agent."""

    def __init__(self, kind: str = "privacy.refused") -> None:
        """*kind*: of the records."""
        self._kind = kind
        self._next_at: float | None = None
        self._waiting: dict[str, Json] = {}  # the last one that has no record yet
        self._count = 0  # so many have none

    def refused(self, **told: Json) -> None:
        """One more; `timed` gives its record, at once or later."""
        self._waiting = told
        self._count += 1

    def timed(self, *, at: float) -> list[Record]:
        """The record that is due."""
        if not self._count or (self._next_at is not None and at < self._next_at):
            return []
        data: dict[str, Json] = {**self._waiting, "refused": self._count}
        self._count, self._next_at = 0, at + EVERY_S
        return [Record(kind=self._kind, rank=Rank.AUDIT, at=at, data=data)]

    def deadline(self) -> float | None:
        """When `timed` is due again."""
        return self._next_at if self._count else None
