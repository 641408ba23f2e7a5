"""A box behind a faulty line: whatever the line does, nothing is lost, nothing is made up, and nothing stands still.

    python -m tests.chaos [--faults 1000] [--seed 1] [--broker mosquitto|iotcore] [--json]

The box is the product's own uplink and link around a journal in memory; the hub is the product's own receiver, behind a real broker;
between box and broker is the line of tests/support/chaos.py. Sockets, threads, packets and the hub's disk are real. Time is not:
the clock of box and hub, the library's keepalive included, runs with the kernel's while anything comes, and leaps ahead while the box
hears nothing: up to 2 s for each 20 ms of silence, more if nobody owes the box a word; never past the moment for which the uplink
wants to be woken. So a minute's patience takes some 0.7 s, and a delay of 0.2 s on the line is felt as up to 20 s.

A seed gives the same faults and records each time; which packet a fault meets depends on the machine's threads as well.
For each fault: records (now and then a picture) come in, the fault strikes once at a border between packets, and the story waits until
the hub has acknowledged everything. A line that hangs up at one message each time it comes does so until the box has put it aside, with a
finding, and all else is acknowledged; then it relents.
- wedge: records wait, and for more than 60 s (5 s of measuring error, and what a thin line may need for the bytes under way, aside) the link did nothing at all:
  no answer, no word of the hub, no new attempt (a connection, or a message while the broker owes nothing: a hub that was silent for a
  minute and a line that dies at the very next word are two minutes, and no wedge). Or a fault after which it is not all settled within `GIVEN_UP_S`.
- lost: accepted by the journal, and not at the hub in the end, or never settled.
- foreign: at the hub under an (epoch, seq) that the journal never gave, or with other words.
- duplicates: came to the hub twice, and were recognised by (epoch, seq).
Exit code 1 if any of the first three is not 0. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import math
import queue
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from edge_agent.clock import SystemClock
from edge_agent.core import wire
from edge_agent.core.messages import (
    Command,
    Connect,
    Delivered,
    Disconnect,
    Event,
    Fetch,
    FindingKey,
    HubMessage,
    LinkDown,
    LinkUp,
    Rank,
    Send,
    Settle,
)
from edge_agent.core.settings import Hub, Identity, Settlement
from edge_agent.core.suspects import CONVICT_S
from edge_agent.core.uplink import Link, Uplink
from edge_agent.core.window import SLOWEST_BYTES_PER_S, WEDGED_S
from edge_agent.hub import HubLink
from edge_agent.receiver import Receiver
from edge_agent.shutter import Shutter
from tests.support.broker import iotcore, mosquitto
from tests.support.chaos import Chaos, Fault, draw
from tests.support.outbox import Outbox
from tests.support.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

IDENTITY: Final = Identity(kelurahan="kuningan", rw="rw-03", rt="rt-02", box="box-1")
CAMERA: Final = "gate"
SILENCE_S: Final = 0.02  # of the kernel's time: then the clock leaps
LEAP_S: Final = (0.25, 2.0)  # the first leap of a silence, doubled up to the longest
TAKE_S: Final = (
    0.05  # how soon the hub sees that the clock has leapt; it sleeps by the kernel's time
)
GIVEN_UP_S: Final = 900.0
NEWS_S: Final = 60.0
_ASIDE: Final = frozenset({FindingKey.HUB_HANGS_UP, FindingKey.HUB_TOO_LARGE})
# How exactly a spell is measured: the keepalive takes two looks at the clock, each up to a leap late.
MEASURE_S: Final = 2 * LEAP_S[1] + 1.0
LOOK_S: Final = 0.5  # of the kernel's time: a dial under way looks at no clock
REAL_S: Final = 60.0  # for one fault, by the kernel's clock: then this harness itself is stuck


class LeapingClock(SystemClock):
    """The kernel's clock, and what was leapt over. Any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._leapt_s = 0.0

    def now(self) -> float:
        with self._lock:
            return super().now() + self._leapt_s

    def leap(self, seconds: float) -> None:
        """Time flies."""
        with self._lock:
            self._leapt_s += seconds


