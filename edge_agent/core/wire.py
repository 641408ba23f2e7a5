"""What travels between box and hub: topic names, payloads, and how a foreign payload becomes a typed value.

Promises: encoders are deterministic and emit what their decoder accepts; decoders never raise, whatever the bytes, and
give a `Fault` that names the place; every length that a stranger controls is bounded here.
A record is a CloudEvents 1.0 event; `(box, epoch, seq)` names it for ever. docs/wire.md is this module for readers.
Not its job: deciding what to send when (uplink.py), carrying it (hub.py), checking signatures (orders.py).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard, cast

from edge_agent.core.messages import Json, Message, Rank, Stored
from edge_agent.core.settings import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT: Final = "cctv/v1"
TYPE_PREFIX: Final = "cctv.v1."
BATCH_CONTENT: Final = "application/cloudevents-batch+json"
PICTURE_CONTENT: Final = "image/jpeg"
SEALED_CONTENT: Final = "application/age-encryption"
# The first line of every age file; no JPEG begins so. The payload itself says what it is, wherever it was kept meanwhile.
_SEALED: Final = b"age-encryption.org/v1\n"
JSON_CONTENT: Final = "application/json"

# A hub's word fits into a fraction of this; a stranger's may not cost memory.
MAX_WORD_BYTES: Final = 256 * 1024
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_META_BYTES: Final = 16 * 1024  # a picture's data; MQTT strings end at 64 kB, wherever they are
MAX_MISSING: Final = 1000
MAX_TEXT: Final = 400
# Of a state that is kept as values, which Python compares and prints by recursion.
MAX_DEPTH: Final = 32
MAX_SEQ: Final = 2**63 - 1
# What a policy may ask for. Pictures rarer than one a day are none; a backlog slower than this would never end.
PERIOD_S: Final = (1.0, 86_400.0)
WINDOW_S: Final = (10.0, 3_600.0)
BACKFILL_BYTES_PER_S: Final = (1_000.0, 1e9)

LIVE: Final = "live"
HISTORY: Final = "history"

_DATA: Final = f'"datacontenttype":"{JSON_CONTENT}","data":'
# What is the same in record after record: source, epoch, kind, boot, camera, rank, and whether the clock was trusted.
_Alike: TypeAlias = tuple[str, str, str, str, str | None, int, bool]

_LEVEL: Final = re.compile(r"[a-z0-9-]{1,48}\Z")
_EPOCH: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_NAME: Final = re.compile(r"[a-z][a-z-]{0,31}\Z")
_TYPE: Final = re.compile(r"cctv\.v1\.[a-z][a-z0-9_]*(?:\.[a-z0-9_]+){0,4}\Z")
# A member of an order that means the switch: "privacy", "privacy.purge_s", "Privacy_switch"; "privacypage" is another word.
_OF_PRIVACY: Final = re.compile(r"\s*privacy(?![a-z])", re.IGNORECASE)
_COMMAND_OF_PRIVACY: Final = re.compile(r"\s*privacy", re.IGNORECASE)
_DIGITS: Final = re.compile(r"[0-9]{1,19}\Z")
_MONO: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?\Z")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z\Z"
)

# Records that say which other records are gone for good, in `data.ranges` = [[first, last], ...].
TOMBSTONES: Final = frozenset({"journal.thinned", "privacy.purged"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One row of the contract: `leaf` below the box's prefix."""

    leaf: str
    to_box: bool
    retained: str
    what: str


