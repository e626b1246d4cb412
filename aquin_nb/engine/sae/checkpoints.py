"""Checkpoints of a training: whole files beside the dictionary, the last few kept, damaged ones passed over.

<name>.checkpoints/step_000001200.pt    {format, version, step, ...}: tensors and plain values only
"""

from __future__ import annotations

import shutil
import time
from glob import escape
from pathlib import Path
from typing import Any

import torch

from ...errors import AquinError, StoreError
from ...files import explained, whole_file
from ..models.torchfiles import Unreadable, load_plain
from .config import seconds

FORMAT = "aquin-nb/training"
VERSION = 1


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: made with the first checkpoint.
        every: steps, a time such as "10min", or None for none but the one a cancelled run leaves.
        keep: how many stay.
    """

    def __init__(self, folder: Path, every: int | str | None, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        self._steps = every if isinstance(every, int) else None
        self._seconds = seconds(every) if isinstance(every, str) else None
        self._last = time.monotonic()

    @classmethod
    def beside(cls, output: Path, every: int | str | None = None, keep: int = 2) -> Checkpoints:
        """Those of the dictionary that is to be written to `output`."""
        return cls(output.with_suffix(".checkpoints"), every, keep)

    def due(self, step: int) -> bool:
        """Whether one is to be written after `step` steps."""
        if self._steps is not None:
            return step % self._steps == 0
        return self._seconds is not None and time.monotonic() - self._last >= self._seconds

    def write(self, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint whole, then remove those beyond `keep`.

        Raises:
            NoSpace, OutputError: nothing was written; earlier checkpoints are untouched.
        """
        path = self.folder / f"step_{step:09d}.pt"
        self._last = time.monotonic()  # also when it fails: a full disk is tried again later, not on every step
        with whole_file(path) as temporary:
            torch.save({"format": FORMAT, "version": VERSION, "step": step} | state, temporary)
        # Of the earlier ones only: what has a later step is no checkpoint of this run, and must not count as one.
        earlier = [file for file in self.files() if file.name < path.name]
        for old in earlier[: max(0, len(earlier) - self.keep + 1)]:
            old.unlink(missing_ok=True)
        return path

    def files(self) -> list[Path]:
        """Checkpoints by step, the latest last."""
        return sorted(self.folder.glob("step_*.pt"))

    def latest(self) -> tuple[dict[str, Any], list[str]]:
        """The newest checkpoint that can be read, and what was wrong with newer ones.

        Raises:
            StoreError: there is none.
        """
        problems = []
        for path in reversed(self.files()):
            try:
                state = load_plain(path)
            except Unreadable as error:
                problems.append(f"{path.name} {error}; an earlier checkpoint was used.")
                continue
            if not isinstance(state, dict) or state.get("format") != FORMAT:
                problems.append(f"{path.name} is not a checkpoint of aquin-nb; it was passed over.")
                continue
            if state.get("version", 0) > VERSION:
                raise StoreError(f"{path} was written by a newer aquin-nb; please upgrade.")
            return state, problems
        what = " ".join(problems) or "there is no checkpoint."
        raise StoreError(f"{self.folder} cannot be resumed from: {what}")

    def set_aside(self, step: int) -> None:
        """Rename what is newer than `step`, where a run goes on: files that could not be read."""
        for path in self.files():
            if path.name > f"step_{step:09d}.pt":
                with explained(path):
                    path.replace(path.with_suffix(".unreadable"))

    def tidy(self) -> None:
        """Remove what a kill left half written, of checkpoints and of the files beside the dictionary."""
        results = self.folder.parent.glob(f".{escape(self.folder.stem)}.*.part")
        for part in [*self.folder.glob(".step_*.part"), *results]:
            part.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder: the training is complete and its dictionary written."""
        shutil.rmtree(self.folder, ignore_errors=True)


FAILED = "The checkpoint at step"


def failed(step: int, error: AquinError) -> str:
    """The note on a checkpoint that could not be written; the training goes on."""
    return f"{FAILED} {step:,} could not be written: {error} The one before it is still good."


def with_latest(notes: list[str], note: str) -> list[str]:
    """Notes with this one on a failed checkpoint in the place of earlier ones: a full disk fails many times."""
    return [*(earlier for earlier in notes if not earlier.startswith(FAILED)), note]
