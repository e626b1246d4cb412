"""What a dictionary's reconstruction does to the model it came from: cross-entropy recovered, and KL divergence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...control import Control
from ...errors import CorpusError, DictionaryError, StoreError
from ..activations.store import Store
from ..activations.stream import ShuffledStream
from ..models import Model, Tokens

MAX_TOKENS = 8192
CONTEXT_SIZE = 128  # of a store that does not say
TOKENS_A_BATCH = 2048
LOGIT_BYTES = 128 << 20  # of one forward pass, float32; a single row may need more
POSITIONS_AT_ONCE = 128  # whose logits are float32 at a time


class Reconstructing(Protocol):
    """What `fidelity` needs of a dictionary."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """[n, d_in] float32 -> [n, d_in]."""
        ...


@dataclass(frozen=True)
class Fidelity:
    """Means over the scored tokens, in nats; see `fidelity` for which tokens these are.

    Attributes:
        tokens: how many were scored.
        ce_clean: cross-entropy of the next token under the model as it is.
        ce_spliced: the same with the layer's output replaced by its reconstruction.
        ce_zero: the same with it replaced by zeros.
        kl: KL(clean ‖ spliced) of the predicted distributions.
        ce_recovered: (ce_zero - ce_spliced) / (ce_zero - ce_clean); 1 where the reconstruction costs nothing, 0 where
            it is worth no more than zeros, below 0 where it is worse; NaN when ce_zero equals ce_clean.
    """

    tokens: int
    ce_clean: float
    ce_spliced: float
    ce_zero: float
    kl: float
    ce_recovered: float = field(init=False)

    def __post_init__(self) -> None:
        room = self.ce_zero - self.ce_clean
        object.__setattr__(self, "ce_recovered", (self.ce_zero - self.ce_spliced) / room if room else math.nan)


def fidelity(
    model: Model,
    sae: Reconstructing,
    layer: int,
    rows: Sequence[str] | Sequence[Sequence[int]],
    *,
    max_tokens: int | None = MAX_TOKENS,
    batch_size: int | None = None,
    control: Control | None = None,
) -> Fidelity:
    """Run the model as it is, with layer `layer` reconstructed by `sae`, and with it zeroed; compare the predictions.

    Spliced are the positions that a training sees: all but BOS, position 0 (BOS or not), other special tokens and
    padding, which keep the model's own values in all three runs. Scored are the spliced positions whose next token is
    no special token either, so the first of them is position 1, which predicts the token at position 2. Position 0
    predicts the same in all three runs and is not counted.

    The share of loss recovered, with zeros as the floor, is that of Bricken et al. 2023 (Towards Monosemanticity) in
    the form of Rajamanoharan et al. 2024 (arXiv 2404.16014): 1 - (CE(spliced) - CE(clean)) / (CE(zero) - CE(clean)).
    Zeros are a weak floor, so it flatters: read it beside `kl` and the two cross-entropies.

    Args:
        model: a language model.
        sae: anything with `reconstruct(x [n, d_model] float32) -> [n, d_model]`; reads raw activations of `layer`.
        layer: block whose output is replaced (`hook_resid_post`).
        rows: texts, each a row of its own behind BOS, cut at `model.text_limit`; or rows of token ids with BOS already
            in front, as `held_out_rows` gives them.
        max_tokens: at most so many tokens are run, BOS included; rows beyond are not read, the last one is cut. None
            runs all.
        batch_size: rows a forward pass; None takes up to 2,048 tokens and 128 MB of logits, and one row at least.
        control: progress in rows under the stage "evaluate", and cancelling.

    Logits are compared in float32, a few positions at a time, whatever the model's dtype.

    Raises:
        ModelError: an embedding model, no such layer, or a row longer than the context.
        CorpusError: no token to score, or `max_tokens` or `batch_size` below 1.
        DictionaryError: the reconstruction has another shape than the layer's output.
        OutOfMemory, Cancelled: see `Model.logits` and `Control`.

    >>> from aquin_nb.engine.models import load_model
    >>> class Same:
    ...     def reconstruct(self, x): return x
    >>> model = load_model("tiny", device="cpu", dtype="float32")
    >>> result = fidelity(model, Same(), 3, ["In the beginning God created the heaven and the earth."])
    >>> result.kl, result.ce_recovered
    (0.0, 1.0)
    """
    control = control or Control()
    layer = model.check_layer(layer)
    for name, value in (("max_tokens", max_tokens), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise CorpusError(f"{name}={value} leaves nothing to run; it must be at least 1.")
    ids = _limited(_as_rows(model, rows), max_tokens)
    sums, scored, done = np.zeros(4), 0, 0
    control.tick("evaluate", 0, len(ids), "rows")
    while done < len(ids):
        step = batch_size or _rows_that_fit(model, ids[done:])
        tokens = model.batch(ids[done : done + step])
        counted, n = _compare(model, tokens, layer, sae)
        sums, scored, done = sums + counted, scored + n, done + len(tokens)
        control.tick("evaluate", done, len(ids), "rows")
    if not scored:
        raise CorpusError(
            "No row has two tokens to analyse beside BOS, so no prediction can be scored; give longer texts."
        )
    clean, spliced, zero, kl = (sums / scored).tolist()
    return Fidelity(scored, clean, spliced, zero, max(0.0, kl))  # rounding can leave a KL of -1e-9


def held_out_rows(
    model: Model, store: Store, stream: ShuffledStream, *, max_tokens: int = MAX_TOKENS
) -> list[list[int]]:
    """Rows of token ids, BOS in front, made of what `stream` holds out of `store`: text that no training batch held.

    The held-out tokens are joined in the store's order, EOS between two documents, and cut into rows of the store's
    context size, as `contexts` packs a corpus. So a row holds held-out tokens only, though a token may stand at another
    place of its row than when it was collected. A store does not keep what was left out of it: special tokens that
    stood inside a text and, of a tokenizer without BOS, the token at position 0 of each context; EOS stands there too.

    Args:
        model: that the store was collected with.
        store: of tokens.
        stream: over this store.
        max_tokens: about so many, BOS included: whole rows, taken at even distances from all of them.

    Returns an empty list where nothing is held out.

    Raises:
        StoreError: a store of pooled texts, one of another tokenizer, or a damaged chunk.
    """
    if store.unit != "token":
        raise StoreError(f"{store.path} holds pooled {store.unit}s, not tokens: there is no next token to predict.")
    theirs, ours = store.model.get("tokenizer_fingerprint"), model.info.tokenizer_fingerprint
    if theirs != ours:
        raise StoreError(
            f"{store.path} was collected with {store.model.get('name')}, whose token ids are not those of"
            f" {model.info.name}; load that model."
        )
    size = min(int(store.manifest.get("context_size", CONTEXT_SIZE)), model.context)
    ids = _joined(store, stream, model, size)
    room = size - model.policy.frame
    starts = np.arange(0, len(ids), room)
    wanted = max(1, max_tokens // size)
    if len(starts) > wanted:
        starts = starts[np.linspace(0, len(starts) - 1, wanted).astype(np.int64)]
    return [model.framed(ids[start : start + room].tolist()) for start in starts]


def _joined(store: Store, stream: ShuffledStream, model: Model, size: int) -> NDArray[np.int64]:
    """The ids of all held-out tokens; EOS where the next one did not follow in the same document."""
    frame, eos = model.policy.frame, model.eos_id  # a frame of 0: each row's first token, at position 0, is not stored
    parts: list[NDArray[np.int64]] = []
    last: tuple[int, int, int] | None = None  # row of the store, document and position of the token before
    first = 0
    for chunk in range(len(store.chunks)):
        rows = np.arange(first, first + store.chunks[chunk].rows)
        held = rows[stream.is_held_out(first, first + len(rows))]
        if len(held):
            read = store.read(chunk)
            documents, positions, ids = (
                part.numpy()[held - first].astype(np.int64) for part in (read.documents, read.positions, read.token_ids)
            )
            before = (held[0] - 1, documents[0], positions[0] - 1) if last is None else last
            row, document, position = (
                np.concatenate([[start], values])
                for start, values in zip(before, (held, documents, positions), strict=True)
            )
            follows = (np.diff(position) == 1) | ((position[:-1] == size - 1) & (position[1:] == frame))
            broken = np.flatnonzero((np.diff(row) != 1) | (np.diff(document) != 0) | ~follows)
            parts.append(ids if eos is None else np.insert(ids, broken, eos))
            last = (held[-1], documents[-1], positions[-1])
        first += len(rows)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _as_rows(model: Model, rows: Sequence[str] | Sequence[Sequence[int]]) -> list[list[int]]:
    if isinstance(rows, str):
        raise CorpusError("Texts are a list of strings; got one string. Write [text].")
    out = []
    for row in rows:
        if isinstance(row, str):
            tokens = model.tokenize([row])
            out.append(tokens.ids[0][tokens.mask[0]].tolist())
        else:
            out.append(list(row))
    return out


def _limited(rows: list[list[int]], most: int | None) -> list[list[int]]:
    """As many tokens as allowed."""
    if most is None:
        return rows
    out: list[list[int]] = []
    for row in rows:
        if most <= 0:
            break
        out.append(row[:most])
        most -= len(row)
    return out


def _rows_that_fit(model: Model, rows: Sequence[Sequence[int]]) -> int:
    """How many of the first rows make one batch."""
    budget = min(TOKENS_A_BATCH, LOGIT_BYTES // (4 * len(model.tokenizer)))
    width = 0
    for count, row in enumerate(rows):
        width = max(width, len(row))
        if width * (count + 1) > budget:
            return max(1, count)
    return len(rows)


def _compare(model: Model, tokens: Tokens, layer: int, sae: Reconstructing) -> tuple[NDArray[np.float64], int]:
    """Sums of (clean, spliced, zero cross-entropy, KL) over the scored tokens of a batch, and how many these are."""
    rows, columns = (tokens.analysed[:, :-1] & tokens.analysed[:, 1:]).nonzero(as_tuple=True)
    if not len(rows):
        return np.zeros(4), 0

    def rebuilt(x: Tensor) -> Tensor:
        out = sae.reconstruct(x.float())
        if out.shape != x.shape:
            raise DictionaryError(
                f"The dictionary turns {list(x.shape)} into {list(out.shape)}; only one that gives back what it reads"
                f" can stand in for layer {layer} of {model.info.name}."
            )
        return out

    targets = tokens.ids[rows, columns + 1].to(model.device)
    rows, columns = rows.to(model.device), columns.to(model.device)
    clean = model.logits(tokens)
    spliced = model.logits(tokens, replace=(layer, rebuilt))
    sums = np.array([_entropy(clean, rows, columns, targets), _entropy(spliced, rows, columns, targets), 0.0, 0.0])
    sums[3] = _divergence(clean, spliced, rows, columns)
    del clean, spliced
    sums[2] = _entropy(model.logits(tokens, replace=(layer, torch.zeros_like)), rows, columns, targets)
    return sums, len(rows)


def _entropy(logits: Tensor, rows: Tensor, columns: Tensor, targets: Tensor) -> float:
    """The summed cross-entropy of `targets` [n] at the places (rows, columns) [n] of logits [b, t, vocabulary]."""
    total = 0.0
    for start in range(0, len(rows), POSITIONS_AT_ONCE):
        part = slice(start, start + POSITIONS_AT_ONCE)
        total += float(cross_entropy(logits[rows[part], columns[part]].float(), targets[part], reduction="sum"))
    return total


def _divergence(p: Tensor, q: Tensor, rows: Tensor, columns: Tensor) -> float:
    """The summed KL(p ‖ q) at the places (rows, columns) [n] of two logits [b, t, vocabulary]."""
    total = 0.0
    for start in range(0, len(rows), POSITIONS_AT_ONCE):
        at = rows[start : start + POSITIONS_AT_ONCE], columns[start : start + POSITIONS_AT_ONCE]
        log_p, log_q = p[at].float().log_softmax(-1), q[at].float().log_softmax(-1)
        total += float(torch.where(log_p > -math.inf, log_p.exp() * (log_p - log_q), 0.0).sum())
    return total
