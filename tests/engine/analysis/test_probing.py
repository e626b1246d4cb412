"""Separability is that of held-out probes; who takes part is counted, and what cannot be told is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aquin_nb.engine.activations.probes import Probe
from aquin_nb.engine.analysis.probing import labelled, separability
from aquin_nb.errors import ProbeError


def probes(*values: object, key: str = "label") -> list[Probe]:
    return [Probe(f"text {row:03d}", {key: value}) for row, value in enumerate(values)]


def vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def classes(n: int) -> np.ndarray:
    return np.array(["no", "yes"])[np.arange(n) % 2]


def test_a_planted_direction_is_found_and_noise_is_not():
    x, y = vectors(60, 300), classes(60)
    assert 0.3 < separability(x, y).accuracy < 0.7
    x[y == "yes"] += 1.0
    found = separability(x, y)
    assert found.accuracy == 1.0
    assert found.spread == 0.0


def test_it_is_what_scikit_learn_says_in_the_whole_space():
    x, y = vectors(40, 90) * np.geomspace(0.1, 10, 90), classes(40)
    x[y == "yes", :3] += 0.8
    scores = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(x, y):
        strengths = np.array([0.1, 1, 10, 100, 1000]) / 90  # a standardised row of 90 has a squared norm of 90
        inner = StratifiedKFold(3, shuffle=True, random_state=0)
        scale = StandardScaler().fit(x[train])
        search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": strengths}, cv=inner, scoring="accuracy")
        chosen = search.fit(scale.transform(x[train]), y[train]).best_params_["C"]
        whole = make_pipeline(StandardScaler(), LogisticRegression(C=chosen, max_iter=1000)).fit(x[train], y[train])
        scores.append(whole.score(x[test], y[test]))
    found = separability(x, y)
    assert found.accuracy == pytest.approx(np.mean(scores))
    assert found.spread == pytest.approx(np.std(scores, ddof=1))
    assert 0.5 < found.accuracy < 1


def test_the_scale_of_a_dimension_changes_nothing_and_constant_ones_do_no_harm():
    x, y = vectors(30, 12), classes(30)
    x[y == "yes", 0] += 1.5
    scaled = np.concatenate([x * np.geomspace(1e-3, 1e5, 12), np.full((30, 2), 7.0)], axis=1)
    assert separability(scaled, y).accuracy == pytest.approx(separability(x, y).accuracy, abs=0.04)
    assert separability(np.ones((30, 3)), y).accuracy == 0.5


def test_the_order_of_the_probes_changes_nothing():
    given = probes(*classes(30).tolist())
    x = vectors(30, 40)
    x[::2, 0] += 1.0
    order = np.random.default_rng(1).permutation(30)
    straight, shuffled = labelled(given, "label", "a"), labelled([given[i] for i in order], "label", "a")
    assert separability(x[straight.rows], straight.classes) == separability(x[order][shuffled.rows], shuffled.classes)


def test_who_takes_part_is_counted():
    given = probes(*[True, False] * 6, None)
    given += [Probe("text 000", {"label": True}), Probe("no label")]
    found = labelled(given, "label", "a")
    assert found.counts == {"true": 6, "false": 6}
    assert (len(found.rows), found.missing, found.repeated, found.baseline) == (12, 2, 1, 0.5)
    assert labelled(probes(*[1] * 9, *[2] * 5), "label", "a").baseline == 9 / 14


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        (probes("x", "y"), "lable", r"No probe of a has the label 'lable'\. Did you mean label\?"),
        ([Probe("a text")], "label", "carry no metadata"),
        (probes(*["x"] * 7), "label", r"one class only \('x', 7 probes\)"),
        (probes(None, None), "label", "is None in every probe of a"),
        (probes(*["x"] * 9, *["y"] * 4), "label", "5 folds need 5 probes a class, and 'y' has 4"),
        (probes(*range(40)), "label", "and 36 classes more"),
        (probes("x", ["y"]), "label", "of probe 2 of a is a list"),
        (probes({"x": 1}), "label", "of probe 1 of a is an object"),
    ],
)
def test_what_cannot_be_separated_is_refused(given, key, message):
    with pytest.raises(ProbeError, match=message):
        labelled(given, key, "a")
