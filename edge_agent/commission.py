"""`edge-agent commission`: record, at the box and with a person's word, what a camera is meant to show.

Promises: nothing is adopted without a person typing the camera's name (or `--yes`, which a person typed as well); pictures
come through the same capture as in service, stay in memory and are never shown, stored or sent; a view in motion, a still
picture, a connection that broke on the way, a view with too little to go by, or one that strange rooms, strange streets,
itself displaced or another camera of the box would match too closely, is refused with what to do about it.
Not its job: reading cameras (cameras.py), maps (vision), strangers (foreign), files (views.py), opening a gate: a new
reference closes it, and only pictures that match open it. While the switch is private no camera is opened here either. The dialogue as a person sees it: docs/commissioning.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

import numpy as np

from edge_agent import config, foreign, views, vision
from edge_agent.cameras import Cameras
from edge_agent.capture.v4l2 import IN_USE
from edge_agent.clock import Clock, SystemClock
from edge_agent.core.messages import CameraLost, Died, Event, PictureTaken, Tick
from edge_agent.core.privacy import is_live
from edge_agent.core.scene import FROZEN_BITS, Verdict, verdict_of
from edge_agent.core.settings import (
    Camera,
    CameraKind,
    Identity,
    Privacy,
    Settings,
    SwitchKind,
)
from edge_agent.device import Device, difference, mac_of
from edge_agent.foreign import BankDamaged, Nearest, Stranger
from edge_agent.inbox import Inbox
from edge_agent.shutter import Shutter
from edge_agent.status import NoAnswer, fetch

if TYPE_CHECKING:
    from gpiozero import Factory

    Pins: TypeAlias = Callable[[], tuple[Factory | None, str]]

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_NOT_DONE: Final = 2
_PRIVATE: Final = "refused: the privacy switch is not live, and it is obeyed here too"

# No request to the agent lets go of one camera: whoever could ask that could darken a street, and its socket obeys nobody.
_ONE_AT_A_TIME: Final = (
    ". A USB camera serves one program at a time, and while the agent runs it is the agent."
    " Stop it for these minutes: sudo systemctl stop edge-agent"
    "\nWhile it is stopped no picture leaves the box. Then the same again; afterwards: sudo systemctl start edge-agent"
)
_START_AGAIN: Final = "The agent does not run. Start it again, also if you do not go on: sudo systemctl start edge-agent"

DEFAULT_CONFIG: Final = "/etc/edge-agent/box.toml"

PICTURES: Final = 20
PICTURES_MIN: Final = 5
PICTURES_MAX: Final = 60
BURST_S: Final = 60.0  # long enough for every car in the first picture to have left the last
PATIENCE_S: Final = 60.0  # beyond the burst itself: opening a camera, one reconnect
CHECK_PICTURES: Final = 5

# Of the burst's own pictures, how many must match what was made of them. A camera that sways or pans has fewer.
OWN_MATCHES_MIN: Final = 0.8
# Of the pictures in another light, how many must lie in place by the view's approved lights to need no further word.
ANCHORED_MIN: Final = 0.5
# A stranger may reach four fifths of a match, no more: 1.25 times the worst of them stays below 1 (docs/commissioning.md).
STRANGER_MAX: Final = 0.8
_DAY_S: Final = 86_400

Say: TypeAlias = Callable[[str], None]
Ask: TypeAlias = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPictures:
    """The camera did not give enough pictures; `why` is for a person."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Pictures of one connection, in order, and the device that sent them."""

    pictures: tuple[bytes, ...]
    device: Device


Source: TypeAlias = "Callable[[Camera, int], Burst | NoPictures]"


# ---- recording ----


