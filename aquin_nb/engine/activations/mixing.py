"""Several corpora as one: documents interleaved so that each corpus has its share of the text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...errors import CorpusError
from .columns import Column, is_blank
from .corpus import Corpus
from .order import checked_seed, permuted
from .rows import kind
from .texts import Rows, Source


def mix(parts: Sequence[tuple[Corpus, float]], *, seed: int = 0) -> Corpus:
    """One corpus of several, each with a share of the text in proportion to its weight.

    The next document always comes from the corpus that is furthest behind its share, counted in characters (in ids
    where the corpora are pretokenised), so at any point the shares are right to within one document of each. `seed`
    draws who goes first among equals. When a corpus ends the others go on: every document comes exactly once.

    Raises:
        CorpusError: no corpora, a weight that is not a positive number, or texts together with token ids.

    >>> from aquin_nb.engine.activations.corpus import open_corpus
    >>> prose, code = open_corpus(["aa", "bb", "cc", "dd"]), open_corpus(["x=1;", "y=2;"])
    >>> "".join(mix([(prose, 1), (code, 1)], seed=1).documents()).count("=")
    2
    """
    pairs = [_pair(part) for part in parts]
    if not pairs:
        raise CorpusError("mix() needs at least one (corpus, weight).")
    kinds = {corpus.pretokenised for corpus, _ in pairs}
    if len(kinds) > 1:
        raise CorpusError("Texts and token ids cannot be mixed: either all corpora are pretokenised or none is.")
    return Corpus(_Mixture(pairs, checked_seed(seed)), Column("", tokens=kinds.pop()))


class _Mixture(Source):
    def __init__(self, parts: list[tuple[Corpus, float]], seed: int) -> None:
        total = sum(weight for _, weight in parts)
        super().__init__(" + ".join(f"{weight / total:.1%} {corpus.name}" for corpus, weight in parts))
        self._parts, self._seed = parts, seed
        self.once = any(corpus.once for corpus, _ in parts)

    def rows(self) -> Rows:
        passes = [corpus.rows() for corpus, _ in self._parts]
        behind = [0.0] * len(passes)  # text given so far over the weight: the smallest is the furthest behind
        going: list[int] = permuted(len(passes), self._seed).tolist()
        while going:
            part = min(going, key=behind.__getitem__)
            for where, document in passes[part]:
                yield where, document
                if document is not None and not is_blank(document):
                    behind[part] += len(document) / self._parts[part][1]
                    break
            else:
                going.remove(part)

    def facts(self) -> list[object]:
        return [self._seed, [[corpus.fingerprint(), weight] for corpus, weight in self._parts]]


def _pair(part: object) -> tuple[Corpus, float]:
    if not isinstance(part, tuple) or len(part) != 2 or not isinstance(part[0], Corpus):
        raise CorpusError(f"mix() takes pairs (corpus, weight) with corpora of open_corpus(), not {kind(part)}.")
    corpus, weight = part
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
        raise CorpusError(f"{corpus.name} has the weight {weight!r:.40}; a weight is a positive number.")
    return corpus, float(weight)
