"""One camera through its days: what it takes to release a picture, and what ends it at once."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import gate as gates
from edge_agent.core.cable import OPEN_FOR_S
from edge_agent.core.gate import State
from edge_agent.core.health import Findings
from edge_agent.core.messages import (
    BaselineRead,
    CameraLost,
    Cause,
    Command,
    FindingKey,
    Keep,
    KeepPicture,
    Learn,
    LessonEnded,
    LoopRead,
    Rank,
    Record,
    Say,
    SceneReading,
    SetPeriod,
    Unusable,
)
from edge_agent.core.nights import Night
from edge_agent.core.settings import (
    Camera,
    CameraKind,
    DigitalLoop,
    LoopOpenPolicy,
    MeasuredLoop,
    Run,
)
from edge_agent.core.watch import PATIENT_AFTER_S, PATIENT_PERIOD_S, SUSPENDED_PERIOD_S, Watch
from tests.core.test_cable import BASE
from tests.support.build import LIVING_ROOM, STREET, opened, picture

RUN = Run(
    camera="gate",
    cable="cat5e-outdoor",
    length_m=50.0,
    place="pole 3",
    loop=DigitalLoop(pin=20),
)
DARK = replace(STREET, unusable=Unusable.DARK, score=0.0)


def a_camera(period_s: float = 5.0) -> Camera:
    return Camera(
        id="gate",
        name="Gapura",
        kind=CameraKind.RTSP,
        source="rtsp://10.0.0.9/1",
        period_s=period_s,
    )


class Street:
    """Plays one camera's events and collects what follows."""

    def __init__(self, *, run: Run | None = None, period_s: float = 5.0) -> None:
        self.findings = Findings()
        self.watch = Watch(a_camera(period_s), run, self.findings, at=0.0)
        self.at = 0.0
        self.done: list[Command] = []
        self.generation = 0
        self.do(self.watch.private(on=True, at=0.0))
        self.do(self.watch.private(on=False, at=0.0))
        if run is not None:
            self.loop(closed=True)

    def do(self, commands: Sequence[Command]) -> None:
        self.done += commands

    def connect(self) -> None:
        self.generation += 1
        self.do(self.watch.opened(opened(generation=self.generation), at=self.at))

    def lose(self, cause: Cause = Cause.NO_ANSWER) -> None:
        lost = CameraLost(
            camera="gate", generation=self.generation, cause=cause, detail="no answer in 5 s"
        )
        self.do(self.watch.lost(lost, at=self.at))

    def loop(self, *, closed: bool | None) -> None:
        self.do(self.watch.loop_read(LoopRead(camera="gate", closed=closed), at=self.at))

    def show(
        self, reading: SceneReading, count: int = 1, every_s: float = 2.0, jpeg: bytes = b"street"
    ) -> None:
        for _ in range(count):
            self.at += every_s
            shown = picture(
                generation=self.generation, taken_at=self.at, reading=reading, jpeg=jpeg
            )
            self.do(self.watch.picture(shown, at=self.at, press=7))
            self.do(self.watch.timed(at=self.at))

    def wait(self, seconds: float) -> None:
        self.at += seconds
        self.do(self.watch.timed(at=self.at))

    @property
    def released(self) -> list[bytes]:
        return [c.picture.jpeg for c in self.done if isinstance(c, KeepPicture)]

    @property
    def records(self) -> list[Record]:
        return [c.record for c in self.done if isinstance(c, Keep)]

    def found(self, key: FindingKey) -> list[str]:
        return [r.kind for r in self.records if r.data.get("key") == key.value]

    @property
    def period_s(self) -> float:
        return [c.period_s for c in self.done if isinstance(c, SetPeriod)][-1]


def open_street(**arguments: object) -> Street:
    street = Street(**arguments)  # type: ignore[arg-type]
    street.connect()
    street.show(STREET, 6)
    assert street.watch.gate.is_open
    return street


def test_a_street_is_released_after_a_sustained_match():
    street = Street()
    street.connect()
    street.show(STREET, 4)
    assert street.released == []
    street.show(STREET, 6)
    assert street.released
    assert street.watch.right_scene is True


