"""The input board: loops measured with a pulse twice a second, camera currents and the door beside them.

Promises: each reading of a loop passed the board's self-test (nothing with the excitation off, something with it on), or it is
told as unreadable with the reason: a fault of the board is never a fault of a cable. Sixteen conversions per channel, spread
over two periods of the mains, so that hum cancels. The excitation is off outside of a reading, also when reading fails.
Threads: one of its own. It sleeps nearly all of the time, so the 50 ms of a pulse never delay a look at the switch.
Not its job: what a resistance means (core/cable.py), the lines on pins of their own (lines.py).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from gpiozero import DigitalOutputDevice

from edge_agent.core.cable import ohm_of_counts
from edge_agent.core.messages import Event, Line, LineRead, LoopMeasured
from edge_agent.core.settings import Electrics, MeasuredLoop, Run
from edge_agent.part import Part
from edge_agent.sensors.adc import Average, Chip, Unreadable, self_test, trimmed
from edge_agent.sensors.lines import Teller
from edge_agent.sensors.pins import why_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpiozero import Factory

    from edge_agent.clock import Clock

# A little more than twice a second: a run cut right after the last sample that could have told still reads open in 0.5 s.
PERIOD_S: Final = 0.48
# The filter at each channel is 1 kohm and 100 nF; the long pair with its surge parts needs longer than its 0.1 ms.
SETTLE_S: Final = 0.005
SAMPLES: Final = 16
SPREAD_S: Final = 0.040  # two periods of 50 Hz
# An SPI node that went, or a transistor's pin that another program took: the loops are blind meanwhile, so sooner than a lamp.
RETRY_S: Final = 5.0

# 0.1 ohm shunt, gain 50, full scale 3.3 V.
_MA_FULL_SCALE: Final = 3300 / (0.1 * 50)
_NEAR_MA: Final = 5.0  # a camera's own ripple; its heater or infrared lamp is tens of mA
# The door's switch shuts an end-of-line resistor in, as large as its pull-up: half of full scale. Anything else is "open".
_DOOR_SHUT: Final = (0.3, 0.7)
_NEAR_DOOR: Final = 0.05


class _Side:
    """One chip, the channels of it that are fitted, and what came of the reading under way."""

    def __init__(self, chip: Chip, channels: Sequence[int]) -> None:
        self.chip = chip
        self.channels = tuple(channels)
        self.off: dict[int, int] = {}  # counts with the excitation off
        self.why = ""  # why there are no averages
        self._counts: dict[int, list[int]] = {}
        self._retry_at = float("-inf")

    def begin(self, at: float) -> bool:
        """Forget the last reading; whether this one is worth a try."""
        self.off, self._counts = {}, {channel: [] for channel in self.channels}
        usable = bool(self.channels) and at >= self._retry_at
        if usable:
            self.why = ""
        return usable

    def convert(self) -> None:
        """One conversion of each channel."""
        for channel in self.channels:
            self._counts[channel].append(self.chip.counts(channel))

    def fail(self, why: str, at: float) -> None:
        """No reading, and none for a while."""
        self.why, self._retry_at = why, at + RETRY_S

    def average(self, channel: int) -> Average | None:
        """What came of it; None = `why`."""
        return None if self.why else trimmed(self._counts[channel])


class Board:
    """Measures what the runs and the box have on the two ADCs. Entering starts its thread, if anything is fitted."""

    def __init__(
        self,
        runs: tuple[Run, ...],
        electrics: Electrics,
        *,
        factory: Factory | None,
        why_no_factory: str,
        post: Callable[[Event], None],
        clock: Clock,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """*pause* waits so many seconds; left out, the thread's own wait, which leaving cuts short."""
        self._loops = [(run.camera, run.loop) for run in runs if isinstance(run.loop, MeasuredLoop)]
        self._currents = [
            (run.camera, run.current_channel) for run in runs if run.current_channel is not None
        ]
        self._door = electrics.door_channel
        self._bits = electrics.adc_bits
        self._full_scale = 2**electrics.adc_bits
        self._measured, self._beside = (
            _Side(Chip(select, electrics.adc_bits, factory, why_no_factory), channels)
            for select, channels in (
                (0, [loop.channel for _, loop in self._loops]),
                (
                    1,
                    [
                        *(channel for _, channel in self._currents),
                        *([] if self._door is None else [self._door]),
                    ],
                ),
            )
        )
        self._excitation = _Excitation(electrics.excitation_pin, factory)
        self._post = post
        self._clock = clock
        self._teller = Teller(post)
        self._part = Part("input board", self._run, post=post)
        self._pause = pause or self._part.wait
        self._progress_at = clock.now()

    @property
    def fitted(self) -> bool:
        """Whether there is anything to measure."""
        return bool(self._loops or self._currents or self._door is not None)

    def __enter__(self) -> Board:
        if self.fitted:
            self._part.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._part.leave()

    def progress(self) -> float:
        """When the last reading ended, in seconds since boot; now, if there is nothing to measure."""
        return self._progress_at if self.fitted else self._clock.now()

    # -- our thread --

    def _run(self) -> None:
        try:
            wait_s = 0.0
            while not self._part.wait(wait_s):
                next_at = self._clock.now() + PERIOD_S
                self.read()
                wait_s = max(0.0, next_at - self._clock.now())
        finally:
            self.close()

    def close(self) -> None:
        """Excitation off, all given back; harmless when called twice."""
        self._excitation.close()
        for side in (self._measured, self._beside):
            side.chip.close()

    def read(self) -> None:
        """One reading of everything: takes about 50 ms, and tells it."""
        at = self._clock.now()
        self._measure(at)
        self._tell_loops()
        self._tell_currents(at)
        self._tell_door(at)
        self._progress_at = self._clock.now()

    def _measure(self, at: float) -> None:
        going = [side for side in (self._measured, self._beside) if side.begin(at)]
        try:
            going = [side for side in going if self._did(self._excite, side, at)]
            began = self._clock.now()
            for number in range(1, SAMPLES + 1):
                going = [side for side in going if self._did(_Side.convert, side, at)]
                if not going:
                    break
                self._pause(max(0.0, began + number * SPREAD_S / SAMPLES - self._clock.now()))
        finally:
            self._excitation.off()

    @staticmethod
    def _did(step: Callable[[_Side], None], side: _Side, at: float) -> bool:
        try:
            step(side)
        except Unreadable as error:
            side.fail(str(error), at)
            return False
        return True

    def _excite(self, side: _Side) -> None:
        if side is self._measured:
            side.off = {channel: side.chip.counts(channel) for channel in side.channels}
            self._excitation.on()
            self._pause(SETTLE_S)

    # -- telling --

    def _tell_loops(self) -> None:
        side = self._measured
        averages = {
            channel: average
            for channel in side.channels
            if (average := side.average(channel)) is not None
        }
        whys = (
            self_test(side.off, averages, self._full_scale)
            if averages
            else dict.fromkeys(side.channels, side.why)
        )
        for camera, loop in self._loops:
            average = averages.get(loop.channel, Average(0.0, 0.0))
            why = whys[loop.channel]
            ohm, spread_ohm = (None, 0.0) if why else self._ohm(loop, average)
            self._post(
                LoopMeasured(
                    camera=camera, ohm=ohm, spread_ohm=spread_ohm, counts=average.mean, why=why
                )
            )

    def _ohm(self, loop: MeasuredLoop, average: Average) -> tuple[float, float]:
        ohm, low, high = (
            ohm_of_counts(counts, rref_ohm=loop.rref_ohm, bits=self._bits)
            for counts in (
                average.mean,
                average.mean - average.spread,
                average.mean + average.spread,
            )
        )
        # Towards an open circuit ohm run away from counts, and their spread says nothing any more.
        return ohm, (high - low) / 2 if high < float("inf") else 0.0

    def _tell_currents(self, at: float) -> None:
        side = self._beside
        for camera, channel in self._currents:
            average = side.average(channel)
            value = None if average is None else average.mean / self._full_scale * _MA_FULL_SCALE
            event = LineRead(line=Line.CURRENT, camera=camera, on=None, value=value, why=side.why)
            self._teller.tell(event, at=at, near=_NEAR_MA)

    def _tell_door(self, at: float) -> None:
        if self._door is None:
            return
        average = self._beside.average(self._door)
        on, share, why = None, None, self._beside.why
        if average is not None:
            share = average.mean / self._full_scale
            on = not _DOOR_SHUT[0] <= share <= _DOOR_SHUT[1]
            why = "the door's wire is shorted" if share < _DOOR_SHUT[0] else ""
        event = LineRead(line=Line.DOOR, camera=None, on=on, value=share, why=why)
        self._teller.tell(event, at=at, near=_NEAR_DOOR)


class _Excitation:
    """The transistor that puts 3.3 V on all loops: active low, off whenever nobody measures."""

    def __init__(self, pin: int, factory: Factory | None) -> None:
        self._pin = pin
        self._factory = factory
        self._device: DigitalOutputDevice | None = None

    def on(self) -> None:
        try:
            if self._device is None:
                self._device = DigitalOutputDevice(
                    self._pin, active_high=False, initial_value=False, pin_factory=self._factory
                )
            self._device.on()
        except Exception as error:
            self.close()
            why = f"excitation on GPIO{self._pin}: {why_of(error, self._factory, self._pin)}"
            raise Unreadable(why) from error

    def off(self) -> None:
        if self._device is not None:
            try:
                self._device.off()
            except Exception:  # noqa: BLE001 - the pin went; the next reading says so
                self.close()

    def close(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            # Closing leaves a floating input: the board's pull-up to 3V3 holds the transistor off.
            with contextlib.suppress(Exception):
                device.off()
            with contextlib.suppress(Exception):
                device.close()
