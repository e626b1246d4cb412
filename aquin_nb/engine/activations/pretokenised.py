"""Token ids that did not come from our tokenizer: their frame taken off, and every id checked against the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import CorpusError, ModelError
from .columns import Ids

if TYPE_CHECKING:
    from ..models import Model
    from .corpus import Corpus


def bare(ids: Ids, model: Model) -> Ids:
    """A row of ids without the padding, BOS, EOS or frame at its two ends: rows get theirs anew.

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


def require_known(ids: Ids, numbers: npt.NDArray[np.int32], size: int, model: Model, corpus: Corpus) -> None:
    """Check that all `ids` [n] of documents `numbers` [n] have an embedding.

    Raises:
        CorpusError: an id of a pretokenised row has none (the row is named).
        ModelError: an id of the model's own tokenizer has none.
    """
    if not len(ids) or int(ids.max()) < size:
        return
    at = int((ids >= size).argmax())
    if corpus.pretokenised:
        raise CorpusError(
            f"{corpus.place(int(numbers[at]))}: token id {int(ids[at])} is beyond the {size:,} tokens of"
            f" {model.info.name}; it was tokenised for another model."
        )
    raise ModelError(
        f"The tokenizer of {model.info.name} gives the id {int(ids[at])} and the model has {size:,} embeddings:"
        " they do not belong together. Load the model with its own tokenizer."
    )
