"""One picture -> what it says about the commissioned view. OpenCV and numpy only.

Promises: `Eye.read` never raises, whatever array it is given; a picture that cannot be judged says why; a view that was
never commissioned never scores. What is compared is the direction of edges in place, not brightness, so day, dusk and
infrared of one street agree, and another street or a room does not. On-screen text travels with a camera when it is taken
home, so it is found at commissioning and counts for nothing; the share of the view that must agree holds even if some is
missed. References are maps of edge directions: no photograph is kept, and nobody in one can be recognised.
The steps, their figures and how the limits were found: docs/design/view.md.
Not its job: time, verdicts (core/scene.py), files (views.py), fetching pictures (capture.py).

`picture.py` decodes and scales; `describe.py` finds edges; `text.py` on-screen text; `references.py` makes maps of them;
`match.py` compares; `likeness.py` compares maps alone; `geometry.py` measures how the view lies;
`eye.py` reads one camera's pictures in turn.
"""

from edge_agent.vision.describe import CELLS, TILES_X, TILES_Y, TOP_STRIP, Complexes, Mask
from edge_agent.vision.eye import Eye
from edge_agent.vision.likeness import Likeness
from edge_agent.vision.picture import (
    HEIGHT,
    MAX_PIXELS,
    WIDTH,
    Grey,
    jpeg_size,
    scaled_grey,
    scaled_grey_from_jpeg,
)
from edge_agent.vision.references import (
    LEVELS,
    Light,
    References,
    Refusal,
    Structure,
    add_light,
    build,
    map_of,
    masked_boxes,
    structure_of,
    tile_map,
)

__all__ = [
    "CELLS",
    "HEIGHT",
    "LEVELS",
    "MAX_PIXELS",
    "TILES_X",
    "TILES_Y",
    "TOP_STRIP",
    "WIDTH",
    "Complexes",
    "Eye",
    "Grey",
    "Light",
    "Likeness",
    "Mask",
    "References",
    "Refusal",
    "Structure",
    "add_light",
    "build",
    "jpeg_size",
    "map_of",
    "masked_boxes",
    "scaled_grey",
    "scaled_grey_from_jpeg",
    "structure_of",
    "tile_map",
]
