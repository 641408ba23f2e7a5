"""One cause from many signs, for each kind of run: settled, without flapping, and "cannot tell" where it is so."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.cable import Change, Loop, LoopState, LoopView
from edge_agent.core.diagnosis import (
    CRC_ERRORS,
    CRC_WINDOW_S,
    FIRM_S,
    HEAL_S,
    LINK_DROPS,
    OPEN_S,
    RELAPSE_S,
    RESTART_S,
    WEAR_HEAL_S,
    Cause,
    Diagnoses,
    Diagnosis,
    Kind,
    Level,
    Measure,
    Seen,
    Sign,
    Symptoms,
    diagnose,
    kind_of,
)
from edge_agent.core.messages import (
    CameraLost,
    Line,
    LineRead,
    LoopMeasured,
    NicRead,
    PictureTaken,
    SceneReading,
    VideoLossTold,
)
from edge_agent.core.messages import (
    Cause as VideoCause,
)
from edge_agent.core.settings import MeasuredLoop, Run
from tests.core.test_cable import BASE, NORMAL

SCENE = SceneReading(
    view="v",
    unusable=None,
    score=2.0,
    z=9.0,
    tiles=9,
    cells=9,
    ncc=0.9,
    dx=0.0,
    dy=0.0,
    elsewhere=False,
    light_known=True,
    sharpness=1.0,
    mean_grey=90.0,
    dark_share=0.0,
    blown_share=0.0,
    change=0.1,
    same_bits=1,
)


def seen_loop(state: LoopState, **more) -> LoopView:
    return LoopView(state=state, since=100.0, finding=None, ohm=NORMAL, base_ohm=NORMAL, **more)


ON, OFF = Level(on=True, since=100.0), Level(on=False, since=100.0)
VIDEO_LOST = Level(on=False, since=101.0, value="no_answer")
WHOLE = seen_loop(LoopState.NORMAL)
CUT = seen_loop(LoopState.OPEN)

# Kind of run, what is read, the one cause.
TABLE = [
    # picture and 12 V on pairs of one network cable, the loop on the fourth
    (Kind.BALUN, {"loop": CUT, "video": VIDEO_LOST, "current": OFF}, Cause.CABLE_CUT),
    (Kind.BALUN, {"loop": CUT, "video": VIDEO_LOST, "current": ON}, Cause.CABLE_CUT),
    (Kind.BALUN, {"loop": CUT}, Cause.CABLE_CUT),
    (Kind.BALUN, {"loop": seen_loop(LoopState.OPEN, was=LoopState.TAMPER)}, Cause.CAMERA_UNPLUGGED),
    (Kind.BALUN, {"loop": seen_loop(LoopState.OPEN, was=LoopState.SHORT)}, Cause.CABLE_CUT),
    (Kind.BALUN, {"loop": CUT, "video": ON, "picture_at": 102.0}, Cause.PAIR_BROKEN),
    (Kind.BALUN, {"loop": CUT, "video": ON, "picture_at": 101.9}, Cause.CABLE_CUT),
    (Kind.BALUN, {"loop": CUT, "video": ON, "picture_at": 102.0, "told": ON}, Cause.CABLE_CUT),
    (Kind.BALUN, {"loop": CUT, "video": ON, "picture_at": 102.0, "alarm": ON}, Cause.CABLE_CUT),
    (Kind.BALUN, {"loop": CUT, "video": ON, "picture_at": 102.0, "wire": OFF}, Cause.CABLE_CUT),
    (
        Kind.BALUN,
        {"loop": CUT, "video": ON, "picture_at": 200.0, "gap_at": 101.0},
        Cause.CAMERA_TAKEN,
    ),
    (
        Kind.BALUN,
        {"loop": CUT, "video": ON, "picture_at": 200.0, "gap_at": 95.0},
        Cause.CAMERA_TAKEN,
    ),
    (
        Kind.BALUN,
        {"loop": CUT, "video": ON, "picture_at": 200.0, "gap_at": 94.9},
        Cause.PAIR_BROKEN,
    ),
    (
        Kind.BALUN,
        {"loop": CUT, "video": ON, "picture_at": 200.0, "gap_at": 101.0, "told": ON},
        Cause.CABLE_CUT,
    ),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.SHORT, short_at_m=20.0), "video": VIDEO_LOST},
        Cause.CABLE_SHORT,
    ),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.SHORT), "video": ON, "picture_at": 200.0, "gap_at": 101.0},
        Cause.CAMERA_TAKEN,
    ),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.SHORTER, change=Change.STEP, length_m=5.0)},
        Cause.OTHER_LENGTH,
    ),
    (Kind.BALUN, {"loop": seen_loop(LoopState.SHORTER, change=Change.JUMP)}, Cause.OTHER_LENGTH),
    (Kind.BALUN, {"loop": seen_loop(LoopState.SHORTER, change=Change.DRIFT)}, Cause.DAMP),
    (Kind.BALUN, {"loop": seen_loop(LoopState.HIGH_R, change=Change.STEP)}, Cause.OTHER_LENGTH),
    (Kind.BALUN, {"loop": seen_loop(LoopState.HIGH_R, change=Change.UNSEEN)}, Cause.OTHER_LENGTH),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.HIGH_R, change=Change.UNSEEN), "known": Cause.CORRODED},
        Cause.CORRODED,
    ),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.SHORTER, change=Change.UNSEEN), "known": Cause.DAMP},
        Cause.DAMP,
    ),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.HIGH_R, change=Change.UNSEEN), "known": Cause.CABLE_CUT},
        Cause.OTHER_LENGTH,
    ),
    (Kind.BALUN, {"loop": seen_loop(LoopState.HIGH_R, change=Change.DRIFT)}, Cause.CORRODED),
    (Kind.BALUN, {"loop": seen_loop(LoopState.HIGH_R, change=Change.JUMP)}, Cause.CORRODED),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.HIGH_R, change=Change.DRIFT, noisy=True)},
        Cause.LOOSE,
    ),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.TAMPER), "video": ON, "picture_at": 200.0},
        Cause.HOUSING_OPEN,
    ),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.TAMPER), "video": ON, "picture_at": 200.0, "gap_at": 150.0},
        Cause.CAMERA_TAKEN,
    ),
    (Kind.BALUN, {"loop": WHOLE, "video": VIDEO_LOST, "current": OFF}, Cause.NO_CAMERA_POWER),
    (Kind.BALUN, {"loop": WHOLE, "video": ON, "current": OFF}, Cause.NO_CAMERA_POWER),
    (Kind.BALUN, {"loop": WHOLE, "video": VIDEO_LOST, "current": ON, "wire": ON}, Cause.PORT_DEAD),
    (Kind.BALUN, {"loop": WHOLE, "video": VIDEO_LOST, "wire": ON}, Cause.PORT_DEAD),
    (
        Kind.BALUN,
        {"loop": WHOLE, "video": VIDEO_LOST, "current": ON, "wire": OFF},
        Cause.CAMERA_DEAD,
    ),
    (Kind.BALUN, {"loop": WHOLE, "video": VIDEO_LOST, "current": ON}, Cause.CANNOT_TELL),
    (Kind.BALUN, {"loop": WHOLE, "video": VIDEO_LOST}, Cause.CANNOT_TELL),
    (Kind.BALUN, {"loop": WHOLE, "video": ON, "told": ON}, Cause.CANNOT_TELL),
    (Kind.BALUN, {"loop": WHOLE, "video": ON, "alarm": ON}, Cause.CANNOT_TELL),
    (Kind.BALUN, {"loop": WHOLE, "video": ON, "told": OFF, "alarm": OFF, "wire": ON}, None),
    (Kind.BALUN, {"loop": WHOLE, "video": VIDEO_LOST, "told": OFF}, Cause.CANNOT_TELL),
    (Kind.BALUN, {"loop": WHOLE, "video": VIDEO_LOST, "electrical": False}, None),
    (Kind.BALUN, {"loop": seen_loop(LoopState.SENSOR_FAULT), "video": ON}, None),
    (Kind.BALUN, {"loop": seen_loop(LoopState.NORMAL, noisy=True), "video": ON}, Cause.LOOSE),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.NORMAL, noisy=True), "video": VIDEO_LOST},
        Cause.CANNOT_TELL,
    ),
    (
        Kind.BALUN,
        {"loop": seen_loop(LoopState.NORMAL, night_rise_ohm=0.61), "video": ON},
        Cause.CORRODED,
    ),
    (Kind.BALUN, {"loop": seen_loop(LoopState.NORMAL, night_rise_ohm=0.6), "video": ON}, None),
    (Kind.BALUN, {"loop": seen_loop(LoopState.UNKNOWN, noisy=True), "video": ON}, None),
    # coax and a power pair: no loop
    (Kind.COAX, {"video": VIDEO_LOST, "current": OFF}, Cause.CABLE_CUT),
    (Kind.COAX, {"video": VIDEO_LOST, "current": ON, "wire": ON}, Cause.PORT_DEAD),
    (Kind.COAX, {"video": VIDEO_LOST, "current": ON, "wire": OFF}, Cause.CAMERA_DEAD),
    (Kind.COAX, {"video": VIDEO_LOST}, Cause.CANNOT_TELL),
    (Kind.COAX, {"loop": CUT, "video": VIDEO_LOST, "current": OFF}, Cause.CABLE_CUT),
    (Kind.COAX, {"video": ON}, None),
    (Kind.COAX, {}, None),
    # network and power on the same pairs: never a loop
    (Kind.POE, {"video": VIDEO_LOST, "link": OFF}, Cause.CABLE_CUT),
    (Kind.POE, {"video": ON, "link": OFF}, Cause.CABLE_CUT),
    (Kind.POE, {"video": VIDEO_LOST, "link": ON}, Cause.CAMERA_DEAD),
    (Kind.POE, {"video": VIDEO_LOST}, Cause.CANNOT_TELL),
    (
        Kind.POE,
        {"video": ON, "link": ON, "slow": Level(on=True, since=9.0, value="1000 -> 100")},
        Cause.LOST_PAIR,
    ),
    (
        Kind.POE,
        {"video": ON, "link": ON, "errors": Level(on=True, since=9.0, value="25")},
        Cause.LOOSE,
    ),
    (
        Kind.POE,
        {"video": ON, "link": ON, "drops": Level(on=True, since=9.0, value="4")},
        Cause.LOOSE,
    ),
    (Kind.POE, {"video": ON, "link": ON, "slow": OFF, "errors": OFF, "drops": OFF}, None),
    # network on two pairs, a loop on a spare one, power from the pole
    (Kind.NETWORK, {"loop": CUT, "video": VIDEO_LOST, "link": OFF}, Cause.CABLE_CUT),
    (Kind.NETWORK, {"loop": CUT, "video": VIDEO_LOST, "link": ON}, Cause.PAIR_BROKEN),
    (Kind.NETWORK, {"loop": WHOLE, "video": VIDEO_LOST, "link": OFF}, Cause.NO_CAMERA_POWER),
    (Kind.NETWORK, {"loop": WHOLE, "video": VIDEO_LOST, "link": ON}, Cause.CAMERA_DEAD),
    (Kind.NETWORK, {"loop": WHOLE, "video": VIDEO_LOST}, Cause.CANNOT_TELL),
    (Kind.NETWORK, {"video": VIDEO_LOST, "link": OFF}, Cause.CANNOT_TELL),
]


@pytest.mark.parametrize(("kind", "read", "cause"), TABLE)
def test_each_pattern_has_its_one_cause(kind, read, cause):
    told = diagnose(Symptoms(camera="gate", kind=kind, **read))
    assert (told and told.cause) is cause
    if told is not None:
        assert told.subject == "gate"
        assert told.seen
        assert told.since <= 101.0
        assert (told.measure != ()) is (cause is Cause.CANNOT_TELL)


def test_a_cause_carries_what_a_technician_needs():
    short = diagnose(
        Symptoms(camera="gate", kind=Kind.BALUN, loop=seen_loop(LoopState.SHORT, short_at_m=20.4))
    )
    assert short is not None
    assert (short.at_m, short.seen[0]) == (20.4, Seen(Sign.LOOP_SHORT, 100.0, "20"))
    moved = diagnose(
        Symptoms(
            camera="gate",
            kind=Kind.BALUN,
            loop=seen_loop(LoopState.SHORTER, change=Change.STEP, length_m=5.2, length_off_m=1.5),
            video=ON,
            gap_at=101.0,
            picture_at=110.0,
        )
    )
    assert moved is not None
    assert moved.length_m == 5.2
    assert moved.seen[:2] == (Seen(Sign.LOOP_SHORTER, 100.0, "5 ± 2"), Seen(Sign.VIDEO_BACK, 100.0))


def test_what_to_measure_comes_in_order_and_leaves_out_what_is_known():
    def measures(**read) -> tuple[Measure, ...]:
        told = diagnose(Symptoms(camera="gate", kind=Kind.BALUN, video=VIDEO_LOST, **read))
        assert told is not None
        return told.measure

    assert measures() == (
        Measure.MONITOR,
        Measure.SWAP_PORT,
        Measure.VOLTS_AT_CAMERA,
        Measure.CABLE_TESTER,
        Measure.TEST_MONITOR,
    )
    assert measures(loop=WHOLE, current=ON) == (
        Measure.MONITOR,
        Measure.SWAP_PORT,
        Measure.TEST_MONITOR,
    )
    assert measures(loop=seen_loop(LoopState.UNKNOWN))[1] is Measure.LOOP_OHM
    network = diagnose(Symptoms(camera="gate", kind=Kind.NETWORK, video=VIDEO_LOST))
    poe = diagnose(Symptoms(camera="gate", kind=Kind.POE, video=VIDEO_LOST, loop=WHOLE))
    assert network is not None
    assert poe is not None
    assert network.measure == (
        Measure.PORT_LIGHT,
        Measure.VOLTS_AT_CAMERA,
        Measure.CABLE_TESTER,
        Measure.TEST_MONITOR,
    )
    assert poe.measure == (Measure.PORT_LIGHT, Measure.TEST_MONITOR)


def test_the_evidence_names_all_that_was_read_the_bad_before_the_good():
    told = diagnose(
        Symptoms(
            camera="gate",
            kind=Kind.BALUN,
            loop=CUT,
            video=VIDEO_LOST,
            current=Level(on=False, since=99.0, value="2"),
            power=ON,
            told=ON,
            others_fine=3,
            companions=("river",),
        )
    )
    assert told is not None
    assert [seen.sign for seen in told.seen] == [
        Sign.LOOP_OPEN,
        Sign.LOOP_TOGETHER,
        Sign.NO_CURRENT,
        Sign.VIDEO_LOST,
        Sign.TOLD,
        Sign.POWER_THERE,
        Sign.OTHERS_FINE,
    ]
    assert told.since == 99.0


@pytest.mark.parametrize(
    ("run", "recorder", "kind"),
    [
        ({"cable": "cat5e-outdoor", "current_channel": 1}, False, Kind.BALUN),
        ({"cable": "cat5e-outdoor", "video_pin": 20}, False, Kind.BALUN),
        ({"cable": "cat5e-outdoor", "alarm_pin": 20}, False, Kind.BALUN),
        ({"cable": "cat5e-outdoor"}, True, Kind.BALUN),
        ({"cable": "cat5e-outdoor"}, False, Kind.NETWORK),
        ({"cable": "cat5e-outdoor", "interface": "eth1"}, True, Kind.NETWORK),
        ({"cable": "cat6-outdoor", "interface": "eth1", "current_channel": 1}, False, Kind.BALUN),
        ({"cable": "cat5e-poe"}, True, Kind.POE),
        ({"cable": "cat6-poe", "interface": "eth1"}, False, Kind.POE),
        ({"cable": "rg59"}, False, Kind.COAX),
        ({"cable": "rg59-power"}, True, Kind.COAX),
        ({"cable": "rg59-pair"}, False, Kind.COAX),
    ],
)
def test_the_kind_of_a_run_follows_from_what_is_fitted(run, recorder, kind):
    assert kind_of(Run(camera="gate", length_m=50.0, **run), recorder=recorder) is kind


levels = st.none() | st.builds(Level, on=st.booleans(), since=st.floats(0, 200), value=st.just("x"))
loops = st.none() | st.builds(
    LoopView,
    state=st.sampled_from(LoopState),
    since=st.floats(0, 200),
    finding=st.none(),
    noisy=st.booleans(),
    change=st.none() | st.sampled_from(Change),
    was=st.none() | st.sampled_from(LoopState),
    ohm=st.none() | st.floats(0, 300),
    short_at_m=st.none() | st.floats(0, 50),
    length_m=st.none() | st.floats(0, 50),
    night_rise_ohm=st.none() | st.floats(-2, 2),
)
symptoms = st.builds(
    Symptoms,
    camera=st.just("gate"),
    kind=st.sampled_from(Kind),
    loop=loops,
    video=levels,
    picture_at=st.none() | st.floats(0, 200),
    gap_at=st.none() | st.floats(0, 200),
    electrical=st.booleans(),
    wire=levels,
    alarm=levels,
    told=levels,
    current=levels,
    link=levels,
    slow=levels,
    errors=levels,
    drops=levels,
    power=levels,
    others_fine=st.integers(0, 8),
    known=st.none() | st.sampled_from(Cause),
)


@given(symptoms)
def test_whatever_is_read_there_is_at_most_one_cause_with_its_evidence(read):
    told = diagnose(read)
    if told is not None:
        assert told.seen
        assert len({seen.sign for seen in told.seen}) == len(told.seen)
        assert told.wait_s <= RESTART_S


@given(symptoms)
def test_the_word_of_a_recorder_adds_suspicion_and_never_clears_any(read):
    silent = diagnose(replace(read, told=None))
    clear = diagnose(replace(read, told=Level(on=False, since=100.0)))
    lost = diagnose(replace(read, told=Level(on=True, since=100.0)))
    assert (silent and silent.cause) is (clear and clear.cause)
    assert silent is None or lost is not None


# ---- over time ----


class Street:
    """A box with cameras, read twice a second."""

    def __init__(self, *runs: Run, hosts: dict[str, str] | None = None, known=()) -> None:
        self.runs = {run.camera: run for run in runs}
        self.hosts = hosts or dict.fromkeys(self.runs, "")
        self.diagnoses = Diagnoses(self.runs, self.hosts, known=known)
        self.loops = {
            camera: Loop(run, at=0.0, baseline=BASE)
            for camera, run in self.runs.items()
            if run.loop is not None
        }
        self.ohm: dict[str, float | None] = dict.fromkeys(self.loops, NORMAL)
        self.ma: dict[str, float | None] = {
            camera: 300.0 for camera, run in self.runs.items() if run.current_channel is not None
        }
        self.video = dict.fromkeys(self.hosts, True)
        self.generation = dict.fromkeys(self.hosts, 1)
        self.at = 0.0
        self.history: list[tuple[float, tuple[tuple[str, Cause], ...]]] = []

    def event(self, event) -> None:
        self.diagnoses.read(event, at=self.at)

    def lose(self, camera: str, cause: VideoCause = VideoCause.NO_ANSWER) -> None:
        self.video[camera] = False
        self.event(CameraLost(camera=camera, generation=1, cause=cause, detail="timeout"))

    def picture(self, camera: str) -> None:
        self.event(
            PictureTaken(
                camera=camera,
                generation=self.generation[camera],
                taken_at=self.at,
                age_s=0.1,
                width=320,
                height=240,
                codec="h264",
                gop_s=2.0,
                bytes_per_s=1.0,
                reading=SCENE,
                jpeg=b"",
            )
        )

    def back(self, camera: str) -> None:
        self.video[camera] = True
        self.generation[camera] += 1

    def line(
        self, line: Line, camera: str | None, *, on: bool | None = None, value: float | None = None
    ):
        self.event(LineRead(line=line, camera=camera, on=on, value=value))

    def nic(self, carrier: bool | None, speed: int | None = 1000, downs: int = 0, crc: int = 0):
        self.event(
            NicRead(
                interface="eth1",
                carrier=carrier,
                speed_mbit=speed,
                carrier_downs=downs,
                crc_errors=crc,
            )
        )

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.at += 0.5
            for camera, loop in self.loops.items():
                ohm = self.ohm[camera]
                loop.read(
                    LoopMeasured(camera=camera, ohm=ohm, spread_ohm=0.02, counts=0.0), at=self.at
                )
                self.diagnoses.loop(camera, loop.view(at=self.at))
            for camera, value in self.ma.items():
                self.line(Line.CURRENT, camera, value=value)
            for camera, fresh in self.video.items():
                if fresh:
                    self.picture(camera)
            now = tuple((told.subject, told.cause) for told in self.told)
            if not self.history or self.history[-1][1] != now:
                self.history.append((self.at, now))

    @property
    def told(self) -> tuple[Diagnosis, ...]:
        return self.diagnoses.told(at=self.at)

    @property
    def causes(self) -> dict[str, Cause]:
        return {told.subject: told.cause for told in self.told}

    @property
    def story(self) -> list[dict[str, Cause]]:
        return [dict(causes) for _, causes in self.history]


def looped(camera: str = "gate", **more) -> Run:
    return Run(
        camera=camera,
        cable="cat5e-outdoor",
        length_m=50.0,
        loop=MeasuredLoop(channel=0),
        **({"current_channel": 0} | more),
    )


def coax(camera: str = "gate") -> Run:
    return Run(camera=camera, cable="rg59-power", length_m=50.0, current_channel=0)


def poe(camera: str = "gate") -> Run:
    return Run(camera=camera, cable="cat5e-poe", length_m=50.0, interface="eth1")


def network(camera: str = "gate") -> Run:
    return looped(camera, current_channel=None, interface="eth1")


def test_a_cut_of_a_balun_run_is_one_cause_within_ten_seconds_and_stays_it():
    street = Street(looped())
    street.run(60)
    cut_at = street.at
    street.ohm["gate"], street.ma["gate"], street.video["gate"] = math.inf, 0.0, False
    street.run(6)
    street.lose("gate")
    street.run(600)
    assert street.story == [{}, {"gate": Cause.CABLE_CUT}]
    assert street.history[-1][0] - cut_at <= 10.0
    assert street.told[0].since == pytest.approx(cut_at + 0.5)


def test_a_cut_without_any_second_sign_waits_for_a_picture_but_not_longer_than_ten_seconds():
    street = Street(looped(current_channel=None))
    street.run(30)
    cut_at = street.at
    street.ohm["gate"], street.video["gate"] = math.inf, False
    street.run(60)
    assert street.story == [{}, {"gate": Cause.CABLE_CUT}]
    assert FIRM_S < street.history[-1][0] - cut_at <= 10.0


def test_a_cut_of_a_coax_run_shows_in_its_current():
    street = Street(coax())
    street.run(30)
    cut_at = street.at
    street.ma["gate"], street.video["gate"] = 0.0, False
    street.run(8)
    street.lose("gate")
    street.run(100)
    assert street.story == [{}, {"gate": Cause.CABLE_CUT}]
    assert street.history[-1][0] - cut_at <= 10.0


def test_a_cut_of_a_poe_run_shows_in_its_link():
    street = Street(poe())
    street.nic(True)
    street.run(30)
    cut_at = street.at
    street.nic(False, None, downs=1)
    street.video["gate"] = False
    street.run(9)
    street.lose("gate")
    street.run(100)
    assert street.story == [{}, {"gate": Cause.CABLE_CUT}]
    assert street.history[-1][0] - cut_at <= 10.0


@pytest.mark.parametrize(
    ("ohm", "cause"), [(math.inf, Cause.CABLE_CUT), (NORMAL, Cause.NO_CAMERA_POWER)]
)
def test_a_network_run_tells_a_cut_from_a_dead_supply(ohm, cause):
    street = Street(network())
    street.nic(True, 100)
    street.run(30)
    street.ohm["gate"], street.video["gate"] = ohm, False
    street.nic(False, None)
    street.run(10)
    street.lose("gate")
    street.run(100)
    assert street.story == [{}, {"gate": cause}]


def test_december_is_told_in_two_steps():
    street = Street(looped())
    street.run(30)
    street.ohm["gate"], street.ma["gate"] = math.inf, 0.0
    street.lose("gate")
    street.run(3600)
    street.back("gate")
    street.run(10)
    assert street.story == [{}, {"gate": Cause.CABLE_CUT}, {"gate": Cause.CAMERA_TAKEN}]


def test_a_recorder_that_reports_loss_and_then_a_picture_is_a_gap_too():
    street = Street(looped())
    street.run(30)
    street.ohm["gate"] = math.inf
    street.event(VideoLossTold(camera="gate", lost=True, why="channel 3"))
    street.run(10)
    assert street.causes == {"gate": Cause.CABLE_CUT}
    street.event(VideoLossTold(camera="gate", lost=False))
    street.run(10)
    assert street.causes == {"gate": Cause.CAMERA_TAKEN}


@pytest.mark.parametrize(("line", "lost"), [(Line.VIDEO, False), (Line.NVR_ALARM, True)])
def test_a_wire_that_fell_silent_and_speaks_again_is_a_gap_too(line, lost):
    street = Street(looped())
    street.line(line, "gate", on=not lost)
    street.run(30)
    street.ohm["gate"] = math.inf
    street.line(line, "gate", on=lost)
    street.run(10)
    assert street.causes == {"gate": Cause.CABLE_CUT}
    street.line(line, "gate", on=not lost)
    street.run(10)
    assert street.causes == {"gate": Cause.CAMERA_TAKEN}


def test_a_new_connection_while_the_loop_is_open_is_a_gap():
    street = Street(looped())
    street.run(30)
    street.ohm["gate"] = math.inf
    street.run(20)
    assert street.causes == {"gate": Cause.PAIR_BROKEN}
    street.generation["gate"] += 1
    street.run(5)
    assert street.causes == {"gate": Cause.CAMERA_TAKEN}


def test_an_end_plug_that_fell_out_never_sends_for_fifty_metres_of_urgency():
    street = Street(looped())
    street.run(30)
    street.ohm["gate"] = math.inf
    street.run(60)
    assert street.story == [{}, {"gate": Cause.PAIR_BROKEN}]


def test_a_joint_that_gives_way_again_and_again_is_not_mended_by_a_calm_minute():
    street = Street(looped())
    street.run(10)
    for _ in range(20):
        street.ohm["gate"] = math.inf
        street.run(40)
        street.ohm["gate"] = NORMAL
        street.run(40)
    ended = [before for before, after in pairwise(street.story) if "gate" in before and not after]
    assert len(ended) == 1, "the first repair is believed, the second not at once"
    street.run(WEAR_HEAL_S + 5)
    assert street.causes == {}
    street.run(RELAPSE_S)
    street.ohm["gate"] = math.inf
    street.run(20)
    street.ohm["gate"] = NORMAL
    street.run(HEAL_S + 5)
    assert street.causes == {}, "an hour later it is another fault"


def test_all_loops_at_once_are_one_cause_for_the_box():
    street = Street(looped("a"), looped("b"), looped("c"))
    street.run(30)
    for camera in "abc":
        street.ohm[camera], street.ma[camera], street.video[camera] = math.inf, 0.0, False
    street.run(4)
    for camera in "abc":
        street.lose(camera)
    street.run(60)
    assert street.story == [{}, {"box:conduit": Cause.CONDUIT_CUT}]
    assert street.told[0].cameras == ("a", "b", "c")


def test_one_of_three_that_stays_whole_makes_two_cuts_that_know_of_each_other():
    street = Street(looped("a"), looped("b"), looped("c"))
    street.run(30)
    for camera in "ab":
        street.ohm[camera], street.ma[camera], street.video[camera] = math.inf, 0.0, False
    street.run(60)
    assert street.story[-1] == {"a": Cause.CABLE_CUT, "b": Cause.CABLE_CUT}
    assert Seen(Sign.LOOP_TOGETHER, 30.5, "b") in street.told[0].seen


def test_a_camera_taken_away_from_a_cut_conduit_is_told_all_the_same():
    street = Street(looped("a"), looped("b"))
    street.run(30)
    for camera in "ab":
        street.ohm[camera], street.ma[camera] = math.inf, 0.0
        street.lose(camera)
    street.run(60)
    street.back("a")
    street.run(10)
    assert street.causes == {"box:conduit": Cause.CONDUIT_CUT, "a": Cause.CAMERA_TAKEN}


def test_a_dead_supply_is_one_cause_for_all_it_feeds():
    street = Street(looped("a"), looped("b"), coax("c"))
    street.line(Line.POWER, None, on=True)
    street.run(30)
    street.line(Line.POWER, None, on=False)
    for camera in "abc":
        street.ma[camera], street.video[camera] = 0.0, False
    street.run(100)
    assert street.story == [{}, {"box:power": Cause.POWER_DEAD}]
    assert street.told[0].cameras == ("a", "b", "c")
    street.line(Line.POWER, None, on=True)
    for camera in "abc":
        street.ma[camera] = 300.0
        street.back(camera)
    street.run(HEAL_S + 1)
    assert street.causes == {}
    assert "box:power" in street.diagnoses.well()


def test_a_power_sensor_that_fails_is_no_dead_supply():
    street = Street(looped("a"))
    street.line(Line.POWER, None, on=True)
    street.run(30)
    street.line(Line.POWER, None, on=False)
    street.run(100)
    assert street.story == [{}]


def test_a_dead_recorder_is_one_cause_after_the_time_of_a_restart():
    street = Street(
        coax("a"), coax("b"), hosts={"a": "10.0.0.9", "b": "10.0.0.9", "ip": "10.0.0.7"}
    )
    street.run(30)
    lost_at = street.at
    street.lose("a")
    street.run(5)
    street.lose("b", VideoCause.UNREACHABLE)
    street.run(RESTART_S + 60)
    assert street.story == [{}, {"recorder:10.0.0.9": Cause.RECORDER_DEAD}]
    assert street.history[-1][0] - lost_at == pytest.approx(RESTART_S + 5.0, abs=1.0)
    street.back("a")
    street.run(HEAL_S + 2)
    assert "recorder:10.0.0.9" not in street.causes


def test_a_recorder_that_restarts_is_no_cause_at_all():
    street = Street(coax("a"), coax("b"), hosts={"a": "10.0.0.9", "b": "10.0.0.9"})
    street.run(30)
    street.lose("a")
    street.lose("b")
    street.run(RESTART_S - 2)
    street.back("a")
    street.back("b")
    street.run(300)
    assert street.story == [{}]


def test_one_lost_channel_of_a_living_recorder_is_not_the_recorder():
    street = Street(coax("a"), coax("b"), hosts={"a": "10.0.0.9", "b": "10.0.0.9"})
    street.run(30)
    street.lose("a")
    street.run(RESTART_S + 5)
    assert street.causes == {"a": Cause.CANNOT_TELL}
    assert Sign.OTHERS_FINE in {seen.sign for seen in street.told[0].seen}


def test_all_channels_lost_while_the_recorder_answers_is_not_the_recorder():
    street = Street(coax("a"), coax("b"), hosts={"a": "10.0.0.9", "b": "10.0.0.9"})
    street.run(30)
    street.lose("a", VideoCause.STALLED)
    street.lose("b", VideoCause.STALLED)
    street.run(RESTART_S + 5)
    assert street.causes == {"a": Cause.CANNOT_TELL, "b": Cause.CANNOT_TELL}


def test_while_the_mains_are_out_nothing_but_a_loop_is_believed():
    street = Street(looped("a"), looped("b"), hosts={"a": "10.0.0.9", "b": "10.0.0.9"})
    street.line(Line.POWER, None, on=True)
    street.run(30)
    street.line(Line.MAINS_LOST, None, on=True)
    street.line(Line.POWER, None, on=False)
    for camera in "ab":
        street.ma[camera] = 0.0
        street.lose(camera)
    street.run(600)
    assert street.story == [{}]
    street.ohm["a"] = 9.4
    street.run(5)
    assert street.causes == {"a": Cause.CABLE_SHORT}


def test_a_board_that_fails_is_one_cause_for_the_box_and_hides_no_camera():
    street = Street(looped("a"), looped("b"))
    street.run(30)
    street.ohm["a"] = street.ohm["b"] = None
    street.run(10)
    assert street.causes == {"box:board": Cause.BOARD_FAULT}
    assert street.told[0].cameras == ("a", "b")
    street.ma["a"], street.video["a"] = 0.0, False
    street.run(10)
    assert street.causes == {"box:board": Cause.BOARD_FAULT, "a": Cause.CABLE_CUT}
    street.ohm["a"] = street.ohm["b"] = NORMAL
    street.run(HEAL_S + 5)
    assert street.causes == {"a": Cause.NO_CAMERA_POWER}


def test_a_lost_pair_shows_in_the_speed():
    street = Street(poe())
    street.nic(True, 1000)
    street.run(10)
    street.nic(True, 100)
    street.run(10)
    assert street.causes == {"gate": Cause.LOST_PAIR}
    assert street.told[0].seen[0].value == "1000 -> 100"
    street.nic(True, 1000)
    street.run(WEAR_HEAL_S - 5)
    assert street.causes == {"gate": Cause.LOST_PAIR}
    street.run(10)
    assert street.causes == {}


@pytest.mark.parametrize(
    ("crc", "downs", "cause"),
    [
        (CRC_ERRORS, 0, {"gate": Cause.LOOSE}),
        (CRC_ERRORS - 1, 0, {}),
        (0, LINK_DROPS, {"gate": Cause.LOOSE}),
        (0, LINK_DROPS - 1, {}),
    ],
)
def test_damaged_packets_and_drops_are_a_loose_plug(crc, downs, cause):
    street = Street(poe())
    street.nic(True, crc=1000, downs=7)
    street.run(10)
    street.nic(True, crc=1000 + crc, downs=7 + downs)
    street.run(10)
    assert street.causes == cause


def test_a_few_damaged_packets_a_day_are_nothing_and_a_counter_may_start_anew():
    street = Street(poe())
    for number in range(40):
        street.nic(True, crc=number)
        street.run(CRC_WINDOW_S / 10)
    assert street.story == [{}]
    street.nic(True, crc=0)
    street.nic(True, crc=CRC_ERRORS - 1)
    street.run(10)
    assert street.story == [{}]


def test_unknown_speeds_and_foreign_interfaces_are_no_news():
    street = Street(poe())
    street.nic(True, 1000)
    street.nic(True, -1)
    street.event(
        NicRead(
            interface="eth1", carrier=True, speed_mbit=1000, carrier_downs=None, crc_errors=None
        )
    )
    street.nic(True, None)
    street.event(
        NicRead(interface="wlan0", carrier=False, speed_mbit=None, carrier_downs=9, crc_errors=9)
    )
    street.event(CameraLost(camera="ghost", generation=1, cause=VideoCause.NO_ANSWER, detail=""))
    street.line(Line.CURRENT, "ghost", value=0.0)
    street.line(Line.DOOR, None, on=True)
    street.diagnoses.loop("ghost", CUT)
    street.run(100)
    assert street.story == [{}]


def test_a_line_that_cannot_be_read_says_nothing():
    street = Street(coax())
    street.run(10)
    street.ma["gate"] = 0.0
    street.run(1)
    street.ma["gate"] = None
    street.run(60)
    assert street.story == [{}]


@pytest.mark.parametrize(
    "cause", [VideoCause.UNAUTHORISED, VideoCause.NONSENSE, VideoCause.CRASHES]
)
def test_a_matter_of_settings_sends_nobody_up_a_ladder(cause):
    street = Street(coax())
    street.run(10)
    street.lose("gate", cause)
    street.run(600)
    assert street.story == [{}]


def test_while_private_nothing_is_made_of_pictures_that_nobody_takes():
    street = Street(looped())
    street.run(10)
    street.video["gate"] = False
    street.diagnoses.unwatched()
    street.run(600)
    assert street.story == [{}]
    street.ohm["gate"], street.ma["gate"] = math.inf, 0.0
    street.run(10)
    assert street.causes == {"gate": Cause.CABLE_CUT}


def test_after_privacy_cameras_get_a_minute_to_start_before_anything_but_a_loop_is_believed():
    street = Street(looped(), coax("river"))
    street.run(10)
    street.diagnoses.unwatched()
    street.ma["gate"] = street.ma["river"] = 0.0  # the switch's relay took their 12 V
    street.run(600)
    street.diagnoses.watched(at=street.at)
    street.run(RESTART_S - 1)
    assert street.story == [{}]
    street.ma["gate"] = 300.0
    street.run(FIRM_S + 3)
    assert street.causes == {"river": Cause.CABLE_CUT}


def test_repair_is_believed_after_half_a_minute_of_pictures():
    street = Street(looped())
    street.run(10)
    street.ohm["gate"], street.ma["gate"] = math.inf, 0.0
    street.lose("gate")
    street.run(60)
    street.ohm["gate"], street.ma["gate"] = NORMAL, 300.0
    street.run(RESTART_S)
    assert street.causes == {"gate": Cause.CABLE_CUT}, "no picture has come yet"
    street.run(10)
    assert street.causes == {"gate": Cause.CANNOT_TELL}, (
        "the cable is whole now, but it was not all"
    )
    assert "gate" not in street.diagnoses.well()
    street.back("gate")
    street.run(HEAL_S - 1)
    assert street.causes == {"gate": Cause.CANNOT_TELL}
    street.run(2)
    assert street.causes == {}
    assert "gate" in street.diagnoses.well()


def test_a_contact_that_chatters_is_told_once():
    street = Street(looped())
    street.run(10)
    for _ in range(30):
        street.ohm["gate"] = math.inf
        street.run(4)
        street.ohm["gate"] = NORMAL
        street.run(7)
    assert street.story == [{}, {"gate": Cause.PAIR_BROKEN}, {"gate": Cause.LOOSE}]
    street.ohm["gate"], street.ma["gate"], street.video["gate"] = math.inf, 0.0, False
    street.lose("gate")
    street.run(75)
    assert street.causes == {"gate": Cause.CABLE_CUT}


def test_a_deadline_is_when_something_would_be_told():
    street = Street(looped())
    street.run(10)
    assert (
        street.diagnoses.deadline(at=street.at) == math.inf
        or street.diagnoses.deadline(at=street.at) > street.at
    )
    street.ohm["gate"], street.ma["gate"] = math.inf, 0.0
    street.run(2)
    assert street.causes == {}
    due = street.diagnoses.deadline(at=street.at)
    assert street.at < due <= street.at + OPEN_S
    assert street.diagnoses.told(at=due)[0].cause is Cause.CABLE_CUT


def test_health_has_a_deadline_too():
    street = Street(looped())
    street.run(10)
    street.ohm["gate"], street.ma["gate"] = math.inf, 0.0
    street.lose("gate")
    street.run(10)
    street.ohm["gate"], street.ma["gate"] = NORMAL, 300.0
    street.back("gate")
    street.run(5)
    due = street.diagnoses.deadline(at=street.at)
    assert street.at < due <= street.at + HEAL_S
    assert street.diagnoses.told(at=due) == ()


def test_the_times_are_those_of_the_design_page():
    assert (FIRM_S, OPEN_S, RESTART_S, HEAL_S, WEAR_HEAL_S) == (2.0, 7.0, 60.0, 30.0, 600.0)
    assert (CRC_ERRORS, CRC_WINDOW_S, LINK_DROPS) == (20, 300.0, 4)


# ---- restart ----


def test_what_stood_before_a_restart_ends_only_when_it_is_seen_to_work():
    before = Street(looped())
    before.run(10)
    before.ohm["gate"], before.ma["gate"] = math.inf, 0.0
    before.run(10)
    after = Street(looped(), known=before.told)
    after.video["gate"] = False
    after.ohm["gate"] = None
    after.run(60)
    assert after.diagnoses.well() == frozenset()
    after.ohm["gate"], after.video["gate"] = NORMAL, True
    after.run(HEAL_S + 5)
    assert "gate" in after.diagnoses.well()


def test_a_board_that_is_blind_ends_no_order_that_the_loop_had_opened():
    before = Street(looped())
    before.run(10)
    before.ohm["gate"] = math.inf
    before.run(10)
    after = Street(looped(), known=before.told)
    after.ohm["gate"] = None
    after.run(600)
    assert "gate" not in after.diagnoses.well()


def test_rust_is_still_rust_after_a_restart():
    known = Diagnosis(
        subject="gate",
        cause=Cause.CORRODED,
        since=5.0,
        cameras=("gate",),
        seen=(Seen(Sign.LOOP_HIGH, 5.0, "123"),),
    )
    street = Street(looped(), known=(known,))
    street.ohm["gate"] = NORMAL + 5.0
    street.run(20)
    assert street.causes == {"gate": Cause.CORRODED}
    street.ohm["gate"] = NORMAL
    street.run(WEAR_HEAL_S - 10)
    assert "gate" not in street.diagnoses.well()
    street.run(20)
    assert "gate" in street.diagnoses.well()


def test_a_night_reading_is_waited_for_after_a_restart():
    known = Diagnosis(
        subject="gate",
        cause=Cause.CORRODED,
        since=5.0,
        cameras=("gate",),
        seen=(Seen(Sign.LOOP_NIGHTS, 5.0, "0.7"),),
    )
    street = Street(looped(), known=(known,))
    street.run(WEAR_HEAL_S * 2)
    assert "gate" not in street.diagnoses.well()


@pytest.mark.parametrize(
    ("value", "causes"), [("1000 -> 100", {"gate": Cause.LOST_PAIR}), ("x", {})]
)
def test_a_lost_pair_is_remembered_by_the_speed_it_had(value, causes):
    known = Diagnosis(
        subject="gate",
        cause=Cause.LOST_PAIR,
        since=5.0,
        cameras=("gate",),
        seen=(Seen(Sign.LINK_SLOW, 5.0, value),),
    )
    street = Street(poe(), known=(known,))
    street.nic(True, 100)
    street.run(10)
    assert street.causes == causes


def test_orders_of_things_that_are_gone_can_end():
    known = [
        Diagnosis(subject=subject, cause=cause, since=1.0, cameras=("gate",), seen=())
        for subject, cause in (
            ("recorder:10.0.0.1", Cause.RECORDER_DEAD),
            ("old", Cause.CABLE_CUT),
            ("box:board", Cause.BOARD_FAULT),
            ("box:conduit", Cause.CONDUIT_CUT),
        )
    ]
    street = Street(looped(), known=known)
    street.run(HEAL_S + 5)
    assert street.diagnoses.well() >= {"recorder:10.0.0.1", "old", "box:board", "box:conduit"}


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([NORMAL, math.inf, 9.4, 110.3, None]),
            st.sampled_from([300.0, 0.0, None]),
            st.booleans(),
            st.integers(1, 30),
        ),
        max_size=8,
    )
)
def test_whatever_happens_a_cause_lasts_and_ends_in_order(spells):
    street = Street(looped())
    for ohm, ma, fresh, seconds in spells:
        street.ohm["gate"], street.ma["gate"] = ohm, ma
        if fresh and not street.video["gate"]:
            street.back("gate")
        elif not fresh and street.video["gate"]:
            street.lose("gate")
        street.run(seconds)
    changes: dict[str, list[tuple[float, Cause | None]]] = {}
    for at, causes in street.history:
        for subject in ("gate", "box:board"):
            cause = dict(causes).get(subject)
            told = changes.setdefault(subject, [(0.0, None)])
            if told[-1][1] is not cause:
                told.append((at, cause))
    for told in changes.values():
        for (began, before), (ended, after) in pairwise(told):
            if before is not None:
                assert ended - began >= (HEAL_S if after is None else FIRM_S)