TOPICS: Final = (
    Topic(
        leaf="presence",
        to_box=False,
        retained="retained, also the Will",
        what="online or offline, boot id, agent version, simulated or not, epoch, oldest seq kept",
    ),
    Topic(
        leaf="camera/{camera}",
        to_box=False,
        retained="retained",
        what="current state of one camera: shown or not, gate, signal, cable, open work orders, view, findings, notice for the portal",
    ),
    Topic(
        leaf="live",
        to_box=False,
        retained="no",
        what="batch of CloudEvents made while connected",
    ),
    Topic(
        leaf="history",
        to_box=False,
        retained="no",
        what="batch of CloudEvents made before this connection",
    ),
    Topic(
        leaf="snapshot/live/{camera}",
        to_box=False,
        retained="no",
        what="one picture, CloudEvents binary mode, made while connected",
    ),
    Topic(
        leaf="snapshot/history/{camera}",
        to_box=False,
        retained="no",
        what="one picture, CloudEvents binary mode, made before this connection, or no news any more",
    ),
    Topic(
        leaf="ack",
        to_box=True,
        retained="retained",
        what="watermark: epoch, highest seq accounted for, missing ranges",
    ),
    Topic(
        leaf="policy",
        to_box=True,
        retained="retained",
        what="signed (JWS, EdDSA): suspended until, reason, snapshot period, backfill rate, reconnect window",
    ),
    Topic(
        leaf="command",
        to_box=True,
        retained="refused if retained",
        what="signed, addressed, numbered, expiring order",
    ),
    Topic(
        leaf="reply",
        to_box=False,
        retained="no",
        what="result of a command, with its correlation data",
    ),
    Topic(
        leaf="echo",
        to_box=False,
        retained="no",
        what="a word of the doctor to itself: the box alone listens, a hub ignores it",
    ),
)
ORDERS_FROM_HUB: Final = tuple(topic.leaf for topic in TOPICS if topic.to_box)


def topics_markdown() -> str:
    """The contract as a Markdown table; docs/wire.md shows exactly this."""
    rows = ["| Topic | Direction | QoS | Retain | What |", "|---|---|---|---|---|"]
    rows += [
        f"| `{topic.leaf}` | {'hub → box' if topic.to_box else 'box → hub'} | 1 | {topic.retained} | {topic.what} |"
        for topic in TOPICS
    ]
    return "\n".join(rows)


def prefix(identity: Identity) -> str:
    """Everything of this box lives below this; it is also the CloudEvents `source`."""
    return f"{ROOT}/{identity.kelurahan}/{identity.rw}/{identity.rt}/{identity.box}"


def topic(identity: Identity, leaf: str) -> str:
    """Full topic of *leaf* of this box."""
    return f"{prefix(identity)}/{leaf}"


# ---- values that arrive ----


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a payload was not understood, with the place. Never holds more than a short excerpt of it."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """The hub's word: every seq <= `upto` is accounted for, but those in `missing` (inclusive, rising, disjoint).

    `also`: ranges above `upto` that are accounted for too. What it does not name there was named before, or is not known.
    """

    epoch: str
    upto: int
    missing: tuple[tuple[int, int], ...] = ()
    also: tuple[tuple[int, int], ...] = ()

    @property
    def highest(self) -> int:
        """The greatest seq that it speaks of."""
        return self.also[-1][1] if self.also else self.upto


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the city decided for this box. `number` rises with every policy; `suspended_until` and `issued` are Unix time.

    None = the city says nothing of it. `snapshot_period_s`: no camera sends pictures more often; never more often than the
    box's own configuration says. `issued`: when it was signed, so that a box without a clock knows that it is later by now.
    """

    number: int
    suspended_until: float | None
    reason_id: str
    reason_en: str
    issued: float | None = None
    snapshot_period_s: float | None = None
    backfill_bytes_per_s: float | None = None
    reconnect_window_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One command. `expires` is Unix time; `number` rises and is never used twice."""

    number: int
    name: str
    expires: float
    arguments: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A topic of this contract, taken apart. `leaf` has its camera and lane cut off: "snapshot", "camera", "live"."""

    identity: Identity
    leaf: str
    lane: str | None = None
    camera: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One record as the hub sees it. `data` is JSON text; `jpeg` is set for pictures."""

    epoch: str
    seq: int
    kind: str
    rank: Rank
    camera: str | None
    boot: str
    at: float
    time: str
    trusted: bool
    data: str
    jpeg: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A box's birth or death."""

    online: bool
    boot: str
    version: str
    simulated: bool
    epoch: str | None
    oldest_seq: (
        int | None
    )  # the box keeps nothing below this; None = it keeps nothing or does not know


