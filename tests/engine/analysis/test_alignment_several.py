"""Several dictionaries: the matrix is that of each two, and a stable feature is one that all agree on."""

import numpy as np
import pytest
import torch
from relations import dictionary, directions, turned

from aquin_nb.engine.analysis.align import align
from aquin_nb.engine.analysis.alignment.several import compare
from aquin_nb.errors import DictionaryError


def three() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Three dictionaries of 40: the first 15 features are shared by all, the next 10 by the first two."""
    core, two = directions(15, 64, 0), directions(10, 64, 1)
    made, orders = [], []
    for seed in range(3):
        rest = directions(25 if seed == 2 else 15, 64, 50 + seed)
        rows = torch.cat([turned(core, 0.95, 10 + seed), *([turned(two, 0.95, 20 + seed)] if seed < 2 else []), rest])
        order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
        made.append(rows[order])
        orders.append(order)
    return made, orders


def test_the_matrix_holds_what_aligning_each_two_gives() -> None:
    made, _ = three()
    found = compare([dictionary(rows) for rows in made], ["x", "y", "z"])
    assert np.allclose(np.diag(found.matrix), 1)
    assert np.allclose(found.matrix, found.matrix.T)
    for i, j, first, second in ((0, 1, "x", "y"), (0, 2, "x", "z"), (1, 2, "y", "z")):
        expected = align(dictionary(made[i]), dictionary(made[j])).mean_cosine
        assert found.matrix.loc[first, second] == pytest.approx(expected)
    assert found.matrix.loc["x", "y"] > found.matrix.loc["x", "z"] + 0.1


def test_stable_features_are_those_that_all_have() -> None:
    made, orders = three()
    found = compare([dictionary(rows) for rows in made], ["x", "y", "z"])
    assert len(found.stable) == 15
    originals = [orders[i].numpy()[found.stable[name]] for i, name in enumerate("xyz")]
    assert np.array_equal(originals[0], originals[1])
    assert np.array_equal(originals[0], originals[2])
    assert set(originals[0]) == set(range(15))
    assert (found.stable["least_cosine"] <= found.stable["mean_cosine"]).all()
    assert len(compare([dictionary(rows) for rows in made], ["x", "y", "z"], least=0.99).stable) == 0
    assert len(compare([dictionary(rows) for rows in made[:2]], ["x", "y"]).stable) == 25


def test_refusals() -> None:
    a, b = dictionary(directions(4, 8, 0)), dictionary(directions(4, 9, 0))
    with pytest.raises(DictionaryError, match="at least two"):
        compare([a], ["a"])
    with pytest.raises(DictionaryError, match="as many different names"):
        compare([a, a], ["a", "a"])
    with pytest.raises(DictionaryError, match=r"width 8 and .* of width 9"):
        compare([a, b], ["a", "b"])
    with pytest.raises(DictionaryError, match="least must be"):
        compare([a, a], ["a", "b"], least=70)
