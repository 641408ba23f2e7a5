"""Commands from afar: obeyed once, journaled first, answered always, and never more than a restriction, a look or a word."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import gate as gates
from edge_agent.core.commands import (
    ACCEPTED_AN_HOUR,
    AHEAD_S,
    CORRELATION_BYTES_MAX,
    REPLIES_A_MINUTE,
    TOLD_MAX,
)
from edge_agent.core.messages import (
    ClockRead,
    Command,
    Delivered,
    Examine,
    Examined,
    Keep,
    KeepPicture,
    Lamp,
    LoopRead,
    Memory,
    OpenShutter,
    OrderVerified,
    PowerCameras,
    Rank,
    Remember,
    Remembered,
    Say,
    Send,
    SetPeriod,
    ShowLamps,
    StartCameras,
)
from edge_agent.core.settings import LoopOpenPolicy, Privacy, SwitchKind
from tests.core.test_agent import live_box, policy, show
from tests.core.test_switch_story import LATCHING, LEAVE, MOMENTARY, STEPS, Life, Step, _film
from tests.support.build import STREET, opened, picture
from tests.support.orders import (
    card_answers,
    claims,
    command,
    deeds,
    kept_of,
    kinds,
    replies,
)
from tests.support.play import GATE, LIVE, PRESSED, RIVER, RUN, WALL_S, Play, committed, settings

BURST: dict[str, object] = {"period_s": 1, "minutes": 10}


def box(*, chosen: Any = None) -> Play:
    """Live, one camera open, connected."""
    return live_box(chosen=chosen or settings(cameras=(RIVER,)))


def obeyed(play: Play, order: OrderVerified) -> list[Command]:
    """What followed from *order* once the card had it."""
    return [*play.post(order), *card_answers(play)]


def broker_answers(play: Play) -> list[Command]:
    """For whatever it got; what followed."""
    done: list[Command] = []
    answered: set[int] = set()
    while waiting := [c for c in play.did(Send) if c.ticket not in answered]:
        answered |= {c.ticket for c in waiting}
        done += play.post(*(Delivered(ticket=c.ticket, code=0) for c in waiting))
    return done


def calm(play: Play, seconds: float) -> None:
    """Time goes by, and the broker answers."""
    end = play.now + seconds
    while play.now < end:
        play.wait(min(20.0, end - play.now), switch=LIVE)
        broker_answers(play)


def answer(done: list[Command]) -> tuple[str, str]:
    (reply,) = replies(done)
    return reply["result"], reply["why"]


# ---- accepted, journaled, done, told ----


def test_the_record_and_the_number_go_into_the_journal_before_anything_is_done():
    play = box()
    done = play.post(command(7, "burst", BURST))
    first = [c for c in done if not isinstance(c, Say)]
    assert isinstance(first[0], Keep)
    assert (first[0].record.kind, first[0].record.rank) == ("command.accepted", Rank.AUDIT)
    assert first[0].record.data == {"number": 7, "name": "burst", "arguments": BURST}
    assert isinstance(first[1], Remember)
    assert first[1].memory is Memory.COMMANDS
    assert not deeds(done)
    assert not replies(done)
    play.wait(30.0, switch=LIVE)
    assert not [c for c in play.did(SetPeriod) if c.period_s == 1.0], "the card has not answered"
    done = card_answers(play)
    assert SetPeriod(camera="river", period_s=1.0) in done
    assert kinds(done) == ["command.done"]
    assert replies(done) == [
        {"v": 1, "number": 7, "result": "done", "why": "", "correlation": b"c"}
    ]


def test_a_journal_in_memory_is_word_enough():
    play = box()
    play.post(command(7, "burst", BURST))
    assert deeds(card_answers(play, durable=False))


def test_a_deed_waits_while_the_card_has_its_number_but_no_room_for_its_record():
    play = box()
    play.post(command(7, "burst", BURST))
    assert deeds(card_answers(play, durable=False, ahead=True)) == []
    assert deeds(card_answers(play))


def test_the_word_of_another_memory_or_of_an_older_value_is_no_word():
    play = box()
    play.post(command(1, "burst", BURST))
    old = kept_of(play)
    play.post(command(2, "report"))
    assert old is not None
    for event in (
        Remembered(memory=Memory.COMMANDS, value=old, durable=True),
        Remembered(memory=Memory.POLICY, value=kept_of(play) or b"", durable=True),
    ):
        assert play.post(event) == []
    done = card_answers(play)
    assert [reply["number"] for reply in replies(done)] == [1, 2], "in the order of acceptance"


def test_the_same_command_again_gets_the_same_reply_and_nothing_else():
    play = box()
    first = obeyed(play, command(7, "locate", {"seconds": 60}))
    again = play.post(command(7, "locate", {"seconds": 60}, correlation=b"d"))
    assert replies(again) == [{**replies(first)[0], "correlation": b"d"}]
    assert [c for c in again if not isinstance(c, Send)] == []


def test_asked_again_before_the_card_has_it_the_newest_asker_gets_the_one_reply():
    play = box()
    play.post(command(7, "report"))
    assert play.post(command(7, "report", correlation=b"d")) == []
    done = card_answers(play)
    assert [reply["correlation"] for reply in replies(done)] == [b"d"]
    assert kinds(done).count("box.report") == 1


def test_a_number_that_was_another_commands_is_refused():
    play = box()
    obeyed(play, command(7, "locate", {"seconds": 9}))
    for other in (command(7, "sync-now"), command(7, "locate", {"seconds": 10})):
        result, why = answer(play.post(other))
        assert result == "refused"
        assert "command.number: 7 was another command's (locate)" in why


@pytest.mark.parametrize("interrupted", [False, True])
def test_after_a_restart_the_same_command_gets_the_same_reply_and_no_second_deed(interrupted: bool):
    play = box()
    play.post(command(7, "reverify"))
    if not interrupted:
        card_answers(play)
    kept = kept_of(play)
    assert kept is not None
    later = Play.begin(settings(cameras=(RIVER,)), remembered={Memory.COMMANDS: kept})
    started = kinds([c for _, c in later.done])
    assert started.count("command.done") == interrupted
    card_answers(later)
    later.go_live()
    later.connect_hub()
    later.post(opened(camera="river"))
    show(later, "river", 8)
    done = later.post(command(7, "reverify"))
    assert kinds(done) == []
    result, why = answer(done)
    assert (result, bool(why)) == (("failed", True) if interrupted else ("done", False))
    assert answer(later.post(command(6, "report")))[0] == "refused", "older numbers are gone too"
    assert later.status()["cameras"][0]["gate"] == "open"


def test_what_a_restart_interrupted_is_told_once_and_not_at_each_start():
    play = box()
    play.post(command(7, "reverify"))
    kept = kept_of(play)
    assert kept is not None
    later = Play.begin(remembered={Memory.COMMANDS: kept})
    again = kept_of(later)
    assert again is not None
    last = Play.begin(remembered={Memory.COMMANDS: again})
    assert "command.done" not in kinds([c for _, c in last.done])


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff", b"{}", b"[" * 9999, b'{"v":1,"highest":"x","told":[]}', b"x" * 300_000],
)
def test_a_damaged_memory_is_no_reason_not_to_run(damage: bytes):
    play = Play.begin(settings(cameras=(RIVER,)), remembered={Memory.COMMANDS: damage})
    play.connect_hub()
    assert answer(obeyed(play, command(1, "report")))[0] == "done"


def test_one_damaged_answer_costs_no_number():
    kept = b'{"v":1,"highest":9,"told":[{"number":9},5]}'
    play = Play.begin(remembered={Memory.COMMANDS: kept})
    play.connect_hub()
    assert answer(play.post(command(9, "report")))[0] == "refused"


def test_only_the_newest_answers_are_kept_and_older_numbers_stay_used():
    play = box()
    for number in range(1, TOLD_MAX + 3):
        obeyed(play, command(number, "report"))
        broker_answers(play)
    kept = json.loads(kept_of(play) or b"")
    assert [told["number"] for told in kept["told"]] == list(range(3, TOLD_MAX + 3))
    assert "is not above" in answer(play.post(command(1, "report")))[1]


def test_a_slow_card_makes_no_command_be_forgotten():
    play = box()
    numbers = list(range(1, TOLD_MAX + 6))
    play.post(*(command(number, "report") for number in numbers))
    done = [*card_answers(play), *broker_answers(play)]
    assert [reply["number"] for reply in replies(done)] == numbers


# ---- refused ----

UNFIT: dict[str, tuple[OrderVerified, str]] = {
    "retained": (command(9, "report", retained=True), "command: was retained"),
    "not JSON": (replace(command(9, "report"), claims=b"{"), "command: not JSON"),
    "a policy": (command(9, "report", kind="policy"), "command: needs an object with v 1"),
    "for others": (command(9, "report", aud="cctv/v1/elsewhere"), "command.aud"),
    "old number": (command(4, "report"), "command.number: 4 is not above 5"),
    "all numbers": (command(2**63 - 1, "report"), "command.number: above"),
    "no number": (command(-1, "report"), "command.number: needs a whole number"),
    "expired": (command(9, "report", expires=WALL_S - 1), "command.expires:"),
    "far ahead": (
        command(9, "report", expires=WALL_S + AHEAD_S + 99),
        "command.expires: more than",
    ),
    "no date": (command(9, "report", expires=None), "command.expires: needs Unix seconds"),
    "unknown": (command(9, "open"), "command.name: open is none of burst,"),
    "extra": (command(9, "report", {"what": 1}), "command.arguments.what: not an argument"),
    "too fast": (
        command(9, "burst", {**BURST, "period_s": 0.5}),
        "command.arguments.period_s: needs",
    ),
    "endless": (command(9, "burst", {**BURST, "minutes": 61}), "command.arguments.minutes: needs"),
    "infinite": (
        replace(
            command(9, "locate"),
            claims=json.dumps(claims(9, "locate", {"seconds": 5})).replace("5}", "1e999}").encode(),
        ),
        "command: not JSON (a number beyond a double)",
    ),
    "true": (command(9, "locate", {"seconds": True}), "command.arguments.seconds"),
    "none given": (command(9, "locate"), "command.arguments.seconds"),
    "other camera": (
        command(9, "reverify", {"cameras": ["river", "x"]}),
        "command.arguments.cameras: needs a list of ids of this box, once each: river",
    ),
    "twice": (command(9, "reverify", {"cameras": ["river", "river"]}), "command.arguments.cameras"),
    "empty": (command(9, "reverify", {"cameras": []}), "command.arguments.cameras"),
    "null": (command(9, "reverify", {"cameras": None}), "command.arguments.cameras"),
    "nested": (command(9, "reverify", {"cameras": [["river"]]}), "command.arguments.cameras"),
    "privacy": (command(9, "privacy-off"), "privacy-off: the privacy switch is not to be set"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_is_not_in_order_is_refused_with_its_place_and_uses_up_no_number(what: str):
    order, place = UNFIT[what]
    play = box()
    obeyed(play, command(5, "report"))
    done = play.post(order)
    result, why = answer(done)
    assert result == "refused"
    assert place in why
    assert not [c for c in done if isinstance(c, Remember | SetPeriod | ShowLamps)]
    assert "command.accepted" not in kinds(done)
    keys = [finding["key"] for finding in play.status()["findings"]]
    assert "order_refused" in keys
    assert answer(obeyed(play, command(9, "report")))[0] == "done"
    keys = [finding["key"] for finding in play.status()["findings"]]
    assert "order_refused" not in keys, "the next one in order ends the finding"


def test_without_a_clock_that_something_vouches_for_nothing_is_obeyed_and_it_may_come_again():
    play = Play.begin(settings(cameras=(RIVER,)), wall_s=0.0)
    play.connect_hub()
    result, why = answer(play.post(command(9, "report")))
    assert result == "refused"
    assert "clock is not trusted" in why
    play.post(ClockRead(wall_s=WALL_S, trusted=True, source="test"))
    assert answer(obeyed(play, command(9, "report")))[0] == "done"


def test_the_moment_of_expiry_is_too_late_and_the_one_before_is_not():
    play = box()
    now_s = play.agent.wall(at=play.now)
    assert answer(play.post(command(9, "report", expires=now_s)))[0] == "refused"
    assert answer(obeyed(play, command(9, "report", expires=now_s + 0.01)))[0] == "done"


def test_a_clock_that_jumps_back_lets_no_command_happen_twice():
    play = box()
    obeyed(play, command(9, "report"))
    play.wait(4000.0, switch=LIVE)
    play.post(ClockRead(wall_s=WALL_S, trusted=True, source="test"))
    done = play.post(command(9, "report"))
    assert kinds(done) == []


def test_what_expires_while_it_waits_for_the_card_is_not_done_whatever_the_clock_says():
    play = box()
    now_s = play.agent.wall(at=play.now)
    play.post(command(9, "reverify", expires=now_s + 60.0))
    calm(play, 61.0)
    play.post(ClockRead(wall_s=WALL_S, trusted=True, source="test"))
    show(play, "river", 8)
    assert answer(card_answers(play)) == ("refused", "expired while it waited for the card")
    assert play.status()["cameras"][0]["gate"] == "open"


def test_a_press_between_the_word_and_the_deed_wins():
    play = box()
    play.post(command(1, "burst", BURST), command(2, "locate", {"seconds": 60}))
    play.post(PRESSED)
    done = card_answers(play)
    assert [reply["result"] for reply in replies(done)] == ["refused", "refused"]
    assert deeds(done) == []


@pytest.mark.parametrize(
    "order", [command(9, "burst", BURST), command(9, "locate", {"seconds": 9})]
)
def test_a_private_box_has_no_pictures_to_hurry_and_no_lamps_to_spare(order: OrderVerified):
    play = box()
    play.post(PRESSED)
    result, why = answer(play.post(order))
    assert result == "refused"
    assert "the box is private" in why
    assert kept_of(play) is None, "the number was not used up"


@pytest.mark.parametrize(
    ("order", "result"),
    [
        (command(9, "burst", BURST), "refused"),
        (command(9, "locate", {"seconds": 9}), "refused"),
        (command(9, "sync-now"), "refused"),
        (command(9, "report"), "done"),
        (command(9, "reverify"), "done"),
    ],
)
def test_a_suspended_box_tells_and_restricts_but_neither_hurries_nor_sends(
    order: OrderVerified, result: str
):
    play = box()
    play.post(policy(1, play.agent.wall(at=play.now) + 3600.0))
    said, why = answer(obeyed(play, order))
    assert said == result
    assert ("suspended by the city" in why) is (result == "refused")
    assert play.status()["suspended"] is True


def test_a_stolen_key_cannot_flood_the_journal_or_the_line():
    play = box()
    before = len(play.done)
    for number in range(1, 3001):
        play.post(command(number, "report"))
        card_answers(play)
        play.post(*(Delivered(ticket=c.ticket, code=0) for c in play.did(Send)[-1:]))
    done = [c for _, c in play.done[before:]]
    assert kinds(done).count("command.accepted") == ACCEPTED_AN_HOUR
    assert len([c for c in done if isinstance(c, Remember)]) == 2 * ACCEPTED_AN_HOUR
    assert kinds(done).count("command.refused") == 1
    assert len(replies(done)) == REPLIES_A_MINUTE
    calm(play, 61.0)
    counted = [r for r in play.records if r.kind == "command.refused"]
    assert [r.data["refused"] for r in counted] == [1, 3000 - ACCEPTED_AN_HOUR - 1]
    assert {r.rank for r in counted} == {Rank.STATE}
    result, why = answer(play.post(command(3001, "report")))
    assert result == "refused"
    assert "within an hour" in why
    calm(play, 3600.0)
    order = command(3001, "report", expires=play.agent.wall(at=play.now) + 60)
    assert answer(obeyed(play, order))[0] == "done"


def test_correlation_data_comes_back_as_it_was_unless_it_is_huge():
    play = box()
    for number, (sent, back) in enumerate(
        [(b"", b""), (None, None), (b"\x00" * CORRELATION_BYTES_MAX, b"\x00" * CORRELATION_BYTES_MAX),
         (b"x" * (CORRELATION_BYTES_MAX + 1), None)], start=1
    ):  # fmt: skip
        (reply,) = replies(obeyed(play, command(number, "report", correlation=sent)))
        assert reply["correlation"] == back


# ---- burst ----


def periods(play: Play) -> list[float]:
    return [c.period_s for c in play.did(SetPeriod) if c.camera == "river"]


def gate_moves(play: Play) -> int:
    return [record.kind for record in play.records].count("gate.changed")


def test_a_burst_makes_pictures_come_faster_until_its_time_is_over_and_moves_no_gate():
    play = box()
    usual, moves = periods(play)[-1], gate_moves(play)
    obeyed(play, command(1, "burst", {"period_s": 1, "minutes": 2, "cameras": ["river"]}))
    began, before = play.now, len(play.released)
    assert periods(play)[-1] == 1.0
    for _ in range(30):
        play.wait(1.0, switch=LIVE)
        play.post(picture(camera="river", taken_at=play.now, reading=STREET))
    assert len(play.released) - before >= 29
    while play.now < began + 121.0:
        play.wait(1.0, switch=LIVE)
        play.post(picture(camera="river", taken_at=play.now, reading=STREET))
    assert periods(play)[-1] == usual
    changed = [at for at, c in play.done if isinstance(c, SetPeriod) and c.period_s == usual]
    assert changed[-1] == pytest.approx(began + 120.0, abs=0.6)
    assert gate_moves(play) == moves


def test_a_burst_is_never_slower_than_usual():
    play = box(chosen=settings(cameras=(replace(RIVER, period_s=2.0),)))
    before = periods(play)
    obeyed(play, command(1, "burst", {"period_s": 60, "minutes": 2}))
    assert periods(play) == before


def test_a_press_ends_a_burst_for_good():
    play = box()
    obeyed(play, command(1, "burst", BURST))
    play.post(PRESSED)
    play.wait(10.0, switch=PRESSED)
    play.wait(4.0, switch=replace(LIVE, press=1))
    play.post(opened(camera="river", generation=2))
    show(play, "river", 12, generation=2)
    assert play.status()["cameras"][0]["gate"] == "open"
    assert periods(play)[-1] == RIVER.period_s


def test_a_suspension_ends_a_burst():
    play = box()
    obeyed(play, command(1, "burst", BURST))
    play.post(policy(1, play.agent.wall(at=play.now) + 30.0))
    assert periods(play)[-1] > 1.0
    play.wait(31.0, switch=LIVE)
    show(play, "river", 2)
    assert periods(play)[-1] == RIVER.period_s


def test_a_camera_that_cannot_keep_up_leaves_the_burst_and_is_not_dark_for_it():
    play = box()
    obeyed(play, command(1, "burst", BURST))
    for same in range(1, 8):
        play.wait(1.0, switch=LIVE)
        seen = replace(STREET, same_bits=min(same, 4))
        play.post(picture(camera="river", taken_at=play.now, reading=seen))
    assert periods(play)[-1] > 1.0
    show(play, "river", 12)
    assert play.status()["cameras"][0]["gate"] == "open"
    assert periods(play)[-1] == RIVER.period_s


# ---- reverify ----


def test_reverify_closes_and_the_camera_opens_again_by_its_own_view_alone():
    play = box()
    done = obeyed(play, command(1, "reverify"))
    changed = next(
        c.record for c in done if isinstance(c, Keep) and c.record.kind == "gate.changed"
    )
    assert (changed.data["before"], changed.data["after"]) == ("open", "held")
    assert changed.data["cause"] == gates.Cause.BROKEN.value
    assert play.did(OpenShutter)[-1].cameras == frozenset()
    before = len(play.released)
    show(play, "river", 4)
    assert len(play.released) == before
    show(play, "river", 6)
    assert len(play.released) > before


def test_over_a_pair_that_is_not_whole_what_passed_unbroken_is_held_after_reverify():
    run = replace(RUN, loop_open_policy=LoopOpenPolicy.SCENE_STRICT)
    play = Play.begin(replace(settings(cameras=(GATE,)), runs=(run,)))
    play.go_live()
    play.connect_hub()
    play.post(opened(camera="gate"), LoopRead(camera="gate", closed=True))
    show(play, "gate", 10)
    play.post(LoopRead(camera="gate", closed=False))
    show(play, "gate", 15)
    assert play.status()["cameras"][0]["gate"] == "open", "it never broke, and matches"
    play.post(LoopRead(camera="gate", closed=False))
    obeyed(play, command(1, "reverify"))
    show(play, "gate", 20)
    assert play.status()["cameras"][0]["gate"] == "held"


def test_reverify_leaves_a_private_box_private():
    play = box()
    play.post(PRESSED)
    assert answer(obeyed(play, command(1, "reverify")))[0] == "done"
    assert play.status()["cameras"][0]["gate"] == "private"


# ---- locate ----


def lamp(play: Play) -> Lamp:
    return play.did(ShowLamps)[-1].lamp


def test_locate_shows_its_pattern_for_as_long_as_was_asked():
    play = box()
    began = play.now
    obeyed(play, command(1, "locate", {"seconds": 20}))
    assert lamp(play) is Lamp.LOCATE
    while play.now < began + 25.0:
        show(play, "river", 1)
    at = [when for when, c in play.done if isinstance(c, ShowLamps) and c.lamp is Lamp.LIVE][-1]
    assert at == pytest.approx(began + 20.0, abs=0.6)
    assert lamp(play) is Lamp.LIVE


@pytest.mark.parametrize(
    ("order", "lasts_s"),
    [
        (command(1, "locate", {"seconds": 20}), 20.0),
        (command(1, "burst", {"period_s": 1, "minutes": 1}), 60.0),
        (command(1, "open"), 60.0),
    ],
)
def test_the_agent_wants_to_be_asked_when_something_ends(order: OrderVerified, lasts_s: float):
    """For the last one: when the record of what was refused since the first is due."""
    play = box()
    began = play.now
    play.post(order)
    card_answers(play)
    play.post(command(2, "open"))
    while play.now < began + lasts_s - 0.1:
        play.wait(0.5, switch=LIVE)
        play.post(picture(camera="river", taken_at=play.now, reading=STREET))
        if play.now >= began + lasts_s - 0.75:
            break
    assert play.agent.deadline(at=play.now) <= began + lasts_s


def test_a_press_ends_locate_and_private_is_seen_at_once_and_stays():
    play = box()
    obeyed(play, command(1, "locate", {"seconds": 300}))
    play.post(PRESSED)
    assert lamp(play) is Lamp.PRIVATE
    play.wait(4.0, switch=replace(LIVE, press=1))
    play.post(opened(camera="river", generation=2))
    show(play, "river", 8, generation=2)
    assert lamp(play) is Lamp.LIVE


# ---- report, sync-now ----


def test_a_report_says_what_the_box_knows_without_a_secret_and_within_bounds():
    play = box()
    play.post(command(1, "unknown"))
    done = obeyed(play, command(2, "report"))
    (record,) = [c.record for c in done if isinstance(c, Keep) and c.record.kind == "box.report"]
    assert record.rank is Rank.STATE
    data: Any = json.loads(json.dumps(record.data))
    assert (data["number"], data["version"], data["private"]["on"]) == (2, "1.0", False)
    assert [camera["id"] for camera in data["cameras"]] == ["river"]
    assert data["uplink"]["state"] == "up"
    assert "10.0.0" not in json.dumps(data)
    assert [c.number for c in done if isinstance(c, Examine)] == [2]


def test_what_the_doctor_says_becomes_a_record_under_the_number_of_the_command():
    play = box()
    obeyed(play, command(2, "report"))
    done = play.post(Examined(number=2, told={"state": "ok", "counts": {"ok": 60}}))
    (record,) = [c.record for c in done if isinstance(c, Keep)]
    assert (record.kind, record.rank) == ("box.doctor", Rank.STATE)
    data: Any = record.data
    assert (data["number"], data["state"], data["counts"]) == (2, "ok", {"ok": 60})


def test_sync_now_ends_the_pauses_of_what_was_refused_or_had_nobody_to_listen():
    play = Play.begin(settings(cameras=(RIVER,)))
    play.post(committed(last_seq=0))
    play.wait(3.0)
    play.connect_hub()
    play.wait(3.0)
    play.post(committed(last_seq=3, depth=3))
    state = next(c for c in play.did(Send) if c.message.topic.endswith("/camera/river"))
    play.post(Delivered(ticket=state.ticket, code=0x87))
    play.wait(5.0)
    before = len([c for c in play.did(Send) if c.message.topic == state.message.topic])
    obeyed(play, command(1, "sync-now"))
    assert len([c for c in play.did(Send) if c.message.topic == state.message.topic]) > before


# ---- no sequence of commands opens anything ----

NAMES = ["burst", "reverify", "locate", "report", "sync-now", "open", "privacy-off"]
ARGUMENTS: list[dict[str, object]] = [
    {},
    BURST,
    {"seconds": 300},
    {"cameras": ["river"]},
    {"cameras": ["river"], **BURST},
    {"open": True},
]
NUMBERS = st.integers(0, 40)


def _ordered(order: OrderVerified) -> Step:
    return lambda life: life.post(order)


def _commands_on_card(durable: bool) -> Step:
    def step(life: Life) -> None:
        kept = kept_of(life.play)
        if kept is not None:
            life.card[Memory.COMMANDS] = kept
            life.post(Remembered(memory=Memory.COMMANDS, value=kept, durable=durable))

    return step


ORDERS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda number, name, arguments, retained: _ordered(
            command(number, name, arguments, retained=retained)
        ),
        NUMBERS,
        st.sampled_from(NAMES),
        st.sampled_from(ARGUMENTS),
        st.booleans(),
    ),
    st.builds(_commands_on_card, st.booleans()),
)


@given(
    st.sampled_from([LATCHING, MOMENTARY]),
    st.lists(st.one_of(ORDERS, ORDERS, STEPS, st.just(_film)), min_size=5, max_size=40),
)
def test_no_sequence_of_commands_turns_private_into_live_or_opens_a_gate(
    privacy: Privacy, steps: list[Step]
):
    life = Life(privacy, kept=LEAVE if privacy.switch is SwitchKind.MOMENTARY else None)
    for step in steps:
        gate_before = _gate(life)
        before, boots = len(life.play.done), life.boots
        step(life)
        if step.__qualname__.startswith(("_ordered", "_commands_on_card")):
            assert boots == life.boots
            done = [c for _, c in life.play.done[before:]]
            assert not [c for c in done if isinstance(c, KeepPicture | StartCameras)]
            assert not [c for c in done if isinstance(c, OpenShutter) and c.cameras]
            assert not [c for c in done if isinstance(c, PowerCameras) and c.on]
            assert gate_before == "open" or _gate(life) != "open"
        _lamps_are_honest(life)


def _gate(life: Life) -> str:
    return str(life.play.status()["cameras"][0]["gate"])


def _lamps_are_honest(life: Life) -> None:
    """White is never seen of a private box, but for the fault that the card names."""
    shown = life.play.did(ShowLamps)[-1].lamp
    if life.play.status()["private"]["on"]:
        assert shown in (Lamp.PRIVATE, Lamp.WIRING_FAULT)


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("order"), NUMBERS, st.sampled_from(NAMES), st.sampled_from(ARGUMENTS)
            ),
            st.tuples(st.just("card"), st.booleans(), st.none(), st.none()),
            st.tuples(st.just("cut"), st.booleans(), st.none(), st.none()),
        ),
        max_size=40,
    )
)
def test_over_any_restarts_each_number_is_acted_on_once_at_most_and_always_answered_alike(
    steps: list[tuple[Any, ...]],
):
    card: dict[Memory, bytes] = {}
    chosen = settings(cameras=(RIVER,))
    play = Play.begin(chosen)
    play.connect_hub()
    acted: list[int] = []
    told: dict[int, tuple[str, str]] = {}
    highest = -1

    def note(done: list[Command]) -> None:
        told_of = [
            c.record.data for c in done if isinstance(c, Keep) and c.record.kind == "command.done"
        ]
        acted.extend(int(str(data["number"])) for data in told_of if data["result"] != "failed")

    for kind, first, name, arguments in steps:
        if kind == "order":
            done = play.post(command(first, name, arguments))
            note(done)
            assert len(replies(done)) <= 1
            for reply in replies(done):
                number, said = reply["number"], (reply["result"], reply["why"])
                assert reply["number"] in (first, None)
                if number in acted and told.get(number, ("refused",))[0] != "refused":
                    same = said == told[number] or "another command's" in said[1]
                    assert same or "is not above" in said[1], "forgotten among the newest few"
            accepted = [
                c for c in done if isinstance(c, Keep) and c.record.kind == "command.accepted"
            ]
            for c in accepted:
                assert int(str(c.record.data["number"])) > highest
                highest = int(str(c.record.data["number"]))
        elif kind == "card":
            kept = kept_of(play)
            if kept is not None:
                card[Memory.COMMANDS] = kept
            done = card_answers(play)
            note(done)
            for reply in replies(done):
                told[reply["number"]] = (reply["result"], reply["why"])
        else:
            kept = card.get(Memory.COMMANDS)
            on_card: Any = {"highest": -1, "told": []} if kept is None else json.loads(kept)
            highest = on_card["highest"]
            for one in on_card["told"]:
                if (
                    one["result"] is None
                ):  # cut off between the deed and the card's word on what came of it
                    told.pop(one["number"], None)
            play = Play.begin(chosen, remembered=dict(card))
            note([c for _, c in play.done])
            card_kept = kept_of(play)
            if card_kept is not None:
                card[Memory.COMMANDS] = card_kept
            play.connect_hub()
    assert len(acted) == len(set(acted))


def test_the_life_of_the_property_does_obey_commands():
    life = Life(LATCHING)
    _film(life)
    life.post(command(1, "reverify"))
    _commands_on_card(True)(life)
    assert _gate(life) == "held"
    life.post(command(2, "locate", {"seconds": 60}))
    _commands_on_card(True)(life)
    life.street(10)
    assert Lamp.LOCATE in [c.lamp for c in life.play.did(ShowLamps)]
