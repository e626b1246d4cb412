"""The fast dtype of a device."""

from __future__ import annotations

import pytest
import torch

from aquin_nb.engine import numerics


@pytest.mark.parametrize(("seconds", "dtype"), [((1.0, 0.5), torch.bfloat16), ((1.0, 0.9), torch.float32)])
def test_bfloat16_must_clearly_win_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], dtype: torch.dtype
) -> None:
    times = {torch.float32: seconds[0], torch.bfloat16: seconds[1]}
    monkeypatch.setattr(numerics, "_best_time", lambda x, _: times[x.dtype])
    numerics._bfloat16_wins.cache_clear()
    assert numerics.fast_dtype("cpu", 300) == dtype
    numerics._bfloat16_wins.cache_clear()


def test_the_answer_is_measured_once() -> None:
    numerics._bfloat16_wins.cache_clear()
    first = numerics.fast_dtype("cpu", 256)
    assert numerics.fast_dtype("cpu", 256) == first
    assert numerics._bfloat16_wins.cache_info().hits == 1


@pytest.mark.parametrize(
    ("half", "wins"), [(0.1, True), (0.9, False), (RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED"), False)]
)
def test_a_gpu_is_timed_too(monkeypatch: pytest.MonkeyPatch, half: float | Exception, wins: bool) -> None:
    """Without one here, the clock and the copy to the device are replaced: emulated bfloat16 is slow, or fails."""

    def clock(x: torch.Tensor, _: torch.Tensor) -> float:
        if x.dtype == torch.float32:
            return 1.0
        if isinstance(half, Exception):
            raise half
        return half

    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda x, device, *dtype: to(x, "cpu", *dtype))
    monkeypatch.setattr(numerics, "_best_time", clock)
    numerics._bfloat16_wins.cache_clear()
    assert (numerics.fast_dtype("cuda", 300) == torch.bfloat16) is wins
    numerics._bfloat16_wins.cache_clear()


def test_other_devices_get_float32() -> None:
    assert numerics.fast_dtype("meta") == torch.float32
