"""A broken run, told through the whole agent: one cut is one work order, through outage and restart, and repair closes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest

from edge_agent.core.cable import Baseline
from edge_agent.core.messages import (
    BaselineRead,
    CameraLost,
    Cause,
    FindingKey,
    Keep,
    Line,
    LineRead,
    LinkDown,
    LoopMeasured,
    LoopRead,
    Memory,
    NicRead,
    Rank,
    Record,
    Remember,
)
from edge_agent.core.settings import (
    Camera,
    CameraKind,
    DigitalLoop,
    LoopOpenPolicy,
    MeasuredLoop,
    Run,
    Settings,
)
from tests.core.test_cable import BASE, NORMAL
from tests.support.build import LIVING_ROOM, STREET, opened, picture
from tests.support.play import LIVE, PRESSED, RELEASED, Play, settings

STEP_S = 0.5


def camera(name: str, address: str) -> Camera:
    return Camera(
        id=name, name=name.title(), kind=CameraKind.RTSP, source=f"rtsp://{address}/1", period_s=5.0
    )


# One camera of each kind of run, with what is usually fitted to it, and its neighbour that stays whole.
RUNS: Mapping[str, Run] = {
    "balun": Run(
        camera="gate",
        cable="cat5e-outdoor",
        length_m=50.0,
        place="tiang 3",
        gps=(-6.96612, 110.41893),
        loop=MeasuredLoop(channel=0),
        current_channel=0,
    ),
    "balun, digital loop": Run(
        camera="gate", cable="cat6-outdoor", length_m=62.0, loop=DigitalLoop(pin=20)
    ),
    "coax": Run(camera="gate", cable="rg59-power", length_m=35.0, current_channel=0),
    "coax with a pair": Run(
        camera="gate", cable="rg59-pair", length_m=80.0, loop=MeasuredLoop(channel=0)
    ),
    "poe": Run(camera="gate", cable="cat5e-poe", length_m=90.0, interface="eth1"),
    "network": Run(
        camera="gate",
        cable="cat5e-outdoor",
        length_m=20.0,
        loop=MeasuredLoop(channel=0),
        interface="eth1",
    ),
}
# Metres with slack, and what must be on the list.
BRING = {
    "balun": (55, "55 m of outdoor Cat5e cable", {"RJ45 plugs", "a pair of video baluns"}, True),
    "balun, digital loop": (70, "70 m of outdoor Cat6 cable", {"a pair of video baluns"}, True),
    "coax": (40, "40 m of RG59 coaxial cable with power pair", {"BNC plugs"}, False),
    "coax with a pair": (
        90,
        "90 m of RG59 coaxial cable",
        {"BNC plugs", "two-core wire of the same length"},
        True,
    ),
    "poe": (100, "100 m of outdoor Cat5e cable (PoE)", {"RJ45 plugs"}, False),
    "network": (25, "25 m of outdoor Cat5e cable", {"RJ45 plugs"}, True),
}
# From a cut to the order. Where nothing but the link tells, it may be a switch that starts anew: it is waited for.
PROMISE_S = 10.0


def baseline(run: Run) -> Baseline:
    return replace(BASE, camera=run.camera, cable=run.cable, length_m=run.length_m)


@dataclass
class Town:
    """A box whose agent lives in simulated time, its sensors, and a card and journal that survive it."""

    run: Run
    policy: LoopOpenPolicy = LoopOpenPolicy.QUARANTINE
    ohm: float | None = NORMAL
    whole: bool = True  # the run, for whatever has no ohm
    shows: bool = True  # the camera gives pictures
    generation: int = 1
    generation_of_river: int = 1
    switch: object = LIVE
    records: list[Record] = field(default_factory=list)
    card: dict[Memory, bytes] = field(default_factory=dict)
    boots: int = 0

    def __post_init__(self) -> None:
        self.run = replace(self.run, loop_open_policy=self.policy)
        self._steps = 0
        self.start()

    @property
    def settings(self) -> Settings:
        cameras = (camera("gate", "10.0.0.9"), camera("river", "10.0.0.8"))
        return replace(settings(cameras=cameras), runs=(self.run,))

    def start(self, *, after_s: float = 0.0) -> None:
        """A start of the box: another boot, and nothing known but what is on the card."""
        self.boots += 1
        self._taken = 0
        self.play = Play.begin(
            self.settings,
            remembered=self.card,
            boot=f"boot{self.boots}abc-{self.boots}",
            at=30.0 + after_s,
        )
        self._steps = 0
        self._was_shown = False
        if isinstance(self.run.loop, MeasuredLoop):
            self.play.post(BaselineRead(camera="gate", baseline=baseline(self.run)))
        self.play.connect_hub()
        self._collect()

    def go_on(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self._step()

    def until(self, so: Callable[[], bool], *, within_s: float) -> float:
        """How long it took."""
        began = self.play.now
        while not so():
            assert self.play.now - began <= within_s, f"not within {within_s} s"
            self._step()
        return self.play.now - began

    def cut(self) -> None:
        """Through: no pair, no power, no link, and with that no picture."""
        self.ohm, self.whole, self.shows = math.inf, False, False

    def mend(self) -> None:
        self.ohm, self.whole, self.shows = NORMAL, True, True

    def reconnect(self) -> None:
        self.generation += 1
        self.shows = True

    # -- inside --

    def _step(self) -> None:
        play = self.play
        play.wait(STEP_S)
        play.post(self.switch)  # type: ignore[arg-type]
        self._wires()
        if not play.agent._desk.private:
            self._camera()
            if self._steps % 4 == 0:
                self._neighbour()
        self._steps += 1
        self._collect()

    def _wires(self) -> None:
        play, run = self.play, self.run
        if isinstance(run.loop, MeasuredLoop):
            play.post(LoopMeasured(camera="gate", ohm=self.ohm, spread_ohm=0.05, counts=0.0))
        if isinstance(run.loop, DigitalLoop):
            play.post(LoopRead(camera="gate", closed=None if self.ohm is None else self.whole))
        if run.current_channel is not None:
            value = 280.0 if self.whole else 0.0
            play.post(LineRead(line=Line.CURRENT, camera="gate", on=None, value=value))
        if run.interface is not None:
            play.post(
                NicRead(
                    interface=run.interface,
                    carrier=self.whole,
                    speed_mbit=100 if self.whole else None,
                    carrier_downs=0 if self.whole else 1,
                    crc_errors=0,
                )
            )

    def _camera(self) -> None:
        play = self.play
        if self.shows and not self._was_shown:
            play.post(opened(camera="gate", generation=self.generation))
        if self._was_shown and not self.shows:
            play.post(
                CameraLost(
                    camera="gate",
                    generation=self.generation,
                    cause=Cause.NO_ANSWER,
                    detail="no answer in 5 s",
                )
            )
            self.generation += 1
        self._was_shown = self.shows
        if self.shows and self._steps % 4 == 0:
            play.post(picture(generation=self.generation, taken_at=play.now, reading=self.reading))

    reading = STREET

    def _neighbour(self) -> None:
        if not self.play.agent._watches["river"].signal.session:
            self.play.post(opened(camera="river", generation=self.generation_of_river))
        self.play.post(
            picture(
                camera="river",
                generation=self.generation_of_river,
                taken_at=self.play.now,
                jpeg=b"river",
            )
        )

    def _collect(self) -> None:
        for _, command in self.play.done[self._taken :]:
            if isinstance(command, Keep):
                self.records.append(command.record)
            if isinstance(command, Remember):
                self.card[command.memory] = command.value
        self._taken = len(self.play.done)

    # -- what came of it --

    @property
    def orders(self) -> list[Record]:
        return [record for record in self.records if record.kind.startswith("work_order.")]

    def kinds(self) -> list[str]:
        return [record.kind.partition(".")[2] for record in self.orders]

    def gate(self, name: str = "gate") -> str:
        return self.play.agent._watches[name].gate.state.value

    @property
    def released(self) -> int:
        """Pictures of the gate's camera."""
        return sum(jpeg != b"river" for jpeg in self.play.released)

    @property
    def findings(self) -> list[str]:
        return [found["key"] for found in self.play.status()["findings"]]


