"""The privacy switch, the supervised loops and the two lamps: pins in, events out.

Promises: the first reading that is not "live" presses the shutter before anybody is told; a pin that cannot be opened or
read is None with a reason, never a default, and is tried again; levels are polled ten times a second, so a lost edge or a
hung library thread costs 0.1 s, not the promise. With no pin driver at all every pin reads None and the box still runs.
Threads: one of our own reads, posts and drives the lamps; the driver's edge thread only presses the shutter and wakes it.
Not its job: what a reading means (core/privacy.py, core/cable.py), debouncing, which pattern the lamps show.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gpiozero import Device, DigitalInputDevice, DigitalOutputDevice

from edge_agent.core.messages import Died, Event, Lamp, LoopRead, SwitchRead
from edge_agent.core.privacy import is_live
from edge_agent.core.settings import Privacy, Run, SwitchKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpiozero import Factory

    from edge_agent.clock import Clock
    from edge_agent.shutter import Shutter

POLL_S: Final = 0.1
SWITCH_REPEAT_S: Final = 1.0  # the core takes 3 s of silence for "unreadable"
LOOP_REPEAT_S: Final = 5.0
RETRY_S: Final = 30.0  # a pin held by another program is free when that program ends; nobody waits for it in a hurry
# A bouncing contact or a wire beside a motor makes thousands of edges a second; each presses the shutter, but rounds are
# at least this far apart, so that they cannot eat the processor.
_ROUND_MIN_S: Final = 0.01

# Labels of the chip behind the 40-pin header: Pi 5, Pi 4 and CM4, Pi 3 and older.
_HEADER_LABELS: Final = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
_UNKNOWN_PI_REVISION: Final = 0xC03115  # a Pi 4: only gives the 40 pins of the header their names


# ---- lamps ----


@dataclass(frozen=True, slots=True)
class _Pattern:
    """When each lamp is lit within a period: windows of seconds."""

    period_s: float
    private: tuple[tuple[float, float], ...] = ()
    live: tuple[tuple[float, float], ...] = ()


_STEADY: Final = ((0.0, 1.0),)
_BLIP: Final = ((0.0, 0.1),)
_DOUBLE: Final = ((0.0, 0.1), (0.3, 0.4))
# Told apart by place and rhythm before colour; never above 3 flashes a second. A steady "live" lamp is not used: it could
# be a dead agent.
_PATTERNS: Final[Mapping[Lamp, _Pattern]] = {
    Lamp.PRIVATE: _Pattern(1.0, private=_STEADY),
    Lamp.LIVE: _Pattern(3.0, live=_BLIP),
    Lamp.VERIFYING: _Pattern(1.0, private=((0.0, 0.5),), live=((0.5, 1.0),)),
    Lamp.HELD: _Pattern(2.0, live=_DOUBLE),
    Lamp.WIRING_FAULT: _Pattern(2.0, private=((0.0, 2.0),), live=_DOUBLE),
    Lamp.SUSPENDED: _Pattern(3.0, private=_BLIP),  # dark for the public, but by the city's word
}


def lit(lamp: Lamp, at: float) -> tuple[bool, bool, float]:
    """Whether the private and the live lamp are lit at *at*, and for how many seconds that stays so."""
    pattern = _PATTERNS[lamp]
    phase_s = at % pattern.period_s
    private, live = (
        any(start <= phase_s < end for start, end in windows)
        for windows in (pattern.private, pattern.live)
    )
    edges = [
        edge for window in (*pattern.private, *pattern.live) for edge in window if edge > phase_s
    ]
    return private, live, min([*edges, pattern.period_s]) - phase_s


# ---- pins ----


class _Input:
    """One contact between a pin and ground: closed pulls the pin low. Sensor thread only."""

    def __init__(
        self, pin: int, factory: Factory | None, why_no_factory: str, *, woken: Callable[[], None]
    ) -> None:
        self._pin = pin
        self._factory = factory
        self._woken = woken
        self._device: DigitalInputDevice | None = None
        self._retry_at = float("-inf")
        self.why = f"GPIO{pin}: {why_no_factory}" if factory is None else ""

    def closed(self, at: float) -> bool | None:
        """Whether the contact is closed; None = cannot be read, and `why` says why."""
        if self._factory is None or (self._device is None and at < self._retry_at):
            return None
        try:
            device = self._device or self._open()
            level_low = bool(device.value)
        except Exception as error:  # noqa: BLE001 - whatever keeps a pin from being read, it means "cannot be read"
            self.why = f"GPIO{self._pin}: {_why(error)}"
            self._retry_at = at + RETRY_S
            self.close()
            return None
        self.why = ""
        return level_low

    def _open(self) -> DigitalInputDevice:
        device = DigitalInputDevice(self._pin, pull_up=True, pin_factory=self._factory)
        self._device = device
        device.when_activated = self._woken
        device.when_deactivated = self._woken
        return device

    def close(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            # A pin that failed may fail again on closing; there is nothing left to save then.
            with contextlib.suppress(Exception):
                device.close()


class _Output:
    """One lamp. Sensor thread only."""

    def __init__(self, pin: int | None, factory: Factory | None) -> None:
        self._pin = pin
        self._factory = factory
        self._device: DigitalOutputDevice | None = None
        self._retry_at = float("-inf")
        self._lit: bool | None = None
        self.why = ""

    def show(self, *, lit_now: bool, at: float) -> None:
        if (
            self._factory is None
            or self._pin is None
            or (self._device is None and at < self._retry_at)
        ):
            return
        if self._device is not None and lit_now == self._lit:
            return
        try:
            if self._device is None:
                self._device = DigitalOutputDevice(
                    self._pin, initial_value=lit_now, pin_factory=self._factory
                )
            self._device.value = lit_now
        except Exception as error:  # noqa: BLE001 - a lamp that cannot be lit is told, and stops nothing
            self.why = f"lamp on GPIO{self._pin}: {_why(error)}"
            self._retry_at = at + RETRY_S
            self.close()
            return
        self._lit = lit_now
        self.why = ""

    def close(self) -> None:
        device, self._device = self._device, None
        self._lit = None
        if device is not None:
            with contextlib.suppress(Exception):
                device.off()
            with contextlib.suppress(Exception):
                device.close()


_REASONS: Final = (
    ("GPIO busy", "another program holds this pin (gpioinfo shows which): stop it"),
    ("GPIOPinInUse", "used twice within this program: each pin serves one purpose"),
    ("PinInvalidPin", "this board has no such pin"),
    ("PinUnknownPi", "this is no Raspberry Pi that the pin library knows"),
    ("BadPinFactory", "no pin library can be used here"),
    ("PermissionError", "no right to use the pins: the service's user must be in the group gpio"),
)
_FIFO: Final = re.compile(r"(?i)\.lgd-nfy|can.?t create|fifo|notify")


def _why(error: BaseException) -> str:
    """A reason for a technician, with the library's own words behind it."""
    text = f"{type(error).__name__}: {error}"[:200]
    for mark, reason in _REASONS:
        if mark in text:
            return f"{reason} ({text})"
    if _FIFO.search(text):
        return f"lgpio cannot make its pipe in {Path.cwd()}: set LG_WD to a folder it may write to ({text})"
    return text


