"""Which features a text turns on, token by token."""

from __future__ import annotations

import pandas as pd
import torch

from ...errors import ProbeError
from ..models import Model
from ..sae.dictionary import SparseAutoencoder
from .diff import vectors


@torch.no_grad()
def inspect(model: Model, sae: SparseAutoencoder, layer: int, text: str, top: int = 10) -> pd.DataFrame:
    """The `top` strongest features of each token of `text` (of the whole text for an embedding model).

    Returns a frame `position, token, rank, feature, activation`, active features only, strongest first.

    Raises:
        ProbeError: the text has no token to look at, or `top` is below 1.
    """
    if top < 1:
        raise ProbeError(f"top must be at least 1, not {top}.")
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
    return pd.DataFrame(rows, columns=["position", "token", "rank", "feature", "activation"])
