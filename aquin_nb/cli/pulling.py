"""`pull`: public dictionaries onto this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from .invocation import Done
from .options import ModelOption
from .output import complain
from .state import recall
from .verb import group, verb

app = group("Download public dictionaries.")


@verb(app, "sae", "aquin-nb pull sae gpt2 --layer 7")
def pull_sae(
    slug: Annotated[
        str, typer.Argument(help="gpt2, or owner/repository/folder on the hub, as SAELens or aquin-nb wrote it")
    ],
    layer: Annotated[int | None, typer.Option("--layer", help="which one of a model's")] = None,
    model: ModelOption = None,
) -> Done:
    """Download a public dictionary once; `aquin-nb load sae --public LAYER` binds it."""
    from ..engine.sae.public import pull_dictionary
    from ..progress import visible

    state = recall()
    ours = model or (state.model.name if state is not None and state.model is not None else None)
    with visible(f"Pulling {slug}") as control:
        sae, notes = pull_dictionary(slug, layer=layer, model=ours, control=control)
    for note in notes:
        complain(f"note: {note}")
    said = f"{sae!r} is in {sae.path}; bind it by `aquin-nb load sae --public {sae.cfg.layer}`."
    return Done(said, sae, path=str(sae.path), data={"layer": sae.cfg.layer, "model": sae.cfg.model, "notes": notes})
