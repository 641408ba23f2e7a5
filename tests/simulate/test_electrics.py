"""The street's cables and chips read as the schematic says, looked at through gpiozero alone."""

from __future__ import annotations

import math

import pytest
from gpiozero import MCP3008, MCP3208, DeviceClosed, DigitalOutputDevice, GPIOPinInUse
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import Line
from edge_agent.core.settings import Electrics, MeasuredLoop, Privacy, Run, SwitchKind
from edge_agent.simulate import Bus, Dice, Draw, Fet, InputBoard, Pair, Sky, Street

PRIVACY = Privacy(switch=SwitchKind.NONE)
RUN = Run(
    camera="gate",
    cable="cat5e-outdoor",
    length_m=50,
    loop=MeasuredLoop(channel=0),
    current_channel=2,
    video_pin=20,
)


def counts(pair: Pair, bits: int = 12) -> int:
    return InputBoard(bits=bits, pairs={0: pair}, noise=0.0).convert(0, 0, excited=True)


@pytest.mark.parametrize(
    ("pair", "at_12_bit", "at_10_bit"),
    [
        (Pair(50, short_at_m=0), 241, 60),
        (Pair(50, short_at_m=20), 330, 83),
        (Pair(50, short_at_m=50), 456, 114),
        (Pair(0), 1727, 432),
        (Pair(5), 1736, 434),
        (Pair(40), 1794, 449),
        (Pair(50), 1810, 453),
        (Pair(50, celsius=60), 1823, 456),
        (Pair(70), 1842, 460),
        (Pair(50, corroded_ohm=10), 1892, 473),
        (Pair(50, tamper_open=True), 2430, 608),
        (Pair(50, cut_at_m=17), 4095, 1023),
        (Pair(50, plug_at_m=5), 1736, 434),
    ],
)
def test_the_table_of_expected_counts(pair, at_12_bit, at_10_bit):
    assert counts(pair) == pytest.approx(at_12_bit, abs=1)
    assert counts(pair, bits=10) == pytest.approx(at_10_bit, abs=1)


def test_what_lies_beyond_a_cut_is_not_seen_and_before_it_is():
    assert math.isinf(Pair(50, cut_at_m=20, short_at_m=30).ohm())
    assert Pair(50, cut_at_m=30, short_at_m=20).ohm() == pytest.approx(13.2, abs=0.1)
    assert math.isinf(Pair(50, cut_at_m=0).ohm())
    pulled = Pair(50)
    pulled.plug_at_m = None
    assert math.isinf(pulled.ohm())


def test_damp_takes_away_and_a_shorted_tamper_switch_hides_the_housing():
    dry = Pair(50).ohm()
    assert dry - Pair(50, damp_ohm=10_000).ohm() == pytest.approx(1.2, abs=0.1)
    assert Pair(50, cut_at_m=3, damp_ohm=500).ohm() == pytest.approx(509.4)
    assert Pair(50, tamper_open=True, tamper_shorted=True).ohm() == dry
    assert Pair(50, tamper_open=True, tamper_ohm=None).ohm() == dry


def test_wires_from_elsewhere_and_a_missing_reference():
    board = InputBoard(noise=0.0, pairs={0: Pair(50, foreign_volts=0.0)})
    assert board.convert(0, 0, excited=True) == pytest.approx(241, abs=1)
    assert board.convert(0, 0, excited=False) == 0
    board.pairs[0] = Pair(50, foreign_volts=12.0)
    assert board.convert(0, 0, excited=False) == 4095
    board.pairs[0] = Pair(50, rref_open=True)
    assert board.convert(0, 0, excited=True) == 0


@pytest.mark.parametrize("bit_by_bit", [True, False])
@pytest.mark.parametrize(("bits", "kind"), [(12, MCP3208), (10, MCP3008)])
def test_each_channel_of_each_chip_answers_for_itself(bit_by_bit, bits, kind):
    runs = tuple(
        Run(
            camera=f"c{n}",
            cable="cat5e-outdoor",
            length_m=10 + 10 * n,
            loop=MeasuredLoop(channel=n),
            current_channel=n,
        )
        for n in range(8)
    )
    electrics = Electrics(adc_bits=bits, excitation_pin=24)
    street = Street(PRIVACY, runs, electrics, bit_by_bit=bit_by_bit)
    street.board.noise = 0.0
    for n in range(8):
        street.draw(f"c{n}").ma = 50.0 * n
    with DigitalOutputDevice(24, active_high=False, pin_factory=street.factory) as excitation:
        for n in range(8):
            with kind(n, port=0, device=0, pin_factory=street.factory) as first:
                assert first.raw_value == 0
                excitation.on()
                assert first.raw_value == counts(Pair(10 + 10 * n), bits)
                excitation.off()
            with kind(n, port=0, device=1, pin_factory=street.factory) as second:
                assert second.raw_value == pytest.approx(50 * n / 660 * 2**bits, abs=0.5)


