"""What `inspect` hands back: the tokens of a text and the features they turn on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS_SHOWN = 24
"""Features an inspection shows as columns: the strongest over the whole text."""


class Inspection:
    """Tokens of a text and the features they turn on. A look, not a run: it has a frame and a face, but no card.

    Attributes:
        text: the text.
        frame: `position, token, rank, feature, activation`, active features only, strongest first.
        tokens: `position, token` of every token looked at.
    """

    def __init__(self, text: str, frame: pd.DataFrame, tokens: pd.DataFrame, title: str) -> None:
        self.text, self.frame, self.tokens, self.title = text, frame, tokens, title

    def __repr__(self) -> str:
        return f"{self.title}\n{self.frame.to_string(index=False, max_rows=20)}"

    def _repr_html_(self) -> str:
        from .widgets.tokens import tokens_html

        strongest = self.frame.groupby("feature")["activation"].max().sort_values(ascending=False)
        shown = strongest.index[:COLUMNS_SHOWN]
        table = self.frame.pivot_table(index="position", columns="feature", values="activation")
        return tokens_html(
            self.tokens["token"].tolist(),
            shown.tolist(),
            table.reindex(self.tokens["position"])[shown].fillna(0.0).to_numpy(),
            positions=self.tokens["position"].tolist(),
            title=self.title,
        )
