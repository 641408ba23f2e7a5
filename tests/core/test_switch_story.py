"""The hand always wins: nothing but the switch itself, read for long enough, ever opens what a hand has closed.

Long lives of a box, with restarts of the box and of the agent alone, damaged memories, changed settings, hub words of every kind, cameras, silence and noise. Beside
it stands a second, simple-minded reckoning of what the readings allow; whatever the agent does is held against that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.messages import (
    CameraLost,
    Cause,
    Command,
    Event,
    HubMessage,
    KeepPicture,
    LinkDown,
    LinkUp,
    Memory,
    OpenShutter,
    OrderForged,
    OrderVerified,
    PowerCameras,
    PressKept,
    Purge,
    Purged,
    Remember,
    Remembered,
    StartCameras,
    SwitchRead,
)
from edge_agent.core.settings import Health, Privacy, Relay, Settings, SwitchKind
from edge_agent.core.switch_memory import EarlierLife, dump, load
from tests.support.build import STREET, opened, picture
from tests.support.play import RIVER, WALL_S, Play, committed, settings

SILENT_S = 3.0
LIVE_S = 3.0
BURST_S = 0.5


@dataclass(frozen=True)
class Heard:
    """A reading, when it was heard."""

    at: float
    closed: bool | None  # latching: the whole live pattern
    press: int
    powered: bool | None = None


class Life:
    """A box over its restarts, and every reading of the present life."""

    play: Play

    def __init__(self, privacy: Privacy, *, kept: bytes | None = None) -> None:
        self.settings = replace(settings(cameras=(RIVER,)), privacy=privacy, runs=())
        self.card: dict[Memory, bytes] = {} if kept is None else {Memory.SWITCH: kept}
        self.card_works = True
        self.generation = 0
        self.boots = 0
        self.press = 0
        self.closed: bool | None = True
        self.powered: bool | None = None
        self.pending: list[tuple[Remember, int]] = []
        self.lived = 0
        # Presses over all lives: so many were made, the core knows of so many, what lies on the card was said after so many.
        self.made = self.known = self.on_card = 0
        # What the sensors' note says meanwhile: a press not yet done, and when it was last quiet.
        self.undone, self.quiet_at, self.kept_press = False, 0.0, -1
        self.restart()

    def lives(self) -> int:
        """How often it was seen live so far."""
        return self.lived

    # -- what happens --

    def restart(
        self,
        chosen: Settings | None = None,
        *,
        damage: bytes | None = None,
        same_boot: bool = False,
    ) -> None:
        """The power is cut: what was not on the card is gone. In the *same_boot* the process alone ended, and the note is there."""
        self.settings = chosen or self.settings
        if damage is not None:
            self.card[Memory.SWITCH] = damage
        earlier, at = None, 0.0
        if same_boot:
            earlier = EarlierLife(live_at=self.quiet_at, pressed=self.undone)
            at = self.play.now + 5.0
        else:
            self.boots += 1
            self.undone, self.quiet_at, self.on_card = False, 0.0, self.made
        # A press that the card does not know bars a button, whatever the card says.
        self.barred = self.made > self.on_card
        self.known = self.made
        self.generation = self.press = 0
        self.kept_press = -1
        self.heard: list[Heard] = []
        self.last_live_at = -1.0
        self.pending = []
        self.play = Play.begin(
            self.settings,
            remembered=dict(self.card),
            boot=f"b{self.boots}",
            at=at,
            earlier=earlier,
        )
        self.seen = 0
        if self.undone:
            self._check_undone()
        self.check()

    def _check_undone(self) -> None:
        """What the life before left undone is done before anything is read."""
        window_s = self.settings.privacy.purge_s
        assert self.play.status()["private"]["on"]
        assert "privacy.on" in [record.kind for record in self.play.records]
        if window_s:
            (purge,) = self.play.did(Purge)
            assert purge.since_at <= max(self.quiet_at - window_s, 0.0)
            asked = [r.data for r in self.play.records if r.kind == "privacy.withdraw"]
            from_s = asked[0]["from_s"]
            assert isinstance(from_s, float)
            assert from_s <= max(self.quiet_at - window_s, 0.0)

    def _look(self, *, press: bool) -> None:
        """As the sensors note it."""
        self.made += press
        self.undone = (self.undone or press) and self.kept_press != self.press
        if self.closed is True and not self.undone:
            self.quiet_at = self.play.now

    def post(self, event: Event) -> None:
        self.play.post(event)
        self.check()

    def tell(self) -> None:
        """The sensors' reading now."""
        powered = self.powered if self.settings.privacy.feedback_pin is not None else None
        self._look(press=False)
        self.known = self.made
        self.heard.append(Heard(self.play.now, self.closed, self.press, powered))
        self.post(self.reading(powered))

    def reading(self, powered: bool | None) -> SwitchRead:
        no_closed = None if self.closed is None else not self.closed
        if self.settings.privacy.switch is SwitchKind.MOMENTARY:
            no_closed = None
        return SwitchRead(
            nc_closed=self.closed, no_closed=no_closed, press=self.press, powered=powered
        )

    def passes(self, seconds: float, *, read: bool = True) -> None:
        """Time goes by; the switch is read twice a second, or not at all."""
        for _ in range(int(seconds * 2)):
            self.play.wait(0.5)
            self.check()
            if read:
                self.tell()

    def moves(self, *, closed: bool | None, counted: bool = True, heard: bool = True) -> None:
        """*heard*: by the core, which else is busy, and may be so until it is killed."""
        self.press += counted
        self.closed = closed
        self._look(press=counted)
        if heard:
            self.tell()

    def street(self, count: int) -> None:
        """The camera shows its street, as often as it is asked to."""
        self.generation += 1
        self.post(opened(camera="river", generation=self.generation))
        for _ in range(count):
            self.passes(2.0)
            self.post(
                picture(
                    camera="river",
                    generation=self.generation,
                    taken_at=self.play.now,
                    reading=STREET,
                )
            )

    def card_answers(self) -> None:
        """The journal gets round to it."""
        waiting, self.pending = self.pending, []
        for command, known in waiting:
            durable = self.card_works
            if durable:
                self.card[command.memory] = command.value
                if command.memory is Memory.SWITCH:
                    self.on_card = known
            self.post(Remembered(memory=command.memory, value=command.value, durable=durable))

    # -- what is held against the readings --

    def check(self) -> None:
        for at, command in self.play.done[self.seen :]:
            if isinstance(command, Remember):
                self.pending.append((command, self.known))
            elif isinstance(command, PressKept):
                self.kept_press = command.press
            elif _opens(command):
                assert self.may_be_live(at), (command, self.heard[-8:])
            elif isinstance(command, PowerCameras) and command.on:
                assert not self.settings.privacy.cut_power or self.contacts_allow(at)
        self.seen = len(self.play.done)
        if not self.play.status()["private"]["on"]:
            self.lived += 1
            assert self.may_be_live(self.play.now), self.heard[-8:]
            self.last_live_at = self.play.now

    def may_be_live(self, at: float) -> bool:
        fitted = self.settings.privacy.feedback_pin is not None
        if fitted and not (self.heard and self.heard[-1].powered is True):
            return False
        return self.contacts_allow(at)

    def contacts_allow(self, at: float) -> bool:
        if not self.heard or at - self.heard[-1].at >= SILENT_S:
            return False
        runs = _runs(self.heard)
        now = runs[-1]
        if now[-1].closed is not True or at - now[0].at < LIVE_S:
            return False
        if self.settings.privacy.switch is not SwitchKind.MOMENTARY:
            return True
        on_card = load(self.card.get(Memory.SWITCH)).live
        return on_card is True and (self._as_before(runs) or self._was_asked(runs))

    def _as_before(self, runs: Sequence[Sequence[Heard]]) -> bool:
        """Nothing but a closed contact since the start."""
        return len(runs) == 1 and runs[0][0].press == 0 and not self.barred

    def _was_asked(self, runs: Sequence[Sequence[Heard]]) -> bool:
        """A long press of its own lies right before the present calm, or before the last that was live."""
        now = runs[-1]
        for place, pressed in enumerate(runs[:-1]):
            if pressed[0].closed is not False or now[0].at - pressed[-1].at > 1.0 + BURST_S:
                continue
            long = pressed[-1].at - pressed[0].at >= 2.9 and now[0].at - pressed[0].at <= 31.0
            rested = any(
                rest[0].closed is True
                and rest[-1].at - rest[0].at >= 0.9
                and pressed[0].at - rest[-1].at <= 1.0 + BURST_S
                and self._was_private_throughout(rest, now)
                for rest in runs[:place]
            )
            if long and rested:
                return True
        return False

    def _was_private_throughout(self, rest: Sequence[Heard], now: Sequence[Heard]) -> bool:
        """Or it was the press that made it private. (Live of the present calm came after.)"""
        return not rest[0].at < self.last_live_at < now[0].at


