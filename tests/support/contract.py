"""The contract for machines: docs/asyncapi.yaml, docs/schemas/*.json and docs/examples/*.json, made from core/wire.py.

`make contract` writes them; tests/test_contract.py checks that they are what this module makes, that examples are what the decoders
accept, and that schemas refuse what the decoders refuse. Patterns and bounds are taken from the code, none stands here twice.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from edge_agent.core import commands, wire
from edge_agent.core.messages import Json, Message, Rank, Stored
from edge_agent.core.settings import Identity

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
IDENTITY: Final = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")
DIALECT: Final = "http://json-schema.org/draft-07/schema#"  # what AsyncAPI 3.0 names, too
_AT: Final = 5_025.31
_WALL_S: Final = 1_795_255_200.1
_EPOCH: Final = "9f2c"
_BOOT: Final = "5b0e7c1a"

Schema = dict[str, Any]


def pattern(found: re.Pattern[str]) -> str:
    """A pattern of wire.py as JSON Schema writes it."""
    return f"^{found.pattern.removesuffix(chr(92) + 'Z')}$"


# ---- schemas ----

_SEQ: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": wire.MAX_SEQ}
_UNIX: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 253_402_300_799}
# No control characters; what else str.isprintable refuses no pattern says.
_TEXT: Final[Schema] = {
    "type": "string",
    "maxLength": wire.MAX_TEXT,
    "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
}
_NAME_OF_EPOCH: Final[Schema] = {"type": "string", "pattern": pattern(wire._EPOCH)}
_LEVEL: Final[Schema] = {"type": "string", "pattern": pattern(wire._LEVEL)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _schema(name: str, what: str, body: Schema) -> tuple[str, Schema]:
    return name, {"$schema": DIALECT, "title": name, "description": what, **body}


def _object(required: Schema, optional: Schema | None = None, *, more: bool = True) -> Schema:
    """Members that a reader does not know are to be ignored, so most objects are open."""
    body: Schema = {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": sorted(required),
    }
    return body if more else {**body, "additionalProperties": False}


def _ranges() -> Schema:
    pair = {"type": "array", "items": _SEQ, "minItems": 2, "maxItems": 2}
    return {"type": "array", "items": pair, "maxItems": wire.MAX_MISSING}


def _attributes(*, text: bool) -> tuple[Schema, Schema]:
    """CloudEvents attributes: structured, or (*text*) as MQTT user properties, where all values are text."""
    rank: Schema = {"enum": [str(int(rank)) if text else int(rank) for rank in Rank]}
    required: Schema = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"type": "string", "pattern": pattern(wire._TYPE)},
        "time": {"type": "string", "pattern": pattern(wire._TIME)},
        "epoch": _NAME_OF_EPOCH,
        "seq": {"type": "string", "pattern": pattern(wire._DIGITS)},
        "boot": _TEXT,
        "mono": {"type": "string", "pattern": pattern(wire._MONO)},
        "rank": rank,
        "clocktrusted": {"enum": ["true", "false"]} if text else {"type": "boolean"},
    }
    return required, {"subject": _LEVEL if text else _or_null(_LEVEL)}


def _claims(kind: str, more: Schema, optional: Schema) -> Schema:
    area = f"^{wire.ROOT}(/[a-z0-9-]{{1,48}}){{0,4}}$"
    head: Schema = {
        "v": {"const": 1},
        "kind": {"const": kind},
        "aud": {"type": "string", "pattern": area},
        "number": _SEQ,
    }
    return _object({**head, **more}, optional)


def _bounds(least: float, most: float) -> Schema:
    return {"type": "number", "minimum": least, "maximum": most}


def _command_arguments() -> list[Schema]:
    cameras: Schema = {"cameras": {"type": "array", "items": _LEVEL, "minItems": 1}}
    none = _object({}, more=False)
    arguments: dict[str, Schema] = {
        "burst": _object(
            {
                "period_s": _bounds(commands.FASTEST_S, commands.SLOWEST_S),
                "minutes": _bounds(*commands.BURST_MINUTES),
            },
            cameras,
            more=False,
        ),
        "reverify": _object({}, cameras, more=False),
        "locate": _object({"seconds": _bounds(*commands.LOCATE_S)}, more=False),
        "report": none,
        "sync-now": none,
    }
    return [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"properties": {"arguments": schema}},
        }
        for name, schema in arguments.items()
    ]


def schemas() -> dict[str, Schema]:
    """By name; each is a file of its own."""
    structured, subject = _attributes(text=False)
    binary, camera = _attributes(text=True)
    event = _object(
        structured, {**subject, "datacontenttype": {"const": wire.JSON_CONTENT}, "data": {}}
    )
    presence = {
        "v": {"const": 1},
        "state": {"enum": ["online", "offline"]},
        "boot": _TEXT,
        "agent": _TEXT,
        "simulated": {"type": "boolean"},
    }
    state = {
        "name": {"type": "string"},
        "shown": {"type": "boolean"},
        "gate": {"enum": ["closed", "held", "open", "private"]},
        "cause": {"type": ["string", "null"]},
        "signal": {"type": "string"},
        "cable": {"type": "string"},
        "orders": {"type": "array", "items": {"type": "object"}},
        "view": {"type": "string"},
        "suspended": {"type": "boolean"},
        "simulated": {"type": "boolean"},
        "findings": {"type": "array", "items": {"type": "object"}},
        "notice": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "en": {"type": "string"}},
            "required": ["id", "en"],
        },
        "changed": {"type": "string", "pattern": pattern(wire._TIME)},
        "clocktrusted": {"type": "boolean"},
    }
    paces: Schema = {
        "snapshot_period_s": _or_null(_bounds(*wire.PERIOD_S)),
        "backfill_bytes_per_s": _or_null(_bounds(*wire.BACKFILL_BYTES_PER_S)),
        "reconnect_window_s": _or_null(_bounds(*wire.WINDOW_S)),
    }
    command = _claims(
        "command",
        {"name": {"type": "string", "pattern": pattern(wire._NAME)}, "expires": _UNIX},
        {"arguments": {"type": "object", "maxProperties": 20}},
    )
    made = [
        _schema(
            "presence",
            "birth, farewell or Will of a box",
            _object(presence, {"epoch": _or_null(_NAME_OF_EPOCH), "oldest_seq": _or_null(_SEQ)}),
        ),
        _schema(
            "camera-state",
            "the current state of one camera; newest wins",
            _object({"v": {"const": 1}}, {"camera": _LEVEL, **state}),
        ),
        _schema("event", "one record: a CloudEvents 1.0 event, structured", event),
        _schema(
            "batch",
            "records in the CloudEvents JSON batch format",
            {"type": "array", "items": {"$ref": "event.json"}},
        ),
        _schema(
            "snapshot-attributes",
            "a picture's CloudEvents attributes in binary mode: MQTT user properties, all of them text",
            _object(
                binary,
                {**camera, "meta": {"type": "string", "contentMediaType": wire.JSON_CONTENT}},
            ),
        ),
        _schema(
            "ack",
            "the watermark; ranges are inclusive, rising and disjoint, those of `missing` not above upto, those of `also` above it",
            _object(
                {"v": {"const": 1}, "epoch": _NAME_OF_EPOCH, "upto": _SEQ},
                {"missing": _ranges(), "also": _ranges()},
            ),
        ),
        _schema(
            "policy-claims",
            "what a policy's token signs",
            _claims(
                "policy",
                {},
                {
                    "suspended_until": _or_null(_UNIX),
                    "reason_id": _TEXT,
                    "reason_en": _TEXT,
                    "issued": _or_null(_UNIX),
                    **paces,
                },
            ),
        ),
        _schema(
            "command-claims",
            "what a command's token signs",
            {**command, "allOf": _command_arguments()},
        ),
        _schema(
            "token",
            "a compact JWS over the claims, signed with the hub's Ed25519 key",
            {"type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"},
        ),
        _schema(
            "reply",
            "the outcome of a command",
            _object(
                {
                    "v": {"const": 1},
                    "number": _or_null(_SEQ),
                    "result": {"enum": [result.value for result in commands.Result]},
                    "why": {"type": "string"},
                },
                more=False,
            ),
        ),
        _schema(
            "echo",
            "a word of the doctor to itself; of no concern to a hub",
            _object({"v": {"const": 1}, "mark": {"type": "string"}}, more=False),
        ),
    ]
    return dict(made)


# ---- examples ----


def _stored(seq: int, kind: str, rank: Rank, data: Json, **more: Any) -> Stored:
    text = json.dumps(data, separators=(",", ":")).encode()
    return Stored(
        epoch=_EPOCH,
        seq=seq,
        kind=kind,
        rank=rank,
        boot=_BOOT,
        at=_AT,
        wall_s=_WALL_S,
        trusted=True,
        data=text,
        camera=more.get("camera"),
        jpeg=more.get("jpeg"),
    )


def chained(seq: int, kind: str, data: dict[str, Json], chain: dict[str, Json]) -> Stored:
    """A record of the audit chain, with its hash, for camera gate; made as docs/wire.md says."""
    entry: Json = {
        "type": wire.TYPE_PREFIX + kind,
        "subject": "gate",
        "boot": _BOOT,
        "mono": wire.mono(_AT),
        "data": data,
        "chain": chain,
    }
    told = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(told.encode()).hexdigest()
    return _stored(
        seq, kind, Rank.AUDIT, {**data, "chain": {**chain, "hash": digest}}, camera="gate"
    )


def _chain(number: int, seq: int, previous: str) -> dict[str, Json]:
    return {
        "epoch": _EPOCH,
        "n": number,
        "previous": previous,
        "seq": str(seq),
        "time": wire.rfc3339(_WALL_S),
        "trusted": True,
    }


def two_links() -> tuple[Stored, Stored]:
    """The first two entries of a chain."""
    held = chained(
        811,
        "gate.changed",
        {"before": "closed", "after": "held", "cause": "signal"},
        _chain(1, 811, "0" * 64),
    )
    first: str = json.loads(held.data)["chain"]["hash"]
    shown = chained(
        812,
        "gate.changed",
        {"before": "held", "after": "open", "cause": "proven"},
        _chain(2, 812, first),
    )
    return held, shown


def messages() -> dict[str, Message]:
    """What a box publishes, by the name of its example."""
    online = {"boot": _BOOT, "version": "0.1.0", "simulated": False, "epoch": _EPOCH}
    held, shown = two_links()
    history = [
        _stored(
            640,
            "journal.thinned",
            Rank.AUDIT,
            {"reason": "no_room", "count": 2, "ranges": [[630, 631]]},
        ),
        _stored(641, "box.metrics", Rank.METRIC, {"cpu_c": 51.2}),
    ]
    state: dict[str, Json] = {
        "name": "Gerbang",
        "shown": True,
        "gate": "open",
        "cause": "proven",
        "signal": "fresh",
        "cable": "normal",
        "orders": [],
        "view": "match",
        "suspended": False,
        "simulated": False,
        "findings": [],
        "notice": {"id": "", "en": ""},
        "changed": wire.rfc3339(_WALL_S),
        "clocktrusted": True,
    }
    picture = _stored(
        813,
        "snapshot",
        Rank.PICTURE,
        {"width": 1280, "height": 720},
        camera="gate",
        jpeg=b"\xff\xd8\xff\xd9",
    )
    plain = wire.snapshot(IDENTITY, wire.LIVE, picture)
    sealed = dataclasses.replace(
        wire.snapshot(IDENTITY, wire.HISTORY, picture),
        payload=b"age-encryption.org/v1\n",
        content_type=wire.SEALED_CONTENT,
    )
    return {
        "presence-online": wire.presence(IDENTITY, online=True, oldest_seq=640, **online),  # type: ignore[arg-type]
        "presence-offline": wire.presence(IDENTITY, online=False, oldest_seq=None, **online),  # type: ignore[arg-type]
        "camera-state": wire.camera_state(IDENTITY, "gate", state),
        "live": wire.batch(
            IDENTITY, wire.LIVE, [wire.event(IDENTITY, one) for one in (held, shown)]
        ),
        "history": wire.batch(
            IDENTITY, wire.HISTORY, [wire.event(IDENTITY, one) for one in history]
        ),
        "snapshot": plain,
        "snapshot-sealed": sealed,
        "reply": wire.reply(IDENTITY, correlation=b"42", number=1_798_761_600_123, result="done"),
        "echo": wire.echo(IDENTITY, "6f1d2c90a4be7735"),
        "ack": Message(
            topic=wire.topic(IDENTITY, "ack"),
            payload=wire.watermark(
                wire.Watermark(epoch=_EPOCH, upto=812, missing=((640, 655), (700, 700)))
            ),
            retain=True,
        ),
        "ack-also": Message(
            topic=wire.topic(IDENTITY, "ack"),
            payload=wire.watermark(
                wire.Watermark(epoch=_EPOCH, upto=640, missing=((2, 2),), also=((700, 812),))
            ),
            retain=True,
        ),
    }


def claims() -> dict[str, dict[str, Json]]:
    """What the hub signs, by the name of its example."""
    return {
        "policy-claims": {
            "v": 1,
            "kind": "policy",
            "aud": "cctv/v1/kuningan",
            "number": 12,
            "suspended_until": 1_798_761_600,
            "reason_id": "Anggaran internet habis",
            "reason_en": "The internet budget is used up",
            "issued": 1_795_255_200,
            "snapshot_period_s": 60,
            "backfill_bytes_per_s": 20_000,
            "reconnect_window_s": 120,
        },
        "command-claims": {
            "v": 1,
            "kind": "command",
            "aud": wire.prefix(IDENTITY),
            "number": 1_798_761_600_123,
            "expires": 1_798_765_200,
            "name": "burst",
            "arguments": {"cameras": ["gate"], "period_s": 1, "minutes": 15},
        },
    }


def publish(message: Message) -> dict[str, Any]:
    """A whole PUBLISH as JSON: payload as a value where it is JSON, else in base64."""
    told: dict[str, Any] = {
        "topic": message.topic,
        "qos": 1,
        "retain": message.retain,
        "content_type": message.content_type,
    }
    if message.properties:
        told["user_properties"] = dict(message.properties)
    if message.response_to is not None:
        told["correlation_data_base64"] = base64.b64encode(message.response_to).decode()
    if message.content_type.endswith("json"):
        told["payload"] = json.loads(message.payload)
    else:
        told["payload_base64"] = base64.b64encode(message.payload).decode()
    return told


def examples() -> dict[str, Any]:
    """By name; each is a file of its own."""
    return {**{name: publish(one) for name, one in messages().items()}, **claims()}


# ---- AsyncAPI ----

# leaf of wire.TOPICS -> what is sent there: name, schema of the payload, schema of the user properties, content types, example
_MESSAGES: Final[dict[str, list[tuple[str, str | None, str | None, str, str]]]] = {
    "presence": [("presence", "presence", None, wire.JSON_CONTENT, "presence-online")],
    "camera/{camera}": [("cameraState", "camera-state", None, wire.JSON_CONTENT, "camera-state")],
    "live": [("liveRecords", "batch", None, wire.BATCH_CONTENT, "live")],
    "history": [("historyRecords", "batch", None, wire.BATCH_CONTENT, "history")],
    "ack": [("watermark", "ack", None, wire.JSON_CONTENT, "ack")],
    "policy": [("policy", "token", None, "application/jose", "")],
    "command": [("command", "token", None, "application/jose", "")],
    "reply": [("reply", "reply", None, wire.JSON_CONTENT, "reply")],
    "echo": [("echo", "echo", None, wire.JSON_CONTENT, "echo")],
    **{
        f"snapshot/{lane}/{{camera}}": [
            (f"{lane}Picture", None, "snapshot-attributes", wire.PICTURE_CONTENT, ""),
            (f"{lane}SealedPicture", None, "snapshot-attributes", wire.SEALED_CONTENT, ""),
        ]
        for lane in (wire.LIVE, wire.HISTORY)
    },
}
_LEVELS: Final = {
    "kelurahan": "the ward",
    "rw": "the group of RTs",
    "rt": "the neighbourhood unit",
    "box": "the box",
    "camera": "the camera's id",
}


def _channel(leaf: str) -> str:
    return re.sub(
        r"[^a-z]+([a-z])", lambda found: found[1].upper(), leaf.replace("{camera}", "")
    ).rstrip("/")


def _ref(name: str) -> Schema:
    return {
        "schemaFormat": "application/schema+json;version=draft-07",
        "schema": {"$ref": f"schemas/{name}.json"},
    }


def _message(
    name: str, payload: str | None, headers: str | None, content: str, example: str
) -> Schema:
    told: Schema = {"name": name, "contentType": content}
    if payload is not None:
        told["payload"] = _ref(payload)
    if headers is not None:
        told["headers"] = _ref(headers)
    if example:
        told["examples"] = [{"name": example, "payload": examples()[example]["payload"]}]
    return told


def asyncapi() -> Schema:
    """The AsyncAPI 3.0 document, from the box's point of view: it sends what goes to the hub."""
    head = f"{wire.ROOT}/{{kelurahan}}/{{rw}}/{{rt}}/{{box}}"
    channels: Schema = {}
    operations: Schema = {}
    for topic in wire.TOPICS:
        name = _channel(topic.leaf)
        levels = [level for level in _LEVELS if f"{{{level}}}" in f"{head}/{topic.leaf}"]
        sent = _MESSAGES[topic.leaf]
        channels[name] = {
            "address": f"{head}/{topic.leaf}",
            "description": topic.what,
            "parameters": {level: {"description": _LEVELS[level]} for level in levels},
            "messages": {message[0]: _message(*message) for message in sent},
        }
        operations[f"{'hear' if topic.to_box else 'tell'}{name[0].upper()}{name[1:]}"] = {
            "action": "receive" if topic.to_box else "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": f"retain: {topic.retained}",
            "messages": [{"$ref": f"#/channels/{name}/messages/{one[0]}"} for one in sent],
            "bindings": {
                "mqtt": {
                    "qos": 1,
                    "retain": topic.retained.startswith("retained"),
                    "bindingVersion": "0.2.0",
                }
            },
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edge agent and hub",
            "version": "1.0.0",
            "description": "What travels between a box and the hub. wire.md has the same for readers, hub.md for those who build a hub.",
        },
        "defaultContentType": wire.JSON_CONTENT,
        "servers": {
            "hub": {
                "host": "hub.example:8883",
                "protocol": "secure-mqtt",
                "protocolVersion": "5.0",
                "description": "mutual TLS, 1.2 or newer, one client certificate per box",
                "security": [{"type": "X509"}],
                "bindings": {
                    "mqtt": {
                        "clientId": "{kelurahan}-{rw}-{rt}-{box}",
                        "cleanSession": True,
                        "sessionExpiryInterval": 0,
                        "lastWill": {
                            "topic": f"{head}/presence",
                            "qos": 1,
                            "retain": True,
                            "message": "the presence with state offline",
                        },
                        "bindingVersion": "0.2.0",
                    }
                },
            }
        },
        "channels": channels,
        "operations": operations,
    }


