"""Tokens: BOS by us, padding on the right, and only content tokens analysed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from aquin_nb.engine.models import Model
from aquin_nb.engine.models.tokens import read_policy, settle, tokenize
from aquin_nb.errors import ModelError


def test_bos_is_put_in_front_once_and_never_analysed(plain: Model, texts: list[str]) -> None:
    tokens = plain.tokenize(texts)
    assert (tokens.ids[:, 0] == plain.bos_id).all()
    assert (tokens.ids == plain.bos_id).sum() == len(texts)
    assert not tokens.analysed[:, 0].any()
    assert (tokens.analysed[:, 1:] == tokens.mask[:, 1:]).all()


def test_padding_is_on_the_right(plain: Model, texts: list[str]) -> None:
    tokens = plain.tokenize(texts)
    lengths = tokens.mask.sum(1)
    assert lengths.max() == tokens.ids.shape[1]
    assert lengths.min() < lengths.max()
    assert (tokens.mask == (torch.arange(tokens.ids.shape[1]) < lengths[:, None])).all()
    assert (tokens.ids.dtype, tokens.mask.dtype, tokens.ids.device.type) == (torch.int64, torch.bool, "cpu")


def test_both_backends_see_the_same_ids(plain: Model, lens: Model, texts: list[str]) -> None:
    assert torch.equal(plain.tokenize(texts).ids, lens.tokenize(texts).ids)
    assert plain.info.tokenizer_fingerprint == lens.info.tokenizer_fingerprint


def test_empty_text_is_bos_alone(plain: Model) -> None:
    tokens = plain.tokenize(["", "a word"])
    assert tokens.ids[0, 0] == plain.bos_id
    assert tokens.mask[0].sum() == 1
    assert not tokens.analysed[0].any()
    assert tokens.analysed[1].any()


def test_no_texts_give_an_empty_batch(plain: Model) -> None:
    tokens = plain.tokenize([])
    assert len(tokens) == 0
    assert plain.residuals(tokens, [1])[1].shape == (0, 1, plain.d_model)


def test_special_tokens_inside_a_text_are_not_analysed(plain: Model) -> None:
    (row,) = plain.encode(["one"])
    tokens = plain.batch([[plain.bos_id, *row, plain.eos_id, *row]])  # type: ignore[list-item]
    assert tokens.analysed[0].tolist() == [False, *[True] * len(row), False, *[True] * len(row)]


def test_truncation_keeps_bos(plain: Model, texts: list[str]) -> None:
    tokens = plain.tokenize(texts, max_tokens=4)
    assert tokens.ids.shape == (3, 4)
    assert torch.equal(tokens.ids, plain.tokenize(texts).ids[:, :4])
    assert plain.tokenize(["word " * 5000]).ids.shape[1] == min(512, plain.context)


def test_wrong_arguments_say_so(plain: Model) -> None:
    with pytest.raises(ModelError, match="one string"):
        plain.tokenize("text")
    with pytest.raises(ModelError, match=rf"max_tokens=\d+ is outside 1 to {plain.context}"):
        plain.tokenize(["a"], max_tokens=plain.context + 1)


def test_token_strings_join_to_the_text(plain: Model) -> None:
    text = "In the beginning God created the heaven"
    (row,) = plain.encode([text])
    assert "".join(plain.token_strings(row)) == text


def test_rows_of_a_batch_are_cut_to_their_longest(plain: Model, texts: list[str]) -> None:
    tokens = plain.tokenize(texts)
    part = tokens.rows(2, 3)
    assert part.ids.shape == (1, int(tokens.mask[2].sum()))
    assert part.mask.all()


class Config:
    max_position_embeddings = 8192


def bert_tokenizer() -> Any:
    """A word tokenizer with BERT's frame, whose file asks for truncation and padding."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(50))]
    rules = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    rules.enable_truncation(6)
    rules.enable_padding(length=6)
    return PreTrainedTokenizerFast(tokenizer_object=rules, pad_token="[PAD]", unk_token="[UNK]")


def test_an_embedding_text_is_cut_within_its_frame() -> None:
    tokenizer = bert_tokenizer()
    policy = read_policy(tokenizer, Config(), "embedding", None)
    assert (policy.prefix, policy.suffix) == ((2,), (3,))
    tokens = tokenize(tokenizer, policy, [" ".join(f"w{n}" for n in range(20)), "w7"], 10)
    assert tokens.ids[0].tolist() == [2, *range(4, 12), 3]
    assert tokens.ids[1][tokens.mask[1]].tolist() == [2, 11, 3]
    with pytest.raises(ModelError, match="max_tokens=1 is outside 2 to 8192"):
        tokenize(tokenizer, policy, ["w1"], 1)


def test_a_long_context_is_not_filled_by_one_text() -> None:
    assert read_policy(bert_tokenizer(), Config(), "llm", None).default_max == 2048


def test_threads_share_a_tokenizer() -> None:
    tokenizer = bert_tokenizer()
    policy = read_policy(tokenizer, Config(), "embedding", None)
    settle(tokenizer)
    texts = [" ".join(f"w{(n * 7 + i) % 50}" for i in range(40)) for n in range(64)]
    limits = [5, 40]
    expected = [tokenize(tokenizer, policy, texts, limit).ids for limit in limits]
    failures: list[object] = []

    def work(which: int) -> None:
        try:
            for _ in range(60):
                if not torch.equal(tokenize(tokenizer, policy, texts, limits[which]).ids, expected[which]):
                    failures.append("other ids")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
