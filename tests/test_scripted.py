"""The whole link, uplink and wire together, against a broker that answers packet by packet as a script says.

What each reason code is to the wire alone stands in test_hub.py; here: what the box does then, how long it waits, and that no record
is lost over it. Time leaps over silences (tests/support/storm.py), so a quarter of an hour's patience is real to the box and short here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edge_agent.core import wire
from edge_agent.core.messages import FindingKey, Rank
from edge_agent.core.retry import WINDOW_S
from edge_agent.core.settings import Settlement
from edge_agent.core.uplink import Link
from edge_agent.hub import KEEPALIVE_S, MAX_PACKET_BYTES
from tests.support.scripted_broker import (
    CONNECT,
    DISCONNECT,
    PUBLISH,
    SUBSCRIBE,
    Packet,
    ScriptedBroker,
    Step,
    connack,
    goodbye,
    greeting,
    puback,
    silence,
)
from tests.support.storm import CAMERA, IDENTITY, Box, LeapingClock

pytestmark = [pytest.mark.broker, pytest.mark.enable_socket]

NAME = wire.prefix(IDENTITY)
HALF = 0.5  # the uplink's chance: each wait is in the middle of its spread
FIRST_S, SECOND_S, THIRD_S = HALF * WINDOW_S, HALF * 1.875 * WINDOW_S, HALF * 1.875 * WINDOW_S
PATIENT = (0x88, 0x89, 0x97, 0x9C, 0x9D, 0x9F)
KEYS = {
    **dict.fromkeys((0x80, 0x85, 0x86, 0x87, 0x8A, 0x8C), FindingKey.HUB_REFUSED_CLIENT),
    **dict.fromkeys((0x81, 0x82, 0x84), FindingKey.HUB_REFUSED_VERSION),
    **dict.fromkeys((0x90, 0x95, 0x9A, 0x9B), FindingKey.HUB_REFUSED_TOPIC),
    **dict.fromkeys((0x83, *PATIENT), FindingKey.HUB_UNREACHABLE),
}
# All others below 0xA0 mean nothing in a CONNACK, or (0x99) nothing to the library: an answer that is no MQTT.
CODES = range(0x80, 0xA0)


@contextmanager
def box_at(
    broker: ScriptedBroker, clock: LeapingClock, chance: Callable[[], float] = lambda: HALF
) -> Iterator[Box]:
    """A box that settles by the broker's word, and takes its broker for one far away."""
    with Box(broker.port, clock, chance, settle=Settlement.BROKER, loopback=False) as box:
        yield box


def turn_until(box: Box, there: Callable[[], object], what: str) -> None:
    begun_at = box.clock.now()
    while not there():
        assert box.clock.now() - begun_at < 10_000.0, f"{what}: {box.uplink.status()}"
        box.turn()


def turn_for(box: Box, seconds: float) -> None:
    until = box.clock.now() + seconds
    turn_until(box, lambda: box.clock.now() >= until, "time passes")


def seqs(packet: Packet) -> list[int]:
    found = wire.arrived_batch(packet.payload, NAME)
    assert not isinstance(found, wire.Fault), found
    return [record.seq for record in found]


# ---- refused at the door ----


@pytest.mark.parametrize("code", CODES, ids=hex)
def test_a_refused_box_says_why_waits_and_loses_nothing(code: int) -> None:
    clock = LeapingClock()
    refusal = (Step(CONNECT, connack(code)),)
    with ScriptedBroker(*[refusal] * 3, now=clock.now) as broker, box_at(broker, clock) as box:
        box.outbox.put(rank=Rank.STATE)
        turn_until(box, box.uplink.findings, "the finding")
        (trouble,) = box.uplink.findings()
        assert trouble.key is KEYS.get(code, FindingKey.HUB_UNREACHABLE)
        assert (f"0x{code:02X}" if code in KEYS else "Protocol error") in trouble.detail
        box.committed()
        turn_until(box, lambda: box.uplink.status().link is Link.UP, "let in at the fourth knock")
        turn_until(box, lambda: not box.outbox.kept, "all is told")
        assert box.uplink.findings() == frozenset()
    patience_s = WINDOW_S if code in PATIENT else 0.0
    gaps = [
        later - former for former, later in zip(broker.attempts, broker.attempts[1:], strict=False)
    ]
    assert len(gaps) == 3, "no knock in between"
    for gap_s, least_s in zip(gaps, (FIRST_S, SECOND_S, THIRD_S), strict=True):
        assert gap_s >= patience_s + least_s


