"""Readings over time: what the street proves, and what a room never proves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import scene
from edge_agent.core.messages import FindingKey, SceneReading, Unusable
from edge_agent.core.scene import Judgement, Scene, Verdict, ViewFinding, is_match, verdict_of

STREET = SceneReading(
    view="abc",
    unusable=None,
    score=1.9,
    z=15.0,
    tiles=33,
    cells=9,
    ncc=0.6,
    dx=0.2,
    dy=-0.1,
    elsewhere=False,
    light_known=True,
    sharpness=1.0,
    mean_grey=110.0,
    dark_share=0.0,
    blown_share=0.0,
    change=0.05,
    same_bits=1,
)
ROOM = replace(STREET, score=0.02, z=-1.6, tiles=2, cells=1, ncc=0.03149)
GLARE = replace(STREET, score=0.8, z=3.0, tiles=12)
DARK = replace(STREET, unusable=Unusable.DARK, score=0.0, mean_grey=9.0, dark_share=0.97)
COVERED = replace(STREET, unusable=Unusable.COVERED, score=0.0)
GARBAGE = replace(STREET, unusable=Unusable.NOT_A_PICTURE, score=0.0)
TURNED = replace(STREET, score=0.1, elsewhere=True, dx=-18.0, dy=12.0)
UNKNOWN_LIGHT = replace(ROOM, light_known=False)
STRANGER = replace(STREET, view="", score=0.0)
FROZEN = replace(STREET, same_bits=3, change=0.0)
PLACED = replace(
    STREET, placed=True, dx=0.3, dy=-0.4, angle_deg=0.1, zoom=1.002, covered_share=0.05
)
LEANING = replace(PLACED, dx=0.4, dy=0.2, angle_deg=3.1)
NUDGED = replace(PLACED, dx=-3.0, dy=1.0)
HALF = replace(PLACED, score=0.7, covered_share=0.6)
OTHER_DEVICE = replace(STREET, other_device="its MAC is another")
DAMAGED = replace(STREET, view="", score=0.0, fault="its digest is wrong")

readings = st.builds(
    SceneReading,
    view=st.sampled_from(["", "abc", "abc", "abc", "new"]),
    unusable=st.sampled_from([None, None, None, *Unusable]),
    score=st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 3),
    z=st.floats(),
    tiles=st.integers(0, 48),
    cells=st.integers(0, 9),
    ncc=st.floats(),
    dx=st.floats(-64, 64),
    dy=st.floats(-48, 48),
    elsewhere=st.booleans(),
    light_known=st.booleans(),
    sharpness=st.floats(),
    mean_grey=st.floats(0, 255),
    dark_share=st.floats(0, 1),
    blown_share=st.floats(0, 1),
    change=st.floats(0, 1) | st.just(math.nan),
    same_bits=st.integers(0, 5),
    placed=st.booleans(),
    angle_deg=st.just(0.0) | st.floats(-10, 10) | st.just(math.nan),
    zoom=st.just(1.0) | st.floats(0.8, 1.2) | st.just(math.inf),
    covered_share=st.floats(0, 1) | st.just(math.nan),
    fault=st.sampled_from(["", "", "", "its digest is wrong"]),
    other_device=st.sampled_from(["", "", "", "its MAC is another"]),
)
# Hardly any reading drawn field by field would match: beside those, some as a camera on its pole makes them.
usual = st.sampled_from([STREET, STREET, PLACED, PLACED, NUDGED, HALF, GLARE]) | readings


class Story:
    """A camera's readings, one each *every_s* seconds, and what came of the last."""

    def __init__(self, *, every_s: float = 2.0, strict: bool = False) -> None:
        self.scene = Scene()
        self.strict = strict
        self.at = 100.0
        self.every_s = every_s
        self.generation = 1

    def see(self, *seen: SceneReading) -> Judgement:
        judgement = None
        for reading in seen:
            self.at += self.every_s
            judgement = self.scene.read(
                reading, at=self.at, generation=self.generation, strict=self.strict
            )
        assert judgement is not None
        return judgement

    def verdict(self, *seen: SceneReading) -> Verdict:
        return self.see(*seen).verdict

    @property
    def keys(self) -> set[FindingKey]:
        return {f.key for f in self.scene.findings}

    def finding(self, key: FindingKey) -> ViewFinding:
        (found,) = [f for f in self.scene.findings if f.key is key]
        return found


