"""The whole box in simulated time: privacy wins, cameras do not disturb each other, news is said once."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import nights
from edge_agent.core.gate import DOUBT_S
from edge_agent.core.messages import (
    BaselineRead,
    Beep,
    BoxRead,
    CameraLost,
    Cause,
    ClockRead,
    Connect,
    Delivered,
    Died,
    Disconnect,
    Fetch,
    Fetched,
    FindingKey,
    HubMessage,
    JournalTrouble,
    Keep,
    KeepPicture,
    Lamp,
    Lane,
    Learn,
    LessonEnded,
    LimitPictures,
    Line,
    LineRead,
    LinkDown,
    LoopMeasured,
    LoopRead,
    Memory,
    NicRead,
    OpenShutter,
    OrderForged,
    OrderVerified,
    Purge,
    Purged,
    Rank,
    Remember,
    Remembered,
    Send,
    SetPeriod,
    ShowLamps,
    Sound,
    StartCameras,
    Stop,
    StopCameras,
    Stored,
    SwitchRead,
    Verify,
    VideoLossTold,
)
from edge_agent.core.settings import (
    LoopOpenPolicy,
    MeasuredLoop,
    SecretRef,
    Settings,
    SwitchKind,
    Tls,
)
from tests.core.test_cable import BASE, NORMAL
from tests.support.build import LIVING_ROOM, STREET, opened, picture
from tests.support.play import (
    LIVE,
    PRESSED,
    RELEASED,
    RIVER,
    RUN,
    WALL_S,
    Play,
    committed,
    settings,
)


def show(
    play: Play,
    camera: str,
    count: int,
    *,
    reading=STREET,
    generation: int = 1,
    jpeg: bytes = b"street",
) -> None:
    for _ in range(count):
        play.wait(2.0, switch=replace(LIVE, press=press_of(play)))
        play.post(
            picture(
                camera=camera, generation=generation, taken_at=play.now, reading=reading, jpeg=jpeg
            )
        )


def press_of(play: Play) -> int:
    commands = play.did(OpenShutter)
    return commands[-1].press if commands else 0


def live_box(camera: str = "river", *, chosen: Settings | None = None) -> Play:
    play = Play.begin(chosen)
    play.go_live()
    play.connect_hub()
    play.post(opened(camera=camera))
    show(play, camera, 8)
    assert play.released
    return play


def shutter(play: Play) -> OpenShutter:
    return play.did(OpenShutter)[-1]


def test_a_box_starts_private_and_reads_no_camera_until_the_switch_says_live():
    play = Play.begin()
    assert play.did(StartCameras) == []
    play.wait(2.5, switch=LIVE)
    assert play.did(StartCameras) == []
    play.wait(1.0, switch=LIVE)
    assert len(play.did(StartCameras)) == 1
    assert play.did(ShowLamps)[0] == ShowLamps(lamp=Lamp.PRIVATE, press=0)


def test_before_the_switch_was_read_every_gate_is_private():
    cameras: Any = Play.begin().agent.status(at=0.0)["cameras"]
    assert {camera["gate"] for camera in cameras} == {"private"}


def test_a_box_whose_switch_is_pressed_at_the_start_says_so_and_never_starts_a_camera():
    play = Play.begin()
    play.wait(600.0, switch=PRESSED)
    assert play.did(StartCameras) == []
    assert [r.kind for r in play.records].count("privacy.on") == 1
    assert play.did(Purge)


def test_a_press_closes_everything_in_one_call():
    play = live_box()
    done = play.post(PRESSED)
    kinds = [type(command) for command in done]
    assert kinds[:3] == [OpenShutter, StopCameras, Purge]
    assert shutter(play).cameras == frozenset()
    purge = play.did(Purge)[-1]
    assert purge.since_at == play.now - 60.0
    assert play.did(ShowLamps)[-1] == ShowLamps(lamp=Lamp.PRIVATE, press=1)


def test_pictures_that_arrive_after_the_press_are_dropped_unread():
    play = live_box()
    play.post(PRESSED)
    before = len(play.done)
    for _ in range(20):
        play.post(picture(camera="river", taken_at=play.now))
        play.wait(2.0, switch=PRESSED)
    assert [c for _, c in play.done[before:] if not isinstance(c, Send)] == []


def test_after_the_switch_is_released_each_camera_proves_itself_again():
    play = live_box()
    play.post(PRESSED)
    play.wait(30.0, switch=PRESSED)
    before = len(play.released)
    play.wait(4.0, switch=RELEASED)
    assert len(play.did(StartCameras)) == 2
    play.post(opened(camera="river", generation=2))
    show(play, "river", 4, generation=2)
    assert len(play.released) == before
    show(play, "river", 4, generation=2)
    assert len(play.released) > before
    kinds = [r.kind for r in play.records if r.kind in ("privacy.on", "privacy.off")]
    assert kinds == ["privacy.off", "privacy.on", "privacy.off"]
    assert shutter(play).press == 1


def stored_picture(play: Play) -> Stored:
    return Stored(
        epoch="e1",
        seq=7,
        kind="snapshot",
        rank=Rank.PICTURE,
        camera="river",
        boot="boot-1",
        at=play.now - 10,
        wall_s=1.8e9,
        trusted=True,
        data=b"{}",
        jpeg=b"street",
    )


def test_a_message_that_was_too_large_without_a_warning_makes_new_pictures_smaller():
    play = live_box()
    large = stored_picture(play)._replace(jpeg=b"p" * 40_000)
    play.post(committed(last_seq=7, depth=1))
    answered = 0
    while not (sent := [c for c in play.did(Send) if c.message.picture_of]):
        fetch = play.did(Fetch)[answered]
        records = (large,) if fetch.camera else ()
        play.post(Fetched(fetch=fetch, records=records, end=True))
        answered += 1
    assert play.did(LimitPictures) == []
    play.post(Delivered(ticket=sent[0].ticket, code=0x95))
    (limit,) = play.did(LimitPictures)
    assert limit.max_bytes is not None
    assert 20_000 < limit.max_bytes < 32_000
    assert "hub_too_large" in keys(play)


def test_what_was_sent_just_before_the_press_is_asked_back():
    chosen = settings()
    play = live_box(chosen=replace(chosen, privacy=replace(chosen.privacy, purge_s=12.0)))
    stored = stored_picture(play)._replace(at=play.now - 2.0)
    old = stored._replace(seq=6, boot="boot-0")  # of before the last restart
    early = stored._replace(seq=5, at=play.now - 12.1)
    play.post(committed(last_seq=7, depth=2))
    asked = play.did(Fetch)
    sent: list[Send] = []
    while asked:
        fetch = asked.pop(0)
        assert isinstance(fetch, Fetch)
        wanted = (
            (early, old, stored)
            if fetch.camera == "river" and fetch.lane is Lane.LIVE_PICTURES
            else ()
        )
        for command in play.post(Fetched(fetch=fetch, records=wanted, end=True)):
            if isinstance(command, Fetch):
                asked.append(command)
            if isinstance(command, Send):
                sent.append(command)
    assert [s for s in sent if s.message.picture_of == "river"]
    play.post(PRESSED)
    withdraw = [r for r in play.records if r.kind == "privacy.withdraw"]
    assert [r.data for r in withdraw] == [
        {"boot": "boot-1", "from_s": play.now - 12.0, "window_s": 12.0}
    ]
    assert withdraw[0].rank is Rank.AUDIT
    play.wait(4.0, switch=RELEASED)
    play.post(replace(PRESSED, press=2))
    assert len([r for r in play.records if r.kind == "privacy.withdraw"]) == 1, "asked back once"


def test_one_camera_at_home_does_not_hold_the_other():
    play = Play.begin()
    play.go_live()
    play.post(opened(camera="river"), opened(camera="gate"), LoopRead(camera="gate", closed=True))
    for _ in range(8):
        show(play, "river", 1, jpeg=b"river")
        show(play, "gate", 1, reading=LIVING_ROOM, jpeg=b"sofa")
    assert set(play.released) == {b"river"}
    assert shutter(play).cameras == {"river"}
    assert play.did(ShowLamps)[-1] == ShowLamps(lamp=Lamp.HELD, press=0)


def test_events_of_unknown_cameras_are_ignored():
    play = live_box()
    before = len(play.records)
    play.post(
        opened(camera="ghost"),
        picture(camera="ghost", taken_at=play.now),
        LoopRead(camera="ghost", closed=False),
        CameraLost(camera="ghost", generation=1, cause=Cause.REFUSED, detail=""),
    )
    assert len(play.records) == before


def test_a_silent_sensor_thread_makes_the_box_private():
    play = live_box()
    play.wait(5.0)
    assert shutter(play).cameras == frozenset()
    opened_keys = [r.data["key"] for r in play.records if r.kind == "finding.opened"]
    assert "privacy_unreadable" in opened_keys


def test_once_the_box_is_private_by_silence_no_picture_is_asked_for_or_handed_on():
    """No press was counted, so nothing but the agent's own word stops the uplink."""
    play = live_box()
    play.post(committed(last_seq=9, depth=9))
    asked = [c for c in play.did(Fetch) if c.lane is Lane.LIVE_PICTURES]
    assert asked
    play.wait(5.0)
    before = len(play.done)
    play.post(Fetched(fetch=asked[-1], records=(stored_picture(play),), end=False))
    play.post(committed(last_seq=20, depth=20))
    play.wait(30.0)
    after = [command for _, command in play.done[before:]]
    assert [c for c in after if isinstance(c, Fetch) and c.camera is not None] == []
    assert [c for c in after if isinstance(c, Send) and c.message.picture_of] == []


