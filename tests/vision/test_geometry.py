"""How the view lies in a picture: exact turns, zooms and shifts of real streets are read back, and strangers have none."""

from __future__ import annotations

import math
from functools import cache
from statistics import median

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import demo_pictures, vision
from edge_agent.core.scene import COVERED_SHARE, Verdict, verdict_of
from edge_agent.vision.describe import describe
from edge_agent.vision.geometry import Placement, Ruler, edges_of
from tests.support import room

STREETS = demo_pictures.STREETS
OWN_PROPORTIONS = vision.WIDTH / vision.HEIGHT


@cache
def grey(path) -> vision.Grey:
    found = vision.scaled_grey_from_jpeg(path.read_bytes())
    assert found is not None
    return found


@cache
def references(which: int, light: str = "day") -> vision.References:
    street = STREETS[which]
    frames = street.commission if light == "day" else street.night
    built = vision.build({light: [grey(p) for p in frames]})
    assert isinstance(built, vision.References), built
    return built


@cache
def ruler(which: int) -> Ruler:
    return Ruler(references(which).lights[0])


def place(which: int, picture: vision.Grey) -> Placement:
    described = np.where(references(which).counts, describe(picture)[0], np.complex64(0))
    edges = edges_of(described)
    return ruler(which).measure(edges, ruler(which).guess(edges))


def seen(
    picture: vision.Grey,
    *,
    dx: float = 0.0,
    dy: float = 0.0,
    angle_deg: float = 0.0,
    zoom: float = 1.0,
    proportions: float = OWN_PROPORTIONS,
) -> vision.Grey:
    """*picture* from a camera that was moved, turned and zoomed; *proportions* of what the camera sends, before scaling."""
    squeeze = OWN_PROPORTIONS / proportions
    cosine, sine = (
        zoom * math.cos(math.radians(angle_deg)),
        zoom * math.sin(math.radians(angle_deg)),
    )
    turn = np.array([[cosine, -sine * squeeze], [sine / squeeze, cosine]])
    middle = np.array([(vision.WIDTH - 1) / 2, (vision.HEIGHT - 1) / 2])
    shift = np.array([dx, dy]) + middle - turn @ middle
    return np.asarray(
        cv2.warpAffine(
            picture,
            np.column_stack([turn, shift]),
            (vision.WIDTH, vision.HEIGHT),
            borderMode=cv2.BORDER_REPLICATE,
        ),
        dtype=np.uint8,
    )


streets = pytest.mark.parametrize("which", range(len(STREETS)), ids=[s.name for s in STREETS])


# ---- read back ----


@streets
@pytest.mark.parametrize(
    "move",
    [
        {"dx": 9.6, "dy": 2.4},
        {"dx": -18.0, "dy": -12.0},
        {"dx": 32.0, "dy": -4.8},
        {"dx": -40.0, "dy": 20.0},
        {"angle_deg": 3.0},
        {"angle_deg": -3.0},
        {"angle_deg": 5.5},
        {"zoom": 1.08},
        {"zoom": 0.92},
        {"dx": 10.0, "dy": -8.0, "angle_deg": -2.0, "zoom": 1.05},
    ],
    ids=str,
)
def test_a_moved_camera_is_read_back_by_day(which, move):
    found = place(which, seen(grey(STREETS[which].stream[0]), **move))
    assert found.placed
    told = {"dx": found.dx, "dy": found.dy, "angle_deg": found.angle_deg, "zoom": found.zoom}
    true = {"dx": 0.0, "dy": 0.0, "angle_deg": 0.0, "zoom": 1.0} | move
    assert told["dx"] == pytest.approx(true["dx"], abs=2.0)
    assert told["dy"] == pytest.approx(true["dy"], abs=2.0)
    assert told["angle_deg"] == pytest.approx(true["angle_deg"], abs=1.0)
    assert told["zoom"] == pytest.approx(true["zoom"], abs=0.02)