# ---- nothing else vouches for the camera ----


def test_where_nothing_else_vouches_for_it_the_longer_rule_holds_and_nobody_is_called_wary():
    story = Story(strict=True)
    for number in range(1, 11):
        judged = story.see(STREET)
        assert (judged.needed, judged.matches) == (scene.WARY_MATCHES, number)
        assert (judged.verdict, judged.wary) == (Verdict.CANNOT_TELL, False)
    assert story.verdict(STREET) is Verdict.MATCH


def test_the_rule_is_that_of_the_reading_and_not_of_the_ones_before():
    story = Story(strict=True)
    story.see(*[STREET] * 6)
    story.strict = False
    assert story.verdict(STREET) is Verdict.MATCH
    story.strict = True
    assert story.verdict(STREET) is Verdict.CANNOT_TELL


# ---- one reading ----


@pytest.mark.parametrize(
    ("reading", "verdict"),
    [
        (STREET, Verdict.MATCH),
        (replace(STREET, score=1.0), Verdict.MATCH),
        (replace(STREET, score=0.999), Verdict.CANNOT_TELL),
        (ROOM, Verdict.FOREIGN),
        (replace(ROOM, score=scene.FOREIGN_BELOW), Verdict.CANNOT_TELL),
        (UNKNOWN_LIGHT, Verdict.CANNOT_TELL),
        (GLARE, Verdict.CANNOT_TELL),
        (TURNED, Verdict.MOVED),
        (replace(TURNED, light_known=False), Verdict.MOVED),
        (DARK, Verdict.CANNOT_TELL),
        (COVERED, Verdict.CANNOT_TELL),
        (GARBAGE, Verdict.CANNOT_TELL),
        (STRANGER, Verdict.CANNOT_TELL),
        (replace(STREET, view=""), Verdict.CANNOT_TELL),
        (FROZEN, Verdict.CANNOT_TELL),
        (replace(FROZEN, same_bits=2), Verdict.MATCH),
        (replace(STREET, score=math.nan), Verdict.CANNOT_TELL),
        (replace(STREET, score=math.inf), Verdict.CANNOT_TELL),
        (replace(STREET, score=-math.inf), Verdict.CANNOT_TELL),
        (PLACED, Verdict.MATCH),
        (replace(PLACED, score=1.0), Verdict.MATCH),
        (replace(PLACED, score=0.999), Verdict.CANNOT_TELL),
        (NUDGED, Verdict.MATCH),
        (HALF, Verdict.CANNOT_TELL),
        (LEANING, Verdict.MOVED),
        (replace(LEANING, angle_deg=-3.1), Verdict.MOVED),
        (replace(LEANING, placed=False), Verdict.MATCH),
        (replace(PLACED, dx=scene.MOVED_PX, dy=0.0), Verdict.MATCH),
        (replace(PLACED, dx=0.0, dy=-scene.MOVED_PX - 0.1), Verdict.MOVED),
        (replace(PLACED, dx=3.0, dy=3.0), Verdict.MOVED),
        (replace(PLACED, angle_deg=scene.MOVED_DEG), Verdict.MATCH),
        (replace(PLACED, zoom=1.0 + scene.MOVED_ZOOM - 1e-9), Verdict.MATCH),
        (replace(PLACED, zoom=1.08), Verdict.MOVED),
        (replace(PLACED, zoom=0.92), Verdict.MOVED),
        # What lies in its place is no other place, however little of it is seen.
        (replace(PLACED, score=0.1), Verdict.CANNOT_TELL),
        (replace(PLACED, score=0.1, elsewhere=True), Verdict.CANNOT_TELL),
        (replace(LEANING, score=0.1), Verdict.MOVED),
        (replace(PLACED, dx=math.nan), Verdict.CANNOT_TELL),
        (replace(PLACED, dy=math.inf), Verdict.CANNOT_TELL),
        (replace(PLACED, angle_deg=math.nan), Verdict.CANNOT_TELL),
        (replace(PLACED, zoom=math.nan), Verdict.CANNOT_TELL),
        (OTHER_DEVICE, Verdict.CANNOT_TELL),
        (replace(ROOM, other_device="its MAC is another"), Verdict.CANNOT_TELL),
        (replace(STREET, fault="its digest is wrong"), Verdict.CANNOT_TELL),
        (DAMAGED, Verdict.CANNOT_TELL),
    ],
)
def test_what_one_picture_says(reading, verdict):
    assert verdict_of(reading) is verdict
    assert is_match(reading) is (verdict is Verdict.MATCH)


