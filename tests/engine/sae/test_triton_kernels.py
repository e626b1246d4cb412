"""Triton's products equal dense float64 in its interpreter, compile for a GPU, and run only where they proved better.

No test here needs a GPU, and none was at hand: that the kernels run on a device, and how fast, is not shown.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aquin_nb.engine.sae import dispatch
from aquin_nb.engine.sae.dispatch import PLAIN, Kernels, Probe, choose, compare, refused
from aquin_nb.engine.sae.kernels import Pattern

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

# Triton decides at its first import whether it interprets, and torch may have imported it by now.
INTERPRETED = """
import sys, torch
from aquin_nb.engine.sae.triton_kernels import row_dots, segment_sums
results = {}
for name, (values, dense, W, indices, offsets, rows, latent_rows, latent_values, latent_offsets) in torch.load(
    sys.argv[1]
).items():
    results[name] = (
        segment_sums(values, indices, offsets, W),
        row_dots(dense, W, indices, offsets, rows),
        segment_sums(latent_values, latent_rows, latent_offsets, dense),
    )
torch.save(results, sys.argv[2])
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from aquin_nb.engine.sae.triton_kernels import ENTRIES, WARPS, row_dots_kernel, segment_sums_kernel

for capability in (80, 90):
    for kind in ("*fp32", "*bf16"):
        for kernel in (segment_sums_kernel, row_dots_kernel):
            known = {"indices": "*i64", "offsets": "*i64", "d": "i32", "ENTRIES": "constexpr", "COLUMNS": "constexpr"}
            for columns in (64, 128, 256):
                source = ASTSource(
                    kernel,
                    {name: known.get(name, kind) for name in kernel.arg_names},
                    constexprs={"ENTRIES": ENTRIES, "COLUMNS": columns},
                )
                made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": WARPS})
                assert made.asm["cubin"]
                print(capability, kind, kernel.__name__, columns)
"""


def run(script: str, *arguments: str, cache: Path, interpret: bool = False) -> str:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(cache), "TRITON_INTERPRET": "1" if interpret else "0"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def ragged(counts: list[int], d_sae: int, seed: int) -> Pattern:
    g = torch.Generator().manual_seed(seed)
    indices = [torch.randperm(d_sae, generator=g)[:count] for count in counts]
    rows = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return Pattern.ragged(rows, torch.cat(indices), len(counts), d_sae)


def normal(*shape: int, seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


PATTERNS = {
    "rows that are empty, of one entry, and longer than a tile": [3, 0, 1, 19, 8, 0, 16],
    "one entry in all": [0, 1, 0],
    "a single row": [9],
    "k in every row, latents that fire for no row": [5] * 6,
}
WIDTHS = [1, 16, 70, 130, 300]
DTYPES = [torch.float32, torch.bfloat16]
CASES = {
    f"{name}, d {d}, {str(dtype)[6:]}": (counts, d, dtype)
    for name, counts in PATTERNS.items()
    for d in WIDTHS
    for dtype in DTYPES
} | {
    f"random {seed}": (torch.randint(0, 24, (11,), generator=torch.Generator().manual_seed(seed)).tolist(), 97, dtype)
    for seed, dtype in enumerate(DTYPES * 2)
}
D_SAE = 40


def inputs(case: str) -> tuple[Pattern, Tensor, Tensor, Tensor]:
    """(pattern, values [nnz], dense [n, d], W [d_sae, d])"""
    counts, d, dtype = CASES[case]
    pattern = ragged(counts, D_SAE, seed=d)
    return (
        pattern,
        normal(pattern.indices.numel(), seed=1, dtype=dtype),
        normal(pattern.n, d, seed=2, dtype=dtype),
        normal(D_SAE, d, seed=3, dtype=dtype),
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """What the kernels give for every case, from one process with Triton's interpreter."""
    folder = tmp_path_factory.mktemp("triton")
    given = {}
    for case in CASES:
        pattern, values, dense, W = inputs(case)
        order, latent_rows, latent_offsets = pattern._latent_major
        given[case] = (
            values,
            dense,
            W,
            pattern.indices,
            pattern.offsets,
            pattern.rows,
            latent_rows,
            values[order],
            latent_offsets,
        )
    torch.save(given, folder / "given.pt")
    run(INTERPRETED, str(folder / "given.pt"), str(folder / "found.pt"), cache=folder, interpret=True)
    return torch.load(folder / "found.pt")


