"""dictionary_learning's `trainSAE` on stored activations. Its trainers never call nnsight, which is stubbed."""

from __future__ import annotations

from typing import Any

from common import Batches, Dictionary, Spec, main, stub

stub("nnsight", "wandb", "datasets", "zstandard")

from dictionary_learning.trainers import (  # noqa: E402
    BatchTopKTrainer,
    JumpReluTrainer,
    StandardTrainer,
    TopKTrainer,
)
from dictionary_learning.training import trainSAE  # noqa: E402

TRAINERS = {"topk": TopKTrainer, "batchtopk": BatchTopKTrainer, "relu": StandardTrainer, "jumprelu": JumpReluTrainer}
COEFFICIENT = {"relu": "l1_penalty", "jumprelu": "sparsity_penalty"}


def train(spec: Spec, batches: Batches) -> Dictionary:
    kept: list[Any] = []

    class Kept(TRAINERS[spec.architecture]):  # type: ignore[misc]
        """`trainSAE` builds its trainers itself and returns nothing."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            kept.append(self)

    config: dict[str, Any] = {
        "trainer": Kept,
        "steps": spec.steps,
        "activation_dim": batches.x.shape[1],
        "dict_size": spec.d_sae,
        "layer": 0,
        "lm_name": "stored",
        "device": "cpu",
        "seed": spec.seed,
        # It refuses a warm-up that is longer than the run.
        "warmup_steps": min(spec.warmup(1000), spec.steps - 1),
    }
    if spec.lr is not None:
        config["lr"] = spec.lr
    if "topk" in spec.architecture:
        config |= {"k": spec.k, "threshold_start_step": min(1000, spec.steps // 2)}
    else:
        config["sparsity_warmup_steps"] = min(spec.warmup(2000), spec.steps - 1)
        if spec.sparsity_coefficient is not None:
            config[COEFFICIENT[spec.architecture]] = spec.sparsity_coefficient
    trainSAE(batches, [config], spec.steps, device="cpu")

    ae = kept[0].ae
    if spec.architecture == "jumprelu":
        return Dictionary(ae.W_enc, ae.b_enc, ae.W_dec, ae.b_dec, threshold=ae.threshold)
    b_dec = ae.bias if spec.architecture == "relu" else ae.b_dec
    w_enc = ae.encoder.weight.T
    return Dictionary(
        w_enc,
        ae.encoder.bias - b_dec @ w_enc,
        ae.decoder.weight.T,
        b_dec,
        k=spec.k if spec.architecture == "topk" else None,
        threshold=ae.threshold.expand(spec.d_sae) if spec.architecture == "batchtopk" else None,
    )


if __name__ == "__main__":
    main(train)
