"""A public dictionary is pulled once, computes here what SAELens computes, and is bound by its layer."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import aquin_nb
from aquin_nb.engine.sae.foreign import read_saelens
from aquin_nb.engine.sae.public import pull_dictionary
from aquin_nb.errors import DictionaryError, NetworkError

D_IN, D_SAE = 128, 40
CFG = {"architecture": "standard", "model_name": "tiny", "hook_name": "blocks.3.hook_resid_pre"}


def written(folder: Path, **more: Any) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    g = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D_IN, D_SAE), "W_dec": (D_SAE, D_IN), "b_enc": (D_SAE,), "b_dec": (D_IN,)}
    tensors = {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}
    tensors["threshold"] = torch.rand(D_SAE, generator=g) * 5
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({**CFG, **more}))
    return tensors


@pytest.mark.parametrize("subtracts", [True, False])
@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk"])
def test_it_computes_what_its_definition_says(kind: str, subtracts: bool, tmp_path: Path) -> None:
    w = written(tmp_path / "sae", architecture=kind, k=5, apply_b_dec_to_input=subtracts)
    sae, notes = read_saelens(tmp_path / "sae")
    x = torch.randn(7, D_IN, generator=torch.Generator().manual_seed(1))
    pre = (x - w["b_dec"] * subtracts) @ w["W_enc"] + w["b_enc"]
    f = torch.relu(pre)
    if kind == "jumprelu":
        f = f * (pre > w["threshold"])
    if kind == "topk":
        f = f * (f >= f.topk(5).values[:, -1:])
    torch.testing.assert_close(sae.encode(x), f, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sae.decode(sae.encode(x)), f @ w["W_dec"] + w["b_dec"], atol=1e-3, rtol=1e-4)
    assert (sae.cfg.layer, sae.cfg.hook, sae.cfg.model, notes) == (2, "blocks.2.hook_resid_post", "tiny", [])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"architecture": "gated"}, "architecture 'gated'"),
        ({"normalize_activations": "layer_norm"}, "scales its inputs"),
        ({"hook_name": "blocks.3.hook_mlp_out"}, "it reads blocks.3.hook_mlp_out"),
        ({"hook_name": "blocks.0.hook_resid_pre"}, "outputs of blocks"),
        ({"architecture": "topk"}, "k must be between"),
    ],
)
def test_what_cannot_be_expressed_is_refused(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    written(tmp_path / "sae", **more)
    with pytest.raises(DictionaryError, match=said):
        read_saelens(tmp_path / "sae")


def test_it_is_pulled_from_the_cache_and_bound(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from aquin_nb.cli import main

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repo = tmp_path / "models--some--saes"
    written(repo / "snapshots" / ("0" * 40) / "third", model_from_pretrained_kwargs={"center_writing_weights": True})
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    sae, notes = pull_dictionary("some/saes/third")
    assert "centred" in notes[0]
    assert sae.path == home / "sae" / "tiny" / "sae_layer2.pt"
    assert main(["load", "--model", "tiny"]) == 0
    assert main(["pull", "sae", "some/saes/third"]) == 0
    assert main(["load", "sae", "--public", "2"]) == 0
    assert aquin_nb.load_dictionary(sae.path).cfg.layer == 2
    for slug, problem, said in (
        ("some/saes/other", NetworkError, "cannot be reached"),
        ("gpt5", DictionaryError, "names no public dictionary"),
        ("gpt2", DictionaryError, "--layer"),
        ("a/../b", DictionaryError, "names no public"),
    ):
        with pytest.raises(problem, match=said):
            pull_dictionary(slug)