# ---- encoding: box to hub ----


def presence(
    identity: Identity,
    *,
    online: bool,
    boot: str,
    version: str,
    simulated: bool,
    epoch: str | None,
    oldest_seq: int | None,
) -> Message:
    """Birth (`online`) or Will and farewell (not `online`), retained."""
    body: dict[str, Json] = {
        "v": 1,
        "state": "online" if online else "offline",
        "boot": boot,
        "agent": version,
        "simulated": simulated,
        "epoch": epoch,
        "oldest_seq": oldest_seq,
    }
    return Message(topic=topic(identity, "presence"), payload=_dump(body), retain=True)


def camera_state(identity: Identity, camera: str, state: Mapping[str, Json]) -> Message:
    """The retained current state of *camera*; newest wins."""
    body: dict[str, Json] = {"v": 1, "camera": camera, **state}
    return Message(topic=topic(identity, f"camera/{camera}"), payload=_dump(body), retain=True)


def event(identity: Identity, stored: Stored) -> str:
    """One record as a CloudEvents 1.0 JSON object; data that is no JSON (a damaged row) is wrapped, never passed on."""
    return events(identity, (stored,))[0]


def events(identity: Identity, records: Iterable[Stored]) -> list[str]:
    """Each of *records* as `event` writes it."""
    # Written out around what is different in each, not dumped: a backlog is a million of them.
    source = prefix(identity)
    written = []
    last: tuple[str, str, Rank, str | None, str, bool] | None = None
    id_ = made = place = clock = rest = ""
    for epoch, seq, kind, rank, camera, boot, at, wall_s, trusted, data, _, whole in records:
        alike = (epoch, kind, rank, camera, boot, trusted)
        if alike != last:
            last = alike
            id_, made, place, clock, rest = _around(
                (source, epoch, kind, boot, camera, int(rank), trusted)
            )
        text = data.decode() if whole else _as_json(data)
        written.append(
            f"{id_}{seq}{made}{rfc3339(wall_s)}{place}{seq}{clock}{mono(at)}{rest}{text}}}"
        )
    return written


@lru_cache(maxsize=512)
def _around(alike: _Alike) -> tuple[str, str, str, str, str]:
    """What stands before the id's seq, the time, the seq, the moment since boot, and the data of an event."""
    source, epoch, kind, boot, camera, rank, trusted = alike
    subject = "" if camera is None else f',"subject":{_TEXT.encode(camera)}'
    clocktrusted = "true" if trusted else "false"
    return (
        f'{{"specversion":"1.0","id":{_TEXT.encode(f"{epoch}-")[:-1]}',
        f'","source":{_TEXT.encode(source)},"type":{_TEXT.encode(TYPE_PREFIX + kind)},"time":"',
        f'","epoch":{_TEXT.encode(epoch)},"seq":"',
        f'","boot":{_TEXT.encode(boot)},"mono":"',
        f'"{subject},"rank":{int(rank)},"clocktrusted":{clocktrusted},{_DATA}',
    )


def batch(identity: Identity, lane: str, events: Sequence[str]) -> Message:
    """A JSON batch of what `event` made; *lane* is `LIVE` or `HISTORY`."""
    payload = f"[{','.join(events)}]".encode()
    return Message(topic=topic(identity, lane), payload=payload, content_type=BATCH_CONTENT)


def snapshot(identity: Identity, lane: str, stored: Stored) -> Message:
    """A picture in CloudEvents binary mode: attributes as MQTT user properties, all of them text."""
    camera = stored.camera or ""
    properties = {
        "specversion": "1.0",
        **_attributes(identity, stored),
        "rank": str(int(stored.rank)),
        "clocktrusted": "true" if stored.trusted else "false",
        "meta": _as_json(stored.data[: MAX_META_BYTES + 1]),
    }
    return Message(
        topic=topic(identity, f"snapshot/{lane}/{camera}"),
        payload=stored.jpeg or b"",
        content_type=SEALED_CONTENT if is_sealed(stored.jpeg or b"") else PICTURE_CONTENT,
        properties=tuple(properties.items()),
        picture_of=camera,
    )