def test_december_2024_taken_home_without_a_loop():
    street = open_street()
    before = len(street.released)
    street.lose()
    assert street.watch.gate.state is State.CLOSED
    street.at += 3600.0
    street.connect()
    street.show(LIVING_ROOM, 200, jpeg=b"sofa")
    assert b"sofa" not in street.released
    assert len(street.released) == before
    assert street.found(FindingKey.VIEW_FOREIGN) == ["finding.opened"]
    assert street.watch.right_scene is False
    street.lose()
    assert street.findings.has(FindingKey.VIEW_FOREIGN, "gate")
    street.at += 600.0
    street.connect()
    back_at = street.at
    while len(street.released) == before:
        street.show(STREET)
        assert street.at - back_at <= 60.0
    assert street.found(FindingKey.VIEW_FOREIGN) == ["finding.opened", "finding.closed"]
    assert street.found(FindingKey.CAMERA_NO_ANSWER) == ["finding.opened", "finding.closed"] * 2


def test_with_a_loop_the_picture_does_not_matter():
    street = open_street(run=RUN)
    before = len(street.released)
    street.loop(closed=False)
    assert (street.watch.gate.state, street.watch.gate.cause) == (
        State.HELD,
        gates.Cause.LOOP_FORBIDS,
    )
    street.lose()
    street.wait(60.0)
    street.connect()
    street.loop(closed=None)
    street.show(STREET, 50)
    assert len(street.released) == before
    assert street.found(FindingKey.CABLE_OPEN) == ["finding.opened"]
    assert street.found(FindingKey.CABLE_CAMERA_TAKEN) == ["finding.opened"]
    street.loop(closed=True)
    street.wait(4.0)
    assert street.found(FindingKey.CABLE_OPEN) == ["finding.opened", "finding.closed"]
    assert street.found(FindingKey.CABLE_CAMERA_TAKEN) == ["finding.opened"]
    street.show(STREET, 12)
    assert len(street.released) > before
    assert street.found(FindingKey.CABLE_CAMERA_TAKEN) == ["finding.opened", "finding.closed"]


def test_a_loop_that_opens_under_a_running_picture_is_no_theft_but_holds():
    street = open_street(run=RUN)
    street.loop(closed=False)
    before = len(street.released)
    street.show(STREET, 50)
    assert len(street.released) == before
    assert street.found(FindingKey.CABLE_CAMERA_TAKEN) == []
    assert street.watch.cable == "open"


def test_a_loop_that_cannot_be_read_any_more_asks_for_proof_again():
    street = open_street(run=RUN)
    before = len(street.released)
    street.loop(closed=None)
    assert street.watch.gate.state is State.HELD
    street.show(STREET, 9)
    assert len(street.released) == before, "nothing but the picture vouches for it: more proof"
    at = street.at
    while len(street.released) == before:
        street.show(STREET)
        assert street.at - at <= 30.0


def test_the_finding_of_an_open_cable_is_kept_for_good_with_its_place_and_metres():
    street = open_street(run=RUN)
    street.loop(closed=False)
    street.wait(2.0)
    order = next(r for r in street.records if r.data.get("key") == "cable_open")
    assert order.rank is Rank.AUDIT
    evidence = order.data["evidence"]
    assert isinstance(evidence, dict)
    assert (evidence["bring_m"], evidence["place"]) == (55, "pole 3")


def test_one_foreign_picture_closes_at_once_and_what_waited_is_gone():
    street = open_street()
    released = len(street.released)
    street.show(LIVING_ROOM, jpeg=b"sofa")
    assert street.watch.gate.state is State.HELD
    street.show(STREET, 4)
    assert len(street.released) == released


def test_another_size_codec_or_commissioning_starts_all_over():
    for change in ({"width": 640}, {"codec": "hevc"}, {"reading": replace(STREET, view="view-2")}):
        street = open_street()
        street.at += 2.0
        shown = picture(generation=1, taken_at=street.at, **change)
        street.do(street.watch.picture(shown, at=street.at, press=7))
        assert street.watch.gate.state is State.HELD, change


