"""Run a notebook headless with other parameters, cell by cell and with visible progress."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

PLOTLY = "application/vnd.plotly.v1+json"


def with_parameters(notebook: nbformat.NotebookNode, values: Mapping[str, Any]) -> nbformat.NotebookNode:
    """A copy whose cell tagged `parameters` sets `values` after its own defaults (papermill's convention)."""
    out = copy.deepcopy(notebook)
    (cell,) = [c for c in out.cells if "parameters" in c.metadata.get("tags", [])]
    unknown = [name for name in values if f"{name} =" not in cell.source]
    if unknown:
        raise ValueError(f"the notebook has no parameter {', '.join(unknown)}")
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    return out


def without(notebook: nbformat.NotebookNode, tags: Collection[str]) -> nbformat.NotebookNode:
    """A copy that leaves out the cells with any of `tags`."""
    out = copy.deepcopy(notebook)
    out.cells = [c for c in out.cells if not set(c.metadata.get("tags", [])) & set(tags)]
    return out


class _Watched(NotebookClient):
    """A client that also hears how far a cell is: from monitors, and from lines of progress."""

    on_progress: Callable[[str], None] | None = None

    def handle_comm_msg(self, outs: list[Any], msg: dict[str, Any], cell_index: int) -> None:
        super().handle_comm_msg(outs, msg, cell_index)
        card = (msg["content"].get("data", {}).get("content") or {}).get("card") or {}
        if self.on_progress is not None and "progress" in card:
            now = card["progress"]
            under_way = now["done"] < now["total"]
            self.on_progress(f"{now['stage']} {now['done']:,} of {now['total']:,} {now['unit']}" if under_way else "")

    def process_message(self, msg: dict[str, Any], cell: nbformat.NotebookNode, cell_index: int) -> Any:
        shown = msg["content"].get("data", {}) if "display_data" in msg["msg_type"] else {}
        if self.on_progress is not None and "<progress" in shown.get("text/html", ""):
            self.on_progress(shown.get("text/plain", ""))
        return super().process_message(msg, cell, cell_index)


def execute(
    notebook: nbformat.NotebookNode,
    folder: Path,
    *,
    timeout: int = 1200,
    on_cell: Callable[[int, int, str, float], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> nbformat.NotebookNode:
    """Run all cells in `folder`; `on_cell(number, total, first line, seconds)` is called after each one,
    `on_progress("train 20 of 500 steps")` whenever a running cell says how far it is.

    Widget state is not stored: finished results are HTML and need none, and nbconvert would show it instead of them.
    """
    client = _Watched(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.on_progress = on_progress
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    with client.setup_kernel():
        for number, index in enumerate(code, start=1):
            began = time.monotonic()
            client.execute_cell(notebook.cells[index], index)
            if on_cell is not None:
                on_cell(number, len(code), notebook.cells[index].source.splitlines()[0], time.monotonic() - began)
    return notebook


def page(notebook: nbformat.NotebookNode) -> str:
    """An executed notebook as one HTML page that needs no network: figures get plotly's own script, once."""
    import plotly.graph_objects as go
    from nbconvert import HTMLExporter

    out = copy.deepcopy(notebook)
    script: bool = True
    for output in (o for cell in out.cells for o in cell.get("outputs", [])):
        figure = output.get("data", {}).pop(PLOTLY, None)
        if figure is not None:
            chart = go.Figure(data=figure["data"], layout=figure["layout"])
            output.data["text/html"] = chart.to_html(full_html=False, include_plotlyjs=script)
            script = False
    html, _ = HTMLExporter().from_notebook_node(out)
    # The template asks a content network for RequireJS and MathJax; nothing of ours needs either.
    return re.sub(r'<script[^>]*\bsrc="https?://[^"]*"[^>]*>\s*</script>', "", html)