# ---- files ----


def yaml(value: Any, indent: int = 0) -> str:
    """JSON values as block YAML; scalars as JSON writes them, which YAML reads the same."""
    lead = "  " * indent
    if isinstance(value, dict) and value:
        parts = [f"{lead}{_key(key)}:{_after(item, indent)}" for key, item in value.items()]
        return "\n".join(parts)
    if isinstance(value, list) and value:
        return "\n".join(f"{lead}-{_after(item, indent)}" for item in value)
    return lead + json.dumps(value, ensure_ascii=False)


def _after(item: Any, indent: int) -> str:
    if isinstance(item, dict | list) and item:
        return "\n" + yaml(item, indent + 1)
    return " " + json.dumps(item, ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key) else json.dumps(key)


def files() -> dict[str, str]:
    """Every file of the contract, by its path below docs/."""
    made = {f"schemas/{name}.json": _json(schema) for name, schema in schemas().items()}
    made |= {f"examples/{name}.json": _json(example) for name, example in examples().items()}
    made["asyncapi.yaml"] = (
        "# Made by `make contract` from edge_agent/core/wire.py; not to be edited.\n"
        + yaml(asyncapi())
        + "\n"
    )
    return made


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write them all, and remove what is of the contract no more."""
    made = files()
    for folder in ("schemas", "examples"):
        for path in (DOCS / folder).glob("*.json"):
            if f"{folder}/{path.name}" not in made:
                path.unlink()
    for name, text in made.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{len(made)} files in {DOCS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