def test_a_jump_in_the_picture_asks_for_proof_again():
    street = open_street()
    street.show(replace(STREET, change=0.9))
    assert street.watch.gate.state is State.HELD


def test_darkness_keeps_an_open_gate_open_for_a_bounded_time_and_releases_nothing():
    street = open_street()
    street.show(STREET, 2, every_s=5.0)
    released = len(street.released)
    street.show(DARK, 10, every_s=5.0)
    assert street.watch.gate.is_open
    street.show(DARK, 20, every_s=5.0)
    assert street.watch.gate.state is State.HELD
    assert len(street.released) == released
    assert street.found(FindingKey.VIEW_DARK) == ["finding.opened"]


def test_doubt_expires_without_any_picture_too():
    street = open_street()
    due = street.watch.deadline(at=street.at)
    street.wait(due - street.at)
    assert street.watch.gate.state is State.HELD
    street.show(STREET)
    assert street.watch.gate.state is State.HELD, "what matched before the pause is no proof now"


def test_pictures_after_a_loss_prove_themselves_again_even_without_news_of_a_connection():
    street = open_street()
    street.lose()
    street.show(STREET)
    assert street.watch.gate.state is State.HELD


def test_a_view_that_was_lost_after_hours_is_looked_for_as_often_as_a_new_one():
    street = open_street()
    street.show(STREET, int(PATIENT_AFTER_S / 5) + 10, every_s=5.0)
    street.show(LIVING_ROOM)
    assert street.watch.gate.state is State.HELD
    assert street.period_s == 2.0


def test_after_darkness_the_first_bracket_is_closed_soon():
    street = Street(period_s=60.0)
    street.connect()
    while not street.watch.gate.is_open:
        street.show(STREET)
    assert (street.released, street.period_s) == ([], 2.0)
    street.show(STREET)
    assert (len(street.released), street.period_s) == (1, 20.0)


def test_pictures_leave_at_their_period_although_the_view_is_checked_more_often():
    street = open_street(period_s=60.0)
    start, before = street.at, len(street.released)
    assert street.period_s == 20.0
    street.show(STREET, 60, every_s=20.0)
    released = len(street.released) - before
    assert abs(released - (street.at - start) / 60.0) <= 1


def test_a_fast_period_is_kept_to():
    street = open_street(period_s=5.0)
    assert street.period_s == 5.0
    before = len(street.released)
    street.show(STREET, 100, every_s=5.0)
    assert len(street.released) - before >= 99


def test_key_pictures_that_come_off_the_beat_cost_no_picture():
    # A key picture each 2 s, one asked for each 5 s: the worker's come after 6 s and 4 s by turns, and each is wanted.
    street = open_street(period_s=5.0)
    before = len(street.released)
    for step in (6.0, 4.0) * 6:
        street.show(STREET, count=1, every_s=step)
    assert len(street.released) >= before + 11


def test_a_camera_that_paused_makes_up_for_nothing():
    street = open_street(period_s=5.0)
    street.show(STREET, count=1, every_s=40.0)
    before = len(street.released)
    street.show(STREET, count=10, every_s=1.0)
    assert len(street.released) <= before + 2


def test_suspended_by_the_city_the_street_stays_covered_sparsely():
    street = open_street(period_s=5.0)
    street.do(street.watch.suspend(on=True, at=street.at))
    start, before = street.at, len(street.released)
    street.show(STREET, 60, every_s=20.0)
    assert abs(len(street.released) - before - (street.at - start) / SUSPENDED_PERIOD_S) <= 1
    street.do(street.watch.suspend(on=False, at=street.at))
    assert street.period_s == 5.0


def test_a_camera_that_is_held_for_long_is_looked_at_less_often():
    street = Street()
    street.connect()
    street.show(LIVING_ROOM, 5)
    assert street.period_s == 2.0
    street.show(LIVING_ROOM, int(PATIENT_AFTER_S / 2))
    assert street.period_s == PATIENT_PERIOD_S


def test_privacy_forgets_everything_and_proof_starts_again():
    street = open_street()
    street.do(street.watch.private(on=True, at=street.at))
    assert street.watch.gate.cause is gates.Cause.PRIVACY_ON
    street.do(street.watch.private(on=False, at=street.at))
    assert street.watch.gate.state is State.CLOSED
    street.connect()
    before = len(street.released)
    street.show(STREET, 4)
    assert len(street.released) == before