def _opens(command: Command) -> bool:
    if isinstance(command, OpenShutter):
        return bool(command.cameras)
    return isinstance(command, StartCameras | KeepPicture)


def _runs(heard: Sequence[Heard]) -> list[list[Heard]]:
    """Readings in a row that are alike, with one count of presses and no silence between."""
    runs: list[list[Heard]] = []
    for now in heard:
        last = runs[-1][-1] if runs else None
        alike = last is not None and (last.closed, last.press) == (now.closed, now.press)
        if last is not None and alike and now.at - last.at < SILENT_S:
            runs[-1].append(now)
        else:
            runs.append([now])
    return runs


# ---- what may happen ----

Step = Callable[[Life], None]


def _policy(number: int, members: dict[str, object]) -> OrderVerified:
    claims = {
        "v": 1,
        "kind": "policy",
        "aud": "cctv/v1/kuningan",
        "number": number,
        "suspended_until": None,
        **members,
    }
    return OrderVerified(leaf="policy", claims=json.dumps(claims).encode(), retained=True)


REACHES = [
    {},
    {"privacy": False},
    {"privacy.switch": "none"},
    {"arguments": {"privacy_on": 0}},
    {"name": "privacy-off"},
    {"suspended_until": WALL_S + 20.0},
    {"open": True, "gate": "open", "live": True},
]
HUB = st.one_of(
    st.builds(_policy, st.integers(0, 9), st.sampled_from(REACHES)),
    st.builds(
        lambda members: OrderVerified(
            leaf="command",
            claims=json.dumps({"v": 1, "kind": "command", **members}).encode(),
            retained=False,
        ),
        st.sampled_from(REACHES),
    ),
    st.builds(OrderForged, leaf=st.sampled_from(["policy", "command"]), why=st.just("x")),
    st.builds(
        HubMessage,
        leaf=st.sampled_from(["ack", "policy", "command"]),
        payload=st.sampled_from([b"{}", b"live", b'{"v":1,"epoch":"e1","upto":9}']),
        retained=st.booleans(),
    ),
    st.just(LinkUp(receive_maximum=20, maximum_packet_bytes=None, simulated_peer=False)),
    st.just(LinkDown(key=None, detail="")),
    st.builds(committed, last_seq=st.integers(0, 9)),
    st.just(Purged(seqs=(1,), cameras=("river",), earlier_boot="b0")),
    st.builds(
        Remembered,
        memory=st.just(Memory.SWITCH),
        value=st.sampled_from([b"", b'{"live": true}']),
        durable=st.just(True),
    ),
)
CAMERA = st.one_of(
    st.builds(opened, camera=st.just("river"), generation=st.integers(1, 9)),
    st.builds(
        CameraLost,
        camera=st.just("river"),
        generation=st.integers(0, 9),
        cause=st.sampled_from(Cause),
        detail=st.just(""),
    ),
    st.builds(picture, camera=st.just("river"), reading=st.just(STREET)),
)
RELOADS: list[Callable[[Settings], Settings]] = [
    lambda s: s,
    lambda s: replace(s, health=Health(report_s=1.0)),
    lambda s: replace(s, cameras=(replace(RIVER, period_s=1.0),)),
    lambda s: replace(s, privacy=replace(s.privacy, purge_s=0.0, buzzer_pin=24)),
]
DAMAGE = st.none() | st.sampled_from([b"", b"\xff", b'{"live": true}', b'{"v": 1}'])


