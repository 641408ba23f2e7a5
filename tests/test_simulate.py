"""The street's fakes behave like the parts: read here through gpiozero alone, as any program would."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gpiozero import LED, DigitalInputDevice, DigitalOutputDevice

from edge_agent.core.settings import DigitalLoop, Privacy, Relay, Run, SwitchKind
from edge_agent.simulate import Street

PRIVACY = Privacy(switch=SwitchKind.LATCHING)
RUNS = (
    Run(camera="gate", cable="cat5e-outdoor", length_m=50, loop=DigitalLoop(pin=5)),
    Run(camera="bridge", cable="rg59", length_m=20),
)


@pytest.fixture
def street():
    return Street(PRIVACY, RUNS)


@pytest.fixture
def closed(street):
    """Whether the contact on a pin is closed, by its level."""
    devices = {
        pin: DigitalInputDevice(pin, pull_up=True, pin_factory=street.factory)
        for pin in (5, 17, 27)
    }
    yield lambda *pins: tuple(bool(devices[pin].value) for pin in pins)
    for device in devices.values():
        device.close()


def test_a_contact_wins_over_the_pull_up_of_whoever_reads_it(street, closed):
    assert closed(17, 27) == (True, False)
    street.press()
    assert closed(17, 27) == (False, True)
    with DigitalInputDevice(22, pull_up=True, pin_factory=street.factory) as bare:
        assert bare.value == 0  # nothing is soldered to it: its own pull-up counts


def test_a_latching_switch_stays_where_it_is(street, closed):
    street.release()
    assert closed(17, 27) == (True, False)
    street.press()
    street.press()
    assert closed(17, 27) == (False, True)
    street.release()
    assert closed(17, 27) == (True, False)


def test_contacts_bounce_and_are_both_open_on_the_way():
    street = Street(PRIVACY)
    seen: list[tuple[int, int]] = []
    with (
        DigitalInputDevice(17, pull_up=True, pin_factory=street.factory) as nc,
        DigitalInputDevice(27, pull_up=True, pin_factory=street.factory) as no,
    ):

        def note() -> None:
            seen.append((nc.value, no.value))

        for device in (nc, no):
            device.when_activated = device.when_deactivated = note
        street.press()
    assert seen.count((0, 0)) > 1  # both open, more than once: it bounced
    assert seen[-1] == (0, 1)
    assert (1, 1) not in seen  # never both closed: break before make


def test_a_cut_wire_stays_open_whatever_the_hand_does(street, closed):
    street.cut_switch_wire("nc")
    assert closed(17, 27) == (False, False)
    street.press()
    street.release()
    assert closed(17, 27) == (False, False)
    street.cut_switch_wire()
    street.press()
    assert closed(17, 27) == (False, False)
    street.mend_switch_wire()
    assert closed(17, 27) == (False, True)


def test_a_crushed_wire_reads_closed_in_the_live_position(street, closed):
    street.short_switch_wire("no")
    assert closed(17, 27) == (True, True)


def test_a_loop_opens_and_closes(street, closed):
    assert closed(5) == (True,)
    street.cut_run("gate")
    assert closed(5) == (False,)
    street.mend_run("gate")
    assert closed(5) == (True,)
    street.cut_run("bridge")  # no loop is fitted: nothing to see there
    with pytest.raises(KeyError):
        street.short_run("bridge", at_m=5)
    with pytest.raises(KeyError):
        street.cut_run("nobody")


def test_the_lamps_are_seen_when_driven_and_dark_otherwise(street):
    assert street.lamps() == (False, False)
    with LED(23, pin_factory=street.factory) as private:
        private.on()
        assert street.lamps() == (True, False)
    assert street.lamps() == (False, False)
    assert Street(
        Privacy(switch=SwitchKind.NONE, lamp_private_pin=None, lamp_live_pin=None)
    ).lamps() == (False, False)


def test_a_pin_in_trouble_raises_at_each_access_until_mended(street, closed):
    street.break_pin(17, OSError(16, "GPIO busy"))
    for _ in range(2):
        with pytest.raises(OSError, match="GPIO busy"):
            closed(17)
    assert closed(27) == (False,)
    street.mend_pin(17)
    assert closed(17) == (True,)


# ---- the relay ----

K1 = Privacy(switch=SwitchKind.LATCHING, relay=Relay.FORCE_OFF, feedback_pin=19, buzzer_pin=24)


def off(street: Street) -> bool:
    with DigitalInputDevice(19, pull_up=True, pin_factory=street.factory) as feedback:
        return bool(feedback.value)


def test_the_third_block_takes_the_power_without_any_program():
    street = Street(K1)
    assert street.cameras_powered()
    assert not off(street)
    street.press()
    assert not street.cameras_powered()
    assert off(street)
    street.release()
    assert street.cameras_powered()


def test_high_forces_the_cameras_off_and_a_pin_let_go_does_not():
    street = Street(K1)
    with DigitalOutputDevice(16, initial_value=True, pin_factory=street.factory):
        assert not street.cameras_powered()
        assert off(street)
    assert street.cameras_powered()


def test_a_pump_holds_while_it_is_toggled_and_no_longer():
    now = [100.0]
    street = Street(replace(K1, relay=Relay.PUMP), now=lambda: now[0])
    assert not street.cameras_powered()
    with DigitalOutputDevice(16, pin_factory=street.factory) as pump:
        pump.on()
        assert not street.cameras_powered(), "one pulse is no pump"
        for _ in range(30):
            pump.toggle()
            now[0] += 0.05
        assert street.cameras_powered()
        assert not off(street)
        pump.on()  # stuck high is as good as stuck low
        now[0] += 1.0
        assert off(street), "read before anybody asked the relay"
        assert not street.cameras_powered()


def test_the_relays_faults_read_as_the_part_would():
    street = Street(K1)
    street.relay.welded = True
    street.press()
    assert street.cameras_powered()
    assert not off(street), "guided contacts: while one is welded, the other cannot close"
    street.relay.welded = False
    street.relay.block_3_shorted = True
    street.settle()
    assert street.cameras_powered()
    street.relay.block_3_shorted, street.relay.coil_broken = False, True
    street.release()
    assert not street.cameras_powered()
    street.cut_feedback_wire()
    assert not off(street)
    street.short_feedback_wire()
    assert off(street)
    street.relay.coil_broken = False
    street.settle()
    assert off(street)
    street.mend_feedback_wire()
    assert not off(street)


def test_the_feedback_bounces_as_the_relay_moves():
    street = Street(K1)
    edges: list[int] = []
    with DigitalInputDevice(19, pull_up=True, pin_factory=street.factory) as feedback:
        feedback.when_activated = feedback.when_deactivated = lambda: edges.append(feedback.value)
        street.press()
    assert len(edges) > 2
    assert edges[-1] == 1


def test_a_push_button_has_one_contact_and_no_third_block():
    street = Street(replace(K1, switch=SwitchKind.MOMENTARY))
    with DigitalInputDevice(17, pull_up=True, pin_factory=street.factory) as nc:
        assert nc.value == 1
        street.press()
        assert nc.value == 0
        assert street.cameras_powered()
        street.release()
        assert nc.value == 1
        street.short_switch_wire()
        street.press()
        assert nc.value == 1
        street.cut_switch_wire("nc")
        assert nc.value == 0
    assert not [pin for pin in street.factory.pins if pin.name == "GPIO27"]


def test_the_buzzer_is_heard_when_driven():
    street = Street(K1)
    assert not street.buzzes()
    with DigitalOutputDevice(24, initial_value=True, pin_factory=street.factory):
        assert street.buzzes()
    assert not street.buzzes()


def test_a_blow_against_the_switch_makes_edges_and_leaves_it_where_it_is():
    edges: list[int] = []
    street = Street(PRIVACY)
    with DigitalInputDevice(17, pull_up=True, pin_factory=street.factory) as nc:
        nc.when_activated = nc.when_deactivated = lambda: edges.append(nc.value)
        street.chatter(3)
        assert nc.value == 1
    assert len(edges) == 6


def test_without_a_switch_the_hand_moves_nothing():
    street = Street(Privacy(switch=SwitchKind.NONE))
    street.press()
    street.cut_switch_wire()
    street.release()
    assert not street.factory.pins
