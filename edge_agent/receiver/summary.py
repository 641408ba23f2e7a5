"""What the hub has, as values: of all boxes, of one, of a camera; and the same as JSON.

Promises: immutable, so that any thread may keep one; the keys of the JSON are stable.
Not its job: collecting it (store.py), showing it to a person (table.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from edge_agent.core.messages import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSummary:
    """The retained state of a camera, as it came, and how many of its pictures are kept."""

    id: str
    state: Json
    pictures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSummary:
    """An open work order. `since`: Unix time of the first sign; None = no clock vouched for it."""

    order: str
    revision: int
    cause: str
    cameras: tuple[str, ...]
    name: str
    place: str
    since: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingSummary:
    """An open finding. `camera` None: it is about the box."""

    key: str
    camera: str | None
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxSummary:
    """What the hub has of a box. Times are the hub's own, Unix seconds; None = never."""

    box: str
    online: bool
    simulated: bool
    version: str
    epoch: str | None
    records: int
    pictures: int
    upto: int
    missing: int
    kinds: tuple[tuple[str, int], ...]
    cameras: tuple[CameraSummary, ...]
    since: float | None = None  # its presence was first heard to be so
    heard: float | None = None  # it was last heard of, by whatever message
    orders: tuple[OrderSummary, ...] = ()
    findings: tuple[FindingSummary, ...] = ()
    breaks: tuple[str, ...] = ()  # where its audit chain does not hold; the first few

    @property
    def troubled(self) -> bool:
        """Whether somebody should look at it."""
        return bool(self.missing or self.orders or self.findings or self.breaks or not self.online)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the hub has of all boxes."""

    connected: bool
    boxes: tuple[BoxSummary, ...] = ()
    duplicates: int = 0
    withdrawn: int = 0
    faults: int = 0
    last_fault: str = ""
    failure: str = ""  # why the receiver gave up; "" = it did not
    not_connected: str = (
        ""  # what keeps it from its broker; "" = nothing, or nothing that is known yet
    )

    @property
    def complete(self) -> bool:
        """Nothing is missing and everything could be read."""
        return not self.faults and not self.failure and not any(box.missing for box in self.boxes)

    @property
    def intact(self) -> bool:
        """Every audit chain holds, as far as it came."""
        return not any(box.breaks for box in self.boxes)


def to_json(summary: Summary) -> dict[str, Json]:
    """A summary for machines; keys are stable."""
    return {**_head(summary), "boxes": [_box(box) for box in summary.boxes]}


class Lines:
    """The same as text, for one who wants it at each change: only boxes that changed are written anew."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[BoxSummary, str]] = {}

    def line(self, summary: Summary) -> str:
        """As `to_json`, in one line."""
        for box in summary.boxes:
            known = self._texts.get(box.box)
            if known is None or known[0] is not box:
                self._texts[box.box] = box, _text(_box(box))
        boxes = ",".join(self._texts[box.box][1] for box in summary.boxes)
        return f'{_text(_head(summary))[:-1]},"boxes":[{boxes}]}}'


def _text(told: Json) -> str:
    return json.dumps(told, separators=(",", ":"))


def _head(summary: Summary) -> dict[str, Json]:
    return {
        "connected": summary.connected,
        "not_connected": summary.not_connected,
        "complete": summary.complete,
        "intact": summary.intact,
        "duplicates": summary.duplicates,
        "withdrawn": summary.withdrawn,
        "faults": summary.faults,
        "last_fault": summary.last_fault,
        "failure": summary.failure,
    }


def _box(box: BoxSummary) -> Json:
    return {
        "box": box.box,
        "online": box.online,
        "since": box.since,
        "heard": box.heard,
        "simulated": box.simulated,
        "version": box.version,
        "epoch": box.epoch,
        "records": box.records,
        "pictures": box.pictures,
        "upto": box.upto,
        "missing": box.missing,
        "breaks": list(box.breaks),
        "kinds": dict(box.kinds),
        "cameras": {camera.id: camera.state for camera in box.cameras},
        "pictures_of": {camera.id: camera.pictures for camera in box.cameras},
        "orders": [
            {
                "order": order.order,
                "revision": order.revision,
                "cause": order.cause,
                "cameras": list(order.cameras),
                "name": order.name,
                "place": order.place,
                "since": order.since,
            }
            for order in box.orders
        ],
        "findings": [
            {"key": finding.key, "camera": finding.camera, "en": finding.en}
            for finding in box.findings
        ],
    }
