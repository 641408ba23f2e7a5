"""Ten thousand boxes that lost one hub at once: how soon they are back, and how much of the hub's work they waste.

    python -m tests.bench.herd [--boxes 10000] [--real 2000] [--seed 1] [--json]

Each box is the product's own `core/uplink.py`, asked in simulated time; beside it, in the same run, the policies of others (their
constants are public: paho-mqtt 2 waits 1 s, doubled up to 120 s, no jitter; thin-edge.io doubles from 0 up to 600 s, each +-50 %;
mosquitto's bridge draws from 5 s to 30 s, decorrelated).
The hub does 100 handshakes a second, in the order in which they come; a client gives up after 5 s, and a handshake that the hub does
for a client which has gone is wasted. While the hub restarts, it refuses at once; while the network is out, an attempt takes 5 s.
`t99_s`: from the moment at which the hub can be reached again (or the suspension ends) until 99 % are connected.
`ideal_s`: 99 % of the boxes at the hub's own rate. `wasted_share`: wasted handshakes of all that the hub did.
Then the model is checked with real ones: 2,000 TCP connections with real MQTT 5 CONNECTs, timed by 2,000 real uplinks, to a real
mosquitto behind a door that lets 100 a second in; the window is scaled to their number, as a hub would set it.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import itertools
import json
import math
import random
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from edge_agent.core.messages import Connect, FindingKey, LinkDown, LinkUp
from edge_agent.core.retry import WINDOW_S
from edge_agent.core.settings import Identity, Settlement
from edge_agent.core.uplink import Link, Uplink
from tests.support.broker import Mosquitto, mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RATE_PER_S: Final = 100.0
PATIENCE_S: Final = 5.0
END_S: Final = 3_600.0  # who is not back by then never is
STEADY_S: Final = 7_200.0  # how long all were connected before

UP: Final = LinkUp(receive_maximum=20, maximum_packet_bytes=None, simulated_peer=False)
DOWN: Final = LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="timed out")


class Client(Protocol):
    """One box's policy: when it tries."""

    def lost(self, at: float) -> float:
        """The connection went; when it tries next."""
        ...

    def failed(self, at: float) -> float:
        """An attempt failed; when it tries next."""
        ...

    def suspension_over(self, at: float) -> float:
        """What the city allows again; when it tries next."""
        ...


class Product:
    """A box as it is shipped."""

    def __init__(self, chance: random.Random, *, window_s: float = WINDOW_S, at: float = 0.0):
        self._uplink = Uplink(
            Identity(kelurahan="k", rw="1", rt="1", box="b"),
            settle=Settlement.WATERMARK,
            loopback=False,
            boot="boot",
            version="0",
            simulated=True,
            random=chance.random,
            window_s=window_s,
        )
        self._uplink.start(at)
        self._try(at)
        self._uplink.on(UP, at)

    def _try(self, at: float) -> float:
        """Up to the next attempt."""
        while True:
            at = max(at, self._uplink.deadline())
            if any(isinstance(command, Connect) for command in self._uplink.tick(at)):
                return at

    def lost(self, at: float) -> float:
        self._uplink.on(DOWN, at)
        return self._try(at)

    def failed(self, at: float) -> float:
        return self.lost(at)

    def suspended(self, at: float) -> None:
        """The city wants no traffic."""
        self._uplink.suspend(at)
        self._uplink.tick(self._uplink.deadline())  # it has said so, and leaves
        self._uplink.on(LinkDown(key=None, detail=""), at)

    def suspension_over(self, at: float) -> float:
        self._uplink.resume(at)
        return self._try(at)

    @property
    def link(self) -> Link:
        return self._uplink.status().link

    def connected(self, at: float) -> None:
        """The attempt was good."""
        self._uplink.on(UP, at)


@dataclass(slots=True)
class Peer:
    """Somebody else's policy: a delay from how often it failed, and the delay before."""

    delay: Callable[[int, float], float]
    failures: int = 0
    last_s: float = 0.0

    def lost(self, at: float) -> float:
        return self.failed(at)

    def failed(self, at: float) -> float:
        self.last_s = self.delay(self.failures, self.last_s)
        self.failures += 1
        return at + self.last_s

    def suspension_over(self, at: float) -> float:
        return self.failed(at)


def paho(_: random.Random) -> Client:
    return Peer(lambda failures, _last: min(120.0, 2.0**failures))


def thin_edge(chance: random.Random) -> Client:
    def delay(failures: int, _: float) -> float:
        base = 0.0 if failures == 0 else min(600.0, 2.0 ** (failures - 1))
        return base * chance.uniform(0.5, 1.5)

    return Peer(delay)


def bridge(chance: random.Random) -> Client:
    return Peer(lambda _, last: min(30.0, chance.uniform(5.0, max(5.0, last) * 3)))


