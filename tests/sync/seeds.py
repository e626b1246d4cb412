"""How often each fault is tried: twice in the suite, fifty times and longer by `make torture`."""

from __future__ import annotations

import os

import pytest

SEEDS = int(os.environ.get("AQUIN_FAULT_SEEDS", "2"))
STOPPED = float(os.environ.get("AQUIN_STOPPED_SECONDS", "1"))
"""How long a process is stopped."""

seeded = pytest.mark.parametrize("seed", range(SEEDS))
few = pytest.mark.parametrize("seed", range(max(1, SEEDS // 2)))
