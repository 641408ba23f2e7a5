"""Work orders: one per incident, from the first sign to the verified repair, over restarts.

Promises:
- at most one open order per camera, and per thing of the box that can break; a cause that is refined stays the same order, and
  so does one that turns out to be part of something larger;
- a record when it opens, when its evidence or cause changes in a way that sends somebody with other things, reminders after an
  hour and a day, and when the box saw the repair: each once;
- a restart loses none and doubles none: `saving` is written before the records are kept, and what may not have been kept is said
  again with the same order and revision, by which a hub knows it; text that is not ours starts empty, and `fault` says so.
Times: ages run on seconds since boot and pause while the box is off, as no clock is trusted; the journal sets wall time.
Not its job: what broke (diagnosis.py), sentences and bring-lists (order_words.py), writing to disk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeVar

from edge_agent.core import order_words
from edge_agent.core.diagnosis import Cause, Diagnosis, Measure, Seen, Sign
from edge_agent.core.messages import Json, Rank, Record
from edge_agent.core.settings import Run

REMIND_S: Final = (3_600.0, 86_400.0)
# While an order is open its age is written this often: a box that is switched off each evening still comes to its reminders.
SAVE_S: Final = 600.0
# An order of a camera this young when the larger fault is told was its first sign.
SAME_INCIDENT_S: Final = 120.0
# A short or a length that moved by so much sends a technician to another place, or with another cable.
METRES_MATTER: Final = 5.0
TEXT_MAX: Final = 1_000_000
_VERSION: Final = 1
_RARE: Final = frozenset({Sign.OTHERS_FINE, Sign.POWER_THERE, Sign.LINK_UP, Sign.CURRENT})


class _Kind(Enum):
    OPENED = "work_order.opened"
    UPDATED = "work_order.updated"
    REMINDED = "work_order.reminded"
    CLOSED = "work_order.closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An open work order."""

    id: str
    revision: int  # counts its records: with `id`, what a hub tells a repetition by
    told: Diagnosis
    led_s: float  # from the first sign to the opening
    age_s: float  # since its opening, at `counted_at`
    counted_at: float
    reminded: int  # reminders given
    signs: frozenset[Sign]  # all that were ever told

    def age(self, at: float) -> float:
        """Seconds since its opening."""
        return self.age_s + max(0.0, at - self.counted_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    """A record of this round: it may not be kept yet."""

    kind: _Kind
    order: Order
    at: float
    detail: str = ""  # why it changed or closed


class WorkOrders:
    """All open orders of a box. Owned by the agent."""

    def __init__(
        self,
        names: Mapping[str, str],
        runs: Mapping[str, Run],
        *,
        boot: str,
        at: float,
        saved: str = "",
    ) -> None:
        """*saved*: what `saving` last gave; "" = none. *boot*: names this start of the machine, for the orders' ids."""
        self._names = names
        self._runs = runs
        self._boot = boot
        self._open: dict[str, Order] = {}
        self._news: list[_News] = []
        self._repeat: list[_News] = []
        self._minted = 0
        self._dirty = False
        self._saved_at = at
        self.fault = ""
        if saved:
            self._restore(saved, at=at)

    @property
    def open(self) -> tuple[Order, ...]:
        """In the order in which they were opened."""
        return tuple(self._open.values())

    def update(self, told: Sequence[Diagnosis], well: frozenset[str], *, at: float) -> list[Record]:
        """Take what stands and what is in order again; the records that follow.

        Ask `saving` right after, and write its text before the records are kept: a cut in between repeats them, same id
        and revision; the other way round one would be lost.
        """
        repeated, self._repeat = self._repeat, []
        if self._news and not repeated:
            self._dirty = True  # the round before was carried out, and need not be said again
        self._news = list(repeated)
        for diagnosis in told:
            self._take(diagnosis, at=at)
        standing = {diagnosis.subject for diagnosis in told}
        for subject, order in tuple(self._open.items()):
            if not any(camera in self._names for camera in order.told.cameras):
                self._close(subject, "no longer in the configuration", at=at)
            elif subject in well - standing:
                self._close(subject, "verified", at=at)
        self._remind(at=at)
        return [self._record(news) for news in self._news]

    def saving(self, *, at: float) -> str | None:
        """Text to be written whole before the records are kept; None = nothing to write."""
        old = bool(self._open) and at >= self._saved_at + SAVE_S
        if not (self._dirty or old):
            return None
        self._dirty, self._saved_at = False, at
        orders = [
            replace(order, age_s=order.age(at), counted_at=at) for order in self._open.values()
        ]
        saved: dict[str, Json] = {
            "version": _VERSION,
            "boot": self._boot,
            "at": at,
            "minted": self._minted,
            "orders": [_order_json(order) for order in orders],
            "news": [
                {
                    "kind": news.kind.value,
                    "order": _order_json(news.order),
                    "at": news.at,
                    "detail": news.detail,
                }
                for news in self._news
            ],
        }
        return json.dumps(saved, separators=(",", ":"), ensure_ascii=False)

    def deadline(self) -> float:
        """When `update` and `saving` have something to do without news."""
        due = [
            order.counted_at + REMIND_S[order.reminded] - order.age_s
            for order in self._open.values()
            if order.reminded < len(REMIND_S)
        ]
        if self._open:
            due.append(self._saved_at + SAVE_S)
        return min(due, default=math.inf)

    # -- inside --

    def _take(self, told: Diagnosis, *, at: float) -> None:
        order = self._open.get(told.subject)
        if order is None and ":" in told.subject:
            order = self._adopt(told, at=at)
        if order is None:
            if not self._covered(told):
                self._begin(told, at=at)
            return
        why = _what_changed(order, told)
        signs = order.signs | {seen.sign for seen in told.seen}
        if not why:
            # Numbers that moved a little make no record; distances stay as last told, so that small steps add up.
            kept = replace(told, at_m=order.told.at_m, length_m=order.told.length_m)
            self._open[told.subject] = replace(order, told=kept)
            return
        self._say(_Kind.UPDATED, replace(order, told=told, signs=signs), why, at=at)

    def _begin(self, told: Diagnosis, *, at: float) -> None:
        self._minted += 1
        order = Order(
            id=f"{self._boot[:8]}-{int(at)}-{self._minted}",
            revision=0,
            told=told,
            led_s=max(0.0, at - told.since),
            age_s=0.0,
            counted_at=at,
            reminded=0,
            signs=frozenset(seen.sign for seen in told.seen),
        )
        self._say(_Kind.OPENED, order, "", at=at)

    def _adopt(self, told: Diagnosis, *, at: float) -> Order | None:
        """The first order of a camera that was this fault's first sign goes on as its order; the others end in it."""
        if told.cause is Cause.BOARD_FAULT:
            return None
        young = [
            order
            for camera in told.cameras
            if (order := self._open.get(camera)) is not None
            and order.age(at) <= SAME_INCIDENT_S
            and order.told.cause is not Cause.CAMERA_TAKEN
        ]
        if not young:
            return None
        first, *rest = young
        for order in rest:
            self._close(order.told.subject, f"part of {first.id}", at=at)
        del self._open[first.told.subject]
        self._open[told.subject] = first
        return first

    def _covered(self, told: Diagnosis) -> bool:
        """A camera's fault within an open fault of the box is no order of its own, unless the camera was taken away."""
        if ":" in told.subject or told.cause is Cause.CAMERA_TAKEN:
            return False
        return any(
            ":" in subject
            and order.told.cause is not Cause.BOARD_FAULT
            and told.subject in order.told.cameras
            for subject, order in self._open.items()
        )

    def _close(self, subject: str, why: str, *, at: float) -> None:
        order = self._open[subject]
        self._say(_Kind.CLOSED, order, why, at=at)
        del self._open[subject]

    def _remind(self, *, at: float) -> None:
        for order in tuple(self._open.values()):
            current = order
            while (
                current.reminded < len(REMIND_S) and current.age(at) >= REMIND_S[current.reminded]
            ):
                current = replace(current, reminded=current.reminded + 1)
                current = self._say(_Kind.REMINDED, current, "", at=at)

    def _say(self, kind: _Kind, order: Order, detail: str, *, at: float) -> Order:
        order = replace(order, revision=order.revision + 1)
        self._open[order.told.subject] = order
        self._news.append(_News(kind=kind, order=order, at=at, detail=detail))
        self._dirty = True
        return order

    def _record(self, news: _News) -> Record:
        order, told = news.order, news.order.told
        age_s = order.age(news.at)
        text = order_words.sheet(
            order.id, told, since_s=order.led_s + age_s, names=self._names, runs=self._runs
        )
        place, geo = order_words.where(told, self._runs)
        items = order_words.bring(told, self._runs)
        camera = None if ":" in told.subject else told.subject
        data: dict[str, Json] = {
            "order": order.id,
            "revision": order.revision,
            "cause": told.cause.value,
            "cameras": list(told.cameras),
            "name": self._names.get(told.subject, ""),
            "place": place,
            "map": geo,
            "since_s": round(
                order.led_s + age_s, 1
            ),  # before this record, whose wall time the journal sets
            "open_s": round(age_s, 1),
            "seen": [{"sign": seen.sign.value, "value": seen.value} for seen in told.seen],
            "measure": [measure.value for measure in told.measure],
            "bring_m": order_words.metres(told.cameras, self._runs),
            "bring": {"id": [item.id for item in items], "en": [item.en for item in items]},
            "rt": {"id": order_words.RT_RULES.id, "en": order_words.RT_RULES.en},
            "short_at_m": None if told.at_m is None else round(told.at_m, 1),
            "length_now_m": None if told.length_m is None else round(told.length_m, 1),
            "reminder": order.reminded,
            "detail": news.detail,
            "id": text.id,
            "en": text.en,
        }
        return Record(kind=news.kind.value, rank=Rank.AUDIT, at=news.at, camera=camera, data=data)

    def _restore(self, saved: str, *, at: float) -> None:
        try:
            self._open, self._repeat, self._minted = _restored(saved, boot=self._boot, at=at)
        except _NotOursError as error:
            self.fault = f"remembered work orders cannot be used ({error}); starting without them"


def _what_changed(order: Order, told: Diagnosis) -> str:
    """Why somebody must be told again; "" = nothing that matters."""
    before = order.told
    if told.cause is not before.cause:
        return f"{before.cause.value} -> {told.cause.value}"
    if set(told.cameras) != set(before.cameras):
        return "other cameras"
    for metres, earlier in ((told.at_m, before.at_m), (told.length_m, before.length_m)):
        if metres is not None and abs(metres - (earlier or 0.0)) >= METRES_MATTER:
            return "other distance"
    new = {seen.sign for seen in told.seen} - order.signs - _RARE
    return f"also {', '.join(sorted(sign.value for sign in new))}" if new else ""


# ---- as text, and back ----


class _NotOursError(Exception):
    """The text is not what `saving` gave; says where."""


def _order_json(order: Order) -> dict[str, Json]:
    told = order.told
    return {
        "id": order.id,
        "revision": order.revision,
        "subject": told.subject,
        "cause": told.cause.value,
        "since": told.since,
        "cameras": list(told.cameras),
        "seen": [[seen.sign.value, seen.since, seen.value] for seen in told.seen],
        "measure": [measure.value for measure in told.measure],
        "at_m": told.at_m,
        "length_m": told.length_m,
        "led_s": order.led_s,
        "age_s": order.age_s,
        "counted_at": order.counted_at,
        "reminded": order.reminded,
        "signs": sorted(sign.value for sign in order.signs),
    }


def _restored(saved: str, *, boot: str, at: float) -> tuple[dict[str, Order], list[_News], int]:
    if len(saved) > TEXT_MAX:
        raise _NotOursError("too long")
    try:
        root = _Part(json.loads(saved), "")
    except (ValueError, RecursionError) as error:
        raise _NotOursError("no JSON") from error
    if root.number("version") != _VERSION:
        raise _NotOursError("another version")
    # Seconds since boot compare within one boot only; while the box was off, nothing was counted.
    off_s = at - root.number("at")
    same = root.text("boot") == boot and off_s >= 0

    def anew(order: Order) -> Order:
        return replace(order, age_s=order.age_s + (off_s if same else 0.0), counted_at=at)

    orders = [anew(_order(part)) for part in root.parts("orders")]
    news = [
        _News(
            kind=part.choice("kind", _Kind),
            order=_order(part.part("order")),
            at=part.number("at"),
            detail=part.text("detail"),
        )
        for part in root.parts("news")
    ]
    if not same:
        # Its moment has no place in this boot; what it says of ages stays true.
        news = [
            replace(
                item, order=replace(item.order, age_s=item.order.age(item.at), counted_at=at), at=at
            )
            for item in news
        ]
    minted = root.whole("minted")
    opened = {order.told.subject: order for order in orders}
    if len(opened) < len(orders):
        raise _NotOursError("two orders for one subject")
    return opened, news, minted


def _order(part: _Part) -> Order:
    told = Diagnosis(
        subject=part.text("subject"),
        cause=part.choice("cause", Cause),
        since=part.number("since"),
        cameras=tuple(part.texts("cameras")),
        seen=tuple(_seen(entry) for entry in part.parts("seen")),
        measure=tuple(_choice(text, Measure, "measure") for text in part.texts("measure")),
        at_m=part.maybe("at_m"),
        length_m=part.maybe("length_m"),
    )
    reminded = part.whole("reminded")
    if reminded > len(REMIND_S):
        raise _NotOursError("reminded")
    return Order(
        id=part.text("id"),
        revision=part.whole("revision"),
        told=told,
        led_s=part.number("led_s"),
        age_s=part.number("age_s"),
        counted_at=part.number("counted_at"),
        reminded=reminded,
        signs=frozenset(_choice(text, Sign, "signs") for text in part.texts("signs")),
    )


def _seen(part: _Part) -> Seen:
    sign, since, value = part.triple()
    return Seen(
        _choice(_str(sign, "seen"), Sign, "seen"), _float(since, "seen"), _str(value, "seen")
    )


_E = TypeVar("_E", bound=Enum)


def _choice(text: str, kind: type[_E], where: str) -> _E:
    try:
        return kind(text)
    except ValueError as error:
        raise _NotOursError(where) from error


def _str(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _NotOursError(where)
    return value


def _float(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise _NotOursError(where)
    return float(value)


class _Part:
    """A JSON value on its way to become ours; every look at it may raise `_NotOursError`."""

    def __init__(self, value: object, where: str) -> None:
        self._value = value
        self._where = where

    def text(self, key: str) -> str:
        """A string."""
        return _str(self._get(key), key)

    def number(self, key: str) -> float:
        """A finite number."""
        return _float(self._get(key), key)

    def whole(self, key: str) -> int:
        """A number that counts something."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise _NotOursError(key)
        return value

    def maybe(self, key: str) -> float | None:
        """A number or nothing."""
        return None if self._get(key) is None else self.number(key)

    def choice(self, key: str, kind: type[_E]) -> _E:
        """One of *kind*."""
        return _choice(self.text(key), kind, key)

    def part(self, key: str) -> _Part:
        """What lies within."""
        return _Part(self._get(key), key)

    def parts(self, key: str) -> list[_Part]:
        """Each entry of a list."""
        return [_Part(value, key) for value in _list(self._get(key), key)]

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        return [_str(value, key) for value in _list(self._get(key), key)]

    def triple(self) -> tuple[object, object, object]:
        """This value, if it is a list of three."""
        values = _list(self._value, self._where)
        if len(values) != 3:
            raise _NotOursError(self._where)
        return values[0], values[1], values[2]

    def _get(self, key: str) -> object:
        if not isinstance(self._value, dict) or key not in self._value:
            msg = f"{self._where or 'top'}: no {key}"
            raise _NotOursError(msg)
        value: object = self._value[key]
        return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise _NotOursError(where)
    return value