MAKERS: Final[dict[str, Callable[[random.Random], Client]]] = {
    "product": Product,
    "paho": paho,
    "thin-edge": thin_edge,
    "mosquitto bridge": bridge,
}


@dataclass(slots=True)
class Hub:
    """One queue of handshakes, done in order; `until` = when the last one that came will be done."""

    until: float = 0.0
    done: int = 0
    wasted: int = 0

    def ask(self, at: float) -> float | None:
        """Whether a handshake asked for at *at* is done in time, and when."""
        begins = max(self.until, at)
        ends = begins + 1 / RATE_PER_S
        if begins - at > PATIENCE_S:
            # It stands in the listen queue and goes; a hub that reads the queue does its handshake all the same.
            if begins - at <= 2 * PATIENCE_S:
                self.until, self.done, self.wasted = ends, self.done + 1, self.wasted + 1
            return None
        self.until, self.done = ends, self.done + 1
        if ends - at > PATIENCE_S:
            self.wasted += 1
            return None
        return ends


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a herd came back."""

    t99_s: float
    wasted_share: float
    peak_per_s: int


def play(
    maker: Callable[[random.Random], Client],
    *,
    boxes: int,
    seed: int,
    out_s: float,
    refused: bool,
    suspended: bool,
) -> Outcome:
    """All lose the hub at 0; it can be reached again at *out_s*."""
    chance = random.Random(seed)
    herd = [maker(chance) for _ in range(boxes)]
    start = STEADY_S
    back = start + out_s
    hub = Hub()
    tries: list[tuple[float, int]] = []
    for number, box in enumerate(herd):
        if suspended:
            if isinstance(box, Product):
                box.suspended(start)
            at = box.suspension_over(back)
        else:
            at = box.lost(start)
        tries.append((at, number))
    heapq.heapify(tries)
    connected: list[float] = []
    asked: dict[int, int] = {}
    while tries:
        at, number = heapq.heappop(tries)
        if at > back + END_S:
            continue
        asked[int(at)] = asked.get(int(at), 0) + 1
        if at < back:
            ended = at + (0.01 if refused else PATIENCE_S)
            heapq.heappush(tries, (herd[number].failed(ended), number))
            continue
        done = hub.ask(at)
        if done is None:
            heapq.heappush(tries, (herd[number].failed(at + PATIENCE_S), number))
        else:
            connected.append(done)
    return Outcome(
        t99_s=quantile(connected, boxes, back),
        wasted_share=hub.wasted / max(1, hub.done),
        peak_per_s=max(count for second, count in asked.items() if second >= int(back)),
    )


def quantile(connected: Sequence[float], boxes: int, back: float) -> float:
    """When 99 % of *boxes* were connected, after *back*."""
    needed = math.ceil(0.99 * boxes)
    return sorted(connected)[needed - 1] - back if len(connected) >= needed else math.inf


SCENARIOS: Final[dict[str, dict[str, float | bool]]] = {
    "5 s restart": {"out_s": 5.0, "refused": True, "suspended": False},
    "10 min outage": {"out_s": 600.0, "refused": False, "suspended": False},
    "90 days suspended": {"out_s": 90 * 86_400.0, "refused": False, "suspended": True},
}


# ---- real connections ----


class Door:
    """Lets RATE_PER_S connections a second through to the broker; the others wait, as in a hub's listen queue."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._waiting: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self.let_in = 0
        self.wasted = 0
        self._pipes: set[asyncio.Task[None]] = set()

    async def open(self) -> asyncio.Server:
        return await asyncio.start_server(self._came, "127.0.0.1", 0, backlog=4096)

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._waiting.append((reader, writer))

    async def work(self) -> None:
        """One handshake after another."""
        due = time.monotonic()
        while True:
            due += 1 / RATE_PER_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not self._waiting:
                due = max(due, time.monotonic())
                continue
            reader, writer = self._waiting.popleft()
            self.let_in += 1
            if reader.at_eof():
                self.wasted += 1
                writer.close()
                continue
            task = asyncio.create_task(self._pipe(reader, writer))
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            back, forth = await asyncio.open_connection("127.0.0.1", self._port)
            forth.write(await reader.read(1000))
            writer.write(await back.read(1000))
            await writer.drain()
            with contextlib.suppress(asyncio.CancelledError):
                await back.read(1)  # until the broker goes, or the bench ends
            forth.close()
        writer.close()


def _connect_packet(name: str) -> bytes:
    """MQTT 5 CONNECT, clean start, keep alive 0 (MQTT 5, 3.1)."""
    client = name.encode()
    variable = b"\x00\x04MQTT\x05\x02\x00\x00\x00"
    body = variable + len(client).to_bytes(2, "big") + client
    return bytes([0x10, len(body)]) + body


