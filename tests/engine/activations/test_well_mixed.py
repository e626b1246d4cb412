"""Batches of a store much larger than the buffer are mixed from all over it: tests against a uniform permutation.

A piece of neighbouring rows comes into the buffer as a whole, so its rows leave within the same few rounds. Where the
pieces come is a uniform permutation, which is tested as such with one row of each; a batch is then a draw from all
pieces in the buffer, and its counts vary more than a fair draw's by the factor that drawing whole pieces explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from test_stream import numbered, stored

from aquin_nb.engine.activations.stream import ShuffledStream

ROWS, BUFFER, BATCH = 65_536, 4096, 128
CHUNK, DOCUMENT, PIECE = 7000, 40, 64
PIECES_IN_BUFFER = BUFFER // PIECE
P = 1e-3  # of a test that should pass; the seeds are fixed

Numbers = NDArray[np.int64]


@dataclass
class Given:
    """Row numbers [batches, batch_size] of one epoch, in the order in which they were given."""

    rows: Numbers

    @property
    def when(self) -> Numbers:
        """At which place of the epoch each row of the store was given; -1: it was left over."""
        when = np.full(ROWS, -1)
        when[self.rows.ravel()] = np.arange(self.rows.size)
        return when

    def one_of_each_piece(self) -> tuple[Numbers, NDArray[np.float64]]:
        """A row of each piece, and when in the epoch, from 0 to 1, it was given."""
        rows = np.arange(0, ROWS, PIECE) + np.random.default_rng(5).integers(PIECE, size=ROWS // PIECE)
        when = self.when[rows]
        return rows[when >= 0], when[when >= 0] / self.rows.size


def epoch(stream: ShuffledStream, number: int = 0) -> Given:
    return Given(np.array([batch[:, 0].long().tolist() for batch in stream.epoch(number)]))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed") / "s"
    return stored(folder, numbered(ROWS), CHUNK, torch.arange(ROWS) // DOCUMENT)


@pytest.fixture(scope="module", params=["store", "sites side by side", "a rank of two"])
def mixed(request, store, tmp_path_factory) -> Iterator[Given]:
    options = {"held_out": 0, "buffer_rows": BUFFER}
    if request.param == "store":
        yield epoch(ShuffledStream(store, BATCH, seed=3, **options))
    elif request.param == "sites side by side":
        other = stored(tmp_path_factory.mktemp("other") / "s", -numbered(ROWS), 900, torch.arange(ROWS) // DOCUMENT)
        stream = ShuffledStream([store, other], BATCH, seed=4, **options)
        assert all(torch.equal(batch[:, :2], -batch[:, 2:]) for _, batch in zip(range(50), stream, strict=False))
        yield epoch(stream)
    else:
        parts = [epoch(ShuffledStream(store, 2 * BATCH, seed=5, shard=(rank, 2), **options)) for rank in range(2)]
        yield Given(np.concatenate([part.rows for part in parts], axis=1))


@pytest.fixture(scope="module")
def fair() -> Given:
    return Given(np.random.default_rng(0).permutation(ROWS).reshape(-1, BATCH))


class TestAnEpoch:
    def test_when_a_row_comes_does_not_depend_on_where_it_lies(self, mixed: Given) -> None:
        rows, when = mixed.one_of_each_piece()
        for eighth in range(8):
            assert stats.kstest(when[rows * 8 // ROWS == eighth], "uniform").pvalue > P
        table = np.histogram2d(rows, when, 8)[0]
        assert stats.chi2_contingency(table).pvalue > P

    def test_nor_on_its_chunk(self, mixed: Given) -> None:
        rows, when = mixed.one_of_each_piece()
        table = np.histogram2d(rows // CHUNK, when, [ROWS // CHUNK + 1, 6])[0]
        assert stats.chi2_contingency(table).pvalue > P

    def test_nor_on_when_it_came_in_the_epoch_before(self, store) -> None:
        stream = ShuffledStream(store, BATCH, seed=3, held_out=0, buffer_rows=BUFFER)
        first, second = (epoch(stream, number).when[::PIECE] for number in (0, 1))
        assert stats.spearmanr(first, second).pvalue > P

    def test_rows_of_a_document_are_far_apart(self, mixed: Given) -> None:
        """The buffer's length lies between two rows of one document, not the document's."""
        when = mixed.when[: ROWS // DOCUMENT * DOCUMENT].reshape(-1, DOCUMENT)
        whole = when[(when >= 0).all(1)]
        assert np.median(np.ptp(whole, axis=1)) > BUFFER / 2


class TestABatch:
    def counts(self, given: Given, parts: int = 16) -> NDArray[np.float64]:
        """χ² of the rows of each batch over equal parts of the store, divided by its expectation."""
        size = given.rows.shape[1]
        of_part = np.array([np.bincount(batch * parts // ROWS, minlength=parts) for batch in given.rows])
        return ((of_part - size / parts) ** 2 / (size / parts)).sum(1) / (parts - 1)

    def test_its_rows_are_from_all_over_the_store(self, mixed: Given, fair: Given) -> None:
        """A draw of n rows from m whole pieces varies 1 + n / m times as much as one of n rows."""
        assert self.counts(fair).mean() == pytest.approx(1, abs=0.1)
        assert 1 < self.counts(mixed).mean() < 1 + BATCH / PIECES_IN_BUFFER
        neighbours = Given(np.arange(ROWS).reshape(-1, BATCH))
        assert self.counts(neighbours).mean() > 50

    def test_its_mean_wanders_no_further_than_pieces_explain(self, mixed: Given) -> None:
        size = mixed.rows.shape[1]
        fair_spread = ROWS / np.sqrt(12 * size)
        assert mixed.rows.mean(1).std() < fair_spread * np.sqrt(1 + size / PIECES_IN_BUFFER)

    def test_it_holds_many_documents(self, mixed: Given, fair: Given) -> None:
        def documents(given: Given) -> float:
            return float(np.mean([len(np.unique(batch // DOCUMENT)) for batch in given.rows[:, :BATCH]]))

        assert documents(mixed) > 0.75 * documents(fair)

    def test_neighbours_in_it_are_not_neighbours_in_the_store(self, mixed: Given) -> None:
        """As rarely as in a permutation of the buffer."""
        touching = np.abs(np.diff(mixed.rows, axis=1)) == 1
        assert touching.mean() < 3 * 2 / BUFFER
        order = mixed.rows.ravel()
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.03

    def test_what_fits_into_the_buffer_is_a_fair_permutation(self, store) -> None:
        given = epoch(ShuffledStream(store, BATCH, held_out=0, buffer_rows=ROWS))
        assert self.counts(given).mean() == pytest.approx(1, abs=0.1)
        assert (
            stats.kstest([stats.kstest(batch / ROWS, "uniform").pvalue for batch in given.rows], "uniform").pvalue > P
        )
        assert stats.kstest(given.when[:: PIECE // 8] / ROWS, "uniform").pvalue > P
        assert abs(stats.spearmanr(given.rows.ravel(), np.arange(ROWS)).statistic) < 4 / np.sqrt(ROWS)
