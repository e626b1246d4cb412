"""Files of `torch.save`, read without running anything in them and refused in our own words."""

from __future__ import annotations

import errno
import re
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch


class Unreadable(Exception):
    """Why a file was not loaded, as the rest of a sentence that begins with its path. Callers make it their error."""


def load_plain(path: Path, *, mmap: bool = False) -> Any:
    """The tensors and plain values in a `torch.save` file, on the CPU; `mmap` leaves tensors on disk where it can.

    torch's own words are never repeated: they advise to switch off the check that keeps code in a file from running.

    Raises:
        Unreadable: the file holds code or other objects, is damaged, or is none of PyTorch's.
    """
    # torch warns when a pickle has another protocol than its own; the person who was given the file cannot change it.
    # One narrow filter for the process: warnings.catch_warnings is not safe beside other threads.
    warnings.filterwarnings("ignore", message="Detected pickle protocol")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None and not zipfile.is_zipfile(path):
            raise Unreadable("is damaged or not a PyTorch file") from None
        what = f" ({named.group(1)})" if named else ""
        raise Unreadable(
            f"holds code or objects other than tensors and plain values{what}; it was not run and not loaded"
        ) from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place in the file that its own index names and that is not there
            raise Unreadable("is damaged or not a PyTorch file") from None
        raise Unreadable(f"cannot be read: {error.strerror or type(error).__name__}") from None
    except Exception:  # a damaged file leads torch to many kinds of error
        raise Unreadable("is damaged or not a PyTorch file") from None
