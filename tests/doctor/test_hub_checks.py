"""The way to the hub, this box's papers, and what the agent says: real brokers, real certificates, wrong in turn."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.core.messages import Json
from edge_agent.doctor.check import Patient, Result, State
from edge_agent.doctor.hub_checks import CHECKS
from tests.support import patience
from tests.support.broker import free_port, needs_mosquitto
from tests.support.evil_servers import evil
from tests.support.local_ca import DAY_S, Authority, listener, now_s, server_context
from tests.support.ward import NAME, Box, Ward, broker, clinic

pytestmark = [needs_mosquitto, pytest.mark.broker, pytest.mark.enable_socket]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with clinic(tmp_path_factory.mktemp("ward")) as made:
        yield made


@pytest.fixture
def box(hub: Ward) -> Box:
    return hub.admit()


def asked(box: Box, patient: Patient | None = None) -> dict[str, Result]:
    patient = patient or replace(box.patient(), within_s=patience.patient(4.5))
    results = [result for check in CHECKS for result in check.ask(patient)]
    known = {key for check in CHECKS for key in (check.key, *check.also)}
    assert {result.key for result in results} <= known
    for result in results:
        assert (result.remedy is None) is (result.state is State.OK), result
    return {result.key: result for result in results}


def wrong(box: Box, patient: Patient | None = None) -> dict[str, State]:
    found = asked(box, patient)
    return {key: result.state for key, result in found.items() if result.state is not State.OK}


def at(box: Box, port: int) -> None:
    box.say(f"port = {box.ward.hub_port}", f"port = {port}")


def test_all_is_well_up_to_a_word_that_came_back(box):
    found = asked(box)
    assert {result.state for result in found.values()} == {State.OK}
    assert list(found)[-1] == "hub.settle"
    assert {"hub.name", "hub.tcp", "hub.tls", "hub.mqtt", "hub.certificate"} <= set(found)
    assert "came back" in found["hub.echo"].seen
    assert NAME in found["hub.own-name"].seen


def test_nobody_listens_and_nothing_above_is_guessed(box):
    at(box, free_port())
    found = asked(box)
    assert found["hub.tcp"].state is State.FAULT
    assert not {"hub.tls", "hub.mqtt", "hub.echo"} & set(found)


@pytest.mark.parametrize("what", ["expired", "stranger", "other name"])
def test_a_hub_that_is_not_the_one_we_know(hub, box, tmp_path, what):
    end_s = now_s() - DAY_S
    pair = {
        "expired": lambda: hub.authority.pair("hub", begin_s=end_s - 9 * DAY_S, end_s=end_s),
        "stranger": lambda: Authority("Orang lain").pair("hub"),
        "other name": lambda: hub.authority.pair("hub", hosts=("elsewhere",)),
    }[what]()
    with broker(tmp_path / "broker", hub.authority, server=pair) as port:
        at(box, port)
        assert wrong(box) == {"hub.tls": State.FAULT}


def test_a_hub_whose_certificate_ends_within_days(hub, box, tmp_path):
    pair = hub.authority.pair("hub", end_s=now_s() + 5 * DAY_S)
    with broker(tmp_path / "broker", hub.authority, server=pair) as port:
        at(box, port)
        assert wrong(box) == {"hub.certificate": State.WARNING}


def test_a_hub_that_keeps_silent_costs_the_others_nothing(box):
    with listener(None) as port:
        at(box, port)
        assert wrong(box, box.patient()) == {"hub.tls": State.FAULT}


def test_a_load_balancer_without_a_broker_behind_it(hub, box, tmp_path):
    context = server_context(hub.authority.pair("hub"), tmp_path, clients=hub.authority.pem)

    def mute(line: socket.socket, over: threading.Event) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(line, server_side=True):
            over.wait(30)

    with evil(mute) as port:
        at(box, port)
        assert wrong(box, box.patient()) == {"hub.mqtt": State.FAULT}


def test_a_hub_that_does_not_take_our_certificate(hub, box, tmp_path):
    other = Authority("Orang lain")
    context = server_context(hub.authority.pair("hub"), tmp_path, clients=other.pem)
    with listener(context) as port:
        at(box, port)
        assert wrong(box) == {"hub.tls": State.FAULT}


def test_rights_from_before_there_was_an_echo_are_no_fault(hub, box, tmp_path):
    def without(page: str) -> str:
        return "".join(line for line in page.splitlines(keepends=True) if "/echo" not in line)

    with broker(tmp_path / "broker", hub.authority, acl=without) as port:
        at(box, port)
        assert wrong(box) == {"hub.echo": State.WARNING}


def test_another_boxs_certificate(hub, box):
    box.show(hub.authority.pair("kuningan/03/06/box-1"))
    assert wrong(box) == {"hub.own-name": State.FAULT, "hub.echo": State.WARNING}


def test_a_certificate_that_names_no_place_is_worth_a_look(hub, box):
    box.show(hub.authority.pair("a serial number"))
    assert wrong(box)["hub.own-name"] is State.WARNING


def test_an_own_certificate_that_ends_soon_ended_or_has_not_begun(hub, box):
    now = now_s()
    box.show(hub.authority.pair(NAME, begin_s=now - 300 * DAY_S, end_s=now + 20 * DAY_S))
    assert wrong(box) == {"hub.own-certificate": State.WARNING}
    box.show(hub.authority.pair(NAME, begin_s=now - 300 * DAY_S, end_s=now - DAY_S))
    assert wrong(box) == {"hub.own-certificate": State.FAULT, "hub.tls": State.FAULT}
    box.clock.ahead_s = -40 * DAY_S
    box.show(hub.authority.pair(NAME))
    assert wrong(box) == {"hub.own-certificate": State.FAULT}
    box.clock.is_trusted = False  # then its dates prove nothing
    assert "hub.own-certificate" not in wrong(box)


def test_a_certificate_that_is_none_and_a_key_of_another(hub, box):
    patient = box.patient()
    (box.folder / "box.pem").write_text("no certificate")
    assert asked(box, patient)["hub.own-certificate"].state is State.FAULT
    box.show(hub.authority.pair(NAME))
    (box.folder / "box.key").write_bytes(hub.authority.pair(NAME).key)
    assert asked(box, patient)["hub.tls"].state is State.FAULT


@pytest.mark.parametrize("what", ["a certificate", "another kind", "gone"])
def test_an_order_key_that_is_none(hub, box, what):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    patient = box.patient()
    path = box.folder / "hub-orders.pem"
    if what == "gone":
        path.unlink()
    elif what == "a certificate":
        path.write_bytes(hub.authority.pem)
    else:
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        path.write_bytes(
            public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    assert asked(box, patient)["hub.order-key"].state is State.FAULT


def test_no_order_key_is_a_choice(box):
    box.say('order_key_file = "hub-orders.pem"\n', "")
    found = asked(box)["hub.order-key"]
    assert (found.state, "no order" in found.seen) == (State.OK, True)


# ---- what the agent says ----


def test_the_agents_link_is_shown(box):
    box.beside = True
    found = asked(box)
    assert "up" in found["hub.link"].seen
    # A hub may take one certificate for one connection: one of the doctor's would end the agent's.
    assert "hub.echo" not in found
    assert "the agent is connected" in found["hub.mqtt"].seen

    def down(status: dict[str, Json]) -> None:
        told = {"id": "Router mati.", "en": "The router is off.", "rung": "gateway"}
        status["uplink"] = {"state": "waiting", "detail": "no route", "diagnosis": told}

    box.spoil_status = down
    link = asked(box)["hub.link"]
    assert (link.state, link.seen) == (State.WARNING, "the agent says: waiting (no route)")
    assert link.remedy is not None
    assert link.remedy.en == "The router is off."
    assert "hub.echo" in asked(box)


def test_a_suspension_by_the_city_is_nothing_wrong(box):
    box.beside = True

    def suspended(status: dict[str, Json]) -> None:
        status["suspended"] = True
        status["uplink"] = {"state": "suspended", "detail": None, "diagnosis": None}

    box.spoil_status = suspended
    assert "hub.link" not in wrong(box)


def test_a_simulated_street_and_a_real_hub(box):
    box.beside = True

    def simulated(status: dict[str, Json]) -> None:
        status["simulated"] = True

    box.spoil_status = simulated
    assert asked(box)["hub.street"].state is State.OK  # a hub on this box
    box.say('host = "localhost"', 'host = "hub.invalid"')
    assert wrong(box)["hub.street"] is State.FAULT


# ---- below the hub ----


def test_a_pulled_cable_and_no_way_out(box):
    box.say('host = "localhost"', 'host = "hub.invalid"')
    box.write("sys/class/net/eth0/carrier", "0\n")
    assert wrong(box) == {"hub.interface": State.FAULT}
    box.write("sys/class/net/eth0/carrier", "1\n")
    box.write("proc/net/if_inet6", "20010db8000000000000000000000001 02 40 00 80 eth0\n")
    found = asked(box)
    assert found["hub.address"].state is State.OK
    assert found["hub.gateway"].state is State.FAULT


def test_without_a_configuration_it_says_nothing(box):
    box.config.write_text("not TOML")
    assert asked(box) == {}


def test_what_hangs_is_named_by_its_rung(box, tmp_path: Path):
    """A TLS that drips is cut off in time, whoever of us is in it."""
    with ExitStack() as stack:
        at(box, stack.enter_context(listener(None)))
        found = asked(box, replace(box.patient(), within_s=1.9))
    assert found["hub.tls"].state is State.FAULT
    assert "no answer within" in found["hub.tls"].seen
