"""`models` and `fetch`: which models have a short name, and how one gets onto this machine."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from .invocation import Done
from .verb import BEGIN, verb


def add(app: typer.Typer) -> None:
    """Add the commands about models."""
    verb(app, "models", "aquin-nb models", BEGIN)(models)
    verb(app, "fetch", "aquin-nb fetch smollm2-135m", BEGIN)(fetch)


def models() -> Done:
    """List the models known by a short name."""
    from ..engine.models.catalogue import entries

    lines, told = [], []
    for entry in entries():
        lines.append(
            f"{entry.slug:24s} {entry.mode:10s} {entry.n_layers:3d} layers  d_model {entry.d_model:5d}  {entry.licence}"
        )
        about: dict[str, Any] = dataclasses.asdict(entry)
        about.pop("wheel")
        told.append(about)
    return Done("\n".join(lines), [one["slug"] for one in told], data={"models": told})


def fetch(slug: Annotated[str, typer.Argument(help="a slug of `aquin-nb models`")]) -> Done:
    """Download a model once, so that it loads offline."""
    from ..engine.models import fetch as fetched
    from ..progress import visible

    with visible(f"Fetching {slug}") as control:
        path = fetched(slug, control=control)
    return Done(str(path), path, path=str(path))
