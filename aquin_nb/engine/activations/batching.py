"""How many context rows go through the model at once: a usual number, or what a short measurement finds fastest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..models import Model, Tokens
    from ..models.sites import Site

USUAL_TOKENS = {"cpu": 2048, "cuda": 16_384}
WORTHWHILE = 200  # usual batches in a collection, from which on a few measured ones cost next to nothing
FACTORS = {"cpu": (0.5, 1.0, 2.0, 4.0), "cuda": (1.0, 2.0, 4.0, 8.0, 16.0)}
WORTH = 0.97  # a larger batch has to take less than this of a smaller one's time a token
MEMORY = 0.6  # of what is free on a GPU: another job may come


def usual_rows(model: Model, context_size: int) -> int:
    """Context rows of a batch that suits the device: 2,048 tokens on a CPU, 16,384 on an accelerator."""
    return max(1, _usual_tokens(model) // context_size)


def measured_rows(model: Model, sites: Sequence[Site], context_size: int, tokens: int) -> int:
    """Context rows of the batch with the most tokens a second, or `usual_rows` where measuring would not pay.

    Args:
        model: loaded. sites: to be read. context_size: tokens a row.
        tokens: of the whole collection; measured from 200 usual batches on.
    """
    usual = usual_rows(model, context_size)
    if tokens < WORTHWHILE * _usual_tokens(model):
        return usual
    best, least = usual, float("inf")
    for factor in FACTORS.get(model.device.type, FACTORS["cuda"]):
        rows = max(1, round(usual * factor))
        if not _fits(model, rows, context_size):
            break
        took = _seconds_a_token(model, sites, rows, context_size)
        if took < least * WORTH:
            best, least = rows, took
    return best


def _usual_tokens(model: Model) -> int:
    return USUAL_TOKENS.get(model.device.type, USUAL_TOKENS["cuda"])


def _rows(model: Model, rows: int, context_size: int) -> Tokens:
    room = context_size - model.policy.frame
    special = model.policy.special
    plain = [index for index in range(room + len(special)) if index not in special][:room]
    return model.batch([model.framed(plain)] * rows)


def _seconds_a_token(model: Model, sites: Sequence[Site], rows: int, context_size: int) -> float:
    tokens = _rows(model, rows, context_size)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        model.activations(tokens, sites)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        took.append(time.perf_counter() - start)
    return min(took) / (rows * context_size)


def _fits(model: Model, rows: int, context_size: int) -> bool:
    """Whether a batch leaves room on a GPU, judged by what a row of it needs; a CPU's memory is not the limit here."""
    if model.device.type != "cuda":
        return True
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(model.device)
    before = torch.cuda.memory_allocated(model.device)
    model.activations(_rows(model, 1, context_size), [model.site(model.n_layers - 1)])
    one = torch.cuda.max_memory_allocated(model.device) - before
    return rows * one < MEMORY * torch.cuda.mem_get_info(model.device)[0]
