"""What is wrong on the way to the hub: when to look, and what the rungs that were tried mean together.

Promises: the lowest rung that does not hold is named, with what was seen and what to do; "unknown" is an answer; nothing is
looked for while the link is up and acknowledged, nor while the city has suspended the box, so that neither is ever taken for the
other; what costs the hub a handshake is done rarely and spread over the fleet. A change is recorded once.
Time and chance are arguments. Not its job: trying the rungs (ladder.py), sentences (ladder_words.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge_agent.core import ladder_words
from edge_agent.core.messages import (
    Climb,
    Fault,
    FindingKey,
    Json,
    LadderClimbed,
    Rank,
    Record,
    Rung,
    Step,
)
from edge_agent.core.words import Sentence

# Most breaks mend themselves within seconds; a look would be news of nothing.
GRACE_S: Final = 10.0
NEAR_S: Final = 60.0
NEAR_LATER_S: Final = 300.0
LATER_S: Final = 600.0  # an outage older than this is looked at more rarely
# As far as the hub: 10,000 boxes that lost it together come by once in the first two minutes, then seven a second.
FAR_FIRST_S: Final = 30.0
FAR_FIRST_SPREAD_S: Final = 120.0
FAR_S: Final = 1_200.0

# The link's findings that say the same less precisely.
WAY_KEYS: Final = frozenset(
    {
        FindingKey.HUB_UNREACHABLE,
        FindingKey.HUB_NAME_UNKNOWN,
        FindingKey.HUB_TLS,
        FindingKey.HUB_REFUSED_CLIENT,
        FindingKey.HUB_REFUSED_VERSION,
    }
)

_FAR: Final = frozenset({Rung.TCP, Rung.TLS})

# The link got past these if the hub itself turned it down since; what a look saw of them before that is over.
_PASSED_IF_TOLD: Final = frozenset({FindingKey.HUB_REFUSED_VERSION, FindingKey.HUB_REFUSED_CLIENT})
_OF_OUR_PAIR: Final = frozenset({Fault.OWN_EXPIRED, Fault.OWN_REFUSED, Fault.OWN_UNUSABLE})

# What the link itself was told by the hub, beyond the rungs that are tried. Lowest first.
_TOLD: Final[Mapping[FindingKey, tuple[Rung, Fault]]] = {
    FindingKey.HUB_REFUSED_VERSION: (Rung.MQTT, Fault.NOT_MQTT),
    FindingKey.HUB_REFUSED_CLIENT: (Rung.AUTHORISATION, Fault.NOT_ALLOWED),
    FindingKey.HUB_REFUSED_TOPIC: (Rung.AUTHORISATION, Fault.NOT_ALLOWED),
    FindingKey.HUB_SILENT: (Rung.HUB, Fault.HUB_SILENT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The link as it stands. `troubles`: its findings, with what was seen."""

    up: bool
    suspended: bool
    troubles: Mapping[FindingKey, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is wrong; `rung` None = it could not be told."""

    rung: Rung | None
    fault: Fault
    seen: str
    said: Sentence


class Ladder:
    """One outage after the other. Owned by the agent."""

    def __init__(self, *, random: Callable[[], float]) -> None:
        """*random* gives numbers from 0 up to 1."""
        self._random = random
        self._down_at: float | None = None
        self._near_at = math.inf
        self._far_at = math.inf
        self._near: tuple[Step, ...] = ()
        self._far: tuple[Step, ...] = ()
        self._looked = False
        self.diagnosis: Diagnosis | None = None
        self._since = 0.0

    def deadline(self) -> float:
        """When `timed` is next needed, in boot seconds."""
        return min(self._near_at, self._far_at)

    def timed(self, way: Way, *, at: float) -> list[Climb | Record]:
        """What is to be done and recorded now. Call it after each event."""
        if way.suspended or way.up:
            self._forget()
        elif self._down_at is None:
            self._down_at = at
            self._near_at = at + GRACE_S
            self._far_at = at + FAR_FIRST_S + FAR_FIRST_SPREAD_S * self._random()
        out: list[Climb | Record] = []
        if self._down_at is not None and at >= self.deadline():
            far = at >= self._far_at
            if far:
                self._far_at = at + FAR_S * (1.0 + self._random())
            late = at - self._down_at >= LATER_S
            self._near_at = at + (NEAR_LATER_S if late else NEAR_S)
            out.append(Climb(far=far))
        record = self._judge(way, at=at)
        return out if record is None else [*out, record]

    def climbed(self, event: LadderClimbed) -> None:
        """What was found; of no use if the link came up meanwhile."""
        if self._down_at is None:
            return
        self._looked = True
        self._near = tuple(step for step in event.steps if step.rung not in _FAR)
        if event.far:
            self._far = tuple(step for step in event.steps if step.rung in _FAR)

    def status(self, *, at: float) -> Json:
        """For people; None = nothing is wrong, or it is too early to say."""
        told = self.diagnosis
        if told is None:
            return None
        return {
            "rung": None if told.rung is None else told.rung.value,
            "fault": told.fault.value,
            "seen": told.seen,
            "since_s": round(at - self._since, 1),
            "id": told.said.id,
            "en": told.said.en,
            "steps": [_json(step) for step in (*self._near, *self._far)],
        }

    def _forget(self) -> None:
        self._down_at = None
        self._near_at = self._far_at = math.inf
        self._near, self._far, self._looked = (), (), False

    def _judge(self, way: Way, *, at: float) -> Record | None:
        before = self.diagnosis
        now = None if way.suspended else self._meaning(way)
        if _key(now) == _key(before):
            return None
        lasted_s = at - self._since
        self.diagnosis, self._since = now, at
        data: dict[str, Json] = {"rung": None, "fault": None, "suspended": way.suspended}
        if now is not None:
            data |= {
                "rung": None if now.rung is None else now.rung.value,
                "fault": now.fault.value,
                "seen": now.seen,
                "id": now.said.id,
                "en": now.said.en,
                "steps": [_json(step) for step in (*self._near, *self._far)],
            }
        if before is not None:
            data |= {"before": before.fault.value, "lasted_s": round(lasted_s, 1)}
        return Record(kind="link.diagnosis", rank=Rank.STATE, at=at, data=data)

    def _meaning(self, way: Way) -> Diagnosis | None:
        if not (way.up or self._looked):
            return None
        passed = not _PASSED_IF_TOLD.isdisjoint(way.troubles)
        for step in (*self._near, *self._far):
            over = passed and step.rung in _FAR and step.fault not in _OF_OUR_PAIR
            if step.holds is False and not over:
                return _diagnosis(step.rung, step.fault or Fault.UNKNOWN, step.seen)
        for key, (rung, fault) in _TOLD.items():
            if key in way.troubles:
                return _diagnosis(rung, fault, way.troubles[key])
        if way.up:
            return None
        return _diagnosis(None, Fault.UNKNOWN, "; ".join(way.troubles.values()))


def _diagnosis(rung: Rung | None, fault: Fault, seen: str) -> Diagnosis:
    return Diagnosis(rung=rung, fault=fault, seen=seen, said=ladder_words.say(fault, seen))


def _key(told: Diagnosis | None) -> tuple[Rung | None, Fault] | None:
    return None if told is None else (told.rung, told.fault)


def _json(step: Step) -> Json:
    return {"rung": step.rung.value, "holds": step.holds, "seen": step.seen}