# ---- the part ----


def edges_alive() -> bool:
    """Whether the pin library's edge thread still lives; True where it was never started. Any exception ends it silently."""
    library = sys.modules.get("lgpio")
    thread: object = getattr(library, "_notify_thread", None)
    return thread.is_alive() if isinstance(thread, threading.Thread) else True


class Sensors:
    """Reads the switch and the loops, drives the lamps. Entering starts its thread; leaving closes the shutter and darkens the lamps.

    `show` and `progress` may be called from any thread and never block.
    """

    def __init__(
        self,
        privacy: Privacy,
        runs: tuple[Run, ...],
        *,
        factory: Factory | None,
        why_no_factory: str,
        shutter: Shutter,
        post: Callable[[Event], None],
        clock: Clock,
        edges_alive: Callable[[], bool] = edges_alive,
    ) -> None:
        self._shutter = shutter
        self._post = post
        self._clock = clock
        self._edges_alive = edges_alive
        self._switch: tuple[_Input, _Input] | None = None
        if privacy.switch is not SwitchKind.NONE:
            self._switch = (
                _Input(privacy.nc_pin, factory, why_no_factory, woken=self._pressed),
                _Input(privacy.no_pin, factory, why_no_factory, woken=self._pressed),
            )
        self._loops = {
            run.camera: _Input(run.loop_pin, factory, why_no_factory, woken=self._wake_up)
            for run in runs
            if run.loop_pin is not None
        }
        self._lamps = (
            _Output(privacy.lamp_private_pin, factory),
            _Output(privacy.lamp_live_pin, factory),
        )
        self._lamp = Lamp.PRIVATE
        self._was_live = True  # so that the first reading that is not live presses
        self._told_switch: tuple[SwitchRead, float] | None = None
        self._told_loops: dict[str, tuple[LoopRead, float]] = {}
        self._progress_at = clock.now()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)

    def __enter__(self) -> Sensors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def show(self, lamp: Lamp) -> None:
        """Show this pattern until told otherwise; while the switch is not live, "private" wins over it."""
        self._lamp = lamp
        self._wake.set()

    def progress(self) -> float:
        """When the last round ended, in seconds since boot."""
        return self._progress_at

    # -- the driver's edge thread --

    def _pressed(self) -> None:
        """An edge of either contact, up or down: never a moment to send in. Must not raise: that would end the thread."""
        self._shutter.press()
        self._wake.set()

    def _wake_up(self) -> None:
        self._wake.set()

    # -- our thread --

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._wake.wait(self._round()):
                    self._stop.wait(_ROUND_MIN_S)
                # Cleared before reading: an edge from here on is either seen by the reading or wakes the next round.
                self._wake.clear()
        except Exception as error:  # noqa: BLE001 - the top of a thread: nothing may end it in silence
            self._shutter.press()
            self._post(Died(part="sensors", detail=f"{type(error).__name__}: {error}"))
        finally:
            self._shutter.press()  # nobody looks at the switch from here on
            for part in (*(self._switch or ()), *self._loops.values(), *self._lamps):
                part.close()

    def _round(self) -> float:
        """Read all, tell what changed, set the lamps; returns how long the next round may wait."""
        at = self._clock.now()
        live = self._read_switch(at)
        for camera, loop in self._loops.items():
            self._read_loop(camera, loop, at)
        stays_s = self._set_lamps(at, live=live)
        if not self._edges_alive():
            # The polling above still sees a press within 0.1 s, but only a new process has a new edge thread.
            self._shutter.press()
            self._post(Died(part="gpio edges", detail="the pin library's edge thread has ended"))
            self._stop.set()
        self._progress_at = self._clock.now()
        return min(POLL_S, stays_s)

    def _read_switch(self, at: float) -> bool:
        # The count is taken before the levels: a press in between makes the reading void, not the press forgotten.
        press = self._shutter.presses
        nc_closed: bool | None = True
        no_closed: bool | None = False
        why = ""
        if self._switch is not None:
            nc, no = self._switch
            nc_closed, no_closed = nc.closed(at), no.closed(at)
            why = "; ".join(part.why for part in (nc, no) if part.why)
        live = is_live(nc_closed, no_closed)
        if self._was_live and not live:
            press = self._shutter.press()
        self._was_live = live
        why = "; ".join(text for text in (why, *(lamp.why for lamp in self._lamps)) if text)
        event = SwitchRead(nc_closed=nc_closed, no_closed=no_closed, press=press, why=why)
        if (
            self._told_switch is None
            or self._told_switch[0] != event
            or at - self._told_switch[1] >= SWITCH_REPEAT_S
        ):
            self._told_switch = (event, at)
            self._post(event)
        return live

    def _read_loop(self, camera: str, loop: _Input, at: float) -> None:
        event = LoopRead(camera=camera, closed=loop.closed(at), why=loop.why)
        told = self._told_loops.get(camera)
        if told is None or told[0] != event or at - told[1] >= LOOP_REPEAT_S:
            self._told_loops[camera] = (event, at)
            self._post(event)

    def _set_lamps(self, at: float, *, live: bool) -> float:
        lamp = self._lamp
        if not live and lamp is not Lamp.WIRING_FAULT:
            lamp = (
                Lamp.PRIVATE
            )  # true at once, even if the core is busy: the shutter is closed already
        private_lit, live_lit, stays_s = lit(lamp, at)
        self._lamps[0].show(lit_now=private_lit, at=at)
        self._lamps[1].show(lit_now=live_lit, at=at)
        return stays_s


