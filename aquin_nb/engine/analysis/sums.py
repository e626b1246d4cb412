"""What each feature summed to on each probe: sparse, written as a run goes on, read without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import StoreError
from ...files import explained

ARRAYS = {"probe": np.int64, "end": np.int64, "feature": np.int32, "total": np.float32, "fired": np.int32}
HEADER = 128  # bytes; a header is written again when the length is known
ENTRIES = 1 << 21  # read at a time


@dataclass(frozen=True)
class Sums:
    """One model's features, summed over the tokens of each probe; only what is not zero.

    Attributes:
        probe: [rows] int64, which probe a row is of. end: [rows] int64, where its entries end.
        feature: [entries] int32. total: [entries] float32, the sum of the feature's activations over a probe's tokens.
        fired: [entries] int32, on how many of these it is not zero.
    """

    probe: NDArray[np.int64]
    end: NDArray[np.int64]
    feature: NDArray[np.int32]
    total: NDArray[np.float32]
    fired: NDArray[np.int32]

    @classmethod
    def open(cls, folder: Path) -> Sums:
        """As `SumsWriter` wrote them, memory-mapped.

        Raises:
            StoreError: a file is missing or damaged.
        """
        found: dict[str, Any] = {}
        for name, dtype in ARRAYS.items():
            file = folder / f"{name}.npy"
            try:
                found[name] = np.load(file, mmap_mode="r", allow_pickle=False)
            except ValueError:  # an empty array cannot be mapped
                found[name] = _empty(file)
            except OSError as error:
                raise StoreError(f"{file} cannot be read: {error}. The diff has to be made again.") from error
            if found[name].dtype != dtype or found[name].ndim != 1:
                raise StoreError(f"{file} is damaged: it holds {found[name].dtype}, not {np.dtype(dtype)}.")
        sums = cls(**found)
        entries = int(sums.end[-1]) if len(sums.end) else 0
        if len(sums.probe) != len(sums.end) or {len(sums.feature), len(sums.total), len(sums.fired)} != {entries}:
            raise StoreError(f"{folder} is damaged: its files are not of the same length.")
        return sums

    def pieces(self) -> Iterator[tuple[NDArray[np.int64], slice]]:
        """All entries in pieces of about two million: the probe of each, and where they are."""
        start, row = 0, 0
        while row < len(self.end):
            stop = max(row + 1, int(np.searchsorted(self.end, start + ENTRIES, side="right")))
            ends = np.asarray(self.end[row:stop])
            yield np.repeat(self.probe[row:stop], np.diff(ends, prepend=start)), slice(start, int(ends[-1]))
            start, row = int(ends[-1]), stop

    def of(self, feature: int, probes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """One feature on each of the probes: sums [probes] float64 and on how many tokens it fires [probes] int64."""
        total, fired = np.zeros(probes), np.zeros(probes, np.int64)
        for probe, at in self.pieces():
            here = np.flatnonzero(self.feature[at] == feature)
            total[probe[here]], fired[probe[here]] = self.total[at][here], self.fired[at][here]
        return total, fired


def _empty(file: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{file} is damaged: {error}. The diff has to be made again.") from error
    return values


class SumsWriter:
    """Writes `Sums` into a folder, probe by probe, without keeping them.

    >>> import tempfile
    >>> with SumsWriter(Path(tempfile.mkdtemp())) as writer:
    ...     writer.add(0, np.array([3, 7]), np.array([1.5, 2.0]), np.array([1, 2]))
    >>> Sums.open(writer.folder).of(7, probes=1)[0].tolist()
    [2.0]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {name: open(folder / f"{name}.npy", "wb") for name in ARRAYS}  # noqa: SIM115 closed on exit
        self._lengths = dict.fromkeys(ARRAYS, 0)
        for file in self._files.values():
            file.write(bytes(HEADER))

    def add(self, probe: int, feature: NDArray[Any], total: NDArray[Any], fired: NDArray[Any]) -> None:
        """The features that fired on a probe, ascending, what each summed to and on how many tokens.

        Raises:
            NoSpace: the disk is full. OutputError: the folder cannot be written.
        """
        with explained(self.folder):
            for name, values in (("feature", feature), ("total", total), ("fired", fired)):
                self._write(name, values)
            self._write("probe", np.array([probe]))
            self._write("end", np.array([self._lengths["feature"]]))

    def _write(self, name: str, values: NDArray[Any]) -> None:
        self._files[name].write(np.ascontiguousarray(values, ARRAYS[name]).tobytes())
        self._lengths[name] += len(values)

    def __enter__(self) -> SumsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name, file in self._files.items():
            with explained(self.folder), file:
                if kind is None:
                    file.seek(0)
                    header = {"descr": np.dtype(ARRAYS[name]).str, "fortran_order": False}
                    npy.write_array_header_1_0(file, header | {"shape": (self._lengths[name],)})
                    assert file.tell() == HEADER
