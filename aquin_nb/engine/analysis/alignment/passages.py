"""The passages that turn a feature of one dictionary on most, beside those of its partner."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from ....control import Control
from ....errors import DictionaryError, ProbeError, StoreError
from ...activations.store import Store
from ...models import Model, Tokens
from ...sae.dictionary import SparseAutoencoder

BATCH = 16
BLOCK = 1024
CHARACTERS = 240


@dataclass
class Rows:
    """Rows of activations and the tokens they belong to: x [n, d_in]; ids, documents, positions int64 [n].

    strings: the text of rows that are no tokens (embedding models), else empty.
    """

    x: Tensor
    ids: Tensor
    documents: Tensor
    positions: Tensor
    strings: list[str] = field(default_factory=list)


def text_batches(model: Model, texts: Sequence[str], sae: SparseAutoencoder) -> Iterator[Rows]:
    """Texts run through a model at the place a dictionary reads: the analysed tokens, or a pooled vector a text.

    Raises:
        ProbeError: not a list of texts. DictionaryError: the dictionary does not say what it reads.
    """
    if isinstance(texts, str) or not len(texts) or not all(isinstance(text, str) for text in texts):
        raise ProbeError("texts must be a list of at least one string.")
    where = sae.cfg.hook or sae.cfg.layer
    if where is None:
        raise DictionaryError(f"{sae!r} does not say which layer it reads; give activations instead of texts.")
    for start in range(0, len(texts), BATCH):
        tokens = model.tokenize(texts[start : start + BATCH])
        rows, positions = tokens.analysed.nonzero(as_tuple=True)
        if model.mode == "embedding":
            layer = sae.cfg.layer
            if layer is None:
                raise DictionaryError(f"{sae!r} does not say which layer it reads; give activations instead of texts.")
            x = model.pooled(tokens, [layer])[layer].cpu()
            n = torch.arange(len(x))
            yield Rows(x, -torch.ones_like(n), start + n, torch.zeros_like(n), list(texts[start : start + BATCH]))
            continue
        x = _at(model, tokens, where)[rows, positions]
        yield Rows(x, tokens.ids[rows, positions], start + rows, positions)


def text_rows(
    model: Model, texts: Sequence[str], sae: SparseAutoencoder, rows: int, control: Control | None = None
) -> Tensor:
    """The first `rows` rows of `text_batches`, [n, d_in] on the CPU.

    Raises:
        ProbeError: the texts have no token to look at.
    """
    parts, seen = [], 0
    for batch in text_batches(model, texts, sae):
        parts.append(batch.x[: rows - seen].float())
        seen += len(parts[-1])
        if control is not None:
            control.tick("texts", min(seen, rows), rows, "rows")
        if seen >= rows:
            break
    if not seen:
        raise ProbeError("The texts have no token to look at beside the excluded first ones.")
    return torch.cat(parts)


def store_batches(store: Store) -> Iterator[Rows]:
    """The chunks of a store, its site chosen."""
    for number in range(len(store.chunks)):
        chunk = store.read(number)
        yield Rows(chunk.x, chunk.token_ids.long(), chunk.documents.long(), chunk.positions.long())


def _at(model: Model, tokens: Tokens, where: int | str) -> Tensor:
    site = model.site(where)
    return model.activations(tokens, [site])[site.hook].cpu()


@dataclass(order=True)
class _Passage:
    activation: float
    tie: int
    document: int = field(compare=False)
    position: int = field(compare=False)
    before: list[int] = field(compare=False)
    token: int = field(compare=False)
    after: list[int] = field(compare=False)
    text: str = field(compare=False)


@torch.no_grad()
def top_passages(
    sae: SparseAutoencoder,
    batches: Iterator[Rows],
    features: Sequence[int],
    *,
    model: Model | None,
    top: int,
    window: int,
    control: Control | None = None,
) -> pd.DataFrame:
    """Where each feature fires most: `feature, rank, activation, before, token, after, document, position`.

    At most one passage a document, so that one document cannot fill the list.

    Args:
        features: numbers of features. model: turns tokens into text; not needed for rows that bring their text.
        top: passages a feature. window: tokens shown before and after.

    Raises:
        DictionaryError: rows of another width. StoreError: tokens without a model to read them.
    """
    control = control or Control()
    best: dict[int, dict[int, _Passage]] = {feature: {} for feature in features}
    columns, seen = torch.tensor(list(best)), 0
    for batch in batches:
        sae.check_input(batch.x.shape[-1], "the rows to look for passages in")
        for start in range(0, len(batch.x), BLOCK):
            f = sae.encode(batch.x[start : start + BLOCK].float())[:, columns].cpu()
            values, rows = f.topk(min(4 * top, len(f)), dim=0)
            for at, feature in enumerate(best):
                for value, row in zip(values[:, at].tolist(), rows[:, at].tolist(), strict=True):
                    if value > 0:
                        _keep(best[feature], _passage(batch, start + row, value, seen + start + row, window), top)
        seen += len(batch.x)
        control.tick("passages", seen, seen, "rows")
    out = []
    for feature, kept in best.items():
        for rank, p in enumerate(sorted(kept.values(), reverse=True), start=1):
            words: tuple[str, ...]
            if p.text:
                words = "", p.text if len(p.text) <= CHARACTERS else p.text[: CHARACTERS - 1] + "…", ""
            elif model is None:
                raise StoreError("The store holds tokens, not text: give model=, the model they came from.")
            elif p.token < 0:
                words = "", f"document {p.document}", ""
            else:
                words = tuple("".join(model.token_strings(ids)) for ids in (p.before, [p.token], p.after))
            out.append((feature, rank, p.activation, *words, p.document, p.position))
    columns_of = ["feature", "rank", "activation", "before", "token", "after", "document", "position"]
    return pd.DataFrame(out, columns=columns_of)


def _passage(batch: Rows, row: int, value: float, tie: int, window: int) -> _Passage:
    document, position = int(batch.documents[row]), int(batch.positions[row])
    text = batch.strings[row] if batch.strings else ""
    near = slice(max(0, row - window), row + window + 1)
    # Rows of the same document whose places follow on; a context may begin anew in the middle of a document.
    there = zip(
        range(near.start, min(near.stop, len(batch.ids))), batch.documents[near].tolist(),
        batch.positions[near].tolist(), batch.ids[near].tolist(), strict=True,
    )  # fmt: skip
    tokens = {r: token for r, d, p, token in there if d == document and p - position == r - row}
    before, after = [t for r, t in tokens.items() if r < row], [t for r, t in tokens.items() if r > row]
    return _Passage(value, -tie, document, position, before, int(batch.ids[row]), after, text)


def _keep(kept: dict[int, _Passage], new: _Passage, top: int) -> None:
    old = kept.get(new.document)
    if old is None or new > old:
        kept[new.document] = new
    while len(kept) > top:
        del kept[heapq.nsmallest(1, kept.values())[0].document]
