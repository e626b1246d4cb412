"""Load a model: files to a ready `Model` with its backend, tokenizer, fingerprints and fine-tuned weights."""

from __future__ import annotations

from pathlib import Path

import torch

from ...control import Control
from ...errors import CheckpointError, ModelError, OutOfMemory
from ..numerics import fast_dtype
from .adapters import describe_adapter, is_adapter, merge_adapter
from .backends import Backend, HuggingFaceBackend, TransformerLensBackend
from .checkpoints import apply_state, describe_file, describe_folder, read_checkpoint, resolve_checkpoint, state_digest
from .convert import open_gguf
from .fingerprints import stored_fingerprint, tokenizer_fingerprint, tuned_fingerprint
from .info import CheckpointInfo, ModelInfo
from .model import Model
from .quiet import quiet_libraries
from .sources import Place, check_weights, resolve
from .tokens import read_policy, settle
from .untyped import HFConfig, HFModel, HFTokenizer

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BACKENDS = ("transformer-lens", "huggingface")
_STAGE = "load"
_EMBEDDING_SAE = 4096  # pooled sentences are fewer than tokens, so a fixed, modest dictionary
_EXPANSION = 8
# What must agree before a folder of fine-tuned weights counts as the same model.
_SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


def load_model(
    spec: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    backend: str = "transformer-lens",
    checkpoint: str | Path | None = None,
    control: Control | None = None,
) -> Model:
    """Load a model for reading its activations.

    Args:
        spec: a catalogued slug ("tiny", "smollm2-135m"), a hub id ("org/name"), a folder, or a .gguf file.
        device: "auto" (CUDA when there is one, else the CPU), or a torch device such as "cuda:1".
        dtype: "float32", "bfloat16", "float16", or "auto": bfloat16 on a GPU that has it, and on a CPU only where a
            short measurement at the model's width shows it faster; otherwise float32.
        backend: "transformer-lens" or "huggingface"; both give the same numbers. An embedding model is always read
            through Hugging Face, and its `info.backend` says so.
        checkpoint: fine-tuned weights to put in: a `{step, state_dict}` or `.safetensors` file, a folder of
            safetensors of the same architecture, a LoRA adapter's folder (merged; needs peft), or the slug of a
            published fine-tune.
        control: progress and cancel.

    Only safetensors weights are read and no code that comes with a model is ever run.

    Raises:
        ModelError: the model cannot be found, read, or run this way.
        CheckpointError: the checkpoint cannot be read or belongs to another model.
        NetworkError: a download is needed and impossible.
        OutOfMemory: the weights do not fit on the device.

    >>> load_model("tiny", device="cpu", dtype="float32").info.n_layers
    6
    """
    control = control or Control()
    if backend not in _BACKENDS:
        raise ModelError(f"backend={backend!r}; choose 'transformer-lens' or 'huggingface'.")
    place_on = pick_device(device)
    _check_dtype(dtype)
    place = resolve(spec, control)
    tuned = resolve_checkpoint(checkpoint, control) if checkpoint is not None else None
    control.tick(_STAGE, 0, 4, "steps")
    hf, tokenizer, mode, info, state = open_model(place, dtype, place_on, tuned)
    control.tick(_STAGE, 1, 4, "steps")
    fingerprint = stored_fingerprint(place.path)
    if state is not None:
        fingerprint = tuned_fingerprint(fingerprint, state)
    control.tick(_STAGE, 2, 4, "steps")
    _move(hf, place_on, place.name)
    control.tick(_STAGE, 3, 4, "steps")
    text = hf.config.get_text_config()
    n_layers, d_model = int(text.num_hidden_layers), int(text.hidden_size)
    # Before the backend is built, which may change settings of what it is given.
    settle(tokenizer)
    policy = read_policy(tokenizer, text, mode, place.path if place.path.is_dir() else None)
    tokens_are = tokenizer_fingerprint(tokenizer)
    reader: Backend
    with quiet_libraries():
        if mode == "embedding" or backend == "huggingface":
            reader = HuggingFaceBackend(hf, n_layers, causal=mode == "llm")
        else:
            reader = TransformerLensBackend(hf, tokenizer, n_layers)
        reader.fuse_attention()
    entry = place.entry
    model = Model(
        ModelInfo(
            name=place.name,
            source=place.source,
            mode=mode,
            n_layers=n_layers,
            d_model=d_model,
            dtype=str(hf.dtype).removeprefix("torch."),
            device=str(hf.device),
            backend=reader.name,
            fingerprint=fingerprint,
            tokenizer_fingerprint=tokens_are,
            default_layer=entry.default_layer if entry else n_layers // 2,
            default_d_sae=entry.default_d_sae if entry else _d_sae(mode, d_model),
            checkpoint=info,
        ),
        tokenizer=tokenizer,
        backend=reader,
        policy=policy,
    )
    control.tick(_STAGE, 4, 4, "steps")
    return model


