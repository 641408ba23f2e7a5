"""What the lines of config.txt do to the pins of the header: overlays, parameters and plain `gpio=` lines.

The pins are those of the kernel's overlays/README (their defaults, and the parameter that moves them). An overlay that is not
listed here is said nothing about: a pin that the kernel holds is told by its owner (header.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_I2S: Final = (18, 19, 20, 21)
_SPI0: Final = (8, 9, 10, 11)

# name: pins it always takes, and {parameter: its default} of those that can be moved.
_OVERLAYS: Final[Mapping[str, tuple[tuple[int, ...], Mapping[str, int]]]] = {
    "w1-gpio": ((), {"gpiopin": 4}),
    "w1-gpio-pullup": ((), {"gpiopin": 4, "extpullup": 5}),
    "gpio-ir": ((), {"gpio_pin": 18}),
    "gpio-ir-tx": ((), {"gpio_pin": 18}),
    "pwm-ir-tx": ((), {"gpio_pin": 18}),
    "gpio-fan": ((), {"gpiopin": 12}),
    "gpio-shutdown": ((), {"gpio_pin": 3}),
    "gpio-poweroff": ((), {"gpiopin": 26}),
    "gpio-key": ((), {"gpio": -1}),
    "gpio-led": ((), {"gpio": -1}),
    "pps-gpio": ((), {"gpiopin": 18}),
    "dht11": ((), {"gpiopin": 4}),
    "rotary-encoder": ((), {"pin_a": 4, "pin_b": 17}),
    "pwm": ((), {"pin": 18}),
    "pwm-2chan": ((), {"pin": 18, "pin2": 19}),
    "pwm1": ((), {}),
    "audremap": ((12, 13), {}),
    "i2c-gpio": ((), {"i2c_gpio_sda": 23, "i2c_gpio_scl": 24}),
    "spi1-1cs": ((19, 20, 21), {"cs0_pin": 18}),
    "spi1-2cs": ((19, 20, 21), {"cs0_pin": 18, "cs1_pin": 17}),
    "spi1-3cs": ((19, 20, 21), {"cs0_pin": 18, "cs1_pin": 17, "cs2_pin": 16}),
    "i2s-mmap": (_I2S, {}),
    "i2s-gpio28-31": ((), {}),
    "mcp2515-can0": (_SPI0, {"interrupt": 25}),
    "mcp2515-can1": ((7, 9, 10, 11), {"interrupt": 25}),
    "enc28j60": (_SPI0, {"int_pin": 25}),
    "max98357a": (_I2S, {"sdmode-pin": 4}),
    "uart2": ((0, 1), {}),
    "uart3": ((4, 5), {}),
    "uart4": ((8, 9), {}),
    "uart5": ((12, 13), {}),
    "sdio": (tuple(range(22, 28)), {}),
    "vga666": (tuple(range(22)), {}),
    "dpi18": (tuple(range(22)), {}),
    "dpi24": (tuple(range(28)), {}),
    "pitft28-resistive": ((7, *_SPI0, 24, 25), {}),
    "pitft22": ((*_SPI0, 25), {}),
    "piscreen": ((7, *_SPI0, 17, 22, 24, 25), {}),
}
# Sound boards of many makers, all on the same four pins.
_SOUND: Final = re.compile(
    r"(hifiberry|iqaudio|allo|justboom|audioinjector|rpi-(dac|proto)|googlevoicehat|wm8960|seeed-.*voicecard)"
)
_PARAMETERS: Final[Mapping[str, tuple[int, ...]]] = {
    "i2c": (2, 3), "i2c_arm": (2, 3), "i2c1": (2, 3), "i2c_vc": (0, 1), "i2c0": (0, 1),
    "spi": (7, *_SPI0), "i2s": _I2S,
}  # fmt: skip
_ON: Final = {"", "on", "yes", "true", "1"}
_DRIVEN: Final = re.compile(r"op|a[0-5]")


def claims(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(BCM number, the line that takes it) for each pin that *lines* of config.txt take."""
    for line in lines:
        key, _, value = (part.strip() for part in line.partition("="))
        if key in {"dtoverlay", "device_tree_overlay"}:
            found = _overlay(value)
        elif key in {"dtparam", "device_tree_param"}:
            found = _parameter(value)
        elif key == "gpio":
            found = _plain(value)
        elif key == "enable_uart" and value == "1":
            found = (14, 15)
        else:
            continue
        yield from ((pin, line) for pin in found)


def _overlay(value: str) -> tuple[int, ...]:
    name, *words = value.replace(":", ",").split(",")
    name = name.strip().removesuffix(".dtbo").removesuffix("-overlay")
    if _SOUND.match(name):
        return _I2S
    if name not in _OVERLAYS:
        return ()
    fixed, moved = _OVERLAYS[name]
    given = dict(word.strip().partition("=")[::2] for word in words)
    if name == "audremap" and "pins_18_19" in given:
        return (18, 19)
    pins = (_number(given.get(parameter), usual) for parameter, usual in moved.items())
    return fixed + tuple(pin for pin in pins if pin >= 0)


def _parameter(value: str) -> tuple[int, ...]:
    pins: tuple[int, ...] = ()
    for word in value.split(","):
        name, _, setting = word.strip().partition("=")
        if setting in _ON:
            pins += _PARAMETERS.get(name, ())
    return pins


def _plain(value: str) -> tuple[int, ...]:
    """`gpio=17,20-22=op,dh`: outputs and other functions; an input that is only pulled disturbs nobody."""
    where, _, how = value.partition("=")
    if not any(_DRIVEN.fullmatch(word.strip()) for word in how.split(",")):
        return ()
    pins: list[int] = []
    for word in where.split(","):
        first, _, last = word.strip().partition("-")
        low, high = _number(first, -1), _number(last or first, -1)
        pins += range(low, min(high, 27) + 1) if low >= 0 else ()
    return tuple(pins)


def _number(text: str | None, usual: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 4 else usual
