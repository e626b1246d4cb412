"""What `sae_align` hands back: two dictionaries matched one to one, and what became of every feature."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cards import SaeAlignCard
from .errors import DictionaryError, StoreError
from .exploring import Explored
from .files import whole_file, write_json
from .records import read_card, write_card, write_frame

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from .engine.models import Model
    from .engine.sae import SparseAutoencoder
    from .top_texts import TopTexts

FILES = {"features_a": "features_a.csv", "features_b": "features_b.csv", "pairs": "pairs.csv"}
ARRAYS, MAP = "arrays.npz", "map.json"
INTEGERS = ("partner", "nearest", "second", "parent")


class SaeAlign(Explored):
    """Two dictionaries, a and b, matched one to one.

    Attributes:
        frame: one row a feature of a: `feature, class, partner, cosine, margin, p, q, nearest, nearest_cosine, second,
            second_cosine, mutual, members, explained, parent, firing_rate`
            (`engine.analysis.alignment.tables.Tables` says what each is, `Thresholds` what the classes are).
        frames: "features_a", "features_b" and "pairs" (`a, b, cosine, class_a, class_b, margin, p, q`).
        mean_cosine, objective, bound, gap: as `engine.analysis.assignment.Matching`.
        path: the folder it was written to; `map.json` inside says which feature is which.
        neighbours: "a" and "b" -> (int64 [n, k], float64 [n, k]): the most similar features of the other dictionary and
            their cosines, best first; -1 and NaN for features that took no part.
    """

    card: SaeAlignCard

    def __init__(
        self,
        path: Path,
        card: SaeAlignCard,
        frames: dict[str, pd.DataFrame],
        arrays: dict[str, np.ndarray],
        dictionaries: tuple[SparseAutoencoder, SparseAutoencoder] | None = None,
    ) -> None:
        self.path, self.card, self._frames, self._arrays = path, card, frames, arrays
        self._dictionaries = dictionaries

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        return dict(self._frames)

    @property
    def neighbours(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {side: (self._arrays[f"nearest_{side}"], self._arrays[f"similarity_{side}"]) for side in "ab"}

    @property
    def mean_cosine(self) -> float:
        return self.card.mean_cosine

    @property
    def objective(self) -> float:
        return self.card.objective

    @property
    def bound(self) -> float:
        return self.card.bound

    @property
    def gap(self) -> float:
        return self.card.gap

    def translate(self, given: Any, *, back: bool = False, least: float | None = None) -> Any:
        """Features or activations of a in terms of b, by the matching.

        Args:
            given: a feature's number -> its partner's, or None; whole numbers [..] -> int64 [..], -1 without a partner;
                activations, an array or tensor of floats [.., d_sae of a] -> the same kind [.., d_sae of b], 0 where a
                feature has no partner.
            back: from b to a.
            least: pairs with a smaller cosine count as none.

        Raises:
            DictionaryError: a number that is no feature of the dictionary, or activations of another width.

        >>> alignment.translate(17), alignment.translate([17, 4], least=0.7)   # doctest: +SKIP
        (203, array([203,  -1]))
        """
        source, target = (self.card.b, self.card.a) if back else (self.card.a, self.card.b)
        pairs = self._frames["pairs"]
        if least is not None:
            pairs = pairs[pairs["cosine"] >= least]
        here, there = (pairs[name].to_numpy(np.int64, copy=True) for name in (("b", "a") if back else ("a", "b")))
        if hasattr(given, "new_zeros") and given.is_floating_point():
            _require_width(given.shape[-1], source.d_sae, source.name)
            out = given.new_zeros((*given.shape[:-1], target.d_sae))
            out[..., there] = given[..., here]
            return out
        values = np.asarray(given)
        if values.dtype.kind == "f" and values.ndim:
            _require_width(values.shape[-1], source.d_sae, source.name)
            moved = np.zeros((*values.shape[:-1], target.d_sae), values.dtype)
            moved[..., there] = values[..., here]
            return moved
        if values.dtype.kind not in "iu":
            raise DictionaryError(f"translate() takes features (whole numbers) or activations, not {given!r:.80}.")
        if values.size and not 0 <= values.min() <= values.max() < source.d_sae:
            wrong = values[(values < 0) | (values >= source.d_sae)].flat[0]
            raise DictionaryError(f"{source.name} has the features 0 to {source.d_sae - 1}, not {wrong}.")
        table = np.full(source.d_sae, -1, np.int64)
        table[here] = there
        if values.ndim:
            return table[values]
        found = int(table[operator.index(values.item())])
        return None if found < 0 else found

    def neighbourhood(self, feature: int, side: str = "a") -> pd.DataFrame:
        """What is near a feature: one row for each of its most similar features of the other dictionary, nearest first.

        `feature, cosine, class, partner, nearest, member, firing_rate`: a neighbour, its own class, its own partner and
        nearest feature on this side, and whether it takes part in a split or merge of the feature asked for.

        Raises:
            DictionaryError: no such feature, or a side other than "a" and "b".

        >>> alignment.neighbourhood(alignment.card.weakest_a[0].feature)   # doctest: +SKIP
        """
        if side not in ("a", "b"):
            raise DictionaryError(f'side must be "a" or "b", not {side!r}.')
        here, there = (self._frames[f"features_{name}"] for name in (side, "b" if side == "a" else "a"))
        if not 0 <= feature < len(here):
            raise DictionaryError(f"{getattr(self.card, side).name} has the features 0 to {len(here) - 1}: {feature}?")
        ids, cosines = (part[feature] for part in self.neighbours[side])
        known = ids >= 0
        columns = ["feature", "class", "partner", "nearest", "firing_rate"]
        near: pd.DataFrame = there.iloc[ids[known]][columns].reset_index(drop=True)
        near.insert(1, "cosine", cosines[known].astype(np.float64))
        members = {int(member) for member in str(here["members"].iloc[feature]).split()}
        near.insert(5, "member", near["feature"].isin(members))
        return near

    def top_texts(
        self,
        features: int | tuple[int, int] | Sequence[int | tuple[int, int]],
        activations: Any = None,
        *,
        texts: Sequence[str] | None = None,
        model: Model | None = None,
        top: int = 5,
        window: int = 10,
    ) -> TopTexts:
        """The passages that turn features of a on most, beside those of their partners; needs torch.

        Args:
            features: features of a, each shown beside its partner, or pairs (a, b) of your own choice; one or a list.
            activations: a store of the tokens' activations (folder, result, or `Store`); its rows know their tokens.
            texts: instead, texts to run through the model.
            model: the loaded model (`session.model`), whose tokeniser the tokens are read with.
            top: passages a feature, of different documents. window: tokens before and after.

        Raises:
            DictionaryError: no such feature, neither activations nor texts, or a dictionary that is gone.
            StoreError: no store, or tokens without a model to read them. ProbeError: texts that are none.

        >>> alignment.top_texts([17, (17, 4)], "activations/overnight", model=session.model)   # doctest: +SKIP
        """
        from .top_texts import find_top_texts

        asked = [features] if isinstance(features, int | np.integer | tuple) else list(features)
        pairs: list[tuple[int, int | None]] = []
        for one in asked:
            pair = (one[0], one[1]) if isinstance(one, tuple) else (one, self.translate(one))
            for feature, ref in zip(pair, (self.card.a, self.card.b), strict=True):
                if feature is not None and not 0 <= feature < ref.d_sae:
                    raise DictionaryError(f"{ref.name} has the features 0 to {ref.d_sae - 1}, not {feature}.")
            pairs.append((int(pair[0]), None if pair[1] is None else int(pair[1])))
        if not pairs:
            raise DictionaryError("Name at least one feature.")
        names = self.card.a.name, self.card.b.name
        found = find_top_texts(self.dictionaries, names, pairs, activations, texts, model, top, window)
        found.told = [self._told(a, b) for a, b in pairs]
        return found

    def _told(self, a: int, b: int | None) -> str:
        """A pair in a few words: `rotated, cosine 0.512`."""
        features = self._frames["features_a"]
        if a >= len(features):
            return ""
        kind, cosine = features["class"].iloc[a], features["cosine"].iloc[a]
        return f"{kind}, cosine {cosine:.3f}" if b is not None and self.translate(a) == b else str(kind)

    @property
    def dictionaries(self) -> tuple[SparseAutoencoder, SparseAutoencoder]:
        """Both dictionaries, read on first use where they are not in memory.

        Raises:
            DictionaryError: one was never saved, is gone, or is not the one that was aligned.
        """
        if self._dictionaries is None:
            from .engine.sae import load_dictionary
            from .files import sha256

            found = []
            for ref in (self.card.a, self.card.b):
                if not ref.path:
                    raise DictionaryError(f"{ref.name} was never saved; only the process that aligned it had it.")
                found.append(load_dictionary(ref.path))
                if sha256(Path(ref.path)) != ref.fingerprint:
                    raise DictionaryError(f"{ref.path} was changed since it was aligned; align again.")
            self._dictionaries = found[0], found[1]
        return self._dictionaries

    def figure(self) -> go.Figure:
        """Histogram of matched cosines with the null's line, and the share of pairs above every cosine."""
        from .widgets.align_figure import align_figure

        return align_figure(self.card, self._frames["pairs"])

    def heatmap_figure(self, order: str = "matching") -> go.Figure:
        """a against b at any size, in blocks.

        Args:
            order: "matching": features in falling order of their matched cosine, partners on the diagonal, the largest
                cosine of each block. "clusters": features by cluster of a, the mean cosine of each block.

        Raises:
            DictionaryError: another order, or clusters of an alignment by firings, which has no directions.
        """
        from .widgets.align_figure import heatmap_figure

        if order not in ("matching", "clusters"):
            raise DictionaryError(f"order must be matching or clusters, not {order!r}.")
        if order == "clusters" and "clusters" not in self._arrays:
            raise DictionaryError("An alignment by firings compares no directions, so there are no clusters of them.")
        return heatmap_figure(self.card, self._arrays, order)

    def sankey_figure(self) -> go.Figure:
        """Where the features of a went: classes of a on the left, of b on the right, pairs as the flow between them."""
        from .widgets.align_figure import sankey_figure

        return sankey_figure(self.card, self._frames["features_a"], self._frames["features_b"])

    def _static(self, live: bool) -> str:
        from .widgets.html import result_html

        return result_html(self.card, {"pairs": self._frames["pairs"]}, live=live)

    def summary(self) -> str:
        from .widgets.align import summary_lines

        return "\n  ".join(summary_lines(self.card))

    def write(self) -> None:
        """Write card, tables, map and arrays into the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name, file in FILES.items():
            write_frame(self._frames[name], self.path / file)
        with whole_file(self.path / ARRAYS) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **self._arrays)  # type: ignore[arg-type]
        write_json(self.path / MAP, self._map())
        write_card(self.card, self.path / "card.json")

    def _map(self) -> dict[str, Any]:
        """What another program needs: partners both ways, cosines and classes, one entry a feature."""
        sides = {side: self._frames[f"features_{side}"] for side in "ab"}
        return {
            "format": "aquin-nb/feature-map",
            "version": 1,
            "on": self.card.on,
            **{side: getattr(self.card, side).model_dump() for side in "ab"},
            "a_to_b": _json_list(sides["a"]["partner"]),
            "b_to_a": _json_list(sides["b"]["partner"]),
            "cosine_a": _json_list(sides["a"]["cosine"]),
            "cosine_b": _json_list(sides["b"]["cosine"]),
            "class_a": sides["a"]["class"].tolist(),
            "class_b": sides["b"]["class"].tolist(),
        }


def open_alignment(path: str | Path) -> SaeAlign:
    """Open the folder of an alignment as `sae_align` returned it; needs no torch.

    Raises:
        StoreError: not an alignment, or a file of it is missing or damaged.

    >>> open_alignment("align/seeds").translate(17)   # doctest: +SKIP
    """
    import pandas as pd

    folder = Path(path).expanduser()
    folder = folder.parent if folder.name == "card.json" else folder
    card = read_card(folder / "card.json", SaeAlignCard)
    frames = {}
    for name, file in FILES.items():
        try:
            frame = pd.read_csv(folder / file, dtype={"members": str})
            for column in INTEGERS:
                if column in frame:
                    frame[column] = frame[column].astype("Int64")
            if "members" in frame:
                frame["members"] = frame["members"].fillna("")
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"{folder / file} cannot be read: {error}") from error
        frames[name] = frame
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{folder / ARRAYS} cannot be read: {error}") from error
    return SaeAlign(folder, card, frames, arrays)


def _json_list(column: pd.Series[Any]) -> list[Any]:
    return [None if missing else value for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)]


def _require_width(width: int, wanted: int, name: str) -> None:
    if width != wanted:
        raise DictionaryError(f"{name} has {wanted:,} features, but the activations are of {width:,}.")