def reply(
    identity: Identity, *, correlation: bytes | None, number: int | None, result: str, why: str = ""
) -> Message:
    """The outcome of command *number*; goes to the box's own `reply` topic only, whatever the hub asked for."""
    body: dict[str, Json] = {"v": 1, "number": number, "result": result, "why": why}
    return Message(topic=topic(identity, "reply"), payload=_dump(body), response_to=correlation)


def echo(identity: Identity, mark: str) -> Message:
    """A word of this box to itself, there and back through the broker; *mark* tells it from any other."""
    body: dict[str, Json] = {"v": 1, "mark": mark}
    return Message(topic=topic(identity, "echo"), payload=_dump(body))


def is_sealed(picture: bytes) -> bool:
    """Whether a picture's bytes are an age file, sealed to the hub's key."""
    return picture.startswith(_SEALED)


def size(message: Message) -> int:
    """Bytes of the PUBLISH packet, a little too high rather than too low (fixed header, properties)."""
    extras = sum(len(name.encode()) + len(value.encode()) + 5 for name, value in message.properties)
    correlation = len(message.response_to or b"") + 3
    return (
        len(message.payload)
        + len(message.topic.encode())
        + len(message.content_type)
        + extras
        + correlation
        + 20  # fixed header 5, topic length 2, packet id 2, property length 4, content type 3, alias 3, spare
    )


def watermark(mark: Watermark) -> bytes:
    """What a hub publishes, retained, on `ack`."""
    missing: list[Json] = [[first, last] for first, last in mark.missing]
    also: list[Json] = [[first, last] for first, last in mark.also]
    told: dict[str, Json] = {"v": 1, "epoch": mark.epoch, "upto": mark.upto, "missing": missing}
    return _dump({**told, "also": also} if also else told)


def _attributes(identity: Identity, stored: Stored) -> dict[str, str]:
    """CloudEvents attributes shared by both modes; seq and mono are text, as CloudEvents integers have 32 bits."""
    attributes = {
        "id": f"{stored.epoch}-{stored.seq}",
        "source": prefix(identity),
        "type": TYPE_PREFIX + stored.kind,
        "time": rfc3339(stored.wall_s),
        "epoch": stored.epoch,
        "seq": str(stored.seq),
        "boot": stored.boot,
        "mono": mono(stored.at),
    }
    if stored.camera is not None:
        attributes["subject"] = stored.camera
    return attributes


