"""A stream without a store: rows come from forward passes, are mixed in a bounded buffer, and are not kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...control import Control
from ...errors import StoreError
from .buffer import Numbers, Shape, gathered, mixed, oldest_first, put, rounds
from .held_out import hashes
from .reuse import Reuse
from .sources import digest
from .stream import BUFFER_BYTES, Stream, check_settings, not_negative

KEPT_ROWS = 16_384  # a training looks at so many before its first step, and some do again after the last
KEPT_SHARE = 3  # a third of the buffer is kept in each round
LARGEST_SHARE = 0.5


class Forward(Protocol):
    """One forward pass that has not been run: its tokens are known, its activations are not."""

    @property
    def count(self) -> int:
        """Rows that it gives, known from the tokens alone."""
        ...

    def rows(self) -> Tensor:
        """Run it: [count, sum(widths)] on any device, bit for bit the same each time.

        Raises:
            StoreError: a value is not finite.
        """
        ...


class Harvests(Protocol):
    """Forward passes over documents in a fixed order. `forwards.Forwards` is the one over a model and a corpus."""

    widths: list[int]  # of the sites that stand side by side in a row
    dtype: torch.dtype  # holds every value exactly
    most: int  # rows of a forward pass
    notes: list[str]

    def passes(self, wanted: Callable[[int], bool]) -> Iterator[Forward]:
        """Forward passes over the documents, by their numbers, that are wanted; always cut in the same way."""
        ...

    def fingerprint(self) -> str:
        """Hex SHA-256 that tells whether model, documents and cutting are the same."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that JSON holds."""
        ...


