"""sparsify's `Trainer` on stored activations: a language model that looks rows up and passes them through a hook point.

`options["optimizer"]`: `adam` (the default here) or `signum` (the peer's own).
"""

from __future__ import annotations

import torch
from common import Batches, Dictionary, Spec, main, scratch
from sparsify import SaeConfig, TrainConfig, Trainer
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel


class Lookup(PreTrainedModel):
    """`input_ids` are row numbers; `body` is the hook point and returns those rows."""

    config_class = PretrainedConfig
    base_model_prefix = "lookup"

    def __init__(self, rows: Tensor) -> None:
        super().__init__(PretrainedConfig())
        self.rows = rows
        self.body = nn.Identity()

    @property
    def device(self) -> torch.device:
        return self.rows.device

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        return {"input_ids": torch.zeros(1, 1, dtype=torch.long)}

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.body(self.rows[input_ids])


class RowNumbers:
    """One item a step: the row numbers of a whole batch."""

    def __init__(self, batches: Batches, steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return {"input_ids": self.batches.indices()}


def train(spec: Spec, batches: Batches) -> Dictionary:
    assert spec.architecture == "topk"
    config = TrainConfig(
        SaeConfig(num_latents=spec.d_sae, k=spec.k),
        batch_size=1,
        optimizer=spec.options.get("optimizer", "adam"),
        lr=spec.lr,
        lr_warmup_steps=spec.warmup(1000),
        init_seeds=[spec.seed],
        hookpoints=["body"],
        save_every=10**9,
        log_to_wandb=False,
        save_dir=scratch(spec),
    )
    trainer = Trainer(config, RowNumbers(batches, spec.steps), Lookup(batches.x))
    trainer.fit()
    for optimizer in trainer.optimizers:
        # Schedule-free optimisers hold the averaged weights, which are the ones to use, apart from the ones they move.
        if hasattr(optimizer, "eval"):
            optimizer.eval()
    sae = trainer.saes["body"]
    sae.set_decoder_norm_to_unit_norm()
    w_enc = sae.encoder.weight.T
    return Dictionary(w_enc, sae.encoder.bias - sae.b_dec @ w_enc, sae.W_dec, sae.b_dec, k=spec.k)


if __name__ == "__main__":
    main(train)
