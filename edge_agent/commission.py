"""`edge-agent commission`: record, at the box and with a person's word, what a camera is meant to show.

Promises: nothing is adopted without a person typing the camera's name (or `--yes`, which a person typed as well); pictures
come through the same capture as in service, stay in memory and are never shown, stored or sent; a view in motion, a still
picture, a connection that broke on the way or a view with too little to go by is refused with what to do about it.
Not its job: reading cameras (cameras.py), maps (vision.py), files (views.py), opening a gate: a new reference closes it,
and only pictures that match open it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from edge_agent import config, views, vision
from edge_agent.cameras import Cameras
from edge_agent.clock import Clock, SystemClock
from edge_agent.core.messages import CameraLost, Died, PictureTaken, Tick
from edge_agent.core.scene import FROZEN_BITS, Verdict, verdict_of
from edge_agent.core.settings import Camera, Settings
from edge_agent.inbox import Inbox

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_NOT_DONE: Final = 2

DEFAULT_CONFIG: Final = "/etc/edge-agent/box.toml"

PICTURES: Final = 20
PICTURES_MIN: Final = 5
PICTURES_MAX: Final = 60
BURST_S: Final = 60.0  # long enough for every car in the first picture to have left the last
PATIENCE_S: Final = 60.0  # beyond the burst itself: opening a camera, one reconnect
CHECK_PICTURES: Final = 5

# Of the burst's own pictures, how many must match what was made of them. A camera that sways or pans has fewer.
OWN_MATCHES_MIN: Final = 0.8

Say: TypeAlias = Callable[[str], None]
Ask: TypeAlias = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPictures:
    """The camera did not give enough pictures; `why` is for a person."""

    why: str


Burst: TypeAlias = "tuple[bytes, ...] | NoPictures"
Source: TypeAlias = Callable[[Camera, int], Burst]


# ---- recording ----


def references_from(
    jpegs: Sequence[bytes], *, light: str, beside: vision.References | None = None
) -> vision.References | vision.Refusal:
    """References from a burst of pictures of one view in one light; with *beside*, its other lights are kept. Pure."""
    greys = [vision.scaled_grey_from_jpeg(jpeg) for jpeg in jpegs]
    usable = [grey for grey in greys if grey is not None]
    if len(usable) < max(1, round(OWN_MATCHES_MIN * len(greys))):
        return vision.Refusal(
            why=f"{len(greys) - len(usable)} of {len(greys)} pictures are damaged or of an odd size"
        )
    built = (
        vision.build({light: usable}) if beside is None else vision.add_light(beside, light, usable)
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

    A real camera is commissioned at the box, by `main`. OSError if a file cannot be read or the folder not be written.
    """
    loaded = views.load(folder, camera_id)
    beside = (
        loaded if isinstance(loaded, vision.References) and light not in _names(loaded) else None
    )
    found = references_from([Path(path).read_bytes() for path in paths], light=light, beside=beside)
    if isinstance(found, vision.References):
        views.save(folder, camera_id, found)
    return found


def take_burst(camera: Camera, pictures: int, *, say: Say, clock: Clock) -> Burst:
    """Take *pictures* pictures over about a minute through the product's own capture. Blocks; at most two minutes."""
    period_s = BURST_S / PICTURES
    inbox = Inbox(clock)
    timed = replace(camera, period_s=period_s)
    deadline = clock.now() + pictures * period_s + PATIENCE_S
    # Against no references: what was commissioned before must not colour what is recorded now.
    with (
        tempfile.TemporaryDirectory() as nothing,
        Cameras(
            (timed,), views_folder=nothing, secret=config.read_secret, post=inbox.post, clock=clock
        ) as cameras,
    ):
        cameras.start()
        return _collect(inbox, pictures, until=deadline, say=say)


def _collect(inbox: Inbox, pictures: int, *, until: float, say: Say) -> Burst:
    taken: list[bytes] = []
    generation: int | None = None
    trouble = "it sent nothing"
    while len(taken) < pictures:
        event = inbox.take(until=until)
        match event:
            case PictureTaken():
                if event.generation != generation:
                    # Pictures of two connections may be pictures of two places.
                    taken, generation = [], event.generation
                taken.append(event.jpeg)
                say(f"picture {len(taken)} of {pictures}")
            case CameraLost():
                taken, trouble = [], event.detail or event.cause.value
                say(f"camera lost: {trouble}; waiting for it")
            case Died():
                return NoPictures(why=f"the capture stopped: {event.detail}")
            case None:
                return NoPictures(why=trouble)
            case Tick():
                return NoPictures(why=f"{len(taken)} of {pictures} pictures in time; {trouble}")
            case _:
                pass
    return tuple(taken)