def _restart(damage: bytes | None, reload: Callable[[Settings], Settings], same_boot: bool) -> Step:
    return lambda life: life.restart(reload(life.settings), damage=damage, same_boot=same_boot)


def _touch_unheard(life: Life) -> None:
    """Pressed and released while the core is busy."""
    life.moves(closed=False, heard=False)
    life.moves(closed=True, heard=False)


def _touch_and_die(life: Life) -> None:
    _touch_unheard(life)
    life.restart(same_boot=True)
    life.tell()


def _set(name: str, value: object) -> Step:
    def step(life: Life) -> None:
        setattr(life, name, value)
        life.tell()

    return step


def _long_press(life: Life) -> None:
    """As a person would ask."""
    life.moves(closed=True)
    life.passes(2.0)
    life.moves(closed=False)
    life.passes(4.0)
    life.moves(closed=True)
    life.passes(3.5)


def _let_live(life: Life) -> None:
    """As a person would who wants it live, and as a card does that works."""
    life.card_works = life.powered = True
    life.moves(closed=True, counted=False)
    if life.settings.privacy.switch is SwitchKind.MOMENTARY:
        life.card_answers()
        life.passes(3.5)
        if life.play.status()["private"]["on"]:
            _long_press(life)
        life.card_answers()
    life.passes(4.0)


