"""Make a real fine-tuned checkpoint: a short run of AdamW on texts, so that a diff has something true to show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ...control import Control
from ...errors import CorpusError, ModelError, OutputError
from ..numerics import fast_dtype
from .backends import HuggingFaceBackend, find_blocks
from .checkpoints import write_checkpoint
from .loading import open_model, pick_device
from .sources import Place, resolve
from .tokens import TokenPolicy, encode, read_policy
from .untyped import HFModel, HFTokenizer

_HELD_OUT = 0.1
_HELD_OUT_WINDOWS = 32  # at most; the same ones before and after, so a small difference shows
_WARMUP = 0.1


@dataclass(frozen=True)
class FineTuned:
    """What `finetune` hands back. Losses are mean nats per token on windows that were not trained on."""

    path: Path
    step: int
    loss_before: float
    loss_after: float  # of the weights as written, rounding included
    train_loss: tuple[float, ...]  # one a step
    train_tokens: int  # tokens seen, repeats counted
    held_out_tokens: int
    layers: tuple[int, ...]  # blocks that were trained; empty: the whole model
    seconds: float


def finetune(
    spec: str | Path,
    texts: Sequence[str],
    output: str | Path,
    *,
    steps: int = 60,
    layers: Sequence[int] | None = None,
    batch_size: int = 4,
    context_size: int = 128,
    learning_rate: float = 1e-4,
    seed: int = 0,
    device: str = "auto",
    control: Control | None = None,
) -> FineTuned:
    """Fine-tune a language model on `texts` and write a `{step, state_dict}` checkpoint to `output`.

    The texts are joined (EOS between them) and cut into windows of `context_size` tokens with BOS in front; the last
    tenth is held out. With `layers`, only those blocks learn: nothing below the first of them is differentiated,
    which makes a run two to three times cheaper. Master weights are float32, the forward pass runs in bfloat16 where
    this machine is faster with it, and the file has the dtype of the model's own weights.

    Raises:
        ModelError: the model cannot be loaded, is not a language model, or has no such layer.
        CorpusError: the texts are too short for one batch and a held-out window.
        OutputError: `output` exists already or cannot be written.
        Cancelled: through `control`; nothing is written.

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "c.pt"
    >>> finetune("tiny", ["In the beginning God created the heaven and the earth. "] * 50, out, steps=1).step
    1
    """
    control = control or Control()
    output = Path(output)
    if output.exists():
        raise OutputError(f"{output} exists already; choose another output or delete it first.")
    if steps < 1 or batch_size < 1 or context_size < 2:
        raise ModelError("steps and batch_size must be at least 1 and context_size at least 2.")
    place = resolve(spec, control)
    where = pick_device(device)
    started = time.monotonic()
    hf, tokenizer, mode, _, _ = open_model(place, "float32", where)
    if mode != "llm":
        raise ModelError(f"{place.name} is an embedding model; only language models can be fine-tuned here.")
    windows = _windows(tokenizer, read_policy(tokenizer, hf.config.get_text_config(), mode, None), texts, context_size)
    kept_out = min(_HELD_OUT_WINDOWS, max(1, int(len(windows) * _HELD_OUT)))
    train, held_out = windows[:-kept_out], windows[-kept_out:]
    if len(train) < batch_size:
        raise CorpusError(
            f"The texts give {len(windows)} windows of {context_size} tokens; {batch_size + 1} are needed for one"
            " batch and a held-out window. Give more text or a smaller context_size or batch_size."
        )
    trained = _select(hf, layers, place.name)
    hf.to(where)
    HuggingFaceBackend(hf, int(hf.config.get_text_config().num_hidden_layers), causal=True).fuse_attention()
    before = _loss(hf, held_out, batch_size)
    history = _train(hf, train, steps, batch_size, learning_rate, seed, control)
    stored = _stored_dtype(place)
    with torch.no_grad():
        for weight in hf.parameters():
            weight.copy_(weight.to(stored))
    after = _loss(hf, held_out, batch_size)
    path = write_checkpoint(output, steps, hf, dtype=stored)
    return FineTuned(
        path=path,
        step=steps,
        loss_before=before,
        loss_after=after,
        train_loss=tuple(history),
        train_tokens=steps * batch_size * context_size,
        held_out_tokens=held_out.numel(),
        layers=trained,
        seconds=time.monotonic() - started,
    )


def _windows(tokenizer: HFTokenizer, policy: TokenPolicy, texts: Sequence[str], size: int) -> Tensor:
    """[n, size] int64: BOS, then the next tokens of the joined texts."""
    end = [] if policy.eos_id is None else [policy.eos_id]
    start = [] if policy.bos_id is None else [policy.bos_id]
    stream = [index for row in encode(tokenizer, texts) for index in (*row, *end)]
    body = size - len(start)
    rows = [start + stream[at : at + body] for at in range(0, len(stream) - body + 1, body)]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, size)


def _select(hf: HFModel, layers: Sequence[int] | None, name: str) -> tuple[int, ...]:
    """Let only the named blocks learn; all of the model without names."""
    if layers is None:
        return ()
    count = int(hf.config.get_text_config().num_hidden_layers)
    chosen = tuple(sorted(set(layers)))
    if not chosen or chosen[0] < 0 or chosen[-1] >= count:
        raise ModelError(f"layers={list(layers)}: {name} has layers 0 to {count - 1}.")
    hf.requires_grad_(False)
    blocks = find_blocks(hf, count)
    for layer in chosen:
        blocks[layer].requires_grad_(True)
    return chosen


def _precision(hf: HFModel) -> AbstractContextManager[object]:
    dtype = fast_dtype(hf.device, int(hf.config.get_text_config().hidden_size))
    return torch.autocast(hf.device.type, dtype) if dtype == torch.bfloat16 else nullcontext()


def _loss(hf: HFModel, windows: Tensor, batch_size: int) -> float:
    """Mean next-token loss in float32, nats."""
    hf.eval()
    total = 0.0
    with torch.no_grad():
        for rows in torch.split(windows, batch_size):
            ids = rows.to(hf.device)
            total += float(hf(input_ids=ids, labels=ids, use_cache=False).loss) * len(rows)
    return total / len(windows)


def _train(
    hf: HFModel, windows: Tensor, steps: int, batch_size: int, learning_rate: float, seed: int, control: Control
) -> list[float]:
    weights = [weight for weight in hf.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    warmup = max(1, int(steps * _WARMUP))  # then a straight line down to zero
    order = _order(len(windows), steps * batch_size, seed)
    history = []
    hf.train()
    for step in range(steps):
        control.tick("fine-tune", step, steps, "steps")
        ids = windows[order[step * batch_size : (step + 1) * batch_size]].to(hf.device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min((step + 1) / warmup, (steps - step) / max(1, steps - warmup), 1.0)
        with _precision(hf):
            loss = hf(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        history.append(float(loss.detach()))
    control.tick("fine-tune", steps, steps, "steps")
    hf.eval()
    return history


def _order(count: int, wanted: int, seed: int) -> Tensor:
    """Row numbers for all steps: epoch after epoch, each in its own random order."""
    generator = torch.Generator().manual_seed(seed)
    epochs = -(-wanted // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])[:wanted]


def _stored_dtype(place: Place) -> torch.dtype:
    """The dtype of the model's own weights, so that a checkpoint is no larger than its base."""
    if place.source == "gguf":
        return torch.bfloat16
    with safe_open(sorted(place.path.glob("*.safetensors"))[0], framework="pt") as weights:
        dtype: torch.dtype = weights.get_tensor(next(iter(weights.keys()))).dtype
    return dtype
