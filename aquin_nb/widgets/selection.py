"""What a person selected: features, probes or layers, shared by every view of a result and by linked results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import SelectionError, did_you_mean

KINDS: Final = ("features", "features_b", "probes", "layers")
LIMIT: Final = 200_000
"""Numbers in one selection."""

Listener = Callable[["Selection"], None]


@dataclass(frozen=True)
class Selection:
    """Which ones, in the order of selecting. `of` is one of `KINDS`; ids are numbers of features, probes or layers.

    `by` is the page that selected and its count, by which it knows an echo of what it has left behind since.
    """

    of: str
    ids: tuple[int, ...] = ()
    by: str = field(default="", compare=False, repr=False)

    def as_json(self) -> dict[str, Any]:
        return {"of": self.of, "ids": list(self.ids)} | ({"by": self.by} if self.by else {})


class Selections:
    """The present selection of a result, one a kind, and who wants to know. Safe on any thread.

    >>> chosen = Selections(("features",))
    >>> stop = chosen.listen(print)
    >>> chosen.set(Selection("features", (3,)))
    Selection(of='features', ids=(3,))
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self.kinds = tuple(kinds)
        self._lock = threading.Lock()
        self._now = {kind: Selection(kind) for kind in self.kinds}
        self._last = self.kinds[0] if self.kinds else ""
        self._listeners: list[Listener] = []

    @property
    def last(self) -> Selection:
        """The kind that was selected last.

        Raises:
            SelectionError: nothing can be selected in this result.
        """
        if not self.kinds:
            raise SelectionError("Nothing can be selected in this result.")
        with self._lock:
            return self._now[self._last]

    def get(self, of: str) -> Selection:
        """
        Raises:
            SelectionError: this result has none of that kind.
        """
        self._require(of)
        with self._lock:
            return self._now[of]

    def set(self, selection: Selection) -> None:
        """Select, and tell everybody who listens; the same selection again is told to nobody.

        Raises:
            SelectionError: a kind that this result does not have, or too many.
        """
        self._require(selection.of)
        if len(selection.ids) > LIMIT:
            raise SelectionError(f"At most {LIMIT:,} can be selected at once, not {len(selection.ids):,}.")
        with self._lock:
            if self._now[selection.of] == selection:
                return
            self._now[selection.of], self._last = selection, selection.of
            listeners = list(self._listeners)
        for listener in listeners:
            listener(selection)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(selection)` after each change; returns what stops it."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return stop

    def _require(self, of: str) -> None:
        if of not in self.kinds:
            hint = did_you_mean(of, self.kinds) if self.kinds else "Nothing can be selected in it."
            raise SelectionError(f"This result has no {of!r} to select. {hint}")


def link(a: Selections, b: Selections) -> Callable[[], None]:
    """Share every kind of selection that both have, both ways, beginning with what is selected in `a`.

    Returns:
        What ends it.

    Raises:
        SelectionError: they have no kind in common.
    """
    shared = [kind for kind in a.kinds if kind in b.kinds]
    if not shared:
        raise SelectionError(
            f"There is nothing to link: one result selects {' and '.join(a.kinds) or 'nothing'}, the other"
            f" {' and '.join(b.kinds) or 'nothing'}."
        )

    def passing_to(other: Selections) -> Listener:
        # No loop: the other side tells nobody when it has this selection already.
        return lambda selection: other.set(selection) if selection.of in shared else None

    for kind in shared:
        if a.get(kind).ids:
            b.set(a.get(kind))
    stops = [a.listen(passing_to(b)), b.listen(passing_to(a))]

    def unlink() -> None:
        for stop in stops:
            stop()

    return unlink