def live(name: str = "balun", **more: object) -> Town:
    town = Town(RUNS[name], **more)  # type: ignore[arg-type]
    town.go_on(120.0)
    assert (town.gate(), town.gate("river")) == ("open", "open")
    assert town.orders == []
    return town


@pytest.mark.parametrize("name", RUNS)
def test_one_cut_is_one_order_with_the_right_cable_through_outage_and_restart_until_the_repair(
    name,
):
    town = live(name)
    town.cut()
    town.until(lambda: bool(town.orders), within_s=PROMISE_S)
    order = town.orders[0]
    metres, cable, parts, looped = BRING[name]
    assert (order.kind, order.rank, order.camera) == ("work_order.opened", Rank.AUDIT, "gate")
    assert (order.data["cause"], order.data["bring_m"]) == ("cable_cut", metres)
    bring = order.data["bring"]
    assert isinstance(bring, dict)
    items = bring["en"]
    assert isinstance(items, list)
    assert items[0] == cable
    assert parts <= set(items)
    assert ("1 end plug for the supervised pair" in items) is looped
    assert cable in " ".join(str(order.data["en"]).split())
    assert "Do not take the camera home" in str(order.data["en"])
    town.play.post(LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="refused"))
    town.go_on(300.0)
    town.start(after_s=100.0)
    town.go_on(120.0)
    town.start()
    town.go_on(600.0)
    assert town.gate() == "closed"
    assert town.gate("river") == "open"
    assert town.kinds() == ["opened"], [record.data["detail"] for record in town.orders]
    town.mend()
    town.until(lambda: town.kinds()[-1] == "closed", within_s=120.0)
    assert {record.data["order"] for record in town.orders} == {order.data["order"]}
    assert town.orders[-1].data["detail"] == "verified"
    town.until(lambda: town.gate() == "open", within_s=60.0)
    town.go_on(60.0)
    assert town.kinds()[-1] == "closed"
    assert town.kinds().count("opened") == town.kinds().count("closed") == 1


