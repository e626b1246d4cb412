"""What a training that was stopped goes on with: its checkpoint, its settings, its rows and its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..cards import SaeTrainCard
from ..engine.sae import SaeConfig, TrainConfig, load_dictionary
from ..engine.sae.changes import changes, overlaid
from ..engine.sae.checkpoints import Checkpoints
from ..errors import AquinError, DictionaryError, StoreError
from .devices import compute_device
from .sources import Rows, Source, distinct, open_rows, reopen


def saved_state(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The newest readable checkpoint of the dictionary at `path`, and what was wrong with newer ones.

    Raises:
        StoreError: there is none; says whether the training is complete.
    """
    kept = Checkpoints.beside(path)
    if not kept.files() and path.is_file():
        raise StoreError(nothing_to_resume(path))
    if not kept.files():
        raise StoreError(f"There is no training to resume at {path}: {kept.folder.name} holds no checkpoint.")
    kept.tidy()
    return kept.latest()


def nothing_to_resume(path: Path) -> str:
    """Why a training whose dictionary is there, and no checkpoint, cannot go on."""
    try:
        cfg = load_dictionary(path).cfg
    except AquinError as error:
        return f"{path} has no checkpoint to resume from ({error})"
    if cfg.complete:
        return f"{path} is complete: there is nothing to resume."
    return (
        f"{path} was stopped at step {cfg.step:,}, and its checkpoints are gone: it cannot go on. Train anew under"
        " another name."
    )


def resumed_config(
    state: dict[str, Any], config: TrainConfig | dict[str, Any] | str | Path | None, path: Path
) -> TrainConfig:
    """The settings that a run began with, but for where it runs and what it writes: there `config` is followed.

    Raises:
        DictionaryError: other settings, with which the result would belong to neither; names what changed.
    """
    old = TrainConfig(**state["config"])
    if config is None:
        return old
    asked, name = TrainConfig.read(config), state["cfg"]["name"]
    changed = changes(old, asked, state["data"]["rows"])
    if asked.name not in (None, name):
        changed.append(f"name: {name} -> {asked.name}")
    if asked.output is not None and Path(asked.output).expanduser().resolve() != path.resolve():
        changed.append(f"output: {path} -> {asked.output}")
    if changed:
        raise DictionaryError(
            f"A run goes on with the settings it began with; changed: {'; '.join(changed)}."
            " Leave config out, or train anew under another name."
        )
    return overlaid(old, asked)


def resume_rows(state: dict[str, Any], given: Sequence[Rows] = ()) -> tuple[Rows, list[Source]]:
    """The rows that a run goes on with, and all sources of its pass: others may have been trained beside it.

    `given`: the activations, given again; without any, the stores that the run read are opened.

    Raises:
        StoreError: rows that were a tensor in memory, a store that is gone, or another number of sources.
    """
    described = state["data"]["source"]
    opened = list(given) or [open_rows(store) for store in reopen(described)]
    sources = distinct([source for rows in opened for source in rows.sources])
    wanted = len(described["parts"]) if described["kind"] == "several" else 1
    if len(sources) != wanted:
        raise StoreError(
            f"The run read {wanted} tensors or stores side by side and {len(sources)} were given: give all of them, as"
            " it had them."
        )
    first, last = (sources[place] for place in state["data"]["places"])
    rows = next((rows for rows in opened if rows.source is first), None) or open_rows(first)
    return replace(rows, target=open_rows(last) if state["cfg"]["transcoder"] else None), sources


def resumed_card(state: dict[str, Any], cfg: SaeConfig, rows: Rows) -> SaeTrainCard:
    """The card as the checkpoint has it; `torchrun`, which knows no cards, leaves none."""
    if "card" in state:
        return SaeTrainCard.model_validate(state["card"])
    return SaeTrainCard(name=cfg.name, layer=cfg.layer, hook=cfg.hook, model=rows.model)


def device_again(settings: TrainConfig) -> torch.device:
    """The device that a run began on.

    Raises:
        DictionaryError: it is not there; says how to go on elsewhere.
    """
    try:
        return compute_device(settings.device)
    except DictionaryError as error:
        raise DictionaryError(
            f"{error} The run began there; resume it with config={{'device': 'cpu'}} to go on here."
        ) from None
