"""Which dtype is fast on this machine: measured, because the processor's name does not tell."""

from __future__ import annotations

import time
from functools import lru_cache

import torch

# bfloat16 must clearly win before results give up 16 bits of mantissa for it, and a margin keeps the answer the same
# from run to run on a busy machine: with matrix units it is 3 to 15 times faster, without them it is slower.
_MARGIN = 0.7
_ROWS = {"cpu": 256, "cuda": 8192}  # on a GPU enough that the product, and not its launch, is what is timed
_REPEATS = 4
_WIDEST = {"cpu": 768, "cuda": 4096}  # the ratio hardly changes beyond, and the probe must stay unnoticed


def fast_dtype(device: torch.device | str, width: int = 512) -> torch.dtype:
    """The dtype in which a forward pass of a model of `width` (d_model) is fastest without overflow.

    CPU and CUDA: bfloat16 where a timed matrix product of the model's own width shows it at least 1.4 times faster than
    float32, else float32 (never float16: residual norms reach tens of thousands). The probe takes some milliseconds and
    its answer is kept for the process. Anything else: float32.

    >>> fast_dtype("cpu") in (torch.float32, torch.bfloat16)
    True
    """
    place = torch.device(device)
    if place.type not in _ROWS:
        return torch.float32
    wins = _bfloat16_wins(str(place), max(64, min(width, _WIDEST[place.type])), torch.get_num_threads())
    return torch.bfloat16 if wins else torch.float32


@lru_cache(maxsize=32)
def _bfloat16_wins(device: str, width: int, threads: int) -> bool:
    """`threads` is only a key: the answer may change with it."""
    kind = torch.device(device).type
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS[kind], width, generator=generator, dtype=torch.float32)
    weight = torch.randn(4 * width, width, generator=generator, dtype=torch.float32)
    with torch.no_grad():
        single = _best_time(x.to(device), weight.to(device))
        try:
            half = _best_time(x.to(device, torch.bfloat16), weight.to(device, torch.bfloat16))
        except RuntimeError:  # a GPU whose libraries have no such product
            return False
    return half < _MARGIN * single


def _best_time(x: torch.Tensor, weight: torch.Tensor) -> float:
    """Seconds of the fastest of a few products; the fastest is the one that nothing else disturbed."""
    torch.nn.functional.linear(x, weight)  # the first call builds the kernel
    times = []
    for _ in range(_REPEATS):
        _wait(x)
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        _wait(x)
        times.append(time.perf_counter() - start)
    return min(times)


def _wait(x: torch.Tensor) -> None:
    """A GPU works on while Python goes on."""
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
