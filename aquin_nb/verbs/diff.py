"""`session.sae.diff`: a fine-tuned checkpoint through the bound dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import home
from ..cards import FeatureDelta, SaeDiffCard
from ..difference import SaeDiff
from ..engine.activations.probes import read_probes
from ..engine.analysis.diff import diff
from ..engine.sae import SparseAutoencoder
from ..errors import DictionaryError
from ..files import claim_folder, refuse_taken
from ..progress import visible
from ..records import dictionary_ref, model_ref, write_card, write_frame
from ..results import SaeTrain
from .align import as_dictionary

if TYPE_CHECKING:
    from ..session import Session

LISTED = 50


def sae_diff(
    session: Session,
    checkpoint: str | Path,
    prompts: str | Path | Sequence[Any],
    *,
    layer: int | None = None,
    sae: SparseAutoencoder | SaeTrain | str | Path | None = None,
    name: str | None = None,
    output: str | Path | None = None,
) -> SaeDiff:
    """See `SaeVerbs.diff`."""
    if sae is None:
        dictionary, bound_layer = session.bound()
        at = bound_layer if layer is None else layer
    else:
        dictionary = as_dictionary(sae)
        found = layer if layer is not None else dictionary.cfg.layer
        if found is None:
            raise DictionaryError("The dictionary does not say which layer it reads; pass layer=.")
        at = found
    at = session.model.check_layer(at)
    probes = read_probes(prompts)
    run = name or home.run_name("diff")
    folder = Path(output).expanduser() if output is not None else home.results_dir("diff") / home.slugify(run)
    refuse_taken(folder, "card.json")
    card = SaeDiffCard(name=run, layer=at, dictionary=dictionary_ref(dictionary))
    card.start()
    with visible("Comparing base and checkpoint") as control:
        tuned = session.tuned(checkpoint)
        card.model = model_ref(tuned.info)
        result = diff(
            session.model, tuned, [p.text for p in probes], dictionary.to(session.model.device), at, control=control
        )
    frame = result.frame
    size = frame["delta"].abs()
    card.n_prompts, card.n_tokens, card.n_features = result.n_prompts, result.n_tokens, len(frame)
    card.n_changed, card.threshold = int(frame["changed"].sum()), result.threshold
    card.mean_abs_delta, card.max_abs_delta = float(size.mean()), float(size.max())
    card.fvu_base, card.fvu_checkpoint = result.fvu_base, result.fvu_checkpoint
    top = frame.loc[size.sort_values(ascending=False, kind="stable").index[:LISTED]]
    card.top = [FeatureDelta.model_validate(row) for row in top.drop(columns="changed").to_dict("records")]
    card.notes = result.notes
    card.finish("completed")
    claim_folder(folder, "card.json")
    write_frame(frame, folder / "features.csv")
    write_card(card, folder / "card.json")
    return SaeDiff(folder, card, frame)