@given(reading=readings)
def test_a_single_match_needs_a_view_a_usable_picture_and_a_full_score(reading):
    if is_match(reading):
        assert reading.view
        assert reading.unusable is None
        assert reading.score >= 1.0
        assert not reading.elsewhere or reading.placed
        assert not reading.fault
        assert not reading.other_device
        if reading.placed:
            assert math.hypot(reading.dx, reading.dy) <= scene.MOVED_PX
            assert abs(reading.angle_deg) <= scene.MOVED_DEG
            assert abs(reading.zoom - 1.0) <= scene.MOVED_ZOOM


# ---- over time ----


def test_the_street_is_proven_by_five_pictures_over_eight_seconds():
    story = Story(every_s=2.0)
    seen = [story.verdict(STREET) for _ in range(5)]
    assert seen == [Verdict.CANNOT_TELL] * 4 + [Verdict.MATCH]


def test_five_pictures_in_a_hurry_prove_nothing_yet():
    story = Story(every_s=0.5)
    seen = [story.verdict(STREET) for _ in range(20)]
    assert seen.index(Verdict.MATCH) * 0.5 == scene.SPAN_S


def test_many_pictures_a_second_need_the_same_share_of_matches():
    story = Story(every_s=0.5)
    assert Verdict.MATCH not in {story.verdict(r) for r in [STREET, STREET, GLARE, GLARE] * 20}
    assert Verdict.MATCH in {story.verdict(r) for r in [STREET, STREET, STREET, GLARE] * 10}


@pytest.mark.parametrize(
    "every_s", [1.25, 1.3]
)  # seven last just as long as is asked for, or longer
def test_only_as_many_readings_count_as_the_rule_asks_for(every_s):
    story = Story(every_s=every_s)
    assert story.verdict(GLARE, STREET, GLARE, STREET, STREET, GLARE, STREET) is not Verdict.MATCH
    assert story.verdict(STREET) is Verdict.MATCH


def test_what_is_remembered_is_bounded_however_long_a_camera_is_watched():
    story = Story()
    story.see(*[PLACED, LEANING, ROOM, DARK] * 500)
    kept = [len(value) for value in vars(story.scene).values() if hasattr(value, "__len__")]
    assert max(kept) <= 128


def test_a_lorry_before_two_of_seven_pictures_does_not_matter():
    story = Story()
    assert story.verdict(STREET, GLARE, STREET, STREET, GLARE, STREET, STREET) is Verdict.MATCH


def test_three_of_seven_that_cannot_tell_are_too_many():
    story = Story()
    assert story.verdict(STREET, GLARE, STREET, GLARE, STREET, GLARE, STREET) is Verdict.CANNOT_TELL


def test_a_picture_that_cannot_tell_is_never_called_a_match_however_good_the_others_were():
    story = Story()
    story.see(*[STREET] * 20)
    assert story.verdict(GLARE) is Verdict.CANNOT_TELL
    assert story.verdict(STREET) is Verdict.MATCH


@given(
    pause=st.lists(
        st.sampled_from([GLARE, DARK, COVERED, GARBAGE, UNKNOWN_LIGHT, FROZEN]), max_size=40
    )
)
def test_what_cannot_tell_never_leads_to_a_match(pause):
    story = Story()
    story.see(STREET, STREET)
    assert all(story.verdict(reading) is not Verdict.MATCH for reading in pause)


@given(
    seen=st.lists(
        st.sampled_from([ROOM, UNKNOWN_LIGHT, GLARE, DARK, TURNED, GARBAGE, STRANGER, FROZEN]),
        max_size=60,
    )
)
def test_a_room_never_proves_a_street(seen):
    story = Story()
    for reading in seen:
        judgement = story.see(reading)
        assert judgement.verdict is not Verdict.MATCH
        assert judgement.single is not Verdict.MATCH


