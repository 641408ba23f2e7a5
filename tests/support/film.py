"""Clips for the stand-in cameras, made from real photographs: a street that stands still, traffic and sensor noise that do not.

The view check must have a true street to prove, and no two pictures may be alike to the bit, or a camera counts as frozen.
Clips are elementary streams with access unit delimiters, as rtsp_server.py wants them; ffmpeg makes each once and keeps it
under the system's folder for temporary files.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import edge_agent
from tests.support.patience import patient

FPS: Final = 25
PHOTOGRAPHS: Final = Path(edge_agent.__file__).parent / "demo_pictures"
CACHE: Final = Path(tempfile.gettempdir()) / f"edge-agent-films-{os.getuid()}"


def street(number: int) -> Path:
    """A photograph of a street by day: another street for each *number*, then other moments of them."""
    streets = sorted(
        PHOTOGRAPHS.glob("*/day-*.jpg"), key=lambda path: (path.name, path.parent.name)
    )
    assert streets, f"no photograph of a street in {PHOTOGRAPHS}"
    return streets[number % len(streets)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What a clip is like. `codec`: h264 or h265; 4 Mbit/s is what a 1080p street camera is usually set to."""

    codec: str = "h264"
    width: int = 1920
    height: int = 1080
    seconds: int = 6
    gop: int = FPS
    kbit_s: int = 4000
    preset: str = "ultrafast"


def film(photograph: Path, wanted: Film) -> Path:
    """The clip of *photograph*; made now, or taken from the cache."""
    name = hashlib.sha256(photograph.read_bytes() + repr((wanted, _version())).encode()).hexdigest()
    path = CACHE / f"{name[:24]}.{wanted.codec}"
    if path.exists():
        return path
    CACHE.mkdir(mode=0o700, exist_ok=True)
    beside = path.with_name(f"new-{os.getpid()}-{path.name}")
    command = [
        "ffmpeg", "-nostdin", "-loglevel", "error", "-y",
        *("-loop", "1", "-framerate", str(FPS), "-i", str(photograph)),
        *("-f", "lavfi", "-i", f"color=c=0x303840:s={wanted.width // 12}x{wanted.height // 14}:r={FPS}"),
        *("-f", "lavfi", "-i", f"color=c=0xb8b0a0:s={wanted.width // 20}x{wanted.height // 18}:r={FPS}"),
        *("-filter_complex", _scene(wanted), "-t", str(wanted.seconds), "-pix_fmt", "yuv420p"),
        *_coder(wanted), "-f", {"h264": "h264", "h265": "hevc"}[wanted.codec], str(beside),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=300)
    beside.rename(path)
    return path


def stills(clip: Path, folder: Path, *, count: int, apart_s: float = 1.0) -> list[Path]:
    """*count* pictures out of *clip* as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        "ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-framerate", str(FPS), "-i", str(clip),
        *("-vf", f"fps={1 / apart_s}", "-frames:v", str(count), "-q:v", "3", str(folder / "%03d.jpg")),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=patient(120.0))
    found = sorted(folder.glob("*.jpg"))
    assert len(found) == count, f"{clip} is too short for {count} pictures"
    return found


def _scene(wanted: Film) -> str:
    """Two vehicles that cross the lower half and come round with the clip, and a sensor's noise over it all."""
    size = f"{wanted.width}:{wanted.height}"
    lap = f"t/{wanted.seconds}"
    return (
        f"[0]scale={size}:force_original_aspect_ratio=increase,crop={size},setsar=1[still];"
        f"[still][1]overlay=x='W*{lap}':y=H*0.62[one];"
        f"[one][2]overlay=x='W*(1-{lap})':y=H*0.78[two];"
        "[two]noise=alls=8:allf=t[all];[all]format=yuv420p"
    )


def _coder(wanted: Film) -> list[str]:
    rate = [
        "-b:v",
        f"{wanted.kbit_s}k",
        "-maxrate",
        f"{wanted.kbit_s}k",
        "-bufsize",
        f"{wanted.kbit_s}k",
    ]
    gop = f"keyint={wanted.gop}:min-keyint={wanted.gop}:scenecut=0:bframes=0:aud=1:repeat-headers=1"
    if wanted.codec == "h264":
        return ["-c:v", "libx264", "-preset", wanted.preset, *rate, "-x264-params", gop]
    quiet = f"{gop}:log-level=error:pools=1:frame-threads=1"
    return ["-c:v", "libx265", "-preset", wanted.preset, *rate, "-x265-params", quiet]


def _version() -> str:
    """Changes whenever this file does, so that an old clip is not taken for a new one."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
