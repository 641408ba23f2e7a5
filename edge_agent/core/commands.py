"""Commands from afar: which one is obeyed, exactly once, and what the hub hears of it.

Laws:
1. Obeyed is only what is signed, for this box, fresh from the hub (not retained), numbered above every command obeyed before,
   not expired by a clock that something vouches for, known, and sound in each argument. Every wish here can only restrict,
   show, tell or send sooner: none opens, lifts or approves.
2. First the record `command.accepted` and the number go into the journal; the deed waits for the journal's word (`Remembered`).
3. A number once accepted is never acted on again. The same command again, also after a restart, gets the reply it got before.
   What a restart interrupted counts as failed and is not tried again.
4. What is refused uses up no number and writes nothing to the card but a counted record now and then: it may come again.
5. However many come: `ACCEPTED_AN_HOUR` deeds, `REPLIES_A_MINUTE` replies, and one record of refusals a minute.
Not its job: signatures (orders.py), what reaches for the privacy switch (wire.py), the deeds (agent.py).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, TypeAlias

from edge_agent.core import wire
from edge_agent.core.messages import (
    Command,
    Json,
    Keep,
    Level,
    Memory,
    Message,
    OrderVerified,
    Rank,
    Record,
    Remember,
    Remembered,
    Say,
)
from edge_agent.core.refusals import Refusals
from edge_agent.core.settings import Identity

# Wide enough for a hub that prepares a night's commands, too narrow for a token that somebody kept.
AHEAD_S: Final = 24 * 3600.0
ACCEPTED_AN_HOUR: Final = 30
REPLIES_A_MINUTE: Final = 30
# A hub asks again within minutes; so many answers outlive that.
TOLD_MAX: Final = 16
# Correlation data is the hub's own; it comes back as it was, but may not make a reply large.
CORRELATION_BYTES_MAX: Final = 1000

FASTEST_S: Final = 1.0
SLOWEST_S: Final = 3600.0
BURST_MINUTES: Final = (1, 60)
LOCATE_S: Final = (5, 300)

_TEXT_MAX: Final = 200_000
_WHY_INTERRUPTED: Final = (
    "the box restarted before it was done; send a new one if it is still wanted"
)


class Result(Enum):
    """What came of a command."""

    DONE = "done"
    REFUSED = "refused"  # nothing was done, and nothing will be
    FAILED = "failed"  # it was accepted, and came to nothing


# ---- what may be wished ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Fast:
    """`burst`: pictures of open cameras each `period_s`, for so many minutes (floods)."""

    cameras: tuple[str, ...]
    period_s: float
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverify:
    """`reverify`: these cameras have to prove their view again."""

    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locate:
    """`locate`: the lamps say which box this is."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """`report`: one record of what the box knows of itself."""


@dataclass(frozen=True, slots=True)
class SyncNow:
    """`sync-now`: send what waits without further pauses."""


Wish: TypeAlias = Fast | Reverify | Locate | Report | SyncNow


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What a command meets on the box."""

    wall_s: float | None  # Unix time, if and only if something vouches for it
    private: bool
    suspended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something to be done now; `Commands.done` hears what came of it."""

    number: int
    wish: Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What follows from a command, or from a deed. `fault` says what was wrong with an order that no honest hub sends."""

    commands: tuple[Command, ...] = ()
    reply: Message | None = None
    accepted: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A command that was accepted. `result` None = not done yet."""

    number: int
    name: str
    arguments: Mapping[str, Json] = field(default_factory=dict)
    result: Result | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """Accepted, and not yet on the card."""

    wish: Wish
    expires_at: float  # seconds since boot: from here on no wall clock is asked
    correlation: bytes | None


class Commands:
    """Owned by the agent."""

    def __init__(
        self, identity: Identity, cameras: Sequence[str], *, remembered: bytes | None
    ) -> None:
        """*cameras*: ids of this box. *remembered*: the last `Remember` of `Memory.COMMANDS`, as far as the card still has it."""
        self._identity = identity
        self._cameras = tuple(cameras)
        self._highest, self._told = _load(remembered)
        self._waiting: dict[int, _Waiting] = {}
        self._value: bytes | None = None
        self._accepted = _Allowance(ACCEPTED_AN_HOUR, over_s=3600.0)
        self._replies = _Allowance(REPLIES_A_MINUTE, over_s=60.0)
        self._refusals = Refusals("command.refused")

    def start(self, *, at: float) -> list[Command]:
        """What a restart interrupted is said to have failed, once."""
        cut_off = [told.number for told in self._told.values() if told.result is None]
        out: list[Command] = []
        for number in cut_off:
            out += self._settle(number, Result.FAILED, _WHY_INTERRUPTED, at=at)
        return out + (self._remember() if cut_off else [])

    def take(self, event: OrderVerified, now: Now, *, at: float) -> Answer:
        """A command whose signature is the hub's. The deed follows from `remembered`, never from here."""
        order = _read(event, self._identity)
        if isinstance(order, str):
            number = wire.number_of(event.claims)
            return self._refuse(number, order, event.correlation, fault=True, at=at)
        before = self._told.get(order.number)
        if before is not None:
            return self._again(before, order, event.correlation, at=at)
        refused = self._unfit(order, now)
        wish: Wish | str = "" if refused else _wish(order, self._cameras)
        if isinstance(wish, str):
            why = refused or wish
            return self._refuse(order.number, why, event.correlation, fault=True, at=at)
        hindered = self._hindered(order, wish, now, at=at)
        if hindered or now.wall_s is None:
            return self._refuse(order.number, hindered, event.correlation, fault=False, at=at)
        return self._accept(order, wish, now.wall_s, event.correlation, at=at)

    def refuse(
        self, number: int | None, why: str, correlation: bytes | None, *, at: float
    ) -> Answer:
        """Tell the hub that the agent itself would not have it."""
        return Answer(reply=self._reply(number, Result.REFUSED, why, correlation, at=at))

    def remembered(self, event: Remembered) -> list[Deed]:
        """The journal's word: what may be done now, in order of acceptance. In memory alone is as good as it gets then.

        While a full disk has the number, but no room for the record, the deed waits.
        """
        if event.memory is not Memory.COMMANDS or event.value != self._value or event.ahead:
            return []
        return [Deed(number=number, wish=self._waiting[number].wish) for number in self._waiting]

    def hindrance(self, deed: Deed, now: Now, *, at: float) -> str:
        """Why *deed* is not to be done after all: what was fit when it was accepted may not be any more; "" = do it."""
        if at >= self._waiting[deed.number].expires_at:
            return "expired while it waited for the card"
        return _hindrance(deed.wish, now)

    def done(self, number: int, result: Result, why: str, *, at: float) -> Answer:
        """What came of a deed."""
        waited = self._waiting.pop(number)
        commands = self._settle(number, result, why, at=at)
        reply = self._reply(number, result, why, waited.correlation, at=at)
        return Answer(commands=(*commands, *self._remember()), reply=reply)

    def timed(self, *, at: float) -> list[Command]:
        """The record of refusals that is due."""
        return [
            Keep(record=replace(record, rank=Rank.STATE)) for record in self._refusals.timed(at=at)
        ]

    def deadline(self) -> float | None:
        """When `timed` is due."""
        return self._refusals.deadline()

    # -- inside --

    def _unfit(self, order: wire.Order, now: Now) -> str:
        """Why no hub that is in order sends this now; "" = it is fit as far as number and time go."""
        if order.number <= self._highest:
            return (
                f"command.number: {order.number} is not above {self._highest}, the newest that was obeyed;"
                " give each command a higher number"
            )
        if now.wall_s is None:
            return ""
        if order.expires <= now.wall_s:
            return f"command.expires: {now.wall_s - order.expires:.0f} s ago; send a new one"
        if order.expires > now.wall_s + AHEAD_S:
            return f"command.expires: more than {AHEAD_S / 3600:.0f} hours ahead; set it sooner"
        most = round((now.wall_s + AHEAD_S) * 1000)
        if order.number > most:
            # Or one command with the highest of all numbers would be the last for ever.
            return f"command.number: above {most}, the Unix time in ms of tomorrow; take it from the clock"
        return ""

    def _hindered(self, order: wire.Order, wish: Wish, now: Now, *, at: float) -> str:
        """Why a command that is in order cannot be obeyed at present; spends one of the hour's if it can."""
        if now.wall_s is None:
            return "the box's clock is not trusted, so it cannot know what has expired; send it again when it is"
        hindrance = _hindrance(wish, now)
        if hindrance:
            return hindrance
        if not self._accepted.spend(at):
            return f"{ACCEPTED_AN_HOUR} commands within an hour are enough; send {order.name} again later"
        return ""

    def _accept(
        self, order: wire.Order, wish: Wish, wall_s: float, correlation: bytes | None, *, at: float
    ) -> Answer:
        self._highest = order.number
        self._told[order.number] = _Told(
            number=order.number, name=order.name, arguments=order.arguments
        )
        self._waiting[order.number] = _Waiting(
            wish=wish, expires_at=at + (order.expires - wall_s), correlation=correlation
        )
        data: dict[str, Json] = {
            "number": order.number,
            "name": order.name,
            "arguments": order.arguments,
        }
        record = Record(kind="command.accepted", rank=Rank.AUDIT, at=at, data=data)
        text = f"command accepted number={order.number} name={order.name}"
        say = Say(level=Level.INFO, text=text)
        return Answer(commands=(Keep(record=record), *self._remember(), say), accepted=True)

    def _again(
        self, before: _Told, order: wire.Order, correlation: bytes | None, *, at: float
    ) -> Answer:
        """A number that was accepted before: the same reply, and nothing else."""
        if (before.name, before.arguments) != (order.name, order.arguments):
            why = f"command.number: {order.number} was another command's ({before.name}); use a new one"
            return self._refuse(order.number, why, correlation, fault=True, at=at)
        if before.result is None:
            waits = self._waiting[order.number]
            self._waiting[order.number] = replace(waits, correlation=correlation)
            return Answer()  # the reply comes with the deed
        return Answer(
            reply=self._reply(order.number, before.result, before.why, correlation, at=at)
        )

    def _refuse(
        self, number: int | None, why: str, correlation: bytes | None, *, fault: bool, at: float
    ) -> Answer:
        self._refusals.refused(number=number, why=why)
        reply = self._reply(number, Result.REFUSED, why, correlation, at=at)
        return Answer(reply=reply, fault=why if fault else "")

    def _reply(
        self,
        number: int | None,
        result: Result,
        why: str,
        correlation: bytes | None,
        *,
        at: float,
    ) -> Message | None:
        if not self._replies.spend(at):
            return None
        if correlation is not None and len(correlation) > CORRELATION_BYTES_MAX:
            correlation = None
        return wire.reply(
            self._identity, correlation=correlation, number=number, result=result.value, why=why
        )

    def _settle(self, number: int, result: Result, why: str, *, at: float) -> list[Command]:
        told = self._told[number] = replace(self._told[number], result=result, why=why)
        data: dict[str, Json] = {
            "number": number,
            "name": told.name,
            "result": result.value,
            "why": why,
        }
        text = f"command {result.value} number={number} name={told.name} {why}".rstrip()
        record = Record(kind="command.done", rank=Rank.AUDIT, at=at, data=data)
        return [Keep(record=record), Say(level=Level.INFO, text=text)]

    def _remember(self) -> list[Command]:
        while len(self._told) > TOLD_MAX and next(iter(self._told)) not in self._waiting:
            del self._told[next(iter(self._told))]
        self._value = _dump(self._highest, self._told)
        return [Remember(memory=Memory.COMMANDS, value=self._value)]


