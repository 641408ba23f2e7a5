"""K1: driven by leave and hand, asked for its own word; a hung thread, a taken pin, a contact that bounces."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest

from edge_agent.core.messages import FindingKey, PowerCameras
from edge_agent.core.settings import Privacy, Relay, SwitchKind
from edge_agent.sensors.relay import SETTLE_S, CameraPower, Feedback
from edge_agent.shutter import Shutter
from edge_agent.simulate import SimulatedClock, Street
from tests.support.switchbox import FULL, SwitchBox

MODE_A = FULL
MODE_B = replace(FULL, relay=Relay.PUMP)


@dataclass
class Driven:
    """`CameraPower` alone, on a street whose switch nobody touches."""

    privacy: Privacy
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    shutter: Shutter = field(default_factory=Shutter)

    def __post_init__(self) -> None:
        self.street = Street(self.privacy, now=self.clock.now)
        self.power = CameraPower(self.privacy, self.street.factory, shutter=self.shutter)

    def run(self, seconds: float, *, contacts_live: bool = True) -> None:
        end = self.clock.at + seconds
        while self.clock.at < end:
            wait_s = self.power.round(self.clock.at, contacts_live=contacts_live)
            assert wait_s > 0
            self.clock.at += min(wait_s, 0.1)


@pytest.mark.parametrize("privacy", [MODE_A, MODE_B], ids=["A", "B"])
def test_power_needs_leave_the_newest_press_and_live_contacts_all_three(privacy):
    driven = Driven(privacy)
    driven.power.leave(on=True, press=0)
    driven.run(2)
    assert driven.street.cameras_powered()
    driven.run(2, contacts_live=False)
    assert not driven.street.cameras_powered()
    driven.run(2)
    assert driven.street.cameras_powered()
    driven.shutter.press()
    driven.run(2)
    assert not driven.street.cameras_powered(), "the leave was older than the press"
    driven.power.leave(on=True, press=0)
    driven.run(2)
    assert not driven.street.cameras_powered()
    driven.power.leave(on=True, press=1)
    driven.run(2)
    assert driven.street.cameras_powered()
    driven.power.leave(on=False, press=1)
    driven.run(2)
    assert not driven.street.cameras_powered()


def test_before_the_first_word_mode_a_leaves_it_to_the_switch_and_mode_b_gives_none():
    a, b = Driven(MODE_A), Driven(MODE_B)
    a.run(5)
    b.run(5)
    assert a.street.cameras_powered()
    assert not b.street.cameras_powered()
    a.run(0.1, contacts_live=False)
    assert not a.street.cameras_powered()


@pytest.mark.parametrize("privacy", [MODE_A, MODE_B], ids=["A", "B"])
def test_without_cut_power_private_takes_none(privacy):
    driven = Driven(replace(privacy, cut_power=False))
    driven.shutter.press()
    driven.run(3, contacts_live=False)
    assert driven.street.cameras_powered()


def test_the_pump_is_toggled_ten_times_a_second_and_still_otherwise():
    driven = Driven(MODE_B)
    levels: list[tuple[float, bool]] = []
    pin = driven.street._pin(16)
    moves = pin.moves
    assert moves is not None

    def note() -> None:
        levels.append((driven.clock.at, bool(pin._state)))
        moves()

    pin.moves = note
    driven.power.leave(on=True, press=0)
    driven.run(5)
    highs = [at for (_, before), (at, now) in itertools.pairwise(levels) if now > before]
    assert len(highs) == pytest.approx(50, abs=2)
    driven.shutter.press()
    driven.run(0.2)
    still = len(levels)
    assert pin._state is False
    driven.run(5)
    assert len(levels) == still


def test_a_hung_sensor_thread_takes_the_power_in_mode_b_within_a_second():
    driven = Driven(MODE_B)
    driven.power.leave(on=True, press=0)
    driven.run(3)
    assert driven.street.cameras_powered()
    driven.clock.at += 0.3  # a busy box
    assert driven.street.cameras_powered()
    driven.clock.at += 0.7
    assert not driven.street.cameras_powered()


@pytest.mark.parametrize(("privacy", "powered"), [(MODE_A, True), (MODE_B, False)])
def test_a_pin_let_go_leaves_it_to_the_switch_in_mode_a_and_takes_it_in_mode_b(privacy, powered):
    driven = Driven(privacy)
    driven.power.leave(on=True, press=0)
    driven.run(2)
    driven.run(0.1, contacts_live=privacy is MODE_B)
    driven.power.close()
    driven.power.close()
    driven.clock.at += 1.5
    assert driven.street.cameras_powered() is powered
    driven.street.press()
    assert not driven.street.cameras_powered()


@pytest.mark.parametrize(
    ("privacy", "means"),
    [(MODE_A, "the switch alone now cuts"), (MODE_B, "the cameras have no power")],
)
def test_a_pin_that_cannot_be_driven_says_what_that_means_and_stops_nothing(privacy, means):
    box = SwitchBox(privacy)
    box.street.break_pin(16, RuntimeError("GPIO busy"))
    box.wait(2)
    assert "relay on GPIO16: another program holds this pin" in box.reads[-1].undriven
    assert means in box.reads[-1].undriven
    box.wait(4)
    assert means in box.findings()[FindingKey.PRIVACY_UNDRIVEN]
    assert box.is_live() is (privacy is MODE_A)
    box.street.mend_pin(16)
    box.wait(40)
    assert box.is_live()
    assert box.reads[-1].undriven == ""
    assert FindingKey.PRIVACY_UNDRIVEN not in box.findings()


def test_a_relay_that_nobody_drives_needs_no_pin():
    driven = Driven(Privacy(switch=SwitchKind.LATCHING))
    assert driven.power.round(driven.clock.at, contacts_live=True) == float("inf")
    assert not [pin for pin in driven.street.factory.pins if pin.name == "GPIO16"]
    assert driven.power.why == ""


# ---- its own word ----


@dataclass
class Asked:
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    shutter: Shutter = field(default_factory=Shutter)
    wakes: int = 0

    def __post_init__(self) -> None:
        self.street = Street(MODE_A, now=self.clock.now)
        self.feedback = Feedback(19, self.street.factory, "", shutter=self.shutter, wake=self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def look(self, *, later: float = 1.1 * SETTLE_S) -> bool | None:
        self.clock.at += later
        return self.feedback.look(self.clock.at)

    def coil(self, *, broken: bool) -> None:
        self.street.relay.coil_broken = broken
        self.street.settle()


def test_powered_is_said_once_it_has_settled_and_no_bounce_on_the_way_up_presses():
    asked = Asked()
    asked.coil(broken=True)
    assert asked.look() is False
    asked.coil(broken=False)
    assert asked.look(later=0.01) is False
    assert asked.look(later=SETTLE_S / 2) is False
    assert asked.look() is True
    assert asked.shutter.presses == 0


def test_an_edge_within_the_settling_begins_it_anew():
    asked = Asked()
    asked.look()
    asked.coil(broken=True)
    asked.coil(broken=False)
    assert asked.look() is False
    assert asked.look() is True
    assert asked.shutter.presses == 0


def test_off_presses_by_its_edge_once_powered_was_said():
    asked = Asked()
    asked.look()
    assert asked.look() is True
    asked.coil(broken=True)
    assert asked.shutter.presses > 0
    assert asked.wakes > 0
    presses = asked.shutter.presses
    assert asked.look() is False
    told = asked.shutter.presses
    assert told >= presses
    for _ in range(5):
        asked.look()
    assert asked.shutter.presses == told, "off is told once"


def test_an_off_that_was_over_before_the_next_look_is_not_missed():
    asked = Asked()
    asked.look()
    assert asked.look() is True
    asked.coil(broken=True)
    asked.coil(broken=False)
    assert asked.shutter.presses > 0
    assert asked.look() is False
    assert asked.look() is True


def test_a_lost_edge_is_found_by_the_look():
    asked = Asked()
    asked.look()
    assert asked.look() is True
    device = asked.feedback._input._device
    assert device is not None
    device.when_activated = device.when_deactivated = None
    asked.coil(broken=True)
    assert asked.shutter.presses == 0
    assert asked.look() is False
    assert asked.shutter.presses == 1


def test_an_edge_right_before_powered_is_said_is_seen_by_the_second_look():
    """Between the look that finds it powered and the moment from which edges press, K1 drops and comes back."""
    asked = Asked()
    asked.look()
    reads = 0

    def drop() -> None:
        nonlocal reads
        reads += 1
        if reads == 1:
            # What the first look read is already on its way: this happens behind its back.
            asked.feedback._edges += 1

    asked.street._pin(19).moved = drop
    assert asked.look() is False
    assert asked.shutter.presses == 0
    assert asked.look() is True


def test_a_feedback_that_cannot_be_read_is_unknown_and_presses_if_it_was_powered():
    asked = Asked()
    asked.look()
    assert asked.look() is True
    asked.street.break_pin(19, OSError(5, "Input/output error"))
    assert asked.look() is None
    assert "GPIO19" in asked.feedback.why
    assert asked.shutter.presses == 1
    asked.street.mend_pin(19)
    assert asked.look(later=31) is False
    assert asked.look() is True
    asked.feedback.close()
    asked.feedback.close()


def test_the_core_takes_power_with_the_press_it_rests_on():
    box = SwitchBox()
    box.wait(6)
    given = [command for command in box.commands if isinstance(command, PowerCameras)]
    assert given[-1] == PowerCameras(on=True, press=box.shutter.presses)
