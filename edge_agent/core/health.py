"""Findings: what is wrong now, said once when it comes and once when it goes; and when the box itself is one.

Promises: a finding opens once and closes once, however often its evidence is repeated; a measured value must cross back
over a margin before its finding closes, so that a value at its limit says two lines a day and not one a second.
Not its job: the sentences (words.py), what a camera shows (scene.py).
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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
# A file system has its inodes from the day it was made; with none left, no file can be made on an empty disk.
INODES_FREE_PERCENT: Final = 5.0
INODES_MARGIN: Final = 1.0
# Nine tenths of an eMMC's erase cycles: the box still runs, and its successor can be flashed in peace.
CARD_WORN_PERCENT: Final = 90

# So many losses within the window are one news, and the next only when it has been calm for as long.
FLAPS: Final = 4
FLAP_WINDOW_S: Final = 600.0

# These are what the hub must never miss and the journal never thins.
AUDIT_KEYS: Final = frozenset(
    {
        *(key for key in FindingKey if key.name.startswith("CABLE_")),
        # Somebody is at the box, or it may be dark within minutes: on the card at once.
        FindingKey.BOX_DOOR_OPEN,
        FindingKey.BOX_MAINS_LOST,
        FindingKey.BOX_UPS_EMPTY,
        FindingKey.PRIVACY_WIRING,
        FindingKey.PRIVACY_UNREADABLE,
        FindingKey.PRIVACY_NO_SWITCH,
        FindingKey.PRIVACY_RELAY,
        FindingKey.PRIVACY_JAMMED,
        FindingKey.PRIVACY_NOT_KEPT,
        FindingKey.PRIVACY_UNDRIVEN,
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
    said: words.Sentence  # what a person reads: seen, meant, to be done or brought

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
        name = self._names.get(camera or "", camera or "")
        said = words.say(key, {"camera": name, **evidence})
        finding = Finding(key, camera, at, dict(evidence), said)
        self._open[camera, key] = finding
        data: dict[str, Json] = {
            "key": key.value,
            "evidence": dict(evidence),
            "id": said.id,
            "en": said.en,
        }
        return Record(kind="finding.opened", rank=finding.rank(), at=at, camera=camera, data=data)

    def explain(self, keys: frozenset[FindingKey], said: words.Sentence) -> None:
        """More is known by now of those of *keys* that are open for the box: this is what a person reads from here on."""
        for at, finding in self._open.items():
            if finding.camera is None and finding.key in keys and finding.said != said:
                self._open[at] = replace(finding, said=said)

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
        FindingKey.BOX_THROTTLED,
        FindingKey.BOX_INODES_LOW,
        FindingKey.BOX_READ_ONLY,
        FindingKey.BOX_CARD_WORN,
        FindingKey.CONFIG_CARD,
    }
)


def judge_box(
    read: BoxRead, limits: Health, findings: Findings
) -> dict[FindingKey, dict[str, Json]]:
    """Which of `BOX_KEYS` hold, with hysteresis against those that are open."""
    return (
        _judge_levels(read, limits, findings)
        | _judge_disk(read, limits, findings)
        | _judge_now(read)
    )


def _judge_levels(
    read: BoxRead, limits: Health, findings: Findings
) -> dict[FindingKey, dict[str, Json]]:
    wanted: dict[FindingKey, dict[str, Json]] = {}
    hot_at = limits.cpu_celsius_max
    if findings.has(FindingKey.BOX_HOT):
        hot_at -= HOT_MARGIN_C
    if read.cpu_celsius is not None and read.cpu_celsius >= hot_at:
        wanted[FindingKey.BOX_HOT] = {"celsius": round(read.cpu_celsius, 1)}
    full_at = limits.memory_used_max_percent
    if findings.has(FindingKey.BOX_MEMORY_LOW):
        full_at -= SHARE_MARGIN
    if read.memory_used_percent >= full_at:
        wanted[FindingKey.BOX_MEMORY_LOW] = {"used_percent": round(read.memory_used_percent)}
    return wanted


def _judge_disk(
    read: BoxRead, limits: Health, findings: Findings
) -> dict[FindingKey, dict[str, Json]]:
    wanted: dict[FindingKey, dict[str, Json]] = {}
    low_at = float(limits.disk_free_min_bytes)
    if findings.has(FindingKey.BOX_DISK_LOW):
        low_at *= DISK_MARGIN
    if read.disk_free_bytes is not None and read.disk_free_bytes < low_at:
        wanted[FindingKey.BOX_DISK_LOW] = {"free_mb": read.disk_free_bytes // 1_000_000}
    scarce_at = INODES_FREE_PERCENT
    if findings.has(FindingKey.BOX_INODES_LOW):
        scarce_at += INODES_MARGIN
    if read.inodes_free_percent is not None and read.inodes_free_percent < scarce_at:
        wanted[FindingKey.BOX_INODES_LOW] = {"free_percent": round(read.inodes_free_percent, 1)}
    return wanted


def _judge_now(read: BoxRead) -> dict[FindingKey, dict[str, Json]]:
    """What is so or not, without a measure that could dither."""
    worn = read.card_worn_percent
    ending = read.card_ending or (worn is not None and worn >= CARD_WORN_PERCENT)
    told: dict[FindingKey, tuple[bool | None, dict[str, Json]]] = {
        FindingKey.BOX_UNDER_VOLTAGE: (read.under_voltage, {}),
        FindingKey.BOX_THROTTLED: (read.throttled, {}),
        FindingKey.BOX_READ_ONLY: (read.read_only, {}),
        FindingKey.BOX_CARD_WORN: (ending, {} if worn is None else {"worn_percent": worn}),
        FindingKey.CONFIG_CARD: (bool(read.config_refused), {"detail": read.config_refused}),
    }
    return {key: evidence for key, (so, evidence) in told.items() if so}


class Flaps:
    """Whether a camera comes and goes: then each loss is no news of its own."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=FLAPS)
        self.since: float | None = None  # None = it does not

    def lost(self, *, at: float) -> None:
        """One more loss."""
        self._losses.append(at)
        many = len(self._losses) == FLAPS and self._losses[0] > at - FLAP_WINDOW_S
        if self.since is None and many:
            self.since = at

    def timed(self, *, at: float) -> None:
        """What calm brings."""
        if self.since is not None and at >= self._losses[-1] + FLAP_WINDOW_S:
            self.since = None

    def deadline(self) -> float | None:
        """When it will have been calm for long enough."""
        return None if self.since is None else self._losses[-1] + FLAP_WINDOW_S


