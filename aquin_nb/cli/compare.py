"""`sae diff`, `sae trajectory` and `sae align`: what training moved, and what two dictionaries share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import AquinError
from .invocation import Done, result_done, running
from .options import (
    BackendOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    NameOption,
    OutputOption,
    PromptsOption,
    SaeOption,
)
from .output import complain
from .usage import UsageError
from .verb import verb

if TYPE_CHECKING:
    from ..session import Session

LayerOption = Annotated[int | None, typer.Option("--layer", help="default: the dictionary's own")]
ThresholdOption = Annotated[
    float | None, typer.Option("--threshold", help="|delta| from which a feature counts as changed")
]
FdrOption = Annotated[float, typer.Option("--fdr", help="false discovery rate of changed features")]
Tuned = ".pt, .safetensors, folder of weights, LoRA adapter or slug"


def add(app: typer.Typer) -> None:
    """Add the commands that compare to `sae`."""
    verb(app, "diff", "aquin-nb sae diff --checkpoint tuned.pt --prompts probes.jsonl")(diff)
    verb(app, "trajectory", "aquin-nb sae trajectory probes.jsonl step100.pt step200.pt")(trajectory)
    verb(app, "align", "aquin-nb sae align --sae-a seed0/sae_layer3.pt --sae-b seed1/sae_layer3.pt")(align)


def diff(
    given_checkpoint: Annotated[
        str | None, typer.Argument(metavar="[CHECKPOINT]", help=f"or --checkpoint: {Tuned}")
    ] = None,
    given_prompts: Annotated[str | None, typer.Argument(metavar="[PROMPTS]", help="or --prompts")] = None,
    model: ModelOption = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help=Tuned)] = None,
    prompts: PromptsOption = None,
    layer: LayerOption = None,
    sae: SaeOption = None,
    by: Annotated[
        str | None, typer.Option("--by", help="a metadata key of the prompts: compare each of its values too")
    ] = None,
    threshold: ThresholdOption = None,
    fdr: FdrOption = 0.05,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    backend: BackendOption = None,
    name: NameOption = None,
    output: OutputOption = None,
) -> Done:
    """A fine-tuned checkpoint through a dictionary, beside its base."""
    tuned = _one("checkpoint", given_checkpoint, checkpoint)
    if tuned is None:
        raise UsageError("Missing option '--checkpoint'. Example: aquin-nb sae diff --checkpoint tuned.pt")
    asked: Any = _one("prompts", given_prompts, prompts)
    session = _bound(model, device, dtype, backend, sae)
    if asked is None:
        asked = _builtin()
    found = session.sae.diff(
        tuned, asked, layer=layer, sae=sae, by=by, threshold=threshold, fdr=fdr, name=name, output=output
    )
    return result_done(found)


def trajectory(
    prompts: Annotated[str, typer.Argument(help="JSON or JSONL file")],
    checkpoints: Annotated[list[str], typer.Argument(help=f"several of them: {Tuned}")],
    model: ModelOption = None,
    layer: LayerOption = None,
    sae: SaeOption = None,
    threshold: ThresholdOption = None,
    fdr: FdrOption = 0.05,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    backend: BackendOption = None,
    name: NameOption = None,
    output: OutputOption = None,
) -> Done:
    """Several checkpoints of a training run through a dictionary."""
    session = _bound(model, device, dtype, backend, sae)
    found = session.sae.trajectory(
        checkpoints, prompts, layer=layer, sae=sae, threshold=threshold, fdr=fdr, name=name, output=output
    )
    return result_done(found)


def align(
    given_a: Annotated[str | None, typer.Argument(metavar="[A]", help="or --sae-a: a dictionary file")] = None,
    given_b: Annotated[str | None, typer.Argument(metavar="[B]", help="or --sae-b: another one")] = None,
    sae_a: Annotated[str | None, typer.Option("--sae-a", help="a dictionary file")] = None,
    sae_b: Annotated[str | None, typer.Option("--sae-b", help="another one")] = None,
    on: Annotated[
        Literal["decoder", "encoder", "both", "firings"], typer.Option("--on", help="what is compared")
    ] = "decoder",
    activations: Annotated[
        str | None,
        typer.Option("--activations", help="a store or capture to encode: tells dead features; for --on firings"),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", help="how many of its rows")] = 32_768,
    max_features: Annotated[int | None, typer.Option("--max-features", help="only the first that many of each")] = None,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", help="seconds; then the best so far, with its proven gap")
    ] = None,
    name: NameOption = None,
    output: OutputOption = None,
) -> Done:
    """Match the features of two dictionaries one to one."""
    a, b = _one("sae-a", given_a, sae_a), _one("sae-b", given_b, sae_b)
    if a is None or b is None:
        missing = "--sae-a" if a is None else "--sae-b"
        raise UsageError(f"Missing option '{missing}'. Example: aquin-nb sae align --sae-a one.pt --sae-b other.pt")
    from ..session import sae_align

    running().front.alone()
    found = sae_align(
        a, b, on=on, activations=activations, rows=rows, max_features=max_features, time_limit=time_limit, name=name,
        output=output,
    )  # fmt: skip
    return result_done(found)


def _one(name: str, positional: str | None, option: str | None) -> str | None:
    """What is given once, as an argument or an option.

    Raises:
        UsageError: given twice.
    """
    if positional is not None and option is not None:
        raise UsageError(f"{positional!r} and --{name} {option} both name one thing; give one of them.")
    return positional if option is None else option


def _bound(model: str | None, device: str | None, dtype: str | None, backend: str | None, sae: str | None) -> Session:
    session = running().front.session(model, device, dtype, backend, bind=sae is None)
    if sae is None and session.dictionary is None:
        raise AquinError("No dictionary is bound: `aquin-nb load sae --user NAME` binds one, or give --sae FILE.")
    return session


def _builtin() -> list[Any]:
    from ..engine.activations.probes import builtin_probes

    complain("note: the 24 built-in probes of general knowledge are compared; give --prompts FILE for your own.")
    return list(builtin_probes(count=24))
