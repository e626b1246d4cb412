"""What the cases of collect_speed.py share: the texts, who writes and reads them, and adapters run in turns."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from train_speed import environment

from aquin_nb.engine.models import Model, fetch, load_model

HERE = Path(__file__).parent
sys.path.append(str(HERE / "peers"))
from collect_common import Order  # noqa: E402

MODEL, LAYER, D_IN, CONTEXT = "smollm2-135m", 10, 576, 128
BATCH = 4096
BACKENDS = ("huggingface", "transformer-lens")

Name = TypeVar("Name")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Trainer:
    """An adapter `peers/collect_<name>.py` and the way that it is asked to go, which it explains."""

    name: str
    way: str

    def __str__(self) -> str:
        return f"{self.name}, {self.way}"


OURS = [Trainer("aquin_nb", backend) for backend in BACKENDS]
WRITERS = [*OURS, *(Trainer("sae_lens", way) for way in BACKENDS), Trainer("llamascopium", "transformer-lens")]
READERS = [
    Trainer("aquin_nb", "shuffled"),
    Trainer("sae_lens", "huggingface"),
    Trainer("llamascopium", "as written"),
    Trainer("llamascopium", "shuffled"),
]


@dataclass
class Bench:
    """What all cases share."""

    args: argparse.Namespace
    work: Path

    @property
    def texts(self) -> Path:
        """`tokens` / 128 texts, each of exactly 126 tokens, with their ids in BOS and EOS; made once."""
        count = self.args.tokens // CONTEXT
        path = self.work / f"texts-{count}.jsonl"
        if not path.exists():
            model = load_model(MODEL, device="cpu", dtype="bfloat16")
            rows = list(cut(model, count))
            if len(rows) < count:
                raise SystemExit(f"The packaged sample holds {len(rows) * CONTEXT:,} tokens; ask for no more.")
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    @property
    def ids(self) -> Tensor:
        """[rows, 128]"""
        return torch.tensor([json.loads(line)["tokens"] for line in self.texts.read_text().splitlines()])

    @property
    def analysed(self) -> int:
        return self.args.tokens // CONTEXT * (CONTEXT - 2)

    def order(self, what: str, trainer: Trainer, dtype: str) -> Order:
        # SAELens stores in Arrow, which knows no bfloat16.
        stored = "float16" if trainer.name == "sae_lens" and dtype == "bfloat16" else dtype
        return Order(
            what=what,
            way=trainer.way,
            model=str(fetch(MODEL)),
            texts=str(self.texts),
            store=str(self.store(trainer, dtype)),
            layer=LAYER,
            d_in=D_IN,
            context_size=CONTEXT,
            forward_rows=self.args.forward_rows,
            dtype=dtype,
            stored=stored,
            batch_size=BATCH,
            buffer_rows=self.analysed // 4,
            epochs=self.args.epochs,
        )

    def writer(self, trainer: Trainer) -> Trainer:
        """Who writes what a reader reads; the way makes no difference to it."""
        return trainer if trainer in WRITERS else next(w for w in WRITERS if w.name == trainer.name)

    def store(self, trainer: Trainer, dtype: str) -> Path:
        """Where it writes, or what it reads."""
        writer = self.writer(trainer)
        return self.work / f"{writer.name}-{writer.way}-{dtype}-{self.args.tokens}"

    def run(self, trainer: Trainer, order: Order) -> dict[str, Any]:
        """What an adapter printed as its last line."""
        ours = trainer.name == "aquin_nb"
        python = sys.executable if ours else str(self.args.peers / trainer.name / "bin" / "python")
        command = [python, str(HERE / "peers" / f"collect_{trainer.name}.py"), json.dumps(asdict(order))]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        if done.returncode:
            raise SystemExit(f"{trainer} failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def collected(self, trainer: Trainer, dtype: str) -> dict[str, Any]:
        """A collection of all texts; what was there before is removed."""
        order = self.order("write", trainer, dtype)
        shutil.rmtree(order.store, ignore_errors=True)
        return self.run(trainer, order)

    def present(self, trainers: list[Trainer]) -> list[Trainer]:
        """Those whose environment is there."""
        return [t for t in trainers if t.name == "aquin_nb" or (self.args.peers / t.name / ".ready").exists()]


def cut(model: Model, count: int) -> Iterator[dict[str, Any]]:
    """Texts of the packaged sample whose 126 tokens come back from their text, and their ids in BOS and EOS."""
    length, made = CONTEXT - 2, 0
    sample = files("aquin_nb.engine.models") / "tiny" / "sample.jsonl"
    for line in sample.read_text().splitlines():
        (ids,) = model.encode([json.loads(line)["text"]])
        for start in range(0, len(ids) - length + 1, length):
            own = ids[start : start + length]
            text = model.tokenizer.decode(own, clean_up_tokenization_spaces=False)
            if made < count and model.encode([text]) == [own]:
                made += 1
                yield {"text": text, "tokens": [model.bos_id, *own, model.eos_id]}


def in_turns(works: dict[Name, Callable[[], Found]], repeats: int) -> Iterator[dict[Name, Found]]:
    """What each work gives, `repeats` times; another one begins each time."""
    names = list(works)
    for turn in range(repeats):
        first = turn % len(names)
        yield {name: works[name]() for name in names[first:] + names[:first]}
