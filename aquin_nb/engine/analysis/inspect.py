"""Which features a text turns on, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from ...errors import ProbeError
from ..models import Model
from ..sae.dictionary import SparseAutoencoder
from .passages import vectors


def inspect(
    model: Model, sae: SparseAutoencoder, layer: int, text: str | Sequence[str], top: int = 10
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `top` strongest features of each token of `text` (of the whole text for an embedding model).

    Returns two frames: `position, token, rank, feature, activation`, active features only, strongest first; and
    `position, token` of every token looked at, also those on which nothing fires. Of a list of texts both begin with
    `text`, the row of each, from 0.

    Raises:
        ProbeError: a text has no token to look at, there is none, or `top` is below 1.
    """
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise ProbeError(f"top must be a whole number of at least 1, not {top!r}.")
    if isinstance(text, str):
        return _inspect(model, sae, layer, text, top)
    if not isinstance(text, Sequence) or not text:
        raise ProbeError(f"inspect() wants a text or a list of texts, not {text!r:.60}.")
    found = [_inspect(model, sae, layer, one, top) for one in text]
    frames, tokens = (
        pd.concat([part[side].assign(text=row) for row, part in enumerate(found)], ignore_index=True) for side in (0, 1)
    )
    return frames[["text", *found[0][0].columns]], tokens[["text", *found[0][1].columns]]


@torch.no_grad()
def _inspect(
    model: Model, sae: SparseAutoencoder, layer: int, text: str, top: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    if not isinstance(text, str) or not text.strip():
        raise ProbeError(f"inspect() wants a text, not {text!r:.60}.")
    tokens = model.tokenize([text])
    x = vectors(model, tokens, layer)
    if x.shape[0] == 0:
        raise ProbeError("The text has no token to look at beside the excluded first one.")
    sae.check_input(x.shape[-1], f"layer {layer} of {model.info.name}")
    values, indices = sae.encode_sparse(x, limit=min(top, sae.cfg.d_sae))
    if model.mode == "embedding":
        positions, strings = [0], [text if len(text) <= 60 else text[:57] + "…"]
    else:
        positions = tokens.analysed[0].nonzero().squeeze(1).tolist()
        strings = model.token_strings(tokens.ids[0, tokens.analysed[0]].tolist())
    rows = [
        (position, string, rank + 1, int(feature), float(value))
        for position, string, fs, vs in zip(positions, strings, indices.cpu(), values.cpu(), strict=True)
        for rank, (feature, value) in enumerate(zip(fs, vs, strict=True))
        if value > 0
    ]
    frame = pd.DataFrame(rows, columns=["position", "token", "rank", "feature", "activation"])
    return frame, pd.DataFrame({"position": positions, "token": strings})