@needs_triton
@pytest.mark.parametrize("case", CASES)
def test_the_kernels_equal_dense_float64(case: str, results: dict[str, tuple[Tensor, Tensor, Tensor]]) -> None:
    """float32: within 1e-5 of the sum of magnitudes. bfloat16: sums are float32, so that only the result is rounded."""
    pattern, values, dense, W = inputs(case)
    f = torch.zeros(pattern.n, D_SAE, dtype=torch.float64)
    f[pattern.rows, pattern.indices] = values.double()
    x, w = dense.double(), W.double()
    expected = (f @ w, (x @ w.T)[pattern.rows, pattern.indices], f.T @ x)
    size = (f.abs() @ w.abs(), (x.abs() @ w.abs().T)[pattern.rows, pattern.indices], f.T.abs() @ x.abs())
    for found, exact, bound in zip(results[case], expected, size, strict=True):
        assert found.dtype == dense.dtype
        assert found.shape == exact.shape
        allowed = 1e-5 * bound
        if dense.dtype == torch.bfloat16:
            allowed = allowed + exact.abs() * 2**-7  # the interpreter may cut off where a GPU rounds to the nearest
        assert bool(((found.double() - exact).abs() <= allowed).all())


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_the_chosen_products_of_a_gpu_equal_plain_torch_on_the_cpu() -> None:
    """Whichever the probe takes, in the trainer's own way to them."""
    pattern, values, dense, W = inputs("k in every row, latents that fire for no row, d 300, float32")
    on_gpu = Pattern.ragged(pattern.rows.cuda(), pattern.indices.cuda(), pattern.n, D_SAE)
    v, x, w = values.cuda(), dense.cuda(), W.cuda()
    assert dispatch.prepare(w, rows=pattern.n, active=5)
    torch.testing.assert_close(on_gpu.decode(v, w).cpu(), pattern.decode(values, W))
    torch.testing.assert_close(on_gpu.dots(x, w).cpu(), pattern.dots(dense, W))
    torch.testing.assert_close(on_gpu.transposed(v, x).cpu(), pattern.transposed(values, dense))


@needs_triton
def test_the_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    """To machine code with the assembler that Triton brings: the interpreter takes things that the compiler refuses."""
    assert len(run(COMPILED, cache=tmp_path).splitlines()) == 2 * 2 * 2 * 3


