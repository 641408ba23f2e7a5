"""What of a configuration needs pins, and what each of them is for; what config.txt asks of the board, and what of it counts.

Not its job: looking at any of it (board.py, switch.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_agent.core.settings import DigitalLoop, MeasuredLoop, Relay, Settings, SwitchKind
from edge_agent.doctor.check import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What the input board's chips take on SPI port 0.
SPI_PINS: Final = {7: "SPI CE1", 8: "SPI CE0", 9: "SPI MISO", 10: "SPI MOSI", 11: "SPI clock"}
LAMP_S: Final = 1.0  # each lamp is lit for so long: a look from one to the next takes half of it
LAMPS_S: Final = 4 * LAMP_S  # two lamps, the buzzer, and some time between them


def wants_adc(settings: Settings) -> tuple[bool, bool]:
    """Whether something hangs on the first and on the second ADC."""
    first = any(isinstance(run.loop, MeasuredLoop) for run in settings.runs)
    second = settings.electrics.door_channel is not None or any(
        run.current_channel is not None for run in settings.runs
    )
    return first, second


def wants_pins(settings: Settings) -> bool:
    """Whether anything is wired to the header. The usual lamp pins alone say nothing: they are there unless denied."""
    return any(what not in _LAMPS for what, _ in pins(settings)) or any(wants_adc(settings))


_LAMPS: Final = ("the lamp of private", "the lamp of live")


def pins(settings: Settings) -> Iterator[tuple[str, int]]:
    """(what for, BCM number) of every pin that the configuration uses by itself, the SPI port's not among them."""
    privacy, electrics = settings.privacy, settings.electrics
    if privacy.switch is not SwitchKind.NONE:
        yield "the switch's NC contact", privacy.nc_pin
    if privacy.switch is SwitchKind.LATCHING:
        yield "the switch's NO contact", privacy.no_pin
    if privacy.relay is not Relay.NONE:
        yield "the cameras' relay", privacy.relay_pin
    if wants_adc(settings)[0]:
        yield "the excitation of the loops", electrics.excitation_pin
    fitted = [
        ("the relay's feedback", privacy.feedback_pin),
        (_LAMPS[0], privacy.lamp_private_pin),
        (_LAMPS[1], privacy.lamp_live_pin),
        ("the buzzer", privacy.buzzer_pin),
        ("the cameras' 12 V", electrics.power_pin),
        ("the UPS's mains signal", electrics.mains_pin),
        ("the UPS's shutdown signal", electrics.shutdown_pin),
        ("the service button", electrics.service_pin),
    ]
    for run in settings.runs:
        fitted += [
            (
                f"the loop of {run.camera}",
                run.loop.pin if isinstance(run.loop, DigitalLoop) else None,
            ),
            (f"video present of {run.camera}", run.video_pin),
            (f"the recorder's alarm of {run.camera}", run.alarm_pin),
        ]
    yield from ((what, pin) for what, pin in fitted if pin is not None)


def boot_lines(root: Path) -> tuple[str, ...] | None:
    """The lines of config.txt, without remarks; None: there is none, or it may not be read."""
    for name in ("boot/firmware/config.txt", "boot/config.txt"):
        text = text_of(root / name)
        if text is not None:
            lines = (line.partition("#")[0].strip() for line in text.splitlines())
            return tuple(line for line in lines if line)
    return None


# The firmware applies what config.txt says to the device tree of the system that it starts, and says nothing where it cannot.


def takes_parameters(root: Path) -> bool:
    """Whether `dtparam=` does anything: the trees of Raspberry Pi OS list their parameters, no tree of Debian's kernel has any."""
    return (root / "proc/device-tree/__overrides__").is_dir()


def takes_overlays(root: Path) -> bool:
    """Whether `dtoverlay=` can do anything: it looks for names that the trees of Debian 12's kernel are built without."""
    return (root / "proc/device-tree/__symbols__").is_dir()
