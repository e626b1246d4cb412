"""Text to token ids: BOS put in front by us, padding on the right, and a mask of the tokens worth analysing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import ModelError
from .untyped import HFConfig, HFTokenizer

_CONTEXT = 512  # of a model that does not say
_LONGEST_TEXT = 2048  # where attention cannot be fused it holds rows of tokens squared: minutes and gigabytes
_SAMPLE = "a"


@dataclass(frozen=True)
class Tokens:
    """One right-padded batch, on the CPU.

    `ids` [b, t] int64; `mask` [b, t] bool, True on real tokens; `analysed` [b, t] bool: `mask` without BOS, position 0
    and special tokens for a language model, `mask` itself for an embedding model.
    """

    ids: Tensor
    mask: Tensor
    analysed: Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]

    def rows(self, start: int, stop: int) -> Tokens:
        """A slice of the batch, cut to the longest row in it."""
        width = max(1, int(self.mask[start:stop].sum(1).max())) if stop > start else 1
        part = slice(start, stop), slice(0, width)
        return Tokens(self.ids[part], self.mask[part], self.analysed[part])


@dataclass(frozen=True)
class TokenPolicy:
    """What decides a batch: the mode, the special ids and the lengths."""

    mode: str
    bos_id: int | None
    eos_id: int | None
    pad_id: int
    special: frozenset[int]
    context: int  # the longest input the model takes
    default_max: int  # tokens that are read of one text unless asked otherwise
    prefix: tuple[int, ...]  # what stands before every text: BOS, or an embedding model's [CLS]
    suffix: tuple[int, ...]  # what ends it: an embedding model's [SEP]

    @property
    def frame(self) -> int:
        """Tokens of a row that are not the text's."""
        return len(self.prefix) + len(self.suffix)


def read_policy(tokenizer: HFTokenizer, config: HFConfig, mode: str, folder: Path | None) -> TokenPolicy:
    """The policy of a model; `folder` may hold a sentence-transformers length limit."""
    context = int(getattr(config, "max_position_embeddings", 0) or _CONTEXT)
    stated = getattr(tokenizer, "model_max_length", None)
    if isinstance(stated, int) and 0 < stated < 10_000_000:  # "no limit" is written as 1e30
        context = min(context, stated)
    special = set(tokenizer.all_special_ids)
    special |= {index for index, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if token.special}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    bos = tokenizer.bos_token_id if mode == "llm" else None
    prefix, suffix = _frame(tokenizer) if mode == "embedding" else (() if bos is None else (bos,), ())
    return TokenPolicy(
        mode=mode,
        bos_id=bos,
        eos_id=tokenizer.eos_token_id,
        pad_id=int(pad) if pad is not None else 0,
        special=frozenset(int(index) for index in special),
        context=context,
        default_max=min(context, _LONGEST_TEXT, _sentence_limit(folder) or context),
        prefix=prefix,
        suffix=suffix,
    )


def _frame(tokenizer: HFTokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that an embedding model's tokenizer puts before and after a text."""
    plain = encode(tokenizer, [_SAMPLE])[0]
    framed = [int(index) for index in tokenizer(_SAMPLE, add_special_tokens=True, verbose=False)["input_ids"]]
    for at in range(len(framed) - len(plain) + 1):
        if plain and framed[at : at + len(plain)] == plain:
            return tuple(framed[:at]), tuple(framed[at + len(plain) :])
    raise ModelError("The tokenizer does not put its special tokens around the text; this model cannot be read.")


def settle(tokenizer: HFTokenizer) -> None:
    """Switch off the truncation and padding that a tokenizer's file may ask for, once and for all.

    A fast tokenizer keeps both as state, which its first call here changes; a change while another thread encodes is
    an error ("Already borrowed"). Afterwards no call of ours changes anything, so threads may share it.
    """
    encode(tokenizer, [_SAMPLE])
    tokenizer(_SAMPLE, add_special_tokens=True, verbose=False)


def _sentence_limit(folder: Path | None) -> int | None:
    """The length a sentence-transformers model was trained at, where it says so."""
    path = folder / "sentence_bert_config.json" if folder else None
    if path is None or not path.is_file():
        return None
    limit = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length")
    return int(limit) if limit else None


def encode(tokenizer: HFTokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text as it stands: no BOS, no EOS, no truncation.

    Tokenizers disagree on adding BOS, so we never ask for it; truncation is state shared between threads, so we cut
    rows ourselves.
    """
    if not texts:
        return []
    rows = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [[int(index) for index in row] for row in rows]


def tokenize(
    tokenizer: HFTokenizer, policy: TokenPolicy, texts: Sequence[str], max_tokens: int | None = None
) -> Tokens:
    """One batch of texts, each truncated to `max_tokens` (default: the policy's).

    Language model: BOS (when the tokenizer has one) then the text; an empty text is BOS alone, with nothing analysed.
    Embedding model: the tokenizer's own frame ([CLS] text [SEP]), because the model was trained with it.

    Raises:
        ModelError: a string was passed instead of a list, or max_tokens is below 1 or beyond the model's context.
    """
    if isinstance(texts, str):
        raise ModelError("Texts are a list of strings; got one string. Write [text].")
    limit = policy.default_max if max_tokens is None else max_tokens
    least = max(1, policy.frame)
    if not least <= limit <= policy.context:
        raise ModelError(f"max_tokens={limit} is outside {least} to {policy.context}, the context of this model.")
    room = limit - policy.frame
    return batch([framed(row[:room], policy) for row in encode(tokenizer, texts)], policy)


def framed(ids: Sequence[int], policy: TokenPolicy) -> list[int]:
    """One row of the model's input: a text's ids with BOS in front, or in an embedding model's frame."""
    return [*policy.prefix, *ids, *policy.suffix]


def batch(rows: Sequence[Sequence[int]], policy: TokenPolicy) -> Tokens:
    """Right-pad rows of ids (BOS already in front) into a batch; the width is at least 1, for a row without tokens."""
    width = max((len(row) for row in rows), default=0) or 1
    ids = torch.full((len(rows), width), policy.pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.as_tensor(list(row), dtype=torch.int64)
        mask[index, : len(row)] = True
    if policy.mode == "embedding":
        return Tokens(ids, mask, mask.clone())
    special = torch.tensor(sorted(policy.special), dtype=torch.int64)
    analysed = mask & ~torch.isin(ids, special)
    analysed[:, 0] = False  # the attention sink: norms of tens of thousands where the rest has hundreds
    return Tokens(ids, mask, analysed)
