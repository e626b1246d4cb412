"""Run the notebooks for the documentation: executed ones lie in site-notebooks/, where the docs build takes them.

    python tools/render_notebooks.py [NAME ...]

A notebook runs again only when its text, the version of the package or $AQUIN_MODEL has changed; delete the folder to
run all. They run on `tiny` unless $AQUIN_MODEL names a larger model, in a home of their own that sees your models.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import nbformat
from run_notebook import execute, with_parameters, without

import aquin_nb
from aquin_nb.home import models_dir

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "notebooks"
RENDERED = ROOT / "site-notebooks"  # not in git
FIRST_ON_TINY = {"MODEL": "tiny", "LAYER": 3, "D_SAE": 1024, "FINETUNE_LAYERS": [1, 2, 3]}


def model() -> str:
    """The language model that notebooks run on."""
    return os.environ.get("AQUIN_MODEL", "tiny")


def key(source: Path) -> str:
    """What an executed notebook must have come from to be current."""
    told = f"{aquin_nb.__version__} {model()} ".encode() + source.read_bytes()
    return hashlib.sha256(told).hexdigest()


def current(source: Path, folder: Path = RENDERED) -> nbformat.NotebookNode | None:
    """The executed form of the notebook as it is now; None where there is none."""
    path = folder / source.name
    if not path.exists():
        return None
    notebook = nbformat.read(path, as_version=4)
    return notebook if notebook.metadata.get("rendered", {}).get("key") == key(source) else None


def render(source: Path, folder: Path = RENDERED) -> Path:
    """Execute a notebook and keep what its cells left, without this machine's folders in it.

    Raises:
        CellExecutionError: a cell failed; nothing is kept.
    """
    before = key(source)
    notebook = nbformat.read(source, as_version=4)
    models = models_dir()
    first = source.name.startswith("01")
    if first and model() == "tiny":
        notebook = with_parameters(notebook, FIRST_ON_TINY)
    if first and not (models / "minilm").is_dir():
        notebook = without(notebook, ["embedding"])
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        home, work = Path(temporary) / "home", Path(temporary) / "work"
        home.mkdir()
        work.mkdir()
        if models.is_dir():
            (home / "models").symlink_to(models.resolve())
        with patch.dict(os.environ, {"AQUIN_HOME": str(home)}):
            execute(notebook, work)
        notebook.metadata["rendered"] = {
            "key": before,
            "model": model(),
            "version": aquin_nb.__version__,
            "seconds": round(time.monotonic() - began),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        }
        text = nbformat.writes(notebook)
        for here, said in ((home, "~/.aquin"), (work, "~")):
            text = text.replace(str(here), said)
    folder.mkdir(exist_ok=True)
    partial = folder / f".{source.name}.partial"
    partial.write_text(text, "utf-8")
    return partial.replace(folder / source.name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="such as 02, instead of all")
    names = parser.parse_args().names
    for source in sorted(SOURCES.glob("*.ipynb")):
        if names and not source.name.startswith(tuple(names)):
            continue
        if current(source) is not None:
            continue
        print(f"== running {source.name} on {model()}", flush=True)
        made = nbformat.read(render(source), as_version=4)
        print(f"   {made.metadata['rendered']['seconds']} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