@streets
def test_a_camera_that_never_moved_lies_where_it_was_by_day_dusk_and_night(which):
    street = STREETS[which]
    for path in (*street.stream, *street.dusk, *street.night):
        found = place(which, grey(path))
        assert found.placed, path
        assert math.hypot(found.dx, found.dy) < 2.5, path
        assert abs(found.angle_deg) < 1.0, path
        assert found.zoom == pytest.approx(1.0, abs=0.02), path


@streets
@pytest.mark.parametrize("angle_deg", [3.0, -4.0])
def test_a_turn_in_a_wide_picture_is_told_in_the_degrees_that_a_spanner_needs(which, angle_deg):
    """A 16:9 picture is squeezed to 4:3 before it is looked at, and a turn with it."""
    wide = seen(grey(STREETS[which].stream[0]), angle_deg=angle_deg, proportions=16 / 9)
    found = place(which, wide)
    assert found.placed
    assert found.angle_deg == pytest.approx(angle_deg, abs=0.7)
    assert found.zoom == pytest.approx(1.0, abs=0.02)


@settings(max_examples=60)  # some 20 ms each
@given(
    which=st.integers(0, len(STREETS) - 1),
    dx=st.floats(-24, 24),
    dy=st.floats(-18, 18),
    angle_deg=st.floats(-5, 5),
    zoom=st.floats(0.93, 1.08),
)
def test_whatever_is_told_is_true(which, dx, dy, angle_deg, zoom):
    moved = seen(grey(STREETS[which].stream[0]), dx=dx, dy=dy, angle_deg=angle_deg, zoom=zoom)
    found = place(which, moved)
    if found.placed:
        assert (found.dx, found.dy) == pytest.approx((dx, dy), abs=2.5)
        assert found.angle_deg == pytest.approx(angle_deg, abs=1.0)
        assert found.zoom == pytest.approx(zoom, abs=0.025)


# ---- strangers ----


@streets
def test_rooms_and_other_streets_are_nowhere_in_the_picture(which):
    strangers = [
        *demo_pictures.ROOM,
        *demo_pictures.ROOM_INFRARED,
        *STREETS[which].room_under_text,
        *(
            path
            for other in STREETS
            if other is not STREETS[which]
            for path in (*other.commission, *other.stream, *other.night)
        ),
    ]
    found = {path: place(which, grey(path)) for path in strangers}
    assert {path for path, placement in found.items() if placement.placed} == set()
    assert max(placement.support for placement in found.values()) < 0.9


@streets
@pytest.mark.parametrize("which_way", ["flip", "mirror", "upside_down"])
def test_the_street_the_wrong_way_round_is_nowhere(which, which_way):
    picture = grey(STREETS[which].stream[0])
    turned = {
        "flip": picture[::-1],
        "mirror": picture[:, ::-1],
        "upside_down": picture[::-1, ::-1],
    }[which_way]
    assert not place(which, np.ascontiguousarray(turned)).placed


