"""The notebook about what a dictionary learns: the planted is found, few rows are exposed, a bad run is called bad."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from notebook_runs import assert_alive_without_a_kernel, executed, of_cell, said, table

ARCHITECTURES = ["topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated"]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from executed("02_what_an_sae_learns", tmp_path_factory)


def test_the_dictionary_finds_what_was_planted_and_a_rotation_does_not(notebook: Any) -> None:
    found = dict(re.findall(r"(\w[\w ]+\w) +(\d+)$", said(notebook, "noise = "), re.M))
    assert int(found["dictionary"]) >= 40
    assert int(found["principal components"]) < 10 > int(found["random directions"])


def test_few_rows_are_learnt_by_heart_and_called_a_smoke_test(notebook: Any) -> None:
    few, _, many = table(notebook, "few = ")[1:]
    assert float(few[1]) < float(many[1]), "on its own rows"
    assert float(few[2]) > 2 * float(many[2]), "on fresh ones"
    assert few[4:] == ["smoke", "test", "only"]
    assert many[4:] == ["usable"]
    assert said(notebook, "probes = ").startswith("smoke test only\n")


def test_real_features_are_usable_and_shown_over_tokens(notebook: Any) -> None:
    assert said(notebook, "first = job.wait()").startswith("usable\n")
    assert 'data-aquin="tokens"' in of_cell(notebook, "session.load_sae")[-1].data["text/html"]
    assert 'data-aquin="standing"' in of_cell(notebook, "first.standing")[-1].data["text/html"]


def test_more_active_features_always_explain_more(notebook: Any) -> None:
    errors = [float(row[2]) for row in table(notebook, "ks = ")]
    assert len(errors) == 4
    assert errors == sorted(errors, reverse=True)


def test_every_architecture_is_in_the_table(notebook: Any) -> None:
    assert [row[0] for row in table(notebook, "choices = ")] == ARCHITECTURES


def test_a_batch_changes_nothing_in_a_converted_dictionary(notebook: Any) -> None:
    lines = said(notebook, "x = ").splitlines()
    assert lines[0].endswith("True")
    assert lines[1].endswith("True")


def test_the_resumed_run_ends_with_the_same_bits(notebook: Any) -> None:
    assert "lr" in said(notebook, "config = "), "a misspelt setting is answered with the nearest"
    assert "Cancelled at step" in said(notebook, "job = session.sae.train(activations=first, config=config")
    (monitor,) = of_cell(notebook, "job = session.sae.resume")
    assert "resumed at step" in monitor.data["text/html"]
    lines = said(notebook, "resumed = job.wait()").splitlines()
    assert len(lines) == 5
    assert all(line.endswith("identical to the bit: True") for line in lines)


def test_a_bad_run_says_that_it_is_bad(notebook: Any) -> None:
    assert said(notebook, "bad = ").startswith("smoke test only\n")


def test_what_is_left_needs_no_kernel(notebook: Any) -> None:
    assert_alive_without_a_kernel(notebook)
