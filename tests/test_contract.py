"""The contract for machines says what core/wire.py says, examples are what it decodes, and attributes are CloudEvents 1.0."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import pytest
from referencing import Registry, Resource

from edge_agent.core import wire
from tests.support import contract
from tests.support.contract import IDENTITY

SCHEMAS: Final = contract.schemas()
EXAMPLES: Final = contract.examples()
BOX: Final = wire.prefix(IDENTITY)
REGISTRY: Final[Registry[Any]] = Registry().with_resources(
    (f"{name}.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
)

# example -> schema of its payload (or of its user properties), and the decoder
OF: Final = {
    "presence-online": "presence",
    "presence-offline": "presence",
    "camera-state": "camera-state",
    "live": "batch",
    "history": "batch",
    "snapshot": "snapshot-attributes",
    "snapshot-sealed": "snapshot-attributes",
    "reply": "reply",
    "echo": "echo",
    "ack": "ack",
    "ack-also": "ack",
    "policy-claims": "policy-claims",
    "command-claims": "command-claims",
}
DECODERS: Final[dict[str, Callable[[Any], object]]] = {
    "presence": lambda body: wire.arrived_presence(_text(body)),
    "camera-state": lambda body: wire.arrived_camera(_text(body)),
    "batch": lambda body: wire.arrived_batch(_text(body), BOX),
    "snapshot-attributes": lambda body: wire.arrived_snapshot(tuple(body.items()), b"", BOX),
    "ack": lambda body: wire.ack(_text(body)),
    "policy-claims": lambda body: wire.policy(_text(body), IDENTITY),
    "command-claims": lambda body: wire.order(_text(body), IDENTITY),
}
# Rules that bind members to each other, to the topic or to the box: a schema cannot say them.
BEYOND_SCHEMA: Final = {
    "id",
    "source",
    "epoch",
    "seq",
    "upto",
    "missing",
    "also",
    "aud",
    "subject",
    "meta",
}
# What a schema says and the agent checks elsewhere (commands.py), or leaves to whoever shows it.
BEYOND_DECODER: Final = {
    *("camera", "arguments", "datacontenttype", "meta"),
    *contract.schemas()["camera-state"]["properties"],
} - {"v"}


def _text(body: object) -> bytes:
    return json.dumps(body).encode()


def body_of(name: str) -> Any:
    example = EXAMPLES[name]
    if name.endswith("claims"):
        return example
    return example["user_properties"] if "user_properties" in example else example["payload"]


def fits(schema: str, body: object) -> bool:
    validator = jsonschema.Draft7Validator(SCHEMAS[schema], registry=REGISTRY)
    return bool(validator.is_valid(body))


def decodes(schema: str, body: object) -> bool:
    return not isinstance(DECODERS[schema](body), wire.Fault)


# ---- files ----


def test_the_files_are_what_the_code_says() -> None:
    made = contract.files()
    for name, text in made.items():
        assert (contract.DOCS / name).read_text() == text, f"{name}: run `make contract`"
    for folder in ("schemas", "examples"):
        there = {f"{folder}/{path.name}" for path in (contract.DOCS / folder).glob("*.json")}
        assert there == {name for name in made if name.startswith(folder)}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("topic", wire.TOPICS, ids=lambda topic: topic.leaf)
def test_every_topic_is_in_the_document_as_the_table_has_it(topic: wire.Topic) -> None:
    made = contract.asyncapi()
    address = f"{wire.ROOT}/{{kelurahan}}/{{rw}}/{{rt}}/{{box}}/{topic.leaf}"
    (name,) = [name for name, one in made["channels"].items() if one["address"] == address]
    levels = set(re.findall(r"\{(\w+)\}", address))
    assert set(made["channels"][name]["parameters"]) == levels
    (operation,) = [
        one for one in made["operations"].values() if one["channel"]["$ref"].endswith(f"/{name}")
    ]
    assert operation["action"] == ("receive" if topic.to_box else "send")
    assert operation["bindings"]["mqtt"]["qos"] == 1
    assert operation["bindings"]["mqtt"]["retain"] is topic.retained.startswith("retained")
    concrete = address.format(camera="gate", **dict(zip(levels - {"camera"}, "abcd", strict=False)))
    assert wire.address(concrete) is not None
    assert len(made["channels"]) == len(wire.TOPICS)


def test_what_the_document_points_to_is_there() -> None:
    text = contract.files()["asyncapi.yaml"]
    for name in re.findall(r'"schemas/([a-z-]+)\.json"', text):
        assert name in SCHEMAS
    for content in (wire.BATCH_CONTENT, wire.PICTURE_CONTENT, wire.SEALED_CONTENT):
        assert f'contentType: "{content}"' in text


# ---- examples ----


@pytest.mark.parametrize("name", OF)
def test_an_example_fits_its_schema_and_is_decoded(name: str) -> None:
    body = body_of(name)
    jsonschema.Draft7Validator(SCHEMAS[OF[name]], registry=REGISTRY).validate(body)
    if OF[name] in DECODERS:
        assert decodes(OF[name], body), DECODERS[OF[name]](body)


def test_every_example_is_looked_at() -> None:
    assert set(OF) == set(EXAMPLES)
    assert set(OF.values()) | {"event", "token"} == set(SCHEMAS)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.endswith("claims")])
def test_an_example_is_published_as_its_topic_says(name: str) -> None:
    example = EXAMPLES[name]
    found = wire.address(example["topic"])
    assert found is not None
    leaf = example["topic"].removeprefix(f"{BOX}/").replace("gate", "{camera}")
    (topic,) = [topic for topic in wire.TOPICS if topic.leaf == leaf]
    assert example["retain"] is topic.retained.startswith("retained")


def test_the_shown_chain_holds() -> None:
    from edge_agent.receiver.chains import Chains

    records = wire.arrived_batch(_text(body_of("live")), BOX)
    assert not isinstance(records, wire.Fault)
    chains = Chains()
    for record in records:
        assert '"chain":{' in record.data
        chains.take(record)
    assert chains.breaks({}) == ()


# ---- schema and decoder say the same ----


ODD: Final[tuple[object, ...]] = (
    *(None, True, False, -1, 0, 2, 1.5, 2**63, 10**20, "", "x", "1", "0.5", "x" * 500, "a\nb"),
    *([], {}, [[1, 2]], [1], "2026-01-01T00:00:00Z", "2026-01-01", "cctv.v1.x", "Ü", "online"),
)


def variants(body: Any) -> Iterator[tuple[str, Any]]:
    """The body with one member left out, or replaced by something odd; and with one that nobody knows."""
    for name in body:
        less = copy.deepcopy(body)
        del less[name]
        yield name, less
        for odd in ODD:
            yield name, {**copy.deepcopy(body), name: odd}
    yield "unheardof", {**copy.deepcopy(body), "unheardof": 1}


@pytest.mark.parametrize("name", [name for name in OF if OF[name] in DECODERS])
def test_a_schema_refuses_what_the_decoder_refuses_and_nothing_else(name: str) -> None:
    body, schema = body_of(name), OF[name]
    whole = body
    looked = 0
    for place in range(len(body)) if isinstance(body, list) else [None]:
        for member, variant in variants(whole if place is None else whole[place]):
            if schema == "snapshot-attributes" and not isinstance(variant.get(member, ""), str):
                continue  # a user property is text, whatever it says
            tried = variant if place is None else [*whole[:place], variant, *whole[place + 1 :]]
            fit, decoded = fits(schema, tried), decodes(schema, tried)
            looked += 1
            if decoded and member not in BEYOND_DECODER:
                assert fit, (
                    f"{member} = {variant.get(member)!r}: decoded, and the schema refuses it"
                )
            if fit and member not in BEYOND_SCHEMA:
                assert decoded, f"{member} = {variant.get(member)!r}: {DECODERS[schema](tried)}"
    assert looked > 20


@pytest.mark.parametrize(
    ("name", "arguments", "good"),
    [
        ("burst", {"period_s": 1, "minutes": 15}, True),
        ("burst", {"period_s": 1, "minutes": 61}, False),
        ("burst", {"period_s": 1}, False),
        ("locate", {"seconds": 60}, True),
        ("locate", {"seconds": 60, "colour": "red"}, False),
        ("reverify", {"cameras": ["gate"]}, True),
        ("report", {}, True),
        ("report", {"all": True}, False),
    ],
)
def test_the_arguments_of_commands_are_in_the_schema(
    name: str, arguments: dict[str, object], good: bool
) -> None:
    claims = {**body_of("command-claims"), "name": name, "arguments": arguments}
    assert fits("command-claims", claims) is good


# ---- CloudEvents 1.0 ----

REQUIRED: Final = ("id", "source", "specversion", "type")
RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")


def check_attributes(attributes: dict[str, object]) -> None:
    """The spec's rules for context attributes: naming, types, the required ones, time."""
    for name, value in attributes.items():
        assert re.fullmatch(r"[a-z0-9]{1,20}", name), name
        assert isinstance(value, bool | int | str), f"{name}: of no CloudEvents type"
        if isinstance(value, int) and not isinstance(value, bool):
            assert -(2**31) <= value < 2**31, name
        if isinstance(value, str):
            assert value, f"{name} is empty"
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", value), name
    for name in REQUIRED:
        assert isinstance(attributes[name], str)
    assert attributes["specversion"] == "1.0"
    time = attributes["time"]
    assert isinstance(time, str)
    assert RFC3339.match(time)
    datetime.fromisoformat(time)
    assert re.fullmatch(r"[A-Za-z0-9/._~-]+", str(attributes["source"]))  # a relative URI reference


