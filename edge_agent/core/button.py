"""A momentary privacy button as a state over time: any touch is private at once; only a long press may ask for live again.

Promises:
- an open contact, a counted edge, a contact that cannot be read or a silence takes back whatever leave there was, at once;
- leave for live comes from a person alone: the contact closed for 1 s or longer since it became private, then open for 3 to
  30 s without an edge in between, then closed for 3 s. The press that made it private never counts: the 1 s comes after it;
- leave that was given earlier, before a restart too, counts only once its copy on the card was confirmed in this life;
- open for more than 30 s is named as jammed.
Times are measured from reading to reading, so a loop that was busy makes a press look shorter, never longer.
Not its job: writing to the card (switch_desk.py), the relay and the silence of the sensors (privacy.py).
"""

from __future__ import annotations

from typing import Final

from edge_agent.core.messages import FindingKey, SwitchRead

ASK_S: Final = 3.0  # pressed for so long: no brush of a sleeve, no ball against the box
JAMMED_S: Final = 30.0  # nobody presses for so long; tape, a wedged cap or a cut wire does
REST_S: Final = 1.0  # between the press that made it private and the one that asks
CLOSED_S: Final = 3.0  # as the latching switch: longer than a hand that hesitates
# A contact bounces for 10 ms, its wire in the wind for longer; a hand cannot press twice within it.
BOUNCE_S: Final = 0.2
BURST_MAX_S: Final = 0.5
# Between a reading and its being heard, either way.
JITTER_S: Final = 0.1


class Button:
    """Decodes one NC contact. Owned by `Switch`."""

    def __init__(self, *, granted: bool, at: float) -> None:
        """*granted*: leave for live was on the card when the box started."""
        self._granted = granted
        self._confirmed = False
        self._private_since = at
        self._level: bool | None = None  # of the contact: True = closed; None = not known
        self._unread: str | None = None  # why it cannot be read
        self._press = 0
        self._since = at  # the last edge: of the level, or counted by the sensors
        self._heard_at = at
        self._burst_at = at  # the first edge of the burst that led to this level
        self._open_since = at
        self._rested = False  # closed for long enough before this burst
        self._asked = False  # a long press lies before this burst, and nothing since
        self.touched = (
            False  # the last reading is of a person's hand, as far as one contact can tell
        )
        self.tests = 0  # presses seen so far

    @property
    def granted(self) -> bool:
        """Whether there is leave for live, confirmed or not: what the card has to say."""
        return self._granted

    @property
    def promising(self) -> bool:
        """Whether nothing argues against live."""
        return self._granted

    @property
    def pressed(self) -> bool:
        """Whether it is pressed now."""
        return self._level is False

    def read(self, event: SwitchRead, *, at: float) -> None:
        """Take a reading."""
        closed = event.nc_closed
        self._unread = event.why if closed is None else None
        if closed is None:
            self.lost(at=at)
            self._press = event.press
            return
        counted = event.press != self._press
        changed = self._level is not None and closed is not self._level
        self.touched = not closed or counted
        if not closed and self._level is True:
            self.tests += 1
        if self.touched:
            self._take_back(at=at)
        if self._level is None:
            self._begin(at)
        elif changed or counted:
            self._edge(at)
        if not closed and self._level is not False:
            self._open_since = at
        self._level, self._press, self._heard_at = closed, event.press, at

    def lost(self, *, at: float) -> None:
        """It cannot be read, or nobody reads it: what was pressed meanwhile is not known."""
        self._take_back(at=at)
        self._level, self.touched = None, False  # whatever is read next begins anew

    def confirm(self, *, durable: bool) -> None:
        """The leave is on the card, or could not be put there: then it is void."""
        self._confirmed = self._granted and durable
        self._granted = self._confirmed

    def ready(self, *, at: float) -> bool:
        """Whether it says live now."""
        steady = self._level is True and at >= self._since + CLOSED_S
        if steady and self._asked:
            self._granted, self._asked = True, False
        return steady and self._granted and self._confirmed

    def fault(self, *, at: float) -> tuple[FindingKey, str] | None:
        """What is wrong with it."""
        if self._unread is not None:
            return FindingKey.PRIVACY_UNREADABLE, self._unread
        if self._level is False and at >= self._open_since + JAMMED_S:
            return FindingKey.PRIVACY_JAMMED, "pressed for more than 30 s"
        return None

    def deadlines(self) -> tuple[float, ...]:
        """When something may change without a reading."""
        if self._level is None:
            return ()
        due = self._since + CLOSED_S if self._level else self._open_since + JAMMED_S
        return (due,)

    def _begin(self, at: float) -> None:
        self._since = self._burst_at = at
        self._rested = self._asked = False

    def _edge(self, at: float) -> None:
        """The level so far ended, or a burst of bounces goes on."""
        heard_s = self._heard_at - self._since
        if heard_s >= BOUNCE_S:
            if self._level:
                own = self._since >= self._private_since
                self._rested, self._asked = own and heard_s >= REST_S - JITTER_S, False
            else:
                long = heard_s >= ASK_S - JITTER_S and at <= self._open_since + JAMMED_S
                self._rested, self._asked = False, self._rested and long
            self._burst_at = at
        elif at > self._burst_at + BURST_MAX_S:
            self._rested = self._asked = False
        self._since = at

    def _take_back(self, *, at: float) -> None:
        if self._granted:
            self._private_since = at
        self._granted = self._confirmed = False