def references_from(
    jpegs: Sequence[bytes],
    *,
    light: str,
    beside: vision.References | None = None,
    text: vision.Mask | None = None,
) -> vision.References | vision.Refusal:
    """References from a burst of pictures of one view in one light; with *beside*, its other approved lights are kept.

    *text*: what a person named as on-screen text, beside what is found. Pure.
    """
    greys = [vision.scaled_grey_from_jpeg(jpeg) for jpeg in jpegs]
    usable = [grey for grey in greys if grey is not None]
    if len(usable) < max(1, round(OWN_MATCHES_MIN * len(greys))):
        return vision.Refusal(
            why=f"{len(greys) - len(usable)} of {len(greys)} pictures are damaged or of an odd size"
        )
    built = (
        vision.build({light: usable}, text=text)
        if beside is None
        else vision.add_light(beside, light, usable, text=text)
    )
    if isinstance(built, vision.Refusal):
        return built
    why = _unsteadiness(built, usable, light)
    return built if why is None else vision.Refusal(why=why)


def _unsteadiness(built: vision.References, burst: Sequence[vision.Grey], light: str) -> str | None:
    """Why *burst* is not one steady live view: it must match what was made of it, and its end what its beginning showed."""
    eye = vision.Eye(built)
    readings = [eye.read(grey) for grey in burst]
    if any(reading.same_bits >= FROZEN_BITS for reading in readings):
        return "the camera sends the same picture again and again: restart it, then try again"
    half = len(burst) // 2
    beginning = vision.build({light: burst[:half]}) if half else built
    if isinstance(beginning, vision.References):
        before = vision.Eye(beginning)
        readings += [before.read(grey) for grey in burst[half:]]
    matches = sum(verdict_of(reading) is Verdict.MATCH for reading in readings)
    if matches >= OWN_MATCHES_MIN * len(readings):
        return None
    return (
        f"only {matches / len(readings):.0%} of the pictures show one and the same view: fix the camera, stop pan and zoom, "
        "and try again when nothing large stands before the lens"
    )


def commission_from_files(
    paths: Sequence[Path], folder: Path | str, camera_id: str, *, light: str = "day"
) -> vision.References | vision.Refusal:
    """Commission *camera_id* from recorded pictures, without asking anybody: for clips, the demo and tests.

    A real camera is commissioned at the box, by `main`, which also compares it with strangers. OSError if a file cannot be read or the folder not be written.
    """
    loaded = views.load_approved(folder, camera_id)
    beside = (
        loaded if isinstance(loaded, vision.References) and light not in _names(loaded) else None
    )
    found = references_from([Path(path).read_bytes() for path in paths], light=light, beside=beside)
    if isinstance(found, vision.References):
        views.save(folder, camera_id, found)
    return found


def take_burst(camera: Camera, pictures: int, *, say: Say, clock: Clock) -> Burst | NoPictures:
    """Take *pictures* pictures over about a minute through the product's own capture. Blocks; at most two minutes."""
    period_s = BURST_S / PICTURES
    inbox = Inbox(clock)
    timed = replace(camera, period_s=period_s)
    deadline = clock.now() + pictures * period_s + PATIENCE_S
    # Against no references: what was commissioned before must not colour what is recorded now.
    with (
        tempfile.TemporaryDirectory() as nothing,
        Cameras(
            (timed,),
            views_folder=nothing,
            secret=config.read_secret,
            post=inbox.post,
            shutter=(shutter := Shutter()),
            clock=clock,
        ) as cameras,
    ):
        cameras.start(press=shutter.presses)
        burst = _collect(inbox, pictures, until=deadline, say=say)
    if isinstance(burst, NoPictures):
        return burst
    mac = mac_of(urlsplit(camera.source).hostname or "")
    return replace(burst, device=replace(burst.device, mac=mac))


def _collect(inbox: Inbox, pictures: int, *, until: float, say: Say) -> Burst | NoPictures:
    taken: list[bytes] = []
    device = Device()
    generation: int | None = None
    trouble = "it sent nothing"
    while len(taken) < pictures:
        event = inbox.take(until=until)
        if why := _why_over(event, trouble, so_far=f"{len(taken)} of {pictures}"):
            return NoPictures(why=why)
        match event:
            case PictureTaken():
                if event.generation != generation:
                    # Pictures of two connections may be pictures of two places.
                    taken, generation = [], event.generation
                taken.append(event.jpeg)
                device = Device(codec=event.codec, width=event.width, height=event.height)
                say(f"picture {len(taken)} of {pictures}")
            case CameraLost():
                taken, trouble = [], event.detail or event.cause.value
                say(f"camera lost: {trouble}; waiting for it")
            case _:
                pass
    return Burst(pictures=tuple(taken), device=device)


