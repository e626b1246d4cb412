"""What README and docs say is so: blocks parse, their names exist, what can run runs, and the site builds strict."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from IPython.core.inputtransformer2 import TransformerManager

import aquin_nb
from aquin_nb.alignment import SaeAlign
from aquin_nb.cli.app import commands
from aquin_nb.collection import Activations
from aquin_nb.difference import SaeDiff
from aquin_nb.results import Capture, SaeTrain
from aquin_nb.session import Session
from aquin_nb.sweep import SaeSweep
from aquin_nb.verbs.sae import SaeVerbs

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

KNOWN: dict[str, Any] = {
    "aquin_nb": aquin_nb, "session": Session, "session.sae": SaeVerbs, "capture": Capture, "trained": SaeTrain,
    "kept": Activations, "sweep": SaeSweep, "diff": SaeDiff, "found": SaeAlign, "alignment": SaeAlign,
}  # fmt: skip
"""What names in the blocks are instances of."""

INSTANCE = {
    "session": {"model", "dictionary", "layer", "jobs", "sae", "telling"},
    "kept": {"store", "path", "card"},
    "diff": {"path", "card"},
    "found": {"path", "card"},
    "alignment": {"path", "card"},
    "capture": {"path", "card", "manifest", "layers", "data"},
    "trained": {"path", "card", "history"},
    "sweep": {"card", "trainings"},
}
"""Attributes that only instances have."""

RUN = ("README.md", "docs/quickstart.md")
"""Pages whose blocks are one program on `tiny`, run from top to bottom. The others name files and checkpoints that only
their readers have: those are parsed, and their names looked up."""


class Block(NamedTuple):
    page: str
    line: int
    source: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        yield Block(str(page.relative_to(ROOT)), text[: found.start()].count("\n") + 1, found[1])


ALL = [block for page in PAGES for block in blocks(page)]


def test_there_are_blocks() -> None:
    assert {block.page for block in ALL} >= {*RUN, "docs/views.md", "docs/align.md"}


@pytest.mark.parametrize("block", ALL, ids=lambda block: f"{block.page}:{block.line}")
def test_every_name_exists(block: Block) -> None:
    # Cells may wait at their top level, as notebooks do.
    tree = compiled(block.source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("aquin_nb"):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module} has no {name.name}"
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner in KNOWN:
                there = hasattr(KNOWN[owner], node.attr) or node.attr in INSTANCE.get(owner, ())
                assert there, f"{owner} has no {node.attr}"
        if isinstance(node, ast.Call):
            accepts(node)


def compiled(source: str) -> ast.AST:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    source = TransformerManager().transform_cell(source)  # magics
    return compile(source, "block", "exec", flags)  # type: ignore[return-value]


def accepts(call: ast.Call) -> None:
    """The keywords that a call gives are parameters of what it calls."""
    if not isinstance(call.func, ast.Attribute) or ast.unparse(call.func.value) not in KNOWN:
        return
    function = getattr(KNOWN[ast.unparse(call.func.value)], call.func.attr, None)
    if function is None or not callable(function):
        return
    parameters = inspect.signature(function).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    for keyword in call.keywords:
        assert keyword.arg is None or keyword.arg in parameters, f"{ast.unparse(call.func)} takes no {keyword.arg}"


def command_lines() -> Iterator[tuple[str, str]]:
    """Page and words of each `aquin-nb …` in a block or between backticks."""
    for page in [*PAGES, ROOT / "binder" / "README.md"]:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for found in re.finditer(r"(?:^|`| )aquin-nb ([a-z][^`\n#]*)", text, re.MULTILINE):
            yield page.name, found[1].split(" #")[0].strip()


def test_every_command_and_flag_exists() -> None:
    seen = 0
    for page, line in command_lines():
        at: Any = commands()
        for word in line.replace("|", " ").split():
            if word in getattr(at, "commands", {}):
                at = at.commands[word]
            elif word.startswith("--"):
                known = {option for one in at.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
                assert word.split("=")[0] in known, f"{page}: aquin-nb {line}: there is no {word}"
                seen += 1
            elif at is commands():
                break  # prose
    assert seen > 30


@pytest.mark.parametrize("page", RUN)
def test_what_can_run_runs(page: str, tmp_path: Path) -> None:
    program = "\n".join(block.source for block in ALL if block.page == page)
    environment = os.environ | {"AQUIN_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "alignment.html").stat().st_size > 10_000


def test_links_lead_somewhere() -> None:
    """Of pages that mkdocs does not see; its own are held to it by the strict build."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        text = page.read_text("utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|(?:src|srcset)=\"([^\"]+)\"", text):
            place = target[0] or target[1]
            if not place.startswith("http"):
                assert (ROOT / place).exists(), f"{page.name} links to {place}"


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").glob("*"))
    assert {path.name for path in pictures} >= {
        "monitor-light.webp",
        "monitor-dark.webp",
        "board-light.webp",
        "board-dark.webp",
    }
    assert [path.name for path in pictures if path.stat().st_size > 150_000] == []


def test_versions_agree() -> None:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == aquin_nb.__version__


def test_the_site_builds_strict_and_asks_nobody(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings_handlers.python")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    fetched = re.compile(
        r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?https?:|@import|url\(['\"]?https?:"
        r"|<link[^>]*rel=\"?(?:stylesheet|preload|preconnect)[^>]*https?:"
    )
    for path in (tmp_path / "site").rglob("*.html"):
        page = path.read_text("utf-8")
        assert fetched.search(page) is None, path
        assert 'data-md-component="source"' not in page, "the theme would ask GitHub for the stars of a repository"
    session = (tmp_path / "site" / "reference" / "session.html").read_text("utf-8")
    assert "capture_activations" in session
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = (tmp_path / "site" / "notebooks" / f"{source.stem}.html").read_text("utf-8")
        assert ('class="outputs"' in page) != ("Shown without outputs." in page), "a page says whether it has them"
    schema = json.loads((tmp_path / "site" / "schemas" / "saeTrain.json").read_text("utf-8"))
    assert schema["properties"]["kind"]
