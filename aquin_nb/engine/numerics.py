"""Which dtype is fast on this machine: measured, because the processor's name does not tell."""

from __future__ import annotations

import time
from functools import lru_cache

import torch

# On a CPU bfloat16 must clearly win before results give up 16 bits of mantissa for it, and a margin keeps the answer
# the same from run to run on a busy machine: with matrix units it is 3 to 5 times faster, without them it is slower.
_MARGIN = 0.7
_ROWS = 256
_REPEATS = 4
_WIDEST = 768  # the ratio hardly changes beyond, and the probe must stay unnoticed


def fast_dtype(device: torch.device | str, width: int = 512) -> torch.dtype:
    """The dtype in which a forward pass of a model of `width` (d_model) is fastest without overflow.

    CUDA: bfloat16 where the GPU has it, else float32 (never float16: residual norms reach tens of thousands).
    CPU: bfloat16 only where a timed matrix product of the model's own width shows it at least 1.4 times faster than
    float32; the probe takes some milliseconds and its answer is kept for the process. Anything else: float32.

    >>> fast_dtype("cpu") in (torch.float32, torch.bfloat16)
    True
    """
    place = torch.device(device)
    if place.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if place.type == "cpu" and _cpu_bfloat16_wins(max(64, min(width, _WIDEST)), torch.get_num_threads()):
        return torch.bfloat16
    return torch.float32


@lru_cache(maxsize=32)
def _cpu_bfloat16_wins(width: int, threads: int) -> bool:
    """`threads` is only a key: the answer may change with it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS, width, generator=generator)
    weight = torch.randn(4 * width, width, generator=generator)
    with torch.no_grad():
        single = _best_time(x, weight)
        half = _best_time(x.bfloat16(), weight.bfloat16())
    return half < _MARGIN * single


def _best_time(x: torch.Tensor, weight: torch.Tensor) -> float:
    """Seconds of the fastest of a few products; the fastest is the one that nothing else disturbed."""
    torch.nn.functional.linear(x, weight)  # the first call builds the kernel
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        times.append(time.perf_counter() - start)
    return min(times)