def rfc3339(wall_s: float) -> str:
    """Unix time as text; a label that cannot be a date (a damaged row, a clock gone wild) becomes the nearest that can."""
    bounded = _bounded(wall_s, 253_402_300_799.0)
    second = int(bounded)
    micros = round((bounded - second) * 1_000_000)
    if micros == 1_000_000:
        second, micros = second + 1, 0
    return f"{_second(second)}.{micros // 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(number: int) -> str:
    return datetime.fromtimestamp(number, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def mono(at: float) -> str:
    """Seconds since boot as text."""
    return f"{_bounded(at, 999_999_999_999.0):.3f}"


def _bounded(number: float, most: float) -> float:
    if 0.0 < number <= most:
        return number
    return most if number > 0.0 and math.isfinite(number) else 0.0


def _as_json(data: bytes) -> str:
    """*data* as JSON text; if it is none (or was cut), wrapped, so that one damaged row never spoils a batch."""
    try:
        text = data.decode()
        _STRICT.decode(text)
    except (ValueError, RecursionError):
        return json.dumps({"damaged": data[:1000].decode("latin-1")})
    return text


def _dump(body: Mapping[str, Json]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


# ---- decoding: what strangers say ----


def ack(payload: bytes) -> Watermark | Fault:
    """The hub's watermark."""
    body = _object(payload, "ack")
    if isinstance(body, Fault):
        return body
    epoch, upto, missing = body.get("epoch"), body.get("upto"), body.get("missing", [])
    if not is_epoch(epoch):
        return Fault("ack.epoch: needs 1 to 64 letters, digits, '-' or '_'")
    if not _is_seq(upto):
        return Fault("ack.upto: needs a whole number from 0 to 2^63-1")
    ranges = _ranges(missing, upto)
    if isinstance(ranges, Fault):
        return ranges
    also = _ranges(body.get("also", []), MAX_SEQ)
    if isinstance(also, Fault):
        return also
    if also and also[0][0] <= upto:
        return Fault("ack.also: needs ranges above upto")
    return Watermark(epoch=epoch, upto=upto, missing=ranges, also=also)


def policy(claims: bytes, identity: Identity) -> Policy | Fault:
    """A policy whose signature has been checked already (orders.py)."""
    found = _claims(claims, "policy", identity)
    if isinstance(found, Fault):
        return found
    number, body = found
    until = body.get("suspended_until")
    if until is not None and not _is_unix_time(until):
        return Fault("policy.suspended_until: needs Unix seconds or null")
    reason_id, reason_en = body.get("reason_id", ""), body.get("reason_en", "")
    if not _is_text(reason_id) or not _is_text(reason_en):
        return Fault(f"policy.reason_id, reason_en: need printable text of at most {MAX_TEXT}")
    issued = body.get("issued")
    if issued is not None and not _is_unix_time(issued):
        return Fault("policy.issued: needs Unix seconds or null")
    bounds = {
        "snapshot_period_s": PERIOD_S,
        "backfill_bytes_per_s": BACKFILL_BYTES_PER_S,
        "reconnect_window_s": WINDOW_S,
    }
    paces = {name: body.get(name) for name in bounds}
    for name, (least, most) in bounds.items():
        pace = paces[name]
        if pace is not None and not (_is_number(pace) and least <= pace <= most):
            return Fault(f"policy.{name}: needs a number from {least:g} to {most:g}, or null")
    return Policy(
        number=number,
        suspended_until=_float(until),
        reason_id=reason_id,
        reason_en=reason_en,
        issued=_float(issued),
        snapshot_period_s=_float(paces["snapshot_period_s"]),
        backfill_bytes_per_s=_float(paces["backfill_bytes_per_s"]),
        reconnect_window_s=_float(paces["reconnect_window_s"]),
    )


def order(claims: bytes, identity: Identity) -> Order | Fault:
    """A command whose signature has been checked already (orders.py)."""
    found = _claims(claims, "command", identity)
    if isinstance(found, Fault):
        return found
    number, body = found
    name, expires, arguments = body.get("name"), body.get("expires"), body.get("arguments", {})
    if not isinstance(name, str) or not _NAME.match(name):
        return Fault("command.name: needs 1 to 32 small letters or '-'")
    if not _is_unix_time(expires):
        return Fault("command.expires: needs Unix seconds")
    if not isinstance(arguments, dict) or len(arguments) > 20:
        return Fault("command.arguments: needs an object of at most 20 members")
    return Order(number=number, name=name, expires=float(expires), arguments=arguments)


def number_of(claims: bytes) -> int | None:
    """The number of an order that cannot be read otherwise, so that its sender learns which one it was; None if it has none."""
    body = _load(claims, "order", MAX_WORD_BYTES)
    number = body.get("number") if isinstance(body, dict) else None
    return number if _is_seq(number) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """An order reaches for the privacy switch: by which name, and which order."""

    key: str
    number: int | None


def reaches_for_privacy(claims: bytes) -> Reach | None:
    """Whether a policy or command names anything of the privacy switch, at any depth; whoever signed it, it is refused whole.

    None also for what cannot be read: `policy` and `order` refuse that.
    """
    body = _load(claims, "order", MAX_WORD_BYTES)
    if not isinstance(body, dict):
        return None
    name, number = body.get("name"), body.get("number")
    reached = [name] if isinstance(name, str) and _COMMAND_OF_PRIVACY.match(name) else []
    level: list[object] = [body]
    while level and not reached:
        names = [name for value in level if isinstance(value, dict) for name in value]
        reached = [name for name in names if _OF_PRIVACY.match(name)]
        level = [inner for value in level for inner in _members(value)]
    if not reached:
        return None
    key = "".join(mark for mark in reached[0] if mark.isprintable())[:64]
    return Reach(key=key, number=number if _is_seq(number) else None)


# ---- decoding: what a box says (the hub's side) ----


def is_epoch(found: object) -> TypeGuard[str]:
    """Whether *found* can be the name of a journal's epoch."""
    return isinstance(found, str) and _EPOCH.match(found) is not None


def address(topic_name: str) -> Address | None:
    """Take a topic apart; None if it is none of this contract. What it returns is safe as a file name."""
    parts = topic_name.split("/")
    if len(parts) < 7 or "/".join(parts[:2]) != ROOT or not all(map(_LEVEL.match, parts[2:6])):
        return None
    identity = Identity(kelurahan=parts[2], rw=parts[3], rt=parts[4], box=parts[5])
    match parts[6:]:
        case ["snapshot", "live" | "history" as lane, camera] if _LEVEL.match(camera):
            return Address(identity=identity, leaf="snapshot", lane=lane, camera=camera)
        case ["camera", camera] if _LEVEL.match(camera):
            return Address(identity=identity, leaf="camera", camera=camera)
        case ["live" | "history" as lane]:
            return Address(identity=identity, leaf=lane, lane=lane)
        case ["presence" | "reply" | "echo" | "ack" | "policy" | "command" as leaf]:
            return Address(identity=identity, leaf=leaf)
        case _:
            return None


def arrived_presence(payload: bytes) -> Presence | Fault:
    """A box's birth or death."""
    body = _object(payload, "presence")
    if isinstance(body, Fault):
        return body
    state, boot, version = body.get("state"), body.get("boot"), body.get("agent")
    simulated, epoch, oldest = body.get("simulated"), body.get("epoch"), body.get("oldest_seq")
    if state not in ("online", "offline"):
        return Fault("presence.state: needs online or offline")
    if not _is_text(boot) or not _is_text(version):
        return Fault(f"presence.boot, agent: need printable text of at most {MAX_TEXT}")
    if not isinstance(simulated, bool):
        return Fault("presence.simulated: needs true or false")
    if epoch is not None and not is_epoch(epoch):
        return Fault("presence.epoch: needs an epoch or null")
    if oldest is not None and not _is_seq(oldest):
        return Fault("presence.oldest_seq: needs a sequence number or null")
    return Presence(
        online=state == "online",
        boot=boot,
        version=version,
        simulated=simulated,
        epoch=epoch,
        oldest_seq=oldest,
    )


def arrived_camera(payload: bytes) -> Mapping[str, Json] | Fault:
    """The retained state of a camera: any members, but of bounded size and depth."""
    body = _object(payload, "camera")
    if isinstance(body, Fault):
        return body
    if _is_deep(body):
        return Fault("camera: nested too deeply")
    return cast("dict[str, Json]", body)


def arrived_batch(payload: bytes, source: str) -> tuple[Arrived, ...] | Fault:
    """The records of a batch from the box whose prefix is *source*; one bad record spoils its batch, on purpose:

    a hub must never acknowledge what it could not read, and the fault names the place.
    """
    found = _load(payload, "batch", MAX_BATCH_BYTES)
    if isinstance(found, Fault):
        return found
    if not isinstance(found, list):
        return Fault("batch: needs a JSON array")
    records = []
    for place, item in enumerate(found):
        record = _arrived_event(item, source)
        if isinstance(record, Fault):
            return Fault(f"batch[{place}].{record.why}")
        records.append(record)
    return tuple(records)


def arrived_snapshot(
    properties: Sequence[tuple[str, str]], payload: bytes, source: str
) -> Arrived | Fault:
    """A picture from the box whose prefix is *source*, with its attributes out of the user properties."""
    attributes: dict[str, object] = dict(properties)
    if len(attributes) != len(properties):
        return Fault("snapshot: an attribute is given twice")
    attributes["clocktrusted"] = {"true": True, "false": False}.get(
        str(attributes.get("clocktrusted"))
    )
    rank = str(attributes.get("rank"))
    attributes["rank"] = int(rank) if rank in ("0", "1", "2", "3") else None
    meta = _load(str(attributes.get("meta", "null")).encode(), "meta", MAX_WORD_BYTES)
    if isinstance(meta, Fault):
        return Fault(f"snapshot.{meta.why}")
    record = _arrived_event({**attributes, "data": meta}, source, jpeg=payload)
    return Fault(f"snapshot.{record.why}") if isinstance(record, Fault) else record


def accounted_for(record: Arrived) -> tuple[tuple[int, int], ...]:
    """Which seqs of its epoch a tombstone declares as gone for good (inclusive); empty for every other record, or a broken one.

    A tombstone that moved, with all that the box held, to a journal made anew still speaks of the seqs of the one before.
    """
    if record.kind not in TOMBSTONES:
        return ()
    body = _load(record.data.encode(), "data", MAX_BATCH_BYTES)
    if not isinstance(body, dict) or body.get("epoch") not in (None, record.epoch):
        return ()
    ranges = _ranges(body.get("ranges"), record.seq, limit=None)
    return () if isinstance(ranges, Fault) else ranges


def _arrived_event(item: object, source: str, jpeg: bytes | None = None) -> Arrived | Fault:
    if not isinstance(item, dict):
        return Fault("needs a JSON object")
    fault = _fault_in_head(item, source)
    if fault is not None:
        return fault
    epoch, seq, kind = item["epoch"], int(item["seq"]), item["type"].removeprefix(TYPE_PREFIX)
    if item.get("id") != f"{epoch}-{seq}":
        return Fault("id: needs to be epoch-seq")
    camera = item.get("subject")
    if camera is not None and not (isinstance(camera, str) and _LEVEL.match(camera)):
        return Fault("subject: needs a camera id")
    if _is_deep(item.get("data")):  # whoever reads it later does so by recursion
        return Fault("data: nested too deeply")
    # ASCII alone: half a surrogate pair is JSON as an escape, but no text that any database takes.
    data = json.dumps(item.get("data"), separators=(",", ":"))
    return Arrived(
        epoch=epoch,
        seq=seq,
        kind=kind,
        rank=Rank(item["rank"]),
        camera=camera,
        boot=item["boot"],
        at=float(item["mono"]),
        time=item["time"],
        trusted=item["clocktrusted"],
        data=data,
        jpeg=jpeg,
    )


def _fault_in_head(item: Mapping[str, object], source: str) -> Fault | None:
    """The first attribute of a record that is not as the contract says."""
    rank, seq = item.get("rank"), item.get("seq")
    wanted = {
        "specversion": item.get("specversion") == "1.0",
        "source": item.get("source") == source,
        "epoch": is_epoch(item.get("epoch")),
        "seq": _matches(_DIGITS, seq) and int(str(seq)) <= MAX_SEQ,
        "type": _matches(_TYPE, item.get("type")),
        "boot": _is_text(item.get("boot")),
        "mono": _matches(_MONO, item.get("mono")),
        "time": _matches(_TIME, item.get("time")),
        "rank": not isinstance(rank, bool) and rank in (0, 1, 2, 3),
        "clocktrusted": isinstance(item.get("clocktrusted"), bool),
    }
    bad = next((name for name, good in wanted.items() if not good), None)
    return None if bad is None else Fault(f"{bad}: not as the contract says")


# ---- shared by all decoders ----


def _load(payload: bytes, place: str, limit: int) -> object:
    """JSON as Python values, or a Fault; strict (no NaN, no key twice, no number beyond a double), never raises."""
    if len(payload) > limit:
        return Fault(f"{place}: {len(payload)} bytes, at most {limit} are read")
    try:
        found: object = json.loads(
            payload.decode(),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_refuse_twice,
        )
    except (ValueError, RecursionError) as error:
        return Fault(f"{place}: not JSON ({str(error)[:80]})")
    return found


def _object(payload: bytes, place: str) -> dict[str, object] | Fault:
    found = _load(payload, place, MAX_WORD_BYTES)
    if isinstance(found, Fault):
        return found
    if not isinstance(found, dict):
        return Fault(f"{place}: needs a JSON object")
    if not _is_one(found.get("v")):
        return Fault(f"{place}.v: this agent understands 1 only")
    return found


def _claims(claims: bytes, kind: str, identity: Identity) -> tuple[int, dict[str, Json]] | Fault:
    """What policy and command share: kind, addressee, number."""
    body = _load(claims, kind, MAX_WORD_BYTES)
    if isinstance(body, Fault):
        return body
    if not isinstance(body, dict) or body.get("kind") != kind or not _is_one(body.get("v")):
        return Fault(f"{kind}: needs an object with v 1 and kind {kind}")
    audience = body.get("aud")
    if not isinstance(audience, str) or not f"{prefix(identity)}/".startswith(f"{audience}/"):
        return Fault(f"{kind}.aud: not addressed to this box or an area it stands in")
    if audience != ROOT and not audience.startswith(f"{ROOT}/"):
        return Fault(f"{kind}.aud: needs to start with {ROOT}")
    number = body.get("number")
    if not _is_seq(number):
        return Fault(f"{kind}.number: needs a whole number from 0 to 2^63-1")
    return number, body


def _ranges(
    found: object, upto: int, limit: int | None = MAX_MISSING
) -> tuple[tuple[int, int], ...] | Fault:
    """Inclusive ranges, rising and disjoint, none beyond *upto*."""
    if not isinstance(found, list) or (limit is not None and len(found) > limit):
        return Fault(f"ranges: need a list of at most {limit} pairs")
    ranges: list[tuple[int, int]] = []
    for pair in found:
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_seq, pair)):
            return Fault("ranges: each needs two whole numbers")
        first, last = pair
        if first > last or last > upto or (ranges and first <= ranges[-1][1]):
            return Fault("ranges: need to rise, without overlap, up to the mark")
        ranges.append((first, last))
    return tuple(ranges)