def test_a_training_on_a_cpu_never_imports_the_kernels() -> None:
    """torch and transformers may import triton themselves; this package does not."""
    script = """
import sys, torch, aquin_nb
aquin_nb.sae_train(torch.randn(256, 8), {"architecture": "topk", "d_sae": 16, "k": 2, "steps": 2, "batch_size": 64})
assert "aquin_nb.engine.sae.dispatch" in sys.modules
assert "aquin_nb.engine.sae.triton_kernels" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_cpu_has_nothing_to_choose() -> None:
    W = torch.randn(8, 4)
    assert choose(W.device, 4, W.dtype, rows=16, active=2, latents=8) is PLAIN
    assert dispatch.prepare(W, W, rows=16, active=2) == []
    assert dispatch.current(W) is PLAIN


# The choice, with a clock and kernels that are given.


def slow_sums(values: Tensor, indices: Tensor, offsets: Tensor, matrix: Tensor) -> Tensor:
    return dispatch.segment_sums(values, indices, offsets, matrix)


def slow_dots(dense: Tensor, matrix: Tensor, indices: Tensor, offsets: Tensor, rows: Tensor) -> Tensor:
    return dispatch.row_dots(dense, matrix, indices, offsets, rows)


CANDIDATE = Kernels(slow_sums, slow_dots, slow_sums)


def probe(dtype: torch.dtype = torch.float32) -> Probe:
    return Probe.random(torch.device("cpu"), 12, dtype, rows=32, active=4, latents=64)


def clock(*seconds: float) -> Callable[[Callable[[], object]], float]:
    """Plain torch's and the candidate's time in turn, for decode, dots and transposed."""
    left = list(seconds)

    def read(call: Callable[[], object]) -> float:
        call()
        return left.pop(0)

    return read


def test_each_product_is_taken_where_it_is_faster() -> None:
    chosen = compare(CANDIDATE, probe(), clock(1.8, 1.0, 1.0, 1.25, 3.0, 2.0))
    assert chosen.decode is slow_sums
    assert chosen.dots is PLAIN.dots
    assert chosen.transposed is slow_sums
    assert chosen.note == (
        "Triton's sparse kernels for decode and transposed at width 12;"
        " speed of Triton's over plain torch's: decode 1.8x, dots 0.8x, transposed 1.5x."
    )


def test_a_tie_keeps_plain_torch() -> None:
    chosen = compare(CANDIDATE, probe(), clock(*[1.05, 1.0] * 3))
    assert (chosen.decode, chosen.dots, chosen.transposed) == (PLAIN.decode, PLAIN.dots, PLAIN.transposed)
    assert chosen.note.startswith("Plain torch's sparse kernels at width 12; ")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda *given: dispatch.segment_sums(*given) * 1.01,
        lambda *given: dispatch.segment_sums(*given) * float("nan"),
        lambda *given: dispatch.segment_sums(*given)[:-1],
    ],
    ids=["off by a percent", "NaN", "a row too few"],
)
def test_a_kernel_with_other_numbers_is_refused_however_fast(wrong: Callable[..., Tensor]) -> None:
    chosen = compare(replace(CANDIDATE, decode=wrong), probe(), clock(*[9.0, 1.0] * 2))
    assert chosen.decode is PLAIN.decode
    assert chosen.dots is slow_dots
    assert "gave other numbers for decode and are not used there" in chosen.note


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_no_other_number(dtype: torch.dtype) -> None:
    def reordered(values: Tensor, indices: Tensor, offsets: Tensor, matrix: Tensor) -> Tensor:
        exact = dispatch.segment_sums(values.double(), indices, offsets, matrix.double())
        return exact.to(matrix.dtype)

    given = probe(dtype)
    chosen = compare(Kernels(reordered, PLAIN.dots, reordered), given, clock(*[9.0, 1.0] * 3))
    assert chosen.decode is reordered
    assert chosen.transposed is reordered


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (ModuleNotFoundError("No module named 'triton'"), "Plain torch's sparse kernels: Triton is not installed."),
        (
            RuntimeError("no kernel image\nfor this device"),
            "Plain torch's sparse kernels: Triton failed with RuntimeError (no kernel image).",
        ),
        (AssertionError(), "Plain torch's sparse kernels: Triton failed with AssertionError."),
    ],
)
def test_a_failing_triton_leaves_plain_torch_and_the_reason(error: Exception, note: str) -> None:
    assert refused(error) == replace(PLAIN, note=note)


def test_a_failing_probe_is_no_crash_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_chosen", {})
    tries = []

    def broken(device: torch.device, d: int, dtype: torch.dtype, **sizes: int) -> Kernels:
        tries.append(sizes)
        raise RuntimeError("PTX was compiled with an unsupported toolchain")

    def chosen(d: int) -> Kernels:
        return choose(torch.device("cuda", 0), d, torch.float32, rows=8, active=2, latents=32, measure=broken)

    assert chosen(16).decode is PLAIN.decode
    assert "unsupported toolchain" in chosen(16).note
    assert tries == [{"rows": 8, "active": 2, "latents": 32}]
    chosen(24)
    assert len(tries) == 2  # another width is another question


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about machines without a GPU")
def test_the_real_probe_without_a_gpu_gives_plain_torch_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_chosen", {})
    chosen = choose(torch.device("cuda", 0), 16, torch.float32, rows=8, active=2, latents=32)
    assert chosen == replace(PLAIN, note=chosen.note)
    assert chosen.note.startswith("Plain torch's sparse kernels: Triton ")


def test_autograd_gets_plain_torch() -> None:
    """The gradient of `decode` in the matrix exists; a pattern used outside of `no_grad` keeps it."""
    pattern, values, _, W = inputs("random 0")
    W.requires_grad_()
    pattern.decode(values, W).sum().backward()
    expected = torch.zeros(D_SAE).index_add(0, pattern.indices, values)
    torch.testing.assert_close(W.grad, expected.unsqueeze(1).expand_as(W))


def test_the_probe_keeps_the_entries_of_a_latent() -> None:
    """A batch too large to probe shrinks with the dictionary, so that a latent's sum stays as long."""
    small = Probe.random(torch.device("cpu"), 2, torch.float32, rows=8192, active=4, latents=16_384)
    assert small.dense.shape[0] == 2048
    assert small.matrix.shape[0] == 4096
    assert int(small.latent_offsets[-1]) == int(small.offsets[-1]) == small.values.numel() == 2048 * 4
    f = torch.zeros(2048, 4096).index_put((small.rows, small.indices), small.values, accumulate=True)
    calls = small.calls(PLAIN)
    torch.testing.assert_close(calls["decode"](), f @ small.matrix)
    torch.testing.assert_close(calls["dots"](), (small.dense @ small.matrix.T)[small.rows, small.indices])
