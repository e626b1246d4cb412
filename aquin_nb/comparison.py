"""Captures compared layer by layer: what `compare_captures` and `Capture.separability` hand back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import OutputError
from .files import whole_file
from .showing import Shown

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from .engine.activations.captured import CaptureData
    from .engine.analysis.compare import Comparison
    from .widgets.desk import Handler
    from .widgets.selection import Selection
    from .widgets.views.captures import ComparisonView


class CaptureComparison(Shown):
    """A look at captures side by side. It has frames, a figure and a face, but no card: nothing was run or written.

    Attributes:
        frame: one row a layer and capture: norms, cosines and CKA with the same layer of the first capture, and the
            accuracy of every label; columns as in `engine.analysis.compare.Comparison.layers`.
        probes: probes that differ between a capture and the first: `capture, flag, probe, first_probe, text, detail`.
        labels: what was separated: `capture, label, probes, classes, baseline, missing, repeated`.
        captures: `capture, model, checkpoint, site, position, probes, layers, d_model, matched_by, path`.
        cka: `capture, first_layer, layer, cka` of every pair of layers, or None when it was not asked for.
        notes: what a reader must know. methods: how the figures were made, with sources.
        selected: probes of the first capture with their rows in the others (-1: not there), or rows of `frame`.
    """

    selects = ("probes", "layers")

    def __init__(self, found: Comparison, data: Mapping[str, CaptureData] | None = None) -> None:
        self._found, self._data = found, dict(data or {})
        self.frame, self.probes, self.labels = found.layers, found.probes, found.labels
        self.captures, self.cka = found.captures, found.cka
        self.notes, self.methods = list(found.notes), list(found.methods)

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """Every table by name."""
        frames = {"layers": self.frame, "probes": self.probes, "labels": self.labels, "captures": self.captures}
        return frames if self.cka is None else {**frames, "cka": self.cka}

    def figure(self) -> go.Figure:
        """A plotly figure: one panel a measure, one line a capture, by layer; hovering tells quartiles and spread."""
        from .widgets.comparison_figure import comparison_figure

        return comparison_figure(self._found)

    def summary(self) -> str:
        """One line of text, and one for each label and capture."""
        from .widgets.comparison import best, keys, names
        from .widgets.text import percent

        found = self._found
        layers = len(self.frame["layer"].unique())
        flagged = f"{len(self.probes):,} probe{'' if len(self.probes) == 1 else 's'} flagged"
        lines = [f"CaptureComparison of {', '.join(names(found))}: {layers} layers, {flagged}"]
        for key in keys(found):
            for name in names(found):
                if row := best(found, name, key):
                    accuracy, spread = percent(row[f"accuracy_{key}"]), percent(row[f"spread_{key}"])
                    lines.append(
                        f"{key} in {name}: {accuracy} ± {spread} at layer {row['layer']}, the best of its layers;"
                        f" guessing {percent(row[f'baseline_{key}'])}"
                    )
        return "\n  ".join(lines)

    def _static(self, live: bool) -> str:
        from .widgets.comparison import comparison_html

        return comparison_html(self._found, live=live)

    def _view(self) -> tuple[str, dict[str, Any]] | None:
        return None if self._browser is None else ("captures", self._browser.data())

    def _answers(self) -> dict[str, Handler]:
        return {} if self._browser is None else self._browser.answers()

    @cached_property
    def _browser(self) -> ComparisonView | None:
        """None for a single capture, and where only the tables are known."""
        if len(self._data) < 2:
            return None
        import numpy as np

        from .engine.analysis.pairing import pair
        from .widgets.views.capture_numbers import CaptureNumbers
        from .widgets.views.captures import ComparisonView, Side

        sides: list[Side] = []
        first = next(iter(self._data.values())).probes
        for name, data in self._data.items():
            rows = np.arange(len(first)) if not sides else np.full(len(first), -1)
            if sides:
                pairing = pair(first, data.probes)
                rows[pairing.first] = pairing.second
            numbers = CaptureNumbers(len(data.probes), list(data.layers), data.d_model, data.rows)
            sides.append(Side(name, numbers, data.frame, rows))
        tables = {"captures": self.captures, "layers": self.frame, "probes": self.probes}
        return ComparisonView(tables, self.notes, self.methods, sides)

    def _rows_of(self, selection: Selection) -> pd.DataFrame:
        if selection.of == "layers":
            return self.frame[self.frame["layer"].isin(selection.ids)]
        if self._browser is None:
            return super()._rows_of(selection)
        first, *others = self._browser.sides
        ids = [row for row in selection.ids if row < len(first.frame)]
        return first.frame.iloc[ids].assign(**{f"row in {side.name}": side.rows[ids] for side in others})

    def save(self, path: str | Path) -> Path:
        """Write to one file: `.html` (self-contained page), `.json` (every table, notes and methods) or `.csv` (frame).

        Raises:
            OutputError: another suffix, or the place cannot be written.
        """
        path = Path(path).expanduser()
        if path.suffix == ".html":
            from .widgets.comparison import names
            from .widgets.page import standalone_page

            text = standalone_page(", ".join(names(self._found)), [self.html()])
        elif path.suffix == ".json":
            tables = {name: json.loads(frame.to_json(orient="records")) for name, frame in self.frames.items()}
            whole = {**tables, "notes": self.notes, "methods": self.methods}
            text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
        elif path.suffix == ".csv":
            text = self.frame.to_csv(index=False)
        else:
            raise OutputError(f"{path.name}: save() writes .html, .json or .csv, told apart by the suffix.")
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path
