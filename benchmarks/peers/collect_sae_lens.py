"""SAELens's `CacheActivationsRunner`, and its `ActivationsStore` on what that wrote.

`way`: `transformer-lens` (its default class, for which the folder is added to the names that it knows) or
`huggingface` (`AutoModelForCausalLM`, which it offers for other models; one hook a module, the last one stops).

It is given the ids, as it asks for. All activations of a shard are in memory at once; the shard is as large as its
default of 2 GB allows. Its default of 20 contexts in the mixing buffer holds no batch of 4,096: 64, as in its tutorial.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import datasets
import torch
from collect_common import Order, main
from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig
from sae_lens.training.activations_store import ActivationsStore
from torch import Tensor
from transformer_lens import loading_from_pretrained

CONTEXTS_IN_BUFFER = 64
SHARD_BYTES = 2_000_000_000


def hook(order: Order) -> str:
    return order.hook if order.way == "transformer-lens" else f"model.layers.{order.layer}"


def write(order: Order) -> Callable[[], object]:
    tokens = [row["tokens"] for row in order.rows]
    count = len(tokens) * order.context_size
    value_bytes = getattr(torch, order.stored).itemsize
    # It fills whole shards, over the end of the texts: as many as the fewest that hold all, of equal size.
    batches = len(tokens) // order.forward_rows
    shards = next(
        n for n in range(1, batches + 1) if batches % n == 0 and count * order.d_in * value_bytes / n <= SHARD_BYTES
    )
    by_name = order.way == "transformer-lens"
    if by_name:
        loading_from_pretrained.OFFICIAL_MODEL_NAMES.append(order.model)
    config = CacheActivationsRunnerConfig(
        dataset_path="",
        model_name=order.model,
        model_class_name="HookedTransformer" if by_name else "AutoModelForCausalLM",
        model_from_pretrained_kwargs={"dtype": order.dtype if by_name else getattr(torch, order.dtype)},
        model_batch_size=order.forward_rows,
        hook_name=hook(order),
        d_in=order.d_in,
        context_size=order.context_size,
        training_tokens=count,
        new_cached_activations_path=order.store,
        dtype=order.stored,
        device="cpu",
        buffer_size_gb=(count * order.d_in * value_bytes / shards + 1) / 1e9,
    )
    runner = CacheActivationsRunner(config, datasets.Dataset.from_dict({"tokens": tokens}))
    assert (config.n_buffers, config.n_batches_in_buffer * shards) == (shards, batches)
    return runner.run


def stored(order: Order) -> Tensor:
    kept = datasets.load_from_disk(order.store).with_format("torch")
    return torch.cat([row[hook(order)][1:-1] for row in kept])


def read(order: Order) -> Iterator[Tensor]:
    warnings.simplefilter("ignore")
    store = ActivationsStore(
        model=None,
        dataset=None,
        streaming=False,
        hook_name=hook(order),
        hook_head_index=None,
        context_size=order.context_size,
        d_in=order.d_in,
        n_batches_in_buffer=CONTEXTS_IN_BUFFER,
        total_training_tokens=0,
        store_batch_size_prompts=32,
        train_batch_size_tokens=order.batch_size,
        prepend_bos=True,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
        cached_activations_path=order.store,
    )
    contexts = len(datasets.load_from_disk(order.store))
    for _ in range(order.epochs * contexts * order.context_size // order.batch_size):
        yield next(store)


if __name__ == "__main__":
    main(write, stored, read)
