"""Which configuration needs pins, and which; what config.txt says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edge_agent.core.settings import (
    DigitalLoop,
    Electrics,
    Hub,
    Identity,
    MeasuredLoop,
    Privacy,
    Relay,
    Run,
    Settings,
    SwitchKind,
)
from edge_agent.doctor.hardware import boot_lines, pins, wants_adc, wants_pins

BARE = Settings(
    identity=Identity(kelurahan="a", rw="1", rt="1", box="b"),
    hub=Hub(host="127.0.0.1", port=1883, tls=None),
    privacy=Privacy(switch=SwitchKind.NONE),
)


def run(**fitted: Any) -> Run:
    return Run(camera="gate", cable="cat5e-outdoor", length_m=5, **fitted)


def test_a_machine_without_a_switch_and_wires_needs_no_pins():
    assert not wants_pins(BARE)  # the usual lamps alone are no wiring


def test_whatever_is_wired_needs_pins():
    wired = (
        {"privacy": Privacy(switch=SwitchKind.MOMENTARY)},
        {"privacy": Privacy(switch=SwitchKind.NONE, relay=Relay.PUMP)},
        {"electrics": Electrics(door_channel=3)},
        {"electrics": Electrics(mains_pin=6)},
        {"runs": (run(loop=DigitalLoop(pin=5)),)},
        {"runs": (run(loop=MeasuredLoop(channel=0)),)},
        {"runs": (run(current_channel=0),)},
    )
    for change in wired:
        assert wants_pins(replace(BARE, **change)), change


def test_each_pin_is_named_once_with_what_it_is_for():
    settings = replace(
        BARE,
        privacy=Privacy(
            switch=SwitchKind.LATCHING, relay=Relay.FORCE_OFF, feedback_pin=19, buzzer_pin=24
        ),
        runs=(run(loop=MeasuredLoop(channel=0), video_pin=20),),
        electrics=Electrics(service_pin=18),
    )
    found = {pin: what for what, pin in pins(settings)}
    assert set(found) == {17, 27, 16, 19, 23, 22, 24, 25, 18, 20}
    assert found[25] == "the excitation of the loops"
    assert wants_adc(settings) == (True, False)


def test_a_button_has_one_contact():
    settings = replace(BARE, privacy=Privacy(switch=SwitchKind.MOMENTARY))
    assert 27 not in {pin for _, pin in pins(settings)}


def test_remarks_and_empty_lines_of_config_txt_do_not_count(tmp_path):
    assert boot_lines(tmp_path) is None
    old = tmp_path / "boot/config.txt"
    old.parent.mkdir()
    old.write_text("# dtparam=spi=on\n\n  dtparam=spi=on  # the ADC\n")
    assert boot_lines(tmp_path) == ("dtparam=spi=on",)
    new = tmp_path / "boot/firmware/config.txt"
    new.parent.mkdir()
    new.write_text("enable_uart=0\r\n")
    assert boot_lines(tmp_path) == ("enable_uart=0",)
