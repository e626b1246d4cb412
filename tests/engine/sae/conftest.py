"""Kernels are compiled once a checkout, not once a test run."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Before a test module imports them: they ask where to be kept when they are defined.
    if config.pluginmanager.hasplugin("cacheprovider"):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(config.cache.mkdir("numba")))
