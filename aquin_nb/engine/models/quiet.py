"""Silence around library calls: a notebook cell shows our progress, not five libraries' bars and warnings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()  # verbosity is global: two loads at once would restore each other's silence


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within it transformers and huggingface_hub print errors only and show no bars; afterwards all is as before."""
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    with _LOCK:
        verbosity, hub_verbosity = logging.get_verbosity(), hub_logging.get_verbosity()
        bars, hub_bars = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
        logging.set_verbosity(logging.ERROR)
        hub_logging.set_verbosity_error()
        logging.disable_progress_bar()
        disable_progress_bars()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            hub_logging.set_verbosity(hub_verbosity)
            if bars:
                logging.enable_progress_bar()
            if hub_bars:
                enable_progress_bars()
