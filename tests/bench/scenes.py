"""Does the view check hold strangers and release friends? Measured on a folder of real pictures.

    python -m tests.bench.scenes DIR [--json] [--no-text-search]

Each camera of DIR is commissioned through the product's own `vision.build` from the frames named in refs.csv, once with its
day frames only and once with all of them; then everything else is read through `vision.Eye` and `scene.is_match`. Every
picture is a still from another minute: a burst of one frame. A sustained match over time can only be harder to get.
No given text mask is used. `--no-text-search` switches the search for on-screen text off, to see what it carries.
The last line is one JSON object; `cross_validation` repeats the count with a limit taken from the other cameras only.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

import edge_agent.vision.references as vision_references
from edge_agent import views, vision
from edge_agent.core.messages import SceneReading
from edge_agent.core.scene import Verdict, is_match, verdict_of

LATER_FROM = 51
FOREIGN_TAMPER = ("osdindoor", "osdstreet")
MOVED = ("realmoved", "shift10", "shift25", "rot10", "zoom25", "flip180", "mirror", "coverfull")
SMALL = ("shift03", "rot03", "zoom08", "realnudge")
OTHER = ("blur", "coverhalf")
MARGIN = 1.1  # over the worst stranger of the other cameras


@dataclass(frozen=True)
class Picture:
    file: str
    camera: str
    condition: str
    kind: str  # camera, indoor, street, or the kind of tampering


@dataclass(frozen=True)
class Result:
    camera: str
    picture: Picture
    group: str
    reading: SceneReading


def pictures(folder: Path) -> list[Picture]:
    found = []
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            top, name = row["file"].split("/", 1)
            kind = (
                name.rsplit("-", 1)[0] if top == "tamper" else {"cameras": "camera"}.get(top, top)
            )
            found.append(Picture(row["file"], row["camera"], row["condition"], kind))
    return found


def references(folder: Path) -> dict[str, list[str]]:
    with (folder / "refs.csv").open(encoding="utf-8", newline="") as file:
        return {
            r["camera"]: [v for k, v in r.items() if k.startswith("ref") and v]
            for r in csv.DictReader(file)
        }


def site(camera: str) -> str:
    """Two recordings of one pole (lta21-2702, lta26-2702) are no strangers to each other."""
    return camera.rsplit("-", 1)[-1]


def group_of(camera: str, picture: Picture) -> str | None:
    """What reading *picture* with the references of *camera* tests; None = nothing."""
    own = picture.camera == camera
    if picture.kind == "camera":
        if own:
            later = int(Path(picture.file).stem.rsplit("-", 1)[-1]) >= LATER_FROM
            return "same.later" if later else f"same.{picture.condition}"
        return None if site(picture.camera) == site(camera) else "foreign.camera"
    if picture.kind in ("indoor", "street"):
        return (
            f"foreign.{picture.kind}.{picture.condition}"
            if picture.kind == "indoor"
            else "foreign.street"
        )
    if not own:
        return None
    if picture.kind in FOREIGN_TAMPER:
        return f"foreign.{picture.kind}"
    if picture.kind in MOVED:
        return f"moved.{picture.kind}"
    return f"other.{picture.kind}" if picture.kind in SMALL + OTHER else None


def light_of(file: str) -> str:
    return Path(file).stem.split("-")[0]


def commission(
    refs: list[str], greys: dict[str, vision.Grey | None], *, day_only: bool
) -> vision.References | vision.Refusal:
    lights: dict[str, list[vision.Grey | None]] = defaultdict(list)
    for file in refs:
        if not day_only or light_of(file) == "day":
            lights[light_of(file)].append(greys[file])
    return vision.build(lights)


def measure(folder: Path, *, day_only: bool) -> tuple[list[Result], dict[str, str], float, int]:
    """Every result, cameras refused at commissioning, milliseconds a frame, and the largest reference file."""
    all_pictures, all_refs = pictures(folder), references(folder)
    greys = {
        p.file: vision.scaled_grey_from_jpeg((folder / p.file).read_bytes()) for p in all_pictures
    }
    results, refused, times, sizes = [], {}, [], [0]
    for camera, refs in sorted(all_refs.items()):
        built = commission(refs, greys, day_only=day_only)
        if isinstance(built, vision.Refusal):
            refused[camera] = built.why
            continue
        with tempfile.TemporaryDirectory() as where:
            sizes.append(views.save(where, camera, built).stat().st_size)
        for picture in all_pictures:
            group = group_of(camera, picture)
            if group is None or picture.file in refs:
                continue
            eye = vision.Eye(built)
            start = time.perf_counter()
            reading = eye.read(greys[picture.file])
            times.append((time.perf_counter() - start) * 1e3 / len(built.lights))
            results.append(Result(camera, picture, group, reading))
    return results, refused, median(times), max(sizes)


def tally(results: list[Result], prefix: str, *, held: bool = False) -> list[int]:
    chosen = [r for r in results if r.group.startswith(prefix)]
    return [sum(is_match(r.reading) != held for r in chosen), len(chosen)]


def small_moves(results: list[Result]) -> dict[str, list[int]]:
    """[released, dx and dy right, total]; the true shift is known for shift03 only: 3 % of the width to either side."""
    out = {}
    for kind in SMALL:
        chosen = [r for r in results if r.group == f"other.{kind}"]
        right = sum(
            kind == "shift03"
            and r.reading.elsewhere
            and abs(math.hypot(r.reading.dx, r.reading.dy) - 0.03 * vision.WIDTH) <= 2.0
            for r in chosen
        )
        out[kind] = [sum(is_match(r.reading) for r in chosen), right, len(chosen)]
    return out


def cross_validate(results: list[Result]) -> dict[str, object]:
    """Leave one camera out: the limit on the score is 1.1 times the worst stranger of all others, as low as it may be."""
    cameras = sorted({r.camera for r in results})
    strange = ("foreign", "moved")
    limits, released, strangers = [], 0, 0
    held: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for left_out in cameras:
        worst = max(
            r.reading.score for r in results if r.camera != left_out and r.group.startswith(strange)
        )
        limit = worst * MARGIN
        limits.append(limit)
        for r in results:
            if r.camera != left_out:
                continue
            if r.group.startswith(strange):
                strangers += 1
                released += int(r.reading.score >= limit)
            elif r.group.startswith("same"):
                held[r.group][0] += int(r.reading.score < limit)
                held[r.group][1] += 1
    return {
        "limits": [round(min(limits), 3), round(max(limits), 3)],
        "strangers_released": [released, strangers],
        "same_held": dict(sorted(held.items())),
    }


def table(results: list[Result]) -> list[str]:
    lines = [
        f"{'group':24} {'n':>6} {'match':>6} {'moved':>6} {'foreign':>8} {'unsure':>7}   score min/median/max"
    ]
    by_group: dict[str, list[Result]] = defaultdict(list)
    for r in results:
        by_group[r.group].append(r)
    for group, rows in sorted(by_group.items()):
        verdicts = [verdict_of(r.reading) for r in rows]
        scores = sorted(r.reading.score for r in rows)
        counts = [
            verdicts.count(v)
            for v in (Verdict.MATCH, Verdict.MOVED, Verdict.FOREIGN, Verdict.CANNOT_TELL)
        ]
        lines.append(
            f"{group:24} {len(rows):6} {counts[0]:6} {counts[1]:6} {counts[2]:8} {counts[3]:7}   "
            f"{scores[0]:.2f} / {median(scores):.2f} / {scores[-1]:.2f}"
        )
    return lines


def wrong(results: list[Result]) -> list[str]:
    lines = []
    for r in results:
        match = is_match(r.reading)
        if match == r.group.startswith("same") or r.group.startswith("other"):
            continue
        x = r.reading
        lines.append(
            f"  {'released' if match else 'held':8} {r.camera:14} {r.picture.file:34} score={x.score:.2f} z={x.z:.1f} "
            f"tiles={x.tiles} cells={x.cells} ncc={x.ncc:.2f} unusable={x.unusable}"
        )
    return lines


def summary(day: list[Result], both: list[Result]) -> dict[str, object]:
    def same(results: list[Result]) -> dict[str, list[int]]:
        groups = sorted({r.group for r in results if r.group.startswith("same")})
        return {g.removeprefix("same."): tally(results, g, held=True) for g in groups}

    return {
        "foreign": [
            a + b for a, b in zip(tally(day, "foreign"), tally(both, "foreign"), strict=True)
        ],
        "moved": [a + b for a, b in zip(tally(day, "moved"), tally(both, "moved"), strict=True)],
        "small_moves": small_moves(both),
        "same": {"day_only": same(day), "day_night": same(both)},
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scenes", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--no-text-search", action="store_true")
    args = parser.parse_args(argv)
    if args.no_text_search:
        vision_references.on_screen = lambda frames: np.zeros(
            (vision.HEIGHT, vision.WIDTH), np.bool_
        )
    day, day_refused, ms_day, size_day = measure(args.folder, day_only=True)
    both, both_refused, ms_both, size_both = measure(args.folder, day_only=False)
    out = sys.stdout.write
    if not args.json:
        for title, results, refused in (
            ("day references only", day, day_refused),
            ("all references", both, both_refused),
        ):
            out("\n".join([f"\n{title}", *table(results), "wrong:", *wrong(results)]) + "\n")
            for camera, why in refused.items():
                out(f"  refused at commissioning: {camera}: {why}\n")
    found = summary(day, both) | {
        "cross_validation": {"day_only": cross_validate(day), "day_night": cross_validate(both)},
        "refused": {"day_only": sorted(day_refused), "day_night": sorted(both_refused)},
        "ms_per_frame": round(max(ms_day, ms_both), 1),
        "reference_bytes": max(size_day, size_both),
    }
    out(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