def _why_over(event: Event | None, trouble: str, *, so_far: str) -> str:
    """Why no more pictures will come; "" = they may."""
    match event:
        case CameraLost() if event.detail.endswith(IN_USE):
            return event.detail + _ONE_AT_A_TIME
        case Died():
            return f"the capture stopped: {event.detail}"
        case None:
            return trouble
        case Tick():
            return f"{so_far} pictures in time; {trouble}"
        case _:
            return ""


# ---- the dialogue ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where the dialogue happens: what is said, how a person is asked ("" = nobody there), where pictures come from.

    `strangers`: the bank of foreign maps. `wall_s`: Unix time, 0 = nothing vouches for it. `private`: why the privacy switch
    is not live, by the running agent's word or, where none runs, by its contacts; "" = it is live.
    """

    say: Say
    ask: Ask
    source: Source
    strangers: Callable[[], Iterable[Stranger]]
    wall_s: Callable[[], float]
    private: Callable[[Settings], str]


def _why_private(settings: Settings, pins: Pins | None = None) -> str:
    """The agent that runs has a hand's word over its restarts; where none runs, the contacts alone are asked. In doubt: private."""
    try:
        switch = fetch(settings.status_socket).get("private")
    except NoAnswer:
        return _why_not_live(settings.privacy, pins)
    return "" if isinstance(switch, dict) and switch.get("on") is False else "the agent says so"


def _why_not_live(privacy: Privacy, pins: Pins | None) -> str:
    if privacy.switch is SwitchKind.NONE:
        return ""
    # Imported here: it brings the pin library, which nobody else here needs.
    from edge_agent.sensors import contacts_alone, real_factory  # noqa: PLC0415

    factory, why_none = (pins or real_factory)()
    nc_closed, no_closed, why = contacts_alone(privacy, factory, why_none, at=SystemClock().now())
    if why:
        return f"the agent does not answer, and its contacts cannot be read: {why}"
    live = is_live(nc_closed, no_closed)
    if privacy.switch is SwitchKind.MOMENTARY:
        live = nc_closed is True
    return "" if live else "the agent does not run, and its contacts say so"


def _agent_runs(status_socket: str) -> bool:
    try:
        fetch(status_socket)
    except NoAnswer:
        return False
    return True


