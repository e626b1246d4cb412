"""What mkdocs does not do by itself: links out of docs/ lead to the repository, notebooks and schemas become pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = ROOT / "aquin_nb" / "cards" / "schema"
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
    for path in _notebooks():
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=_notebook_page(path)))
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


def _notebook_page(path: Path) -> str:
    """Its texts and code; outputs are not in git, `make lab` makes them."""
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        if len(parts) == 1:
            parts.append(f"*Run it yourself: `make lab`, [notebooks/{path.name}](../../notebooks/{path.name}).*")
    return "\n\n".join(parts) + "\n"