def test_a_loss_is_said_once_however_often_it_is_reported():
    street = open_street()
    for _ in range(5):
        street.lose()
        street.at += 10
    assert street.found(FindingKey.CAMERA_NO_ANSWER) == ["finding.opened"]
    lines = [c for c in street.done if isinstance(c, Say) and "camera lost" in c.text]
    assert len(lines) == 1
    street.lose(Cause.UNAUTHORISED)
    assert street.found(FindingKey.CAMERA_NO_ANSWER) == ["finding.opened", "finding.closed"]
    assert street.found(FindingKey.CAMERA_UNAUTHORISED) == ["finding.opened"]


def test_every_change_of_the_gate_is_a_record_of_the_first_class():
    street = open_street()
    changes = [r for r in street.records if r.kind == "gate.changed"]
    assert [r.data["after"] for r in changes][-2:] == ["held", "open"]
    assert all(r.rank is Rank.AUDIT for r in changes)


STEP = st.sampled_from(
    [
        "street",
        "room",
        "dark",
        "moved",
        "jump",
        "lose",
        "connect",
        "open",
        "close",
        "unread",
        "press",
        "release",
    ]
)


@given(st.lists(STEP, max_size=120), st.booleans())
def test_no_life_of_a_camera_releases_a_room_or_anything_while_the_loop_is_open_or_private(
    steps, has_loop
):
    street = Street(run=RUN if has_loop else None)
    loop_open = private = connected = False
    for step in steps:
        before = len(street.released)
        match step:
            case "street" | "room" | "dark" | "moved" | "jump" if connected and not private:
                reading = {
                    "street": STREET,
                    "room": LIVING_ROOM,
                    "dark": DARK,
                    "moved": replace(STREET, elsewhere=True),
                    "jump": replace(
                        LIVING_ROOM, score=1.4
                    ),  # a room that looks like the street, once
                }[step]
                street.show(reading, jpeg=step.encode())
            case "lose":
                connected = False
                street.lose()
            case "connect" if not private:
                connected = True
                street.connect()
            case "open" | "close" | "unread" if has_loop:
                loop_open = step == "open" or (loop_open and step == "unread")
                street.loop(closed={"open": False, "close": True, "unread": None}[step])
            case "press" | "release":
                private, connected = step == "press", False
                street.do(street.watch.private(on=private, at=street.at))
            case _:
                street.wait(1.0)
        if loop_open or private or not connected:
            assert len(street.released) == before
        assert street.watch.gate.is_open <= (connected and not private and not loop_open)
    assert set(street.released) <= {b"street"}


# ---- learning ----


def lesson(permit: int, **told: object) -> LessonEnded:
    values = {
        "light": "learnt-1", "of": "day", "anchor": "a" * 64, "frames": 20, "span_s": 1260.04, "score": 1.234,
        "gain": 0.456, "dx": 0.12, "dy": -1.0, "parts": 21, "parts_of": 38, "mean_grey": 52.25,
    } | told  # fmt: skip
    return LessonEnded(camera="gate", generation=1, permit=permit, **values)  # type: ignore[arg-type]


def permit(street: Street) -> int | None:
    """What the worker knows: the last order it got."""
    orders = [c for c in street.done if isinstance(c, Learn)]
    return orders[-1].permit if orders else None


def test_a_camera_may_learn_while_its_gate_is_open_and_no_longer():
    street = Street()
    street.connect()
    street.show(STREET, 4)
    assert permit(street) is None
    street.show(STREET, 2)
    assert street.watch.gate.is_open
    assert permit(street) == 1
    street.show(STREET, 50)
    assert len([c for c in street.done if isinstance(c, Learn)]) == 1
    order = next(c for c in street.done if isinstance(c, Learn))
    assert (order.camera, order.generation) == ("gate", 1)