def _terminal(clock: Clock) -> Desk:
    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def ask(question: str) -> str:
        if not sys.stdin.isatty():
            return ""
        sys.stdout.write(question)
        sys.stdout.flush()
        return sys.stdin.readline().strip()

    return Desk(
        say=say,
        ask=ask,
        source=lambda camera, n: take_burst(camera, n, say=say, clock=clock),
        strangers=foreign.maps,
        wall_s=lambda: clock.wall() if clock.trusted() else 0.0,
        private=_why_private,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the person at the box asked for. `text`: boxes x, y, width, height in per cent; `sure`: approved beforehand."""

    light: str = "day"
    pictures: int = PICTURES
    owner: str = ""
    text: tuple[tuple[float, float, float, float], ...] = ()
    same_as: tuple[str, ...] = ()
    sure: bool = False


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """Why the view is not adopted, and what to do."""


class _NotDone(Exception):  # noqa: N818 - never leaves this module
    """Why nothing could be found out."""


def record(camera: Camera, settings: Settings, desk: Desk, wish: Wish) -> int:
    """Take a burst, make references, compare them with strangers, ask, save. The exit code."""
    try:
        built, anchored = _propose(camera, settings, desk, wish)
        approved = _approved(camera, built, settings.identity, desk, wish, anchored=anchored)
    except _Refused as refused:
        desk.say(str(refused))
        return EXIT_REFUSED
    except (_NotDone, BankDamaged) as error:
        desk.say(f"not done: {error}")
        return EXIT_NOT_DONE
    if why := desk.private(settings):
        desk.say(f"{_PRIVATE} ({why}); what was taken is forgotten")
        return EXIT_REFUSED
    try:
        path = views.save(settings.views_folder, camera.id, approved)
    except (OSError, ValueError) as error:
        desk.say(f"not done: {error}")
        return EXIT_NOT_DONE
    desk.say(f"saved {path} (view {approved.view[:12]}); pictures are released once they match it")
    return EXIT_DONE


def _propose(
    camera: Camera, settings: Settings, desk: Desk, wish: Wish
) -> tuple[vision.References, bool]:
    """What the camera shows, sound and like nothing else; and whether the view's approved lights vouch for it."""
    before = _before(camera, settings, desk, wish)
    desk.say(
        f"step 1 of 4: recording {camera.id} ({camera.name}): {wish.pictures} pictures, "
        f"about {wish.pictures * BURST_S / PICTURES:.0f} s; do not touch the camera meanwhile"
    )
    burst = desk.source(camera, wish.pictures)
    if isinstance(burst, NoPictures):
        msg = f"no pictures: {burst.why}"
        raise _NotDone(msg)
    desk.say("step 2 of 4: what stays in its place in this view")
    beside = before if wish.light != "day" else None
    built = references_from(
        burst.pictures, light=wish.light, beside=beside, text=_mask_of(wish.text)
    )
    if isinstance(built, vision.Refusal):
        msg = f"refused: {built.why}"
        raise _Refused(msg)
    _describe(built, burst, desk.say)
    anchored = before is None or _compare_with_before(before, burst, desk, wish)
    desk.say("step 3 of 4: comparing it with strange rooms and streets, and with other cameras")
    _compare_with_strangers(camera, built, settings, desk, wish)
    return replace(built, device=burst.device), anchored


def _before(camera: Camera, settings: Settings, desk: Desk, wish: Wish) -> vision.References | None:
    known = {c.id for c in settings.cameras} - {camera.id}
    strange = [other for other in wish.same_as if other not in known]
    if strange:
        msg = f"--same-as {strange[0]}: no other camera of that name in the configuration"
        raise _NotDone(msg)
    loaded = views.load_approved(settings.views_folder, camera.id)
    if isinstance(loaded, views.ViewFault):
        desk.say(f"the references on disk cannot be used and will be replaced: {loaded.why}")
    before = loaded if isinstance(loaded, vision.References) else None
    if wish.light != "day" and before is None:
        raise _Refused(
            "refused: commission the view by day first; other lights are added beside it"
        )
    return before


def _mask_of(boxes: Sequence[tuple[float, float, float, float]]) -> vision.Mask:
    """Pixels of the small picture inside one of *boxes*, rounded outwards."""
    mask = np.zeros((vision.HEIGHT, vision.WIDTH), np.bool_)
    for x, y, width, height in boxes:
        rows = slice(
            int(np.floor(y * vision.HEIGHT / 100)),
            int(np.ceil((y + height) * vision.HEIGHT / 100)),
        )
        columns = slice(
            int(np.floor(x * vision.WIDTH / 100)), int(np.ceil((x + width) * vision.WIDTH / 100))
        )
        mask[rows, columns] = True
    return mask


def _describe(built: vision.References, burst: Burst, say: Say) -> None:
    for light, structure in zip(built.lights, vision.structure_of(built), strict=True):
        say(
            f"{light.name}: {light.frames} pictures; fixed edges in {structure.tiles} of "
            f"{vision.TILES_X * vision.TILES_Y} parts, {structure.cells} of 9 areas; "
            f"{structure.masked_share:.0%} left out as text or glare"
        )
    say(f"camera: {_device_words(burst.device)}")
    say("# edges to go by, t on-screen text, + both, . neither:")
    say(vision.tile_map(built))
    boxes = [",".join(map(str, box)) for box in vision.masked_boxes(built)]
    say(
        "left out as on-screen text (x,y,width,height in per cent; more of it: --text): "
        + ("; ".join(boxes) if boxes else "nothing but the top of the picture")
    )


def _device_words(device: Device | None) -> str:
    if device is None:
        return "not known"
    size = f"{device.width}x{device.height}" if device.width else ""
    mac = f"hardware address {device.mac}" if device.mac else "hardware address not known"
    return " ".join(filter(None, (device.codec, size))) + f", {mac}"


def _compare_with_before(before: vision.References, burst: Burst, desk: Desk, wish: Wish) -> bool:
    """Whether what was approved before vouches for this burst: needed only for another light of the same view."""
    other = difference(before.device, burst.device) if before.device is not None else ""
    seen = _seen_by(before, burst.pictures)
    count = len(burst.pictures)
    desk.say(
        f"against what was commissioned before: {seen[Verdict.MATCH]} of {count} pictures match"
        + (f"; another device: {other}" if other else "")
    )
    if wish.light == "day":
        return True
    if other:
        msg = f"refused: this is not the device that was commissioned by day ({other}): commission the view by day again"
        raise _Refused(msg)
    if seen[Verdict.MOVED] >= ANCHORED_MIN * count:
        raise _Refused(
            "refused: the view is there, but not where it lay by day: put the camera back as it was, or commission it by "
            "day again"
        )
    return seen[Verdict.MATCH] >= ANCHORED_MIN * count


# ---- strangers ----


def _compare_with_strangers(
    camera: Camera, built: vision.References, settings: Settings, desk: Desk, wish: Wish
) -> None:
    """Say what comes nearest to the view, and refuse it if that is too near."""
    bank = foreign.nearest(built, desk.strangers())
    _tell(bank, "strange rooms and streets", desk.say)
    if bank.score >= STRANGER_MAX:
        msg = (
            f"refused: a strange place ({bank.name}) reaches {bank.score:.2f} of a match with this view, "
            f"{STRANGER_MAX} is too much: too little in it is its own. Turn the camera so that kerbs, walls, poles and roofs "
            "of this street fill the picture, and name on-screen text that was not found with --text"
        )
        raise _Refused(msg)
    itself = foreign.nearest(built, foreign.displaced(built))
    _tell(itself, "itself mirrored and shifted", desk.say)
    if itself.score >= STRANGER_MAX:
        msg = (
            f"refused: {itself.name} reaches {itself.score:.2f} of a match with this view, {STRANGER_MAX} is too much: it "
            "repeats itself, so a camera that was moved would not be noticed. Turn it away from the fence, grille or paving"
        )
        raise _Refused(msg)
    _compare_with_others(camera, built, settings, desk, wish)


def _compare_with_others(
    camera: Camera, built: vision.References, settings: Settings, desk: Desk, wish: Wish
) -> None:
    for other in settings.cameras:
        theirs = views.load_approved(settings.views_folder, other.id)
        if other.id == camera.id or not isinstance(theirs, vision.References):
            continue
        both = (
            foreign.nearest(built, foreign.strangers_of(theirs, other.id)),
            foreign.nearest(theirs, foreign.strangers_of(built, other.id)),
        )
        near = max(both, key=lambda found: found.score)
        _tell(near, f"camera {other.id}", desk.say)
        if near.score >= STRANGER_MAX and other.id not in wish.same_as:
            msg = (
                f"refused: camera {other.id} of this box shows nearly the same ({near.score:.2f} of a match, "
                f"{STRANGER_MAX} is too much): if the two were swapped, nobody would notice. Look whether {camera.id} is "
                f"plugged in where {other.id} belongs. If both are meant to show the same place, add --same-as {other.id}"
            )
            raise _Refused(msg)


def _tell(near: Nearest, among: str, say: Say) -> None:
    name = f" ({near.name})" if near.name else ""
    say(f"nearest of {among}: {near.score:.2f} of a match{name}")


# ---- a person's word ----


def _approved(
    camera: Camera,
    built: vision.References,
    identity: Identity,
    desk: Desk,
    wish: Wish,
    *,
    anchored: bool,
) -> vision.References:
    """*built* with the name of who approved it, and when."""
    desk.say("step 4 of 4: your word")
    owner = wish.owner
    if not owner:
        rt = f"RT {identity.rt} RW {identity.rw} {identity.kelurahan}"
        owner = rt if wish.sure else _owner_of(desk.ask("Who approves this view (name and role)? "))
    if not owner:
        raise _Refused("not approved: nobody was named; nothing was changed")
    if not anchored:
        desk.say(
            f"by {wish.light} too little looks as it did by day to say that this is the same view: that happens where lamps "
            "show what the day does not. Only you can tell that nobody moved the camera since"
        )
    # Where nothing but a person's word ties the light to the view, a word given beforehand is not enough.
    asked = not (wish.sure and anchored)
    if asked and desk.ask(_question(camera, wish.light)) != camera.id:
        raise _Refused(
            "not approved: nothing was changed"
            + (" (--yes is not enough here: answer at the terminal)" if wish.sure else "")
        )
    return replace(built, owner=owner, commissioned_wall_s=desk.wall_s())


def _owner_of(text: str) -> str:
    """*text* as an owner's name; "" if it is none."""
    name = " ".join(text.split())
    return name if len(name) <= views.MAX_OWNER and name.isprintable() else ""


def _question(camera: Camera, light: str) -> str:
    return (
        f"Is {camera.id} on its pole and fixed, and does it show the public street that was agreed, and no home?\n"
        f"Type {camera.id} to approve its view by {light}: "
    )


def _seen_by(references: vision.References, burst: Sequence[bytes]) -> dict[Verdict, int]:
    eye = vision.Eye(references)
    verdicts = [verdict_of(eye.read(vision.scaled_grey_from_jpeg(jpeg))) for jpeg in burst]
    return {verdict: verdicts.count(verdict) for verdict in Verdict}


def check(camera: Camera, folder: str, desk: Desk) -> int:
    """Take a few pictures and say whether they show the commissioned view. The exit code."""
    references = views.load(folder, camera.id)
    if not isinstance(references, vision.References):
        desk.say(f"not done: {'never commissioned' if references is None else references.why}")
        return EXIT_NOT_DONE
    burst = desk.source(camera, CHECK_PICTURES)
    if isinstance(burst, NoPictures):
        desk.say(f"not done: no pictures: {burst.why}")
        return EXIT_NOT_DONE
    seen = _seen_by(references, burst.pictures)
    desk.say(
        ", ".join(f"{verdict.value.replace('_', ' ')}: {count}" for verdict, count in seen.items())
    )
    other = difference(references.device, burst.device) if references.device is not None else ""
    desk.say(f"another device: {other}" if other else f"camera: {_device_words(burst.device)}")
    matches = seen[Verdict.MATCH] >= OWN_MATCHES_MIN * len(burst.pictures) and not other
    desk.say(
        "this is the commissioned view"
        if matches
        else "this is not proven to be the commissioned view"
    )
    return EXIT_DONE if matches else EXIT_REFUSED


def show(settings: Settings, desk: Desk) -> int:
    """List what is commissioned, and which cameras are not. The exit code: 1 if a camera has no sound references."""
    well = True
    try:
        listed = {entry.camera: entry for entry in views.listing(settings.views_folder)}
    except OSError as error:
        desk.say(f"not done: {error}")
        return EXIT_NOT_DONE
    known = [camera.id for camera in settings.cameras]
    for camera in [*known, *sorted(set(listed) - set(known))]:
        entry = listed.get(camera)
        if entry is None:
            desk.say(f"{camera}: not commissioned")
            well = False
        elif isinstance(entry.references, views.ViewFault):
            desk.say(f"{camera}: {entry.references.why}")
            well = False
        else:
            extra = "" if camera in known else "; no such camera in the configuration"
            desk.say(_line_of(entry, entry.references, desk.wall_s()) + extra)
            if entry.learnt_why:
                desk.say(f"{camera}: what was learnt counts for nothing: {entry.learnt_why}")
    return EXIT_DONE if well else EXIT_REFUSED


def _line_of(entry: views.Listed, references: vision.References, now_wall_s: float) -> str:
    lights = [
        f"{light.name} ({light.frames}{', learnt' if n >= len(references.approved) else ''})"
        for n, light in enumerate(references.lights)
    ]
    return (
        f"{entry.camera}: view {references.view[:12]}, {', '.join(lights)}; commissioned "
        f"{_age_words(references.commissioned_wall_s, now_wall_s)} by {references.owner or 'nobody named'}; "
        f"{_device_words(references.device)}; {entry.size_bytes} bytes"
    )


def _age_words(then_wall_s: float, now_wall_s: float) -> str:
    if not then_wall_s:
        return "at a time not known"
    day = datetime.fromtimestamp(then_wall_s, tz=UTC).date().isoformat()
    if now_wall_s < then_wall_s:  # the clock is not set now, or was not then
        return f"on {day}"
    return f"on {day}, {int((now_wall_s - then_wall_s) / _DAY_S)} days ago,"


def forget(camera_id: str, folder: str, desk: Desk, *, sure: bool) -> int:
    """Remove the references of a camera; it is held from then on. The exit code."""
    question = f"{camera_id} will be held until it is commissioned again.\nType {camera_id} to forget its view: "
    if not sure and desk.ask(question) != camera_id:
        desk.say("not approved: nothing was changed")
        return EXIT_REFUSED
    try:
        gone = views.forget(folder, camera_id)
    except OSError as error:
        desk.say(f"not done: {error}")
        return EXIT_NOT_DONE
    desk.say(f"{camera_id}: forgotten" if gone else f"{camera_id}: was not commissioned")
    return EXIT_DONE if gone else EXIT_REFUSED


def _names(references: vision.References) -> set[str]:
    return {light.name for light in references.lights}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    camera: str | None
    config: str
    pictures: int
    light: str
    owner: str | None
    text: list[tuple[float, float, float, float]]
    same_as: list[str]
    yes: bool
    list: bool
    forget: bool
    check: bool
    run: bool
    cable_test: bool


def _count(text: str) -> int:
    if not text.isdecimal() or not PICTURES_MIN <= int(text) <= PICTURES_MAX:
        msg = f"needs a whole number from {PICTURES_MIN} to {PICTURES_MAX}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _owner(text: str) -> str:
    owner = _owner_of(text)
    if not owner:
        msg = f"needs a name and role of at most {views.MAX_OWNER} printable characters"
        raise argparse.ArgumentTypeError(msg)
    return owner


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        x = y = width = height = -1.0
    # Each by itself: a "nan" among them would slip through a minimum.
    if not all(0 <= v <= 100 for v in (x, y, x + width, y + height)) or not min(width, height) > 0:
        msg = f"needs x,y,width,height in per cent of the picture, inside it (say 2,85,30,8), got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return x, y, width, height


def _options(argv: Sequence[str]) -> _Options:
    parser = argparse.ArgumentParser(
        prog="edge-agent commission",
        description="Record what a camera is meant to show. Stand at the camera: you approve its view.",
        epilog="exit codes: 0 done, or all well; 1 refused, not approved, or not all well; 2 not done (usage, "
        "configuration, no pictures, disk)",
    )
    parser.add_argument("camera", nargs="?", metavar="CAMERA", help="its id in the configuration")
    parser.add_argument(
        "--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"usually {DEFAULT_CONFIG}"
    )
    parser.add_argument(
        "--pictures",
        type=_count,
        default=PICTURES,
        metavar="N",
        help=f"{PICTURES_MIN}..{PICTURES_MAX}, usually {PICTURES}",
    )
    parser.add_argument(
        "--light",
        choices=("day", "dusk", "night"),
        default="day",
        help="dusk and night are added beside day",
    )
    parser.add_argument(
        "--owner",
        type=_owner,
        metavar="TEXT",
        help="who approves: name and role; asked for if left out",
    )
    parser.add_argument(
        "--text",
        type=_box,
        action="append",
        default=[],
        metavar="X,Y,W,H",
        help="on-screen text that was not found, in per cent of width and height; may be repeated",
    )
    parser.add_argument(
        "--same-as",
        action="append",
        default=[],
        metavar="OTHER",
        help="another camera of this box is meant to show the same place; may be repeated",
    )
    parser.add_argument("--yes", action="store_true", help="approve without being asked")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="what is commissioned, and what is not")
    what.add_argument(
        "--forget",
        action="store_true",
        help="remove the references of CAMERA: it is held from then on",
    )
    what.add_argument(
        "--check", action="store_true", help="does CAMERA show its commissioned view now?"
    )
    what.add_argument(
        "--run",
        action="store_true",
        help="record the cable run of CAMERA: three readings of its supervised loop, with the agent stopped",
    )
    what.add_argument(
        "--cable-test",
        action="store_true",
        help="have the box's network chip test the cable of CAMERA, where it can; takes the link down for some seconds",
    )
    found = _Options(**vars(parser.parse_args(argv)))
    if found.camera is None and not found.list:
        parser.error("which camera? Name it, or use --list")
    return found


