"""What a release carries: bundles and data files are in the wheel; neither Node nor torch is needed to use it."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from smoke import EXTRAS

ROOT = Path(__file__).resolve().parent.parent


def run(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the unpacked sdist, on a PATH without npm: what a machine without Node does."""
    folder = tmp_path_factory.mktemp("wheel")
    run("tar", "xzf", sdist, "-C", folder)
    (source,) = (p for p in folder.iterdir() if p.is_dir())
    bare = os.environ | {"PATH": str(folder)}
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source, env=bare)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_bundles_models_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    bundles = {p.name for p in (ROOT / "aquin_nb" / "widgets" / "static").glob("*.js")}
    assert "monitor.js" in bundles
    assert {f"aquin_nb/widgets/static/{name}" for name in bundles} <= names
    for needed in (
        "aquin_nb/engine/models/catalogue.json",
        "aquin_nb/engine/models/tiny/model.safetensors",
        "aquin_nb/engine/models/tiny/tokenizer.json",
        "aquin_nb/engine/models/tiny/sample.jsonl",
        "aquin_nb/engine/activations/probes.json",
        "aquin_nb/cards/schema/saeTrain.json",
        "aquin_nb/py.typed",
    ):
        assert needed in names
    assert not [
        name for name in names if name.startswith(("tests/", "widgets/", "tools/", "docs/")) or "gallery" in name
    ]


def test_the_sdist_carries_what_builds_tests_and_explains_it(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        "docs/views.md",
        "docs/images/monitor-light.webp",
        "mkdocs.yml",
        "tools/docs_hooks.py",
        "notebooks/01_the_whole_loop.ipynb",
        "tests/test_docs.py",
        "widgets/src/board/board.ts",
        "hatch_build.py",
        "CITATION.cff",
        "constraints-oldest.txt",
        "aquin_nb/widgets/static/monitor.js",
    ):
        assert needed in names
    assert not [name for name in names if "node_modules" in name or ".gallery" in name or "__pycache__" in name]


def bounds(lines: list[str], operator: str) -> dict[str, Version]:
    """Name -> version behind `operator`, of each requirement that is not one of our own extras."""
    found = [one for one in map(Requirement, lines) if one.name != "aquin-nb"]
    return {
        canonicalize_name(one.name): Version(next(s.version for s in one.specifier if s.operator == operator))
        for one in found
    }


def test_the_oldest_versions_that_smoke_installs_are_the_lower_bounds() -> None:
    """All but torch's: see constraints-oldest.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in EXTRAS.split(",") for line in project["optional-dependencies"][extra]]
    lower = bounds(project["dependencies"] + extras, ">=")
    assert lower.pop("torch") == Version("2.6")
    tried = [line for line in (ROOT / "constraints-oldest.txt").read_text().splitlines() if not line.startswith("#")]
    assert bounds(tried, "==") == lower


def test_the_bundled_model_is_small() -> None:
    folder = ROOT / "aquin_nb" / "engine" / "models" / "tiny"
    size = sum(p.stat().st_size for p in folder.iterdir() if p.name != "sample.jsonl")
    assert size <= 3_500_000
    assert (folder / "sample.jsonl").stat().st_size < 1_300_000


def test_a_laptop_without_torch_opens_a_capture_and_shows_it(wheel: Path, tmp_path: Path) -> None:
    """The wheel's own files, with every import of the engine's libraries made to fail."""
    import aquin_nb

    capture = aquin_nb.Session("tiny").capture_activations(count=3, layers=[1], output=tmp_path / "capture")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "transformer_lens", "datasets", "safetensors", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import aquin_nb
assert aquin_nb.__file__.startswith(sys.argv[1])
capture = aquin_nb.open_capture(sys.argv[2])
print(capture, len(capture.frame), "table" in capture._repr_mimebundle_()["text/html"])
try:
    aquin_nb.Session("tiny")
except ModuleNotFoundError as error:
    print(error)
"""
    env = os.environ | {"PYTHONPATH": str(site)}
    said = run(sys.executable, "-P", "-c", code, site, capture.path, cwd=tmp_path, env=env)
    assert "3 True" in said
    assert "pip install 'aquin-nb[engine]'" in said


def test_importing_is_light() -> None:
    """No torch, pandas or plotly until something is used; the promise of 0.3 s rests on this (benchmarks/ times it)."""
    heavy = {"torch", "pandas", "numpy", "plotly", "pydantic", "IPython"}
    code = f"import sys, aquin_nb; print(sorted({heavy} & set(sys.modules)))"
    assert run(sys.executable, "-c", code).strip() == "[]"
