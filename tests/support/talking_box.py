"""`python -m tests.support.talking_box box.toml`: the whole agent, and somebody within it who offers records when told to.

On standard input, a line each: `news` (a record of class 1 about four times a second), `audit` (a record of class 0 about twice a second),
`quiet` (it answers with how many it has offered so far, in all). It ends when its input does. Records are offered where the agent offers its own, at the journal's door, with the moment of
that as theirs; so whoever has one knows how long it took.
"""

from __future__ import annotations

import random
import sys
import threading

from edge_agent.app import App, Pins, set_up_log
from edge_agent.clock import SystemClock
from edge_agent.config import load
from edge_agent.core.messages import Rank, Record

OFFERS = {"news": (Rank.STATE, 0.25), "audit": (Rank.AUDIT, 0.5)}
DATA_BYTES = 300


def record(rank: Rank, at: float) -> Record:
    """Whose data are `DATA_BYTES` of JSON."""
    fill = "x" * (DATA_BYTES - len('{"fill":""}'))
    return Record(kind="bench.note", rank=rank, at=at, data={"fill": fill})


def main(config: str) -> int:
    set_up_log()
    clock = SystemClock()
    app = App(load(config), pins=Pins(factory=None, why_none="a benchmark"))
    orders: dict[str, tuple[Rank, float] | None] = {"quiet": None, **OFFERS}
    now: list[tuple[Rank, float] | None] = [None]
    offered = [0]
    turn = threading.Lock()

    def listen() -> None:
        for line in sys.stdin:
            with turn:
                now[0] = orders[line.strip()]
                if now[0] is None:
                    print(offered[0], flush=True)
        app.stop()

    def offer() -> None:
        chance, pause = random.Random(1), threading.Event()
        while True:
            # At no moment that the box's own rounds could share.
            pause.wait((now[0][1] if now[0] else 0.1) * chance.uniform(0.5, 1.5))
            with turn:
                if now[0] is not None:
                    app._spool.keep(record(now[0][0], clock.now()))
                    offered[0] += 1

    for work in (listen, offer):
        threading.Thread(target=work, daemon=True).start()
    return app.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
