"""The bundled model, loaded once for all tests of this room."""

from __future__ import annotations

import pytest

from aquin_nb.engine.models import Model, load_model

TEXTS = ["In the beginning God created the heaven and the earth.", "A dog is a kind of animal", "x"]


@pytest.fixture(scope="session")
def lens() -> Model:
    return load_model("tiny", device="cpu", dtype="float32", backend="transformer-lens")


@pytest.fixture(scope="session")
def plain() -> Model:
    return load_model("tiny", device="cpu", dtype="float32", backend="huggingface")


@pytest.fixture
def texts() -> list[str]:
    return list(TEXTS)
