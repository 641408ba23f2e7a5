"""What is wrong at a box now: its open work orders and findings, from the records that open and close them.

Promises: records may come in any order and more than once; the newest revision of a work order counts, and of a finding what was
said last; `agent.started` voids every finding that was open before it, and no work order.
Pure. Not its job: what a camera's retained state says (summary.py), keeping records (store.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from edge_agent.core import wire
from edge_agent.core.messages import Json
from edge_agent.receiver.summary import FindingSummary, OrderSummary

STARTED: Final = "agent.started"
CLOSED: Final = "work_order.closed"
_When = tuple[int, int]  # which epoch of the journal, in the order in which they came; seq


@dataclass(frozen=True, slots=True)
class _Told:
    """The last word on a finding. None = it is closed."""

    when: _When
    finding: FindingSummary | None


class News:
    """Of one box."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        self._started: _When = (-1, 0)
        self._findings: dict[tuple[str | None, str], _Told] = {}
        self._orders: dict[str, tuple[int, OrderSummary | None]] = {}

    def take(self, record: wire.Arrived) -> None:
        """A record of the box; most are no news."""
        when = (self._epochs.setdefault(record.epoch, len(self._epochs)), record.seq)
        if not record.kind.startswith(("finding.", "work_order.", STARTED)):
            return
        if record.kind == STARTED:
            self._started = max(self._started, when)
            return
        data: Json = json.loads(record.data)
        if not isinstance(data, dict):
            return
        if record.kind.startswith("finding."):
            self._finding(record, when, data)
        else:
            self._order(record, data)

    @property
    def findings(self) -> tuple[FindingSummary, ...]:
        """Open, the box's own first."""
        found = (told for told in self._findings.values() if told.when > self._started)
        return tuple(
            sorted(
                (told.finding for told in found if told.finding is not None),
                key=lambda finding: (finding.camera or "", finding.key),
            )
        )

    @property
    def orders(self) -> tuple[OrderSummary, ...]:
        """Open, in the order of their ids."""
        return tuple(order for _, (_, order) in sorted(self._orders.items()) if order is not None)

    def _finding(self, record: wire.Arrived, when: _When, data: dict[str, Json]) -> None:
        key = str(data.get("key", ""))
        known = self._findings.get((record.camera, key))
        if known is not None and known.when >= when:
            return
        finding = None
        if record.kind == "finding.opened":
            finding = FindingSummary(key=key, camera=record.camera, en=str(data.get("en", "")))
        self._findings[record.camera, key] = _Told(when, finding)

    def _order(self, record: wire.Arrived, data: dict[str, Json]) -> None:
        match data.get("order"), data.get("revision"):
            case str(name), int(revision):
                pass
            case _:
                return
        known = self._orders.get(name)
        if known is not None and known[0] >= revision:
            return
        order = None if record.kind == CLOSED else _order_of(record, name, revision, data)
        self._orders[name] = (revision, order)


def _order_of(
    record: wire.Arrived, name: str, revision: int, data: dict[str, Json]
) -> OrderSummary:
    cameras, since = data.get("cameras"), data.get("since_s")
    made = _unix(record.time) if record.trusted else None
    known = made is not None and isinstance(since, int | float)
    return OrderSummary(
        order=name,
        revision=revision,
        cause=str(data.get("cause", "")),
        cameras=tuple(map(str, cameras)) if isinstance(cameras, list) else (),
        name=str(data.get("name") or ""),
        place=str(data.get("place") or ""),
        since=made - since
        if known and made is not None and isinstance(since, int | float)
        else None,
    )


def _unix(time: str) -> float | None:
    """RFC 3339 as Unix seconds; None for a day that no calendar has."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None