def _is_deep(value: object) -> bool:
    """Whether *value* is nested more than `MAX_DEPTH` deep."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level for inner in _members(one)]
        if not level:
            return False
    return True


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse_constant(name: str) -> object:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


# Made once: the module's own functions make a new one each time.
_STRICT: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_TEXT: Final = json.JSONEncoder(ensure_ascii=False)


_DIGITS_MAX: Final = 300  # fewer than a double has room for


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond a double")
    return number


def _whole(text: str) -> int:
    # 1 and 400 zeros is an int to Python and an OverflowError to whoever subtracts it from a time.
    return int(text) if len(text) <= _DIGITS_MAX else int(_finite(text))


def _refuse_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _matches(pattern: re.Pattern[str], found: object) -> bool:
    return isinstance(found, str) and pattern.match(found) is not None


def _is_seq(found: object) -> TypeGuard[int]:
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= MAX_SEQ


def _is_one(found: object) -> bool:
    return not isinstance(found, bool) and found == 1


def _is_number(found: object) -> TypeGuard[float]:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _is_unix_time(found: object) -> TypeGuard[float]:
    return _is_number(found) and 0 <= found <= 253_402_300_799


def _float(found: Json) -> float | None:
    return float(found) if isinstance(found, int | float) else None


def _is_text(found: object) -> TypeGuard[str]:
    return isinstance(found, str) and len(found) <= MAX_TEXT and found.isprintable()