def main(argv: Sequence[str], *, desk: Desk | None = None) -> int:
    """`edge-agent commission ...`: 0 done; 1 refused, not approved, not all well; 2 not done."""
    try:
        options = _options(argv)
    except SystemExit as end:  # argparse: 0 after --help, 2 after wrong usage
        return end.code if isinstance(end.code, int) else EXIT_NOT_DONE
    desk = desk or _terminal(SystemClock())
    try:
        settings = config.load(options.config)
    except config.ConfigError as error:
        desk.say(str(error))
        return EXIT_NOT_DONE
    return show(settings, desk) if options.list else _with_camera(options, settings, desk)


def _with_camera(options: _Options, settings: Settings, desk: Desk) -> int:
    camera = next((c for c in settings.cameras if c.id == options.camera), None)
    folder = settings.views_folder
    if camera is None:
        if options.forget and options.camera and _has_references(folder, options.camera):
            return forget(options.camera, folder, desk, sure=options.yes)
        known = ", ".join(c.id for c in settings.cameras) or "none"
        desk.say(f"not done: no camera {options.camera!r} in {options.config}; there are: {known}")
        return EXIT_NOT_DONE
    if options.forget:
        return forget(camera.id, folder, desk, sure=options.yes)
    if options.run or options.cable_test:
        # Imported here: it brings the pin library, which a view needs as little as a run needs a decoder.
        from edge_agent import commission_run  # noqa: PLC0415

        words = commission_run.Desk(say=desk.say, ask=desk.ask)
        if options.cable_test:
            return commission_run.chip_test(camera.id, settings, words)
        return commission_run.main(camera.id, settings, words, clock=SystemClock())
    code = _with_pictures(camera, options, settings, desk)
    if camera.kind is CameraKind.V4L2 and not _agent_runs(settings.status_socket):
        desk.say(_START_AGAIN)
    return code


def _with_pictures(camera: Camera, options: _Options, settings: Settings, desk: Desk) -> int:
    if why := desk.private(settings):
        desk.say(f"{_PRIVATE} ({why}); ask the RT secretary, then try again")
        return EXIT_REFUSED
    if options.check:
        return check(camera, settings.views_folder, desk)
    return _record(camera, options, settings, desk)


def _record(camera: Camera, options: _Options, settings: Settings, desk: Desk) -> int:
    wish = Wish(
        light=options.light,
        pictures=options.pictures,
        owner=options.owner or "",
        text=tuple(options.text),
        same_as=tuple(options.same_as),
        sure=options.yes,
    )
    return record(camera, settings, desk, wish)


def _has_references(folder: str, camera_id: str) -> bool:
    """Whether a camera that left the configuration left a file behind; an id that is none did not."""
    try:
        return views.stamp(folder, camera_id) is not None
    except ValueError:
        return False
