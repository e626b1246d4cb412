"""How often each fault is tried: twice in the suite, fifty times and longer by `make torture`."""

from __future__ import annotations

import os

import pytest

SEEDS = int(os.environ.get("AQUIN_FAULT_SEEDS", "2"))
STOPPED = float(os.environ.get("AQUIN_STOPPED_SECONDS", "1"))
"""How long a process is stopped."""

seeded = pytest.mark.parametrize("seed", range(SEEDS))
slow = pytest.mark.parametrize("seed", range(SEEDS if SEEDS > 5 else 1))
"""Of what takes seconds: once in the suite."""
