"""`activations`: what is kept of them on disk, listed, checked, shortened, joined and removed."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import typer

from ..errors import AquinError
from .invocation import Done, running
from .output import write
from .verb import group, verb

app = group("List, check, shorten, join and remove what was kept.")
Place = Annotated[str, typer.Argument(help="the folder or URL of a store or capture")]


@verb(app, "list", "aquin-nb activations list")
def kept() -> Done:
    """Every store and capture under $AQUIN_HOME."""
    from ..verbs.activations import kept_activations

    found = kept_activations()
    lines = [line for one in found for line in (one.line(), *([f"  {one.problem}"] if one.problem else []))]
    said = "\n".join(lines) or "There are no activation stores or captures yet."
    return Done(said, found, data={"kept": [dataclasses.asdict(one) for one in found]})


@verb(app, "stat", "aquin-nb activations stat ~/.aquin/activations/tiny/kept")
def stat(path: Place) -> Done:
    """What a store or capture holds."""
    from ..verbs.activations import described, kept_at

    lines = described(path)
    return Done("\n".join(lines), lines, path=path, data={"lines": lines, "kept": dataclasses.asdict(kept_at(path))})


@verb(app, "verify", "aquin-nb activations verify ~/.aquin/activations/tiny/kept")
def verify(path: Place) -> Done:
    """Compare every byte with the recorded hashes."""
    from ..verbs.activations import verified

    said = verified(path)
    return Done(said, said, path=path, data={"said": said})


@verb(app, "trim", "aquin-nb activations trim ~/.aquin/activations/tiny/kept 10000")
def trim(path: Place, rows: Annotated[int, typer.Argument(help="how many of the first rows stay")]) -> Done:
    """Keep the first rows of a store."""
    from ..engine.activations.trim import trim as trimmed

    found = trimmed(path, rows)
    return Done(str(found), found, path=path, data={"said": str(found)})


@verb(app, "merge", "aquin-nb activations merge ~/.aquin/activations/tiny/shared")
def merge(path: Place) -> Done:
    """Make one store of the parts of several processes."""
    from ..engine.activations.merge import merge as merged

    found = merged(path)
    return Done(str(found), found, path=path, data={"said": str(found)})


@verb(app, "remove", "aquin-nb activations remove ~/.aquin/captures/old --yes")
def remove(path: Place, yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False) -> Done:
    """Remove a store or capture and what belongs to it."""
    from ..files import human_bytes
    from ..verbs.activations import kept_at, removed

    line = kept_at(path).line()
    if not yes:
        if running().json or not sys.stdin.isatty():
            raise AquinError("Nothing was removed: add --yes to remove it without being asked.")
        write(line)
        if input("Remove it? [y/N] ").strip().lower() not in ("y", "yes"):
            return Done("Nothing was removed.", path=path, data={"removed": False, "bytes": 0})
    free = removed(path)
    said = f"{line}\nRemoved; {human_bytes(free)} are free again."
    return Done(said, path=path, data={"removed": True, "bytes": free})
