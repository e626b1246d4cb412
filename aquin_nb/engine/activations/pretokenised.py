"""Token ids that did not come from our tokenizer: their frame taken off, and every id checked against the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import CorpusError, ModelError
from .columns import Ids

if TYPE_CHECKING:
    from ..models import Model


def bare(ids: Ids, model: Model) -> Ids:
    """A row of ids without the padding, BOS, EOS or frame at its two ends: rows get theirs anew.

    >>> import numpy as np
    >>> from aquin_nb.engine.models import load_model
    >>> model = load_model("tiny", device="cpu", dtype="float32")
    >>> bare(np.array([model.bos_id, 17, 23, model.eos_id]), model).tolist()
    [17, 23]
    """
    policy = model.policy
    padding = {policy.pad_id} & policy.special  # where a model has none, another token's id is kept there
    front = {*policy.prefix, policy.bos_id, *padding}
    back = {*policy.suffix, policy.eos_id, *padding}
    start, stop = 0, len(ids)
    while start < stop and int(ids[start]) in front:
        start += 1
    while stop > start and int(ids[stop - 1]) in back:
        stop -= 1
    return ids[start:stop]


def vocabulary(model: Model) -> int:
    """How many token ids the model has embeddings for."""
    backend = model.backend
    network = getattr(backend, "model", None) or backend.bridge.original_model  # type: ignore[attr-defined]
    return int(network.get_input_embeddings().weight.shape[0])


def require_known(ids: Ids, where: str, size: int, model: Model) -> Ids:
    """The ids [n] of one pretokenised row, all of which have an embedding.

    Raises:
        CorpusError: one has none (the row is named).
    """
    if len(ids) and int(ids.max()) >= size:
        raise CorpusError(
            f"{where}: token id {int(ids.max())} is beyond the {size:,} tokens of {model.info.name};"
            " it was tokenised for another model."
        )
    return ids


def require_own(ids: Ids, size: int, model: Model) -> None:
    """Check that all ids [n] that the model's tokenizer gave have an embedding.

    Raises:
        ModelError: one has none.
    """
    if len(ids) and int(ids.max()) >= size:
        raise ModelError(
            f"The tokenizer of {model.info.name} gives the id {int(ids.max())} and the model has {size:,} embeddings:"
            " they do not belong together. Load the model with its own tokenizer."
        )
