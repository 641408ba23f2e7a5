"""The story, act by act: both incidents, the city's suspension, a broken line and the privacy switch.

Promises: an act comes out right only if everything that was awaited came in time and every check on the hub's and the
journal's own files holds; a failed act says what was awaited and what was seen; the acts behind it are played all the same
where that still makes sense, so that one fault is not reported as six.
Not its job: setting the stage (stage.py), what a check looks at (evidence.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge_agent.core.messages import Rank
from edge_agent.demo.evidence import (
    Check,
    What,
    backlog_arrived,
    gone_from_disk,
    labels_under,
    no_home_on_disk,
    no_leak,
    nothing_taken_between,
    others_went_on,
)
from edge_agent.demo.stage import ActFailed, Stage
from edge_agent.demo.view import Title

# Deadlines are for a busy machine; on a free one each wait ends in a fraction of them.
_START_S: Final = 60.0
_PROVE_S: Final = 60.0  # 12 s of matches, 24 s after a foreign view, plus reconnecting
_BACK_S: Final = 60.0  # from the pole until it is released
_SOON_S: Final = 20.0
_ARRIVE_S: Final = 30.0
_AT_ONCE_S: Final = 5.0  # the status that is looked at is up to half a second old
_DARK_S: Final = 1.0  # as seen where the shutter closes
_NEWS_S: Final = 5.0

_SUSPENDED_S: Final = 6.0
# Enough to see that it is not by chance.
_HOME_PICTURES: Final = 3
_OUTAGE_PICTURES: Final = 6
_UNSENT_PICTURES: Final = 3
# A picture of the capture that was already under way when the cameras were told to stop.
_STRAGGLERS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an act came out."""

    number: int
    name: str
    ok: bool
    why: str  # "" if it came out right
    took_s: float
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act: `play` drives the stage, waits, and gives the checks that it stands by."""

    name: str
    caption: str
    play: Callable[[Stage], list[Check]]


def perform(acts: tuple[Act, ...], stage: Stage, *, pause_s: float) -> list[Outcome]:
    """Play *acts* in order. *pause_s* = time to read each caption and each outcome."""
    outcomes: list[Outcome] = []
    for number, act in enumerate(acts, start=1):
        if stage.view is not None:
            stage.view.act(Title(number=number, of=len(acts), name=act.name, caption=act.caption))
        stage.read(pause_s)
        began_s = stage.elapsed_s()
        checks: list[Check] = []
        why = ""
        try:
            checks = act.play(stage)
        except ActFailed as failed:
            why = str(failed)
        wrong = [f"{check.claim}: {check.seen}" for check in checks if not check.ok]
        why = "; ".join([why, *wrong] if why else wrong)
        for check in checks:
            stage.tell("check", f"{'ok' if check.ok else 'NOT SO'}: {check.claim} ({check.seen})")
        if why:
            stage.tell("check", f"act {number} failed: {why}")
        outcomes.append(
            Outcome(
                number=number,
                name=act.name,
                ok=not why,
                why=why,
                took_s=round(stage.elapsed_s() - began_s, 1),
                checks=tuple(checks),
            )
        )
        stage.read(pause_s)
    return outcomes


# ---- what is waited for, again and again ----


def _open(stage: Stage, *cameras: str) -> Callable[[], tuple[bool, str]]:
    def seen() -> tuple[bool, str]:
        gates = {name: stage.camera(name)["gate"].text() for name in cameras}
        return all(gate == "open" for gate in gates.values()), _listed(gates)

    return seen


def _gate_is(stage: Stage, camera: str, *wanted: str) -> Callable[[], tuple[bool, str]]:
    def seen() -> tuple[bool, str]:
        entry = stage.camera(camera)
        gate = entry["gate"].text()
        return gate in wanted, f"{camera} {gate}, {entry['why'].text()}"

    return seen


def _more_pictures(stage: Stage, before: dict[str, int], by: int) -> Callable[[], tuple[bool, str]]:
    def seen() -> tuple[bool, str]:
        now = {name: stage.city.pictures_of(name) for name in before}
        return all(now[name] >= n + by for name, n in before.items()), f"at the hub: {_listed(now)}"

    return seen


def _hub_heard(
    stage: Stage, kind: str, camera: str | None, key: str = ""
) -> Callable[[], tuple[bool, str]]:
    """A record of this kind (and, for findings, of this key) is at the hub."""

    def seen() -> tuple[bool, str]:
        records = [
            record
            for record in stage.city.records()
            if record.kind == kind
            and record.camera == camera
            and (not key or record.data["key"].text() == key)
        ]
        return bool(records), f"{len(stage.city.records())} records at the hub, not this one"

    return seen


def _read_at_home(stage: Stage, before: int, by: int) -> Callable[[], tuple[bool, str]]:
    def seen() -> tuple[bool, str]:
        taken = taken_at_home(stage)
        if taken is None:
            return True, "this kernel does not count"
        return taken >= before + by, f"{taken - before} pictures of the room were taken"

    return seen


def _link_is(stage: Stage, *wanted: str) -> Callable[[], tuple[bool, str]]:
    def seen() -> tuple[bool, str]:
        uplink = stage.status()["uplink"]
        state = uplink["state"].text()
        return state in wanted, f"the link is {state} {uplink['detail'].text()}".rstrip()

    return seen


def _arrived(stage: Stage, waited: list[tuple[str, float]]) -> tuple[bool, str]:
    check = backlog_arrived(stage.city.pictures(), waited)
    return check.ok, check.seen


def taken_at_home(stage: Stage) -> int | None:
    """How many pictures of a home the cameras took so far; None where the kernel does not count."""
    taken = stage.films.taken()
    return None if taken is None else sum(one.label.what == What.HOME.value for one in taken)


def _at_hub(stage: Stage) -> dict[str, int]:
    return {name: stage.city.pictures_of(name) for name in stage.cameras}


def _last_seq(stage: Stage) -> int:
    return int(stage.status()["uplink"]["last_seq"].number())


def _listed(by_camera: dict[str, str] | dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in by_camera.items())


# ---- the acts ----


def normal_day(stage: Stage) -> list[Check]:
    """Each camera is proven to show its street, then its pictures go to the hub."""
    before = _at_hub(stage)
    stage.until("the box is at the hub", stage.city.is_online, within_s=_START_S)
    stage.until("each camera is proven", _open(stage, *stage.cameras), within_s=_START_S)
    stage.until(
        "two pictures of each are at the hub", _more_pictures(stage, before, 2), within_s=_ARRIVE_S
    )
    return [
        Check(
            "the box says that it is simulated", stage.city.says_simulated(), stage.city.presence()
        ),
        no_leak(stage.city.pictures(), stage.films.gallery),
    ]


def cable_cut(stage: Stage) -> list[Check]:
    """The run of the first camera is cut: a work order with metres and parts, and nobody else is disturbed."""
    hero = stage.cameras[0]
    before = _at_hub(stage)
    stage.street.cut_run(hero)
    stage.films.darken(hero, "nothing, its cable is cut")
    cut_at = stage.clock.now()  # until now it had something to show
    stage.tell("street", f"the cable to {hero} is cut")
    stage.until("its gate is not open", _gate_is(stage, hero, "held", "closed"), within_s=_SOON_S)
    stage.until(
        "the work order is at the hub",
        _hub_heard(stage, "work_order.opened", hero),
        within_s=_ARRIVE_S,
    )
    stage.until("the box calls it dark", _gate_is(stage, hero, "closed"), within_s=_SOON_S)
    order = stage.city.work_order(hero)
    stage.tell("hub", f"work order: {order.text if order is not None else 'none'}")
    others = {name: n for name, n in before.items() if name != hero}
    stage.until("the others sent more", _more_pictures(stage, others, 2), within_s=_ARRIVE_S)
    ended_at = stage.clock.now()
    length_m = stage.settings.runs[0].length_m
    right = order is not None and order.metres >= length_m and len(order.bring) > 1
    return [
        Check(
            "the work order says what to bring",
            right,
            order.text if order is not None else "no work order",
        ),
        others_went_on(before, _at_hub(stage), hero),
        nothing_taken_between(stage.city.pictures(), hero, cut_at, ended_at),
    ]


def at_home(stage: Stage) -> list[Check]:
    """The camera is plugged in at home. First the open loop alone holds it, then the view alone."""
    hero = stage.cameras[0]
    began_at = stage.clock.now()
    stage.take_home(hero)
    stage.tell("street", "his cable is too short: the secretary plugs the camera in at home")
    stage.until("its video is back and held", _gate_is(stage, hero, "held"), within_s=_SOON_S)
    stage.until(
        "the hub hears that it was taken",
        _hub_heard(stage, "finding.opened", hero, "cable_camera_taken"),
        within_s=_ARRIVE_S,
    )
    _watch_the_room(stage)
    stage.street.mend_run(hero)
    stage.tell("street", "somebody bridges the loop: now only the picture itself can tell")
    stage.until(
        "the hub hears of a foreign view",
        _hub_heard(stage, "finding.opened", hero, "view_foreign"),
        within_s=_ARRIVE_S,
    )
    stage.take_home_with_text(hero)
    stage.tell("street", "the room again, under the camera's own on-screen text")
    _watch_the_room(stage)
    ended_at = stage.clock.now()
    gate = stage.camera(hero)["gate"].text()
    return [
        Check("its gate never opened", not stage.was_open(hero, since=began_at), f"it is {gate}"),
        nothing_taken_between(stage.city.pictures(), hero, began_at, ended_at),
        no_leak(stage.city.pictures(), stage.films.gallery),
        no_home_on_disk(stage.journal_folder, "the journal"),
        no_home_on_disk(stage.city.folder, "the hub's files"),
    ]


def _watch_the_room(stage: Stage) -> None:
    before = taken_at_home(stage) or 0
    stage.until(
        "more pictures of the room were taken",
        _read_at_home(stage, before, _HOME_PICTURES),
        within_s=_SOON_S,
    )


def back_on_pole(stage: Stage) -> list[Check]:
    """A cable of the right length: the camera proves itself, with more evidence than usual."""
    hero = stage.cameras[0]
    stage.street.cut_run(hero)
    stage.films.darken(hero, "nothing, it is carried back")
    stage.until("its gate is closed", _gate_is(stage, hero, "closed"), within_s=_SOON_S)
    stage.street.mend_run(hero)
    back_at = stage.clock.now()
    stage.back_on_pole(hero)
    stage.tell("street", f"{hero} is back on its pole, with 55 m of new cable")
    before = _at_hub(stage)
    stage.until("it is proven again", _open(stage, hero), within_s=_PROVE_S)
    # When the box said so: this thread may hear of it late, and pictures go meanwhile.
    proven_at = stage.opened_at(hero, since=back_at) or stage.clock.now()
    stage.until(
        "it sends again", _more_pictures(stage, {hero: before[hero]}, 1), within_s=_ARRIVE_S
    )
    for key in ("cable_open", "view_foreign"):
        heard = _hub_heard(stage, "finding.closed", hero, key)
        stage.until(f"{key} is closed at the hub", heard, within_s=_ARRIVE_S)
    took_s = proven_at - back_at
    return [
        Check(
            "it was released only after it was proven, and within a minute",
            took_s <= _BACK_S,
            f"after {took_s:.0f} s",
        ),
        # Proof comes before the first release, so nothing that was taken while proving went on had left.
        nothing_taken_between(
            stage.city.pictures(), hero, back_at, proven_at - 3 * stage.settings.cameras[0].period_s
        ),
        no_leak(stage.city.pictures(), stage.films.gallery),
    ]


def suspended(stage: Stage) -> list[Check]:
    """The city suspends the box for a while, by a signed policy; then the line breaks without a word."""
    first = _last_seq(stage) + 1
    now_s = stage.clock.wall()
    stage.city.suspend(now_wall_s=now_s, until_wall_s=now_s + _SUSPENDED_S)
    stage.tell("hub", f"the city suspends this box for {_SUSPENDED_S:.0f} s, in a signed policy")
    stage.until("the box obeys", _link_is(stage, "suspended"), within_s=_SOON_S)
    stage.until("the hub sees it leave in good order", stage.city.is_offline, within_s=_SOON_S)
    stage.until(
        "the journal grows",
        lambda: (_last_seq(stage) >= first, f"newest record {_last_seq(stage)}"),
        within_s=_SOON_S,
    )
    stage.until("the date has passed and it is back", _link_is(stage, "up"), within_s=_PROVE_S)
    stage.tell("hub", "the box is back by itself, as the policy said")
    stage.until("the hub knows why", _hub_heard(stage, "hub.suspended", None), within_s=_ARRIVE_S)
    checks = [
        Check(
            "a suspension is no fault",
            not _box_faults(stage),
            ", ".join(_box_faults(stage)) or "no finding",
        )
    ]
    return checks + _outage(stage)


def _box_faults(stage: Stage) -> list[str]:
    return [
        finding["key"].text()
        for finding in stage.status()["findings"].items()
        if finding["key"].text().startswith("hub_")
    ]


def _outage(stage: Stage) -> list[Check]:
    """The line is cut in between; what was taken meanwhile arrives later, as history."""
    stage.line.cut()
    number = len(stage.kept())  # not before: what is released in between still goes out as news
    stage.tell("street", "the line to the city breaks, without a word")
    stage.until("the broker speaks its last will", stage.city.is_offline, within_s=_SOON_S)
    stage.until("pictures wait in the journal", lambda: _waiting(stage, number), within_s=_PROVE_S)
    waited = stage.kept(since=number)
    stage.line.mend()
    stage.tell("street", "the line is mended")
    stage.until("the box is back", _link_is(stage, "up"), within_s=_PROVE_S)
    back_at = stage.clock.now()
    stage.until("the backlog has arrived", lambda: _arrived(stage, waited), within_s=_ARRIVE_S)
    stage.until(
        "fresh news has arrived",
        lambda: (stage.city.slowest_news_s(since=back_at) is not None, "none has"),
        within_s=_ARRIVE_S,
    )
    news_s = stage.city.slowest_news_s(since=back_at) or 0.0
    return [
        backlog_arrived(stage.city.pictures(), waited),
        Check(
            "fresh news did not wait behind them",
            news_s <= _NEWS_S,
            f"the slowest took {news_s:.1f} s",
        ),
        no_leak(stage.city.pictures(), stage.films.gallery),
    ]


def _waiting(stage: Stage, number: int) -> tuple[bool, str]:
    pictures, records = len(stage.kept(since=number)), stage.waiting()
    enough = pictures >= _OUTAGE_PICTURES and records >= _OUTAGE_PICTURES
    return enough, f"{pictures} pictures were released, {records} records wait"


def privacy(stage: Stage) -> list[Check]:
    """The switch wins at once, over pictures that wait too; after it, each camera proves itself again."""
    stage.line.cut()
    stage.tell("street", "the line breaks once more, so that pictures wait unsent")
    number = len(stage.kept())
    reels = frozenset(stage.back_on_pole(camera) for camera in stage.cameras)
    stage.until(
        "pictures wait unsent",
        lambda: (
            len(stage.kept()) >= number + _UNSENT_PICTURES * len(stage.cameras)
            and _on_disk(stage, reels) >= _UNSENT_PICTURES * 2,
            f"{len(stage.kept()) - number} released, {_on_disk(stage, reels)} on the disk",
        ),
        within_s=_PROVE_S,
    )
    waiting = _on_disk(stage, reels)
    at_hub = {picture.seq for picture in stage.city.pictures()}
    pressed_at = stage.clock.now()
    stage.street.press()
    stage.tell("street", "the secretary presses the privacy switch")
    stage.until("all is dark", lambda: _all_private(stage), within_s=_AT_ONCE_S)
    dark_s = (stage.shut_at(since=pressed_at) or stage.clock.now()) - pressed_at
    stage.until(
        "the private lamp is lit",
        lambda: (stage.street.lamps()[0], "it is dark"),
        within_s=_AT_ONCE_S,
    )
    taken = len(stage.films.taken() or ())
    stage.until("unsent pictures are gone", lambda: _purged(stage, reels), within_s=_SOON_S)
    purge = gone_from_disk(stage.journal_folder, reels, before=waiting)
    stage.line.mend()
    stage.until("the box is back at the hub", _link_is(stage, "up"), within_s=_PROVE_S)
    for kind in ("privacy.on", "privacy.purged", "privacy.withdraw"):
        stage.until(f"the hub hears of {kind}", _hub_heard(stage, kind, None), within_s=_ARRIVE_S)
    stage.tell("hub", "it is told what was destroyed, and asked to destroy what had just arrived")
    taken_dark = len(stage.films.taken() or ()) - taken
    released_at = stage.clock.now()
    stage.street.release()
    stage.tell("street", "the switch is released: each camera must prove itself again")
    before = _at_hub(stage)
    stage.until("each camera is proven again", _open(stage, *stage.cameras), within_s=_PROVE_S)
    stage.until("each sends again", _more_pictures(stage, before, 1), within_s=_ARRIVE_S)
    late = [
        picture.seq
        for picture in stage.city.pictures()
        if picture.seq not in at_hub and pressed_at - 60.0 <= picture.at <= released_at
    ]
    return [
        Check("dark at once", dark_s <= _DARK_S, f"after {1000 * dark_s:.0f} ms"),
        Check(
            "the cameras were off",
            taken_dark <= _STRAGGLERS,
            f"{taken_dark} pictures taken while private",
        ),
        purge,
        _withdrawn(stage),
        Check("no picture of the minute before it came afterwards", not late, f"{len(late)} did"),
        no_leak(stage.city.pictures(), stage.films.gallery),
        no_home_on_disk(stage.journal_folder, "the journal"),
    ]


def _withdrawn(stage: Stage) -> Check:
    """What had left in the minute before the press lies at the hub no more."""
    records = stage.city.records()
    windows = [
        (record.data["from_s"].number(), record.at)
        for record in records
        if record.kind == "privacy.withdraw"
    ]
    asked_back = [
        record
        for record in records
        if record.rank == Rank.PICTURE and any(since <= record.at <= to for since, to in windows)
    ]
    left = sum(record.picture is not None for record in asked_back)
    return Check(
        "the hub destroyed what had just left",
        bool(asked_back) and not left,
        f"{len(asked_back)} were asked back, {left} are left",
    )


def _all_private(stage: Stage) -> tuple[bool, str]:
    gates = {name: stage.camera(name)["gate"].text() for name in stage.cameras}
    return all(gate == "private" for gate in gates.values()), _listed(gates)


def _on_disk(stage: Stage, reels: frozenset[int]) -> int:
    return sum(n for label, n in labels_under(stage.journal_folder).items() if label.reel in reels)


def _purged(stage: Stage, reels: frozenset[int]) -> tuple[bool, str]:
    left = _on_disk(stage, reels)
    return left == 0, f"{left} are still on the disk"


ACTS: Final = (
    Act(
        name="A normal day",
        caption=(
            "Every camera starts closed. Each must show the street that it was commissioned to see, again and again for "
            "some ten seconds, before its first picture may leave the box."
        ),
        play=normal_day,
    ),
    Act(
        name="The cable breaks",
        caption=(
            "A cable is cut. The camera goes dark, and a supervised spare pair in the cable says why: the hub gets a work "
            "order with metres and parts. The other cameras do not notice."
        ),
        play=cable_cut,
    ),
    Act(
        name="The camera goes home",
        caption=(
            "December 2024: the technician's cable was too short, so the camera was plugged in at home, and a family's living "
            "room was live on the portal. Here it is held, even with the loop bridged."
        ),
        play=at_home,
    ),
    Act(
        name="Back on the pole",
        caption=(
            "With a new cable of the right length the camera sees its street again. It was in somebody's hands, so it must "
            "prove itself for longer; then it is released, and the faults close."
        ),
        play=back_on_pole,
    ),
    Act(
        name="Suspended by the city, then cut off",
        caption=(
            "October 2025: 4,470 points went dark. A signed policy suspends the box until a date, which is no fault; then the "
            "line breaks without a word. What waits in the journal arrives later, behind fresh news."
        ),
        play=suspended,
    ),
    Act(
        name="The switch always wins",
        caption=(
            "The RT secretary presses the switch: everything is dark at once, and pictures of the last minute that have not "
            "left are destroyed. After it, each camera starts from nothing."
        ),
        play=privacy,
    ),
)
