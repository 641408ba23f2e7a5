"""Builders of messages with sensible defaults, so that a test names only what it is about."""

from dataclasses import replace

from edge_agent.core.cable import Baseline
from edge_agent.core.messages import CameraOpened, PictureTaken, SceneReading

STREET = SceneReading(
    view="view-1",
    unusable=None,
    score=2.0,
    z=12.0,
    tiles=30,
    cells=9,
    ncc=0.4,
    dx=0.0,
    dy=0.0,
    elsewhere=False,
    light_known=True,
    sharpness=1.0,
    mean_grey=110.0,
    dark_share=0.02,
    blown_share=0.01,
    change=0.3,
    same_bits=1,
)
LIVING_ROOM = replace(STREET, score=0.15, z=0.9, tiles=2, cells=1, ncc=0.01, change=1.0)
BASELINE = Baseline(
    camera="gate",
    cable="cat5e-outdoor",
    length_m=50.0,
    r_zero_ohm=9.4,
    r_plug_ohm=109.4,
    r_base_ohm=118.8,
    rref_ohm=150.0,
    bits=12,
    eol_ohm=100.0,
    tamper_ohm=100.0,
    wall_s=1.7e9,
    trusted=False,
    owner="Pak Harjo",
)


def picture(
    *,
    camera: str = "gate",
    generation: int = 1,
    taken_at: float = 0.0,
    reading: SceneReading = STREET,
    jpeg: bytes = b"\xff\xd8street\xff\xd9",
    width: int = 1920,
    height: int = 1080,
    codec: str = "h264",
) -> PictureTaken:
    """A picture as the capture worker posts it."""
    return PictureTaken(
        camera=camera,
        generation=generation,
        taken_at=taken_at,
        age_s=0.1,
        width=width,
        height=height,
        codec=codec,
        gop_s=2.0,
        bytes_per_s=500_000.0,
        reading=reading,
        jpeg=jpeg,
    )


def opened(*, camera: str = "gate", generation: int = 1, codec: str = "h264") -> CameraOpened:
    """A connection that stands."""
    return CameraOpened(camera=camera, generation=generation, codec=codec, width=1920, height=1080)