def _film(life: Life) -> None:
    """Live, and the gate opens."""
    _let_live(life)
    life.street(8)


STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda s: lambda life: life.passes(s), st.sampled_from([0.5, 1.0, 2.5, 3.0, 3.5, 4.0])
    ),
    st.builds(lambda s: lambda life: life.passes(s), st.sampled_from([3.5, 10.0, 31.0])),
    st.builds(
        lambda closed, counted: lambda life: life.moves(closed=closed, counted=counted),
        st.sampled_from([True, True, True, False, False, None]),
        st.booleans(),
    ),
    st.just(lambda life: life.moves(closed=True, counted=False)),
    st.builds(lambda count: lambda life: life.street(count), st.sampled_from([1, 8, 8])),
    st.builds(lambda event: lambda life: life.post(event), HUB),
    st.builds(lambda event: lambda life: life.post(event), CAMERA),
    st.builds(_restart, DAMAGE, st.sampled_from(RELOADS), st.booleans()),
    st.sampled_from([_touch_unheard, _touch_and_die]),
    st.builds(
        lambda s: lambda life: life.passes(s, read=False), st.sampled_from([0.5, 2.5, 3.0, 9.0])
    ),
    st.just(lambda life: life.card_answers()),
    st.builds(lambda on: lambda life: setattr(life, "card_works", on), st.booleans()),
    st.builds(lambda powered: _set("powered", powered), st.sampled_from([True, True, False, None])),
)


LATCHING = Privacy(switch=SwitchKind.LATCHING)
MOMENTARY = Privacy(switch=SwitchKind.MOMENTARY)
WITH_RELAY = {"relay": Relay.FORCE_OFF, "feedback_pin": 19}
LONG = 150
LEAVE = dump(replace(load(None), live=True))


@given(
    st.sampled_from([LATCHING, replace(LATCHING, **WITH_RELAY)]),  # type: ignore[arg-type]
    st.lists(st.one_of(STEPS, st.sampled_from([_let_live, _film])), min_size=5, max_size=LONG),
)
def test_no_sequence_of_events_and_restarts_turns_a_latching_box_live_but_its_own_readings(
    privacy: Privacy, steps: list[Step]
):
    life = Life(privacy)
    for step in steps:
        step(life)