def test_a_street_that_is_not_proven_any_more_closes_without_any_event():
    play = live_box()
    assert shutter(play).cameras == {"river"}
    play.wait(DOUBT_S + 1.0, switch=LIVE)
    assert shutter(play).cameras == frozenset()
    assert "gate open -> held id=river cause=cannot-tell-for-too-long" in play.said


def test_without_a_switch_the_hub_is_told():
    play = Play.begin(settings(switch=SwitchKind.NONE))
    play.wait(4.0, switch=LIVE)
    assert play.did(StartCameras)
    play.wait(10.0, switch=LIVE)
    said = [r.kind for r in play.records if r.data.get("key") == "privacy_no_switch"]
    assert said == ["finding.opened"]


def test_a_wiring_fault_has_its_own_lamp():
    play = live_box()
    both = SwitchRead(nc_closed=True, no_closed=True, press=1)
    play.wait(1.0, switch=both)
    assert play.did(ShowLamps)[-1] == ShowLamps(lamp=Lamp.WIRING_FAULT, press=1)


def policy(number: int, until: float | None, **more: object) -> OrderVerified:
    claims = {
        **more,
        "v": 1,
        "kind": "policy",
        "aud": "cctv/v1/kuningan/03/07/box-1",
        "number": number,
        "suspended_until": until,
        "reason_id": "anggaran",
        "reason_en": "budget",
    }
    return OrderVerified(leaf="policy", claims=json.dumps(claims).encode(), retained=True)


