"""What happens on a street, told frame by frame, with real pictures, the real eye and the real agent in simulated time.

December 2024 is the first story: a camera was carried home and showed a family asleep. What left the box and what was said
about it is all that is looked at. Streets are photographs, the room is drawn (edge_agent/demo_pictures).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from edge_agent import commission, demo_pictures, vision
from edge_agent.core.messages import Cause, FindingKey
from edge_agent.demo_pictures import ROOM, ROOM_INFRARED, STREETS, Street
from tests.support import lens
from tests.support.lens import Lens
from tests.support.play import PRESSED
from tests.support.story import Shot, Story

pytestmark = pytest.mark.timeout(
    240
)  # hundreds of pictures each, read for real: slow beside other work

MINUTE = 60.0
HOUR = 3600.0
WITH_AND_WITHOUT_LOOP = pytest.mark.parametrize("loop", [True, False], ids=["loop", "no-loop"])


@cache
def references(name: str, *, night: bool = False) -> vision.References:
    """As commissioned at the box: by day, and at night beside it if wanted. No picture played below is among these."""
    street = next(s for s in STREETS if s.name == name)
    found = commission.references_from(
        [path.read_bytes() for path in street.commission[:3]], light="day"
    )
    assert isinstance(found, vision.References), found
    if night:
        found = commission.references_from(
            [path.read_bytes() for path in street.night[:2]], light="night", beside=found
        )
        assert isinstance(found, vision.References), found
    return found


def begun(street: Street, *, loop: bool, night: bool = False) -> Story:
    """The box is up, the loop reads closed, the camera has connected: nothing seen yet."""
    story = Story(references(street.name, night=night), loop=loop)
    story.box_starts()
    story.loop_reads(closed=True)
    story.camera_connects()
    return story


def released_within_a_minute(story: Story, shots: Iterator[Shot], of: str = "street") -> bool:
    since = story.now
    return story.shows(shots, seconds=MINUTE, until=lambda: bool(story.left_of(of, since=since)))


@pytest.fixture(params=STREETS, ids=lambda street: street.name)
def street(request: pytest.FixtureRequest) -> Street:
    found: Street = request.param
    return found


STREET = STREETS[0]


# ---- December 2024 ----


class December:
    """The incident in steps, so that the power can be cut after any of them."""

    def __init__(self, street: Street, *, loop: bool, night: bool) -> None:
        eye = Lens(seed=2024)
        own = lens.load(street.night[2] if night else street.commission[4])
        home = [
            lens.load(p) for p in (ROOM_INFRARED if night else (*ROOM[:2], *street.room_under_text))
        ]
        self.story = Story(references(street.name, night=night), loop=loop)
        self.street = eye.live(own, "street")
        self.room = eye.live(home, "room")
        self.at_home = False

    def steps(self) -> list[Callable[[], None]]:
        story = self.story
        return [
            self.starts,
            lambda: self.shows(30.0),
            lambda: story.loop_reads(closed=False),  # the cable breaks
            story.signal_is_lost,
            lambda: story.passes(HOUR / 4),
            self.carried_home,
            lambda: self.shows(10.0),
            lambda: self.shows(20.0),
            lambda: story.signal_is_lost(Cause.UNREACHABLE),  # the plug is pulled, and put in again
            self.connects,
            lambda: self.shows(10.0),
            story.signal_is_lost,
            lambda: story.passes(HOUR / 4),
            self.back_on_the_pole,
        ]

    def starts(self) -> None:
        self.story.box_starts()
        self.story.loop_reads(closed=not self.at_home)
        self.story.camera_connects()

    def connects(self) -> None:
        self.story.camera_connects()

    def carried_home(self) -> None:
        self.at_home = True
        self.story.camera_connects()

    def back_on_the_pole(self) -> None:
        self.at_home = False
        self.story.loop_reads(closed=True)
        self.story.camera_connects()

    def shows(self, seconds: float) -> None:
        self.story.shows(self.room if self.at_home else self.street, seconds=seconds)

    def power_cut(self) -> None:
        """And everything comes up again as it stands: the camera where it is, the loop as it is."""
        self.story.power_is_cut()
        self.story.loop_reads(closed=not self.at_home)
        self.story.camera_connects()


@WITH_AND_WITHOUT_LOOP
@pytest.mark.parametrize("night", [False, True], ids=["day", "night"])
def test_december_2024_shows_no_living_room_and_the_street_again_within_a_minute(
    street: Street, *, night: bool, loop: bool
):
    told = December(street, loop=loop, night=night)
    for step in told.steps():
        step()
    story = told.story
    assert story.left_of("room") == []
    assert story.left_of("street"), "the street was shown before the cable broke"
    assert released_within_a_minute(story, told.street), story.verdict_counts()
    assert story.left_of("room") == []

    opened_closed = ["opened", "closed"]
    assert story.came_and_went(FindingKey.CAMERA_NO_ANSWER) == opened_closed * 2
    if loop:
        # The pixels are not even looked at: the camera streams, its cable is open.
        assert story.came_and_went(FindingKey.CABLE_CAMERA_TAKEN) == opened_closed
        assert story.came_and_went(FindingKey.CABLE_OPEN)[0] == "opened"
        assert "held -> open: proven" in story.gate_moves()
    elif not night:
        assert story.came_and_went(FindingKey.VIEW_FOREIGN) == opened_closed


@WITH_AND_WITHOUT_LOOP
@pytest.mark.parametrize("cut_after", range(14))
def test_december_2024_with_a_power_cut_at_every_step(cut_after: int, *, loop: bool):
    told = December(STREET, loop=loop, night=False)
    steps = told.steps()
    assert len(steps) == 14
    for n, step in enumerate(steps):
        step()
        if n == cut_after:
            told.power_cut()
            told.shows(8.0)
    assert told.story.left_of("room") == []
    assert released_within_a_minute(told.story, told.street), told.story.verdict_counts()
    assert told.story.left_of("room") == []


def test_december_2024_if_the_secretary_presses_the_switch_at_home():
    told = December(STREET, loop=False, night=False)
    for step in told.steps()[:7]:
        step()
    story = told.story
    story.switch_reads(PRESSED, seconds=10.0)
    since = story.now
    story.shows_one(next(told.street))
    assert story.left_of("street", "room", since=since) == []


# ---- the camera is swapped, moved, turned ----


@WITH_AND_WITHOUT_LOOP
def test_a_camera_swapped_within_one_connection_shows_nothing_foreign(
    street: Street, *, loop: bool
):
    eye = Lens(seed=1)
    own, room = lens.load(street.commission[4]), lens.load(street.room_under_text[0])
    story = begun(street, loop=loop)
    assert released_within_a_minute(story, eye.live(own, "street"))
    story.shows(eye.live(own, "street"), seconds=MINUTE)
    story.shows(eye.live(room, "room"), seconds=MINUTE)
    assert story.left_of("room") == []
    assert story.stands(FindingKey.VIEW_FOREIGN)
    assert released_within_a_minute(story, eye.live(own, "street"))
    assert story.left_of("room") == []
    assert story.came_and_went(FindingKey.VIEW_FOREIGN) == ["opened", "closed"]


def test_one_picture_of_a_room_between_pictures_of_the_street_does_not_leave():
    eye = Lens(seed=2)
    street, room = eye.live(lens.load(STREET.commission[4]), "street"), lens.load(ROOM[0])
    story = begun(STREET, loop=False)
    for _ in range(4):
        story.shows(street, seconds=30.0)
        story.shows_one(eye.shot(room, "room"))
    story.shows(street, seconds=MINUTE)
    assert story.left_of("street")
    assert story.left_of("room") == []


def test_pictures_of_another_size_are_proven_anew():
    eye = Lens(seed=3)
    own = lens.load(STREET.commission[4])
    story = begun(STREET, loop=False)
    assert released_within_a_minute(story, eye.live(own, "street"))
    story.size_changes(1280, 720)
    since = story.now
    story.shows(eye.live(own, "street"), seconds=6.0)
    assert story.left_of("street", since=since) == []
    assert "open -> held: continuity broken" in story.gate_moves()
    assert released_within_a_minute(story, eye.live(own, "street"))


def test_a_photo_of_another_street_of_the_same_kind_stays_in_the_box(street: Street):
    eye = Lens(seed=4)
    story = begun(street, loop=False)
    assert released_within_a_minute(story, eye.live(lens.load(street.commission[4]), "street"))
    story.signal_is_lost()
    for other in (s for s in STREETS if s is not street):
        story.camera_connects()
        photos = [lens.load(p) for p in (*other.commission[3:], *other.dusk, other.night[0])]
        story.shows(eye.live(photos, "other"), seconds=200.0)
        story.signal_is_lost()
    assert story.left_of("other") == []
    assert "opened" in story.came_and_went(FindingKey.VIEW_FOREIGN)


def test_a_slow_pan_is_told_and_nothing_leaves_once_the_view_is_another():
    eye = Lens(seed=5, shake_px=0.2)
    own, beyond = lens.load(STREET.commission[4]), lens.load(STREETS[1].commission[4])
    story = begun(STREET, loop=False)
    assert released_within_a_minute(story, eye.live(own, "street"))
    # One percent of the width a picture, 2 s apart: no picture differs much from the one before.
    for n in range(1, 1001, 10):
        share = n / 1000
        picture = lens.panned(own, beyond, share)
        of = "street" if share <= 0.04 else "off by more than 4 %"
        story.passes(2.0)
        story.shows_one(eye.shot(picture, of))
    assert story.left_of("off by more than 4 %") == []
    assert "opened" in story.came_and_went(FindingKey.VIEW_MOVED)
    story.shows(eye.live(beyond, "beyond"), seconds=MINUTE)
    assert story.left_of("beyond") == []


def test_a_view_turned_by_a_hand_is_moved_and_comes_back_when_it_is_turned_back(street: Street):
    eye = Lens(seed=6)
    own = lens.load(street.commission[4])
    width = own.shape[1]
    turned = lens.shifted(own, 0.08 * width, 0.02 * own.shape[0])
    story = begun(street, loop=False)
    assert released_within_a_minute(story, eye.live(own, "street"))
    story.shows(eye.live(turned, "turned"), seconds=MINUTE)
    assert story.left_of("turned") == []
    assert story.stands(FindingKey.VIEW_MOVED)
    moved = next(r for r in story.records if r.data.get("key") == "view_moved")
    evidence = moved.data["evidence"]
    assert isinstance(evidence, dict)
    dx, dy = evidence["dx_px"], evidence["dy_px"]
    assert isinstance(dx, float)
    assert isinstance(dy, float)
    assert abs(dx - 0.08 * vision.WIDTH) <= 2.0
    assert abs(dy - 0.02 * vision.HEIGHT) <= 2.0
    assert released_within_a_minute(story, eye.live(own, "street"))
    assert story.came_and_went(FindingKey.VIEW_MOVED) == ["opened", "closed"]


# ---- the street's own weather ----


def test_dusk_to_infrared_and_back_sends_nobody_out_and_shows_the_street_again(street: Street):
    eye = Lens(seed=7)
    day, dusk = lens.load(street.commission[4]), lens.load(street.dusk[1])
    dark = lens.infrared(lens.load(street.night[2]))
    story = begun(street, loop=False, night=True)
    assert released_within_a_minute(story, eye.live(day, "street"))
    for before, after in ((day, dusk), (dusk, dark), (dark, dusk), (dusk, day)):
        for n in range(13):
            share = n / 12
            if (
                after is dark or before is dark
            ):  # the filter clicks: one picture is in colour, the next is grey
                share = 1.0 if n >= 6 else 0.0
            story.passes(5.0)
            story.shows_one(eye.shot(lens.faded(before, after, share), "street"))
        assert released_within_a_minute(story, eye.live(after, "street")), story.verdict_counts()
    assert story.came_and_went(FindingKey.VIEW_FOREIGN) == []
    assert story.came_and_went(FindingKey.VIEW_MOVED) == []


def test_a_lorry_before_the_lens_is_no_theft_and_the_street_is_back_when_it_has_gone(
    street: Street,
):
    eye = Lens(seed=8)
    own = lens.load(street.commission[4])
    story = begun(street, loop=False)
    assert released_within_a_minute(story, eye.live(own, "street"))
    story.shows(
        eye.live(lambda n: lens.with_lorry(own, share=0.55, at=-0.3 + 0.05 * min(n, 16)), "lorry"),
        seconds=80.0,
    )
    assert story.came_and_went(FindingKey.VIEW_FOREIGN) == []
    assert released_within_a_minute(story, eye.live(own, "street"))
    assert story.came_and_went(FindingKey.VIEW_FOREIGN) == []
    assert story.came_and_went(FindingKey.VIEW_MOVED) == []


def test_rain_on_the_lens_is_no_theft_and_the_street_is_back_when_it_stops(street: Street):
    eye = Lens(seed=9)
    own = lens.load(street.commission[4])
    story = begun(street, loop=False)
    assert released_within_a_minute(story, eye.live(own, "street"))
    story.shows(eye.live(lambda n: lens.rained(own, n), "rain"), seconds=2 * MINUTE)
    assert released_within_a_minute(story, eye.live(own, "street"))
    assert story.came_and_went(FindingKey.VIEW_FOREIGN) == []
    assert story.came_and_went(FindingKey.VIEW_MOVED) == []


# ---- nothing to go by ----


def test_a_camera_that_was_never_commissioned_shows_nothing_and_says_so():
    eye = Lens(seed=10)
    story = Story(None, loop=False)
    story.box_starts()
    story.camera_connects()
    story.shows(eye.live(lens.load(STREET.commission[4]), "street"), seconds=MINUTE)
    assert story.left == []
    assert story.stands(FindingKey.VIEW_NOT_COMMISSIONED)


def test_the_pictures_played_are_not_those_that_were_commissioned():
    for street in demo_pictures.STREETS:
        played = {street.commission[4], street.night[2], *street.dusk}
        assert not played & {*street.commission[:3], *street.night[:2]}