BREAKS = {
    "a room": lambda s: s.show(LIVING_ROOM),
    "a jump": lambda s: s.show(replace(STREET, change=0.9)),
    "the view elsewhere": lambda s: s.show(replace(STREET, elsewhere=True, dx=20.0)),
    "no signal": lambda s: s.lose(),
    "a new connection": lambda s: s.connect(),
    "other references": lambda s: s.show(replace(STREET, view="view-2")),
    "the loop opens": lambda s: s.loop(closed=False),
    "the loop cannot be read": lambda s: s.loop(closed=None),
    "a press": lambda s: s.do(s.watch.private(on=True, at=s.at)),
    "doubt for too long": lambda s: s.wait(121.0),
}


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_ends_the_permit_and_the_next_one_is_another(name):
    street = open_street(run=RUN)
    assert permit(street) == 1
    BREAKS[name](street)
    street.do(street.watch.timed(at=street.at))
    assert permit(street) is None, name


def test_a_view_with_a_finding_is_not_taken_for_a_light():
    street = open_street()
    street.show(replace(STREET, sharpness=0.3), 4)
    assert street.watch.gate.is_open
    assert street.found(FindingKey.VIEW_BLURRED) == ["finding.opened"]
    assert permit(street) is None
    street.show(STREET, 4)
    assert permit(street) == 2


def test_a_learnt_light_is_a_record_of_the_first_class_with_its_numbers():
    street = open_street()
    street.do(street.watch.lesson_ended(lesson(1), at=street.at))
    record = next(r for r in street.records if r.kind == "view.learnt")
    assert (record.rank, record.camera) == (Rank.AUDIT, "gate")
    assert record.data == {
        "light": "learnt-1", "of": "day", "replaced": None, "anchor": "a" * 64, "frames": 20, "span_s": 1260.0,
        "score": 1.23, "gain": 0.46, "dx": 0.1, "dy": -1.0, "parts": 21, "parts_of": 38, "mean_grey": 52.2,
    }  # fmt: skip
    assert any(isinstance(c, Say) and "light learnt id=gate" in c.text for c in street.done)
    street.do(street.watch.lesson_ended(lesson(1), at=street.at))
    assert len([r for r in street.records if r.kind == "view.learnt"]) == 1


def test_that_nothing_was_learnt_is_a_line_and_no_record_and_said_once():
    street = open_street()
    before = len(street.records)
    for number in (1, 2, 3):
        told = lesson(number, light="", why="it cannot be kept: disk full")
        street.do(street.watch.lesson_ended(told, at=street.at))
        street.show(STREET)
    lines = [c.text for c in street.done if isinstance(c, Say) and "no light learnt" in c.text]
    assert lines == ["no light learnt id=gate why=it cannot be kept: disk full"]
    assert [r.kind for r in street.records[before:] if r.kind == "view.learnt"] == []


def test_after_a_learnt_light_the_view_is_proven_anew_within_seconds():
    street = open_street()
    street.show(STREET, 10, every_s=5.0)
    street.do(street.watch.lesson_ended(lesson(1), at=street.at))
    before, at = len(street.released), street.at
    street.show(replace(STREET, view="view-2"), every_s=5.0)
    assert street.watch.gate.state is State.HELD
    assert len(street.released) == before, "the bracket must not span two sets of references"
    while len(street.released) == before:
        street.show(replace(STREET, view="view-2"))
        assert street.at - at <= 20.0
    assert len([c for c in street.done if isinstance(c, Learn)]) == 1, "an hour passes first"


# ---- what vouches for a camera, and what does not ----


def proof_s(street: Street) -> float:
    """From the first picture to the open gate."""
    at = street.at
    while not street.watch.gate.is_open:
        street.show(STREET)
        assert street.at - at <= 60.0, "a street by day is released within a minute"
    return street.at - at


def test_without_a_loop_a_camera_that_was_lost_proves_more_than_at_the_start():
    street = Street()
    street.connect()
    at_start_s = proof_s(street)
    street.lose()
    street.wait(30.0)
    street.connect()
    assert proof_s(street) >= 2 * at_start_s
    street.show(replace(STREET, change=0.9))
    assert proof_s(street) <= at_start_s, "a jump is no loss"


