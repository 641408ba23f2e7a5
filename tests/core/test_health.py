"""Findings: once when it comes, once when it goes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.health import (
    AUDIT_KEYS,
    BOX_KEYS,
    FLAP_WINDOW_S,
    FLAPS,
    SIGNAL_KEYS,
    Findings,
    Flaps,
    LinkQuality,
    judge_box,
)
from edge_agent.core.messages import BoxRead, Cause, FindingKey, Json, Rank
from edge_agent.core.settings import Health

WELL = BoxRead(
    cpu_percent=5.0,
    cpu_celsius=50.0,
    memory_used_percent=40.0,
    memory_available_bytes=500_000_000,
    disk_free_bytes=20_000_000_000,
    disk_used_percent=20.0,
    uptime_s=1000.0,
    agent_rss_bytes=40_000_000,
    net_sent_bytes=1,
    net_received_bytes=1,
    under_voltage=False,
)
LIMITS = Health()


def test_every_cause_of_a_lost_camera_has_its_finding():
    assert set(SIGNAL_KEYS) == set(Cause)


def test_a_finding_opens_once_and_closes_once():
    findings = Findings()
    first = findings.raise_(FindingKey.VIEW_FOREIGN, at=1.0, camera="gate", evidence={"score": 0.1})
    assert first is not None
    assert (first.kind, first.rank, first.camera) == ("finding.opened", Rank.AUDIT, "gate")
    assert findings.raise_(FindingKey.VIEW_FOREIGN, at=2.0, camera="gate", evidence={}) is None
    closing = findings.clear(FindingKey.VIEW_FOREIGN, at=4.5, camera="gate")
    assert closing is not None
    assert closing.data == {"key": "view_foreign", "lasted_s": 3.5}
    assert findings.clear(FindingKey.VIEW_FOREIGN, at=5.0, camera="gate") is None


def test_the_record_says_in_two_languages_what_to_do_and_calls_the_camera_by_its_name():
    findings = Findings({"gate": "Gapura Gang 3"})
    evidence: dict[str, Json] = {"bring_m": 55, "cable": "cat5e-outdoor", "place": "pole 3"}
    record = findings.raise_(FindingKey.CABLE_OPEN, at=1.0, camera="gate", evidence=evidence)
    assert record is not None
    for language, order in (
        ("id", "Jangan bawa pulang kamera"),
        ("en", "Do not take the camera home"),
    ):
        said = str(record.data[language])
        assert "Gapura Gang 3" in said
        assert "pole 3" in said
        assert order in said


def test_each_camera_has_its_own():
    findings = Findings()
    findings.raise_(FindingKey.CAMERA_STALLED, at=1.0, camera="a", evidence={})
    assert findings.raise_(FindingKey.CAMERA_STALLED, at=1.0, camera="b", evidence={}) is not None
    assert [f.camera for f in findings] == ["a", "b"]
    assert [f.camera for f in findings.of("a")] == ["a"]
    assert not findings.has(FindingKey.CAMERA_STALLED)


def test_set_only_closes_what_is_not_wanted_and_leaves_others_alone():
    findings = Findings()
    findings.raise_(FindingKey.VIEW_DARK, at=1.0, camera="a", evidence={})
    findings.raise_(FindingKey.CABLE_OPEN, at=1.0, camera="a", evidence={})
    among = frozenset({FindingKey.VIEW_DARK, FindingKey.VIEW_FOREIGN})
    news = findings.set_only({FindingKey.VIEW_FOREIGN: {"score": 0.2}}, among, at=2.0, camera="a")
    assert [(r.kind, r.data["key"]) for r in news] == [
        ("finding.closed", "view_dark"),
        ("finding.opened", "view_foreign"),
    ]
    assert findings.has(FindingKey.CABLE_OPEN, "a")


def test_state_findings_are_not_of_the_class_that_is_never_thinned():
    findings = Findings()
    record = findings.raise_(FindingKey.BOX_HOT, at=1.0, evidence={})
    assert record is not None
    assert record.rank is Rank.STATE
    assert FindingKey.CABLE_OPEN in AUDIT_KEYS


def test_a_healthy_box_has_no_finding():
    assert judge_box(WELL, LIMITS, Findings()) == {}


def test_each_limit_of_the_box_is_told():
    ill = replace(
        WELL,
        cpu_celsius=85.0,
        disk_free_bytes=10_000_000,
        memory_used_percent=95.0,
        under_voltage=True,
        throttled=True,
        inodes_free_percent=1.0,
        read_only=True,
        card_worn_percent=90,
        config_refused="network.toml",
    )
    assert set(judge_box(ill, LIMITS, Findings())) == BOX_KEYS


def test_what_the_machine_does_not_say_is_no_fault():
    mute = replace(WELL, cpu_celsius=None, disk_free_bytes=None, under_voltage=None)
    assert judge_box(mute, LIMITS, Findings()) == {}


@given(st.lists(st.floats(78.0, 82.0), min_size=2, max_size=50))
def test_a_temperature_at_its_limit_does_not_chatter(temperatures):
    findings = Findings()
    lines = 0
    for at, celsius in enumerate(temperatures):
        wanted = judge_box(replace(WELL, cpu_celsius=celsius), LIMITS, findings)
        lines += len(findings.set_only(wanted, BOX_KEYS, at=float(at)))
    assert lines <= 1


def test_each_closes_only_beyond_its_margin():
    findings = Findings()
    dithering = {
        FindingKey.BOX_HOT,
        FindingKey.BOX_DISK_LOW,
        FindingKey.BOX_MEMORY_LOW,
        FindingKey.BOX_INODES_LOW,
    }
    ill = replace(
        WELL,
        cpu_celsius=80.0,
        disk_free_bytes=999_999_999,
        memory_used_percent=90.0,
        inodes_free_percent=4.9,
    )
    findings.set_only(judge_box(ill, LIMITS, findings), BOX_KEYS, at=0.0)
    near = replace(
        WELL,
        cpu_celsius=75.0,
        disk_free_bytes=1_099_999_999,
        memory_used_percent=85.0,
        inodes_free_percent=5.9,
    )
    assert set(judge_box(near, LIMITS, findings)) == dithering
    well = replace(
        WELL,
        cpu_celsius=74.9,
        disk_free_bytes=1_100_000_000,
        memory_used_percent=84.9,
        inodes_free_percent=6.0,
    )
    assert judge_box(well, LIMITS, findings) == {}
    assert judge_box(near, LIMITS, Findings()) == {}


@pytest.mark.parametrize(
    ("worn", "ending", "told"),
    [
        (80, False, False),
        (90, False, True),
        (None, True, True),
        (20, True, True),
        (None, None, False),
    ],
)
def test_a_card_is_told_by_either_of_its_own_words(worn, ending, told):
    read = replace(WELL, card_worn_percent=worn, card_ending=ending)
    assert (FindingKey.BOX_CARD_WORN in judge_box(read, LIMITS, Findings())) is told


# ---- a camera that comes and goes ----


def test_so_many_losses_within_the_window_are_flapping_and_one_fewer_is_not():
    flaps = Flaps()
    for number in range(FLAPS - 1):
        flaps.lost(at=number * 10.0)
    assert flaps.deadline() is None
    flaps.lost(at=599.9)
    assert flaps.since == 599.9
    slow = Flaps()
    for number in range(20):
        slow.lost(at=number * FLAP_WINDOW_S / (FLAPS - 1))
    assert slow.since is None, "once in three minutes is no flapping"


def test_flapping_is_over_after_a_calm_window_only():
    flaps = Flaps()
    for at in (0.0, 1.0, 2.0, 3.0, 500.0):
        flaps.lost(at=at)
    assert flaps.since == 3.0
    assert flaps.deadline() == 1100.0
    seen = []
    for at in (1099.9, 1100.0, 1200.0):
        flaps.timed(at=at)
        seen.append(flaps.since)
    flaps.lost(at=1200.0)
    assert [*seen, flaps.since] == [3.0, None, None, None], "one loss after the calm is one loss"


# ---- the way to the hub ----


def test_a_report_counts_breaks_and_the_time_without_a_hub_and_starts_anew():
    quality = LinkQuality(at=0.0)
    quality.up(at=10.0)
    quality.sent(1, at=20.0)
    quality.sent(2, at=20.0)
    quality.sent(3, at=20.0)
    quality.answered(1, at=20.2, delivered=True)
    quality.answered(2, at=21.5, delivered=True)
    quality.answered(3, at=22.0, delivered=False)
    quality.answered(9, at=22.0, delivered=True)
    quality.down(at=50.0)
    quality.down(at=55.0)
    assert quality.report(at=60.0) == {
        "over_s": 60.0,
        "down_s": 20.0,
        "breaks": 1,
        "answers": 2,
        "answer_s": 1.5,
        "slowest_s": 1.5,
    }
    quality.up(at=70.0)
    assert quality.report(at=100.0) == {
        "over_s": 40.0,
        "down_s": 10.0,
        "breaks": 0,
        "answers": 0,
        "answer_s": None,
        "slowest_s": None,
    }


def test_an_answer_over_a_line_that_broke_since_is_not_counted():
    quality = LinkQuality(at=0.0)
    quality.up(at=0.0)
    quality.up(at=0.5)
    quality.sent(1, at=1.0)
    quality.down(at=2.0)
    quality.up(at=100.0)
    quality.answered(1, at=101.0, delivered=True)
    assert quality.report(at=101.0)["answers"] == 0


@pytest.mark.parametrize(("refused", "told"), [(None, False), ("", False), ("box.toml", True)])
def test_a_card_that_was_not_taken_whole_is_told_with_its_parts(refused, told):
    found = judge_box(replace(WELL, config_refused=refused), LIMITS, Findings())
    assert found == ({FindingKey.CONFIG_CARD: {"detail": "box.toml"}} if told else {})
