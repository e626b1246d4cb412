"""`aquin-nb`: the same verbs, the same words, in a terminal."""

from .app import main

__all__ = ["main"]
