"""The bank of strange rooms and streets: whole, still true to how vision sees, no photograph, and told apart from streets."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import demo_pictures, foreign, vision
from edge_agent.foreign import BankDamaged, Stranger
from edge_agent.vision import References
from edge_agent.vision.describe import describe
from tests.bench import foreign_bank

BANK = Path(foreign.__file__).with_name(foreign.BANK)
POINTS = foreign.MAP_WIDTH * foreign.MAP_HEIGHT


def _described(path: Path) -> vision.Complexes:
    return describe(foreign_bank.grey(path))[0]


def _commissioned(street: demo_pictures.Street) -> References:
    day = [foreign_bank.grey(path) for path in street.commission]
    night = [foreign_bank.grey(path) for path in street.night]
    built = vision.build({"day": day, "night": night})
    assert isinstance(built, References)
    return built


@pytest.fixture(scope="module")
def bank() -> tuple[Stranger, ...]:
    return tuple(foreign.maps())


# ---- what is shipped ----


def test_the_bank_holds_the_rooms_and_streets_that_its_page_names(bank):
    kinds = Counter("room" if "room" in stranger.name else "street" for stranger in bank)
    page = BANK.with_name("LICENCES.md").read_text()
    assert f"{len(bank)} maps" in page
    assert f"{kinds['room']} rooms" in page
    assert f"{kinds['street']} streets" in page
    assert len({stranger.name for stranger in bank}) == len(bank) >= 200
    assert BANK.stat().st_size <= 3_000_000


def test_every_map_is_one_and_none_is_empty(bank):
    for stranger in bank:
        assert stranger.described.shape == (vision.HEIGHT, vision.WIDTH)
        weight = np.abs(stranger.described)
        assert weight.max() <= 1.0 + 1e-6
        assert 0.05 < (weight > 0).mean() < 0.9


def test_a_map_holds_no_brightness(bank):
    """A picture and its negative, and one at half the contrast, give the same map: what is in it is no photograph."""
    grey = foreign_bank.grey(demo_pictures.STREETS[0].stream[0])
    map_of = foreign_bank.encode(describe(grey)[0])
    negative = foreign_bank.encode(describe(np.asarray(255 - grey, dtype=np.uint8))[0])
    assert (map_of == negative).mean() > 0.999
    assert len(np.unique(map_of)) <= foreign.DIRECTIONS * foreign.WEIGHTS + 1
    raw = BANK.read_bytes()
    assert b"\xff\xd8\xff" not in raw
    assert b"PNG" not in raw


def test_vision_still_describes_edges_as_it_did_when_the_bank_was_made():
    head = json.loads(BANK.read_bytes()[len(foreign.MAGIC) :].split(b"\n", 2)[1])
    now = foreign_bank.gauge()
    assert sum(head["gauge"]) == sum(now) == POINTS
    moved = sum(abs(a - b) for a, b in zip(head["gauge"], now, strict=True)) / 2
    assert moved <= 0.01 * POINTS, (
        "describe() was changed: make the bank anew (tests/bench/foreign_bank.py)"
    )


@pytest.mark.parametrize("street", demo_pictures.STREETS, ids=lambda street: street.name)
def test_no_stranger_comes_near_a_real_street(street, bank):
    nearest = foreign.nearest(_commissioned(street), bank)
    assert nearest.score < 0.8


# ---- maps stand in for pictures ----


@pytest.fixture(scope="module")
def street() -> References:
    return _commissioned(demo_pictures.STREETS[0])


def _as_map(path: Path, name: str = "x") -> Stranger:
    (made,) = foreign.maps(foreign_bank.pack([name], [foreign_bank.encode(_described(path))]))
    return made


@pytest.mark.parametrize(
    "path", [*demo_pictures.STREETS[0].stream, *demo_pictures.STREETS[0].dusk], ids=lambda p: p.name
)
def test_a_map_of_the_street_itself_scores_nearly_as_its_picture(street, path):
    likeness = vision.Likeness(street)
    as_picture = likeness.score(_described(path))
    assert as_picture >= 1.0
    assert likeness.score(_as_map(path).described) >= 0.8 * as_picture


def test_the_score_of_an_edge_map_is_that_of_the_reading(street):
    for path in (demo_pictures.STREETS[0].stream[0], demo_pictures.STREETS[1].stream[0]):
        reading = vision.Eye(street).read(foreign_bank.grey(path))
        assert vision.Likeness(street).score(_described(path)) == pytest.approx(
            reading.score, abs=0.02
        )


def test_without_a_light_nothing_is_alike(street):
    empty = References(counts=street.counts, lights=())
    assert vision.Likeness(empty).score(_described(demo_pictures.STREETS[0].stream[0])) == 0.0


def test_the_nearest_is_named(street):
    room = _as_map(demo_pictures.STREETS[0].room_under_text[0], "room 1")
    itself = _as_map(demo_pictures.STREETS[0].stream[0], "that street")
    found = foreign.nearest(street, [room, itself, room])
    assert found.name == "that street"
    assert found.score >= 1.0
    assert foreign.nearest(street, []).score == 0.0


def test_the_lights_of_another_camera_are_strangers_and_what_it_learnt_is_none(street):
    assert [s.name for s in foreign.strangers_of(street, "pole-2")] == [
        "pole-2 (day)",
        "pole-2 (night)",
    ]
    learnt = References(counts=street.counts, lights=street.lights, learnt=1)
    assert len(list(foreign.strangers_of(learnt, "pole-2"))) == 1
    assert foreign.nearest(street, foreign.strangers_of(street, "twin")).score >= 1.0


def test_displaced_views_are_the_view_and_lie_elsewhere(street):
    made = list(foreign.displaced(street))
    assert len(made) == 2 * 9
    held = vision.map_of(street.lights[0])
    mirror = made[0].described
    # A mirrored map mirrored again is the map.
    assert np.array_equal(np.conj(mirror[:, ::-1]), held)
    right = made[1].described
    assert np.array_equal(right[:, 32:], held[:, :-32])
    assert not right[:, :32].any()
    assert foreign.nearest(street, made).score < 0.8


def test_a_mirrored_map_is_the_map_of_the_mirrored_picture():
    grey = foreign_bank.grey(demo_pictures.STREETS[0].stream[0])
    mirrored = describe(np.ascontiguousarray(grey[:, ::-1]))[0]
    assert np.allclose(mirrored, np.conj(describe(grey)[0][:, ::-1]), atol=1e-3)


# ---- damage ----


def _forged(head: object, body: bytes) -> bytes:
    inner = (head if isinstance(head, bytes) else json.dumps(head).encode()) + b"\n" + body
    return foreign.MAGIC + hashlib.sha256(inner).hexdigest().encode() + b"\n" + inner


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"junk",
        b"edge-agent foreign 2\n" + b"0" * 64 + b"\n",
        _forged(b"{", b""),
        _forged([1], b""),
        _forged({}, b""),
        _forged({"names": 3}, b""),
        _forged({"names": []}, zlib.compress(b"")),
        _forged({"names": ["a"]}, b"not deflated"),
        _forged({"names": ["a"]}, zlib.compress(b"\0" * (POINTS - 1))),
        _forged({"names": ["a"]}, zlib.compress(b"\0" * 100_000_000)),
        _forged({"names": ["a"]}, zlib.compress(b"\xff" * POINTS)),
    ],
)
def test_a_bank_that_is_not_what_was_made_is_refused_with_words(raw):
    with pytest.raises(BankDamaged, match="bank of foreign maps"):
        list(foreign.maps(raw))


@given(data=st.data())
def test_any_single_damage_to_the_bank_is_noticed(data):
    raw = foreign_bank.pack(["a"], [np.zeros((120, 160), np.uint8)])
    at = data.draw(st.integers(0, len(raw) - 1))
    flipped = raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[at + 1 :]
    damaged = data.draw(st.sampled_from([raw[:at], flipped, raw + b"\0" * (at + 1)]))
    with pytest.raises(BankDamaged):
        list(foreign.maps(damaged))


def test_a_bank_that_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(foreign, "files", lambda _: tmp_path)
    with pytest.raises(BankDamaged, match="cannot be read"):
        list(foreign.maps())


# ---- making it ----


def test_the_maker_takes_rooms_and_streets_and_leaves_out_what_is_too_dark(
    tmp_path, monkeypatch, capsys
):
    """A little folder laid out as the maker expects it: what is written is what the product reads."""
    import cv2

    street = demo_pictures.STREETS[0]
    for folder in ("indoor", "street", "cameras/pole"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "indoor/001.jpg").write_bytes(street.room_under_text[0].read_bytes())
    dark = cv2.imencode(".jpg", np.full((240, 320), 9, np.uint8))[1].tobytes()
    (tmp_path / "indoor/002.jpg").write_bytes(dark)
    (tmp_path / "street/001.jpg").write_bytes(demo_pictures.STREETS[1].stream[0].read_bytes())
    for n, path in enumerate(street.commission, start=1):
        (tmp_path / f"cameras/pole/day-0{n}.jpg").write_bytes(path.read_bytes())
    (tmp_path / "manifest.csv").write_text(
        "file,condition\nstreet/001.jpg,dusk\nindoor/002.jpg,night\nindoor/001.jpg,ir\n"
        "cameras/pole/day-01.jpg,day\n"
    )
    (tmp_path / "refs.csv").write_text(
        "camera,ref1,ref2,ref3\npole,cameras/pole/day-01.jpg,cameras/pole/day-02.jpg,\n"
    )
    monkeypatch.setattr(foreign_bank, "SHIPPED", tmp_path / "bank.bin")
    monkeypatch.setattr("sys.argv", ["foreign_bank", str(tmp_path), "--write"])
    foreign_bank.main()
    made = list(foreign.maps((tmp_path / "bank.bin").read_bytes()))
    assert [stranger.name for stranger in made] == ["infrared room 1", "dusk street 1"]
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["maps"] == told["pairs"] == 2
    assert told["same_as_shipped"]
    assert told["worst_map"] < 0.8
    assert told["map_to_picture_least"] > 0.8
