"""Between runs, cards and files: what a manifest does not say is told, not raised by whoever needed it."""

from __future__ import annotations

import pytest
import torch
from planted import stored

from aquin_nb.errors import StoreError
from aquin_nb.verbs.sources import open_rows


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"model": {"name": "tiny"}}, r"model is damaged: source, mode, .*fingerprint"),
        ({"model": {}}, r"model is damaged: name, source"),
        ({"corpus": {}}, r"manifest.json is damaged: corpus does not say 'name'"),
        ({"corpus": {"name": "words"}}, r"manifest.json is damaged: corpus does not say 'why'"),
    ],
)
def test_a_store_that_does_not_say_whose_it_is(tmp_path, about, message):
    folder = stored(tmp_path / "s", torch.randn(20, 32), about=about).path
    with pytest.raises(StoreError, match=message):
        open_rows(folder)
