"""What a box made of the card that a person filled in: which part is in use, what is wrong with the others.

Promises: each part is judged by itself, so that a slip in one never costs another; a part that is wrong leaves in use what was in
use before; keys for SSH alone are the card's own word at any time, as whoever takes one off the card means it.
Not its job: reading the card and keeping files (provision), wording (card_words.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edge_agent.core.words import Sentence


class Part(Enum):
    """What is taken or refused as a whole, by its name on the card."""

    BOX = "box.toml"  # with what it names in hub/ and secrets/
    CERTIFICATE = "hub/box.pem"
    NETWORK = "network.toml"
    KEYS = "authorized_keys"


class Standing(Enum):
    """What is in use of a part."""

    TAKEN = "taken"  # as it is on the card
    KEPT = "kept"  # what was in use before
    NONE = "none"  # nothing; of the network: the wired socket by DHCP


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with the card. `line` is a hint; `allowed` may be empty."""

    where: str
    said: Sentence
    remedy: Sentence
    allowed: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One part, and what became of it."""

    part: Part
    standing: Standing
    faults: tuple[Fault, ...] = ()
    note: Sentence | None = None  # what to know of a part that is no fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole card. `place`: the box's name in the city, "" = not known; `count`: how many cards were read before, and this."""

    place: str
    count: int
    verdicts: tuple[Verdict, ...]
    notes: tuple[Sentence, ...] = ()


def verdict(
    part: Part,
    *,
    faults: Sequence[Fault],
    present: bool,
    in_use: bool,
    note: Sentence | None = None,
) -> Verdict:
    """What becomes of *part*. *present*: it is on the card; *in_use*: a sound one is kept from before."""
    if part is Part.KEYS:
        standing = Standing.TAKEN if present else Standing.NONE
    elif present and not faults:
        standing = Standing.TAKEN
    else:
        standing = Standing.KEPT if in_use else Standing.NONE
    return Verdict(part=part, standing=standing, faults=tuple(faults), note=note)


def troubled(report: Report) -> tuple[str, ...]:
    """The parts somebody has to see to, by their names on the card."""
    return tuple(
        verdict.part.value
        for verdict in report.verdicts
        if verdict.faults
        or (verdict.standing is Standing.NONE and verdict.part in {Part.BOX, Part.CERTIFICATE})
    )
