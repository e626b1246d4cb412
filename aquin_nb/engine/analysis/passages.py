"""Probes as tokens, in batches of like length, and the rows that a dictionary sees of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ProbeError
from ..activations.batching import usual_rows
from ..models import Model, Tokens

TOKENISED = 256  # texts at a time
MOST_PROBES = 64  # of a batch, because sums of all features are held for each
NAMED = 3  # probes in an error


@dataclass(frozen=True)
class Batch:
    """Some probes through the tokenizer.

    probes: [b] int64, which ones. owner, position: [n] int64 of every row that the dictionary will see: the place of
    its probe in `probes`, and of its token in the input (0 for a text, which is one row).
    """

    probes: NDArray[np.int64]
    tokens: Tokens
    owner: NDArray[np.int64]
    position: NDArray[np.int64]


class Passages:
    """Tokenised probes of one model.

    Attributes:
        rows: [probes] int64, how many rows the dictionary sees of each: analysed tokens, or 1 of a text.
        cut: how many probes are longer than the model reads by default; the rest of them is not looked at.

    Raises:
        ProbeError: a probe has no token to look at; names its row, counted from 1.
    """

    def __init__(self, model: Model, texts: Sequence[str]) -> None:
        self._model = model
        room = model.text_limit - model.policy.frame
        pieces: list[NDArray[np.int32]] = []
        rows: list[int] = []
        self.cut = 0
        for start in range(0, len(texts), TOKENISED):
            found = model.encode(texts[start : start + TOKENISED])
            self.cut += sum(len(ids) > room for ids in found)
            framed = [model.framed(ids[:room]) for ids in found]
            pieces += [np.array(ids, np.int32) for ids in framed]
            whole = model.batch(framed)
            seen = whole.analysed.sum(1)
            if model.mode == "embedding":
                seen = torch.tensor([int(len(ids) > 0) for ids in found])
            rows += seen.tolist()
        self._ids, self.rows = pieces, np.array(rows, np.int64)
        self._refuse_empty(texts)

    def _refuse_empty(self, texts: Sequence[str]) -> None:
        empty = np.flatnonzero(self.rows == 0)
        if len(empty):
            named = ", ".join(f"row {at + 1} ({texts[at]!r:.40})" for at in empty[:NAMED])
            more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
            raise ProbeError(
                f"{len(empty)} of {len(texts)} probes tokenise to nothing that is looked at: {named}{more}. BOS, the"
                " first position and special tokens are left out. Lengthen these probes or remove them."
            )

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, probe: int) -> list[int]:
        """The model's input for a probe."""
        ids: list[int] = self._ids[probe].tolist()
        return ids

    def batches(self) -> Iterator[Batch]:
        """Every probe once, the longest first, so that what does not fit into memory shows at the beginning."""
        lengths = np.array([len(ids) for ids in self._ids])
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            count = min(MOST_PROBES, usual_rows(self._model, max(1, int(lengths[order[start]]))))
            probes = order[start : start + count]
            tokens = self._model.batch([self.ids(probe) for probe in probes])
            if self._model.mode == "embedding":
                owner, position = np.arange(len(probes)), np.zeros(len(probes), np.int64)
            else:
                owner, position = tokens.analysed.numpy().nonzero()
            yield Batch(probes, tokens, owner, position)
            start += count


@torch.no_grad()
def vectors(model: Model, tokens: Tokens, layer: int) -> Tensor:
    """The rows a dictionary sees: analysed tokens of a language model, or one pooled vector a text. [n, d_model]."""
    if model.mode == "embedding":
        return model.pooled(tokens, [layer])[layer]
    return model.residuals(tokens, [layer])[layer][tokens.analysed.to(model.device)]
