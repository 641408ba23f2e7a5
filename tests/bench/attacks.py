"""What if the search for on-screen text fails, or a view is turned a little? More attacks than a folder of pictures holds.

    python -m tests.bench.attacks [DIR] [--each N] [--json]

For each camera of DIR that has a mask of its text (masks/), rooms and streets are drawn under that text as the camera's
encoder would: all of it or each box by chance, in place or up to two pixels off, in colour or with the look of infrared.
They are read against references made with the product's search for text (`found`), with every second box of the mask taken
out of what it found (`half`), and without any search (`none`). Own pictures of every camera are shifted by 5 to 30 % of the
width, turned by 5 to 15 degrees, enlarged or shrunk by 10 to 30 % and mirrored (`moved`). `--each N` draws every Nth
stranger. Seeded: the same pictures each time. Last line: {attack: [released, total, worst score]} in JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent import vision
from edge_agent.core.scene import is_match
from edge_agent.vision.describe import frame_mask
from edge_agent.vision.references import light_from
from edge_agent.vision.text import on_screen
from tests.support.scene_set import (
    BESIDE_THE_REPO,
    NoSetError,
    SceneSet,
    commission_from,
    light_of,
    read_set,
)

SMALL: Final = (vision.WIDTH, vision.HEIGHT)
SEARCHES: Final = ("found", "half", "none")


Boxes: TypeAlias = npt.NDArray[np.int32]


def boxes_of(folder: Path, camera: str) -> Boxes | None:
    """The camera's text in its small picture, boxes numbered from 1; None without a mask."""
    path = folder / "masks" / f"{camera}.png"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if mask is None:
        return None
    small = cv2.resize(mask, SMALL, interpolation=cv2.INTER_AREA) > 40
    return np.asarray(cv2.connectedComponents(small.astype(np.uint8))[1], dtype=np.int32)


def infrared(grey: vision.Grey, random: np.random.Generator) -> vision.Grey:
    """As under a camera's own lamp: bright in the middle, dark at the edges, noisy."""
    y, x = np.mgrid[-1:1:240j, -1:1:320j]
    lit = grey * 0.8 * (1.0 - 0.3 * (x * x + y * y)) + random.normal(0.0, 6.0, grey.shape)
    return np.asarray(np.clip(lit, 0, 255), dtype=np.uint8)


def under_text(
    stranger: vision.Grey,
    own: vision.Grey,
    boxes: Boxes,
    random: np.random.Generator,
) -> vision.Grey:
    """*stranger* under the text that *own* shows in *boxes*."""
    home = infrared(stranger, random) if random.random() < 0.35 else stranger.copy()
    kept = random.random(int(boxes.max()) + 1) < (1.0 if random.random() < 0.6 else 0.5)
    kept[0] = False
    text = cv2.dilate(kept[boxes].astype(np.uint8), np.ones((3, 3), np.uint8))
    dx, dy = random.integers(-2, 3, 2) if random.random() < 0.4 else (0, 0)
    by = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    where = cv2.warpAffine(text, by, SMALL, flags=cv2.INTER_NEAREST) > 0
    home[where] = cv2.warpAffine(own, by, SMALL)[where]
    return home


def moved(own: vision.Grey, random: np.random.Generator) -> vision.Grey:
    """*own* as the camera would show it if it were turned a little."""
    how = random.integers(4)
    if how == 3:
        return np.ascontiguousarray(own[:, ::-1])
    turn = random.uniform(5.0, 15.0) * random.choice([-1, 1]) if how == 1 else 0.0
    zoom = random.uniform(1.1, 1.3) ** random.choice([-1, 1]) if how == 2 else 1.0
    by = cv2.getRotationMatrix2D((159.5, 119.5), turn, zoom)
    if how == 0:
        way, far = random.uniform(0.0, 2.0 * np.pi), random.uniform(0.05, 0.3) * vision.WIDTH
        by[0, 2], by[1, 2] = far * np.cos(way), far * np.sin(way)
    warped = cv2.warpAffine(own, by, SMALL, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(warped, dtype=np.uint8)


def references_of(
    pictures: SceneSet, camera: str, search: str, boxes: Boxes | None, *, day_only: bool
) -> vision.References | None:
    """References as the product makes them, or as it would if its search for text missed half of it, or all."""
    if search == "found" or boxes is None:
        return commission_from(pictures, camera, day_only=day_only)[0]
    missed = np.ones(boxes.shape, np.bool_) if search == "none" else boxes % 2 == 1
    near = cv2.dilate(missed.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    by_light: dict[str, list[vision.Grey]] = defaultdict(list)
    for file in pictures.refs[camera]:
        frame = pictures.grey(file)
        if frame is not None and (not day_only or light_of(file) == "day"):
            by_light[light_of(file)].append(frame)
    counts = frame_mask()
    for frames in by_light.values():
        counts &= ~(on_screen(frames) & ~near)
    lights = tuple(light_from(name, frames, counts) for name, frames in by_light.items())
    return vision.References(counts=counts, lights=lights) if lights else None


def scores(
    references: vision.References, pictures: Sequence[vision.Grey]
) -> Iterator[tuple[bool, float]]:
    for picture in pictures:
        reading = vision.Eye(references).read(picture)
        yield is_match(reading), reading.score


def attacks(
    pictures: SceneSet, camera: str, random: np.random.Generator, *, each: int
) -> list[vision.Grey]:
    boxes = boxes_of(pictures.folder, camera)
    if boxes is None:
        return []
    own = [g for f in pictures.refs[camera] if (g := pictures.grey(f)) is not None]
    strangers = [pictures.grey(p.file) for p in pictures.of_kind("indoor", "street")][::each]
    return [
        under_text(s, own[int(random.integers(len(own)))], boxes, random)
        for s in strangers
        if s is not None and own
    ]


def measure(pictures: SceneSet, *, each: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])

    def count(
        name: str, references: vision.References | None, drawn: Sequence[vision.Grey]
    ) -> None:
        if references is None:
            return
        for released, score in scores(references, drawn):
            tally = found[name]
            tally[0], tally[1] = tally[0] + released, tally[1] + 1
            tally[2] = round(max(tally[2], score), 2)

    for camera in sorted(pictures.refs):
        random = np.random.default_rng(zlib.crc32(camera.encode()))
        under = attacks(pictures, camera, random, each=each)
        boxes = boxes_of(pictures.folder, camera)
        frames = [pictures.grey(p.file) for p in pictures.own(camera)]
        turned = [moved(f, random) for f in frames if f is not None for _ in range(2)]
        for day_only in (True, False):
            for search in SEARCHES if under else ("found",):
                made = references_of(pictures, camera, search, boxes, day_only=day_only)
                count(search, made, under)
                if search == "found":
                    count("moved", made, turned)
    return dict(found)


def main(argv: Sequence[str], out: Callable[[str], object] = sys.stdout.write) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.attacks", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=BESIDE_THE_REPO)
    parser.add_argument("--each", type=int, default=1, metavar="N", help="every Nth stranger")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    args = parser.parse_args(argv)
    try:
        found = measure(read_set(args.folder), each=max(args.each, 1))
    except NoSetError as error:
        sys.stderr.write(f"nothing measured: {error}\n")
        return 2
    if not args.json:
        out(f"{'attack':8} {'released':>8} {'of':>7} {'worst score':>12}\n")
        for name, (released, total, worst) in found.items():
            out(f"{name:8} {released:8.0f} {total:7.0f} {worst:12.2f}\n")
    out(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
