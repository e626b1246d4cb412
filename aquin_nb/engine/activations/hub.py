"""Datasets streamed from the Hugging Face hub: is it there, is the dataset, and its rows; always bounded in time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ...errors import CorpusError, NetworkError
from .tables import placed, shards_shuffled
from .texts import Rows, Source

REACH_SECONDS = 3.0
OPEN_SECONDS = 30.0  # listing a large dataset's files and fetching its first rows, once the hub is known to answer
OFFLINE_OPTIONS = 'Offline: give a file or folder of texts, a datasets dataset, a list of texts, or corpus="packaged".'
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


class Hub(Source):
    """A hub dataset, streamed anew on every pass; shuffled, its shards come in a drawn order.

    Raises:
        NetworkError, CorpusError: as `first_row`, which is read at once.
    """

    def __init__(self, name: str, split: str = "train") -> None:
        super().__init__(name)
        self._split = split
        self._key: str | None = None
        self._first = first_row(name, split)
        self.columns = list(self._first)

    def select(self, key: str) -> Source:
        self._key = key
        return self

    def rows(self) -> Rows:
        return placed(rows(self.name, self._split, key=self._key), self.name)

    def shuffled(self, seed: int) -> Rows:
        where = f"{self.name} (shards shuffled by {seed})"
        return placed(rows(self.name, self._split, key=self._key, seed=seed), where)

    def facts(self) -> list[object]:
        return [self.name, self._split]

    def sample(self) -> Rows:
        yield f"{self.name}, row 1", self._first


def rows(
    name: str, split: str = "train", *, key: str | None = None, seed: int | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of `"org/name"` or `"org/name:config"`, streamed from the start, never run as code.

    With a `key`, only that column is decoded; with a `seed`, the shards come in an order drawn from it.

    Raises:
        NetworkError: not reachable, or lost on the way.
        CorpusError: no such dataset, configuration or split.
    """
    require(name)
    path, _, config = name.partition(":")
    try:
        stream = _opened(path, config or None, split)
        if key is not None and stream.column_names is not None:
            stream = stream.select_columns([key])
        yield from stream if seed is None else shards_shuffled(stream, seed)
    except UnicodeDecodeError:
        raise  # about a row, which `placed` names
    except ImportError:
        raise CorpusError(f"{name} is on the hub; reading it needs: pip install 'aquin-nb[engine]'.") from None
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        raise CorpusError(f"The hub dataset {name}, split {split!r}, cannot be opened: {_reason(error)}.") from error
    except Exception as error:
        raise NetworkError(f"Reading {name} from the hub failed: {_reason(error)}. {OFFLINE_OPTIONS}") from error


def _opened(path: str, config: str | None, split: str) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(path, config, split=split, streaming=True)
    except (RuntimeError, ValueError) as error:
        if "script" not in str(error):
            raise
        # A dataset that is still a Python script is never run; the hub keeps a converted copy of most of them.
        return load_dataset(path, config, split=split, streaming=True, revision=PARQUET_REVISION)


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
