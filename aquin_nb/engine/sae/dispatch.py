"""Which implementation of the sparse products runs: plain torch, or Triton where this very machine shows it faster.

`prepare` is called once at the start of a run; `current` is what `kernels.Pattern` asks on every product. On anything
but CUDA the answer is plain torch and `triton` is never imported. The Triton kernels were not run on a GPU when they
were written (see `triton_kernels`), so the probe also compares their numbers with plain torch's and refuses them where
they differ by more than rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

SegmentSums = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(values [nnz], indices [nnz], offsets [s + 1], matrix [m, d]) -> Σ value · matrix[index] of each segment [s, d]."""

RowDots = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(dense [n, d], matrix [m, d], indices [nnz], offsets [n + 1], rows [nnz]) -> ⟨dense[row], matrix[index]⟩ [nnz]."""

Clock = Callable[[Callable[[], object]], float]
"""The seconds that a call takes on the device."""

MARGIN = 1.1
"""How many times faster than plain torch a kernel must be: less could turn from run to run."""

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest difference from plain torch's numbers, of their largest magnitude, that is still rounding."""

PROBE_ROWS, PROBE_LATENTS = 2048, 32_768
"""The probe's largest sizes; beyond, rows and latents shrink alike, which keeps the entries of a latent as many."""


def segment_sums(values: Tensor, indices: Tensor, offsets: Tensor, matrix: Tensor) -> Tensor:
    """`SegmentSums` in plain torch."""
    return embedding_bag(indices, matrix, offsets, per_sample_weights=values, mode="sum", include_last_offset=True)


def row_dots(dense: Tensor, matrix: Tensor, indices: Tensor, offsets: Tensor, rows: Tensor) -> Tensor:
    """`RowDots` in plain torch.

    It is the gradient of `segment_sums` in its values, and torch has that one operator; calling it directly saves the
    forward pass that autograd would need first.
    """
    dots: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        dense.contiguous(), matrix, indices, offsets[:-1], rows, 0
    )
    return dots


@dataclass(frozen=True)
class Kernels:
    """The three products of a pattern, and a sentence on why these."""

    decode: SegmentSums = segment_sums
    dots: RowDots = row_dots
    transposed: SegmentSums = segment_sums
    note: str = "Plain torch's sparse kernels."


PLAIN = Kernels()
_chosen: dict[tuple[torch.device, torch.dtype, int], Kernels] = {}


def current(matrix: Tensor) -> Kernels:
    """The products for matrices [m, d] like this one: what `choose` found for its device, dtype and d.

    Plain torch where it was not asked, and where autograd records: the other kernels have no backward.
    """
    if not matrix.is_cuda or torch.is_grad_enabled():
        return PLAIN
    return _chosen.get((matrix.device, matrix.dtype, matrix.shape[1]), PLAIN)


def prepare(*matrices: Tensor, rows: int, active: int) -> list[str]:
    """Choose for each matrix [d_sae, d] and batches of `rows` rows with `active` latents each.

    Returns a sentence for each different choice that had to be made; none on a CPU, where there is nothing to choose.
    """
    notes = [
        choose(w.device, w.shape[1], w.dtype, rows=rows, active=active, latents=w.shape[0]).note
        for w in matrices
        if w.is_cuda
    ]
    return list(dict.fromkeys(notes))


def measured(device: torch.device, d: int, dtype: torch.dtype, *, rows: int, active: int, latents: int) -> Kernels:
    """`compare` for Triton's kernels on a device. Raises whatever Triton and CUDA raise."""
    from . import triton_kernels

    candidate = Kernels(triton_kernels.segment_sums, triton_kernels.row_dots, triton_kernels.segment_sums)
    with torch.cuda.device(device):  # events are of the current device
        probe = Probe.random(device, d, dtype, rows=rows, active=active, latents=latents)
        return compare(candidate, probe, cuda_seconds)


def choose(
    device: torch.device,
    d: int,
    dtype: torch.dtype,
    *,
    rows: int,
    active: int,
    latents: int,
    measure: Callable[..., Kernels] = measured,
) -> Kernels:
    """The fastest products for [latents, d] matrices, measured once and kept for the process.

    `device` as a tensor has it, with its index; batches have `rows` rows with about `active` latents each. The first
    call for a device, dtype and d compiles two kernels (seconds; Triton keeps them on disk) and times them (some
    milliseconds). Whatever goes wrong with Triton, plain torch is used and `note` says why.
    """
    if device.type != "cuda" or dtype not in TOLERANCE:
        return PLAIN
    key = (device, dtype, d)
    if key not in _chosen:
        try:
            _chosen[key] = measure(device, d, dtype, rows=rows, active=active, latents=latents)
        # A compiler and a driver can fail in any way, and none is a reason not to train.
        except Exception as error:
            _chosen[key] = refused(error)
    return _chosen[key]