def test_the_greeting_byte_by_byte() -> None:
    clock = LeapingClock()
    with ScriptedBroker(greeting(), now=clock.now) as broker, box_at(broker, clock) as box:
        box.outbox.put(rank=Rank.STATE)
        turn_until(box, lambda: box.uplink.status().link is Link.UP, "up")
    connect, subscribe, birth = broker.came[:3]

    def text(words: str) -> bytes:
        return struct.pack(">H", len(words)) + words.encode()

    def framed(head: int, body: bytes) -> bytes:
        low, high = len(body) % 128, len(body) // 128
        return bytes([head, low | 0x80, high] if high else [head, low]) + body

    limits = b"\x21" + struct.pack(">H", 20) + b"\x27" + struct.pack(">I", MAX_PACKET_BYTES)
    expiry = b"\x11" + struct.pack(">I", 0)
    head = text("MQTT") + b"\x05" + bytes([0b0010_1110]) + struct.pack(">H", KEEPALIVE_S)
    assert connect.raw[3 : 3 + len(head)] == head, (
        "clean start; a will, QoS 1, retained; no password"
    )
    properties = connect.raw[3 + len(head) :]
    assert properties[0] == len(limits) + len(expiry)
    for each in (expiry, limits[:3], limits[3:]):
        assert each in properties[1 : 1 + properties[0]]
    assert text("kuningan-rw-03-rt-02-box-1") in connect.raw
    assert text(f"{NAME}/presence") in connect.raw
    leaves = b"".join(
        text(f"{NAME}/{leaf}") + bytes([0b0000_1001]) for leaf in wire.ORDERS_FROM_HUB
    )
    assert subscribe.raw == framed(0x82, subscribe.body[:2] + b"\0" + leaves)
    assert birth.raw[0] == 0x33, "QoS 1, retained"
    assert birth.topic == f"{NAME}/presence"
    told = wire.arrived_presence(birth.payload)
    assert not isinstance(told, wire.Fault)
    assert told.online


# ---- thrown out ----

THROWN_OUT = (0x81, 0x82, 0x83, 0x87, 0x8B, 0x8D, 0x8E, 0x93, 0x94, 0x95, 0x96, 0x98, *PATIENT[1:])


@pytest.mark.parametrize("code", THROWN_OUT, ids=hex)
def test_a_box_that_is_thrown_out_with_a_record_under_way_tells_it_again(code: int) -> None:
    clock = LeapingClock()
    thrown_out = (*greeting(), Step(PUBLISH, lambda _: goodbye(code), "/live"))
    with ScriptedBroker(thrown_out, now=clock.now) as broker, box_at(broker, clock) as box:
        turn_until(box, lambda: box.uplink.status().link is Link.UP, "up")
        stored = box.outbox.put(rank=Rank.STATE)
        box.committed()
        turn_until(box, box.uplink.findings, "the finding")
        (trouble,) = box.uplink.findings()
        assert f"0x{code:02X}" in trouble.detail
        assert box.outbox.kept, "an unanswered record is not forgotten"
        turn_until(box, lambda: not box.outbox.kept, "told again")
        assert box.uplink.findings() == frozenset()
    assert len(broker.attempts) == 2
    told = [packet for leaf in ("/live", "/history") for packet in broker.published(leaf)]
    assert [seqs(packet) for packet in told] == [[stored.seq]] * 2
    patience_s = WINDOW_S if code in {*PATIENT, 0x96} else 0.0
    assert broker.attempts[1] - broker.attempts[0] >= patience_s + FIRST_S


