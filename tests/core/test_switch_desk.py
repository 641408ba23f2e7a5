"""What follows from the switch, in its order: dark first, then destroyed, then told; and never live without the card."""

from dataclasses import replace

import pytest

from edge_agent.core.messages import (
    Beep,
    Command,
    FindingKey,
    Keep,
    Level,
    Memory,
    Message,
    OpenShutter,
    PowerCameras,
    PressKept,
    Purge,
    Purged,
    Rank,
    Record,
    Remember,
    Remembered,
    Say,
    Sound,
    StartCameras,
    StopCameras,
    SwitchRead,
)
from edge_agent.core.press_test import OVERDUE_S
from edge_agent.core.settings import Privacy, Relay, SwitchKind
from edge_agent.core.switch_desk import AGAIN_S, PRIVACY_KEYS, Desk
from edge_agent.core.switch_memory import EarlierLife, Kept, dump, load
from tests.support.play import DOWN, LIVE, PRESSED, RELEASED, UP

LATCHING = Privacy(switch=SwitchKind.LATCHING)
MOMENTARY = Privacy(switch=SwitchKind.MOMENTARY)
NOW_S = 1_800_000_000.0
TESTED = Kept(tested_s=int(NOW_S), counted_from_s=int(NOW_S))


class Room:
    """A desk in time; the card answers when told to."""

    def __init__(
        self,
        privacy: Privacy = LATCHING,
        *,
        kept: Kept = TESTED,
        at: float = 1000.0,
        wall_s: float | None = NOW_S,
        earlier: EarlierLife | None = None,
    ) -> None:
        self.at = at
        self.desk = Desk(privacy, boot="b", at=at, remembered=dump(kept), earlier=earlier)
        self.wall_s = wall_s
        self.done: list[Command] = []
        self.turn()

    def turn(self) -> list[Command]:
        out = self.desk.turn(self.wall_s, at=self.at)
        self.done += out
        return out

    def read(self, event: SwitchRead, *, seconds: float = 0.0) -> list[Command]:
        """*event* now, and again each second for *seconds*."""
        self.desk.read(event, at=self.at)
        out = self.turn()
        for _ in range(int(seconds)):
            self.at += 1.0
            self.desk.read(event, at=self.at)
            out += self.turn()
        return out

    def card(self, *, durable: bool = True, value: bytes | None = None) -> list[Command]:
        if value is None:
            value = self.values[-1]
        event = Remembered(memory=Memory.SWITCH, value=value, durable=durable)
        self.desk.remembered(event, at=self.at)
        return self.turn()

    @property
    def values(self) -> list[bytes]:
        return [c.value for c in self.done if isinstance(c, Remember) and c.memory is Memory.SWITCH]

    def is_private(self) -> bool:
        return self.desk.private

    def by_hand(self) -> bool:
        return self.desk.by_hand

    def records(self, kind: str) -> list[Record]:
        return [
            c.record
            for c in self.done
            if isinstance(c, Keep) and c.record.kind == f"privacy.{kind}"
        ]

    def beeps(self) -> list[Sound]:
        return [c.sound for c in self.done if isinstance(c, Beep)]

    def open_keys(self) -> set[FindingKey]:
        return set(self.desk.findings(at=self.at))


def live_room(privacy: Privacy = LATCHING, **more: object) -> Room:
    room = Room(privacy, **more)  # type: ignore[arg-type]
    room.read(LIVE, seconds=3)
    assert not room.is_private()
    return room


def live_button(**more: object) -> Room:
    room = Room(MOMENTARY, kept=replace(TESTED, live=True), **more)  # type: ignore[arg-type]
    room.card()
    room.read(UP, seconds=3)
    assert not room.is_private()
    return room


def picture(*, mono: float, boot: str = "b") -> Message:
    return Message(
        topic="t",
        payload=b"jpeg",
        properties=(("boot", boot), ("mono", f"{mono:.3f}")),
        picture_of="gate",
    )


# ---- a press ----