def test_reminders_come_after_an_hour_and_a_day_although_the_box_was_off_meanwhile():
    town = live("balun, digital loop")
    town.cut()
    town.go_on(1900.0)
    town.start(after_s=50.0)
    town.go_on(1900.0)
    assert town.kinds() == ["opened", "reminded"]


@pytest.mark.parametrize("name", ["balun", "balun, digital loop", "network"])
def test_the_gate_is_held_with_the_first_reading_after_the_cut(name):
    town = live(name)
    town.ohm, town.whole = math.inf, False
    town._step()
    assert town.gate() == "held"


def test_december_2024_with_a_loop_is_an_order_that_says_the_camera_was_taken():
    town = live()
    town.cut()
    town.go_on(60.0)
    released = town.released
    town.reconnect()  # at home: the cable still lies in two
    town.reading = LIVING_ROOM
    town.until(lambda: town.kinds()[-1] == "updated", within_s=60.0)
    town.go_on(300.0)
    assert town.released == released
    assert town.orders[-1].data["cause"] == "camera_taken"
    assert town.kinds() == ["opened", "updated"]
    assert "cable_camera_taken" in town.findings
    taken = [r for r in town.records if r.data.get("key") == "cable_camera_taken"]
    assert [record.kind for record in taken] == ["finding.opened"]


def test_a_cable_that_is_mended_while_the_camera_shows_a_home_closes_no_order():
    town = live()
    town.cut()
    town.go_on(60.0)
    town.mend()
    town.reading = LIVING_ROOM
    town.go_on(300.0)
    assert "closed" not in town.kinds()
    assert town.gate() == "held"
    town.reading = STREET
    town.until(lambda: town.gate() == "open", within_s=60.0)
    town.until(lambda: town.kinds()[-1] == "closed", within_s=60.0)


def test_a_camera_that_comes_back_on_a_shorter_cable_is_held_although_it_shows_its_street():
    town = live()
    town.cut()
    town.go_on(60.0)
    released = town.released
    town.reconnect()
    town.whole = True
    town.ohm = BASE.r_plug_ohm + BASE.ohm_per_m * 5.0
    town.go_on(300.0)
    assert town.released == released
    assert town.gate() == "held"
    last = town.orders[-1].data
    assert last["cause"] == "other_length"
    length = last["length_now_m"]
    assert isinstance(length, float)
    assert abs(length - 5.0) < 1.0
    assert "cable_other_length" in town.findings
    # A person commissions the new run, and that is that.
    new = replace(baseline(town.run), r_base_ohm=town.ohm, length_m=5.0, wall_s=2.0)
    town.play.post(BaselineRead(camera="gate", baseline=new))
    town.until(lambda: town.gate() == "open", within_s=60.0)
    town.until(lambda: town.kinds()[-1] == "closed", within_s=60.0)


def test_a_run_that_reads_normal_again_gives_no_trust_back():
    town = live()
    released = town.released
    town.ohm = math.inf
    town.go_on(1.0)
    town.ohm = NORMAL
    town.go_on(5.0)
    assert town.gate() == "held"
    assert town.released == released
    town.until(lambda: town.gate() == "open", within_s=30.0)


# ---- policies ----


def test_with_scene_strict_video_that_never_broke_goes_on_after_a_new_proof():
    town = live(policy=LoopOpenPolicy.SCENE_STRICT)
    town.ohm = math.inf
    town._step()
    assert town.gate() == "held", "continuity broke all the same"
    town.until(lambda: town.gate() == "open", within_s=60.0)
    assert town.orders[-1].data["cause"] == "pair_broken"
    released = town.released
    town.go_on(60.0)
    assert town.released > released


