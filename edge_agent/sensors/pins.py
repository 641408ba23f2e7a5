"""One pin each: a contact or level that is read, a lamp or transistor that is driven.

Promises: a pin that cannot be opened or read is None with a reason that names the pin, the remedy and, where the kernel
tells, who holds it; it is never a default, and it is tried again after half a minute.
Threads: one owner each; only the callback that was handed in runs in the pin library's thread.
Not its job: what a level means; which library is used (driver.py).
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from gpiozero import DigitalInputDevice, DigitalOutputDevice, InputDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpiozero import Factory

# A pin held by another program is free when that program ends; nobody waits for it in a hurry.
RETRY_S: Final = 30.0


class Input:
    """One contact or level. *low_is_on*: a contact to ground with a pull-up; else a driven level with a pull-down."""

    def __init__(
        self,
        pin: int,
        factory: Factory | None,
        why_no_factory: str,
        *,
        low_is_on: bool = True,
        woken: Callable[[], None] | None = None,
    ) -> None:
        self._pin = pin
        self._factory = factory
        self._low_is_on = low_is_on
        self._woken = woken
        self._device: InputDevice | None = None
        self._retry_at = float("-inf")
        self.why = f"GPIO{pin}: {why_no_factory}" if factory is None else ""

    def on(self, at: float) -> bool | None:
        """Whether the contact is closed or the level is high; None = cannot be read, and `why` says why."""
        if self._factory is None or (self._device is None and at < self._retry_at):
            return None
        try:
            device = self._device or self._open()
            active = bool(device.value)
        except Exception as error:  # noqa: BLE001 - whatever keeps a pin from being read, it means "cannot be read"
            self.why = f"GPIO{self._pin}: {why_of(error, self._factory, self._pin)}"
            self._retry_at = at + RETRY_S
            self.close()
            return None
        self.why = ""
        return active

    def _open(self) -> InputDevice:
        if self._woken is None:
            # Without edge detection: a line that chatters wakes nobody.
            self._device = InputDevice(
                self._pin, pull_up=self._low_is_on, pin_factory=self._factory
            )
            return self._device
        device = DigitalInputDevice(self._pin, pull_up=self._low_is_on, pin_factory=self._factory)
        self._device = device
        device.when_activated = self._woken
        device.when_deactivated = self._woken
        return device

    def close(self) -> None:
        """Give the pin back; harmless when called twice."""
        device, self._device = self._device, None
        if device is not None:
            # A pin that failed may fail again on closing; there is nothing left to save then.
            with contextlib.suppress(Exception):
                device.close()


class Output:
    """One lamp, buzzer or relay, active high; *pin* None = not fitted. Failing to drive it is told in `why`, and stops nothing."""

    def __init__(self, pin: int | None, factory: Factory | None, *, what: str = "lamp") -> None:
        self._pin = pin
        self._factory = factory
        self._what = what
        self._device: DigitalOutputDevice | None = None
        self._retry_at = float("-inf")
        self._on: bool | None = None
        self.why = ""

    def drive(self, *, on: bool, at: float) -> bool:
        """Put it on or off; whether it is so now."""
        if (
            self._factory is None
            or self._pin is None
            or (self._device is None and at < self._retry_at)
        ):
            return False
        if self._device is not None and on == self._on:
            return True
        try:
            if self._device is None:
                self._device = DigitalOutputDevice(
                    self._pin, initial_value=on, pin_factory=self._factory
                )
            self._device.value = on
        except Exception as error:  # noqa: BLE001 - a lamp that cannot be lit is told, and stops nothing
            self.why = f"{self._what} on GPIO{self._pin}: {why_of(error, self._factory, self._pin)}"
            self._retry_at = at + RETRY_S
            self.close()
            return False
        self._on = on
        self.why = ""
        return True

    def close(self) -> None:
        """Off, and the pin given back; harmless when called twice."""
        device, self._device = self._device, None
        self._on = None
        if device is not None:
            with contextlib.suppress(Exception):
                device.off()
            with contextlib.suppress(Exception):
                device.close()


@runtime_checkable
class KnowsOwners(Protocol):
    """A pin factory that can ask the kernel who holds a line."""

    def owner_of(self, pin: int) -> str:
        """The consumer's name as the kernel keeps it; "" = not known."""
        ...


def owners_of(factory: Factory | None, pins: Iterable[int]) -> dict[int, str]:
    """Who holds each of *pins*, by the kernel's own notes; nothing is claimed. Pins that nobody holds are left out."""
    found: dict[int, str] = {}
    if isinstance(factory, KnowsOwners):
        for pin in pins:
            with contextlib.suppress(
                Exception
            ):  # a line that cannot be asked is told when it is opened
                found[pin] = factory.owner_of(pin)
    return {pin: name for pin, name in found.items() if name}


_BUSY: Final = "GPIO busy"
_REASONS: Final = (
    (_BUSY, "another program holds this pin{owner}: stop it"),
    ("GPIOPinInUse", "used twice within this program: each pin serves one purpose"),
    ("PinInvalidPin", "this board has no such pin"),
    ("PinUnknownPi", "this is no Raspberry Pi that the pin library knows"),
    ("PinFixedPull", "this pin has a fixed pull-up on the board: choose another"),
    ("BadPinFactory", "no pin library can be used here"),
    (
        "can not open SPI device",
        (
            "the SPI port cannot be opened: set dtparam=spi=on in config.txt (does nothing with Debian's kernel: docs/wiring.md), "
            "restart, and see that the user is in the group spi"
        ),
    ),
    ("PermissionError", "no right to use the pins: the service's user must be in the group gpio"),
)
_FIFO: Final = re.compile(r"(?i)\.lgd-nfy|can.?t create|fifo|notify")


def why_of(error: BaseException, factory: Factory | None = None, pin: int | None = None) -> str:
    """A reason for a technician, with the library's own words behind it."""
    text = f"{type(error).__name__}: {error}"[:200]
    for mark, reason in _REASONS:
        if mark in text:
            return f"{reason.format(owner=_owner(factory, pin))} ({text})"
    if _FIFO.search(text):
        return f"lgpio cannot make its pipe in {Path.cwd()}: set LG_WD to a folder it may write to ({text})"
    return text


def _owner(factory: Factory | None, pin: int | None) -> str:
    """Who holds *pin*, in brackets, or where that can be seen."""
    name = ""
    if pin is not None and isinstance(factory, KnowsOwners):
        with contextlib.suppress(Exception):  # it only adds to a reason
            name = factory.owner_of(pin)
    return f' (it calls itself "{name}")' if name else " (gpioinfo shows which)"