def test_a_press_is_dark_first_then_destroyed_then_told():
    room = long_live()
    out = room.read(PRESSED)
    assert [type(c) for c in out] == [OpenShutter, StopCameras, Purge, Keep, Say, Remember, Beep]
    assert out[0] == OpenShutter(cameras=frozenset(), press=1)
    assert out[2] == Purge(since_at=room.at - 60.0, reason="privacy")
    (record,) = room.records("on")
    assert (record.rank, record.at) == (Rank.AUDIT, room.at)
    assert record.data == {"why": "pressed"}
    assert out[4] == Say(level=Level.INFO, text="privacy on why=pressed")
    assert room.is_private()
    assert room.read(PRESSED, seconds=10) == []


def test_a_release_is_told_with_its_length_and_starts_the_cameras_with_its_press():
    room = live_room()
    room.read(PRESSED, seconds=10)
    out = room.read(RELEASED, seconds=3)
    (record,) = room.records("off")[1:]
    assert record.data == {"lasted_s": 13.0, "after_start": False, "by_hand": True}
    assert record.rank is Rank.AUDIT
    assert record.at == room.at
    assert out[-2:] == [
        Say(level=Level.INFO, text="privacy off after_s=13.0"),
        StartCameras(press=1),
    ]
    assert room.records("off")[0].data == {"lasted_s": 3.0, "after_start": True, "by_hand": False}


def test_the_purge_reaches_back_from_the_last_moment_that_was_surely_live():
    room = live_room()
    heard_at = room.at
    room.at += 2.5  # a busy loop hears of the press late
    (purge,) = [c for c in room.read(PRESSED) if isinstance(c, Purge)]
    assert purge.since_at == heard_at - 60.0


def test_a_live_reading_counts_from_when_it_was_read_not_from_when_it_was_heard():
    room = live_room()
    room.at += 1.5  # a busy loop, which then hears all of it at once
    room.read(replace(LIVE, read_at=room.at - 1.2))
    (purge,) = [c for c in room.read(PRESSED) if isinstance(c, Purge)]
    assert purge.since_at == room.at - 1.2 - 60.0


def test_a_reading_from_the_future_is_heard_now():
    room = live_room()
    room.read(replace(LIVE, read_at=room.at + 5.0))
    (purge,) = [c for c in room.read(PRESSED) if isinstance(c, Purge)]
    assert purge.since_at == room.at - 60.0


def test_without_a_purge_window_only_what_was_taken_since_the_press_goes():
    room = live_room(replace(LATCHING, purge_s=0.0))
    room.desk.sent(picture(mono=room.at))
    pressed = room.read(PRESSED)
    kinds = [type(c) for c in pressed]
    assert kinds == [OpenShutter, StopCameras, Purge, Keep, Say, Remember, Beep]
    assert pressed[2] == Purge(since_at=room.at, reason="privacy")
    found = Room(replace(LATCHING, purge_s=0.0))
    assert [type(c) for c in found.read(PRESSED)] == [Keep, Say, Remember]


def test_a_short_window_is_one_too():
    room = live_room(replace(LATCHING, purge_s=0.5))
    room.desk.sent(picture(mono=room.at))
    room.read(PRESSED)
    assert [c.since_at for c in room.done if isinstance(c, Purge)] == [room.at - 0.5]
    assert asked_back(room) == [{"boot": "b", "from_s": room.at - 0.5, "window_s": 0.5}]


def test_why_it_is_private_is_told_as_far_as_it_is_known():
    room = live_room()
    cut = SwitchRead(nc_closed=False, no_closed=False, press=1)
    room.read(cut)
    unreadable = live_room()
    unreadable.read(SwitchRead(nc_closed=None, no_closed=False, press=1, why="GPIO17 busy"))
    silent = live_room()
    silent.at += 3.0
    silent.turn()
    whys = [r.records("on")[0].data["why"] for r in (room, unreadable, silent)]
    assert whys == ["not in its live position", "GPIO17 busy", "no reading for 3 s"]
    assert not any(r.desk.by_hand for r in (room, unreadable, silent))


# ---- found private at the start ----


def test_a_slow_press_is_told_as_a_hands_at_the_latest_when_it_ends():
    """NC opens some hundredths of a second before NO closes: until then it might be a cut wire."""
    room = live_room()
    room.read(SwitchRead(nc_closed=False, no_closed=False, press=1))
    assert room.records("on")[-1].data == {"why": "not in its live position"}
    room.read(PRESSED)
    room.read(RELEASED, seconds=3)
    assert room.records("off")[-1].data["by_hand"] is True


