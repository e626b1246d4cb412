"""SAELens's `SAETrainer` on stored activations. Its defaults, with lr_end as its runner sets it (lr / 10)."""

from __future__ import annotations

import torch
from common import Batches, Dictionary, Spec, main
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.training.sae_trainer import SAETrainer


def build(spec: Spec, d_in: int) -> torch.nn.Module:
    shape = {"d_in": d_in, "d_sae": spec.d_sae}
    coefficient = spec.sparsity_coefficient
    if spec.architecture == "topk":
        return TopKTrainingSAE(TopKTrainingSAEConfig(**shape, k=spec.k))
    if spec.architecture == "batchtopk":
        return BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**shape, k=spec.k))
    if spec.architecture == "relu":
        given = {} if coefficient is None else {"l1_coefficient": coefficient}
        return StandardTrainingSAE(StandardTrainingSAEConfig(**shape, **given))
    given = {} if coefficient is None else {"l0_coefficient": coefficient}
    return JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**shape, **given))


def train(spec: Spec, batches: Batches) -> Dictionary:
    sae = build(spec, batches.x.shape[1])
    lr = 3e-4 if spec.lr is None else spec.lr
    config = SAETrainerConfig(
        total_training_samples=spec.steps * spec.batch_size,
        train_batch_size_samples=spec.batch_size,
        lr=lr,
        lr_end=lr / 10,
    )
    SAETrainer(cfg=config, sae=sae, data_provider=batches).fit()
    batches.stamp()
    state = {name: value.detach().clone() for name, value in sae.state_dict().items()}
    sae.process_state_dict_for_saving_inference(state)
    b_enc = state["b_enc"]
    if sae.cfg.apply_b_dec_to_input:
        b_enc = b_enc - state["b_dec"] @ state["W_enc"]
    return Dictionary(
        state["W_enc"],
        b_enc,
        state["W_dec"],
        state["b_dec"],
        k=spec.k if spec.architecture == "topk" else None,
        threshold=state.get("threshold"),
    )


if __name__ == "__main__":
    main(train)
