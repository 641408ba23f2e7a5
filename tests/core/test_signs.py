"""Lamps and buzzer: said once, said again when a press made it void, and quiet at night."""

import pytest

from edge_agent.core.messages import Beep, Command, Lamp, ShowLamps, Sound
from edge_agent.core.signs import FAULT_EVERY_S, Signs

MIDNIGHT_UTC_S = 20_000 * 86_400.0  # 7 in the morning in Semarang
NOON_S = MIDNIGHT_UTC_S + 5 * 3600.0


def shown(
    signs: Signs,
    lamp: Lamp,
    *,
    press: int = 0,
    by_hand: bool = False,
    wall_s: float | None = NOON_S,
    at: float = 0.0,
) -> list[Command]:
    return signs.show(lamp, press=press, by_hand=by_hand, wall_s=wall_s, at=at)


def test_a_pattern_is_said_once_and_again_after_a_press():
    signs = Signs()
    assert shown(signs, Lamp.PRIVATE) == [ShowLamps(lamp=Lamp.PRIVATE, press=0)]
    assert shown(signs, Lamp.PRIVATE) == []
    assert shown(signs, Lamp.PRIVATE, press=1) == [ShowLamps(lamp=Lamp.PRIVATE, press=1)]
    assert shown(signs, Lamp.HELD, press=1) == [ShowLamps(lamp=Lamp.HELD, press=1)]


def test_two_short_beeps_once_when_pictures_go_out_again_after_a_hand_ended_that():
    signs = Signs()
    shown(signs, Lamp.PRIVATE, by_hand=True)
    assert Beep(sound=Sound.LIVE) not in shown(signs, Lamp.VERIFYING)
    assert Beep(sound=Sound.LIVE) in shown(signs, Lamp.LIVE)
    shown(signs, Lamp.HELD)
    assert Beep(sound=Sound.LIVE) not in shown(signs, Lamp.LIVE)


def test_no_sound_when_a_box_that_nobody_touched_goes_live_at_night():
    signs = Signs()
    shown(signs, Lamp.PRIVATE)
    assert shown(signs, Lamp.LIVE) == [ShowLamps(lamp=Lamp.LIVE, press=0)]


def complaints(signs: Signs, **more: float | None) -> int:
    return shown(signs, Lamp.WIRING_FAULT, **more).count(Beep(sound=Sound.FAULT))  # type: ignore[arg-type]


def test_a_fault_of_the_switch_complains_once_an_hour():
    signs = Signs()
    assert complaints(signs, at=0.0) == 1
    assert complaints(signs, at=FAULT_EVERY_S - 1) == 0
    shown(signs, Lamp.PRIVATE, at=FAULT_EVERY_S - 1)
    assert complaints(signs, at=FAULT_EVERY_S - 0.5) == 0, "also where it comes and goes"
    assert complaints(signs, at=FAULT_EVERY_S) == 1
    assert complaints(signs, at=2 * FAULT_EVERY_S - 1) == 0


@pytest.mark.parametrize(
    ("wall_s", "said"),
    [
        (MIDNIGHT_UTC_S - 1, 0),
        (MIDNIGHT_UTC_S, 1),
        (MIDNIGHT_UTC_S + 12 * 3600 - 1, 1),
        (MIDNIGHT_UTC_S + 12 * 3600, 0),
        (MIDNIGHT_UTC_S + 20 * 3600, 0),
        (None, 0),
        (float("nan"), 0),
        (float("inf"), 0),
    ],
)
def test_and_by_day_only(wall_s: float | None, said: int):
    assert complaints(Signs(), wall_s=wall_s) == said


@pytest.mark.parametrize("lamp", [lamp for lamp in Lamp if lamp is not Lamp.WIRING_FAULT])
def test_nothing_else_makes_a_sound_by_itself(lamp: Lamp):
    assert shown(Signs(), lamp) == [ShowLamps(lamp=lamp, press=0)]


def test_locate_is_seen_in_place_of_live_and_held_until_its_time_is_over():
    signs = Signs()
    signs.locate(until_at=20.0)
    assert signs.deadline() == 20.0
    assert shown(signs, Lamp.LIVE, at=1.0) == [ShowLamps(lamp=Lamp.LOCATE, press=0)]
    assert shown(signs, Lamp.HELD, at=2.0) == []
    assert shown(signs, Lamp.VERIFYING, at=3.0) == [ShowLamps(lamp=Lamp.VERIFYING, press=0)]
    assert shown(signs, Lamp.LIVE, at=19.9) == [ShowLamps(lamp=Lamp.LOCATE, press=0)]
    assert shown(signs, Lamp.LIVE, at=20.0) == [ShowLamps(lamp=Lamp.LIVE, press=0)]
    assert signs.deadline() is None


@pytest.mark.parametrize("lamp", [Lamp.PRIVATE, Lamp.WIRING_FAULT, Lamp.SUSPENDED])
def test_what_must_be_seen_is_seen_and_ends_locate(lamp: Lamp):
    signs = Signs()
    signs.locate(until_at=300.0)
    assert ShowLamps(lamp=lamp, press=0) in shown(signs, lamp, at=1.0)
    assert signs.deadline() is None
    assert shown(signs, Lamp.LIVE, at=2.0) == [ShowLamps(lamp=Lamp.LIVE, press=0)]


def test_the_beep_for_live_does_not_wait_for_locate():
    signs = Signs()
    shown(signs, Lamp.PRIVATE, by_hand=True)
    shown(signs, Lamp.VERIFYING, at=1.0)
    signs.locate(until_at=300.0)
    assert shown(signs, Lamp.LIVE, at=2.0) == [
        ShowLamps(lamp=Lamp.LOCATE, press=0),
        Beep(sound=Sound.LIVE),
    ]
