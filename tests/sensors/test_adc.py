"""One reading of the ADC: what spikes cannot do to it, and what its self-test lets through."""

from __future__ import annotations

from statistics import fmean, pstdev

import pytest
from gpiozero import GPIOPinInUse
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_agent.core.settings import MeasuredLoop, Privacy, Run, SwitchKind
from edge_agent.sensors.adc import Average, Chip, Unreadable, self_test, trimmed
from edge_agent.simulate import Bus, Street

FULL = 4096
counts = st.integers(0, FULL - 1)
sixteen = st.lists(counts, min_size=16, max_size=16)


@given(sixteen, st.lists(counts, min_size=0, max_size=2))
def test_two_spikes_never_take_the_mean_out_of_what_the_others_read(values, spikes):
    spoilt = [*values[: 16 - len(spikes)], *spikes]
    honest = values[: 16 - len(spikes)]
    average = trimmed(spoilt)
    assert min(honest) <= average.mean <= max(honest)
    assert 0 <= average.spread <= (max(honest) - min(honest)) / 2 + 1e-9


@given(sixteen, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_a_shift_only_shifts(values, random):
    assume(max(values) < FULL - 100)
    average = trimmed(values)
    shuffled = [value + 100 for value in values]
    random.shuffle(shuffled)
    moved = trimmed(shuffled)
    assert moved.mean == pytest.approx(average.mean + 100)
    assert moved.spread == pytest.approx(average.spread, abs=1e-9)


@given(st.lists(counts, min_size=1, max_size=4))
def test_of_fewer_than_five_nothing_is_cut(values):
    assert trimmed(values) == Average(fmean(values), pstdev(values))


def test_the_two_highest_and_the_two_lowest_are_cut():
    assert trimmed([0, 1, 10, 10, 10, 10, 4000, 4095]) == Average(10.0, 0.0)


# ---- self-test ----

LIMIT = 40.96  # 1 % of 4096
quiet = st.integers(0, 40)
loud = st.integers(41, FULL - 1)
channels = st.lists(st.integers(0, 7), min_size=1, max_size=8, unique=True)


def averages(on: dict[int, int]) -> dict[int, Average]:
    return {channel: Average(float(value), 0.0) for channel, value in on.items()}


@given(st.data(), channels)
def test_a_reading_passes_only_if_its_channel_was_quiet_and_the_excitation_was_seen(data, which):
    off = {channel: data.draw(counts) for channel in which}
    on = {channel: data.draw(counts) for channel in which}
    seen = any(value >= LIMIT for value in on.values())
    whys = self_test(off, averages(on), FULL)
    assert set(whys) == set(which)
    for channel in which:
        assert (whys[channel] == "") is (seen and off[channel] < LIMIT)


@given(channels)
def test_a_data_line_stuck_at_either_end_fails_all(which):
    for stuck in (0, FULL - 1):
        same = dict.fromkeys(which, stuck)
        whys = self_test(same, averages(same), FULL)
        assert all(whys.values())
        assert len(set(whys.values())) == 1  # one fault, one reason


def test_all_loops_open_at_once_is_no_fault_of_the_board():
    whys = self_test({0: 0, 1: 2}, averages({0: 4095, 1: 4095}), FULL)
    assert whys == {0: "", 1: ""}


def test_one_channel_with_a_voltage_of_its_own_spoils_no_other():
    whys = self_test({0: 0, 1: 900, 2: 0}, averages({0: 1810, 1: 2000, 2: 1810}), FULL)
    assert whys[0] == whys[2] == ""
    assert "channel 1" in whys[1]
    assert "foreign voltage" in whys[1]


def test_a_transistor_that_is_stuck_on_is_named():
    whys = self_test({0: 1810, 1: 4095}, averages({0: 1810, 1: 4095}), FULL)
    assert all("excitation off" in why for why in whys.values())


# ---- the chip ----


@pytest.fixture
def street():
    run = Run(camera="gate", cable="cat5e-outdoor", length_m=50, loop=MeasuredLoop(channel=3))
    return Street(Privacy(switch=SwitchKind.NONE), (run,))


def test_a_chip_counts_and_gives_its_pins_back(street):
    chip = Chip(0, 12, street.factory, "")
    assert chip.counts(3) < 5
    chip.close()
    chip.close()
    assert chip.counts(3) < 5  # opened anew
    chip.close()


def test_no_driver_is_the_reason_that_was_given():
    with pytest.raises(Unreadable, match=r"^ADC 2 \(SPI 0\.1\): this machine has no GPIO chip$"):
        Chip(1, 12, None, "this machine has no GPIO chip").counts(0)


def test_a_port_that_vanishes_while_open_is_a_reason_and_comes_back(street):
    chip = Chip(0, 12, street.factory, "")
    chip.counts(3)
    street.board.bus = Bus.GONE
    for _ in range(2):
        with pytest.raises(
            Unreadable,
            match=r"ADC 1 \(SPI 0\.0\): the SPI port cannot be opened: set dtparam=spi=on",
        ):
            chip.counts(3)
    street.board.bus = Bus.WORKS
    assert chip.counts(3) < 5


def test_a_device_closed_under_us_is_a_reason(street):
    """gpiozero raises AttributeError here, not its own DeviceClosed."""
    chip = Chip(0, 12, street.factory, "")
    chip.counts(3)
    chip._channels[3].close()
    with pytest.raises(Unreadable, match="AttributeError"):
        chip.counts(3)
    assert chip.counts(3) < 5


def test_a_select_pin_used_for_a_lamp_is_named(street):
    from gpiozero import LED

    with LED(8, pin_factory=street.factory), pytest.raises(Unreadable, match="used twice") as told:
        Chip(0, 12, street.factory, "").counts(3)
    assert isinstance(told.value.__cause__, GPIOPinInUse)
