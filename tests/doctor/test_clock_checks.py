"""Whether the box's own clock can be believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.core.messages import Memory
from edge_agent.core.settings import (
    Hub,
    Identity,
    Journal,
    Privacy,
    SecretRef,
    Settings,
    SwitchKind,
    Tls,
)
from edge_agent.doctor.check import Patient, Result, State
from edge_agent.doctor.clock_checks import CHECKS
from edge_agent.simulate import SimulatedClock
from tests.support.desk import Desk
from tests.support.local_ca import Authority, Est, est, now_s
from tests.support.ward import WardClock

NOON = 1_795_262_400.0
TOLD = b'{"floor_s": %.1f}'


def settings(folder: Path, hub: Hub | None = None) -> Settings:
    return Settings(
        identity=Identity(kelurahan="kuningan", rw="03", rt="05", box="box-1"),
        hub=hub or Hub(host="127.0.0.1", port=1883, tls=None),
        privacy=Privacy(switch=SwitchKind.NONE),
        journal=Journal(folder=str(folder / "journal")),
        pairs_folder=str(folder / "pairs"),
    )


def asked(clock: SimulatedClock | WardClock, of: Settings | None) -> dict[str, Result]:
    patient = Patient(settings=of, config_file=Path("/nowhere"), clock=clock)
    return {found.key: found for check in CHECKS for found in check.ask(patient)}


def knew(folder: Path, wall_s: float) -> None:
    with Desk(folder / "journal") as desk:
        desk.spool.remember(Memory.CLOCK, TOLD % wall_s)
        desk.keep(desk.note(1))


def test_a_clock_that_is_vouched_for_and_later_than_what_it_knew(tmp_path):
    knew(tmp_path, NOON - 600)
    found = asked(SimulatedClock(wall_s=NOON, is_trusted=True), settings(tmp_path))
    assert {key: one.state for key, one in found.items()} == {
        "clock.synchronised": State.OK,
        "clock.plausible": State.OK,
    }
    assert "2026-11-21 11:50:00 UTC" in found["clock.plausible"].seen


def test_nothing_vouches_for_it(tmp_path):
    found = asked(SimulatedClock(wall_s=NOON), settings(tmp_path))
    assert found["clock.synchronised"].state is State.WARNING
    assert found["clock.plausible"].state is State.OK


@pytest.mark.parametrize("wall_s", [0.0, 1_700_000_000.0, 2_300_000_000.0, 1e18])
def test_years_in_which_this_box_cannot_be(tmp_path, wall_s):
    found = asked(SimulatedClock(wall_s=wall_s, is_trusted=True), settings(tmp_path))
    assert found["clock.plausible"].state is State.FAULT


def test_a_clock_that_went_back_behind_what_the_box_knew(tmp_path):
    knew(tmp_path, NOON)
    for back_s, state in ((30.0, State.OK), (90.0, State.FAULT)):
        found = asked(SimulatedClock(wall_s=NOON - back_s), settings(tmp_path))
        assert found["clock.plausible"].state is state


def test_a_journal_that_cannot_be_read_knows_nothing(tmp_path):
    knew(tmp_path, NOON)
    (tmp_path / "journal/journal.db").write_bytes(b"nonsense" * 1000)
    found = asked(SimulatedClock(wall_s=NOON - 900), settings(tmp_path))
    assert found["clock.plausible"].state is State.OK


def test_without_a_configuration_the_clock_is_looked_at_all_the_same():
    assert set(asked(SimulatedClock(wall_s=NOON), None)) == {
        "clock.synchronised",
        "clock.plausible",
    }


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    authority = Authority()
    pair = authority.pair("box-1")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "box.pem").write_bytes(pair.certificate)
    (tmp_path / "box.key").write_bytes(pair.key)
    (tmp_path / "box.key").chmod(0o600)
    with est(Est(authority), authority.pair("hub"), tmp_path, clients=authority.pem) as url:
        tls = Tls(
            ca_file=str(tmp_path / "ca.pem"),
            certificate_file=str(tmp_path / "box.pem"),
            key=SecretRef(file=str(tmp_path / "box.key")),
        )
        yield Hub(host="localhost", port=8883, tls=tls, renew_url=url)


@pytest.mark.enable_socket
def test_the_hubs_clock_and_the_boxs_differ(tmp_path, hub):
    clock = WardClock()
    for ahead_s, state in ((10.0, State.OK), (300.0, State.WARNING), (-300.0, State.WARNING)):
        clock.ahead_s = ahead_s
        found = asked(clock, settings(tmp_path, hub))["clock.hub"]
        assert found.state is state, found
        assert f"is {ahead_s:+.0f}"[:4] in found.seen
    assert abs(clock.wall() - now_s() + 300) < 5


@pytest.mark.enable_socket
def test_a_hub_that_cannot_be_asked_is_said_and_no_fault(tmp_path, hub):
    (tmp_path / "ca.pem").write_bytes(Authority("Orang lain").pem)
    found = asked(WardClock(), settings(tmp_path, hub))["clock.hub"]
    assert (found.state, "cannot be compared" in found.seen) == (State.OK, True)
    (tmp_path / "box.key").unlink()
    assert asked(WardClock(), settings(tmp_path, hub))["clock.hub"].state is State.OK
