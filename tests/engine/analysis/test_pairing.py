"""Probes find each other by text, else by position; whatever differs is flagged."""

from __future__ import annotations

from aquin_nb.engine.activations.probes import Probe
from aquin_nb.engine.analysis.pairing import pair


def probes(*texts: str) -> list[Probe]:
    return [Probe(text) for text in texts]


def rows(pairing) -> list[tuple[int, int]]:
    return list(zip(pairing.first.tolist(), pairing.second.tolist(), strict=True))


def flags(pairing) -> list[tuple]:
    return [(flag["flag"], flag["first"], flag["second"], flag["text"]) for flag in pairing.flags]


def test_texts_are_found_in_any_order_and_what_one_lacks_is_flagged():
    found = pair(probes("a", "b", "c"), probes("c", "x", "a"))
    assert found.by == "text"
    assert rows(found) == [(0, 2), (2, 0)]
    assert flags(found) == [("missing", 1, None, "b"), ("extra", None, 1, "x")]


def test_a_text_that_occurs_twice_is_matched_in_order():
    found = pair(probes("a", "a", "b", "a"), probes("b", "a", "a"))
    assert rows(found) == [(0, 1), (1, 2), (2, 0)]
    assert flags(found) == [("missing", 3, None, "a")]


def test_without_a_common_text_rows_are_matched_and_all_flagged():
    found = pair(probes("a", "b"), probes("c", "d"))
    assert found.by == "position"
    assert rows(found) == [(0, 0), (1, 1)]
    assert flags(found) == [("text differs", 0, 0, "a"), ("text differs", 1, 1, "b")]
    assert found.flags[0]["detail"] == 'second: "c"'


def test_without_a_common_text_and_of_other_length_nothing_is_matched():
    found = pair(probes("a", "b"), probes("c"))
    assert found.by is None
    assert rows(found) == []
    assert [flag["flag"] for flag in found.flags] == ["missing", "missing", "extra"]


def test_metadata_that_contradicts_is_flagged_and_absent_metadata_is_not():
    first = [Probe("a", {"label": "x", "n": 1}), Probe("b", {"label": "x"})]
    found = pair(first, [Probe("a", {"label": "y", "n": 1}), Probe("b", {"other": 2})])
    assert flags(found) == [("metadata differs", 0, 0, "a")]
    assert found.flags[0]["detail"] == 'label: "x" and "y"'
