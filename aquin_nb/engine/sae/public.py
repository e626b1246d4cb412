"""Public dictionaries from the Hugging Face hub, kept as `$AQUIN_HOME/sae/<model>/sae_layer<N>.pt`."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ... import home
from ...control import Control
from ...errors import AquinError, DictionaryError, NetworkError
from ...files import require_writable, sha256
from ..models.quiet import quiet_libraries
from ..models.untyped import Untyped
from .dictionary import SparseAutoencoder
from .foreign import CFG, WEIGHTS, read_saelens
from .formats import load_dictionary, save_dictionary

KNOWN = {"gpt2": ("jbloom/GPT2-Small-SAEs-Reformatted", "blocks.{after}.hook_resid_pre")}
"""Slugs of models with well-known dictionaries: where they are, and in which folder that of layer `after` - 1."""


def pull_dictionary(
    slug: str, *, layer: int | None = None, model: str | None = None, control: Control | None = None
) -> tuple[SparseAutoencoder, list[str]]:
    """Download a public dictionary once; it is bound by `load_sae(public=layer)`.

    Args:
        slug: a model with well-known dictionaries (gpt2), or `owner/repository[/folder]` on the hub: the folder holds
            what SAELens wrote, or names a `.pt` of ours.
        layer: which one of a model's; for a repository its own file says it.
        model: what its model is called here; default: as the file says.

    Returns:
        the dictionary, its `path` set, and what a reader of it must know.

    Raises:
        DictionaryError: unknown, gated, of another kind, of no model, or not what the hub announced.
        NetworkError: not here, and not to be downloaded. OutputError: the place cannot be written.
        Cancelled: `control` was cancelled; what was downloaded so far is gone on with the next time.

    >>> pull_dictionary("gpt2", layer=7)        # doctest: +SKIP
    """
    repo, inside = _located(slug, layer)
    with quiet_libraries():
        if inside.endswith(".pt"):
            sae, notes = load_dictionary(_file(repo, inside, control)), list[str]()
        else:
            folder = _file(repo, str(PurePosixPath(inside, CFG)), control).parent
            _file(repo, str(PurePosixPath(inside, WEIGHTS)), control)
            sae, notes = read_saelens(folder, model or (slug if slug in KNOWN else None))
    of, at = model or sae.cfg.model, sae.cfg.layer
    if not of or at is None:
        raise DictionaryError(f"{slug} does not say of which {'layer' if of else 'model'} it is; nothing was written.")
    path = home.dictionary_path(of, at)
    require_writable(path)
    save_dictionary(sae, path)
    return sae, notes


def _located(slug: str, layer: int | None) -> tuple[str, str]:
    """The repository, and the place in it."""
    if slug in KNOWN:
        if layer is None:
            raise DictionaryError(f"{slug} has a public dictionary a layer; say which by --layer.")
        repo, folder = KNOWN[slug]
        return repo, folder.format(after=layer + 1)
    parts = slug.strip("/").split("/")
    if len(parts) < 2 or not all(parts) or ".." in parts:
        raise DictionaryError(
            f"{slug!r} names no public dictionary: give {', '.join(KNOWN)}, or owner/repository/folder on the hub."
        )
    return "/".join(parts[:2]), "/".join(parts[2:])


def _file(repo: str, name: str, control: Control | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        path = Path(hf_hub_download(repo, name, tqdm_class=_reporter(control or Control(), name)))
    except AquinError:
        raise
    except GatedRepoError as error:
        raise DictionaryError(
            f"{repo} is gated: accept its terms at https://huggingface.co/{repo} and log in with `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise DictionaryError(
            f"The hub has no {repo!r} that you may read. Check the spelling and your login."
        ) from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(repo, name, error) from error
    except EntryNotFoundError as error:
        raise DictionaryError(
            f"{repo} has no {name}: name a folder that SAELens wrote ({CFG}, {WEIGHTS}), or a .pt of aquin-nb."
        ) from error
    except Exception as error:  # what is not ours is the network's
        raise _unreachable(repo, name, error) from error
    _verify(path, repo, name)
    return path


def _reporter(control: Control, name: str) -> type:
    """A progress bar that the library feeds and that only ticks; a cancel raises out of the download."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Reporter(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Untyped, **kwargs: Untyped) -> None:
            kwargs.pop("name", None)
            self._size, self._done = int(kwargs.get("total") or 0), int(kwargs.get("initial") or 0)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            control.tick("download", self._done, max(self._size, self._done), f"bytes of {name}")
            return None

    return Reporter


def _verify(path: Path, repo: str, name: str) -> None:
    """Large files lie in the hub's cache under the SHA-256 that was announced; what is another one's is removed.

    Raises:
        DictionaryError: it is not what was announced.
    """
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256(blob) != blob.name:
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        raise DictionaryError(
            f"{repo}/{name} is not the file that the hub announced: its SHA-256 is another one. It was removed; pull it"
            " again, and if that does not help, ask who runs the mirror or the proxy between."
        )


def _unreachable(repo: str, name: str, error: Exception) -> NetworkError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return NetworkError(f"{repo}/{name} is not on this machine and the hub cannot be reached ({reason}).")
