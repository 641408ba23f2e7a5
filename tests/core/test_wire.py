"""The contract of the wire: what is encoded is decoded, and no stranger's bytes do more than become a fault."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import wire
from edge_agent.core.messages import Json, Message, Rank, Stored
from edge_agent.core.settings import Identity
from edge_agent.core.wire import Arrived, Fault, Order, Policy, Presence, Watermark

IDENTITY: Final = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")
NAME: Final = "cctv/v1/kuningan/rw-03/rt-02/box-1"
JSONS: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@st.composite
def stored(draw: st.DrawFn, picture: bool = False) -> Stored:
    return Stored(
        epoch=draw(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)),
        seq=draw(st.integers(0, wire.MAX_SEQ)),
        kind=draw(st.sampled_from(["gate.changed", "box.metrics", "snapshot.taken", "x"])),
        rank=draw(st.sampled_from(Rank)),
        camera="gate" if picture else draw(st.sampled_from([None, "gate", "cam-2"])),
        boot=draw(st.uuids()).hex,
        at=draw(st.floats(0, 1e9)),
        wall_s=draw(st.floats(-1e20, 1e20) | st.just(math.nan)),
        trusted=draw(st.booleans()),
        data=json.dumps(draw(JSONS)).encode(),
        jpeg=draw(st.binary(max_size=100)) if picture else None,
    )


def same(record: Arrived, made: Stored) -> None:
    assert (record.epoch, record.seq, record.kind) == (made.epoch, made.seq, made.kind)
    assert (record.rank, record.camera, record.boot) == (made.rank, made.camera, made.boot)
    assert record.at == pytest.approx(made.at, abs=0.001)
    assert record.trusted == made.trusted
    assert json.loads(record.data) == json.loads(made.data)


# ---- what a box says ----


@given(st.lists(stored(), max_size=6), st.sampled_from([wire.LIVE, wire.HISTORY]))
def test_a_batch_arrives_as_it_was_made(records: list[Stored], lane: str) -> None:
    message = wire.batch(IDENTITY, lane, [wire.event(IDENTITY, record) for record in records])
    assert message.topic == f"{NAME}/{lane}"
    assert message.content_type == "application/cloudevents-batch+json"
    arrived = wire.arrived_batch(message.payload, NAME)
    assert not isinstance(arrived, Fault), arrived
    assert len(arrived) == len(records)
    for record, made in zip(arrived, records, strict=True):
        same(record, made)


@given(stored(picture=True), st.sampled_from([wire.LIVE, wire.HISTORY]))
def test_a_picture_arrives_as_it_was_made(made: Stored, lane: str) -> None:
    message = wire.snapshot(IDENTITY, lane, made)
    assert message.topic == f"{NAME}/snapshot/{lane}/gate"
    sealed = wire.is_sealed(made.jpeg or b"")
    assert message.content_type == ("application/age-encryption" if sealed else "image/jpeg")
    assert message.picture_of == "gate"
    arrived = wire.arrived_snapshot(message.properties, message.payload, NAME)
    assert isinstance(arrived, Arrived), arrived
    same(arrived, made)
    assert arrived.jpeg == made.jpeg


def test_a_sealed_picture_says_that_it_is_sealed() -> None:
    sealed = Stored(
        epoch="e",
        seq=1,
        kind="snapshot",
        rank=Rank.PICTURE,
        camera="gate",
        boot="b",
        at=1.0,
        wall_s=2.0,
        trusted=True,
        data=b"{}",
        jpeg=b"age-encryption.org/v1\n-> X25519",
    )
    message = wire.snapshot(IDENTITY, wire.LIVE, sealed)
    assert message.content_type == "application/age-encryption"


@given(stored())
def test_every_event_is_a_cloudevent(made: Stored) -> None:
    event = json.loads(wire.event(IDENTITY, made))
    assert event["specversion"] == "1.0"
    assert event["id"] == f"{made.epoch}-{made.seq}"
    assert event["source"] == NAME
    assert event["type"] == f"cctv.v1.{made.kind}"
    assert event["datacontenttype"] == "application/json"
    assert event["time"].endswith("Z")
    known = {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data"}
    del event["data"]
    for name, value in event.items():
        assert name in known or (name.isalnum() and name.islower() and len(name) <= 20)
        assert isinstance(value, str | bool | int)
        assert not isinstance(value, int) or isinstance(value, bool) or abs(value) < 2**31


@given(stored())
def test_an_event_is_written_as_a_plain_dump_would(made: Stored) -> None:
    """It is put together from parts that are kept: whatever the record, the bytes are those of one JSON object."""
    dumped: dict[str, object] = {
        "specversion": "1.0",
        "id": f"{made.epoch}-{made.seq}",
        "source": NAME,
        "type": f"cctv.v1.{made.kind}",
        "time": wire.rfc3339(made.wall_s),
        "epoch": made.epoch,
        "seq": str(made.seq),
        "boot": made.boot,
        "mono": wire.mono(made.at),
    }
    if made.camera is not None:
        dumped["subject"] = made.camera
    dumped |= {"rank": int(made.rank), "clocktrusted": made.trusted}
    head = json.dumps(
        {**dumped, "datacontenttype": "application/json"}, separators=(",", ":"), ensure_ascii=False
    )
    for whole in (False, True):
        text = wire.event(IDENTITY, made._replace(whole=whole))
        assert text == f'{head[:-1]},"data":{made.data.decode()}}}'


@given(st.lists(stored(), max_size=5))
def test_many_events_at_once_are_the_same_as_one_after_the_other(records: list[Stored]) -> None:
    assert wire.events(IDENTITY, records) == [wire.event(IDENTITY, one) for one in records]


@given(st.floats(0, 253_402_300_799.0) | st.integers(0, 4_000_000_000).map(lambda n: n - 5e-7))
def test_a_time_is_told_as_the_calendar_tells_it(wall_s: float) -> None:
    moment = datetime.fromtimestamp(max(0.0, wall_s), UTC)
    told = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert wire.rfc3339(wall_s) == told


@given(stored(picture=True))
def test_a_picture_carries_its_attributes_as_text_and_no_other_names(made: Stored) -> None:
    picture = dict(wire.snapshot(IDENTITY, wire.LIVE, made).properties)
    event = json.loads(wire.event(IDENTITY, made))
    assert set(picture) == set(event) - {"data", "datacontenttype"} | {"meta"}
    assert all(isinstance(value, str) for value in picture.values())


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"NaN", b"[" * 5000, b'{"a":1}x'])
def test_a_damaged_row_is_wrapped_and_spoils_nothing(data: bytes) -> None:
    whole = Stored(
        epoch="e",
        seq=1,
        kind="x",
        rank=Rank.STATE,
        camera=None,
        boot="b",
        at=-math.inf,
        wall_s=math.inf,
        trusted=False,
        data=b"{}",
    )
    damaged = whole._replace(seq=2, data=data)
    message = wire.batch(IDENTITY, wire.LIVE, [wire.event(IDENTITY, s) for s in (whole, damaged)])
    arrived = wire.arrived_batch(message.payload, NAME)
    assert not isinstance(arrived, Fault), arrived
    assert list(json.loads(arrived[1].data)) == ["damaged"]
    assert arrived[0].time == "1970-01-01T00:00:00.000Z"
    assert arrived[0].at == 0


def test_a_pictures_data_never_outgrows_an_mqtt_string() -> None:
    data = json.dumps({"x": "y" * 100_000}).encode()
    made = Stored(
        epoch="e",
        seq=1,
        kind="x",
        rank=Rank.PICTURE,
        camera="gate",
        boot="b",
        at=1.0,
        wall_s=1.0,
        trusted=True,
        data=data,
        jpeg=b"j",
    )
    message = wire.snapshot(IDENTITY, wire.LIVE, made)
    assert max(len(value.encode()) for _, value in message.properties) < 65_536
    assert isinstance(wire.arrived_snapshot(message.properties, b"j", NAME), Arrived)


@given(
    online=st.booleans(),
    simulated=st.booleans(),
    epoch=st.none() | st.just("e-1"),
    oldest=st.none() | st.integers(0, wire.MAX_SEQ),
)
def test_presence_arrives_as_it_was_told(
    online: bool, simulated: bool, epoch: str | None, oldest: int | None
) -> None:
    message = wire.presence(
        IDENTITY,
        online=online,
        boot="boot",
        version="1.2",
        simulated=simulated,
        epoch=epoch,
        oldest_seq=oldest,
    )
    assert message.retain
    assert wire.arrived_presence(message.payload) == Presence(
        online=online,
        boot="boot",
        version="1.2",
        simulated=simulated,
        epoch=epoch,
        oldest_seq=oldest,
    )


def test_states_and_replies_name_their_place() -> None:
    state = wire.camera_state(IDENTITY, "gate", {"gate": "open"})
    assert (state.topic, state.retain) == (f"{NAME}/camera/gate", True)
    assert json.loads(state.payload) == {"v": 1, "camera": "gate", "gate": "open"}
    reply = wire.reply(IDENTITY, correlation=b"c", number=7, result="refused", why="a: b")
    assert json.loads(reply.payload) == {"v": 1, "number": 7, "result": "refused", "why": "a: b"}
    assert (reply.topic, reply.retain, reply.response_to) == (f"{NAME}/reply", False, b"c")


@given(stored(picture=True))
def test_the_size_of_a_message_is_never_told_too_small(made: Stored) -> None:
    message = wire.snapshot(IDENTITY, wire.LIVE, made)
    least = (
        5 + 2 + len(message.topic) + 2 + 4 + len(message.payload) + 3 + len(message.content_type)
    )
    least += sum(5 + len(n.encode()) + len(v.encode()) for n, v in message.properties)
    assert least <= wire.size(message) <= least + 20


# ---- topics ----


@pytest.mark.parametrize("topic", wire.TOPICS, ids=lambda topic: topic.leaf)
def test_each_topic_of_the_contract_is_understood(topic: wire.Topic) -> None:
    found = wire.address(f"{NAME}/{topic.leaf.replace('{camera}', 'gate')}")
    assert found is not None
    assert found.identity == IDENTITY
    assert found.leaf == topic.leaf.split("/")[0]
    assert found.camera == ("gate" if "{camera}" in topic.leaf else None)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "cctv/v1",
        "cctv/v2/k/rw/rt/b/live",
        "cctv/v1/k/rw/rt/b",
        "cctv/v1/k/rw/rt/b/",
        "cctv/v1/k/rw/rt/b/other",
        "cctv/v1/k/rw/rt/b/live/more",
        "cctv/v1/../rw/rt/b/live",
        "cctv/v1/K/rw/rt/b/live",
        "cctv/v1/k/rw/rt/b/snapshot/live",
        "cctv/v1/k/rw/rt/b/snapshot/live/..",
        "cctv/v1/k/rw/rt/b/snapshot/older/gate",
        "cctv/v1/k/rw/rt/b/camera/a.b",
        "cctv/v1/k/rw/rt/b/camera/a\nb",
        "cctv/v1/k\n/rw/rt/b/live",
        "cctv/v1/" + "k" * 49 + "/rw/rt/b/live",
    ],
)
def test_other_topics_are_not(topic: str) -> None:
    assert wire.address(topic) is None


@given(st.text(max_size=60))
def test_no_topic_at_all_harms_the_decoder(text: str) -> None:
    found = wire.address(f"{NAME}/snapshot/live/{text}")
    assert found is None or (found.camera == text and "/" not in text and "." not in text)


def test_the_page_on_the_wire_shows_the_contract_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
    table = page.split("<!-- topics -->")[1].split("<!-- /topics -->")[0].strip()
    assert table == wire.topics_markdown()


# ---- the hub's watermark ----


@given(
    st.integers(0, wire.MAX_SEQ),
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=20),
)
def test_a_watermark_is_read_as_it_was_written(upto: int, steps: list[tuple[int, int]]) -> None:
    missing, also, last = [], [], 0
    for gap, width in steps:
        first = last + gap + 1
        last = first + width
        if last <= upto:
            missing.append((first, last))
        elif first > upto:
            also.append((first, last))
    mark = Watermark(epoch="epoch", upto=upto, missing=tuple(missing), also=tuple(also))
    assert wire.ack(wire.watermark(mark)) == mark


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"v":1}',
        b'{"v":2,"epoch":"e","upto":1}',
        b'{"v":true,"epoch":"e","upto":1}',
        b'{"v":1,"epoch":"","upto":1}',
        b'{"v":1,"epoch":"a b","upto":1}',
        b'{"v":1,"epoch":"e\\n","upto":1}',
        b'{"v":1,"epoch":"e","upto":-1}',
        b'{"v":1,"epoch":"e","upto":1.0}',
        b'{"v":1,"epoch":"e","upto":true}',
        b'{"v":1,"epoch":"e","upto":9223372036854775808}',
        b'{"v":1,"epoch":"e","upto":' + b"9" * 5000 + b"}",
        b'{"v":1,"epoch":"e","upto":5,"missing":{}}',
        b'{"v":1,"epoch":"e","upto":5,"missing":[[1]]}',
        b'{"v":1,"epoch":"e","upto":5,"missing":[[2,1]]}',
        b'{"v":1,"epoch":"e","upto":5,"missing":[[1,6]]}',
        b'{"v":1,"epoch":"e","upto":5,"missing":[[3,4],[1,2]]}',
        b'{"v":1,"epoch":"e","upto":5,"missing":[[1,2],[2,3]]}',
        b'{"v":1,"epoch":"e","upto":5,"missing":[[1,null]]}',
        b'{"v":1,"epoch":"e","upto":5,"also":{}}',
        b'{"v":1,"epoch":"e","upto":5,"also":[[5,6]]}',
        b'{"v":1,"epoch":"e","upto":5,"also":[[9,9],[7,7]]}',
        b'{"v":1,"v":1,"epoch":"e","upto":5}',
        b'{"v":1,"epoch":"e","upto":NaN}',
        b"[" * 200_000,
        b" " * (wire.MAX_WORD_BYTES + 1),
        json.dumps(
            {"v": 1, "epoch": "e", "upto": 10**6, "missing": [[2 * i, 2 * i] for i in range(1001)]}
        ).encode(),
    ],
)
def test_a_watermark_that_is_none_becomes_a_fault(payload: bytes) -> None:
    fault = wire.ack(payload)
    assert isinstance(fault, Fault)
    assert 0 < len(fault.why) < 200


# ---- orders ----


def claims(**changes: object) -> bytes:
    body: dict[str, object] = {
        "v": 1,
        "kind": "policy",
        "aud": NAME,
        "number": 3,
        "suspended_until": 1_800_000_000,
        "reason_id": "anggaran",
        "reason_en": "budget",
    }
    return json.dumps({**body, **changes}).encode()


def test_a_policy_is_understood() -> None:
    assert wire.policy(claims(), IDENTITY) == Policy(
        number=3, suspended_until=1_800_000_000.0, reason_id="anggaran", reason_en="budget"
    )
    whole = wire.policy(
        claims(
            issued=1_790_000_000,
            snapshot_period_s=600,
            backfill_bytes_per_s=50_000,
            reconnect_window_s=300.5,
        ),
        IDENTITY,
    )
    assert whole == Policy(
        number=3,
        suspended_until=1_800_000_000.0,
        reason_id="anggaran",
        reason_en="budget",
        issued=1_790_000_000.0,
        snapshot_period_s=600.0,
        backfill_bytes_per_s=50_000.0,
        reconnect_window_s=300.5,
    )
    bare = json.dumps({"v": 1, "kind": "policy", "aud": "cctv/v1", "number": 0}).encode()
    assert wire.policy(bare, IDENTITY) == Policy(
        number=0, suspended_until=None, reason_id="", reason_en=""
    )


@pytest.mark.parametrize(
    "audience", [NAME, "cctv/v1/kuningan/rw-03/rt-02", "cctv/v1/kuningan", "cctv/v1"]
)
def test_an_order_may_be_for_a_whole_area(audience: str) -> None:
    assert isinstance(wire.policy(claims(aud=audience), IDENTITY), Policy)


@pytest.mark.parametrize(
    "audience",
    [
        "",
        "cctv",
        "cctv/v1/",
        "cctv/v1/kuningan/rw-0",
        "cctv/v1/other",
        f"{NAME}/x",
        None,
        5,
        [NAME],
    ],
)
def test_an_order_for_others_is_a_fault(audience: object) -> None:
    fault = wire.policy(claims(aud=audience), IDENTITY)
    assert isinstance(fault, Fault)
    assert "aud" in fault.why


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"kind": "command"},
        {"number": -1},
        {"number": "3"},
        {"number": None},
        {"suspended_until": "tomorrow"},
        {"suspended_until": -1},
        {"suspended_until": 1e300},
        {"suspended_until": True},
        {"reason_id": "x" * 401},
        {"reason_id": "two\nlines"},
        {"reason_en": 5},
        {"issued": "now"},
        {"issued": -1},
        {"snapshot_period_s": 0.5},
        {"snapshot_period_s": 90_000},
        {"snapshot_period_s": True},
        {"backfill_bytes_per_s": 0},
        {"backfill_bytes_per_s": "all"},
        {"backfill_bytes_per_s": 10**400},
        {"reconnect_window_s": 9.9},
        {"reconnect_window_s": 3601},
        {"reconnect_window_s": [120]},
    ],
)
def test_a_policy_that_says_what_none_can_say_is_a_fault(changes: dict[str, object]) -> None:
    assert isinstance(wire.policy(claims(**changes), IDENTITY), Fault)
    assert isinstance(wire.policy(b"[]", IDENTITY), Fault)
    assert isinstance(wire.policy(b"{", IDENTITY), Fault)


def test_a_command_is_understood() -> None:
    made = claims(kind="command", name="report", expires=1.5, arguments={"what": "doctor"})
    assert wire.order(made, IDENTITY) == Order(
        number=3, name="report", expires=1.5, arguments={"what": "doctor"}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"name": "Report"},
        {"name": "rm -rf"},
        {"name": "report\n"},
        {"expires": None},
        {"arguments": []},
        {"arguments": {str(number): 1 for number in range(21)}},
        {"aud": "cctv/v1/elsewhere"},
    ],
)
def test_a_command_that_is_none_is_a_fault(changes: dict[str, object]) -> None:
    body = {"kind": "command", "name": "report", "expires": 1, "arguments": {}, **changes}
    assert isinstance(wire.order(claims(**body), IDENTITY), Fault)


# ---- hostile boxes ----


GOOD: Final[dict[str, Json]] = {
    "specversion": "1.0",
    "id": "e-5",
    "source": NAME,
    "type": "cctv.v1.gate.changed",
    "time": "2026-11-21T10:00:00.000Z",
    "epoch": "e",
    "seq": "5",
    "boot": "b",
    "mono": "12.5",
    "rank": 1,
    "clocktrusted": True,
    "data": {"ranges": [[1, 2], [4, 4]]},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "0.3"),
        ("id", "e-6"),
        ("source", "cctv/v1/another/box"),
        ("type", "cctv.v1.Gate"),
        ("type", "other.gate"),
        ("type", None),
        ("time", "2026-11-21"),
        ("time", "٢٠٢٦-11-21T10:00:00Z"),
        ("time", "../../../../etc/passwd"),
        ("epoch", "../x"),
        ("epoch", None),
        ("seq", 5),
        ("seq", "-5"),
        ("seq", "9223372036854775808"),
        ("seq", "5\n"),
        ("boot", "b\x00"),
        ("mono", "nan"),
        ("mono", 5),
        ("rank", 4),
        ("rank", True),
        ("rank", "1"),
        ("clocktrusted", "true"),
        ("subject", "../x"),
        ("subject", 5),
    ],
)
def test_a_record_unlike_the_contract_spoils_its_batch_with_the_place_named(
    name: str, value: Json
) -> None:
    payload = json.dumps([GOOD, {**GOOD, name: value}]).encode()
    fault = wire.arrived_batch(payload, NAME)
    assert isinstance(fault, Fault)
    assert fault.why.startswith(f"batch[1].{name}")


@pytest.mark.parametrize("payload", [b"", b"{}", b"[5]", b"[[", b" " * (wire.MAX_BATCH_BYTES + 1)])
def test_a_batch_that_is_none_is_a_fault(payload: bytes) -> None:
    assert isinstance(wire.arrived_batch(payload, NAME), Fault)


@given(st.text(st.characters(codec=None, categories=["Cs", "Ll"]), max_size=5))
def test_whatever_letters_data_holds_they_can_be_stored(letters: str) -> None:
    for kind in ("gate.changed", *wire.TOMBSTONES):
        item = {**GOOD, "type": f"cctv.v1.{kind}", "data": {letters: letters}}
        arrived = wire.arrived_batch(json.dumps([item]).encode(), NAME)
        assert not isinstance(arrived, Fault)
        assert json.loads(arrived[0].data.encode()) == json.loads(json.dumps({letters: letters}))
        assert wire.accounted_for(arrived[0]) == ()


def test_a_cameras_state_is_bounded_in_depth() -> None:
    def nested(depth: int) -> bytes:
        return b'{"v":1,"a":' + b'{"a":' * depth + b"[]" + b"}" * depth + b"}"

    assert not isinstance(wire.arrived_camera(nested(wire.MAX_DEPTH - 2)), Fault)
    for depth in (wire.MAX_DEPTH - 1, 100, 900, 990, 100_000 // 5):
        assert isinstance(wire.arrived_camera(nested(depth)), Fault)
    for payload in (b"[]", b"", b"{}", b'{"v":2}', b"\xff"):
        assert isinstance(wire.arrived_camera(payload), Fault)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400, "1" + "0" * 5000])
def test_a_number_that_no_double_holds_is_a_fault(number: str) -> None:
    # Python reads it as an int or as infinity, and falls when it meets a time.
    found = wire.arrived_batch(f'[{{"data":{number}}}]'.encode(), wire.prefix(IDENTITY))
    assert found == Fault("batch: not JSON (a number beyond a double)")
    assert isinstance(wire.ack(f'{{"v":1,"epoch":"e","upto":{number}}}'.encode()), Fault)


def test_data_nested_beyond_reason_is_a_fault_not_a_crash() -> None:
    for depth in (100, *range(900, 1010), 3000):
        deep = b"[" * depth + b"]" * depth
        payload = json.dumps([GOOD]).encode().replace(json.dumps(GOOD["data"]).encode(), deep)
        wire.arrived_batch(payload, NAME)
    nested: Json = None
    for _ in range(100_000):
        nested = [nested]
    fault = wire._arrived_event({**GOOD, "data": nested}, NAME)
    assert isinstance(fault, Fault)
    while isinstance(nested, list):  # or freeing it would be the deep recursion
        nested = nested[0]


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        (b"[]", "presence"),
        (b'{"v":1}', "presence.state"),
        (b'{"v":1,"state":"asleep"}', "presence.state"),
        (b'{"v":1,"state":"online","boot":5}', "presence.boot"),
        (b'{"v":1,"state":"online","boot":"b","agent":"1"}', "presence.simulated"),
        (
            b'{"v":1,"state":"online","boot":"b","agent":"1","simulated":true,"epoch":5}',
            "presence.epoch",
        ),
        (
            b'{"v":1,"state":"online","boot":"b","agent":"1","simulated":true,"oldest_seq":-1}',
            "presence.oldest_seq",
        ),
    ],
)
def test_a_presence_that_is_none_is_a_fault(payload: bytes, place: str) -> None:
    fault = wire.arrived_presence(payload)
    assert isinstance(fault, Fault)
    assert fault.why.startswith(place)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rank": "9"}, "rank"),
        ({"clocktrusted": "yes"}, "clocktrusted"),
        ({"meta": "{"}, "meta"),
        ({"seq": "x"}, "seq"),
    ],
)
def test_a_picture_unlike_the_contract_is_a_fault(change: dict[str, str], word: str) -> None:
    made = {**{name: str(value) for name, value in GOOD.items()}, "clocktrusted": "true"}
    made.pop("data")
    good = wire.arrived_snapshot(tuple(made.items()), b"j", NAME)
    assert isinstance(good, Arrived), good
    fault = wire.arrived_snapshot(tuple({**made, **change}.items()), b"j", NAME)
    assert isinstance(fault, Fault)
    assert word in fault.why
    twice = (*made.items(), ("seq", "6"))
    assert isinstance(wire.arrived_snapshot(twice, b"j", NAME), Fault)


@pytest.mark.parametrize(
    ("kind", "data", "ranges"),
    [
        ("journal.thinned", GOOD["data"], ((1, 2), (4, 4))),
        ("privacy.purged", GOOD["data"], ((1, 2), (4, 4))),
        ("gate.changed", GOOD["data"], ()),
        ("journal.thinned", None, ()),
        ("journal.thinned", {"ranges": [[1, 6]]}, ()),
        ("journal.thinned", {"ranges": "all"}, ()),
        ("journal.thinned", {"epoch": GOOD["epoch"], "ranges": [[1, 2]]}, ((1, 2),)),
        ("journal.thinned", {"epoch": "another", "ranges": [[1, 2]]}, ()),
        ("privacy.purged", {"epoch": "another", "ranges": [[1, 2]]}, ()),
    ],
)
def test_only_a_sound_tombstone_accounts_for_what_is_gone(
    kind: str, data: Json, ranges: tuple[tuple[int, int], ...]
) -> None:
    payload = json.dumps([{**GOOD, "type": f"cctv.v1.{kind}", "data": data}]).encode()
    arrived = wire.arrived_batch(payload, NAME)
    assert not isinstance(arrived, Fault)
    assert wire.accounted_for(arrived[0]) == ranges


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        (b'{"number": 5, "name": 1}', 5),
        (b'{"number": true}', None),
        (b'{"number": -1}', None),
        (b"{}", None),
        (b"[5]", None),
        (b"{", None),
    ],
)
def test_the_number_of_an_order_is_found_if_nothing_else_is(payload: bytes, number: int | None):
    assert wire.number_of(payload) == number


@given(st.binary(max_size=300) | JSONS.map(lambda found: json.dumps(found).encode()))
def test_no_bytes_at_all_harm_a_decoder(payload: bytes) -> None:
    wire.ack(payload)
    wire.policy(payload, IDENTITY)
    wire.order(payload, IDENTITY)
    wire.arrived_presence(payload)
    wire.arrived_camera(payload)
    wire.arrived_batch(payload, NAME)
    wire.arrived_batch(b"[" + payload + b"]", NAME)


@given(
    st.dictionaries(st.sampled_from(list(GOOD)), JSONS, max_size=3),
    st.lists(st.tuples(st.sampled_from([*GOOD, "meta"]), st.text(max_size=10)), max_size=14),
)
def test_no_attributes_at_all_harm_a_decoder(
    changes: dict[str, Json], properties: list[tuple[str, str]]
) -> None:
    wire.arrived_batch(json.dumps([{**GOOD, **changes}]).encode(), NAME)
    wire.arrived_snapshot(properties, b"", NAME)


def test_messages_show_no_picture_when_printed() -> None:
    assert "secret" not in repr(Message(topic="t", payload=b"secret"))


# ---- nobody reaches the switch from afar ----


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"privacy": {"switch": "none"}}, "privacy"),
        ({"privacy.purge_s": 0}, "privacy.purge_s"),
        ({"privacy_switch": "none"}, "privacy_switch"),
        ({"Privacy-Switch": 1}, "Privacy-Switch"),
        ({" privacy": 1}, " privacy"),
        ({"privacy\n": 1}, "privacy"),
        ({"privacy." + "x" * 100: 1}, "privacy." + "x" * 56),
        ({"arguments": {"set": [{"deep": {"privacy": None}}]}}, "privacy"),
        ({"name": "privacy"}, "privacy"),
        ({"name": "privacy-off"}, "privacy-off"),
        ({"name": "Privacyoff"}, "Privacyoff"),
    ],
)
def test_an_order_that_names_the_switch_is_found_at_any_depth(body: Json, key: str):
    assert isinstance(body, dict)
    found = wire.reaches_for_privacy(json.dumps({"v": 1, "number": 7, **body}).encode())
    assert found == wire.Reach(key=key, number=7)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason_en": "privacy"},
        {"name": "my-privacy"},
        {"arguments": {"name": "privacy-off", "of": ["privacy"]}},
        {"privacypage": 1},
        {"noprivacy": 1},
        {"name": ["privacy"]},
    ],
)
def test_an_order_that_speaks_of_privacy_without_naming_a_member_is_no_reach(body: Json):
    assert isinstance(body, dict)
    assert wire.reaches_for_privacy(json.dumps({"number": 7, **body}).encode()) is None


@pytest.mark.parametrize("number", [None, "7", -1, True, 2**63, 1.5])
def test_a_reach_without_a_sound_number_is_one_all_the_same(number: Json):
    payload = json.dumps({"number": number, "privacy": 1}).encode()
    assert wire.reaches_for_privacy(payload) == wire.Reach(key="privacy", number=None)


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"[]", b'"privacy"', b'{"privacy":1,"privacy":2}', b"[" * 100_000]
)
def test_what_cannot_be_read_is_left_to_the_decoders(payload: bytes):
    assert wire.reaches_for_privacy(payload) is None


@given(JSONS, st.lists(st.sampled_from(["a", "b", 0]), max_size=6))
def test_no_nesting_hides_a_reach(body: Json, path: list[object]):
    inner: Json = {"privacy": body}
    for step in path:
        inner = [inner] if step == 0 else {str(step): inner}
    assert wire.reaches_for_privacy(json.dumps({"deep": inner}).encode()) is not None


@given(st.binary(max_size=200))
def test_no_bytes_stop_the_search(payload: bytes):
    wire.reaches_for_privacy(payload)
