"""Options that several commands share, by the name they have everywhere."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..errors import AquinError

MODEL, TEXT, TRAINING, OUTPUT = "Model", "Text and activations", "Dictionary and training", "Output"
"""Under which the help lists them."""

Backend = Literal["transformer-lens", "huggingface"]
Architecture = Literal["topk", "batchtopk", "relu", "jumprelu", "gated", "matryoshka"]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="slug, hub id, folder or GGUF file; default: the one that is loaded", rich_help_panel=MODEL
    ),
]
NewModelOption = Annotated[
    str | None, typer.Option("--model", help="slug, hub id, folder or GGUF file", rich_help_panel=MODEL)
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N", rich_help_panel=MODEL)]
DtypeOption = Annotated[
    str | None,
    typer.Option("--dtype", help="of the model's weights: auto, float32, bfloat16 or float16", rich_help_panel=MODEL),
]
BackendOption = Annotated[
    Backend | None,
    typer.Option(
        "--backend", metavar="NAME", help="what runs the model: transformer-lens or huggingface", rich_help_panel=MODEL
    ),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="names the run; default: the verb and the time", rich_help_panel=OUTPUT)
]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", help="a place of your own; default: under $AQUIN_HOME, by name", rich_help_panel=OUTPUT),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="go on with what --name or --output holds, stopped or killed", rich_help_panel=OUTPUT
    ),
]
PromptsOption = Annotated[
    str | None, typer.Option("--prompts", help="JSON or JSONL file; default: the built-in probes", rich_help_panel=TEXT)
]
CorpusOption = Annotated[
    str | None,
    typer.Option(
        "--corpus",
        help="a file, a folder, a hub name or packaged; default: OpenWebText, if reached",
        rich_help_panel=TEXT,
    ),
]
TextKeyOption = Annotated[
    str, typer.Option("--text-key", help="the key that holds the text of a row", rich_help_panel=TEXT)
]
ActivationsOption = Annotated[
    str | None,
    typer.Option(
        "--activations", help="train on these instead: a store, or for sae train a capture", rich_help_panel=TEXT
    ),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option("--checkpoint", help="a fine-tuned checkpoint instead of the base weights", rich_help_panel=MODEL),
]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", help="every other setting: a TOML, JSON or YAML file", rich_help_panel=TRAINING),
]
ArchitectureOption = Annotated[
    Architecture | None,
    typer.Option(
        "--architecture",
        metavar="KIND",
        help="topk (unless given), batchtopk, relu, jumprelu, gated or matryoshka",
        rich_help_panel=TRAINING,
    ),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="fewer rows and steps, to see that everything works", rich_help_panel=TRAINING)
]
TokensOption = Annotated[
    int | None, typer.Option("--tokens", help="rows of activations to collect, of each layer", rich_help_panel=TEXT)
]
DSaeOption = Annotated[
    int | None, typer.Option("--d-sae", help="width of the dictionary: how many features", rich_help_panel=TRAINING)
]
KOption = Annotated[
    int | None,
    typer.Option("--k", help="active features a row (L0) of the top-k architectures", rich_help_panel=TRAINING),
]
StepsOption = Annotated[int | None, typer.Option("--steps", help="of the optimiser", rich_help_panel=TRAINING)]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="of initial weights and the order of rows", rich_help_panel=TRAINING)
]
SaeOption = Annotated[str | None, typer.Option("--sae", help="dictionary file; default: the one that is bound")]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="end with exit status 3 when the verdict is smoke test only", rich_help_panel=OUTPUT),
]


def numbers(text: str) -> list[int]:
    """
    Raises:
        AquinError: anything but numbers.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise AquinError(f'--layers wants "all" or numbers such as 3,4,5, not {text!r}.') from None


def sites(text: str) -> list[int | str]:
    """Numbers of layers and names of hooks."""
    return [site(one.strip()) for one in text.split(",")]


def site(text: str) -> int | str:
    """A layer's number, or a hook."""
    return int(text) if text.isdecimal() else text
