"""Names for objects of libraries that carry no types: they say what is meant where a checker sees Any."""

from __future__ import annotations

from typing import Any, TypeAlias

HFModel: TypeAlias = Any  # transformers.PreTrainedModel
HFTokenizer: TypeAlias = Any  # transformers.PreTrainedTokenizerBase
HFConfig: TypeAlias = Any  # transformers.PretrainedConfig
Untyped: TypeAlias = Any  # hook arguments, unpickled plain values, keyword pass-through