def test_only_the_hubs_own_key_moves_a_policy():
    play = live_box()
    play.post(HubMessage(leaf="policy", payload=b"x", retained=True))
    assert play.did(Verify)
    play.post(OrderForged(leaf="policy", why="not signed"))
    assert play.status()["suspended"] is False
    assert any(r.data.get("key") == "order_refused" for r in play.records)


def refused(play: Play) -> list[Any]:
    return [r.data for r in play.records if r.kind == "privacy.refused"]


def test_an_order_that_reaches_for_the_switch_is_refused_whole_and_recorded():
    play = live_box()
    play.post(policy(4, play.agent.wall(at=play.now) + 1e6, deep=[{"privacy.switch": "none"}]))
    assert play.status()["suspended"] is False
    assert "order_refused" in keys(play)
    assert refused(play) == [{"leaf": "policy", "number": 4, "key": "privacy.switch", "refused": 1}]
    assert [c for c in play.did(Remember) if c.memory is Memory.POLICY] == []
    command = json.dumps({"v": 1, "kind": "command", "number": 5, "name": "privacy-off"}).encode()
    for _ in range(1000):
        play.post(OrderVerified(leaf="command", claims=command, retained=False))
    assert len(refused(play)) == 1
    play.wait(61.0, switch=LIVE)
    assert refused(play)[1:] == [
        {"leaf": "command", "number": 5, "key": "privacy-off", "refused": 1000}
    ]
    play.post(policy(6, None))
    assert "order_refused" not in keys(play)


def test_an_unknown_command_is_refused_without_a_word_about_privacy():
    play = live_box()
    play.post(OrderVerified(leaf="command", claims=b'{"name": "burst"}', retained=False))
    assert "order_refused" in keys(play)
    assert refused(play) == []


def shown(play: Play) -> list[Any]:
    """Whether the river camera is shown, as its status and its retained state say."""
    states = [c.message for c in play.did(Send) if c.message.topic.endswith("/camera/river")]
    status = next(camera for camera in play.status()["cameras"] if camera["id"] == "river")
    return [status["shown"], json.loads(states[-1].payload)["shown"]]


def test_a_camera_is_shown_only_if_it_is_neither_private_nor_suspended_nor_held():
    play = live_box()
    assert shown(play) == [True, True]
    until = play.agent.wall(at=play.now) + 30.0
    play.post(policy(1, until))
    assert play.status()["cameras"][1]["gate"] == "open"
    assert shown(play)[0] is False
    play.wait(31.0, switch=LIVE)
    play.connect_hub()
    show(play, "river", 2)
    assert shown(play) == [True, True]
    play.post(CameraLost(camera="river", generation=1, cause=Cause.REFUSED, detail=""))
    assert shown(play) == [False, False]
    play.post(PRESSED)
    assert shown(play) == [False, False]


def test_two_short_beeps_when_the_box_is_live_again_after_a_press():
    play = Play.begin(settings(cameras=(RIVER,)))
    play.go_live()
    play.post(opened(camera="river"))
    show(play, "river", 8)
    assert play.did(Beep) == [], "nobody had pressed"
    play.post(PRESSED)
    assert play.did(Beep) == [Beep(sound=Sound.PRIVATE)]
    play.wait(4.0, switch=RELEASED)
    play.post(opened(camera="river", generation=2))
    show(play, "river", 8, generation=2)
    assert play.did(ShowLamps)[-1].lamp is Lamp.LIVE
    assert play.did(Beep) == [Beep(sound=Sound.PRIVATE), Beep(sound=Sound.LIVE)]


@pytest.mark.parametrize("wall_s", [0.0, WALL_S])
def test_a_switch_that_is_wired_wrong_complains_by_day_and_with_a_clock_only(wall_s: float):
    noon_s = wall_s and WALL_S - WALL_S % 86_400 + 5 * 3600
    play = Play.begin(wall_s=noon_s)
    both = SwitchRead(nc_closed=True, no_closed=True, press=1)
    play.wait(2.0, switch=both)
    assert play.did(Beep) == ([Beep(sound=Sound.FAULT)] if wall_s else [])


def test_a_picture_is_kept_with_the_press_that_it_rests_on():
    play = live_box()
    play.post(PRESSED)
    play.wait(4.0, switch=RELEASED)
    play.post(opened(camera="river", generation=2))
    show(play, "river", 8, generation=2)
    presses = [c.press for c in play.did(KeepPicture)]
    assert set(presses) == {0, 1}
    assert presses == sorted(presses)


def test_a_press_that_is_missed_for_45_days_is_a_quiet_finding():
    play = Play.begin()
    play.go_live()
    (kept,) = play.remembered
    later = Play.begin(remembered={Memory.SWITCH: kept}, wall_s=WALL_S + 46 * 86_400)
    later.post(ClockRead(wall_s=WALL_S + 46 * 86_400, trusted=True, source="test"))
    assert "privacy_press_test" in keys(later)
    record = next(r for r in later.records if r.data.get("key") == "privacy_press_test")
    assert record.rank is Rank.STATE
    assert later.did(ShowLamps)[-1].lamp is Lamp.PRIVATE
    assert later.status()["private"]["last_press_test_age_s"] is None
    later.wait(4.0, switch=LIVE)
    later.post(PRESSED)
    assert "privacy_press_test" not in keys(later)
    assert later.status()["private"]["last_press_test_age_s"] == 0.0


def test_the_earlier_boots_last_pictures_are_asked_back_when_the_box_starts_pressed():
    play = Play.begin()
    play.post(PRESSED)
    (purge,) = play.did(Purge)
    assert purge.earlier_s == 60.0
    play.post(Purged(seqs=(3,), cameras=("gate",), earlier_boot="boot-0"))
    withdrawn = [r.data for r in play.records if r.kind == "privacy.withdraw"]
    assert {"boot": "boot-0", "newest_s": 60.0} in withdrawn
    assert "purged pictures=1" in play.said