class LinkQuality:
    """How good the way to the hub was since the last report: breaks, time without it, and how long an answer took."""

    def __init__(self, *, at: float) -> None:
        self._since = at
        self._down_at: float | None = at
        self._down_s = 0.0
        self._breaks = 0
        self._sent: dict[int, float] = {}
        self._answer_s: list[float] = []

    def up(self, *, at: float) -> None:
        """Connected."""
        if self._down_at is not None:
            self._down_s += at - self._down_at
        self._down_at = None
        self._sent.clear()

    def down(self, *, at: float) -> None:
        """Not connected any more, or still not."""
        if self._down_at is None:
            self._down_at = at
            self._breaks += 1
        self._sent.clear()

    def sent(self, ticket: int, *, at: float) -> None:
        """Handed to the link."""
        self._sent[ticket] = at

    def answered(self, ticket: int, *, at: float, delivered: bool) -> None:
        """The broker's word on it, or that it never left."""
        sent_at = self._sent.pop(ticket, None)
        if sent_at is not None and delivered:
            self._answer_s.append(at - sent_at)

    def report(self, *, at: float) -> dict[str, Json]:
        """Numbers since the last report; starts anew."""
        down_s = self._down_s + (0.0 if self._down_at is None else at - self._down_at)
        answers = sorted(self._answer_s)
        told: dict[str, Json] = {
            "over_s": round(at - self._since, 1),
            "down_s": round(down_s, 1),
            "breaks": self._breaks,
            "answers": len(answers),
            "answer_s": round(answers[len(answers) // 2], 3) if answers else None,
            "slowest_s": round(answers[-1], 3) if answers else None,
        }
        self._since, self._down_s, self._breaks, self._answer_s = at, 0.0, 0, []
        if self._down_at is not None:
            self._down_at = at
        return told
