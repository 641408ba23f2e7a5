"""A faulty line between box and hub: nothing lost, nothing made up, nothing stands still. And: what shows that, can fail."""

from __future__ import annotations

import json
import queue
import random  # noqa: TID251 - seeded: the same each time
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.broker import needs_mosquitto, wait_for
from tests.support.chaos import Chaos, Fault, Kind, Packets, Way, draw
from tests.support.outbox import Outbox
from tests.support.patience import patient
from tests.support.storm import Report, judge, main, storm

pytestmark = [pytest.mark.broker, pytest.mark.enable_socket]

FAULTS = 35


# ---- the storms ----


@needs_mosquitto
@pytest.mark.timeout(600)
def test_no_fault_of_the_line_loses_a_record_or_makes_the_box_stand_still(tmp_path: Path) -> None:
    report = storm(broker="mosquitto", faults=FAULTS, seed=7, folder=tmp_path)
    assert report.good, "\n".join(report.why)
    assert report.faults == sum(report.kinds.values()) == FAULTS
    assert report.connections > 1
    assert report.duplicates, "a storm in which nothing comes twice shows little"


@pytest.mark.timeout(600)
def test_nor_behind_another_broker(tmp_path: Path) -> None:
    report = storm(broker="iotcore", faults=12, seed=8, folder=tmp_path)
    assert report.good, "\n".join(report.why)
    assert report.faults == 12


@needs_mosquitto
def test_a_storm_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--faults", "2", "--seed", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["faults"], found["wedges"], found["lost"], found["foreign"]) == (2, 0, 0, 0)


@needs_mosquitto
@pytest.mark.timeout(600)
def test_a_line_that_hangs_up_at_one_message_each_time_holds_up_no_other(tmp_path: Path) -> None:
    report = storm(
        broker="mosquitto",
        faults=4,
        seed=3,
        folder=tmp_path,
        only=lambda fault: fault.kind is Kind.HANGS_UP,
    )
    assert report.good, "\n".join(report.why)
    assert report.kinds == {"hangs_up": 4}
    assert report.connections >= 4 * 3, "it takes three to be sure"


# ---- what shows that can fail ----


@needs_mosquitto
@pytest.mark.timeout(600)
def test_a_box_that_is_more_patient_than_a_minute_counts_as_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.core.window.WEDGED_S", 200.0)
    monkeypatch.setattr("edge_agent.hub.KEEPALIVE_S", 2_000)
    report = storm(
        broker="mosquitto",
        faults=6,  # one that strikes a connection as it is made is over sooner
        seed=9,
        folder=tmp_path,
        only=lambda fault: fault.kind is Kind.BLACKHOLE and not fault.in_greeting,
    )
    assert report.wedges, report
    assert not report.good


def hub_with(folder: Path, rows: list[tuple[str, int, str, str, str | None]]) -> None:
    with closing(sqlite3.connect(folder / "hub.sqlite")) as sql, sql:
        sql.execute("CREATE TABLE record (epoch, seq, kind, data, picture)")
        sql.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)


@pytest.mark.parametrize(
    ("change", "lost", "foreign"),
    [
        (lambda rows: rows, 0, 0),
        (lambda rows: rows[:-1], 1, 0),
        (lambda rows: [*rows, ("epoch-1", 99, "box.metrics", '{"n":1}', None)], 0, 1),
        (lambda rows: [("epoch-2", *rows[0][1:]), *rows[1:]], 1, 1),
        (lambda rows: [(*rows[0][:3], '{"n":7}', None), *rows[1:]], 0, 1),
        (lambda rows: [(*rows[0][:4], None), *rows[:0:-1]][:3], 0, 0),
    ],
    ids=["as it is", "one missing", "one too many", "another epoch", "other words", "other order"],
)
def test_what_is_lost_or_made_up_is_counted(
    tmp_path: Path,
    change: Callable[
        [list[tuple[str, int, str, str, str | None]]], list[tuple[str, int, str, str, str | None]]
    ],
    lost: int,
    foreign: int,
) -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.put(data=json.dumps({"n": number}).encode())
    rows: list[tuple[str, int, str, str, str | None]] = [
        (epoch, seq, stored.kind, stored.data.decode(), None)
        for (epoch, seq), stored in outbox.accepted.items()
    ]
    hub_with(tmp_path, change(rows))
    report = Report(broker="none", seed=0)
    judge(report, outbox, tmp_path, unsettled=0)
    assert (report.lost, report.foreign) == (lost, foreign)
    judge(report, outbox, tmp_path, unsettled=2)
    assert report.lost == max(lost, 2)


