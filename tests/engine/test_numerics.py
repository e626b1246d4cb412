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
    numerics._cpu_bfloat16_wins.cache_clear()
    assert numerics.fast_dtype("cpu", 300) == dtype
    numerics._cpu_bfloat16_wins.cache_clear()


def test_the_answer_is_measured_once() -> None:
    numerics._cpu_bfloat16_wins.cache_clear()
    first = numerics.fast_dtype("cpu", 256)
    assert numerics.fast_dtype("cpu", 256) == first
    assert numerics._cpu_bfloat16_wins.cache_info().hits == 1


def test_other_devices_get_float32() -> None:
    assert numerics.fast_dtype("meta") == torch.float32