def refused(error: Exception) -> Kernels:
    """Plain torch, because Triton raised this."""
    if isinstance(error, ImportError):
        reason = "Triton is not installed"
    else:
        text = str(error).strip().splitlines()
        reason = f"Triton failed with {type(error).__name__}" + (f" ({text[0][:120]})" if text else "")
    return replace(PLAIN, note=f"Plain torch's sparse kernels: {reason}.")


@dataclass(frozen=True)
class Probe:
    """A random pattern with row-major and latent-major entries, and the matrices to multiply it with."""

    values: Tensor
    indices: Tensor
    offsets: Tensor
    rows: Tensor
    latent_rows: Tensor
    latent_offsets: Tensor
    matrix: Tensor
    dense: Tensor

    @classmethod
    def random(cls, device: torch.device, d: int, dtype: torch.dtype, *, rows: int, active: int, latents: int) -> Probe:
        """`active` entries in each row. Latents are squares of uniform numbers: as in a real dictionary, a few fire
        much more often than most."""
        share = min(1.0, PROBE_ROWS / rows, PROBE_LATENTS / latents)
        rows, latents = max(1, int(rows * share)), max(1, int(latents * share))
        generator = torch.Generator(device).manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device).to(dtype)

        uniform = torch.rand(rows * active, generator=generator, device=device)
        indices = (uniform.square() * latents).long().clamp_(max=latents - 1)
        numbers = torch.arange(rows, device=device).repeat_interleave(active, output_size=rows * active)
        ordered, order = indices.sort(stable=True)
        return cls(
            values=normal(rows * active),
            indices=indices,
            offsets=torch.arange(0, rows * active + 1, active, device=device),
            rows=numbers,
            latent_rows=numbers[order],
            latent_offsets=torch.searchsorted(ordered, torch.arange(latents + 1, device=device)),
            matrix=normal(latents, d),
            dense=normal(rows, d),
        )

    def calls(self, kernels: Kernels) -> dict[str, Callable[[], Tensor]]:
        """Each product by name."""
        return {
            "decode": lambda: kernels.decode(self.values, self.indices, self.offsets, self.matrix),
            "dots": lambda: kernels.dots(self.dense, self.matrix, self.indices, self.offsets, self.rows),
            "transposed": lambda: kernels.transposed(self.values, self.latent_rows, self.latent_offsets, self.dense),
        }


@torch.no_grad()
def compare(candidate: Kernels, probe: Probe, clock: Clock) -> Kernels:
    """Of each product the candidate's where it agrees with plain torch and is `MARGIN` times as fast, or plain torch's.

    Raises whatever the candidate raises.
    """
    plain, other = probe.calls(PLAIN), probe.calls(candidate)
    taken, figures, wrong = dict[str, Callable[..., Tensor]](), [], []
    for name in plain:
        if not _agree(other[name](), plain[name]()):
            wrong.append(name)
            continue
        ratio = clock(plain[name]) / max(clock(other[name]), 1e-12)
        figures.append(f"{name} {ratio:.1f}x")
        if ratio >= MARGIN:
            taken[name] = getattr(candidate, name)
    return replace(PLAIN, note=_sentence(list(taken), figures, wrong, probe.matrix.shape[1]), **taken)


def _agree(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    bound = TOLERANCE[expected.dtype] * float(expected.float().abs().max())
    return float((found.float() - expected.float()).abs().max()) <= bound  # False for NaN


def _sentence(taken: list[str], figures: list[str], wrong: list[str], d: int) -> str:
    if taken:
        said = f"Triton's sparse kernels for {' and '.join(taken)} at width {d:,}"
    else:
        said = f"Plain torch's sparse kernels at width {d:,}"
    if figures:
        said += f"; speed of Triton's over plain torch's: {', '.join(figures)}"
    if wrong:
        said += f"; Triton's gave other numbers for {' and '.join(wrong)} and are not used there"
    return said + "."


def cuda_seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Seconds on the current CUDA stream: the fastest of a few calls, after two that build and warm up."""
    for _ in range(2):
        call()
    times: list[float] = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return min(times)
