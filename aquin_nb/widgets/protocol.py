"""What kernel and monitor agree on; widgets/src/core/protocol.ts says the same, and a test compares the two."""

from __future__ import annotations

from typing import Final

COLUMNS: Final = (
    "step", "tokens", "recon_mse", "fvu", "explained_variance", "cosine", "l0", "dead", "lr", "grad_norm",
    "tokens_per_second",
)  # fmt: skip
"""Columns of one metric point, in the order of the buffers (column-major float64: steps and tokens pass 2^24)."""

WIRE: Final = (*COLUMNS, "seconds")
"""Columns as they travel: what was logged, and the seconds of training until then, without pauses (see `elapsed`)."""

METRICS: Final = ("recon_mse", "fvu", "l0", "dead")
"""Metrics whose extremes every decimation keeps."""

MAX_POINTS: Final = 4000
"""A message holds at most this many points."""

BEAT_SECONDS: Final = 3
"""Seconds between signs of life while nothing else is sent."""
