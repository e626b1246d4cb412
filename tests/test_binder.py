"""What a Binder does: its files are read, and its steps performed in a fresh environment, as far as they go offline.

Not performed here: downloads (torch's CPU build, models) and mybinder.org itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
BINDER = ROOT / "binder"


def run(*command: object, env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run([str(one) for one in command], env=env, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_environment_is_pinned_and_for_a_cpu() -> None:
    lines = [line for line in (BINDER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    options = [line for line in lines if line.startswith("-")]
    (constraints,) = (line.split()[1] for line in options if line.startswith("-c"))
    pins = {
        (one := Requirement(line)).name.lower().replace("_", "-"): one
        for line in (BINDER / constraints).read_text().splitlines()
        if line and not line.startswith("#")
    }
    wanted = [Requirement(line) for line in lines if line and not line.startswith("-")]
    assert {one.name for one in wanted if not one.specifier} <= set(pins)
    (torch,) = (one for one in wanted if one.name == "torch")
    (version,) = (str(one.version) for one in torch.specifier)
    assert version.endswith("+cpu")
    assert pins["torch"].specifier.contains(version)
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in options
    assert re.fullmatch(r"python-3\.1[1-3]", (BINDER / "runtime.txt").read_text().strip())


def test_the_address_opens_a_notebook_that_is_there() -> None:
    for page in (BINDER / "README.md", ROOT / "README.md"):
        (path,) = set(re.findall(r"mybinder\.org/v2/\S+?urlpath=lab/tree/([^)`\s]+)", page.read_text()))
        assert (ROOT / path).exists()


def test_post_build_makes_a_place_where_notebook_and_board_are_found(tmp_path: Path) -> None:
    """In an environment that has the dependencies and no aquin-nb, with a package index that cannot be reached."""
    checkout = tmp_path / "checkout"
    names = [
        "aquin_nb",
        "binder",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "NOTICE",
        "hatch_build.py",
        "constraints.txt",
        "notebooks",
        "tools",
    ]
    for name in names:
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, checkout / name, ignore=ignore) if source.is_dir() else shutil.copy(source, checkout)
    fresh = tmp_path / "fresh"
    venv.create(fresh)
    python = fresh / "bin" / "python"
    site = fresh / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    lent = tmp_path / "lent"  # every installed package but ours, as if pip had installed requirements.txt
    lent.mkdir()
    for one in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not re.match(r"_?_?(editable|aquin)", one.name) and one.suffix != ".pth":
            (lent / one.name).symlink_to(one)
    (site / "lent.pth").write_text(f"{lent}\n")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "PATH": f"{fresh / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "AQUIN_HOME": str(tmp_path / "aquin"),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # off: there is no index to isolate from
        "BINDER_MODELS": "",
    }
    run("bash", checkout / "binder" / "postBuild", env=env, cwd=checkout)

    told = """
import json, importlib.metadata as found, aquin_nb
from aquin_nb.widgets import assets
points = found.entry_points(group="jupyter_serverproxy_servers")
(point,) = [one for one in points if one.name == "aquin-nb"]
print(json.dumps({"from": aquin_nb.__file__, "entry": point.load()()["launcher_entry"]["title"]}))
"""
    said = json.loads(run(python, "-c", told, env=env, cwd=tmp_path))
    assert Path(said["from"]).is_relative_to(site)
    assert said["entry"] == "Board"
    assert list((site / "aquin_nb" / "widgets" / "static").glob("view-*.js"))
    (startup,) = (tmp_path / "ipython" / "profile_default" / "startup").glob("*.py")
    compile(startup.read_text(), startup.name, "exec")
    first = nbformat.read(checkout / "notebooks" / "01_the_whole_loop.ipynb", as_version=4)
    assert any("MODEL = 'tiny'" in cell.source for cell in first.cells)
    assert not (checkout / "widgets" / "node_modules").exists()


@pytest.mark.parametrize("name", ["notebooks", "binder"])
def test_what_it_needs_is_in_git(name: str) -> None:
    listed = subprocess.run(["git", "ls-files", name], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    assert listed.stdout