class _Allowance:
    """So many within any such time, measured in seconds since boot."""

    def __init__(self, count: int, *, over_s: float) -> None:
        self._over_s = over_s
        self._spent: deque[float] = deque(maxlen=count)

    def spend(self, at: float) -> bool:
        """Take one; False if there is none left."""
        full = len(self._spent) == self._spent.maxlen
        if full and at < self._spent[0] + self._over_s:
            return False
        self._spent.append(at)
        return True


# ---- reading a command ----


def _hindrance(wish: Wish, now: Now) -> str:
    """Why *wish* makes no sense at present; "" = it can be done."""
    if not isinstance(wish, Fast | Locate | SyncNow):
        return ""
    if now.suspended:
        return "the box is suspended by the city; end that first"
    if now.private and isinstance(wish, Fast):
        return "the box is private: there are no pictures"
    if now.private and isinstance(wish, Locate):
        return "the box is private: its lamps say that and nothing else"
    return ""


def _read(event: OrderVerified, identity: Identity) -> wire.Order | str:
    """The command, or why it is none."""
    if event.retained:
        return "command: was retained by the broker; publish commands without retain"
    order = wire.order(event.claims, identity)
    return order.why if isinstance(order, wire.Fault) else order


def _wish(order: wire.Order, cameras: tuple[str, ...]) -> Wish | str:
    """What is wished, or which argument says what none can mean, with its place and remedy."""
    given = _Arguments(order.arguments, cameras)
    wish: Wish
    match order.name:
        case "burst":
            least, most = BURST_MINUTES
            wish = Fast(
                cameras=given.cameras(),
                period_s=given.number("period_s", FASTEST_S, SLOWEST_S),
                minutes=given.number("minutes", least, most),
            )
        case "reverify":
            wish = Reverify(cameras=given.cameras())
        case "locate":
            wish = Locate(seconds=given.number("seconds", *LOCATE_S))
        case "report":
            wish = Report()
        case "sync-now":
            wish = SyncNow()
        case _:
            return (
                f"command.name: {order.name} is none of burst, reverify, locate, report, sync-now"
            )
    return given.fault() or wish


