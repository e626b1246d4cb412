"""A sweep as a result: one small dictionary a layer, side by side; what `session.sae.sweep` hands back."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .cards import SaeSweepCard, SaeTrainCard, SweepMember
from .errors import SessionError, StoreError
from .opening import open_training
from .records import read_card
from .results import Result, SaeTrain

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from .standing import Standing

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
    selects: ClassVar[tuple[str, ...]] = ("layers",)

    def __init__(self, path: Path, card: SaeSweepCard) -> None:
        self.path, self.card = path, card

    @cached_property
    def results(self) -> list[SaeTrain]:
        return [open_training(member.path) for member in self.card.members]

    def __getitem__(self, site: int | str) -> SaeTrain:
        """The dictionary of a hook, or of a layer: that of its `hook_resid_post`, or its only one.

        Raises:
            SessionError: there is none, or several.
        """
        wanted = f"blocks.{site}.hook_resid_post" if isinstance(site, int) else site
        members = self.card.members
        found = [i for i, m in enumerate(members) if m.hook == wanted]
        found = found or [i for i, m in enumerate(members) if m.layer == site]
        if len(found) != 1:
            known = ", ".join(m.hook for m in members) or "none yet"
            raise SessionError(f"The sweep has {len(found) or 'no'} dictionaries for {site!r}; it has {known}.")
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

    def volume_figure(self, *others: Result) -> go.Figure:
        """See `SaeTrain.volume_figure`: one entry a dictionary."""
        from .quantity import volume_figure

        return volume_figure([self, *others])

    def strength_figure(self, *others: Result) -> go.Figure:
        """See `SaeTrain.strength_figure`: one point a dictionary."""
        from .quantity import strength_figure

        return strength_figure([self, *others])

    def standing(self, *others: Result) -> Standing:
        """See `SaeTrain.standing`: one point a dictionary."""
        from .standing import Standing

        return Standing([self, *others])

    def _view(self) -> tuple[str, dict[str, Any]] | None:
        from .widgets.views.sweep import sweep_data

        return "sweep", sweep_data(self.card, self.frame, self.standing().data())

    def summary(self) -> str:
        from .widgets.text import plural

        c = self.card
        model = c.model.name if c.model else "?"
        state = "" if c.status == "completed" else f"{c.status}, "
        found = [m.fvu for m in c.members if m.fvu is not None]
        said = f"{plural(len(c.members), 'dictionary', 'dictionaries')} of {model}"
        if found:
            low, high = f"{min(found):.3f}", f"{max(found):.3f}"
            said += f", FVU {low}" + (f" to {high}" if high != low else "")
        return f"SaeSweep {c.name}: {state}{said} ({self.path})\n  {c.caution}"


def measured(member: SweepMember, card: SaeTrainCard) -> SweepMember:
    """A row of the sweep with what its training's card tells by now."""
    held = card.held_out
    told: dict[str, Any] = {"verdict": card.verdict}
    if card.config is not None:
        told |= {"d_sae": card.config.d_sae, "k": card.config.k}
    if held is not None:
        told |= {name: getattr(held, name) for name in ("fvu", "recon_mse", "cosine", "l0", "dead_share")}
    return member.model_copy(update=told)


def open_sweep(path: str | Path) -> SaeSweep:
    """Open the folder of a sweep, or its `sweep.card.json`, as its dictionaries are by now.

    One that was stopped counts as completed when each of its dictionaries was: `aquin_nb.sae_resume(path)` completes
    one.

    Raises:
        StoreError: there is none, or it is damaged.

    >>> open_sweep("sae/user/smollm2-135m/overnight").frame              # doctest: +SKIP
    """
    file = Path(path).expanduser()
    file = file / CARD if file.is_dir() else file
    if file.name != CARD:
        raise StoreError(f"{file} is no sweep: give the folder that holds {CARD}.")
    card = read_card(file, SaeSweepCard)
    if card.status == "completed":
        return SaeSweep(file.parent, card)
    cards = {m.path: read_card(_card_of(m), SaeTrainCard) for m in card.members if _card_of(m).is_file()}
    card.members = [measured(m, cards[m.path]) if m.path in cards else m for m in card.members]
    finished = [one.finished_at for one in cards.values() if one.status == "completed" and one.finished_at is not None]
    if card.members and len(finished) == len(card.members):
        card.status, card.error, card.finished_at = "completed", None, max(finished)
    return SaeSweep(file.parent, card)


def _card_of(member: SweepMember) -> Path:
    return Path(member.path).with_suffix(".card.json")
