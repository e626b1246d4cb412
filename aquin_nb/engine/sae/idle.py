"""Settings that were given and do nothing for what is trained: somebody who set them expects an effect."""

from __future__ import annotations

from .config import DEFAULT_LOSS, IN_STEPS, SELECTED, TrainConfig

OF_A_FALLING_K = {"k_hold", "k_warmup", "k_schedule"}
OF_SELECTED = {"k", "initial_k", "aux_k", "aux_coefficient"} | OF_A_FALLING_K
OF_JUMPRELU = {"pre_act_coefficient", "bandwidth", "threshold_lr"}
OF_LOSSES = {"lp": {"p"}, "tanh": {"tanh_scale"}, "tanh-quadratic": {"tanh_scale", "frequency_scale"}}
OF_ANY_LOSS = {name for names in OF_LOSSES.values() for name in names}
OF_PENALISED = {"sparsity_coefficient", "sparsity_warmup", "threshold"} | OF_ANY_LOSS
WITHOUT = {"constant": {"lr_decay", "lr_end"}, "cosine": {"lr_decay"}}
"""What schedules of the learning rate do not use."""


def idle(config: TrainConfig) -> list[str]:
    """A sentence for each reason why settings do nothing; a value that is the default is not looked at.

    >>> idle(TrainConfig(architecture="relu", k=8))
    ['k does nothing for relu.']
    """
    kind, selected = config.architecture, config.architecture in SELECTED
    loss: str | None = config.sparsity_loss or DEFAULT_LOSS.get(kind)
    reasons: dict[str, set[str]] = {
        kind: (OF_PENALISED if selected else OF_SELECTED)
        | (set() if kind == "jumprelu" else OF_JUMPRELU)
        | (set() if kind == "matryoshka" else {"groups"}),
        "want of an initial_k": OF_A_FALLING_K if selected and config.initial_k is None else set(),
        f"sparsity_loss {loss}": set() if selected else OF_ANY_LOSS - OF_LOSSES.get(loss or "", set()),
        f"lr_schedule {config.lr_schedule}": WITHOUT.get(config.lr_schedule, set()),
    }
    given = [name for name in TrainConfig.model_fields if _given(config, name)]
    found = {reason: [name for name in given if name in names] for reason, names in reasons.items()}
    return [
        f"{_joined(names)} {'does' if len(names) == 1 else 'do'} nothing for {reason}."
        for reason, names in found.items()
        if names
    ]


def _given(config: TrainConfig, name: str) -> bool:
    value, default = getattr(config, name), TrainConfig.model_fields[name].default
    if name in IN_STEPS and isinstance(default, float) and config.steps is not None and isinstance(value, int):
        default = round(default * config.steps)  # of a config that was filled in before
    return name in config.model_fields_set and bool(value) and value != default


def _joined(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
