"""Models on the Hugging Face hub: safetensors only, from the local cache when it is there, never hanging offline."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from ... import files
from ...control import Control
from ...errors import AquinError, ModelError, NetworkError
from .quiet import quiet_libraries
from .untyped import Untyped

_ANSWER_SECONDS = 20.0  # a name look-up alone can block for minutes on a machine behind a dead resolver
_FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]
_NOT = ["*/*"]  # onnx, original and other variants live in sub-folders
_T = TypeVar("_T")


def snapshot(repo: str, control: Control | None = None) -> Path:
    """The local folder of a hub model, downloading it into the hub's own cache when it is not there yet.

    A complete cached copy is used without asking the network.

    Raises:
        ModelError: no such model, a gated one without access, or one without safetensors weights.
        NetworkError: not cached, and the hub cannot be reached or HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import constants

    control = control or Control()
    cached = _cached(repo)
    if cached is not None:
        return cached
    if constants.HF_HUB_OFFLINE:
        raise NetworkError(
            f"{repo} is not in the Hugging Face cache and HF_HUB_OFFLINE is set. Unset it, or fetch the model where"
            " there is a network; the models 'tiny' (bundled), 'smollm2-135m' and 'minilm' do not need the hub."
        )
    size = _size(repo, control)
    files.require_space(Path(constants.HF_HUB_CACHE), size, f"The model {repo}")
    return _download(repo, size, control)


def _cached(repo: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        with quiet_libraries():
            folder = Path(snapshot_download(repo, local_files_only=True, allow_patterns=_FILES, ignore_patterns=_NOT))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError):
        return None
    return folder if _complete(folder) else None


def _complete(folder: Path) -> bool:
    """Whether a snapshot has its configuration and every weight file: an interrupted download leaves some of them."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return (folder / "config.json").is_file() and all((folder / name).is_file() for name in wanted)
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _size(repo: str, control: Control) -> int:
    """Bytes to download; asking for them is also how we learn whether the model exists and is allowed to us."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        info = _answered(lambda: HfApi().model_info(repo, timeout=10, files_metadata=True), control)
    except GatedRepoError as error:
        raise _gated(repo) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"The hub has no model {repo!r} that you may read. Check the spelling and your login."
        ) from error
    except AquinError:
        raise
    except Exception as error:  # httpx's errors are not ours to enumerate: all of them mean that it was not reached
        raise _unreachable(repo, error) from error
    names = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or []}
    wanted = [name for name in names if "/" not in name and any(fnmatch(name, kind) for kind in _FILES)]
    if not any(name.endswith(".safetensors") for name in wanted):
        raise ModelError(f"{repo} has no safetensors weights; other formats can hold code and are not loaded.")
    return sum(names[name] for name in wanted)


def _answered(ask: Callable[[], _T], control: Control) -> _T:
    """The result of `ask`, run beside us so that cancel works and no resolver can hold us longer than promised."""
    box: dict[str, Any] = {}

    def run() -> None:
        try:
            box["value"] = ask()
        except BaseException as error:
            box["error"] = error

    worker = threading.Thread(target=run, daemon=True, name="aquin-hub")
    worker.start()
    end = time.monotonic() + _ANSWER_SECONDS
    while worker.is_alive() and time.monotonic() < end:
        worker.join(0.1)
        control.check()
    if "error" in box:
        raise box["error"]
    if "value" not in box:
        raise TimeoutError(f"no answer within {_ANSWER_SECONDS:.0f} s")
    value: _T = box["value"]
    return value


def _download(repo: str, size: int, control: Control) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Reporter(tqdm):  # type: ignore[misc]
        """Turns the library's progress bar into our ticks; a cancel raises out of its worker thread."""

        def __init__(self, *args: Untyped, **kwargs: Untyped) -> None:
            kwargs.pop("name", None)
            self._bytes = kwargs.get("unit") == "B" and "Reconstruct" in str(kwargs.get("desc", ""))
            self._done = 0
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            if self._bytes:
                control.tick("download", min(self._done, size), size, "bytes")
            else:
                control.check()
            return None

    try:
        with quiet_libraries():
            folder = snapshot_download(repo, allow_patterns=_FILES, ignore_patterns=_NOT, tqdm_class=Reporter)
    except AquinError:
        raise
    except GatedRepoError as error:
        raise _gated(repo) from error
    except Exception as error:  # as above: what is not ours is the network's
        raise _unreachable(repo, error) from error
    return Path(folder)


def _gated(repo: str) -> ModelError:
    return ModelError(
        f"{repo} is gated: accept its licence at https://huggingface.co/{repo} and log in with `hf auth login`."
    )


def _unreachable(repo: str, error: Exception) -> NetworkError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return NetworkError(
        f"{repo} is not on this machine and the Hugging Face hub cannot be reached ({reason}). Check the network or a"
        " proxy; the models 'tiny' (bundled), 'smollm2-135m' and 'minilm' do not need the hub."
    )
