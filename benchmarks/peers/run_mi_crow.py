"""mi-crow's `TopKSae.train` and `L1Sae.train` (overcomplete's loop below) from a store whose batches are in memory.

Full float32: its default mixes precisions. overcomplete's vision models, which need a torchvision built for the same
torch, are stubbed.
"""

from __future__ import annotations

import torch
from common import Batches, Dictionary, Spec, main, scratch, stub

stub("overcomplete.models")

from mi_crow.mechanistic.sae.modules.l1_sae import L1Sae, L1SaeTrainingConfig  # noqa: E402
from mi_crow.mechanistic.sae.modules.topk_sae import TopKSae, TopKSaeTrainingConfig  # noqa: E402
from mi_crow.store.local_store import LocalStore  # noqa: E402
from torch import Tensor  # noqa: E402


class InMemory(LocalStore):
    """One stored run of `steps` batches."""

    def __init__(self, batches: Batches, steps: int, base_path: str) -> None:
        super().__init__(base_path)
        self.batches, self.steps = batches, steps

    def list_run_batches(self, run_id: str) -> list[int]:
        return list(range(self.steps))

    def get_detector_metadata_by_layer_by_key(self, run_id: str, batch_index: int, layer: str, key: str) -> Tensor:
        return next(self.batches)


def train(spec: Spec, batches: Batches) -> Dictionary:
    options = {"epochs": 1, "batch_size": spec.batch_size, "use_amp": False, "lr": 1e-3 if spec.lr is None else spec.lr}
    if spec.architecture == "topk":
        sae, config = TopKSae, TopKSaeTrainingConfig(**options, k=spec.k)
    else:
        assert spec.architecture == "relu"
        sae, config = L1Sae, L1SaeTrainingConfig(**options, l1_lambda=spec.sparsity_coefficient or 0.0)
    crow = sae(n_latents=spec.d_sae, n_inputs=batches.x.shape[1])
    crow.train(InMemory(batches, spec.steps, scratch(spec)), "stored", "layer", config)
    engine = crow.sae_engine.eval()
    linear, *rest = engine.encoder.final_block
    assert all(isinstance(module, torch.nn.Identity) for module in rest)
    w_dec = engine.get_dictionary()
    return Dictionary(
        linear.weight.T,
        linear.bias,
        w_dec,
        torch.zeros(w_dec.shape[1]),
        k=spec.k if spec.architecture == "topk" else None,
    )


if __name__ == "__main__":
    main(train)
