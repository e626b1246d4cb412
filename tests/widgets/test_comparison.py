"""A comparison's face and figure: lines that say whose they are, nothing from outside is markup, one file to keep."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_html import PROPERTIES, TAGS, Reader
from view_samples import HOSTILE

from aquin_nb.comparison import CaptureComparison
from aquin_nb.engine.analysis.compare import Comparison
from aquin_nb.errors import OutputError


def comparison(*names: str, key: str = "label", pairs: bool = False) -> CaptureComparison:
    rows = []
    for at, name in enumerate(names):
        for layer in range(4):
            row = {
                "layer": layer,
                "capture": name,
                "norm_q25": 9.0,
                "norm_median": 10.0 * (layer + 1),
                "norm_q75": 11.0,
            }
            if len(names) > 1:
                known = at > 0 and layer < 3
                row |= {
                    f"cosine_{of}": 0.9 - layer / 10 if known else np.nan for of in ("q25", "median", "q75", "others")
                }
                row["cka"] = 0.8 - layer / 10 if known else np.nan
            row |= {f"accuracy_{key}": 0.6 + layer / 10, f"spread_{key}": 0.05, f"baseline_{key}": 0.5}
            rows.append(row)
    captures = [
        {"capture": name, "model": "tiny", "checkpoint": None, "site": "hook_resid_post", "position": "last",
         "probes": 200, "layers": 4, "d_model": 128, "matched_by": "text" if at else None, "path": "/x"}
        for at, name in enumerate(names)
    ]  # fmt: skip
    flagged = [
        {"capture": names[-1], "flag": "missing", "probe": None, "first_probe": 3, "text": HOSTILE, "detail": ""}
    ]
    labels = [
        {"capture": name, "label": key, "probes": 200, "classes": "a 100, b 100", "baseline": 0.5, "missing": 0,
         "repeated": 0}
        for name in names
    ]  # fmt: skip
    cka = [
        {"capture": name, "first_layer": a, "layer": b, "cka": 1 / (1 + a + b)}
        for name in names[1:] for a in range(4) for b in range(3)
    ]  # fmt: skip
    return CaptureComparison(
        Comparison(
            captures=pd.DataFrame(captures),
            layers=pd.DataFrame(rows),
            probes=pd.DataFrame(flagged).astype({"probe": "Int64", "first_probe": "Int64"}),
            labels=pd.DataFrame(labels),
            cka=pd.DataFrame(cka) if pairs else None,
            notes=[f"a note on {HOSTILE}"],
            methods=["CKA: how", "Separability: how"],
        )
    )


@pytest.mark.parametrize("found", [comparison("base", HOSTILE, key=HOSTILE, pairs=True), comparison(HOSTILE)])
def test_the_frozen_face_is_what_the_sanitiser_leaves_and_hostile_text_is_text(found):
    read = Reader(found.freeze()._repr_html_())
    assert set(read.tags) <= TAGS
    assert HOSTILE in read.text
    for _, name, value in read.attributes:
        assert not name.startswith("on"), name
        if name == "style":
            used = {part.split(":")[0].strip() for part in value.split(";") if part.strip()}
            assert used <= PROPERTIES, used - PROPERTIES


def test_the_face_says_what_was_compared_and_how_sure_it_is():
    text = Reader(comparison("base", "tuned").html()).text
    for words in ("base", "matched by text", "label in tuned, layer 3 · guessing 50 %", "90 %", "lowest CKA of tuned",
                  "Probes that differ", "missing", "How this was measured", "Separability: how"):  # fmt: skip
        assert words in text, words
    single = Reader(comparison("base").html()).text
    assert "CKA" not in single.replace("CKA: how", "")
    assert "A capture by layer" in single


def test_the_text_is_short():
    assert repr(comparison("base", "tuned")).splitlines() == [
        "CaptureComparison of base, tuned: 4 layers, 1 probe flagged",
        "  label in base: 90 % ± 5.0 % at layer 3, the best of its layers; guessing 50 %",
        "  label in tuned: 90 % ± 5.0 % at layer 3, the best of its layers; guessing 50 %",
    ]


def test_the_figure_has_a_line_a_capture_in_every_panel():
    figure = comparison("base", "tuned", pairs=True).figure()
    titles = [note.text for note in figure.layout.annotations if not note.text.startswith("guessing")]
    assert titles == [
        "Norm, median", "Cosine of the same probe, median", "CKA, debiased", "Accuracy: label", "CKA: tuned with base",
    ]  # fmt: skip
    drawn = [(trace.name, len(trace.x)) for trace in figure.data if trace.type == "scatter"]
    assert drawn == [("base", 4), ("tuned", 4), ("tuned", 3), ("tuned", 3), ("base", 4), ("tuned", 4)]
    assert [trace.showlegend for trace in figure.data[:3]] == [True, True, False]
    assert "90 % ± 5.0 % over folds" in figure.data[4].hovertext[3]
    assert figure.data[-1].z[1][2] == pytest.approx(1 / 4)
    assert len(comparison("base").figure().data) == 2


def test_it_is_kept_in_one_file(tmp_path: Path):
    found = comparison("base", "tuned", pairs=True)
    assert "<h1>base, tuned</h1>" in found.save(tmp_path / "c.html").read_text()
    whole = json.loads(found.save(tmp_path / "c.json").read_text())
    assert set(whole) == {"layers", "probes", "labels", "captures", "cka", "notes", "methods"}
    assert whole["layers"][0]["cka"] is None
    assert pd.read_csv(found.save(tmp_path / "c.csv")).columns.tolist() == found.frame.columns.tolist()
    with pytest.raises(OutputError, match=r"c\.png: save\(\) writes"):
        found.save(tmp_path / "c.png")


def test_the_notebook_gets_text_and_html():
    bundle = comparison("base")._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert '<script type="module">' in bundle["text/html"]


def test_the_view_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import aquin_nb.widgets.comparison_figure, aquin_nb.widgets.comparison, aquin_nb.comparison"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
