"""Silence around library calls: a notebook cell shows our progress, not five libraries' bars and warnings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_restore: list[Callable[[], None]] = []  # how to undo the silence; kept by the first of the threads inside
_inside = 0


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within it transformers and huggingface_hub print errors only and show no bars; afterwards all is as before.

    Verbosity is global, so threads share one silence: the first one in makes it, the last one out ends it.
    """
    global _inside
    with _LOCK:
        if _inside == 0:
            _restore.append(_silence())
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                _restore.pop()()


def _silence() -> Callable[[], None]:
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    verbosity, hub_verbosity = logging.get_verbosity(), hub_logging.get_verbosity()
    bars, hub_bars = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    logging.set_verbosity(logging.ERROR)
    hub_logging.set_verbosity(logging.ERROR)
    logging.disable_progress_bar()
    disable_progress_bars()

    def restore() -> None:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()

    return restore
