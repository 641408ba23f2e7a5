"""The input board's ADC chips (MCP3208 or MCP3008), and the arithmetic of one reading.

Promises: a chip that cannot be opened or read raises `Unreadable` with the reason, whatever the library threw; it is closed
then and opened anew at the next try. Counts are the chip's own: gpiozero's `value` is shifted by half a step.
Not its job: the excitation and its rhythm (board.py), what counts mean in ohm (core/cable.py).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Final

from gpiozero import MCP3008, MCP3208

from edge_agent.sensors.pins import why_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpiozero import Factory

# Two are cut off at each end: a spike from a relay or a radio touches one sample of the sixteen, rarely two.
_CUT: Final = 2
# With the excitation off nothing drives the pairs; 1 % is 33 mV. The lowest true reading with it on, a short right at the
# terminals, is 6 % (the fusible resistors), so one limit serves both phases.
_NOTHING: Final = 0.01


class Unreadable(Exception):  # noqa: N818 - a reason, not an error of ours
    """A chip gave no counts; the text says why."""


class Chip:
    """One ADC on the box's SPI port. One thread only."""

    def __init__(self, select: int, bits: int, factory: Factory | None, why_none: str) -> None:
        self._select = select
        self._kind = MCP3208 if bits == 12 else MCP3008
        self._factory = factory
        self._why_none = why_none
        self._channels: dict[int, MCP3208 | MCP3008] = {}

    def counts(self, channel: int) -> int:
        """One conversion; raises `Unreadable`."""
        try:
            return int((self._channels.get(channel) or self._open(channel)).raw_value)
        except Unreadable:
            raise
        # A device that was closed under us raises AttributeError, an SPI node that went lgpio.error or OSError.
        except Exception as error:
            self.close()
            why = f"{self._name}: {why_of(error, self._factory)}"
            raise Unreadable(why) from error

    def _open(self, channel: int) -> MCP3208 | MCP3008:
        if self._factory is None:
            why = f"{self._name}: {self._why_none}"
            raise Unreadable(why)
        device = self._kind(channel, port=0, device=self._select, pin_factory=self._factory)
        self._channels[channel] = device
        return device

    @property
    def _name(self) -> str:
        return f"ADC {self._select + 1} (SPI 0.{self._select})"

    def close(self) -> None:
        """Let the port go; harmless when called twice."""
        channels, self._channels = self._channels, {}
        for device in channels.values():
            with contextlib.suppress(Exception):
                device.close()


@dataclass(frozen=True, slots=True)
class Average:
    """What is left of the conversions of one channel: mean and standard deviation, in counts."""

    mean: float
    spread: float


def trimmed(counts: Sequence[int]) -> Average:
    """Without the two highest and two lowest; of fewer than five there is nothing to cut."""
    kept = sorted(counts)[_CUT:-_CUT] if len(counts) > 2 * _CUT else list(counts)
    return Average(fmean(kept), pstdev(kept))


def self_test(
    off: Mapping[int, int], on: Mapping[int, Average], full_scale: int
) -> Mapping[int, str]:
    """By channel, why its reading says nothing about its cable; "" = it does.

    *off*: counts with the excitation off; *on*: with it on, same channels.
    """
    limit = _NOTHING * full_scale
    loud = [channel for channel, counts in off.items() if counts >= limit]
    if all(average.mean < limit for average in on.values()):
        dead = "nothing on any channel with the excitation on: its transistor, the ADC or its data line is dead"
        return dict.fromkeys(off, dead)
    if loud and len(loud) == len(off):
        stuck = "all channels read with the excitation off: its transistor, the ADC or its data line is stuck"
        return dict.fromkeys(off, stuck)
    return {
        channel: f"channel {channel} reads {counts} counts with the excitation off: a foreign voltage on this pair"
        if channel in loud
        else ""
        for channel, counts in off.items()
    }
