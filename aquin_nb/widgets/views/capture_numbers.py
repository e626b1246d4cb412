"""What the picture of a capture is made of: norms, cosines and projections, read a few rows at a time and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .projection import Vectors, components, like

Rows = NDArray[np.int64]
Read = Callable[[int, Rows], Vectors]
"""`read(layer, rows)` gives float32 [len(rows), d_model]; rows ascend."""

LOOKED_BYTES = 80 << 20
"""Norms and cosines are of all probes up to this many bytes of activations, else of probes evenly spaced."""
CHUNK_BYTES = 32 << 20
POINT_BYTES = 64 << 20
POINTS = 20_000
FITTED = 4_000
"""Rows that a projection shows, and rows that its axes are computed from; evenly spaced when there are more."""
ANCHORS = 5


@dataclass(frozen=True)
class Looked:
    """Numbers by probe and layer.

    Attributes:
        rows: int64 [m], the probes looked at. norm, cosine: float32 [layers, m], cosine with the layer's mean; NaN
            where a vector holds NaN or infinity (norm) or has no direction (cosine).
        bad: bool [layers, m], whether the vector holds NaN or infinity.
    """

    rows: Rows
    norm: Vectors
    cosine: Vectors
    bad: NDArray[np.bool_]


@dataclass(frozen=True)
class Projected:
    """A layer in two dimensions: `rows` int64 [m], `xy` float32 [m, 2] (NaN where a vector is not finite)."""

    rows: Rows
    xy: Vectors
    explained: tuple[float, float]


def spaced(count: int, most: int) -> Rows:
    """At most `most` of `count` rows, evenly spaced, ascending.

    >>> spaced(10, 4)
    array([0, 3, 6, 9])
    """
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.unique(np.linspace(0, count - 1, max(1, most)).round().astype(np.int64))


class CaptureNumbers:
    """A capture's numbers, each computed once. Safe on any thread; a second thread waits for the first.

    Args:
        count: probes. layers: ascending or not. d_model: width. read: see `Read`.
    """

    def __init__(self, count: int, layers: Sequence[int], d_model: int, read: Read) -> None:
        self.count, self.layers, self.d_model, self.read = count, list(layers), d_model, read
        self._lock = threading.RLock()
        self._looked: Looked | None = None
        self._projected: dict[int, Projected] = {}
        places = spaced(len(self.layers), ANCHORS)
        self.anchors = [self.layers[at] for at in places]

    def looked(self) -> Looked:
        """Norms and cosines of all probes, or of as many as `LOOKED_BYTES` allows."""
        with self._lock:
            if self._looked is None:
                room = LOOKED_BYTES // max(1, 4 * self.d_model * len(self.layers))
                self._looked = self._look(spaced(self.count, max(64, room)))
            return self._looked

    def projected(self, layer: int) -> Projected:
        """A layer's first two principal components, with the signs of the nearest anchor layer's picture."""
        with self._lock:
            if layer not in self._projected:
                self._projected[layer] = self._project(layer)
            return self._projected[layer]

    def _look(self, rows: Rows) -> Looked:
        shape = (len(self.layers), len(rows))
        norm, cosine = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        bad = np.zeros(shape, np.bool_)
        step = max(1, CHUNK_BYTES // max(1, 4 * self.d_model))
        parts = [slice(start, min(start + step, len(rows))) for start in range(0, len(rows), step)]
        for at, layer in enumerate(self.layers):
            total = np.zeros(self.d_model)
            x = np.zeros((0, self.d_model), np.float32)
            for part in parts:
                x = self.read(layer, rows[part])
                fine = np.isfinite(x).all(axis=1)
                bad[at, part] = ~fine
                total += x[fine].sum(axis=0, dtype=np.float64)
            mean = (total / (np.linalg.norm(total) or 1.0)).astype(np.float32)
            for part in parts:
                x = self.read(layer, rows[part]) if len(parts) > 1 else x
                with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                    norm[at, part] = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))
                    cosine[at, part] = (x @ mean) / norm[at, part]
            norm[at][bad[at]] = np.nan
            cosine[at][bad[at] | ~np.isfinite(cosine[at])] = np.nan
        return Looked(rows, norm, cosine.clip(-1, 1), bad)

    def _project(self, layer: int) -> Projected:
        rows = spaced(self.count, min(POINTS, max(64, POINT_BYTES // (4 * self.d_model))))
        x = self.read(layer, rows)
        fine = np.flatnonzero(np.isfinite(x).all(axis=1))
        axes = components(x[fine[spaced(len(fine), FITTED)]])
        before = self._before(layer)
        if before is not None:
            axes = like(axes, axes.place(x), before.xy)
        return Projected(rows, axes.place(x), axes.explained)

    def _before(self, layer: int) -> Projected | None:
        """The picture whose signs this layer takes: the anchor before an anchor, else the nearest anchor."""
        if layer in self.anchors:
            at = self.anchors.index(layer)
            return self.projected(self.anchors[at - 1]) if at else None
        place = self.layers.index(layer)
        return self.projected(min(self.anchors, key=lambda anchor: abs(self.layers.index(anchor) - place)))
