"""`make smoke`: wheel and sdist as a stranger gets them, on the oldest and the newest versions of what they need.

    python tools/smoke.py [oldest newest]

Builds both archives from this checkout, then in fresh environments, with an empty home and an empty folder each, does
the real job of tools/smoke_job.py:

    oldest  the sdist, on a PATH without Node, under constraints-oldest.txt: the bounds that pyproject.toml promises
    newest  the wheel with whatever the package index offers today

torch is the one of the environment that starts this: another build of it is gigabytes. No network is used beyond the
package index. Ends with status 1 and the names of what failed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "engine,lab,orchestrator,sync"
TOLD = ("anywidget", "apsw", "datasets", "fastapi", "ipywidgets", "jupyterlab", "numpy", "pandas", "plotly", "pydantic",
        "scipy", "transformer-lens", "transformers", "typer")  # fmt: skip
LIMIT = 600.0
"""Seconds for an installation or a job; each takes under one minute on a machine with nothing else to do."""


class Environment(NamedTuple):
    """One way to install: the archive's suffix, and the file of constraints."""

    suffix: str
    constraints: str | None


ENVIRONMENTS = {
    "oldest": Environment(".tar.gz", "constraints-oldest.txt"),
    "newest": Environment(".whl", None),
}


class Failed(Exception):
    """A step by its name, and what its command said."""


_one_at_a_time = threading.Lock()
_at_work: set[int] = set()
"""Process groups of jobs, which are to end with this one."""


def say(text: str) -> None:
    with _one_at_a_time:
        print(text, flush=True)


def run(step: str, *command: object, env: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Standard output of a command that must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode != 0:
        raise Failed(f"{step} (status {done.returncode})\n{done.stdout}{done.stderr}")
    return done.stdout


def built(folder: Path) -> None:
    """Wheel and sdist of this checkout."""
    run("build", sys.executable, "-m", "hatchling", "build", "-d", folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        bundles = [name for name in opened.getnames() if "/aquin_nb/widgets/static/" in name and name.endswith(".js")]
    if not bundles:
        raise Failed(f"build: {archive.name} holds no bundles, and installing it would need Node")


def torch() -> str:
    return f"torch=={importlib.metadata.version('torch')}"


def installed(name: str, dist: Path, folder: Path) -> Path:
    """The Python of a fresh environment that holds the archive and what it asks for."""
    archive, constraints = ENVIRONMENTS[name]
    (found,) = dist.glob(f"aquin_nb-*{archive}")
    python = folder / "venv" / "bin" / "python"
    run(f"{name}: environment", sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    pip = (sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check")
    bare = os.environ | {"PATH": str(python.parent)}  # no Node is found
    limits = ("--constraint", ROOT / constraints) if constraints else ()
    wanted = (f"aquin-nb[{EXTRAS}] @ {found.as_uri()}", torch())
    run(f"{name}: install", *pip, "install", "--no-compile", *limits, *wanted, env=bare)
    asked = f"import importlib.metadata as m; print(*(f'{{one}} {{m.version(one)}}' for one in {TOLD!r}), sep=', ')"
    say(f"{name}: {run(f'{name}: versions', python, '-c', asked).strip()}")
    return python


def job(name: str, python: Path, folder: Path) -> None:
    """tools/smoke_job.py in an empty folder, with nothing of this checkout or of the user in its environment."""
    home, empty = folder / "home", folder / "empty"
    home.mkdir()
    empty.mkdir()
    kept = ("LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
    env = {key: os.environ[key] for key in kept if key in os.environ} | {
        "PATH": os.pathsep.join([str(python.parent), "/usr/bin", "/bin"]),
        "HOME": str(home),
        "AQUIN_HOME": str(home / "aquin"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # two environments run beside each other
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    words = [str(one) for one in (python, "-P", ROOT / "tools" / "smoke_job.py", empty)]
    with (folder / "said").open("w+") as errors:
        pipes = {"stdout": subprocess.PIPE, "stderr": errors, "text": True}
        told = subprocess.Popen(words, env=env, cwd=empty, start_new_session=True, **pipes)
        watch = threading.Timer(LIMIT, os.killpg, (told.pid, signal.SIGKILL))  # its kernel and its board too
        watch.start()
        _at_work.add(told.pid)
        assert told.stdout is not None
        last = "start"
        for line in told.stdout:
            last = line.strip()
            say(f"{name}: {last}")
        watch.cancel()
        status = told.wait()
        _at_work.discard(told.pid)
        if status != 0:
            errors.seek(0)
            raise Failed(f"{name}: {last} (status {status})\n{errors.read()[-6000:]}")


def tried(name: str, dist: Path, folder: Path) -> str | None:
    """Install and do the job; what failed, or None."""
    began = time.monotonic()
    try:
        folder.mkdir()
        python = installed(name, dist, folder)
        say(f"{name}: installed in {time.monotonic() - began:.0f} s")
        job(name, python, folder)
    except (Failed, subprocess.TimeoutExpired) as error:
        say(f"{name}: FAILED at {error}")
        return str(error).splitlines()[0]
    say(f"{name}: works, {time.monotonic() - began:.0f} s")
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENVIRONMENTS)} (default: all)")
    names = parser.parse_args().names or list(ENVIRONMENTS)
    if unknown := set(names) - set(ENVIRONMENTS):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(ENVIRONMENTS)}")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aquin-smoke-") as place:
        dist = Path(place) / "dist"
        say("== building wheel and sdist")
        try:
            built(dist)
        except (Failed, subprocess.TimeoutExpired) as error:
            say(f"FAILED at {error}")
            return 1
        say(f"== {' and '.join(names)}, with {torch()}")
        with ThreadPoolExecutor(2) as pool:
            try:
                failed = [one for one in pool.map(lambda name: tried(name, dist, Path(place) / name), names) if one]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for group in _at_work:
                    os.killpg(group, signal.SIGKILL)
                raise
    if failed:
        say("== FAILED\n" + "\n".join(f"   {one}" for one in failed))
        return 1
    say(f"== {len(names)} passed, 0 failed in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