@dataclass(slots=True)
class Real:
    """How the real ones came back."""

    connected: list[float] = field(default_factory=list)
    attempts: int = 0


async def _live(box: Product, name: str, at: float, *, zero: float, port: int, out: Real) -> None:
    """One box: try when its uplink says so, until it is connected."""
    while True:
        await asyncio.sleep(max(0.0, zero + at - time.monotonic()))
        out.attempts += 1
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_connect_packet(name))
            answer = await asyncio.wait_for(reader.readexactly(4), PATIENCE_S)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer_ = locals().get("writer")
            if isinstance(writer_, asyncio.StreamWriter):
                writer_.close()
            at = box.failed(time.monotonic() - zero)
            continue
        assert answer[0] == 0x20
        assert answer[3] == 0
        box.connected(time.monotonic() - zero)
        out.connected.append(time.monotonic() - zero)
        return


async def _real(broker: Mosquitto, boxes: int, seed: int, window_s: float) -> tuple[Real, Door]:
    door = Door(broker.port)
    server = await door.open()
    port = int(server.sockets[0].getsockname()[1])
    worker = asyncio.create_task(door.work())
    chance = random.Random(seed)
    herd = [Product(chance, window_s=window_s, at=0.0) for _ in range(boxes)]
    first = [box.lost(STEADY_S) for box in herd]
    zero = time.monotonic() - STEADY_S
    out = Real()
    await asyncio.wait_for(
        asyncio.gather(
            *(
                _live(box, f"b{number}", at, zero=zero, port=port, out=out)
                for number, (box, at) in enumerate(zip(herd, first, strict=True))
            )
        ),
        END_S,
    )
    worker.cancel()
    server.close()
    return out, door


def real(boxes: int, seed: int) -> dict[str, float]:
    """The same policy with real sockets, beside what the model says for as many."""
    window_s = WINDOW_S * boxes / 10_000
    with (
        tempfile.TemporaryDirectory() as folder,
        mosquitto(Path(folder), "max_connections -1") as broker,
    ):
        out, door = asyncio.run(_real(broker, boxes, seed, window_s))
    model = play(
        lambda chance: Product(chance, window_s=window_s),
        boxes=boxes,
        seed=seed,
        out_s=0.0,
        refused=True,
        suspended=False,
    )
    return {
        "boxes": boxes,
        "t99_s": round(quantile(out.connected, boxes, STEADY_S), 1),
        "model_t99_s": round(model.t99_s, 1),
        "ideal_s": round(0.99 * boxes / RATE_PER_S, 1),
        "wasted_share": round(door.wasted / max(1, door.let_in), 4),
        "attempts": out.attempts,
    }


def main(argv: Sequence[str]) -> int:
    """Table, then JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.herd", description=__doc__)
    parser.add_argument("--boxes", type=int, default=10_000)
    parser.add_argument("--real", type=int, default=2_000, help="real connections; 0 = none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the JSON line alone")
    options = parser.parse_args(argv)
    ideal_s = 0.99 * options.boxes / RATE_PER_S
    found: dict[str, object] = {}
    rows = []
    for name, scenario in SCENARIOS.items():
        outcomes = {
            who: play(
                maker,
                boxes=options.boxes,
                seed=options.seed,
                out_s=float(scenario["out_s"]),
                refused=bool(scenario["refused"]),
                suspended=bool(scenario["suspended"]),
            )
            for who, maker in MAKERS.items()
        }
        rows += [(name, who, outcome) for who, outcome in outcomes.items()]
        told = {
            who: {
                "t99_s": None if math.isinf(outcome.t99_s) else round(outcome.t99_s, 1),
                "wasted_share": round(outcome.wasted_share, 4),
            }
            for who, outcome in outcomes.items()
        }
        found[name] = {
            **told.pop("product"),
            "ideal_s": round(ideal_s, 1),
            "peers": told,
        }
    if options.real:
        found["real"] = real(options.real, options.seed)
    if not options.json:
        print(
            f"{options.boxes} boxes, {RATE_PER_S:.0f} handshakes a second; ideal {ideal_s:.0f} s\n"
        )
        print(f"{'':20}{'':18}{'99 % back':>12}{'x ideal':>10}{'wasted':>9}{'peak/s':>9}")
        for name, group in itertools.groupby(rows, key=lambda row: row[0]):
            for place, (_, who, outcome) in enumerate(group):
                t99 = "never" if math.isinf(outcome.t99_s) else f"{outcome.t99_s:.0f} s"
                print(
                    f"{name if place == 0 else '':20}{who:18}{t99:>12}{outcome.t99_s / ideal_s:>10.2f}"
                    f"{outcome.wasted_share:>9.1%}{outcome.peak_per_s:>9}"
                )
        if options.real:
            print(f"\nreal connections: {found['real']}")
    print(json.dumps(found, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