def test_an_ack_that_cannot_be_read_is_said_and_survived():
    play = live_box()
    for number in range(1000):
        play.post(HubMessage(leaf="ack", payload=b"\xff%d{" % number, retained=True))
    assert len([line for line in play.said if "ack that cannot be read" in line]) == 1


def test_a_part_that_died_stops_the_process_as_failed():
    play = live_box()
    done = play.post(Died(part="journal", detail="boom"))
    stops = [c for c in done if isinstance(c, Stop)]
    assert len(stops) == 1
    assert stops[0].failed


def test_journal_trouble_is_a_finding_that_goes_again():
    play = live_box()
    play.post(JournalTrouble(key=FindingKey.JOURNAL_BROKEN, detail="read-only"))
    play.post(JournalTrouble(key=FindingKey.JOURNAL_BROKEN, detail="read-only"))
    play.post(JournalTrouble(key=None, detail=""))
    said = [r.kind for r in play.records if r.data.get("key") == "journal_broken"]
    assert said == ["finding.opened", "finding.closed"]


def test_what_waits_of_another_place_is_a_finding_beside_the_journals_trouble():
    play = live_box()
    parked = "51 records of kuningan/rw-03/rt-05/box-1 in /parked"
    play.post(JournalTrouble(key=FindingKey.JOURNAL_BROKEN, detail="read-only", parked=parked))
    play.post(JournalTrouble(key=None, detail="", parked=parked))
    told = [r for r in play.records if r.data.get("key") == "journal_parked"]
    assert [r.kind for r in told] == ["finding.opened"]
    assert parked in str(told[0].data["en"])
    play.post(JournalTrouble(key=None, detail="", parked=""))
    assert [r.kind for r in play.records if r.data.get("key") == "journal_parked"][-1] == (
        "finding.closed"
    )
    assert [r.kind for r in play.records if r.data.get("key") == "journal_broken"] == [
        "finding.opened",
        "finding.closed",
    ]


def test_an_untrusted_clock_is_a_finding_after_ten_minutes():
    play = Play.begin()
    play.post(ClockRead(wall_s=0.0, trusted=False, source="none"))
    assert not any(r.data.get("key") == "clock_untrusted" for r in play.records)
    play.now += 601.0
    play.post(ClockRead(wall_s=601.0, trusted=False, source="none"))
    assert any(r.data.get("key") == "clock_untrusted" for r in play.records)


def test_health_is_a_metric_now_and_then_and_a_finding_when_bad():
    play = Play.begin()
    read = BoxRead(
        cpu_percent=5.0,
        cpu_celsius=90.0,
        memory_used_percent=40.0,
        memory_available_bytes=1,
        disk_free_bytes=None,
        disk_used_percent=None,
        uptime_s=100.0,
        agent_rss_bytes=1,
        net_sent_bytes=1,
        net_received_bytes=1,
        under_voltage=None,
    )
    for _ in range(60):
        play.now += 10.0
        play.post(read)
    kinds = [r.kind for r in play.records]
    assert kinds.count("box.metrics") == 2
    assert [r.kind for r in play.records if r.data.get("key") == "box_hot"] == ["finding.opened"]


def test_the_link_is_wanted_from_the_start_although_private():
    play = Play.begin()
    play.wait(3.0)
    assert len(play.did(Connect)) == 1
    play.post(LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="refused", local=True))
    assert [line for line in play.said if "hub_unreachable" in line] == [
        "finding.opened key=hub_unreachable refused"
    ]


def test_the_state_of_each_camera_is_retained_with_a_notice_for_the_portal():
    play = live_box()
    states = [c.message for c in play.did(Send) if "/camera/" in c.message.topic]
    assert {m.topic.rsplit("/", 1)[1] for m in states} <= {"gate", "river"}
    assert all(m.retain for m in states)
    play.post(PRESSED)
    now = [c.message for c in play.did(Send) if "/camera/" in c.message.topic][-1]
    assert json.loads(now.payload)["signal"] == "off"


def notice(play: Play) -> str:
    """What the portal is told of the river camera."""
    play.connect_hub()
    states = [c.message for c in play.did(Send) if c.message.topic.endswith("/river")]
    return str(json.loads(states[-1].payload)["notice"]["en"])


def test_the_portal_is_told_that_residents_switched_it_off_only_if_they_did():
    starting, pressed, silent = Play.begin(), Play.begin(), Play.begin()
    for play in (starting, pressed, silent):
        play.wait(2.0, switch=PRESSED if play is pressed else LIVE)
        play.post(PRESSED if play is pressed else LIVE)
    silent.wait(4.0)
    for play in (starting, pressed, silent):
        play.wait(1.0, switch=PRESSED if play is pressed else None)
    assert notice(pressed) not in {notice(starting), notice(silent)}


def test_status_names_every_camera_and_never_holds_a_picture():
    play = live_box()
    status = play.status()
    assert [c["id"] for c in status["cameras"]] == ["gate", "river"]
    assert "street" not in repr(status)
    river = status["cameras"][1]
    assert (river["gate"], river["right_scene"], river["fresh_video"]) == ("open", True, True)


def test_the_headline_says_the_box_in_one_line():
    play = live_box()
    assert play.agent.headline().startswith("live, gates open 1/2, hub up, findings")
    play.post(PRESSED)
    assert play.agent.headline().startswith("private, gates open 0/2")


