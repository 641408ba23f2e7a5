"""Does the view check hold strangers and release friends? Measured on a folder of real pictures, peers beside it.

    python -m tests.bench.scenes [DIR] [--json] [--no-peers]

Each camera of DIR is commissioned the product's way (`commission.references_from`, light by light) from the frames named in
refs.csv, once with its day frames only and once with all of them; then everything else is read through `vision.Eye` and
judged by `scene.Scene`. Every picture is a still from another minute, so each is judged as a burst of one frame: "released"
means that this one picture matches. On the street a gate wants five of seven over 7.5 s, which can only be harder to get.
No given text mask is used.
A picture that cannot be read counts as held; a camera that is refused at commissioning releases nothing and is left out of
the counts, its name in `refused`. The last line is one JSON object; `cross_validation` repeats the count with a limit taken
from the other cameras only.

How the truth of a small move is found: each tampered picture is registered, at full size and by other means than the
product's (tests/support/displacement.py), against the frame that it was made from, or else against that frame of its camera
with which most features agree; the set's text masks serve this alone. Right = `placed` or `elsewhere`, dx and dy within 2 px of 320x240, angle within 1 degree.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from edge_agent import views, vision
from edge_agent.core.messages import SceneReading
from edge_agent.core.scene import Scene, Verdict
from tests.support.displacement import Displacement, displacement
from tests.support.peers import Peer, Seen, installed
from tests.support.scene_set import (
    BESIDE_THE_REPO,
    FOREIGN_TAMPER,
    LATER_FROM,
    MOVED,
    OTHER,
    SMALL,
    NoSetError,
    Picture,
    SceneSet,
    commission_from,
    light_of,
    read_set,
    site,
)

MARGIN = 1.1  # over the worst stranger of the other cameras
RIGHT_PX = 2.0
RIGHT_DEG = 1.0


@dataclass(frozen=True)
class Result:
    """One picture against one camera's references. `score`: the higher, the more it looks like the view."""

    camera: str
    picture: Picture
    group: str
    score: float
    released: bool


@dataclass(frozen=True)
class Read(Result):
    """What the product read."""

    reading: SceneReading
    verdict: Verdict


@dataclass
class Measured:
    """All of one way of commissioning."""

    results: list[Read] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    lights_refused: dict[str, list[str]] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)


def group_of(camera: str, picture: Picture) -> str | None:
    """What reading *picture* with the references of *camera* tests; None = nothing."""
    own = picture.camera == camera
    if picture.kind == "camera":
        if own:
            return "same.later" if picture.number >= LATER_FROM else f"same.{picture.condition}"
        return None if site(picture.camera) == site(camera) else "foreign.camera"
    if picture.kind == "indoor":
        return f"foreign.indoor.{picture.condition}"
    if picture.kind == "street":
        return None if picture.camera and site(picture.camera) == site(camera) else "foreign.street"
    if own and picture.kind in FOREIGN_TAMPER:
        return f"foreign.{picture.kind}"
    if own and picture.kind in MOVED:
        return f"moved.{picture.kind}"
    if picture.kind in OTHER and picture.camera in ("", camera):
        return f"other.{picture.kind}"
    return f"small.{picture.kind}" if own and picture.kind in SMALL else None


def probes(pictures: SceneSet, camera: str) -> list[tuple[Picture, str]]:
    refs = pictures.refs[camera]
    grouped = [(p, group_of(camera, p)) for p in pictures.pictures if p.file not in refs]
    return [(p, group) for p, group in grouped if group is not None]


def measure(pictures: SceneSet, *, day_only: bool) -> Measured:
    """Every picture against every camera, through the product."""
    out = Measured()
    for camera in sorted(pictures.refs):
        built, refused = commission_from(pictures, camera, day_only=day_only)
        if built is None:
            out.refused[camera] = "; ".join(refused)
            continue
        if refused:
            out.lights_refused[camera] = refused
        with tempfile.TemporaryDirectory() as where:
            out.bytes.append(views.save(where, camera, built).stat().st_size)
        for picture, group in probes(pictures, camera):
            grey = pictures.grey(picture.file)
            eye = vision.Eye(built)
            start = time.perf_counter()
            reading = eye.read(grey)
            out.ms.append((time.perf_counter() - start) * 1e3 / len(built.lights))
            verdict = Scene().read(reading, at=0.0, generation=1).single
            released = verdict is Verdict.MATCH
            out.results.append(
                Read(camera, picture, group, reading.score, released, reading, verdict)
            )
    return out


