"""Datasets streamed from the Hugging Face hub: is it there, is the dataset, and its rows; always bounded in time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ...errors import CorpusError, NetworkError

REACH_SECONDS = 3.0
OPEN_SECONDS = 30.0  # listing a large dataset's files and fetching its first rows, once the hub is known to answer
OFFLINE_OPTIONS = 'Offline: give a .txt, .json or .jsonl file, a list of texts, or corpus="packaged".'
PARQUET_REVISION = "refs/convert/parquet"

T = TypeVar("T")


def offline() -> bool:
    """True when the environment forbids the hub (HF_HUB_OFFLINE or HF_DATASETS_OFFLINE)."""
    yes = ("1", "ON", "YES", "TRUE")
    return any(os.environ.get(name, "").upper() in yes for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))


def require(name: str) -> None:
    """Ask the hub for the dataset, for at most 3 seconds.

    Raises:
        NetworkError: offline by request, or no answer in time.
        CorpusError: the hub answers and has no such dataset, or does not let us read it.
    """
    if offline():
        raise NetworkError(f"{name} is on the hub and HF_HUB_OFFLINE is set. {OFFLINE_OPTIONS}")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError:
        raise CorpusError(f"{name} is on the hub; reading it needs: pip install 'aquin-nb[engine]'.") from None
    try:
        _bounded(lambda: HfApi().dataset_info(name.partition(":")[0], timeout=REACH_SECONDS), REACH_SECONDS)
    except RepositoryNotFoundError:
        raise CorpusError(f"The hub has no dataset {name.partition(':')[0]!r}, or it is private or gated.") from None
    except Exception as error:
        raise NetworkError(f"The hub cannot be reached for {name} ({_reason(error)}). {OFFLINE_OPTIONS}") from error


def rows(name: str, split: str = "train") -> Iterator[dict[str, Any]]:
    """The rows of `"org/name"` or `"org/name:config"`, streamed from the start, never run as code.

    Raises:
        NetworkError: not reachable, or lost on the way.
        CorpusError: no such dataset, configuration or split.
    """
    require(name)
    path, _, config = name.partition(":")
    try:
        yield from _streamed(path, config or None, split)
    except ImportError:
        raise CorpusError(f"{name} is on the hub; reading it needs: pip install 'aquin-nb[engine]'.") from None
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        raise CorpusError(f"The hub dataset {name}, split {split!r}, cannot be opened: {_reason(error)}.") from error
    except Exception as error:
        raise NetworkError(f"Reading {name} from the hub failed: {_reason(error)}. {OFFLINE_OPTIONS}") from error


def _streamed(path: str, config: str | None, split: str) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    try:
        stream = load_dataset(path, config, split=split, streaming=True)
    except (RuntimeError, ValueError) as error:
        if "script" not in str(error):
            raise
        # A dataset that is still a Python script is never run; the hub keeps a converted copy of most of them.
        stream = load_dataset(path, config, split=split, streaming=True, revision=PARQUET_REVISION)
    yield from stream


def first_row(name: str, split: str = "train") -> dict[str, Any]:
    """The first row, to know that streaming works before anything depends on it; waits 30 seconds at most.

    Raises:
        NetworkError, CorpusError: as `rows`, or no row in time.
    """
    require(name)
    try:
        return _bounded(lambda: next(rows(name, split)), OPEN_SECONDS)
    except TimeoutError:
        raise NetworkError(f"No row of {name} arrived within {OPEN_SECONDS:.0f} s. {OFFLINE_OPTIONS}") from None
    except StopIteration:
        raise CorpusError(f"The hub dataset {name} has no row in split {split!r}.") from None


def _bounded(work: Callable[[], T], seconds: float) -> T:
    """Run `work` in a thread and give up waiting after `seconds`: a socket's timeout does not cover name resolution."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True, name="hub")
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return outcome[0]


def _reason(error: BaseException) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 160 else text[:157] + "..."
