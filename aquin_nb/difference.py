"""What `sae.diff` and `sae.trajectory` hand back: base and checkpoints through one dictionary."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .cards import SaeDiffCard, SaeTrajectoryCard
from .errors import DictionaryError, ProbeError, StoreError
from .records import read_card
from .results import Result

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go
    from numpy.typing import NDArray

    from .engine.analysis.sums import Sums
    from .widgets.desk import Handler
    from .widgets.selection import Selection

PROBES, TOKENS, FEATURES = "probes.jsonl", "tokens.jsonl", "features.csv"
WORDS = 4  # tokens shown beside a feature's number


class Drivers:
    """What drives one feature's change. A look, not a run: it has frames and a face, but no card.

    Attributes:
        feature: its number.
        frame: one row a probe on which it fires in either model, largest share of the change first: `probe` (row, from
            0), `base`, `checkpoint` (mean over the probe's tokens), `delta`, `share` (of the whole change), `tokens`,
            `text` and the probe's metadata.
        tokens: the tokens on which it changes most: `rank, probe, position, before, token, after, base, checkpoint`.
            Empty for an embedding model, and for features that were not listed when the diff was made.
    """

    def __init__(self, feature: int, frame: pd.DataFrame, tokens: pd.DataFrame, title: str) -> None:
        self.feature, self.frame, self.tokens, self.title = feature, frame, tokens, title

    def __repr__(self) -> str:
        shown = self.tokens[["before", "token", "after", "base", "checkpoint"]] if len(self.tokens) else self.frame
        return f"{self.title}\n{shown.to_string(index=False, max_rows=12, max_colwidth=40)}"

    def _repr_html_(self) -> str:
        from .widgets.drivers import drivers_html

        return drivers_html(self.title, self.frame, self.tokens)


class SaeDiff(Result):
    """Base and checkpoint through one dictionary.

    Attributes:
        frame: one row a feature: `feature, mean_base, mean_checkpoint, delta, mean_on_base, mean_on_checkpoint,
            rate_base, rate_checkpoint, probes, p, q, changed`; what they are is told in
            `engine.analysis.contrast.Contrast`.
        n_changed: features with q ≤ `card.fdr` and |delta| ≥ `card.threshold`.
        mean_abs_delta, max_abs_delta: over all features.
        advice: "keep", "align" or "retrain" the dictionary, or None; `card.advice_reason` says why.
        path: the folder it was written to; `open_diff(path)` opens it again, without torch.
    """

    card: SaeDiffCard
    selects: ClassVar[tuple[str, ...]] = ("features", "probes")

    def __init__(self, path: Path, card: SaeDiffCard, frame: pd.DataFrame) -> None:
        self.path, self.card, self._frame = path, card, frame
        self._cohorts: dict[str, pd.DataFrame] = {}

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        frames = {"features": self._frame}
        return frames if self.card.by is None else {**frames, "cohorts": self.cohorts()}

    @property
    def n_changed(self) -> int:
        return self.card.n_changed

    @property
    def mean_abs_delta(self) -> float:
        return self.card.mean_abs_delta

    @property
    def max_abs_delta(self) -> float:
        return self.card.max_abs_delta

    @property
    def advice(self) -> str | None:
        return self.card.advice

    def drivers(self, feature: int) -> Drivers:
        """Which probes and which tokens drive a feature's change.

        Raises:
            DictionaryError: the dictionary has no such feature. StoreError: the folder is damaged, or was written by
            version 0.1, which did not keep the probes.

        >>> diff.drivers(412).tokens[["before", "token", "after", "base", "checkpoint"]]    # doctest: +SKIP
        """
        from .engine.analysis.drivers import driving_probes

        if isinstance(feature, bool) or not 0 <= int(feature) < self.card.n_features:
            raise DictionaryError(f"feature={feature!r}: the dictionary has features 0 to {self.card.n_features - 1}.")
        texts, metadata, rows = self._probes
        frame = driving_probes(*self._sums, rows, int(feature), texts, metadata)
        tokens = self._tokens[self._tokens["feature"] == int(feature)].drop(columns="feature").reset_index(drop=True)
        row = self._frame.iloc[int(feature)]
        title = f"Feature {int(feature)} in {self.card.name}: {row['mean_base']:.4g} → {row['mean_checkpoint']:.4g}"
        return Drivers(int(feature), frame, tokens, title)

    def cohorts(self, by: str | None = None) -> pd.DataFrame:
        """The same comparison among the probes with each value of a metadata key: `cohort` and the columns of `frame`.

        Every cohort has its own p and q; the threshold is that of the whole. Features silent everywhere are left out.

        Args:
            by: a metadata key; default: that which the diff was made with.

        Raises:
            ProbeError: no probe has this key, or its values make no cohorts. StoreError: as `drivers`.
        """
        from .engine.analysis.cohorts import cohort_frame, cohorts

        key = self._key(by)
        if key not in self._cohorts:
            _, metadata, rows = self._probes
            c = self.card
            fdr = 0.05 if c.fdr is None else c.fdr
            found = cohorts(*self._sums, rows, c.n_features, metadata, key, threshold=c.threshold, fdr=fdr)
            self._cohorts[key] = cohort_frame(found)
        return self._cohorts[key]

    def figure(self) -> go.Figure:
        """The features that changed most as bars, and all as base against checkpoint, coloured by significance."""
        from .widgets.diff_figure import diff_figure

        return diff_figure(self.card, self._frame)

    def cohort_figure(self, by: str | None = None) -> go.Figure:
        """Features against cohorts: delta as colour, what is more than chance marked.

        Raises:
            as `cohorts`.
        """
        from .widgets.diff_figure import cohort_figure

        return cohort_figure(self.card, self.cohorts(by), self._key(by))

    def summary(self) -> str:
        from .widgets.diff import diff_lines

        return "\n  ".join(diff_lines(self.card))

    def _view(self) -> tuple[str, dict[str, Any]]:
        from .widgets.views.diff import diff_data

        # A result whose files were moved still shows its numbers; asked for drivers, it says which file is missing.
        kept = all((self.path / name).exists() for name in (PROBES, TOKENS, "base", "checkpoint"))
        return "diff", diff_data(self.card, self._frame, self._driving if kept else None)

    def _answers(self) -> dict[str, Handler]:
        from .widgets.views.diff import diff_answers

        cohorts = None if self.card.by is None else self.cohorts
        return diff_answers(self.card, self._frame, self._driving, cohorts, self._words)

    def _rows_of(self, selection: Selection) -> pd.DataFrame:
        import pandas as pd

        if selection.of != "probes":
            return super()._rows_of(selection)
        texts, metadata, _ = self._probes
        rows = [{"probe": at, "text": texts[at], **metadata[at]} for at in selection.ids if at < len(texts)]
        return pd.DataFrame(rows, columns=None if rows else ["probe", "text"])

    def _driving(self, feature: int) -> dict[str, Any]:
        from .widgets.views.diff import driving

        found = self.drivers(feature)
        return driving(found.title, found.frame, found.tokens)

    def _words(self) -> dict[str, list[str]]:
        """Tokens on which each listed feature changes most, every one once."""
        found: dict[str, list[str]] = {}
        for feature, token in zip(self._tokens["feature"], self._tokens["token"], strict=True):
            words = found.setdefault(str(feature), [])
            if token not in words and len(words) < WORDS:
                words.append(token)
        return found

    def _key(self, by: str | None) -> str:
        key = self.card.by if by is None else by
        if key is None:
            raise ProbeError("This diff was made without by=; say which metadata key makes the cohorts.")
        return key

    @cached_property
    def _sums(self) -> tuple[Sums, Sums]:
        from .engine.analysis.sums import Sums

        return Sums.open(self.path / "base"), Sums.open(self.path / "checkpoint")

    @cached_property
    def _probes(self) -> tuple[list[str], list[dict[str, Any]], NDArray[np.int64]]:
        import numpy as np

        lines = _lines(self.path / PROBES)
        rows = np.array([line["rows"] for line in lines], np.int64)
        return [line["text"] for line in lines], [line["metadata"] for line in lines], rows

    @cached_property
    def _tokens(self) -> pd.DataFrame:
        import pandas as pd

        from .engine.analysis.drivers import TOKEN_COLUMNS

        return pd.DataFrame(_lines(self.path / TOKENS), columns=list(TOKEN_COLUMNS))


class SaeTrajectory(Result):
    """Checkpoints along a training run against its base, through one dictionary.

    Attributes:
        frame: `step, feature, mean_base, mean, delta, rate, p, q, changed`, step after step; features silent everywhere
            are left out. The columns are those of a diff.
        steps: one row a checkpoint: `step, path, n_changed, n_over, mean_abs_delta, max_abs_delta, fvu, advice`.
        path: the folder; `open_trajectory(path)` opens it again, without torch.
    """

    card: SaeTrajectoryCard
    selects: ClassVar[tuple[str, ...]] = ("features",)

    def __init__(self, path: Path, card: SaeTrajectoryCard, frame: pd.DataFrame) -> None:
        self.path, self.card, self._frame = path, card, frame

    @cached_property
    def steps(self) -> pd.DataFrame:
        import pandas as pd

        rows = [stop.model_dump(exclude={"checkpoint"}) | {"path": stop.checkpoint.path} for stop in self.card.stops]
        columns = ["step", "path", "n_changed", "n_over", "mean_abs_delta", "max_abs_delta", "fvu", "advice"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        return {"features": self._frame, "steps": self.steps}

    def figure(self) -> go.Figure:
        """delta of the features that moved most by step, how many changed, and the reconstruction error."""
        from .widgets.diff_figure import trajectory_figure

        return trajectory_figure(self.card)

    def summary(self) -> str:
        from .widgets.trajectory import trajectory_lines

        return "\n  ".join(trajectory_lines(self.card))

    def _view(self) -> tuple[str, dict[str, Any]]:
        from .widgets.views.trajectory import trajectory_data

        return "trajectory", trajectory_data(self.card, self._frame)

    def _answers(self) -> dict[str, Handler]:
        from .widgets.views.trajectory import trajectory_answers

        return trajectory_answers(self.card, self._frame)

    def _rows_of(self, selection: Selection) -> pd.DataFrame:
        return self._frame[self._frame["feature"].isin(selection.ids)]


def open_diff(path: str | Path) -> SaeDiff:
    """Open a diff's folder as `sae.diff` returned it; needs no torch.

    Raises:
        StoreError: the card or the frame is missing or damaged.
    """
    folder = Path(path).expanduser()
    return SaeDiff(folder, read_card(folder / "card.json", SaeDiffCard), _frame(folder / FEATURES))


def open_trajectory(path: str | Path) -> SaeTrajectory:
    """Open a trajectory's folder as `sae.trajectory` returned it; needs no torch.

    Raises:
        StoreError: the card or the frame is missing or damaged.
    """
    folder = Path(path).expanduser()
    return SaeTrajectory(folder, read_card(folder / "card.json", SaeTrajectoryCard), _frame(folder / FEATURES))


def _frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
        if lacking := {"feature", "delta", "changed"} - set(frame):
            raise ValueError(f"it has no column {', '.join(sorted(lacking))}")
        return frame
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}); the diff has to be made again.") from error
