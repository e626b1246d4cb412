"""GGUF files: read one as a transformers model, and keep it as bfloat16 safetensors so that later loads are instant."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch

from ...control import Control
from ...errors import ModelError
from .quiet import quiet_libraries
from .untyped import HFModel, HFTokenizer

_STAGE = "convert"


def open_gguf(path: Path, dtype: torch.dtype) -> tuple[HFModel, HFTokenizer]:
    """A (model, tokenizer) from one GGUF file, dequantised to `dtype` on the CPU.

    Raises:
        ModelError: the `gguf` package is missing, or the file is damaged or of an unsupported architecture.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModelError("Reading a GGUF file needs the small package gguf: pip install gguf")
    from tqdm.auto import tqdm  # type: ignore[import-untyped]
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

    where = {"gguf_file": path.name, "local_files_only": True}
    try:
        # Its bar heeds no verbosity setting, so it is given a silent one for the while.
        silent = patch.object(modeling_gguf_pytorch_utils, "tqdm", partial(tqdm, disable=True), create=True)
        with quiet_libraries(), silent:
            model = AutoModelForCausalLM.from_pretrained(str(path.parent), dtype=dtype, **where)
            tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **where)
    except Exception as error:  # the parser meets a damaged file with whatever error its bytes lead to
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} could not be read as a GGUF language model: {reason}") from error
    # The weights are plain tensors now; without this the library still calls them quantised and refuses to save them.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]  # GGUF names none, and TransformerLens asks for it
    return model.eval(), tokenizer


def convert_gguf(path: Path, folder: Path, control: Control) -> None:
    """Write the model of a GGUF file into `folder` as a bfloat16 safetensors model with its tokenizer."""
    control.tick(_STAGE, 0, 3, "steps")
    model, tokenizer = open_gguf(path, torch.bfloat16)
    control.tick(_STAGE, 1, 3, "steps")
    with quiet_libraries():
        model.save_pretrained(folder)
        control.tick(_STAGE, 2, 3, "steps")
        tokenizer.save_pretrained(folder)
    control.tick(_STAGE, 3, 3, "steps")