class LiveStream(Stream):
    """Batches [batch_size, sum(widths)] of activations that are made while they are used and then forgotten.

    An epoch is the first `rows` training rows of the corpus, in its order, through a buffer: it is filled, permuted,
    two thirds are given out and as many new rows come in, so that half of each batch is from the documents before. No
    row stays for more than two rounds. When all rows fit into the buffer they are permuted exactly and stay: later
    epochs need no forward pass. A corpus that ends before is read again from its start, and `notes` says so.

    One document in every 1 / `held_out` is held out, chosen in each such group by a hash of the seed. Held-out
    documents are left out of the forward passes for training, and others read nothing of them; `held_out` runs its own.

    `batches(start)` is exact: the order is made anew from the tokens, without the model, and then those forward
    passes are run again whose rows are in the buffer, at most four thirds of it. That takes the same
    model, tokens and batches of the same size, on the same kind of processor.

    Args:
        harvests: where rows come from.
        batch_size: rows a batch.
        rows: training rows an epoch.
        seed: of the order and of the held-out documents.
        held_out: share of the documents, at most 0.5; so many rows of them, next to `rows`, are given by `held_out`.
        buffer_rows: rows in memory; None takes 512 MB of them. At least six batches and three forward passes.
        dtype: of batches: float32, bfloat16 or float16.
        control: progress while the buffer is filled (stage "collect"), and cancelling what is under way. What is asked
            for after a cancel is given: a training that was stopped still judges what it has.

    Attributes:
        rows: training rows of an epoch; fewer, once that is known, where the corpus has fewer.
        held_out_rows, batch_size, notes, widths, d_in: as `ShuffledStream`.

    Raises:
        StoreError: settings that do not go together; no document to train on; later, a value that is not finite.
        Cancelled: from any method that runs forward passes.

    >>> stream = LiveStream(Forwards(model, corpus, [6]), 4096, rows=10_000_000)      # doctest: +SKIP
    >>> next(stream.batches()).shape                                                  # doctest: +SKIP
    torch.Size([4096, 576])
    """

    def __init__(
        self,
        harvests: Harvests,
        batch_size: int,
        *,
        rows: int,
        seed: int = 0,
        held_out: float = 0.05,
        buffer_rows: int | None = None,
        dtype: torch.dtype = torch.float32,
        control: Control | None = None,
    ) -> None:
        check_settings(batch_size, held_out, seed, dtype)
        if rows < 1 or held_out > LARGEST_SHARE:
            raise StoreError(f"rows={rows} must be at least 1, and held_out={held_out} of a live stream at most 0.5.")
        self._harvests, self._budget, self._seed, self._dtype = harvests, rows, seed, dtype
        self._control = control or Control()
        self.widths, self.notes = harvests.widths, list(harvests.notes)
        self._period = period = round(1 / held_out) if held_out else 0
        self._chosen = lru_cache(maxsize=64)(lambda group: int(hashes(np.array([group]), seed)[0] % period))
        self.held_out_rows = max(1, round(rows * held_out / (1 - held_out))) if held_out else 0
        self._held = torch.empty(0, sum(self.widths))
        width = sum(self.widths)
        fitting = max(1, BUFFER_BYTES // (width * harvests.dtype.itemsize))
        wanted = fitting if buffer_rows is None else buffer_rows
        self._buffer_rows = max(wanted, 6 * batch_size + 3 * harvests.most)
        self._few = self._those_that_fit()
        self.rows = min(rows, sum(forward.count for forward in self._few)) if self._few else rows
        if self.rows < rows:
            self._tell_size()
        self.batch_size = min(batch_size, self.rows)
        if self.batch_size < batch_size:
            self.notes.append(f"Only {self.rows:,} rows to train on: a batch holds them all, not {batch_size:,}.")
        self._per_epoch = self.rows // self.batch_size
        self._shape = Shape(self._buffer_rows, width, harvests.dtype, self.batch_size, dtype)
        self._resident: Tensor | None = None
        self._opening = _Opening(max(1, KEPT_ROWS // self.batch_size))

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self._per_epoch

    def epoch(self, number: int, skip: int = 0) -> Iterator[Tensor]:
        """The batches of one pass but the first `skip`; the same number always gives the same batches.

        Of skipped batches only the tokens are read. The first batches of epoch 0 are kept, and whoever reads on behind
        them goes on where the one before stopped: a look at them before a training costs nothing.
        """
        not_negative(number=number, skip=skip)
        if self._few:
            return self._permuted(number, skip)
        return self._mixed(number, skip) if number else self._opening.read(partial(self._mixed, 0), skip)

    def held_out(self, max_rows: int | None = None) -> Tensor:
        """Rows of the first held-out documents, float32 [m, sum(widths)], in order; at most `held_out_rows`."""
        wanted = self.held_out_rows if max_rows is None else min(max_rows, self.held_out_rows)
        if len(self._held) < wanted:
            parts, count, control = [self._held[:0]], 0, _watched(self._control)
            for forward in self._harvests.passes(self.is_held_out):
                control.check()
                parts.append(forward.rows().to("cpu", torch.float32))
                count += forward.count
                if count >= wanted:
                    break
            else:
                self.held_out_rows = count
            self._held = torch.cat(parts)[:wanted]
        return self._held[:wanted].clone()

    def is_held_out(self, document: int) -> bool:
        """Whether the document of this number is kept from training."""
        if not self._period:
            return False
        group, place = divmod(document, self._period)
        return self._chosen(group) == place

    def fingerprint(self) -> str:
        """Hex SHA-256 of what decides the rows and their order but for the seed: see `Harvests.fingerprint`."""
        sizes = {"rows": self._budget, "buffer_rows": self._buffer_rows, "period": self._period}
        return digest({"kind": "live", "harvests": self._harvests.fingerprint()} | sizes)

    def describe(self) -> dict[str, Any]:
        """`{"kind": "live", "rows": n}` and what `Harvests.describe` says."""
        return {"kind": "live", "rows": self._budget} | self._harvests.describe()

    def _those_that_fit(self) -> list[Forward]:
        """All forward passes of an epoch, if their rows fit into the buffer, else none."""
        found, count = list[Forward](), 0
        for forward in self._harvests.passes(self._is_training):
            found.append(forward)
            count += forward.count
            if count >= self._budget:
                break
            if count > self._buffer_rows:
                return []
        if not count:
            raise StoreError(
                "No document is left to train on: there are too few of them to hold some out. Give a corpus of more"
                " documents, or held_out=0."
            )
        return found if min(count, self._budget) <= self._buffer_rows else []

    def _is_training(self, document: int) -> bool:
        return not self.is_held_out(document)

    def _tell_size(self) -> None:
        self.notes.append(f"The corpus gives {self.rows:,} of the {self._budget:,} rows asked for.")

    def _permuted(self, number: int, skip: int) -> Iterator[Tensor]:
        if self._resident is None:
            window = _Window(self._control)
            for first, forward in _numbered(self._few):
                window.add(first, forward)
            self._resident = torch.empty(self.rows, self._shape.width, dtype=self._shape.dtype)
            window.fill(np.arange(self.rows), self._resident, np.arange(self.rows))
        order, size = np.random.default_rng([self._seed, number]).permutation(self.rows), self.batch_size
        new = Reuse((size, self._shape.width), self._dtype)
        for start in range(skip * size, self._per_epoch * size, size):
            yield gathered(self._resident, order[start : start + size], new())

    def _mixed(self, number: int, skip: int) -> Iterator[Tensor]:
        window = _Window(self._control)
        filled = rounds(
            self._pieces(window),
            np.random.default_rng([self._seed, number]),
            buffer_rows=self._buffer_rows,
            piece_rows=self._harvests.most,
            batch_size=self.batch_size,
            kept_rows=self._buffer_rows // KEPT_SHARE,
            leave=oldest_first,
        )
        return islice(mixed(filled, window.fill, self._shape, skip), max(0, self._per_epoch - skip))

    def _pieces(self, window: _Window) -> Iterator[Numbers]:
        """Row numbers of each forward pass of an epoch, which is then known to the window."""
        for first, forward in _numbered(self._again_and_again()):
            window.add(first, forward)
            window.forget(first - 3 * self._buffer_rows)  # two rounds at least: older rows have left
            yield np.arange(first, min(first + forward.count, self._budget))
            if first + forward.count >= self._budget:
                return

    def _again_and_again(self) -> Iterator[Forward]:
        while True:
            count = 0
            for forward in self._harvests.passes(self._is_training):
                count += forward.count
                yield forward
            if self.rows > count:
                self.rows = count
                self._tell_size()
                self.notes.append("It was read again from its start until that was reached.")


class _Window:
    """Forward passes by the numbers of their rows; each is forgotten once it was run."""

    def __init__(self, control: Control) -> None:
        self._control = _watched(control)
        self._waiting: deque[tuple[int, Forward]] = deque()

    def add(self, first: int, forward: Forward) -> None:
        """A forward pass that gives the rows from number `first` on; later than those before."""
        self._waiting.append((first, forward))

    def forget(self, before: int) -> None:
        """Forget what only gives rows before this number."""
        while self._waiting and self._waiting[0][0] + self._waiting[0][1].count <= before:
            self._waiting.popleft()

    def fill(self, numbers: Numbers, out: Tensor, places: Numbers) -> None:
        """See `buffer.Fill`."""
        order = np.argsort(numbers, kind="stable")
        numbers, places, done = numbers[order], places[order], 0
        while done < len(numbers):
            first, forward = self._waiting.popleft()
            end = done + int(np.searchsorted(numbers[done:], first + forward.count))
            if end == done:
                continue  # all its rows have left before
            self._control.check()
            inside = torch.from_numpy(numbers[done:end] - first)
            x = forward.rows()
            put(out, places[done:end], torch.index_select(x, 0, inside.to(x.device)).cpu())
            if end - done < len(numbers):  # more than one forward pass: the trainer has to wait for all of them
                self._control.tick("collect", end, len(numbers), "rows")
            done = end


class _Opening:
    """An epoch whose first batches are kept, and which is gone on with by whoever reads on behind them."""

    def __init__(self, kept: int) -> None:
        self._most = kept
        self._kept: list[Tensor] = []
        self._going: Iterator[Tensor] | None = None
        self._at = 0  # the batch that `_going` gives next

    def read(self, begin: Callable[[int], Iterator[Tensor]], skip: int) -> Iterator[Tensor]:
        """The batches from number `skip` on, which may be changed; `begin(skip)` makes them anew."""
        own: Iterator[Tensor] | None = None
        place = skip
        try:
            while True:
                if place < len(self._kept):
                    batch = self._kept[place].clone()
                elif own is None and place == self._at:
                    if self._going is None:
                        self._going = begin(place)
                    found = next(self._going, None)
                    if found is None:
                        return
                    self._at += 1
                    if place < self._most:
                        self._kept.append(found.clone())
                    batch = found
                else:
                    own = own or begin(place)
                    found = next(own, None)
                    if found is None:
                        return
                    batch = found
                yield batch
                place += 1
        finally:
            if self._at > len(self._kept):  # nobody can go on from there: give the buffer back
                self._going = None


def _watched(control: Control) -> Control:
    """What asks for a stop from now on."""
    return Control() if control.cancelled else control


def _numbered(forwards: Iterable[Forward]) -> Iterator[tuple[int, Forward]]:
    """Each with the number of its first row."""
    first = 0
    for forward in forwards:
        yield first, forward
        first += forward.count