# ---- the real pins ----


def real_factory(devices: Path = Path("/dev")) -> tuple[Factory | None, str]:
    """The pins of this box's own header through lgpio, or None and the reason. Call once, before other threads run.

    Never another library: gpiozero's own choice would fall back in silence to one that misses edges. The factory is made
    gpiozero's default, so that it is closed in good order at exit.
    """
    if not any(devices.glob("gpiochip[0-9]*")):
        return None, "this machine has no GPIO chip"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return _open_factory(devices), ""
        except Exception as error:  # noqa: BLE001 - a missing driver is a finding; the box runs on, private
            return None, _why_no_driver(error)


class _NoHeader(Exception):  # noqa: N818 - a reason, not an error of ours
    """No chip of a known header."""


def _open_factory(devices: Path) -> Factory:
    # Imported here: it makes a pipe in the working folder, and that may fail.
    import lgpio  # noqa: PLC0415
    from gpiozero.exc import PinUnknownPi  # noqa: PLC0415
    from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin  # noqa: PLC0415
    from gpiozero.pins.local import LocalPiFactory  # noqa: PLC0415

    class HeaderFactory(LGPIOFactory):  # type: ignore[misc]  # gpiozero has no types
        """lgpio on a chip chosen by us: gpiozero's releases disagree about which chip a Pi 5 has."""

        def __init__(self, chip: int) -> None:
            LocalPiFactory.__init__(self)
            self._handle = lgpio.gpiochip_open(chip)
            self._chip = chip
            self.pin_class = LGPIOPin

        def _get_revision(self) -> int:
            try:
                return int(super()._get_revision())
            except PinUnknownPi:
                return _UNKNOWN_PI_REVISION

    factory = HeaderFactory(_header_chip(devices))
    Device.pin_factory = factory
    return factory


