"""The cables of a street and the input board that measures them: copper in the sun, damp joints, cuts, dead chips.

Promise: `Pair` and `InputBoard` compute what the schematic of docs/wiring.md would give, down to the counts of each
conversion; a chip answers bit by bit, as its data sheet says. Numbers are drawn from the dice handed in, so a run repeats.
Not its job: pins (street.py), what counts mean (core/cable.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from gpiozero.pins.mock import MockSPIDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpiozero.pins.mock import MockFactory

CAT5E_OHM_PER_M: Final = 0.1876  # both wires of one metre of run, at 20 degrees
_COPPER_PER_KELVIN: Final = 0.00393
_FUSES_OHM: Final = 9.4  # two fusible resistors of 4.7 ohm between board and terminals
_CONTACT_OHM: Final = 0.03  # of two wires crushed together
_VREF: Final = 3.3
_MA_FULL_SCALE: Final = 660.0  # 0.1 ohm shunt, gain 50


class Dice:
    """Numbers that look random and repeat: uniform in [0, 1) when called."""

    def __init__(self, seed: int = 1) -> None:
        self._state = seed

    def __call__(self) -> float:
        """The next one (Knuth's MMIX generator)."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 11) / 2**53

    def normal(self, spread: float) -> float:
        """Around 0, with this standard deviation."""
        return spread * math.sqrt(-2 * math.log(1 - self())) * math.cos(2 * math.pi * self())


def _parallel(one: float, other: float) -> float:
    if math.isinf(one) or math.isinf(other):
        return min(one, other)
    return one * other / (one + other)


@dataclass
class Pair:
    """One supervised pair, from the ADC's channel to the plug at its far end. Change any of it while it is being measured."""

    length_m: float
    rref_ohm: float = 150.0
    eol_ohm: float = 100.0
    tamper_ohm: float | None = 100.0
    ohm_per_m: float = CAT5E_OHM_PER_M
    celsius: float = 20.0  # of the copper
    plug_at_m: float | None = field(default=None)  # where the plug is now; None = on nothing
    cut_at_m: float | None = None
    short_at_m: float | None = None
    tamper_open: bool = False
    tamper_shorted: bool = False  # the switch's own wires are crushed: it looks shut for ever
    corroded_ohm: float = 0.0  # in series, at a joint
    damp_ohm: float = math.inf  # across the pair, at the terminals
    loose_ohm: float = 0.0  # a contact that moves: up to so much, different at each look
    foreign_volts: float | None = None  # on wire A, from elsewhere; 0.0 = earth
    rref_open: bool = False

    def __post_init__(self) -> None:
        if self.plug_at_m is None:
            self.plug_at_m = self.length_m

    def copper(self, metres: float) -> float:
        """Of both wires over so much of the run, at the copper's temperature."""
        return metres * self.ohm_per_m * (1 + _COPPER_PER_KELVIN * (self.celsius - 20))

    def ohm(self, chance: Callable[[], float] = lambda: 0.0) -> float:
        """What the board sees, its own fusible resistors included; infinite = open."""
        return _FUSES_OHM + _parallel(self.damp_ohm, self._beyond(chance))

    def _beyond(self, chance: Callable[[], float]) -> float:
        whole_m = math.inf if self.cut_at_m is None else self.cut_at_m
        if self.short_at_m is not None and self.short_at_m <= whole_m:
            return self.copper(self.short_at_m) + _CONTACT_OHM
        if self.plug_at_m is None or self.plug_at_m > whole_m:
            return math.inf
        plug = self.eol_ohm
        if self.tamper_open and not self.tamper_shorted and self.tamper_ohm is not None:
            plug += self.tamper_ohm
        return self.copper(self.plug_at_m) + self.corroded_ohm + self.loose_ohm * chance() + plug

    def share(self, chance: Callable[[], float], *, excited: bool) -> float:
        """Of full scale, at the ADC's channel."""
        if self.foreign_volts is not None:
            if self.foreign_volts == 0.0:
                return _FUSES_OHM / (_FUSES_OHM + self.rref_ohm) if excited else 0.0
            return min(1.0, self.foreign_volts / _VREF)
        if not excited or self.rref_open:
            return 0.0
        ohm = self.ohm(chance)
        return 1.0 if math.isinf(ohm) else ohm / (ohm + self.rref_ohm)


@dataclass
class Draw:
    """What one camera takes from its supply."""

    ma: float = 250.0
    infrared_ma: float = 180.0
    infrared: bool = False  # its lamps are on, as at dusk
    fed: bool = True

    def now_ma(self) -> float:
        """As it passes the shunt."""
        return (self.ma + (self.infrared_ma if self.infrared else 0.0)) if self.fed else 0.0


class Fet(Enum):
    """The transistor that excites all loops."""

    WORKS = "works"
    DEAD = "dead"  # never conducts
    STUCK = "stuck"  # always conducts


class Bus(Enum):
    """The chips' data line, and the port behind it."""

    WORKS = "works"
    STUCK_HIGH = "stuck high"
    STUCK_LOW = "stuck low"
    GONE = "gone"  # no such device any more


@dataclass
class InputBoard:
    """Two ADCs: pairs by channel on the first; camera currents by channel and the door on the second."""

    bits: int = 12
    pairs: dict[int, Pair] = field(default_factory=dict)
    draws: dict[int, Draw] = field(default_factory=dict)
    door_channel: int | None = None
    door_open: bool = False
    fet: Fet = Fet.WORKS
    bus: Bus = Bus.WORKS
    dead_chips: set[int] = field(default_factory=set)  # 0, 1: answer nothing but zeros
    noise: float = 0.3  # counts, standard deviation
    hum: float = 0.0  # counts, amplitude at 50 Hz
    now: Callable[[], float] = lambda: 0.0  # only hum asks
    dice: Dice = field(default_factory=Dice)

    def convert(self, chip: int, channel: int, *, excited: bool) -> int:
        """One conversion, in counts."""
        full = (1 << self.bits) - 1
        if self.bus is Bus.STUCK_HIGH:
            return full
        if self.bus is Bus.STUCK_LOW or chip in self.dead_chips:
            return 0
        return max(0, min(full, int(self.exact(chip, channel, excited=excited) + 0.5)))

    def exact(self, chip: int, channel: int, *, excited: bool) -> float:
        """The level at a channel in counts, with noise and hum, before the chip rounds it."""
        share = self._share(chip, channel, excited=excited)
        hum = self.hum * math.sin(2 * math.pi * 50 * self.now()) if self.hum else 0.0
        return share * (1 << self.bits) + self.dice.normal(self.noise) + hum

    def _share(self, chip: int, channel: int, *, excited: bool) -> float:
        if chip == 0:
            excited = self.fet is Fet.STUCK or (excited and self.fet is Fet.WORKS)
            pair = self.pairs.get(channel)
            # An empty channel has its reference resistor and no loop.
            return float(excited) if pair is None else pair.share(self.dice, excited=excited)
        if channel == self.door_channel:
            return 1.0 if self.door_open else 0.5
        draw = self.draws.get(channel)
        return 0.0 if draw is None else draw.now_ma() / _MA_FULL_SCALE


# gpiozero's port 0: clock, data to the chip, data from it, select of chip 0 and 1.
CLOCK, TO_CHIP, FROM_CHIP = 11, 10, 9
SELECTS: Final = (8, 7)


class McpChip(MockSPIDevice):  # type: ignore[misc]  # gpiozero has no types
    """An MCP3208 or MCP3008 on mock pins: after a start bit, single-ended and three channel bits, it clocks a conversion out."""

    def __init__(
        self, number: int, board: InputBoard, excited: Callable[[], bool], factory: MockFactory
    ) -> None:
        self._number = number
        self._board = board
        self._excited = excited
        self._start: int | None = None
        super().__init__(CLOCK, TO_CHIP, FROM_CHIP, SELECTS[number], pin_factory=factory)

    def on_start(self) -> None:
        """Selected: wait for the start bit."""
        super().on_start()
        self._start = None

    def on_bit(self) -> None:
        """A bit came in; the fifth since the start bit names the channel, and two clocks later the answer begins."""
        if self._start is None:
            self._start = self.rx_bit if self.rx_buf[-1] else None
        elif self.rx_bit == self._start + 4:
            high, middle, low = self.rx_buf[-3:]
            counts = self.convert(int(high) << 2 | int(middle) << 1 | int(low))
            answer = (counts >> bit & 1 for bit in range(self._board.bits - 1, -1, -1))
            self.tx_buf = [0, 0, *answer]

    def exchange(self, words: Sequence[int]) -> list[int]:
        """The same for whole words at once: what the chip clocks out while these go in."""
        sent = int.from_bytes(bytes(words), "big")
        # From the start bit on: five bits in, two clocks of silence, the answer.
        length = sent.bit_length()
        counts = self.convert(sent >> (length - 5) & 7)
        answer = counts << (length - 7 - self._board.bits)
        return list(answer.to_bytes(len(words), "big"))

    def convert(self, channel: int) -> int:
        """One conversion of *channel* now."""
        return self._board.convert(self._number, channel, excited=self._excited())


class Sky:
    """The temperature of a black cable sheath on a pole in Semarang: nights of 23 degrees, noons of 60, clouds in between."""

    _LAG_S: Final = 600.0  # the cable follows sun and air within ten minutes
    _CLOUDS_S: Final = 900.0

    def __init__(self, dice: Dice, *, at_s: float = 0.0) -> None:
        """*at_s*: seconds since some midnight."""
        self._dice = dice
        self._at_s = at_s
        self._sunny = 0.7
        self.celsius = self._drive()

    def later(self, seconds: float) -> float:
        """The copper's temperature so much later."""
        self._at_s += seconds
        drift = seconds / self._CLOUDS_S
        self._sunny += drift * (0.65 - self._sunny) + self._dice.normal(0.35 * math.sqrt(drift))
        self._sunny = max(0.1, min(1.0, self._sunny))
        self.celsius += (self._drive() - self.celsius) * (1 - math.exp(-seconds / self._LAG_S))
        return self.celsius

    def _drive(self) -> float:
        hour = self._at_s / 3600 % 24
        air = 29.5 + 6.5 * math.cos(2 * math.pi * (hour - 14) / 24)
        sun = max(0.0, math.sin(math.pi * (hour - 6) / 12))
        return air + 26.0 * sun * self._sunny
