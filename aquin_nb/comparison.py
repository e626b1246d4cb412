"""Captures compared layer by layer: what `compare_captures` and `Capture.separability` hand back."""

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

    from .engine.analysis.compare import Comparison


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
    """

    def __init__(self, found: Comparison) -> None:
        self._found = found
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
