"""One incident, one order: opened, refined, reminded of and closed once each, over any restart."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.diagnosis import Cause, Diagnosis, Measure, Seen, Sign
from edge_agent.core.messages import Rank, Record
from edge_agent.core.settings import MeasuredLoop, Run
from edge_agent.core.work_order import (
    METRES_MATTER,
    REMIND_S,
    SAME_INCIDENT_S,
    SAVE_S,
    WorkOrders,
)

NAMES = {"gate": "Gerbang utara", "river": "Tepi kali", "school": "SD 3"}
RUNS = {
    camera: Run(
        camera=camera,
        cable="cat5e-outdoor",
        length_m=50.0,
        place=f"tiang {camera}",
        gps=(-6.96612, 110.41893),
        loop=MeasuredLoop(channel=number),
    )
    for number, camera in enumerate(NAMES)
}
BOX_SUBJECTS = ("box:conduit", "box:power", "box:board", "recorder:10.0.0.9")


def told(
    subject: str = "gate", cause: Cause = Cause.CABLE_CUT, *, since: float = 0.0, **more
) -> Diagnosis:
    cameras = tuple(NAMES) if ":" in subject else (subject,)
    seen = (Seen(Sign.LOOP_OPEN, since),)
    return Diagnosis(
        subject=subject, cause=cause, since=since, cameras=cameras, **({"seen": seen} | more)
    )


class Box:
    """A box whose journal and card survive, and whose process and power do not."""

    def __init__(self) -> None:
        self.at = 100.0
        self.boot = "aaaaaaaa-1"
        self.boots = 1
        self.card = ""
        self.journal: list[Record] = []
        self.orders = self.started()

    def started(self) -> WorkOrders:
        orders = WorkOrders(NAMES, RUNS, boot=self.boot, at=self.at, saved=self.card)
        assert orders.fault == ""
        return orders

    def update(self, *stands: Diagnosis, well: tuple[str, ...] = (), crash: str = "") -> list[str]:
        records = self.orders.update(stands, frozenset(well), at=self.at)
        text = self.orders.saving(at=self.at)
        if crash == "before":
            return []
        if text is not None:
            self.card = text
        if crash == "between":
            return []
        self.journal += records
        return [record.kind for record in records]

    def restart(self, *, off_s: float = 5.0, power: bool = False) -> None:
        if power:
            self.boots += 1
            self.boot, self.at = f"{'abcdefgh'[self.boots % 8] * 8}-{self.boots}", 20.0 + off_s
        else:
            self.at += off_s
        self.orders = self.started()

    def kinds(self) -> list[str]:
        return [record.kind.partition(".")[2] for record in self.journal]

    def distinct(self) -> list[tuple[str, int, str]]:
        return list(
            dict.fromkeys(
                (str(r.data["order"]), int(str(r.data["revision"])), r.kind) for r in self.journal
            )
        )


def test_one_incident_is_one_order_from_the_first_sign_to_the_repair():
    box = Box()
    assert box.update(told(since=97.0)) == ["work_order.opened"]
    for _ in range(5):
        box.at += 10
        assert box.update(told(since=97.0)) == []
    assert box.update(told(cause=Cause.CAMERA_TAKEN)) == ["work_order.updated"]
    assert box.update(told(cause=Cause.CAMERA_TAKEN)) == []
    assert box.update() == [], "silence closes nothing"
    assert box.update(well=("river",)) == []
    assert box.update(well=("gate",)) == ["work_order.closed"]
    assert box.update(well=("gate",)) == []
    assert len({record.data["order"] for record in box.journal}) == 1
    assert [record.data["revision"] for record in box.journal] == [1, 2, 3]
    assert box.journal[1].data["detail"] == "cable_cut -> camera_taken"
    assert box.journal[2].data["detail"] == "verified"
    assert box.orders.open == ()


def test_a_record_holds_what_a_technician_needs():
    box = Box()
    box.update(told(since=97.0))
    record = box.journal[0]
    assert (record.rank, record.camera, record.at) == (Rank.AUDIT, "gate", 100.0)
    data = record.data
    assert data["order"] == "aaaaaaaa-100-1"
    assert (data["cause"], data["name"], data["place"]) == (
        "cable_cut",
        "Gerbang utara",
        "tiang gate",
    )
    assert data["map"] == "geo:-6.96612,110.41893"
    assert (data["since_s"], data["open_s"], data["bring_m"]) == (3.0, 0.0, 55)
    assert data["seen"] == [{"sign": "loop_open", "value": ""}]
    bring = data["bring"]
    assert isinstance(bring, dict)
    assert bring["en"][0] == "55 m of outdoor Cat5e cable"
    assert "Do not take the camera home; leave it, we come." in str(data["en"])
    assert "Jangan bawa pulang kamera" in str(data["id"])
    assert json.loads(json.dumps(data)) == data


def test_an_order_of_the_box_names_its_cameras_and_belongs_to_none():
    box = Box()
    box.update(told("box:conduit", Cause.CONDUIT_CUT))
    record = box.journal[0]
    assert record.camera is None
    assert record.data["cameras"] == ["gate", "river", "school"]
    assert record.data["bring_m"] == 165
    assert (record.data["place"], record.data["map"]) == ("", "")


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"cause": Cause.CABLE_SHORT}, "cable_cut -> cable_short"),
        ({"seen": (Seen(Sign.LOOP_OPEN, 0.0), Seen(Sign.NO_CURRENT, 0.0, "0"))}, "also no_current"),
        ({"seen": (Seen(Sign.LOOP_OPEN, 0.0), Seen(Sign.POWER_THERE, 0.0))}, ""),
        ({"seen": (Seen(Sign.LOOP_OPEN, 3.0, "7"),)}, ""),
        ({"at_m": METRES_MATTER}, "other distance"),
        ({"at_m": METRES_MATTER - 0.1}, ""),
        ({"length_m": METRES_MATTER}, "other distance"),
        ({"cameras": ("gate", "river")}, "other cameras"),
        ({"measure": (Measure.MONITOR,)}, ""),
    ],
)
def test_only_what_sends_somebody_with_other_things_is_an_update(change, detail):
    box = Box()
    box.update(told())
    kinds = box.update(replace(told(), **change))
    assert kinds == (["work_order.updated"] if detail else [])
    if detail:
        assert box.journal[-1].data["detail"] == detail


def test_a_sign_that_comes_and_goes_is_told_once():
    box = Box()
    box.update(told())
    more = told(seen=(Seen(Sign.LOOP_OPEN, 0.0), Seen(Sign.VIDEO_LOST, 0.0)))
    box.update(more)
    for _ in range(5):
        assert box.update(told()) == []
        assert box.update(more) == []


def test_numbers_that_creep_add_up_to_news():
    box = Box()
    box.update(told(cause=Cause.CABLE_SHORT, at_m=10.0))
    news = [box.update(told(cause=Cause.CABLE_SHORT, at_m=10.0 + n)) for n in range(12)]
    assert sum(bool(kinds) for kinds in news) == 2


# ---- the box and its cameras ----


def test_the_first_sign_of_something_larger_becomes_its_order():
    box = Box()
    box.update(told("gate"), told("river"))
    first = box.journal[0].data["order"]
    box.at += SAME_INCIDENT_S
    conduit = told("box:conduit", Cause.CONDUIT_CUT)
    assert box.update(conduit, told("gate"), told("river")) == [
        "work_order.closed",
        "work_order.updated",
    ]
    assert box.journal[-2].data["detail"] == f"part of {first}"
    assert box.journal[-1].data["order"] == first
    assert [order.told.subject for order in box.orders.open] == ["box:conduit"]
    assert box.update(conduit, told("gate"), told("school")) == []


def test_an_older_order_of_a_camera_is_another_incident():
    box = Box()
    box.update(told("gate"))
    box.at += SAME_INCIDENT_S + 0.5
    assert box.update(told("box:conduit", Cause.CONDUIT_CUT)) == ["work_order.opened"]
    assert len(box.orders.open) == 2


def test_a_camera_taken_away_keeps_an_order_of_its_own():
    box = Box()
    box.update(told("gate", Cause.CAMERA_TAKEN))
    conduit = told("box:conduit", Cause.CONDUIT_CUT)
    assert box.update(conduit) == ["work_order.opened"]
    assert box.update(conduit, told("river", Cause.CAMERA_TAKEN)) == ["work_order.opened"]
    assert box.update(conduit, told("school")) == []


def test_what_is_left_when_the_box_is_mended_gets_its_own_order():
    box = Box()
    box.update(told("box:conduit", Cause.CONDUIT_CUT))
    assert box.update(told("gate"), well=("box:conduit",)) == ["work_order.closed"]
    assert box.update(told("gate")) == ["work_order.opened"]


def test_a_faulty_board_hides_no_camera():
    box = Box()
    box.update(told("gate"))
    board = told("box:board", Cause.BOARD_FAULT)
    assert box.update(board, told("gate")) == ["work_order.opened"]
    assert box.update(board, told("gate"), told("river")) == ["work_order.opened"]


def test_a_camera_that_left_the_configuration_closes_its_order():
    box = Box()
    box.update(told("gate"))
    box.orders = WorkOrders({"river": "x"}, RUNS, boot=box.boot, at=box.at, saved=box.card)
    box.update()
    assert box.update() == []
    assert box.journal[-1].kind == "work_order.closed"
    assert box.journal[-1].data["detail"] == "no longer in the configuration"


# ---- reminders ----


def test_reminders_come_after_an_hour_and_a_day_and_once_each():
    box = Box()
    box.update(told())
    opened_at = box.at
    for seconds, kinds in (
        (REMIND_S[0] - 0.1, []),
        (REMIND_S[0], ["work_order.reminded"]),
        (REMIND_S[0] + 60, []),
        (REMIND_S[1] - 0.1, []),
        (REMIND_S[1], ["work_order.reminded"]),
        (REMIND_S[1] * 30, []),
    ):
        box.at = opened_at + seconds
        assert box.update(told()) == kinds
    assert [record.data["reminder"] for record in box.journal] == [0, 1, 2]
    assert REMIND_S == (3600.0, 86_400.0)


def test_the_deadline_is_the_next_reminder_or_the_next_saving():
    box = Box()
    assert box.orders.deadline() == math.inf
    box.update(told())
    assert box.orders.deadline() == box.at + SAVE_S
    box.at += REMIND_S[0] - 10
    box.update(told())
    assert box.orders.deadline() == box.at + 10
    box.at += 10
    box.update(told())
    box.at += 86_400
    box.update(told())
    box.update(told())
    assert box.orders.deadline() > box.at


def test_age_goes_on_over_a_restart_and_pauses_while_the_box_is_off():
    box = Box()
    box.update(told())
    box.update(told())
    box.at += 1000
    box.update(told())
    box.restart(off_s=500)
    box.at += 1000
    box.update(told())
    box.restart(off_s=9999, power=True)
    box.at += REMIND_S[0] - 2500 - 1
    assert box.update(told()) == []
    box.at += 1
    assert box.update(told()) == ["work_order.reminded"]
    assert box.journal[-1].data["open_s"] == 3600.0


def test_a_box_that_is_switched_off_each_evening_still_comes_to_its_reminders():
    box = Box()
    box.update(told())
    for _ in range(12):
        for _ in range(11):
            box.at += 60
            box.update(told())
        box.restart(power=True)
    assert box.kinds().count("reminded") == 1


def test_the_times_are_those_of_the_design_page():
    assert (SAVE_S, SAME_INCIDENT_S, METRES_MATTER) == (600.0, 120.0, 5.0)


# ---- restarts ----


def test_a_calm_restart_says_nothing_again():
    box = Box()
    box.update(told())
    box.update(told())
    box.restart()
    assert box.update(told()) == []
    box.restart(power=True)
    assert box.update(told()) == []
    assert box.update(well=("gate",)) == ["work_order.closed"]
    box.update()
    box.restart()
    assert box.orders.open == ()
    assert box.update() == []


@pytest.mark.parametrize("power", [False, True])
def test_a_cut_between_card_and_journal_says_it_again_with_the_same_name(power):
    box = Box()
    box.update(told(), crash="between")
    box.restart(power=power)
    assert box.update(told()) == ["work_order.opened"]
    assert box.journal[0].data["order"] == "aaaaaaaa-100-1"
    assert box.journal[0].data["since_s"] == 100.0
    box.update(told())
    assert box.update(well=("gate",), crash="between") == []
    box.restart(power=power)
    assert box.update() == ["work_order.closed"]
    assert box.update() == []
    assert box.distinct() == [
        ("aaaaaaaa-100-1", 1, "work_order.opened"),
        ("aaaaaaaa-100-1", 2, "work_order.closed"),
    ]


def test_nothing_to_say_is_nothing_to_write():
    box = Box()
    assert box.orders.saving(at=box.at) is None
    box.update(told())
    box.update(told())
    assert box.orders.saving(at=box.at + SAVE_S - 1) is None
    assert box.orders.saving(at=box.at + SAVE_S) is not None
    assert box.orders.saving(at=box.at + SAVE_S) is None


GOOD = Box()
GOOD.update(told(cause=Cause.CABLE_SHORT, at_m=12.0, measure=(Measure.MONITOR,)))
TEXT = GOOD.card


def broken(change) -> str:
    root = json.loads(TEXT)
    change(root)
    return json.dumps(root)


NONSENSE = [
    "{",
    "null",
    "[]",
    "{}",
    "\x00\x01",
    "[" * 100_000,
    TEXT[:-5],
    TEXT + "x",
    " " * 1_000_001,
    broken(lambda root: root.update(version=2)),
    broken(lambda root: root.update(at="x")),
    broken(lambda root: root.update(at=float("nan"))),
    broken(lambda root: root.update(boot=None)),
    broken(lambda root: root.update(minted=-1)),
    broken(lambda root: root.update(minted=1.5)),
    broken(lambda root: root.update(orders={})),
    broken(lambda root: root.update(orders=[1])),
    broken(lambda root: root["orders"].append(root["orders"][0])),
    broken(lambda root: root["orders"][0].update(cause="gremlins")),
    broken(lambda root: root["orders"][0].update(reminded=3)),
    broken(lambda root: root["orders"][0].update(revision=True)),
    broken(lambda root: root["orders"][0].update(age_s=True)),
    broken(lambda root: root["orders"][0].update(seen=[["loop_open", 0.0]])),
    broken(lambda root: root["orders"][0].update(seen=[["gremlins", 0.0, ""]])),
    broken(lambda root: root["orders"][0].update(signs=["gremlins"])),
    broken(lambda root: root["orders"][0].update(measure=["gremlins"])),
    broken(lambda root: root["orders"][0].update(cameras="gate")),
    broken(lambda root: root["orders"][0].pop("at_m")),
    broken(lambda root: root["news"][0].update(kind="work_order.burnt")),
    broken(lambda root: root["news"][0].pop("order")),
]


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_text_that_is_not_ours_starts_empty_and_is_named(text):
    orders = WorkOrders(NAMES, RUNS, boot="b", at=5.0, saved=text)
    assert "starting without them" in orders.fault
    assert orders.open == ()
    assert orders.update((told(),), frozenset(), at=6.0)[0].kind == "work_order.opened"


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps)
)
def test_no_text_whatsoever_stops_the_box(text):
    WorkOrders(NAMES, RUNS, boot="b", at=5.0, saved=text).update((), frozenset(), at=6.0)


def test_what_was_remembered_comes_back_whole():
    orders = WorkOrders(NAMES, RUNS, boot=GOOD.boot, at=GOOD.at, saved=TEXT)
    assert orders.fault == ""
    assert orders.open == GOOD.orders.open
    later = WorkOrders(NAMES, RUNS, boot=GOOD.boot, at=GOOD.at + 7, saved=TEXT)
    assert later.open[0].age(GOOD.at + 7) == 7.0
    earlier = WorkOrders(NAMES, RUNS, boot=GOOD.boot, at=GOOD.at - 7, saved=TEXT)
    assert earlier.open[0].age(GOOD.at - 7) == 0.0


# ---- properties ----

subjects = st.sampled_from([*NAMES, *BOX_SUBJECTS])
causes = {
    "box:conduit": Cause.CONDUIT_CUT,
    "box:power": Cause.POWER_DEAD,
    "box:board": Cause.BOARD_FAULT,
    "recorder:10.0.0.9": Cause.RECORDER_DEAD,
}
camera_causes = st.sampled_from(
    [Cause.CABLE_CUT, Cause.CAMERA_TAKEN, Cause.CABLE_SHORT, Cause.LOOSE]
)
moves = st.one_of(
    st.tuples(st.just("break"), subjects, camera_causes),
    st.tuples(st.just("mend"), subjects, camera_causes),
    st.tuples(st.just("wait"), st.sampled_from([5.0, 130.0, 4000.0, 90_000.0]), camera_causes),
    st.tuples(st.just("restart"), st.booleans(), camera_causes),
    st.tuples(st.just("crash before"), st.booleans(), camera_causes),
    st.tuples(st.just("crash between"), st.booleans(), camera_causes),
)


@settings(max_examples=150)
@given(st.lists(moves, max_size=25))
def test_no_restart_loses_or_doubles_an_order(story):
    box = Box()
    broken_now: dict[str, Diagnosis] = {}

    def go(crash: str = "") -> None:
        mended = tuple(subject for subject in (*NAMES, *BOX_SUBJECTS) if subject not in broken_now)
        stands = sorted(broken_now.values(), key=lambda one: ":" not in one.subject)
        box.update(*stands, well=mended, crash=crash)

    for what, which, cause in story:
        if what == "break":
            broken_now[which] = told(which, causes.get(which, cause), since=box.at)
        elif what == "mend":
            broken_now.pop(which, None)
        elif what == "wait":
            box.at += which
        elif what != "restart":
            go(crash=what.partition(" ")[2])
        if what.startswith(("crash", "restart")):
            box.restart(power=which)
        go()
        open_now = {order.told.subject for order in box.orders.open}
        # Everything broken is in an order: its own, or that of the box.
        covered = {
            camera
            for order in box.orders.open
            if ":" in order.told.subject and order.told.cause is not Cause.BOARD_FAULT
            for camera in order.told.cameras
        }
        go()
        open_now = {order.told.subject for order in box.orders.open}
        assert set(broken_now) - covered <= open_now
        assert open_now <= set(broken_now)
    broken_now.clear()
    go()
    go()
    assert box.orders.open == ()
    lives: dict[str, list[tuple[int, str]]] = {}
    for order, revision, kind in box.distinct():
        lives.setdefault(order, []).append((revision, kind.partition(".")[2]))
    for life in lives.values():
        assert [revision for revision, _ in life] == list(range(1, len(life) + 1))
        kinds = [kind for _, kind in life]
        assert kinds[0] == "opened"
        assert kinds[-1] == "closed"
        assert kinds.count("opened") == kinds.count("closed") == 1
        assert kinds.count("reminded") <= len(REMIND_S)
    reminders = [
        (record.data["order"], record.data["reminder"])
        for record in box.journal
        if record.kind.endswith("reminded")
    ]
    assert len(set(reminders)) == len(
        [1 for order, revision, kind in box.distinct() if kind.endswith("reminded")]
    )


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(list(Cause)), st.booleans()), min_size=1, max_size=20))
def test_a_cause_that_is_refined_never_makes_a_second_order(story):
    box = Box()
    for cause, restart in story:
        box.update(told(cause=cause))
        box.update(told(cause=cause))
        if restart:
            box.restart(power=True)
        assert len(box.orders.open) == 1
    assert len({record.data["order"] for record in box.journal}) == 1