@pytest.mark.parametrize(
    "gap", ["new connection", "a picture that cannot tell", "told by the wire"]
)
def test_with_scene_strict_one_doubt_about_the_picture_holds_it_until_the_pair_is_whole(gap):
    town = live(policy=LoopOpenPolicy.SCENE_STRICT)
    town.ohm = math.inf
    town.until(lambda: town.gate() == "open", within_s=60.0)
    match gap:
        case "new connection":
            town.generation += 1
            town.play.post(opened(camera="gate", generation=town.generation))
        case "a picture that cannot tell":
            town.reading = replace(STREET, score=0.7)
            town.go_on(2.0)
            town.reading = STREET
        case _:
            town.play.post(LineRead(line=Line.VIDEO, camera="gate", on=False))
            town.go_on(1.0)
            town.play.post(LineRead(line=Line.VIDEO, camera="gate", on=True))
    town.go_on(120.0)
    assert town.gate() == "held"
    town.ohm = NORMAL
    town.until(lambda: town.gate() == "open", within_s=60.0)


# ---- blind ----


def test_a_board_that_fails_asks_for_more_proof_and_is_one_order_for_the_box():
    town = live()
    town.ohm = None
    town._step()
    assert town.gate() == "held"
    took_s = town.until(lambda: town.gate() == "open", within_s=60.0)
    assert took_s >= 20.0, "nothing vouches for the camera but its picture"
    town.go_on(60.0)
    assert [(r.data["cause"], r.camera) for r in town.orders] == [("board_fault", None)]
    assert "cable_unreadable" in town.findings
    town.ohm = NORMAL
    town.until(lambda: town.kinds()[-1] == "closed", within_s=60.0)


def test_a_board_that_tells_nothing_any_more_is_as_good_as_dead():
    town = live()
    silent = town.run
    town.run = replace(town.run, loop=None)  # nobody reads it any more
    town.go_on(9.0)
    assert town.gate() == "open"
    town.go_on(3.0)
    assert town.gate() == "held"
    town.run = silent


def test_a_loop_that_nobody_commissioned_releases_its_camera_after_more_proof_and_says_so():
    town = Town(RUNS["balun"])
    town.play.post(BaselineRead(camera="gate", baseline=None, why="never commissioned"))
    town.go_on(60.0)
    assert town.gate() == "open"
    assert "cable_not_commissioned" in town.findings
    assert town.orders == []


# ---- privacy ----


def test_a_switch_that_cuts_the_cameras_power_breaks_nothing():
    town = live()
    town.switch = PRESSED
    town.whole = town.shows = False  # the relay took the 12 V; the pair is still whole
    town.go_on(600.0)
    assert town.orders == []
    town.switch = RELEASED
    town.go_on(10.0)
    town.whole = True
    town.go_on(20.0)
    town.reconnect()
    town.until(lambda: town.gate() == "open", within_s=90.0)
    town.go_on(120.0)
    assert town.orders == []


def test_a_cable_that_is_cut_while_private_is_told_all_the_same():
    town = live()
    town.switch = PRESSED
    town.go_on(60.0)
    town.cut()
    town.until(lambda: bool(town.orders), within_s=PROMISE_S)
    assert town.orders[0].data["cause"] == "cable_cut"
    assert town.gate() == "private"


# ---- what others see of it ----


def test_the_cameras_state_and_the_status_show_cable_and_order_briefly():
    town = live()
    town.cut()
    town.go_on(15.0)
    status = town.play.status()
    assert status["cameras"][0]["cable"] == "open"
    (order,) = status["orders"]
    assert (order["cause"], order["cameras"], order["en"]) == (
        "cable_cut",
        ["gate"],
        "cable cut or unplugged",
    )
    assert order["bring"]["en"][0] == "55 m of outdoor Cat5e cable"
    assert order["open_s"] > 0
    state = town.play.agent._state(town.play.agent._watches["gate"])
    assert state["orders"] == [
        {"order": order["order"], "cause": "cable_cut", "id": order["id"], "en": order["en"]}
    ]
    assert town.play.agent.headline().endswith("work orders 1")


def test_orders_that_cannot_be_read_back_cost_the_orders_and_not_the_box():
    town = live()
    town.card[Memory.ORDERS] = b"\xff{"
    town.card[Memory.NIGHTS] = b"\xff{"
    town.start()
    assert any("remembered work orders cannot be used" in line for line in town.play.said)
    town.go_on(120.0)
    assert town.gate() == "open"


def test_every_order_is_on_the_card_before_its_record():
    town = live()
    town.cut()
    town.go_on(20.0)
    commands = [command for _, command in town.play.done]
    for place, command in enumerate(commands):
        if isinstance(command, Keep) and command.record.kind.startswith("work_order."):
            before = [c for c in commands[:place] if isinstance(c, Remember)]
            assert str(command.record.data["order"]).encode() in before[-1].value
