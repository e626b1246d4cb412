"""`sae_align`: two dictionaries matched one to one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .. import home
from ..alignment import SaeAlign
from ..cards import FeaturePair, SaeAlignCard
from ..engine.analysis.align import align
from ..engine.sae import SparseAutoencoder, load_dictionary
from ..files import claim_folder, refuse_taken
from ..jobs import Job
from ..progress import visible
from ..records import dictionary_ref, write_card, write_frame
from ..results import SaeTrain

if TYPE_CHECKING:
    import pandas as pd

LISTED = 50


def as_dictionary(given: SparseAutoencoder | SaeTrain | Job[SaeTrain] | str | Path) -> SparseAutoencoder:
    """A dictionary from itself, a training's result or finished job, or a path.

    Raises:
        DictionaryError: the path holds no dictionary.
    """
    if isinstance(given, Job):
        given = given.result
    if isinstance(given, SaeTrain):
        return given.dictionary
    if isinstance(given, SparseAutoencoder):
        return given
    return load_dictionary(given)


def sae_align(
    a: SparseAutoencoder | SaeTrain | str | Path,
    b: SparseAutoencoder | SaeTrain | str | Path,
    *,
    max_features: int | None = None,
    name: str | None = None,
    output: str | Path | None = None,
) -> SaeAlign:
    """Match the features of two dictionaries one to one by the cosine of their decoder rows; exact.

    Args:
        a, b: dictionaries, results of `sae.train`, or paths. They may differ in width (d_sae), not in d_out.
        max_features: match only the first that many of each.
        output: a folder that does not exist yet or is empty; default `$AQUIN_HOME/align/<name>`.

    Raises:
        DictionaryError: unreadable, or of different d_out.
        OutOfMemory: too many features for the dense solver; says what max_features would fit.
        OutputError: the folder holds something else.

    >>> sae_align("seed0/sae_layer10.pt", "seed1/sae_layer10.pt").mean_cosine   # doctest: +SKIP
    """
    left, right = as_dictionary(a), as_dictionary(b)
    run = name or home.run_name("align")
    folder = Path(output).expanduser() if output is not None else home.results_dir("align") / home.slugify(run)
    refuse_taken(folder, "card.json")
    card = SaeAlignCard(name=run, a=dictionary_ref(left), b=dictionary_ref(right))
    card.start()
    with visible("Aligning") as control:
        found = align(left, right, max_features=max_features, control=control)
    frame = found.frame
    cosine = frame["cosine"]
    card.n_pairs, card.zero_a, card.zero_b = len(frame), found.zero_a, found.zero_b
    card.mean_cosine, card.median_cosine = found.mean_cosine, float(cosine.median())
    card.share_above_0_7, card.share_above_0_9 = float((cosine >= 0.7).mean()), float((cosine >= 0.9).mean())
    card.objective, card.bound, card.gap = found.objective, found.bound, found.gap
    card.histogram = found.histogram()
    ordered = frame.sort_values("cosine", kind="stable")
    card.weakest, card.strongest = _pairs(ordered.head(LISTED)), _pairs(ordered[::-1].head(LISTED))
    card.notes = found.notes
    card.finish("completed")
    claim_folder(folder, "card.json")
    write_frame(frame, folder / "map.csv")
    write_card(card, folder / "card.json")
    return SaeAlign(folder, card, frame)


def _pairs(frame: pd.DataFrame) -> list[FeaturePair]:
    return [FeaturePair.model_validate(row) for row in frame[["a", "b", "cosine"]].to_dict("records")]
