"""Makes the bank of foreign maps from a folder of real pictures, and measures how well its maps stand in for them.

    python -m tests.bench.foreign_bank DIR [--write]

Rooms and streets of DIR become maps (`indoor/`, `street/`; the manifest names the light); pictures that vision calls unusable
are left out, since they never score. Fixed cameras of DIR stay out of the bank: they would refuse their own commissioning.
Without `--write` nothing is changed: the shipped bank is compared with what DIR would make, and each camera of DIR is scored
against every stranger twice, as picture and as map. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent import foreign, vision
from edge_agent.foreign import DIRECTIONS, MAGIC, MAP_HEIGHT, MAP_WIDTH, WEIGHTS
from edge_agent.vision.describe import describe, frame_mask, unusable_of

SHIPPED = Path(foreign.__file__).with_name(foreign.BANK)
KINDS = {"indoor": "room", "street": "street"}
LIGHTS = {"day": "", "ir": "infrared ", "night": "night ", "dusk": "dusk ", "snow": "snowy "}

Points = npt.NDArray[np.uint8]


def encode(described: vision.Complexes) -> Points:
    """A map of one picture's edges in the bank's few steps."""
    pair = np.stack([described.real, described.imag], axis=2)
    small = cv2.resize(pair, (MAP_WIDTH, MAP_HEIGHT), interpolation=cv2.INTER_AREA)
    mean = small[:, :, 0] + 1j * small[:, :, 1]
    weight = np.rint(np.minimum(np.abs(mean), 1.0) * WEIGHTS).astype(int)
    direction = np.rint(np.angle(mean) / (2 * np.pi) * DIRECTIONS).astype(int) % DIRECTIONS
    return np.where(weight > 0, direction * WEIGHTS + weight, 0).astype(np.uint8)


def gauge() -> list[int]:
    """How often each step occurs in the map of a drawn picture of rings: shifts when `describe` is changed."""
    y, x = np.mgrid[0 : vision.HEIGHT, 0 : vision.WIDTH]
    rings = np.sin(np.hypot(x - 160, y - 120) / 3.0) * (10 + x / 4)
    described = describe(np.asarray(128 + rings, dtype=np.uint8))[0]
    counts = np.bincount(encode(described).ravel(), minlength=DIRECTIONS * WEIGHTS + 1)
    return [int(n) for n in counts]


def pack(names: list[str], points: list[Points]) -> bytes:
    """The file of the bank."""
    head = json.dumps({"names": names, "gauge": gauge()}).encode()
    body = head + b"\n" + zlib.compress(b"".join(p.tobytes() for p in points), 9)
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def grey(path: Path) -> vision.Grey:
    found = vision.scaled_grey_from_jpeg(path.read_bytes())
    assert found is not None, f"{path} is no picture"
    return found


def strangers(folder: Path) -> Iterator[tuple[str, vision.Complexes]]:
    """Name and edges of each room and street of *folder* that vision can use."""
    numbers: Counter[str] = Counter()
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].split("/")[0] in KINDS]
    for row in sorted(rows, key=lambda row: row["file"]):
        picture = grey(folder / row["file"])
        described, strength = describe(picture)
        if unusable_of(picture, strength, frame_mask()) is not None:
            continue
        kind = LIGHTS[row["condition"]] + KINDS[row["file"].split("/")[0]]
        numbers[kind] += 1
        yield f"{kind} {numbers[kind]}", described


def references(folder: Path) -> Iterator[tuple[str, vision.References]]:
    """Each camera of *folder*, commissioned from the frames that refs.csv names."""
    with (folder / "refs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            by_light: dict[str, list[vision.Grey | None]] = {}
            for name in filter(None, (row["ref1"], row["ref2"], row["ref3"])):
                by_light.setdefault(Path(name).name.split("-")[0], []).append(grey(folder / name))
            built = vision.build(by_light)
            if isinstance(built, vision.References):
                yield row["camera"], built


def measure(folder: Path, bank: bytes) -> dict[str, object]:
    """Every camera against every stranger, as picture and as map; and against its own frames made into maps."""
    pictures = [described for _, described in strangers(folder)]
    real, mapped, own = [], [], []
    for camera, built in references(folder):
        likeness = vision.Likeness(built)
        both = [
            (likeness.score(picture), likeness.score(stranger.described))
            for picture, stranger in zip(pictures, foreign.maps(bank), strict=True)
        ]
        real += [a for a, _ in both]
        mapped += [b for _, b in both]
        frames = sorted((folder / "cameras" / camera).glob("*.jpg"))[::3]
        worst = max(both, key=lambda pair: pair[1])
        near = foreign.nearest(built, foreign.displaced(built))
        print(f"{camera}: worst stranger {worst[0]:.2f}, as map {worst[1]:.2f}; {near}", flush=True)
        for frame in frames:
            described = describe(grey(frame))[0]
            as_picture = likeness.score(described)
            if as_picture >= 0.5:
                (stranger,) = foreign.maps(pack(["x"], [encode(described)]))
                own.append(likeness.score(stranger.described) / as_picture)
    return {
        "pairs": len(real),
        "worst_picture": round(max(real), 3),
        "worst_map": round(max(mapped), 3),
        "correlation": round(float(np.corrcoef(real, mapped)[0, 1]), 3),
        "own_frames": len(own),
        "map_to_picture_median": round(float(np.median(own)), 3),
        "map_to_picture_least": round(min(own), 3),
    }


def main() -> None:
    """Measure, and write the bank if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--write", action="store_true", help=f"replace {SHIPPED.name}")
    options = parser.parse_args()
    found = list(strangers(options.folder))
    bank = pack([name for name, _ in found], [encode(described) for _, described in found])
    if options.write:
        SHIPPED.write_bytes(bank)
    kinds = Counter(name.rsplit(" ", 1)[0] for name, _ in found)
    print(", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    about = {
        "maps": len(found),
        "bytes": len(bank),
        "same_as_shipped": SHIPPED.is_file() and SHIPPED.read_bytes() == bank,
    }
    print(json.dumps(about | measure(options.folder, bank)))


if __name__ == "__main__":
    main()
