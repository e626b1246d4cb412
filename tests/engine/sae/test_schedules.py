"""The learning rate, the penalty and k over the steps of a run."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquin_nb.engine.sae import TrainConfig
from aquin_nb.engine.sae.schedules import coefficient_at, k_at, lr_at


def rates(**changes: Any) -> list[float]:
    """The rate of every step, as a share of the peak."""
    config = TrainConfig(lr=2.0, steps=100, **changes).resolved(10**6)
    return [config.learning_rate(step) / 2.0 for step in range(100)]


class TestLearningRate:
    def test_constant(self) -> None:
        assert rates(lr_schedule="constant", lr_warmup=0) == [1.0] * 100

    def test_warmup_rises_in_a_line_to_the_peak(self) -> None:
        for warmup in (20, 0.2):
            found = rates(lr_schedule="constant", lr_warmup=warmup)
            assert found[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
            assert found[20:] == [1.0] * 80

    def test_linear_falls_from_the_warmup_on(self) -> None:
        found = rates(lr_warmup=10)
        assert found[9] == found[10] == 1.0
        assert found[10:] == pytest.approx([(100 - step) / 90 for step in range(10, 100)])
        assert rates(lr_warmup=10, lr_schedule="linear") == found, "it is the default"

    def test_linear_over_a_length_of_its_own(self) -> None:
        for decay in (40, 0.4):
            found = rates(lr_warmup=0, lr_decay=decay)
            assert found[:61] == [1.0] * 61
            assert found[60:] == pytest.approx([(100 - step) / 40 for step in range(60, 100)])

    def test_cosine(self) -> None:
        found = rates(lr_schedule="cosine", lr_warmup=20)
        assert found[20:] == pytest.approx([0.5 * (1 + math.cos(math.pi * t / 80)) for t in range(80)])
        assert found[60] == pytest.approx(0.5)

    def test_wsd_is_a_plateau_and_a_short_fall(self) -> None:
        found = rates(lr_schedule="wsd", lr_warmup=5)
        assert found[4:81] == [1.0] * 77
        assert found[80:] == pytest.approx([(100 - step) / 20 for step in range(80, 100)])
        assert rates(lr_schedule="wsd", lr_warmup=5, lr_decay=0.5)[49:51] == pytest.approx([1.0, 1.0])

    @pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
    def test_an_end_above_zero(self, schedule: str) -> None:
        to_zero, to_tenth = rates(lr_schedule=schedule), rates(lr_schedule=schedule, lr_end=0.1)
        warm = 10
        for zero, tenth in zip(to_zero[warm:], to_tenth[warm:], strict=True):
            assert tenth == pytest.approx(0.1 + 0.9 * zero)
        assert 0.1 < to_tenth[-1] < 0.15

    @given(
        total=st.integers(1, 500),
        schedule=st.sampled_from(["constant", "linear", "cosine", "wsd"]),
        warmup=st.integers(0, 600),
        decay=st.integers(0, 600),
        end=st.floats(0, 1),
    )
    def test_it_rises_then_falls_between_zero_and_the_peak(
        self, total: int, schedule: Any, warmup: int, decay: int, end: float
    ) -> None:
        found = [
            lr_at(step, total=total, schedule=schedule, warmup=warmup, decay=decay, end=end) for step in range(total)
        ]
        assert all(0 < rate <= 1 for rate in found)
        after = found[warmup:]
        assert all(later <= earlier + 1e-12 for earlier, later in pairwise(after))


class TestPenalty:
    def test_it_rises_in_a_line(self) -> None:
        for warmup in (10, 0.1):
            config = TrainConfig(architecture="relu", steps=100, sparsity_warmup=warmup).resolved(10**6)
            shares = [config.sparsity_share(step) for step in range(100)]
            assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
            assert shares[10:] == [1.0] * 90

    def test_without_a_warmup_it_is_on_from_the_start(self) -> None:
        assert coefficient_at(0, 0) == 1.0


class TestK:
    def active(self, **changes: Any) -> list[int]:
        config = TrainConfig(steps=100, k=4, **changes).resolved(10**6)
        return [config.active(step) for step in range(100)]

    def test_it_is_k_throughout_by_default(self) -> None:
        assert self.active() == [4] * 100

    @pytest.mark.parametrize("shape", [{"k_hold": 20, "k_warmup": 30}, {"k_hold": 0.2, "k_warmup": 0.3}])
    def test_it_is_held_then_falls_in_a_line(self, shape: dict[str, Any]) -> None:
        found = self.active(initial_k=64, **shape)
        assert found[:21] == [64] * 21
        assert found[35] == 34
        assert found[20:50] == [round(64 - 60 * step / 30) for step in range(30)]
        assert found[50:] == [4] * 50

    def test_it_falls_by_equal_factors(self) -> None:
        found = self.active(initial_k=64, k_warmup=40, k_schedule="exponential")
        assert [found[step] for step in (0, 10, 20, 30, 40)] == [64, 32, 16, 8, 4]

    def test_a_fall_of_no_length_is_a_step(self) -> None:
        assert self.active(initial_k=64, k_hold=10, k_warmup=0) == [64] * 10 + [4] * 90

    @given(
        first=st.integers(1, 300),
        final=st.integers(1, 300),
        hold=st.integers(0, 50),
        warmup=st.integers(0, 50),
        kind=st.sampled_from(["linear", "exponential"]),
    )
    def test_it_never_rises_and_ends_at_k(self, first: int, final: int, hold: int, warmup: int, kind: Any) -> None:
        first, final = max(first, final), min(first, final)
        found = [k_at(step, first, final, hold=hold, warmup=warmup, kind=kind) for step in range(120)]
        assert all(final <= later <= earlier <= first for earlier, later in pairwise(found))
        assert found[hold + warmup :] == [final] * (120 - hold - warmup)
