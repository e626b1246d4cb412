"""`aquin-nb`: the same verbs, the same words, in a terminal."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .errors import AquinError, Cancelled
from .orchestrator.command import add_commands as add_orchestrator


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
        extra = "sync" if error.name == "apsw" else "engine"
        print(f"aquin-nb: this command needs {error.name}: pip install 'aquin-nb[{extra}]'.", file=sys.stderr)
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

    collect = commands.add_parser("collect-activations", help="keep a corpus' activations on disk, to train on")
    _model(collect, dtype="--model-dtype")
    collect.add_argument("--layers", help="numbers or hooks: 3,7 or blocks.3.hook_mlp_out; default: the catalogue's")
    collect.add_argument("--corpus", help="a file, a folder, a hub name or packaged; default: OpenWebText, if reached")
    collect.add_argument("--text-key", default="text", help="the key that holds the text of a row")
    collect.add_argument("--checkpoint", help="read a fine-tuned checkpoint instead of the base weights")
    for name in ("tokens", "seed", "context-size", "batch-size"):
        collect.add_argument(f"--{name}", type=int)
    collect.add_argument("--dtype", dest="stored", default="auto", help="on disk: auto, float16, bfloat16 or float32")
    collect.add_argument("--resume", action="store_true", help="go on with what --name or --output holds")
    _places(collect)
    collect.set_defaults(run=_collect)

    kept = commands.add_parser("activations", help="list, check, shorten, join and remove what was kept")
    kept_verbs = kept.add_subparsers(required=True, metavar="VERB")
    for verb, text in (
        ("list", "every store and capture under $AQUIN_HOME"),
        ("stat", "what a store or capture holds"),
        ("verify", "compare every byte with the recorded hashes"),
        ("trim", "keep the first rows of a store"),
        ("merge", "make one store of the parts of several processes"),
        ("remove", "remove a store or capture"),
    ):
        parser_of = kept_verbs.add_parser(verb, help=text)
        parser_of.set_defaults(run=_ACTIVATIONS[verb])
        if verb != "list":
            parser_of.add_argument("path", help="the folder or URL")
        if verb == "trim":
            parser_of.add_argument("rows", type=int)
        if verb == "remove":
            parser_of.add_argument("--yes", action="store_true", help="do not ask")

    sync = commands.add_parser("sync", help="deliver what sessions told while no orchestrator was reached")
    sync.add_argument("--outbox", help="the folder of outboxes; default: $AQUIN_HOME/outbox")
    sync.add_argument("--url", required=True, help="of the orchestrator; its token is read from AQUIN_NB_TOKEN")
    sync.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="give up after that long (60)")
    sync.set_defaults(run=_sync)

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
    train.add_argument(
        "--no-keep-activations", dest="keep_activations", action="store_false", help="write no activations to disk"
    )
    _places(train)
    train.set_defaults(run=_train)

    sweep = sae.add_parser("sweep", help="one small dictionary a layer, over one pass of the same tokens")
    _model(sweep)
    sweep.add_argument("--layers", default="all", help='"all", numbers or hooks: 3,7,blocks.3.hook_mlp_out')
    sweep.add_argument("--corpus", help="a file, a folder, a hub name or packaged; default: OpenWebText, if reached")
    sweep.add_argument("--text-key", default="text", help="the key that holds the text of a row")
    sweep.add_argument("--activations", help="an activation store that holds the layers")
    sweep.add_argument("--config", help="every other setting: a TOML, JSON or YAML file")
    for name in ("tokens", "d-sae", "k", "steps", "seed"):
        sweep.add_argument(f"--{name}", type=int)
    sweep.add_argument("--architecture", help="topk (default), batchtopk, relu, jumprelu, gated or matryoshka")
    sweep.add_argument("--quick", action="store_true")
    _places(sweep)
    sweep.set_defaults(run=_sweep)

    resume = sae.add_parser("resume", help="go on with a training that was stopped or killed")
    resume.add_argument("output", help="the .pt that it was to write; with --model, its name")
    _model(resume, default=None)
    resume.add_argument("--corpus", help="that of a training without kept activations, where it is not found again")
    resume.add_argument("--config", help="checked to be the one that the run began with")
    resume.set_defaults(run=_resume)

    diff = sae.add_parser("diff", help="a fine-tuned checkpoint through a dictionary")
    _model(diff)
    diff.add_argument("checkpoint", help=".pt, .safetensors, folder of weights, LoRA adapter or slug")
    diff.add_argument("prompts", help="JSON or JSONL file")
    diff.add_argument("--by", help="a metadata key of the prompts: compare each of its values too")
    _diffed(diff)
    diff.set_defaults(run=_diff)

    trajectory = sae.add_parser("trajectory", help="several checkpoints of a training run through a dictionary")
    _model(trajectory)
    trajectory.add_argument("prompts", help="JSON or JSONL file")
    trajectory.add_argument("checkpoints", nargs="+", help="as for diff")
    _diffed(trajectory)
    trajectory.set_defaults(run=_trajectory)

    align = sae.add_parser("align", help="match the features of two dictionaries")
    align.add_argument("a")
    align.add_argument("b")
    align.add_argument(
        "--on", default="decoder", choices=["decoder", "encoder", "both", "firings"], help="what is compared"
    )
    align.add_argument("--activations", help="a store or capture to encode: tells dead features; for --on firings")
    align.add_argument("--rows", type=int, default=32_768, help="how many of its rows")
    align.add_argument("--max-features", type=int, help="only the first that many of each")
    align.add_argument("--time-limit", type=float, help="seconds; then the best matching so far, with its proven gap")
    _places(align)
    align.set_defaults(run=_align)

    add_orchestrator(commands, _adopt)
    return parser


def _model(parser: argparse.ArgumentParser, dtype: str = "--dtype", default: str | None = "tiny") -> None:
    parser.add_argument("--model", default=default, help=f"slug, hub id, folder or GGUF file (default: {default})")
    parser.add_argument("--device", default="auto")
    parser.add_argument(dtype, dest="dtype", default="auto", help="of the model's weights")
    parser.add_argument("--backend", default="transformer-lens", choices=["transformer-lens", "huggingface"])


def _diffed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sae", required=True, help="dictionary file")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--threshold", type=float, help="|delta| from which a feature counts as changed")
    parser.add_argument("--fdr", type=float, default=0.05, help="false discovery rate of changed features")
    _places(parser)


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


def _collect(args: argparse.Namespace) -> None:
    from .engine.activations.contexts import EXCLUDE
    from .progress import attend
    from .verbs.collect import collect_activations
    from .verbs.ranks import rank_of

    rank = rank_of(os.environ)
    if rank is not None:
        if args.name is None and args.output is None:
            raise AquinError("Several processes collect into one place: say which by --name or --output.")
        args.device = rank.device(args.device)
    layers = None if args.layers is None else _sites(args.layers)
    keys = ["tokens", "text_key", "seed", "context_size", "batch_size", "checkpoint", "name", "output", "resume"]
    job = collect_activations(
        _session(args),
        args.corpus,
        layers=layers,
        dtype=args.stored,
        token_key=None,
        split="train",
        pack=None,
        bos=None,
        exclude=EXCLUDE,
        part=None if rank is None else rank[:2],
        **{key: getattr(args, key) for key in keys},
    )
    result = attend(job)
    if rank is not None and not result.card.complete:
        print(f"Part {rank.rank} of {rank.world} is complete; the last process to end makes them one store.")
    else:
        print(result)


def _sync(args: argparse.Namespace) -> None:
    from .home import outbox_dir
    from .sync.drain import drain, report

    folder = args.outbox or outbox_dir()
    found = drain(
        folder,
        args.url,
        os.environ.get("AQUIN_NB_TOKEN"),
        args.wait,
        say=lambda problem: print(f"aquin-nb: {problem}", file=sys.stderr),
    )
    print(report(found, folder))


def _adopt(folder: Path, url: str, token: str) -> Callable[[], None]:
    from .sync.drain import adopt_while_serving

    return adopt_while_serving(folder, url, token)


def _list(args: argparse.Namespace) -> None:
    from .verbs.activations import kept_activations

    found = kept_activations()
    for one in found:
        print(one.line())
        if one.problem:
            print(f"  {one.problem}")
    if not found:
        print("There are no activation stores or captures yet.")


def _stat(args: argparse.Namespace) -> None:
    from .verbs.activations import described

    print("\n".join(described(args.path)))


def _verify(args: argparse.Namespace) -> None:
    from .verbs.activations import verified

    print(verified(args.path))


def _trim(args: argparse.Namespace) -> None:
    from .engine.activations.trim import trim

    print(trim(args.path, args.rows))


def _merge(args: argparse.Namespace) -> None:
    from .engine.activations.merge import merge

    print(merge(args.path))


def _remove(args: argparse.Namespace) -> None:
    from .files import human_bytes
    from .verbs.activations import kept_at, removed

    print(kept_at(args.path).line())
    if not args.yes:
        if not sys.stdin.isatty():
            raise AquinError("Nothing was removed: add --yes to remove it without being asked.")
        if input("Remove it? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Nothing was removed.")
            return
    print(f"Removed; {human_bytes(removed(args.path))} are free again.")


_ACTIVATIONS = {
    "list": _list,
    "stat": _stat,
    "verify": _verify,
    "trim": _trim,
    "merge": _merge,
    "remove": _remove,
}


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise AquinError(f'--layers wants "all" or numbers such as 3,4,5, not {text!r}.') from None


def _sites(text: str) -> list[int | str]:
    return [int(one) if one.isdecimal() else one for one in map(str.strip, text.split(","))]


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
    keys += ["sparsity_coefficient", "seed", "text_key", "architecture", "quick", "name", "output", "keep_activations"]
    job = _session(args).sae.train(args.layer, **{key: getattr(args, key) for key in keys})
    try:
        print(terminal(job))
    except KeyboardInterrupt:
        job.cancel()
        print(terminal(job))


def _sweep(args: argparse.Namespace) -> None:
    from .progress import attend
    from .widgets.sweep_figure import numbered

    keys = ["corpus", "text_key", "activations", "config", "tokens", "d_sae", "k", "steps", "seed", "architecture"]
    keys += ["quick", "name", "output"]
    layers = "all" if args.layers == "all" else _sites(args.layers)
    found = attend(_session(args).sae.sweep(layers, **{key: getattr(args, key) for key in keys}))
    named = ["layer"] if numbered(found.frame) else ["hook"]
    columns = [*named, "fvu", "recon_mse", "cosine", "l0", "dead_share", "mean_norm", "verdict"]
    print(found.frame[columns].to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    print(found)


def _resume(args: argparse.Namespace) -> None:
    from .progress import attend
    from .verbs.bare import sae_resume

    if args.model is not None:
        print(attend(_session(args).sae.resume(args.output, config=args.config, corpus=args.corpus)))
        return
    if args.corpus is not None:
        raise AquinError("--corpus is for a training without kept activations, which needs its --model.")
    print(sae_resume(args.output, config=args.config))


def _diff(args: argparse.Namespace) -> None:
    keys = ["layer", "sae", "by", "threshold", "fdr", "name", "output"]
    print(_session(args).sae.diff(args.checkpoint, args.prompts, **{key: getattr(args, key) for key in keys}))


def _trajectory(args: argparse.Namespace) -> None:
    keys = ["layer", "sae", "threshold", "fdr", "name", "output"]
    print(_session(args).sae.trajectory(args.checkpoints, args.prompts, **{key: getattr(args, key) for key in keys}))


def _align(args: argparse.Namespace) -> None:
    from .session import sae_align

    found = sae_align(
        args.a, args.b, on=args.on, activations=args.activations, rows=args.rows, max_features=args.max_features,
        time_limit=args.time_limit, name=args.name, output=args.output,
    )  # fmt: skip
    print(found)


if __name__ == "__main__":
    sys.exit(main())