def test_with_a_loop_that_stayed_whole_a_lost_camera_proves_as_much_as_at_the_start():
    street = Street(run=RUN)
    street.connect()
    at_start_s = proof_s(street)
    street.lose()
    street.wait(30.0)
    street.connect()
    assert proof_s(street) == at_start_s


def test_over_a_pair_that_is_not_whole_one_picture_that_cannot_tell_holds_the_rest():
    strict = replace(RUN, loop_open_policy=LoopOpenPolicy.SCENE_STRICT)
    street = open_street(run=strict)
    street.show(STREET, 6)
    street.loop(closed=False)
    assert street.watch.gate.state is State.HELD, "continuity broke all the same"
    assert proof_s(street) >= 20.0
    before = len(street.released)
    street.show(STREET, 4)
    assert len(street.released) > before
    street.show(replace(STREET, score=0.7))
    assert (street.watch.gate.state, street.watch.gate.cause) == (
        State.HELD,
        gates.Cause.DOUBT,
    )
    before = len(street.released)
    street.show(STREET, 60)
    assert street.watch.gate.cause is gates.Cause.LOOP_FORBIDS
    assert len(street.released) == before
    assert street.found(FindingKey.CABLE_CAMERA_TAKEN) == []
    street.loop(closed=True)
    street.wait(4.0)
    assert proof_s(street) <= 60.0


def test_a_contact_that_chatters_is_one_finding_and_not_a_record_each_time():
    street = open_street(run=RUN)
    for _ in range(100):
        street.loop(closed=False)
        street.wait(2.0)
        street.loop(closed=True)
        street.wait(4.0)
    told = [r for r in street.records if str(r.data.get("key", "")).startswith("cable_")]
    assert len(told) <= 10, [(r.kind, r.data["key"]) for r in told]
    assert street.found(FindingKey.CABLE_LOOSE) == ["finding.opened"]
    street.loop(closed=False)
    street.wait(2.0)
    street.at += 70.0
    street.loop(closed=False)
    assert street.found(FindingKey.CABLE_OPEN)[-1] == "finding.opened", "it stays open: cut"


def test_a_contact_that_opens_three_times_a_minute_for_an_hour_is_one_finding():
    street = open_street(run=RUN)
    for _ in range(180):
        street.loop(closed=False)
        street.wait(4.0)
        street.loop(closed=True)
        street.wait(16.0)
    told = [r for r in street.records if str(r.data.get("key", "")).startswith("cable_")]
    assert len(told) <= 10, [(r.kind, r.data["key"]) for r in told]
    assert street.found(FindingKey.CABLE_LOOSE) == ["finding.opened"]
    for _ in range(130):
        street.loop(closed=True)
        street.wait(5.0)
    assert street.found(FindingKey.CABLE_LOOSE) == ["finding.opened", "finding.closed"]


def test_a_board_that_answers_now_and_then_is_one_finding():
    street = open_street(run=RUN)
    for _ in range(100):
        street.loop(closed=None)
        street.wait(5.0)
        street.loop(closed=True)
        street.wait(5.0)
    told = street.found(FindingKey.CABLE_UNREADABLE)
    assert told == ["finding.opened", "finding.closed"] * 3 + ["finding.opened"]


@pytest.mark.parametrize(
    ("bad", "key"), [(None, FindingKey.CABLE_UNREADABLE), (False, FindingKey.CABLE_LOOSE)]
)
def test_single_bad_readings_that_come_again_and_again_are_a_finding(bad, key):
    """Each closes the gate and is over before it could be a finding of its own."""
    street = open_street(run=RUN)
    for _ in range(3):
        street.loop(closed=bad)
        street.wait(0.5)
        street.loop(closed=True)
        street.wait(100.0)
    assert street.found(key) == [], "three in ten minutes happen"
    for _ in range(40):
        street.loop(closed=bad)
        street.wait(0.5)
        street.loop(closed=True)
        street.wait(100.0)
    assert street.found(key) == ["finding.opened"]
    for _ in range(130):
        street.loop(closed=True)
        street.wait(5.0)
    assert street.found(key) == ["finding.opened", "finding.closed"]
    told = [r for r in street.records if str(r.data.get("key", "")).startswith("cable_")]
    assert len(told) == 2, [(r.kind, r.data["key"]) for r in told]


