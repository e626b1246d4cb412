"""llamascopium's `ActivationWriter` behind its `ActivationFactory`, and its factory on what that wrote.

Settings are those of its guide: one-dimensional activations without BOS and padding, shuffled in a buffer of 16,384
before they are written in files of 4,096 rows, and read in the order of the files. `way` of a reading: `as written`,
or `shuffled`: in a buffer of `buffer_rows`. No worker processes: their CPU time would not be counted.

It pads with EOS, so that a text and its EOS are the same ids as everyone's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import torch
from collect_common import Order, main
from llamascopium.activation.factory import (
    ActivationFactory,
    ActivationFactoryActivationsSource,
    ActivationFactoryConfig,
    ActivationFactoryDatasetSource,
    ActivationFactoryTarget,
    BufferShuffleConfig,
)
from llamascopium.activation.writer import ActivationWriter, ActivationWriterConfig
from llamascopium.backend.language_model import LanguageModelConfig, TransformerLensLanguageModel
from safetensors.torch import load_file
from torch import Tensor

WRITE_BUFFER = 16_384


def factory(order: Order, source: Any, buffer_rows: int | None, **options: Any) -> ActivationFactory:
    return ActivationFactory(
        ActivationFactoryConfig(
            sources=[source],
            target=ActivationFactoryTarget.ACTIVATIONS_1D,
            hook_points=[order.hook],
            batch_size=order.batch_size,
            buffer_size=buffer_rows,
            buffer_shuffle=BufferShuffleConfig(perm_seed=42),
            num_workers=0,
            **options,
        )
    )


def write(order: Order) -> Callable[[], object]:
    model = TransformerLensLanguageModel(
        LanguageModelConfig(
            model_name=order.model,
            model_from_pretrained_path=order.model,
            local_files_only=True,
            device="cpu",
            dtype=getattr(torch, order.dtype),
        )
    )
    texts = datasets.Dataset.from_dict({"text": [row["text"] for row in order.rows]})
    options = {"context_size": order.context_size, "model_batch_size": order.forward_rows}

    def collection() -> None:
        made = factory(order, ActivationFactoryDatasetSource(name="texts"), WRITE_BUFFER, **options)
        writer = ActivationWriter(ActivationWriterConfig(hook_points=[order.hook], cache_dir=order.store))
        writer.process(made.process(model=model, model_name="model", datasets={"texts": (texts, None)}))

    return collection


def stored(order: Order) -> Tensor:
    files = sorted(Path(order.store).rglob("*.safetensors"))
    return torch.cat([load_file(path)["activation"] for path in files])


def read(order: Order) -> Iterator[Tensor]:
    source = ActivationFactoryActivationsSource(
        name="stored", path=order.store, dtype=torch.float32, num_workers=0, prefetch=None
    )
    buffer_rows = order.buffer_rows if order.way == "shuffled" else None
    for _ in range(order.epochs):
        for batch in factory(order, source, buffer_rows).process():
            yield batch[order.hook]


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main(write, stored, read)