def test_a_picture_with_other_bytes_is_made_up(tmp_path: Path) -> None:
    outbox = Outbox()
    stored = outbox.picture("gate")
    (tmp_path / "one.jpg").write_bytes(stored.jpeg or b"")
    hub_with(tmp_path, [(stored.epoch, stored.seq, stored.kind, '{"n":1}', "one.jpg")])
    for changed, foreign in ((b"", 0), (b"x", 1)):
        with (tmp_path / "one.jpg").open("ab") as file:
            file.write(changed)
        report = Report(broker="none", seed=0)
        judge(report, outbox, tmp_path, unsettled=0)
        assert report.foreign == foreign


# ---- the line ----

CONNECT = b"\x10\x02ab"
PUBLISH = b"\x32\x03one"
PUBACK = b"\x40\x02\x00\x01"


@pytest.mark.parametrize("lump", [1, 2, 3, 7, 1000])
def test_packets_are_told_apart_however_they_come(lump: int) -> None:
    long = b"\x32\xac\x02" + b"p" * 300
    sent = [CONNECT, long, b"\xc0\x00", PUBACK, long, PUBLISH]
    stream, packets = b"".join(sent), Packets()
    found = []
    for begin in range(0, len(stream), lump):
        found += packets.feed(stream[begin : begin + lump])
    assert found == sent


class Ends:
    """A box and a broker that are only sockets; what each got, and whether it heard the end."""

    def __init__(self, box: socket.socket, broker: socket.socket, line: Chaos) -> None:
        self.box, self.broker, self.line = box, broker, line

    def strike(self, kind: Kind, way: Way, after: int = 0) -> None:
        self.line.arm(Fault(kind, way, after, False, 1))

    def ends(self, end: socket.socket) -> bool:
        with suppress(ConnectionResetError):
            return end.recv(1) == b""
        return True


@pytest.fixture
def ends() -> Iterator[Ends]:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        Chaos(server.getsockname()[1]) as line,
        closing(socket.create_connection(("127.0.0.1", line.port), timeout=patient(10.0))) as box,
    ):
        broker, _ = server.accept()
        broker.settimeout(patient(10.0))
        with closing(broker):
            # The broker's end is there a moment before the line counts as one: a fault armed in between would find nothing.
            wait_for(lambda: line.connections == 1, "the line is up")
            yield Ends(box, broker, line)


