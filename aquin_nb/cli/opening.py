"""`open PATH`: whatever a command wrote, as a summary in the terminal or a page of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import StoreError
from .invocation import Done, result_done
from .state import state_file
from .tables import first, shown
from .usage import UsageError
from .verb import LOOK, verb

if TYPE_CHECKING:
    import pandas as pd

    from ..results import Result

WHAT = "a capture, an activation store, a dictionary (.pt), a diff, a trajectory, an alignment or a sweep"


def add(app: typer.Typer) -> None:
    """Add `open` to the commands."""
    verb(app, "open", "aquin-nb open ~/.aquin/captures/first --html first.html", LOOK)(open_path)


def open_path(
    path: Annotated[str, typer.Argument(help=WHAT)],
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="write its view as a page")] = None,
) -> Done:
    """Show what a command wrote: a summary here, or its interactive view as one HTML file."""
    if html is not None and not html.endswith(".html"):
        raise UsageError(f"--html {html}: name a file that ends in .html.")
    file = Path(path).expanduser()
    if file.name == state_file().name and file.is_file():
        return _session(file, html)
    if file.suffix == ".pt" and file.is_file() and not file.with_suffix(".card.json").exists():
        return _dictionary(file, html)
    found = opened(path)
    tables = {name: _records(frame) for name, frame in found.frames.items()}
    done = result_done(found, summary=found.summary(), tables=tables)
    if html is None:
        done.text = shown(found)
        return done
    place = found.save(html)
    done.data["html"] = str(place)
    done.text = f"The view is in {place}."
    return done


def _session(file: Path, html: str | None) -> Done:
    """What is remembered of a session.

    Raises:
        StoreError: a view is asked for. SessionError: it is damaged.
    """
    from .sessions import described
    from .state import recall

    if html is not None:
        raise StoreError(f"{file} is a session: it has no view. Open what its commands wrote.")
    state = recall(file)
    assert state is not None
    told = state.model_dump(mode="json")
    return Done(described(state), state, path=str(file), data={"session": told, "tables": {}})


def _dictionary(file: Path, html: str | None) -> Done:
    """One without a card, as it was pulled or copied: what it says of itself.

    Raises:
        StoreError: a view is asked for. DictionaryError: it is none.
    """
    from ..engine.sae import load_dictionary

    sae = load_dictionary(file)
    if html is not None:
        raise StoreError(f"{file} has no card beside it, so it has no view; its .card.json and .history.csv make one.")
    config = {key: value for key, value in sae.cfg.to_dict().items() if value not in (None, "")}
    lines = [repr(sae), *(f"  {key:18s} {value}" for key, value in config.items())]
    return Done("\n".join(lines), sae, path=str(file), data={"summary": repr(sae), "tables": {}, "config": config})


def opened(path: str) -> Result:
    """The result at a path, of whatever kind.

    Raises:
        StoreError: there is nothing, or nothing of ours, or it is damaged.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise StoreError(f"{path} is not there.")
    if place.name in ("card.json", "manifest.json") and place.is_file():
        place = place.parent
    return _openers(place)(place)


def _openers(place: Path) -> Callable[[Path], Result]:
    """What opens it.

    Raises:
        StoreError: nothing does.
    """
    from ..alignment import open_alignment
    from ..collection import open_activations
    from ..difference import open_diff, open_trajectory
    from ..engine.activations.manifest import CAPTURE, MANIFEST
    from ..results import open_capture, open_training
    from ..sweep import CARD as SWEEP
    from ..sweep import open_sweep

    if place.is_file():
        if place.name == SWEEP:
            return open_sweep
        if place.name.endswith(".card.json"):
            return lambda card: open_training(card.with_name(card.name.removesuffix(".card.json") + ".pt"))
        if place.suffix == ".pt":
            return open_training
        raise StoreError(f"{place} was not written by aquin-nb; open takes {WHAT}.")
    if (place / SWEEP).is_file():
        return open_sweep
    if (place / MANIFEST).is_file():
        return open_capture if _kind(place / MANIFEST) == CAPTURE else open_activations
    if (place / "card.json").is_file():
        of = {"saeDiff": open_diff, "saeTrajectory": open_trajectory, "saeAlign": open_alignment}
        kind = _kind(place / "card.json")
        if kind in of:
            return of[kind]
    trained = sorted(one.name.removesuffix(".card.json") + ".pt" for one in place.glob("sae*.card.json"))
    if len(trained) == 1:
        return lambda folder: open_training(folder / trained[0])
    if trained:
        raise StoreError(f"{place} holds several dictionaries: open one of {', '.join(trained)}.")
    raise StoreError(f"{place} holds nothing that aquin-nb wrote; open takes {WHAT}.")


def _kind(file: Path) -> str:
    try:
        told = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} is damaged: {str(error).splitlines()[0]}.") from None
    return str(told.get("kind", "")) if isinstance(told, dict) else ""


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows to look at first, as JSON can hold them."""
    rows: list[dict[str, Any]] = json.loads(first(frame)[0].to_json(orient="records"))
    return rows