# ---- comes and goes ----


def flap(street: Street, times: int, every_s: float = 20.0) -> None:
    for _ in range(times):
        street.lose()
        street.wait(every_s / 2)
        street.connect()
        street.show(STREET)
        street.wait(every_s / 2)


def test_a_camera_that_comes_and_goes_is_one_news_and_not_a_line_each_time():
    street = open_street()
    flap(street, 3)
    assert street.watch.signal_word == "fresh"
    flap(street, 30)
    assert street.watch.signal_word == "flapping"
    assert street.found(FindingKey.CAMERA_FLAPPING) == ["finding.opened"]
    assert street.found(FindingKey.CAMERA_NO_ANSWER) == ["finding.opened", "finding.closed"] * 3
    lines = [c.text for c in street.done if isinstance(c, Say) and "camera" in c.text]
    assert len(lines) <= 8, lines
    street.show(STREET, 400)
    assert street.found(FindingKey.CAMERA_FLAPPING) == ["finding.opened", "finding.closed"]
    assert street.watch.signal_word == "fresh"


def test_a_flapping_camera_that_stays_away_is_told_as_lost_in_the_end():
    street = open_street()
    flap(street, 5)
    street.lose()
    street.wait(1.0)
    assert street.watch.signal_word == "flapping"
    due = street.watch.deadline(at=street.at)
    assert due > street.at
    street.wait(due - street.at)
    assert street.watch.signal_word == "lost"
    assert street.found(FindingKey.CAMERA_NO_ANSWER)[-1] == "finding.opened"


@pytest.mark.parametrize(
    ("reading", "word"),
    [
        (STREET, "fresh"),
        (DARK, "dark"),
        (replace(STREET, same_bits=9), "frozen"),
    ],
)
def test_the_signal_in_one_word(reading, word):
    street = open_street()
    street.show(reading, 5)
    assert street.watch.signal_word == word
    street.lose()
    assert street.watch.signal_word == "lost"


# ---- nights ----


def test_the_first_night_comes_back_with_the_commissioning_it_belongs_to_and_no_other():
    measured = replace(RUN, loop=MeasuredLoop(channel=0))
    known = Night(118.5, BASE.wall_s)
    for wall_s, night in ((BASE.wall_s, known), (BASE.wall_s + 1, None)):
        watch = Watch(a_camera(), measured, Findings(), at=0.0, night=known)
        assert watch.night == known, "until the baseline is read"
        baseline = replace(BASE, wall_s=wall_s)
        watch.baseline_read(BaselineRead(camera="gate", baseline=baseline), at=1.0)
        assert watch.night == night
        watch.baseline_read(BaselineRead(camera="gate", baseline=None, why="unreadable"), at=2.0)
        assert watch.night == night


def test_readings_of_a_run_that_has_no_pair_are_no_news():
    street = open_street()
    assert street.watch.baseline_read(BaselineRead(camera="gate", baseline=BASE), at=1.0) == []
    assert street.watch.night is None


def test_a_loop_that_nobody_fitted_is_not_heard_and_one_that_is_has_its_own_deadline():
    street = open_street()
    before = len(street.done)
    street.loop(closed=False)
    assert street.done[before:] == []
    assert street.watch.gate.is_open
    fitted = open_street(run=RUN)
    fitted.loop(closed=False)
    assert fitted.watch.deadline(at=fitted.at) == fitted.at + OPEN_FOR_S


# ---- another device, a damaged file ----


@pytest.mark.parametrize(
    ("key", "reading"),
    [
        (
            FindingKey.VIEW_FILE_DAMAGED,
            replace(STREET, view="", score=0.0, fault="gate.view: damaged"),
        ),
        (
            FindingKey.VIEW_OTHER_DEVICE,
            replace(STREET, other_device="codec h265 instead of h264"),
        ),
    ],
)
def test_a_camera_whose_file_or_device_is_not_the_commissioned_one_is_held_and_says_why(
    key, reading
):
    street = open_street()
    before = len(street.released)
    street.lose()
    street.connect()
    street.show(reading, 60)
    assert len(street.released) == before
    assert not street.watch.gate.is_open
    order = next(r for r in street.records if r.data.get("key") == key.value)
    assert order.rank is Rank.AUDIT
    assert order.data["evidence"] == {"detail": reading.fault or reading.other_device}
    street.show(STREET, 12)
    assert street.found(key) == ["finding.opened", "finding.closed"]
    assert len(street.released) > before


