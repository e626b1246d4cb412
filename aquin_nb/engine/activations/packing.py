"""Token ids of documents cut into rows with arrays, each row knowing where in the corpus the next one begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .columns import Ids

Texts: TypeAlias = list[list[int]] | list[Ids]
Encoded: TypeAlias = tuple[list[int], Texts]
"""Numbers of some documents (at least one), ascending, and the ids of each."""

_EOS = -1  # stands for an offset: the token is the EOS behind the document


class Cursor(NamedTuple):
    """A place between two tokens of a corpus.

    document: the number of a document. offset: how many of its tokens come before; the EOS behind a document counts
    as its last token, and after it the place is the start of the next document.
    """

    document: int = 0
    offset: int = 0


class Cut(NamedTuple):
    """r rows of n tokens in all, one row after the other, without BOS or frame.

    ids int64 [n]; documents int32 [n], whose each token is; lengths int64 [r]; owners int64 [r], the document of a
    row's last token (of a row without tokens: its own); after int64 [r, 2], the cursor behind each row.
    """

    ids: Ids
    documents: npt.NDArray[np.int32]
    lengths: Ids
    owners: Ids
    after: Ids

    def part(self, start: int, stop: int) -> Cut:
        """The rows from `start` to `stop`."""
        begin, end = int(self.lengths[:start].sum()), int(self.lengths[:stop].sum())
        rows, tokens = slice(start, stop), slice(begin, end)
        return Cut(self.ids[tokens], self.documents[tokens], self.lengths[rows], self.owners[rows], self.after[rows])

    def followed_by(self, other: Cut) -> Cut:
        """The rows of both."""
        pairs: list[tuple[Any, Any]] = list(zip(self, other, strict=True))
        return Cut(*map(np.concatenate, pairs))


def packed(groups: Iterable[Encoded], room: int, eos: int | None, skip: int = 0) -> Iterator[Cut]:
    """Documents end to end, with `eos` between them, in rows of `room` tokens; only the last row may be shorter.

    The first `skip` tokens of the first document are left out.
    """
    ids: Ids = np.empty(0, dtype=np.int64)
    documents, offsets = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
    gap = 0 if eos is None else 1
    last: int | None = None
    for numbers, texts in groups:
        sizes = np.array([len(text) for text in texts], dtype=np.int64) + gap
        begins = np.cumsum(sizes) - sizes
        new = _joined(texts, eos)
        owner = np.repeat(np.array(numbers, dtype=np.int32), sizes)
        offset = np.arange(len(new)) - np.repeat(begins + gap, sizes)  # -1, which is _EOS, in front of each document
        if gap:  # the EOS in front of a document is the one behind the document before
            owner[begins] = [numbers[0] if last is None else last, *numbers[:-1]]
        fresh = slice(gap + skip if last is None else 0, None)
        last = numbers[-1]
        ids = np.concatenate((ids, new[fresh]))
        documents = np.concatenate((documents, owner[fresh]))
        offsets = np.concatenate((offsets, offset[fresh]))
        if whole := len(ids) // room * room:
            lengths = np.full(whole // room, room, dtype=np.int64)
            yield _cut(ids[:whole], documents[:whole], offsets[:whole], lengths)
            ids, documents, offsets = ids[whole:], documents[whole:], offsets[whole:]
    if len(ids):
        yield _cut(ids, documents, offsets, np.array([len(ids)], dtype=np.int64))


def separate(groups: Iterable[Encoded], room: int, *, empty: bool, skip: int = 0) -> Iterator[Cut]:
    """Every document in rows of its own: one of at most `room` tokens, or several where it is longer.

    A document without tokens is a row of length 0 if `empty`, and no row otherwise. The first `skip` tokens of the
    first document are left out.
    """
    for numbers, texts in groups:
        lengths: list[int] = []
        after: list[tuple[int, int]] = []
        sizes = [len(text) for text in texts]
        for number, size in zip(numbers, sizes, strict=True):
            stops = range(skip + room, size, room)  # of all rows but the last
            lengths += [room] * len(stops)
            after += [(number, stop) for stop in stops]
            if skip < size or (empty and not size):
                lengths.append(size - skip - room * len(stops))
                after.append((number + 1, 0))
            skip = 0
        ends = np.array(after, dtype=np.int64).reshape(-1, 2)
        first = sum(sizes) - sum(lengths)  # tokens that were skipped
        documents = np.repeat(np.array(numbers, dtype=np.int32), sizes)
        owners = ends[:, 0] - (ends[:, 1] == 0)
        yield Cut(_joined(texts, None)[first:], documents[first:], np.array(lengths, dtype=np.int64), owners, ends)


def batched(cuts: Iterable[Cut], rows: int) -> Iterator[Cut]:
    """The same rows, `rows` at a time; only the last batch may have fewer."""
    held: Cut | None = None
    for cut in cuts:
        both = cut if held is None else held.followed_by(cut)
        whole = len(both.lengths) // rows * rows
        for at in range(0, whole, rows):
            yield both.part(at, at + rows)
        held = both.part(whole, len(both.lengths))
    if held is not None and len(held.lengths):
        yield held


class Padded(NamedTuple):
    """Rows as a model reads them: ids int64, mask bool and documents int32, each [r, t], and how long the rows are."""

    ids: Ids
    mask: npt.NDArray[np.bool_]
    documents: npt.NDArray[np.int32]


def padded(cut: Cut, prefix: Sequence[int], suffix: Sequence[int], pad: int) -> Padded:
    """Rows between `prefix` and `suffix`, padded on the right to the longest; documents are -1 outside the text."""
    before = len(prefix)
    real = cut.lengths + before + len(suffix)
    shape = len(cut.lengths), max(1, int(real.max()))
    columns = np.arange(shape[1])
    text = (columns >= before) & (columns < before + cut.lengths[:, None])
    ids = np.full(shape, pad, dtype=np.int64)
    documents = np.full(shape, -1, dtype=np.int32)
    ids[text], documents[text] = cut.ids, cut.documents
    ids[:, :before] = prefix
    for at, token in enumerate(suffix):
        ids[np.arange(shape[0]), before + cut.lengths + at] = token
    return Padded(ids, columns < real[:, None], documents)


def _joined(texts: Texts, eos: int | None) -> Ids:
    """All ids in one array, those of each document behind an `eos`."""
    front = [] if eos is None else [eos]
    if isinstance(texts[0], np.ndarray):
        arrays = [part for text in texts for part in (np.array(front, dtype=np.int64), text)]
        return np.concatenate(arrays).astype(np.int64, copy=False)
    flat: list[int] = []
    for text in texts:  # extending a list and converting it once is several times as fast as many small arrays
        flat.extend(front)
        flat.extend(text)
    return np.array(flat, dtype=np.int64)


def _cut(ids: Ids, documents: npt.NDArray[np.int32], offsets: Ids, lengths: Ids) -> Cut:
    ends = np.cumsum(lengths) - 1
    owners = documents[ends].astype(np.int64)
    behind = offsets[ends] == _EOS
    after = np.stack((owners + behind, np.where(behind, 0, offsets[ends] + 1)), axis=1)
    return Cut(ids, documents, lengths, owners, after)