def test_found_pressed_at_the_start_the_end_of_the_boot_before_goes_too():
    room = Room(earlier=EarlierLife(live_at=1000.0, pressed=False))
    assert [c for c in room.done if isinstance(c, Keep | Purge)] == []
    out = room.read(PRESSED)
    assert out[0] == Purge(since_at=room.at - 60.0, reason="privacy", earlier_s=60.0)
    (record,) = room.records("on")
    assert record.data == {"at_start": True, "why": "pressed"}
    assert (record.rank, record.at) == (Rank.AUDIT, room.at)
    assert Say(level=Level.INFO, text="privacy on at start why=pressed") in out
    assert room.by_hand()
    assert room.beeps() == []
    room.read(PRESSED, seconds=5)
    assert len(room.records("on")) == 1
    out = room.desk.purged(Purged(seqs=(), cameras=(), earlier_boot="a"), at=room.at)
    (kept,) = out
    assert isinstance(kept, Keep)
    assert (kept.record.kind, kept.record.rank) == ("privacy.withdraw", Rank.AUDIT)
    assert kept.record.data == {"boot": "a", "newest_s": 60.0}
    room.read(RELEASED, seconds=3)
    assert room.records("off")[0].data["after_start"] is False


@pytest.mark.parametrize(
    ("earlier", "from_s"),
    [
        (EarlierLife(live_at=930.0, pressed=False), 870.0),
        (EarlierLife(live_at=20.0, pressed=False), 0.0),
        (EarlierLife(live_at=5000.0, pressed=False), 940.0),
        (None, 0.0),
    ],
    ids=["before this life", "soon after the boot", "of another clock", "not known"],
)
def test_a_press_while_no_process_ran_is_reckoned_from_when_the_switch_was_last_surely_live(
    earlier: EarlierLife | None, from_s: float
):
    room = Room(earlier=earlier)
    (purge,) = [c for c in room.read(PRESSED) if isinstance(c, Purge)]
    assert purge == Purge(since_at=from_s, reason="privacy", earlier_s=60.0)
    assert asked_back(room) == [{"boot": "b", "from_s": from_s, "window_s": 60.0}]


UNDONE = EarlierLife(live_at=930.0, pressed=True)


def test_a_press_that_the_life_before_left_undone_is_done_at_the_start_though_it_was_released():
    room = Room(earlier=UNDONE)
    assert [c for c in room.done if isinstance(c, Purge)] == [
        Purge(since_at=870.0, reason="privacy", earlier_s=60.0)
    ]
    (record,) = room.records("on")
    why = "not in its live position before the agent was started again"
    assert record.data == {"at_start": True, "why": why}
    assert asked_back(room) == [{"boot": "b", "from_s": 870.0, "window_s": 60.0}]
    room.card()
    room.read(LIVE, seconds=2)
    assert room.is_private()
    room.read(LIVE, seconds=1)
    assert not room.is_private()
    assert len(room.records("on")) == 1


def test_a_note_that_cannot_be_read_is_called_that_and_is_nobodys_hand():
    unread = replace(UNDONE, live_at=0.0, unread=True)
    button = Room(MOMENTARY, kept=replace(TESTED, live=True), earlier=unread)
    for room in (Room(earlier=unread), button):
        assert room.records("on")[0].data == {
            "at_start": True,
            "why": "the note of the switch could not be read",
        }
        assert not room.by_hand()
        assert room.is_private()


def test_spells_that_were_over_are_asked_back_with_their_ends_and_then_kept():
    over = ((100.0, 130.0), (20.0, 40.5))
    room = Room(
        MOMENTARY,
        kept=replace(TESTED, live=True),
        earlier=EarlierLife(live_at=990.0, pressed=False, over=over),
    )
    found = [(record.at, record.data) for record in room.records("withdraw")]
    assert found == [
        (130.0, {"boot": "b", "from_s": 40.0, "window_s": 60.0}),
        (40.5, {"boot": "b", "from_s": 0.0, "window_s": 60.0}),
    ]
    assert [type(c) for c in room.done].index(Keep) < [type(c) for c in room.done].index(Remember)
    assert kept_presses(room) == []
    room.card()
    assert kept_presses(room) == [0]
    room.read(UP, seconds=3)
    assert not room.is_private(), "it had its leave after those"
    assert len(room.records("withdraw")) == 2


