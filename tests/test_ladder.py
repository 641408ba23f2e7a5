"""The rungs tried for real: cables pulled in network namespaces, hubs that refuse, hang and pretend."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from edge_agent import ladder
from edge_agent.clock import SystemClock
from edge_agent.core.messages import Climb, Died, Event, Fault, LadderClimbed, Rung, Step
from edge_agent.core.settings import Hub, Run, SecretRef, Tls
from edge_agent.ladder import Ladder
from edge_agent.simulate import SimulatedClock
from edge_agent.tls import Pair
from tests.support.broker import free_port, mosquitto, needs_mosquitto
from tests.support.local_ca import DAY_S, Authority, listener, now_s, server_context
from tests.support.netns import (
    BOX,
    BOX_6,
    HUB,
    HUB_6,
    NAME,
    ROUTER,
    ROUTER_6,
    Street,
    needs_netns,
    street,
)
from tests.support.patience import patient

pytestmark = pytest.mark.enable_socket


# ---- in namespaces: a box, a router, a hub behind it ----


@pytest.fixture
def laid(request: pytest.FixtureRequest) -> Iterator[Street]:
    with street(f"{abs(hash(request.node.name)) % 1000}") as made:
        yield made


def top(steps: list[dict[str, object]]) -> tuple[object, object]:
    """The last rung tried, and its fault."""
    return steps[-1]["rung"], steps[-1]["fault"]


@needs_netns
def test_all_is_well_up_to_the_hubs_port(laid):
    laid.address()
    laid.name_servers(ROUTER, within_s=20)
    with laid.served(knows=NAME):
        steps = laid.climb(NAME, patience=4.0)
    assert [step["rung"] for step in steps] == ["interface", "address", "gateway", "name", "tcp"]
    assert all(step["holds"] for step in steps), steps
    assert BOX in str(steps[1]["seen"])
    assert f"{ROUTER}: answers" in str(steps[2]["seen"])
    assert HUB in str(steps[3]["seen"])


@needs_netns
def test_a_pulled_cable(laid):
    laid.address()
    laid.at(laid.router, "link", "set", "dn0", "down")
    steps = laid.climb()
    assert top(steps) == ("interface", "no_carrier")
    assert "up0: no link" in str(steps[-1]["seen"])


@needs_netns
def test_an_interface_that_is_switched_off(laid):
    laid.at(laid.box, "link", "set", "up0", "down")
    steps = laid.climb()
    assert top(steps) == ("interface", "no_carrier")
    assert "up0: switched off" in str(steps[-1]["seen"])


@needs_netns
def test_no_interface_at_all(laid):
    laid.at(laid.box, "link", "del", "up0")
    assert top(laid.climb()) == ("interface", "no_interface")


@needs_netns
@pytest.mark.parametrize("own", ["", "169.254.7.7/16"])
def test_no_address(laid, own):
    """Nor is one that the box gave itself."""
    laid.at(laid.box, "link", "set", "up0", "addrgenmode", "none")
    if own:
        laid.address(own, gateway="")
    assert top(laid.climb()) == ("address", "no_address")


@needs_netns
def test_no_default_route(laid):
    laid.address(gateway="")
    assert top(laid.climb()) == ("gateway", "no_route")


@needs_netns
def test_a_hub_on_the_boxs_own_network_needs_no_default_route(laid):
    laid.address(gateway="")
    with laid.served():
        steps = laid.climb(ROUTER)
    assert all(step["holds"] for step in steps), steps
    assert top(steps) == ("tcp", None)


@needs_netns
@pytest.mark.parametrize(
    ("address", "gateway"), [(f"{BOX}/24", "10.77.0.99"), (f"{BOX_6}/64", "fd77::99")]
)
def test_a_router_that_is_not_there(laid, address, gateway):
    laid.address(address, gateway=gateway)
    steps = laid.climb()
    assert top(steps) == ("gateway", "gateway_silent")
    assert gateway in str(steps[-1]["seen"])


@needs_netns
def test_no_name_server(laid):
    laid.address()
    laid.name_servers()
    assert top(laid.climb(NAME)) == ("name", "no_name_server")


@needs_netns
def test_a_dead_name_server(laid):
    laid.address()
    laid.name_servers("198.51.100.53")  # the router drops it without a word
    steps = laid.climb(NAME)
    assert top(steps) == ("name", "name_server_silent")
    assert "198.51.100.53: no answer" in str(steps[-1]["seen"])


@needs_netns
def test_a_name_that_nobody_knows(laid):
    laid.address()
    laid.name_servers(ROUTER, within_s=20)
    with laid.served(knows="other.test"):
        steps = laid.climb(NAME, patience=4.0)
    assert top(steps) == ("name", "name_unknown")
    assert f"{ROUTER}: NXDOMAIN" in str(steps[-1]["seen"])


@needs_netns
def test_a_closed_port(laid):
    laid.address()
    steps = laid.climb()
    assert top(steps) == ("tcp", "nobody_listens")


@needs_netns
def test_a_hub_that_is_swallowed_on_the_way(laid):
    laid.address()
    steps = laid.climb("203.0.113.66")  # routed to the router, which forwards nothing
    assert top(steps) == ("tcp", "no_answer")


@needs_netns
def test_a_router_that_knows_no_way_on(laid):
    laid.address()
    laid.at(laid.router, "route", "add", "prohibit", "203.0.113.66/32")
    subprocess_sysctl(laid.router)
    assert top(laid.climb("203.0.113.66")) == ("tcp", "no_way")


def subprocess_sysctl(name: str) -> None:
    """Let the router forward, or it would not even look for a way."""
    import subprocess

    subprocess.run(
        ["ip", "netns", "exec", name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"],
        check=True,
    )


@needs_netns
def test_ipv6_alone_is_enough(laid):
    laid.address(f"{BOX_6}/64", gateway=ROUTER_6)
    with laid.served():
        steps = laid.climb(HUB_6)
    assert all(step["holds"] for step in steps), steps
    assert BOX_6 in str(steps[1]["seen"])
    assert top(steps) == ("tcp", None)


@needs_netns
def test_a_near_look_sends_the_hub_nothing(laid):
    laid.address()
    steps = laid.climb(far=False)
    assert [step["rung"] for step in steps] == ["interface", "address", "gateway"]
    assert all(step["holds"] for step in steps)


# ---- TLS ----

ROOT = Authority()
OWN = ROOT.pair("box-1")


def tls_step(
    tmp_path: Path,
    port: int,
    *,
    own: Pair = OWN,
    host: str = "localhost",
    clock: SimulatedClock | None = None,
    patience: float = 1.0,
    passed_s: float = 0.0,
) -> Step:
    """The top rung tried against a hub on *port*."""
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    tls = Tls(
        ca_file=str(tmp_path / "ca.pem"),
        certificate_file="",
        key=SecretRef(file=""),
    )
    made = Ladder(
        Hub(host=host, port=port, tls=tls),
        (),
        pair=lambda: own,
        post=lambda _: None,
        clock=clock or SimulatedClock(wall_s=now_s(), is_trusted=True),
        patience=patience,
        passed_s=passed_s,
    )
    return made.steps(Climb(far=True))[-1]


def hub(tmp_path: Path, pair: Pair) -> AbstractContextManager[int]:
    return listener(server_context(pair, tmp_path, clients=ROOT.pem))


def test_a_hub_that_is_well(tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "ALERT_S", 0.3)
    with hub(tmp_path, ROOT.pair("hub")) as port:
        step = tls_step(tmp_path, port)
    assert (step.rung, step.holds) == (Rung.TLS, True)


def test_a_hub_seen_without_a_clock_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "ALERT_S", 0.3)
    with hub(tmp_path, ROOT.pair("hub")) as port:
        step = tls_step(tmp_path, port, clock=SimulatedClock(wall_s=0.0))
    assert step.holds
    assert "nothing vouches" in step.seen


@pytest.mark.parametrize(
    ("pair", "host", "fault"),
    [
        (lambda: Authority("Kota").pair("hub"), "localhost", Fault.HUB_UNKNOWN),
        (lambda: ROOT.pair("hub", hosts=("a.test",)), "localhost", Fault.HUB_OTHER_NAME),
        (lambda: ROOT.pair("hub"), "127.0.0.1", Fault.HUB_OTHER_NAME),
        (
            lambda: ROOT.pair("hub", begin_s=now_s() - 9 * DAY_S, end_s=now_s() - DAY_S),
            "localhost",
            Fault.HUB_DATES,
        ),
        (
            lambda: ROOT.pair("hub", begin_s=now_s() + DAY_S, end_s=now_s() + 9 * DAY_S),
            "localhost",
            Fault.HUB_DATES,
        ),
    ],
)
def test_each_hub_that_is_not_ours_is_its_own_fault(tmp_path, pair, host, fault):
    with hub(tmp_path, pair()) as port:
        step = tls_step(tmp_path, port, host=host)
    assert (step.rung, step.holds, step.fault) == (Rung.TLS, False, fault)


def test_a_hub_whose_end_has_surely_passed_is_told_with_the_doubt_of_the_clock(tmp_path):
    gone = ROOT.pair("hub", begin_s=now_s() - 90 * DAY_S, end_s=now_s() - 60 * DAY_S)
    with hub(tmp_path, gone) as port:
        step = tls_step(tmp_path, port, clock=SimulatedClock(wall_s=0.0))
    assert step.fault is Fault.HUB_DATES
    assert "nothing vouches" in step.seen


def test_a_box_without_a_clock_says_of_the_hub_what_the_link_finds_by_the_time_it_once_knew(
    tmp_path,
):
    own = ROOT.pair("box-1", begin_s=now_s() - 200 * DAY_S, end_s=now_s() + DAY_S)
    gone = ROOT.pair("hub", begin_s=now_s() - 90 * DAY_S, end_s=now_s() - 60 * DAY_S)
    seen = {}
    for passed_s in (0.0, now_s() - 30 * DAY_S):
        with hub(tmp_path, gone) as port:
            step = tls_step(
                tmp_path, port, own=own, clock=SimulatedClock(wall_s=0.0), passed_s=passed_s
            )
        seen[passed_s > 0] = step.fault
    assert seen == {False: None, True: Fault.HUB_DATES}


@pytest.mark.parametrize(
    ("own", "fault"),
    [
        (
            lambda: ROOT.pair(begin_s=now_s() - 9 * DAY_S, end_s=now_s() - DAY_S),
            Fault.OWN_EXPIRED,
        ),
        (lambda: Authority("Kota").pair(), Fault.OWN_REFUSED),
        (lambda: Pair(name="configured", certificate=b"x", key=b"y"), Fault.OWN_UNUSABLE),
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_each_certificate_of_ours_that_is_refused_is_its_own_fault(
    tmp_path, monkeypatch, own, fault, trusted
):
    monkeypatch.setattr(ladder, "ALERT_S", patient(ladder.ALERT_S))  # over as soon as it is refused
    clock = SimulatedClock(wall_s=now_s() if trusted else 0.0, is_trusted=trusted)
    with hub(tmp_path, ROOT.pair("hub")) as port:
        step = tls_step(tmp_path, port, own=own(), clock=clock)
    assert (step.rung, step.fault) == (Rung.TLS, fault), step.seen


def test_a_hub_that_takes_the_connection_and_keeps_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "TLS_S", 0.3)
    with listener(None) as port:
        assert tls_step(tmp_path, port).fault is Fault.TLS_SILENT


def test_somebody_who_stands_there_waits_less(tmp_path):
    with listener(None) as port:
        step = tls_step(tmp_path, port, patience=0.05)
    assert (step.fault, step.seen) == (Fault.TLS_SILENT, "no word within 0.4 s")


def test_what_speaks_no_tls(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            line, _ = server.accept()
            with line:
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                # To the end: what were left unread would turn the goodbye into a reset, which may come first.
                with suppress(OSError):
                    while line.recv(1000):
                        pass

        thread = threading.Thread(target=greet)
        thread.start()
        assert tls_step(tmp_path, server.getsockname()[1]).fault is Fault.NOT_TLS
        thread.join(10)


def test_nobody_on_the_port(tmp_path):
    step = tls_step(tmp_path, free_port())
    assert (step.rung, step.fault) == (Rung.TCP, Fault.NOBODY_LISTENS)


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.parametrize("stranger", [True, False])
def test_a_real_broker_takes_our_certificate_or_refuses_it(tmp_path, monkeypatch, stranger):
    # What is accepted is told by silence, to its end; a refusal comes at once, from a broker that may be kept waiting.
    monkeypatch.setattr(ladder, "ALERT_S", patient(ladder.ALERT_S) if stranger else 1.0)
    pair = ROOT.pair("hub")
    for name, raw in {"r.pem": ROOT.pem, "h.pem": pair.certificate, "h.key": pair.key}.items():
        (tmp_path / name).write_bytes(raw)
    config = (
        f"cafile {tmp_path}/r.pem\ncertfile {tmp_path}/h.pem\nkeyfile {tmp_path}/h.key\n"
        "require_certificate true\n"
    )
    with mosquitto(tmp_path / "broker", config) as broker:
        own = Authority("Kota").pair() if stranger else OWN
        step = tls_step(tmp_path, broker.port, own=own)
    assert (step.holds, step.fault) == ((False, Fault.OWN_REFUSED) if stranger else (True, None)), (
        step.seen
    )


# ---- what the kernel's files may hold ----


def far(root: Path, host: str = "hub.test", runs: tuple[Run, ...] = ()) -> Ladder:
    return Ladder(
        Hub(host=host, port=8883, tls=None),
        runs,
        pair=None,
        post=lambda _: None,
        clock=SystemClock(),
        root=root,
    )


def interface(root: Path, name: str, carrier: str = "1") -> None:
    folder = root / "sys/class/net" / name
    folder.mkdir(parents=True)
    (folder / "carrier").write_text(f"{carrier}\n")


def test_an_interface_that_leads_to_a_camera_is_no_way_to_the_hub(tmp_path):
    interface(tmp_path, "eth1")
    interface(tmp_path, "eth0", "0")
    run = Run(camera="gate", cable="cat5e-outdoor", length_m=50.0, interface="eth1")
    step = far(tmp_path, runs=(run,)).steps(Climb(far=False))[0]
    assert (step.fault, step.seen) == (Fault.NO_CARRIER, "eth0: no link")


def test_the_interface_of_the_default_route_counts_and_no_other(tmp_path):
    interface(tmp_path, "eth0", "0")
    interface(tmp_path, "wlan0")
    (tmp_path / "proc/net").mkdir(parents=True)
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"
    route = "eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0"
    (tmp_path / "proc/net/route").write_text(f"{head}\n{route}\n")
    step = far(tmp_path).steps(Climb(far=False))[0]
    assert (step.fault, step.seen) == (Fault.NO_CARRIER, "eth0: no link")


def test_a_machine_that_shows_nothing_of_its_network_has_none(tmp_path):
    assert far(tmp_path).steps(Climb(far=False))[0].fault is Fault.NO_INTERFACE


def test_a_link_that_cannot_be_told_is_not_called_broken(tmp_path):
    (tmp_path / "sys/class/net/ppp0").mkdir(parents=True)
    step = far(tmp_path).steps(Climb(far=False))[0]
    assert (step.holds, step.seen) == (None, "ppp0: unknown")


def test_a_name_server_that_hangs_holds_up_one_look_and_never_two(tmp_path, monkeypatch):
    hanging, asked = threading.Event(), []

    def hang(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        hanging.wait(60)
        return []

    monkeypatch.setattr(ladder, "NAME_S", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    monkeypatch.setattr(ladder, "_ask_name_server", lambda *_: None)
    made = far(tmp_path, "localhost")
    try:
        first, second = made.steps(Climb(far=False)), made.steps(Climb(far=False))
        assert first[-1].fault is Fault.NAME_SERVER_SILENT
        assert "127.0.0.1: no answer" in first[-1].seen
        assert "still hangs" in second[-1].seen
        assert len(asked) == 1
    finally:
        hanging.set()


# ---- its thread ----


def test_it_answers_each_time_it_is_asked_and_asking_never_waits():
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    port = free_port()
    settings = Hub(host="127.0.0.1", port=port, tls=None)
    with Ladder(settings, (), pair=None, post=events.put, clock=SystemClock()) as made:
        made.climb(Climb(far=True))
        found = events.get(timeout=patient(30.0))
        assert isinstance(found, LadderClimbed)
        assert found.far
        assert [step.fault for step in found.steps] == [Fault.NOBODY_LISTENS]


def test_what_is_asked_during_a_look_is_one_look():
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    settings = Hub(host="127.0.0.1", port=free_port(), tls=None)
    made = Ladder(settings, (), pair=None, post=events.put, clock=SystemClock())
    for wanted in (False, True, False):
        made.climb(Climb(far=wanted))
    with made:
        found = events.get(timeout=patient(30.0))
        assert isinstance(found, LadderClimbed)
        assert found.far
    assert events.empty()


def test_a_surprise_in_its_thread_is_told(monkeypatch):
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def fall(*_: object) -> list[Step]:
        raise RuntimeError("no ladder")

    monkeypatch.setattr(Ladder, "steps", fall)
    settings = Hub(host="127.0.0.1", port=1, tls=None)
    with Ladder(settings, (), pair=None, post=events.put, clock=SystemClock()) as made:
        made.climb(Climb(far=False))
        assert events.get(timeout=patient(30.0)) == Died(
            part="ladder", detail="RuntimeError: no ladder"
        )


def test_a_kernel_without_ipv6_is_no_reason_to_fall(monkeypatch):
    real = socket.socket

    class NoSix(real):  # type: ignore[misc, valid-type]
        def __init__(self, family: int = socket.AF_INET, *rest: object, **more: object) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *rest, **more)

    monkeypatch.setattr(socket, "socket", NoSix)
    made = Ladder(
        Hub(host="::1", port=9, tls=None), (), pair=None, post=lambda _: None, clock=SystemClock()
    )
    (step,) = made.steps(Climb(far=True))
    assert (step.rung, step.fault) == (Rung.TCP, Fault.NO_WAY)
    assert "not supported" in step.seen


@pytest.mark.parametrize(
    "error", [PermissionError(1, "Operation not permitted"), ValueError("words of its own")]
)
def test_a_machine_that_refuses_to_be_asked_makes_it_unknown(monkeypatch, error):
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def refuse(*_: object) -> list[Step]:
        raise error

    monkeypatch.setattr(Ladder, "steps", refuse)
    settings = Hub(host="127.0.0.1", port=1, tls=None)
    with Ladder(settings, (), pair=None, post=events.put, clock=SystemClock()) as made:
        made.climb(Climb(far=True))
        assert events.get(timeout=patient(30.0)) == LadderClimbed(steps=(), far=True)