# ---- the dialogue ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where the dialogue happens: what is said, how a person is asked ("" = nobody there), where pictures come from."""

    say: Say
    ask: Ask
    source: Source


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
        say=say, ask=ask, source=lambda camera, n: take_burst(camera, n, say=say, clock=clock)
    )


def record(
    camera: Camera, folder: str, desk: Desk, *, light: str, pictures: int, sure: bool
) -> int:
    """Take a burst, make references, ask, save. The exit code."""
    loaded = views.load(folder, camera.id)
    before = loaded if isinstance(loaded, vision.References) else None
    if isinstance(loaded, views.ViewFault):
        desk.say(f"the references on disk cannot be used and will be replaced: {loaded.why}")
    if light != "day" and before is None:
        desk.say("refused: commission the view by day first; other lights are added beside it")
        return EXIT_REFUSED
    desk.say(
        f"recording {camera.id} ({camera.name}): {pictures} pictures, about {pictures * BURST_S / PICTURES:.0f} s"
    )
    burst = desk.source(camera, pictures)
    if isinstance(burst, NoPictures):
        desk.say(f"not done: no pictures: {burst.why}")
        return EXIT_NOT_DONE
    beside = before if light != "day" else None
    built = references_from(burst, light=light, beside=beside)
    if isinstance(built, vision.Refusal):
        desk.say(f"refused: {built.why}")
        return EXIT_REFUSED
    _describe(built, burst, before, desk.say)
    if not sure and desk.ask(_question(camera)) != camera.id:
        desk.say("not approved: nothing was changed")
        return EXIT_REFUSED
    try:
        path = views.save(folder, camera.id, built)
    except (OSError, ValueError) as error:
        desk.say(f"not done: {error}")
        return EXIT_NOT_DONE
    desk.say(f"saved {path} (view {built.view[:12]}); pictures are released once they match it")
    return EXIT_DONE


def _question(camera: Camera) -> str:
    return (
        f"Is {camera.id} on its pole and fixed, and does it show the public street that was agreed, and no home?\n"
        f"Type {camera.id} to approve: "
    )


def _describe(
    built: vision.References, burst: Sequence[bytes], before: vision.References | None, say: Say
) -> None:
    for light, structure in zip(built.lights, vision.structure_of(built), strict=True):
        say(
            f"{light.name}: {light.frames} pictures; fixed edges in {structure.tiles} of "
            f"{vision.TILES_X * vision.TILES_Y} parts, {structure.cells} of 9 areas; "
            f"{structure.masked_share:.0%} left out as text or glare"
        )
    say("where there is something to go by (#):")
    say(vision.tile_map(built))
    if before is not None:
        seen = _seen_by(before, burst)
        say(
            f"against what was commissioned before: {seen[Verdict.MATCH]} of {len(burst)} pictures match"
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
    seen = _seen_by(references, burst)
    desk.say(
        ", ".join(f"{verdict.value.replace('_', ' ')}: {count}" for verdict, count in seen.items())
    )
    matches = seen[Verdict.MATCH] >= OWN_MATCHES_MIN * len(burst)
    desk.say(
        "this is the commissioned view"
        if matches
        else "this is not proven to be the commissioned view"
    )
    return EXIT_DONE if matches else EXIT_REFUSED


def show(settings: Settings, desk: Desk) -> int:
    """List what is commissioned, and which cameras are not. The exit code: 1 if a camera has no sound references."""
    well = True
    listed = {entry.camera: entry for entry in views.listing(settings.views_folder)}
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
            lights = ", ".join(
                f"{light.name} ({light.frames})" for light in entry.references.lights
            )
            extra = "" if camera in known else "; no such camera in the configuration"
            desk.say(
                f"{camera}: view {entry.references.view[:12]}, {lights}, {entry.size_bytes} bytes{extra}"
            )
    return EXIT_DONE if well else EXIT_REFUSED


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
    yes: bool
    list: bool
    forget: bool
    check: bool


def _count(text: str) -> int:
    if not text.isdecimal() or not PICTURES_MIN <= int(text) <= PICTURES_MAX:
        msg = f"needs a whole number from {PICTURES_MIN} to {PICTURES_MAX}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


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
        known = ", ".join(c.id for c in settings.cameras) or "none"
        desk.say(f"not done: no camera {options.camera!r} in {options.config}; there are: {known}")
        return EXIT_NOT_DONE
    if options.forget:
        return forget(camera.id, folder, desk, sure=options.yes)
    if options.check:
        return check(camera, folder, desk)
    return record(
        camera, folder, desk, light=options.light, pictures=options.pictures, sure=options.yes
    )
