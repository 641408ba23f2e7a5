"""The supervised pair: equations, commissioning, every state on both sides of its limits, and what each may do."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.cable import (
    CHATTER,
    CLOSED_FOR_S,
    NIGHT_EVERY_S,
    NIGHT_READINGS,
    NOISY_READINGS,
    OPEN_FOR_S,
    RETURN_READINGS,
    SILENT_S,
    Baseline,
    Change,
    Loop,
    LoopState,
    LoopView,
    Sample,
    Step,
    commission,
    counts_of_ohm,
    expected,
    metres_to_bring,
    ohm_of_counts,
    opened_together,
)
from edge_agent.core.messages import BaselineRead, FindingKey, LoopMeasured, LoopRead
from edge_agent.core.settings import DigitalLoop, LoopOpenPolicy, MeasuredLoop, Run

CAT5E = 0.1876  # ohm of loop per metre of run at 20 degrees C
OPEN = math.inf
RUN = Run(
    camera="gate",
    cable="cat5e-outdoor",
    length_m=50.0,
    place="pole 3",
    loop=MeasuredLoop(channel=0),
)
STRICT = replace(RUN, loop_open_policy=LoopOpenPolicy.SCENE_STRICT)
DIGITAL = replace(RUN, loop=DigitalLoop(pin=20))
# 2027-01-05 00:00 in Semarang
MIDNIGHT = 1_799_081_200.0 - (1_799_081_200.0 + 7 * 3600) % 86_400


def baseline(length_m: float = 50.0, *, copper: float | None = None) -> Baseline:
    return Baseline(
        camera="gate",
        cable="cat5e-outdoor",
        length_m=length_m,
        r_zero_ohm=9.4,
        r_plug_ohm=109.4,
        r_base_ohm=109.4 + (length_m * CAT5E if copper is None else copper),
        rref_ohm=150.0,
        bits=12,
        eol_ohm=100.0,
        tamper_ohm=100.0,
        wall_s=0.0,
        trusted=False,
        owner="technician",
    )


BASE = baseline()
NORMAL = BASE.r_base_ohm


class Bench:
    """A loop on its board: a reading each half second."""

    def __init__(
        self, run: Run = RUN, base: Baseline | None = BASE, *, normal: bool = True
    ) -> None:
        self.at = 0.0
        self.loop = Loop(run, at=0.0, baseline=base)
        if normal:
            self.read(*[NORMAL] * 10)

    def read(self, *ohms: float | None, spread: float = 0.02, wall_s: float | None = None):
        """One reading after the other; whether any broke continuity."""
        broke = False
        for ohm in ohms:
            self.at += 0.5
            event = LoopMeasured(
                camera="gate",
                ohm=ohm,
                spread_ohm=spread,
                counts=0.0,
                why="" if ohm is not None else "self-test failed",
            )
            broke |= self.loop.read(event, at=self.at, wall_s=wall_s)
        return broke

    def tell(self, closed: bool | None, *, after: float = 0.5) -> bool:
        self.at += after
        return self.loop.read(LoopRead(camera="gate", closed=closed), at=self.at)

    def wait(self, seconds: float) -> bool:
        self.at += seconds
        return self.loop.timed(at=self.at)

    @property
    def view(self) -> LoopView:
        return self.loop.view(at=self.at)

    def state(self) -> LoopState:
        return self.loop.state


# ---- equations ----

# The schematic's table: ohm at the terminals, and what 12 and 10 bit converters show.
COUNTS = [
    (9.4, 241, 60),
    (9.4 + 20 * CAT5E, 330, 83),
    (9.4 + 50 * CAT5E, 456, 114),
    (109.4, 1727, 432),
    (109.4 + 5 * CAT5E, 1736, 434),
    (109.4 + 40 * CAT5E, 1794, 449),
    (109.4 + 50 * CAT5E, 1810, 453),
    (109.4 + 50 * CAT5E * (1 + 0.00393 * 40), 1823, 456),
    (109.4 + 70 * CAT5E, 1842, 460),
    (128.8, 1892, 473),
    (218.8, 2430, 608),
    (1000.0, 3562, 890),
    (OPEN, 4095, 1023),
]


@pytest.mark.parametrize(("ohm", "twelve", "ten"), COUNTS)
def test_counts_are_those_of_the_schematic(ohm, twelve, ten):
    assert counts_of_ohm(ohm, rref_ohm=150.0, bits=12) == pytest.approx(twelve, abs=0.6)
    assert counts_of_ohm(ohm, rref_ohm=150.0, bits=10) == pytest.approx(ten, abs=0.6)


def test_full_scale_is_an_open_circuit_and_nothing_is_a_short():
    assert ohm_of_counts(4095, rref_ohm=150.0, bits=12) == math.inf
    assert ohm_of_counts(4094.9, rref_ohm=150.0, bits=12) > 1000
    assert ohm_of_counts(1023, rref_ohm=150.0, bits=10) == math.inf
    assert ohm_of_counts(0, rref_ohm=150.0, bits=12) == 0.0
    assert ohm_of_counts(-3, rref_ohm=150.0, bits=12) == 0.0


@given(st.floats(0.0, 5000.0), st.sampled_from([10, 12]), st.sampled_from([100.0, 150.0, 220.0]))
def test_counts_and_ohm_are_each_others_inverse(ohm, bits, rref):
    counts = counts_of_ohm(ohm, rref_ohm=rref, bits=bits)
    assert ohm_of_counts(counts, rref_ohm=rref, bits=bits) == pytest.approx(ohm, abs=1e-6)


@pytest.mark.parametrize(
    ("length_m", "bring"), [(50.0, 55), (1.0, 5), (45.0, 50), (100.0, 110), (46.0, 55)]
)
def test_metres_have_slack_and_come_in_fives(length_m: float, bring: int):
    assert metres_to_bring(length_m) == bring


@given(st.floats(0.5, 500.0))
def test_the_technician_never_comes_with_too_short_a_cable(length_m: float):
    bring = metres_to_bring(length_m)
    assert length_m <= bring < length_m * 1.1 + 5.01
    assert bring % 5 == 0


# ---- commissioning ----


def samples(
    zero: float | None = 9.4,
    plug: float | None = 109.4,
    base: float | None = NORMAL,
    noise: float = 0.05,
):
    return {
        Step.ZERO: Sample(ohm=zero, spread_ohm=noise),
        Step.PLUG: Sample(ohm=plug, spread_ohm=noise),
        Step.BASE: Sample(ohm=base, spread_ohm=noise),
    }


def commissioned(taken=None, *, length_m: float = 50.0, run: Run = RUN):
    return commission(
        run,
        samples() if taken is None else taken,
        length_m=length_m,
        bits=12,
        wall_s=0.0,
        trusted=False,
        owner="technician",
    )


def test_three_good_readings_and_a_length_are_a_baseline():
    assert commissioned() == BASE
    assert pytest.approx(CAT5E) == BASE.ohm_per_m
    assert pytest.approx(54.4) == BASE.short_ohm
    assert not BASE.clad


@pytest.mark.parametrize(
    ("per_m", "clad"),
    [(0.1876, False), (0.1876 * 1.157, False), (0.1876 * 1.4, True), (0.36, True)],
)
def test_copper_clad_aluminium_is_taken_and_named(per_m, clad):
    taken = commissioned(samples(base=109.4 + 50 * per_m))
    assert isinstance(taken, Baseline)
    assert taken.clad is clad


def test_each_step_shows_what_it_should_read_before_it_is_taken():
    assert isinstance(RUN.loop, MeasuredLoop)
    shown = expected(RUN.loop, cable="cat5e-outdoor", length_m=50.0, bits=12)
    assert [entry.step for entry in shown] == [Step.ZERO, Step.PLUG, Step.BASE]
    for entry, ohm in zip(shown, (9.4, 109.4, NORMAL), strict=True):
        assert entry.ohm[0] < ohm < entry.ohm[1]
        assert entry.counts[0] < counts_of_ohm(ohm, rref_ohm=150.0, bits=12) < entry.counts[1]
    assert shown[0].counts == (132, 372)


REFUSALS = [
    ({"zero": 109.4, "plug": 9.4}, "impossible order"),
    ({"zero": 100.0, "plug": 109.4}, "impossible order"),
    ({"plug": NORMAL, "base": 109.4}, "impossible order"),
    ({"base": 18.0}, "reads as a short"),
    ({"zero": 4.9, "plug": 104.9, "base": 114.3}, "fusible resistors are bridged"),
    ({"zero": 15.1, "plug": 115.1, "base": 124.5}, "fusible resistor, the jumper or a terminal"),
    ({"plug": 98.0, "base": 107.4}, "eol_ohm = 100"),
    ({"plug": 120.0, "base": 129.4}, "eol_ohm = 100"),
    ({"plug": 209.4, "base": 218.8}, "housing switch is open"),
    ({"base": 218.8}, "its housing is open"),
    ({"base": 109.4 + 7.0}, "shorter than typed"),
    ({"base": 109.4 + 25.0}, "longer than typed"),
    ({"zero": None}, "no reading for the jumper"),
    ({"plug": OPEN}, "plug at the terminals reads as an open circuit"),
    ({"base": 1001.0}, "plug at the camera reads as an open circuit"),
    ({"base": math.nan}, "no reading for the plug at the camera"),
    ({"noise": 0.51}, "too noisy"),
    ({"noise": math.nan}, "too noisy"),
]


@pytest.mark.parametrize(("change", "word"), REFUSALS)
def test_nonsense_is_refused_with_the_reason(change, word):
    refused = commissioned(samples(**change))
    assert isinstance(refused, tuple)
    assert word in " ".join(refused)


ACCEPTED = [
    {"zero": 5.1, "plug": 105.1, "base": 114.5},
    {"zero": 14.9, "plug": 114.9, "base": 124.3},
    {"plug": 9.4 + 90.1, "base": 9.4 + 90.1 + 9.4},
    {"plug": 9.4 + 109.9, "base": 9.4 + 109.9 + 9.4},
    {"base": 109.4 + 8.0},
    {"base": 109.4 + 24.0},
    {"noise": 0.5},
]


@pytest.mark.parametrize("change", ACCEPTED)
def test_what_a_cold_day_or_another_make_brings_is_accepted(change):
    assert isinstance(commissioned(samples(**change)), Baseline)


@pytest.mark.parametrize(
    ("length_m", "word"),
    [
        (0.0, "impossible"),
        (-3.0, "impossible"),
        (500.1, "impossible"),
        (math.nan, "impossible"),
        (44.9, "one of them is wrong"),
        (55.1, "one of them is wrong"),
    ],
)
def test_a_length_that_cannot_be_is_refused(length_m, word):
    refused = commissioned(length_m=length_m)
    assert isinstance(refused, tuple)
    assert word in refused[0]
    assert isinstance(commissioned(length_m=45.1), Baseline)


def test_all_that_is_wrong_is_said_at_once():
    refused = commissioned(samples(zero=None, plug=OPEN, base=None), length_m=-1.0)
    assert isinstance(refused, tuple)
    assert len(refused) == 4


@pytest.mark.parametrize("run", [DIGITAL, replace(RUN, loop=None), replace(RUN, cable="cat5e-poe")])
def test_a_run_without_a_measured_loop_has_nothing_to_commission(run):
    refused = commissioned(run=run)
    assert isinstance(refused, tuple)
    assert "nothing to commission" in refused[0]


@given(
    st.floats(-1e6, 1e6) | st.none() | st.just(math.inf) | st.just(math.nan),
    st.floats(-1e6, 1e6) | st.none(),
    st.floats(-1e6, 1e6) | st.none(),
    st.floats(0.0, 1e3),
    st.floats(allow_nan=True),
)
def test_whatever_is_read_a_baseline_exists_whole_or_not_at_all(zero, plug, base, noise, length_m):
    taken = commissioned(samples(zero, plug, base, noise), length_m=length_m)
    if isinstance(taken, Baseline):
        assert 0 < taken.r_zero_ohm < taken.short_ohm < taken.r_plug_ohm < taken.r_base_ohm < 1000
        assert taken.short_ohm < taken.low_ohm < taken.high_ohm
        assert 0.1 < taken.ohm_per_m < 0.6
    else:
        assert taken
        assert all(taken)


# ---- states ----

# (ohm, state): both sides of each limit, as a loop sees them that was not normal before (plain bands).
LIMITS = [
    (1000.1, LoopState.OPEN),
    (1000.0, LoopState.HIGH_R),
    (54.3, LoopState.SHORT),
    (54.5, LoopState.SHORTER),
    (NORMAL - 1.51, LoopState.SHORTER),
    (NORMAL - 1.49, LoopState.NORMAL),
    (NORMAL + 2.81, LoopState.NORMAL),
    (NORMAL + 2.82, LoopState.HIGH_R),
    (NORMAL + 69.9, LoopState.HIGH_R),
    (NORMAL + 70.1, LoopState.TAMPER),
    (NORMAL + 129.9, LoopState.TAMPER),
    (NORMAL + 130.1, LoopState.HIGH_R),
]


@pytest.mark.parametrize(("ohm", "state"), LIMITS)
def test_each_limit_holds_on_both_sides(ohm, state):
    bench = Bench(normal=False)
    bench.read(*[ohm] * 3)
    assert bench.state() is state


@pytest.mark.parametrize(
    ("length_m", "low", "high"), [(50.0, 1.5, 2.814), (5.0, 1.5, 2.5), (100.0, 2.814, 5.628)]
)
def test_the_bands_grow_with_the_copper(length_m, low, high):
    base = baseline(length_m)
    assert base.r_base_ohm - base.low_ohm == pytest.approx(low)
    assert base.high_ohm - base.r_base_ohm == pytest.approx(high)


@pytest.mark.parametrize(
    ("ohm", "state"),
    [
        (NORMAL - 1.99, LoopState.NORMAL),
        (NORMAL - 2.01, LoopState.SHORTER),
        (NORMAL + 3.31, LoopState.NORMAL),
        (NORMAL + 3.32, LoopState.HIGH_R),
    ],
)
def test_a_normal_loop_is_left_half_an_ohm_later(ohm, state):
    bench = Bench()
    bench.read(*[ohm] * 3)
    assert bench.state() is state


# The failure analysis of the loop board: what it reads, and the state.
FAULTS = [
    (OPEN, LoopState.OPEN),
    (9.4, LoopState.SHORT),
    (9.4 + 20 * CAT5E, LoopState.SHORT),
    (9.4 + 50 * CAT5E, LoopState.SHORT),
    (0.0, LoopState.SHORT),
    (109.4 + 5 * CAT5E, LoopState.SHORTER),
    (109.4, LoopState.SHORTER),
    (218.8, LoopState.TAMPER),
    (None, LoopState.SENSOR_FAULT),
    (math.nan, LoopState.SENSOR_FAULT),
    (NORMAL - 1.2, LoopState.NORMAL),  # damp: 10 kohm across the pair
    (109.4 + 70 * CAT5E, LoopState.HIGH_R),
    (128.8, LoopState.HIGH_R),
]


@pytest.mark.parametrize(("ohm", "state"), FAULTS)
def test_every_fault_of_the_board_and_the_cable_has_its_state(ohm, state):
    bench = Bench()
    broke = bench.read(ohm)
    assert broke is (state is not LoopState.NORMAL)
    bench.read(ohm, ohm)
    assert bench.state() is state


def damp(across_ohm: float) -> float:
    """The pair with water across its far end."""
    inside = NORMAL - 9.4
    return 9.4 + 1 / (1 / inside + 1 / across_ohm)


@pytest.mark.parametrize(
    ("across", "state"), [(10_000, LoopState.NORMAL), (5_000, LoopState.SHORTER)]
)
def test_a_damp_pair_is_normal_until_it_leaks_badly(across, state):
    bench = Bench()
    bench.read(*[damp(across)] * 3)
    assert bench.state() is state


def test_until_commissioned_nothing_is_known():
    bench = Bench(base=None, normal=False)
    bench.read(*[NORMAL] * 9)
    assert (bench.state(), bench.view.finding) == (
        LoopState.UNKNOWN,
        FindingKey.CABLE_NOT_COMMISSIONED,
    )
    assert bench.loop.strict
    assert not bench.loop.forbids(video_unbroken=False)


def test_two_readings_after_the_start_are_not_enough():
    bench = Bench(normal=False)
    bench.read(NORMAL, NORMAL)
    assert bench.state() is LoopState.UNKNOWN
    assert bench.loop.strict is True
    bench.read(NORMAL)
    assert (bench.state(), bench.loop.strict) == (LoopState.NORMAL, False)
    assert bench.loop.epoch == 0


def test_three_of_five_open_readings_are_a_cut_and_two_are_a_bounce():
    bench = Bench()
    bench.read(OPEN, OPEN, NORMAL, NORMAL, NORMAL)
    assert bench.state() is LoopState.NORMAL
    first = bench.at + 0.5
    bench.read(OPEN, NORMAL, OPEN, NORMAL, OPEN)
    assert (bench.state(), bench.view.since) == (LoopState.OPEN, first)


def test_readings_too_far_apart_do_not_add_up():
    bench = Bench()
    bench.read(*[OPEN, NORMAL, NORMAL, NORMAL, NORMAL] * 5)
    assert bench.state() is LoopState.NORMAL


def test_one_fault_turns_into_another_only_if_it_lasts():
    bench = Bench()
    bench.read(OPEN, OPEN, OPEN)
    bench.read(9.4, 9.4, OPEN, 9.4, 9.4)
    assert bench.state() is LoopState.OPEN
    bench.read(9.4)
    assert (bench.state(), bench.view.was) == (LoopState.SHORT, LoopState.OPEN)


def test_a_way_back_takes_three_seconds_without_a_doubt():
    bench = Bench()
    bench.read(OPEN, OPEN, OPEN)
    bench.read(*[NORMAL] * (RETURN_READINGS - 1))
    assert bench.state() is LoopState.OPEN
    bench.read(OPEN)
    bench.read(*[NORMAL] * (RETURN_READINGS - 1))
    assert bench.loop.forbids(video_unbroken=True)
    back = bench.at - 0.5 * (RETURN_READINGS - 2)
    bench.read(NORMAL)
    assert (bench.state(), bench.view.since, bench.view.was) == (LoopState.NORMAL, back, None)
    assert not bench.loop.forbids(video_unbroken=False)


def test_the_times_are_those_of_the_design_page():
    assert (RETURN_READINGS, OPEN_FOR_S, CLOSED_FOR_S, SILENT_S) == (6, 1.5, 3.0, 10.0)
    assert (CHATTER, NOISY_READINGS, NIGHT_READINGS, NIGHT_EVERY_S) == (4, 20, 60, 10.0)


# ---- continuity ----


def test_the_first_reading_that_is_not_normal_breaks_continuity():
    bench = Bench()
    assert bench.read(OPEN)
    assert bench.state() is LoopState.NORMAL
    assert bench.loop.epoch == 1
    assert bench.loop.doubt_since == bench.at
    assert not bench.read(OPEN)
    assert bench.read(NORMAL)
    assert bench.loop.epoch == 2


def test_a_blind_spell_breaks_continuity_at_both_ends():
    bench = Bench()
    assert bench.read(None)
    assert not bench.read(None, None)
    assert (bench.state(), bench.view.finding, bench.view.why) == (
        LoopState.SENSOR_FAULT,
        FindingKey.CABLE_UNREADABLE,
        "self-test failed",
    )
    assert bench.read(NORMAL)
    assert not bench.loop.forbids(video_unbroken=False)


@given(
    st.lists(
        st.sampled_from([NORMAL, NORMAL, NORMAL, OPEN, 9.4, 110.3, 122.6, 218.8, None]), max_size=60
    )
)
def test_every_departure_is_told_at_once_and_no_trust_comes_back_by_itself(ohms):
    bench = Bench()
    before, doubt, calm, epoch = NORMAL, False, 0, 0
    for ohm in ohms:
        broke = bench.read(ohm)
        assert broke or ohm == before
        assert bench.loop.epoch == epoch + broke
        epoch = bench.loop.epoch
        calm = calm + 1 if ohm == NORMAL else 0
        if ohm not in (NORMAL, None):
            doubt = True
        if calm >= RETURN_READINGS:
            doubt = False
        assert (bench.loop.doubt_since is not None) is doubt
        assert bench.loop.forbids(video_unbroken=False) is doubt
        if bench.state() is not LoopState.NORMAL:
            assert bench.loop.strict
        before = ohm


def test_a_board_that_falls_silent_is_a_board_that_failed():
    bench = Bench()
    due = bench.at + SILENT_S
    assert bench.loop.deadline(at=bench.at) == due
    assert not bench.wait(SILENT_S - 0.01)
    assert bench.wait(0.01)
    assert (bench.state(), bench.view.why) == (LoopState.SENSOR_FAULT, "no reading for 10 s")
    assert bench.loop.deadline(at=bench.at) is None
    assert not bench.wait(60.0)
    assert bench.read(NORMAL)


def test_a_reading_after_a_silence_tells_of_the_silence():
    bench = Bench()
    bench.at += 60.0
    epoch = bench.loop.epoch
    assert bench.read(NORMAL)
    assert bench.loop.epoch == epoch + 2


def test_before_the_first_reading_there_is_nothing_to_wait_for():
    loop = Loop(RUN, at=0.0)
    assert loop.deadline(at=5.0) is None
    assert not loop.timed(at=500.0)


# ---- what is held ----

# (readings, policy, video unbroken, held)
HELD = [
    ([NORMAL], LoopOpenPolicy.QUARANTINE, False, False),
    ([OPEN], LoopOpenPolicy.QUARANTINE, True, True),
    ([OPEN], LoopOpenPolicy.QUARANTINE, False, True),
    ([OPEN], LoopOpenPolicy.SCENE_STRICT, True, False),
    ([OPEN], LoopOpenPolicy.SCENE_STRICT, False, True),
    ([9.4], LoopOpenPolicy.QUARANTINE, True, True),
    ([9.4], LoopOpenPolicy.SCENE_STRICT, True, False),
    ([9.4], LoopOpenPolicy.SCENE_STRICT, False, True),
    ([110.3], LoopOpenPolicy.QUARANTINE, True, True),
    ([110.3], LoopOpenPolicy.SCENE_STRICT, True, True),
    ([218.8], LoopOpenPolicy.SCENE_STRICT, True, True),
    ([OPEN, 218.8], LoopOpenPolicy.SCENE_STRICT, True, True),
    ([OPEN, 110.3], LoopOpenPolicy.SCENE_STRICT, True, True),
    ([OPEN, 122.6], LoopOpenPolicy.SCENE_STRICT, True, False),
    ([OPEN, 122.6], LoopOpenPolicy.SCENE_STRICT, False, True),
    ([122.6], LoopOpenPolicy.QUARANTINE, True, True),
    ([122.6], LoopOpenPolicy.SCENE_STRICT, True, False),
    ([122.6], LoopOpenPolicy.SCENE_STRICT, False, True),  # a jump is no drift
    ([None], LoopOpenPolicy.QUARANTINE, False, False),
    ([OPEN, None], LoopOpenPolicy.QUARANTINE, False, True),  # a board that fails mends no cable
    ([OPEN, None], LoopOpenPolicy.SCENE_STRICT, False, True),
]


@pytest.mark.parametrize(("ohms", "policy", "unbroken", "held"), HELD)
def test_video_is_held_as_the_table_says(ohms, policy, unbroken, held):
    bench = Bench(replace(RUN, loop_open_policy=policy))
    for ohm in ohms:
        bench.read(ohm)  # from the first reading on
        bench.read(ohm, ohm, ohm)
    assert bench.loop.forbids(video_unbroken=unbroken) is held
    assert bench.loop.strict is (ohms != [NORMAL])


def test_slow_corrosion_is_no_reason_to_hold_where_the_policy_trusts_the_scene():
    for run, held in ((STRICT, False), (RUN, True)):
        bench = Bench(run)
        bench.read(*creep(0.0, 4.0))
        assert (bench.state(), bench.view.change) == (LoopState.HIGH_R, Change.DRIFT)
        assert bench.loop.forbids(video_unbroken=False) is held
        bench.read(OPEN, NORMAL + 4.0)
        assert bench.loop.forbids(video_unbroken=False)


def test_commissioning_anew_is_a_persons_word():
    bench = Bench()
    bench.read(*[109.4 + 5 * CAT5E] * 3)
    moved = BaselineRead(camera="gate", baseline=baseline(5.0))
    assert bench.loop.commissioned(moved, at=bench.at)
    assert bench.state() is LoopState.UNKNOWN
    assert not bench.loop.forbids(video_unbroken=True)
    assert not bench.loop.commissioned(moved, at=bench.at)
    bench.read(*[109.4 + 5 * CAT5E] * 3)
    assert bench.state() is LoopState.NORMAL


def test_a_baseline_that_is_lost_and_found_mends_no_cable():
    bench = Bench()
    bench.read(OPEN, OPEN, OPEN)
    epoch = bench.loop.epoch
    assert bench.loop.commissioned(
        BaselineRead(camera="gate", baseline=None, why="file damaged"), at=bench.at
    )
    assert bench.loop.epoch == epoch + 1
    assert (bench.view.finding, bench.view.why) == (
        FindingKey.CABLE_NOT_COMMISSIONED,
        "file damaged",
    )
    assert bench.loop.forbids(video_unbroken=False)
    assert bench.loop.commissioned(BaselineRead(camera="gate", baseline=BASE), at=bench.at)
    assert bench.loop.forbids(video_unbroken=False)


# ---- step, jump, drift ----


def creep(start: float, end: float, *, by: float = 0.02) -> list[float]:
    steps = int(abs(end - start) / by)
    return [NORMAL + start + (end - start) * n / steps for n in range(1, steps + 1)]


def test_a_longer_cable_after_a_cut_is_told_from_a_joint_that_corrodes():
    swapped = Bench()
    swapped.read(OPEN, OPEN, OPEN, *[109.4 + 70 * CAT5E] * 3)
    assert swapped.view.change is Change.STEP
    assert swapped.view.finding is FindingKey.CABLE_OTHER_LENGTH
    assert swapped.view.length_m == pytest.approx(70.0, abs=0.5)
    rusty = Bench()
    rusty.read(*creep(0.0, 10.0))
    assert (rusty.state(), rusty.view.change) == (LoopState.HIGH_R, Change.DRIFT)
    assert rusty.view.finding is FindingKey.CABLE_CORRODED
    assert rusty.view.length_m is None


@pytest.mark.parametrize(("before", "change"), [(1.9, Change.DRIFT), (1.7, Change.JUMP)])
def test_a_jump_between_two_readings_is_neither(before, change):
    # From here to just over the widened band, 3.32 above: a rise of 1.42 or 1.62 ohm.
    bench = Bench()
    bench.read(*[NORMAL + before] * 10, *[NORMAL + 3.32] * 3)
    assert (bench.state(), bench.view.change) == (LoopState.HIGH_R, change)


def test_what_nobody_saw_happen_is_said_to_be_unseen():
    started = Bench(normal=False)
    started.read(*[122.6] * 3)
    assert started.view.change is Change.UNSEEN
    blind = Bench()
    blind.read(None, None, None, *[122.6] * 3)
    assert blind.view.change is Change.UNSEEN
    assert blind.view.finding is FindingKey.CABLE_OTHER_LENGTH


def test_a_glitch_of_the_board_does_not_make_rust_another_cable():
    bench = Bench()
    bench.read(*creep(0.0, 6.0), None, *[NORMAL + 6.0] * 3)
    assert (bench.view.change,) == (Change.DRIFT,)
    bench.read(None, *[NORMAL + 12.0] * 3)
    assert bench.view.change is Change.UNSEEN


def test_rust_that_breaks_and_comes_back_may_be_another_cable():
    bench = Bench()
    bench.read(*creep(0.0, 6.0), OPEN, OPEN, *[NORMAL + 6.0] * 6)
    assert bench.view.change is Change.STEP


def test_water_creeps_down():
    bench = Bench()
    bench.read(*creep(0.0, -4.0))
    assert (bench.state(), bench.view.change) == (LoopState.SHORTER, Change.DRIFT)
    assert (bench.view.finding, bench.view.length_m) == (FindingKey.CABLE_CORRODED, None)


# ---- where and how long ----


@given(st.floats(0.0, 50.0), st.floats(0.0, 0.3))
def test_a_short_lies_at_most_as_far_as_is_said(at_m, contact_ohm):
    bench = Bench()
    bench.read(*[9.4 + at_m * CAT5E + contact_ohm] * 3)
    said = bench.view.short_at_m
    assert said is not None
    assert at_m - 1e-6 <= said <= min(50.0, at_m + 1.7)
    assert bench.loop.evidence()["short_at_m"] == round(said, 1)


def test_a_run_that_got_shorter_says_how_long_it_is_and_how_surely():
    bench = Bench()
    bench.read(*[109.4 + 5 * CAT5E] * 3)
    assert bench.view.length_m == pytest.approx(5.0)
    assert bench.view.length_off_m == pytest.approx(1.5, abs=0.1)
    assert bench.loop.evidence()["length_now_m"] == 5.0
    assert BASE.length_at(NORMAL)[1] == pytest.approx(3.8, abs=0.1)
    assert BASE.length_at(100.0)[0] == 0.0


def test_the_evidence_is_what_a_finding_needs():
    evidence = Bench().loop.evidence()
    assert evidence == {
        "loop": "normal",
        "length_m": 50.0,
        "bring_m": 55,
        "cable": "cat5e-outdoor",
        "place": "pole 3",
    }


# ---- noise ----


def wave(amplitude: float, count: int) -> list[float]:
    return [NORMAL + amplitude * (-1) ** n for n in range(count)]


@pytest.mark.parametrize(("amplitude", "noisy"), [(0.79, False), (0.82, True)])
def test_a_contact_is_loose_above_eight_tenths_of_an_ohm(amplitude, noisy):
    bench = Bench(normal=False)
    bench.read(*wave(amplitude, 120))
    assert bench.view.noisy is noisy
    assert (bench.view.finding is FindingKey.CABLE_LOOSE) is noisy
    assert bench.state() is LoopState.NORMAL


def test_noise_within_a_reading_counts_too():
    bench = Bench(normal=False)
    bench.read(*[NORMAL] * NOISY_READINGS, spread=0.79)
    assert not bench.view.noisy
    bench.read(*[NORMAL] * 120, spread=0.82)
    assert bench.view.noisy


def test_a_loose_contact_must_be_quiet_before_it_is_well():
    bench = Bench(normal=False)
    bench.read(*wave(1.0, 120))
    bench.read(*wave(0.7, 125))
    assert bench.view.noisy
    bench.read(*wave(0.55, 125))
    assert not bench.view.noisy


def test_noise_is_that_of_the_last_minute():
    bench = Bench(normal=False)
    bench.read(*wave(1.0, 122), *[NORMAL] * 72)
    assert (bench.view.noisy,) == (True,)
    bench.read(*[NORMAL] * 8)
    assert not bench.view.noisy


def test_few_readings_say_nothing_of_noise():
    bench = Bench(normal=False)
    bench.read(*wave(1.2, NOISY_READINGS - 1))
    assert not bench.view.noisy
    bench.read(NORMAL)
    assert bench.view.noisy


def test_a_cut_and_its_repair_are_no_noise():
    bench = Bench()
    bench.read(OPEN, OPEN, OPEN, *[109.4 + 48 * CAT5E] * 30)
    assert not bench.view.noisy


def test_a_contact_that_opens_again_and_again_is_loose():
    bench = Bench()
    noisy = []
    for _ in range(CHATTER):
        bench.read(OPEN, *[NORMAL] * 6)
        noisy.append(bench.view.noisy)
    assert noisy == [False] * (CHATTER - 1) + [True]
    bench.read(*[NORMAL] * 120)
    assert not bench.view.noisy


# ---- nights ----


class Nights(Bench):
    """A board that reads each 9 s, to walk through nights quickly."""

    def hours(self, start: float, hours: float, rise: float, *, trusted: bool = True) -> None:
        for second in range(0, int(hours * 3600), 9):
            self.at += 8.5
            wall_s = start + second if trusted else None
            self.read(NORMAL + rise, wall_s=wall_s)


@pytest.mark.parametrize(("rise", "told"), [(0.55, 0.55), (0.65, 0.65), (-0.5, -0.5)])
def test_the_median_of_the_small_hours_is_compared_with_the_first_night(rise, told):
    bench = Nights()
    bench.hours(MIDNIGHT, 6.0, 0.0)
    assert bench.loop.night_ohm == pytest.approx(NORMAL)
    assert bench.view.night_rise_ohm == pytest.approx(0.0)
    bench.hours(MIDNIGHT + 86_400, 6.0, rise)
    assert bench.view.night_rise_ohm == pytest.approx(told)


def test_the_first_night_survives_a_restart():
    bench = Nights()
    bench.loop = Loop(RUN, at=bench.at, baseline=BASE, night_ohm=NORMAL)
    bench.hours(MIDNIGHT, 6.0, 1.0)
    assert bench.view.night_rise_ohm == pytest.approx(1.0)


def test_a_night_is_from_three_to_five_and_needs_a_trusted_clock():
    for start, trusted in (
        (MIDNIGHT, False),
        (MIDNIGHT + 5 * 3600, True),
        (MIDNIGHT - 2 * 3600, True),
    ):
        bench = Nights()
        bench.hours(start, 4.9, 0.0, trusted=trusted)
        assert bench.loop.night_ohm is None
    assert NIGHT_READINGS * 10 <= 3600


@pytest.mark.parametrize(("start_h", "hours"), [(3.0, 0.8), (4.2, 2.0)])
def test_each_half_of_the_night_is_night(start_h, hours):
    bench = Nights()
    bench.hours(MIDNIGHT + start_h * 3600, hours, 0.0)
    bench.hours(MIDNIGHT + 6 * 3600, 0.1, 0.0)
    assert bench.loop.night_ohm == pytest.approx(NORMAL)


def test_a_few_minutes_are_no_night():
    bench = Nights()
    bench.hours(MIDNIGHT + 5 * 3600 - 540, 1.0, 0.0)
    assert bench.loop.night_ohm is None


def test_commissioning_forgets_the_nights():
    bench = Nights()
    bench.hours(MIDNIGHT, 6.0, 0.0)
    bench.loop.commissioned(BaselineRead(camera="gate", baseline=baseline(40.0)), at=bench.at)
    assert bench.loop.night_ohm is None
    assert bench.view.night_rise_ohm is None


# ---- a loop that only says closed or open ----


def digital() -> Bench:
    bench = Bench(DIGITAL, None, normal=False)
    assert bench.tell(True) is False
    assert bench.state() is LoopState.NORMAL
    return bench


def test_a_digital_loop_is_open_when_it_lasts():
    bench = digital()
    assert bench.tell(False) is True
    opened = bench.at
    assert bench.loop.forbids(video_unbroken=True)
    assert bench.loop.deadline(at=bench.at) == opened + OPEN_FOR_S
    bench.wait(OPEN_FOR_S - 0.01)
    assert bench.state() is LoopState.NORMAL
    bench.wait(0.01)
    assert (bench.view.state, bench.view.since, bench.view.finding) == (
        LoopState.OPEN,
        opened,
        FindingKey.CABLE_OPEN,
    )
    assert bench.loop.deadline(at=bench.at) is None
    assert bench.tell(True) is True
    bench.wait(CLOSED_FOR_S - 0.01)
    assert bench.loop.forbids(video_unbroken=True)
    bench.wait(0.01)
    assert bench.state() is LoopState.NORMAL
    assert not bench.loop.forbids(video_unbroken=False)


def test_a_bounce_of_a_digital_loop_is_no_cut_but_holds_for_three_seconds():
    bench = digital()
    bench.tell(False)
    bench.tell(True)
    assert bench.loop.forbids(video_unbroken=True)
    assert bench.loop.deadline(at=bench.at) == bench.at + CLOSED_FOR_S
    bench.wait(CLOSED_FOR_S)
    assert bench.state() is LoopState.NORMAL
    assert not bench.loop.forbids(video_unbroken=True)


def test_a_pin_that_fails_while_the_pair_is_open_mends_no_cable():
    bench = digital()
    bench.tell(False)
    bench.wait(5.0)
    assert bench.tell(None) is True
    bench.wait(60.0)
    assert bench.state() is LoopState.SENSOR_FAULT
    assert bench.loop.forbids(video_unbroken=False)


def test_a_digital_loop_that_is_open_at_the_start_waits_to_be_sure():
    bench = Bench(DIGITAL, None, normal=False)
    assert bench.tell(False) is True
    assert bench.state() is LoopState.UNKNOWN
    bench.wait(OPEN_FOR_S)
    assert bench.state() is LoopState.OPEN


# ---- several loops ----


def at_once(**loops: tuple[LoopState, float]) -> tuple[str, ...]:
    views = {
        camera: LoopView(state=state, since=since, finding=None)
        for camera, (state, since) in loops.items()
    }
    return tuple(opened_together(views))


def test_all_loops_open_at_once_have_one_cause():
    cut = LoopState.OPEN
    assert at_once(a=(cut, 100.0), b=(cut, 105.0)) == ("a", "b")
    assert at_once(a=(cut, 100.0), b=(cut, 105.1)) == ()
    assert at_once(a=(cut, 100.0)) == ()
    assert at_once() == ()
    assert at_once(a=(cut, 100.0), b=(cut, 100.0), c=(LoopState.NORMAL, 0.0)) == ()
    assert at_once(a=(cut, 100.0), b=(cut, 100.0), c=(LoopState.SHORT, 100.0)) == ()
    assert at_once(a=(cut, 100.0), b=(cut, 101.0), old=(cut, 5.0)) == ("a", "b")
    assert at_once(a=(cut, 100.0), b=(cut, 101.0), c=(LoopState.UNKNOWN, 0.0)) == ("a", "b")
    assert at_once(a=(cut, 100.0), b=(cut, 101.0), c=(LoopState.SENSOR_FAULT, 0.0)) == ("a", "b")


# ---- sun and cloud ----


class Dice:
    """Weather that is the same each time."""

    def __init__(self, seed: float) -> None:
        self._state = int(seed) * 2_654_435_761 + 12_345

    def random(self) -> float:
        self._state = (self._state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        return (self._state >> 11) / 2**53

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def gauss(self, mean: float, deviation: float) -> float:
        return mean + deviation * (sum(self.random() for _ in range(12)) - 6.0)


def weather(dice: Dice, days: int, *, every_s: float = 30.0):
    """Conductor temperature of a black sheath outdoors, for a few days."""
    sun = dice.uniform(0.5, 1.0)
    cloud = 1.0
    conductor = 26.0
    for second in range(0, int(days * 86_400), int(every_s)):
        hour = second / 3600 % 24
        height = max(0.0, math.sin(math.pi * (hour - 6) / 12))
        air = 23 + 13 * max(0.0, math.sin(math.pi * (hour - 7) / 14))
        cloud += dice.uniform(-0.1, 0.1)
        cloud = min(1.0, max(0.0, cloud))
        target = air + 26 * height * sun * cloud
        conductor += (target - conductor) * min(1.0, every_s / 600)
        yield conductor


def reads(dice: Dice, copper20: float, celsius: float) -> float:
    """What 12 bit show of a run at this temperature."""
    ohm = 109.4 + copper20 * (1 + 0.00393 * (celsius - 20)) + dice.gauss(0.0, 0.05)
    counts = round(counts_of_ohm(ohm, rref_ohm=150.0, bits=12))
    return ohm_of_counts(counts, rref_ohm=150.0, bits=12)


@pytest.mark.parametrize("length_m", [20.0, 50.0, 100.0])
def test_sun_and_cloud_are_never_taken_for_a_fault(length_m):
    dice = Dice(length_m)
    for _ in range(4):
        copper20 = length_m * CAT5E
        commissioned_at = 26 + 22 * dice.random()
        base = baseline(length_m, copper=copper20 * (1 + 0.00393 * (commissioned_at - 20)))
        bench = Bench(replace(RUN, length_m=length_m), base, normal=False)
        for celsius in weather(dice, 2, every_s=30.0):
            bench.at += 8.5
            assert not bench.read(reads(dice, copper20, celsius))
            assert not bench.view.noisy
        assert bench.state() is LoopState.NORMAL


@settings(max_examples=60)
@given(st.floats(0.0, 35.0), st.floats(26.0, 48.0), st.floats(23.0, 60.0), st.integers(0, 9))
def test_a_camera_taken_from_fifty_metres_to_a_home_is_always_seen(to_m, then, now, seed):
    dice = Dice(seed)
    base = baseline(copper=50 * CAT5E * (1 + 0.00393 * (then - 20)))
    bench = Bench(base=base, normal=False)
    bench.read(*[base.r_base_ohm] * 5, OPEN, OPEN, OPEN)
    home = min(now, 40.0)  # a cable within a house lies in the shade
    bench.read(*[reads(dice, to_m * CAT5E, home) for _ in range(8)])
    assert bench.state() is LoopState.SHORTER
    assert bench.loop.forbids(video_unbroken=False)
    assert bench.view.length_m == pytest.approx(to_m, abs=5.0)