class Box:
    """The product's uplink and link around a journal in memory; the caller's thread is the owner thread."""

    def __init__(
        self,
        port: int,
        clock: LeapingClock,
        chance: Callable[[], float],
        *,
        settle: Settlement = Settlement.WATERMARK,
        loopback: bool = True,
    ) -> None:
        """*chance*: the uplink's; *loopback*: whether it is to take its broker for one on this box."""
        self.clock = clock
        self.outbox = Outbox()
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.uplink = Uplink(
            IDENTITY,
            settle=settle,
            loopback=loopback,
            boot="boot-1",
            version="0",
            simulated=True,
            random=chance,
        )
        shutter = Shutter()
        shutter.open_for(frozenset({CAMERA}), press=shutter.presses)
        self.link = HubLink(
            Hub(host="127.0.0.1", port=port, tls=None),
            IDENTITY,
            shutter=shutter,
            post=self.events.put,
            clock=clock,
            credentials=None,
            simulated=True,
        )
        self.longest_s = 0.0
        self.wedges: list[str] = []
        self._sign_at = clock.now()
        self._owed = 0  # messages that the broker has not answered
        self._flying = 0  # bytes under way in this silence, at the most
        self._leap_s = LEAP_S[0]

    def __enter__(self) -> Box:
        self.link.__enter__()
        self.committed()
        at = self.clock.now()
        self._perform(self.uplink.set_open_cameras(frozenset({CAMERA}), at))
        self._perform(self.uplink.start(at))
        return self

    def __exit__(self, *why: object) -> None:
        self._perform(self.uplink.stop(self.clock.now()))
        self.link.close()

    def take(self, count: int, chance: random.Random) -> None:
        """So many new records, of all kinds."""
        if not self.outbox.kept:
            self._sign_at = self.clock.now()  # nothing waited until now
        for _ in range(count):
            number = self.outbox.last_seq + 1
            if chance.random() < 0.05:
                self.outbox.picture(CAMERA, size=chance.randrange(500, 9_000))
                continue
            rank = chance.choice((Rank.METRIC, Rank.STATE, Rank.AUDIT))
            self.outbox.put(rank=rank, data=f'{{"n":{number}}}'.encode())
        self.committed()

    def committed(self) -> None:
        """Tell the uplink what the journal has taken."""
        self._tell(self.outbox.committed())

    @property
    def all_aside(self) -> bool:
        """Whether all that is kept was put aside; there may be nothing."""
        return len(self.outbox.kept) <= self.uplink.status().parked

    def settled_within(self, limit_s: float, *, but_for: Chaos | None = None) -> bool:
        """Run the loop until the hub has acknowledged everything; whether that came within *limit_s* of the leaping clock.

        *but_for*: what was put aside because this line ends the connection at it may be left. It is found guilty by what is
        answered beside it, so as long as the line does that a record comes each minute.
        """
        begun_at, begun = self.clock.now(), time.monotonic()
        news_at = begun_at + NEWS_S
        while self.outbox.kept:
            keys = {trouble.key for trouble in self.uplink.findings()}
            if but_for is not None and self.all_aside and not keys.isdisjoint(_ASIDE):
                return True
            if but_for is not None and but_for.hangs_up and self.clock.now() >= news_at:
                self.outbox.put()
                self.committed()
                news_at = self.clock.now() + NEWS_S
            self.turn()
            if self.clock.now() - begun_at > limit_s:
                return False
            assert time.monotonic() - begun < patient(REAL_S), (
                f"time stands still: {self.uplink.status()}"
            )
        return True

    def turn(self) -> None:
        """One event; or, in a silence, one leap, and whatever is due."""
        self._turn(aside=self.all_aside)

    def _turn(self, *, aside: bool) -> None:
        try:
            event = self.events.get(timeout=SILENCE_S)
        except queue.Empty:
            now, due = self.clock.now(), self.uplink.deadline()
            if now < due:
                self.clock.leap(due - now if self._nobody_owes() else min(self._leap_s, due - now))
                self._leap_s = min(2 * self._leap_s, LEAP_S[1])
                self._link_looks()
        else:
            self._leap_s = LEAP_S[0]
            self._tell(event)
        self._flying = max(self._flying, self.uplink.status().in_flight_bytes)
        if aside:
            self._sign_at = self.clock.now()  # nothing waited but for its own time
        if self.clock.now() >= self.uplink.deadline():
            self._perform(self.uplink.tick(self.clock.now()))

    def _link_looks(self) -> None:
        """Let the link see what the clock shows now: or else, on a busy machine, the next leap makes it late, and late looks wedged."""
        for _ in range(2):  # the round that is under way may have looked before
            seen, until = self.link._round_at, time.monotonic() + LOOK_S
            self.link._wake()  # it sleeps by the kernel's time
            while self.link._round_at == seen and time.monotonic() < until:
                time.sleep(0.0005)

    def _nobody_owes(self) -> bool:
        """Whether the box waits for a moment of its own, and for no word of anybody."""
        status = self.uplink.status()
        if status.link is Link.UP:
            return not (status.in_flight or status.awaiting) and self.uplink.deadline() < math.inf
        return status.link is Link.WAITING

    def _tell(self, event: Event) -> None:
        at = self.clock.now()
        if isinstance(event, Delivered | LinkUp | LinkDown | HubMessage):
            self._sign(at)
        if isinstance(event, HubMessage):
            mark = wire.ack(event.payload)
            if isinstance(mark, wire.Watermark):
                self._perform(self.uplink.on(mark, at))
            return
        self._perform(self.uplink.on(event, at))

    def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Fetch():
                    self.events.put(self.outbox.fetch(command))
                case Settle():
                    self.outbox.settle(command)
                case Connect():
                    self._sign(self.clock.now())
                    self.link.connect(command)
                case Disconnect():
                    self._sign(self.clock.now())
                    self.link.disconnect(command)
                case Send():
                    if not self._owed:  # it owed and was owed nothing, and tries again by itself
                        self._sign(self.clock.now())
                    self._owed += 1
                    self.link.send(command)
                case _:
                    raise AssertionError(command)
        self._owed = self.uplink.status().in_flight

    def _sign(self, at: float) -> None:
        """The link did something: how long had it done nothing, while records waited?"""
        spell_s, self._sign_at = at - self._sign_at, at
        flying, self._flying = self._flying, 0
        if not self.outbox.kept:
            return
        self.longest_s = max(self.longest_s, spell_s)
        if spell_s > WEDGED_S + MEASURE_S + flying / SLOWEST_BYTES_PER_S:
            self.wedges.append(f"nothing for {spell_s:.0f} s: {self.uplink.status()}")