@given(
    before=st.lists(st.sampled_from([ROOM, DARK, GLARE]), max_size=15),
    lucky=st.integers(1, scene.MATCHES - 1),
    after=st.lists(st.sampled_from([ROOM, DARK, GLARE]), max_size=15),
)
def test_a_few_lucky_pictures_never_prove_a_street(before, lucky, after):
    story = Story()
    for reading in [*before, *[STREET] * lucky, *after]:
        assert story.verdict(reading) is not Verdict.MATCH


@given(
    seen=st.lists(usual, min_size=1, max_size=60),
    steps=st.lists(
        st.sampled_from([2.0, 2.0, 2.0, 20.0]) | st.floats(0, 700), min_size=60, max_size=60
    ),
    breaks=st.sets(st.integers(0, 59), max_size=4),
)
def test_a_match_always_rests_on_enough_matches_since_the_last_break(seen, steps, breaks):
    story = Scene()
    at = 0.0
    chain: list[tuple[float, Verdict]] = []
    for i, reading in enumerate(seen):
        at += steps[i]
        if i in breaks:
            story.broken(at)
            chain = []
        judgement = story.read(reading, at=at, generation=1)
        if (
            (i and reading.view != seen[i - 1].view)
            or judgement.jump
            or (i and steps[i] > scene.GAP_VOIDS_S)
        ):
            chain = []
        chain.append((at, verdict_of(reading)))
        if judgement.verdict is Verdict.MATCH:
            times = [t for t, v in chain if v is Verdict.MATCH]
            assert is_match(reading)
            assert len(times) >= scene.MATCHES
            assert times[-1] - times[0] >= scene.SPAN_S
            assert not {v for _, v in chain[-scene.WINDOW :]} & {Verdict.FOREIGN, Verdict.MOVED}


# ---- breaks ----


@pytest.mark.parametrize("what", ["broken", "generation", "view", "jump", "gap", "backwards"])
def test_after_a_break_the_street_must_be_proven_anew(what):
    story = Story()
    assert story.verdict(*[STREET] * 7) is Verdict.MATCH
    first = STREET
    if what == "broken":
        story.scene.broken(story.at)
    elif what == "generation":
        story.generation += 1
    elif what == "view":
        first = replace(STREET, view="other")
    elif what == "jump":
        first = replace(STREET, change=0.9)
    elif what == "gap":
        story.at += scene.GAP_VOIDS_S
    elif what == "backwards":
        story.at -= 50.0
    steady = replace(first, change=0.05)
    seen = [story.verdict(first), *[story.verdict(steady) for _ in range(4)]]
    assert seen == [Verdict.CANNOT_TELL] * 4 + [Verdict.MATCH]


def test_a_gap_just_as_long_as_allowed_breaks_nothing():
    story = Story()
    story.see(*[STREET] * 7)
    story.at += scene.GAP_VOIDS_S - story.every_s
    assert story.verdict(STREET) is Verdict.MATCH


def test_two_readings_of_one_instant_break_nothing():
    story = Story()
    story.see(*[STREET] * 7)
    again = story.scene.read(STREET, at=story.at, generation=1)
    assert again.verdict is Verdict.MATCH


def test_a_straggler_of_an_older_connection_counts_for_nothing():
    story = Story()
    story.see(*[STREET] * 4)
    judgement = story.scene.read(STREET, at=story.at + 1, generation=0)
    assert judgement.verdict is Verdict.CANNOT_TELL
    assert judgement.single is Verdict.CANNOT_TELL
    assert judgement.matches == 4
    assert story.verdict(STREET) is Verdict.MATCH


def test_a_picture_that_changed_nearly_everywhere_is_called_a_jump():
    story = Story()
    assert story.see(replace(STREET, change=scene.JUMP_SHARE)).jump
    assert story.see(replace(STREET, change=math.nan)).jump
    assert not story.see(replace(STREET, change=scene.JUMP_SHARE - 0.01)).jump


# ---- wariness ----


def _pictures_until_match(story: Story, *, limit: int = 40) -> int:
    for n in range(1, limit):
        if story.verdict(STREET) is Verdict.MATCH:
            return n
    pytest.fail("never proven again")