@settings(max_examples=60)
@given(
    which=st.integers(0, len(STREETS) - 1),
    seed=st.integers(0, 2**32 - 1),
    coarse=st.sampled_from([1, 2, 4, 8, 16, 40]),
    grey_bars=st.booleans(),
)
def test_no_noise_pattern_or_test_card_is_the_street(which, seed, coarse, grey_bars):
    random = np.random.default_rng(seed)
    shape = (1 if grey_bars else 240 // coarse, 320 // coarse)
    card = cv2.resize(
        random.integers(0, 256, shape, dtype=np.uint8), (320, 240), interpolation=cv2.INTER_NEAREST
    )
    assert not place(which, np.asarray(card, dtype=np.uint8)).placed


@settings(max_examples=30)  # some 100 ms each: a room is drawn
@given(which=st.integers(0, len(STREETS) - 1), seed=st.integers(0, 10_000), infrared=st.booleans())
def test_no_drawn_room_is_the_street_with_the_text_or_without(which, seed, infrared):
    street = STREETS[which]
    picture = room.room(seed, infrared=infrared)
    labelled = room.under_text_of(picture, room.colour(street.commission[2]), street.name)
    for shown in (picture, labelled):
        small = vision.scaled_grey(shown)
        assert small is not None
        assert not place(which, small).placed


@pytest.mark.parametrize("level", [0, 120, 255])
def test_a_picture_without_any_edge_is_nowhere(level):
    assert not place(0, np.full((240, 320), level, np.uint8)).placed


def test_references_in_which_nothing_counts_place_nothing():
    known = references(0)
    blank = vision.Light(
        name="day",
        re=np.zeros_like(known.lights[0].re),
        im=np.zeros_like(known.lights[0].im),
        mean_grey=100.0,
        crispness=1.0,
        frames=1,
    )
    edges = edges_of(describe(grey(STREETS[0].stream[0]))[0])
    nothing = Ruler(blank)
    assert not nothing.measure(edges, nothing.guess(edges)).placed


# ---- covered ----


@streets
def test_a_covered_half_is_told_as_about_a_half_and_a_clear_view_as_next_to_nothing(which):
    picture = grey(STREETS[which].stream[0])
    covered = picture.copy()
    covered[:, 160:] = 70
    clear, half = place(which, picture), place(which, covered)
    assert clear.covered_share < 0.2
    assert half.placed
    assert 0.35 <= half.covered_share <= 0.65
    assert half.covered_share > clear.covered_share + 0.25


@streets
def test_leaves_before_the_lens_cover_as_much_as_a_bag(which):
    """What covers a part may have edges of its own; some of them lie as the street's do, but never for long."""
    random = np.random.default_rng(3)
    shares = []
    for _ in range(9):
        covered = grey(STREETS[which].stream[0]).copy()
        speckle = random.normal(90, 160, (240, 160)).astype(np.float32)
        leaves = np.clip(cv2.GaussianBlur(speckle, (0, 0), 3.0), 0, 255)
        covered[:, :160] = leaves.astype(np.uint8)
        shares.append(place(which, covered).covered_share)
    assert median(shares) >= COVERED_SHARE


@streets
def test_vans_here_and_there_are_no_cover(which):
    """As much is hidden as by a bag over a third of the lens, but not side by side."""
    picture = grey(STREETS[which].stream[0]).copy()
    for row in range(0, 6, 2):
        for column in range(row // 2 % 2, 8, 2):
            picture[row * 40 : row * 40 + 40, column * 40 : column * 40 + 40] = 70
    found = place(which, picture)
    assert found.placed
    assert found.covered_share < 0.2


# ---- through the eye ----


@streets
def test_the_eye_tells_where_the_view_lies_and_the_scene_calls_it_moved(which):
    eye = vision.Eye(references(which))
    picture = grey(STREETS[which].stream[0])
    still = eye.read(picture)
    assert still.placed
    assert verdict_of(still) is Verdict.MATCH
    for reading in (
        eye.read(seen(picture, dx=9.6, dy=2.4)),
        eye.read(seen(picture, angle_deg=3.0)),
        eye.read(seen(picture, zoom=1.08)),
    ):
        assert reading.placed
        assert verdict_of(reading) is Verdict.MOVED, reading


def test_a_room_reads_as_nowhere_and_nothing_of_it_as_covered():
    eye = vision.Eye(references(0))
    for path in (*demo_pictures.ROOM, *demo_pictures.ROOM_INFRARED):
        reading = eye.read(grey(path))
        assert not reading.placed
        assert (reading.angle_deg, reading.zoom, reading.covered_share) == (0.0, 1.0, 0.0)


def test_what_a_dark_night_hides_is_not_called_covered():
    """Parts that only daylight shows are out of sight by night; only a light of its own kind may say covered."""
    picture = grey(STREETS[0].stream[0]).copy()
    # A cloth, and the sensor's noise: what is even to the grey level is no cover but a damaged picture.
    picture[:, 160:] = np.random.default_rng(3).integers(66, 75, (240, 160))
    by_day = vision.Eye(references(0)).read(picture)
    assert by_day.covered_share >= 0.35
    dimmed = (picture * 0.45).astype(np.uint8)
    in_the_dark = vision.Eye(references(0)).read(dimmed)
    assert in_the_dark.placed
    assert in_the_dark.covered_share == 0.0