def tally(results: Sequence[Result], *groups: str, held: bool = False) -> list[int]:
    """[released or held, total] of the results in *groups* ("foreign" means every "foreign.*")."""
    chosen = [
        r for r in results if any(r.group == g or r.group.startswith(f"{g}.") for g in groups)
    ]
    return [sum(r.released != held for r in chosen), len(chosen)]


def added(a: list[int], b: list[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


# ---- small moves ----


class Truth:
    """How far each small move truly is; each is found once."""

    def __init__(self, pictures: SceneSet) -> None:
        self._pictures = pictures
        self._known: dict[str, Displacement | None] = {}

    def of(self, picture: Picture) -> Displacement | None:
        """None = cannot be told: no frame of its camera agrees with it clearly."""
        if picture.file not in self._known:
            self._known[picture.file] = self._find(picture)
        return self._known[picture.file]

    def _find(self, picture: Picture) -> Displacement | None:
        after, text = self._pictures.data(picture.file), self._pictures.text_of(picture.camera)
        if picture.made_from and self._pictures.data(picture.made_from):
            return displacement(self._pictures.data(picture.made_from), after, text)
        tried = [
            displacement(self._pictures.data(own.file), after, text)
            for own in self._pictures.own(picture.camera)
        ]
        return max((d for d in tried if d), key=lambda d: d.agreeing, default=None)


def is_right(reading: SceneReading, truth: Displacement | None) -> bool:
    return (
        truth is not None
        and (reading.placed or reading.elsewhere)
        and abs(reading.dx - truth.dx) <= RIGHT_PX
        and abs(reading.dy - truth.dy) <= RIGHT_PX
        and abs(reading.angle_deg - truth.angle_deg) <= RIGHT_DEG
    )


def small_moves(results: Sequence[Read], truth: Truth) -> dict[str, list[int]]:
    """[released, dx and dy (and angle) right, total] by kind."""
    out = {}
    for kind in SMALL:
        chosen = [r for r in results if r.group == f"small.{kind}"]
        right = sum(is_right(r.reading, truth.of(r.picture)) for r in chosen)
        out[kind] = [sum(r.released for r in chosen), right, len(chosen)]
    return out


def small_table(results: Sequence[Read], truth: Truth) -> list[str]:
    lines = [
        f"{'small move':30} {'camera':14}    truth dx   dy  angle  zoom    read dx   dy  angle  zoom"
    ]
    for r in results:
        if not r.group.startswith("small."):
            continue
        true, x = truth.of(r.picture), r.reading
        known = "cannot be told".ljust(24)
        if true is not None:
            known = f"{true.dx:8.1f} {true.dy:4.1f} {true.angle_deg:6.1f} {true.zoom:5.2f}"
        read = f"{x.dx:8.1f} {x.dy:4.1f} {x.angle_deg:6.1f} {x.zoom:5.2f}"
        if not (x.placed or x.elsewhere):
            read = f"not placed (score {x.score:.2f})".rjust(25)
        right = "right" if is_right(x, true) else "WRONG" if true is not None else "-"
        lines.append(
            f"{r.picture.file:30} {r.camera:14} {known}   {read}  {right:5} {r.verdict.value}"
        )
    return lines


# ---- the count ----


def same(results: Sequence[Result]) -> dict[str, list[int]]:
    groups = sorted({r.group for r in results if r.group.startswith("same.")})
    return {g.removeprefix("same."): tally(results, g, held=True) for g in groups}


def by_kind(results: Sequence[Result], prefix: str) -> dict[str, list[int]]:
    groups = sorted({r.group for r in results if r.group.startswith(f"{prefix}.")})
    return {g.removeprefix(f"{prefix}."): tally(results, g) for g in groups}


def summary(day: Sequence[Result], both: Sequence[Result]) -> dict[str, object]:
    """The figures that hold for anyone who judges views; foreign and moved are summed over both ways of commissioning."""
    return {
        "foreign": added(tally(day, "foreign"), tally(both, "foreign")),
        "moved": added(tally(day, "moved"), tally(both, "moved")),
        "same": {"day_only": same(day), "day_night": same(both)},
        "apart": {
            name: {"foreign": by_kind(results, "foreign"), "moved": by_kind(results, "moved")}
            for name, results in (("day_only", day), ("day_night", both))
        },
    }


def cross_validate(results: Sequence[Result]) -> dict[str, object]:
    """Leave one camera out: the limit on the score is 1.1 times the worst stranger of all others, as low as it may be."""
    cameras = sorted({r.camera for r in results})
    limits, released, strangers = [], 0, 0
    held: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for left_out in cameras:
        others = [r.score for r in results if r.camera != left_out and _is_strange(r)]
        if not others:
            continue
        limit = max(others) * MARGIN
        limits.append(limit)
        for r in results:
            if r.camera != left_out:
                continue
            if _is_strange(r):
                strangers += 1
                released += int(r.score >= limit)
            elif r.group.startswith("same."):
                held[r.group.removeprefix("same.")][0] += int(r.score < limit)
                held[r.group.removeprefix("same.")][1] += 1
    return {
        "limits": [round(min(limits), 3), round(max(limits), 3)] if limits else None,
        "strangers_released": [released, strangers],
        "same_held": dict(sorted(held.items())),
    }


def _is_strange(result: Result) -> bool:
    return result.group.startswith(("foreign.", "moved."))


# ---- peers ----


def measure_peer(
    peer: Peer,
    pictures: SceneSet,
    looked: dict[str, Seen | None],
    measured: Measured,
    *,
    day_only: bool,
) -> tuple[list[Result], list[float]]:
    """The peer's likeness for the very probes that the product was given, and milliseconds each."""
    results, ms = [], []
    for camera in sorted({r.camera for r in measured.results}):
        files = [f for f in pictures.refs[camera] if not day_only or light_of(f) == "day"]
        references = [seen for f in files if (seen := peer.look(pictures.data(f))) is not None]
        for picture, group in probes(pictures, camera):
            start = time.perf_counter()
            if picture.file not in looked:
                looked[picture.file] = peer.look(pictures.data(picture.file))
                ms.append((time.perf_counter() - start) * 1e3)
            seen = looked[picture.file]
            likeness = -np.inf if seen is None else peer.likeness(seen, references)
            released = likeness >= peer.default_limit
            results.append(Result(camera, picture, group, float(likeness), released))
    return results, ms


def at_limit(results: Sequence[Result], limit: float) -> list[Result]:
    return [
        Result(r.camera, r.picture, r.group, r.score, released=r.score >= limit) for r in results
    ]


def of_peer(peer: Peer, pictures: SceneSet, day: Measured, both: Measured) -> dict[str, object]:
    """At the limit the package comes with, and at the one that lets no stranger of this very set through."""
    looked: dict[str, Seen | None] = {}
    day_results, ms = measure_peer(peer, pictures, looked, day, day_only=True)
    both_results, more = measure_peer(peer, pictures, looked, both, day_only=False)
    strangers = [r.score for r in (*day_results, *both_results) if r.group.startswith("foreign.")]
    none_false = float(np.nextafter(max(strangers, default=-np.inf), np.inf))

    def figures(limit: float) -> dict[str, object]:
        cut_day, cut_both = at_limit(day_results, limit), at_limit(both_results, limit)
        small = {k: tally(cut_both, f"small.{k}") for k in SMALL}
        found = summary(cut_day, cut_both)
        del found["apart"]
        # No peer measures a displacement: none is right.
        found["small_moves"] = {k: [released, 0, total] for k, (released, total) in small.items()}
        return {"limit": round(limit, 4) if np.isfinite(limit) else None} | found

    kept = [seen.size_bytes for seen in looked.values() if seen is not None]
    return {
        **figures(peer.default_limit),
        "limit_from": peer.default_source,
        "at_no_false_accept": figures(none_false),
        "ms_per_frame": round(median(ms + more), 1) if ms + more else None,
        "reference_bytes": max(kept, default=0),
    }


# ---- for a person ----


def table(results: Sequence[Read]) -> list[str]:
    lines = [
        f"{'group':24} {'n':>6} {'match':>6} {'moved':>6} {'foreign':>8} {'unsure':>7}   score min/median/max"
    ]
    by_group: dict[str, list[Read]] = defaultdict(list)
    for r in results:
        by_group[r.group].append(r)
    for group, rows in sorted(by_group.items()):
        verdicts = [r.verdict for r in rows]
        scores = sorted(r.score for r in rows)
        counts = [
            verdicts.count(v)
            for v in (Verdict.MATCH, Verdict.MOVED, Verdict.FOREIGN, Verdict.CANNOT_TELL)
        ]
        lines.append(
            f"{group:24} {len(rows):6} {counts[0]:6} {counts[1]:6} {counts[2]:8} {counts[3]:7}   "
            f"{scores[0]:.2f} / {median(scores):.2f} / {scores[-1]:.2f}"
        )
    return lines


def wrong(results: Sequence[Read]) -> list[str]:
    lines = []
    for r in results:
        if r.released == r.group.startswith("same.") or r.group.startswith(("other.", "small.")):
            continue
        x = r.reading
        lines.append(
            f"  {'released' if r.released else 'held':8} {r.camera:14} {r.picture.file:34} score={x.score:.2f} "
            f"z={x.z:.1f} tiles={x.tiles} cells={x.cells} ncc={x.ncc:.2f} unusable={x.unusable}"
        )
    return lines


def tell(out: Callable[[str], object], pictures: SceneSet, day: Measured, both: Measured) -> None:
    out("Each picture is a still, judged as a burst of one frame: there are no sequences here.\n")
    for note in pictures.notes:
        out(f"note: {note}\n")
    for file in pictures.unreadable:
        out(f"cannot be read, counts as held: {file}\n")
    for title, measured in (("day references only", day), ("all references", both)):
        out(
            "\n".join([f"\n{title}", *table(measured.results), "wrong:", *wrong(measured.results)])
            + "\n"
        )
        for camera, why in measured.refused.items():
            out(f"  refused at commissioning, left out of the counts: {camera}: {why}\n")
        for camera, lights in measured.lights_refused.items():
            out(f"  commissioned without: {camera}: {'; '.join(lights)}\n")


def tell_peers(out: Callable[[str], object], peers: Mapping[str, object]) -> None:
    for name, found in peers.items():
        if found is None:
            out(f"\n{name}: not installed (pip install 'edge-agent[bench]'), not measured\n")
        else:
            out(f"\n{name}: {json.dumps(found)}\n")


def main(argv: Sequence[str], out: Callable[[str], object] = sys.stdout.write) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scenes", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=BESIDE_THE_REPO)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args(argv)
    try:
        pictures = read_set(args.folder)
    except NoSetError as error:
        sys.stderr.write(f"nothing measured: {error}\n")
        return 2
    day, both = measure(pictures, day_only=True), measure(pictures, day_only=False)
    truth = Truth(pictures)
    if not args.json:
        tell(out, pictures, day, both)
        out("\n" + "\n".join(small_table(both.results, truth)) + "\n")
    peers = {
        name: of_peer(peer, pictures, day, both) if peer and not args.no_peers else None
        for name, peer in installed().items()
    }
    if not args.json:
        tell_peers(out, peers)
    small = [r for r in both.results if r.group.startswith("small.")]
    found = summary(day.results, both.results) | {
        "small_moves": small_moves(both.results, truth),
        "small_moves_truth_unknown": sum(truth.of(r.picture) is None for r in small),
        "others": by_kind(both.results, "other"),
        "cross_validation": {
            "day_only": cross_validate(day.results),
            "day_night": cross_validate(both.results),
        },
        "refused": {"day_only": day.refused, "day_night": both.refused},
        "lights_refused": both.lights_refused,
        "unreadable": list(pictures.unreadable),
        "burst": "each still counts as a burst of one frame",
        "ms_per_frame": round(median([*day.ms, *both.ms]), 1) if day.ms or both.ms else None,
        "reference_bytes": max([*day.bytes, *both.bytes], default=0),
        "peers": peers,
    }
    out(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