@pytest.mark.parametrize(
    "script",
    [
        (Step(CONNECT, None),),
        (Step(CONNECT, silence), Step(DISCONNECT, None)),
        (Step(CONNECT, connack()), Step(SUBSCRIBE, None)),
        (Step(CONNECT, connack()), Step(SUBSCRIBE, silence), Step(DISCONNECT, None)),
        (*greeting()[:2], Step(PUBLISH, None, "/presence")),
        (*greeting()[:2], Step(PUBLISH, silence, "/presence"), Step(DISCONNECT, None)),
        (*greeting(), Step(PUBLISH, None)),
    ],
    ids=["connect", "connack", "subscribe", "suback", "birth", "birth puback", "record"],
)
def test_a_broker_that_hangs_up_or_falls_silent_at_any_step_costs_nothing(
    script: tuple[Step, ...],
) -> None:
    clock = LeapingClock()
    with ScriptedBroker(script, now=clock.now) as broker, box_at(broker, clock) as box:
        for _ in range(3):
            box.outbox.put()
        box.committed()
        turn_until(box, lambda: not box.outbox.kept, "all is told")
        assert box.uplink.findings() == frozenset()
    assert len(broker.attempts) == 2
    assert broker.attempts[1] - broker.attempts[0] >= FIRST_S


# ---- answers for records ----


@pytest.mark.parametrize(
    ("code", "key", "pause_s"),
    [
        (0x10, FindingKey.HUB_NOBODY_LISTENS, 60.0),
        (0x80, FindingKey.HUB_REFUSED_TOPIC, 900.0),
        (0x87, FindingKey.HUB_REFUSED_TOPIC, 900.0),
        (0x97, FindingKey.HUB_REFUSED_TOPIC, 900.0),
        (0x99, FindingKey.HUB_REFUSED_TOPIC, 900.0),
    ],
)
def test_a_record_that_is_not_taken_is_kept_reported_and_told_again_slowly(
    code: int, key: FindingKey, pause_s: float
) -> None:
    clock = LeapingClock()
    codes = [code, code]
    came_at: list[float] = []

    def judge(packet: Packet) -> int:
        if packet.topic.endswith("/presence"):
            return 0
        came_at.append(clock.now())
        return codes.pop(0) if codes else 0

    with (
        ScriptedBroker(greeting(), now=clock.now, judge=judge) as broker,
        box_at(broker, clock) as box,
    ):
        turn_until(box, lambda: box.uplink.status().link is Link.UP, "up")
        box.outbox.put(rank=Rank.STATE)
        box.committed()
        turn_until(box, box.uplink.findings, "the finding")
        assert [trouble.key for trouble in box.uplink.findings()] == [key]
        turn_until(box, lambda: not box.outbox.kept, "taken at the third time")
        assert box.uplink.findings() == frozenset()
    assert len(came_at) == 3
    assert min(came_at[1] - came_at[0], came_at[2] - came_at[1]) >= pause_s
    assert len(broker.attempts) == 1, "no reason to leave"


def test_one_record_that_the_hub_cannot_read_holds_up_no_other() -> None:
    clock = LeapingClock()

    def judge(packet: Packet) -> int:
        if packet.topic.endswith("/presence"):
            return 0
        return 0x99 if 3 in seqs(packet) else 0

    with ScriptedBroker(now=clock.now, judge=judge) as broker, box_at(broker, clock) as box:
        for _ in range(6):
            box.outbox.put()
        box.committed()
        turn_until(box, lambda: box.outbox.kept.keys() == {3}, "all others are told")
        turn_for(box, 1_000.0)
        assert box.outbox.kept.keys() == {3}
        assert [t.key for t in box.uplink.findings()] == [FindingKey.HUB_REFUSED_TOPIC]
    assert len(broker.attempts) == 1


