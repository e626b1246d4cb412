"""Errors a person can act on: each message says what is wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class AquinError(Exception):
    """Base of every error that a person can act on; anything else that escapes is a defect of ours."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback: the message is the whole story, our frames would bury it."""
        return [f"\x1b[31m{type(self).__name__}\x1b[0m: {self}"]


class ModelError(AquinError):
    """A model cannot be named, found, loaded or run as asked."""


class CheckpointError(AquinError):
    """A fine-tuned checkpoint cannot be read or does not belong to the model."""


class ProbeError(AquinError):
    """A probe file or list has a row that cannot be used; the message names the row."""


class CorpusError(AquinError):
    """A text corpus cannot be read, or is too small for what was asked."""


class StoreError(AquinError):
    """A capture or an activation store on disk is unreadable, damaged or of another kind."""


class DictionaryError(AquinError):
    """A dictionary file is unreadable, or does not fit the model or its partner."""


class OutputError(AquinError):
    """An output place is taken by something else, or cannot be written.

    `unsaved` is what could not be written after long work (a dictionary), so that it can be saved elsewhere.
    """

    unsaved: Any = None


class NoSpace(OutputError):
    """The disk is full, or would be."""


class OutOfMemory(AquinError):
    """The accelerator or the machine has too little memory for the size asked."""


class SessionError(AquinError):
    """A session was asked for something that its present state does not allow."""


class SelectionError(AquinError):
    """A result was asked to select, link or show what it does not have."""


class NetworkError(AquinError):
    """Something must be downloaded and the place it comes from cannot be reached."""


class Cancelled(AquinError):
    """A job was cancelled; what it had written stays readable."""


def did_you_mean(name: str, choices: Iterable[str], count: int = 3) -> str:
    """A sentence with the nearest known names, or the first few of them when nothing is near.

    >>> did_you_mean("gpt3", ["gpt2", "tiny"])
    'Did you mean gpt2?'
    """
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    if len(known) > 12:
        return f"Known: {', '.join(known[:12])} and {len(known) - 12} more."
    return f"Known: {', '.join(known)}."
