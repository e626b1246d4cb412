"""How a training card reads as text; widgets/src/monitor/words.ts and core/bars.ts word it the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from ..cards import SaeTrainCard, TrainMetrics, TrainSettings
from .text import DASH, count, number, percent

ARCHITECTURES: Final = {
    "topk": "TopK", "batchtopk": "BatchTopK", "relu": "ReLU", "jumprelu": "JumpReLU", "gated": "Gated",
    "matryoshka": "Matryoshka",
}  # fmt: skip

LOWEST: Final = -6
"""log10 of the firing rate where a density histogram begins; it ends at 1."""

_LEVELS = " ▁▂▃▄▅▆▇█"


def settings(config: TrainSettings | None) -> list[str]:
    """Shape and what keeps it sparse: "TopK 128 → 1,024", "k 32"."""
    if config is None:
        return []
    widths = [config.d_in, config.d_sae] + ([config.d_out] if config.d_out != config.d_in else [])
    parts = [f"{ARCHITECTURES[config.architecture]} {' → '.join(map(count, widths))}"]
    if config.k is not None:
        parts.append(f"k {count(config.k)}")
    elif config.sparsity_coefficient is not None:
        parts.append(f"sparsity coefficient {number(config.sparsity_coefficient)}")
    if config.groups is not None:
        parts.append(f"{len(config.groups)} groups")
    return parts


def held_out(end: TrainMetrics | None) -> list[str]:
    """What was measured at the end, one line for the rows and one for the model with the reconstruction in place."""
    if end is None:
        return []
    named = {
        "FVU": end.fvu, "explained variance": end.explained_variance, "cosine": end.cosine, "recon MSE": end.recon_mse,
        "L0": end.l0,
    }  # fmt: skip
    known = [f"{name} {number(value)}" for name, value in named.items() if value is not None]
    if end.dead_share is not None:
        known.append(f"dead {percent(end.dead_share)}")
    rows = "" if end.rows is None else f" ({count(end.rows)} rows)"
    lines = [f"Held out{rows}: {' · '.join(known)}"] if known else []
    spliced = []
    if end.ce_recovered is not None:
        spliced.append(f"CE recovered {percent(end.ce_recovered)}")
    if end.ce_clean is not None and end.ce_spliced is not None:
        spliced.append(f"CE {number(end.ce_clean)} → {number(end.ce_spliced)} nats")
    if end.kl is not None:
        spliced.append(f"KL {number(end.kl)} nats")
    tokens = "" if end.ce_tokens is None else f" ({count(end.ce_tokens)} tokens)"
    return [*lines, f"Spliced into the model{tokens}: {' · '.join(spliced)}"] if spliced else lines


def last_point(latest: TrainMetrics) -> str:
    """The quiet figures of the newest point; "" where none of them was measured."""
    named = {
        "explained variance": latest.explained_variance, "cosine": latest.cosine, "gradient norm": latest.grad_norm,
    }  # fmt: skip
    known = [f"{name} {number(value)}" for name, value in named.items() if value is not None]
    if latest.tokens_per_second is not None:
        known.append(f"{count(float(f'{latest.tokens_per_second:.3g}'))} tokens/s")
    return f"At step {count(latest.step)}: {' · '.join(known)}" if known else ""


def state(card: SaeTrainCard) -> str:
    """Where the run was continued, and from where one that did not complete could be."""
    parts = [f"┆ resumed at step {' and '.join(map(count, card.resumed_from))}"] if card.resumed_from else []
    if card.checkpoint is not None and card.status != "completed":
        parts.append(f"last checkpoint at step {count(card.checkpoint.step)}: {card.checkpoint.path}")
    return " · ".join(parts)


def rate_at(bins: int, at: float) -> float:
    """Firing rate at a place in a density histogram, in bins from its left end.

    >>> rate_at(40, 20)
    0.001
    """
    return float(10 ** (LOWEST * (1 - at / bins)))


def bin_text(counts: Sequence[int], at: int) -> str:
    """One bin of a density histogram: "312 latents at 0.011–0.016"."""
    low, high = (_two_digits(rate_at(len(counts), edge)) for edge in (at, at + 1))
    return f"{count(counts[at])} latents at " + (f"< {high}" if at == 0 else f"{low}–{high}")


def _two_digits(rate: float) -> str:
    """As exact as a bin is wide."""
    if rate >= 0.001:
        return f"{rate:.2g}"
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def median_rate(counts: Sequence[int]) -> str:
    """The median latent's firing rate; "≈ 0" where most latents hardly ever fire.

    >>> median_rate([0] * 20 + [5] + [0] * 19)
    '0.0012'
    """
    half = sum(counts) / 2
    if half == 0:
        return DASH
    at = next(at for at, seen in enumerate(accumulate(counts)) if seen >= half)
    return "≈ 0" if at == 0 else _two_digits(rate_at(len(counts), at + 0.5))


def ceiling(counts: Sequence[int]) -> float:
    """Value at the top of the count axis: a first bin that dwarfs the others is cut off, not the others flattened."""
    first, others = counts[0], max(counts[1:], default=0)
    return 1.25 * others if first > 1.5 * others > 0 else max(first, others, 1)


def sparkline(counts: Sequence[int]) -> str:
    """A density histogram in one line of a terminal.

    >>> sparkline([0, 1, 2, 4])
    ' ▂▄█'
    """
    most = ceiling(counts)
    return "".join(_LEVELS[max(int(n > 0), round(8 * min(n, most) / most))] for n in counts)


def report(card: SaeTrainCard) -> list[str]:
    """What a terminal shows below a training's one-line summary."""
    lines = [*held_out(card.held_out), last_point(card.latest)]
    if card.latest.density:
        density = card.latest.density
        lines.append(f"Firing rate: 1e-6 {sparkline(density)} 1, median {median_rate(density)}")
    lines += [state(card), *(f"Advice: {text}" for text in card.advice)]
    return [line for line in lines if line]
