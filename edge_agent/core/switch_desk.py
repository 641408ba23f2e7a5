"""What follows from the privacy switch: private and live with all that belongs to them, as commands in their order.

Promises:
- it starts private; a press is answered in one call: shutter closed, cameras stopped, unsent pictures purged, records;
- what was sent of the purge window, or may have been by an earlier life, is asked back from the hub: of this boot from a moment
  on, of the boot before by the end of what the hub has of it;
- a press that an earlier life in this boot left undone is one found at the start: private, purged from before it, without leave;
- of a spell that was over, but not on the card, what lies in it alone is asked back again;
- `PressKept` is said of a press when its purge, its records and a button's state are on the card, and not before;
- a momentary button is live only when the card has confirmed that in this life; its beep for private comes after the card too;
- power for the cameras, where the relay is ours, is given only while the switch says so, and with the count of presses.
Not its job: the state itself (privacy.py, button.py), gates and lamps (agent.py, signs.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from edge_agent.core.messages import (
    Beep,
    Command,
    FindingKey,
    Json,
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
from edge_agent.core.press_test import DAY_S, OVERDUE_S, PressTest
from edge_agent.core.privacy import Switch, SwitchView
from edge_agent.core.settings import Privacy, SwitchKind
from edge_agent.core.switch_memory import EarlierLife, dump, load

PRIVACY_KEYS: Final = frozenset(key for key in FindingKey if key.name.startswith("PRIVACY_"))
# A card that refused is asked again, seldom: private must be on it before the next power cut.
AGAIN_S: Final = 60.0


class Desk:
    """Owned by the agent."""

    def __init__(
        self,
        privacy: Privacy,
        *,
        boot: str,
        at: float,
        remembered: bytes | None,
        earlier: EarlierLife | None = None,
    ) -> None:
        """*remembered*: the last `Remember` of `Memory.SWITCH`, as far as the card still has it.

        *earlier*: what the life before this one left in this boot; None = nothing is known, so all of this boot is doubtful.
        """
        self._privacy = privacy
        self._boot = boot
        self._started_at = at
        self._kept = load(remembered)
        self._earlier = earlier or EarlierLife(live_at=0.0, pressed=False)
        granted = self._kept.live is True and not self._earlier.pressed
        self._switch = Switch(privacy, at=at, granted=granted)
        self._press_test = PressTest(
            tested_s=self._kept.tested_s, counted_from_s=self._kept.counted_from_s
        )
        self._tests = 0
        self._overdue = False
        self._private = True
        self._private_at = at
        self._recorded = False  # whether this private spell has its record
        # Whether a hand is known to have made this spell, or kept it up.
        self._by_hand = privacy.switch is SwitchKind.MOMENTARY and (
            self._kept.live is False or (self._earlier.pressed and not self._earlier.unread)
        )
        self._over = self._earlier.over
        self._live_at = at  # when it was read that last said live
        self._beep_due = False
        self._power: PowerCameras | None = None
        self._sent: float | None = None  # when the newest picture was taken that the link got
        self._value: bytes | None = None  # what the card was last asked to keep
        self._again_at: float | None = None  # it could not
        self._private_kept = False
        self._undone = False  # the card is to be asked to keep something behind a press's records
        self._on_card = True  # as far as it was asked
        self._press_kept: int | None = None  # the press of which that was last said
        self._undriven = ""  # which of lamps, buzzer and relay, and why

    @property
    def private(self) -> bool:
        """Whether the box is private, as the last `turn` left it."""
        return self._private

    @property
    def by_hand(self) -> bool:
        """Whether a person is known to be behind this private spell: no cut wire, no start, no silence."""
        return self._private and self._by_hand

    def press(self, *, at: float) -> int:
        """The count of presses that the present state rests on."""
        return self._switch.view(at=at).press

    def read(self, event: SwitchRead, *, at: float) -> None:
        """Take a reading; `turn` says what follows."""
        if not self._switch.read(event, at=at).private:
            self._live_at = at if event.read_at is None else min(event.read_at, at)
        self._undriven = event.undriven
        self._by_hand = self._by_hand or self._switch.touched
        if self._switch.tests != self._tests:
            self._tests = self._switch.tests
            self._press_test.pressed(at=at)

    def turn(self, wall_s: float | None, *, at: float) -> list[Command]:
        """What follows from the state at *at*; *wall_s* is Unix time if anything vouches for it."""
        view = self._switch.view(at=at)
        out = self._ask_again()
        if view.private and not self._private:
            out += self._go_private(view, at=at)
        elif self._private and not self._recorded and self._is_found(view):
            out += self._found_private(view, at=at)
        out += self._power_cameras(view)
        if self._private and not view.private:
            out += self._go_live(view, at=at)
        out += self._remember(wall_s, at=at) + self._beep()
        return out + self._say_kept(view.press)

    def remembered(self, event: Remembered, *, at: float) -> None:
        """The card's word on the button's state; `turn` says what follows."""
        if event.memory is not Memory.SWITCH or event.value != self._value:
            return
        self._on_card = event.durable
        button = self._switch.button
        if button is None:
            return
        # What the next start finds is the value alone: private must hold over a power cut on a full card too.
        kept = event.durable or event.ahead
        self._again_at = None if kept else at + AGAIN_S
        if self._kept.live:
            button.confirm(durable=kept)
        else:
            self._private_kept = kept
            self._beep_due = self._beep_due and kept

    def purged(self, event: Purged, *, at: float) -> list[Command]:
        """Pictures are gone from the journal; those that an earlier boot had sent are asked back too."""
        out: list[Command] = []
        if event.seqs:
            out.append(Say(level=Level.INFO, text=f"purged pictures={len(event.seqs)}"))
        if event.earlier_boot is not None:
            newest_s = self._privacy.purge_s
            out.append(_withdraw({"boot": event.earlier_boot, "newest_s": newest_s}, at=at))
        return out

    def sent(self, message: Message) -> None:
        """*message* was handed to the link."""
        told = dict(message.properties)
        if message.picture_of is None or told.get("boot") != self._boot:
            return
        taken_at = float(told["mono"])
        self._sent = taken_at if self._sent is None else max(self._sent, taken_at)

    def findings(self, *, at: float) -> dict[FindingKey, dict[str, Json]]:
        """Which of `PRIVACY_KEYS` hold, with their evidence."""
        view = self._switch.view(at=at)
        wanted: dict[FindingKey, dict[str, Json]] = {}
        if view.fault is not None:
            wanted[view.fault] = {"detail": view.why}
        if self._privacy.switch is SwitchKind.NONE:
            wanted[FindingKey.PRIVACY_NO_SWITCH] = {}
        if self._again_at is not None:
            wanted[FindingKey.PRIVACY_NOT_KEPT] = {}
        if self._undriven:
            wanted[FindingKey.PRIVACY_UNDRIVEN] = {"detail": self._undriven}
        if self._overdue:
            wanted[FindingKey.PRIVACY_PRESS_TEST] = {"days": round(OVERDUE_S / DAY_S)}
        return wanted

    def deadline(self, *, at: float) -> float:
        """When to call `turn` at the latest."""
        due = self._switch.deadline(at=at)
        return due if self._again_at is None else min(due, self._again_at)

    def status(self, wall_s: float | None, *, at: float) -> dict[str, Json]:
        """For `edge-agent status`."""
        view = self._switch.view(at=at)
        return {
            "on": self._private,
            "since_s": round(at - view.since, 1),
            "fault": view.fault.value if view.fault is not None else None,
            "switch": self._privacy.switch.value,
            "last_press_test_age_s": self._press_test.age_s(wall_s),
        }

    # -- private and live --

    def _go_private(self, view: SwitchView, *, at: float) -> list[Command]:
        """The shutter first: the rest may take its time."""
        self._private, self._private_at, self._recorded = True, at, True
        self._beep_due = self._undone = True
        why = self._why(view)
        record = Record(kind="privacy.on", rank=Rank.AUDIT, at=at, data={"why": why})
        # The hand moved at some time after the last live reading: a busy loop hears of it late.
        from_at = min(self._live_at, at) - self._privacy.purge_s
        return [
            OpenShutter(cameras=frozenset(), press=view.press),
            StopCameras(),
            *self._purge(from_at),
            Keep(record=record),
            Say(level=Level.INFO, text=f"privacy on why={why}"),
            *self._ask_back(from_at, at=at),
        ]

    def _is_found(self, view: SwitchView) -> bool:
        """At the start every box is private; a hand, or what argues against live, makes it a press.

        So does a relay that says off while the contacts say live: their pairs may be swapped.
        """
        pressed = self._earlier.pressed or self._by_hand or self._switch.found
        return pressed or view.fault is FindingKey.PRIVACY_RELAY

    def _found_private(self, view: SwitchView, *, at: float) -> list[Command]:
        self._recorded = self._undone = True
        why = self._why(view)
        data: dict[str, Json] = {"at_start": True, "why": why}
        # The hand moved at some time after the last live reading, of a life before this one as it may be.
        from_at = max(min(at, self._earlier.live_at) - self._privacy.purge_s, 0.0)
        return [
            *self._purge(from_at, earlier_s=self._privacy.purge_s),
            Keep(record=Record(kind="privacy.on", rank=Rank.AUDIT, at=at, data=data)),
            Say(level=Level.INFO, text=f"privacy on at start why={why}"),
            *self._ask_back(from_at, at=at),
        ]

    def _go_live(self, view: SwitchView, *, at: float) -> list[Command]:
        lasted_s = round(at - self._private_at, 1)
        # Said here too: the first reading of a slow press shows both contacts open, as a cut wire does.
        data: dict[str, Json] = {
            "lasted_s": lasted_s,
            "after_start": not self._recorded,
            "by_hand": self._by_hand,
        }
        self._private = self._recorded = self._by_hand = self._beep_due = False
        return [
            Keep(record=Record(kind="privacy.off", rank=Rank.AUDIT, at=at, data=data)),
            Say(level=Level.INFO, text=f"privacy off after_s={lasted_s}"),
            StartCameras(press=view.press),
        ]

    def _why(self, view: SwitchView) -> str:
        if self._by_hand:
            return "pressed"
        if self._switch.button is not None and self._kept.live is None:
            return "not known what was pressed last"
        if self._earlier.unread:
            return "the note of the switch could not be read"
        if self._earlier.pressed:
            return "not in its live position before the agent was started again"
        return view.why or "not in its live position"

    # -- what goes along --

    def _purge(self, from_at: float, earlier_s: float | None = None) -> list[Command]:
        # Without a window too: what was taken since the press, and waits, goes by this with a tombstone.
        if self._privacy.purge_s <= 0 and earlier_s is not None:
            return []
        return [Purge(since_at=from_at, reason="privacy", earlier_s=earlier_s)]

    def _ask_back(self, from_at: float, *, at: float) -> list[Command]:
        """Ask the hub to destroy what it got of the last moments before the press, once."""
        # To the millisecond as on the wire, downwards, or a picture at the very edge would stay.
        from_s = math.floor(max(from_at, 0.0) * 1000) / 1000
        # What an earlier life of the agent sent in this boot is not known.
        known = from_at >= self._started_at and (self._sent is None or self._sent < from_s)
        self._sent = None
        if self._privacy.purge_s <= 0 or known:
            return []
        data: dict[str, Json] = {"boot": self._boot, "from_s": from_s}
        return [_withdraw({**data, "window_s": self._privacy.purge_s}, at=at)]

    def _ask_again(self) -> list[Command]:
        """Of spells in a life before this one: the journal has a note of each purge, the asking back only what it could write."""
        over, self._over = self._over, ()
        self._undone = self._undone or bool(over)
        return [
            command
            for since, until in over
            # Up to the record's own moment, and no picture of the time after it.
            for command in self._ask_back(since - self._privacy.purge_s, at=until)
        ]

    def _power_cameras(self, view: SwitchView) -> list[Command]:
        if view.power is None:
            return []
        command = PowerCameras(on=view.power, press=view.press)
        before, self._power = self._power, command
        same = before is not None and before.on is command.on
        return [] if same and (before == command or not command.on) else [command]

    def _beep(self) -> list[Command]:
        kept = self._private_kept or self._switch.button is None
        if not (self._beep_due and self._by_hand and kept):
            return []
        self._beep_due = False
        return [Beep(sound=Sound.PRIVATE)]

    def _remember(self, wall_s: float | None, *, at: float) -> list[Command]:
        button = self._switch.button
        if self._privacy.switch is not SwitchKind.NONE:
            self._overdue = self._press_test.settle(wall_s, at=at)
        kept = replace(
            self._kept,
            live=None if button is None else button.granted,
            tested_s=self._press_test.tested_s,
            counted_from_s=self._press_test.counted_from_s,
        )
        again = self._again_at is not None and at >= self._again_at
        # Leave that the card already has is written anew in each life: a card that takes nothing any more could not take the
        # next press either.
        first = button is not None and self._value is None
        if kept == self._kept and not (again or first or self._undone):
            return []
        self._undone = self._on_card = False
        self._kept = replace(kept, number=self._kept.number + 1)
        self._value, self._private_kept = dump(self._kept), False
        self._again_at = None if self._again_at is None else at + AGAIN_S
        return [Remember(memory=Memory.SWITCH, value=self._value)]

    def _say_kept(self, press: int) -> list[Command]:
        """The journal takes purges first, and a fact in its turn: with what came behind a press's records, those are on the card."""
        if not self._on_card or press == self._press_kept:
            return []
        self._press_kept = press
        return [PressKept(press=press)]


def _withdraw(data: Mapping[str, Json], *, at: float) -> Keep:
    return Keep(record=Record(kind="privacy.withdraw", rank=Rank.AUDIT, at=at, data=data))
