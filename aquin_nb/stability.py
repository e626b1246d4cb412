"""Several dictionaries side by side: what `compare_dictionaries` hands back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutputError
from .files import whole_file
from .showing import Shown

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from .engine.analysis.alignment.several import Several


class DictionaryComparison(Shown):
    """Every two of several dictionaries matched one to one. A look: it has frames and a face, but no card.

    Attributes:
        matrix: mean cosine of matched features, dictionaries by dictionaries.
        frame: one row for each two: `first, second, pairs, mean, median, above_0_7, above_0_9, by_chance`.
        stable: features that all of them have: one column a dictionary with the feature's number, `mean_cosine` and
            `least_cosine`; every two of a row are matched with each other at `least` or more.
        sizes: features with a direction, by dictionary.
    """

    def __init__(self, found: Several) -> None:
        self._found = found
        self.matrix, self.frame, self.stable = found.matrix, found.pairs, found.stable
        self.sizes, self.least = dict(found.sizes), found.least

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """Every table by name."""
        return {"pairs": self.frame, "matrix": self.matrix, "stable": self.stable}

    @property
    def stable_share(self) -> float:
        """Stable features, of the features of the smallest dictionary."""
        return len(self.stable) / min(self.sizes.values())

    def figure(self) -> go.Figure:
        """The matrix as a plotly heat map."""
        from .widgets.stability import stability_figure

        return stability_figure(self._found)

    def summary(self) -> str:
        """One line, and one for each two dictionaries."""
        from .widgets.stability import summary_lines

        return "\n  ".join(summary_lines(self._found))

    def _static(self, live: bool) -> str:
        from .widgets.stability import stability_html

        return stability_html(self._found, live=live)

    def save(self, path: str | Path) -> Path:
        """Write to one file: `.html` (self-contained page), `.json` (every table) or `.csv` (frame).

        Raises:
            OutputError: another suffix, or the place cannot be written.
        """
        path = Path(path).expanduser()
        if path.suffix == ".html":
            from .widgets.page import standalone_page

            text = standalone_page(", ".join(self.sizes), [self.html()])
        elif path.suffix == ".json":
            tables = {name: json.loads(frame.to_json(orient="split")) for name, frame in self.frames.items()}
            text = json.dumps({**tables, "least": self.least, "sizes": self.sizes}, ensure_ascii=False) + "\n"
        elif path.suffix == ".csv":
            text = self.frame.to_csv(index=False)
        else:
            raise OutputError(f"{path.name}: save() writes .html, .json or .csv, told apart by the suffix.")
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path
