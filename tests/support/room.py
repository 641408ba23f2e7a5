"""Draw the living room that the demo and the tests show: nobody's home, made of lines and light by this script.

    python -m tests.support.room            # writes edge_agent/demo_pictures/room/*.jpg anew

The room has what a real one has for the view check: a window, furniture, shadows, people asleep under blankets, sensor noise.
It is also drawn under the on-screen text of each demo street, because the encoder's text comes home with the camera.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 360
PICTURES = Path(__file__).parents[2] / "edge_agent" / "demo_pictures"

# x, y, width, height of the text in the demo streets (name boards with arrows; the logo is in the top strip).
TEXT = {
    "lta-3702": ((0, 0, 176, 29), (58, 88, 52, 46), (395, 45, 50, 37)),
    "lta-8702": ((0, 0, 176, 29), (138, 88, 58, 36), (337, 257, 44, 48)),
    "lta-9704": ((0, 0, 176, 29), (216, 103, 60, 34), (591, 183, 36, 54)),
}


def _quad(picture, points, colour):
    cv2.fillPoly(picture, [np.array(points, np.int32)], colour, cv2.LINE_AA)


def _line(picture, a, b, colour, thickness=1):
    cv2.line(picture, a, b, colour, thickness, cv2.LINE_AA)


def _shell(p):
    """Walls, ceiling, tiled floor in perspective towards (330, 150)."""
    p[:] = (178, 196, 205)
    _quad(p, [(0, 0), (640, 0), (500, 52), (150, 52)], (214, 220, 222))
    _quad(p, [(0, 0), (150, 52), (150, 232), (0, 330)], (150, 176, 190))
    _quad(p, [(640, 0), (500, 52), (500, 232), (640, 318)], (140, 164, 180))
    _quad(p, [(0, 330), (150, 232), (500, 232), (640, 318), (640, 360), (0, 360)], (96, 116, 140))
    for x in range(-700, 1400, 70):
        _line(p, (330 + (x - 330) // 4, 232), (x, 360), (76, 92, 112))
    for y in (240, 252, 270, 296, 332):
        _line(p, (0, y), (640, y), (76, 92, 112))
    _quad(p, [(0, 330), (150, 232), (150, 52), (0, 0)], (150, 176, 190))
    _quad(p, [(640, 318), (500, 232), (500, 52), (640, 0)], (140, 164, 180))
    _line(p, (0, 330), (150, 232), (70, 80, 90), 3)
    _line(p, (500, 232), (640, 318), (70, 80, 90), 3)
    _line(p, (150, 232), (500, 232), (70, 80, 90), 3)


def _window(p, light):
    """A barred window with curtains on the back wall."""
    cv2.rectangle(p, (250, 74), (372, 166), (52, 66, 84), -1)
    cv2.rectangle(p, (256, 80), (366, 160), light, -1)
    for x in range(270, 366, 14):
        _line(p, (x, 80), (x, 160), (60, 64, 70), 2)
    _line(p, (256, 120), (366, 120), (60, 64, 70), 2)
    for side, start in ((-1, 262), (1, 360)):
        for fold in range(5):
            x = start + side * fold * 7
            shade = 90 + 26 * (fold % 2)
            _quad(
                p,
                [(x, 68), (x + side * 8, 68), (x + side * 10, 196), (x + side * 2, 196)],
                (shade, shade // 2, 120),
            )


def _furniture(p):
    """Cabinet with a television, sofa, shelf, pictures, fan, lamp."""
    _quad(p, [(12, 210), (128, 172), (128, 240), (12, 318)], (44, 62, 92))
    for i in range(3):
        _line(p, (12 + 38 * i, 210 - 12 * i), (12 + 38 * i, 318 - 25 * i), (28, 40, 60), 2)
    _quad(p, [(28, 128), (112, 110), (112, 170), (28, 196)], (24, 24, 26))
    _quad(p, [(33, 134), (107, 117), (107, 164), (33, 189)], (70, 58, 50))
    cv2.rectangle(p, (392, 156), (494, 232), (58, 84, 60), -1)
    cv2.rectangle(p, (386, 178), (402, 236), (46, 70, 50), -1)
    cv2.rectangle(p, (484, 178), (500, 238), (46, 70, 50), -1)
    for x in (402, 443):
        cv2.rectangle(p, (x, 196), (x + 40, 222), (72, 104, 76), -1)
        cv2.rectangle(p, (x, 196), (x + 40, 222), (40, 58, 42), 1)
    for x, y, w, h in ((170, 88, 30, 40), (206, 100, 26, 30), (414, 90, 44, 34)):
        cv2.rectangle(p, (x, y), (x + w, y + h), (40, 60, 84), -1)
        cv2.rectangle(p, (x + 4, y + 4), (x + w - 4, y + h - 4), (150, 170, 160), -1)
        _line(p, (x + 5, y + h - 8), (x + w - 6, y + h // 2), (80, 110, 90), 2)
    for row in range(3):
        y = 96 + row * 34
        _quad(
            p,
            [(520, y), (606, y - 12 + row * 9), (606, y - 6 + row * 9), (520, y + 5)],
            (46, 66, 92),
        )
        for book in range(7):
            x = 524 + book * 11
            _quad(
                p,
                [(x, y - 22), (x + 8, y - 23), (x + 8, y - 2), (x, y - 1)],
                (60 + 22 * book, 150 - 16 * book, 90),
            )
    cv2.ellipse(p, (330, 34), (70, 6), 8, 0, 360, (120, 130, 136), -1, cv2.LINE_AA)
    cv2.circle(p, (330, 32), 9, (90, 96, 100), -1, cv2.LINE_AA)


def _sleepers(p, *, turned):
    """Two people on a mattress, under striped blankets: silhouettes."""
    _quad(p, [(150, 276), (468, 262), (560, 344), (90, 360)], (190, 200, 206))
    _quad(p, [(90, 360), (560, 344), (560, 352), (92, 368)], (120, 130, 140))
    for k, (x, y, colour) in enumerate(((196, 300, (120, 80, 150)), (352, 296, (150, 120, 60)))):
        lean = 6 if turned and k else 0
        cv2.ellipse(
            p, (x - 14, y - 18 + lean), (30, 14), -6, 0, 360, (226, 230, 232), -1, cv2.LINE_AA
        )
        cv2.circle(p, (x - 10, y - 20 + lean), 11, (58, 66, 84), -1, cv2.LINE_AA)
        cv2.ellipse(p, (x + 42, y + 8 + lean), (60, 24), 14, 0, 360, colour, -1, cv2.LINE_AA)
        for stripe in range(-40, 50, 14):
            _line(
                p,
                (x + 42 + stripe, y - 10 + lean),
                (x + 34 + stripe, y + 28 + lean),
                tuple(int(c * 0.7) for c in colour),
                2,
            )


def room(seed: int, *, infrared: bool = False, turned: bool = False) -> np.ndarray:
    """One picture of the room, WIDTH x HEIGHT BGR: by evening lamp light, or as an infrared camera shows it."""
    random = np.random.default_rng(seed)
    p = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    _shell(p)
    _window(p, (70, 56, 48) if infrared else (208, 196, 176))
    _furniture(p)
    _sleepers(p, turned=turned)
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    lamp = np.exp(-(((xs - 560) / 260) ** 2 + ((ys - 60) / 200) ** 2))
    middle = np.exp(-(((xs - 320) / 300) ** 2 + ((ys - 180) / 190) ** 2))
    shade = (0.35 + 0.85 * middle if infrared else 0.62 + 0.5 * lamp)[..., None]
    lit = p.astype(np.float32) * shade
    if infrared:
        lit = np.repeat(lit.mean(axis=2, keepdims=True), 3, axis=2)
    plaster = cv2.GaussianBlur(random.normal(0, 9, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 2.0)
    noise = random.normal(0, 4.0 if infrared else 2.2, (HEIGHT, WIDTH, 1 if infrared else 3))
    seen = cv2.GaussianBlur(lit, (0, 0), 0.7) + plaster[..., None] + noise
    return np.asarray(np.clip(seen, 0, 255), dtype=np.uint8)


def under_text_of(picture: np.ndarray, street: np.ndarray, camera: str) -> np.ndarray:
    """*picture* as the encoder of *camera* would send it: with the text of *street* burned in."""
    out = picture.copy()
    for x, y, w, h in TEXT[camera]:
        out[y : y + h, x : x + w] = street[y : y + h, x : x + w]
    return out


def colour(path: Path) -> np.ndarray:
    """The picture at *path*, BGR."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return np.asarray(picture, dtype=np.uint8)


def jpeg(picture: np.ndarray, quality: int = 80) -> bytes:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def write(folder: Path) -> list[Path]:
    """Write the pictures that are shipped."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {f"evening-{i:02}": room(i, turned=i > 4) for i in range(1, 7)}
    drawn |= {f"infrared-{i:02}": room(20 + i, infrared=True, turned=i > 1) for i in (1, 2)}
    for camera in TEXT:
        street = colour(PICTURES / camera / "day-03.jpg")
        for i in (1, 2, 3):
            drawn[f"{camera}-text-{i:02}"] = under_text_of(
                room(10 + i, turned=i == 3), street, camera
            )
    written = []
    for name, picture in drawn.items():
        path = folder / f"{name}.jpg"
        path.write_bytes(jpeg(picture))
        written.append(path)
    return written


if __name__ == "__main__":
    for path in write(PICTURES / "room"):
        sys.stdout.write(f"{path} {path.stat().st_size}\n")
