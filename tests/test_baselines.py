"""Baselines on disk: whole or absent, and believed only for the run that box.toml describes now."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent import baselines
from edge_agent.baselines import BaselineFault, BaselineWatch, load, read, save, stamp
from edge_agent.clock import SystemClock
from edge_agent.core.cable import Baseline
from edge_agent.core.messages import BaselineRead, Died, Event
from edge_agent.core.settings import DigitalLoop, Electrics, MeasuredLoop, Run
from edge_agent.inbox import Inbox
from tests.support import build

LOOP = MeasuredLoop(channel=0)
RUN = Run(camera="gate", cable="cat5e-outdoor", length_m=50.0, loop=LOOP)
BASELINE = replace(build.BASELINE, owner="Pak Harjo, kabel Ω")
BOARD = Electrics()


def test_what_was_saved_comes_back(tmp_path):
    path = save(tmp_path / "runs", BASELINE)
    assert load(tmp_path / "runs", RUN, BOARD) == BASELINE
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == ["gate.run"]


def test_a_plug_without_a_switch_comes_back_without_one(tmp_path):
    bare = replace(BASELINE, tamper_ohm=None)
    save(tmp_path, bare)
    run = replace(RUN, loop=replace(LOOP, tamper_ohm=None))
    assert load(tmp_path, run, BOARD) == bare


def test_no_file_is_never_commissioned(tmp_path):
    assert load(tmp_path, RUN, BOARD) is None
    assert read(tmp_path, RUN, BOARD) == BaselineRead(
        camera="gate", baseline=None, why="never commissioned"
    )


def test_a_newer_one_replaces_the_older_and_its_stamp(tmp_path):
    save(tmp_path, BASELINE)
    before = stamp(tmp_path, "gate")
    save(tmp_path, replace(BASELINE, r_base_ohm=119.0))
    assert stamp(tmp_path, "gate") not in {None, before}
    found = load(tmp_path, RUN, BOARD)
    assert isinstance(found, Baseline)
    assert found.r_base_ohm == 119.0


@pytest.mark.parametrize(
    ("run", "electrics", "words"),
    [
        (replace(RUN, loop=None), BOARD, "has none"),
        (replace(RUN, loop=DigitalLoop(pin=5)), BOARD, "has none"),
        (replace(RUN, cable="cat6-outdoor"), BOARD, "cable cat5e-outdoor, box.toml now says cat6"),
        (replace(RUN, length_m=60.0), BOARD, "50 m of cable, box.toml now says 60 m"),
        (replace(RUN, loop=replace(LOOP, rref_ohm=220.0)), BOARD, "rref_ohm 150"),
        (replace(RUN, loop=replace(LOOP, eol_ohm=220.0)), BOARD, "eol_ohm 100"),
        (replace(RUN, loop=replace(LOOP, tamper_ohm=None)), BOARD, "says not fitted"),
        (RUN, Electrics(adc_bits=10), "bits of the ADC 12"),
    ],
)
def test_readings_of_another_run_are_worthless(tmp_path, run, electrics, words):
    save(tmp_path, BASELINE)
    found = load(tmp_path, run, electrics)
    assert isinstance(found, BaselineFault)
    assert words in found.why
    assert "edge-agent commission gate --run" in found.why
    assert read(tmp_path, run, electrics).baseline is None


def test_another_channel_of_the_same_board_is_the_same_run(tmp_path):
    save(tmp_path, BASELINE)
    run = replace(RUN, length_m=52.0, loop=replace(LOOP, channel=7), place="elsewhere")
    assert load(tmp_path, run, BOARD) == BASELINE


def test_a_file_of_another_camera_is_not_taken(tmp_path):
    save(tmp_path, replace(BASELINE, camera="bridge"))
    (tmp_path / "bridge.run").rename(tmp_path / "gate.run")
    found = load(tmp_path, RUN, BOARD)
    assert isinstance(found, BaselineFault)
    assert "camera bridge" in found.why


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b"[]", "not a baseline"),
        (b"\xff\xfe", "not a baseline"),
        (b"[" * 4000, "not a baseline"),
        (b'{"edge_agent_baseline": 2}', "another version"),
        (b'{"edge_agent_baseline": 1}', "checksum"),
        (b" " * 5000, "larger"),
    ],
)
def test_what_is_no_baseline_is_a_fault_with_words(tmp_path, raw, words):
    (tmp_path / "gate.run").write_bytes(raw)
    found = load(tmp_path, RUN, BOARD)
    assert isinstance(found, BaselineFault)
    assert words in found.why


def test_a_folder_in_its_place_is_a_fault(tmp_path):
    (tmp_path / "gate.run").mkdir()
    found = load(tmp_path, RUN, BOARD)
    assert isinstance(found, BaselineFault)
    assert "cannot be read" in found.why


SPOILT: list[tuple[str, object]] = [
    ("length_m", 0.0),
    ("length_m", 501.0),
    ("length_m", "50"),
    ("length_m", True),
    ("r_base_ohm", 100.0),
    ("r_zero_ohm", 110.0),
    ("r_zero_ohm", float("nan")),
    ("rref_ohm", -1.0),
    ("bits", 16),
    ("bits", []),
    ("bits", None),
    ("trusted", 1),
    ("cable", "string"),
    ("cable", 5),
    ("tamper_ohm", "x"),
    ("zzz", 1),
]


@pytest.mark.parametrize(("key", "value"), SPOILT)
def test_nonsense_with_a_right_checksum_is_still_nonsense(tmp_path, key, value):
    path = save(tmp_path, BASELINE)
    body = json.loads(path.read_text())["baseline"] | {key: value}
    whole = {"edge_agent_baseline": 1, "sha256": baselines._digest(body), "baseline": body}
    path.write_text(json.dumps(whole))
    found = load(tmp_path, RUN, BOARD)
    assert isinstance(found, BaselineFault)
    assert "commission gate --run" in found.why


def test_nonsense_is_not_saved_either(tmp_path):
    with pytest.raises(ValueError, match="make no sense"):
        save(tmp_path, replace(BASELINE, r_base_ohm=BASELINE.r_plug_ohm))
    assert list(tmp_path.iterdir()) == []


@given(where=st.integers(0, 5000), bit=st.integers(0, 7), cut=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_a_card_that_spoils_a_bit_or_the_end_never_gives_other_numbers(tmp_path, where, bit, cut):
    path = save(tmp_path, BASELINE)
    raw = bytearray(path.read_bytes())
    at = where % len(raw)
    if cut:
        del raw[at:]
    else:
        raw[at] ^= 1 << bit
    path.write_bytes(raw)
    assert load(tmp_path, RUN, BOARD) == BASELINE or isinstance(
        load(tmp_path, RUN, BOARD), BaselineFault
    )


@pytest.mark.parametrize("name", ["../gate", "", "Gate", "a/b", "x" * 49])
def test_an_id_that_is_no_id_is_never_a_path(tmp_path, name):
    with pytest.raises(ValueError, match="not a camera id"):
        baselines.path_of(tmp_path, name)


def test_a_full_card_leaves_the_old_one(tmp_path, monkeypatch):
    save(tmp_path, BASELINE)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, replace(BASELINE, r_base_ohm=130.0))
    assert load(tmp_path, RUN, BOARD) == BASELINE
    assert [entry.name for entry in tmp_path.iterdir()] == ["gate.run"]


@pytest.mark.parametrize("there", [True, False])
def test_the_service_can_read_what_root_saved(tmp_path, there):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 4711, 4712)
    folder = state / "deep" / "runs"
    if there:
        folder.mkdir(parents=True)
        os.chown(folder, 4711, 4712)
    path = save(folder, BASELINE)
    for made in (path, folder, *([] if there else [folder.parent])):
        about = made.stat()
        assert (about.st_uid, about.st_gid) == (4711, 4712), made


# ---- telling the agent ----


def _watch(tmp_path: Path, post: Callable[[Event], None], *runs: Run) -> BaselineWatch:
    return BaselineWatch(runs or (RUN,), BOARD, str(tmp_path), post=post)


def test_the_agent_hears_of_each_change_once(tmp_path):
    told: list[Event] = []
    digital = Run(camera="bridge", cable="rg59-pair", length_m=9.0, loop=DigitalLoop(pin=5))
    watch = _watch(tmp_path, told.append, RUN, digital)
    watch.look()
    watch.look()
    assert told == [BaselineRead(camera="gate", baseline=None, why="never commissioned")]
    save(tmp_path, BASELINE)
    watch.look()
    watch.look()
    assert told[1:] == [BaselineRead(camera="gate", baseline=BASELINE)]
    (tmp_path / "gate.run").unlink()
    watch.look()
    assert told[2:] == [BaselineRead(camera="gate", baseline=None, why="never commissioned")]


def test_it_is_told_before_anything_else_and_while_it_runs(tmp_path):
    clock = SystemClock()
    inbox = Inbox(clock)
    with _watch(tmp_path, inbox.post):
        assert inbox.take(until=clock.now()) == BaselineRead(
            camera="gate", baseline=None, why="never commissioned"
        )
        save(tmp_path, BASELINE)
        assert inbox.take(until=clock.now() + 20) == BaselineRead(camera="gate", baseline=BASELINE)


def test_a_surprise_in_its_thread_is_told(tmp_path):
    clock = SystemClock()
    inbox = Inbox(clock)
    watch = _watch(tmp_path, inbox.post)
    with watch:
        inbox.take(until=clock.now())
        watch._runs = (replace(RUN, camera="../etc"),)
        event = inbox.take(until=clock.now() + 20)
    assert isinstance(event, Died)
    assert event.part == "baselines"


def test_without_loops_there_is_no_thread(tmp_path):
    told: list[Event] = []
    with _watch(tmp_path, told.append, replace(RUN, loop=None)) as watch:
        assert not watch._part.running
    assert told == []
