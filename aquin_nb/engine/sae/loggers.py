"""The points of a training, sent on to TensorBoard or W&B as they come; both are extras, and off unless named."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ... import files
from ...errors import AquinError, DictionaryError, OutputError, did_you_mean

PROJECT = "aquin-nb"  # of W&B, unless WANDB_PROJECT names one
FLUSH_SECONDS = 5  # what TensorBoard may lose to a kill; a resumed run logs it again if its checkpoint is older
DENSITY_FROM = -6  # log10 of the firing rate at the left edge of a density histogram; the right edge is 0


class Logger(Protocol):
    """Where a training's points go. `start` once, `log` at each point, `finish` at the end, stopped or not.

    Attributes:
        notes: what a reader of the result should know: that the logger was switched off, and why.
    """

    notes: list[str]

    def start(self, config: dict[str, Any]) -> None:
        """Open it with the plain values that describe the run.

        Raises:
            OutputError: it cannot be reached or written; the training has not begun.
        """
        ...

    def log(self, step: int, values: Mapping[str, float | None], histogram: Sequence[int] | None = None) -> None:
        """One point. Values that are None, NaN or infinite are left out.

        `histogram`: counts of latents by log10 of their firing rate, in equal bins from -6 to 0. Never raises: at its
        first failure the logger is switched off with a note.
        """
        ...

    def finish(self, summary: dict[str, Any]) -> None:
        """Close it with the figures of the whole run. Never raises; see `log`."""
        ...


def open_loggers(names: Sequence[str], folder: Path, run: str) -> list[Logger]:
    """Loggers by name, not started yet.

    Args:
        names: of "tensorboard" (event files under `folder`/tensorboard) and "wandb" (mode, project, entity and the like
            from the WANDB_ environment variables; the project is aquin-nb otherwise).
        folder: of the run. One that a logger has written to before is continued: W&B's run by the id kept in
            `folder`/wandb.json, TensorBoard's curves from the step of the first point on.
        run: what W&B shows as the run's name.

    Raises:
        DictionaryError: an unknown name.
        OutputError: the package of one is not installed; says what to install.

    >>> open_loggers([], Path("runs/a"), "a")
    []
    """
    chosen = list(dict.fromkeys(names))
    require_loggers(chosen)
    return [_Guarded(name, _KINDS[name](Path(folder), run)) for name in chosen]


def require_loggers(names: Sequence[str]) -> None:
    """Refuse what `open_loggers` would, before any work is done.

    Raises:
        DictionaryError, OutputError: see there.
    """
    for name in names:
        if name not in _KINDS:
            raise DictionaryError(f"{name!r} is no logger. {did_you_mean(str(name), _KINDS)}")
        if find_spec(name) is None:
            raise OutputError(f"Logging to {name} needs its package: pip install 'aquin-nb[{name}]'.")


class _Target(Protocol):
    """A logger that may fail; its values are finite."""

    def start(self, config: dict[str, Any]) -> None: ...

    def log(self, step: int, values: dict[str, float], histogram: Sequence[int] | None) -> None: ...

    def finish(self, summary: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class _Guarded:
    """Keeps a failing target from ending the training."""

    def __init__(self, name: str, target: _Target) -> None:
        self.notes: list[str] = []
        self._name, self._target, self._on, self._step = name, target, False, 0

    def start(self, config: dict[str, Any]) -> None:
        try:
            self._target.start(config)
        except AquinError:
            raise
        except Exception as error:
            raise OutputError(f"{self._name} cannot start ({_said(error)}). Mend it, or train without it.") from error
        self._on = True

    def log(self, step: int, values: Mapping[str, float | None], histogram: Sequence[int] | None = None) -> None:
        self._step = step
        finite = {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
        self._try(lambda: self._target.log(step, finite, histogram))

    def finish(self, summary: dict[str, Any]) -> None:
        self._try(lambda: self._target.finish(summary))
        self._on = False

    def _try(self, work: Callable[[], None]) -> None:
        if not self._on:
            return
        try:
            work()
        except Exception as error:  # whatever it is, the training is worth more
            self._on = False
            self.notes.append(f"Logging to {self._name} stopped at step {self._step:,}: {_said(error)}.")
            with suppress(Exception):
                self._target.close()


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


class _TensorBoard:
    """Scalars, the density histogram, and configuration and summary as texts."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder / "tensorboard"
        self._writer: Any = None
        self._step = 0

    def start(self, config: dict[str, Any]) -> None:
        self._config = config
        if not any(self._folder.glob("events.*")):
            self._open(None)

    def _open(self, resumed_at: int | None) -> None:
        """With `resumed_at`, points from that step on that an earlier process wrote are hidden: they come again."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=resumed_at, flush_secs=FLUSH_SECONDS)
        self._writer.add_text("config", _as_code(self._config), resumed_at or 0)

    def log(self, step: int, values: dict[str, float], histogram: Sequence[int] | None) -> None:
        self._step = step
        if self._writer is None:
            self._open(step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        if histogram is not None:
            edges, counts = _edges(histogram), np.asarray(histogram, dtype=np.float64)
            middles = (edges[:-1] + edges[1:]) / 2
            self._writer.add_histogram_raw(
                "density",
                min=float(edges[0]),
                max=float(edges[-1]),
                num=float(counts.sum()),
                sum=float(counts @ middles),
                sum_squares=float(counts @ middles**2),
                bucket_limits=edges[1:].tolist(),
                bucket_counts=counts.tolist(),
                global_step=step,
            )

    def finish(self, summary: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.add_text("summary", _as_code(summary), self._step)
        self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _WandB:
    """One W&B run, named by an id that a resumed training finds again; its axis is the training step."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._name = folder, run
        self._run: Any = None

    def start(self, config: dict[str, Any]) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
        # Asked before `init`, which would wait for a key to be typed: a training has no keyboard.
        if mode == "online" and wandb.run is None and not wandb.login(prompt=False, verify=False):
            raise OutputError(
                "W&B has no account to log to. Run `wandb login` or set WANDB_API_KEY; with WANDB_MODE=offline it"
                " logs to the disk only."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self._name,
            id=self._id(),
            resume="allow",
            dir=os.environ.get("WANDB_DIR", str(self._folder)),
            mode=mode,
            config=config,
            reinit="create_new",  # beside a run of the person's own, and of a training in another thread
            settings=wandb.Settings(console="off"),
        )
        # W&B's own counter refuses to go back, which a training resumed from an older checkpoint must.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _id(self) -> str:
        path = self._folder / "wandb.json"
        if path.exists():
            try:
                return str(json.loads(path.read_text(encoding="utf-8"))["id"])
            except (ValueError, KeyError, TypeError):
                raise OutputError(f"{path} is damaged; delete it to log to a new W&B run.") from None
        made = uuid.uuid4().hex[:12]
        files.write_json(path, {"id": made})
        return made

    def log(self, step: int, values: dict[str, float], histogram: Sequence[int] | None) -> None:
        import wandb

        point: dict[str, Any] = {**values, "step": step}
        if histogram is not None:
            point["density"] = wandb.Histogram(np_histogram=(np.asarray(histogram), _edges(histogram)))
        self._run.log(point)

    def finish(self, summary: dict[str, Any]) -> None:
        self._run.summary.update(summary)
        self.close()

    def close(self) -> None:
        self._run.finish()


def _edges(histogram: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.linspace(DENSITY_FROM, 0, len(histogram) + 1)


def _as_code(values: dict[str, Any]) -> str:
    """A text that TensorBoard, which reads Markdown, shows as it stands."""
    lines = json.dumps(values, indent=2, ensure_ascii=False, default=str).splitlines()
    return "\n".join(f"    {line}" for line in lines)


_KINDS: dict[str, Callable[[Path, str], _Target]] = {"tensorboard": _TensorBoard, "wandb": _WandB}
