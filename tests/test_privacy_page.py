"""docs/privacy.md: its table of faults is what the program does, through its own sensors and core on mock pins; so are its lamps."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.core.button import ASK_S, JAMMED_S, REST_S
from edge_agent.core.messages import FindingKey, Lamp
from edge_agent.core.press_test import DAY_S, OVERDUE_S
from edge_agent.core.privacy import LIVE_AFTER_S, ODD_AFTER_S, RELAY_AFTER_S
from edge_agent.core.settings import Privacy, Relay, SwitchKind
from edge_agent.sensors import lit
from edge_agent.simulate import Street
from tests.sensors.test_switch import AGREES, TABLE
from tests.support.switchbox import SwitchBox

PAGE = (Path(__file__).parents[1] / "docs" / "privacy.md").read_text(encoding="utf-8")
ALONE = Privacy(switch=SwitchKind.LATCHING)
WITH_K1 = tuple(
    Privacy(switch=SwitchKind.LATCHING, relay=relay, feedback_pin=19) for relay in Relay
)
_SETTLED_S = 5.0  # longer than everything that has a time on the page


def shown(mark: str) -> str:
    (table,) = re.findall(rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", PAGE, re.DOTALL)
    return str(table)


def prose() -> str:
    return " ".join(PAGE.split())


# ---- the table of faults ----


# Rows of the page, by the faults that tests/sensors/test_switch.py takes one by one.
CONTACTS = {
    "none": "none",
    "NC wire cut": "NC wire cut",
    "NO wire cut": "NO wire cut",
    "plug pulled": "plug pulled, both cut",
    "NC pair shorted": "NC pair shorted, GPIO17 grounded, contact welded",
    "NO pair shorted": "NO pair shorted, GPIO27 grounded",
    "all crushed together": "all crushed together",
    "swapped": "**NC and NO swapped**",
}
RELAY = {
    "block 3 shorted": "third block shorted or welded",
    "K1 welded": "K1: a contact welded",
    "K1's coil broken": "K1: coil, its fuse or the 12 V gone",
    "feedback wire cut": "feedback wire cut",
    "feedback shorted": "feedback wire grounded",
}
FAULTS = {name: fault.make for name, fault in (TABLE | AGREES).items()}


def _pin_taken(street: Street) -> None:
    street.break_pin(17, OSError("GPIO busy"))


def says(box: SwitchBox) -> str:
    """Whether it is live, and what it names."""
    named = [
        "unreadable"
        if key is FindingKey.PRIVACY_UNREADABLE
        else f"{key.value.removeprefix('privacy_')}: {detail}"
        for key, detail in box.findings().items()
        if key.name.startswith("PRIVACY_")
    ]
    if box.is_live():
        assert not named
        return "live"
    return f"private ({', '.join(named)})" if named else "private"


def outcome(privacy: Privacy, spoil: Callable[[Street], None]) -> tuple[str, str]:
    """What is so after the fault with the switch released, and then pressed."""
    box = SwitchBox(privacy)
    box.wait(_SETTLED_S)
    assert says(box) == "live"
    spoil(box.street)
    box.wait(_SETTLED_S)
    released = says(box)
    box.street.press()
    box.wait(_SETTLED_S)
    pressed = says(box)
    if released == "live" and pressed not in {"live", "private"}:
        released = "live, found at the next press"
    return released, "**live**" if pressed == "live" else pressed


def table() -> Iterator[str]:
    yield "| Single fault | Released | Pressed | Released, K1 reports back | Pressed, K1 reports back |"
    yield "|---|---|---|---|---|"
    rows = [(row, FAULTS[fault]) for fault, row in CONTACTS.items()]
    for name, spoil in (*rows, ("a pin cannot be read", _pin_taken)):
        cells = (*outcome(ALONE, spoil), *outcome(WITH_K1[1], spoil))
        yield f"| {name} | {' | '.join(cells)} |"
    for fault, row in RELAY.items():
        cells = ("", "", *outcome(WITH_K1[1], FAULTS[fault]))
        yield f"| {row} | {' | '.join(cells)} |"


def test_every_fault_that_is_tested_has_its_row():
    assert set(CONTACTS | RELAY) == set(FAULTS)


def test_the_table_of_faults_is_what_the_box_does():
    assert shown("truth table") == "\n".join(table())


@pytest.mark.parametrize("privacy", WITH_K1, ids=lambda privacy: privacy.relay.value)
@pytest.mark.parametrize("fault", FAULTS)
def test_with_k1s_word_no_single_fault_is_live_while_pressed(privacy, fault):
    _, pressed = outcome(privacy, FAULTS[fault])
    assert pressed.startswith("private")


def test_without_it_there_is_the_one_hole_that_the_page_names():
    holes = [fault for fault in CONTACTS if outcome(ALONE, FAULTS[fault])[1] == "**live**"]
    assert holes == ["swapped"]


def test_a_bridged_third_block_opens_the_hole_again_as_the_page_says():
    privacy = replace(WITH_K1[1], cut_power=False)

    def spoil(street: Street) -> None:
        street.relay.block_3_shorted = True
        street.swap_switch_wires()

    assert outcome(privacy, spoil)[1] == "**live**"
    assert "A third block that is bridged (`cut_power = false`) opens it again." in prose()


# ---- the lamps, and the times in the text ----


def rhythm(lamp: Lamp, side: int) -> str:
    """In words, as read off the lamp itself."""
    step_s, over_s = 0.01, 12.0
    levels = [lit(lamp, (n + 0.5) * step_s)[side] for n in range(round(over_s / step_s))]
    if len(set(levels)) == 1:
        return "steady" if levels[0] else "off"
    rises = [n for n, on in enumerate(levels) if on and not levels[n - 1]]
    long_s = levels.count(True) / len(rises) * step_s
    gaps = [(later - sooner) * step_s for sooner, later in itertools.pairwise(rises)]
    period_s, often = gaps[0], "blip"
    if max(gaps) - min(gaps) > 2 * step_s:
        period_s, often = gaps[0] + gaps[1], "two blips"
    return f"{often} of {long_s:.1f} s, each {round(period_s, 1):g} s"


def test_the_table_of_lamps_is_what_they_show():
    rows = re.findall(r"(?m)^\| (.+?) \| (.+?) \| (.+?) \| .+ \|$", shown("lamps"))[1:]
    said = {name: (left, right) for name, left, right in rows if not name.startswith("-")}
    assert said == {f"`{lamp.value}`": (rhythm(lamp, 0), rhythm(lamp, 1)) for lamp in Lamp}


def test_the_times_in_the_text_are_those_of_the_program():
    text = prose()
    for times in (
        f"hold for {ASK_S:.0f} s, release, wait {LIVE_AFTER_S:.0f} s",
        f"for more than {JAMMED_S:.0f} s",
        f"heals by itself after {ASK_S:.0f} to {JAMMED_S:.0f} seconds",
        f"{OVERDUE_S / DAY_S:.0f} days after the last press",
        "(60; 0 to 600)",
    ):
        assert times in text, times
    assert (REST_S, RELAY_AFTER_S, ODD_AFTER_S) == (1.0, 1.0, 0.5)  # in words: a second, half
    assert Privacy(switch=SwitchKind.LATCHING).purge_s == 60.0


def test_every_finding_of_the_switch_is_on_the_page():
    missing = [
        key.value
        for key in FindingKey
        if key.name.startswith("PRIVACY_") and f"`{key.value}`" not in PAGE
    ]
    assert missing == []
