"""What lines of config.txt do to pins."""

from __future__ import annotations

import pytest

from edge_agent.doctor.overlays import claims


@pytest.mark.parametrize(
    ("line", "pins"),
    [
        ("dtoverlay=w1-gpio", {4}),
        ("dtoverlay=w1-gpio,gpiopin=17", {17}),
        ("dtoverlay=w1-gpio:gpiopin=17", {17}),
        ("dtoverlay=gpio-shutdown,gpio_pin=27,active_low=1", {27}),
        ("dtoverlay=hifiberry-dacplus", {18, 19, 20, 21}),
        ("dtoverlay=spi1-3cs", {16, 17, 18, 19, 20, 21}),
        ("dtoverlay=pwm-2chan,pin=12", {12, 19}),
        ("dtoverlay=audremap,pins_18_19", {18, 19}),
        ("dtoverlay=gpio-key", set()),
        ("dtoverlay=vc4-kms-v3d", set()),
        ("dtparam=i2c_arm=on,spi=on", {2, 3, 7, 8, 9, 10, 11}),
        ("dtparam=spi=off", set()),
        ("gpio=17,22-24=op,dh", {17, 22, 23, 24}),
        ("gpio=17=ip,pu", set()),
        ("gpio=5-99=op", set(range(5, 28))),
        ("gpio=nonsense=op", set()),
        ("enable_uart=1", {14, 15}),
        ("enable_uart=0", set()),
        ("arm_64bit=1", set()),
    ],
)
def test_pins_that_a_line_takes(line, pins):
    assert {pin for pin, _ in claims([line])} == pins
    assert all(of == line for _, of in claims([line]))
