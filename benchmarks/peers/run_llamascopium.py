"""llamascopium's `Trainer.fit` on stored activations, in full float32 (its default is bfloat16 autocast).

A whole training gets the search for the decoder norm, without which it starts far off; a timed one does without.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from common import Batches, Dictionary, Spec, main, scratch
from llamascopium.initializer import Initializer, InitializerConfig
from llamascopium.models.sae import SAEConfig
from llamascopium.trainer import Trainer, TrainerConfig
from torch import Tensor


class Stream:
    """Batches under the name of a hook point; may be iterated again and again."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.tokens = torch.zeros(batches.batch_size, dtype=torch.long)
        self.mask = torch.ones(batches.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for x in self.batches:
            yield {"x": x, "tokens": self.tokens, "mask": self.mask}


def train(spec: Spec, batches: Batches) -> Dictionary:
    d_in = batches.x.shape[1]
    penalised = "topk" not in spec.architecture
    sae_config = SAEConfig(
        hook_point_in="x",
        hook_point_out="x",
        d_model=d_in,
        expansion_factor=spec.d_sae / d_in,
        act_fn=spec.architecture,
        top_k=spec.k,
    )
    assert sae_config.d_sae == spec.d_sae
    initialise = InitializerConfig(
        grid_search_init_norm=spec.out is not None,
        init_log_jumprelu_threshold_value=0.0 if spec.architecture == "jumprelu" else None,
    )
    stream = Stream(batches)
    sae = Initializer(initialise).initialize_sae_from_config(sae_config, stream)
    given = {} if spec.sparsity_coefficient is None else {"l1_coefficient": spec.sparsity_coefficient}
    config = TrainerConfig(
        amp_dtype=torch.float32,
        # Its default warm-up of k asks for an initial_k that has no default.
        k_warmup_steps=0,
        l1_coefficient_warmup_steps=max(1, spec.steps // 10),
        sparsity_loss_type="tanh" if penalised else None,
        lr=4e-4 if spec.lr is None else spec.lr,
        lr_warm_up_steps=spec.warmup(5000),
        total_training_tokens=spec.steps * spec.batch_size,
        n_checkpoints=0,
        exp_result_path=scratch(spec),
        **given,
    )
    batches.stamps.clear()
    Trainer(config).fit(sae, stream)
    with torch.no_grad():
        norm = sae.W_D.norm(dim=1)
        scale = d_in**0.5 / sae.dataset_average_activation_norm["x"]
        threshold = None
        if spec.architecture == "jumprelu":
            threshold = sae.activation_function.get_jumprelu_threshold() / scale
        return Dictionary(
            sae.W_E * norm,
            sae.b_E * norm / scale,
            sae.W_D / norm[:, None],
            sae.b_D / scale,
            k=spec.k if spec.architecture == "topk" else None,
            threshold=threshold,
        )


if __name__ == "__main__":
    main(train)