@given(
    st.sampled_from([MOMENTARY, replace(MOMENTARY, **WITH_RELAY)]),  # type: ignore[arg-type]
    st.sampled_from([None, LEAVE, LEAVE]),
    st.lists(
        st.one_of(STEPS, st.sampled_from([_let_live, _film, _long_press])),
        min_size=5,
        max_size=LONG,
    ),
)
def test_no_sequence_of_events_and_restarts_turns_a_button_live_but_a_long_press_on_the_card(
    privacy: Privacy, kept: bytes | None, steps: list[Step]
):
    life = Life(privacy, kept=kept)
    for step in steps:
        step(life)


# ---- that the reckoning sees what it should ----


@pytest.mark.parametrize("relay", [False, True])
def test_the_reckoning_knows_a_latching_life(relay: bool):
    life = Life(replace(LATCHING, **WITH_RELAY) if relay else LATCHING)  # type: ignore[arg-type]
    life.tell()
    life.passes(3.5)
    assert bool(life.lives()) is not relay
    life.powered = True
    life.passes(1.0)
    assert life.lives()
    life.street(8)
    assert life.play.released
    life.moves(closed=False)
    before = life.lives()
    life.passes(60.0)
    life.restart()
    life.passes(60.0)
    assert life.lives() == before
    life.moves(closed=True)
    life.passes(3.5)
    assert life.lives() > before


def test_the_reckoning_knows_a_buttons_life():
    life = Life(MOMENTARY, kept=LEAVE)
    life.tell()
    life.passes(4.0)
    assert not life.lives()
    life.card_answers()
    assert life.lives()
    life.moves(closed=False)
    life.card_answers()
    before = life.lives()
    _long_press(life)
    assert life.lives() == before
    life.card_answers()
    assert life.lives() > before
    life.restart()
    life.tell()
    life.card_answers()
    before = life.lives()
    life.passes(4.0)
    assert life.lives() > before, "what a person asked for survives a power cut"
    life.moves(closed=False)
    life.card_answers()
    before = life.lives()
    life.restart()
    life.closed = True
    life.card_answers()
    life.passes(60.0)
    assert life.lives() == before, "and so does what a person closed"


@pytest.mark.parametrize("privacy", [LATCHING, MOMENTARY])
def test_a_press_that_nobody_heard_before_the_agent_was_killed_is_a_press(privacy: Privacy):
    life = Life(privacy, kept=LEAVE)
    life.tell()
    life.card_answers()
    life.passes(100.0)
    assert life.lives()
    before, quiet_at = life.lives(), life.play.now
    _touch_and_die(life)
    (purge,) = life.play.did(Purge)
    assert purge.since_at == quiet_at - 60.0
    life.card_answers()
    life.passes(60.0)
    assert (life.lives() > before) is (privacy is LATCHING), "only a hand opens a button"
    _let_live(life)
    assert life.lives() > before
    life.restart(same_boot=True)
    assert not life.play.did(Purge), "done is done"
    life.tell()
    life.card_answers()
    life.passes(4.0)
    assert not life.play.status()["private"]["on"]


def test_the_reckoning_would_catch_an_agent_that_forgets_a_press():
    life = Life(MOMENTARY, kept=LEAVE)
    life.tell()
    life.card_answers()
    life.passes(4.0)
    _touch_unheard(life)
    life.undone = False  # as if it had not been noted
    life.restart(same_boot=True)
    life.tell()
    life.card_answers()
    with pytest.raises(AssertionError):
        life.passes(4.0)


def test_the_reckoning_would_catch_an_agent_that_is_too_quick():
    life = Life(LATCHING)
    life.tell()
    life.passes(2.5)
    assert not life.may_be_live(life.play.now)
    life.moves(closed=True)
    life.passes(2.5)
    assert not life.may_be_live(life.play.now)
    life.passes(0.5)
    assert life.may_be_live(life.play.now)
    assert not life.may_be_live(life.play.now + SILENT_S)
