"""What turns partners on: the passages with the highest activations of aligned features, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .collection import Activations, open_activations
from .errors import DictionaryError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from .engine.models import Model
    from .engine.sae import SparseAutoencoder
    from .results import Frozen


class TopTexts:
    """Passages on which features of a and their partners of b fire most. A look: nothing is written.

    Attributes:
        pairs: the features, and told: what is said of each pair.
        frame: `a, b, side, rank, activation, before, token, after, document, position`, one row a passage; at most one
            passage a document and feature.
    """

    def __init__(self, frame: pd.DataFrame, pairs: Sequence[tuple[int, int | None]], names: tuple[str, str]) -> None:
        self.frame, self.pairs, self.names = frame, list(pairs), names
        self.told = [""] * len(self.pairs)

    def html(self) -> str:
        """As HTML without any script."""
        from .widgets.top_texts import top_texts_html

        return top_texts_html(self.frame, self.pairs, self.names, self.told)

    def freeze(self) -> Frozen:
        """The same view; show it as the last line of a cell that must never change."""
        from .results import Frozen

        return Frozen(self.html(), repr(self))

    def __repr__(self) -> str:
        lines = []
        for (a, b), told in zip(self.pairs, self.told, strict=True):
            other = f"{b} of {self.names[1]}" if b is not None else "no partner"
            lines.append(f"feature {a} of {self.names[0]}, {other}" + (f": {told}" if told else ""))
            of = self.frame[(self.frame["a"] == a) & (self.frame["b"].fillna(-1) == (-1 if b is None else b))]
            for row in of.to_dict("records"):
                text = f"{row['before']}«{row['token']}»{row['after']}".replace("\n", " ")
                lines.append(f"  {row['side']} {row['activation']:8.3f}  {text}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html()}


def find_top_texts(
    dictionaries: tuple[SparseAutoencoder, SparseAutoencoder],
    names: tuple[str, str],
    pairs: Sequence[tuple[int, int | None]],
    activations: Any,
    texts: Sequence[str] | None,
    model: Model | None,
    top: int,
    window: int,
) -> TopTexts:
    """See `SaeAlign.top_texts`."""
    import pandas as pd

    from .engine.analysis.alignment.passages import store_batches, text_batches, top_passages
    from .progress import visible

    if (activations is None) == (texts is None):
        raise DictionaryError("Give either activations (a store with its texts' tokens) or texts, and model=.")
    if texts is not None and model is None:
        raise DictionaryError("texts need model=, the loaded model to run them through (session.model).")
    for name, value in (("top", top), ("window", window)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DictionaryError(f"{name} must be a whole number of at least 1, not {value!r}.")
    found = []
    with visible("Looking for passages") as control:
        for side, sae, wanted in zip("ab", dictionaries, zip(*pairs, strict=True), strict=True):
            features = [feature for feature in wanted if feature is not None]
            if not features:
                continue
            if texts is not None and model is not None:
                batches = text_batches(model, texts, sae)
            else:
                batches = store_batches(site_of(activations, sae))
            frame = top_passages(sae, batches, features, model=model, top=top, window=window, control=control)
            for a, b in pairs:
                own = a if side == "a" else b
                part = frame[frame["feature"] == own].drop(columns="feature")
                part.insert(0, "a", a)
                part.insert(1, "b", b)
                part.insert(2, "side", side)
                found.append(part)
    whole = pd.concat(found, ignore_index=True).astype({"b": "Int64"})
    return TopTexts(whole.sort_values(["a", "side", "rank"], kind="stable", ignore_index=True), pairs, names)


def site_of(given: Any, sae: SparseAutoencoder) -> Any:
    """The store's site that a dictionary reads.

    Raises:
        StoreError: no store, whose rows know their tokens.
    """
    from .engine.activations.store import Store

    if isinstance(given, str | Path):
        given = open_activations(given)
    store = given.store if isinstance(given, Activations) else given
    if not isinstance(store, Store):
        raise StoreError(
            f"Passages need an activation store, whose rows know their tokens, not {type(given).__name__}; or texts="
            " and model=."
        )
    where = sae.cfg.hook or sae.cfg.layer
    return store if len(store.sites) == 1 or where is None else store.at(where)
