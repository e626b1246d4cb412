"""What people say of pairs of features: accepted, flagged, a remark; kept beside the alignment."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .errors import DictionaryError, StoreError
from .files import write_json

VERDICTS: Final = ("accepted", "flagged", "")
FORMAT: Final = "aquin-nb/pair-annotations"
LONGEST: Final = 4_000  # characters of a remark

Pair = tuple[int | None, int | None]


class Annotations:
    """At most one entry a pair, in the file `annotations.json` of an alignment's folder. Safe on any thread.

    Args:
        path: the file; it is read on first use and written whole after each change.
        widths: features of a and of b.

    Raises:
        StoreError: on first use, a file that cannot be read or holds something else.

    >>> notes = Annotations(Path("align/seeds/annotations.json"), (2304, 2304))   # doctest: +SKIP
    >>> notes.put(17, 203, "flagged", "other meaning in code")                    # doctest: +SKIP
    """

    def __init__(self, path: Path, widths: tuple[int, int]) -> None:
        self.path, self._widths = path, widths
        self._lock = threading.RLock()
        self._kept: dict[Pair, dict[str, Any]] | None = None
        self._changes = 0
        self._listeners: list[Callable[[dict[str, Any]], None]] = []

    def entries(self) -> list[dict[str, Any]]:
        """Each with a, b (None for a feature without a partner), verdict ("accepted", "flagged", ""), note, at."""
        with self._lock:
            return [dict(entry) for entry in self._entries().values()]

    def told(self) -> dict[str, Any]:
        """The entries as pages hear of them: `changes` counts, so that a page knows which of two messages is newer."""
        with self._lock:
            return {"entries": self.entries(), "changes": self._changes}

    def put(self, a: int | None, b: int | None, verdict: str = "", note: str = "") -> None:
        """Say something of a pair; neither verdict nor note takes back what was said.

        Raises:
            DictionaryError: no such feature, or another verdict.
            StoreError: the alignment's folder is gone. OutputError: the file cannot be written. Nothing changed then.
        """
        pair = (self._feature(a, 0), self._feature(b, 1))
        if pair == (None, None):
            raise DictionaryError("Name a feature of a, of b, or a pair.")
        if verdict not in VERDICTS:
            raise DictionaryError(f'verdict must be "accepted", "flagged" or "" (none), not {verdict!r:.60}.')
        if not isinstance(note, str) or len(note) > LONGEST:
            raise DictionaryError(f"A note is a text of at most {LONGEST:,} characters.")
        with self._lock:
            kept = dict(self._entries())
            kept.pop(pair, None)
            if verdict or note.strip():
                at = datetime.now(UTC).isoformat(timespec="seconds")
                kept[pair] = {"a": pair[0], "b": pair[1], "verdict": verdict, "note": note.strip(), "at": at}
            if not self.path.parent.is_dir():
                raise StoreError(f"{self.path.parent} is gone: what is said of a pair is kept beside the alignment.")
            write_json(self.path, {"format": FORMAT, "version": 1, "pairs": list(kept.values())})
            self._kept, self._changes = kept, self._changes + 1
            for listener in self._listeners:  # under the lock, so that the last one told is the last one made
                listener(self.told())

    def listen(self, listener: Callable[[dict[str, Any]], None]) -> None:
        """Call `listener(told)`, which returns at once, after each change."""
        with self._lock:
            self._listeners.append(listener)

    def _entries(self) -> dict[Pair, dict[str, Any]]:
        if self._kept is None:
            self._kept = self._read() if self.path.exists() else {}
        return self._kept

    def _read(self) -> dict[Pair, dict[str, Any]]:
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored["format"] != FORMAT:
                raise ValueError(f"its format is {stored['format']!r:.80}")
            found: dict[Pair, dict[str, Any]] = {}
            for entry in stored["pairs"]:
                pair = (self._feature(entry["a"], 0), self._feature(entry["b"], 1))
                found[pair] = {"a": pair[0], "b": pair[1]} | {
                    name: str(entry[name]) for name in ("verdict", "note", "at")
                }
        except (OSError, ValueError, KeyError, TypeError, DictionaryError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}. Move it away to begin anew.") from error
        return found

    def _feature(self, given: Any, side: int) -> int | None:
        if given is None:
            return None
        width = self._widths[side]
        if isinstance(given, bool) or not hasattr(given, "__index__") or not 0 <= int(given) < width:
            raise DictionaryError(f"{'ab'[side]} has the features 0 to {width - 1}, not {given!r:.40}.")
        return int(given)