@pytest.mark.parametrize("stranger", [ROOM, TURNED])
def test_foreign_and_moved_are_said_at_once_and_more_is_needed_afterwards(stranger):
    story = Story(every_s=scene.VERIFY_PERIOD_S)
    story.see(*[STREET] * 20)
    assert story.verdict(stranger) is verdict_of(stranger)
    n = _pictures_until_match(story)
    assert n == scene.WARY_WINDOW  # the stranger must have left the window
    assert n * story.every_s <= 60.0  # back on the pole: released within a minute
    assert story.scene.findings == ()


def test_pulling_the_plug_does_not_shorten_what_a_stranger_costs():
    story = Story(every_s=scene.VERIFY_PERIOD_S)
    story.see(*[STREET] * 7, ROOM)
    story.generation += 1
    story.scene.broken(story.at)
    n = _pictures_until_match(story)
    assert n == 11  # ten matches, and twenty seconds between first and last
    assert (n - 1) * story.every_s >= scene.WARY_SPAN_S


def test_once_proven_again_the_plain_rule_holds_again():
    story = Story()
    story.see(ROOM, *[STREET] * 12)
    assert story.see(STREET).wary is False
    story.scene.broken(story.at)
    assert _pictures_until_match(story) == 5


def test_the_judgement_says_how_far_the_proof_has_come():
    story = Story()
    assert Story().see(STREET).wary is False
    assert story.see(ROOM).span_s == 0.0
    judgement = story.see(STREET, STREET)
    assert (judgement.matches, judgement.needed) == (2, scene.WARY_MATCHES)
    assert (judgement.span_s, judgement.needed_span_s) == (2.0, scene.WARY_SPAN_S)
    assert judgement.score == STREET.score
    assert (judgement.dx, judgement.dy) == (0.0, 0.0)
    moved = story.see(TURNED)
    assert (moved.dx, moved.dy) == (-18.0, 12.0)


# ---- findings ----


@pytest.mark.parametrize(
    ("reading", "key", "evidence"),
    [
        (
            ROOM,
            FindingKey.VIEW_FOREIGN,
            {"score": 0.02, "z": -1.6, "tiles": 2.0, "cells": 1.0, "ncc": 0.031},
        ),
        (TURNED, FindingKey.VIEW_MOVED, {"dx_px": -18.0, "dy_px": 12.0, "percent_of_width": 6.8}),
        (
            replace(LEANING, dx=-18.04, dy=-12.26, angle_deg=2.13, zoom=1.0814),
            FindingKey.VIEW_MOVED,
            {
                "dx_px": -18.0,
                "dy_px": -12.3,
                "percent_of_width": 6.8,
                "angle_deg": 2.1,
                "zoom_percent": 8.1,
            },
        ),
        (DARK, FindingKey.VIEW_DARK, {"mean_grey": 9.0, "dark_share": 0.97}),
        (COVERED, FindingKey.VIEW_COVERED, {"mean_grey": 110.0}),
        (replace(STREET, sharpness=0.3), FindingKey.VIEW_BLURRED, {"sharpness": 0.3}),
        (FROZEN, FindingKey.VIEW_FROZEN, {"same_pictures": 3.0, "still_s": 4.0}),
        (
            replace(FROZEN, change=0.05),
            FindingKey.VIEW_FROZEN,
            {"same_pictures": 3.0, "still_s": 0.0},
        ),
        (
            replace(STREET, unusable=Unusable.BLOWN, blown_share=0.8, score=0.0),
            FindingKey.VIEW_UNSURE,
            {"score": 0.0, "z": 15.0, "tiles": 33.0, "cells": 9.0, "ncc": 0.6, "blown_share": 0.8},
        ),
    ],
)
def test_a_finding_comes_after_three_readings_and_goes_after_three(reading, key, evidence):
    story = Story()
    story.see(STREET, STREET)
    story.see(reading, reading)
    assert key not in story.keys
    story.see(reading)
    assert story.keys == {key}
    assert story.finding(key).since_at == story.at - 2 * story.every_s
    assert dict(story.finding(key).evidence) == evidence
    story.see(STREET, STREET)
    assert key in story.keys
    story.see(STREET)
    assert story.keys == set()


