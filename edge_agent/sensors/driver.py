"""The real pins: lgpio on the chip behind the box's header, or the reason why there are none.

Promises: never another library, and never bit-banged SPI in hardware's stead: gpiozero's own choice would fall back in silence
to one that misses edges or shifts readings. Loading lgpio leaves the process in the folder where it was.
Not its job: what is wired to a pin.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gpiozero import Device

from edge_agent.sensors.pins import why_of

if TYPE_CHECKING:
    from gpiozero import Factory

# Labels of the chip behind the 40-pin header, where a line's number is its BCM number: Pi 5, Pi 4 and CM4, Pi 3 and older.
_HEADER_LABELS: Final = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
_UNKNOWN_PI_REVISION: Final = 0xC03115  # a Pi 4: only gives the 40 pins of the header their names
# What another board's device tree must call its lines, so that pin numbers in box.toml mean what they mean on a Pi. A shorter
# header names fewer; a pin that has no line of its name there is refused.
_LINE_NAMES: Final[Mapping[str, int]] = {f"GPIO{bcm}": bcm for bcm in range(2, 28)}


def edges_alive() -> bool:
    """Whether the pin library's edge thread still lives; True where it was never started. Any exception ends it silently."""
    library = sys.modules.get("lgpio")
    thread: object = getattr(library, "_notify_thread", None)
    return thread.is_alive() if isinstance(thread, threading.Thread) else True


def real_factory(devices: Path = Path("/dev")) -> tuple[Factory | None, str]:
    """The pins of this box's own header through lgpio, or None and the reason. Call once, before other threads run.

    The factory is made gpiozero's default, so that it is closed in good order at exit.
    """
    if not any(devices.glob("gpiochip[0-9]*")):
        return None, "this machine has no GPIO chip"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return _open_factory(devices), ""
        except Exception as error:  # noqa: BLE001 - a missing driver is a finding; the box runs on, private
            return None, _why_no_driver(error)


# ---- lgpio's folder ----


