"""What mkdocs does not do by itself: links out of docs/ lead to the repository, notebooks and schemas become pages."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from plotly.offline import get_plotlyjs

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = ROOT / "aquin_nb" / "cards" / "schema"
sys.path.insert(0, str(ROOT / "tools"))

from notebook_pages import filled, markdown  # noqa: E402
from render_notebooks import current  # noqa: E402

OUTWARD = re.compile(r"(?<=\]\()((?:\.\./)+)([^)#\s]+)(#[^)\s]*)?(?=\))")


def _notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the notebooks in the navigation."""
    for section in config.nav or []:
        for entries in section.values():
            for entry in entries if isinstance(entries, list) else []:
                if "Notebooks" in entry:
                    entry["Notebooks"] = [f"notebooks/{path.stem}.md" for path in _notebooks()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page a notebook, the committed schemas as they are, and the changelog."""
    _as_run.cache_clear()
    for path in _notebooks():
        uri = f"notebooks/{path.stem}.md"
        notebook = _as_run(uri) or nbformat.read(path, as_version=4)
        files.append(File.generated(config, uri, content=markdown(notebook, path.name)))
    if any(_as_run(f"notebooks/{path.stem}.md") for path in _notebooks()):
        files.append(File.generated(config, "assets/plotly.min.js", content=get_plotlyjs()))
    for path in sorted(SCHEMAS.glob("*.json")):
        files.append(File.generated(config, f"schemas/{path.name}", abs_src_path=str(path)))
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    files.append(File.generated(config, "changelog.md", content=changes))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Turn links that leave docs/ into links to the repository; one that leads nowhere ends the build."""
    here = (ROOT / "docs" / page.file.src_uri).parent

    def lead(found: re.Match[str]) -> str:
        target = (here / (found[1] + found[2])).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return found[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_uri} links to {found[0]}, which does not exist.")
        kind = "tree" if target.is_dir() else "blob"
        return f"{config.extra['repository']}/{kind}/main/{target.relative_to(ROOT)}{found[3] or ''}"

    return OUTWARD.sub(lead, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Put the outputs of a notebook into its finished page."""
    run = _as_run(page.file.src_uri)
    return output if run is None else filled(output, run)


@cache
def _as_run(uri: str) -> nbformat.NotebookNode | None:
    """The executed notebook of a page; None for other pages, and where it was not executed since it changed."""
    return current(ROOT / "notebooks" / f"{Path(uri).stem}.ipynb") if uri.startswith("notebooks/") else None
