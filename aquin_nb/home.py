"""Where things live on disk: everything under $AQUIN_HOME (default ~/.aquin)."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from .errors import OutputError

MAX_NAME_BYTES = 150
"""File systems take 255, and we append suffixes."""


def home() -> Path:
    """The root of everything we keep; read from the environment on each call, so that a test can move it."""
    return Path(os.environ.get("AQUIN_HOME", "~/.aquin")).expanduser()


def models_dir() -> Path:
    """Converted models, one folder a slug."""
    return home() / "models"


def captures_dir() -> Path:
    """Captures, one folder a run."""
    return home() / "captures"


def activations_dir() -> Path:
    """Activation stores, one folder a collection."""
    return home() / "activations"


def outbox_dir() -> Path:
    """What was told of runs and no orchestrator has confirmed."""
    return home() / "outbox"


def results_dir(kind: str) -> Path:
    """Diffs and alignments: `$AQUIN_HOME/<kind>`, one folder a run."""
    return home() / kind


def dictionary_path(model: str, layer: int | None, *, user: str | None = None, hook: str = "") -> Path:
    """The contract path of a dictionary.

    The user's own lie in `sae/user/<model>/<name>`, public ones in `sae/<model>`; rows that are no model's layer give
    `sae.pt`, and those of another `hook` than the layer's `hook_resid_post` have its name in theirs.
    """
    mine = None if user is None else home() / "sae" / "user" / slugify(model) / slugify(user)
    usual = hook in ("", f"blocks.{layer}.hook_resid_post")
    file = f"sae_{slugify(hook)}.pt" if not usual else "sae.pt" if layer is None else f"sae_layer{layer}.pt"
    return (mine or home() / "sae" / slugify(model)) / file


def slugify(name: str) -> str:
    """A name that is safe as one path component: `org/Model 1` becomes `org--Model-1`.

    Raises:
        OutputError: nothing usable is left of the name.
    """
    slug = re.sub(r"[^\w.-]+", "-", str(name).replace("/", "--")).strip("-.")
    if not slug:
        raise OutputError(f"{name!r} cannot be used as a name: it has no letter or digit.")
    if len(slug.encode()) > MAX_NAME_BYTES:
        raise OutputError(f"The name {slug[:40]}… is too long; use at most {MAX_NAME_BYTES} bytes.")
    return slug


def run_name(prefix: str) -> str:
    """A default name that sorts by time: `train-20260131-142501-123`."""
    now = datetime.now()
    return f"{prefix}-{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