def got(end: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = end.recv(count - len(found))
        assert part, found
        found += part
    return found


def test_a_whole_line_passes_everything(ends: Ends) -> None:
    ends.box.sendall(CONNECT + PUBLISH)
    assert got(ends.broker, 9) == CONNECT + PUBLISH
    ends.broker.sendall(PUBACK)
    assert got(ends.box, 4) == PUBACK
    ends.box.shutdown(socket.SHUT_WR)
    assert ends.ends(ends.broker)
    ends.broker.sendall(PUBACK)
    assert got(ends.box, 4) == PUBACK, "half an end is half an end"


@pytest.mark.parametrize("way", Way)
def test_a_cut_ends_both_ends_at_the_border_of_a_packet(ends: Ends, way: Way) -> None:
    ends.strike(Kind.CUT, way, after=1)
    source, sink = (ends.box, ends.broker) if way is Way.UP else (ends.broker, ends.box)
    source.sendall(CONNECT)
    assert got(sink, 4) == CONNECT
    source.sendall(CONNECT)
    assert ends.ends(ends.box)
    assert ends.ends(ends.broker)


def test_a_hole_swallows_both_ways_and_tells_nobody(ends: Ends) -> None:
    ends.strike(Kind.BLACKHOLE, Way.UP)
    ends.box.sendall(CONNECT)
    wait_for(lambda: not ends.line.armed, "it struck")
    ends.box.sendall(PUBLISH)
    ends.broker.sendall(PUBACK)
    for end in (ends.box, ends.broker):
        end.settimeout(0.1)
        with pytest.raises(TimeoutError):
            end.recv(1)
    ends.broker.settimeout(patient(10.0))
    ends.box.close()
    assert ends.ends(ends.broker), "the line itself ends with its box"


def test_a_hole_of_one_way_leaves_the_other(ends: Ends) -> None:
    ends.strike(Kind.ONE_WAY, Way.UP)
    ends.box.sendall(CONNECT)
    wait_for(lambda: not ends.line.armed, "it struck")
    ends.broker.sendall(PUBACK)
    assert got(ends.box, 4) == PUBACK
    ends.broker.settimeout(0.1)
    with pytest.raises(TimeoutError):
        ends.broker.recv(1)


def test_half_a_close_leaves_the_other_half(ends: Ends) -> None:
    ends.strike(Kind.HALF_CLOSE, Way.UP)
    ends.box.sendall(CONNECT)
    assert ends.ends(ends.broker)
    ends.broker.sendall(PUBACK)
    assert got(ends.box, 4) == PUBACK


@pytest.mark.parametrize("kind", [Kind.SLOW, Kind.DELAY])
def test_what_is_late_comes_whole(ends: Ends, kind: Kind) -> None:
    long = b"\x32\xac\x02" + b"p" * 300
    ends.strike(kind, Way.UP)
    ends.box.sendall(long + PUBLISH)
    assert got(ends.broker, len(long) + 5) == long + PUBLISH


def test_one_answer_is_lost_or_comes_twice(ends: Ends) -> None:
    second = b"\x40\x02\x00\x02"
    ends.strike(Kind.LOSE_PUBACK, Way.DOWN, after=1)
    ends.broker.sendall(PUBACK + PUBLISH + second + PUBACK)
    assert got(ends.box, 13) == PUBACK + PUBLISH + PUBACK
    ends.strike(Kind.DOUBLE_PUBACK, Way.DOWN)
    ends.broker.sendall(PUBLISH + second)
    assert got(ends.box, 13) == PUBLISH + second + second


def test_one_message_is_lost_or_comes_twice(ends: Ends) -> None:
    ends.strike(Kind.LOSE_PUBLISH, Way.UP)
    ends.box.sendall(CONNECT + PUBLISH + PUBACK)
    assert got(ends.broker, 8) == CONNECT + PUBACK
    ends.strike(Kind.DOUBLE_PUBLISH, Way.DOWN)
    ends.broker.sendall(PUBLISH)
    assert got(ends.box, 10) == PUBLISH * 2


def test_garbage_comes_in_between(ends: Ends) -> None:
    ends.strike(Kind.GARBAGE, Way.DOWN)
    ends.broker.sendall(PUBACK)
    ends.broker.shutdown(socket.SHUT_WR)
    come: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    reader = threading.Thread(
        target=lambda: come.put(b"".join(iter(lambda: ends.box.recv(99), b"")))
    )
    reader.start()
    found = come.get(timeout=patient(10.0))
    reader.join(10.0)
    assert found.endswith(PUBACK)
    assert len(found) > len(PUBACK)


def test_a_message_that_is_hung_up_at_is_so_each_time_until_the_line_relents(ends: Ends) -> None:
    def record(number: int) -> bytes:
        return b'\x32\x08"n":%d}' % number + b"x"

    ends.strike(Kind.HANGS_UP, Way.UP)
    ends.box.sendall(PUBLISH)
    assert got(ends.broker, 5) == PUBLISH
    ends.box.sendall(record(77))
    assert ends.ends(ends.box)
    assert ends.ends(ends.broker)
    seen = [ends.line.hangs_up]
    ends.line.relent()
    assert [*seen, ends.line.hangs_up] == [True, False]


def test_a_fault_of_the_greeting_cuts_first_and_counts_on_the_next_connection(ends: Ends) -> None:
    ends.line.arm(Fault(Kind.LOSE_PUBACK, Way.DOWN, 0, True, 1))
    assert ends.ends(ends.box)
    assert ends.line.armed


def test_every_fault_is_drawn_and_a_seed_draws_the_same() -> None:
    drawn = [draw(random.Random(seed)) for seed in range(500)]
    assert {fault.kind for fault in drawn} == set(Kind)
    assert {fault.way for fault in drawn} == set(Way)
    assert drawn == [draw(random.Random(seed)) for seed in range(500)]