@contextlib.contextmanager
def _room_for_pipes() -> Iterator[None]:
    """While lgpio is loaded: LG_WD names a folder it can make its pipe in. Afterwards the process is back where it was.

    lgpio makes a pipe where LG_WD says (else in the working folder), raises where it cannot, and moves the whole process
    there. It needs the folder by name only while it is loaded, so nobody else has to live with that.
    """
    os.environ["LG_WD"] = str(_pipe_folder())
    here = os.open(
        ".", os.O_RDONLY | os.O_DIRECTORY
    )  # by handle: a folder that was deleted has no name
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def _pipe_folder() -> Path:
    """LG_WD, else the unit's own runtime folder, where they can be written to; else a private one until exit."""
    for name in ("LG_WD", "RUNTIME_DIRECTORY"):
        # systemd lists several runtime folders with colons between them.
        folder = Path(os.environ.get(name, "").split(":")[0])
        if folder.is_absolute() and folder.is_dir() and _can_make_a_pipe(folder):
            return folder
    folder = Path(tempfile.mkdtemp(prefix="edge-agent-lgpio-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _can_make_a_pipe(folder: Path) -> bool:
    # Tried, not asked: for root os.access says yes to /proc as well.
    trial = folder / f".edge-agent-{os.getpid()}"
    try:
        os.mkfifo(trial)
    except OSError:
        return False
    trial.unlink(missing_ok=True)
    return True


# ---- the header ----


class _NoHeader(Exception):  # noqa: N818 - a reason, not an error of ours
    """No chip of a known header."""


def _open_factory(devices: Path) -> Factory:
    with _room_for_pipes():
        # Imported here: loading it has the effects above, and fails where it is not installed.
        import lgpio  # noqa: F401, PLC0415
    factory = _header_factory()(*_header_chip(devices))
    Device.pin_factory = factory
    return factory


def _header_pin() -> type:
    """The class of one pin."""
    from gpiozero.pins.lgpio import LGPIOPin  # noqa: PLC0415

    class HeaderPin(LGPIOPin):  # type: ignore[misc]  # gpiozero has no types
        """A pin whose line on the chip may have another number than its name."""

        @property
        def _number(self) -> int:
            return int(self._line)

        @_number.setter
        def _number(self, bcm: int) -> None:
            self._line = self._factory.line_of(bcm)

    return HeaderPin


def _header_factory() -> Callable[[int, Mapping[int, int]], Factory]:
    """The class of our pins; made only once lgpio is there to stand on."""
    import lgpio  # noqa: PLC0415
    from gpiozero.exc import PinInvalidPin, PinUnknownPi  # noqa: PLC0415
    from gpiozero.pins.lgpio import LGPIOFactory  # noqa: PLC0415
    from gpiozero.pins.local import LocalPiFactory  # noqa: PLC0415

    class HeaderFactory(LGPIOFactory):  # type: ignore[misc]  # gpiozero has no types
        """lgpio on a chip chosen by us: gpiozero's releases disagree about which chip a Pi 5 has."""

        def __init__(self, chip: int, lines: Mapping[int, int]) -> None:
            LocalPiFactory.__init__(self)
            self._handle = lgpio.gpiochip_open(chip)
            self._chip = chip
            self.label = str(lgpio.gpio_get_chip_info(self._handle)[3])
            self.lines = lines
            self.pin_class = _header_pin()

        def owner_of(self, pin: int) -> str:
            """Who holds the line, as the kernel keeps it."""
            return str(lgpio.gpio_get_line_info(self._handle, self.line_of(pin))[4])

        def line_of(self, bcm: int) -> int:
            """The line of a BCM number. On a chip that is known by its lines' names: that name's, and no other's."""
            if self.lines and bcm not in self.lines:
                msg = f"no line of this board's GPIO chip ({self.label}) is named GPIO{bcm}"
                raise PinInvalidPin(msg)
            return self.lines.get(bcm, bcm)

        def spi(self, **arguments: object) -> object:
            """Hardware SPI, or the library's own error: the base class would go on with bit-banging."""
            pins, others = self._extract_spi_args(**arguments)
            kind = self._get_spi_class(bool(others.get("shared")), hardware=True)
            return kind(pin_factory=self, **pins)

        def _get_revision(self) -> int:
            try:
                return int(super()._get_revision())
            except PinUnknownPi:
                return _UNKNOWN_PI_REVISION

    made: Callable[[int, Mapping[int, int]], Factory] = HeaderFactory
    return made


def _header_chip(devices: Path) -> tuple[int, Mapping[int, int]]:
    """Number of the chip behind the header, and its lines by BCM number where those differ.

    Found by the chip's label, as numbers move between kernels; on other boards than a Pi by its lines' names, "GPIO2" to
    "GPIO27", and then it is the chip with the most of them. A bare line number of an unknown chip could be anything, the
    board's own reset included.
    """
    import lgpio  # noqa: PLC0415

    seen: list[str] = []
    named: dict[int, Mapping[int, int]] = {}
    chips = sorted(
        int(name.name.removeprefix("gpiochip")) for name in devices.glob("gpiochip[0-9]*")
    )
    for chip in chips:
        try:
            handle = lgpio.gpiochip_open(chip)
            _, lines, _, label = lgpio.gpio_get_chip_info(handle)
            names = [str(lgpio.gpio_get_line_info(handle, line)[3]) for line in range(int(lines))]
            lgpio.gpiochip_close(handle)
        except lgpio.error as error:
            seen.append(f"gpiochip{chip} ({error})")
            continue
        if label in _HEADER_LABELS:
            return chip, {}
        seen.append(f"gpiochip{chip} ({label})")
        found = {_LINE_NAMES[name]: line for line, name in enumerate(names) if name in _LINE_NAMES}
        if found:
            named[chip] = found
    if named:
        return max(named.items(), key=lambda each: (len(each[1]), -each[0]))
    raise _NoHeader(", ".join(seen))


def _why_no_driver(error: Exception) -> str:
    if isinstance(error, ImportError) and getattr(error, "name", "") == "lgpio":
        return "the pin library lgpio is not installed: pip install 'edge-agent[box]'"
    if isinstance(error, _NoHeader):
        seen = str(error)
        if "ermission" in seen:
            return f"no right to open the GPIO chips: the service's user must be in the group gpio; seen: {seen}"
        return (
            f"no GPIO chip of a known header ({', '.join(_HEADER_LABELS)}), and none with lines named GPIO2 to"
            f" GPIO27; seen: {seen}"
        )
    return why_of(error)
