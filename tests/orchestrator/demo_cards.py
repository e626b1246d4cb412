"""Cards of every kind as a session would send them, small and plausible."""

from __future__ import annotations

from typing import Any

MODEL = {
    "name": "smollm2-135m", "source": "fetched", "mode": "llm", "n_layers": 30, "d_model": 576, "dtype": "float32",
    "device": "cpu", "backend": "transformer-lens", "fingerprint": "ab" * 32, "checkpoint": None,
}  # fmt: skip
TUNED = MODEL | {"checkpoint": {"path": "/runs/bible.pt", "step": 200, "fingerprint": "cd" * 32}}
DICTIONARY = {
    "path": "/home/sae_layer5.pt", "name": "bible-5", "architecture": "topk", "d_in": 576, "d_sae": 4608, "layer": 5,
    "fingerprint": "ef" * 32,
}  # fmt: skip


def cards() -> dict[str, dict[str, Any]]:
    """By kind, each as far as the board shows it."""
    base = {"schema_version": 1, "notes": [], "artifacts": [], "error": None, "model": MODEL}
    return {
        "activationCapture": base
        | {
            "kind": "activationCapture", "name": "capture-geography", "status": "completed", "topic": "geography",
            "n_probes": 48, "layers": [3, 4, 5, 6], "position": "last", "dtype": "float32",
            "metadata_keys": ["label", "country"],
        },
        "saeTrain": base
        | {
            "kind": "saeTrain", "name": "bible-5", "status": "running", "layer": 5, "hook": "blocks.5.hook_resid_post",
            "corpus": {"name": "openwebtext", "tokens": 2_000_000, "why": "default", "documents": 4100},
            "config": {"architecture": "topk", "d_in": 576, "d_sae": 4608, "k": 32, "lr": 4e-4, "steps": 1000},
            "latest": {"step": 10, "tokens": 40960, "fvu": 0.61, "l0": 32.0, "dead_share": 0.02},
            "advice": [], "reasons": [], "verdict": None, "held_out": None,
        },
        "saeDiff": base
        | {
            "kind": "saeDiff", "name": "diff-bible", "status": "completed", "layer": 5, "model": TUNED,
            "dictionary": DICTIONARY, "n_prompts": 120, "n_features": 4608, "n_changed": 212, "max_abs_delta": 3.41,
            "mean_abs_delta": 0.0182, "threshold": 0.1, "advice": "align",
            "advice_reason": "The dictionary explains the fine-tuned activations worse; align it before reading on.",
        },
        "saeAlign": base
        | {
            "kind": "saeAlign", "name": "align-5-6", "status": "completed", "a": DICTIONARY,
            "b": DICTIONARY | {"name": "psalms-5"}, "mean_cosine": 0.612, "live_mean_cosine": 0.655,
            "median_cosine": 0.701, "share_above_0_9": 0.214, "n_pairs": 4608, "verdict": "partly the same features",
        },
    }  # fmt: skip