def test_suspended_by_the_city_until_its_time_is_over():
    play = live_box()
    until = play.agent.wall(at=play.now) + 30.0
    play.post(policy(1, until))
    status = play.status()
    assert status["suspended"] is True
    assert play.did(ShowLamps)[-1] == ShowLamps(lamp=Lamp.SUSPENDED, press=0)
    assert play.did(Remember)
    play.post(policy(1, until + 1e6))
    play.wait(31.0, switch=LIVE)
    assert play.status()["suspended"] is False
    kinds = [r.kind for r in play.records if r.kind.startswith("hub.")]
    assert kinds == ["hub.suspended", "hub.resumed"]


def test_a_remembered_suspension_holds_from_the_first_second():
    claims = policy(3, 1_900_000_000.0).claims
    play = Play.begin(remembered={Memory.POLICY: claims})
    assert play.status()["suspended"] is True
    play.wait(10.0, switch=LIVE)
    assert play.did(Connect) == []


def test_a_suspension_that_ended_while_the_box_was_off_is_not_told_again():
    play = Play.begin(remembered={Memory.POLICY: policy(3, WALL_S - 60.0).claims})
    play.wait(10.0, switch=LIVE)
    assert play.status()["suspended"] is False
    assert not any(r.kind.startswith("hub.") for r in play.records)
    assert len(play.did(Connect)) == 1


def periods(play: Play) -> dict[str, float]:
    return {c.camera: c.period_s for c in play.did(SetPeriod)}


def test_a_suspension_is_told_to_the_portal_with_its_day_and_reason_before_the_box_leaves():
    play = live_box()
    before = len(play.did(Send))
    play.post(policy(1, WALL_S + 86_400.0 * 40))
    said = [c for c in play.did(Send)[before:] if c.message.topic.endswith("/camera/river")]
    state = json.loads(said[-1].message.payload)
    assert (state["suspended"], state["shown"]) == (True, False)
    assert state["notice"]["id"].endswith(" 2027: anggaran")
    assert state["notice"]["en"].endswith(" 2027: budget")
    assert play.status()["suspension"]["en"] == state["notice"]["en"]
    assert play.did(Disconnect) == []
    for send in play.did(Send):
        play.post(Delivered(ticket=send.ticket, code=0))
    play.wait(3.0, switch=LIVE)
    assert len(play.did(Disconnect)) == 1
    play.post(LinkDown(key=None, detail="closed"))
    assert play.status()["uplink"]["state"] == "suspended"
    assert play.status()["suspended"] is True
    assert not any(key.startswith("hub_") for key in keys(play))


def test_a_suspended_box_comes_back_once_a_day_and_hears_that_it_is_over():
    play = live_box()
    play.post(policy(1, WALL_S + 86_400.0 * 400))
    play.wait(120.0)
    play.post(LinkDown(key=None, detail="closed"))
    before = len(play.did(Connect))
    play.wait(86_400.0)
    assert len(play.did(Connect)) == before + 1
    play.connect_hub()
    play.post(policy(2, None))
    status = play.status()
    assert (status["suspended"], status["suspension"]) == (False, None)
    assert status["uplink"]["state"] == "up"
    play.wait(3600.0)
    assert len(play.did(Connect)) == before + 1


def test_a_suspension_over_a_restart_without_a_clock_ends_when_the_box_has_run_so_long():
    claims = policy(1, WALL_S + 3600.0).claims
    first = Play.begin(remembered={Memory.POLICY: claims})
    first.wait(1850.0)
    kept = {c.memory: c.value for c in first.did(Remember)}
    later = Play.begin(
        remembered={Memory.POLICY: claims, Memory.FLOOR: kept[Memory.FLOOR]}, wall_s=0.0
    )
    assert later.status()["suspended"] is True
    later.wait(1750.0)
    assert later.status()["suspended"] is True
    later.wait(700.0)
    assert later.status()["suspended"] is False
    later.wait(130.0)
    assert later.did(Connect) != []


@pytest.mark.parametrize("ahead_s", [-1e9, 1e9])
def test_a_clock_that_nothing_vouches_for_neither_ends_nor_prolongs_a_suspension(ahead_s: float):
    play = live_box()
    play.post(policy(1, play.agent.wall(at=play.now) + 3600.0))
    ends_at = play.now + 3600.0
    play.wait(60.0)
    play.post(ClockRead(wall_s=WALL_S + ahead_s, trusted=False, source="rtc"))
    assert play.status()["suspended"] is True
    play.wait(ends_at - play.now - 1.0)
    assert play.status()["suspended"] is True
    play.wait(2.0)
    assert play.status()["suspended"] is False


def test_the_citys_period_asks_for_fewer_pictures_and_never_for_more():
    play = live_box()
    play.post(policy(1, None, snapshot_period_s=15.0))
    show(play, "river", 8)
    assert periods(play)["river"] == 15.0
    play.post(policy(2, None, snapshot_period_s=1.0))
    assert periods(play)["river"] == RIVER.period_s
    play.post(policy(3, None))
    assert periods(play)["river"] == RIVER.period_s


def test_a_policy_heard_again_ends_the_finding_of_a_forged_one_and_an_older_one_does_not():
    play = live_box()
    play.post(policy(5, None))
    play.post(OrderForged(leaf="policy", why="not signed"))
    assert "order_refused" in keys(play)
    play.post(policy(4, None))
    play.post(policy(5, WALL_S + 1e6))  # another one of the same number
    assert "order_refused" in keys(play)
    assert play.status()["suspended"] is False
    remembered = len(play.did(Remember))
    play.post(policy(5, None))
    assert "order_refused" not in keys(play)
    assert len(play.did(Remember)) == remembered