def by_size(limit: int, code: int) -> Callable[[Packet], int]:
    """As mosquitto's message_size_limit: not announced, each larger payload is answered with *code*."""
    return lambda packet: code if len(packet.payload) > limit else 0


def test_a_message_that_is_too_large_for_a_broker_that_had_not_said_so_is_named_and_waits_alone() -> (
    None
):
    clock = LeapingClock()
    with (
        ScriptedBroker(now=clock.now, judge=by_size(3_000, 0x95)) as broker,
        box_at(broker, clock) as box,
    ):
        for _ in range(300):
            box.outbox.put()
        large = box.outbox.picture(CAMERA, size=20_000)
        for _ in range(5):
            box.outbox.picture(CAMERA, size=1_000)
        box.committed()
        turn_until(box, lambda: box.outbox.kept.keys() == {large.seq}, "all others are told")
        (trouble,) = box.uplink.findings()
        assert trouble.key is FindingKey.HUB_TOO_LARGE
        assert trouble.detail.startswith(f"1 kept; seq {large.seq}: 20")
        turn_for(box, 4_000.0)
    assert len(broker.attempts) == 1, "no reason to leave"
    tries = [packet for packet in broker.came if len(packet.payload) > 20_000]
    assert 2 <= len(tries) <= 4, "now and then, twice as long after each"


@pytest.mark.parametrize("code", [0x8C, 0x95, 0xA5, 0xFF], ids=hex)
def test_a_refusal_that_the_library_does_not_know_is_a_refusal_and_no_reason_to_leave(
    code: int,
) -> None:
    clock = LeapingClock()
    codes = [code]

    def judge(packet: Packet) -> int:
        return 0 if packet.topic.endswith("/presence") or not codes else codes.pop()

    with ScriptedBroker(now=clock.now, judge=judge) as broker, box_at(broker, clock) as box:
        box.outbox.put(rank=Rank.STATE)
        box.committed()
        turn_until(box, box.uplink.findings, "the finding")
        (trouble,) = box.uplink.findings()
        assert box.outbox.kept, "a refused record is not forgotten"
        if code == 0x95:
            assert trouble.key is FindingKey.HUB_TOO_LARGE
        else:
            assert (trouble.key, f"0x{code:02X}" in trouble.detail) == (
                FindingKey.HUB_REFUSED_TOPIC,
                True,
            )
        turn_until(box, lambda: not box.outbox.kept, "told again")
        assert box.uplink.findings() == frozenset()
    assert len(broker.attempts) == 1


def test_a_success_that_nobody_knows_is_no_success() -> None:
    clock = LeapingClock()
    odd = (*greeting(), Step(PUBLISH, puback(0x42)))
    with ScriptedBroker(odd, now=clock.now) as broker, box_at(broker, clock) as box:
        turn_until(box, lambda: box.uplink.status().link is Link.UP, "up")
        box.outbox.put(rank=Rank.STATE)
        box.committed()
        turn_until(box, box.uplink.findings, "left")
        assert box.outbox.kept
        turn_until(box, lambda: not box.outbox.kept, "told again")
    assert len(broker.attempts) == 2


def test_a_broker_that_hangs_up_at_one_picture_gets_all_others_and_is_not_asked_for_ever() -> None:
    clock = LeapingClock()

    def judge(packet: Packet) -> int:
        if len(packet.payload) > 20_000:
            raise OSError  # hangs up
        return 0

    with ScriptedBroker(now=clock.now, judge=judge) as broker, box_at(broker, clock) as box:
        for _ in range(300):
            box.outbox.put()
        large = box.outbox.picture(CAMERA, size=20_000)
        for _ in range(20):
            box.outbox.picture(CAMERA, size=1_000)
        box.committed()
        turn_until(box, lambda: box.outbox.kept.keys() == {large.seq}, "all others are told")
        (trouble,) = box.uplink.findings()
        assert trouble.key is FindingKey.HUB_HANGS_UP
        assert trouble.detail.startswith(f"1 kept; seq {large.seq}: 20")
        # Three or four to convict it, and as many if a busy machine lets it share its connection with others once more.
        assert len(broker.attempts) <= 8