def test_two_readings_then_the_street_then_two_more_are_no_finding():
    story = Story()
    story.see(ROOM, ROOM, STREET, ROOM, ROOM)
    assert story.keys == set()
    story.see(ROOM)
    assert story.keys == {FindingKey.VIEW_FOREIGN}


def test_a_finding_that_flickers_stays_and_keeps_its_since():
    story = Story()
    story.see(ROOM, ROOM, ROOM)
    since = story.finding(FindingKey.VIEW_FOREIGN).since_at
    story.see(STREET, STREET, ROOM, STREET, STREET)
    assert story.finding(FindingKey.VIEW_FOREIGN).since_at == since


def test_lights_out_in_the_room_does_not_take_foreign_away():
    story = Story()
    story.see(*[ROOM] * 3, *[DARK] * 3)
    assert story.keys == {FindingKey.VIEW_FOREIGN, FindingKey.VIEW_DARK}


def test_a_view_that_was_never_commissioned_says_so_at_once_and_nothing_else():
    story = Story()
    story.see(STRANGER)
    assert story.keys == {FindingKey.VIEW_NOT_COMMISSIONED}
    assert story.finding(FindingKey.VIEW_NOT_COMMISSIONED).evidence == ()
    story.see(STREET)
    assert story.keys == set()


def test_new_references_take_the_old_findings_with_them():
    story = Story()
    story.see(*[ROOM] * 3)
    story.see(replace(STREET, view="new"))
    assert story.keys == set()


def test_a_break_takes_no_finding_away():
    story = Story()
    story.see(*[ROOM] * 3)
    story.scene.broken(story.at)
    assert story.keys == {FindingKey.VIEW_FOREIGN}


def test_moved_reports_the_middle_of_the_last_three():
    story = Story()
    story.see(*[replace(TURNED, dx=dx, dy=0.0) for dx in (-18.0, -60.0, -19.0)])
    assert dict(story.finding(FindingKey.VIEW_MOVED).evidence)["dx_px"] == -19.0


def test_moved_long_ago_is_not_where_it_lies_now():
    story = Story()
    story.see(*[replace(TURNED, dx=-60.0)] * 2, STREET)
    story.see(*[replace(TURNED, dx=dx) for dx in (-18.0, -19.0, -20.0)])
    assert dict(story.finding(FindingKey.VIEW_MOVED).evidence)["dx_px"] == -19.0


def test_what_was_measured_best_is_told_of_a_moved_view():
    story = Story()
    story.see(TURNED, replace(LEANING, dx=-8.0, dy=0.0), TURNED)
    evidence = dict(story.finding(FindingKey.VIEW_MOVED).evidence)
    assert (evidence["dx_px"], evidence["angle_deg"]) == (-8.0, 3.1)


def test_where_the_view_moved_under_older_references_is_forgotten_with_them():
    story = Story()
    story.see(*[replace(LEANING, view="old", dx=-30.0, dy=0.0)] * 3, *[LEANING] * 3)
    assert dict(story.finding(FindingKey.VIEW_MOVED).evidence)["dx_px"] == 0.4


def test_a_strangers_sharpness_is_not_held_against_the_lens():
    story = Story()
    story.see(*[replace(ROOM, sharpness=0.1)] * 5)
    assert story.keys == {FindingKey.VIEW_FOREIGN}


def test_a_little_softer_than_commissioned_is_not_blurred():
    story = Story()
    story.see(*[replace(STREET, sharpness=scene.BLURRED_BELOW)] * 5)
    assert story.keys == set()


def test_four_hours_without_any_change_are_a_still_even_if_the_bits_differ():
    story = Story(every_s=300.0)
    still = replace(STREET, change=scene.STILL_SHARE)
    hours = int(scene.STILL_FOR_S / 300.0)
    story.see(*[still] * hours)
    assert story.keys == set()
    story.see(*[still] * 3)
    assert story.keys == {FindingKey.VIEW_FROZEN}
    story.see(*[STREET] * 3)
    assert story.keys == set()


# ---- a mount that gives way, and what grows before the lens ----

NUDGE = FindingKey.VIEW_NUDGED
PART = FindingKey.VIEW_PARTLY_COVERED


