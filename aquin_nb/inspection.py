"""What `inspect` hands back: the tokens of one or several texts and the features they turn on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .showing import Shown

if TYPE_CHECKING:
    import pandas as pd

    from .widgets.desk import Handler
    from .widgets.selection import Selection

COLUMNS_SHOWN = 8
"""Features an inspection shows as columns without scripts: the strongest over the whole text."""
TEXTS_SHOWN = 3  # without scripts
ROWS_SHOWN = 20  # in a terminal


class Inspection(Shown):
    """Tokens of texts and the features they turn on. A look, not a run: it has a frame and a face, but no card.

    Attributes:
        text: the text, or the list of texts that was given.
        frame: `position, token, rank, feature, activation`, active features only, strongest first. Of several texts it
            begins with `text`, the row of each, from 0.
        tokens: `position, token` of every token looked at, with `text` likewise.
    """

    selects: ClassVar[tuple[str, ...]] = ("features",)

    def __init__(self, text: str | Sequence[str], frame: pd.DataFrame, tokens: pd.DataFrame, title: str) -> None:
        self.text, self.frame, self.tokens, self.title = text, frame, tokens, title

    def summary(self) -> str:
        return f"{self.title}\n{self.frame.to_string(index=False, max_rows=ROWS_SHOWN)}"

    def _texts(self) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """`frame` and `tokens` of each text."""
        if isinstance(self.text, str):
            yield self.frame, self.tokens
            return
        for row in range(len(self.text)):
            yield self.frame[self.frame["text"] == row], self.tokens[self.tokens["text"] == row]

    def _static(self, live: bool) -> str:
        from .widgets.parts import line
        from .widgets.tokens import tokens_html

        pages = []
        for row, (frame, tokens) in enumerate(self._texts()):
            if row == TEXTS_SHOWN:
                pages.append(line(f"{TEXTS_SHOWN} of {len(self.text):,} texts; all are in .frame"))
                break
            strongest = frame.groupby("feature")["activation"].max().sort_values(ascending=False)
            shown = strongest.index[:COLUMNS_SHOWN]
            part = frame[frame["feature"].isin(shown)]
            table = part.pivot_table(index="position", columns="feature", values="activation")
            values = table.reindex(tokens["position"])[shown].fillna(0.0).to_numpy()
            title = self.title if isinstance(self.text, str) else f"{self.title}: text {row + 1}"
            positions = tokens["position"].tolist()
            pages.append(
                tokens_html(
                    tokens["token"].tolist(), shown.tolist(), values, positions=positions, title=title, live=live
                )
            )
        return "".join(pages)

    def _view(self) -> tuple[str, dict[str, Any]]:
        from .widgets.views.tokens import tokens_data

        return "tokens", tokens_data(self.title, list(self._texts()))

    def _answers(self) -> dict[str, Handler]:
        from .widgets.views.tokens import tokens_answers

        return tokens_answers(self.title, list(self._texts()))

    def _rows_of(self, selection: Selection) -> pd.DataFrame:
        return self.frame[self.frame["feature"].isin(selection.ids)]
