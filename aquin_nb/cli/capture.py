"""`capture-activations` and `collect-activations`: labelled probes, and a corpus to train on."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from ..errors import AquinError
from .invocation import Done, result_done, running
from .options import (
    BackendOption,
    CheckpointOption,
    CorpusOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    NameOption,
    OutputOption,
    PromptsOption,
    ResumeOption,
    SaeOption,
    TextKeyOption,
    TokensOption,
    numbers,
    sites,
)
from .verb import WORK, verb


def add(app: typer.Typer) -> None:
    """Add the commands that run text through a model."""
    verb(app, "capture-activations", "aquin-nb capture-activations --topic sentiment --count 12 --layers 2,3", WORK)(
        capture
    )
    verb(app, "collect-activations", "aquin-nb collect-activations --layers 3 --corpus texts.jsonl --name kept", WORK)(
        collect
    )


def capture(
    model: ModelOption = None,
    prompts: PromptsOption = None,
    topic: Annotated[str, typer.Option("--topic", help="of the built-in probes")] = "general knowledge",
    count: Annotated[int, typer.Option("--count", help="how many built-in probes")] = 6,
    layers: Annotated[str, typer.Option("--layers", help="all, or numbers: 3,4,5")] = "all",
    position: Annotated[
        Literal["last", "mean"] | None, typer.Option("--position", help="the last token, or the mean over tokens")
    ] = None,
    checkpoint: CheckpointOption = None,
    encode_sae: Annotated[
        bool, typer.Option("--encode-sae", help="also store the probes' features under the dictionary")
    ] = False,
    sae: SaeOption = None,
    sae_layer: Annotated[
        int | None, typer.Option("--sae-layer", help="layer to encode; default: the dictionary's own")
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    backend: BackendOption = None,
    name: NameOption = None,
    output: OutputOption = None,
) -> Done:
    """Capture labelled probes: one vector a probe and layer."""
    chosen = "all" if layers == "all" else numbers(layers)
    if not encode_sae and (sae is not None or sae_layer is not None):
        raise AquinError("--sae and --sae-layer do nothing without --encode-sae.")
    session = running().front.session(model, device, dtype, backend, bind=encode_sae and sae is None)
    if encode_sae and sae is not None:
        session.load_sae(path=sae, layer=sae_layer)
    if encode_sae and session.dictionary is None:
        raise AquinError(
            "--encode-sae needs a dictionary: add --sae PATH, or bind one: `aquin-nb load sae --user NAME`."
        )
    found = session.capture_activations(
        prompts, count=count, topic=topic, layers=chosen, position=position, checkpoint=checkpoint,
        encode_sae=encode_sae, sae_layer=sae_layer if encode_sae else None, name=name, output=output,
    )  # fmt: skip
    return result_done(found)


def collect(
    model: ModelOption = None,
    layers: Annotated[
        str | None,
        typer.Option("--layers", help="numbers or hooks: 3,7 or blocks.3.hook_mlp_out; default: the catalogue's"),
    ] = None,
    corpus: CorpusOption = None,
    text_key: TextKeyOption = "text",
    checkpoint: CheckpointOption = None,
    tokens: TokensOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="shuffles the documents")] = None,
    context_size: Annotated[
        int | None, typer.Option("--context-size", help="tokens a row of the model's input")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="rows a forward pass")] = None,
    stored: Annotated[str, typer.Option("--dtype", help="on disk: auto, float16, bfloat16 or float32")] = "auto",
    resume: ResumeOption = False,
    device: DeviceOption = None,
    model_dtype: Annotated[str | None, typer.Option("--model-dtype", help="of the model's weights")] = None,
    backend: BackendOption = None,
    name: NameOption = None,
    output: OutputOption = None,
) -> Done:
    """Keep a corpus' activations on disk, to train on."""
    from ..engine.activations.contexts import EXCLUDE
    from ..progress import attend
    from ..verbs.collect import collect_activations
    from ..verbs.ranks import rank_of

    rank = rank_of(os.environ)
    if rank is not None:
        if name is None and output is None:
            raise AquinError("Several processes collect into one place: say which by --name or --output.")
        device = rank.device(device or "auto")
    chosen = None if layers is None else sites(layers)
    session = running().front.session(model, device, model_dtype, backend, bind=False)
    job = collect_activations(
        session, corpus, layers=chosen, tokens=tokens, text_key=text_key, token_key=None, split="train", seed=seed,
        context_size=context_size, batch_size=batch_size, pack=None, bos=None, exclude=EXCLUDE, dtype=stored,
        checkpoint=checkpoint, name=name, output=output, resume=resume, part=None if rank is None else rank[:2],
    )  # fmt: skip
    found = attend(job)
    if rank is not None and not found.card.complete:
        part = f"Part {rank.rank} of {rank.world} is complete; the last process to end makes them one store."
        return result_done(found, part, part=rank.rank, parts=rank.world)
    return result_done(found)
