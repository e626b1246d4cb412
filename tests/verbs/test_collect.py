"""`collect_activations` into a place that is no folder."""

from __future__ import annotations

import aquin_nb


def test_a_bucket_is_written_through_a_cache_that_need_not_be_there_yet() -> None:
    session = aquin_nb.Session("tiny")
    kept = session.collect_activations("packaged", layers=3, tokens=600, output="memory://bucket/new").wait(60)
    assert kept.card.status == "completed"
    assert aquin_nb.open_activations("memory://bucket/new").store.verify() == kept.store.rows == 600
