"""Public dictionaries from the Hugging Face hub, kept as `$AQUIN_HOME/sae/<model>/sae_layer<N>.pt`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ... import home
from ...control import Control
from ...errors import DictionaryError, NetworkError
from ...files import require_writable
from ..models.quiet import quiet_libraries
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
        DictionaryError: unknown, of another kind, or of no model. NetworkError: not here, and not to be downloaded.
        OutputError: the place cannot be written.

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
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

    if control is not None:
        control.tick("download", 0, 1, name)
    try:
        return Path(hf_hub_download(repo, name))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise DictionaryError(
            f"The hub has no {repo!r} that you may read. Check the spelling and your login."
        ) from error
    except EntryNotFoundError as error:
        if type(error).__name__ == "LocalEntryNotFoundError":
            raise _unreachable(repo, name, error) from None
        raise DictionaryError(
            f"{repo} has no {name}: name a folder that SAELens wrote, or a .pt of aquin-nb."
        ) from error
    except Exception as error:  # what is not ours is the network's
        raise _unreachable(repo, name, error) from error


def _unreachable(repo: str, name: str, error: Exception) -> NetworkError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return NetworkError(f"{repo}/{name} is not on this machine and the hub cannot be reached ({reason}).")
