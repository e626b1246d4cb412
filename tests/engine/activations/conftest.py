"""Real models for the activation tests: the bundled language model, and a small BERT made on the spot."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquin_nb.engine.models import Model, load_model

sys.path.insert(0, str(Path(__file__).parent))  # `stores.py` is shared by the tests of stores, and by their processes

WORDS = ["the", "a", "dog", "cat", "sat", "on", "mat", "ran", "far", "away", "and", "slept", "."]


@pytest.fixture(scope="session", autouse=True)
def unhurried() -> Iterator[None]:
    """Nobody waits for the disk: that matters when the power fails, and to no test but one, which asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def tiny() -> Model:
    return load_model("tiny", device="cpu", dtype="float32", backend="huggingface")


@pytest.fixture(scope="session")
def embedder(tmp_path_factory) -> Model:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **names).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, pad_token_id=0, **shape)
    BertModel(config).save_pretrained(folder)
    return load_model(folder, device="cpu", dtype="float32")