class _Arguments:
    """Takes arguments one by one; `fault` is the first thing that was wrong with them."""

    def __init__(self, given: Mapping[str, Json], cameras: tuple[str, ...]) -> None:
        self._left = dict(given)
        self._known = cameras
        self._fault = ""

    def number(self, name: str, least: float, most: float) -> float:
        """The number that must stand there."""
        found = self._left.pop(name, None)
        if (
            isinstance(found, int | float)
            and not isinstance(found, bool)
            and least <= found <= most
        ):
            return float(found)
        self._fault = (
            self._fault or f"command.arguments.{name}: needs a number from {least:g} to {most:g}"
        )
        return least

    def cameras(self) -> tuple[str, ...]:
        """Those named, or all of the box."""
        if "cameras" not in self._left:
            return self._known
        found = self._left.pop("cameras")
        listed = found if isinstance(found, list) else []
        named = [name for name in listed if isinstance(name, str) and name in self._known]
        if not named or not len(listed) == len(named) == len(set(named)):
            self._fault = self._fault or (
                "command.arguments.cameras: needs a list of ids of this box, once each:"
                f" {', '.join(self._known)}"
            )
        return tuple(named)

    def fault(self) -> str:
        """What was wrong; a member that nobody asked for is wrong too."""
        if self._left and not self._fault:
            name = "".join(mark for mark in next(iter(self._left)) if mark.isprintable())[:48]
            self._fault = f"command.arguments.{name}: not an argument of this command; leave it out"
        return self._fault[: wire.MAX_TEXT]


