"""GGUF files: read one as a transformers model, and keep it as bfloat16 safetensors so that later loads are instant."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from ...control import Control
from ...errors import ModelError
from .quiet import quiet_libraries
from .untyped import HFModel, HFTokenizer

_STAGE = "convert"
_BAR_LOCK = threading.Lock()


def open_gguf(path: Path, dtype: torch.dtype) -> tuple[HFModel, HFTokenizer]:
    """A (model, tokenizer) from one GGUF file, dequantised to `dtype` on the CPU.

    Raises:
        ModelError: the `gguf` package is missing, or the file is damaged or of an unsupported architecture.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModelError("Reading a GGUF file needs the small package gguf: pip install gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": path.name, "local_files_only": True}
    try:
        with quiet_libraries(), _no_bar():
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


@contextmanager
def _no_bar() -> Iterator[None]:
    """Give the library's GGUF reader a silent bar for the while: the one it has heeds no verbosity setting."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]
    from transformers import modeling_gguf_pytorch_utils as reader

    with _BAR_LOCK:  # one at a time, so that what is put back is always the library's own
        own = getattr(reader, "tqdm", None)
        reader.tqdm = partial(tqdm, disable=True)
        try:
            yield
        finally:
            if own is None:
                del reader.tqdm
            else:
                reader.tqdm = own


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
