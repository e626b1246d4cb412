"""Make a real {step, state_dict} checkpoint of a language model, to diff against its base.

    python tools/finetune_checkpoint.py tiny --texts sample.jsonl --where source=bible --steps 40 --out tiny-bible.pt
    python tools/finetune_checkpoint.py smollm2-135m --texts bible.txt --steps 60 --layers 10-19 --out ckpt.pt

FILE is .jsonl (a `text` field a row) or plain text (documents parted by blank lines).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from aquin_nb.control import Control, Tick
from aquin_nb.engine.models import finetune
from aquin_nb.errors import AquinError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="slug, hub id, folder or .gguf file")
    parser.add_argument("--texts", type=Path, required=True, metavar="FILE")
    parser.add_argument("--where", metavar="FIELD=VALUE", help="keep only .jsonl rows whose field has this value")
    parser.add_argument("--out", type=Path, required=True, metavar="CKPT.pt")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--layers", type=_layers, metavar="FIRST-LAST", help="train these blocks only (cheaper)")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--context-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    try:
        result = finetune(
            given.model,
            _texts(given.texts, given.where),
            given.out,
            steps=given.steps,
            layers=given.layers,
            batch_size=given.batch_size,
            context_size=given.context_size,
            learning_rate=given.learning_rate,
            seed=given.seed,
            device=given.device,
            control=Control(on_tick=_show),
        )
    except (AquinError, OSError, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"\n{result.path}: step {result.step}, {result.path.stat().st_size / 1e6:.1f} MB, {result.seconds:.0f} s")
    print(
        f"held-out loss {result.loss_before:.3f} -> {result.loss_after:.3f} nats/token, {result.held_out_tokens} tokens"
    )
    return 0


def _layers(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _texts(path: Path, where: str | None) -> list[str]:
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".jsonl":
        return [part for part in content.split("\n\n") if part.strip()]
    rows = [json.loads(line) for line in content.splitlines() if line.strip()]
    if where:
        field, _, value = where.partition("=")
        rows = [row for row in rows if str(row.get(field)) == value]
    return [row["text"] for row in rows]


def _show(tick: Tick) -> None:
    print(f"\r{tick.stage} {tick.done}/{tick.total} {tick.unit}   ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