# ---- what the gate's records tell ----


def changes(street: Street) -> list[Record]:
    return [r for r in street.records if r.kind == "gate.changed"]


def test_the_record_of_an_opening_holds_the_proof():
    street = open_street()
    opening = changes(street)[-1].data
    assert opening["after"] == "open"
    assert (opening["verdict"], opening["view"]) == ("match", "view-1")
    assert opening["matches"] == opening["needed"] == 5
    assert (opening["score"], opening["dx"], opening["dy"]) == (2.0, 0.0, 0.0)
    assert "released" not in opening


def test_the_record_of_a_closing_counts_what_was_shown_and_when():
    street = open_street()
    street.show(STREET, 8, every_s=5.0)
    shown = [c.picture for c in street.done if isinstance(c, KeepPicture) and c.press == 7]
    assert len(shown) > 2
    opened_at = street.watch.gate.since
    street.show(replace(STREET, elsewhere=True, dx=17.26, dy=-3.0))
    closing = changes(street)[-1].data
    assert (closing["before"], closing["after"], closing["cause"]) == ("open", "held", "view moved")
    assert (closing["dx"], closing["dy"]) == (17.3, -3.0)
    assert closing["released"] == len(shown)
    assert closing["first_taken_at"] == shown[0].taken_at
    assert closing["last_taken_at"] == shown[-1].taken_at
    assert closing["open_s"] == round(street.at - opened_at, 1)
    while not street.watch.gate.is_open:
        street.show(STREET)
    street.lose()
    closing = changes(street)[-1].data
    assert closing["cause"] == "signal lost"
    assert (closing["released"], closing["first_taken_at"], closing["last_taken_at"]) == (
        0,
        None,
        None,
    )


def test_a_gate_that_moves_without_a_judgement_names_no_older_one():
    street = open_street()
    street.do(street.watch.private(on=True, at=street.at))
    assert changes(street)[-1].data["score"] == 2.0, "the last judgement before the press"
    street.do(street.watch.private(on=False, at=street.at + 3600))
    assert "score" not in changes(street)[-1].data
    street = open_street()
    street.lose()
    assert changes(street)[-1].data["score"] == 2.0
    street.do(street.watch.private(on=True, at=street.at + 60))
    assert "score" not in changes(street)[-1].data


def test_numbers_that_are_none_are_no_numbers_in_the_record():
    street = open_street()
    street.show(replace(STREET, change=float("nan"), score=float("inf"), dx=float("nan")))
    closing = changes(street)[-1].data
    assert (closing["score"], closing["dx"], closing["dy"]) == (None, None, 0.0)


@given(st.lists(st.tuples(STEP, st.integers(1, 12)), max_size=60))
def test_every_released_picture_is_counted_in_exactly_one_closing_or_still_shown(steps):
    street = Street(run=RUN)
    private = connected = False
    for step, count in [*steps, ("release", 1), ("close", 1), ("connect", 1)]:
        match step:
            case "street" | "room" | "dark" if connected and not private:
                reading = {"street": STREET, "room": LIVING_ROOM, "dark": DARK}[step]
                street.show(reading, count)
            case "lose" | "connect":
                connected = step == "connect" and not private
                if connected:
                    street.connect()
                else:
                    street.lose()
            case "open" | "close" | "unread":
                street.loop(closed={"open": False, "close": True, "unread": None}[step])
            case "press" | "release":
                private, connected = step == "press", False
                street.do(street.watch.private(on=private, at=street.at))
            case _:
                street.wait(float(count))
        street.do(street.watch.timed(at=street.at))
        assert (permit(street) is not None) <= street.watch.gate.is_open
    counted = [r.data["released"] for r in changes(street) if r.data["before"] == "open"]
    assert sum(n for n in counted if isinstance(n, int)) == len(street.released)
