"""The table [privacy] of a box.toml: the switch, the relay, the lamps, the buzzer and what a press destroys.

Promise: a key that means nothing beside the others is a fault, or somebody would believe that it does something.
Not its job: one pin used twice (wiring.py looks at the whole file), what the settings do (core/privacy.py, sensors/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_agent.config.table import OUTPUT_PIN_LOWEST, Table
from edge_agent.core.settings import Privacy, Relay, SwitchKind

if TYPE_CHECKING:
    from collections.abc import Mapping

_USUAL: Final = Privacy(switch=SwitchKind.LATCHING)
_SWITCHES: Final[Mapping[SwitchKind, str]] = {
    SwitchKind.LATCHING: "a latching switch",
    SwitchKind.MOMENTARY: "a momentary button (press = private, hold 3 s = resume)",
    SwitchKind.NONE: "NO privacy switch",
}
_RELAYS: Final[Mapping[Relay, str]] = {
    Relay.NONE: "no relay driven",
    Relay.FORCE_OFF: "a relay forced off",
    Relay.PUMP: "a relay pumped",
}


def read_privacy(table: Table) -> Privacy:
    """The settings of [privacy]; to be thrown away if a fault was noted."""
    usual = _USUAL
    kinds = [kind.value for kind in SwitchKind]
    switch = table.choice(
        "switch",
        kinds,
        why='"latching" for the switch, "momentary" for a push button; "none" only where the RT agreed in writing',
    )
    kind = SwitchKind(switch) if switch is not None else SwitchKind.LATCHING
    nc_pin, no_pin = _contacts(table, kind)
    relay, relay_pin, feedback_pin, cut_power = _relay(table, kind)
    privacy = Privacy(
        switch=kind,
        nc_pin=nc_pin,
        no_pin=no_pin,
        lamp_private_pin=table.pin_or_none(
            "lamp_private_pin",
            what="the lamp",
            lowest=OUTPUT_PIN_LOWEST,
            default=usual.lamp_private_pin,
        ),
        lamp_live_pin=table.pin_or_none(
            "lamp_live_pin", what="the lamp", lowest=OUTPUT_PIN_LOWEST, default=usual.lamp_live_pin
        ),
        buzzer_pin=table.pin_or_none(
            "buzzer_pin", what="the buzzer", lowest=OUTPUT_PIN_LOWEST, default=usual.buzzer_pin
        ),
        relay=relay,
        relay_pin=relay_pin,
        feedback_pin=feedback_pin,
        cut_power=cut_power,
        purge_s=table.number(
            "purge_s", 0, 600, unit="seconds before the press", default=usual.purge_s
        ),
    )
    table.close()
    return privacy


def _contacts(table: Table, kind: SwitchKind) -> tuple[int, int]:
    """The pins of NC and NO; the usual ones where there is no such contact."""
    usual = _USUAL
    nc_pin: int | None = None
    no_pin: int | None = None
    if kind is SwitchKind.NONE:
        table.refuse(
            ("nc_pin", "no_pin"),
            allowed='no contact pins with switch = "none"',
            remedy='delete it, or write switch = "latching"',
        )
    else:
        nc_pin = table.pin("nc_pin", what="the switch's NC contact", default=usual.nc_pin)
    if kind is SwitchKind.LATCHING:
        no_pin = table.pin("no_pin", what="the switch's NO contact", default=usual.no_pin)
    elif kind is SwitchKind.MOMENTARY:
        table.refuse(
            ("no_pin",),
            allowed='nc_pin alone with switch = "momentary": a push button has one contact, and it is NC',
            remedy='delete it; for a switch that stays where it is put, with two contacts, write switch = "latching"',
        )
    return (
        usual.nc_pin if nc_pin is None else nc_pin,
        usual.no_pin if no_pin is None else no_pin,
    )


def _relay(table: Table, kind: SwitchKind) -> tuple[Relay, int, int | None, bool]:
    """How it is driven, its pin, the feedback's pin, whether private cuts the power."""
    usual = _USUAL
    if kind is SwitchKind.NONE:
        table.refuse(
            ("relay", "relay_pin", "feedback_pin", "cut_power"),
            allowed='no relay with switch = "none": nobody could switch it',
            remedy='delete it, or write switch = "latching"',
        )
        return usual.relay, usual.relay_pin, None, usual.cut_power
    word = table.choice("relay", [relay.value for relay in Relay], default=usual.relay.value)
    # After a fault the other keys are read as if they belonged here: what is wrong with them is then said too.
    relay = Relay(word) if word is not None else Relay.FORCE_OFF
    relay_pin: int | None = None
    cut_power = usual.cut_power
    if relay is Relay.NONE:
        table.refuse(
            ("relay_pin", "cut_power"),
            allowed="only together with relay",
            remedy='delete it, or write relay = "force_off" or relay = "pump", as the relay is wired',
        )
    else:
        relay_pin = table.pin(
            "relay_pin",
            what="the relay's drive",
            lowest=OUTPUT_PIN_LOWEST,
            default=usual.relay_pin,
        )
        cut_power = table.switch("cut_power", default=usual.cut_power)
    feedback_pin = table.pin_or_none(
        "feedback_pin", what="the relay's feedback contact", default=usual.feedback_pin
    )
    return relay, usual.relay_pin if relay_pin is None else relay_pin, feedback_pin, cut_power


def privacy_line(privacy: Privacy) -> str:
    """Which switch, what it does to the cameras' power, what a press destroys."""
    if privacy.switch is SwitchKind.NONE:
        return _SWITCHES[privacy.switch]
    relay = _RELAYS[privacy.relay]
    if privacy.relay is not Relay.NONE:
        relay += f" by GPIO{privacy.relay_pin}"
        relay += "" if privacy.cut_power else ", but private leaves the cameras their power"
    feedback = "no feedback read"
    if privacy.feedback_pin is not None:
        feedback = f"feedback on GPIO{privacy.feedback_pin}"
    purge = f"a press destroys the unsent pictures of the {privacy.purge_s:g} s before it"
    return "; ".join((_SWITCHES[privacy.switch], relay, feedback, purge))
