"""Pictures in, readings out: streets, rooms, and what is no picture at all."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import demo_pictures, vision
from edge_agent.core.messages import Unusable
from edge_agent.core.scene import Verdict, is_match, verdict_of
from edge_agent.vision import Eye, References, Refusal
from edge_agent.vision.describe import frame_mask
from edge_agent.vision.match import LIMIT_EDGE_Z
from edge_agent.vision.references import light_from
from edge_agent.vision.text import lettered, on_screen
from tests.support import room

STREETS = demo_pictures.STREETS


def grey(path: Path) -> vision.Grey:
    found = vision.scaled_grey_from_jpeg(path.read_bytes())
    assert found is not None
    return found


def commissioned(*paths: Path, light: str = "day") -> References:
    built = vision.build({light: [grey(p) for p in paths]})
    assert isinstance(built, References), built
    return built


@pytest.fixture(scope="module", params=STREETS, ids=lambda s: s.name)
def street(request) -> demo_pictures.Street:
    found: demo_pictures.Street = request.param
    return found


@pytest.fixture(scope="module")
def references(street) -> References:
    return commissioned(*street.commission)


STREET = STREETS[0]


@pytest.fixture(scope="module")
def known() -> References:
    return commissioned(*STREET.commission)


# ---- the street, the room ----


def test_the_street_matches_by_day_dusk_and_night_though_commissioned_by_day(street, references):
    eye = Eye(references)
    for path in (*street.stream, *street.dusk, *street.night):
        reading = eye.read(grey(path))
        assert is_match(reading), (path, reading)
        assert reading.view == references.view


def test_one_day_picture_is_enough_to_know_the_street_again(street):
    eye = Eye(commissioned(street.commission[0]))
    assert all(is_match(eye.read(grey(p))) for p in (*street.commission[1:], *street.dusk))


def test_a_room_is_foreign_by_lamp_light_and_never_matches_under_infrared(references):
    eye = Eye(references)
    assert {verdict_of(eye.read(grey(p))) for p in demo_pictures.ROOM} == {Verdict.FOREIGN}
    assert all(not is_match(eye.read(grey(p))) for p in demo_pictures.ROOM_INFRARED)


def test_the_room_under_the_cameras_own_text_is_foreign(street, references):
    eye = Eye(references)
    for path in street.room_under_text:
        reading = eye.read(grey(path))
        assert verdict_of(reading) is Verdict.FOREIGN, reading
        assert reading.score < 0.35


def test_text_that_commissioning_missed_is_not_enough(street):
    """Name boards all over the picture stand out in place, but what may be text has no say in whether the view is there."""
    frames = [_boards(p) for p in street.commission[:2]]
    text = _boards(demo_pictures.ROOM[0])
    blind, seeing = _without_text_search({"day": frames}), vision.build({"day": frames})
    assert isinstance(seeing, References)
    assert Eye(blind).read(text).z > LIMIT_EDGE_Z
    assert Eye(blind).read(text).score < 0.45
    assert verdict_of(Eye(seeing).read(text)) is Verdict.FOREIGN
    for references in (blind, seeing):
        assert is_match(Eye(references).read(_boards(street.stream[0])))


def _boards(path: Path) -> vision.Grey:
    picture = grey(path).copy()
    for n, (x, y) in enumerate(((8, 60), (210, 44), (12, 190), (205, 170))):
        _board(picture, x, y, f"KUNINGAN {n}")
    return picture


def _board(picture: vision.Grey, x: int, y: int, text: str, *, paper: int = 255) -> None:
    ink = 255 - paper
    cv2.rectangle(picture, (x, y), (x + 76, y + 20), paper, -1)
    cv2.rectangle(picture, (x, y), (x + 76, y + 20), ink, 2)
    cv2.putText(picture, text, (x + 4, y + 14), 0, 0.38, ink, 1)


BOARD = st.tuples(
    st.integers(6, 230), st.integers(32, 210), st.from_regex(r"[A-Z]{4,9}", fullmatch=True)
)


@settings(max_examples=40)  # some 60 ms each
@given(
    boards=st.lists(BOARD, min_size=1, max_size=6),
    white=st.booleans(),
    which=st.integers(0, 2),
    seed=st.integers(0, 10_000),
    infrared=st.booleans(),
)
def test_no_room_matches_by_boards_that_no_search_found(boards, white, which, seed, infrared):
    street = STREETS[which]
    frame = grey(street.commission[0]).copy()
    home = vision.scaled_grey(room.room(seed, infrared=infrared))
    assert home is not None
    for picture in (frame, home):
        for x, y, text in boards:
            _board(picture, x, y, text, paper=255 if white else 0)
    assert Eye(_without_text_search({"day": [frame]})).read(home).score < 0.75


@pytest.mark.parametrize("paper", [255, 0])
def test_boards_are_found_when_commissioned_and_in_the_picture_at_hand(street, paper):
    plain, lettered_over = grey(street.commission[0]), grey(street.commission[0]).copy()
    _board(lettered_over, 60, 100, "KUNINGAN 3", paper=paper)
    board = np.zeros(plain.shape, np.bool_)
    board[100:121, 60:137] = True
    for search in (on_screen([lettered_over]), lettered(lettered_over)):
        assert search[board].mean() > 0.9
    assert lettered(plain).mean() < 0.45  # a street is not text


@settings(max_examples=40)  # some 40 ms each
@given(
    which=st.integers(0, 2),
    shot=st.integers(0, 3),
    x=st.floats(0.0, 1.0),
    y=st.floats(0.0, 1.0),
    tall=st.floats(0.5, 2.0),
)
def test_a_window_on_the_street_does_not_make_a_room_the_street(which, shot, x, y, tall):
    """The best agreement there is, pixel for pixel, but in a tenth of the picture only."""
    street = STREETS[which]
    eye = _EYES.setdefault(which, Eye(commissioned(*street.commission)))
    home = grey(demo_pictures.ROOM[shot % len(demo_pictures.ROOM)]).copy()
    outside = grey(street.stream[shot % len(street.stream)])
    area = 0.1 * vision.WIDTH * vision.HEIGHT
    height = round((area * tall) ** 0.5)
    width = round(area / height)
    left, top = round(x * (vision.WIDTH - width)), round(y * (vision.HEIGHT - height))
    part = (slice(top, top + height), slice(left, left + width))
    home[part] = outside[part]
    assert not is_match(eye.read(home))


@settings(max_examples=60)  # some 40 ms each
@given(
    which=st.integers(0, 2),
    shot=st.integers(0, 3),
    how=st.one_of(
        st.tuples(st.just("shift"), st.floats(0.05, 0.3), st.floats(0.0, 6.28)),
        st.tuples(st.just("turn"), st.floats(5.0, 15.0), st.sampled_from([-1.0, 1.0])),
        st.tuples(st.just("zoom"), st.floats(1.1, 1.3), st.sampled_from([-1.0, 1.0])),
    ),
)
def test_the_own_view_turned_away_enlarged_or_shifted_never_matches(which, shot, how):
    street = STREETS[which]
    eye = _EYES.setdefault(which, Eye(commissioned(*street.commission)))
    picture = grey(street.stream[shot % len(street.stream)])
    kind, amount, way = how
    by = cv2.getRotationMatrix2D((159.5, 119.5), amount * way if kind == "turn" else 0.0, 1.0)
    if kind == "zoom":
        by = cv2.getRotationMatrix2D((159.5, 119.5), 0.0, amount**way)
    if kind == "shift":
        by[:, 2] += amount * vision.WIDTH * np.array([np.cos(way), np.sin(way)])
    moved = cv2.warpAffine(
        picture, by, (vision.WIDTH, vision.HEIGHT), borderMode=cv2.BORDER_REFLECT
    )
    assert not is_match(eye.read(np.asarray(moved, dtype=np.uint8)))


def _without_text_search(frames):
    (light,) = [light_from(n, f, frame_mask()) for n, f in frames.items()]
    return References(counts=frame_mask(), lights=(light,))


def test_another_street_is_foreign(street, references):
    eye = Eye(references)
    for other in STREETS:
        if other.name != street.name:
            assert {verdict_of(eye.read(grey(p))) for p in other.commission} == {Verdict.FOREIGN}


@pytest.mark.parametrize("change", ["flip", "mirror", "upside_down"])
def test_the_street_the_wrong_way_round_does_not_match(references, street, change):
    picture = grey(street.stream[0])
    turned = {
        "flip": picture[::-1],
        "mirror": picture[:, ::-1],
        "upside_down": picture[::-1, ::-1],
    }[change]
    assert not is_match(Eye(references).read(np.ascontiguousarray(turned)))


@pytest.mark.parametrize(("dx", "dy"), [(30, 0), (-24, 10), (16, -12), (-40, -20)])
def test_a_turned_camera_is_reported_with_the_pixels_it_moved(references, street, dx, dy):
    reading = Eye(references).read(_shifted(street.stream[0], dx, dy))
    assert verdict_of(reading) is Verdict.MOVED, reading
    assert (reading.dx, reading.dy) == pytest.approx((dx, dy), abs=2.0)


def _shifted(path: Path, dx: int, dy: int) -> vision.Grey:
    picture = room.colour(path)
    height, width = picture.shape[:2]
    by = np.array(
        [[1, 0, dx * width / vision.WIDTH], [0, 1, dy * height / vision.HEIGHT]], np.float32
    )
    moved = vision.scaled_grey(
        cv2.warpAffine(picture, by, (width, height), borderMode=cv2.BORDER_REPLICATE)
    )
    assert moved is not None
    return moved


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (-2, 1), (1, -2)])
def test_a_pole_that_shakes_in_the_wind_still_shows_the_street(references, street, dx, dy):
    reading = Eye(references).read(_shifted(street.stream[0], dx, dy))
    assert is_match(reading)
    assert (reading.dx, reading.dy) == pytest.approx((dx, dy), abs=2.1)


def test_a_lorry_before_a_third_of_the_view_does_not_make_it_another_street(references, street):
    picture = grey(street.stream[0]).copy()
    picture[90:, 100:210] = 70
    assert is_match(Eye(references).read(picture))


def test_a_defocused_lens_reads_as_less_sharp_than_commissioned(references, street):
    picture = grey(street.stream[0])
    eye = Eye(references)
    assert 0.8 < eye.read(picture).sharpness < 1.25
    assert eye.read(cv2.GaussianBlur(picture, (0, 0), 2.5)).sharpness < 0.55


def test_with_no_references_nothing_matches_and_the_view_has_no_name(street):
    reading = Eye(None).read(grey(street.stream[0]))
    assert reading.view == ""
    assert reading.score == 0.0
    assert reading.unusable is None
    assert not is_match(reading)


def test_an_empty_set_of_references_never_matches(known):
    empty = References(counts=known.counts, lights=())
    assert not is_match(Eye(empty).read(grey(STREET.stream[0])))


def test_references_in_which_nothing_counts_never_match(known):
    nothing = References(counts=np.zeros_like(known.counts), lights=known.lights)
    assert not is_match(Eye(nothing).read(grey(STREET.stream[0])))


# ---- unusable pictures ----


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (np.zeros((240, 320), np.uint8), Unusable.DARK),
        (np.full((240, 320), 255, np.uint8), Unusable.BLOWN),
        (np.full((240, 320), 120, np.uint8), Unusable.COVERED),
        (None, Unusable.NOT_A_PICTURE),
        (np.zeros((0, 0), np.uint8), Unusable.NOT_A_PICTURE),
        (np.zeros((240, 320), np.float32), Unusable.NOT_A_PICTURE),
        (np.zeros((320, 240), np.uint8), Unusable.NOT_A_PICTURE),
        (np.zeros((240, 320, 3), np.uint8), Unusable.NOT_A_PICTURE),
        ("a street", Unusable.NOT_A_PICTURE),
    ],
)
def test_what_says_nothing_says_why(known, picture, why):
    reading = Eye(known).read(picture)
    assert reading.unusable is why
    assert reading.score == 0.0
    assert not is_match(reading)


def test_a_hand_on_the_lens_is_covered_though_the_text_is_still_there(references, street):
    picture = room.under_text_of(
        np.full((room.HEIGHT, room.WIDTH, 3), 60, np.uint8),
        room.colour(street.commission[2]),
        street.name,
    )
    small = vision.scaled_grey(cv2.GaussianBlur(picture, (0, 0), 1.0))
    assert Eye(references).read(small).unusable is Unusable.COVERED


def test_lights_out_is_dark(known):
    picture = (grey(STREET.night[0]) * 0.1).astype(np.uint8)
    reading = Eye(known).read(picture)
    assert reading.unusable is Unusable.DARK
    assert reading.dark_share > 0.8


KINDS = st.sampled_from(["u1", "i2", "f4", "?", "c8", "U3", "O"])
SHAPES = st.sampled_from(
    [(240, 320), (1, 1), (0, 5), (240, 320, 1), (240, 320, 4), (99, 99, 3), (7,), ()]
)


@given(picture=st.builds(np.zeros, SHAPES, KINDS))
def test_no_array_of_any_kind_makes_it_raise(known, picture):
    assert not is_match(Eye(known).read(picture))
    small = vision.scaled_grey(picture)
    assert small is None or small.shape == (240, 320)


@settings(max_examples=60)  # some 20 ms each
@given(
    seed=st.integers(0, 2**32 - 1),
    coarse=st.sampled_from([1, 2, 4, 8, 16, 40]),
    grey_bars=st.booleans(),
)
def test_no_noise_pattern_or_test_card_ever_matches(known, seed, coarse, grey_bars):
    random = np.random.default_rng(seed)
    shape = (1 if grey_bars else 240 // coarse, 320 // coarse)
    card = cv2.resize(
        random.integers(0, 256, shape, dtype=np.uint8), (320, 240), interpolation=cv2.INTER_NEAREST
    )
    assert not is_match(Eye(known).read(card))


@settings(max_examples=40)  # some 100 ms each: a room is drawn
@given(
    seed=st.integers(0, 10_000),
    infrared=st.booleans(),
    turned=st.booleans(),
    which=st.integers(0, 2),
)
def test_no_room_under_any_light_ever_matches_with_the_text_or_without(
    seed, infrared, turned, which
):
    street = STREETS[which]
    eye = _EYES.setdefault(which, Eye(commissioned(*street.commission)))
    picture = room.room(seed, infrared=infrared, turned=turned)
    labelled = room.under_text_of(picture, room.colour(street.commission[2]), street.name)
    assert not is_match(eye.read(vision.scaled_grey(picture)))
    assert not is_match(eye.read(vision.scaled_grey(labelled)))


_EYES: dict[int, Eye] = {}


# ---- against the picture before ----


def test_the_first_picture_is_all_change_and_the_same_again_is_none(known):
    eye = Eye(known)
    picture = grey(STREET.stream[0])
    first, second, third = eye.read(picture), eye.read(picture), eye.read(picture)
    assert (first.change, second.change, third.change) == (1.0, 0.0, 0.0)
    assert (first.same_bits, second.same_bits, third.same_bits) == (1, 2, 3)
    assert eye.read(grey(STREET.stream[1])).same_bits == 1


def test_sensor_noise_is_no_change_and_no_stillness(known):
    random = np.random.default_rng(7)
    picture = grey(STREET.stream[0])
    eye = Eye(known)
    eye.read(picture)
    noisy = np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    reading = eye.read(noisy)
    assert reading.change < 0.01
    assert reading.same_bits == 1


def test_a_cloud_before_the_sun_is_no_jump_and_a_room_is_one(known):
    eye = Eye(known)
    picture = grey(STREET.stream[0])
    eye.read(picture)
    assert eye.read((picture * 0.75).astype(np.uint8)).change < 0.1
    assert eye.read(grey(demo_pictures.ROOM[0])).change > 0.6


def test_a_picture_is_not_kept_by_reference(known):
    eye = Eye(known)
    picture = grey(STREET.stream[0]).copy()
    eye.read(picture)
    picture[:] = 0
    assert eye.read(grey(STREET.stream[0])).same_bits == 2


# ---- commissioning ----


def test_what_moves_in_a_burst_loses_its_weight(known):
    random = np.random.default_rng(3)
    frames = []
    for _ in range(12):
        frame = grey(STREET.stream[0]).copy()
        x, y = random.integers(60, 240), random.integers(120, 190)
        cv2.rectangle(frame, (int(x), int(y)), (int(x) + 30, int(y) + 20), 255, -1)
        frames.append(frame)
    still, moving = vision.build({"day": [frames[0]]}), vision.build({"day": frames})
    assert isinstance(still, References)
    assert isinstance(moving, References)
    assert (
        Eye(moving).read(grey(STREET.stream[0])).ncc > Eye(still).read(grey(STREET.stream[0])).ncc
    )


def test_no_person_can_be_recognised_in_a_reference(known):
    """Sixteen grey levels of edge direction at 320x240, and none at all where something moved."""
    for light in known.lights:
        assert light.re.dtype == light.im.dtype == np.int8
        assert np.abs(light.re).max() <= vision.LEVELS
        assert light.re.shape == (240, 320)
        assert not light.re[: int(240 * vision.TOP_STRIP)].any()
        assert not light.re[~known.counts].any()


def _sky() -> vision.Grey:
    random = np.random.default_rng(1)
    picture = np.tile(np.linspace(220, 140, 240, dtype=np.float32)[:, None], (1, 320))
    picture[200:] = 60
    picture[196:, ::9] = 20
    return np.clip(picture + random.normal(0, 1, picture.shape), 0, 255).astype(np.uint8)


def _one_corner() -> vision.Grey:
    picture = np.full((240, 320), 130, np.uint8)
    part = grey(STREET.stream[0])[120:240, 0:320].copy()
    picture[120:240] = part
    return picture


def test_a_view_of_sky_is_refused_with_how_to_aim():
    refused = vision.build({"day": [_sky()] * 5})
    assert isinstance(refused, Refusal)
    assert "lower" in refused.why or "lens" in refused.why


def test_a_view_with_structure_in_one_half_is_refused_with_how_to_turn():
    refused = vision.build({"day": [_one_corner()] * 5})
    assert isinstance(refused, Refusal)
    assert refused.structure is not None
    assert "needed" in refused.why
    assert refused.why.startswith("day: ")


@pytest.mark.parametrize(
    ("frames", "word"),
    [
        ({}, "no usable picture"),
        ({"day": []}, "no usable picture"),
        ({"day": [None]}, "no usable picture"),
        ({"day": [np.zeros((240, 320), np.uint8)]}, "dark"),
        ({"day": [np.full((240, 320), 255, np.uint8)]}, "over-exposed"),
        ({"day": [np.full((240, 320), 99, np.uint8)]}, "uncover"),
    ],
)
def test_what_cannot_be_commissioned_is_refused_in_words(frames, word):
    refused = vision.build(frames)
    assert isinstance(refused, Refusal)
    assert word in refused.why


def test_a_view_in_motion_is_refused():
    frames = [_shifted(STREET.stream[0], 9 * i - 50, 5 * i - 20) for i in range(12)]
    refused = vision.build({"day": frames})
    assert isinstance(refused, Refusal)


def test_a_screen_full_of_text_is_refused():
    page = np.full((240, 320), 255, np.uint8)
    for y in range(20, 240, 12):
        cv2.putText(page, "KELURAHAN KUNINGAN RT 05 RW 03 CAM 1 2024", (2, y), 0, 0.4, 0, 1)
    refused = vision.build({"day": [page // 2 + 60 if i < 0 else page for i in range(3)]})
    assert isinstance(refused, Refusal)


def test_a_night_is_added_beside_the_day_and_the_view_gets_a_new_name(known):
    both = vision.add_light(known, "night", [grey(p) for p in STREET.night])
    assert isinstance(both, References)
    assert [light.name for light in both.lights] == ["day", "night"]
    assert both.view != known.view
    eye = Eye(both)
    assert eye.read(grey(STREET.night[0])).score >= Eye(known).read(grey(STREET.night[0])).score
    assert is_match(eye.read(grey(STREET.stream[0])))
    assert verdict_of(eye.read(grey(STREET.room_under_text[0]))) is Verdict.FOREIGN
    again = vision.add_light(both, "night", [grey(STREET.night[0])])
    assert isinstance(again, References)
    assert len(again.lights) == 2
    assert isinstance(vision.add_light(known, "night", []), Refusal)


def test_the_name_of_a_view_depends_on_all_of_it(known):
    same = commissioned(*STREET.commission)
    assert same.view == known.view
    assert commissioned(*STREET.commission[:4]).view != known.view
    assert commissioned(*STREET.commission, light="dusk").view != known.view


def test_the_tile_map_shows_where_there_is_something_to_go_by(known):
    lines = vision.tile_map(known).splitlines()
    assert [len(line) for line in lines] == [8] * 6
    held = sum(line.count("#") + line.count("+") for line in lines)
    assert held == vision.structure_of(known)[0].tiles


# ---- JPEG ----


def _jpeg(width: int, height: int, *, grey_only: bool = False) -> bytes:
    shape = (height, width) if grey_only else (height, width, 3)
    return cv2.imencode(".jpg", np.full(shape, 90, np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("width", "height"), [(320, 240), (640, 360), (1920, 1080), (2560, 1440), (704, 576), (48, 48)]
)
def test_a_jpeg_of_any_usual_size_is_scaled(width, height):
    assert vision.jpeg_size(_jpeg(width, height)) == (width, height)
    found = vision.scaled_grey_from_jpeg(_jpeg(width, height))
    assert found is not None
    assert found.shape == (240, 320)
    assert abs(int(found.mean()) - 90) <= 1
    assert vision.scaled_grey_from_jpeg(_jpeg(width, height, grey_only=True)) is not None


def test_reduced_decoding_reads_the_same_street():
    picture = room.colour(STREET.stream[0])
    large = cv2.imencode(".jpg", cv2.resize(picture, (1920, 1080), interpolation=cv2.INTER_CUBIC))[
        1
    ].tobytes()
    assert is_match(Eye(commissioned(*STREET.commission)).read(vision.scaled_grey_from_jpeg(large)))


def test_padding_after_the_end_is_tolerated():
    assert vision.scaled_grey_from_jpeg(_jpeg(640, 360) + b"\0" * 512) is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda j: b"",
        lambda j: j[: len(j) // 2],
        lambda j: j[:-2],
        lambda j: j[:30],
        lambda j: b"<html>" + j,
        lambda j: b"\xff\xd8\xff\xd9",
        lambda j: b"\xff\xd8\xff\xff\xff\xff\xd9",
        lambda j: b"\x89PNG\r\n\x1a\n" + j,
        lambda j: j[:4] + b"\0\0" + j[6:],
        lambda j: b"\xff\xd8\xff\xda\0\x08" + b"\0" * 20 + b"\xff\xd9",
        lambda j: b"\xff\xd8\xff\xc0\0\x11\xff\xd9",
    ],
)
def test_damaged_jpegs_are_no_pictures(damage):
    assert vision.scaled_grey_from_jpeg(damage(STREET.stream[0].read_bytes())) is None


@pytest.mark.parametrize(
    "size", [(16384, 16384), (65535, 65535), (0, 0), (47, 200), (8193, 100), (1, 1)]
)
def test_absurd_sizes_are_refused_by_their_header_before_decoding(size):
    jpeg = bytearray(_jpeg(640, 360))
    at = jpeg.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", jpeg, at, size[1], size[0])
    assert vision.jpeg_size(bytes(jpeg)) == size
    assert vision.scaled_grey_from_jpeg(bytes(jpeg)) is None


@given(cut=st.integers(0, 40_000), garbage=st.binary(max_size=60), at=st.integers(0, 40_000))
def test_no_bytes_make_it_raise(cut, garbage, at):
    jpeg = STREET.stream[0].read_bytes()
    mangled = jpeg[:at] + garbage + jpeg[at + len(garbage) : cut]
    for raw in (mangled, garbage, b"\xff\xd8" + garbage + b"\xff\xd9"):
        found = vision.scaled_grey_from_jpeg(raw)
        assert found is None or found.shape == (240, 320)


def test_a_picture_half_of_which_is_lost_in_transit_is_not_released_as_the_street(known):
    """A grey lower half, as a decoder leaves it when packets are missing."""
    picture = grey(STREET.stream[0]).copy()
    picture[80:] = 128
    assert not is_match(Eye(known).read(picture))


# ---- the machine ----


def test_importing_vision_starts_no_threads():
    code = "import edge_agent.vision, cv2, pathlib; print(cv2.getNumThreads())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "1"