def test_a_dead_card_and_spells_that_were_over_change_nothing_of_a_latching_switch():
    over = ((100.0, 130.0),)
    room = Room(earlier=EarlierLife(live_at=990.0, pressed=False, over=over))
    room.card(durable=False)
    room.read(LIVE, seconds=3)
    assert not room.is_private()
    assert kept_presses(room) == []
    assert room.records("on") == []


def test_a_button_that_was_pressed_in_the_life_before_has_no_leave_whatever_the_card_says():
    room = Room(MOMENTARY, kept=replace(TESTED, live=True), earlier=UNDONE)
    assert load(room.values[-1]).live is False
    assert room.records("on")[0].data == {"at_start": True, "why": "pressed"}
    assert room.by_hand()
    room.card()
    room.read(UP, seconds=100)
    assert room.is_private()
    long_press(room)
    room.card()
    assert not room.is_private(), "a hand may"


def test_a_short_press_right_after_the_start_is_a_press():
    room = Room(earlier=EarlierLife(live_at=990.0, pressed=False))
    room.read(LIVE, seconds=1)
    (purge,) = [c for c in room.read(replace(LIVE, press=1)) if isinstance(c, Purge)]
    assert purge.since_at == 930.0
    assert room.records("on")[0].data == {"at_start": True, "why": "pressed"}


# ---- when a press needs to be noted no more ----


def kept_presses(room: Room) -> list[int]:
    return [c.press for c in room.done if isinstance(c, PressKept)]


def test_a_press_is_said_to_be_kept_once_the_card_has_what_came_behind_its_records():
    room = live_room()
    assert kept_presses(room) == [0]
    kinds = [type(c) for c in room.read(PRESSED)]
    assert kinds.index(Purge) < kinds.index(Keep) < kinds.index(Remember)
    assert load(room.values[-1]).number == 1
    room.read(PRESSED, seconds=10)
    assert kept_presses(room) == [0]
    assert room.card() == [PressKept(press=1)]
    assert room.card() == []
    assert room.read(replace(PRESSED, press=2)) == [PressKept(press=2)], "nothing follows from it"


def test_a_press_that_the_card_did_not_take_is_not_said_to_be_kept():
    for room, press in ((live_room(), PRESSED), (live_button(), DOWN)):
        before = kept_presses(room)
        room.read(press)
        room.card(durable=False)
        room.read(press, seconds=10)
        assert kept_presses(room) == before
        room.card()
        assert kept_presses(room) == [*before, 1]


def test_a_press_whose_records_the_card_has_no_room_for_is_not_said_to_be_kept():
    room = live_button()
    room.read(DOWN)
    early = Remembered(memory=Memory.SWITCH, value=room.values[-1], durable=False, ahead=True)
    room.desk.remembered(early, at=room.at)
    room.turn()
    assert room.beeps() == [Sound.PRIVATE], "a button's state is on the card"
    assert kept_presses(room) == [0]
    room.card()
    assert kept_presses(room) == [0, 1]


def test_an_answer_to_an_older_word_keeps_no_press():
    room = live_button()
    room.read(DOWN)
    room.card(value=room.values[-2])
    assert kept_presses(room) == [0]


def test_what_is_found_at_the_start_is_kept_like_a_press():
    room = Room(earlier=UNDONE)
    assert kept_presses(room) == []
    room.read(PRESSED)
    assert kept_presses(room) == []
    room.card()
    assert kept_presses(room) == [1]


# ---- what is gone ----


def test_a_purge_without_an_earlier_boot_asks_nothing_back():
    room = live_room()
    (said,) = room.desk.purged(Purged(seqs=(4, 5), cameras=("gate",)), at=room.at)
    assert isinstance(said, Say)
    assert said.text == "purged pictures=2"
    assert room.desk.purged(Purged(seqs=(), cameras=()), at=room.at) == []


def test_swapped_pairs_with_a_pressed_switch_are_found_at_the_start_too():
    room = Room(replace(LATCHING, feedback_pin=19))
    room.read(replace(LIVE, powered=False), seconds=3)
    assert room.records("on") == []
    room.read(replace(LIVE, powered=False), seconds=2)
    (record,) = room.records("on")
    assert record.data == {"at_start": True, "why": "live contacts, no power"}
    assert room.open_keys() == {FindingKey.PRIVACY_RELAY}


