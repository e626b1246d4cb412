"""Views are tested on built bundles; without them every test here says how to make them."""

import sys
from pathlib import Path

import pytest

from aquin_nb.widgets.assets import STATIC

sys.path.insert(0, str(Path(__file__).parent))  # view_samples, shared by the tests here


@pytest.fixture(scope="session", autouse=True)
def _built():
    if not (STATIC / "monitor.js").exists():
        pytest.fail("the front end is not built: run `make front`", pytrace=False)