def _header_chip(devices: Path) -> int:
    """The number of the chip behind the header, found by its label: the numbers move between kernels."""
    import lgpio  # noqa: PLC0415

    seen: list[str] = []
    chips = sorted(
        int(name.name.removeprefix("gpiochip")) for name in devices.glob("gpiochip[0-9]*")
    )
    for chip in chips:
        try:
            handle = lgpio.gpiochip_open(chip)
            label = str(lgpio.gpio_get_chip_info(handle)[3])
            lgpio.gpiochip_close(handle)
        except lgpio.error as error:
            seen.append(f"gpiochip{chip} ({error})")
            continue
        if label in _HEADER_LABELS:
            return chip
        seen.append(f"gpiochip{chip} ({label})")
    raise _NoHeader(", ".join(seen))


def _why_no_driver(error: Exception) -> str:
    if isinstance(error, ImportError) and getattr(error, "name", "") == "lgpio":
        return "the pin library lgpio is not installed: pip install 'edge-agent[box]'"
    if isinstance(error, _NoHeader):
        seen = str(error)
        if "ermission" in seen:
            return f"no right to open the GPIO chips: the service's user must be in the group gpio; seen: {seen}"
        return f"no GPIO chip of a known header ({', '.join(_HEADER_LABELS)}); seen: {seen}"
    return _why(error)
