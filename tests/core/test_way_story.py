"""The way to the hub breaks, is suspended, or is reached by a box that woke in 1970: what the box looks for, says and sends."""

from __future__ import annotations

import pytest

from edge_agent.core.messages import (
    CertificateRead,
    Climb,
    ClockRead,
    Fault,
    Fetch,
    FindingKey,
    LadderClimbed,
    LinkDown,
    LinkUp,
    OpenShutter,
    Rung,
    Step,
)
from tests.support.play import WALL_S, Play, committed

DOWN = LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="hub:8883: no answer within 10 s")
NO_CABLE = Step(rung=Rung.INTERFACE, holds=False, seen="eth0: no link", fault=Fault.NO_CARRIER)
DAY_S = 86_400.0


def connected() -> Play:
    play = Play.begin()
    play.wait(3.0)
    play.connect_hub()
    return play


def test_an_outage_is_diagnosed_told_in_its_finding_and_recorded_once():
    play = connected()
    play.post(DOWN)
    play.wait(15.0)
    assert play.did(Climb) == [Climb(far=False)]
    play.post(LadderClimbed(steps=(NO_CABLE,), far=False))
    told = play.status()["uplink"]["diagnosis"]
    assert (told["rung"], told["fault"], told["seen"]) == (
        "interface",
        "no_carrier",
        "eth0: no link",
    )
    (finding,) = [one for one in play.status()["findings"] if one["key"] == "hub_unreachable"]
    assert "network cable is not connected (eth0: no link)" in finding["en"]
    assert "Kabel jaringan kotak tidak tersambung" in finding["id"]
    play.wait(200.0)
    play.post(LadderClimbed(steps=(NO_CABLE,), far=False))
    records = [record for record in play.records if record.kind == "link.diagnosis"]
    assert [record.data["fault"] for record in records] == ["no_carrier"]
    assert any("fault=no_carrier" in line for line in play.said)
    play.connect_hub()
    records = [record for record in play.records if record.kind == "link.diagnosis"]
    assert [record.data["fault"] for record in records] == ["no_carrier", None]
    assert play.status()["uplink"]["diagnosis"] is None


def test_a_diagnosis_that_is_not_known_leaves_the_findings_own_sentence():
    play = connected()
    play.post(DOWN)
    (before,) = [one for one in play.status()["findings"] if one["key"] == "hub_unreachable"]
    play.wait(15.0)
    play.post(LadderClimbed(steps=(), far=False))
    assert play.status()["uplink"]["diagnosis"]["fault"] == "unknown"
    (after,) = [one for one in play.status()["findings"] if one["key"] == "hub_unreachable"]
    assert after["en"] == before["en"]


# ---- a clock that nothing vouches for ----


def doubtful(play: Play) -> None:
    play.post(
        LinkUp(receive_maximum=20, maximum_packet_bytes=None, simulated_peer=False, doubtful=True)
    )


def test_a_hub_that_fits_no_clock_gets_no_picture_but_everything_else():
    play = Play.begin(wall_s=0.0)
    play.wait(3.0)
    doubtful(play)
    assert play.status()["uplink"]["state"] == "up"
    assert play.status()["uplink"]["pictures_wait_for_clock"] is True
    play.post(ClockRead(wall_s=WALL_S, trusted=True, source="ntp"))
    assert play.status()["uplink"]["pictures_wait_for_clock"] is False


def test_the_doubt_is_of_that_connection_only():
    play = Play.begin(wall_s=0.0)
    play.wait(3.0)
    doubtful(play)
    play.post(DOWN)
    assert play.status()["uplink"]["pictures_wait_for_clock"] is False


def test_pictures_wait_in_the_journal_until_the_clock_is_vouched_for(monkeypatch):
    play = Play.begin(wall_s=0.0)
    for watch in play.agent._watches.values():
        monkeypatch.setattr(type(watch.gate), "is_open", property(lambda _: True))
    play.post(committed(last_seq=9, depth=9))
    play.wait(3.0)
    doubtful(play)
    play.wait(60.0)
    # The shutter is another matter: it knows only of presses and gates.
    assert play.did(OpenShutter)[-1].cameras == frozenset({"gate", "river"})
    fetched = play.did(Fetch)
    assert fetched
    assert not [fetch for fetch in fetched if fetch.camera is not None]
    play.post(ClockRead(wall_s=WALL_S, trusted=True, source="ntp"))
    play.wait(10.0)
    assert [fetch for fetch in play.did(Fetch) if fetch.camera is not None]


# ---- certificates ----


def certificate(*, end_s: float, trouble: str = "", slot: str = "configured") -> CertificateRead:
    return CertificateRead(
        slot=slot,
        begin_s=WALL_S - 200 * DAY_S,
        end_s=end_s,
        due_s=WALL_S,
        renews=True,
        waiting=False,
        trouble=trouble,
    )


def keys(play: Play) -> set[str]:
    return {one["key"] for one in play.status()["findings"]}


def test_a_certificate_that_cannot_be_renewed_is_told_a_month_ahead_and_again_at_its_end():
    play = Play.begin()
    play.post(certificate(end_s=WALL_S + 29 * DAY_S, trouble="hub:8443 answers 500"))
    assert "certificate_expires" in keys(play)
    (finding,) = [one for one in play.status()["findings"] if one["key"] == "certificate_expires"]
    assert "in 29 days" in finding["en"]
    assert "answers 500" in finding["en"]
    play.post(ClockRead(wall_s=WALL_S + 30 * DAY_S, trusted=True, source="ntp"))
    assert keys(play) & {"certificate_expires", "certificate_expired"} == {"certificate_expired"}
    play.post(certificate(end_s=WALL_S + 400 * DAY_S, slot="renewed"))
    assert not keys(play) & {"certificate_expires", "certificate_expired"}
    (record,) = [record for record in play.records if record.kind == "certificate.changed"]
    assert record.data["slot"] == "renewed"
    assert play.status()["uplink"]["certificate"]["slot"] == "renewed"


@pytest.mark.parametrize("wall_s", [-1.0, 0.0])
def test_a_clock_that_nothing_vouches_for_alarms_nobody_about_certificates(wall_s):
    play = Play.begin(wall_s=wall_s)
    play.post(certificate(end_s=10.0))
    assert not keys(play) & {"certificate_expires", "certificate_expired"}