# ---- no more than the broker takes ----


@pytest.mark.parametrize(("properties", "most"), [(b"\x21\x00\x01", 1), (b"\x21\x00\x02", 2)])
def test_the_brokers_receive_maximum_is_obeyed_to_the_message(properties: bytes, most: int) -> None:
    assert _most_under_way(properties) <= most


def test_without_a_limit_there_are_more_under_way() -> None:
    assert _most_under_way(b"") > 2


def _most_under_way(properties: bytes) -> int:
    clock = LeapingClock()
    with (
        ScriptedBroker(now=clock.now, properties=properties, counts=True) as broker,
        box_at(broker, clock) as box,
    ):
        for _ in range(10):
            box.outbox.picture(CAMERA, size=1_500)
        for _ in range(30):
            box.outbox.put(rank=Rank.AUDIT)
            box.outbox.put()
        box.committed()
        turn_until(box, lambda: not box.outbox.kept, "all is told")
    assert len(broker.attempts) == 1
    return broker.most_under_way


def test_a_broker_that_takes_less_than_a_picture_gets_the_rest() -> None:
    clock = LeapingClock()
    limit = b"\x27" + struct.pack(">I", 3_000)
    with (
        ScriptedBroker(greeting(limit), now=clock.now) as broker,
        box_at(broker, clock) as box,
    ):
        large = box.outbox.picture(CAMERA, size=5_000)
        small = box.outbox.put()
        box.committed()
        turn_until(box, lambda: small.seq not in box.outbox.kept, "the small one is told")
        turn_for(box, 30.0)
        assert box.outbox.kept.keys() == {large.seq}
        assert [t.key for t in box.uplink.findings()] == [FindingKey.HUB_TOO_LARGE]
    assert max(len(packet.raw) for packet in broker.came) <= 3_000


# ---- words that mean nothing ----


def test_a_session_that_the_broker_claims_to_have_kept_changes_nothing() -> None:
    clock = LeapingClock()
    kept = Step(CONNECT, lambda _: b"\x20\x03\x01\x00\x00")
    with ScriptedBroker((kept,), now=clock.now) as broker, box_at(broker, clock) as box:
        box.outbox.put()
        box.committed()
        turn_until(box, lambda: not box.outbox.kept, "told")
    assert broker.came[0].body[7] & 2, "this box asked for a clean start"


def test_answers_that_come_twice_or_for_nothing_settle_nothing_else() -> None:
    clock = LeapingClock()

    def chatter(packet: Packet) -> bytes:
        other = bytes([packet.mid[0] ^ 0x40, packet.mid[1]])
        return b"".join(b"\x40\x03" + mid + b"\0" for mid in (other, packet.mid, packet.mid, other))

    script = (*greeting(), Step(PUBLISH, chatter), Step(PUBLISH, lambda _: goodbye(0x8B)))
    with ScriptedBroker(script, now=clock.now) as broker, box_at(broker, clock) as box:
        turn_until(box, lambda: box.uplink.status().link is Link.UP, "up")
        box.outbox.put(rank=Rank.STATE)
        box.committed()
        turn_until(box, lambda: not box.outbox.kept, "the first is told")
        second = box.outbox.put(rank=Rank.STATE)
        box.committed()
        turn_until(box, box.uplink.findings, "thrown out")
        assert box.outbox.kept.keys() == {second.seq}
        turn_until(box, lambda: not box.outbox.kept, "the second is told")
    assert len(broker.attempts) == 2