@pytest.mark.parametrize("name", ["live", "history"])
def test_structured_events_are_cloudevents(name: str) -> None:
    assert EXAMPLES[name]["content_type"] == "application/cloudevents-batch+json"
    events = EXAMPLES[name]["payload"]
    assert events
    for event in events:
        assert event["datacontenttype"] == "application/json"
        check_attributes({key: value for key, value in event.items() if key != "data"})
    assert len({(event["source"], event["id"]) for event in events}) == len(events)


@pytest.mark.parametrize(
    ("name", "content"),
    [("snapshot", "image/jpeg"), ("snapshot-sealed", "application/age-encryption")],
)
def test_pictures_are_cloudevents_in_binary_mode(name: str, content: str) -> None:
    example = EXAMPLES[name]
    # The content type of the PUBLISH is the event's datacontenttype, which is then no property.
    assert example["content_type"] == content
    assert not content.startswith("application/cloudevents")
    properties = example["user_properties"]
    assert "datacontenttype" not in properties
    assert "data" not in properties
    assert all(isinstance(value, str) for value in properties.values())
    meta = properties["meta"]
    check_attributes(properties)
    json.loads(meta)
    assert properties["clocktrusted"] in ("true", "false")  # how the spec writes a boolean
    assert re.fullmatch(r"0|-?[1-9][0-9]*", properties["rank"])  # and an integer
    assert base64.b64decode(example["payload_base64"])