LONG_S = {NUDGE: scene.NUDGED_FOR_S, PART: scene.COVERED_FOR_S}


def lasting(reading: SceneReading, key: FindingKey = NUDGE) -> list[SceneReading]:
    """As many, one each 20 s, as it takes for somebody to be told, and no more."""
    return [reading] * (int(LONG_S[key] / 20.0) + 1)


@pytest.mark.parametrize(
    "nudged",
    [
        NUDGED,
        replace(PLACED, dx=0.0, dy=scene.NUDGED_PX + 0.1),
        replace(PLACED, angle_deg=-1.5),
        replace(PLACED, zoom=1.03),
        replace(PLACED, zoom=0.97),
    ],
)
def test_a_view_that_lies_a_little_aside_for_long_is_released_and_reported(nudged):
    story = Story(every_s=20.0)
    story.see(*lasting(nudged)[:-1])
    assert story.keys == set()
    since = story.at - scene.NUDGED_FOR_S + story.every_s
    assert story.see(nudged).verdict is Verdict.MATCH
    assert story.keys == {NUDGE}
    assert story.finding(NUDGE).since_at == since
    evidence = dict(story.finding(NUDGE).evidence)
    assert evidence["dx_px"] == pytest.approx(nudged.dx, abs=0.06)
    assert evidence["dy_px"] == pytest.approx(nudged.dy, abs=0.06)
    assert evidence["angle_deg"] == pytest.approx(nudged.angle_deg, abs=0.06)
    assert evidence["zoom_percent"] == pytest.approx(100 * (nudged.zoom - 1), abs=0.06)


@pytest.mark.parametrize(
    "still", [PLACED, replace(PLACED, dx=-2.4), replace(PLACED, angle_deg=1.2, zoom=1.02)]
)
def test_a_view_in_its_place_is_no_finding(still):
    story = Story(every_s=20.0)
    story.see(*lasting(still), *lasting(still))
    assert story.keys == set()


def test_a_gust_is_no_nudge_and_ends_none():
    story = Story(every_s=20.0)
    story.see(*[NUDGED, NUDGED, PLACED, PLACED, PLACED] * 40)
    assert story.keys == set()
    story.see(*[NUDGED] * 5, *lasting(NUDGED))
    assert story.keys == {NUDGE}
    story.see(*[PLACED, PLACED, NUDGED, NUDGED, NUDGED] * 40)
    assert story.keys == {NUDGE}


def test_a_nudge_ends_when_it_was_mended_and_when_it_became_a_move():
    story = Story(every_s=20.0)
    story.see(*lasting(NUDGED), *[PLACED] * 6)
    assert story.keys == {NUDGE}
    story.see(PLACED)
    assert story.keys == set()
    story.see(*[NUDGED] * 5, *lasting(NUDGED))
    assert story.keys == {NUDGE}
    story.see(*[LEANING] * 3)
    assert story.keys == {FindingKey.VIEW_MOVED}


def test_what_cannot_be_placed_says_nothing_about_a_nudge_or_a_cover():
    story = Story(every_s=20.0)
    story.see(*lasting(replace(NUDGED, covered_share=0.5), PART))
    story.see(*[replace(STREET, covered_share=0.0)] * 20, *[DARK] * 3)
    assert story.keys == {NUDGE, PART, FindingKey.VIEW_DARK}
    story.see(*[replace(NUDGED, covered_share=0.5)] * 3)
    assert story.keys == {NUDGE, PART}


def test_few_readings_over_a_long_time_are_not_enough():
    story = Story(every_s=500.0)
    story.see(*[NUDGED] * (scene.LASTING - 1))
    assert story.keys == set()
    story.see(NUDGED)
    assert story.keys == {NUDGE}


def test_a_lorry_that_unloads_is_no_work_order_and_a_banner_is():
    story = Story(every_s=20.0)
    half_an_hour = int(1800 / story.every_s)
    story.see(PLACED, PLACED, *[HALF] * half_an_hour)
    assert story.keys == {FindingKey.VIEW_UNSURE}
    story.see(*[PLACED] * 9)
    assert story.keys == set()
    story.see(*[HALF] * 5, *lasting(HALF, PART))
    assert story.keys >= {PART}
    story.see(HALF, HALF)
    assert story.keys == {PART}  # what holds the picture has a name now: no "unsure" beside it
    assert dict(story.finding(PART).evidence) == {"percent_covered": 60}
    story.see(*[PLACED] * 9)
    assert story.keys == set()


