"""How much a map of edges looks like a commissioned view: the score of a reading, without a picture.

For what is known as a map only: foreign rooms and streets shipped with the product, another camera's view.
Not its job: pictures and readings (eye.py), deciding what is too much alike (commission.py).
"""

from __future__ import annotations

import numpy as np

from edge_agent.vision.describe import Complexes
from edge_agent.vision.match import Template, spectrum_of
from edge_agent.vision.references import References


class Likeness:
    """*references* made ready for comparing many maps with them."""

    def __init__(self, references: References) -> None:
        self._counts = references.counts
        self._templates = tuple(Template(light) for light in references.lights)

    def score(self, described: Complexes) -> float:
        """As in a reading, the best over the lights: 1 and more would be a match; 0 without any light."""
        masked = np.where(self._counts, described, np.complex64(0))
        spectrum = spectrum_of(masked)
        return max((t.match(masked, spectrum).score for t in self._templates), default=0.0)