# ---- what is kept over restarts ----


def _dump(highest: int, told: Mapping[int, _Told]) -> bytes:
    body = {
        "v": 1,
        "highest": highest,
        "told": [
            {
                "number": one.number,
                "name": one.name,
                "arguments": one.arguments,
                "result": None if one.result is None else one.result.value,
                "why": one.why,
            }
            for one in told.values()
        ],
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _load(text: bytes | None) -> tuple[int, dict[int, _Told]]:
    """Back from `_dump`. Of text that is damaged or not ours, nothing: whoever can write to the card needs no command."""
    try:
        body: object = json.loads(text or b"") if len(text or b"") <= _TEXT_MAX else None
    except (ValueError, RecursionError):
        return -1, {}
    match body:
        case {"v": 1, "highest": int(highest), "told": list(items)}:
            told = [_load_one(item) for item in items]
            return highest, {one.number: one for one in told if one is not None}
        case _:
            return -1, {}


def _load_one(item: object) -> _Told | None:
    match item:
        case {
            "number": int(number),
            "name": str(name),
            "arguments": dict(arguments),
            "result": None | "done" | "refused" | "failed" as result,
            "why": str(why),
        }:
            return _Told(
                number=number,
                name=name,
                arguments=arguments,
                result=None if result is None else Result(result),
                why=why,
            )
        case _:
            return None