# ---- what was sent is asked back ----


def asked_back(room: Room) -> list[object]:
    return [record.data for record in room.records("withdraw")]


def long_live() -> Room:
    room = live_room()
    room.read(LIVE, seconds=100)
    return room


def test_what_was_sent_in_the_window_is_asked_back_by_its_moment():
    room = long_live()
    room.desk.sent(picture(mono=room.at - 30.0))
    room.desk.sent(picture(mono=room.at - 500.0))
    room.at += 0.0004
    room.read(LIVE)
    room.read(PRESSED)
    from_s = round(room.at - 0.0004 - 60.0, 3)
    assert asked_back(room) == [{"boot": "b", "from_s": from_s, "window_s": 60.0}]
    (record,) = room.records("withdraw")
    assert (record.rank, record.at) == (Rank.AUDIT, room.at)
    room.read(RELEASED, seconds=3)
    room.read(replace(PRESSED, press=2))
    assert len(asked_back(room)) == 1, "asked back once"


@pytest.mark.parametrize(("age_s", "asked"), [(60.0, 1), (60.002, 0)])
def test_what_was_sent_earlier_stays_with_the_hub(age_s: float, asked: int):
    room = long_live()
    room.desk.sent(picture(mono=room.at - age_s))
    room.desk.sent(picture(mono=room.at, boot="a"))
    room.desk.sent(replace(picture(mono=room.at), picture_of=None))
    room.read(PRESSED)
    assert len(asked_back(room)) == asked


def test_what_an_earlier_life_of_the_agent_may_have_sent_in_this_boot_is_asked_back():
    room = live_room()
    room.read(LIVE, seconds=20)
    room.read(PRESSED)
    assert asked_back(room) == [{"boot": "b", "from_s": 963.0, "window_s": 60.0}]
    found = Room(at=20.0)
    found.read(PRESSED)
    assert asked_back(found) == [{"boot": "b", "from_s": 0.0, "window_s": 60.0}]


# ---- power ----

OURS = replace(LATCHING, relay=Relay.FORCE_OFF)


def power(room: Room) -> list[tuple[bool, int]]:
    return [(c.on, c.press) for c in room.done if isinstance(c, PowerCameras)]


def test_power_follows_the_switch_and_is_said_on_change():
    room = live_room(OURS)
    assert power(room) == [(True, 0)]
    out = room.read(PRESSED, seconds=5)
    kinds = [type(c) for c in out]
    assert kinds.index(OpenShutter) < kinds.index(Purge) < kinds.index(PowerCameras)
    room.read(replace(PRESSED, press=2), seconds=5)
    out = room.read(replace(RELEASED, press=3), seconds=3)
    assert power(room) == [(True, 0), (False, 1), (True, 3)]
    kinds = [type(c) for c in out]
    assert kinds.index(PowerCameras) < kinds.index(StartCameras)


def test_power_that_always_stays_is_said_again_with_each_count():
    room = Room(replace(OURS, cut_power=False))
    room.read(LIVE, seconds=1)
    room.read(PRESSED, seconds=1)
    assert power(room) == [(True, 0), (True, 1)]


def test_without_a_relay_of_ours_nothing_is_said_of_power():
    room = live_room()
    room.read(PRESSED)
    assert power(room) == []


# ---- the button and the card ----


def test_a_button_is_live_only_when_the_card_confirmed_it_in_this_life():
    room = Room(MOMENTARY, kept=replace(TESTED, live=True))
    assert [load(value).live for value in room.values] == [True]
    room.read(UP, seconds=10)
    assert room.is_private()
    assert room.records("on") == []
    room.card(value=dump(replace(TESTED, live=True)))
    assert room.is_private(), "an answer to an older word"
    room.card()
    assert not room.is_private()
    assert room.beeps() == []


def test_a_card_that_takes_nothing_any_more_keeps_a_button_private():
    room = Room(MOMENTARY, kept=replace(TESTED, live=True))
    room.read(UP, seconds=10)
    room.card(durable=False)
    assert room.is_private()
    assert load(room.values[-1]).live is False
    assert FindingKey.PRIVACY_NOT_KEPT in room.open_keys()
    room.read(UP, seconds=100)
    assert room.is_private()


