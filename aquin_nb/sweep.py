"""A sweep as a result: one small dictionary a layer, side by side; what `session.sae.sweep` hands back."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .cards import SaeSweepCard, SaeTrainCard, SweepMember
from .errors import SessionError, StoreError
from .records import read_card
from .results import Result, SaeTrain, open_training

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

CARD = "sweep.card.json"

CAUTION = (
    "The layer that is reconstructed best is not the best one to inspect. Early layers are easy: the residual stream is"
    " still close to the token embeddings. Norms grow with depth, so recon MSE rises whatever a dictionary learns; FVU"
    " can be compared. Look for the layer where what you ask about can be told apart: compare_captures() and"
    " Capture.separability() show it layer by layer."
)
COLUMNS = (
    "layer",
    "hook",
    "fvu",
    "explained_variance",
    "recon_mse",
    "cosine",
    "l0",
    "dead_share",
    "mean_norm",
    "verdict",
    "path",
)


class SaeSweep(Result):
    """One dictionary a layer, trained over one pass of the same tokens and measured on the same held-out rows.

    Attributes:
        frame: one row a layer: `layer, hook, fvu, explained_variance, recon_mse, cosine, l0, dead_share, mean_norm,
            verdict, path`.
        results: the `SaeTrain` of each; `sweep[10]` is that of layer 10.
        path: the folder.
    """

    card: SaeSweepCard

    def __init__(self, path: Path, card: SaeSweepCard) -> None:
        self.path, self.card = path, card

    @cached_property
    def results(self) -> list[SaeTrain]:
        return [open_training(member.path) for member in self.card.members]

    def __getitem__(self, layer: int | str) -> SaeTrain:
        """The dictionary of a layer, or of a hook."""
        found = [i for i, m in enumerate(self.card.members) if layer == m.hook]
        found = found or [i for i, m in enumerate(self.card.members) if layer == m.layer]
        if len(found) != 1:
            known = ", ".join(str(m.hook) for m in self.card.members)
            raise SessionError(f"The sweep has {len(found) or 'no'} dictionaries for {layer!r}; it has {known}.")
        return self.results[found[0]]

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        import pandas as pd

        rows = [member.model_dump() for member in self.card.members]
        frame = pd.DataFrame(rows, columns=list(SweepMember.model_fields))
        frame["explained_variance"] = 1 - frame["fvu"].astype(float)
        return {"layers": frame[list(COLUMNS)].astype({"layer": "Int64"})}

    def figure(self) -> go.Figure:
        from .widgets.sweep_figure import sweep_figure

        return sweep_figure(self.card, self.frame)

    def summary(self) -> str:
        c = self.card
        model = c.model.name if c.model else "?"
        state = "" if c.status == "completed" else f"{c.status}, "
        measured = [m for m in c.members if m.fvu is not None]
        said = f"{len(c.members)} dictionaries of {model}"
        if measured:
            low, high = min(m.fvu or 0.0 for m in measured), max(m.fvu or 0.0 for m in measured)
            said += f", FVU {low:.3f} to {high:.3f}"
        return f"SaeSweep {c.name}: {state}{said} ({self.path})\n  {c.caution}"


def member(card: SaeTrainCard, path: Path, mean_norm: float | None) -> SweepMember:
    """A trained dictionary as a row of the sweep."""
    held = card.held_out
    return SweepMember(
        layer=card.layer,
        hook=card.hook,
        name=card.name,
        path=str(path),
        d_sae=card.config.d_sae if card.config else 0,
        k=card.config.k if card.config else None,
        fvu=held.fvu if held else None,
        recon_mse=held.recon_mse if held else None,
        cosine=held.cosine if held else None,
        l0=held.l0 if held else None,
        dead_share=held.dead_share if held else None,
        mean_norm=mean_norm,
        verdict=card.verdict,
    )


def open_sweep(path: str | Path) -> SaeSweep:
    """Open the folder of a sweep, or its `sweep.card.json`.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    file = Path(path).expanduser()
    file = file / CARD if file.is_dir() else file
    if file.name != CARD:
        raise StoreError(f"{file} is no sweep: give the folder that holds {CARD}.")
    return SaeSweep(file.parent, read_card(file, SaeSweepCard))
