"""Our own training loop on the same activations, under the same clock.

`options` are settings of `TrainConfig`; what is not given is the default.
"""

from __future__ import annotations

import torch
from common import Batches, Dictionary, Spec, main

from aquin_nb.control import Control, Tick
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.numerics import fast_dtype
from aquin_nb.engine.sae import SaeConfig, TrainConfig
from aquin_nb.engine.sae.trainer import Interrupted, Member, fit

LONG = 1000
"""Steps of the training whose first ones are timed: kernels are not compiled for one that takes a few seconds."""


def train(spec: Spec, batches: Batches) -> Dictionary:
    d_in = batches.x.shape[1]
    selected = "topk" in spec.architecture
    given = {"lr": spec.lr, "sparsity_coefficient": spec.sparsity_coefficient, "k": spec.k if selected else None}
    stream = ShuffledStream(batches.x, spec.batch_size, seed=spec.seed, held_out=0)
    config = TrainConfig(
        architecture=spec.architecture,
        d_sae=spec.d_sae,
        batch_size=spec.batch_size,
        steps=spec.steps if spec.out else LONG,
        seed=spec.seed,
        **{name: value for name, value in given.items() if value is not None},
        **spec.options,
    )
    dtype = "bfloat16" if fast_dtype("cpu", d_in) == torch.bfloat16 else "float32"
    config = config.resolved(stream.rows, dtype=dtype)
    cfg = SaeConfig(spec.architecture, d_in, spec.d_sae, d_in, k=config.k)

    def stamp(tick: Tick) -> None:
        batches.stamp()
        if tick.done == spec.steps:
            control.cancel()

    control = Control(on_tick=stamp)
    try:
        outcome = fit(stream, [Member(cfg, config)], control=control)[0]
    except Interrupted as stopped:
        outcome = stopped.outcomes[0]
    batches.said = {"dtype": config.dtype, "l0": outcome.history[-1].l0, "train_fvu": outcome.history[-1].fvu}
    sae = outcome.dictionary
    b_enc = sae.b_enc - sae.b_dec @ sae.W_enc
    return Dictionary(
        sae.W_enc,
        b_enc,
        sae.W_dec,
        sae.b_dec,
        k=config.k if config.architecture == "topk" else None,
        threshold=getattr(sae, "threshold", None),
    )


if __name__ == "__main__":
    main(train)
