"""What results say of quantity: how many activations went where, and what each dictionary made of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .cards import ActivationCaptureCard, ActivationStoreCard, SaeTrainCard
from .errors import SessionError, StoreError
from .records import IN_MEMORY
from .widgets.quantity import Mode, Strength, Volume

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from .results import Result, SaeTrain

Read = tuple[str, str]
"""Activations that a training read: their place, and the hook; of a capture its name, and the layer."""


def volume_figure(results: Iterable[Result]) -> go.Figure:
    """See `SaeTrain.volume_figure`."""
    from .widgets import quantity

    return quantity.volume_figure(volumes(results))


def strength_figure(results: Iterable[Result]) -> go.Figure:
    """See `SaeTrain.strength_figure`."""
    from .engine.sae.verdict import MAX_FVU_USABLE, PROBE_SCALE_ROWS
    from .widgets import quantity

    found = [strength(training) for training in trainings(results)]
    return quantity.strength_figure(found, rows=PROBE_SCALE_ROWS, explained_variance=1 - MAX_FVU_USABLE)


def volumes(results: Iterable[Result]) -> list[Volume]:
    """Vectors by what became of them: one entry a dictionary, one for what no dictionary read of a store or capture.

    Raises:
        SessionError: a result of another kind. StoreError: the `.config.json` beside a dictionary is missing.
    """
    flat = list(_flat(results))
    trainings = [cast("SaeTrain", one) for one in flat if isinstance(one.card, SaeTrainCard)]
    data = [_data(training) for training in trainings]
    read = {place for training, found in zip(trainings, data, strict=True) for place in _read(training.card, found)}
    ours = [_of_training(training.card, found) for training, found in zip(trainings, data, strict=True)]
    return [*ours, *(_left(one, read) for one in flat if not isinstance(one.card, SaeTrainCard))]


def strength(training: SaeTrain) -> Strength:
    """A dictionary's explained variance on held-out rows (without any, on the last training rows) and its rows.

    Raises:
        StoreError: nothing was measured, or the `.config.json` beside it is missing.
    """
    card = training.card
    held = card.held_out
    on_held_out = held is not None and held.fvu is not None
    fvu = held.fvu if held is not None and held.fvu is not None else card.latest.fvu
    if fvu is None or not math.isfinite(fvu):
        raise StoreError(f"{card.name} has no explained variance: its rows do not vary, or no point was logged.")
    config = card.config
    dead = held.dead_share if held is not None else card.latest.dead_share
    d_sae = config.d_sae if config is not None else 0
    return Strength(card.name, int(_data(training)["rows"]), d_sae, 1 - fvu, on_held_out, dead, card.verdict)


def _flat(results: Iterable[Any]) -> Iterator[Result]:
    """Each result once, and instead of a sweep its dictionaries."""
    seen = set()
    for result in results:
        for one in getattr(result, "results", None) or [result]:
            card = getattr(one, "card", None)
            if not isinstance(card, SaeTrainCard | ActivationCaptureCard | ActivationStoreCard):
                raise SessionError(
                    f"The figure takes trainings, sweeps, captures and collected activations, not {type(one).__name__}."
                )
            if card.id not in seen:
                seen.add(card.id)
                yield one


def trainings(results: Iterable[Result]) -> list[SaeTrain]:
    """Each training once, and instead of a sweep its own.

    Raises:
        SessionError: a result of another kind.
    """
    found = list(_flat(results))
    for one in found:
        if not isinstance(one.card, SaeTrainCard):
            raise SessionError(f"The figure takes trainings and sweeps; {one.card.name} is a {type(one).__name__}.")
    return [cast("SaeTrain", one) for one in found]


def _data(training: SaeTrain) -> dict[str, Any]:
    """What a training wrote of its activations: `rows` to train on, and `source`."""
    file = training.path.with_suffix(".config.json")
    try:
        data: dict[str, Any] = json.loads(file.read_bytes())["data"]
        return {"rows": int(data["rows"]), "source": data["source"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{file}, which says what {training.card.name} was trained on, cannot be read: {error}"
        ) from None


def _parts(data: dict[str, Any]) -> list[dict[str, Any]]:
    source = data["source"]
    parts: list[dict[str, Any]] = source["parts"] if source["kind"] == "several" else [source]
    return parts


def _mode(card: SaeTrainCard, data: dict[str, Any]) -> Mode:
    if any(part["kind"] != "tensor" for part in _parts(data)):
        return "corpus"
    return "tensors" if card.corpus is None or card.corpus.name == IN_MEMORY else "probes"


def _read(card: SaeTrainCard, data: dict[str, Any]) -> list[Read]:
    places = [(str(part["path"]), part.get("site", card.hook)) for part in _parts(data) if part["kind"] == "store"]
    if places:
        own = [(path, hook) for path, hook in places if hook == card.hook]
        return own or places
    return [(card.corpus.name, str(card.layer))] if card.corpus is not None else []


def _of_training(card: SaeTrainCard, data: dict[str, Any]) -> Volume:
    rows = int(data["rows"])
    total = max(rows, card.corpus.tokens if card.corpus is not None else 0)
    batch = min(rows, card.config.batch_size) if card.config is not None else rows
    steps = card.held_out.step if card.held_out is not None and card.held_out.step else card.latest.step
    used = min(steps, rows // batch) * batch if batch else 0
    return Volume(_mode(card, data), card.name, training=used, held_out=total - rows, unused=rows - used)


def _left(result: Result, read: set[Read]) -> Volume:
    """What of a store or capture no training here read."""
    card = result.card
    if isinstance(card, ActivationStoreCard):
        address = str(getattr(result, "path", ""))
        place = address if "://" in address else str(Path(address).absolute())
        free = [site for site in card.sites if (place, site.hook) not in read]
        return Volume("corpus", card.name, kept=card.rows * len(free))
    assert isinstance(card, ActivationCaptureCard)
    layers = [layer for layer in card.layers if (f"capture {card.name}", str(layer)) not in read]
    return Volume("probes", card.name, kept=card.n_probes * len(layers))
