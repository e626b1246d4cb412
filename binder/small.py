"""Notebook 01 with `tiny` for a language model: fine-tuning smollm2-135m takes 2.4 GB, and a Binder has two."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from demo import NOTEBOOK, TINY  # noqa: E402
from run_notebook import with_parameters  # noqa: E402

nbformat.write(with_parameters(nbformat.read(NOTEBOOK, as_version=4), dict(TINY)), NOTEBOOK)
