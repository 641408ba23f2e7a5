"""Other packages that judge a view from its pictures, asked the same question as the product: is this the commissioned view?

`camera-health` compares a small brightness-normalised layout with a reference frame; `imagehash` (phash) compares 64 bits.
Each gets the very pictures the product gets, whole, and the best of its references counts. A peer that is not installed
(pip install 'edge-agent[bench]') is left out, and said to be. Neither measures a displacement.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Seen:
    """What a peer keeps of one picture. `well`: nothing about the picture itself speaks against it."""

    signature: np.ndarray
    well: bool
    flat: bool = False

    @property
    def size_bytes(self) -> int:
        return self.signature.nbytes // (8 if self.signature.dtype == np.bool_ else 1)


class Peer(Protocol):
    """`likeness` grows with agreement; a picture is released from `default_limit` on."""

    name: str
    default_limit: float
    default_source: str

    def look(self, jpeg: bytes) -> Seen | None:
        """What is kept of a picture; None if the package cannot read it."""
        ...

    def likeness(self, seen: Seen, references: Sequence[Seen]) -> float:
        """Of the best reference; -inf if the package would not release it at any limit."""
        ...


class CameraHealth:
    """Released = no critical fault in the picture, and no "tampering" against at least one reference."""

    name = "camera-health"
    default_source = "Thresholds.tamper_correlation, its default"

    def __init__(self) -> None:
        from camera_health import DEFAULT_THRESHOLDS

        self._limits = DEFAULT_THRESHOLDS
        self.default_limit = float(DEFAULT_THRESHOLDS.tamper_correlation)

    def look(self, jpeg: bytes) -> Seen | None:
        from camera_health import check, load_frame, metrics
        from PIL import Image

        try:
            with Image.open(io.BytesIO(jpeg)) as picture:
                picture.load()
                frame = load_frame(picture, analysis_pixels=self._limits.analysis_pixels)
                well = bool(check(picture).ok)
        except (OSError, ValueError, SyntaxError):  # Pillow raises all three for broken files
            return None
        signature, contrast = metrics.signature(frame.gray, self._limits.signature_size)
        flat = contrast < self._limits.min_signature_contrast
        return Seen(np.asarray(signature), well, flat)

    def likeness(self, seen: Seen, references: Sequence[Seen]) -> float:
        from camera_health import metrics

        # The package does not compare with a featureless reference.
        usable = [reference for reference in references if not reference.flat]
        if not seen.well or not usable:
            return -np.inf
        return max(float(metrics.scene_correlation(seen.signature, r.signature)) for r in usable)


class PerceptualHash:
    """Released = at most so many of 64 bits differ; likeness is minus the number of bits."""

    name = "imagehash"
    # Its documentation names no limit ("some manhattan distance"); 10 of 64 is what those who use phash usually take.
    default_limit = -10.0
    default_source = "10 of 64 bits: the documentation names none, this is the usual one"

    def look(self, jpeg: bytes) -> Seen | None:
        import imagehash
        from PIL import Image

        try:
            with Image.open(io.BytesIO(jpeg)) as picture:
                return Seen(np.asarray(imagehash.phash(picture).hash, dtype=np.bool_), well=True)
        except (OSError, ValueError, SyntaxError):
            return None

    def likeness(self, seen: Seen, references: Sequence[Seen]) -> float:
        if not references:
            return -np.inf
        return -float(min(int((seen.signature != r.signature).sum()) for r in references))


def installed() -> dict[str, Peer | None]:
    """Every peer by name; None = not installed here."""
    here = importlib.util.find_spec
    pillow = here("PIL") is not None
    return {
        CameraHealth.name: CameraHealth() if here("camera_health") and pillow else None,
        PerceptualHash.name: PerceptualHash() if here("imagehash") and pillow else None,
    }
