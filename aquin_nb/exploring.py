"""The explorer of an alignment: what its view carries, what it asks the kernel, passages on demand, annotations."""

from __future__ import annotations

import json
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from .annotations import Annotations
from .cards import SaeAlignCard
from .errors import AquinError, DictionaryError, SelectionError, StoreError
from .results import Result

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .engine.models import Model
    from .engine.sae import SparseAutoencoder
    from .widgets.selection import Selection
    from .widgets.views.align_map import AlignMap, Directions

ROWS: Final = 32_768
"""Rows of activations that the explorer looks through for the passages of a feature."""
SECONDS: Final = 5.0  # and for how long, each side
PART: Final = 4096  # rows between two looks at the clock
TOP, WINDOW = 4, 10
EMBEDDED: Final = 8_000  # characters of annotations in the page, the latest ones; the kernel has them all


@dataclass(frozen=True, eq=False)
class Reading:
    """Where passages are looked for: a store's rows, or texts run through the model."""

    activations: Any
    texts: Sequence[str] | None
    model: Model | None


class Explored(Result):
    """What `SaeAlign` adds to a result for its explorer."""

    card: SaeAlignCard
    path: Path
    selects: ClassVar[tuple[str, ...]] = ("features", "features_b")
    _frames: dict[str, pd.DataFrame]
    _arrays: dict[str, np.ndarray]
    _dictionaries: tuple[SparseAutoencoder, SparseAutoencoder] | None
    _reading: Reading | None = None

    @property
    @abstractmethod
    def dictionaries(self) -> tuple[SparseAutoencoder, SparseAutoencoder]: ...

    @property
    @abstractmethod
    def neighbours(self) -> dict[str, tuple[np.ndarray, np.ndarray]]: ...

    def explore(
        self, activations: Any = None, *, texts: Sequence[str] | None = None, model: Model | None = None
    ) -> Self:
        """The same alignment, whose explorer can show the passages on which a pair fires most; needs torch.

        An alignment that was made with `activations=` or `texts=` has them already.

        Args:
            activations: a store of the tokens' activations (folder, result, or `Store`).
            texts: instead, texts to run through the model.
            model: the loaded model (`session.model`), whose tokeniser the tokens are read with.

        Raises:
            DictionaryError: neither activations nor texts, both, or texts without a model.

        >>> alignment.explore("activations/overnight", model=session.model)   # doctest: +SKIP
        """
        if (activations is None) == (texts is None):
            raise DictionaryError("Give either activations (a store with its texts' tokens) or texts, and model=.")
        if texts is not None and model is None:
            raise DictionaryError("texts need model=, the loaded model to run them through (session.model).")
        self._reading = Reading(activations, texts, model)
        self._push("reading", {"can": True})
        return self

    @property
    def annotations(self) -> pd.DataFrame:
        """What people said of pairs: `a, b, verdict, note, at, class, cosine`, in the order in which it was said.

        verdict is "accepted", "flagged" or "". b (or a) is missing for a feature without a partner.

        Raises:
            StoreError: `annotations.json` beside the alignment cannot be read.
        """
        import pandas as pd

        found = pd.DataFrame(self._annotations.entries(), columns=["a", "b", "verdict", "note", "at"])
        found = found.astype({"a": "Int64", "b": "Int64"})
        features = self._frames["features_a"]
        found["class"] = [None if a is pd.NA else features["class"].iloc[int(a)] for a in found["a"]]
        cosine = self._frames["pairs"][["a", "b", "cosine"]].astype({"a": "Int64", "b": "Int64"})
        return found.merge(cosine, on=["a", "b"], how="left")

    def annotate(self, a: int | None, b: int | None = None, verdict: str = "", note: str = "") -> None:
        """Accept or flag a pair, or remark on it; neither verdict nor note takes back what was said.

        It is kept in `annotations.json` beside the alignment, and shown in every open view of it.

        Args:
            a: a feature of a. b: of b; for a feature of its own leave the other out.
            verdict: "accepted", "flagged" or "".

        Raises:
            DictionaryError: no such feature or verdict. OutputError: the file cannot be written.

        >>> alignment.annotate(17, 203, "flagged", "203 fires on code only")   # doctest: +SKIP
        """
        self._annotations.put(a, b, verdict, note)

    @cached_property
    def _annotations(self) -> Annotations:
        notes = Annotations(self.path / "annotations.json", (self.card.n_a, self.card.n_b))
        notes.listen(lambda told: self._push("annotations", told))
        return notes

    def _push(self, topic: str, data: dict[str, Any]) -> None:
        """Tell the views of this result that are open."""
        if "_served" in self.__dict__:
            self._served.push(topic, data)

    @cached_property
    def _atlas(self) -> AlignMap:
        from .widgets.views.align_map import AlignMap

        labels = tuple(self._arrays[f"cluster_{side}"] for side in "ab" if f"cluster_{side}" in self._arrays)
        frames = self._frames["features_a"], self._frames["features_b"]
        known = (labels[0], labels[1]) if len(labels) == 2 else None
        return AlignMap(frames, self.neighbours, known, self._loader.now)

    @cached_property
    def _loader(self) -> Loader:
        return Loader(self._read_directions, lambda: self._push("map", {"why": self._loader.why}))

    def _read_directions(self) -> tuple[Directions, Directions]:
        from .widgets.views.align_map import Directions

        if self.card.on == "firings":
            raise DictionaryError(
                "By firings only the 8 most similar features of each are known: elsewhere the map is blank."
            )
        encoder = self.card.on == "encoder"
        a, b = (
            Directions.of((sae.W_enc.T if encoder else sae.W_dec).detach().float().cpu().numpy())
            for sae in self.dictionaries
        )
        return a, b

    def _view(self) -> tuple[str, dict[str, Any]] | None:
        from .widgets.views.align import align_data

        try:
            entries, trouble = self._annotations.entries(), ""
        except AquinError as error:
            entries, trouble = [], str(error)
        data = align_data(self.card, self._frames, self.neighbours, self._arrays, self._atlas, _latest(entries))
        return "align", data | {"trouble": trouble, "reading": self._reading is not None}

    def _answers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        from .widgets.views.align import align_answers

        answers = align_answers(self._frames, self.neighbours, self._atlas)
        tiles, looked = answers["tiles"], Passages(self)

        def annotate(params: dict[str, Any]) -> dict[str, Any]:
            verdict, note = params.get("verdict", ""), params.get("note", "")
            self._annotations.put(params.get("a"), params.get("b"), verdict, note)
            return self._annotations.told()

        return answers | {
            "tiles": lambda params: tiles(params) | {"why": self._loader.why},
            "annotate": annotate,
            "annotations": lambda _params: self._annotations.told(),
            "texts": looked.answer,
        }

    def _rows_of(self, selection: Selection) -> pd.DataFrame:
        frame = self._frames["features_b" if selection.of == "features_b" else "features_a"]
        wrong = [one for one in selection.ids if one >= len(frame)]
        if wrong:
            raise SelectionError(f"There are the {selection.of} 0 to {len(frame) - 1}, not {wrong[0]}.")
        return frame.iloc[list(selection.ids)]