def test_answers_for_other_memories_say_nothing():
    room = Room(MOMENTARY, kept=replace(TESTED, live=True))
    room.read(UP, seconds=3)
    event = Remembered(memory=Memory.POLICY, value=room.values[-1], durable=True)
    room.desk.remembered(event, at=room.at)
    assert room.turn() == []
    assert room.is_private()


def test_a_press_of_the_button_is_dark_at_once_and_beeps_when_it_is_on_the_card():
    room = live_button()
    out = room.read(DOWN)
    assert isinstance(out[0], OpenShutter)
    assert room.is_private()
    assert load(room.values[-1]).live is False
    assert room.beeps() == []
    room.card()
    assert room.beeps() == [Sound.PRIVATE]
    room.card()
    room.read(DOWN, seconds=3)
    assert room.beeps() == [Sound.PRIVATE]


def test_a_press_that_could_not_be_kept_does_not_beep_and_is_tried_again():
    room = live_button()
    room.read(DOWN)
    asked = len(room.values)
    room.card(durable=False)
    assert room.desk.findings(at=room.at) == {FindingKey.PRIVACY_NOT_KEPT: {}}
    due = room.at + AGAIN_S
    up = replace(UP, press=2)
    room.read(up)
    assert room.desk.deadline(at=room.at) == room.at + 3.0
    room.read(up, seconds=int(AGAIN_S) - 1)
    assert room.desk.deadline(at=room.at) == due
    assert len(room.values) == asked
    room.read(up, seconds=1)
    assert len(room.values) == asked + 1
    assert load(room.values[-1]).live is False
    assert room.open_keys() == {FindingKey.PRIVACY_NOT_KEPT}
    room.read(up, seconds=int(AGAIN_S) - 1)
    assert len(room.values) == asked + 1
    room.read(up, seconds=1)
    assert len(room.values) == asked + 2
    room.card()
    assert room.open_keys() == set()
    assert room.beeps() == [], "a beep minutes after the press means nothing to anybody"
    room.read(up, seconds=200)
    assert len(room.values) == asked + 2


def long_press(room: Room) -> None:
    room.read(UP_2, seconds=2)
    room.read(replace(DOWN, press=3), seconds=4)
    room.read(replace(UP, press=4), seconds=3)


UP_2 = replace(UP, press=2)


def test_a_long_press_brings_it_back_once_it_is_on_the_card():
    room = live_button()
    room.read(DOWN)
    room.card()
    long_press(room)
    assert load(room.values[-1]).live is True
    assert room.is_private()
    room.card(value=room.values[-2])
    assert room.is_private()
    out = room.card()
    assert not room.is_private()
    assert out[-1] == StartCameras(press=4)
    assert room.beeps() == [Sound.PRIVATE]


def test_a_touch_before_the_card_answered_wins():
    room = live_button()
    room.read(DOWN)
    room.card()
    long_press(room)
    leave = room.values[-1]
    room.read(replace(DOWN, press=5))
    assert load(room.values[-1]).live is False
    room.card(value=leave)
    room.read(replace(UP, press=6), seconds=20)
    room.card(value=leave)
    assert room.is_private()


def test_a_button_that_was_private_stays_so_and_its_start_is_a_press():
    room = Room(MOMENTARY, kept=replace(TESTED, live=False))
    (record,) = room.records("on")
    assert record.data == {"at_start": True, "why": "pressed"}
    assert room.by_hand()
    room.card()
    room.read(UP, seconds=100)
    assert room.is_private()
    assert room.beeps() == []


@pytest.mark.parametrize("remembered", [None, b"", b"\xff{", dump(TESTED)[:-3]])
def test_a_button_whose_memory_is_damaged_is_private_until_somebody_asks(remembered: bytes | None):
    desk = Desk(MOMENTARY, boot="b", at=0.0, remembered=remembered)
    out = desk.turn(NOW_S, at=0.0)
    (record,) = [c.record for c in out if isinstance(c, Keep) and c.record.kind == "privacy.on"]
    assert record.data["why"] == "not known what was pressed last"
    assert not desk.by_hand


def test_a_latching_switch_forgets_the_leave_of_a_button():
    room = Room(kept=replace(TESTED, live=True, number=4))
    (value,) = room.values
    assert load(value) == replace(TESTED, live=None, number=5)
    room.card(durable=False)
    assert room.open_keys() == set()
    assert Room(kept=TESTED).values == []


