"""A box's certificate over the years: when to ask for the next one, which pair to offer, and when a person must know.

Promises: a renewal is asked for at half of a certificate's life, spread over the fleet, so that a box may be dark for the other
half; the pair that worked is kept until the new one has connected once, and is offered in turn with it until then; a clock that
nothing vouches for neither asks for a renewal nor raises an alarm, but a hub that refuses the pair does the former.
Time and chance are arguments. Not its job: keys, files, the endpoint (pairs.py, renewal.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from edge_agent.core.messages import CertificateRead, FindingKey, Json

DAY_S: Final = 86_400.0
# From half of its life on, over a twentieth: boxes that were commissioned in one week do not all ask on one day.
DUE_SHARE: Final = 0.5
SPREAD_SHARE: Final = 0.05
WARN_S: Final = 30 * DAY_S

# Thousands start together when a district gets its power or its internet back.
FIRST_S: Final = 120.0
PATIENT_S: Final = (3_600.0, DAY_S)  # nothing is lost by a day: half a life is left
URGENT_S: Final = (300.0, 3_600.0)  # the hub takes this box's certificate no more
ASKED_MIN_S: Final = 60.0  # of what an endpoint asks us to wait
ASKED_MAX_S: Final = DAY_S

# A hub that drowns hangs up on thousands within their handshakes, and no certificate is to blame: only the third time in a row,
# minutes after the first, says something about this box's own.
TURNED_DOWN: Final = 3

# A new pair may be refused by a hub that is not told of it yet; twice, and the old one still works: it is of no use.
REFUSALS: Final = 2


class Slot(Enum):
    """Where a pair comes from."""

    CONFIGURED = "configured"  # as box.toml names it
    RENEWED = "renewed"  # a later one that has connected
    TRIAL = "trial"  # a later one that never has yet


class Fate(Enum):
    """What becomes of a trial."""

    WAIT = "wait"
    KEEP = "keep"
    DROP = "drop"


class Trial:
    """Which of the two pairs is offered next while a new one has to prove itself. One owner."""

    def __init__(self) -> None:
        self._refusals = 0
        self._last: Slot | None = None  # what was refused last

    def offer(self, proven: Slot, *, trial: bool) -> Slot:
        """The pair for the next connection."""
        return Slot.TRIAL if trial and self._last is not Slot.TRIAL else proven

    def worked(self, slot: Slot) -> Fate:
        """A connection came up with *slot*."""
        self._last = None
        if slot is Slot.TRIAL:
            self._refusals = 0
            return Fate.KEEP
        if self._refusals >= REFUSALS:
            self._refusals = 0
            return Fate.DROP
        return Fate.WAIT

    def refused(self, slot: Slot) -> None:
        """The hub did not want *slot*, or would not say why it hung up."""
        self._last = slot
        if slot is Slot.TRIAL:
            self._refusals += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """From when to when a certificate holds, in Unix time."""

    begin_s: float
    end_s: float

    def due_s(self, chance: float) -> float:
        """When to ask for the next one; *chance* is this box's, from 0 up to 1."""
        return self.begin_s + (self.end_s - self.begin_s) * (DUE_SHARE + SPREAD_SHARE * chance)


class Plan:
    """When to ask. One owner; times named `at` are boot seconds."""

    def __init__(self, *, at: float, random: Callable[[], float]) -> None:
        """*random* gives numbers from 0 up to 1."""
        self._random = random
        self._chance = random()
        self._not_before = at + FIRST_S * random()
        self._failures = 0
        self._refused = 0  # times in a row
        self._fruitless = 0  # new pairs since the hub last let the box in

    def due_s(self, life: Life) -> float:
        """When the next certificate is asked for, in Unix time."""
        return life.due_s(self._chance)

    def refused(self) -> None:
        """The hub did not let the box in: if that goes on, a new pair is worth a try, whatever the clock says."""
        self._refused += 1

    def welcome(self) -> None:
        """The hub let it in."""
        self._refused = self._fruitless = 0

    def wants(self, life: Life, *, at: float, wall_s: float | None, passed_s: float) -> bool:
        """Whether to ask now. *wall_s* None = nothing vouches for the clock; *passed_s* has surely passed."""
        known_s = passed_s if wall_s is None else wall_s
        turned_down = self._refused >= TURNED_DOWN
        return at >= self._not_before and (turned_down or known_s >= self.due_s(life))

    def failed(self, life: Life, *, at: float, wall_s: float | None) -> None:
        """It did not work: again later, ever more rarely."""
        urgent = self._refused >= TURNED_DOWN or (wall_s is not None and wall_s >= life.end_s)
        first_s, cap_s = URGENT_S if urgent else PATIENT_S
        spread_s = min(cap_s, first_s * 2.0 ** min(self._failures, 20))
        self._failures += 1
        self._not_before = at + spread_s * (0.5 + 0.5 * self._random())

    def asked_to_wait(self, delay_s: float, *, at: float) -> None:
        """The endpoint has the request, and an answer later."""
        sound_s = delay_s if math.isfinite(delay_s) else ASKED_MAX_S
        self._not_before = at + min(ASKED_MAX_S, max(ASKED_MIN_S, sound_s))

    def done(self, *, at: float) -> None:
        """There is a new pair. One that is refused at once is replaced in an hour or so, the next ever more rarely.

        A hub that turns a box down for another reason would otherwise have its authority sign 24 certificates a day for it.
        """
        first_s, cap_s = PATIENT_S
        spread_s = min(cap_s, first_s * 2.0 ** min(self._fruitless, 20))
        self._fruitless += 1
        self._failures, self._refused = 0, 0
        self._not_before = at + spread_s * (0.5 + 0.5 * self._random())


CERTIFICATE_KEYS: Final = frozenset(
    {FindingKey.CERTIFICATE_EXPIRES, FindingKey.CERTIFICATE_EXPIRED}
)


def judge(
    read: CertificateRead | None, *, wall_s: float | None
) -> dict[FindingKey, dict[str, Json]]:
    """Which of `CERTIFICATE_KEYS` hold. *wall_s* None = nothing vouches for the clock, so nobody is alarmed."""
    if read is None or wall_s is None:
        return {}
    left_s = read.end_s - wall_s
    if left_s <= 0:
        return {FindingKey.CERTIFICATE_EXPIRED: {"detail": read.trouble}}
    if left_s <= WARN_S and (read.trouble or not read.renews):
        days = max(1, math.floor(left_s / DAY_S))
        return {FindingKey.CERTIFICATE_EXPIRES: {"in_days": days, "detail": read.trouble}}
    return {}