@dataclass(kw_only=True)
class Report:
    """What came of it. Seconds are of the leaping clock, but for `took_s`; `back_s`: from a fault until all is settled."""

    broker: str
    seed: int
    faults: int = 0
    wedges: int = 0
    lost: int = 0
    foreign: int = 0
    duplicates: int = 0
    records: int = 0
    connections: int = 0
    packets: int = 0
    longest_silence_s: float = 0.0
    back_s_p50: float = 0.0
    back_s_p99: float = 0.0
    back_s_max: float = 0.0
    clock_s: float = 0.0
    took_s: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether the line harmed nothing."""
        return not (self.wedges or self.lost or self.foreign)


def storm(
    *,
    broker: str,
    faults: int,
    seed: int,
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
    only: Callable[[Fault], bool] = lambda _: True,
) -> Report:
    """So many faults, one after the other, on one box."""
    began, chance, clock = time.monotonic(), random.Random(seed), LeapingClock()
    began_at = clock.now()
    report = Report(broker=broker, seed=seed)
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("edge_agent.receiver.service.TAKE_S", TAKE_S)
        patch.setattr("paho.mqtt.client.time_func", clock.now)
        port = stack.enter_context(_broker(broker, folder / "broker"))
        hub = stack.enter_context(
            Receiver(host="127.0.0.1", port=port, folder=folder / "hub", clock=clock)
        )
        line = stack.enter_context(Chaos(port, now=clock.now))
        box = stack.enter_context(Box(line.port, clock, chance.random))
        back_s = []
        while report.faults < faults:
            fault = draw(chance)
            if not only(fault):
                continue
            line.arm(fault)
            if not _strikes(line, box, chance):
                report.wedges += 1
                report.why.append(f"{fault}: not all settled: {box.uplink.status()}")
                break
            report.faults += 1
            back_s.append(clock.now() - line.struck_at)
            if report.faults % 50 == 0:
                tell(f"{report.faults} faults, {line.connections} connections")
        report.records = len(box.outbox.accepted)
        report.wedges += len(box.wedges)
        report.why += box.wedges
        report.longest_silence_s = round(box.longest_s, 1)
        report.connections, report.packets = line.connections, line.packets
        counted = collections.Counter(fault.kind.value for fault in line.struck)
        report.kinds = dict(sorted(counted.items()))
        unsettled = len(box.outbox.kept)
    report.duplicates = hub.summary().duplicates
    judge(report, box.outbox, folder / "hub", unsettled)
    if back_s:
        report.back_s_p50 = round(statistics.median(back_s), 1)
        report.back_s_p99 = round(sorted(back_s)[int(0.99 * (len(back_s) - 1))], 1)
        report.back_s_max = round(max(back_s), 1)
    report.clock_s = round(clock.now() - began_at, 1)
    report.took_s = round(time.monotonic() - began, 1)
    return report


def _strikes(line: Chaos, box: Box, chance: random.Random) -> bool:
    """Let records come until the fault has struck, and then until all is settled; False if that never comes about."""
    while True:
        box.take(chance.choice((1, 2, 5, 30)), chance)
        if not box.settled_within(GIVEN_UP_S, but_for=line):
            return False
        if line.hangs_up:
            line.relent()
            if not box.settled_within(GIVEN_UP_S + CONVICT_S):
                return False
        if not line.armed:
            return True


def judge(report: Report, outbox: Outbox, folder: Path, unsettled: int) -> None:
    """Compare what the hub has on its disk with what the journal accepted."""
    with contextlib.closing(sqlite3.connect(folder / "hub.sqlite")) as sql:
        rows = sql.execute("SELECT epoch, seq, kind, data, picture FROM record").fetchall()
    found = {(epoch, seq): (kind, data, picture) for epoch, seq, kind, data, picture in rows}
    report.lost = max(unsettled, len(outbox.accepted.keys() - found.keys()))
    for key, (kind, data, picture) in found.items():
        stored = outbox.accepted.get(key)
        same = stored is not None and (kind, json.loads(data)) == (
            stored.kind,
            json.loads(stored.data),
        )
        if same and stored is not None and stored.jpeg is not None:
            same = picture is not None and (folder / picture).read_bytes() == stored.jpeg
        if not same:
            report.foreign += 1
            report.why.append(f"foreign: {key} {kind} {data}")


@contextlib.contextmanager
def _broker(name: str, folder: Path) -> Iterator[int]:
    if name == "iotcore":
        with iotcore(folder) as port:
            yield port
    else:
        with mosquitto(folder) as broker:
            yield broker.port


def main(words: Sequence[str] | None = None) -> int:
    """Run a storm; 0 if it did no harm."""
    parser = argparse.ArgumentParser(description="seeded faults on the line between box and hub")
    parser.add_argument("--faults", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broker", choices=("mosquitto", "iotcore"), default="mosquitto")
    parser.add_argument("--json", action="store_true", help="nothing but the JSON object")
    given = parser.parse_args(words)

    def tell(line: str) -> None:
        if not given.json:
            print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        report = storm(
            broker=given.broker,
            faults=given.faults,
            seed=given.seed,
            folder=Path(folder),
            tell=tell,
        )
    print(json.dumps(asdict(report)))
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
