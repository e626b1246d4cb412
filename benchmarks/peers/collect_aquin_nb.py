"""Our own collection and reader. `way`: the backend; of a reading, `memory` looks at it after each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from collect_common import Order, main
from torch import Tensor

from aquin_nb.engine.activations.collect import collect
from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.models import load_model


def write(order: Order) -> Callable[[], object]:
    model = load_model(order.model, device="cpu", dtype=order.dtype, backend=order.way)
    rows = order.rows
    options = {"context_size": order.context_size, "batch_size": order.forward_rows, "dtype": order.stored}
    tokens = len(rows) * (order.context_size - 2)
    return lambda: collect(
        model, open_corpus(order.texts), order.layer, tokens=tokens, output=Path(order.store), **options
    )


def stored(order: Order) -> Tensor:
    store = Store(Path(order.store))
    return torch.cat([store.x(chunk).float() for chunk in range(len(store.chunks))])


def read(order: Order) -> Iterator[Tensor]:
    store = Store(Path(order.store))
    stream = ShuffledStream(store, order.batch_size, held_out=0, buffer_rows=order.buffer_rows or None)
    for epoch in range(order.epochs):
        yield from stream.epoch(epoch)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main(write, stored, read)
