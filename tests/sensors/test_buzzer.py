"""One long, two short, three short: heard by the street's ear, round by round."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.core.messages import Sound
from edge_agent.sensors.buzzer import Buzzer
from edge_agent.simulate import SimulatedClock, Street
from tests.support.switchbox import FULL, SwitchBox


@dataclass
class Ear:
    pin: int | None = 24
    press: int = 0
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    heard: list[tuple[float, float]] = field(default_factory=list)  # (since, how long)

    def __post_init__(self) -> None:
        self.street = Street(replace(FULL, buzzer_pin=self.pin), now=self.clock.now)
        self.buzzer = Buzzer(self.pin, self.street.factory)
        self.began = self.clock.at
        self._since: float | None = None

    def listen(self, seconds: float) -> None:
        """Rounds as the sensor thread makes them: when the buzzer wants one, and ten times a second."""
        end = self.clock.at + seconds
        while self.clock.at < end:
            wait_s = self.buzzer.round(self.clock.at, press=self.press)
            buzzes = self.street.buzzes()
            if buzzes and self._since is None:
                self._since = self.clock.at
            elif not buzzes and self._since is not None:
                self.heard.append((self._since - self.began, self.clock.at - self._since))
                self._since = None
            self.clock.at += min(max(wait_s, 0.001), 0.1, end - self.clock.at + 1e-9)

    @property
    def lengths(self) -> list[float]:
        return [round(length, 2) for _, length in self.heard]


@pytest.mark.parametrize(
    ("sound", "count"), [(Sound.PRIVATE, 1), (Sound.LIVE, 2), (Sound.FAULT, 3)]
)
def test_each_sound_has_its_pattern_and_ends(sound, count):
    ear = Ear()
    ear.buzzer.say(sound, press=0)
    ear.listen(5)
    assert len(ear.heard) == count
    if sound is Sound.PRIVATE:
        assert ear.lengths == [pytest.approx(0.6, abs=0.02)]
    else:
        assert all(length < 0.2 for length in ear.lengths)
    assert not ear.street.buzzes()


def test_private_cuts_off_what_sounds_and_what_waits():
    ear = Ear()
    ear.buzzer.say(Sound.FAULT, press=0)
    ear.buzzer.say(Sound.FAULT, press=0)
    ear.listen(0.05)
    ear.buzzer.say(Sound.PRIVATE, press=1)
    ear.listen(3)
    assert ear.lengths == [pytest.approx(0.65, abs=0.02)]


def test_two_sounds_are_kept_apart():
    ear = Ear()
    ear.buzzer.say(Sound.PRIVATE, press=0)
    ear.listen(0.1)
    ear.buzzer.say(Sound.FAULT, press=0)
    ear.listen(4)
    assert len(ear.heard) == 4
    assert ear.heard[1][0] - (ear.heard[0][0] + ear.heard[0][1]) >= 0.45


def test_live_is_dropped_unsaid_after_a_press_and_cut_off_by_one():
    ear = Ear()
    ear.buzzer.say(Sound.LIVE, press=0)
    ear.press = 1
    ear.listen(2)
    assert ear.heard == []
    ear.buzzer.say(Sound.LIVE, press=1)
    ear.listen(0.05)
    assert ear.street.buzzes()
    ear.press = 2
    ear.listen(2)
    assert len(ear.heard) == 1
    assert ear.lengths[0] <= 0.1


def test_where_none_is_fitted_nothing_waits_and_nothing_is_driven():
    ear = Ear(pin=None)
    ear.buzzer.say(Sound.PRIVATE, press=0)
    assert ear.buzzer.round(ear.clock.at, press=0) == float("inf")
    assert not ear.street.buzzes()


def test_one_that_cannot_be_driven_is_told_and_stops_nothing():
    box = SwitchBox()
    box.street.break_pin(24, RuntimeError("GPIO busy"))
    box.wait(6)
    assert box.is_live()
    assert "buzzer on GPIO24: another program" in box.reads[-1].undriven


def test_a_press_is_answered_by_one_long_and_a_storm_of_orders_ends():
    box = SwitchBox()
    box.wait(6)
    box.street.press()
    box.wait(0.1)
    assert box.street.buzzes()
    box.wait(1)
    assert not box.street.buzzes()
    for _ in range(1000):
        box.sensors.beep(Sound.FAULT)
    box.wait(10)
    assert not box.street.buzzes()


# A press cuts "live" off within a tone while "fault" waits: it must not run on in the same tone.
@example(orders=[(Sound.LIVE, 0.35), (Sound.FAULT, 0.02), (None, 1.0)])
@given(
    st.lists(
        st.tuples(st.sampled_from([*Sound, None]), st.floats(0.01, 1.5)), min_size=1, max_size=15
    )
)
def test_it_always_falls_silent_and_no_tone_outlasts_its_pattern(orders):
    ear = Ear()
    for sound, pause_s in orders:
        if sound is None:
            ear.press += 1
        else:
            ear.buzzer.say(sound, press=ear.press)
        ear.listen(pause_s)
    ear.listen(8)
    assert not ear.street.buzzes()
    privates = sum(sound is Sound.PRIVATE for sound, _ in orders)
    # "Private" said again while it sounds goes on; all else is short.
    assert all(length <= 0.13 + 0.61 * privates for _, length in ear.heard)
    ear.buzzer.close()
    assert not ear.street.buzzes()
