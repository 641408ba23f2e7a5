"""Findings: once when it comes, once when it goes."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.health import AUDIT_KEYS, BOX_KEYS, SIGNAL_KEYS, Findings, judge_box
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
        assert "55 m" in said
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
    ill = replace(WELL, cpu_celsius=80.0, disk_free_bytes=999_999_999, memory_used_percent=90.0)
    findings.set_only(judge_box(ill, LIMITS, findings), BOX_KEYS, at=0.0)
    near = replace(WELL, cpu_celsius=75.0, disk_free_bytes=1_099_999_999, memory_used_percent=85.0)
    assert set(judge_box(near, LIMITS, findings)) == BOX_KEYS - {FindingKey.BOX_UNDER_VOLTAGE}
    well = replace(WELL, cpu_celsius=74.9, disk_free_bytes=1_100_000_000, memory_used_percent=84.9)
    assert judge_box(well, LIMITS, findings) == {}
