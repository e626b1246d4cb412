"""A notebook as a page of the documentation: Markdown with marks, and the HTML of outputs that takes their place.

Outputs enter after Markdown and search index are done: neither has to read a view's data.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import Any

import nbformat
from nbconvert.filters import ansi2html

PLOTLY = "application/vnd.plotly.v1+json"
MARK = '<div data-output="{}"></div>'
MARKED = re.compile(r'<div data-output="(\d+)"></div>')
DRAWING = '<script src="../assets/plotly.min.js"></script>'
FOLLOWING = '<script src="../notebook.js"></script>'


def markdown(notebook: nbformat.NotebookNode, name: str) -> str:
    """Texts and code, with a mark below each cell that left something."""
    parts = ["---\nhide: [toc]\n---"]  # room for code and views; the headings are numbered
    for index, cell in enumerate(notebook.cells):
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        if index == 0:
            parts.append(
                f"*{_said(notebook)} Run it yourself: `make lab`, [notebooks/{name}](../../notebooks/{name}).*"
            )
        if output_html(cell):
            parts.append(MARK.format(index))
    return "\n\n".join(parts) + "\n"


def filled(page: str, notebook: nbformat.NotebookNode) -> str:
    """The page with outputs in the place of their marks."""
    page = MARKED.sub(lambda found: output_html(notebook.cells[int(found[1])]), page)
    drawing = DRAWING if '<div class="figure">' in page else ""
    return page.replace("</body>", f"{drawing}{FOLLOWING}</body>")


def output_html(cell: nbformat.NotebookNode) -> str:
    """What a cell left; empty when it left nothing that is seen."""
    shown = [_one(output) for output in cell.get("outputs", [])]
    inner = "".join(f'<div class="output">{one}</div>' for one in shown if one)
    return f'<div class="outputs">{inner}</div>' if inner else ""


def _said(notebook: nbformat.NotebookNode) -> str:
    run = notebook.metadata.get("rendered")
    if run is None:
        return "Shown without outputs."
    return (
        f"Outputs are of aquin-nb {run['version']} on `{run['model']}`, {run['seconds']} s on {run['cores']} CPU cores."
    )


def _one(output: nbformat.NotebookNode) -> str:
    """One output in the richest form that a page can show."""
    if output.output_type == "stream":
        return _text(output.text)
    if output.output_type == "error":
        return _text("\n".join(output.traceback))
    data: dict[str, Any] = output.data
    if PLOTLY in data:
        figure = json.dumps({"data": data[PLOTLY]["data"], "layout": data[PLOTLY]["layout"]}).replace("</", "<\\/")
        without = "<noscript>This figure needs scripts.</noscript>"
        return f'<div class="figure"><script type="application/json">{figure}</script>{without}</div>'
    if "text/html" in data:
        return re.sub(r"<style scoped>.*?</style>", "", data["text/html"], flags=re.DOTALL)  # of a pandas table
    if "image/png" in data:
        picture = data["image/png"]
        encoded = picture if isinstance(picture, str) else base64.b64encode(picture).decode()
        return f'<img alt="{html.escape(data.get("text/plain", "figure"))}" src="data:image/png;base64,{encoded}">'
    return _text(data.get("text/plain", ""))


def _text(text: str) -> str:
    return f"<pre>{ansi2html(text.rstrip())}</pre>" if text.strip() else ""
