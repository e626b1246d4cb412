"""What a verb hands back: a card, frames, a figure and a face; the only place where numbers meet views."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cards import ActivationCaptureCard, Card, SaeTrainCard
from .errors import OutputError, SessionError
from .files import whole_file
from .records import capture_card, read_card, read_history
from .showing import Frozen, Shown

__all__ = ["Capture", "Frozen", "Result", "SaeTrain", "open_capture", "open_training"]

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from torch import Tensor

    from .comparison import CaptureComparison
    from .engine.activations.captured import CaptureData
    from .engine.sae import SparseAutoencoder
    from .live import LiveTraining
    from .standing import Standing
    from .widgets.desk import Handler
    from .widgets.selection import Selection
    from .widgets.views.capture import CaptureView


class Result(Shown):
    """What all results share: `.card`, `.frame`, `.frames`, `.figure()`, `.save(path)`, `.freeze()` and a face."""

    card: Card

    @property
    @abstractmethod
    def frames(self) -> dict[str, pd.DataFrame]:
        """Every table of the result by name."""

    @property
    def frame(self) -> pd.DataFrame:
        """The main table."""
        return next(iter(self.frames.values()))

    @abstractmethod
    def figure(self) -> go.Figure:
        """A plotly figure for papers and slides."""

    def _static(self, live: bool) -> str:
        from .widgets.html import result_html

        name, frame = next(iter(self.frames.items()))
        return result_html(self.card, {name: frame}, live=live)

    def _rows_of(self, selection: Selection) -> pd.DataFrame:
        frame, column = self.frame, selection.of.removesuffix("_b").removesuffix("s")
        if column in frame:
            return frame.set_index(column, drop=False).reindex(list(selection.ids)).dropna(how="all")
        return frame.iloc[[one for one in selection.ids if one < len(frame)]]

    def save(self, path: str | Path) -> Path:
        """Write the result to one file: `.html` (self-contained page), `.json` (the card) or `.csv` (the main table).

        Raises:
            OutputError: another suffix, or the place cannot be written.
        """
        path = Path(path).expanduser()
        if path.suffix == ".html":
            from .widgets.page import standalone_page

            text = standalone_page(self.card.name, [self.html()])
        elif path.suffix == ".json":
            text = self.card.model_dump_json(indent=2) + "\n"
        elif path.suffix == ".csv":
            text = self.frame.to_csv(index=False)
        else:
            raise OutputError(f"{path.name}: save() writes .html, .json or .csv, told apart by the suffix.")
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path


class Capture(Result):
    """Activations of labelled probes.

    Attributes:
        path: the folder.
        manifest: dict; the contract file as read.
        frame: one row a probe, metadata keys as columns.
        layers: layer -> float32 tensor [probes, d_model], memory-mapped on first use (needs torch); shards up to 64 MB
            are compared with their hash then, larger ones by `data.verify()`.
        features: sparse COO float32 tensor [probes, d_sae] when the probes were also encoded, else None.
        data: the same as the engine knows it.
    """

    card: ActivationCaptureCard
    selects = ("probes", "layers")

    def __init__(self, data: CaptureData, card: ActivationCaptureCard) -> None:
        self.data, self.card = data, card
        self.path, self.manifest, self.layers = data.path, data.manifest, data.layers

    @property
    def features(self) -> Tensor | None:
        return self.data.features

    @property
    def feature_frame(self) -> pd.DataFrame | None:
        """`features` as `probe, feature, value`, one row an active feature of a probe; None without features."""
        return self.data.feature_frame

    def separability(self, label: str) -> CaptureComparison:
        """How well a linear classifier tells the classes of a metadata label apart, layer by layer.

        Accuracy of cross-validated logistic regression beside the share of the largest class; probes without the label
        are left out and counted. `.methods` of the result says how it was measured.

        Raises:
            ProbeError: no such label, one class only, or a class with fewer than 5 probes.
            StoreError: a shard is missing or damaged, or holds NaN or infinity.
            AquinError: scikit-learn is not installed.

        >>> capture.separability("label").frame[["layer", "accuracy_label"]]   # doctest: +SKIP
        """
        from .comparison import CaptureComparison
        from .engine.analysis.compare import compare

        return CaptureComparison(compare({self.card.name: self.data}, labels=[label]))

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        import pandas as pd

        norms = pd.DataFrame([n.model_dump() for n in self.card.norms], columns=["layer", "median", "max"])
        return {"probes": self.data.frame, "norms": norms}

    @cached_property
    def _browser(self) -> CaptureView:
        from .widgets.views.capture import CaptureView, manifest_facts
        from .widgets.views.capture_numbers import CaptureNumbers

        facts = manifest_facts(self.manifest, str(self.path), self.data.site)
        numbers = CaptureNumbers(len(self.data.probes), list(self.layers), self.data.d_model, self.data.rows)
        return CaptureView(self.card, self.frames["probes"], facts, numbers)

    def _view(self) -> tuple[str, dict[str, Any]]:
        return "capture", self._browser.data()

    def _answers(self) -> dict[str, Handler]:
        return self._browser.answers()

    def _rows_of(self, selection: Selection) -> pd.DataFrame:
        if selection.of == "layers":
            norms = self.frames["norms"]
            return norms[norms["layer"].isin(selection.ids)]
        return self.frame.iloc[[row for row in selection.ids if row < len(self.frame)]]

    def figure(self) -> go.Figure:
        from .widgets.figures import capture_figure

        return capture_figure(self.card, self.frames["norms"])

    def summary(self) -> str:
        c = self.card
        read = c.position if self.data.site == "hook_resid_post" else f"{self.data.site}, {c.position}"
        model = c.model.name if c.model else "?"
        return f"Capture {c.name}: {c.n_probes} probes × {len(c.layers)} layers of {model} ({read}), in {self.path}"


class SaeTrain(Result):
    """A trained dictionary.

    Attributes:
        path: the `.pt`.
        history: DataFrame, one row a logged point: `step, tokens, recon_mse, fvu, explained_variance, cosine, l0, dead,
            lr, grad_norm, tokens_per_second`.
        verdict: "usable", "weak" or "smoke test only"; reasons: list of sentences.
        dictionary: the `SparseAutoencoder`, read on first use.
    """

    card: SaeTrainCard

    def __init__(
        self, path: Path, card: SaeTrainCard, history: pd.DataFrame, dictionary: SparseAutoencoder | None = None
    ) -> None:
        self.path, self.card, self.history, self._dictionary = path, card, history, dictionary
        self._again: Callable[[], LiveTraining] | None = None

    @property
    def dictionary(self) -> SparseAutoencoder:
        if self._dictionary is None:
            from .engine.sae import load_dictionary

            self._dictionary = load_dictionary(self.path)
        return self._dictionary

    @property
    def resumable(self) -> bool:
        """Whether it was stopped and can be gone on with from its last checkpoint, by `go_on` or `sae_resume`."""
        kept = self.card.checkpoint
        stopped = self.card.status in ("cancelled", "failed") and kept is not None and Path(kept.path).exists()
        return stopped and self._again is not None

    def resume_with(self, again: Callable[[], LiveTraining]) -> None:
        """Say how a stopped training is gone on with; whoever ran or opened it knows."""
        self._again = again

    def go_on(self) -> LiveTraining:
        """Go on with a training that was stopped, in a thread of its own; its view's Resume button does this.

        Raises:
            SessionError: nobody said how, as `aquin_nb.open_training` does.
        """
        if self._again is None:
            raise SessionError(f"{self.card.name} goes on with aquin_nb.sae_resume({str(self.path)!r}).")
        return self._again()

    def _view(self) -> tuple[str, dict[str, Any]] | None:
        from .widgets.views.train import train_data

        standing = self.standing().data()
        return "train", train_data(self.card, self.history, resumable=self.resumable, standing=standing)

    def _answers(self) -> dict[str, Handler]:
        from .earlier import training_answers

        return training_answers(self)

    @property
    def verdict(self) -> str:
        assert self.card.verdict is not None
        return self.card.verdict

    @property
    def reasons(self) -> list[str]:
        return list(self.card.reasons)

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        return {"history": self.history}

    def figure(self) -> go.Figure:
        from .widgets.figures import training_figure

        return training_figure(self.card, self.history)

    def volume_figure(self, *others: Result) -> go.Figure:
        """Where activations came from and what became of them: corpus, probes or tensors; training, checks or neither.

        Args:
            others: trainings, sweeps, captures and collected activations to show beside this one.

        Raises:
            SessionError: a result of another kind. StoreError: the `.config.json` beside a dictionary is missing.
        """
        from .quantity import volume_figure

        return volume_figure([self, *others])

    def strength_figure(self, *others: Result) -> go.Figure:
        """Explained variance against rows of activations, with the lines that "usable" asks for.

        It shows why six probes are not a corpus. Needs torch, which the thresholds are defined beside.

        Args:
            others: trainings and sweeps to show beside this one.

        Raises:
            SessionError: a result of another kind. StoreError: the `.config.json` beside a dictionary is missing.

        >>> from_corpus.strength_figure(from_probes)                # doctest: +SKIP
        """
        from .quantity import strength_figure

        return strength_figure([self, *others])

    def standing(self, *others: Result) -> Standing:
        """The figures of `strength_figure` and `volume_figure` as one interactive view; needs no torch.

        Args:
            others: trainings, sweeps, captures and collected activations to show beside this one.

        Raises:
            SessionError: a result of another kind.

        >>> from_corpus.standing(from_probes)                       # doctest: +SKIP
        """
        from .standing import Standing

        return Standing([self, *others])

    def summary(self) -> str:
        from .widgets.words import report

        state = "" if self.card.status == "completed" else f"{self.card.status}, "
        head = f"SaeTrain {self.card.name}: {state}{self.verdict} — {' '.join(self.reasons)} ({self.path})"
        return "\n  ".join([head, *report(self.card)])


def open_capture(path: str | Path) -> Capture:
    """Open a capture folder; the manifest, the frame and the view need no torch, `.layers` does.

    The card is the one the run wrote; a folder that holds none (cut short, or moved by hand) gets one made from its
    manifest.

    Raises:
        StoreError: not a capture, or damaged.
    """
    from .engine.activations.captured import read_capture

    data = read_capture(path)
    written = data.path / "card.json"
    return Capture(data, read_card(written, ActivationCaptureCard) if written.exists() else capture_card(data))


def open_training(path: str | Path) -> SaeTrain:
    """Open a trained dictionary's `.pt` with the card and history beside it, as `train` returned them.

    Raises:
        StoreError: the card or the history is missing or damaged.
    """
    file = Path(path).expanduser()
    card = read_card(file.with_suffix(".card.json"), SaeTrainCard)
    return SaeTrain(file, card, read_history(file.with_suffix(".history.csv")))
