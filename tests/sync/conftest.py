"""Fixtures of the sync tests: an orchestrator that is there, and no waiting for backoff."""

from __future__ import annotations

import pytest
from board import Board

from aquin_nb.sync import delivery


@pytest.fixture
def board():
    with Board() as board:
        yield board


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """What takes seconds between two tries takes hundredths here; the tests are of what happens, not of when."""
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(delivery, "LONGEST", 0.05)
    monkeypatch.setattr(delivery, "PAUSED", 0.05)
