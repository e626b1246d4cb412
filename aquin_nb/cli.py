"""`aquin-nb`: the same verbs, the same words, in a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from .errors import AquinError, Cancelled


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 for an error a person can act on, 130 when interrupted."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except Cancelled as error:
        print(f"aquin-nb: {error}", file=sys.stderr)
        return 130
    except AquinError as error:
        print(f"aquin-nb: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("aquin_nb"):
            raise
        print(f"aquin-nb: this command needs {error.name}: pip install 'aquin-nb[engine]'.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("aquin-nb: interrupted.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aquin-nb", description="Sparse autoencoders: capture, train, diff, align.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    models = commands.add_parser("models", help="list the models known by a short name")
    models.set_defaults(run=_models)
    fetch = commands.add_parser("fetch", help="download a model once, so that it loads offline")
    fetch.add_argument("slug")
    fetch.set_defaults(run=_fetch)

    capture = commands.add_parser("capture-activations", help="capture labelled probes")
    _model(capture)
    capture.add_argument("--prompts", help="JSON or JSONL file; default: built-in probes")
    capture.add_argument("--topic", default="general knowledge")
    capture.add_argument("--count", type=int, default=6)
    capture.add_argument("--layers", default="all", help='"all" or numbers: 3,4,5')
    capture.add_argument("--position", choices=["last", "mean"])
    capture.add_argument("--checkpoint")
    capture.add_argument("--encode-sae", action="store_true", help="also store the probes' features under --sae")
    capture.add_argument("--sae", help="dictionary file for --encode-sae")
    capture.add_argument("--sae-layer", type=int, help="layer to encode; default: the dictionary's own")
    _places(capture)
    capture.set_defaults(run=_capture)

    sae = commands.add_parser("sae", help="train, diff and align dictionaries").add_subparsers(
        required=True, metavar="VERB"
    )
    train = sae.add_parser("train", help="train a dictionary")
    _model(train)
    train.add_argument("--layer", type=int)
    train.add_argument("--corpus", help=".txt, .json, .jsonl or a hub name")
    train.add_argument("--text-key", default="text", help="the key that holds the text of a row")
    train.add_argument("--activations", help="an activation store or a capture folder")
    train.add_argument("--checkpoint")
    train.add_argument("--config", help="every other setting: a TOML, JSON or YAML file")
    for name in ("tokens", "d-sae", "k", "steps", "batch-size", "seed"):
        train.add_argument(f"--{name}", type=int)
    for name in ("epochs", "lr", "sparsity-coefficient"):
        train.add_argument(f"--{name}", type=float)
    train.add_argument("--architecture", help="topk (default), batchtopk, relu, jumprelu, gated or matryoshka")
    train.add_argument("--quick", action="store_true")
    _places(train)
    train.set_defaults(run=_train)

    resume = sae.add_parser("resume", help="go on with a training that was stopped or killed")
    resume.add_argument("output", help="the .pt that it was to write")
    resume.add_argument("--config", help="checked to be the one that the run began with")
    resume.set_defaults(run=_resume)

    diff = sae.add_parser("diff", help="a fine-tuned checkpoint through a dictionary")
    _model(diff)
    diff.add_argument("checkpoint")
    diff.add_argument("prompts", help="JSON or JSONL file")
    diff.add_argument("--sae", required=True, help="dictionary file")
    diff.add_argument("--layer", type=int)
    _places(diff)
    diff.set_defaults(run=_diff)

    align = sae.add_parser("align", help="match the features of two dictionaries")
    align.add_argument("a")
    align.add_argument("b")
    align.add_argument("--max-features", type=int)
    _places(align)
    align.set_defaults(run=_align)
    return parser


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="tiny", help="slug, hub id, folder or GGUF file (default: tiny)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--backend", default="transformer-lens", choices=["transformer-lens", "huggingface"])


def _places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name")
    parser.add_argument("--output")


def _session(args: argparse.Namespace) -> Any:
    from .session import Session

    return Session(args.model, device=args.device, dtype=args.dtype, backend=args.backend)


def _models(args: argparse.Namespace) -> None:
    from .engine.models.catalogue import entries

    for entry in entries():
        print(
            f"{entry.slug:24s} {entry.mode:10s} {entry.n_layers:3d} layers  d_model {entry.d_model:5d}  {entry.licence}"
        )


def _fetch(args: argparse.Namespace) -> None:
    from .engine.models import fetch
    from .progress import visible

    with visible(f"Fetching {args.slug}") as control:
        print(fetch(args.slug, control=control))


def _capture(args: argparse.Namespace) -> None:
    layers = "all" if args.layers == "all" else _numbers(args.layers)
    if args.encode_sae and args.sae is None:
        raise AquinError("--encode-sae needs a dictionary: add --sae PATH.")
    if not args.encode_sae and (args.sae is not None or args.sae_layer is not None):
        raise AquinError("--sae and --sae-layer do nothing without --encode-sae.")
    session = _session(args)
    if args.encode_sae:
        session.load_sae(path=args.sae, layer=args.sae_layer)
    result = session.capture_activations(
        args.prompts,
        count=args.count,
        topic=args.topic,
        layers=layers,
        position=args.position,
        checkpoint=args.checkpoint,
        encode_sae=args.encode_sae,
        name=args.name,
        output=args.output,
    )
    print(result)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise AquinError(f'--layers wants "all" or numbers such as 3,4,5, not {text!r}.') from None


def _train(args: argparse.Namespace) -> None:
    from .progress import terminal

    keys = [
        "config",
        "corpus",
        "activations",
        "checkpoint",
        "tokens",
        "d_sae",
        "k",
        "steps",
        "epochs",
        "batch_size",
        "lr",
    ]
    keys += ["sparsity_coefficient", "seed", "text_key", "architecture", "quick", "name", "output"]
    job = _session(args).sae.train(args.layer, **{key: getattr(args, key) for key in keys})
    try:
        print(terminal(job))
    except KeyboardInterrupt:
        job.cancel()
        print(terminal(job))


def _resume(args: argparse.Namespace) -> None:
    from .verbs.bare import sae_resume

    print(sae_resume(args.output, config=args.config))


def _diff(args: argparse.Namespace) -> None:
    print(
        _session(args).sae.diff(
            args.checkpoint, args.prompts, layer=args.layer, sae=args.sae, name=args.name, output=args.output
        )
    )


def _align(args: argparse.Namespace) -> None:
    from .session import sae_align

    print(sae_align(args.a, args.b, max_features=args.max_features, name=args.name, output=args.output))


if __name__ == "__main__":
    sys.exit(main())