def test_a_flood_of_policies_wears_out_no_card_and_its_last_word_is_obeyed():
    play = live_box()
    records, writes = len(play.records), len(play.did(Remember))
    for number in range(1, 1001):
        play.post(policy(number, WALL_S + 1e6 if number % 2 else None))
    assert len(play.records) - records < 25
    assert len(play.did(Remember)) - writes < 40
    play.post(policy(1001, WALL_S + 1e6))
    play.wait(61.0, switch=LIVE)
    assert play.status()["suspended"] is True
    last = [c for c in play.did(Remember) if c.memory is Memory.POLICY][-1]
    assert last.value == policy(1001, WALL_S + 1e6).claims


def test_who_repeats_what_is_retained_with_garbage_behind_it_fills_no_journal():
    play = live_box()
    play.post(policy(5, None))
    before = len(play.records)
    for _ in range(500):
        play.post(OrderForged(leaf="policy", why="not signed"), policy(5, None))
    assert len(play.records) - before <= 3
    assert "order_refused" in keys(play)
    play.wait(601.0, switch=LIVE)
    play.post(policy(5, None))
    assert "order_refused" not in keys(play)


def test_no_policy_is_the_last_for_ever():
    play = live_box()
    play.post(policy(2**63 - 1, WALL_S + 1e9))
    assert play.status()["suspended"] is False
    assert "order_refused" in keys(play)
    play.post(policy(6, WALL_S + 1e6))
    assert play.status()["suspended"] is True
    assert "order_refused" not in keys(play)


def test_the_hubs_window_is_remembered_with_its_policy():
    claims = policy(1, None, reconnect_window_s=1000.0, backfill_bytes_per_s=5000).claims
    tls = Tls(ca_file="a", certificate_file="b", key=SecretRef(file="c"))
    remote = replace(settings().hub, host="hub.example", tls=tls)
    play = Play.begin(replace(settings(), hub=remote), remembered={Memory.POLICY: claims})
    play.wait(3.0)
    play.connect_hub()
    play.post(LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="gone"))
    assert play.status()["uplink"]["retry_in_s"] == 500.0


def test_a_box_without_a_clock_holds_to_a_suspension_it_remembers():
    play = Play.begin(remembered={Memory.POLICY: policy(3, WALL_S).claims}, wall_s=0.0)
    assert play.status()["suspended"] is True


# ---- lines, interfaces, recorders ----


def keys(play: Play) -> list[str]:
    return [finding["key"] for finding in play.status()["findings"]]


def line(kind: Line, *, on: bool | None, camera: str | None = None, why: str = "") -> LineRead:
    return LineRead(line=kind, camera=camera, on=on, why=why)


@pytest.mark.parametrize(
    ("kind", "key", "rank"),
    [
        (Line.DOOR, FindingKey.BOX_DOOR_OPEN, Rank.AUDIT),
        (Line.MAINS_LOST, FindingKey.BOX_MAINS_LOST, Rank.AUDIT),
        (Line.SHUTDOWN, FindingKey.BOX_UPS_EMPTY, Rank.AUDIT),
    ],
)
def test_a_line_of_the_box_is_a_finding_that_is_on_the_card_at_once_and_never_ends_the_agent(
    kind, key, rank
):
    play = Play.begin()
    play.post(line(kind, on=True))
    assert key.value not in keys(play)
    play.wait(2.0)
    assert keys(play).count(key.value) == 1
    opened_record = next(r for r in play.records if r.data.get("key") == key.value)
    assert opened_record.rank is rank
    play.post(line(kind, on=False))
    play.wait(120.0)
    assert key.value not in keys(play)
    assert play.did(Stop) == []


def test_a_line_that_cannot_be_read_is_one_finding_with_its_reason():
    play = Play.begin()
    play.post(line(Line.POWER, on=None, why="GPIO12 is held by pigpiod"))
    play.post(line(Line.NVR_ALARM, on=None, camera="gate", why="GPIO21: no such pin"))
    (found,) = [f for f in play.agent._findings if f.key is FindingKey.BOX_LINES_UNREADABLE]
    assert found.evidence == {"detail": "GPIO12 is held by pigpiod"}
    play.post(line(Line.POWER, on=True), line(Line.NVR_ALARM, on=False, camera="gate"))
    play.wait(1.0)
    assert "box_lines_unreadable" not in keys(play)


def test_all_currents_at_zero_accuse_the_box_and_no_cable():
    fitted = tuple(replace(RUN, camera=c, loop=None, current_channel=0) for c in ("gate", "river"))
    play = Play.begin(replace(settings(), runs=fitted))
    play.go_live()
    for name in ("gate", "river"):
        play.post(opened(camera=name))
    for _ in range(60):
        show(play, "gate", 1)
        play.post(picture(camera="river", taken_at=play.now))
        for name in ("gate", "river"):
            play.post(LineRead(line=Line.CURRENT, camera=name, on=None, value=0.1))
    assert "box_lines_unreadable" in keys(play)
    assert [r for r in play.records if r.kind.startswith("work_order.")] == []


def test_a_press_that_cuts_the_cameras_power_is_no_fault_of_the_box():
    fitted = tuple(replace(RUN, camera=c, loop=None, current_channel=0) for c in ("gate", "river"))
    play = Play.begin(replace(settings(), runs=fitted))
    play.go_live()

    def draw(value: float) -> None:
        for name in ("gate", "river"):
            play.post(LineRead(line=Line.CURRENT, camera=name, on=None, value=value))

    draw(200.0)
    play.wait(60.0, switch=LIVE)
    play.post(PRESSED)
    draw(0.1)
    assert "box_lines_unreadable" not in keys(play)
    play.wait(4.0, switch=RELEASED)
    draw(0.1)
    assert "box_lines_unreadable" in keys(play), "live again, and still nothing flows"


