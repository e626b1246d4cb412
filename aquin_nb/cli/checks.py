"""What `doctor` looks at: each look is short, changes nothing, and says what to do."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal
from urllib.parse import urlsplit

from .. import home
from ..errors import AquinError
from ..files import free_bytes, human_bytes

HUB_SECONDS = 3.0
LEAST_FREE, MUCH_FREE = 200_000_000, 3_000_000_000
MATMUL, TIMES = 512, 5


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it is, and what to do about it ("" where nothing is to be done)."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def checks() -> Iterator[Check]:
    """Look at one thing after another."""
    looks: dict[str, Callable[[], Check]] = {
        "versions": versions,
        "engine": engine,
        "device": device,
        "dtype": dtype,
        "disk": disk,
        "session": session,
        "notebook": notebook,
        "browser": browser,
        "hub": hub,
        "board": board,
    }
    for name, look in looks.items():
        try:
            yield look()
        except Exception as error:  # one look that fails must not hide the others
            yield Check(name, "warn", f"could not be looked at: {type(error).__name__}: {error}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> Check:
    """Python's and ours."""
    found = ", ".join(f"{one} {_version(one)}" for one in ("aquin-nb", "pydantic", "pandas", "anywidget"))
    return Check("versions", "ok", f"Python {platform.python_version()} on {platform.system()}, {found}")


def engine() -> Check:
    """What computes."""
    wanted = ("torch", "transformers", "transformer-lens", "datasets", "safetensors", "scipy")
    lacking = [one for one in wanted if _version(one) is None]
    if lacking:
        return Check(
            "engine", "warn", f"{', '.join(lacking)} not installed: results open, nothing computes",
            "pip install 'aquin-nb[engine]'",
        )  # fmt: skip
    return Check("engine", "ok", ", ".join(f"{one} {_version(one)}" for one in wanted[:3]))


def device() -> Check:
    """Where models compute."""
    if find_spec("torch") is None:
        return Check("device", "warn", "unknown without torch", "pip install 'aquin-nb[engine]'")
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Check(
            "device", "ok", f"{torch.cuda.get_device_name()}, {human_bytes(free)} of {human_bytes(total)} free"
        )
    cores = os.cpu_count() or 1
    if shutil.which("nvidia-smi"):
        return Check(
            "device", "warn", f"CPU with {cores} cores; there is an NVIDIA driver that this torch cannot use",
            "install the torch of your CUDA version: pytorch.org/get-started",
        )  # fmt: skip
    return Check("device", "ok", f"CPU with {cores} cores, {torch.get_num_threads()} threads of torch")


def dtype() -> Check:
    """How fast bfloat16 is beside float32 here, by a small product of matrices."""
    if find_spec("torch") is None:
        return Check("dtype", "warn", "unknown without torch", "pip install 'aquin-nb[engine]'")
    import torch

    on = "cuda" if torch.cuda.is_available() else "cpu"

    def seconds(kind: torch.dtype) -> float:
        a = torch.ones(MATMUL, MATMUL, dtype=kind, device=on)
        took = []
        for _ in range(TIMES):
            began = time.perf_counter()
            (a @ a).sum().item()
            took.append(time.perf_counter() - began)
        return min(took)

    ratio = seconds(torch.float32) / seconds(torch.bfloat16)
    said = f"bfloat16 is {ratio:.1f} × as fast as float32 on {on}"
    if ratio < 1:
        return Check("dtype", "ok", f"{said}; --dtype auto measures again and chooses", "")
    return Check("dtype", "ok", said)


def disk() -> Check:
    """Room, and whose disk it is."""
    from ..sync.filesystem import network

    place = home.home()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check(
            "disk", "fail", f"{place} cannot be written: {error.strerror}", "set AQUIN_HOME to a folder of your own"
        )
    free = free_bytes(place)
    said = f"{place}: {human_bytes(free)} free"
    if free < LEAST_FREE:
        return Check("disk", "fail", said, "free some disk, or set AQUIN_HOME to another one")
    if kind := network(place):
        return Check(
            "disk", "warn", f"{said}, on a network file system ({kind})", "set AQUIN_HOME to a local disk for speed"
        )
    if free < MUCH_FREE:
        return Check("disk", "warn", said, "two million tokens of activations take some gigabytes")
    return Check("disk", "ok", f"{said}, local" if sys.platform == "linux" else said)


def session() -> Check:
    """What is remembered between commands."""
    from .state import recall

    try:
        state = recall()
    except AquinError as error:
        return Check("session", "fail", str(error), "aquin-nb session end")
    if state is None:
        return Check("session", "ok", "none yet", "")
    return Check("session", "ok", f"{state.name}, model {state.model.name if state.model else 'none'}")


def notebook() -> Check:
    """Whether JupyterLab, where it is installed, finds what our views need."""
    if _version("jupyterlab") is None:
        return Check("notebook", "ok", "no JupyterLab in this environment; views work in any front end with widgets")
    lacking = [name for name in ("anywidget", "@jupyter-widgets/jupyterlab-manager") if not _extension(name)]
    if lacking:
        return Check(
            "notebook", "warn", f"JupyterLab {_version('jupyterlab')} does not find {' and '.join(lacking)}",
            "pip install --force-reinstall anywidget jupyterlab_widgets, in the environment that JupyterLab runs in",
        )  # fmt: skip
    return Check("notebook", "ok", f"JupyterLab {_version('jupyterlab')} with the extensions that widgets need")


def _extension(name: str) -> bool:
    try:
        from jupyter_core.paths import jupyter_path

        roots = [Path(one) for one in jupyter_path("labextensions")]
    except ImportError:
        roots = [Path(sys.prefix, "share", "jupyter", "labextensions")]
    return any((root / name / "package.json").is_file() for root in roots)


def browser() -> Check:
    """What shows the board."""
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return Check(
            "browser", "warn", "none is found on this machine", "open the board's address on your own, through a tunnel"
        )
    return Check("browser", "ok", getattr(found, "name", "") or type(found).__name__)


def hub() -> Check:
    """Whether models and texts can be downloaded."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Check("hub", "ok", "not asked: HF_HUB_OFFLINE is set; what is on this machine is used")
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    parts = urlsplit(address)
    problem = _reached(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    if problem:
        return Check(
            "hub", "warn", f"{address} was not reached: {problem}",
            "tiny and the packaged texts need no network; HF_HUB_OFFLINE=1 saves the waiting",
        )  # fmt: skip
    return Check("hub", "ok", f"{address} answers")


def _reached(host: str, port: int) -> str:
    """ "" or why not, within `HUB_SECONDS`: a resolver may take longer than its timeout."""
    import threading

    said = [f"no answer within {HUB_SECONDS:.0f} s"]

    def ask() -> None:
        try:
            socket.create_connection((host, port), timeout=HUB_SECONDS).close()
            said[0] = ""
        except OSError as error:
            said[0] = error.strerror or str(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(HUB_SECONDS)
    return said[0]


def board() -> Check:
    """Whether a board answers, or could."""
    from ..orchestrator.find import find

    found = find()
    if found is not None:
        return Check("board", "ok", f"{found.url} answers")
    lacking = [one for one in ("apsw", "fastapi", "uvicorn", "orjson") if _version(one) is None]
    if lacking:
        return Check("board", "warn", f"{', '.join(lacking)} not installed", "pip install 'aquin-nb[orchestrator]'")
    return Check("board", "ok", "none runs; `aquin-nb connect` starts one")