def _latest(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    left, kept = EMBEDDED, []
    for entry in reversed(entries):
        left -= len(json.dumps(entry))
        if left < 0:
            break
        kept.append(entry)
    return kept[::-1]


class Loader:
    """Reads the directions once: at once when they are wanted, on a thread of its own, so that tiles need not wait.

    why: a sentence while they are not at hand, else "".
    """

    def __init__(
        self, read: Callable[[], tuple[Directions, Directions]], changed: Callable[[], None], wait: float = 0.6
    ) -> None:
        self._read, self._changed, self._wait = read, changed, wait
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._found: tuple[Directions, Directions] | None = None
        self.why = ""

    def now(self) -> tuple[Directions, Directions] | None:
        """The directions; None while they are being read, or when they cannot be."""
        with self._lock:
            if self._thread is None:
                self.why = "The dictionaries are being read: until then the map shows nearest neighbours only."
                self._thread = threading.Thread(target=self._work, name="aquin-directions", daemon=True)
                self._thread.start()
                self._thread.join(self._wait)  # those in memory are ready by then
        return self._found

    def _work(self) -> None:
        try:
            self._found, why = self._read(), ""
        except AquinError as error:
            why = str(error)
        except Exception as error:
            why = f"The dictionaries could not be read: {type(error).__name__}: {error}"
        self.why = why
        self._changed()


class Passages:
    """Answers which passages turn the features of a pair on most; the last ones are kept."""

    KEPT: ClassVar[int] = 200

    def __init__(self, alignment: Explored) -> None:
        self._of = alignment
        self._lock = threading.Lock()  # one search at a time: it takes the cores, and models are not for two threads
        self._found: dict[tuple[Reading, int, int], tuple[dict[str, Any], int]] = {}

    def answer(self, params: dict[str, Any]) -> dict[str, Any]:
        """Params a and b: features or None. `{"a": columns, "b": columns, "rows": looked through, "whole": all}`."""
        reading = self._of._reading
        if reading is None:
            raise StoreError(
                "No texts are known to look for passages in: show alignment.explore(texts=[…], model=session.model), or"
                " alignment.explore(activations, model=session.model) for a store."
            )
        sides: dict[str, Any] = {"a": None, "b": None, "rows": 0}
        for at, (side, width) in enumerate((("a", self._of.card.a.d_sae), ("b", self._of.card.b.d_sae))):
            feature = params.get(side)
            if feature is None:
                continue
            if isinstance(feature, bool) or not isinstance(feature, int) or not 0 <= feature < width:
                raise DictionaryError(f"{side} has the features 0 to {width - 1}, not {feature!r:.40}.")
            with self._lock:
                key = (reading, at, feature)
                if key not in self._found:
                    while len(self._found) >= self.KEPT:
                        self._found.pop(next(iter(self._found)))
                    self._found[key] = self._look(reading, at, feature)
                sides[side], rows = self._found[key]
            sides["rows"] = max(sides["rows"], rows)
        return sides

    def _look(self, reading: Reading, at: int, feature: int) -> tuple[dict[str, Any], int]:
        from .engine.analysis.alignment.passages import Rows, store_batches, text_batches, top_passages
        from .top_texts import site_of
        from .widgets.pack import columns

        sae = self._of.dictionaries[at]
        if reading.texts is not None and reading.model is not None:
            batches = text_batches(reading.model, reading.texts, sae)
        else:
            batches = store_batches(site_of(reading.activations, sae))
        seen, until = 0, time.monotonic() + SECONDS

        def bounded() -> Iterator[Rows]:
            nonlocal seen
            for batch in batches:
                for start in range(0, len(batch.x), PART):
                    cut = slice(start, min(start + PART, start + ROWS - seen))
                    places = batch.documents[cut], batch.positions[cut]
                    yield Rows(batch.x[cut], batch.ids[cut], *places, batch.strings[cut])
                    seen += len(places[0])
                    if seen >= ROWS or time.monotonic() > until:
                        return

        found = top_passages(sae, bounded(), [feature], model=reading.model, top=TOP, window=WINDOW)
        return columns(found, ["activation", "before", "token", "after", "document", "position"]), seen