def test_a_dead_supply_that_feeds_no_camera_we_know_of_is_no_order_at_all():
    play = Play.begin(replace(settings(), runs=(replace(RUN, cable="cat5e-poe", loop=None),)))
    play.go_live()
    play.post(opened(camera="gate"), line(Line.POWER, on=True))
    play.wait(90.0, switch=LIVE)
    play.post(line(Line.POWER, on=False))
    show(play, "gate", 10)
    assert [r.kind for r in play.records if r.kind.startswith("work_order.")] == []


def test_a_baseline_that_is_back_takes_its_finding_back_at_once():
    play = Play.begin(replace(settings(), runs=(replace(RUN, loop=MeasuredLoop(channel=0)),)))
    known = BaselineRead(camera="gate", baseline=replace(BASE, camera="gate"))
    play.post(BaselineRead(camera="gate", baseline=None, why="damaged"))
    assert "cable_not_commissioned" in keys(play)
    play.post(known)
    assert "cable_not_commissioned" not in keys(play)


def test_the_service_button_is_a_record_and_nothing_else():
    play = Play.begin()
    play.post(line(Line.SERVICE, on=True))
    play.wait(1.0)
    play.post(line(Line.SERVICE, on=True))
    play.wait(1.0)
    assert [r.kind for r in play.records].count("box.service") == 1
    assert keys(play) == []


def test_what_is_remembered_of_a_night_is_written_once_and_taken_back():
    measured = replace(RUN, loop=MeasuredLoop(channel=0))
    chosen = replace(settings(), runs=(measured,))
    play = Play.begin(chosen)
    evening_s = (
        1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 19.9 * 3600
    )  # shortly before 3:00 in Java
    play.post(ClockRead(wall_s=evening_s, trusted=True, source="test"))
    baseline = replace(BASE, camera="gate")
    play.post(BaselineRead(camera="gate", baseline=baseline))
    for _ in range(900):
        play.now += 9.0
        play.post(LoopMeasured(camera="gate", ohm=NORMAL, spread_ohm=0.05, counts=1810.0))
    (kept,) = [c for c in play.did(Remember) if c.memory is Memory.NIGHTS]
    assert nights.load(kept.value) == {"gate": nights.Night(NORMAL, BASE.wall_s)}
    again = Play.begin(chosen, remembered={Memory.NIGHTS: kept.value})
    again.post(BaselineRead(camera="gate", baseline=baseline))
    assert [c for c in again.did(Remember) if c.memory is Memory.NIGHTS] == []
    other = replace(baseline, wall_s=BASE.wall_s + 1)
    again.post(BaselineRead(camera="gate", baseline=other))
    (forgotten,) = [c for c in again.did(Remember) if c.memory is Memory.NIGHTS]
    assert nights.load(forgotten.value) == {}


def test_remembered_orders_that_make_no_sense_cost_a_line_and_nothing_else():
    play = Play.begin(remembered={Memory.ORDERS: b"\xff{"})
    assert [line for line in play.said if "remembered work orders" in line] != []
    assert play.status()["orders"] == []


def test_an_open_loop_is_an_order_that_stands_in_the_cameras_state_and_in_the_status():
    play = live_box()
    play.post(LoopRead(camera="gate", closed=False))
    play.wait(12.0, switch=LIVE)
    (order,) = play.status()["orders"]
    assert (order["cause"], order["cameras"]) == ("cable_cut", ["gate"])
    assert order["bring"]["en"][0] == "55 m of outdoor Cat5e cable"
    states = [c.message for c in play.did(Send) if c.message.topic.endswith("/camera/gate")]
    told = json.loads(states[-1].payload)
    assert (told["cable"], [entry["order"] for entry in told["orders"]]) == (
        "open",
        [order["order"]],
    )
    assert "open_s" not in told["orders"][0], "or it would be published each second"


def test_a_recorder_that_reports_a_loss_interrupts_and_its_all_clear_does_not():
    strict = replace(RUN, loop_open_policy=LoopOpenPolicy.SCENE_STRICT)
    play = Play.begin(replace(settings(), runs=(strict,)))
    play.go_live()
    play.post(opened(camera="gate"), LoopRead(camera="gate", closed=True))
    show(play, "gate", 10)
    play.post(LoopRead(camera="gate", closed=False))
    show(play, "gate", 15)
    assert shutter(play).cameras == {"gate"}
    play.post(VideoLossTold(camera="gate", lost=True))
    assert shutter(play).cameras == frozenset()
    play.post(VideoLossTold(camera="gate", lost=False))
    show(play, "gate", 15)
    assert shutter(play).cameras == frozenset()


def test_a_dead_supply_is_one_order_for_the_box():
    coax = tuple(replace(RUN, camera=c, cable="rg59-power", loop=None) for c in ("gate", "river"))
    play = Play.begin(replace(settings(), runs=coax))
    play.go_live()
    play.post(line(Line.POWER, on=True))
    play.wait(90.0, switch=LIVE)
    play.post(line(Line.POWER, on=False))
    play.wait(10.0, switch=LIVE)
    orders = [r for r in play.records if r.kind == "work_order.opened"]
    assert [(r.camera, r.data["cause"]) for r in orders] == [(None, "power_dead")]


def test_the_metrics_say_how_good_the_way_to_the_hub_was():
    play = live_box()
    play.post(LinkDown(key=FindingKey.HUB_UNREACHABLE, detail="refused"))
    play.wait(10.0, switch=LIVE)
    play.connect_hub()
    play.post(box_read())
    metrics = [r for r in play.records if r.kind == "box.metrics"][-1]
    uplink: Any = metrics.data["uplink"]
    assert uplink["breaks"] == 1
    assert uplink["down_s"] >= 10.0
    assert metrics.data["card_written_bytes"] == 512


