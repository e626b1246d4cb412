"""Cards and frames of every kind, small and hostile: names that would be markup if anything forgot to escape them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from aquin_nb.cards import (
    ActivationCaptureCard,
    AlignedFeature,
    Artifact,
    Card,
    CheckpointRef,
    CohortDelta,
    CorpusRef,
    DictionaryRef,
    FeatureDelta,
    FeaturePair,
    FeaturePath,
    LayerNorms,
    ModelRef,
    Neighbour,
    ProbePreview,
    SaeAlignCard,
    SaeDiffCard,
    SaeTrainCard,
    SaeTrajectoryCard,
    SessionCard,
    TrainCheckpoint,
    TrainMetrics,
    TrainSettings,
    TrajectoryStop,
)

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"'&\u2028"

MODEL = ModelRef(
    name=HOSTILE, source="hub", mode="llm", n_layers=6, d_model=128, dtype="float32", device="cpu",
    backend="transformer-lens", fingerprint="ab" * 32, checkpoint=CheckpointRef(path=HOSTILE, step=7, fingerprint="cd"),
)  # fmt: skip
DICTIONARY = DictionaryRef(path=HOSTILE, name=HOSTILE, architecture="topk", d_in=128, d_sae=1024, fingerprint="ef" * 32)


DENSITY = [300] + [0] * 9 + list(range(1, 26)) + [3] * 5


def history(rows: int = 50) -> pd.DataFrame:
    step = np.arange(1, rows + 1) * 10
    return pd.DataFrame(
        {
            "step": step,
            "tokens": step * 512,
            "recon_mse": 900 * np.exp(-step / 100) + 20,
            "fvu": 0.2 + np.exp(-step / 100),
            "explained_variance": 0.8 - np.exp(-step / 100),
            "cosine": 0.9 - np.exp(-step / 100) / 2,
            "l0": np.full(rows, 32.0),
            "dead": np.arange(rows) * 2,
            "lr": np.full(rows, 3e-4),
            "grad_norm": 1 / step,
            "tokens_per_second": np.full(rows, 51_200.0),
        }
    )


def train_card() -> SaeTrainCard:
    config = TrainSettings(
        architecture="topk", d_in=128, d_out=128, d_sae=1024, k=32, lr=3e-4, batch_size=512, steps=500,
        dead_after_tokens=10_000, seed=0, full={HOSTILE: HOSTILE, "hooks": {"in": HOSTILE}},
    )  # fmt: skip
    corpus = CorpusRef(name=HOSTILE, tokens=1000, why=HOSTILE)
    return SaeTrainCard(name=HOSTILE, layer=3, hook=HOSTILE, model=MODEL, config=config, corpus=corpus)


def _ended(card: Card) -> Card:
    card.start()
    card.finish("failed", RuntimeError(HOSTILE))
    card.notes = [HOSTILE]
    card.artifacts = [Artifact(role=HOSTILE, path=HOSTILE, bytes=1_500_000)]
    return card


def every_kind() -> list[tuple[Card, dict[str, pd.DataFrame]]]:
    """One card of each kind with the frame that its result shows."""
    train = train_card()
    train.verdict, train.reasons = "weak", [HOSTILE]
    train.latest = TrainMetrics(step=500, tokens=256_000, explained_variance=0.79, density=DENSITY)
    train.held_out = TrainMetrics(
        fvu=0.2, explained_variance=0.8, cosine=0.9, recon_mse=21.0, l0=32.0, dead_share=0.1, rows=5000,
        ce_recovered=0.982, ce_clean=3.41, ce_spliced=3.47, kl=0.031, ce_tokens=20_480,
    )  # fmt: skip
    train.advice, train.resumed_from = [HOSTILE], [200]
    train.checkpoint = TrainCheckpoint(path=HOSTILE, step=400, written_at=datetime(2026, 1, 1, tzinfo=UTC))
    features = pd.DataFrame(
        {
            "feature": [1, 2, 3], "mean_base": [0.1, 0.0, 2.0], "mean_checkpoint": [0.3, 0.0, 1.0],
            "delta": [0.2, 0.0, -1.0], "rate_base": [0.1, 0.0, 0.9], "rate_checkpoint": [0.2, 0.0, 0.8],
            "mean_on_base": [0.2, np.nan, 2.2], "mean_on_checkpoint": [0.4, np.nan, 1.2], "probes": [30, 0, 40],
            "p": [0.001, np.nan, 0.4], "q": [0.002, np.nan, 0.4], "changed": [True, False, False],
        }
    )  # fmt: skip
    told = features.astype(object).where(features.notna(), None)
    top = [FeatureDelta(**row, tokens=[HOSTILE, " "]) for row in told.to_dict("records")]
    cohort = CohortDelta(
        cohort=HOSTILE, n_prompts=20, n_tokens=300, n_changed=1, n_over=2, n_tested=3, mean_abs_delta=0.1,
        deltas=[0.2, -1.0], changed=[True, False],
    )  # fmt: skip
    diff = SaeDiffCard(
        name=HOSTILE, model=MODEL, layer=3, dictionary=DICTIONARY, n_features=3, n_changed=1, top=top, n_prompts=40,
        n_tokens=600, n_over=2, n_tested=2, threshold=0.15, fdr=0.05, fvu_base=0.2, fvu_checkpoint=0.25,
        advice="align", advice_reason=HOSTILE, by=HOSTILE, cohorts=[cohort], cohort_features=[1, 3],
    )  # fmt: skip
    stops = [
        TrajectoryStop(
            step=step, checkpoint=CheckpointRef(path=HOSTILE, step=step, fingerprint="cd"), n_changed=step, n_over=step,
            mean_abs_delta=0.1, max_abs_delta=1.0, fvu=0.2, advice="keep",
        )
        for step in (100, 200)
    ]  # fmt: skip
    paths = [FeaturePath(feature=7, mean_base=0.5, deltas=[0.1, -0.2], changed=[True, False])]
    trajectory = SaeTrajectoryCard(
        name=HOSTILE, model=MODEL, layer=3, dictionary=DICTIONARY, n_prompts=40, n_tokens=600, n_features=1024,
        threshold=0.05, fvu_base=0.2, stops=stops, top=paths,
    )  # fmt: skip
    pairs = pd.DataFrame(
        {
            "a": [0, 1], "b": [1, 0], "cosine": [0.9, -0.2], "class_a": [HOSTILE, "weak"],
            "class_b": ["shared", "weak"], "margin": [0.3, float("inf")],
        }
    )  # fmt: skip
    ends = [FeaturePair(a=0, b=1, cosine=0.9)]
    near = [Neighbour(feature=1, cosine=0.1)]
    weak = [
        AlignedFeature(feature=0, label=HOSTILE, neighbours=near, partner=1, cosine=0.1, margin=0.0),
        AlignedFeature(feature=1, label="weak", neighbours=near),
    ]
    align = SaeAlignCard(
        name=HOSTILE, a=DICTIONARY, b=DICTIONARY, n_pairs=2, histogram=[0] * 15 + [1] + [0] * 22 + [1, 0],
        weakest=ends, strongest=ends, weakest_a=weak, weakest_b=weak, classes_a={"shared": 1, "weak": 1},
        classes_b={"shared": 1}, dead_by=HOSTILE, sample=HOSTILE, verdict=HOSTILE, null_line=0.2, n_a=2, n_b=1,
        exchangeable_low=1.0,
    )  # fmt: skip
    probes = pd.DataFrame({"text": [HOSTILE, "plain"], HOSTILE: [HOSTILE, 1984], "nothing": [None, float("nan")]})
    capture = ActivationCaptureCard(
        name=HOSTILE, topic=HOSTILE, model=MODEL, n_probes=2, layers=[0], metadata_keys=[HOSTILE],
        norms=[LayerNorms(layer=0, median=1.0, max=2.0)], probes=[ProbePreview(row=0, text=HOSTILE)],
    )  # fmt: skip
    session = SessionCard(name=HOSTILE, model=MODEL, dictionary=DICTIONARY, versions={HOSTILE: HOSTILE})
    return [
        (_ended(train), {"history": history()}),
        (_ended(diff), {"features": features}),
        (_ended(trajectory), {}),
        (_ended(align), {"pairs": pairs}),
        (_ended(capture), {"probes": probes}),
        (_ended(session), {}),
    ]
