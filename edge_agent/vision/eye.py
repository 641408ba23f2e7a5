"""The reader of one camera's pictures: each against the references and against the picture before.

Promise: `Eye.read` never raises, whatever it is given; what cannot be judged says why, and never scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np

from edge_agent.core.messages import SceneReading, Unusable
from edge_agent.vision.describe import (
    BLOWN_GREY,
    DARK_GREY,
    TILES_X,
    TILES_Y,
    Complexes,
    Floats,
    Mask,
    by_tile,
    crispness,
    describe,
    frame_mask,
    unusable_of,
)
from edge_agent.vision.geometry import NOT_PLACED, Placement, Ruler, edges_of
from edge_agent.vision.match import NO_MATCH, Match, Template, spectrum_of
from edge_agent.vision.picture import HEIGHT, WIDTH, Grey, is_small_grey
from edge_agent.vision.references import TILE_WEIGHT, References, map_of
from edge_agent.vision.text import lettered

NOISE_GREY: Final = 12.0  # change of a pixel of the 80 x 60 picture that is no noise
_CHANGE_SIZE: Final = (80, 60)
# A light counts as known if the picture is about as bright as the references made in it.
LIGHT_NEAR_GREY: Final = 40.0
# Where a part of the stream is missing a decoder paints one colour (green, grey); a sensor makes noise. In 208 own pictures of the
# development set no part that holds fixed edges is so even; of half a picture lost, a third of them and more is. Black and white
# are left out: night and glare make such parts.
LOST_SPREAD_GREY: Final = 3
LOST_SHARE: Final = 0.2


class Eye:
    """Reads one camera's pictures. One thread at a time; keeps nothing but the small picture before."""

    def __init__(self, references: References | None) -> None:
        self._view = references.view if references is not None else ""
        self._counts = references.counts if references is not None else frame_mask()
        lights = references.lights if references is not None else ()
        self._templates = tuple(Template(light) for light in lights)
        self._rulers = tuple(Ruler(light) for light in lights)
        held = [by_tile(np.abs(map_of(light)) ** 2) > TILE_WEIGHT for light in lights]
        self._structured = np.any(held, axis=0) if held else np.zeros((TILES_Y, TILES_X), np.bool_)
        self._before: Grey | None = None
        self._small: Floats | None = None
        self._same_bits = 0

    def read(self, grey: object) -> SceneReading:
        """What *grey* (from `scaled_grey`) says. Never raises: anything else is NOT_A_PICTURE. About 16 ms, more with several lights."""
        if not is_small_grey(grey):
            return self._reading(
                Unusable.NOT_A_PICTURE, None, NO_MATCH, sharpness=0.0, change=1.0, known=False
            )
        change = self._compare_with_before(grey)
        described, strength = describe(grey)
        unusable = unusable_of(grey, strength, self._counts)
        if unusable is not None or not self._templates:
            return self._reading(
                unusable, grey, NO_MATCH, sharpness=0.0, change=change, known=False
            )
        masked = np.where(self._counts, described, np.complex64(0))
        spectrum = spectrum_of(masked)
        letters = lettered(grey)
        matches = [t.match(masked, spectrum, letters) for t in self._templates]
        best = max(range(len(matches)), key=lambda i: (matches[i].score, matches[i].elsewhere))
        if matches[best].score >= 1.0 and self._is_half_decoded(grey):
            return self._reading(
                Unusable.NOT_A_PICTURE, grey, NO_MATCH, sharpness=0.0, change=change, known=False
            )
        displaced = [m for m in matches if m.elsewhere]
        match = displaced[0] if displaced and matches[best].score < 1.0 else matches[best]
        template = self._templates[best]
        sharpness = crispness(grey, template.where) / max(template.light.crispness, 1e-3)
        mean = float(grey.mean())
        known = any(abs(mean - t.light.mean_grey) <= LIGHT_NEAR_GREY for t in self._templates)
        # In a match it lies as its best light says; else any light may know it.
        among = [best] if matches[best].score >= 1.0 else range(len(matches))
        placement, by = self._place(masked, among)
        # What another light shows may be out of sight for want of light, and is then not covered.
        bright = _mean_beside(grey, placement.hidden)
        if abs(bright - self._templates[by].light.mean_grey) > LIGHT_NEAR_GREY:
            placement = dataclasses.replace(placement, covered_share=0.0)
        return self._reading(
            None,
            grey,
            match,
            placement,
            sharpness=sharpness,
            change=change,
            known=known,
        )

    def _is_half_decoded(self, grey: Grey) -> bool:
        """Whether a fifth of the parts that hold fixed edges is painted in one colour: what is missing cannot be vouched for."""
        parts = grey.reshape(TILES_Y, HEIGHT // TILES_Y, TILES_X, WIDTH // TILES_X)
        least, most = parts.min(axis=(1, 3)).astype(np.int16), parts.max(axis=(1, 3))
        even = (most - least <= LOST_SPREAD_GREY) & (least > DARK_GREY) & (most < BLOWN_GREY)
        return int((even & self._structured).sum()) > LOST_SHARE * int(self._structured.sum())

    def _place(self, described: Complexes, among: Iterable[int]) -> tuple[Placement, int]:
        """How the view lies in the picture, and the number of the light that says so."""
        edges = edges_of(described)
        guesses = {number: self._rulers[number].guess(edges) for number in among}
        best = max(guesses, key=lambda number: guesses[number].height)
        return self._rulers[best].measure(edges, guesses[best]), best

    def _compare_with_before(self, grey: Grey) -> float:
        """Share of pixels that changed beyond noise, brightness and contrast of the whole set aside."""
        self._same_bits = (
            self._same_bits + 1
            if self._before is not None and np.array_equal(self._before, grey)
            else 1
        )
        small = cv2.resize(grey, _CHANGE_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        old, self._small, self._before = self._small, small, grey.copy()
        if old is None:
            return 1.0
        gain = float(old.std()) / max(float(small.std()), 1.0)
        level = (small - small.mean()) * min(gain, 4.0) + old.mean()
        return float((np.abs(level - old) > NOISE_GREY).mean())

    def _reading(
        self,
        unusable: Unusable | None,
        grey: Grey | None,
        match: Match,
        placement: Placement = NOT_PLACED,
        *,
        sharpness: float,
        change: float,
        known: bool,
    ) -> SceneReading:
        seen = grey if grey is not None else np.zeros((1, 1), np.uint8)
        return SceneReading(
            view=self._view,
            unusable=unusable,
            score=match.score,
            z=match.z,
            tiles=match.tiles,
            cells=match.cells,
            ncc=match.ncc,
            dx=placement.dx if placement.placed else match.dx,
            dy=placement.dy if placement.placed else match.dy,
            elsewhere=match.elsewhere,
            light_known=known,
            sharpness=sharpness,
            mean_grey=float(seen.mean()),
            dark_share=float((seen < DARK_GREY).mean()),
            blown_share=float((seen >= BLOWN_GREY).mean()),
            change=change,
            same_bits=self._same_bits if grey is not None else 0,
            placed=placement.placed,
            angle_deg=placement.angle_deg if placement.placed else 0.0,
            zoom=placement.zoom if placement.placed else 1.0,
            covered_share=placement.covered_share if placement.placed else 0.0,
        )


def _mean_beside(grey: Grey, hidden: Mask) -> float:
    """Mean of the picture without its *hidden* parts: a black bag is no night."""
    tiles = cv2.resize(grey.astype(np.float32), (TILES_X, TILES_Y), interpolation=cv2.INTER_AREA)
    return float(tiles[~hidden].mean()) if not hidden.all() else 0.0
