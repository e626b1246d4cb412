"""Where dictionaries stand: their strength against the rows they were trained on, and where activations went."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .cards import ActivationCaptureCard, ActivationStoreCard
from .errors import StoreError
from .quantity import strength, trainings, volumes
from .showing import Shown
from .widgets.quantity import EXPLAINED_LINE, ROWS_LINE, Strength

if TYPE_CHECKING:
    from .results import Result


class Standing(Shown):
    """The quadrant of `strength_figure` and the volumes of `volume_figure`, to point at and walk with keys.

    Attributes:
        strengths, volumes: what is shown. problems: sentences on trainings that could not be placed.

    >>> from_corpus.standing(from_probes)                       # doctest: +SKIP
    """

    def __init__(self, results: Iterable[Result]) -> None:
        given = list(results)
        self.strengths: list[Strength] = []
        self.problems: list[str] = []
        for training in trainings(one for one in given if not _untrained(one)):
            try:
                self.strengths.append(strength(training))
            except StoreError as error:
                self.problems.append(str(error))
        try:
            self.volumes = volumes(given)
        except StoreError as error:
            self.volumes = []
            self.problems = [*dict.fromkeys([*self.problems, str(error)])]

    def summary(self) -> str:
        best = max(self.strengths, key=lambda one: one.explained_variance, default=None)
        if best is None:
            return " ".join(["No dictionary can be placed.", *self.problems])
        return (
            f"{len(self.strengths)} placed; the strongest, {best.name}, explains {best.explained_variance:.0%} of the"
            f" variance after {best.rows:,} rows"
        )

    def data(self) -> dict[str, Any]:
        """What its view embeds."""
        from .widgets.views.sweep import standing_data

        return standing_data(
            self.strengths,
            self.volumes,
            rows=ROWS_LINE,
            explained_variance=EXPLAINED_LINE,
            problems=self.problems,
        )

    def _static(self, live: bool) -> str:
        import pandas as pd

        from .widgets.html import frame_html

        rows = pd.DataFrame([vars(one) for one in self.strengths], columns=list(Strength.__dataclass_fields__))
        return frame_html(rows, title="Dictionary strength and activation scale", live=live)

    def _view(self) -> tuple[str, dict[str, Any]] | None:
        return "standing", self.data()


def _untrained(result: Result) -> bool:
    """Activations that are kept: they have a volume and no strength."""
    return isinstance(getattr(result, "card", None), ActivationCaptureCard | ActivationStoreCard)