@given(st.integers(0, 4095), st.integers(0, 7))
def test_bits_and_words_carry_the_same_number(value, channel):
    read = []
    for bit_by_bit in (True, False):
        street = Street(PRIVACY, (RUN,), bit_by_bit=bit_by_bit)
        street.board.noise = 0.0
        street.board.draws[channel] = Draw(ma=value / 4096 * 660)
        with MCP3208(channel, port=0, device=1, pin_factory=street.factory) as device:
            read.append(device.raw_value)
    assert read == [value, value]


def test_a_dead_chip_a_stuck_line_and_a_port_that_went():
    street = Street(PRIVACY, (RUN,), Electrics(door_channel=7))
    with (
        MCP3208(2, port=0, device=1, pin_factory=street.factory) as current,
        MCP3208(7, port=0, device=1, pin_factory=street.factory) as door,
    ):
        assert current.raw_value == pytest.approx(250 / 660 * 4096, abs=3)
        assert door.raw_value == pytest.approx(2048, abs=3)
        street.board.door_open = True
        assert door.raw_value == 4095
        street.board.dead_chips = {1}
        assert current.raw_value == door.raw_value == 0
        street.board.dead_chips = set()
        street.board.bus = Bus.STUCK_HIGH
        assert current.raw_value == 4095
        street.board.bus = Bus.STUCK_LOW
        assert current.raw_value == 0
        street.board.bus = Bus.GONE
        with pytest.raises(RuntimeError, match="can not open SPI device"):
            _ = current.raw_value
    with pytest.raises(AttributeError):
        _ = current.raw_value  # as on a box: no DeviceClosed


def test_the_transistor_dead_and_stuck():
    board = InputBoard(pairs={0: Pair(50)}, noise=0.0, fet=Fet.DEAD)
    assert board.convert(0, 0, excited=True) == 0
    board.fet = Fet.STUCK
    assert board.convert(0, 0, excited=False) == counts(Pair(50))
    assert (
        board.convert(0, 5, excited=False) == 4095
    )  # an empty channel has no loop to pull it down


def test_the_ports_pins_serve_nothing_else():
    street = Street(PRIVACY, (RUN,))
    with MCP3208(0, port=0, device=0, pin_factory=street.factory) as device:
        with (
            MCP3208(1, port=0, device=0, pin_factory=street.factory),
            MCP3208(1, port=0, device=1, pin_factory=street.factory),
        ):
            pass
        with pytest.raises(GPIOPinInUse):
            DigitalOutputDevice(8, pin_factory=street.factory)
        port = device._spi
    with pytest.raises(DeviceClosed):
        port.transfer([1])
    DigitalOutputDevice(8, pin_factory=street.factory).close()


def test_a_box_without_an_input_board_has_its_pins_free():
    street = Street(PRIVACY, ())
    with pytest.raises(RuntimeError, match="can not open SPI device"):
        MCP3208(0, port=0, device=0, pin_factory=street.factory)


def test_a_cut_run_has_no_loop_no_power_and_no_picture_until_mended():
    street = Street(PRIVACY, (RUN,))

    def state() -> tuple[bool, float, bool]:
        video = street.factory.pin(20)
        return (
            math.isinf(street.pair("gate").ohm()),
            street.draw("gate").now_ma(),
            bool(video.state),
        )

    assert state() == (False, 250.0, True)
    street.cut_run("gate", at_m=12)
    assert state() == (True, 0.0, False)
    street.mend_run("gate")
    assert state() == (False, 250.0, True)
    street.pull_plug("gate")
    assert state() == (True, 0.0, False)
    street.plug_in("gate", at_m=5)
    assert state() == (False, 250.0, True)
    assert street.pair("gate").ohm() == pytest.approx(110.3, abs=0.1)
    street.short_run("gate", at_m=20)
    assert state() == (False, 250.0, True)  # picture and power are on other pairs
    street.draw("gate").infrared = True
    assert state()[1] == 430.0
    street.set_line(Line.VIDEO, "gate", on=False)
    assert state()[2] is False


# ---- weather and dice ----


def test_dice_repeat_and_are_fair():
    one, other = Dice(7), Dice(7)
    rolled = [one() for _ in range(4000)]
    assert rolled == [other() for _ in range(4000)]
    assert min(rolled) >= 0
    assert max(rolled) < 1
    assert sum(rolled) / 4000 == pytest.approx(0.5, abs=0.03)
    errors = [one.normal(2.0) for _ in range(4000)]
    assert math.sqrt(sum(error**2 for error in errors) / 4000) == pytest.approx(2.0, rel=0.05)


def test_a_day_under_the_sky_is_cool_at_night_and_hot_at_noon_with_clouds_between():
    sky = Sky(Dice(3))
    days = [[sky.later(60) for _ in range(1440)] for _ in range(10)]
    for day in days[1:]:
        assert all(22 < celsius < 62 for celsius in day)
        assert max(day[180:300]) < 27  # three to five in the morning
        assert max(day) > 36  # warmer than the air ever is
    noons = [day[720] for day in days]
    assert max(noons) - min(noons) > 3  # clouds
