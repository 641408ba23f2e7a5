"""How fast a backlog leaves, how much of a thin line it takes, and whether news is held up: a whole agent on a real line.

    python -m tests.bench.uplink [--backlog 1000000] [--seconds 300] [--rounds 3] [--folder DIR] [--json]

Real: the agent as it runs (`App`, journal with fsync, link; tests/support/talking_box.py), in a process of its own; mosquitto; `edge-agent
hub` behind it, which commits and acknowledges. Records carry 300 bytes of data.

catchup_per_s: over plain TCP on loopback, records a second that the hub has acknowledged, from the journal, between 5 % and 95 % of
a tenth of the backlog (at least 20,000 records). The hub is the least there can be (tests/support/acker.py), as the peer has none;
the same into `edge-agent hub` is in the table.
peer_bridge_per_s: messages of 300 bytes that a mosquitto bridge with a persistent queue delivers to another mosquitto after an outage
(tests/support/bridge.py); nobody acknowledges anything beyond the broker. Medians of rounds that alternate.

The rest is on a line of its own (tests/support/far_line.py): mutual TLS, 100 ms there and back, upwards shaped by the kernel.
link_use: bytes of IP packets that came out at the hub's end, without those that TCP had to repeat, over what the line carries.
class0_s_p99, live_s_p99: from offering a record to the journal until a subscriber at the hub's broker has it, while the backlog
drains at 1 Mbit/s; class 0 and class 1 in turns, never both at once, as the commit of one would carry the other along.
rss_growth_mb: of the agent's process, from its birth message until the backlog has drained for as long as measured; the worse of both lines.
bytes_per_record: all bytes on the line, both ways, IP and TCP and TLS included, over the records that arrived (8 Mbit/s, no news).
bytes_idle_hour: the same of a box with nothing to say but its own metrics each 300 s, counted for `--seconds` and scaled to an hour.
The last line is one JSON object; what cannot be measured here (no root) is null.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.clock import SystemClock
from edge_agent.core import wire
from edge_agent.core.messages import Rank
from tests.bench.journal import Bench, ingest_group
from tests.support import bridge, far_line
from tests.support.broker import Mosquitto, free_port, mosquitto
from tests.support.far_line import NAME, FarLine
from tests.support.local_ca import Authority
from tests.support.rig import Process, await_that, command

RATES: Final = {"1mbit": 1_000_000, "8mbit": 8_000_000}
RECORD_BYTES: Final = 300
BLOCKS: Final = 6  # of news, class 0 and class 1 in turns
AREA: Final = ("kuningan", "03", "05")
PATIENCE_S: Final = 120.0
CLOCK: Final = SystemClock()


# ---- what is seen at the hub ----


class Watcher:
    """A subscriber at the hub's broker, for one box. A context manager; read from any thread."""

    LEAVES: Final = ("presence", "live", "history", "ack")

    def __init__(self, port: int, name: str, leaves: Sequence[str] = LEAVES) -> None:
        self.took_s: dict[Rank, list[float]] = {Rank.AUDIT: [], Rank.STATE: []}
        self.records = 0  # of the history, arrived
        self.marks: list[tuple[float, int]] = []  # when, and how many records the hub has
        self.born = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        topic = f"{wire.ROOT}/{'/'.join(AREA)}/{name}"
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(f"{topic}/{leaf}", 0) for leaf in leaves]
        )
        self._client.on_message = lambda _c, _u, message: self._take(message)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Watcher:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, message: MQTTMessage) -> None:
        now = CLOCK.now()
        leaf = message.topic.rpartition("/")[2]
        if leaf == "history":
            self.records += message.payload.count(b'"specversion"')
            return
        told = json.loads(message.payload)
        if leaf == "ack":
            lacks = sum(last - first + 1 for first, last in told["missing"])
            self.marks.append((now, told["upto"] - lacks))
        elif leaf == "presence" and told["state"] == "online":
            self.born.set()
        elif leaf == "live":
            for event in told:
                if event["type"].endswith("bench.note"):
                    self.took_s[Rank(event["rank"])].append(now - float(event["mono"]))

    def had(self, count: int) -> float | None:
        """When the hub had so many."""
        return next((at for at, records in self.marks if records >= count), None)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The least value that so many percent of all do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)] if ranked else None


# ---- the box ----