def box_read() -> BoxRead:
    return BoxRead(
        cpu_percent=5.0,
        cpu_celsius=40.0,
        memory_used_percent=40.0,
        memory_available_bytes=1,
        disk_free_bytes=None,
        disk_used_percent=None,
        uptime_s=100.0,
        agent_rss_bytes=1,
        net_sent_bytes=1,
        net_received_bytes=1,
        under_voltage=None,
        card_written_bytes=512,
    )


HOSTILE = st.one_of(
    st.builds(
        SwitchRead,
        nc_closed=st.sampled_from([True, False, None]),
        no_closed=st.sampled_from([True, False, None]),
        press=st.integers(0, 3),
    ),
    st.builds(
        opened, camera=st.sampled_from(["gate", "river", "ghost"]), generation=st.integers(1, 4)
    ),
    st.builds(
        CameraLost,
        camera=st.sampled_from(["gate", "river"]),
        generation=st.integers(0, 4),
        cause=st.sampled_from(Cause),
        detail=st.just("x"),
    ),
    st.builds(LoopRead, camera=st.just("gate"), closed=st.sampled_from([True, False, None])),
    st.builds(
        LoopMeasured,
        camera=st.sampled_from(["gate", "river", "ghost"]),
        ohm=st.none() | st.floats(),
        spread_ohm=st.floats(),
        counts=st.floats(),
    ),
    st.builds(
        BaselineRead,
        camera=st.sampled_from(["gate", "ghost"]),
        baseline=st.sampled_from([None, BASE]),
        why=st.just("x"),
    ),
    st.builds(
        LineRead,
        line=st.sampled_from(Line),
        camera=st.sampled_from([None, "gate", "ghost"]),
        on=st.sampled_from([True, False, None]),
        value=st.none() | st.floats(),
        why=st.sampled_from(["", "x"]),
    ),
    st.builds(
        NicRead,
        interface=st.sampled_from(["eth1", "ghost"]),
        carrier=st.sampled_from([True, False, None]),
        speed_mbit=st.none() | st.integers(-1, 1000),
        carrier_downs=st.none() | st.integers(0, 9),
        crc_errors=st.none() | st.integers(0, 90),
    ),
    st.builds(
        VideoLossTold,
        camera=st.sampled_from(["gate", "ghost"]),
        lost=st.booleans(),
        why=st.just(""),
    ),
    st.builds(
        picture,
        camera=st.sampled_from(["gate", "river"]),
        generation=st.integers(1, 4),
        reading=st.sampled_from([STREET, LIVING_ROOM]),
    ),
    st.builds(
        HubMessage,
        leaf=st.sampled_from(["ack", "policy", "command", ""]),
        payload=st.binary(max_size=40),
        retained=st.booleans(),
    ),
    st.builds(
        OrderVerified,
        leaf=st.sampled_from(["policy", "command"]),
        claims=st.binary(max_size=60),
        retained=st.booleans(),
    ),
    st.builds(Delivered, ticket=st.integers(0, 5), code=st.sampled_from([0, 16, 0x87, 0x97])),
    st.builds(
        Purged,
        seqs=st.just(()),
        cameras=st.just(()),
        earlier_boot=st.sampled_from([None, "boot-0"]),
    ),
    st.builds(
        Remembered,
        memory=st.sampled_from(Memory),
        value=st.binary(max_size=9),
        durable=st.booleans(),
    ),
    st.builds(committed, last_seq=st.integers(0, 9)),
    st.just(LinkDown(key=None, detail="")),
)


def test_a_camera_learns_only_while_live_and_what_it_kept_is_recorded_even_after_a_press():
    play = live_box()
    given_out = play.did(Learn)
    assert [(order.camera, order.generation, order.permit) for order in given_out] == [
        ("river", 1, 1)
    ]
    play.post(PRESSED)
    assert play.did(Learn)[-1] == Learn(camera="river", generation=0, permit=None)
    play.post(
        LessonEnded(camera="river", generation=1, permit=1, light="learnt-1", of="day"),
        LessonEnded(camera="nobody", generation=1, permit=1, light="learnt-1", of="day"),
    )
    learnt = [(r.camera, r.rank) for r in play.records if r.kind == "view.learnt"]
    assert learnt == [("river", Rank.AUDIT)]


@given(st.lists(st.tuples(HOSTILE, st.floats(0.0, 5.0)), max_size=60))
def test_nothing_that_can_arrive_makes_the_agent_raise_or_opens_the_shutter_while_private(steps):
    play = Play.begin()
    for event, gap_s in steps:
        play.now += gap_s
        commands = play.post(event)
        assert play.agent.deadline(at=play.now) > 0
        private = play.status()["private"]["on"]
        if private:
            assert shutter(play).cameras == frozenset() if play.did(OpenShutter) else True
        for command in commands:
            if isinstance(command, Keep):
                assert b"\xff\xd8" not in repr(command.record.data).encode()


@pytest.mark.parametrize("seconds", [1, 60, 3600])
@pytest.mark.parametrize("broken", [False, True])
def test_an_idle_box_does_not_spin(seconds: int, broken: bool):
    play = live_box()
    if broken:
        play.post(LoopRead(camera="gate", closed=False), line(Line.MAINS_LOST, on=True))
        play.wait(20.0, switch=LIVE)
        assert play.status()["orders"]
    ticks = 0
    end = play.now + seconds
    play.post(LIVE)
    while play.now < end:
        due = play.agent.deadline(at=play.now)
        play.now = max(due, play.now) if due < end else end
        play.post(replace(LIVE, press=0))
        ticks += 1
    assert ticks <= seconds * 3 + 10
