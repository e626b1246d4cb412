"""From what a person names to files on this machine: a slug, a hub id, a folder or a GGUF file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...control import Control
from ...errors import ModelError, did_you_mean
from . import catalogue
from .catalogue import Entry
from .fetching import fetch
from .hub import snapshot

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


@dataclass(frozen=True)
class Place:
    """A model on disk. `path` is a folder, or a .gguf file when `source` is gguf."""

    path: Path
    name: str
    source: str  # bundled | fetched | hub | directory | gguf
    entry: Entry | None = None


def resolve(spec: str | Path, control: Control | None = None) -> Place:
    """Find (and fetch when needed) the model that `spec` names. A catalogued slug wins over a folder of that name.

    Raises:
        ModelError: nothing is known or found by that name, or the folder lacks weights or a tokenizer.
        NetworkError: it would have to be downloaded and cannot be.
    """
    if not isinstance(spec, (str, Path)):
        raise ModelError(
            f"A model is named by a slug such as 'tiny', a hub id, a folder or a .gguf file, not by {spec!r:.60}"
            f" ({type(spec).__name__})."
        )
    if isinstance(spec, str) and not spec.strip():
        raise ModelError(f"The model's name is empty. Known ones: {', '.join(catalogue.slugs())}.")
    entry = catalogue.find(spec) if isinstance(spec, str) else None
    if entry is not None:
        return Place(fetch(entry.slug, control), entry.slug, entry.source, entry)
    path = Path(spec).expanduser()
    if path.is_dir():
        return Place(_checked(path), path.resolve().name, "directory")
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{path} is not a model: give a folder with config and safetensors, or a .gguf file.")
        return Place(path, path.stem, "gguf")
    text = str(spec)
    if isinstance(spec, str) and _HUB_ID.fullmatch(text) and not text.endswith(".gguf"):
        return Place(_checked(snapshot(text, control)), text, "hub")
    if path.suffix or len(path.parts) > 1:
        raise ModelError(f"No model at {path}.")
    raise ModelError(
        f"No model is known as {text!r} and there is no folder of that name. {did_you_mean(text, catalogue.slugs())}"
        " A hub model is written org/name."
    )


def _checked(folder: Path) -> Path:
    """The folder, when it has what a model needs; said here, because the libraries' own messages mislead."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no config.json.")
    check_weights(folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ModelError(
            f"{folder} has no tokenizer (tokenizer.json or its like)."
            " Save the tokenizer beside the weights: tokenizer.save_pretrained(folder)."
        )
    return folder


def check_weights(folder: Path) -> None:
    """Raise ModelError unless the folder has safetensors weights; pickled ones can hold code and are never loaded."""
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise ModelError(
            f"{folder} has pickled weights only; they can hold code and are not loaded."
            " Save it again with model.save_pretrained(folder), which writes safetensors."
        )
    raise ModelError(f"{folder} has no weights (model.safetensors).")