@dataclass(kw_only=True)
class Box:
    """The agent in a process of its own, within *folder*."""

    folder: Path
    name: str
    hub: str  # the lines of [hub]
    within: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = field(default=None, init=False)

    def prepare(self, journal: Path | None) -> None:
        """Its files; *journal*: what waits there, copied."""
        self.folder.mkdir(parents=True)
        if journal is not None:
            shutil.copytree(journal, self.folder / "journal")
        (self.folder / "box.toml").write_text(
            '[identity]\nkelurahan = "{}"\nrw = "{}"\nrt = "{}"\n'.format(*AREA)
            + f'box = "{self.name}"\n{self.hub}\n[privacy]\nswitch = "none"\n'
            f'[journal]\nfolder = "{self.folder}/journal"\nquota_mb = 4000\ndisk_floor_mb = 50\n'
            f'[paths]\nviews_folder = "{self.folder}/views"\nstatus_socket = "{self.folder}/status.sock"\n'
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[Box]:
        words = (sys.executable, "-m", "tests.support.talking_box", str(self.folder / "box.toml"))
        with (self.folder / "box.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*self.within, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            yield self
        finally:
            self.process.kill()
            self.process.communicate()

    def order(self, word: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def offered(self) -> int:
        """How many records; it offers no more."""
        assert self.process is not None
        assert self.process.stdout is not None
        self.order("quiet")
        return int(self.process.stdout.readline())

    def until(self, what: str, there: Callable[[], object]) -> None:
        """AssertionError if the box ends before that, or it takes too long."""

        def look() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "box.log").read_text()
            return bool(there())

        await_that(what, look, within_s=PATIENCE_S)

    def resident(self) -> float:
        """MB."""
        assert self.process is not None
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6


def fill(folder: Path, count: int) -> None:
    """A journal with so many records more."""
    it = Bench(folder)
    with it.spool:
        it.until(lambda: it.committed is not None)
        ingest_group(it, count)


# ---- catching up ----


def catch_up(folder: Path, journal: Path, count: int, *, receiver: bool) -> float:
    """Records a second that the hub acknowledges; *receiver*: `edge-agent hub`, else the least hub there can be."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(
            mosquitto(
                folder / "broker", "max_queued_messages 0\nset_tcp_nodelay true", verbose=False
            )
        )
        stack.enter_context(_hub(folder, broker.port, receiver=receiver))
        # What the hub says is all that counts here: a third party that reads every record would be measured along.
        watcher = stack.enter_context(Watcher(broker.port, "catches-up", ("ack",)))
        box = Box(
            folder=folder / "box",
            name="catches-up",
            hub=f'[hub]\nhost = "127.0.0.1"\nport = {broker.port}',
        )
        box.prepare(journal)
        stack.enter_context(box.running())
        first, last = int(0.05 * count), int(0.95 * count)
        box.until("all is there", lambda: watcher.had(last))
        marks = [mark for mark in watcher.marks if mark[1] >= first]
        (began, had), (ended, has) = marks[0], next(mark for mark in marks if mark[1] >= last)
        return (has - had) / (ended - began)


@contextlib.contextmanager
def _hub(folder: Path, port: int, *, receiver: bool) -> Iterator[None]:
    words = command("hub", "--port", str(port), "--json", "--folder", str(folder / "hub"))
    if not receiver:
        words = [sys.executable, "-m", "tests.support.acker", str(port)]
    process = Process(words, folder / "hub.log")
    try:
        yield
    finally:
        process.kill()


# ---- on the line ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One drain on one line."""

    use: float
    repeated: float  # of all bytes upwards, what TCP sent again
    bytes_per_record: float
    records_per_s: float
    rss_growth_mb: float
    took_s: dict[Rank, list[float]]


class City:
    """The hub's side, and lines to it. A context manager."""

    def __init__(self, folder: Path, lines: Sequence[FarLine]) -> None:
        self.folder = folder
        self.port = free_port()
        self._stack = contextlib.ExitStack()
        self._authority = Authority()
        folder.mkdir(parents=True)
        self._write("ca.pem", self._authority.pem)
        pair = self._authority.pair("hub", hosts=(NAME,))
        self._write("hub.pem", pair.certificate)
        self._write("hub.key", pair.key)
        self.broker = Mosquitto(
            folder / "broker",
            "max_queued_messages 0\nset_tcp_nodelay true\n"  # as docs/hub.md has it
            + "".join(
                f"listener {self.port} {line.hub}\ncafile {folder}/ca.pem\ncertfile {folder}/hub.pem\n"
                f"keyfile {folder}/hub.key\nrequire_certificate true\n"
                for line in lines
            ),
            verbose=False,
        )

    def _write(self, name: str, what: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(what)
        path.chmod(0o600)
        return path

    def __enter__(self) -> City:
        with contextlib.ExitStack() as stack:
            stack.callback(self.broker.kill)
            self.broker.start()
            stack.enter_context(_hub(self.folder, self.broker.port, receiver=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def box(self, name: str, line: FarLine, journal: Path | None) -> Box:
        """On its side of *line*, with a certificate of its own."""
        pair = self._authority.pair(f"{'/'.join(AREA)}/{name}")
        certificate = self._write(f"{name}.pem", pair.certificate)
        key = self._write(f"{name}.key", pair.key)
        box = Box(
            folder=self.folder / name,
            name=name,
            within=line.within,
            hub=f'[hub]\nhost = "{NAME}"\nport = {self.port}\nca_file = "{self.folder}/ca.pem"\n'
            f'certificate_file = "{certificate}"\nkey_file = "{key}"',
        )
        box.prepare(journal)
        return box


def drain(
    city: City,
    line: FarLine,
    name: str,
    journal: Path,
    *,
    bits_per_s: int,
    for_s: float,
    news: bool,
) -> Seen:
    """Let the backlog drain for so long, with news in between or without."""
    with (
        Watcher(city.broker.port, name) as watcher,
        city.box(name, line, journal).running() as box,
    ):
        box.until("its birth", watcher.born.is_set)
        resident = most = box.resident()
        box.until("the backlog drains", lambda: watcher.records)
        time.sleep(min(10.0, for_s / 4))  # until TCP and the agent know the line
        before, records, began = line.carried(), watcher.records, time.monotonic()
        for block in range(BLOCKS):
            if news:
                box.order("news" if block % 2 else "audit")
            while time.monotonic() < began + (block + 1) * for_s / BLOCKS:
                time.sleep(0.2)
                most = max(most, box.resident())
        after, arrived, ended = line.carried(), watcher.records - records, time.monotonic()
        offered = box.offered()
        box.until(
            f"all {offered} of the news",
            lambda: sum(map(len, watcher.took_s.values())) == offered,
        )
        took_s = ended - began
        up, down = after.up - before.up, after.down - before.down
        fresh = after.fresh - before.fresh
        return Seen(
            use=fresh * 8 / (bits_per_s * took_s),
            repeated=1 - fresh / up,
            bytes_per_record=(up + down) / arrived,
            records_per_s=arrived / took_s,
            rss_growth_mb=most - resident,
            took_s=watcher.took_s,
        )


def idle(city: City, line: FarLine, *, for_s: float, put: Callable[[float], None]) -> None:
    """*put* bytes of a box with nothing to say, scaled to an hour."""
    with (
        Watcher(city.broker.port, "idle") as watcher,
        city.box("idle", line, None).running() as box,
    ):
        box.until("its birth", watcher.born.is_set)
        time.sleep(min(15.0, for_s / 4))  # until it has said what there is to say at a start
        before, began = line.carried(), time.monotonic()
        time.sleep(for_s)
        after, took_s = line.carried(), time.monotonic() - began
        put((after.up - before.up + after.down - before.down) * 3_600 / took_s)


def on_lines(folder: Path, journal: Path, *, for_s: float) -> tuple[dict[str, Seen], float]:
    """Both lines one after the other; the idle box has its own beside the slow one. Its bytes come last."""
    seen: dict[str, Seen] = {}
    found: list[float] = []
    with (
        FarLine(bits_per_s=RATES["1mbit"]) as slow,
        FarLine(bits_per_s=RATES["8mbit"]) as fast,
        FarLine(bits_per_s=RATES["1mbit"]) as quiet,
        City(folder / "city", (slow, fast, quiet)) as city,
    ):
        # A fifth of the time: at 8 Mbit/s the backlog is soon over.
        rate = RATES["8mbit"]
        seen["8mbit"] = drain(
            city, fast, "fast", journal, bits_per_s=rate, for_s=for_s / 5, news=False
        )
        beside = threading.Thread(
            target=idle, args=(city, quiet), kwargs={"for_s": for_s, "put": found.append}
        )
        beside.start()
        rate = RATES["1mbit"]
        seen["1mbit"] = drain(city, slow, "slow", journal, bits_per_s=rate, for_s=for_s, news=True)
        beside.join()
    return seen, found[0]


# ---- all together ----


def measure(
    folder: Path, *, backlog: int, for_s: float, rounds: int
) -> tuple[dict[str, object], list[tuple[str, str]]]:
    """The figures, and the rows of the table."""
    some = min(backlog, max(20_000, backlog // 10))
    journal, small = folder / "filled", folder / "some"
    fill(journal, some)
    shutil.copytree(journal, small)
    own, peer = [], []
    for number in range(rounds):
        own.append(catch_up(folder / f"own-{number}", small, some, receiver=False))
        peer.append(
            bridge.drained_per_s(folder / f"bridge-{number}", count=some // 2, size=RECORD_BYTES)
        )
    behind = catch_up(folder / "receiver", small, some, receiver=True)
    figures: dict[str, object] = {
        "catchup_per_s": round(statistics.median(own)),
        "peer_bridge_per_s": round(statistics.median(peer)),
        **dict.fromkeys(("link_use", "class0_s_p99", "live_s_p99", "rss_growth_mb")),
        **dict.fromkeys(("bytes_per_record", "bytes_idle_hour")),
    }
    rows = [
        ("catch-up from the journal", f"{statistics.median(own):,.0f} records/s"),
        ("the same into edge-agent hub", f"{behind:,.0f} records/s"),
        ("mosquitto bridge", f"{statistics.median(peer):,.0f} messages/s"),
    ]
    if reason := far_line.why_not():
        return figures, [*rows, ("on a line", f"not measured: {reason}")]
    fill(journal, backlog - some)
    seen, idle_bytes = on_lines(folder, journal, for_s=for_s)
    slow, fast = seen["1mbit"], seen["8mbit"]
    class0, live = slow.took_s[Rank.AUDIT], slow.took_s[Rank.STATE]
    figures |= {
        "link_use": {rate: round(seen[rate].use, 3) for rate in RATES},
        "class0_s_p99": _rounded(percentile(class0, 99)),
        "live_s_p99": _rounded(percentile(live, 99)),
        "rss_growth_mb": round(max(one.rss_growth_mb for one in seen.values()), 1),
        "bytes_per_record": round(fast.bytes_per_record),
        "bytes_idle_hour": round(idle_bytes),
    }
    for rate, one in seen.items():
        rows += [
            (f"{rate}/s: use of the line", f"{one.use:.1%}"),
            (f"{rate}/s: sent again by TCP", f"{one.repeated:.2%}"),
            (f"{rate}/s: records", f"{one.records_per_s:,.0f} /s"),
            (f"{rate}/s: bytes a record", f"{one.bytes_per_record:,.0f}"),
            (f"{rate}/s: memory", f"{one.rss_growth_mb:+.1f} MB"),
        ]
    for name, times in (("class 0", class0), ("live", live)):
        found = [f"{percentile(times, percent) or 0:.3f}" for percent in (50, 99, 100)]
        rows.append((f"1mbit/s: {name}, p50 p99 max of {len(times)}", " ".join(found) + " s"))
    rows.append(("idle, both ways", f"{idle_bytes:,.0f} bytes an hour"))
    return figures, rows


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def main(words: Sequence[str], say: Callable[[str], object] = print) -> int:
    """Table, then JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.uplink",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backlog", type=int, default=1_000_000, help="records that wait")
    parser.add_argument("--seconds", type=float, default=300.0, help="of draining at 1 Mbit/s")
    parser.add_argument("--rounds", type=int, default=3, help="of catching up, and of the peer")
    parser.add_argument("--folder", type=Path, help="where to write; the place for temporary files")
    parser.add_argument("--json", action="store_true", help="the last line only")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="uplink-") as folder:
        figures, rows = measure(
            Path(folder), backlog=given.backlog, for_s=given.seconds, rounds=given.rounds
        )
    if not given.json:
        for name, value in rows:
            say(f"{name:<42} {value:>28}")
    say(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
