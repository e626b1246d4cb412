"""Collected activations as a result: what `session.collect_activations` hands back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .cards import ActivationStoreCard
from .records import read_card, store_card
from .results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from .engine.activations.store import Store

CARD = "card.json"


class Activations(Result):
    """Activations of a corpus, on disk.

    Attributes:
        store: the `Store`; `store.at(layer)` is one site of it.
        path: its folder, or its URL.
        frame: one row a site: `hook, layer, d_in, mean_norm, median_norm, max_norm, outliers`.
    """

    card: ActivationStoreCard

    def __init__(self, store: Store, card: ActivationStoreCard) -> None:
        self.store, self.card = store, card

    @property
    def path(self) -> str:
        return self.store.address

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        return {"sites": sites_frame(self.card)}

    def figure(self) -> go.Figure:
        from .widgets.figures import store_figure

        return store_figure(self.card, self.frame)

    def summary(self) -> str:
        from .widgets.text import plural

        c = self.card
        model = c.model.name if c.model else "?"
        sites = ", ".join(site.hook for site in c.sites) if len(c.sites) < 4 else f"{len(c.sites)} sites"
        state = "" if c.complete else ", incomplete"
        return f"Activations {c.name}: {plural(c.rows, c.unit)} at {sites} of {model}{state}, in {self.path}"


def sites_frame(card: ActivationStoreCard) -> pd.DataFrame:
    """One row a site: `hook, layer, d_in, mean_norm, median_norm, max_norm, outliers`."""
    import pandas as pd

    columns = ["hook", "layer", "d_in", "mean_norm", "median_norm", "max_norm", "outliers"]
    sites = pd.DataFrame([site.model_dump() for site in card.sites], columns=columns)
    return sites.astype({"layer": "Int64", "outliers": "Int64"})


def open_activations(path: str | Path) -> Activations:
    """Open an activation store, also one whose collection was stopped, with the card that its collection wrote.

    Raises:
        StoreError: not a store, or damaged.

    >>> open_activations("activations/overnight").frame                    # doctest: +SKIP
    """
    from .engine.activations.store import Store

    store = Store(path)
    written = store.path / CARD
    if written.is_file():
        card = read_card(written, ActivationStoreCard)
        if card.rows == store.rows and card.complete == store.complete:
            return Activations(store, card)
    card = store_card(store, store.path.name)
    card.finish("completed" if store.complete else "cancelled")
    return Activations(store, card)