def test_a_cover_is_reported_while_the_rest_still_proves_the_street():
    story = Story(every_s=20.0)
    covered = replace(PLACED, covered_share=scene.COVERED_SHARE)
    story.see(*lasting(covered, PART)[:-1])
    assert story.keys == set()
    assert story.verdict(covered) is Verdict.MATCH
    assert story.keys == {PART}


def test_a_third_out_of_sight_is_traffic_and_shadow():
    story = Story(every_s=20.0)
    story.see(*[replace(PLACED, covered_share=scene.COVERED_SHARE - 0.01)] * 250)
    assert story.keys == set()


def test_when_all_is_covered_it_is_no_longer_called_a_part():
    story = Story(every_s=20.0)
    story.see(*[HALF] * 5, *lasting(HALF, PART), *[COVERED] * 3)
    assert story.keys == {FindingKey.VIEW_COVERED}


def test_a_room_leaves_a_cover_as_it_was():
    story = Story(every_s=20.0)
    story.see(*[HALF] * 5, *lasting(HALF, PART), *[ROOM] * 4)
    assert story.keys == {PART, FindingKey.VIEW_FOREIGN}


# ---- files and devices ----


def test_a_damaged_reference_file_is_called_that_and_not_a_view_that_was_never_commissioned():
    story = Story()
    assert story.verdict(DAMAGED) is Verdict.CANNOT_TELL
    assert story.keys == {FindingKey.VIEW_FILE_DAMAGED}
    assert dict(story.finding(FindingKey.VIEW_FILE_DAMAGED).evidence) == {
        "detail": "its digest is wrong"
    }
    story.see(STRANGER)
    assert story.keys == {FindingKey.VIEW_NOT_COMMISSIONED}
    story.see(STREET)
    assert story.keys == set()


def test_another_device_is_held_whatever_it_shows_and_named_at_once():
    story = Story()
    assert story.verdict(*[OTHER_DEVICE] * 20) is Verdict.CANNOT_TELL
    assert story.keys == {FindingKey.VIEW_OTHER_DEVICE}
    assert dict(story.finding(FindingKey.VIEW_OTHER_DEVICE).evidence) == {
        "detail": "its MAC is another"
    }
    story.see(STREET)
    assert story.keys == set()
    assert story.verdict(*[STREET] * 4) is Verdict.MATCH


def test_another_device_without_a_view_has_both_said():
    story = Story()
    story.see(replace(STRANGER, other_device="its MAC is another"))
    assert story.keys == {FindingKey.VIEW_NOT_COMMISSIONED, FindingKey.VIEW_OTHER_DEVICE}


def test_garbage_says_nothing_about_frozen():
    story = Story()
    story.see(*[FROZEN] * 3, *[GARBAGE] * 3)
    assert FindingKey.VIEW_FROZEN in story.keys


@given(seen=st.lists(usual, max_size=40), every_s=st.sampled_from([2.0, 150.0]))
def test_evidence_is_always_finite_numbers_or_a_reason(seen, every_s):
    story = Story(every_s=every_s)
    for reading in seen:
        story.see(reading)
        for finding in story.scene.findings:
            for name, value in finding.evidence:
                if name == "detail":
                    assert value
                else:
                    assert not isinstance(value, str)
                    assert math.isfinite(value)


@given(seen=st.lists(usual, max_size=60), every_s=st.sampled_from([2.0, 20.0, 150.0]))
def test_nobody_is_sent_out_for_what_did_not_last(seen, every_s):
    """Whatever is seen: a nudge and a part covered have been there for as long as is promised, in readings that said so."""
    story = Story(every_s=every_s)
    for number, reading in enumerate(seen):
        story.see(reading)
        for finding in story.scene.findings:
            if finding.key in LONG_S:
                assert story.at - finding.since_at >= LONG_S[finding.key]
                assert sum(r.placed for r in seen[: number + 1]) >= scene.LASTING / 2