# ---- beeps ----


def test_a_cut_wire_does_not_beep_as_a_press_until_somebody_presses():
    room = live_room()
    room.read(SwitchRead(nc_closed=False, no_closed=False, press=1))
    assert room.beeps() == []
    room.read(replace(PRESSED, press=2), seconds=5)
    assert room.beeps() == [Sound.PRIVATE]
    assert room.by_hand()


def test_each_spell_beeps_for_itself():
    room = live_room()
    room.read(PRESSED)
    room.read(RELEASED, seconds=3)
    assert not room.by_hand()
    room.at += 3.0
    room.turn()
    assert room.is_private()
    assert not room.by_hand()
    assert room.beeps() == [Sound.PRIVATE]


# ---- findings, press test, status ----


def test_without_a_switch_that_is_a_finding_and_no_press_is_missed():
    room = Room(Privacy(switch=SwitchKind.NONE), kept=Kept())
    room.read(LIVE, seconds=3)
    assert room.desk.findings(at=room.at) == {FindingKey.PRIVACY_NO_SWITCH: {}}
    assert room.values == []
    room.wall_s = NOW_S + 2 * OVERDUE_S
    room.turn()
    assert room.open_keys() == {FindingKey.PRIVACY_NO_SWITCH}


def test_a_press_that_is_missed_for_45_days_is_a_finding_until_somebody_presses():
    room = Room()
    room.read(LIVE, seconds=3)
    room.wall_s = NOW_S + OVERDUE_S - 1
    room.turn()
    assert room.open_keys() == set()
    room.wall_s = NOW_S + OVERDUE_S
    room.turn()
    findings = room.desk.findings(at=room.at)
    assert findings == {FindingKey.PRIVACY_PRESS_TEST: {"days": 45}}
    room.read(PRESSED)
    assert room.open_keys() == set()
    assert load(room.values[-1]).tested_s == room.wall_s
    again = Room(kept=load(room.values[-1]), wall_s=room.wall_s + 10.0)
    assert again.values == []
    assert again.desk.status(again.wall_s, at=again.at)["last_press_test_age_s"] == 10.0


def test_each_press_is_noted_and_so_is_the_first_day():
    room = Room(kept=Kept())
    assert load(room.values[-1]) == Kept(number=1, counted_from_s=int(NOW_S))
    for number in range(1, 4):
        room.read(replace(LIVE, press=2 * number), seconds=3)
        room.wall_s = NOW_S + number * 1000
        room.read(replace(PRESSED, press=2 * number + 1))
        assert load(room.values[-1]).tested_s == room.wall_s


def test_without_a_trusted_clock_nothing_is_overdue():
    room = Room(kept=Kept(tested_s=1, counted_from_s=1), wall_s=None)
    room.read(LIVE, seconds=3)
    assert room.open_keys() == set()
    assert room.values == []


def test_a_lamp_or_relay_that_cannot_be_driven_is_a_finding_and_makes_nothing_private():
    room = live_room()
    room.read(replace(LIVE, undriven="lamp on GPIO23: another program holds this pin"))
    assert not room.is_private()
    assert room.desk.findings(at=room.at) == {
        FindingKey.PRIVACY_UNDRIVEN: {"detail": "lamp on GPIO23: another program holds this pin"}
    }
    room.read(LIVE)
    assert room.open_keys() == set()


def test_the_status_says_what_the_switch_is_and_what_is_wrong_with_it():
    room = live_room()
    assert room.desk.status(NOW_S, at=room.at) == {
        "on": False,
        "since_s": 0.0,
        "fault": None,
        "switch": "latching",
        "last_press_test_age_s": 0.0,
    }
    room.read(SwitchRead(nc_closed=True, no_closed=True, press=1), seconds=1)
    status = room.desk.status(None, at=room.at)
    assert status["on"] is True
    assert status["fault"] == "privacy_wiring"
    assert status["last_press_test_age_s"] is None
    assert room.desk.findings(at=room.at) == {FindingKey.PRIVACY_WIRING: {"detail": "both closed"}}
    assert room.open_keys() <= PRIVACY_KEYS
    assert room.desk.press(at=room.at) == 1
