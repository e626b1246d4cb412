"""Training: it learns a planted dictionary, repeats itself from a seed, stops cleanly and judges honestly."""

import pytest
import torch
from torch.nn.functional import normalize

from aquin_nb.control import Control
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.sae import SaeConfig, TrainOptions, default_options, evaluate
from aquin_nb.engine.sae.trainer import Interrupted, TrainOutcome, fit
from aquin_nb.errors import DictionaryError

D, TRUE = 24, 48


def planted(rows: int = 6000, active: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that are sums of `active` of 48 unit directions with positive weights, off centre; and the directions."""
    g = torch.Generator().manual_seed(seed)
    directions = normalize(torch.randn(TRUE, D, generator=g), dim=1)
    chosen = torch.rand(rows, TRUE, generator=g).topk(active, dim=1).indices
    weights = torch.zeros(rows, TRUE).scatter_(1, chosen, 1 + torch.rand(rows, active, generator=g))
    return weights @ directions + 0.5, directions


def train(x: torch.Tensor, steps: int = 600, **changes: object) -> TrainOutcome:
    settings = {"d_sae": 96, "k": 3, "batch_size": 256, "steps": steps, "lr": 3e-3, "warmup_steps": 20}
    settings |= {"decay_steps": steps - 20, "dead_after_tokens": 5000} | changes
    options = TrainOptions(**settings)  # type: ignore[arg-type]
    k = options.k if options.architecture == "topk" else None
    cfg = SaeConfig(options.architecture, d_in=x.shape[1], d_sae=options.d_sae, d_out=x.shape[1], k=k)
    return fit(ShuffledStream(x, options.batch_size, seed=options.seed), cfg, options)


def test_topk_finds_the_planted_directions() -> None:
    x, directions = planted()
    outcome = train(x, d_sae=TRUE)
    assert outcome.held_out is not None
    assert outcome.held_out.fvu < 0.1
    assert outcome.held_out.l0 <= 3.0
    best = (directions @ outcome.dictionary.W_dec.T).max(dim=1).values
    assert float((best > 0.9).float().mean()) > 0.8
    assert outcome.verdict.word == "usable"


def test_relu_learns_and_is_sparse() -> None:
    x, _ = planted()
    outcome = train(x, architecture="relu", l1=1.0)
    assert outcome.held_out is not None
    assert outcome.held_out.fvu < 0.3
    assert outcome.held_out.l0 < 20


def test_the_saved_dictionary_works_on_raw_activations() -> None:
    """Scaling the data by 1,000 changes neither FVU nor features, only units: the scale was folded into the weights."""
    x, _ = planted()
    small, large = train(x, steps=200), train(1000 * x, steps=200)
    assert small.held_out is not None
    assert large.held_out is not None
    assert large.held_out.fvu == pytest.approx(small.held_out.fvu, rel=1e-2)
    assert large.held_out.recon_mse == pytest.approx(1e6 * small.held_out.recon_mse, rel=2e-2)
    f = small.dictionary.encode(x[:64])
    torch.testing.assert_close(large.dictionary.encode(1000 * x[:64]), 1000 * f, rtol=0.05, atol=5.0)
    torch.testing.assert_close(small.dictionary.W_dec.norm(dim=1), torch.ones(96))
    assert evaluate(small.dictionary, x).fvu == pytest.approx(small.held_out.fvu, rel=0.2)


def test_a_seed_repeats_itself() -> None:
    x, _ = planted(2000)
    first, second, other = train(x, 60), train(x, 60), train(x, 60, seed=1)
    assert torch.equal(first.dictionary.W_enc, second.dictionary.W_enc)
    assert first.history == second.history
    assert not torch.equal(first.dictionary.W_enc, other.dictionary.W_enc)


def test_history_has_a_hundred_points_and_the_first_and_last_step() -> None:
    x, _ = planted(2000)
    steps = [point[0] for point in train(x, 350).history]
    assert len(steps) >= 100
    assert steps[0] == 1
    assert steps[-1] == 350
    assert default_options(100_000, 4096, "llm", steps=200_000).log_every == 500


def test_cancel_keeps_the_dictionary_so_far() -> None:
    x, _ = planted(2000)
    options = TrainOptions(d_sae=96, k=3, batch_size=256, steps=500)
    control = Control(on_tick=lambda tick: control.cancel() if tick.done == 40 else None)
    cfg = SaeConfig("topk", d_in=D, d_sae=96, d_out=D, k=3)
    with pytest.raises(Interrupted, match="step 40 of 500") as caught:
        fit(ShuffledStream(x, 256), cfg, options, control=control)
    dictionary = caught.value.outcome.dictionary
    assert dictionary.cfg.step == 40
    assert not dictionary.cfg.complete
    assert dictionary.encode(x[:2]).shape == (2, 96)


def test_divergence_is_an_error_that_says_what_to_try() -> None:
    x, _ = planted(2000)
    with pytest.raises(DictionaryError, match="Try a lower lr"):
        train(x, 300, lr=1e30)


def test_a_handful_of_probes_is_a_smoke_test() -> None:
    outcome = train(torch.randn(6, D), 50, batch_size=6)
    assert outcome.verdict.word == "smoke test only"
    assert "Probe-scale data" in outcome.verdict.reasons[0]
    assert outcome.held_out is None
    assert any("hold any out" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"k": 97}, "larger than d_sae"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"l1": -1.0}, "l1 must be finite and not negative"),
        ({"architecture": "gated2"}, "topk, relu"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"lr": float("inf")}, "lr must be positive and finite"),
        ({"l1": float("nan")}, "l1 must be finite"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_options_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DictionaryError, match=message):
        TrainOptions(**({"d_sae": 96, "k": 3} | changes))  # type: ignore[arg-type]
