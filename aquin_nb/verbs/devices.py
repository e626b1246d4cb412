"""Where a dictionary is trained."""

from __future__ import annotations

import torch

from ..engine.sae import TrainConfig
from ..errors import DictionaryError

TRAINS_ON = ("cpu", "cuda")


def beside_model(model: torch.device, settings: TrainConfig) -> torch.device:
    """The device that was asked for, or the model's where that can train.

    Raises:
        DictionaryError: no such device.
    """
    if settings.device != "auto":
        return compute_device(settings.device)
    return model if model.type in TRAINS_ON else compute_device("cpu")


def compute_device(name: str) -> torch.device:
    """The device of that name; "auto" is the CUDA GPU where there is one.

    Raises:
        DictionaryError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DictionaryError(f"device: {name!r} is no device; use auto, cpu, cuda or cuda:0.") from None
    if device.type not in TRAINS_ON:
        raise DictionaryError(
            f"device: {name} cannot train: sums are kept in float64 and products are sparse, which torch has on cpu and"
            " cuda. Use one of these, or auto."
        )
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DictionaryError(f"device: {name} was asked for, but this machine has no CUDA GPU that torch can use.")
    try:
        float(torch.ones(1, device=device))
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        problem = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise DictionaryError(f"device: {name} was asked for, but torch cannot use it here ({problem}).") from None
    return device
