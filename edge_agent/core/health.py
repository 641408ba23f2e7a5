"""Findings: what is wrong now, said once when it comes and once when it goes; and when the box itself is one.

Promises: a finding opens once and closes once, however often its evidence is repeated; a measured value must cross back
over a margin before its finding closes, so that a value at its limit says two lines a day and not one a second.
Not its job: the sentences (words.py), what a camera shows (scene.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from edge_agent.core import words
from edge_agent.core.messages import (
    BoxRead,
    Cause,
    FindingKey,
    Json,
    Rank,
    Record,
)
from edge_agent.core.settings import Health

# A hot box cools 5 degrees before it is well again; the others in the same proportion.
HOT_MARGIN_C: Final = 5.0
SHARE_MARGIN: Final = 5.0
DISK_MARGIN: Final = 1.1

# These are what the hub must never miss and the journal never thins.
AUDIT_KEYS: Final = frozenset(
    {
        FindingKey.CABLE_OPEN,
        FindingKey.CABLE_UNREADABLE,
        FindingKey.CABLE_CAMERA_TAKEN,
        FindingKey.PRIVACY_WIRING,
        FindingKey.PRIVACY_UNREADABLE,
        FindingKey.PRIVACY_NO_SWITCH,
        FindingKey.VIEW_FOREIGN,
        FindingKey.VIEW_MOVED,
        FindingKey.VIEW_FILE_DAMAGED,
        FindingKey.VIEW_OTHER_DEVICE,
        FindingKey.ORDER_REFUSED,
    }
)

SIGNAL_KEYS: Final[Mapping[Cause, FindingKey]] = {
    cause: FindingKey(f"camera_{cause.value}") for cause in Cause
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault or notice. `camera` None = the box itself."""

    key: FindingKey
    camera: str | None
    since: float
    evidence: Mapping[str, Json]

    def rank(self) -> Rank:
        """How long its records must live."""
        return Rank.AUDIT if self.key in AUDIT_KEYS else Rank.STATE


class Findings:
    """What is open now. Owned by the agent."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        """*names*: what people call each camera."""
        self._names = names or {}
        self._open: dict[tuple[str | None, FindingKey], Finding] = {}

    def __iter__(self) -> Iterator[Finding]:
        """In the order in which they opened."""
        return iter(self._open.values())

    def of(self, camera: str | None) -> tuple[Finding, ...]:
        """Those of one camera, or of the box."""
        return tuple(finding for finding in self._open.values() if finding.camera == camera)

    def has(self, key: FindingKey, camera: str | None = None) -> bool:
        """Whether it is open."""
        return (camera, key) in self._open

    def raise_(
        self, key: FindingKey, *, at: float, camera: str | None = None, evidence: Mapping[str, Json]
    ) -> Record | None:
        """It is so. A record the first time, None while it lasts."""
        if (camera, key) in self._open:
            return None
        finding = Finding(key, camera, at, dict(evidence))
        self._open[camera, key] = finding
        said = self.sentence(finding)
        data: dict[str, Json] = {
            "key": key.value,
            "evidence": dict(evidence),
            "id": said.id,
            "en": said.en,
        }
        return Record(kind="finding.opened", rank=finding.rank(), at=at, camera=camera, data=data)

    def sentence(self, finding: Finding) -> words.Sentence:
        """What a person reads: seen, meant, to be done or brought."""
        name = self._names.get(finding.camera or "", finding.camera or "")
        return words.say(finding.key, {"camera": name, **finding.evidence})

    def clear(self, key: FindingKey, *, at: float, camera: str | None = None) -> Record | None:
        """It is not so (any more). A record if it was open."""
        finding = self._open.pop((camera, key), None)
        if finding is None:
            return None
        data = {"key": key.value, "lasted_s": round(at - finding.since, 1)}
        return Record(kind="finding.closed", rank=finding.rank(), at=at, camera=camera, data=data)

    def set_only(
        self,
        wanted: Mapping[FindingKey, Mapping[str, Json]],
        among: frozenset[FindingKey],
        *,
        at: float,
        camera: str | None = None,
    ) -> list[Record]:
        """Of the keys *among*, exactly those *wanted* (with their evidence) are so."""
        records = [
            self.clear(key, at=at, camera=camera)
            for key in sorted(among, key=lambda key: key.value)
            if key not in wanted
        ]
        records += [
            self.raise_(key, at=at, camera=camera, evidence=evidence)
            for key, evidence in wanted.items()
        ]
        return [record for record in records if record is not None]


BOX_KEYS: Final = frozenset(
    {
        FindingKey.BOX_HOT,
        FindingKey.BOX_DISK_LOW,
        FindingKey.BOX_MEMORY_LOW,
        FindingKey.BOX_UNDER_VOLTAGE,
    }
)


def judge_box(
    read: BoxRead, limits: Health, findings: Findings
) -> dict[FindingKey, dict[str, Json]]:
    """Which of `BOX_KEYS` hold, with hysteresis against those that are open."""
    wanted: dict[FindingKey, dict[str, Json]] = {}
    hot_at = limits.cpu_celsius_max
    if findings.has(FindingKey.BOX_HOT):
        hot_at -= HOT_MARGIN_C
    if read.cpu_celsius is not None and read.cpu_celsius >= hot_at:
        wanted[FindingKey.BOX_HOT] = {"celsius": round(read.cpu_celsius, 1)}
    low_at = float(limits.disk_free_min_bytes)
    if findings.has(FindingKey.BOX_DISK_LOW):
        low_at *= DISK_MARGIN
    if read.disk_free_bytes is not None and read.disk_free_bytes < low_at:
        wanted[FindingKey.BOX_DISK_LOW] = {"free_mb": read.disk_free_bytes // 1_000_000}
    full_at = limits.memory_used_max_percent
    if findings.has(FindingKey.BOX_MEMORY_LOW):
        full_at -= SHARE_MARGIN
    if read.memory_used_percent >= full_at:
        wanted[FindingKey.BOX_MEMORY_LOW] = {"used_percent": round(read.memory_used_percent)}
    if read.under_voltage:
        wanted[FindingKey.BOX_UNDER_VOLTAGE] = {}
    return wanted
