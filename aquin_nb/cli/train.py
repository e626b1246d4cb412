"""`sae train`, `sae sweep` and `sae resume`: dictionaries learning their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AquinError
from .invocation import DONE, NOT_USABLE, Done, result_done, running
from .options import (
    TEXT,
    TRAINING,
    ActivationsOption,
    ArchitectureOption,
    BackendOption,
    CheckpointOption,
    ConfigOption,
    CorpusOption,
    DeviceOption,
    DSaeOption,
    DtypeOption,
    KOption,
    ModelOption,
    NameOption,
    OutputOption,
    QuickOption,
    ResumeOption,
    SeedOption,
    StepsOption,
    StrictOption,
    TextKeyOption,
    TokensOption,
    site,
    sites,
)
from .usage import UsageError
from .verb import group, verb

if TYPE_CHECKING:
    from ..results import SaeTrain

app = group("Train, sweep, diff and align dictionaries.")


@verb(app, "train", "aquin-nb sae train --layer 3 --quick --name first")
def train(
    model: ModelOption = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="a number, or a hook such as blocks.3.hook_mlp_out")
    ] = None,
    corpus: CorpusOption = None,
    text_key: TextKeyOption = "text",
    activations: ActivationsOption = None,
    checkpoint: CheckpointOption = None,
    quick: QuickOption = False,
    config: ConfigOption = None,
    resume: ResumeOption = False,
    strict: StrictOption = False,
    tokens: TokensOption = None,
    d_sae: DSaeOption = None,
    k: KOption = None,
    steps: StepsOption = None,
    epochs: Annotated[
        float | None,
        typer.Option("--epochs", help="how often each row is seen; instead of --steps", rich_help_panel=TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="rows a step", rich_help_panel=TRAINING)
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="learning rate", rich_help_panel=TRAINING)] = None,
    sparsity_coefficient: Annotated[
        float | None,
        typer.Option("--sparsity-coefficient", help="for relu, jumprelu and gated", rich_help_panel=TRAINING),
    ] = None,
    seed: SeedOption = None,
    architecture: ArchitectureOption = None,
    no_keep: Annotated[
        bool,
        typer.Option(
            "--no-keep-activations",
            help="write no activations to disk; make them while it trains",
            rich_help_panel=TEXT,
        ),
    ] = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    backend: BackendOption = None,
    name: NameOption = None,
    output: OutputOption = None,
) -> Done:
    """Train a dictionary; Ctrl-C stops it with what it has, and --resume goes on."""
    from ..progress import attend

    if resume:
        again = output or name
        if again is None:
            raise UsageError("--resume wants the --name or the --output of the training to go on with.")
        return _judged(_resumed(again, model, device, dtype, backend, corpus, config, by_name=output is None), strict)
    session = running().front.session(model, device, dtype, backend, bind=False)
    job = session.sae.train(
        None if layer is None else site(layer), config=config, corpus=corpus, text_key=text_key,
        activations=activations, checkpoint=checkpoint, tokens=tokens, keep_activations=not no_keep, quick=quick,
        architecture=architecture, d_sae=d_sae, k=k, sparsity_coefficient=sparsity_coefficient, lr=lr, steps=steps,
        epochs=epochs, batch_size=batch_size, seed=seed, name=name, output=output,
    )  # fmt: skip
    return _judged(attend(job), strict)


@verb(app, "resume", "aquin-nb sae resume first --model tiny")
def resume(
    output: Annotated[str, typer.Argument(help="the .pt that it was to write, or a training's name")],
    model: ModelOption = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", help="of a training without kept activations, where it is not found again")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", help="checked to be the one that the run began with")
    ] = None,
    strict: StrictOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    backend: BackendOption = None,
) -> Done:
    """Go on with a training that was stopped or killed."""
    by_name = model is not None or not output.endswith((".pt", ".checkpoints"))
    return _judged(_resumed(output, model, device, dtype, backend, corpus, config, by_name=by_name), strict)


def _resumed(
    output: str, model: str | None, device: str | None, dtype: str | None, backend: str | None,
    corpus: str | None, config: str | None, *, by_name: bool,
) -> SaeTrain:  # fmt: skip
    from ..progress import attend
    from ..verbs.bare import sae_resume

    if by_name:
        session = running().front.session(model, device, dtype, backend, bind=False)
        return attend(session.sae.resume(output, config=config, corpus=corpus))
    if corpus is not None:
        raise AquinError("--corpus is for a training without kept activations, which needs its --model and its name.")
    running().front.alone()
    return sae_resume(output, config=config)


def _judged(found: SaeTrain, strict: bool) -> Done:
    done = result_done(found, verdict=found.card.verdict, reasons=found.card.reasons)
    done.exit_code = NOT_USABLE if strict and found.card.verdict == "smoke test only" else DONE
    return done


@verb(app, "sweep", "aquin-nb sae sweep --layers 1,2,3 --quick")
def sweep(
    model: ModelOption = None,
    layers: Annotated[str, typer.Option("--layers", help="all, numbers or hooks: 3,7,blocks.3.hook_mlp_out")] = "all",
    corpus: CorpusOption = None,
    text_key: TextKeyOption = "text",
    activations: ActivationsOption = None,
    config: ConfigOption = None,
    tokens: TokensOption = None,
    d_sae: DSaeOption = None,
    k: KOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    architecture: ArchitectureOption = None,
    quick: QuickOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    backend: BackendOption = None,
    name: NameOption = None,
    output: OutputOption = None,
) -> Done:
    """One small dictionary a layer, over one pass of the same tokens."""
    from ..progress import attend
    from ..widgets.sweep_figure import numbered

    chosen = "all" if layers == "all" else sites(layers)
    session = running().front.session(model, device, dtype, backend, bind=False)
    job = session.sae.sweep(
        chosen, corpus=corpus, text_key=text_key, activations=activations, tokens=tokens, config=config, quick=quick,
        architecture=architecture, d_sae=d_sae, k=k, steps=steps, seed=seed, name=name, output=output,
    )  # fmt: skip
    found = attend(job)
    named = ["layer"] if numbered(found.frame) else ["hook"]
    columns = [*named, "fvu", "recon_mse", "cosine", "l0", "dead_share", "mean_norm", "verdict"]
    table = found.frame[columns].to_string(index=False, float_format=lambda value: f"{value:.4g}")
    return result_done(found, f"{table}\n{found!r}")