def open_model(
    place: Place, dtype: str, device: torch.device, checkpoint: Path | None = None
) -> tuple[HFModel, HFTokenizer, str, CheckpointInfo | None, str | None]:
    """The model on the CPU with its checkpoint in it, its tokenizer and its mode; the checkpoint's facts and digest."""
    adapter = checkpoint is not None and is_adapter(checkpoint)
    if place.source == "gguf":
        hf, tokenizer = open_gguf(place.path, _torch_dtype(dtype, device, 512))
        mode = "llm"
        if checkpoint is not None and checkpoint.is_dir() and not adapter:
            raise CheckpointError(f"{checkpoint} is a folder; a GGUF model takes a .pt checkpoint.")
    else:
        config = _config(place.path)
        mode = place.entry.mode if place.entry else detect_mode(place.path, config)
        wanted = _torch_dtype(dtype, device, int(config.get_text_config().hidden_size))
        weights = place.path
        if checkpoint is not None and checkpoint.is_dir() and not adapter:
            _same_shape(config, checkpoint, place.name)
            weights = checkpoint
        hf = _weights(weights, mode, wanted)
        tokenizer = _tokenizer(place.path)
    if checkpoint is None:
        return hf, tokenizer, mode, None, None
    if adapter:
        hf, digest = merge_adapter(hf, checkpoint, place.name)
        return hf, tokenizer, mode, describe_adapter(checkpoint, digest), digest
    if checkpoint.is_dir():
        return hf, tokenizer, mode, describe_folder(checkpoint), stored_fingerprint(checkpoint)
    step, state = read_checkpoint(checkpoint)
    apply_state(hf, state, checkpoint, place.name)
    return hf, tokenizer, mode, describe_file(checkpoint, step), state_digest(hf, state)


def detect_mode(folder: Path, config: HFConfig) -> str:
    """llm or embedding, from the architecture that the configuration names.

    Raises:
        ModelError: an encoder-decoder, or an architecture that is neither.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    named = list(config.architectures or [])
    if config.is_encoder_decoder:
        raise ModelError(f"{folder} is an encoder-decoder ({', '.join(named)}); use a decoder or an encoder.")
    if (folder / "modules.json").is_file():  # sentence-transformers' mark
        return "embedding"
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in named):
        return "llm"
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "embedding"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "llm"
    raise ModelError(f"{folder} is a {config.model_type} model: neither a language model nor a text encoder.")


def _config(folder: Path) -> HFConfig:
    from transformers import AutoConfig

    try:
        with quiet_libraries():
            return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be used: {_first_line(error)}") from error


def _tokenizer(folder: Path) -> HFTokenizer:
    from transformers import AutoTokenizer

    try:
        with quiet_libraries():
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ModelError(f"The tokenizer in {folder} cannot be read: {_first_line(error)}") from error


def _weights(folder: Path, mode: str, dtype: torch.dtype) -> HFModel:
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoModelForCausalLM

    check_weights(folder)
    kind = AutoModelForCausalLM if mode == "llm" else AutoModel
    # Eager attention for language models, because TransformerLens asks for it; `fuse_attention` changes both backends.
    extra = {"attn_implementation": "eager"} if mode == "llm" else {}
    try:
        with quiet_libraries():
            hf, report = kind.from_pretrained(
                str(folder),
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **extra,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"The weights in {folder} cannot be loaded: {_first_line(error)}") from error
    # transformers fills what a file lacks with random numbers; features of random weights must never pass for real.
    lacking = [name for name in report["missing_keys"] if not name.startswith("pooler.")]
    lacking += [str(item[0]) for item in report["mismatched_keys"]]
    if lacking:
        raise ModelError(
            f"The weights in {folder} are incomplete: {len(lacking)} are missing or misshapen,"
            f" such as {sorted(lacking)[0]}."
        )
    if mode == "embedding" and getattr(hf, "pooler", None) is not None:
        hf.pooler = None  # not part of any block output, and random where the file has none
    return hf.eval()


def _same_shape(config: HFConfig, folder: Path, name: str) -> None:
    check_weights(folder)
    theirs = _config(folder)
    different = [
        f"{key} {getattr(config, key, None)} here, {getattr(theirs, key, None)} there"
        for key in _SHAPE
        if getattr(config, key, None) != getattr(theirs, key, None)
    ]
    if different:
        raise CheckpointError(f"{folder} does not fit {name}: {'; '.join(different)}. It belongs to another model.")


def _d_sae(mode: str, d_model: int) -> int:
    return _EMBEDDING_SAE if mode == "embedding" else d_model * _EXPANSION


def pick_device(device: str) -> torch.device:
    """The device that a person's word means, checked against this machine.

    Raises:
        ModelError: no such device here.
    """
    if not isinstance(device, str):
        raise ModelError(f"device={device!r:.60} is a {type(device).__name__}; give 'auto', 'cpu' or 'cuda:1'.")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"device={device!r} is not a device; try 'auto', 'cpu' or 'cuda:1'.") from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device={device!r}: this machine shows {torch.cuda.device_count()} CUDA devices to PyTorch.")
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device='mps': PyTorch sees no Apple GPU here.")
    return place


def _check_dtype(dtype: str) -> None:
    if dtype != "auto" and dtype not in _DTYPES:
        raise ModelError(f"dtype={dtype!r}; choose 'auto', 'float32', 'bfloat16' or 'float16'.")


def _torch_dtype(dtype: str, device: torch.device, width: int) -> torch.dtype:
    return fast_dtype(device, width) if dtype == "auto" else _DTYPES[dtype]


def _move(hf: HFModel, device: torch.device, name: str) -> None:
    try:
        hf.to(device)
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        size = sum(p.numel() * p.element_size() for p in hf.parameters()) / 1e9
        raise OutOfMemory(
            f"The weights of {name} ({size:.1f} GB) do not fit on {device}. Free memory there, or load with"
            " dtype='bfloat16' or device='cpu'."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
