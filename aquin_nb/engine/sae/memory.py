"""What a training needs of a machine's memory, and how it is told that there was not enough."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import torch

from ...errors import OutOfMemory
from ...files import human_bytes
from .config import TrainConfig
from .record import SaeConfig

SIGNS = ("out of memory", "can't allocate memory", "status_alloc_failed")
"""What torch says when memory ran out: CUDA's allocators, the CPU's, and cuBLAS for its own workspace."""


def require_memory(plans: Sequence[tuple[SaeConfig, TrainConfig]], device: torch.device, parts: int = 1) -> None:
    """Refuse at once what cannot fit: weights, gradients, two moments and a block's pre-activations of each dictionary.

    `parts`: devices that share the latents.

    Raises:
        OutOfMemory: with both figures and what would fit.
    """
    if (available := _available(device)) is None:
        return
    needed = sum(_a_latent(cfg, config) * cfg.d_sae // parts for cfg, config in plans)
    if needed <= available:
        return
    figures = f"needs about {human_bytes(needed)} to train and {device} has {human_bytes(available)}."
    if len(plans) == 1:
        (cfg, config) = plans[0]
        fits = available // _a_latent(cfg, config) * parts
        raise OutOfMemory(f"A dictionary of d_sae={cfg.d_sae:,} {figures} At most d_sae={fits:,} fits.")
    widths = " and ".join(f"{cfg.d_sae:,}" for cfg, _ in plans)
    raise OutOfMemory(f"A pass for dictionaries of d_sae={widths} {figures} Train fewer, or smaller ones, at once.")


def width_to_try(cfg: SaeConfig, config: TrainConfig, device: torch.device) -> int:
    """A d_sae that should fit where that of a running training did not: half of it, or less where memory is short."""
    available = _available(device)
    if available is None:
        return max(1, cfg.d_sae // 2)
    if device.type == "cuda":
        available += torch.cuda.memory_reserved(device)  # what this training holds
    return max(1, min(cfg.d_sae // 2, available // _a_latent(cfg, config)))


def ran_out(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in SIGNS)


def in_words(error: BaseException) -> str:
    """Its first line; the others are advice on allocators."""
    return str(error).splitlines()[0]


def unchanged(problems: Sequence[str]) -> bool:
    """Whether the last three of these ask for one and the same size: two smaller blocks made no difference to it."""
    found = [re.search(r"tried to allocate ([\d.]+ ?\w+)", problem, re.IGNORECASE) for problem in problems[-3:]]
    sizes = {match[1] for match in found if match is not None}
    return len(found) == 3 and None not in found and len(sizes) == 1


def _a_latent(cfg: SaeConfig, config: TrainConfig) -> int:
    copies = 5 if config.ema is not None else 4
    return 4 * (copies * (cfg.d_in + cfg.d_out + 2) + 3 * min(256, config.batch_size))


def _available(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
