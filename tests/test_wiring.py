"""docs/wiring.md: its counts are what the program reckons, its pins are what the program uses, and it fits a phone."""

from __future__ import annotations

import re
from pathlib import Path

from edge_agent.config.table import PIN_HIGHEST, PINS_TAKEN
from edge_agent.core.cable import OPEN_OHM, SERIES_OHM, counts_of_ohm, expected
from edge_agent.core.settings import CABLES, Electrics, MeasuredLoop, Privacy, SparePair, SwitchKind
from edge_agent.simulate.electrics import CAT5E_OHM_PER_M

PAGE = (Path(__file__).parents[1] / "docs" / "wiring.md").read_text(encoding="utf-8")
LOOP = MeasuredLoop(channel=0)


def shown(mark: str) -> str:
    (table,) = re.findall(rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", PAGE, re.DOTALL)
    return str(table)


def test_the_expected_counts_are_those_the_command_shows():
    rows = ["| Step | 12 bit | 10 bit | ohm |", "|---|---|---|---|"]
    at_camera = []
    for length_m in (20, 50, 100):
        steps = [
            expected(LOOP, cable="cat5e-outdoor", length_m=length_m, bits=bits) for bits in (12, 10)
        ]
        names = ("short wire", "plug at the terminals", f"plug at the camera, {length_m} m")
        lines = [
            f"| {name} | {fine.counts[0]} to {fine.counts[1]} | {coarse.counts[0]} to {coarse.counts[1]}"
            f" | {fine.ohm[0]:.0f} to {fine.ohm[1]:.0f} |"
            for name, fine, coarse in zip(names, *steps, strict=True)
        ]
        rows += lines[:2] if length_m == 20 else []
        at_camera.append(lines[2])
    assert shown("expected counts") == "\n".join(rows + at_camera)


def test_the_other_counts_are_what_the_equations_give():
    whole = SERIES_OHM + LOOP.eol_ohm
    situations = {
        "short at the box": SERIES_OHM,
        "short at 20 m": SERIES_OHM + 20 * CAT5E_OHM_PER_M,
        "short at 50 m": SERIES_OHM + 50 * CAT5E_OHM_PER_M,
        "whole, 5 m": whole + 5 * CAT5E_OHM_PER_M,
        "whole, 50 m": whole + 50 * CAT5E_OHM_PER_M,
        "whole, 50 m, and 10 ohm of corrosion": whole + 50 * CAT5E_OHM_PER_M + 10,
        "50 m, housing opened": whole + 50 * CAT5E_OHM_PER_M + (LOOP.tamper_ohm or 0),
        'limit to "cut"': OPEN_OHM,
        "cut, or plug pulled": float("inf"),
    }
    rows = ["| Situation | ohm | 12 bit | 10 bit |", "|---|---|---|---|"]
    for name, ohm in situations.items():
        counts = [round(counts_of_ohm(ohm, rref_ohm=LOOP.rref_ohm, bits=bits)) for bits in (12, 10)]
        text = "open" if ohm == float("inf") else f"{ohm:.1f}".removesuffix(".0")
        rows.append(f"| {name} | {text} | {counts[0]} | {counts[1]} |")
    assert shown("other counts") == "\n".join(rows)


def pin_plan() -> dict[str, list[int]]:
    """box.toml key -> pins, from the page's plan."""
    section = PAGE.split("## 5. Pin plan", 1)[1].split("## 6.", 1)[0]
    plan = {}
    for pins, keys in re.findall(r"(?m)^\| ([\d, ]+) \| [\d, ]+ \| .*? \| (.*?) \|$", section):
        numbers = [int(number) for number in pins.split(",")]
        plan[keys] = numbers
    return plan


def test_the_pin_plan_says_what_the_program_uses():
    privacy, board = Privacy(switch=SwitchKind.LATCHING), Electrics()
    plan = pin_plan()
    assert plan["`nc_pin`, `no_pin`"] == [privacy.nc_pin, privacy.no_pin]
    lamps = [privacy.lamp_private_pin, privacy.lamp_live_pin]
    assert plan["`lamp_private_pin`, `lamp_live_pin`"] == lamps
    assert plan["`excitation_pin`"] == [board.excitation_pin]
    assert plan["`relay_pin`"] == [privacy.relay_pin]


def test_the_pin_plan_uses_each_pin_once_and_keeps_off_those_of_others():
    rows = re.findall(
        r"(?m)^\| ([\d, ]+) \| [\d, ]+ \| .*? \| (.*?)\|$",
        PAGE.split("## 5. Pin plan", 1)[1].split("## 6.", 1)[0],
    )
    pins = [int(number) for numbers, _ in rows for number in numbers.split(",")]
    assert len(pins) == len(set(pins))
    assert max(pins) <= PIN_HIGHEST
    never = {int(n) for numbers, key in rows if "never" in key for n in numbers.split(",")}
    assert never == set(PINS_TAKEN)


def test_drawings_fit_a_phone_held_upright():
    drawings = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    assert len(drawings) >= 4
    for line in "".join(drawings).splitlines():
        assert len(line) <= 60, line
        assert line.isascii(), line


def test_no_cable_that_may_carry_48_volts_is_named_for_a_loop():
    table = PAGE.split("## 1.", 1)[1].split("## 2.", 1)[0]
    rows = [line for line in table.splitlines() if line.startswith("|") and "PoE, also" in line]
    assert len(rows) == 1
    assert "**never**" in rows[0]
    assert SparePair.POE in CABLES.values()
